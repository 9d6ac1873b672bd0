//! `event-archive snapshot`: an archive as a snapshot file.

use std::path::PathBuf;

use anchor_verify::commands::cancel_on_signals;
use archive_format::snapshot::{SnapshotReport, write_snapshot};
use clap::Args;
use cli_common::provenance::Inputs;
use cli_common::{CliError, CommandLine, ExitStatus, Frame, GlobalArgs, Next, Output, stderr_progress};
use event_log::Scope;
use serde::Serialize;
use ves::StreamKey;

use super::{ArchiveArgs, cli_error, count, print_not_checked, provenance, tone};

/// Write an archive, or some of its streams, as a snapshot file, which all tools read as a log
///
/// Every object is held against its hash in the manifest. Ends with 0, 4 if something is damaged (the rest is in the
/// snapshot), 8 if the archive cannot be read.
#[derive(Debug, Args)]
pub struct SnapshotArgs {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// Only this stream; may be given several times
    #[arg(long = "stream", value_name = "TENANT/STORE")]
    streams: Vec<StreamKey>,

    /// The snapshot file to write; it must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

const SCHEMA: &str = "event-archive-snapshot/1";

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    archive: String,
    manifest: u64,
    out: String,
    #[serde(flatten)]
    written: SnapshotReport,
    not_checked: Vec<String>,
}

/// Runs the command.
pub fn run(args: &SnapshotArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let archive = args.archive.open()?;
    let cancel = cancel_on_signals()?;
    let progress = stderr_progress(global);
    let scope = Scope {
        streams: args.streams.clone(),
        range: None,
    };
    let written =
        write_snapshot(&archive, scope, &args.out, progress.as_ref(), &cancel).map_err(cli_error)?;
    drop(progress);
    global.recorder.file("snapshot", &args.out);
    let left_out = written.left_out.iter().map(|what| format!("{what}: left out"));
    let report = Report {
        schema: SCHEMA,
        archive: archive.store().name(),
        manifest: archive.manifest().number,
        out: args.out.display().to_string(),
        not_checked: left_out.chain(args.archive.not_checked()).collect(),
        written,
    };
    let audit = CommandLine::new("sequencer-recovery audit").option("--db", args.out.display());
    let frame = Frame {
        schema: SCHEMA,
        provenance: &provenance(Inputs::default()),
        next: &Next::run_for("look at the copy, with the witnesses", &audit),
    };
    frame.print(
        global,
        &report,
        |out| print_table(out, &report),
        |lines| {
            lines.not_checked(&report.not_checked)?;
            lines.one("summary", &report)
        },
    )?;
    match report.written.left_out.is_empty() {
        true => Ok(ExitStatus::OK),
        false => Ok(ExitStatus::PROBLEMS),
    }
}

fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &Report) -> Result<(), CliError> {
    let written = &report.written;
    let whole = written.left_out.is_empty();
    let verdict = match whole {
        true => format!(
            "Manifest {} of {} is in {}.",
            report.manifest, report.archive, report.out
        ),
        false => format!(
            "Manifest {} of {} is in {}, but for what is damaged.",
            report.manifest, report.archive, report.out
        ),
    };
    out.verdict(tone(whole), &verdict)?;
    out.line(&format!(
        "{} of {} with {}, {} and {}.",
        count(written.events, "event"),
        count(written.streams, "stream"),
        count(written.receipts, "receipt"),
        count(written.commitments, "commitment"),
        count(written.keys, "key")
    ))?;
    print_not_checked(out, &report.not_checked)
}
