//! Keys that the log lost: taken from a file of the operator's or from what agents fetched of their peers, if asked
//! for, and registered again together with the events that need them.
//!
//! A key decides which signatures hold, so one that is false lets its maker sign in another agent's name. Therefore a
//! key comes back only if the log has none under its number, an event names it and verifies with it, and nobody who
//! was heard says otherwise. The operator's file is the operator's word. A peer's word has a grade like any other:
//! `proven` if an anchored root has placed an event that verifies with the key, since the root binds the signature;
//! `corroborated` if independent outboxes have the same key; `claimed` if one has it. `--accept` decides what is used.
//! Documented in docs/lost-keys.md.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anchor_verify::rules::KeyName;
use event_log::View;
use outbox_sync::KeyBook;
use serde::Serialize;
use ves::{AgentId, Event, Hash32, KeyRegistry, SignatureCheck, SigningKey, TenantId, Timestamp};

use crate::error::RecoveryError;
use crate::grade::{Accept, Grade};
use crate::place::placement::Judgement;
use crate::plan::planned::{KeyBasis, PlannedKey};
use crate::stream::batches::BatchVerdict;
use crate::stream::examine::Examined;
use crate::stream::scan::Places;
use crate::witness::evidence::{HolderId, Holders, StreamEvidence};

/// Where keys are taken from.
#[derive(Debug, Clone, Default)]
pub struct KeySources {
    /// Key files (docs/outboxes.md).
    pub files: Vec<PathBuf>,
    /// What outboxes fetched of their peers.
    pub peers: bool,
}

impl KeySources {
    /// True if no key is accepted from anybody.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && !self.peers
    }
}

/// A key's name: the tenant, the agent and the number.
pub(super) type TenantKeyName = (TenantId, AgentId, u32);

/// A key that somebody vouches for and that is not registered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedKey {
    /// The agent.
    pub agent_id: AgentId,
    /// The key's number.
    pub key_id: u32,
    /// Why.
    pub why: String,
}

/// One who has a key.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Voucher {
    File(String),
    Peer(HolderId),
}

/// What was offered under one name: different contents side by side.
#[derive(Debug, Clone, Default)]
struct Offers {
    keys: Vec<(SigningKey, Vec<Voucher>)>,
}

impl Offers {
    fn add(&mut self, key: SigningKey, voucher: Voucher) {
        match self
            .keys
            .iter_mut()
            .find(|(known, _)| known.same_public_key(&key))
        {
            Some((known, vouchers)) => {
                // The same key, told with another window: the narrower is the safer.
                if known.revoked_at.is_none() && key.revoked_at.is_some() {
                    (known.revoked_at, known.status) = (key.revoked_at, key.status);
                }
                known.valid_from = known.valid_from.max(key.valid_from);
                known.valid_to = [known.valid_to, key.valid_to].into_iter().flatten().min();
                if !vouchers.contains(&voucher) {
                    vouchers.push(voucher);
                }
            }
            None => self.keys.push((key, vec![voucher])),
        }
    }
}

/// Keys that somebody vouches for and that the log lacks, or has otherwise.
#[derive(Debug, Default)]
pub struct Vouched {
    offers: BTreeMap<TenantKeyName, Offers>,
    /// Keys that were taken already, for another stream.
    taken: BTreeMap<TenantKeyName, (KeyBasis, Vec<String>)>,
}

impl Vouched {
    /// Hears the files and, if it is asked for, what outboxes told of their peers.
    ///
    /// # Errors
    /// A file that cannot be read, or that contradicts itself.
    pub fn hear(
        sources: &KeySources,
        peers: &[(HolderId, SigningKey)],
        log: &KeyRegistry,
    ) -> Result<Self, RecoveryError> {
        let mut vouched = Self::default();
        let unusable = |path: &PathBuf, what: String| RecoveryError::Keys {
            path: path.clone(),
            what,
        };
        for path in &sources.files {
            let mut book = KeyBook::default();
            book.add_file(path).map_err(|error| unusable(path, error.what))?;
            if let Some(flaw) = book.flaws.first() {
                return Err(unusable(path, flaw.clone()));
            }
            let mut keys: Vec<&SigningKey> = book.registry().iter().collect();
            keys.sort_by_key(|key| (key.tenant_id, key.agent_id, key.key_id));
            for key in keys {
                vouched.offer(key.clone(), Voucher::File(path.display().to_string()), log);
            }
        }
        if sources.peers {
            for (holder, key) in peers {
                vouched.offer(key.clone(), Voucher::Peer(*holder), log);
            }
        }
        Ok(vouched)
    }

    fn offer(&mut self, mut key: SigningKey, voucher: Voucher, log: &KeyRegistry) {
        if key.revoked_at.is_some() {
            key.status = "revoked".into();
        }
        let name = (key.tenant_id, key.agent_id, key.key_id);
        let known = log.get(name.0, name.1, name.2);
        if known.is_none_or(|known| !known.same_public_key(&key)) {
            self.offers.entry(name).or_default().add(key, voucher);
        }
    }

