//! What a log holds, as values, and how each is read from its row.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use ves::post_quantum::MAX_PUBLIC_KEY_BUNDLE;
use ves::{
    AgentId, BatchId, CommandId, Event, EventId, Hash32, KeyRegistry, Payload, Receipt, SequencerId,
    SignatureBytes, SignatureScheme, SigningKey, StoreId, StreamKey, TenantId, Timestamp,
};

use crate::error::RowError;
use crate::value::{Bound, Columns, Row, Value, ValueKind};

/// An event with its place in the log, as stored. Nothing of it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// The event.
    pub event: Event,
    /// Its number.
    pub sequence_number: u64,
    /// The stored signing hash, which commitments are made of. [`Event::signing_hash`] computes what it should be.
    pub event_signing_hash: Hash32,
    /// Column `created_at`: the moment of [`Event::created_at`], for queries only.
    pub created_at_column: Timestamp,
    /// When it was given its number.
    pub sequenced_at: Timestamp,
    /// Its receipt, if there is one.
    pub receipt: Option<Receipt>,
}

/// What a leaf is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafInput {
    /// The event's number.
    pub sequence_number: u64,
    /// The event.
    pub event_id: EventId,
    /// The stored signing hash.
    pub event_signing_hash: Hash32,
    /// The agent's signature.
    pub agent_signature: SignatureBytes,
}

/// An event as far as its leaf binds it, with its receipt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafEntry {
    /// What its leaf is made of.
    pub input: LeafInput,
    /// Its receipt, if it has one.
    pub receipt: Option<Receipt>,
}

impl LogEntry {
    /// What its leaf is made of.
    pub fn leaf_input(&self) -> LeafInput {
        LeafInput {
            sequence_number: self.sequence_number,
            event_id: self.event.event_id,
            event_signing_hash: self.event_signing_hash,
            agent_signature: self.event.agent_signature,
        }
    }
}

impl From<LogEntry> for LeafEntry {
    fn from(entry: LogEntry) -> Self {
        Self {
            input: entry.leaf_input(),
            receipt: entry.receipt,
        }
    }
}

/// An event to be put into a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredEvent {
    /// The event. Column `created_at` is computed from its `created_at`.
    pub event: Event,
    /// The number that it has.
    pub sequence_number: u64,
    /// The signing hash to store.
    pub event_signing_hash: Hash32,
    /// When it was given its number.
    pub sequenced_at: Timestamp,
}

impl From<LogEntry> for RestoredEvent {
    fn from(entry: LogEntry) -> Self {
        let LogEntry {
            event,
            sequence_number,
            event_signing_hash,
            sequenced_at,
            ..
        } = entry;
        Self {
            event,
            sequence_number,
            event_signing_hash,
            sequenced_at,
        }
    }
}

/// A row of `ves_commitments`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Commitment {
    /// The batch.
    pub batch_id: BatchId,
    /// The stream that it is of.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Protocol version.
    pub ves_version: u32,
    /// How many levels the tree has above its leaves.
    pub tree_depth: u32,
    /// How many events are in it.
    pub leaf_count: u32,
    /// How many leaves the tree has with its padding.
    pub padded_leaf_count: u32,
    /// The root over the leaves.
    pub merkle_root: Hash32,
    /// The state root before the batch.
    pub prev_state_root: Hash32,
    /// The state root after the batch.
    pub new_state_root: Hash32,
    /// The first number in it.
    pub sequence_start: u64,
    /// The last number in it.
    pub sequence_end: u64,
    /// When it was made.
    pub committed_at: Timestamp,
    /// The chain that it was anchored on.
    pub chain_id: Option<u32>,
    /// The transaction that anchored it.
    pub chain_tx_hash: Option<Hash32>,
    /// The block of that transaction.
    pub chain_block_number: Option<u64>,
    /// When it was anchored.
    pub anchored_at: Option<Timestamp>,
}

/// A stream as the tables count it. No row was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamState {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// How many events have a number.
    pub event_count: u64,
    /// The lowest number.
    pub first: Option<u64>,
    /// The highest number.
    pub last: Option<u64>,
    /// How many rows have no number, or one below 1, which no event can have. They are in no other count.
    pub misnumbered: u64,
    /// `ves_sequence_counters`; `None` if the row is missing.
    pub counter: Option<u64>,
    /// How many commitments there are.
    pub commitment_count: u64,
    /// The lowest number in a commitment.
    pub first_committed: Option<u64>,
    /// The highest number in a commitment.
    pub last_committed: Option<u64>,
}

