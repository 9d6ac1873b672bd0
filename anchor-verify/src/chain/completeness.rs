//! Whether anchors were left out.
//!
//! A header that is tied to the trusted block says, by its bloom filter, whether its block may hold logs of a contract.
//! Where it may, the receipts of the block, bound by its receipts root, say whether it does. So nobody has to be
//! believed that all anchors are there: between the lowest tied header and the trusted block it can be known.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;

use alloy::primitives::{Bloom, BloomInput};
use serde::{Deserialize, Serialize};
use ves::Hash32;

use super::examine::Chain;
use super::header::{self, Block};
use super::heads;
use super::parts::RefusedAnchor;
use super::receipt::PlacedLog;
use crate::anchor::{Anchor, ContractAddress};
use crate::anchors_file::AnchorsFile;
use crate::contracts::{Decoded, anchor_topics, decode, named};
use crate::verify::Verdict;

/// So many ranges of blocks, anchors or contracts are named in one sentence.
const NAMED: usize = 5;

/// Whether an anchor of some contracts was left out between two blocks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Completeness {
    /// PROVEN: none was. FAILED: some were. NOT CHECKED: it cannot be told, see [`Completeness::why`].
    pub verdict: Verdict,
    /// Whose anchors.
    pub contracts: Vec<ContractAddress>,
    /// The first block that is spoken of.
    pub from_block: Option<u64>,
    /// The last: the trusted block.
    pub to_block: Option<u64>,
    /// Anchors that receipts prove and that were not given. They are taken as evidence all the same. Receipts do not
    /// hold the hash of a transaction, which is zeros here.
    pub left_out: Vec<Anchor>,
    /// Blocks between the two whose headers are not there.
    pub headers_missing: Vec<(u64, u64)>,
    /// Blocks that may hold logs of the contracts by their bloom filter, and whose receipts are not there.
    pub receipts_missing: Vec<(u64, u64)>,
    /// Why it is FAILED or NOT CHECKED.
    pub why: Vec<String>,
    /// What the contracts' own heads and counts, proved by storage, say about anchors that are not here.
    pub bounds: Vec<String>,
}

impl Completeness {
    /// What it does not say, to be listed with all that was not checked.
    pub fn not_checked(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.verdict == Verdict::NotChecked {
            all.push(format!("that {}: {}", self.claim(), self.why.join("; ")));
            all.extend(self.bounds.iter().cloned());
        }
        if let Some(before @ 1..) = self.from_block {
            all.push(format!(
                "anchors before block {before}: no header of those blocks is tied to the trusted block"
            ));
        }
        all
    }

    /// What is judged, without the verdict.
    pub fn claim(&self) -> String {
        let mut contracts: Vec<String> = self.contracts.iter().map(ToString::to_string).collect();
        let more = contracts.len().saturating_sub(NAMED);
        contracts.truncate(NAMED);
        let of = match (contracts.len(), more) {
            (0, _) => "any contract".to_owned(),
            (_, 0) => contracts.join(", "),
            _ => format!("{} and {more} more", contracts.join(", ")),
        };
        match (self.from_block, self.to_block) {
            (Some(from), Some(to)) => {
                format!("no anchor of {of} between blocks {from} and {to} was left out")
            }
            _ => format!("no anchor of {of} was left out"),
        }
    }

    /// What is said where no anchors were given.
    pub fn without_anchors() -> Self {
        Self::not_told(Vec::new(), "no anchors were given")
    }

    fn not_told(contracts: Vec<ContractAddress>, why: &str) -> Self {
        Self {
            verdict: Verdict::NotChecked,
            contracts,
            from_block: None,
            to_block: None,
            left_out: Vec::new(),
            headers_missing: Vec::new(),
            receipts_missing: Vec::new(),
            why: vec![why.to_owned()],
            bounds: Vec::new(),
        }
    }
}

impl fmt::Display for Completeness {
    /// The line that stands in every report.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.claim(), self.verdict)?;
        if !self.why.is_empty() {
            write!(f, " ({})", self.why.join("; "))?;
        }
        Ok(())
    }
}

/// Says whether anchors were left out of `file`, and takes those that its receipts prove. `scope` says which anchors the
/// file is meant to have, if it is a selection; others are neither missed nor taken.
pub fn complete(
    file: &mut AnchorsFile,
    trusted: Option<Hash32>,
    scope: &dyn Fn(&Anchor) -> bool,
) -> Completeness {
    complete_of(file, trusted, &contracts_of(file), scope)
}

