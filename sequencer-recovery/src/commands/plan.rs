//! `sequencer-recovery plan`: what goes back where, on what evidence, written to a file.

use std::io::{BufWriter, Seek as _};
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cli_common::keys::read_signing_key;
use cli_common::{
    Access, CliError, ExitStatus, Format, GlobalArgs, Output, Table, partial_file, stderr_progress,
};
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::floor::FloorChoice;
use sequencer_recovery::gap;
use sequencer_recovery::grade::Accept;
use sequencer_recovery::place::placement::Budget;
use sequencer_recovery::plan::accept_keys::KeySources;
use sequencer_recovery::plan::append::AppendOptions;
use sequencer_recovery::plan::planned::KeyBasis;
use sequencer_recovery::plan::planned::{JudgeKeys, LeftOutAs};
use sequencer_recovery::plan::planned::{PlannedOpen, PlannedReissue};
use sequencer_recovery::plan::tombstone::TombstoneOptions;
use sequencer_recovery::plan::{OnReissue, PlanOptions, PlanRequest, PlanSummary, StreamSummary, plan};
use sequencer_recovery::stream::unheard;
use ves::AgentId;

use super::{
    ReplayingArg, SurveyArgs, cancel_on_signals, open, or_dash, print_not_checked, print_place, read_on,
    report_incomplete, write_lines, write_not_checked, write_place,
};

/// Plan the repair: which event goes back to which position on what evidence, what the counters become, what
/// stays open and why. Writes the plan file and changes nothing else
///
/// Ends with 0 if the plan leaves nothing open, 4 if positions stay open after it or the log has no stream, 8 if a witness or the log
/// could not be read.
#[derive(Debug, Args)]
pub struct PlanArgs {
    #[command(flatten)]
    survey: SurveyArgs,

    #[command(flatten)]
    replaying: ReplayingArg,

    /// The plan file to write; it must not exist
    #[arg(long, value_name = "PLAN")]
    out: PathBuf,

    /// The weakest evidence to use: proven, receipted, committed, corroborated or claimed
    #[arg(long, value_name = "GRADE", default_value_t = Accept::default())]
    accept: Accept,

    /// What the counters are raised to: the highest number known on evidence of this grade (proven, receipted,
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
            key: read_signing_key(path)?,
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
    let accept_keys = key_sources(&args.accept_keys);
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

    let mut out = Output::stdout();
    match global.format {
        Format::Json => out.json(&summary)?,
        Format::Ndjson => {
            write_place(&mut out, summary.schema, &summary.place)?;
            write_lines(&mut out, summary.schema, "incomplete", &summary.incomplete)?;
            write_lines(&mut out, summary.schema, "stream", &summary.streams)?;
            write_lines(&mut out, summary.schema, "not_heard", &summary.not_heard)?;
            write_lines(&mut out, summary.schema, "finding", &summary.hindrances)?;
            write_lines(&mut out, summary.schema, "not_planned", &summary.not_planned)?;
            write_not_checked(&mut out, summary.schema, &summary.not_checked)?;
            #[derive(serde::Serialize)]
            struct Summary<'a> {
                db: &'a str,
                plan_id: ves::Hash32,
                accept: &'a str,
                floor: &'a str,
                totals: &'a sequencer_recovery::plan::PlanTotals,
            }
            let PlanSummary {
                db,
                plan_id,
                accept,
                floor,
                totals,
                ..
            } = &summary;
            let line = Summary {
                db,
                plan_id: *plan_id,
                accept,
                floor,
                totals,
            };
            write_lines(&mut out, summary.schema, "summary", [line])?;
        }
        Format::Table => {
            print_table(&mut out, &summary)?;
            out.line(&format!("Plan {} is in {}.", summary.plan_id, path.display()))?;
        }
    }
    out.finish()?;
    let mut status = report_incomplete(&summary.incomplete, global);
    if summary.totals.open > 0
        || summary.totals.reissued_left > 0
        || summary.empty.is_some()
        || !summary.not_planned.is_empty()
    {
        status |= ExitStatus::PROBLEMS;
    }
    Ok(status)
}