impl StreamState {
    /// A stream of which nothing is known.
    pub fn new(stream: StreamKey) -> Self {
        Self {
            stream,
            event_count: 0,
            first: None,
            last: None,
            misnumbered: 0,
            counter: None,
            commitment_count: 0,
            first_committed: None,
            last_committed: None,
        }
    }
}

/// An entity of a stream.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Entity {
    /// What it is.
    pub entity_type: String,
    /// Which one.
    pub entity_id: String,
}

/// An entity whose stored version is not the number of its events.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct VersionDrift {
    /// The entity.
    #[serde(flatten)]
    pub entity: Entity,
    /// The stored version; `None` if the row is missing.
    pub version: Option<i64>,
    /// How many events the stream has of it, in this log and the older one.
    pub events: u64,
}

/// An event whose command is not in `ves_command_dedupe`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct MissingDedupe {
    /// The command.
    pub command_id: CommandId,
    /// The event that has it.
    pub event_id: EventId,
    /// The event's number.
    pub sequence_number: u64,
}

/// A row of `ves_command_dedupe` whose command no event of the stream has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct DedupeOrphan {
    /// The command.
    pub command_id: CommandId,
    /// When it was remembered.
    pub created_at: Timestamp,
}

/// What a new receipt of a stream says besides its event and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReceiptDefaults {
    /// The sequencer.
    pub sequencer_id: SequencerId,
    /// Which of its keys signs.
    pub sequencer_key_version: i32,
    /// How it signs.
    pub receipt_signature_scheme: i16,
}

/// Receipts whose event is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct OrphanReceipts {
    /// How many.
    pub count: u64,
    /// The highest number that one of them gives; of which stream, nobody can say.
    pub highest: Option<i64>,
}

/// A row of `agent_signing_keys` that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableKey {
    /// Tenant, agent and number, if these can be read.
    pub name: Option<(TenantId, AgentId, u32)>,
    /// What cannot, and why.
    pub error: RowError,
}

/// The keys of a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LogKeys {
    /// Those that can be read.
    pub keys: Vec<SigningKey>,
    /// Those that cannot: they are registered all the same.
    pub unreadable: Vec<UnreadableKey>,
}

impl LogKeys {
    /// The keys to check signatures with; a signature by one that cannot be read is not checked.
    pub fn registry(&self) -> KeyRegistry {
        let mut registry = KeyRegistry::new(self.keys.iter().cloned());
        for name in self.unreadable.iter().filter_map(|key| key.name) {
            registry.insert_unreadable(name);
        }
        registry
    }
}

/// Where an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FoundEvent {
    /// The event.
    pub event_id: EventId,
    /// The stream that it is in.
    pub stream: StreamKey,
    /// Its number there; 0 if that is none that an event can have.
    pub sequence_number: u64,
}

/// An event that is in a log, in a row which does not say where: one of the columns that are its place cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableEvent {
    /// The event.
    pub event_id: EventId,
    /// The tenant, if that can be read.
    pub tenant: Option<TenantId>,
    /// The store, if that can be read.
    pub store: Option<StoreId>,
    /// The number, if that can be read and is one that an event can have.
    pub sequence_number: Option<u64>,
    /// What cannot be read, and why.
    pub error: RowError,
}

impl UnreadableEvent {
    /// Its number in a stream that somebody else names for it, if what can be read of the row does not speak against that.
    pub fn number_in(&self, stream: &StreamKey) -> Option<u64> {
        let may_be_of = self.tenant.is_none_or(|tenant| tenant == stream.tenant_id)
            && self.store.is_none_or(|store| store == stream.store_id);
        self.sequence_number.filter(|_| may_be_of)
    }
}

/// Those of the events that were looked for that are in a log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FoundEvents {
    /// Those whose place can be read.
    pub placed: Vec<FoundEvent>,
    /// Those whose place cannot: they are there all the same, and not missing.
    pub unreadable: Vec<UnreadableEvent>,
}

