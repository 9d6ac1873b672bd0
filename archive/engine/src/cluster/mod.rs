//! A verification, or a query, on many machines, by [Ballista](ballista_core).
//!
//! Each shard of a verification is a job of one task: a plan whose only step verifies that shard where it is run, and gives
//! the report as a row. The scheduler hands tasks to executors as they have room, notices executors that are gone, and hands
//! their tasks to others. The client gathers the reports one by one, so an executor that dies costs the shards that it was
//! working on, and their time.
//!
//! | module | what is in it |
//! |---|---|
//! | [`scheduler`] | runs a scheduler in this process |
//! | [`executor`] | runs an executor in this process |
//! | [`fn@gather`] | hands out the shards of a verification, and gathers their reports |
//! | [`query`] | a query over the tables of an archive |
//!
//! Neither scheduler nor executor asks who is calling: whoever reaches their ports can run plans, with the credentials of the
//! executors. They belong in a network of their own. The reports are as honest as the executors.

mod client;
mod codec;
pub mod executor;
mod gather;
pub mod query;
pub mod scheduler;
mod setup;
mod verify_exec;

pub use executor::{ExecutorOptions, run_executor};
pub use gather::{GatherOptions, Gathered, gather, verify_on_cluster};
pub use query::query_on_cluster;
pub use scheduler::{SchedulerOptions, run_scheduler};
