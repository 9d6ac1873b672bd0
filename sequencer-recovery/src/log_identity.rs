//! Which log a file of notes is about: the cluster and its database, never a host. Copies of a cluster share its identity;
//! a recovery makes a new timeline.

use std::fmt;

use cli_common::DbTarget;
use event_log::{Log, Place};
use serde::{Deserialize, Serialize};

use crate::error::RecoveryError;

/// Which log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogIdentity {
    /// The cluster's system identifier; of a snapshot that does not say where it is from, its path.
    pub system: String,
    /// The database.
    pub database: String,
    /// The schema.
    pub schema: Option<String>,
    /// The timeline that the server writes, or replays.
    pub timeline: Option<u32>,
}

/// How one log is to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kinship {
    /// The same log.
    Same,
    /// The same database on another timeline: it was recovered, a standby was promoted, or it is a copy.
    OtherTimeline,
    /// Another database.
    Other,
}

impl LogIdentity {
    /// That of a log: of a snapshot, that of the log it was taken from, if it says so.
    ///
    /// # Errors
    /// [`RecoveryError::NoIdentity`] if the role may not ask the server for it, or a file is not there.
    pub fn of(log: &Log) -> Result<Self, RecoveryError> {
        Self::at(log.place(), log.target())
    }

    /// That of a log at this place.
    ///
    /// # Errors
    /// As [`LogIdentity::of`].
    pub fn at(place: &Place, target: &DbTarget) -> Result<Self, RecoveryError> {
        let unknown = |what: String| RecoveryError::NoIdentity { what };
        if let Some(server) = place.database() {
            let (Some(system), Some(timeline)) = (&server.system_identifier, server.timeline) else {
                return Err(unknown(format!(
                    "role {} may not ask the server which cluster and timeline it is",
                    server.role
                )));
            };
            return Ok(Self {
                system: system.clone(),
                database: server.database.clone(),
                schema: server.schema.clone(),
                timeline: Some(timeline),
            });
        }
        let (Place::Snapshot(_), DbTarget::Snapshot(path)) = (place, target) else {
            return Err(unknown("the log does not say where it is".into()));
        };
        let path = path
            .canonicalize()
            .map_err(|e| unknown(format!("{}: {e}", path.display())))?;
        Ok(Self {
            system: format!("file {}", path.display()),
            database: String::new(),
            schema: None,
            timeline: None,
        })
    }

    /// How this log is to another.
    pub fn kinship(&self, other: &Self) -> Kinship {
        let same =
            self.system == other.system && self.database == other.database && self.schema == other.schema;
        match same {
            false => Kinship::Other,
            true if self.timeline == other.timeline => Kinship::Same,
            true => Kinship::OtherTimeline,
        }
    }
}

impl fmt::Display for LogIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(timeline) = self.timeline else {
            return f.write_str(&self.system);
        };
        write!(f, "system {}, database {}", self.system, self.database)?;
        if let Some(schema) = &self.schema {
            write!(f, ", schema {schema}")?;
        }
        write!(f, ", timeline {timeline}")
    }
}
