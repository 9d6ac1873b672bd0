//! A writer that behaves as the sequencer does: one READ COMMITTED transaction for each request; replays looked up, the
//! command ids inserted in no fixed order, then the counter locked, then for each event its entity's version locked and
//! everything written that an accepted event writes, the counter updated last; commitments under the advisory lock.

use ed25519_dalek::{Signer, SigningKey};
use sqlx::{Connection, Executor, PgConnection, Row};
use uuid::Uuid;
use ves::merkle::{self, leaf_hash};
use ves::receipt::receipt_hash;
use ves::{
    AgentId, CommandId, Event, EventId, Hash32, Payload, SignatureBytes, SignatureScheme, StreamKey, payload,
    stream,
};

/// A connection of its own, without async around it.
pub struct Writer {
    runtime: tokio::runtime::Runtime,
    connection: PgConnection,
    key: SigningKey,
    agent: AgentId,
    made: u128,
}

impl Writer {
    /// Connects, and registers the key that its events are signed with. `number` tells writers apart.
    pub fn connect(url: &str, number: u8) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let connection = runtime.block_on(PgConnection::connect(url)).unwrap();
        let mut writer = Self {
            runtime,
            connection,
            key: SigningKey::from_bytes(&[number; 32]),
            agent: AgentId(Uuid::from_u128(0xa9e0_0000 + u128::from(number))),
            made: u128::from(number) << 64,
        };
        let register = sqlx::query(
            "INSERT INTO agent_signing_keys (tenant_id, agent_id, key_id, public_key) \
             SELECT DISTINCT tenant_id, $1, 1, $2 FROM ves_sequence_counters ON CONFLICT DO NOTHING",
        )
        .bind(writer.agent.0)
        .bind(writer.key.verifying_key().to_bytes().to_vec());
        writer
            .runtime
            .block_on(register.execute(&mut writer.connection))
            .unwrap();
        writer
    }

    /// Connects again, as the same writer.
    pub fn reconnect(&mut self, url: &str) {
        for _ in 0..300 {
            // A server that recovers lets nobody in.
            if let Ok(connection) = self.runtime.block_on(PgConnection::connect(url)) {
                self.connection = connection;
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
        panic!("nobody is let in");
    }

    /// Runs a statement and keeps the session open: to hold locks.
    pub fn execute(&mut self, sql: &'static str) {
        self.runtime.block_on(self.connection.execute(sql)).unwrap();
    }

    /// Locks the stream's counter until [`Writer::execute`] of COMMIT or ROLLBACK.
    pub fn hold_counter(&mut self, stream: &StreamKey) {
        self.execute("BEGIN");
        let lock = sqlx::query(
            "SELECT 1 FROM ves_sequence_counters WHERE tenant_id = $1 AND store_id = $2 FOR UPDATE",
        );
        let lock = lock.bind(stream.tenant_id.0).bind(stream.store_id.0);
        self.runtime
            .block_on(lock.fetch_one(&mut self.connection))
            .unwrap();
    }

    /// Locks commitments of the stream, as long.
    pub fn hold_commitments(&mut self, stream: &StreamKey) {
        self.execute("BEGIN");
        let lock = sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(stream::advisory_lock_key(stream));
        self.runtime.block_on(lock.execute(&mut self.connection)).unwrap();
    }

    /// Inserts a row that apply wants to insert too, without committing: apply stops in the middle of its transaction.
    pub fn hold_command(&mut self, stream: &StreamKey, command: CommandId) {
        self.execute("BEGIN");
        let insert = sqlx::query("INSERT INTO ves_command_dedupe VALUES ($1, $2, $3)");
        let insert = insert
            .bind(stream.tenant_id.0)
            .bind(stream.store_id.0)
            .bind(command.0);
        self.runtime
            .block_on(insert.execute(&mut self.connection))
            .unwrap();
    }

    /// Goes on after [`Writer::hold_command`] as a request does: another command, then the counter.
    pub fn continue_with(&mut self, stream: &StreamKey, command: CommandId) {
        let insert = sqlx::query("INSERT INTO ves_command_dedupe VALUES ($1, $2, $3) ON CONFLICT DO NOTHING");
        let insert = insert
            .bind(stream.tenant_id.0)
            .bind(stream.store_id.0)
            .bind(command.0);
        self.runtime
            .block_on(insert.execute(&mut self.connection))
            .unwrap();
        self.runtime
            .block_on(lock_counter(&mut self.connection, stream))
            .unwrap();
    }

    fn event(&mut self, stream: &StreamKey) -> Event {
        self.made += 1;
        let json = format!("{{\"made\": {}}}", self.made as u64);
        let mut event = Event {
            event_id: EventId(Uuid::from_u128(
                0xe7e0_0000_0000_0000_0000_0000_0000_0000 + self.made,
            )),
            stream: *stream,
            ves_version: 1,
            source_agent_id: self.agent,
            agent_key_id: 1,
            entity_type: "order".into(),
            entity_id: format!("after-{}", self.made % 3),
            event_type: "order.updated".into(),
            created_at: "2026-11-20T08:00:00+02:00".into(),
            payload_plain_hash: payload::plain_hash(&json).unwrap(),
            payload: Payload::Plain(json),
            payload_cipher_hash: Hash32::ZERO,
            agent_signature: SignatureBytes::ZERO,
            agent_signature_scheme: SignatureScheme::ED25519,
            agent_signature_bundle: None,
            command_id: Some(CommandId(Uuid::from_u128(0xc0_0000_0000 + self.made))),
            base_version: None,
        };
        event.agent_signature = SignatureBytes(self.key.sign(&event.signing_hash().0).to_bytes());
        event
    }

    /// Accepts one more event. Says the number that it got, or what the database said (an HTTP 500).
    pub fn append(&mut self, stream: &StreamKey) -> Result<u64, sqlx::Error> {
        let event = self.event(stream);
        let answer = self.runtime.block_on(ingest(&mut self.connection, &[event]))?;
        Ok(answer.accepted[0])
    }

    /// Pushes events of one stream in one request.
    pub fn push(&mut self, events: &[Event]) -> Result<Answer, sqlx::Error> {
        self.runtime.block_on(ingest(&mut self.connection, events))
    }

    /// Commits everything since the last commitment, up to `end`.
    pub fn commit_batch(&mut self, stream: &StreamKey, end: u64) {
        self.made += 1;
        let batch = Uuid::from_u128(0xba7c_0000_0000_0000_0000_0000_0000_0000 + self.made);
        self.runtime
            .block_on(commit_batch(&mut self.connection, stream, batch, end))
            .unwrap();
    }
}

/// What a request brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The numbers of the events that were accepted.
    pub accepted: Vec<u64>,
    /// How many were there already.
    pub replays: usize,
    /// How many commands were accepted with another event.
    pub duplicates: usize,
}

