//! What agents' outboxes hold and say.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use cli_common::{Cancel, Progress};
use event_log::{FoundEvent, StreamFilter, UnreadableEvent, View};
use outbox_sync::ahead::Ahead;
use outbox_sync::check::check_evidence;
use outbox_sync::{
    Content, HeldRow, Origin, Outbox, OutboxError, OutboxMeta, OutboxStatus, RenderingSearch, RowCheck,
    RowError,
};
use rayon::prelude::*;
use ves::{EventId, KeyRegistry, SignatureCheck, StreamKey, Timestamp};

use crate::error::RecoveryError;
use crate::finding::{Code, Finding};
use crate::floor::Witness;
use crate::grade::Grade;
use crate::witness::evidence::{
    Candidate, Claim, HolderId, PushedRow, Pushes, Saying, StreamEvidence, WaitingRow,
};
use crate::witness::flaw::flaw_of_checked;
use crate::witness::rejection::Rejection;

use super::names::holder_names;
use super::{Asked, Collected, GROUP, Heard, HeardKind, InLog, Inputs};

/// A group of rows has no more payload than about this.
const GROUP_BYTES: usize = 8 << 20;

/// Reads all outboxes, in their order. They are opened ahead, on all threads.
pub(super) async fn read_outboxes(
    view: &mut View,
    asked: Asked<'_>,
    progress: &dyn Progress,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let Inputs { outboxes, names, .. } = asked.inputs;
    progress.start("reading outboxes", Some(outboxes.len() as u64));
    let called = holder_names(outboxes, names);
    for ((path, opened), name) in Ahead::new(outboxes, open).zip(called) {
        asked.cancel.check()?;
        let opened = Opened { path, name, opened };
        read_outbox(view, asked, opened, collected).await?;
        progress.advance(1);
    }
    progress.finish();
    Ok(())
}

/// What is damaged is read as far as it can be; the first error says best what is wrong with a file that cannot.
fn open(path: &Path) -> Result<Outbox, OutboxError> {
    Outbox::open(path).or_else(|error| Outbox::salvage(path).map_err(|_| error))
}

/// An outbox before it is read.
struct Opened {
    path: PathBuf,
    /// What reports call it.
    name: String,
    opened: Result<Outbox, OutboxError>,
}

async fn read_outbox(
    view: &mut View,
    asked: Asked<'_>,
    Opened { path, name, opened }: Opened,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let path = &path;
    let mut heard = Heard::new(path, HeardKind::Outbox);
    heard.name = asked.inputs.names.get(path).cloned();
    let outbox = match opened {
        Ok(outbox) => outbox,
        Err(error) => {
            collected.unreadable(heard, error.to_string());
            return Ok(());
        }
    };
    let meta = outbox.meta().clone();
    heard.agent_id = meta.speaks_for().map(|id| id.to_string());
    heard.shape = Some(meta.shape.as_str().to_owned());
    for what in &meta.not_checked {
        collected.not_checked.push(format!("{}: {what}", path.display()));
    }
    note_damage(path, meta.damage.as_deref(), &mut heard, collected);
    let identity = meta.voice();
    let holder = collected.holders.add(name.clone(), Some(identity.clone()));
    heard.holder = Some(holder);
    let mut source = OutboxReading {
        holder,
        file: name,
        identity,
        keys: asked.keys,
        filter: asked.filter,
        highest: BTreeMap::new(),
        push: BTreeMap::new(),
        counts_on: meta.shape != outbox_sync::Shape::V3,
        search: RenderingSearch::new(asked.keys),
    };
    source.note_cursors(&meta, collected);
    if asked.inputs.peer_keys {
        source.note_peer_keys(&outbox, collected);
    }
    let read = source
        .take_rows(view, outbox, &mut heard, collected, asked.cancel)
        .await?;
    if let Err(error) = read {
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
        heard.error = Some(error);
    }
    source.note_highest(collected);
    for (stream, push) in std::mem::take(&mut source.push) {
        let evidence = collected.streams.entry(stream).or_default();
        push.close(evidence.pushes.entry(source.holder).or_default());
    }
    heard.renderings_found = source.search.found();
    collected.take(heard, "row(s) do not verify or cannot be read; they are not used");
    Ok(())
}

