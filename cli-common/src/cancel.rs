//! Stopping in order when the user asks for it, and saying where things stand then.

use std::error::Error;
use std::fmt;
use std::io::{self, Write as _};
use std::process;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::iterator::Signals;

use crate::progress::with_bars_hidden;
use crate::{CliError, ExitStatus, leftovers};

/// Says whether the user wants the work to stop. Cheap to copy and to ask; long work asks it between its steps, and
/// leaves things so that it can be run again.
///
/// Work that commits in steps notes here what is committed ([`Cancel::note_done`]), so that whoever interrupts it is
/// told, however it ends.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked: Arc<AtomicBool>,
    standing: Mutex<StoppedAt>,
    teller: Mutex<Option<Teller>>,
}

/// Says where things stand, for work that knows more than what is done for good.
struct Teller(Box<dyn Fn() -> String + Send>);

impl fmt::Debug for Teller {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Teller")
    }
}

/// What was done when the work was stopped.
#[derive(Clone, Debug, Default)]
struct StoppedAt {
    done: Vec<String>,
    in_doubt: Vec<String>,
}

/// The work was stopped because the user asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

/// The token that the signals of this process cancel: signals are the process's, so there is one.
static OF_SIGNALS: OnceLock<Cancel> = OnceLock::new();

/// How many things that are done are named one by one.
const NAMED: usize = 20;

/// How long a sleep goes on before it looks whether it is cancelled.
const SLICE: Duration = Duration::from_millis(50);

/// How long the last words of a process may take: stderr may be a pipe that nobody reads.
const LAST_WORDS: Duration = Duration::from_secs(1);

impl Cancel {
    /// A token that nobody has cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that Ctrl-C (SIGINT) and SIGTERM cancel. A second signal ends the process at once, with status 32, after
    /// saying what is committed and removing its temporary files.
    ///
    /// # Errors
    /// If the system refuses the signal handlers.
    pub fn on_signals() -> io::Result<Self> {
        let cancel = Self::new();
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        for signal in [SIGINT, SIGTERM] {
            // The flag itself is raised by the handler: no thread has to run for that.
            flag::register(signal, Arc::clone(&cancel.0.asked))?;
        }
        // A file that may not grow any more is a write that failed, not the end of the process.
        flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        let heard = cancel.clone();
        thread::Builder::new().name("signals".into()).spawn(move || {
            if signals.forever().nth(1).is_some() {
                heard.end_at_once();
            }
        })?;
        let _ = OF_SIGNALS.set(cancel.clone());
        Ok(cancel)
    }

    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.0.asked.store(true, Ordering::Relaxed);
    }

    /// Whether the work is asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.asked.load(Ordering::Relaxed)
    }

    /// For `?` between two steps of work.
    ///
    /// # Errors
    /// [`Cancelled`], if the work is asked to stop.
    pub fn check(&self) -> Result<(), Cancelled> {
        if self.is_cancelled() {
            Err(Cancelled)
        } else {
            Ok(())
        }
    }

    /// Sleeps, unless the work is asked to stop.
    ///
    /// # Errors
    /// [`Cancelled`], as soon as the work is asked to stop.
    pub fn sleep(&self, duration: Duration) -> Result<(), Cancelled> {
        let end = Instant::now() + duration;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            thread::sleep(left.min(SLICE));
        }
    }

    /// Notes that something is done for good (`stream …`), whatever happens to the rest of the work.
    pub fn note_done(&self, what: impl Into<String>) {
        self.standing().done.push(what.into());
    }

    /// Notes what is being made permanent right now: if the process ended here, nobody could say whether it is.
    pub fn note_in_doubt(&self, what: impl Into<String>) {
        self.standing().in_doubt.push(what.into());
    }

    /// Notes that what was in doubt last no longer is.
    pub fn note_certain(&self) {
        self.standing().in_doubt.pop();
    }

    /// Has this say where things stand if a second signal ends the process at once, instead of what was noted.
    pub fn tell_with(&self, standing: impl Fn() -> String + Send + 'static) {
        let mut teller = self.0.teller.lock().unwrap_or_else(PoisonError::into_inner);
        *teller = Some(Teller(Box::new(standing)));
    }

    /// What is done for good and what is in doubt, in one sentence each; `None` if nothing was noted.
    #[must_use]
    pub fn where_it_stands(&self) -> Option<String> {
        self.standing().sentences()
    }

    /// An error that ends the work, with where things stand.
    #[must_use]
    pub fn explain(&self, error: CliError) -> CliError {
        match self.where_it_stands() {
            Some(standing) => error.with_standing(&standing),
            None => error,
        }
    }

    /// The token that the signals of this process cancel, if one was made.
    pub(crate) fn of_signals() -> Option<&'static Cancel> {
        OF_SIGNALS.get()
    }

    fn standing(&self) -> MutexGuard<'_, StoppedAt> {
        self.0.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the process, after a word about where things stand.
    fn end_at_once(&self) -> ! {
        let teller = self.0.teller.try_lock().ok();
        let told = teller.and_then(|teller| teller.as_ref().map(|teller| (teller.0)()));
        let noted = || self.0.standing.try_lock().ok().and_then(|s| s.sentences());
        let standing = told.or_else(noted);
        let mut error = CliError::cancelled("ended at once, before the work was done");
        error = match standing {
            Some(standing) => error.with_standing(&standing),
            None => error.with_hint(crate::error::begin_again()),
        };
        let (said, heard) = mpsc::channel();
        let _ = thread::Builder::new().spawn(move || {
            with_bars_hidden(|| {
                let mut text = Vec::new();
                let _ = error.write_to(&mut text, false);
                let _ = io::stderr().write_all(&text);
            });
            let _ = said.send(());
        });
        let _ = heard.recv_timeout(LAST_WORDS);
        leftovers::remove_all();
        process::exit(ExitStatus::CANCELLED.code().into())
    }
}

