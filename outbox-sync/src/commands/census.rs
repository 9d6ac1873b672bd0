//! `outbox-sync census`: who holds what a log lacks.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use clap::Args;
use cli_common::provenance::Provenance;
use cli_common::{
    Cancel, CliError, CommandLine, DbArg, DbTarget, ExitStatus, GlobalArgs, Labels, Next, Output, ShortPaths,
    Table, Tone, again, print_report, stderr_progress,
};
use event_log::Place;
use outbox_sync::census::{Census, MissingRange, StreamCensus, take};
use outbox_sync::holdings::{Heard, Holdings, NotRead};
use outbox_sync::inputs::Purpose;
use outbox_sync::words::WordGrade;
use serde::Serialize;

use super::errors::{holdings_error, log_error};
use super::provenance::{InputFiles, KEYS, MANIFEST, print_head, write_head};
use super::{
    KeyArgs, ManifestArg, again_with_whole_files, cancel_on_signals, count_not_whole, expand, free_name,
    not_checked_of, open_target, or_dash, print_end, print_some, report_empty_log, report_heard,
    reservations, write_end, write_lines,
};

/// Say of each number that a log lacks who holds its event, how sure that is, and whose outbox is not heard yet
///
/// Ends with 0 if nothing is missing, 4 if something is, 8 if a file cannot be read whole.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS)]
pub struct CensusArgs {
    /// Outboxes: files, folders (all outboxes below them) or patterns; exports are read too
    #[arg(required_unless_present = "outbox_manifest", value_name = "OUTBOX")]
    inputs: Vec<String>,

    #[command(flatten)]
    manifests: ManifestArg,

    #[command(flatten)]
    db: DbArg,

    #[command(flatten)]
    keys: KeyArgs,
}

const SCHEMA: &str = "outbox-census/1";

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    log: String,
    provenance: Option<Provenance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    place: Option<Place>,
    #[serde(flatten)]
    census: Census,
    contradicted_claims: u64,
    heard: Vec<Heard>,
    not_read: Vec<NotRead>,
    key_flaws: Vec<String>,
    not_checked: Vec<String>,
    next: Next,
}

/// Runs the command.
pub fn run(args: &CensusArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let cancel = cancel_on_signals()?;
    let target = args.db.target()?;
    again(&cancel, || attempt(args, &target, global, &cancel))
}

fn attempt(
    args: &CensusArgs,
    target: &DbTarget,
    global: &GlobalArgs,
    cancel: &Cancel,
) -> Result<ExitStatus, CliError> {
    let mut not_read = Vec::new();
    let mut left_out = Vec::new();
    let named = (&args.inputs[..], Some(&args.manifests));
    let paths = expand(named, Purpose::Read, &mut not_read, &mut left_out, global);
    let already = not_read.len();
    let mut inputs = InputFiles::of_outboxes(&paths, global, cancel)?;
    inputs.add(MANIFEST, args.manifests.files());
    inputs.add(KEYS, args.keys.files());
    inputs.add_log(Some(target));
    let mut log = open_target(target, cancel)?;
    let agents: BTreeSet<_> = log
        .keys()
        .map_err(log_error)?
        .iter()
        .map(|key| key.agent_id)
        .collect();
    let keys = args.keys.book(Some(&mut log))?;
    let progress = stderr_progress(global);
    let mut holdings =
        Holdings::collect(&paths, &mut log, keys, &*progress, cancel).map_err(holdings_error)?;
    let streams = log.streams().map_err(log_error)?;
    for state in &streams {
        let present = log.present(&state.stream).map_err(log_error)?;
        holdings.note_present(state.stream, present);
    }
    let receipts = log.highest_receipts().map_err(log_error)?;
    let census = take(&holdings, &streams, &receipts, &agents);
    not_read.append(&mut holdings.not_read);

    let mut status = report_heard(&holdings.heard, &not_read[already..], global);
    if already > 0 {
        status |= ExitStatus::FAILED;
    }
    if census.streams.iter().any(|s| s.missing > 0 || s.unplaced > 0) {
        status |= ExitStatus::PROBLEMS;
    }
    let mut not_checked = not_checked_of(&holdings.heard, &not_read);
    not_checked.append(&mut left_out);
    status |= report_empty_log(Some(&mut log), &mut not_checked, global)?;
    not_checked
        .push("receipts and anchors: what is receipted or proven, sequencer-recovery audit says".into());
    not_checked.push(
        "numbers that engines counted up: sequencer-recovery plan says what speaks against them".into(),
    );
    if log.is_export() {
        not_checked.push("who is known but not heard: an export of a log knows no keys".into());
    }
    not_checked.extend(reservations(Some(&log)));
    let not_whole = count_not_whole(&holdings.heard, &not_read);
    let next = next(&census, not_whole, log.is_export(), args);
    let document = Document {
        schema: SCHEMA,
        log: log.name().to_owned(),
        provenance: Some(inputs.provenance()),
        place: log.place().cloned(),
        census,
        contradicted_claims: holdings.contradicted,
        key_flaws: holdings.key_flaws,
        heard: holdings.heard,
        not_read,
        not_checked,
        next,
    };
    print(&document, global)?;
    Ok(status)
}