    /// True if nobody vouches for anything that the log does not have just so.
    pub fn is_empty(&self) -> bool {
        self.offers.is_empty()
    }

    /// How many vouched keys no event of any stream was found to name.
    pub fn not_needed(&self, named: &BTreeSet<TenantKeyName>) -> usize {
        self.offers.keys().filter(|name| !named.contains(*name)).count()
    }
}

/// What comes of the vouched keys in one stream.
#[derive(Debug, Default)]
pub struct Accepted {
    /// Registered again, with the events of the log that need them; those of the plan are counted later.
    pub keys: Vec<PlannedKey>,
    /// Not registered.
    pub refused: Vec<RefusedKey>,
    /// Every key that events of the stream name and the log lacks.
    pub named: BTreeSet<TenantKeyName>,
    /// Whether a candidate is judged otherwise with them.
    pub changed: bool,
}

/// What a stream's vouched keys are judged by.
pub struct Judged<'a> {
    /// The stream.
    pub examined: &'a Examined,
    /// Where its missing events belong, as far as that is known without those keys.
    pub judgement: &'a Judgement,
    /// Who the witnesses are.
    pub holders: &'a Holders,
    /// The weakest grade that the operator admits.
    pub accept: Accept,
}

/// Decides which vouched keys come back in a stream, and judges its candidates again with them.
///
/// # Errors
/// What the log's database says.
pub async fn accept(
    view: &mut View,
    vouched: &mut Vouched,
    evidence: &mut StreamEvidence,
    judged: &Judged<'_>,
) -> Result<Accepted, RecoveryError> {
    let tenant = judged.examined.state.stream.tenant_id;
    let mut accepted = Accepted {
        named: named(tenant, judged.examined, evidence),
        ..Accepted::default()
    };
    // Also keys that the log has otherwise: whoever offers another one is named.
    let offered: Vec<TenantKeyName> = vouched
        .offers
        .range((tenant, AgentId(uuid::Uuid::nil()), 0)..)
        .take_while(|((of, ..), _)| *of == tenant)
        .map(|(name, _)| *name)
        .filter(|name| accepted.named.contains(name))
        .collect();
    for name in offered {
        let (_, agent_id, key_id) = name;
        match judged.key(view, vouched, evidence, name).await? {
            Ok(key) => {
                accepted.changed |= check_again(evidence, &key);
                accepted.keys.push(key);
            }
            Err(why) => accepted.refused.push(RefusedKey {
                agent_id,
                key_id,
                why,
            }),
        }
    }
    Ok(accepted)
}

/// The keys that events of the stream name and the log lacks.
fn named(tenant: TenantId, examined: &Examined, evidence: &StreamEvidence) -> BTreeSet<TenantKeyName> {
    let of_candidates = evidence
        .candidates
        .iter()
        .filter(|c| c.signature == SignatureCheck::KeyUnknown)
        .map(|c| (c.event.source_agent_id, c.event.agent_key_id));
    let in_log = examined.scan.tally.unknown_keys.keys();
    let in_log = in_log.map(|key| (key.agent_id, key.key_id));
    of_candidates
        .chain(in_log)
        .map(|(agent, key)| (tenant, agent, key))
        .collect()
}

/// Whether an event's signature holds with the one key of a registry, whenever that key was good.
fn holds(registry: &KeyRegistry, event: &Event, signing_hash: &Hash32) -> bool {
    !matches!(
        registry.check(event, signing_hash, Timestamp(0)),
        SignatureCheck::Invalid | SignatureCheck::KeyUnknown | SignatureCheck::NotChecked(_)
    )
}

fn is_named(event: &Event, key: &SigningKey) -> bool {
    (event.source_agent_id, event.agent_key_id) == (key.agent_id, key.key_id)
}

