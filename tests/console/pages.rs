//! What the pages show.

use std::io::{BufRead, BufReader};

use super::site::{HOSTILE, Site, form_encoded};
use crate::harness::eventually;
use crate::harness::http::send;
use crate::harness::policy_client::PolicyRequest;

/// Whether hostile text could do anything in a page: nothing of it may stand there as it came.
fn assert_inert(page: &str, what: &str) {
    for active in ["<script>document", "<img src=x", "\u{1b}", "\u{202e}", "alert(1)>"] {
        assert!(!page.contains(active), "{what} has {active:?}");
    }
}

#[test]
fn a_request_is_found_and_its_message_told() {
    let site = Site::start("");
    let request = PolicyRequest::new()
        .set("protocol_state", "RCPT")
        .set("client_address", "192.0.2.66")
        .set("sender", "alice@example.org")
        .set("recipient", "bob@example.com");
    site.daemon.connect().ask(&request.octets()).unwrap();
    let browser = site.log_in("viewer");
    let found = browser.get("/search?sender=alice%40example.org&decision=reject");
    assert!(found.body.contains("bob@example.com"), "{}", found.body);
    let nothing = browser.get("/search?sender=carol%40example.org");
    assert!(nothing.body.contains("No request is on record"), "{}", nothing.body);
    let story = browser.get(&format!("/story/{}", request.instance()));
    assert!(story.body.contains("192.0.2.66"), "{}", story.body);
    assert!(story.body.contains("<strong>wbl</strong>"), "{}", story.body);
    let (_, id) = story.body.split_once("href=\"/request/").unwrap();
    let id = id.split('"').next().unwrap();
    let one = browser.get(&format!("/request/{id}"));
    assert!(one.body.contains("recipient_local"), "{}", one.body);
    assert_eq!(browser.get("/request/00000000-0000-0000-0000-000000000000").status, 404);
    assert_eq!(browser.get("/request/x").status, 404);
}

#[test]
fn many_requests_are_shown_page_by_page_each_once() {
    let site = Site::start("");
    let mut client = site.daemon.connect();
    for number in 0..120 {
        let sender = format!("n{number:03}@example.org");
        client.ask(&PolicyRequest::new().set("sender", &sender).octets()).unwrap();
    }
    let browser = site.log_in("viewer");
    let mut path = "/search?domain=example.org&columns=size%3C100000".to_owned();
    let mut shown = Vec::new();
    for _ in 0..3 {
        let page = browser.get(&path).body;
        let senders = page.match_indices("@example.org</td>");
        shown.extend(senders.map(|(at, _)| page[at - 4..at].to_owned()));
        match page.split_once("rel=\"next\" href=\"") {
            Some((_, rest)) => {
                path = rest.split('"').next().unwrap().replace("&#38;", "&");
            }
            None => path.clear(),
        }
    }
    assert_eq!(path, "", "there are three pages");
    let expected: Vec<String> = (0..120).rev().map(|number| format!("n{number:03}")).collect();
    assert_eq!(shown, expected);
}

#[test]
fn requests_are_found_by_any_column_and_by_a_text_of_the_decision() {
    let site = Site::start("");
    site.receive_hostile_mail();
    let browser = site.log_in("viewer");
    for (question, is_found) in [
        ("columns=wbl%3Dblack", true),
        ("columns=wbl%3Dblack%0D%0Asize%3E5", false),
        ("text=not+%24you", true),
        ("text=nothing+like+it", false),
    ] {
        let page = browser.get(&format!("/search?{question}")).body;
        assert_eq!(page.contains("192.0.2.66"), is_found, "{question}: {page}");
    }
    let page = browser.get("/search?columns=colour%3Dred").body;
    assert!(page.contains("there is no column"), "{page}");
}

