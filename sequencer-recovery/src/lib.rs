//! x
pub mod evidence;
pub mod finding;
pub mod floor;
pub mod gap;
pub mod grade;
pub mod placement;
