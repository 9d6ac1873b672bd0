//! What a row of an outbox is: where it lies, what it claims, and what it holds.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize, Serializer};
use ves::{
    AgentId, CommandId, Event, EventId, Hash32, Payload, SignatureBytes, SignatureScheme, StoreId, StreamKey,
    TenantId, Timestamp,
};

/// The longest value that is read. The sequencer takes payloads of at most 1 MiB.
pub const MAX_FIELD_BYTES: usize = 16 << 20;

/// A table whose rows are events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Table {
    /// What the agent itself made.
    #[serde(rename = "_ves_outbox")]
    Outbox,
    /// What it got from the sequencer.
    #[serde(rename = "_ves_pulled_events")]
    Pulled,
    /// What it got from the sequencer and would not accept.
    #[serde(rename = "_ves_quarantined_events")]
    Quarantined,
    /// What the agent itself made, in the shape from before VES outboxes.
    #[serde(rename = "outbox")]
    OlderOutbox,
    /// What it got from the sequencer, in that shape.
    #[serde(rename = "pulled_events")]
    OlderPulled,
}

impl Table {
    /// All of them, in the order in which they are read.
    pub const ALL: [Table; 5] = [
        Table::Outbox,
        Table::Pulled,
        Table::Quarantined,
        Table::OlderOutbox,
        Table::OlderPulled,
    ];

    /// Its name in the database.
    pub fn name(self) -> &'static str {
        match self {
            Table::Outbox => "_ves_outbox",
            Table::Pulled => "_ves_pulled_events",
            Table::Quarantined => "_ves_quarantined_events",
            Table::OlderOutbox => "outbox",
            Table::OlderPulled => "pulled_events",
        }
    }

    /// Whether it is of the shape from before VES outboxes.
    pub fn is_older(self) -> bool {
        matches!(self, Table::OlderOutbox | Table::OlderPulled)
    }

    /// The columns without which its rows say nothing.
    pub(crate) fn required_columns(self) -> Vec<&'static str> {
        let own: &[&str] = match self {
            Table::Outbox => &["sync_status", "remote_sequence"],
            Table::Pulled | Table::Quarantined => &["sequence_number", "sequenced_at"],
            Table::OlderOutbox => &["signature", "pushed_at", "acked_at", "remote_sequence"],
            Table::OlderPulled => &["sequence_number", "sequenced_at"],
        };
        let common: &[&str] = if self.is_older() {
            &OLDER_REQUIRED
        } else {
            &REQUIRED
        };
        common.iter().chain(own).copied().collect()
    }
}

/// Where a row lies: named in messages and reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowPlace {
    /// The outbox.
    #[serde(serialize_with = "path_as_text")]
    pub file: Arc<Path>,
    /// The table.
    pub table: Table,
    /// The row's number in it: `local_seq` of the outbox, `sequence_number` of the pulled events.
    pub row: i64,
}

/// A path in a report: bytes that are not UTF-8 show as replacement characters rather than fail the report.
pub(crate) fn path_as_text<S: Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&path.display())
}

impl fmt::Display for RowPlace {
    /// `alpha.db _ves_outbox row 12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} {} row {}",
            self.file.display(),
            self.table.name(),
            self.row
        )
    }
}

/// What an agent believes about an event of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutboxStatus {
    /// Not yet acknowledged.
    Pending,
    /// Acknowledged.
    Synced,
    /// Could not be sent.
    Failed,
    /// Refused by the sequencer.
    Rejected,
    /// A state that no agent writes.
    Unknown,
}

impl OutboxStatus {
    /// Its name, as an outbox has it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Synced => "synced",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Unknown => "unknown",
        }
    }
}

/// How the agent came to hold the row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "origin", rename_all = "snake_case")]
pub enum Origin {
    /// It made the event.
    Outbox {
        /// The agent's own order of its events.
        local_seq: i64,
        /// What it believes about the event.
        status: OutboxStatus,
    },
    /// It got the event from the sequencer.
    Pulled,
    /// It got the event from the sequencer and would not accept it.
    Quarantined,
}