/// As [`complete`], for these contracts.
pub fn complete_of(
    file: &mut AnchorsFile,
    trusted: Option<Hash32>,
    contracts: &[ContractAddress],
    scope: &dyn Fn(&Anchor) -> bool,
) -> Completeness {
    let (completeness, refused) = judge(file, trusted, contracts, scope);
    if !(completeness.left_out.is_empty() && refused.is_empty()) {
        let mut chain = std::mem::take(&mut file.chain);
        // Nor is a log refused that the receipts show to be an anchor.
        let shown: HashSet<(Hash32, u64)> = completeness
            .left_out
            .iter()
            .map(|anchor| (anchor.block_hash, anchor.log_index))
            .collect();
        chain
            .refused
            .retain(|refused| !shown.contains(&(refused.block_hash, refused.log_index)));
        chain.refused.extend(refused);
        let mut anchors = std::mem::take(&mut file.anchors);
        anchors.extend(&completeness.left_out);
        *file = AnchorsFile::new(file.chain_id, anchors).with_chain(chain);
        file.resolve(&[]);
    }
    completeness
}

/// The contracts that a file speaks of.
fn contracts_of(file: &AnchorsFile) -> Vec<ContractAddress> {
    let anchors = file.anchors.iter().map(|anchor| anchor.contract);
    let scanned = file.chain.scanned.iter().map(|scan| scan.contract);
    let refused = file.chain.refused.iter().map(|refused| refused.contract);
    let all: BTreeSet<ContractAddress> = anchors.chain(scanned).chain(refused).collect();
    all.into_iter().collect()
}

fn judge(
    file: &AnchorsFile,
    trusted: Option<Hash32>,
    contracts: &[ContractAddress],
    scope: &dyn Fn(&Anchor) -> bool,
) -> (Completeness, Vec<RefusedAnchor>) {
    let not_told = |why: &str| Completeness::not_told(contracts.to_vec(), why);
    if contracts.is_empty() {
        return (not_told("no contract is named by what was given"), Vec::new());
    }
    let chain = Chain::new(file, trusted);
    let mut found = LeftOut::find(file, &chain, contracts);
    found.anchors.retain(|anchor| scope(anchor));
    let mut completeness = match (trusted, chain.canonical().last_key_value()) {
        (None, _) => not_told("no trusted block was given"),
        (Some(_), None) => not_told("the header of the trusted block is not there"),
        (Some(_), Some((to, _))) => in_range(file, &chain, contracts, *to),
    };
    if completeness.verdict == Verdict::NotChecked && trusted.is_some() {
        let (bounds, missing) = heads::bounds(file, &chain);
        completeness.bounds = bounds;
        if !missing.is_empty() {
            completeness.verdict = Verdict::Failed;
            completeness.why = missing;
        }
    }
    if !found.anchors.is_empty() {
        completeness.verdict = Verdict::Failed;
        completeness.why = found.anchors.iter().take(NAMED).map(describe).collect();
        if let Some(more @ 1..) = found.anchors.len().checked_sub(NAMED) {
            completeness.why.push(format!("and {more} more"));
        }
        completeness.left_out = found.anchors;
    }
    (completeness, found.refused)
}

fn describe(anchor: &Anchor) -> String {
    format!(
        "the receipts of block {} hold batch {} of contract {}, {} to {}{}, with root {} (log {}), which was left out",
        anchor.block_number,
        anchor.batch_id,
        anchor.contract,
        anchor.sequence_start,
        anchor.sequence_end,
        anchor
            .stream
            .map_or_else(String::new, |stream| format!(" of stream {stream}")),
        anchor.events_root,
        anchor.log_index
    )
}

/// What the blocks up to the trusted one, number `to`, say.
fn in_range(file: &AnchorsFile, chain: &Chain<'_>, contracts: &[ContractAddress], to: u64) -> Completeness {
    let held = QuietBlocks::of(file, chain, contracts);
    let anchors = file.anchors.iter().map(|anchor| anchor.block_number);
    let claimed = anchors
        .chain(file.chain.scanned.iter().map(|scan| scan.from))
        .chain(file.chain.searched_from)
        .filter(|number| *number <= to)
        .min();
    let from = claimed.map_or(held.lowest, |claimed| claimed.min(held.lowest));
    let headers_missing = match held.lowest.checked_sub(1) {
        Some(last) if from <= last => vec![(from, last)],
        _ => Vec::new(),
    };
    let receipts_missing = ranges(held.undecided.keys().copied());
    let mut why = Vec::new();
    if !headers_missing.is_empty() {
        why.push(format!(
            "the headers of blocks {} are not there",
            name_ranges(&headers_missing)
        ));
    }
    if let Some((first, reason)) = held.undecided.first_key_value() {
        why.push(format!(
            "the bloom filters of blocks {} let them hold such logs, and their receipts do not say (block {first}: \
             {reason})",
            name_ranges(&receipts_missing)
        ));
    }
    if let Some(number) = held.unreliable {
        why.push(format!(
            "the bloom filter of block {number} denies a log that its receipts hold: this chain's filters say nothing"
        ));
    }
    Completeness {
        verdict: if why.is_empty() {
            Verdict::Proven
        } else {
            Verdict::NotChecked
        },
        contracts: contracts.to_vec(),
        from_block: Some(from),
        to_block: Some(to),
        left_out: Vec::new(),
        headers_missing,
        receipts_missing,
        why,
        bounds: Vec::new(),
    }
}

