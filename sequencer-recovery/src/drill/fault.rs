//! What can go wrong in a drill besides the loss, by name. docs/drill.md says what must come of each.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use fixtures::WorldSpec;

/// Something that goes wrong besides the loss.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DrillFault {
    /// The outboxes of two more agents are gone.
    LostAgent,
    /// Agents note wrong numbers, and many of them.
    WrongClaims,
    /// Payloads in outboxes were altered after they were signed.
    TamperedOutbox,
    /// The counters stand behind the log's own events.
    RewoundCounter,
    /// The sequencer ran after the restore, gave numbers out again and committed over them.
    RanOn,
    /// No anchors can be had.
    MissingAnchors,
    /// The operator revoked an agent's key after the restore.
    RevokedKey,
    /// The log was recovered to a time before the sequencer's last migration.
    BeforeMigration,
    /// The log is recovered to the same point a second time, after the first repair.
    SecondRecovery,
}

impl DrillFault {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::LostAgent,
        Self::WrongClaims,
        Self::TamperedOutbox,
        Self::RewoundCounter,
        Self::RanOn,
        Self::MissingAnchors,
        Self::RevokedKey,
        Self::BeforeMigration,
        Self::SecondRecovery,
    ];

    /// Its name on the command line and in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::LostAgent => "lost-agent",
            Self::WrongClaims => "wrong-claims",
            Self::TamperedOutbox => "tampered-outbox",
            Self::RewoundCounter => "rewound-counter",
            Self::RanOn => "ran-on",
            Self::MissingAnchors => "missing-anchors",
            Self::RevokedKey => "revoked-key",
            Self::BeforeMigration => "before-migration",
            Self::SecondRecovery => "second-recovery",
        }
    }

    /// What of the fault is in the world itself; the rest is done to the log while the drill runs.
    pub(super) fn change(self, spec: &mut WorldSpec) {
        match self {
            Self::LostAgent => spec.lost_outboxes += 2,
            Self::WrongClaims => {
                spec.wrong_claim_rate = 0.5;
                spec.rejected_rate = 0.3;
            }
            Self::TamperedOutbox => spec.tampered_rows = (spec.events() / 10).max(4),
            Self::RewoundCounter => spec.counters_behind = 5,
            Self::RanOn => {
                spec.reissued_per_stream = 4;
                spec.repushed_per_stream = 2;
                spec.reissue_commits = true;
            }
            Self::RevokedKey => spec.revoked_key = true,
            Self::MissingAnchors | Self::BeforeMigration | Self::SecondRecovery => {}
        }
    }
}

/// Why these faults cannot be drilled together, or not in this drill; `None` if they can.
pub(super) fn contradiction(faults: &BTreeSet<DrillFault>, on_a_server: bool) -> Option<String> {
    let both = |a: DrillFault, b: DrillFault| faults.contains(&a) && faults.contains(&b);
    if both(DrillFault::RanOn, DrillFault::RewoundCounter) {
        return Some("a sequencer whose counters stand behind its events cannot run on: it fails".into());
    }
    if both(DrillFault::RanOn, DrillFault::MissingAnchors) {
        return Some("which of two histories is the promised one cannot be told without anchors".into());
    }
    if both(DrillFault::RanOn, DrillFault::BeforeMigration) {
        return Some("a sequencer that runs on has migrated its database first".into());
    }
    if faults.contains(&DrillFault::BeforeMigration) && !on_a_server {
        return Some("a snapshot file has no migrations: it needs --pitr".into());
    }
    None
}

impl fmt::Display for DrillFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for DrillFault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|fault| fault.as_str() == text);
        found.ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|fault| fault.as_str()).collect();
            format!("{text:?} is not one of {}", names.join(", "))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        for fault in DrillFault::ALL {
            assert_eq!(fault.to_string().parse(), Ok(fault));
        }
        assert!("fire".parse::<DrillFault>().unwrap_err().contains("ran-on"));
    }

    #[test]
    fn what_cannot_be_drilled_together_is_told() {
        let told = |faults: &[DrillFault], server| contradiction(&faults.iter().copied().collect(), server);
        assert!(told(&[DrillFault::RanOn, DrillFault::RewoundCounter], true).is_some());
        assert!(
            told(&[DrillFault::BeforeMigration], false)
                .unwrap()
                .contains("--pitr")
        );
        assert_eq!(told(&[DrillFault::BeforeMigration], true), None);
        assert_eq!(
            told(&[DrillFault::LostAgent, DrillFault::WrongClaims], false),
            None
        );
    }
}
