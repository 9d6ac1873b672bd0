//! What the stream is like, before the locks and under them: as the plan expects it, as the plan leaves it, or otherwise.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};

use event_log::{Commitment, LeafEntry, LogEntry, LogError, Repair, RowError, View};
use ves::merkle::leaf_hash;
use ves::span::Span;
use ves::{BatchId, Hash32, StreamKey};

use super::rows::{leaf_of, planned_leaf};
use super::sections::Sections;
use crate::apply::read_back::pieces_of;
use crate::error::RecoveryError;
use crate::plan::planned::{PlannedKey, PlannedStream};
use crate::stream::fingerprint::FingerprintBuilder;
use crate::stream::sequencer_keys::KeyVersions;

/// So many positions are read in pieces.
const IN_PIECES: u64 = 100_000_000;

/// The stream as found.
pub(crate) struct Found {
    pub(crate) fingerprint: Hash32,
    pub(crate) counter: Option<u64>,
    /// How many events it has.
    pub(crate) events: u64,
    /// The last number, 0 if there is none.
    pub(crate) head: u64,
    pub(crate) commitments: Vec<Commitment>,
    /// Which keys its receipts are signed by.
    pub(super) key_versions: KeyVersions,
    /// What was read before the first position that changes.
    pub(super) marked: Marked,
}

/// How much is read of each event for a fingerprint, which binds what its leaf is made of and its receipt.
#[derive(Debug, Clone, Copy)]
enum Depth {
    /// That alone.
    Leaves,
    /// All of it: a row of which anything cannot be read is in no fingerprint.
    Rows,
}

impl Depth {
    async fn for_each(
        self,
        view: &mut View,
        stream: &StreamKey,
        range: RangeInclusive<u64>,
        each: &mut (dyn FnMut(Result<LeafEntry, RowError>) + Send),
    ) -> Result<(), LogError> {
        match self {
            Self::Leaves => {
                let each = &mut |chunk: Vec<_>| {
                    chunk.into_iter().for_each(&mut *each);
                    ControlFlow::Continue(())
                };
                view.for_each_leaf_entry(stream, range, each).await
            }
            Self::Rows => {
                let each = &mut |chunk: Vec<Result<LogEntry, _>>| {
                    let entries = chunk.into_iter().map(|row| row.map(LeafEntry::from));
                    entries.for_each(&mut *each);
                    ControlFlow::Continue(())
                };
                view.for_each_entry(stream, range, each).await
            }
        }
    }
}

/// From where on a stream will change, and what its fingerprint will begin with then.
#[derive(Clone, Copy)]
pub(crate) struct Change<'a> {
    /// The first position at which an event or a receipt changes.
    pub(super) from: u64,
    /// The counter afterwards.
    pub(super) counter: Option<u64>,
    /// The commitments afterwards, of those before.
    pub(super) commitments: &'a (dyn Fn(&[Commitment]) -> Vec<Commitment> + Sync),
}

/// A stream up to the first position that changes: what stands before it is read once, before any lock is taken.
#[derive(Clone)]
pub(crate) struct Marked {
    depth: Depth,
    from: u64,
    /// Of the stream as it was found.
    before: FingerprintBuilder,
    /// Of the stream as it will be.
    after: FingerprintBuilder,
    head: u64,
    /// How many events stand before it.
    events: u64,
}

/// What was read from the mark on, together with what stands before it.
pub(crate) struct Whole {
    pub(crate) fingerprint: Hash32,
    pub(crate) head: u64,
}

impl Marked {
    /// The first position that changes, and how many events stand before it.
    pub(super) fn at(&self) -> (u64, u64) {
        (self.from, self.events)
    }

    /// Reads the stream from the mark on, as it was found.
    pub(super) async fn again(&self, repair: &mut Repair) -> Result<Whole, RecoveryError> {
        self.whole(self.before.clone(), repair, self.from).await
    }

    /// Reads the stream from the mark on, as it is afterwards; `last` is about the last number that it has then.
    pub(super) async fn afterwards(&self, repair: &mut Repair, last: u64) -> Result<Whole, RecoveryError> {
        self.whole(self.after.clone(), repair, last).await
    }

