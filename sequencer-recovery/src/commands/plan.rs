//! `sequencer-recovery plan`: what goes back where, on what evidence, written to a file.

use std::io::{BufWriter, Seek as _, Write};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cli_common::report::Lines;
use cli_common::{
    Access, CliError, CommandLine, ExitStatus, Frame, GlobalArgs, Next, partial_file, stderr_progress,
};
use html_report::ReportArg;
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::floor::FloorChoice;
use sequencer_recovery::grade::Accept;
use sequencer_recovery::place::placement::Budget;
use sequencer_recovery::plan::accept_keys::KeySources;
use sequencer_recovery::plan::append::AppendOptions;
use sequencer_recovery::plan::planned::JudgeKeys;
use sequencer_recovery::plan::tombstone::TombstoneOptions;
use sequencer_recovery::plan::{OnReissue, PlanOptions, PlanRequest, PlanSummary, plan};
use ves::AgentId;

use super::plan_report::print_table;
use super::{
    ReplayingArg, SurveyArgs, cancel_on_signals, made, open, page, read_on, report_incomplete, write_place,
};

/// Plan the repair: which event goes back where, on what evidence
///
/// And what the counters become, what stays open and why. Writes the plan file and changes nothing else.
///
/// Ends with 0 if the plan leaves nothing open, 4 if positions stay open after it or the log has no stream, 8 if a witness or the log
/// could not be read.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct PlanArgs {
    #[command(flatten)]
    survey: SurveyArgs,

    #[command(flatten)]
    replaying: ReplayingArg,

    #[command(flatten)]
    page: ReportArg,

    /// The plan file to write; it must not exist
    #[arg(long, value_name = "PLAN")]
    out: PathBuf,

    /// The weakest evidence to use: proven, checkpointed, receipted, committed, corroborated or
    /// claimed
    #[arg(long, value_name = "GRADE", default_value_t = Accept::default())]
    accept: Accept,

    /// What the counters are raised to: the highest number known on evidence of this grade (proven, checkpointed, receipted,
    /// committed, corroborated, claimed), or a number. Without it: the highest claim, unless it is beyond belief
    #[arg(long, value_name = "GRADE|N")]
    floor: Option<FloorChoice>,

    /// What to do about numbers that were given out twice: keep-anchored (the anchored events go to their places, the
    /// newcomers get new numbers after all others) or keep-current (record the conflict and move nothing). Without it
    /// both histories are shown, and nothing from there on is touched
    #[arg(long, value_name = "CHOICE")]
    on_reissue: Option<OnReissue>,

    /// How many guesses to try for each batch before it is left open
    #[arg(long, value_name = "N", default_value_t = Budget::default().tries)]
    solve_candidates: u64,

    /// How long to search in all: 90 (seconds), 90s, 15m, 1h; batches that are not decided by then stay open, and the plan says so.
    /// Without it only --solve-candidates bounds the search
    #[arg(long, value_name = "TIME", value_parser = cli_common::duration)]
    solve_seconds: Option<Duration>,

    #[command(flatten)]
    append: AppendArgs,

    /// Register keys again that events name and the log lost: from a file of agents' keys, or `peers`, which stands for
    /// what outboxes fetched of their peers. The plan says which events rest on them
    #[arg(long, value_name = "FILE|peers")]
    accept_keys: Vec<PathBuf>,

    #[command(flatten)]
    fill: FillArgs,
}

/// What becomes of positions that nobody can bring back.
#[derive(Debug, Args)]
struct FillArgs {
    /// Fill positions whose events are lost with signed events that say so, so that the sequencer can read and commit
    /// across them again. The true event can never go there any more
    #[arg(long, value_name = "WITH", requires = "recovery_key")]
    fill_losses: Option<FillWith>,

    /// The recovery agent's key: a file with an Ed25519 seed in hex
    #[arg(long, value_name = "FILE", requires = "fill_losses")]
    recovery_key: Option<PathBuf>,

    /// The recovery agent, where its key is registered for several agents or is to be registered
    #[arg(long, value_name = "ID", requires = "fill_losses")]
    recovery_agent: Option<AgentId>,

