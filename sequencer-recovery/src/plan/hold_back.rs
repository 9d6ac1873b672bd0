//! Ranges that must not be committed after a repair: the sequencer commits whatever it is asked to, holes or not, and a
//! commitment cannot be taken back.

use anchor_verify::batches::AnchoredBatch;
use serde::Serialize;

use crate::plan::planned::{PlannedMove, PlannedOpen};

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

/// What must not be committed in a stream: `open` is what the plan leaves open, `committed` the last number that is
/// committed once the plan is applied, `moves` the events that get other numbers.
pub(crate) fn hold_back(
    open: &[PlannedOpen],
    anchored: &[AnchoredBatch],
    committed: Option<u64>,
    moves: &[PlannedMove],
) -> Vec<HoldBack> {
    let open: Vec<&PlannedOpen> = open.iter().filter(|o| !o.filled).collect();
    let mut found = Vec::new();
    for batch in anchored {
        let (from, to) = (batch.sequence_start, batch.sequence_end);
        let missing = open.iter().filter(|o| o.from <= to && o.to >= from);
        let missing: u64 = missing.map(|o| o.to.min(to) - o.from.max(from) + 1).sum();
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
        && let Some(hole) = open.iter().find(|o| (o.from..=o.to).contains(&(last + 1)))
    {
        found.push(HoldBack {
            from: last + 1,
            to: hole.to,
            because: Because::Next,
            why: format!(
                "{} is the next to be committed and stays open: the stream can make no further commitment; {PREVENT}",
                last + 1
            ),
        });
    }
    let newcomers = moves.iter().filter(|m| m.to > m.from).map(|m| m.to);
    if let Some(first) = newcomers.min() {
        for hole in open.iter().filter(|o| o.from < first) {
            found.push(HoldBack {
                from: hole.from,
                to: first,
                because: Because::Newcomers,
                why: format!(
                    "{} to {} stay open before the newcomers, which begin at {first}: pulls and commitments cannot cross \
                     that hole; {PREVENT}",
                    hole.from, hole.to
                ),
            });
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use ves::{BatchId, EventId, Hash32, Timestamp};

    use super::*;
    use crate::grade::Grade;

    fn open(from: u64, to: u64) -> PlannedOpen {
        PlannedOpen {
            from,
            to,
            grade: Grade::Lost,
            reason: String::new(),
            rivals: Vec::new(),
            batch: None,
            filled: false,
        }
    }

    fn batch(from: u64, to: u64) -> AnchoredBatch {
        AnchoredBatch {
            batch_id: BatchId(uuid::Uuid::from_u128(u128::from(from))),
            stream: None,
            tenant_store_key: Hash32::ZERO,
            sequence_start: from,
            sequence_end: to,
            event_count: u32::try_from(to - from + 1).unwrap(),
            events_root: Hash32::ZERO,
            state_root: Hash32::ZERO,
            places: Vec::new(),
            contested: false,
        }
    }

    fn newcomer(from: u64, to: u64) -> PlannedMove {
        PlannedMove {
            event_id: EventId(uuid::Uuid::from_u128(1)),
            from,
            to,
            grade: None,
            basis: String::new(),
            sequenced_at: Timestamp(0),
            leaf: Hash32::ZERO,
            receipt: None,
            superseded_receipt: None,
        }
    }

    fn ranges(found: &[HoldBack]) -> Vec<(u64, u64)> {
        found.iter().map(|h| (h.from, h.to)).collect()
    }

    #[test]
    fn each_kind_is_found_and_what_is_filled_is_not() {
        let anchored = [batch(1, 16), batch(17, 32)];
        let holes = [open(20, 21), open(33, 40)];
        let found = hold_back(&holes, &anchored, Some(32), &[]);
        assert_eq!(ranges(&found), [(17, 32), (33, 40)]);
        assert!(found[0].why.contains("2 of its positions"));
        let found = hold_back(&holes[1..], &anchored, Some(40), &[newcomer(20, 45)]);
        assert_eq!(ranges(&found), [(33, 45)]);
        let filled = PlannedOpen {
            filled: true,
            ..open(33, 40)
        };
        assert!(hold_back(&[filled], &anchored, Some(32), &[newcomer(20, 45)]).is_empty());
        assert!(hold_back(&[], &anchored, Some(32), &[]).is_empty());
        assert!(hold_back(&[open(5, 6)], &[], None, &[]).is_empty());
    }
}
