//! Every command that the README and the documents show is run as it stands there.

#![allow(clippy::unwrap_used, reason = "a test that cannot set itself up should stop")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fixtures::{World, WorldSpec};
use test_support::ScratchPostgres;

/// The tools that documents call by name.
const TOOLS: [&str; 3] = ["sequencer-recovery", "outbox-sync", "anchor-verify"];

/// The documents, and commands in them that are not run here, with the reason.
const DOCUMENTS: [(&str, &[&str]); 5] = [
    // They build the workspace and run all tests, this one among them.
    (
        "README.md",
        &[
            "cargo run --release -p sequencer-recovery -- drill",
            "scripts/test",
        ],
    ),
    ("docs/recovery.md", &[]),
    ("docs/audit.md", &[]),
    ("docs/plan.md", &[]),
    ("docs/drill.md", &[]),
];

/// The lines of a document's `sh` blocks, comments left out.
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

/// The folder with the tools. A run of the whole workspace has built them all; a run of this crate alone builds those
/// that were never built.
fn tools() -> PathBuf {
    let folder = Path::new(env!("CARGO_BIN_EXE_sequencer-recovery"))
        .parent()
        .unwrap();
    if TOOLS.iter().any(|tool| !folder.join(tool).exists()) {
        let status = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--workspace", "--bins"])
            .current_dir(test_support::workspace_root())
            .status()
            .unwrap();
        assert!(status.success(), "the tools can be built");
    }
    folder.to_owned()
}

fn run(command: &str, dir: &Path, path: &str, database: &str) -> Output {
    Command::new("bash")
        .args(["-euc", command])
        .current_dir(dir)
        .env("PATH", path)
        .env("DATABASE_URL", database)
        .output()
        .unwrap()
}

#[test]
fn every_command_in_the_documents_runs() {
    if !test_support::postgres_available() {
        return;
    }
    let world = World::generate(&WorldSpec {
        seed: 3,
        ..WorldSpec::default()
    });
    let server = ScratchPostgres::start();
    let tools = tools();
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    for (name, not_run) in DOCUMENTS {
        let document = std::fs::read_to_string(test_support::workspace_root().join(name)).unwrap();
        let commands = commands(&document);
        assert!(
            not_run.iter().all(|c| commands.iter().any(|d| d == c)),
            "{name} no longer shows one of {not_run:?}"
        );
        let dir = tempfile::tempdir().unwrap();
        let database = server.create_database(&name.replace(['.', '/'], "_").to_lowercase());
        prepare(&world, dir.path(), &path, &database, name);
        for command in commands.iter().filter(|c| !not_run.contains(&c.as_str())) {
            assert!(
                TOOLS.iter().any(|t| command.starts_with(t)),
                "{name}: what is `{command}`?"
            );
            let output = run(command, dir.path(), &path, &database);
            let code = output.status.code().unwrap_or(-1);
            // 1 and 4 speak of the log; anything else would be a command that does not work.
            assert!(
                matches!(code, 0 | 1 | 4 | 5),
                "{name}: `{command}` ends with {code}\n{}\n{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
        }
    }
}

/// What a document's reader is supposed to have.
fn prepare(world: &World, dir: &Path, path: &str, database: &str, document: &str) {
    let copy = dir.join("log.copy.sql");
    world.write_recovered_copy(&copy).unwrap();
    test_support::load_schema(database);
    test_support::load_copy_file(database, &copy);
    std::fs::create_dir(dir.join("outboxes")).unwrap();
    world.write_outboxes(&dir.join("outboxes")).unwrap();
    world.write_anchor_logs(dir).unwrap();
    if document != "docs/audit.md" && document != "docs/plan.md" {
        return;
    }
    world.write_recovered(&dir.join("log.db")).unwrap();
    world.write_anchors(&dir.join("anchors.json")).unwrap();
    if document == "docs/plan.md" {
        let made = run(
            "sequencer-recovery plan --db log.db --outbox outboxes --anchors anchors.json --out plan.ndjson",
            dir,
            path,
            database,
        );
        assert!(
            dir.join("plan.ndjson").exists(),
            "{}",
            String::from_utf8_lossy(&made.stderr)
        );
    }
}
