//! `sequencer-recovery export`: the log as lines of JSON.

use std::io::{BufWriter, Seek as _, Write};
use std::path::PathBuf;

use clap::Args;
use cli_common::{
    Access, CliError, CommandLine, DbArg, ExitStatus, Frame, GlobalArgs, Next, Output, partial_file,
    stderr_progress,
};
use event_log::{LogError, Place, Scope, write_export};
use sequencer_recovery::damage;
use sequencer_recovery::finding::{Finding, Severity};
use serde::Serialize;
use ves::StreamKey;

use super::report::{print_findings, print_not_checked, print_place};
use super::{cancel_on_signals, log_inputs, made, open, read_on};

/// Write the log as lines of JSON
///
/// In one consistent view, in the form of docs/log-export.md: for auditors, and for `outbox-sync export --missing-from`.
///
/// Ends with 8 if a row could not be read (the export names it), and with 4 if the database is damaged otherwise.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    db: DbArg,

    /// The file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Only these streams
    #[arg(long = "stream", value_name = "TENANT/STORE")]
    streams: Vec<StreamKey>,

    /// Leave payloads out; their hashes stay
    #[arg(long)]
    redact: bool,
}

const SCHEMA: &str = "recovery-export/1";

#[derive(Serialize)]
pub(super) struct Report {
    pub(super) schema: &'static str,
    pub(super) db: String,
    pub(super) place: Place,
    pub(super) out: String,
    pub(super) events: u64,
    /// How many rows could not be read; the export names them.
    pub(super) unreadable: u64,
    /// What is damaged in the log.
    pub(super) findings: Vec<Finding>,
    pub(super) not_checked: Vec<String>,
}

/// Runs the command.
pub fn run(args: &ExportArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let path = args.out.as_path();
    let failed = |e: std::io::Error| CliError::cannot_write(path, e);
    let file = partial_file(path, Access::Owner).map_err(failed)?;
    let hashed = log_inputs(&args.db)?;
    let progress = stderr_progress(global);
    let scope = Scope {
        streams: args.streams.clone(),
        range: None,
    };
    let cancel = cancel_on_signals()?;
    let (db, place, counts, damage) = read_on(&cancel, async || {
        // What an attempt that had to be given up has written.
        let begun = file.as_file().set_len(0).and_then(|()| file.as_file().rewind());
        begun.map_err(failed)?;
        let (log, db) = open(&args.db, &cancel).await?;
        let mut view = log.view().await?;
        let damage = view.look_for_damage().await?;
        let mut out = BufWriter::new(file.as_file());
        let counts = write_export(&mut view, &scope, args.redact, &mut out, progress.as_ref()).await;
        // Of what is written to, the library knows no name.
        let counts = counts.map_err(|error| match error {
            LogError::Io { path, source } if path.as_os_str().is_empty() => failed(source),
            error => error.into(),
        })?;
        out.flush().map_err(failed)?;
        Ok((db, log.place().clone(), counts, damage))
    })?;
    drop(progress);
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|e| failed(e.error))?;
    global.recorder.file("log-export", path);
    let report = Report {
        schema: SCHEMA,
        db,
        place,
        out: path.display().to_string(),
        events: counts.events,
        unreadable: counts.unreadable,
        findings: damage::findings(&damage),
        not_checked: damage::not_checked(&damage).collect(),
    };
    let verify = CommandLine::new("anchor-verify verify").option("--events", path.display());
    let frame = Frame {
        schema: SCHEMA,
        provenance: &made(hashed),
        next: &Next::run_for("hold it against what was anchored: add --anchors", &verify),
    };
    frame.print(
        global,
        &report,
        |out| print_table(out, &report),
        |lines| lines.one("export", &report),
    )?;
    let mut status = ExitStatus::OK;
    if report.findings.iter().any(|f| f.severity == Severity::Problem) {
        status |= ExitStatus::PROBLEMS;
    }
    if report.unreadable > 0 {
        status |= ExitStatus::FAILED;
    }
    Ok(status)
}

pub(super) fn print_table<W: Write>(out: &mut Output<W>, report: &Report) -> Result<(), CliError> {
    out.line(&format!(
        "{} event(s) of {} are in {}.",
        report.events, report.db, report.out
    ))?;
    if report.unreadable > 0 {
        out.line(&format!(
            "{} row(s) could not be read and are missing in it; it names each.",
            report.unreadable
        ))?;
    }
    print_place(out, &report.place)?;
    let labels = out.label_streams(report.findings.iter().filter_map(|f| f.stream));
    let findings: Vec<&Finding> = report.findings.iter().collect();
    print_findings(out, &labels, "DAMAGE", &findings)?;
    print_not_checked(out, &report.not_checked)
}
