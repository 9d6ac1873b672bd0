//! What each command prints for people, at 80 columns, of 1, 4, 50 and 10,000 streams.

use std::collections::BTreeMap;

use cli_common::{CliError, Output, Style, WIDTH};
use event_log::{JournalCounts, JournalEntry, JournalState, Place, ServerMode, ServerPlace};
use sequencer_recovery::apply::StreamStatus;
use sequencer_recovery::apply::counters::{CounterReport, CounterState, CountersReport};
use sequencer_recovery::apply::undo::UndoStatus;
use sequencer_recovery::finding::{Code, Finding, Severity};
use sequencer_recovery::floor::{Floor, FloorChoice, FloorOption, Witness};
use sequencer_recovery::gap::{Gap, GapKind};
use sequencer_recovery::grade::Grade;
use sequencer_recovery::plan::committing::Committing;
use sequencer_recovery::plan::hold_back::{Because, HoldBack};
use sequencer_recovery::plan::planned::{PlannedOpen, PlannedReissue};
use sequencer_recovery::plan::{
    BatchSummary, GoesBack, MissedKey, PlanSummary, PlanTotals, PlannedStreamSummary,
};
use sequencer_recovery::report::audit::{AuditReport, StreamReport, Totals};
use sequencer_recovery::report::gaps::{GapsReport, StreamGaps};
use sequencer_recovery::stream::batches::{Batch, BatchVerdict};
use sequencer_recovery::stream::bookkeeping::Bookkeeping;
use sequencer_recovery::stream::proof_reach::ProofReach;
use sequencer_recovery::stream::unheard::Unheard;
use sequencer_recovery::witness::{Heard, HeardKind};
use unicode_width::UnicodeWidthStr;
use uuid::Uuid;
use ves::{AgentId, BatchId, EventId, Hash32, StreamKey, Timestamp};

use super::{apply, audit, counters, gaps, plan_report, undo};

mod checks;
mod written;

const COUNTS: [usize; 4] = [1, 4, 50, 10_000];

/// What is printed at most of 50 streams in which much is wrong; of thousands it is not much longer.
const SCREEN: usize = 120;

