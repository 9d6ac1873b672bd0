//! The table `events`: a row of `ves_events` with its receipt, under the log's own column names.

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{Int16Type, Int32Type, Int64Type, Schema, SchemaRef, UInt32Type};
use event_log::LogEntry;
use ves::{
    AgentId, CommandId, Event, EventId, Payload, Receipt, SequencerId, SignatureBytes, SignatureScheme,
    StoreId, StreamKey, TenantId,
};

use crate::columns::{Built, Taken, bytes, fixed, number, signed, text, time, uuid};
use crate::error::ArchiveError;

/// The columns of `events`. Those of the receipt begin with `receipt_` where the log has the name twice; a row without a
/// receipt has NULL in all of them.
pub static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        uuid("tenant_id", false),
        uuid("store_id", false),
        number::<Int64Type>("sequence_number", false),
        uuid("event_id", false),
        uuid("command_id", true),
        number::<UInt32Type>("ves_version", false),
        uuid("source_agent_id", false),
        number::<UInt32Type>("agent_key_id", false),
        text("entity_type", false),
        text("entity_id", false),
        text("event_type", false),
        time("created_at", false),
        text("created_at_str", false),
        time("sequenced_at", false),
        number::<Int32Type>("payload_kind", false),
        text("payload", true),
        text("payload_encrypted", true),
        fixed("payload_plain_hash", 32, false),
        fixed("payload_cipher_hash", 32, false),
        fixed("event_signing_hash", 32, false),
        fixed("agent_signature", 64, false),
        number::<Int64Type>("base_version", true),
        number::<Int16Type>("agent_signature_scheme", false),
        bytes("agent_signature_bundle", true),
        uuid("sequencer_id", true),
        number::<Int64Type>("receipt_sequence_number", true),
        time("receipt_sequenced_at", true),
        fixed("receipt_hash", 32, true),
        fixed("sequencer_signature", 64, true),
        number::<Int32Type>("sequencer_key_version", true),
        number::<Int16Type>("receipt_signature_scheme", true),
        bytes("receipt_signature_bundle", true),
    ]))
});

/// Makes rows of entries, which are of one stream.
///
/// # Errors
/// If a number does not fit.
pub fn to_rows(entries: &[LogEntry]) -> Result<RecordBatch, ArchiveError> {
    let mut built = Built::default();
    event_columns(&mut built, entries)?;
    receipt_columns(&mut built, entries)?;
    RecordBatch::try_new(Arc::clone(&SCHEMA), built.into_arrays())
        .map_err(ArchiveError::columns("making columns of events"))
}

fn event_columns(built: &mut Built, entries: &[LogEntry]) -> Result<(), ArchiveError> {
    let numbers: Result<Vec<i64>, _> = entries
        .iter()
        .map(|entry| signed("sequence number", entry.sequence_number))
        .collect();
    let events = || entries.iter().map(|entry| &entry.event);
    built.fixed(events().map(|event| Some(event.stream.tenant_id.as_bytes())));
    built.fixed(events().map(|event| Some(event.stream.store_id.as_bytes())));
    built.number::<Int64Type>(numbers?.into_iter().map(Some));
    built.fixed(events().map(|event| Some(event.event_id.as_bytes())));
    built.fixed(events().map(|event| event.command_id.as_ref().map(CommandId::as_bytes)));
    built.number::<UInt32Type>(events().map(|event| Some(event.ves_version)));
    built.fixed(events().map(|event| Some(event.source_agent_id.as_bytes())));
    built.number::<UInt32Type>(events().map(|event| Some(event.agent_key_id)));
    built.text(events().map(|event| Some(event.entity_type.as_str())));
    built.text(events().map(|event| Some(event.entity_id.as_str())));
    built.text(events().map(|event| Some(event.event_type.as_str())));
    built.time(entries.iter().map(|entry| Some(entry.created_at_column)));
    built.text(events().map(|event| Some(event.created_at.as_str())));
    built.time(entries.iter().map(|entry| Some(entry.sequenced_at)));
    built.number::<Int32Type>(events().map(|event| Some(event.payload.kind().cast_signed())));
    built.text(events().map(|event| match &event.payload {
        Payload::Plain(json) => Some(json.as_str()),
        Payload::Encrypted(_) => None,
    }));
    built.text(events().map(|event| match &event.payload {
        Payload::Encrypted(json) => Some(json.as_str()),
        Payload::Plain(_) => None,
    }));
    built.fixed(events().map(|event| Some(&event.payload_plain_hash.0)));
    built.fixed(events().map(|event| Some(&event.payload_cipher_hash.0)));
    built.fixed(entries.iter().map(|entry| Some(&entry.event_signing_hash.0)));
    built.fixed(events().map(|event| Some(&event.agent_signature.0)));
    built.number::<Int64Type>(events().map(|event| event.base_version));
    built.number::<Int16Type>(events().map(|event| Some(event.agent_signature_scheme.0)));
    built.bytes(events().map(|event| event.agent_signature_bundle.as_deref()));
    Ok(())
}

