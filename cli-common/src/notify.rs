//! `--notify-command`: tells somebody how a command ended, by a command of the user's own.

use std::io::{self, Seek as _, stderr};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::{CliError, ExitStatus, GlobalArgs};

/// A hook that runs longer is ended: a mail server that does not answer holds up no recovery.
const PATIENCE: Duration = Duration::from_secs(60);

/// Sees to it that the report is there for the hook.
pub(crate) fn prepare(global: &GlobalArgs) -> Result<(), CliError> {
    if global.notify_command.is_some() {
        let file = tempfile::tempfile()
            .map_err(|e| CliError::io("no temporary file for the report").with_source(e))?;
        global.recorder.lock().report = Some(file);
    }
    Ok(())
}

/// Runs the hook, if there is one: with the report as JSON on stdin, and how the command ended in the environment.
pub(crate) fn notify(
    tool: &str,
    command: &str,
    result: &Result<ExitStatus, CliError>,
    global: &GlobalArgs,
) -> Result<(), CliError> {
    let Some(hook) = &global.notify_command else {
        return Ok(());
    };
    let report = global.recorder.lock().report.take();
    let (status, error) = match result {
        Ok(status) => (*status, String::new()),
        Err(error) => (error.exit_status(), error.to_string()),
    };
    let run = || -> io::Result<()> {
        let stdin = match report {
            Some(mut file) => {
                file.rewind()?;
                Stdio::from(file)
            }
            None => Stdio::null(),
        };
        let mut child = Command::new("sh")
            .args(["-c", hook])
            .env("SEQUENCER_TOOL", tool)
            .env("SEQUENCER_COMMAND", command)
            .env("SEQUENCER_STATUS", status.code().to_string())
            // Text of others may be in it: no control characters, and no NUL, which no variable can hold.
            .env("SEQUENCER_ERROR", crate::escape_controls(&error).as_ref())
            .stdin(stdin)
            // stdout is for the report.
            .stdout(Stdio::from(stderr()))
            .spawn()?;
        let until = Instant::now() + PATIENCE;
        let ended = loop {
            match child.try_wait()? {
                Some(ended) => break ended,
                None if Instant::now() < until => sleep(Duration::from_millis(20)),
                None => {
                    child.kill()?;
                    child.wait()?;
                    return Err(io::Error::other(format!(
                        "it did not end within {} s",
                        PATIENCE.as_secs()
                    )));
                }
            }
        };
        match ended.success() {
            true => Ok(()),
            false => Err(io::Error::other(ended.to_string())),
        }
    };
    run().map_err(|error| {
        CliError::io("the command of --notify-command failed: nobody may have been told")
            .with_hint("the work itself is as its report says")
            .with_source(error)
    })
}