fn next(census: &Census, not_whole: usize, of_export: bool, args: &CensusArgs) -> Next {
    if not_whole > 0 {
        return again_with_whole_files(not_whole);
    }
    let sum = |count: fn(&StreamCensus) -> u64| census.streams.iter().map(count).sum::<u64>();
    let (missing, nowhere, unplaced) = (sum(|s| s.missing), sum(|s| s.nowhere), sum(|s| s.unplaced));
    if missing + unplaced == 0 {
        return Next::nothing("the log lacks nothing that these outboxes know of");
    }
    let unheard = census.unheard.len();
    if missing == nowhere && unplaced == 0 {
        return match unheard {
            0 => Next::nothing(
                "none of these outboxes holds what is missing; another copy of the log may (sequencer-recovery audit \
                 --witness)",
            ),
            _ => Next::run_for(
                format!(
                    "nobody who was heard holds what is missing: find the outboxes of {unheard} agent(s) not heard, then"
                ),
                &CommandLine::of_this_process(),
            ),
        };
    }
    let mut plan = CommandLine::from(vec!["sequencer-recovery".into(), "plan".into()]);
    let mut why = "the operator plans what goes back (nothing is changed)".to_owned();
    if of_export {
        why.push_str(", with the log itself, not an export of it, in DATABASE_URL");
    } else {
        plan = plan.with(args.db.words());
    }
    if unheard > 0 {
        why.push_str(&format!(
            "; {unheard} agent(s) not heard may hold more: find their outboxes first"
        ));
    }
    for input in &args.inputs {
        plan = plan.with(["--outbox", input.as_str()]);
    }
    plan = plan.with(args.manifests.words());
    Next::run_for(why, &plan.with(["--out", free_name("plan", "ndjson").as_str()]))
}

fn grade_name(grade: WordGrade) -> &'static str {
    match grade {
        WordGrade::Corroborated => "corroborated",
        WordGrade::Claimed => "claimed",
        WordGrade::Contested => "contested",
        WordGrade::Lost => "lost",
    }
}

fn print(document: &Document, global: &GlobalArgs) -> Result<(), CliError> {
    print_report(
        global,
        document,
        |out| print_table(out, document),
        |out| print_ndjson(out, document),
    )
}

fn print_ndjson(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    write_head(out, SCHEMA, document.provenance.as_ref(), document.place.as_ref())?;
    write_lines(out, SCHEMA, "stream", &document.census.streams)?;
    write_lines(out, SCHEMA, "holder", &document.census.holders)?;
    write_lines(out, SCHEMA, "unheard", &document.census.unheard)?;
    write_lines(out, SCHEMA, "heard", &document.heard)?;
    write_lines(out, SCHEMA, "not_read", &document.not_read)?;
    write_end(out, SCHEMA, &document.not_checked, &document.next)
}

const COLUMNS: &str = "\
Columns (streams that lack events, those that lack most that nobody holds first):
  HEAD, KNOWN TO   the log's last number; the highest that anybody knows of
  MISSING          numbers up to there without an event
  NOWHERE          of these, those that nobody holds an event for
  UNPLACED         events held that nobody gives a place among them
  NEVER SEQUENCED  events held that never had a number
Then of the first streams which numbers are missing, how sure it is which events
they had (GRADE), whether somebody holds those (HELD), and who; and of the files
that hold what the log lacks, how many events nobody else holds (HELD ALONE).";

fn print_table(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    let census = &document.census;
    let labels = out.label_streams(census.streams.iter().map(|s| s.stream));
    print_verdict(out, census)?;
    print_head(out, document.provenance.as_ref(), document.place.as_ref())?;
    let unheard = census.unheard.iter().map(|unheard| match unheard.held_by_others {
        0 => unheard.agent_id.to_string(),
        events => format!("{} (others hold {events} of its events)", unheard.agent_id),
    });
    print_some(out, "not heard", unheard)?;
    let all = out.all();
    let mut told: Vec<&StreamCensus> = census.streams.iter().filter(|s| all || lacks(s)).collect();
    told.sort_by_key(|s| (Reverse((s.nowhere, s.missing, s.unplaced)), s.stream));
    print_streams(out, &told, &labels)?;
    print_ranges(out, &told, &labels)?;
    print_holders(out, document)?;
    let refusals = document.heard.iter().flat_map(|heard| &heard.refusals);
    print_some(out, "not used", refusals.map(ToString::to_string))?;
    print_end(out, &document.not_checked, &document.next)
}

fn lacks(s: &StreamCensus) -> bool {
    s.missing > 0 || s.unplaced > 0
}

