//! One ingest request: one READ COMMITTED transaction. Replays are looked up and events checked first; then command
//! ids are taken, in no fixed order; then the counter's row is locked; then each event is written with its receipt and
//! its entity's version; the counter last.

use std::collections::{HashMap, HashSet};

use ed25519_dalek::{Signature, SigningKey, Verifier, VerifyingKey};
use outbox_sync::wire::WireEvent;
use serde_json::{Value, json};
use sqlx::{PgPool, Postgres, Row, Transaction};
use uuid::Uuid;
use ves::receipt::{receipt_hash, sign_receipt_hash};
use ves::{Event, EventCheck, Hash32, SignatureBytes, StreamKey};

use super::Refusal;

/// The id that the double signs as.
const SEQUENCER: Uuid = Uuid::from_u128(0x5e9e_0000_0000_4000_8000_0000_0000_0001);

struct Ingest<'a> {
    tx: Transaction<'static, Postgres>,
    key: &'a SigningKey,
    stream: StreamKey,
    receipts: Vec<Value>,
    rejections: Vec<Value>,
    given: Vec<i64>,
}

pub(super) async fn ingest(pool: &PgPool, key: &SigningKey, body: &[u8]) -> Result<Value, Refusal> {
    let events = read(body)?;
    let stream = events[0].stream;
    let mut work = Ingest {
        tx: pool.begin().await?,
        key,
        stream,
        receipts: Vec::new(),
        rejections: Vec::new(),
        given: Vec::new(),
    };
    let fresh = work.without_replays(events).await?;
    let valid = work.without_invalid(fresh).await?;
    let (valid, reserved) = work.reserve_commands(valid).await?;
    let head = if valid.is_empty() {
        work.head().await?
    } else {
        let head = work.lock_counter().await?;
        work.number(valid, &reserved, head).await?
    };
    work.tx.commit().await?;
    let mut answer = json!({
        "batchId": "4d6f41ba-dded-4289-9354-28fe80e2ff5f", "eventsAccepted": work.given.len(),
        "eventsRejected": work.rejections.len(), "sequenceStart": work.given.first(),
        "sequenceEnd": work.given.last(), "headSequence": head, "rejections": work.rejections,
    });
    // The real one leaves the field out when there are none.
    if !work.receipts.is_empty() {
        answer["receipts"] = work.receipts.into();
    }
    Ok(answer)
}

fn read(body: &[u8]) -> Result<Vec<Event>, Refusal> {
    let bad = |message: String| Refusal::Status(400, message);
    // The text of the payloads must reach the hash as it came.
    let request: HashMap<String, Box<serde_json::value::RawValue>> =
        serde_json::from_slice(body).map_err(|e| bad(e.to_string()))?;
    let events = request.get("events").ok_or_else(|| bad("no events".into()))?;
    let wires: Vec<WireEvent> = serde_json::from_str(events.get()).map_err(|e| bad(e.to_string()))?;
    let events: Result<Vec<Event>, String> = wires.into_iter().map(WireEvent::into_event).collect();
    let events = events.map_err(bad)?;
    let one = |same: bool| {
        if same {
            Ok(())
        } else {
            Err(bad("one agent and one stream a request".into()))
        }
    };
    let first = events
        .first()
        .ok_or_else(|| bad("events must not be empty".into()))?;
    one(events
        .iter()
        .all(|e| e.stream == first.stream && e.source_agent_id == first.source_agent_id))?;
    if events.len() > 1000 {
        return Err(bad("at most 1000 events".into()));
    }
    Ok(events)
}

