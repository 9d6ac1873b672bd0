//! What the reports among an incident's evidence say, as far as the incident's own report needs it. Fields that are not
//! there are not known: other releases may have written these reports.

use std::collections::BTreeMap;

use serde::Deserialize;
use ves::{Hash32, StreamKey, Timestamp};

use crate::grade::Grade;
use crate::report::audit::BatchCounts;
use crate::stream::proof_reach::ProofTotals;

/// A report, by its `schema`.
#[derive(Debug, Clone)]
pub enum Report {
    /// `recovery-audit/1`.
    Audit(Box<Audit>),
    /// `recovery-plan-summary/1`.
    Plan(Plan),
    /// `recovery-apply/1`.
    Apply(Apply),
    /// `recovery-undone/1`.
    Undone(Undone),
    /// A loss certificate.
    Loss(Loss),
    /// `verify-report/1`.
    Verify(Verify),
    /// Of no concern here, or of another release.
    Other,
}

/// An audit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Audit {
    /// The log, without secrets.
    pub db: String,
    /// Sums.
    pub totals: AuditTotals,
    /// By stream.
    pub streams: Vec<AuditStream>,
    /// What was not checked.
    pub not_checked: Vec<String>,
}

/// Sums of an audit.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct AuditTotals {
    /// Events that the log had.
    pub events: u64,
    /// Positions that were missing.
    pub missing: u64,
    /// Problems found.
    pub problems: u64,
    /// Batches by verdict.
    pub batches: BatchCounts,
    /// How far proof reached; an older release did not say.
    pub proof: Option<ProofTotals>,
}

/// A stream in an audit.
#[derive(Debug, Clone, Deserialize)]
pub struct AuditStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Its last number.
    #[serde(default)]
    pub head: Option<u64>,
    /// Its counter.
    #[serde(default)]
    pub counter: Option<u64>,
    /// Positions that were missing.
    #[serde(default)]
    pub missing: u64,
    /// Which.
    #[serde(default)]
    pub gaps: Vec<Range>,
    /// The highest number that anybody knows.
    #[serde(default)]
    pub head_known: Option<HighestKnown>,
    /// When the last event before the first missing one was numbered.
    #[serde(default)]
    pub whole_until: Option<Timestamp>,
}

/// Positions, both ends included.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct Range {
    /// The first.
    pub from: u64,
    /// The last.
    pub to: u64,
}

/// The highest number that anybody knows.
#[derive(Debug, Clone, Deserialize)]
pub struct HighestKnown {
    /// The number.
    pub sequence: u64,
    /// Who knows it.
    #[serde(default)]
    pub who: String,
}

/// A plan's summary.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// Its id.
    pub plan_id: Option<Hash32>,
    /// By stream.
    pub streams: Vec<PlanStream>,
}

/// A stream in a plan.
#[derive(Debug, Clone, Deserialize)]
pub struct PlanStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Where events go back.
    #[serde(default)]
    pub goes_back: Vec<GoesBack>,
}

/// Positions that get their events back.
#[derive(Debug, Clone, Copy, Deserialize)]
pub struct GoesBack {
    /// The first.
    pub from: u64,
    /// The last (inclusive).
    pub to: u64,
    /// On what evidence.
    pub grade: Grade,
}

/// An apply.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Apply {
    /// The plan's id.
    pub plan_id: Option<Hash32>,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// By stream.
    pub streams: Vec<AppliedStream>,
}

/// A stream in an apply.
#[derive(Debug, Clone, Deserialize)]
pub struct AppliedStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// `applied`, `already_applied`, `failed`.
    #[serde(default)]
    pub status: String,
    /// Events put back.
    #[serde(default)]
    pub events: u64,
    /// Tombstones put in.
    #[serde(default)]
    pub tombstones: u64,
    /// Events that had no number before.
    #[serde(default)]
    pub appended: u64,
}

/// An undo.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Undone {
    /// The plan's id.
    pub plan_id: Option<Hash32>,
    /// By stream.
    pub streams: Vec<UndoneStream>,
}

/// A stream in an undo.
#[derive(Debug, Clone, Deserialize)]
pub struct UndoneStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// `undone`, `already_undone`, `refused`, `failed`.
    #[serde(default)]
    pub status: String,
}

/// A loss certificate.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Loss {
    /// Positions that nobody can fill.
    pub lost: u64,
    /// Positions without enough evidence.
    pub undecided: u64,
}

/// A verification against anchors.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct Verify {
    /// The weakest verdict.
    pub verdict: String,
}

