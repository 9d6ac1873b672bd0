//! That one event is under a checkpoint, in one small file (C2SP `tlog-proof`) that is checked offline. The event is in its
//! line `extra`, which such a proof has room for and does not bind; what is bound is its leaf.

use std::io;
use std::ops::ControlFlow;
use std::path::Path;

use checkpoints::file::Flaw;
use checkpoints::history::{CountedCheckpoint, Refusal};
use checkpoints::proof::TlogProof;
use checkpoints::{Checkpoint, History, Policy, Trust};
use cli_common::finding::Code;
use cli_common::{Cancel, Progress};
use serde::{Deserialize, Serialize};
use ves::log_tree::{CompactRange, Tree};
use ves::span::Span;
use ves::{EventId, Hash32, Payload, SignatureBytes, SignatureScheme, StreamKey, merkle};

use crate::agent::{AgentKey, AgentSignature, ProvenBundle};
use crate::files::{Existing, write_whole};
use crate::proof::{Detail, LeafParts, SignedFields, Wanted, locate};
use crate::verify::report::Failure;
use crate::verify::{DbSource, VerifyError};

/// The form of the event in a proof.
pub const EVENT_SCHEMA: &str = "checkpointed-event/1";
/// What such a proof begins with.
pub const BEGINS_WITH: &[u8] = b"c2sp.org/tlog-proof@";
/// The largest proof that is read, in bytes.
pub const MAX_PROOF: u64 = 128 << 20;

/// The event that a proof is about, as far as whoever made it knew it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProvenEvent {
    /// [`EVENT_SCHEMA`].
    pub schema: String,
    /// The stream.
    pub stream: StreamKey,
    /// The number in the stream, from 1.
    pub sequence_number: u64,
    /// The leaf, where nothing else is known of the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leaf: Option<Hash32>,
    /// The signing hash.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_signing_hash: Option<Hash32>,
    /// The agent's signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_signature: Option<SignatureBytes>,
    /// The signatures of an event of scheme 2 or 3, which no hash binds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_signature_bundle: Option<ProvenBundle>,
    /// The signed fields, if they were asked for. An empty payload text means that it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<SignedFields>,
}

impl ProvenEvent {
    /// Reads the line of type `event` of a log export (`docs/log-export.md`): whoever holds an event needs no log to check a
    /// proof of it.
    ///
    /// # Errors
    /// What is no such line.
    pub fn from_line(text: &str) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Line {
            #[serde(flatten)]
            stream: StreamKey,
            sequence_number: u64,
            created_at_str: String,
            payload: Option<String>,
            payload_encrypted: Option<String>,
            event_signing_hash: Hash32,
            agent_signature: SignatureBytes,
            agent_signature_scheme: Option<SignatureScheme>,
            agent_signature_bundle: Option<String>,
        }
        let line: Line = serde_json::from_str(text)
            .map_err(|error| format!("is not an event of a log export: {error}"))?;
        let mut fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| error.to_string())?;
        fields.retain(|name, _| SIGNED.contains(&name.as_str()));
        let payload = match (line.payload, line.payload_encrypted) {
            (_, Some(encrypted)) => Payload::Encrypted(encrypted),
            (plain, None) => Payload::Plain(plain.unwrap_or_default()),
        };
        let payload = serde_json::to_value(payload).map_err(|error| error.to_string())?;
        fields.insert("payload".to_owned(), payload);
        fields.insert("created_at".to_owned(), line.created_at_str.into());
        let event = serde_json::from_value(fields.into());
        let bundled = line
            .agent_signature_scheme
            .is_some_and(|scheme| !scheme.is_ed25519());
        let stored = line.agent_signature_bundle.filter(|_| bundled);
        let stored = stored.and_then(|text| hex::decode(text).ok());
        Ok(Self {
            schema: EVENT_SCHEMA.to_owned(),
            stream: line.stream,
            sequence_number: line.sequence_number,
            leaf: None,
            event_signing_hash: Some(line.event_signing_hash),
            agent_signature: Some(line.agent_signature),
            agent_signature_bundle: stored.and_then(|json| ProvenBundle::from_stored(&json)),
            event: Some(event.map_err(|error| format!("is not an event of a log export: {error}"))?),
        })
    }
}

/// The members of an export's line that are signed fields of the event under the same name.
const SIGNED: [&str; 12] = [
    "event_id",
    "tenant_id",
    "store_id",
    "ves_version",
    "source_agent_id",
    "agent_key_id",
    "entity_type",
    "entity_id",
    "event_type",
    "payload_plain_hash",
    "payload_cipher_hash",
    "agent_signature",
];

/// A proof, and what it is a proof of.
#[derive(Debug, Clone)]
pub struct Made {
    /// The file.
    pub proof: TlogProof,
    /// The event.
    pub event: ProvenEvent,
    /// What its note says.
    pub checkpoint: Checkpoint,
    /// On whose word that rests.
    pub trust: Trust,
}