/// Which blocks are known to hold no logs of the contracts but those that the receipts have.
struct QuietBlocks {
    /// The lowest block that is tied to the trusted one without a gap.
    lowest: u64,
    /// Blocks that may hold logs, and whose receipts do not tell; with the reason.
    undecided: BTreeMap<u64, String>,
    /// A block whose bloom filter is wrong.
    unreliable: Option<u64>,
}

impl QuietBlocks {
    fn of(file: &AnchorsFile, chain: &Chain<'_>, contracts: &[ContractAddress]) -> Self {
        let filter = LogFilter::new(contracts);
        let canonical = chain.canonical();
        let mut held = Self {
            lowest: canonical
                .first_key_value()
                .map_or(u64::MAX, |(number, _)| *number),
            undecided: BTreeMap::new(),
            unreliable: None,
        };
        let headers: HashMap<Hash32, &[u8]> = file
            .chain
            .headers
            .iter()
            .map(|entry| (entry.hash, &entry.rlp[..]))
            .collect();
        for (number, hash) in canonical {
            let may = headers.get(hash).is_none_or(|rlp| filter.may_match(rlp));
            match chain.logs_of(hash) {
                Some(Ok(logs)) => {
                    let has = logs.iter().any(|log| filter.is_one(log));
                    if has && !may {
                        held.unreliable.get_or_insert(*number);
                    }
                }
                Some(Err(why)) if may => {
                    held.undecided.insert(*number, why.clone());
                }
                None if may => {
                    held.undecided.insert(*number, "they are not there".to_owned());
                }
                _ => {}
            }
        }
        held
    }
}

/// The blocks whose logs of the contracts are known for sure, as ranges: tied to the `checkpoint`, and decided by bloom
/// filter or receipts.
pub(crate) fn decided(
    file: &AnchorsFile,
    checkpoint: Hash32,
    contracts: &[ContractAddress],
) -> Vec<(u64, u64)> {
    let chain = Chain::new(file, Some(checkpoint));
    let held = QuietBlocks::of(file, &chain, contracts);
    if held.unreliable.is_some() {
        return Vec::new();
    }
    let numbers = chain.canonical().keys().copied();
    ranges(numbers.filter(|number| !held.undecided.contains_key(number)))
}

/// The blocks, of those that lead down from `checkpoint`, whose bloom filters let them hold logs of the contracts.
pub(crate) fn may_hold(
    file: &AnchorsFile,
    checkpoint: Hash32,
    contracts: &[ContractAddress],
) -> Vec<(u64, Hash32)> {
    let filter = LogFilter::new(contracts);
    let chain = Chain::new(file, Some(checkpoint));
    let headers = file.chain.headers.iter();
    headers
        .filter(|entry| filter.may_match(&entry.rlp))
        .filter_map(|entry| {
            let number = header::read(&entry.rlp).ok()?.number;
            (chain.canonical().get(&number) == Some(&entry.hash)).then_some((number, entry.hash))
        })
        .collect()
}

/// What a bloom filter has if a block holds an anchor of one of the contracts.
struct LogFilter {
    contracts: HashSet<[u8; 20]>,
    topics: [Hash32; 2],
    wanted: Vec<Bloom>,
}

impl LogFilter {
    fn new(contracts: &[ContractAddress]) -> Self {
        let topics = anchor_topics();
        let mut wanted = Vec::with_capacity(contracts.len() * topics.len());
        for contract in contracts {
            for topic in topics {
                let mut bloom = Bloom::ZERO;
                bloom.accrue(BloomInput::Raw(&contract.0));
                bloom.accrue(BloomInput::Raw(&topic.0));
                wanted.push(bloom);
            }
        }
        Self {
            contracts: contracts.iter().map(|contract| contract.0).collect(),
            topics,
            wanted,
        }
    }

    /// Whether the block with this header may hold such a log. One that cannot be read may.
    fn may_match(&self, rlp: &[u8]) -> bool {
        let Ok(bloom) = header::bloom(rlp) else {
            return true;
        };
        let bloom = Bloom::from(bloom);
        self.wanted.iter().any(|wanted| bloom.contains(wanted))
    }