/// One ingest request: the locks in the order in which the sequencer takes them.
async fn ingest(connection: &mut PgConnection, events: &[Event]) -> Result<Answer, sqlx::Error> {
    let stream = events[0].stream;
    let (tenant, store) = (stream.tenant_id.0, stream.store_id.0);
    let mut answer = Answer::default();
    // Dropped without a commit, it rolls back.
    let mut tx = connection.begin().await?;
    let mut candidates = Vec::new();
    for event in events {
        if stored(&mut tx, event).await? {
            answer.replays += 1;
        } else {
            candidates.push(event);
        }
    }
    let mut valid = Vec::new();
    for event in candidates {
        let inserted = sqlx::query(
            "INSERT INTO ves_command_dedupe (tenant_id, store_id, command_id) SELECT $1, $2, $3 \
             WHERE $3 IS NOT NULL ON CONFLICT DO NOTHING",
        )
        .bind(tenant)
        .bind(store)
        .bind(event.command_id.map(|id| id.0))
        .execute(&mut *tx)
        .await?;
        if inserted.rows_affected() == 1 || event.command_id.is_none() {
            valid.push(event);
        } else if stored(&mut tx, event).await? {
            answer.replays += 1;
        } else {
            answer.duplicates += 1;
        }
    }
    if !valid.is_empty() {
        let mut last = lock_counter(&mut tx, &stream).await?;
        for event in valid {
            sqlx::query(
                "SELECT version FROM entity_versions WHERE tenant_id = $1 AND store_id = $2 AND entity_type = $3 \
                 AND entity_id = $4 FOR UPDATE",
            )
            .bind(tenant)
            .bind(store)
            .bind(&event.entity_type)
            .bind(&event.entity_id)
            .fetch_optional(&mut *tx)
            .await?;
            if store_event(&mut tx, event, last + 1).await? {
                last += 1;
                answer.accepted.push(last as u64);
            } else {
                answer.replays += 1;
            }
        }
        sqlx::query(
            "UPDATE ves_sequence_counters SET current_sequence = $3, updated_at = now() \
             WHERE tenant_id = $1 AND store_id = $2",
        )
        .bind(tenant)
        .bind(store)
        .bind(last)
        .execute(&mut *tx)
        .await?;
    }
    tx.commit().await?;
    Ok(answer)
}

async fn stored(connection: &mut PgConnection, event: &Event) -> Result<bool, sqlx::Error> {
    let found = sqlx::query("SELECT 1 FROM ves_events WHERE event_id = $1").bind(event.event_id.0);
    Ok(found.fetch_optional(connection).await?.is_some())
}

