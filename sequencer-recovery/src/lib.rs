//! What operators do after a point-in-time recovery: find what the log lacks, plan the repair, apply it, prove it.
//!
//! The log ends in the past, and three witnesses remember more: agents' outboxes, the chain, and other copies.
//! Their words differ in weight. An outbox's number is a claim, and often wrong; a batch's root, recomputed with an
//! event in place and equal to the anchored one, is a proof. So the way is always the same:
//!
//! 1. [`witness`]: every outbox, other log and receipt is read once; what they have to say becomes
//!    [`witness::evidence`].
//! 2. [`stream`]: what the log itself holds. Each stream is read once and judged: what is missing ([`gap`]), what is
//!    wrong ([`finding`]). [`stream::survey`] is the log in one consistent view with all witnesses heard.
//! 3. [`place`]: which event belongs to which missing position, and how sure that is ([`grade`]).
//! 4. [`plan`]: what is to be written, as a file.
//! 5. [`apply`]: carries the file out, stream by stream, under the sequencer's own locks, and reads everything back before
//!    it commits. [`apply::undo`] takes it back.
//! 6. [`report`]: audit, gaps, loss certificate, epoch.
//!
//! A room uses those before it and never one behind it. [`drill`] walks the whole way on a small world;
//! [`checklist`] asks afterwards whether all is as it should be, [`backup_check`] whether backups are worth anything. [`checkpoint`] signs
//! what a later recovery can prove places by, [`guard`] keeps the sequencer from starting on a log that was rewound, and
//! [`watch`] looks at a living one. `place` takes
//! values and returns values, and needs no database. Nothing here prints, exits, or reads the environment.

#![forbid(unsafe_code)]

pub mod apply;
pub mod backup_check;
pub mod checklist;
pub mod checkpoint;
pub mod damage;
pub mod dr_report;
pub mod drill;
pub mod error;
pub mod finding;
pub mod floor;
pub mod gap;
pub mod grade;
pub mod guard;
pub mod incident;
pub mod locked_file;
pub mod log_identity;
pub mod new_file;
pub mod place;
pub mod plan;
pub mod proofs;
pub mod report;
pub mod roots;
pub mod sanction;
pub mod sealed_file;
pub mod skipped;
pub mod stream;
pub mod watch;
pub mod watch_memory;
pub mod witness;