    /// Reads in pieces up to about the last number, with a look at who waits after each, and then what is behind it.
    async fn whole(
        &self,
        mut fingerprint: FingerprintBuilder,
        repair: &mut Repair,
        last: u64,
    ) -> Result<Whole, RecoveryError> {
        let stream = *repair.stream();
        let mut head = self.head;
        let end = i64::MAX as u64;
        // One number far behind the others does not make it millions of pieces.
        let last = last.min(self.from.saturating_add(IN_PIECES)).min(end);
        let in_pieces = Span::new(self.from.max(1), last);
        let behind = self.from.max(last.saturating_add(1))..=end;
        for range in in_pieces.into_iter().flat_map(pieces_of).chain([behind]) {
            if range.is_empty() {
                continue;
            }
            let view = repair.view();
            let each = &mut |row: Result<LeafEntry, RowError>| match row {
                Ok(entry) => {
                    fingerprint.event(&entry.input, entry.receipt.as_ref());
                    head = entry.input.sequence_number;
                }
                Err(row) => head = row.sequence.map_or(head, |number| number.max(head)),
            };
            self.depth.for_each(view, &stream, range, each).await?;
            repair.let_others_pass().await?;
        }
        Ok(Whole {
            fingerprint: fingerprint.finish(),
            head,
        })
    }
}

impl Found {
    /// Reads the whole stream, which should have one of these fingerprints. Without a change to come its mark is at its end.
    pub(crate) async fn read(
        view: &mut View,
        stream: &StreamKey,
        counter: Option<u64>,
        change: Option<Change<'_>>,
        expected: &[Hash32],
    ) -> Result<Self, RecoveryError> {
        let found = Self::read_to(Depth::Leaves, view, stream, counter, change).await?;
        if expected.contains(&found.fingerprint) {
            return Ok(found);
        }
        // Where there are rows that cannot be read, the fingerprint is that of the others.
        Self::read_to(Depth::Rows, view, stream, counter, change).await
    }

    async fn read_to(
        depth: Depth,
        view: &mut View,
        stream: &StreamKey,
        counter: Option<u64>,
        change: Option<Change<'_>>,
    ) -> Result<Self, RecoveryError> {
        let commitments = view.commitments(stream).await?.rows;
        let mut fingerprint = FingerprintBuilder::new(stream, counter, &commitments);
        let after = change.as_ref().map_or_else(
            || fingerprint.clone(),
            |c| FingerprintBuilder::new(stream, c.counter, &(c.commitments)(&commitments)),
        );
        let mut marked = Marked {
            depth,
            from: change.as_ref().map_or(u64::MAX, |c| c.from),
            before: fingerprint.clone(),
            after,
            head: 0,
            events: 0,
        };
        let (mut events, mut head, mut key_versions) = (0, 0, KeyVersions::default());
        let each = &mut |row: Result<LeafEntry, RowError>| {
            let entry = match row {
                Ok(entry) => entry,
                // A row that cannot be read is not in the fingerprint of the audit either, but it is there.
                Err(row) => {
                    if let Some(number) = row.sequence.filter(|number| *number > head) {
                        events += 1;
                        head = number;
                        if head < marked.from {
                            (marked.head, marked.events) = (head, events);
                        }
                    }
                    return;
                }
            };
            fingerprint.event(&entry.input, entry.receipt.as_ref());
            events += u64::from(entry.input.sequence_number > head);
            head = entry.input.sequence_number;
            if head < marked.from {
                marked.before = fingerprint.clone();
                marked.after.event(&entry.input, entry.receipt.as_ref());
                (marked.head, marked.events) = (head, events);
            }
            if let Some(receipt) = &entry.receipt {
                key_versions.note(receipt);
            }
        };
        depth.for_each(view, stream, 1..=i64::MAX as u64, each).await?;
        Ok(Self {
            fingerprint: fingerprint.finish(),
            counter,
            events,
            head,
            commitments,
            key_versions,
            marked,
        })
    }
}

