//! Where a file or a row group may end: where batches do.

use ves::{Span, Spans};

use crate::manifest::EventsFile;

/// The batches of a stream, those that overlap as one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout(Vec<Span>);

impl Layout {
    /// Of the ranges of its commitments.
    pub fn new(mut batches: Vec<Span>) -> Self {
        batches.sort_unstable_by_key(|batch| (batch.start(), batch.end()));
        let mut joined: Vec<Span> = Vec::new();
        for batch in batches {
            match joined.last_mut() {
                // Neighbours stay two: between them there is an end.
                Some(last) if last.overlaps(batch) => {
                    let end = last.end().max(batch.end());
                    *last = Span::new(last.start(), end).unwrap_or(*last);
                }
                _ => joined.push(batch),
            }
        }
        Self(joined)
    }

    /// Whether something may end behind this number: no batch holds it and the next one.
    pub fn may_end_at(&self, number: u64) -> bool {
        let at = self.0.partition_point(|batch| batch.end() <= number);
        self.0.get(at).is_none_or(|batch| batch.start() > number)
    }

    /// How many batches (overlapping ones as one) begin within these numbers.
    pub fn batches_in(&self, from: u64, to: u64) -> u64 {
        let begin = self.0.partition_point(|batch| batch.start() < from);
        let end = self.0.partition_point(|batch| batch.start() <= to);
        (end.saturating_sub(begin)) as u64
    }

    /// How many of a stream's files can stay, if `new` events come behind them: those that still end where batches end, and
    /// at the end none that is smaller than what comes behind it, so that many small additions become few files.
    pub fn stay(&self, files: &[EventsFile], new: u64, file_rows: u64) -> usize {
        let mut stay = files.iter().take_while(|file| self.may_end_at(file.to)).count();
        let mut behind = new + files[stay..].iter().map(|file| file.rows).sum::<u64>();
        while let Some(last) = files[..stay].last().filter(|_| behind > 0) {
            if last.rows >= file_rows || last.rows > behind {
                break;
            }
            behind += last.rows;
            stay -= 1;
        }
        stay
    }
}

/// All numbers from one on.
pub(crate) fn from_on(from: u64, last: u64) -> Spans {
    Span::new(from, last).map_or_else(Spans::default, Into::into)
}

#[cfg(test)]
mod tests {
    use ves::Hash32;

    use super::*;

    fn layout(batches: &[(u64, u64)]) -> Layout {
        Layout::new(batches.iter().map(|(a, b)| Span::new(*a, *b).unwrap()).collect())
    }

    fn file(from: u64, to: u64) -> EventsFile {
        EventsFile {
            path: format!("events/{from}"),
            from,
            to,
            rows: to - from + 1,
            batches: 0,
            leaves_root: Hash32::ZERO,
            bytes: 0,
            sha256: Hash32::ZERO,
            tail_bytes: 0,
            tail_sha256: Hash32::ZERO,
        }
    }

    #[test]
    fn something_ends_where_batches_do_and_between_them() {
        let layout = layout(&[(1, 10), (11, 20), (15, 30), (40, 50)]);
        let ends: Vec<u64> = (1..=52).filter(|number| layout.may_end_at(*number)).collect();
        let expected: Vec<u64> = [10].into_iter().chain(30..40).chain(50..=52).collect();
        assert_eq!(ends, expected);
        assert_eq!(layout.batches_in(1, 30), 2);
        assert_eq!(layout.batches_in(31, 60), 1);
    }

    #[test]
    fn files_stay_until_a_batch_reaches_beyond_them() {
        let files = [file(1, 100), file(101, 150)];
        assert_eq!(layout(&[(1, 100)]).stay(&files, 10, 1000), 2);
        assert_eq!(layout(&[(1, 100), (101, 200)]).stay(&files, 10, 1000), 1);
        assert_eq!(layout(&[(50, 120)]).stay(&files, 10, 1000), 0);
        // Nothing new, nothing written.
        assert_eq!(layout(&[]).stay(&files, 0, 1000), 2);
    }

    #[test]
    fn small_files_are_joined_with_what_comes_behind_them() {
        let files = [file(1, 100), file(101, 110), file(111, 115)];
        assert_eq!(layout(&[]).stay(&files, 4, 1000), 3);
        // Five join the last five, and these ten the ten before them.
        assert_eq!(layout(&[]).stay(&files, 5, 1000), 1);
        assert_eq!(layout(&[]).stay(&files, 100, 1000), 0);
        assert_eq!(layout(&[]).stay(&files, 5000, 100), 1);
    }
}
