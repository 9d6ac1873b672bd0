//! What was taken of each contract and stream.

use std::collections::BTreeMap;

use serde::Serialize;
use ves::{Hash32, Span, Spans, StreamKey};

use crate::anchor::{Anchor, AnchorKind, ContractAddress};

/// What an import took of one contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContractSummary {
    /// The contract that wrote the anchors.
    pub contract: ContractAddress,
    /// Which of the two it is.
    pub kind: AnchorKind,
    /// How many anchors there are.
    pub anchors: usize,
    /// The streams that they are of.
    pub streams: Vec<ImportedStream>,
}

/// What an import took of one stream of one contract.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImportedStream {
    /// The stream, if it is known.
    pub stream: Option<StreamKey>,
    /// What SetRegistry calls it.
    pub tenant_store_key: Hash32,
    /// How many anchors there are.
    pub anchors: usize,
    /// The numbers that they cover, as ranges that neither touch nor overlap.
    pub ranges: Vec<(u64, u64)>,
}

/// What there is of each contract and stream.
pub fn summarize(anchors: &[Anchor]) -> Vec<ContractSummary> {
    let mut contracts: BTreeMap<(ContractAddress, AnchorKind), BTreeMap<Hash32, Vec<&Anchor>>> =
        BTreeMap::new();
    for anchor in anchors {
        let streams = contracts.entry((anchor.contract, anchor.kind)).or_default();
        streams.entry(anchor.tenant_store_key).or_default().push(anchor);
    }
    contracts
        .into_iter()
        .map(|((contract, kind), streams)| ContractSummary {
            contract,
            kind,
            anchors: streams.values().map(Vec::len).sum(),
            streams: streams
                .into_iter()
                .map(|(key, anchors)| summarize_stream(key, &anchors))
                .collect(),
        })
        .collect()
}

fn summarize_stream(tenant_store_key: Hash32, anchors: &[&Anchor]) -> ImportedStream {
    let covered: Spans = anchors
        .iter()
        .filter_map(|anchor| Span::new(anchor.sequence_start, anchor.sequence_end))
        .collect();
    let stream = anchors.iter().find_map(|anchor| anchor.stream);
    ImportedStream {
        stream,
        tenant_store_key,
        anchors: anchors.len(),
        ranges: covered.iter().map(|span| (span.start(), span.end())).collect(),
    }
}
