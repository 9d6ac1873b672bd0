//! Positions of a stream as ranges: a [`Span`] from a first to a last one, both inclusive, and [`Spans`], any set of
//! positions.
//!
//! Positions count from 1. So a span has at most [`u64::MAX`] of them, no count overflows, and the whole of the numbers
//! needs no case of its own. There is no empty span: where nothing is left there is `None`, or no span.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer, Serialize};

/// Consecutive positions, from `start` to `end`, both inclusive: at least one.
///
/// As JSON it is `{"start": 3, "end": 5}`; within another object, `#[serde(flatten)]` puts the two beside its fields.
/// Where they have other names there, that object reads and writes them itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Span {
    start: u64,
    end: u64,
}

/// Two numbers that are no [`Span`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{start} to {end} are no positions: they count from 1, and the last is not before the first")]
pub struct NoSpan {
    /// What was given as the first position.
    pub start: u64,
    /// What was given as the last one.
    pub end: u64,
}

impl Span {
    /// All positions there are.
    pub const ALL: Self = Self {
        start: 1,
        end: u64::MAX,
    };

    /// The positions from `start` to `end`; `None` if `start` is 0, or `end` before it.
    pub fn new(start: u64, end: u64) -> Option<Self> {
        (1 <= start && start <= end).then_some(Self { start, end })
    }

    /// This one position; the first for 0, which is none.
    pub fn at(position: u64) -> Self {
        let position = position.max(1);
        Self {
            start: position,
            end: position,
        }
    }

    /// The positions from 1 to `end`; `None` if that is 0.
    pub fn up_to(end: u64) -> Option<Self> {
        Self::new(1, end)
    }

    /// The positions after this span; `None` if it ends with the last there is.
    pub fn after(self) -> Option<Self> {
        Self::new(self.end.checked_add(1)?, u64::MAX)
    }

    /// The positions before this span; `None` if it begins with the first there is.
    pub fn before(self) -> Option<Self> {
        Self::up_to(self.start - 1)
    }

    /// The first position.
    pub fn start(self) -> u64 {
        self.start
    }

    /// The last position.
    pub fn end(self) -> u64 {
        self.end
    }

    /// How many positions there are: 1 at least.
    pub fn count(self) -> u64 {
        // A span starts at 1 or later.
        self.end - self.start + 1
    }

    /// Whether a position is in it.
    pub fn contains(self, position: u64) -> bool {
        self.start <= position && position <= self.end
    }

    /// Whether all positions of the other are in it.
    pub fn covers(self, other: Self) -> bool {
        self.start <= other.start && other.end <= self.end
    }

    /// The positions that are in both.
    pub fn intersection(self, other: Self) -> Option<Self> {
        Self::new(self.start.max(other.start), self.end.min(other.end))
    }

    /// Whether a position is in both.
    pub fn overlaps(self, other: Self) -> bool {
        self.start <= other.end && other.start <= self.end
    }

    /// The positions in order.
    pub fn positions(self) -> RangeInclusive<u64> {
        self.start..=self.end
    }

    /// The span cut into pieces of `size` positions, the last of which may have fewer. A size of 0 counts as 1.
    pub fn pieces(self, size: u64) -> impl Iterator<Item = Self> + use<> {
        let mut rest = Some(self);
        std::iter::from_fn(move || {
            let Self { start, end } = rest?;
            let last = start
                .checked_add(size.max(1) - 1)
                .map_or(end, |last| last.min(end));
            rest = last.checked_add(1).and_then(|next| Self::new(next, end));
            Self::new(start, last)
        })
    }
}

impl TryFrom<RangeInclusive<u64>> for Span {
    type Error = NoSpan;

    fn try_from(range: RangeInclusive<u64>) -> Result<Self, NoSpan> {
        let (start, end) = range.into_inner();
        Self::new(start, end).ok_or(NoSpan { start, end })
    }
}

impl From<Span> for RangeInclusive<u64> {
    fn from(span: Span) -> Self {
        span.positions()
    }
}

impl fmt::Display for Span {
    /// `131-208`, or `215` for one position.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.start == self.end {
            true => write!(f, "{}", self.start),
            false => write!(f, "{}-{}", self.start, self.end),
        }
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..={}", self.start, self.end)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Ends {
            start: u64,
            end: u64,
        }
        let Ends { start, end } = Ends::deserialize(deserializer)?;
        Self::new(start, end).ok_or_else(|| serde::de::Error::custom(NoSpan { start, end }))
    }
}

