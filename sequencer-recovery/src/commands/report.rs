//! What reports for people have in common: where the log is, what is wrong with which stream, what was not checked.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;

use cli_common::{CliError, Labels, Output, Table};
use event_log::{JournalEntry, Place};
use sequencer_recovery::finding::{Code, Finding, Remedy, Severity};
use sequencer_recovery::stream::unheard::{self, Unheard};
use ves::{StreamKey, Timestamp};

use super::or_dash;

/// So many findings are told one by one; of more, those of one code are one line.
const FINDINGS: usize = 12;

/// How many of so many streams are told of in detail: all of a few, the worst of many.
pub fn detailed<W: Write>(out: &Output<W>, of: usize) -> usize {
    if out.all() || of <= 4 { of } else { 2 }
}

/// A table with a row for each of these streams, as many as are shown; nothing if there are none.
pub fn print_streams<W: Write, T>(
    out: &mut Output<W>,
    columns: &[&str],
    told: &[&T],
    row: impl Fn(&mut Table, &T),
) -> Result<(), CliError> {
    if told.is_empty() {
        return Ok(());
    }
    let shown = out.shown(told.len());
    let mut table = Table::new(columns);
    told[..shown].iter().for_each(|of| row(&mut table, of));
    out.line("")?;
    out.table(&table)?;
    out.more(0, told.len() - shown, "stream(s)")
}

/// What of that which was not checked may turn what the report says: it comes first.
const MATTERS: [&str; 9] = [
    "whether what is missing still comes",
    "in recovery",
    "could not be read",
    "not read",
    "damage",
    "is not planned",
    "no outbox",
    "the chain",
    "index",
];

/// Where the log is.
pub fn print_place<W: Write>(out: &mut Output<W>, place: &Place) -> Result<(), CliError> {
    out.line(&format!("Log: {place}"))?;
    out.origin()
}

/// What was not checked. Every report ends with it.
pub fn print_not_checked<W: Write>(out: &mut Output<W>, all: &[String]) -> Result<(), CliError> {
    out.line("")?;
    out.not_checked(all, &MATTERS)
}

/// So many agents that were not heard are named.
const NOT_HEARD: usize = 4;

/// Agents whose outboxes may hold what is missing.
pub fn print_not_heard<W: Write>(out: &mut Output<W>, not_heard: &[Unheard]) -> Result<(), CliError> {
    if not_heard.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let shown = if out.all() {
        not_heard.len()
    } else {
        not_heard.len().min(NOT_HEARD)
    };
    for one in &not_heard[..shown] {
        for line in unheard::describe(std::slice::from_ref(one)) {
            out.line(&line)?;
        }
    }
    out.more(0, not_heard.len() - shown, "agent(s) NOT HEARD")
}

/// A moment, to the second.
pub fn when(time: Timestamp) -> String {
    let text = time.to_string();
    match text.split_once('.') {
        Some((seconds, _)) => format!("{seconds}Z"),
        None => text,
    }
}

/// How bad it stands with each stream that problems were found in: the rank of its worst problem (0 is the worst), and
/// which codes there are, the worst first.
pub struct WorstProblems(BTreeMap<StreamKey, BTreeSet<(u8, Code)>>);

impl WorstProblems {
    /// By what was found.
    pub fn of<'a>(findings: impl IntoIterator<Item = &'a Finding>) -> Self {
        let mut streams: BTreeMap<StreamKey, BTreeSet<(u8, Code)>> = BTreeMap::new();
        for finding in findings {
            if let (Some(stream), Severity::Problem) = (finding.stream, finding.severity) {
                let codes = streams.entry(stream).or_default();
                codes.insert((finding.code.rank(), finding.code));
            }
        }
        Self(streams)
    }

    /// Whether a problem was found in this stream.
    pub fn is_bad(&self, stream: &StreamKey) -> bool {
        self.0.contains_key(stream)
    }

    /// The rank of the stream's worst problem; the highest there is without any.
    pub fn rank(&self, stream: &StreamKey) -> u8 {
        let worst = self.0.get(stream).and_then(BTreeSet::first);
        worst.map_or(u8::MAX, |(rank, _)| *rank)
    }

    /// The codes of the stream's problems, the worst first.
    pub fn codes(&self, stream: &StreamKey) -> String {
        let codes = self.0.get(stream).into_iter().flatten();
        let codes: Vec<&str> = codes.map(|(_, code)| code.as_str()).collect();
        if codes.is_empty() {
            "-".into()
        } else {
            codes.join(", ")
        }
    }
}

