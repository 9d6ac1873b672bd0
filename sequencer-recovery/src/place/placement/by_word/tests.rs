//! What receipts and words place, and what is told of the positions that stay open.

use std::collections::BTreeMap;

use ves::{SignatureCheck, Timestamp};

use crate::grade::Grade;
use crate::place::placement::tests::{Case, candidate, id, spans};
use crate::place::placement::{Judgement, Open};
use crate::witness::evidence::{HolderId, PushedRow, Pushes, Saying::*};

const ALPHA: usize = 0;
const BRAVO: usize = 1;

fn only_open(judgement: &Judgement) -> &Open {
    let [open] = &judgement.open[..] else {
        panic!("{:?}", judgement.open);
    };
    open
}

/// An agent's row of event n, at a position.
fn row(n: u64, claim: u64) -> PushedRow {
    PushedRow {
        local_seq: n as i64,
        event_id: id(n),
        claim,
        push: 0,
        since_first: 0,
    }
}

#[test]
fn a_receipt_places_the_event_that_it_promised() {
    let mut case = Case::new([3, 9]);
    case.receipt(3, 3, "a.txt:1");
    // Another outbox saved the same receipt, and alpha says something else.
    case.receipt(3, 3, "b.txt:1");
    case.claim(ALPHA, 3, 9, Outbox);
    let judgement = case.judge(3..=3, &[]);
    assert_eq!(case.placed(&judgement), [(3, 3, Grade::Receipted)]);
    assert_eq!(judgement.placements[0].basis, "signed receipt, a.txt:1");
}

#[test]
fn two_receipts_for_one_number_place_nothing() {
    let mut case = Case::new([3, 9]);
    case.receipt(3, 3, "a.txt:1");
    case.receipt(3, 9, "b.txt:1");
    assert!(case.judge(3..=3, &[]).placements.is_empty());
}

#[test]
fn a_receipt_places_nothing_that_it_does_not_promise() {
    let mut case = Case::new([4]);
    case.receipt(4, 4, "a.txt:1").receipt_hash.0[0] ^= 1;
    assert!(case.judge(4..=4, &[]).placements.is_empty(), "another content");

    let mut case = Case::new([]);
    case.evidence
        .add_candidate(candidate(4, SignatureCheck::KeyUnknown));
    case.receipt(4, 4, "a.txt:1");
    assert!(
        case.judge(4..=4, &[]).placements.is_empty(),
        "a signature that was not checked"
    );
}

#[test]
fn a_receipt_for_a_number_that_is_taken_or_not_missing_places_nothing() {
    let mut case = Case::new([3, 4, 5]);
    case.claim(ALPHA, 3, 3, Outbox);
    // By the root event 3 is at 3. Its receipt for 4 is a second promise, and one for 3 comes too late; 90 the log has.
    case.receipt(4, 3, "a.txt:1");
    case.receipt(3, 4, "a.txt:2");
    case.receipt(90, 5, "a.txt:3");
    let target = case.target(1..=3, 1..=2);
    let judgement = case.judge(3..=5, &[target]);
    assert_eq!(case.placed(&judgement), [(3, 3, Grade::Proven)]);
}

#[test]
fn a_claim_to_a_number_that_is_taken_or_not_missing_places_nothing() {
    let mut case = Case::new([3, 4, 5]);
    case.claim(ALPHA, 3, 3, Pulled);
    case.claim(BRAVO, 3, 4, Outbox);
    case.claim(BRAVO, 90, 5, Outbox);
    // Not even if a later row of the same push is right.
    let pushes = Pushes {
        rows: vec![row(4, 3), row(5, 90)],
        confirmed_to: BTreeMap::from([(0, 6)]),
        ..Pushes::default()
    };
    case.evidence.pushes.insert(HolderId(BRAVO), pushes);
    let target = case.target(1..=3, 1..=2);
    let judgement = case.judge(3..=5, &[target]);
    assert_eq!(case.placed(&judgement), [(3, 3, Grade::Proven)]);
    assert_eq!(only_open(&judgement).range, spans(&[(4, 5)]).as_slice()[0]);
}

#[test]
fn what_is_said_of_numbers_that_are_not_missing_is_no_rival_word() {
    let mut case = Case::new([5, 6, 7]);
    case.claim(ALPHA, 5, 5, Outbox);
    case.claim(BRAVO, 90, 5, Outbox);
    case.claim(BRAVO, 6, 6, Outbox);
    let judgement = case.judge(5..=6, &[]);
    assert_eq!(case.placed(&judgement), [(5, 5, Grade::Claimed)]);
    assert_eq!(judgement.placements[0].basis, "claimed by alpha");
    // But it was wrong, so that its speaker's other word counts for nothing.
    let open = only_open(&judgement);
    assert_eq!((open.grade, &open.rivals[..]), (Grade::Contested, &[id(6)][..]));
    let reason = format!(
        "only bravo claims event {} for it, and was wrong about 1 other(s)",
        id(6)
    );
    assert_eq!(open.reason, reason);
    assert!(judgement.spoken_for.is_empty());
}

