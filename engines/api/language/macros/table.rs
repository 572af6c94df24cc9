//! Every macro there is, in the order of the reference, and the few that have their values here.

use std::borrow::Cow;
use std::sync::LazyLock;

use super::{MacroDoc, MacroFamily, PartDoc, Value};
use crate::attribute::Attribute;
use crate::language::expression::GlobalsVerb;
use crate::language::functions::{address, digest, domain, encoding, text};
use crate::language::view::View;
use crate::stage::Stages;

/// The parts of a mail address.
macro_rules! address_parts {
    ($attribute:ident, $name:literal, $local:literal, $domain:literal, $reverse:literal) => {
        &[
            PartDoc {
                form: "address",
                meaning: "All of it, as without a part.",
                example: ("", ""),
                value: Value::Part(Attribute::$attribute, domain::address),
            },
            PartDoc {
                form: "local",
                meaning: "What stands before the last `@`; everything where there is none.",
                example: (concat!("$", $name, ".local"), $local),
                value: Value::Part(Attribute::$attribute, domain::local),
            },
            PartDoc {
                form: "domain",
                meaning: "What stands behind the last `@`, as it was written.",
                example: (concat!("$", $name, ".domain"), $domain),
                value: Value::Part(Attribute::$attribute, domain::domain),
            },
            PartDoc {
                form: "reverse_domain",
                meaning: "The domain with its labels in reverse order, in lower case, as the \
                          records keep it.",
                example: (concat!("$", $name, ".reverse_domain"), $reverse),
                value: Value::Part(Attribute::$attribute, domain::reverse_domain_of_address),
            },
        ]
    };
}

/// The one part of a host's name.
macro_rules! name_parts {
    ($attribute:ident, $name:literal) => {
        &[PartDoc {
            form: "reverse_domain",
            meaning: "The name with its labels in reverse order, in lower case.",
            example: (concat!("$", $name, ".reverse_domain"), "net.example.mail"),
            value: Value::Part(Attribute::$attribute, domain::reversed),
        }]
    };
}

/// One entry of the table; what is left out is none, or every stage.
macro_rules! entry {
    (
        $family:ident $name:literal ($arguments:literal) = $value:expr,
        $meaning:literal,
        [$($example:literal => $result:literal),* $(,)?]
        $(, stages: $stages:expr)? $(, parts: $parts:expr)?
    ) => {
        MacroDoc {
            name: $name,
            family: MacroFamily::$family,
            arguments: $arguments,
            parts: entry!(@or &[] $(, $parts)?),
            stages: entry!(@or Stages::ALL $(, $stages)?),
            meaning: $meaning,
            examples: &[$(($example, $result)),*],
            value: $value,
        }
    };
    (@or $default:expr) => { $default };
    (@or $default:expr, $given:expr) => { $given };
}

