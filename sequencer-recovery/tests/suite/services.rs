//! Another sequencer's gRPC service as a witness, by a double that can misbehave.

use crate::common;

use std::path::{Path, PathBuf};
use std::process::Output;

use common::service::{Double, Fault};
use common::{Data, Server, binary, text};
use fixtures::{World, WorldSpec};
use serde_json::Value;
use test_support::{TestAuthority, TlsFront};

struct Case {
    world: World,
    folder: tempfile::TempDir,
}

impl Case {
    fn new(seed: u64) -> Self {
        let world = World::generate(&WorldSpec {
            seed,
            lost_key: false,
            ..WorldSpec::default()
        });
        let folder = tempfile::tempdir().unwrap();
        world.write_recovered(&folder.path().join("log.db")).unwrap();
        world.write_anchors(&folder.path().join("anchors.json")).unwrap();
        Self { world, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs a command about the log with this witness.
    fn run(
        &self,
        command: &str,
        url: &str,
        more: &[&str],
        environment: &[(&str, &Path)],
    ) -> (i32, Value, String) {
        let output: Output = binary()
            .current_dir(self.folder.path())
            .env_remove("SEQUENCER_API_KEY")
            .env_remove("SSL_CERT_FILE")
            .envs(environment.iter().copied())
            .args([command, "--db", "log.db", "--anchors", "anchors.json"])
            .args(["--witness", url, "--format", "json", "--pull-rate", "10000"])
            .args(more)
            .output()
            .unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        (output.status.code().unwrap(), json, err)
    }

    fn lost(&self) -> usize {
        self.world.truth().lost_events()
    }
}

fn heard(report: &Value) -> &Value {
    let all = report["heard"].as_array().unwrap_or_else(|| panic!("{report}"));
    all.iter().find(|heard| heard["kind"] == "service").unwrap()
}

#[test]
fn a_service_brings_everything_back() {
    let case = Case::new(11);
    let double = Double::start(case.world.log(), Fault::None, None);
    let (code, summary, err) = case.run(
        "plan",
        &double.url(),
        &["--out", "plan", "--accept", "claimed"],
        &[],
    );
    assert_eq!(
        summary["totals"]["events"],
        Value::from(case.lost()),
        "{code} {err} {summary}"
    );
    assert_eq!(summary["totals"]["open"], Value::from(0), "{summary}");
    let applied = binary()
        .current_dir(case.folder.path())
        .args(["apply", "plan", "--db", "log.db"])
        .output()
        .unwrap();
    assert!(
        matches!(applied.status.code(), Some(0 | 1 | 5)),
        "{}",
        String::from_utf8_lossy(&applied.stderr)
    );
    // Byte for byte what it was, the signed rendering of each time too.
    let events = |name: &str| -> Vec<(String, String, i64)> {
        let db = rusqlite::Connection::open(case.path(name)).unwrap();
        let sql = "select event_id, created_at_str || hex(event_signing_hash) || hex(agent_signature), sequence_number \
                   from ves_events order by tenant_id, store_id, sequence_number";
        let mut statement = db.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| {
            let id: rusqlite::types::Value = row.get(0)?;
            Ok((format!("{id:?}"), row.get(1)?, row.get(2)?))
        });
        rows.unwrap().map(Result::unwrap).collect()
    };
    case.world.write_log(&case.path("whole.db")).unwrap();
    assert_eq!(events("log.db"), events("whole.db"));
}

/// The events of a snapshot, as far as a service can tell them: `base_version` 0 and none are the same to it.
fn rows(path: &Path) -> Vec<(String, i64, Option<Value>, i64)> {
    let db = rusqlite::Connection::open(path).unwrap();
    let sql = "select hex(event_id) || created_at_str || hex(event_signing_hash) || hex(agent_signature) \
                   || ifnull(hex(agent_signature_bundle), '-') || ifnull(hex(command_id), '-'), \
                   agent_signature_scheme, ifnull(payload_encrypted, payload), sequence_number \
               from ves_events order by tenant_id, store_id, sequence_number";
    let mut statement = db.prepare(sql).unwrap();
    let rows = statement.query_map([], |row| {
        let payload: Option<String> = row.get(2)?;
        let payload = payload.map(|text| serde_json::from_str(&text).unwrap());
        Ok((row.get(0)?, row.get(1)?, payload, row.get(3)?))
    });
    rows.unwrap().map(Result::unwrap).collect()
}

/// The log of a real sequencer, with every kind of event that it takes.
#[test]
fn encrypted_and_post_quantum_events_come_back_as_they_were() {
    let Some(server) = Server::start() else { return };
    let data = Data::golden();
    let golden = server.load("golden", &data.dir.join("log.copy.sql"));
    let whole = golden.snapshot(data.path("whole.db"));
    let lossy = whole.file_copy(data.path("log.db"));
    let lost = "agent_signature_scheme > 1 OR payload_kind = 1";
    lossy.execute(&format!(
        "DELETE FROM ves_sequencer_receipts WHERE event_id IN (SELECT event_id FROM ves_events WHERE {lost});
         DELETE FROM ves_events WHERE {lost}"
    ));
    let before = rows(&data.path("whole.db"));
    let missing = before.len() - rows(&data.path("log.db")).len();
    assert!(
        before.iter().filter(|row| row.1 == 3).count() >= 14 && missing > 570,
        "{missing}"
    );
    let double = Double::of_snapshot(&data.path("whole.db"));
    let (db, plan, url) = (lossy.arg(), text(&data.path("plan")), double.url());
    let anchors = text(&data.anchors);
    let witness = [
        "--anchors",
        &anchors,
        "--witness",
        &url,
        "--pull-rate",
        "10000",
        "--accept",
        "claimed",
    ];
    let planned = common::run(
        ["plan", "--db", &db, "--out", &plan, "--format", "json"]
            .into_iter()
            .chain(witness),
    );
    let summary: Value = serde_json::from_str(&planned.stdout).unwrap();
    assert_eq!(summary["totals"]["events"], missing, "{}", planned.stderr);
    let applied = common::run(["apply", &plan, "--db", &db]);
    assert!(matches!(applied.code, 0 | 1 | 5), "{}", applied.stderr);
    assert_eq!(rows(&data.path("log.db")), before);
}

/// Its counter and its rows need not agree: what the counter says is its head, what is given are its rows.
#[test]
fn a_service_whose_counter_and_rows_disagree_is_heard_and_told() {
    let case = Case::new(17);
    let log = case.world.log();
    let double = Double::start(log, Fault::LostTail(5), None);
    let (code, report, err) = case.run("audit", &double.url(), &[], &[]);
    assert_eq!(code & 8, 0, "{err}");
    assert_eq!(heard(&report)["rows"], 4 * log.streams.len() as u64, "{report}");
    let not_checked = report["not_checked"].to_string();
    assert!(
        not_checked.contains("up to its head that it does not give: 5-"),
        "{not_checked}"
    );
    // The numbers are the service's word all the same: no counter goes below them by itself.
    let double = Double::start(log, Fault::Behind(3), None);
    let (code, report, err) = case.run("audit", &double.url(), &[], &[]);
    assert_eq!(code & 8, 0, "{err}");
    assert_eq!(heard(&report)["rows"], log.event_count() as u64, "{err}");
    assert!(
        report["not_checked"].to_string().contains("its counter:"),
        "{report}"
    );
}

/// Whoever follows the next command asks the same service in the same way.
#[test]
fn the_next_command_asks_as_this_one_did() {
    let case = Case::new(18);
    let double = Double::start(case.world.log(), Fault::None, Some("s3cret"));
    std::fs::write(case.path("key"), "s3cret\n").unwrap();
    let more = [
        "--api-key-file",
        "key",
        "--allow-http",
        "--pull-folder",
        "pulled",
        "--pull-time",
        "90m",
    ];
    let (_, report, err) = case.run("audit", &double.url(), &more, &[]);
    let next = report["next"].to_string();
    for words in [
        "--api-key-file key",
        "--allow-http",
        "--pull-folder pulled",
        "--pull-rate 10000",
        "--pull-time 5400s",
    ] {
        assert!(next.contains(words), "{words}: {next} {err}");
    }
    assert!(!next.contains("s3cret"));
}

#[test]
fn what_was_pulled_is_not_asked_for_again() {
    let case = Case::new(12);
    let double = Double::start(case.world.log(), Fault::None, None);
    let more = ["--pull-folder", "pulled"];
    let (_, first, err) = case.run("audit", &double.url(), &more, &[]);
    let asked = double.asked();
    assert!(asked.iter().any(|(_, from)| *from == 1), "{asked:?} {err}");
    let (_, second, _) = case.run("audit", &double.url(), &more, &[]);
    let again = &double.asked()[asked.len()..];
    assert!(again.iter().all(|(_, from)| *from > 1), "{again:?}");
    assert!(!again.is_empty());
    for field in ["rows", "missing_held"] {
        assert_eq!(heard(&first)[field], heard(&second)[field], "{field}");
        assert_ne!(heard(&first)[field], 0, "{field}");
    }
    // What was asked for is said.
    let not_checked = second["not_checked"].to_string();
    assert!(not_checked.contains("a service lists none"), "{not_checked}");
}

#[test]
fn a_service_that_is_unsteady_is_heard_to_its_end() {
    let case = Case::new(13);
    // The real one counts requests by the minute: it is busy for longer than who does not answer is tried again.
    for fault in [Fault::Unsteady, Fault::Limited] {
        let double = Double::start(case.world.log(), fault, None);
        let (code, report, err) = case.run("audit", &double.url(), &[], &[]);
        assert_eq!(code & 8, 0, "{fault:?}: {err}");
        assert_eq!(heard(&report)["missing_held"], case.lost(), "{fault:?}");
    }
}

#[test]
fn holes_and_what_a_service_fails_at_are_told_and_the_rest_is_heard() {
    let case = Case::new(14);
    let streams = case.world.log().streams.len();
    for fault in [Fault::Hole(3), Fault::Unwell(3)] {
        let double = Double::start(case.world.log(), fault, None);
        let (code, report, err) = case.run("audit", &double.url(), &[], &[]);
        assert_eq!(code & 8, 0, "{fault:?}: {err}");
        assert_eq!(
            heard(&report)["rows"],
            (case.world.log().event_count() - streams) as u64,
            "{fault:?}"
        );
        let not_checked = report["not_checked"].to_string();
        assert!(
            not_checked.contains("1 number(s) up to its head that it does not give: 3"),
            "{fault:?}: {not_checked}"
        );
    }
}

#[test]
fn a_service_that_misbehaves_is_told_and_never_hangs() {
    let case = Case::new(15);
    for (fault, says) in [
        (Fault::OutOfOrder, "after number"),
        (Fault::Repeated, "after number 1"),
        (Fault::Elsewhere, "and gives number 5001"),
        (Fault::Endless, "does not give"),
        (Fault::Giant, "too large"),
        (Fault::Garbage, "Internal"),
        (Fault::Silent, "was not done within 2 s"),
        (Fault::Closed, "PermissionDenied"),
        (Fault::Unimplemented, "Unimplemented"),
    ] {
        let double = Double::start(case.world.log(), fault, None);
        let (code, report, err) = case.run("audit", &double.url(), &["--pull-time", "2s"], &[]);
        assert_eq!(code & 8, 8, "{fault:?}: {err}");
        assert!(err.contains(&double.url()), "{fault:?}: {err}");
        let told = heard(&report)["error"].as_str().unwrap().to_owned();
        // Whatever is slow may run out of time before it is told what else is wrong with it.
        let slow = matches!(fault, Fault::Giant | Fault::Garbage) && told.contains("was not done");
        assert!(told.contains(says) || slow, "{fault:?}: {told}");
        assert!(!err.contains('\u{1b}'), "{fault:?}: {err}");
    }
    // What is of another tenant is refused, event by event.
    let double = Double::start(case.world.log(), Fault::OtherTenant, None);
    let (_, report, err) = case.run("audit", &double.url(), &[], &[]);
    let heard = heard(&report);
    assert_eq!(heard["refused"], heard["rows"], "{err}");
    assert!(
        heard["refusals"].to_string().contains("another stream"),
        "{heard}"
    );
    // Nobody is there.
    let (code, _, err) = case.run("audit", "grpc://127.0.0.1:1", &["--pull-time", "2s"], &[]);
    assert_eq!(code & 8, 8, "{err}");
    assert!(err.contains("grpc://127.0.0.1:1"), "{err}");
}

#[test]
fn tls_and_the_api_key() {
    let case = Case::new(16);
    let double = Double::start(case.world.log(), Fault::None, Some("s3cret"));
    let authority = TestAuthority::with_certificate_for("localhost");
    let front = TlsFront::before(double.port, &authority);
    let url = format!("grpcs://localhost:{}", front.port());
    let (trusted, key) = (authority.file(), Path::new("s3cret"));
    let (code, report, err) = case.run(
        "audit",
        &url,
        &[],
        &[("SSL_CERT_FILE", &trusted), ("SEQUENCER_API_KEY", key)],
    );
    assert_eq!(code & 8, 0, "{err}");
    assert_eq!(heard(&report)["missing_held"], case.lost());

    // The key in a file, over a connection within this machine.
    std::fs::write(case.path("key"), "s3cret\n").unwrap();
    let (code, _, err) = case.run("audit", &double.url(), &["--api-key-file", "key"], &[]);
    assert_eq!(code & 8, 0, "{err}");

    let (code, _, err) = case.run(
        "audit",
        &double.url(),
        &[],
        &[("SEQUENCER_API_KEY", Path::new("wr0ng"))],
    );
    assert_eq!(code & 8, 8, "{err}");
    assert!(err.contains("Unauthenticated") && !err.contains("wr0ng"), "{err}");

    let stranger = TestAuthority::with_certificate_for("localhost");
    let (code, _, err) = case.run(
        "audit",
        &url,
        &["--pull-time", "5s"],
        &[("SSL_CERT_FILE", &stranger.file())],
    );
    assert_eq!(code & 8, 8, "{err}");

    // Never in the open to another machine.
    let (code, _, err) = case.run("audit", "grpc://192.0.2.1:1", &["--api-key-file", "key"], &[]);
    assert_eq!(code, 16, "{err}");
    assert!(err.contains("in the open") && !err.contains("s3cret"), "{err}");
    let (code, _, err) = case.run("audit", "grpc://me:s3cret@h:1", &[], &[]);
    assert_eq!(code, 16, "{err}");
    assert!(!err.contains("s3cret"), "{err}");
}