    /// Register the recovery key for the recovery agent where the log does not have it
    #[arg(long, requires = "recovery_agent")]
    register_recovery_key: bool,

    /// Fill positions too for which somebody names an event, without the evidence that --accept asks for
    #[arg(long, requires = "fill_losses")]
    fill_undecided: bool,

    /// Fill positions too in batches whose root is anchored or committed: that root will never match any more
    #[arg(long, requires = "fill_losses")]
    root_will_not_match: bool,
}

/// What positions are filled with.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum FillWith {
    /// A signed event that says that the position's event is lost
    Tombstone,
}

impl FillArgs {
    fn options(&self) -> Result<Option<TombstoneOptions>, CliError> {
        let (Some(FillWith::Tombstone), Some(path)) = (self.fill_losses, &self.recovery_key) else {
            return Ok(None);
        };
        Ok(Some(TombstoneOptions {
            key: super::read_signer(path)?,
            key_name: path.display().to_string(),
            agent: self.recovery_agent,
            register: self.register_recovery_key,
            undecided: self.fill_undecided,
            root_will_not_match: self.root_will_not_match,
        }))
    }
}

/// Splits `--accept-keys` into files and the word `peers`.
fn key_sources(values: &[PathBuf]) -> KeySources {
    let (peers, files): (Vec<_>, Vec<_>) = values
        .iter()
        .cloned()
        .partition(|value| value.as_os_str() == "peers");
    KeySources {
        files,
        peers: !peers.is_empty(),
    }
}

/// What becomes of events that wait in outboxes.
#[derive(Debug, Args)]
struct AppendArgs {
    /// Give events that wait in outboxes and were never sequenced the numbers after the floor, as the sequencer would:
    /// checked as it checks them, in each agent's own order. Without it their agents push them again
    #[arg(long, value_name = "WHICH")]
    append: Option<Which>,

    /// Append events too that may have been sequenced at a position that is lost: they get a second number then
    #[arg(long, requires = "append")]
    append_doubtful: bool,

    /// When the keys of appended events are judged: now, as the sequencer does, or created-at, when the event says that
    /// it was made
    #[arg(long, value_name = "WHEN", requires = "append", default_value_t)]
    judge_keys: JudgeKeys,
}

/// Which events are appended.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
enum Which {
    /// Events that were never sequenced
    NeverSequenced,
}

impl AppendArgs {
    fn options(&self) -> Option<AppendOptions> {
        self.append.map(|Which::NeverSequenced| AppendOptions {
            judge_keys: self.judge_keys,
            doubtful: self.append_doubtful,
        })
    }
}

/// Runs the command.
pub fn run(args: &PlanArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut input = args.survey.input()?;
    let mut hashed = args.survey.hashed(&input)?;
    let accept_keys = key_sources(&args.accept_keys);
    accept_keys.files.iter().for_each(|file| hashed.add("keys", file));
    let provenance = made(hashed);
    input.witnesses.peer_keys = accept_keys.peers;
    let options = PlanOptions {
        accept: args.accept,
        floor: args.floor,
        budget: Budget {
            tries: args.solve_candidates,
            ..Budget::default()
        },
        solve_for: args.solve_seconds,
        on_reissue: args.on_reissue,
        append: args.append.options(),
        accept_keys,
        fill: args.fill.options()?,
    };
    let path = args.out.as_path();
    if path.exists() {
        return Err(CliError::input(format!("{} exists already", path.display()))
            .with_hint("give another name, or move it away: a plan is not overwritten"));
    }
    let failed = |e: std::io::Error| CliError::cannot_write(path, e);
    let file = partial_file(path, Access::Owner).map_err(failed)?;
    let page = args.page.begin()?;
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let summary = read_on(&cancel, async || {
        // What an attempt that had to be given up has written.
        let begun = file.as_file().set_len(0).and_then(|()| file.as_file().rewind());
        begun.map_err(failed)?;
        let (log, db) = open(&args.survey.db, &cancel).await?;
        args.replaying.check(Some(log.place()), "the log")?;
        log.check_writable()?;
        let mut view = log.view().await?;
        let tool = concat!("sequencer-recovery ", env!("CARGO_PKG_VERSION"));
        let out = BufWriter::new(file.as_file());
        let request = PlanRequest {
            db,
            tool,
            provenance: Some(provenance.clone()),
            witness_options: args.survey.shown_witness_words(),
            input: &input,
            options: &options,
        };
        let summary = plan(&mut view, &request, out, progress.as_ref(), &cancel);
        // Of what is written to, the library knows no name.
        summary.await.map_err(|error| match error {
            RecoveryError::Io { source, .. } => failed(source),
            error => error.into(),
        })
    })?;
    drop(progress);
    file.as_file().sync_all().map_err(failed)?;
    file.persist_noclobber(path).map_err(|e| failed(e.error))?;
    global.recorder.file("plan", path);
    let frame = Frame {
        schema: summary.schema,
        provenance: &provenance,
        next: &next(&summary, args),
    };
    let paged = page::write(page, global, || page::of_plan(&summary, path, &frame, global));
    print(&summary, &frame, args, global)?;
    let mut status = paged | report_incomplete(&summary.incomplete, global);
    if summary.totals.open > 0
        || summary.totals.reissued_left > 0
        || summary.empty.is_some()
        || !summary.not_planned.is_empty()
    {
        status |= ExitStatus::PROBLEMS;
    }
    Ok(status)
}

