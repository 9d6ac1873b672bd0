//! What commands print for people, at 80 columns, of 1, 4, 50 and 10,000 streams.

#![allow(
    clippy::redundant_closure,
    reason = "a function alone is not general enough over the lifetime of what it writes to"
)]

mod checkpointed;

use std::path::Path;

use crate::bundle::BundleContents;
use crate::chain::Completeness;
use crate::chain::parts::Checkpoint;
use crate::fetch::{Proved, Reorg};
use crate::import::{ContractSummary, ImportedStream as StreamAnchors, Saved};
use crate::lint::{LintFinding, LintReport, Severity};
use crate::proof::ProofCheck;
use crate::verify::report::{
    Counts, Failure, InputInfo, PlanInfo, Totals, UnitKind, UnitReport, VerifiedStream,
};
use crate::{AnchorKind, ContractAddress, RefusedLog, Verdict, VerifyReport, tenant_store_key};
use cli_common::finding::Code;
use cli_common::provenance::{Input, Provenance};
use cli_common::{CliError, CommandLine, Next, Output, Style};
use event_log::ExportCounts;
use unicode_width::UnicodeWidthStr;
use uuid::Uuid;
use ves::{BatchId, Hash32, StreamKey};

use super::{attest, bundle, check, fetch, import, lint, merge, prove, verify};

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

