//! Handing over, to a double of the sequencer over HTTP.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use common::agents::{agent, command, command_to, event, events, log, outbox, push, registry, sign, uuid};
use common::sequencer::{API_KEY, Fault, Sequencer};
use outbox_sync::Outbox;
use outbox_sync::push::{ApiKey, HttpTransport};
use rusqlite::Connection;
use serde_json::Value;
use test_support::{TestAuthority, TlsFront};
use ves::{Event, EventId, Hash32, SignatureBytes};

#[test]
fn everything_arrives_once_in_the_agents_order_with_receipts() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    let mine = events(1, 2500);
    // Each change of an entity is made on the version before: order counts.
    let mut mine: Vec<Event> = mine;
    let mut versions: BTreeMap<String, i64> = BTreeMap::new();
    for e in &mut mine {
        let version = versions.entry(e.entity_id.clone()).or_default();
        e.base_version = Some(*version);
        *version += 1;
    }
    outbox(&dir.path().join("a.db"), &mine);
    let untouched = common::fingerprint(dir.path());
    let (code, report, err) = push(dir.path(), &sequencer, &["a.db", "--dry-run"]);
    assert_eq!((code, err.as_str()), (0, ""), "{report}");
    assert_eq!(
        (&report["groups"][0]["events"], &report["groups"][0]["requests"]),
        (&Value::from(2500), &Value::from(3))
    );
    assert!(log(&sequencer).is_empty());
    assert_eq!(
        common::fingerprint(dir.path()),
        untouched,
        "a dry run writes nothing"
    );

    let (code, report, err) = push(dir.path(), &sequencer, &["a.db"]);
    // On a busy machine it may say that it waits.
    assert!(code == 0 && !err.contains("error"), "{report} {err}");
    assert_eq!(
        (&report["accepted"], &report["replayed"]),
        (&Value::from(2500), &Value::from(0))
    );
    assert_eq!(
        log(&sequencer),
        mine.iter().map(|e| e.event_id).collect::<Vec<_>>()
    );
    assert_eq!(sequencer.state.lock().unwrap().requests, [1000, 1000, 500]);
    let saved = outbox_sync::receipts::read_receipts(&dir.path().join("receipts.ndjson")).unwrap();
    assert_eq!((saved.receipts.len(), saved.errors.len()), (2500, 0));

    // Again: the saved receipts cover all. Without them the sequencer answers with its own.
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!(
        (code, &report["receipted_before"], &report["requests"]),
        (0, &Value::from(2500), &Value::from(0))
    );
    fs::remove_file(dir.path().join("receipts.ndjson")).unwrap();
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!(
        (code, &report["replayed"], &report["accepted"]),
        (0, &Value::from(2500), &Value::from(0))
    );
    assert_eq!(log(&sequencer).len(), 2500);

    // The receipts set the outbox right, without access to the log.
    let arguments = [
        "reconcile",
        "a.db",
        "--receipts",
        "receipts.ndjson",
        "--apply",
        "--sequencer-public-key",
    ];
    let key = sequencer.public_key();
    let (code, _, err) = common::run(dir.path(), &[&arguments[..], &[&key]].concat());
    assert_eq!(code, 1, "{err}");
    let outbox = Outbox::open(&dir.path().join("a.db")).unwrap();
    for (row, number) in common::rows(&outbox).into_iter().zip(1..) {
        assert_eq!(row.unwrap().claimed_sequence, Some(number));
    }
    assert_eq!(outbox.meta().outbox.synced, 2500);
    drop(outbox);
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!(
        (code, &report["receipted_before"]),
        (0, &Value::from(0)),
        "nothing is pending"
    );
}

