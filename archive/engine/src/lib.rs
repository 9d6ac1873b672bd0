//! Archives as tables of a query engine ([DataFusion](datafusion)), on one machine or a cluster
//! ([Ballista](ballista_core)).
//!
//! | module | what is in it |
//! |---|---|
//! | [`query`] | an archive that is asked with SQL |
//! | [`session`] | what a query may take: memory, threads |
//! | [`functions`] | leaves, hashes, signatures, roots and gaps as functions of SQL |
//! | [`cell`] | values of an answer as people and programs read them |
//! | [`cluster`] | the shards of a verification on many machines |

pub mod cell;
pub mod cluster;
mod columns;
mod error;
pub mod functions;
mod literals;
pub mod query;
pub mod session;
mod stores;
mod tables;

pub use error::EngineError;
pub use query::{Engine, Rows};
pub use session::Options;