/// What a row holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An event with a signature, not checked yet (see [`crate::check()`]).
    Signed(Box<Event>),
    /// An event of an older outbox: signed, but its `created_at` was rendered anew and the number of its key
    /// was not kept. [`crate::RenderingSearch`] finds what was signed.
    Rerendered(Box<Event>),
    /// An event without a signature of its agent, as pulls by older agents and rows of the older log
    /// leave them. Never to be used as content; that this event was at this number is still a hint.
    Unsigned {
        /// How it shows.
        why: String,
    },
    /// A row that names its event, but whose signed fields cannot be read. A hint as above.
    Malformed {
        /// What cannot be read.
        why: String,
    },
}

impl Content {
    /// The signed event, if there is one.
    pub fn event(&self) -> Option<&Event> {
        match self {
            Content::Signed(event) => Some(event),
            Content::Rerendered(_) | Content::Unsigned { .. } | Content::Malformed { .. } => None,
        }
    }
}

/// A row of an outbox. Everything in it is a claim of its holder until it has been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeldRow {
    /// Where it lies.
    pub place: RowPlace,
    /// How the agent came to hold it.
    pub origin: Origin,
    /// The event that it is, or says it is.
    pub event_id: EventId,
    /// The event's stream.
    pub stream: StreamKey,
    /// The number that the holder claims for the event: `remote_sequence` or `sequence_number`. Often wrong.
    pub claimed_sequence: Option<u64>,
    /// The number that an unsigned row of the older shape has. It is one of the older log, which counts for
    /// itself: it says nothing about VES numbers.
    pub older_log_sequence: Option<u64>,
    /// That it was sent and never acknowledged, where the outbox tells (the older shape): its agent waits and does not
    /// send it again.
    pub awaits_acknowledgement: bool,
    /// When the sequencer is said to have given it (pulled and quarantined rows).
    pub sequenced_at: Option<Timestamp>,
    /// When the agent noted the sequencer's answer (`synced_at`), as its database renders it, if its table has that
    /// column. The rows of one answer have it in common.
    pub noted_at: Option<String>,
    /// What it holds.
    pub content: Content,
    /// Bookkeeping that could not be read and was left out (a negative number, an unknown state …); what
    /// was signed is not concerned.
    pub flaw: Option<String>,
}

impl HeldRow {
    /// About how much memory what it holds takes.
    pub(crate) fn payload_bytes(&self) -> usize {
        match &self.content {
            Content::Signed(event) | Content::Rerendered(event) => {
                event.payload.json().len() + event.agent_signature_bundle.as_ref().map_or(0, Vec::len)
            }
            Content::Unsigned { .. } | Content::Malformed { .. } => 0,
        }
    }
}

/// A row that does not even say which event of which stream it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {what}")]
pub struct RowError {
    /// Where it lies.
    pub place: RowPlace,
    /// What is wrong with it.
    pub what: String,
}

/// The columns that a row cannot do without, beside those of its table. Others may be missing: files of
/// the first version have no scheme columns.
const REQUIRED: [&str; 16] = [
    "event_id",
    "tenant_id",
    "store_id",
    "entity_type",
    "entity_id",
    "event_type",
    "ves_version",
    "payload",
    "payload_kind",
    "payload_encrypted",
    "payload_plain_hash",
    "payload_cipher_hash",
    "agent_key_id",
    "agent_signature",
    "source_agent",
    "created_at",
];

/// As [`REQUIRED`], for the shape from before VES outboxes.
const OLDER_REQUIRED: [&str; 8] = [
    "event_id",
    "tenant_id",
    "store_id",
    "entity_type",
    "entity_id",
    "event_type",
    "payload",
    "created_at",
];

