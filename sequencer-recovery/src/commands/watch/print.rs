//! What a watch says at its end.

use cli_common::provenance::Provenance;
use cli_common::{CliError, CommandLine, Frame, GlobalArgs, Next, Output, Tone};
use sequencer_recovery::finding::{Code, Finding};
use sequencer_recovery::watch::report::{SCHEMA, StreamWatched, WatchReport};
use serde::Serialize;

use super::super::report::{print_findings, print_not_checked, print_place, print_streams};
use super::super::{or_dash, write_place};
use super::WatchArgs;

pub(super) const COLUMNS: &str = "\
Columns (streams with problems; --all: all):
  HEAD, COUNTER  the last number of the log, and the last that the sequencer gave out
  MISSING        numbers without an event
  COMMITTED      the highest number in a commitment that was judged
  ANCHORED       the highest number that is anchored
  HIGHEST        the highest number that anybody knew of
  PROBLEMS       how many are open";

const STREAMS: [&str; 8] = [
    "STREAM",
    "HEAD",
    "COUNTER",
    "MISSING",
    "COMMITTED",
    "ANCHORED",
    "HIGHEST",
    "PROBLEMS",
];

pub(super) fn print(
    report: &WatchReport,
    provenance: &Provenance,
    args: &WatchArgs,
    global: &GlobalArgs,
) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Summary {
        raised: u64,
        ended: u64,
        looks: u64,
        failed: u64,
        rows: u64,
        new_events: u64,
        scrubbed: u64,
    }
    let frame = Frame {
        schema: SCHEMA,
        provenance,
        next: &next(report, args),
    };
    frame.print(
        global,
        report,
        |out| print_table(out, report),
        |lines| {
            if let Some(place) = &report.place {
                write_place(lines, place)?;
            }
            lines.all("stream", &report.streams)?;
            lines.all("problem", &report.problems)?;
            lines.not_checked(&report.not_checked)?;
            lines.one(
                "summary",
                Summary {
                    raised: report.raised,
                    ended: report.ended,
                    looks: report.looks,
                    failed: report.failed,
                    rows: report.rows,
                    new_events: report.new_events,
                    scrubbed: report.scrubbed,
                },
            )
        },
    )
}

fn next(report: &WatchReport, args: &WatchArgs) -> Next {
    if report.looks == 0 {
        return Next::nothing("see to the error and start it again: it goes on from what it remembers");
    }
    if report.problems.is_empty() {
        return Next::nothing("let it run beside the sequencer (docs/watch.md has a unit for systemd)");
    }
    let audit = CommandLine::of_this_tool("audit")
        .with(args.db.words())
        .option("--witness", args.state.display())
        .options("--outbox", args.outboxes.iter())
        .options(
            "--outbox-manifest",
            args.manifests.iter().map(|path| path.display()),
        )
        .options("--anchors", args.anchors.iter().map(|path| path.display()));
    let rewound = report
        .problems
        .iter()
        .any(|p| p.finding.code == Code::HistoryRewound);
    let why = match rewound {
        true => "stop the sequencer before it gives numbers out again; then see what the log lacks",
        false => "see what is wrong as a whole, with all witnesses",
    };
    Next::run_for(why, &audit)
}

pub(super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    report: &WatchReport,
) -> Result<(), CliError> {
    let labels = out.label_streams(report.streams.iter().map(|s| s.stream));
    let (tone, verdict) = match (report.looks, report.problems.len()) {
        (0, _) => (
            Tone::Doubt,
            "NOT LOOKED: no look at the log succeeded.".to_owned(),
        ),
        (_, 0) => (
            Tone::Good,
            format!("{} stream(s) watched, no problem is open.", report.streams.len()),
        ),
        (_, open) => (
            Tone::Bad,
            format!(
                "{} stream(s) watched, {open} problem(s) are open.",
                report.streams.len()
            ),
        ),
    };
    out.verdict(tone, &verdict)?;
    if let Some(place) = &report.place {
        print_place(out, place)?;
    }
    out.line(&format!(
        "{} look(s), {} failed; {} new event(s) judged, {} old ones again; {} problem(s) began, {} ended.",
        report.looks, report.failed, report.new_events, report.scrubbed, report.raised, report.ended
    ))?;
    out.line(&format!("Remembered in {}.", report.memory))?;
    let all = out.all();
    let told: Vec<&StreamWatched> = report.streams.iter().filter(|s| all || s.problems > 0).collect();
    print_streams(out, &STREAMS, &told, |table, s| {
        table.row([
            labels.of(&s.stream),
            or_dash(s.head),
            or_dash(s.counter),
            s.missing.to_string(),
            s.committed.to_string(),
            or_dash(s.anchored),
            s.highest.to_string(),
            s.problems.to_string(),
        ]);
    })?;
    let findings: Vec<&Finding> = report.problems.iter().map(|alarm| &alarm.finding).collect();
    print_findings(out, &labels, "PROBLEMS", &findings)?;
    print_not_checked(out, &report.not_checked)
}
