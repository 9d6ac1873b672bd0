//! Ranges that must not be committed after a repair: the sequencer commits whatever it is asked to, holes or not, and a
//! commitment cannot be taken back.

use serde::Serialize;
use ves::span::Span;

/// A range that must not be committed yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HoldBack {
    /// Its first number.
    pub from: u64,
    /// Its last number.
    pub to: u64,
    /// Why, in a word.
    pub because: Because,
    /// Why, and how to prevent it.
    pub why: String,
}

/// Why a range must not be committed yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Because {
    /// It is anchored, and positions of it are open.
    Anchored,
    /// It begins with the next number to be committed, which is open.
    Next,
    /// Positions before the newcomers are open.
    Newcomers,
}

const PREVENT: &str =
    "wait for agents that were not heard, or fill what is lost (--fill-losses tombstone), then commit";

/// What must not be committed in a stream: `open` are the positions without an event, `anchored` the ranges of anchored
/// batches, `committed` the last number that is committed, `newcomers` the first number of events that were given other
/// numbers since theirs had been given out before.
pub(crate) fn hold_back(
    open: &[Span],
    anchored: &[Span],
    committed: Option<u64>,
    newcomers: Option<u64>,
) -> Vec<HoldBack> {
    let mut found = Vec::new();
    for batch in anchored {
        let (from, to) = (batch.start(), batch.end());
        let missing = open.iter().filter(|o| o.start() <= to && o.end() >= from);
        let missing: u64 = missing.map(|o| o.end().min(to) - o.start().max(from) + 1).sum();
        if missing > 0 {
            found.push(HoldBack {
                from,
                to,
                because: Because::Anchored,
                why: format!(
                    "it is anchored and {missing} of its positions stay open: a commitment made now would contradict the \
                     anchor for good; {PREVENT}"
                ),
            });
        }
    }
    if let Some(last) = committed
        && let Some(next) = last.checked_add(1)
        && let Some(hole) = open.iter().find(|o| (o.start()..=o.end()).contains(&next))
    {
        found.push(HoldBack {
            from: next,
            to: hole.end(),
            because: Because::Next,
            why: format!(
                "{next} is the next to be committed and stays open: the stream can make no further commitment; {PREVENT}"
            ),
        });
    }
    if let Some(first) = newcomers {
        for hole in open.iter().filter(|o| o.start() < first) {
            found.push(HoldBack {
                from: hole.start(),
                to: first,
                because: Because::Newcomers,
                why: format!(
                    "{} to {} stay open before the newcomers, which begin at {first}: pulls and commitments cannot cross \
                     that hole; {PREVENT}",
                    hole.start(),
                    hole.end()
                ),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spans(of: &[(u64, u64)]) -> Vec<Span> {
        of.iter().filter_map(|(from, to)| Span::new(*from, *to)).collect()
    }

    fn ranges(found: &[HoldBack]) -> Vec<(u64, u64)> {
        found.iter().map(|h| (h.from, h.to)).collect()
    }

    #[test]
    fn each_kind_is_found_and_what_is_filled_is_not() {
        let anchored = spans(&[(1, 16), (17, 32)]);
        let holes = spans(&[(20, 21), (33, 40)]);
        let found = hold_back(&holes, &anchored, Some(32), None);
        assert_eq!(ranges(&found), [(17, 32), (33, 40)]);
        assert!(found[0].why.contains("2 of its positions"));
        let found = hold_back(&holes[1..], &anchored, Some(40), Some(45));
        assert_eq!(ranges(&found), [(33, 45)]);
        assert!(hold_back(&[], &anchored, Some(32), Some(45)).is_empty());
        assert!(hold_back(&[], &anchored, Some(32), None).is_empty());
        assert!(hold_back(&spans(&[(5, 6)]), &[], None, None).is_empty());
        assert!(hold_back(&spans(&[(5, 6)]), &[], Some(u64::MAX), None).is_empty());
    }
}
