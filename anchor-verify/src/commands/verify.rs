//! `anchor-verify verify`: whether the events of a log are what was anchored.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use crate::bundle::Bundle;
use crate::chain::Completeness;
use crate::chain::parts::Checkpoint;
use crate::fetch::rpc::Rpc;
use crate::fetch::{FetchOptions, FetchTarget, Proofs, fetch};
use crate::pins::KeyPins;
use crate::verify::report::{SCHEMA, UnitKind, VerifiedStream};
use crate::verify::{ExportSource, InputKind, LogSource, VerifyInput, verify_with};
use crate::{Anchor, AnchorsFile, ChainReport, Shard, UnitReport, Verdict, VerifyReport, tenant_store_key};
use checkpoints::{CheckpointArgs, History};
use clap::Args;
use cli_common::metrics::{self, MetricKind, Metrics, MetricsArg};
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{
    Cancel, CliError, CommandLine, DbArg, DbTarget, ExitStatus, GlobalArgs, Labels, Next, Output,
    SequencerPublicKeyArgs, Stdouted, Table, Tone, again, print_report, stderr_progress,
};
use event_log::Scope;
use html_report::ReportArg;
use serde::Serialize;
use ves::StreamKey;

use super::checkpoints::read_history;
use super::l1::{BlockArg, L1Args};
use super::{
    PinArgs, RequireArg, add_log, cancel_on_signals, cli_error, if_confirmed, merge_anchors, open_db,
    print_completeness, print_head, print_not_checked, provenance, read_anchors, some_anchors, tone,
    verify_page, verify_tail, write_lines,
};

/// Say whether the events of a log are what was anchored: every batch recomputed, every event checked
///
/// Reads a bundle, a log export (--events) or a log (--db). A bundle and an export are read without any connection.
/// Verdicts: PROVEN, MATCHES ANCHORS, MATCHES DATABASE, NOT CHECKED, FAILED. Ends with 0 if every batch matches
/// something, 4 if one failed, could not be checked or is weaker than --require, 8 if the input could not be read.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
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
    trusted_block: Option<BlockArg>,

    #[command(flatten)]
    l1: L1Args,

    /// Ask a node for anchors too, beyond what the files hold: http:// or https://. It may hold a key, which is shown
    /// nowhere. A node's word is no proof: give --trusted-block too
    // Any text is taken here and judged later: clap would repeat a wrong value, with the key in it.
    #[arg(long, value_name = "URL")]
    rpc: Option<String>,

    #[command(flatten)]
    pins: PinArgs,

    #[command(flatten)]
    checkpoints: CheckpointArgs,

    /// Agents' keys that you know, as JSON; without it, the keys of the input are taken at its word
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    #[command(flatten)]
    sequencer: SequencerPublicKeyArgs,

    /// Only this stream of a log; may be given several times
    #[arg(long = "stream", value_name = "TENANT/STORE", conflicts_with_all = ["bundle", "events"])]
    streams: Vec<StreamKey>,

    /// Only part K of N; `anchor-verify merge` joins the JSON reports of all parts
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,

    #[command(flatten)]
    require: RequireArg,

    #[command(flatten)]
    page: ReportArg,

    #[command(flatten)]
    metrics: MetricsArg,
}

/// What is said where nothing is left to do.
pub const NO_FAULT: &str = "every batch is what was anchored, in a block that you trust";

