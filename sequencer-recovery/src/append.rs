//! Appending: events that wait in outboxes and were never sequenced get the numbers after the floor.
//!
//! The danger is an event that only looks as if it was never sequenced: its agent calls it pending because the answer
//! was lost, and the log that had it is the one that was cut. Appended, it would have two numbers. So three questions
//! are asked of each event that waits, in this order. Did it get a number, as far as anybody knows (`standing`)?
//! Would the sequencer accept it ([`flaw`], and what `Desk` asks)? In which order (`in_order`)?
//! Documented in docs/plan.md.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::ops::RangeInclusive;

use event_log::{Entity, View};
use outbox_sync::OutboxStatus;
use serde::{Deserialize, Serialize};
use ves::{
    AgentId, CommandId, Event, EventCheck, EventId, KeyRegistry, Payload, SignatureCheck, StreamKey,
    Timestamp,
};

use crate::error::RecoveryError;
use crate::evidence::{HolderId, Holders, StreamEvidence};
use crate::examine::Examined;
use crate::placement::{Judgement, describe_signature};
use crate::plan_file::PlannedEvent;

/// At which time an event's key is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JudgeKeys {
    /// When it is appended, as the sequencer does.
    #[default]
    Now,
    /// When the event says that it was made: one that was signed before its key was revoked or rotated out is taken.
    CreatedAt,
}

impl fmt::Display for JudgeKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JudgeKeys::Now => "now",
            JudgeKeys::CreatedAt => "created-at",
        })
    }
}

impl std::str::FromStr for JudgeKeys {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "now" => Ok(Self::Now),
            "created-at" => Ok(Self::CreatedAt),
            _ => Err(format!("{s:?} is neither now nor created-at")),
        }
    }
}

/// What the operator decides about events that were never sequenced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AppendOptions {
    /// At which time keys are judged.
    pub judge_keys: JudgeKeys,
    /// Whether events are appended too that may have been sequenced at a position that is lost.
    pub doubtful: bool,
}

/// Why the sequencer would not accept an event: its own words, and two for what it answers without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Holders have different contents under one id.
    DuplicateEventId,
    /// Its command was accepted already.
    DuplicateCommandId,
    /// The payload is not the one that was signed.
    InvalidPayloadHash,
    /// The ciphertext is not the one that was signed.
    InvalidCipherHash,
    /// The signature does not hold.
    InvalidSignature,
    /// Its key is not registered, or not valid at the time that it is judged at.
    AgentKeyInvalid,
    /// Not version 1.
    UnsupportedVersion,
    /// A field has a form that the sequencer does not take.
    SchemaValidation,
    /// Its entity is at another version than it was made for.
    VersionConflict,
    /// A payload of more than 1 MiB, which the sequencer answers with HTTP 413.
    PayloadTooLarge,
    /// A NUL character, which the sequencer's database cannot hold: it answers with HTTP 500.
    NulCharacter,
    /// Not the sequencer's word: a check that is not made here, so the event is not taken.
    NotChecked,
}

impl Reason {
    /// The word that reports use; of the sequencer's answers where it has one.
    pub fn as_str(self) -> &'static str {
        match self {
            Reason::DuplicateEventId => "duplicate_event_id",
            Reason::DuplicateCommandId => "duplicate_command_id",
            Reason::InvalidPayloadHash => "invalid_payload_hash",
            Reason::InvalidCipherHash => "invalid_cipher_hash",
            Reason::InvalidSignature => "invalid_signature",
            Reason::AgentKeyInvalid => "agent_key_invalid",
            Reason::UnsupportedVersion => "unsupported_version",
            Reason::SchemaValidation => "schema_validation",
            Reason::VersionConflict => "version_conflict",
            Reason::PayloadTooLarge => "payload_too_large",
            Reason::NulCharacter => "nul_character",
            Reason::NotChecked => "not_checked",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A [`Reason`] with what is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// The word.
    pub reason: Reason,
    /// What is wrong, in a sentence.
    pub message: String,
}

impl Rejection {
    fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }

    /// For a row that does not hold what was signed.
    pub fn unsigned(message: impl Into<String>) -> Self {
        Self::new(Reason::InvalidSignature, message)
    }
}