fn summary(n: usize) -> VerifiedStream {
    let failed = u64::from(is_bad(n));
    VerifiedStream {
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
        checkpointed: None,
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
            kind: crate::InputKind::Db,
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

fn input(role: &str, path: &str) -> Input {
    Input {
        role: role.into(),
        path: path.into(),
        bytes: Some(4096),
        sha256: Some("5f".repeat(32)),
        not_hashed: None,
    }
}

fn made() -> Provenance {
    Provenance {
        tool: "anchor-verify".into(),
        version: "0.1.0".into(),
        commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
        made_at: "2026-03-01T12:00:00.123456Z".into(),
        inputs: vec![input("db", "log.db"), input("anchors", "anchors.json")],
        inputs_sha256: Some("5f".repeat(32)),
    }
}

fn then(command: &str) -> Next {
    Next::run(&CommandLine::new(command))
}

/// Each report has one line of where it comes from, near its top, and ends with what to do.
fn has_head_and_end(text: &str) {
    let made = "Made: 2026-03-01T12:00:00Z by anchor-verify 0.1.0 (01234567) from 2 inputs";
    let at = text.lines().position(|line| line == made);
    // A verdict of some lines may stand before it.
    assert!(at.is_some_and(|at| at < 6), "{text}");
    let next = text.rfind("\nNEXT: ").unwrap_or_else(|| panic!("{text}"));
    assert!(text[next + 1..].lines().count() <= 4, "{text}");
}

fn contracts(streams: usize) -> Vec<ContractSummary> {
    let of = |n: usize| StreamAnchors {
        stream: Some(stream(n)),
        tenant_store_key: tenant_store_key(&stream(n)),
        anchors: 20,
        ranges: match is_bad(n) {
            true => vec![(1, 40), (49, 96), (105, 160), (169, 176)],
            false => vec![(1, 160)],
        },
    };
    [
        (AnchorKind::StateSetAnchor, 0x5f),
        (AnchorKind::SetRegistry, 0xe7),
    ]
    .map(|(kind, byte)| ContractSummary {
        contract: ContractAddress([byte; 20]),
        kind,
        anchors: 20 * streams,
        streams: (0..streams).map(of).collect(),
    })
    .into()
}

fn refused(n: usize) -> RefusedLog {
    RefusedLog {
        source: "logs_StateSetAnchor_CommitmentAnchored.json".into(),
        what: Saved::Log,
        index: n,
        why: "eventCount is 9, and 9 to 16 are 8".into(),
    }
}

fn fetched(count: usize) -> fetch::Document {
    fetch::Document {
        schema: "anchors-fetch/1",
        out: "anchors.json".into(),
        rpc: "http://127.0.0.1:8545".into(),
        chain_id: Some(84_532),
        checkpoint: Checkpoint {
            number: 12_345_678,
            hash: Hash32([0xab; 32]),
        },
        anchors: 40 * count,
        new: 20 * count,
        contracts: contracts(count),
        proved: Proved {
            both: 39 * count,
            receipt: count,
            ..Proved::default()
        },
        reorg: (count == 4).then(|| Reorg {
            common: Some(12_345_600),
            from: 12_345_601,
            was: Hash32([1; 32]),
            is: Some(Hash32([2; 32])),
            dropped: Vec::new(),
            again: 0,
        }),
        refused: (0..count / 4).map(refused).collect(),
        completeness: Completeness::without_anchors(),
        silent: Vec::new(),
        notes: vec!["the node answers for at most 2000 blocks at once".into()],
        not_checked: vec!["that block 12345678 is on the chain that you trust".into()],
        provenance: made(),
        next: then("anchor-verify lint anchors.json"),
    }
}

#[test]
fn a_fetch_fits_the_screen() {
    snapshots("fetch", fetched, |out, document| {
        fetch::print_table(out, document)
    });
    has_head_and_end(&printed(false, |out| fetch::print_table(out, &fetched(50))));
}

#[test]
fn an_import_fits_the_screen() {
    let document = |count: usize| import::Document {
        schema: "anchors-import/1",
        out: "anchors.json".into(),
        chain_id: None,
        contracts: contracts(count),
        conflicts: Vec::new(),
        refused: (0..count / 4).map(refused).collect(),
        not_read: Vec::new(),
        passed_over: vec![import::NotRead {
            path: "anchors.json".into(),
            why: "is the toolkit's own (anchors/2), not what a node answered".into(),
        }],
        totals: import::Totals {
            logs: 41 * count,
            anchors: 40 * count,
            refused: count / 4,
            headers: 151,
            receipts: 33,
            repeated: count,
            ..import::Totals::default()
        },
        problems: Vec::new(),
        not_checked: vec!["that the logs are on the chain: no block was tied to a trusted block hash".into()],
        provenance: made(),
        next: then("anchor-verify lint anchors.json"),
    };
    snapshots("import", document, |out, document| {
        import::print_table(out, document)
    });
    has_head_and_end(&printed(false, |out| import::print_table(out, &document(50))));
}

#[test]
fn a_bundle_is_told_in_a_few_lines() {
    let report = |count: usize| bundle::Report {
        schema: "bundle-report/1",
        place: None,
        out: "audit.vesbundle".into(),
        bytes: 81_234 * count as u64,
        redacted: count == 4,
        counts: BundleContents {
            log: ExportCounts {
                keys: 12,
                streams: count as u64,
                commitments: 20 * count as u64,
                events: 163 * count as u64,
                unreadable: u64::from(count == 50),
            },
            anchors: 20 * count as u64,
        },
        completeness: Completeness::without_anchors(),
        not_checked: vec!["what is in the bundle: `anchor-verify verify` does that".into()],
        provenance: made(),
        next: then("anchor-verify verify audit.vesbundle"),
    };
    snapshots("bundle", report, |out, report| bundle::print_table(out, report));
    has_head_and_end(&printed(false, |out| bundle::print_table(out, &report(50))));
}

#[test]
fn a_proof_and_its_check_are_told_in_a_few_lines() {
    let report = prove::Report {
        schema: "prove-report/1",
        place: None,
        out: "proof.json".into(),
        stream: stream(1),
        sequence_number: 12,
        batch_id: BatchId(id(3, 1)),
        leaf_index: 3,
        range: (9, 16),
        steps: 3,
        not_checked: vec![
            "that the anchor is on the chain; `anchor-verify check` says what the proof is worth".into(),
        ],
        provenance: made(),
        next: then("anchor-verify check proof.json"),
    };
    let text = printed(false, |out| prove::print_table(out, &report));
    insta::assert_snapshot!("prove", text);
    has_head_and_end(&text);

    let checked = |verdict: Verdict, failures: Vec<Failure>| ProofCheck {
        verdict,
        stream: stream(1),
        sequence_number: 12,
        event_signing_hash: Hash32([0x5e; 32]),
        event_id: None,
        batch_id: BatchId(id(3, 1)),
        why: (verdict == Verdict::MatchesAnchors).then(|| "no trusted block was given".into()),
        ties_nothing: None,
        failures,
        not_checked: vec!["the event itself: the proof holds its hash only".into()],
    };
    let failure = Failure {
        code: "anchor.root".into(),
        sequence: None,
        event_id: None,
        what: "the path from the leaf leads to another root than the anchored one".into(),
    };
    for (name, check, next) in [
        (
            "proven",
            checked(Verdict::Proven, Vec::new()),
            "the event is proven to be at its place",
        ),
        (
            "matches",
            checked(Verdict::MatchesAnchors, Vec::new()),
            "the proof ties its anchor to no block that you trust: ask for one that does",
        ),
        (
            "failed",
            checked(Verdict::Failed, vec![failure]),
            "the proof does not hold: ask for a sound one",
        ),
    ] {
        let completeness = Completeness::without_anchors();
        let document = check::Document {
            schema: "check-report/1",
            proof: "proof.json".into(),
            check: &check,
            completeness: &completeness,
            provenance: made(),
            next: &Next::nothing(next),
        };
        let text = printed(false, |out| check::print_table(out, &document));
        insta::assert_snapshot!(format!("check_{name}"), text);
        has_head_and_end(&text);
    }
}

#[test]
fn joined_and_signed_reports_say_whose_they_are() {
    let joined = |count: usize| {
        let mut report = verification(count);
        report.provenance = Some(made());
        report.next = Some(merge::after_merge(&report));
        report
    };
    let print = |out: &mut Output<&mut Vec<u8>>, report: &VerifyReport| {
        verify::print_table(out, report)?;
        report.next.as_ref().unwrap().print(out)
    };
    snapshots("merge", joined, print);
    has_head_and_end(&printed(false, |out| print(out, &joined(50))));

    let key = Hash32([0xed; 32]);
    let next = then("anchor-verify check-report signed.json --public-key ed25519.pub");
    let text = printed(false, |out| {
        attest::print_signed(out, Path::new("signed.json"), &key, (&made(), &next))
    });
    insta::assert_snapshot!("attest", text);
    has_head_and_end(&text);

    let next = Next::nothing("the signature holds");
    snapshots("check_report", verification, |out, report| {
        attest::print_checked(out, &key, report, (&made(), &next))
    });
    has_head_and_end(&printed(false, |out| {
        attest::print_checked(out, &key, &verification(50), (&made(), &next))
    }));
    // Asked for all, every file is there with its hash.
    let all = printed(true, |out| super::print_provenance(out, &made()));
    let hash = "5f".repeat(32);
    assert!(
        all.contains("db log.db: SHA-256") && all.matches(&hash).count() == 2,
        "{all}"
    );
}
