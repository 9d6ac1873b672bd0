//! Setting an outbox right after a recovery.
//!
//! What counts is what the log has, whatever the outbox believes: really at number N → synced with N; called synced
//! but not there → pending again; claims to other numbers → corrected; cursors beyond the head → clipped; pulled rows
//! that the log does not have → set aside (kept in `_ves_set_aside_events`). First a plan, from a private copy; then a
//! backup; then all changes in one transaction, each only if its row is still as it was planned on.

mod apply;

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use event_log::UnreadableEvent;
use serde::Serialize;
use ves::{EventId, Hash32, Receipt, StreamKey};

use crate::epoch::RecoveryEpoch;
use crate::error::{FileError, OutboxError};
use crate::keys::KeyBook;
use crate::known::{Found, KnownLog, KnownLogError};
use crate::outbox::{Outbox, OutboxMeta, Shape};
use crate::rendering::RenderingSearch;
use crate::row::{Content, HeldRow, Origin, OutboxStatus, RowPlace, Table};
use crate::verify::state_name;

pub use apply::apply;

/// Rows are looked up in the log in groups of this many.
const GROUP: usize = 1024;

/// What is known of the log: at least one of these.
pub struct LogKnowledge<'a> {
    /// The log itself. What it says counts before all else.
    pub log: Option<&'a mut KnownLog>,
    /// The recovery epoch: for agents without access to the log.
    pub epoch: Option<&'a RecoveryEpoch>,
    /// Receipts that a push saved, by event.
    pub receipts: HashMap<EventId, Receipt>,
}

/// What is to be done to a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// It is in the log: synced, with its number.
    MarkSynced,
    /// It is synced, but with another number.
    CorrectNumber,
    /// It is called synced, or its agent waits for an acknowledgement, but the log does not have it.
    MarkPending,
    /// A pulled row that the log does not have at that number.
    SetAside,
}

/// The state and number of a row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RowState {
    /// Its state.
    pub status: String,
    /// Its number.
    pub sequence: Option<u64>,
}

/// A change of a row.
#[derive(Debug, Clone, Serialize)]
pub struct Change {
    /// What is done.
    pub action: Action,
    /// Where.
    pub place: RowPlace,
    /// The event.
    pub event_id: EventId,
    /// Before.
    pub from: RowState,
    /// After; of a row that is set aside, nothing.
    pub to: Option<RowState>,
    /// Why.
    pub why: String,
}

/// A change of the sync state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CursorChange {
    /// Which value.
    pub key: String,
    /// Before.
    pub from: Option<String>,
    /// After.
    pub to: String,
    /// Why.
    pub why: String,
}

/// A stream whose log has open positions: the repair may not be over. An event that is sent again now gets a new number,
/// and can no longer be brought back at its old one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StillOpen {
    /// The stream.
    pub stream: StreamKey,
    /// How many numbers it gave out that have no event.
    pub positions: u64,
    /// How many events of the outbox would be sent again.
    pub events: u64,
}

/// What is to be changed in an outbox.
#[derive(Debug, Clone, Serialize)]
pub struct Reconciliation {
    /// The outbox.
    #[serde(serialize_with = "crate::row::path_as_text")]
    pub path: PathBuf,
    /// Its shape.
    pub shape: Shape,
    /// Changes of rows.
    pub changes: Vec<Change>,
    /// Changes of the sync state.
    pub cursors: Vec<CursorChange>,
    /// How many rows are right as they are.
    pub right: u64,
    /// What contradicts itself and is left as it is.
    pub conflicts: Vec<String>,
    /// Streams in which events would be sent again while the log has open positions.
    pub still_open: Vec<StillOpen>,
    /// What was not judged.
    pub not_checked: Vec<String>,
}

impl Reconciliation {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.cursors.is_empty()
    }

    /// How many changes of each kind.
    pub fn counts(&self) -> BTreeMap<Action, u64> {
        let mut counts = BTreeMap::new();
        for change in &self.changes {
            *counts.entry(change.action).or_default() += 1;
        }
        counts
    }
}