/// A set of positions: spans in order that neither overlap nor touch, so that equal sets are equal values.
///
/// As JSON it is the list of its [`Span`]s; what is read may be in any order.
#[derive(Clone, PartialEq, Eq, Default, Serialize)]
#[serde(transparent)]
pub struct Spans(Vec<Span>);

impl Spans {
    /// True if there is no position.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The spans in order.
    pub fn as_slice(&self) -> &[Span] {
        &self.0
    }

    /// The spans in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Span> + ExactSizeIterator + '_ {
        self.0.iter().copied()
    }

    /// The positions in order. There may be more of them than anybody can wait for.
    pub fn positions(&self) -> impl DoubleEndedIterator<Item = u64> + '_ {
        self.iter().flat_map(Span::positions)
    }

    /// The lowest position.
    pub fn first(&self) -> Option<u64> {
        self.0.first().map(|span| span.start)
    }

    /// The highest position.
    pub fn last(&self) -> Option<u64> {
        self.0.last().map(|span| span.end)
    }

    /// How many positions there are.
    pub fn count(&self) -> u64 {
        // They are different numbers from 1 to u64::MAX, so the sum is one of these too.
        self.iter().map(Span::count).sum()
    }

    /// Whether a position is in the set. Takes time logarithmic in the number of spans.
    pub fn contains(&self, position: u64) -> bool {
        let at = self.0.partition_point(|span| span.end < position);
        self.0.get(at).is_some_and(|span| span.contains(position))
    }

    /// Whether all positions of a span are in the set.
    pub fn covers(&self, span: Span) -> bool {
        let at = self.0.partition_point(|own| own.end < span.end);
        self.0.get(at).is_some_and(|own| own.covers(span))
    }

    /// Adds the positions of a span. In ascending order that costs nothing but the span itself; otherwise what lies
    /// behind it is moved.
    pub fn insert(&mut self, span: Span) {
        // What overlaps or touches it becomes one with it.
        let from = match self.0.last() {
            Some(last) if ends_before(*last, span) => self.0.len(),
            _ => self.0.partition_point(|own| ends_before(*own, span)),
        };
        let to = from + self.0[from..].partition_point(|own| !ends_before(span, *own));
        let joined = self.0[from..to].iter().fold(span, |joined, own| Span {
            start: joined.start.min(own.start),
            end: joined.end.max(own.end),
        });
        self.0.splice(from..to, [joined]);
    }

    /// The positions that are in either.
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// The positions that are in both.
    pub fn intersection(&self, other: &Self) -> Self {
        let (mut ours, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        let mut both = Self::default();
        while let (Some(a), Some(b)) = (ours.peek().copied(), theirs.peek().copied()) {
            both.0.extend(a.intersection(b));
            // The one that ends first meets nothing more.
            if a.end < b.end {
                ours.next();
            } else {
                theirs.next();
            }
        }
        both
    }

    /// The positions that are in the set and in `span`.
    pub fn within(&self, span: Span) -> Self {
        let from = self.0.partition_point(|own| own.end < span.start);
        let overlapping = self.0[from..].iter().take_while(|own| own.start <= span.end);
        Self(overlapping.filter_map(|own| own.intersection(span)).collect())
    }

    /// The positions of `span` that are not in the set.
    pub fn complement(&self, span: Span) -> Self {
        let (mut rest, mut lacking) = (Some(span), Self::default());
        for own in self.within(span).iter() {
            lacking.0.extend(
                own.before()
                    .zip(rest)
                    .and_then(|(before, rest)| before.intersection(rest)),
            );
            rest = own.after().and_then(|after| after.intersection(span));
        }
        lacking.0.extend(rest);
        lacking
    }

    /// The positions of the set that are not in the other.
    pub fn subtract(&self, other: &Self) -> Self {
        match (self.0.first(), self.0.last()) {
            (Some(first), Some(last)) => {
                let whole = Span {
                    start: first.start,
                    end: last.end,
                };
                self.intersection(&other.complement(whole))
            }
            _ => Self::default(),
        }
    }

    /// The positions of an iterator, in any order; those that are 0 are none.
    pub fn of_positions(positions: impl IntoIterator<Item = u64>) -> Self {
        positions
            .into_iter()
            .filter_map(|position| Span::new(position, position))
            .collect()
    }
}

/// Whether a span ends before the other starts, with a position between them.
fn ends_before(span: Span, other: Span) -> bool {
    span.after().is_some_and(|after| after.start < other.start)
}

