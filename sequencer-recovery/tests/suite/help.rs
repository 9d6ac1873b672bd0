//! What the tool says of itself: its version, completions that a shell takes, man pages, and how long work took.
#![cfg(unix)]

use std::fs;
use std::process::Command;

use crate::common;

use common::{binary, text};

fn said(arguments: &[&str]) -> (i32, String, String) {
    let done = binary().args(arguments).output().unwrap();
    let words = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (
        done.status.code().unwrap(),
        words(&done.stdout),
        words(&done.stderr),
    )
}

#[test]
fn the_version_says_how_it_was_built() {
    let (status, short, _) = said(&["-V"]);
    assert_eq!(status, 0);
    assert_eq!(
        short,
        format!("sequencer-recovery {}\n", env!("CARGO_PKG_VERSION"))
    );
    let (_, long, _) = said(&["--version"]);
    for part in [short.trim(), "\ncommit: ", "\nbuilt for: ", "portable"] {
        assert!(long.contains(part), "{part}: {long}");
    }
}

#[test]
fn bash_takes_the_completions() {
    let (status, script, _) = said(&["completions", "bash"]);
    assert_eq!(status, 0);
    assert_eq!(
        completed(&script, "sequencer-recovery audit --outb"),
        "--outbox\n--outbox-manifest\n"
    );
    assert_eq!(said(&["completions", "tcsh"]).0, 16);
}

/// What bash would put in place of the last word.
fn completed(script: &str, line: &str) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let [tool, .., before, last] = words[..] else {
        panic!("{line}");
    };
    let asked = format!(
        "{script}\nCOMP_WORDS=({line}) COMP_CWORD={}\n\
         function=$(complete -p {tool} | grep -o -- '-F [^ ]*' | cut -c4-)\n\
         $function {tool} {last} {before}\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        words.len() - 1
    );
    let done = Command::new("bash").args(["-c", &asked]).output().unwrap();
    String::from_utf8(done.stdout).unwrap()
}

#[test]
fn man_pages_are_written_and_not_replaced_unasked() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man1");
    let (status, stdout, stderr) = said(&["man", &text(&pages)]);
    assert_eq!(status, 0, "{stderr}");
    let written = fs::read_dir(&pages).unwrap().count();
    assert!(
        written >= 14 && stdout.contains(&format!("{written} man pages")),
        "{stdout}"
    );
    let page = fs::read_to_string(pages.join("sequencer-recovery-plan.1")).unwrap();
    assert!(page.contains("plan.ndjson") && page.contains("OPEN"), "{page}");
    let (status, _, stderr) = said(&["man", &text(&pages)]);
    assert_eq!(status, 8);
    assert!(stderr.contains("--force"), "{stderr}");
    assert_eq!(said(&["man", &text(&pages), "--force"]).0, 0);
}

#[test]
fn work_of_more_than_a_second_says_how_long_it_took() {
    let dir = tempfile::tempdir().unwrap();
    let report = text(&dir.path().join("report.json"));
    let (status, _, stderr) = said(&["drill", "--report", &report, "--events", "500"]);
    assert_eq!(status, 0, "{stderr}");
    let last = stderr.lines().last().unwrap();
    assert!(last.starts_with("took ") && last.ends_with(" s"), "{stderr}");
}

#[test]
fn the_report_of_a_drill_is_replaced_only_if_that_is_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let drill = |more: &[&str]| {
        let mut command = binary();
        command
            .current_dir(dir.path())
            .args(["drill", "--events", "10"])
            .args(more);
        let done = command.output().unwrap();
        (
            done.status.code().unwrap() & !4,
            String::from_utf8(done.stderr).unwrap(),
        )
    };
    let kept = || {
        let mut kept: Vec<_> = fs::read_dir(dir.path().join("recovery_reports"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        kept.sort();
        kept
    };
    assert_eq!(drill(&[]).0, 0);
    let kept_first = kept().remove(0);
    let first = fs::read(&kept_first).unwrap();
    assert_eq!(drill(&[]).0, 0);
    assert_eq!(kept().len(), 2);
    assert!(fs::read(&kept_first).unwrap() == first);
    assert_eq!(
        drill(&["--report", "dr_report.json", "--report", "copy.json"]).0,
        0
    );
    let first = fs::read(dir.path().join("dr_report.json")).unwrap();
    assert_eq!(fs::read(dir.path().join("copy.json")).unwrap(), first);
    assert_eq!(kept().len(), 2);
    let named = ["--report", "dr_report.json"];
    let (status, stderr) = drill(&named);
    assert!(status == 8 && stderr.contains("--force"), "{stderr}");
    assert_eq!(fs::read(dir.path().join("dr_report.json")).unwrap(), first);
    assert_eq!(drill(&[&named[..], &["--force"]].concat()).0, 0);
    assert_ne!(fs::read(dir.path().join("dr_report.json")).unwrap(), first);
}
