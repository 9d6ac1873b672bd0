//! Reading anchors, and what proves them, from a node.
//!
//! What comes back goes through the same reader as saved answers do ([`crate::import`]) and is checked against the
//! header that it belongs to before it is kept. A file that is there is extended: only what it lacks is asked for. If
//! the chain was reorganised since, what went with it is dropped and told.

pub mod rpc;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use cli_common::Progress;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use ves::{BatchId, Hash32, StreamKey};

use crate::anchors::{Anchor, AnchorKind, AnchorsErrorKind, AnchorsFile, ContractAddress};
use crate::chain::header::{self, Block};
use crate::chain::parts::{ChainParts, Checkpoint, HeaderBytes, Scan};
use crate::chain::{examine, receipt, storage};
use crate::contracts::anchor_topics;
use crate::import::{Importer, RefusedLog};
use crate::standing::Standing;
use rpc::{Rpc, RpcFailure};

/// Up to which block to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// The newest block, which may still be reorganised away.
    Latest,
    /// The newest block that the node calls safe.
    Safe,
    /// The newest block that the node calls finalized.
    Finalized,
    /// This block.
    Number(u64),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        match s {
            "latest" => Ok(Self::Latest),
            "safe" => Ok(Self::Safe),
            "finalized" => Ok(Self::Finalized),
            number => number
                .parse()
                .map(Self::Number)
                .map_err(|_| "not latest, safe, finalized or a number".into()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Latest => f.write_str("latest"),
            Self::Safe => f.write_str("safe"),
            Self::Finalized => f.write_str("finalized"),
            Self::Number(number) => number.fmt(f),
        }
    }
}

/// What proofs to ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Proofs {
    /// Receipts and storage proofs.
    #[default]
    Both,
    /// Receipts, and headers up to the checkpoint.
    Receipts,
    /// Storage proofs at the checkpoint.
    Storage,
}

/// What to read.
#[derive(Debug, Clone)]
pub struct FetchOptions {
    /// Whose anchors.
    pub contracts: Vec<ContractAddress>,
    /// From which block; where the file ends, or 0, without it.
    pub from: Option<u64>,
    /// Up to which block.
    pub to: Target,
    /// What proofs to ask for.
    pub proofs: Proofs,
    /// The most headers that tie anchors to the checkpoint. More are left out, and said to be.
    pub max_headers: u64,
    /// Streams that are known.
    pub streams: Vec<StreamKey>,
}

/// Why nothing could be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The node refused, or could not be reached.
    #[error("{doing}: {failure}")]
    Rpc {
        /// What was asked for.
        doing: String,
        /// What came of it.
        failure: RpcFailure,
    },
    /// The node's answer cannot be.
    #[error("{doing}: the node's answer is wrong: {why}")]
    Answer {
        /// What was asked for.
        doing: String,
        /// What is wrong.
        why: String,
    },
    /// The file is of another chain.
    #[error("the file is of chain {file}, the node of chain {node}")]
    OtherChain {
        /// The file's.
        file: u64,
        /// The node's.
        node: u64,
    },
    /// The chain changed between two answers.
    #[error("the chain was reorganised while it was read: {0}")]
    Moved(String),
}

/// What a reorganisation of the chain took away since the file was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Reorg {
    /// The last block that is still the same, as far as the file knows blocks.
    pub common: Option<u64>,
    /// The lowest block that is another now.
    pub from: u64,
    /// What that block was.
    pub was: Hash32,
    /// What it is now, as far as the node says.
    pub is: Option<Hash32>,
    /// Anchors that were in blocks that are no longer there.
    pub dropped: Vec<Anchor>,
    /// How many of them are anchored again, in other blocks.
    pub again: usize,
}

/// What was read.
#[derive(Debug, Clone)]
pub struct Fetched {
    /// The file: what was there, and what is new.
    pub file: AnchorsFile,
    /// The block that was read up to.
    pub checkpoint: Checkpoint,
    /// Anchors that the file did not have.
    pub new: usize,
    /// Logs that were refused.
    pub refused: Vec<RefusedLog>,
    /// Whether the chain was reorganised since the file was written.
    pub reorg: Option<Reorg>,
    /// What the node did not give, and what was done instead.
    pub notes: Vec<String>,
    /// What the file's proofs come to if the checkpoint is trusted.
    pub proved: Proved,
}

