//! The commands that docs/assurance.md shows: what they say is what they do.

use std::path::Path;
use std::process::Command;

/// The arguments of each command that is shown, without the comment behind it.
fn shown() -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/assurance.md");
    let text = std::fs::read_to_string(path).unwrap();
    let commands = text
        .lines()
        .filter_map(|line| line.strip_prefix("cargo run --release -p protocol-model"));
    let words = commands.map(|rest| {
        let rest = rest.split('#').next().unwrap_or_default();
        let rest = rest.trim().trim_start_matches("-- ");
        rest.split_whitespace().map(str::to_owned).collect()
    });
    words.collect()
}

#[test]
fn commands_in_the_documents_do_what_is_said() {
    let shown = shown();
    assert!(shown.len() >= 4, "{shown:?}");
    // Three agents are half a million states: by hand.
    let quick = |arguments: &Vec<String>| arguments.iter().all(|word| word != "3");
    for arguments in shown.into_iter().filter(quick) {
        let broken = arguments
            .iter()
            .any(|word| word == "--fault" || word == "--operator");
        let output = Command::new(env!("CARGO_BIN_EXE_protocol-model"))
            .args(&arguments)
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert_eq!(
            output.status.code(),
            Some(i32::from(broken)),
            "{arguments:?}: {said}"
        );
        assert_eq!(said.contains(": broken so"), broken, "{arguments:?}: {said}");
        assert!(said.contains(" states, "), "{said}");
    }
}
