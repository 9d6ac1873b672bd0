//! Agents' public keys, and where each of them is known from.
//!
//! A signature is as good as the key that it is checked with. The log's own keys are the best (the sequencer
//! accepted them), then a file that the user gives, then what an agent fetched of its peers. Of one key number
//! the better source counts; one that says otherwise is reported.

use std::collections::HashMap;
use std::path::Path;

use serde::{Deserialize, Serialize};
use ves::post_quantum::WrittenKeyBundle;
use ves::{AgentId, Event, Hash32, KeyRegistry, SigningKey, TenantId, Timestamp};

use crate::error::{FileError, OutboxError};
use crate::outbox::Outbox;

/// The largest key file that is read.
const MAX_FILE_BYTES: u64 = 256 << 20;
/// The `schema` of a key file.
pub const SCHEMA: &str = "agent-keys/1";

/// Where a key is known from; better sources first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum KeySource {
    /// `agent_signing_keys` of the log.
    Log,
    /// A file that the user gave.
    File,
    /// What an outbox fetched of its peers.
    PeerKeys,
}

/// Keys with their sources.
#[derive(Debug, Default)]
pub struct KeyBook {
    registry: KeyRegistry,
    sources: HashMap<(TenantId, AgentId, u32), KeySource>,
    /// What is wrong with the sources: keys that contradict each other, or that cannot be read.
    pub flaws: Vec<String>,
}

/// A key as people write it: also as it was registered with the sequencer.
#[derive(Deserialize)]
struct KeyJson {
    #[serde(alias = "tenantId")]
    tenant_id: TenantId,
    #[serde(alias = "agentId")]
    agent_id: AgentId,
    #[serde(alias = "keyId")]
    key_id: u32,
    #[serde(alias = "publicKey")]
    public_key: Hash32,
    #[serde(default)]
    status: Option<String>,
    #[serde(default, alias = "validFrom")]
    valid_from: Option<Timestamp>,
    #[serde(default, alias = "validTo")]
    valid_to: Option<Timestamp>,
    #[serde(default, alias = "revokedAt")]
    revoked_at: Option<Timestamp>,
    #[serde(default, alias = "keyAlgorithm")]
    key_algorithm: Option<i16>,
    #[serde(default, alias = "publicKeyBundle")]
    public_key_bundle: Option<WrittenKeyBundle>,
}

#[derive(Deserialize)]
struct FileJson {
    schema: String,
    keys: Vec<KeyJson>,
}

impl From<KeyJson> for SigningKey {
    fn from(key: KeyJson) -> Self {
        Self {
            tenant_id: key.tenant_id,
            agent_id: key.agent_id,
            key_id: key.key_id,
            public_key: key.public_key,
            status: key.status.unwrap_or_else(|| "active".into()),
            valid_from: key.valid_from,
            valid_to: key.valid_to,
            revoked_at: key.revoked_at,
            key_algorithm: key.key_algorithm.unwrap_or(1),
            public_key_bundle: key.public_key_bundle.map(|bundle| bundle.0),
        }
    }
}

impl KeyBook {
    /// Adds keys. Of one key number the better source counts, and of equal sources the first.
    pub fn add(&mut self, keys: impl IntoIterator<Item = SigningKey>, source: KeySource) {
        for key in keys {
            let id = (key.tenant_id, key.agent_id, key.key_id);
            let known = self.registry.get(id.0, id.1, id.2);
            if let Some(known) = known.filter(|known| !known.same_public_key(&key)) {
                let better = self.sources.get(&id).copied().unwrap_or(source);
                if better != KeySource::Log || source != KeySource::Log {
                    self.flaws.push(format!(
                        "key {} of agent {} is {} in {} and {} in {}: the first counts",
                        key.key_id,
                        key.agent_id,
                        known.public_name(),
                        better.min(source).name(),
                        key.public_name(),
                        better.max(source).name(),
                    ));
                }
            }
            let takes = self.sources.get(&id).is_none_or(|known| source < *known);
            if takes {
                self.sources.insert(id, source);
                self.registry.insert(key);
            }
        }
    }

