//! A name server of zones that a test writes, with threads of its own, so that a test needs no
//! runtime and a daemon in another process can be pointed at it.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use hickory_resolver::proto::op::{Edns, Message, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, MX, PTR, SOA, TXT};
use hickory_resolver::proto::rr::{Name as WireName, RData, Record as WireRecord, RecordType};

use super::zones::{Fault, Zones};
use crate::answer::{Answer, Question, Record, RecordKind};
use crate::name::Name;

/// How long answers may be kept, in seconds.
const TTL: u32 = 300;

/// Most octets of an answer over UDP, where the asker does not say how many it takes.
const SHORT: u16 = 512;

/// How often the threads look whether they shall end.
const TICK: Duration = Duration::from_millis(20);

/// A name server on a free port of this machine, over UDP and TCP. It ends when it is dropped.
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    known: Arc<Known>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug)]
struct Known {
    zones: Zones,
    asked: Mutex<Vec<Question>>,
    ending: AtomicBool,
}

impl Server {
    /// Starts a server of these zones.
    #[must_use]
    #[track_caller]
    pub fn start(zones: Zones) -> Self {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().expect("the address of the name server");
        let (asked, ending) = (Mutex::default(), AtomicBool::new(false));
        let known = Arc::new(Known { zones, asked, ending });
        let (for_udp, for_tcp) = (known.clone(), known.clone());
        let threads = vec![
            std::thread::spawn(move || for_udp.serve_udp(&udp)),
            std::thread::spawn(move || for_tcp.serve_tcp(&tcp)),
        ];
        Server { address, known, threads }
    }

    /// Starts a server that takes all questions and never says anything, as if each were lost on
    /// its way; over TCP it does not even take them.
    #[must_use]
    #[track_caller]
    pub fn black_hole() -> Self {
        let (udp, tcp) = sockets();
        let address = udp.local_addr().expect("the address of the name server");
        let known =
            Known { zones: Zones::default(), asked: Mutex::default(), ending: false.into() };
        let known = Arc::new(known);
        let ending = known.clone();
        let hold = move || {
            // Nobody reads from the sockets; they are there, so no question is refused.
            let _sockets = (udp, tcp);
            while !ending.has_ended() {
                std::thread::park_timeout(TICK);
            }
        };
        Server { address, known, threads: vec![std::thread::spawn(hold)] }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it was asked, in order, every attempt by itself.
    #[must_use]
    pub fn asked(&self) -> Vec<Question> {
        self.known.asked.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.known.ending.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A thread that panicked has said so.
            let _ended = thread.join();
        }
    }
}

/// One port for both.
#[track_caller]
fn sockets() -> (UdpSocket, TcpListener) {
    for _ in 0..100 {
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a UDP port");
        let address = udp.local_addr().expect("the address of the port");
        if let Ok(tcp) = TcpListener::bind(address) {
            udp.set_read_timeout(Some(TICK)).expect("a time limit");
            tcp.set_nonblocking(true).expect("a socket that does not block");
            return (udp, tcp);
        }
    }
    panic!("no port is free for UDP and TCP");
}

impl Known {
    fn has_ended(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        let (mut buffer, mut late) = ([0; 4096], Vec::new());
        while !self.has_ended() {
            let is_due = |(due, ..): &mut (Instant, Vec<u8>, SocketAddr)| *due <= Instant::now();
            for (_, reply, asker) in late.extract_if(.., is_due) {
                let _sent = socket.send_to(&reply, asker);
            }
            let Ok((length, asker)) = socket.recv_from(&mut buffer) else { continue };
            let Some((reply, delay)) = self.reply(&buffer[..length], false) else { continue };
            if delay.is_zero() {
                // An asker that is gone is not the server's concern.
                let _sent = socket.send_to(&reply, asker);
            } else {
                late.push((Instant::now() + delay, reply, asker));
            }
        }
    }

    fn serve_tcp(self: &Arc<Self>, listener: &TcpListener) {
        let mut threads = Vec::new();
        while !self.has_ended() {
            match listener.accept() {
                Ok((stream, _)) => {
                    let known = self.clone();
                    threads.push(std::thread::spawn(move || known.serve_stream(stream)));
                }
                Err(_) => std::thread::park_timeout(TICK),
            }
        }
        for thread in threads {
            let _ended = thread.join();
        }
    }

    fn serve_stream(&self, mut stream: TcpStream) {
        let prepared = stream.set_nonblocking(false);
        if prepared.and_then(|()| stream.set_read_timeout(Some(TICK))).is_err() {
            return;
        }
        let mut received = Vec::new();
        while !self.has_ended() {
            while let Some(message) = whole_message(&mut received) {
                let Some((reply, _)) = self.reply(&message, true) else { continue };
                let length = u16::try_from(reply.len()).unwrap_or(u16::MAX).to_be_bytes();
                if stream.write_all(&[&length[..], &reply].concat()).is_err() {
                    return;
                }
            }
            let mut buffer = [0; 4096];
            match stream.read(&mut buffer) {
                Ok(0) => return,
                Ok(length) => received.extend_from_slice(&buffer[..length]),
                Err(error) if is_patient(&error) => {}
                Err(_) => return,
            }
        }
    }

