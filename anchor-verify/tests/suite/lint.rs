//! What lint finds: in histories that no sequencer should have, and nothing in real ones.

use std::path::Path;

use anchor_verify::chain::parts::RefusedAnchor;
use anchor_verify::lint::{Code, LintReport, LogCommitments, lint};
use anchor_verify::{Anchor, AnchorKind, AnchorsFile, ContractAddress, Importer, tenant_store_key};
use fixtures::{World, WorldSpec};
use serde_json::Value;
use uuid::Uuid;
use ves::stream::state_root;
use ves::{BatchId, Hash32, StreamKey};

fn stream(number: u128) -> StreamKey {
    StreamKey::new(
        Uuid::from_u128(number << 64 | 1).into(),
        Uuid::from_u128(number << 64 | 2).into(),
    )
}

/// Batches of one stream that follow each other: (id, first, last).
fn history(stream: StreamKey, batches: &[(u128, u64, u64)]) -> Vec<Anchor> {
    let mut previous = Hash32::ZERO;
    let mut anchors = Vec::new();
    for (at, (id, start, end)) in batches.iter().enumerate() {
        let events_root = Hash32([at as u8 + 1; 32]);
        let event_count = (end - start + 1) as u32;
        previous = state_root(&stream, &previous, &events_root, *start, *end, event_count);
        anchors.push(Anchor {
            block_number: at as u64 + 1,
            log_index: 0,
            block_hash: Hash32([at as u8; 32]),
            transaction_hash: Hash32([1; 32]),
            block_timestamp: None,
            contract: ContractAddress([0xaa; 20]),
            kind: AnchorKind::StateSetAnchor,
            batch_id: BatchId(Uuid::from_u128(*id)),
            stream: Some(stream),
            tenant_store_key: tenant_store_key(&stream),
            events_root,
            state_root: previous,
            sequence_start: *start,
            sequence_end: *end,
            event_count,
        });
    }
    anchors
}

fn codes(report: &LintReport) -> Vec<&'static str> {
    report
        .findings
        .iter()
        .map(|finding| finding.code.as_str())
        .collect()
}

fn judge(anchors: Vec<Anchor>) -> Vec<&'static str> {
    codes(&lint(&AnchorsFile::new(None, anchors), None))
}