/// A row of an agent's own outbox whose event the log lacks.
#[derive(Debug, Clone)]
pub struct Waiting {
    /// The outbox.
    pub holder: HolderId,
    /// The row's place in the agent's own order.
    pub local_seq: i64,
    /// What the agent believes of it.
    pub status: OutboxStatus,
    /// Who made the event, if the row says so.
    pub agent: Option<AgentId>,
    /// What is wrong with the row.
    pub flaw: Option<Rejection>,
}

/// How far an outbox got with the sequencer in one stream.
#[derive(Debug, Clone, Copy, Default)]
pub struct Progress {
    /// The last number that the sequencer told it about events of its own (`last_pushed_sequence`).
    pub last_pushed: Option<u64>,
    /// The last row, in the agent's order, that the sequencer has answered for.
    pub answered_to: Option<i64>,
    /// The highest number that it noted for an event of its own.
    pub highest_noted: Option<u64>,
    /// Its engine may have counted numbers up, instead of reading them.
    pub counts_on: bool,
}

impl Progress {
    /// The last number that the sequencer told, if that is what `last_pushed` is: an engine that counts up notes its
    /// count at its events, so a number below the highest of those was not counted.
    fn told(&self) -> Option<u64> {
        let told = self.last_pushed?;
        (!self.counts_on || self.highest_noted > Some(told)).then_some(told)
    }
}

/// An event that gets the next number.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlannedAppend {
    /// Its number.
    pub sequence: u64,
    /// Why it counts as never sequenced.
    pub basis: String,
    /// At which time its key is judged.
    pub judge_keys: JudgeKeys,
    /// The event.
    pub event: Event,
}

/// Why an event that waits is not appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOutAs {
    /// The sequencer would not accept it.
    Rejected,
    /// It may have a number already.
    Doubtful,
}

/// An event that waits in an outbox and is not appended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// The event.
    pub event_id: EventId,
    /// Who made it.
    pub source_agent_id: Option<AgentId>,
    /// The outbox.
    pub outbox: String,
    /// Its row there, in the agent's own order.
    pub local_seq: i64,
    /// Rejected or doubtful.
    pub left_out: LeftOutAs,
    /// The sequencer's word for it, if it is rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// Why, in a sentence.
    pub message: String,
}

/// What is appended to one stream, and what is not.
#[derive(Debug, Clone, Default)]
pub struct Appending {
    /// In the order of their numbers.
    pub events: Vec<PlannedAppend>,
    /// By outbox and row.
    pub left_out: Vec<LeftOut>,
}

/// What the sequencer takes, in bytes: a longer `entity_type`, `entity_id` or `event_type` is refused.
const LIMITS: [usize; 3] = [128, 512, 256];

/// The largest payload that the sequencer takes.
const MAX_PAYLOAD: usize = 1 << 20;

/// What the sequencer would find wrong with an event as such, before it looks at keys, commands and versions
/// (interop §3 and §4). The order is the sequencer's own, so that the word is the one that it would say.
pub fn flaw(event: &Event) -> Option<Rejection> {
    flaw_of_checked(event, None)
}

/// [`flaw`] of an event whose payload hash was recomputed already.
pub(crate) fn flaw_of_checked(event: &Event, payload: Option<&EventCheck>) -> Option<Rejection> {
    let schema = |field: &str, message: String| {
        Some(Rejection::new(
            Reason::SchemaValidation,
            format!("{field}: {message}"),
        ))
    };
    if event.ves_version != 1 {
        let message = format!("version {}, and only 1 is known", event.ves_version);
        return Some(Rejection::new(Reason::UnsupportedVersion, message));
    }
    let names = [
        ("entity_type", &event.entity_type),
        ("entity_id", &event.entity_id),
        ("event_type", &event.event_type),
    ];
    for ((field, value), limit) in names.into_iter().zip(LIMITS) {
        if value.is_empty() || value.len() > limit {
            return schema(field, format!("{} bytes instead of 1 to {limit}", value.len()));
        }
    }
    let json = event.payload.json();
    if has_nul(json) || names.iter().any(|(_, value)| value.contains('\0')) {
        let message = "it holds a NUL character, which no log can hold";
        return Some(Rejection::new(Reason::NulCharacter, message));
    }
    if json.len() > MAX_PAYLOAD {
        let message = format!("a payload of {} bytes, more than 1 MiB", json.len());
        return Some(Rejection::new(Reason::PayloadTooLarge, message));
    }
    if let Payload::Encrypted(json) = &event.payload
        && let Some((field, message)) = envelope_flaw(json)
    {
        return schema(field, message);
    }
    if event.created_at.parse::<Timestamp>().is_err() {
        return schema("created_at", "not an RFC 3339 time".into());
    }
    if event.base_version.is_some_and(|version| version < 0) {
        return schema("base_version", "below 0".into());
    }
    let payload = payload.cloned().unwrap_or_else(|| event.check_payload());
    if let EventCheck::Mismatch(message) = payload {
        let reason = match event.payload {
            Payload::Plain(_) => Reason::InvalidPayloadHash,
            Payload::Encrypted(_) => Reason::InvalidCipherHash,
        };
        return Some(Rejection::new(reason, message));
    }
    None
}

