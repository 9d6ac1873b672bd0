//! Ranges that a pass over a log in order goes through: begun at their first place, ended behind their last. They may overlap.

/// What has a first and a last place on the way.
pub trait Reach {
    /// A place, in the order of the pass.
    type Place: Ord;

    /// Where it begins and ends, both included.
    fn reach(&self) -> (Self::Place, Self::Place);
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Sweep<R> {
    /// Not begun yet, the next one last.
    waiting: Vec<R>,
    active: Vec<R>,
}

impl<R> Default for Sweep<R> {
    fn default() -> Self {
        Self {
            waiting: Vec::new(),
            active: Vec::new(),
        }
    }
}

impl<R: Reach> Sweep<R> {
    /// Of these, in any order; those that begin at one place are begun in the order given.
    pub fn new(mut ranges: Vec<R>) -> Self {
        ranges.sort_by(|a, b| a.reach().0.cmp(&b.reach().0));
        ranges.reverse();
        Self {
            waiting: ranges,
            active: Vec::new(),
        }
    }

    /// Goes on to a place: those that end before it are given to `ended`, those that it lies in are active.
    pub fn advance(&mut self, here: &R::Place, ended: &mut dyn FnMut(R)) {
        let mut at = 0;
        while at < self.active.len() {
            if self.active[at].reach().1 < *here {
                ended(self.active.remove(at));
            } else {
                at += 1;
            }
        }
        while let Some(range) = self.waiting.pop_if(|range| range.reach().0 <= *here) {
            if range.reach().1 < *here {
                ended(range);
            } else {
                self.active.push(range);
            }
        }
    }

    /// Those that the pass is in, in the order in which they were begun.
    pub fn active(&mut self) -> &mut [R] {
        &mut self.active
    }

    /// Those that have not ended, at the end of the pass.
    pub fn finish(self) -> impl Iterator<Item = R> {
        self.active.into_iter().chain(self.waiting.into_iter().rev())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Reach for (u8, u8, usize) {
        type Place = u8;

        fn reach(&self) -> (u8, u8) {
            (self.0, self.1)
        }
    }

    proptest! {
        #[test]
        fn each_place_is_in_the_ranges_that_hold_it(
            ranges in proptest::collection::vec((0_u8..40, 0_u8..40), 0..12),
            mut places in proptest::collection::vec(0_u8..45, 0..60),
        ) {
            places.sort_unstable();
            let ranges: Vec<(u8, u8, usize)> = ranges.into_iter().enumerate().map(|(i, (a, b))| (a, b, i)).collect();
            let mut sweep = Sweep::new(ranges.clone());
            let mut ended = Vec::new();
            for here in places {
                sweep.advance(&here, &mut |range| ended.push(range));
                let mut active: Vec<_> = sweep.active().to_vec();
                active.sort_by_key(|range| range.2);
                let holding: Vec<_> = ranges.iter().copied().filter(|r| r.0 <= here && here <= r.1).collect();
                prop_assert_eq!(active, holding);
                prop_assert!(ended.iter().all(|range| range.1 < here));
            }
            // Each is given back once.
            let mut all: Vec<_> = ended.into_iter().chain(sweep.finish()).collect();
            all.sort_by_key(|range| range.2);
            prop_assert_eq!(all, ranges);
        }
    }
}