/// Runs the command.
pub fn run(args: &VerifyArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let page = args.page.begin()?;
    args.metrics.check()?;
    let mut inputs = Inputs::default();
    let mut anchors = read_anchors(&args.anchors, &mut inputs)?;
    let keys = args.keys(&mut inputs)?;
    let history = args.history(&mut inputs)?;
    let cancel = cancel_on_signals()?;
    let mut log = args.log(&mut anchors, &mut inputs)?;
    let mut notes = Vec::new();
    if let Some(url) = &args.rpc {
        anchors = Some(ask_node(url, args, anchors, &cancel, &mut notes, global)?);
    }
    let evidence = args.evidence(anchors, &mut log, &mut inputs)?;
    let name = log.name();
    let input = VerifyInput {
        kind: log.kind(),
        name: &name,
        anchors: evidence.anchors.as_ref().zip(evidence.standings.as_ref()),
        sequencer_keys: ves::SequencerKeys::read(args.sequencer.read()?).map_err(CliError::input)?,
        keys: keys.as_ref(),
        shard: args.shard,
    };
    let progress = stderr_progress(global);
    let mut report = again(&cancel, || match &mut log {
        ToVerify::File { source, .. } => verify_with(
            source.as_mut(),
            &input,
            history.as_ref(),
            progress.as_ref(),
            &cancel,
        )
        .map_err(cli_error),
        ToVerify::Log { target, scope } => {
            let mut source = open_db(target, scope, &cancel)?;
            verify_with(&mut source, &input, history.as_ref(), progress.as_ref(), &cancel).map_err(cli_error)
        }
    })?;
    drop(progress);
    let checkpoint = evidence.anchors.as_ref().and_then(|file| file.chain.checkpoint);
    report = report.with_completeness(evidence.completeness);
    report.not_checked.extend(notes);
    report.next = Some(next(args, &log, &report, checkpoint));
    report.provenance = Some(provenance(inputs));
    let mut status = report.exit_status_if(args.require.verdict());
    if let Some(file) = page
        && let Err(error) = file.write(&verify_page::page(&report, global), global)
    {
        // The report on stdout is there all the same.
        status |= error.exit_status();
        error.report(global);
    }
    status |= args.metrics.told(global, || told(&report));
    print(&report, global)?;
    Ok(status)
}

/// For Prometheus. Names and meanings: docs/cadence.md.
fn told(report: &VerifyReport) -> Metrics {
    let mut page = Metrics::default();
    let totals = &report.totals;
    let batches = &totals.batches;
    let verdicts = [
        ([("verdict", "proven")], batches.proven as f64),
        ([("verdict", "matches_anchors")], batches.matches_anchors as f64),
        ([("verdict", "matches_database")], batches.matches_database as f64),
        ([("verdict", "not_checked")], batches.not_checked as f64),
        ([("verdict", "failed")], batches.failed as f64),
    ];
    let values = verdicts.iter().map(|(labels, value)| (&labels[..], *value));
    page.family(
        "anchor_verify_batches",
        MetricKind::Gauge,
        "Batches by verdict.",
        values,
    );
    for (name, help, value) in [
        ("anchor_verify_streams", "Streams.", totals.streams as f64),
        (
            "anchor_verify_events",
            "Events that were read.",
            totals.events as f64,
        ),
        (
            "anchor_verify_failures",
            "What failed: batches, events, the input.",
            totals.failures as f64,
        ),
        (
            "anchor_verify_timestamp_seconds",
            "When it ended.",
            metrics::now(),
        ),
    ] {
        page.one(name, MetricKind::Gauge, help, value);
    }
    page
}

/// What is to be verified.
enum ToVerify {
    /// A bundle or an export.
    File {
        kind: InputKind,
        path: PathBuf,
        source: Box<dyn LogSource>,
    },
    /// A log. It is opened where it is verified, since that may have to be begun again.
    Log { target: DbTarget, scope: Scope },
}

impl ToVerify {
    /// As the report has it.
    fn kind(&self) -> InputKind {
        match self {
            Self::File { kind, .. } => *kind,
            Self::Log { .. } => InputKind::Db,
        }
    }

    /// Without secrets.
    fn name(&self) -> String {
        match self {
            Self::File { path, .. } => path.display().to_string(),
            Self::Log { target, .. } => target.to_string(),
        }
    }
}

/// The anchors, and what they are worth.
pub struct Evidence {
    /// The anchors that count, if any were given.
    pub anchors: Option<AnchorsFile>,
    /// How sure each of them is.
    pub standings: Option<ChainReport>,
    /// Whether anchors were left out.
    pub completeness: Completeness,
}

/// What an auditor knows of the chain.
#[derive(Debug, Clone, Copy)]
pub struct KnownChain<'a> {
    /// A block to trust.
    pub trusted_block: Option<&'a BlockArg>,
    /// Or how one is known from its parent chain.
    pub l1: &'a L1Args,
    /// The contracts and the chain.
    pub pins: &'a PinArgs,
    /// Whether anchors were named, and not only found with the input.
    pub named: bool,
}