/// What stands in the way of applying the plan, for people.
fn print_hindrances<W: std::io::Write>(out: &mut Output<W>, summary: &PlanSummary) -> Result<(), CliError> {
    if summary.hindrances.is_empty() {
        return Ok(());
    }
    out.line("BEFORE APPLY")?;
    for hindrance in &summary.hindrances {
        out.line(&format!(
            "  {:<22} {}",
            hindrance.code.as_str(),
            hindrance.message
        ))?;
        if let Some(next) = &hindrance.next {
            out.line(&format!("    next: {next}"))?;
        }
    }
    out.line("")
}

/// The plan in numbers, for people.
pub fn print_table<W: std::io::Write>(out: &mut Output<W>, summary: &PlanSummary) -> Result<(), CliError> {
    let t = &summary.totals;
    if !summary.incomplete.is_empty() {
        out.line(&format!(
            "INCOMPLETE: {} witness(es) could not be read; apply refuses this plan without --although-incomplete",
            summary.incomplete.len()
        ))?;
        for one in summary.incomplete.iter().take(SHOWN_INCOMPLETE) {
            out.line(&format!("  {}: {}", one.witness, one.reason))?;
        }
        match summary.incomplete.len().saturating_sub(SHOWN_INCOMPLETE) {
            0 => {}
            more => out.line(&format!("  and {more} more (--format json names all)"))?,
        }
    }
    print_place(out, &summary.place)?;
    print_hindrances(out, summary)?;
    if let Some(empty) = &summary.empty {
        out.line(&format!("Nothing was planned: {empty}"))?;
        return print_not_checked(out, &summary.not_checked);
    }
    if !summary.not_planned.is_empty() {
        out.line("NOT PLANNED")?;
        for left in &summary.not_planned {
            out.line(&format!("  {}: {}", left.stream, left.why))?;
        }
        out.line("")?;
    }
    if summary.streams.is_empty() && !summary.not_planned.is_empty() {
        out.line("Of the other streams nothing is missing, and every counter is at its floor.")?;
        print_not_checked(out, &summary.not_checked)?;
        return out.line("");
    }
    if summary.streams.is_empty() {
        out.line("Nothing is missing and every counter is at its floor: there is nothing to do.")?;
        print_not_heard(out, summary)?;
        print_not_checked(out, &summary.not_checked)?;
        return out.line("");
    }
    let mut table = Table::new(&[
        "STREAM (TENANT/STORE)",
        "MISSING",
        "GO BACK",
        "OPEN",
        "COMMITMENTS",
        "COUNTER",
        "BECOMES",
    ]);
    for s in &summary.streams {
        let open = s
            .open
            .iter()
            .map(PlannedOpen::count)
            .fold(0u64, u64::saturating_add);
        table.row([
            s.stream.to_string(),
            s.missing.to_string(),
            s.events.to_string(),
            open.to_string(),
            s.commitments.to_string(),
            or_dash(s.counter_before),
            or_dash(s.counter_after),
        ]);
    }
    out.table(&table)?;
    for s in &summary.streams {
        out.line("")?;
        out.line(&format!("{}", s.stream))?;
        for key in &s.keys {
            let (id, agent, from) = (key.key.key_id, key.key.agent_id, key.sources.join(", "));
            out.line(&match key.basis {
                KeyBasis::Recovery => format!(
                    "  key {id} of the recovery agent {agent} is registered, from {from}: {} tombstone(s) are signed with it",
                    key.events_planned
                ),
                basis => format!(
                    "  key {id} of agent {agent} is registered again, {} by {from}: {} event(s) of the log name it, {} of \
                     this plan rest on it",
                    basis.as_str(),
                    key.events_in_log,
                    key.events_planned
                ),
            })?;
        }
        for key in &s.keys_refused {
            out.line(&format!(
                "  key {} of agent {} is NOT registered: {}",
                key.key_id, key.agent_id, key.why
            ))?;
        }
        for (grade, count) in &s.by_grade {
            out.line(&format!("  {count} event(s) go back, {grade}"))?;
        }
        print_reissue(out, s)?;
        for b in &s.batches {
            out.line(&format!(
                "  batch {} ({}-{}): {}",
                b.batch_id, b.sequence_start, b.sequence_end, b.outcome
            ))?;
        }
        let b = &s.bookkeeping;
        let receipts: u64 = b.receipts.iter().map(|r| r.end() - r.start() + 1).sum();
        let books = [
            (receipts, "receipt(s) are made again for events that are there"),
            (
                b.remember.len() as u64,
                "command id(s) of events are remembered again",
            ),
            (
                b.forget.len() as u64,
                "command id(s) that no event carries are forgotten",
            ),
            (
                b.raise_versions.len() as u64,
                "entity version(s) are raised to the number of events",
            ),
        ];
        for (count, what) in books.into_iter().filter(|(count, _)| *count > 0) {
            out.line(&format!("  {count} {what}"))?;
        }
        if let Some(projection) = b.projection {
            out.line(&format!(
                "  the projection checkpoint goes back to {projection}, so that what is refilled is projected"
            ))?;
        }
        if let Some(why) = &s.commitments_stop {
            out.line(&format!("  {why}"))?;
        }
        if let Some(floor) = &s.floor {
            // What gets a new number comes after what the witness knows.
            let known = floor.counter.max(s.counter_before.unwrap_or(0));
            let beyond = match s.counter_after {
                Some(after) if after > known => format!(": {} new number(s) after {known},", after - known),
                _ => ",".to_owned(),
            };
            out.line(&format!(
                "  counter {} becomes {}{beyond} known to {} ({})",
                or_dash(s.counter_before),
                or_dash(s.counter_after),
                floor.witness.who,
                floor.grade
            ))?;
            for option in &floor.options {
                out.line(&format!(
                    "    --floor {:<12} gives {}: {}",
                    option.choice, option.counter, option.cost
                ))?;
            }
        }
        if !s.filled.is_empty() {
            let ranges: Vec<_> = s.filled.iter().map(PlannedOpen::range).collect();
            out.line(&format!(
                "  {} lost position(s) are filled with tombstones: {}",
                s.filled
                    .iter()
                    .map(PlannedOpen::count)
                    .fold(0u64, u64::saturating_add),
                gap::describe(&ranges)
            ))?;
        }
        if s.not_filled_root_known > 0 {
            out.line(&format!(
                "  {} position(s) are not filled: the root of their batch is known and would never match \
                 (--root-will-not-match)",
                s.not_filled_root_known
            ))?;
        }
        for open in joined(&s.open) {
            out.line(&format!("  open: {open}"))?;
        }
        for range in &s.must_not_commit {
            out.line(&format!(
                "  must not be committed: {}-{}: {}",
                range.from, range.to, range.why
            ))?;
        }
        print_appending(out, s)?;
        if s.never_sequenced > 0 && s.left_out.is_empty() {
            out.line(&format!(
                "  {} event(s) in outboxes were never numbered, as far as anybody knows: their agents push them again",
                s.never_sequenced
            ))?;
        }
    }
    print_not_heard(out, summary)?;
    print_not_checked(out, &summary.not_checked)?;
    out.line("")?;
    let by = |grades: &std::collections::BTreeMap<sequencer_recovery::grade::Grade, u64>| {
        let parts: Vec<String> = grades.iter().rev().map(|(g, n)| format!("{n} {g}")).collect();
        if parts.is_empty() {
            String::new()
        } else {
            format!(" ({})", parts.join(", "))
        }
    };
    out.line(&format!(
        "{} missing: {} go back{}, {} stay open{}. {} commitment(s) go back, {} counter(s) change.{}",
        t.missing,
        t.events,
        by(&t.by_grade),
        t.open,
        by(&t.open_by_grade),
        t.commitments,
        t.counters,
        tombstones_and(t.tombstones, t.appended, t.left_out)
    ))
}

