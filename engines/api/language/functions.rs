//! What the functions of the language compute: octets in, octets out, nothing else.
//!
//! | module | what lives there |
//! |---|---|
//! | `text` | lengths, parts, replacing, folding |
//! | `digest` | hashes |
//! | `encoding` | base64 and escapes |
//! | `domain` | parts of addresses and domain names |
//! | `address` | forms of IP addresses |

pub(super) mod address;
pub(super) mod digest;
pub(super) mod domain;
pub(super) mod encoding;
pub(super) mod text;

use std::borrow::Cow;

/// No function's value, no variable and no named result gets longer than this, in octets: what
/// texts could otherwise make of a request by replacing, escaping and appending has no bound.
pub const LONGEST: usize = 1 << 20;

/// A function: its arguments, as many as its declaration says, and where the result is appended.
pub(super) type Function = fn(&[Cow<'_, [u8]>], &mut Vec<u8>);

/// Looks at the arguments that are constant when the configuration is read; says which one can't
/// be, and why.
pub(super) type Check = fn(&[Option<&[u8]>]) -> Result<(), (usize, String)>;

/// Refuses a constant that is no number.
fn number_at(arguments: &[Option<&[u8]>], index: usize, least: i64) -> Result<(), (usize, String)> {
    let Some(Some(constant)) = arguments.get(index) else { return Ok(()) };
    match integer(constant) {
        Some(number) if number >= least => Ok(()),
        _ => {
            let shown = String::from_utf8_lossy(constant);
            let bound = if least == i64::MIN { String::new() } else { format!(" from {least}") };
            Err((index, format!("\"{shown}\" is no whole number{bound}")))
        }
    }
}

fn integer(octets: &[u8]) -> Option<i64> {
    std::str::from_utf8(octets).ok()?.parse().ok()
}

/// The characters of a value; an octet that is not part of one counts as one.
fn characters(octets: &[u8]) -> impl Iterator<Item = &[u8]> {
    octets.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid();
        let letters =
            valid.char_indices().map(|(at, letter)| &valid.as_bytes()[at..at + letter.len_utf8()]);
        letters.chain(chunk.invalid().chunks(1))
    })
}
