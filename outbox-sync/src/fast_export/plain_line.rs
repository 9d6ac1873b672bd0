//! Lines of an export straight from the columns of ordinary rows.
//!
//! Nearly all rows of an outbox are ordinary: every column has the type and form that agents write. Their line is
//! put together from the columns' own text, without a value for the event in between. What is not ordinary in any
//! way (another spelling of a UUID, a control character in a name, an unknown state …) is left to [`RowReader`] and
//! [`ExportWriter::add`](crate::export::ExportWriter::add), and so are all verdicts on rows that are wrong. Where this
//! gives a line, it is the line that those would give; tests compare the two.

use rusqlite::types::ValueRef;
use uuid::Uuid;
use ves::{StreamKey, Timestamp};

use crate::export::{Filter, RowFacts, Tally, json_text};
use crate::row::{MAX_FIELD_BYTES, OutboxStatus, RowReader, Table};
use crate::verify::status_name;

use super::skim::is_json_line;

/// A row's values by the columns of a statement that begins with the row number.
pub(crate) trait Values {
    /// `None` if there is no such column.
    fn value(&self, column: usize) -> Option<ValueRef<'_>>;
}

impl Values for rusqlite::Row<'_> {
    fn value(&self, column: usize) -> Option<ValueRef<'_>> {
        self.get_ref(column).ok()
    }
}

/// The columns of an ordinary row; of those that a table may lack, the place in the statement.
#[derive(Debug, Clone, Copy)]
struct Columns {
    event_id: usize,
    tenant_id: usize,
    store_id: usize,
    source_agent: usize,
    entity_type: usize,
    entity_id: usize,
    event_type: usize,
    created_at: usize,
    ves_version: usize,
    payload: usize,
    payload_kind: usize,
    payload_encrypted: usize,
    payload_plain_hash: usize,
    payload_cipher_hash: usize,
    agent_key_id: usize,
    agent_signature: usize,
    number: usize,
    sync_status: Option<usize>,
    sequenced_at: Option<usize>,
    command_id: Option<usize>,
    base_version: Option<usize>,
    scheme: Option<usize>,
    bundle: Option<usize>,
}

/// Writes the lines of one table's ordinary rows.
pub(crate) struct PlainLines<'a> {
    columns: Columns,
    table: Table,
    /// The line up to the number of the row.
    start: Vec<u8>,
    filter: &'a Filter,
    /// UUIDs that come again and again.
    known: [LastUuid; 3],
}

/// A UUID as it was last met, and as it is written.
#[derive(Debug, Clone, Copy)]
struct LastUuid {
    met: [u8; 36],
    written: [u8; 36],
    id: Uuid,
}

/// What became of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Done {
    /// Its line was written.
    Written,
    /// It is not asked for.
    PassedOver,
}

impl<'a> PlainLines<'a> {
    /// `None` for tables whose rows are never ordinary.
    pub(crate) fn new(reader: &RowReader, table: Table, file: &str, filter: &'a Filter) -> Option<Self> {
        if table.is_older() {
            return None;
        }
        let optional = |name| reader.column(name);
        let own = matches!(table, Table::Outbox);
        let columns = Columns {
            event_id: reader.column("event_id")?,
            tenant_id: reader.column("tenant_id")?,
            store_id: reader.column("store_id")?,
            source_agent: reader.column("source_agent")?,
            entity_type: reader.column("entity_type")?,
            entity_id: reader.column("entity_id")?,
            event_type: reader.column("event_type")?,
            created_at: reader.column("created_at")?,
            ves_version: reader.column("ves_version")?,
            payload: reader.column("payload")?,
            payload_kind: reader.column("payload_kind")?,
            payload_encrypted: reader.column("payload_encrypted")?,
            payload_plain_hash: reader.column("payload_plain_hash")?,
            payload_cipher_hash: reader.column("payload_cipher_hash")?,
            agent_key_id: reader.column("agent_key_id")?,
            agent_signature: reader.column("agent_signature")?,
            number: reader.column(if own { "remote_sequence" } else { "sequence_number" })?,
            sync_status: if own {
                Some(reader.column("sync_status")?)
            } else {
                None
            },
            sequenced_at: if own {
                None
            } else {
                Some(reader.column("sequenced_at")?)
            },
            command_id: optional("command_id"),
            base_version: optional("base_version"),
            scheme: optional("agent_signature_scheme"),
            bundle: optional("agent_signature_bundle"),
        };
        let mut start = b"{\"type\":\"event\",\"held\":{\"file\":".to_vec();
        start.extend_from_slice(json_text(file).as_bytes());
        start.extend_from_slice(b",\"table\":");
        start.extend_from_slice(json_text(table.name()).as_bytes());
        start.extend_from_slice(b",\"row\":");
        Some(Self {
            columns,
            table,
            start,
            filter,
            known: [LastUuid::NIL; 3],
        })
    }