/// Reads rows of one table, whose columns it has found by name.
pub(crate) struct RowReader {
    file: Arc<Path>,
    table: Table,
    names: Vec<String>,
}

impl RowReader {
    /// `names` are the columns of the statement, of which the first is the rowid.
    pub(crate) fn new(file: Arc<Path>, table: Table, names: Vec<String>) -> Self {
        // SQLite's names differ in more than case.
        let names = names
            .into_iter()
            .map(|name: String| name.to_ascii_lowercase())
            .collect();
        Self { file, table, names }
    }

    /// Where a column is in the statement. The rowid is never taken for a column.
    pub(crate) fn column(&self, name: &str) -> Option<usize> {
        let index = self.names.iter().skip(1).position(|n| n == name)?;
        Some(index + 1)
    }

    pub(crate) fn place(&self, row: i64) -> RowPlace {
        RowPlace {
            file: Arc::clone(&self.file),
            table: self.table,
            row,
        }
    }

    pub(crate) fn read(&self, row: &rusqlite::Row<'_>) -> Result<HeldRow, RowError> {
        let number = row.get::<_, i64>(0).unwrap_or(i64::MIN);
        let fields = Fields { row, reader: self };
        let place = self.place(number);
        match self.read_fields(&fields, place.clone()) {
            Ok(held) => Ok(held),
            Err(what) => Err(RowError { place, what }),
        }
    }

    fn read_fields(&self, fields: &Fields<'_>, place: RowPlace) -> Result<HeldRow, String> {
        let event_id: EventId = fields.parsed("event_id")?;
        let tenant: TenantId = fields.parsed("tenant_id")?;
        let store: StoreId = fields.parsed("store_id")?;
        let stream = StreamKey::new(tenant, store);
        let mut flaws = Vec::new();
        let claim_column = match self.table {
            Table::Outbox | Table::OlderOutbox => "remote_sequence",
            Table::Pulled | Table::Quarantined | Table::OlderPulled => "sequence_number",
        };
        let mut claimed_sequence = kept(fields.claim(claim_column), &mut flaws).flatten();
        let (origin, sequenced_at, awaits_acknowledgement) = self.origin(fields, place.row, &mut flaws);
        let content = match self.table {
            Table::OlderOutbox => fields.older_content(event_id, stream, &mut flaws),
            Table::OlderPulled => Ok(Content::Unsigned {
                why: "the older shape keeps no signature of pulled events".into(),
            }),
            Table::Outbox | Table::Pulled | Table::Quarantined => {
                fields.content(event_id, stream, &mut flaws)
            }
        };
        let content = content.unwrap_or_else(|why| Content::Malformed { why });
        let mut older_log_sequence = None;
        if self.table.is_older() && !matches!(content, Content::Rerendered(_)) {
            older_log_sequence = claimed_sequence.take();
        }
        let noted_at = match self.table {
            Table::Outbox => fields.short_text("synced_at"),
            _ => None,
        };
        Ok(HeldRow {
            place,
            noted_at,
            origin,
            event_id,
            stream,
            claimed_sequence,
            older_log_sequence,
            awaits_acknowledgement,
            sequenced_at,
            content,
            flaw: (!flaws.is_empty()).then(|| flaws.join("; ")),
        })
    }