/// What a commitment is, as far as a fingerprint binds it.
pub(crate) fn identity(commitment: &Commitment) -> (BatchId, u64, u64, Hash32, Hash32) {
    (
        commitment.batch_id,
        commitment.sequence_start,
        commitment.sequence_end,
        commitment.merkle_root,
        commitment.new_state_root,
    )
}

/// Whether everything that the plan wants is there already; if not, the first thing that is not.
pub(super) async fn not_yet_applied(
    view: &mut View,
    header: &PlannedStream,
    counter: Option<u64>,
    lines: &mut Sections<'_>,
) -> Result<Option<String>, RecoveryError> {
    let stream = header.stream;
    if counter < header.counter_after {
        let show = |c: Option<u64>| c.map_or("missing".to_owned(), |c| c.to_string());
        return Ok(Some(format!(
            "the plan was made at counter {} and sets {}, the counter is {}",
            show(header.counter_before),
            show(header.counter_after),
            show(counter)
        )));
    }
    let registered = view.log_keys(Some(stream.tenant_id)).await?.registry();
    for PlannedKey { key, .. } in lines.keys()? {
        let there = registered.get(key.tenant_id, key.agent_id, key.key_id);
        if there.is_none_or(|there| !there.same_public_key(&key)) {
            return Ok(Some(format!(
                "key {} of agent {} is not registered",
                key.key_id, key.agent_id
            )));
        }
    }
    let moves = lines.next_moves()?;
    for planned in &moves.moves {
        let there = stored_leaves(view, &stream, planned.to..=planned.to).await?;
        if there.get(&planned.to) != Some(&planned.leaf) {
            let what = format!("event {} is not at {}", planned.event_id, planned.to);
            return Ok(Some(what));
        }
    }
    loop {
        let mut group = lines.next_group()?;
        if group.is_empty() {
            group = lines.next_tombstones(stream)?;
        }
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            break;
        };
        let stored = stored_leaves(view, &stream, first.sequence..=last.sequence).await?;
        for planned in &group {
            let leaf = planned_leaf(&stream, planned);
            match stored.get(&planned.sequence) {
                Some(there) if *there == leaf => {}
                there => return Ok(Some(differs(planned.sequence, there.is_some()))),
            }
        }
    }
    let (commitments, _) = lines.rest()?;
    let stored = view.commitments(&stream).await?.rows;
    for superseded in moves.superseded {
        if stored.iter().any(|c| c.batch_id == superseded.batch_id) {
            return Ok(Some(format!("commitment {} is still there", superseded.batch_id)));
        }
    }
    for planned in commitments {
        if !stored
            .iter()
            .any(|c| c.batch_id == planned.batch_id && c.merkle_root == planned.merkle_root)
        {
            return Ok(Some(format!("commitment {} is not there", planned.batch_id)));
        }
    }
    loop {
        let group = lines.next_appends()?;
        let (Some(first), Some(last)) = (group.first(), group.last()) else {
            return Ok(None);
        };
        let stored = stored_leaves(view, &stream, first.sequence..=last.sequence).await?;
        for planned in &group {
            let there = stored.get(&planned.sequence);
            if there != Some(&leaf_of(&stream, planned.sequence, &planned.event)) {
                return Ok(Some(differs(planned.sequence, there.is_some())));
            }
        }
    }
}

/// How a position differs from what the plan has for it.
fn differs(sequence: u64, filled: bool) -> String {
    if filled {
        format!("position {sequence} holds another event")
    } else {
        format!("the events, commitments or receipts differ, and {sequence} is empty")
    }
}

pub(crate) async fn stored_leaves(
    view: &mut View,
    stream: &StreamKey,
    range: RangeInclusive<u64>,
) -> Result<BTreeMap<u64, Hash32>, RecoveryError> {
    let mut leaves = BTreeMap::new();
    view.for_each_leaf_input(stream, range, &mut |chunk| {
        for input in chunk.into_iter().flatten() {
            let leaf = leaf_hash(
                stream,
                input.sequence_number,
                &input.event_signing_hash,
                &input.agent_signature,
            );
            leaves.insert(input.sequence_number, leaf);
        }
        ControlFlow::Continue(())
    })
    .await?;
    Ok(leaves)
}
