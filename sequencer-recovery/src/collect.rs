//! Collecting evidence: every outbox is read once, and of its rows those are kept that the log lacks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cli_common::{Cancel, DbTarget, Progress};
use ed25519_dalek::VerifyingKey;
use event_log::{Log, LogEntry, StreamFilter, View};
use outbox_sync::{Content, HeldRow, Origin, Outbox, OutboxMeta, RenderingSearch, RowCheck, RowError};
use rayon::prelude::*;
use serde::Serialize;
use ves::{Event, EventCheck, EventId, KeyRegistry, SignatureCheck, StreamKey};

use crate::error::RecoveryError;
use crate::evidence::{Candidate, Claim, HeldReceipt, HolderId, Holders, Refused, Saying, StreamEvidence};
use crate::finding::{Code, Finding};
use crate::floor::Witness;
use crate::gap;
use crate::grade::Grade;
use crate::proofs;
use crate::survey::admits;

/// Where to look for witnesses.
#[derive(Debug, Default)]
pub struct Inputs {
    /// Agents' databases.
    pub outboxes: Vec<PathBuf>,
    /// Other copies of the log: a replica, the old primary's volume, a dump restored beside, a snapshot.
    pub logs: Vec<DbTarget>,
    /// Receipts saved from pushes (NDJSON).
    pub receipts: Vec<PathBuf>,
    /// The sequencer's public key; without it no receipt's signature is checked.
    pub sequencer_key: Option<VerifyingKey>,
}