/// Whether a JSON text holds the escape `\u0000` or the character itself.
pub(crate) fn has_nul(json: &str) -> bool {
    crate::collect::has_escaped_nul(json) || json.contains('\0')
}

/// What is wrong with the envelope of an encrypted payload: which field, and how.
fn envelope_flaw(json: &str) -> Option<(&'static str, String)> {
    use base64::Engine as _;
    #[derive(Deserialize)]
    struct Recipient {
        recipient_kid: u32,
        enc_b64u: String,
        ct_b64u: String,
    }
    #[derive(Deserialize)]
    struct Envelope {
        nonce_b64u: String,
        ciphertext_b64u: String,
        tag_b64u: String,
        recipients: Vec<Recipient>,
    }
    let envelope: Envelope = match serde_json::from_str(json) {
        Ok(envelope) => envelope,
        Err(error) => return Some(("payload_encrypted", error.to_string())),
    };
    let lenient = base64::engine::GeneralPurpose::new(
        &base64::alphabet::URL_SAFE,
        base64::engine::GeneralPurposeConfig::new()
            .with_decode_padding_mode(base64::engine::DecodePaddingMode::Indifferent),
    );
    // None stands for any length but 0.
    let check =
        |field: &'static str, value: &str, wanted: Option<usize>| match (lenient.decode(value), wanted) {
            (Err(_), _) => Some((field, "not base64url".to_owned())),
            (Ok(bytes), Some(wanted)) if bytes.len() != wanted => {
                Some((field, format!("{} bytes instead of {wanted}", bytes.len())))
            }
            (Ok(bytes), None) if bytes.is_empty() => Some((field, "it is empty".to_owned())),
            _ => None,
        };
    let parts = [
        ("payload_encrypted.nonce_b64u", &envelope.nonce_b64u, Some(12)),
        (
            "payload_encrypted.ciphertext_b64u",
            &envelope.ciphertext_b64u,
            None,
        ),
        ("payload_encrypted.tag_b64u", &envelope.tag_b64u, Some(16)),
    ];
    for (field, value, wanted) in parts {
        if let Some(flaw) = check(field, value, wanted) {
            return Some(flaw);
        }
    }
    let recipients = &envelope.recipients;
    if recipients.is_empty() {
        return Some(("payload_encrypted.recipients", "there is none".into()));
    }
    if !recipients.is_sorted_by(|a, b| a.recipient_kid < b.recipient_kid) {
        let message = "not sorted by recipient_kid, or one twice";
        return Some(("payload_encrypted.recipients", message.into()));
    }
    recipients.iter().find_map(|recipient| {
        check(
            "payload_encrypted.recipients.enc_b64u",
            &recipient.enc_b64u,
            Some(32),
        )
        .or_else(|| {
            check(
                "payload_encrypted.recipients.ct_b64u",
                &recipient.ct_b64u,
                Some(48),
            )
        })
    })
}

