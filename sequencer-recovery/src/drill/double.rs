//! A double of the sequencer on a server of the drill's own: it registers keys, gives numbers, signs receipts, commits and
//! notes anchors with the statements, the transactions and the order of locks that the real one was seen to have.

use std::collections::{BTreeMap, BTreeSet};

use ed25519_dalek::{Signature, Verifier as _, VerifyingKey};
use fixtures::{Log as WorldLog, LoggedEvent, RegisteredKey, Step, World};
use scratch_postgres::Server;
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{Connection as _, Postgres, Row as _, Transaction};
use uuid::Uuid;
use ves::merkle::{self, leaf_hash};
use ves::receipt::{receipt_hash, sign_receipt_hash};
use ves::{BatchId, Event, Hash32, Payload, SequencerId, SignatureBytes, StreamKey, Timestamp, stream};

/// A statement of the drill.
macro_rules! drill {
    ($name:literal) => {
        include_str!(concat!("../../../sql/drill/", $name, ".sql"))
    };
}

/// The tables of a sequencer of the newest level.
const SCHEMA: &str = include_str!("../../../sql/schema/postgres.sql");

/// The most events that a batch has: as many as the sequencer is asked to commit at once.
const LARGEST_BATCH: i64 = 1_024;

/// The double, connected to its database.
#[derive(Debug)]
pub(super) struct Double {
    connection: PgConnection,
    key: ed25519_dalek::SigningKey,
    id: SequencerId,
}

