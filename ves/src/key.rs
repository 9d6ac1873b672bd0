//! Agents' keys: which key may sign when, and whether a signature holds.
//!
//! A signature is accepted exactly where the sequencer accepts it: Ed25519 as `ed25519-dalek`'s (non-strict) `verify`,
//! ML-DSA-65 as `ml-dsa`'s, and each by a key of the algorithm that goes with its scheme. The signatures of schemes 2 and
//! 3 are those in the bundle; the column `agent_signature`, which the leaf commits to, is not compared with them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use ed25519_dalek::{Signature, Verifier, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::digest::{Hash32, SignatureBytes};
use crate::ed25519::{self, PreparedKey, SignatureInput};
use crate::event::Event;
use crate::id::{AgentId, TenantId};
use crate::keep::Keep;
use crate::post_quantum::{MlDsa65Key, PublicKeyBundle, SignatureBundle};
use crate::signature::{SignatureCheck, SignatureScheme};
use crate::time::Timestamp;

/// A row of `agent_signing_keys`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SigningKey {
    /// The tenant that registered the key.
    pub tenant_id: TenantId,
    /// The agent that signs with it.
    pub agent_id: AgentId,
    /// The number of the key, counted by agent.
    pub key_id: u32,
    /// The Ed25519 public key; zero where there is only an ML-DSA-65 one. Of a key with a bundle, the one in the bundle
    /// counts.
    pub public_key: Hash32,
    /// `active`, `revoked` or `expired`.
    pub status: String,
    /// Not valid before this time.
    pub valid_from: Option<Timestamp>,
    /// Not valid from this time on.
    pub valid_to: Option<Timestamp>,
    /// Revoked at this time.
    pub revoked_at: Option<Timestamp>,
    /// 1 = Ed25519, 3 = ML-DSA-65, 5 = both.
    pub key_algorithm: i16,
    /// The public keys of algorithms 3 and 5, as stored (JSON bytes).
    #[serde(
        default,
        with = "crate::stored_bytes",
        skip_serializing_if = "Option::is_none"
    )]
    pub public_key_bundle: Option<Vec<u8>>,
}

impl SigningKey {
    /// What it is to check signatures with.
    ///
    /// # Errors
    /// Why no signature can be checked with it.
    fn material(&self) -> Result<Material, String> {
        let bundle = || {
            let Some(json) = &self.public_key_bundle else {
                return Err(format!(
                    "algorithm {} has its keys in public_key_bundle, and there is none",
                    self.key_algorithm
                ));
            };
            PublicKeyBundle::read(json).ok_or_else(|| "public_key_bundle cannot be read".to_owned())
        };
        let ml_dsa = |bundle: &PublicKeyBundle| {
            let encoded = bundle.ml_dsa_65();
            let encoded = encoded.ok_or("public_key_bundle has no ML-DSA-65 key of 1952 bytes")?;
            Ok::<_, String>(MlDsa65Key::new(encoded))
        };
        match self.key_algorithm {
            0 | 1 => Ok(Material::Ed25519(UsedKey::new(self.public_key))),
            3 => Ok(Material::MlDsa65(ml_dsa(&bundle()?)?)),
            5 => {
                let bundle = bundle()?;
                let ed25519 = bundle.ed25519().ok_or("public_key_bundle has no Ed25519 key")?;
                Ok(Material::Hybrid(UsedKey::new(ed25519), ml_dsa(&bundle)?))
            }
            other => Err(format!("algorithm {other} signs nothing that is known")),
        }
    }

    /// As [`SigningKey::material`], with no Ed25519 key that is no point.
    fn sound_material(&self) -> Result<Material, String> {
        let material = self.material()?;
        match material.flaw() {
            Some(flaw) => Err(flaw.to_owned()),
            None => Ok(material),
        }
    }

    /// Why no signature can be checked with the key, whatever its times are; `None` if they can.
    pub fn flaw(&self) -> Option<String> {
        self.sound_material().err()
    }

    /// Whether both stand for the same public key, by whatever column.
    pub fn same_public_key(&self, other: &Self) -> bool {
        match (self.sound_material(), other.sound_material()) {
            (Ok(one), Ok(two)) => one.same(&two),
            _ => {
                (self.public_key, self.key_algorithm, &self.public_key_bundle)
                    == (other.public_key, other.key_algorithm, &other.public_key_bundle)
            }
        }
    }

