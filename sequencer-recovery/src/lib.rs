//! x
pub mod apply;
pub mod audit;
pub mod collect;
pub mod counters;
pub mod error;
pub mod evidence;
pub mod examine;
pub mod finding;
pub mod fingerprint;
pub mod floor;
pub mod gap;
pub mod grade;
pub mod placement;
pub mod plan;
pub mod plan_file;
pub mod scan;
pub mod survey;
