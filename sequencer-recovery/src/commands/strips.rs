//! Streams as maps of their positions: for the page (`--report`), and as lines in the terminal.

use std::ops::RangeInclusive;

use cli_common::{CliError, Labels, Output, Tone, WIDTH};
use html_report::{MarkKind, State, Strip, worst_first};
use sequencer_recovery::apply::{ApplyReport, StreamStatus};
use sequencer_recovery::floor::Witness;
use sequencer_recovery::gap;
use sequencer_recovery::grade::Grade;
use sequencer_recovery::incident::Course;
use sequencer_recovery::incident::facts::{self, Report};
use sequencer_recovery::incident::summary::last_audit;
use sequencer_recovery::plan::PlannedStreamSummary;
use sequencer_recovery::plan::plan_file::PlanFile;
use sequencer_recovery::plan::planned::{PlanLine, PlannedOpen, PlannedStream};
use sequencer_recovery::report::audit::StreamReport;
use sequencer_recovery::sealed_file::SealedFileError;
use sequencer_recovery::stream::batches::BatchVerdict;

/// What an event that goes back on evidence of a grade is.
fn state(grade: Grade) -> State {
    match grade {
        Grade::Proven => State::Proven,
        Grade::Checkpointed => State::Checkpointed,
        Grade::Receipted => State::Receipted,
        Grade::Committed => State::Committed,
        Grade::Corroborated => State::Corroborated,
        Grade::Claimed => State::Claimed,
        Grade::Contested => State::Contested,
        Grade::Lost => State::Lost,
    }
}

/// What a position is that stays open: lost or contested, or open since its evidence was not accepted.
fn open_state(grade: Grade) -> State {
    match grade {
        Grade::Lost => State::Lost,
        Grade::Contested => State::Contested,
        _ => State::Open,
    }
}

/// So many ranges are named in a sentence.
const NAMED: usize = 4;

/// Ranges in words, ascending, neighbours as one; of many the first.
fn named(ranges: &[RangeInclusive<u64>]) -> String {
    let mut joined: Vec<RangeInclusive<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if last.end().checked_add(1) == Some(*range.start()) => {
                *last = *last.start()..=*range.end();
            }
            _ => joined.push(range.clone()),
        }
    }
    let ranges = joined;
    let text = gap::describe(&ranges[..ranges.len().min(NAMED)]);
    match ranges.len().saturating_sub(NAMED) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}

/// A stream as an audit sees it; `whole` if nothing is wrong with it.
pub fn of_audit(stream: &StreamReport, whole: bool, labels: &Labels) -> Strip {
    let known = stream.head_known.as_ref();
    let last = [stream.head, stream.counter, known.map(|w| w.sequence)];
    let last = last.into_iter().flatten().max().unwrap_or(0);
    let mut strip = Strip::new(labels.of(&stream.stream), stream.stream.to_string(), last);
    let mut failed = 0;
    for batch in &stream.batches {
        if batch.anchored {
            strip.anchored(batch.sequence_start, batch.sequence_end);
        }
        if batch.verdict == BatchVerdict::Failed {
            failed += 1;
            strip.lay(batch.sequence_start, batch.sequence_end, State::Failed);
        }
    }
    for gap in &stream.gaps {
        strip.lay(gap.from, gap.to, State::Open);
    }
    for twice in &stream.reissue {
        strip.lay(twice.sequence, twice.sequence, State::Twice);
    }
    if let Some(head) = stream.head {
        strip.mark(MarkKind::Head, head, "the log's last event", "");
    }
    if let Some(counter) = stream.counter {
        let note = stream
            .counter_raised
            .as_ref()
            .map_or("", |_| "raised by this toolkit");
        strip.mark(MarkKind::Counter, counter, "the sequencer's counter", note);
    }
    for witness in &stream.witnesses {
        mark_witness(&mut strip, witness);
    }
    let mut said = Vec::new();
    if !stream.reissue.is_empty() {
        said.push(format!("{} number(s) were given out twice", stream.reissue.len()));
    }
    if stream.missing > 0 {
        let gaps: Vec<_> = stream.gaps.iter().map(gap::Gap::range).collect();
        said.push(format!(
            "{} position(s) are missing: {}",
            stream.missing,
            named(&gaps)
        ));
    }
    if failed > 0 {
        said.push(format!("{failed} batch(es) FAILED"));
    }
    match (stream.counter, known) {
        (Some(counter), Some(known)) if counter < known.sequence => said.push(format!(
            "the counter {counter} is behind {}, which {} knows ({})",
            known.sequence, known.who, known.grade
        )),
        (None, _) => said.push("it has no counter".to_owned()),
        _ => {}
    }
    if whole {
        said.insert(0, format!("whole: {} event(s)", stream.events));
    } else {
        strip.tone = Tone::Bad;
    }
    strip.sentence = said.join("; ").into();
    strip
}