/// What became of one input.
#[derive(Debug, Clone, Serialize)]
pub struct Heard {
    /// The file.
    pub path: String,
    /// `outbox` or `receipts`.
    pub kind: &'static str,
    /// The agent whose outbox it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The outbox's schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// Rows read.
    pub rows: u64,
    /// Events among them that the log lacks and that verify (or whose key is not known).
    pub missing_held: u64,
    /// Rows without a usable signature: pointers only.
    pub unsigned: u64,
    /// Events of the older outbox shape whose signed rendering was found again.
    #[serde(skip_serializing_if = "is_zero")]
    pub renderings_found: u64,
    /// Rows that are not used, since they do not verify or cannot be read.
    pub refused: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<Refused>,
    /// Why it could not be read, or not to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// All evidence, by stream.
#[derive(Debug, Default)]
pub struct Collected {
    /// By stream.
    pub streams: BTreeMap<StreamKey, StreamEvidence>,
    /// Who was heard.
    pub holders: Holders,
    /// The inputs, in the order given.
    pub heard: Vec<Heard>,
    /// What is wrong with the inputs.
    pub findings: Vec<Finding>,
    /// What of the inputs was not checked.
    pub not_checked: Vec<String>,
}

/// Rows are looked up in the log in groups of this many.
const GROUP: usize = 1000;

/// So many refused rows are listed for an input; all are counted.
const LISTED_REFUSALS: usize = 100;

/// Reads all inputs. One that cannot be read is a finding and does not stop the others.
///
/// # Errors
/// What the log's database says; [`RecoveryError::Cancelled`].
pub async fn collect(
    view: &mut View,
    keys: &KeyRegistry,
    filter: &StreamFilter,
    inputs: &Inputs,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<Collected, RecoveryError> {
    let mut collected = Collected::default();
    progress.start("reading outboxes", Some(inputs.outboxes.len() as u64));
    for path in &inputs.outboxes {
        cancel.check()?;
        read_outbox(view, keys, filter, path, &mut collected, cancel).await?;
        progress.advance(1);
    }
    progress.finish();
    for target in &inputs.logs {
        cancel.check()?;
        read_log(view, keys, filter, target, inputs, &mut collected).await?;
    }
    for path in &inputs.receipts {
        read_receipts(path, filter, inputs, &mut collected);
    }
    Ok(collected)
}

async fn read_outbox(
    view: &mut View,
    keys: &KeyRegistry,
    filter: &StreamFilter,
    path: &Path,
    collected: &mut Collected,
    cancel: &Cancel,
) -> Result<(), RecoveryError> {
    let mut heard = Heard::new(path, "outbox");
    let opened = Outbox::open(path);
    // What is damaged is read as far as it can be; the first error says best what is wrong with a file that cannot.
    let outbox = match opened.or_else(|error| Outbox::salvage(path).map_err(|_| error)) {
        Ok(outbox) => outbox,
        Err(error) => {
            collected.unreadable(heard, error.to_string());
            return Ok(());
        }
    };
    let meta = outbox.meta().clone();
    heard.agent_id = meta.agent_id.map(|id| id.to_string());
    heard.shape = Some(format!("{:?}", meta.shape).to_lowercase());
    for what in &meta.not_checked {
        collected.not_checked.push(format!("{}: {what}", path.display()));
    }
    if let Some(damage) = &meta.damage {
        // What can still be read is heard; the signatures decide what of it is used.
        let message = format!(
            "{} {damage}; what can still be read of it is used",
            path.display()
        );
        collected
            .findings
            .push(Finding::new(Code::WitnessUnreadable, message));
        collected
            .not_checked
            .push(format!("{}: the rows that its damage took", path.display()));
        heard.error = Some(damage.clone());
    }
    let file = path
        .file_name()
        .map_or_else(|| heard.path.clone(), |n| n.to_string_lossy().into_owned());
    let identity = heard.agent_id.clone().unwrap_or_else(|| heard.path.clone());
    let mut source = Source {
        holder: collected.holders.add(file.clone(), identity.clone()),
        file,
        identity,
        keys,
        filter,
        highest: BTreeMap::new(),
        search: RenderingSearch::new(keys),
    };
    source.note_cursors(&meta, collected);

    // SQLite is read on a thread of its own, so that groups can be looked up in the log meanwhile.
    let (send, mut receive) = tokio::sync::mpsc::channel(4);
    let reader = tokio::task::spawn_blocking(move || {
        let mut group = Vec::with_capacity(GROUP);
        let result = outbox.for_each_row(&mut |row| {
            group.push(row);
            if group.len() == GROUP && send.blocking_send(std::mem::take(&mut group)).is_err() {
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        });
        if !group.is_empty() {
            // Nobody listens any more only if the work was given up.
            let _ = send.blocking_send(group);
        }
        result
    });
    while let Some(group) = receive.recv().await {
        cancel.check()?;
        source.take_group(view, group, &mut heard, collected).await?;
    }
    match reader.await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            collected.findings.push(Finding::new(
                Code::WitnessUnreadable,
                format!(
                    "{error}; {} row(s) before that were read and are used",
                    heard.rows
                ),
            ));
            collected
                .not_checked
                .push(format!("{}: the rows after the damage", path.display()));
            heard.error = Some(error.to_string());
        }
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    }
    source.note_highest(collected);
    heard.renderings_found = source.search.found();
    if heard.refused > 0 {
        let message = format!(
            "{}: {} row(s) do not verify or cannot be read; they are not used",
            path.display(),
            heard.refused
        );
        collected
            .findings
            .push(Finding::new(Code::WitnessRefused, message).count(heard.refused));
    }
    collected.heard.push(heard);
    Ok(())
}

/// One outbox while it is read.
struct Source<'a> {
    holder: HolderId,
    file: String,
    identity: String,
    keys: &'a KeyRegistry,
    filter: &'a StreamFilter,
    // In order, so that every run names the same witness.
    highest: BTreeMap<(StreamKey, Saying), u64>,
    /// Finds what was signed in outboxes of the older shape.
    search: RenderingSearch<'a>,
}

