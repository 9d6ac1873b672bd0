//! Agents: each with an outbox of its own, in which it makes and signs events while tools are at work on it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ed25519_dalek::{Signer, SigningKey};
use fixtures::Rng;
use outbox_sync::wire::WireEvent;
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use uuid::Uuid;
use ves::{
    AgentId, CommandId, Event, EventId, Hash32, Payload, SignatureBytes, SignatureScheme, StreamKey, payload,
};

const V2: &str = include_str!("../../fixtures/sql/outbox_v2.sql");
const V3_ADD: &str = include_str!("../../fixtures/sql/outbox_v3_add.sql");
const INSERT: &str = "INSERT INTO _ves_outbox (event_id, command_id, tenant_id, store_id, entity_type, entity_id, \
    event_type, ves_version, payload, payload_kind, payload_plain_hash, payload_cipher_hash, agent_key_id, \
    agent_signature, source_agent, created_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, 0, ?9, ?10, 1, ?11, ?12, ?13)";

/// So long an agent's own software waits for its database.
const BUSY: Duration = Duration::from_millis(1500);

/// One agent.
#[derive(Debug)]
pub struct Agent {
    /// How its files are called.
    pub name: String,
    /// Its id.
    pub id: AgentId,
    /// The stream that it writes to.
    pub stream: StreamKey,
    /// Its outbox.
    pub outbox: PathBuf,
    /// Where its receipts are saved.
    pub receipts: PathBuf,
    /// Every event that it made, in its own order.
    pub made: Vec<EventId>,
    /// How often its own software found its database locked for longer than it waits.
    pub locked_out: u64,
    key: SigningKey,
    rng: Rng,
}

impl Agent {
    /// Makes an agent with an empty outbox in the folder.
    ///
    /// # Errors
    /// The outbox cannot be made.
    pub fn new(seed: u64, number: usize, stream: StreamKey, folder: &Path) -> Result<Self, String> {
        let name = format!("agent-{number}");
        let mut rng = Rng::new(seed, &name);
        let agent = Self {
            id: AgentId(rng.uuid()),
            stream,
            outbox: folder.join("outboxes").join(format!("{name}.db")),
            receipts: folder.join("receipts").join(format!("{name}.ndjson")),
            made: Vec::new(),
            locked_out: 0,
            key: SigningKey::from_bytes(&rng.bytes()),
            rng,
            name,
        };
        let db = Connection::open(&agent.outbox).map_err(|e| e.to_string())?;
        db.execute_batch(&[V2, V3_ADD].concat())
            .map_err(|e| e.to_string())?;
        db.pragma_update(
            None,
            "journal_mode",
            if number.is_multiple_of(2) { "wal" } else { "delete" },
        )
        .map_err(|e| e.to_string())?;
        for (name, value) in [
            ("agent_id", agent.id.to_string()),
            ("tenant_id", stream.tenant_id.to_string()),
            ("store_id", stream.store_id.to_string()),
        ] {
            db.execute(
                "INSERT INTO _ves_sync_state (key, value) VALUES (?1, ?2)",
                params![name, value],
            )
            .map_err(|e| e.to_string())?;
        }
        Ok(agent)
    }

    /// The key that the sequencer must know.
    pub fn public_key(&self) -> [u8; 32] {
        self.key.verifying_key().to_bytes()
    }