/// Why an outbox could not be set right. It is as it was.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The outbox cannot be read.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// The log.
    #[error(transparent)]
    Log(#[from] KnownLogError),
    /// No backup could be made.
    #[error("no backup could be made, so nothing was changed: {0}")]
    Backup(#[from] FileError),
    /// A row is no longer as it was planned on.
    #[error("{path}: {what}: it was changed since the plan was made; nothing was changed", path = path.display())]
    Drift {
        /// The outbox.
        path: PathBuf,
        /// Which row.
        what: String,
    },
    /// It would set right what it knows nothing of.
    #[error("{path}: {what}", path = path.display())]
    Refused {
        /// The outbox.
        path: PathBuf,
        /// Why.
        what: String,
    },
}

/// The event that a log stores at a position, and its signing hash; `None` if the row cannot be read.
type Stored = Option<(EventId, Hash32)>;

/// What is known of one event.
enum Fact {
    At(u64, String),
    Absent(String),
    OtherContent(StreamKey, u64),
    Unknown(&'static str),
}

/// Plans what is to be changed. Nothing is written. Keys are for what was signed in older outboxes; those that this
/// outbox knows of its peers are added.
///
/// # Errors
/// The outbox cannot be read or is damaged, the log fails, or nothing is known of the outbox's stream.
pub fn plan(
    path: &Path,
    facts: &mut LogKnowledge<'_>,
    keys: &mut KeyBook,
) -> Result<Reconciliation, ReconcileError> {
    let outbox = Outbox::open(path)?;
    keys.add_peers(&outbox)?;
    let mut work = Planning::new(outbox.meta(), facts.epoch);
    work.read_heads(facts)?;
    let own = stream_of(outbox.meta());
    if let Some(stream) = own.filter(|stream| facts.receipts.is_empty() && !work.heads.contains_key(stream)) {
        return Err(ReconcileError::Refused {
            path: path.to_owned(),
            what: format!("nothing is known of its stream {stream}: is it the right log?"),
        });
    }
    work.read_rows(&outbox, facts, keys)?;
    work.cursors(outbox.meta(), facts.epoch);
    Ok(work.conclude())
}

fn stream_of(meta: &OutboxMeta) -> Option<StreamKey> {
    Some(StreamKey::new(meta.tenant_id?, meta.store_id?))
}

struct Planning {
    reconciliation: Reconciliation,
    heads: BTreeMap<StreamKey, u64>,
    /// Numbers that the log gave out and has no event at.
    open: BTreeMap<StreamKey, u64>,
    /// Events that are to be sent again.
    pending: BTreeMap<StreamKey, u64>,
    restored: BTreeMap<EventId, (StreamKey, u64)>,
    unknown: BTreeMap<&'static str, u64>,
    /// Rows that cannot be read.
    unreadable: u64,
    /// The lowest number of the log that the agent must pull again.
    lower_to: Option<u64>,
    highest_pulled: u64,
}

impl Planning {
    fn new(meta: &OutboxMeta, epoch: Option<&RecoveryEpoch>) -> Self {
        Self {
            reconciliation: Reconciliation {
                path: meta.path.to_path_buf(),
                shape: meta.shape,
                changes: Vec::new(),
                cursors: Vec::new(),
                right: 0,
                conflicts: Vec::new(),
                still_open: Vec::new(),
                not_checked: meta.not_checked.clone(),
            },
            heads: BTreeMap::new(),
            open: BTreeMap::new(),
            pending: BTreeMap::new(),
            restored: epoch.map(RecoveryEpoch::restored).unwrap_or_default(),
            unknown: BTreeMap::new(),
            unreadable: 0,
            lower_to: None,
            highest_pulled: 0,
        }
    }

    /// How far the streams go: by the log, or else by the epoch.
    fn read_heads(&mut self, facts: &mut LogKnowledge<'_>) -> Result<(), KnownLogError> {
        let epoch = facts.epoch.map_or(&[][..], |epoch| &epoch.streams);
        let Some(log) = facts.log.as_deref_mut() else {
            self.heads.extend(epoch.iter().map(|s| (s.stream, s.head)));
            return Ok(());
        };
        for state in log.streams()? {
            let last = state.last.unwrap_or(0);
            self.heads.insert(state.stream, last);
            let promised = last
                .max(state.counter.unwrap_or(0))
                .max(state.last_committed.unwrap_or(0));
            self.open
                .insert(state.stream, promised.saturating_sub(state.event_count));
        }
        // The log counts, but an epoch that says otherwise is of another log, or this log was rewound again.
        for s in epoch {
            let head = self.heads.get(&s.stream).copied().unwrap_or(0);
            if head < s.head {
                self.reconciliation.conflicts.push(format!(
                    "the epoch says that stream {} goes to {}, the log ends at {head}; the log counts",
                    s.stream, s.head
                ));
            }
        }
        Ok(())
    }

    /// Judges every row, in groups.
    fn read_rows(
        &mut self,
        outbox: &Outbox,
        facts: &mut LogKnowledge<'_>,
        keys: &KeyBook,
    ) -> Result<(), ReconcileError> {
        let mut search = RenderingSearch::new(keys.registry());
        let mut group = Vec::with_capacity(GROUP);
        let mut failed = None;
        let mut unreadable = 0_u64;
        outbox.for_each_row(&mut |row| {
            match row {
                Ok(mut row) => {
                    search.resolve(&mut row);
                    group.push(row);
                }
                Err(_) => unreadable += 1,
            }
            if group.len() < GROUP {
                return ControlFlow::Continue(());
            }
            match self.take_group(std::mem::take(&mut group), facts) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        if let Some(error) = failed {
            return Err(error.into());
        }
        self.take_group(group, facts)?;
        self.unreadable = unreadable;
        Ok(())
    }

    /// The plan, with what was not judged.
    fn conclude(self) -> Reconciliation {
        let mut reconciliation = self.reconciliation;
        for (stream, events) in self.pending {
            let positions = self.open.get(&stream).copied().unwrap_or(0);
            if positions > 0 {
                reconciliation.still_open.push(StillOpen {
                    stream,
                    positions,
                    events,
                });
            }
        }
        for (why, rows) in self.unknown {
            reconciliation.not_checked.push(format!("{rows} rows: {why}"));
        }
        if self.unreadable > 0 {
            reconciliation
                .not_checked
                .push(format!("{} rows that cannot be read", self.unreadable));
        }
        reconciliation
    }

    fn take_group(&mut self, rows: Vec<HeldRow>, facts: &mut LogKnowledge<'_>) -> Result<(), KnownLogError> {
        let mut found = HashMap::new();
        let mut hashes: HashMap<(StreamKey, u64), Stored> = HashMap::new();
        let mut asks_log = false;
        if let Some(log) = facts.log.as_deref_mut() {
            asks_log = true;
            let ids: Vec<EventId> = rows.iter().map(|row| row.event_id).collect();
            found = log.find(&ids)?;
            let mut by_stream: BTreeMap<StreamKey, Vec<u64>> = BTreeMap::new();
            for f in found.values().flatten() {
                if let Some(number) = f.sequence {
                    by_stream.entry(f.stream).or_default().push(number);
                }
            }
            // Where an event that was not found is said to be, there may be a row that does not say which event it has.
            for row in rows.iter().filter(|row| !found.contains_key(&row.event_id)) {
                if let Some(number) = row.claimed_sequence {
                    by_stream.entry(row.stream).or_default().push(number);
                }
            }
            for (stream, numbers) in by_stream {
                let of_stream = log.signing_hashes(&stream, &numbers)?;
                hashes.extend(
                    of_stream
                        .into_iter()
                        .map(|(number, leaf)| ((stream, number), leaf)),
                );
            }
        }
        for row in rows {
            let fact = if asks_log {
                let leaves_out = (facts.log.as_deref()).is_some_and(|log| log.leaves_out(&row.stream));
                self.log_fact(&row, found.get(&row.event_id), &hashes, leaves_out)
            } else {
                self.told_fact(&row, facts)
            };
            self.judge(&row, fact);
        }
        Ok(())
    }

    fn log_fact(
        &self,
        row: &HeldRow,
        found: Option<&Result<Found, UnreadableEvent>>,
        hashes: &HashMap<(StreamKey, u64), Stored>,
        leaves_out: bool,
    ) -> Fact {
        const UNREADABLE: &str = "the log has a row of them that cannot be read";
        let Some(found) = found else {
            let claimed = row.claimed_sequence;
            if claimed.is_some_and(|number| matches!(hashes.get(&(row.stream, number)), Some(None))) {
                return Fact::Unknown("the log has a row at their number that cannot be read");
            }
            if leaves_out {
                return Fact::Unknown("the snapshot of the log had to leave events of their stream out");
            }
            if !self.heads.contains_key(&row.stream) {
                return Fact::Unknown("the log knows nothing of their stream");
            }
            return Fact::Absent("the log does not have it".into());
        };
        let Ok(found) = found else {
            return Fact::Unknown(UNREADABLE);
        };
        let Some(number) = found.sequence else {
            return Fact::Unknown("the log does not say their numbers");
        };
        let stored = hashes.get(&(found.stream, number));
        let differs = match (row.content.event(), stored) {
            (_, Some(None)) => return Fact::Unknown(UNREADABLE),
            (Some(event), Some(Some((_, hash)))) => event.signing_hash() != *hash,
            _ => false,
        };
        if differs || found.stream != row.stream {
            return Fact::OtherContent(found.stream, number);
        }
        Fact::At(number, format!("the log has it at {number}"))
    }

    /// Without the log: what receipts and the epoch tell.
    fn told_fact(&self, row: &HeldRow, facts: &LogKnowledge<'_>) -> Fact {
        if let (Some(receipt), Some(event)) = (facts.receipts.get(&row.event_id), row.content.event()) {
            if receipt.hash_matches(&row.stream, &event.signing_hash()) {
                let number = receipt.sequence_number;
                return Fact::At(number, format!("a receipt gives it {number}"));
            }
            return Fact::Unknown("a receipt of another content");
        }
        if let Some((stream, number)) = self.restored.get(&row.event_id) {
            if *stream != row.stream {
                return Fact::OtherContent(*stream, *number);
            }
            return Fact::At(*number, format!("the epoch restored it at {number}"));
        }
        let Some(stream) = facts.epoch.and_then(|epoch| epoch.stream(&row.stream)) else {
            return Fact::Unknown("no receipt, and no epoch of their stream");
        };
        match row.claimed_sequence {
            Some(number) if number > stream.recovered_head => Fact::Absent(format!(
                "it claims {number}, above the recovered head {}, and the epoch does not restore it",
                stream.recovered_head
            )),
            Some(_) => {
                Fact::Unknown("they claim numbers at or below the recovered head, which no epoch can check")
            }
            None => Fact::Unknown("they claim no number, and the epoch does not name them"),
        }
    }

    fn judge(&mut self, row: &HeldRow, fact: Fact) {
        match row.origin {
            Origin::Outbox { status, .. } => self.judge_own(row, status, fact),
            Origin::Pulled if row.place.table == Table::Pulled => self.judge_pulled(row, fact),
            // Quarantined rows the agent refused itself; older pulled rows are of the older log.
            _ => self.not_judged("rows that are not judged: quarantined, or of the older log"),
        }
    }

    fn not_judged(&mut self, why: &'static str) {
        *self.unknown.entry(why).or_default() += 1;
    }

    fn judge_own(&mut self, row: &HeldRow, status: OutboxStatus, fact: Fact) {
        if row.older_log_sequence.is_some()
            || (row.place.table.is_older() && matches!(row.content, Content::Unsigned { .. }))
        {
            return self.not_judged("rows of the older log, whose numbers are not VES numbers");
        }
        if status == OutboxStatus::Unknown || (row.flaw.is_some() && row.claimed_sequence.is_none()) {
            let flaw = row.flaw.as_deref().unwrap_or("its state is not known");
            self.reconciliation
                .conflicts
                .push(format!("{}: {flaw}; left as it is", row.place));
            return;
        }
        let (action, to, why) = match fact {
            Fact::At(number, why) => {
                let right = status == OutboxStatus::Synced && row.claimed_sequence == Some(number);
                if right {
                    self.reconciliation.right += 1;
                    return;
                }
                let action = if status == OutboxStatus::Synced {
                    Action::CorrectNumber
                } else {
                    Action::MarkSynced
                };
                (action, state(OutboxStatus::Synced, Some(number)), why)
            }
            Fact::Absent(why) if status == OutboxStatus::Synced || row.claimed_sequence.is_some() => {
                let to = if status == OutboxStatus::Synced {
                    OutboxStatus::Pending
                } else {
                    status
                };
                (Action::MarkPending, state(to, None), why)
            }
            Fact::Absent(why) if row.awaits_acknowledgement => {
                let why = format!("{why}, and its agent waits for an acknowledgement");
                return self.change(row, Action::MarkPending, Some(state(status, None)), why);
            }
            Fact::Absent(_) => {
                self.reconciliation.right += 1;
                return;
            }
            Fact::OtherContent(stream, number) => {
                self.reconciliation.conflicts.push(format!(
                    "{}: the log has another content of event {} at {number} of {stream}; left as it is",
                    row.place, row.event_id
                ));
                return;
            }
            Fact::Unknown(why) => return self.not_judged(why),
        };
        // What is neither synced nor to be synced keeps its state; the older shape has only the two.
        if action == Action::MarkPending && status != OutboxStatus::Synced {
            self.reconciliation.conflicts.push(format!(
                "{}: it is {} and claims {}; {why}; left as it is",
                row.place,
                state_name(&row.origin),
                row.claimed_sequence.unwrap_or(0)
            ));
            return;
        }
        self.change(row, action, Some(to), why);
    }

    fn judge_pulled(&mut self, row: &HeldRow, fact: Fact) {
        let claimed = row.claimed_sequence.unwrap_or(0);
        self.highest_pulled = self.highest_pulled.max(claimed);
        let signed = row.content.event().is_some();
        match fact {
            Fact::At(number, _) if row.claimed_sequence == Some(number) => self.reconciliation.right += 1,
            Fact::At(_, why) => self.set_aside(row, why, true),
            Fact::OtherContent(..) => {
                self.set_aside(row, "the log has another content of this event".into(), true);
            }
            // An unsigned row of an event that the log never had may be of the older log: nothing to pull again.
            Fact::Absent(why) => self.set_aside(row, why, signed),
            Fact::Unknown(why) => self.not_judged(why),
        }
    }

    fn set_aside(&mut self, row: &HeldRow, why: String, pull_again: bool) {
        let Some(claimed) = row.claimed_sequence else {
            self.reconciliation.conflicts.push(format!(
                "{}: {why}, and it has no number; left as it is",
                row.place
            ));
            return;
        };
        if pull_again {
            self.lower_to = Some(self.lower_to.map_or(claimed, |lowest| lowest.min(claimed)));
        }
        self.change(row, Action::SetAside, None, why);
    }

    fn change(&mut self, row: &HeldRow, action: Action, to: Option<RowState>, why: String) {
        if action == Action::MarkPending {
            *self.pending.entry(row.stream).or_default() += 1;
        }
        self.reconciliation.changes.push(Change {
            action,
            place: row.place.clone(),
            event_id: row.event_id,
            from: RowState {
                status: state_name(&row.origin).into(),
                sequence: row.claimed_sequence,
            },
            to,
            why,
        });
    }

    /// Cursors that point beyond the log.
    fn cursors(&mut self, meta: &OutboxMeta, epoch: Option<&RecoveryEpoch>) {
        let head = stream_of(meta).and_then(|stream| self.heads.get(&stream).copied());
        if let Some(head) = head {
            for (key, value) in [
                ("last_pushed_sequence", meta.last_pushed_sequence),
                ("head_sequence", meta.head_sequence),
            ] {
                if let Some(value) = value.filter(|value| *value > head) {
                    self.cursor(key, value, head, format!("the log's head is {head}"));
                }
            }
            if let Some(value) = meta.last_pulled_sequence {
                // Most agents keep the next number to ask for, some the last one that they got.
                let keeps_last = self.highest_pulled > 0 && value == self.highest_pulled;
                let most = if keeps_last { head } else { head.saturating_add(1) };
                let again = self.lower_to.map(|number| {
                    if keeps_last {
                        number.saturating_sub(1)
                    } else {
                        number
                    }
                });
                let to = value.min(most).min(again.unwrap_or(u64::MAX));
                if to != value {
                    let why = match again {
                        Some(again) if again == to && to < most => {
                            "rows from there on are to be pulled again".into()
                        }
                        _ => format!("the log's head is {head}"),
                    };
                    self.cursor("last_pulled_sequence", value, to, why);
                }
            }
        }
        if let Some(epoch) = epoch {
            let id = epoch.id.hyphenated().to_string();
            if meta.recovery_epoch.as_deref() != Some(&id) {
                self.reconciliation.cursors.push(CursorChange {
                    key: "recovery_epoch".into(),
                    from: meta.recovery_epoch.clone(),
                    to: id,
                    why: "the recovery that this outbox is set right by".into(),
                });
            }
        }
    }

    fn cursor(&mut self, key: &str, from: u64, to: u64, why: String) {
        self.reconciliation.cursors.push(CursorChange {
            key: key.into(),
            from: Some(from.to_string()),
            to: to.to_string(),
            why,
        });
    }
}

fn state(status: OutboxStatus, sequence: Option<u64>) -> RowState {
    let origin = Origin::Outbox { local_seq: 0, status };
    RowState {
        status: state_name(&origin).into(),
        sequence,
    }
}