/// An id that looks as random ones do, the same each time.
fn id(kind: u128, n: usize) -> Uuid {
    let mixed = ((kind << 64) | n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let mixed = (mixed ^ (mixed >> 61)).wrapping_mul(0xbf58_476d_1ce4_e5b9_94d0_49bb_1331_11eb);
    uuid::Builder::from_u128(mixed ^ (mixed >> 67))
        .with_version(uuid::Version::Random)
        .into_uuid()
}

fn stream(n: usize) -> StreamKey {
    StreamKey::new(id(1, n / 3).into(), id(2, n).into())
}

/// Whether something is wrong with a stream: with 8 of 50.
fn is_bad(n: usize) -> bool {
    n.is_multiple_of(7)
}

fn place() -> Place {
    Place::Postgres(ServerPlace {
        server_version: "15.18".into(),
        system_identifier: Some("7634590128834412211".into()),
        timeline: Some(2),
        database: "sequencer".into(),
        role: "operator".into(),
        schema: Some("public".into()),
        level: None,
        mode: ServerMode::Primary,
        recovery: None,
    })
}

fn witness(sequence: u64, grade: Grade) -> Witness {
    Witness {
        sequence,
        grade,
        who: "/srv/agents/outboxes/bravo.db (_ves_outbox)".into(),
        identity: String::new(),
    }
}

/// What is printed in the style, after a look at each line.
fn printed(style: Style, print: impl FnOnce(&mut Output<&mut Vec<u8>>) -> Result<(), CliError>) -> String {
    let mut written = Vec::new();
    let width = style.width.unwrap_or(usize::MAX);
    let mut out = Output::new(&mut written, style);
    print(&mut out).unwrap();
    out.finish().unwrap();
    let text = String::from_utf8(written).unwrap();
    for line in text.lines() {
        assert!(line.width() <= width, "{} columns: {line:?}", line.width());
        assert_eq!(line, line.trim_end(), "space at the end");
    }
    text
}

/// Compares what is printed with its snapshots, and sees that thousands of streams do not flood.
pub(super) fn snapshots<T>(
    name: &str,
    report: impl Fn(usize) -> T,
    print: impl Fn(&mut Output<&mut Vec<u8>>, &T) -> Result<(), CliError>,
) {
    for count in COUNTS {
        let report = report(count);
        let text = printed(Style::default(), |out| print(out, &report));
        assert_eq!(Style::default().width, Some(WIDTH));
        insta::assert_snapshot!(format!("{name}_{count}"), text);
        if count == 50 {
            assert!(text.lines().count() <= SCREEN, "{text}");
        } else {
            assert!(text.lines().count() <= 2 * SCREEN, "{text}");
        }
        if count > 50 {
            continue;
        }
        let all = Style {
            all: true,
            ..Style::default()
        };
        let all = printed(all, |out| print(out, &report)).lines().count();
        assert!(all >= count, "{all} lines of {count} streams");
    }
}

fn finding(code: Code, n: usize, message: &str) -> Finding {
    Finding::new(code, message).stream(stream(n))
}

fn findings_of(n: usize) -> Vec<Finding> {
    let mut all = vec![
        finding(
            Code::GapTail,
            n,
            "37 position(s) after the head were given out, as alpha.db knows",
        )
        .range(164, 200),
        finding(
            Code::CounterBehind,
            n,
            "the counter is 163, and anchored batch 51947cd0-3db0-4b8e-9b0e-4fa2b3ca1f5e ends at 200",
        )
        .next("sequencer-recovery plan"),
    ];
    if n.is_multiple_of(21) {
        all.push(finding(Code::Reissue, n, "12 number(s) from 152 on were given out twice").range(152, 163));
    }
    all
}

fn audit_report(count: usize) -> AuditReport {
    let bad: Vec<usize> = (0..count).filter(|n| is_bad(*n)).collect();
    let mut findings: Vec<Finding> = bad.iter().flat_map(|n| findings_of(*n)).collect();
    findings.push(Finding::new(
        Code::WitnessRefused,
        "/srv/agents/outboxes/juliet.db row 17: its signature does not hold",
    ));
    let problems = findings
        .iter()
        .filter(|f| f.severity == Severity::Problem)
        .count() as u64;
    let batch = |n: usize, at: u64| Batch {
        batch_id: BatchId(id(4, n)),
        sequence_start: at,
        sequence_end: at + 7,
        committed: true,
        anchored: true,
        missing: 0,
        verdict: BatchVerdict::MatchesAnchors,
    };
    let streams = (0..count).map(|n| StreamReport {
        stream: stream(n),
        events: 163,
        first: Some(1),
        head: Some(163),
        head_sequenced_at: None,
        whole_until: None,
        counter: Some(163),
        counter_raised: None,
        head_known: Some(if is_bad(n) {
            witness(200, Grade::Proven)
        } else {
            witness(163, Grade::Committed)
        }),
        proof: ProofReach {
            anchored_to: 163,
            ..ProofReach::default()
        },
        missing: if is_bad(n) { 37 + n as u64 } else { 0 },
        gaps: if is_bad(n) {
            vec![tail(37 + n as u64)]
        } else {
            Vec::new()
        },
        receipts_matching: 163,
        receipt_signatures_valid: 163,
        receipt_signatures_not_checked: BTreeMap::new(),
        signatures_valid: 163,
        signatures_not_checked: BTreeMap::new(),
        tombstones: 0,
        committing: Committing::default(),
        batches: vec![batch(n, 1), batch(n, 9)],
        witnesses: vec![witness(163, Grade::Claimed)],
        held_by: Vec::new(),
        reissue: if n.is_multiple_of(21) {
            (152..=163)
                .map(|sequence| PlannedReissue {
                    sequence,
                    batch_id: None,
                    before: Some(EventId(id(5, n))),
                    before_grade: Grade::Proven,
                    before_basis: "the root of the anchored batch comes out equal".into(),
                    before_held_by: Vec::new(),
                    now: EventId(id(6, n)),
                    now_sequenced_at: Timestamp(1_763_618_231_194_000),
                })
                .collect()
        } else {
            Vec::new()
        },
    });
    AuditReport {
        schema: "recovery-audit/1",
        db: "postgres://sequencer".into(),
        place: place(),
        no_problem_found: false,
        totals: Totals {
            streams: count as u64,
            events: 163 * count as u64,
            missing: bad.iter().map(|n| 37 + *n as u64).sum(),
            problems,
            notices: 1,
            ..Totals::default()
        },
        streams: streams.collect(),
        families: Vec::new(),
        findings,
        heard: (0..count).map(heard).collect(),
        not_heard: bad.iter().map(|n| unheard(*n)).collect(),
        not_used: Vec::new(),
        journal: (0..count.min(100)).map(journal).collect(),
        not_checked: not_checked(count),
        ves: true,
    }
}

/// The gap after the head.
fn tail(missing: u64) -> Gap {
    Gap {
        kind: GapKind::Tail,
        from: 164,
        to: 163 + missing,
    }
}

fn heard(n: usize) -> Heard {
    Heard {
        path: format!("/srv/agents/outboxes/region-{}/agent-{n}.db", n % 5),
        name: (n == 4).then(|| "till 7".into()),
        kind: HeardKind::Outbox,
        holder: None,
        made: None,
        place: None,
        agent_id: Some(id(3, n).to_string()),
        shape: Some("ves".into()),
        rows: 400,
        missing_held: if is_bad(n) { 37 } else { 0 },
        held_alone: if n.is_multiple_of(12) { 5 } else { 0 },
        unsigned: 0,
        renderings_found: 0,
        refused: 0,
        refusals: Vec::new(),
        error: (n == 3).then(|| "database disk image is malformed".into()),
    }
}

fn unheard(n: usize) -> Unheard {
    Unheard {
        agent_id: AgentId(id(3, n + 1_000_000)),
        tenant_id: stream(n).tenant_id,
        store_id: Some(stream(n).store_id),
        last_seen: Some(163),
    }
}

fn journal(n: usize) -> JournalEntry {
    JournalEntry {
        written_at: Timestamp(1_763_618_231_194_000),
        state: JournalState::Applied,
        plan_id: Hash32([0x5a; 32]),
        stream: stream(n),
        tool: "sequencer-recovery 0.1.0".into(),
        counter_before: Some(163),
        counter_after: Some(200),
        counts: JournalCounts {
            events: 37,
            ..JournalCounts::default()
        },
    }
}

fn not_checked(count: usize) -> Vec<String> {
    let mut all: Vec<String> = (0..count)
        .map(|n| {
            format!("/srv/agents/outboxes/agent-{n}.db: {n} rows that nobody signed, used as pointers alone")
        })
        .collect();
    all.push("the chain: no anchors file was given (--anchors)".into());
    all.push(format!(
        "{}: root of commitment {} (9-16): 5 of its events are missing",
        stream(0),
        id(4, 0)
    ));
    all
}

#[test]
fn audit_is_short_and_begins_with_the_worst() {
    snapshots("audit", audit_report, |out, report| {
        audit::print_table(out, report)
    });
    let text = printed(Style::default(), |out| audit::print_table(out, &audit_report(50)));
    let first = text.lines().next().unwrap();
    assert!(
        first.contains("42 stream(s) whole, 8 not, worst first"),
        "{first}"
    );
    // Numbers given out twice are worse than a counter that is behind, whatever the streams are called.
    let of = |code: &str| text.find(code).unwrap();
    assert!(of("reissue") < of("counter.behind"), "{text}");
}

#[test]
fn an_audit_without_a_problem_names_no_stream() {
    let mut report = audit_report(50);
    report.findings.clear();
    for stream in &mut report.streams {
        stream.missing = 0;
    }
    (
        report.no_problem_found,
        report.totals.problems,
        report.totals.missing,
    ) = (true, 0, 0);
    report.not_heard.clear();
    report.not_checked.clear();
    report.heard.clear();
    report.journal.clear();
    for stream in &mut report.streams {
        stream.reissue.clear();
    }
    let text = printed(Style::default(), |out| audit::print_table(out, &report));
    insta::assert_snapshot!("audit_whole_50", text);
    assert!(text.contains("everything was checked"));
}

#[test]
fn verdicts_have_colours_on_a_terminal_and_the_same_text() {
    let style = |color| Style {
        color,
        ..Style::default()
    };
    let report = counters_report(50);
    let print = |style| {
        let mut written = Vec::new();
        let mut out = Output::new(&mut written, style);
        counters::print_table(&mut out, &report).unwrap();
        out.finish().unwrap();
        String::from_utf8(written).unwrap()
    };
    let (plain, colored) = (print(style(false)), print(style(true)));
    assert!(!plain.contains('\x1b') && colored.contains("\x1b["));
    let mut stripped = colored.clone();
    for code in ["\x1b[1m", "\x1b[31m", "\x1b[32m", "\x1b[33m", "\x1b[0m"] {
        stripped = stripped.replace(code, "");
    }
    assert_eq!(stripped, plain);
}

fn gaps_report(count: usize) -> GapsReport {
    let gap = |from, to| Gap {
        kind: GapKind::Interior,
        from,
        to,
    };
    let streams = (0..count).map(|n| {
        let lost = if is_bad(n) {
            vec![gap(30, 37), gap(99, 99)]
        } else {
            Vec::new()
        };
        StreamGaps {
            stream: stream(n),
            present: 163,
            first: Some(1),
            head: Some(163),
            counter: Some(163),
            known_to: 163,
            missing: lost.iter().map(Gap::count).sum(),
            odd: 0,
            gaps: lost,
        }
    });
    GapsReport {
        schema: "recovery-gaps/1",
        db: "postgres://sequencer".into(),
        place: place(),
        streams: streams.collect(),
        findings: Vec::new(),
        not_checked: vec![
            "the events themselves, their receipts, the commitments' roots (audit does)".into(),
        ],
    }
}

#[test]
#[expect(
    clippy::redundant_closure,
    reason = "the function itself is not general enough in its lifetimes"
)]
fn gaps_are_short() {
    snapshots("gaps", gaps_report, |out, report| gaps::print_table(out, report));
}

