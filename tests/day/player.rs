//! Plays an hour of mail through Postfix, one minute a second, and remembers what became of each
//! message.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use crate::harness::pause;
use crate::harness::smtp::{Answer, SmtpClient};

use super::traffic::{Host, Message, Minute, Retry, Sender};

/// How long a minute of the site's hour takes.
pub(super) const MINUTE: Duration = Duration::from_secs(1);

/// Most attempts of a host that comes back.
const ATTEMPTS: u32 = 5;

/// What became of a message.
#[derive(Debug, Clone)]
pub(super) struct Fate {
    pub(super) who: Sender,
    pub(super) attempts: u32,
    /// The last reply.
    pub(super) code: u16,
    /// From the first attempt to the last.
    pub(super) delay: Minute,
}

/// A message that is due.
struct Due {
    at: Minute,
    first: Minute,
    attempts: u32,
    message: Message,
}

impl Ord for Due {
    /// The one that is due first is the greatest.
    fn cmp(&self, other: &Self) -> Ordering {
        other.at.total_cmp(&self.at)
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Due {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Due {}

/// Where Postfix listens: for the world, and for people who log in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ports {
    pub(super) world: u16,
    pub(super) submission: u16,
}

/// Plays it all, every sender on a thread of its own.
pub(super) fn play(messages: &[Message], ports: Ports) -> Vec<Fate> {
    let start = Instant::now();
    std::thread::scope(|scope| {
        let players: Vec<_> = Sender::ALL
            .into_iter()
            .map(|who| {
                let own = messages.iter().filter(|message| message.who == who).cloned().collect();
                scope.spawn(move || play_one(own, ports, start))
            })
            .collect();
        players.into_iter().flat_map(|player| player.join().unwrap()).collect()
    })
}

fn play_one(messages: Vec<Message>, ports: Ports, start: Instant) -> Vec<Fate> {
    let due = |message: Message| Due { at: message.at, first: message.at, attempts: 0, message };
    let mut queue: BinaryHeap<Due> = messages.into_iter().map(due).collect();
    let mut fates = Vec::new();
    while let Some(mut due) = queue.pop() {
        let at = start + MINUTE.mul_f64(due.at);
        pause(at.saturating_duration_since(Instant::now()));
        let turn = usize::try_from(due.attempts).unwrap() % due.message.hosts.len();
        let answer = attempt(&due.message, &due.message.hosts[turn], ports);
        due.attempts += 1;
        match rest(&due, &answer) {
            Some(rest) => queue.push(Due { at: due.at + rest, ..due }),
            None => fates.push(Fate {
                who: due.message.who,
                attempts: due.attempts,
                code: answer.code,
                delay: due.at - due.first,
            }),
        }
    }
    fates
}

/// How long until the next attempt, if there is one.
fn rest(due: &Due, answer: &Answer) -> Option<Minute> {
    let rest = match due.message.retry {
        Retry::Never => return None,
        Retry::SameHost(rest) | Retry::NextHost(rest) => rest,
    };
    (answer.code / 100 == 4 && due.attempts < ATTEMPTS).then_some(rest)
}

/// One attempt: the first reply that is not positive, or that to the message.
fn attempt(message: &Message, host: &Host, ports: Ports) -> Answer {
    let port = if message.login.is_some() { ports.submission } else { ports.world };
    let mut client = SmtpClient::connect(port);
    let name = host.name.as_deref().unwrap_or("[UNAVAILABLE]");
    let login = message.login.map(|login| format!(" LOGIN={login}")).unwrap_or_default();
    client.come_from(&format!("ADDR={} NAME={name}{login}", host.address));
    let steps = [
        format!("EHLO {}", host.helo),
        format!("MAIL FROM:<{}>", message.sender),
        format!("RCPT TO:<{}>", message.recipient),
    ];
    for step in steps {
        let answer = client.command(&step);
        if answer.code != 250 {
            return answer;
        }
    }
    client.data("Subject: an hour in the life\r\n\r\ntext")
}
