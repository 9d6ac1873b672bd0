//! Outboxes that real agents left behind, row by row against what is known of them.

use crate::common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use outbox_sync::check::CheckVerdict;
use outbox_sync::{
    Content, Origin, Outbox, OutboxErrorKind, OutboxStatus, Purpose, RenderingSearch, Shape, check,
    expand_inputs,
};
use serde_json::Value;
use ves::{AgentId, EventCheck, Hash32, KeyRegistry, SignatureCheck, SigningKey, TenantId, Timestamp};

/// What truth.json says of a row: status, claim, signing hash, whether the signature and the payload hold.
#[derive(Debug, PartialEq, Eq)]
struct Expected {
    status: String,
    local_seq: Option<i64>,
    claimed_sequence: Option<u64>,
    signing_hash: String,
    sig_ok: bool,
    payload_ok: Option<bool>,
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn registry(keys: &Value) -> KeyRegistry {
    let mut registry = KeyRegistry::default();
    for agent in keys["agents"].as_array().unwrap() {
        for key in agent["signing_keys"].as_array().unwrap() {
            registry.insert(SigningKey {
                tenant_id: agent["tenant_id"].as_str().unwrap().parse::<TenantId>().unwrap(),
                agent_id: agent["agent_id"].as_str().unwrap().parse::<AgentId>().unwrap(),
                key_id: u32::try_from(key["keyId"].as_u64().unwrap()).unwrap(),
                public_key: key["public_hex"].as_str().unwrap().parse::<Hash32>().unwrap(),
                status: "active".into(),
                valid_from: None,
                valid_to: None,
                revoked_at: None,
                key_algorithm: 1,
                public_key_bundle: None,
            });
        }
    }
    registry
}

fn truth(truth: &Value) -> BTreeMap<(String, String, String), Expected> {
    let mut expected = BTreeMap::new();
    for (event_id, event) in truth["events"].as_object().unwrap() {
        for held in event["held_by"].as_array().unwrap() {
            let text = |name: &str| held[name].as_str().unwrap().to_owned();
            expected.insert(
                (text("outbox"), text("table"), event_id.clone()),
                Expected {
                    status: text("status"),
                    local_seq: held["local_seq"].as_i64(),
                    claimed_sequence: held["claimed_sequence"].as_u64(),
                    signing_hash: text("signing_hash"),
                    sig_ok: held["sig_ok"].as_bool().unwrap(),
                    payload_ok: held["payload_ok"].as_bool(),
                },
            );
        }
    }
    expected
}

#[test]
fn every_row_is_what_the_truth_says() {
    let shared = test_support::shared_data();
    let data = shared.join("data/scenario-1");
    let dir = tempfile::tempdir().unwrap();
    common::copy_folder(&data.join("outboxes"), dir.path());
    let before = common::fingerprint(dir.path());

    let truth_json = json(&data.join("truth.json"));
    let keys = registry(&json(&data.join("keys.json")));
    let mut expected = truth(&truth_json);
    let mut legacy: BTreeMap<String, u64> = truth_json["legacy_rows_in_outboxes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            (
                row["event_id"].as_str().unwrap().to_owned(),
                row["claimed_sequence"].as_u64().unwrap(),
            )
        })
        .collect();
    let at: Timestamp = "2026-11-20T06:00:00Z".parse().unwrap();

    let folder = dir.path().to_str().unwrap();
    let paths = expand_inputs(&[folder], &[], Purpose::Read).unwrap().files;
    assert_eq!(paths.len(), 7);
    let mut shapes = BTreeMap::new();
    let mut encrypted = 0;
    for path in paths {
        let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let outbox = Outbox::open(&path).unwrap();
        shapes.insert(name.clone(), outbox.meta().shape);
        let mut counted = 0;
        for row in common::rows(&outbox) {
            let row = row.unwrap();
            assert_eq!(row.flaw, None, "{}", row.place);
            let (table, status, local_seq) = match row.origin {
                Origin::Outbox { local_seq, status } => {
                    counted += 1;
                    ("outbox", serde_json::to_value(status).unwrap(), Some(local_seq))
                }
                Origin::Pulled => ("pulled", "pulled".into(), None),
                Origin::Quarantined => panic!("no row is quarantined"),
            };
            assert_eq!(row.sequenced_at.is_some(), table == "pulled");
            let event_id = row.event_id.to_string();
            let Some(expected) = expected.remove(&(name.clone(), table.into(), event_id.clone())) else {
                // Rows of the older log: known by their id, never content.
                assert_eq!(legacy.remove(&event_id), row.claimed_sequence, "{}", row.place);
                assert!(matches!(row.content, Content::Unsigned { .. }), "{}", row.place);
                continue;
            };
            assert_eq!(status, expected.status.as_str());
            assert_eq!(local_seq, expected.local_seq);
            assert_eq!(row.claimed_sequence, expected.claimed_sequence);
            match &row.content {
                Content::Signed(event) => {
                    let check = check(event, &keys, at);
                    assert_eq!(
                        check.signing_hash.to_string(),
                        expected.signing_hash,
                        "{}",
                        row.place
                    );
                    assert_eq!(
                        check.signature == SignatureCheck::Valid,
                        expected.sig_ok,
                        "{}",
                        row.place
                    );
                    // The truth leaves encrypted payloads open (None). There are two, neither of them ever sequenced:
                    // the engine that made them has a rule of its own for the ciphertext's hash.
                    let payload_ok = check.payload == EventCheck::Matches;
                    assert_eq!(payload_ok, expected.payload_ok.unwrap_or(false), "{}", row.place);
                    encrypted += usize::from(expected.payload_ok.is_none());
                    let holds = payload_ok && expected.sig_ok;
                    assert_eq!(
                        check.verdict(),
                        if holds {
                            CheckVerdict::Holds
                        } else {
                            CheckVerdict::Fails
                        }
                    );
                }
                Content::Unsigned { .. } => assert!(!expected.sig_ok, "{}", row.place),
                other => panic!("{}: {other:?}", row.place),
            }
        }
        assert_eq!(counted, outbox.meta().outbox.total());
    }
    assert_eq!(encrypted, 2);
    assert_eq!(
        (expected.len(), legacy.len()),
        (0, 0),
        "rows that were not read: {expected:?}"
    );
    let variant = |name| shapes[name];
    assert_eq!(
        (variant("alpha"), variant("bravo"), variant("echo")),
        (Shape::V3, Shape::V2, Shape::V1)
    );
    assert_eq!(common::fingerprint(dir.path()), before);
}

