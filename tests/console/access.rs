//! Who gets in, and what they may do.

use super::site::{Browser, HASH, PASSWORD, Site, hash_of, hidden};
use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::http::{get, post};

#[test]
fn who_is_not_logged_in_is_led_to_the_login_and_back() {
    let site = Site::start("");
    let response = get(site.at, "/search?sender=a", &[]);
    assert_eq!(response.status, 303);
    assert_eq!(response.header("location"), Some("/login?next=%2Fsearch%3Fsender%3Da"));
    let form = get(site.at, "/login?next=%2Fsearch%3Fsender%3Da", &[]);
    assert_eq!(hidden(&form.body, "next"), "/search?sender=a");
    for path in ["/live/events", "/charts/data", "/request/x", "/story/x", "/configuration"] {
        assert_eq!(get(site.at, path, &[]).status, 303, "{path}");
    }
}

#[test]
fn who_has_an_account_logs_in_and_out() {
    let site = Site::start("");
    let browser = site.log_in("viewer");
    assert_eq!(browser.get("/").status, 200);
    let csrf = browser.csrf();
    let out = browser.post("/logout", &format!("csrf={csrf}"));
    assert_eq!((out.status, out.header("location")), (303, Some("/login")));
    assert_eq!(browser.get("/").status, 303, "the session has ended, not only the cookie");
}

#[test]
fn a_wrong_password_and_a_name_that_is_not_there_look_the_same() {
    let site = Site::start("");
    let (_, wrong) = site.try_to_log_in("admin", "wrong", &[]);
    let (_, unknown) = site.try_to_log_in("nobody", "wrong", &[]);
    assert_eq!((wrong.status, unknown.status), (403, 403));
    assert!(wrong.body.contains("Name or password is wrong."));
    assert!(unknown.body.contains("Name or password is wrong."));
    assert!(wrong.header("set-cookie").is_none());
    site.daemon.logged("who failed", |line| {
        line["msg"] == "somebody could not log in to the console" && line["account"] == "admin"
    });
}

#[test]
fn who_fails_too_often_has_to_wait_even_with_the_right_password() {
    let site = Site::start("");
    for _ in 0..10 {
        assert_eq!(site.try_to_log_in("admin", "wrong", &[]).1.status, 403);
    }
    let (_, response) = site.try_to_log_in("admin", PASSWORD, &[]);
    assert_eq!(response.status, 429);
    assert!(response.header("retry-after").is_some());
}

#[test]
fn behind_tls_each_browser_is_counted_by_the_address_that_the_proxy_tells() {
    let site = Site::start("<tls_in_front>true</tls_in_front>");
    for _ in 0..10 {
        let headers = [("X-Forwarded-For", "203.0.113.9, 198.51.100.1")];
        assert_eq!(site.try_to_log_in("admin", "wrong", &headers).1.status, 403);
    }
    let same = [("X-Forwarded-For", "203.0.113.7, 198.51.100.1")];
    assert_eq!(site.try_to_log_in("admin", PASSWORD, &same).1.status, 429);
    let other = [("X-Forwarded-For", "198.51.100.2")];
    assert_eq!(site.try_to_log_in("admin", PASSWORD, &other).1.status, 303);
}

#[test]
fn the_cookie_of_a_session_is_for_this_host_and_no_script() {
    let site = Site::start("");
    let (_, response) = site.try_to_log_in("admin", PASSWORD, &[]);
    let cookie = response.header("set-cookie").unwrap();
    assert!(cookie.starts_with("mppd_session="), "{cookie}");
    for flag in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(flag), "{cookie}");
    }
    assert!(!cookie.contains("Secure") && !cookie.contains("Domain"), "{cookie}");
}