#[test]
fn an_event_that_nobody_holds_is_lost_and_named() {
    let mut case = Case::new([]);
    case.claim(ALPHA, 3, 3, Pointer);
    let judgement = case.judge(3..=3, &[]);
    let open = only_open(&judgement);
    assert_eq!((open.grade, &open.rivals[..]), (Grade::Lost, &[id(3)][..]));
    let reason = format!(
        "event {} is named for it, and nobody holds a copy that verifies",
        id(3)
    );
    assert_eq!(open.reason, reason);
}

#[test]
fn an_event_with_two_contents_stays_contested() {
    let mut case = Case::new([3]);
    let mut other = candidate(3, SignatureCheck::Valid);
    other.event.entity_id = "30".into();
    other.signing_hash = other.event.signing_hash();
    case.evidence.add_candidate(other);
    case.claim(ALPHA, 3, 3, Pulled);
    let judgement = case.judge(3..=3, &[]);
    let open = only_open(&judgement);
    assert_eq!(open.grade, Grade::Contested);
    assert_eq!(
        open.reason,
        format!("holders have different contents of event {}", id(3))
    );
}

#[test]
fn what_can_be_trusted_speaks_for_its_number_though_rivals_stand_against_it() {
    let mut case = Case::new([3, 4]);
    case.claim(ALPHA, 3, 3, Outbox);
    case.claim(BRAVO, 3, 4, Outbox);
    let judgement = case.judge(3..=4, &[]);
    assert!(judgement.placements.is_empty());
    assert_eq!(judgement.spoken_for.into_iter().collect::<Vec<_>>(), [3]);
    let open: Vec<(u64, &str)> = judgement
        .open
        .iter()
        .map(|o| (o.range.start(), o.reason.as_str()))
        .collect();
    let expected = [
        (3, "2 events are claimed to be here"),
        (4, "no witness names an event for it"),
    ];
    assert_eq!(open, expected);
}

#[test]
fn a_number_whose_only_event_belongs_elsewhere_is_lost_and_nobody_speaks_for_it() {
    let mut case = Case::new([3]);
    case.claim(ALPHA, 3, 3, Pulled);
    case.claim(BRAVO, 4, 3, Outbox);
    let target = case.target(1..=3, 1..=2);
    let judgement = case.judge(3..=4, &[target]);
    let open = only_open(&judgement);
    assert_eq!((open.range.start(), open.grade), (4, Grade::Lost));
    assert_eq!(open.reason, "every event named for it belongs elsewhere");
    assert!(judgement.spoken_for.is_empty());
}

/// Alpha's engine counts on, and little is known of it. Its rows 3, 4 and 6 are of one push.
#[test]
fn a_row_that_a_root_proves_confirms_the_rows_before_it_in_its_push() {
    let mut case = Case::new([3, 4, 6]);
    let rows = [3, 4, 6].map(|n| row(n, n));
    for row in &rows {
        case.claim(ALPHA, row.claim, row.claim, Outbox);
    }
    let pushes = Pushes {
        counts_on: true,
        rows: rows.to_vec(),
        ..Pushes::default()
    };
    case.evidence.pushes.insert(HolderId(ALPHA), pushes);
    let target = case.target(4..=5, [5]);
    let judgement = case.judge_spans(&spans(&[(3, 4), (6, 6)]), &[target]);
    let expected = [(3, 3, Grade::Claimed), (4, 4, Grade::Proven)];
    assert_eq!(case.placed(&judgement), expected);
    let reason = format!(
        "only alpha claims event {} for it, whose engine counts on by itself, and too little confirms it",
        id(6)
    );
    assert_eq!(only_open(&judgement).reason, reason);
}

#[test]
fn an_event_is_dated_by_its_earliest_receipt_or_else_by_the_strongest_word_for_its_place() {
    let mut case = Case::new([3, 9]);
    case.claim_at(ALPHA, 3, 3, Pulled, Some(50));
    case.claim_at(BRAVO, 3, 3, Log, Some(40));
    case.claim_at(BRAVO, 3, 9, Log, Some(70));
    let target = case.target(1..=3, 1..=2);
    let dated = |case: &Case| {
        let judgement = case.judge(3..=3, std::slice::from_ref(&target));
        assert_eq!(case.placed(&judgement), [(3, 3, Grade::Proven)]);
        judgement.placements[0].sequenced_at
    };
    assert_eq!(dated(&case), Some(Timestamp(40)));
    case.receipt(3, 9, "a.txt:1").sequenced_at = Timestamp(10);
    assert_eq!(dated(&case), Some(Timestamp(40)));
    case.receipt(3, 3, "a.txt:2").sequenced_at = Timestamp(30);
    case.receipt(3, 3, "b.txt:1").sequenced_at = Timestamp(20);
    assert_eq!(dated(&case), Some(Timestamp(20)));
}