/// Why the double did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum DoubleError {
    /// As the real one refuses it: `agent_key_invalid`, `invalid_signature`.
    #[error("refused: {0}")]
    Refused(&'static str),
    /// A number other than the world's: the drill would prove nothing.
    #[error("the sequencer double gave number {given}, and the history has {expected}")]
    OtherNumber { given: u64, expected: u64 },
    /// The database, as an HTTP 500 of the real one.
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// What became of the wish for a commitment.
pub(super) enum CommitResult {
    /// What follows the last commitment, up to the first hole.
    Batch,
    /// Why nothing was.
    Nothing(String),
}

/// Something that is committed, if all of it is there.
struct Wanted {
    batch: BatchId,
    stream: StreamKey,
    end: Option<u64>,
    at: Timestamp,
}

impl Double {
    pub(super) async fn connect(server: &Server, world: &World) -> Result<Self, DoubleError> {
        let options = PgConnectOptions::new_without_pgpass()
            .socket(server.socket_dir())
            .port(server.port())
            .username("postgres")
            .database("postgres");
        Ok(Self {
            connection: PgConnection::connect_with(&options).await?,
            key: world.sequencer_key().clone(),
            id: world.sequencer_id(),
        })
    }

    pub(super) async fn create_tables(&mut self) -> Result<(), DoubleError> {
        self.script(SCHEMA).await
    }

    /// Makes the tables those of level 14.
    pub(super) async fn undo_migrations(&mut self) -> Result<(), DoubleError> {
        self.script(drill!("undo_migrations")).await
    }

    /// Runs the migration of level 15.
    pub(super) async fn migrate(&mut self) -> Result<(), DoubleError> {
        self.script(drill!("migrate")).await
    }

    async fn script(&mut self, script: &'static str) -> Result<(), DoubleError> {
        sqlx::raw_sql(script).execute(&mut self.connection).await?;
        Ok(())
    }

    /// Writes one transaction of the world's history, numbers and all by the double's own doing.
    pub(super) async fn step(&mut self, step: &Step) -> Result<(), DoubleError> {
        match step {
            Step::Register(key) => self.register(key).await,
            Step::Accept { stream, at, events } => {
                let expected = events.first().map_or(0, |event| event.number);
                let given = self.push(stream, events, *at).await?;
                same_number(given, expected)
            }
            Step::Commit(commitment) => {
                let wanted = Wanted {
                    batch: commitment.batch_id,
                    stream: commitment.stream,
                    end: Some(commitment.sequence_end),
                    at: commitment.committed_at,
                };
                self.commit_range(&wanted).await.map(drop)
            }
            Step::NoteAnchor { batch_id, note, .. } => {
                sqlx::query(drill!("note_anchor"))
                    .bind(batch_id.0)
                    .bind(note.chain_id)
                    .bind(note.tx_hash.0.to_vec())
                    .bind(signed(note.block_number))
                    .bind(note.anchored_at.to_string())
                    .execute(&mut self.connection)
                    .await?;
                Ok(())
            }
        }
    }

    async fn register(&mut self, row: &RegisteredKey) -> Result<(), DoubleError> {
        sqlx::query(drill!("register_key"))
            .bind(row.key.tenant_id.0)
            .bind(row.key.agent_id.0)
            .bind(i32::try_from(row.key.key_id).unwrap_or(-1))
            .bind(row.key.public_key.0.to_vec())
            .bind(&row.key.status)
            .bind(row.created_at.to_string())
            .execute(&mut self.connection)
            .await?;
        Ok(())
    }

    /// One push: events are checked, command ids taken, the counter locked, each event written with its receipt and its
    /// entity's version, and the counter raised, in one transaction. Returns the first number.
    async fn push(
        &mut self,
        stream: &StreamKey,
        events: &[LoggedEvent],
        at: Timestamp,
    ) -> Result<u64, DoubleError> {
        let (tenant, store) = (stream.tenant_id.0, stream.store_id.0);
        let mut tx = self.connection.begin().await?;
        for logged in events {
            check(&mut tx, &logged.event).await?;
        }
        for command in events.iter().filter_map(|logged| logged.event.command_id) {
            sqlx::query(drill!("reserve_command"))
                .bind(tenant)
                .bind(store)
                .bind(command.0)
                .bind(at.to_string())
                .execute(&mut *tx)
                .await?;
        }
        sqlx::query(drill!("ensure_counter"))
            .bind(tenant)
            .bind(store)
            .bind(at.to_string())
            .execute(&mut *tx)
            .await?;
        let row = sqlx::query(drill!("lock_counter")).bind(tenant).bind(store);
        let before: i64 = row.fetch_one(&mut *tx).await?.get(0);
        let mut number = before;
        for logged in events {
            number += 1;
            let receipt = Receipt {
                key: &self.key,
                id: self.id,
                number,
            };
            write_event(&mut tx, logged, &receipt).await?;
        }
        sqlx::query(drill!("set_counter"))
            .bind(tenant)
            .bind(store)
            .bind(number)
            .bind(at.to_string())
            .execute(&mut *tx)
            .await?;
        // Projections follow one push behind.
        sqlx::query(drill!("projected"))
            .bind(tenant)
            .bind(store)
            .bind(before)
            .bind(at.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(before.unsigned_abs() + 1)
    }

    /// Takes one new event. Returns its number.
    pub(super) async fn take(&mut self, event: &Event, at: Timestamp) -> Result<u64, DoubleError> {
        let logged = LoggedEvent {
            number: 0,
            created_at: at,
            signing_hash: event.signing_hash(),
            sequenced_at: at,
            receipt: ves::Receipt {
                event_id: event.event_id,
                sequencer_id: self.id,
                sequence_number: 0,
                sequenced_at: at,
                receipt_hash: Hash32::ZERO,
                sequencer_signature: None,
                sequencer_key_version: 0,
                receipt_signature_scheme: 0,
                receipt_signature_bundle: None,
            },
            event: event.clone(),
        };
        self.push(&event.stream, &[logged], at).await
    }

    /// Commits what follows the stream's last commitment without a hole, as the sequencer's job does.
    pub(super) async fn commit(
        &mut self,
        stream: &StreamKey,
        at: Timestamp,
    ) -> Result<CommitResult, DoubleError> {
        let wanted = Wanted {
            batch: BatchId(Uuid::new_v8(*name_of(stream, at).as_bytes())),
            stream: *stream,
            end: None,
            at,
        };
        self.commit_range(&wanted).await
    }

    async fn commit_range(&mut self, wanted: &Wanted) -> Result<CommitResult, DoubleError> {
        let (tenant, store) = (wanted.stream.tenant_id.0, wanted.stream.store_id.0);
        let mut tx = self.connection.begin().await?;
        sqlx::query(drill!("lock_commitments"))
            .bind(stream::advisory_lock_key(&wanted.stream))
            .execute(&mut *tx)
            .await?;
        let last = sqlx::query(drill!("last_commitment"))
            .bind(tenant)
            .bind(store)
            .fetch_optional(&mut *tx)
            .await?;
        let (start, previous) = match last {
            Some(row) => (row.get::<i64, _>(0) + 1, hash(row.get(1))),
            None => (1, Hash32::ZERO),
        };
        let rows = sqlx::query(drill!("leaves"))
            .bind(tenant)
            .bind(store)
            .bind(start)
            .bind(wanted.end.map_or(LARGEST_BATCH, |end| signed(end) + 1 - start))
            .fetch_all(&mut *tx)
            .await?;
        let mut leaves = Vec::new();
        for (number, row) in (start..).zip(&rows) {
            if row.get::<i64, _>(0) != number {
                break;
            }
            let signature = row.get::<Vec<u8>, _>(2).try_into().unwrap_or([0; 64]);
            let signature = SignatureBytes(signature);
            leaves.push(leaf_hash(
                &wanted.stream,
                number.unsigned_abs(),
                &hash(row.get(1)),
                &signature,
            ));
        }
        let (start, count) = (start.unsigned_abs(), leaves.len() as u64);
        let Some(root) = merkle::root(&leaves) else {
            return Ok(CommitResult::Nothing(match rows.first() {
                Some(_) => format!(
                    "position {start}, the first after the last commitment, is open: what follows cannot be committed \
                     until it is filled (plan --accept, --fill-losses)"
                ),
                None => format!("no event follows the last commitment: position {start} is open"),
            }));
        };
        let end = start + count - 1;
        let size = u32::try_from(count).unwrap_or(u32::MAX);
        let state = stream::state_root(&wanted.stream, &previous, &root, start, end, size);
        sqlx::query(drill!("insert_commitment"))
            .bind(wanted.batch.0)
            .bind(tenant)
            .bind(store)
            .bind(i32::try_from(merkle::tree_depth(count)).unwrap_or(0))
            .bind(i32::try_from(count).unwrap_or(0))
            .bind(i32::try_from(merkle::padded_leaf_count(count)).unwrap_or(0))
            .bind(root.0.to_vec())
            .bind(previous.0.to_vec())
            .bind(state.0.to_vec())
            .bind(signed(start))
            .bind(signed(end))
            .bind(wanted.at.to_string())
            .execute(&mut *tx)
            .await?;
        tx.commit().await?;
        Ok(CommitResult::Batch)
    }

    /// Does to the log what happened to the world's after the restore: what was given out again, committed, revoked, or set
    /// back. `restored` is the log as it is.
    pub(super) async fn bring_to(&mut self, restored: &WorldLog, world: &World) -> Result<(), DoubleError> {
        let goal = world.recovered();
        let nothing = fixtures::StreamLog::default();
        for (stream, wanted) in &goal.streams {
            let there = restored.streams.get(stream).unwrap_or(&nothing);
            for (number, logged) in wanted.events.range(there.head() + 1..) {
                let given = self
                    .push(stream, std::slice::from_ref(logged), logged.sequenced_at)
                    .await?;
                same_number(given, *number)?;
            }
            for commitment in wanted.commitments.iter().skip(there.commitments.len()) {
                self.step(&Step::Commit(commitment.clone())).await?;
            }
            if let Some((counter, at)) = wanted.counter.filter(|(counter, _)| *counter < wanted.head()) {
                sqlx::query(drill!("set_counter"))
                    .bind(stream.tenant_id.0)
                    .bind(stream.store_id.0)
                    .bind(signed(counter))
                    .bind(at.to_string())
                    .execute(&mut self.connection)
                    .await?;
            }
        }
        // Last: until then the agents went on with their keys.
        for row in goal.keys.iter().filter(|row| row.key.status == "revoked") {
            let at = row.key.revoked_at.unwrap_or(world.disaster_at());
            sqlx::query(drill!("revoke_key"))
                .bind(row.key.tenant_id.0)
                .bind(row.key.agent_id.0)
                .bind(i32::try_from(row.key.key_id).unwrap_or(-1))
                .bind(at.to_string())
                .execute(&mut self.connection)
                .await?;
        }
        Ok(())
    }

    /// The server's time, as a recovery target.
    pub(super) async fn clock(&mut self) -> Result<String, DoubleError> {
        let row = sqlx::query(drill!("clock"))
            .fetch_one(&mut self.connection)
            .await?;
        Ok(row.get(0))
    }

    /// The server's release.
    pub(super) async fn server_version(&mut self) -> Result<String, DoubleError> {
        let row = sqlx::query(drill!("server_version"))
            .fetch_one(&mut self.connection)
            .await?;
        Ok(row.get(0))
    }

    /// Ends the segment of the WAL that is written. Returns its name.
    pub(super) async fn switch_wal(&mut self) -> Result<String, DoubleError> {
        let row = sqlx::query(drill!("switch_wal"))
            .fetch_one(&mut self.connection)
            .await?;
        Ok(row.get(0))
    }

    /// Whether the segment was archived.
    pub(super) async fn archived(&mut self, segment: &str) -> Result<bool, DoubleError> {
        let query = sqlx::query(drill!("archived")).bind(segment);
        Ok(query.fetch_one(&mut self.connection).await?.get(0))
    }
}

/// What an event's receipt is made of.
struct Receipt<'a> {
    key: &'a ed25519_dalek::SigningKey,
    id: SequencerId,
    number: i64,
}

async fn write_event(
    tx: &mut Transaction<'_, Postgres>,
    logged: &LoggedEvent,
    receipt: &Receipt<'_>,
) -> Result<(), DoubleError> {
    let event = &logged.event;
    let (plain, encrypted) = match &event.payload {
        Payload::Plain(json) => (Some(json), None),
        Payload::Encrypted(json) => (None, Some(json)),
    };
    let (tenant, store) = (event.stream.tenant_id.0, event.stream.store_id.0);
    let (at, signing_hash) = (logged.sequenced_at.to_string(), event.signing_hash());
    sqlx::query(drill!("insert_event"))
        .bind(event.event_id.0)
        .bind(event.command_id.map(|id| id.0))
        .bind(i32::try_from(event.ves_version).unwrap_or(1))
        .bind(tenant)
        .bind(store)
        .bind(event.source_agent_id.0)
        .bind(i32::try_from(event.agent_key_id).unwrap_or(-1))
        .bind(&event.entity_type)
        .bind(&event.entity_id)
        .bind(&event.event_type)
        .bind(&event.created_at)
        .bind(&at)
        .bind(i32::from(encrypted.is_some()))
        .bind(plain)
        .bind(encrypted)
        .bind(event.payload_plain_hash.0.to_vec())
        .bind(event.payload_cipher_hash.0.to_vec())
        .bind(signing_hash.0.to_vec())
        .bind(event.agent_signature.0.to_vec())
        .bind(receipt.number)
        .bind(event.base_version)
        .bind(logged.created_at.to_string())
        .execute(&mut **tx)
        .await?;
    let number = receipt.number.unsigned_abs();
    let receipted = receipt_hash(&event.stream, &event.event_id, number, &signing_hash);
    sqlx::query(drill!("insert_receipt"))
        .bind(event.event_id.0)
        .bind(receipt.id.0)
        .bind(receipt.number)
        .bind(&at)
        .bind(receipted.0.to_vec())
        .bind(sign_receipt_hash(receipt.key, &receipted).0.to_vec())
        .execute(&mut **tx)
        .await?;
    sqlx::query(drill!("raise_version"))
        .bind(tenant)
        .bind(store)
        .bind(&event.entity_type)
        .bind(&event.entity_id)
        .bind(&at)
        .execute(&mut **tx)
        .await?;
    Ok(())
}

/// The checks of the real one: the key is active now, and the signature holds.
async fn check(tx: &mut Transaction<'_, Postgres>, event: &Event) -> Result<(), DoubleError> {
    let row = sqlx::query(drill!("active_key"))
        .bind(event.stream.tenant_id.0)
        .bind(event.source_agent_id.0)
        .bind(i32::try_from(event.agent_key_id).unwrap_or(-1))
        .fetch_optional(&mut **tx)
        .await?;
    let key = row.and_then(|row| row.get::<Vec<u8>, _>(0).try_into().ok());
    let key = key.and_then(|bytes: [u8; 32]| VerifyingKey::from_bytes(&bytes).ok());
    let key = key.ok_or(DoubleError::Refused("agent_key_invalid"))?;
    let signature = Signature::from_bytes(&event.agent_signature.0);
    key.verify(&event.signing_hash().0, &signature)
        .map_err(|_| DoubleError::Refused("invalid_signature"))
}

fn same_number(given: u64, expected: u64) -> Result<(), DoubleError> {
    if given == expected {
        Ok(())
    } else {
        Err(DoubleError::OtherNumber { given, expected })
    }
}

fn hash(bytes: Vec<u8>) -> Hash32 {
    bytes.try_into().map_or(Hash32::ZERO, Hash32)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// What tells a batch that is committed after the repair from others.
fn name_of(stream: &StreamKey, at: Timestamp) -> Uuid {
    let (tenant, store) = (stream.tenant_id.0.as_u128(), stream.store_id.0.as_u128());
    Uuid::from_u128(tenant ^ store.rotate_left(64) ^ u128::from(at.0.unsigned_abs()))
}

/// Which events each stream of the log has, by number.
pub(super) type Present = BTreeMap<StreamKey, BTreeSet<(u64, ves::EventId)>>;

/// Those of a world's log.
pub(super) fn present(log: &WorldLog) -> Present {
    let numbered = |events: &fixtures::StreamLog| {
        let events = events.events.iter();
        events
            .map(|(number, logged)| (*number, logged.event.event_id))
            .collect()
    };
    log.streams
        .iter()
        .map(|(key, stream)| (*key, numbered(stream)))
        .collect()
}
