//! Incidents: what the commands of a whole recovery leave in one folder, what follows from it, and who checks it.
#![cfg(unix)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::common::{Data, Db, Ran, Server, binary, text};
use crate::docs::tools;

/// A folder to work in, with an incident.
struct Stage {
    dir: tempfile::TempDir,
    incident: PathBuf,
}

impl Stage {
    fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut stage = Self {
            incident: PathBuf::new(),
            dir,
        };
        let started = stage.recovery(
            &[
                &["incident", "start", "Log lost in eu-1", "--format", "json"],
                more,
            ]
            .concat(),
        );
        stage.incident = started.expect(0).json()["folder"].as_str().unwrap().into();
        stage
    }

    /// Runs a tool in the folder, for the incident.
    fn tool(&self, tool: &str, args: &[&str]) -> Ran {
        let mut command = binary();
        if tool != "sequencer-recovery" {
            command = Command::new(tools().join(tool));
            command.env("NO_COLOR", "1").env_remove("DATABASE_URL");
        }
        if !self.incident.as_os_str().is_empty() {
            command.env("SEQUENCER_INCIDENT", &self.incident);
        }
        let output = command.args(args).current_dir(self.dir.path()).output().unwrap();
        Ran {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    fn recovery(&self, args: &[&str]) -> Ran {
        self.tool("sequencer-recovery", args)
    }

    fn status(&self) -> Value {
        self.recovery(&["incident", "status", "--format", "json"]).json()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.incident.join(name)
    }

    fn record(&self) -> Value {
        serde_json::from_slice(&fs::read(self.path("dr_report.json")).unwrap()).unwrap()
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value}"))
}

#[test]
fn a_whole_recovery_leaves_a_folder_that_others_can_check_alone() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("lost", &data.dir.join("recovered.copy.sql")).arg();
    let (outboxes, logs) = (data.outboxes(), text(&data.dir.join("anchors")));
    let stage = Stage::start(&["--at", "2026-11-20T08:00:00Z", "--rto", "1h", "--rpo", "10m"]);
    let witnesses = ["--db", &db, "--outbox", &outboxes, "--anchors", "anchors.json"];
    let with = |first: &[&'static str], more: &[&'static str]| -> Vec<String> {
        let all = first.iter().copied().chain(witnesses).chain(more.iter().copied());
        all.map(str::to_owned).collect()
    };
    let run = |args: Vec<String>| stage.recovery(&args.iter().map(String::as_str).collect::<Vec<_>>());
    let next = |words: &str| {
        let shown = stage.status()["next"]["command"].as_str().unwrap().to_owned();
        assert!(shown.contains(words), "{shown}, and not {words}");
    };

    next("incident note --moment restore-ended");
    stage
        .recovery(&[
            "incident",
            "note",
            "--moment",
            "restore-ended",
            "--at",
            "2026-11-20T08:30:00Z",
        ])
        .expect(0);
    next("sequencer-recovery audit");
    let anchors = format!("{logs}/logs_StateSetAnchor_CommitmentAnchored.json");
    let registry = format!("{logs}/logs_SetRegistry_BatchCommitted.json");
    stage
        .tool(
            "anchor-verify",
            &["import", &anchors, &registry, "--out", "anchors.json"],
        )
        .expect(0);
    run(with(&["audit"], &[])).expect(4);
    next("sequencer-recovery plan");
    run(with(&["plan"], &["--out", "plan.ndjson"])).expect(4);
    next("sequencer-recovery apply");
    stage
        .recovery(&["apply", "plan.ndjson", "--db", &db, "--dry-run"])
        .expect(5);
    next("sequencer-recovery apply");
    stage
        .recovery(&[
            "apply",
            "plan.ndjson",
            "--db",
            &db,
            "--undo",
            "undo.ndjson",
            "--epoch",
            "epoch.json",
        ])
        .expect(5);
    next("sequencer-recovery audit");
    run(with(&["audit"], &[])).expect(4);
    stage
        .recovery(&["certify", "plan.ndjson", "--out", "losses.json"])
        .expect(4);
    stage.tool(
        "anchor-verify",
        &["verify", "--db", &db, "--anchors", "anchors.json"],
    );
    stage
        .recovery(&[
            "incident",
            "note",
            "pgbouncer restarted",
            "--intervention",
            "--at",
            "2026-11-20T08:40:00Z",
        ])
        .expect(0);
    stage
        .recovery(&[
            "incident",
            "note",
            "--moment",
            "sequencer-started",
            "--at",
            "2026-11-20T08:50:00Z",
        ])
        .expect(0);

    let status = stage.status();
    let summary = &status["summary"];
    assert_eq!(status["state"], "open");
    assert_eq!(number(&summary["rto_seconds"]), 3000.0);
    assert_eq!(
        (summary["lost"].as_u64(), summary["restored"].as_u64()),
        (Some(334), Some(200))
    );
    assert_eq!(
        (summary["unresolved"].as_u64(), summary["lost_for_good"].as_u64()),
        (Some(134), Some(134))
    );
    assert_eq!(status["faults"], serde_json::json!([]));

    let key = stage.dir.path().join("recovery.key");
    fs::write(&key, "11".repeat(32)).unwrap();
    let public = ed25519_dalek::SigningKey::from_bytes(&[0x11; 32])
        .verifying_key()
        .to_bytes();
    let public: String = public.iter().map(|byte| format!("{byte:02x}")).collect();
    stage
        .recovery(&["incident", "close", "--key", "recovery.key"])
        .expect(4)
        .shows(&[
            "closed, FAIL",
            "FAIL the checklist passed: NOT KNOWN",
            "pass nothing is missing but what is certified as lost: 134",
            "pass the recovery time objective is met",
        ]);
    let record = stage.record();
    assert_eq!(
        (record["schema"].as_str(), record["kind"].as_str()),
        (Some("dr-report/2"), Some("incident"))
    );
    assert_eq!(number(&record["objectives"]["rto"]["seconds_reached"]), 3000.0);
    assert_eq!(record["manual_interventions"], 2);
    assert_eq!(record["events"]["misplaced"], Value::Null);
    // The record is among those of the drills too.
    let kept: Vec<_> = fs::read_dir(stage.dir.path().join("recovery_reports"))
        .unwrap()
        .collect();
    assert_eq!(kept.len(), 1);

    // Nothing can be added any more, and what others see is whole.
    run(with(&["audit"], &[])).expect(8).says(&["is closed"]);
    stage
        .recovery(&["incident", "close"])
        .expect(8)
        .says(&["closed already"]);
    let check = |more: &[&str]| stage.recovery(&[&["incident", "check", "--format", "json"], more].concat());
    let checked = check(&["--public-key", &public]).expect(0).json();
    assert_eq!(
        (
            checked["signature"].as_str(),
            checked["faults"].as_array().unwrap().len()
        ),
        (Some("valid"), 0)
    );
    check(&[])
        .expect(0)
        .shows(&["the signature of the manifest: give --public-key"]);
    check(&["--public-key", &"22".repeat(32)]).expect(4);
    let sums = Command::new("sha256sum")
        .args(["--check", "--quiet", "--strict", "SHA256SUMS"])
        .current_dir(&stage.incident)
        .status();
    assert!(sums.unwrap().success());
    // Drafts may be edited; nothing else may.
    fs::write(stage.path("drafts/post-mortem.md"), "mine").unwrap();
    check(&["--public-key", &public]).expect(0);
    tampering_is_told(&stage, &check);
}

