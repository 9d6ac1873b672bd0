//! Archives on a real S3 server, with faults: requests that are refused, answers that are lost, a writer that is killed, objects
//! that change behind the archive's back.

use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use fixtures::{Cut, World, WorldSpec};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Ran, S3, Tools, number, program, python, run, text};

const ARCHIVE: &str = "s3://archives/years";

/// A log in the past and as it is, and a server.
struct Stage {
    s3: S3,
    folder: TempDir,
}

impl Stage {
    fn set() -> Option<Self> {
        let python = python()?;
        let folder = tempfile::tempdir().unwrap();
        let world = World::generate(&WorldSpec {
            seed: 2020,
            cut: Cut::Fraction(0.4),
            ..WorldSpec::default()
        });
        world.write_recovered(&folder.path().join("past.db")).unwrap();
        world.write_log(&folder.path().join("log.db")).unwrap();
        let s3 = S3::start(&python);
        Some(Self { s3, folder })
    }

    fn path(&self, name: &str) -> String {
        text(&self.folder.path().join(name))
    }

    fn write(&self, log: &str) -> Ran {
        self.s3
            .event_archive(&["write", ARCHIVE, "--format=json", "--db", &self.path(log)])
    }

    /// The archive as a snapshot says what the log says.
    #[track_caller]
    fn holds_all_of(&self, log: &str) {
        let copy = self.path("copy.db");
        let _ = std::fs::remove_file(&copy);
        let copied = self
            .s3
            .event_archive(&["snapshot", ARCHIVE, "--format=json", "--out", &copy])
            .expect(0)
            .json();
        let verified = self
            .s3
            .event_archive(&["verify", ARCHIVE, "--format=json"])
            .json();
        assert_eq!(copied["left_out"], json!([]));
        // A log of its own is what both must be equal to.
        let local = self.path("local");
        let _ = std::fs::remove_dir_all(&local);
        super::event_archive(["write", &local, "--db", &self.path(log)]).expect(0);
        let expected = super::event_archive(["verify", &local, "--format=json"]).json();
        assert_eq!(events_of(&verified), events_of(&expected));
        assert_eq!(
            copied["events"],
            total(&super::newest_manifest(Path::new(&local)))
        );
    }
}

/// How many events the streams of a manifest have.
fn total(manifest: &Value) -> u64 {
    let streams = manifest["streams"].as_array().unwrap().iter();
    streams.map(|stream| number(&stream["events"])).sum()
}

/// What a report of a verification says of streams and batches.
fn events_of(report: &Value) -> Value {
    json!([report["totals"], report["streams"]])
}

#[test]
fn it_is_written_again_and_only_what_is_new_is_added() {
    let Some(mut stage) = Stage::set() else { return };
    let first = stage.write("past.db").expect(0).json();
    assert_eq!((&first["manifest"], &first["added"]), (&json!(1), &json!(true)));
    let before = stage.s3.keys("years/events/", ".parquet");
    let second = stage.write("log.db").expect(0).json();
    assert_eq!(second["manifest"], 2);
    assert!(number(&second["events_written"]) > 0);
    let after = stage.s3.keys("years/events/", ".parquet");
    assert!(after.len() > before.len() && before.iter().all(|key| after.contains(key)));
    // Twice is as once.
    let keys = stage.s3.keys("years/", "");
    let third = stage.write("log.db").expect(0).json();
    assert_eq!((&third["manifest"], &third["added"]), (&json!(2), &json!(false)));
    assert_eq!(stage.s3.keys("years/", ""), keys);
    stage.holds_all_of("log.db");
    // The log went back: nothing of the archive is lost, and that is told.
    stage.write("past.db").expect(4);
    stage.holds_all_of("log.db");
}

#[test]
fn a_store_that_refuses_in_the_middle_loses_nothing() {
    let Some(mut stage) = Stage::set() else { return };
    stage.write("past.db").expect(0);
    stage.s3.ask("refuse 2");
    let refused = stage.write("log.db").expect(8);
    assert!(refused.stderr.contains(ARCHIVE), "{}", refused.stderr);
    stage.s3.ask("heal");
    stage.holds_all_of("past.db");
    stage.s3.ask("busy 2");
    stage.write("log.db").expect(0);
    stage.holds_all_of("log.db");
}

#[test]
fn a_manifest_whose_answer_is_lost_is_written_all_the_same() {
    let Some(mut stage) = Stage::set() else { return };
    stage.write("past.db").expect(0);
    stage.s3.ask("lose years/manifest/");
    // Whether it was written cannot be known by who asks again: another may have written it.
    let written = stage.write("log.db");
    assert!([0, 8].contains(&written.code), "{}", written.stderr);
    let again = stage.write("log.db").expect(0).json();
    assert_eq!((&again["manifest"], &again["added"]), (&json!(2), &json!(false)));
    stage.holds_all_of("log.db");
}

