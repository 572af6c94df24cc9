//! One worker and its connections: what a defect of our own costs, and who answers a request.

use actix::Actor as _;
use std::os::unix::net::UnixStream as Socket;
use tokio::net::UnixStream;

use super::*;
use crate::listener::{Connection, Counted, Room, Serve};
use crate::seat::{Seats, Taken};
use crate::supervisor::installation::Installation;
use crate::supervisor::watchdog::Post;
use crate::supervisor::worker::{Conclude, Prepare, Worker};
use crate::traffic::Traffic;

/// A configuration with one check; without groups it is one that can't be.
fn installation(script: Script, groups: Vec<Group>) -> Arc<Installation> {
    let (blueprint, _) = Builder::default().check("a", script).blueprint();
    Arc::new(Installation {
        blueprint,
        groups: Arc::new(PolicyGroups { selection: Arc::default(), groups }),
        node: "test".into(),
        limits: Limits::default(),
        request_deadline: Duration::from_secs(10),
        idle_timeout: None,
        bounds: Bounds::of(&PolicyServerOptions::default(), OnOverload::default()),
        engine_queue: 9,
    })
}

fn default_group() -> Vec<Group> {
    vec![Group { id: "default".into(), dry_run: false, tracker: Arc::new(NoTracker) }]
}

/// A connection that has been given a seat, and its other end.
fn connect(seats: &Arc<Seats>, traffic: &Arc<Traffic>) -> (UnixStream, Serve) {
    let (ours, theirs) = Socket::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    theirs.set_nonblocking(true).unwrap();
    let counted = Counted::enter(Room::Whole, traffic.clone(), Arc::default());
    let seated = seats.admit(Connection::Unix(ours, Peer::Unix(None)), counted);
    (UnixStream::from_std(theirs).unwrap(), Serve { seated })
}

fn start(installation: &Installation, traffic: &Arc<Traffic>) -> (actix::Addr<Worker>, Arc<Post>) {
    let (stop, stopping) = watch::channel(false);
    // The server does not stop.
    std::mem::forget(stop);
    let shared = Shared {
        feed: Arc::default(),
        repeats: Arc::default(),
        traffic: traffic.clone(),
        ration: Arc::default(),
        logger: crate::log::silent(),
        stopping,
    };
    let post = Arc::<Post>::default();
    let worker = Worker::new(installation, Arc::new(shared), post.clone()).unwrap();
    (worker.start(), post)
}

async fn is_closed(peer: &mut UnixStream) -> bool {
    let mut octets = Vec::new();
    matches!(peer.read_to_end(&mut octets).await, Ok(0) | Err(_))
}

#[actix_rt::test]
async fn a_panic_of_a_session_closes_its_connection_and_no_other() {
    let traffic = Arc::<Traffic>::default();
    // Without any group the session panics when a request comes.
    let (worker, post) = start(&installation(Script::Give("none"), Vec::new()), &traffic);
    let (mut first, serve_first) = connect(&post.seats, &traffic);
    let (mut second, serve_second) = connect(&post.seats, &traffic);
    worker.send(serve_first).await.unwrap();
    worker.send(serve_second).await.unwrap();
    let request = Request::from_attributes([("protocol_state", "RCPT")]).unwrap();
    first.write_all(request.octets()).await.unwrap();
    assert!(is_closed(&mut first).await);
    worker
        .send(Prepare(installation(Script::Give("black"), default_group())))
        .await
        .unwrap()
        .unwrap();
    worker.send(Conclude { accept: true }).await.unwrap();
    assert_eq!(answered(&mut second, "a@example.org").await, "action=REJECT by a\n\n");
    let status = traffic.status();
    assert_eq!((status.connections, status.requests), (1, 0));
}

#[actix_rt::test]
async fn what_is_taken_over_is_answered_by_nobody_else() {
    let traffic = Arc::<Traffic>::default();
    let (worker, post) = start(&installation(Script::Hang, default_group()), &traffic);
    let (mut asking, serve_asking) = connect(&post.seats, &traffic);
    let (mut idle, serve_idle) = connect(&post.seats, &traffic);
    let (_waiting, _serve_waiting) = connect(&post.seats, &traffic);
    worker.send(serve_asking).await.unwrap();
    worker.send(serve_idle).await.unwrap();
    let request = Request::from_attributes([("protocol_state", "RCPT")]).unwrap();
    asking.write_all(request.octets()).await.unwrap();
    while traffic.status().requests == 0 {
        tokio::task::yield_now().await;
    }
    let (mut connections, mut requests, mut lines) = (0, 0, 0);
    for taken in post.seats.take_all() {
        match taken {
            Taken::Connection(..) => connections += 1,
            Taken::Request(orphan) => {
                requests += 1;
                assert!(orphan.request.exchange.is_taken_over());
                orphan.line.end_with(b"action=HOLD\n\n").unwrap();
            }
            Taken::Line(line) => {
                lines += 1;
                line.end();
            }
            Taken::Nothing => {}
        }
    }
    assert_eq!((connections, requests, lines), (1, 1, 1));
    // The run of the check ends after its own timeout; what the session makes of it comes nowhere.
    let mut octets = Vec::new();
    asking.read_to_end(&mut octets).await.unwrap();
    assert_eq!(String::from_utf8(octets).unwrap(), "action=HOLD\n\n");
    assert!(is_closed(&mut idle).await);
    assert_eq!(traffic.status().requests, 0);
    assert!(post.seats.take_all().is_empty());
}
