//! What a program brings along: manual pages, completions for shells, parts of the reference.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::harness::command::Call;

/// Runs a program that a package has.
fn run(program: &str, package: &str, arguments: &[&str]) -> (Output, String) {
    let output = Command::new(program).args(arguments).env("LC_ALL", "C.UTF-8").output();
    let output = output.unwrap_or_else(|error| {
        panic!("can't run {program}: {error}; on Debian or Ubuntu: apt-get install {package}")
    });
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8(said).unwrap())
}

/// The manual pages below a directory of their own.
fn pages() -> (TempDir, Vec<PathBuf>) {
    let directory = tempfile::tempdir().unwrap();
    Call::new(["man"]).argument(directory.path()).succeed();
    let sections = std::fs::read_dir(directory.path()).unwrap();
    let files = sections.flat_map(|section| std::fs::read_dir(section.unwrap().path()).unwrap());
    let pages: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    (directory, pages)
}

#[test]
fn the_manual_has_a_page_for_the_program_its_configuration_and_each_engine() {
    let (directory, pages) = pages();
    assert_eq!(pages.len(), 2 + mppd_engines::ENGINES.len());
    for page in ["man8/mppd.8", "man5/mppd.conf.xml.5", "man7/mppd-greylist.7"] {
        assert!(directory.path().join(page).is_file(), "{page}");
    }
}

#[test]
fn two_formatters_have_nothing_to_say_about_the_manual() {
    let (_directory, pages) = pages();
    assert!(!pages.is_empty());
    for page in &pages {
        let page = page.to_str().unwrap();
        let (mandoc, said) = run("mandoc", "mandoc", &["-Tlint", "-Wwarning", page]);
        assert!(mandoc.status.success() && said.is_empty(), "{said}");
        let (groff, said) = run("groff", "groff-base", &["-man", "-ww", "-Tutf8", "-z", page]);
        assert!(groff.status.success() && said.is_empty(), "{page}: {said}");
    }
}

#[test]
fn a_page_is_read_as_it_was_meant() {
    let (directory, _) = pages();
    let page = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let read = |page: String| {
        let (_, text) = run("mandoc", "mandoc", &["-Tascii", "-Owidth=100", &page]);
        // Bold letters are struck twice.
        let letters: Vec<char> = text.chars().collect();
        let struck = |at: usize| letters.get(at + 1) == Some(&'\u{8}');
        let kept = (0..letters.len()).filter(|at| letters[*at] != '\u{8}' && !struck(*at));
        kept.map(|at| letters[at]).collect::<String>()
    };
    assert!(read(page("man7/mppd-spf.7")).contains("mx/24 ptr ~all"), "the text is another");
    assert!(read(page("man5/mppd.conf.xml.5")).contains("<wbl>\n"), "the text is another");
    let program = read(page("man8/mppd.8"));
    for command in ["mppd track search", "mppd schema", "mppd threshold reset", "mppd man"] {
        assert!(program.contains(&format!("   {command}\n")), "{command}");
    }
}

#[test]
fn without_a_directory_the_page_of_the_program_is_printed() {
    let printed = Call::new(["man"]).environment("SOURCE_DATE_EPOCH", "86400").succeed();
    assert!(printed.contains(".TH MPPD 8 1970-01-02 "), "{printed}");
}

#[test]
fn a_directory_that_cannot_be_written_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let said = Call::new(["man"]).argument(&file).run();
    assert_eq!(said.code, Some(1));
    assert!(said.err.starts_with("mppd man: can't write "), "{}", said.err);
}

/// A script for a shell, in a file.
fn script(directory: &Path, shell: &str) -> String {
    let script = directory.join(shell);
    std::fs::write(&script, Call::new(["completions", shell]).succeed()).unwrap();
    script.to_str().unwrap().to_owned()
}

