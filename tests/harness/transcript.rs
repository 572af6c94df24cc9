//! Transcripts: pages of Markdown that hold configurations and, below each, what is asked of the
//! server and what it answers. They are documentation first; reading them here keeps them true.
//!
//! A page is prose with fenced blocks:
//!
//! - `xml`: a whole configuration, for the transcripts below it; sockets, the state directory and
//!   the log are the test's own and not written;
//! - `xml file=NAME`, `text file=NAME`: a file beside the last configuration;
//! - `xml server=ADDRESS`: the configuration of another policy server, which the last one knows by
//!   this address; in the test it is another `mppd`, on a port of its own;
//! - `sql`: what is put into a MariaDB of the test's own. The last configuration finds it by
//!   including `secrets/database.xml`, `xpath="/connection"`;
//! - `ldif`: what a directory `dc=example,dc=org` of the test's own holds below `ou=people`; the
//!   last configuration knows it as `ldap://127.0.0.1`, and itself as `cn=reader`;
//! - `http`: what a Web service, `http://127.0.0.1:8080` on the page, answers: lines with a path, a
//!   code and a body. Any other path is answered with 404;
//! - `zone`: lines `NAME TYPE VALUE`, what the domain name system holds. In the test it is a server
//!   on a port of its own, which the last configuration knows by the address `192.0.2.53`;
//! - `mmdb file=NAME`: a database in the format of MaxMind beside the last configuration: lines
//!   `NETWORK name=value …` with the names `country`, `continent`, `registered_country`, `asn` and,
//!   as the last, `organization`;
//! - `smtp host=NAME`: a mail server that the last configuration knows by this name and no port:
//!   lines `ADDRESS REPLY`, what it says to RCPT. Any other address is refused with 550 5.1.1;
//! - `transcript`: lines `> STATE name=value …` are a request, the line `< ACTION` below them is
//!   the answer. A line `= COLUMN=VALUE …` below an answer says what is then on record: a column of
//!   `track_policy_request`, or `checks.ID.status` and `checks.ID.text`. A page that shows records is
//!   asked with the embedded store and with MariaDB. A line `~ SECONDS` is time that passes before the
//!   next request. A value with blanks is written in quotes, a line with `#` is a comment;
//! - any other block is prose.

use std::fmt;
use std::time::Duration;

/// One configuration of a page, and what is asked of it.
#[derive(Debug, Default)]
pub(crate) struct Scenario {
    /// The configuration.
    pub(crate) configuration: String,
    /// Files beside it.
    pub(crate) files: Vec<(String, String)>,
    /// Other policy servers: the address on the page, and their configuration.
    pub(crate) servers: Vec<(String, String)>,
    /// What its database holds, if it has one.
    pub(crate) sql: Option<String>,
    /// What its directory holds, if it has one.
    pub(crate) ldif: Option<String>,
    /// What its Web service answers: path, code and body.
    pub(crate) web: Vec<(String, u16, String)>,
    /// What the domain name system holds, if the page has one.
    pub(crate) zone: Option<String>,
    /// Databases of networks beside the configuration, each as its lines.
    pub(crate) databases: Vec<(String, String)>,
    /// Mail servers: the name on the page, and what each says.
    pub(crate) mail_servers: Vec<(String, String)>,
    /// What is asked, in order.
    pub(crate) questions: Vec<Question>,
}

impl Scenario {
    /// Whether it says what is on record.
    pub(crate) fn shows_records(&self) -> bool {
        self.questions.iter().any(|question| !question.record.is_empty())
    }
}

/// One request and its answer.
#[derive(Debug)]
pub(crate) struct Question {
    /// The line of the page.
    pub(crate) line: usize,
    /// The attributes, as written.
    pub(crate) attributes: Vec<(String, String)>,
    /// The action.
    pub(crate) answer: String,
    /// What is on record then: columns, or parts of `checks`, and their values.
    pub(crate) record: Vec<(String, String)>,
    /// How long nothing is asked before.
    pub(crate) pause: Duration,
}

/// What is wrong with a page itself.
#[derive(Debug)]
pub(crate) struct BadPage {
    line: usize,
    message: &'static str,
}

impl fmt::Display for BadPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

/// Reads every scenario of a page.
pub(crate) fn scenarios(page: &str) -> Result<Vec<Scenario>, BadPage> {
    let mut scenarios: Vec<Scenario> = Vec::new();
    for block in blocks(page)? {
        if block.is_main_configuration() {
            let configuration = block.text;
            scenarios.push(Scenario { configuration, ..Scenario::default() });
            continue;
        }
        let Some(part) = part(&block)? else { continue };
        let missing = BadPage { line: block.line, message: "no configuration stands above" };
        let scenario = scenarios.last_mut().ok_or(missing)?;
        match part {
            Part::File(name) => scenario.files.push((name.to_owned(), block.text)),
            Part::Database(name) => scenario.databases.push((name.to_owned(), block.text)),
            Part::MailServer(name) => scenario.mail_servers.push((name.to_owned(), block.text)),
            Part::Server(address) => scenario.servers.push((address.to_owned(), block.text)),
            Part::Sql => scenario.sql.get_or_insert_default().push_str(&block.text),
            Part::Ldif => scenario.ldif = Some(block.text),
            Part::Web(answers) => scenario.web.extend(answers),
            Part::Zone => scenario.zone.get_or_insert_default().push_str(&block.text),
            Part::Transcript(questions) => scenario.questions.extend(questions),
        }
    }
    Ok(scenarios)
}