    /// Makes so many events. An event that the locked database refuses is not made.
    ///
    /// # Errors
    /// The outbox cannot be written for another reason than a lock.
    pub fn make(&mut self, count: usize) -> Result<Vec<Event>, String> {
        let mut db = Connection::open(&self.outbox).map_err(|e| e.to_string())?;
        db.busy_timeout(BUSY).map_err(|e| e.to_string())?;
        let mut events = Vec::new();
        for _ in 0..count {
            let event = self.event();
            match insert(&mut db, &event) {
                Ok(()) => {
                    self.made.push(event.event_id);
                    events.push(event);
                }
                Err(error) if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy) => {
                    self.locked_out += 1;
                }
                Err(error) => return Err(format!("{}: {error}", self.outbox.display())),
            }
        }
        Ok(events)
    }

    fn event(&mut self) -> Event {
        let number = self.made.len() + 1;
        let json =
            json!({"n": number, "note": "x".repeat(self.rng.below(200)), "sum": self.rng.below(10_000)});
        let json = json.to_string();
        let command = self.rng.chance(0.6).then(|| CommandId(self.rng.uuid()));
        let (minutes, seconds) = (number / 60 % 60, number % 60);
        let mut event = Event {
            event_id: EventId(self.rng.uuid()),
            stream: self.stream,
            ves_version: 1,
            source_agent_id: self.id,
            agent_key_id: 1,
            entity_type: "order".into(),
            entity_id: format!("{}-{}", self.name, self.rng.below(5)),
            event_type: "order.updated".into(),
            created_at: format!("2026-11-20T08:{minutes:02}:{seconds:02}.{:03}Z", number / 3600),
            payload_plain_hash: payload::plain_hash(&json).unwrap_or(Hash32::ZERO),
            payload: Payload::Plain(json),
            payload_cipher_hash: Hash32::ZERO,
            agent_signature: SignatureBytes::ZERO,
            agent_signature_scheme: SignatureScheme::ED25519,
            agent_signature_bundle: None,
            command_id: command,
            base_version: None,
        };
        event.agent_signature = SignatureBytes(self.key.sign(&event.signing_hash().0).to_bytes());
        event
    }

    /// The body of a request with these events.
    ///
    /// # Errors
    /// Never for events of its own.
    pub fn request(&self, events: &[Event]) -> Result<Value, String> {
        let events: Result<Vec<_>, String> = events.iter().map(WireEvent::new).collect();
        Ok(json!({"agentId": self.id, "events": events?}))
    }

    /// Saves a receipt as the agent got it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save_receipt(&self, receipt: &Value) -> Result<(), String> {
        let file = File::options().create(true).append(true).open(&self.receipts);
        let mut file = file.map_err(|e| e.to_string())?;
        writeln!(file, "{receipt}").map_err(|e| e.to_string())
    }

    /// The numbers that it has in writing. A line that a killed run left unfinished counts for nothing.
    pub fn heard(&self) -> Vec<(EventId, u64)> {
        let Ok(file) = File::open(&self.receipts) else {
            return Vec::new();
        };
        let lines = BufReader::new(file).lines().map_while(Result::ok);
        lines
            .filter_map(|line| {
                let receipt: Value = serde_json::from_str(&line).ok()?;
                let id = receipt["eventId"].as_str()?.parse::<Uuid>().ok()?;
                Some((EventId(id), receipt["sequenceNumber"].as_u64()?))
            })
            .collect()
    }

    /// Whether it made events for which it has no receipt.
    pub fn has_unanswered(&self) -> bool {
        let heard: std::collections::BTreeSet<_> = self.heard().into_iter().map(|(id, _)| id).collect();
        self.made.iter().any(|id| !heard.contains(id))
    }

    /// Throws away receipts that were withdrawn: those for which the log has another number.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn forget_receipts(&self, keep: &dyn Fn(EventId, u64) -> bool) -> Result<(), String> {
        let Ok(text) = fs::read_to_string(&self.receipts) else {
            return Ok(());
        };
        let holds = |line: &&str| {
            serde_json::from_str::<Value>(line).is_ok_and(|receipt| {
                let id = receipt["eventId"].as_str().and_then(|id| id.parse::<Uuid>().ok());
                let number = receipt["sequenceNumber"].as_u64();
                id.zip(number)
                    .is_some_and(|(id, number)| keep(EventId(id), number))
            })
        };
        let kept: String = text
            .lines()
            .filter(holds)
            .map(|line| format!("{line}\n"))
            .collect();
        fs::write(&self.receipts, kept).map_err(|e| e.to_string())
    }
}

fn insert(db: &mut Connection, event: &Event) -> rusqlite::Result<()> {
    let prefixed = |hash: &Hash32| format!("0x{hash}");
    let tx = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    tx.execute(
        INSERT,
        params![
            event.event_id.to_string(),
            event.command_id.map(|id| id.to_string()),
            event.stream.tenant_id.to_string(),
            event.stream.store_id.to_string(),
            event.entity_type,
            event.entity_id,
            event.event_type,
            event.payload.json(),
            prefixed(&event.payload_plain_hash),
            prefixed(&event.payload_cipher_hash),
            format!("0x{}", event.agent_signature),
            event.source_agent_id.to_string(),
            event.created_at,
        ],
    )?;
    tx.commit()
}
