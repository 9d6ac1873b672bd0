//! The tables of a log: their columns and types, and the statements that copy and fill each.

use crate::sql::{both, postgres, snapshot};
use crate::value::Value;
use crate::value::ValueKind::{self, Bytes, Int, Json, Text, Time, Uuid};

/// Whether a log can be read without a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Need {
    /// It cannot.
    Always,
    /// It can, but if the table is there it is as expected. A snapshot has it, if empty.
    IfThere,
    /// It can; a table that is not as expected is as good as none, and an older snapshot lacks it.
    IfReadable,
}

/// A column that a log can be without.
pub(crate) struct Absent {
    pub(crate) column: &'static str,
    /// The level from which on it is always there; [`NEVER_NEEDED`] if a log of any level can be without it.
    pub(crate) since: u32,
    /// The value that every row has where it is not.
    pub(crate) means: &'static str,
}

/// No judgement needs the column: it is only copied.
const NEVER_NEEDED: u32 = u32::MAX;

impl Absent {
    /// That value.
    pub(crate) fn value(&self) -> Value {
        let number = self.means.split("::").next().unwrap_or_default();
        number.parse().map_or(Value::Null, Value::Int)
    }
}

const fn absent(column: &'static str, since: u32, means: &'static str) -> Absent {
    Absent { column, since, means }
}

/// A table that a log has.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    pub(crate) need: Need,
    pub(crate) columns: &'static [(&'static str, ValueKind)],
    /// The columns that a database can be without.
    pub(crate) absent: &'static [Absent],
    /// The level from which on the table is always there, and what it meant before: a part of a `WITH`.
    pub(crate) before: Option<(u32, &'static str)>,
    /// Selects every row, the columns in the order above.
    pub(crate) copy: &'static str,
    /// Inserts one row, the columns in the order above.
    pub(crate) insert_snapshot: &'static str,
    /// Inserts rows, one array a column; only where repairs write a few. Where they write many, see [`crate::staging`].
    pub(crate) insert_postgres: Option<&'static str>,
}

impl Table {
    /// What its columns hold.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = ValueKind> + Clone + use<> {
        self.columns.iter().map(|(_, kind)| *kind)
    }
}

/// The log.
pub(crate) static VES_EVENTS: Table = Table {
    name: "ves_events",
    need: Need::Always,
    columns: &[
        ("event_id", Uuid),
        ("command_id", Uuid),
        ("ves_version", Int),
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("source_agent_id", Uuid),
        ("agent_key_id", Int),
        ("entity_type", Text),
        ("entity_id", Text),
        ("event_type", Text),
        ("created_at", Time),
        ("created_at_str", Text),
        ("sequenced_at", Time),
        ("payload_kind", Int),
        ("payload", Json),
        ("payload_encrypted", Json),
        ("payload_plain_hash", Bytes),
        ("payload_cipher_hash", Bytes),
        ("event_signing_hash", Bytes),
        ("agent_signature", Bytes),
        ("sequence_number", Int),
        ("base_version", Int),
        ("agent_signature_scheme", Int),
        ("agent_signature_bundle", Bytes),
    ],
    absent: &[
        absent("agent_signature_scheme", 15, "0::int2"),
        absent("agent_signature_bundle", 15, "NULL::bytea"),
    ],
    before: None,
    copy: both!("copy_ves_events"),
    insert_snapshot: snapshot!("insert_ves_events"),
    insert_postgres: None,
};

/// What the sequencer promised.
pub(crate) static VES_SEQUENCER_RECEIPTS: Table = Table {
    name: "ves_sequencer_receipts",
    need: Need::Always,
    columns: &[
        ("event_id", Uuid),
        ("sequencer_id", Uuid),
        ("sequence_number", Int),
        ("sequenced_at", Time),
        ("receipt_hash", Bytes),
        ("sequencer_signature", Bytes),
        ("sequencer_key_version", Int),
        ("receipt_signature_scheme", Int),
        ("receipt_signature_bundle", Bytes),
    ],
    absent: &[
        absent("sequencer_key_version", 13, "0::int4"),
        absent("receipt_signature_scheme", 15, "0::int2"),
        absent("receipt_signature_bundle", 15, "NULL::bytea"),
    ],
    before: None,
    copy: both!("copy_ves_sequencer_receipts"),
    insert_snapshot: snapshot!("insert_ves_sequencer_receipts"),
    insert_postgres: None,
};