fn options() -> Vec<FloorOption> {
    let option = |grade, counter| FloorOption {
        choice: FloorChoice::Grade(grade),
        counter,
        witness: witness(counter, grade),
        cost: "numbers above it that a single outbox claims may be given out again".into(),
    };
    vec![option(Grade::Proven, 200), option(Grade::Claimed, 214)]
}

fn counters_report(count: usize) -> CountersReport {
    let streams = (0..count).map(|n| CounterReport {
        family: "ves",
        beside: None,
        stream: stream(n),
        counter: Some(163),
        floor: Some(if is_bad(n) { 214 } else { 163 }),
        witness: Some(witness(214, Grade::Claimed)),
        options: if is_bad(n) { options() } else { Vec::new() },
        not_raised: None,
        state: if is_bad(n) {
            CounterState::Behind
        } else {
            CounterState::Holds
        },
    });
    CountersReport {
        schema: "recovery-counters/1",
        db: "postgres://sequencer".into(),
        place: place(),
        choice: "claimed".into(),
        streams: streams.collect(),
        incomplete: Vec::new(),
        not_checked: not_checked(count),
    }
}

#[test]
fn counters_are_short() {
    snapshots("counters", counters_report, |out, report| {
        counters::print_table(out, report)
    });
}

fn plan_summary(count: usize) -> PlanSummary {
    let streams: Vec<PlannedStreamSummary> = (0..count).map(planned).collect();
    let open = streams.iter().flat_map(|s| &s.open).map(PlannedOpen::count).sum();
    let missing: u64 = streams.iter().map(|s| s.missing).sum();
    PlanSummary {
        schema: "recovery-plan-summary/1",
        plan_id: Hash32([0x5a; 32]),
        db: "postgres://sequencer".into(),
        place: place(),
        accept: "receipted".into(),
        floor: "claimed".into(),
        totals: PlanTotals {
            missing,
            events: missing - open,
            by_grade: BTreeMap::from([(Grade::Proven, missing - open)]),
            commitments: 2 * count as u64,
            counters: count as u64,
            open,
            open_by_grade: BTreeMap::from([(Grade::Lost, open)]),
            ..PlanTotals::default()
        },
        streams,
        witness_unreadable: false,
        incomplete: Vec::new(),
        not_heard: vec![unheard(0)],
        hindrances: Vec::new(),
        empty: None,
        not_planned: Vec::new(),
        not_checked: not_checked(count),
    }
}