/// How many anchors a file proves, taking its own checkpoint for the trusted block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Proved {
    /// By receipt and by storage.
    pub both: usize,
    /// By receipt alone.
    pub receipt: usize,
    /// By storage alone.
    pub storage: usize,
    /// Not at all.
    pub untied: usize,
    /// Contradicted.
    pub failed: usize,
}

impl Proved {
    fn of(file: &AnchorsFile) -> Self {
        let report = examine(file, file.chain.checkpoint.map(|checkpoint| checkpoint.hash));
        let mut proved = Self::default();
        for standing in &report.standings {
            match standing {
                Standing::Trusted { by, .. } if by.len() > 1 => proved.both += 1,
                Standing::Trusted { by, .. } if by.contains(&"receipt") => proved.receipt += 1,
                Standing::Trusted { .. } => proved.storage += 1,
                Standing::Untied { .. } => proved.untied += 1,
                Standing::Failed { .. } => proved.failed += 1,
            }
        }
        proved
    }
}

/// How many blocks are searched for logs at first, and at most, in one call.
const FIRST_CHUNK: u64 = 10_000;
const MAX_CHUNK: u64 = 1_000_000;

/// How many calls go in one batch.
const BATCH: usize = 50;

/// How many batches of anchors are proved in one call.
const PROVED_AT_ONCE: usize = 16;

/// Reads anchors and their proofs, extending `file` if there is one.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(
    rpc: &Rpc,
    options: &FetchOptions,
    file: Option<AnchorsFile>,
    progress: &dyn Progress,
) -> Result<Fetched, FetchError> {
    let mut run = Run {
        rpc,
        progress,
        notes: Vec::new(),
        blocks: HashMap::new(),
    };
    let chain_id = run.chain_id().await?;
    let mut file = file.unwrap_or_default();
    if let Some(known) = file.chain_id.filter(|known| *known != chain_id) {
        return Err(FetchError::OtherChain {
            file: known,
            node: chain_id,
        });
    }
    file.chain_id = Some(chain_id);

    let target = run.target(options.to).await?;
    let mut reorg = run.reorganise(&mut file).await?;
    // A file that reaches further than what is asked for stays as it is.
    let checkpoint = match file.chain.checkpoint {
        Some(known) if known.number > target.number => {
            run.notes.push(format!(
                "the file reaches further than block {}, to block {}",
                target.number, known.number
            ));
            run.keep(&file.chain.headers);
            known
        }
        _ => {
            run.keep(&file.chain.headers);
            Checkpoint {
                number: target.number,
                hash: target.hash,
            }
        }
    };

    let before: HashSet<_> = file.anchors.iter().map(place).collect();
    let mut importer = Importer::new(Some(chain_id), options.contracts.clone());
    let scans = to_scan(options, &file.chain.scanned, target.number);
    for (from, to, contracts) in scans {
        run.logs(&contracts, from, to, &mut importer).await?;
        file.chain
            .scanned
            .extend(contracts.into_iter().map(|contract| Scan { contract, from, to }));
    }
    let import = importer.finish(&options.streams);
    let chain = std::mem::take(&mut file.chain);
    let AnchorsFile {
        anchors,
        chain: found,
        ..
    } = import.file;
    file.anchors.extend(anchors);
    let mut chain_parts = chain;
    chain_parts.extend(found);
    file = AnchorsFile::new(file.chain_id, file.anchors).with_chain(chain_parts);
    file.resolve(&options.streams);

    run.tie(&mut file, checkpoint, options).await?;
    if options.proofs != Proofs::Storage {
        run.receipts(&mut file).await?;
    }
    if options.proofs != Proofs::Receipts {
        run.proofs(&mut file, checkpoint).await?;
    }
    file.chain.checkpoint = Some(checkpoint);
    let chain = std::mem::take(&mut file.chain);
    let file = file.with_chain(chain);

    if let Some(reorg) = &mut reorg {
        let there: HashSet<_> = file
            .anchors
            .iter()
            .map(|a| (a.contract, a.batch_id, a.events_root))
            .collect();
        let again = |a: &&Anchor| there.contains(&(a.contract, a.batch_id, a.events_root));
        reorg.again = reorg.dropped.iter().filter(again).count();
    }
    let new = file
        .anchors
        .iter()
        .filter(|anchor| !before.contains(&place(anchor)))
        .count();
    let proved = Proved::of(&file);
    progress.finish();
    Ok(Fetched {
        checkpoint,
        new,
        refused: import.refused,
        reorg,
        notes: run.notes,
        proved,
        file,
    })
}