/// What is known of the stream's open positions, for telling an event that was never sequenced from one whose number
/// is lost.
struct OpenPlaces<'a> {
    evidence: &'a StreamEvidence,
    /// The highest missing position of which no trustworthy word says whose it was.
    nobodys: Option<u64>,
    /// Where each event was placed, however sure that is.
    placed: HashMap<EventId, u64>,
    /// Positions that events are said to have, by event.
    named: HashMap<EventId, BTreeSet<u64>>,
    missing: &'a [RangeInclusive<u64>],
    /// Each agent's events with a place, in its own order, with the highest place up to each.
    earlier: HashMap<AgentId, Vec<(i64, u64)>>,
}

impl<'a> OpenPlaces<'a> {
    fn new(evidence: &'a StreamEvidence, judgement: &Judgement, missing: &'a [RangeInclusive<u64>]) -> Self {
        let placed: HashMap<EventId, u64> = judgement
            .placements
            .iter()
            .map(|p| (evidence.candidates[p.candidate].event.event_id, p.position))
            .collect();
        let mut named: HashMap<EventId, BTreeSet<u64>> = HashMap::new();
        for (&position, claims) in &evidence.claims {
            for claim in claims {
                named.entry(claim.event_id).or_default().insert(position);
            }
        }
        for (&position, receipts) in &evidence.receipts {
            for held in receipts {
                named.entry(held.receipt.event_id).or_default().insert(position);
            }
        }
        let mut spoken_for = judgement.spoken_for.clone();
        spoken_for.extend(judgement.placements.iter().map(|p| p.position));
        let nobodys = missing
            .iter()
            .rev()
            .find_map(|range| highest_not_in(range, &spoken_for));
        let mut earlier: HashMap<AgentId, Vec<(i64, u64)>> = HashMap::new();
        for (agent, known) in &evidence.known_order {
            let places = earlier.entry(*agent).or_default();
            places.extend(known.iter().map(|(position, local)| (*local, *position)));
        }
        for placement in &judgement.placements {
            let candidate = &evidence.candidates[placement.candidate];
            if let Some(local) = candidate.local_seq {
                let agent = candidate.event.source_agent_id;
                earlier
                    .entry(agent)
                    .or_default()
                    .push((local, placement.position));
            }
        }
        for places in earlier.values_mut() {
            places.sort_unstable();
            let mut highest = 0;
            for (_, position) in places.iter_mut() {
                highest = highest.max(*position);
                *position = highest;
            }
        }
        Self {
            evidence,
            nobodys,
            placed,
            named,
            missing,
            earlier,
        }
    }

    fn is_missing(&self, position: u64) -> bool {
        let after = self.missing.partition_point(|range| *range.end() < position);
        self.missing
            .get(after)
            .is_some_and(|range| range.contains(&position))
    }

    /// The number after which an event that waits in these rows would have been sequenced, if it was, and who says so.
    fn after(&self, agent: AgentId, rows: &[&Waiting], holders: &Holders) -> (u64, String) {
        let mut best = (0, "nothing is known of its agent's earlier events".to_owned());
        let first = rows.iter().map(|row| row.local_seq).min().unwrap_or(i64::MAX);
        // Agents hand their events over in their own order, and the sequencer keeps it.
        let places = self.earlier.get(&agent).map_or(&[][..], Vec::as_slice);
        let before = places.partition_point(|(local, _)| *local < first);
        if let Some((_, position)) = before.checked_sub(1).and_then(|last| places.get(last)) {
            best = (
                *position,
                format!("an earlier event of its agent is at {position}"),
            );
        }
        // They begin with the oldest that waits: what was answered was sent before.
        for row in rows {
            if let Some(progress) = self.evidence.progress.get(&row.holder)
                && let Some(number) = progress.told()
                && progress
                    .answered_to
                    .is_none_or(|answered| answered < row.local_seq)
                && number > best.0
            {
                let name = holders.name(row.holder);
                best = (
                    number,
                    format!("{name} had answers up to {number}, and sends in order"),
                );
            }
        }
        best
    }
}

/// The highest number of a range that is not in the set. Costs no more than the set, however wide the range is.
fn highest_not_in(range: &RangeInclusive<u64>, set: &BTreeSet<u64>) -> Option<u64> {
    let mut candidate = *range.end();
    for taken in set.range(range.clone()).rev() {
        if *taken < candidate {
            break;
        }
        candidate = taken.checked_sub(1).filter(|next| next >= range.start())?;
    }
    Some(candidate)
}

