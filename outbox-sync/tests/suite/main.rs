//! Tests of `outbox-sync` through its library and its binary. One program: it is built and linked once.
#![allow(clippy::unwrap_used)]

mod cli;
mod common;
mod errors;
mod escapes;
mod fast_export;
mod hostile;
mod kernels;
mod levels;
mod lying_around;
mod outputs;
mod provenance;
mod push;
mod push_order;
mod push_waits;
mod real_data;
mod reconcile;
mod reconcile_frozen;
mod scenario;
mod session;
mod untouched;
mod words;
