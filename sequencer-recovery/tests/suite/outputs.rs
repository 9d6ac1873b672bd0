//! Outputs that cannot be written: known before anything is changed, or told with what was done and how to make them again.
#![cfg(unix)]

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use common::{Db, Ran, Server, apply, assert_same, binary, plan, run, text};
use fixtures::{World, WorldSpec};
use serde_json::Value;

struct Small {
    folder: tempfile::TempDir,
    log: Db,
    plan: PathBuf,
}

impl Small {
    fn new() -> Self {
        let world = World::generate(&WorldSpec {
            seed: 5,
            ..WorldSpec::default()
        });
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        world.write_recovered(&path("log.db")).unwrap();
        world.write_anchors(&path("anchors.json")).unwrap();
        world.write_outboxes(&path("outboxes")).unwrap();
        let log = Db::Snapshot(path("log.db"));
        let witnesses = [
            "--outbox".to_owned(),
            text(&path("outboxes")),
            "--anchors".into(),
            text(&path("anchors.json")),
        ];
        let out = path("plan");
        plan(&log, &out, &witnesses);
        Self {
            log,
            plan: out,
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn copy(&self, name: &str) -> Db {
        self.log.file_copy(self.path(name))
    }
}

/// Runs a command line of the shell in which `$BIN` is the program.
fn shell(line: &str) -> Ran {
    let program = binary();
    let done = Command::new("bash")
        .args(["-c", line])
        .env("BIN", program.get_program())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ran {
        code: done.status.code().unwrap_or(-1),
        stdout: String::from_utf8(done.stdout).unwrap(),
        stderr: String::from_utf8(done.stderr).unwrap(),
    }
}

#[test]
fn an_output_that_cannot_be_made_is_known_before_anything_is_changed() {
    let small = Small::new();
    let db = small.copy("log-1.db");
    let before = db.dump();
    fs::write(small.path("there"), "mine").unwrap();
    std::os::unix::fs::symlink(small.path("nowhere"), small.path("link")).unwrap();
    for option in ["--epoch", "--undo"] {
        for path in [
            small.path("none/file"),
            small.path("there"),
            small.path("link"),
            small.folder.path().to_owned(),
            PathBuf::from("/dev/full"),
        ] {
            let ran = apply(&db, &small.plan, &[option, &text(&path)]).expect(8);
            assert!(ran.stderr.contains(&text(&path)), "{}", ran.stderr);
            assert_same(&before, &db.dump());
        }
    }
    assert_eq!(fs::read_to_string(small.path("there")).unwrap(), "mine");
    assert!(small.path("link").is_symlink() && !small.path("nowhere").exists());
    // An epoch that cannot be made leaves no undo file behind, nor the other way round.
    let undo = text(&small.path("undo"));
    apply(&db, &small.plan, &["--undo", &undo, "--epoch", "/dev/full"]).expect(8);
    assert!(!Path::new(&undo).exists());
}

#[test]
fn a_report_that_cannot_be_written_does_not_hide_what_was_done() {
    let small = Small::new();
    let db = small.copy("log-1.db");
    let (plan, undo) = (text(&small.plan), text(&small.path("undo")));
    let ran = shell(&format!(
        "$BIN apply {plan} --db {} --undo {undo} --format json >/dev/full",
        db.arg()
    ));
    assert_eq!(ran.code & (1 | 8), 9, "{}", ran.stderr);
    let ran = ran.says(&["the log was changed", "stream(s) done"]);
    drop(ran);
    let applied = db.dump();
    // What it says next is so.
    let again = apply(&db, &small.plan, &[]);
    assert_eq!(again.code & 9, 0, "{}", again.stderr);
    assert_same(&applied, &db.dump());
    let ran = shell(&format!("$BIN undo {undo} --db {} >/dev/full", db.arg()));
    assert_eq!(ran.code, 9, "{}", ran.stderr);
    drop(ran.says(&["were taken back"]));
    let drilled = shell("$BIN drill --report /dev/full --quiet");
    assert_eq!(drilled.code, 8, "{}", drilled.stderr);
    assert!(drilled.stderr.contains("never replaced"), "{}", drilled.stderr);
}

#[test]
fn a_stream_whose_way_back_cannot_be_written_is_not_changed_and_the_rest_is_told() {
    let Some(server) = Server::start() else { return };
    let small = Small::new();
    let world = World::generate(&WorldSpec {
        seed: 5,
        ..WorldSpec::default()
    });
    world.write_recovered_copy(&small.path("recovered.sql")).unwrap();
    let recovered = server.load("recovered", &small.path("recovered.sql"));
    // On a disk: in memory the room that is taken beforehand counts against the limit, too.
    let disk = tempfile::tempdir_in(test_support::workspace_root().join("target")).unwrap();
    // No file may grow beyond so many KiB.
    for limit in [2, 8] {
        let db = server.copy(&format!("limit_{limit}"), &recovered);
        let before = db.dump();
        let undo = text(&disk.path().join(format!("undo-{limit}")));
        let ran = shell(&format!(
            "ulimit -f {limit}; $BIN apply {} --db '{}' --undo {undo} --format json --no-journal",
            text(&small.plan),
            db.arg()
        ));
        assert_eq!(ran.code & 8, 8, "{}", ran.stderr);
        assert!(ran.stderr.contains(&undo), "{}", ran.stderr);
        let report = ran.json();
        let streams = report["streams"].as_array().unwrap();
        let applied = streams.iter().filter(|s| s["status"] == "applied").count();
        assert_eq!(ran.code & 1, i32::from(applied > 0), "{}", ran.stderr);
        assert!(applied < streams.len(), "{report}");
        if applied == 0 {
            assert_same(&before, &db.dump());
        }
        let back = run(["undo", &undo, "--interrupted", "--db", &db.arg()]);
        assert_eq!(back.code, i32::from(applied > 0), "{}", back.stderr);
    }
}

#[test]
fn an_epoch_is_made_again_from_the_plan_or_the_journal() {
    let small = Small::new();
    let db = small.copy("log-1.db");
    let first = small.path("epoch");
    apply(&db, &small.plan, &["--epoch", &text(&first)]);
    let read = |path: &Path| -> Value {
        let mut epoch: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        epoch.as_object_mut().unwrap().remove("time");
        epoch
    };
    let epoch = |name: &str, more: &[&str]| {
        let (out, db) = (text(&small.path(name)), db.arg());
        let mut all = vec!["epoch", "--db", &db, "--out", &out];
        all.extend(more);
        run(all)
    };
    let plan = text(&small.plan);
    epoch("of-plan", &["--plan", &plan]).expect(0);
    assert_eq!(read(&first), read(&small.path("of-plan")));
    epoch("of-journal", &[]).expect(0);
    assert_eq!(read(&first), read(&small.path("of-journal")));
    // Nothing is written over, and nothing half.
    epoch("of-journal", &[]).expect(8).says(&["of-journal"]);
    let missing = "ab".repeat(32);
    epoch("of-none", &["--plan-id", &missing])
        .expect(8)
        .says(&["no epoch can be drawn up", "--plan"]);
    assert!(!small.path("of-none").exists());
    // A log that nobody repaired has none.
    let other = small.copy("log-2.db");
    let out = text(&small.path("other"));
    run(["epoch", "--db", &other.arg(), "--out", &out]).expect(8);
}

#[test]
fn a_bundle_of_the_same_plan_is_followed_by_the_next() {
    let small = Small::new();
    let db = small.copy("log-1.db");
    let undo = small.path("undo");
    apply(&db, &small.plan, &["--undo", &text(&undo)]);
    let written = fs::read(&undo).unwrap();
    let ran = apply(&db, &small.plan, &["--undo", &text(&undo)]);
    assert_eq!(ran.code & 9, 0, "{}", ran.stderr);
    assert_eq!(fs::read(&undo).unwrap(), written);
    assert!(small.path("undo.2").is_file());
}

#[test]
fn what_a_killed_run_left_behind_goes_with_the_next_that_writes_there() {
    let small = Small::new();
    let folder = small.path("out");
    fs::create_dir(&folder).unwrap();
    let (log, plan) = (small.log.arg(), text(&small.plan));
    for (command, input) in [
        ("plan", &log),
        ("snapshot", &log),
        ("export", &log),
        ("certify", &plan),
        ("drill", &log),
    ] {
        let abandoned = folder.join(format!(".{command}.ves-partial-k1ll3d"));
        fs::write(&abandoned, "half a file").unwrap();
        let out = text(&folder.join(command));
        let ran = match command {
            "certify" => run([command, input, "--out", &out]),
            "drill" => run([command, "--events", "10", "--report", &out]),
            _ => run([command, "--db", input, "--out", &out]),
        };
        assert!(ran.code & 24 == 0, "{command}: {}", ran.stderr);
        assert!(!abandoned.exists(), "{command}");
        assert!(Path::new(&out).exists(), "{command}");
    }
}
