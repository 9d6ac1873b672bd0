//! How fast, how long, and until when.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use cli_common::Cancel;
use tokio::time::Instant;

use crate::pull::PullError;

/// How long is waited before somebody looks whether the work is to end.
const SLICE: Duration = Duration::from_millis(100);

/// Keeps who asks from asking too fast or for too long. One service has one, whatever is asked of it.
#[derive(Debug)]
pub struct Pace {
    between: Duration,
    due: Instant,
    longest: Duration,
    end: Instant,
    cancel: Cancel,
}

impl Pace {
    /// At most `rate` questions in a second, for `longest` at most from now on, unless the work is cancelled before.
    #[must_use]
    pub fn new(rate: f64, longest: Duration, cancel: &Cancel) -> Self {
        let now = Instant::now();
        Self {
            between: Duration::try_from_secs_f64(1.0 / rate).unwrap_or(longest),
            due: now,
            longest,
            end: now.checked_add(longest).unwrap_or(now),
            cancel: cancel.clone(),
        }
    }

    /// Waits until the next question may be asked.
    pub(crate) async fn wait(&mut self) -> Result<(), PullError> {
        let due = self.due;
        self.within(tokio::time::sleep_until(due)).await?;
        self.due = Instant::now() + self.between;
        Ok(())
    }

    /// Pauses after a failure.
    pub(crate) async fn pause(&self, pause: Duration) -> Result<(), PullError> {
        self.within(tokio::time::sleep(pause)).await
    }

    /// Does something, as long as there is time and nobody cancels.
    ///
    /// # Errors
    /// [`PullError::TimeUp`], [`PullError::Cancelled`].
    pub async fn within<T>(&self, work: impl Future<Output = T>) -> Result<T, PullError> {
        let mut work = pin!(work);
        loop {
            if self.cancel.is_cancelled() {
                return Err(PullError::Cancelled);
            }
            let now = Instant::now();
            if now >= self.end {
                return Err(PullError::TimeUp(self.longest));
            }
            let slice = SLICE.min(self.end - now);
            if let Ok(done) = tokio::time::timeout(slice, &mut work).await {
                return Ok(done);
            }
        }
    }
}
