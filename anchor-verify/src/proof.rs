//! Inclusion proofs: that one event is at its place in an anchored batch, in one small file that needs nothing else.
//! The form is described in `docs/proof.md`.

use std::collections::BTreeSet;
use std::io;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;

use cli_common::{Cancel, Progress};
use event_log::{LeafInput, LogEntry, RowError, Sought};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ves::merkle::{self, InclusionProof, Tree};
use ves::{
    AgentId, BatchId, Event, EventCheck, EventId, Hash32, Payload, SignatureBytes, SignatureScheme, StoreId,
    StreamKey, TenantId,
};

use crate::agent::{AgentKey, AgentSignature, ProvenBundle};
use crate::anchor::{Anchor, tenant_store_key};
use crate::anchors_file::{AnchorsFile, MAX_FILE_BYTES, read_limited};
use crate::batches::group;
use crate::chain::ties_nothing;
use crate::files::{Existing, write_whole};
use crate::standing::{AnchorStanding, ChainReport};
use crate::verify::bounds::GivenInputs;
use crate::verify::report::Failure;
use crate::verify::{DbSource, Verdict, VerifyError, code};

/// The form that this version writes, and the only one that it reads.
pub const SCHEMA: &str = "inclusion-proof/1";

/// So many anchored ranges that hold one event are tried, the smallest first.
const MAX_RANGES: usize = 16;

/// How much of the event a proof tells beside its leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Detail {
    /// Nothing: stream, number, signing hash and signature.
    #[default]
    Leaf,
    /// The signed fields, with the payload's hashes.
    Event,
    /// The payload too.
    Payload,
}

/// Which event to prove.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// By its id.
    Event(EventId),
    /// By its place.
    Place(StreamKey, u64),
}

/// The batch, and the way from the leaf to its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofBatch {
    /// The batch id that the anchor names.
    pub batch_id: BatchId,
    /// The first number.
    pub sequence_start: u64,
    /// The last number (inclusive).
    pub sequence_end: u64,
    /// The Merkle root.
    pub events_root: Hash32,
    /// The leaf's place: the event's number less the first number.
    pub leaf_index: u64,
    /// The siblings, from the leaf's level up to below the root.
    pub proof_path: Vec<Hash32>,
}

/// The fields that the signing hash is made of, and nothing else: in a proof nothing stands among them that is not
/// bound. Proofs of earlier releases have members beside them, which are taken if they say nothing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedFields {
    /// The id that the agent gave the event.
    pub event_id: EventId,
    /// The tenant of its stream.
    pub tenant_id: TenantId,
    /// The store of its stream.
    pub store_id: StoreId,
    /// Protocol version.
    pub ves_version: u32,
    /// The agent that signed.
    pub source_agent_id: AgentId,
    /// Which of the agent's keys signed.
    pub agent_key_id: u32,
    /// What the event is about.
    pub entity_type: String,
    /// Which entity of that type.
    pub entity_id: String,
    /// What happened.
    pub event_type: String,
    /// The creation time exactly as it was signed.
    pub created_at: String,
    /// The payload. An empty text means that it was left out.
    pub payload: Payload,
    /// The hash of the payload in the open.
    pub payload_plain_hash: Hash32,
    /// The hash of an encrypted payload; zero for one in the open.
    pub payload_cipher_hash: Hash32,
    /// The agent's signature, which must be that of the leaf.
    pub agent_signature: SignatureBytes,
    /// Written by earlier releases: enters no hash.
    #[serde(default, skip_serializing)]
    agent_signature_scheme: Option<SignatureScheme>,
    /// As before; nothing but null is taken.
    #[serde(default, skip_serializing)]
    command_id: Option<Nothing>,
    /// As before; nothing but null is taken.
    #[serde(default, skip_serializing)]
    base_version: Option<Nothing>,
}

/// No value but null can be read as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
enum Nothing {}

