//! Stopping in order when the user asks for it.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;

use crate::ExitStatus;

/// Says whether the user wants the work to stop. Cheap to copy and to ask; long work asks it between its steps, and
/// leaves things so that it can be run again.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

/// The work was stopped because the user asked for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cancelled;

impl Cancel {
    /// A token that nobody has cancelled.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A token that Ctrl-C (SIGINT) and SIGTERM cancel. A second signal ends the process at once, with status 32.
    ///
    /// # Errors
    /// If the system refuses the signal handlers.
    pub fn on_signals() -> io::Result<Self> {
        let cancel = Self::new();
        for signal in [SIGINT, SIGTERM] {
            // In this order: the first signal finds the flag down and only raises it.
            let status = i32::from(ExitStatus::CANCELLED.code());
            flag::register_conditional_shutdown(signal, status, Arc::clone(&cancel.0))?;
            flag::register(signal, Arc::clone(&cancel.0))?;
        }
        // A file that may not grow any more is a write that failed, not the end of the process.
        flag::register(SIGXFSZ, Arc::new(AtomicBool::new(false)))?;
        Ok(cancel)
    }

    /// Asks the work to stop.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether the work is asked to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
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
    fn a_signal_cancels() {
        let cancel = Cancel::on_signals().unwrap();
        assert!(!cancel.is_cancelled());
        signal_hook::low_level::raise(SIGTERM).unwrap();
        assert!(cancel.is_cancelled());
    }
}