impl Source<'_> {
    async fn take_group(
        &mut self,
        view: &mut View,
        group: Vec<Result<HeldRow, RowError>>,
        heard: &mut Heard,
        collected: &mut Collected,
    ) -> Result<(), RecoveryError> {
        let mut rows = Vec::with_capacity(group.len());
        for row in group {
            heard.rows += 1;
            match row {
                Ok(row) if admits(self.filter, &row.stream) => rows.push(row),
                Ok(_) => {}
                Err(error) => heard.refuse(None, error.place.to_string(), error.what, None),
            }
        }
        let ids: Vec<EventId> = rows.iter().map(|row| row.event_id).collect();
        let in_log: HashMap<EventId, (StreamKey, u64)> = view
            .find_events(&ids)
            .await?
            .all()?
            .into_iter()
            .map(|f| (f.event_id, (f.stream, f.sequence_number)))
            .collect();
        for row in rows.iter_mut().filter(|row| !in_log.contains_key(&row.event_id)) {
            self.search.resolve(row);
        }
        let keys = self.keys;
        let checked: Vec<(HeldRow, Option<RowCheck>)> = rows
            .into_par_iter()
            .map(|row| {
                let lacking = !in_log.contains_key(&row.event_id);
                let check = row
                    .content
                    .event()
                    .filter(|_| lacking)
                    .map(|event| check_held(event, &row, keys));
                (row, check)
            })
            .collect();
        for (row, check) in checked {
            self.take_row(row, check, &in_log, heard, collected);
        }
        Ok(())
    }

    fn take_row(
        &mut self,
        row: HeldRow,
        check: Option<RowCheck>,
        in_log: &HashMap<EventId, (StreamKey, u64)>,
        heard: &mut Heard,
        collected: &mut Collected,
    ) {
        let saying = match (&row.origin, &row.content) {
            (Origin::Outbox { .. }, _) => Saying::Outbox,
            (_, Content::Signed(_)) => Saying::Pulled,
            _ => Saying::Pointer,
        };
        let evidence = collected.streams.entry(row.stream).or_default();
        if let Some(position) = row.claimed_sequence {
            let top = self.highest.entry((row.stream, saying)).or_default();
            *top = position.max(*top);
        }
        if let Content::Unsigned { .. } = row.content {
            heard.unsigned += 1;
        }
        if let Some((stream, at)) = in_log.get(&row.event_id) {
            if let (Origin::Outbox { local_seq, .. }, Content::Signed(event)) = (&row.origin, &row.content)
                && *stream == row.stream
            {
                evidence
                    .known_order
                    .entry(event.source_agent_id)
                    .or_default()
                    .insert(*at, *local_seq);
            }
            match row.claimed_sequence {
                Some(position) if *stream == row.stream && *at == position => evidence.confirmed_claims += 1,
                Some(_) => {
                    *evidence
                        .contradicted_claims
                        .entry((self.holder, saying))
                        .or_default() += 1;
                }
                None => {}
            }
            return;
        }
        let place = row.place.to_string();
        match (row.content, check) {
            (Content::Signed(event), Some(check)) => {
                if let EventCheck::Mismatch(why) = check.payload {
                    heard.refuse(Some(row.event_id), place, why, Some(evidence));
                    return;
                }
                if check.signature == SignatureCheck::Invalid {
                    let why = "its signature does not hold".to_owned();
                    heard.refuse(Some(row.event_id), place, why, Some(evidence));
                    return;
                }
                heard.missing_held += 1;
                let (status, local_seq) = match row.origin {
                    Origin::Outbox { local_seq, status } => (Some(status), Some(local_seq)),
                    _ => (None, None),
                };
                evidence.add_candidate(Candidate {
                    event: *event,
                    signing_hash: check.signing_hash,
                    signature: check.signature,
                    holders: vec![self.holder],
                    status,
                    local_seq,
                });
            }
            (Content::Rerendered(_), _) => {
                let why = "no rendering of its time that was tried verifies, or its agent has no key here"
                    .to_owned();
                heard.refuse(Some(row.event_id), place, why, Some(evidence));
            }
            (Content::Malformed { why }, _) => {
                heard.refuse(Some(row.event_id), place, why, Some(evidence));
                // That this event was at this number is a hint still.
            }
            _ => {}
        }
        if let Some(position) = row.claimed_sequence {
            let claim = Claim {
                event_id: row.event_id,
                holder: self.holder,
                saying,
                sequenced_at: row.sequenced_at,
            };
            evidence.add_claim(position, claim);
        }
    }

    /// The agent's cursors are claims too: of numbers given out, without saying to which event.
    fn note_cursors(&self, meta: &OutboxMeta, collected: &mut Collected) {
        let (Some(tenant_id), Some(store_id)) = (meta.tenant_id, meta.store_id) else {
            return;
        };
        let stream = StreamKey::new(tenant_id, store_id);
        if !admits(self.filter, &stream) {
            return;
        }
        // last_pulled_sequence is no witness: some agents keep the next number to ask for.
        for (name, value) in [
            ("last_pushed_sequence", meta.last_pushed_sequence),
            ("head_sequence", meta.head_sequence),
        ] {
            if let Some(sequence) = value {
                let who = format!("{} ({name})", self.file);
                let witness = Witness {
                    sequence,
                    grade: Grade::Claimed,
                    who,
                    identity: self.identity.clone(),
                };
                collected.streams.entry(stream).or_default().add_witness(witness);
            }
        }
    }

    fn note_highest(&self, collected: &mut Collected) {
        for (&(stream, saying), &sequence) in &self.highest {
            let table = match saying {
                Saying::Outbox => "_ves_outbox",
                Saying::Pulled | Saying::Log => "_ves_pulled_events",
                Saying::Pointer => "_ves_pulled_events, unsigned",
            };
            let who = format!("{} ({table})", self.file);
            let witness = Witness {
                sequence,
                grade: Grade::Claimed,
                who,
                identity: self.identity.clone(),
            };
            collected.streams.entry(stream).or_default().add_witness(witness);
        }
    }
}

