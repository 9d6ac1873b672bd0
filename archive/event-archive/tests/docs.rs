//! Every command that docs/archive.md shows is run as it stands there.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::fs;
use std::path::Path;
use std::process::Command;

use fixtures::{World, WorldSpec};

/// Those that need machines beside this one, the compiler, or the query engine: other tests run the like of them.
const NOT_RUN: [&str; 5] = [
    "cargo install --locked --path archive/event-archive",
    "event-archive sql",
    "event-archive scheduler",
    "event-archive executor",
    "event-archive verify s3://archive/eu --anchors anchors.json --cluster",
];

/// The commands in the `sh` blocks of a document.
fn commands(document: &str) -> Vec<String> {
    let mut inside = false;
    let mut commands = Vec::new();
    for line in document.lines() {
        if let Some(fence) = line.strip_prefix("```") {
            inside = fence == "sh";
        } else if inside && !line.trim().is_empty() && !line.starts_with('#') {
            commands.push(line.to_owned());
        }
    }
    commands
}

#[test]
fn every_command_in_the_document_runs() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let document = fs::read_to_string(root.join("docs/archive.md")).unwrap();
    let commands = commands(&document);
    assert!(
        NOT_RUN
            .iter()
            .all(|start| commands.iter().any(|command| command.starts_with(start)))
    );
    let world = World::generate(&WorldSpec::honest(3));
    let folder = tempfile::tempdir().unwrap();
    world.write_log(&folder.path().join("the.db")).unwrap();
    world.write_anchors(&folder.path().join("anchors.json")).unwrap();
    let tools = Path::new(env!("CARGO_BIN_EXE_event-archive")).parent().unwrap();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let commitment = world.log().commitments().next().unwrap();
    let event = world.log().events().find(|logged| {
        logged.event.stream == commitment.stream && logged.number == commitment.sequence_start
    });
    let event = event.unwrap().event.event_id.to_string();
    for command in commands
        .iter()
        .filter(|command| !NOT_RUN.iter().any(|start| command.starts_with(start)))
    {
        let filled = command
            .replace("s3://archive/eu", "./archive")
            .replace("3f2c8a54-0f39-4a6e-9a0b-5d1c7e2f4b60", &event);
        let output = Command::new("bash")
            .args(["-euc", &filled])
            .current_dir(folder.path())
            .env("PATH", &path)
            .env("DATABASE_URL", "the.db")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "`{filled}` ends with {:?}\n{}\n{}",
            output.status.code(),
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}