    /// Whose row it is and in what state, when it was numbered, and whether its agent waits for an acknowledgement.
    fn origin(
        &self,
        fields: &Fields<'_>,
        local_seq: i64,
        flaws: &mut Vec<String>,
    ) -> (Origin, Option<Timestamp>, bool) {
        match self.table {
            Table::Outbox => {
                let status = kept(fields.status(), flaws).unwrap_or(OutboxStatus::Unknown);
                (Origin::Outbox { local_seq, status }, None, false)
            }
            Table::OlderOutbox => {
                let acked = kept(fields.value("acked_at").map(|v| v != ValueRef::Null), flaws);
                let pushed = kept(fields.value("pushed_at").map(|v| v != ValueRef::Null), flaws);
                let status = match acked {
                    Some(true) => OutboxStatus::Synced,
                    Some(false) => OutboxStatus::Pending,
                    None => OutboxStatus::Unknown,
                };
                let awaits_acknowledgement = (pushed, acked) == (Some(true), Some(false));
                (Origin::Outbox { local_seq, status }, None, awaits_acknowledgement)
            }
            Table::Pulled | Table::OlderPulled => {
                (Origin::Pulled, kept(fields.parsed("sequenced_at"), flaws), false)
            }
            Table::Quarantined => {
                let sequenced_at = kept(fields.parsed("sequenced_at"), flaws);
                (Origin::Quarantined, sequenced_at, false)
            }
        }
    }
}

/// The value, or its error among the flaws.
fn kept<T>(value: Result<T, String>, flaws: &mut Vec<String>) -> Option<T> {
    value.map_err(|what| flaws.push(what)).ok()
}

struct Fields<'a> {
    row: &'a rusqlite::Row<'a>,
    reader: &'a RowReader,
}