impl KnownChain<'_> {
    /// Judges anchors by it. `scope` says which of them the input is meant to have.
    ///
    /// # Errors
    /// If what is known is of another chain, cannot be read, or leaves no anchors.
    pub fn judge(
        &self,
        anchors: Option<AnchorsFile>,
        scope: &dyn Fn(&Anchor) -> bool,
        inputs: &mut Inputs,
    ) -> Result<Evidence, CliError> {
        let Some(mut file) = anchors else {
            self.l1.trusted_block(self.trusted_block, None, inputs)?;
            return Ok(Evidence {
                anchors: None,
                standings: None,
                completeness: Completeness::without_anchors(),
            });
        };
        let told = self.pins.apply(&mut file)?;
        let trusted = self.l1.trusted_block(self.trusted_block, Some(&file), inputs)?;
        let completeness = self.pins.complete(&mut file, trusted.hash, scope);
        if self.named || !self.pins.contracts.is_empty() {
            some_anchors(&file, self.pins)?;
        }
        let mut standings = self.pins.chain(&file, trusted.hash, told);
        standings.not_checked.extend(completeness.not_checked());
        standings.not_checked.extend(trusted.not_checked);
        Ok(Evidence {
            anchors: Some(file),
            standings: Some(standings),
            completeness,
        })
    }
}

impl VerifyArgs {
    /// Agents' keys that the auditor knows.
    fn keys(&self, inputs: &mut Inputs) -> Result<Option<KeyPins>, CliError> {
        let Some(path) = &self.keys else { return Ok(None) };
        let keys = KeyPins::read(path).map_err(|what| {
            CliError::input(format!("--keys: {} {what}", path.display()))
                .with_hint("docs/verify.md describes the form; the key lines of a log export are of it")
        })?;
        inputs.add("keys", path);
        Ok(Some(keys))
    }

    /// Signed checkpoints, compared with each other.
    fn history(&self, inputs: &mut Inputs) -> Result<Option<History>, CliError> {
        let Some(given) = self.checkpoints.files()? else {
            return Ok(None);
        };
        if self.shard.is_some() {
            return Err(CliError::usage("--checkpoints and --shard do not go together")
                .with_hint("a tree takes all events before it: verify the whole log with --checkpoints"));
        }
        read_history(&given, inputs).map(Some)
    }

    /// Opens what is to be verified. A bundle's anchors are added to those that are given.
    fn log(&self, anchors: &mut Option<AnchorsFile>, inputs: &mut Inputs) -> Result<ToVerify, CliError> {
        if let Some(path) = &self.bundle {
            let bundle = Bundle::open(path).map_err(cli_error)?;
            inputs.add("bundle", path);
            let mut files = vec![(path.clone(), bundle.anchors)];
            files.extend(anchors.take().map(|file| ("--anchors".into(), file)));
            *anchors = Some(merge_anchors(files)?);
            return Ok(ToVerify::File {
                kind: InputKind::Bundle,
                path: path.clone(),
                source: Box::new(bundle.log),
            });
        }
        if let Some(path) = &self.events {
            let source = Box::new(ExportSource::open(path).map_err(cli_error)?);
            inputs.add("export", path);
            return Ok(ToVerify::File {
                kind: InputKind::Export,
                path: path.clone(),
                source,
            });
        }
        let target = self.db.target().map_err(|e| {
            CliError::usage(e.to_string())
                .with_hint("give a bundle, --events with a log export, or --db with a log")
        })?;
        add_log(inputs, &target);
        let scope = Scope {
            streams: self.streams.clone(),
            range: None,
        };
        Ok(ToVerify::Log { target, scope })
    }

    /// Judges the anchors by what the auditor knows.
    fn evidence(
        &self,
        anchors: Option<AnchorsFile>,
        log: &mut ToVerify,
        inputs: &mut Inputs,
    ) -> Result<Evidence, CliError> {
        let known = KnownChain {
            trusted_block: self.trusted_block.as_ref(),
            l1: &self.l1,
            pins: &self.pins,
            named: !self.anchors.is_empty(),
        };
        // Without anchors, nothing is asked of the log.
        match anchors {
            None => known.judge(None, &|_| true, inputs),
            some => known.judge(some, &scope(log)?, inputs),
        }
    }

    /// The same command without its block and its part, to be run with another one.
    fn again(&self, log: &ToVerify) -> CommandLine {
        let line = CommandLine::new("anchor-verify verify");
        let line = match log {
            ToVerify::File { path, .. } if self.events.is_some() => line.option("--events", path.display()),
            ToVerify::File { path, .. } => line.arg(path.display()),
            ToVerify::Log { target, .. } => line.db(target),
        };
        let line = line
            .options("--anchors", self.anchors.iter().map(|path| path.display()))
            .options("--keys", self.keys.as_ref().map(|path| path.display()))
            .options("--stream", &self.streams)
            .with(self.checkpoints.words());
        self.pins.again(line)
    }
}

