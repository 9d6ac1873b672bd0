//! What is printed of checkpoints, and of proofs under them.

use crate::checkpointed::CheckpointFinding;
use crate::checkpointed::proof::{TlogCheck, TlogVerdict};
use crate::checkpointed::report::{CheckpointsReport, Keys, Latest, LogReport, StreamReport, Witnessed};
use crate::verify::report::Checkpointed;
use ves::Timestamp;

use super::*;
use crate::commands::check::under_checkpoint as checked;
use crate::commands::checkpoints;
use crate::commands::prove::under_checkpoint as proved;

const LOG: &str = "orders.example.com+8a7b6c5d";

fn stream_report(n: usize) -> StreamReport {
    let bad = is_bad(n);
    let witnesses = match n % 3 {
        0 => Vec::new(),
        _ => vec![Witnessed {
            key: "witness.example/1+0badcafe".into(),
            time: 1_795_000_000,
        }],
    };
    StreamReport {
        stream: stream(n),
        deployment: "orders.example.com".into(),
        generation: Some(1),
        latest: Some(Latest {
            size: 163,
            root: Hash32([5; 32]),
            time: Some(Timestamp(1_795_000_000_123_456)),
            signed_by: LOG.into(),
            witnesses,
        }),
        checkpoints: 9,
        contested: 0,
        leaves: 163,
        generations: Vec::new(),
        log: Some(LogReport {
            reached: 163,
            matches: Some(160),
            matching: 8,
            mismatching: u64::from(bad),
            beyond: 0,
            leaves_compared: 163,
            first_difference: bad.then_some(161),
        }),
        anchors: None,
        bad,
    }
}

fn report(count: usize) -> CheckpointsReport {
    let finding = |n: usize| CheckpointFinding {
        code: Code::CheckpointMismatch,
        severity: Code::CheckpointMismatch.severity(),
        stream: Some(stream(n)),
        origin: None,
        from: Some(161),
        to: Some(163),
        places: Vec::new(),
        message:
            "the first 163 events of the log have another root than the checkpoint (a.checkpoints, line 81)"
                .into(),
    };
    let findings: Vec<CheckpointFinding> = (0..count).filter(|n| is_bad(*n)).map(finding).collect();
    CheckpointsReport {
        files: vec!["a.checkpoints".into(), "b.checkpoints".into()],
        entries: 9 * count as u64,
        keys: Keys {
            logs: vec![LOG.into()],
            witnesses: Vec::new(),
            least_witnesses: 0,
        },
        log: Some("log.db".into()),
        place: None,
        streams: (0..count).map(stream_report).collect(),
        problems: findings.len(),
        notices: 0,
        findings,
        not_checked: (0..count)
            .map(|n| {
                format!(
                    "stream {}: 3 number(s) after the last checkpoint (164 to 166)",
                    stream(n)
                )
            })
            .collect(),
    }
}

#[test]
fn checkpoints_are_told_with_the_worst_first_and_on_whose_word_they_are() {
    let print = |out: &mut Output<&mut Vec<u8>>, report: &CheckpointsReport| {
        checkpoints::print_table(
            out,
            &checkpoints::Document {
                schema: "checkpoints-report/1",
                report,
                provenance: made(),
                next: then("sequencer-recovery audit --db log.db"),
            },
        )
    };
    snapshots("checkpoints", report, print);
    has_head_and_end(&printed(false, |out| print(out, &report(50))));
}

#[test]
fn what_is_checkpointed_behind_the_batches_is_a_line_for_each_stream() {
    let of = |count: usize| {
        let mut report = verification(count);
        for (n, stream) in report.streams.iter_mut().enumerate() {
            stream.checkpointed = (n % 5 != 4).then(|| Checkpointed {
                to: 162,
                root: Hash32([5; 32]),
                origin: format!("orders.example.com/{}/g1", stream.stream),
                time: Some(Timestamp(1_795_000_000_123_456)),
                word: format!("signed by {LOG} alone"),
                matching: 9,
            });
        }
        report
    };
    let text = printed(false, |out| verify::print_table(out, &of(4)));
    insta::assert_snapshot!("verify_checkpointed", text);
    let many = printed(false, |out| verify::print_table(out, &of(10_000)));
    assert!(many.lines().count() <= 2 * SCREEN, "{many}");
}

#[test]
fn a_proof_under_a_checkpoint_and_its_check_name_the_word_that_they_rest_on() {
    let report = proved::Report {
        schema: "checkpoint-prove-report/1",
        place: None,
        out: "event.tlog-proof".into(),
        stream: stream(1),
        sequence_number: 162,
        origin: format!("orders.example.com/{}/g1", stream(1)),
        size: 163,
        root: Hash32([5; 32]),
        word: format!("signed by {LOG} alone"),
        steps: 8,
        not_checked: Vec::new(),
        provenance: made(),
        next: then("anchor-verify check event.tlog-proof --checkpoint-key orders.vkey"),
    };
    let text = printed(false, |out| proved::print_table(out, &report));
    insta::assert_snapshot!("prove_checkpointed", text);
    has_head_and_end(&text);
    let check = TlogCheck {
        verdict: TlogVerdict::Checkpointed,
        origin: report.origin.clone(),
        stream: stream(1),
        sequence_number: 162,
        size: 163,
        root: Hash32([5; 32]),
        time: Some(Timestamp(1_795_000_000_123_456)),
        word: Some(report.word.clone()),
        leaf: Some(Hash32([6; 32])),
        event_signing_hash: Some(Hash32([0x5e; 32])),
        event_id: None,
        failures: Vec::new(),
        not_checked: vec!["agent signature: the agent's public key was not given".into()],
    };
    let failed = TlogCheck {
        verdict: TlogVerdict::Failed,
        word: None,
        failures: vec![Failure {
            code: "checkpoint.signature".into(),
            sequence: None,
            event_id: None,
            what: format!("the checkpoint does not count: the signature of {LOG} does not hold"),
        }],
        ..check.clone()
    };
    for (name, check) in [("holds", check), ("failed", failed)] {
        let document = checked::Document {
            schema: "checkpoint-check-report/1",
            proof: "event.tlog-proof".into(),
            check: &check,
            provenance: made(),
            next: Next::nothing("the event is at its place, on the word that is named"),
        };
        let text = printed(false, |out| checked::print_table(out, &document));
        insta::assert_snapshot!(format!("check_checkpointed_{name}"), text);
        has_head_and_end(&text);
    }
}