impl Ingest<'_> {
    fn reject(&mut self, event: &Event, reason: &str, message: String) {
        let id = event.event_id.to_string();
        self.rejections
            .push(json!({"event_id": id, "reason": reason, "message": Value::String(message)}));
    }

    /// Answers what the log has already. Says whether it did.
    async fn replay(&mut self, event: &Event) -> Result<bool, sqlx::Error> {
        let row = sqlx::query(
            "SELECT event_signing_hash, agent_signature, command_id, base_version, tenant_id, store_id \
             FROM ves_events WHERE event_id = $1",
        )
        .bind(event.event_id.0)
        .fetch_optional(&mut *self.tx)
        .await?;
        let Some(row) = row else { return Ok(false) };
        let same = row.get::<Vec<u8>, _>(0) == event.signing_hash().0
            && row.get::<Vec<u8>, _>(1) == event.agent_signature.0
            && row.get::<Option<Uuid>, _>(2) == event.command_id.map(|id| id.0)
            && row.get::<Option<i64>, _>(3) == event.base_version
            && row.get::<Uuid, _>(4) == event.stream.tenant_id.0
            && row.get::<Uuid, _>(5) == event.stream.store_id.0;
        if !same {
            self.reject(
                event,
                "duplicate_event_id",
                "Event ID already exists with different contents".into(),
            );
            return Ok(true);
        }
        let receipt = sqlx::query(
            "SELECT sequence_number, receipt_hash, sequencer_signature, sequencer_key_version, sequencer_id, \
             replace((sequenced_at AT TIME ZONE 'UTC')::text, ' ', 'T') || '+00:00' FROM ves_sequencer_receipts WHERE event_id = $1",
        )
        .bind(event.event_id.0)
        .fetch_optional(&mut *self.tx)
        .await?;
        match receipt {
            Some(row) => {
                let signature: Option<Vec<u8>> = row.get(2);
                self.receipts.push(json!({
                    "sequencerId": row.get::<Uuid, _>(4), "eventId": event.event_id.to_string(),
                    "sequenceNumber": row.get::<i64, _>(0), "sequencedAt": row.get::<String, _>(5),
                    "receiptHash": hex::encode(row.get::<Vec<u8>, _>(1)),
                    "signatureAlg": if signature.is_some() { "ed25519" } else { "none" },
                    "sequencerSignature": signature.map(hex::encode).unwrap_or_default(),
                    "sequencerKeyVersion": row.get::<i32, _>(3), "receiptSignatureScheme": 1,
                }));
            }
            None => self.reject(
                event,
                "duplicate_event_id",
                "Event already exists but receipt not found".into(),
            ),
        }
        Ok(true)
    }

    async fn without_replays(&mut self, events: Vec<Event>) -> Result<Vec<Event>, sqlx::Error> {
        let (mut seen, mut fresh) = (HashSet::new(), Vec::new());
        for event in events {
            if !seen.insert(event.event_id) {
                let message = format!("Event {} duplicated in batch", event.event_id);
                self.reject(&event, "duplicate_event_id", message);
            } else if !self.replay(&event).await? {
                fresh.push(event);
            }
        }
        Ok(fresh)
    }

    async fn without_invalid(&mut self, events: Vec<Event>) -> Result<Vec<Event>, sqlx::Error> {
        let (mut commands, mut valid) = (HashSet::new(), Vec::new());
        for event in events {
            let key = sqlx::query(
                "SELECT public_key FROM agent_signing_keys \
                 WHERE tenant_id = $1 AND agent_id = $2 AND key_id = $3 AND status = 'active'",
            )
            .bind(event.stream.tenant_id.0)
            .bind(event.source_agent_id.0)
            .bind(i32::try_from(event.agent_key_id).unwrap_or(-1))
            .fetch_optional(&mut *self.tx)
            .await?;
            let key = key.and_then(|row| row.get::<Vec<u8>, _>(0).try_into().ok());
            let key = key.and_then(|bytes: [u8; 32]| VerifyingKey::from_bytes(&bytes).ok());
            let signature = Signature::from_bytes(&event.agent_signature.0);
            let problem = match key {
                _ if matches!(event.check_payload(), EventCheck::Mismatch(_)) => Some("invalid_payload_hash"),
                None => Some("agent_key_invalid"),
                Some(key) if key.verify(&event.signing_hash().0, &signature).is_err() => {
                    Some("invalid_signature")
                }
                _ => None,
            };
            if let Some(problem) = problem {
                self.reject(&event, problem, problem.replace('_', " "));
            } else if event.command_id.is_some_and(|command| !commands.insert(command)) {
                self.reject(
                    &event,
                    "duplicate_command_id",
                    "Command duplicated in batch".into(),
                );
            } else {
                valid.push(event);
            }
        }
        Ok(valid)
    }

    /// Takes the command ids before any other lock, in the order of a hash table, and leaves out what was processed.
    async fn reserve_commands(
        &mut self,
        events: Vec<Event>,
    ) -> Result<(Vec<Event>, HashSet<Uuid>), sqlx::Error> {
        let wanted: HashSet<Uuid> = events
            .iter()
            .filter_map(|e| e.command_id)
            .map(|id| id.0)
            .collect();
        let mut reserved = HashSet::new();
        for command in &wanted {
            let inserted = sqlx::query(
                "INSERT INTO ves_command_dedupe (tenant_id, store_id, command_id) VALUES ($1, $2, $3) \
                 ON CONFLICT DO NOTHING",
            )
            .bind(self.stream.tenant_id.0)
            .bind(self.stream.store_id.0)
            .bind(command)
            .execute(&mut *self.tx)
            .await?;
            if inserted.rows_affected() == 1 {
                reserved.insert(*command);
            }
        }
        let mut valid = Vec::new();
        for event in events {
            match event.command_id {
                Some(command) if !reserved.contains(&command.0) => {
                    // Another request of the same events may have been faster.
                    if !self.replay(&event).await? {
                        let message = format!("Command {command} already processed");
                        self.reject(&event, "duplicate_command_id", message);
                    }
                }
                _ => valid.push(event),
            }
        }
        Ok((valid, reserved))
    }

    async fn head(&mut self) -> Result<i64, sqlx::Error> {
        let row = sqlx::query(
            "SELECT current_sequence FROM ves_sequence_counters WHERE tenant_id = $1 AND store_id = $2",
        )
        .bind(self.stream.tenant_id.0)
        .bind(self.stream.store_id.0)
        .fetch_optional(&mut *self.tx)
        .await?;
        Ok(row.map_or(0, |row| row.get(0)))
    }

    async fn lock_counter(&mut self) -> Result<i64, sqlx::Error> {
        sqlx::query(
            "INSERT INTO ves_sequence_counters (tenant_id, store_id, current_sequence, updated_at) \
             VALUES ($1, $2, 0, now()) ON CONFLICT (tenant_id, store_id) DO NOTHING",
        )
        .bind(self.stream.tenant_id.0)
        .bind(self.stream.store_id.0)
        .execute(&mut *self.tx)
        .await?;
        let row = sqlx::query(
            "SELECT current_sequence FROM ves_sequence_counters WHERE tenant_id = $1 AND store_id = $2 FOR UPDATE",
        )
        .bind(self.stream.tenant_id.0)
        .bind(self.stream.store_id.0)
        .fetch_one(&mut *self.tx)
        .await?;
        Ok(row.get(0))
    }

    /// Gives the events the next numbers. Returns the new head.
    async fn number(
        &mut self,
        events: Vec<Event>,
        reserved: &HashSet<Uuid>,
        mut head: i64,
    ) -> Result<i64, sqlx::Error> {
        for event in events {
            if let Some(message) = self.version_conflict(&event).await? {
                self.release(&event, reserved).await?;
                self.reject(&event, "version_conflict", message);
                continue;
            }
            if !self.insert(&event, head + 1).await? {
                if !self.replay(&event).await? {
                    self.reject(&event, "duplicate_event_id", "Event already exists".into());
                }
                continue;
            }
            head += 1;
            self.receipt(&event, head).await?;
            self.bump_version(&event).await?;
            self.given.push(head);
        }
        if !self.given.is_empty() {
            sqlx::query(
                "UPDATE ves_sequence_counters SET current_sequence = $3, updated_at = now() \
                 WHERE tenant_id = $1 AND store_id = $2",
            )
            .bind(self.stream.tenant_id.0)
            .bind(self.stream.store_id.0)
            .bind(head)
            .execute(&mut *self.tx)
            .await?;
        }
        Ok(head)
    }

    async fn version_conflict(&mut self, event: &Event) -> Result<Option<String>, sqlx::Error> {
        let Some(expected) = event.base_version else {
            return Ok(None);
        };
        let row = sqlx::query(
            "SELECT version FROM entity_versions \
             WHERE tenant_id = $1 AND store_id = $2 AND entity_type = $3 AND entity_id = $4 FOR UPDATE",
        )
        .bind(self.stream.tenant_id.0)
        .bind(self.stream.store_id.0)
        .bind(&event.entity_type)
        .bind(&event.entity_id)
        .fetch_optional(&mut *self.tx)
        .await?;
        let actual: i64 = row.map_or(0, |row| row.get(0));
        Ok((actual != expected).then(|| format!("Version conflict: expected {expected}, actual {actual}")))
    }

    async fn release(&mut self, event: &Event, reserved: &HashSet<Uuid>) -> Result<(), sqlx::Error> {
        if let Some(command) = event.command_id.filter(|id| reserved.contains(&id.0)) {
            sqlx::query(
                "DELETE FROM ves_command_dedupe WHERE tenant_id = $1 AND store_id = $2 AND command_id = $3",
            )
            .bind(self.stream.tenant_id.0)
            .bind(self.stream.store_id.0)
            .bind(command.0)
            .execute(&mut *self.tx)
            .await?;
        }
        Ok(())
    }

    async fn insert(&mut self, event: &Event, number: i64) -> Result<bool, sqlx::Error> {
        let inserted = sqlx::query(
            "INSERT INTO ves_events (event_id, command_id, ves_version, tenant_id, store_id, source_agent_id, \
             agent_key_id, entity_type, entity_id, event_type, created_at, created_at_str, sequenced_at, payload_kind, \
             payload, payload_plain_hash, payload_cipher_hash, event_signing_hash, agent_signature, sequence_number, \
             base_version) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11::timestamptz, $11, \
             clock_timestamp(), 0, $12::jsonb, $13, $14, $15, $16, $17, $18) ON CONFLICT (event_id) DO NOTHING",
        )
        .bind(event.event_id.0)
        .bind(event.command_id.map(|id| id.0))
        .bind(i32::try_from(event.ves_version).unwrap_or(1))
        .bind(self.stream.tenant_id.0)
        .bind(self.stream.store_id.0)
        .bind(event.source_agent_id.0)
        .bind(i32::try_from(event.agent_key_id).unwrap_or(-1))
        .bind(&event.entity_type)
        .bind(&event.entity_id)
        .bind(&event.event_type)
        .bind(&event.created_at)
        .bind(event.payload.json())
        .bind(event.payload_plain_hash.0.to_vec())
        .bind(event.payload_cipher_hash.0.to_vec())
        .bind(event.signing_hash().0.to_vec())
        .bind(event.agent_signature.0.to_vec())
        .bind(number)
        .bind(event.base_version)
        .execute(&mut *self.tx)
        .await?;
        Ok(inserted.rows_affected() == 1)
    }

    async fn receipt(&mut self, event: &Event, number: i64) -> Result<(), sqlx::Error> {
        let hash: Hash32 = receipt_hash(
            &self.stream,
            &event.event_id,
            number.unsigned_abs(),
            &event.signing_hash(),
        );
        let signature: SignatureBytes = sign_receipt_hash(self.key, &hash);
        let row = sqlx::query(
            "INSERT INTO ves_sequencer_receipts (event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash, \
             sequencer_signature, sequencer_key_version, receipt_signature_scheme) \
             SELECT $1, $2, $3, sequenced_at, $4, $5, 0, 1 FROM ves_events WHERE event_id = $1 \
             RETURNING replace((sequenced_at AT TIME ZONE 'UTC')::text, ' ', 'T') || '+00:00'",
        )
        .bind(event.event_id.0)
        .bind(SEQUENCER)
        .bind(number)
        .bind(hash.0.to_vec())
        .bind(signature.0.to_vec())
        .fetch_one(&mut *self.tx)
        .await?;
        self.receipts.push(json!({
            "sequencerId": SEQUENCER, "eventId": event.event_id.to_string(), "sequenceNumber": number,
            "sequencedAt": row.get::<String, _>(0), "receiptHash": hash.to_string(),
            "signatureAlg": "ed25519", "sequencerSignature": signature.to_string(), "sequencerKeyVersion": 0,
            "receiptSignatureScheme": 1,
        }));
        Ok(())
    }

    async fn bump_version(&mut self, event: &Event) -> Result<(), sqlx::Error> {
        sqlx::query(
            "INSERT INTO entity_versions (tenant_id, store_id, entity_type, entity_id, version, updated_at) \
             VALUES ($1, $2, $3, $4, 1, now()) ON CONFLICT (tenant_id, store_id, entity_type, entity_id) \
             DO UPDATE SET version = entity_versions.version + 1, updated_at = now()",
        )
        .bind(self.stream.tenant_id.0)
        .bind(self.stream.store_id.0)
        .bind(&event.entity_type)
        .bind(&event.entity_id)
        .execute(&mut *self.tx)
        .await?;
        Ok(())
    }
}