fn print_verdict(out: &mut Output<impl std::io::Write>, census: &Census) -> Result<(), CliError> {
    let sum = |of: fn(&StreamCensus) -> u64| census.streams.iter().map(of).fold(0, u64::saturating_add);
    let lacking = census.streams.iter().filter(|s| lacks(s)).count();
    out.verdict(
        if lacking > 0 { Tone::Bad } else { Tone::Good },
        &format!(
            "{} stream(s) whole, {lacking} not (worst first): {} missing, {} of them nowhere, {} unplaced. {} event(s) were \
             never sequenced, {} agent(s) not heard.",
            census.streams.len() - lacking,
            sum(|s| s.missing),
            sum(|s| s.nowhere),
            sum(|s| s.unplaced),
            sum(|s| s.never_sequenced),
            census.unheard.len()
        ),
    )
}

fn print_streams(
    out: &mut Output<impl std::io::Write>,
    told: &[&StreamCensus],
    labels: &Labels,
) -> Result<(), CliError> {
    if told.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "STREAM",
        "HEAD",
        "KNOWN TO",
        "MISSING",
        "NOWHERE",
        "UNPLACED",
        "NEVER SEQUENCED",
    ]);
    let shown = out.shown(told.len());
    for s in &told[..shown] {
        table.row([
            labels.of(&s.stream),
            or_dash(s.head),
            s.known_to.to_string(),
            s.missing.to_string(),
            s.nowhere.to_string(),
            s.unplaced.to_string(),
            s.never_sequenced.to_string(),
        ]);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, told.len() - shown, "stream(s)")
}

/// The files that hold a range: all, or the first of many.
fn holders(range: &MissingRange, every: bool, short: &ShortPaths) -> String {
    let names: Vec<&str> = range.holders.iter().map(|path| short.of(path)).collect();
    let named = if every || names.len() < 4 { names.len() } else { 2 };
    match (names.len() - named) as u64 + range.more_holders {
        0 => names.join(", "),
        more => format!("{} and {more} more", names[..named].join(", ")),
    }
}

/// So many holders are shown.
const HOLDERS: usize = 5;

fn print_holders(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    let all = &document.census.holders;
    if all.is_empty() {
        return Ok(());
    }
    let alone = all.iter().filter(|holder| holder.held_alone > 0).count();
    out.line("")?;
    out.line(&format!(
        "{} file(s) hold what the log lacks, {alone} of them what nobody else holds:",
        all.len()
    ))?;
    let shown = if out.all() {
        all.len()
    } else {
        all.len().min(HOLDERS)
    };
    let short = out.shorten_paths("They are", all[..shown].iter().map(|holder| holder.path.as_str()))?;
    let agents = out.labels_of(all[..shown].iter().filter_map(|holder| holder.agent_id));
    let mut table = Table::new(&["HOLDER", "AGENT", "HELD ALONE", "HELD"]);
    for holder in &all[..shown] {
        table.row([
            short.of(&holder.path).to_owned(),
            holder
                .agent_id
                .as_ref()
                .map_or_else(|| "-".into(), |id| agents.of(id)),
            holder.held_alone.to_string(),
            holder.held.to_string(),
        ]);
    }
    out.table(&table)?;
    out.more(0, all.len() - shown, "holder(s)")
}

/// The ranges of so many streams are shown, and so many of each.
const STREAMS: usize = 2;
/// Of more streams than this those of one alone: who holds what follows, and a screen is short.
const MANY: usize = 4;
const RANGES: usize = 6;

fn print_ranges(
    out: &mut Output<impl std::io::Write>,
    told: &[&StreamCensus],
    labels: &Labels,
) -> Result<(), CliError> {
    let all = out.all();
    let with_ranges: Vec<_> = told.iter().filter(|s| !s.ranges.is_empty()).collect();
    let many = if all {
        with_ranges.len()
    } else {
        with_ranges
            .len()
            .min(if with_ranges.len() > MANY { 1 } else { STREAMS })
    };
    if many > 0 {
        out.line("")?;
    }
    let ranges = with_ranges[..many].iter().flat_map(|s| &s.ranges);
    let files = ranges.flat_map(|range| range.holders.iter().map(String::as_str));
    let short = out.shorten_paths("Holders are", files)?;
    for s in &with_ranges[..many] {
        out.line("")?;
        out.full_line(&labels.heading(&s.stream))?;
        out.line(&format!(
            "known to {} on the word of {}",
            s.known_to,
            short.of(&s.known_by)
        ))?;
        let mut table = Table::new(&["MISSING", "GRADE", "HELD", "BY"]);
        let shown = if all {
            s.ranges.len()
        } else {
            s.ranges.len().min(RANGES)
        };
        for range in &s.ranges[..shown] {
            let numbers = if range.first == range.last {
                range.first.to_string()
            } else {
                format!("{}-{}", range.first, range.last)
            };
            let held = if range.held { "yes" } else { "no" };
            table.row([
                numbers,
                grade_name(range.grade).into(),
                held.into(),
                holders(range, all, &short),
            ]);
        }
        out.table(&table)?;
        out.more(0, s.ranges.len() - shown, "range(s)")?;
    }
    out.more(0, with_ranges.len() - many, "stream(s) with missing ranges")
}

#[cfg(test)]
mod tests;
