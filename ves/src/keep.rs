//! Room for so many of what is large to keep and can be made anew.

use std::sync::atomic::{AtomicUsize, Ordering};

/// How many more may be kept, whatever they are.
#[derive(Debug)]
pub(crate) struct Keep {
    left: AtomicUsize,
}

impl Keep {
    /// Room for so many.
    pub(crate) fn new(many: usize) -> Self {
        Self {
            left: AtomicUsize::new(many),
        }
    }

    /// Takes a place; false if there is none left.
    pub(crate) fn take(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .is_ok()
    }
}
