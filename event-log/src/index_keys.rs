//! The indexes that answers rest on, and the statements that tell what their tables have and what they have.

use crate::sql::{both, postgres};
use Sought::{Events, Ids, Numbers};

/// What is to be found, whatever indexes lack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sought {
    /// The numbers that streams have.
    Numbers,
    /// Events by their numbers, with receipts, keys, commitments and counters: what an [`Outline`](crate::Outline) tells of,
    /// and who reads on from there.
    Events,
    /// Events by their ids.
    Ids,
}

/// What an index is needed for: rows found by these columns.
pub(crate) struct Key {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static str,
    /// By the table: how many, and the sum of the keys' hashes.
    pub(crate) heap_sum: &'static str,
    /// The same by the index alone.
    pub(crate) index_sum: &'static str,
    pub(crate) heap_rows: &'static str,
    pub(crate) index_rows: &'static str,
    /// Counts keys that more than one row has, by the index alone, up to the first; of the tables that are large.
    pub(crate) repeated: Option<&'static str>,
    /// Rows that share the key, and how they differ; `None` if no judgement rests on there being one alone.
    pub(crate) twice: Option<&'static str>,
    /// The same where they cannot be compared.
    pub(crate) twice_bare: Option<&'static str>,
    /// Counts entries in the wrong order, where the order depends on a collation.
    pub(crate) disordered: Option<&'static str>,
    /// Without a unique index on it the sequencer does not work.
    pub(crate) needed: bool,
    /// What is found by it; nothing, for what is but kept beside the events.
    pub(crate) finds: &'static [Sought],
}

impl Key {
    /// The columns, in words.
    pub(crate) fn words(&self) -> String {
        self.columns.replace(',', ", ")
    }
}

macro_rules! key {
    ($name:literal, $table:literal, $columns:literal, $repeated:expr, $twice:expr, $bare:expr, $disordered:expr, $needed:expr, $finds:expr) => {
        Key {
            table: $table,
            columns: $columns,
            heap_sum: concat!(
                "SELECT COUNT(*), COALESCE(SUM(key), 0)::text FROM (\n",
                include_str!(concat!("../../sql/event-log/postgres/heap_", $name, ".sql")),
                ") AS given"
            ),
            index_sum: concat!(
                "SELECT COUNT(*), COALESCE(SUM(key), 0)::text FROM (\n",
                include_str!(concat!("../../sql/event-log/postgres/index_", $name, ".sql")),
                ") AS given"
            ),
            heap_rows: include_str!(concat!("../../sql/event-log/postgres/heap_", $name, ".sql")),
            index_rows: include_str!(concat!("../../sql/event-log/postgres/index_", $name, ".sql")),
            repeated: $repeated,
            twice: $twice,
            twice_bare: $bare,
            disordered: $disordered,
            needed: $needed,
            finds: $finds,
        }
    };
}

/// Every index that answers rest on: the first is that of the numbers.
#[rustfmt::skip]
pub(crate) static KEYS: &[Key] = &[
    key!("events_sequence", "ves_events", "tenant_id,store_id,sequence_number", Some(postgres!("repeated_events_sequence")),
        Some(both!("twice_events_sequence")), Some(both!("twice_events_sequence_bare")), None, true, &[Numbers, Events]),
    key!("events_id", "ves_events", "event_id", Some(postgres!("repeated_events_id")),
        Some(both!("twice_events_id")), Some(both!("twice_events_id_bare")), None, true, &[Ids]),
    key!("receipts", "ves_sequencer_receipts", "event_id", Some(postgres!("repeated_receipts")),
        Some(both!("twice_receipts")), None, None, true, &[Events]),
    key!("counters", "ves_sequence_counters", "tenant_id,store_id", None,
        Some(both!("twice_counters")), None, None, true, &[Events]),
    key!("commitments_id", "ves_commitments", "batch_id", None,
        Some(both!("twice_commitments_id")), None, None, false, &[Events]),
    key!("commitments_start", "ves_commitments", "tenant_id,store_id,sequence_start", None,
        Some(both!("twice_commitments_start")), None, None, false, &[Events]),
    // What looks for a batch's range may read this one.
    key!("commitments_range", "ves_commitments", "tenant_id,store_id,sequence_start,sequence_end", None,
        None, None, None, false, &[Events]),
    key!("dedupe", "ves_command_dedupe", "tenant_id,store_id,command_id", Some(postgres!("repeated_dedupe")),
        Some(both!("twice_dedupe")), None, None, false, &[]),
    key!("entity_versions", "entity_versions", "tenant_id,store_id,entity_type,entity_id", Some(postgres!("repeated_entity_versions")),
        Some(both!("twice_entity_versions")), None, Some(postgres!("disordered_entity_versions")), false, &[]),
    key!("keys", "agent_signing_keys", "tenant_id,agent_id,key_id", None,
        Some(both!("twice_keys")), None, None, false, &[Events]),
    key!("projections", "projection_checkpoints", "tenant_id,store_id", None,
        Some(both!("twice_projections")), None, None, false, &[]),
    key!("validity_proofs", "ves_validity_proofs", "proof_id", None, None, None, None, false, &[Events]),
    key!("compliance_proofs", "ves_compliance_proofs", "proof_id", None, None, None, None, false, &[Events]),
    key!("older_events", "events", "tenant_id,store_id,sequence_number", None, None, None, None, false, &[]),
    key!("older_counters", "sequence_counters", "tenant_id,store_id", None, None, None, None, false, &[]),
    key!("x402_counters", "x402_sequence_counters", "tenant_id,store_id", None, None, None, None, false, &[]),
];
