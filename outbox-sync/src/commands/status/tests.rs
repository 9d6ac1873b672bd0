#![allow(
    clippy::redundant_closure,
    reason = "a function alone is not general enough over the lifetime of what it writes to"
)]

use std::path::Path;

use outbox_sync::verify::VerdictCounts;
use outbox_sync::{OutboxMeta, Shape};

use super::super::tests::{COUNTS, agent, is_bad, path, place, provenance, texts};
use super::*;

fn figures(n: usize) -> OutboxFigures {
    let bad = u64::from(is_bad(n));
    OutboxFigures {
        meta: OutboxMeta {
            path: Path::new(&path(n)).into(),
            shape: Shape::V3,
            agent_id: Some(agent(n)),
            tenant_id: None,
            store_id: None,
            last_pushed_sequence: Some(163),
            last_pulled_sequence: Some(160),
            head_sequence: Some(163),
            last_sync_at: None,
            recovery_epoch: None,
            outbox: StatusCounts {
                pending: n as u64 % 4,
                synced: 400,
                rejected: bad,
                ..StatusCounts::default()
            },
            pulled: 1200,
            quarantined: 0,
            damage: None,
            made_by: None,
            first_event: None,
            flaws: Vec::new(),
            not_checked: Vec::new(),
        },
        signed: 1600,
        unsigned: 2,
        malformed: 0,
        flawed: 0,
        highest_claim: Some(163 + 12 * bad),
        doubled_claims: 0,
        two_numbers: bad,
        beyond_head: 12 * bad,
        oldest_unsent: "2026-03-01T09:58:12.500Z".parse().ok(),
        verdicts: Some(VerdictCounts {
            holds: 1598,
            fails: 2 * bad,
            ..VerdictCounts::default()
        }),
        faults: Vec::new(),
    }
}

fn document(count: usize) -> Document {
    let outboxes: Vec<_> = (0..count).map(figures).collect();
    let mut totals = Totals::default();
    outboxes.iter().for_each(|figures| totals.add(figures));
    Document {
        provenance: Some(provenance(count)),
        place: Some(place()),
        outboxes,
        totals,
        next: Next::nothing("this is a test"),
        ..Document::default()
    }
}

#[test]
fn a_status_is_short_and_what_is_wrong_comes_first() {
    for (count, text) in texts(&COUNTS, document, |out, document| print_table(out, document)) {
        insta::assert_snapshot!(format!("status_{count}"), text);
    }
}
