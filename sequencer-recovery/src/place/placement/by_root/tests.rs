//! What is tried against a root, in which order, how much of it, and what is told of it.

use std::time::{Duration, Instant};

use outbox_sync::OutboxStatus;
use ves::{SignatureCheck, Timestamp};

use crate::grade::Grade;
use crate::place::placement::tests::{Case, candidate, outcome, spans};
use crate::place::placement::{Budget, Limit, TargetOutcome};
use crate::stream::target::Target;
use crate::witness::evidence::Saying::{self, Log, Outbox, Pointer, Pulled};

const ALPHA: usize = 0;
const BRAVO: usize = 1;
const COPY: usize = 2;

fn tries(tries: u64) -> Budget {
    Budget {
        tries,
        ..Budget::default()
    }
}

fn solved(tries: u64) -> TargetOutcome {
    TargetOutcome::Solved { tries }
}

fn nobody_names(position: u64, limit: Option<Limit>) -> TargetOutcome {
    TargetOutcome::NoCandidate {
        positions: spans(&[(position, position)]),
        limit,
    }
}

/// A target that lacks the event of position 3 alone.
fn lacks_three(case: &Case) -> Target {
    case.target(1..=3, 1..=2)
}

/// How many guesses it takes if words of these kinds are for event 3 and those for event 9, each of another holder.
fn guesses(right: &[Saying], wrong: &[Saying]) -> TargetOutcome {
    let mut case = Case::new([9, 3]);
    let holders = right.iter().map(|saying| (3, *saying));
    let holders = holders.chain(wrong.iter().map(|saying| (9, *saying)));
    for (holder, (n, saying)) in holders.enumerate() {
        case.claim(holder, 3, n, saying);
    }
    outcome(&case.judge(3..=3, &[lacks_three(&case)]))
}

#[test]
fn the_event_that_the_stronger_words_name_is_tried_first() {
    for (strong, weak) in [
        (&[Pointer][..], &[Outbox][..]),
        (&[Pulled], &[Pointer]),
        (&[Log], &[Pulled]),
        (&[Log], &[Pulled, Pulled]),
        // Words add up.
        (&[Outbox, Outbox, Outbox], &[Pointer]),
        (&[Pointer], &[Outbox, Outbox]),
    ] {
        assert_eq!(guesses(strong, weak), solved(1), "{strong:?} for the right one");
        assert_eq!(guesses(weak, strong), solved(2), "{strong:?} for the wrong one");
    }
}

#[test]
fn what_a_receipt_names_is_tried_before_what_a_copy_of_the_log_names() {
    for (receipted, claimed, took) in [(3, 9, 1), (9, 3, 2)] {
        let mut case = Case::new([9, 3]);
        case.claim(ALPHA, 3, claimed, Log);
        case.receipt(3, receipted, "receipts.txt:1");
        let judgement = case.judge(3..=3, &[lacks_three(&case)]);
        assert_eq!(outcome(&judgement), solved(took));
        assert_eq!(case.placed(&judgement), [(3, 3, Grade::Proven)]);
    }
    // A receipt is enough of a name.
    let mut case = Case::new([3]);
    case.receipt(3, 3, "receipts.txt:1");
    assert_eq!(outcome(&case.judge(3..=3, &[lacks_three(&case)])), solved(1));
}

#[test]
fn a_batch_is_tried_again_once_another_batch_took_its_rival() {
    let mut case = Case::new([3, 5]);
    case.budget = tries(1);
    case.claim(ALPHA, 3, 3, Outbox);
    case.claim(ALPHA, 5, 3, Log);
    case.claim(ALPHA, 5, 5, Outbox);
    let targets = [case.target(5..=6, [6]), case.target(3..=4, [4])];
    let judgement = case.judge_spans(&spans(&[(3, 3), (5, 5)]), &targets);
    let expected = [(3, 3, Grade::Proven), (5, 5, Grade::Proven)];
    assert_eq!(case.placed(&judgement), expected);
    assert!(
        judgement
            .outcomes
            .iter()
            .all(|(_, outcome)| *outcome == solved(1))
    );
}