impl SignedFields {
    /// Those of an event, with as much of it as a proof is to tell; `None` if it is to tell nothing.
    pub(crate) fn of_event(event: Event, detail: Detail) -> Option<Self> {
        let mut fields = Self::of(event);
        if detail < Detail::Payload {
            fields.payload = match fields.payload {
                Payload::Plain(_) => Payload::Plain(String::new()),
                Payload::Encrypted(_) => Payload::Encrypted(String::new()),
            };
        }
        (detail >= Detail::Event).then_some(fields)
    }

    fn of(event: Event) -> Self {
        Self {
            event_id: event.event_id,
            tenant_id: event.stream.tenant_id,
            store_id: event.stream.store_id,
            ves_version: event.ves_version,
            source_agent_id: event.source_agent_id,
            agent_key_id: event.agent_key_id,
            entity_type: event.entity_type,
            entity_id: event.entity_id,
            event_type: event.event_type,
            created_at: event.created_at,
            payload: event.payload,
            payload_plain_hash: event.payload_plain_hash,
            payload_cipher_hash: event.payload_cipher_hash,
            agent_signature: event.agent_signature,
            agent_signature_scheme: None,
            command_id: None,
            base_version: None,
        }
    }

    /// As an event, whose hashes can be computed.
    fn event(&self) -> Event {
        Event {
            event_id: self.event_id,
            stream: StreamKey::new(self.tenant_id, self.store_id),
            ves_version: self.ves_version,
            source_agent_id: self.source_agent_id,
            agent_key_id: self.agent_key_id,
            entity_type: self.entity_type.clone(),
            entity_id: self.entity_id.clone(),
            event_type: self.event_type.clone(),
            created_at: self.created_at.clone(),
            payload: self.payload.clone(),
            payload_plain_hash: self.payload_plain_hash,
            payload_cipher_hash: self.payload_cipher_hash,
            agent_signature: self.agent_signature,
            agent_signature_scheme: SignatureScheme::ED25519,
            agent_signature_bundle: None,
            command_id: None,
            base_version: None,
        }
    }
}

/// The content of a proof file.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofFile {
    /// [`SCHEMA`].
    pub schema: String,
    /// The stream, of which the leaf holds tenant and store.
    pub stream: StreamKey,
    /// The event's number.
    pub sequence_number: u64,
    /// The signing hash, as the leaf has it.
    pub event_signing_hash: Hash32,
    /// The agent's signature, as the leaf has it.
    pub agent_signature: SignatureBytes,
    /// The signatures of an event of scheme 2 or 3, which no hash binds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_signature_bundle: Option<ProvenBundle>,
    /// The batch, with the path from the leaf to its root.
    pub batch: ProofBatch,
    /// The signed fields, if they were asked for. An empty payload text means that it was left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<SignedFields>,
    /// An anchors file with the anchors of the batch and what proves them (`docs/anchors-file.md`).
    pub anchors: Box<RawValue>,
}

/// Whether an event could be proved.
#[derive(Debug)]
pub enum Proved {
    /// It could.
    Yes(Box<ProofFile>),
    /// It could not: it is in no anchored batch, or its batch is not what was anchored.
    No(Vec<Failure>),
}

