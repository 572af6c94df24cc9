//! Configurations that a page shows in part: each is put where it belongs, and then has to be good.

use std::fs;
use std::path::Path;

use mppd_engines::testkit::Mmdb;

use super::{Block, blocks, faults, root};

/// What an engine must be told besides what an extract says, by the name of its page.
const NEEDED: [(&str, &str); 2] = [
    (
        "threshold",
        "<key>$ip</key><limit id=\"hourly\" max=\"9\" per=\"1h\"/><limit id=\"daily\" max=\"9\" per=\"1d\"/>",
    ),
    ("recipient", "<domain name=\"example.org\"><list>a@example.org</list></domain>"),
];

/// Engines that extracts refer to; each stands in the chain, in front.
const OTHERS: [(&str, &str); 4] = [
    ("spf", "<spf/>"),
    ("wbl", "<wbl/>"),
    (
        "outbound",
        "<threshold id=\"outbound\"><key>$ip</key><limit max=\"9\" per=\"1h\"/></threshold>",
    ),
    (
        "country",
        "<country><database file=\"/var/lib/GeoIP/GeoLite2-Country.mmdb\"/>\
         <countries>AT</countries></country>",
    ),
];

/// Pages whose engine only the example has: `examples` runs it.
pub(super) const OF_THE_EXAMPLE: &str = "docs/writing-an-engine.md";

/// What `mppd password` prints.
const HASH: &str = "$argon2id$v=19$m=19456,t=2,p=1$zld/EFSZeLZU1p3WVQt+RQ$\
    EyufXTXPYSSdAeLjAA/JtpuWkEqRwptfm5gFnk60obs";

/// What it prints with `--token`.
const HASH_OF_A_TOKEN: &str =
    "sha256:b38056b4b3c465f2ca1c35eb23cc6efe4c598a4982c83f0602bf5881fa60eb69";

/// Names of elements in `<common>`.
const COMMON: [&str; 8] =
    ["dns", "log", "tracking", "state_store", "policy_server", "admin", "user", "group"];

/// Whether a block is put where it belongs here.
pub(super) fn reads(block: &Block) -> bool {
    let is_extract = block.is(&["xml"]) && !block.text.contains("<mppd>");
    // Traces are not built unless asked for.
    let is_of_another = block.page == Path::new(OF_THE_EXAMPLE) || block.text.contains("<traces>");
    is_extract && !is_of_another
}

fn first_name(extract: &str) -> &str {
    let start = extract.trim_start().trim_start_matches('<');
    start
        .split(|letter: char| letter.is_whitespace() || letter == '>' || letter == '/')
        .next()
        .unwrap()
}

/// The ID of an engine's element: that of its first tag, or its name.
fn id(extract: &str) -> &str {
    let tag = extract.split('>').next().unwrap();
    tag.split_once(" id=\"")
        .map_or(first_name(extract), |(_, rest)| rest.split('"').next().unwrap())
}

fn is_engine(name: &str) -> bool {
    mppd_engines::ENGINES.iter().any(|kind| kind.name() == name)
}

/// A configuration with this engine, as the last of a chain with the others.
fn with_engine(id: &str, element: &str) -> String {
    // Methods stand in chains, not the engine that has them.
    let is_method = |name: &&str| element.contains(&format!("id=\"{name}\""));
    let methods: Vec<&str> = ["blocked", "seen"].into_iter().filter(is_method).collect();
    let methods: Vec<String> = methods.iter().map(|method| format!("{id}.{method}")).collect();
    let is_methods = element.starts_with("<mysql");
    let ids = if is_methods { methods.join(" ") } else { id.to_owned() };
    let others = || OTHERS.iter().filter(|(other, _)| *other != id);
    let chain: Vec<&str> = others().map(|(other, _)| *other).collect();
    let elements: String = others().map(|(_, element)| *element).collect();
    format!(
        "<mppd><common><policy_check_engines>{} {ids}</policy_check_engines></common>\
         <engines>{elements}{element}</engines></mppd>",
        chain.join(" ")
    )
}

