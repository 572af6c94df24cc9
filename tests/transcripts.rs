//! Every page of `tests/transcripts` and of the guides, asked and answered by the real server.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use mppd_dns::testkit::{Server, Zones};
use mppd_engines::testkit::{Mmdb, SmtpScript, SmtpServer};
use tempfile::TempDir;

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::mariadb::MariaDb;
use crate::harness::pause;
use crate::harness::policy_client::{PolicyRequest, fresh_instance};
use crate::harness::records::{Store, block_on};
use crate::harness::slapd::Slapd;
use crate::harness::transcript::{Question, Scenario, scenarios};
use crate::harness::web::WebService;

fn octets(question: &Question) -> Vec<u8> {
    let attributes = question.attributes.iter();
    let request = attributes.fold(PolicyRequest::empty(), |request, (n, v)| request.set(n, v));
    let has_instance = question.attributes.iter().any(|(name, _)| name == "instance");
    let request = if has_instance { request } else { request.set("instance", fresh_instance()) };
    request.octets()
}

/// The other servers of a scenario, and its own, which knows them by their true addresses.
struct Servers {
    main: Daemon,
    _others: Vec<Daemon>,
    _database: Option<MariaDb>,
    _directory: Option<Slapd>,
    _web: Option<WebService>,
    _name_server: Option<Server>,
    _databases: TempDir,
}

/// The address of the name server on every page.
const NAME_SERVER: &str = "192.0.2.53";

impl Servers {
    fn start(scenario: &Scenario, store: Option<&Store>) -> Self {
        let mut configuration = scenario.configuration.clone();
        let mut files = scenario.files.clone();
        let mut others = Vec::new();
        for (address, whole) in &scenario.servers {
            let whole = Some(whole.clone());
            let other = Daemon::start(Settings { whole, ..Settings::default() });
            configuration = configuration.replace(address, &other.endpoint().to_string());
            others.push(other);
        }
        let database = scenario.sql.as_ref().map(|sql| block_on(with_database(sql)));
        if let Some(database) = &database {
            let file = ("secrets/database.xml".to_owned(), database.element_named("connection"));
            files.push(file);
        }
        let directory = scenario.ldif.as_ref().map(|people| Slapd::start(people));
        if let Some(directory) = &directory {
            configuration = configuration.replace("ldap://127.0.0.1", &directory.url());
        }
        let web = (!scenario.web.is_empty()).then(|| web_service(scenario.web.clone()));
        if let Some(web) = &web {
            configuration = configuration.replace("http://127.0.0.1:8080", &web.origin);
        }
        let name_server = scenario.zone.as_ref().map(|zone| Server::start(Zones::read(zone)));
        if let Some(name_server) = &name_server {
            configuration = configuration.replace(NAME_SERVER, &name_server.address().to_string());
        }
        let databases = tempfile::tempdir().unwrap();
        for (name, lines) in &scenario.databases {
            let path = databases.path().join(name);
            std::fs::write(&path, Mmdb::read(lines).octets()).unwrap();
            configuration = configuration.replace(name, path.to_str().unwrap());
        }
        for (name, lines) in &scenario.mail_servers {
            let port = SmtpServer::start(SmtpScript::read(lines)).port();
            let host = format!("host=\"127.0.0.1\" port=\"{port}\"");
            configuration = configuration.replace(&format!("host=\"{name}\""), &host);
        }
        let whole = Some(configuration);
        let settings = Settings { whole, files, ..Settings::default() };
        let main = Daemon::start(match store {
            Some(store) => store.track(settings),
            None => settings,
        });
        Servers {
            main,
            _others: others,
            _database: database,
            _directory: directory,
            _web: web,
            _name_server: name_server,
            _databases: databases,
        }
    }
}

async fn with_database(sql: &str) -> MariaDb {
    let database = MariaDb::start().await;
    database.execute(sql).await;
    database
}

