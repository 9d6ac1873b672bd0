//! Thousands of outboxes: named by a folder or a manifest, read on any number of threads with few files open, and told in
//! one and the same way. What is damaged among them is told, and spoils nothing else.

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{Ran, binary, run, text};
use fixtures::{Cut, World, WorldSpec};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// A recovered log, its anchors, and the outboxes of a few agents.
struct Fleet {
    dir: TempDir,
    /// The outboxes that the world wrote.
    agents: Vec<PathBuf>,
}

impl Fleet {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::generate(&WorldSpec {
            cut: Cut::Fraction(0.3),
            events_per_stream: 40,
            wal_outboxes: 0,
            ..WorldSpec::honest(18)
        });
        let agents = world.write_outboxes(&dir.path().join("agents")).unwrap();
        world.write_recovered(&dir.path().join("log.db")).unwrap();
        world.write_anchors(&dir.path().join("anchors.json")).unwrap();
        Self { dir, agents }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn manifest(&self, name: &str, lines: &[String]) -> String {
        let path = self.path(name);
        fs::write(&path, lines.join("\n")).unwrap();
        text(&path)
    }

    /// A fleet of so many files in folders of a hundred. Each says another time of its last look at the sequencer, so that none
    /// is a copy of another; nothing that was signed is touched.
    fn spread(&self, folder: &str, count: usize) -> Vec<PathBuf> {
        let mark = b"last_sync_at2026-03-";
        let templates: Vec<(Vec<u8>, usize)> = self
            .agents
            .iter()
            .map(|path| {
                let bytes = fs::read(path).unwrap();
                let at = bytes
                    .windows(mark.len())
                    .position(|window| window == mark)
                    .unwrap();
                (bytes, at + "last_sync_at".len())
            })
            .collect();
        let mut files = Vec::new();
        for n in 0..count {
            let folder = self.path(folder).join(format!("{:03}/{:02}", n / 100, n % 100));
            fs::create_dir_all(&folder).unwrap();
            let (bytes, at) = &templates[n % templates.len()];
            let mut bytes = bytes.clone();
            let (year, month, day) = (2000 + n / 336, 1 + n % 336 / 28, 1 + n % 28);
            bytes[*at..at + 10].copy_from_slice(format!("{year}-{month:02}-{day:02}").as_bytes());
            let file = folder.join("outbox.db");
            fs::write(&file, bytes).unwrap();
            files.push(file);
        }
        files
    }

    fn witness(&self, more: &[&str]) -> Vec<String> {
        let (log, anchors) = (text(&self.path("log.db")), text(&self.path("anchors.json")));
        let first = ["--db", &log, "--anchors", &anchors];
        first.iter().chain(more).map(|arg| (*arg).to_owned()).collect()
    }