#[test]
fn bash_completes_commands_and_names_of_engines() {
    let directory = tempfile::tempdir().unwrap();
    let script = script(directory.path(), "bash");
    let complete = |words: &str, at: usize| {
        let ask = format!(
            "source {script}; COMP_WORDS=({words}); COMP_CWORD={at}; \
             _mppd mppd \"${{COMP_WORDS[{at}]}}\" ''; echo \"${{COMPREPLY[@]}}\""
        );
        run("bash", "bash", &["--norc", "-c", &ask]).1
    };
    assert_eq!(complete("mppd rel", 1), "reload\n");
    assert_eq!(complete("mppd reference gre", 2), "greylist\n");
    assert_eq!(complete("mppd reference mac", 2), "macros\n");
}

#[test]
fn fish_completes_commands_and_names_of_engines() {
    let directory = tempfile::tempdir().unwrap();
    let script = script(directory.path(), "fish");
    let complete = |line: &str| {
        let ask = format!("source {script}; complete --do-complete '{line}'");
        run("fish", "fish", &["--no-config", "-c", &ask]).1
    };
    assert!(complete("mppd rel").starts_with("reload\t"));
    assert_eq!(complete("mppd reference gre"), "greylist\n");
}

#[test]
fn zsh_reads_its_completions() {
    let directory = tempfile::tempdir().unwrap();
    let script = script(directory.path(), "zsh");
    let (zsh, said) = run("zsh", "zsh", &["-f", "-n", &script]);
    assert!(zsh.status.success() && said.is_empty(), "{said}");
    let text = std::fs::read_to_string(script).unwrap();
    assert!(text.starts_with("#compdef mppd\n") && text.contains("greylist"));
}

#[test]
fn zsh_completes_with_them() {
    let directory = tempfile::tempdir().unwrap();
    let script = script(directory.path(), "zsh");
    // As zsh finds it in a directory of its functions; what it complains of is in what it says.
    std::fs::rename(script, directory.path().join("_mppd")).unwrap();
    let ask = format!(
        "fpath=({} $fpath); autoload -Uz compinit && compinit -D -u && autoload -Uz +X _mppd &&
         print -r -- \"$_comps[mppd]\" && (( $+functions[_mppd] )) && print loaded",
        directory.path().display()
    );
    let (zsh, said) = run("zsh", "zsh", &["-f", "-c", &ask]);
    assert!(zsh.status.success(), "{said}");
    assert_eq!(said, "_mppd\nloaded\n");
}

#[test]
fn machines_get_the_reference_as_an_object() {
    let printed = Call::new(["reference", "--json", "helo"]).succeed();
    let reference: serde_json::Value = serde_json::from_str(&printed).unwrap();
    let sections = reference["sections"].as_array().unwrap();
    assert_eq!(sections[0]["heading"], "<helo>");
    let content = sections.iter().flat_map(|section| section["content"].as_array().unwrap());
    let rows = content.filter_map(|part| part["table"].as_array()).flatten();
    let statuses: Vec<&str> = rows.filter_map(|row| row["Status"].as_str()).collect();
    assert!(statuses.contains(&"no_dot"), "{statuses:?}");
    let whole = Call::new(["reference", "--json"]).succeed();
    assert!(serde_json::from_str::<serde_json::Value>(&whole).is_ok());
}

#[test]
fn the_reference_has_parts() {
    let engine = Call::new(["reference", "helo"]).succeed();
    assert!(engine.starts_with("# `<helo>`\n"), "{engine}");
    let options = Call::new(["reference", "options"]).succeed();
    assert!(options.contains("| `on_STATUS` |") && options.contains("| `max_connections` |"));
    assert!(!options.contains("`<helo>`"));
    for (part, heading) in [("macros", "# Macros\n"), ("metrics", "# Metrics\n")] {
        assert!(Call::new(["reference", part]).succeed().starts_with(heading), "{part}");
    }
}

#[test]
fn a_misspelt_part_of_the_reference_is_told_with_the_nearest() {
    let said = Call::new(["reference", "gryelist"]).run();
    assert_eq!(said.code, Some(2));
    assert!(said.err.contains("a similar value exists: 'greylist'"), "{}", said.err);
}
