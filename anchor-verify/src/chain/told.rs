//! What is to be told of the standings of a file's anchors: what they rest on, and what they lack.

use std::collections::{BTreeMap, BTreeSet};

use alloy::primitives::keccak256;
use ves::Hash32;

use super::header;
use crate::anchor::{Anchor, AnchorKind};
use crate::anchors_file::AnchorsFile;
use crate::pins::ChainPins;
use crate::standing::{AnchorStanding, ChainReport, ProvedBy};

/// So many reasons, contracts or blocks are named.
const MAX_NAMED: usize = 4;

/// In so many digits a hash may differ from another to be taken for a misspelling of it.
const NEAR: usize = 4;

/// What the standings leave open.
pub(super) fn of_standings(
    file: &AnchorsFile,
    standings: &[AnchorStanding],
    trusted_block: Option<Hash32>,
    pins: &ChainPins,
) -> Vec<String> {
    let mut told = Vec::new();
    let reasons = untied(standings);
    let count: usize = reasons.values().sum();
    if trusted_block.is_none() {
        told.push("that the anchors are on the chain: no trusted block was given".to_owned());
    } else if count > 0 {
        told.push(format!(
            "that {count} of {} anchors are on the chain: {}",
            file.anchors.len(),
            most(&reasons)
        ));
    }
    let contracts: BTreeSet<String> = file.anchors.iter().map(|a| a.contract.to_string()).collect();
    if !contracts.is_empty() && pins.contracts.is_empty() {
        told.push(format!(
            "that these are the sequencer's contracts: {} (the file names them; --contract pins them)",
            some(contracts.into_iter().collect(), ", ")
        ));
    }
    let by_storage_alone = |standing: &AnchorStanding| matches!(standing, AnchorStanding::Trusted { by, .. } if by == &[ProvedBy::Storage]);
    let storage_only: Vec<&Anchor> = file
        .anchors
        .iter()
        .zip(standings)
        .filter(|(_, s)| by_storage_alone(s))
        .map(|(anchor, _)| anchor)
        .collect();
    if !storage_only.is_empty() {
        told.push(format!(
            "the block and place of the logs of {} anchors (block_number, block_hash, log_index): they are proved by \
             storage alone",
            storage_only.len()
        ));
    }
    let registry = storage_only
        .iter()
        .filter(|anchor| anchor.kind == AnchorKind::SetRegistry)
        .count();
    if registry > 0 {
        told.push(format!(
            "the stream of {registry} anchors of SetRegistry: they are proved by storage alone, which does not name it \
             (the Merkle root does)"
        ));
    }
    told
}

/// Why the trusted block ties none of the anchors, if it ties none.
pub fn ties_nothing(file: &AnchorsFile, report: &ChainReport) -> Option<String> {
    let trusted = report.trusted_block?;
    let tied = |standing: &AnchorStanding| matches!(standing, AnchorStanding::Trusted { .. });
    if file.anchors.is_empty() || report.standings.iter().any(tied) {
        return None;
    }
    let hashes: Vec<Hash32> = file
        .chain
        .headers
        .iter()
        .map(|entry| Hash32(keccak256(&entry.rlp).0))
        .collect();
    let why = if hashes.contains(&trusted) {
        most(&untied(&report.standings))
    } else {
        not_there(file, &hashes, &trusted)
    };
    Some(format!("the trusted block {trusted} ties nothing: {why}"))
}

