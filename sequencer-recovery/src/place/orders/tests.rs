//! Which assignments are tried, and in what order.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[test]
fn runs_come_first_then_every_interleaving_in_order_and_none_twice() {
    let queues = [
        Queue {
            events: vec![(1, 10), (2, 11)],
        },
        Queue {
            events: vec![(1, 20), (2, 21)],
        },
    ];
    let slots = vec![
        Slot {
            named: vec![],
            bounds: vec![]
        };
        4
    ];
    let mut search = OrderSearch::new(&slots, &queues, None);
    let mut seen = BTreeSet::new();
    let first = search.next().unwrap();
    assert!(
        first == [10, 11, 20, 21] || first == [20, 21, 10, 11],
        "{first:?}"
    );
    seen.insert(first);
    while let Some(picks) = search.next() {
        let order = |of: usize| {
            picks
                .iter()
                .filter(|p| **p / 10 == of)
                .copied()
                .collect::<Vec<_>>()
        };
        assert_eq!((order(1), order(2)), (vec![10, 11], vec![20, 21]));
        assert!(seen.insert(picks));
    }
    assert_eq!(seen.len(), 6);
    assert!(!search.dropped);
}

#[test]
fn names_are_followed_first_and_bounds_kept() {
    let queues = [Queue {
        events: vec![(5, 1), (6, 2), (7, 3)],
    }];
    let named = |candidate| vec![Choice { candidate, weight: 8 }];
    let slots = [
        Slot {
            named: vec![],
            bounds: vec![(6, i64::MAX)],
        },
        Slot {
            named: named(3),
            bounds: vec![(6, i64::MAX)],
        },
    ];
    let mut search = OrderSearch::new(&slots, &queues, None);
    assert_eq!(search.next(), Some(vec![2, 3]));
    assert_eq!(
        search.next(),
        None,
        "1 is below the bound, 3 before 2 is out of order"
    );
}

fn named(choices: &[(usize, u32)]) -> Slot {
    Slot {
        named: choices
            .iter()
            .map(|&(candidate, weight)| Choice { candidate, weight })
            .collect(),
        bounds: vec![],
    }
}

fn all(slots: &[Slot], queues: &[Queue]) -> Vec<Vec<usize>> {
    let mut search = OrderSearch::new(slots, queues, None);
    let all = std::iter::from_fn(|| search.next()).collect();
    assert!(!search.dropped);
    all
}

#[test]
fn the_heavier_name_goes_first_and_of_names_for_two_positions_the_nearer_one_is_given_up_first() {
    assert_eq!(all(&[named(&[(1, 8), (2, 5)])], &[]), [[1], [2]]);
    // At the first position the second name is worth 5 less, at the other 3 less.
    let slots = [named(&[(1, 8), (2, 3)]), named(&[(3, 8), (4, 5)])];
    assert_eq!(all(&slots, &[]), [[1, 3], [1, 4], [2, 3], [2, 4]]);
}

#[test]
fn an_event_that_is_named_for_two_positions_gets_one_of_them() {
    let slots = [named(&[(1, 8), (2, 8)]), named(&[(1, 8), (2, 8)])];
    assert_eq!(all(&slots, &[]), [[1, 2], [2, 1]]);
}

#[test]
fn three_events_in_a_row_may_be_left_out_and_the_fewer_the_likelier() {
    let queues = [Queue {
        events: (0..6).map(|n| (i64::from(n), n as usize)).collect(),
    }];
    let slots = [named(&[]), named(&[])];
    let mut found = all(&slots, &queues);
    assert_eq!(found[0], [0, 1]);
    let left_out = |picks: &Vec<usize>| picks[1] - 1;
    assert!(found.is_sorted_by_key(left_out), "{found:?}");
    found.sort_unstable();
    let expected =
        (0..4).flat_map(|first| (first + 1..6.min(first + 5)).map(move |second| vec![first, second]));
    assert_eq!(found, expected.collect::<Vec<_>>());
}

/// Two agents' events, as many as there are slots that nobody names.
fn full_house(each: usize) -> (Vec<Slot>, [Queue; 2]) {
    let of = |agent: usize| Queue {
        events: (0..each).map(|n| (n as i64, agent * each + n)).collect(),
    };
    let slots = vec![Slot::default(); 2 * each];
    (slots, [of(0), of(1)])
}

#[test]
fn where_every_event_is_needed_none_is_left_out_on_the_way() {
    let (slots, queues) = full_house(32);
    let mut search = OrderSearch::new(&slots, &queues, None);
    for _ in 0..16 {
        assert_eq!(search.next().map(|picks| picks.len()), Some(64));
    }
    assert!(search.steps < 20_000, "{}", search.steps);
}

#[test]
fn a_search_without_more_time_ends_and_says_so() {
    let (slots, queues) = full_house(8);
    let whole = OrderSearch::new(&slots, &queues, Some(Instant::now() + Duration::from_secs(3600)));
    let late = OrderSearch::new(&slots, &queues, Some(Instant::now()));
    let drawn = |mut search: OrderSearch<'_>| {
        let count = std::iter::from_fn(|| search.next()).count();
        (count, search.late)
    };
    // 16 places, of which 8 are one agent's.
    assert_eq!(drawn(whole), (12_870, false));
    let (count, is_late) = drawn(late);
    assert!(is_late && count < 4096, "{count}");
}