async fn lock_counter(connection: &mut PgConnection, stream: &StreamKey) -> Result<i64, sqlx::Error> {
    let (tenant, store) = (stream.tenant_id.0, stream.store_id.0);
    sqlx::query(
        "INSERT INTO ves_sequence_counters (tenant_id, store_id) VALUES ($1, $2) ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(store)
    .execute(&mut *connection)
    .await?;
    let row = sqlx::query(
        "SELECT current_sequence FROM ves_sequence_counters WHERE tenant_id = $1 AND store_id = $2 FOR UPDATE",
    )
    .bind(tenant)
    .bind(store)
    .fetch_one(&mut *connection)
    .await?;
    Ok(row.get(0))
}

/// Writes what an accepted event writes; says whether it was new.
async fn store_event(connection: &mut PgConnection, event: &Event, number: i64) -> Result<bool, sqlx::Error> {
    let (tenant, store) = (event.stream.tenant_id.0, event.stream.store_id.0);
    let hash = event.signing_hash();
    let inserted = sqlx::query(
        "INSERT INTO ves_events (event_id, command_id, tenant_id, store_id, source_agent_id, agent_key_id, \
         entity_type, entity_id, event_type, created_at, created_at_str, payload_kind, payload, payload_plain_hash, \
         payload_cipher_hash, event_signing_hash, agent_signature, sequence_number) \
         VALUES ($1, $2, $3, $4, $5, 1, $6, $7, $8, $9::timestamptz, $9, 0, $10::jsonb, $11, $12, $13, $14, $15) \
         ON CONFLICT (event_id) DO NOTHING",
    )
    .bind(event.event_id.0)
    .bind(event.command_id.map(|id| id.0))
    .bind(tenant)
    .bind(store)
    .bind(event.source_agent_id.0)
    .bind(&event.entity_type)
    .bind(&event.entity_id)
    .bind(&event.event_type)
    .bind(&event.created_at)
    .bind(event.payload.json())
    .bind(event.payload_plain_hash.0.to_vec())
    .bind(event.payload_cipher_hash.0.to_vec())
    .bind(hash.0.to_vec())
    .bind(event.agent_signature.0.to_vec())
    .bind(number)
    .execute(&mut *connection)
    .await?;
    if inserted.rows_affected() == 0 {
        return Ok(false);
    }
    sqlx::query(
        "INSERT INTO ves_sequencer_receipts (event_id, sequencer_id, sequence_number, sequenced_at, receipt_hash) \
         VALUES ($1, $2, $3, now(), $4)",
    )
    .bind(event.event_id.0)
    .bind(Uuid::from_u128(1))
    .bind(number)
    .bind(receipt_hash(&event.stream, &event.event_id, number as u64, &hash).0.to_vec())
    .execute(&mut *connection)
    .await?;
    sqlx::query(
        "INSERT INTO entity_versions (tenant_id, store_id, entity_type, entity_id, version) VALUES ($1, $2, $3, $4, 1) \
         ON CONFLICT (tenant_id, store_id, entity_type, entity_id) DO UPDATE SET version = entity_versions.version + 1",
    )
    .bind(tenant)
    .bind(store)
    .bind(&event.entity_type)
    .bind(&event.entity_id)
    .execute(&mut *connection)
    .await?;
    Ok(true)
}

async fn commit_batch(
    connection: &mut PgConnection,
    stream: &StreamKey,
    batch: Uuid,
    end: u64,
) -> Result<(), sqlx::Error> {
    let (tenant, store) = (stream.tenant_id.0, stream.store_id.0);
    let hash = |row: &sqlx::postgres::PgRow, column: usize| {
        Hash32(row.get::<Vec<u8>, _>(column).try_into().unwrap())
    };
    let mut tx = connection.begin().await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)")
        .bind(stream::advisory_lock_key(stream))
        .execute(&mut *tx)
        .await?;
    let last = sqlx::query(
        "SELECT sequence_end, new_state_root FROM ves_commitments WHERE tenant_id = $1 AND store_id = $2 \
         ORDER BY sequence_end DESC LIMIT 1",
    )
    .bind(tenant)
    .bind(store)
    .fetch_one(&mut *tx)
    .await?;
    let start = last.get::<i64, _>(0) as u64 + 1;
    let previous = hash(&last, 1);
    let rows = sqlx::query(
        "SELECT sequence_number, event_signing_hash, agent_signature FROM ves_events \
         WHERE tenant_id = $1 AND store_id = $2 AND sequence_number BETWEEN $3 AND $4 ORDER BY sequence_number",
    )
    .bind(tenant)
    .bind(store)
    .bind(start as i64)
    .bind(end as i64)
    .fetch_all(&mut *tx)
    .await?;
    let leaves: Vec<Hash32> = (start..=end)
        .zip(&rows)
        .map(|(number, row)| {
            assert_eq!(row.get::<i64, _>(0) as u64, number, "no commitment across a hole");
            let signature = SignatureBytes(row.get::<Vec<u8>, _>(2).try_into().unwrap());
            leaf_hash(stream, number, &hash(row, 1), &signature)
        })
        .collect();
    let count = end - start + 1;
    assert_eq!(leaves.len() as u64, count, "no commitment across a hole");
    let root = merkle::root(&leaves).unwrap();
    let state = stream::state_root(stream, &previous, &root, start, end, count as u32);
    sqlx::query(
        "INSERT INTO ves_commitments (batch_id, tenant_id, store_id, tree_depth, leaf_count, padded_leaf_count, \
         merkle_root, prev_state_root, new_state_root, sequence_start, sequence_end) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(batch)
    .bind(tenant)
    .bind(store)
    .bind(merkle::tree_depth(count) as i32)
    .bind(count as i32)
    .bind(merkle::padded_leaf_count(count) as i32)
    .bind(root.0.to_vec())
    .bind(previous.0.to_vec())
    .bind(state.0.to_vec())
    .bind(start as i64)
    .bind(end as i64)
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