/// The streams of an incident: as the last audit left them, with what the repairs brought back.
pub fn of_incident(course: &Course, labels: &Labels) -> Vec<Strip> {
    let Some(audit) = last_audit(course).or_else(|| course.audits().next_back().map(|(_, audit)| audit))
    else {
        return Vec::new();
    };
    let applied = facts::applied(course.reports());
    let plans: Vec<&facts::Plan> = course
        .reports()
        .filter_map(|report| match report {
            Report::Plan(plan) => Some(plan),
            _ => None,
        })
        .collect();
    let streams = audit.streams.iter().map(|stream| {
        let known = stream.head_known.as_ref();
        let last = [stream.head, stream.counter, known.map(|known| known.sequence)];
        let last = last.into_iter().flatten().max().unwrap_or(0);
        let mut strip = Strip::new(labels.of(&stream.stream), stream.stream.to_string(), last);
        for plan in plans
            .iter()
            .filter(|plan| applied.contains_key(&(plan.plan_id, stream.stream)))
        {
            let planned = plan
                .streams
                .iter()
                .filter(|planned| planned.stream == stream.stream);
            for back in planned.flat_map(|planned| &planned.goes_back) {
                strip.lay(back.from, back.to, state(back.grade));
            }
        }
        // Said by the last audit, so it counts more than what was planned.
        for gap in &stream.gaps {
            strip.lay(gap.from, gap.to, State::Open);
        }
        if let Some(head) = stream.head {
            strip.mark(MarkKind::Head, head, "the log's last event", "");
        }
        if let Some(counter) = stream.counter {
            strip.mark(MarkKind::Counter, counter, "the sequencer's counter", "");
        }
        if let Some(known) = known {
            strip.mark(MarkKind::Witness, known.sequence, &*known.who, "");
        }
        let gaps: Vec<_> = stream.gaps.iter().map(|gap| gap.from..=gap.to).collect();
        (strip.tone, strip.sentence) = match stream.missing {
            0 => (Tone::Good, "nothing is missing".into()),
            missing => (
                Tone::Bad,
                format!("{missing} position(s) are missing: {}", named(&gaps)).into(),
            ),
        };
        strip
    });
    let mut strips: Vec<Strip> = streams.collect();
    worst_first(&mut strips);
    strips
}

/// Words that the log's own last event and counter have as witnesses: they are marked as what they are.
const OWN: [&str; 2] = ["the log's events", "the log's counter"];

fn mark_witness(strip: &mut Strip, witness: &Witness) {
    if !OWN.contains(&witness.who.as_str()) {
        let grade = witness.grade.to_string();
        strip.mark(MarkKind::Witness, witness.sequence, witness.who.as_str(), grade);
    }
}

/// A stream as it would be after its plan.
pub fn of_plan(stream: &PlannedStreamSummary, labels: &Labels) -> Strip {
    let name = labels.of(&stream.stream);
    let mut strip = Strip::new(name, stream.stream.to_string(), stream.head_before);
    // Up to the counter, nothing stands beyond the last event but what the plan puts there.
    if let Some(after) = stream.counter_after {
        strip.lay(stream.head_before.saturating_add(1), after, State::Open);
    }
    for range in &stream.goes_back {
        strip.lay(range.from, range.to, state(range.grade));
    }
    for filled in &stream.filled {
        strip.lay(filled.from, filled.to, State::Tombstone);
    }
    for open in &stream.open {
        strip.lay(open.from, open.to, open_state(open.grade));
    }
    if let (1.., Some(last)) = (stream.appended, stream.counter_after) {
        strip.lay(last.saturating_sub(stream.appended - 1), last, State::Appended);
    }
    for moved in &stream.moves {
        strip.lay(moved.to, moved.to, moved.grade.map_or(State::Appended, state));
    }
    if stream.moves.is_empty() {
        for twice in &stream.reissue {
            strip.lay(twice.sequence, twice.sequence, State::Twice);
        }
    }
    strip.mark(
        MarkKind::Head,
        stream.head_before,
        "the log's last event, before",
        "",
    );
    if let Some(after) = stream.counter_after {
        let note = stream.counter_before.map_or_else(
            || "it has none now".to_owned(),
            |before| format!("it is {before} now"),
        );
        strip.mark(MarkKind::Counter, after, "the counter, as it becomes", note);
    }
    let options = stream.floor.iter().flat_map(|floor| &floor.options);
    for option in options {
        mark_witness(&mut strip, &option.witness);
    }
    let open: Vec<_> = stream.open.iter().map(PlannedOpen::range).collect();
    let mut said = vec![format!("{} missing, {} go back", stream.missing, stream.events)];
    if !open.is_empty() {
        let count = stream.open.iter().map(PlannedOpen::count);
        let count = count.fold(0, u64::saturating_add);
        said.push(format!("{count} stay open: {}", named(&open)));
    }
    if stream.reissued > 0 {
        said.push(format!("{} number(s) were given out twice", stream.reissued));
    }
    if !open.is_empty() || stream.reissued > 0 || !stream.left_out.is_empty() {
        strip.tone = Tone::Doubt;
    }
    strip.sentence = said.join("; ").into();
    strip
}