#[test]
fn outages_and_lost_answers_are_waited_out() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 50));
    sequencer.state.lock().unwrap().faults.extend([
        Fault::Status(503, Some(1)),
        Fault::Before,
        Fault::Status(429, None),
        Fault::After,
    ]);
    let started = std::time::Instant::now();
    let (code, report, err) = push(dir.path(), &sequencer, &["a.db"]);
    assert!(code == 0 && !err.contains("error"), "{report} {err}");
    // The answer that was lost was that of the acceptance.
    assert_eq!(
        (&report["replayed"], &report["retries"]),
        (&Value::from(50), &Value::from(4))
    );
    assert!(
        started.elapsed() >= Duration::from_secs(1),
        "Retry-After is heard"
    );
    assert_eq!(log(&sequencer).len(), 50);

    // An outage that lasts ends the run; the next one goes on.
    outbox(&dir.path().join("b.db"), &events(2, 5));
    sequencer
        .state
        .lock()
        .unwrap()
        .faults
        .extend([Fault::Before, Fault::Before]);
    let (code, report, err) = push(dir.path(), &sequencer, &["b.db", "--attempts", "2"]);
    assert!(
        code == 12 && err.contains("given up after attempt 2"),
        "{code} {err}"
    );
    assert!(report["stopped"].is_string());
    sequencer
        .state
        .lock()
        .unwrap()
        .faults
        .extend([Fault::Garbage, Fault::Garbage]);
    let (code, report, err) = push(dir.path(), &sequencer, &["b.db", "--attempts", "2"]);
    assert!(code == 12 && err.contains("not one of an ingest"), "{code} {err}");
    assert_eq!(report["unanswered_count"], 5, "{report}");
    let (code, report, _) = push(
        dir.path(),
        &sequencer,
        &["b.db", "--rate", "1000", "--batch", "2"],
    );
    assert_eq!(
        (code, &report["accepted"], &report["requests"]),
        (0, &Value::from(5), &Value::from(3))
    );
}

#[test]
fn a_poisoned_event_is_found_and_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    let mut mine = events(1, 300);
    mine[17] = event(1, 17, "{\"s\":\"a\\u0000b\"}");
    mine[130] = event(1, 130, "{\"n\":130,\"odd\":true}");
    mine[299] = event(1, 299, &format!("{{\"s\":\"{}\"}}", "x".repeat((1 << 20) + 1)));
    sequencer
        .state
        .lock()
        .unwrap()
        .poisoned
        .insert(mine[130].event_id.to_string());
    outbox(&dir.path().join("a.db"), &mine);
    let (code, report, err) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!(code, 4, "{report} {err}");
    assert!(!err.contains("error"), "{err}");
    let aside: BTreeSet<String> = report["set_aside"]
        .as_array()
        .unwrap()
        .iter()
        .map(|n| n["event_id"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        aside,
        [17, 130, 299].map(|n: usize| mine[n].event_id.to_string()).into()
    );
    assert_eq!(report["accepted"], 297);
    // The others keep their order.
    let expected: Vec<EventId> = mine
        .iter()
        .map(|e| e.event_id)
        .filter(|id| !aside.contains(&id.to_string()))
        .collect();
    assert_eq!(log(&sequencer), expected);
}

#[test]
fn a_sequencer_that_fails_on_everything_is_not_taken_for_poisoned_events() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    sequencer.state.lock().unwrap().counter_behind = true;
    outbox(&dir.path().join("a.db"), &events(1, 40));
    let (code, report, err) = push(dir.path(), &sequencer, &["a.db"]);
    assert!(
        code == 12 && err.contains("its counter may be behind"),
        "{code} {err}"
    );
    assert!(report["set_aside_count"].as_u64().unwrap() <= 3);
    sequencer.state.lock().unwrap().counter_behind = false;
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!((code, &report["accepted"]), (0, &Value::from(40)));
}

#[test]
fn large_batches_stay_within_ten_mebibytes() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    let large: Vec<Event> = (0..30)
        .map(|n| event(1, n, &format!("{{\"s\":\"{}\"}}", "x".repeat(900_000))))
        .collect();
    outbox(&dir.path().join("a.db"), &large);
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!((code, &report["accepted"]), (0, &Value::from(30)));
    assert!(sequencer.state.lock().unwrap().requests.iter().all(|n| *n <= 11));
}

