//! The options that tie an L2 block to L1.

use std::fmt;
use std::path::PathBuf;

use crate::chain::l1_output::tie_output;
use crate::chain::{blocks_like, header_state_root};
use crate::{AnchorsFile, ContractAddress};
use clap::Args;
use cli_common::provenance::Inputs;
use cli_common::{CliError, CommandLine};
use ves::Hash32;

use super::read_text;

/// Where the trusted block is one of L1.
#[derive(Debug, Args)]
pub struct L1Args {
    /// An output of an OP-stack chain that was proposed on L1: --trusted-block is then the hash of an L1 block, whose
    /// headers and receipts are in the file, or the output root itself
    #[arg(long, value_name = "FILE", requires = "trusted_block")]
    l1_output: Option<PathBuf>,

    /// The contract of L1 that outputs are proposed to; without it a log of any contract counts
    #[arg(long, value_name = "ADDRESS", requires = "l1_output")]
    l1_contract: Option<ContractAddress>,
}

/// A block's hash as it was given. It is judged when the anchors are read, which tell what may have been meant.
#[derive(Debug, Clone)]
pub struct BlockArg(String);

impl From<&str> for BlockArg {
    fn from(text: &str) -> Self {
        Self(text.trim().to_owned())
    }
}

impl fmt::Display for BlockArg {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl BlockArg {
    /// Reads the hash, or says which block may have been meant.
    fn hash(&self, anchors: Option<&AnchorsFile>) -> Result<Hash32, CliError> {
        let text = &self.0;
        text.parse().map_err(|_| {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            let what = if digits.len() > 20 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
                format!(
                    "it has {} hex digits, and the hash of a block has 64",
                    digits.len()
                )
            } else {
                "give the hash of a block, 64 hex digits".to_owned()
            };
            let near = anchors.map_or_else(Vec::new, |file| blocks_like(file, text));
            let error = CliError::usage(format!("--trusted-block {text}: {what}"));
            match &near[..] {
                [] => error,
                near => error.with_hint(format!(
                    "the anchors file has {}: is it the one that your own source names?",
                    near.join("; and ")
                )),
            }
        })
    }
}

/// The L2 block that is trusted, and what that rests on.
pub struct TrustedBlock {
    /// The hash of the block; `None` if none is trusted.
    pub hash: Option<Hash32>,
    /// What was not checked on the way to it.
    pub not_checked: Vec<String>,
}

impl L1Args {
    /// These options for a command that is to be run next.
    pub fn again(&self, line: CommandLine) -> CommandLine {
        let line = line.options("--l1-output", self.l1_output.as_ref().map(|path| path.display()));
        line.options("--l1-contract", self.l1_contract)
    }

    /// The block that is trusted: the one that was given, or the L2 block that an output ties to it.
    pub fn trusted_block(
        &self,
        given: Option<&BlockArg>,
        anchors: Option<&AnchorsFile>,
        inputs: &mut Inputs,
    ) -> Result<TrustedBlock, CliError> {
        let given = given.map(|block| block.hash(anchors)).transpose()?;
        let (Some(path), Some(trusted)) = (&self.l1_output, given) else {
            return Ok(TrustedBlock {
                hash: given,
                not_checked: Vec::new(),
            });
        };
        let failed = |why: String| {
            CliError::input(format!("{}: {why}", path.display()))
                .with_hint("docs/verify.md describes the file; without it, give the hash of an L2 block")
        };
        let text = read_text(path)?;
        inputs.add("l1-output", path);
        let tied = tie_output(text.as_bytes(), trusted, self.l1_contract).map_err(failed)?;
        let output = tied.output;
        let known = anchors.and_then(|file| header_state_root(file, &output.block_hash));
        if let Some(state_root) = known.filter(|root| *root != output.state_root) {
            return Err(failed(format!(
                "its output gives L2 block {} the state root {}, and the block's header has {state_root}",
                output.block_hash, output.state_root
            )));
        }
        let mut not_checked = vec![format!(
            "that the output root {} (of L2 block {}) was not challenged or replaced on L1",
            tied.root, output.block_hash
        )];
        if let (Some((contract, number)), None) = (tied.proposed, self.l1_contract) {
            not_checked.push(format!(
                "that contract {contract}, which wrote of the output root in L1 block {number}, is the one that outputs are \
                 proposed to (--l1-contract)"
            ));
        }
        Ok(TrustedBlock {
            hash: Some(output.block_hash),
            not_checked,
        })
    }
}
