//! Reading back: before a transaction is committed, what it wrote is read again and compared with what it was to
//! write, and the roots of the batches that it made whole are recomputed from the stored rows.

use std::ops::{ControlFlow, RangeInclusive};

use event_log::{LogEntry, LogError, View};
use ves::digest::Preimage;
use ves::merkle::{RootBuilder, leaf_hash};
use ves::{EventCheck, Hash32, Receipt, StreamKey};

use crate::error::RecoveryError;
use crate::gap;
use crate::grade::Grade;
use crate::plan_file::{PlannedBatch, PlannedCommitment, PlannedStream};

/// What the transaction must show when it is read back, in a digest over everything that was inserted.
pub(crate) struct Expectation {
    digest: Preimage,
    positions: Vec<RangeInclusive<u64>>,
    inserted: u64,
}

impl Expectation {
    pub(crate) fn new(header: &PlannedStream) -> Self {
        let digest = Self::start(&header.stream);
        Self {
            digest,
            positions: Vec::new(),
            inserted: 0,
        }
    }

    fn start(stream: &StreamKey) -> Preimage {
        Preimage::new("inserted")
            .bytes(stream.tenant_id.as_bytes())
            .bytes(stream.store_id.as_bytes())
    }

    fn extend(
        digest: &Preimage,
        sequence: u64,
        event: &ves::Event,
        hash: &Hash32,
        receipt: &Receipt,
    ) -> Preimage {
        digest
            .clone()
            .u64(sequence)
            .bytes(event.event_id.as_bytes())
            .bytes(&hash.0)
            .bytes(&event.agent_signature.0)
            .bytes(&receipt.receipt_hash.0)
            .u64(receipt.sequence_number)
    }

    pub(crate) fn add(&mut self, sequence: u64, event: &ves::Event, hash: &Hash32, receipt: &Receipt) {
        self.digest = Self::extend(&self.digest, sequence, event, hash, receipt);
        self.inserted += 1;
        match self.positions.last_mut() {
            Some(last) if last.end() + 1 == sequence => *last = *last.start()..=sequence,
            _ => self.positions.push(sequence..=sequence),
        }
    }

    /// Reads everything back inside the transaction and compares. Says how many roots came out equal.
    pub(crate) async fn check(
        self,
        view: &mut View,
        header: &PlannedStream,
        commitments: &[PlannedCommitment],
        events_before: u64,
    ) -> Result<u64, RecoveryError> {
        let stream = header.stream;
        let wrong = |what: String| RecoveryError::Outcome { stream, what };
        let mut digest = Self::start(&stream);
        for range in &self.positions {
            let mut bad: Option<String> = None;
            view.for_each_entry(&stream, range.clone(), &mut |chunk| {
                for row in chunk {
                    match row
                        .map_err(|e| e.to_string())
                        .and_then(|entry| read_back(&digest, &entry))
                    {
                        Ok(next) => digest = next,
                        Err(what) => bad = bad.take().or(Some(what)),
                    }
                }
                if bad.is_some() {
                    ControlFlow::Break(())
                } else {
                    ControlFlow::Continue(())
                }
            })
            .await?;
            if let Some(what) = bad {
                return Err(wrong(what));
            }
        }
        if digest.finish() != self.digest.finish() {
            let at = gap::describe(&self.positions);
            return Err(wrong(format!("what stands at {at} is not what was inserted")));
        }
        let count: u64 = view
            .present_ranges(&stream)
            .await?
            .iter()
            .map(|r| r.end() - r.start() + 1)
            .sum();
        if count != events_before + self.inserted {
            return Err(wrong(format!(
                "{count} events instead of {events_before} and {}",
                self.inserted
            )));
        }
        let counter = view.counter(&stream).await?;
        if counter < header.counter_after {
            return Err(wrong(format!("the counter is {counter:?}")));
        }
        let mut roots = 0;
        let planned = commitments.iter().map(|c| PlannedBatch {
            batch_id: c.batch_id,
            sequence_start: c.sequence_start,
            sequence_end: c.sequence_end,
            merkle_root: c.merkle_root,
            grade: Grade::Proven,
        });
        let mut batches: Vec<PlannedBatch> = header.batches.iter().cloned().chain(planned).collect();
        batches.sort_by_key(|b| (b.sequence_start, b.sequence_end, b.merkle_root));
        batches.dedup_by_key(|b| (b.sequence_start, b.sequence_end, b.merkle_root));
        for batch in batches {
            let root = stored_root(view, &stream, batch.sequence_start..=batch.sequence_end).await?;
            if root != Some(batch.merkle_root) {
                let root = root.map_or("no root: events are missing".to_owned(), |r| r.to_string());
                return Err(wrong(format!(
                    "batch {} ({}-{}) must have the root {} and has {root}",
                    batch.batch_id, batch.sequence_start, batch.sequence_end, batch.merkle_root
                )));
            }
            roots += 1;
        }
        Ok(roots)
    }
}

/// Extends the digest by an entry that was read back, after checking that its payload survived the database.
fn read_back(digest: &Preimage, entry: &LogEntry) -> Result<Preimage, String> {
    let at = entry.sequence_number;
    if let EventCheck::Mismatch(what) = entry.event.check_payload() {
        return Err(format!("the payload at {at} was changed by the database: {what}"));
    }
    if entry.event.signing_hash() != entry.event_signing_hash {
        return Err(format!("the signed fields at {at} were changed by the database"));
    }
    let Some(receipt) = &entry.receipt else {
        return Err(format!("the receipt at {at} is missing"));
    };
    Ok(Expectation::extend(
        digest,
        at,
        &entry.event,
        &entry.event_signing_hash,
        receipt,
    ))
}

/// The root of a range as stored; `None` if an event of it is missing.
async fn stored_root(
    view: &mut View,
    stream: &StreamKey,
    range: RangeInclusive<u64>,
) -> Result<Option<Hash32>, LogError> {
    let mut builder = RootBuilder::default();
    let mut next = *range.start();
    let mut whole = true;
    let end = *range.end();
    view.for_each_leaf_input(stream, range, &mut |chunk| {
        for row in chunk {
            match row {
                Ok(input) if input.sequence_number == next => {
                    builder.push(leaf_hash(
                        stream,
                        next,
                        &input.event_signing_hash,
                        &input.agent_signature,
                    ));
                    next += 1;
                }
                _ => whole = false,
            }
        }
        if whole {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })
    .await?;
    Ok(if whole && next == end + 1 {
        builder.root()
    } else {
        None
    })
}
