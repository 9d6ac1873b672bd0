//! Storage proofs of anchors, and of what the contracts keep about all of their batches.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use serde_json::json;
use ves::{BatchId, Hash32};

use super::rpc::RpcFailure;
use super::{FetchError, Run, at, hex_number};
use crate::anchor::{AnchorKind, ContractAddress};
use crate::anchors_file::AnchorsFile;
use crate::chain::parts::{ChainHead, ChainParts, Checkpoint, StorageProofs};
use crate::chain::{examine, heads, storage};
use crate::import::Importer;
use crate::standing::{AnchorStanding, ProvedBy};

/// How many batches of anchors are proved in one call.
const BATCHES_AT_ONCE: usize = 16;

/// How many slots of heads are asked for in one call.
const HEADS_AT_ONCE: usize = 100;

/// One call: the slots of some batches, or of heads.
struct Question {
    contract: ContractAddress,
    batches: usize,
    slots: Vec<Hash32>,
}

impl Run<'_> {
    /// Reads storage proofs at the checkpoint for anchors that no proof of a tied block has, and of the contracts' heads.
    pub(super) async fn proofs(
        &mut self,
        file: &mut AnchorsFile,
        checkpoint: Checkpoint,
    ) -> Result<(), FetchError> {
        let Some(state_root) = self.blocks.get(&checkpoint.hash).map(|block| block.state_root) else {
            return Ok(());
        };
        let questions = questions(file, checkpoint);
        let wanted: usize = questions.iter().map(|question| question.batches).sum();
        self.progress.start("storage proofs", Some(wanted as u64));
        let mut importer = Importer::new(file.chain_id, Vec::new());
        let mut lacking = 0;
        let mut why: Option<String> = None;
        let mut given_up = false;
        for question in questions {
            let failed = if given_up {
                Some(String::new())
            } else {
                let answer = self.ask(&question, checkpoint, &mut importer).await;
                match answer {
                    Err(RpcFailure::Cancelled) => {
                        return Err(at("reading storage proofs")(RpcFailure::Cancelled));
                    }
                    Err(failure) => {
                        // A node that hangs once hangs again: the receipts prove as well.
                        given_up = failure.is_hanging() || failure.is_unsupported();
                        Some(failure.to_string())
                    }
                    Ok(failed) => failed,
                }
            };
            if let Some(failed) = failed {
                lacking += question.batches;
                why.get_or_insert(failed);
            }
            self.progress.advance(question.batches as u64);
        }
        let found = importer.finish_proofs(&file.anchors);
        let (bad, first) = contradictions(file, &found, checkpoint);
        if let Some(first) = first {
            lacking += bad.len();
            why.get_or_insert(format!(
                "what the node gives does not hold under state root {state_root}: {first}"
            ));
        }
        take(file, found, &bad);
        if let Some(why) = why {
            self.notes.push(format!(
                "no storage proof of {lacking} of {wanted} batches at block {}, which so rest on receipts alone: {why}",
                checkpoint.number
            ));
        }
        Ok(())
    }

    /// Asks for the proofs of some slots. What is there and cannot be read is told as text.
    async fn ask(
        &self,
        question: &Question,
        checkpoint: Checkpoint,
        importer: &mut Importer,
    ) -> Result<Option<String>, RpcFailure> {
        let keys: Vec<String> = question.slots.iter().map(|slot| format!("0x{slot}")).collect();
        let params = json!([question.contract, keys, hex_number(checkpoint.number)]);
        let answer = self.rpc.call_within_budget("eth_getProof", params).await?;
        let Some(answer) = answer else {
            return Ok(Some("the node has none".to_owned()));
        };
        // The file says of which block it is; what is wrong with it shows when it is checked.
        let document = format!(
            "{{\"blockHash\":\"0x{}\",\"proofs\":[{answer}]}}",
            checkpoint.hash
        );
        let read = importer.add_json("eth_getProof", document.as_bytes());
        Ok(read.err().map(|e| e.to_string()))
    }
}