    /// Appends the line of a row, without what separates it from others, and counts it. `None` if the row is not ordinary;
    /// `out` is as it was then.
    pub(crate) fn append(
        &mut self,
        row: &impl Values,
        number: i64,
        out: &mut Vec<u8>,
        tally: &mut Tally,
    ) -> Option<Done> {
        let begun = out.len();
        let done = self.try_append(row, number, out, tally);
        if done != Some(Done::Written) {
            out.truncate(begun);
        }
        done
    }

    fn try_append(
        &mut self,
        row: &impl Values,
        number: i64,
        out: &mut Vec<u8>,
        tally: &mut Tally,
    ) -> Option<Done> {
        let head = self.head(row)?;
        out.extend_from_slice(&self.start);
        write_held(&head, number, out)?;
        self.write_names(row, &head, out)?;
        self.write_payload(row, out)?;
        self.write_signed(row, out)?;
        self.write_options(row, out)?;
        out.extend_from_slice(b"}}");
        let facts = RowFacts {
            state: head.state,
            stream: head.stream,
            created_at: head.created_at,
            entity_type: head.entity_type,
            entity_id: head.entity_id,
        };
        if !self.filter.wants(&facts) {
            return Some(Done::PassedOver);
        }
        tally.add(head.stream, head.state);
        Some(Done::Written)
    }

    /// Whose event it is, in what state, and what it is filtered by.
    fn head<'r>(&mut self, row: &'r impl Values) -> Option<RowHead<'r>> {
        let c = self.columns;
        let [tenant, store, agent] = &mut self.known;
        tenant.meet(text(row, c.tenant_id)?)?;
        store.meet(text(row, c.store_id)?)?;
        agent.meet(text(row, c.source_agent)?)?;
        let status = match c.sync_status {
            Some(column) => Some(match text(row, column)? {
                b"pending" => OutboxStatus::Pending,
                b"synced" => OutboxStatus::Synced,
                b"failed" => OutboxStatus::Failed,
                b"rejected" => OutboxStatus::Rejected,
                _ => return None,
            }),
            None => None,
        };
        Some(RowHead {
            stream: StreamKey::new(tenant.id.into(), store.id.into()),
            claimed: match integer(row, c.number)? {
                Some(number) if number >= 1 => Some(number),
                Some(_) => return None,
                None => None,
            },
            status,
            state: match (status, self.table) {
                (Some(status), _) => status_name(status),
                (None, Table::Quarantined) => "quarantined",
                (None, _) => "pulled",
            },
            sequenced_at: match c.sequenced_at {
                Some(column) => Some(name(row, column)?.parse().ok()?),
                None => None,
            },
            created_at: name(row, c.created_at)?,
            entity_type: name(row, c.entity_type)?,
            entity_id: name(row, c.entity_id)?,
        })
    }

    /// The event up to its payload: ids, key, names, time.
    fn write_names(&self, row: &impl Values, head: &RowHead<'_>, out: &mut Vec<u8>) -> Option<()> {
        let c = self.columns;
        let [tenant, store, agent] = &self.known;
        out.extend_from_slice(b"},\"event\":{\"ves_version\":");
        decimal(out, u32::try_from(integer(row, c.ves_version)??).ok()?.into());
        out.extend_from_slice(b",\"event_id\":\"");
        out.extend_from_slice(&uuid(text(row, c.event_id)?)?);
        out.extend_from_slice(b"\",\"tenant_id\":\"");
        out.extend_from_slice(&tenant.written);
        out.extend_from_slice(b"\",\"store_id\":\"");
        out.extend_from_slice(&store.written);
        out.extend_from_slice(b"\",\"source_agent_id\":\"");
        out.extend_from_slice(&agent.written);
        out.extend_from_slice(b"\",\"agent_key_id\":");
        match u32::try_from(integer(row, c.agent_key_id)??) {
            // No key has number 0: nobody signed.
            Ok(key) if key > 0 => decimal(out, key.into()),
            _ => return None,
        }
        out.extend_from_slice(b",\"entity_type\":\"");
        out.extend_from_slice(head.entity_type.as_bytes());
        out.extend_from_slice(b"\",\"entity_id\":\"");
        out.extend_from_slice(head.entity_id.as_bytes());
        out.extend_from_slice(b"\",\"event_type\":\"");
        out.extend_from_slice(name(row, c.event_type)?.as_bytes());
        out.extend_from_slice(b"\",\"created_at\":\"");
        out.extend_from_slice(head.created_at.as_bytes());
        Some(())
    }

    fn write_payload(&self, row: &impl Values, out: &mut Vec<u8>) -> Option<()> {
        let c = self.columns;
        let (kind, payload): (&[u8], _) =
            match (integer(row, c.payload_kind)??, row.value(c.payload_encrypted)?) {
                (0, ValueRef::Null) => (b"\",\"payload_kind\":0,\"payload\":", text(row, c.payload)?),
                (1, ValueRef::Text(encrypted)) => {
                    (b"\",\"payload_kind\":1,\"payload_encrypted\":", encrypted)
                }
                _ => return None,
            };
        if payload.len() > MAX_FIELD_BYTES || !is_json_line(payload) || std::str::from_utf8(payload).is_err()
        {
            return None;
        }
        out.extend_from_slice(kind);
        out.extend_from_slice(payload);
        Some(())
    }

    /// The hashes and the signature.
    fn write_signed(&self, row: &impl Values, out: &mut Vec<u8>) -> Option<()> {
        let c = self.columns;
        out.extend_from_slice(b",\"payload_plain_hash\":\"0x");
        hex::<64>(out, text(row, c.payload_plain_hash)?)?;
        out.extend_from_slice(b"\",\"payload_cipher_hash\":\"0x");
        hex::<64>(out, text(row, c.payload_cipher_hash)?)?;
        out.extend_from_slice(b"\",\"agent_signature\":\"0x");
        let signature = out.len();
        hex::<128>(out, text(row, c.agent_signature)?)?;
        if out[signature..].iter().all(|digit| *digit == b'0') {
            return None;
        }
        out.push(b'"');
        Some(())
    }

    /// What an event need not have.
    fn write_options(&self, row: &impl Values, out: &mut Vec<u8>) -> Option<()> {
        let c = self.columns;
        if let Some(column) = c.command_id {
            match row.value(column)? {
                ValueRef::Null | ValueRef::Text(b"") => {}
                ValueRef::Text(id) => {
                    out.extend_from_slice(b",\"command_id\":\"");
                    out.extend_from_slice(&uuid(id)?);
                    out.push(b'"');
                }
                _ => return None,
            }
        }
        if let Some(column) = c.base_version
            && let Some(version) = integer(row, column)?
        {
            out.extend_from_slice(b",\"base_version\":");
            decimal(out, version);
        }
        if let Some(column) = c.scheme
            && let Some(scheme) = integer(row, column)?.filter(|scheme| *scheme != 0)
        {
            out.extend_from_slice(b",\"agent_signature_scheme\":");
            decimal(out, i16::try_from(scheme).ok()?.into());
        }
        match c.bundle {
            Some(column) if row.value(column)? != ValueRef::Null => None,
            _ => Some(()),
        }
    }
}

