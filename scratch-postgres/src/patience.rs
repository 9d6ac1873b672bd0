//! How long something may take, and whether it is still wanted.

use std::fmt;
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::ScratchError;

/// How long each step may take, and how to ask whether the user wants it to stop.
#[derive(Clone, Copy)]
pub struct Patience<'a> {
    limit: Duration,
    stopped: &'a dyn Fn() -> bool,
}

impl fmt::Debug for Patience<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Patience")
            .field("limit", &self.limit)
            .finish_non_exhaustive()
    }
}

impl<'a> Patience<'a> {
    /// Each step may take up to `limit`; `stopped` is asked many times a second.
    #[must_use]
    pub const fn new(limit: Duration, stopped: &'a dyn Fn() -> bool) -> Self {
        Self { limit, stopped }
    }

    /// The same with another limit, for a step that takes longer than others.
    #[must_use]
    pub const fn with_limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// How long a step may take.
    #[must_use]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether the user wants it to stop.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        (self.stopped)()
    }

    /// Waits until `ready` gives something.
    ///
    /// # Errors
    /// What `ready` fails with, [`ScratchError::Stopped`], or [`ScratchError::TooLong`] with `what` was waited for.
    pub fn until<T>(
        &self,
        what: &str,
        mut ready: impl FnMut() -> Result<Option<T>, ScratchError>,
    ) -> Result<T, ScratchError> {
        let start = Instant::now();
        let mut pause = Duration::from_millis(2);
        loop {
            if let Some(found) = ready()? {
                return Ok(found);
            }
            if self.is_stopped() {
                return Err(ScratchError::Stopped);
            }
            if start.elapsed() >= self.limit {
                return Err(ScratchError::TooLong {
                    what: what.to_owned(),
                    seconds: self.limit.as_secs(),
                });
            }
            sleep(pause);
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    }
}
