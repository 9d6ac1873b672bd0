//! The sequencer's keys rotate: each receipt is checked, and each restored one signed, by the key of its version.

use crate::common;

use std::path::Path;

use common::{Db, Ran, apply, hex, plan, run, text};
use ed25519_dalek::{Signer, SigningKey};
use fixtures::{World, WorldSpec};
use rusqlite::Connection;

/// The number from which on the second key is in force, in every stream.
const ROTATED_AT: i64 = 20;

/// Signs the receipts from there on with another key, under the next version.
fn rotate(log: &Path, key: &SigningKey) -> usize {
    let db = Connection::open(log).unwrap();
    let mut read = db
        .prepare("SELECT rowid, receipt_hash FROM ves_sequencer_receipts WHERE sequence_number >= ?")
        .unwrap();
    let rows: Vec<(i64, Vec<u8>)> = read
        .query_map([ROTATED_AT], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    for (row, hash) in &rows {
        let signature = key.sign(hash).to_bytes();
        let changed = db.execute(
            "UPDATE ves_sequencer_receipts SET sequencer_signature = ?, sequencer_key_version = 1 WHERE rowid = ?",
            rusqlite::params![signature.as_slice(), row],
        );
        assert_eq!(changed.unwrap(), 1);
    }
    rows.len()
}

/// Receipts of a version: with a signature, and without.
fn receipts(log: &Db, version: i64) -> (i64, i64) {
    let Db::Snapshot(path) = log else {
        panic!("a snapshot")
    };
    let count = "SELECT count(sequencer_signature), count(*) - count(sequencer_signature) FROM ves_sequencer_receipts \
                 WHERE sequencer_key_version = ?";
    Connection::open(path)
        .unwrap()
        .query_row(count, [version], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap()
}

fn audit(log: &Db, keys: &[String]) -> Ran {
    let mut command = vec!["audit".to_owned(), "--all".into(), "--db".into(), log.arg()];
    for key in keys {
        command.extend(["--sequencer-public-key".to_owned(), key.clone()]);
    }
    run(command)
}

#[test]
fn each_receipt_is_checked_and_signed_by_the_key_of_its_version() {
    let world = World::generate(&WorldSpec {
        seed: 5,
        wrong_claim_rate: 0.0,
        ..WorldSpec::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    world.write_recovered(&path("log.db")).unwrap();
    world.write_anchors(&path("anchors.json")).unwrap();
    world.write_outboxes(&path("outboxes")).unwrap();
    let (first, second) = (world.sequencer_key().clone(), SigningKey::from_bytes(&[42; 32]));
    assert!(rotate(&path("log.db"), &second) > 0);
    let log = Db::Snapshot(path("log.db"));
    let public = |key: &SigningKey| hex(key.verifying_key().as_bytes());
    for (name, key) in [("first", &first), ("second", &second)] {
        std::fs::write(path(name), hex(&key.to_bytes())).unwrap();
    }
    std::fs::write(
        path("keys.pub"),
        format!("0={}\n1={}\n", public(&first), public(&second)),
    )
    .unwrap();

    // All versions, singly or by one file; one of two; the wrong way round.
    let both = [format!("0={}", public(&first)), format!("1={}", public(&second))];
    for keys in [&both[..], &[text(&path("keys.pub"))]] {
        let ran = audit(&log, keys);
        assert!(
            !ran.stdout.contains("receipt.signature") && !ran.stdout.contains("public key was not given"),
            "{}",
            ran.stdout
        );
    }
    let ran = audit(&log, &both[..1]).shows(&["version 1 of the sequencer's public key was not given"]);
    assert!(!ran.stdout.contains("receipt.signature"), "{}", ran.stdout);
    let swapped = [format!("1={}", public(&first)), format!("0={}", public(&second))];
    audit(&log, &swapped).shows(&["receipt.signature"]);
    audit(&log, &[both[0].clone(), both[0].clone()])
        .expect(16)
        .says(&["two keys of version 0"]);

    let witnesses = [
        "--outbox".to_owned(),
        text(&path("outboxes")),
        "--anchors".into(),
        text(&path("anchors.json")),
    ];
    plan(&log, &path("plan"), &witnesses);
    let key = |version: u8, name: &str| format!("{version}={}", text(&path(name)));
    // With one key, the places of the other stay unsigned and are told.
    let half = log.file_copy(path("half.db"));
    let before = (receipts(&half, 0), receipts(&half, 1));
    let ran = apply(&half, &path("plan"), &["--sequencer-key", &key(1, "second")]);
    assert_eq!(ran.code & !4, 1, "{}", ran.stderr);
    let (old, new) = (receipts(&half, 0), receipts(&half, 1));
    assert_eq!((old.0, new.1), (before.0.0, 0));
    assert!(
        new.0 > before.1.0,
        "receipts come back after the rotation: {new:?}"
    );
    if old.1 > 0 {
        ran.shows(&["belong to version 0 of the sequencer's key, which was not given"]);
    }
    // With both, all are signed, and hold.
    let whole = log.file_copy(path("whole.db"));
    let keys = [key(0, "first"), key(1, "second")];
    let ran = apply(
        &whole,
        &path("plan"),
        &["--sequencer-key", &keys[0], "--sequencer-key", &keys[1]],
    );
    assert_eq!(ran.code & !4, 1, "{}", ran.stderr);
    assert_eq!((receipts(&whole, 0).1, receipts(&whole, 1).1), (0, 0));
    let ran = audit(&whole, &both);
    assert!(!ran.stdout.contains("receipt.signature"), "{}", ran.stdout);
    // A key that did not sign its version's receipts is refused, stream by stream, before anything is written.
    let refused = log.file_copy(path("refused.db"));
    let before = receipts(&refused, 1);
    let ran = apply(&refused, &path("plan"), &["--sequencer-key", &key(1, "first")])
        .says(&["did not sign the receipts that the stream has of version 1"]);
    assert_eq!((ran.code & 8, receipts(&refused, 1)), (8, before));
}