/// The whole configuration that a block is part of.
fn whole(block: &Block) -> Result<String, String> {
    let text = block.text.trim();
    let name = first_name(text);
    // What the page leaves out does not matter there, but must not be missing here.
    let left_out = if name == "http" { "<uri>http://192.0.2.1/</uri>" } else { "" };
    let extract = text.replace('…', left_out);
    let page = block.page.file_stem().unwrap().to_str().unwrap();
    let of_an_engine = block.page.starts_with("docs/engines") && is_engine(page);
    Ok(match name {
        "groups" => format!("<mppd>{extract}<engines><wbl id=\"ch_wbl\"/></engines></mppd>"),
        "engines" => format!("<mppd>{extract}</mppd>"),
        "policy_check_engines" if extract.contains("lists.") => return Err(extract),
        // A module is its chain and its engines.
        "policy_check_engines" => {
            let engines = extract.replace("common/policy_check_engines", "engines");
            let engines = engines.replace("<policy_check_engines", "<engines");
            format!("<mppd><common>{extract}</common>{engines}</mppd>")
        }
        "password" => format!(
            "<mppd><groups><group id=\"default\"><PPXX0001_track_policy_connection>{extract}\
             </PPXX0001_track_policy_connection></group></groups></mppd>"
        ),
        "PPXX0001_track_policy_connection" => {
            format!("<mppd><groups><group id=\"default\">{extract}</group></groups></mppd>")
        }
        name if COMMON.contains(&name) => format!("<mppd><common>{extract}</common></mppd>"),
        name if is_engine(name) => with_engine(id(&extract), &extract),
        _ if of_an_engine => {
            let needed = NEEDED.iter().find(|(engine, _)| *engine == page);
            let needed = needed.map_or("", |(_, needed)| *needed);
            with_engine(page, &format!("<{page}>{needed}{extract}</{page}>"))
        }
        _ => return Err(extract),
    })
}

/// Files that the extracts name.
fn files() -> Vec<(String, String)> {
    let mut files: Vec<(String, String)> = [
        ("lists/staff", "alice\n"),
        ("lists/recipients", "alice@example.org\n"),
        ("secrets/db", "secret\n"),
        ("secrets/postmaster", HASH),
        ("secrets/prometheus", HASH_OF_A_TOKEN),
        ("secrets/zen", "key\n"),
        ("secrets/database.xml", "<connection><host>127.0.0.1</host></connection>"),
        ("whitelist_clients", "example.net\n"),
        ("whitelist_recipients", "postmaster@\n"),
    ]
    .map(|(name, text)| (name.to_owned(), text.to_owned()))
    .into();
    for entry in fs::read_dir(root().join("conf/esm")).unwrap() {
        let path = entry.unwrap().path();
        let name = format!("esm/{}", path.file_name().unwrap().to_str().unwrap());
        files.push((name, fs::read_to_string(path).unwrap()));
    }
    files
}

#[test]
fn every_extract_of_a_configuration_is_sound_where_it_belongs() {
    let databases = tempfile::tempdir().unwrap();
    for name in ["GeoLite2-Country.mmdb", "GeoLite2-ASN.mmdb"] {
        let database = Mmdb::read("192.0.2.0/24 country=AT asn=64496 organization=Example");
        fs::write(databases.path().join(name), database.octets()).unwrap();
    }
    let databases = databases.path().to_str().unwrap();
    let files = files();
    let (mut wrong, mut sound) = (Vec::new(), 0);
    for block in blocks("xml").into_iter().filter(reads) {
        let Ok(whole) = whole(&block) else {
            // What names engines of another extract is sound if that is.
            if !block.text.contains("lists.blocked") {
                wrong.push(format!("{}: nobody knows where it belongs", block.place()));
            }
            continue;
        };
        let whole = whole.replace("/var/lib/GeoIP", databases).replace("/etc/postgrey/", "");
        // Those of the package are not on every machine.
        let whole = whole.replace("<user>mppd</user>  ", "<user>daemon</user>");
        let whole = whole.replace("<group>mppd<", "<group>daemon<");
        match faults(&whole, &files, false) {
            said if said.is_empty() => sound += 1,
            said => wrong.push(format!("{}: {said}\n{whole}", block.place())),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(sound > 20, "only {sound} extracts were found");
}

#[test]
fn every_whole_configuration_is_followed_by_what_is_asked_of_it_or_checked() {
    let checked = ["boorex", "delegate", "http", "ldap", "state_store"];
    let mut wrong = Vec::new();
    for page in super::pages() {
        let scenarios = crate::harness::transcript::scenarios(&super::text(&page));
        let name = page.file_stem().unwrap().to_str().unwrap().to_owned();
        for scenario in scenarios.unwrap_or_default() {
            let is_asked = !scenario.questions.is_empty() || checked.contains(&name.as_str());
            let mut files = files();
            files.extend(scenario.files.iter().cloned());
            if !is_asked && !faults(&scenario.configuration, &files, false).is_empty() {
                wrong.push(format!("{}: {}", page.display(), scenario.configuration));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}