fn web_service(answers: Vec<(String, u16, String)>) -> WebService {
    WebService::start(move |line| {
        let asked = line.split(' ').nth(1);
        let found = answers.iter().find(|(path, ..)| Some(path.as_str()) == asked);
        found.map_or((404, String::new()), |(_, code, body)| (*code, body.clone()))
    })
}

/// What a scenario's answers and records are that should be others.
fn wrong_answers(page: &Path, scenario: &Scenario, store: Option<&Store>) -> Vec<String> {
    let servers = Servers::start(scenario, store);
    let mut client = servers.main.connect();
    let mut wrong = Vec::new();
    for (index, question) in scenario.questions.iter().enumerate() {
        let place = format!("{}:{}", page.display(), question.line);
        pause(question.pause);
        let answer = client.ask(&octets(question)).unwrap();
        if answer != question.answer {
            wrong.push(format!("{place}: {answer}, not {}", question.answer));
        }
        let Some(store) = store.filter(|_| !question.record.is_empty()) else { continue };
        let rows = store.rows(&servers.main);
        let row = rows.get(index).unwrap_or_else(|| panic!("{place}: not on record"));
        for (name, value) in &question.record {
            let is = row.part(name);
            if is != *value {
                wrong.push(format!("{place}: {name} on record in {store}: {is}, not {value}"));
            }
        }
    }
    wrong
}

/// The stores in which a scenario is to be recorded: one after the other.
fn wrong_in_each_store(page: &Path, scenario: &Scenario) -> Vec<String> {
    if !scenario.shows_records() {
        return wrong_answers(page, scenario, None);
    }
    let stores = Store::each();
    stores.iter().flat_map(|store| wrong_answers(page, scenario, Some(store))).collect()
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directories = ["tests/transcripts", "docs", "docs/engines"].map(|name| root.join(name));
    let files = directories.iter().flat_map(|directory| std::fs::read_dir(directory).unwrap());
    let mut pages: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

/// The engines that decide whether mail is wanted.
const CHECKS: &[&str] = &[
    "wbl",
    "spam_traps",
    "spf",
    "rbl",
    "greylist",
    "recipient",
    "threshold",
    "helo",
    "country",
    "score",
];

/// The kind of the engine with this ID in a configuration.
fn kind_of<'a>(configuration: &str, id: &'a str) -> &'a str {
    let is_of = |kind: &&&str| configuration.contains(&format!("<{kind} id=\"{id}\""));
    CHECKS.iter().find(is_of).map_or(id, |kind| *kind)
}

/// The engine and the status that a part of a record tells of.
fn told<'a>(configuration: &str, name: &'a str, value: &'a str) -> (&'a str, &'a str) {
    let check = name.strip_prefix("checks.").and_then(|rest| rest.strip_suffix(".status"));
    (kind_of(configuration, check.unwrap_or(name)), value)
}

#[test]
fn every_status_of_every_check_is_shown_on_record() {
    let mut missing: BTreeSet<(&str, &str)> = mppd_engines::ENGINES
        .iter()
        .filter(|kind| CHECKS.contains(&kind.name()))
        .flat_map(|kind| kind.statuses().iter().map(|status| (kind.name(), status.name)))
        .collect();
    assert!(CHECKS.iter().all(|check| missing.iter().any(|(kind, _)| kind == check)));
    let texts = pages().into_iter().map(|page| std::fs::read_to_string(page).unwrap());
    let scenarios: Vec<Scenario> = texts.flat_map(|text| scenarios(&text).unwrap()).collect();
    for scenario in &scenarios {
        for (name, value) in scenario.questions.iter().flat_map(|question| &question.record) {
            missing.remove(&told(&scenario.configuration, name, value));
        }
    }
    assert!(missing.is_empty(), "in no transcript: {missing:?}");
}

#[test]
fn every_page_gives_the_answers_that_it_shows() {
    let mut asked = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let scenarios = scenarios(&text).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        for scenario in scenarios.into_iter().filter(|scenario| !scenario.questions.is_empty()) {
            asked += scenario.questions.len();
            wrong.extend(wrong_in_each_store(&page, &scenario));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked > 0, "no page asks anything");
}
