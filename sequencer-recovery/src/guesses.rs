//! The order in which guesses are tried.

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
/// A state is the index chosen at each position. Its children raise one index, at the position raised
/// last or a later one, so every combination has exactly one parent.
pub struct BestFirst<'a> {
    choices: &'a [Vec<Choice>],
    heap: BinaryHeap<State>,
    /// Combinations passed over since they use one event twice.
    pub skipped: u64,
    /// Whether combinations were let go for want of room.
    dropped: bool,
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct State {
    cost: std::cmp::Reverse<u32>,
    picks: Vec<u16>,
    raised: usize,
}

impl<'a> BestFirst<'a> {
    /// More combinations than this are never kept waiting.
    const MAX_WAITING: usize = 200_000;

    /// Starts with the heaviest choice everywhere; each position's choices are heaviest first.
    pub fn new(choices: &'a [Vec<Choice>]) -> Self {
        let first = State {
            cost: std::cmp::Reverse(0),
            picks: vec![0; choices.len()],
            raised: 0,
        };
        Self {
            choices,
            heap: BinaryHeap::from([first]),
            skipped: 0,
            dropped: false,
        }
    }

    /// Whether every combination was handed out.
    pub fn is_exhausted(&self) -> bool {
        self.heap.is_empty() && !self.dropped
    }

    /// The next combination: for each position the index of its choice.
    pub fn next(&mut self) -> Option<Vec<u16>> {
        let state = self.heap.pop()?;
        for position in state.raised..self.choices.len() {
            let raised = state.picks[position] as usize + 1;
            let at = &self.choices[position];
            if raised >= at.len() {
                continue;
            }
            if raised > u16::MAX.into() || self.heap.len() >= Self::MAX_WAITING {
                self.dropped = true;
                continue;
            }
            let mut picks = state.picks.clone();
            picks[position] = raised as u16;
            let cost = state.cost.0 + (at[raised - 1].weight - at[raised].weight);
            self.heap.push(State {
                cost: std::cmp::Reverse(cost),
                picks,
                raised: position,
            });
        }
        Some(state.picks)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_combination_comes_once_and_the_heaviest_first() {
        let choices: Vec<Vec<Choice>> = [vec![9, 4, 4], vec![7], vec![8, 1]]
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
        }
        assert_eq!(seen.len(), 6);
        assert!(guesses.is_exhausted());
    }

    #[test]
    fn without_positions_there_is_one_guess() {
        let mut guesses = BestFirst::new(&[]);
        assert_eq!(guesses.next(), Some(vec![]));
        assert_eq!(guesses.next(), None);
    }
}