fn planned(n: usize) -> PlannedStreamSummary {
    let open = is_bad(n).then(|| PlannedOpen {
        from: 164,
        to: 168,
        grade: Grade::Lost,
        reason: "nobody who was asked has an event for it".into(),
        rivals: Vec::new(),
        batch: None,
        filled: false,
    });
    PlannedStreamSummary {
        stream: stream(n),
        missing: 37,
        events: if open.is_some() { 32 } else { 37 },
        by_grade: BTreeMap::from([(Grade::Proven, 32)]),
        goes_back: vec![GoesBack {
            from: if is_bad(n) { 169 } else { 164 },
            to: 200,
            grade: Grade::Proven,
        }],
        head_before: 163,
        checkpoints: Vec::new(),
        checkpointed_by: None,
        batches: vec![BatchSummary {
            batch_id: BatchId(id(4, n)),
            sequence_start: 161,
            sequence_end: 168,
            solved: false,
            outcome: "open: nobody names an event that verifies for 161-165".into(),
        }],
        commitments: 2,
        commitments_stop: None,
        counter_before: Some(163),
        counter_after: Some(214),
        floor: Some(Floor {
            counter: 214,
            grade: Grade::Claimed,
            witness: witness(214, Grade::Claimed),
            options: options(),
        }),
        bookkeeping: Bookkeeping::default(),
        open: open.into_iter().collect(),
        never_sequenced: 2,
        reissued: 0,
        reissue_note: None,
        reissue: Vec::new(),
        moves: Vec::new(),
        superseded: Vec::new(),
        appended: 0,
        left_out: Vec::new(),
        filled: Vec::new(),
        not_filled_root_known: 0,
        keys: Vec::new(),
        keys_refused: Vec::new(),
        keys_missed: vec![MissedKey {
            agent_id: Uuid::from_u128(n as u128 + 77).into(),
            key_id: 2,
            events: 4,
            why: "it is not registered".into(),
        }],
        must_not_commit: vec![HoldBack {
            from: 164,
            to: 164,
            because: Because::Next,
            why: "164 is the next to be committed and stays open".into(),
        }],
    }
}