impl FoundEvents {
    /// Whether none of them is there.
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty() && self.unreadable.is_empty()
    }

    /// By event. Of one that is there in two rows, the row that can be read counts.
    pub fn by_event(self) -> HashMap<EventId, Result<FoundEvent, UnreadableEvent>> {
        let unreadable = self.unreadable.into_iter();
        let mut by_event: HashMap<_, _> = unreadable.map(|event| (event.event_id, Err(event))).collect();
        by_event.extend(self.placed.into_iter().map(|event| (event.event_id, Ok(event))));
        by_event
    }
}

/// Reads a row of `find_events.sql`: where the event is, or what of that cannot be read.
pub(crate) fn read_found(row: Row<'_>) -> Result<Result<FoundEvent, Box<UnreadableEvent>>, RowError> {
    let mut c = Columns::new(row);
    let error = |what, stream| RowError {
        table: "ves_events",
        stream,
        sequence: None,
        what,
    };
    // It is what was asked for, so it can be read; else nobody knows which event this is.
    let event_id = EventId(c.uuid("event_id").map_err(|what| error(what, None))?);
    let tenant = c.uuid("tenant_id").map(TenantId);
    let store = c.uuid("store_id").map(StoreId);
    // A number below 1 is none, and the event is there all the same.
    let number = c.int("sequence_number").map(|n| u64::try_from(n).unwrap_or(0));
    Ok(match (tenant, store, number) {
        (Ok(tenant), Ok(store), Ok(sequence_number)) => Ok(FoundEvent {
            event_id,
            stream: StreamKey::new(tenant, store),
            sequence_number,
        }),
        (tenant, store, number) => {
            let flaws = [tenant.as_ref().err(), store.as_ref().err(), number.as_ref().err()];
            let flaws: Vec<&str> = flaws.into_iter().flatten().map(String::as_str).collect();
            let what = format!("event {event_id}: {}", flaws.join("; "));
            let (tenant, store) = (tenant.ok(), store.ok());
            let stream = tenant
                .zip(store)
                .map(|(tenant, store)| StreamKey::new(tenant, store));
            Err(Box::new(UnreadableEvent {
                event_id,
                tenant,
                store,
                sequence_number: number.ok().filter(|number| *number > 0),
                error: error(what, stream),
            }))
        }
    })
}

/// The column of `sequence_number` in `entries.sql`.
pub(crate) const ENTRY_SEQUENCE: usize = 18;

/// Reads a row of `entries.sql`.
pub(crate) fn read_entry(row: Row<'_>, stream: &StreamKey) -> Result<LogEntry, RowError> {
    entry(Columns::new(row), stream).map_err(|(table, what)| RowError {
        table,
        stream: Some(*stream),
        sequence: sequence_at(row, ENTRY_SEQUENCE),
        what,
    })
}

/// Reads a row of `leaf_inputs.sql`.
pub(crate) fn read_leaf_input(row: Row<'_>, stream: &StreamKey) -> Result<LeafInput, RowError> {
    let mut c = Columns::new(row);
    let mut read = || -> Result<LeafInput, String> {
        Ok(LeafInput {
            sequence_number: c.number("sequence_number")?,
            event_id: EventId(c.uuid("event_id")?),
            event_signing_hash: c.fixed("event_signing_hash")?,
            agent_signature: c.fixed("agent_signature")?,
        })
    };
    read().map_err(|what| RowError {
        table: "ves_events",
        stream: Some(*stream),
        sequence: sequence_at(row, 0),
        what,
    })
}

/// Where a row of `leaf_entries.sql` has the number.
pub(crate) const LEAF_ENTRY_SEQUENCE: usize = 3;

/// Reads a row of `leaf_entries.sql`.
pub(crate) fn read_leaf_entry(row: Row<'_>, stream: &StreamKey) -> Result<LeafEntry, RowError> {
    let mut c = Columns::new(row);
    let mut input = || -> Result<LeafInput, String> {
        Ok(LeafInput {
            event_id: EventId(c.uuid("event_id")?),
            event_signing_hash: c.fixed("event_signing_hash")?,
            agent_signature: c.fixed("agent_signature")?,
            sequence_number: c.number("sequence_number")?,
        })
    };
    let input = input().map_err(|what| ("ves_events", what));
    let entry = input.and_then(|input| {
        let receipt = entry_receipt(&mut c).map_err(|what| ("ves_sequencer_receipts", what))?;
        Ok(LeafEntry { input, receipt })
    });
    entry.map_err(|(table, what)| RowError {
        table,
        stream: Some(*stream),
        sequence: sequence_at(row, LEAF_ENTRY_SEQUENCE),
        what,
    })
}

