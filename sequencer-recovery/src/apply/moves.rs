//! Carrying out what a plan says about numbers that were given out twice: commitments over the wrong history go,
//! events get other numbers, and with them other receipts. Part of a stream's one transaction ([`crate::apply`]).

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use event_log::{Commitment, LogEntry, Renumbered, Repair};
use ves::merkle::leaf_hash;
use ves::receipt::receipt_hash;
use ves::span::{Span, Spans};
use ves::{BatchId, EventId, Hash32, Receipt, StreamKey, Timestamp};

use crate::apply::Receipts;
use crate::apply::undo_file::change::{Change, Image, Stands, Stood};
use crate::error::RecoveryError;
use crate::plan::planned::{PlannedMove, PlannedSuperseded};

/// Events are read and receipts written in groups of this many.
const GROUP: usize = 1000;

/// What a stream's section says of numbers that were given out twice.
#[derive(Debug, Default)]
pub struct Moves {
    /// Commitments that go.
    pub superseded: Vec<PlannedSuperseded>,
    /// Events that get another number.
    pub moves: Vec<PlannedMove>,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Moved {
    /// The receipts that the moved events have now, by event.
    receipts: BTreeMap<EventId, Receipt>,
    /// How many receipts were replaced.
    pub superseded_receipts: u64,
    /// How many of the new ones are signed.
    pub signed: u64,
    /// How many rows of `ves_compliance_proofs` refer to moved events.
    pub proofs: u64,
    /// What takes it back.
    pub undo: Vec<Change>,
}

impl Moves {
    /// Whether there is anything to do.
    pub fn is_empty(&self) -> bool {
        self.superseded.is_empty() && self.moves.is_empty()
    }

    /// Takes the commitments out and gives the events their numbers and receipts. `counter_after` is the counter that
    /// the plan sets: above it there is no row.
    ///
    /// # Errors
    /// What the database says; [`RecoveryError::Refused`] for an event that is not what the plan says, and for a
    /// commitment that something in `ves_validity_proofs` refers to.
    pub(crate) async fn carry_out(
        &self,
        repair: &mut Repair,
        counter_after: Option<u64>,
        made: &mut Receipts,
    ) -> Result<Moved, RecoveryError> {
        let mut moved = Moved::default();
        if self.is_empty() {
            return Ok(moved);
        }
        self.withdraw(repair, &mut moved).await?;
        let stream = *repair.stream();
        let found = self.standing(repair).await?;
        let (mut renumbered, mut receipts, mut old) = (Vec::new(), Vec::new(), Vec::new());
        for planned in &self.moves {
            let refused = |what: String| RecoveryError::Refused {
                stream,
                sequence: planned.from,
                what,
            };
            let entry = found
                .get(&planned.event_id)
                .filter(|entry| entry.sequence_number == planned.from)
                .ok_or_else(|| refused(format!("event {} is not there", planned.event_id)))?;
            let receipt = check_move(&stream, planned, entry, made).map_err(refused)?;
            moved.signed += u64::from(receipt.sequencer_signature.is_some());
            moved.receipts.insert(planned.event_id, receipt.clone());
            if entry.receipt.is_some() {
                old.push(planned.event_id);
            }
            let stood = Stood {
                sequence: planned.from,
                sequenced_at: entry.sequenced_at,
            };
            let stands = Stands {
                sequence: planned.to,
                leaf: planned.leaf,
            };
            let before = (stood, entry.receipt.clone().map(Box::new));
            moved
                .undo
                .extend(Change::event(planned.event_id, Some(before), stands));
            renumbered.push(Renumbered {
                event_id: planned.event_id,
                from: planned.from,
                to: planned.to,
                sequenced_at: planned.sequenced_at,
            });
            receipts.push(receipt);
        }
        let ids: Vec<EventId> = self.moves.iter().map(|m| m.event_id).collect();
        for ids in ids.chunks(GROUP) {
            moved.proofs += repair.proofs_of_events(ids).await?;
        }
        for ids in old.chunks(GROUP) {
            moved.superseded_receipts += repair.remove_receipts(ids).await?;
        }
        let highest = self.moves.iter().map(|m| m.from.max(m.to)).max().unwrap_or(0);
        let parking = highest
            .max(counter_after.unwrap_or(0))
            .max(repair.counter_before().unwrap_or(0));
        repair.renumber_events(&renumbered, parking).await?;
        for receipts in receipts.chunks(GROUP) {
            repair.insert_receipts(receipts).await?;
        }
        Ok(moved)
    }

