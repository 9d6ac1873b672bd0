//! Recovery epochs: a file that says which history a repaired log continues (docs/epoch.md).
//!
//! A point-in-time recovery makes every cursor and every "synced" beyond the recovered head a memory of another
//! history. The operator's repair writes an epoch file; an agent without access to the database sets its outbox
//! right by it.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use cli_common::{Access, Existing, WholeFile};
use ed25519_dalek::{Signature, Signer, SigningKey, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};
use uuid::Uuid;
use ves::digest::Preimage;
use ves::{EventId, Hash32, SignatureBytes, SignatureCheck, StreamKey, Timestamp, jcs};

/// The `schema` of an epoch file.
pub const SCHEMA: &str = "recovery-epoch/1";
/// What the signature is over begins with this.
const DOMAIN: &str = "VES_RECOVERY_EPOCH_V1";
/// The largest file that is read.
const MAX_FILE_BYTES: u64 = 1 << 30;
/// Numbers above this would not survive the canonical form that is signed; no sequencer counts that far.
const MAX_NUMBER: u64 = (1 << 53) - 1;

/// A file that is no recovery epoch, or that could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("{}: {source}", path.display())]
pub struct EpochError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong. What is wrong with the content is of the kind `InvalidData`.
    pub source: io::Error,
}

impl EpochError {
    fn new(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        Self { path, source }
    }

    pub(crate) fn content(path: &Path, what: String) -> Self {
        Self::new(path, io::Error::new(io::ErrorKind::InvalidData, what))
    }
}

/// What was done to a log in one recovery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecoveryEpoch {
    /// [`SCHEMA`].
    pub schema: String,
    /// This recovery.
    pub id: Uuid,
    /// When the log was repaired.
    pub time: Timestamp,
    /// Its streams, each once.
    pub streams: Vec<EpochStream>,
    /// The operator's signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<EpochSignature>,
}

/// A stream of a repaired log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochStream {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// The highest number that the recovery gave back without a hole below it: what is at or below it was never
    /// lost.
    pub recovered_head: u64,
    /// The highest number after the repair.
    pub head: u64,
    /// The counter after the repair: the next event gets the number after it.
    pub counter: u64,
    /// The events that the log has above [`EpochStream::recovered_head`].
    #[serde(default)]
    pub restored: Vec<RestoredNumber>,
    /// The generation of the stream's tree that begins with this repair, if not all that was signed of it came back
    /// (docs/checkpoints.md).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<EpochGeneration>,
}

/// A new generation of a stream's tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochGeneration {
    /// Its number; the one before it is one less.
    pub number: u32,
    /// So many events it has in common with the one before it.
    pub common_size: u64,
    /// The root over them.
    pub common_root: Hash32,
    /// SHA-256 of the loss certificate, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Hash32>,
}

/// An event that is in the log again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoredNumber {
    /// Its number.
    pub sequence_number: u64,
    /// The event.
    pub event_id: EventId,
}

/// Ed25519 over SHA-256(`VES_RECOVERY_EPOCH_V1` ‖ the canonical form of the document without `signature`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EpochSignature {
    /// `ed25519`.
    pub algorithm: String,
    /// Whose signature it says it is. Trust only a key that you know from elsewhere.
    pub public_key: Hash32,
    /// The signature.
    pub signature: SignatureBytes,
}

impl RecoveryEpoch {
    /// An epoch that is not signed.
    ///
    /// # Errors
    /// The streams contradict themselves (see [`RecoveryEpoch::check`]).
    pub fn new(id: Uuid, time: Timestamp, streams: Vec<EpochStream>) -> Result<Self, String> {
        let epoch = Self {
            schema: SCHEMA.into(),
            id,
            time,
            streams,
            signature: None,
        };
        epoch.check()?;
        Ok(epoch)
    }

    /// Whether it makes sense: each stream, number and event once, nothing beyond its stream's head, no head beyond
    /// its counter.
    ///
    /// # Errors
    /// What does not.
    pub fn check(&self) -> Result<(), String> {
        if self.schema != SCHEMA {
            return Err(format!(
                "schema is {:?}; this program reads {SCHEMA:?}",
                self.schema
            ));
        }
        let mut streams = BTreeSet::new();
        let mut events = BTreeSet::new();
        for s in &self.streams {
            let error = |what: &str| Err(format!("stream {}: {what}", s.stream));
            if !streams.insert(s.stream) {
                return error("named twice");
            }
            if s.recovered_head > s.head || s.head > s.counter || s.counter > MAX_NUMBER {
                return error("recovered_head ≤ head ≤ counter does not hold");
            }
            if let Some(generation) = &s.generation
                && (generation.number < 2 || generation.common_size > s.head)
            {
                return error(
                    "generation is no second or later one, or has more in common than the log holds",
                );
            }
            let mut numbers = BTreeSet::new();
            for restored in &s.restored {
                let number = restored.sequence_number;
                if number <= s.recovered_head || number > s.head {
                    return error(&format!(
                        "restored number {number} is not between recovered_head and head"
                    ));
                }
                if !numbers.insert(number) || !events.insert(restored.event_id) {
                    return error(&format!("number {number} or its event is restored twice"));
                }
            }
        }
        Ok(())
    }

    /// What is signed.
    ///
    /// # Errors
    /// None for an epoch that [`RecoveryEpoch::check`]s.
    pub fn hash(&self) -> Result<Hash32, String> {
        let unsigned = Self {
            signature: None,
            ..self.clone()
        };
        let json = serde_json::to_string(&unsigned).map_err(|e| e.to_string())?;
        let canonical = jcs::canonicalize(&json).map_err(|e| e.to_string())?;
        Ok(Preimage::new(DOMAIN).bytes(canonical.as_bytes()).finish())
    }

