//! Manifests: which objects an archive is made of, each chained to the one before it. The form: `docs/archive.md`.

use bytes::Bytes;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use event_log::{RowError, UnreadableKey};
use serde::{Deserialize, Serialize};
use ves::digest::Preimage;
use ves::{AgentId, EventId, Hash32, SignatureBytes, StoreId, StreamKey, TenantId, Timestamp};

use crate::error::ArchiveError;
use crate::store::Store;

/// The form that this version writes, and the only one that it reads.
pub const SCHEMA: &str = "event-archive/1";
/// The form of a manifest's signature.
pub const SIGNATURE_SCHEMA: &str = "event-archive-signature/1";
/// The domain of what is signed.
const DOMAIN: &str = "EVENT_ARCHIVE_MANIFEST_V1";
/// The folder of the manifests.
const FOLDER: &str = "manifest";
/// The largest manifest that is read: some millions of files.
const MAX_MANIFEST: u64 = 1 << 30;

/// What an archive holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`SCHEMA`].
    pub schema: String,
    /// Counted from 1.
    pub number: u64,
    /// SHA-256 of the manifest before this one; `None` for the first.
    pub previous: Option<Hash32>,
    /// When it was written, by the writer's clock.
    pub written_at: Timestamp,
    /// The log that was archived, without secrets.
    pub log: String,
    /// The streams, by key.
    pub streams: Vec<StreamPart>,
    /// Agents' keys, as they were when this manifest was written.
    pub keys: ObjectRef,
    /// Commitments; of two rows of one batch, the one in the later object counts.
    pub commitments: Vec<ObjectRef>,
    /// Anchors, as they were given to the writer.
    pub anchors: Vec<ObjectRef>,
    /// Where each event stands, by its id; the oldest file first. Of two rows of one event, the one in the later file counts.
    pub ids: Vec<IdsFile>,
    /// Rows of the log that could not be read, and are in no table.
    pub unreadable: Vec<Unreadable>,
}

/// A stream as it was archived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamPart {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The store.
    pub store_id: StoreId,
    /// How many events the log had.
    pub events: u64,
    /// The lowest number.
    pub first: Option<u64>,
    /// The highest number.
    pub last: Option<u64>,
    /// The stream's counter, if it had one.
    pub counter: Option<u64>,
    /// The event with the highest number.
    pub head: Option<Head>,
    /// The objects with its events, in order.
    pub files: Vec<EventsFile>,
}

impl StreamPart {
    /// The stream's name.
    pub fn stream(&self) -> StreamKey {
        StreamKey::new(self.tenant_id, self.store_id)
    }

    /// How many of its events are archived.
    pub fn archived(&self) -> u64 {
        self.files
            .iter()
            .map(|file| file.rows)
            .fold(0, u64::saturating_add)
    }
}

/// The last event of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Head {
    /// Its number.
    pub sequence_number: u64,
    /// The event.
    pub event_id: EventId,
    /// Its leaf, as commitments have it.
    pub leaf: Hash32,
}

/// An object with events of one stream: whole batches, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EventsFile {
    /// Where it lies, from the archive's root.
    pub path: String,
    /// The lowest number that it is meant for: the one after the file before.
    pub from: u64,
    /// The highest number that it is meant for; what it lacks of them, the log lacked.
    pub to: u64,
    /// How many events are in it.
    pub rows: u64,
    /// How many batches it holds.
    pub batches: u64,
    /// The root of the tree over the leaves of all its events.
    pub leaves_root: Hash32,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of all of it.
    pub sha256: Hash32,
    /// How many bytes at its end are no row groups: filters, indexes, footer.
    pub tail_bytes: u64,
    /// SHA-256 of these bytes; the hash of each row group stands in the footer.
    pub tail_sha256: Hash32,
}

/// A file of the index of event ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdsFile {
    /// Where it lies, from the archive's root.
    pub path: String,
    /// How many events are in it.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of all of it.
    pub sha256: Hash32,
    /// How many bytes at its end are no row groups.
    pub tail_bytes: u64,
    /// SHA-256 of these bytes; the hash of each row group stands in the footer.
    pub tail_sha256: Hash32,
}

/// An object that is read as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ObjectRef {
    /// Where it lies, from the archive's root.
    pub path: String,
    /// How many rows it has.
    pub rows: u64,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of all of it.
    pub sha256: Hash32,
}

/// A row of the log that could not be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Unreadable {
    /// The table.
    pub table: String,
    /// Its stream, as far as known.
    pub stream: Option<StreamKey>,
    /// Its number (of a commitment: its first), as far as known.
    pub sequence_number: Option<u64>,
    /// Of an agent's key: tenant, agent and number, as far as known.
    pub key: Option<(TenantId, AgentId, u32)>,
    /// What is wrong with it.
    pub what: String,
}