/// Reads what another copy of the log has at the positions that this one lacks.
async fn read_log(
    view: &mut View,
    keys: &KeyRegistry,
    filter: &StreamFilter,
    target: &DbTarget,
    inputs: &Inputs,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let name = target.to_string();
    let mut heard = Heard::new(Path::new(&name), "log");
    let opened = match Log::open(target).await {
        Ok(log) => log.view().await,
        Err(error) => Err(error),
    };
    let mut other = match opened {
        Ok(other) => other,
        Err(error) => {
            collected.unreadable(heard, error.to_string());
            return Ok(());
        }
    };
    let holder = collected.holders.add(name.clone(), name.clone());
    for state in other.streams(filter).await?.rows {
        let (stream, Some(last)) = (state.stream, state.last) else {
            continue;
        };
        let witness = Witness {
            sequence: last.max(state.counter.unwrap_or(0)),
            grade: Grade::Claimed,
            who: name.clone(),
            identity: name.clone(),
        };
        collected.streams.entry(stream).or_default().add_witness(witness);
        let present = view.present_ranges(&stream).await?;
        for gap in gap::gaps(&present, last) {
            // In windows, so that one group is in memory at a time.
            let mut from = gap.from;
            while from <= gap.to {
                let to = gap.to.min(from.saturating_add(GROUP as u64 - 1));
                let entries = other.entries(&stream, from..=to).await?;
                for error in entries.unreadable {
                    heard.rows += 1;
                    heard.refuse(None, name.clone(), error.to_string(), None);
                }
                take_entries(view, keys, inputs, entries.rows, holder, &mut heard, collected).await?;
                let Some(next) = to.checked_add(1) else { break };
                from = next;
            }
        }
    }
    let proofs = proofs::missing(view, &mut other, filter, &name).await?;
    collected.findings.extend(proofs);
    if heard.refused > 0 {
        let message = format!(
            "{name}: {} row(s) do not verify; they are not used",
            heard.refused
        );
        collected
            .findings
            .push(Finding::new(Code::WitnessRefused, message).count(heard.refused));
    }
    collected.heard.push(heard);
    Ok(())
}

