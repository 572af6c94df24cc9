//! Links from page to page, and the contents of the site.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::{pages, root, text};

/// The targets of the links of a text, apart from code.
fn targets(text: &str) -> Vec<String> {
    let mut targets = Vec::new();
    let mut open = false;
    let mut prose = String::new();
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            open = !open;
        } else if !open && !line.starts_with("    ") {
            prose.push_str(line);
            prose.push(' ');
        }
    }
    for (index, piece) in prose.split("](").enumerate() {
        if let Some((target, _)) = piece.split_once(')').filter(|_| index > 0) {
            targets.push(target.to_owned());
        }
    }
    targets
}

/// The anchors of a page, as GitHub and mdBook make them of headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    let anchor = |heading: &str| {
        let heading = heading.trim_start_matches('#').trim().to_lowercase();
        let kept = |letter: &char| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_');
        heading
            .chars()
            .filter(kept)
            .map(|letter| if letter == ' ' { '-' } else { letter })
            .collect()
    };
    headings.map(anchor).collect()
}

/// A path without `..`.
fn plain(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for part in path.components() {
        if part.as_os_str() == ".." {
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    plain
}

#[test]
fn every_link_leads_to_something_that_is_there() {
    let mut wrong = Vec::new();
    for page in pages() {
        for target in targets(&text(&page)) {
            if target.is_empty() || target.contains("://") {
                continue;
            }
            let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
            let there = match file {
                "" => page.clone(),
                file => plain(&page.parent().unwrap().join(file)),
            };
            let is_there = root().join(&there).exists();
            if !is_there || (!anchor.is_empty() && !anchors(&text(&there)).contains(anchor)) {
                wrong.push(format!("{}: {target}", page.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_guide_is_in_the_contents_of_the_site() {
    let contents = targets(&text(Path::new("docs/SUMMARY.md")));
    for page in pages() {
        let Ok(page) = page.strip_prefix("docs") else { continue };
        let page = page.to_str().unwrap();
        assert!(page == "SUMMARY.md" || contents.iter().any(|entry| entry == page), "{page}");
    }
}
