//! Headers that tie anchors to the checkpoint, and the receipts that say what logs a block has.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::json;
use serde_json::value::RawValue;
use ves::Hash32;

use super::rpc::RpcFailure;
use super::{BATCH, FetchError, FetchOptions, Proofs, Run, at, hex_number, made_up, wrong};
use crate::anchor::ContractAddress;
use crate::anchors_file::AnchorsFile;
use crate::chain::header::{self, Block};
use crate::chain::parts::{BlockReceipts, Checkpoint};
use crate::chain::{completeness, receipt};
use crate::import::{RefusedLog, any_number};

impl Run<'_> {
    /// Reads the headers that tie the anchors to the checkpoint. Returned are logs that were refused, since the chain has no
    /// such block.
    pub(super) async fn tie(
        &mut self,
        file: &mut AnchorsFile,
        checkpoint: Checkpoint,
        options: &FetchOptions,
    ) -> Result<Vec<RefusedLog>, FetchError> {
        let have: HashSet<u64> = file
            .chain
            .headers
            .iter()
            .filter_map(|e| header::read(&e.rlp).ok())
            .map(|block| block.number)
            .collect();
        let mut wanted = self.blocks_to_tie(file, checkpoint, options);
        // Storage proofs of earlier runs hang on their own blocks.
        wanted.insert(checkpoint.number);
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
        // The chain is one: an anchor in another block than it has was made up.
        let mut refused = Vec::new();
        file.anchors.retain(|anchor| {
            let there = by_number.get(&anchor.block_number).map(|block| block.hash);
            let elsewhere = there.filter(|hash| *hash != anchor.block_hash);
            if let Some(there) = elsewhere {
                refused.push(made_up(
                    refused.len(),
                    anchor,
                    &format!(
                        "block {} is {there}, not {}",
                        anchor.block_number, anchor.block_hash
                    ),
                ));
            }
            elsewhere.is_none()
        });
        Ok(refused)
    }

    /// The blocks whose headers are wanted: all from the first that was searched, so that nothing can be hidden between
    /// them; or all from the first anchor, so that receipts prove; or those of the anchors.
    fn blocks_to_tie(
        &mut self,
        file: &AnchorsFile,
        checkpoint: Checkpoint,
        options: &FetchOptions,
    ) -> BTreeSet<u64> {
        let wanted: BTreeSet<u64> = file.anchors.iter().map(|anchor| anchor.block_number).collect();
        if options.proofs == Proofs::Storage {
            return wanted;
        }
        let span = |from: u64| checkpoint.number.saturating_sub(from).saturating_add(1);
        let anchored = wanted.first().copied().unwrap_or(checkpoint.number);
        let searched = file.chain.searched_from.unwrap_or(anchored).min(anchored);
        if span(searched) <= options.max_headers {
            return (searched..=checkpoint.number).collect();
        }
        self.notes.push(format!(
            "{} headers lie between block {searched}, from which was searched, and the checkpoint, more than --max-headers \
             {}: that no anchor was left out there is not checked, and the next run searches it again",
            span(searched),
            options.max_headers
        ));
        if span(anchored) <= options.max_headers {
            return (anchored..=checkpoint.number).collect();
        }
        self.notes.push(format!(
            "{} headers lie between the first anchor and the checkpoint, more than --max-headers {}: they are left out, and \
             receipts prove nothing without them",
            span(anchored),
            options.max_headers
        ));
        wanted
    }

    /// Reads all receipts of the blocks with anchors, and of those that may have some by their bloom filters: `most` of
    /// these, the oldest first.
    pub(super) async fn receipts(
        &mut self,
        file: &mut AnchorsFile,
        checkpoint: Checkpoint,
        contracts: &[ContractAddress],
        most: u64,
    ) -> Result<(), FetchError> {
        // What was damaged is read again.
        let blocks = &self.blocks;
        file.chain.receipts.retain(|entry| {
            let block = blocks.get(&entry.block_hash);
            block.is_none_or(|block| receipt::root(&entry.receipts) == block.receipts_root)
        });
        let wanted = self.blocks_to_read(file, checkpoint, contracts, most);
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
                match self.receipts_of(hash, answer, &mut one_by_one).await? {
                    Ok(entry) => file.chain.receipts.push(entry),
                    Err(why) => lacking.push((*number, why)),
                }
                self.progress.advance(1);
            }
        }
        if let Some((number, why)) = lacking.first() {
            self.notes.push(format!(
                "no receipts of {} of {} blocks that have anchors or may have some: the anchors rest on storage proofs \
                 alone, and what else is there is not known: block {number}: {why}",
                lacking.len(),
                wanted.len()
            ));
        }
        Ok(())
    }

    /// The blocks whose receipts are wanted and not there.
    fn blocks_to_read(
        &mut self,
        file: &AnchorsFile,
        checkpoint: Checkpoint,
        contracts: &[ContractAddress],
        most: u64,
    ) -> Vec<(u64, Hash32)> {
        let have: HashSet<Hash32> = file.chain.receipts.iter().map(|entry| entry.block_hash).collect();
        let anchors = file.anchors.iter();
        let mut wanted: BTreeSet<(u64, Hash32)> = anchors
            .map(|anchor| (anchor.block_number, anchor.block_hash))
            .filter(|(_, hash)| !have.contains(hash))
            .collect();
        let mut others = completeness::may_hold(file, checkpoint.hash, contracts);
        others.retain(|block| !have.contains(&block.1) && !wanted.contains(block));
        others.sort_unstable();
        let most = usize::try_from(most).unwrap_or(usize::MAX);
        if let Some(more @ 1..) = others.len().checked_sub(most) {
            self.notes.push(format!(
                "{more} more blocks may have anchors by their bloom filters: they are more than --max-receipts {most}, and \
                 are left to the next run"
            ));
            others.truncate(most);
        }
        wanted.extend(others);
        wanted.into_iter().collect()
    }

    /// The receipts of a block, from the answer for all of it, or else one by one. The inner error says why there are none.
    async fn receipts_of(
        &mut self,
        hash: &Hash32,
        answer: Result<Option<Box<RawValue>>, RpcFailure>,
        one_by_one: &mut bool,
    ) -> Result<Result<BlockReceipts, String>, FetchError> {
        let cancelled = || at("reading receipts")(RpcFailure::Cancelled);
        let texts = match answer {
            Ok(Some(answer)) => serde_json::from_str::<Vec<Box<RawValue>>>(answer.get()).ok(),
            Ok(None) => None,
            Err(RpcFailure::Cancelled) => return Err(cancelled()),
            Err(failure) => {
                if failure.is_unsupported() && !*one_by_one {
                    *one_by_one = true;
                    let note = "the node has no eth_getBlockReceipts: receipts were read one by one";
                    self.notes.push(note.to_owned());
                }
                None
            }
        };
        let texts = match texts {
            Some(texts) => Ok(texts),
            None => self.receipts_one_by_one(hash).await,
        };
        match texts {
            Ok(texts) => Ok(self.check_receipts(hash, &texts)),
            Err(RpcFailure::Cancelled) => Err(cancelled()),
            Err(failure) => Ok(Err(failure.to_string())),
        }
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
        &mut self,
        block_hash: &Hash32,
        texts: &[Box<RawValue>],
    ) -> Result<BlockReceipts, String> {
        let mut encoded = Vec::with_capacity(texts.len());
        for text in texts {
            encoded.push(receipt::from_json(text.get())?);
        }
        let block = self.blocks.get(block_hash).ok_or("its header is not there")?;
        let receipts = receipt::fitting(encoded, &block.receipts_root)
            .ok_or("what the node gives does not have the receipts root of the block")?;
        for text in texts {
            self.note_transactions(block_hash, text.get());
        }
        Ok(BlockReceipts {
            block_hash: *block_hash,
            receipts,
        })
    }

    /// Remembers which transactions wrote logs: the receipts themselves do not say it.
    fn note_transactions(&mut self, block: &Hash32, receipt: &str) {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct ReceiptJson<'a> {
            transaction_hash: Hash32,
            #[serde(borrow)]
            logs: Vec<LogJson<'a>>,
        }
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct LogJson<'a> {
            #[serde(borrow)]
            log_index: &'a RawValue,
        }
        let Ok(receipt) = serde_json::from_str::<ReceiptJson<'_>>(receipt) else {
            return;
        };
        let places = receipt
            .logs
            .iter()
            .filter_map(|log| any_number(log.log_index.get()));
        let transaction = receipt.transaction_hash;
        self.transactions
            .extend(places.map(|index| ((*block, index), transaction)));
    }
}
