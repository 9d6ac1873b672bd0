//! What operators do after a point-in-time recovery: find what the log lacks, plan the repair, apply it, prove it.
//!
//! The log ends in the past, and three witnesses remember more: agents' outboxes, the chain, and other copies.
//! Their words differ in weight. An outbox's number is a claim, and often wrong; a batch's root, recomputed with an
//! event in place and equal to the anchored one, is a proof. So the way is always the same:
//!
//! 1. [`survey`]: one consistent view of the log; every witness is heard ([`collect`] into [`evidence`]).
//! 2. [`examine`]: each stream is read once ([`scan`]); what is missing ([`gap`]), what is wrong ([`finding`]), who
//!    knows which highest number ([`floor`]).
//! 3. [`audit`] reports that.
//! 4. [`placement`] judges which event belongs to which missing position, and how sure that is ([`grade`]);
//!    [`plan`] makes it a file ([`plan_file`]).
//! 5. [`apply`] carries the file out, one transaction for each stream under the sequencer's own locks, and reads
//!    everything back before it commits. [`preflight`] looks at what the database holds in store, [`fingerprint`] tells it whether the log has moved on.
//!
//! [`reissue`] finds numbers that were given out twice, and plans the way back.
//!
//! [`undo`] takes an `apply` back with the bundle that it wrote ([`undo_file`]). [`loss`] certifies what stays open, [`counters`] does the counters alone, [`gaps`] the gaps alone, [`family`] looks
//! at the sequences beside the VES log, and [`drill`] walks the whole way on a small world.
//!
//! [`gap`], [`floor`], [`grade`], [`placement`] take values and return values, and need no database. Nothing here
//! prints, exits, or reads the environment.

#![forbid(unsafe_code)]

pub mod accept_keys;
pub mod append;
pub mod apply;
pub mod audit;
pub mod collect;
pub mod counters;
pub mod damage;
pub mod drill;
pub mod epoch;
pub mod error;
pub mod evidence;
pub mod examine;
pub mod facts;
pub mod family;
pub mod finding;
pub mod fingerprint;
pub mod floor;
pub mod gap;
pub mod gaps;
pub mod grade;
mod guesses;
pub mod hold_back;
pub mod living;
pub mod loss;
pub mod moves;
pub mod new_file;
mod orders;
pub mod placement;
pub mod plan;
pub mod plan_file;
pub mod preflight;
pub mod proofs;
mod read_back;
pub mod reissue;
pub mod scan;
pub mod sequencer_keys;
pub mod skipped;
pub mod solve;
pub mod survey;
pub mod tombstone;
pub mod trust;
pub mod undo;
pub mod undo_file;
pub mod unheard;