impl Made {
    /// Writes the proof whole, or not at all.
    ///
    /// # Errors
    /// If it cannot be written, or something is there that may not be replaced.
    pub fn write(&self, path: &Path, existing: Existing) -> io::Result<()> {
        use io::Write as _;
        write_whole(path, existing, |out| {
            out.write_all(self.proof.to_string().as_bytes())
        })
    }
}

/// Whether an event could be proved.
#[derive(Debug)]
pub enum Proved {
    /// It could.
    Yes(Box<Made>),
    /// It could not: no checkpoint covers it, or the log is not what was signed.
    No(Vec<Failure>),
}

/// Makes the proof of one event from a log, by the smallest checkpoint that covers it.
///
/// # Errors
/// If the log cannot be read, or has no such event.
pub fn prove_in_log(
    source: &mut DbSource,
    wanted: Wanted,
    detail: Detail,
    history: &History,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Proved, VerifyError> {
    let (stream, number) = locate(source, wanted)?;
    let Some(held) = covering(history, &stream, number).into_iter().next() else {
        return Ok(Proved::No(vec![uncovered(history, &stream, number)]));
    };
    let size = held.checkpoint.size;
    progress.start("reading leaves", Some(size));
    // What lies before the event is needed as a few hashes alone.
    let (mut base, mut leaves) = (CompactRange::default(), Vec::new());
    let (runtime, view) = source.parts();
    let all =
        Span::new(1, size).ok_or_else(|| VerifyError::Refused("events have numbers from 1 on".into()))?;
    let end = runtime.block_on(view.for_each_leaf(&stream, all, &mut |chunk| {
        progress.advance(chunk.len() as u64);
        let before = usize::try_from(number - 1 - base.size()).unwrap_or(usize::MAX);
        let (before, behind) = chunk.split_at(before.min(chunk.len()));
        base.extend(before);
        leaves.extend_from_slice(behind);
        match cancel.is_cancelled() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    }))?;
    progress.finish();
    cancel.check()?;
    if end.next <= size {
        let why = end.hole.map_or_else(
            || format!("the log ends at number {}", end.next - 1),
            |hole| hole.to_string(),
        );
        let what = format!(
            "{why}; the checkpoint that covers the event is of {size} events ({})",
            held.place
        );
        let failure = Failure::new(Code::CheckpointBehind.as_str(), what);
        return Ok(Proved::No(vec![failure.at(end.next, None)]));
    }
    let tree = Tree::new(base, &leaves);
    let root = tree.root_at(size);
    if root != Some(held.checkpoint.root) {
        let what = format!(
            "the first {size} events of the log do not give the root of the checkpoint ({})",
            held.place
        );
        return Ok(Proved::No(vec![Failure::new(
            Code::CheckpointMismatch.as_str(),
            what,
        )]));
    }
    let event = event_of(source, &stream, number, detail)?;
    Ok(yes(held, &tree, event))
}

fn event_of(
    source: &mut DbSource,
    stream: &StreamKey,
    number: u64,
    detail: Detail,
) -> Result<ProvenEvent, VerifyError> {
    let (runtime, view) = source.parts();
    let entries = runtime.block_on(view.entries(stream, number..=number))?;
    let entry = entries.all()?.pop();
    let entry =
        entry.ok_or_else(|| VerifyError::Refused(format!("event {number} of stream {stream} is gone")))?;
    Ok(ProvenEvent {
        schema: EVENT_SCHEMA.to_owned(),
        stream: *stream,
        sequence_number: number,
        leaf: None,
        event_signing_hash: Some(entry.event_signing_hash),
        agent_signature: Some(entry.event.agent_signature),
        agent_signature_bundle: ProvenBundle::of_event(&entry.event),
        event: SignedFields::of_event(entry.event, detail),
    })
}

/// Makes the proof of one number from the leaves that are kept with checkpoints: of its leaf, since no more of the event is
/// known there.
pub fn prove_in_files(stream: StreamKey, number: u64, history: &History) -> Proved {
    let candidates = covering(history, &stream, number);
    if candidates.is_empty() {
        return Proved::No(vec![uncovered(history, &stream, number)]);
    }
    for held in &candidates {
        let size = held.checkpoint.size;
        let generations = history.of(&stream).flat_map(|of| &of.generations);
        let runs = generations
            .filter(|generation| generation.origin == held.checkpoint.origin)
            .flat_map(|generation| &generation.runs);
        let mut reaching = runs.filter(|run| run.base.size() < number && size <= run.end());
        let Some(run) = reaching.next() else { continue };
        let (base, leaves) = (run.base.clone(), &run.leaves);
        let Some(leaf) = usize::try_from(number - 1 - base.size())
            .ok()
            .and_then(|at| leaves.get(at))
        else {
            continue;
        };
        let event = ProvenEvent {
            schema: EVENT_SCHEMA.to_owned(),
            stream,
            sequence_number: number,
            leaf: Some(*leaf),
            event_signing_hash: None,
            agent_signature: None,
            agent_signature_bundle: None,
            event: None,
        };
        let kept = usize::try_from(size - base.size()).unwrap_or(usize::MAX);
        let tree = Tree::new(base, &leaves[..kept.min(leaves.len())]);
        return yes(held, &tree, event);
    }
    let what = format!(
        "the files hold checkpoints that cover number {number} of stream {stream}, and not the leaves up to one of them"
    );
    let failure = Failure::new(Code::CheckpointLeaves.as_str(), what);
    Proved::No(vec![failure.at(number, None)])
}

/// The checkpoints that cover a number of a stream, the smallest first.
fn covering<'a>(history: &'a History, stream: &StreamKey, number: u64) -> Vec<&'a CountedCheckpoint> {
    let mut all: Vec<&CountedCheckpoint> = history
        .of(stream)
        .flat_map(checkpoints::StreamCheckpoints::binding)
        .filter(|held| number > 0 && held.checkpoint.size >= number)
        .collect();
    all.sort_by_key(|held| held.checkpoint.size);
    all
}

