//! A TCP proxy in front of the database that can be told to misbehave.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::harness::pause;

/// How often a connection looks whether the proxy behaves differently.
const LOOKED_AT_EVERY: Duration = Duration::from_millis(10);

/// What the proxy does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// Hands it on.
    Pass,
    /// Ends every connection, and takes no new one.
    Cut,
    /// Hands each piece on after so long.
    Delay(Duration),
    /// Holds everything back, and hands it on when it behaves again.
    Stall,
    /// Hands questions on and throws answers away; ends the connection when it behaves again.
    LoseAnswers,
    /// Flips a bit here and there, both ways.
    Corrupt,
}

struct State {
    behaviour: Mutex<Behaviour>,
    upstream: u16,
    ended: AtomicBool,
}

impl State {
    fn behaviour(&self) -> Behaviour {
        *self.behaviour.lock().unwrap()
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Relaxed)
    }
}

/// The proxy; it ends when this is dropped.
pub(super) struct Proxy {
    port: u16,
    state: Arc<State>,
}

impl Proxy {
    /// Starts one in front of a port of this machine.
    pub(super) fn before(upstream: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let behaviour = Mutex::new(Behaviour::Pass);
        let state = Arc::new(State { behaviour, upstream, ended: AtomicBool::new(false) });
        let shared = state.clone();
        std::thread::spawn(move || accept_all(&listener, &shared));
        Proxy { port, state }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn behave(&self, behaviour: Behaviour) {
        *self.state.behaviour.lock().unwrap() = behaviour;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::Relaxed);
    }
}

fn accept_all(listener: &TcpListener, state: &Arc<State>) {
    while !state.has_ended() {
        match listener.accept() {
            // Closed as soon as it is dropped.
            Ok(_) if state.behaviour() == Behaviour::Cut => {}
            Ok((client, _)) => connect(client, state),
            Err(_) => pause(LOOKED_AT_EVERY),
        }
    }
}

fn connect(client: TcpStream, state: &Arc<State>) {
    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, state.upstream)) else { return };
    let (from_client, from_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    for (from, to, is_answer) in [(from_client, server, false), (from_server, client, true)] {
        from.set_read_timeout(Some(LOOKED_AT_EVERY)).unwrap();
        let state = state.clone();
        std::thread::spawn(move || {
            let mut pipe = Pipe { from, to, is_answer, state, has_lost: false };
            pipe.run();
            drop(pipe.from.shutdown(Shutdown::Both));
            drop(pipe.to.shutdown(Shutdown::Both));
        });
    }
}

/// One direction of a connection.
struct Pipe {
    from: TcpStream,
    to: TcpStream,
    is_answer: bool,
    state: Arc<State>,
    has_lost: bool,
}

impl Pipe {
    fn run(&mut self) {
        let mut piece = [0; 16 << 10];
        loop {
            let behaviour = self.state.behaviour();
            let is_over = behaviour == Behaviour::Cut
                || (self.has_lost && behaviour != Behaviour::LoseAnswers);
            if self.state.has_ended() || is_over {
                return;
            }
            if behaviour == Behaviour::Stall {
                pause(LOOKED_AT_EVERY);
                continue;
            }
            match self.from.read(&mut piece) {
                Ok(0) => return,
                Ok(length) if self.hand_on(&mut piece[..length], behaviour).is_err() => return,
                Ok(_) => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
        }
    }

    fn hand_on(&mut self, piece: &mut [u8], behaviour: Behaviour) -> std::io::Result<()> {
        match behaviour {
            Behaviour::LoseAnswers if self.is_answer => {
                self.has_lost = true;
                return Ok(());
            }
            Behaviour::Delay(time) => pause(time),
            Behaviour::Corrupt if fastrand::u8(..) < 64 => {
                let at = fastrand::usize(..piece.len());
                piece[at] ^= 1 << fastrand::u8(..8);
            }
            _ => {}
        }
        self.to.write_all(piece)
    }
}
