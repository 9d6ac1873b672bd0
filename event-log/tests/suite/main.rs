//! Tests of the log over real servers and snapshot files. One program: it is built and linked once.
#![allow(clippy::unwrap_used)]

mod common;
mod export;
mod levels;
mod limits;
mod near;
mod postgres;
mod presence;
mod readers;
mod repair_rows;
mod snapshot;
