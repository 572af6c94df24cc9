//! A server with a console, accounts in it, and somebody who logs in.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::http::{Response, get, post};
use crate::harness::policy_client::PolicyRequest;
use crate::harness::ports::free_port;

pub(super) const PASSWORD: &str = "correct horse battery";

/// Its hash, as the command prints it. Making one takes a while.
pub(super) static HASH: LazyLock<String> = LazyLock::new(|| hash_of(PASSWORD));

pub(super) fn hash_of(password: &str) -> String {
    let said = Call::new(["password"]).input(format!("{password}\n").as_bytes()).succeed();
    said.trim().to_owned()
}

/// What every part of a hostile message says.
pub(super) const HOSTILE: &str = "\"><script>document.title='owned'</script><img src=x onerror=alert(1)>\u{1b}[31m\u{202e}evil&amp;";

/// A server with a console.
pub(super) struct Site {
    pub(super) daemon: Daemon,
    pub(super) at: SocketAddr,
}

impl Site {
    /// With an account `admin`, an account `viewer`, and more in `<admin>`.
    pub(super) fn start(more: &str) -> Self {
        Site::with(more, &[("admin", "admin", &HASH), ("viewer", "viewer", &HASH)])
    }

    /// With these accounts: name, role, hash.
    pub(super) fn with(more: &str, accounts: &[(&str, &str, &str)]) -> Self {
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let daemon = Daemon::start(settings(at, more, accounts));
        Site { daemon, at }
    }

    /// Puts other accounts in force.
    pub(super) fn exchange_accounts(&mut self, accounts: &[(&str, &str, &str)]) {
        self.daemon.configure(settings(self.at, "", accounts));
        Call::new(["reload"]).with(&self.daemon.configuration()).succeed();
    }

    /// Logs in; who has done so.
    pub(super) fn log_in(&self, name: &str) -> Browser {
        let (browser, response) = self.try_to_log_in(name, PASSWORD, &[]);
        assert_eq!(response.status, 303, "{}", response.body);
        browser
    }

    /// Tries to.
    pub(super) fn try_to_log_in(
        &self,
        name: &str,
        password: &str,
        headers: &[(&str, &str)],
    ) -> (Browser, Response) {
        let mut browser = Browser { at: self.at, cookie: String::new() };
        let form = get(self.at, "/login", headers);
        browser.keep(&form);
        let csrf = hidden(&form.body, "csrf");
        let body = format!(
            "csrf={csrf}&name={}&password={}",
            name.replace(' ', "+"),
            password.replace(' ', "+")
        );
        let response = browser.post_with("/login", &body, headers);
        browser.keep(&response);
        (browser, response)
    }

    /// Has a message checked whose every part is hostile; its instance.
    pub(super) fn receive_hostile_mail(&self) -> String {
        let request = PolicyRequest::new()
            .set("protocol_state", "RCPT")
            .set("client_address", "192.0.2.66")
            .set("client_name", HOSTILE)
            .set("helo_name", HOSTILE)
            .set("sender", HOSTILE)
            .set("recipient", HOSTILE)
            .set("sasl_username", HOSTILE)
            .set("sasl_method", HOSTILE)
            .set("ccert_subject", HOSTILE)
            .set("ccert_issuer", HOSTILE)
            .set("queue_id", HOSTILE);
        let reply = self.daemon.connect().ask(&request.octets()).unwrap();
        assert!(reply.starts_with("REJECT"), "{reply}");
        request.instance()
    }
}

fn settings(at: SocketAddr, more: &str, accounts: &[(&str, &str, &str)]) -> Settings {
    let account = |(name, role, hash): &(&str, &str, &str)| {
        format!(
            "<account name=\"{name}\" role=\"{role}\"><password_hash>{hash}</password_hash></account>"
        )
    };
    let accounts: String = accounts.iter().map(account).collect();
    let black = "<wbl id=\"wbl\"><black><client_address>192.0.2.66</client_address></black>\
                 <on_black>REJECT not $$you: $helo</on_black></wbl>";
    Settings {
        common: format!("<admin><listen>inet:{at}</listen>{accounts}{more}</admin>"),
        tracking: true,
        checks: "wbl".into(),
        engines: black.into(),
        ..Settings::default()
    }
}

/// A text as the value of a field, each octet by its number.
pub(super) fn form_encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, octet| {
        write!(encoded, "%{octet:02x}").unwrap();
        encoded
    })
}

/// The value of a hidden field of the first form that has it.
pub(super) fn hidden(page: &str, name: &str) -> String {
    let begin = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.split_once(&begin).unwrap_or_else(|| panic!("no {name} in {page}"));
    rest.split_once('"').unwrap().0.to_owned()
}

/// Keeps cookies, and says where forms come from.
pub(super) struct Browser {
    pub(super) at: SocketAddr,
    pub(super) cookie: String,
}

impl Browser {
    fn keep(&mut self, response: &Response) {
        let cookies = response.headers.iter().filter(|(name, _)| name == "set-cookie");
        for (_, value) in cookies {
            let pair = value.split(';').next().unwrap();
            if !self.cookie.is_empty() {
                self.cookie.push_str("; ");
            }
            self.cookie.push_str(pair);
        }
    }

    pub(super) fn get(&self, path: &str) -> Response {
        get(self.at, path, &[("Cookie", &self.cookie)])
    }

    /// Sends a form as a page of this console does.
    pub(super) fn post(&self, path: &str, body: &str) -> Response {
        self.post_with(path, body, &[])
    }

    fn post_with(&self, path: &str, body: &str, more: &[(&str, &str)]) -> Response {
        let origin = format!("http://{}", self.at);
        let mut headers = vec![("Cookie", self.cookie.as_str()), ("Origin", origin.as_str())];
        headers.extend(more);
        post(self.at, path, &headers, body)
    }

    /// What the forms of this session have to say.
    pub(super) fn csrf(&self) -> String {
        hidden(&self.get("/").body, "csrf")
    }
}