    /// Adds the keys of a file: `{"schema": "agent-keys/1", "keys": [{"tenant_id", "agent_id", "key_id",
    /// "public_key", …}]}`, or the bare list; names as in registrations with the sequencer are understood too.
    ///
    /// Says how many keys it holds.
    ///
    /// # Errors
    /// The file cannot be read, or is not one.
    pub fn add_file(&mut self, path: &Path) -> Result<usize, FileError> {
        let text = cli_common::files::read_text(path, MAX_FILE_BYTES).map_err(|e| FileError::new(path, e))?;
        let bare = text.trim_start().starts_with('[');
        let keys = if bare {
            serde_json::from_str::<Vec<KeyJson>>(&text)
        } else {
            serde_json::from_str::<FileJson>(&text).and_then(|file| match file.schema.as_str() {
                SCHEMA => Ok(file.keys),
                other => Err(serde::de::Error::custom(format!(
                    "schema is {other:?}, not {SCHEMA:?}"
                ))),
            })
        };
        let keys = keys.map_err(|e| FileError::new(path, format!("is not a key file: {e}")))?;
        let count = keys.len();
        self.add(keys.into_iter().map(SigningKey::from), KeySource::File);
        Ok(count)
    }

    /// Adds the keys that an outbox fetched of its peers.
    ///
    /// # Errors
    /// The outbox turns out damaged.
    pub fn add_peers(&mut self, outbox: &Outbox) -> Result<(), OutboxError> {
        for key in outbox.peer_keys()? {
            match key {
                Ok(key) => self.add([key], KeySource::PeerKeys),
                Err(what) => self
                    .flaws
                    .push(format!("{}: {what}", outbox.meta().path.display())),
            }
        }
        Ok(())
    }

    /// The keys.
    pub fn registry(&self) -> &KeyRegistry {
        &self.registry
    }

    /// Where the key that an event names is known from.
    pub fn source(&self, event: &Event) -> Option<KeySource> {
        let id = (event.stream.tenant_id, event.source_agent_id, event.agent_key_id);
        self.sources.get(&id).copied()
    }
}

impl KeySource {
    /// In words.
    pub fn name(self) -> &'static str {
        match self {
            KeySource::Log => "the log",
            KeySource::File => "the key file",
            KeySource::PeerKeys => "an outbox's peer keys",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(public: u8) -> SigningKey {
        SigningKey {
            tenant_id: TenantId(uuid::Uuid::from_u128(1)),
            agent_id: AgentId(uuid::Uuid::from_u128(2)),
            key_id: 1,
            public_key: Hash32([public; 32]),
            status: "active".into(),
            valid_from: None,
            valid_to: None,
            revoked_at: None,
            key_algorithm: 1,
            public_key_bundle: None,
        }
    }

    #[test]
    fn the_better_source_counts_whatever_the_order() {
        for order in [
            [(KeySource::Log, 1), (KeySource::PeerKeys, 2)],
            [(KeySource::PeerKeys, 2), (KeySource::Log, 1)],
        ] {
            let mut book = KeyBook::default();
            for (source, public) in order {
                book.add([key(public)], source);
            }
            let found = book.registry().iter().next().unwrap();
            assert_eq!(found.public_key, Hash32([1; 32]));
            assert_eq!(book.flaws.len(), 1);
        }
        let mut book = KeyBook::default();
        book.add([key(1), key(1)], KeySource::File);
        assert_eq!((book.flaws.len(), book.registry().len()), (0, 1));
    }

    #[test]
    fn key_files_of_both_forms_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let one = r#"{"tenantId":"00000000-0000-0000-0000-000000000001","agentId":"00000000-0000-0000-0000-000000000002","keyId":1,"publicKey":"0101010101010101010101010101010101010101010101010101010101010101"}"#;
        for text in [
            format!("[{one}]"),
            format!(r#"{{"schema":"agent-keys/1","keys":[{one}]}}"#),
        ] {
            std::fs::write(&path, text).unwrap();
            let mut book = KeyBook::default();
            book.add_file(&path).unwrap();
            assert_eq!(book.registry().iter().next(), Some(&key(1)));
        }
        for text in ["", "{}", r#"{"schema":"other/1","keys":[]}"#, r#"[{"keyId":1}]"#] {
            std::fs::write(&path, text).unwrap();
            let error = KeyBook::default().add_file(&path).unwrap_err();
            assert!(error.to_string().contains("keys.json"), "{error}");
        }
    }
}