#[test]
fn a_batch_is_tried_again_once_another_was_filled_in_an_agents_own_order() {
    let mut case = Case::new([5]);
    case.made(4, 1, 3);
    case.budget = tries(1);
    case.claim(ALPHA, 5, 3, Log);
    case.claim(ALPHA, 5, 5, Outbox);
    let targets = [case.target(5..=6, [6]), case.target(3..=4, [4])];
    let judgement = case.judge_spans(&spans(&[(3, 3), (5, 5)]), &targets);
    let expected = [(3, 3, Grade::Proven), (5, 5, Grade::Proven)];
    assert_eq!(case.placed(&judgement), expected);
}

#[test]
fn the_agents_own_order_is_tried_for_up_to_sixty_four_positions() {
    for (width, found) in [(64, true), (65, false)] {
        let mut case = Case::new([]);
        // Its last events were never sequenced.
        for n in 1..=width + 20 {
            case.made(4, n as i64, n);
        }
        let judgement = case.judge(1..=width, &[case.target(1..=width, [])]);
        assert_eq!(judgement.placements.len() as u64, if found { width } else { 0 });
        assert_eq!(outcome(&judgement) == solved(1), found);
    }
}

#[test]
fn guesses_by_name_and_by_order_are_counted_together() {
    let mut case = Case::new([30]);
    case.made(4, 1, 3);
    case.made(4, 2, 4);
    case.claim(ALPHA, 3, 30, Pulled);
    case.claim(ALPHA, 4, 4, Pulled);
    let judgement = case.judge(3..=4, &[case.target(1..=4, 1..=2)]);
    // 30 and 4, as they are named; then in order the same, 30 and 3, and at last 3 and 4.
    assert_eq!(outcome(&judgement), solved(4));
    assert_eq!(
        case.placed(&judgement),
        [(3, 3, Grade::Proven), (4, 4, Grade::Proven)]
    );
}

#[test]
fn a_search_in_order_that_came_to_its_end_is_told_apart_from_one_that_was_cut_short() {
    let judged = |named: bool, truth_is_held: bool, budget: u64| {
        let mut case = Case::new([30]);
        case.made(4, 1, 90);
        if truth_is_held {
            case.made(4, 2, 3);
        }
        if named {
            case.claim(ALPHA, 3, 30, Pulled);
        }
        case.budget = tries(budget);
        outcome(&case.judge(3..=3, &[lacks_three(&case)]))
    };
    let spent = Some(Limit::Candidates);
    assert_eq!(judged(false, true, 1), nobody_names(3, spent));
    assert_eq!(judged(false, true, 2), solved(2));
    assert_eq!(judged(false, false, 2), nobody_names(3, None));
    // By name there was one guess, and two in order: the same again, and 90.
    let limit = Limit::Candidates;
    assert_eq!(
        judged(true, true, 2),
        TargetOutcome::BudgetSpent { tries: 3, limit }
    );
    assert_eq!(judged(true, true, 3), solved(4));
    assert_eq!(judged(true, false, 3), TargetOutcome::NoMatch { tries: 3 });
}

#[test]
fn what_a_receipt_placed_is_not_looked_for_again_and_stays_receipted() {
    let mut case = Case::new([3, 4]);
    case.receipt(3, 3, "receipts.txt:1");
    case.claim(ALPHA, 4, 4, Outbox);
    let target = Target {
        grade: Grade::Committed,
        ..case.target(1..=4, 1..=2)
    };
    let judgement = case.judge(3..=4, std::slice::from_ref(&target));
    assert_eq!(outcome(&judgement), solved(1));
    assert_eq!(
        case.placed(&judgement),
        [(3, 3, Grade::Receipted), (4, 4, Grade::Committed)]
    );
    let bases: Vec<&str> = judgement.placements.iter().map(|p| p.basis.as_str()).collect();
    let by_root = format!("root of commitment {}", target.batch_id);
    assert_eq!(bases, ["signed receipt, receipts.txt:1", &by_root]);
}