    /// The public key in a line of text: the Ed25519 key in hex, and the fingerprint (SHA-256) of an ML-DSA-65 key.
    pub fn public_name(&self) -> String {
        match self.sound_material() {
            Ok(Material::MlDsa65(key)) => format!("ML-DSA-65 {}", key.fingerprint()),
            Ok(Material::Hybrid(ed25519, key)) => {
                let ed25519 = ed25519.encoded;
                format!("{ed25519} with ML-DSA-65 {}", key.fingerprint())
            }
            _ => self.public_key.to_string(),
        }
    }

    /// Why the key may not sign at `at`; `None` if it may.
    ///
    /// The sequencer judges keys at the moment of acceptance; for a log that means the event's
    /// `sequenced_at`. Status `expired` without `valid_to` is accepted, as the sequencer does
    ///; status `revoked` without a time is refused at all times.
    pub fn refusal_at(&self, at: Timestamp) -> Option<String> {
        if let Some(from) = self.valid_from.filter(|from| at < *from) {
            return Some(format!("the key is valid from {from}, the event is of {at}"));
        }
        if let Some(to) = self.valid_to.filter(|to| at >= *to) {
            return Some(format!("the key was valid until {to}, the event is of {at}"));
        }
        match self.revoked_at {
            Some(revoked) if at >= revoked => {
                Some(format!("the key was revoked at {revoked}, the event is of {at}"))
            }
            None if self.status == "revoked" => Some("the key is revoked, without a time".into()),
            _ => None,
        }
    }
}

/// Why no signature by an Ed25519 key is checked.
const NO_POINT: &str = "the registered public key is not an Ed25519 point";

/// An Ed25519 key as it is used: with a comb from the first time on where there is such a thing, and with a table once it has
/// proved to be used often.
#[derive(Debug)]
struct UsedKey {
    encoded: Hash32,
    /// Parsed when it is first needed, which a comb does without: to find the point's x costs about as much as a tenth of a
    /// verification. `None` inside if it is no point.
    key: OnceLock<Option<VerifyingKey>>,
    /// How many signatures were checked together with others.
    uses: AtomicUsize,
    /// `None` inside if it is no point.
    comb: OnceLock<Option<PreparedKey>>,
    /// `None` inside if the registry had prepared enough keys before.
    table: OnceLock<Option<PreparedKey>>,
}

impl UsedKey {
    fn new(encoded: Hash32) -> Self {
        Self {
            encoded,
            key: OnceLock::new(),
            uses: AtomicUsize::new(0),
            comb: OnceLock::new(),
            table: OnceLock::new(),
        }
    }

    fn key(&self) -> Option<&VerifyingKey> {
        self.key
            .get_or_init(|| VerifyingKey::from_bytes(&self.encoded.0).ok())
            .as_ref()
    }

    fn is_point(&self) -> bool {
        match self.comb.get() {
            Some(comb) => comb.is_some(),
            None => self.key().is_some(),
        }
    }

    /// Whether a signature holds, checked by itself; `None` if the key is no point.
    fn verify(&self, message: &Hash32, signature: &SignatureBytes) -> Option<bool> {
        Some(verify(self.key()?, message, signature))
    }
}

/// What signatures are checked with.
#[derive(Debug)]
enum Material {
    Ed25519(UsedKey),
    MlDsa65(MlDsa65Key),
    Hybrid(UsedKey, MlDsa65Key),
}

impl Material {
    /// Why nothing can be checked with it.
    fn flaw(&self) -> Option<&'static str> {
        match self {
            Self::Ed25519(used) | Self::Hybrid(used, _) => (!used.is_point()).then_some(NO_POINT),
            Self::MlDsa65(_) => None,
        }
    }

    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ed25519(one), Self::Ed25519(two)) => one.encoded == two.encoded,
            (Self::MlDsa65(one), Self::MlDsa65(two)) => one == two,
            (Self::Hybrid(one, first), Self::Hybrid(two, second)) => {
                one.encoded == two.encoded && first == second
            }
            _ => false,
        }
    }
}

