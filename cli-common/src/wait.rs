//! Telling that something is waited for.

use std::time::{Duration, Instant};

/// When it is said first.
const FIRST: Duration = Duration::from_secs(2);

/// A wait that the user hears of: after two seconds, and again after four, eight, sixteen and so on.
///
/// ```
/// let mut wait = cli_common::Wait::begin();
/// # let done = || true;
/// while !done() {
///     if wait.is_due() {
///         wait.say("for the answer of sequencer.example");
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    started: Instant,
    next: Duration,
}

impl Wait {
    /// A wait that begins now.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            started: Instant::now(),
            next: FIRST,
        }
    }

    /// How long it lasts.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// Whether it is time to say so; true once for each time that it is.
    #[must_use]
    pub fn is_due(&mut self) -> bool {
        let elapsed = self.elapsed();
        if elapsed < self.next {
            return false;
        }
        while self.next <= elapsed {
            self.next *= 2;
        }
        true
    }

    /// Says what is waited for (`for …`), as a warning in the log on stderr.
    pub fn say(&self, what: &str) {
        tracing::warn!(target: "waiting", "{} s {what}", self.elapsed().as_secs());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_after_two_seconds_and_then_less_and_less_often() {
        let ago = |seconds| Wait {
            started: Instant::now() - Duration::from_secs(seconds),
            next: FIRST,
        };
        assert!(!ago(1).is_due());
        let mut wait = ago(2);
        assert!(wait.is_due() && !wait.is_due());
        assert_eq!(wait.next, Duration::from_secs(4));
        let mut wait = ago(20);
        assert!(wait.is_due() && !wait.is_due());
        assert_eq!(wait.next, Duration::from_secs(32));
    }
}