pub(super) const MACROS: &[MacroDoc] = &[
    entry!(Request "sender" ("") = Value::Attribute(Attribute::Sender),
        "The envelope sender, without `<>`; empty for the null sender.",
        ["$sender" => "Alice@Mail.Example.com"],
        stages: Stages::FROM_MAIL,
        parts: address_parts!(Sender, "sender", "Alice", "Mail.Example.com", "com.example.mail")),
    entry!(Request "recipient" ("") = Value::Attribute(Attribute::Recipient),
        "The envelope recipient; at DATA and behind it only where there is just one.",
        ["$recipient" => "bob@example.org"],
        stages: Stages::FROM_RCPT,
        parts: address_parts!(Recipient, "recipient", "bob", "example.org", "org.example")),
    entry!(Request "sasl_username" ("") = Value::Attribute(Attribute::SaslUsername),
        "The login name of an authenticated client.",
        ["$sasl_username" => "alice@example.com"],
        parts: address_parts!(SaslUsername, "sasl_username", "alice", "example.com", "com.example")),
    entry!(Request "ip" ("") = Value::Attribute(Attribute::ClientAddress),
    "The client's address, or `unknown`. The parts are empty where it is not known.",
    ["$ip" => "192.0.2.25"],
    parts: &[
        PartDoc {
            form: "dec",
            meaning: "As one decimal number.",
            example: ("$ip.dec", "3221226009"),
            value: Value::Part(Attribute::ClientAddress, address::decimal),
        },
        PartDoc {
            form: "hex",
            meaning: "As hexadecimal digits: 8 for IPv4, 32 for IPv6.",
            example: ("$ip.hex", "c0000219"),
            value: Value::Part(Attribute::ClientAddress, address::hexadecimal),
        },
        PartDoc {
            form: "reverse",
            meaning: "From the last octet (IPv4) or nibble (IPv6) to the first, as DNS lists \
                      are asked.",
            example: ("${ip.reverse}.bl.example.org", "25.2.0.192.bl.example.org"),
            value: Value::Part(Attribute::ClientAddress, address::reverse),
        },
        PartDoc {
            form: "network(BITS[,BITS])",
            meaning: "The network of so many bits that the address is in. A second number is \
                      for IPv6; without, the first is for both.",
            example: ("$ip.network(24,64)", "192.0.2.0/24"),
            value: Value::Network,
        },
    ]),
    entry!(Request "host" ("") = Value::Attribute(Attribute::ClientName),
        "The client's verified name, or `unknown`.",
        ["$host" => "mail.example.net"],
        parts: name_parts!(ClientName, "host")),
    entry!(Request "helo" ("") = Value::Attribute(Attribute::HeloName),
        "What the client said after HELO or EHLO.",
        ["$helo" => "mail.example.net"],
        stages: Stages::FROM_HELO,
        parts: name_parts!(HeloName, "helo")),
    entry!(Request "request" ("") = Value::Request,
        "Any attribute of the request, by the name that Postfix gives it: `$request.NAME`. Empty \
         where it is absent.",
        ["$request.size" => "4096", "$request.etrn_domain" => "", "$request.not_known_yet" => ""]),
    entry!(Exchange "stage" ("") = Value::Live(stage),
        "The stage of the request.",
        ["$stage" => "policy-rcpt"]),
    entry!(Exchange "group" ("") = Value::Live(group),
        "The ID of the policy group.",
        ["$group" => "default"]),
    entry!(Exchange "score" ("") = Value::Live(score),
        "What the effects `score N` have come to so far.",
        ["$score" => "0"]),
    entry!(Exchange "engines" ("") = Value::Engine,
        "What an engine came to, by its full ID: `$engines.ID.status`, `$engines.ID.text`, \
         `$engines.ID.result` (its result of that name or else its status), and by their names \
         its values and its other results. Empty where it has not run.",
        ["$engines.wbl.status" => "black", "$engines.wbl.result" => "black",
         "$engines.wbl.entry" => "example.com", "$engines.lists.blocked.status" => ""]),
    entry!(Exchange "embedded" ("") = Value::Engine,
        "Another name of `$engines`: `$embedded.ch_wbl.result`.",
        ["$embedded.wbl.result" => "black"]),
    entry!(Exchange "field" ("NAME") = Value::Field,
        "One of the engine's own values, where a text follows from its run. What can be written \
         as a name needs no `field`: `$site`.",
        []),
    entry!(Exchange "decision" ("") = Value::Decision(decision),
    "The word or code of the decision, in the end chains.",
    ["$decision" => "REJECT"],
    parts: &[
        PartDoc {
            form: "text",
            meaning: "What stands behind the word.",
            example: ("$decision.text", "not today"),
            value: Value::Decision(decision_text),
        },
        PartDoc {
            form: "engine",
            meaning: "The ID of the engine that decided; empty where the chain ran to its end.",
            example: ("$decision.engine", "wbl"),
            value: Value::Decision(decision_engine),
        },
    ]),
    entry!(Exchange "exception" ("") = Value::Exception(exception),
    "What kind of exception it was, in the end-exception chain: `timeout`, `panic`, `failed`, \
     `overloaded`, `suspended`, `gone`, `deadline`.",
    ["$exception" => ""],
    parts: &[
        PartDoc {
            form: "engine",
            meaning: "The ID of the engine that failed; empty for the request as a whole.",
            example: ("$exception.engine", ""),
            value: Value::Exception(exception_engine),
        },
        PartDoc {
            form: "text",
            meaning: "What happened, for people.",
            example: ("$exception.text", ""),
            value: Value::Exception(exception_text),
        },
    ]),
    entry!(Variables "globals_set" ("NAME VALUE") = Value::Globals(GlobalsVerb::Set),
        "Sets a variable of this request; empty itself.",
        ["${globals_set a 1}$sp${globals_get a}" => " 1"]),
    entry!(Variables "globals_append" ("NAME VALUE") = Value::Globals(GlobalsVerb::Append),
        "Appends to a variable of this request; empty itself.",
        ["${globals_set a 1}${globals_append a 2}${globals_get a}" => "12"]),
    entry!(Variables "globals_get" ("NAME") = Value::Globals(GlobalsVerb::Get),
        "A variable of this request; empty where it was not set.",
        ["${globals_get a}" => ""]),
    entry!(Variables "globals_defined" ("NAME") = Value::Globals(GlobalsVerb::Defined),
        "`1` where the variable was set, also to nothing; else `0`.",
        ["${globals_defined a}${globals_set a \"\"}${globals_defined a}" => "01"]),
    entry!(Text "lower" ("TEXT") = Value::Pure(text::lower),
        "In lower case.",
        ["${lower $sender}" => "alice@mail.example.com"]),
    entry!(Text "upper" ("TEXT") = Value::Pure(text::upper),
        "In upper case.",
        ["${upper \"grüße\"}" => "GRÜSSE"]),
    entry!(Text "length" ("TEXT") = Value::Pure(text::length),
        "The number of characters.",
        ["${length $helo}" => "16", "${length ä}" => "1"]),
    entry!(Text "substr" ("TEXT START [LENGTH]") = Value::Checked(text::substr, text::check_substr),
        "The part that begins at START, counted from 0, or from the end where negative; at most \
         LENGTH characters of it.",
        ["${substr $helo 5}" => "example.net", "${substr $helo -3 2}" => "ne"]),
    entry!(Text "text_find_replace_all" ("TEXT FIND REPLACEMENT")
            = Value::Checked(text::find_replace_all, text::check_find),
        "With every FIND replaced.",
        ["${text_find_replace_all $helo . \" dot \"}" => "mail dot example dot net"]),
    entry!(Text "text_truncate" ("TEXT LENGTH [MARK]")
            = Value::Checked(text::truncate, text::check_truncate),
        "At most LENGTH characters; where something is cut off, MARK is the end of them.",
        ["${text_truncate $helo 7}" => "mail.ex", "${text_truncate $helo 7 ...}" => "mail..."]),
    entry!(Text "wrap" ("WIDTH TEXT") = Value::Checked(text::wrap, text::check_wrap),
        "Folded at blanks into lines of at most WIDTH characters; longer words are cut.",
        ["${wrap 8 \"one two three\"}" => "one two\nthree"]),
    entry!(Text "if_not_empty" ("TEXT THEN [ELSE]") = Value::IfNotEmpty,
        "THEN if TEXT is not empty, else ELSE. What is not chosen is not evaluated.",
        ["${if_not_empty $sender \"from $sender.domain\" bounce}" => "from Mail.Example.com",
         "${if_not_empty $request.etrn_domain yes}" => ""]),
    entry!(Text "not_empty" ("TEXT") = Value::Pure(text::not_empty),
        "`1` if TEXT is not empty, else `0`.",
        ["${not_empty $sender}" => "1"]),
    entry!(Text "empty" ("TEXT") = Value::Pure(text::empty),
        "`1` if TEXT is empty, else `0`.",
        ["${empty $sender}" => "0"]),
    entry!(Domain "reverse_domain" ("DOMAIN") = Value::Pure(domain::reverse_domain),
        "The labels in reverse order, in lower case.",
        ["${reverse_domain Mail.Example.com}" => "com.example.mail"]),
    entry!(Domain "registrable_domain" ("DOMAIN")
            = Value::Pure(domain::registrable_domain),
        "The public suffix with one more label, in lower case; empty where there is none.",
        ["${registrable_domain $host}" => "example.net",
         "${registrable_domain a.b.example.co.uk}" => "example.co.uk"]),
    entry!(Digest "md5" ("TEXT") = Value::Pure(digest::md5),
        "The MD5 sum, in hexadecimal digits.",
        ["${md5 abc}" => "900150983cd24fb0d6963f7d28e17f72"]),
    entry!(Digest "sha1" ("TEXT") = Value::Pure(digest::sha1),
        "The SHA-1 sum, in hexadecimal digits.",
        ["${sha1 abc}" => "a9993e364706816aba3e25717850c26c9cd0d89d"]),
    entry!(Digest "sha256" ("TEXT") = Value::Pure(digest::sha256),
        "The SHA-256 sum, in hexadecimal digits.",
        ["${sha256 abc}"
         => "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"]),
    entry!(Digest "hmac" ("ALGORITHM KEY TEXT") = Value::Checked(digest::hmac, digest::check_hmac),
        "The keyed hash of RFC 2104, in hexadecimal digits. ALGORITHM is `md5`, `sha1`, `sha256` \
         or `sha512`.",
        ["${hmac md5 Jefe \"what do ya want for nothing?\"}"
         => "750c783e6ab0b503eaa86e310a5db738"]),
    entry!(Encoding "encode_base64" ("TEXT") = Value::Pure(encoding::encode_base64),
        "In base64.",
        ["${encode_base64 \"a b\"}" => "YSBi"]),
    entry!(Encoding "decode_base64" ("TEXT") = Value::Pure(encoding::decode_base64),
        "What the base64 says; empty where it is none.",
        ["${decode_base64 YSBi}" => "a b"]),
    entry!(Encoding "uri_escape" ("TEXT") = Value::Pure(encoding::uri_escape),
        "Fit for any part of a URI.",
        ["${uri_escape $sender}" => "Alice%40Mail.Example.com"]),
    entry!(Encoding "json_escape" ("TEXT") = Value::Pure(encoding::json_escape),
        "Fit for a string of JSON, whose quotes are yours; U+FFFD for what is not UTF-8.",
        ["{\"a\": \"${json_escape \"x\\\"y\"}\"}" => "{\"a\": \"x\\\"y\"}"]),
    entry!(Encoding "xml_escape" ("TEXT") = Value::Pure(encoding::xml_escape),
        "Fit for text and attributes of XML; U+FFFD for what XML can't hold.",
        ["${xml_escape \"a<b\"}" => "a&lt;b"]),
    entry!(Encoding "escape" ("TEXT") = Value::Itself,
        "TEXT itself: a statement of SQL has parameters in the place of macros, and nothing needs \
         to be escaped.",
        ["${escape \"it's\"}" => "it's"]),
    entry!(Time "current_time" ("[FORMAT]") = Value::CurrentTime,
        "When the request came, in the time zone of the system. FORMAT is that of strftime, \
         `%Y-%m-%dT%H:%M:%S%:z` where it is left out.",
        ["$current_time" => "2024-02-09T07:05:03+00:00",
         "${current_time \"%A, %d %B %Y\"}" => "Friday, 09 February 2024"]),
    entry!(Time "year" ("") = Value::Time("%Y"), "Year, four digits.", ["$year" => "2024"]),
    entry!(Time "month" ("") = Value::Time("%m"), "Month, `01` to `12`.", ["$month" => "02"]),
    entry!(Time "day" ("") = Value::Time("%d"), "Day of the month, `01` to `31`.",
        ["$day.$month.$year" => "09.02.2024"]),
    entry!(Time "hour" ("") = Value::Time("%H"), "Hour, `00` to `23`.", ["$hour" => "07"]),
    entry!(Time "minute" ("") = Value::Time("%M"), "Minute, `00` to `59`.", ["$minute" => "05"]),
    entry!(Time "second" ("") = Value::Time("%S"), "Second, `00` to `59`.", ["$second" => "03"]),
    entry!(Time "weekday" ("") = Value::Time("%u"), "Day of the week, `1` for Monday to `7`.",
        ["$weekday" => "5"]),
    entry!(Time "unix_time" ("") = Value::Time("%s"), "Seconds since 1970.",
        ["$unix_time" => "1707462303"]),
    entry!(Time "timezone" ("") = Value::Time("%z"), "Distance from UTC, hours and minutes.",
        ["$timezone" => "+0000"]),
    entry!(Server "node" ("") = Value::Live(node),
        "The name of this node, as in the records.",
        ["$node" => "test"]),
    entry!(Server "pid" ("") = Value::Live(pid), "The process ID of the server.", []),
    entry!(Server "gethostname" ("") = Value::Live(host_name), "The name of this host.", []),
    entry!(Blank "sp" ("") = Value::Constant(b" "), "A blank.", ["a$sp$sp" => "a  "]),
    entry!(Blank "htab" ("") = Value::Constant(b"\t"), "A tabulator.", ["$htab" => "\t"]),
    entry!(Blank "vtab" ("") = Value::Constant(b"\x0b"), "A vertical tabulator.", ["$vtab" => "\x0b"]),
    entry!(Blank "lf" ("") = Value::Constant(b"\n"), "A line feed.", ["$lf" => "\n"]),
    entry!(Blank "cr" ("") = Value::Constant(b"\r"), "A carriage return.", ["$cr" => "\r"]),
    entry!(Blank "crlf" ("") = Value::Constant(b"\r\n"), "Both of them.", ["$crlf" => "\r\n"]),
    entry!(Blank "ff" ("") = Value::Constant(b"\x0c"), "A form feed.", ["$ff" => "\x0c"]),
];

