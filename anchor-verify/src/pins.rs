//! What an auditor knows beforehand, from elsewhere: which contracts are the sequencer's, which chain they are on, which
//! keys are the agents'. What contradicts it is refused or fails; what is not of it is no evidence.

use std::collections::BTreeMap;
use std::path::Path;

use event_log::Outline;
use serde::Deserialize;
use ves::post_quantum::WrittenKeyBundle;
use ves::{AgentId, Hash32, SigningKey, TenantId, Timestamp};

use crate::anchor::ContractAddress;
use crate::anchors_file::{AnchorsFile, MAX_FILE_BYTES, read_limited};

/// Contracts and chain, as the auditor knows them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChainPins {
    /// The sequencer's contracts; empty if the auditor names none.
    pub contracts: Vec<ContractAddress>,
    /// The chain that anchors must be on (EIP-155); any if it is not known.
    pub chain_id: Option<u64>,
}

impl ChainPins {
    /// Leaves the evidence that is of these contracts and this chain. Returns what is to be told of the rest.
    ///
    /// # Errors
    /// The file is of another chain.
    pub fn apply(&self, file: &mut AnchorsFile) -> Result<Vec<String>, String> {
        let mut told = Vec::new();
        match (self.chain_id, file.chain_id) {
            (Some(pinned), Some(found)) if pinned != found => {
                return Err(format!("the anchors are of chain {found}, not of chain {pinned}"));
            }
            (Some(pinned), None) => {
                told.push(format!(
                    "that the anchors are of chain {pinned}: the file names no chain"
                ));
            }
            _ => {}
        }
        if self.contracts.is_empty() {
            return Ok(told);
        }
        let mut others: BTreeMap<ContractAddress, usize> = BTreeMap::new();
        file.anchors.retain(|anchor| {
            let ours = self.contracts.contains(&anchor.contract);
            if !ours {
                *others.entry(anchor.contract).or_default() += 1;
            }
            ours
        });
        let ours = |contract: &ContractAddress| self.contracts.contains(contract);
        file.chain.scanned.retain(|scan| ours(&scan.contract));
        file.chain.refused.retain(|refused| ours(&refused.contract));
        file.chain.proofs.retain(|proofs| ours(&proofs.contract));
        if !others.is_empty() {
            let total: usize = others.values().sum();
            let named: Vec<String> = others
                .iter()
                .take(4)
                .map(|(contract, count)| format!("{contract} ({count})"))
                .collect();
            let more = match others.len().saturating_sub(4) {
                0 => String::new(),
                more => format!(" and {more} more contracts"),
            };
            told.push(format!(
                "{total} anchor(s) of contracts that are not the given ones, which are no evidence: {}{more}",
                named.join(", ")
            ));
        }
        for contract in &self.contracts {
            if !file.anchors.iter().any(|anchor| anchor.contract == *contract) {
                told.push(format!("contract {contract}: no anchor of it was given"));
            }
        }
        Ok(told)
    }
}

/// Agents' keys that the auditor knows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KeyPins {
    keys: Vec<Pinned>,
}

/// One key as the auditor knows it. What is left out is not known, and does not limit the key.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pinned {
    #[serde(rename = "type", default)]
    _kind: Option<KeyType>,
    tenant_id: TenantId,
    agent_id: AgentId,
    key_id: u32,
    public_key: Hash32,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    valid_from: Option<Timestamp>,
    #[serde(default)]
    valid_to: Option<Timestamp>,
    #[serde(default)]
    revoked_at: Option<Timestamp>,
    #[serde(default)]
    key_algorithm: Option<i16>,
    #[serde(default)]
    public_key_bundle: Option<WrittenKeyBundle>,
}

/// The type of a key's line in a log export, which may be taken as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KeyType {
    Key,
}

type KeyName = (TenantId, AgentId, u32);

impl Pinned {
    fn name(&self) -> KeyName {
        (self.tenant_id, self.agent_id, self.key_id)
    }

    fn key(&self) -> SigningKey {
        SigningKey {
            tenant_id: self.tenant_id,
            agent_id: self.agent_id,
            key_id: self.key_id,
            public_key: self.public_key,
            status: self.status.clone().unwrap_or_else(|| "active".to_owned()),
            valid_from: self.valid_from,
            valid_to: self.valid_to,
            revoked_at: self.revoked_at,
            key_algorithm: self.key_algorithm.unwrap_or(1),
            public_key_bundle: self.public_key_bundle.clone().map(|bundle| bundle.0),
        }
    }