impl Report {
    /// Reads a report.
    #[must_use]
    pub fn read(text: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Named {
            schema: Option<String>,
            certificate: Option<Loss>,
        }
        fn of<'d, T: Deserialize<'d>>(text: &'d [u8], report: fn(T) -> Report) -> Report {
            serde_json::from_slice(text).map_or(Report::Other, report)
        }
        let Ok(named) = serde_json::from_slice::<Named>(text) else {
            return Self::Other;
        };
        match (named.schema.as_deref(), named.certificate) {
            (Some("recovery-audit/1"), _) => of(text, Self::Audit),
            (Some("recovery-plan-summary/1"), _) => of(text, Self::Plan),
            (Some("recovery-apply/1"), _) => of(text, Self::Apply),
            (Some("recovery-undone/1"), _) => of(text, Self::Undone),
            (Some("verify-report/1"), _) => of(text, Self::Verify),
            (_, Some(loss)) => Self::Loss(loss),
            _ => Self::Other,
        }
    }
}

/// What repairs brought, as it stands after all that was applied and taken back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Brought {
    /// Events put back.
    pub restored: u64,
    /// Tombstones put in.
    pub tombstones: u64,
    /// Events that had no number before.
    pub appended: u64,
}

/// What was applied and not taken back, by plan and stream.
#[must_use]
pub fn applied<'r>(
    reports: impl IntoIterator<Item = &'r Report>,
) -> BTreeMap<(Option<Hash32>, StreamKey), Brought> {
    let mut done: BTreeMap<(Option<Hash32>, StreamKey), Brought> = BTreeMap::new();
    for report in reports {
        match report {
            Report::Apply(apply) if !apply.dry_run => {
                for s in apply.streams.iter().filter(|s| s.status == "applied") {
                    let here = done.entry((apply.plan_id, s.stream)).or_default();
                    here.restored = here.restored.saturating_add(s.events);
                    here.tombstones = here.tombstones.saturating_add(s.tombstones);
                    here.appended = here.appended.saturating_add(s.appended);
                }
            }
            Report::Undone(undone) => {
                for s in undone.streams.iter().filter(|s| s.status == "undone") {
                    done.remove(&(undone.plan_id, s.stream));
                }
            }
            _ => {}
        }
    }
    done
}

/// Sums up what was applied and not taken back.
#[must_use]
pub fn brought<'r>(reports: impl IntoIterator<Item = &'r Report>) -> Brought {
    applied(reports)
        .values()
        .fold(Brought::default(), |sum, here| Brought {
            restored: sum.restored.saturating_add(here.restored),
            tombstones: sum.tombstones.saturating_add(here.tombstones),
            appended: sum.appended.saturating_add(here.appended),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &serde_json::Value) -> Report {
        Report::read(value.to_string().as_bytes())
    }

    #[test]
    fn reports_are_known_by_their_schema() {
        let plan = "11".repeat(32);
        let stream = |status: &str, events: u64| {
            serde_json::json!({"tenant_id": "00000000-0000-4000-8000-000000000001",
                "store_id": "00000000-0000-4000-8000-000000000002", "status": status, "events": events, "appended": 1})
        };
        let apply = |dry_run: bool, status: &str| {
            read(
                &serde_json::json!({"schema": "recovery-apply/1", "plan_id": plan, "dry_run": dry_run,
                "streams": [stream(status, 5)]}),
            )
        };
        let undone = read(
            &serde_json::json!({"schema": "recovery-undone/1", "plan_id": plan,
            "streams": [stream("undone", 5)]}),
        );
        let five = Brought {
            restored: 5,
            tombstones: 0,
            appended: 1,
        };
        let of = |reports: &[&Report]| brought(reports.iter().copied());
        let (dry, done, again) = (
            apply(true, "applied"),
            apply(false, "applied"),
            apply(false, "already_applied"),
        );
        assert_eq!(of(&[&dry]), Brought::default());
        assert_eq!(of(&[&dry, &done, &again]), five);
        assert_eq!(of(&[&done, &undone]), Brought::default());
        assert_eq!(of(&[&done, &undone, &done]), five);
        assert!(matches!(
            read(&serde_json::json!({"certificate": {"lost": 3}})),
            Report::Loss(Loss { lost: 3, .. })
        ));
        for other in [
            "{}",
            "[1]",
            "{\"schema\": 7}",
            "{\"schema\": \"recovery-audit/2\"}",
            "not json",
        ] {
            assert!(matches!(Report::read(other.as_bytes()), Report::Other), "{other}");
        }
    }
}