/// What is left to do after a verification.
fn next(args: &VerifyArgs, log: &ToVerify, report: &VerifyReport, checkpoint: Option<Checkpoint>) -> Next {
    let again = args.again(log);
    if let Some(Shard { index, of }) = report.shard {
        let again = args
            .l1
            .again(again.options("--trusted-block", args.trusted_block.as_ref()));
        return match index < of {
            true => Next::run(
                &again
                    .option("--shard", format!("{}/{of}", index + 1))
                    .option("--format", "json"),
            ),
            false => Next::nothing(format!(
                "this is the last part; `anchor-verify merge` joins the JSON reports of all {of}"
            )),
        };
    }
    match (report.verdict, log, checkpoint) {
        (Verdict::Proven, ..) if report.exit_status() == ExitStatus::OK => Next::nothing(NO_FAULT),
        (Verdict::MatchesAnchors, _, Some(at)) if args.trusted_block.is_none() => if_confirmed(at, again),
        (Verdict::MatchesAnchors, ..) => Next::nothing(
            "these anchors tie nothing to a block that you trust; those that `anchor-verify fetch` reads may",
        ),
        (Verdict::MatchesDatabase, ..) => {
            Next::nothing("of some batches no anchor was given, and without one (--anchors) no more is known")
        }
        (_, ToVerify::Log { target, .. }, _) => {
            let audit = CommandLine::new("sequencer-recovery audit").db(target);
            Next::run(&audit.options("--anchors", args.anchors.iter().map(|path| path.display())))
        }
        (_, ToVerify::File { path, .. }, _) => Next::nothing(format!(
            "{} says no more: ask whoever made it for a sound one, or for the log",
            path.display()
        )),
    }
}

/// Which anchors a bundle is meant to have: those of its streams, and of its numbers of them. All others are whole.
fn scope(log: &mut ToVerify) -> Result<impl Fn(&Anchor) -> bool + use<>, CliError> {
    let outline = match log {
        ToVerify::File { source, .. } => Some(source.outline().map_err(cli_error)?),
        ToVerify::Log { .. } => None,
    };
    let selected = outline.filter(|outline| !outline.whole).map(|outline| {
        let streams = outline.streams.into_iter();
        streams
            .map(|held| (tenant_store_key(&held.stream), held.range))
            .collect::<HashMap<_, _>>()
    });
    Ok(move |anchor: &Anchor| {
        let Some(selected) = &selected else { return true };
        match selected.get(&anchor.tenant_store_key) {
            Some(Some(range)) => {
                anchor.sequence_start <= *range.end() && anchor.sequence_end >= *range.start()
            }
            Some(None) => true,
            None => false,
        }
    })
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
    let mut contracts = args.pins.contracts.clone();
    if contracts.is_empty() {
        contracts.extend(file.iter().flat_map(|f| f.anchors.iter().map(|a| a.contract)));
    }
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
        to: FetchTarget::Finalized,
        proofs: Proofs::Both,
        max_headers: 100_000,
        max_receipts: 1_000,
        streams: args.streams.clone(),
        chunk: None,
        rescan: false,
    };
    let progress = stderr_progress(global);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("no runtime").with_source(e))?;
    let fetched = runtime
        .block_on(fetch(&rpc, &[], &options, file, &*progress))
        .map_err(|e| {
            CliError::io(format!("--rpc: {e}"))
                .with_hint("verify without --rpc, by the anchors that you have")
        })?;
    let node = cli_common::redact_url(url);
    notes.push(format!(
        "that the chain of {node} is the chain: {} anchor(s) were read from it, up to block {}",
        fetched.new, fetched.checkpoint.number
    ));
    if fetched.completeness.verdict == Verdict::Failed {
        notes.push(format!(
            "that {node} left out nothing else: {}",
            fetched.completeness
        ));
    }
    if let Some(reorg) = &fetched.reorg {
        notes.push(format!(
            "anchors that a reorganisation took away, by the word of {node}: {reorg}"
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
    let text = |out: &mut Stdouted| {
        print_table(out, report)?;
        report.next.as_ref().map_or(Ok(()), |next| next.print(out))
    };
    print_report(global, report, text, |out| print_ndjson(out, report))
}

fn print_ndjson<W: std::io::Write>(out: &mut Output<W>, report: &VerifyReport) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct NotChecked<'a> {
        what: &'a str,
    }
    #[derive(Serialize)]
    struct Summary<'a> {
        input: &'a crate::verify::report::InputInfo,
        shard: Option<Shard>,
        verdict: Verdict,
        totals: &'a crate::verify::report::Totals,
        completeness: Option<&'a Completeness>,
        provenance: Option<&'a Provenance>,
        next: Option<&'a Next>,
    }
    #[derive(Serialize)]
    struct Where<'a> {
        place: &'a event_log::Place,
    }
    let ties_nothing = report.input.ties_nothing.as_deref();
    write_lines(
        out,
        SCHEMA,
        "ties_nothing",
        ties_nothing.map(|what| NotChecked { what }),
    )?;
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
        completeness: report.completeness.as_ref(),
        provenance: report.provenance.as_ref(),
        next: report.next.as_ref(),
    };
    write_lines(out, SCHEMA, "summary", [summary])
}

