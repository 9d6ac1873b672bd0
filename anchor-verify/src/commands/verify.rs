//! `anchor-verify verify`: whether the events of a log are what was anchored.

use std::path::PathBuf;

use anchor_verify::bundle::Bundle;
use anchor_verify::fetch::rpc::Rpc;
use anchor_verify::fetch::{FetchOptions, Proofs, Target, fetch};
use anchor_verify::verify::report::{SCHEMA, UnitKind};
use anchor_verify::verify::{ExportSource, LogSource, VerifyInput, verify};
use anchor_verify::{AnchorsFile, ContractAddress, Shard, UnitReport, Verdict, VerifyReport};
use clap::Args;
use cli_common::{
    Cancel, CliError, DbArg, ExitStatus, Format, GlobalArgs, Output, SequencerPublicKeyArgs, Table, again,
    stderr_progress,
};
use event_log::Scope;
use serde::Serialize;
use ves::{Hash32, StreamKey};

use super::{
    cancel_on_signals, chain, cli_error, merge_anchors, open_db, print_not_checked, print_place,
    read_anchors, write_lines,
};

/// Say whether the events of a log are what was anchored: every batch recomputed, every event checked
///
/// Reads a bundle, a log export (--events) or a log (--db). A bundle and an export are read without any connection.
/// Verdicts: PROVEN, MATCHES ANCHORS, MATCHES DATABASE, NOT CHECKED, FAILED. Ends with 0 if every batch matches
/// something, 4 if one failed or could not be checked, 8 if the input could not be read.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// A bundle, as `anchor-verify bundle` writes it; the anchors in it are used
    #[arg(value_name = "BUNDLE", conflicts_with = "events")]
    bundle: Option<PathBuf>,

    /// A log export (NDJSON), instead of a log
    #[arg(long, value_name = "EXPORT")]
    events: Option<PathBuf>,

    #[command(flatten)]
    db: DbArg,

    /// Anchors files; may be given several times. Without any, at most MATCHES DATABASE is said
    #[arg(long = "anchors", value_name = "FILE")]
    anchors: Vec<PathBuf>,

    /// The hash of a block that you trust; without it, at most MATCHES ANCHORS is said
    #[arg(long, value_name = "HASH")]
    trusted_block: Option<Hash32>,

    /// Ask a node for anchors too, beyond what the files hold: http:// or https://. It may hold a key, which is shown
    /// nowhere. A node's word is no proof: give --trusted-block too
    // Any text is taken here and judged later: clap would repeat a wrong value, with the key in it.
    #[arg(long, value_name = "URL")]
    rpc: Option<String>,

    /// A contract whose anchors to ask the node for, beside those of the files; may be given several times
    #[arg(long = "contract", value_name = "ADDRESS", requires = "rpc")]
    contracts: Vec<ContractAddress>,

    #[command(flatten)]
    sequencer: SequencerPublicKeyArgs,

    /// Only this stream of a log; may be given several times
    #[arg(long = "stream", value_name = "TENANT/STORE", conflicts_with_all = ["bundle", "events"])]
    streams: Vec<StreamKey>,

    /// Only part K of N; `anchor-verify merge` joins the JSON reports of all parts
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,
}

/// Runs the command.
pub fn run(args: &VerifyArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut anchors = read_anchors(&args.anchors)?;
    let sequencer_keys = args.sequencer.read()?.into_iter().collect();
    let cancel = cancel_on_signals()?;
    // A log is opened where it is verified, since that may have to be begun again.
    let mut source: Option<Box<dyn LogSource>> = None;
    let mut log = None;
    let (kind, name) = match (&args.bundle, &args.events) {
        (Some(path), _) => {
            let bundle = Bundle::open(path).map_err(cli_error)?;
            let mut files = vec![(path.clone(), bundle.anchors)];
            files.extend(anchors.take().map(|file| ("--anchors".into(), file)));
            anchors = Some(merge_anchors(files)?);
            source = Some(Box::new(bundle.log));
            ("bundle", path.display().to_string())
        }
        (None, Some(path)) => {
            source = Some(Box::new(ExportSource::open(path).map_err(cli_error)?));
            ("export", path.display().to_string())
        }
        (None, None) => {
            let target = args.db.target().map_err(|e| {
                CliError::usage(e.to_string())
                    .with_hint("give a bundle, --events with a log export, or --db with a log")
            })?;
            let scope = Scope {
                streams: args.streams.clone(),
                range: None,
            };
            let name = target.to_string();
            log = Some((target, scope));
            ("db", name)
        }
    };
    let mut notes = Vec::new();
    if let Some(url) = &args.rpc {
        anchors = Some(ask_node(url, args, anchors, &cancel, &mut notes, global)?);
    }
    let standings = anchors.as_ref().map(|file| chain(file, args.trusted_block));
    let input = VerifyInput {
        kind,
        name: &name,
        anchors: anchors.as_ref().zip(standings.as_ref()),
        sequencer_keys,
        shard: args.shard,
    };
    let progress = stderr_progress(global);
    let mut report = again(&cancel, || match (&mut source, &log) {
        (Some(source), _) => verify(source.as_mut(), &input, progress.as_ref(), &cancel).map_err(cli_error),
        (None, Some((target, scope))) => {
            let mut source = open_db(target, scope, &cancel)?;
            verify(&mut source, &input, progress.as_ref(), &cancel).map_err(cli_error)
        }
        (None, None) => Err(CliError::usage("there is nothing to verify")),
    })?;
    drop(progress);
    report.not_checked.extend(notes);
    print(&report, global)?;
    Ok(report.exit_status())
}