impl Fields<'_> {
    /// `Null` if the table has no such column.
    fn value(&self, name: &str) -> Result<ValueRef<'_>, String> {
        let Some(index) = self.reader.column(name) else {
            return Ok(ValueRef::Null);
        };
        self.row
            .get_ref(index)
            .map_err(|error| format!("{name}: {error}"))
    }

    /// Text as it is stored, whatever SQLite type it has; `None` for NULL.
    fn text(&self, name: &str) -> Result<Option<&str>, String> {
        let bytes = match self.value(name)? {
            ValueRef::Null => return Ok(None),
            ValueRef::Text(bytes) => bytes,
            ValueRef::Blob(_) => return Err(format!("{name} is a blob, not text")),
            ValueRef::Integer(_) | ValueRef::Real(_) => return Err(format!("{name} is a number, not text")),
        };
        if bytes.len() > MAX_FIELD_BYTES {
            return Err(format!(
                "{name} has {} bytes, more than {MAX_FIELD_BYTES}",
                bytes.len()
            ));
        }
        if bytes.contains(&0) {
            return Err(format!(
                "{name} holds a NUL character, which no sequencer can store"
            ));
        }
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| format!("{name} is not UTF-8"))
    }

    fn required_text(&self, name: &str) -> Result<&str, String> {
        self.text(name)?.ok_or_else(|| format!("{name} is missing"))
    }

    fn parsed<T: std::str::FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<T, String> {
        self.required_text(name)?
            .parse()
            .map_err(|error| format!("{name}: {error}"))
    }

    /// A text of at most 64 bytes, if there is one.
    fn short_text(&self, name: &str) -> Option<String> {
        match self.value(name) {
            Ok(ValueRef::Text(text)) if text.len() <= 64 => Some(String::from_utf8_lossy(text).into_owned()),
            _ => None,
        }
    }

    fn integer(&self, name: &str) -> Result<Option<i64>, String> {
        match self.value(name)? {
            ValueRef::Null => Ok(None),
            ValueRef::Integer(number) => Ok(Some(number)),
            ValueRef::Real(_) | ValueRef::Text(_) | ValueRef::Blob(_) => {
                Err(format!("{name} is not an integer"))
            }
        }
    }

    fn small<T: TryFrom<i64>>(&self, name: &str) -> Result<T, String> {
        let number = self.integer(name)?.ok_or_else(|| format!("{name} is missing"))?;
        T::try_from(number).map_err(|_| format!("{name} is {number}, out of range"))
    }

    /// A sequence number: positions start at 1.
    fn claim(&self, name: &str) -> Result<Option<u64>, String> {
        match self.integer(name)? {
            None => Ok(None),
            Some(number) if number >= 1 => Ok(Some(number.unsigned_abs())),
            Some(number) => Err(format!("{name} is {number}, which no event can have")),
        }
    }

    fn status(&self) -> Result<OutboxStatus, String> {
        Ok(match self.text("sync_status")? {
            Some("pending") => OutboxStatus::Pending,
            Some("synced") => OutboxStatus::Synced,
            Some("failed") => OutboxStatus::Failed,
            Some("rejected") => OutboxStatus::Rejected,
            Some(other) => {
                return Err(format!(
                    "sync_status is {:?}",
                    other.chars().take(40).collect::<String>()
                ));
            }
            None => return Err("sync_status is missing".into()),
        })
    }

    fn content(
        &self,
        event_id: EventId,
        stream: StreamKey,
        flaws: &mut Vec<String>,
    ) -> Result<Content, String> {
        let scheme = match self.integer("agent_signature_scheme")? {
            None => SignatureScheme::ED25519,
            Some(number) => SignatureScheme(
                i16::try_from(number).map_err(|_| format!("agent_signature_scheme is {number}"))?,
            ),
        };
        let bundle = self.bundle()?;
        let agent_key_id: u32 = self.small("agent_key_id")?;
        let signature = self.text("agent_signature")?.unwrap_or_default();
        let post_quantum = !scheme.is_ed25519() && bundle.is_some();
        if let Some(why) = unsigned(signature, agent_key_id, post_quantum) {
            return Ok(Content::Unsigned { why });
        }
        let payload = match self.small::<u32>("payload_kind")? {
            // In rows of encrypted events `payload` is the agent's own plaintext; it was never signed or sent.
            1 => Payload::Encrypted(self.required_text("payload_encrypted")?.to_owned()),
            0 if self.text("payload_encrypted")?.is_some() => {
                return Err("payload_kind is 0, but payload_encrypted is there too".into());
            }
            0 => Payload::Plain(self.required_text("payload")?.to_owned()),
            other => return Err(format!("payload_kind is {other}")),
        };
        let hash = |name| self.parsed::<Hash32>(name);
        let agent_signature: SignatureBytes = signature
            .parse()
            .map_err(|error| format!("agent_signature: {error}"))?;
        Ok(Content::Signed(Box::new(Event {
            event_id,
            stream,
            ves_version: self.small("ves_version")?,
            source_agent_id: self.parsed::<AgentId>("source_agent")?,
            agent_key_id,
            entity_type: self.required_text("entity_type")?.to_owned(),
            entity_id: self.required_text("entity_id")?.to_owned(),
            event_type: self.required_text("event_type")?.to_owned(),
            created_at: self.required_text("created_at")?.to_owned(),
            payload,
            payload_plain_hash: hash("payload_plain_hash")?,
            payload_cipher_hash: hash("payload_cipher_hash")?,
            agent_signature,
            agent_signature_scheme: scheme,
            agent_signature_bundle: bundle,
            // Neither is signed: without them the event is still the event.
            command_id: kept(self.command_id(), flaws).flatten(),
            base_version: kept(self.integer("base_version"), flaws).flatten(),
        })))
    }

    /// A row of the older `outbox`. Without a signature it is an event of the older log.
    fn older_content(
        &self,
        event_id: EventId,
        stream: StreamKey,
        flaws: &mut Vec<String>,
    ) -> Result<Content, String> {
        let agent_signature = match self.value("signature")? {
            ValueRef::Null => {
                let why =
                    "it has no signature: an event of the older log, whose numbers are not those of VES";
                return Ok(Content::Unsigned { why: why.into() });
            }
            ValueRef::Blob(bytes) => {
                SignatureBytes::try_from(bytes).map_err(|e| format!("signature: {e}"))?
            }
            ValueRef::Text(_) => self.parsed::<SignatureBytes>("signature")?,
            ValueRef::Integer(_) | ValueRef::Real(_) => return Err("signature is a number".into()),
        };
        let payload = self.required_text("payload")?.to_owned();
        // `payload_hash` is of another form; what was signed is computed from the payload.
        let payload_plain_hash =
            ves::payload::plain_hash(&payload).map_err(|error| format!("payload: {error}"))?;
        Ok(Content::Rerendered(Box::new(Event {
            event_id,
            stream,
            ves_version: 1,
            source_agent_id: self.parsed::<AgentId>("source_agent")?,
            agent_key_id: 0,
            entity_type: self.required_text("entity_type")?.to_owned(),
            entity_id: self.required_text("entity_id")?.to_owned(),
            event_type: self.required_text("event_type")?.to_owned(),
            created_at: self.required_text("created_at")?.to_owned(),
            payload: Payload::Plain(payload),
            payload_plain_hash,
            payload_cipher_hash: ves::payload::NO_CIPHER_HASH,
            agent_signature,
            agent_signature_scheme: SignatureScheme::ED25519,
            agent_signature_bundle: None,
            command_id: kept(self.command_id(), flaws).flatten(),
            base_version: kept(self.integer("base_version"), flaws).flatten(),
        })))
    }

    fn command_id(&self) -> Result<Option<CommandId>, String> {
        match self.text("command_id")? {
            None | Some("") => Ok(None),
            Some(_) => self.parsed("command_id").map(Some),
        }
    }

    /// JSON, as text in the files that are known.
    fn bundle(&self) -> Result<Option<Vec<u8>>, String> {
        let bytes = match self.value("agent_signature_bundle")? {
            ValueRef::Null => return Ok(None),
            ValueRef::Text(bytes) | ValueRef::Blob(bytes) => bytes,
            ValueRef::Integer(_) | ValueRef::Real(_) => {
                return Err("agent_signature_bundle is a number".into());
            }
        };
        if bytes.len() > MAX_FIELD_BYTES {
            return Err(format!("agent_signature_bundle has {} bytes", bytes.len()));
        }
        Ok((!bytes.is_empty()).then(|| bytes.to_vec()))
    }
}

