//! The anchors of each stream, and where they contradict each other.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use ves::{BatchId, Hash32, StreamKey};

use crate::anchor::{Anchor, AnchorKind, ContractAddress, tenant_store_key};
use crate::anchors_file::AnchorsFile;
use crate::rules::block_times;

/// Where on the chain a batch was anchored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct AnchorPlace {
    /// The block's number.
    pub block_number: u64,
    /// The log's number in the block.
    pub log_index: u64,
    /// The hash of the block that holds the log.
    pub block_hash: Hash32,
    /// When the block was made, in seconds since 1970, if the log or the block's header says so.
    pub block_timestamp: Option<u64>,
    /// The transaction that wrote the log, as far as a client said it.
    pub transaction_hash: Hash32,
    /// The contract that wrote the log.
    pub contract: ContractAddress,
    /// Which of the two it is.
    pub kind: AnchorKind,
}

/// One batch as it was anchored, by one contract or by several that say the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AnchoredBatch {
    /// The id that the sequencer gave the batch.
    pub batch_id: BatchId,
    /// The stream, if it is known.
    pub stream: Option<StreamKey>,
    /// What SetRegistry calls the stream.
    pub tenant_store_key: Hash32,
    /// First number.
    pub sequence_start: u64,
    /// Last number.
    pub sequence_end: u64,
    /// How many.
    pub event_count: u32,
    /// The Merkle root.
    pub events_root: Hash32,
    /// The state root after the batch.
    pub state_root: Hash32,
    /// Where it was anchored: at least one place.
    pub places: Vec<AnchorPlace>,
    /// It takes part in a [`Conflict`]: another anchor says otherwise, so it proves nothing until somebody has
    /// decided between them.
    pub contested: bool,
}

impl AnchoredBatch {
    fn overlaps(&self, other: &Self) -> bool {
        self.sequence_start <= other.sequence_end && other.sequence_start <= self.sequence_end
    }

    fn same_range(&self, other: &Self) -> bool {
        (self.sequence_start, self.sequence_end) == (other.sequence_start, other.sequence_end)
    }

    fn same_roots(&self, other: &Self) -> bool {
        (self.events_root, self.state_root) == (other.events_root, other.state_root)
    }
}

/// How two anchored batches contradict each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// One batch id with two streams, ranges or roots.
    BatchId,
    /// One range of a stream with two roots.
    Range,
    /// Two ranges of a stream that share positions.
    Overlap,
}

/// Two anchored batches that cannot both be of one history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// How they contradict each other.
    pub kind: ConflictKind,
    /// The one that comes first by position.
    pub first: AnchoredBatch,
    /// The one behind it in the order of stream and position.
    pub second: AnchoredBatch,
}

/// The anchored batches of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StreamAnchors {
    /// The stream; `None` if only [`StreamAnchors::tenant_store_key`] is known.
    pub stream: Option<StreamKey>,
    /// What SetRegistry calls the stream.
    pub tenant_store_key: Hash32,
    /// The batches by position, contested ones included. A batch that was committed again under another id with the
    /// same roots is here twice.
    pub batches: Vec<AnchoredBatch>,
}

impl StreamAnchors {
    /// The highest number that was anchored.
    pub fn head(&self) -> Option<u64> {
        self.batches.iter().map(|batch| batch.sequence_end).max()
    }
}

/// All anchors, by stream, with what contradicts each other.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct AnchorView {
    /// By stream; those whose stream is not known come last.
    pub streams: Vec<StreamAnchors>,
    /// What contradicts each other. For each batch at least one partner is named, not every pair: a hostile file
    /// could hold millions.
    pub conflicts: Vec<Conflict>,
}

impl AnchorView {
    /// The anchors of a file, as [`group`] sees them. A place without a time of its own has that of its block's header.
    pub fn of(file: &AnchorsFile, streams: &[StreamKey]) -> Self {
        let mut view = group(&file.anchors, streams);
        let times = block_times(file);
        let batches = view.streams.iter_mut().flat_map(|stream| &mut stream.batches);
        for place in batches.flat_map(|batch| &mut batch.places) {
            let of_header = times.get(&place.block_hash).copied();
            place.block_timestamp = place.block_timestamp.or(of_header);
        }
        view
    }

    /// The anchors of a stream.
    pub fn stream(&self, stream: &StreamKey) -> Option<&StreamAnchors> {
        self.streams.iter().find(|s| s.stream.as_ref() == Some(stream))
    }

    /// Streams of which only SetRegistry's name is known.
    pub fn unresolved(&self) -> impl Iterator<Item = &StreamAnchors> {
        self.streams.iter().filter(|s| s.stream.is_none())
    }
}

/// Groups anchors by stream, takes together what several contracts say alike, and finds what contradicts each other.
///
/// `streams` are streams that the caller knows (those of the log, of outboxes): SetRegistry's logs hold only a hash
/// of the stream, which is resolved from them and from the other contract's anchors.
pub fn group(anchors: &[Anchor], streams: &[StreamKey]) -> AnchorView {
    let mut batches = gather(anchors, streams);
    let pairs = find_conflicts(&batches);
    contest(&mut batches, &pairs);
    let conflicts = pairs
        .into_iter()
        .map(|(kind, first, second)| Conflict {
            kind,
            first: batches[first].clone(),
            second: batches[second].clone(),
        })
        .collect();
    AnchorView {
        streams: by_stream(batches),
        conflicts,
    }
}

