//! The fast paths of the protocol: what a log needs a million times, computed side by side.
//!
//! | module | what it computes | the plain way beside it |
//! |---|---|---|
//! | [`kernel`] | SHA-256 of many messages: nodes, leaves, payloads | the `sha2` crate |
//! | [`ed25519`] | whether many signatures by few keys hold | `ed25519-dalek`'s `verify` |
//! | [`json`] | canonical JSON (RFC 8785) in one pass | `ves::jcs::canonicalize` |
//!
//! Users go by way of `ves`, which says what the protocol is; nothing here decides anything. Each path gives exactly what the
//! plain way gives, or leaves the input to it, and is tested against it.
//!
//! This is the only crate of the workspace with unsafe code, and [`kernel`] is its only module with any: `ves` and all crates
//! above forbid it. `scripts/unsafe-checks` runs its tests under Miri and the address sanitizer.

mod bytes;
pub mod ed25519;
pub mod json;
pub mod kernel;

pub use bytes::{Hash32, HexError, SignatureBytes};
