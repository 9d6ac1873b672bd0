//! A stream as a map of its positions: what is there, what came back on which evidence, what is missing, who knows to
//! where.

use std::cmp::Reverse;
use std::ops::RangeInclusive;

use cli_common::Tone;

use crate::Text;

/// What stands at a position, the best first. Where a picture has room for one of several, the worst is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// An event that was there all the time.
    Present,
    /// An event that went back since the batch's root comes out equal to an anchored one.
    Proven,
    /// An event that went back since the root comes out equal to the one of a signed checkpoint.
    Checkpointed,
    /// In a batch whose root is the anchored one, in a block that nobody vouches for.
    MatchesAnchors,
    /// An event that went back on a signed receipt.
    Receipted,
    /// An event that went back since the batch's root comes out equal to a commitment that a database copy holds.
    Committed,
    /// In a batch whose root is the one that the database names.
    MatchesDatabase,
    /// An event that went back since independent holders agree.
    Corroborated,
    /// An event that went back on one holder's word.
    Claimed,
    /// Nothing was checked there.
    NotChecked,
    /// An event that was never numbered before, appended after the floor.
    Appended,
    /// A tombstone where the event is lost.
    Tombstone,
    /// Missing, or open: nothing stands there yet.
    Open,
    /// Missing, and holders disagree.
    Contested,
    /// Missing, and nobody has it.
    Lost,
    /// In a batch that is not what was anchored.
    Failed,
    /// A number that was given out twice.
    Twice,
}

impl State {
    /// All of them, the best first.
    pub const ALL: [Self; 17] = [
        Self::Present,
        Self::Proven,
        Self::Checkpointed,
        Self::MatchesAnchors,
        Self::Receipted,
        Self::Committed,
        Self::MatchesDatabase,
        Self::Corroborated,
        Self::Claimed,
        Self::NotChecked,
        Self::Appended,
        Self::Tombstone,
        Self::Open,
        Self::Contested,
        Self::Lost,
        Self::Failed,
        Self::Twice,
    ];

    /// What it is called.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Present => "there",
            Self::Proven => "proven",
            Self::Checkpointed => "checkpointed",
            Self::MatchesAnchors => "matches anchors",
            Self::MatchesDatabase => "matches database",
            Self::NotChecked => "not checked",
            Self::Failed => "failed",
            Self::Receipted => "receipted",
            Self::Committed => "committed",
            Self::Corroborated => "corroborated",
            Self::Claimed => "claimed",
            Self::Appended => "appended",
            Self::Tombstone => "tombstone",
            Self::Open => "missing",
            Self::Contested => "contested",
            Self::Lost => "lost",
            Self::Twice => "given out twice",
        }
    }

    /// The letter by which it is known without its colour; none for what is simply there.
    #[must_use]
    pub fn letter(self) -> Option<char> {
        Some(match self {
            Self::Present => return None,
            Self::Proven => 'P',
            Self::Checkpointed => 'K',
            Self::MatchesAnchors => 'A',
            Self::MatchesDatabase => 'D',
            Self::NotChecked => 'N',
            Self::Failed => 'F',
            Self::Receipted => 'R',
            Self::Committed => 'M',
            Self::Corroborated => 'B',
            Self::Claimed => 'C',
            Self::Appended => '+',
            Self::Tombstone => 'T',
            Self::Open => '?',
            Self::Contested => '!',
            Self::Lost => 'x',
            Self::Twice => '2',
        })
    }

    /// Whether an event, or what stands for it, is missing there.
    #[must_use]
    pub fn is_missing(self) -> bool {
        matches!(self, Self::Open | Self::Contested | Self::Lost)
    }
}

/// Positions, one beside the other, of which one thing is so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub from: u64,
    /// The last (inclusive).
    pub to: u64,
    /// What stands there.
    pub state: State,
}

impl Run {
    /// How many positions.
    #[must_use]
    pub fn count(&self) -> u64 {
        (self.to - self.from).saturating_add(1)
    }
}

/// Somebody who knows of a number.
#[derive(Clone, Debug)]
pub struct Mark {
    /// The highest number known.
    pub at: u64,
    /// What kind of knowledge it is.
    pub kind: MarkKind,
    /// Who: `anchored batch 51947cd0...`.
    pub who: Text,
    /// How sure it is, or what else is known.
    pub note: Text,
}

/// What kind of mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MarkKind {
    /// The sequencer's counter.
    Counter,
    /// The last event of the log.
    Head,
    /// A witness.
    Witness,
}

