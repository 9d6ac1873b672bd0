//! How sure it is that an anchor is on the chain that the auditor trusts.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use ves::Hash32;

use crate::anchor::ContractAddress;
use crate::anchors_file::AnchorsFile;

/// What proves an anchor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProvedBy {
    /// The receipt of its transaction, by the receipts root of its block.
    Receipt,
    /// The contract's storage, by the state root of a block.
    Storage,
}

impl ProvedBy {
    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Receipt => "receipt",
            Self::Storage => "storage",
        }
    }
}

/// The standing of one anchor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "standing", rename_all = "snake_case")]
pub enum AnchorStanding {
    /// The anchor is in a block that is tied, parent hash by parent hash, to the block that the auditor
    /// trusts; its receipt or storage proof verifies.
    Trusted {
        /// The trusted block.
        trusted_block: Hash32,
        /// What proves it, the receipt first.
        by: Vec<ProvedBy>,
    },
    /// Nothing contradicts the anchor, and it is not tied to a trusted block: no block hash was given, or
    /// the file holds no proof. At most MATCHES ANCHORS follows from it.
    Untied {
        /// What is missing.
        why: String,
    },
    /// A proof or header in the file contradicts the anchor.
    Failed {
        /// What does not verify.
        why: String,
    },
}

impl ChainReport {
    /// Where anchors are that are tied to the trusted block: an anchor there that its proof contradicts is an altered copy
    /// of one of them, and says nothing of it.
    pub(crate) fn proven_places(&self, file: &AnchorsFile) -> BTreeSet<(Hash32, u64, ContractAddress)> {
        let both = file.anchors.iter().zip(&self.standings);
        let trusted = both.filter(|(_, standing)| matches!(standing, AnchorStanding::Trusted { .. }));
        trusted.map(|(anchor, _)| anchor.place()).collect()
    }
}

impl AnchorStanding {
    /// What is missing or does not verify, unless it is trusted.
    pub fn why(&self) -> Option<&str> {
        match self {
            Self::Trusted { .. } => None,
            Self::Untied { why } | Self::Failed { why } => Some(why),
        }
    }
}

/// The standing of every anchor of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChainReport {
    /// The block hash that the auditor gave.
    pub trusted_block: Option<Hash32>,
    /// One for each of the file's anchors, in the file's order.
    pub standings: Vec<AnchorStanding>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}
