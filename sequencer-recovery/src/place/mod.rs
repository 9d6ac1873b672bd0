//! Which event belongs to which missing position, and how sure that is: the third room. [`placement`] is where an event's
//! place is decided, from evidence and roots alone: by the names that holders give, by the agents' own order, by a search
//! for the root ([`solve`]) of a batch or of the tree that a checkpoint signs, and by how far a holder can be trusted
//! ([`trust`]). No database is needed here.

mod by_checkpoint;
mod goal;
mod guesses;
mod orders;
pub mod placement;
pub mod solve;
pub mod trust;
