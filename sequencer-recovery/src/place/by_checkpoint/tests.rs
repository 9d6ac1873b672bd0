//! Places by checkpoints, without a database: by signed leaves, and by a search for signed roots.

use std::sync::Arc;

use checkpoints::history::{CheckpointPlace, CountedCheckpoint, Generation, Run, StreamCheckpoints};
use checkpoints::{Checkpoint, Origin, Trust};
use ed25519_dalek::SigningKey;
use ves::{BatchId, SignatureCheck, Spans};

use super::*;
use crate::place::placement::tests::{Case, candidate, leaf, spans, stream};
use crate::place::placement::{Judgement, Question, judge};
use crate::stream::checkpointed::Checkpointed;
use crate::stream::facts::EntityHistory;
use crate::stream::target::Target;
use crate::stream::tree::TreeScan;
use crate::witness::evidence::Saying::{Outbox, Pulled};

/// The tree over the first events.
fn tree(size: u64) -> CompactRange {
    let leaves: Vec<Hash32> = (1..=size).map(leaf).collect();
    let mut tree = CompactRange::default();
    tree.extend(&leaves);
    tree
}

/// Checkpoints of these sizes, and runs of leaves, each behind a size and up to another.
fn signed(sizes: &[u64], runs: &[(u64, u64)]) -> Checkpointed {
    let origin = Origin {
        deployment: "a.example".into(),
        stream: stream(),
        generation: 1,
    };
    let held = |size: &u64| {
        let checkpoint = Checkpoint {
            origin: origin.clone(),
            size: *size,
            root: tree(*size).root(),
            time: None,
            continues: None,
        };
        CountedCheckpoint {
            trust: Trust {
                log: "a.example+1".into(),
                witnesses: Vec::new(),
            },
            place: CheckpointPlace {
                file: "all.checkpoints".into(),
                line: *size,
            },
            linked: false,
            note: checkpoint.sign(&SigningKey::from_bytes(&[1; 32])),
            checkpoint,
        }
    };
    let run = |(behind, to): &(u64, u64)| Run {
        base: tree(*behind),
        leaves: (behind + 1..=*to).map(leaf).collect(),
        file: "all.checkpoints".into(),
    };
    let generation = Generation {
        checkpoints: sizes.iter().map(held).collect(),
        contested: Vec::new(),
        runs: runs.iter().map(run).collect(),
        origin: origin.clone(),
    };
    let of = StreamCheckpoints {
        deployment: origin.deployment,
        stream: stream(),
        generations: vec![Arc::new(generation)],
    };
    Checkpointed::new(&[&of], &[])
}

/// A log up to a number, without some.
struct Log {
    missing: Spans,
    last: u64,
}

impl Log {
    fn without(missing: &[(u64, u64)], last: u64) -> Self {
        Self {
            missing: spans(missing),
            last,
        }
    }

    fn scan(&self) -> TreeScan {
        let prefix = self.missing.first().unwrap() - 1;
        let behind = (prefix + 1..=self.last).filter(|n| !self.missing.contains(*n));
        TreeScan {
            prefix: tree(prefix),
            behind: behind
                .map(|n| (n, (leaf(n), Timestamp(n as i64 * 1000))))
                .collect(),
            ..TreeScan::default()
        }
    }

    fn judge(&self, case: &Case, checkpointed: &Checkpointed, targets: &[Target]) -> Judgement {
        let question = Question {
            stream: &stream(),
            missing: &self.missing,
            targets,
            history: &EntityHistory::default(),
            checkpointed,
            log_tree: Some(&self.scan()),
        };
        judge(&question, &case.evidence, &case.holders, case.budget)
    }
}

fn bases(judgement: &Judgement) -> Vec<&str> {
    judgement.placements.iter().map(|p| p.basis.as_str()).collect()
}

const SOLVED: TargetOutcome = TargetOutcome::Solved { tries: 1 };
const UNTRIED: TargetOutcome = TargetOutcome::NoMatch { tries: 0 };