#[test]
fn what_is_most_frequent_is_counted_and_leads_to_the_requests() {
    let site = Site::start("");
    site.receive_hostile_mail();
    let page = site.log_in("viewer").get("/top?since=1d").body;
    assert!(page.contains("1 request is on record"), "{page}");
    assert!(page.contains("<a href=\"/search?client=192.0.2.66&#38;since=1d\">"), "{page}");
    assert!(page.contains("REJECT"), "{page}");
    assert_inert(&page, "what is most frequent");
}

#[test]
fn a_question_that_is_not_understood_is_answered_with_what_can_be_asked() {
    let site = Site::start("");
    let browser = site.log_in("viewer");
    let page = browser.get("/search?since=soon");
    assert_eq!(page.status, 200);
    assert!(page.body.contains("is no time; try 2h"), "{}", page.body);
}

#[test]
fn hostile_text_is_inert_on_every_page() {
    let site = Site::start("");
    let instance = site.receive_hostile_mail();
    let browser = site.log_in("viewer");
    let story = browser.get(&format!("/story/{instance}"));
    let (_, id) = story.body.split_once("href=\"/request/").unwrap();
    let id = id.split('"').next().unwrap();
    let pages =
        ["/", "/live", "/search", "/top", "/charts", "/chains", "/configuration", "/charts/data"];
    let paths = pages.into_iter().map(str::to_owned).chain([format!("/request/{id}")]);
    for path in paths {
        let page = browser.get(&path);
        assert_eq!(page.status, 200, "{path}");
        assert_inert(&page.body, &path);
    }
    assert_inert(&story.body, "the story");
    assert!(story.body.contains("owned"), "it is shown all the same");
    assert_inert(&browser.get("/metrics").body, "/metrics");
    let encoded = form_encoded(HOSTILE);
    for path in ["/search?sender=", "/story/", "/login?next=", "/search?since="] {
        assert_inert(&browser.get(&format!("{path}{encoded}")).body, path);
    }
}

#[test]
fn the_name_of_a_failed_login_is_inert_in_page_and_log() {
    let site = Site::start("");
    let name = HOSTILE.replace('&', "%26").replace(' ', "+");
    let (_, page) = site.try_to_log_in(&name, "wrong", &[]);
    assert_eq!(page.status, 403);
    assert_inert(&page.body, "the login page");
    let failed = site
        .daemon
        .logged("who failed", |line| line["msg"] == "somebody could not log in to the console");
    assert_inert(&failed["account"].as_str().unwrap().replace(['<', '>'], ""), "the log");
}

#[test]
fn decisions_are_told_as_they_happen() {
    let site = Site::start("");
    let browser = site.log_in("viewer");
    let stream = send(site.at, "GET", "/live/events", &[("Cookie", &browser.cookie)], "");
    let mut lines = BufReader::new(stream).lines();
    // From then on somebody listens.
    let begun = lines.find(|line| line.as_ref().unwrap().starts_with("retry:"));
    assert!(begun.is_some());
    site.receive_hostile_mail();
    let told = lines.find_map(|line| line.unwrap().strip_prefix("data: ").map(str::to_owned));
    let told: serde_json::Value = serde_json::from_str(&told.unwrap()).unwrap();
    assert_eq!(told["decision"], "REJECT");
    assert_eq!((&told["kind"], &told["engine"]), (&"refused".into(), &"wbl".into()));
    let sender = told["sender"].as_str().unwrap();
    assert!(!sender.contains(['\u{1b}', '\u{202e}']), "{sender}");
}

#[test]
fn only_so_many_pages_show_live_decisions_and_room_is_made_when_one_goes() {
    let site = Site::start("");
    let browser = site.log_in("viewer");
    let open = || {
        let stream = send(site.at, "GET", "/live/events", &[("Cookie", &browser.cookie)], "");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).unwrap();
        (stream, line)
    };
    let streams: Vec<_> = (0..16).map(|_| open()).collect();
    assert!(streams.iter().all(|(_, line)| line.contains("200")), "{:?}", streams[15].1);
    assert!(open().1.contains("503"));
    drop(streams);
    // Whoever is gone is noticed when something is said.
    let found = eventually(|| {
        site.receive_hostile_mail();
        open().1.contains("200").then_some(())
    });
    assert!(found.is_some());
}

