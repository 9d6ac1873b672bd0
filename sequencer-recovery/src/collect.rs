//! Collecting evidence: every outbox is read once, and of its rows those are kept that the log lacks.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::BufReader;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::{Path, PathBuf};

use cli_common::{Cancel, DbTarget, Progress};
use ed25519_dalek::VerifyingKey;
use event_log::{
    ExportError, ExportReader, ExportedEntry, LeafInput, Log, LogEntry, RowError as RowFault, StreamFilter,
    View,
};
use outbox_sync::{
    Content, HeldRow, Origin, Outbox, OutboxMeta, OutboxStatus, RenderingSearch, RowCheck, RowError,
};
use rayon::prelude::*;
use serde::Serialize;
use ves::{
    CommandId, Event, EventCheck, EventId, KeyRegistry, SignatureCheck, SigningKey, StreamKey, Timestamp,
};

use crate::append::{self, Rejection, Waiting};
use crate::error::RecoveryError;
use crate::evidence::{
    Candidate, Claim, HeldReceipt, HolderId, Holders, PushedRow, Pushes, Refused, Saying, StreamEvidence,
};
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
    /// Log exports (`docs/log-export.md`).
    pub exports: Vec<PathBuf>,
    /// Receipts saved from pushes (NDJSON).
    pub receipts: Vec<PathBuf>,
    /// The sequencer's public key; without it no receipt's signature is checked.
    pub sequencer_key: Option<VerifyingKey>,
    /// Whether outboxes are asked for their peers' keys.
    pub peer_keys: bool,
}

/// What became of one input.
#[derive(Debug, Clone, Serialize)]
pub struct Heard {
    /// The file.
    pub path: String,
    /// `outbox`, `log`, `export` or `receipts`.
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
    /// Keys that outboxes fetched of their peers, if they were asked for.
    pub peer_keys: Vec<(HolderId, SigningKey)>,
}

/// Rows are looked up in the log in groups of this many.
const GROUP: usize = 1000;

/// Two copies of the log are compared in windows of this many positions.
const WINDOW: u64 = 10_000;

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
        let asks_for_keys = inputs.peer_keys;
        read_outbox(view, keys, filter, path, asks_for_keys, &mut collected, cancel).await?;
        progress.advance(1);
    }
    progress.finish();
    for target in &inputs.logs {
        cancel.check()?;
        read_log(view, keys, filter, target, inputs, &mut collected).await?;
    }
    for path in &inputs.exports {
        cancel.check()?;
        read_export(view, keys, filter, path, inputs, &mut collected, cancel).await?;
    }
    for path in &inputs.receipts {
        read_receipts(path, filter, inputs, &mut collected);
    }
    for (stream, evidence) in &mut collected.streams {
        let commands: BTreeSet<CommandId> = evidence
            .candidates
            .iter()
            .filter_map(|c| c.event.command_id)
            .collect();
        let commands: Vec<CommandId> = commands.into_iter().collect();
        for commands in commands.chunks(GROUP) {
            evidence
                .remembered
                .extend(view.remembered_commands(stream, commands).await?.all()?);
        }
    }
    Ok(collected)
}

async fn read_outbox(
    view: &mut View,
    keys: &KeyRegistry,
    filter: &StreamFilter,
    path: &Path,
    asks_for_keys: bool,
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
        push: BTreeMap::new(),
        counts_on: meta.shape != outbox_sync::Shape::V3,
        search: RenderingSearch::new(keys),
    };
    source.note_cursors(&meta, collected);
    if asks_for_keys {
        source.note_peer_keys(&outbox, collected);
    }

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
    for (stream, push) in std::mem::take(&mut source.push) {
        let evidence = collected.streams.entry(stream).or_default();
        push.close(evidence.pushes.entry(source.holder).or_default());
    }
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

/// A push, as the rows of an outbox show it while they are read.
struct Push {
    number: u32,
    noted_at: Option<String>,
    /// The number noted last.
    last: u64,
    first_made: Timestamp,
    last_made: Timestamp,
    /// Every row so far is of an event that the log has where the row says.
    confirmed: bool,
}