#[test]
fn rejections_are_reported_by_reason_with_advice() {
    let dir = tempfile::tempdir().unwrap();
    let mut keys = registry();
    let sequencer = {
        let (id, _, mut registered) = agent(1);
        registered.key_id = 2;
        registered.revoked_at = Some("2026-02-01T00:00:00Z".parse().unwrap());
        assert_eq!(registered.agent_id, id);
        keys.insert(registered);
        Sequencer::start(keys)
    };
    let key = agent(1).1;
    let mut mine = events(1, 9);
    mine[1].base_version = Some(5);
    mine[2].agent_signature = SignatureBytes([7; 64]);
    mine[3].payload_plain_hash = Hash32([1; 32]);
    sign(&mut mine[3], &key);
    mine[4].command_id = Some(uuid(77).into());
    mine[5].command_id = Some(uuid(77).into());
    // Signed before its key was revoked: judged at now it is refused all the same.
    mine[6].agent_key_id = 2;
    sign(&mut mine[6], &key);
    mine[7].agent_key_id = 9;
    mine[8] = event(1, 8, "{\"f\":1e16,\"n\":8}");
    sequencer
        .state
        .lock()
        .unwrap()
        .keep_command(mine[0].stream, &uuid(88).to_string());
    outbox(&dir.path().join("a.db"), &mine);
    let (code, report, err) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!((code, err.as_str()), (4, ""));
    let expected = serde_json::json!({
        "agent_key_invalid": 2, "duplicate_command_id": 1, "invalid_payload_hash": 1, "invalid_signature": 1,
        "version_conflict": 1
    });
    assert_eq!(report["rejected"], expected, "{report}");
    assert_eq!(report["accepted"], 3);
    assert_eq!(report["advice"].as_array().unwrap().len(), 5);

    // Sent again without the saved receipts, the float from 1e16 on is refused, though it is the same event; and so is
    // one whose receipt was lost.
    fs::remove_file(dir.path().join("receipts.ndjson")).unwrap();
    sequencer
        .state
        .lock()
        .unwrap()
        .lose_receipt(&mine[4].event_id.to_string());
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!(
        (code, &report["rejected"]["duplicate_event_id"]),
        (4, &Value::from(2)),
        "{report}"
    );
    assert_eq!(report["replayed"], 1);
    let advice = report["advice"].to_string();
    assert!(advice.contains("1e16"), "{advice}");
    assert_eq!(log(&sequencer).len(), 3);
}

#[test]
fn answers_that_do_not_hold_are_not_believed() {
    for (fault, field, count) in [
        // Each answer that names some is progress; the last event is never named.
        (Fault::Silent, "unanswered_count", 1),
        (Fault::Forged, "bad_receipts_count", 10),
        (Fault::Swapped, "bad_receipts_count", 2),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let sequencer = Sequencer::start(registry());
        outbox(&dir.path().join("a.db"), &events(1, 10));
        sequencer.state.lock().unwrap().faults = vec![fault.clone(); 8].into();
        let (code, report, err) = push(dir.path(), &sequencer, &["a.db", "--attempts", "1"]);
        assert_eq!(
            (code, &report[field]),
            (12, &Value::from(count)),
            "{fault:?} {report}"
        );
        assert!(err.contains("an answer is refused"), "{err}");
        // What was not believed is asked for again.
        sequencer.state.lock().unwrap().faults.clear();
        let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
        assert_eq!((code, &report["accepted"]), (0, &Value::from(0)), "{report}");
        assert_eq!(log(&sequencer).len(), 10);
    }
}

