//! What `plan` prints for people.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use cli_common::{CliError, Labels, Output, Table, Tone};
use sequencer_recovery::gap;
use sequencer_recovery::grade::Grade;
use sequencer_recovery::plan::hold_back::{Because, HoldBack};
use sequencer_recovery::plan::planned::KeyBasis;
use sequencer_recovery::plan::planned::{LeftOut, LeftOutAs};
use sequencer_recovery::plan::planned::{PlannedOpen, PlannedReissue};
use sequencer_recovery::plan::{MissedKey, PlanSummary, PlannedStreamSummary};

use super::report::{detailed, print_not_checked, print_not_heard, print_place};
use super::{or_dash, strips};

/// What stands in the way of applying the plan, for people.
fn print_hindrances<W: std::io::Write>(out: &mut Output<W>, summary: &PlanSummary) -> Result<(), CliError> {
    if summary.hindrances.is_empty() {
        return Ok(());
    }
    out.line("")?;
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
    Ok(())
}

/// The plan in numbers, for people.
pub fn print_table<W: std::io::Write>(out: &mut Output<W>, summary: &PlanSummary) -> Result<(), CliError> {
    let planned = summary.streams.iter().map(|s| s.stream);
    let left = summary.not_planned.iter().map(|left| left.stream);
    let labels = out.label_streams(planned.chain(left));
    print_incomplete(out, summary)?;
    print_verdict(out, summary)?;
    print_place(out, &summary.place)?;
    print_hindrances(out, summary)?;
    if summary.empty.is_none() {
        print_not_planned(out, summary)?;
        print_streams(out, summary, &labels)?;
        print_what_it_means(out, summary)?;
        print_not_heard(out, &summary.not_heard)?;
    }
    print_not_checked(out, &summary.not_checked)?;
    out.line("")
}

fn print_incomplete<W: std::io::Write>(out: &mut Output<W>, summary: &PlanSummary) -> Result<(), CliError> {
    if summary.incomplete.is_empty() {
        return Ok(());
    }
    out.verdict(
        Tone::Bad,
        &format!(
            "INCOMPLETE: {} witness(es) could not be read; apply refuses this plan without --although-incomplete",
            summary.incomplete.len()
        ),
    )?;
    let shown = if out.all() { usize::MAX } else { SHOWN_INCOMPLETE };
    for one in summary.incomplete.iter().take(shown) {
        out.line(&format!("  {}: {}", one.witness, one.reason))?;
    }
    out.more(2, summary.incomplete.len().saturating_sub(shown), "")
}

fn print_verdict<W: std::io::Write>(out: &mut Output<W>, summary: &PlanSummary) -> Result<(), CliError> {
    let (tone, sentence) = verdict(summary);
    out.verdict(tone, &sentence)?;
    if summary.empty.is_some() || summary.streams.is_empty() {
        return Ok(());
    }
    let deciding = summary.streams.iter().filter(|s| is_to_decide(s)).count();
    let not_planned = match summary.not_planned.len() {
        0 => String::new(),
        not => format!(", {not} NOT PLANNED"),
    };
    out.line(&format!(
        "{} stream(s) in the plan: {} wholly repaired by it, {deciding} with something to decide{not_planned}.",
        summary.streams.len(),
        summary.streams.len() - deciding
    ))?;
    out.line(&summary.totals.proof.describe())?;
    let goes_back = |s: &&PlannedStreamSummary| s.by_grade.contains_key(&Grade::Checkpointed);
    let by: BTreeSet<&str> = summary
        .streams
        .iter()
        .filter(goes_back)
        .filter_map(|s| s.checkpointed_by.as_deref())
        .collect();
    for by in by {
        out.line(&format!("What is checkpointed rests on what was {by}."))?;
    }
    Ok(())
}

