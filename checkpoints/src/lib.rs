//! Checkpoints: signed heads of the tree over a stream's events ([`ves::log_tree`]).
//!
//! A checkpoint says "the first N events of this stream have this root", in the form that transparency logs use (C2SP
//! `tlog-checkpoint` in a `signed-note`). Kept where it does not share the database's fate, it proves after a disaster which
//! event stood at each number up to N, and that the numbers up to N were given out.
//!
//! | module | what it answers |
//! |---|---|
//! | [`note`] | signed notes, the keys that sign and cosign them |
//! | [`checkpoint`] | what a note says of a stream: origin, size, root, time, and what it continues |
//! | [`policy`] | whose signatures make a checkpoint count |
//! | [`mod@file`] | files of checkpoints with the leaves between them: read, and added to |
//! | [`history`] | all checkpoints of a stream together: which hold, which contradict each other, which leaves they prove |
//! | [`epoch`] | the operator's signed word on what a repair did, which opens a new generation |
//! | [`proof`] | that one event is under a checkpoint, as a file (C2SP `tlog-proof`) |
//! | [`args`] | the options by which all tools take checkpoints and keys |
//! | [`witness`] | what is sent to a C2SP witness, and what it answers |
//!
//! The formats are in docs/checkpoints.md. This crate knows no database, no network and no clock.

#![forbid(unsafe_code)]

pub mod args;
pub mod checkpoint;
pub mod epoch;
pub mod file;
pub mod history;
pub mod note;
pub mod policy;
pub mod proof;
pub mod witness;

pub use args::{CheckpointArgs, CheckpointFiles, CheckpointKeyArgs};
pub use checkpoint::{Checkpoint, Continues, Origin};
pub use history::{Conflict, History, Refusal, StreamCheckpoints};
pub use note::{Note, VerifierKey};
pub use policy::{Policy, Trust};