/// An event's signature beside its key: all of these parts must hold.
#[derive(Debug)]
struct Parts<'a> {
    key: &'a SigningKey,
    ed25519: Option<(&'a UsedKey, SignatureBytes)>,
    ml_dsa_65: Option<(&'a MlDsa65Key, SignatureBundle)>,
}

/// How many expanded ML-DSA-65 keys a registry keeps. The others are expanded for each check.
const MAX_EXPANDED: usize = 1024;

/// How many keys have tables in a registry, at half a MiB each (see [`PreparedKey`]).
const MAX_TABLES: usize = 128;

/// How many combs a registry keeps, at 4 KiB each. Those of other keys are made for each chunk of signatures anew,
/// which takes a little longer; on machines without combs they are checked one by one, which takes many times as long.
const MAX_COMBS: usize = 16_384;

/// A signature of an event, to be checked together with others.
#[derive(Debug, Clone, Copy)]
pub struct EventSignature<'a> {
    /// The event.
    pub event: &'a Event,
    /// What was signed, stored or recomputed: see [`KeyRegistry::check`].
    pub signing_hash: Hash32,
    /// The time that its key is judged at.
    pub at: Timestamp,
}

/// A key's name: tenant, agent and key number.
type KeyName = (TenantId, AgentId, u32);

/// A key, and what signatures are checked with; if with nothing, why.
type Registered = (SigningKey, Result<Arc<Material>, String>);

/// The keys of a log, found by tenant, agent and key number.
#[derive(Debug, Clone)]
pub struct KeyRegistry {
    /// Shared by copies, so that each thread or task may have one.
    keys: Arc<HashMap<KeyName, Registered>>,
    /// Keys that are registered, and of which no more is known.
    unreadable: Arc<HashSet<KeyName>>,
    tables: Arc<Keep>,
    combs: Arc<Keep>,
    expanded: Arc<Keep>,
}

impl Default for KeyRegistry {
    fn default() -> Self {
        Self {
            keys: Arc::default(),
            unreadable: Arc::default(),
            tables: Arc::new(Keep::new(MAX_TABLES)),
            combs: Arc::new(Keep::new(MAX_COMBS)),
            expanded: Arc::new(Keep::new(MAX_EXPANDED)),
        }
    }
}

impl KeyRegistry {
    /// A registry of these keys; of two with the same number the later one counts.
    pub fn new(keys: impl IntoIterator<Item = SigningKey>) -> Self {
        let mut registry = Self::default();
        for key in keys {
            registry.insert(key);
        }
        registry
    }

    /// Adds a key.
    pub fn insert(&mut self, key: SigningKey) {
        let used = key.material().map(Arc::new);
        Arc::make_mut(&mut self.keys).insert((key.tenant_id, key.agent_id, key.key_id), (key, used));
    }

    /// Adds the name of a key that is registered and that cannot be read: signatures by it are not checked.
    pub fn insert_unreadable(&mut self, name: (TenantId, AgentId, u32)) {
        Arc::make_mut(&mut self.unreadable).insert(name);
    }

    /// Whether a key is registered and cannot be read.
    pub fn is_unreadable(&self, tenant_id: TenantId, agent_id: AgentId, key_id: u32) -> bool {
        self.unreadable.contains(&(tenant_id, agent_id, key_id))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// The key of that number.
    pub fn get(&self, tenant_id: TenantId, agent_id: AgentId, key_id: u32) -> Option<&SigningKey> {
        self.keys.get(&(tenant_id, agent_id, key_id)).map(|(key, _)| key)
    }

    /// All keys, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &SigningKey> {
        self.keys.values().map(|(key, _)| key)
    }