/// What came out of it, in a sentence.
pub(super) fn verdict(summary: &PlanSummary) -> (Tone, String) {
    let t = &summary.totals;
    if let Some(empty) = &summary.empty {
        return (Tone::Bad, format!("Nothing was planned: {empty}"));
    }
    if summary.streams.is_empty() && !summary.not_planned.is_empty() {
        let sentence = format!(
            "{} stream(s) NOT PLANNED. Of the other streams nothing is missing, and every counter is at its floor.",
            summary.not_planned.len()
        );
        return (Tone::Bad, sentence);
    }
    if summary.streams.is_empty() {
        let sentence = "Nothing is missing and every counter is at its floor: there is nothing to do.";
        return (Tone::Good, sentence.to_owned());
    }
    let by = |grades: &BTreeMap<Grade, u64>| {
        let parts: Vec<String> = grades.iter().rev().map(|(g, n)| format!("{n} {g}")).collect();
        if parts.is_empty() {
            String::new()
        } else {
            format!(" ({})", parts.join(", "))
        }
    };
    let tone = if t.open > 0 || t.reissued_left > 0 || !summary.not_planned.is_empty() {
        Tone::Doubt
    } else {
        Tone::Good
    };
    let sentence = format!(
        "{} missing: {} go back{}, {} stay open{}. {} commitment(s) go back, {} counter(s) change.{}",
        t.missing,
        t.events,
        by(&t.by_grade),
        t.open,
        by(&t.open_by_grade),
        t.commitments,
        t.counters,
        tombstones_and(t.tombstones, t.appended, t.left_out)
    );
    (tone, sentence)
}

/// Whether there is more about a stream than that what it lacks goes back on the evidence that was asked for.
fn is_to_decide(s: &PlannedStreamSummary) -> bool {
    !s.open.is_empty()
        || s.reissued > 0
        || !s.moves.is_empty()
        || !s.keys.is_empty()
        || !s.keys_refused.is_empty()
        || !s.filled.is_empty()
        || s.not_filled_root_known > 0
        || s.appended > 0
        || !s.left_out.is_empty()
        || !s.must_not_commit.is_empty()
        || s.commitments_stop.is_some()
}

fn open_positions(s: &PlannedStreamSummary) -> u64 {
    let counts = s.open.iter().map(PlannedOpen::count);
    counts.fold(0u64, u64::saturating_add)
}

fn print_not_planned<W: std::io::Write>(out: &mut Output<W>, summary: &PlanSummary) -> Result<(), CliError> {
    if summary.not_planned.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line("NOT PLANNED")?;
    let shown = out.shown(summary.not_planned.len());
    for left in &summary.not_planned[..shown] {
        out.line(&format!("  {}: {}", left.stream, left.why))?;
    }
    out.more(2, summary.not_planned.len() - shown, "stream(s)")
}

fn print_streams<W: std::io::Write>(
    out: &mut Output<W>,
    summary: &PlanSummary,
    labels: &Labels,
) -> Result<(), CliError> {
    if summary.streams.is_empty() {
        return Ok(());
    }
    let mut in_order: Vec<&PlannedStreamSummary> = summary.streams.iter().collect();
    in_order.sort_by_key(|s| {
        let worst = Reverse((s.reissued, open_positions(s), is_to_decide(s), s.missing));
        (worst, s.stream)
    });
    let mut table = Table::new(&[
        "STREAM", "MISSING", "GO BACK", "OPEN", "BATCHES", "COUNTER", "BECOMES",
    ]);
    let shown = out.shown(in_order.len());
    for s in &in_order[..shown] {
        table.row([
            labels.of(&s.stream),
            s.missing.to_string(),
            s.events.to_string(),
            open_positions(s).to_string(),
            s.commitments.to_string(),
            or_dash(s.counter_before),
            or_dash(s.counter_after),
        ]);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, in_order.len() - shown, "stream(s)")?;
    strips::print(out, in_order.iter().map(|s| strips::of_plan(s, labels)).collect())?;
    let all = out.all();
    let told: Vec<_> = in_order.into_iter().filter(|s| all || is_to_decide(s)).collect();
    let detailed = detailed(out, told.len());
    for s in &told[..detailed] {
        out.line("")?;
        out.full_line(&labels.heading(&s.stream))?;
        print_stream(out, s)?;
    }
    out.more(0, told.len() - detailed, "stream(s) with something to decide")
}

