//! A command that runs for an incident.

use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;

use super::IncidentFolder;
use super::recorder::Recording;
use super::timeline::Happening;
use crate::provenance::COMMIT;
use crate::{CliError, CommandLine, ExitStatus, GlobalArgs, args, finish, notify};

/// Runs a command of a tool, and ends as [`finish`] does. If it runs for an incident (`--incident`), that it began is noted
/// before it does anything, and how it ended afterwards, with its evidence. Then `--notify-command` is run, if there is one.
#[must_use]
pub fn run_command(
    tool: &str,
    version: &str,
    global: &GlobalArgs,
    work: impl FnOnce() -> Result<ExitStatus, CliError>,
) -> ExitCode {
    let command = args::command_name();
    if let Err(error) = notify::prepare(global) {
        return finish(Err(error), global);
    }
    let folder = global
        .incident
        .as_ref()
        .filter(|folder| !folder.as_os_str().is_empty());
    let result = match folder {
        // Commands that are about the incident itself keep their own record.
        Some(folder) if !is_unrecorded(command) => recorded((tool, version, command), folder, global, work),
        _ => work(),
    };
    let notified = notify::notify(tool, command, &result, global);
    finish(joined(result, notified, global), global)
}

fn recorded(
    (tool, version, command): (&str, &str, &str),
    folder: &Path,
    global: &GlobalArgs,
    work: impl FnOnce() -> Result<ExitStatus, CliError>,
) -> Result<ExitStatus, CliError> {
    let folder = IncidentFolder::open(folder)?;
    let recording = begin(&folder, tool, version, command)?;
    global.recorder.lock().recording = Some(recording);
    let result = work();
    let recording = global.recorder.lock().recording.take();
    let noted = recording.map_or(Ok(()), |recording| end(&folder, recording, &result));
    joined(result, noted, global)
}

/// What came of the work, and of what was done beside it.
fn joined(
    result: Result<ExitStatus, CliError>,
    beside: Result<(), CliError>,
    global: &GlobalArgs,
) -> Result<ExitStatus, CliError> {
    match (result, beside) {
        (result, Ok(())) => result,
        (Err(error), Err(other)) => {
            other.report(global);
            Err(error)
        }
        (Ok(status), Err(other)) => {
            other.report(global);
            Ok(status | other.exit_status())
        }
    }
}

/// Commands that leave no evidence of their own.
fn is_unrecorded(command: &str) -> bool {
    let first = command.split(' ').next().unwrap_or_default();
    ["incident", "completions", "man", ""].contains(&first)
}

fn begin(folder: &IncidentFolder, tool: &str, version: &str, command: &str) -> Result<Recording, CliError> {
    let entry = folder.append(Happening::Began {
        tool: tool.to_owned(),
        version: version.to_owned(),
        commit: COMMIT.map(str::to_owned),
        command: command.to_owned(),
        line: CommandLine::of_this_process().to_string(),
    })?;
    if folder
        .evidence()
        .symlink_metadata()
        .is_ok_and(|meta| meta.is_symlink())
    {
        let what = format!(
            "{} is a link: evidence would lie elsewhere",
            folder.evidence().display()
        );
        return Err(CliError::input(what).with_hint("put the folder itself there; nothing was done"));
    }
    // A folder that takes no evidence is known now, not after the work.
    let probe = folder
        .evidence()
        .join(format!("{:04}-{}.part", entry.n, command.replace(' ', "-")));
    File::create_new(&probe)
        .and_then(|_| fs::remove_file(&probe))
        .map_err(|error| CliError::cannot_write(&probe, error))?;
    Ok(Recording {
        folder: folder.evidence(),
        began: entry.n,
        command: command.to_owned(),
        evidence: Vec::new(),
        unkept: None,
    })
}

fn end(
    folder: &IncidentFolder,
    recording: Recording,
    result: &Result<ExitStatus, CliError>,
) -> Result<(), CliError> {
    let (status, error) = match result {
        Ok(status) => (*status, None),
        Err(error) => (error.exit_status(), Some(error.to_string())),
    };
    let unkept = recording.unkept.map(|(path, error)| {
        CliError::io(format!("{} is not among the incident's evidence", path.display()))
            .with_hint(format!(
                "the command's own work is as it says; see to {} and run it again, or copy the file there",
                folder.path().display()
            ))
            .with_source(error)
    });
    let failed = unkept.as_ref().map_or(ExitStatus::OK, CliError::exit_status);
    folder.append(Happening::Ended {
        began: recording.began,
        command: recording.command,
        status: (status | failed).code(),
        error,
        evidence: recording.evidence,
    })?;
    unkept.map_or(Ok(()), Err)
}