    /// An event's signature with its key; an error if that says enough: it cannot be checked, or need not be. Whether an Ed25519
    /// key is a point is seen later.
    fn parts<'a>(&'a self, event: &Event) -> Result<Parts<'a>, SignatureCheck> {
        let scheme = event.agent_signature_scheme;
        if !scheme.is_known() {
            let what = format!("signature scheme {} is not known", scheme.0);
            return Err(SignatureCheck::NotChecked(what));
        }
        let id = (event.stream.tenant_id, event.source_agent_id, event.agent_key_id);
        let (key, material) = match self.keys.get(&id) {
            Some((key, Ok(material))) => (key, material.as_ref()),
            Some((_, Err(flaw))) => return Err(SignatureCheck::NotChecked(flaw.clone())),
            None if self.unreadable.contains(&id) => {
                let what = format!("the row of key {} of agent {} cannot be read", id.2, id.1);
                return Err(SignatureCheck::NotChecked(what));
            }
            None => return Err(SignatureCheck::KeyUnknown),
        };
        Self::parts_of(key, material, event).map_err(|verdict| match material.flaw() {
            Some(flaw) => SignatureCheck::NotChecked(flaw.to_owned()),
            None => verdict,
        })
    }

    fn parts_of<'a>(
        key: &'a SigningKey,
        material: &'a Material,
        event: &Event,
    ) -> Result<Parts<'a>, SignatureCheck> {
        // Read where it is needed alone: what stands beside an Ed25519 signature is nobody's concern.
        let bundle = || {
            let json = event.agent_signature_bundle.as_deref();
            json.and_then(SignatureBundle::read)
                .ok_or(SignatureCheck::Invalid)
        };
        let whole = |bundle: &SignatureBundle| {
            let there = bundle.ml_dsa_65().is_some();
            if there {
                Ok(())
            } else {
                Err(SignatureCheck::Invalid)
            }
        };
        match (material, event.agent_signature_scheme) {
            (Material::Ed25519(used), scheme) if scheme.is_ed25519() => Ok(Parts {
                key,
                ed25519: Some((used, event.agent_signature)),
                ml_dsa_65: None,
            }),
            (Material::MlDsa65(used), SignatureScheme::ML_DSA_65) => {
                let bundle = bundle()?;
                whole(&bundle)?;
                Ok(Parts {
                    key,
                    ed25519: None,
                    ml_dsa_65: Some((used, bundle)),
                })
            }
            (Material::Hybrid(ed25519, ml_dsa), SignatureScheme::HYBRID) => {
                let bundle = bundle()?;
                whole(&bundle)?;
                let signature = bundle.ed25519().ok_or(SignatureCheck::Invalid)?;
                Ok(Parts {
                    key,
                    ed25519: Some((ed25519, signature)),
                    ml_dsa_65: Some((ml_dsa, bundle)),
                })
            }
            // A hybrid's Ed25519 half alone must not pass, nor any scheme by another's key: so the sequencer refuses too.
            _ => Err(SignatureCheck::Invalid),
        }
    }

    fn ml_dsa_holds(&self, parts: &Parts<'_>, signing_hash: &Hash32) -> bool {
        parts.ml_dsa_65.as_ref().is_none_or(|(key, bundle)| {
            let signature = bundle.ml_dsa_65();
            signature.is_some_and(|s| key.verify_keeping(signing_hash, s, Some(&self.expanded)))
        })
    }

    /// Checks an event's signature over `signing_hash`, with its key judged at `at`.
    ///
    /// `signing_hash` is passed in since a log has both a stored and a recomputed one; an auditor
    /// passes the recomputed one.
    pub fn check(&self, event: &Event, signing_hash: &Hash32, at: Timestamp) -> SignatureCheck {
        match self.parts(event) {
            Ok(parts) => {
                let ed25519 = parts.ed25519.as_ref();
                let Some(holds) = ed25519.map_or(Some(true), |(used, s)| used.verify(signing_hash, s)) else {
                    return SignatureCheck::NotChecked(NO_POINT.to_owned());
                };
                judge(parts.key, holds && self.ml_dsa_holds(&parts, signing_hash), at)
            }
            Err(verdict) => verdict,
        }
    }

    /// [`KeyRegistry::check`] of many events, with the same verdicts in their order, in a fraction of
    /// the time where few keys signed them. For several threads, pass each a chunk of some hundreds.
    pub fn check_many(&self, signatures: &[EventSignature<'_>]) -> Vec<SignatureCheck> {
        let found: Vec<_> = signatures
            .iter()
            .map(|signature| self.parts(signature.event))
            .collect();
        for (used, _) in found.iter().filter_map(ed25519_part) {
            used.uses.fetch_add(1, Ordering::Relaxed);
        }
        let fleeting = self.make_combs(&found);
        let prepared: Vec<Option<&PreparedKey>> = found
            .iter()
            .map(|found| {
                let (used, _) = ed25519_part(found)?;
                let kept = self
                    .table(used)
                    .or_else(|| used.comb.get().and_then(Option::as_ref));
                kept.or_else(|| fleeting.get(&std::ptr::from_ref(used)))
            })
            .collect();
        let claims: Vec<SignatureInput<'_>> = (signatures.iter().zip(&found).zip(&prepared))
            .filter_map(|((signature, found), key)| {
                let (_, bytes) = found.as_ref().ok()?.ed25519.as_ref()?;
                key.map(|key| SignatureInput {
                    key,
                    message: &signature.signing_hash.0,
                    signature: bytes,
                })
            })
            .collect();
        let mut verified = ed25519::verify_many(&claims).into_iter();
        let verdicts = signatures
            .iter()
            .zip(&found)
            .zip(prepared)
            .map(|((signature, found), prepared)| {
                let parts = match found {
                    Ok(parts) => parts,
                    Err(verdict) => return verdict.clone(),
                };
                let hash = &signature.signing_hash;
                let holds = match (&parts.ed25519, prepared) {
                    (Some(_), Some(_)) => verified.next() == Some(true),
                    (Some((used, bytes)), None) => match used.verify(hash, bytes) {
                        Some(holds) => holds,
                        None => return SignatureCheck::NotChecked(NO_POINT.to_owned()),
                    },
                    (None, _) => true,
                };
                judge(parts.key, holds && self.ml_dsa_holds(parts, hash), signature.at)
            });
        verdicts.collect()
    }

    /// The table of a key that is used often, as long as the registry makes more.
    fn table<'a>(&self, used: &'a UsedKey) -> Option<&'a PreparedKey> {
        let enough = match used.comb.get() {
            Some(None) => return None,
            Some(Some(_)) => ed25519::WORTH_MORE_THAN_A_COMB,
            None => ed25519::worth_preparing_from(),
        };
        if used.uses.load(Ordering::Relaxed) < enough {
            return used.table.get()?.as_ref();
        }
        let make = || {
            let key = used.key()?;
            self.tables.take().then(|| PreparedKey::new(key))
        };
        used.table.get_or_init(make).as_ref()
    }

    /// Makes combs, where there is such a thing, of the keys that have neither one nor a table. What the registry
    /// does not keep is returned.
    fn make_combs(
        &self,
        found: &[Result<Parts<'_>, SignatureCheck>],
    ) -> HashMap<*const UsedKey, PreparedKey> {
        let mut fleeting = HashMap::new();
        if PreparedKey::combs(&[]).is_none() {
            return fleeting;
        }
        let parts = found.iter().filter_map(ed25519_part).map(|(used, _)| used);
        let bare =
            parts.filter(|used| used.comb.get().is_none() && used.table.get().is_none_or(Option::is_none));
        let bare: HashMap<*const UsedKey, &UsedKey> =
            bare.map(|used| (std::ptr::from_ref(used), used)).collect();
        let bare: Vec<_> = bare.into_iter().collect();
        let keys: Vec<[u8; 32]> = bare.iter().map(|(_, used)| used.encoded.0).collect();
        let combs = PreparedKey::combs(&keys).unwrap_or_default();
        for ((name, used), comb) in bare.into_iter().zip(combs) {
            // Another thread may have been faster: its comb is the same.
            if used.comb.get().is_some() {
                continue;
            }
            match comb {
                Some(comb) if !self.combs.take() => drop(fleeting.insert(name, comb)),
                kept => drop(used.comb.set(kept)),
            }
        }
        fleeting
    }
}

fn ed25519_part<'a>(found: &Result<Parts<'a>, SignatureCheck>) -> Option<(&'a UsedKey, SignatureBytes)> {
    found.as_ref().ok()?.ed25519
}

fn judge(key: &SigningKey, holds: bool, at: Timestamp) -> SignatureCheck {
    match key.refusal_at(at) {
        _ if !holds => SignatureCheck::Invalid,
        Some(reason) => SignatureCheck::KeyNotValid(reason),
        None => SignatureCheck::Valid,
    }
}

/// Whether an Ed25519 signature over a 32-byte hash holds, exactly as `ed25519-dalek`'s `verify`.
pub fn verify(key: &VerifyingKey, message: &Hash32, signature: &SignatureBytes) -> bool {
    key.verify(&message.0, &Signature::from_bytes(&signature.0))
        .is_ok()
}

#[cfg(test)]
mod tests;