#[test]
fn a_writer_that_is_killed_has_changed_nothing() {
    let Some(mut stage) = Stage::set() else { return };
    stage.write("past.db").expect(0);
    let puts: u64 = stage.s3.ask("puts").parse().unwrap();
    for after in 1..=3 {
        let mut command = program(Path::new(env!("CARGO_BIN_EXE_event-archive")));
        command.args(["write", ARCHIVE, "--db", &stage.path("log.db")]);
        stage.s3.known_to(&mut command);
        let mut writer = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        while stage.s3.ask("puts").parse::<u64>().unwrap() < puts + after
            && writer.try_wait().unwrap().is_none()
            && begun.elapsed() < Duration::from_secs(120)
        {
            thread::sleep(Duration::from_millis(1));
        }
        let _ = writer.kill();
        writer.wait().unwrap();
        // It may have been faster than we.
        match stage.s3.keys("years/manifest/", ".json").len() {
            1 => stage.holds_all_of("past.db"),
            _ => stage.holds_all_of("log.db"),
        }
    }
    stage.write("log.db").expect(0);
    stage.holds_all_of("log.db");
}

#[test]
fn two_writers_at_once_leave_one_archive() {
    let Some(stage) = Stage::set() else { return };
    let writers: Vec<Ran> = thread::scope(|scope| {
        let begun: Vec<_> = (0..2).map(|_| scope.spawn(|| stage.write("log.db"))).collect();
        begun.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let codes: Vec<i32> = writers.iter().map(|ran| ran.code).collect();
    assert!(codes.contains(&0), "{writers:?}");
    for lost in writers.iter().filter(|ran| ran.code != 0) {
        assert_eq!(lost.code, 8, "{}", lost.stderr);
    }
    stage.write("log.db").expect(0);
    stage.holds_all_of("log.db");
}

#[test]
fn what_changes_behind_its_back_is_found() {
    let Some(mut stage) = Stage::set() else { return };
    stage.write("log.db").expect(0);
    let events = stage.s3.keys("years/events/", ".parquet");
    assert!(events.len() >= 2, "{events:?}");
    for (fault, repair) in [
        (
            format!("swap {} {}", events[0], events[1]),
            format!("swap {} {}", events[0], events[1]),
        ),
        (format!("truncate {}", events[0]), String::new()),
        (format!("delete {}", events[1]), String::new()),
    ] {
        stage.s3.ask(&fault);
        let verified = stage.s3.event_archive(&["verify", ARCHIVE]);
        assert!(
            verified.code & 4 == 4 || verified.code & 8 == 8,
            "{fault}: {} {}",
            verified.code,
            verified.stdout
        );
        let copy = stage.path("damaged.db");
        let _ = std::fs::remove_file(&copy);
        let copied = stage
            .s3
            .event_archive(&["snapshot", ARCHIVE, "--format=json", "--out", &copy])
            .expect(4)
            .json();
        assert!(!copied["left_out"].as_array().unwrap().is_empty(), "{fault}");
        if !repair.is_empty() {
            stage.s3.ask(&repair);
            stage.holds_all_of("log.db");
        }
    }
    let manifests = stage.s3.keys("years/manifest/", ".json");
    stage.s3.ask(&format!("truncate {}", manifests[0]));
    assert_eq!(stage.s3.event_archive(&["verify", ARCHIVE]).code & 8, 8);
}

#[test]
fn an_archive_on_s3_is_a_witness_by_its_address() {
    let (Some(stage), Some(tools)) = (Stage::set(), Tools::found()) else {
        return;
    };
    stage.write("log.db").expect(0);
    let audit = |witness: &str| {
        let args = [
            "audit",
            "--format=json",
            "--db",
            &stage.path("past.db"),
            "--witness",
            witness,
        ];
        let mut command: Command = tools.command("sequencer-recovery", args);
        stage.s3.known_to(&mut command);
        run(command).expect(4).json()
    };
    let by_archive = audit("s3://archives/years/");
    let by_log = audit(&stage.path("log.db"));
    assert_eq!(by_archive["heard"][0]["path"], ARCHIVE);
    assert_eq!(by_archive["totals"], by_log["totals"]);
    assert_eq!(
        by_archive["heard"][0]["missing_held"],
        by_log["heard"][0]["missing_held"]
    );
    assert!(number(&by_archive["heard"][0]["missing_held"]) > 0);
}
