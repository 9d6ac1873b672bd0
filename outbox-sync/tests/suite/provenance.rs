//! Every document says what made it, when, and from which files: their hashes are those of the files.

use crate::common;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use common::agents::{events, outbox};
use common::writer::Writer;
use fixtures::{World, WorldSpec};
use serde_json::Value;
use sha2::{Digest, Sha256};

fn sha256(path: &Path) -> String {
    hex::encode(Sha256::digest(fs::read(path).unwrap()))
}

fn json(folder: &Path, arguments: &[&str]) -> Value {
    let (code, out, err) = common::run(folder, &[arguments, &["--format", "json"]].concat());
    assert_eq!(code & 24, 0, "{arguments:?}: {err}");
    serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}\n{err}"))
}

/// The file that a document names as read: its role, and its hash or why it has none.
fn input(made: &Value, path: &str) -> (String, Result<String, String>) {
    let inputs = made["inputs"].as_array().unwrap();
    let input = inputs.iter().find(|input| input["path"] == path);
    let input = input.unwrap_or_else(|| panic!("{path} is not in {made}"));
    let text = |name: &str| input[name].as_str().map(str::to_owned);
    let hash = text("sha256").ok_or_else(|| text("not_hashed").unwrap());
    (text("role").unwrap(), hash)
}

fn assert_made(made: &Value) {
    assert_eq!(made["tool"], "outbox-sync", "{made}");
    assert_eq!(made["version"], env!("CARGO_PKG_VERSION"));
    let at: jiff::Timestamp = made["made_at"].as_str().unwrap().parse().unwrap();
    assert!(
        at <= jiff::Timestamp::now() && at.as_second() > 1_767_225_600,
        "{at}"
    );
}

#[test]
fn every_document_names_its_files_with_their_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    let world = World::generate(&WorldSpec {
        tenants: 1,
        stores_per_tenant: 1,
        events_per_stream: 40,
        ..WorldSpec::honest(7)
    });
    world.write_recovered(&at("log.db")).unwrap();
    outbox(&at("a.db"), &events(1, 3));
    fs::write(at("receipts.ndjson"), "").unwrap();
    let before = sha256(&at("a.db"));
    let log = ["--db", "log.db"];
    let push = [
        "push",
        "a.db",
        "--dry-run",
        "--url",
        "http://127.0.0.1:9",
        "--receipts",
        "receipts.ndjson",
    ];
    let commands: [(&[&str], &[&str]); 7] = [
        (&["status", "a.db"], &log),
        (&["verify", "a.db"], &log),
        (&["census", "a.db"], &log),
        (&push, &log),
        (&["reconcile", "a.db"], &log),
        (&["export", "a.db", "--out", "all.ndjson"], &[]),
        (
            &["export", "a.db", "--out", "lost.ndjson"],
            &["--missing-from", "log.db"],
        ),
    ];
    for (command, log) in commands {
        let line = [command, log].concat();
        let document = json(dir.path(), &line);
        let made = &document["provenance"];
        assert_made(made);
        assert_eq!(
            input(made, "a.db"),
            ("outbox".into(), Ok(before.clone())),
            "{line:?}"
        );
        if !log.is_empty() {
            assert_eq!(input(made, "log.db"), ("db".into(), Ok(sha256(&at("log.db")))));
            assert_eq!(document["place"]["kind"], "snapshot", "{line:?}");
        }
        if command[0] == "push" {
            assert_eq!(
                input(made, "receipts.ndjson").1,
                Ok(sha256(&at("receipts.ndjson")))
            );
        }
        // For people it takes two lines at most, and so it does as a line of NDJSON.
        let force: &[&str] = if command[0] == "export" { &["--force"] } else { &[] };
        let line = [&line, force].concat();
        let (_, text, _) = common::run(dir.path(), &line);
        let head = text
            .lines()
            .position(|line| line.starts_with("Made: "));
        let head = head.unwrap_or_else(|| panic!("{line:?}: {text}"));
        assert!(head <= 4, "{text}");
        let (_, lines, _) = common::run(dir.path(), &[&line[..], &["--format", "ndjson"]].concat());
        let lines = lines
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        let made: Vec<_> = lines.filter(|line| line["type"] == "provenance").collect();
        assert_eq!(made.len(), 1, "{line:?}");
        assert_made(&made[0]);
    }
    for (name, log) in [("all.ndjson", false), ("lost.ndjson", true)] {
        let manifest = fs::read(at(&format!("{name}.manifest.json"))).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        assert_made(&manifest["provenance"]);
        assert_eq!(input(&manifest["provenance"], "a.db").1, Ok(before.clone()));
        assert_eq!(manifest["place"]["kind"] == "snapshot", log, "{manifest}");
    }
    // An export is read with its manifest, and both are named.
    let made = &json(dir.path(), &["verify", "all.ndjson", "--db", "log.db"])["provenance"];
    assert_eq!(
        input(made, "all.ndjson"),
        ("export".into(), Ok(sha256(&at("all.ndjson"))))
    );
    assert_eq!(input(made, "all.ndjson.manifest.json").0, "manifest");

    let document = json(dir.path(), &["backup", "a.db", "--out", "a.bak"]);
    assert_eq!(input(&document["provenance"], "a.db").1, Ok(before.clone()));
    assert_eq!(document["sha256"], sha256(&at("a.bak")));
    assert_eq!(sha256(&at("a.db")), before, "nothing was changed");
}

