//! What the log itself holds: the second room. Each stream is read once ([`scan`]) and judged ([`examine`]): what is
//! missing, what is wrong, which numbers were given out. [`survey`] is the door to the next room: one consistent view of
//! the log with all witnesses heard.
//!
//! Beside the streams, the database under them: what a repair would meet ([`preflight`]), who lives there ([`living`]),
//! what it looked like when it was planned for ([`fingerprint`]).

pub mod batches;
pub mod bookkeeping;
pub mod checkpointed;
pub mod examine;
pub mod facts;
pub mod family;
pub mod fingerprint;
pub mod living;
pub mod preflight;
pub mod proof_reach;
pub mod raised;
pub mod scan;
pub mod sequencer_keys;
pub mod survey;
pub mod target;
pub mod tombstone_event;
pub mod tree;
pub mod unheard;
pub mod window;
