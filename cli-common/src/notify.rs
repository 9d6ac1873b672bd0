//! `--notify-command`: tells somebody how a command ended, by a command of the user's own.

use std::io::{self, Seek as _};
use std::process::Stdio;
use std::time::Duration;

use crate::{Cancel, CliError, ExitStatus, GlobalArgs, ShellCommand};

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
        let status = status.code().to_string();
        let hook = ShellCommand {
            text: hook,
            environment: &[
                ("SEQUENCER_TOOL", tool),
                ("SEQUENCER_COMMAND", command),
                ("SEQUENCER_STATUS", &status),
                // Text of others may be in it: no control characters, and no NUL, which no variable can hold.
                ("SEQUENCER_ERROR", &crate::escape_controls(&error)),
            ],
            patience: PATIENCE,
        };
        // The work is over, stopped or not: this is who hears of it.
        hook.run(stdin, &Cancel::new())
    };
    run().map_err(|error| {
        CliError::io("the command of --notify-command failed: nobody may have been told")
            .with_hint("the work itself is as its report says")
            .with_source(error)
    })
}
