//! Tombstones: signed events in places whose own events are lost, so that the sequencer can read and commit across
//! them again. A tombstone says what it is, where, and what is known of the loss; it stands for nothing else.
//!
//! Everything in it follows from the stream, the position, what is known of the loss and the recovery key: planned
//! twice, it is the same event. Documented in docs/tombstone.md.

use std::collections::BTreeMap;

use event_log::View;
use serde::{Deserialize, Serialize};
use ves::{
    AgentId, Event, EventId, Hash32, KeyRegistry, Payload, SignatureBytes, SignatureScheme, SigningKey,
    StreamKey, TenantId, Timestamp, payload,
};

use crate::error::RecoveryError;
use crate::grade::Grade;
use crate::plan::planned::loss_hash;
use crate::plan::planned::{KeyBasis, KnownBatch, PlannedEvent, PlannedKey, PlannedOpen, PlannedTombstone};
use crate::stream::examine::Examined;
use crate::stream::tombstone_event::{ENTITY_TYPE, EVENT_TYPE, event_id};

/// The `schema` of a tombstone's payload.
pub const SCHEMA: &str = "recovery-tombstone/1";

/// More positions than this are not filled in one stream: a loss of that size is a false claim, or wants a decision
/// of its own.
pub const MAX_TOMBSTONES: u64 = 100_000;

/// A tombstone's payload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TombstonePayload {
    /// [`SCHEMA`].
    pub schema: String,
    /// The position in decimal digits. A string, since canonical JSON knows numbers up to 2^53 only.
    pub position: String,
    /// What is known of the event that was there: `lost`, or a grade that was not accepted.
    pub grade: Grade,
    /// In words.
    pub reason: String,
    /// The events that are named for the position.
    pub rivals: Vec<EventId>,
    /// The batch that the position is in, if one is known: its root will not match.
    pub batch: Option<KnownBatch>,
    /// The stream's loss as the loss certificate of the same plan lists it, see [`crate::plan::planned::loss_hash`].
    pub loss_hash: Hash32,
}

/// What the operator decides about positions that stay open.
#[derive(Debug, Clone)]
pub struct TombstoneOptions {
    /// The recovery agent's key.
    pub key: ves::Signer,
    /// Where that key is from, for messages; never its content.
    pub key_name: String,
    /// The recovery agent, where its key does not tell, or is to be registered.
    pub agent: Option<AgentId>,
    /// Whether the key is registered if the log does not have it.
    pub register: bool,
    /// Whether positions are filled too for which somebody names an event.
    pub undecided: bool,
    /// Whether positions are filled too in batches whose root is known, which it will never match.
    pub root_will_not_match: bool,
}

/// The recovery agents by tenant: the key under which each signs.
#[derive(Debug, Default)]
pub(crate) struct RecoveryAgents {
    /// Keys that this plan registers.
    new: BTreeMap<TenantId, SigningKey>,
}

impl RecoveryAgents {
    /// The registered key that `options.key` is, and whether this plan registers it.
    fn of(
        &mut self,
        stream: StreamKey,
        options: &TombstoneOptions,
        keys: &KeyRegistry,
    ) -> Result<(SigningKey, bool), RecoveryError> {
        let tenant = stream.tenant_id;
        if let Some(key) = self.new.get(&tenant) {
            return Ok((key.clone(), true));
        }
        let ours = SigningKey {
            tenant_id: tenant,
            agent_id: AgentId(uuid::Uuid::nil()),
            key_id: 0,
            public_key: options.key.public_key(),
            status: "active".into(),
            valid_from: None,
            valid_to: None,
            revoked_at: None,
            key_algorithm: options.key.algorithm(),
            public_key_bundle: options.key.public_key_bundle(),
        };
        let wrong = |what: String| RecoveryError::RecoveryKey { stream, what };
        let is_asked_for = |key: &&SigningKey| options.agent.is_none_or(|agent| agent == key.agent_id);
        let mut registered: Vec<&SigningKey> = keys
            .iter()
            .filter(|key| key.tenant_id == tenant && key.same_public_key(&ours))
            .filter(is_asked_for)
            .collect();
        registered.sort_by_key(|key| (key.agent_id, std::cmp::Reverse(key.key_id)));
        let agents: std::collections::BTreeSet<AgentId> = registered.iter().map(|key| key.agent_id).collect();
        if agents.len() > 1 {
            let what = format!(
                "{} is the key of {} agents: say which with --recovery-agent",
                options.key_name,
                agents.len()
            );
            return Err(wrong(what));
        }
        if let Some(key) = registered.first() {
            return Ok(((*key).clone(), false));
        }
        let (Some(agent_id), true) = (options.agent, options.register) else {
            return Err(wrong(format!(
                "the key in {} is not registered for this tenant",
                options.key_name
            )));
        };
        let last = keys
            .iter()
            .filter(|key| (key.tenant_id, key.agent_id) == (tenant, agent_id))
            .map(|key| key.key_id)
            .max();
        let key = SigningKey {
            agent_id,
            key_id: last.unwrap_or(0) + 1,
            ..ours
        };
        self.new.insert(tenant, key.clone());
        Ok((key, true))
    }
}

/// What is filled in one stream.
#[derive(Debug, Default)]
pub(crate) struct Filling {
    /// Ascending.
    pub(crate) tombstones: Vec<PlannedTombstone>,
    /// The recovery agent's key, if this plan registers it.
    pub(crate) key: Option<PlannedKey>,
    /// Positions that are not filled since the root of their batch is known.
    pub(crate) root_known: u64,
}