const COLUMNS: &str = "\
Columns (streams that FAILED or were NOT CHECKED, the worst first):
  EVENTS, BATCHES      how many of them the input has
  PROVEN to FAILED     its batches by verdict (docs/verify.md)
  IN NO BATCH          events that no root covers
  VERDICT              the weakest of its batches";

/// The report for people.
pub fn print_table<W: std::io::Write>(out: &mut Output<W>, report: &VerifyReport) -> Result<(), CliError> {
    let streams = report.streams.iter().map(|s| s.stream);
    let labels = out.label_streams(streams.chain(report.units.iter().map(|unit| unit.stream)));
    if let Some(what) = &report.input.ties_nothing {
        out.verdict(Tone::Bad, &format!("NOT TIED: {what}"))?;
    }
    print_verdict(out, report)?;
    print_head(out, report.provenance.as_ref(), report.place.as_ref())?;
    print_streams(out, report, &labels)?;
    verify_tail::print(out, report)?;
    for (title, verdict) in [
        ("FAILED", Verdict::Failed),
        ("BATCHES NOT CHECKED", Verdict::NotChecked),
    ] {
        let units = report.units.iter();
        let units: Vec<&UnitReport> = units
            .filter(|u| u.verdict == verdict && (u.kind == UnitKind::Batch || verdict == Verdict::Failed))
            .collect();
        print_units(out, title, &units, &labels)?;
    }
    print_not_proven(out, report)?;
    if !report.problems.is_empty() {
        out.line("")?;
        out.line("PROBLEMS OF THE INPUT")?;
        let shown = out.shown(report.problems.len());
        for problem in &report.problems[..shown] {
            out.line(&format!("  {:<20} {}", problem.code, problem.what))?;
        }
        out.more(2, report.problems.len() - shown, "")?;
    }
    if report.completeness.is_some() {
        out.line("")?;
    }
    print_completeness(out, report.completeness.as_ref())?;
    print_not_checked(out, &report.not_checked)
}

fn print_verdict<W: std::io::Write>(out: &mut Output<W>, report: &VerifyReport) -> Result<(), CliError> {
    let mut sentences = sentences(report).into_iter();
    if let Some(verdict) = sentences.next() {
        out.verdict(tone(report.verdict), &verdict)?;
    }
    let (t, b) = (&report.totals, &report.totals.batches);
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
    sentences.try_for_each(|sentence| out.line(&sentence))
}

/// What came out of it: the weakest verdict, and how many streams have which.
pub fn sentences(report: &VerifyReport) -> Vec<String> {
    let shard = report
        .shard
        .map_or(String::new(), |s| format!(" of shard {}/{}", s.index, s.of));
    let mut sentences = vec![format!(
        "The weakest verdict{shard} is {}; {} failure(s).",
        report.verdict, report.totals.failures
    )];
    let mut by_verdict: BTreeMap<Verdict, usize> = BTreeMap::new();
    for stream in &report.streams {
        *by_verdict.entry(stream.verdict).or_default() += 1;
    }
    let counts = by_verdict.iter().rev();
    let counts: Vec<String> = counts
        .map(|(verdict, count)| format!("{count} {verdict}"))
        .collect();
    if !counts.is_empty() {
        sentences.push(format!("Streams: {}.", counts.join(", ")));
    }
    sentences
}