/// Whether an event that waits was sequenced, as far as anybody knows.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Standing {
    /// It was not.
    Never(String),
    /// It may have been.
    Doubtful {
        why: String,
        /// Whether the operator may decide that it was not.
        may_be_forced: bool,
    },
    /// It is named for a position that is missing: there it is placed, or listed among the rivals.
    Elsewhere,
}

fn standing(
    places: &OpenPlaces<'_>,
    holders: &Holders,
    event_id: EventId,
    agent: AgentId,
    all: &[Waiting],
    waiting: &[&Waiting],
) -> Standing {
    if places.placed.contains_key(&event_id) {
        return Standing::Elsewhere;
    }
    if let Some(positions) = places.named.get(&event_id) {
        if positions.iter().any(|position| places.is_missing(*position)) {
            return Standing::Elsewhere;
        }
        let at = crate::gap::describe(&crate::gap::ranges(positions.iter().copied()));
        return Standing::Doubtful {
            why: format!("it is said to be at {at}, where the log has another event"),
            may_be_forced: true,
        };
    }
    if let Some(other) = all
        .iter()
        .find(|row| !matches!(row.status, OutboxStatus::Pending | OutboxStatus::Failed))
    {
        let (name, status) = (holders.name(other.holder), &other.status);
        return Standing::Doubtful {
            why: format!("in {name} it does not wait: its state there is {status:?}").to_lowercase(),
            may_be_forced: false,
        };
    }
    let (after, basis) = places.after(agent, waiting, holders);
    match places.nobodys {
        Some(position) if position > after => Standing::Doubtful {
            why: format!(
                "{position} is missing and nobody knows whose it was: it may have been this event's ({basis})"
            ),
            may_be_forced: true,
        },
        Some(position) => Standing::Never(format!(
            "no witness names a number for it; {basis}, and nothing is unaccounted for after {position}"
        )),
        None => Standing::Never(
            "no witness names a number for it, and every number that was given out is accounted for".into(),
        ),
    }
}

/// Events of several agents in one order: each agent's in its own, and among agents by the time of making, then by
/// agent and id. The same evidence gives the same order.
fn in_order<T>(mut events: Vec<(AgentId, i64, Timestamp, EventId, T)>) -> Vec<T> {
    events.sort_by_key(|(agent, local, at, id, _)| (*agent, *local, *at, *id));
    let mut queues: BTreeMap<AgentId, std::collections::VecDeque<_>> = BTreeMap::new();
    for event in events {
        queues.entry(event.0).or_default().push_back(event);
    }
    let mut ordered = Vec::new();
    loop {
        let next = queues
            .iter()
            .filter_map(|(agent, queue)| queue.front().map(|e| (e.2, *agent, e.3)))
            .min();
        let Some((_, agent, _)) = next else {
            return ordered;
        };
        if let Some(event) = queues
            .get_mut(&agent)
            .and_then(std::collections::VecDeque::pop_front)
        {
            ordered.push(event.4);
        }
    }
}

/// The sequencer's desk as it will be when the first event is appended: what it compares an event with.
struct Desk<'a> {
    stream: StreamKey,
    keys: &'a KeyRegistry,
    judge_keys: JudgeKeys,
    now: Timestamp,
    /// Commands that were accepted.
    accepted: HashSet<CommandId>,
    /// Commands that are remembered while no event carries them.
    orphans: HashSet<CommandId>,
    versions: BTreeMap<Entity, u64>,
    /// Positions stay open: events of an entity may be among them.
    open: bool,
}

/// What the desk says to an event.
enum Answer {
    Accepted,
    Rejected(Rejection),
    Doubtful(String),
}