impl MarkKind {
    /// The letter by which it is known.
    pub(crate) fn letter(self) -> char {
        match self {
            Self::Counter => 'C',
            Self::Head => 'H',
            Self::Witness => 'W',
        }
    }
}

/// A stream as a map of its positions, from 1 to the highest that anybody knows.
#[derive(Clone, Debug)]
pub struct Strip {
    /// Its short name.
    pub name: Text,
    /// Its whole name.
    pub full_name: Text,
    /// Whether all is well with it.
    pub tone: Tone,
    /// What is to be said of it, in one sentence.
    pub sentence: Text,
    /// Who knows to where.
    pub marks: Vec<Mark>,
    /// More sentences.
    pub notes: Vec<Text>,
    last: u64,
    /// What is not simply there; ascending, and no two of them overlap.
    runs: Vec<Run>,
    /// What anchors cover; ascending.
    anchored: Vec<RangeInclusive<u64>>,
}

impl Strip {
    /// A stream with events at all positions up to `last`, until other things are laid over them.
    #[must_use]
    pub fn new(name: impl Into<Text>, full_name: impl Into<Text>, last: u64) -> Self {
        Self {
            name: name.into(),
            full_name: full_name.into(),
            tone: Tone::Good,
            sentence: Text::default(),
            marks: Vec::new(),
            notes: Vec::new(),
            last,
            runs: Vec::new(),
            anchored: Vec::new(),
        }
    }

