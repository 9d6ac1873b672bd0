//! `anchor-verify checkpoints`: what signed checkpoints say of each other, of a log, and of anchors.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::bundle::Bundle;
use crate::checkpointed::report::{CheckpointsReport, LogReport, SCHEMA, StreamReport};
use crate::checkpointed::{self, ComparedLog};
use crate::verify::{ExportSource, LogSource};
use crate::{AnchorView, group};
use checkpoints::history::GivenEpoch;
use checkpoints::{CheckpointFiles, CheckpointKeyArgs, History};
use clap::Args;
use cli_common::finding::Severity;
use cli_common::keys::read_public_key;
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{
    CliError, CommandLine, DbArg, DbTarget, ExitStatus, GlobalArgs, Next, Output, Stdouted, Table, Tone,
    again, file_hint, files, print_report, stderr_progress,
};
use event_log::Scope;
use serde::Serialize;
use ves::StreamKey;

use super::{
    PinArgs, add_log, cancel_on_signals, cli_error, open_db, print_head, print_not_checked, provenance,
    read_anchors, write_lines,
};

/// Compare signed checkpoints with each other, and with a log or anchors
///
/// Says where checkpoints contradict each other: two roots of one size, trees that do not continue each other, time that
/// goes backwards, generations that nothing explains. Give the copies of several parties: a history that only one of
/// them was shown is seen by that. Opens no connection but to the log that is named. Ends with 0 if all hold, 4 if
/// something contradicts or the log is not what was signed, 8 if something could not be read.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct CheckpointsArgs {
    /// Files of checkpoints, or folders of them
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    #[command(flatten)]
    keys: CheckpointKeyArgs,

    /// Recovery epochs that explain generations; may be given several times
    #[arg(long = "epoch", value_name = "FILE")]
    epochs: Vec<PathBuf>,

    /// The operator's public key that epochs are signed with, as hex or as a file that holds it
    #[arg(long, value_name = "HEX|FILE", requires = "epochs")]
    epoch_public_key: Option<String>,

    #[command(flatten)]
    db: DbArg,

    /// A log export or a bundle, instead of a log
    #[arg(long, visible_alias = "export", value_name = "EXPORT")]
    events: Option<PathBuf>,

    /// Anchors files: the roots of their batches are compared with the leaves that checkpoints prove
    #[arg(long = "anchors", value_name = "FILE")]
    anchors: Vec<PathBuf>,

    #[command(flatten)]
    pins: PinArgs,
}

const COLUMNS: &str = "\
Columns (streams with problems first):
  GEN     the newest generation of the stream's tree
  SIZE    how many events its last checkpoint covers; SIGNED AT, when
  HOLD    checkpoints that hold, of all generations
  LEAVES  events whose leaves the checkpoints prove one by one
  LOG     what the log is to them";

/// A report with what all reports have.
#[derive(Serialize)]
pub(super) struct Document<'a> {
    pub(super) schema: &'static str,
    #[serde(flatten)]
    pub(super) report: &'a CheckpointsReport,
    pub(super) provenance: Provenance,
    pub(super) next: Next,
}

/// Runs the command.
pub fn run(args: &CheckpointsArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    if args.keys.is_empty() {
        return Err(no_key());
    }
    let mut inputs = Inputs::default();
    let given = args.keys.files_of(&args.paths)?;
    let history = read_history(&given, &mut inputs)?;
    let epochs = args.epochs(&mut inputs)?;
    let view = args.anchor_view(&history, &mut inputs)?;
    let log = args.log(&history, &mut inputs, global)?;
    let report = checkpointed::judge(checkpointed::Inputs {
        files: given
            .files
            .iter()
            .map(|path| path.display().to_string())
            .collect(),
        history: &history,
        policy: &given.policy,
        epochs: &epochs,
        anchors: view.as_ref(),
        log,
    });
    let document = Document {
        schema: SCHEMA,
        provenance: provenance(inputs),
        next: args.next(&report)?,
        report: &report,
    };
    let text = |out: &mut Stdouted| print_table(out, &document);
    print_report(global, &document, text, |out| print_ndjson(out, &document))?;
    Ok(match report.problems {
        0 => ExitStatus::OK,
        _ => ExitStatus::PROBLEMS,
    })
}

/// Nothing counts without a key.
pub(super) fn no_key() -> CliError {
    CliError::usage("whose checkpoints count? No key was given")
        .with_hint("give --checkpoint-key with the deployment's key, as its operator publishes it")
}

/// Reads checkpoints, and says which files were read.
pub(super) fn read_history(given: &CheckpointFiles, inputs: &mut Inputs) -> Result<History, CliError> {
    let history = given.read().map_err(|(path, error)| {
        CliError::input(format!("{}: {error}", path.display())).with_hint(file_hint(&path, &error))
    })?;
    for path in &given.files {
        inputs.add("checkpoints", path);
    }
    Ok(history)
}