#[test]
fn receipts_that_were_restored_without_a_signature_are_answers() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 10));
    assert_eq!(push(dir.path(), &sequencer, &["a.db"]).0, 0);
    sequencer.state.lock().unwrap().unsign_receipts();
    // An agent that has lost its receipts, and one more event.
    fs::remove_file(dir.path().join("receipts.ndjson")).unwrap();
    outbox(&dir.path().join("b.db"), &events(1, 11));
    let (code, report, err) = push(dir.path(), &sequencer, &["b.db"]);
    assert_eq!(code, 0, "{report} {err}");
    assert_eq!(
        (&report["accepted"], &report["replayed"]),
        (&Value::from(1), &Value::from(10)),
        "{report}"
    );
    assert!(
        report["not_checked"].to_string().contains("10 receipts"),
        "{report}"
    );
    // What was saved is read again as what it is.
    let saved = outbox_sync::receipts::read_receipts(&dir.path().join("receipts.ndjson")).unwrap();
    let unsigned = saved
        .receipts
        .iter()
        .filter(|receipt| receipt.sequencer_signature.is_none());
    assert_eq!(
        (saved.receipts.len(), unsigned.count(), saved.errors.len()),
        (11, 10, 0)
    );
    assert_eq!(push(dir.path(), &sequencer, &["b.db"]).1["receipted_before"], 11);
}

#[test]
fn exports_of_several_agents_go_out_by_agent() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 20));
    outbox(&dir.path().join("b.db"), &events(2, 30));
    assert_eq!(
        common::run(dir.path(), &["export", "a.db", "b.db", "--out", "both.ndjson"]).0,
        0
    );
    let (code, report, _) = push(dir.path(), &sequencer, &["both.ndjson"]);
    assert_eq!((code, &report["accepted"]), (0, &Value::from(50)));
    assert_eq!(report["groups"].as_array().unwrap().len(), 2);

    let (code, _, err) = push(dir.path(), &sequencer, &["nothing.db"]);
    assert!(code == 8 && err.contains("nothing.db"), "{err}");
    let mut command = command(dir.path(), &sequencer, &["a.db", "--receipts", "other.ndjson"]);
    assert_eq!(command.output().unwrap().status.code(), Some(16), "named twice");
    let mut command = super_command(dir.path(), &sequencer);
    let output = command
        .env("SEQUENCER_API_KEY", "s3cret-and-wrong")
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.code() == Some(8) && text.contains("refuses the API key") && !text.contains("s3cret"),
        "{text}"
    );
}

fn super_command(folder: &Path, sequencer: &Sequencer) -> Command {
    outbox(
        &folder.join("c.db"),
        &events(1, 3)
            .into_iter()
            .map(|mut e| {
                e.entity_id = "new".into();
                e
            })
            .collect::<Vec<_>>(),
    );
    command(folder, sequencer, &["c.db"])
}