#[test]
fn a_place_that_one_root_proves_is_not_told_anew_by_the_next() {
    let mut case = Case::new([3]);
    case.evidence
        .add_candidate(candidate(4, SignatureCheck::KeyUnknown));
    case.claim(ALPHA, 3, 3, Outbox);
    case.claim(ALPHA, 4, 4, Outbox);
    let targets = [case.target(1..=3, 1..=2), case.target(2..=4, [2])];
    let judgement = case.judge(3..=4, &targets);
    let bases: Vec<&str> = judgement.placements.iter().map(|p| p.basis.as_str()).collect();
    let expected = [
        format!("anchored root of batch {}", targets[0].batch_id),
        format!(
            "anchored root of batch {}; signature bound by the root, NOT CHECKED: its key is not registered",
            targets[1].batch_id
        ),
    ];
    assert_eq!(bases, expected);
}

/// Event 2 was numbered at 100.
fn timed(case: &Case) -> Target {
    let mut target = lacks_three(case);
    target.times.insert(2, Timestamp(100));
    target
}

#[test]
fn an_event_that_was_numbered_too_early_is_tried_last_and_is_not_given_up() {
    for (right, wrong, took) in [(Some(150), Some(50), 1), (Some(50), Some(150), 2)] {
        let mut case = Case::new([3, 9]);
        case.claim_at(ALPHA, 3, 9, Log, wrong);
        case.claim_at(ALPHA, 3, 3, Outbox, right);
        let judgement = case.judge(3..=3, &[timed(&case)]);
        assert_eq!(outcome(&judgement), solved(took));
        assert_eq!(case.placed(&judgement), [(3, 3, Grade::Proven)]);
    }
}

#[test]
fn an_event_that_its_agent_made_before_those_that_stand_before_it_is_tried_last() {
    let mut case = Case::new([]);
    case.made(4, 5, 9);
    case.made(4, 11, 3);
    case.made(4, 20, 4);
    case.made(4, 15, 19);
    case.made(4, 21, 5);
    let agent = case.evidence.candidates[0].event.source_agent_id;
    let known = case.evidence.known_order.entry(agent).or_default();
    known.insert(2, 10);
    case.claim(ALPHA, 3, 9, Log);
    case.claim(BRAVO, 3, 3, Outbox);
    case.claim(BRAVO, 4, 4, Outbox);
    case.claim(ALPHA, 5, 19, Log);
    case.claim(BRAVO, 5, 5, Outbox);
    let targets = [case.target(1..=4, 1..=2), case.target(5..=6, [6])];
    let judgement = case.judge(3..=5, &targets);
    // The log has number 10 at 2, so 5 is not behind it; then 20 is placed at 4, so 15 is not behind that.
    let outcomes: Vec<&TargetOutcome> = judgement.outcomes.iter().map(|(_, outcome)| outcome).collect();
    assert_eq!(outcomes, [&solved(1), &solved(1)]);
}

#[test]
fn no_guess_has_an_event_at_two_positions() {
    let mut case = Case::new(10..=13);
    // Two events for two positions are two guesses; four for four are 24.
    for (last, budget, took) in [(4, 20_000, 2), (6, 50, 24)] {
        for position in 3..=last {
            (10..8 + last).for_each(|n| case.claim(ALPHA, position, n, Outbox));
        }
        case.budget = tries(budget);
        let judgement = case.judge(3..=last, &[case.target(1..=last, 1..=2)]);
        assert_eq!(outcome(&judgement), TargetOutcome::NoMatch { tries: took });
    }
}

/// Positions 3 and 4, for which only one event is named, and further ones for which so many are named.
fn nothing_fits(named: &[u64]) -> (Case, u64, Target) {
    let mut case = Case::new(100..=100);
    case.claim(ALPHA, 3, 100, Outbox);
    case.claim(ALPHA, 4, 100, Outbox);
    let mut next = 101;
    for (position, named) in (5..).zip(named) {
        for n in next..next + named {
            case.evidence.add_candidate(candidate(n, SignatureCheck::Valid));
            case.claim(ALPHA, position, n, Outbox);
        }
        next += named;
    }
    let last = 4 + named.len() as u64;
    let target = case.target(1..=last, 1..=2);
    (case, last, target)
}