/// Extends the anchors by what a node has. The only connection to a node that this command opens.
fn ask_node(
    url: &str,
    args: &VerifyArgs,
    file: Option<AnchorsFile>,
    cancel: &Cancel,
    notes: &mut Vec<String>,
    global: &GlobalArgs,
) -> Result<AnchorsFile, CliError> {
    let mut contracts = args.contracts.clone();
    contracts.extend(file.iter().flat_map(|f| f.anchors.iter().map(|a| a.contract)));
    contracts.sort();
    contracts.dedup();
    if contracts.is_empty() {
        return Err(CliError::usage("--rpc: of which contract?")
            .with_hint("give --contract, or --anchors with a file"));
    }
    let rpc = Rpc::new(url, cancel.clone()).map_err(|why| CliError::usage(format!("--rpc: {why}")))?;
    let options = FetchOptions {
        contracts,
        from: None,
        to: Target::Finalized,
        proofs: Proofs::Both,
        max_headers: 100_000,
        streams: args.streams.clone(),
    };
    let progress = stderr_progress(global);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("no runtime").with_source(e))?;
    let fetched = runtime
        .block_on(fetch(&rpc, &options, file, &*progress))
        .map_err(|e| {
            CliError::io(format!("--rpc: {e}"))
                .with_hint("verify without --rpc, by the anchors that you have")
        })?;
    let node = cli_common::redact_url(url);
    notes.push(format!(
        "that the chain of {node} is the chain: {} anchor(s) were read from it, up to block {}",
        fetched.new, fetched.checkpoint.number
    ));
    if let Some(reorg) = &fetched.reorg {
        notes.push(format!(
            "anchors that a reorganisation took away, by the word of {node}: {reorg:?}"
        ));
    }
    notes.extend(fetched.notes.into_iter().map(|note| format!("{node}: {note}")));
    notes.extend(
        fetched
            .refused
            .iter()
            .map(|r| format!("{node}: a log was refused: {}", r.why)),
    );
    Ok(fetched.file)
}

/// Prints a report in the format that was asked for.
pub fn print(report: &VerifyReport, global: &GlobalArgs) -> Result<(), CliError> {
    let mut out = Output::stdout();
    match global.format {
        Format::Json => out.json(report)?,
        Format::Ndjson => print_ndjson(&mut out, report)?,
        Format::Table => print_table(&mut out, report)?,
    }
    out.finish()
}

fn print_ndjson<W: std::io::Write>(out: &mut Output<W>, report: &VerifyReport) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct NotChecked<'a> {
        what: &'a str,
    }
    #[derive(Serialize)]
    struct Summary<'a> {
        input: &'a anchor_verify::verify::report::InputInfo,
        shard: Option<Shard>,
        verdict: Verdict,
        totals: &'a anchor_verify::verify::report::Totals,
    }
    #[derive(Serialize)]
    struct Where<'a> {
        place: &'a event_log::Place,
    }
    write_lines(
        out,
        SCHEMA,
        "place",
        report.place.as_ref().map(|place| Where { place }),
    )?;
    write_lines(out, SCHEMA, "stream", &report.streams)?;
    write_lines(out, SCHEMA, "unit", &report.units)?;
    write_lines(out, SCHEMA, "problem", &report.problems)?;
    let not_checked = report.not_checked.iter().map(|what| NotChecked { what });
    write_lines(out, SCHEMA, "not_checked", not_checked)?;
    let summary = Summary {
        input: &report.input,
        shard: report.shard,
        verdict: report.verdict,
        totals: &report.totals,
    };
    write_lines(out, SCHEMA, "summary", [summary])
}