fn receipt_columns(built: &mut Built, entries: &[LogEntry]) -> Result<(), ArchiveError> {
    let receipts = || entries.iter().map(|entry| entry.receipt.as_ref());
    let numbers: Result<Vec<Option<i64>>, _> = receipts()
        .map(|receipt| {
            receipt
                .map(|r| signed("receipt for number", r.sequence_number))
                .transpose()
        })
        .collect();
    built.fixed(receipts().map(|receipt| receipt.map(|r| r.sequencer_id.as_bytes())));
    built.number::<Int64Type>(numbers?.into_iter());
    built.time(receipts().map(|receipt| receipt.map(|r| r.sequenced_at)));
    built.fixed(receipts().map(|receipt| receipt.map(|r| &r.receipt_hash.0)));
    built.fixed(receipts().map(|receipt| receipt.and_then(|r| r.sequencer_signature.as_ref().map(|s| &s.0))));
    built.number::<Int32Type>(receipts().map(|receipt| receipt.map(|r| r.sequencer_key_version)));
    built.number::<Int16Type>(receipts().map(|receipt| receipt.map(|r| r.receipt_signature_scheme)));
    built.bytes(receipts().map(|receipt| receipt.and_then(|r| r.receipt_signature_bundle.as_deref())));
    Ok(())
}

/// Makes entries of rows that have the columns of [`SCHEMA`]; `file` is where they were read.
///
/// # Errors
/// If a row holds what no row of a log can.
pub fn to_entries(rows: &RecordBatch, file: &str) -> Result<Vec<LogEntry>, ArchiveError> {
    let taken = Taken::new(rows, file);
    let number = taken.i64("sequence_number")?;
    let created_at = taken.time("created_at")?;
    let sequenced_at = taken.time("sequenced_at")?;
    let signing_hash = taken.fixed::<32>("event_signing_hash")?;
    let event = event_of(&taken, file)?;
    let receipt = receipt_of(&taken)?;
    let entry = |row: usize| -> Result<LogEntry, ArchiveError> {
        let sequence_number = u64::try_from(number.at(row)).ok().filter(|number| *number > 0);
        let sequence_number = sequence_number
            .ok_or_else(|| ArchiveError::damaged(file, format!("row {row} has number {}", number.at(row))))?;
        let event = event(row)?;
        Ok(LogEntry {
            sequence_number,
            event_signing_hash: signing_hash.hash(row),
            created_at_column: created_at.at(row),
            sequenced_at: sequenced_at.at(row),
            receipt: receipt(row, event.event_id),
            event,
        })
    };
    (0..rows.num_rows()).map(entry).collect()
}