/// So many lines of a kind are shown of a stream.
const LINES: usize = 6;

/// Lines of one kind, of which more than a few are counted.
fn print_lines<W: std::io::Write>(out: &mut Output<W>, lines: &[String], what: &str) -> Result<(), CliError> {
    let shown = if out.all() {
        lines.len()
    } else {
        lines.len().min(LINES)
    };
    lines[..shown].iter().try_for_each(|line| out.line(line))?;
    out.more(2, lines.len() - shown, what)
}

/// What becomes of one stream.
fn print_stream<W: std::io::Write>(out: &mut Output<W>, s: &PlannedStreamSummary) -> Result<(), CliError> {
    print_keys(out, s)?;
    for (grade, count) in &s.by_grade {
        let by = match (grade, &s.checkpointed_by) {
            (Grade::Checkpointed, Some(by)) => format!(" ({by})"),
            _ => String::new(),
        };
        out.line(&format!("  {count} event(s) go back, {grade}{by}"))?;
    }
    print_reissue(out, s)?;
    let all = out.all();
    let batches = s.batches.iter().filter(|b| all || !b.solved);
    let batches: Vec<String> = batches
        .map(|b| {
            format!(
                "  batch {} ({}-{}): {}",
                b.batch_id, b.sequence_start, b.sequence_end, b.outcome
            )
        })
        .collect();
    print_lines(out, &batches, "batch(es)")?;
    let heads = s.checkpoints.iter().filter(|head| all || !head.solved);
    let heads: Vec<String> = heads
        .map(|head| format!("  checkpoint of {} events: {}", head.size, head.outcome))
        .collect();
    print_lines(out, &heads, "checkpoint(s)")?;
    print_bookkeeping(out, s)?;
    if let Some(why) = &s.commitments_stop {
        out.line(&format!("  {why}"))?;
    }
    print_floor(out, s)?;
    print_keys_missed(out, s)?;
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
    let open: Vec<String> = joined(&s.open)
        .iter()
        .map(|open| format!("  open: {open}"))
        .collect();
    print_lines(out, &open, "open range(s)")?;
    print_must_not_commit(out, s)?;
    print_appending(out, s)?;
    if s.never_sequenced > 0 && s.left_out.is_empty() {
        out.line(&format!(
            "  {} event(s) in outboxes were never numbered, as far as anybody knows: their agents push them again",
            s.never_sequenced
        ))?;
    }
    Ok(())
}

fn print_must_not_commit<W: std::io::Write>(
    out: &mut Output<W>,
    s: &PlannedStreamSummary,
) -> Result<(), CliError> {
    let all = out.all();
    let line = |range: &HoldBack| {
        let why = match range.because {
            _ if all => range.why.as_str(),
            Because::Anchored => "anchored, and partly open",
            Because::Next => "the next to be committed is open",
            Because::Newcomers => "open before the newcomers",
        };
        format!("  must not be committed: {}-{}: {why}", range.from, range.to)
    };
    let held: Vec<String> = s.must_not_commit.iter().map(line).collect();
    print_lines(out, &held, "range(s) that must not be committed")
}

fn print_keys<W: std::io::Write>(out: &mut Output<W>, s: &PlannedStreamSummary) -> Result<(), CliError> {
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
    Ok(())
}

/// What is put right beside events and counters.
fn print_bookkeeping<W: std::io::Write>(
    out: &mut Output<W>,
    s: &PlannedStreamSummary,
) -> Result<(), CliError> {
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
    match b.projection {
        Some(projection) => out.line(&format!(
            "  the projection checkpoint goes back to {projection}, so that what is refilled is projected"
        )),
        None => Ok(()),
    }
}

