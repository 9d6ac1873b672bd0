//! Reading back: before a transaction is committed, what it wrote is read again and compared with what it was to
//! write, in every column, and the roots of the batches that it made whole are recomputed from the stored rows. A
//! trigger of somebody's may have changed any of it. `updated_at` alone is left out: it says when a row was touched.

use std::ops::{ControlFlow, RangeInclusive};

use event_log::{Commitment, LogEntry, LogError, Repair, View};
use ves::digest::Preimage;
use ves::merkle::{RootBuilder, leaf_hash};
use ves::span::{Span, Spans};
use ves::{EventCheck, Hash32, Payload, Receipt, StreamKey, Timestamp, jcs};

use crate::error::RecoveryError;
use crate::grade::Grade;
use crate::plan::planned::{PlannedBatch, PlannedCommitment, PlannedStream};

/// What the transaction must show when it is read back, in a digest over everything that was inserted.
pub(crate) struct Expectation {
    digest: Preimage,
    /// In the order in which it was inserted, which is that of the digest: tombstones stand between events and come after
    /// them.
    positions: Vec<Span>,
    inserted: u64,
    /// Of receipts that were made for events that were there.
    receipts: Preimage,
    receipts_at: Vec<Span>,
}

impl Expectation {
    pub(crate) fn new(header: &PlannedStream) -> Self {
        let digest = Self::start(&header.stream);
        Self {
            receipts: digest.clone(),
            digest,
            positions: Vec::new(),
            inserted: 0,
            receipts_at: Vec::new(),
        }
    }

    fn start(stream: &StreamKey) -> Preimage {
        Preimage::new("inserted")
            .bytes(stream.tenant_id.as_bytes())
            .bytes(stream.store_id.as_bytes())
    }

    /// Extends the digest by an event and its receipt, in every column that is written.
    fn extend(digest: &Preimage, row: &Inserted<'_>) -> Preimage {
        let event = row.event;
        // What the signing hash does not bind: the rest is checked against it, the payload against its hash.
        let payload = match &event.payload {
            Payload::Plain(_) => String::new(),
            // Nothing binds the form of what is encrypted, nor what stands beside it.
            Payload::Encrypted(json) => jcs::canonicalize(json).unwrap_or_else(|_| json.clone()),
        };
        let digest = digest
            .clone()
            .u64(row.sequence)
            .bytes(event.event_id.as_bytes())
            .bytes(&row.signing_hash.0)
            .bytes(&event.agent_signature.0)
            .bytes(&row.created_at.0.to_be_bytes())
            .bytes(&row.sequenced_at.0.to_be_bytes())
            .enc_str(&payload)
            .bytes(&event.agent_signature_scheme.0.to_be_bytes());
        let digest = optional(digest, event.agent_signature_bundle.as_deref());
        let digest = optional(
            digest,
            event.command_id.as_ref().map(|id| id.as_bytes().as_slice()),
        );
        let base = event.base_version.map(i64::to_be_bytes);
        let digest = optional(digest, base.as_ref().map(<[u8; 8]>::as_slice));
        extend_receipt(digest, row.receipt)
    }

    /// Adds an event that was inserted with its receipt.
    pub(crate) fn add(
        &mut self,
        sequence: u64,
        event: &ves::Event,
        hash: &Hash32,
        sequenced_at: Timestamp,
        receipt: &Receipt,
    ) {
        let row = Inserted {
            sequence,
            event,
            signing_hash: hash,
            // One that is no time was refused before it was sent.
            created_at: event.created_at.parse().unwrap_or(Timestamp(0)),
            sequenced_at,
            receipt,
        };
        self.digest = Self::extend(&self.digest, &row);
        self.inserted += 1;
        note(&mut self.positions, sequence);
    }

    /// Adds a receipt that was made for an event that was there.
    pub(crate) fn add_receipt(&mut self, receipt: &Receipt) {
        self.receipts = extend_receipt(self.receipts.clone(), receipt);
        note(&mut self.receipts_at, receipt.sequence_number);
    }

    /// How many events were inserted.
    pub(crate) fn inserted(&self) -> u64 {
        self.inserted
    }

    /// Reads the receipts back that were made for events that were there.
    async fn check_receipts(&self, repair: &mut Repair) -> Result<(), RecoveryError> {
        let stream = &repair.stream().clone();
        let mut digest = Self::start(stream);
        for range in pieces(&self.receipts_at) {
            let view = repair.view();
            view.for_each_entry(stream, range, &mut |chunk| {
                for receipt in chunk.into_iter().flatten().filter_map(|entry| entry.receipt) {
                    digest = extend_receipt(digest.clone(), &receipt);
                }
                ControlFlow::Continue(())
            })
            .await?;
            repair.let_others_pass().await?;
        }
        if digest.finish() == self.receipts.clone().finish() {
            return Ok(());
        }
        let at: Spans = self.receipts_at.iter().copied().collect();
        Err(RecoveryError::Outcome {
            stream: *stream,
            what: format!("the receipts at {at} are not what was inserted"),
        })
    }