fn event_of<'a>(
    taken: &Taken<'a>,
    file: &'a str,
) -> Result<impl Fn(usize) -> Result<Event, ArchiveError> + use<'a>, ArchiveError> {
    let tenant = taken.fixed::<16>("tenant_id")?;
    let store = taken.fixed::<16>("store_id")?;
    let event_id = taken.fixed::<16>("event_id")?;
    let command_id = taken.fixed::<16>("command_id")?;
    let ves_version = taken.u32("ves_version")?;
    let agent = taken.fixed::<16>("source_agent_id")?;
    let agent_key_id = taken.u32("agent_key_id")?;
    let entity_type = taken.text("entity_type")?;
    let entity_id = taken.text("entity_id")?;
    let event_type = taken.text("event_type")?;
    let created_at = taken.text("created_at_str")?;
    let kind = taken.i32("payload_kind")?;
    let plain = taken.text("payload")?;
    let encrypted = taken.text("payload_encrypted")?;
    let plain_hash = taken.fixed::<32>("payload_plain_hash")?;
    let cipher_hash = taken.fixed::<32>("payload_cipher_hash")?;
    let signature = taken.fixed::<64>("agent_signature")?;
    let base_version = taken.i64("base_version")?;
    let scheme = taken.i16("agent_signature_scheme")?;
    let bundle = taken.bytes("agent_signature_bundle")?;
    Ok(move |row: usize| {
        let payload = match (kind.at(row), plain.optional(row), encrypted.optional(row)) {
            (0, Some(json), None) => Payload::Plain(json),
            (1, None, Some(json)) => Payload::Encrypted(json),
            (kind, ..) => {
                let what = format!("row {row} has a payload of kind {kind} that is not of that kind");
                return Err(ArchiveError::damaged(file, what));
            }
        };
        Ok(Event {
            event_id: EventId(event_id.uuid(row)),
            stream: StreamKey::new(TenantId(tenant.uuid(row)), StoreId(store.uuid(row))),
            ves_version: ves_version.at(row),
            source_agent_id: AgentId(agent.uuid(row)),
            agent_key_id: agent_key_id.at(row),
            entity_type: entity_type.at(row),
            entity_id: entity_id.at(row),
            event_type: event_type.at(row),
            created_at: created_at.at(row),
            payload,
            payload_plain_hash: plain_hash.hash(row),
            payload_cipher_hash: cipher_hash.hash(row),
            agent_signature: SignatureBytes(signature.at(row)),
            agent_signature_scheme: SignatureScheme(scheme.at(row)),
            agent_signature_bundle: bundle.optional(row),
            command_id: command_id
                .optional(row)
                .map(|id| CommandId(uuid::Uuid::from_bytes(id))),
            base_version: base_version.optional(row),
        })
    })
}

fn receipt_of<'a>(
    taken: &Taken<'a>,
) -> Result<impl Fn(usize, EventId) -> Option<Receipt> + use<'a>, ArchiveError> {
    let sequencer = taken.fixed::<16>("sequencer_id")?;
    let number = taken.i64("receipt_sequence_number")?;
    let at = taken.time("receipt_sequenced_at")?;
    let hash = taken.fixed::<32>("receipt_hash")?;
    let signature = taken.fixed::<64>("sequencer_signature")?;
    let version = taken.i32("sequencer_key_version")?;
    let scheme = taken.i16("receipt_signature_scheme")?;
    let bundle = taken.bytes("receipt_signature_bundle")?;
    Ok(move |row: usize, event_id: EventId| {
        let sequencer_id = SequencerId(uuid::Uuid::from_bytes(sequencer.optional(row)?));
        Some(Receipt {
            event_id,
            sequencer_id,
            // A number below 1 promises nothing that an event can have: it contradicts the row, and is told so.
            sequence_number: u64::try_from(number.at(row)).unwrap_or(0),
            sequenced_at: at.at(row),
            receipt_hash: hash.optional(row).map_or(ves::Hash32::ZERO, ves::Hash32),
            sequencer_signature: signature.optional(row).map(SignatureBytes),
            sequencer_key_version: version.at(row),
            receipt_signature_scheme: scheme.at(row),
            receipt_signature_bundle: bundle.optional(row),
        })
    })
}
