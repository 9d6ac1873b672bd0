//! Tests of `anchor-verify` through its library and its binary, on real servers and nodes. One program: it is built and linked once.
#![allow(clippy::unwrap_used)]

mod attest;
mod bound;
mod bundle;
mod chain;
mod checkpoint_proof;
mod checkpoints;
mod cli;
mod common;
mod complete;
mod errors;
mod escapes;
mod evm;
mod import;
mod journey;
mod kernels;
mod known;
mod levels;
mod lint;
mod node;
mod offline;
mod order;
mod outputs;
mod page;
mod pooler;
mod proof;
mod proven;
mod real_data;
mod tls;
mod verify;
