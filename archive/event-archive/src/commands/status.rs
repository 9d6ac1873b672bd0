//! `event-archive status`: what an archive holds.

use archive_format::Manifest;
use archive_format::manifest::StreamPart;
use clap::Args;
use cli_common::provenance::Inputs;
use cli_common::{CliError, CommandLine, ExitStatus, Frame, GlobalArgs, Next, Output, Table};
use serde::Serialize;
use ves::{Hash32, StreamKey, Timestamp};

use super::{ArchiveArgs, cli_error, count, print_not_checked, provenance, tone};

/// Say what an archive holds, by its newest manifest
///
/// Reads no events. Ends with 0, 4 if the chain of its manifests does not hold, 8 if the archive cannot be read.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// Hold every manifest against the hash in the one after it
    #[arg(long)]
    chain: bool,
}

const SCHEMA: &str = "event-archive-status/1";

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    archive: String,
    manifest: u64,
    manifest_sha256: Hash32,
    written_at: Timestamp,
    log: String,
    events: u64,
    bytes: u64,
    files: u64,
    streams: Vec<Stream>,
    unreadable: u64,
    /// What does not hold in the chain of manifests; `None` if it was not looked at.
    chain: Option<Vec<String>>,
    not_checked: Vec<String>,
}

#[derive(Serialize)]
struct Stream {
    #[serde(flatten)]
    stream: StreamKey,
    first: Option<u64>,
    last: Option<u64>,
    counter: Option<u64>,
    events: u64,
    batches: u64,
    files: u64,
    bytes: u64,
}

impl Stream {
    fn of(part: &StreamPart) -> Self {
        Self {
            stream: part.stream(),
            first: part.first,
            last: part.last,
            counter: part.counter,
            events: part.archived(),
            batches: part.files.iter().map(|file| file.batches).sum(),
            files: part.files.len() as u64,
            bytes: part.files.iter().map(|file| file.bytes).sum(),
        }
    }
}

/// Runs the command.
pub fn run(args: &StatusArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let archive = args.archive.open()?;
    let chain = match args.chain {
        true => match archive.read_manifest().check_chain(archive.store()) {
            Ok(()) => Some(Vec::new()),
            Err(archive_format::ArchiveError::Damaged { object, what }) => {
                Some(vec![format!("{object}: {what}")])
            }
            Err(error) => return Err(cli_error(error)),
        },
        false => None,
    };
    let manifest: &Manifest = archive.manifest();
    let streams: Vec<Stream> = manifest.streams.iter().map(Stream::of).collect();
    let unchained = (chain.is_none() && manifest.number > 1)
        .then(|| "that the manifest goes on from those before it (--chain)".to_owned());
    let events = Some("the events (`event-archive verify` checks them)".to_owned());
    let report = Report {
        schema: SCHEMA,
        archive: archive.store().name(),
        manifest: manifest.number,
        manifest_sha256: archive.read_manifest().sha256,
        written_at: manifest.written_at,
        log: manifest.log.clone(),
        events: streams.iter().map(|stream| stream.events).sum(),
        bytes: streams.iter().map(|stream| stream.bytes).sum(),
        files: streams.iter().map(|stream| stream.files).sum(),
        unreadable: manifest.unreadable.len() as u64,
        not_checked: [args.archive.not_checked(), unchained, events]
            .into_iter()
            .flatten()
            .collect(),
        streams,
        chain,
    };
    let verify = CommandLine::of_this_tool("verify").arg(args.archive.address());
    let frame = Frame {
        schema: SCHEMA,
        provenance: &provenance(Inputs::default()),
        next: &Next::run_for("check the events", &verify),
    };
    frame.print(
        global,
        &report,
        |out| print_table(out, &report),
        |lines| {
            lines.all("stream", &report.streams)?;
            lines.not_checked(&report.not_checked)?;
            lines.one("summary", &report)
        },
    )?;
    match report.chain.as_ref().is_some_and(|faults| !faults.is_empty()) {
        true => Ok(ExitStatus::PROBLEMS),
        false => Ok(ExitStatus::OK),
    }
}

fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &Report) -> Result<(), CliError> {
    let labels = out.label_streams(report.streams.iter().map(|stream| stream.stream));
    let streams = report.streams.len() as u64;
    out.line(&format!(
        "{} holds {} of {} in {}, {} bytes.",
        report.archive,
        count(report.events, "event"),
        count(streams, "stream"),
        count(report.files, "file"),
        report.bytes
    ))?;
    out.line(&format!(
        "Manifest {}, written at {} from {}; SHA-256 {}",
        report.manifest, report.written_at, report.log, report.manifest_sha256
    ))?;
    if let Some(faults) = &report.chain {
        let what = match faults.first() {
            None => "The manifests before it are those that it goes on from.".to_owned(),
            Some(fault) => format!("The manifests are not those that it goes on from: {fault}"),
        };
        out.verdict(tone(faults.is_empty()), &what)?;
    }
    if report.unreadable > 0 {
        let rows = count(report.unreadable, "row");
        out.line(&format!(
            "{rows} of the log could not be read, and are not in it."
        ))?;
    }
    let mut table = Table::new(&[
        "STREAM", "FIRST", "LAST", "COUNTER", "EVENTS", "BATCHES", "FILES", "BYTES",
    ]);
    let shown = out.shown(report.streams.len());
    let optional = |number: Option<u64>| number.map_or("-".to_owned(), |number| number.to_string());
    for stream in &report.streams[..shown] {
        table.row([
            labels.of(&stream.stream),
            optional(stream.first),
            optional(stream.last),
            optional(stream.counter),
            stream.events.to_string(),
            stream.batches.to_string(),
            stream.files.to_string(),
            stream.bytes.to_string(),
        ]);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, report.streams.len() - shown, "stream(s)")?;
    print_not_checked(out, &report.not_checked)
}