#[test]
fn a_plan_is_short_and_tells_what_is_to_decide() {
    snapshots("plan", plan_summary, |out, summary| {
        plan_report::print_table(out, summary)
    });
}

fn outcome(count: usize) -> apply::ApplySums {
    let row = |n: usize| apply::Row {
        stream: stream(n),
        status: match n % 50 {
            3 => StreamStatus::Failed,
            5 => StreamStatus::AlreadyApplied,
            _ => StreamStatus::Applied,
        },
        counts: [37, 2, 39, 39, 37, 12, 5, 5],
        counters: [Some(1_163), Some(1_214)],
        open: if is_bad(n) { 5 } else { 0 },
    };
    apply::ApplySums {
        rows: (0..count).map(row).collect(),
        keys: 1,
        untouched: 2,
        ..apply::ApplySums::default()
    }
}

#[test]
fn what_an_apply_did_is_short_and_begins_with_what_failed() {
    snapshots("apply", outcome, |out, outcome| {
        apply::print_verdict(out, outcome)?;
        apply::print_streams(out, outcome)
    });
}

fn undone(count: usize) -> Vec<undo::Row> {
    let row = |n: usize| undo::Row {
        stream: stream(n),
        status: if is_bad(n) {
            UndoStatus::Failed
        } else {
            UndoStatus::Refused
        },
        counts: [37, 39, 37, 0, 5],
        counters: [Some(214), Some(163)],
    };
    (0..count).map(row).collect()
}

#[test]
fn what_an_undo_did_is_short() {
    snapshots("undo", undone, |out, rows| {
        undo::print_verdict(out, rows, 1)?;
        undo::print_streams(out, rows)
    });
}