#[test]
fn behind_tls_the_cookie_is_sent_by_tls_only() {
    let site = Site::start("<tls_in_front>true</tls_in_front>");
    let (browser, response) = site.try_to_log_in("admin", PASSWORD, &[]);
    let cookie = response.header("set-cookie").unwrap();
    assert!(cookie.starts_with("__Host-mppd_session="), "{cookie}");
    assert!(cookie.contains("Secure"), "{cookie}");
    assert_eq!(browser.get("/").status, 200);
}

#[test]
fn a_form_without_the_token_of_its_session_is_refused() {
    let site = Site::start("");
    let (one, other) = (site.log_in("admin"), site.log_in("admin"));
    for body in [String::new(), "csrf=".to_owned(), format!("csrf={}", other.csrf())] {
        let response = one.post("/reload", &body);
        assert!([400, 403].contains(&response.status), "{body}: {}", response.status);
    }
    assert_eq!(one.post("/reload", &format!("csrf={}", one.csrf())).status, 200);
}

#[test]
fn a_form_of_another_site_is_refused_whatever_it_says() {
    let site = Site::start("");
    let browser = site.log_in("admin");
    let body = format!("csrf={}", browser.csrf());
    let cookie = ("Cookie", browser.cookie.as_str());
    for headers in [
        vec![cookie],
        vec![cookie, ("Origin", "null")],
        vec![cookie, ("Origin", "http://evil.example")],
        vec![cookie, ("Origin", "http://127.0.0.1")],
    ] {
        assert_eq!(post(site.at, "/reload", &headers, &body).status, 403, "{headers:?}");
    }
}

#[test]
fn a_login_form_of_another_site_is_refused() {
    let site = Site::start("");
    let form = get(site.at, "/login", &[]);
    let body = format!("csrf={}&name=admin&password=x", hidden(&form.body, "csrf"));
    let origin = format!("http://{}", site.at);
    let response = post(site.at, "/login", &[("Origin", &origin)], &body);
    assert_eq!(response.status, 403, "without the cookie of the form");
}

#[test]
fn who_may_only_look_can_change_nothing() {
    let site = Site::start("");
    let browser = site.log_in("viewer");
    let page = browser.get("/").body;
    assert!(!page.contains("action=\"/reload\""));
    let response = browser.post("/reload", &format!("csrf={}", browser.csrf()));
    assert_eq!(response.status, 403);
    assert!(response.body.contains("may only look"), "{}", response.body);
}

#[test]
fn a_session_ends_when_a_reload_changes_the_password() {
    let mut site = Site::start("");
    let browser = site.log_in("admin");
    let viewer = site.log_in("viewer");
    site.exchange_accounts(&[
        ("admin", "admin", &hash_of("another password")),
        ("viewer", "viewer", &HASH),
    ]);
    assert_eq!(browser.get("/").status, 303);
    assert_eq!(viewer.get("/").status, 200);
}

#[test]
fn a_session_may_do_what_its_account_may_since_the_last_reload() {
    let mut site = Site::start("");
    let browser = site.log_in("admin");
    site.exchange_accounts(&[("admin", "viewer", &HASH)]);
    let response = browser.post("/reload", &format!("csrf={}", browser.csrf()));
    assert_eq!(response.status, 403);
}

#[test]
fn a_program_with_a_token_looks_and_changes_nothing() {
    let said = Call::new(["password", "--token"]).succeed();
    let token = said.lines().find_map(|line| line.strip_prefix("token ")).unwrap();
    let hash = said.lines().find_map(|line| line.strip_prefix("hash ")).unwrap();
    let site = Site::start(&format!(
        "<token name=\"prometheus\"><secret_hash>{hash}</secret_hash></token>\
         <metrics>token</metrics>"
    ));
    let bearer = format!("Bearer {token}");
    assert_eq!(get(site.at, "/metrics", &[]).status, 401);
    assert_eq!(get(site.at, "/metrics", &[("Authorization", "Bearer mppd_x")]).status, 401);
    assert_eq!(get(site.at, "/metrics", &[("Authorization", &bearer)]).status, 200);
    assert_eq!(get(site.at, "/charts/data", &[("Authorization", &bearer)]).status, 200);
    let origin = format!("http://{}", site.at);
    let headers = [("Authorization", bearer.as_str()), ("Origin", origin.as_str())];
    assert_eq!(post(site.at, "/reload", &headers, "csrf=").status, 403);
    let browser = site.log_in("viewer");
    assert_eq!(browser.get("/metrics").status, 200);
}

