//! Bad input: a clear error, the right status, and nothing changed.

use crate::common;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use common::{Data, Db, Server, args, assert_same, run, text};
use fixtures::{World, WorldSpec};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A small world as files.
struct Small {
    folder: TempDir,
    db: Db,
}

impl Small {
    fn new() -> Self {
        let world = World::generate(&WorldSpec {
            tenants: 1,
            stores_per_tenant: 1,
            events_per_stream: 40,
            batch_size: 8,
            wal_outboxes: 0,
            ..WorldSpec::honest(3)
        });
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        world.write_recovered(&path("log.db")).unwrap();
        world.write_anchors(&path("anchors.json")).unwrap();
        world.write_outboxes(&path("outboxes")).unwrap();
        let db = Db::Snapshot(path("log.db"));
        Self { folder, db }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn outboxes(&self) -> Vec<PathBuf> {
        let mut all: Vec<PathBuf> = fs::read_dir(self.path("outboxes"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .collect();
        all.sort();
        all
    }
}

/// All commands that open a log, with this one.
fn commands(small: &Small, db: &str) -> Vec<Vec<String>> {
    let plan = small.path("a.plan");
    if !plan.exists() {
        let with = ["--anchors".to_owned(), text(&small.path("anchors.json"))];
        common::plan(&small.db, &plan, &with);
    }
    let owned = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
    vec![
        owned(&["audit", "--db", db]),
        owned(&["plan", "--db", db, "--out", &text(&small.path("never.plan"))]),
        owned(&["apply", &text(&plan), "--db", db]),
        owned(&["counters", "--db", db, "--apply"]),
        owned(&["snapshot", "--db", db, "--out", &text(&small.path("never.db"))]),
    ]
}

/// Each command fails with this status, says this, and leaves no file.
#[track_caller]
fn all_refuse(small: &Small, db: &str, code: i32, words: &[&str]) {
    for command in commands(small, db) {
        let ran = run(&command);
        assert_eq!(ran.code, code, "{command:?}: {}", ran.stderr);
        assert_eq!(ran.stdout, "", "{command:?}");
        assert!(
            ran.stderr.starts_with("error: ") && ran.stderr.contains("hint: "),
            "{command:?}: {}",
            ran.stderr
        );
        let ran = ran.says(words);
        assert!(
            !ran.stderr.contains("hunter2") && !ran.stderr.contains("panicked"),
            "{}",
            ran.stderr
        );
    }
    assert!(!small.path("never.plan").exists() && !small.path("never.db").exists());
}

#[test]
fn a_log_that_is_none() {
    let small = Small::new();
    // No database is named.
    for command in commands(&small, "x") {
        let without: Vec<String> = {
            let at = command.iter().position(|a| a == "--db").unwrap();
            command
                .iter()
                .enumerate()
                .filter(|(n, _)| *n != at && *n != at + 1)
                .map(|(_, a)| a.clone())
                .collect()
        };
        run(&without).expect(16).says(&["--db", "DATABASE_URL"]);
    }
    for wrong in ["mysql://root:hunter2@db/log", "postgres:log"] {
        all_refuse(&small, wrong, 16, &[]);
    }
    // Nobody listens there.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let url = format!("postgres://operator:hunter2@127.0.0.1:{port}/log?application_name=x");
    all_refuse(
        &small,
        &url,
        8,
        &["cannot connect to postgres://operator:", "is the server up"],
    );

    let bytes = fs::read(small.db.arg()).unwrap();
    let write = |name: &str, content: &[u8]| {
        fs::write(small.path(name), content).unwrap();
        text(&small.path(name))
    };
    all_refuse(&small, &text(&small.path("nowhere.db")), 8, &["nowhere.db"]);
    all_refuse(&small, &text(small.folder.path()), 8, &["not a file"]);
    all_refuse(&small, &write("empty.db", b""), 8, &["empty.db", "too short"]);
    all_refuse(
        &small,
        &write("text.db", "no database ".repeat(100).as_bytes()),
        8,
        &["not an SQLite database"],
    );
    all_refuse(
        &small,
        &write("half.db", &bytes[..bytes.len() / 2]),
        8,
        &["truncated"],
    );
    let mut version = bytes.clone();
    version[63] = 2;
    all_refuse(
        &small,
        &write("version.db", &version),
        8,
        &["snapshot of version 2"],
    );
    all_refuse(&small, &text(&small.outboxes()[0]), 8, &["not a snapshot"]);
    let mut torn = bytes.clone();
    let middle = torn.len() / 2;
    torn[4096..middle].fill(0xa5);
    for command in commands(&small, &write("torn.db", &torn)) {
        let ran = run(&command);
        assert_eq!(ran.code & 8, 8, "{command:?}: {}", ran.stderr);
        assert!(
            ran.stderr.contains("hint: ") && !ran.stderr.contains("panicked"),
            "{}",
            ran.stderr
        );
    }
    let other = small.db.file_copy(small.path("schema.db"));
    other.execute("ALTER TABLE ves_events RENAME COLUMN created_at_str TO created");
    all_refuse(&small, &other.arg(), 8, &["ves_events.created_at_str is missing"]);
}

#[test]
fn a_server_with_something_else() {
    let small = Small::new();
    let Some(server) = Server::start() else { return };
    let empty = server.0.create_database("empty");
    all_refuse(
        &small,
        &empty,
        8,
        &["does not hold a sequencer's log", "table ves_events is missing"],
    );
    let url = server.0.create_database("older");
    test_support::load_schema(&url);
    let _ = test_support::query(&url, "ALTER TABLE ves_events DROP COLUMN created_at_str");
    all_refuse(&small, &url, 8, &["ves_events.created_at_str is missing"]);
    let _ = test_support::query(&url, "ALTER TABLE ves_events ADD COLUMN created_at_str int4");
    all_refuse(&small, &url, 8, &["created_at_str is of type"]);
    all_refuse(
        &small,
        &server.0.database_url("nowhere"),
        8,
        &["nowhere", "cannot connect"],
    );

    // The password is shown nowhere, in no format, also when all goes well.
    let url = server.0.create_database("log");
    test_support::load_schema(&url);
    let url = url.replace("postgres@", "postgres:hunter2@");
    for format in ["table", "json", "ndjson"] {
        for verbosity in ["--quiet", "--verbose"] {
            let ran = run(["audit", "--db", &url, "--format", format, verbosity]);
            let ran = if ran.code == 16 {
                run(["audit", "--db", &url, "--format", format])
            } else {
                ran
            };
            assert!(
                !ran.stdout.contains("hunter2") && !ran.stderr.contains("hunter2"),
                "{ran:?}"
            );
            // A log without a stream is told.
            assert_eq!(ran.code, 4, "{}", ran.stderr);
        }
    }
    let out = small.path("empty.plan");
    let ran = run(["plan", "--db", &url, "--out", out.to_str().unwrap()]).expect(4);
    assert!(!ran.stdout.contains("hunter2") && !fs::read_to_string(&out).unwrap().contains("hunter2"));
    let snapshot = small.path("empty.db");
    run(["snapshot", "--db", &url, "--out", snapshot.to_str().unwrap()]).expect(0);
    let bytes = fs::read(&snapshot).unwrap();
    assert!(!bytes.windows(7).any(|w| w == b"hunter2"));
    let mut command = assert_cmd::Command::from_std(common::binary());
    let output = command
        .env("DATABASE_URL", &url)
        .args(["audit", "--format", "json"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(4));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!report.to_string().contains("hunter2"));
}

fn heard(report: &Value) -> Vec<(String, bool)> {
    let name = |h: &Value| {
        Path::new(h["path"].as_str().unwrap())
            .file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .to_owned()
    };
    report["heard"]
        .as_array()
        .unwrap()
        .iter()
        .map(|h| (name(h), h.get("error").is_none()))
        .collect()
}

/// One bad outbox among good ones: the rest is used all the same, and the status says that one was not.
#[test]
fn outboxes_that_cannot_be_read() {
    let small = Small::new();
    let good = small.outboxes();
    let bytes = fs::read(&good[0]).unwrap();
    let anchors = ["--anchors".to_owned(), text(&small.path("anchors.json"))];
    let audit = |outboxes: &[String]| {
        let more: Vec<String> = outboxes
            .iter()
            .flat_map(|o| ["--outbox".to_owned(), o.clone()])
            .chain(anchors.clone())
            .collect();
        run(args(
            ["audit", "--format", "json", "--db", &small.db.arg()],
            &more,
        ))
    };
    let folder = text(&small.path("outboxes"));
    let whole = audit(std::slice::from_ref(&folder)).expect(4).json();
    let missing = whole["totals"]["missing"].clone();
    assert!(missing.as_u64().unwrap() > 0);

    let bad = small.path("bad");
    fs::create_dir(&bad).unwrap();
    let put = |name: &str, content: &[u8]| fs::write(bad.join(name), content).unwrap();
    put("text.db", b"this is no database, but it is long enough to be one: more than one hundred bytes are needed, as here");
    put("half.db", &bytes[..bytes.len() / 2]);
    put("empty.db", b"");
    let other = Connection::open(bad.join("other.db")).unwrap();
    other.execute_batch("CREATE TABLE something (a)").unwrap();
    other.close().unwrap();
    put("locked.db", &bytes);
    let writer = Connection::open(bad.join("locked.db")).unwrap();
    // Not the same content as another's, which would be read once.
    writer.pragma_update(None, "user_version", 7).unwrap();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let older = small.path("older.db");
    let connection = Connection::open(&older).unwrap();
    connection
        .execute_batch("CREATE TABLE outbox (a); CREATE TABLE pulled_events (a)")
        .unwrap();
    connection.close().unwrap();
    fs::rename(&older, bad.join("older.db")).unwrap();

    let ran = audit(&[folder.clone(), text(&bad)]).expect(4 | 8);
    let report = ran.json();
    assert_eq!(report["totals"]["missing"], missing, "the good ones are used");
    let mut not_heard: Vec<String> = heard(&report)
        .into_iter()
        .filter(|(_, read)| !read)
        .map(|(name, _)| name)
        .collect();
    not_heard.sort();
    assert_eq!(
        not_heard,
        ["empty.db", "half.db", "locked.db", "older.db", "text.db"]
    );
    // What is surely something else is named, and no witness that is missing.
    assert!(report["not_checked"].to_string().contains("other.db"));
    assert!(
        report["not_used"]
            .to_string()
            .contains("database of something else")
    );
    for name in &not_heard {
        let findings = report["findings"].as_array().unwrap();
        let finding = findings
            .iter()
            .find(|f| f["message"].as_str().unwrap().contains(name.as_str()))
            .unwrap();
        assert_eq!(finding["code"], "witness.unreadable", "{finding}");
        assert!(
            report["not_checked"].to_string().contains(name.as_str()),
            "{name}"
        );
    }
    let messages = report["findings"].to_string();
    for word in [
        "is not an SQLite database",
        "is truncated",
        "0 bytes",
        "without the column",
        "is locked",
    ] {
        assert!(messages.contains(word), "{word:?} is not in {messages}");
    }
    // The plan uses the good ones too, and says so in its status.
    let more = [
        "--outbox".to_owned(),
        folder.clone(),
        "--outbox".into(),
        text(&bad),
    ];
    let more: Vec<String> = more.into_iter().chain(anchors.clone()).collect();
    let with_bad = common::plan(&small.db, &small.path("with-bad.plan"), &more);
    assert_eq!(with_bad.code & 8, 8, "{}", with_bad.stderr);
    let more: Vec<String> = ["--outbox".to_owned(), folder]
        .into_iter()
        .chain(anchors.clone())
        .collect();
    let with_good = common::plan(&small.db, &small.path("with-good.plan"), &more);
    assert_eq!(with_bad.code & !8, with_good.code);
    assert_eq!(with_bad.json()["totals"], with_good.json()["totals"]);
    writer.execute_batch("ROLLBACK").unwrap();

    // What names nothing at all is a mistake of the caller.
    for nothing in ["nowhere.db", "no*match.db", "empty-folder"] {
        fs::create_dir_all(small.path("empty-folder")).unwrap();
        let path = text(&small.path(nothing));
        audit(&[path]).expect(8).says(&[nothing, "hint"]);
    }
}

#[test]
fn real_outboxes_of_the_older_shape_are_heard_among_the_others() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let db = server
        .load("recovered", &data.dir.join("recovered.copy.sql"))
        .snapshot(data.path("recovered.db"));
    let older = text(&data.dir.join("older-outboxes"));
    let mut more = data.witnesses();
    more.extend(["--outbox".to_owned(), older]);
    let report = run(args(["audit", "--format", "json", "--db", &db.arg()], &more))
        .expect(4)
        .json();
    assert_eq!(report["totals"]["missing"], 98 + 67 + 66 + 103);
    assert!(heard(&report).iter().all(|(_, read)| *read));
    // The lost events of foxtrot: their signed rendering is found again, and the root of c1811184 places them.
    let plan = text(&data.path("older.plan"));
    let summary = run(args(
        ["plan", "--format", "json", "--out", &plan, "--db", &db.arg()],
        &more,
    ))
    .expect(4)
    .json();
    assert_eq!(summary["totals"]["by_grade"]["proven"], 232);
    assert_eq!(summary["totals"]["commitments"], 7);
    let outcomes = summary["streams"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|s| s["batches"].as_array().unwrap());
    let solved: Vec<&str> = outcomes
        .filter(|b| b["outcome"].as_str().unwrap().starts_with("solved"))
        .map(|b| &b["batch_id"].as_str().unwrap()[..8])
        .collect();
    assert!(solved.contains(&"c1811184"), "{solved:?}");
    // The real files were not touched: no -wal or -shm beside them that was not there.
    let names: Vec<String> = fs::read_dir(data.dir.join("outboxes"))
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| !n.ends_with(".db"))
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn anchors_that_cannot_be_used() {
    let small = Small::new();
    let before = small.db.dump();
    let content = fs::read_to_string(small.path("anchors.json")).unwrap();
    let document: Value = serde_json::from_str(&content).unwrap();
    let schema = document["schema"].as_str().unwrap().to_owned();
    let (name, _) = schema.split_once('/').unwrap();
    let write = |file: &str, content: &str| {
        fs::write(small.path(file), content).unwrap();
        text(&small.path(file))
    };
    let run_with = |anchors: &str| -> Vec<common::Ran> {
        let db = small.db.arg();
        let out = text(&small.path("never.plan"));
        vec![
            run(["audit", "--db", &db, "--anchors", anchors]),
            run(["plan", "--db", &db, "--anchors", anchors, "--out", &out]),
            run(["counters", "--db", &db, "--anchors", anchors, "--apply"]),
        ]
    };
    let cases = [
        (
            write(
                "version.json",
                &content.replacen(&schema, &format!("{name}/99"), 1),
            ),
            "99",
        ),
        (write("garbage.json", "\u{0}garbage"), "garbage.json"),
        (write("empty.json", ""), "empty.json"),
        (write("half.json", &content[..content.len() / 2]), "half.json"),
        (write("logs.json", "[]"), "logs.json"),
        (text(&small.path("nowhere.json")), "nowhere.json"),
        (text(small.folder.path()), "error"),
        (small.db.arg(), "log.db"),
    ];
    for (anchors, word) in &cases {
        for ran in run_with(anchors) {
            let ran = ran.expect(8).says(&[word, "hint: ", "error: "]);
            assert_eq!(ran.stdout, "");
        }
        assert!(!small.path("never.plan").exists());
        assert_same(&before, &small.db.dump());
    }

    // Two roots for one range: neither proves anything, and the batch stays open.
    let outboxes = ["--outbox".to_owned(), text(&small.path("outboxes"))];
    let with = |anchors: &str, out: &str| {
        let more: Vec<String> = outboxes
            .iter()
            .cloned()
            .chain(["--anchors".to_owned(), anchors.to_owned()])
            .collect();
        common::plan(&small.db, &small.path(out), &more)
    };
    let clean = with(&text(&small.path("anchors.json")), "clean.plan").json();
    let sections = common::read_plan(&small.path("clean.plan"));
    let solved = sections
        .values()
        .flat_map(|s| &s.header.batches)
        .next()
        .unwrap()
        .clone();
    let mut contested = document.clone();
    let anchors = contested["anchors"].as_array_mut().unwrap();
    let rivals: Vec<Value> = anchors
        .iter()
        .filter(|a| a["batch_id"] == solved.batch_id.to_string())
        .map(|a| {
            let mut rival = a.clone();
            rival["batch_id"] = json!("00000000-0000-4000-8000-0000000000ff");
            rival["events_root"] = json!("ab".repeat(32));
            rival["log_index"] = json!(a["log_index"].as_u64().unwrap() + 50);
            rival
        })
        .collect();
    assert!(!rivals.is_empty(), "{:?}", anchors[0]);
    anchors.extend(rivals);
    let file = write("contested.json", &contested.to_string());
    let ran = with(&file, "contested.plan");
    let contested = ran.json();
    let events = |summary: &Value| summary["totals"]["events"].as_u64().unwrap();
    assert!(events(&contested) < events(&clean));
    let sections = common::read_plan(&small.path("contested.plan"));
    for section in sections.values() {
        assert!(
            section
                .header
                .batches
                .iter()
                .all(|b| b.batch_id != solved.batch_id)
        );
        let inside = |n: u64| (solved.sequence_start..=solved.sequence_end).contains(&n);
        assert!(
            section.events.iter().all(|e| !inside(e.sequence)),
            "nothing goes where anchors contradict each other"
        );
        assert!(
            section
                .commitments
                .iter()
                .all(|c| c.sequence_start < solved.sequence_start)
        );
    }
    let report = run([
        "audit",
        "--format",
        "json",
        "--db",
        &small.db.arg(),
        "--anchors",
        &file,
    ])
    .expect(4)
    .json();
    assert!(report["findings"].to_string().contains("anchor.conflict"));
}

#[test]
fn files_that_must_not_be_written() {
    let small = Small::new();
    let db = small.db.arg();
    let there = small.path("there");
    fs::write(&there, "mine").unwrap();
    for command in ["plan", "snapshot"] {
        let out = text(&there);
        run([command, "--db", &db, "--out", &out])
            .expect(8)
            .says(&["there", "exists", "hint: "]);
        assert_eq!(fs::read_to_string(&there).unwrap(), "mine");
        let nowhere = text(&small.path("no-such-folder/out"));
        run([command, "--db", &db, "--out", &nowhere])
            .expect(8)
            .says(&["no-such-folder"]);
        // A file where a folder must be: nobody may write there, root neither.
        let under = format!("{}/out", text(&there));
        run([command, "--db", &db, "--out", &under])
            .expect(8)
            .says(&["error: "]);
    }
    // A dangling link is no free name.
    std::os::unix::fs::symlink(small.path("target"), small.path("link")).unwrap();
    for command in ["plan", "snapshot"] {
        run([command, "--db", &db, "--out", &text(&small.path("link"))]).expect(8);
        assert!(!small.path("target").exists());
    }
    let left: Vec<String> = fs::read_dir(small.folder.path())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .filter(|n| n.starts_with(".tmp"))
        .collect();
    assert_eq!(left, Vec::<String>::new(), "no temporary file is left");
}

#[test]
fn command_lines_that_make_no_sense() {
    let small = Small::new();
    let db = small.db.arg();
    let out = text(&small.path("never.plan"));
    let wrong: &[&[&str]] = &[
        &["plan", "--db", &db],
        &["plan", "--db", &db, "--out", &out, "--accept", "contested"],
        &["plan", "--db", &db, "--out", &out, "--accept", "lost"],
        &["plan", "--db", &db, "--out", &out, "--accept", ""],
        &["plan", "--db", &db, "--out", &out, "--floor", "everything"],
        &["audit", "--db", &db, "--tenant", "not-a-uuid"],
        &["audit", "--db", &db, "--format", "xml"],
        &["apply", "--db", &db],
        &["restore"],
    ];
    for command in wrong {
        let ran = run(*command).expect(16);
        assert_eq!(ran.stdout, "", "{command:?}");
    }
    assert!(!small.path("never.plan").exists());
    for (key, word) in [("zz", "zz"), ("/nowhere/key", "/nowhere/key"), (db.as_str(), "")] {
        let ran = run(["audit", "--db", &db, "--sequencer-public-key", key]);
        assert_eq!(ran.code, 8, "{}", ran.stderr);
        ran.says(&[word, "error: "]);
    }
    // A stream that is not there is no stream that is whole.
    let ran = run([
        "audit",
        "--db",
        &db,
        "--store",
        "00000000-0000-4000-8000-000000000000",
        "--format",
        "json",
    ]);
    assert_eq!(ran.json()["totals"]["streams"], 0);
}

#[test]
fn what_was_given_and_holds_nothing_is_a_problem() {
    let small = Small::new();
    let whole = small.path("whole.db");
    fs::copy(small.path("log.db"), &whole).unwrap();
    let execute = |path: &Path, sql: &str| Connection::open(path).unwrap().execute_batch(sql).unwrap();
    let db = small.db.arg();
    // Anchors files without anchors.
    let none = small.path("none.json");
    let mut anchors: Value = serde_json::from_slice(&fs::read(small.path("anchors.json")).unwrap()).unwrap();
    anchors["anchors"] = json!([]);
    fs::write(&none, anchors.to_string()).unwrap();
    // A copy of the log, an export of it and a file of receipts without anything in them.
    let empty = small.path("empty.db");
    fs::copy(&whole, &empty).unwrap();
    execute(
        &empty,
        "PRAGMA foreign_keys = OFF; DELETE FROM ves_events; DELETE FROM ves_sequence_counters; DELETE FROM ves_commitments",
    );
    let export = small.path("empty.ndjson");
    run(["export", "--db", &text(&empty), "--out", &text(&export)]);
    let receipts = small.path("receipts.ndjson");
    fs::write(&receipts, "").unwrap();
    for (option, file, code, words) in [
        ("--anchors", &none, "anchor.none", "holds no anchor"),
        (
            "--witness",
            &empty,
            "witness.empty",
            "holds no event of what was asked for",
        ),
        (
            "--witness",
            &export,
            "witness.empty",
            "holds no event of what was asked for",
        ),
        ("--receipts", &receipts, "witness.empty", "holds no receipt"),
    ] {
        let file = text(file);
        let without = run(["audit", "--db", &db, "--format", "json"]).json();
        let with = run(["audit", "--db", &db, option, &file, "--format", "json"]);
        assert_eq!(with.code & 4, 4, "{option} {file}: {}", with.stderr);
        let report = with.json();
        let finding = |report: &Value| {
            let findings = report["findings"].as_array().unwrap();
            findings.iter().find(|f| f["code"] == code).cloned()
        };
        assert_eq!(finding(&without), None);
        let found = finding(&report).unwrap_or_else(|| panic!("{option} {file}: {}", report["findings"]));
        let message = found["message"].as_str().unwrap();
        assert!(message.contains(words) && message.contains(&file), "{message}");
    }
    // A witness that speaks of other streams only says nothing of those that were asked for.
    let tenant = "11111111-1111-4111-8111-111111111111";
    let ran = run([
        "audit",
        "--db",
        &db,
        "--witness",
        &text(&whole),
        "--tenant",
        tenant,
        "--format",
        "json",
    ]);
    let codes: Vec<Value> = (ran.json()["findings"].as_array().unwrap().iter())
        .map(|f| f["code"].clone())
        .collect();
    assert!(
        codes.contains(&json!("witness.empty")) && codes.contains(&json!("log.empty")),
        "{codes:?}"
    );
}
