//! When to try whether receipts lie beside each other as their events do (see [`crate::near`]).

/// So many numbers are asked for at once: first to see how receipts lie, and at most.
const FIRST: i64 = 512;
const MOST: i64 = 8192;

/// After a disappointment, so many numbers are read by `entries.sql` at most before the next try.
const LONGEST_WAIT: i64 = 128 * MOST;

/// Whether receipts lie beside their neighbours on this server, by what was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Nearness {
    /// Whether the server and the tables are such that it can be told; `None` if nobody asked.
    pub(crate) possible: Option<bool>,
    /// How many numbers are asked for next; 0 at first.
    size: i64,
    /// How many are to be read by `entries.sql` before.
    pub(crate) wait: i64,
    /// How many that was the last time.
    last: i64,
}

impl Nearness {
    /// How many numbers are asked for next.
    pub(crate) fn next_size(&self) -> i64 {
        self.size.clamp(FIRST, MOST)
    }

    /// All receipts were where they were looked for.
    pub(crate) fn reward(&mut self) {
        self.size = (self.next_size() * 4).min(MOST);
        self.last = 0;
    }

    /// Some were not.
    pub(crate) fn disappoint(&mut self) {
        self.size = FIRST;
        self.last = (self.last * 2).clamp(MOST, LONGEST_WAIT);
        self.wait = self.last;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_disappoints_is_tried_ever_more_rarely_and_what_goes_well_in_larger_pieces() {
        let mut nearness = Nearness::default();
        assert_eq!(nearness.next_size(), FIRST);
        for expected in [2048, 8192, 8192] {
            nearness.reward();
            assert_eq!((nearness.next_size(), nearness.wait), (expected, 0));
        }
        for expected in [MOST, 2 * MOST, 4 * MOST] {
            nearness.disappoint();
            assert_eq!((nearness.next_size(), nearness.wait), (FIRST, expected));
        }
        (0..10).for_each(|_| nearness.disappoint());
        assert_eq!(nearness.wait, LONGEST_WAIT);
        nearness.reward();
        nearness.disappoint();
        assert_eq!(nearness.wait, MOST);
    }
}