/// Findings under a title, the worst first: one by one, or those of one code as one line if there are many.
pub fn print_findings<W: Write>(
    out: &mut Output<W>,
    labels: &Labels,
    title: &str,
    findings: &[&Finding],
) -> Result<(), CliError> {
    if findings.is_empty() {
        return Ok(());
    }
    out.line("")?;
    if out.all() || findings.len() <= FINDINGS {
        out.line(title)?;
        print_each(out, labels, findings)?;
    } else {
        out.line(&format!("{title}, by code (--all shows each)"))?;
        print_by_code(out, findings)?;
    }
    // To plan the repair is what the report ends with, if it helps.
    let told = findings.iter().filter(|f| f.remedy != Some(Remedy::Plan));
    let next: BTreeSet<_> = told
        .filter_map(|f| Some((f.next.as_deref()?, f.remedy.is_some())))
        .collect();
    for (next, is_command) in next {
        match is_command {
            true => out.command(&format!("  next: {next}"))?,
            false => out.line(&format!("  next: {next}"))?,
        }
    }
    Ok(())
}

fn print_each<W: Write>(out: &mut Output<W>, labels: &Labels, findings: &[&Finding]) -> Result<(), CliError> {
    let standing = WorstProblems::of(findings.iter().copied());
    let mut in_order = findings.to_vec();
    in_order.sort_by_key(|finding| {
        let of_stream = finding.stream.map(|stream| (standing.rank(&stream), stream));
        (of_stream, finding.code.rank())
    });
    let mut under: Option<StreamKey> = None;
    for finding in in_order {
        if finding.stream != under {
            under = finding.stream;
            if let Some(stream) = under {
                out.full_line(&format!("  {}", labels.heading(&stream)))?;
            }
        }
        let place = match (finding.from, finding.to) {
            (Some(from), Some(to)) if from == to => format!("{from}: "),
            (Some(from), Some(to)) => format!("{from}-{to}: "),
            _ => String::new(),
        };
        let (code, message) = (finding.code.as_str(), &finding.message);
        out.line(&format!("    {code:<20} {place}{message}"))?;
    }
    Ok(())
}

fn print_by_code<W: Write>(out: &mut Output<W>, findings: &[&Finding]) -> Result<(), CliError> {
    let mut codes: BTreeMap<(u8, Code), (usize, BTreeSet<StreamKey>)> = BTreeMap::new();
    for finding in findings {
        let (count, streams) = codes.entry((finding.code.rank(), finding.code)).or_default();
        *count += 1;
        streams.extend(finding.stream);
    }
    for ((_, code), (count, streams)) in &codes {
        let of = match streams.len() {
            0 => String::new(),
            1 => " in 1 stream".into(),
            streams => format!(" in {streams} streams"),
        };
        out.line(&format!("    {code:<20} {count}{of}: {}", code.meaning()))?;
    }
    Ok(())
}

/// What the journal of repairs says.
pub fn print_journal<W: Write>(out: &mut Output<W>, entries: &[JournalEntry]) -> Result<(), CliError> {
    if entries.is_empty() {
        return Ok(());
    }
    out.line("")?;
    let plan = |entry: &JournalEntry| entry.plan_id.to_string().chars().take(8).collect::<String>();
    let one_plan = entries.iter().all(|entry| entry.plan_id == entries[0].plan_id);
    let of = if one_plan {
        format!(", of plan {}", plan(&entries[0]))
    } else {
        String::new()
    };
    out.line(&format!("JOURNAL OF REPAIRS, newest first{of}"))?;
    let labels = out.labels_of(entries.iter().map(|entry| entry.stream));
    let mut headers = vec!["WHEN", "STREAM", "WHAT", "EVENTS", "BATCHES", "COUNTER"];
    headers.extend((!one_plan).then_some("PLAN"));
    let mut table = Table::new(&headers);
    let shown = out
        .shown(entries.len())
        .min(if out.all() { usize::MAX } else { JOURNAL });
    for entry in &entries[..shown] {
        let cells = [
            when(entry.written_at),
            labels.of(&entry.stream),
            entry.state.as_str().to_owned(),
            entry.counts.events.to_string(),
            entry.counts.commitments.to_string(),
            format!(
                "{} to {}",
                or_dash(entry.counter_before),
                or_dash(entry.counter_after)
            ),
        ];
        table.row(cells.into_iter().chain((!one_plan).then(|| plan(entry))));
    }
    out.table(&table)?;
    out.more(0, entries.len() - shown, "")
}

/// So many entries of the journal are shown.
const JOURNAL: usize = 4;
