//! Traces, as a collector of OpenTelemetry gets them.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};

use serde_json::Value;

use crate::harness::PATIENCE;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::eventually;
use crate::harness::http::get;
use crate::harness::policy_client::PolicyRequest;
use crate::harness::ports::free_port;

/// A collector that takes everything in, and what it took.
fn collector() -> (SocketAddr, Receiver<Value>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, bodies) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                reader.read_line(&mut head).unwrap();
            }
            assert!(head.starts_with("POST /v1/traces HTTP/1.1\r\n"), "{head}");
            assert!(head.contains("\r\nContent-Type: application/json\r\n"), "{head}");
            let length = head.split("Content-Length: ").nth(1).unwrap();
            let length = length.split("\r\n").next().unwrap().parse().unwrap();
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            reader.get_mut().write_all(answer).unwrap();
            if sender.send(serde_json::from_slice(&body).unwrap()).is_err() {
                return;
            }
        }
    });
    (address, bodies)
}

fn traced(collector: SocketAddr, metrics: SocketAddr) -> Settings {
    Settings {
        common: format!(
            "<admin><listen>inet:{metrics}</listen></admin>
             <traces><endpoint>http://{collector}</endpoint><sample_ratio>1</sample_ratio>
             <queue>8</queue></traces>"
        ),
        tracking: true,
        checks: "judge".into(),
        engines: "<set id=\"judge\"><on_done>REJECT no</on_done></set>".into(),
        ..Settings::default()
    }
}

fn attribute<'a>(span: &'a Value, name: &str) -> &'a str {
    let attributes = span["attributes"].as_array().unwrap();
    let entry = attributes.iter().find(|entry| entry["key"] == name);
    entry.map_or("", |entry| entry["value"]["stringValue"].as_str().unwrap())
}

fn somewhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()))
}

#[test]
fn a_request_is_a_span_with_one_below_it_for_each_engine() {
    let (at, bodies) = collector();
    let daemon = Daemon::start(traced(at, somewhere()));
    let request = PolicyRequest::new().set("instance", "4d2.65f.0").set("queue_id", "4X<b>\"");
    assert_eq!(daemon.connect().ask(&request.octets()).unwrap(), "REJECT no");
    let body = bodies.recv_timeout(PATIENCE).unwrap();
    let resource = &body["resourceSpans"][0];
    assert_eq!(attribute(&resource["resource"], "service.name"), "mppd");
    let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
    let names: Vec<&str> = spans.iter().map(|span| span["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["policy-rcpt", "PPXX0001.received", "judge", "PPXX0001.processed"]);
    for (name, value) in [
        ("mppd.instance", "4d2.65f.0"),
        ("mppd.queue_id", "4X<b>\""),
        ("mppd.group", "default"),
        ("mppd.decision", "REJECT"),
        ("mppd.engine", "judge"),
    ] {
        assert_eq!(attribute(&spans[0], name), value, "{spans:?}");
    }
    assert_eq!(attribute(&spans[2], "mppd.status"), "done");
    let time = |span: &Value, which: &str| span[which].as_str().unwrap().parse::<u64>().unwrap();
    let (start, end) = ("startTimeUnixNano", "endTimeUnixNano");
    for span in &spans[1..] {
        assert_eq!(span["parentSpanId"], spans[0]["spanId"]);
        assert_eq!(span["traceId"], spans[0]["traceId"]);
        assert!(time(span, start) >= time(&spans[0], start));
        assert!(time(span, end) <= time(&spans[0], end));
    }
}

#[test]
fn without_its_collector_mppd_answers_and_counts_what_is_lost() {
    let metrics = somewhere();
    let daemon = Daemon::start(traced(somewhere(), metrics));
    let mut client = daemon.connect();
    for number in 0..50 {
        let request = PolicyRequest::new().set("instance", number.to_string());
        assert_eq!(client.ask(&request.octets()).unwrap(), "REJECT no");
    }
    let told = eventually(|| {
        let text = get(metrics, "/metrics", &[]).body;
        let of = |result: &str| -> u64 {
            let series = format!("mppd_traces_total{{result=\"{result}\"}} ");
            let line = text.lines().find_map(|line| line.strip_prefix(&*series));
            line.unwrap().parse().unwrap()
        };
        (of("failed") + of("dropped") == 50 && of("failed") > 0).then_some(of("sent"))
    });
    assert_eq!(told, Some(0));
    daemon.logged("that nobody is there", |line| {
        line["reason"].as_str().is_some_and(|reason| reason.contains("can't be reached"))
    });
}

#[test]
fn what_is_known_of_the_last_requests_is_sent_before_the_end() {
    let (at, bodies) = collector();
    let mut daemon = Daemon::start(traced(at, somewhere()));
    let request = PolicyRequest::new().set("instance", "last.0");
    assert_eq!(daemon.connect().ask(&request.octets()).unwrap(), "REJECT no");
    assert!(daemon.terminate().success());
    // Nothing comes any more: what is here now was sent before.
    let body = bodies.try_recv().unwrap();
    let spans = body["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().unwrap();
    assert_eq!(attribute(&spans[0], "mppd.instance"), "last.0");
}

#[test]
fn a_collector_that_says_nothing_does_not_keep_the_server_from_ending() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = traced(silent.local_addr().unwrap(), somewhere());
    let common = settings.common.replace("</traces>", "<timeout>200ms</timeout></traces>");
    let mut daemon = Daemon::start(Settings { common, ..settings });
    for _ in 0..20 {
        assert_eq!(daemon.connect().ask(&PolicyRequest::new().octets()).unwrap(), "REJECT no");
    }
    assert!(daemon.terminate().success());
}
