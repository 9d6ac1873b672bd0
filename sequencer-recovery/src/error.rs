//! What can keep this crate from doing its work.

use std::path::PathBuf;

use cli_common::{Cancelled, CliError, ErrorKind, file_hint};
use event_log::LogError;
use ves::StreamKey;

use crate::floor::FloorError;
use crate::sealed_file::SealedFileError;

/// An error that ends the work. What merely is wrong with the log is a finding, not an error.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The log cannot be read or written.
    #[error(transparent)]
    Log(LogError),
    /// The log cannot be read or written, while work was done on one stream.
    #[error("stream {stream}: {source}")]
    OfStream {
        /// The stream.
        stream: StreamKey,
        /// Why.
        source: Box<LogError>,
    },
    /// A plan cannot be used.
    #[error(transparent)]
    Plan(#[from] SealedFileError),
    /// An undo bundle cannot be used.
    #[error(transparent)]
    Bundle(SealedFileError),
    /// The stream is not as the apply left it, and not as it was before either.
    #[error("stream {stream} is not as it was left when the plan was applied: {what}")]
    NotAsLeft {
        /// The stream.
        stream: StreamKey,
        /// What differs.
        what: String,
    },
    /// The journal of repairs does not tell enough for an epoch.
    #[error("no epoch can be drawn up: {what}")]
    NoEpoch {
        /// Why.
        what: String,
    },
    /// A sequencer may run while an apply would be taken back.
    #[error("nothing was taken back, since a sequencer may run: {signs}")]
    Lives {
        /// What speaks for it.
        signs: String,
    },
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The database holds in store what a repair cannot get past. Nothing was begun.
    #[error("a repair cannot be written here: {}", what.join("; "))]
    Hindered {
        /// What stands in the way.
        what: Vec<String>,
        /// What to do about each.
        remedies: Vec<String>,
    },
    /// The anchors file cannot be used.
    #[error("{}: {what}", path.display())]
    Anchors {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// A key file cannot be used.
    #[error("{}: {what}", path.display())]
    Keys {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Lost positions cannot be filled.
    #[error("stream {stream}: {what}")]
    RecoveryKey {
        /// The stream.
        stream: StreamKey,
        /// Why.
        what: String,
    },
    /// The floor cannot be the chosen one, or must be chosen.
    #[error("stream {stream}: {source}")]
    Floor {
        /// The stream.
        stream: StreamKey,
        /// Why.
        source: FloorError,
    },
    /// The stream is not as it was when the plan was made, and not as the plan leaves it either.
    #[error("stream {stream} has changed since the plan was made: {what}")]
    Drift {
        /// The stream.
        stream: StreamKey,
        /// What differs.
        what: String,
    },
    /// Something in a plan does not verify. Nothing of its stream was written.
    #[error("stream {stream}, sequence {sequence}: {what}")]
    Refused {
        /// The stream.
        stream: StreamKey,
        /// The position.
        sequence: u64,
        /// What does not verify.
        what: String,
    },
    /// The database under the stream is damaged: what a repair writes would rest on wrong answers.
    #[error("stream {stream} is not written to: {what}")]
    Damaged {
        /// The stream.
        stream: StreamKey,
        /// What is damaged, and what puts it right.
        what: String,
    },
    /// The outcome is not what the plan promised; the stream's transaction was rolled back.
    #[error(
        "stream {stream}: the outcome was checked before the commit and is wrong: {what}. Nothing was changed"
    )]
    Outcome {
        /// The stream.
        stream: StreamKey,
        /// What is wrong.
        what: String,
    },
    /// Which log it is cannot be told, so nothing can be remembered of it.
    #[error("which log this is cannot be told: {what}")]
    NoIdentity {
        /// Why.
        what: String,
    },
    /// Another run uses the file.
    #[error("{}: another run uses it", path.display())]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// A file of notes, or the checkpoints beside it, cannot be used.
    #[error("{}: {what}", path.display())]
    Notes {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The log is not the one that a file of notes is about.
    #[error("nothing was signed: {what}")]
    Elsewhere {
        /// What differs.
        what: String,
    },
    /// The server is in recovery.
    #[error("{what}")]
    InRecovery {
        /// Which.
        what: String,
    },
    /// New checkpoints are in their file, and what was to take them elsewhere did not.
    #[error("the checkpoints were not published: {what}")]
    NotPublished {
        /// Why.
        what: String,
    },
    /// A recovery epoch that cannot be used.
    #[error("{}: {what}", path.display())]
    Epoch {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The user stopped the work.
    #[error("stopped")]
    Cancelled(#[from] Cancelled),
}

impl RecoveryError {
    /// The error with the stream that was worked on, if it does not name it.
    #[must_use]
    pub fn of_stream(self, stream: &StreamKey) -> Self {
        match self {
            RecoveryError::Log(source) => RecoveryError::OfStream {
                stream: *stream,
                source: Box::new(source),
            },
            other => other,
        }
    }
}

impl From<LogError> for RecoveryError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::Cancelled { .. } => RecoveryError::Cancelled(Cancelled),
            error => RecoveryError::Log(error),
        }
    }
}

