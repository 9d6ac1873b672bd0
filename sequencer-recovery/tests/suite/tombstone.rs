//! Lost positions are filled with signed events that say so: the log can be read and committed across them again, and
//! nothing pretends that the loss did not happen.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::writer::Writer;
use common::{
    ALPHA_STORE, Data, Db, Dump, ECHO_STORE, Section, Server, apply, args, assert_same, get, plan, read_plan,
    run, text,
};
use sequencer_recovery::plan::planned::PlannedOpen;
use sequencer_recovery::plan::tombstone::TombstonePayload;
use sequencer_recovery::stream::tombstone_event;
use serde_json::Value;
use ves::{Payload, StreamKey};

const AGENT: &str = "00000000-0000-4000-8000-0000000000aa";

/// A dump without the times at which rows were written.
fn contents(db: &Db) -> Dump {
    let mut dump = db.dump();
    for rows in dump.0.values_mut() {
        rows.iter_mut().for_each(|row| drop(row.remove("updated_at")));
        rows.sort();
    }
    dump
}

/// The recovered log of scenario 1, and a recovery key in a file.
struct Stage {
    data: Data,
    server: Server,
    recovered: Db,
    snapshot: Db,
    seed: PathBuf,
}

impl Stage {
    fn set() -> Option<Self> {
        let data = Data::scenario();
        let server = Server::start()?;
        let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
        let snapshot = recovered.snapshot(data.path("recovered.db"));
        let seed = data.path("recovery.seed");
        fs::write(&seed, "07".repeat(32)).unwrap();
        Some(Self {
            data,
            server,
            recovered,
            snapshot,
            seed,
        })
    }

    fn args(&self, more: &[&str]) -> Vec<String> {
        let mut all = self.data.witnesses();
        let fill = [
            "--accept",
            "claimed",
            "--fill-losses",
            "tombstone",
            "--recovery-key",
        ];
        all.extend(fill.map(str::to_owned));
        all.push(text(&self.seed));
        all.extend(more.iter().map(|arg| (*arg).to_owned()));
        all
    }

    /// Plans with the key registered by the plan itself.
    fn plan(&self, db: &Db, name: &str, more: &[&str]) -> (Value, BTreeMap<String, Section>) {
        let path = self.data.path(name);
        let register = ["--recovery-agent", AGENT, "--register-recovery-key"];
        let ran = plan(db, &path, &self.args(&[&register, more].concat()));
        assert_eq!(ran.code & !4, 0, "{}", ran.stderr);
        (ran.json(), read_plan(&path))
    }

    fn audit(&self, db: &Db) -> Value {
        run(args(
            ["audit", "--format", "json", "--db", &db.arg()],
            &self.data.witnesses(),
        ))
        .json()
    }

    fn stream(&self, store: &str) -> StreamKey {
        let truth = self.data.truth();
        let tenant = truth.stream(store)["tenant_id"].as_str().unwrap();
        StreamKey::new(tenant.parse().unwrap(), store.parse().unwrap())
    }
}

fn positions(ranges: &[PlannedOpen], filled: bool) -> BTreeSet<u64> {
    ranges
        .iter()
        .filter(|open| open.filled == filled)
        .flat_map(PlannedOpen::range)
        .collect()
}

fn payload_of(section: &Section, position: u64) -> TombstonePayload {
    let tombstone = section
        .tombstones
        .iter()
        .find(|t| t.sequence == position)
        .unwrap();
    let Payload::Plain(json) = &tombstone.event.payload else {
        panic!()
    };
    serde_json::from_str(json).unwrap()
}

fn findings<'a>(audit: &'a Value, code: &str, store: &str) -> Vec<&'a Value> {
    let all = audit["findings"].as_array().unwrap().iter();
    all.filter(|f| f["code"] == code && f["store_id"] == store)
        .collect()
}

