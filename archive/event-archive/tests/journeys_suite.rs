//! Whole journeys with archives, through the programs: as witness after a recovery, read by others' tools, on an S3 server with
//! faults. They use the tools of the other workspace as they lie beside `event-archive` (`cargo build --workspace` there makes
//! them), and what `scripts/setup-archive` installs; without those, they say so and are skipped.

#![allow(clippy::unwrap_used, reason = "tests")]

mod journeys;