impl Desk<'_> {
    /// Asks what the sequencer asks, in its order, and notes what an accepted event changes.
    fn judge(&mut self, event: &Event) -> Answer {
        let reject = |reason, message: String| Answer::Rejected(Rejection::new(reason, message));
        debug_assert_eq!(event.stream, self.stream);
        if let Some(flaw) = flaw(event) {
            return Answer::Rejected(flaw);
        }
        if let Err(rejection) = check_key(event, self.keys, self.judge_keys, self.now) {
            return Answer::Rejected(rejection);
        }
        if let Some(command) = event.command_id {
            if self.orphans.contains(&command) {
                return Answer::Doubtful(format!(
                    "its command {command} is remembered as accepted and no event carries it: it may have been this one"
                ));
            }
            if self.accepted.contains(&command) {
                let message = format!("command {command} was accepted already");
                return reject(Reason::DuplicateCommandId, message);
            }
        }
        let version = self.versions.entry(entity_of(event)).or_insert(0);
        if let Some(expected) = event.base_version
            && u64::try_from(expected) != Ok(*version)
        {
            let open = if self.open {
                "; events of its entity may be among those that stay open"
            } else {
                ""
            };
            let message = format!("expected {expected}, actual {version}{open}");
            return reject(Reason::VersionConflict, message);
        }
        *version += 1;
        self.accepted.extend(event.command_id);
        Answer::Accepted
    }
}

/// The entity that an event is about.
pub(crate) fn entity_of(event: &Event) -> Entity {
    Entity {
        entity_type: event.entity_type.clone(),
        entity_id: event.entity_id.clone(),
    }
}

/// Whether an event's key may have signed it, judged as the operator chose.
pub(crate) fn check_key(
    event: &Event,
    keys: &KeyRegistry,
    judge_keys: JudgeKeys,
    now: Timestamp,
) -> Result<(), Rejection> {
    let at = match judge_keys {
        JudgeKeys::Now => now,
        JudgeKeys::CreatedAt => event.created_at.parse().unwrap_or(now),
    };
    let check = keys.check(event, &event.signing_hash(), at);
    let reason = match check {
        SignatureCheck::Valid => return Ok(()),
        SignatureCheck::Invalid => Reason::InvalidSignature,
        SignatureCheck::KeyUnknown | SignatureCheck::KeyNotValid(_) => Reason::AgentKeyInvalid,
        SignatureCheck::NotChecked(_) => Reason::NotChecked,
    };
    Err(Rejection::new(reason, describe_signature(&check)))
}

/// What appending one stream needs to know.
pub(crate) struct AppendInput<'a> {
    pub(crate) examined: &'a Examined,
    pub(crate) evidence: &'a StreamEvidence,
    pub(crate) judgement: &'a Judgement,
    pub(crate) holders: &'a Holders,
    pub(crate) keys: &'a KeyRegistry,
    /// Events that go back to their positions.
    pub(crate) placed: &'a [PlannedEvent],
    /// The last number before those that are given out here.
    pub(crate) counter: u64,
    pub(crate) now: Timestamp,
    pub(crate) options: AppendOptions,
}