#[test]
fn lost_positions_are_filled_with_events_that_say_so() {
    let Some(stage) = Stage::set() else { return };
    let (summary, sections) = stage.plan(&stage.recovered, "plan", &[]);
    // Foxtrot's outbox is gone. 157-160 are in an anchored batch: those stay open.
    let echo = &sections[ECHO_STORE];
    let filled: BTreeSet<u64> = (161..=165).chain(168..=171).chain(174..=177).collect();
    assert_eq!(positions(&echo.open, true), filled);
    assert_eq!(positions(&echo.open, false), (157..=160).collect());
    assert_eq!(echo.header.open_positions, 4);
    let numbers: Vec<u64> = echo.tombstones.iter().map(|t| t.sequence).collect();
    assert!(numbers.iter().eq(&filled));
    // 220 and 221 of another stream are lost too; what is contested there stays open.
    let alpha = &sections[ALPHA_STORE];
    assert_eq!(positions(&alpha.open, true), BTreeSet::from([220, 221]));
    assert_eq!(alpha.header.open_positions, 17);
    assert_eq!(
        (&summary["totals"]["tombstones"], &summary["totals"]["open"]),
        (&15.into(), &30.into())
    );
    for section in sections.values() {
        for tombstone in &section.tombstones {
            let event = &tombstone.event;
            assert!(tombstone_event::is_tombstone(event, tombstone.sequence));
            assert!(!tombstone_event::is_tombstone(event, tombstone.sequence + 1));
            assert_eq!(event.created_at, tombstone.sequenced_at.to_string());
            assert_eq!(event.source_agent_id.to_string(), AGENT);
            let payload = payload_of(section, tombstone.sequence);
            assert_eq!(
                (payload.position, payload.batch),
                (tombstone.sequence.to_string(), None)
            );
        }
    }

    // Planned again it is the same, to the last byte of every signature.
    let (_, again) = stage.plan(&stage.recovered, "again", &[]);
    for (store, section) in &sections {
        assert_eq!(section.tombstones, again[store].tombstones);
    }

    // The certificate lists what is lost, filled or not, and every tombstone names it.
    let (out, markdown) = (stage.data.path("loss.json"), stage.data.path("loss.md"));
    let path = text(&stage.data.path("plan"));
    run([
        "certify",
        &path,
        "--out",
        &text(&out),
        "--markdown",
        &text(&markdown),
    ])
    .expect(4);
    let certificate: Value = serde_json::from_slice(&fs::read(&out).unwrap()).unwrap();
    let certificate = &certificate["certificate"];
    assert_eq!(
        (
            &certificate["lost"],
            &certificate["undecided"],
            &certificate["filled"]
        ),
        (&19.into(), &26.into(), &15.into())
    );
    for stream in certificate["streams"].as_array().unwrap() {
        let section = &sections[stream["store_id"].as_str().unwrap()];
        for tombstone in &section.tombstones {
            let payload = payload_of(section, tombstone.sequence);
            assert_eq!(stream["loss_hash"], payload.loss_hash.to_string());
        }
    }
    assert!(
        fs::read_to_string(&markdown)
            .unwrap()
            .contains("| 161-165 | lost, tombstone | none |")
    );

    for (name, db) in [
        ("postgres", stage.server.copy("filled", &stage.recovered)),
        ("snapshot", stage.snapshot.file_copy(stage.data.path("filled.db"))),
    ] {
        let before = contents(&db);
        let bundle = stage.data.path(&format!("{name}.undo"));
        let applied = apply(&db, Path::new(&path), &["--undo", &text(&bundle)])
            .expect(5)
            .json();
        let streams = applied["streams"].as_array().unwrap();
        let sum = |what: &str| -> u64 { streams.iter().map(|s| s[what].as_u64().unwrap()).sum() };
        assert_eq!((sum("tombstones"), sum("events"), sum("keys")), (15, 289, 2));
        assert_eq!(sum("receipts"), 15 + 289);
        let after = db.dump();
        assert!(filled.is_subset(&after.numbers(ECHO_STORE)));
        // Times keep the order of numbers.
        let mut rows = after.of_store("ves_events", ECHO_STORE);
        rows.sort_by_key(|row| get(row, "sequence_number").parse::<u64>().unwrap());
        let of_tombstones = rows.windows(2).filter(|w| {
            w.iter()
                .any(|row| get(row, "event_type") == tombstone_event::EVENT_TYPE)
        });
        for pair in of_tombstones {
            assert!(
                get(pair[0], "sequenced_at") <= get(pair[1], "sequenced_at"),
                "{pair:?}"
            );
        }
        // No gap any more, and told.
        let audit = stage.audit(&db);
        let gaps: Vec<_> = findings(&audit, "gap.interior", ECHO_STORE)
            .iter()
            .map(|f| (&f["from"], &f["to"]))
            .collect();
        assert_eq!(gaps, [(&157.into(), &160.into())]);
        let [told] = findings(&audit, "event.tombstone", ECHO_STORE)[..] else {
            panic!()
        };
        assert_eq!(
            (&told["count"], &told["severity"]),
            (&13.into(), &"notice".into())
        );
        assert!(
            told["message"]
                .as_str()
                .unwrap()
                .contains("161-165, 168-171, 174-177"),
            "{told}"
        );
        for code in [
            "event.key",
            "event.signature",
            "event.payload_hash",
            "receipt.missing",
            "version.drift",
        ] {
            assert!(findings(&audit, code, ECHO_STORE).is_empty(), "{code}");
        }
        apply(&db, Path::new(&path), &[]).expect(4);
        assert_same(&after, &db.dump());
        run(["undo", &text(&bundle), "--db", &db.arg()]).expect(1);
        assert_same(&before, &contents(&db));
    }
}