#[test]
fn histories_that_contradict_themselves_are_told() {
    let s = stream(1);
    let good = history(s, &[(1, 1, 10), (2, 11, 20), (3, 21, 30)]);
    let report = lint(&AnchorsFile::new(None, good.clone()), None);
    assert_eq!((codes(&report), report.chained, report.batches), (vec![], 3, 3));
    assert!(report.not_checked.iter().any(|what| what.contains("--db")));

    // A gap: what follows it cannot be checked, and is not said to be right.
    let mut gap = good.clone();
    gap.remove(1);
    let report = lint(&AnchorsFile::new(None, gap), None);
    assert_eq!((codes(&report), report.chained), (vec!["anchor.gap"], 1));
    assert_eq!(
        (report.findings[0].from, report.findings[0].to),
        (Some(11), Some(20))
    );
    assert!(
        report
            .not_checked
            .iter()
            .any(|what| what.contains("state roots of 1 batches"))
    );
    // A start in the middle is none.
    assert_eq!(judge(history(s, &[(1, 5, 10)])), Vec::<&str>::new());

    let with = |change: fn(&mut Vec<Anchor>)| {
        let mut anchors = good.clone();
        change(&mut anchors);
        judge(anchors)
    };
    assert_eq!(
        with(|a| a[1].state_root = Hash32([9; 32])),
        ["anchor.state_root"; 2]
    );
    assert_eq!(
        with(|a| a[2].events_root = Hash32([9; 32])),
        ["anchor.state_root"]
    );
    // One range with two roots, of which one follows.
    let two_roots = with(|a| {
        let mut other = a[2];
        other.batch_id = BatchId(Uuid::from_u128(9));
        other.events_root = Hash32([9; 32]);
        a.push(other);
    });
    assert_eq!(two_roots, ["anchor.conflict", "anchor.state_root"]);
    // One id for two contents.
    let mut twice = good.clone();
    twice[2].batch_id = twice[0].batch_id;
    let report = lint(&AnchorsFile::new(None, twice), None);
    assert_eq!(codes(&report), ["anchor.conflict"]);
    assert!(report.findings[0].message.contains("two contents"));
    // Ranges that share positions.
    let overlap = judge([&good[..], &history(s, &[(7, 1, 9), (8, 10, 12)])].concat());
    assert_eq!(
        overlap.iter().filter(|code| **code == "anchor.overlap").count(),
        3,
        "{overlap:?}"
    );
    // The same under another id, with the same outcome.
    let same = with(|a| {
        let mut again = a[2];
        again.batch_id = BatchId(Uuid::from_u128(9));
        a.push(again);
    });
    assert_eq!(same, Vec::<&str>::new());

    // A second contract of one kind; the other kind is none.
    let second = with(|a| {
        let mut other = a[2];
        other.contract = ContractAddress([0xbb; 20]);
        a.push(other);
    });
    assert_eq!(second, ["anchor.contract"]);
    let registry = with(|a| {
        let mut other = a[2];
        (other.contract, other.kind) = (ContractAddress([0xbb; 20]), AnchorKind::SetRegistry);
        a.push(other);
    });
    assert_eq!(registry, Vec::<&str>::new());
    let unknown = with(|a| {
        for anchor in a {
            (anchor.kind, anchor.stream) = (AnchorKind::SetRegistry, None);
        }
    });
    assert_eq!(unknown, ["anchor.unresolved"]);

    // What could not be an anchor stays in the file, and is told.
    let mut file = AnchorsFile::new(None, good);
    file.chain.refused.push(RefusedAnchor {
        batch_id: None,
        tenant_store_key: None,
        block_number: 7,
        log_index: 0,
        block_hash: Hash32([7; 32]),
        transaction_hash: Hash32([7; 32]),
        contract: ContractAddress([0xaa; 20]),
        why: "its range 1 to 16 is of 16 events, not 17".into(),
    });
    let report = lint(&file, None);
    assert_eq!(codes(&report), ["anchor.refused"]);
    assert!(report.findings[0].message.contains("not 17"));
}

fn log_of(world: &World) -> LogCommitments {
    let log = world.recovered();
    LogCommitments {
        streams: log.streams.keys().copied().collect(),
        commitments: log
            .commitments()
            .map(|c| event_log::Commitment {
                batch_id: c.batch_id,
                stream: c.stream,
                ves_version: 1,
                tree_depth: 0,
                leaf_count: c.leaf_count(),
                padded_leaf_count: 0,
                merkle_root: c.merkle_root,
                prev_state_root: c.prev_state_root,
                new_state_root: c.new_state_root,
                sequence_start: c.sequence_start,
                sequence_end: c.sequence_end,
                committed_at: c.committed_at,
                chain_id: None,
                chain_tx_hash: None,
                chain_block_number: None,
                anchored_at: None,
            })
            .collect(),
    }
}