    /// The highest position; 0 if there is none.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.last
    }

    /// What is not simply there, ascending.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// What anchors cover, ascending.
    #[must_use]
    pub fn anchored_ranges(&self) -> &[RangeInclusive<u64>] {
        &self.anchored
    }

    /// Lays something over positions, whatever was there before. Positions below 1 and ranges that end before they begin
    /// are left out.
    pub fn lay(&mut self, from: u64, to: u64, state: State) {
        let from = from.max(1);
        if from > to {
            return;
        }
        self.last = self.last.max(to);
        let new = Run { from, to, state };
        // Mostly they come in order.
        let start = self.runs.partition_point(|run| run.to < from);
        let end = start + self.runs[start..].partition_point(|run| run.from <= to);
        let mut laid = Vec::with_capacity(3);
        if let Some(first) = self.runs.get(start).filter(|run| start < end && run.from < from) {
            laid.push(Run {
                to: from - 1,
                ..*first
            });
        }
        laid.push(new);
        if let Some(last) = end.checked_sub(1).and_then(|at| self.runs.get(at))
            && start < end
            && last.to > to
        {
            laid.push(Run {
                from: to + 1,
                ..*last
            });
        }
        laid.retain(|run| run.state != State::Present);
        self.runs.splice(start..end, laid);
        self.join_around(start);
    }

    /// Makes one of runs that follow each other and say the same, near a place.
    fn join_around(&mut self, at: usize) {
        let mut index = at.saturating_sub(1);
        let mut looks = 4;
        while looks > 0 && index + 1 < self.runs.len() {
            looks -= 1;
            let (a, b) = (self.runs[index], self.runs[index + 1]);
            if a.state == b.state && a.to + 1 == b.from {
                self.runs[index].to = b.to;
                self.runs.remove(index + 1);
            } else {
                index += 1;
            }
        }
    }

    /// Says that anchors cover these positions. They are given in ascending order.
    pub fn anchored(&mut self, from: u64, to: u64) {
        if from > to {
            return;
        }
        self.last = self.last.max(to);
        match self.anchored.last_mut() {
            Some(last) if from <= last.end().saturating_add(1) => {
                let start = from.min(*last.start());
                *last = start..=to.max(*last.end());
            }
            _ => self.anchored.push(from..=to),
        }
    }

    /// Says who knows of a number.
    pub fn mark(&mut self, kind: MarkKind, at: u64, who: impl Into<Text>, note: impl Into<Text>) {
        self.last = self.last.max(at);
        self.marks.push(Mark {
            at,
            kind,
            who: who.into(),
            note: note.into(),
        });
    }

    /// How many positions are in a state.
    #[must_use]
    pub fn count(&self, state: State) -> u64 {
        let laid = |of: Option<State>| {
            let runs = self
                .runs
                .iter()
                .filter(|run| of.is_none_or(|state| run.state == state));
            runs.map(Run::count).fold(0, u64::saturating_add)
        };
        match state {
            State::Present => self.last.saturating_sub(laid(None)),
            state => laid(Some(state)),
        }
    }

    /// How many positions are missing.
    #[must_use]
    pub fn missing(&self) -> u64 {
        let missing = self.runs.iter().filter(|run| run.state.is_missing());
        missing.map(Run::count).fold(0, u64::saturating_add)
    }

    /// The positions that are worth to be drawn large: all of them, or those about what is not simply there.
    pub(crate) fn window(&self) -> RangeInclusive<u64> {
        let whole = 1..=self.last.max(1);
        let (Some(first), Some(last)) = (self.runs.first(), self.runs.last()) else {
            return whole;
        };
        let inside = |at: u64| at.saturating_add(self.last / 20) >= first.from;
        let near = self.marks.iter().map(|mark| mark.at).filter(|at| inside(*at));
        let from = near.clone().chain([first.from]).min().unwrap_or(1);
        let to = near.chain([last.to]).max().unwrap_or(self.last);
        let margin = ((to - from) / 4).max(8);
        let (from, to) = (
            from.saturating_sub(margin).max(1),
            to.saturating_add(margin).min(self.last.max(1)),
        );
        // A window that is nearly all of it only confuses.
        if (to - from) as f64 > 0.5 * self.last as f64 {
            return whole;
        }
        from..=to
    }

    /// The runs within a window, as they are, or where there are more than `most` of them, as `most` parts of the window
    /// with the worst that is in each.
    pub(crate) fn drawn(&self, window: &RangeInclusive<u64>, most: usize) -> Vec<Run> {
        let (lo, hi) = (*window.start(), *window.end());
        let start = self.runs.partition_point(|run| run.to < lo);
        let end = self.runs.partition_point(|run| run.from <= hi);
        let inside = self.runs.get(start..end).unwrap_or_default();
        let inside = inside.iter().map(|run| Run {
            from: run.from.max(lo),
            to: run.to.min(hi),
            ..*run
        });
        if inside.len() <= most {
            return inside.collect();
        }
        let parts = self.parts(window, most);
        let mut runs: Vec<Run> = Vec::new();
        let bound = |part: usize| lo + scale(part as u64, most as u64, hi - lo);
        for (index, state) in parts.into_iter().enumerate() {
            let (from, to) = (bound(index), bound(index + 1));
            match runs.last_mut() {
                Some(last) if last.state == state => last.to = to,
                _ => runs.push(Run { from, to, state }),
            }
        }
        runs.retain(|run| run.state != State::Present);
        runs
    }

    /// A window in so many parts of the same width: the worst that stands in each.
    pub(crate) fn parts(&self, window: &RangeInclusive<u64>, count: usize) -> Vec<State> {
        let (lo, hi) = (*window.start(), *window.end());
        let mut parts = vec![State::Present; count];
        let width = hi.saturating_sub(lo).saturating_add(1);
        let part_of = |at: u64| scale(at - lo, width, count as u64).min(count as u64 - 1) as usize;
        // Where there are more parts than positions, a position has several: up to where the next one begins.
        let end_of = |at: u64| {
            let next = scale((at - lo).saturating_add(1), width, count as u64) as usize;
            part_of(at).max(next.saturating_sub(1)).min(count - 1)
        };
        let start = self.runs.partition_point(|run| run.to < lo);
        for run in self.runs[start..].iter().take_while(|run| run.from <= hi) {
            let (from, to) = (part_of(run.from.max(lo)), end_of(run.to.min(hi)));
            for part in &mut parts[from..=to] {
                *part = (*part).max(run.state);
            }
        }
        parts
    }
}

/// `at / of * to`, without overflow; `of` is not 0.
pub(crate) fn scale(at: u64, of: u64, to: u64) -> u64 {
    u64::try_from(u128::from(at) * u128::from(to) / u128::from(of.max(1))).unwrap_or(u64::MAX)
}