#[test]
fn the_configuration_is_shown_without_its_secrets() {
    let site = Site::start("");
    let page = site.log_in("viewer").get("/configuration").body;
    assert!(page.contains("mppd.conf.xml"), "{page}");
    assert!(page.contains("&lt;password_hash&gt;****") || page.contains("password_hash&#62;****"));
    assert!(!page.contains("argon2id"), "{page}");
}

#[test]
fn a_reload_by_the_button_puts_in_force_or_says_what_is_wrong() {
    let site = Site::start("");
    let browser = site.log_in("admin");
    let form = format!("csrf={}", browser.csrf());
    let good = browser.post("/reload", &form);
    assert!(good.body.contains("The configuration is in force."), "{}", good.body);
    site.daemon.write_configuration("<mppd><comon/></mppd>");
    let bad = browser.post("/reload", &form);
    assert!(bad.body.contains("The old configuration stays in force."), "{}", bad.body);
    assert!(bad.body.contains("comon"), "{}", bad.body);
    let overview = browser.get("/").body;
    assert!(overview.contains("The last reload was refused"), "{overview}");
}

#[test]
fn a_request_on_record_is_tried_again_and_leaves_no_trace() {
    let site = Site::start("");
    let instance = site.receive_hostile_mail();
    let browser = site.log_in("viewer");
    let story = browser.get(&format!("/story/{instance}")).body;
    let (_, id) = story.split_once("href=\"/request/").unwrap();
    let form = browser.get(&format!("/try?id={}", id.split('"').next().unwrap())).body;
    assert!(form.contains("client_address=192.0.2.66"), "{form}");
    assert_inert(&form, "the form");
    let sent =
        form_encoded(&format!("client_address=192.0.2.66\nhelo_name={HOSTILE}\nsender={HOSTILE}"));
    let tried = browser.post("/try", &format!("csrf={}&request={sent}", browser.csrf()));
    assert_eq!(tried.status, 200);
    assert!(tried.body.contains("on_black"), "{}", tried.body);
    assert_inert(&tried.body, "the trial");
    assert!(browser.get("/top?since=1d").body.contains("1 request is on record"));
}

#[test]
fn only_who_may_change_something_tries_requests_that_ask_others() {
    let site = Site::start("");
    let body = |csrf: String| format!("csrf={csrf}&connect=yes&request=sender%3Da%40example.org");
    let (viewer, admin) = (site.log_in("viewer"), site.log_in("admin"));
    assert_eq!(viewer.post("/try", &body(viewer.csrf())).status, 403);
    assert_eq!(admin.post("/try", &body(admin.csrf())).status, 200);
}

#[test]
fn a_trial_that_cannot_be_made_says_why() {
    let site = Site::start("");
    let browser = site.log_in("viewer");
    let form = |request: &str| format!("csrf={}&request={request}", browser.csrf());
    let page = browser.post("/try", &form("sender")).body;
    assert!(page.contains("write name=value, one a line"), "{page}");
    site.daemon.write_configuration("<mppd><comon/></mppd>");
    let page = browser.post("/try", &form("sender%3Da%40example.org")).body;
    assert!(page.contains("The configuration has errors") && page.contains("comon"), "{page}");
}

#[test]
fn the_chains_are_counted() {
    let site = Site::start("");
    site.receive_hostile_mail();
    let page = site.log_in("viewer").get("/chains").body;
    assert!(page.contains("1 decided"), "{page}");
    assert!(page.contains("black 1"), "{page}");
    // What a status does, as it is configured and as it is unless told.
    assert!(page.contains("<code>REJECT not $$you: ${helo}</code>"), "{page}");
    assert!(page.contains("<th scope=\"row\">white</th>"), "{page}");
    assert!(page.contains("<title id=\"title-0\">The chains of group default"), "{page}");
}