#[test]
fn killed_at_any_moment_and_run_again_each_event_is_there_once() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    let mine = events(1, 400);
    outbox(&dir.path().join("a.db"), &mine);
    sequencer.state.lock().unwrap().delay = Duration::from_millis(4);
    let mut killed = 0;
    for round in 0..40_u64 {
        let mut child = command(dir.path(), &sequencer, &["a.db", "--batch", "7"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(15 + round * 3));
        killed += u32::from(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        child.wait().unwrap();
        // As a kill in the middle of a write leaves it.
        if round % 5 == 0
            && let Ok(bytes) = fs::read(dir.path().join("receipts.ndjson"))
        {
            fs::write(
                dir.path().join("receipts.ndjson"),
                &bytes[..bytes.len().saturating_sub(30)],
            )
            .unwrap();
        }
        log(&sequencer);
    }
    assert!(killed > 5, "only {killed} runs were killed");
    let (code, report, err) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!((code, err.as_str()), (0, ""), "{report}");
    assert_eq!(
        log(&sequencer),
        mine.iter().map(|e| e.event_id).collect::<Vec<_>>()
    );
    let saved = outbox_sync::receipts::read_receipts(&dir.path().join("receipts.ndjson")).unwrap();
    let held: BTreeSet<EventId> = saved.receipts.iter().map(|r| r.event_id).collect();
    assert_eq!(held.len(), 400);
    assert!(Connection::open(dir.path().join("a.db")).is_ok());
}

#[test]
fn the_double_answers_as_the_real_one_did() {
    let shared = test_support::shared_data();
    let text = fs::read_to_string(shared.join("data/golden/http-exchanges.json")).unwrap();
    let exchanges: Vec<Value> = serde_json::from_str(&text).unwrap();
    let mut shapes = BTreeSet::new();
    for exchange in exchanges
        .iter()
        .filter(|e| e["path"] == "/api/v1/ves/events/ingest" && e["status"] == 200)
    {
        let fields: Vec<&String> = exchange["response"].as_object().unwrap().keys().collect();
        shapes.insert(format!("{fields:?}"));
    }
    let sequencer = Sequencer::start(registry());
    let dir = tempfile::tempdir().unwrap();
    outbox(&dir.path().join("a.db"), &events(1, 2));
    push(dir.path(), &sequencer, &["a.db"]);
    // Asked directly, once more: a replay.
    let e = event(1, 0, "{\"n\":0}");
    let wire = serde_json::to_value(outbox_sync::wire::WireEvent::new(&e).unwrap()).unwrap();
    let body = serde_json::json!({"agentId": e.source_agent_id.to_string(), "events": [wire]}).to_string();
    let transport = HttpTransport::new(&sequencer.url, Some(ApiKey::new(API_KEY).unwrap()));
    let answer = transport.ingest(body.as_bytes()).unwrap();
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(
        (&answer["eventsAccepted"], &answer["eventsRejected"]),
        (&Value::from(0), &Value::from(0))
    );
    assert_eq!(answer["receipts"].as_array().unwrap().len(), 1);
    let fields: Vec<&String> = answer.as_object().unwrap().keys().collect();
    assert!(shapes.contains(&format!("{fields:?}")), "{fields:?} {shapes:?}");
}

#[test]
fn stopped_by_the_user_it_says_where_things_stand() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 100));
    sequencer.state.lock().unwrap().delay = Duration::from_millis(50);
    let child = command(dir.path(), &sequencer, &["a.db", "--batch", "1"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while sequencer.state.lock().unwrap().log.len() < 3 {
        std::thread::sleep(Duration::from_millis(10));
    }
    let stopped = Command::new("kill")
        .args(["-TERM", &child.id().to_string()])
        .status()
        .unwrap();
    assert!(stopped.success());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(32));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(
        report["stopped"].as_str().unwrap().contains("read and not sent"),
        "{report}"
    );
    let there = log(&sequencer).len();
    assert!((3..100).contains(&there));
    // What was answered is saved; a second process may not write to the same file meanwhile.
    sequencer.state.lock().unwrap().delay = Duration::ZERO;
    let locked = fs::File::options()
        .append(true)
        .open(dir.path().join("receipts.ndjson"))
        .unwrap();
    locked.lock().unwrap();
    let output = command(dir.path(), &sequencer, &["a.db"]).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.code() == Some(8) && err.contains("another push is writing"),
        "{err}"
    );
    drop(locked);
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!(code, 0, "{report}");
    assert_eq!(log(&sequencer).len(), 100);
}