/// What is known of a row before its line is written.
struct RowHead<'r> {
    stream: StreamKey,
    claimed: Option<i64>,
    status: Option<OutboxStatus>,
    state: &'static str,
    sequenced_at: Option<Timestamp>,
    created_at: &'r str,
    entity_type: &'r str,
    entity_id: &'r str,
}

/// Where the event was held, and what its holder says of it.
fn write_held(head: &RowHead<'_>, number: i64, out: &mut Vec<u8>) -> Option<()> {
    decimal(out, number);
    if let Some(status) = head.status {
        out.extend_from_slice(b",\"status\":\"");
        out.extend_from_slice(status_name(status).as_bytes());
        out.push(b'"');
    }
    if let Some(claimed) = head.claimed {
        out.extend_from_slice(b",\"claimed_sequence\":");
        decimal(out, claimed);
    }
    if let Some(at) = head.sequenced_at {
        use std::io::Write as _;
        // Writing to a Vec cannot fail.
        write!(out, ",\"sequenced_at\":\"{at}\"").ok()?;
    }
    Some(())
}

fn text(row: &impl Values, column: usize) -> Option<&[u8]> {
    match row.value(column)? {
        ValueRef::Text(text) => Some(text),
        _ => None,
    }
}

/// Text that stands in JSON as it is, quotes aside.
fn name(row: &impl Values, column: usize) -> Option<&str> {
    let text = text(row, column)?;
    let mut special = false;
    for &byte in text {
        special |= (byte < 0x20) | (byte == b'"') | (byte == b'\\');
    }
    if special || text.len() > MAX_FIELD_BYTES {
        return None;
    }
    std::str::from_utf8(text).ok()
}

/// `Some(None)` for NULL.
fn integer(row: &impl Values, column: usize) -> Option<Option<i64>> {
    match row.value(column)? {
        ValueRef::Null => Some(None),
        ValueRef::Integer(number) => Some(Some(number)),
        _ => None,
    }
}