/// What filling one stream needs to know.
pub(crate) struct FillInput<'a> {
    pub(crate) examined: &'a Examined,
    pub(crate) options: &'a TombstoneOptions,
    pub(crate) keys: &'a KeyRegistry,
    /// Events that go back to their positions, ascending.
    pub(crate) placed: &'a [PlannedEvent],
    /// The counter: what lies beyond it is not filled.
    pub(crate) counter: u64,
    pub(crate) now: Timestamp,
}

/// Fills what may be filled of `open`, and marks it.
///
/// # Errors
/// What the log's database says; a recovery key that is not registered or not valid; too many positions.
pub(crate) async fn fill(
    view: &mut View,
    agents: &mut RecoveryAgents,
    input: &FillInput<'_>,
    open: &mut [PlannedOpen],
) -> Result<Filling, RecoveryError> {
    let stream = input.examined.state.stream;
    let options = input.options;
    let mut filling = Filling::default();
    let known = loss_hash(&stream, open).map_err(|error| RecoveryError::RecoveryKey {
        stream,
        what: error.to_string(),
    })?;
    for open in open.iter_mut() {
        if (open.grade != Grade::Lost && !options.undecided) || open.to > input.counter {
            continue;
        }
        if open.batch.is_some() && !options.root_will_not_match {
            filling.root_known = filling.root_known.saturating_add(open.count());
            continue;
        }
        open.filled = true;
    }
    let count = open
        .iter()
        .filter(|open| open.filled)
        .map(PlannedOpen::count)
        .fold(0, u64::saturating_add);
    if count == 0 {
        return Ok(filling);
    }
    if count > MAX_TOMBSTONES {
        let what =
            format!("{count} positions would be filled, more than {MAX_TOMBSTONES}: is a claim false?");
        return Err(RecoveryError::RecoveryKey { stream, what });
    }
    let (key, is_new) = agents.of(stream, options, input.keys)?;
    for open in open.iter().filter(|open| open.filled) {
        let at = time_before(view, input, open.from).await?;
        if let Some(refusal) = [at, input.now].into_iter().find_map(|at| key.refusal_at(at)) {
            let what = format!(
                "the key in {} cannot sign for {}: {refusal}",
                options.key_name, open.from
            );
            return Err(RecoveryError::RecoveryKey { stream, what });
        }
        for position in open.range() {
            filling.tombstones.push(PlannedTombstone {
                sequence: position,
                sequenced_at: at,
                event: tombstone((stream, position), at, open, known, (&key, &options.key)).map_err(
                    |error| RecoveryError::RecoveryKey {
                        stream,
                        what: error.to_string(),
                    },
                )?,
            });
        }
    }
    if is_new {
        filling.key = Some(PlannedKey {
            key,
            basis: KeyBasis::Recovery,
            sources: vec![options.key_name.clone()],
            events_in_log: 0,
            events_planned: count,
        });
    }
    Ok(filling)
}

/// The time of the nearest event before a position, or where there is none of the first after it.
async fn time_before(
    view: &mut View,
    input: &FillInput<'_>,
    position: u64,
) -> Result<Timestamp, RecoveryError> {
    let stream = input.examined.state.stream;
    let logged = view.last_sequenced_before(&stream, position).await?;
    let before = input.placed.partition_point(|event| event.sequence < position);
    let planned = before.checked_sub(1).map(|last| input.placed[last].sequenced_at);
    if let Some(at) = logged.max(planned) {
        return Ok(at);
    }
    let planned = input.placed.get(before).map(|event| event.sequenced_at);
    let logged = match input.examined.state.first {
        None => None,
        Some(first) => view
            .entries(&stream, first..=first)
            .await?
            .rows
            .first()
            .map(|e| e.sequenced_at),
    };
    Ok([planned, logged]
        .into_iter()
        .flatten()
        .min()
        .unwrap_or(Timestamp(0)))
}

fn tombstone(
    (stream, position): (StreamKey, u64),
    at: Timestamp,
    open: &PlannedOpen,
    loss_hash: Hash32,
    (key, secret): (&SigningKey, &ves::Signer),
) -> Result<Event, ves::jcs::JcsError> {
    let payload = serde_json::to_string(&TombstonePayload {
        schema: SCHEMA.into(),
        position: position.to_string(),
        grade: open.grade,
        reason: open.reason.clone(),
        rivals: open.rivals.clone(),
        batch: open.batch.clone(),
        loss_hash,
    })?;
    let mut event = Event {
        event_id: event_id(&stream, position),
        stream,
        ves_version: 1,
        source_agent_id: key.agent_id,
        agent_key_id: key.key_id,
        entity_type: ENTITY_TYPE.into(),
        entity_id: position.to_string(),
        event_type: EVENT_TYPE.into(),
        created_at: at.to_string(),
        payload_plain_hash: payload::plain_hash(&payload)?,
        payload: Payload::Plain(payload),
        payload_cipher_hash: payload::NO_CIPHER_HASH,
        agent_signature: SignatureBytes::ZERO,
        agent_signature_scheme: SignatureScheme::ED25519,
        agent_signature_bundle: None,
        command_id: None,
        base_version: None,
    };
    let signed = secret.sign(&event.signing_hash());
    event.agent_signature = signed.ed25519.unwrap_or(SignatureBytes::ZERO);
    if signed.bundle.is_some() {
        event.agent_signature_scheme = signed.scheme;
        event.agent_signature_bundle = signed.bundle;
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn ids_follow_from_stream_and_position_alone() {
        let stream = |store| StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(store).into());
        let id = event_id(&stream(2), 157);
        // As docs/tombstone.md shows it.
        assert_eq!(id.to_string(), "a724080a-fc6e-8b69-bd0d-cec7de0ce701");
        assert_eq!(id.0.get_version_num(), 8);
        assert_ne!(id, event_id(&stream(2), 158));
        assert_ne!(id, event_id(&stream(3), 157));
    }
}