/// The last number given out in each stream of the log.
pub(crate) static VES_SEQUENCE_COUNTERS: Table = Table {
    name: "ves_sequence_counters",
    need: Need::Always,
    columns: &[
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("current_sequence", Int),
        ("updated_at", Time),
    ],
    absent: &[],
    before: Some((10, postgres!("before_ves_sequence_counters"))),
    copy: both!("copy_ves_sequence_counters"),
    insert_snapshot: snapshot!("insert_ves_sequence_counters"),
    insert_postgres: None,
};

/// Commands that were accepted once.
pub(crate) static VES_COMMAND_DEDUPE: Table = Table {
    name: "ves_command_dedupe",
    need: Need::Always,
    columns: &[
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("command_id", Uuid),
        ("created_at", Time),
    ],
    absent: &[],
    before: Some((8, postgres!("before_ves_command_dedupe"))),
    copy: both!("copy_ves_command_dedupe"),
    insert_snapshot: snapshot!("insert_ves_command_dedupe"),
    insert_postgres: None,
};

/// How many events each entity has had.
pub(crate) static ENTITY_VERSIONS: Table = Table {
    name: "entity_versions",
    need: Need::Always,
    columns: &[
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("entity_type", Text),
        ("entity_id", Text),
        ("version", Int),
        ("updated_at", Time),
    ],
    absent: &[],
    before: None,
    copy: both!("copy_entity_versions"),
    insert_snapshot: snapshot!("insert_entity_versions"),
    insert_postgres: None,
};

/// Batches and their roots.
pub(crate) static VES_COMMITMENTS: Table = Table {
    name: "ves_commitments",
    need: Need::Always,
    columns: &[
        ("batch_id", Uuid),
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("ves_version", Int),
        ("tree_depth", Int),
        ("leaf_count", Int),
        ("padded_leaf_count", Int),
        ("merkle_root", Bytes),
        ("prev_state_root", Bytes),
        ("new_state_root", Bytes),
        ("sequence_start", Int),
        ("sequence_end", Int),
        ("committed_at", Time),
        ("chain_id", Int),
        ("chain_tx_hash", Bytes),
        ("chain_block_number", Int),
        ("anchored_at", Time),
    ],
    absent: &[],
    before: None,
    copy: both!("copy_ves_commitments"),
    insert_snapshot: snapshot!("insert_ves_commitments"),
    insert_postgres: Some(postgres!("insert_ves_commitments")),
};

/// Proofs about a batch.
pub(crate) static VES_VALIDITY_PROOFS: Table = Table {
    name: "ves_validity_proofs",
    need: Need::IfThere,
    columns: &[
        ("proof_id", Uuid),
        ("batch_id", Uuid),
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("proof_type", Text),
        ("proof_version", Int),
        ("proof", Bytes),
        ("proof_hash", Bytes),
        ("public_inputs", Json),
        ("submitted_at", Time),
    ],
    absent: &[absent("public_inputs", NEVER_NEEDED, "NULL::jsonb")],
    before: None,
    copy: both!("copy_ves_validity_proofs"),
    insert_snapshot: snapshot!("insert_ves_validity_proofs"),
    insert_postgres: None,
};

