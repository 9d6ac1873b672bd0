//! The program as its users run it: what it says, and how it ends.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::fs;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use fixtures::{World, WorldSpec};
use serde_json::Value;
use tempfile::TempDir;

/// A world's files, and an address for its archive.
struct Place {
    folder: TempDir,
    world: World,
}

/// What a run left.
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn ends_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}\n{}", self.stdout, self.stderr);
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {}", self.stdout))
    }
}

fn run(words: &[&str]) -> Ran {
    let mut command = Command::cargo_bin("event-archive").unwrap();
    let output = command.args(words).env_remove("RUST_LOG").output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

impl Place {
    fn new(seed: u64) -> Self {
        let world = World::generate(&WorldSpec::honest(seed));
        let folder = tempfile::tempdir().unwrap();
        world.write_log(&folder.path().join("log.db")).unwrap();
        world
            .write_recovered(&folder.path().join("recovered.db"))
            .unwrap();
        world.write_anchors(&folder.path().join("anchors.json")).unwrap();
        Self { folder, world }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    fn write(&self, log: &str) -> Ran {
        run(&["write", &self.path("archive"), "--db", &self.path(log)])
    }
}

fn objects(root: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => all.extend(objects(&path)),
            false => all.push(path),
        }
    }
    all.sort();
    all
}

#[test]
fn a_log_is_written_looked_at_verified_and_read_back() {
    let place = Place::new(3);
    let (archive, anchors) = (place.path("archive"), place.path("anchors.json"));
    let written = place.write("log.db").ends_with(0);
    assert!(
        written
            .stdout
            .starts_with("The archive has all that the log has."),
        "{}",
        written.stdout
    );
    assert!(
        written.stdout.contains("event-archive verify"),
        "{}",
        written.stdout
    );
    let again = run(&[
        "write",
        &archive,
        "--db",
        &place.path("log.db"),
        "--format",
        "json",
    ])
    .ends_with(0)
    .json();
    assert_eq!((&again["added"], &again["manifest"]), (&false.into(), &1.into()));

    let status = run(&["status", &archive, "--chain", "--format", "json"])
        .ends_with(0)
        .json();
    assert_eq!(status["events"], place.world.log().event_count());
    assert_eq!(status["chain"], serde_json::json!([]));
    let status = run(&["status", &archive]).ends_with(0).stdout;
    assert!(status.lines().all(|line| line.chars().count() <= 100), "{status}");

    let verified = run(&["verify", &archive, "--anchors", &anchors, "--format", "json"])
        .ends_with(0)
        .json();
    assert_eq!(verified["verdict"], "MATCHES ANCHORS");
    assert_eq!(verified["input"]["kind"], "archive");
    let table = run(&["verify", &archive, "--anchors", &anchors])
        .ends_with(0)
        .stdout;
    assert!(
        table.contains("The weakest verdict is MATCHES ANCHORS"),
        "{table}"
    );
    run(&["verify", &archive, "--anchors", &anchors, "--require", "PROVEN"]).ends_with(4);
    // Without anchors, by the commitments alone.
    let alone = run(&["verify", &archive, "--format", "json"]).ends_with(0).json();
    assert_eq!(alone["verdict"], "MATCHES DATABASE");

    let copy = place.path("copy.db");
    let snapshot = run(&["snapshot", &archive, "--out", &copy, "--format", "json"])
        .ends_with(0)
        .json();
    assert_eq!(snapshot["events"], place.world.log().event_count());
    run(&["snapshot", &archive, "--out", &copy]).ends_with(8);
    let from_copy = run(&["write", &place.path("second"), "--db", &copy, "--format", "json"])
        .ends_with(0)
        .json();
    assert_eq!(from_copy["events"], snapshot["events"]);
}