    /// What the input's key says otherwise than this one.
    fn differs(&self, other: &SigningKey) -> Option<&'static str> {
        let times = [
            ("valid_from", self.valid_from, other.valid_from),
            ("valid_to", self.valid_to, other.valid_to),
            ("revoked_at", self.revoked_at, other.revoked_at),
        ];
        if self.public_key != other.public_key {
            return Some("public_key");
        }
        if self.status.as_ref().is_some_and(|status| *status != other.status) {
            return Some("status");
        }
        if self
            .key_algorithm
            .is_some_and(|number| number != other.key_algorithm)
        {
            return Some("key_algorithm");
        }
        // Of an Ed25519 key nobody reads a bundle; of the others it is the key.
        if matches!(other.key_algorithm, 3 | 5) && !self.key().same_public_key(other) {
            return Some("public_key_bundle");
        }
        times
            .into_iter()
            .find(|(_, known, said)| known.is_some() && known != said)
            .map(|(name, ..)| name)
    }
}

impl KeyPins {
    /// Reads keys: JSON objects with `tenant_id`, `agent_id`, `key_id`, `public_key` and, if known, `status`,
    /// `valid_from`, `valid_to`, `revoked_at`, `key_algorithm`, `public_key_bundle`; as an array, or one a line (the `key` lines of a log
    /// export are such).
    ///
    /// # Errors
    /// What cannot be read, a member that is not known, a key that is there twice.
    pub fn read(path: &Path) -> Result<Self, String> {
        let bytes = read_limited(path, MAX_FILE_BYTES).map_err(|e| e.to_string())?;
        Self::from_json(&bytes.ok_or("is too large for a file of keys")?)
    }

    /// As [`KeyPins::read`], from text.
    ///
    /// # Errors
    /// As there.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        let text = bytes.trim_ascii();
        let keys: Vec<Pinned> = if text.starts_with(b"[") {
            serde_json::from_slice(text).map_err(|e| format!("holds no keys: {e}"))?
        } else {
            let keys = serde_json::Deserializer::from_slice(text).into_iter();
            keys.collect::<Result<_, _>>()
                .map_err(|e| format!("holds no keys: {e}"))?
        };
        let mut names: Vec<KeyName> = keys.iter().map(Pinned::name).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|two| two[0] == two[1]) {
            return Err(format!(
                "key {} of agent {} is there twice",
                twice[0].2, twice[0].1
            ));
        }
        if keys.is_empty() {
            return Err("holds no keys".into());
        }
        Ok(Self { keys })
    }

    /// Puts these keys in the place of the input's. Returns what the input says otherwise of them.
    pub(crate) fn apply(&self, outline: &mut Outline) -> Vec<String> {
        let mut own: BTreeMap<KeyName, SigningKey> = std::mem::take(&mut outline.keys)
            .into_iter()
            .map(|key| ((key.tenant_id, key.agent_id, key.key_id), key))
            .collect();
        outline.unreadable_keys.clear();
        let mut unlike = Vec::new();
        for pinned in &self.keys {
            let (_, agent, number) = pinned.name();
            let differs = own.remove(&pinned.name()).and_then(|own| pinned.differs(&own));
            if let Some(what) = differs {
                unlike.push(format!(
                    "key {number} of agent {agent} has another {what} in the input than the given one"
                ));
            }
            outline.keys.push(pinned.key());
        }
        outline
            .keys
            .sort_by_key(|key| (key.tenant_id, key.agent_id, key.key_id));
        unlike
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = r#"{"tenant_id":"eeeb6454-48a0-40b3-8504-82dfc45e17ba","agent_id":"5126e8c5-c2d2-4f92-8b21-0080eeab9c5e","key_id":1,"public_key":"0c19d321d83812e9c0d26cf97bdaf88b4d9fc33b6aa3d307f2a379bc0b030f72"}"#;

    #[test]
    fn keys_are_read_as_an_array_or_one_a_line() {
        let other = KEY.replace("\"key_id\":1", "\"key_id\":2,\"status\":\"revoked\"");
        for text in [
            format!("[{KEY},{other}]"),
            format!("{KEY}\n{other}\n"),
            format!("{KEY} {}", other.replacen('{', "{\"type\":\"key\",", 1)),
        ] {
            assert_eq!(
                KeyPins::from_json(text.as_bytes()).unwrap().keys.len(),
                2,
                "{text}"
            );
        }
        for text in [
            "",
            "[]",
            "7",
            &format!("{KEY}{KEY}"),
            &KEY.replacen('{', "{\"more\":1,", 1),
            &KEY.replacen('{', "{\"type\":\"event\",", 1),
            &KEY.replace("0c19", ""),
        ] {
            assert!(KeyPins::from_json(text.as_bytes()).is_err(), "{text}");
        }
    }
}