impl Unreadable {
    /// Whether it is a row of this table.
    pub fn is_of(&self, table: &str) -> bool {
        self.table == table
    }

    /// The row as a log's reader would tell it.
    pub fn row_error(&self) -> RowError {
        RowError {
            table: TABLES
                .into_iter()
                .find(|table| self.is_of(table))
                .unwrap_or("another table"),
            stream: self.stream,
            sequence: self.sequence_number,
            what: self.what.clone(),
        }
    }
}

/// The tables that rows of an archive come from.
const TABLES: [&str; 5] = [
    "ves_events",
    "ves_sequencer_receipts",
    "ves_commitments",
    "ves_sequence_counters",
    "agent_signing_keys",
];

impl From<&RowError> for Unreadable {
    fn from(row: &RowError) -> Self {
        Self {
            table: row.table.to_owned(),
            stream: row.stream,
            sequence_number: row.sequence,
            key: None,
            what: row.what.clone(),
        }
    }
}

impl From<&UnreadableKey> for Unreadable {
    fn from(key: &UnreadableKey) -> Self {
        Self {
            key: key.name,
            ..Self::from(&key.error)
        }
    }
}

/// A manifest's signature, which lies beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ManifestSignature {
    /// [`SIGNATURE_SCHEMA`].
    schema: String,
    /// SHA-256 of the manifest.
    sha256: Hash32,
    /// Who signed. Whether to trust the key is for the reader to know.
    public_key: Hash32,
    /// Ed25519 over SHA-256(`EVENT_ARCHIVE_MANIFEST_V1` ‖ sha256).
    signature: SignatureBytes,
}

/// A manifest as it was read, with what its bytes hash to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadManifest {
    /// What it says.
    pub manifest: Manifest,
    /// SHA-256 of its bytes.
    pub sha256: Hash32,
}

fn object(number: u64) -> String {
    format!("{FOLDER}/{number:010}.json")
}

/// Of one manifest: another writer's, of the same number, has another hash.
fn signature_object(number: u64, sha256: &Hash32) -> String {
    format!("{FOLDER}/{number:010}.{}.sig", hex::encode(&sha256.0[..8]))
}

/// SHA-256 of bytes.
pub(crate) fn sha256(bytes: &[u8]) -> Hash32 {
    use sha2::{Digest, Sha256};
    Hash32(Sha256::digest(bytes).into())
}

fn signed_hash(sha256: &Hash32) -> Hash32 {
    Preimage::new(DOMAIN).bytes(&sha256.0).finish()
}

impl Manifest {
    /// The newest manifest of an archive; `None` if there is none.
    ///
    /// # Errors
    /// If the store fails, or what is there is no manifest.
    pub fn newest(store: &Store) -> Result<Option<ReadManifest>, ArchiveError> {
        let names = store.list(FOLDER)?;
        let numbers = names
            .iter()
            .filter_map(|name| name.strip_suffix(".json")?.parse::<u64>().ok());
        let Some(newest) = numbers.max() else {
            return Ok(None);
        };
        Self::read(store, newest)?
            .map(Some)
            .ok_or_else(|| ArchiveError::damaged(&object(newest), "it was listed and is not there"))
    }

    /// The manifest of a number; `None` if there is none.
    ///
    /// # Errors
    /// If the store fails, or what is there is no manifest of that number.
    pub fn read(store: &Store, number: u64) -> Result<Option<ReadManifest>, ArchiveError> {
        let object = object(number);
        let Some(bytes) = store.get(&object, MAX_MANIFEST)? else {
            return Ok(None);
        };
        let damaged = |what: String| ArchiveError::damaged(&object, what);
        let manifest: Self =
            serde_json::from_slice(&bytes).map_err(|error| damaged(format!("no manifest: {error}")))?;
        if manifest.schema != SCHEMA {
            let found: String = manifest.schema.chars().take(60).collect();
            return Err(damaged(format!(
                "has the schema {found:?}; this version reads {SCHEMA:?}"
            )));
        }
        if manifest.number != number {
            return Err(damaged(format!("says that it is manifest {}", manifest.number)));
        }
        manifest.check().map_err(damaged)?;
        Ok(Some(ReadManifest {
            manifest,
            sha256: sha256(&bytes),
        }))
    }

