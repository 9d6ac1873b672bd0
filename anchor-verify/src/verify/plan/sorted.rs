//! The anchors of a file, sorted by stream and range, with what contests them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use ves::{BatchId, Hash32, StreamKey};

use crate::anchor::{Anchor, ContractAddress, tenant_store_key};
use crate::anchors_file::AnchorsFile;
use crate::batches::{AnchorView, group};
use crate::rules::{AnchoredAt, block_times};
use crate::standing::{AnchorStanding, ChainReport};
use crate::verify::report::{AnchorRef, StandingName};

/// So many anchors of one batch are listed.
pub(super) const MAX_ANCHORS: usize = 16;

/// One statement of the chain about a range.
#[derive(Debug, Clone)]
pub(in crate::verify) struct RangeAnchor {
    pub batch_id: BatchId,
    pub events_root: Hash32,
    pub state_root: Hash32,
    /// One of its anchors is tied to the trusted block.
    pub trusted: bool,
    /// Another anchor of no less standing says otherwise.
    pub contested: bool,
    pub refs: Vec<AnchorRef>,
    /// The transaction and the block of each of its anchors.
    pub places: Vec<(Hash32, u64)>,
    /// When it was first anchored: by an anchor that is tied to the trusted block, if one is.
    pub at: Option<AnchoredAt>,
}

impl RangeAnchor {
    /// When a range was first anchored: by an anchor that is tied to the trusted block, if any is.
    pub fn first(anchored: &[Self]) -> Option<AnchoredAt> {
        let trusted = anchored.iter().any(|a| a.trusted);
        let of = anchored.iter().filter(|a| a.trusted == trusted);
        of.filter_map(|a| a.at).min()
    }
}

pub(super) type Ranges = BTreeMap<StreamKey, BTreeMap<(u64, u64), OfRange>>;
type Statement = (Hash32, u64, u64, BatchId, Hash32, Hash32);

fn statement(anchor: &Anchor) -> Statement {
    (
        anchor.tenant_store_key,
        anchor.sequence_start,
        anchor.sequence_end,
        anchor.batch_id,
        anchor.events_root,
        anchor.state_root,
    )
}

fn contested(view: &AnchorView) -> BTreeSet<Statement> {
    let batches = view.streams.iter().flat_map(|stream| &stream.batches);
    batches
        .filter(|b| b.contested)
        .map(|b| {
            (
                b.tenant_store_key,
                b.sequence_start,
                b.sequence_end,
                b.batch_id,
                b.events_root,
                b.state_root,
            )
        })
        .collect()
}

pub(super) fn anchor_ref(anchor: &Anchor, standing: &AnchorStanding) -> AnchorRef {
    let (name, why) = match standing {
        AnchorStanding::Trusted { trusted_block, by } => (StandingName::Trusted, {
            let by: Vec<&str> = by.iter().map(|by| by.as_str()).collect();
            format!("tied to block {trusted_block} by {}", by.join(" and "))
        }),
        AnchorStanding::Untied { why } => (StandingName::Untied, why.clone()),
        AnchorStanding::Failed { why } => (StandingName::Failed, why.clone()),
    };
    AnchorRef {
        batch_id: anchor.batch_id,
        kind: anchor.kind,
        contract: anchor.contract,
        block_number: anchor.block_number,
        log_index: anchor.log_index,
        transaction_hash: anchor.transaction_hash,
        events_root: anchor.events_root,
        state_root: anchor.state_root,
        standing: name,
        why,
    }
}

/// The anchors of one range.
#[derive(Default)]
pub(super) struct OfRange {
    pub anchored: BTreeMap<(BatchId, Hash32, Hash32), RangeAnchor>,
    pub failed: Vec<AnchorRef>,
}

impl OfRange {
    /// Adds an anchor that its own proof does not contradict.
    pub fn add(&mut self, anchor: &Anchor, standing: &AnchorStanding, known: &KnownAnchors) {
        let trusted = matches!(standing, AnchorStanding::Trusted { .. });
        let id = statement(anchor);
        let found = self
            .anchored
            .entry((anchor.batch_id, anchor.events_root, anchor.state_root))
            .or_insert_with(|| RangeAnchor {
                batch_id: anchor.batch_id,
                events_root: anchor.events_root,
                state_root: anchor.state_root,
                trusted: false,
                contested: known.contested_any.contains(&id),
                refs: Vec::new(),
                places: Vec::new(),
                at: None,
            });
        if trusted && !found.trusted {
            found.trusted = true;
            found.contested = known.contested_trusted.contains(&id);
            found.at = None;
        }
        if found.trusted == trusted {
            let seconds = anchor
                .block_timestamp
                .or_else(|| known.times.get(&anchor.block_hash).copied());
            let at = seconds.and_then(|seconds| AnchoredAt::new(anchor.block_number, seconds));
            found.at = found.at.into_iter().chain(at).min();
        }
        found.places.push((anchor.transaction_hash, anchor.block_number));
        if found.refs.len() < MAX_ANCHORS {
            found.refs.push(anchor_ref(anchor, standing));
        }
    }
}

/// What a file says of all of its anchors together.
pub(super) struct KnownAnchors {
    /// What some anchor contradicts that its own proof does not contradict.
    contested_any: BTreeSet<Statement>,
    /// What a trusted anchor contradicts: what somebody merely claims cannot contest what is proven.
    contested_trusted: BTreeSet<Statement>,
    /// Where anchors are that are tied to the trusted block.
    pub proven_places: BTreeSet<(Hash32, u64, ContractAddress)>,
    pub streams: BTreeMap<Hash32, StreamKey>,
    times: HashMap<Hash32, u64>,
}

impl KnownAnchors {
    pub fn new(file: &AnchorsFile, chain: &ChainReport, streams: &[StreamKey]) -> Self {
        let contested_among = |wanted: fn(&AnchorStanding) -> bool| {
            let both = file.anchors.iter().zip(&chain.standings);
            let anchors: Vec<Anchor> = both
                .filter(|(_, standing)| wanted(standing))
                .map(|(anchor, _)| *anchor)
                .collect();
            contested(&group(&anchors, streams))
        };
        let named = file.anchors.iter().filter_map(|anchor| anchor.stream);
        Self {
            contested_any: contested_among(|s| !matches!(s, AnchorStanding::Failed { .. })),
            contested_trusted: contested_among(|s| matches!(s, AnchorStanding::Trusted { .. })),
            proven_places: chain.proven_places(file),
            streams: named
                .chain(streams.iter().copied())
                .map(|stream| (tenant_store_key(&stream), stream))
                .collect(),
            times: block_times(file),
        }
    }
}

/// The anchors, by stream and range, and those that are in none.
#[derive(Default)]
pub(super) struct Sorted {
    pub ranges: Ranges,
    /// Altered copies of anchors that are proven.
    pub copies: BTreeSet<String>,
    /// Anchors whose stream is not known.
    pub unresolved: usize,
}