fn stage<'a>(view: &View<'a>) -> Cow<'a, [u8]> {
    Cow::Borrowed(view.exchange().stage().name().as_bytes())
}

fn group<'a>(view: &View<'a>) -> Cow<'a, [u8]> {
    Cow::Borrowed(view.exchange().group().as_bytes())
}

fn node<'a>(view: &View<'a>) -> Cow<'a, [u8]> {
    Cow::Borrowed(view.exchange().node().as_bytes())
}

fn score<'a>(view: &View<'a>) -> Cow<'a, [u8]> {
    Cow::Owned(view.exchange().score().to_string().into_bytes())
}

fn decision<'a>(view: &View<'a>) -> Cow<'a, [u8]> {
    match view.exchange().decision().map(|decision| decision.action.word()) {
        None => Cow::Borrowed(b""),
        Some(Cow::Borrowed(word)) => Cow::Borrowed(word.as_bytes()),
        Some(Cow::Owned(code)) => Cow::Owned(code.into_bytes()),
    }
}

fn decision_text<'a>(view: &View<'a>) -> Cow<'a, [u8]> {
    let text = view.exchange().decision().and_then(|decision| decision.action.text());
    Cow::Borrowed(text.unwrap_or_default().as_bytes())
}

fn decision_engine<'a>(view: &View<'a>) -> Cow<'a, [u8]> {
    let engine = view.exchange().decision().and_then(|decision| decision.engine.as_deref());
    Cow::Borrowed(engine.unwrap_or_default().as_bytes())
}

fn exception<'a>(view: &View<'a>) -> Cow<'a, [u8]> {
    let kind = view.exchange().exception().map(|exception| exception.kind);
    Cow::Borrowed(kind.unwrap_or_default().as_bytes())
}

fn exception_engine<'a>(view: &View<'a>) -> Cow<'a, [u8]> {
    let engine = view.exchange().exception().and_then(|exception| exception.engine.as_deref());
    Cow::Borrowed(engine.unwrap_or_default().as_bytes())
}

fn exception_text<'a>(view: &View<'a>) -> Cow<'a, [u8]> {
    let text = view.exchange().exception().map(|exception| exception.message.as_str());
    Cow::Borrowed(text.unwrap_or_default().as_bytes())
}

fn pid<'a>(_: &View<'a>) -> Cow<'a, [u8]> {
    Cow::Owned(std::process::id().to_string().into_bytes())
}

static HOST_NAME: LazyLock<Vec<u8>> =
    LazyLock::new(|| gethostname::gethostname().to_string_lossy().into_owned().into_bytes());

fn host_name<'a>(_: &View<'a>) -> Cow<'a, [u8]> {
    Cow::Borrowed(&HOST_NAME)
}
