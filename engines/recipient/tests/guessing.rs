//! Clients that try out addresses.

use super::*;

#[tokio::test]
async fn who_guesses_is_marked_for_a_time() {
    let mut site = Site::new(&watched(""));
    for recipient in ["a@example.org", "b@example.org", "b@example.org", "c@example.org"] {
        assert_eq!(site.status(recipient).await, "invalid", "{recipient}");
    }
    let outcome = site.ask("alice@example.org").await;
    assert_eq!(outcome.status, "guessing");
    assert_eq!(outcome.text, "192.0.2.1 asked for 3 addresses that do not exist");
    assert_eq!(site.status("postmaster@example.org").await, "valid");
    let other = [("client_address", "192.0.2.2")];
    assert_eq!(site.ask_with("alice@example.org", &other).await.status, "valid");
    site.later(999);
    assert_eq!(site.status("alice@example.org").await, "guessing");
    site.later(1);
    assert_eq!(site.status("alice@example.org").await, "valid");
    assert_eq!(site.status("a@example.org").await, "invalid");
}

#[tokio::test]
async fn who_asks_for_as_many_valid_addresses_is_not_marked() {
    let site = Site::new(&watched(""));
    for recipient in ["alice", "bob", "jörg", "a", "b", "c", "d", "e"] {
        let status = site.status(&format!("{recipient}@example.org")).await;
        assert_ne!(status, "guessing", "{recipient}");
    }
    assert_eq!(site.status("alice@example.org").await, "valid");
}

#[tokio::test]
async fn a_network_counts_as_one_client_where_it_is_told() {
    let site = Site::new(&watched(r#"ipv4_prefix="24""#));
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        let recipient = format!("{client}@example.org");
        let attributes = [("client_address", client)];
        assert_eq!(site.ask_with(&recipient, &attributes).await.status, "invalid");
    }
    let outcome = site.ask_with("alice@example.org", &[("client_address", "192.0.2.9")]).await;
    assert_eq!(outcome.text, "192.0.2.0/24 asked for 3 addresses that do not exist");
}

#[tokio::test]
async fn who_has_logged_in_or_is_of_this_site_is_never_marked() {
    let site = Site::new(&watched(""));
    let marked = Site::new(&watched(r#"never="203.0.113.0/24""#));
    for (site, attribute, expected) in [
        (&site, ("sasl_username", "alice"), "valid"),
        (&site, ("client_address", "127.0.0.1"), "valid"),
        (&site, ("client_address", "::1"), "valid"),
        (&site, ("client_address", "unknown"), "valid"),
        (&marked, ("client_address", "203.0.113.9"), "valid"),
        (&marked, ("client_address", "127.0.0.1"), "guessing"),
    ] {
        for recipient in ["a@example.org", "b@example.org", "c@example.org"] {
            site.ask_with(recipient, &[attribute]).await;
        }
        let status = site.ask_with("alice@example.org", &[attribute]).await.status;
        assert_eq!(status, expected, "{attribute:?}");
    }
}

#[tokio::test]
async fn what_nobody_knows_is_no_guess() {
    let server = SmtpServer::start(script().greeting("554 no"));
    let guessing = r#"<guessing after="1"/>"#;
    let site = Site::new(&format!("{}{guessing}", callout(&server, "")));
    assert_eq!(site.status("a@example.org").await, "unknown");
    assert_eq!(site.status("b@example.org").await, "unknown");
}
