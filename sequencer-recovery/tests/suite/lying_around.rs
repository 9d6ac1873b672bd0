//! Witnesses as they lie around: under any name, anywhere in a folder, among other things, and some that cannot be read.

use crate::common;

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Db, Ran, args, binary, plan, run, text};
use fixtures::{World, WorldSpec};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// A small world as files, its outboxes in one folder under good names.
struct Small {
    folder: TempDir,
    db: Db,
    world: World,
}

impl Small {
    fn new() -> Self {
        let world = World::generate(&WorldSpec {
            tenants: 1,
            stores_per_tenant: 1,
            agents_per_stream: 7,
            events_per_stream: 120,
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
        Self { folder, db, world }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn outboxes(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.path("outboxes")).unwrap();
        let mut all: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        all.sort();
        all
    }

    /// The same outboxes under the names that people give them, anywhere in a folder.
    fn scatter(&self) -> PathBuf {
        let folder = self.path("lying around");
        fs::create_dir_all(folder.join("host/var/lib")).unwrap();
        let names = [
            "host/var/lib/outbox.db",
            "x.db.bak",
            "x.DB",
            "x.db3",
            "copy of agent",
        ];
        let more = (0..).map(|n| format!("host/{n}"));
        let names = names.iter().map(|name| (*name).to_owned()).chain(more);
        for (from, to) in self.outboxes().iter().zip(names) {
            fs::copy(from, folder.join(to)).unwrap();
        }
        folder
    }

    fn audit(&self, outboxes: &Path, more: &[&str]) -> Ran {
        let first = [
            "audit",
            "--db",
            &self.db.arg(),
            "--outbox",
            &text(outboxes),
            "--format",
            "json",
        ];
        let more: Vec<String> = more.iter().map(|arg| (*arg).to_owned()).collect();
        run(args(first, &more))
    }

    fn floors(&self, outboxes: &Path) -> Vec<Value> {
        let ran = run([
            "counters",
            "--db",
            &self.db.arg(),
            "--outbox",
            &text(outboxes),
            "--format",
            "json",
        ]);
        let streams = ran.json()["streams"].as_array().unwrap().clone();
        streams.iter().map(|stream| stream["floor"].clone()).collect()
    }
}

fn agents(report: &Value) -> Vec<String> {
    let heard = report["heard"].as_array().unwrap();
    let mut agents: Vec<String> = heard
        .iter()
        .filter_map(|heard| heard["agent_id"].as_str().map(str::to_owned))
        .collect();
    agents.sort();
    agents
}

#[test]
fn every_outbox_below_a_folder_is_heard_whatever_its_name() {
    let small = Small::new();
    let tidy = small.audit(&small.path("outboxes"), &[]).expect(4).json();
    let folder = small.scatter();
    fs::write(folder.join("notes.txt"), "called the agents' owner at 3:10\n").unwrap();
    fs::copy(small.path("log.db"), folder.join("log.db")).unwrap();
    symlink(&folder, folder.join("host/loop")).unwrap();
    // A copy of a copy adds nobody.
    fs::copy(folder.join("x.DB"), folder.join("host/again.db")).unwrap();
    let pipe = Command::new("mkfifo")
        .arg(folder.join("pipe.db"))
        .status()
        .unwrap();
    assert!(pipe.success());

    let report = small.audit(&folder, &[]).expect(4).json();
    assert_eq!(agents(&report), agents(&tidy));
    assert_eq!(report["totals"]["missing"], tidy["totals"]["missing"]);
    assert_eq!(small.floors(&folder), small.floors(&small.path("outboxes")));
    let not_checked = report["not_checked"].to_string();
    for word in ["notes.txt", "pipe.db", "snapshot of a log", "the same content as"] {
        assert!(not_checked.contains(word), "{word}: {not_checked}");
    }
    assert!(!not_checked.contains("loop"), "it is looked at where it lies");

    // outbox-sync's way of saying it is the same library's.
    let none = small.path("none");
    fs::create_dir_all(none.join("deep")).unwrap();
    fs::write(none.join("deep/notes.txt"), "text").unwrap();
    small
        .audit(&none, &[])
        .expect(8)
        .says(&["no outbox in this folder or below it"]);
}

#[test]
fn what_may_be_an_outbox_and_cannot_be_read_is_never_silent() {
    let small = Small::new();
    let folder = small.scatter();
    fs::write(folder.join("lone.db-wal"), b"\x37\x7f\x06\x82 and frames").unwrap();
    symlink("/nowhere/agent.db", folder.join("dangling.db")).unwrap();
    fs::write(folder.join("cut.sqlite"), b"SQLite format 3").unwrap();
    let noise: Vec<u8> = (0..8192_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    fs::write(folder.join("sealed.db"), noise).unwrap();
    let packed = {
        let bytes = fs::read(&small.outboxes()[0]).unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(&bytes).unwrap();
        encoder.finish().unwrap()
    };
    fs::write(folder.join("monday.gz"), packed).unwrap();

    let ran = small.audit(&folder, &[]).expect(4 | 8);
    let report = ran.json();
    for (name, why) in [
        ("lone.db-wal", "WAL"),
        ("dangling.db", "a link to /nowhere/agent.db"),
        ("cut.sqlite", "cut off"),
        ("sealed.db", "SQLite database"),
        ("monday.gz", "gzip -dk"),
    ] {
        let heard = report["heard"].as_array().unwrap();
        let one = heard
            .iter()
            .find(|heard| heard["path"].as_str().unwrap().ends_with(name));
        let error = one.unwrap_or_else(|| panic!("{name} is not among the witnesses"))["error"].to_string();
        assert!(error.contains(why), "{name}: {error}");
        assert!(
            report["findings"].to_string().contains(name) && ran.stderr.contains(name),
            "{name}"
        );
    }

    // The plan carries it, and apply asks for a word.
    let file = small.path("half blind");
    let out = plan(&small.db, &file, &["--outbox".into(), text(&folder)]);
    assert_eq!(out.code & 8, 8, "{}", out.stderr);
    assert!(out.stderr.contains("lone.db-wal"));
    let header: Value =
        serde_json::from_str(fs::read_to_string(&file).unwrap().lines().next().unwrap()).unwrap();
    assert_eq!(header["incomplete"].as_array().unwrap().len(), 5, "{header}");
    let before = small.db.dump();
    run(["apply", &text(&file), "--db", &small.db.arg()])
        .expect(8)
        .says(&["made without", "--although-incomplete", "nothing was changed"]);
    assert_eq!(before, small.db.dump());
    let applied = run([
        "apply",
        &text(&file),
        "--db",
        &small.db.arg(),
        "--although-incomplete",
        "--dry-run",
    ]);
    assert_eq!(applied.code & 8, 0, "{}", applied.stderr);
    // So do counters: a witness that is missing may know more.
    let counters = [
        "counters",
        "--db",
        &small.db.arg(),
        "--outbox",
        &text(&folder),
        "--apply",
    ];
    let ran = run(counters).says(&["no counter was raised"]);
    assert_eq!(ran.code & (8 | 1), 8);
    assert_eq!(before, small.db.dump());
    let ran = run(counters.into_iter().chain(["--although-incomplete"]));
    assert_eq!(ran.code & (8 | 1), 8 | 1, "{}", ran.stderr);
}

#[test]
fn files_and_folders_without_permission_are_told() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
    use std::os::unix::process::CommandExt as _;

    let small = Small::new();
    let folder = small.scatter();
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let root = fs::metadata(small.folder.path()).unwrap().uid() == 0;
    for path in [small.folder.path(), &folder, &folder.join("host")] {
        mode(path, 0o755);
    }
    for path in [
        small.path("log.db"),
        folder.join("x.DB"),
        folder.join("x.db.bak"),
        folder.join("copy of agent"),
    ] {
        mode(&path, 0o644);
    }
    mode(&folder.join("x.db3"), 0o000);
    mode(&folder.join("host/var"), 0o000);
    // Somebody else may not be allowed to start what lies in this folder.
    let program = small.path("tool");
    fs::copy(binary().get_program(), &program).unwrap();
    mode(&program, 0o755);
    let mut command = Command::new(program);
    if root {
        command.uid(65_534).gid(65_534);
    }
    let output = command
        .args([
            "audit",
            "--db",
            &small.db.arg(),
            "--outbox",
            &text(&folder),
            "--format",
            "json",
        ])
        .env_remove("DATABASE_URL")
        .current_dir("/")
        .output()
        .unwrap();
    mode(&folder.join("host/var"), 0o755);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code().unwrap() & 8, 8, "{stderr}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    for name in ["x.db3", "host/var"] {
        let heard = report["heard"].as_array().unwrap();
        let one = heard
            .iter()
            .find(|heard| heard["path"].as_str().unwrap().ends_with(name));
        let error = one.unwrap_or_else(|| panic!("{name}: {stderr}"))["error"].to_string();
        assert!(error.contains("ermission denied"), "{name}: {error}");
        assert!(stderr.contains(name));
    }
}

#[test]
fn a_full_temporary_folder_makes_a_plan_that_says_so() {
    let small = Small::new();
    let file = small.path("blind");
    let run = |file: &Path| {
        // Files of more than 32 KiB cannot be written, as on a disk that is full.
        let limited = "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"";
        Command::new("sh")
            .args(["-c", limited])
            .arg(binary().get_program())
            .args([
                "plan",
                "--db",
                &small.db.arg(),
                "--outbox",
                &text(&small.path("outboxes")),
                "--out",
                &text(file),
            ])
            .env_remove("DATABASE_URL")
            .output()
            .unwrap()
    };
    let output = run(&file);
    let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code().unwrap() & 8, 8, "{stderr}");
    assert!(stderr.contains("temporary folder"), "{stderr}");
    let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(stdout.starts_with("INCOMPLETE: "), "{stdout}");
    common::run(["apply", &text(&file), "--db", &small.db.arg()])
        .expect(8)
        .says(&["temporary folder", "--although-incomplete"]);
}

