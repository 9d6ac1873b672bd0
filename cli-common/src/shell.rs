//! Runs a command of the user's own by the shell, and waits for it no longer than it may take.

use std::io::{Error, Result, Seek as _, Write as _, stderr};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::Cancel;

/// How often it is looked whether it has ended.
const TICK: Duration = Duration::from_millis(20);

/// So many bytes every pipe takes without a reader.
const SHORT: usize = 4096;

/// A command of the user's own: an option's value, run as `sh -c` runs it.
#[derive(Debug, Clone, Copy)]
pub struct ShellCommand<'a> {
    /// What the shell is given.
    pub text: &'a str,
    /// Variables of its environment beside our own.
    pub environment: &'a [(&'a str, &'a str)],
    /// A command that runs longer is ended: what does not answer holds up no recovery.
    pub patience: Duration,
}

impl ShellCommand<'_> {
    /// Runs it with this on its stdin. What it says goes to stderr: stdout is for reports.
    ///
    /// # Errors
    /// It cannot be run, does not end with 0, not in time, or not before the work is cancelled.
    pub fn run(&self, stdin: Stdio, cancel: &Cancel) -> Result<()> {
        let mut child = Command::new("sh")
            .args(["-c", self.text])
            .envs(self.environment.iter().copied())
            .stdin(stdin)
            .stdout(Stdio::from(stderr()))
            .spawn()?;
        let until = Instant::now() + self.patience;
        loop {
            match child.try_wait()? {
                Some(ended) if ended.success() => return Ok(()),
                Some(ended) => return Err(Error::other(format!("it ended with {ended}"))),
                None if Instant::now() < until && !cancel.is_cancelled() => sleep(TICK),
                None => {
                    child.kill()?;
                    child.wait()?;
                    let why = match cancel.is_cancelled() {
                        true => "it was ended: the work was cancelled".to_owned(),
                        false => format!("it did not end within {} s", self.patience.as_secs()),
                    };
                    return Err(Error::other(why));
                }
            }
        }
    }

    /// As [`ShellCommand::run`], with a text on its stdin. A command that does not read it holds nobody up: what does not go
    /// into any pipe at once goes through a file without a name. What does needs no disk, which may be full.
    ///
    /// # Errors
    /// As [`ShellCommand::run`], and if there is no room for the file.
    pub fn run_with(&self, text: &[u8], cancel: &Cancel) -> Result<()> {
        if text.len() <= SHORT {
            let (reader, mut writer) = std::io::pipe()?;
            writer.write_all(text)?;
            drop(writer);
            return self.run(Stdio::from(reader), cancel);
        }
        let mut file = tempfile::tempfile()?;
        file.write_all(text)?;
        file.rewind()?;
        self.run(Stdio::from(file), cancel)
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    fn command(text: &str) -> ShellCommand<'_> {
        ShellCommand {
            text,
            environment: &[("GREETING", "hello")],
            patience: Duration::from_secs(60),
        }
    }

    #[test]
    fn it_has_its_stdin_and_its_environment() {
        let cancel = Cancel::new();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("said");
        let text = format!("(printf %s \"$GREETING \"; cat) > '{}'", path.display());
        command(&text).run_with(b"world", &cancel).unwrap();
        assert_eq!(std::fs::read_to_string(path).unwrap(), "hello world");
        // It need not read what it is given, however much that is.
        command("true").run_with(&vec![0; 1 << 20], &cancel).unwrap();
    }

    #[test]
    fn how_it_failed_is_told() {
        let failed =
            |of: ShellCommand<'_>, cancel: &Cancel| of.run(Stdio::null(), cancel).unwrap_err().to_string();
        let cancel = Cancel::new();
        assert!(failed(command("exit 3"), &cancel).contains("exit status: 3"));
        let hasty = ShellCommand {
            patience: Duration::from_millis(50),
            ..command("exec sleep 600")
        };
        assert!(failed(hasty, &cancel).contains("did not end within"));
        cancel.cancel();
        assert!(failed(command("exec sleep 600"), &cancel).contains("cancelled"));
    }
}
