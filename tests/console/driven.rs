//! Every page in a real browser: it works, it complains about nothing, and an accessibility checker
//! finds nothing serious, on two widths and in both colour schemes.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::site::{PASSWORD, Site};
use crate::harness::browser::{Browser, Screen};
use crate::harness::eventually;
use crate::harness::policy_client::PolicyRequest;
use crate::harness::programs::program;

const AXE: &str = "axe-core-4.14.1.tgz";

/// The checker: fetched once from the npm registry, and kept beside what is built.
static CHECKER: LazyLock<String> = LazyLock::new(|| {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("axe-core");
    let script = directory.join("package/axe.min.js");
    if !script.exists() {
        std::fs::create_dir_all(&directory).unwrap();
        let npm = program("npm", "npm");
        let run = |command: &mut Command| {
            let done = command.current_dir(&directory).output().unwrap();
            assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
        };
        run(Command::new(npm).args(["pack", "--silent", "axe-core@4.14.1"]));
        run(Command::new("tar").args(["xzf", AXE]));
    }
    std::fs::read_to_string(script).unwrap()
});

fn pictures() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("console")
}

fn log_in(browser: &Browser, site: &Site, name: &str) {
    browser.open(&format!("http://{}/login", site.at));
    browser.write("#name", name);
    browser.write("#password", PASSWORD);
    browser.click("button[type=submit]");
    browser.wait_for("h1", "Overview");
}

/// Asks the checker about the page that is shown.
fn assert_accessible(browser: &Browser, what: &str) {
    browser.run(&CHECKER);
    let found = browser.run_and_wait(
        "const done = arguments[arguments.length - 1];
         axe.run(document, { resultTypes: ['violations'] }).then(
             (found) => done(found.violations.map((violation) => [
                 violation.impact, violation.id, violation.help,
                 violation.nodes.map((node) => node.html + ' ' + node.failureSummary).join('; ')])),
             (error) => done([['critical', 'axe', String(error), '']]));",
    );
    let found: Vec<String> = found.as_array().unwrap().iter().map(ToString::to_string).collect();
    let is_bad = |violation: &&String| {
        violation.starts_with("[\"serious\"") || violation.starts_with("[\"critical\"")
    };
    let bad: Vec<&String> = found.iter().filter(is_bad).collect();
    assert!(bad.is_empty(), "{what}: {bad:#?}");
}

/// Nothing but tables and code, in boxes of their own, may be wider than the screen.
fn assert_fits(browser: &Browser, what: &str) {
    let widths = "return [document.documentElement.scrollWidth, innerWidth]";
    let widths = browser.run(widths);
    assert!(widths[0].as_u64() <= widths[1].as_u64(), "{what} is wider than the screen: {widths}");
}

/// What the browser may complain about: nothing that the test has not asked for.
fn assert_content(browser: &Browser, what: &str) {
    let complaints = browser.complaints();
    assert!(complaints.is_empty(), "{what}: {complaints:?}");
}

fn request(sender: &str) -> PolicyRequest {
    PolicyRequest::new()
        .set("protocol_state", "RCPT")
        .set("client_address", "192.0.2.66")
        .set("client_name", "mail.example.net")
        .set("helo_name", "mail.example.net")
        .set("sender", sender)
        .set("recipient", "bob@example.com")
}

/// Looks at every page on a screen; pictures of them have this in their names.
fn look_at_every_page(name: &str, screen: Screen) {
    let site = Site::start("");
    let instance = site.receive_hostile_mail();
    let asked = request("alice@example.org");
    site.daemon.connect().ask(&asked.octets()).unwrap();
    let browser = Browser::start();
    let base = format!("http://{}", site.at);
    browser.show_on(screen);
    browser.open(&format!("{base}/login"));
    assert_accessible(&browser, "login");
    assert_fits(&browser, "login");
    browser.picture(&pictures().join(format!("login-{name}.png")));
    log_in(&browser, &site, "admin");
    let story = format!("/story/{instance}");
    for (page, path) in [
        ("overview", "/"),
        ("live", "/live"),
        ("search", "/search"),
        ("story", story.as_str()),
        ("top", "/top"),
        ("charts", "/charts"),
        ("chains", "/chains"),
        ("try", "/try"),
        ("configuration", "/configuration"),
        ("nowhere", "/nowhere"),
    ] {
        browser.open(&format!("{base}{path}"));
        assert_accessible(&browser, &format!("{page} {name}"));
        assert_fits(&browser, &format!("{page} {name}"));
        browser.picture(&pictures().join(format!("{page}-{name}.png")));
    }
    browser.open(&format!("{base}{story}"));
    browser.click(".tree a");
    browser.wait_for("h1", "Request");
    assert_accessible(&browser, &format!("request {name}"));
    assert_fits(&browser, &format!("request {name}"));
    browser.picture(&pictures().join(format!("request-{name}.png")));
    assert_ne!(browser.run("return document.title"), "owned");
    browser.click(".who button");
    browser.wait_for("h1", "mppd");
}