fn print_streams<W: std::io::Write>(
    out: &mut Output<W>,
    report: &VerifyReport,
    labels: &Labels,
) -> Result<(), CliError> {
    let all = out.all();
    let told = report
        .streams
        .iter()
        .filter(|s| all || s.verdict >= Verdict::NotChecked);
    let mut told: Vec<&VerifiedStream> = told.collect();
    if told.is_empty() {
        return Ok(());
    }
    told.sort_by_key(|s| {
        let bad = (s.verdict, s.batches.failed, s.batches.not_checked);
        (std::cmp::Reverse(bad), s.stream)
    });
    let mut table = Table::new(&[
        "STREAM",
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
    let shown = out.shown(told.len());
    for stream in &told[..shown] {
        let b = &stream.batches;
        let batches = b.proven + b.matches_anchors + b.matches_database + b.not_checked + b.failed;
        table.row([
            labels.of(&stream.stream),
            stream.events.to_string(),
            batches.to_string(),
            b.proven.to_string(),
            b.matches_anchors.to_string(),
            b.matches_database.to_string(),
            b.not_checked.to_string(),
            b.failed.to_string(),
            stream.unbatched_events.to_string(),
            stream.verdict.to_string(),
        ]);
        table.verdict(9, tone(stream.verdict));
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, told.len() - shown, "stream(s)")
}

/// So many batches that do not match are shown one by one.
const BATCHES: usize = 8;

/// Batches under a title, those of a stream under its name.
fn print_units<W: std::io::Write>(
    out: &mut Output<W>,
    title: &str,
    units: &[&UnitReport],
    labels: &Labels,
) -> Result<(), CliError> {
    if units.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line(title)?;
    let shown = if out.all() {
        units.len()
    } else {
        units.len().min(BATCHES)
    };
    let mut under = None;
    for unit in &units[..shown] {
        if under != Some(unit.stream) {
            under = Some(unit.stream);
            out.full_line(&format!("  {}", labels.heading(&unit.stream)))?;
        }
        print_unit(out, unit)?;
    }
    out.more(2, units.len() - shown, "")
}

/// Why batches that match something are not PROVEN, each reason once.
fn print_not_proven<W: std::io::Write>(out: &mut Output<W>, report: &VerifyReport) -> Result<(), CliError> {
    let mut reasons: BTreeMap<(Verdict, String), Vec<&UnitReport>> = BTreeMap::new();
    for unit in &report.units {
        if let Some(why) = unit.why_not_proven() {
            reasons.entry((unit.verdict, why)).or_default().push(unit);
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line("NOT PROVEN")?;
    let shown = if out.all() {
        reasons.len()
    } else {
        reasons.len().min(BATCHES)
    };
    for ((verdict, why), units) in reasons.iter().take(shown) {
        let first = units[0];
        out.line(&format!(
            "  {} batch(es) {verdict}, from {} {} to {} on: {why}",
            units.len(),
            first.stream,
            first.sequence_start,
            first.sequence_end
        ))?;
    }
    out.more(2, reasons.len() - shown, "reason(s)")
}

/// So many failures of a batch are shown.
const FAILURES: usize = 4;

fn print_unit<W: std::io::Write>(out: &mut Output<W>, unit: &UnitReport) -> Result<(), CliError> {
    let what = match (unit.kind, unit.batch_ids.first()) {
        (UnitKind::Batch, Some(id)) => format!("batch {id}"),
        (UnitKind::Batch, None) => "batch".to_owned(),
        (UnitKind::Unbatched, _) => "in no batch".to_owned(),
    };
    out.line(&format!(
        "    {} to {}, {what}",
        unit.sequence_start, unit.sequence_end
    ))?;
    let shown = if out.all() {
        unit.failures.len()
    } else {
        unit.failures.len().min(FAILURES)
    };
    for failure in &unit.failures[..shown] {
        let place = failure.sequence.map_or(String::new(), |n| format!("event {n}: "));
        let id = failure.event_id.map_or(String::new(), |id| format!(" ({id})"));
        out.line(&format!("      {:<20} {place}{}{id}", failure.code, failure.what))?;
    }
    let more = unit.failure_count.saturating_sub(shown as u64);
    if more > 0 {
        out.line(&format!("      and {more} more failures"))?;
    }
    if unit.verdict == Verdict::NotChecked {
        for skipped in &unit.not_checked {
            let places: Vec<String> = skipped.sequences.iter().map(u64::to_string).collect();
            let places = if places.is_empty() {
                String::new()
            } else {
                format!(" (event {})", places.join(", "))
            };
            out.line(&format!("      {}{places}", skipped.what))?;
        }
    }
    Ok(())
}
