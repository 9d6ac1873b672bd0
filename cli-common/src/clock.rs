//! How long this process has worked.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

static STARTED: OnceLock<Instant> = OnceLock::new();

/// Notes that it begins now. Only the first call counts.
pub(crate) fn start() {
    STARTED.get_or_init(Instant::now);
}

/// How long ago that was; `None` where it was not noted.
pub(crate) fn elapsed() -> Option<Duration> {
    STARTED.get().map(Instant::elapsed)
}

/// A length of time for people: `12.3 s`, `4 min 5 s`, `2 h 3 min`.
#[must_use]
pub fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..60 => format!("{:.1} s", time.as_secs_f64()),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units_at_most() {
        for (seconds, words) in [
            (0.25, "0.2 s"),
            (59.94, "59.9 s"),
            (61.0, "1 min 1 s"),
            (7_380.0, "2 h 3 min"),
        ] {
            assert_eq!(in_words(Duration::from_secs_f64(seconds)), words);
        }
    }

    #[test]
    fn a_process_begins_once() {
        start();
        let first = elapsed();
        start();
        assert!(elapsed() >= first && first.is_some());
    }
}
