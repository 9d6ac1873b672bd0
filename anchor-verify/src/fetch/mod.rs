//! Reading anchors, and what proves them, from a node.
//!
//! What comes back goes through the same reader as saved answers do ([`crate::import`]) and is checked against the
//! header that it belongs to before it is kept. A file that is there is extended: only what it lacks is asked for. If
//! the chain was reorganised since, what went with it is dropped and told.
//!
//! A node may leave logs out. A block counts as searched only if its header is tied to the checkpoint and its bloom
//! filter, or its receipts, say that there are no other logs than those that were taken.

mod compare;
mod evidence;
mod logs;
mod reorg;
pub mod rpc;
mod storage;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::str::FromStr;

use cli_common::Progress;
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use ves::{Hash32, StreamKey};

use crate::anchor::{Anchor, ContractAddress};
use crate::anchors_file::AnchorsFile;
use crate::chain::HeaderBytes;
use crate::chain::completeness::{self, Completeness, complete};
use crate::chain::examine;
use crate::chain::header::{self, Block};
use crate::chain::parts::{Checkpoint, Scan};
use crate::import::{RefusedLog, Saved};
use crate::standing::{AnchorStanding, ProvedBy};
use logs::{Search, to_search};
use rpc::{Rpc, RpcFailure};

/// Up to which block to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchTarget {
    /// The newest block, which may still be reorganised away.
    Latest,
    /// The newest block that the node calls safe.
    Safe,
    /// The newest block that the node calls finalized.
    Finalized,
    /// This block.
    Number(u64),
}

impl FromStr for FetchTarget {
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

impl fmt::Display for FetchTarget {
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
    /// From which block; without it, from where the file was begun, or 0.
    pub from: Option<u64>,
    /// Up to which block.
    pub to: FetchTarget,
    /// What proofs to ask for.
    pub proofs: Proofs,
    /// The most headers that tie anchors to the checkpoint. More are left out, and said to be.
    pub max_headers: u64,
    /// The most blocks without known anchors whose receipts are read since their bloom filters let them have some. More
    /// are left to the next run.
    pub max_receipts: u64,
    /// Streams that are known.
    pub streams: Vec<StreamKey>,
    /// The most blocks that are searched in one call; as many as the node answers without it.
    pub chunk: Option<u64>,
    /// Search blocks again that were searched before.
    pub rescan: bool,
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
    /// The node does not have the block up to which was to be read.
    #[error("asking for block {to}: {why}")]
    Target {
        /// Up to which block was to be read.
        to: FetchTarget,
        /// What the node says.
        why: String,
    },
    /// Two nodes say different things that cannot both be.
    #[error("the nodes disagree: {0}")]
    Disagree(String),
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

impl fmt::Display for Reorg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block {} was {} and ", self.from, self.was)?;
        match self.is {
            Some(hash) => write!(f, "is {hash}")?,
            None => f.write_str("is not there any more")?,
        }
        write!(
            f,
            "; {} anchor(s) went with it, {} of them are there again",
            self.dropped.len(),
            self.again
        )
    }
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
    /// Whether anchors were left out, as far as the checkpoint is trusted. Those that receipts prove and that the node
    /// left out are in the file, and named here.
    pub completeness: Completeness,
    /// Contracts that have no anchor up to the checkpoint.
    pub silent: Vec<ContractAddress>,
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
                AnchorStanding::Trusted { by, .. } if by.len() > 1 => proved.both += 1,
                AnchorStanding::Trusted { by, .. } if by.contains(&ProvedBy::Receipt) => proved.receipt += 1,
                AnchorStanding::Trusted { .. } => proved.storage += 1,
                AnchorStanding::Untied { .. } => proved.untied += 1,
                AnchorStanding::Failed { .. } => proved.failed += 1,
            }
        }
        proved
    }
}

/// How many calls go in one batch.
const BATCH: usize = 50;

