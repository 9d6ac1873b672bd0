#![allow(
    clippy::redundant_closure,
    reason = "a function alone is not general enough over the lifetime of what it writes to"
)]

use outbox_sync::KeySource;

use super::super::tests::{COUNTS, event, is_bad, path, place, provenance, stream, texts};
use super::*;

fn row(n: usize) -> RowVerdict {
    let (verdict, why) = match n % 3 {
        0 => (Verification::Fails, "the signature does not hold"),
        1 => (
            Verification::Fails,
            "key 3 of the agent was revoked at 2026-02-11T08:00:00.000000Z, before the sequencer is said to have \
             numbered the event",
        ),
        _ => (Verification::NotChecked, "no key 4 of the agent is known"),
    };
    RowVerdict {
        place: format!("{} _ves_outbox row {}", path(n), 12 + n),
        event_id: event(n),
        stream: stream(n),
        claimed_sequence: Some(12),
        verdict,
        why: Some(why.into()),
        payload_hash_holds: Some(true),
        signature_holds: Some(false),
        signing_hash: None,
        agent_key_id: Some(3),
        key_from: (verdict == Verification::Fails).then_some(KeySource::Log),
        rendering_found: false,
    }
}

fn document(count: usize) -> Document {
    let mut totals = VerdictCounts::default();
    let file = |n: usize| {
        let counts = VerdictCounts {
            holds: 400,
            fails: if is_bad(n) { 3 } else { 0 },
            ..VerdictCounts::default()
        };
        FileVerdict {
            path: path(n),
            counts,
            ..FileVerdict::default()
        }
    };
    let files: Vec<_> = (0..count).map(file).collect();
    files.iter().for_each(|file| totals.add_all(&file.counts));
    Document {
        provenance: Some(provenance(count)),
        place: Some(place()),
        files,
        rows: (0..count)
            .filter(|n| is_bad(*n))
            .take(MAX_SHOWN + 1)
            .map(row)
            .collect(),
        totals,
        next: Next::nothing("this is a test"),
        ..Document::default()
    }
}

#[test]
fn a_verification_is_short_and_a_reason_has_whole_lines() {
    for (count, text) in texts(&COUNTS, document, |out, document| print_table(out, document)) {
        insta::assert_snapshot!(format!("verify_{count}"), text);
    }
}