impl Extend<Span> for Spans {
    /// Adds spans in any order.
    fn extend<I: IntoIterator<Item = Span>>(&mut self, spans: I) {
        let mut late = Vec::new();
        for span in spans {
            match self.0.last() {
                Some(last) if span.start < last.start => late.push(span),
                _ => self.insert(span),
            }
        }
        if !late.is_empty() {
            // All at once, lest each moves what is behind it.
            late.append(&mut self.0);
            late.sort_unstable();
            late.into_iter().for_each(|span| self.insert(span));
        }
    }
}

impl FromIterator<Span> for Spans {
    /// The positions of spans in any order.
    fn from_iter<I: IntoIterator<Item = Span>>(spans: I) -> Self {
        let mut all = Self::default();
        all.extend(spans);
        all
    }
}

impl From<Span> for Spans {
    fn from(span: Span) -> Self {
        Self(vec![span])
    }
}

impl From<Spans> for Vec<RangeInclusive<u64>> {
    fn from(spans: Spans) -> Self {
        spans.0.into_iter().map(Span::positions).collect()
    }
}

impl fmt::Display for Spans {
    /// `131-208, 215`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, span) in self.iter().enumerate() {
            let comma = if i > 0 { ", " } else { "" };
            write!(f, "{comma}{span}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl<'de> Deserialize<'de> for Spans {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::<Span>::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn span(start: u64, end: u64) -> Span {
        Span::new(start, end).unwrap()
    }

    #[test]
    fn there_is_no_empty_span_and_none_with_position_0() {
        assert_eq!(Span::new(0, 5), None);
        assert_eq!(Span::new(6, 5), None);
        assert_eq!(Span::up_to(0), None);
        assert_eq!(Span::try_from(0..=3), Err(NoSpan { start: 0, end: 3 }));
        assert_eq!(
            Span::try_from(RangeInclusive::new(4, 3)),
            Err(NoSpan { start: 4, end: 3 })
        );
        assert_eq!(Span::try_from(3..=3), Ok(span(3, 3)));
        assert_eq!(Spans::of_positions([0]), Spans::default());
    }

    #[test]
    fn json_is_start_and_end_and_what_is_read_is_checked() {
        let spans: Spans = [span(8, 9), span(1, 3)].into_iter().collect();
        let json = r#"[{"start":1,"end":3},{"start":8,"end":9}]"#;
        assert_eq!(serde_json::to_string(&spans).unwrap(), json);
        assert_eq!(serde_json::from_str::<Spans>(json).unwrap(), spans);
        let other = r#"[{"start":9,"end":9},{"start":1,"end":2},{"start":3,"end":3},{"start":8,"end":8}]"#;
        assert_eq!(serde_json::from_str::<Spans>(other).unwrap(), spans);
        for wrong in [
            r#"{"start":0,"end":3}"#,
            r#"{"start":4,"end":3}"#,
            r#"{"start":1}"#,
        ] {
            assert!(serde_json::from_str::<Span>(wrong).is_err(), "{wrong}");
        }
        #[derive(Serialize, Deserialize)]
        struct Flat {
            kind: String,
            #[serde(flatten)]
            span: Span,
        }
        let flat = r#"{"kind":"tail","start":4,"end":18446744073709551615}"#;
        let read: Flat = serde_json::from_str(flat).unwrap();
        assert_eq!(read.span.end(), u64::MAX);
        assert_eq!(serde_json::to_string(&read).unwrap(), flat);
        assert_eq!(spans.to_string(), "1-3, 8-9");
        assert_eq!(Spans::of_positions([2, 5, 1]).to_string(), "1-2, 5");
    }

    #[test]
    fn the_last_position_is_one_like_any_other() {
        let all = Spans::from(Span::ALL);
        assert_eq!(
            (all.count(), all.last(), Span::ALL.after()),
            (u64::MAX, Some(u64::MAX), None)
        );
        assert!(all.contains(u64::MAX) && !all.contains(0));
        assert_eq!(all.complement(Span::ALL), Spans::default());
        assert_eq!(Spans::default().complement(Span::ALL), all);
        let last = span(u64::MAX, u64::MAX);
        let but_last = all.subtract(&last.into());
        assert_eq!(but_last.as_slice(), [span(1, u64::MAX - 1)]);
        assert_eq!(but_last.complement(Span::ALL), last.into());
        assert_eq!(but_last.union(&last.into()), all);
        let mut again = but_last.clone();
        again.insert(Span::ALL);
        again.insert(last);
        assert_eq!(again, all);
        assert_eq!(all.positions().next_back(), Some(u64::MAX));
        assert_eq!(
            span(u64::MAX - 4, u64::MAX)
                .pieces(2)
                .map(Span::count)
                .collect::<Vec<_>>(),
            [2, 2, 1]
        );
        assert_eq!(Span::ALL.pieces(u64::MAX).collect::<Vec<_>>(), [Span::ALL]);
        assert_eq!(span(3, 4).pieces(0).count(), 2);
    }