fn print(
    summary: &PlanSummary,
    frame: &Frame<'_>,
    args: &PlanArgs,
    global: &GlobalArgs,
) -> Result<(), CliError> {
    frame.print(
        global,
        summary,
        |out| {
            print_table(out, summary)?;
            out.line(&format!("Plan {} is in {}.", summary.plan_id, args.out.display()))
        },
        |lines| write_lines(lines, summary),
    )
}

fn write_lines<W: Write>(lines: &mut Lines<'_, W>, summary: &PlanSummary) -> Result<(), CliError> {
    #[derive(serde::Serialize)]
    struct Summary<'a> {
        db: &'a str,
        plan_id: ves::Hash32,
        accept: &'a str,
        floor: &'a str,
        totals: &'a sequencer_recovery::plan::PlanTotals,
    }
    write_place(lines, &summary.place)?;
    lines.all("incomplete", &summary.incomplete)?;
    lines.all("stream", &summary.streams)?;
    lines.all("not_heard", &summary.not_heard)?;
    lines.all("finding", &summary.hindrances)?;
    lines.all("not_planned", &summary.not_planned)?;
    lines.not_checked(&summary.not_checked)?;
    let line = Summary {
        db: &summary.db,
        plan_id: summary.plan_id,
        accept: &summary.accept,
        floor: &summary.floor,
        totals: &summary.totals,
    };
    lines.one("summary", line)
}

/// What to do after a plan: to carry it out, if it has something to write.
fn next(summary: &PlanSummary, args: &PlanArgs) -> Next {
    if !summary.incomplete.is_empty() {
        return Next::nothing("a witness could not be read: see to it, and plan again");
    }
    let t = &summary.totals;
    let rows = t.events + t.commitments + t.counters + t.moves + t.appended + t.keys + t.tombstones;
    let books = summary.streams.iter().any(|s| !s.bookkeeping.is_empty());
    if rows == 0 && !books {
        return Next::nothing(if t.open > 0 {
            "the plan has nothing to write; what is missing only another witness can bring back"
        } else {
            "the plan has nothing to write"
        });
    }
    let apply = CommandLine::of_this_tool("apply")
        .with([args.out.as_os_str()])
        .with(args.survey.db.words())
        .with(["--undo", &super::free_name("undo", "ndjson")]);
    Next::run_for("carry it out, with the sequencer stopped", &apply)
}

const COLUMNS: &str = "\
Columns (streams in which something is to be done, the worst first):
  MISSING           positions without an event, as far as anybody knows
  GO BACK, OPEN     those that get their event back; those that stay open
  BATCHES           commitments that go back
  COUNTER, BECOMES  the counter as it is, and as it becomes";