fn sequence_at(row: Row<'_>, column: usize) -> Option<u64> {
    number_of(row, column)?.try_into().ok()
}

/// A number of a row, whatever else can be read of it.
pub(crate) fn number_of(row: Row<'_>, column: usize) -> Option<i64> {
    match row.get(column, ValueKind::Int).ok()?? {
        crate::value::Cell::Int(number) => Some(number),
        _ => None,
    }
}

type Located = (&'static str, String);

fn entry(mut c: Columns<'_>, stream: &StreamKey) -> Result<LogEntry, Located> {
    let event = entry_event(&mut c, stream).map_err(|what| ("ves_events", what))?;
    let receipt = entry_receipt(&mut c).map_err(|what| ("ves_sequencer_receipts", what))?;
    Ok(LogEntry { receipt, ..event })
}

fn entry_event(c: &mut Columns<'_>, stream: &StreamKey) -> Result<LogEntry, String> {
    let event_id = EventId(c.uuid("event_id")?);
    let command_id = c.optional_uuid("command_id")?.map(CommandId);
    let ves_version = c.number("ves_version")?;
    let source_agent_id = AgentId(c.uuid("source_agent_id")?);
    let agent_key_id = c.number("agent_key_id")?;
    let entity_type = c.text("entity_type")?.to_owned();
    let entity_id = c.text("entity_id")?.to_owned();
    let event_type = c.text("event_type")?.to_owned();
    let created_at_column = c.time("created_at")?;
    let created_at = c.text("created_at_str")?.to_owned();
    let sequenced_at = c.time("sequenced_at")?;
    let payload_kind = c.int("payload_kind")?;
    let plain = c.optional_json("payload")?;
    let encrypted = c.optional_json("payload_encrypted")?;
    let payload = match (payload_kind, plain, encrypted) {
        (0, Some(json), None) => Payload::Plain(json.to_owned()),
        (1, None, Some(json)) => Payload::Encrypted(json.to_owned()),
        (0 | 1, ..) => {
            return Err(format!(
                "payload_kind is {payload_kind}, and the payload is not of that kind"
            ));
        }
        _ => return Err(format!("payload_kind is {payload_kind}, which nobody knows")),
    };
    let payload_plain_hash = c.fixed("payload_plain_hash")?;
    let payload_cipher_hash = c.fixed("payload_cipher_hash")?;
    let event_signing_hash = c.fixed("event_signing_hash")?;
    let agent_signature = c.fixed("agent_signature")?;
    let sequence_number = c.number("sequence_number")?;
    let base_version = c.optional_int("base_version")?;
    let agent_signature_scheme = SignatureScheme(c.number("agent_signature_scheme")?);
    let agent_signature_bundle = c.optional_bytes("agent_signature_bundle")?.map(<[u8]>::to_vec);
    Ok(LogEntry {
        event: Event {
            event_id,
            stream: *stream,
            ves_version,
            source_agent_id,
            agent_key_id,
            entity_type,
            entity_id,
            event_type,
            created_at,
            payload,
            payload_plain_hash,
            payload_cipher_hash,
            agent_signature,
            agent_signature_scheme,
            agent_signature_bundle,
            command_id,
            base_version,
        },
        sequence_number,
        event_signing_hash,
        created_at_column,
        sequenced_at,
        receipt: None,
    })
}

fn entry_receipt(c: &mut Columns<'_>) -> Result<Option<Receipt>, String> {
    let Some(event_id) = c.optional_uuid("event_id")? else {
        return Ok(None);
    };
    Ok(Some(Receipt {
        event_id: EventId(event_id),
        sequencer_id: SequencerId(c.uuid("sequencer_id")?),
        sequence_number: c.number("sequence_number")?,
        sequenced_at: c.time("sequenced_at")?,
        receipt_hash: c.fixed("receipt_hash")?,
        sequencer_signature: c.optional_fixed("sequencer_signature")?,
        sequencer_key_version: c.number("sequencer_key_version")?,
        receipt_signature_scheme: c.number("receipt_signature_scheme")?,
        receipt_signature_bundle: c.optional_bytes("receipt_signature_bundle")?.map(<[u8]>::to_vec),
    }))
}

pub(crate) fn read_stream(c: &mut Columns<'_>) -> Result<StreamKey, String> {
    Ok(StreamKey::new(
        TenantId(c.uuid("tenant_id")?),
        StoreId(c.uuid("store_id")?),
    ))
}

pub(crate) fn read_commitment(row: Row<'_>, stream: &StreamKey) -> Result<Commitment, RowError> {
    let mut c = Columns::new(row);
    let mut read = || -> Result<Commitment, String> {
        Ok(Commitment {
            batch_id: BatchId(c.uuid("batch_id")?),
            stream: *stream,
            ves_version: c.number("ves_version")?,
            tree_depth: c.number("tree_depth")?,
            leaf_count: c.number("leaf_count")?,
            padded_leaf_count: c.number("padded_leaf_count")?,
            merkle_root: c.fixed("merkle_root")?,
            prev_state_root: c.fixed("prev_state_root")?,
            new_state_root: c.fixed("new_state_root")?,
            sequence_start: c.number("sequence_start")?,
            sequence_end: c.number("sequence_end")?,
            committed_at: c.time("committed_at")?,
            chain_id: c.optional_number("chain_id")?,
            chain_tx_hash: c.optional_fixed("chain_tx_hash")?,
            chain_block_number: c.optional_number("chain_block_number")?,
            anchored_at: c.optional_time("anchored_at")?,
        })
    };
    const SEQUENCE_START: usize = 8;
    read().map_err(|what| RowError {
        table: "ves_commitments",
        stream: Some(*stream),
        sequence: sequence_at(row, SEQUENCE_START),
        what,
    })
}

/// Reads a row of `keys.sql`. One that cannot be read is told with the key's name, as far as that can be read.
pub(crate) fn read_key(row: Row<'_>) -> Result<SigningKey, Box<UnreadableKey>> {
    let mut c = Columns::new(row);
    let tenant_id = c.uuid("tenant_id").map(TenantId);
    let agent_id = c.uuid("agent_id").map(AgentId);
    let key_id = c.number::<u32>("key_id");
    let name = match (&tenant_id, &agent_id, &key_id) {
        (Ok(tenant), Ok(agent), Ok(key)) => Some((*tenant, *agent, *key)),
        _ => None,
    };
    let mut read = || -> Result<SigningKey, String> {
        Ok(SigningKey {
            tenant_id: tenant_id.clone()?,
            agent_id: agent_id.clone()?,
            key_id: key_id.clone()?,
            public_key: c.fixed("public_key")?,
            status: c.text("status")?.to_owned(),
            // What begins before all times, or ends after them, has no bound there. What never begins, has ended before
            // all times or was revoked before them, is never valid, and what is revoked after all times never is: as the
            // comparisons of the sequencer come out.
            valid_from: c
                .optional_bound("valid_from")?
                .filter(|bound| *bound != Bound::Always)
                .map(Bound::time),
            valid_to: c
                .optional_bound("valid_to")?
                .filter(|bound| *bound != Bound::Never)
                .map(Bound::time),
            revoked_at: c.optional_bound("revoked_at")?.map(Bound::time),
            key_algorithm: c.number("key_algorithm")?,
            public_key_bundle: match c.optional_bytes("public_key_bundle")? {
                Some(bytes) if bytes.len() > MAX_PUBLIC_KEY_BUNDLE => {
                    return Err(format!("public_key_bundle has {} bytes", bytes.len()));
                }
                bytes => bytes.map(<[u8]>::to_vec),
            },
        })
    };
    read().map_err(|what| {
        let agent = agent_id.as_ref().map_or("?".to_owned(), ToString::to_string);
        let key = key_id.as_ref().map_or("?".to_owned(), ToString::to_string);
        Box::new(UnreadableKey {
            name,
            error: RowError {
                table: "agent_signing_keys",
                stream: None,
                sequence: None,
                what: format!("key {key} of agent {agent}: {what}"),
            },
        })
    })
}

/// A number as a database holds it.
pub(crate) fn as_i64(name: &str, number: u64) -> Result<i64, String> {
    number
        .try_into()
        .map_err(|_| format!("{name}: {number} is more than a database can hold"))
}

/// The columns of `ves_events`.
pub(crate) fn event_row(restored: &RestoredEvent) -> Result<Vec<Value>, String> {
    let RestoredEvent {
        event,
        sequence_number,
        event_signing_hash,
        sequenced_at,
    } = restored;
    let created_at: Timestamp = event
        .created_at
        .parse()
        .map_err(|e: ves::time::TimeError| e.to_string())?;
    let (plain, encrypted) = match &event.payload {
        Payload::Plain(json) => (Some(json.as_str()), None),
        Payload::Encrypted(json) => (None, Some(json.as_str())),
    };
    Ok(vec![
        event.event_id.into(),
        event.command_id.into(),
        event.ves_version.into(),
        event.stream.tenant_id.into(),
        event.stream.store_id.into(),
        event.source_agent_id.into(),
        event.agent_key_id.into(),
        event.entity_type.as_str().into(),
        event.entity_id.as_str().into(),
        event.event_type.as_str().into(),
        created_at.into(),
        event.created_at.as_str().into(),
        (*sequenced_at).into(),
        event.payload.kind().into(),
        plain.into(),
        encrypted.into(),
        event.payload_plain_hash.into(),
        event.payload_cipher_hash.into(),
        (*event_signing_hash).into(),
        event.agent_signature.into(),
        as_i64("sequence_number", *sequence_number)?.into(),
        event.base_version.into(),
        event.agent_signature_scheme.0.into(),
        event.agent_signature_bundle.clone().into(),
    ])
}

/// The columns of `ves_sequencer_receipts`.
pub(crate) fn receipt_row(receipt: &Receipt) -> Result<Vec<Value>, String> {
    Ok(vec![
        receipt.event_id.into(),
        receipt.sequencer_id.into(),
        as_i64("sequence_number", receipt.sequence_number)?.into(),
        receipt.sequenced_at.into(),
        receipt.receipt_hash.into(),
        receipt.sequencer_signature.into(),
        receipt.sequencer_key_version.into(),
        receipt.receipt_signature_scheme.into(),
        receipt.receipt_signature_bundle.clone().into(),
    ])
}

/// The columns of `ves_command_dedupe`.
pub(crate) fn dedupe_row(stream: &StreamKey, command_id: CommandId, created_at: Timestamp) -> Vec<Value> {
    vec![
        stream.tenant_id.into(),
        stream.store_id.into(),
        command_id.into(),
        created_at.into(),
    ]
}

/// The columns of `ves_commitments`.
pub(crate) fn commitment_row(commitment: &Commitment) -> Result<Vec<Value>, String> {
    let block = commitment
        .chain_block_number
        .map(|block| as_i64("chain_block_number", block))
        .transpose()?;
    Ok(vec![
        commitment.batch_id.into(),
        commitment.stream.tenant_id.into(),
        commitment.stream.store_id.into(),
        commitment.ves_version.into(),
        commitment.tree_depth.into(),
        commitment.leaf_count.into(),
        commitment.padded_leaf_count.into(),
        commitment.merkle_root.into(),
        commitment.prev_state_root.into(),
        commitment.new_state_root.into(),
        as_i64("sequence_start", commitment.sequence_start)?.into(),
        as_i64("sequence_end", commitment.sequence_end)?.into(),
        commitment.committed_at.into(),
        commitment.chain_id.into(),
        commitment.chain_tx_hash.into(),
        block.into(),
        commitment.anchored_at.into(),
    ])
}

/// The columns of `agent_signing_keys`. What [`SigningKey`] does not carry is left empty.
pub(crate) fn key_row(key: &SigningKey, created_at: Timestamp) -> Vec<Value> {
    vec![
        key.tenant_id.into(),
        key.agent_id.into(),
        key.key_id.into(),
        key.public_key.into(),
        key.status.as_str().into(),
        key.valid_from.into(),
        key.valid_to.into(),
        key.revoked_at.into(),
        Value::Null,
        created_at.into(),
        Value::Null,
        Value::Null,
        Value::Null,
        key.key_algorithm.into(),
        key.public_key_bundle.clone().into(),
        Value::Null,
        Value::Null,
    ]
}
