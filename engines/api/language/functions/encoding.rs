//! Base64, and what makes a value fit into a URI, a JSON string or XML text.

use std::borrow::Cow;
use std::io::Write as _;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

type Arguments<'a> = [Cow<'a, [u8]>];

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// `encode_base64 TEXT`, RFC 4648, section 4, in one line.
pub(in super::super) fn encode_base64(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    to.extend_from_slice(BASE64.encode(&arguments[0]).as_bytes());
}

/// `decode_base64 TEXT`: white space and missing padding do no harm; what is no base64 gives
/// nothing.
pub(in super::super) fn decode_base64(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    let mut digits = arguments[0].to_vec();
    digits.retain(|octet| !octet.is_ascii_whitespace());
    if let Ok(octets) = BASE64.decode(&digits) {
        to.extend_from_slice(&octets);
    }
}

/// `uri_escape TEXT`: everything but the unreserved characters of RFC 3986 as `%HH`.
pub(in super::super) fn uri_escape(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    for octet in arguments[0].iter() {
        match octet {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => to.push(*octet),
            _ => push(to, format_args!("%{octet:02X}")),
        }
    }
}

/// `json_escape TEXT`: what stands between the quotes of a JSON string (RFC 8259, section 7);
/// U+FFFD for what is not UTF-8.
pub(in super::super) fn json_escape(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    for letter in String::from_utf8_lossy(&arguments[0]).chars() {
        match letter {
            '"' => to.extend_from_slice(b"\\\""),
            '\\' => to.extend_from_slice(b"\\\\"),
            '\n' => to.extend_from_slice(b"\\n"),
            '\r' => to.extend_from_slice(b"\\r"),
            '\t' => to.extend_from_slice(b"\\t"),
            '\u{0}'..='\u{1f}' | '\u{7f}' => push(to, format_args!("\\u{:04x}", u32::from(letter))),
            letter => push_letter(letter, to),
        }
    }
}

/// `xml_escape TEXT`: fit for text and for attributes of XML; U+FFFD for what XML can't hold.
pub(in super::super) fn xml_escape(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    for letter in String::from_utf8_lossy(&arguments[0]).chars() {
        match letter {
            '&' => to.extend_from_slice(b"&amp;"),
            '<' => to.extend_from_slice(b"&lt;"),
            '>' => to.extend_from_slice(b"&gt;"),
            '"' => to.extend_from_slice(b"&quot;"),
            '\'' => to.extend_from_slice(b"&apos;"),
            '\t' | '\n' | '\r' => push(to, format_args!("&#{};", u32::from(letter))),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => push_letter('\u{fffd}', to),
            letter => push_letter(letter, to),
        }
    }
}

fn push_letter(letter: char, to: &mut Vec<u8>) {
    to.extend_from_slice(letter.encode_utf8(&mut [0; 4]).as_bytes());
}

fn push(to: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    // Writing to memory cannot fail.
    let _in_memory = to.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::functions::Function;

    fn call(function: Function, text: &[u8]) -> Vec<u8> {
        let mut to = Vec::new();
        function(&[Cow::Borrowed(text)], &mut to);
        to
    }

    #[test]
    fn base64_is_read_with_and_without_padding_and_blanks() {
        assert_eq!(call(decode_base64, b"YQ=="), b"a");
        assert_eq!(call(decode_base64, b" Y\nQ "), b"a");
        assert_eq!(call(decode_base64, b"Y!"), b"");
        assert_eq!(call(encode_base64, b"\xff\xfe"), b"//4=");
    }

    #[test]
    fn only_unreserved_characters_stay_in_a_uri() {
        assert_eq!(call(uri_escape, b"a-z_~. /?&%\xff"), b"a-z_~.%20%2F%3F%26%25%FF");
    }

    #[test]
    fn nothing_ends_a_json_string_early() {
        assert_eq!(
            call(json_escape, b"\"\\\n\0\x7f\xff"),
            b"\\\"\\\\\\n\\u0000\\u007f\xef\xbf\xbd"
        );
    }

    #[test]
    fn nothing_in_xml_text_is_markup() {
        assert_eq!(
            call(xml_escape, b"<a b='\"'>&\n\x01"),
            b"&lt;a b=&apos;&quot;&apos;&gt;&amp;&#10;\xef\xbf\xbd"
        );
    }
}