#[test]
fn the_sequencer_reads_and_commits_across_what_is_filled_and_an_anchored_root_takes_a_word_of_its_own() {
    let Some(stage) = Stage::set() else { return };
    let db = stage.server.copy("across", &stage.recovered);
    let (_, sections) = stage.plan(
        &db,
        "whole",
        &["--root-will-not-match", "--fill-undecided", "--store", ECHO_STORE],
    );
    let section = &sections[ECHO_STORE];
    assert_eq!(section.header.open_positions, 0);
    assert_eq!(section.tombstones.len(), 17);
    let batch = payload_of(section, 157).batch.unwrap();
    assert!(batch.anchored && batch.batch_id.to_string().starts_with("c1811184"));
    // Nothing stays open, so nothing is left to do.
    apply(&db, &stage.data.path("whole"), &[]).expect(1);
    let stream = stage.stream(ECHO_STORE);
    let mut writer = Writer::connect(&db.arg(), 1);
    assert_eq!(writer.append(&stream).unwrap(), 191);
    // The last commitment that came back ends at 128; the next takes in the tombstones.
    writer.commit_batch(&stream, 191);
    let audit = stage.audit(&db);
    let of_stream = |code: &str| findings(&audit, code, ECHO_STORE);
    assert!(of_stream("gap.interior").is_empty() && of_stream("gap.tail").is_empty());
    assert!(of_stream("commitment.root").is_empty() && of_stream("commitment.state_root").is_empty());
    // What was anchored for 129-160 is not what stands there now, and that stays a problem.
    let [reissue] = of_stream("reissue")[..] else {
        panic!("{audit}")
    };
    assert_eq!(
        (&reissue["from"], &reissue["severity"]),
        (&129.into(), &"problem".into())
    );

    // For an auditor a tombstone is an event like any other.
    let verify = |anchors: bool| {
        let mut command = Command::new(common::anchor_verify());
        command.args([
            "verify",
            "--db",
            &db.arg(),
            "--stream",
            &stream.to_string(),
            "--format",
            "json",
        ]);
        if anchors {
            command.args(["--anchors", &text(&stage.data.anchors)]);
        }
        let output = command.output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)));
        report
    };
    let report = verify(false).to_string();
    assert!(
        report.contains("MATCHES DATABASE") && !report.contains("FAILED"),
        "{report}"
    );
    assert!(verify(true).to_string().contains("FAILED"));
}

