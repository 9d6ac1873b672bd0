//! `event-archive write`: what a log has more than its archive.

use std::path::PathBuf;

use anchor_verify::commands::{cancel_on_signals, cli_error as verify_error, read_anchors};
use anchor_verify::verify::{DbSource, LogSource as _};
use archive_format::Store;
use archive_format::write::{WriteOptions, WriteReport, write};
use clap::Args;
use cli_common::provenance::Inputs;
use cli_common::{
    CliError, CommandLine, DbArg, ExitStatus, Frame, GlobalArgs, Next, Output, again, stderr_progress,
};
use event_log::{OpenOptions, Place, Scope};
use serde::Serialize;

use super::{cli_error, count, print_not_checked, provenance, tone};

/// Add to an archive what a log has more than it
///
/// Events are written with their receipts, whole batches to a file; nothing that is archived is changed. Twice is as
/// once, and a run that was stopped has changed nothing.
///
/// Ends with 0 if the archive has all that the log has, 4 if the log went back behind the archive (a stream is left as it
/// is archived) or has rows that cannot be read, 8 if the log or the store failed.
#[derive(Debug, Args)]
pub struct WriteArgs {
    /// The archive: a folder, or s3://, gs://, az:// with bucket and prefix
    #[arg(value_name = "ARCHIVE")]
    address: String,

    #[command(flatten)]
    db: DbArg,

    /// Anchors files to keep beside the events; may be given several times
    #[arg(long = "anchors", value_name = "FILE")]
    anchors: Vec<PathBuf>,

    /// Sign the manifest with this key: a file with the 32-byte Ed25519 seed in hex
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Archive streams anew that went back behind the archive: what was archived stays in the store, and the manifests
    /// before this one still name it
    #[arg(long)]
    although_rewound: bool,
}

const SCHEMA: &str = "event-archive-write/1";

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    archive: String,
    db: String,
    place: Option<Place>,
    #[serde(flatten)]
    written: WriteReport,
    not_checked: Vec<String>,
}

/// Runs the command.
pub fn run(args: &WriteArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut inputs = Inputs::default();
    let store = Store::open(&args.address).map_err(cli_error)?;
    let anchors = read_anchors(&args.anchors, &mut inputs)?;
    let key = args
        .key
        .as_deref()
        .map(cli_common::keys::read_signing_key)
        .transpose()?;
    let target = args.db.target()?;
    let cancel = cancel_on_signals()?;
    let progress = stderr_progress(global);
    let db = target.to_string();
    let report = again(&cancel, || {
        let options = OpenOptions::stopped_by(&cancel);
        let mut source = DbSource::open_with(&target, Scope::default(), &options).map_err(verify_error)?;
        let options = WriteOptions {
            anchors: anchors.as_ref(),
            key: key.as_ref(),
            although_rewound: args.although_rewound,
            ..WriteOptions::new(&db)
        };
        let written = write(&store, &mut source, &options, progress.as_ref(), &cancel).map_err(cli_error)?;
        let place = source.place().cloned();
        Ok(Report {
            schema: SCHEMA,
            archive: store.name(),
            db: db.clone(),
            not_checked: [
                place.as_ref().and_then(Place::reservation),
                Some(
                    "the events: they are archived as stored (`event-archive verify` checks them)".to_owned(),
                ),
            ]
            .into_iter()
            .flatten()
            .collect(),
            place,
            written,
        })
    })?;
    drop(progress);
    let verify = CommandLine::of_this_tool("verify").arg(&args.address);
    let verify = verify.options("--anchors", args.anchors.iter().map(|path| path.display()));
    let frame = Frame {
        schema: SCHEMA,
        provenance: &provenance(inputs),
        next: &next(&report.written, &verify),
    };
    frame.print(
        global,
        &report,
        |out| print_table(out, &report),
        |lines| {
            lines.all("rewound", &report.written.rewound)?;
            lines.all("unreadable", &report.written.unreadable)?;
            lines.not_checked(&report.not_checked)?;
            lines.one("summary", &report)
        },
    )?;
    match report.written.rewound.is_empty() && report.written.unreadable.is_empty() {
        true => Ok(ExitStatus::OK),
        false => Ok(ExitStatus::PROBLEMS),
    }
}

fn next(written: &WriteReport, verify: &CommandLine) -> Next {
    match written.rewound.first() {
        Some(_) => Next::nothing(
            "find out why the log went back before anything else is written to it: the archive has what it lacks \
             (`sequencer-recovery audit --witness ARCHIVE`)",
        ),
        None => Next::run(verify),
    }
}

fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &Report) -> Result<(), CliError> {
    let written = &report.written;
    let labels = out.label_streams(written.rewound.iter().map(|rewound| rewound.stream));
    let whole = written.rewound.is_empty() && written.unreadable.is_empty();
    let verdict = match (written.added, whole) {
        (_, false) => "The archive does not have all that the log has, or has what the log lacks.",
        (true, true) => "The archive has all that the log has.",
        (false, true) => "The archive has all that the log has; there was nothing to add.",
    };
    out.verdict(tone(whole), verdict)?;
    out.line(&format!(
        "Manifest {} of {}: {} in {}.",
        written.manifest,
        report.archive,
        count(written.events, "event"),
        count(written.streams, "stream")
    ))?;
    out.line(&format!(
        "Written by this run: {} in {}, {} bytes.",
        count(written.events_written, "event"),
        count(written.files_written, "file"),
        written.bytes_written
    ))?;
    out.line(&format!("SHA-256 of the manifest: {}", written.manifest_sha256))?;
    if let Some(place) = &report.place {
        out.line(&format!("Log: {place}"))?;
    }
    if !written.rewound.is_empty() {
        out.line("")?;
        out.line("WENT BACK BEHIND THE ARCHIVE")?;
        let shown = out.shown(written.rewound.len());
        for rewound in &written.rewound[..shown] {
            out.line(&format!("  {}: {}", labels.of(&rewound.stream), rewound.what))?;
        }
        out.more(2, written.rewound.len() - shown, "stream(s)")?;
    }
    if !written.unreadable.is_empty() {
        out.line("")?;
        out.line("NOT ARCHIVED, SINCE IT CANNOT BE READ")?;
        let shown = out.shown(written.unreadable.len());
        for row in &written.unreadable[..shown] {
            out.line(&format!("  {}", row.row_error()))?;
        }
        out.more(2, written.unreadable.len() - shown, "row(s)")?;
    }
    print_not_checked(out, &report.not_checked)
}
