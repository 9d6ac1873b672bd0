//! Faults within the work on a snapshot: a statement of SQLite is interrupted, a commit is refused, or the process is killed.
//! Where, is counted in steps of SQLite's own machine, so the same seed fails at the same place.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use event_log::{OnSnapshot, OpenOptions};

/// So many instructions of SQLite's machine are one step.
const STEP: i32 = 40;

/// A cache of so many pages makes SQLite write pages of an unfinished transaction into the file.
const CACHE: &str = include_str!("../sql/small_cache.sql");

/// What happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The statement that runs at this step fails, once.
    Interrupt(u64),
    /// This commit is refused, counted from 0.
    Refuse(u64),
    /// The process is killed at this step: what is left is what the files hold then.
    Kill(u64),
}

/// Counts the steps of all connections to a file, and lets one fault happen.
#[derive(Debug, Clone)]
pub struct Meter(Arc<State>);

#[derive(Debug)]
struct State {
    fault: Option<Fault>,
    /// Where the file is copied to when the process is killed.
    image: PathBuf,
    steps: AtomicU64,
    commits: AtomicU64,
    dead: AtomicBool,
    happened: AtomicBool,
    failed: Mutex<Option<String>>,
}

impl Meter {
    /// Nothing happens; steps are counted.
    pub fn counting() -> Self {
        Self::with(None, Path::new(""))
    }

    /// The fault happens once. A killed process leaves its files in `image`.
    pub fn failing(fault: Fault, image: &Path) -> Self {
        Self::with(Some(fault), image)
    }

    fn with(fault: Option<Fault>, image: &Path) -> Self {
        Self(Arc::new(State {
            fault,
            image: image.to_owned(),
            steps: AtomicU64::new(0),
            commits: AtomicU64::new(0),
            dead: AtomicBool::new(false),
            happened: AtomicBool::new(false),
            failed: Mutex::new(None),
        }))
    }

    /// How many steps and commits there were.
    pub fn counted(&self) -> (u64, u64) {
        (
            self.0.steps.load(Ordering::SeqCst),
            self.0.commits.load(Ordering::SeqCst),
        )
    }

    /// Whether the fault happened.
    ///
    /// # Errors
    /// The files of the killed process could not be kept.
    pub fn happened(&self) -> Result<bool, String> {
        let failed = self.0.failed.lock().unwrap_or_else(PoisonError::into_inner);
        match &*failed {
            Some(error) => Err(error.clone()),
            None => Ok(self.0.happened.load(Ordering::SeqCst)),
        }
    }

    /// How a log is opened so that this counts.
    pub fn options(&self) -> OpenOptions {
        let state = self.0.clone();
        OpenOptions {
            on_snapshot: Some(OnSnapshot::new(move |connection, writes| {
                if writes {
                    connection.execute_batch(CACHE)?;
                }
                let (on_step, on_commit) = (state.clone(), state.clone());
                let path = connection.path().map(PathBuf::from).unwrap_or_default();
                connection.progress_handler(STEP, Some(move || on_step.step(&path)))?;
                connection.commit_hook(Some(move || on_commit.commit()))
            })),
            ..OpenOptions::default()
        }
    }
}

impl State {
    /// Whether the statement fails.
    fn step(&self, path: &Path) -> bool {
        let now = self.steps.fetch_add(1, Ordering::SeqCst);
        match self.fault {
            Some(Fault::Interrupt(at)) if at == now => {
                self.happened.store(true, Ordering::SeqCst);
                true
            }
            Some(Fault::Kill(at)) if at == now => {
                self.happened.store(true, Ordering::SeqCst);
                if let Err(error) = copy_with_journal(path, &self.image) {
                    *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                }
                self.dead.store(true, Ordering::SeqCst);
                true
            }
            _ => self.dead.load(Ordering::SeqCst),
        }
    }

    /// Whether the commit becomes a rollback.
    fn commit(&self) -> bool {
        let now = self.commits.fetch_add(1, Ordering::SeqCst);
        let refused = self.fault == Some(Fault::Refuse(now));
        if refused {
            self.happened.store(true, Ordering::SeqCst);
        }
        refused || self.dead.load(Ordering::SeqCst)
    }
}

/// Copies a database with the journal that lies beside it, if there is one.
///
/// # Errors
/// The files cannot be copied.
pub fn copy_with_journal(from: &Path, to: &Path) -> Result<(), String> {
    let journal = |path: &Path| {
        let mut name = path.as_os_str().to_owned();
        name.push("-journal");
        PathBuf::from(name)
    };
    let copy = |from: &Path, to: &Path| {
        std::fs::copy(from, to).map_err(|e| format!("{} to {}: {e}", from.display(), to.display()))
    };
    copy(from, to)?;
    if journal(from).exists() {
        copy(&journal(from), &journal(to))?;
    }
    Ok(())
}
