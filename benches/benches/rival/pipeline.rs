//! A whole verification as it is written straightforwardly with the usual crates: `rusqlite`, `serde_json`,
//! `serde_json_canonicalizer`, `sha2`, `ed25519-dalek`, `rs_merkle` and `rayon`. Batches are spread over the threads,
//! each of which reads by a connection of its own. It checks what `anchor-verify verify` checks of an honest log.

use std::collections::HashMap;
use std::path::Path;

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use rayon::prelude::*;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use ves::kernel::LeafInput;
use ves::{Hash32, SignatureBytes, StreamKey};

/// The same as `both/entries.sql`, of the columns that are needed.
const ENTRIES: &str = "
    SELECT e.event_id, e.ves_version, e.source_agent_id, e.agent_key_id, e.entity_type, e.entity_id, e.event_type,
        e.created_at_str, e.sequenced_at, e.payload_kind, e.payload, e.payload_plain_hash, e.payload_cipher_hash,
        e.event_signing_hash, e.agent_signature, e.sequence_number,
        r.event_id, r.sequence_number, r.sequenced_at, r.receipt_hash, r.sequencer_signature
    FROM ves_events e
    LEFT JOIN ves_sequencer_receipts r ON r.event_id = e.event_id
    WHERE e.tenant_id = $1 AND e.store_id = $2 AND e.sequence_number BETWEEN $3 AND $4
    ORDER BY e.sequence_number";

/// What was found: events and batches, all of them sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sound {
    /// Events whose hashes, signature and receipt hold.
    pub events: u64,
    /// Batches whose root is the committed and the anchored one, and whose state root follows.
    pub batches: u64,
}

/// The anchored roots and state roots, by stream and range.
pub type Anchored = HashMap<(StreamKey, u64, u64), (Hash32, Hash32)>;

type Keys = HashMap<(Uuid, Uuid, u32), VerifyingKey>;
type Problem = Box<dyn std::error::Error + Send + Sync>;

struct Commitment {
    stream: StreamKey,
    start: u64,
    end: u64,
    root: Hash32,
    previous: Hash32,
    state: Hash32,
}

fn open(path: &Path) -> rusqlite::Result<Connection> {
    Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )
}

fn hash32(bytes: &[u8]) -> Result<Hash32, Problem> {
    Ok(Hash32(bytes.try_into()?))
}

fn keys(db: &Connection) -> Result<Keys, Problem> {
    let mut keys = Keys::new();
    let mut statement =
        db.prepare("SELECT tenant_id, agent_id, key_id, public_key FROM agent_signing_keys")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let name = (
            row.get_ref(0)?.as_str()?.parse()?,
            row.get_ref(1)?.as_str()?.parse()?,
            row.get(2)?,
        );
        let key = hash32(row.get_ref(3)?.as_blob()?)?;
        keys.insert(name, VerifyingKey::from_bytes(&key.0)?);
    }
    Ok(keys)
}

fn commitments(db: &Connection) -> Result<Vec<Commitment>, Problem> {
    let mut statement = db.prepare(
        "SELECT tenant_id, store_id, sequence_start, sequence_end, merkle_root, prev_state_root, new_state_root \
         FROM ves_commitments ORDER BY tenant_id, store_id, sequence_start",
    )?;
    let mut rows = statement.query([])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let uuid = |at| -> Result<Uuid, Problem> { Ok(row.get_ref(at)?.as_str()?.parse()?) };
        let hash = |at| -> Result<Hash32, Problem> { hash32(row.get_ref(at)?.as_blob()?) };
        found.push(Commitment {
            stream: StreamKey::new(uuid(0)?.into(), uuid(1)?.into()),
            start: row.get::<_, i64>(2)?.try_into()?,
            end: row.get::<_, i64>(3)?.try_into()?,
            root: hash(4)?,
            previous: hash(5)?,
            state: hash(6)?,
        });
    }
    Ok(found)
}

fn enc_str(hasher: &mut Sha256, text: &str) {
    hasher.update((text.len() as u32).to_be_bytes());
    hasher.update(text);
}

