//! What of a sender stays the same from message to message.
//!
//! Lists and mass mailers give each message a sender of its own, in which a number, a signature or
//! the recipient is written; forwarders and signing sites do so too. A triplet with such a sender
//! would be new each time. These parts are left out:
//!
//! - an extension behind `+`;
//! - of Bounce Address Tag Validation (`prvs=1234567890=alice`, also `msprvs1=` and `btv1==`) all but
//!   the address that is signed;
//! - in the Sender Rewriting Scheme (`SRS0=hash=day=domain=local`, `SRS1=…`) the hashes and the day;
//! - an address written with `=` for `@` (`list-return-7-bob=example.org`): the word before the `=`
//!   and the domain;
//! - words that are numbers, or eight and more hexadecimal digits with a number among them, and
//!   UUIDs.
//!
//! What is left out of a word becomes `#`. A local part that is one word only stays as it is: a
//! mailbox may well have a number for its name. Upper and lower case are the same.

use std::borrow::Cow;

use mppd_engine::Mailbox;
use mppd_lists::mailboxes::normalise;

/// What stays the same of a sender; `<>` for the null sender.
pub(super) fn steady(sender: Mailbox<'_>) -> Cow<'_, [u8]> {
    if sender.is_null() {
        return Cow::Borrowed(b"<>");
    }
    let normal = normalise(sender);
    match steady_local(Mailbox::new(&normal).local()) {
        None => normal,
        Some(mut local) => {
            if let Some(domain) = Mailbox::new(&normal).domain() {
                local.push(b'@');
                local.extend_from_slice(domain);
            }
            Cow::Owned(local)
        }
    }
}

/// `None` where all of the local part stays.
fn steady_local(local: &[u8]) -> Option<Vec<u8>> {
    if !local.iter().any(|octet| b"+-=_.".contains(octet)) {
        return None;
    }
    let unsigned = without_signature(local);
    if let Some(rewritten) = Rewritten::parse(unsigned) {
        return Some(rewritten.steady());
    }
    Some(without_details(unsigned))
}

/// The local part of the address that is signed.
fn without_signature(mut local: &[u8]) -> &[u8] {
    while let Some(inner) = signed(local) {
        local = inner;
    }
    local
}

fn signed(local: &[u8]) -> Option<&[u8]> {
    let inner = if let Some(rest) = local.strip_prefix(b"prvs=") {
        let (first, behind) = cut(rest, b"=")?;
        // Some sites write the tag behind the address.
        let last = rest.iter().rposition(|octet| *octet == b'=')?;
        if is_tag(first) {
            behind
        } else if is_tag(&rest[last + 1..]) {
            &rest[..last]
        } else {
            return None;
        }
    } else if let Some(rest) = local.strip_prefix(b"msprvs1=") {
        cut(rest, b"=")?.1
    } else {
        cut(local.strip_prefix(b"btv1==")?, b"==")?.1
    };
    (!inner.is_empty()).then_some(inner)
}

/// A key's number, a day in three digits, and six hexadecimal digits.
fn is_tag(text: &[u8]) -> bool {
    text.len() == 10
        && text[..4].iter().all(u8::is_ascii_digit)
        && text[4..].iter().all(u8::is_ascii_hexdigit)
}

/// An address of the Sender Rewriting Scheme.
struct Rewritten<'a> {
    /// Of the forwarder that was there first, where there were several.
    forwarder: Option<&'a [u8]>,
    domain: &'a [u8],
    local: &'a [u8],
}

impl<'a> Rewritten<'a> {
    fn parse(local: &'a [u8]) -> Option<Self> {
        if let Some(rest) = local.strip_prefix(b"srs0") {
            return Self::parse_original(rest, None);
        }
        let rest = behind_separator(local.strip_prefix(b"srs1")?)?;
        let (hash, rest) = cut(rest, b"=")?;
        let (forwarder, rest) = cut(rest, b"=")?;
        if hash.is_empty() || forwarder.is_empty() {
            return None;
        }
        Self::parse_original(rest, Some(forwarder))
    }

    fn parse_original(text: &'a [u8], forwarder: Option<&'a [u8]>) -> Option<Self> {
        let (hash, rest) = cut(behind_separator(text)?, b"=")?;
        let (day, rest) = cut(rest, b"=")?;
        let (domain, local) = cut(rest, b"=")?;
        let is_whole = [hash, day, domain, local].iter().all(|part| !part.is_empty());
        is_whole.then_some(Rewritten { forwarder, domain, local })
    }

    fn steady(&self) -> Vec<u8> {
        let local = without_details(without_signature(self.local));
        match self.forwarder {
            None => [b"srs0=#=#=", self.domain, b"=", &local].concat(),
            Some(forwarder) => {
                [b"srs1=#=", forwarder, b"==#=#=", self.domain, b"=", &local].concat()
            }
        }
    }
}

