//! Many peers that speak almost as Postfix does, at once and at random: requests that real Postfix
//! servers sent, whole or changed, in odd pieces, one after the other or many at once, ended in the
//! middle or reset. Whole requests are answered one by one, whatever came before on other
//! connections, and the server lives and does not grow.
//!
//! `MPPD_SEED` repeats a run, `MPPD_SECONDS` sets how long it goes on.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::harness::captures;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::{Endpoint, PolicyRequest};
use crate::hostile::resident;

/// Peers at once.
const PEERS: u64 = 8;

/// How long an answer may be waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// KiB by which the server may grow once it is warm.
const MOST_GROWTH: u64 = 48 << 10;

fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn peers_that_speak_almost_as_postfix_does_are_each_answered_as_they_should() {
    let seed = from_environment("MPPD_SEED").unwrap_or_else(|| fastrand::u64(..));
    let seconds = from_environment("MPPD_SECONDS").unwrap_or(3);
    println!("MPPD_SEED={seed} MPPD_SECONDS={seconds}");
    let mut daemon = Daemon::start(Settings {
        checks: "lists".into(),
        engines: "<wbl id=\"lists\"><black><sender>refused@example.org</sender></black>
                  <on_black>REJECT refused</on_black></wbl>"
            .into(),
        policy_server: "<request_timeout>2s</request_timeout><write_timeout>2s</write_timeout>
                        <max_line>2KiB</max_line><max_request>8KiB</max_request>"
            .into(),
        ..Settings::default()
    });
    // The memory of repeats fills up first; it is bounded.
    converse_all(&daemon, seed, Duration::from_secs(seconds).div_f64(2.0));
    let warm = resident(daemon.pid());
    let asked = converse_all(&daemon, !seed, Duration::from_secs(seconds).div_f64(2.0));
    let grown = resident(daemon.pid()).saturating_sub(warm);
    println!("{asked} requests were answered as they should, the server grew by {grown} KiB");
    assert!(daemon.is_running(), "seed {seed}");
    assert!(asked > 0, "seed {seed}");
    assert!(grown < MOST_GROWTH, "grew by {grown} KiB, seed {seed}");
    let panics = daemon.log().iter().filter(|line| line.contains("panic")).count();
    assert_eq!(panics, 0, "seed {seed}");
}

/// Has all peers converse for a while; how many requests were answered as they should.
fn converse_all(daemon: &Daemon, seed: u64, time: Duration) -> u64 {
    let Endpoint::Inet(address) = daemon.endpoint() else { panic!("not inet") };
    let end = Instant::now() + time;
    let captures: Vec<Vec<u8>> =
        captures::requests().into_iter().map(|capture| capture.octets).collect();
    std::thread::scope(|scope| {
        let peers: Vec<_> = (0..PEERS)
            .map(|number| {
                let captures = &captures;
                scope.spawn(move || {
                    let mut random = Rng::with_seed(seed ^ number);
                    let mut asked = 0;
                    while Instant::now() < end {
                        let stream = TcpStream::connect(address).unwrap();
                        asked += converse(stream, captures, &mut random);
                    }
                    asked
                })
            })
            .collect();
        peers.into_iter().map(|peer| peer.join().unwrap()).sum()
    })
}

/// One connection; how many requests were answered as they should.
fn converse(mut stream: TcpStream, captures: &[Vec<u8>], random: &mut Rng) -> u64 {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut asked = 0;
    for _ in 0..random.usize(1..6) {
        asked += ask_well(&mut stream, captures, random);
    }
    let mut octets = captures[random.usize(..captures.len())].clone();
    mutate(&mut octets, random);
    match random.u8(..4) {
        0 => {}
        1 => send_in_pieces(&mut stream, &octets[..random.usize(..=octets.len())], random),
        2 => {
            send_in_pieces(&mut stream, &octets, random);
            drop(stream.shutdown(Shutdown::Write));
            // Whatever it says to that, it ends the connection.
            drop(stream.read_to_end(&mut Vec::new()));
        }
        _ => {
            drop(stream.write(&octets));
            socket2::Socket::from(stream).set_linger(Some(Duration::ZERO)).unwrap();
        }
    }
    asked
}

/// Sends whole requests, in pieces of any size, and reads one reply for each.
fn ask_well(stream: &mut TcpStream, captures: &[Vec<u8>], random: &mut Rng) -> u64 {
    let mut octets = Vec::new();
    let mut replies = Vec::new();
    for _ in 0..random.usize(1..4) {
        let is_black = random.bool();
        if is_black {
            let sender = "refused@example.org";
            octets.extend_from_slice(&PolicyRequest::new().set("sender", sender).octets());
        } else {
            octets.extend_from_slice(&captures[random.usize(..captures.len())]);
        }
        let reply = if is_black { "action=REJECT refused\n\n" } else { "action=DUNNO\n\n" };
        replies.push(reply);
    }
    send_in_pieces(stream, &octets, random);
    let expected = replies.concat();
    let mut said = vec![0; expected.len()];
    stream
        .read_exact(&mut said)
        .unwrap_or_else(|error| panic!("{} requests are not all answered: {error}", replies.len()));
    assert_eq!(String::from_utf8_lossy(&said), expected);
    u64::try_from(replies.len()).unwrap()
}

fn send_in_pieces(stream: &mut TcpStream, octets: &[u8], random: &mut Rng) {
    let mut rest = octets;
    while !rest.is_empty() {
        let longest = if random.u8(..8) == 0 { 8 } else { rest.len() };
        let (piece, behind) = rest.split_at(random.usize(1..=longest.min(rest.len())));
        // The server may have closed; for whole requests the missing reply tells.
        if stream.write_all(piece).is_err() {
            return;
        }
        rest = behind;
    }
}

/// Changes a few octets as only a peer at fault would.
fn mutate(octets: &mut Vec<u8>, random: &mut Rng) {
    for _ in 0..random.usize(..4) {
        if octets.is_empty() {
            return;
        }
        let at = random.usize(..octets.len());
        match random.u8(..7) {
            0 => octets[at] = random.u8(..),
            1 => octets.truncate(at),
            2 => octets.insert(at, *random.choice(b"\n\0=\r\xff").unwrap()),
            3 => drop(octets.remove(at)),
            4 => drop(octets.splice(at..at, vec![b'x'; random.usize(..10_000)])),
            5 => drop(octets.splice(at..at, b"a=b\n".repeat(random.usize(..3_000)))),
            _ => octets.extend_from_within(at..),
        }
    }
}