/// What is to be asked: batches without a proof, and heads that are not proved at the checkpoint yet.
fn questions(file: &AnchorsFile, checkpoint: Checkpoint) -> Vec<Question> {
    let report = examine(file, Some(checkpoint.hash));
    let proved = |standing: &AnchorStanding| matches!(standing, AnchorStanding::Trusted { by, .. } if by.contains(&ProvedBy::Storage));
    let mut batches: BTreeMap<(ContractAddress, AnchorKind), BTreeSet<BatchId>> = BTreeMap::new();
    let mut streams: BTreeMap<(ContractAddress, AnchorKind), BTreeSet<Hash32>> = BTreeMap::new();
    for (anchor, standing) in file.anchors.iter().zip(&report.standings) {
        if anchor.block_number > checkpoint.number {
            continue;
        }
        let of = (anchor.contract, anchor.kind);
        streams.entry(of).or_default().insert(anchor.tenant_store_key);
        if !proved(standing) {
            batches.entry(of).or_default().insert(anchor.batch_id);
        }
    }
    let mut questions = Vec::new();
    for ((contract, kind), ids) in batches {
        let ids: Vec<BatchId> = ids.into_iter().collect();
        questions.extend(ids.chunks(BATCHES_AT_ONCE).map(|ids| Question {
            contract,
            batches: ids.len(),
            slots: ids.iter().flat_map(|id| storage::slots(kind, id)).collect(),
        }));
    }
    for ((contract, kind), streams) in streams {
        let there = |proofs: &StorageProofs| {
            (proofs.contract, proofs.block_hash) == (contract, checkpoint.hash) && !proofs.heads.is_empty()
        };
        if file.chain.proofs.iter().any(there) {
            continue;
        }
        let slots: Vec<Hash32> = heads::of(kind, &streams).iter().map(ChainHead::slot).collect();
        questions.extend(slots.chunks(HEADS_AT_ONCE).map(|slots| Question {
            contract,
            batches: 0,
            slots: slots.to_vec(),
        }));
    }
    questions
}

/// The batches whose new proofs do not hold, which would contradict what is true, and why the first of them does not.
fn contradictions(
    file: &AnchorsFile,
    found: &[StorageProofs],
    checkpoint: Checkpoint,
) -> (HashSet<(ContractAddress, BatchId)>, Option<String>) {
    let trial = AnchorsFile {
        chain_id: file.chain_id,
        anchors: file.anchors.clone(),
        chain: ChainParts {
            headers: file.chain.headers.clone(),
            proofs: found.to_vec(),
            ..ChainParts::default()
        },
    };
    let report = examine(&trial, Some(checkpoint.hash));
    let mut first = None;
    let mut bad = HashSet::new();
    for (anchor, standing) in trial.anchors.iter().zip(&report.standings) {
        if let AnchorStanding::Failed { why } = standing {
            bad.insert((anchor.contract, anchor.batch_id));
            first.get_or_insert_with(|| why.clone());
        }
    }
    (bad, first)
}

/// Takes proofs, without those of bad batches. Of the heads of a contract the newest are kept.
fn take(file: &mut AnchorsFile, found: Vec<StorageProofs>, bad: &HashSet<(ContractAddress, BatchId)>) {
    let renewed: HashSet<ContractAddress> = found
        .iter()
        .filter(|entry| !entry.heads.is_empty())
        .map(|entry| entry.contract)
        .collect();
    let proofs = &mut file.chain.proofs;
    for entry in proofs
        .iter_mut()
        .filter(|entry| renewed.contains(&entry.contract))
    {
        entry.heads.clear();
    }
    for mut entry in found {
        entry
            .batches
            .retain(|batch| !bad.contains(&(entry.contract, batch.batch_id)));
        proofs.push(entry);
    }
    proofs.retain(|entry| !(entry.batches.is_empty() && entry.heads.is_empty()));
}
