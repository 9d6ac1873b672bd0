//! How far the sequencer had migrated its database: a recovery to a point in time can land before a migration.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The sequencer's migrations by name, the first of level 1.
const MIGRATIONS: [&str; 16] = [
    "001_production_postgres",
    "002_ves_v1_tables",
    "003_constraints",
    "004_ves_validity_proofs",
    "005_ves_compliance_proofs",
    "006_key_rotation_policies",
    "007_encryption_groups",
    "008_command_dedupe",
    "009_api_keys",
    "010_ves_sequence_counters",
    "011_x402_payments",
    "012_ves_compliance_proofs_witness_commitment",
    "013_widen_entity_versions_receipt_key_version",
    "014_widen_event_identifier_columns",
    "015_pqc_key_algorithm",
    "016_x402_nonce_ttl",
];

/// The newest level that this program knows.
const NEWEST: u32 = 16;

/// The first level that has the tables of the VES log.
pub(crate) const OLDEST: u32 = 2;

/// The first level that has every table and column that a repair writes.
const WRITABLE: u32 = 15;

/// What a table, a column or an index says about the level: it is there from that level on, and not before.
pub(crate) struct Marker {
    pub(crate) since: u32,
    pub(crate) relation: &'static str,
    pub(crate) column: Option<&'static str>,
    /// Whether a log of that level can be without it: it is of no interest here, and only tells two levels apart.
    pub(crate) optional: bool,
}

const fn marker(since: u32, relation: &'static str, column: Option<&'static str>, optional: bool) -> Marker {
    Marker {
        since,
        relation,
        column,
        optional,
    }
}

/// What tells the levels apart, in order. Level 14 made columns wider: see [`Level::WIDE`].
pub(crate) static MARKERS: [Marker; 15] = [
    marker(1, "events", None, false),
    marker(2, "ves_events", None, false),
    marker(3, "ux_ves_commitments_stream_start", None, true),
    marker(4, "ves_validity_proofs", None, true),
    marker(5, "ves_compliance_proofs", None, true),
    marker(6, "agent_signing_keys", Some("expires_at"), true),
    marker(7, "agent_encryption_keys", None, true),
    marker(8, "ves_command_dedupe", None, false),
    marker(9, "api_keys", None, true),
    marker(10, "ves_sequence_counters", None, false),
    marker(11, "x402_sequence_counters", None, true),
    marker(12, "ves_compliance_proofs", Some("witness_commitment"), true),
    marker(13, "ves_sequencer_receipts", Some("sequencer_key_version"), false),
    marker(15, "ves_events", Some("agent_signature_scheme"), false),
    marker(16, "idx_x402_nonce_created_at", None, true),
];

/// How the level is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LevelSource {
    /// From the table in which the sequencer's migrator keeps what it ran.
    Migrations,
    /// From the tables, columns and indexes that are there: that table is not, or cannot be read.
    Tables,
}

/// The level of a log: how many of the sequencer's migrations were run on its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// The newest migration that was run.
    pub number: u32,
    /// How that is known.
    pub from: LevelSource,
    /// A migration that the migrator says it began and did not end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<u32>,
    /// The newest level that it may be of, where what is there does not tell: what would is not in the database.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub up_to: Option<u8>,
}

/// The table whose index came with level 16: without it, that level looks as the one before.
pub(crate) const NONCES: &str = "x402_nonce_tracking";

impl Level {
    /// The newest level that this program knows.
    pub const NEWEST: u32 = NEWEST;

    /// `ves_events.entity_type` is at least so wide…
    pub(crate) const WIDE: i64 = 128;

    /// …from this level on.
    pub(crate) const WIDE_SINCE: u32 = 14;

    /// Whether a repair can be written.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.number >= WRITABLE && self.failed.is_none_or(|failed| failed > WRITABLE)
    }

    /// Whether it is of a sequencer that is newer than what this program knows.
    #[must_use]
    pub fn is_newer(&self) -> bool {
        self.number > NEWEST
    }

    /// The migrations that must be run before a repair can be written, by name, in order.
    #[must_use]
    pub fn pending(&self) -> Vec<&'static str> {
        let done = usize::try_from(self.number).unwrap_or(usize::MAX);
        let needed = usize::try_from(WRITABLE).unwrap_or(usize::MAX);
        MIGRATIONS.iter().take(needed).skip(done).copied().collect()
    }

    /// Why nothing can be written, and what to do; `None` if it can.
    #[must_use]
    pub fn refusal(&self) -> Option<String> {
        if self.is_writable() {
            return None;
        }
        let how = "with the sequencer stopped for everybody else (it migrates when it starts)";
        Some(match (self.failed, self.pending().as_slice()) {
            (Some(failed), _) => format!(
                "migration {failed} of the sequencer was begun and not ended ({self}): bring it to an end first"
            ),
            (None, pending) => format!(
                "the log is of {self}, and can be repaired from level {WRITABLE} on: first run the sequencer's \
                 migration(s) {}, {how}",
                pending.join(", ")
            ),
        })
    }

    /// What one should know who migrates this log: `None` if nothing.
    #[must_use]
    pub fn advice(&self) -> Option<&'static str> {
        (self.number < 10).then_some(
            "migration 010_ves_sequence_counters begins the counters of VES streams at their highest event, not at \
             what sequence_counters gave out: repair, or raise them with `sequencer-recovery counters`, before the \
             sequencer takes events again",
        )
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "level {}", self.number)?;
        if let Some(up_to) = self.up_to {
            write!(f, " or {up_to}")?;
        }
        match self.from {
            LevelSource::Migrations => f.write_str(" (by _sqlx_migrations)"),
            LevelSource::Tables => f.write_str(" (by the tables that are there)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_says_what_must_be_run_before_it_can_be_written() {
        let level = |number, failed| Level {
            number,
            from: LevelSource::Tables,
            failed,
            up_to: None,
        };
        assert_eq!(level(16, None).refusal(), None);
        assert_eq!(level(15, None).refusal(), None);
        assert_eq!(level(17, None).refusal(), None);
        assert_eq!(level(9, None).pending().len(), 6);
        let refusal = level(9, None).refusal().unwrap();
        for name in ["level 9", "010_ves_sequence_counters", "015_pqc_key_algorithm"] {
            assert!(refusal.contains(name), "{refusal}");
        }
        assert!(
            !refusal.contains("009_") && !refusal.contains("016_"),
            "{refusal}"
        );
        assert!(level(12, Some(13)).refusal().unwrap().contains("migration 13"));
        assert!(level(15, Some(16)).is_writable());
        assert!(level(9, None).advice().is_some() && level(10, None).advice().is_none());
    }

    #[test]
    fn the_names_of_the_migrations_are_in_their_order() {
        for (number, name) in (1..).zip(MIGRATIONS) {
            assert!(name.starts_with(&format!("{number:03}_")), "{name}");
        }
        assert!(MARKERS.is_sorted_by_key(|marker| marker.since));
    }
}