#[test]
fn a_log_is_compared_with_its_anchors() {
    let world = World::generate(&WorldSpec {
        anchored_fraction: 1.0,
        ..WorldSpec::honest(5)
    });
    let file = world.anchors_file();
    let log = log_of(&world);
    let lost = world.anchors().len() - log.commitments.len();
    let report = lint(&file, Some(&log));
    assert!(lost > 0);
    assert_eq!(codes(&report), vec!["commitment.missing"; lost]);
    assert!(
        report
            .findings
            .iter()
            .all(|finding| finding.stream.is_some() && finding.batches.len() == 1)
    );

    // The other way round: commitments that are not on chain.
    let first = file.anchors[0].batch_id;
    let fewer = AnchorsFile::new(
        None,
        file.anchors
            .iter()
            .filter(|a| a.batch_id != first)
            .copied()
            .collect(),
    );
    let report = lint(&fewer, Some(&log));
    assert_eq!(
        report
            .findings
            .iter()
            .filter(|f| f.code == Code::CommitmentUnanchored)
            .count(),
        1
    );

    // Another content under the same id, and the same range under another id with another or the same root.
    let with = |change: &dyn Fn(&mut event_log::Commitment)| {
        let mut log = log.clone();
        change(&mut log.commitments[0]);
        let report = lint(&file, Some(&log));
        codes(&report)
            .into_iter()
            .filter(|code| *code != "commitment.missing")
            .collect::<Vec<_>>()
    };
    assert_eq!(with(&|c| c.merkle_root = Hash32([9; 32])), ["anchor.conflict"]);
    assert_eq!(with(&|c| c.leaf_count += 1), ["anchor.conflict"]);
    let other = BatchId(Uuid::from_u128(7));
    assert_eq!(with(&|c| c.batch_id = other), Vec::<&str>::new());
    let both = with(&|c| (c.batch_id, c.merkle_root) = (other, Hash32([9; 32])));
    assert_eq!(both, ["anchor.conflict", "commitment.unanchored"]);
}

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = assert_cmd::Command::cargo_bin("anchor-verify")
        .unwrap()
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .arg("lint")
        .args(arguments)
        .args(["--wide", "--all"])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        test_support::without_time(text(output.stderr)),
    )
}

#[test]
fn the_command_tells_by_its_exit_status() {
    let dir = tempfile::tempdir().unwrap();
    let world = World::generate(&WorldSpec::honest(5));
    world.write_anchors(&dir.path().join("anchors.json")).unwrap();
    world.write_log(&dir.path().join("whole.db")).unwrap();
    world.write_recovered(&dir.path().join("recovered.db")).unwrap();

    let (code, out, err) = run(dir.path(), &["anchors.json"]);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(
        out.contains("0 problems, 0 notices") && out.contains("NOT CHECKED"),
        "{out}"
    );
    let (code, out, _) = run(dir.path(), &["anchors.json", "--db", "whole.db"]);
    assert_eq!(code, 0, "{out}");
    let (code, out, _) = run(
        dir.path(),
        &["anchors.json", "--db", "recovered.db", "--format", "json"],
    );
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, &document["schema"]), (4, &"anchors-lint/1".into()));
    assert_eq!(document["findings"][0]["code"], "commitment.missing");
    assert_eq!(
        document["findings"].as_array().unwrap().len() as u64,
        document["problems"].as_u64().unwrap()
    );
    let (code, out, _) = run(
        dir.path(),
        &["anchors.json", "--db", "recovered.db", "--format", "ndjson"],
    );
    assert_eq!(
        (code, out.lines().last().unwrap().contains("\"type\":\"totals\"")),
        (4, true),
        "{out}"
    );

    assert_eq!(run(dir.path(), &["nowhere.json"]).0, 8);
    assert_eq!(run(dir.path(), &["anchors.json", "--db", "nowhere.db"]).0, 8);
    assert_eq!(run(dir.path(), &[]).0, 16);
    assert_eq!(run(dir.path(), &["anchors.json", "--db", "mysql://x"]).0, 16);
}

#[test]
fn nothing_is_wrong_with_the_real_anchors() {
    let shared = test_support::shared_data();
    for (folder, anchored) in [("golden", 39), ("scenario-1", 17)] {
        let dir = shared.join("data").join(folder).join("anchors");
        let mut importer = Importer::new(None, Vec::new());
        for name in [
            "logs_SetRegistry_BatchCommitted.json",
            "logs_StateSetAnchor_CommitmentAnchored.json",
            "block_headers.json",
            "block_receipts.json",
            "proofs_latest.json",
        ] {
            importer.add_file(&dir.join(name)).unwrap();
        }
        let mut file = importer.finish(&[]).file;
        let report = lint(&file, None);
        assert_eq!(report.findings, []);
        assert_eq!((report.batches, report.chained), (anchored, anchored));
        // A proof that contradicts is found without any block that is trusted.
        file.anchors[3].events_root.0[0] ^= 1;
        let report = lint(&file, None);
        assert!(codes(&report).contains(&"anchor.proof"), "{report:#?}");
    }
}
