//! What docs/assurance.md says of the simulation.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// The section of the document.
fn section() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/assurance.md");
    let text = fs::read_to_string(path).unwrap();
    let section = text
        .split("\n## ")
        .find(|section| section.starts_with("Simulation"));
    section.unwrap().to_owned()
}

fn run(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_simulation"))
        .args(arguments)
        .output()
        .unwrap()
}

#[test]
fn its_commands_are_run_as_they_stand_there() {
    let section = section();
    let commands: Vec<Vec<&str>> = section
        .lines()
        .filter_map(|line| line.strip_prefix("cargo run --release -p simulation -- "))
        .map(|line| {
            line.split('#')
                .next()
                .unwrap_or(line)
                .split_whitespace()
                .collect()
        })
        .collect();
    assert_eq!(commands.len(), 3, "{commands:?}");
    for mut arguments in commands {
        // It takes minutes; others are played as tests.
        if let Some(all) = arguments.iter_mut().find(|argument| **argument == "1..1001") {
            *all = "1..3";
        }
        let ran = run(&arguments);
        let told = String::from_utf8_lossy(&ran.stdout);
        assert!(ran.status.success(), "{arguments:?}: {told}");
        assert!(
            told.contains("0 seeds failed") && !told.contains("scenes                      0"),
            "{told}"
        );
    }
}

#[test]
fn what_cannot_be_played_is_refused() {
    for arguments in [["--seeds", "5..5"], ["--seeds", "all"], ["--seeds", "1"]] {
        assert_eq!(run(&arguments).status.code(), Some(2), "{arguments:?}");
    }
    let ran = run(&["--seeds", "1..2", "--set", "weather=3"]);
    assert_eq!(ran.status.code(), Some(1));
    assert!(
        String::from_utf8_lossy(&ran.stdout).contains("no choice is called \"weather\""),
        "{ran:?}"
    );
}

#[test]
fn it_names_every_rule_and_no_other() {
    let code: String = ["check.rs", "play.rs"]
        .iter()
        .map(|file| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("src").join(file)).unwrap())
        .collect();
    let section = section();
    let named: Vec<&str> = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .flat_map(|line| {
            line.split('|')
                .nth(1)
                .unwrap_or_default()
                .split('`')
                .skip(1)
                .step_by(2)
        })
        .collect();
    assert!(named.len() > 15, "{named:?}");
    for rule in &named {
        let broken = [
            format!("rule(\"{rule}\""),
            format!("\"{rule}\","),
            format!("\"{rule}: "),
        ];
        assert!(
            broken.iter().any(|text| code.contains(text)),
            "the code has no rule {rule}"
        );
    }
    for (at, _) in code.match_indices("rule(") {
        let text = code[at + "rule(".len()..].trim_start();
        if let Some(rule) = text.strip_prefix('"').and_then(|text| text.split('"').next()) {
            assert!(named.contains(&rule), "the document does not name {rule}");
        }
    }
}
