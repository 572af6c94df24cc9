//! Hashes, in lower-case hexadecimal digits.

use std::borrow::Cow;

use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Digest, Sha256, Sha512};

type Arguments<'a> = [Cow<'a, [u8]>];

/// `md5 TEXT`
pub(in super::super) fn md5(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    push_hexadecimal(&Md5::digest(&arguments[0]), to);
}

/// `sha1 TEXT`
pub(in super::super) fn sha1(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    push_hexadecimal(&Sha1::digest(&arguments[0]), to);
}

/// `sha256 TEXT`
pub(in super::super) fn sha256(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    push_hexadecimal(&Sha256::digest(&arguments[0]), to);
}

/// `hmac ALGORITHM KEY TEXT`, RFC 2104; nothing where the algorithm is not known.
pub(in super::super) fn hmac(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    let (key, text) = (&arguments[1], &arguments[2]);
    match arguments[0].as_ref() {
        b"md5" => push_code::<Hmac<Md5>>(key, text, to),
        b"sha1" => push_code::<Hmac<Sha1>>(key, text, to),
        b"sha256" => push_code::<Hmac<Sha256>>(key, text, to),
        b"sha512" => push_code::<Hmac<Sha512>>(key, text, to),
        _ => {}
    }
}

const ALGORITHMS: &[&str] = &["md5", "sha1", "sha256", "sha512"];

/// Refuses an algorithm that is not known.
pub(in super::super) fn check_hmac(arguments: &[Option<&[u8]>]) -> Result<(), (usize, String)> {
    let Some(Some(name)) = arguments.first() else { return Ok(()) };
    if ALGORITHMS.iter().any(|known| known.as_bytes() == *name) {
        return Ok(());
    }
    let shown = String::from_utf8_lossy(name);
    Err((0, format!("unknown algorithm \"{shown}\"; known are {}", ALGORITHMS.join(", "))))
}

fn push_code<M: Mac + KeyInit>(key: &[u8], text: &[u8], to: &mut Vec<u8>) {
    // A key of any length will do; nothing else could be wrong.
    let Ok(mut code) = <M as Mac>::new_from_slice(key) else { return };
    code.update(text);
    push_hexadecimal(&code.finalize().into_bytes(), to);
}

pub(in super::super) fn push_hexadecimal(octets: &[u8], to: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for octet in octets {
        to.push(DIGITS[usize::from(octet >> 4)]);
        to.push(DIGITS[usize::from(octet & 15)]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(algorithm: &[u8], key: &[u8], text: &[u8]) -> String {
        let mut to = Vec::new();
        hmac(&[algorithm.into(), key.into(), text.into()], &mut to);
        String::from_utf8(to).unwrap()
    }

    #[test]
    fn codes_are_those_of_the_rfcs() {
        // RFC 2202 and RFC 4231, second test case of each.
        let (key, text) = (b"Jefe", b"what do ya want for nothing?");
        assert_eq!(code(b"md5", key, text), "750c783e6ab0b503eaa86e310a5db738");
        assert_eq!(code(b"sha1", key, text), "effcdf6ae5eb2fa2d27416d5f184df9c259a7c79");
        assert!(code(b"sha256", key, text).starts_with("5bdcc146bf60754e6a042426089575c7"));
        assert!(code(b"sha512", key, text).starts_with("164b7a7bfcf819e2e395fbe73b56e0a3"));
    }

    #[test]
    fn an_unknown_algorithm_gives_nothing() {
        assert_eq!(code(b"crc32", b"k", b"t"), "");
        assert!(check_hmac(&[Some(b"crc32")]).is_err());
        assert!(check_hmac(&[None]).is_ok());
    }
}