/// What a block adds to the scenario above it.
enum Part<'a> {
    File(&'a str),
    Database(&'a str),
    MailServer(&'a str),
    Server(&'a str),
    Sql,
    Ldif,
    Web(Vec<(String, u16, String)>),
    Zone,
    Transcript(Vec<Question>),
}

fn part<'a>(block: &Block<'a>) -> Result<Option<Part<'a>>, BadPage> {
    Ok(match (block.kind, block.argument) {
        ("mmdb", Some(("file", name))) => Some(Part::Database(name)),
        ("smtp", Some(("host", name))) => Some(Part::MailServer(name)),
        (_, Some(("file", name))) => Some(Part::File(name)),
        ("xml", Some(("server", address))) => Some(Part::Server(address)),
        ("sql", None) => Some(Part::Sql),
        ("ldif", None) => Some(Part::Ldif),
        ("http", None) => Some(Part::Web(web(block)?)),
        ("zone", None) => Some(Part::Zone),
        ("transcript", None) => Some(Part::Transcript(questions(block)?)),
        _ => None,
    })
}

/// A fenced block.
struct Block<'a> {
    kind: &'a str,
    /// What stands behind it, as `name=value`.
    argument: Option<(&'a str, &'a str)>,
    /// The line of its fence.
    line: usize,
    text: String,
}

impl Block<'_> {
    fn is_main_configuration(&self) -> bool {
        self.kind == "xml" && self.argument.is_none() && self.text.starts_with("<mppd>")
    }
}

fn blocks(page: &str) -> Result<Vec<Block<'_>>, BadPage> {
    let mut blocks = Vec::new();
    let mut open: Option<Block<'_>> = None;
    for (index, line) in page.lines().enumerate() {
        match (open.take(), line.strip_prefix("```")) {
            (None, None) => {}
            (None, Some(info)) => {
                let (kind, rest) = info.split_once(' ').unwrap_or((info, ""));
                let argument = rest.split_once('=');
                open = Some(Block { kind, argument, line: index + 1, text: String::new() });
            }
            (Some(mut block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
                open = Some(block);
            }
            (Some(block), Some(_)) => blocks.push(block),
        }
    }
    match open {
        Some(block) => Err(BadPage { line: block.line, message: "the block has no end" }),
        None => Ok(blocks),
    }
}

fn web(block: &Block<'_>) -> Result<Vec<(String, u16, String)>, BadPage> {
    let answer = |(index, line): (usize, &str)| {
        let bad = BadPage { line: block.line + index + 1, message: "no path, code and body" };
        let (path, rest) = line.split_once(' ').unwrap_or((line, ""));
        let (code, body) = rest.split_once(' ').unwrap_or((rest, ""));
        let code = code.parse().map_err(|_| bad)?;
        Ok((path.to_owned(), code, body.to_owned()))
    };
    block.text.lines().enumerate().map(answer).collect()
}

fn questions(block: &Block<'_>) -> Result<Vec<Question>, BadPage> {
    let mut questions = Vec::new();
    let mut attributes = Vec::new();
    let mut pause = Duration::ZERO;
    for (index, line) in block.text.lines().enumerate() {
        let line_number = block.line + index + 1;
        let bad = |message| BadPage { line: line_number, message };
        if let Some(words) = line.strip_prefix("> ") {
            for word in words_of(words).ok_or(bad("a quote has no end"))? {
                attributes.push(attribute(&word).ok_or(bad("a word is no name=value"))?);
            }
        } else if let Some(answer) = line.strip_prefix("< ") {
            if attributes.is_empty() {
                return Err(bad("an answer to nothing"));
            }
            let attributes = std::mem::take(&mut attributes);
            let (answer, pause) = (answer.to_owned(), std::mem::take(&mut pause));
            let record = Vec::new();
            questions.push(Question { line: line_number, attributes, answer, record, pause });
        } else if let Some(words) = line.strip_prefix("= ") {
            let question = questions.last_mut().ok_or(bad("a record of nothing"))?;
            for word in words_of(words).ok_or(bad("a quote has no end"))? {
                let (name, value) = word.split_once('=').ok_or(bad("a word is no name=value"))?;
                question.record.push((name.to_owned(), value.to_owned()));
            }
        } else if let Some(seconds) = line.strip_prefix("~ ") {
            let seconds = seconds.parse().map_err(|_| bad("no number of seconds"))?;
            pause += Duration::from_secs_f64(seconds);
        } else if !line.is_empty() && !line.starts_with('#') {
            return Err(bad("no request (>), answer (<), record (=) or time (~)"));
        }
    }
    if attributes.is_empty() { Ok(questions) } else { Err(unanswered(block)) }
}

fn unanswered(block: &Block<'_>) -> BadPage {
    BadPage { line: block.line, message: "the last request has no answer" }
}

/// `name=value`, or the protocol state alone.
fn attribute(word: &str) -> Option<(String, String)> {
    match word.split_once('=') {
        Some((name, value)) => Some((name.to_owned(), value.to_owned())),
        None if word.bytes().all(|octet| octet.is_ascii_uppercase() || octet == b'-') => {
            Some(("protocol_state".to_owned(), word.to_owned()))
        }
        None => None,
    }
}

/// Words between blanks; quotes keep blanks together and are dropped.
fn words_of(text: &str) -> Option<Vec<String>> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for letter in text.chars() {
        match letter {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            _ => words.last_mut()?.push(letter),
        }
    }
    words.retain(|word| !word.is_empty());
    (!quoted).then_some(words)
}
