//! Archives of generated worlds, asked and verified; clusters of real processes on this machine.
#![allow(clippy::unwrap_used)]

mod cluster;
mod large;
mod place;
mod sql;
