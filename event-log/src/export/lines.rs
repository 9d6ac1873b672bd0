//! The lines of an export, one type each.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use ves::{
    AgentId, CommandId, Event, EventId, Hash32, Payload, Receipt, SequencerId, SignatureBytes,
    SignatureScheme, StoreId, StreamKey, TenantId, Timestamp,
};

use crate::entry::{Commitment, LogEntry};

/// An event as it was exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExportedEntry {
    /// The event. If the payload was left out its text is empty, which is no JSON: a check that does not look at
    /// [`ExportedEntry::redacted`] fails rather than passes.
    pub entry: LogEntry,
    /// The payload was left out; its hashes are there.
    pub redacted: bool,
}

/// How much was exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExportCounts {
    /// Agents' keys.
    pub keys: u64,
    /// Streams.
    pub streams: u64,
    /// Commitments.
    pub commitments: u64,
    /// Events.
    pub events: u64,
    /// Rows that could not be read.
    pub unreadable: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HeaderLine<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) schema: Cow<'a, str>,
    /// Whether it has all streams.
    pub(super) whole: bool,
    /// Whether payloads were left out.
    pub(super) redacted: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyLine<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    pub(super) tenant_id: TenantId,
    pub(super) agent_id: AgentId,
    pub(super) key_id: u32,
    pub(super) public_key: Hash32,
    #[serde(borrow)]
    pub(super) status: Cow<'a, str>,
    pub(super) valid_from: Option<Timestamp>,
    pub(super) valid_to: Option<Timestamp>,
    pub(super) revoked_at: Option<Timestamp>,
    pub(super) key_algorithm: i16,
    #[serde(default, borrow, skip_serializing_if = "Option::is_none")]
    pub(super) public_key_bundle: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamLine<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    pub(super) tenant_id: TenantId,
    pub(super) store_id: StoreId,
    /// The numbers that were looked at, where not all were.
    pub(super) range: Option<(u64, u64)>,
    pub(super) events: u64,
    pub(super) first: Option<u64>,
    pub(super) last: Option<u64>,
    pub(super) counter: Option<u64>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CommitmentLine<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    pub(super) batch_id: ves::BatchId,
    pub(super) tenant_id: TenantId,
    pub(super) store_id: StoreId,
    pub(super) ves_version: u32,
    pub(super) tree_depth: u32,
    pub(super) leaf_count: u32,
    pub(super) padded_leaf_count: u32,
    pub(super) merkle_root: Hash32,
    pub(super) prev_state_root: Hash32,
    pub(super) new_state_root: Hash32,
    pub(super) sequence_start: u64,
    pub(super) sequence_end: u64,
    pub(super) committed_at: Timestamp,
    pub(super) chain_id: Option<u32>,
    pub(super) chain_tx_hash: Option<Hash32>,
    pub(super) chain_block_number: Option<u64>,
    pub(super) anchored_at: Option<Timestamp>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventLine<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    pub(super) tenant_id: TenantId,
    pub(super) store_id: StoreId,
    pub(super) sequence_number: u64,
    pub(super) event_id: EventId,
    pub(super) command_id: Option<CommandId>,
    pub(super) ves_version: u32,
    pub(super) source_agent_id: AgentId,
    pub(super) agent_key_id: u32,
    #[serde(borrow)]
    pub(super) entity_type: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) entity_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) event_type: Cow<'a, str>,
    pub(super) created_at: Timestamp,
    #[serde(borrow)]
    pub(super) created_at_str: Cow<'a, str>,
    pub(super) sequenced_at: Timestamp,
    pub(super) payload_kind: u32,
    /// The JSON text as stored. Missing if payloads were left out.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) payload: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    pub(super) payload_encrypted: Option<Cow<'a, str>>,
    pub(super) payload_plain_hash: Hash32,
    pub(super) payload_cipher_hash: Hash32,
    pub(super) event_signing_hash: Hash32,
    pub(super) agent_signature: SignatureBytes,
    pub(super) base_version: Option<i64>,
    pub(super) agent_signature_scheme: i16,
    #[serde(borrow)]
    pub(super) agent_signature_bundle: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(super) receipt: Option<ReceiptJson<'a>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReceiptJson<'a> {
    pub(super) event_id: EventId,
    pub(super) sequencer_id: SequencerId,
    pub(super) sequence_number: u64,
    pub(super) sequenced_at: Timestamp,
    pub(super) receipt_hash: Hash32,
    pub(super) sequencer_signature: Option<SignatureBytes>,
    pub(super) sequencer_key_version: i32,
    pub(super) receipt_signature_scheme: i16,
    #[serde(borrow)]
    pub(super) receipt_signature_bundle: Option<Cow<'a, str>>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UnreadableLine<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) table: Cow<'a, str>,
    pub(super) tenant_id: Option<TenantId>,
    pub(super) store_id: Option<StoreId>,
    pub(super) sequence_number: Option<u64>,
    /// Of an agent's key: whose, and which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agent_id: Option<AgentId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) key_id: Option<u32>,
    #[serde(borrow)]
    pub(super) what: Cow<'a, str>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EndLine<'a> {
    #[serde(rename = "type", borrow)]
    pub(super) kind: Cow<'a, str>,
    pub(super) counts: ExportCounts,
}

pub(super) fn hex_bytes(bytes: Option<&Vec<u8>>) -> Option<Cow<'_, str>> {
    bytes.map(|bytes| hex::encode(bytes).into())
}

pub(super) fn bytes_of(hex: Option<&str>) -> Result<Option<Vec<u8>>, String> {
    hex.map(|hex| hex::decode(hex).map_err(|e| format!("a bundle is not hex: {e}")))
        .transpose()
}