impl CheckpointsArgs {
    fn epochs(&self, inputs: &mut Inputs) -> Result<Vec<GivenEpoch>, CliError> {
        let key = self.epoch_public_key.as_deref();
        let key = key
            .map(|value| read_public_key("--epoch-public-key", value))
            .transpose()?;
        let mut epochs = Vec::new();
        for path in &self.epochs {
            epochs.push(GivenEpoch::read(path, key.as_ref()).map_err(|error| {
                CliError::input(error.to_string())
                    .with_hint("is it an epoch as `sequencer-recovery apply` wrote it? (docs/epoch.md)")
            })?);
            inputs.add("epoch", path);
        }
        Ok(epochs)
    }

    fn anchor_view(&self, history: &History, inputs: &mut Inputs) -> Result<Option<AnchorView>, CliError> {
        let Some(mut file) = read_anchors(&self.anchors, inputs)? else {
            return Ok(None);
        };
        self.pins.apply(&mut file)?;
        let streams: Vec<StreamKey> = history.streams.iter().map(|of| of.stream).collect();
        Ok(Some(group(&file.anchors, &streams)))
    }

    /// Reads the log that is named, if one is.
    fn log<'h>(
        &self,
        history: &'h History,
        inputs: &mut Inputs,
        global: &GlobalArgs,
    ) -> Result<Option<ComparedLog<'h>>, CliError> {
        let cancel = cancel_on_signals()?;
        if let Some(path) = &self.events {
            let mut source = open_events(path)?;
            inputs.add("export", path);
            let name = path.display().to_string();
            let compared = checkpointed::of_source(source.as_mut(), &name, history, &cancel);
            return compared.map(Some).map_err(cli_error);
        }
        let Some(target) = self.db.optional_target()? else {
            return Ok(None);
        };
        add_log(inputs, &target);
        let progress = stderr_progress(global);
        let compared = again(&cancel, || {
            let mut source = open_db(&target, &Scope::default(), &cancel)?;
            checkpointed::of_db(
                &mut source,
                &target.to_string(),
                history,
                progress.as_ref(),
                &cancel,
            )
            .map_err(cli_error)
        })?;
        Ok(Some(compared))
    }

    /// What is left to do.
    fn next(&self, report: &CheckpointsReport) -> Result<Next, CliError> {
        let target = match &self.events {
            Some(_) => None,
            None => self.db.optional_target()?,
        };
        Ok(match (report.problems, &report.log, target) {
            (0, None, _) => {
                Next::nothing("nothing contradicts among the checkpoints; no log was held against them")
            }
            (0, Some(_), _) => Next::nothing("nothing contradicts, and the log is what was signed"),
            (_, _, Some(target)) => Next::run(&self.audit(&target)),
            _ => Next::nothing(
                "show each party the entries that the findings name, and ask the operator what explains them",
            ),
        })
    }

    fn audit(&self, target: &DbTarget) -> CommandLine {
        CommandLine::new("sequencer-recovery audit")
            .db(target)
            .options("--checkpoints", self.paths.iter().map(|path| path.display()))
            .with(self.keys.words())
            .options("--anchors", self.anchors.iter().map(|path| path.display()))
    }
}

/// Opens an export, or a bundle, which begins as packed files do.
pub(super) fn open_events(path: &Path) -> Result<Box<dyn LogSource>, CliError> {
    if files::begins_with(path, &[0x1f, 0x8b]) {
        return Ok(Box::new(Bundle::open(path).map_err(cli_error)?.log));
    }
    Ok(Box::new(ExportSource::open(path).map_err(cli_error)?))
}

fn print_ndjson(out: &mut Output<impl std::io::Write>, document: &Document<'_>) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct NotChecked<'a> {
        what: &'a str,
    }
    #[derive(Serialize)]
    struct Summary<'a> {
        files: &'a [String],
        entries: u64,
        keys: &'a checkpointed::report::Keys,
        log: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        place: Option<&'a event_log::Place>,
        problems: usize,
        notices: usize,
        provenance: &'a Provenance,
        next: &'a Next,
    }
    let report = document.report;
    write_lines(out, SCHEMA, "stream", &report.streams)?;
    write_lines(out, SCHEMA, "finding", &report.findings)?;
    let not_checked = report.not_checked.iter().map(|what| NotChecked { what });
    write_lines(out, SCHEMA, "not_checked", not_checked)?;
    let summary = Summary {
        files: &report.files,
        entries: report.entries,
        keys: &report.keys,
        log: report.log.as_deref(),
        place: report.place.as_ref(),
        problems: report.problems,
        notices: report.notices,
        provenance: &document.provenance,
        next: &document.next,
    };
    write_lines(out, SCHEMA, "summary", [summary])
}