/// Puts the worst first: by tone, by what the worst position is, by how many are missing. Streams that are alike stay in
/// their order.
pub fn worst_first(strips: &mut [Strip]) {
    strips.sort_by_cached_key(|strip| {
        let rank = match strip.tone {
            Tone::Bad => 0,
            Tone::Doubt => 1,
            Tone::Good => 2,
        };
        let worst = strip.runs.iter().map(|run| run.state).max();
        let twice = worst == Some(State::Twice);
        (rank, !twice, Reverse(strip.missing()), Reverse(worst))
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn strip(last: u64, laid: &[(u64, u64, State)]) -> Strip {
        let mut strip = Strip::new("a", "a/b", last);
        for (from, to, state) in laid {
            strip.lay(*from, *to, *state);
        }
        strip
    }

    #[test]
    fn what_is_laid_last_is_seen() {
        use State::{Lost, Open, Present, Proven};
        let strip = strip(
            20,
            &[
                (5, 14, Open),
                (7, 9, Proven),
                (10, 10, Proven),
                (13, 16, Lost),
                (14, 14, Present),
            ],
        );
        let seen: Vec<_> = strip.runs.iter().map(|r| (r.from, r.to, r.state)).collect();
        assert_eq!(
            seen,
            [
                (5, 6, Open),
                (7, 10, Proven),
                (11, 12, Open),
                (13, 13, Lost),
                (15, 16, Lost)
            ]
        );
        assert_eq!(
            (strip.missing(), strip.count(Present), strip.count(Proven)),
            (7, 9, 4)
        );
    }

    #[test]
    fn a_small_loss_in_a_long_stream_is_drawn_large() {
        let mut long = strip(1_000_000, &[(999_964, 1_000_000, State::Open)]);
        long.mark(MarkKind::Counter, 999_963, "counter", "");
        let window = long.window();
        assert!(
            *window.start() > 999_900 && *window.end() == 1_000_000,
            "{window:?}"
        );
        assert_eq!(
            strip(200, &[(5, 6, State::Open), (150, 160, State::Open)]).window(),
            1..=200
        );
        assert_eq!(strip(0, &[]).window(), 1..=1);
    }

    #[test]
    fn numbers_without_end_are_no_trouble() {
        let mut strip = strip(
            u64::MAX,
            &[(0, 3, State::Lost), (u64::MAX - 1, u64::MAX, State::Open)],
        );
        strip.anchored(1, u64::MAX);
        strip.anchored(5, u64::MAX);
        assert_eq!(strip.missing(), 5);
        let window = strip.window();
        assert_eq!(strip.parts(&window, 10)[9], State::Open);
        assert_eq!(strip.drawn(&window, 1).len(), 1);
    }

    #[test]
    fn more_runs_than_there_is_room_for_become_parts() {
        let mut strip = Strip::new("a", "a", 100_000);
        for at in (1..=100_000).step_by(2) {
            strip.lay(at, at, State::Open);
        }
        strip.lay(70_001, 70_001, State::Twice);
        let drawn = strip.drawn(&(1..=100_000), 400);
        assert!(drawn.len() <= 400 && drawn.iter().any(|run| run.state == State::Twice));
        assert_eq!(strip.missing(), 49_999);
    }

    #[test]
    fn the_worst_come_first() {
        let of = |name: &str, tone, laid: &[(u64, u64, State)]| {
            let mut strip = strip(100, laid);
            (strip.name, strip.tone) = (name.into(), tone);
            strip
        };
        let mut all = [
            of("whole", Tone::Good, &[]),
            of("few", Tone::Bad, &[(1, 2, State::Open)]),
            of("many", Tone::Bad, &[(1, 9, State::Open)]),
            of("twice", Tone::Bad, &[(1, 1, State::Twice)]),
            of("decide", Tone::Doubt, &[(1, 50, State::Lost)]),
        ];
        worst_first(&mut all);
        let names: Vec<&str> = all.iter().map(|strip| strip.name.as_str()).collect();
        assert_eq!(names, ["twice", "many", "few", "decide", "whole"]);
    }

    proptest! {
        #[test]
        fn each_position_is_what_was_laid_there_last(laid in prop::collection::vec((1u64..80, 0u64..20, 0usize..State::ALL.len()), 0..20)) {
            let mut truth = [State::Present; 120];
            let mut strip = Strip::new("a", "a", 119);
            for (from, length, state) in laid {
                let state = State::ALL[state];
                strip.lay(from, from + length, state);
                truth[from as usize..=(from + length) as usize].fill(state);
            }
            let mut seen = [State::Present; 120];
            for pair in strip.runs.windows(2) {
                prop_assert!(pair[0].to < pair[1].from, "{:?}", strip.runs);
                prop_assert!(pair[0].to + 1 < pair[1].from || pair[0].state != pair[1].state, "{:?}", strip.runs);
            }
            for run in &strip.runs {
                seen[run.from as usize..=run.to as usize].fill(run.state);
            }
            prop_assert_eq!(seen, truth);
            prop_assert_eq!(strip.parts(&(1..=119), 119), truth[1..].to_vec());
        }
    }
}
