//! The search for logs: what is still to be searched, and in which chunks.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::json;

use super::rpc::Rpc;
use super::{FetchError, FetchOptions, Run, at, hex_number, wrong};
use crate::anchor::ContractAddress;
use crate::anchors_file::AnchorsErrorKind;
use crate::chain::parts::Scan;
use crate::contracts::anchor_topics;
use crate::import::Importer;

/// How many blocks are searched for logs at first, and at most, in one call.
const FIRST_CHUNK: u64 = 10_000;
const MAX_CHUNK: u64 = 1_000_000;

/// Blocks to be searched for the logs of some contracts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Search {
    pub from: u64,
    pub to: u64,
    pub contracts: Vec<ContractAddress>,
}

/// The blocks that are still to be searched: contracts with the same range together.
pub(super) fn to_search(options: &FetchOptions, scanned: &[Scan], from: u64, to: u64) -> Vec<Search> {
    let mut ranges: BTreeMap<(u64, u64), Vec<ContractAddress>> = BTreeMap::new();
    let contracts: BTreeSet<ContractAddress> = options.contracts.iter().copied().collect();
    for contract in contracts {
        let known = scanned
            .iter()
            .filter(|scan| scan.contract == contract && !options.rescan);
        let mut known: Vec<(u64, u64)> = known.map(|scan| (scan.from, scan.to)).collect();
        known.sort_unstable();
        let mut next = from;
        for (from, end) in known {
            if next < from && next <= to {
                ranges.entry((next, to.min(from - 1))).or_default().push(contract);
            }
            next = next.max(end.saturating_add(1));
        }
        if next <= to {
            ranges.entry((next, to)).or_default().push(contract);
        }
    }
    ranges
        .into_iter()
        .map(|((from, to), contracts)| Search { from, to, contracts })
        .collect()
}

impl Run<'_> {
    /// Reads the logs of a range of blocks from a node, in chunks as large as it answers.
    pub(super) async fn logs(
        &self,
        rpc: &Rpc,
        search: &Search,
        chunk: Option<u64>,
        importer: &mut Importer,
    ) -> Result<(), FetchError> {
        let Search {
            mut from,
            to,
            contracts,
        } = search.clone();
        let topics: Vec<String> = anchor_topics().iter().map(|topic| format!("0x{topic}")).collect();
        self.progress
            .start("blocks searched", Some((to - from).saturating_add(1)));
        let most = chunk.unwrap_or(MAX_CHUNK).max(1);
        let mut chunk = chunk.unwrap_or(FIRST_CHUNK).max(1);
        // What was too much before is not tried again at once.
        let (mut ceiling, mut went_well) = (most, 0);
        while from <= to {
            let end = to.min(from.saturating_add(chunk - 1));
            let filter = json!([{
                "address": contracts,
                "topics": [topics],
                "fromBlock": hex_number(from),
                "toBlock": hex_number(end),
            }]);
            let doing = format!("reading the logs of blocks {from} to {end}");
            match rpc.call("eth_getLogs", filter).await {
                Ok(Some(answer)) => {
                    let source = format!("{}: blocks {from} to {end}", rpc.shown());
                    let read = importer.add_json(&source, answer.get().as_bytes());
                    read.map_err(|why: AnchorsErrorKind| wrong(&doing, why))?;
                    self.progress.advance((end - from).saturating_add(1));
                    if end == u64::MAX {
                        break;
                    }
                    from = end + 1;
                    went_well += 1;
                    if went_well % 16 == 0 {
                        ceiling = ceiling.saturating_mul(2).min(most);
                    }
                    chunk = chunk.saturating_mul(2).min(ceiling);
                }
                Ok(None) => return Err(wrong(doing, "it is null")),
                Err(failure) if end > from && failure.is_too_much() => {
                    chunk = ((end - from).div_ceil(2)).max(1);
                    (ceiling, went_well) = (chunk, 0);
                    tracing::info!("{doing}: {failure}; trying {chunk} blocks at a time");
                }
                Err(failure) => return Err(at(doing)(failure)),
            }
        }
        Ok(())
    }
}