/// That a block is not in the file, and which blocks are.
fn not_there(file: &AnchorsFile, hashes: &[Hash32], trusted: &Hash32) -> String {
    let mut near: Vec<(usize, u64, Hash32)> = Vec::new();
    let mut numbers: Option<(u64, u64)> = None;
    for (entry, hash) in file.chain.headers.iter().zip(hashes) {
        let Ok(block) = header::read(&entry.rlp) else {
            continue;
        };
        let (low, high) = numbers.unwrap_or((block.number, block.number));
        numbers = Some((low.min(block.number), high.max(block.number)));
        let digits = |a: u8, b: u8| usize::from(a >> 4 != b >> 4) + usize::from(a & 15 != b & 15);
        let unlike: usize = hash.0.iter().zip(trusted.0).map(|(a, b)| digits(*a, b)).sum();
        if unlike <= NEAR {
            near.push((unlike, block.number, *hash));
        }
    }
    near.sort_unstable();
    near.dedup();
    let headers = match numbers {
        None => "the file has no headers".to_owned(),
        Some((low, high)) => format!(
            "it is not among the {} headers of the file, of blocks {low} to {high}",
            hashes.len()
        ),
    };
    let near: Vec<String> = near
        .iter()
        .map(|(unlike, number, hash)| format!("block {number}, {hash}, differs in {unlike} digit(s)"))
        .collect();
    if !near.is_empty() {
        return format!("{headers}; near it is {}", some(near, ", and "));
    }
    match file.chain.checkpoint {
        Some(at) => format!("{headers}; the file ends at block {}, {}", at.number, at.hash),
        None => headers,
    }
}

/// The blocks of a file that may be meant by a text that is no hash: by a number, or by a hash with digits too many or too
/// few.
pub fn blocks_like(file: &AnchorsFile, text: &str) -> Vec<String> {
    let mut blocks: Vec<(u64, Hash32)> = (file.chain.headers.iter())
        .filter_map(|entry| header::read(&entry.rlp).ok())
        .map(|block| (block.number, block.hash))
        .collect();
    blocks.extend(file.chain.checkpoint.map(|at| (at.number, at.hash)));
    blocks.sort_unstable();
    blocks.dedup();
    let digits = text.strip_prefix("0x").unwrap_or(text).to_ascii_lowercase();
    // A hash is never this short, a number never this long.
    let number = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    };
    let near: Vec<&(u64, Hash32)> = match number {
        Some(number) => {
            let below = blocks.iter().rfind(|(of, _)| *of <= number);
            let above = blocks.iter().find(|(of, _)| *of >= number);
            let mut near: Vec<_> = below.into_iter().chain(above).collect();
            near.dedup();
            near
        }
        None => blocks
            .iter()
            .filter(|(_, hash)| alike(&hash.to_string(), &digits))
            .collect(),
    };
    let named = |(number, hash): &&(u64, Hash32)| format!("block {number}, {hash}");
    near.iter().take(MAX_NAMED).map(named).collect()
}

/// Whether a text is a hash but for a few digits that are missing, too many or others, all in one place.
fn alike(hash: &str, text: &str) -> bool {
    let common = |a: &mut dyn Iterator<Item = u8>, b: &mut dyn Iterator<Item = u8>| {
        a.zip(b).take_while(|(a, b)| a == b).count()
    };
    let ahead = common(&mut hash.bytes(), &mut text.bytes());
    let behind = common(&mut hash.bytes().rev(), &mut text.bytes().rev());
    ahead + behind + NEAR >= hash.len() && text.len() <= hash.len() + NEAR
}

/// What untied anchors lack, and how many of them.
fn untied(standings: &[AnchorStanding]) -> BTreeMap<&str, usize> {
    let mut reasons: BTreeMap<&str, usize> = BTreeMap::new();
    for standing in standings {
        if let AnchorStanding::Untied { why } = standing {
            *reasons.entry(why).or_default() += 1;
        }
    }
    reasons
}

/// The reasons that most anchors share.
fn most(reasons: &BTreeMap<&str, usize>) -> String {
    let mut reasons: Vec<(&str, usize)> = reasons.iter().map(|(why, count)| (*why, *count)).collect();
    reasons.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    let all = reasons.iter().map(|(why, count)| format!("{why} ({count})"));
    some(all.collect(), "; ")
}

/// The first of them, and how many more there are.
fn some(mut all: Vec<String>, between: &str) -> String {
    let more = all.len().saturating_sub(MAX_NAMED);
    all.truncate(MAX_NAMED);
    let more = if more > 0 {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{}{more}", all.join(between))
}