#[test]
fn every_answer_says_what_a_browser_may_do_with_it() {
    let site = Site::start("");
    let browser = site.log_in("admin");
    for path in ["/", "/login", "/nowhere", "/assets/console.css", "/metrics", "/healthz"] {
        let response = browser.get(path);
        let policy = response.header("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{path}: {policy}");
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"), "{path}");
        assert_eq!(response.header("x-frame-options"), Some("DENY"), "{path}");
        assert_eq!(response.header("referrer-policy"), Some("same-origin"), "{path}");
    }
    assert_eq!(browser.get("/").header("cache-control"), Some("no-store"));
}

#[test]
fn pages_have_nothing_inline_and_nothing_from_elsewhere() {
    let site = Site::start("");
    site.receive_hostile_mail();
    let browser = site.log_in("admin");
    let pages = ["/", "/live", "/search", "/top", "/charts", "/chains", "/configuration"];
    for path in pages {
        let page = browser.get(path);
        assert_eq!(page.status, 200, "{path}");
        for inline in
            ["<style", " style=", "javascript:", " onclick", " onload", "//cdn", "https://"]
        {
            assert!(!page.body.contains(inline), "{path} has {inline}");
        }
        let scripts = page.body.matches("<script").count();
        assert_eq!(page.body.matches("<script src=\"/assets/").count(), scripts, "{path}");
    }
}

#[test]
fn a_name_that_is_not_of_this_console_is_refused_so_that_dns_cannot_be_turned_against_it() {
    let site = Site::start("<server_name>console.example.com</server_name>");
    let response = get(site.at, "/login", &[("Host", "evil.example")]);
    assert_eq!(response.status, 421);
    assert!(response.body.contains("server_name"), "{}", response.body);
    for host in ["console.example.com", "localhost:1", "127.0.0.1"] {
        assert_eq!(get(site.at, "/login", &[("Host", host)]).status, 200, "{host}");
    }
    assert_eq!(get(site.at, "/healthz", &[("Host", "mppd.internal")]).status, 200);
}

#[test]
fn a_console_without_accounts_says_how_to_make_one() {
    let site = Site::with("", &[]);
    let page = get(site.at, "/login", &[]).body;
    assert!(page.contains("mppd password"), "{page}");
    assert!(!page.contains("type=\"password\""));
    let (_, at) = (Browser { at: site.at, cookie: String::new() }, site.at);
    assert_eq!(get(at, "/", &[]).status, 303);
}

#[test]
fn accounts_that_cannot_work_are_refused_with_their_place() {
    let admin = "<admin><listen>inet:127.0.0.1:1</listen>\
        <account name=\"a\"><password_hash>geheim</password_hash></account>\
        <token name=\"t\"><secret_hash>sha256:12</secret_hash></token></admin>";
    let (status, log) = Daemon::refused(Settings { common: admin.into(), ..Settings::default() });
    assert!(!status.success());
    assert!(log.contains("no hash of a password"), "{log}");
    assert!(log.contains("\"mppd password\" asks for a password"), "{log}");
    assert!(log.contains("the hash of a token is"), "{log}");
    assert!(!log.contains("geheim"), "{log}");
}

#[test]
fn a_short_password_is_refused_and_a_good_one_is_hashed() {
    let said = Call::new(["password"]).input(b"short\n").run();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("at least 8 characters"), "{}", said.err);
    assert!(hash_of("long enough").starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
}
