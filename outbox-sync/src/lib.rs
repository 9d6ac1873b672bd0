//! Agents' outboxes: the SQLite databases in which agents keep the events that they made (the outbox)
//! and those that they got from the sequencer (the pulled events).
//!
//! After a recovery they are the best witnesses of what a log has lost, and their bookkeeping is what
//! has become wrong. This crate reads them and says of each row what it holds and whether that
//! verifies. It changes none of the files that it reads, nor any beside them; only
//! [`reconcile::apply`] writes to an outbox.
//!
//! | module | what it answers |
//! |---|---|
//! | [`inputs`] | which files do these paths, folders and patterns name |
//! | [`outbox`] | open a file, whatever its shape; its state; its rows |
//! | [`row`] | what a row is: where it lies, what it claims, what it holds |
//! | [`keys`] | which keys are known, and where from |
//! | [`mod@check`] | do its payload hash and its signature hold |
//! | [`receipts`] | receipts that were saved from the sequencer's answers |
//! | [`rendering`] | what was signed, where an older outbox kept another rendering |
//! | [`source`] | rows of an outbox or of an export |
//! | [`verify`] | a verdict for each row |
//! | [`known`] | what a log has |
//! | [`holdings`] | what a fleet holds of what a log lacks |
//! | [`census`] | who holds what a log lacks |
//! | [`fast_export`] | a whole outbox as lines of an export, by several threads |
//! | [`export`] | events in a file that can be checked, written and read |
//! | [`reconcile`] | set an outbox right after a recovery |
//! | [`epoch`] | which history a repaired log continues |
//! | [`backup`] | a copy of an outbox that can be relied on |
//! | [`push`] | hand events over to the sequencer, once |
//! | [`wire`] | events as JSON in the form of the sequencer's ingest |
//! | [`status`] | an outbox in figures |
//!
//! ```no_run
//! use std::ops::ControlFlow;
//!
//! let outbox = outbox_sync::Outbox::open("agent.db".as_ref())?;
//! outbox.for_each_row(&mut |row| {
//!     match row {
//!         Ok(row) => println!("{}: {}", row.place, row.event_id),
//!         Err(bad) => eprintln!("{bad}"),
//!     }
//!     ControlFlow::Continue(())
//! })?;
//! # Ok::<(), outbox_sync::OutboxError>(())
//! ```

#![forbid(unsafe_code)]

pub mod ahead;
pub mod backup;
pub mod census;
pub mod check;
pub mod error;
pub mod export;
pub mod fast_export;
pub mod holdings;
pub mod inputs;
pub mod keys;
pub mod known;
mod lines;
mod lost_wal;
pub mod outbox;
mod private_copy;
pub mod push;
pub mod receipts;
pub mod reconcile;
pub mod rendering;
pub mod row;
mod sniff;
pub mod source;
pub mod status;
pub mod verify;
pub mod wire;
pub mod words;

pub use check::{RowCheck, check};
pub use checkpoints::epoch;
pub use error::{FileError, OutboxError, OutboxErrorKind};
pub use inputs::{InputError, Inputs, NotUsed, Purpose, expand_inputs};
pub use keys::{KeyBook, KeySource};
pub use outbox::{Outbox, OutboxMeta, Shape, StatusCounts};
pub use rendering::RenderingSearch;
pub use row::{Content, HeldRow, Origin, OutboxStatus, RowError, RowPlace, Table};