#[test]
fn agents_without_an_outbox_are_named() {
    let small = Small::new();
    let whole = small.audit(&small.path("outboxes"), &[]).json();
    let gone = &small.outboxes()[0];
    let connection = Connection::open(gone).unwrap();
    let agent: String = connection
        .query_row(
            "SELECT value FROM _ves_sync_state WHERE key = 'agent_id'",
            [],
            |row| row.get(0),
        )
        .unwrap();
    drop(connection);
    let named = |report: &Value| report["not_heard"].to_string().contains(&agent);
    assert!(!named(&whole));
    fs::remove_file(gone).unwrap();
    let report = small.audit(&small.path("outboxes"), &[]).json();
    assert!(named(&report), "{report}");
    let ran = run([
        "audit",
        "--wide",
        "--db",
        &small.db.arg(),
        "--outbox",
        &text(&small.path("outboxes")),
    ]);
    let line = ran
        .stdout
        .lines()
        .find(|line| line.starts_with("NOT HEARD: ") && line.contains(&agent));
    let line = line.unwrap_or_else(|| panic!("{}", ran.stdout));
    assert!(
        line.contains("last seen at ") && line.ends_with(": find its outbox"),
        "{line}"
    );
    let file = text(&small.path("a.plan"));
    let out = run([
        "plan",
        "--wide",
        "--db",
        &small.db.arg(),
        "--outbox",
        &text(&small.path("outboxes")),
        "--out",
        &file,
    ]);
    assert!(out.stdout.contains(line.trim()), "{}", out.stdout);
    // And nobody who was heard.
    for path in small.outboxes() {
        let connection = Connection::open(path).unwrap();
        let heard: String = connection
            .query_row(
                "SELECT value FROM _ves_sync_state WHERE key = 'agent_id'",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert!(!report["not_heard"].to_string().contains(&heard));
    }
}

#[test]
fn an_older_copy_of_a_nameless_outbox_is_no_second_voice() {
    let small = Small::new();
    let folder = small.path("one");
    fs::create_dir(&folder).unwrap();
    // Of all outboxes the one with most rows of its own.
    let rows = |path: &PathBuf| -> i64 {
        let connection = Connection::open(path).unwrap();
        connection
            .query_row("SELECT count(*) FROM _ves_outbox", [], |row| row.get(0))
            .unwrap()
    };
    let most = small.outboxes().into_iter().max_by_key(rows).unwrap();
    fs::copy(&most, folder.join("a.db")).unwrap();
    let edit = |name: &str, sql: &str| {
        Connection::open(folder.join(name))
            .unwrap()
            .execute_batch(sql)
            .unwrap();
    };
    edit(
        "a.db",
        "DELETE FROM _ves_sync_state WHERE key = 'agent_id'; DELETE FROM _ves_pulled_events;",
    );
    fs::copy(folder.join("a.db"), folder.join("a.db.last-week")).unwrap();
    edit(
        "a.db.last-week",
        "DELETE FROM _ves_outbox WHERE local_seq = (SELECT max(local_seq) FROM _ves_outbox)",
    );

    let out = small.path("a.plan");
    let more = [
        "--outbox".to_owned(),
        text(&folder),
        "--accept".into(),
        "corroborated".into(),
    ];
    let ran = plan(&small.db, &out, &more);
    let read = common::read_plan(&out);
    let events: usize = read.values().map(|section| section.events.len()).sum();
    assert_eq!(events, 0, "{}", ran.stdout);
    // Both were heard.
    let report = small.audit(&folder, &[]).json();
    assert_eq!(report["heard"].as_array().unwrap().len(), 2);
    assert!(small.world.truth().lost_events() > 0);
}

#[test]
fn plans_anchors_and_exports_come_from_pipes_too() {
    let small = Small::new();
    let export = small.path("log.ndjson");
    let whole = small.path("whole.db");
    small.world.write_log(&whole).unwrap();
    run(["export", "--db", &text(&whole), "--out", &text(&export)]).expect(0);
    let piped = |file: &Path, args: &[&str]| {
        let output = assert_cmd::Command::from_std(binary())
            .args(args)
            .pipe_stdin(file)
            .unwrap()
            .output()
            .unwrap();
        // `pipe_stdin` gives the bytes through a pipe.
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    };
    let db = small.db.arg();
    let (code, stdout, stderr) = piped(
        &export,
        &[
            "audit",
            "--db",
            &db,
            "--witness",
            "/dev/stdin",
            "--format",
            "json",
        ],
    );
    assert_eq!(code, 4, "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert_eq!(report["heard"][0]["kind"], "export");
    assert!(report["heard"][0]["missing_held"].as_u64().unwrap() > 0);

    let anchors = small.path("anchors.json");
    let (code, stdout, stderr) = piped(
        &anchors,
        &[
            "audit",
            "--db",
            &db,
            "--anchors",
            "/dev/stdin",
            "--format",
            "json",
        ],
    );
    assert_eq!(code, 4, "{stderr}");
    let report: Value = serde_json::from_str(&stdout).unwrap();
    assert!(report["totals"]["batches"]["matches_anchors"].as_u64().unwrap() > 0);

    let file = small.path("a.plan");
    plan(
        &small.db,
        &file,
        &[
            "--outbox".into(),
            text(&small.path("outboxes")),
            "--anchors".into(),
            text(&anchors),
        ],
    );
    let (code, _, stderr) = piped(&file, &["apply", "/dev/stdin", "--db", &db, "--dry-run"]);
    assert_eq!(code & 1, 1, "{stderr}");

    // By way of a program that took it for text.
    let plain = fs::read_to_string(&file).unwrap();
    fs::write(
        small.path("windows.plan"),
        format!("\u{feff}{}", plain.replace('\n', "\r\n")),
    )
    .unwrap();
    let ran = run([
        "apply",
        &text(&small.path("windows.plan")),
        "--db",
        &db,
        "--dry-run",
    ]);
    assert_eq!(ran.code & 1, 1, "{}", ran.stderr);
    for (name, option) in [
        ("a.plan", None),
        ("anchors.json", Some("--anchors")),
        ("log.ndjson", Some("--witness")),
    ] {
        let wide: Vec<u8> = fs::read_to_string(small.path(name))
            .unwrap()
            .encode_utf16()
            .flat_map(u16::to_le_bytes)
            .collect();
        let path = small.path("wide");
        fs::write(&path, [&[0xff, 0xfe][..], &wide].concat()).unwrap();
        let ran = match option {
            None => run(["apply", &text(&path), "--db", &db]),
            Some(option) => run(["audit", "--db", &db, option, &text(&path)]),
        };
        assert_eq!(ran.code & 8, 8, "{}", ran.stderr);
        assert!(ran.stderr.contains("UTF-16"), "{name}: {}", ran.stderr);
    }
}
