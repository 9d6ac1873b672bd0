//! The sequencer's log as this toolkit reads and repairs it, over PostgreSQL or over a **snapshot**: the same tables in
//! one SQLite file, so that a log can be audited, planned for and repaired in rehearsal without touching production.
//!
//! ```no_run
//! # async fn example() -> Result<(), event_log::LogError> {
//! use event_log::{Log, StreamFilter};
//!
//! let log = Log::open(&cli_common::DbTarget::Snapshot("log.db".into())).await?;
//! let mut view = log.view().await?;
//! for state in view.streams(&StreamFilter::default()).await?.all()? {
//!     println!("{}: {} events, counter {:?}", state.stream, state.event_count, state.counter);
//!     println!("  present: {:?}", view.present_ranges(&state.stream).await?);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What is where
//!
//! - [`Log::open`] finds out whether there is a log at a [`DbTarget`](cli_common::DbTarget), and what is
//!   missing if not.
//! - [`View`] reads: one consistent view, in constant memory. Everything comes back **as stored**; what of it is true
//!   is for the crates above to say. A row that cannot be understood becomes a [`RowError`] with its place and does
//!   not stop the rest.
//! - [`Repair`] writes: one transaction for one stream, under the locks that the sequencer itself uses.
//! - [`write_snapshot`] and [`Snapshot`] make snapshot files.
//! - [`write_export`] writes the log as NDJSON (`docs/log-export.md`), and [`ExportReader`] reads that.
//! - [`EntryCheck`] says what of one event holds, by itself; a [`Checker`] judges many, and a [`Pipeline`] spreads them
//!   over threads while the next ones are read.
//!
//! Every statement is a file below `sql/event-log/`: in `both/` those that both databases understand, in `postgres/` and
//! `snapshot/` those of one. None is ever put together from data.
//!
//! The functions are async and need a tokio runtime with I/O and time enabled; a current-thread one will do. Work on a
//! snapshot blocks the thread that it is called on.

#![forbid(unsafe_code)]

mod bind;
mod blame;
mod catalogue;
mod cells;
mod check;
mod commands;
mod conn;
mod damage;
mod dump;
mod duplicate;
mod entry;
mod entry_rows;
mod error;
mod export;
mod family;
mod fault;
mod grow;
mod heads;
mod hidden;
mod hindrance;
mod index_check;
mod index_keys;
mod journal;
mod jsonb;
mod layout;
mod left_out;
mod level;
mod log;
mod near;
mod nearness;
mod options;
mod outline;
mod pipeline;
mod place;
mod prefix;
mod presence;
mod proofs;
mod raw;
mod reach;
mod readers;
mod renumber;
mod repair;
mod resting;
mod schema;
mod server;
mod sessions;
mod snapshot;
mod snapshot_copy;
mod snapshot_damage;
mod sql;
mod staging;
mod undo;
mod value;
mod view;
mod waiting;

pub use check::{Checker, EntryCheck, ReceiptCheck};
pub use commands::CommandsApart;
pub use dump::{DumpError, DumpInfo, looks_like_dump, read_dump};
pub use duplicate::{Duplicate, DuplicateRow};
pub use entry::{
    Commitment, DedupeOrphan, Entity, FoundEvent, FoundEvents, LeafEntry, LeafInput, LogEntry, LogKeys,
    MissingDedupe, OrphanReceipts, ReceiptDefaults, RestoredEvent, StreamState, UnreadableEvent,
    UnreadableKey, VersionDrift,
};
pub use error::{LogError, RowError, Rows};
pub use export::{EXPORT_SCHEMA, ExportCounts, ExportError, ExportReader, ExportedEntry, write_export};
pub use family::{Family, FamilyState, FamilyStreams};
pub use fault::{Damage, IndexFault, IndexFaultKind};
pub use heads::StreamHead;
pub use hindrance::{Hindrance, HindranceKind};
pub use index_keys::Sought;
pub use journal::{JournalCounts, JournalEntry, JournalState, JournalTable};
pub use jsonb::render as as_jsonb;
pub use left_out::{AllLeftOut, LeftOut};
pub use level::{Level, LevelSource};
pub use log::{Log, SnapshotInfo};
pub use options::{OnSnapshot, OpenOptions};
pub use outline::{Outline, Scope, StreamOutline};
pub use pipeline::Pipeline;
pub use place::{Place, Replay, ServerMode, ServerPlace, SnapshotPlace};
pub use prefix::{Hole, PrefixEnd};
pub use presence::StreamPresence;
pub use proofs::{ProofKind, ProofRow};
pub use raw::RawEntries;
pub use reach::{HiddenRows, Reach};
pub use renumber::Renumbered;
pub use repair::{RaisedVersion, Repair, Reserved, WrittenRows};
pub use resting::Resting;
pub use sessions::{ChangedCounter, Session};
pub use snapshot::Snapshot;
pub use snapshot_copy::{CopiedLog, CopiedRows, write_snapshot};
pub use view::{EachChunk, StreamFilter, View};