impl Push {
    fn close(self, pushes: &mut Pushes) {
        if self.confirmed {
            pushes.longest = pushes
                .longest
                .max(self.last_made.0.saturating_sub(self.first_made.0));
        }
    }
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
    /// The push that is being read, by stream.
    push: BTreeMap<StreamKey, Push>,
    counts_on: bool,
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
        if let Origin::Outbox { local_seq, status } = row.origin
            && (matches!(status, OutboxStatus::Synced | OutboxStatus::Rejected)
                || row.claimed_sequence.is_some())
        {
            let progress = evidence.progress.entry(self.holder).or_default();
            progress.answered_to = progress.answered_to.max(Some(local_seq));
            progress.highest_noted = progress.highest_noted.max(row.claimed_sequence);
        }
        if let (Origin::Outbox { local_seq, .. }, Some(claim)) = (&row.origin, row.claimed_sequence) {
            let here = in_log.get(&row.event_id).map(|at| *at == (row.stream, claim));
            let made = match &row.content {
                Content::Signed(event) => event.created_at.parse().ok(),
                _ => None,
            };
            let pushes = evidence.pushes.entry(self.holder).or_default();
            pushes.counts_on = self.counts_on;
            note_push(&mut self.push, pushes, &row, (*local_seq, claim), made, here);
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
                Some(position) => {
                    let claim = Claim {
                        event_id: row.event_id,
                        holder: self.holder,
                        saying,
                        sequenced_at: row.sequenced_at,
                    };
                    evidence.contradict(position, claim);
                }
                None => {}
            }
            return;
        }
        if let Origin::Outbox { local_seq, status } = row.origin {
            self.note_waiting(&row, local_seq, status, check.as_ref(), evidence);
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

    /// Keeps what `append` asks of a row: where it stands in the agent's own order, and what is wrong with it.
    fn note_waiting(
        &self,
        row: &HeldRow,
        local_seq: i64,
        status: OutboxStatus,
        check: Option<&RowCheck>,
        evidence: &mut StreamEvidence,
    ) {
        let event = row.content.event();
        let waits = matches!(status, OutboxStatus::Pending | OutboxStatus::Failed);
        let flaw = match (&row.content, event, check) {
            // What does not wait is not appended, whatever is wrong with it.
            _ if !waits => None,
            (Content::Malformed { why }, ..) => Some(Rejection::unsigned(why.clone())),
            (_, Some(event), Some(check)) => {
                append::flaw_of_checked(event, Some(&check.payload)).or_else(|| {
                    let invalid = check.signature == SignatureCheck::Invalid;
                    invalid.then(|| Rejection::unsigned("its signature does not hold"))
                })
            }
            _ => Some(Rejection::unsigned(
                "it is unsigned, or nothing that was tried gives what was signed",
            )),
        };
        evidence.waiting.entry(row.event_id).or_default().push(Waiting {
            holder: self.holder,
            local_seq,
            status,
            agent: event.map(|event| event.source_agent_id),
            flaw,
        });
    }

    /// What the agent fetched of its peers' keys: its word only, and judged as such.
    fn note_peer_keys(&self, outbox: &Outbox, collected: &mut Collected) {
        match outbox.peer_keys() {
            Ok(keys) => {
                for key in keys {
                    match key {
                        Ok(key) => collected.peer_keys.push((self.holder, key)),
                        Err(what) => collected.not_checked.push(format!("{}: {what}", self.file)),
                    }
                }
            }
            Err(error) => collected.not_checked.push(format!("its peers' keys: {error}")),
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
                if name == "last_pushed_sequence" {
                    let evidence = collected.streams.entry(stream).or_default();
                    let progress = evidence.progress.entry(self.holder).or_default();
                    (progress.last_pushed, progress.counts_on) = (value, self.counts_on);
                }
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

/// Notes a row of an outbox with the push that it was in. `here` says whether the log has its event, and where the row
/// says.
fn note_push(
    open: &mut BTreeMap<StreamKey, Push>,
    pushes: &mut Pushes,
    row: &HeldRow,
    (local_seq, claim): (i64, u64),
    made: Option<Timestamp>,
    here: Option<bool>,
) {
    let before = open.get(&row.stream);
    let goes_on = before.is_some_and(|push| {
        push.noted_at.is_some() && push.noted_at == row.noted_at && push.last.checked_add(1) == Some(claim)
    });
    let made = made.unwrap_or(Timestamp(i64::MAX));
    if !goes_on {
        let number = before.map_or(0, |push| push.number + 1);
        pushes.overlaps += u64::from(before.is_some_and(|push| claim <= push.last));
        let push = Push {
            number,
            noted_at: row.noted_at.clone(),
            last: claim,
            first_made: made,
            last_made: made,
            confirmed: true,
        };
        if let Some(before) = open.insert(row.stream, push) {
            before.close(pushes);
        }
    }
    let Some(push) = open.get_mut(&row.stream) else {
        return;
    };
    push.last = claim;
    push.first_made = push.first_made.min(made);
    push.last_made = push.last_made.max(made);
    push.confirmed &= here == Some(true);
    match here {
        Some(true) => {
            pushes.confirmed += 1;
            pushes.confirmed_to.insert(push.number, local_seq);
        }
        Some(false) => {}
        None => pushes.rows.push(PushedRow {
            local_seq,
            event_id: row.event_id,
            claim,
            push: push.number,
            since_first: push.last_made.0.saturating_sub(push.first_made.0),
        }),
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
        for theirs in other.ranges_of(&state).await? {
            // In windows, so that one group is in memory at a time.
            let mut from = *theirs.start();
            while from <= (*theirs.end()).min(last) {
                let to = (*theirs.end()).min(from.saturating_add(WINDOW - 1));
                for range in differing(view, &mut other, &stream, from..=to).await? {
                    let entries = other.entries(&stream, range).await?;
                    for error in entries.unreadable {
                        heard.rows += 1;
                        heard.refuse(None, name.clone(), error.to_string(), None);
                    }
                    take_entries(view, keys, inputs, entries.rows, holder, &mut heard, collected).await?;
                }
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

/// What a reader of an export gives: events and bad rows, or why it stopped.
type Exported = Result<Vec<Result<ExportedEntry, RowFault>>, ExportError>;

/// Reads a log export: what it has where this log has nothing, or something else.
async fn read_export(
    view: &mut View,
    keys: &KeyRegistry,
    filter: &StreamFilter,
    path: &Path,
    inputs: &Inputs,
    collected: &mut Collected,
    cancel: &Cancel,
) -> Result<(), RecoveryError> {
    let mut heard = Heard::new(path, "export");
    let opened = File::open(path).map_err(ExportError::from);
    let mut reader = match opened.and_then(|file| ExportReader::new(BufReader::new(file))) {
        Ok(reader) => reader,
        Err(error) => {
            collected.unreadable(heard, format!("{} {error}", path.display()));
            return Ok(());
        }
    };
    let name = path.display().to_string();
    let holder = collected.holders.add(name.clone(), name.clone());
    for stream in &reader.outline().streams {
        let sequence = stream.last.max(stream.counter).unwrap_or(0);
        if admits(filter, &stream.stream) && sequence > 0 {
            let evidence = collected.streams.entry(stream.stream).or_default();
            evidence.add_witness(Witness {
                sequence,
                grade: Grade::Claimed,
                who: name.clone(),
                identity: name.clone(),
            });
        }
    }
    // Parsing is for a thread of its own, so that chunks can be compared with the log meanwhile.
    let (send, mut receive) = tokio::sync::mpsc::channel::<Exported>(2);
    let parser = tokio::task::spawn_blocking(move || {
        let read = reader.for_each_entry(&mut |chunk| match send.blocking_send(Ok(chunk)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
        if let Err(error) = read {
            // Nobody listens any more only if the work was given up.
            let _ = send.blocking_send(Err(error));
        }
    });
    while let Some(chunk) = receive.recv().await {
        cancel.check()?;
        match chunk {
            Ok(chunk) => {
                take_exported(view, keys, filter, inputs, chunk, holder, &mut heard, collected).await?;
            }
            Err(error) => {
                let message = format!(
                    "{} {error}; {} event(s) before that were read and are used",
                    path.display(),
                    heard.rows
                );
                collected
                    .findings
                    .push(Finding::new(Code::WitnessUnreadable, message));
                heard.error = Some(error.to_string());
            }
        }
    }
    if let Err(panic) = parser.await {
        std::panic::resume_unwind(panic.into_panic());
    }
    if heard.refused > 0 {
        let message = format!(
            "{name}: {} row(s) do not verify; they are not used",
            heard.refused
        );
        let finding = Finding::new(Code::WitnessRefused, message);
        collected.findings.push(finding.count(heard.refused));
    }
    collected.heard.push(heard);
    Ok(())
}

/// Takes those events of an export that the log lacks, or has something else for.
#[expect(
    clippy::too_many_arguments,
    reason = "what every witness needs, and where it is noted"
)]
async fn take_exported(
    view: &mut View,
    keys: &KeyRegistry,
    filter: &StreamFilter,
    inputs: &Inputs,
    chunk: Vec<Result<ExportedEntry, RowFault>>,
    holder: HolderId,
    heard: &mut Heard,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let mut by_stream: BTreeMap<StreamKey, Vec<ExportedEntry>> = BTreeMap::new();
    for row in chunk {
        match row {
            Ok(row) if admits(filter, &row.entry.event.stream) => {
                by_stream.entry(row.entry.event.stream).or_default().push(row);
            }
            Ok(_) => {}
            Err(fault) => {
                heard.rows += 1;
                heard.refuse(None, heard.path.clone(), fault.to_string(), None);
            }
        }
    }
    for (stream, rows) in by_stream {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            continue;
        };
        let window = first.entry.sequence_number..=last.entry.sequence_number;
        let ours = leaves(view, &stream, window).await?;
        let mut entries = Vec::new();
        for ExportedEntry { entry, redacted } in rows {
            let same = ours.get(&entry.sequence_number).is_some_and(|leaf| {
                leaf.event_id == entry.event.event_id
                    && leaf.event_signing_hash == entry.event_signing_hash
                    && leaf.agent_signature == entry.event.agent_signature
            });
            if same {
                heard.rows += 1;
            } else if redacted {
                // Nothing to put back, but it names event and number.
                heard.rows += 1;
                heard.unsigned += 1;
                let claim = Claim {
                    event_id: entry.event.event_id,
                    holder,
                    saying: Saying::Log,
                    sequenced_at: Some(entry.sequenced_at),
                };
                if view.find_events(&[claim.event_id]).await?.all()?.is_empty() {
                    let evidence = collected.streams.entry(stream).or_default();
                    evidence.add_claim(entry.sequence_number, claim);
                }
            } else {
                entries.push(entry);
            }
        }
        take_entries(view, keys, inputs, entries, holder, heard, collected).await?;
    }
    Ok(())
}

/// The positions of a window at which another copy of the log has what this one lacks, or something else.
async fn differing(
    view: &mut View,
    other: &mut View,
    stream: &StreamKey,
    window: RangeInclusive<u64>,
) -> Result<Vec<RangeInclusive<u64>>, RecoveryError> {
    let ours = leaves(view, stream, window.clone()).await?;
    let theirs = leaves(other, stream, window).await?;
    let differing = theirs
        .into_iter()
        .filter(|(position, leaf)| ours.get(position) != Some(leaf));
    Ok(gap::ranges(differing.map(|(position, _)| position)))
}

async fn leaves(
    view: &mut View,
    stream: &StreamKey,
    window: RangeInclusive<u64>,
) -> Result<BTreeMap<u64, LeafInput>, RecoveryError> {
    let mut leaves = BTreeMap::new();
    view.for_each_leaf_input(stream, window, &mut |chunk| {
        let inputs = chunk.into_iter().flatten();
        leaves.extend(inputs.map(|input| (input.sequence_number, input)));
        ControlFlow::Continue(())
    })
    .await?;
    Ok(leaves)
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
    let in_log: HashMap<EventId, (StreamKey, u64)> = view
        .find_events(&ids)
        .await?
        .all()?
        .into_iter()
        .map(|f| (f.event_id, (f.stream, f.sequence_number)))
        .collect();
    for entry in entries {
        heard.rows += 1;
        let stream = entry.event.stream;
        let evidence = collected.streams.entry(stream).or_default();
        let (event_id, position) = (entry.event.event_id, entry.sequence_number);
        if let Some(here) = in_log.get(&event_id) {
            if *here == (stream, position) {
                // The same event with other bytes: the audit of this log says which of the two verifies.
                continue;
            }
            let claim = Claim {
                event_id,
                holder,
                saying: Saying::Log,
                sequenced_at: Some(entry.sequenced_at),
            };
            evidence.contradict(position, claim);
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
pub(crate) fn has_escaped_nul(json: &str) -> bool {
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