#[test]
fn an_event_whose_leaf_was_signed_gets_its_place_whoever_names_it() {
    let mut case = Case::new([3, 4, 9]);
    case.evidence
        .add_candidate(candidate(5, SignatureCheck::KeyUnknown));
    case.claim(0, 3, 9, Pulled);
    case.claim(1, 3, 3, Outbox);
    case.claim(0, 4, 9, Pulled);
    let judgement = Log::without(&[(3, 5)], 6).judge(&case, &signed(&[6], &[(0, 6)]), &[]);
    let expected = [3, 4, 5].map(|n| (n, n, Grade::Checkpointed));
    assert_eq!(case.placed(&judgement), expected);
    let basis = "the checkpoint of 6 events, signed by a.example+1 alone";
    let unchecked = format!("{basis}; signature bound by the root, NOT CHECKED: its key is not registered");
    assert_eq!(bases(&judgement), [basis, basis, &unchecked]);
    assert!(judgement.open.is_empty());
    // Leaves said all of it: the root was not searched for.
    assert!(judgement.heads.is_empty());
}

#[test]
fn an_event_that_was_not_signed_there_gets_no_place() {
    let mut case = Case::new([9]);
    case.claim(0, 3, 9, Pulled);
    let judgement = Log::without(&[(3, 3)], 6).judge(&case, &signed(&[6], &[(0, 6)]), &[]);
    assert_eq!(case.placed(&judgement), [(3, 9, Grade::Claimed)]);
}

#[test]
fn what_an_anchored_root_proves_stays_proven() {
    let mut case = Case::new([3, 4]);
    case.claim(0, 3, 3, Outbox);
    let target = case.target(1..=3, 1..=2);
    let log = Log::without(&[(3, 4)], 6);
    let judgement = log.judge(&case, &signed(&[6], &[(0, 6)]), &[target]);
    let expected = [(3, 3, Grade::Proven), (4, 4, Grade::Checkpointed)];
    assert_eq!(case.placed(&judgement), expected);
    assert!(bases(&judgement)[0].starts_with("anchored root of batch "));
}

#[test]
fn as_many_positions_that_nobody_names_rightly_are_compared_as_the_hashes_allow() {
    let mut case = Case::new(3..=8);
    (3..=5).for_each(|n| case.claim(0, n, n, Outbox));
    // Three events have no place yet, so that each position costs three.
    case.budget.hashes = 7;
    let judgement = Log::without(&[(3, 8)], 9).judge(&case, &signed(&[9], &[(0, 9)]), &[]);
    let expected = [3, 4, 5, 6, 7].map(|n| (n, n, Grade::Checkpointed));
    assert_eq!(case.placed(&judgement), expected);
    assert_eq!(judgement.open[0].range.start(), 8);
}

#[test]
fn what_a_checkpoint_places_may_be_what_a_batch_lacked() {
    let mut case = Case::new([3, 4, 5, 7, 9]);
    case.claim(0, 4, 4, Outbox);
    case.claim(0, 5, 5, Outbox);
    case.claim(0, 7, 9, Pulled);
    case.claim(1, 7, 7, Outbox);
    let targets = [case.target(1..=5, 1..=2), case.target(6..=8, [6, 8])];
    let log = Log::without(&[(3, 5), (7, 7)], 8);
    let judgement = log.judge(&case, &signed(&[3], &[(0, 3)]), &targets);
    let expected = [3, 4, 5, 7].map(|n| (n, n, Grade::Proven));
    assert_eq!(case.placed(&judgement), expected);
    let batch = format!("anchored root of batch {}", targets[0].batch_id);
    assert_eq!(bases(&judgement)[..3], [batch.as_str(); 3]);
    // What the other one took is still told.
    let took = |n: u128| BatchId(uuid::Uuid::from_u128(n));
    let expected = [(took(1), SOLVED), (took(6), TargetOutcome::Solved { tries: 2 })];
    assert_eq!(judgement.outcomes, expected);
}

#[test]
fn where_only_a_root_was_signed_the_named_events_are_tried() {
    let mut case = Case::new([4, 5]);
    case.evidence
        .add_candidate(candidate(9, SignatureCheck::KeyUnknown));
    case.claim(0, 4, 9, Pulled);
    case.claim(1, 4, 4, Outbox);
    case.claim(1, 5, 5, Outbox);
    let judgement = Log::without(&[(4, 5)], 6).judge(&case, &signed(&[6], &[]), &[]);
    let expected = [4, 5].map(|n| (n, n, Grade::Checkpointed));
    assert_eq!(case.placed(&judgement), expected);
    let basis = "the checkpoint of 6 events, signed by a.example+1 alone";
    assert_eq!(bases(&judgement), [basis; 2]);
    assert_eq!(judgement.heads, [(6, TargetOutcome::Solved { tries: 2 })]);
}