fn place(anchor: &Anchor) -> (Hash32, u64, ContractAddress) {
    (anchor.block_hash, anchor.log_index, anchor.contract)
}

/// The blocks that are still to be searched: contracts with the same range together.
fn to_scan(options: &FetchOptions, scanned: &[Scan], to: u64) -> Vec<(u64, u64, Vec<ContractAddress>)> {
    let mut ranges: BTreeMap<(u64, u64), Vec<ContractAddress>> = BTreeMap::new();
    let contracts: BTreeSet<ContractAddress> = options.contracts.iter().copied().collect();
    for contract in contracts {
        let known: Vec<&Scan> = scanned.iter().filter(|scan| scan.contract == contract).collect();
        let start = known.iter().map(|scan| scan.from).min();
        // Where a search was begun, what was before it was left out on purpose, unless asked for now.
        let mut next = options.from.or(start).unwrap_or(0);
        let mut known: Vec<(u64, u64)> = known.into_iter().map(|scan| (scan.from, scan.to)).collect();
        known.sort_unstable();
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
        .map(|((from, to), contracts)| (from, to, contracts))
        .collect()
}

struct Run<'a> {
    rpc: &'a Rpc,
    progress: &'a dyn Progress,
    notes: Vec<String>,
    /// Headers that hash to their hash, by it.
    blocks: HashMap<Hash32, Block>,
}

fn hex_number(number: u64) -> Value {
    format!("{number:#x}").into()
}

fn at<'e>(doing: impl Into<String> + 'e) -> impl FnOnce(RpcFailure) -> FetchError + 'e {
    move |failure| FetchError::Rpc {
        doing: doing.into(),
        failure,
    }
}

fn wrong(doing: impl Into<String>, why: impl fmt::Display) -> FetchError {
    FetchError::Answer {
        doing: doing.into(),
        why: why.to_string(),
    }
}

