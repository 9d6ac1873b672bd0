//! Hands new entries to a command of the user's own, for stores that are no file system.

use std::io::{self, Seek as _, Write as _};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use cli_common::Cancel;

use crate::error::RecoveryError;

/// A command that runs longer is ended: the next run tries again.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs the command with a shell, with the entries on its stdin.
///
/// # Errors
/// It does not end well, or not in time.
pub fn publish(command: &str, entries: &str, cancel: &Cancel) -> Result<(), RecoveryError> {
    let failed = |what: String| RecoveryError::NotPublished { what };
    let run = || -> io::Result<()> {
        let mut file = tempfile::tempfile()?;
        file.write_all(entries.as_bytes())?;
        file.rewind()?;
        let mut child = Command::new("sh")
            .args(["-c", command])
            .stdin(Stdio::from(file))
            // stdout is for the report.
            .stdout(Stdio::from(io::stderr()))
            .spawn()?;
        let until = Instant::now() + PATIENCE;
        loop {
            match child.try_wait()? {
                Some(ended) if ended.success() => return Ok(()),
                Some(ended) => return Err(io::Error::other(format!("the command ended with {ended}"))),
                None if Instant::now() < until && !cancel.is_cancelled() => {
                    sleep(Duration::from_millis(20));
                }
                None => {
                    child.kill()?;
                    child.wait()?;
                    let seconds = PATIENCE.as_secs();
                    let what = format!("the command did not end within {seconds} s");
                    return Err(io::Error::other(what));
                }
            }
        }
    };
    run().map_err(|e| failed(e.to_string()))
}
