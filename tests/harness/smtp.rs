//! A minimal SMTP client, to make a real Postfix ask.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use super::PATIENCE;

/// An SMTP reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    /// Each line without its line end.
    pub(crate) lines: Vec<Vec<u8>>,
}

impl Answer {
    /// The reply as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.lines.join(&b'\n')).into_owned()
    }
}

/// One SMTP session.
pub(crate) struct SmtpClient {
    stream: BufReader<TcpStream>,
}

impl SmtpClient {
    /// Connects and reads the banner.
    pub(crate) fn connect(port: u16) -> Self {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let stream = TcpStream::connect_timeout(&address, PATIENCE).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        let mut client = SmtpClient { stream: BufReader::new(stream) };
        assert_eq!(client.answer().code, 220);
        client
    }

    /// Connects and says EHLO.
    pub(crate) fn greeted(port: u16) -> Self {
        let mut client = SmtpClient::connect(port);
        assert_eq!(client.command("EHLO client.example.net").code, 250);
        client
    }

    /// The first command of a session that is to come from another client.
    pub(crate) fn come_from(&mut self, attributes: &str) {
        assert_eq!(self.command("EHLO client.example.net").code, 250);
        assert_eq!(self.command(&format!("XCLIENT {attributes}")).code, 220);
        assert_eq!(self.command("EHLO client.example.net").code, 250);
    }

    pub(crate) fn command(&mut self, command: &str) -> Answer {
        self.stream.get_mut().write_all(format!("{command}\r\n").as_bytes()).unwrap();
        self.answer()
    }

    pub(crate) fn mail(&mut self, sender: &str) -> Answer {
        self.command(&format!("MAIL FROM:<{sender}>"))
    }

    pub(crate) fn rcpt(&mut self, recipient: &str) -> Answer {
        self.command(&format!("RCPT TO:<{recipient}>"))
    }

    /// DATA and a message.
    pub(crate) fn data(&mut self, message: &str) -> Answer {
        let answer = self.command("DATA");
        if answer.code != 354 {
            return answer;
        }
        self.command(&format!("{message}\r\n."))
    }

    fn answer(&mut self) -> Answer {
        let mut lines = Vec::new();
        loop {
            let mut line = Vec::new();
            self.stream.read_until(b'\n', &mut line).unwrap();
            let line = line.strip_suffix(b"\r\n").expect("the SMTP server hung up").to_vec();
            let last = line.get(3) != Some(&b'-');
            lines.push(line);
            if last {
                break;
            }
        }
        let code = String::from_utf8_lossy(&lines[0][..3]).parse().unwrap();
        Answer { code, lines }
    }
}
