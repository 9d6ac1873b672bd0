//! Two tools, one verdict: what `anchor-verify verify` calls wrong in a log, an audit calls wrong by the same code.

use crate::common;

use std::collections::BTreeSet;
use std::process::Command;

use common::{Data, Db, Server, run, text};
use serde_json::Value;

/// Columns of one event, each altered alone.
const EVENT: &[&str] = &[
    "created_at = '2031-01-01T00:00:00.000000Z'",
    "created_at_str = '2031-01-01T00:00:00.000Z'",
    "created_at_str = 'soon'",
    "sequenced_at = '2031-01-01T00:00:00.000000Z'",
    "entity_type = 'other'",
    "entity_id = 'other'",
    "event_type = 'other'",
    "payload = '{\"a\":1}'",
    "payload_plain_hash = zeroblob(32)",
    "payload_cipher_hash = x'0101010101010101010101010101010101010101010101010101010101010101'",
    "event_signing_hash = zeroblob(32)",
    "agent_signature = zeroblob(64)",
    "agent_key_id = 99",
    "source_agent_id = '00000000-0000-4000-8000-00000000beef'",
    "sequence_number = 100000",
    "tenant_id = 'none'",
];

/// Columns of its receipt.
const RECEIPT: &[&str] = &[
    "sequence_number = 7777",
    "sequenced_at = '2031-01-01T00:00:00.000000Z'",
    "receipt_hash = zeroblob(32)",
];

/// Columns of a commitment.
const COMMITMENT: &[&str] = &[
    "tree_depth = tree_depth + 1",
    "leaf_count = leaf_count + 1",
    "padded_leaf_count = padded_leaf_count * 2",
    "merkle_root = zeroblob(32)",
    "prev_state_root = zeroblob(32)",
    "new_state_root = zeroblob(32)",
    "sequence_start = sequence_start + 1",
    "sequence_end = sequence_end + 1",
    "committed_at = '2031-01-01T00:00:00.000000Z'",
    "chain_id = 1",
    "chain_tx_hash = zeroblob(32)",
    "chain_block_number = 7777777",
];

/// A commitment's name, which nothing binds: `verify` names it among what was not checked.
const NAME: &str = "batch_id = '00000000-0000-4000-8000-00000000beef'";

/// A whole log with its anchors.
struct Site {
    data: Data,
    whole: Db,
}

impl Site {
    fn load() -> Option<Self> {
        let data = Data::golden();
        let server = Server::start()?;
        let db = server.load("golden", &data.dir.join("log.copy.sql"));
        let whole = db.snapshot(data.path("golden.db"));
        Some(Self { data, whole })
    }

    /// What both tools say of the log after a change.
    fn told(&self, sql: &str) -> (BTreeSet<String>, BTreeSet<String>) {
        let path = self.data.path("altered.db");
        let altered = self.whole.file_copy(path);
        altered.execute(&format!("PRAGMA ignore_check_constraints = on; {sql}"));
        let (db, anchors) = (altered.arg(), text(&self.data.anchors));
        let common = ["--db", &db, "--anchors", &anchors, "--format", "json"];
        let audit = run(["audit"].iter().chain(&common).copied()).json();
        let verify = Command::new(common::anchor_verify())
            .arg("verify")
            .args(common)
            .output()
            .unwrap();
        let verify: Value = serde_json::from_slice(&verify.stdout).unwrap();
        let units = verify["units"].as_array().unwrap().iter();
        let failures = units.flat_map(|unit| unit["failures"].as_array().unwrap());
        let problems = verify["problems"].as_array().into_iter().flatten();
        let findings = audit["findings"].as_array().unwrap().iter();
        let code = |what: &Value| what["code"].as_str().unwrap().to_owned();
        (
            findings.map(code).collect(),
            failures.chain(problems).map(code).collect(),
        )
    }

    /// Makes each of the changes alone; says how many of them are told.
    fn alter(&self, table: &str, changes: &[&str], wher: &str) -> usize {
        let mut told = 0;
        for change in changes {
            let (audit, verify) = self.told(&format!("UPDATE {table} SET {change} WHERE {wher}"));
            // Numbers that were given out twice are what an operator makes of a root that is not the anchored one.
            let is_told = |code: &&String| {
                audit.contains(*code) || (*code == "anchor.root" && audit.contains("reissue"))
            };
            let untold: Vec<&String> = verify.iter().filter(|code| !is_told(code)).collect();
            assert!(untold.is_empty(), "{change}: {untold:?} is not in {audit:?}");
            told += usize::from(!verify.is_empty());
        }
        told
    }
}

#[test]
fn what_verify_calls_wrong_an_audit_calls_wrong() {
    let Some(site) = Site::load() else { return };
    let (audit, verify) = site.told("SELECT 1");
    assert_eq!((audit.len(), verify.len()), (0, 0), "{audit:?} {verify:?}");
    let event =
        "event_id = (SELECT event_id FROM ves_events WHERE payload_kind = 0 AND agent_signature_scheme = 0
        ORDER BY tenant_id, store_id, sequence_number LIMIT 1 OFFSET 7)";
    assert_eq!(site.alter("ves_events", EVENT, event), EVENT.len());
    // No reader of the sequencer's takes it, so no hash of it can be wrong.
    let deep = format!("payload = '{}{}'", "[".repeat(5_000), "]".repeat(5_000));
    assert_eq!(site.alter("ves_events", &[&deep], event), 1);
    assert_eq!(
        site.alter("ves_sequencer_receipts", RECEIPT, event),
        RECEIPT.len()
    );
    let commitment = "batch_id = (SELECT batch_id FROM ves_commitments
        ORDER BY tenant_id, store_id, sequence_start LIMIT 1 OFFSET 1)";
    assert_eq!(
        site.alter("ves_commitments", COMMITMENT, commitment),
        COMMITMENT.len()
    );
    assert_eq!(site.alter("ves_commitments", &[NAME], commitment), 0);
}
