//! Checkpoints: what is signed when streams grow, and what must never be: two roots for one size, whoever is killed, whatever
//! is full, however many sign at once.
#![cfg(unix)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use checkpoints::file::{EntryReader, files_of};
use checkpoints::history::Collector;
use checkpoints::note::{KeyKind, VerifierKey};
use checkpoints::{Checkpoint, History, Origin, Policy};
use ed25519_dalek::SigningKey;
use fixtures::{World, WorldSpec};
use serde_json::Value;
use tempfile::TempDir;
use ves::{Hash32, StreamKey};

use crate::common::{Db, Ran, Server, binary, run, text, unwrapped};

pub const NAME: &str = "orders.example.com";

/// A log that grows, and all that is needed to sign it.
pub struct Signed {
    pub dir: TempDir,
    pub world: World,
    whole: PathBuf,
}

impl Signed {
    pub fn new(spec: &WorldSpec) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let world = World::generate(spec);
        let whole = dir.path().join("whole.db");
        world.write_log(&whole).unwrap();
        fs::write(dir.path().join("key"), "07".repeat(32)).unwrap();
        Self { dir, world, whole }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn arg(&self, name: &str) -> String {
        text(&self.path(name))
    }

    /// The log as it was when every stream had so many events.
    pub fn grow_to(&self, number: u64) -> Db {
        let log = self.path("log.db");
        fs::copy(&self.whole, &log).unwrap();
        let db = Db::Snapshot(log);
        db.execute(&format!(
            "DELETE FROM ves_sequencer_receipts WHERE sequence_number > {number};
             DELETE FROM ves_events WHERE sequence_number > {number};
             UPDATE ves_sequence_counters SET current_sequence = MIN(current_sequence, {number})"
        ));
        db
    }

    fn args(&self, db: &str, out: &str, more: &[&str]) -> Vec<String> {
        let state = self.arg("state.json");
        let key = self.arg("key");
        let given = [
            "checkpoint",
            "--db",
            db,
            "--state",
            &state,
            "--key",
            &key,
            "--name",
            NAME,
        ];
        let given = given.into_iter().chain(["--out", out, "--format", "json"]);
        given.chain(more.iter().copied()).map(str::to_owned).collect()
    }

    /// Signs what is new, with what is remembered in `state.json`.
    pub fn sign(&self, out: &str, more: &[&str]) -> Ran {
        run(self.args(&self.arg("log.db"), &self.arg(out), more))
    }