    /// Positions near both ends of the numbers, where sets of a few integers stand for all.
    fn near_an_end() -> impl Strategy<Value = u64> {
        prop_oneof![1..40_u64, u64::MAX - 20..=u64::MAX]
    }

    fn a_span() -> impl Strategy<Value = Span> {
        (near_an_end(), 0..12_u64).prop_map(|(start, more)| span(start, start.saturating_add(more)))
    }

    fn set_of(spans: &[Span]) -> BTreeSet<u64> {
        spans.iter().flat_map(|span| span.positions()).collect()
    }

    /// The set, after a look at what must be true of all values.
    fn set(spans: &Spans) -> BTreeSet<u64> {
        for pair in spans.as_slice().windows(2) {
            assert!(pair[0].end() + 1 < pair[1].start(), "{spans:?}");
        }
        let set: BTreeSet<u64> = spans.positions().collect();
        assert_eq!(spans.count(), set.len() as u64);
        assert_eq!(
            (spans.first(), spans.last()),
            (set.first().copied(), set.last().copied())
        );
        assert_eq!(spans.is_empty(), set.is_empty());
        set
    }

    proptest! {
        #[test]
        fn spans_are_sets_of_integers(
            a in prop::collection::vec(a_span(), 0..12),
            b in prop::collection::vec(a_span(), 0..12),
            one in a_span(),
            position in near_an_end(),
        ) {
            let (sa, sb) = (set_of(&a), set_of(&b));
            let (x, y): (Spans, Spans) = (a.iter().copied().collect(), b.iter().copied().collect());
            prop_assert_eq!(&set(&x), &sa);
            prop_assert_eq!(set(&x.union(&y)), &sa | &sb);
            prop_assert_eq!(set(&x.intersection(&y)), &sa & &sb);
            prop_assert_eq!(set(&x.subtract(&y)), &sa - &sb);
            let in_one: BTreeSet<u64> = one.positions().collect();
            prop_assert_eq!(set(&x.within(one)), &sa & &in_one);
            prop_assert_eq!(set(&x.complement(one)), &in_one - &sa);
            prop_assert_eq!(x.contains(position), sa.contains(&position));
            prop_assert_eq!(x.covers(one), in_one.is_subset(&sa));
            // However it came about, an equal set is an equal value.
            prop_assert_eq!(&Spans::of_positions(a.iter().rev().flat_map(|span| span.positions())), &x);
            let mut inserted = Spans::default();
            b.iter().chain(&a).for_each(|span| inserted.insert(*span));
            prop_assert_eq!(inserted, x.union(&y));
        }

        #[test]
        fn one_span_is_a_set_too(a in a_span(), b in a_span(), size in 1..9_u64, position in near_an_end()) {
            let (sa, sb) = (set_of(&[a]), set_of(&[b]));
            prop_assert_eq!(a.count(), sa.len() as u64);
            prop_assert_eq!(a.contains(position), sa.contains(&position));
            prop_assert_eq!(a.covers(b), sb.is_subset(&sa));
            prop_assert_eq!(a.overlaps(b), !sa.is_disjoint(&sb));
            let both: BTreeSet<u64> = a.intersection(b).into_iter().flat_map(Span::positions).collect();
            prop_assert_eq!(both, &sa & &sb);
            for beside in [a.before(), a.after()].into_iter().flatten() {
                prop_assert!(!beside.overlaps(a));
            }
            let sides = a.before().into_iter().chain(a.after()).chain([a]);
            prop_assert_eq!(sides.collect::<Spans>(), Spans::from(Span::ALL));
            let pieces: Vec<Span> = a.pieces(size).collect();
            prop_assert!(pieces.iter().rev().skip(1).all(|piece| piece.count() == size));
            prop_assert_eq!(pieces.into_iter().flat_map(Span::positions).collect::<Vec<_>>(), sa.into_iter().collect::<Vec<_>>());
        }
    }
}