impl LastUuid {
    const NIL: Self = Self {
        met: *b"00000000-0000-0000-0000-000000000000",
        written: *b"00000000-0000-0000-0000-000000000000",
        id: Uuid::nil(),
    };

    /// Takes note of a UUID, which is mostly the last one again.
    fn meet(&mut self, text: &[u8]) -> Option<()> {
        let text: &[u8; 36] = text.try_into().ok()?;
        if self.met != *text {
            let written = uuid(text)?;
            *self = Self {
                met: *text,
                id: Uuid::try_parse_ascii(&written).ok()?,
                written,
            };
        }
        Some(())
    }
}

/// A UUID in its usual form of 36 characters, with small letters.
fn uuid(text: &[u8]) -> Option<[u8; 36]> {
    const HYPHENS: [bool; 36] = {
        let mut hyphens = [false; 36];
        hyphens[8] = true;
        hyphens[13] = true;
        hyphens[18] = true;
        hyphens[23] = true;
        hyphens
    };
    let text: &[u8; 36] = text.try_into().ok()?;
    let mut written = *text;
    let mut fine = true;
    for (byte, hyphen) in written.iter_mut().zip(HYPHENS) {
        fine &= ((*byte == b'-') & hyphen) | (is_digit(byte) & !hyphen);
    }
    fine.then_some(written)
}

/// Whether it is a hexadecimal digit; letters become small.
#[inline]
fn is_digit(byte: &mut u8) -> bool {
    // In ASCII the digits (and the hyphen) have the bit already that makes letters small. What has not is a control character or a
    // capital letter, and of those only letters become digits.
    let lower = *byte | 0x20;
    let digit = (byte.wrapping_sub(b'0') < 10) | (lower.wrapping_sub(b'a') < 6);
    *byte = lower;
    digit
}

/// So many digits in lower case; `0x` may stand before them.
fn hex<const DIGITS: usize>(out: &mut Vec<u8>, text: &[u8]) -> Option<()> {
    let digits: &[u8; DIGITS] = text.strip_prefix(b"0x").unwrap_or(text).try_into().ok()?;
    let begun = out.len();
    out.extend_from_slice(digits);
    let mut fine = true;
    for byte in &mut out[begun..] {
        fine &= is_digit(byte);
    }
    fine.then_some(())
}

fn decimal(out: &mut Vec<u8>, number: i64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut rest = number.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if number < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_what_the_library_takes_in_their_usual_form() {
        let text = b"0189aBcD-eF01-4321-8765-fedcba987654";
        let mut tried = vec![
            text.to_vec(),
            Vec::new(),
            text[1..].to_vec(),
            [&text[..], b"0"].concat(),
        ];
        for at in 0..text.len() {
            for byte in 0..=u8::MAX {
                let mut changed = text.to_vec();
                changed[at] = byte;
                tried.push(changed);
            }
        }
        for text in tried {
            let expected = (text.len() == 36)
                .then(|| Uuid::try_parse_ascii(&text).ok())
                .flatten();
            let found = uuid(&text).map(|text| String::from_utf8(text.to_vec()).unwrap());
            assert_eq!(
                found,
                expected.map(|id| id.to_string()),
                "{:?}",
                text.escape_ascii().to_string()
            );
        }
        let mut known = LastUuid::NIL;
        assert_eq!(known.meet(&[0; 36]), None);
        for text in [*text, *text, text.map(|b| b.to_ascii_uppercase()), [b'0'; 36]] {
            let met = known.meet(&text);
            assert_eq!(met.is_some(), text != [b'0'; 36]);
            assert_eq!(&known.written, b"0189abcd-ef01-4321-8765-fedcba987654");
            assert_eq!(known.id.to_string().as_bytes(), known.written);
        }
    }

    #[test]
    fn numbers_and_digits_are_written_as_they_are_everywhere() {
        for number in [0, 7, -1, 10, 1_234_567, i64::MAX, i64::MIN] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
        }
        let mut out = Vec::new();
        assert_eq!(hex::<4>(&mut out, b"0xAbf9"), Some(()));
        assert_eq!(hex::<4>(&mut out, b"0019"), Some(()));
        assert_eq!(out, b"abf90019");
        for wrong in [
            &b"0Xabcd"[..],
            b"abc",
            b"0xabcg",
            b"abc:",
            b"ab\x10c",
            b"@bcd",
            b"\x1abcd",
            b"abcde",
            b"",
        ] {
            assert_eq!(hex::<4>(&mut Vec::new(), wrong), None, "{wrong:?}");
        }
    }
}
