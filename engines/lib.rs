//! The engines that come with mppd, one file each.
//!
//! A new engine costs its file, its `mod` line and its line in [`ENGINES`].

mod boorex;
mod country;
mod delegate;
mod directory;
pub mod greylist;
mod helo;
mod http;
mod ldap;
mod log;
mod mysql;
mod rbl;
mod recipient;
mod score;
mod set;
mod spam_traps;
mod spf;
pub mod threshold;
mod tls;
mod track;
mod value_names;
mod wbl;

#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

use mppd_engine::{EngineKind, kind};

/// Every engine that comes with mppd, by name.
pub const ENGINES: &[&dyn EngineKind] = &[
    &boorex::BoorexKind,
    kind::<country::Country>(),
    kind::<delegate::Delegate>(),
    kind::<greylist::Greylist>(),
    kind::<helo::Helo>(),
    kind::<http::Http>(),
    kind::<ldap::Ldap>(),
    kind::<log::Log>(),
    &mysql::Mysql,
    kind::<rbl::Rbl>(),
    kind::<recipient::Recipient>(),
    kind::<score::ScoreEngine>(),
    kind::<set::Set>(),
    kind::<spam_traps::SpamTraps>(),
    kind::<spf::Spf>(),
    kind::<threshold::Threshold>(),
    &track::Track,
    kind::<wbl::Wbl>(),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;
    use std::sync::Arc;

    use mppd_dns::Dns;
    use mppd_dns::testkit::Zones;
    use mppd_engine::config::is_common_option;
    use mppd_engine::testkit::Configured;
    use mppd_engine::{Action, Finding, OptionDoc};
    use mppd_state::StateStore;

    use super::*;

    fn is_word(name: &str) -> bool {
        let is_letter = |octet: u8| octet.is_ascii_lowercase() || octet == b'_';
        !name.is_empty() && name.bytes().all(is_letter)
    }

    fn each_option(options: &[OptionDoc], check: &mut impl FnMut(&OptionDoc)) {
        for option in options {
            check(option);
            each_option(&option.nested, check);
        }
    }

    #[test]
    fn the_names_are_words_in_order_and_each_once() {
        let names: Vec<&str> = ENGINES.iter().map(|kind| kind.name()).collect();
        assert!(names.iter().all(|name| is_word(name)), "{names:?}");
        assert!(names.is_sorted_by(|a, b| a < b), "{names:?}");
    }

    #[test]
    fn every_engine_has_the_file_of_its_name_and_every_file_its_engine() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR"));
        let files: BTreeSet<String> = std::fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
            .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
            .filter(|name| name != "lib")
            .collect();
        assert_eq!(files, ENGINES.iter().map(|kind| kind.name().to_owned()).collect());
    }

    #[test]
    fn the_manual_of_every_engine_is_complete() {
        for kind in ENGINES {
            let name = kind.name();
            assert!(!kind.summary().is_empty(), "{name}");
            assert!(!kind.statuses().is_empty(), "{name}");
            each_option(&kind.options(), &mut |option| {
                assert!(!option.meaning.trim().is_empty(), "{name}: {}", option.name);
            });
            for method in kind.methods() {
                assert!(!method.name.is_empty() && !method.meaning.is_empty(), "{name}");
            }
        }
    }

    #[test]
    fn no_option_has_the_name_of_a_common_one() {
        for kind in ENGINES {
            for option in kind.options() {
                assert!(!is_common_option(option.name), "{}: {}", kind.name(), option.name);
            }
        }
    }

    #[test]
    fn every_status_is_a_word_of_its_own_with_an_action_that_exists() {
        for kind in ENGINES {
            let mut seen = BTreeSet::new();
            for status in kind.statuses() {
                let whole = format!("{}: {}", kind.name(), status.name);
                assert!(is_word(status.name) && seen.insert(status.name), "{whole}");
                // These are the server's.
                assert!(!matches!(status.name, "skipped" | "exception"), "{whole}");
                assert!(!status.meaning.is_empty(), "{whole}");
                let is_value = |name: &str| kind.values().iter().any(|value| value.name == name);
                let is_known = matches!(status.default_action, "continue" | "permit")
                    || status.default_action.strip_prefix('$').is_some_and(is_value)
                    || Action::parse(status.default_action).is_ok();
                assert!(is_known, "{whole}: {}", status.default_action);
            }
        }
    }

    /// Values that are called as a global macro: `score` of the engine of that name is the number
    /// that the macro stands for.
    const SAME_AS_THE_MACRO: &[(&str, &str)] = &[("score", "score")];

    #[test]
    fn no_value_is_hidden_by_a_macro_of_its_name() {
        // In the texts of `on_STATUS` the macro wins.
        let macros: BTreeSet<&str> =
            mppd_engine::language::macros().iter().map(|it| it.name).collect();
        for kind in ENGINES {
            for value in kind.values().iter().filter(|value| macros.contains(value.name)) {
                let hidden = (kind.name(), value.name);
                assert!(SAME_AS_THE_MACRO.contains(&hidden), "{hidden:?}");
            }
        }
        for (engine, value) in SAME_AS_THE_MACRO {
            let kind = ENGINES.iter().find(|kind| kind.name() == *engine);
            assert!(kind.is_some_and(|kind| kind.values().iter().any(|it| it.name == *value)));
        }
    }

    #[test]
    fn every_engine_is_built_from_its_bare_element_or_says_what_it_needs() {
        for kind in ENGINES {
            let name = kind.name();
            let configured = Configured::xml(&format!(r#"<{name} id="x" dry_run="true"/>"#))
                .with_service(Arc::new(Dns::new(Zones::default())))
                .with_service(Arc::new(StateStore::in_memory()));
            let options = kind.options();
            let needed = options.iter().filter(|option| option.default.is_none());
            let missing: Vec<String> =
                needed.map(|need| format!("\"{}\" is missing in <{name}>", need.name)).collect();
            match configured.build(*kind) {
                Ok(engine) => {
                    let documented = kind.methods().iter().map(|method| method.name);
                    assert!(engine.methods().eq(documented), "{name}");
                    assert!(missing.is_empty(), "{name}: {missing:?}");
                }
                Err(faults) => {
                    let is_missing = |fault: &Finding| {
                        missing.contains(&fault.message) || fault.message.contains(" needs a <")
                    };
                    assert!(faults.iter().all(is_missing), "{name}: {faults:?}");
                }
            }
        }
    }
}