#[test]
fn what_an_outbox_says_about_itself() {
    let shared = test_support::shared_data();
    let dir = tempfile::tempdir().unwrap();
    common::copy_folder(&shared.join("data/scenario-1/outboxes"), dir.path());
    let outbox = Outbox::open(&dir.path().join("delta.db")).unwrap();
    let meta = outbox.meta();
    // 33 of these rows are in the WAL alone.
    assert_eq!(
        (meta.outbox.synced, meta.outbox.failed, meta.outbox.total()),
        (89, 2, 91)
    );
    assert_eq!(
        meta.agent_id.unwrap().to_string(),
        "12f6fd76-f61b-497b-8b0d-4d74e5df99aa"
    );
    assert_eq!(
        (meta.last_pushed_sequence, meta.head_sequence),
        (Some(203), Some(203))
    );
    assert!(meta.flaws.is_empty() && meta.not_checked.is_empty());
}

#[test]
fn what_older_outboxes_signed_is_found_again() {
    let shared = test_support::shared_data();
    let data = shared.join("data/scenario-1");
    let dir = tempfile::tempdir().unwrap();
    common::copy_folder(&data.join("older-outboxes"), dir.path());
    let before = common::fingerprint(dir.path());
    let truth = json(&data.join("truth.json"));
    let keys = registry(&json(&data.join("keys.json")));
    let at: Timestamp = "2026-11-20T06:00:00Z".parse().unwrap();

    let outbox = Outbox::open(&dir.path().join("foxtrot-ves.db")).unwrap();
    assert_eq!(outbox.meta().shape, Shape::Older);
    assert_eq!(
        (outbox.meta().outbox.synced, outbox.meta().outbox.pending),
        (16, 8)
    );
    let mut search = RenderingSearch::new(&keys);
    let mut in_truth = 0;
    for row in common::rows(&outbox) {
        let mut row = row.unwrap();
        assert!(matches!(row.content, Content::Rerendered(_)));
        assert!(search.resolve(&mut row), "{}", row.place);
        let event = row.content.event().unwrap();
        let check = check(event, &keys, at);
        assert_eq!(check.verdict(), CheckVerdict::Holds);
        if let Some(known) = truth["events"].get(row.event_id.to_string()) {
            assert_eq!(
                check.signing_hash.to_string(),
                known["signing_hash"].as_str().unwrap()
            );
            in_truth += 1;
        }
    }
    assert_eq!((search.found(), search.not_found()), (24, 0));
    assert!(in_truth >= 16, "{in_truth}");

    // A tampered one is found under no rendering, and without the key nothing is.
    let mut row = common::rows(&outbox).remove(0).unwrap();
    let Content::Rerendered(event) = &mut row.content else {
        panic!()
    };
    event.entity_id.push('x');
    assert!(!search.resolve(&mut row));
    let none = KeyRegistry::default();
    assert!(!RenderingSearch::new(&none).resolve(&mut row));
    assert!(matches!(row.content, Content::Rerendered(_)));

    // Rows of the older log: pointers into another sequence of numbers.
    let outbox = Outbox::open(&dir.path().join("legacy-agent.db")).unwrap();
    let rows = common::rows(&outbox);
    assert_eq!(rows.len(), 40);
    for row in rows {
        let row = row.unwrap();
        assert!(matches!(row.content, Content::Unsigned { .. }));
        assert_eq!(row.claimed_sequence, None);
        assert_eq!(
            row.older_log_sequence,
            (row.place.row <= 31).then(|| row.place.row.unsigned_abs())
        );
    }
    assert_eq!(common::fingerprint(dir.path()), before);
}

