//! An incident's folder: what was run in a recovery, when, how it ended and what came of it, kept while it happens.
//!
//! `incident.json` says what the incident is ([`Incident`]), `timeline.ndjson` what happened ([`timeline`]), `evidence/`
//! has the reports and files of each command. Every command of the three tools adds its own if it is told of the folder
//! (`--incident DIR`, or SEQUENCER_INCIDENT). docs/incident.md has the format.

mod folder;
mod recorder;
mod run;
pub mod timeline;

pub use folder::{Incident, IncidentFolder, SCHEMA};
pub use recorder::Recorder;
pub use run::run_command;