fn event(
    row: &rusqlite::Row<'_>,
    stream: &StreamKey,
    keys: &Keys,
    sequencer: Option<&VerifyingKey>,
) -> Result<Option<LeafInput>, Problem> {
    let text = |at| -> Result<&str, Problem> { Ok(row.get_ref(at)?.as_str()?) };
    let hash = |at| -> Result<Hash32, Problem> { hash32(row.get_ref(at)?.as_blob()?) };
    let signature = |at| -> Result<[u8; 64], Problem> { Ok(row.get_ref(at)?.as_blob()?.try_into()?) };
    let event_id: Uuid = text(0)?.parse()?;
    let agent: Uuid = text(2)?.parse()?;
    let key_id: u32 = row.get(3)?;
    let (plain_hash, cipher_hash, stored) = (hash(11)?, hash(12)?, hash(13)?);
    let agent_signature = signature(14)?;
    let sequence = row.get::<_, i64>(15)?;

    let payload: Value = serde_json::from_str(text(10)?)?;
    let canonical = serde_json_canonicalizer::to_vec(&payload)?;
    let payload_hash = Sha256::new_with_prefix(b"VES_PAYLOAD_PLAIN_V1")
        .chain_update(canonical)
        .finalize();

    let mut preimage = Sha256::new_with_prefix(b"VES_EVENTSIG_V1");
    preimage.update(row.get::<_, u32>(1)?.to_be_bytes());
    preimage.update(stream.tenant_id.as_bytes());
    preimage.update(stream.store_id.as_bytes());
    preimage.update(event_id.as_bytes());
    preimage.update(agent.as_bytes());
    preimage.update(key_id.to_be_bytes());
    for at in 4..8 {
        enc_str(&mut preimage, text(at)?);
    }
    preimage.update(row.get::<_, u32>(9)?.to_be_bytes());
    preimage.update(plain_hash.0);
    preimage.update(cipher_hash.0);
    let signing_hash: [u8; 32] = preimage.finalize().into();

    let key = keys.get(&(stream.tenant_id.0, agent, key_id));
    let signed = key.is_some_and(|key| {
        key.verify(&signing_hash, &Signature::from_bytes(&agent_signature))
            .is_ok()
    });

    let receipt_hash = Sha256::new_with_prefix(b"VES_RECEIPT_V1")
        .chain_update(stream.tenant_id.as_bytes())
        .chain_update(stream.store_id.as_bytes())
        .chain_update(event_id.as_bytes())
        .chain_update(sequence.to_be_bytes())
        .chain_update(stored.0)
        .finalize();
    let receipt: Uuid = text(16)?.parse()?;
    let promised = receipt == event_id
        && row.get::<_, i64>(17)? == sequence
        && text(18)? == text(8)?
        && hash(19)?.0[..] == receipt_hash[..];
    let receipt_signed = match sequencer {
        None => true,
        Some(key) => key
            .verify(&receipt_hash, &Signature::from_bytes(&signature(20)?))
            .is_ok(),
    };

    let sound = payload_hash[..] == plain_hash.0[..]
        && cipher_hash == Hash32::ZERO
        && signing_hash == stored.0
        && signed
        && promised
        && receipt_signed;
    Ok(sound.then_some(LeafInput {
        sequence_number: sequence as u64,
        event_signing_hash: stored,
        agent_signature: SignatureBytes(agent_signature),
    }))
}

fn batch(
    db: &Connection,
    commitment: &Commitment,
    keys: &Keys,
    sequencer: Option<&VerifyingKey>,
    anchored: &Anchored,
) -> Result<Sound, Problem> {
    let Commitment {
        stream, start, end, ..
    } = commitment;
    let mut statement = db.prepare(ENTRIES)?;
    let mut rows = statement.query(rusqlite::params![
        stream.tenant_id.to_string(),
        stream.store_id.to_string(),
        *start as i64,
        *end as i64
    ])?;
    let mut inputs = Vec::new();
    while let Some(row) = rows.next()? {
        let input = event(row, stream, keys, sequencer)?;
        inputs.extend(input.filter(|input| input.sequence_number == start + inputs.len() as u64));
    }
    let events = inputs.len() as u64;
    let whole = events == end - start + 1;
    let root = crate::rival::root(stream, &inputs);
    let state = Sha256::new_with_prefix(b"VES_STATE_ROOT_V1")
        .chain_update(
            Sha256::new_with_prefix(b"VES_STREAM_V1")
                .chain_update(stream.tenant_id.as_bytes())
                .chain_update(stream.store_id.as_bytes())
                .finalize(),
        )
        .chain_update(commitment.previous.0)
        .chain_update(commitment.root.0)
        .chain_update(start.to_be_bytes())
        .chain_update(end.to_be_bytes())
        .chain_update((events as u32).to_be_bytes())
        .finalize();
    let anchor = anchored.get(&(*stream, *start, *end));
    let matches = whole
        && root == Some(commitment.root)
        && state[..] == commitment.state.0[..]
        && anchor == Some(&(commitment.root, commitment.state));
    Ok(Sound {
        events,
        batches: u64::from(matches),
    })
}

/// Verifies the log in a snapshot file against its anchors; without the sequencer's key, receipts' signatures are not
/// checked.
pub fn verify(path: &Path, anchored: &Anchored, sequencer: Option<&VerifyingKey>) -> Result<Sound, Problem> {
    let db = open(path)?;
    let (keys, commitments) = (keys(&db)?, commitments(&db)?);
    let chained = commitments.windows(2).all(|two| {
        let [before, after] = two else { return false };
        if before.stream == after.stream {
            before.end + 1 == after.start && before.state == after.previous
        } else {
            after.start == 1 && after.previous == Hash32::ZERO
        }
    });
    if !chained {
        return Err("the commitments do not follow each other".into());
    }
    commitments
        .par_iter()
        .map_init(
            || open(path),
            |db, commitment| match db {
                Ok(db) => batch(db, commitment, &keys, sequencer, anchored),
                Err(error) => Err(error.to_string().into()),
            },
        )
        .try_reduce(Sound::default, |a, b| {
            Ok(Sound {
                events: a.events + b.events,
                batches: a.batches + b.batches,
            })
        })
}