/// Reads anchors and their proofs from a node, extending `file` if there is one. `others` are asked for logs too, and
/// what they say is compared.
///
/// # Errors
/// See [`FetchError`].
pub async fn fetch(
    rpc: &Rpc,
    others: &[Rpc],
    options: &FetchOptions,
    file: Option<AnchorsFile>,
    progress: &dyn Progress,
) -> Result<Fetched, FetchError> {
    let mut run = Run {
        rpc,
        progress,
        notes: Vec::new(),
        blocks: HashMap::new(),
        transactions: HashMap::new(),
    };
    let chain_id = run.chain_id(rpc).await?;
    let mut file = file.unwrap_or_default();
    if let Some(known) = file.chain_id.filter(|known| *known != chain_id) {
        return Err(FetchError::OtherChain {
            file: known,
            node: chain_id,
        });
    }
    file.chain_id = Some(chain_id);

    let target = run.target(options.to).await?;
    let others = run.agreeing(others, chain_id, &target).await?;
    let mut reorg = run.reorganise(&mut file).await?;
    let checkpoint = run.checkpoint(&file, &target);
    let before: HashSet<_> = file.anchors.iter().map(place).collect();

    let searches = begin(&mut file, options, target.number);
    let mut refused = run.search(&others, &searches, &mut file, options).await?;
    refused.extend(run.tie(&mut file, checkpoint, options).await?);
    let contracts = all_contracts(&file, options);
    if options.proofs != Proofs::Storage {
        run.receipts(&mut file, checkpoint, &contracts, options.max_receipts)
            .await?;
        refused.extend(drop_unproven(&mut file, &before, checkpoint));
    }
    let mut completeness = run.take_left_out(&mut file, checkpoint, &options.streams);
    if options.proofs != Proofs::Receipts {
        run.proofs(&mut file, checkpoint).await?;
        if completeness.verdict == crate::Verdict::NotChecked {
            // Now with the contracts' own heads.
            completeness = run.take_left_out(&mut file, checkpoint, &options.streams);
        }
    }
    file.chain.scanned = held(&file, checkpoint, &contracts);
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
    let silent = run.silent(&file, options, checkpoint).await;
    let proved = Proved::of(&file);
    progress.finish();
    Ok(Fetched {
        checkpoint,
        new,
        refused,
        completeness,
        silent,
        reorg,
        notes: run.notes,
        proved,
        file,
    })
}

fn place(anchor: &Anchor) -> (Hash32, u64, ContractAddress) {
    (anchor.block_hash, anchor.log_index, anchor.contract)
}

/// What is to be searched. Blocks that a file calls searched and does not prove to be so are searched again: a node may
/// have left logs out.
fn begin(file: &mut AnchorsFile, options: &FetchOptions, to: u64) -> Vec<Search> {
    let begun = file.chain.scanned.iter().map(|scan| scan.from).min();
    let from = options.from.or(file.chain.searched_from).or(begun).unwrap_or(0);
    file.chain.searched_from = [Some(from), file.chain.searched_from, begun]
        .into_iter()
        .flatten()
        .min();
    let newest = file
        .chain
        .headers
        .iter()
        .filter_map(|entry| header::read(&entry.rlp).ok());
    let newest = newest.max_by_key(|block| block.number);
    file.chain.scanned = match newest {
        Some(Block { number, hash, .. }) => {
            let contracts = all_contracts(file, options);
            held(file, Checkpoint { number, hash }, &contracts)
        }
        None => Vec::new(),
    };
    let searches = to_search(options, &file.chain.scanned, from, to);
    for search in &searches {
        let Search { from, to, .. } = *search;
        let scans = search.contracts.iter().map(|contract| Scan {
            contract: *contract,
            from,
            to,
        });
        file.chain.scanned.extend(scans);
    }
    searches
}

/// The contracts that were asked for, and those of the file.
fn all_contracts(file: &AnchorsFile, options: &FetchOptions) -> Vec<ContractAddress> {
    let mut contracts = options.contracts.clone();
    contracts.extend(file.anchors.iter().map(|anchor| anchor.contract));
    contracts.extend(file.chain.scanned.iter().map(|scan| scan.contract));
    contracts.sort_unstable();
    contracts.dedup();
    contracts
}

/// What of the searched blocks is known to hold no other logs than those that were taken.
fn held(file: &AnchorsFile, checkpoint: Checkpoint, contracts: &[ContractAddress]) -> Vec<Scan> {
    let decided = completeness::decided(file, checkpoint.hash, contracts);
    let mut held = Vec::new();
    for scan in &file.chain.scanned {
        for (from, to) in &decided {
            let (from, to) = (scan.from.max(*from), scan.to.min(*to));
            if from <= to {
                held.push(Scan { from, to, ..*scan });
            }
        }
    }
    held
}

/// Drops new anchors that the receipts of their block contradict: the node made them up.
fn drop_unproven(
    file: &mut AnchorsFile,
    before: &HashSet<(Hash32, u64, ContractAddress)>,
    checkpoint: Checkpoint,
) -> Vec<RefusedLog> {
    let report = examine(file, Some(checkpoint.hash));
    let mut refused = Vec::new();
    let mut standings = report.standings.iter();
    file.anchors.retain(|anchor| match standings.next() {
        Some(AnchorStanding::Failed { why }) if !before.contains(&place(anchor)) => {
            refused.push(made_up(refused.len(), anchor, why));
            false
        }
        _ => true,
    });
    refused
}

/// A log that a node gave, and that the chain does not have.
fn made_up(index: usize, anchor: &Anchor, why: &str) -> RefusedLog {
    RefusedLog {
        source: "the node's logs".to_owned(),
        what: Saved::Log,
        index,
        why: format!(
            "batch {} of contract {} in block {}: {why}",
            anchor.batch_id, anchor.contract, anchor.block_number
        ),
    }
}

