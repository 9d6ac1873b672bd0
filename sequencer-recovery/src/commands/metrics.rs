//! What audits and drills that a timer runs tell Prometheus. Names and meanings: docs/cadence.md.

use cli_common::metrics::{MetricKind, Metrics, now};
use sequencer_recovery::dr_report::{DrReport, PassFail};
use sequencer_recovery::report::audit::AuditReport;

fn gauge(page: &mut Metrics, name: &str, help: &str, value: f64) {
    page.one(name, MetricKind::Gauge, help, value);
}

/// Of an audit.
pub(super) fn of_audit(report: &AuditReport) -> Metrics {
    let mut page = Metrics::default();
    let totals = &report.totals;
    for (name, help, value) in [
        ("sequencer_audit_streams", "Streams.", totals.streams),
        (
            "sequencer_audit_events",
            "Events that the log has.",
            totals.events,
        ),
        (
            "sequencer_audit_missing_events",
            "Numbers without an event.",
            totals.missing,
        ),
        (
            "sequencer_audit_problems",
            "Findings that are problems.",
            totals.problems,
        ),
        (
            "sequencer_audit_notices",
            "Findings that are notices.",
            totals.notices,
        ),
    ] {
        gauge(&mut page, name, help, value as f64);
    }
    let batches = &totals.batches;
    let verdicts = [
        ([("verdict", "matches_anchors")], batches.matches_anchors as f64),
        ([("verdict", "matches_database")], batches.matches_database as f64),
        ([("verdict", "failed")], batches.failed as f64),
        ([("verdict", "not_checked")], batches.not_checked as f64),
    ];
    let values = verdicts.iter().map(|(labels, value)| (&labels[..], *value));
    page.family(
        "sequencer_audit_batches",
        MetricKind::Gauge,
        "Batches by verdict.",
        values,
    );
    gauge(
        &mut page,
        "sequencer_audit_timestamp_seconds",
        "When it ended.",
        now(),
    );
    page
}

/// Of a drill.
pub(super) fn of_drill(report: &DrReport) -> Metrics {
    let mut page = Metrics::default();
    let passed = f64::from(u8::from(report.result == PassFail::Pass));
    gauge(
        &mut page,
        "sequencer_drill_passed",
        "Whether every check held.",
        passed,
    );
    let restored = report.events.restored as f64;
    gauge(
        &mut page,
        "sequencer_drill_restored_events",
        "Events that were brought back.",
        restored,
    );
    for (name, help, value) in [
        (
            "sequencer_drill_lost_events",
            "Events that the recovery lost.",
            report.events.lost,
        ),
        (
            "sequencer_drill_unresolved_events",
            "Events that were not brought back.",
            report.events.unresolved,
        ),
    ] {
        if let Some(value) = value {
            gauge(&mut page, name, help, value as f64);
        }
    }
    if let Some(seconds) = report.objectives.rto.seconds_reached {
        gauge(
            &mut page,
            "sequencer_drill_recovery_seconds",
            "How long the recovery took.",
            seconds,
        );
    }
    gauge(
        &mut page,
        "sequencer_drill_timestamp_seconds",
        "When it ended.",
        now(),
    );
    page
}