/// Decides which of the events that wait get a number, and which.
///
/// # Errors
/// What the log's database says.
pub(crate) async fn appending(view: &mut View, input: &AppendInput<'_>) -> Result<Appending, RecoveryError> {
    let AppendInput {
        examined,
        evidence,
        judgement,
        holders,
        ..
    } = *input;
    let missing = examined.missing_ranges();
    let places = OpenPlaces::new(evidence, judgement, &missing);
    // Numbers above the counter that somebody claims are given out again: that is what such a floor means.
    let below = missing
        .last()
        .map(|range| *range.end())
        .filter(|last| *last > input.counter);
    let mut found = Appending::default();
    let mut candidates = Vec::new();
    for (event_id, all) in &evidence.waiting {
        let waiting: Vec<&Waiting> = all
            .iter()
            .filter(|row| matches!(row.status, OutboxStatus::Pending | OutboxStatus::Failed))
            .collect();
        let Some(first) = waiting.iter().min_by_key(|row| (row.local_seq, row.holder)) else {
            continue;
        };
        let mut leave = |left_out, reason, message: String| {
            found.left_out.push(LeftOut {
                event_id: *event_id,
                source_agent_id: first.agent,
                outbox: holders.name(first.holder).to_owned(),
                local_seq: first.local_seq,
                left_out,
                reason,
                message,
            });
        };
        let candidate = match evidence.candidates_of(*event_id) {
            [candidate] => &evidence.candidates[*candidate],
            [] => {
                let named = places.named.get(event_id);
                if named.is_some_and(|at| at.iter().any(|position| places.is_missing(*position))) {
                    continue;
                }
                if let Some(flaw) = waiting.iter().find_map(|row| row.flaw.as_ref()) {
                    leave(LeftOutAs::Rejected, Some(flaw.reason), flaw.message.clone());
                }
                continue;
            }
            _ => {
                let message = "holders have different contents under this id".to_owned();
                leave(LeftOutAs::Rejected, Some(Reason::DuplicateEventId), message);
                continue;
            }
        };
        let event = &candidate.event;
        let agent = event.source_agent_id;
        let basis = match standing(&places, holders, *event_id, agent, all, &waiting) {
            Standing::Elsewhere => continue,
            Standing::Never(basis) => basis,
            Standing::Doubtful {
                why,
                may_be_forced: true,
            } if input.options.doubtful => format!("appended although doubtful: {why}"),
            Standing::Doubtful { why, .. } => {
                leave(LeftOutAs::Doubtful, None, why);
                continue;
            }
        };
        if let Some(last) = below {
            let message = format!(
                "numbers up to {last} are claimed and the floor is {}: it would get one that was promised to another",
                input.counter
            );
            leave(LeftOutAs::Doubtful, None, message);
            continue;
        }
        let made = event.created_at.parse().unwrap_or(Timestamp(i64::MAX));
        candidates.push((agent, first.local_seq, made, *event_id, (*first, event, basis)));
    }
    let candidates = in_order(candidates);
    let mut desk = desk(view, input, candidates.iter().map(|(_, event, _)| *event)).await?;
    let mut number = input.counter;
    for (row, event, basis) in candidates {
        let (left_out, reason, message) = match desk.judge(event) {
            Answer::Accepted => {
                number += 1;
                found.events.push(PlannedAppend {
                    sequence: number,
                    basis,
                    judge_keys: input.options.judge_keys,
                    event: event.clone(),
                });
                continue;
            }
            Answer::Rejected(rejection) => (LeftOutAs::Rejected, Some(rejection.reason), rejection.message),
            Answer::Doubtful(why) => (LeftOutAs::Doubtful, None, why),
        };
        found.left_out.push(LeftOut {
            event_id: event.event_id,
            source_agent_id: Some(event.source_agent_id),
            outbox: holders.name(row.holder).to_owned(),
            local_seq: row.local_seq,
            left_out,
            reason,
            message,
        });
    }
    found
        .left_out
        .sort_by(|a, b| (&a.outbox, a.local_seq, a.event_id).cmp(&(&b.outbox, b.local_seq, b.event_id)));
    Ok(found)
}