fn behind_separator(text: &[u8]) -> Option<&[u8]> {
    let (separator, rest) = text.split_first()?;
    b"=+-".contains(separator).then_some(rest)
}

/// What stands before and behind the first separator.
fn cut<'a>(text: &'a [u8], separator: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = text.windows(separator.len()).position(|window| window == separator)?;
    Some((&text[..at], &text[at + separator.len()..]))
}

/// The local part without an extension, an address that is written in it, and numbers.
fn without_details(local: &[u8]) -> Vec<u8> {
    let extension = local.iter().skip(1).position(|octet| *octet == b'+');
    let local = extension.map_or(local, |at| &local[..=at]);
    without_numbers(&without_address(local))
}

fn without_address(local: &[u8]) -> Cow<'_, [u8]> {
    let Some(equals) = local.iter().rposition(|octet| *octet == b'=') else {
        return Cow::Borrowed(local);
    };
    let (before, domain) = (&local[..equals], &local[equals + 1..]);
    let is_in_name = |octet: &u8| octet.is_ascii_alphanumeric() || b"-.".contains(octet);
    if !domain.contains(&b'.') || !domain.iter().all(is_in_name) {
        return Cow::Borrowed(local);
    }
    let word = before.iter().rposition(|octet| b"-_=+".contains(octet)).map_or(0, |at| at + 1);
    Cow::Owned([&before[..word], b"#"].concat())
}

fn without_numbers(local: &[u8]) -> Vec<u8> {
    let words = || local.split(|octet| !is_in_word(*octet)).filter(|word| !word.is_empty());
    if words().nth(1).is_none() {
        return local.to_vec();
    }
    let mut steady = Vec::with_capacity(local.len());
    let mut rest = local;
    while let Some(octet) = rest.first() {
        let length = rest.iter().take_while(|octet| is_in_word(**octet)).count();
        if length == 0 {
            steady.push(*octet);
            rest = &rest[1..];
            continue;
        }
        if let Some(behind) = behind_uuid(rest) {
            steady.push(b'#');
            rest = behind;
            continue;
        }
        let (word, behind) = rest.split_at(length);
        steady.extend_from_slice(if is_number(word) { b"#" } else { word });
        rest = behind;
    }
    steady
}

/// What stands behind a UUID at the beginning of a text.
fn behind_uuid(text: &[u8]) -> Option<&[u8]> {
    const LENGTH: usize = 36;
    const HYPHENS: [usize; 4] = [8, 13, 18, 23];
    let (uuid, behind) = text.split_at_checked(LENGTH)?;
    let is_right = |(at, octet): (usize, &u8)| {
        if HYPHENS.contains(&at) { *octet == b'-' } else { octet.is_ascii_hexdigit() }
    };
    let ends = behind.first().is_none_or(|octet| !is_in_word(*octet));
    (ends && uuid.iter().enumerate().all(is_right)).then_some(behind)
}

/// Letters beyond ASCII are in words, and so is the sign for what was left out.
fn is_in_word(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'#' || !octet.is_ascii()
}