    fn is_one(&self, log: &PlacedLog) -> bool {
        self.contracts.contains(&log.address)
            && log
                .topics
                .first()
                .is_some_and(|topic| self.topics.iter().any(|known| known.0 == *topic))
    }
}

/// What the receipts of a file have and its anchors lack.
#[derive(Default)]
struct LeftOut {
    anchors: Vec<Anchor>,
    refused: Vec<RefusedAnchor>,
}

/// What makes two anchors the same log. The transaction is left out: receipts do not name it.
type LogKey = (
    Hash32,
    u64,
    ContractAddress,
    ves::BatchId,
    Hash32,
    Hash32,
    Hash32,
    u64,
    u64,
);

fn log_key(anchor: &Anchor) -> LogKey {
    (
        anchor.block_hash,
        anchor.log_index,
        anchor.contract,
        anchor.batch_id,
        anchor.tenant_store_key,
        anchor.events_root,
        anchor.state_root,
        anchor.sequence_start,
        anchor.sequence_end,
    )
}

impl LeftOut {
    fn find(file: &AnchorsFile, chain: &Chain<'_>, contracts: &[ContractAddress]) -> Self {
        let filter = LogFilter::new(contracts);
        let known: HashSet<LogKey> = file.anchors.iter().map(log_key).collect();
        let refused: HashSet<(Hash32, u64)> = file
            .chain
            .refused
            .iter()
            .map(|refused| (refused.block_hash, refused.log_index))
            .collect();
        let mut found = Self::default();
        let blocks: BTreeSet<Hash32> = file.chain.receipts.iter().map(|entry| entry.block_hash).collect();
        for hash in blocks {
            // What another chain holds says nothing about this one.
            let Some(block) = chain.block_of_interest(&hash) else {
                continue;
            };
            let Some(Ok(logs)) = chain.logs_of(&hash) else {
                continue;
            };
            for (index, log) in (0_u64..).zip(logs) {
                if !(log.success && filter.is_one(log)) {
                    continue;
                }
                match read(log, block, index) {
                    Ok(Some(anchor)) if !known.contains(&log_key(&anchor)) => found.anchors.push(anchor),
                    Err(why) if !refused.contains(&(hash, index)) => {
                        let named = named(&log.topics, &log.data);
                        found.refused.push(RefusedAnchor {
                            block_number: block.number,
                            log_index: index,
                            block_hash: hash,
                            transaction_hash: Hash32::ZERO,
                            contract: ContractAddress(log.address),
                            batch_id: named.batch_id,
                            tenant_store_key: named.tenant_store_key,
                            why,
                        });
                    }
                    _ => {}
                }
            }
        }
        found
            .anchors
            .sort_by_key(|anchor| (anchor.block_number, anchor.log_index));
        found
    }
}

/// The anchor that a log in a block's receipts is, if it is one.
fn read(log: &PlacedLog, block: &Block, log_index: u64) -> Result<Option<Anchor>, String> {
    let said = match decode(&log.topics, &log.data)? {
        Decoded::Anchor(said) => said,
        Decoded::Summary | Decoded::UnknownTopic => return Ok(None),
    };
    Ok(Some(Anchor {
        block_number: block.number,
        log_index,
        block_hash: block.hash,
        transaction_hash: Hash32::ZERO,
        block_timestamp: Some(block.timestamp),
        contract: ContractAddress(log.address),
        kind: said.kind,
        batch_id: said.batch_id,
        stream: said.stream,
        tenant_store_key: said.tenant_store_key,
        events_root: said.events_root,
        state_root: said.state_root,
        sequence_start: said.sequence_start,
        sequence_end: said.sequence_end,
        event_count: said.event_count,
    }))
}

/// Numbers in order, as ranges.
fn ranges(numbers: impl Iterator<Item = u64>) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    for number in numbers {
        match ranges.last_mut() {
            Some(last) if last.1.checked_add(1) == Some(number) => last.1 = number,
            _ => ranges.push((number, number)),
        }
    }
    ranges
}

/// At most [`NAMED`] ranges: a chain with many holes would fill the screen.
pub(crate) fn name_ranges(ranges: &[(u64, u64)]) -> String {
    let named = ranges.iter().take(NAMED).map(|(from, to)| match from == to {
        true => from.to_string(),
        false => format!("{from} to {to}"),
    });
    let named: Vec<String> = named.collect();
    match ranges.len().checked_sub(NAMED) {
        Some(more @ 1..) => format!("{} and {more} more ranges", named.join(", ")),
        _ => named.join(", "),
    }
}