/// Files entries of another copy of the log: each is a candidate, and a claim of its position.
async fn take_entries(
    view: &mut View,
    keys: &KeyRegistry,
    inputs: &Inputs,
    entries: Vec<LogEntry>,
    holder: HolderId,
    heard: &mut Heard,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let ids: Vec<EventId> = entries.iter().map(|e| e.event.event_id).collect();
    let in_log: BTreeSet<EventId> = view
        .find_events(&ids)
        .await?
        .all()?
        .into_iter()
        .map(|f| f.event_id)
        .collect();
    for entry in entries {
        heard.rows += 1;
        let stream = entry.event.stream;
        let evidence = collected.streams.entry(stream).or_default();
        let (event_id, position) = (entry.event.event_id, entry.sequence_number);
        if in_log.contains(&event_id) {
            *evidence
                .contradicted_claims
                .entry((holder, Saying::Log))
                .or_default() += 1;
            continue;
        }
        let check = outbox_sync::check(&entry.event, keys, entry.sequenced_at);
        let wrong = match (&check.payload, &check.signature) {
            (EventCheck::Mismatch(why), _) => Some(why.clone()),
            (_, SignatureCheck::Invalid) => Some("its signature does not hold".to_owned()),
            _ => None,
        };
        let place = format!("{} {stream} {position}", heard.path);
        if let Some(why) = wrong {
            heard.refuse(Some(event_id), place, why, Some(evidence));
            continue;
        }
        heard.missing_held += 1;
        if let Some(receipt) = entry.receipt
            && receipt.sequence_number == position
            && receipt.hash_matches(&stream, &check.signing_hash)
            && receipt.check_signature(inputs.sequencer_key.as_ref()).is_valid()
        {
            evidence.add_witness(Witness {
                sequence: position,
                grade: Grade::Receipted,
                who: format!("a signed receipt in {}", heard.path),
                identity: String::new(),
            });
            evidence
                .receipts
                .entry(position)
                .or_default()
                .push(HeldReceipt { receipt, place });
        }
        let claim = Claim {
            event_id,
            holder,
            saying: Saying::Log,
            sequenced_at: Some(entry.sequenced_at),
        };
        evidence.add_candidate(Candidate {
            event: entry.event,
            signing_hash: check.signing_hash,
            signature: check.signature,
            holders: vec![holder],
            status: None,
            local_seq: None,
        });
        evidence.add_claim(position, claim);
    }
    Ok(())
}

/// Checks an event that the log lacks. Its key is judged at the time when the sequencer numbered it, where
/// the row says so, else at the event's own time.
fn check_held(event: &Event, row: &HeldRow, keys: &KeyRegistry) -> RowCheck {
    let at = row.sequenced_at.or_else(|| event.created_at.parse().ok());
    match at {
        Some(_) if has_escaped_nul(event.payload.json()) => RowCheck {
            payload: EventCheck::Mismatch("its payload holds \\u0000, which no log can hold".into()),
            signing_hash: event.signing_hash(),
            signature: SignatureCheck::NotChecked("its payload holds \\u0000".into()),
        },
        Some(at) => outbox_sync::check(event, keys, at),
        None => RowCheck {
            payload: EventCheck::Mismatch(format!("created_at is not a time: {:?}", event.created_at)),
            signing_hash: event.signing_hash(),
            signature: SignatureCheck::NotChecked("created_at is not a time".into()),
        },
    }
}

/// Whether a JSON text holds the escape `\u0000`. PostgreSQL's jsonb refuses it, so the sequencer never took
/// such an event (interop §3), and planning it would sink the rest of its stream.
fn has_escaped_nul(json: &str) -> bool {
    let mut rest = json;
    while let Some(at) = rest.find('\\') {
        rest = &rest[at + 1..];
        if rest.starts_with("u0000") {
            return true;
        }
        // The escaped character may itself be a backslash.
        let mut chars = rest.chars();
        chars.next();
        rest = chars.as_str();
    }
    false
}