#[test]
fn five_guesses_are_passed_over_for_each_that_may_be_tried_and_no_more() {
    let judged = |named: u64| {
        let (mut case, last, target) = nothing_fits(&[named]);
        case.budget = tries(2);
        outcome(&case.judge(3..=last, &[target]))
    };
    assert_eq!(judged(10), TargetOutcome::NoMatch { tries: 0 });
    let limit = Limit::Candidates;
    assert_eq!(judged(11), TargetOutcome::BudgetSpent { tries: 0, limit });
}

#[test]
fn while_guesses_are_passed_over_the_search_goes_on_as_long_as_it_has_time() {
    for until in [None, Some(Instant::now() + Duration::from_secs(3600))] {
        let (mut case, last, target) = nothing_fits(&[71, 71]);
        case.budget = Budget { until, ..tries(1100) };
        let judgement = case.judge(3..=last, &[target]);
        assert_eq!(outcome(&judgement), TargetOutcome::NoMatch { tries: 0 });
    }
}

#[test]
fn while_guesses_are_passed_over_the_time_runs_and_it_is_told_that_it_ran_out() {
    let (mut case, last, target) = nothing_fits(&[4; 14]);
    case.budget = Budget {
        until: Some(Instant::now() + Duration::from_millis(400)),
        ..tries(u64::MAX)
    };
    let judgement = case.judge(3..=last, &[target]);
    let limit = Limit::Seconds;
    assert_eq!(
        outcome(&judgement),
        TargetOutcome::BudgetSpent { tries: 0, limit }
    );
}

#[test]
fn a_claim_to_a_position_that_the_log_has_is_no_guess() {
    let mut case = Case::new([3, 9]);
    case.claim(ALPHA, 2, 9, Pulled);
    case.claim(ALPHA, 3, 3, Outbox);
    assert_eq!(outcome(&case.judge(3..=3, &[lacks_three(&case)])), solved(1));
}

#[test]
fn what_the_sequencer_refused_has_no_place_in_an_agents_order() {
    let mut case = Case::new([]);
    case.made(4, 1, 90).status = Some(OutboxStatus::Rejected);
    case.made(4, 2, 3);
    assert_eq!(outcome(&case.judge(3..=3, &[lacks_three(&case)])), solved(1));
    case.evidence.candidates[0].status = Some(OutboxStatus::Pending);
    assert_eq!(outcome(&case.judge(3..=3, &[lacks_three(&case)])), solved(2));
}

/// So many agents made one event each that was numbered too early for position 3; the last one made event 3.
fn too_early(agents: u64) -> (Case, Target) {
    let mut case = Case::new([]);
    for agent in 1..=agents {
        case.made(u128::from(agent), 1, 100 + agent);
        case.claim_at(COPY, 50, 100 + agent, Pulled, Some(50));
    }
    case.made(1000, 1, 3);
    let target = timed(&case);
    (case, target)
}

#[test]
fn in_order_too_what_was_numbered_too_early_is_passed_over() {
    let (case, target) = too_early(3);
    let judgement = case.judge(3..=3, &[target]);
    assert_eq!(outcome(&judgement), solved(1));
    assert_eq!(case.placed(&judgement), [(3, 3, Grade::Proven)]);
}

#[test]
fn a_search_in_order_that_passed_over_too_many_guesses_was_not_finished() {
    let judged = |agents: u64| {
        let (mut case, target) = too_early(agents);
        case.budget = tries(2);
        outcome(&case.judge(3..=3, &[target]))
    };
    assert_eq!(judged(10), solved(1));
    assert_eq!(judged(11), nobody_names(3, Some(Limit::Candidates)));
}

#[test]
fn a_batch_gets_fewer_guesses_the_more_hashes_each_costs() {
    let mut case = Case::new(10..=13);
    (10..=11).for_each(|n| case.claim(ALPHA, 3, n, Outbox));
    (12..=13).for_each(|n| case.claim(ALPHA, 4, n, Outbox));
    let judged = |case: &Case| outcome(&case.judge(3..=4, &[case.target(1..=4, 1..=2)]));
    assert_eq!(judged(&case), TargetOutcome::NoMatch { tries: 4 });
    // Two nodes are above the two open leaves.
    case.budget.hashes = 7;
    let limit = Limit::Candidates;
    assert_eq!(judged(&case), TargetOutcome::BudgetSpent { tries: 3, limit });
}
