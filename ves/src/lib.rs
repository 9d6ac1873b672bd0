//! The VES v1.0 protocol as the StateSet Sequencer really writes it: identifiers, canonical JSON,
//! hash preimages, signatures, keys, Merkle trees, receipts and the state-root chain.
//!
//! This crate is the ground floor of the toolkit. It performs no I/O, knows no clock and starts no
//! runtime: every function takes values and returns values, so each rule can be tested by itself and
//! an auditor can read it in one sitting.
//!
//! # Where things are
//!
//! | module | what it answers |
//! |---|---|
//! | [`id`] | who and where: tenants, stores, agents, events, [`StreamKey`] |
//! | [`digest`] | [`Hash32`], [`SignatureBytes`] and the SHA-256 preimage writer |
//! | [`jcs`] | the canonical form of a payload (RFC 8785) |
//! | [`payload`] | payload hashes, plaintext and encrypted |
//! | [`event`] | the signed fields of an event and its signing hash |
//! | [`signature`] | how an event was signed, and what came of checking it |
//! | [`key`] | which key may sign when, and does the signature hold |
//! | [`post_quantum`] | ML-DSA-65: keys, signatures and their bundles |
//! | [`signer`] | signing by one scheme or both |
//! | [`merkle`] | leaves, roots, inclusion proofs |
//! | [`log_tree`] | a stream as an append-only log: roots, inclusion and consistency proofs |
//! | [`range_proof`] | consecutive leaves of a tree, without the others |
//! | [`receipt`] | what the sequencer promised |
//! | [`span`] | positions of a stream as ranges, and sets of them |
//! | [`stream`] | stream ids, the advisory lock key, state roots |
//! | [`time`] | timestamps with PostgreSQL's microsecond resolution |
//! | [`verify`] | many events together |
//!
//! What is here many times over is computed by the crate below, `ves-kernels`, given out as [`kernel`] (SHA-256 of many
//! messages at once, as fast as the machine can) and [`ed25519`] (many signatures by few keys). It holds all unsafe code,
//! decides nothing by itself, and is tested against the plain functions of this crate.
//!
//! # Which document rules
//!
//! Where the written specification and the sequencer's code differ, the code wrote the operators'
//! databases, so this crate follows the code and names the difference at the item concerned.
//! All preimages are byte strings joined without separators; integers are big-endian; a UUID is its
//! 16 bytes; domain prefixes are ASCII without a terminator.

#![forbid(unsafe_code)]

pub mod digest;
pub mod event;
pub mod id;
pub mod jcs;
mod keep;
pub mod key;
pub mod log_tree;
pub mod merkle;
pub mod payload;
pub mod post_quantum;
pub mod range_proof;
pub mod receipt;
pub mod sequencer_keys;
pub mod signature;
pub mod signer;
pub mod span;
mod stored_bytes;
pub mod stream;
pub mod time;
pub mod verify;

pub use digest::{Hash32, SignatureBytes};
pub use event::{Event, EventCheck, Payload};
pub use id::{AgentId, BatchId, CommandId, EventId, SequencerId, StoreId, StreamKey, TenantId};
pub use key::{KeyRegistry, SigningKey};
pub use receipt::Receipt;
pub use sequencer_keys::{PreparedSequencerKeys, SequencerKeys};
pub use signature::{SignatureCheck, SignatureScheme};
pub use signer::Signer;
pub use span::{Span, Spans};
pub use time::Timestamp;
pub use ves_kernels::{ed25519, kernel};