/// Takes equal statements together, by stream and position.
fn gather(anchors: &[Anchor], streams: &[StreamKey]) -> Vec<AnchoredBatch> {
    let known: BTreeMap<Hash32, StreamKey> = anchors
        .iter()
        .filter_map(|anchor| anchor.stream)
        .chain(streams.iter().copied())
        .map(|stream| (tenant_store_key(&stream), stream))
        .collect();
    let mut batches: BTreeMap<_, AnchoredBatch> = BTreeMap::new();
    for anchor in anchors {
        let key = (
            anchor.tenant_store_key,
            anchor.sequence_start,
            anchor.sequence_end,
            anchor.batch_id,
            anchor.events_root,
            anchor.state_root,
        );
        let batch = batches.entry(key).or_insert_with(|| AnchoredBatch {
            batch_id: anchor.batch_id,
            stream: known.get(&anchor.tenant_store_key).copied(),
            tenant_store_key: anchor.tenant_store_key,
            sequence_start: anchor.sequence_start,
            sequence_end: anchor.sequence_end,
            event_count: anchor.event_count,
            events_root: anchor.events_root,
            state_root: anchor.state_root,
            places: Vec::new(),
            contested: false,
        });
        batch.places.push(AnchorPlace {
            block_number: anchor.block_number,
            log_index: anchor.log_index,
            block_hash: anchor.block_hash,
            block_timestamp: anchor.block_timestamp,
            transaction_hash: anchor.transaction_hash,
            contract: anchor.contract,
            kind: anchor.kind,
        });
    }
    let mut batches: Vec<AnchoredBatch> = batches.into_values().collect();
    for batch in &mut batches {
        batch.places.sort_unstable();
        batch.places.dedup();
    }
    batches
}

/// Marks what is contradicted: with a batch all that say the same, also under other ids.
fn contest(batches: &mut [AnchoredBatch], pairs: &[(ConflictKind, usize, usize)]) {
    let statement = |b: &AnchoredBatch| {
        (
            b.tenant_store_key,
            b.sequence_start,
            b.sequence_end,
            b.events_root,
            b.state_root,
        )
    };
    let contested: BTreeSet<_> = pairs
        .iter()
        .flat_map(|(_, first, second)| [*first, *second])
        .map(|i| statement(&batches[i]))
        .collect();
    for batch in batches {
        batch.contested = contested.contains(&statement(batch));
    }
}

/// Cuts batches, which are in order, into streams; those whose stream is not known come last.
fn by_stream(batches: Vec<AnchoredBatch>) -> Vec<StreamAnchors> {
    let mut streams: Vec<StreamAnchors> = Vec::new();
    for batch in batches {
        match streams.last_mut() {
            Some(last) if last.tenant_store_key == batch.tenant_store_key => last.batches.push(batch),
            _ => streams.push(StreamAnchors {
                stream: batch.stream,
                tenant_store_key: batch.tenant_store_key,
                batches: vec![batch],
            }),
        }
    }
    streams.sort_by_key(|s| (s.stream.is_none(), s.stream, s.tenant_store_key));
    streams
}

/// Pairs of batches that contradict each other, as indexes. The batches are sorted by stream and position.
fn find_conflicts(batches: &[AnchoredBatch]) -> Vec<(ConflictKind, usize, usize)> {
    let mut pairs = Vec::new();
    let mut by_id: BTreeMap<BatchId, usize> = BTreeMap::new();
    // Among the earlier batches of the stream, the one that reaches furthest: whoever overlaps any overlaps it,
    // or one that was found before.
    let mut furthest: Option<usize> = None;
    for (i, batch) in batches.iter().enumerate() {
        if let Some(first) = by_id.get(&batch.batch_id) {
            pairs.push((ConflictKind::BatchId, *first, i));
        } else {
            by_id.insert(batch.batch_id, i);
        }
        let earlier = furthest.filter(|f| batches[*f].tenant_store_key == batch.tenant_store_key);
        // The batches of one range lie together, so the one before is of the same range if any is.
        let before = i.checked_sub(1).filter(|b| {
            batches[*b].tenant_store_key == batch.tenant_store_key && batches[*b].same_range(batch)
        });
        if let Some(before) = before
            && !batches[before].same_roots(batch)
            && batches[before].batch_id != batch.batch_id
        {
            pairs.push((ConflictKind::Range, before, i));
        }
        if let Some(earlier) = earlier {
            let other = &batches[earlier];
            if other.overlaps(batch) && !other.same_range(batch) && other.batch_id != batch.batch_id {
                pairs.push((ConflictKind::Overlap, earlier, i));
            }
            if other.sequence_end < batch.sequence_end {
                furthest = Some(i);
            }
        } else {
            furthest = Some(i);
        }
    }
    pairs
}
