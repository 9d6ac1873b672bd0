//! Whether a plan helps against what an audit found.

use event_log::JournalState;

use super::audit::AuditReport;
use crate::finding::{Code, Finding};

/// What a plan puts right whatever witnesses hold.
const MENDED: [Code; 8] = [
    Code::CounterBehind,
    Code::CounterMissing,
    Code::ReceiptMissing,
    Code::DedupeOrphan,
    Code::DedupeMissing,
    Code::VersionDrift,
    Code::ProjectionAhead,
    Code::Reissue,
];

impl AuditReport {
    /// Whether a plan would put something right.
    pub fn plan_helps(&self) -> bool {
        let held = self.heard.iter().any(|h| h.missing_held > 0);
        let (missing, mended) = (self.totals.missing > 0, self.any_of(&MENDED));
        if self.was_applied() && missing && !mended {
            return false;
        }
        mended || self.any_of(&[Code::CommitmentMissing]) || (missing && held)
    }

    /// Whether a plan was applied, and not taken back since. To raise counters is none.
    pub fn was_applied(&self) -> bool {
        let newest = self.journal.first();
        newest.is_some_and(|e| e.state == JournalState::Applied && !e.counts.counters_only)
    }

    /// Whether one of these was found in the VES log.
    fn any_of(&self, codes: &[Code]) -> bool {
        let of_ves = |f: &&Finding| f.family.is_none();
        self.findings
            .iter()
            .filter(of_ves)
            .any(|f| codes.contains(&f.code))
    }
}