#[test]
fn every_page_can_be_looked_at_on_a_wide_light_screen() {
    look_at_every_page("wide-light", Screen { width: 1280, height: 900, is_dark: false });
}

#[test]
fn every_page_can_be_looked_at_on_a_wide_dark_screen() {
    look_at_every_page("wide-dark", Screen { width: 1280, height: 900, is_dark: true });
}

#[test]
fn every_page_can_be_looked_at_on_a_narrow_light_screen() {
    look_at_every_page("narrow-light", Screen { width: 320, height: 640, is_dark: false });
}

#[test]
fn every_page_can_be_looked_at_on_a_narrow_dark_screen() {
    look_at_every_page("narrow-dark", Screen { width: 320, height: 640, is_dark: true });
}

#[test]
fn a_message_is_found_from_the_search_form() {
    let site = Site::start("");
    for sender in ["alice@example.org", "carol@example.org"] {
        site.daemon.connect().ask(&request(sender).octets()).unwrap();
    }
    let browser = Browser::start();
    log_in(&browser, &site, "viewer");
    browser.click("nav a[href='/search']");
    browser.write("#sender", "alice@example.org");
    browser.click("form[role=search] button");
    browser.wait_for_page("sender=alice");
    browser.wait_for("tbody", "alice@example.org");
    assert!(!browser.text("tbody").contains("carol@example.org"));
    browser.click("td a[href^='/story/']");
    browser.wait_for("h1", "The story of a message");
    browser.wait_for(".tree", "wbl");
    browser.click(".tree a");
    browser.wait_for("h1", "Request");
    assert_content(&browser, "searching");
}

#[test]
fn live_decisions_arrive_are_filtered_and_wait_while_the_page_is_paused() {
    let site = Site::start("");
    let browser = Browser::start();
    log_in(&browser, &site, "viewer");
    browser.open(&format!("http://{}/live", site.at));
    browser.wait_for("#state", "Connected.");
    site.daemon.connect().ask(&request("alice@example.org").octets()).unwrap();
    browser.wait_for("#decisions", "alice@example.org");
    browser.write("#filter", "carol");
    let hidden = "return document.querySelectorAll('#decisions tr:not([hidden])').length";
    assert_eq!(browser.run(hidden), 0);
    site.daemon.connect().ask(&request("carol@example.org").octets()).unwrap();
    browser.wait_for("#decisions", "carol@example.org");
    browser.click("#pause");
    site.daemon.connect().ask(&request("carol@elsewhere.example").octets()).unwrap();
    browser.wait_for("#state", "Paused; 1 wait.");
    assert!(!browser.text("#decisions").contains("carol@elsewhere.example"));
    browser.click("#pause");
    browser.wait_for("#decisions", "carol@elsewhere.example");
    site.receive_hostile_mail();
    browser.run(
        "document.getElementById('filter').value = '';
        document.getElementById('filter').dispatchEvent(new Event('input'));",
    );
    browser.wait_for("#decisions", "owned");
    assert_eq!(
        browser.run("return document.querySelectorAll('#decisions img, #decisions script').length"),
        0
    );
    assert!(browser.title().starts_with("Live"));
    assert_content(&browser, "live");
}

#[test]
fn charts_are_drawn_as_soon_as_something_is_known() {
    let site = Site::start("");
    let browser = Browser::start();
    log_in(&browser, &site, "viewer");
    browser.open(&format!("http://{}/charts", site.at));
    browser.wait_for("section[aria-labelledby=decisions]", "Nothing has happened.");
    // As when one comes back to the page: it need not wait for its time.
    let look = "document.dispatchEvent(new Event('visibilitychange'))";
    let count = "return document.querySelectorAll('[data-chart=decisions] canvas').length";
    let drawn = eventually(|| {
        // The counters are looked at every ten seconds, and must have grown then.
        site.daemon.connect().ask(&request("alice@example.org").octets()).unwrap();
        browser.run(look);
        (browser.run(count) == 1).then_some(())
    });
    drawn.expect("no chart is drawn");
    let said = "return document.getElementById('unknown').hidden";
    assert_eq!(browser.run(said), true, "something is known");
    browser.click("details summary");
    let rows = "return document.querySelector('details').querySelectorAll('tbody tr').length";
    assert!(browser.run(rows).as_u64() >= Some(1), "the table says less than the chart");
    assert_accessible(&browser, "charts with lines");
    browser.picture(&pictures().join("charts-drawn.png"));
    assert_content(&browser, "charts");
}