impl StoppedAt {
    fn sentences(&self) -> Option<String> {
        let mut sentences = Vec::new();
        if !self.done.is_empty() {
            let named = self
                .done
                .iter()
                .take(NAMED)
                .map(String::as_str)
                .collect::<Vec<_>>();
            let more = match self.done.len() - named.len() {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            sentences.push(format!("committed and staying so: {}{more}", named.join(", ")));
        }
        if !self.in_doubt.is_empty() {
            sentences.push(format!(
                "not known whether it is committed: {} (its COMMIT was sent, and no answer came)",
                self.in_doubt.join(", ")
            ));
        }
        (!sentences.is_empty()).then(|| sentences.join("; "))
    }
}

impl fmt::Display for Cancelled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cancelled")
    }
}

impl Error for Cancelled {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_copies_of_a_token_hear_of_it() {
        let cancel = Cancel::new();
        let copy = cancel.clone();
        assert_eq!(copy.check(), Ok(()));
        cancel.cancel();
        assert_eq!(copy.check(), Err(Cancelled));
        assert!(!Cancel::new().is_cancelled());
    }

    #[test]
    fn what_is_done_is_told() {
        let cancel = Cancel::new();
        assert_eq!(cancel.where_it_stands(), None);
        let error = || CliError::from(Cancelled);
        assert_eq!(cancel.explain(error()).hint(), error().hint());
        cancel.note_done("stream a");
        cancel.note_done("stream b");
        cancel.note_in_doubt("stream c");
        let told = format!("{:?}", cancel.explain(error()));
        assert!(
            told.contains("committed and staying so: stream a, stream b;"),
            "{told}"
        );
        assert!(
            told.contains("not known whether it is committed: stream c"),
            "{told}"
        );
        cancel.note_certain();
        (0..30).for_each(|n| cancel.note_done(format!("stream {n}")));
        let told = cancel.where_it_stands().unwrap();
        assert!(told.ends_with(" and 12 more"), "{told}");
        let broken = cancel.explain(CliError::io("broken").with_hint("mend it"));
        assert!(broken.to_string().starts_with("broken; committed") && broken.hint() == Some("mend it"));
    }

    #[test]
    fn a_sleep_ends_when_it_is_cancelled() {
        let cancel = Cancel::new();
        assert_eq!(cancel.sleep(Duration::from_millis(1)), Ok(()));
        cancel.cancel();
        assert_eq!(cancel.sleep(Duration::from_secs(3600)), Err(Cancelled));
    }

    #[test]
    fn a_signal_cancels() {
        let cancel = Cancel::on_signals().unwrap();
        assert!(!cancel.is_cancelled());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(cancel.is_cancelled());
    }
}
