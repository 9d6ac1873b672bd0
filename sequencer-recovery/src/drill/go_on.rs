//! The sequencer goes on after the repair: each stream takes a new event, and a commitment where one can follow.

use ed25519_dalek::Signer as _;
use fixtures::{Agent, World};
use uuid::Uuid;
use ves::payload::{NO_CIPHER_HASH, plain_hash};
use ves::{Event, EventId, Payload, SignatureBytes, SignatureScheme, StreamKey, Timestamp};

use super::checks::check;
use super::double::{CommitResult, Double, DoubleError};
use super::outcome::RepairOutcome;
use crate::dr_report::{Check, StreamOutcome};

/// So long after the disaster: the sequencer is started again.
const LATER: i64 = 3_600_000_000;

/// What every new event says.
const PAYLOAD: &str = r#"{"drill": "the sequencer went on"}"#;

/// Has the double take an event and commit in every stream, and notes in the outcome what came of it.
pub(super) async fn go_on(
    double: &mut Double,
    world: &World,
    outcome: &mut RepairOutcome,
) -> Result<Vec<Check>, DoubleError> {
    let at = Timestamp(world.disaster_at().0.saturating_add(LATER));
    let (mut wrong, mut refused) = (Vec::new(), 0);
    let (mut committed, mut open, mut unexplained) = (0, 0, 0);
    for stream in &mut outcome.streams {
        let expected = stream.counter.unwrap_or(0) + 1;
        stream.went_on_at = next_event(double, world, &stream.stream, at, &mut refused).await?;
        if stream.went_on_at != Some(expected) {
            wrong.push(format!(
                "{}: {:?} instead of {expected}",
                stream.stream, stream.went_on_at
            ));
        }
        match double.commit(&stream.stream, at).await? {
            CommitResult::Batch => committed += 1,
            CommitResult::Nothing(why) => {
                open += 1;
                unexplained += u64::from(stream.unresolved == 0 && !has_hole(stream, expected));
                stream.no_commitment = Some(why);
            }
        }
    }
    let streams = outcome.streams.len();
    let goes_on = check(
        "the sequencer goes on in every stream, with the number after the counter",
        wrong.is_empty(),
        if wrong.is_empty() {
            format!(
                "{streams} stream(s); {refused} push(es) refused, since the agent's key is not valid any more"
            )
        } else {
            wrong.join("; ")
        },
    );
    let commits = check(
        "a commitment goes on in every stream that has no open position before it",
        unexplained == 0,
        format!("{committed} stream(s) committed on, {open} cannot until their open positions are filled"),
    );
    Ok(vec![goes_on, commits])
}

/// Whether the counter stands beyond what the log has: then the new event itself leaves a hole.
fn has_hole(stream: &StreamOutcome, went_on_at: u64) -> bool {
    stream.head_repaired + 1 < went_on_at
}

/// One new event by the first agent of the stream that the sequencer still knows.
async fn next_event(
    double: &mut Double,
    world: &World,
    stream: &StreamKey,
    at: Timestamp,
    refused: &mut u64,
) -> Result<Option<u64>, DoubleError> {
    for agent in world.agents().iter().filter(|agent| agent.stream == *stream) {
        match double.take(&event(agent, at), at).await {
            Ok(number) => return Ok(Some(number)),
            Err(DoubleError::Refused(_)) => *refused += 1,
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A new event, signed with the agent's newest key.
fn event(agent: &Agent, at: Timestamp) -> Event {
    let id = agent.agent_id.0.as_u128() ^ u128::from(at.0.unsigned_abs());
    let mut event = Event {
        event_id: EventId(Uuid::new_v8(*Uuid::from_u128(id).as_bytes())),
        stream: agent.stream,
        ves_version: 1,
        source_agent_id: agent.agent_id,
        agent_key_id: u32::try_from(agent.keys.len()).unwrap_or(1),
        entity_type: "drill".into(),
        entity_id: "went-on".into(),
        event_type: "drill.went_on".into(),
        created_at: at.to_string(),
        payload: Payload::Plain(PAYLOAD.into()),
        payload_plain_hash: plain_hash(PAYLOAD).unwrap_or(ves::Hash32::ZERO),
        payload_cipher_hash: NO_CIPHER_HASH,
        agent_signature: SignatureBytes::ZERO,
        agent_signature_scheme: SignatureScheme::ED25519,
        agent_signature_bundle: None,
        command_id: None,
        base_version: None,
    };
    if let Some(key) = agent.keys.last() {
        event.agent_signature = SignatureBytes(key.sign(&event.signing_hash().0).to_bytes());
    }
    event
}