fn read_receipts(path: &Path, filter: &StreamFilter, inputs: &Inputs, collected: &mut Collected) {
    let mut heard = Heard::new(path, "receipts");
    let saved = match outbox_sync::receipts::read_receipts(path) {
        Ok(saved) => saved,
        Err(error) => {
            let message = format!("{}: {error}", path.display());
            collected.unreadable(heard, message);
            return;
        }
    };
    heard.rows = (saved.receipts.len() + saved.errors.len()) as u64;
    for error in saved.errors {
        heard.refuse(
            None,
            format!("{}, line {}", path.display(), error.line),
            error.what,
            None,
        );
    }
    let mut unchecked = 0;
    // A receipt does not name its stream: it belongs to whoever holds its event, if the hash agrees.
    let mut streams: HashMap<EventId, Vec<StreamKey>> = HashMap::new();
    for (stream, evidence) in &collected.streams {
        for candidate in &evidence.candidates {
            streams.entry(candidate.event.event_id).or_default().push(*stream);
        }
    }
    let file = path
        .file_name()
        .map_or_else(|| heard.path.clone(), |n| n.to_string_lossy().into_owned());
    for (index, receipt) in saved.receipts.into_iter().enumerate() {
        let place = format!("{file}, receipt {}", index + 1);
        match receipt.check_signature(inputs.sequencer_key.as_ref()) {
            SignatureCheck::Valid => {}
            SignatureCheck::Invalid => {
                let why = "its signature does not hold".to_owned();
                heard.refuse(Some(receipt.event_id), place, why, None);
                continue;
            }
            _ => {
                unchecked += 1;
                continue;
            }
        }
        for stream in streams
            .get(&receipt.event_id)
            .into_iter()
            .flatten()
            .filter(|s| admits(filter, s))
        {
            let evidence = collected.streams.entry(*stream).or_default();
            let matches = evidence
                .candidates_of(receipt.event_id)
                .iter()
                .any(|&c| receipt.hash_matches(stream, &evidence.candidates[c].signing_hash));
            if matches {
                heard.missing_held += 1;
                evidence.add_witness(Witness {
                    sequence: receipt.sequence_number,
                    grade: Grade::Receipted,
                    who: format!("a signed receipt in {file}"),
                    identity: String::new(),
                });
                let held = HeldReceipt {
                    receipt: receipt.clone(),
                    place: place.clone(),
                };
                evidence
                    .receipts
                    .entry(receipt.sequence_number)
                    .or_default()
                    .push(held);
            }
        }
    }
    if unchecked > 0 {
        let why = if inputs.sequencer_key.is_none() {
            "give the sequencer's public key with --sequencer-public-key"
        } else {
            "they are unsigned, or of a post-quantum scheme"
        };
        collected.not_checked.push(format!(
            "{}: signatures of {unchecked} receipt(s): {why}",
            path.display()
        ));
    }
    if heard.refused > 0 {
        let message = format!("{}: {} receipt(s) are not used", path.display(), heard.refused);
        collected
            .findings
            .push(Finding::new(Code::WitnessRefused, message).count(heard.refused));
    }
    collected.heard.push(heard);
}

impl Heard {
    fn new(path: &Path, kind: &'static str) -> Self {
        Self {
            path: path.display().to_string(),
            kind,
            agent_id: None,
            shape: None,
            rows: 0,
            missing_held: 0,
            unsigned: 0,
            renderings_found: 0,
            refused: 0,
            refusals: Vec::new(),
            error: None,
        }
    }

    fn refuse(
        &mut self,
        event_id: Option<EventId>,
        place: String,
        reason: String,
        evidence: Option<&mut StreamEvidence>,
    ) {
        self.refused += 1;
        let refused = Refused {
            event_id,
            place,
            reason,
        };
        if let Some(evidence) = evidence {
            evidence.refused += 1;
        }
        if self.refusals.len() < LISTED_REFUSALS {
            self.refusals.push(refused);
        }
    }
}

impl Collected {
    fn unreadable(&mut self, mut heard: Heard, message: String) {
        self.not_checked
            .push(format!("{}: could not be read", heard.path));
        self.findings
            .push(Finding::new(Code::WitnessUnreadable, message.clone()));
        heard.error = Some(message);
        self.heard.push(heard);
    }
}

#[cfg(test)]
mod tests {
    use super::has_escaped_nul;

    #[test]
    fn an_escaped_nul_is_told_from_an_escaped_backslash() {
        assert!(has_escaped_nul(r#"{"a":"x\u0000y"}"#));
        assert!(has_escaped_nul(r#""\\\u0000""#));
        assert!(!has_escaped_nul(r#""\\u0000""#));
        assert!(!has_escaped_nul(r#""\u0001 \n u0000""#));
        assert!(!has_escaped_nul("\"\\"));
    }
}