fn is_number(word: &[u8]) -> bool {
    const SHORTEST_HEXADECIMAL: usize = 8;
    if word.iter().all(u8::is_ascii_digit) {
        return true;
    }
    word.len() >= SHORTEST_HEXADECIMAL
        && word.iter().all(u8::is_ascii_hexdigit)
        && word.iter().any(u8::is_ascii_digit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn of(sender: &str) -> String {
        String::from_utf8(steady(Mailbox::new(sender.as_bytes())).into_owned()).unwrap()
    }

    #[test]
    fn a_plain_sender_stays_in_lower_case() {
        assert_eq!(of("Alice.Smith@Example.COM"), "alice.smith@example.com");
        assert_eq!(of("alice@bücher.example"), "alice@xn--bcher-kva.example");
        assert_eq!(of("alice"), "alice");
        assert_eq!(of(""), "<>");
    }

    #[test]
    fn an_extension_is_left_out() {
        assert_eq!(of("alice+shop@example.com"), "alice@example.com");
        assert_eq!(of("bounces+1234-ab-bob=example.org@mail.example"), "bounces@mail.example");
        assert_eq!(of("+4912345@sms.example"), "+4912345@sms.example");
    }

    #[test]
    fn numbers_and_recipients_are_left_out_of_variable_envelope_return_paths() {
        assert_eq!(
            of("list-return-123-bob=example.org@lists.example"),
            "list-return-#-#@lists.example"
        );
        assert_eq!(of("bounce-12_HTML-34-5@mail.example"), "bounce-#_html-#-#@mail.example");
        assert_eq!(
            of("0102018f3a2b4c5d-8d2e4f60-1a2b-4c3d-9e8f-0a1b2c3d4e5f-000000@amazonses.com"),
            "#-#-#@amazonses.com"
        );
    }

    #[test]
    fn a_mailbox_with_a_number_for_its_name_stays() {
        assert_eq!(of("12345678@example.com"), "12345678@example.com");
        assert_eq!(of("deadbeef01@example.com"), "deadbeef01@example.com");
        assert_eq!(of("info24@example.com"), "info24@example.com");
    }

    #[test]
    fn a_signature_is_left_out() {
        assert_eq!(of("prvs=1234abcdef=alice@example.com"), "alice@example.com");
        assert_eq!(of("prvs=alice=1234abcdef@example.com"), "alice@example.com");
        assert_eq!(of("msprvs1=17ab9Cde_=alice@example.com"), "alice@example.com");
        assert_eq!(of("btv1==123abc==alice@example.com"), "alice@example.com");
        assert_eq!(of("prvs=nothing=alice@example.com"), "prvs=nothing=alice@example.com");
    }

    #[test]
    fn hashes_and_days_are_left_out_of_rewritten_senders() {
        assert_eq!(
            of("SRS0=HHH=TT=example.com=alice@forward.example"),
            "srs0=#=#=example.com=alice@forward.example"
        );
        assert_eq!(
            of("SRS0+a/b+=7Q=example.com=alice@forward.example"),
            "srs0=#=#=example.com=alice@forward.example"
        );
        assert_eq!(
            of("SRS1=HHH=first.example==hhh=TT=example.com=alice@second.example"),
            "srs1=#=first.example==#=#=example.com=alice@second.example"
        );
        assert_eq!(
            of("SRS0=HHH=TT=example.com=prvs=1234abcdef=alice+x@forward.example"),
            "srs0=#=#=example.com=alice@forward.example"
        );
    }

    #[test]
    fn other_people_stay_other_people() {
        let senders = [
            "alice@example.com",
            "bob@example.com",
            "alice@example.net",
            "alice.smith@example.com",
            "alice-smith@example.com",
            "SRS0=HHH=TT=example.com=alice@forward.example",
            "SRS0=HHH=TT=example.com=bob@forward.example",
            "SRS0=HHH=TT=example.net=alice@forward.example",
            "SRS0=HHH=TT=example.com=alice@other.example",
            "list-return-1-x=example.org@lists.example",
            "news-return-1-x=example.org@lists.example",
            "1001@example.com",
            "1002@example.com",
        ];
        let mut seen: Vec<String> = senders.map(of).to_vec();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), senders.len(), "{seen:?}");
    }

    /// Local parts made of what the rules look for.
    fn odd_local() -> impl Strategy<Value = String> {
        let pieces = select(vec![
            "srs0",
            "SRS1",
            "prvs",
            "msprvs1",
            "btv1",
            "=",
            "==",
            "+",
            "-",
            "_",
            ".",
            "#",
            "a",
            "alice",
            "12",
            "1234abcdef",
            "12345678",
            "example.org",
            "x.y",
            "ü",
            "TT",
        ]);
        prop::collection::vec(pieces, 0..14).prop_map(|pieces| pieces.concat())
    }

    /// A word of letters only.
    fn word() -> impl Strategy<Value = String> {
        "[a-z]{1,8}"
    }

    proptest! {
        #[test]
        fn what_stays_is_steady_itself(local in odd_local(), domain in select(vec!["", "@x.example", "@1.2"])) {
            let once = of(&format!("{local}{domain}"));
            let again = if once == "<>" { once.clone() } else { of(&once) };
            prop_assert_eq!(again, once);
        }

        #[test]
        fn any_octets_have_something_that_stays(sender: Vec<u8>) {
            let once = steady(Mailbox::new(&sender)).into_owned();
            prop_assert!(!once.is_empty());
        }

        /// Without numbers, signs and extensions nothing is left out: words of letters stay apart.
        #[test]
        fn senders_of_plain_words_are_only_themselves(
            words in prop::collection::vec(word(), 1..5),
            separator in select(vec!["-", ".", "_"]),
        ) {
            let sender = format!("{}@example.com", words.join(separator));
            prop_assert_eq!(of(&sender), sender);
        }

        /// What differs in a number only is the same, beside at least one other word.
        #[test]
        fn messages_of_a_list_have_one_sender(list in word(), one: u32, other: u32) {
            let sender = |number| of(&format!("{list}-bounce-{number}@lists.example"));
            prop_assert_eq!(sender(one), sender(other));
        }

        /// The domain always counts.
        #[test]
        fn the_domain_always_stays(local in odd_local(), domain in "[a-z]{1,9}\\.example") {
            let whole = of(&format!("x{local}@{domain}"));
            let end = format!("@{domain}");
            prop_assert!(whole.ends_with(&end), "{}", whole);
        }
    }
}
