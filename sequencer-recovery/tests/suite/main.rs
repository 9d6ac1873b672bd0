//! Tests of `sequencer-recovery` through its binary, on real servers. One program: it is built and linked once.
#![allow(clippy::unwrap_used)]

mod common;

mod accept_keys;
mod append;
mod apply;
mod audit;
mod backup_check;
mod bookkeeping;
mod checklist;
mod checkpointed;
mod connect;
mod damage;
mod damaged_places;
mod deploy;
mod docs;
mod drills;
mod dumps;
mod epoch;
mod escapes;
mod family;
mod first_recovery;
mod gaps;
mod help;
mod hold_back;
mod incident;
mod input;
mod journal;
mod kernels;
mod levels;
mod locks;
mod lying_around;
mod outputs;
mod page;
mod proofs;
mod reissue;
mod rotation;
mod scenario;
mod sequencer;
mod session;
mod tls;
mod tombstone;
mod truth;
mod undo;
mod witness;
mod worlds;
