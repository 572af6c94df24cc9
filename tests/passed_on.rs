//! What others chose, as mppd passes it on to other servers: each gets the value as it is, in the
//! place that is meant for it, and nothing else.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};

use crate::harness::PATIENCE;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::PolicyRequest;

/// What somebody may try in a value of the policy protocol, which has no end of line and no NUL.
const HOSTILE: [&[u8]; 10] = [
    b"a\rX-Injected: b\r\rGET /other HTTP/1.1\r",
    b"\x1b[2J\x1b]0;title\x07",
    b"\xff\xfe\x80 8-bit \xc3\x28",
    b"action=OK",
    b"=request=smtpd_access_policy=",
    b"../../admin?x=y&z=w#top;p",
    b"\"},\"sender\":\"other\",{\"",
    b"%0d%0aX-Injected:%20b&field=other+1",
    b"\xe2\x80\xae\xe2\x80\xa8\xef\xbb\xbf$sender ${x}",
    b"' OR 1=1; -- <![CDATA[",
];

/// A server that keeps what it is asked and gives one answer to everything.
fn recorder<T: Send + 'static>(
    read: fn(&mut BufReader<TcpStream>) -> Option<T>,
    answer: &'static [u8],
) -> (u16, Receiver<T>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        while let Ok((stream, _)) = listener.accept() {
            let sender = sender.clone();
            std::thread::spawn(move || serve(stream, read, answer, &sender));
        }
    });
    (port, receiver)
}

fn serve<T>(
    stream: TcpStream,
    read: fn(&mut BufReader<TcpStream>) -> Option<T>,
    answer: &[u8],
    sender: &Sender<T>,
) {
    let mut reader = BufReader::new(stream);
    while let Some(asked) = read(&mut reader) {
        if sender.send(asked).is_err() || reader.get_mut().write_all(answer).is_err() {
            return;
        }
    }
}

/// A request of the policy protocol, octet for octet.
fn policy_request(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut octets = Vec::new();
    while !octets.ends_with(b"\n\n") {
        if reader.read_until(b'\n', &mut octets).ok()? == 0 {
            return None;
        }
    }
    Some(octets)
}

/// A request of HTTP.
struct Asked {
    first: Vec<u8>,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

fn http_request(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let first = line(reader)?;
    let mut headers = Vec::new();
    loop {
        let line = line(reader)?;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|octet| *octet == b':')?;
        let name = String::from_utf8_lossy(&line[..colon]).to_lowercase();
        headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| String::from_utf8_lossy(value).parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { first, headers, body })
}

/// As a lenient server reads it: CR alone ends a line as well.
fn line(reader: &mut BufReader<TcpStream>) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    loop {
        let mut octet = [0];
        reader.read_exact(&mut octet).ok()?;
        match octet[0] {
            b'\n' => return Some(line),
            b'\r' => {
                reader.read_exact(&mut octet).ok()?;
                assert_eq!(octet, *b"\n", "a CR on its own behind {line:?}");
                return Some(line);
            }
            octet => line.push(octet),
        }
    }
}

fn decoded(text: &[u8]) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut rest = text.iter().copied();
    while let Some(octet) = rest.next() {
        let hex = |octet: u8| u8::try_from(char::from(octet).to_digit(16).unwrap()).unwrap();
        octets.push(match octet {
            b'%' => hex(rest.next().unwrap()) * 16 + hex(rest.next().unwrap()),
            b'+' => b' ',
            _ => octet,
        });
    }
    octets
}

#[test]
fn another_policy_server_gets_the_request_octet_for_octet() {
    let (port, asked) = recorder(policy_request, b"action=DUNNO\n\n");
    let daemon = Daemon::start(Settings {
        checks: "other".to_owned(),
        engines: format!(
            "<delegate id=\"other\"><server>inet:127.0.0.1:{port}</server></delegate>"
        ),
        ..Settings::default()
    });
    let mut client = daemon.connect();
    for hostile in HOSTILE {
        let request = PolicyRequest::new().set("sender", hostile).set("helo_name", hostile);
        let request = request.set("x_unknown", hostile).octets();
        assert_eq!(client.ask(&request).unwrap(), "DUNNO");
        assert_eq!(asked.recv_timeout(PATIENCE).unwrap(), request);
    }
}

#[test]
fn a_web_service_gets_each_value_in_its_place_and_nothing_else() {
    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    let (json_port, json) = recorder(http_request, answer);
    let (form_port, form) = recorder(http_request, answer);
    let daemon = Daemon::start(Settings {
        checks: "json form".to_owned(),
        engines: format!(
            "<http id=\"json\"><uri>http://127.0.0.1:{json_port}/v1/$helo/x?q=$helo</uri>
               <header name=\"X-Helo\">$helo</header>
               <json><field name=\"sender\">$helo</field><field name=\"fixed\">1</field></json>
             </http>
             <http id=\"form\"><uri>http://127.0.0.1:{form_port}/</uri>
               <form><field name=\"sender\">$helo</field><field name=\"fixed\">1</field></form>
             </http>"
        ),
        ..Settings::default()
    });
    let mut client = daemon.connect();
    for hostile in HOSTILE {
        let request = PolicyRequest::new().set("helo_name", hostile).octets();
        assert_eq!(client.ask(&request).unwrap(), "DUNNO");
        let asked = json.recv_timeout(PATIENCE).unwrap();
        let path = asked.first.strip_prefix(b"POST /v1/").unwrap();
        let path = path.strip_suffix(b" HTTP/1.1").unwrap();
        let parts: Vec<&[u8]> = path.split(|octet| b"/?=&# ".contains(octet)).collect();
        let [segment, x, q, parameter] = parts[..] else { panic!("{:?}", asked.first) };
        assert_eq!((x, q), (&b"x"[..], &b"q"[..]));
        assert_eq!((decoded(segment), decoded(parameter)), (hostile.to_vec(), hostile.to_vec()));
        let known = ["accept", "content-length", "content-type", "host", "user-agent", "x-helo"];
        for (name, value) in &asked.headers {
            assert!(known.contains(&name.as_str()), "{name}: {value:?}");
            assert!(!value.iter().any(u8::is_ascii_control), "{name}: {value:?}");
        }
        let body: serde_json::Value = serde_json::from_slice(&asked.body).unwrap();
        let text = String::from_utf8_lossy(hostile);
        assert_eq!(body, serde_json::json!({"sender": text, "fixed": "1"}));
        let asked = form.recv_timeout(PATIENCE).unwrap();
        let fields: Vec<&[u8]> = asked.body.split(|octet| *octet == b'&').collect();
        let [sender, fixed] = fields[..] else { panic!("{:?}", asked.body) };
        assert_eq!(decoded(sender.strip_prefix(b"sender=").unwrap()), hostile);
        assert_eq!(fixed, b"fixed=1");
    }
}