fn uncovered(history: &History, stream: &StreamKey, number: u64) -> Failure {
    let last = history
        .of(stream)
        .flat_map(checkpoints::StreamCheckpoints::binding)
        .map(|held| held.checkpoint.size)
        .max();
    let what = match last {
        Some(last) => {
            format!("number {number} of stream {stream} lies behind its last checkpoint, of {last} events")
        }
        None => format!("no checkpoint of stream {stream} was given that counts"),
    };
    Failure::new(Code::CheckpointNone.as_str(), what).at(number, None)
}

fn yes(held: &CountedCheckpoint, tree: &Tree, event: ProvenEvent) -> Proved {
    let index = event.sequence_number - 1;
    let Some(path) = tree.inclusion_proof(index, held.checkpoint.size) else {
        let what = format!("the leaves do not reach the checkpoint ({})", held.place);
        return Proved::No(vec![Failure::new(Code::CheckpointLeaves.as_str(), what)]);
    };
    Proved::Yes(Box::new(Made {
        proof: TlogProof {
            extra: serde_json::to_vec(&event).ok(),
            index,
            path,
            note: held.note.clone(),
        },
        event,
        checkpoint: held.checkpoint.clone(),
        trust: held.trust.clone(),
    }))
}

/// What a proof under a checkpoint says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TlogCheck {
    /// Whether the event is where the proof says, on the word of whoever signed the checkpoint.
    pub verdict: TlogVerdict,
    /// The tree: deployment, stream and generation.
    pub origin: String,
    /// The stream.
    pub stream: StreamKey,
    /// The number in the stream, from 1.
    pub sequence_number: u64,
    /// How many events the checkpoint covers.
    pub size: u64,
    /// The root over them.
    pub root: Hash32,
    /// When it was signed.
    pub time: Option<ves::Timestamp>,
    /// On whose word it rests, if it counts.
    pub word: Option<String>,
    /// The leaf that is proved to be there.
    pub leaf: Option<Hash32>,
    /// The signing hash, if it is known.
    pub event_signing_hash: Option<Hash32>,
    /// The event, if its signed fields are there and hash to that.
    pub event_id: Option<EventId>,
    /// What does not hold.
    pub failures: Vec<Failure>,
    /// What was not checked.
    pub not_checked: Vec<String>,
}

/// What is said of a proof under a checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum TlogVerdict {
    /// The leaf is under a root that the trusted keys signed.
    #[serde(rename = "CHECKPOINTED")]
    Checkpointed,
    /// Something does not hold.
    #[serde(rename = "FAILED")]
    Failed,
}

impl TlogVerdict {
    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Checkpointed => "CHECKPOINTED",
            Self::Failed => "FAILED",
        }
    }
}

/// A proof as it was read.
#[derive(Debug, Clone)]
pub struct ReadProof {
    proof: TlogProof,
    checkpoint: Checkpoint,
    event: Option<ProvenEvent>,
}

impl ReadProof {
    /// Reads the text of a proof.
    ///
    /// # Errors
    /// What is no proof under a stream's checkpoint.
    pub fn read(text: &str) -> Result<Self, String> {
        let proof: TlogProof = text.parse()?;
        let checkpoint =
            Checkpoint::read(&proof.note.text).map_err(|e| format!("its checkpoint: {}", Flaw::from(e)))?;
        // What others write there is theirs.
        let event = proof
            .extra
            .as_deref()
            .and_then(|extra| serde_json::from_slice(extra).ok());
        Ok(Self {
            proof,
            checkpoint,
            event: event.filter(|event: &ProvenEvent| event.schema == EVENT_SCHEMA),
        })
    }

