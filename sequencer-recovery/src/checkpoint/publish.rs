//! Hands new entries to a command of the user's own, for stores that are no file system.

use std::time::Duration;

use cli_common::{Cancel, ShellCommand};

use crate::error::RecoveryError;

/// A command that runs longer is ended: the next run tries again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the command with a shell, with the entries on its stdin.
///
/// # Errors
/// It does not end well, or not in time.
pub fn publish(command: &str, entries: &str, cancel: &Cancel) -> Result<(), RecoveryError> {
    let command = ShellCommand {
        text: command,
        environment: &[],
        patience: PATIENCE,
    };
    let published = command.run_with(entries.as_bytes(), cancel);
    published.map_err(|e| RecoveryError::NotPublished {
        what: format!("the command: {e}"),
    })
}
