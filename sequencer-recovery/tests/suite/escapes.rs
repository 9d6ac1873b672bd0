//! Text of others reaches a terminal escaped, wherever it comes from and wherever it is printed.

use crate::common;

use std::fs;
use std::path::Path;

use common::{Ran, run, text};
use fixtures::{World, WorldSpec};
use test_support::{assert_harmless, poison_json, poison_sqlite};

/// A world's files in a folder: recovered log, anchors, outboxes.
fn world(folder: &Path) {
    let world = World::generate(&WorldSpec {
        seed: 11,
        events_per_stream: 60,
        ..WorldSpec::default()
    });
    world.write_recovered(&folder.join("log.db")).unwrap();
    world.write_log(&folder.join("whole.db")).unwrap();
    world.write_anchors(&folder.join("anchors.json")).unwrap();
    world.write_outboxes(&folder.join("outboxes")).unwrap();
}

fn outboxes(folder: &Path) -> Vec<std::path::PathBuf> {
    let files = fs::read_dir(folder.join("outboxes")).unwrap();
    files
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "db"))
        .collect()
}

/// Runs a command in each format; whatever it finds, what it prints is harmless. The last run is given back.
fn harmless(command: &[&str]) -> Ran {
    let mut last = None;
    for format in ["json", "ndjson", "table"] {
        let ran = run(["--format", format].iter().chain(command));
        assert!(
            [0, 1, 4, 5, 8, 9, 12, 13].contains(&ran.code),
            "{command:?}: {} {}",
            ran.code,
            ran.stderr
        );
        assert_harmless(&ran.stdout);
        assert_harmless(&ran.stderr);
        last = Some(ran);
    }
    last.unwrap()
}

/// All that reads, with these inputs. Says how often the hostile text was printed, escaped.
fn read_all(folder: &Path, log: &str, plan: &Path) -> usize {
    let at = |name: &str| text(&folder.join(name));
    let (log, plan) = (at(log), text(plan));
    let witnesses = [
        "--db",
        &log,
        "--outbox",
        &at("outboxes"),
        "--anchors",
        &at("anchors.json"),
        "--witness",
        &at("whole.db"),
    ]
    .map(str::to_owned);
    let witnesses: Vec<&str> = witnesses.iter().map(String::as_str).collect();
    let mut said = 0;
    let mut count = |ran: &Ran| {
        said += ran.stdout.matches("\\u{1b}[2J").count() + ran.stderr.matches("\\u{1b}[2J").count();
    };
    count(&harmless(&[&["audit"][..], &witnesses].concat()));
    count(&harmless(&["gaps", "--db", &log]));
    count(&harmless(&[&["counters"][..], &witnesses].concat()));
    for accept in ["proven", "claimed"] {
        let _ = fs::remove_file(&plan);
        let ran = run([
            &["plan"][..],
            &witnesses,
            &["--accept", accept, "--append", "never-sequenced", "--out", &plan],
        ]
        .concat());
        assert_harmless(&ran.stdout);
        assert_harmless(&ran.stderr);
        count(&ran);
    }
    if Path::new(&plan).exists() {
        count(&harmless(&["apply", &plan, "--db", &log, "--dry-run"]));
        let certificate = format!("{plan}.certificate");
        let markdown = format!("{plan}.md");
        count(&run([
            "certify",
            &plan,
            "--out",
            &certificate,
            "--markdown",
            &markdown,
        ]));
        assert_harmless(&fs::read_to_string(&markdown).unwrap());
    }
    said
}

#[test]
fn text_of_a_log_is_escaped() {
    let folder = tempfile::tempdir().unwrap();
    world(folder.path());
    poison_sqlite(&folder.path().join("log.db"));
    assert!(read_all(folder.path(), "log.db", &folder.path().join("plan")) > 0);
}

#[test]
fn text_of_outboxes_and_of_another_log_is_escaped() {
    let folder = tempfile::tempdir().unwrap();
    world(folder.path());
    outboxes(folder.path())
        .iter()
        .for_each(|path| poison_sqlite(path));
    poison_sqlite(&folder.path().join("whole.db"));
    assert!(read_all(folder.path(), "log.db", &folder.path().join("plan")) > 0);
}

#[test]
fn text_of_anchors_and_plans_is_escaped() {
    let folder = tempfile::tempdir().unwrap();
    world(folder.path());
    let anchors = folder.path().join("anchors.json");
    let whole: serde_json::Value = serde_json::from_slice(&fs::read(&anchors).unwrap()).unwrap();
    let plan = folder.path().join("plan");
    read_all(folder.path(), "log.db", &plan);
    let lines = fs::read_to_string(&plan).unwrap();
    for remainder in 0..7 {
        let mut poisoned = whole.clone();
        poison_json(&mut poisoned, 7, remainder);
        fs::write(&anchors, poisoned.to_string()).unwrap();
        harmless(&[
            "audit",
            "--db",
            &text(&folder.path().join("log.db")),
            "--anchors",
            &text(&anchors),
        ]);
        let altered: String = lines
            .lines()
            .map(|line| {
                let mut line = serde_json::from_str(line).unwrap();
                poison_json(&mut line, 7, remainder);
                format!("{line}\n")
            })
            .collect();
        let altered_plan = folder.path().join(format!("plan-{remainder}"));
        fs::write(&altered_plan, altered).unwrap();
        harmless(&[
            "apply",
            &text(&altered_plan),
            "--db",
            &text(&folder.path().join("log.db")),
            "--dry-run",
        ]);
    }
}

#[test]
fn names_of_files_and_arguments_are_escaped() {
    let folder = tempfile::tempdir().unwrap();
    world(folder.path());
    let name = folder.path().join("log\u{1b}[2J\nforged: 0.db");
    fs::rename(folder.path().join("log.db"), &name).unwrap();
    harmless(&[
        "audit",
        "--db",
        &text(&name),
        "--outbox",
        &text(&folder.path().join("outboxes")),
    ]);
    let ran = run(["audit", "--\u{1b}[2J\u{9b}31m"]).expect(16);
    assert_harmless(&ran.stderr);
    let ran = run(["audit", "--db", "nowhere\u{1b}[2J\r.db"]).expect(8);
    assert_harmless(&ran.stderr);
}