#[test]
fn tampered_rows_do_not_verify() {
    let shared = test_support::shared_data();
    let data = shared.join("data/scenario-1");
    let keys = registry(&json(&data.join("keys.json")));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("charlie.db");
    fs::copy(data.join("outboxes/charlie.db"), &path).unwrap();
    let connection = rusqlite::Connection::open(&path).unwrap();
    let changes = [
        "payload = '{\"forged\":true}'",
        "entity_id = entity_id || 'x'",
        "created_at = replace(created_at, '2026', '2027')",
        "agent_signature = '0x' || substr(agent_signature, 5) || 'ff'",
        "tenant_id = '00000000-0000-0000-0000-000000000001'",
    ];
    let rows = common::rows(&Outbox::open(&path).unwrap());
    let plain = |row: &&Result<outbox_sync::HeldRow, _>| {
        let event = row.as_ref().unwrap().content.event().unwrap();
        matches!(event.payload, ves::Payload::Plain(_))
    };
    let tampered: Vec<i64> = rows
        .iter()
        .filter(plain)
        .map(|row| row.as_ref().unwrap().place.row)
        .take(changes.len())
        .collect();
    for (change, row) in changes.iter().zip(&tampered) {
        let sql = format!("UPDATE _ves_outbox SET {change} WHERE local_seq = {row}");
        assert_eq!(connection.execute(&sql, []).unwrap(), 1);
    }
    drop(connection);
    let outbox = Outbox::open(&path).unwrap();
    let at: Timestamp = "2026-11-20T06:00:00Z".parse().unwrap();
    let mut failed = Vec::new();
    for row in common::rows(&outbox) {
        let row = row.unwrap();
        let event = row.content.event().unwrap();
        let encrypted = matches!(event.payload, ves::Payload::Encrypted(_));
        if check(event, &keys, at).verdict() != CheckVerdict::Holds && !encrypted {
            failed.push(row.place.row);
        }
    }
    assert_eq!(failed, tampered);
}