/// What the page is given in place of what the server has counted, as an hour of it takes an hour.
const AN_HOUR: &str = "
    const real = window.fetch;
    window.fetch = async (address, options) => {
        if (!String(address).includes('/charts/data')) return real(address, options);
        const charts = await (await real(address, options)).json();
        const end = Math.floor(Date.now() / 1000);
        const times = [...Array(360).keys()].map((step) => end - 10 * (359 - step));
        const names = ['DUNNO', 'REJECT', 'DEFER', 'DEFER_IF_PERMIT', 'PREPEND', 'OK', 'WARN', 'HOLD'];
        const line = (place) => times.map((time, step) =>
            place === 2 && step < 90 ? null : 40 / (place + 1) * (1.2 + Math.sin(step / (9 + place))));
        for (const chart of charts) {
            chart.times = times;
            if (chart.id === 'decisions') chart.series = names.map((name) => ({ name }));
            chart.series = chart.series.map((series, place) => ({ name: series.name, values: line(place) }));
        }
        return new Response(JSON.stringify(charts));
    };
    document.dispatchEvent(new Event('visibilitychange'));";

#[test]
fn an_hour_of_lines_fits_every_screen() {
    let site = Site::start("");
    let browser = Browser::start();
    log_in(&browser, &site, "viewer");
    site.daemon.connect().ask(&request("alice@example.org").octets()).unwrap();
    for (name, width, is_dark) in
        [("wide-light", 1280, false), ("wide-dark", 1280, true), ("narrow-light", 320, false)]
    {
        browser.show_on(Screen { width, height: 900, is_dark });
        browser.open(&format!("http://{}/charts", site.at));
        let is_known = || {
            browser.open(&format!("http://{}/charts", site.at));
            let known = "return document.querySelector('[data-chart=decisions]') !== null";
            site.daemon.connect().ask(&request("alice@example.org").octets()).unwrap();
            (browser.run(known) == true).then_some(())
        };
        eventually(is_known).expect("something is known");
        browser.run(AN_HOUR);
        let legend =
            "return document.querySelectorAll('[data-chart=decisions] .u-legend .u-series').length";
        // The time, and eight decisions.
        let drawn = eventually(|| (browser.run(legend) == 9).then_some(()));
        drawn.expect("all lines are drawn");
        assert_fits(&browser, name);
        browser.picture(&pictures().join(format!("charts-hour-{name}.png")));
        assert_content(&browser, name);
    }
}

#[test]
fn the_console_is_used_by_keyboard_alone() {
    let site = Site::start("");
    let browser = Browser::start();
    log_in(&browser, &site, "admin");
    let focused = "return document.activeElement.textContent.trim()";
    browser.press_tab();
    assert_eq!(browser.run(focused), "To the content");
    let visible = "const style = getComputedStyle(document.activeElement);
        return style.outlineStyle !== 'none' && document.activeElement.getBoundingClientRect().left >= 0";
    assert_eq!(browser.run(visible), true);
    let mut reached = Vec::new();
    for _ in 0..12 {
        browser.press_tab();
        reached.push(browser.run(focused).as_str().unwrap().to_owned());
    }
    for name in ["Search", "Charts", "Log out", "Reload the configuration"] {
        assert!(reached.iter().any(|text| text == name), "{name} among {reached:?}");
    }
}

#[test]
fn a_request_is_tried_in_a_form() {
    let site = Site::start("");
    let browser = Browser::start();
    log_in(&browser, &site, "viewer");
    browser.open(&format!("http://{}/try", site.at));
    browser.run("document.getElementById('request').value = ''");
    browser
        .write("#request", "protocol_state=RCPT\nclient_address=192.0.2.66\nhelo_name=a.example");
    browser.click("form.stack button");
    browser.wait_for("main", "not $you: a.example");
    browser.wait_for(".tree", "on_black");
    assert_accessible(&browser, "a trial");
    browser.picture(&pictures().join("tried.png"));
    assert_content(&browser, "a trial");
}

#[test]
fn the_reload_button_says_what_became_of_it() {
    let site = Site::start("");
    let browser = Browser::start();
    log_in(&browser, &site, "admin");
    browser.click("form[action='/reload'] button");
    browser.wait_for("main", "The configuration is in force.");
    assert_content(&browser, "reload");
}

#[test]
fn the_overview_keeps_itself_up_to_date_and_says_when_it_can_not() {
    let mut site = Site::start("");
    let browser = Browser::start();
    log_in(&browser, &site, "viewer");
    browser.wait_for("#kept", "Kept up to date.");
    site.daemon.connect().ask(&request("alice@example.org").octets()).unwrap();
    // As when one comes back to the page: it need not wait for its time.
    let look = "document.dispatchEvent(new Event('visibilitychange'))";
    let answered = "return document.querySelector('.figures dd').textContent";
    let is_renewed = || {
        browser.run(look);
        (browser.run(answered) == "1").then_some(())
    };
    eventually(is_renewed).expect("the request is counted");
    assert_content(&browser, "overview");
    site.daemon.kill9();
    browser.run(look);
    browser.wait_for("#kept", "mppd does not answer");
}