/// The streams of a plan as they are after it was applied.
///
/// # Errors
/// The plan's file changed.
pub fn of_applied(
    plan: &PlanFile,
    report: &ApplyReport,
    labels: &Labels,
) -> Result<Vec<Strip>, SealedFileError> {
    let mut strips: Vec<Strip> = Vec::new();
    let mut done = false;
    plan.read(|line| {
        if let PlanLine::Stream(stream) = &line {
            let applied = report.streams.iter().find(|s| s.stream == stream.stream);
            let status = applied.map(|applied| applied.status);
            done = matches!(status, Some(StreamStatus::Applied | StreamStatus::AlreadyApplied));
            strips.push(begun(stream, status, report.dry_run, labels));
        } else if let Some(strip) = strips.last_mut() {
            lay_line(strip, &line, done);
        }
        Ok(())
    })?;
    worst_first(&mut strips);
    Ok(strips)
}

/// A stream of a plan, before what the plan does in it is laid over it.
fn begun(stream: &PlannedStream, status: Option<StreamStatus>, dry_run: bool, labels: &Labels) -> Strip {
    let name = labels.of(&stream.stream);
    let mut strip = Strip::new(name, stream.stream.to_string(), stream.head_before);
    for batch in stream.batches.iter().filter(|batch| batch.grade == Grade::Proven) {
        strip.anchored(batch.sequence_start, batch.sequence_end);
    }
    strip.mark(
        MarkKind::Head,
        stream.head_before,
        "the log's last event, before",
        "",
    );
    for option in stream.floor.iter().flat_map(|floor| &floor.options) {
        mark_witness(&mut strip, &option.witness);
    }
    let (word, tone) = match status {
        Some(StreamStatus::Applied) if dry_run => ("would be changed as planned", Tone::Good),
        Some(StreamStatus::Applied) => ("changed as planned", Tone::Good),
        Some(StreamStatus::AlreadyApplied) => ("was as planned already", Tone::Good),
        Some(StreamStatus::Failed) => ("FAILED: it is as it was before", Tone::Bad),
        None => ("not begun", Tone::Bad),
    };
    let counter = match tone {
        Tone::Bad => stream.counter_before,
        _ => stream.counter_after,
    };
    if let Some(counter) = counter {
        // Nothing stands beyond the last event but what the plan put there.
        strip.lay(stream.head_before.saturating_add(1), counter, State::Open);
        strip.mark(MarkKind::Counter, counter, "the sequencer's counter", "");
    }
    let mut said = vec![word.to_owned()];
    strip.tone = tone;
    if tone == Tone::Good && (stream.open_positions > 0 || stream.reissued > 0) {
        strip.tone = Tone::Doubt;
    }
    if stream.open_positions > 0 {
        said.push(format!("{} position(s) stay open", stream.open_positions));
    }
    if stream.reissued > 0 {
        said.push(format!("{} number(s) given out twice stay so", stream.reissued));
    }
    strip.sentence = said.join("; ").into();
    strip
}

/// What a line of the plan means for the positions; `done` if it was carried out.
fn lay_line(strip: &mut Strip, line: &PlanLine, done: bool) {
    let or_open = |state| if done { state } else { State::Open };
    match line {
        PlanLine::Event(event) => strip.lay(event.sequence, event.sequence, or_open(state(event.grade))),
        PlanLine::Tombstone(stone) => strip.lay(stone.sequence, stone.sequence, or_open(State::Tombstone)),
        PlanLine::Append(append) if done => strip.lay(append.sequence, append.sequence, State::Appended),
        PlanLine::Move(moved) if done => {
            strip.lay(moved.to, moved.to, moved.grade.map_or(State::Appended, state));
        }
        PlanLine::Open(open) if !open.filled => strip.lay(open.from, open.to, open_state(open.grade)),
        // Events that go back to such numbers come after.
        PlanLine::Reissue(twice) => strip.lay(twice.sequence, twice.sequence, State::Twice),
        _ => {}
    }
}

/// So many streams are drawn in the terminal where there are many.
const SHOWN: usize = 3;

/// Prints the streams in which positions are missing or not as they were, the worst first: a few of many.
pub fn print<W: std::io::Write>(out: &mut Output<W>, mut strips: Vec<Strip>) -> Result<(), CliError> {
    strips.retain(|strip| !strip.runs().is_empty());
    if strips.is_empty() {
        return Ok(());
    }
    worst_first(&mut strips);
    let shown = match strips.len() {
        all if out.all() || all <= 4 => all,
        _ => SHOWN,
    };
    out.line("")?;
    out.line("POSITIONS")?;
    let width = out.columns().unwrap_or(WIDTH).saturating_sub(2);
    for line in html_report::strip_lines(&strips[..shown], width, out.is_ascii()) {
        out.picture(&format!("  {line}"))?;
    }
    out.more(2, strips.len() - shown, "stream(s)")
}