/// Each change alone, and none of them with the tools' help.
fn tampering_is_told(stage: &Stage, check: &dyn Fn(&[&str]) -> Ran) {
    let evidence = fs::read_dir(stage.path("evidence")).unwrap();
    let mut evidence: Vec<PathBuf> = evidence.map(|file| file.unwrap().path()).collect();
    evidence.sort();
    assert!(evidence.len() >= 12, "{evidence:?}");
    let (plan, audit) = (&evidence[2], &evidence[1]);
    for (path, told) in [
        (stage.path("dr_report.json"), "dr_report.json"),
        (stage.path("timeline.ndjson"), "timeline"),
        (stage.path("report.md"), "report.md"),
        (plan.clone(), "it was changed"),
        (audit.clone(), "it was changed"),
    ] {
        let whole = fs::read(&path).unwrap();
        let mut changed = whole.clone();
        let at = changed.len() / 2;
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        check(&[]).expect(4).shows(&[told]);
        fs::remove_file(&path).unwrap();
        let gone = check(&[]);
        assert!(
            gone.code == 4 || gone.code == 8,
            "{}: {}",
            path.display(),
            gone.code
        );
        fs::write(&path, &whole).unwrap();
    }
    fs::write(stage.path("evidence/9999-more.json"), "{}").unwrap();
    check(&[]).expect(4).shows(&["the manifest does not name it"]);
    fs::remove_file(stage.path("evidence/9999-more.json")).unwrap();
    // Somebody who makes the record nicer and the manifest fit it is found by the timeline.
    let record = fs::read_to_string(stage.path("dr_report.json")).unwrap();
    let nicer = record.replacen("3000.0", "300.0", 1);
    assert_ne!(record, nicer);
    fs::write(stage.path("dr_report.json"), nicer).unwrap();
    fs::remove_file(stage.path("manifest.json")).unwrap();
    check(&[]).expect(8).says(&["manifest.json"]);
    fs::write(stage.path("dr_report.json"), record).unwrap();
}