    /// Reads what was inserted back inside the transaction and compares.
    pub(crate) async fn check_rows(&self, repair: &mut Repair) -> Result<(), RecoveryError> {
        let stream = *repair.stream();
        let wrong = |what: String| RecoveryError::Outcome { stream, what };
        let mut digest = Self::start(&stream);
        for range in pieces(&self.positions) {
            let mut bad: Option<String> = None;
            let view = repair.view();
            view.for_each_entry(&stream, range, &mut |chunk| {
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
            repair.let_others_pass().await?;
        }
        self.check_receipts(repair).await?;
        if digest.finish() != self.digest.clone().finish() {
            let at: Spans = self.positions.iter().copied().collect();
            return Err(wrong(format!("what stands at {at} is not what was inserted")));
        }
        Ok(())
    }
}

/// Computes the roots of the batches that a repair makes whole from the stored rows. Says how many came out equal.
pub(crate) async fn check_roots(
    repair: &mut Repair,
    header: &PlannedStream,
    commitments: &[PlannedCommitment],
) -> Result<u64, RecoveryError> {
    let stream = header.stream;
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
    let mut roots = 0;
    for batch in batches {
        let range = batch.sequence_start..=batch.sequence_end;
        let root = stored_root(repair, &stream, range).await?;
        if root != Some(batch.merkle_root) {
            let root = root.map_or("no root: events are missing".to_owned(), |r| r.to_string());
            return Err(RecoveryError::Outcome {
                stream,
                what: format!(
                    "batch {} ({}-{}) must have the root {} and has {root}",
                    batch.batch_id, batch.sequence_start, batch.sequence_end, batch.merkle_root
                ),
            });
        }
        roots += 1;
    }
    Ok(roots)
}

/// Positions in pieces of some thousand at most: between them a repair looks at who waits.
pub(crate) fn pieces(spans: &[Span]) -> impl Iterator<Item = RangeInclusive<u64>> + '_ {
    spans.iter().copied().flat_map(pieces_of)
}

/// The same of one span.
pub(crate) fn pieces_of(span: Span) -> impl Iterator<Item = RangeInclusive<u64>> {
    const PIECE: u64 = 2000;
    span.pieces(PIECE).map(Span::positions)
}

/// An event as it was inserted, or as it was read back.
struct Inserted<'a> {
    sequence: u64,
    event: &'a ves::Event,
    signing_hash: &'a Hash32,
    created_at: Timestamp,
    sequenced_at: Timestamp,
    receipt: &'a Receipt,
}

/// Adds a position, to the last span if it goes on there.
fn note(spans: &mut Vec<Span>, position: u64) {
    let next = Span::at(position);
    match spans.last_mut() {
        Some(last) if last.end().checked_add(1) == Some(position) => {
            *last = Span::new(last.start(), position).unwrap_or(next);
        }
        _ => spans.push(next),
    }
}

fn optional(digest: Preimage, value: Option<&[u8]>) -> Preimage {
    match value {
        None => digest.bytes(&[0]),
        Some(value) => digest.bytes(&[1]).len_bytes(value),
    }
}

fn extend_receipt(digest: Preimage, receipt: &Receipt) -> Preimage {
    let digest = digest
        .bytes(receipt.event_id.as_bytes())
        .bytes(receipt.sequencer_id.as_bytes())
        .u64(receipt.sequence_number)
        .bytes(&receipt.sequenced_at.0.to_be_bytes())
        .bytes(&receipt.receipt_hash.0)
        .bytes(&receipt.sequencer_key_version.to_be_bytes())
        .bytes(&receipt.receipt_signature_scheme.to_be_bytes());
    let signature = receipt.sequencer_signature.as_ref();
    let digest = optional(digest, signature.map(|signature| signature.0.as_slice()));
    optional(digest, receipt.receipt_signature_bundle.as_deref())
}

/// Compares the commitments that were inserted with what stands there.
pub(crate) async fn check_commitments(
    view: &mut View,
    stream: &StreamKey,
    inserted: &[Commitment],
) -> Result<(), RecoveryError> {
    if inserted.is_empty() {
        return Ok(());
    }
    let there = view.commitments(stream).await?.rows;
    match inserted.iter().find(|commitment| !there.contains(commitment)) {
        None => Ok(()),
        Some(commitment) => Err(RecoveryError::Outcome {
            stream: *stream,
            what: format!(
                "the commitment of batch {} is not as it was inserted",
                commitment.batch_id
            ),
        }),
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
    let row = Inserted {
        sequence: at,
        event: &entry.event,
        signing_hash: &entry.event_signing_hash,
        created_at: entry.created_at_column,
        sequenced_at: entry.sequenced_at,
        receipt,
    };
    Ok(Expectation::extend(digest, &row))
}

/// The root of a range as stored; `None` if an event of it is missing.
async fn stored_root(
    repair: &mut Repair,
    stream: &StreamKey,
    range: RangeInclusive<u64>,
) -> Result<Option<Hash32>, LogError> {
    let mut builder = RootBuilder::default();
    let mut next = *range.start();
    let mut whole = true;
    let end = *range.end();
    for piece in Span::try_from(range).into_iter().flat_map(pieces_of) {
        let view = repair.view();
        view.for_each_leaf_input(stream, piece, &mut |chunk| {
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
        repair.let_others_pass().await?;
        if !whole {
            break;
        }
    }
    Ok(if whole && next == end + 1 {
        builder.root()
    } else {
        None
    })
}