impl<'a> EventLine<'a> {
    pub(super) fn of(entry: &'a LogEntry, redact: bool) -> Self {
        let event = &entry.event;
        let (mut payload, mut payload_encrypted) = match &event.payload {
            Payload::Plain(json) => (Some(json.as_str().into()), None),
            Payload::Encrypted(json) => (None, Some(json.as_str().into())),
        };
        if redact {
            (payload, payload_encrypted) = (None, None);
        }
        Self {
            kind: "event".into(),
            tenant_id: event.stream.tenant_id,
            store_id: event.stream.store_id,
            sequence_number: entry.sequence_number,
            event_id: event.event_id,
            command_id: event.command_id,
            ves_version: event.ves_version,
            source_agent_id: event.source_agent_id,
            agent_key_id: event.agent_key_id,
            entity_type: event.entity_type.as_str().into(),
            entity_id: event.entity_id.as_str().into(),
            event_type: event.event_type.as_str().into(),
            created_at: entry.created_at_column,
            created_at_str: event.created_at.as_str().into(),
            sequenced_at: entry.sequenced_at,
            payload_kind: event.payload.kind(),
            payload,
            payload_encrypted,
            payload_plain_hash: event.payload_plain_hash,
            payload_cipher_hash: event.payload_cipher_hash,
            event_signing_hash: entry.event_signing_hash,
            agent_signature: event.agent_signature,
            base_version: event.base_version,
            agent_signature_scheme: event.agent_signature_scheme.0,
            agent_signature_bundle: hex_bytes(event.agent_signature_bundle.as_ref()),
            receipt: entry.receipt.as_ref().map(|receipt| ReceiptJson {
                event_id: receipt.event_id,
                sequencer_id: receipt.sequencer_id,
                sequence_number: receipt.sequence_number,
                sequenced_at: receipt.sequenced_at,
                receipt_hash: receipt.receipt_hash,
                sequencer_signature: receipt.sequencer_signature,
                sequencer_key_version: receipt.sequencer_key_version,
                receipt_signature_scheme: receipt.receipt_signature_scheme,
                receipt_signature_bundle: hex_bytes(receipt.receipt_signature_bundle.as_ref()),
            }),
        }
    }

    pub(super) fn stream(&self) -> StreamKey {
        StreamKey::new(self.tenant_id, self.store_id)
    }

    pub(super) fn read(self, may_be_redacted: bool) -> Result<ExportedEntry, String> {
        let stream = self.stream();
        let given = (self.payload_kind, self.payload, self.payload_encrypted);
        let (payload, redacted) = match given {
            (0, Some(json), None) => (Payload::Plain(json.into_owned()), false),
            (1, None, Some(json)) => (Payload::Encrypted(json.into_owned()), false),
            (0, None, None) if may_be_redacted => (Payload::Plain(String::new()), true),
            (1, None, None) if may_be_redacted => (Payload::Encrypted(String::new()), true),
            (kind, ..) => {
                return Err(format!(
                    "payload_kind is {kind}, and the payload is not there or not of that kind"
                ));
            }
        };
        let receipt = self
            .receipt
            .map(|receipt| -> Result<Receipt, String> {
                Ok(Receipt {
                    event_id: receipt.event_id,
                    sequencer_id: receipt.sequencer_id,
                    sequence_number: receipt.sequence_number,
                    sequenced_at: receipt.sequenced_at,
                    receipt_hash: receipt.receipt_hash,
                    sequencer_signature: receipt.sequencer_signature,
                    sequencer_key_version: receipt.sequencer_key_version,
                    receipt_signature_scheme: receipt.receipt_signature_scheme,
                    receipt_signature_bundle: bytes_of(receipt.receipt_signature_bundle.as_deref())?,
                })
            })
            .transpose()?;
        Ok(ExportedEntry {
            entry: LogEntry {
                event: Event {
                    event_id: self.event_id,
                    stream,
                    ves_version: self.ves_version,
                    source_agent_id: self.source_agent_id,
                    agent_key_id: self.agent_key_id,
                    entity_type: self.entity_type.into_owned(),
                    entity_id: self.entity_id.into_owned(),
                    event_type: self.event_type.into_owned(),
                    created_at: self.created_at_str.into_owned(),
                    payload,
                    payload_plain_hash: self.payload_plain_hash,
                    payload_cipher_hash: self.payload_cipher_hash,
                    agent_signature: self.agent_signature,
                    agent_signature_scheme: SignatureScheme(self.agent_signature_scheme),
                    agent_signature_bundle: bytes_of(self.agent_signature_bundle.as_deref())?,
                    command_id: self.command_id,
                    base_version: self.base_version,
                },
                sequence_number: self.sequence_number,
                event_signing_hash: self.event_signing_hash,
                created_at_column: self.created_at,
                sequenced_at: self.sequenced_at,
                receipt,
            },
            redacted,
        })
    }
}

impl From<CommitmentLine<'_>> for Commitment {
    fn from(line: CommitmentLine<'_>) -> Self {
        Self {
            batch_id: line.batch_id,
            stream: StreamKey::new(line.tenant_id, line.store_id),
            ves_version: line.ves_version,
            tree_depth: line.tree_depth,
            leaf_count: line.leaf_count,
            padded_leaf_count: line.padded_leaf_count,
            merkle_root: line.merkle_root,
            prev_state_root: line.prev_state_root,
            new_state_root: line.new_state_root,
            sequence_start: line.sequence_start,
            sequence_end: line.sequence_end,
            committed_at: line.committed_at,
            chain_id: line.chain_id,
            chain_tx_hash: line.chain_tx_hash,
            chain_block_number: line.chain_block_number,
            anchored_at: line.anchored_at,
        }
    }
}