struct Run<'a> {
    rpc: &'a Rpc,
    progress: &'a dyn Progress,
    notes: Vec<String>,
    /// Headers that hash to their hash, by it.
    blocks: HashMap<Hash32, Block>,
    /// Which transaction wrote the log at a place of a block.
    transactions: HashMap<(Hash32, u64), Hash32>,
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

    async fn chain_id(&self, rpc: &Rpc) -> Result<u64, FetchError> {
        let doing = "asking for the chain's id (eth_chainId)";
        let answer = rpc.call("eth_chainId", json!([])).await.map_err(at(doing))?;
        let id = answer.and_then(|answer| crate::import::any_number(answer.get()));
        id.ok_or_else(|| wrong(doing, "it is no number"))
    }

    async fn target(&mut self, to: FetchTarget) -> Result<Block, FetchError> {
        let doing = format!("asking for block {to}");
        let tag = match to {
            FetchTarget::Number(number) => hex_number(number),
            tag => tag.to_string().into(),
        };
        let none = |why: String| FetchError::Target { to, why };
        let answer = match self.rpc.call("eth_getBlockByNumber", json!([tag, false])).await {
            Ok(answer) => answer.ok_or_else(|| none("the node has no such block".into()))?,
            Err(failure @ RpcFailure::Refused { .. }) => return Err(none(failure.to_string())),
            Err(failure) => return Err(at(doing)(failure)),
        };
        let (_, block) = self.take_header(&answer, &doing)?;
        if matches!(to, FetchTarget::Number(number) if number != block.number) {
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
        self.hash_by(self.rpc, number).await
    }

    async fn hash_by(&self, rpc: &Rpc, number: u64) -> Result<Option<Hash32>, FetchError> {
        #[derive(serde::Deserialize)]
        struct HashJson {
            hash: Hash32,
        }
        let doing = format!("asking for block {number}");
        let params = json!([hex_number(number), false]);
        let answer = rpc
            .call("eth_getBlockByNumber", params)
            .await
            .map_err(at(&doing))?;
        let answer = answer.map(|answer| serde_json::from_str::<HashJson>(answer.get()));
        Ok(answer
            .transpose()
            .map_err(|e| wrong(doing, e))?
            .map(|block| block.hash))
    }

    /// The block that is read up to. A file that reaches further than what is asked for stays as it is.
    fn checkpoint(&mut self, file: &AnchorsFile, target: &Block) -> Checkpoint {
        self.keep(&file.chain.headers);
        match file.chain.checkpoint {
            Some(known) if known.number > target.number => {
                self.notes.push(format!(
                    "the file reaches further than block {}, to block {}",
                    target.number, known.number
                ));
                known
            }
            _ => Checkpoint {
                number: target.number,
                hash: target.hash,
            },
        }
    }

    /// Takes what receipts prove and the nodes left out.
    fn take_left_out(
        &mut self,
        file: &mut AnchorsFile,
        checkpoint: Checkpoint,
        streams: &[StreamKey],
    ) -> Completeness {
        let mut completeness = complete(file, Some(checkpoint.hash), &|_| true);
        let transactions = &self.transactions;
        let name = |anchor: &mut Anchor| {
            if anchor.transaction_hash.is_zero() {
                let found = transactions.get(&(anchor.block_hash, anchor.log_index));
                anchor.transaction_hash = found.copied().unwrap_or(Hash32::ZERO);
            }
        };
        file.anchors.iter_mut().for_each(name);
        completeness.left_out.iter_mut().for_each(name);
        file.resolve(streams);
        completeness
    }

    /// Contracts that were asked for and have written nothing that could be an anchor. Those that are no contract at all
    /// are told.
    async fn silent(
        &mut self,
        file: &AnchorsFile,
        options: &FetchOptions,
        checkpoint: Checkpoint,
    ) -> Vec<ContractAddress> {
        let mut wrote: HashSet<ContractAddress> = file.anchors.iter().map(|a| a.contract).collect();
        wrote.extend(file.chain.refused.iter().map(|refused| refused.contract));
        let mut silent: Vec<ContractAddress> = options.contracts.clone();
        silent.retain(|contract| !wrote.contains(contract));
        silent.sort_unstable();
        silent.dedup();
        for contract in &silent {
            let params = json!([contract, hex_number(checkpoint.number)]);
            let code = self.rpc.call("eth_getCode", params).await;
            let none = matches!(code, Ok(Some(code)) if code.get() == "\"0x\"");
            let what = if none {
                "the node knows no contract there"
            } else {
                "is it the right one?"
            };
            self.notes.push(format!(
                "contract {contract} has written no anchor up to block {}: {what}",
                checkpoint.number
            ));
        }
        silent
    }
}
