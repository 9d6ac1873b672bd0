//! A model of the protocol between a repair and everybody else at the log of one stream: the sequencer that accepts events
//! while a repair is applied or taken back, agents that push, lose answers and push again, a second repair, the job that
//! commits batches, the older log's writer, and crashes of any of them at any step. It is small enough to be looked through
//! to its end: every order of every step, from every log that a cut may have left.
//!
//! A step is one statement that may wait for a lock, or one look at what others may have committed meanwhile. What a
//! transaction does between two of them is seen by nobody, so it belongs to the step before. Locks are those of PostgreSQL at
//! READ COMMITTED: a row that a transaction has inserted, deleted, changed or read FOR UPDATE is its own until it ends,
//! and whoever needs the row, or inserts the same key, waits for that end.
//!
//! Each step names the functions that it stands for on a line `Code:` of its comment; a test looks for them in the files
//! that it names, so that the model and the code cannot part without anybody noticing.

#![forbid(unsafe_code)]

pub mod apply;
pub mod commits;
pub mod fault;
pub mod ingest;
pub mod locks;
pub mod log;
pub mod older;
pub mod plan;
pub mod properties;
pub mod protocol;
pub mod raise;
pub mod size;
pub mod story;

pub mod undo;
pub mod waits;
pub mod world;