    /// Looks whether what it says can be: streams and files in order, paths within the archive.
    fn check(&self) -> Result<(), String> {
        if (self.number == 1) != self.previous.is_none() {
            return Err("only the first manifest has none before it".into());
        }
        if !self.streams.is_sorted_by(|a, b| a.stream() < b.stream()) {
            return Err("the streams are not in order, or one is there twice".into());
        }
        for stream in &self.streams {
            let mut next = 1;
            for file in &stream.files {
                if file.from != next || file.to < file.from || file.tail_bytes > file.bytes {
                    return Err(format!(
                        "the files of stream {} do not follow on each other",
                        stream.stream()
                    ));
                }
                next = file.to.saturating_add(1);
            }
            // Behind the last event that could be read, there may be others.
            let ends = match (stream.files.last(), stream.head) {
                (None, None) => true,
                (Some(file), Some(head)) => head.sequence_number <= file.to && Some(file.to) <= stream.last,
                _ => false,
            };
            if !ends {
                let stream = stream.stream();
                return Err(format!("stream {stream} does not end where its files end"));
            }
        }
        let files = self
            .streams
            .iter()
            .flat_map(|stream| &stream.files)
            .map(|file| &file.path);
        let tables = self.commitments.iter().chain(&self.anchors).chain([&self.keys]);
        let outside = |path: &&String| path.split('/').any(|part| matches!(part, "" | "." | ".."));
        let paths = files.chain(tables.map(|table| &table.path));
        match paths.chain(self.ids.iter().map(|file| &file.path)).find(outside) {
            Some(path) => Err(format!("names an object {path:?}")),
            None => Ok(()),
        }
    }

    /// Writes it, and its signature if there is a key. It is visible at once and whole.
    ///
    /// # Errors
    /// If the store fails, or another writer has written a manifest of that number.
    pub(crate) fn write(&self, store: &Store, key: Option<&SigningKey>) -> Result<Hash32, ArchiveError> {
        let bytes = serde_json::to_vec(self).map_err(ArchiveError::columns("writing a manifest"))?;
        let sha256 = sha256(&bytes);
        // The signature first: it names the manifest by its hash, and a manifest is never without it.
        if let Some(key) = key {
            let signature = ManifestSignature {
                schema: SIGNATURE_SCHEMA.to_owned(),
                sha256,
                public_key: Hash32(key.verifying_key().to_bytes()),
                signature: SignatureBytes(key.sign(&signed_hash(&sha256).0).to_bytes()),
            };
            let bytes =
                serde_json::to_vec(&signature).map_err(ArchiveError::columns("writing a signature"))?;
            store.put(&signature_object(self.number, &sha256), bytes.into())?;
        }
        let is_new = store.create(&object(self.number), Bytes::from(bytes))?;
        // Where an answer was lost, the store was asked twice.
        let is_ours = || {
            let there = store.get(&object(self.number), MAX_MANIFEST);
            there.map(|there| there.is_some_and(|there| self::sha256(&there) == sha256))
        };
        match is_new || is_ours()? {
            true => Ok(sha256),
            false => Err(ArchiveError::Contended(self.number)),
        }
    }
}

impl ReadManifest {
    /// Whether it is signed by this key.
    ///
    /// # Errors
    /// Why it is not.
    pub fn check_signature(&self, store: &Store, key: &VerifyingKey) -> Result<(), ArchiveError> {
        const MAX_SIGNATURE: u64 = 1 << 16;
        let object = signature_object(self.manifest.number, &self.sha256);
        let damaged = |what: &str| ArchiveError::damaged(&object, what);
        let bytes = store.get(&object, MAX_SIGNATURE)?;
        let bytes = bytes.ok_or_else(|| damaged("the manifest is not signed"))?;
        let signature: ManifestSignature =
            serde_json::from_slice(&bytes).map_err(|error| damaged(&format!("no signature: {error}")))?;
        if signature.schema != SIGNATURE_SCHEMA || signature.sha256 != self.sha256 {
            return Err(damaged("it is the signature of another manifest"));
        }
        if signature.public_key.0 != key.to_bytes() {
            return Err(damaged("it is made with another key"));
        }
        key.verify_strict(
            &signed_hash(&self.sha256).0,
            &Signature::from_bytes(&signature.signature.0),
        )
        .map_err(|_| damaged("the signature does not hold"))
    }

    /// Reads the manifests before this one, newest first, and holds each against the hash in the one behind it.
    ///
    /// # Errors
    /// If one is missing or altered.
    pub fn check_chain(&self, store: &Store) -> Result<(), ArchiveError> {
        let (mut number, mut previous) = (self.manifest.number, self.manifest.previous);
        while let Some(expected) = previous {
            number -= 1;
            let object = object(number);
            let before = Manifest::read(store, number)?
                .ok_or_else(|| ArchiveError::damaged(&object, "it is not there"))?;
            if before.sha256 != expected {
                return Err(ArchiveError::damaged(
                    &object,
                    "it is not the one that the next manifest goes on from",
                ));
            }
            previous = before.manifest.previous;
        }
        Ok(())
    }
}
