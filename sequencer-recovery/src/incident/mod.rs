//! An incident, read back from its folder: what was run and what came of it ([`course`]), what the reports say
//! ([`facts`]), the documents that close it ([`texts`], [`summary`]), and the manifest by which others check the folder
//! ([`manifest`]).
//!
//! How the folder is written while the commands run is `cli_common::incident`; docs/incident.md describes it.

pub mod course;
pub mod facts;
pub mod manifest;
pub mod next;
pub mod summary;
pub mod texts;

pub use course::Course;