#[test]
fn keys_that_an_outbox_fetched_of_its_peers_are_used_and_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.db");
    outbox(&path, &[event(1, 1, "{}"), event(2, 2, "{}")]);
    let connection = Connection::open(&path).unwrap();
    connection
        .execute_batch(&format!(
            "CREATE TABLE IF NOT EXISTS _ves_peer_keys (agent_id TEXT NOT NULL, key_id INTEGER NOT NULL, algorithm TEXT NOT \
             NULL, public_key TEXT NOT NULL, public_key_bundle TEXT, valid_from TEXT, valid_to TEXT, revoked_at TEXT, \
             fetched_at TEXT NOT NULL, PRIMARY KEY (agent_id, key_id)); \
             INSERT INTO _ves_peer_keys (agent_id, key_id, algorithm, public_key, fetched_at) VALUES \
             ('{}', 1, 'ed25519', '0x{}', ''), ('x', 1, 'ed25519', '', ''); \
             INSERT OR REPLACE INTO _ves_sync_state (key, value) VALUES ('tenant_id', '{}')",
            agent(2).0,
            agent(2).2.public_key,
            uuid(1)
        ))
        .unwrap();
    drop(connection);
    let (code, out, _) = common::run(dir.path(), &["--format", "json", "verify", "--all", "a.db"]);
    let report: Value = serde_json::from_str(&out).unwrap();
    let verdicts: Vec<&Value> = report["rows"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["verdict"])
        .collect();
    assert_eq!(
        (code, verdicts),
        (4, vec![&Value::from("not_checked"), &Value::from("holds")])
    );
    assert_eq!(report["rows"][1]["key_from"], "peer_keys");
    assert!(
        report["key_flaws"][0].as_str().unwrap().contains("agent_id"),
        "{report}"
    );

    // A key file counts before what a peer says, and the contradiction is reported.
    let key = |by: u8, public: Hash32| serde_json::json!({"tenantId": uuid(1), "agentId": agent(by).0, "keyId": 1, "publicKey": public});
    let file = serde_json::json!([key(1, agent(1).2.public_key), key(2, agent(1).2.public_key)]);
    fs::write(dir.path().join("keys.json"), file.to_string()).unwrap();
    let (code, out, _) = common::run(
        dir.path(),
        &[
            "--format",
            "json",
            "verify",
            "--all",
            "a.db",
            "--keys",
            "keys.json",
        ],
    );
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (code, &report["rows"][0]["verdict"], &report["rows"][1]["verdict"]),
        (4, &"holds".into(), &"fails".into())
    );
    assert_eq!(report["rows"][0]["key_from"], "file");
    assert!(
        report["key_flaws"].to_string().contains("the first counts"),
        "{report}"
    );
}

#[test]
fn over_tls_only_to_a_server_whose_certificate_holds() {
    let sequencer = Sequencer::start(registry());
    let port = sequencer.url.rsplit_once(':').unwrap().1.parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    outbox(&dir.path().join("agent.db"), &events(1, 3));
    let authority = TestAuthority::with_certificate_for("127.0.0.1");
    let front = TlsFront::before(port, &authority);
    let push = |trusted: &TestAuthority, front: &TlsFront| {
        let url = format!("https://127.0.0.1:{}", front.port());
        let mut command = command_to(&url, dir.path(), &sequencer, &["agent.db", "--attempts", "1"]);
        let output = command.env("SSL_CERT_FILE", trusted.file()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    };

    // An authority that is not trusted, and a certificate for another name: nothing is sent.
    let stranger = TestAuthority::with_certificate_for("127.0.0.1");
    let misnamed = TestAuthority::with_certificate_for("sequencer.example");
    let wrong_name = TlsFront::before(port, &misnamed);
    for (trusted, front) in [(&stranger, &front), (&misnamed, &wrong_name)] {
        let (code, out, err) = push(trusted, front);
        assert_eq!(code, 8, "{out} {err}");
        assert!(err.contains("certificate"), "{err}");
        assert!(!err.contains(API_KEY) && !out.contains(API_KEY));
    }
    assert!(sequencer.state.lock().unwrap().requests.is_empty());

    let (code, out, err) = push(&authority, &front);
    assert_eq!(code, 0, "{out} {err}");
    assert_eq!(sequencer.state.lock().unwrap().log.len(), 3);
}