/// How it shows that nobody signed the row. With a post-quantum bundle the column may be zeros: then the
/// bundle is the signature.
fn unsigned(signature: &str, agent_key_id: u32, post_quantum: bool) -> Option<String> {
    let digits = signature.strip_prefix("0x").unwrap_or(signature);
    if digits.is_empty() {
        return Some("it has no signature".into());
    }
    if digits.bytes().all(|b| b == b'0') && !(post_quantum && digits.len() == 128) {
        return Some("its signature is zero".into());
    }
    if digits.len() == 64 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Some("it has 32 bytes where a signature has 64".into());
    }
    (agent_key_id == 0).then(|| "its key number is 0, which no key has".into())
}

/// A row, and where it was read.
#[derive(Debug, Clone)]
pub struct Item {
    /// Where it was read: an outbox's table and row, or a line of an export.
    pub place: String,
    /// The row. In an export its place is that in the outbox which it came from.
    pub row: HeldRow,
}

#[cfg(test)]
mod tests {
    use super::unsigned;

    #[test]
    fn rows_that_nobody_signed_are_recognised() {
        let full = "ab".repeat(64);
        for (signature, key, post_quantum) in [
            ("", 1, false),
            ("0x", 1, false),
            (&*"0".repeat(128), 1, false),
            (&*"0".repeat(64), 0, false),
            (&*"0".repeat(64), 1, true),
            (&*"ab".repeat(32), 1, false),
            (&*full, 0, false),
        ] {
            assert!(unsigned(signature, key, post_quantum).is_some(), "{signature}");
        }
        assert_eq!(unsigned(&full, 1, false), None);
        assert_eq!(unsigned(&format!("0x{full}"), 1, false), None);
        assert_eq!(unsigned(&"0".repeat(128), 1, true), None);
        // Not a signature at all, but somebody meant one: malformed, not unsigned.
        assert_eq!(unsigned("abc", 1, false), None);
    }
}
