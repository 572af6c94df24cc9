//! Restriction lists of `main.cf` as texts: where in one a policy server is asked, and where it is
//! to be asked in one that asks nobody yet.

use std::ops::Range;

/// The restriction that asks a policy server.
pub(super) const CHECK: &str = "check_policy_service";

/// Restrictions behind which nothing is asked any more, where they are the last.
const LAST_WORDS: [&str; 4] = ["permit", "reject", "defer", "defer_if_permit"];

/// The list with `service` asked: in place of what asks the same endpoint so far, else as the last
/// that can have a say. What else is in the list stays as it is, octet by octet.
pub(super) fn asking(list: &str, endpoint: &str, service: &str) -> String {
    let words = words(list);
    let asks = |pair: &[Range<usize>]| {
        let [check, asked] = pair else { return false };
        list[check.clone()].eq_ignore_ascii_case(CHECK)
            && endpoint_of(&list[asked.clone()]) == endpoint
    };
    if let Some(index) = words.windows(2).position(asks) {
        let asked = &words[index + 1];
        return format!("{}{service}{}", &list[..asked.start], &list[asked.end..]);
    }
    let wanted = format!("{CHECK} {service}");
    let end = words.last().filter(|word| LAST_WORDS.contains(&&list[(*word).clone()]));
    match end {
        Some(end) => format!("{}{wanted}, {}", &list[..end.start], &list[end.start..]),
        None if words.is_empty() => wanted,
        None => format!("{}, {wanted}", list.trim_end_matches([',', ' ', '\t', '\r', '\n'])),
    }
}

/// Whether the list has this restriction.
pub(super) fn has(list: &str, restriction: &str) -> bool {
    words(list).into_iter().any(|word| &list[word] == restriction)
}

/// The endpoint that a word behind [`CHECK`] names: all of it, or its first word between braces.
fn endpoint_of(word: &str) -> &str {
    let inside = word.strip_prefix('{').and_then(|word| word.strip_suffix('}'));
    let Some(inside) = inside else { return word };
    let first = words(inside).into_iter().next().unwrap_or_default();
    &inside[first]
}

/// The words of a list: commas and white space stand between them, braces hold one together.
fn words(list: &str) -> Vec<Range<usize>> {
    let mut words = Vec::new();
    let (mut start, mut depth) = (None, 0_u32);
    for (at, letter) in list.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        let is_between = depth == 0 && (letter == ',' || letter.is_ascii_whitespace());
        match start {
            None if !is_between => start = Some(at),
            Some(first) if is_between => {
                words.push(first..at);
                start = None;
            }
            _ => {}
        }
    }
    words.extend(start.map(|first| first..list.len()));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: &str = "inet:127.0.0.1:10040";
    const SERVICE: &str = "{ inet:127.0.0.1:10040, timeout=35s }";

    fn asked(list: &str) -> String {
        asking(list, HERE, SERVICE)
    }

    #[test]
    fn a_list_that_asks_nobody_asks_behind_all_that_is_there() {
        assert_eq!(asked(""), format!("check_policy_service {SERVICE}"));
        assert_eq!(asked("a, b ,\n"), format!("a, b, check_policy_service {SERVICE}"));
    }

    #[test]
    fn what_ends_a_list_for_everybody_stays_the_last() {
        let expected = format!("a b check_policy_service {SERVICE}, permit");
        assert_eq!(asked("a b permit"), expected);
        assert_eq!(asked("permit_mynetworks"), format!("permit_mynetworks, {CHECK} {SERVICE}"));
    }

    #[test]
    fn a_server_that_is_asked_already_is_asked_once_and_as_it_should_be() {
        for old in [HERE, "{ inet:127.0.0.1:10040 }", "{inet:127.0.0.1:10040, { timeout = 9 s } }"]
        {
            let list = format!("a\n  Check_Policy_Service {old},, b");
            assert_eq!(asked(&list), format!("a\n  Check_Policy_Service {SERVICE},, b"), "{old}");
        }
    }

    #[test]
    fn once_more_changes_nothing() {
        for list in ["", "a, b", "a permit", "check_policy_service inet:127.0.0.1:10040"] {
            assert_eq!(asked(&asked(list)), asked(list));
        }
    }

    #[test]
    fn other_policy_servers_stay() {
        let list = "check_policy_service inet:127.0.0.1:10023";
        assert_eq!(asked(list), format!("{list}, check_policy_service {SERVICE}"));
    }

    #[test]
    fn odd_lists_are_read_to_their_end() {
        for list in ["{", "}}} a", "check_policy_service", "check_policy_service {", ", ,", "{ {é"]
        {
            assert!(asked(list).contains(SERVICE), "{list}");
        }
    }
}