async fn desk<'a>(
    view: &mut View,
    input: &AppendInput<'a>,
    events: impl Iterator<Item = &'a Event> + Clone,
) -> Result<Desk<'a>, RecoveryError> {
    let stream = input.examined.state.stream;
    let commands: Vec<CommandId> = events.clone().filter_map(|e| e.command_id).collect();
    let mut accepted: HashSet<CommandId> = view
        .remembered_commands(&stream, &commands)
        .await?
        .all()?
        .into_iter()
        .collect();
    let of_placed: HashSet<CommandId> = input.placed.iter().filter_map(|e| e.event.command_id).collect();
    let books = &input.examined.bookkeeping;
    let orphans = books
        .forget
        .iter()
        .copied()
        .filter(|command| !of_placed.contains(command))
        .collect();
    accepted.extend(of_placed);
    accepted.extend(books.remember.iter().map(|(command, _)| *command));
    let mut placed: BTreeMap<Entity, u64> = BTreeMap::new();
    for event in input.placed {
        *placed.entry(entity_of(&event.event)).or_default() += 1;
    }
    let drift: BTreeMap<Entity, u64> = view
        .version_drift(&stream)
        .await?
        .all()?
        .into_iter()
        .map(|drift| (drift.entity, drift.events))
        .collect();
    let entities: BTreeSet<Entity> = events.map(entity_of).collect();
    let mut versions = BTreeMap::new();
    for entity in entities {
        let stored = view.entity_version(&stream, &entity).await?;
        let stored = stored
            .and_then(|version| u64::try_from(version).ok())
            .unwrap_or(0);
        let events = drift.get(&entity).copied().unwrap_or(stored);
        // As the repair leaves it: raised to the number of its events, never lowered.
        let version = stored.max(events + placed.get(&entity).copied().unwrap_or(0));
        versions.insert(entity, version);
    }
    Ok(Desk {
        stream,
        keys: input.keys,
        judge_keys: input.options.judge_keys,
        now: input.now,
        accepted,
        orphans,
        versions,
        open: input.placed.len() as u64 != input.examined.missing(),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    proptest! {
        /// The highest number of a range that is not taken, as a search from above finds it.
        #[test]
        fn the_highest_free_number_is_found(
            start in 1u64..30, width in 0u64..30, taken in prop::collection::btree_set(1u64..60, 0..40)
        ) {
            let range = start..=start + width;
            let expected = range.clone().rev().find(|n| !taken.contains(n));
            prop_assert_eq!(highest_not_in(&range, &taken), expected);
        }

        /// Each agent's events come in its own order, and the order does not depend on how they were found.
        #[test]
        fn every_agents_order_is_kept(
            events in prop::collection::vec((0u128..3, 0i64..20, 0i64..5), 0..30), turn in 0usize..30
        ) {
            let keyed = |(n, (agent, local, at)): (usize, &(u128, i64, i64))| {
                let id = EventId(Uuid::from_u128(n as u128));
                let agent = AgentId(Uuid::from_u128(*agent));
                (agent, *local, Timestamp(*at), id, (agent, *local, id))
            };
            let found: Vec<_> = events.iter().enumerate().map(keyed).collect();
            let mut turned = found.clone();
            turned.rotate_left(turn.min(found.len()));
            let ordered = in_order(found);
            prop_assert_eq!(ordered.len(), events.len());
            for agent in 0..3 {
                let agent = AgentId(Uuid::from_u128(agent));
                let locals: Vec<i64> = ordered.iter().filter(|e| e.0 == agent).map(|e| e.1).collect();
                prop_assert!(locals.is_sorted());
            }
            prop_assert_eq!(in_order(turned), ordered);
        }
    }

    #[test]
    fn a_wide_range_costs_no_more_than_what_is_taken() {
        let taken = BTreeSet::from([u64::MAX, u64::MAX - 1, 5]);
        assert_eq!(highest_not_in(&(1..=u64::MAX), &taken), Some(u64::MAX - 2));
        assert_eq!(highest_not_in(&(5..=5), &taken), None);
        assert_eq!(highest_not_in(&(0..=0), &BTreeSet::from([0])), None);
    }

    #[test]
    fn envelopes_are_looked_at_as_the_sequencer_does() {
        use base64::Engine as _;
        let text = |bytes: usize| base64::prelude::BASE64_URL_SAFE_NO_PAD.encode(vec![7; bytes]);
        let envelope = |nonce, ciphertext, tag, recipients: &[(u32, usize, usize)]| {
            let recipients: Vec<_> = recipients
                .iter()
                .map(|(kid, enc, ct)| {
                    serde_json::json!({"recipient_kid": kid, "enc_b64u": text(*enc), "ct_b64u": text(*ct)})
                })
                .collect();
            serde_json::json!({
                "nonce_b64u": text(nonce), "ciphertext_b64u": text(ciphertext), "tag_b64u": text(tag),
                "recipients": recipients,
            })
            .to_string()
        };
        let field =
            |json: &str| envelope_flaw(json).map(|(field, _)| field.trim_start_matches("payload_encrypted."));
        let good = (1, 32, 48);
        assert_eq!(field(&envelope(12, 5, 16, &[good, (2, 32, 48)])), None);
        for (json, wrong) in [
            (envelope(11, 5, 16, &[good]), "nonce_b64u"),
            (envelope(12, 0, 16, &[good]), "ciphertext_b64u"),
            (envelope(12, 5, 15, &[good]), "tag_b64u"),
            (envelope(12, 5, 16, &[]), "recipients"),
            (envelope(12, 5, 16, &[good, good]), "recipients"),
            (envelope(12, 5, 16, &[(1, 31, 48)]), "recipients.enc_b64u"),
            (envelope(12, 5, 16, &[(1, 32, 60)]), "recipients.ct_b64u"),
            ("{}".into(), "payload_encrypted"),
            ("".into(), "payload_encrypted"),
        ] {
            assert_eq!(field(&json), Some(wrong), "{json}");
        }
    }
}