/// The report for people.
pub(super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    document: &Document<'_>,
) -> Result<(), CliError> {
    let report = document.report;
    let streams = report.streams.iter().map(|stream| stream.stream);
    let labels = out.label_streams(streams.chain(report.findings.iter().filter_map(|f| f.stream)));
    let hold: u64 = report.streams.iter().map(|stream| stream.checkpoints).sum();
    let (tone, verdict) = match report.problems {
        0 => (Tone::Good, "Nothing contradicts".to_owned()),
        problems => (Tone::Bad, format!("{problems} problem(s)")),
    };
    out.verdict(
        tone,
        &format!(
            "{verdict}: {hold} checkpoint(s) of {} stream(s) hold, in {} file(s).",
            report.streams.len(),
            report.files.len()
        ),
    )?;
    print_head(out, Some(&document.provenance), report.place.as_ref())?;
    print_findings(out, report, &labels)?;
    print_streams(out, report, &labels)?;
    print_words(out, report)?;
    print_not_checked(out, &report.not_checked)?;
    document.next.print(out)
}

/// So many findings are shown: each takes some lines.
const FINDINGS: usize = 6;

fn print_findings<W: std::io::Write>(
    out: &mut Output<W>,
    report: &CheckpointsReport,
    labels: &cli_common::Labels,
) -> Result<(), CliError> {
    if report.findings.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line("FINDINGS")?;
    let all = report.findings.len();
    let shown = if out.all() { all } else { all.min(FINDINGS) };
    for finding in &report.findings[..shown] {
        let stream = finding.stream.map(|stream| labels.of(&stream));
        let at = match (finding.from, finding.to) {
            (Some(from), Some(to)) if from != to => Some(format!("{from}..{to}")),
            (Some(from), _) => Some(from.to_string()),
            (None, _) => None,
        };
        let of: Vec<String> = stream.into_iter().chain(at).collect();
        let of = if of.is_empty() {
            String::new()
        } else {
            format!("{}: ", of.join(" "))
        };
        let line = format!("  {:<20} {of}{}", finding.code, finding.message);
        match finding.severity {
            Severity::Problem => out.verdict(Tone::Bad, &line)?,
            Severity::Notice => out.line(&line)?,
        }
    }
    out.more(2, all - shown, "finding(s)")
}

/// What the log is to a stream's checkpoints, in a word.
fn log_word(log: Option<&LogReport>) -> (&'static str, Tone) {
    match log {
        None => ("-", Tone::Doubt),
        Some(log) if log.mismatching > 0 || log.first_difference.is_some() => ("differs", Tone::Bad),
        Some(log) if log.beyond > 0 => ("behind", Tone::Bad),
        Some(_) => ("matches", Tone::Good),
    }
}

fn print_streams<W: std::io::Write>(
    out: &mut Output<W>,
    report: &CheckpointsReport,
    labels: &cli_common::Labels,
) -> Result<(), CliError> {
    if report.streams.is_empty() {
        return Ok(());
    }
    let mut in_order: Vec<&StreamReport> = report.streams.iter().collect();
    in_order.sort_by_key(|stream| (!stream.bad, stream.stream));
    let mut headers = vec!["STREAM", "GEN", "SIZE", "SIGNED AT", "HOLD", "LEAVES"];
    headers.extend(report.log.is_some().then_some("LOG"));
    let mut table = Table::new(&headers);
    let shown = out.shown(in_order.len());
    for stream in &in_order[..shown] {
        let latest = stream.latest.as_ref();
        let time = latest.and_then(|latest| latest.time);
        let mut cells = vec![
            labels.of(&stream.stream),
            stream
                .generation
                .map_or("-".to_owned(), |generation| generation.to_string()),
            latest.map_or("-".to_owned(), |latest| latest.size.to_string()),
            time.map_or("-".to_owned(), |time| to_seconds(&time.to_string())),
            stream.checkpoints.to_string(),
            stream.leaves.to_string(),
        ];
        let (word, tone) = log_word(stream.log.as_ref());
        cells.extend(report.log.is_some().then(|| word.to_owned()));
        table.row(cells);
        if report.log.is_some() {
            table.verdict(6, tone);
        }
        if stream.bad {
            table.verdict(0, Tone::Bad);
        }
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, in_order.len() - shown, "stream(s)")
}

/// A time without parts of a second.
fn to_seconds(time: &str) -> String {
    match time.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => time.to_owned(),
    }
}

/// On whose word the last checkpoints rest.
fn print_words<W: std::io::Write>(out: &mut Output<W>, report: &CheckpointsReport) -> Result<(), CliError> {
    let mut words: BTreeMap<String, usize> = BTreeMap::new();
    for latest in report.streams.iter().filter_map(|stream| stream.latest.as_ref()) {
        *words.entry(latest.whose()).or_default() += 1;
    }
    if words.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line("ON WHOSE WORD")?;
    let shown = out.shown(words.len());
    for (whose, streams) in words.iter().take(shown) {
        out.line(&format!("  the last checkpoints of {streams} stream(s): {whose}"))?;
    }
    out.more(2, words.len() - shown, "")
}
