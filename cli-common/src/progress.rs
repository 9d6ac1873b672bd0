//! How far long work has come.

use std::fmt::Debug;
use std::io::{self, IsTerminal, Write};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use crate::{GlobalArgs, clock, escape_controls};

/// Hears how far work has come. Libraries take `&dyn Progress`; what becomes of it is the caller's business.
///
/// Work goes through phases, one after the other. A phase may be advanced from many threads.
pub trait Progress: Debug + Send + Sync {
    /// A phase begins, and with it the one before ends. `total` is how many steps it has, if that is known.
    fn start(&self, phase: &str, total: Option<u64>);
    /// The phase is `steps` further.
    fn advance(&self, steps: u64);
    /// The phase is over.
    fn finish(&self);
}

/// Tells nobody.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn start(&self, _: &str, _: Option<u64>) {}
    fn advance(&self, _: u64) {}
    fn finish(&self) {}
}

/// Progress as the user wants it: a bar on stderr if that is a terminal, else a line now and then; nothing with
/// `--quiet`. The bar is gone when the value is dropped.
#[must_use]
pub fn stderr_progress(global: &GlobalArgs) -> Box<dyn Progress> {
    if global.quiet {
        Box::new(NoProgress)
    } else if io::stderr().is_terminal() {
        Box::new(Bar(Mutex::new(None)))
    } else {
        Box::new(Lines::new(Duration::from_secs(10), io::stderr()))
    }
}

/// All bars of the process, so that other talk on stderr can step around them.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Does something that writes to stderr while no bar is drawn there.
pub(crate) fn with_bars_hidden<T>(write: impl FnOnce() -> T) -> T {
    BARS.suspend(write)
}

/// A bar on a terminal.
#[derive(Debug)]
struct Bar(Mutex<Option<ProgressBar>>);

impl Bar {
    fn replace(&self, bar: Option<ProgressBar>) {
        if let Some(old) = std::mem::replace(&mut *lock(&self.0), bar) {
            old.finish_and_clear();
            BARS.remove(&old);
        }
    }
}

impl Progress for Bar {
    fn start(&self, phase: &str, total: Option<u64>) {
        self.replace(None);
        let (bar, template) = match total {
            Some(total) => (
                ProgressBar::new(total),
                "{msg} [{bar:20}] {human_pos}/{human_len}, {per_sec}, {eta} left",
            ),
            None => (
                ProgressBar::no_length(),
                "{spinner} {msg} {human_pos}, {per_sec}, {elapsed}",
            ),
        };
        let bar = BARS.add(bar);
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_message(escape_controls(phase).into_owned());
        bar.enable_steady_tick(Duration::from_millis(200));
        self.replace(Some(bar));
    }

    fn advance(&self, steps: u64) {
        if let Some(bar) = &*lock(&self.0) {
            bar.inc(steps);
        }
    }

    fn finish(&self) {
        self.replace(None);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.finish();
    }
}

/// Lines for a log file: one at most in each interval, and none for phases that are done sooner.
#[derive(Debug)]
struct Lines<W> {
    interval: Duration,
    state: Mutex<State<W>>,
}

#[derive(Debug)]
struct State<W> {
    out: W,
    phase: Option<Phase>,
}

#[derive(Debug)]
struct Phase {
    name: String,
    total: Option<u64>,
    done: u64,
    started: Instant,
    last_line: Instant,
    mentioned: bool,
}

impl Phase {
    /// How far it is after so much time, how fast, and how long it will still take at this rate.
    fn so_far(&self, elapsed: Duration) -> String {
        let mut text = self.done.to_string();
        if let Some(total) = self.total {
            text.push_str(&format!(" of {total}"));
        }
        let rate = self.done as f64 / elapsed.as_secs_f64();
        if rate.is_finite() && rate > 0.0 {
            let precision = usize::from(rate < 10.0);
            text.push_str(&format!(", {rate:.precision$}/s"));
            if let Some(left) = self.total.and_then(|total| total.checked_sub(self.done)) {
                let left = Duration::try_from_secs_f64((left as f64 / rate).ceil()).unwrap_or(Duration::MAX);
                text.push_str(&format!(", {} left", clock::in_words(left)));
            }
        }
        text
    }
}

impl<W: Write> Lines<W> {
    fn new(interval: Duration, out: W) -> Self {
        Self {
            interval,
            state: Mutex::new(State { out, phase: None }),
        }
    }
}