#[test]
fn an_event_is_proved_by_a_file_that_stands_alone() {
    let place = Place::new(5);
    place.write("log.db").ends_with(0);
    let (archive, anchors, proof) = (
        place.path("archive"),
        place.path("anchors.json"),
        place.path("event.proof"),
    );
    let verified = run(&["verify", &archive, "--anchors", &anchors, "--format", "json"]).json();
    let units = verified["units"].as_array().unwrap();
    let unit = units.iter().find(|unit| unit["kind"] == "batch").unwrap();
    let stream = format!(
        "{}/{}",
        unit["stream"]["tenant_id"].as_str().unwrap(),
        unit["stream"]["store_id"].as_str().unwrap()
    );
    let number = unit["sequence_start"].as_u64().unwrap();
    let logged = place
        .world
        .log()
        .events()
        .find(|logged| logged.number == number && logged.event.stream.to_string() == stream);
    let event = logged.unwrap().event.event_id.to_string();
    let by_id = [
        "prove",
        &archive,
        "--anchors",
        &anchors,
        "--event",
        &event,
        "--out",
        &proof,
        "--format",
        "json",
    ];
    let told = run(&by_id).ends_with(0).json();
    assert_eq!(told["sequence_number"], number);
    assert!(told["requests"].as_u64().unwrap() > 0);
    let file = anchor_verify::proof::ProofFile::read(Path::new(&proof)).unwrap();
    assert_eq!(file.stream.to_string(), stream);
    run(&by_id).ends_with(8);
    let number = number.to_string();
    run(&[
        "prove",
        &archive,
        "--anchors",
        &anchors,
        "--stream",
        &stream,
        "--sequence",
        &number,
        "--out",
        &proof,
        "--force",
    ])
    .ends_with(0);
    let absent = "11111111-1111-4111-8111-111111111111";
    let none = run(&[
        "prove",
        &archive,
        "--anchors",
        &anchors,
        "--event",
        absent,
        "--out",
        &place.path("no.proof"),
    ]);
    assert!(none.ends_with(8).stderr.contains("is not in the archive"));
    assert!(!Path::new(&place.path("no.proof")).exists());
}

#[test]
fn a_log_that_went_back_is_told_and_nothing_is_lost() {
    let place = Place::new(7);
    place.write("log.db").ends_with(0);
    let before = objects(Path::new(&place.path("archive")));
    let back = place.write("recovered.db").ends_with(4);
    assert!(
        back.stdout.contains("WENT BACK BEHIND THE ARCHIVE"),
        "{}",
        back.stdout
    );
    assert!(before.iter().all(|object| object.exists()));
    let status = run(&["status", &place.path("archive"), "--format", "json"]).json();
    assert_eq!(status["events"], place.world.log().event_count());
}

#[test]
fn damage_is_named_and_the_rest_is_read() {
    let place = Place::new(9);
    place.write("log.db").ends_with(0);
    let archive = place.path("archive");
    let file = objects(&Path::new(&archive).join("events")).remove(0);
    let mut bytes = fs::read(&file).unwrap();
    bytes[100] ^= 1;
    fs::write(&file, bytes).unwrap();
    let verified = run(&["verify", &archive]).ends_with(4);
    let name = file.file_name().unwrap().to_str().unwrap();
    assert!(
        verified.stdout.replace(['\n', ' '], "").contains(name),
        "{}",
        verified.stdout
    );
    let snapshot = run(&[
        "snapshot",
        &archive,
        "--out",
        &place.path("rest.db"),
        "--format",
        "json",
    ]);
    let snapshot = snapshot.ends_with(4).json();
    assert!(!snapshot["left_out"].as_array().unwrap().is_empty());
    assert!(snapshot["events"].as_u64().unwrap() < place.world.log().event_count() as u64);
}

#[test]
fn keys_say_whose_archive_it_is() {
    let place = Place::new(11);
    let seed = place.path("archive.key");
    fs::write(&seed, hex::encode([5_u8; 32])).unwrap();
    let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]).verifying_key();
    let archive = place.path("archive");
    run(&["write", &archive, "--db", &place.path("log.db"), "--key", &seed]).ends_with(0);
    let key = hex::encode(key.as_bytes());
    run(&["status", &archive, "--public-key", &key]).ends_with(0);
    let signed = run(&["verify", &archive, "--public-key", &key, "--format", "json"])
        .ends_with(0)
        .json();
    let not_checked = signed["not_checked"].to_string();
    assert!(!not_checked.contains("the newest manifest"), "{not_checked}");
    let other = hex::encode(
        ed25519_dalek::SigningKey::from_bytes(&[6; 32])
            .verifying_key()
            .as_bytes(),
    );
    let refused = run(&["verify", &archive, "--public-key", &other]).ends_with(8);
    assert!(refused.stderr.contains("another key"), "{}", refused.stderr);
}

#[test]
fn what_is_no_archive_is_refused_with_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().display().to_string();
    let none = run(&["status", &empty]).ends_with(8);
    assert!(
        none.stderr.contains("there is no archive") && none.stderr.contains("event-archive write"),
        "{}",
        none.stderr
    );
    let unknown = run(&["status", "ftp://host/archive"]).ends_with(16);
    assert!(unknown.stderr.contains("s3://"), "{}", unknown.stderr);
    let secret = run(&["status", "s3://user:geheim@bucket/x"]).ends_with(16);
    assert!(!secret.stderr.contains("geheim"), "{}", secret.stderr);
    fs::create_dir(folder.path().join("manifest")).unwrap();
    fs::write(
        folder.path().join("manifest/0000000001.json"),
        "{\"schema\":\"\u{1b}[31m\"}",
    )
    .unwrap();
    let hostile = run(&["status", &empty]).ends_with(8);
    assert!(!hostile.stderr.contains('\u{1b}'), "{}", hostile.stderr);
}
