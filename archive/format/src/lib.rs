//! Archives of events: what many sequencers' logs hold, as Parquet files in object storage.
//!
//! | module | what is in it |
//! |---|---|
//! | [`store`] | where an archive lies, and how often it was asked |
//! | [`manifest`] | which objects an archive is made of, each manifest chained to the one before |
//! | [`events`] | the columns of events |
//! | [`tables`] | the columns of commitments, keys and anchors |
//! | [`write`](mod@write) | adding to an archive what a log has more |
//! | [`ids`] | the index of event ids |
//! | [`find`] | single events |
//! | [`snapshot`] | an archive as a snapshot file |
//! | [`task`] | a verification that is handed on |
//! | [`archive`] | reading one: as a log's outline, its events in order, single events |
//!
//! The form is described in `docs/archive.md`. Nothing of an archive is true because it is there: every object is held
//! against its hash in the manifest, and a verification holds the events against their signatures, batches and anchors.

pub mod archive;
mod columns;
mod error;
pub mod events;
mod file;
pub mod find;
pub mod ids;
mod layout;
pub mod manifest;
mod pieces;
pub mod snapshot;
pub mod store;
pub mod tables;
pub mod task;
pub mod write;

pub use archive::Archive;
pub use error::ArchiveError;
pub use manifest::Manifest;
pub use store::Store;
pub use task::Task;