    /// An audit with no more than so many open files and threads of computation.
    fn audit(&self, files: u32, threads: u32, more: &[&str]) -> Ran {
        let mut command = std::process::Command::new("sh");
        command
            .args(["-c", &format!("ulimit -n {files}; exec \"$@\""), "sh"])
            .arg(binary().get_program())
            .args(["audit", "--format", "json"])
            .args(self.witness(more))
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("RAYON_NUM_THREADS", threads.to_string());
        let output = command.output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// A report without what says how it was asked for, and when.
fn told(ran: &Ran) -> Value {
    let mut report = ran.json();
    let report = report.as_object_mut().unwrap();
    for key in ["provenance", "next"] {
        report.remove(key);
    }
    for finding in report["findings"].as_array_mut().unwrap() {
        finding.as_object_mut().unwrap().remove("next");
    }
    Value::Object(report.clone())
}

/// What is said of the streams, and of the outboxes that were read whole.
fn of_read(report: &Value) -> (Value, Vec<Value>) {
    let heard = report["heard"].as_array().unwrap().iter();
    let read = heard.filter(|heard| heard["error"].is_null());
    (report["streams"].clone(), read.cloned().collect())
}

fn hash(path: &Path) -> String {
    ves::Hash32(Sha256::digest(fs::read(path).unwrap()).into()).to_string()
}

fn unreadable(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .filter(|f| f["code"] == "witness.unreadable")
        .map(|f| f["message"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn two_thousand_outboxes_are_told_alike_however_they_are_named_and_read() {
    let fleet = Fleet::new();
    let files = fleet.spread("fleet", 2000);
    // Of two thousand three are no outboxes any more.
    fs::write(&files[700], &fs::read(&files[700]).unwrap()[..60]).unwrap();
    fs::write(&files[1300], "").unwrap();
    let mut torn = fs::read(&files[1900]).unwrap();
    let page = torn.len() - 4096;
    torn[page..].fill(0xa5);
    fs::write(&files[1900], torn).unwrap();

    let folder = text(&fleet.path("fleet"));
    let whole = fleet.audit(128, 1, &["--outbox", &folder]).expect(12);
    let report = told(&whole);
    let heard = report["heard"].as_array().unwrap();
    let read = heard.iter().filter(|h| h["error"].is_null()).count();
    assert_eq!((heard.len(), read), (2000, 1997));
    let told_of = unreadable(&report);
    for file in [700, 1300, 1900].map(|n| text(&files[n])) {
        assert!(
            told_of.iter().any(|message| message.contains(&file)),
            "{file}: {told_of:?}"
        );
    }
    let held = |h: &&Value| h["missing_held"].as_u64() > Some(0);
    assert!(heard.iter().filter(held).count() > 1000);
    let streams = report["streams"].as_array().unwrap();
    assert!(
        streams
            .iter()
            .all(|s| s["held_by"].as_array().is_some_and(|held| held.len() > 100))
    );

    // In any order, some by their folders, and one line twice.
    let mut lines: Vec<String> = files.iter().rev().map(|file| text(file)).collect();
    for line in lines.iter_mut().step_by(2) {
        *line = line.strip_prefix(&text(fleet.dir.path())).unwrap()[1..].to_owned();
    }
    let manifest = fleet.manifest("fleet.txt", &lines);
    let listed = fleet.audit(128, 8, &["--outbox-manifest", &manifest]).expect(12);
    let listed = told(&listed);
    // What is no outbox at first sight is left out of a folder, and opened where a line names it.
    assert_eq!(of_read(&listed), of_read(&report));
    let told_of = unreadable(&listed);
    for file in [700, 1300, 1900].map(|n| text(&files[n])) {
        assert!(
            told_of.iter().any(|message| message.contains(&file)),
            "{file}: {told_of:?}"
        );
    }
}

#[test]
fn a_report_does_not_depend_on_the_number_of_threads() {
    let fleet = Fleet::new();
    let files = fleet.spread("fleet", 64);
    fs::write(&files[40], &fs::read(&files[40]).unwrap()[..60]).unwrap();
    let folder = text(&fleet.path("fleet"));
    let one = told(&fleet.audit(128, 1, &["--outbox", &folder]).expect(12));
    for threads in [2, 3, 8] {
        let more = told(&fleet.audit(128, threads, &["--outbox", &folder]).expect(12));
        assert_eq!(more, one, "{threads} threads");
    }
}

#[test]
fn a_manifest_is_heard_line_by_line_and_what_cannot_be_used_is_told_with_its_line() {
    let fleet = Fleet::new();
    let files = fleet.spread("fleet", 8);
    let wrong = "0".repeat(64);
    let manifest = fleet.manifest(
        "fleet.txt",
        &[
            "# eight agents".into(),
            format!("{}  {}\ttill 7", hash(&files[0]), text(&files[0])),
            "fleet/000/01/outbox.db".into(),
            "./fleet/000/01/outbox.db".into(),
            format!("{wrong}  {}", text(&files[2])),
            "fleet/000/99/outbox.db".into(),
            "s3://fleet/000/03/outbox.db".into(),
            "fleet/000".into(),
            "fleet.txt".into(),
            "no\0tes".into(),
            "/dev/zero".into(),
        ],
    );
    let ran = run(["audit", "--format", "json"]
        .map(str::to_owned)
        .into_iter()
        .chain(fleet.witness(&["--outbox-manifest", &manifest])))
    .expect(12);
    let report = ran.json();
    let heard = report["heard"].as_array().unwrap();
    let read: Vec<&Value> = heard.iter().filter(|h| h["error"].is_null()).collect();
    assert_eq!(read.len(), 2);
    assert_eq!(read[0]["name"], "till 7");
    let told = unreadable(&report).join("\n");
    for (line, what) in [
        (5, "not what the line says"),
        (6, "no such file"),
        (7, "aws s3 sync"),
        (8, "a folder"),
        (10, "NUL"),
        (11, "a pipe, socket or device: not opened"),
    ] {
        let of_line = |message: &&str| {
            message.contains(&format!("line {line} of {manifest}")) && message.contains(what)
        };
        assert!(
            told.lines().any(|message| of_line(&message)),
            "line {line}, {what}: {told}"
        );
    }
    // The manifest itself is there, and no outbox.
    assert!(
        told.contains("fleet.txt") && told.contains("not an SQLite database"),
        "{told}"
    );
    assert_eq!(unreadable(&report).len(), 7, "{told}");
    let not_checked = report["not_checked"].to_string();
    assert!(
        not_checked.contains("1 line(s) list a file that another lists too"),
        "{not_checked}"
    );
    let inputs = report["provenance"]["inputs"].as_array().unwrap().iter();
    assert!(
        inputs
            .clone()
            .any(|input| input["role"] == "outbox-manifest" && input["sha256"].is_string())
    );
    // People see the name, and the next command hears the same witnesses.
    let table = run(["audit", "--all"]
        .map(str::to_owned)
        .into_iter()
        .chain(fleet.witness(&["--outbox-manifest", &manifest])));
    table.expect(12).shows(&["till 7", "--outbox-manifest"]);
    let next = report["next"].to_string();
    assert!(next.contains(&format!("--outbox-manifest {manifest}")), "{next}");
}

#[test]
fn a_manifest_that_lists_nothing_is_an_error_and_so_is_one_of_which_nothing_is_there() {
    let fleet = Fleet::new();
    for (lines, what) in [
        (vec![], "lists no outbox"),
        (vec!["# soon".to_owned(), "  ".into()], "lists no outbox"),
        (
            vec!["gone.db".to_owned(), "gone-too.db".into()],
            "none of its lines names an outbox",
        ),
        (vec!["s3://fleet/a.db".to_owned()], "aws s3 sync"),
    ] {
        let manifest = fleet.manifest("empty.txt", &lines);
        let folder = text(&fleet.path("agents"));
        // Beside others too: who lists witnesses means to have them heard.
        for more in [&[][..], &["--outbox", &folder]] {
            let more = [&["--outbox-manifest", &manifest], more].concat();
            let ran = run(["audit".to_owned()].into_iter().chain(fleet.witness(&more))).expect(8);
            ran.says(&[&manifest, what]);
        }
    }
    let missing = text(&fleet.path("missing.txt"));
    let ran = run(["audit".to_owned()]
        .into_iter()
        .chain(fleet.witness(&["--outbox-manifest", &missing])));
    ran.expect(8).says(&[&missing]);
}

#[test]
fn a_plan_of_a_manifest_is_that_of_the_folder_and_brings_back_the_same() {
    let fleet = Fleet::new();
    let files = fleet.spread("fleet", 24);
    let lines: Vec<String> = files.iter().map(|file| text(file)).collect();
    let manifest = fleet.manifest("fleet.txt", &lines);
    let folder = text(&fleet.path("fleet"));
    let plan = |name: &str, more: &[&str]| {
        let out = text(&fleet.path(name));
        let more = [more, &["--out", &out]].concat();
        run(["plan".to_owned()].into_iter().chain(fleet.witness(&more)));
        let plan = fs::read_to_string(&out).unwrap();
        let events = plan.lines().filter(|line| line.contains("\"type\":\"event\""));
        events.map(str::to_owned).collect::<Vec<_>>()
    };
    let of_folder = plan("folder.ndjson", &["--outbox", &folder]);
    assert!(of_folder.len() > 10, "{}", of_folder.len());
    assert_eq!(
        plan("manifest.ndjson", &["--outbox-manifest", &manifest]),
        of_folder
    );
}