    async fn withdraw(&self, repair: &mut Repair, moved: &mut Moved) -> Result<(), RecoveryError> {
        if self.superseded.is_empty() {
            return Ok(());
        }
        let stream = *repair.stream();
        let stored = repair.view().commitments(&stream).await?.rows;
        let mut ids: Vec<BatchId> = Vec::new();
        for planned in &self.superseded {
            let refused = |what: String| RecoveryError::Refused {
                stream,
                sequence: planned.sequence_start,
                what,
            };
            let row: &Commitment = stored
                .iter()
                .find(|c| c.batch_id == planned.batch_id && c.merkle_root == planned.merkle_root)
                .ok_or_else(|| refused(format!("commitment {} is not there", planned.batch_id)))?;
            ids.push(row.batch_id);
            moved.undo.push(Change::Commitment {
                batch_id: row.batch_id,
                image: Image::removed(Box::new(row.clone())),
            });
        }
        let proofs = repair.proofs_of_batches(&ids).await?;
        if proofs > 0 {
            return Err(RecoveryError::Refused {
                stream,
                sequence: self.superseded[0].sequence_start,
                what: format!(
                    "{proofs} row(s) of ves_validity_proofs refer to commitments that go, and would go with them: save \
                     and remove them first"
                ),
            });
        }
        let removed = repair.remove_commitments(&ids).await?;
        if removed != ids.len() as u64 {
            let what = format!("{removed} commitments were removed instead of {}", ids.len());
            return Err(RecoveryError::Outcome { stream, what });
        }
        Ok(())
    }

    /// The events that are moved, as they stand.
    async fn standing(&self, repair: &mut Repair) -> Result<BTreeMap<EventId, LogEntry>, RecoveryError> {
        let stream = *repair.stream();
        let wanted: std::collections::BTreeSet<EventId> = self.moves.iter().map(|m| m.event_id).collect();
        let mut found = BTreeMap::new();
        let first = self.moves.iter().map(|m| m.from).min();
        let last = self.moves.iter().map(|m| m.from).max();
        let (Some(first), Some(last)) = (first, last) else {
            return Ok(found);
        };
        repair
            .view()
            .for_each_entry(&stream, first..=last, &mut |chunk| {
                let entries = chunk.into_iter().flatten();
                found.extend(
                    entries
                        .filter(|e| wanted.contains(&e.event.event_id))
                        .map(|e| (e.event.event_id, e)),
                );
                ControlFlow::Continue(())
            })
            .await?;
        Ok(found)
    }

    /// Reads the moved events back inside the transaction.
    ///
    /// # Errors
    /// [`RecoveryError::Outcome`] if one is not where it should be, or its receipt is not the one that was made.
    pub(crate) async fn check(&self, repair: &mut Repair, moved: &Moved) -> Result<(), RecoveryError> {
        let stream = *repair.stream();
        let wrong = |what: String| RecoveryError::Outcome { stream, what };
        let mut to: Vec<u64> = self.moves.iter().map(|m| m.to).collect();
        to.sort_unstable();
        let mut there: BTreeMap<u64, (EventId, Hash32, Timestamp, Option<Receipt>)> = BTreeMap::new();
        for range in Spans::of_positions(to).iter().map(Span::positions) {
            repair
                .view()
                .for_each_entry(&stream, range, &mut |chunk| {
                    for entry in chunk.into_iter().flatten() {
                        let what = (
                            entry.event.event_id,
                            leaf_of(&stream, &entry, entry.sequence_number),
                            entry.sequenced_at,
                            entry.receipt,
                        );
                        there.insert(entry.sequence_number, what);
                    }
                    ControlFlow::Continue(())
                })
                .await?;
        }
        for planned in &self.moves {
            let receipt = moved.receipts.get(&planned.event_id);
            let as_planned =
                |(event_id, leaf, sequenced_at, its): &(EventId, Hash32, Timestamp, Option<Receipt>)| {
                    (event_id, leaf) == (&planned.event_id, &planned.leaf)
                        && its.as_ref() == receipt
                        && receipt.is_some_and(|receipt| receipt.sequenced_at == *sequenced_at)
                };
            if !there.get(&planned.to).is_some_and(as_planned) {
                return Err(wrong(format!(
                    "what stands at {} is not event {} with its new receipt",
                    planned.to, planned.event_id
                )));
            }
        }
        Ok(())
    }
}

fn leaf_of(stream: &StreamKey, entry: &LogEntry, at: u64) -> Hash32 {
    leaf_hash(
        stream,
        at,
        &entry.event_signing_hash,
        &entry.event.agent_signature,
    )
}

/// Checks that an event is the one that the plan means and that it verifies, and makes its receipt.
fn check_move(
    stream: &StreamKey,
    planned: &PlannedMove,
    entry: &LogEntry,
    made: &mut Receipts,
) -> Result<Receipt, String> {
    let event = &entry.event;
    if !event.check_payload().is_match() || event.signing_hash() != entry.event_signing_hash {
        return Err(format!(
            "event {} does not verify, so it gets no receipt",
            event.event_id
        ));
    }
    if leaf_of(stream, entry, planned.to) != planned.leaf {
        return Err(format!(
            "event {} is not the one that the plan was made for",
            event.event_id
        ));
    }
    if entry.receipt.as_ref().map(|r| r.receipt_hash) != planned.superseded_receipt {
        return Err(format!(
            "the receipt of event {} is not the one that the plan names",
            event.event_id
        ));
    }
    let hash = receipt_hash(stream, &event.event_id, planned.to, &entry.event_signing_hash);
    let at: Timestamp = planned.sequenced_at;
    match &planned.receipt {
        Some(receipt) => {
            let fits = receipt.receipt_hash == hash
                && receipt.event_id == event.event_id
                && receipt.sequence_number == planned.to
                && receipt.sequenced_at == at;
            fits.then(|| receipt.clone())
                .ok_or_else(|| "its saved receipt is of another event".to_owned())
        }
        None => made.make(event.event_id, planned.to, at, hash),
    }
}
