#![allow(
    clippy::redundant_closure,
    reason = "a function alone is not general enough over the lifetime of what it writes to"
)]

use outbox_sync::census::{Holder, MissingRange, Unheard};

use super::super::tests::{COUNTS, agent, is_bad, path, place, provenance, stream, text, texts};
use super::*;

fn of_stream(n: usize) -> StreamCensus {
    let range = |first, last, grade, held| MissingRange {
        first,
        last,
        grade,
        held,
        holders: vec![path(n), path(n + 1)],
        more_holders: if n == 3 { 9_900 } else { 0 },
    };
    let missing = if is_bad(n) { 37 } else { 0 };
    StreamCensus {
        stream: stream(n),
        head: Some(163),
        known_to: 163 + missing,
        known_by: format!("{} (_ves_outbox)", path(n)),
        missing,
        by_grade: Default::default(),
        nowhere: if is_bad(n) { 5 } else { 0 },
        ranges: if is_bad(n) {
            vec![
                range(164, 190, WordGrade::Corroborated, true),
                range(191, 195, WordGrade::Lost, false),
                range(196, 200, WordGrade::Claimed, true),
            ]
        } else {
            Vec::new()
        },
        unplaced: 0,
        never_sequenced: 2,
    }
}

fn document(count: usize) -> Document {
    let unheard = (0..count / 7).map(|n| Unheard {
        agent_id: agent(n),
        held_by_others: 4 * (n as u64 % 2),
    });
    Document {
        schema: SCHEMA,
        log: "postgres://operator@log/sequencer".into(),
        provenance: Some(provenance(count)),
        place: Some(place()),
        census: Census {
            streams: (0..count).map(of_stream).collect(),
            unheard: unheard.collect(),
            holders: (0..count)
                .map(|n| Holder {
                    path: path(n),
                    agent_id: Some(agent(n)),
                    held: 40,
                    held_alone: if n < 5 { 30 - 2 * n as u64 } else { 0 },
                })
                .collect(),
        },
        contradicted_claims: 0,
        heard: Vec::new(),
        not_read: Vec::new(),
        key_flaws: Vec::new(),
        not_checked: vec![
            "receipts and anchors: what is receipted or proven, sequencer-recovery audit says".into(),
        ],
        next: Next::nothing("this is a test"),
    }
}

#[test]
fn a_census_is_short_and_names_who_was_not_heard() {
    for (count, text) in texts(&COUNTS, document, |out, document| print_table(out, document)) {
        insta::assert_snapshot!(format!("census_{count}"), text);
    }
    let text = text(|out| print_table(out, &document(50)));
    assert!(
        text.starts_with("42 stream(s) whole, 8 not (worst first)"),
        "{text}"
    );
}
