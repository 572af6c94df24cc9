//! A mail server that answers as a test wants, with threads of its own, so that a test needs no
//! runtime and a daemon in another process can be pointed at it.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// What a mail server says: the first line of a command, up to its argument, to its reply.
#[derive(Debug, Clone)]
pub struct SmtpScript {
    greeting: String,
    ehlo: String,
    helo: String,
    mail: String,
    rcpt: BTreeMap<String, String>,
}

impl Default for SmtpScript {
    fn default() -> Self {
        SmtpScript {
            greeting: "220 mx.example.org ESMTP".to_owned(),
            ehlo: "250-mx.example.org\r\n250 SMTPUTF8".to_owned(),
            helo: "250 mx.example.org".to_owned(),
            mail: "250 2.1.0 ok".to_owned(),
            rcpt: BTreeMap::new(),
        }
    }
}

impl SmtpScript {
    /// Reads lines `ADDRESS REPLY`. Empty lines, and those that begin with `#`, are left out.
    #[must_use]
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.fold(SmtpScript::default(), |script, line| {
            let (address, reply) = line.split_once(' ').expect("ADDRESS REPLY");
            script.rcpt(address, reply)
        })
    }

    /// With this greeting. All replies are without the end of their last line; an empty one closes
    /// the connection.
    #[must_use]
    pub fn greeting(self, greeting: &str) -> Self {
        SmtpScript { greeting: greeting.to_owned(), ..self }
    }

    /// With this reply to EHLO.
    #[must_use]
    pub fn ehlo(self, reply: &str) -> Self {
        SmtpScript { ehlo: reply.to_owned(), ..self }
    }

    /// With this reply to HELO.
    #[must_use]
    pub fn helo(self, reply: &str) -> Self {
        SmtpScript { helo: reply.to_owned(), ..self }
    }

    /// With this reply to MAIL.
    #[must_use]
    pub fn mail(self, reply: &str) -> Self {
        SmtpScript { mail: reply.to_owned(), ..self }
    }

    /// With this reply to RCPT with this path; any other is refused with `550 5.1.1`.
    #[must_use]
    pub fn rcpt(mut self, path: &str, reply: &str) -> Self {
        self.rcpt.insert(path.to_owned(), reply.to_owned());
        self
    }

    fn reply(&self, command: &str) -> String {
        let verb = command.split([' ', ':']).next().unwrap_or_default();
        let reply = match verb {
            "EHLO" => self.ehlo.as_str(),
            "HELO" => &self.helo,
            "MAIL" => &self.mail,
            "RCPT" => {
                let path = command.split_once('<').and_then(|(_, rest)| rest.rsplit_once('>'));
                let reply = self.rcpt.get(path.map(|(path, _)| path).unwrap_or_default());
                reply.map_or("550 5.1.1 user unknown", String::as_str)
            }
            "QUIT" => "221 2.0.0 bye",
            _ => "502 5.5.1 not here",
        };
        reply.to_owned()
    }
}

/// A mail server on a free port of this machine.
#[derive(Debug)]
pub struct SmtpServer {
    address: SocketAddr,
    heard: Arc<Mutex<Vec<String>>>,
}

impl SmtpServer {
    /// Starts one that answers like this. It runs as long as the test.
    #[must_use]
    #[track_caller]
    pub fn start(script: SmtpScript) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("the address of the port");
        let heard: Arc<Mutex<Vec<String>>> = Arc::default();
        let for_thread = heard.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (script, heard) = (script.clone(), for_thread.clone());
                std::thread::spawn(move || serve(&stream, &script, &heard));
            }
        });
        SmtpServer { address, heard }
    }

    /// Its port on `127.0.0.1`.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The commands that came.
    #[must_use]
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn serve(stream: &TcpStream, script: &SmtpScript, heard: &Mutex<Vec<String>>) {
    let mut lines = BufReader::new(stream).lines();
    let mut reply = script.greeting.clone();
    loop {
        // Who asked may have gone, and an empty reply is none.
        let mut stream = stream;
        if reply.is_empty() || stream.write_all(format!("{reply}\r\n").as_bytes()).is_err() {
            return;
        }
        let Some(Ok(command)) = lines.next() else { return };
        reply = script.reply(&command);
        heard.lock().unwrap_or_else(PoisonError::into_inner).push(command);
    }
}