/// Proofs about an event.
pub(crate) static VES_COMPLIANCE_PROOFS: Table = Table {
    name: "ves_compliance_proofs",
    need: Need::IfThere,
    columns: &[
        ("proof_id", Uuid),
        ("event_id", Uuid),
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("proof_type", Text),
        ("proof_version", Int),
        ("policy_id", Text),
        ("policy_params", Json),
        ("policy_hash", Bytes),
        ("proof", Bytes),
        ("proof_hash", Bytes),
        ("public_inputs", Json),
        ("submitted_at", Time),
        ("witness_commitment", Bytes),
    ],
    absent: &[
        absent("public_inputs", NEVER_NEEDED, "NULL::jsonb"),
        absent("witness_commitment", NEVER_NEEDED, "NULL::bytea"),
    ],
    before: None,
    copy: both!("copy_ves_compliance_proofs"),
    insert_snapshot: snapshot!("insert_ves_compliance_proofs"),
    insert_postgres: None,
};

/// Agents' keys.
pub(crate) static AGENT_SIGNING_KEYS: Table = Table {
    name: "agent_signing_keys",
    need: Need::Always,
    columns: &[
        ("tenant_id", Uuid),
        ("agent_id", Uuid),
        ("key_id", Int),
        ("public_key", Bytes),
        ("status", Text),
        ("valid_from", Time),
        ("valid_to", Time),
        ("revoked_at", Time),
        ("metadata", Text),
        ("created_at", Time),
        ("expires_at", Time),
        ("grace_until", Time),
        ("rotation_reason", Text),
        ("key_algorithm", Int),
        ("public_key_bundle", Bytes),
        ("proof_of_possession", Bytes),
        ("proof_of_possession_bundle", Bytes),
    ],
    absent: &[
        absent("metadata", NEVER_NEEDED, "NULL::text"),
        absent("expires_at", NEVER_NEEDED, "NULL::timestamptz"),
        absent("grace_until", NEVER_NEEDED, "NULL::timestamptz"),
        absent("rotation_reason", NEVER_NEEDED, "NULL::text"),
        absent("key_algorithm", 15, "1::int2"),
        absent("public_key_bundle", 15, "NULL::bytea"),
        absent("proof_of_possession", NEVER_NEEDED, "NULL::bytea"),
        absent("proof_of_possession_bundle", NEVER_NEEDED, "NULL::bytea"),
    ],
    before: None,
    copy: both!("copy_agent_signing_keys"),
    insert_snapshot: snapshot!("insert_agent_signing_keys"),
    insert_postgres: None,
};

/// How far the read models have followed.
pub(crate) static PROJECTION_CHECKPOINTS: Table = Table {
    name: "projection_checkpoints",
    need: Need::Always,
    columns: &[
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("last_projected_sequence", Int),
        ("updated_at", Time),
    ],
    absent: &[],
    before: None,
    copy: both!("copy_projection_checkpoints"),
    insert_snapshot: snapshot!("insert_projection_checkpoints"),
    insert_postgres: None,
};

/// The older log. Its events count in the versions of entities.
pub(crate) static EVENTS: Table = Table {
    name: "events",
    need: Need::Always,
    columns: &[
        ("event_id", Uuid),
        ("command_id", Uuid),
        ("sequence_number", Int),
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("entity_type", Text),
        ("entity_id", Text),
        ("event_type", Text),
        ("payload_encrypted", Bytes),
        ("payload_hash", Bytes),
        ("base_version", Int),
        ("source_agent", Uuid),
        ("signature", Bytes),
        ("created_at", Time),
        ("sequenced_at", Time),
    ],
    absent: &[],
    before: None,
    copy: both!("copy_events"),
    insert_snapshot: snapshot!("insert_events"),
    insert_postgres: None,
};

/// The counter of the older log.
pub(crate) static SEQUENCE_COUNTERS: Table = Table {
    name: "sequence_counters",
    need: Need::IfThere,
    columns: &[
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("current_sequence", Int),
        ("updated_at", Time),
    ],
    absent: &[],
    before: None,
    copy: both!("copy_sequence_counters"),
    insert_snapshot: snapshot!("insert_sequence_counters"),
    insert_postgres: None,
};