/// So many batches that do not match are shown one by one.
const SHOWN: usize = 100;

/// The report for people.
pub fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &VerifyReport) -> Result<(), CliError> {
    print_place(out, report.place.as_ref())?;
    let mut table = Table::new(&[
        "STREAM (TENANT/STORE)",
        "EVENTS",
        "BATCHES",
        "PROVEN",
        "ANCHORS",
        "DATABASE",
        "NOT CHECKED",
        "FAILED",
        "IN NO BATCH",
        "VERDICT",
    ]);
    for stream in &report.streams {
        let b = &stream.batches;
        let all = b.proven + b.matches_anchors + b.matches_database + b.not_checked + b.failed;
        table.row([
            stream.stream.to_string(),
            stream.events.to_string(),
            all.to_string(),
            b.proven.to_string(),
            b.matches_anchors.to_string(),
            b.matches_database.to_string(),
            b.not_checked.to_string(),
            b.failed.to_string(),
            stream.unbatched_events.to_string(),
            stream.verdict.to_string(),
        ]);
    }
    out.table(&table)?;
    for (title, verdict) in [
        ("FAILED", Verdict::Failed),
        ("BATCHES NOT CHECKED", Verdict::NotChecked),
    ] {
        let units: Vec<&UnitReport> = report
            .units
            .iter()
            .filter(|u| u.verdict == verdict && (u.kind == UnitKind::Batch || verdict == Verdict::Failed))
            .collect();
        if !units.is_empty() {
            out.line("")?;
            out.line(title)?;
        }
        for unit in units.iter().take(SHOWN) {
            print_unit(out, unit)?;
        }
        if units.len() > SHOWN {
            out.line(&format!(
                "  and {} more (--format json lists all)",
                units.len() - SHOWN
            ))?;
        }
    }
    if !report.problems.is_empty() {
        out.line("")?;
        out.line("PROBLEMS OF THE INPUT")?;
        for problem in report.problems.iter().take(SHOWN) {
            out.line(&format!("  {:<20} {}", problem.code, problem.what))?;
        }
        if report.problems.len() > SHOWN {
            out.line(&format!("  and {} more", report.problems.len() - SHOWN))?;
        }
    }
    out.line("")?;
    print_not_checked(out, &report.not_checked)?;
    let (t, b) = (&report.totals, &report.totals.batches);
    out.line("")?;
    out.line(&format!(
        "{} stream(s), {} event(s) read. Batches: {} PROVEN, {} MATCHES ANCHORS, {} MATCHES DATABASE, {} NOT CHECKED, \
         {} FAILED; {} event(s) in no batch.",
        t.streams,
        t.events,
        b.proven,
        b.matches_anchors,
        b.matches_database,
        b.not_checked,
        b.failed,
        t.unbatched_events
    ))?;
    let shard = report
        .shard
        .map_or(String::new(), |s| format!(" of shard {}/{}", s.index, s.of));
    out.line(&format!(
        "The weakest verdict{shard} is {}; {} failure(s).",
        report.verdict, t.failures
    ))
}

fn print_unit<W: std::io::Write>(out: &mut Output<W>, unit: &UnitReport) -> Result<(), CliError> {
    let what = match (unit.kind, unit.batch_ids.first()) {
        (UnitKind::Batch, Some(id)) => format!("batch {id}"),
        (UnitKind::Batch, None) => "batch".to_owned(),
        (UnitKind::Unbatched, _) => "in no batch".to_owned(),
    };
    out.line(&format!(
        "  {} {} to {}, {what}",
        unit.stream, unit.sequence_start, unit.sequence_end
    ))?;
    for failure in &unit.failures {
        let place = failure.sequence.map_or(String::new(), |n| format!("event {n}: "));
        let id = failure.event_id.map_or(String::new(), |id| format!(" ({id})"));
        out.line(&format!("    {:<20} {place}{}{id}", failure.code, failure.what))?;
    }
    let more = unit.failure_count - unit.failures.len() as u64;
    if more > 0 {
        out.line(&format!("    and {more} more failures"))?;
    }
    if unit.verdict == Verdict::NotChecked {
        for skipped in &unit.not_checked {
            let places: Vec<String> = skipped.sequences.iter().map(u64::to_string).collect();
            let places = if places.is_empty() {
                String::new()
            } else {
                format!(" (event {})", places.join(", "))
            };
            out.line(&format!("    {}{places}", skipped.what))?;
        }
    }
    Ok(())
}