impl Run<'_> {
    fn keep(&mut self, headers: &[HeaderBytes]) {
        let blocks = headers.iter().filter_map(|entry| header::read(&entry.rlp).ok());
        self.blocks.extend(blocks.map(|block| (block.hash, block)));
    }

    fn take_header(&mut self, json: &RawValue, doing: &str) -> Result<(HeaderBytes, Block), FetchError> {
        let entry = header::from_json(json.get()).map_err(|why| wrong(doing, why))?;
        let block = header::read(&entry.rlp).map_err(|why| wrong(doing, why))?;
        self.blocks.insert(block.hash, block);
        Ok((entry, block))
    }

    async fn chain_id(&self) -> Result<u64, FetchError> {
        let doing = "asking for the chain's id (eth_chainId)";
        let answer = self.rpc.call("eth_chainId", json!([])).await.map_err(at(doing))?;
        let id = answer.and_then(|answer| crate::import::any_number(answer.get()));
        id.ok_or_else(|| wrong(doing, "it is no number"))
    }

    async fn target(&mut self, to: Target) -> Result<Block, FetchError> {
        let doing = format!("asking for block {to}");
        let tag = match to {
            Target::Number(number) => hex_number(number),
            tag => tag.to_string().into(),
        };
        let answer = self
            .rpc
            .call("eth_getBlockByNumber", json!([tag, false]))
            .await
            .map_err(at(&doing))?;
        let answer = answer.ok_or_else(|| wrong(&doing, "there is no such block"))?;
        let (_, block) = self.take_header(&answer, &doing)?;
        if matches!(to, Target::Number(number) if number != block.number) {
            return Err(wrong(doing, format!("it is block {}", block.number)));
        }
        Ok(block)
    }

    async fn latest(&self) -> Result<u64, FetchError> {
        let doing = "asking for the newest block's number (eth_blockNumber)";
        let answer = self
            .rpc
            .call("eth_blockNumber", json!([]))
            .await
            .map_err(at(doing))?;
        let number = answer.and_then(|answer| crate::import::any_number(answer.get()));
        number.ok_or_else(|| wrong(doing, "it is no number"))
    }

    async fn hash_at(&self, number: u64) -> Result<Option<Hash32>, FetchError> {
        #[derive(serde::Deserialize)]
        struct HashJson {
            hash: Hash32,
        }
        let doing = format!("asking for block {number}");
        let params = json!([hex_number(number), false]);
        let answer = self
            .rpc
            .call("eth_getBlockByNumber", params)
            .await
            .map_err(at(&doing))?;
        let answer = answer.map(|answer| serde_json::from_str::<HashJson>(answer.get()));
        Ok(answer
            .transpose()
            .map_err(|e| wrong(doing, e))?
            .map(|block| block.hash))
    }

    /// Finds out whether the blocks of the file are still the chain's, and drops what no longer is.
    async fn reorganise(&mut self, file: &mut AnchorsFile) -> Result<Option<Reorg>, FetchError> {
        // What was damaged is read again.
        let chain = &mut file.chain;
        chain
            .headers
            .retain(|entry| header::read(&entry.rlp).is_ok_and(|block| block.hash == entry.hash));
        self.keep(&chain.headers);

        let mut seen: BTreeMap<u64, BTreeSet<Hash32>> = BTreeMap::new();
        let anchors = file
            .anchors
            .iter()
            .map(|anchor| (anchor.block_number, anchor.block_hash));
        let headers = file
            .chain
            .headers
            .iter()
            .filter_map(|entry| header::read(&entry.rlp).ok());
        let headers = headers.map(|block| (block.number, block.hash));
        let checkpoint = file
            .chain
            .checkpoint
            .map(|checkpoint| (checkpoint.number, checkpoint.hash));
        for (number, hash) in anchors.chain(headers).chain(checkpoint) {
            seen.entry(number).or_default().insert(hash);
        }
        // A node that is behind says nothing about later blocks.
        let latest = self.latest().await?;
        seen.retain(|number, _| *number <= latest);
        // Files of two branches may have been put together.
        let mut branch: Option<(u64, Hash32, Option<Hash32>)> = None;
        let mut stale: HashSet<Hash32> = HashSet::new();
        for (number, hashes) in seen.iter_mut().filter(|(_, hashes)| hashes.len() > 1) {
            let is = self.hash_at(*number).await?;
            for hash in hashes.iter().filter(|hash| Some(**hash) != is) {
                stale.insert(*hash);
                branch.get_or_insert((*number, *hash, is));
            }
            hashes.retain(|hash| Some(*hash) == is);
        }
        let (stay, mut dropped): (Vec<Anchor>, Vec<Anchor>) = file
            .anchors
            .iter()
            .partition(|anchor| !stale.contains(&anchor.block_hash));
        file.anchors = stay;
        file.chain.headers.retain(|entry| !stale.contains(&entry.hash));
        file.chain
            .receipts
            .retain(|entry| !stale.contains(&entry.block_hash));
        file.chain
            .proofs
            .retain(|entry| !stale.contains(&entry.block_hash));
        file.chain
            .refused
            .retain(|refused| !stale.contains(&refused.block_hash));
        file.chain.checkpoint = file
            .chain
            .checkpoint
            .filter(|checkpoint| !stale.contains(&checkpoint.hash));
        let branch = branch.map(|(from, was, is)| Reorg {
            common: from.checked_sub(1),
            from,
            was,
            is,
            dropped: dropped.clone(),
            again: 0,
        });

        let known: Vec<(u64, Hash32)> = seen
            .into_iter()
            .filter_map(|(number, hashes)| Some((number, hashes.first().copied()?)))
            .collect();
        // Blocks are the same up to some number and others from there on.
        let (mut same, mut other) = (0, known.len());
        let mut now = None;
        if let Some((number, hash)) = known.last() {
            let is = self.hash_at(*number).await?;
            if is == Some(*hash) {
                return Ok(branch);
            }
            (other, now) = (known.len() - 1, is);
        }
        while same < other {
            let middle = same + (other - same) / 2;
            let (number, hash) = known[middle];
            let is = self.hash_at(number).await?;
            if is == Some(hash) {
                same = middle + 1;
            } else {
                (other, now) = (middle, is);
            }
        }
        let Some((from, was)) = known.get(other).copied() else {
            return Ok(branch);
        };
        let common = other.checked_sub(1).map(|last| known[last].0);
        let kept = |number: u64| common.is_some_and(|common| number <= common);
        let (stay, later): (Vec<Anchor>, Vec<Anchor>) =
            file.anchors.iter().partition(|anchor| kept(anchor.block_number));
        file.anchors = stay;
        dropped.extend(later);
        let chain = &mut file.chain;
        chain
            .headers
            .retain(|entry| header::read(&entry.rlp).is_ok_and(|block| kept(block.number)));
        let blocks: HashSet<Hash32> = known
            .iter()
            .filter(|(number, _)| kept(*number))
            .map(|(_, hash)| *hash)
            .collect();
        chain.receipts.retain(|entry| blocks.contains(&entry.block_hash));
        chain.proofs.retain(|entry| blocks.contains(&entry.block_hash));
        chain.refused.retain(|refused| kept(refused.block_number));
        chain.checkpoint = None;
        chain.scanned = std::mem::take(&mut chain.scanned)
            .into_iter()
            .filter_map(|scan| {
                Some(Scan {
                    to: scan.to.min(common?),
                    ..scan
                })
                .filter(|scan| scan.from <= scan.to)
            })
            .collect();
        Ok(Some(Reorg {
            common,
            from,
            was,
            is: now,
            dropped,
            again: 0,
        }))
    }

    /// Reads the logs of a range of blocks, in chunks as large as the node answers.
    async fn logs(
        &mut self,
        contracts: &[ContractAddress],
        mut from: u64,
        to: u64,
        importer: &mut Importer,
    ) -> Result<(), FetchError> {
        let topics: Vec<String> = anchor_topics().iter().map(|topic| format!("0x{topic}")).collect();
        self.progress.start("blocks searched", Some(to - from + 1));
        let mut chunk = FIRST_CHUNK;
        // What was too much before is not tried again at once.
        let (mut ceiling, mut went_well) = (MAX_CHUNK, 0);
        while from <= to {
            let end = to.min(from.saturating_add(chunk - 1));
            let filter = json!([{
                "address": contracts,
                "topics": [topics],
                "fromBlock": hex_number(from),
                "toBlock": hex_number(end),
            }]);
            let doing = format!("reading the logs of blocks {from} to {end}");
            match self.rpc.call("eth_getLogs", filter).await {
                Ok(Some(answer)) => {
                    let read = importer.add_json(&format!("blocks {from} to {end}"), answer.get().as_bytes());
                    read.map_err(|why: AnchorsErrorKind| wrong(&doing, why))?;
                    self.progress.advance(end - from + 1);
                    if end == u64::MAX {
                        break;
                    }
                    from = end + 1;
                    went_well += 1;
                    if went_well % 16 == 0 {
                        ceiling = (ceiling * 2).min(MAX_CHUNK);
                    }
                    chunk = (chunk * 2).min(ceiling);
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

    /// Reads the headers that tie the anchors to the checkpoint.
    async fn tie(
        &mut self,
        file: &mut AnchorsFile,
        checkpoint: Checkpoint,
        options: &FetchOptions,
    ) -> Result<(), FetchError> {
        let have: HashSet<u64> = file
            .chain
            .headers
            .iter()
            .filter_map(|e| header::read(&e.rlp).ok())
            .map(|block| block.number)
            .collect();
        let mut wanted: BTreeSet<u64> = file.anchors.iter().map(|anchor| anchor.block_number).collect();
        let lowest = wanted.first().copied().unwrap_or(checkpoint.number);
        let span = checkpoint.number.saturating_sub(lowest).saturating_add(1);
        let whole = span <= options.max_headers && options.proofs != Proofs::Storage;
        if whole {
            wanted.extend(lowest..=checkpoint.number);
        } else {
            // Storage proofs of earlier runs hang on their own blocks.
            if options.proofs != Proofs::Storage {
                self.notes.push(format!(
                    "{span} headers lie between the first anchor and the checkpoint, more than --max-headers {}: they \
                     are left out, and receipts prove nothing without them",
                    options.max_headers
                ));
            }
            wanted.insert(checkpoint.number);
        }
        let missing: Vec<u64> = wanted
            .into_iter()
            .filter(|number| !have.contains(number))
            .collect();
        self.progress.start("headers", Some(missing.len() as u64));
        for numbers in missing.chunks(BATCH) {
            let params = numbers
                .iter()
                .map(|number| json!([hex_number(*number), false]))
                .collect();
            let answers = self.rpc.calls("eth_getBlockByNumber", params).await;
            for (number, answer) in numbers.iter().zip(answers) {
                let doing = format!("reading the header of block {number}");
                let answer = answer
                    .map_err(at(&doing))?
                    .ok_or_else(|| wrong(&doing, "there is no such block"))?;
                let (entry, block) = self.take_header(&answer, &doing)?;
                if block.number != *number {
                    return Err(wrong(doing, format!("it is block {}", block.number)));
                }
                file.chain.headers.push(entry);
            }
            self.progress.advance(numbers.len() as u64);
        }
        // All of it must be of one chain.
        let by_number: BTreeMap<u64, &Block> = file
            .chain
            .headers
            .iter()
            .filter_map(|entry| self.blocks.get(&entry.hash))
            .map(|block| (block.number, block))
            .collect();
        let moved = |number: u64| {
            Err(FetchError::Moved(format!(
                "block {number} is another now; run again"
            )))
        };
        if by_number
            .get(&checkpoint.number)
            .is_none_or(|block| block.hash != checkpoint.hash)
        {
            return moved(checkpoint.number);
        }
        for (number, block) in &by_number {
            let parent = number.checked_sub(1).and_then(|before| by_number.get(&before));
            if parent.is_some_and(|parent| parent.hash != block.parent) {
                return moved(*number);
            }
        }
        for anchor in &file.anchors {
            if by_number
                .get(&anchor.block_number)
                .is_some_and(|block| block.hash != anchor.block_hash)
            {
                return moved(anchor.block_number);
            }
        }
        Ok(())
    }

    /// Reads all receipts of the blocks with anchors.
    async fn receipts(&mut self, file: &mut AnchorsFile) -> Result<(), FetchError> {
        // What was damaged is read again.
        let blocks = &self.blocks;
        file.chain.receipts.retain(|entry| {
            let block = blocks.get(&entry.block_hash);
            block.is_none_or(|block| receipt::root(&entry.receipts) == block.receipts_root)
        });
        let have: HashSet<Hash32> = file.chain.receipts.iter().map(|entry| entry.block_hash).collect();
        let wanted: BTreeSet<(u64, Hash32)> = file
            .anchors
            .iter()
            .map(|anchor| (anchor.block_number, anchor.block_hash))
            .filter(|(_, hash)| !have.contains(hash))
            .collect();
        let wanted: Vec<(u64, Hash32)> = wanted.into_iter().collect();
        self.progress
            .start("blocks with receipts", Some(wanted.len() as u64));
        let mut one_by_one = false;
        let mut lacking: Vec<(u64, String)> = Vec::new();
        for blocks in wanted.chunks(BATCH / 5) {
            let answers = if one_by_one {
                Vec::new()
            } else {
                let params = blocks
                    .iter()
                    .map(|(number, _)| json!([hex_number(*number)]))
                    .collect();
                self.rpc.calls("eth_getBlockReceipts", params).await
            };
            let mut answers = answers.into_iter();
            for (number, hash) in blocks {
                let answer = answers.next().unwrap_or(Ok(None));
                let mut why = "the node has none for it".to_owned();
                let mut texts = match answer {
                    Ok(Some(answer)) => serde_json::from_str::<Vec<Box<RawValue>>>(answer.get()).ok(),
                    Ok(None) => None,
                    Err(RpcFailure::Cancelled) => {
                        return Err(at("reading receipts")(RpcFailure::Cancelled));
                    }
                    Err(failure) => {
                        if failure.is_unsupported() && !one_by_one {
                            one_by_one = true;
                            self.notes.push(
                                "the node has no eth_getBlockReceipts: receipts were read one by one"
                                    .to_owned(),
                            );
                        }
                        why = failure.to_string();
                        None
                    }
                };
                if texts.is_none() {
                    texts = match self.receipts_one_by_one(hash).await {
                        Ok(texts) => Some(texts),
                        Err(RpcFailure::Cancelled) => {
                            return Err(at("reading receipts")(RpcFailure::Cancelled));
                        }
                        Err(failure) => {
                            why = failure.to_string();
                            None
                        }
                    };
                }
                match texts
                    .ok_or(why)
                    .and_then(|texts| self.check_receipts(hash, &texts))
                {
                    Ok(entry) => file.chain.receipts.push(entry),
                    Err(why) => lacking.push((*number, why)),
                }
                self.progress.advance(1);
            }
        }
        if let Some((number, why)) = lacking.first() {
            self.notes.push(format!(
                "no receipts of {} of {} blocks with anchors, which so rest on storage proofs alone: block {number}: {why}",
                lacking.len(),
                wanted.len()
            ));
        }
        Ok(())
    }

    async fn receipts_one_by_one(&self, block: &Hash32) -> Result<Vec<Box<RawValue>>, RpcFailure> {
        #[derive(serde::Deserialize)]
        struct Transactions {
            transactions: Vec<Hash32>,
        }
        let none = |what: &str| RpcFailure::Refused {
            code: 0,
            message: format!("the node has no {what}"),
        };
        let params = json!([format!("0x{block}"), false]);
        let answer = self
            .rpc
            .call("eth_getBlockByHash", params)
            .await?
            .ok_or_else(|| none("such block"))?;
        let block: Transactions = serde_json::from_str(answer.get())
            .map_err(|e| RpcFailure::Unreachable(format!("not a block: {e}")))?;
        let mut receipts = Vec::new();
        for hashes in block.transactions.chunks(BATCH) {
            let params = hashes.iter().map(|hash| json!([format!("0x{hash}")])).collect();
            for answer in self.rpc.calls("eth_getTransactionReceipt", params).await {
                receipts.push(answer?.ok_or_else(|| none("receipt of one of its transactions"))?);
            }
        }
        Ok(receipts)
    }

    fn check_receipts(
        &self,
        block_hash: &Hash32,
        texts: &[Box<RawValue>],
    ) -> Result<crate::chain::parts::BlockReceipts, String> {
        let mut encoded = Vec::with_capacity(texts.len());
        for text in texts {
            let receipt = receipt::from_json(text.get())?;
            encoded.push((receipt.index, receipt.bytes));
        }
        encoded.sort();
        let receipts: Vec<_> = encoded.into_iter().map(|(_, bytes)| bytes).collect();
        let block = self.blocks.get(block_hash).ok_or("its header is not there")?;
        if receipt::root(&receipts) != block.receipts_root {
            return Err("what the node gives does not have the receipts root of the block".into());
        }
        Ok(crate::chain::parts::BlockReceipts {
            block_hash: *block_hash,
            receipts,
        })
    }

    /// Reads storage proofs at the checkpoint for anchors that no proof of a tied block has.
    async fn proofs(&mut self, file: &mut AnchorsFile, checkpoint: Checkpoint) -> Result<(), FetchError> {
        let state_root = match self.blocks.get(&checkpoint.hash) {
            Some(block) => block.state_root,
            None => return Ok(()),
        };
        let report = examine(file, Some(checkpoint.hash));
        let proved =
            |standing: &Standing| matches!(standing, Standing::Trusted { by, .. } if by.contains(&"storage"));
        let wanted: BTreeSet<(ContractAddress, AnchorKind, BatchId)> = file
            .anchors
            .iter()
            .zip(&report.standings)
            .filter(|(anchor, standing)| anchor.block_number <= checkpoint.number && !proved(standing))
            .map(|(anchor, _)| (anchor.contract, anchor.kind, anchor.batch_id))
            .collect();
        let wanted: Vec<_> = wanted.into_iter().collect();
        self.progress.start("storage proofs", Some(wanted.len() as u64));
        let mut importer = Importer::new(file.chain_id, Vec::new());
        let mut lacking = 0;
        let mut why: Option<String> = None;
        let groups = wanted
            .chunk_by(|a, b| (a.0, a.1) == (b.0, b.1))
            .flat_map(|group| group.chunks(PROVED_AT_ONCE));
        for group in groups {
            let contract = group[0].0;
            let keys: Vec<String> = group
                .iter()
                .flat_map(|(_, kind, batch)| storage::slots(*kind, batch))
                .map(|slot| format!("0x{slot}"))
                .collect();
            let params = json!([contract, keys, hex_number(checkpoint.number)]);
            let failed = match self.rpc.call("eth_getProof", params).await {
                Ok(Some(answer)) => {
                    // The file says of which block it is; what is wrong with it shows when it is checked.
                    let document = format!(
                        "{{\"blockHash\":\"0x{}\",\"proofs\":[{answer}]}}",
                        checkpoint.hash
                    );
                    importer
                        .add_json("eth_getProof", document.as_bytes())
                        .err()
                        .map(|e| e.to_string())
                }
                Ok(None) => Some("the node has none".to_owned()),
                Err(RpcFailure::Cancelled) => {
                    return Err(at("reading storage proofs")(RpcFailure::Cancelled));
                }
                Err(failure) => Some(failure.to_string()),
            };
            if let Some(failed) = failed {
                lacking += group.len();
                why.get_or_insert(failed);
            }
            self.progress.advance(group.len() as u64);
        }
        let found = importer.finish_proofs(&file.anchors);
        // A proof that does not hold would contradict what is true.
        let trial = AnchorsFile {
            chain_id: file.chain_id,
            anchors: file.anchors.clone(),
            chain: ChainParts {
                headers: file.chain.headers.clone(),
                proofs: found.clone(),
                ..ChainParts::default()
            },
        };
        let report = examine(&trial, Some(checkpoint.hash));
        let bad: HashSet<(ContractAddress, BatchId)> = trial
            .anchors
            .iter()
            .zip(&report.standings)
            .filter(|(_, standing)| matches!(standing, Standing::Failed { .. }))
            .map(|(anchor, _)| (anchor.contract, anchor.batch_id))
            .collect();
        if let Some(first) = report.standings.iter().find_map(|standing| match standing {
            Standing::Failed { why } => Some(why.clone()),
            _ => None,
        }) {
            lacking += bad.len();
            why.get_or_insert(format!(
                "what the node gives does not hold under state root {state_root}: {first}"
            ));
        }
        for mut entry in found {
            entry
                .batches
                .retain(|batch| !bad.contains(&(entry.contract, batch.batch_id)));
            if !entry.batches.is_empty() {
                file.chain.proofs.push(entry);
            }
        }
        if let Some(why) = why {
            self.notes.push(format!(
                "no storage proof of {lacking} of {} batches at block {}, which so rest on receipts alone: {why}",
                wanted.len(),
                checkpoint.number
            ));
        }
        Ok(())
    }
}
