//! The order in which guesses are tried.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// One named event for a position.
#[derive(Debug, Clone, Copy)]
pub struct Choice {
    /// The event, as an index into the evidence's candidates.
    pub candidate: usize,
    /// How much speaks for it. Only the order of guesses depends on it.
    pub weight: u32,
}

/// Enumerates one choice per position, the heaviest combination first, each combination once.
///
/// A combination is known by the positions where it does not take the heaviest choice. Positions are ranked by what
/// the second choice costs. A combination has at most three children: its last position takes the next choice; the
/// next position takes its second choice, too; or, if the last position takes its second choice, it hands that on to
/// the next position. So every combination has exactly one parent, which is not lighter, and few wait at a time.
pub struct BestFirst<'a> {
    choices: &'a [Vec<Choice>],
    /// Positions with more than one choice, by what the second one costs.
    ranked: Vec<usize>,
    heap: BinaryHeap<State>,
    /// Whether combinations were let go for want of room.
    dropped: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct State {
    cost: Reverse<u32>,
    /// Rank and choice of the positions that do not take the heaviest, by rank.
    raised: Vec<(u32, u32)>,
}

impl<'a> BestFirst<'a> {
    /// More combinations than this are never kept waiting.
    const MAX_WAITING: usize = 400_000;

    /// Starts with the heaviest choice everywhere; each position's choices are heaviest first.
    pub fn new(choices: &'a [Vec<Choice>]) -> Self {
        let mut ranked: Vec<usize> = (0..choices.len()).filter(|p| choices[*p].len() > 1).collect();
        ranked.sort_by_key(|p| choices[*p][0].weight - choices[*p][1].weight);
        let first = State {
            cost: Reverse(0),
            raised: Vec::new(),
        };
        Self {
            choices,
            ranked,
            heap: BinaryHeap::from([first]),
            dropped: false,
        }
    }

    /// Whether every combination was handed out.
    pub fn is_exhausted(&self) -> bool {
        self.heap.is_empty() && !self.dropped
    }

    /// What it costs at a rank to take `to` instead of the choice before it.
    fn step(&self, rank: u32, to: u32) -> u32 {
        let at = &self.choices[self.ranked[rank as usize]];
        at[to as usize - 1].weight - at[to as usize].weight
    }

    fn push(&mut self, cost: u32, raised: Vec<(u32, u32)>) {
        if self.heap.len() >= Self::MAX_WAITING {
            self.dropped = true;
            return;
        }
        self.heap.push(State {
            cost: Reverse(cost),
            raised,
        });
    }

    /// The next combination: for each position the index of its choice.
    pub fn next(&mut self) -> Option<Vec<u32>> {
        let State {
            cost: Reverse(cost),
            raised,
        } = self.heap.pop()?;
        let mut picks = vec![0; self.choices.len()];
        for (rank, choice) in &raised {
            picks[self.ranked[*rank as usize]] = *choice;
        }
        let following = raised.last().map_or(0, |(rank, _)| rank + 1);
        let has_following = (following as usize) < self.ranked.len();
        if let Some(&(rank, choice)) = raised.last() {
            if (choice as usize) + 1 < self.choices[self.ranked[rank as usize]].len() {
                let mut higher = raised.clone();
                higher.pop();
                higher.push((rank, choice + 1));
                self.push(cost + self.step(rank, choice + 1), higher);
            }
            if choice == 1 && has_following {
                let mut handed_on = raised.clone();
                handed_on.pop();
                handed_on.push((following, 1));
                self.push(cost - self.step(rank, 1) + self.step(following, 1), handed_on);
            }
        }
        if has_following {
            let cost = cost + self.step(following, 1);
            let mut more = raised;
            more.push((following, 1));
            self.push(cost, more);
        }
        Some(picks)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn all_in_order(weights: Vec<Vec<u32>>) -> usize {
        let choices: Vec<Vec<Choice>> = weights
            .into_iter()
            .map(|weights| {
                weights
                    .into_iter()
                    .enumerate()
                    .map(|(candidate, weight)| Choice { candidate, weight })
                    .collect()
            })
            .collect();
        let mut guesses = BestFirst::new(&choices);
        let mut seen = BTreeSet::new();
        let mut last = u32::MAX;
        while let Some(guess) = guesses.next() {
            let weight = guess
                .iter()
                .zip(&choices)
                .map(|(&i, c)| c[i as usize].weight)
                .sum();
            assert!(weight <= last, "{guess:?} is heavier than the one before");
            last = weight;
            assert!(seen.insert(guess), "twice");
            let all: usize = choices.iter().map(Vec::len).product();
            assert_eq!(guesses.is_exhausted(), seen.len() == all);
        }
        assert!(guesses.is_exhausted());
        seen.len()
    }

    #[test]
    fn every_combination_comes_once_and_the_heaviest_first() {
        assert_eq!(all_in_order(vec![vec![9, 4, 4], vec![7], vec![8, 1]]), 6);
        assert_eq!(
            all_in_order(vec![vec![9, 8, 1, 1], vec![5, 5, 5], vec![7, 2], vec![3, 2, 0]]),
            4 * 3 * 2 * 3
        );
    }

    #[test]
    fn without_positions_there_is_one_guess() {
        let mut guesses = BestFirst::new(&[]);
        assert_eq!(guesses.next(), Some(vec![]));
        assert_eq!(guesses.next(), None);
    }
}
