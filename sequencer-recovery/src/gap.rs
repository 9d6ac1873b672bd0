//! Gaps: which positions of a stream are missing. Pure arithmetic on ranges.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};
use ves::span::Span;

/// Where a gap lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GapKind {
    /// From 1 up to the first present event.
    Leading,
    /// Between present events.
    Interior,
    /// After the last present event, up to the highest number that a witness knows.
    Tail,
}

impl fmt::Display for GapKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            GapKind::Leading => "leading",
            GapKind::Interior => "interior",
            GapKind::Tail => "tail",
        })
    }
}

/// A range of missing positions, both ends inclusive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Gap {
    /// Where it lies.
    pub kind: GapKind,
    /// The first missing position.
    pub from: u64,
    /// The last missing position.
    pub to: u64,
}

impl Gap {
    /// How many positions are missing.
    pub fn count(&self) -> u64 {
        (self.to - self.from).saturating_add(1)
    }

    /// The missing positions, one by one.
    pub fn range(&self) -> RangeInclusive<u64> {
        self.from..=self.to
    }

    /// The missing positions.
    pub fn span(&self) -> Option<Span> {
        Span::new(self.from, self.to)
    }
}

/// The gaps of a stream whose events stand at `present` (ascending, disjoint ranges), given the highest
/// number that any witness knows.
///
/// Sequences start at 1. A stream without any event has one gap, a tail from 1.
pub fn gaps(present: &[RangeInclusive<u64>], head: u64) -> Vec<Gap> {
    let mut gaps = Vec::new();
    let mut next = 1;
    for range in present {
        if *range.start() > next {
            let kind = if next == 1 {
                GapKind::Leading
            } else {
                GapKind::Interior
            };
            gaps.push(Gap {
                kind,
                from: next,
                to: range.start() - 1,
            });
        }
        next = next.max(range.end().saturating_add(1));
    }
    if head >= next {
        gaps.push(Gap {
            kind: GapKind::Tail,
            from: next,
            to: head,
        });
    }
    gaps
}

/// `131-208, 215` for the ranges 131..=208 and 215..=215. Rows that cannot be read may name a number below 1, so these are
/// no spans.
pub fn describe(ranges: &[RangeInclusive<u64>]) -> String {
    let one = |range: &RangeInclusive<u64>| match (range.start(), range.end()) {
        (start, end) if start == end => start.to_string(),
        (start, end) => format!("{start}-{end}"),
    };
    ranges.iter().map(one).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_three_kinds() {
        assert_eq!(
            gaps(&[3..=5, 8..=8], 10),
            [
                Gap {
                    kind: GapKind::Leading,
                    from: 1,
                    to: 2
                },
                Gap {
                    kind: GapKind::Interior,
                    from: 6,
                    to: 7
                },
                Gap {
                    kind: GapKind::Tail,
                    from: 9,
                    to: 10
                },
            ]
        );
        assert_eq!(gaps(&[1..=5], 5), []);
        assert_eq!(gaps(&[1..=5], 3), [], "a witness behind the log knows of no gap");
        assert_eq!(gaps(&[], 0), []);
        assert_eq!(
            gaps(&[], 2),
            [Gap {
                kind: GapKind::Tail,
                from: 1,
                to: 2
            }]
        );
        assert_eq!(gaps(&[1..=u64::MAX - 1], u64::MAX - 1), []);
        assert_eq!(describe(&[1..=2, 4..=4]), "1-2, 4");
    }

    proptest! {
        #[test]
        fn gaps_and_events_together_are_everything_up_to_the_head(present in prop::collection::btree_set(1u64..60, 0..40), head in 0u64..70) {
            let islands: Vec<_> = ves::span::Spans::of_positions(present.iter().copied()).into();
            let missing: Vec<u64> = gaps(&islands, head).iter().flat_map(Gap::range).collect();
            let top = head.max(present.last().copied().unwrap_or(0));
            let expected: BTreeSet<u64> = (1..=top).filter(|n| !present.contains(n)).collect();
            prop_assert_eq!(missing.len(), expected.len(), "no position twice");
            prop_assert_eq!(missing.into_iter().collect::<BTreeSet<_>>(), expected);
        }
    }
}