fn note_damage(path: &Path, damage: Option<&str>, heard: &mut Heard, collected: &mut Collected) {
    if let Some(damage) = damage {
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
        heard.error = Some(damage.to_owned());
    }
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
struct OutboxReading<'a> {
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

impl OutboxReading<'_> {
    /// Takes all rows. An error is what ended the reading early; what was read before is taken.
    async fn take_rows(
        &mut self,
        view: &mut View,
        outbox: Outbox,
        heard: &mut Heard,
        collected: &mut Collected,
        cancel: &Cancel,
    ) -> Result<Result<(), String>, RecoveryError> {
        // SQLite is read on a thread of its own, so that groups can be looked up in the log meanwhile.
        let (send, mut receive) = tokio::sync::mpsc::channel(2);
        let reader = tokio::task::spawn_blocking(move || {
            let (mut group, mut bytes) = (Vec::new(), 0);
            let result = outbox.for_each_row(&mut |row| {
                let event = row.as_ref().ok().and_then(|row| row.content.event());
                bytes += event.map_or(0, |event| event.payload.json().len());
                group.push(row);
                let full = group.len() == GROUP || bytes >= GROUP_BYTES;
                if full && send.blocking_send(std::mem::take(&mut group)).is_err() {
                    return ControlFlow::Break(());
                }
                bytes = if full { 0 } else { bytes };
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
            self.take_group(view, group, heard, collected).await?;
        }
        match reader.await {
            Ok(read) => Ok(read.map_err(|error| error.to_string())),
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
    }

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
                Ok(row) if self.filter.admits(&row.stream) => rows.push(row),
                Ok(_) => {}
                Err(error) => heard.refuse(None, error.place.to_string(), error.what, None),
            }
        }
        let ids: Vec<EventId> = rows.iter().map(|row| row.event_id).collect();
        let in_log: InLog = view.find_events(&ids).await?.by_event();
        // What the log says where it has it, needs no looking into.
        let is_placed = |row: &HeldRow| matches!(in_log.get(&row.event_id), Some(Ok(_)));
        for row in rows.iter_mut().filter(|row| !is_placed(row)) {
            self.search.resolve(row);
        }
        let keys = self.keys;
        let checked: Vec<(HeldRow, Option<RowCheck>)> = rows
            .into_par_iter()
            .map(|row| {
                let check = row
                    .content
                    .event()
                    .filter(|_| !is_placed(&row))
                    .map(|event| check_evidence(event, row.sequenced_at, keys));
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
        in_log: &InLog,
        heard: &mut Heard,
        collected: &mut Collected,
    ) {
        let saying = Saying::of(&row);
        let evidence = collected.streams.entry(row.stream).or_default();
        if let Some(position) = row.claimed_sequence {
            let top = self.highest.entry((row.stream, saying)).or_default();
            *top = position.max(*top);
        }
        if let Content::Unsigned { .. } = row.content {
            heard.unsigned += 1;
        }
        let found = in_log.get(&row.event_id);
        self.note_progress(&row, found, evidence);
        let claim = row.claimed_sequence.map(|position| {
            let claim = Claim {
                event_id: row.event_id,
                holder: self.holder,
                saying,
                sequenced_at: row.sequenced_at,
            };
            (position, claim)
        });
        match found {
            Some(Ok(at)) => return note_in_log(&row, (at.stream, at.sequence_number), claim, evidence),
            Some(Err(damaged)) => return collected.note_damaged(damaged, row.stream, check.as_ref()),
            None => {}
        }
        if let Origin::Outbox { local_seq, status } = row.origin {
            self.note_waiting(&row, local_seq, status, check.as_ref(), evidence);
        }
        let used = self.take_event(row, check, heard, evidence);
        if let Some((position, claim)) = claim.filter(|_| used) {
            evidence.add_claim(position, claim);
        }
    }

    /// Keeps how far the sequencer answered an outbox, and in which pushes it noted its numbers.
    fn note_progress(
        &mut self,
        row: &HeldRow,
        found: Option<&Result<FoundEvent, UnreadableEvent>>,
        evidence: &mut StreamEvidence,
    ) {
        let Origin::Outbox { local_seq, status } = row.origin else {
            return;
        };
        if matches!(status, OutboxStatus::Synced | OutboxStatus::Rejected) || row.claimed_sequence.is_some() {
            let progress = evidence.progress.entry(self.holder).or_default();
            progress.answered_to = progress.answered_to.max(Some(local_seq));
            progress.highest_noted = progress.highest_noted.max(row.claimed_sequence);
        }
        if let Some(claim) = row.claimed_sequence {
            let is_here = |at: &FoundEvent| (at.stream, at.sequence_number) == (row.stream, claim);
            // A row that does not say where it stands confirms nothing.
            let here = found.map(|found| found.as_ref().is_ok_and(is_here));
            let made = match &row.content {
                Content::Signed(event) => event.created_at.parse().ok(),
                _ => None,
            };
            let pushes = evidence.pushes.entry(self.holder).or_default();
            pushes.counts_on = self.counts_on;
            note_push(&mut self.push, pushes, row, (local_seq, claim), made, here);
        }
    }

    /// Takes the event of a row that the log lacks as a candidate. `false` if what stands there is not the event that was
    /// signed, so that its claim is not used either.
    fn take_event(
        &self,
        row: HeldRow,
        check: Option<RowCheck>,
        heard: &mut Heard,
        evidence: &mut StreamEvidence,
    ) -> bool {
        let place = row.place.to_string();
        match (row.content, check) {
            (Content::Signed(event), Some(check)) => {
                if let Some(why) = check.refusal() {
                    heard.refuse(Some(row.event_id), place, why, Some(evidence));
                    return false;
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
                let why = "no rendering of its time that was tried verifies, or its agent has no key here";
                heard.refuse(Some(row.event_id), place, why.to_owned(), Some(evidence));
            }
            // That this event was at this number is a hint still.
            (Content::Malformed { why }, _) => heard.refuse(Some(row.event_id), place, why, Some(evidence)),
            _ => {}
        }
        true
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
            (_, Some(event), Some(check)) => flaw_of_checked(event, Some(&check.payload)).or_else(|| {
                let invalid = check.signature == SignatureCheck::Invalid;
                invalid.then(|| Rejection::unsigned("its signature does not hold"))
            }),
            _ => Some(Rejection::unsigned(
                "it is unsigned, or nothing that was tried gives what was signed",
            )),
        };
        evidence
            .waiting
            .entry(row.event_id)
            .or_default()
            .push(WaitingRow {
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
        if !self.filter.admits(&stream) {
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

/// Keeps what a row says of an event that the log has at `(stream, at)`: its agent's order, and whether its claim is right.
fn note_in_log(
    row: &HeldRow,
    (stream, at): (StreamKey, u64),
    claim: Option<(u64, Claim)>,
    evidence: &mut StreamEvidence,
) {
    if let (Origin::Outbox { local_seq, .. }, Content::Signed(event)) = (&row.origin, &row.content)
        && stream == row.stream
    {
        evidence
            .known_order
            .entry(event.source_agent_id)
            .or_default()
            .insert(at, *local_seq);
    }
    match claim {
        Some((position, _)) if stream == row.stream && at == position => evidence.confirmed_claims += 1,
        Some((position, claim)) => evidence.contradict(position, claim),
        None => {}
    }
}