#[test]
fn the_hash_of_an_outbox_that_is_set_right_is_that_of_its_state_before() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::generate(&WorldSpec {
        tenants: 1,
        stores_per_tenant: 1,
        wal_outboxes: 0,
        events_per_stream: 60,
        ..WorldSpec::default()
    });
    world.write_recovered(&dir.path().join("log.db")).unwrap();
    world.write_outboxes(&dir.path().join("outboxes")).unwrap();
    let hashes = common::fingerprint(&dir.path().join("outboxes"));
    let line = ["reconcile", "outboxes", "--db", "log.db", "--apply"];
    let document = json(dir.path(), &line);
    let applied: Vec<_> = (document["outboxes"].as_array().unwrap().iter())
        .filter(|done| done["applied"] == true)
        .collect();
    assert!(!applied.is_empty(), "{document}");
    for done in applied {
        let path = done["path"].as_str().unwrap();
        let before = &hashes[&dir.path().join(path)];
        assert_eq!(input(&document["provenance"], path).1.as_ref(), Ok(before));
        assert_ne!(&sha256(&dir.path().join(path)), before, "{path} was changed");
    }
}

#[test]
fn what_changes_or_can_be_read_but_once_says_why_it_has_no_hash() {
    let dir = tempfile::tempdir().unwrap();
    let live = dir.path().join("live.db");
    drop(common::create(&live, common::OUTBOX_V3, 200));
    // The writer never stops, so a file of it changes between two looks sooner or later.
    let writer = Writer::start(&live, "wal");
    let seen = (0..200).any(|_| {
        let (code, out, err) = common::run(dir.path(), &["status", "live.db", "--format", "json"]);
        assert_eq!(code & 24, 0, "{err}");
        let document: Value = serde_json::from_str(&out).unwrap();
        let wal = format!("{}-wal", live.canonicalize().unwrap().display());
        let (role, hash) = input(&document["provenance"], &wal);
        assert_eq!(role, "wal");
        hash == Err("it changed while it was read".into())
    });
    assert!(seen);
    writer.stop();

    // In rollback mode a reader's lock would be lost if its file were opened and closed once more meanwhile.
    let locked = dir.path().join("locked.db");
    drop(common::create(&locked, common::OUTBOX_V3, 200));
    let writer = Writer::start(&locked, "delete");
    for _ in 0..2 {
        let document = json(
            dir.path(),
            &["export", "locked.db", "--out", "e.ndjson", "--force"],
        );
        let events = document["manifest"]["events"].as_u64().unwrap();
        assert!(events.is_multiple_of(2), "{events} events of whole transactions");
    }
    writer.stop();

    outbox(&dir.path().join("a.db"), &events(1, 2));
    assert_eq!(
        common::run(dir.path(), &["export", "a.db", "--out", "a.ndjson"]).0,
        0
    );
    let mut cat = Command::new("cat")
        .arg(dir.path().join("a.ndjson"))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = assert_cmd::cargo::CommandCargoExt::cargo_bin("outbox-sync")
        .map(|mut command: Command| {
            command
                .args(["verify", "/dev/stdin", "--format", "json"])
                .stdin(cat.stdout.take().unwrap())
                .output()
                .unwrap()
        })
        .unwrap();
    assert!(cat.wait().unwrap().success());
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(document["totals"]["not_checked"], 2, "{document}");
    let (_, hash) = input(&document["provenance"], "/dev/stdin");
    assert_eq!(hash, Err("it is no plain file, and can be read only once".into()));
}