    /// The reply to a message, and how late it is to be; `None` where there is to be none.
    fn reply(&self, message: &[u8], is_stream: bool) -> Option<(Vec<u8>, Duration)> {
        let asked = Message::from_vec(message).ok()?;
        let query = asked.queries.first()?.clone();
        let mut reply = Message::response(asked.metadata.id, OpCode::Query);
        reply.metadata.recursion_desired = asked.metadata.recursion_desired;
        reply.metadata.recursion_available = true;
        reply.add_query(query.clone());
        let mut delay = Duration::ZERO;
        match question(&query) {
            Some(question) => {
                let is_first = self.note(&question);
                match self.zones.fault_of(&question) {
                    Some(Fault::Late(_)) if !is_first => return None,
                    Some(Fault::Late(milliseconds)) => {
                        delay = Duration::from_millis(milliseconds.into());
                        self.answer(&question, &query, &mut reply);
                    }
                    None => self.answer(&question, &query, &mut reply),
                    Some(fault) => spoil(fault, &mut reply)?,
                }
                if self.zones.fault_of(&question) == Some(Fault::Garbage) {
                    return Some(([&message[..2], b"\xff\xff garbage"].concat(), delay));
                }
            }
            None => add_soa(&mut reply),
        }
        let most = usize::from(asked.edns.as_ref().map_or(SHORT, Edns::max_payload));
        let whole = reply.to_vec().expect("a message");
        if is_stream || whole.len() <= most {
            return Some((whole, delay));
        }
        Some((reply.truncate().to_vec().expect("a message cut short"), delay))
    }

    /// Whether it is asked for the first time.
    fn note(&self, question: &Question) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = !asked.contains(question);
        asked.push(question.clone());
        is_first
    }

    fn answer(&self, question: &Question, query: &Query, reply: &mut Message) {
        let mut owner = query.name().clone();
        for target in self.zones.chain(&question.name).unwrap_or_default() {
            let target = wire(&target);
            let data = RData::CNAME(CNAME(target.clone()));
            reply.add_answer(WireRecord::from_rdata(owner, TTL, data));
            owner = target;
        }
        match self.zones.answer(question) {
            Answer::Records(records) => {
                for record in records.iter() {
                    let data = data(record);
                    reply.add_answer(WireRecord::from_rdata(owner.clone(), TTL, data));
                }
            }
            Answer::NoRecords => add_soa(reply),
            Answer::NoSuchName => {
                reply.metadata.response_code = ResponseCode::NXDomain;
                add_soa(reply);
            }
            Answer::Temporary(_) => reply.metadata.response_code = ResponseCode::ServFail,
        }
    }
}

fn is_patient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The first message of a stream, taken out of what was received.
fn whole_message(received: &mut Vec<u8>) -> Option<Vec<u8>> {
    let (length, rest) = received.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    let message = rest.get(..length)?.to_vec();
    received.drain(..length + 2);
    Some(message)
}

fn spoil(fault: Fault, reply: &mut Message) -> Option<()> {
    match fault {
        Fault::Silence | Fault::Late(_) => return None,
        Fault::ServerFailure => reply.metadata.response_code = ResponseCode::ServFail,
        Fault::Refused => reply.metadata.response_code = ResponseCode::Refused,
        Fault::Truncated => reply.metadata.truncation = true,
        Fault::Garbage => {}
        Fault::OtherNumber => reply.metadata.id = reply.metadata.id.wrapping_add(1),
        Fault::Loop => {
            let owner = reply.queries[0].name().clone();
            let other = wire(&Name::parse(b"loop.example").expect("a name"));
            for (owner, target) in [(owner.clone(), other.clone()), (other, owner)] {
                let data = RData::CNAME(CNAME(target));
                reply.add_answer(WireRecord::from_rdata(owner, TTL, data));
            }
        }
        Fault::OtherQuestion => {
            reply.queries.clear();
            let other = wire(&Name::parse(b"other.example").expect("a name"));
            reply.add_query(Query::query(other.clone(), RecordType::A));
            let data = RData::A(A(Ipv4Addr::new(192, 0, 2, 66)));
            reply.add_answer(WireRecord::from_rdata(other, TTL, data));
        }
    }
    Some(())
}

fn question(query: &Query) -> Option<Question> {
    let kind = match query.query_type() {
        RecordType::TXT => RecordKind::Txt,
        RecordType::A => RecordKind::A,
        RecordType::AAAA => RecordKind::Aaaa,
        RecordType::MX => RecordKind::Mx,
        RecordType::PTR => RecordKind::Ptr,
        _ => return None,
    };
    Some(Question::new(kind, Name::from_labels(query.name().iter()).ok()?))
}

fn wire(name: &Name) -> WireName {
    WireName::from_labels(name.labels()).expect("a name that fits the wire")
}

fn data(record: &Record) -> RData {
    match record {
        // A string of a text has at most 255 octets.
        Record::Txt(text) if text.is_empty() => RData::TXT(TXT::from_bytes(vec![b""])),
        Record::Txt(text) => RData::TXT(TXT::from_bytes(text.chunks(255).collect())),
        Record::A(address) => RData::A(A(*address)),
        Record::Aaaa(address) => RData::AAAA(AAAA(*address)),
        Record::Mx { preference, exchange } => RData::MX(MX::new(*preference, wire(exchange))),
        Record::Ptr(name) => RData::PTR(PTR(wire(name))),
    }
}

/// What says how long a negative answer may be kept.
fn add_soa(reply: &mut Message) {
    let ttl = TTL.cast_signed();
    let soa = SOA::new(WireName::root(), WireName::root(), 1, ttl, ttl, ttl, TTL);
    reply.add_authority(WireRecord::from_rdata(WireName::root(), TTL, RData::SOA(soa)));
}