    /// Signs it.
    ///
    /// # Errors
    /// As [`RecoveryEpoch::hash`].
    pub fn sign(&mut self, key: &SigningKey) -> Result<(), String> {
        let hash = self.hash()?;
        self.signature = Some(EpochSignature {
            algorithm: "ed25519".into(),
            public_key: Hash32(key.verifying_key().to_bytes()),
            signature: SignatureBytes(key.sign(&hash.0).to_bytes()),
        });
        Ok(())
    }

    /// Checks the signature with a key that is known from elsewhere. Without one nothing is checked: the key in the
    /// file says nothing about who wrote it.
    pub fn check_signature(&self, key: Option<&VerifyingKey>) -> SignatureCheck {
        let Some(signed) = &self.signature else {
            return SignatureCheck::NotChecked("the epoch is not signed".into());
        };
        let Some(key) = key else {
            return SignatureCheck::NotChecked("the operator's public key was not given".into());
        };
        if !signed.algorithm.eq_ignore_ascii_case("ed25519") {
            return SignatureCheck::NotChecked(format!("signature algorithm {:?}", signed.algorithm));
        }
        let signature = Signature::from_bytes(&signed.signature.0);
        match self.hash() {
            Ok(hash) if key.verify(&hash.0, &signature).is_ok() => SignatureCheck::Valid,
            _ => SignatureCheck::Invalid,
        }
    }

    /// The events above the recovered heads, by id.
    pub fn restored(&self) -> BTreeMap<EventId, (StreamKey, u64)> {
        let of = |s: &EpochStream| {
            let stream = s.stream;
            s.restored
                .clone()
                .into_iter()
                .map(move |r| (r.event_id, (stream, r.sequence_number)))
        };
        self.streams.iter().flat_map(of).collect()
    }

    /// A stream of it.
    pub fn stream(&self, stream: &StreamKey) -> Option<&EpochStream> {
        self.streams.iter().find(|s| s.stream == *stream)
    }

    /// Reads a file. The signature is not checked.
    ///
    /// # Errors
    /// It cannot be read, is no epoch, or contradicts itself.
    pub fn read(path: &Path) -> Result<Self, EpochError> {
        let text =
            cli_common::files::read_text(path, MAX_FILE_BYTES).map_err(|e| EpochError::new(path, e))?;
        let epoch: Self = serde_json::from_str(&text)
            .map_err(|e| EpochError::content(path, format!("is not a recovery epoch: {e}")))?;
        epoch.check().map_err(|what| EpochError::content(path, what))?;
        Ok(epoch)
    }

    /// The file's content.
    ///
    /// # Errors
    /// If the epoch contradicts itself.
    pub fn to_json(&self) -> Result<Vec<u8>, String> {
        self.check()?;
        let mut json = serde_json::to_vec_pretty(self).map_err(|e| e.to_string())?;
        json.push(b'\n');
        Ok(json)
    }

    /// Writes it to a file, which appears whole or not at all.
    ///
    /// # Errors
    /// There is a file of that name already, or the disk fails.
    pub fn write(&self, path: &Path) -> Result<(), EpochError> {
        let json = self.to_json().map_err(|what| EpochError::content(path, what))?;
        let write = || -> io::Result<()> {
            let mut file = WholeFile::create(path, Access::Owner, Existing::Keep)?;
            file.write_all(&json)?;
            file.finish()
        };
        write().map_err(|e| EpochError::new(path, e))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epoch() -> RecoveryEpoch {
        let stream = |n| EpochStream {
            stream: StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(n).into()),
            recovered_head: 10,
            head: 20,
            counter: 25,
            restored: vec![RestoredNumber {
                sequence_number: 11,
                event_id: EventId(Uuid::from_u128(n)),
            }],
            generation: None,
        };
        RecoveryEpoch::new(
            Uuid::from_u128(9),
            Timestamp(1_000_000),
            vec![stream(1), stream(2)],
        )
        .unwrap()
    }

    #[test]
    fn what_is_written_reads_back_and_its_signature_holds() {
        let key = SigningKey::from_bytes(&[3; 32]);
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("epoch.json");
        let mut written = epoch();
        written.sign(&key).unwrap();
        written.write(&path).unwrap();
        assert!(written.write(&path).is_err(), "an epoch is never overwritten");
        let read = RecoveryEpoch::read(&path).unwrap();
        assert_eq!(read, written);
        let trusted = key.verifying_key();
        assert!(read.check_signature(Some(&trusted)).is_valid());
        assert!(!read.check_signature(None).is_valid());
        let other = SigningKey::from_bytes(&[4; 32]).verifying_key();
        assert_eq!(read.check_signature(Some(&other)), SignatureCheck::Invalid);
        let mut forged = read;
        forged.streams[0].head = 21;
        assert_eq!(forged.check_signature(Some(&trusted)), SignatureCheck::Invalid);
        assert!(!epoch().check_signature(Some(&trusted)).is_valid());
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let changes: [fn(&mut RecoveryEpoch); 7] = [
            |e| e.schema = "recovery-epoch/2".into(),
            |e| e.streams[1].stream = e.streams[0].stream,
            |e| e.streams[0].head = 5,
            |e| e.streams[0].counter = 19,
            |e| e.streams[0].counter = u64::MAX,
            |e| e.streams[0].restored[0].sequence_number = 10,
            |e| e.streams[0].restored[0].event_id = e.streams[1].restored[0].event_id,
        ];
        for change in changes {
            let mut bad = epoch();
            change(&mut bad);
            assert!(bad.check().is_err(), "{bad:?}");
        }
    }
}