    /// Whether it tells its event, or at least its leaf.
    pub fn event(&self) -> Option<&ProvenEvent> {
        self.event.as_ref()
    }

    /// Checks the proof by itself: the event's leaf, the path from there to the root, and the signatures at the root.
    /// `event` is what is known of the event from elsewhere, instead of the proof's own word.
    pub fn check(&self, event: Option<&ProvenEvent>, policy: &Policy, agent_key: &AgentKey) -> TlogCheck {
        let checkpoint = &self.checkpoint;
        let mut check = TlogCheck {
            verdict: TlogVerdict::Failed,
            origin: checkpoint.origin.to_string(),
            stream: checkpoint.origin.stream,
            sequence_number: self.proof.index.saturating_add(1),
            size: checkpoint.size,
            root: checkpoint.root,
            time: checkpoint.time,
            word: None,
            leaf: None,
            event_signing_hash: None,
            event_id: None,
            failures: Vec::new(),
            not_checked: Vec::new(),
        };
        match event.or(self.event.as_ref()) {
            Some(event) => check.event(event, agent_key),
            None => check.fail(
                Code::CheckpointLeaves,
                "the proof does not tell its event: give it with --event",
            ),
        }
        match check.leaf {
            Some(leaf) if !self.proof.proves(&leaf, checkpoint) => check.fail(
                Code::CheckpointMismatch,
                "the event's leaf and the path do not give the root of the checkpoint",
            ),
            _ => {}
        }
        match policy.judge(&self.proof.note, checkpoint) {
            Ok(trust) => check.trust(&trust),
            Err(distrust) => {
                let code = match Refusal::from(&distrust) {
                    Refusal::Signature => Code::CheckpointSignature,
                    _ => Code::CheckpointRefused,
                };
                check.fail(code, &format!("the checkpoint does not count: {distrust}"));
            }
        }
        if check.failures.is_empty() {
            check.verdict = TlogVerdict::Checkpointed;
        }
        check
    }
}

impl TlogCheck {
    fn fail(&mut self, code: Code, what: &str) {
        self.failures.push(Failure::new(code.as_str(), what));
    }

    fn trust(&mut self, trust: &Trust) {
        self.word = Some(trust.describe());
        if trust.witnesses.is_empty() {
            self.not_checked.push(
                "that the holder of the key showed nobody another history: no witness is asked (--witness-key)".into(),
            );
        }
        if self.origin.rsplit('/').next() != Some("g1") {
            let what =
                "what explains the checkpoint's generation; `anchor-verify checkpoints --epoch` says that";
            self.not_checked.push(what.into());
        }
    }

    /// Computes the leaf from what is known of the event.
    fn event(&mut self, event: &ProvenEvent, agent_key: &AgentKey) {
        if (event.stream, event.sequence_number) != (self.stream, self.sequence_number) {
            let what = format!(
                "the event is number {} of stream {}, the proof is of number {} of stream {}",
                event.sequence_number, event.stream, self.sequence_number, self.stream
            );
            self.fail(Code::CheckpointMismatch, &what);
        }
        let Some((hash, signature)) = event.event_signing_hash.zip(event.agent_signature) else {
            self.leaf = event.leaf;
            self.not_checked
                .push("the event: the proof knows its leaf alone; `--event FILE` tells what it is".into());
            if !agent_key.is_empty() {
                self.not_checked
                    .push("agent signature: the proof does not tell it".into());
            }
            if event.leaf.is_none() {
                self.fail(
                    Code::CheckpointLeaves,
                    "the proof tells neither its event nor the leaf",
                );
            }
            return;
        };
        let leaf = merkle::leaf_hash(&event.stream, event.sequence_number, &hash, &signature);
        if event.leaf.is_some_and(|told| told != leaf) {
            self.fail(
                Code::CheckpointLeaves,
                "the event does not give the leaf that stands beside it",
            );
        }
        (self.leaf, self.event_signing_hash) = (Some(leaf), Some(hash));
        let parts = LeafParts {
            stream: event.stream,
            event_signing_hash: hash,
            agent_signature: signature,
        };
        let found = parts.check(event.event.as_ref());
        self.event_id = found.event_id;
        self.failures.extend(found.failures);
        self.not_checked.extend(found.not_checked);
        let signature = AgentSignature {
            signing_hash: &hash,
            in_leaf: &signature,
            bundle: event.agent_signature_bundle.as_ref(),
        };
        let agent = signature.check(agent_key);
        self.failures.extend(agent.failures);
        self.not_checked.extend(agent.not_checked);
    }
}