/// So many witnesses that could not be read are shown.
const SHOWN_INCOMPLETE: usize = 12;

fn print_not_heard<W: std::io::Write>(out: &mut Output<W>, summary: &PlanSummary) -> Result<(), CliError> {
    if !summary.not_heard.is_empty() {
        out.line("")?;
    }
    for line in unheard::describe(&summary.not_heard) {
        out.line(&line)?;
    }
    Ok(())
}

fn tombstones_and(tombstones: u64, appended: u64, left_out: u64) -> String {
    let filled = match tombstones {
        0 => String::new(),
        tombstones => format!(" {tombstones} lost position(s) are filled with tombstones."),
    };
    let appended = match (appended, left_out) {
        (0, 0) => String::new(),
        (appended, left_out) => format!(
            " {appended} event(s) that were never sequenced are appended, {left_out} that wait are left out."
        ),
    };
    filled + &appended
}

/// Numbers that were given out twice, for people: both histories, and what becomes of them.
fn print_reissue<W: std::io::Write>(out: &mut Output<W>, s: &StreamSummary) -> Result<(), CliError> {
    if s.reissue.is_empty() {
        return Ok(());
    }
    out.line(&format!("  {} number(s) were given out twice", s.reissued))?;
    print_histories(out, &s.reissue, |sequence| {
        let moved = s.moves.iter().find(|m| m.from == sequence);
        moved.map_or_else(|| ", stays".to_owned(), |m| format!(", gets {}", m.to))
    })?;
    for c in &s.superseded {
        out.line(&format!(
            "  commitment {} ({}-{}) goes: it is over events that move",
            c.batch_id, c.sequence_start, c.sequence_end
        ))?;
    }
    match &s.reissue_note {
        Some(note) => out.line(&format!("  {note}")),
        None => Ok(()),
    }
}

