//! What holds for any text of a configuration file, read as a server reads it that starts: with its
//! engines, groups, texts and conditions. Nothing panics, a refusal has its reasons, and they can be
//! shown.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::LazyLock;

use mppd::config::limits::Limits;
use mppd::config::report::{Look, render};
use mppd::config::{ConfigurationFile, LoadRequest, Rejected};
use mppd::plan::Plan;

const LIMITS: Limits = Limits {
    file_size: 64 << 10,
    total_size: 256 << 10,
    files: 10,
    nesting: 32,
    include_depth: 4,
    includes: 100,
    included_size: 256 << 10,
};

/// One file for each process, which includes itself where a text includes `fuzz.xml`.
static FILE: LazyLock<PathBuf> = LazyLock::new(|| {
    let directory = std::env::temp_dir().join(format!("mppd-fuzz-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory for one file");
    directory.join("fuzz.xml")
});

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    std::fs::write(&*FILE, octets).expect("the file of this process");
    let request = LoadRequest {
        file: ConfigurationFile::Path(FILE.clone()),
        environment: BTreeMap::new(),
        set: Vec::new(),
    };
    let logger = mppd::log::silent();
    let loaded = Plan::load_within(&request, &LIMITS, mppd_engines::ENGINES, &logger);
    let (sources, findings) = match loaded {
        Ok(Plan { configuration, .. }) => (configuration.sources, configuration.warnings),
        Err(Rejected { sources, findings }) => {
            assert!(!findings.is_empty(), "refused without a reason");
            (sources, findings)
        }
    };
    assert!(sources.iter().count() <= LIMITS.files + 1, "more files than allowed");
    let report = render(&sources, &findings, Look { color: false, width: 100 });
    assert_eq!(report.is_empty(), findings.is_empty(), "{report}");
}
