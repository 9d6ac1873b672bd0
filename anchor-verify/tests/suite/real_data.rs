//! Logs of real contracts against the commitments of the log that was anchored.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anchor_verify::import::summarize;
use anchor_verify::{AnchorKind, AnchorsFile, Import, Importer, group};
use ves::{BatchId, Hash32, StreamKey};

const LOGS: [&str; 3] = [
    "logs_SetRegistry_BatchCommitted.json",
    "logs_StateSetAnchor_BatchAnchored.json",
    "logs_StateSetAnchor_CommitmentAnchored.json",
];

fn import(anchors: &Path, files: &[&str], streams: &[StreamKey]) -> Import {
    let mut importer = Importer::new(Some(84_532_001), Vec::new());
    for file in files {
        importer.add_file(&anchors.join(file)).unwrap();
    }
    importer.finish(streams)
}

#[derive(Debug, PartialEq, Eq)]
struct Commitment {
    stream: StreamKey,
    range: (u64, u64),
    merkle_root: Hash32,
    new_state_root: Hash32,
}

/// The rows of ves_commitments in COPY text.
fn commitments(copy: &Path) -> BTreeMap<BatchId, Commitment> {
    let text = fs::read_to_string(copy).unwrap();
    let block = text.split("COPY ves_commitments (").nth(1).unwrap();
    let (columns, rows) = block.split_once(") FROM stdin;\n").unwrap();
    let columns: Vec<&str> = columns.split(", ").collect();
    let rows = rows.split("\\.\n").next().unwrap();
    rows.lines()
        .map(|row| {
            let fields: Vec<&str> = row.split('\t').collect();
            let field = |name: &str| fields[columns.iter().position(|c| *c == name).unwrap()];
            let root = |name: &str| field(name).strip_prefix("\\\\x").unwrap().parse().unwrap();
            let commitment = Commitment {
                stream: StreamKey::new(
                    field("tenant_id").parse().unwrap(),
                    field("store_id").parse().unwrap(),
                ),
                range: (
                    field("sequence_start").parse().unwrap(),
                    field("sequence_end").parse().unwrap(),
                ),
                merkle_root: root("merkle_root"),
                new_state_root: root("new_state_root"),
            };
            (field("batch_id").parse().unwrap(), commitment)
        })
        .collect()
}

fn check(folder: &str, copy: &str, anchored: usize, summaries: usize) {
    let shared = test_support::shared_data();
    let data = shared.join("data").join(folder);
    let commitments = commitments(&data.join(copy));
    let import = import(&data.join("anchors"), &LOGS, &[]);
    assert_eq!(import.refused, []);
    assert_eq!(
        (import.logs, import.summaries, import.repeated, import.unresolved),
        (2 * anchored + summaries, summaries, 0, 0)
    );
    for kind in [AnchorKind::StateSetAnchor, AnchorKind::SetRegistry] {
        let anchors: Vec<_> = import.file.anchors.iter().filter(|a| a.kind == kind).collect();
        assert_eq!(anchors.len(), anchored);
        for anchor in anchors {
            let expected = Commitment {
                stream: anchor.stream.unwrap(),
                range: (anchor.sequence_start, anchor.sequence_end),
                merkle_root: anchor.events_root,
                new_state_root: anchor.state_root,
            };
            assert_eq!(commitments[&anchor.batch_id], expected);
            assert!(anchor.block_timestamp.is_some());
        }
    }
    let view = group(&import.file.anchors, &[]);
    assert_eq!(view.conflicts, []);
    let batches: Vec<_> = view.streams.iter().flat_map(|s| &s.batches).collect();
    assert_eq!(batches.len(), anchored);
    assert!(batches.iter().all(|b| b.places.len() == 2 && !b.contested));
    let contracts = summarize(&import.file.anchors);
    assert_eq!(
        contracts.iter().map(|c| c.anchors).collect::<Vec<_>>(),
        [anchored; 2]
    );

    // What is written reads back, and the order of the files does not matter.
    let mut written = Vec::new();
    import.file.write_json(&mut written).unwrap();
    assert_eq!(AnchorsFile::from_json(&written).unwrap(), import.file);
    let mut reversed = LOGS;
    reversed.reverse();
    let again = self::import(
        &data.join("anchors"),
        &[&reversed[..], &reversed[..]].concat(),
        &[],
    );
    assert_eq!(again.repeated, 2 * anchored);
    let mut bytes = Vec::new();
    again.file.write_json(&mut bytes).unwrap();
    assert!(bytes == written);
}

#[test]
fn all_of_golden_is_anchored_in_both_contracts() {
    check("golden", "log.copy.sql", 39, 2);
}

#[test]
fn all_of_scenario_1_but_one_is_anchored_in_both_contracts() {
    check("scenario-1", "truth.copy.sql", 17, 1);
}

#[test]
fn the_registry_alone_needs_to_be_told_the_streams() {
    let shared = test_support::shared_data();
    let data = shared.join("data/scenario-1");
    let anchors = data.join("anchors");
    let alone = import(&anchors, &LOGS[..1], &[]);
    assert_eq!(alone.unresolved, 17);
    let view = group(&alone.file.anchors, &[]);
    assert_eq!((view.streams.len(), view.unresolved().count()), (4, 4));

    let commitments = commitments(&data.join("truth.copy.sql"));
    let streams: Vec<StreamKey> = commitments.values().map(|c| c.stream).collect();
    let told = import(&anchors, &LOGS[..1], &streams);
    assert_eq!(told.unresolved, 0);
    assert_eq!(
        group(&told.file.anchors, &[]),
        group(&alone.file.anchors, &streams)
    );
    // The same log, resolved in one file and not in the other, is one log.
    let merged = AnchorsFile::merge(vec![
        ("a".into(), alone.file.clone()),
        ("b".into(), told.file.clone()),
    ]);
    assert_eq!(merged.unwrap(), told.file);
    let other = AnchorsFile::new(Some(1), Vec::new());
    assert!(AnchorsFile::merge(vec![("a".into(), alone.file), ("b".into(), other)]).is_err());
}
