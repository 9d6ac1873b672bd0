//! Several nodes: whether they agree, and what one of them leaves out.

use std::collections::BTreeMap;

use ves::Hash32;

use super::logs::Search;
use super::rpc::{Rpc, RpcFailure};
use super::{FetchError, FetchOptions, Run, place};
use crate::anchor::{Anchor, ContractAddress};
use crate::anchors_file::AnchorsFile;
use crate::chain::completeness::name_ranges;
use crate::chain::header::Block;
use crate::import::{Import, Importer, RefusedLog};

/// The logs of one node, by their place.
type Logs = BTreeMap<(Hash32, u64, ContractAddress), Anchor>;

impl Run<'_> {
    /// The nodes that know the same chain up to the target. One that does not have the block yet is told.
    pub(super) async fn agreeing<'r>(
        &mut self,
        others: &'r [Rpc],
        chain_id: u64,
        target: &Block,
    ) -> Result<Vec<&'r Rpc>, FetchError> {
        let mut agreeing = Vec::new();
        for other in others {
            let shown = other.shown();
            let compared = async {
                let id = self.chain_id(other).await?;
                if id != chain_id {
                    return Err(FetchError::Disagree(format!(
                        "{} is of chain {chain_id}, {shown} of chain {id}",
                        self.rpc.shown()
                    )));
                }
                self.hash_by(other, target.number).await
            };
            match compared.await {
                Ok(Some(hash)) if hash == target.hash => agreeing.push(other),
                Ok(Some(hash)) => {
                    return Err(FetchError::Disagree(format!(
                        "block {} is {} at {}, and {hash} at {shown}",
                        target.number,
                        target.hash,
                        self.rpc.shown()
                    )));
                }
                Ok(None) => self.notes.push(format!(
                    "{shown} does not have block {} yet: nothing was compared with it",
                    target.number
                )),
                Err(error) => self.not_compared(shown, error)?,
            }
        }
        Ok(agreeing)
    }

    /// Reads the logs of all nodes into the file, and tells what one of them gives and another does not.
    pub(super) async fn search(
        &mut self,
        others: &[&Rpc],
        searches: &[Search],
        file: &mut AnchorsFile,
        options: &FetchOptions,
    ) -> Result<Vec<RefusedLog>, FetchError> {
        let first = self.read_logs(self.rpc, searches, file, options).await?;
        let mut refused = first.refused.clone();
        let mut answers = vec![(self.rpc.shown().to_owned(), first)];
        for other in others {
            match self.read_logs(other, searches, file, options).await {
                Ok(import) => {
                    refused.extend(import.refused.iter().cloned());
                    answers.push((other.shown().to_owned(), import));
                }
                Err(error) => self.not_compared(other.shown(), error)?,
            }
        }
        let logs: Vec<(String, Logs)> = answers
            .iter()
            .map(|(node, import)| (node.clone(), by_place(&import.file.anchors)))
            .collect();
        self.tell_differences(&logs);
        let mut chain = std::mem::take(&mut file.chain);
        let mut anchors = std::mem::take(&mut file.anchors);
        for (_, import) in answers {
            anchors.extend(import.file.anchors);
            chain.extend(import.file.chain);
        }
        *file = AnchorsFile::new(file.chain_id, anchors).with_chain(chain);
        file.resolve(&options.streams);
        Ok(refused)
    }

    async fn read_logs(
        &self,
        rpc: &Rpc,
        searches: &[Search],
        file: &AnchorsFile,
        options: &FetchOptions,
    ) -> Result<Import, FetchError> {
        let mut importer = Importer::new(file.chain_id, options.contracts.clone());
        for search in searches {
            self.logs(rpc, search, options.chunk, &mut importer).await?;
        }
        Ok(importer.finish(&options.streams))
    }

    /// What one node has and another lacks.
    fn tell_differences(&mut self, logs: &[(String, Logs)]) {
        for (has, of_one) in logs {
            for (lacks, of_other) in logs {
                let mut blocks: Vec<(u64, u64)> = Vec::new();
                let mut count = 0;
                for anchor in of_one.values().filter(|a| !of_other.contains_key(&place(a))) {
                    count += 1;
                    blocks.push((anchor.block_number, anchor.block_number));
                }
                if count > 0 {
                    blocks.sort_unstable();
                    blocks.dedup();
                    self.notes.push(format!(
                        "{has} gives {count} logs that {lacks} leaves out, of blocks {}",
                        name_ranges(&blocks)
                    ));
                }
            }
        }
    }

    /// A second node that fails is told and done without; that the user stopped the work is not its fault, and that the
    /// nodes contradict each other must be known.
    fn not_compared(&mut self, node: &str, error: FetchError) -> Result<(), FetchError> {
        let stop = matches!(
            error,
            FetchError::Disagree(_)
                | FetchError::Rpc {
                    failure: RpcFailure::Cancelled,
                    ..
                }
        );
        if stop {
            return Err(error);
        }
        self.notes
            .push(format!("nothing was compared with {node}: {error}"));
        Ok(())
    }
}

fn by_place(anchors: &[Anchor]) -> Logs {
    anchors.iter().map(|anchor| (place(anchor), *anchor)).collect()
}