/// What the counter becomes, why, and what the other choices cost.
fn print_floor<W: std::io::Write>(out: &mut Output<W>, s: &PlannedStreamSummary) -> Result<(), CliError> {
    let Some(floor) = &s.floor else { return Ok(()) };
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
    if out.all() {
        for option in &floor.options {
            out.line(&format!(
                "    --floor {:<12} gives {}: {}",
                option.choice, option.counter, option.cost
            ))?;
        }
        return Ok(());
    }
    let options = floor.options.iter();
    let options: Vec<String> = options
        .map(|o| format!("{} gives {}", o.choice, o.counter))
        .collect();
    match options.len() {
        0 | 1 => Ok(()),
        _ => out.line(&format!("    --floor {}", options.join(", "))),
    }
}

/// What each choice means, once for all streams: what is told of each with `--all`.
fn print_what_it_means<W: std::io::Write>(
    out: &mut Output<W>,
    summary: &PlanSummary,
) -> Result<(), CliError> {
    if out.all() {
        return Ok(());
    }
    let floors = |s: &PlannedStreamSummary| s.floor.as_ref().is_some_and(|floor| floor.options.len() > 1);
    if summary.streams.iter().any(floors) {
        out.line("")?;
        out.line(
            "FLOORS: below a claim that is true, --floor gives numbers out again, and history forks for good; above a \
             claim that is false, numbers stay empty until they are filled, and nothing is given out twice.",
        )?;
    }
    if summary.streams.iter().any(|s| !s.must_not_commit.is_empty()) {
        out.line("")?;
        out.line(
            "MUST NOT BE COMMITTED: a commitment across open positions contradicts its anchor for good, or cannot be made. \
             Wait for agents that were not heard, or fill what is lost (--fill-losses tombstone), then commit.",
        )?;
    }
    Ok(())
}

/// Keys that an audit of the repaired log will miss.
fn print_keys_missed<W: std::io::Write>(
    out: &mut Output<W>,
    s: &PlannedStreamSummary,
) -> Result<(), CliError> {
    let line = |key: &MissedKey| {
        format!(
            "  {} of the events that go back have key {} of agent {}, of which an audit will say event.key: {} \
             (--accept-keys)",
            key.events, key.key_id, key.agent_id, key.why
        )
    };
    let lines: Vec<String> = s.keys_missed.iter().map(line).collect();
    print_lines(out, &lines, "key(s) that an audit will miss")
}

/// So many witnesses that could not be read are shown.
const SHOWN_INCOMPLETE: usize = 12;

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
fn print_reissue<W: std::io::Write>(out: &mut Output<W>, s: &PlannedStreamSummary) -> Result<(), CliError> {
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
    let shown = if out.all() { usize::MAX } else { SHOWN_REISSUES };
    for r in reissue.iter().take(shown) {
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
    out.more(4, reissue.len().saturating_sub(shown), "")
}

/// So many numbers that were given out twice are shown for a stream.
const SHOWN_REISSUES: usize = 3;

/// What is appended, and what waits and is not.
fn print_appending<W: std::io::Write>(out: &mut Output<W>, s: &PlannedStreamSummary) -> Result<(), CliError> {
    if let (1.., Some(last)) = (s.appended, s.counter_after) {
        out.line(&format!(
            "  {} event(s) that were never sequenced are appended, at {}-{last}",
            s.appended,
            last + 1 - s.appended
        ))?;
    }
    let line = |left: &LeftOut| {
        let why = match (left.left_out, left.reason) {
            (LeftOutAs::Rejected, Some(reason)) => format!("the sequencer would refuse it, {reason}"),
            (LeftOutAs::Rejected, None) => "the sequencer would refuse it".to_owned(),
            (LeftOutAs::Doubtful, _) => "doubtful (--append-doubtful)".to_owned(),
        };
        format!(
            "  not appended: {} ({} row {}): {why}: {}",
            left.event_id, left.outbox, left.local_seq, left.message
        )
    };
    let left_out: Vec<String> = s.left_out.iter().map(line).collect();
    print_lines(out, &left_out, "that are not appended")
}

/// Open positions for people: neighbours of one grade are one line, since each may have a reason of its own.
fn joined(open: &[PlannedOpen]) -> Vec<String> {
    let mut lines: Vec<(u64, u64, Grade, String, u64)> = Vec::new();
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