#[test]
fn a_root_that_is_reached_is_where_the_search_for_the_next_begins() {
    let mut case = Case::new([4, 7]);
    case.claim(0, 4, 4, Outbox);
    case.claim(0, 7, 7, Outbox);
    let log = Log::without(&[(4, 4), (7, 7)], 9);
    // The log itself has what is below 2 and 3.
    let judgement = log.judge(&case, &signed(&[2, 3, 5, 8], &[]), &[]);
    assert_eq!(judgement.heads, [(5, SOLVED), (8, SOLVED)]);
    let placed = case.placed(&judgement);
    assert_eq!(placed, [4, 7].map(|n| (n, n, Grade::Checkpointed)));
    assert!(bases(&judgement)[1].starts_with("the checkpoint of 8 events"));
}

#[test]
fn beyond_a_root_that_is_not_reached_none_is_searched_for() {
    let mut case = Case::new([7]);
    case.claim(0, 7, 7, Outbox);
    let log = Log::without(&[(4, 4), (7, 7)], 9);
    let judgement = log.judge(&case, &signed(&[5, 8, 9], &[]), &[]);
    assert_eq!(judgement.heads, [(5, UNTRIED)]);
    assert_eq!(case.placed(&judgement), [(7, 7, Grade::Claimed)]);
}

#[test]
fn behind_an_event_that_is_lost_the_search_begins_at_a_signed_tree() {
    let mut case = Case::new([8]);
    case.claim(0, 8, 8, Outbox);
    let log = Log::without(&[(4, 4), (8, 8)], 9);
    let checkpointed = signed(&[6, 9], &[(6, 6)]);
    let judgement = log.judge(&case, &checkpointed, &[]);
    assert_eq!(judgement.heads, [(6, UNTRIED), (9, SOLVED)]);
    assert_eq!(case.placed(&judgement), [(8, 8, Grade::Checkpointed)]);

    // What is below the signed tree is found by its root, though the tree itself is known.
    case.evidence.add_candidate(candidate(4, SignatureCheck::Valid));
    case.claim(0, 4, 4, Outbox);
    let judgement = log.judge(&case, &checkpointed, &[]);
    assert_eq!(judgement.heads, [(6, SOLVED), (9, SOLVED)]);
}

#[test]
fn nothing_is_tried_while_a_position_has_no_name_and_no_agents_order() {
    let mut case = Case::new([8, 90, 91]);
    case.claim(0, 8, 8, Outbox);
    // Behind the signed tree the log lacks two; what it has at 5 and 6 is below that.
    let log = Log::without(&[(4, 4), (7, 8)], 9);
    let judgement = log.judge(&case, &signed(&[6, 9], &[(6, 6)]), &[]);
    assert_eq!(judgement.heads, [(6, UNTRIED), (9, UNTRIED)]);
}

#[test]
fn what_nobody_names_is_filled_in_the_agents_own_order() {
    let mut case = Case::new([]);
    for (local, n) in [(1, 4), (2, 5), (3, 7)] {
        case.made(4, local, n);
    }
    case.claim(0, 5, 5, Outbox);
    // 5 has its place by an anchored root, and the log has 6.
    let target = case.target(5..=6, [6]);
    let log = Log::without(&[(4, 5), (7, 7)], 8);
    let judgement = log.judge(&case, &signed(&[8], &[]), &[target]);
    assert_eq!(judgement.heads, [(8, SOLVED)]);
    let expected = [
        (4, 4, Grade::Checkpointed),
        (5, 5, Grade::Proven),
        (7, 7, Grade::Checkpointed),
    ];
    assert_eq!(case.placed(&judgement), expected);
}

#[test]
fn a_root_that_no_guess_gives_places_nothing_and_the_guesses_are_told() {
    let mut case = Case::new([8, 9]);
    case.claim(0, 4, 8, Outbox);
    case.claim(0, 4, 9, Outbox);
    let judgement = Log::without(&[(4, 4)], 5).judge(&case, &signed(&[5], &[]), &[]);
    assert_eq!(judgement.heads, [(5, TargetOutcome::NoMatch { tries: 2 })]);
    assert!(judgement.placements.is_empty());
}
