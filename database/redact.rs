//! Hides secrets in texts that are kept for reports: a report shows the line at fault, and the line
//! at fault may hold a password.

use std::ops::Range;

use mppd_engine::config::nearest;

/// Whether an element, attribute or option of this name holds a secret.
#[must_use]
pub fn is_secret(name: &str) -> bool {
    let name = name.to_lowercase();
    name.contains("password") || name.contains("secret") || nearest(&name, ["password"]).is_some()
}

/// The text of an option file of the MySQL clients with its secrets hidden.
#[must_use]
pub fn option_file(text: &str) -> String {
    let mut hidden = Vec::new();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let key = line.find('=').filter(|end| is_secret(line[..*end].trim()));
        hidden.extend(key.map(|end| start + end + 1..start + line.len()));
        start += line.len();
    }
    with_stars(text, &hidden)
}

/// Replaces each character in the ranges by as many stars as it has octets; white space stays.
#[must_use]
pub fn with_stars(text: &str, hidden: &[Range<usize>]) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut at = 0;
    for range in hidden.iter().filter(|range| !range.is_empty()) {
        shown.push_str(text.get(at..range.start).unwrap_or_default());
        for letter in text[range.start.max(at)..range.end.max(at)].chars() {
            if letter.is_ascii_whitespace() {
                shown.push(letter);
            } else {
                shown.extend(std::iter::repeat_n('*', letter.len_utf8()));
            }
        }
        at = at.max(range.end);
    }
    shown.push_str(&text[at..]);
    shown
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn secrets_in_option_files_are_hidden() {
        let text = "[client]\nuser=u\npassword = 'a b'\nloose_password=x";
        let expected = "[client]\nuser=u\npassword = ** **\nloose_password=*";
        assert_eq!(option_file(text), expected);
    }

    proptest! {
        #[test]
        fn every_octet_keeps_its_place(text in "(password|=|\"|'|é| |\n|x){0,40}") {
            let hidden = option_file(&text);
            prop_assert_eq!(hidden.len(), text.len());
            let line_ends = |text: &str| text.match_indices('\n').map(|(at, _)| at).collect::<Vec<_>>();
            prop_assert_eq!(line_ends(&hidden), line_ends(&text));
        }
    }
}