impl Judged<'_> {
    /// The key of a name as it is registered again, or why it is not.
    async fn key(
        &self,
        view: &mut View,
        vouched: &mut Vouched,
        evidence: &StreamEvidence,
        name: TenantKeyName,
    ) -> Result<Result<PlannedKey, String>, RecoveryError> {
        let offers = &vouched.offers[&name].keys[..];
        let [(key, vouchers)] = offers else {
            let side = |(key, vouchers): &(SigningKey, Vec<Voucher>)| {
                format!(
                    "{} ({})",
                    key.public_name(),
                    names(vouchers, self.holders).join(", ")
                )
            };
            let sides: Vec<String> = offers.iter().map(side).collect();
            let sides = sides.join(" against ");
            return Ok(Err(format!("its public key is contradicted: {sides}")));
        };
        if let Some(why) = unusable(key) {
            return Ok(Err(why));
        }
        let sources = names(vouchers, self.holders);
        let Some(proven) = self.verifies(view, evidence, key).await? else {
            return Ok(Err(format!(
                "no event verifies with {}, which {} has for it",
                key.public_name(),
                sources.join(", ")
            )));
        };
        let basis = basis(vouchers, self.holders, proven);
        if !basis.admitted(self.accept) && !vouched.taken.contains_key(&name) {
            return Ok(Err(format!(
                "only {} by {}: give it in a file, or use --accept {}",
                basis.as_str(),
                sources.join(", "),
                basis.as_str()
            )));
        }
        let key = key.clone();
        // What was good enough for one stream is for the next.
        let (basis, sources) = vouched.taken.entry(name).or_insert((basis, sources)).clone();
        let in_log = self.positions(&key);
        Ok(Ok(PlannedKey {
            events_in_log: in_log.map_or(0, |places| places.count),
            key,
            basis,
            sources,
            events_planned: 0,
        }))
    }

    /// Where events of the log name a key that it lacks.
    fn positions(&self, key: &SigningKey) -> Option<&Places> {
        let (agent_id, key_id) = (key.agent_id, key.key_id);
        let named = KeyName { agent_id, key_id };
        self.examined.scan.tally.unknown_keys.get(&named)
    }

    /// Whether an event verifies with a key: `None` if none does, otherwise whether one does that a root proves.
    async fn verifies(
        &self,
        view: &mut View,
        evidence: &StreamEvidence,
        key: &SigningKey,
    ) -> Result<Option<bool>, RecoveryError> {
        let registry = KeyRegistry::new([key.clone()]);
        let mut found = None;
        let mut note = |proven: bool| found = Some(found.unwrap_or(false) || proven);
        let placements = self.judgement.placements.iter();
        let placed: BTreeSet<usize> = placements
            .filter(|p| p.grade >= Grade::Checkpointed)
            .map(|p| p.candidate)
            .collect();
        for (index, candidate) in evidence.candidates.iter().enumerate() {
            if is_named(&candidate.event, key) && holds(&registry, &candidate.event, &candidate.signing_hash)
            {
                note(placed.contains(&index));
            }
        }
        let matches_anchors = |position: u64| {
            self.examined.batches.iter().any(|batch| {
                batch.verdict == BatchVerdict::MatchesAnchors
                    && (batch.sequence_start..=batch.sequence_end).contains(&position)
            })
        };
        let stream = &self.examined.state.stream;
        for position in self
            .positions(key)
            .into_iter()
            .flat_map(|places| &places.positions)
        {
            for entry in view.entries(stream, *position..=*position).await?.rows {
                if holds(&registry, &entry.event, &entry.event.signing_hash()) {
                    note(matches_anchors(*position));
                }
            }
        }
        Ok(found)
    }
}

/// Checks the candidates that name a key with it. Whether there were any.
fn check_again(evidence: &mut StreamEvidence, planned: &PlannedKey) -> bool {
    let registry = KeyRegistry::new([planned.key.clone()]);
    let mut changed = false;
    for candidate in &mut evidence.candidates {
        if candidate.signature != SignatureCheck::KeyUnknown || !is_named(&candidate.event, &planned.key) {
            continue;
        }
        let at = candidate.event.created_at.parse().unwrap_or(Timestamp(0));
        candidate.signature = match registry.check(&candidate.event, &candidate.signing_hash, at) {
            // A key that was taken on somebody's word condemns nothing that a root may still prove.
            SignatureCheck::Invalid => SignatureCheck::NotChecked(format!(
                "it does not hold with key {} of {}",
                planned.key.key_id,
                planned.sources.join(", ")
            )),
            verdict => verdict,
        };
        changed = true;
    }
    changed
}

impl Accepted {
    /// Counts the events of the plan that rest on each key, and says so of an event.
    pub fn rests_on(&mut self, event: &Event) -> Option<String> {
        let key = self
            .keys
            .iter_mut()
            .find(|k| (k.key.agent_id, k.key.key_id) == (event.source_agent_id, event.agent_key_id))?;
        key.events_planned += 1;
        Some(format!(
            "its signature was checked with key {}, which the log lacks ({}, {})",
            key.key.key_id,
            key.sources.join(", "),
            key.basis.as_str()
        ))
    }
}

fn names(vouchers: &[Voucher], holders: &Holders) -> Vec<String> {
    let name = |voucher: &Voucher| match voucher {
        Voucher::File(path) => path.clone(),
        Voucher::Peer(holder) => format!("{}'s peer keys", holders.name(*holder)),
    };
    vouchers.iter().map(name).collect()
}

fn basis(vouchers: &[Voucher], holders: &Holders, proven: bool) -> KeyBasis {
    if vouchers.iter().any(|voucher| matches!(voucher, Voucher::File(_))) {
        return KeyBasis::Given;
    }
    let peers = vouchers.iter().filter_map(|voucher| match voucher {
        Voucher::Peer(holder) => Some(*holder),
        Voucher::File(_) => None,
    });
    if proven {
        KeyBasis::Proven
    } else if holders.independent(peers) > 1 {
        KeyBasis::Corroborated
    } else {
        KeyBasis::Claimed
    }
}

/// Why a key cannot be registered, whoever vouches for it.
fn unusable(key: &SigningKey) -> Option<String> {
    if let Some(flaw) = key.flaw() {
        return Some(format!("{} cannot check a signature: {flaw}", key.public_name()));
    }
    if !["active", "revoked", "expired"].contains(&key.status.as_str()) {
        return Some(format!("its status is {:?}", key.status));
    }
    None
}
