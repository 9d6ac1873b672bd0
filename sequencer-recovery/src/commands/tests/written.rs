//! Of commands that write a file, what they print beside it.

#![allow(
    clippy::redundant_closure,
    reason = "a function alone is not general enough over the lifetime of what it writes to"
)]

use std::path::Path;

use event_log::{AllLeftOut, LeftOut};
use sequencer_recovery::damage::NotPlanned;
use sequencer_recovery::dr_report::{
    Check, DrReport, EventCounts, Integrity, Objectives, PassFail, Phase, RecoveryPoint, RecoveryTime,
    ReportKind, Scenario, StreamOutcome, Versions,
};
use sequencer_recovery::finding::{Code, Finding};
use sequencer_recovery::report::loss::LossCertificate;
use ves::{Hash32, Timestamp};

use super::super::{certify, drill, epoch, export, snapshot};
use super::{finding, place, snapshots, stream};

#[test]
fn a_certificate_is_told_in_a_few_lines() {
    let report = |count: usize| LossCertificate {
        schema: "recovery-loss/1".into(),
        plan_id: Hash32([7; 32]),
        made_at: Timestamp(0),
        tool: "sequencer-recovery".into(),
        provenance: None,
        db: "the log".into(),
        place: None,
        accept: "receipted".into(),
        evidence_searched: Vec::new(),
        incomplete: Vec::new(),
        lost: 19 * count as u64,
        undecided: 115,
        filled: 4,
        streams: Vec::new(),
        not_planned: (0..count)
            .map(|n| NotPlanned {
                stream: stream(n),
                why: "an index of it lacks 3 rows: REINDEX INDEX ves_events_pkey".into(),
            })
            .collect(),
    };
    let path = Path::new("losses.json");
    snapshots("certify", report, |out, report| {
        certify::print_table(out, report, path)
    });
}

#[test]
fn what_a_copy_lacks_is_short() {
    let left_out = |count: usize| AllLeftOut {
        count: count as u64,
        rows: (0..count)
            .map(|n| LeftOut {
                in_part: n % 2 == 1,
                duplicate: false,
                table: "ves_events".into(),
                tenant_id: Some(stream(n).tenant_id),
                store_id: Some(stream(n).store_id),
                sequence_number: Some(n as u64 + 1),
                what: "payload: the row cannot be read: missing chunk number 0 for toast value 16412".into(),
            })
            .collect(),
        duplicates: Vec::new(),
    };
    let findings = |count: usize| -> Vec<Finding> {
        let damaged = |n| finding(Code::EventUnreadable, n, "1 row(s) cannot be read").range(7, 7);
        (0..count).map(damaged).collect()
    };
    let copied = |count: usize| snapshot::Report {
        schema: "recovery-snapshot/1",
        db: "postgres://operator@db.internal:5432/sequencer".into(),
        place: place(),
        out: "log.db".into(),
        tables: [("ves_events", Some(8_150)), ("x402_payment_intents", None)]
            .map(|(table, rows)| snapshot::Copied { table, rows })
            .into(),
        left_out: left_out(count),
        findings: findings(count),
        not_checked: vec!["the older events log".into()],
    };
    snapshots("snapshot", copied, |out, report| {
        snapshot::print_table(out, report)
    });
    let exported = |count: usize| export::Report {
        schema: "recovery-export/1",
        db: "postgres://operator@db.internal:5432/sequencer".into(),
        place: place(),
        out: "log.ndjson".into(),
        events: 8_150,
        unreadable: count as u64,
        findings: findings(count),
        not_checked: Vec::new(),
    };
    snapshots("export", exported, |out, report| export::print_table(out, report));
}

#[test]
fn an_epoch_names_where_nothing_may_be_committed() {
    let report = |count: usize| epoch::Report {
        schema: "recovery-epoch-report/1",
        out: "epoch.json".into(),
        signed: count > 4,
        open: (0..count)
            .map(|n| {
                format!(
                    "{}: 36 number(s) between 193 and 228 are open: commit nothing across them",
                    stream(n)
                )
            })
            .collect(),
        generations: Vec::new(),
    };
    snapshots("epoch", report, |out, report| epoch::print_table(out, report));
}

#[test]
fn a_drill_tells_what_did_not_hold() {
    let report = |count: usize| DrReport {
        schema: "dr-report/2".into(),
        kind: ReportKind::Drill,
        id: "pitr-090000".into(),
        scenario: Scenario {
            name: "pitr".into(),
            backup: Some("pgbackrest 2.45".into()),
            faults: vec!["ran-on".into(), "revoked-key".into()],
            seed: Some(1),
            timelines: Some((1, 2)),
            ..Scenario::default()
        },
        versions: Versions {
            tool: "sequencer-recovery".into(),
            server: Some("PostgreSQL 15.18".into()),
            ..Versions::default()
        },
        started_at: Timestamp(0),
        ended_at: Timestamp(0),
        result: PassFail::Fail,
        exit_status: 4,
        phases: [("restore", Some(0.1)), ("audit", Some(1.0)), ("apply", None)]
            .map(|(name, target_seconds)| Phase {
                name: name.into(),
                component: "sequencer-recovery".into(),
                started_at: Timestamp(0),
                ended_at: Timestamp(0),
                seconds: 0.25,
                target_seconds,
                met: target_seconds.map(|target| target > 0.25),
            })
            .into(),
        events: EventCounts {
            before: Some(400),
            lost: Some(148),
            restored: 140,
            unresolved: Some(8),
            held_by_nobody: Some(5),
            misplaced: Some(0),
            ..EventCounts::default()
        },
        objectives: Objectives {
            rto: RecoveryTime::new(Some(12.5), Some(10.0)),
            rpo: RecoveryPoint {
                seconds_before_repair: Some(1_800.0),
                events_before_repair: Some(148),
                seconds_reached: Some(60.0),
                events_reached: Some(8),
                ..RecoveryPoint::default()
            },
        },
        integrity: Integrity {
            positions_expected: Some(400),
            positions_present: Some(392),
            batches_matching_anchors: 44,
            batches_not_checked: 4,
            ..Integrity::default()
        }
        .rated(),
        checks: [
            ("every counter is at its floor or above", true),
            ("the repair is within the RTO", false),
        ]
        .map(|(name, passed)| Check {
            name: name.into(),
            passed,
            detail: "12.5 s of 10 s".into(),
        })
        .into(),
        streams: (0..count)
            .map(|n| StreamOutcome {
                stream: stream(n),
                head_before: Some(200),
                head_recovered: 163,
                head_repaired: 200,
                counter: Some(200),
                restored: 35,
                unresolved: 2,
                went_on_at: Some(201),
                no_commitment: Some("position 161, the first after the last commitment, is open".into()),
            })
            .collect(),
        manual_interventions: 0,
        interventions: Vec::new(),
        not_checked: vec!["how long yours takes: this world is small".into()],
    };
    snapshots("drill", report, |out, report| drill::print_table(out, report));
}
