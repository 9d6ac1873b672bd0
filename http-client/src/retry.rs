//! How long to wait before a request is tried again.

use std::time::Duration;

use backon::{BackoffBuilder as _, ExponentialBackoff, ExponentialBuilder};

/// Who wants to be left alone for longer is asked again after this.
const LONGEST_ASKED: Duration = Duration::from_secs(600);

/// Pauses between tries: each about twice as long as the one before it, by chance a little longer, so that many do not come
/// back at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Pauses {
    /// The first.
    pub first: Duration,
    /// The longest.
    pub longest: Duration,
}

impl Pauses {
    /// The pauses of one request.
    #[must_use]
    pub fn begin(&self) -> Backoff {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(self.first)
            .with_max_delay(self.longest)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times()
            .build();
        Backoff {
            pauses,
            longest: self.longest,
        }
    }
}

/// The pauses of one request that is tried again and again.
#[derive(Debug)]
pub struct Backoff {
    pauses: ExponentialBackoff,
    longest: Duration,
}

impl Backoff {
    /// How long to wait before the next try: as long as the other side asks (`Retry-After`), ten minutes at most, or else
    /// longer than before.
    pub fn next_pause(&mut self, asked: Option<Duration>) -> Duration {
        // One that is asked for is longer than before, too.
        let pause = self.pauses.next().unwrap_or(self.longest);
        asked.map_or(pause, |asked| asked.min(LONGEST_ASKED))
    }
}

/// What `Retry-After` asks for: seconds, or a date.
pub fn retry_after(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.trim().parse::<u64>() {
        return Some(Duration::from_secs(seconds));
    }
    let at = jiff::fmt::rfc2822::parse(text.trim()).ok()?.timestamp();
    let left = at.duration_since(jiff::Timestamp::now());
    Some(Duration::try_from(left).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_give_way_to_what_is_asked_for() {
        let pauses = Pauses {
            first: Duration::from_millis(500),
            longest: Duration::from_secs(4),
        };
        let mut backoff = pauses.begin();
        for least in [500, 1000, 2000, 4000, 4000] {
            let pause = backoff.next_pause(None);
            let least = Duration::from_millis(least);
            assert!(pause >= least && pause <= least + pauses.longest, "{pause:?}");
        }
        let mut backoff = pauses.begin();
        assert_eq!(backoff.next_pause(Some(Duration::ZERO)), Duration::ZERO);
        assert_eq!(
            backoff.next_pause(Some(Duration::from_secs(7))),
            Duration::from_secs(7)
        );
        assert_eq!(backoff.next_pause(Some(Duration::from_secs(9999))), LONGEST_ASKED);
        assert!(backoff.next_pause(None) >= Duration::from_secs(4));
    }

    #[test]
    fn what_is_asked_for_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 7 "), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT"), Some(Duration::ZERO));
        let soon = jiff::Timestamp::now() + jiff::SignedDuration::from_secs(100);
        let date = soon.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let pause = retry_after(&date).unwrap().as_secs();
        assert!((90..=100).contains(&pause), "{date}: {pause}");
        assert_eq!(retry_after("soon"), None);
    }
}