#[test]
fn what_cannot_be_kept_stops_a_command_before_it_does_anything() {
    let data = Data::golden();
    let log = data.path("log.db");
    let Some(server) = Server::start() else { return };
    let Db::Snapshot(log) = server
        .load("golden", &data.dir.join("log.copy.sql"))
        .snapshot(log)
    else {
        panic!()
    };
    let stage = Stage::start(&[]);
    let audit = |incident: &Path| {
        let incident = text(incident);
        let (log, out) = (text(&log), "--quiet");
        stage.tool(
            "sequencer-recovery",
            &["gaps", "--db", &log, "--incident", &incident, out],
        )
    };
    audit(&stage.dir.path().join("nowhere"))
        .expect(8)
        .says(&["is no folder of an incident", "incident start"]);
    audit(stage.dir.path()).expect(8);
    // A folder that takes no evidence: nothing is done, and that is said.
    let evidence = stage.path("evidence");
    fs::remove_dir(&evidence).unwrap();
    audit(&stage.incident).expect(8).says(&["evidence"]);
    std::os::unix::fs::symlink(stage.dir.path(), &evidence).unwrap();
    audit(&stage.incident)
        .expect(8)
        .says(&["is a link", "nothing was done"]);
    fs::remove_file(&evidence).unwrap();
    fs::create_dir(&evidence).unwrap();
    audit(&stage.incident).expect(0);
    // An empty variable is none.
    let mut command = binary();
    command
        .env("SEQUENCER_INCIDENT", "")
        .args(["gaps", "--db"])
        .arg(&log);
    assert!(command.status().unwrap().success());
    let status = stage.status();
    let runs = status["runs"].as_array().unwrap();
    // Those that were stopped began, and nobody noted their end.
    assert_eq!(runs.len(), 3, "{runs:?}");
    assert!(
        status["not_checked"]
            .to_string()
            .contains("it was killed, or is still at work")
    );
    assert_eq!(runs[2]["status"], 0);
    // Text of others reaches no terminal, and no Markdown.
    stage
        .recovery(&["incident", "note", "a\u{1b}[2Jb | <script>"])
        .expect(0);
    stage.recovery(&["incident", "close"]).expect(4);
    let report = fs::read_to_string(stage.path("report.md")).unwrap();
    assert!(
        !report.contains('\u{1b}') && !report.contains("<script>"),
        "{report}"
    );
    assert!(report.contains("\\| &lt;script>"), "{report}");
}

/// A file may not grow beyond so many blocks of 512 bytes: the disk is full for the report, not for a line.
#[test]
fn a_full_disk_costs_the_evidence_and_not_the_report() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("full_disk", &data.dir.join("recovered.copy.sql"));
    let stage = Stage::start(&[]);
    let script = format!(
        "trap '' XFSZ; ulimit -f 4; {} audit --db {} --format json",
        env!("CARGO_BIN_EXE_sequencer-recovery"),
        db.arg()
    );
    let mut bash = Command::new("bash");
    bash.args(["-c", &script])
        .env("SEQUENCER_INCIDENT", &stage.incident);
    let output = bash.current_dir(stage.dir.path()).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(8), "{stderr}");
    assert!(
        stderr.contains("is not among the incident's evidence"),
        "{stderr}"
    );
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["schema"], "recovery-audit/1");
    let status = stage.status();
    assert_eq!(
        (
            status["runs"][0]["status"].as_u64(),
            status["summary"]["lost"].as_u64()
        ),
        (Some(8), None)
    );
    assert!(status["runs"][0]["evidence"].as_array().unwrap().is_empty());
    // With room again, the next one is kept.
    stage.recovery(&["audit", "--db", &db.arg()]).expect(0);
    assert_eq!(stage.status()["summary"]["lost"], 0);
}

#[test]
fn commands_at_the_same_time_keep_one_timeline() {
    let stage = Stage::start(&[]);
    std::thread::scope(|scope| {
        for n in 0..6 {
            let stage = &stage;
            scope.spawn(move || match n % 2 {
                0 => stage.recovery(&["incident", "note", "at once"]).expect(0),
                _ => stage.recovery(&["gaps", "--db", "nowhere.db"]).expect(8),
            });
        }
    });
    let status = stage.status();
    assert_eq!(status["faults"], serde_json::json!([]));
    assert_eq!(
        (
            status["runs"].as_array().unwrap().len(),
            status["notes"].as_array().unwrap().len()
        ),
        (3, 3)
    );
    assert!(
        status["runs"][0]["error"]
            .as_str()
            .unwrap()
            .contains("nowhere.db")
    );
}

#[test]
fn notes_are_taken_with_their_time() {
    let stage = Stage::start(&["--ago", "1h"]);
    let note = |args: &[&str]| stage.recovery(&[&["incident", "note"], args].concat());
    note(&[]).expect(16);
    note(&["text", "--at", "yesterday"]).expect(16);
    note(&["text", "--at", "2999-01-01T00:00:00Z"])
        .expect(16)
        .says(&["has not been yet"]);
    note(&["text", "--ago", "5m", "--at", "2026-11-20T08:00:00Z"]).expect(16);
    note(&["--moment", "sequencer-started", "--ago", "30m"]).expect(0);
    note(&["--moment", "sequencer-started", "--ago", "20m"]).expect(0);
    let reached = number(&stage.status()["summary"]["rto_seconds"]);
    assert!((reached - 2400.0).abs() < 60.0, "{reached}");
    // Without an incident there is nothing to note it in.
    let mut command = binary();
    let output = command.args(["incident", "note", "text"]).output().unwrap();
    assert_eq!(output.status.code(), Some(16));
}