/// Both histories, number by number, with what becomes of the event that is there now.
pub fn print_histories<W: std::io::Write>(
    out: &mut Output<W>,
    reissue: &[PlannedReissue],
    becomes: impl Fn(u64) -> String,
) -> Result<(), CliError> {
    for r in reissue.iter().take(SHOWN_REISSUES) {
        let before = match r.before {
            Some(event) => format!("{event} ({}: {})", r.before_grade, r.before_basis),
            None => "not known".into(),
        };
        let becomes = becomes(r.sequence);
        out.line(&format!(
            "    {:>6}  before: {before}; now: {}{becomes}",
            r.sequence, r.now
        ))?;
    }
    match reissue.len().saturating_sub(SHOWN_REISSUES) {
        0 => Ok(()),
        more => out.line(&format!("    and {more} more (--format json lists all)")),
    }
}

/// So many numbers that were given out twice are shown for a stream.
const SHOWN_REISSUES: usize = 20;

/// What is appended, and what waits and is not.
fn print_appending<W: std::io::Write>(out: &mut Output<W>, s: &StreamSummary) -> Result<(), CliError> {
    if let (1.., Some(last)) = (s.appended, s.counter_after) {
        out.line(&format!(
            "  {} event(s) that were never sequenced are appended, at {}-{last}",
            s.appended,
            last + 1 - s.appended
        ))?;
    }
    for left in &s.left_out {
        let why = match (left.left_out, left.reason) {
            (LeftOutAs::Rejected, Some(reason)) => format!("the sequencer would refuse it, {reason}"),
            (LeftOutAs::Rejected, None) => "the sequencer would refuse it".to_owned(),
            (LeftOutAs::Doubtful, _) => "doubtful (--append-doubtful)".to_owned(),
        };
        out.line(&format!(
            "  not appended: {} ({} row {}): {why}: {}",
            left.event_id, left.outbox, left.local_seq, left.message
        ))?;
    }
    Ok(())
}

/// Open positions for people: neighbours of one grade are one line, since each may have a reason of its own.
fn joined(open: &[PlannedOpen]) -> Vec<String> {
    let mut lines: Vec<(u64, u64, sequencer_recovery::grade::Grade, String, u64)> = Vec::new();
    for o in open {
        match lines.last_mut() {
            Some(last) if last.1.checked_add(1) == Some(o.from) && last.2 == o.grade => {
                last.1 = o.to;
                if last.3 != o.reason {
                    last.4 += 1;
                }
            }
            _ => lines.push((o.from, o.to, o.grade, o.reason.clone(), 0)),
        }
    }
    lines
        .into_iter()
        .map(|(from, to, grade, reason, more)| {
            let at = if from == to {
                from.to_string()
            } else {
                format!("{from}-{to}")
            };
            let more = if more > 0 {
                format!(" (and {more} more reason(s), in the plan)")
            } else {
                String::new()
            };
            format!("{at} {grade}: {reason}{more}")
        })
        .collect()
}