#[test]
fn what_waits_is_bounded_and_what_was_let_go_is_told() {
    let queues: Vec<Queue> = (0..16)
        .map(|agent| Queue {
            events: (0..40).map(|n| (n, (agent * 40 + n) as usize)).collect(),
        })
        .collect();
    let slots = vec![named(&[]); 40];
    let mut search = OrderSearch::new(&slots, &queues, None);
    let mut seen = BTreeSet::new();
    while !search.dropped {
        assert!(seen.insert(search.next().unwrap()), "twice");
        assert!(search.heap.len() <= OrderSearch::MAX_WAITING);
    }
}

/// What an assignment costs, or `None` if the agents' own order, the bounds or another position forbid it.
fn cost(slots: &[Slot], queues: &[Queue], picks: &[usize]) -> Option<u32> {
    let (mut cost, mut last) = (0, None);
    let mut next = vec![0; queues.len()];
    for (at, (slot, pick)) in slots.iter().zip(picks).enumerate() {
        if picks[..at].contains(pick) {
            return None;
        }
        let heaviest = slot.named.first().map(|first| first.weight);
        let rank = slot.named.iter().position(|choice| choice.candidate == *pick);
        cost += match (rank, heaviest) {
            (Some(0), _) | (_, None) => 0,
            (Some(rank), Some(heaviest)) => heaviest - slot.named[rank].weight + 1,
            (None, Some(heaviest)) => heaviest + OrderSearch::UNNAMED,
        };
        let of = |queue: &Queue| queue.events.iter().position(|(_, candidate)| candidate == pick);
        let Some((agent, place)) = queues.iter().enumerate().find_map(|(a, q)| Some((a, of(q)?))) else {
            continue;
        };
        let left_out = place.checked_sub(next[agent])?;
        if rank.is_none() {
            cost += OrderSearch::SKIP * left_out as u32;
        }
        let local = queues[agent].events[place].0;
        let fits = slot
            .bounds
            .get(agent)
            .is_none_or(|(low, high)| (*low..=*high).contains(&local));
        if !fits || (rank.is_none() && left_out > OrderSearch::MAX_SKIP) {
            return None;
        }
        cost += u32::from(last.is_some_and(|last| last != agent)) * OrderSearch::SWITCH;
        next[agent] = place + 1;
        last = Some(agent);
    }
    Some(cost)
}

/// Every way to put different events at so many positions.
fn arrangements(events: &[usize], positions: usize) -> Vec<Vec<usize>> {
    let mut ways = vec![vec![]];
    for _ in 0..positions {
        let longer = ways.iter().flat_map(|way: &Vec<usize>| {
            let others = events.iter().filter(|event| !way.contains(event));
            others.map(|event| [way.as_slice(), &[*event]].concat())
        });
        ways = longer.collect();
    }
    ways
}

/// Names (events and weights) and the local numbers that fit, of one position.
type Given = (Vec<(usize, u32)>, Option<(i64, i64)>);

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// All that the agents' own order, the names and the log allow comes, each once, and the likeliest first.
    #[test]
    fn what_comes_is_all_that_is_allowed_and_the_likeliest_comes_first(
        lengths in (0usize..7, 0usize..4),
        given in prop::collection::vec(
            (prop::collection::vec((0usize..12, 1u32..20), 0..4), prop::option::of((0i64..4, 2i64..8))),
            1..4,
        ),
    ) {
        // Events 0 and on are of one agent, 7 and on of another, and 10 and 11 of nobody's queue.
        let queue = |first: usize, length: usize| Queue {
            events: (0..length).map(|n| (n as i64, first + n)).collect(),
        };
        let queues = [queue(0, lengths.0), queue(7, lengths.1)];
        let slot = |(mut names, bounds): Given| {
            names.sort_by_key(|(event, weight)| (Reverse(*weight), *event));
            let mut seen = BTreeSet::new();
            names.retain(|(event, _)| seen.insert(*event));
            let mut slot = named(&names);
            slot.bounds.extend(bounds);
            slot
        };
        let slots: Vec<Slot> = given.into_iter().map(slot).collect();
        let found = all(&slots, &queues);
        let costs: Vec<Option<u32>> = found.iter().map(|picks| cost(&slots, &queues, picks)).collect();
        prop_assert!(costs.iter().all(Option::is_some), "{:?}", found);
        prop_assert!(costs.is_sorted(), "{:?} cost {:?}", found, costs);

        let queued = queues.iter().flat_map(|queue| queue.events.iter().map(|(_, event)| *event));
        let events = queued.chain(slots.iter().flat_map(|slot| slot.named.iter().map(|c| c.candidate)));
        let events: BTreeSet<usize> = events.collect();
        let events: Vec<usize> = events.into_iter().collect();
        // A name is followed only at its own position.
        let may_stand = |picks: &Vec<usize>| picks.iter().zip(&slots).all(|(pick, slot)| {
            let queued = queues.iter().any(|queue| queue.events.iter().any(|(_, event)| event == pick));
            queued || slot.named.iter().any(|choice| choice.candidate == *pick)
        });
        let mut expected = arrangements(&events, slots.len());
        expected.retain(|picks| may_stand(picks) && cost(&slots, &queues, picks).is_some());
        let count = found.len();
        let found: BTreeSet<Vec<usize>> = found.into_iter().collect();
        prop_assert_eq!(found.len(), count, "one came twice");
        prop_assert_eq!(found, expected.into_iter().collect::<BTreeSet<_>>());
    }
}