#[test]
fn truncated_outboxes_are_refused_whole() {
    let shared = test_support::shared_data();
    let bytes = fs::read(shared.join("data/scenario-1/outboxes/golf.db")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("golf.db");
    for length in [
        50,
        100,
        4096,
        bytes.len() / 2,
        bytes.len() - 4096,
        bytes.len() - 1,
    ] {
        fs::write(&path, &bytes[..length]).unwrap();
        let error = Outbox::open(&path).unwrap_err();
        assert!(
            matches!(
                error.kind,
                OutboxErrorKind::Truncated { .. } | OutboxErrorKind::Damaged(_)
            ),
            "{length}: {error}"
        );
    }
    // A page of garbage in the middle.
    let mut damaged = bytes.clone();
    damaged[8192..12288].fill(0xa5);
    fs::write(&path, damaged).unwrap();
    let error = Outbox::open(&path).unwrap_err();
    assert!(matches!(error.kind, OutboxErrorKind::Damaged(_)), "{error}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn what_can_be_read_of_damaged_outboxes_is_salvaged() {
    let shared = test_support::shared_data();
    let data = shared.join("data/scenario-1/outboxes");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("damaged.db");
    for name in ["golf.db", "alpha.db", "hotel.db"] {
        let bytes = fs::read(data.join(name)).unwrap();
        fs::write(&path, &bytes).unwrap();
        let sound = Outbox::salvage(&path).unwrap();
        assert_eq!(sound.meta().damage, None);
        let all: BTreeMap<String, _> = common::rows(&sound)
            .into_iter()
            .map(|row| row.unwrap())
            .map(|row| (row.place.to_string(), row.content))
            .collect();
        let pages = bytes.len() / 4096;
        let mut some_were_saved = false;
        let mut check = |what: String| {
            let Ok(outbox) = Outbox::salvage(&path) else {
                return;
            };
            let mut saved = 0;
            let mut lost = 0;
            for row in common::rows(&outbox) {
                match row {
                    Ok(row) => {
                        saved += 1;
                        let content = all.get(&row.place.to_string());
                        let garbled = matches!(row.content, Content::Malformed { .. });
                        assert!(garbled || content == Some(&row.content), "{what}: {}", row.place);
                    }
                    Err(error) => {
                        lost += 1;
                        assert!(!error.what.is_empty());
                    }
                }
            }
            // A file that is damaged elsewhere (an index, say) may have lost no row.
            if outbox.meta().damage.is_some() && saved < all.len() {
                assert!(
                    lost > 0 && !outbox.meta().not_checked.is_empty(),
                    "{what}: {saved} of {}",
                    all.len()
                );
            }
            some_were_saved |= saved > 0;
            let counted = &outbox.meta();
            assert!(counted.outbox.total() + counted.pulled + counted.quarantined <= all.len() as u64);
        };
        for length in [pages / 4, pages / 2, pages * 3 / 4, pages - 1].map(|n| n * 4096 + 17) {
            fs::write(&path, &bytes[..length]).unwrap();
            check(format!("{name} cut at {length}"));
        }
        for page in 1..pages {
            let mut damaged = bytes.clone();
            damaged[page * 4096..(page + 1) * 4096].fill(if page % 2 == 0 { 0xa5 } else { 0 });
            fs::write(&path, damaged).unwrap();
            check(format!("{name} page {}", page + 1));
        }
        assert!(some_were_saved);
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    fs::write(&path, [0; 8192]).unwrap();
    assert!(matches!(
        Outbox::salvage(&path).unwrap_err().kind,
        OutboxErrorKind::NotSqlite
    ));
}

#[test]
fn real_receipts_are_read_and_hold() {
    let shared = test_support::shared_data();
    let data = shared.join("data/golden");
    let exchanges = json(&data.join("http-exchanges.json"));
    let mut lines = String::new();
    for exchange in exchanges.as_array().unwrap() {
        for receipt in exchange["response"]["receipts"].as_array().into_iter().flatten() {
            lines.push_str(&format!("{receipt}\n"));
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("receipts.ndjson");
    fs::write(&path, lines).unwrap();
    let saved = outbox_sync::receipts::read_receipts(&path).unwrap();
    assert_eq!((saved.receipts.len(), saved.errors.len()), (18, 0));
    assert!(
        saved
            .receipts
            .iter()
            .all(|receipt| receipt.sequencer_signature.is_some())
    );
}

#[test]
fn statuses_have_the_words_of_the_files() {
    for (status, word) in [
        (OutboxStatus::Pending, "pending"),
        (OutboxStatus::Rejected, "rejected"),
    ] {
        assert_eq!(serde_json::to_value(status).unwrap(), word);
    }
}
