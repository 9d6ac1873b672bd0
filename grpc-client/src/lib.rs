//! A stream read from a sequencer's gRPC service: a replica's, another region's, the old primary's.
//!
//! [`Address`] says where, [`Service`] asks and waits no longer than [`Limits`] let it, [`Pull`] goes through the numbers of
//! one stream and judges each answer before it is believed, and [`KeptPages`] is a file that remembers what was answered, so that
//! a later run goes on from there.
//!
//! All that a service says is hostile input. What ends a pull is an error that says so; what is wrong with one event is the
//! business of who reads it ([`messages::SequencedEvent`]).

#![forbid(unsafe_code)]

mod address;
mod kept;
pub mod messages;
mod pace;
mod page;
mod pull;
mod service;

pub use address::{Address, AddressError};
pub use kept::{KeptError, KeptPages};
pub use pace::Pace;
pub use page::Page;
pub use pull::{Pull, PullError};
pub use service::{Failure, FailureKind, Limits, Service};
