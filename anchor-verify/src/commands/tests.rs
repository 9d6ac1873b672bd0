//! What commands print for people, at 80 columns, of 1, 4, 50 and 10,000 streams.

use anchor_verify::lint::{LintFinding, LintReport, Severity};
use anchor_verify::verify::report::{
    Counts, Failure, InputInfo, PlanInfo, StreamSummary, Totals, UnitKind, UnitReport,
};
use anchor_verify::{Verdict, VerifyReport};
use cli_common::finding::Code;
use cli_common::{CliError, Output, Style};
use unicode_width::UnicodeWidthStr;
use uuid::Uuid;
use ves::{BatchId, Hash32, StreamKey};

use super::{lint, verify};

const COUNTS: [usize; 4] = [1, 4, 50, 10_000];

/// A screen; what is printed of thousands of streams is not much longer.
const SCREEN: usize = 60;

/// An id that looks as random ones do, the same each time.
fn id(kind: u128, n: usize) -> Uuid {
    let mixed = ((kind << 64) | n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let mixed = (mixed ^ (mixed >> 61)).wrapping_mul(0xbf58_476d_1ce4_e5b9_94d0_49bb_1331_11eb);
    Uuid::from_u128(mixed ^ (mixed >> 67))
}

fn stream(n: usize) -> StreamKey {
    StreamKey::new(id(1, n / 3).into(), id(2, n).into())
}

/// Whether something is wrong with a stream: with 8 of 50.
fn is_bad(n: usize) -> bool {
    n.is_multiple_of(7)
}

fn printed(all: bool, print: impl FnOnce(&mut Output<&mut Vec<u8>>) -> Result<(), CliError>) -> String {
    let style = Style {
        all,
        ..Style::default()
    };
    let mut written = Vec::new();
    let mut out = Output::new(&mut written, style);
    print(&mut out).unwrap();
    out.finish().unwrap();
    let text = String::from_utf8(written).unwrap();
    for line in text.lines() {
        assert!(line.width() <= 80, "{} columns: {line:?}", line.width());
        assert_eq!(line, line.trim_end(), "space at the end");
    }
    text
}

/// Compares what is printed with its snapshots, and sees that thousands of streams do not flood.
fn snapshots<T>(
    name: &str,
    report: impl Fn(usize) -> T,
    print: impl Fn(&mut Output<&mut Vec<u8>>, &T) -> Result<(), CliError>,
) {
    for count in COUNTS {
        let report = report(count);
        let text = printed(false, |out| print(out, &report));
        insta::assert_snapshot!(format!("{name}_{count}"), text);
        let most = if count <= 50 { SCREEN } else { 2 * SCREEN };
        assert!(text.lines().count() <= most, "{text}");
        if count > 50 {
            continue;
        }
        let all = printed(true, |out| print(out, &report)).lines().count();
        assert!(all >= text.lines().count(), "{all}");
    }
}

fn summary(n: usize) -> StreamSummary {
    let failed = u64::from(is_bad(n));
    StreamSummary {
        stream: stream(n),
        range: None,
        events: 163,
        first: Some(1),
        last: Some(163),
        verdict: if is_bad(n) {
            Verdict::Failed
        } else {
            Verdict::MatchesAnchors
        },
        batches: Counts {
            matches_anchors: 20 - failed,
            failed,
            ..Counts::default()
        },
        last_batched: Some(160),
        unbatched_events: 3,
        events_after_last_batch: 3,
    }
}

fn unit(n: usize) -> UnitReport {
    UnitReport {
        unit: n as u64,
        kind: UnitKind::Batch,
        stream: stream(n),
        sequence_start: 9,
        sequence_end: 16,
        part: None,
        verdict: Verdict::Failed,
        batch_ids: vec![BatchId(id(3, n))],
        committed: true,
        events: 8,
        missing: 0,
        root: Some(Hash32([7; 32])),
        anchors: Vec::new(),
        failure_count: 1,
        failures: vec![Failure {
            code: "event.signing_hash".into(),
            sequence: Some(12),
            event_id: None,
            what: "the stored signing hash is not the hash of the stored fields".into(),
        }],
        not_checked: Vec::new(),
    }
}

fn verification(count: usize) -> VerifyReport {
    let bad: Vec<usize> = (0..count).filter(|n| is_bad(*n)).collect();
    VerifyReport {
        schema: "anchor-verify/1".into(),
        input: InputInfo {
            kind: anchor_verify::InputKind::Db,
            name: "log.db".into(),
            whole: true,
            keys: 12,
            keys_pinned: false,
            anchors: 20 * count as u64,
            anchors_trusted: 0,
            anchors_failed: 0,
            chain_id: Some(84_532),
            trusted_block: None,
            ties_nothing: None,
            sequencer_public_key: None,
            sequencer_public_keys: Default::default(),
        },
        place: None,
        plan: PlanInfo {
            digest: Hash32([1; 32]),
            units: 20 * count as u64,
        },
        shard: None,
        verdict: Verdict::Failed,
        totals: Totals {
            streams: count as u64,
            events: 163 * count as u64,
            batches: Counts {
                matches_anchors: (20 * count - bad.len()) as u64,
                failed: bad.len() as u64,
                ..Counts::default()
            },
            unbatched_events: 3 * count as u64,
            failures: bad.len() as u64,
        },
        streams: (0..count).map(summary).collect(),
        units: bad.iter().map(|n| unit(*n)).collect(),
        problems: Vec::new(),
        completeness: None,
        input_not_checked: Vec::new(),
        not_checked: (0..count)
            .map(|n| {
                format!(
                    "stream {}: 3 event(s) after the last batch: no root covers them yet",
                    stream(n)
                )
            })
            .chain(["that the anchors are on the chain: no trusted block was given".to_owned()])
            .collect(),
        provenance: None,
        next: None,
    }
}

#[test]
fn a_verification_is_short_and_begins_with_the_verdict() {
    snapshots("verify", verification, |out, report| {
        verify::print_table(out, report)
    });
    let text = printed(false, |out| verify::print_table(out, &verification(50)));
    assert!(
        text.starts_with("The weakest verdict is FAILED; 8 failure(s)."),
        "{text}"
    );
    assert!(text.contains("Streams: 8 FAILED, 42 MATCHES ANCHORS."), "{text}");
}

#[test]
fn a_lint_is_short_and_begins_with_problems() {
    let finding = |code: Code, n: usize| LintFinding {
        code,
        severity: code.severity(),
        stream: Some(stream(n)),
        from: Some(9),
        to: Some(16),
        batches: vec![BatchId(id(3, n))],
        message: "batch 0b1e is anchored for 9 to 16 with two roots".into(),
        next: None,
    };
    let report = |count: usize| LintReport {
        findings: (0..count)
            .map(|n| {
                finding(
                    if is_bad(n) {
                        Code::AnchorConflict
                    } else {
                        Code::AnchorGap
                    },
                    n,
                )
            })
            .collect(),
        streams: count,
        anchors: 20 * count,
        batches: 20 * count,
        chained: 19 * count,
        not_checked: vec!["the log's commitments: no log was given (--db)".into()],
    };
    snapshots("lint", report, |out, report| {
        let problems = report
            .findings
            .iter()
            .filter(|f| f.severity == Severity::Problem)
            .count();
        lint::print_verdict(out, report, problems, report.findings.len() - problems)?;
        lint::print_findings(out, report)?;
        super::print_not_checked(out, &report.not_checked)
    });
}
