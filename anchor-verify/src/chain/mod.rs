//! The chain part of verification, offline: is an anchor on the chain of the block that the auditor trusts?
//!
//! | module | what it answers |
//! |---|---|
//! | [`parts`] | what an anchors file holds besides the anchors |
//! | `header` | headers: their hash, their parent, their roots |
//! | `receipt` | receipts: the root over all of a block, the logs in them |
//! | `storage` | where a contract keeps a batch, and proofs of what is there |
//! | `examine` | all of that put together, for each anchor |
//! | `told` | what is to be told of it |
//! | [`completeness`] | whether anchors were left out, by bloom filters and receipts |
//! | [`heads`] | what the contracts keep about all of their batches |
//! | [`l1_output`] | an L2 block tied to L1 by an output root |
//!
//! Nothing is believed but the hash that the auditor gives. A block is what hashes to its hash; it is on the chain if
//! parent hashes lead from the trusted block to it; its receipts are those that give its receipts root; a slot holds
//! what a proof under its state root says.

pub mod completeness;
mod examine;
pub(crate) mod header;
pub mod heads;
pub mod l1_output;
pub mod parts;
pub(crate) mod receipt;
pub(crate) mod storage;
mod told;

pub use completeness::{Completeness, complete, complete_of};
pub use examine::{examine, examine_pinned};
pub use header::HeaderBytes;
pub use parts::ChainParts;
pub use told::{blocks_like, ties_nothing};

use ves::Hash32;

use crate::anchors_file::AnchorsFile;

/// The state root of a block, if the file has its header.
pub fn header_state_root(file: &AnchorsFile, block: &Hash32) -> Option<Hash32> {
    let headers = file.chain.headers.iter();
    let mut blocks = headers.filter_map(|entry| header::read(&entry.rlp).ok());
    blocks
        .find(|read| read.hash == *block)
        .map(|read| read.state_root)
}