/// The commitments of the older log.
pub(crate) static COMMITMENTS: Table = Table {
    name: "commitments",
    need: Need::IfThere,
    columns: &[
        ("batch_id", Uuid),
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("prev_state_root", Bytes),
        ("new_state_root", Bytes),
        ("events_root", Bytes),
        ("sequence_start", Int),
        ("sequence_end", Int),
        ("event_count", Int),
        ("committed_at", Time),
        ("chain_tx_hash", Bytes),
    ],
    absent: &[],
    before: None,
    copy: both!("copy_commitments"),
    insert_snapshot: snapshot!("insert_commitments"),
    insert_postgres: None,
};

/// Accepted commands of the older log.
pub(crate) static EVENT_COMMAND_DEDUPE: Table = Table {
    name: "event_command_dedupe",
    need: Need::IfThere,
    columns: &[
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("command_id", Uuid),
        ("created_at", Time),
    ],
    absent: &[],
    before: None,
    copy: both!("copy_event_command_dedupe"),
    insert_snapshot: snapshot!("insert_event_command_dedupe"),
    insert_postgres: None,
};

/// The counter of payment intents.
pub(crate) static X402_SEQUENCE_COUNTERS: Table = Table {
    name: "x402_sequence_counters",
    need: Need::IfThere,
    columns: &[
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("current_sequence", Int),
        ("updated_at", Time),
    ],
    absent: &[],
    before: None,
    copy: both!("copy_x402_sequence_counters"),
    insert_snapshot: snapshot!("insert_x402_sequence_counters"),
    insert_postgres: None,
};

/// Payment intents, of which only their numbers count here.
pub(crate) static X402_PAYMENT_INTENTS: Table = Table {
    name: "x402_payment_intents",
    need: Need::IfReadable,
    columns: &[
        ("intent_id", Uuid),
        ("tenant_id", Uuid),
        ("store_id", Uuid),
        ("sequence_number", Int),
    ],
    absent: &[],
    before: None,
    copy: both!("copy_x402_payment_intents"),
    insert_snapshot: snapshot!("insert_x402_payment_intents"),
    insert_postgres: None,
};

/// All tables, each after those that it refers to.
pub(crate) static TABLES: &[&Table] = &[
    &VES_EVENTS,
    &VES_SEQUENCER_RECEIPTS,
    &VES_SEQUENCE_COUNTERS,
    &VES_COMMAND_DEDUPE,
    &ENTITY_VERSIONS,
    &VES_COMMITMENTS,
    &VES_VALIDITY_PROOFS,
    &VES_COMPLIANCE_PROOFS,
    &AGENT_SIGNING_KEYS,
    &PROJECTION_CHECKPOINTS,
    &EVENTS,
    &SEQUENCE_COUNTERS,
    &COMMITMENTS,
    &EVENT_COMMAND_DEDUPE,
    &X402_PAYMENT_INTENTS,
    &X402_SEQUENCE_COUNTERS,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_absence_means_is_null_or_a_number() {
        for absent in TABLES.iter().flat_map(|table| table.absent) {
            let expected = match absent.column {
                "key_algorithm" => Value::Int(1),
                "agent_signature_scheme" | "receipt_signature_scheme" | "sequencer_key_version" => {
                    Value::Int(0)
                }
                _ => Value::Null,
            };
            assert_eq!(absent.value(), expected, "{}", absent.column);
        }
    }

    #[test]
    fn statements_have_one_parameter_or_column_for_each_column() {
        for table in TABLES {
            let count = table.columns.len();
            let names: Vec<&str> = table.columns.iter().map(|(name, _)| *name).collect();
            let list = names.join(", ");
            let flat = |sql: &str| sql.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(
                flat(table.copy).contains(&format!("SELECT {list} FROM {} ", table.name)),
                "{}",
                table.name
            );
            for insert in [Some(table.insert_snapshot), table.insert_postgres]
                .into_iter()
                .flatten()
            {
                assert!(
                    flat(insert).contains(&format!("INSERT INTO {} ( {list} )", table.name)),
                    "{insert}"
                );
                assert!(insert.contains(&format!("${count}")), "{insert}");
                assert!(!insert.contains(&format!("${}", count + 1)), "{insert}");
            }
        }
    }
}
