//! A Chromium without a screen, driven by the protocol of `WebDriver`, with a profile of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::ports::free_port;
use super::programs::program;
use super::{PATIENCE, eventually};

/// The name by which `WebDriver` tells elements.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

const ARGUMENTS: [&str; 11] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--lang=en",
];

/// What the browser shows a page on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Screen {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) is_dark: bool,
}

/// A browser that runs until this is dropped.
pub(crate) struct Browser {
    driver: Child,
    at: SocketAddr,
    session: String,
    profile: TempDir,
}

impl Browser {
    pub(crate) fn start() -> Self {
        let profile = tempfile::Builder::new().prefix("mppd-browser-").tempdir().unwrap();
        let at = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let driver = Command::new(program("chromedriver", "chromium-driver"))
            .arg(format!("--port={}", at.port()))
            .env("HOME", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            // Chromium and its own children belong to it as well.
            .process_group(0)
            .spawn()
            .unwrap();
        let mut browser = Browser { driver, at, session: String::new(), profile };
        eventually(|| TcpStream::connect(at).ok()).expect("chromedriver listens");
        let data = browser.profile.path().join("data");
        let mut arguments: Vec<String> = ARGUMENTS.iter().map(ToString::to_string).collect();
        arguments.push(format!("--user-data-dir={}", data.display()));
        let chromium = program("chromium", "chromium");
        let options = json!({ "args": arguments, "binary": chromium });
        let wanted = json!({ "browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": { "browser": "ALL" } });
        let begun = browser.call("POST", "", &json!({ "capabilities": { "alwaysMatch": wanted } }));
        browser.session = format!("/{}", begun["sessionId"].as_str().unwrap());
        browser
    }

    /// One command; its value.
    fn call(&self, method: &str, command: &str, body: &Value) -> Value {
        self.try_call(method, command, body)
            .unwrap_or_else(|error| panic!("{method} {command} {body}: {error}"))
    }

    fn try_call(&self, method: &str, command: &str, body: &Value) -> Result<Value, String> {
        let body = if method == "POST" { body.to_string() } else { String::new() };
        let mut stream = TcpStream::connect(self.at).unwrap();
        write!(
            stream,
            "{method} /session{}{command} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            self.session,
            self.at,
            body.len()
        )
        .unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut answer: Value = serde_json::from_slice(&body_of(stream)).unwrap();
        let value = answer["value"].take();
        match value["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", value["message"])),
            None => Ok(value),
        }
    }

    fn developer_tool(&self, name: &str, parameters: &Value) -> Value {
        self.call("POST", "/goog/cdp/execute", &json!({ "cmd": name, "params": parameters }))
    }

    pub(crate) fn show_on(&self, screen: Screen) {
        let Screen { width, height, is_dark } = screen;
        let metrics = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600
        });
        self.developer_tool("Emulation.setDeviceMetricsOverride", &metrics);
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!([
            { "name": "prefers-color-scheme", "value": scheme },
            { "name": "prefers-reduced-motion", "value": "reduce" }
        ]);
        self.developer_tool("Emulation.setEmulatedMedia", &json!({ "features": features }));
    }

    pub(crate) fn open(&self, url: &str) {
        self.call("POST", "/url", &json!({ "url": url }));
    }

    pub(crate) fn url(&self) -> String {
        self.call("GET", "/url", &Value::Null).as_str().unwrap().to_owned()
    }

    pub(crate) fn title(&self) -> String {
        self.call("GET", "/title", &Value::Null).as_str().unwrap().to_owned()
    }

    /// Does something to the first element that a selector finds. It may still be to come, and a
    /// page that is about to be left may take it away between finding and using it.
    fn act(&self, selector: &str, action: &str, body: &Value) {
        let mut said = String::new();
        let done = eventually(|| match self.try_to_act(selector, action, body) {
            Ok(()) => Some(()),
            Err(error) => {
                said = error;
                None
            }
        });
        done.unwrap_or_else(|| panic!("{action} of {selector} at {}: {said}", self.url()));
    }

    fn try_to_act(&self, selector: &str, action: &str, body: &Value) -> Result<(), String> {
        let wanted = json!({ "using": "css selector", "value": selector });
        let found = self.try_call("POST", "/element", &wanted)?;
        let element = found[ELEMENT].as_str().unwrap();
        self.try_call("POST", &format!("/element/{element}/{action}"), body)?;
        Ok(())
    }

    pub(crate) fn click(&self, selector: &str) {
        self.act(selector, "click", &json!({}));
    }

    pub(crate) fn write(&self, selector: &str, text: &str) {
        self.act(selector, "value", &json!({ "text": text }));
    }

    pub(crate) fn press_tab(&self) {
        let press = |kind: &str| json!({ "type": kind, "value": "\u{e004}" });
        let keys =
            json!({ "type": "key", "id": "keys", "actions": [press("keyDown"), press("keyUp")] });
        self.call("POST", "/actions", &json!({ "actions": [keys] }));
    }

    /// What the first element that a selector finds says; empty where there is none.
    pub(crate) fn text(&self, selector: &str) -> String {
        self.try_text(selector).unwrap_or_default()
    }

    /// In one step, so that the page can't change between finding and reading.
    fn try_text(&self, selector: &str) -> Option<String> {
        let script = "return document.querySelector(arguments[0])?.innerText ?? null";
        let body = json!({ "script": script, "args": [selector] });
        let said = self.try_call("POST", "/execute/sync", &body).ok()?;
        said.as_str().map(str::to_owned)
    }

    /// Waits until what a selector finds says this.
    pub(crate) fn wait_for(&self, selector: &str, text: &str) {
        let says = || self.try_text(selector).is_some_and(|said| said.contains(text));
        let said = eventually(|| says().then_some(()));
        said.unwrap_or_else(|| panic!("{selector} says {:?}, not {text}", self.text(selector)));
    }

    /// Waits until another page is shown, whose address has this in it.
    pub(crate) fn wait_for_page(&self, part: &str) {
        let is_shown = eventually(|| self.url().contains(part).then_some(()));
        is_shown.unwrap_or_else(|| panic!("the page is {}, not one with {part}", self.url()));
    }

    /// What a piece of script returns.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// What a piece of script gives to its last argument, a function.
    pub(crate) fn run_and_wait(&self, script: &str) -> Value {
        self.call("POST", "/execute/async", &json!({ "script": script, "args": [] }))
    }

    /// A picture of the whole page, as PNG.
    pub(crate) fn picture(&self, path: &Path) {
        let parameters = json!({ "captureBeyondViewport": true });
        let shot = self.developer_tool("Page.captureScreenshot", &parameters);
        let octets = from_base64(shot["data"].as_str().unwrap());
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, octets).unwrap();
    }

    /// What the browser had to complain about since it was last asked: scripts that failed, and
    /// what the security policy refused.
    pub(crate) fn complaints(&self) -> Vec<String> {
        let log = self.call("POST", "/se/log", &json!({ "type": "browser" }));
        let entries = log.as_array().unwrap().iter();
        entries.map(|entry| entry["message"].as_str().unwrap().to_owned()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() {
            drop(self.try_call("DELETE", "", &Value::Null));
        }
        let group = Pid::from_raw(i32::try_from(self.driver.id()).unwrap());
        killpg(group, Signal::SIGKILL).ok();
        drop(self.driver.wait());
    }
}

/// The body of an answer. The driver leaves the connection open.
fn body_of(stream: TcpStream) -> Vec<u8> {
    let mut reader = BufReader::new(stream);
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(':') else {
            if line.trim_end().is_empty() {
                break;
            }
            continue;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().unwrap();
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    body
}

fn from_base64(text: &str) -> Vec<u8> {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut octets = Vec::with_capacity(text.len() / 4 * 3);
    let (mut bits, mut count) = (0_u32, 0);
    for sextet in text.bytes().filter_map(value) {
        bits = bits << 6 | u32::from(sextet);
        count += 6;
        if count >= 8 {
            count -= 8;
            octets.push(u8::try_from(bits >> count & 0xff).unwrap());
        }
    }
    octets
}
