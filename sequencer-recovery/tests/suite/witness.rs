//! Other copies of the log as witnesses, and witnesses that speak of what is not here.

use std::path::Path;

use assert_cmd::Command;
use fixtures::{World, WorldSpec};
use serde_json::Value;

fn tool(args: &[&str]) -> (i32, Value) {
    let output = Command::cargo_bin("sequencer-recovery")
        .unwrap()
        .args(args)
        .output()
        .unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| {
        panic!("{e}\n{}", String::from_utf8_lossy(&output.stderr));
    });
    (output.status.code().unwrap(), json)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_replica_with_signed_receipts_brings_everything_back() {
    let world = World::generate(&WorldSpec {
        lost_key: false,
        ..WorldSpec::default()
    });
    let dir = tempfile::tempdir().unwrap();
    let (replica, log, plan) = (
        dir.path().join("replica.db"),
        dir.path().join("log.db"),
        dir.path().join("plan"),
    );
    world.write_log(&replica).unwrap();
    world.write_recovered(&log).unwrap();
    let public = world
        .sequencer_public_key()
        .to_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect::<String>();

    // Without the sequencer's key nothing signs for the numbers: they are one copy's claims.
    let unsigned = dir.path().join("unsigned");
    let (code, summary) = tool(&[
        "plan",
        "--db",
        text(&log),
        "--witness",
        text(&replica),
        "--out",
        text(&unsigned),
        "--format",
        "json",
    ]);
    assert_eq!((code, &summary["totals"]["events"]), (4, &Value::from(0)));

    let (code, summary) = tool(&[
        "plan",
        "--db",
        text(&log),
        "--witness",
        text(&replica),
        "--sequencer-public-key",
        &public,
        "--out",
        text(&plan),
        "--format",
        "json",
    ]);
    assert_eq!(code, 0, "nothing stays open");
    assert_eq!(
        summary["totals"]["by_grade"]["receipted"],
        Value::from(world.truth().lost_events())
    );
    let (code, applied) = tool(&["apply", text(&plan), "--db", text(&log), "--format", "json"]);
    assert_eq!(code, 1);
    let sum = |field: &str| -> u64 {
        applied["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s[field].as_u64().unwrap())
            .sum()
    };
    assert_eq!(
        sum("receipts_signed"),
        sum("events"),
        "receipts come back with their signatures"
    );
    let (code, audit) = tool(&[
        "audit",
        "--db",
        text(&log),
        "--witness",
        text(&replica),
        "--sequencer-public-key",
        &public,
        "--format",
        "json",
    ]);
    let problems: Vec<&str> = audit["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["severity"] == "problem")
        .map(|f| f["code"].as_str().unwrap())
        .collect();
    assert_eq!((code, problems), (0, vec![]));
}

#[test]
fn outboxes_of_another_sequencer_make_no_streams_here() {
    let here = World::generate(&WorldSpec {
        seed: 1,
        ..WorldSpec::default()
    });
    let elsewhere = World::generate(&WorldSpec {
        seed: 2,
        ..WorldSpec::default()
    });
    let dir = tempfile::tempdir().unwrap();
    let (log, plan) = (dir.path().join("log.db"), dir.path().join("plan"));
    here.write_log(&log).unwrap();
    elsewhere.write_outboxes(dir.path()).unwrap();
    let outboxes = dir.path().join("*.db");
    // The pattern names the log too, which is surely no outbox: that is told, and the others are read.
    let (code, audit) = tool(&[
        "audit",
        "--db",
        text(&log),
        "--outbox",
        text(&outboxes),
        "--format",
        "json",
    ]);
    assert_eq!(code, 0, "a snapshot among outboxes is no witness that is missing");
    assert!(audit["not_checked"].to_string().contains("a snapshot of a log"));
    let foreign = audit["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["code"] == "witness.foreign")
        .count();
    assert_eq!(foreign, elsewhere.spec().streams());
    assert_eq!(audit["streams"].as_array().unwrap().len(), here.spec().streams());
    let (_, summary) = tool(&[
        "plan",
        "--db",
        text(&log),
        "--outbox",
        text(&outboxes),
        "--out",
        text(&plan),
        "--format",
        "json",
    ]);
    assert_eq!(summary["totals"]["counters"], Value::from(0));
}

#[test]
fn an_export_is_a_witness_like_the_log_that_it_was_made_of() {
    let world = World::generate(&WorldSpec {
        lost_key: false,
        ..WorldSpec::default()
    });
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    world.write_log(&path("replica.db")).unwrap();
    world.write_recovered(&path("log.db")).unwrap();
    let public: String = world
        .sequencer_public_key()
        .to_bytes()
        .iter()
        .map(|b| format!("{b:02x}"))
        .collect();
    let export = |name: &str, more: &[&str]| {
        let (replica, out) = (path("replica.db"), path(name));
        let mut args = vec![
            "export",
            "--db",
            text(&replica),
            "--out",
            text(&out),
            "--format",
            "json",
        ];
        args.extend(more);
        assert_eq!(tool(&args).0, 0);
    };
    export("whole.ndjson", &[]);
    export("redacted.ndjson", &["--redact"]);
    let whole = std::fs::read_to_string(path("whole.ndjson")).unwrap();
    let cut: String = whole
        .lines()
        .take(whole.lines().count() / 2)
        .map(|l| format!("{l}\n"))
        .collect();
    std::fs::write(path("cut.ndjson"), cut).unwrap();
    std::fs::write(path("other.ndjson"), "{\"schema\":\"log-export/9\"}\n").unwrap();
    let plan = |witness: &str| {
        let (log, out, witness) = (path("log.db"), path(&format!("{witness}.plan")), path(witness));
        let ran = tool(&[
            "plan",
            "--db",
            text(&log),
            "--witness",
            text(&witness),
            "--sequencer-public-key",
            &public,
            "--out",
            text(&out),
            "--format",
            "json",
        ]);
        (ran.0, ran.1["totals"].clone())
    };
    let (code, of_replica) = plan("replica.db");
    assert_eq!(code, 0);
    let (code, of_export) = plan("whole.ndjson");
    assert_eq!((code, &of_export), (0, &of_replica));
    assert_eq!(
        of_export["by_grade"]["receipted"],
        Value::from(world.truth().lost_events())
    );
    // Without payloads nothing can go back, but it is known what is missing, and the counters are right.
    let (code, redacted) = plan("redacted.ndjson");
    assert_eq!(code, 4);
    assert_eq!(
        (&redacted["events"], &redacted["missing"], &redacted["counters"]),
        (&Value::from(0), &of_replica["missing"], &of_replica["counters"])
    );
    // What stands before the damage is used, and the damage is told.
    let (code, of_cut) = plan("cut.ndjson");
    assert_eq!(code & 8, 8);
    assert!(of_cut["events"].as_u64() < of_replica["events"].as_u64());
    assert_eq!(plan("other.ndjson").0 & 8, 8);
}

#[test]
fn a_copy_that_has_other_events_where_the_log_has_some_is_told() {
    let world = World::generate(&WorldSpec {
        anchored_fraction: 0.0,
        reissued_per_stream: 3,
        ..WorldSpec::default()
    });
    let dir = tempfile::tempdir().unwrap();
    let (replica, log) = (dir.path().join("replica.db"), dir.path().join("log.db"));
    world.write_log(&replica).unwrap();
    world.write_recovered(&log).unwrap();
    let (code, audit) = tool(&[
        "audit",
        "--db",
        text(&log),
        "--witness",
        text(&replica),
        "--format",
        "json",
    ]);
    assert_eq!(code, 4);
    let truth = world.truth();
    let found: Vec<&Value> = audit["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["code"] == "reissue")
        .collect();
    assert_eq!(found.len(), truth.streams.len());
    for stream in &truth.streams {
        let store = stream.stream.store_id.to_string();
        let finding = found.iter().find(|f| f["store_id"] == store).unwrap();
        let twice: Vec<u64> = stream
            .reissued
            .iter()
            .filter(|r| r.promised_to.is_some())
            .map(|r| r.number)
            .collect();
        assert_eq!(finding["count"], twice.len());
        assert_eq!(finding["from"], twice[0]);
    }
}

/// What a program does for it is tried where that program is built, in `archive/event-archive/tests`.
#[test]
fn an_archive_without_the_program_that_reads_it_is_a_witness_that_could_not_be_read() {
    let world = World::generate(&WorldSpec::honest(20));
    let dir = tempfile::tempdir().unwrap();
    let (log, plan, archive) = (
        dir.path().join("log.db"),
        dir.path().join("plan"),
        dir.path().join("archive"),
    );
    world.write_recovered(&log).unwrap();
    std::fs::create_dir_all(archive.join("manifest")).unwrap();
    std::fs::write(archive.join("manifest/0000000001.json"), "{}").unwrap();
    let run = |program: &str, command: &[&str], witness: &str| {
        let output = Command::cargo_bin("sequencer-recovery")
            .unwrap()
            .args(command)
            .args(["--format", "json", "--db", text(&log), "--witness", witness])
            .env("EVENT_ARCHIVE", program)
            .env("TMPDIR", dir.path())
            .output()
            .unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        (
            output.status.code().unwrap(),
            report,
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let secret = "s3://bucket/years/?token=s3cret";
    for (program, witness, shown, why) in [
        (
            "/no/event-archive",
            text(&archive),
            text(&archive),
            "name it in EVENT_ARCHIVE",
        ),
        (
            "/no/event-archive",
            secret,
            "s3://bucket/years/?token=***",
            "is not there",
        ),
        ("false", text(&archive), text(&archive), "nothing was said"),
        ("true", text(&archive), text(&archive), "another version"),
    ] {
        let (code, report, stderr) = run(program, &["audit"], witness);
        assert_eq!(code & 8, 8, "{stderr}");
        let heard = &report["heard"][0];
        assert_eq!(
            (&heard["kind"], &heard["path"]),
            (&Value::from("archive"), &Value::from(shown))
        );
        assert!(heard["error"].as_str().unwrap().contains(why), "{heard}");
        let told = Value::from(format!("{shown}: could not be read"));
        assert!(report["not_checked"].as_array().unwrap().contains(&told));
        assert!(stderr.contains(shown) && !stderr.contains("s3cret"), "{stderr}");
        assert!(!report.to_string().contains("s3cret"));
    }
    let (code, _, _) = run("/no/event-archive", &["plan", "--out", text(&plan)], secret);
    assert_eq!(code & 8, 8);
    let plan = std::fs::read_to_string(plan).unwrap();
    let first: Value = serde_json::from_str(plan.lines().next().unwrap()).unwrap();
    assert_eq!(first["incomplete"][0]["witness"], "s3://bucket/years/?token=***");
    assert!(!plan.contains("s3cret"));
}
