//! Why a backup could not be checked. That it is broken is no failure of the check: the report says so.

use cli_common::{Cancelled, CliError};
use scratch_postgres::ScratchError;

use crate::error::RecoveryError;

/// Why a backup could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckFailure {
    /// The user stopped it.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// There is no place to restore it to, or no program to do it with.
    #[error(transparent)]
    Scratch(ScratchError),
    /// The log, or a witness, could not be asked.
    #[error(transparent)]
    Recovery(RecoveryError),
    /// There is not room enough.
    #[error("{what}")]
    NoRoom {
        /// How much there is, and how much it takes.
        what: String,
    },
    /// What was given is no backup that is read here.
    #[error("{what}")]
    NoBackup {
        /// What it is.
        what: String,
        /// What to do.
        hint: &'static str,
    },
    /// What was given as a copy looks like production.
    #[error("this looks like production, and not like a restored copy: {}", signs.join("; "))]
    Production {
        /// What speaks for it.
        signs: Vec<String>,
    },
}

impl From<ScratchError> for CheckFailure {
    fn from(error: ScratchError) -> Self {
        match error {
            ScratchError::Stopped => Self::Cancelled(Cancelled),
            error => Self::Scratch(error),
        }
    }
}

impl From<RecoveryError> for CheckFailure {
    fn from(error: RecoveryError) -> Self {
        match error {
            RecoveryError::Cancelled(cancelled) => Self::Cancelled(cancelled),
            error => Self::Recovery(error),
        }
    }
}

impl From<event_log::LogError> for CheckFailure {
    fn from(error: event_log::LogError) -> Self {
        RecoveryError::from(error).into()
    }
}

impl CheckFailure {
    /// A file or folder that cannot be used.
    pub(super) fn io(path: &std::path::Path) -> impl Fn(std::io::Error) -> Self + '_ {
        move |source| {
            Self::Recovery(RecoveryError::Io {
                path: path.to_owned(),
                source,
            })
        }
    }
}

impl From<CheckFailure> for CliError {
    fn from(failure: CheckFailure) -> Self {
        let message = failure.to_string();
        match failure {
            CheckFailure::Cancelled(cancelled) => cancelled.into(),
            CheckFailure::Recovery(error) => error.into(),
            CheckFailure::Scratch(error) => {
                let told = CliError::io(message);
                match error.hint() {
                    Some(hint) => told.with_hint(hint),
                    None => told,
                }
            }
            CheckFailure::NoRoom { .. } => {
                CliError::io(message).with_hint("make room, or name another folder with --scratch")
            }
            CheckFailure::NoBackup { hint, .. } => CliError::input(message).with_hint(hint),
            CheckFailure::Production { .. } => CliError::drift(message).with_hint(
                "nothing was looked at; give the URL of a copy that was restored, or --this-is-a-copy if it is one",
            ),
        }
    }
}