/// Makes the proof of one event.
///
/// # Errors
/// If the log cannot be read, or there is no such event.
pub fn prove(
    source: &mut dyn ProofSource,
    wanted: Wanted,
    detail: Detail,
    anchors: &AnchorsFile,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Proved, VerifyError> {
    let (stream, sequence) = locate(source, wanted)?;
    let key = tenant_store_key(&stream);
    let holds =
        |a: &&Anchor| a.tenant_store_key == key && (a.sequence_start..=a.sequence_end).contains(&sequence);
    let candidates: Vec<&Anchor> = anchors.anchors.iter().filter(holds).collect();
    if candidates.is_empty() {
        let what =
            format!("event {sequence} of stream {stream} is in no anchored batch of the given anchors");
        return Ok(Proved::No(vec![
            Failure::new("commitment.unanchored", what).at(sequence, None),
        ]));
    }
    let mut ranges: Vec<(u64, u64)> = candidates
        .iter()
        .map(|a| (a.sequence_start, a.sequence_end))
        .collect();
    ranges.sort_by_key(|(start, end)| (end - start, *start));
    ranges.dedup();
    // Each is read as a whole; more of them are only in a file that was made to be expensive.
    ranges.truncate(MAX_RANGES);
    let mut failures = Vec::new();
    for (start, end) in ranges {
        let leaves = match leaves(source, &stream, (start, end), progress, cancel)? {
            Ok(leaves) => leaves,
            Err(failure) => {
                failures.push(failure);
                continue;
            }
        };
        // A width of more than usize could not have been read.
        let at = usize::try_from(sequence - start).unwrap_or(usize::MAX);
        let tree = Tree::new(&leaves);
        let Some((root, path)) = tree.and_then(|tree| Some((tree.root(), tree.proof(at)?))) else {
            continue;
        };
        let of_range = |a: &&&Anchor| (a.sequence_start, a.sequence_end) == (start, end);
        match candidates.iter().filter(of_range).find(|a| a.events_root == root) {
            Some(anchor) => {
                let file = file_of(source, (stream, sequence), detail, anchor, path, anchors)?;
                return Ok(Proved::Yes(Box::new(file)));
            }
            None => {
                let what = format!("the events {start} to {end} give the root {root}, which is not anchored");
                failures.push(Failure::new(code::ANCHOR_ROOT, what));
            }
        }
    }
    Ok(Proved::No(failures))
}

/// What the proof of an event is made from: a log, or an archive of one.
pub trait ProofSource {
    /// Where an event stands.
    ///
    /// # Errors
    /// If nothing can be read, or there is no such event.
    fn place_of(&mut self, event: EventId) -> Result<(StreamKey, u64), VerifyError>;

    /// Gives what the leaves of these numbers are made of to `each`, in order, until there are no more or `each` breaks off.
    ///
    /// # Errors
    /// If nothing can be read.
    fn leaf_inputs(
        &mut self,
        stream: &StreamKey,
        numbers: RangeInclusive<u64>,
        each: &mut dyn FnMut(Vec<Result<LeafInput, RowError>>) -> ControlFlow<()>,
    ) -> Result<(), VerifyError>;

    /// One event.
    ///
    /// # Errors
    /// If it cannot be read.
    fn entry(&mut self, stream: &StreamKey, sequence: u64) -> Result<Option<LogEntry>, VerifyError>;
}

impl ProofSource for DbSource {
    fn place_of(&mut self, id: EventId) -> Result<(StreamKey, u64), VerifyError> {
        self.look_for_hidden(Sought::Ids)?;
        let (runtime, view) = self.parts();
        match runtime.block_on(view.find_events(&[id]))?.by_event().remove(&id) {
            Some(Ok(found)) => Ok((found.stream, found.sequence_number)),
            // Where it stands is what is to be proved: there is nothing to go on with.
            Some(Err(row)) => Err(VerifyError::Refused(format!(
                "event {id} is in the log, in a row that cannot be read: {}",
                row.error
            ))),
            None => Err(VerifyError::Refused(format!("event {id} is not in the log"))),
        }
    }

    fn leaf_inputs(
        &mut self,
        stream: &StreamKey,
        numbers: RangeInclusive<u64>,
        each: &mut dyn FnMut(Vec<Result<LeafInput, RowError>>) -> ControlFlow<()>,
    ) -> Result<(), VerifyError> {
        let (runtime, view) = self.parts();
        Ok(runtime.block_on(view.for_each_leaf_input(stream, numbers, each))?)
    }

    fn entry(&mut self, stream: &StreamKey, sequence: u64) -> Result<Option<LogEntry>, VerifyError> {
        let (runtime, view) = self.parts();
        let found = runtime.block_on(view.entries(stream, sequence..=sequence))?;
        Ok(found.all()?.pop())
    }
}

pub(crate) fn locate(source: &mut dyn ProofSource, wanted: Wanted) -> Result<(StreamKey, u64), VerifyError> {
    match wanted {
        Wanted::Place(stream, sequence) => Ok((stream, sequence)),
        Wanted::Event(id) => source.place_of(id),
    }
}

/// The leaves of a range, if all of its events are there.
fn leaves(
    source: &mut dyn ProofSource,
    stream: &StreamKey,
    (start, end): (u64, u64),
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Result<Vec<Hash32>, Failure>, VerifyError> {
    let mut leaves: Vec<Hash32> = Vec::new();
    let mut failure = None;
    progress.start("reading leaves", Some((end - start).saturating_add(1)));
    source.leaf_inputs(stream, start..=end, &mut |chunk| {
        progress.advance(chunk.len() as u64);
        for row in chunk {
            let expected = start + leaves.len() as u64;
            match row {
                Ok(input) if input.sequence_number == expected => leaves.push(merkle::leaf_hash(
                    stream,
                    expected,
                    &input.event_signing_hash,
                    &input.agent_signature,
                )),
                Ok(_) => {
                    let what = format!("event {expected} is missing");
                    failure = Some(Failure::new(code::GAP_INTERIOR, what).at(expected, None));
                }
                Err(row) => {
                    failure = Some(Failure::new(code::UNREADABLE, row.to_string()).at(expected, None));
                }
            }
            if failure.is_some() {
                return ControlFlow::Break(());
            }
        }
        if cancel.is_cancelled() {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    })?;
    progress.finish();
    cancel.check()?;
    let next = start + leaves.len() as u64;
    if failure.is_none() && next <= end {
        let what = format!("event {next} is missing");
        failure = Some(Failure::new(code::GAP_TAIL, what).at(next, None));
    }
    Ok(failure.map_or(Ok(leaves), Err))
}

fn file_of(
    source: &mut dyn ProofSource,
    (stream, sequence): (StreamKey, u64),
    detail: Detail,
    anchor: &Anchor,
    path: InclusionProof,
    anchors: &AnchorsFile,
) -> Result<ProofFile, VerifyError> {
    // The one row that the proof is of: without it there is none.
    let entry = source
        .entry(&stream, sequence)?
        .ok_or_else(|| VerifyError::Refused(format!("event {sequence} of stream {stream} is gone")))?;
    let (signing_hash, signature) = (entry.event_signing_hash, entry.event.agent_signature);
    let bundle = ProvenBundle::of_event(&entry.event);
    let event = SignedFields::of_event(entry.event, detail);
    // With all that could contest the batch: whoever checks must see it too.
    let key = tenant_store_key(&stream);
    let chosen = anchors.only(|a| {
        a.batch_id == anchor.batch_id
            || (a.tenant_store_key == key
                && a.sequence_start <= anchor.sequence_end
                && a.sequence_end >= anchor.sequence_start)
    });
    let mut text = Vec::new();
    chosen
        .write_json(&mut text)
        .map_err(VerifyError::io("the anchors"))?;
    let anchors: Box<RawValue> =
        serde_json::from_slice(&text).map_err(|e| VerifyError::io("the anchors")(e.into()))?;
    Ok(ProofFile {
        schema: SCHEMA.to_owned(),
        stream,
        sequence_number: sequence,
        event_signing_hash: signing_hash,
        agent_signature: signature,
        agent_signature_bundle: bundle,
        batch: ProofBatch {
            batch_id: anchor.batch_id,
            sequence_start: anchor.sequence_start,
            sequence_end: anchor.sequence_end,
            events_root: anchor.events_root,
            leaf_index: path.leaf_index,
            proof_path: path.proof_path,
        },
        event,
        anchors,
    })
}

/// What a leaf is made of, beside its number.
pub(crate) struct LeafParts {
    /// The stream.
    pub stream: StreamKey,
    /// The signing hash.
    pub event_signing_hash: Hash32,
    /// The agent's signature.
    pub agent_signature: SignatureBytes,
}

/// What became of an event's fields.
#[derive(Default)]
pub(crate) struct FieldsCheck {
    /// The event, if its fields give the signing hash.
    pub event_id: Option<EventId>,
    /// What does not hold.
    pub failures: Vec<Failure>,
    /// What was not checked.
    pub not_checked: Vec<String>,
}

impl LeafParts {
    /// Whether the signed fields are those of the leaf, and the payload theirs.
    pub(crate) fn check(&self, fields: Option<&SignedFields>) -> FieldsCheck {
        let mut check = FieldsCheck::default();
        let Some(fields) = fields else {
            check
                .not_checked
                .push("the event's fields: only their signing hash is in the proof".into());
            return check;
        };
        if fields.agent_signature_scheme.is_some() {
            check.not_checked.push(
                "fields that nothing binds: agent_signature_scheme, which earlier releases wrote".into(),
            );
        }
        let event = fields.event();
        let mut wrong = |code: &str, what: &str| check.failures.push(Failure::new(code, what));
        if event.stream != self.stream || event.agent_signature != self.agent_signature {
            wrong(
                code::SIGNING_HASH,
                "the event's stream or signature is not that of the leaf",
            );
        }
        if event.signing_hash() == self.event_signing_hash {
            check.event_id = Some(event.event_id);
        } else {
            wrong(
                code::SIGNING_HASH,
                "the event's fields do not give the signing hash",
            );
        }
        if event.payload.json().is_empty() {
            check
                .not_checked
                .push("payload hash: the payload was left out".into());
        } else if let EventCheck::Mismatch(what) = event.check_payload() {
            check.failures.push(Failure::new(code::PAYLOAD_HASH, what));
        }
        check
    }
}

/// What a proof says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ProofCheck {
    /// PROVEN, MATCHES ANCHORS or FAILED.
    pub verdict: Verdict,
    /// The stream, of which the leaf holds tenant and store.
    pub stream: StreamKey,
    /// The number in the stream, from 1.
    pub sequence_number: u64,
    /// The signing hash that is proved to be there.
    pub event_signing_hash: Hash32,
    /// The event, if its signed fields are in the proof and hash to that.
    pub event_id: Option<EventId>,
    /// The id under which the batch was anchored.
    pub batch_id: BatchId,
    /// Why the anchor is not PROVEN, if it is not and nothing fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Why the trusted block ties none of the anchors, if it ties none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ties_nothing: Option<String>,
    /// What does not hold.
    pub failures: Vec<Failure>,
    /// What was not checked.
    pub not_checked: Vec<String>,
}

impl ProofFile {
    /// Reads a proof file.
    ///
    /// # Errors
    /// If it cannot be read or is not one.
    pub fn read(path: &Path) -> Result<Self, VerifyError> {
        let name = path.display().to_string();
        let bytes = read_limited(path, MAX_FILE_BYTES).map_err(VerifyError::io(&name))?;
        let bytes = bytes.ok_or_else(|| VerifyError::Refused(format!("{name} is larger than any proof")))?;
        Self::from_json(&bytes).map_err(|what| VerifyError::Refused(format!("{name}: {what}")))
    }

    /// Reads the text of a proof file.
    ///
    /// # Errors
    /// What is not a proof of this form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct SchemaOnly {
            schema: String,
        }
        let schema: SchemaOnly =
            serde_json::from_slice(bytes).map_err(|e| format!("not an inclusion proof: {e}"))?;
        if schema.schema != SCHEMA {
            let found: String = schema.schema.chars().take(60).collect();
            return Err(format!("has the schema {found:?}; this version reads {SCHEMA:?}"));
        }
        serde_json::from_slice(bytes).map_err(|e| format!("not an inclusion proof: {e}"))
    }

    /// Writes the file whole, or not at all.
    ///
    /// # Errors
    /// If it cannot be written, or something is there that may not be replaced.
    pub fn write(&self, path: &Path, existing: Existing) -> io::Result<()> {
        use io::Write as _;
        write_whole(path, existing, |out| {
            serde_json::to_writer_pretty(&mut *out, self)?;
            out.write_all(b"\n")
        })
    }

    /// The anchors in it.
    ///
    /// # Errors
    /// If they are not an anchors file.
    pub fn anchors(&self) -> Result<AnchorsFile, String> {
        AnchorsFile::from_json(self.anchors.get().as_bytes()).map_err(|e| format!("its anchors: it {e}"))
    }

    /// Whether an anchor says something of the proof's batch, or could contest it: these the proof is meant to have.
    pub fn concerns(&self, anchor: &Anchor) -> bool {
        let batch = &self.batch;
        anchor.batch_id == batch.batch_id
            || (anchor.tenant_store_key == tenant_store_key(&self.stream)
                && anchor.sequence_start <= batch.sequence_end
                && anchor.sequence_end >= batch.sequence_start)
    }

    /// Checks the proof by itself. `chain` are the standings of [`ProofFile::anchors`], in their order; `agent_key` is
    /// the key that the event is expected to be signed with.
    pub fn check(&self, anchors: &AnchorsFile, chain: &ChainReport, agent_key: &AgentKey) -> ProofCheck {
        let mut check = ProofCheck {
            verdict: Verdict::Failed,
            stream: self.stream,
            sequence_number: self.sequence_number,
            event_signing_hash: self.event_signing_hash,
            event_id: None,
            batch_id: self.batch.batch_id,
            why: None,
            ties_nothing: ties_nothing(anchors, chain),
            failures: Vec::new(),
            not_checked: chain.not_checked.clone(),
        };
        let given = GivenInputs {
            anchors: true,
            ..GivenInputs::default()
        };
        check.not_checked.extend(given.unbound());
        self.check_path(&mut check);
        self.check_event(&mut check);
        let signature = AgentSignature {
            signing_hash: &self.event_signing_hash,
            in_leaf: &self.agent_signature,
            bundle: self.agent_signature_bundle.as_ref(),
        };
        let agent = signature.check(agent_key);
        check.failures.extend(agent.failures);
        check.not_checked.extend(agent.not_checked);
        let verdict = self.check_anchors(&mut check, anchors, chain);
        if check.failures.is_empty() {
            check.verdict = verdict;
        }
        check
    }

    fn check_path(&self, check: &mut ProofCheck) {
        let batch = &self.batch;
        let mut wrong = |what: String| check.failures.push(Failure::new(code::ANCHOR_ROOT, what));
        let within = (batch.sequence_start..=batch.sequence_end).contains(&self.sequence_number);
        if !within || self.sequence_number - batch.sequence_start != batch.leaf_index {
            return wrong(format!(
                "number {} is not at place {} of the batch {} to {}",
                self.sequence_number, batch.leaf_index, batch.sequence_start, batch.sequence_end
            ));
        }
        let width = (batch.sequence_end - batch.sequence_start).saturating_add(1);
        // A path of another length is one of another tree, or stops at an inner node.
        let depth = width.checked_next_power_of_two().map(u64::trailing_zeros);
        if depth.is_none_or(|depth| batch.proof_path.len() as u64 != u64::from(depth)) {
            return wrong(format!(
                "the path has {} steps, a tree of {width} leaves has another depth",
                batch.proof_path.len()
            ));
        }
        let leaf = merkle::leaf_hash(
            &self.stream,
            self.sequence_number,
            &self.event_signing_hash,
            &self.agent_signature,
        );
        let path = InclusionProof {
            leaf_index: batch.leaf_index,
            proof_path: batch.proof_path.clone(),
        };
        if !path.verifies(&leaf, &batch.events_root) {
            wrong(format!(
                "the leaf and its path do not give the root {}",
                batch.events_root
            ));
        }
    }

    fn check_event(&self, check: &mut ProofCheck) {
        let leaf = LeafParts {
            stream: self.stream,
            event_signing_hash: self.event_signing_hash,
            agent_signature: self.agent_signature,
        };
        let found = leaf.check(self.event.as_ref());
        check.event_id = found.event_id;
        check.failures.extend(found.failures);
        check.not_checked.extend(found.not_checked);
    }

    /// Anchors that their own proofs contradict: a proof that holds one says what is not so, unless it is an altered copy
    /// of one that is proven.
    fn check_others(&self, check: &mut ProofCheck, file: &AnchorsFile, chain: &ChainReport) {
        let proven = chain.proven_places(file);
        for (anchor, standing) in file.anchors.iter().zip(&chain.standings) {
            let AnchorStanding::Failed { why } = standing else {
                continue;
            };
            let what = format!(
                "the anchor of batch {} in block {} (log {}): {why}",
                anchor.batch_id, anchor.block_number, anchor.log_index
            );
            if proven.contains(&anchor.place()) {
                check.not_checked.push(format!(
                    "an altered copy of an anchor, which was not used: {what}"
                ));
            } else {
                check.failures.push(Failure::new(code::ANCHOR_PROOF, what));
            }
        }
    }

    fn check_anchors(&self, check: &mut ProofCheck, file: &AnchorsFile, chain: &ChainReport) -> Verdict {
        let batch = &self.batch;
        let key = tenant_store_key(&self.stream);
        let states_it = |a: &Anchor| {
            (a.tenant_store_key, a.batch_id) == (key, batch.batch_id)
                && (a.sequence_start, a.sequence_end) == (batch.sequence_start, batch.sequence_end)
                && a.events_root == batch.events_root
        };
        if file.anchors.len() != chain.standings.len() {
            check.failures.push(Failure::new(
                code::ANCHOR_PROOF,
                "the standings are of other anchors",
            ));
            return Verdict::Failed;
        }
        let of = |wanted: fn(&AnchorStanding) -> bool| -> Vec<Anchor> {
            let both = file.anchors.iter().zip(&chain.standings);
            both.filter(|(_, s)| wanted(s)).map(|(a, _)| *a).collect()
        };
        self.check_others(check, file, chain);
        // What is merely claimed cannot contest what is proven.
        let levels = [
            (
                of(|s| matches!(s, AnchorStanding::Trusted { .. })),
                Verdict::Proven,
            ),
            (
                of(|s| !matches!(s, AnchorStanding::Failed { .. })),
                Verdict::MatchesAnchors,
            ),
        ];
        for (anchors, verdict) in levels {
            if !anchors.iter().any(states_it) {
                continue;
            }
            let contested = group(&anchors, &[self.stream])
                .streams
                .into_iter()
                .flat_map(|stream| stream.batches)
                .any(|b| {
                    b.contested
                        && b.tenant_store_key == key
                        && b.batch_id == batch.batch_id
                        && b.events_root == batch.events_root
                });
            if !contested {
                if verdict != Verdict::Proven {
                    let untied = file.anchors.iter().zip(&chain.standings);
                    let whys = untied
                        .filter(|(anchor, _)| states_it(anchor))
                        .filter_map(|(_, standing)| standing.why());
                    let whys: BTreeSet<&str> = whys.collect();
                    check.why = Some(whys.into_iter().collect::<Vec<_>>().join("; "));
                }
                return verdict;
            }
            let what = format!("other anchors contradict that of batch {}", batch.batch_id);
            check.failures.push(Failure::new(code::ANCHOR_CONFLICT, what));
            return Verdict::Failed;
        }
        if !file.anchors.iter().any(states_it) {
            let what = format!(
                "no anchor in the proof names batch {} of stream {}, {} to {}, with the root {}",
                batch.batch_id, self.stream, batch.sequence_start, batch.sequence_end, batch.events_root
            );
            check.failures.push(Failure::new(code::ANCHOR_ROOT, what));
        }
        Verdict::Failed
    }
}