#[test]
fn a_recovery_key_must_be_the_agents_registered_one_and_valid() {
    let Some(stage) = Stage::set() else { return };
    let out = text(&stage.data.path("never.plan"));
    let refused = |db: &Db, more: &[&str], words: &[&str]| {
        let ran = run(args(
            ["plan", "--db", &db.arg(), "--out", &out],
            &stage.args(more),
        ));
        assert_eq!(ran.code, 8, "{}", ran.stderr);
        assert!(!Path::new(&out).exists() && !ran.stderr.contains(&"07".repeat(32)));
        ran.says(words).says(&["hint"]);
    };
    refused(&stage.snapshot, &[], &["not registered for this tenant"]);
    refused(
        &stage.snapshot,
        &["--recovery-agent", AGENT],
        &["not registered for this tenant"],
    );
    let db = stage.snapshot.file_copy(stage.data.path("keys.db"));
    let public = ves::Hash32(
        ed25519_dalek::SigningKey::from_bytes(&[7; 32])
            .verifying_key()
            .to_bytes(),
    );
    let register = |agent: &str, key: u32, rest: &str| {
        db.execute(&format!(
            "INSERT INTO agent_signing_keys \
             (tenant_id, agent_id, key_id, public_key, status, created_at, key_algorithm, valid_from, revoked_at) \
             SELECT DISTINCT tenant_id, '{agent}', {key}, x'{public}', 'active', '2026-01-01T00:00:00.000000Z', 1, {rest} \
             FROM ves_sequence_counters"
        ));
    };
    register(AGENT, 3, "'2099-01-01T00:00:00.000000Z', NULL");
    refused(&db, &[], &["cannot sign for", "valid from 2099"]);
    db.execute("UPDATE agent_signing_keys SET valid_from = NULL WHERE key_id = 3");
    register("00000000-0000-4000-8000-0000000000bb", 1, "NULL, NULL");
    refused(&db, &[], &["is the key of 2 agents", "--recovery-agent"]);
    let path = stage.data.path("registered.plan");
    plan(&db, &path, &stage.args(&["--recovery-agent", AGENT])).expect(4);
    let sections = read_plan(&path);
    assert!(sections.values().all(|section| section.keys.is_empty()));
    let tombstones: Vec<_> = sections
        .values()
        .flat_map(|section| &section.tombstones)
        .collect();
    assert_eq!(tombstones.len(), 15);
    assert!(tombstones.iter().all(|t| t.event.agent_key_id == 3));
    // Revoked between plan and apply: what was signed before is as it was, and the sequencer's own rule for events of
    // the past holds. Removed, nothing is written.
    let gone = db.file_copy(stage.data.path("gone.db"));
    gone.execute("DELETE FROM agent_signing_keys WHERE key_id = 3");
    let ran = apply(&gone, &path, &[]);
    assert_eq!(ran.code & 8, 8);
    ran.says(&["is not registered"]);
    db.execute("UPDATE agent_signing_keys SET status = 'revoked', revoked_at = '2026-11-20T06:00:00.000000Z' WHERE key_id = 3");
    refused(&db, &["--recovery-agent", AGENT], &["revoked"]);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for more in [
        vec!["--fill-losses", "tombstone"],
        vec!["--recovery-key", "seed"],
        vec!["--fill-undecided"],
        vec!["--root-will-not-match"],
        vec!["--fill-losses", "nothing", "--recovery-key", "seed"],
        vec![
            "--fill-losses",
            "tombstone",
            "--recovery-key",
            "seed",
            "--register-recovery-key",
        ],
    ] {
        let mut all = vec!["plan", "--db", "log.db", "--out", "plan"];
        all.extend(more);
        assert_eq!(run(all).code, 16);
    }
}
