//! Anchors: the Merkle roots of batches that were written to a chain, where nobody can take them back.
//!
//! A root fixes the order and content of its range. If a recovered log, or candidates for what it
//! lacks, make the root come out equal to the anchored one, they are what was promised.
//!
//! | module | what it answers |
//! |---|---|
//! | [`contracts`] | what a log of one of the two contracts says |
//! | [`anchor`] | one anchor: a batch as a contract recorded it |
//! | [`anchors_file`] | the form in which anchors are kept |
//! | [`import`] | logs that any JSON-RPC client has saved, made into anchors |
//! | [`lint`] | anchors judged among themselves, and against a log's commitments |
//! | [`batches`] | the anchors of each stream, and where they contradict each other |
//! | [`chain`] | the chain part of verification: headers, receipts, storage proofs |
//! | [`pins`] | what the auditor knows beforehand: contracts, chain, agents' keys |
//! | [`standing`] | how sure it is that an anchor is on the trusted chain |
//! | [`verify`] | whether the events of a log are what was anchored |
//! | [`bundle`] | a part of a log with its keys, commitments and anchors, in one file |
//! | [`proof`] | that one event is in an anchored batch, in one small file |
//! | [`checkpointed`] | what signed checkpoints say: of each other, a log, anchors |
//! | [`attest`] | reports that somebody puts their name to |
//! | [`fetch`] | anchors and proofs read from a node |
//! | [`commands`] | the commands of the tool: parse, call, print |
//! | [`files`] | files that are written whole, and replace nothing unasked |
//!
//! Nothing opens a socket but [`fetch::rpc`]. That an anchor is in a file says that somebody says it is on the chain;
//! tying it to a block that the auditor trusts is another step.

#![forbid(unsafe_code)]

pub mod agent;
pub mod anchor;
pub mod anchors_file;
pub mod attest;
pub mod batches;
pub mod bundle;
pub mod chain;
pub mod checkpointed;
pub mod commands;
pub mod contracts;
pub mod fetch;
pub mod files;
pub mod import;
pub mod lint;
pub mod partial;
pub mod pass;
pub mod pins;
pub mod proof;
pub mod rules;
pub mod standing;
pub mod sweep;
pub mod verify;

pub use anchor::{Anchor, AnchorKind, ContractAddress, tenant_store_key};
pub use anchors_file::{AnchorsError, AnchorsFile};
pub use batches::{AnchorView, AnchoredBatch, Conflict, ConflictKind, StreamAnchors, group};
pub use files::Existing;
pub use import::{Import, Importer, RefusedLog};
pub use standing::{AnchorStanding, ChainReport, ProvedBy};
pub use verify::report::{InputKind, UnitKind};
pub use verify::{Shard, UnitReport, Verdict, VerifyReport};
