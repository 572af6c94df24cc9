//! Whether anything is put on record at all, for those who look for records and find none.

use mppd_engine::config::{Element, Spanned};

use crate::config::Configuration;
use crate::config::settings::{CommonOptions, DEFAULT_GROUP, GroupOptions};

/// The kind of engine that puts requests on record.
const TRACK: &str = "track";

/// What to say where no chain of this group, or of any, puts requests on record.
pub(in crate::cli) const NOTHING: &str = "no chain of the configuration puts requests on record, so \
    there is nothing new to find: include esm/PPXX0001.xml, as the configuration that comes with mppd \
    does, and reload";

/// Whether a chain of this group, or of any group, puts requests on record.
pub(in crate::cli) fn is_any(configuration: &Configuration, group: Option<&str>) -> bool {
    let groups = &configuration.groups;
    let of = |id: &str| groups.iter().find(|group| group.id.value == id);
    let common = of_common(&configuration.common);
    let default = over(common, of(DEFAULT_GROUP).map(of_group));
    let is_wanted = |options: &&GroupOptions| group.is_none_or(|id| options.id.value == id);
    let mut chains =
        groups.iter().filter(is_wanted).map(|options| over(default, Some(of_group(options))));
    let is_tracked = |chains: Chains<'_>| {
        let words = chains.into_iter().flatten().flat_map(Spanned::words);
        words.into_iter().any(|word| names_track(&configuration.engines, word.value))
    };
    chains.any(is_tracked) || (groups.is_empty() && is_tracked(common))
}

/// The lists of the four chains.
type Chains<'a> = [&'a [Spanned<String>]; 4];

fn of_common(options: &CommonOptions) -> Chains<'_> {
    [
        &options.policy_begin_engines,
        &options.policy_check_engines,
        &options.policy_end_engines,
        &options.policy_end_exception_engines,
    ]
}

fn of_group(options: &GroupOptions) -> Chains<'_> {
    [
        &options.policy_begin_engines,
        &options.policy_check_engines,
        &options.policy_end_engines,
        &options.policy_end_exception_engines,
    ]
}

/// The chains of a group, and what it does not set from where it has it.
fn over<'a>(inherited: Chains<'a>, own: Option<Chains<'a>>) -> Chains<'a> {
    let Some(own) = own else { return inherited };
    std::array::from_fn(|place| if own[place].is_empty() { inherited[place] } else { own[place] })
}

/// Whether this full ID is that of a method of a `track` engine.
fn names_track(engines: &[Element], id: &str) -> bool {
    let engine = id.split('.').next().unwrap_or(id);
    let mut tracks = engines.iter().filter(|element| element.name == TRACK);
    tracks.any(|element| element.attribute("id").map_or(TRACK, |id| &id.value) == engine)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigurationFile, LoadRequest, load};

    fn configuration(text: &str) -> Configuration {
        let xml: &'static str = Box::leak(text.to_owned().into_boxed_str());
        let file = ConfigurationFile::Embedded { main: ("mppd.conf.xml", xml), included: &[] };
        load(&LoadRequest { file, environment: [].into(), set: Vec::new() }).unwrap()
    }

    const TRACKED: &str = "<policy_end_engines>seen.processed</policy_end_engines>";

    #[test]
    fn a_chain_that_all_groups_have_is_one_of_each() {
        let text = format!(
            "<mppd><common>{TRACKED}</common><groups><group id=\"default\"/><group id=\"a\"/></groups>\
             <engines><track id=\"seen\"/></engines></mppd>"
        );
        let configuration = configuration(&text);
        assert!(is_any(&configuration, None) && is_any(&configuration, Some("a")));
    }

    #[test]
    fn a_group_may_be_the_only_one_that_is_on_record() {
        let text = format!(
            "<mppd><groups><group id=\"default\"/><group id=\"a\">{TRACKED}</group></groups>\
             <engines><track id=\"seen\"/></engines></mppd>"
        );
        let configuration = configuration(&text);
        assert!(is_any(&configuration, None) && is_any(&configuration, Some("a")));
        assert!(!is_any(&configuration, Some("default")));
    }

    #[test]
    fn an_engine_that_no_chain_names_puts_nothing_on_record() {
        assert!(!is_any(&configuration("<mppd><engines><track/></engines></mppd>"), None));
    }
}