impl From<RecoveryError> for CliError {
    fn from(error: RecoveryError) -> Self {
        let message = error.to_string();
        match error {
            RecoveryError::Log(error) => error.into(),
            RecoveryError::OfStream { source, .. } => {
                let error = CliError::from(*source);
                let named = CliError::new(error.kind(), message);
                match error.hint() {
                    Some(hint) => named.with_hint(hint),
                    None => named,
                }
            }
            RecoveryError::Plan(error) => plan_error(&error),
            RecoveryError::Bundle(error) => bundle_error(&error),
            RecoveryError::NotAsLeft { .. } => CliError::drift(message).with_hint(
                "nothing was changed in this stream; an apply is taken back only before anything else was written to it",
            ),
            RecoveryError::Lives { .. } => CliError::drift(message).with_hint(
                "stop the sequencer and look at what it did; --streams-that-are-still takes back the streams that are as \
                 the apply left them, and lowers their counters",
            ),
            RecoveryError::NoEpoch { .. } => {
                CliError::input(message).with_hint("give the plan that was applied: --plan FILE")
            }
            RecoveryError::Io { path, source } => CliError::io(message).with_hint(file_hint(&path, &source)),
            RecoveryError::Hindered { remedies, .. } => CliError::input(message)
                .with_hint(format!("nothing was changed; {}", remedies.join("; "))),
            RecoveryError::Anchors { .. } => CliError::input(message)
                .with_hint("make the file with `anchor-verify import` of this release"),
            RecoveryError::Keys { .. } => CliError::input(message)
                .with_hint("give a file of agents' keys, each number once (docs/lost-keys.md), or `peers`"),
            RecoveryError::RecoveryKey { .. } => CliError::input(message).with_hint(
                "register the recovery agent's key, valid from the beginning, or give --recovery-agent ID and \
                 --register-recovery-key (docs/tombstone.md)",
            ),
            RecoveryError::Floor { source: FloorError::BelowProof(_), .. } => CliError::new(ErrorKind::Usage, message)
                .with_hint("choose that number or a higher one: a number given out twice cannot be taken back"),
            RecoveryError::Floor { .. } => CliError::input(message).with_hint(
                "look at that witness; then decide with --floor proven, --floor N, or --floor claimed to believe it",
            ),
            RecoveryError::NoIdentity { .. } => CliError::input(message).with_hint(
                "let the role ask: GRANT EXECUTE ON FUNCTION pg_control_system(), pg_control_checkpoint(), \
                 pg_control_recovery() TO it",
            ),
            RecoveryError::InUse { .. } => {
                CliError::io(message).with_hint("wait until it has ended; one run at a time uses the file")
            }
            RecoveryError::Notes { .. } => CliError::input(message).with_hint(
                "give the file that this command wrote; if it is damaged, move it away: it is made again from the log and the \
                 checkpoints",
            ),
            RecoveryError::Elsewhere { .. } => CliError::drift(message).with_hint(
                "if this is the production now (a standby that was promoted, a recovery that was repaired), say so once with \
                 --adopt, or give the signed recovery epoch with --epoch; a copy for a drill needs a state and a key of its own",
            ),
            RecoveryError::InRecovery { .. } => CliError::drift(message).with_hint(
                "promote it first (SELECT pg_promote()), or ask the primary",
            ),
            RecoveryError::NotPublished { .. } => CliError::io(message).with_hint(
                "they are remembered, and the next run publishes them before it signs anything",
            ),
            RecoveryError::Epoch { .. } => CliError::input(message)
                .with_hint("give the epoch as it was signed, and the operator's public key with --epoch-public-key"),
            RecoveryError::Drift { .. } => CliError::drift(message).with_hint(
                "nothing was changed in this stream; make a new plan with `sequencer-recovery plan`",
            ),
            RecoveryError::Refused { .. } => CliError::input(message).with_hint(
                "nothing was changed in this stream; make a new plan with `sequencer-recovery plan`",
            ),
            RecoveryError::Damaged { .. } => CliError::drift(message).with_hint(
                "nothing was changed in this stream; put that right first, then make a new plan with `sequencer-recovery plan`",
            ),
            RecoveryError::Outcome { .. } => {
                CliError::drift(message).with_hint("run `sequencer-recovery audit`, then make a new plan")
            }
            RecoveryError::Cancelled(cancelled) => cancelled.into(),
        }
    }
}

fn plan_error(error: &SealedFileError) -> CliError {
    let hint = match error {
        SealedFileError::Io { .. } => "is the path right, and may you read it?",
        SealedFileError::Schema { .. } => "give a file that `sequencer-recovery plan` of this release wrote",
        SealedFileError::Line { .. }
        | SealedFileError::Altered { .. }
        | SealedFileError::Truncated { .. } => {
            "nothing was changed; plans are not edited by hand: make a new one with other options"
        }
    };
    CliError::input(error.to_string()).with_hint(hint)
}

fn bundle_error(error: &SealedFileError) -> CliError {
    let hint = match error {
        SealedFileError::Io { .. } => "is the path right, and may you read it?",
        SealedFileError::Schema { .. } => {
            "give a file that `sequencer-recovery apply --undo FILE` of this release wrote"
        }
        SealedFileError::Truncated { .. } => {
            "nothing was changed; is there a whole copy? If the apply that wrote it was killed, give --interrupted"
        }
        SealedFileError::Line { .. } | SealedFileError::Altered { .. } => {
            "nothing was changed; a bundle is used only as it was written: is there a sound copy?"
        }
    };
    CliError::input(error.to_string()).with_hint(hint)
}