    pub fn streams(&self) -> Vec<StreamKey> {
        self.world.log().streams.keys().copied().collect()
    }
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

pub fn vkey() -> VerifierKey {
    VerifierKey::new(NAME, KeyKind::Log, key().verifying_key()).unwrap()
}

/// All that files or folders say together.
pub fn history(paths: &[PathBuf]) -> History {
    let policy = Policy::new(vec![vkey()], Vec::new(), 0).unwrap();
    let mut all = Collector::new(&policy);
    for path in paths.iter().flat_map(|path| files_of(path).unwrap()) {
        let input = std::io::BufReader::new(fs::File::open(&path).unwrap());
        all.read(&text(&path), input).unwrap();
    }
    all.finish()
}

/// Nothing contradicts anything, and every stream is signed up to here, each leaf proven.
#[track_caller]
fn assert_whole(history: &History, sizes: &BTreeMap<StreamKey, u64>) {
    assert_eq!(history.conflicts, []);
    let found: BTreeMap<StreamKey, u64> = history
        .streams
        .iter()
        .map(|s| (s.stream, s.current().unwrap().latest().unwrap().checkpoint.size))
        .collect();
    assert_eq!(&found, sizes);
    for stream in &history.streams {
        let tree = stream.current().unwrap();
        let size = sizes[&stream.stream];
        assert!((1..=size).all(|n| tree.leaf(n).is_some()), "{}", stream.stream);
    }
}

fn codes(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.map(|f| f["code"].as_str().unwrap()).collect()
}

fn entries(path: &Path) -> Vec<checkpoints::file::Entry> {
    let bytes = fs::read(path).unwrap();
    let mut reader = EntryReader::new(&bytes[..], 0);
    let mut all = Vec::new();
    while let Some(located) = reader.next_entry().unwrap() {
        all.push(located.entry.unwrap());
    }
    all
}

#[test]
fn what_has_grown_is_signed_to_a_file_or_a_folder_and_nothing_is_signed_twice() {
    let signed = Signed::new(&WorldSpec::default());
    let all = |n| {
        signed
            .streams()
            .into_iter()
            .map(|s| (s, n))
            .collect::<BTreeMap<_, _>>()
    };
    for (out, files) in [("one.checkpoints", 1), ("folder/", 4)] {
        let _ = fs::remove_file(signed.path("state.json"));
        let mut before = 0;
        for number in [20, 21, 60, 100] {
            signed.grow_to(number);
            let report = signed.sign(out, &[]).expect(0).json();
            for stream in report["streams"].as_array().unwrap() {
                assert_eq!(
                    (&stream["before"], &stream["size"]),
                    (&before.into(), &number.into())
                );
                assert_eq!(stream["checkpoints"], 1);
            }
            // Only what is new was read, and the last event that was signed.
            let rows = 4 * (number - before) + if before > 0 { 4 } else { 0 };
            assert_eq!(report["cost"]["rows"], rows);
            assert_eq!(report["key"], vkey().to_string());
            let again = signed.sign(out, &[]).expect(0).json();
            assert!(
                again["streams"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .all(|s| s["checkpoints"] == 0)
            );
            before = number;
        }
        let read = history(&[signed.path(out)]);
        assert_whole(&read, &all(100));
        assert_eq!(
            (read.entries, files_of(&signed.path(out)).unwrap().len()),
            (16, files)
        );
        // Read from the beginning it is the same, and nothing is added.
        assert_eq!(
            signed.sign(out, &["--full"]).expect(0).json()["cost"]["rows"],
            400
        );
        fs::remove_file(signed.path("state.json")).unwrap();
        signed.sign(out, &[]).expect(0);
        assert_eq!(history(&[signed.path(out)]).entries, 16);
    }
    // Where the old files are gone, what is added can be read without them.
    fs::remove_file(signed.path("state.json")).unwrap();
    signed.grow_to(50);
    signed.sign("first.checkpoints", &[]).expect(0);
    signed.grow_to(90);
    let table = run([
        "checkpoint",
        "--db",
        &signed.arg("log.db"),
        "--state",
        &signed.arg("state.json"),
        "--key",
        &signed.arg("key"),
        "--name",
        NAME,
        "--out",
        &signed.arg("second/"),
        "--vkeys",
    ])
    .expect(0);
    for word in [
        "4 stream(s), 4 had grown; 8 checkpoint(s) signed",
        &vkey().to_string(),
        "NEXT: no further command",
    ] {
        assert!(
            unwrapped(&table.stdout).contains(word),
            "{word}: {}",
            table.stdout
        );
    }
    let second = history(&[signed.path("second")]);
    assert_eq!(second.conflicts, []);
    assert!(second.refused.is_empty() && second.streams.iter().all(|s| s.generations[0].leaf(51).is_some()));
    assert_whole(
        &history(&[signed.path("first.checkpoints"), signed.path("second")]),
        &all(90),
    );
    // Without leaves the peaks are kept.
    fs::remove_file(signed.path("state.json")).unwrap();
    signed.sign("bare.checkpoints", &["--no-leaves"]).expect(0);
    assert!(
        entries(&signed.path("bare.checkpoints"))
            .iter()
            .all(|e| e.leaves.is_none() && !e.peaks.is_empty())
    );
}

#[test]
fn a_log_that_does_not_go_through_what_was_signed_is_signed_no_further() {
    let signed = Signed::new(&WorldSpec::default());
    let streams = signed.streams();
    let (out, file) = ("out.checkpoints", signed.path("out.checkpoints"));
    signed.grow_to(60);
    signed.sign(out, &[]).expect(0);
    let kept = fs::read(&file).unwrap();
    let unchanged = || assert_eq!(fs::read(&file).unwrap(), kept, "nothing was signed");
    let store = streams[1].store_id;

    // Rewound, with the state and without it, and grown again in another way.
    let state = fs::read(signed.path("state.json")).unwrap();
    signed.grow_to(40);
    for _ in 0..2 {
        let ran = signed.sign(out, &[]).expect(4);
        assert_eq!(codes(&ran.json()), ["checkpoint.behind"; 4]);
        assert!(
            ran.json()["next"]["command"]
                .as_str()
                .unwrap()
                .contains(" audit --db ")
        );
        fs::remove_file(signed.path("state.json")).unwrap();
    }
    unchanged();

    // An event that was altered: the last one is noticed at once, an earlier one if all is read.
    for (number, more, code) in [(60, &[][..], 4), (30, &[], 0), (30, &["--full"], 4)] {
        let db = signed.grow_to(60);
        db.execute(&format!(
            "UPDATE ves_events SET agent_signature = zeroblob(64) WHERE sequence_number = {number} AND store_id = '{store}'"
        ));
        fs::write(signed.path("state.json"), &state).unwrap();
        let report = signed.sign(out, more).expect(code).json();
        if code == 4 {
            assert_eq!(codes(&report), ["checkpoint.mismatch"], "{number}");
            assert_eq!(report["findings"][0]["store_id"], store.to_string());
        }
        unchanged();
    }

    // A hole: named, and nothing behind it is signed; the other streams go on.
    let db = signed.grow_to(80);
    db.execute(&format!(
        "DELETE FROM ves_sequencer_receipts WHERE event_id IN
            (SELECT event_id FROM ves_events WHERE sequence_number = 71 AND store_id = '{store}');
         DELETE FROM ves_events WHERE sequence_number = 71 AND store_id = '{store}'"
    ));
    let ran = signed.sign(out, &[]).expect(4).json();
    assert_eq!(codes(&ran), ["gap.interior"]);
    let sizes: BTreeMap<StreamKey, u64> = streams
        .iter()
        .map(|s| (*s, if s.store_id == store { 70 } else { 80 }))
        .collect();
    assert_whole(&history(std::slice::from_ref(&file)), &sizes);
    assert_eq!(codes(&signed.sign(out, &[]).expect(4).json()), ["gap.interior"]);
    signed.grow_to(80);
    signed.sign(out, &[]).expect(0);

    // What the key signed elsewhere and was added here binds too, and is not forgotten; what another key signed does not.
    let origin = Origin {
        deployment: NAME.into(),
        stream: streams[0],
        generation: 1,
    };
    let beyond = Checkpoint {
        origin,
        size: 99,
        root: Hash32([9; 32]),
        time: None,
        continues: None,
    };
    let forged = beyond.sign(&SigningKey::from_bytes(&[8; 32]));
    let add = |note: &checkpoints::Note| {
        let mut all = fs::read(&file).unwrap();
        all.extend_from_slice(note.to_string().as_bytes());
        fs::write(&file, all).unwrap();
    };
    add(&forged);
    signed.grow_to(85);
    let ran = signed.sign(out, &[]).expect(0).json();
    assert!(
        ran["not_checked"]
            .to_string()
            .contains("no key that was given signed it"),
        "{ran}"
    );
    add(&beyond.sign(&key()));
    signed.grow_to(90);
    for _ in 0..2 {
        assert_eq!(
            codes(&signed.sign(out, &[]).expect(4).json()),
            ["checkpoint.behind"]
        );
    }
    signed.grow_to(100);
    for _ in 0..2 {
        assert_eq!(
            codes(&signed.sign(out, &[]).expect(4).json()),
            ["checkpoint.mismatch"]
        );
    }
    let read = history(&[file]);
    let of_first: Vec<u64> = read.of(&streams[0]).next().unwrap().generations[0]
        .checkpoints
        .iter()
        .map(|held| held.checkpoint.size)
        .collect();
    assert_eq!(
        of_first,
        [60, 80, 85, 99],
        "nothing was signed behind the promise"
    );
}

/// All that a file holds for one size has one root.
#[track_caller]
fn one_root_for_each_size(signed: &Signed, path: &str) {
    let read = history(&[signed.path(path)]);
    assert_eq!(read.conflicts, []);
}

#[test]
fn killed_and_on_a_full_disk_a_note_is_published_as_it_was_signed() {
    let signed = Signed::new(&WorldSpec::default());
    let out = "out.checkpoints";
    signed.grow_to(20);
    signed.sign(out, &[]).expect(0);
    let pending = || -> Vec<String> {
        let state: Value = serde_json::from_slice(&fs::read(signed.path("state.json")).unwrap()).unwrap();
        let pending = state["pending"].as_array().unwrap().iter();
        pending.map(|p| p["entry"].as_str().unwrap().to_owned()).collect()
    };
    // Killed when the entries are in the file, and the state does not know that yet.
    signed.grow_to(40);
    let killed = signed.sign(out, &["--publish-command", "cat >/dev/null; kill -9 $PPID"]);
    assert_eq!(killed.code, -1);
    assert_eq!(pending().len(), 4);
    let file = fs::read_to_string(signed.path(out)).unwrap();
    assert!(pending().iter().all(|entry| file.matches(entry).count() == 1));
    // What takes them elsewhere gets them again, byte for byte, before anything else; the file does not.
    signed.grow_to(41);
    let failed = signed.sign(out, &["--publish-command", "exit 3"]).expect(8);
    failed.says(&["not published", "remembered"]);
    let told = signed.arg("told");
    let taken = format!("cat >>{told}");
    let entries_before = pending();
    signed.sign(out, &["--publish-command", &taken]).expect(0);
    let told = fs::read_to_string(signed.path("told")).unwrap();
    assert!(told.starts_with(&entries_before.concat()));
    let file = fs::read_to_string(signed.path(out)).unwrap();
    assert!(
        entries_before
            .iter()
            .all(|entry| file.matches(entry).count() == 1)
    );
    assert!(pending().is_empty());
    assert!(
        fs::read_to_string(signed.path(out))
            .unwrap()
            .ends_with(&told[entries_before.concat().len()..])
    );

    // The disk is full when they are added: they are in the state, and nothing of them in the file.
    let file = signed.path(out);
    let mut padded = "\n".repeat(1 << 20).into_bytes();
    padded.extend(fs::read(&file).unwrap());
    fs::write(&file, padded).unwrap();
    let before = fs::read(&file).unwrap();
    signed.grow_to(70);
    let blocks = fs::metadata(&file).unwrap().len() / 512;
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    let mut command = std::process::Command::new("sh");
    command.args(["-c", &script, env!("CARGO_BIN_EXE_sequencer-recovery")]);
    let full = command
        .args(signed.args(&signed.arg("log.db"), &signed.arg(out), &[]))
        .output()
        .unwrap();
    assert_eq!(
        full.status.code(),
        Some(8),
        "{}",
        String::from_utf8_lossy(&full.stderr)
    );
    assert_eq!(fs::read(&file).unwrap(), before);
    let waiting = pending();
    assert_eq!(waiting.len(), 4);
    // The log goes on meanwhile, or is rewound: they are published as they are.
    signed.grow_to(30);
    signed.sign(out, &[]).expect(4);
    let now = fs::read_to_string(&file).unwrap();
    assert!(now.ends_with(&waiting.concat()));
    signed.grow_to(100);
    signed.sign(out, &[]).expect(0);
    one_root_for_each_size(&signed, out);
    let sizes = signed.streams().into_iter().map(|s| (s, 100)).collect();
    assert_whole(&history(&[file]), &sizes);

    // The disk is full when the state is written: nothing was signed.
    fs::remove_file(signed.path("state.json")).unwrap();
    let mut command = std::process::Command::new("sh");
    command.args([
        "-c",
        "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"",
        env!("CARGO_BIN_EXE_sequencer-recovery"),
    ]);
    let full = command
        .args(signed.args(&signed.arg("log.db"), &signed.arg("other/"), &[]))
        .output()
        .unwrap();
    assert_eq!(full.status.code(), Some(8));
    assert!(files_of(&signed.path("other")).unwrap().is_empty());
}

#[test]
fn however_many_sign_at_once_and_are_killed_no_size_has_two_roots() {
    let signed = Signed::new(&WorldSpec::default());
    let start = |state: &str| -> Child {
        let mut args = signed.args(&signed.arg("log.db"), &signed.arg("out/"), &[]);
        let at = args.iter().position(|arg| arg == "--state").unwrap();
        args[at + 1] = signed.arg(state);
        let mut command = binary();
        command
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    let mut ended = BTreeMap::new();
    for step in 1..=24_u64 {
        // Snapshots are read whole or not at all: the new one takes the place of the old.
        signed.grow_to(step * 4);
        let mut running: Vec<Child> = ["a.json", "b.json", "a.json"].into_iter().map(start).collect();
        if step % 2 == 0 {
            std::thread::sleep(std::time::Duration::from_millis(step * 3));
            running[0].kill().unwrap();
        }
        for mut child in running {
            *ended.entry(child.wait().unwrap().code()).or_insert(0) += 1;
        }
    }
    // Signed, in use, or killed; nothing else.
    assert!(
        ended.keys().all(|code| matches!(code, Some(0 | 8) | None)),
        "{ended:?}"
    );
    signed.grow_to(100);
    for state in ["a.json", "b.json"] {
        assert_eq!(start(state).wait().unwrap().code(), Some(0));
    }
    let sizes = signed.streams().into_iter().map(|s| (s, 100)).collect();
    assert_whole(&history(&[signed.path("out")]), &sizes);
}

#[test]
fn a_server_is_signed_like_a_file_and_a_state_is_bound_to_its_log() {
    let Some(server) = Server::start() else { return };
    let signed = Signed::new(&WorldSpec::default());
    signed
        .world
        .write_recovered_copy(&signed.path("log.sql"))
        .unwrap();
    let db = server.load("log", &signed.path("log.sql"));
    let sign = |db: &Db, out: &str, more: &[&str]| run(signed.args(&db.arg(), &signed.arg(out), more));
    let ran = sign(&db, "out.checkpoints", &[]).expect(0).json();
    assert_eq!(ran["streams"].as_array().unwrap().len(), 4);
    // The same roots from a snapshot.
    let state = fs::read(signed.path("state.json")).unwrap();
    fs::remove_file(signed.path("state.json")).unwrap();
    let file = db.snapshot(signed.path("copy.db"));
    sign(&file, "of-file.checkpoints", &[]).expect(0);
    let roots = |out: &str| -> Vec<(u64, Hash32)> {
        let read = history(&[signed.path(out)]);
        read.streams
            .iter()
            .map(|s| s.highest().unwrap().checkpoint.clone())
            .map(|c| (c.size, c.root))
            .collect()
    };
    assert_eq!(roots("out.checkpoints"), roots("of-file.checkpoints"));
    fs::write(signed.path("state.json"), state).unwrap();
    // A snapshot is what it was taken from; another database is not, until that is said.
    sign(&file, "out.checkpoints", &[]).expect(0);
    let copy = server.copy("copy", &db);
    sign(&copy, "out.checkpoints", &[])
        .expect(8)
        .says(&["nothing was signed", "--adopt"]);
    sign(&copy, "out.checkpoints", &["--adopt"]).expect(0);
    sign(&copy, "out.checkpoints", &[]).expect(0);
    sign(&db, "out.checkpoints", &[]).expect(8);
    assert_eq!(history(&[signed.path("out.checkpoints")]).entries, 4);
    // Another name, a file that is no state, a name that no key can have.
    let rename = |name: &str| {
        let mut args = signed.args(&copy.arg(), &signed.arg("out.checkpoints"), &[]);
        let at = args.iter().position(|arg| arg == "--name").unwrap();
        args[at + 1] = name.into();
        run(args)
    };
    rename("other.example.com")
        .expect(8)
        .says(&["is the state of deployment orders.example.com"]);
    rename("a b").expect(16);
    fs::write(signed.path("state.json"), "{\"schema\": \"guard-notes/1\"}").unwrap();
    sign(&copy, "out.checkpoints", &[])
        .expect(8)
        .says(&["guard-notes/1"]);
    // The role may not ask which cluster it is.
    fs::remove_file(signed.path("state.json")).unwrap();
    db.execute(
        "REVOKE EXECUTE ON FUNCTION pg_control_system() FROM PUBLIC; CREATE ROLE reader LOGIN;
         GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader",
    );
    let reader = Db::Postgres(db.arg().replace("postgres@", "reader@"));
    if reader.arg() != db.arg() {
        sign(&reader, "out.checkpoints", &[])
            .expect(8)
            .says(&["GRANT EXECUTE ON FUNCTION pg_control_system()"]);
    }
}

/// A witness cosigns what continues what it saw, and whatever else it says is told and keeps no checkpoint back.
#[test]
fn witnesses_cosign_and_know_two_histories_apart() {
    let witness = test_support::WitnessDouble::start(9);
    let signed = Signed::new(&WorldSpec {
        tenants: 1,
        stores_per_tenant: 1,
        ..WorldSpec::default()
    });
    let (url, vkey) = (witness.url().to_owned(), witness.vkey().to_string());
    let out = "out.checkpoints";
    let with = ["--witness-url", &url, "--witness-key", &vkey];
    let cosigned = |report: &Value| report["streams"][0]["witnesses"].as_array().unwrap().len();
    let said = |report: &Value| report["findings"][0]["message"].as_str().unwrap().to_owned();
    let stream = signed.streams()[0];
    let origin = Origin {
        deployment: NAME.into(),
        stream,
        generation: 1,
    }
    .to_string();
    let own = |n: u8| {
        VerifierKey::new(
            &origin,
            KeyKind::Log,
            SigningKey::from_bytes(&[n; 32]).verifying_key(),
        )
        .unwrap()
    };

    // It does not know the log, then knows it by another key, then by its own: the checkpoint is kept all the same.
    signed.grow_to(20);
    let report = signed.sign(out, &with).expect(4).json();
    assert_eq!(codes(&report), ["checkpoint.witness"]);
    assert!(
        said(&report).contains("404") && said(&report).contains("--vkeys"),
        "{report}"
    );
    assert_eq!(report["streams"][0]["vkey"], own(7).to_string());
    witness.know(own(8));
    assert!(said(&signed.sign(out, &with).expect(4).json()).contains("403"));
    // Without it if so many are enough; then that is told.
    let report = signed
        .sign(out, &[&with[..], &["--witnesses", "0"]].concat())
        .expect(0)
        .json();
    assert!(report["not_checked"].to_string().contains("403"));
    assert_eq!(
        entries(&signed.path(out)).len(),
        1,
        "what nobody cosigned is not added again"
    );
    witness.know(own(7));
    let report = signed.sign(out, &with).expect(0).json();
    assert_eq!(cosigned(&report), 1);
    assert_eq!(
        entries(&signed.path(out)).len(),
        2,
        "the tree that had no cosignature gets one"
    );
    assert_eq!(
        cosigned(&signed.sign(out, &with).expect(0).json()),
        0,
        "and no second one"
    );

    // What is new, with the proof that it continues what the witness saw; also if another checkpointer told it more.
    for number in [21, 57, 80] {
        signed.grow_to(number);
        assert_eq!(cosigned(&signed.sign(out, &with).expect(0).json()), 1);
    }
    fs::remove_file(signed.path("state.json")).unwrap();
    signed.grow_to(90);
    assert_eq!(
        cosigned(&signed.sign(out, &with).expect(0).json()),
        1,
        "its size is taken from its 409"
    );
    let policy = Policy::new(vec![crate::checkpoint::vkey()], vec![witness.vkey()], 1).unwrap();
    let mut all = Collector::new(&policy);
    all.read(out, &fs::read(signed.path(out)).unwrap()[..]).unwrap();
    let read = all.finish();
    let sizes: Vec<u64> = read.streams[0].generations[0]
        .checkpoints
        .iter()
        .map(|held| held.checkpoint.size)
        .collect();
    assert_eq!(sizes, [20, 21, 57, 80, 90]);

    // A cosignature by a key that is not known is not kept.
    let other = test_support::WitnessDouble::start(10);
    other.know(own(7));
    signed.grow_to(95);
    let report = signed
        .sign(out, &["--witness-url", other.url(), "--witness-key", &vkey])
        .expect(4)
        .json();
    assert!(said(&report).contains("holds by no key"), "{report}");
    // It has seen another tree: of that size, of another history, of more events.
    for (size, root) in [
        (95, Hash32([1; 32])),
        (40, Hash32([2; 32])),
        (400, Hash32([3; 32])),
    ] {
        witness.remember(&origin, size, root);
        let report = signed.sign(out, &with).expect(4).json();
        assert_eq!(codes(&report), ["checkpoint.fork"], "{size}: {report}");
        assert!(said(&report).contains("split view"), "{report}");
    }
    // Nobody is there.
    let gone = ["--witness-url", "http://127.0.0.1:1", "--witness-key", &vkey];
    signed.grow_to(100);
    let report = signed.sign(out, &gone).expect(4).json();
    assert!(said(&report).contains("did not answer"), "{report}");
    assert_eq!(report["streams"][0]["size"], 100);
    one_root_for_each_size(&signed, out);
}