impl<W: Write> State<W> {
    fn end_phase(&mut self) {
        if let Some(phase) = self.phase.take().filter(|phase| phase.mentioned) {
            let took = clock::in_words(phase.started.elapsed());
            let _ = writeln!(self.out, "{}: done, {} in {took}", phase.name, phase.done);
        }
    }
}

impl<W: Write + Debug + Send> Progress for Lines<W> {
    fn start(&self, phase: &str, total: Option<u64>) {
        let mut state = lock(&self.state);
        state.end_phase();
        let now = Instant::now();
        let name = escape_controls(phase).into_owned();
        state.phase = Some(Phase {
            name,
            total,
            done: 0,
            started: now,
            last_line: now,
            mentioned: false,
        });
    }

    fn advance(&self, steps: u64) {
        let mut state = lock(&self.state);
        let State {
            out,
            phase: Some(phase),
        } = &mut *state
        else {
            return;
        };
        phase.done = phase.done.saturating_add(steps);
        if phase.last_line.elapsed() >= self.interval {
            let _ = writeln!(out, "{}: {}", phase.name, phase.so_far(phase.started.elapsed()));
            phase.last_line = Instant::now();
            phase.mentioned = true;
        }
    }

    fn finish(&self) {
        lock(&self.state).end_phase();
    }
}

/// Progress is not worth a panic: a lock that a panicking thread held is taken all the same.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(progress: &Lines<Vec<u8>>) -> String {
        String::from_utf8(lock(&progress.state).out.clone()).unwrap()
    }

    #[test]
    fn lines_say_how_far_each_phase_is() {
        let progress = Lines::new(Duration::ZERO, Vec::new());
        progress.start("reading", Some(10));
        progress.advance(4);
        progress.advance(6);
        progress.start("checking", None);
        progress.advance(1);
        progress.finish();
        progress.finish();
        let written = written(&progress);
        let lines: Vec<&str> = written.lines().collect();
        let begins = [
            "reading: 4 of 10, ",
            "reading: 10 of 10, ",
            "reading: done, 10 in 0.0 s",
            "checking: 1, ",
            "checking: done, 1 in ",
        ];
        assert_eq!(lines.len(), begins.len(), "{written}");
        for (line, begin) in lines.iter().zip(begins) {
            assert!(line.starts_with(begin), "{line}");
        }
    }

    #[test]
    fn a_line_says_how_fast_and_how_long_still() {
        let phase = |done, total| Phase {
            name: "x".into(),
            total,
            done,
            started: Instant::now(),
            last_line: Instant::now(),
            mentioned: false,
        };
        let after = Duration::from_secs(20);
        assert_eq!(
            phase(4_000, Some(20_000)).so_far(after),
            "4000 of 20000, 200/s, 1 min 20 s left"
        );
        assert_eq!(phase(30, Some(40)).so_far(after), "30 of 40, 1.5/s, 7.0 s left");
        assert_eq!(phase(5, None).so_far(after), "5, 0.2/s");
        assert_eq!(phase(0, Some(40)).so_far(after), "0 of 40");
        assert_eq!(phase(50, Some(40)).so_far(after), "50 of 40, 2.5/s");
        assert_eq!(phase(5, Some(9)).so_far(Duration::ZERO), "5 of 9");
    }

    #[test]
    fn lines_are_few() {
        let progress = Lines::new(Duration::from_secs(3600), Vec::new());
        progress.advance(1);
        for phase in 0..5 {
            progress.start(&format!("phase {phase}"), Some(1000));
            (0..1000).for_each(|_| progress.advance(1));
        }
        progress.finish();
        assert_eq!(written(&progress), "");
    }

    #[test]
    fn every_kind_takes_any_order_of_calls() {
        let bar = Bar(Mutex::new(None));
        let lines = Lines::new(Duration::ZERO, io::sink());
        let all: [&dyn Progress; 3] = [&NoProgress, &bar, &lines];
        for progress in all {
            progress.finish();
            progress.advance(u64::MAX);
            progress.start("x", Some(0));
            progress.advance(u64::MAX);
            progress.advance(u64::MAX);
            progress.start("y\x1b", None);
            progress.finish();
            progress.finish();
        }
        let quiet = GlobalArgs {
            quiet: true,
            ..GlobalArgs::default()
        };
        assert!(format!("{:?}", stderr_progress(&quiet)).contains("NoProgress"));
    }
}
