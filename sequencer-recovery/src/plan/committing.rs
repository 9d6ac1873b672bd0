//! Whether a stream can be committed further as it stands, and how far: the sequencer's next commitment begins after the
//! last one, and has to find an event at every number of its range.

use serde::Serialize;
use ves::span::Span;

use super::hold_back::{HoldBack, hold_back};

/// Whether a stream can go on to be committed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Committing {
    /// The last number that is committed; `None` if the stream has no commitment: the first may begin anywhere.
    pub committed: Option<u64>,
    /// The number that the next commitment begins with, if that is settled.
    pub next: Option<u64>,
    /// How far the next commitment may go now; `None` if nothing waits to be committed, or nothing can be.
    pub up_to: Option<u64>,
    /// Why no further commitment can be made, or none that the anchors would not contradict.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub blocked: Vec<String>,
    /// Ranges that the sequencer would commit if it is asked to, and must not yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub must_not_commit: Vec<HoldBack>,
}

/// What decides whether a stream can be committed further.
#[derive(Debug, Clone, Copy)]
pub struct CommitReadiness<'a> {
    /// The last number that is committed.
    pub committed: Option<u64>,
    /// The first number that has an event.
    pub first: Option<u64>,
    /// The last number that has an event.
    pub head: Option<u64>,
    /// Positions without an event, up to the highest number that anybody knows of; ascending.
    pub open: &'a [Span],
    /// The ranges of anchored batches.
    pub anchored: &'a [Span],
    /// Anchored batches for which the log has no commitment.
    pub not_committed: u64,
    /// How many numbers were given out twice.
    pub given_out_twice: u64,
}

impl Committing {
    /// Judges a stream.
    pub fn of(standing: &CommitReadiness<'_>) -> Self {
        let CommitReadiness { committed, open, .. } = *standing;
        let next = match committed {
            Some(last) => last.checked_add(1),
            None => standing.first,
        };
        let must_not_commit = hold_back(open, standing.anchored, committed, None);
        let mut blocked = Vec::new();
        if let Some((next, hole)) = next.and_then(|next| Some((next, hole_at(open, next)?))) {
            blocked.push(format!(
                "{next} is the next to be committed and has no event{}: no further commitment can be made",
                open_in_words(hole)
            ));
        }
        if standing.not_committed > 0 {
            blocked.push(format!(
                "{} anchored batch(es) have no commitment here: what the sequencer commits next, the contract refuses or the \
                 anchors contradict",
                standing.not_committed
            ));
        }
        if standing.given_out_twice > 0 {
            blocked.push(format!(
                "{} number(s) were given out twice: what is committed now settles which history stands",
                standing.given_out_twice
            ));
        }
        let reach = next.zip(standing.head).filter(|(next, head)| next <= head);
        let up_to = reach.filter(|_| blocked.is_empty()).and_then(|(next, head)| {
            let before_hole = open.iter().find(|o| o.start() > next).map(|o| o.start() - 1);
            let before_held = must_not_commit
                .iter()
                .find(|held| held.to >= next)
                .map(|held| held.from.saturating_sub(1));
            let ends = [Some(head), before_hole, before_held];
            ends.into_iter().flatten().min().filter(|end| *end >= next)
        });
        if let (Some(_), None, true) = (reach, up_to, blocked.is_empty()) {
            let held = must_not_commit
                .iter()
                .map(|held| format!("{} to {}: {}", held.from, held.to, held.why));
            blocked.extend(held.take(1));
        }
        Self {
            committed,
            next,
            up_to,
            blocked,
            must_not_commit,
        }
    }

    /// Whether a commitment can be made as soon as there is something to be committed.
    pub fn can_go_on(&self) -> bool {
        self.blocked.is_empty()
    }
}

/// The open positions that a number is among.
fn hole_at(open: &[Span], number: u64) -> Option<Span> {
    open.iter()
        .copied()
        .find(|o| (o.start()..=o.end()).contains(&number))
}

fn open_in_words(hole: Span) -> String {
    match hole.end() - hole.start() {
        0 => String::new(),
        _ => format!(" ({} to {} are open)", hole.start(), hole.end()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing<'a>(committed: Option<u64>, open: &'a [Span], anchored: &'a [Span]) -> CommitReadiness<'a> {
        CommitReadiness {
            committed,
            first: Some(1),
            head: Some(40),
            open,
            anchored,
            not_committed: 0,
            given_out_twice: 0,
        }
    }

    fn span(from: u64, to: u64) -> Span {
        Span::new(from, to).unwrap()
    }

    #[test]
    fn a_stream_goes_on_up_to_its_first_hole() {
        let whole = Committing::of(&standing(Some(32), &[], &[]));
        assert!(whole.can_go_on());
        assert_eq!((whole.next, whole.up_to), (Some(33), Some(40)));
        let hole = [span(36, 37)];
        let part = Committing::of(&standing(Some(32), &hole, &[]));
        assert_eq!((part.can_go_on(), part.up_to), (true, Some(35)));
        // All is committed: nothing waits.
        let done = Committing::of(&standing(Some(40), &[], &[]));
        assert_eq!((done.can_go_on(), done.next, done.up_to), (true, Some(41), None));
        // The first commitment may begin anywhere.
        let leading = [span(1, 4)];
        let first = Committing::of(&CommitReadiness {
            first: Some(5),
            ..standing(None, &leading, &[])
        });
        assert_eq!((first.can_go_on(), first.up_to), (true, Some(40)));
    }

    #[test]
    fn what_stands_in_the_way_is_named() {
        let next = [span(33, 35)];
        let stopped = Committing::of(&standing(Some(32), &next, &[]));
        assert!(!stopped.can_go_on() && stopped.up_to.is_none());
        assert!(stopped.blocked[0].contains("33 to 35"), "{stopped:?}");
        // A hole directly after the head, where the counter has run on.
        let tail = [span(41, 44)];
        assert!(!Committing::of(&standing(Some(40), &tail, &[])).can_go_on());
        // In an anchored batch: up to there, not into it.
        let (hole, batch) = ([span(38, 38)], [span(35, 40)]);
        let held = Committing::of(&standing(Some(32), &hole, &batch));
        assert_eq!((held.can_go_on(), held.up_to), (true, Some(34)));
        assert_eq!(held.must_not_commit.len(), 1);
        // An anchored batch that begins with the next number: the sequencer would commit its first part.
        let (hole, batch) = ([span(38, 38)], [span(33, 40)]);
        let held = Committing::of(&standing(Some(32), &hole, &batch));
        assert!(
            !held.can_go_on() && held.blocked[0].contains("anchored"),
            "{held:?}"
        );
        let twice = Committing::of(&CommitReadiness {
            given_out_twice: 2,
            ..standing(Some(32), &[], &[])
        });
        assert!(!twice.can_go_on());
        let behind = Committing::of(&CommitReadiness {
            not_committed: 1,
            ..standing(Some(32), &[], &[])
        });
        assert!(!behind.can_go_on());
        let end = Committing::of(&standing(Some(u64::MAX), &[], &[]));
        assert_eq!(end.next, None);
    }
}
