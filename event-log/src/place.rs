//! Where a log was looked at: the server, the database and the role, and whether the server was still replaying.

use std::fmt;

use serde::{Deserialize, Serialize};
use ves::Timestamp;

use crate::conn::Conn;
use crate::error::LogError;
use crate::level::Level;
use crate::sql::postgres;
use crate::value::Columns;

/// Where a log was looked at. Every report carries it: what a session could see is worth as much as where it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Place {
    /// A database of a server.
    Postgres(ServerPlace),
    /// A snapshot file.
    Snapshot(SnapshotPlace),
}

/// A session on a server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerPlace {
    /// The server's version, as it says itself.
    pub server_version: String,
    /// The cluster's identity: copies of one cluster share it.
    pub system_identifier: Option<String>,
    /// The timeline that the server writes, or replays.
    pub timeline: Option<u32>,
    /// The database.
    pub database: String,
    /// The role whose rights count.
    pub role: String,
    /// The schema in which this session finds the log's tables.
    pub schema: Option<String>,
    /// How far the sequencer had migrated it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<Level>,
    /// What the server does.
    pub mode: ServerMode,
    /// How far the server has replayed, if it is in recovery.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recovery: Option<Replay>,
}

/// What a server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerMode {
    /// It takes writes.
    Primary,
    /// It is in recovery and has received WAL from another server.
    Standby,
    /// It is in recovery, from an archive.
    Recovery,
}

/// How far a server in recovery has come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replay {
    /// Whether replaying is paused.
    pub paused: bool,
    /// How far WAL was received from another server.
    pub received_lsn: Option<String>,
    /// How far WAL is replayed.
    pub replayed_lsn: Option<String>,
    /// How many bytes of WAL are received and not replayed; `None` if none were received from another server.
    pub not_replayed_bytes: Option<u64>,
    /// When the last transaction that is replayed was committed.
    pub last_commit: Option<Timestamp>,
}

/// A snapshot file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotPlace {
    /// When it was taken.
    pub taken_at: Option<Timestamp>,
    /// What it was taken from, without secrets.
    pub taken_from: Option<String>,
    /// Where that was looked at. What the file says of itself, and nobody signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub there: Option<Box<Place>>,
}

impl Place {
    /// The replay that may still bring what is missing: of a server in recovery whose replay is not paused, or that a
    /// snapshot was taken from.
    pub fn still_replaying(&self) -> Option<&Replay> {
        match self {
            Place::Postgres(server) => server.recovery.as_ref().filter(|replay| !replay.paused),
            Place::Snapshot(file) => file.there.as_deref().and_then(Place::still_replaying),
        }
    }

    /// The database that was looked at, or that a snapshot says it was taken from.
    pub fn database(&self) -> Option<&ServerPlace> {
        match self {
            Place::Postgres(server) => Some(server),
            Place::Snapshot(file) => file.there.as_deref().and_then(Place::database),
        }
    }

    /// The schema that the log is in, or was in when the snapshot was taken.
    pub fn schema(&self) -> Option<&str> {
        self.database()?.schema.as_deref()
    }

    /// The level of the log, or of the one that the snapshot was taken from.
    pub fn level(&self) -> Option<Level> {
        self.database()?.level
    }

    /// The server, if the log was looked at there and not in a snapshot.
    pub fn server(&self) -> Option<&ServerPlace> {
        match self {
            Place::Postgres(server) => Some(server),
            Place::Snapshot(_) => None,
        }
    }

    /// What a report has to say about a server that was in recovery; for NOT CHECKED.
    pub fn reservation(&self) -> Option<String> {
        let (server, whose) = match self {
            Place::Postgres(server) => (server, "the server is"),
            Place::Snapshot(file) => match file.there.as_deref()? {
                Place::Postgres(server) => (server, "the snapshot was taken from a server that was"),
                older @ Place::Snapshot(_) => return older.reservation(),
            },
        };
        let replay = server.recovery.as_ref()?;
        let pending = match replay.not_replayed_bytes {
            Some(bytes @ 1..) => format!(", {bytes} bytes of WAL are received and not replayed"),
            _ => String::new(),
        };
        Some(if replay.paused {
            format!(
                "what WAL has beyond {}: {whose} in recovery and its replay paused{pending}",
                replay
                    .replayed_lsn
                    .as_deref()
                    .unwrap_or("the last replayed record")
            )
        } else {
            format!(
                "whether what is missing still comes: {whose} in recovery and still replaying WAL{pending}; what is \
                 called missing or lost here may be there later"
            )
        })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Postgres(server) => server.fmt(f),
            Place::Snapshot(file) => file.fmt(f),
        }
    }
}

impl fmt::Display for ServerPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostgreSQL {}", self.server_version)?;
        if let Some(identifier) = &self.system_identifier {
            write!(f, ", system {identifier}")?;
        }
        write!(f, ", database {}, role {}", self.database, self.role)?;
        if let Some(schema) = &self.schema {
            write!(f, ", schema {schema}")?;
        }
        if let Some(level) = &self.level {
            write!(f, ", {level}")?;
        }
        let mode = match self.mode {
            ServerMode::Primary => "primary",
            ServerMode::Standby => "standby, in recovery",
            ServerMode::Recovery => "in recovery",
        };
        write!(f, "; {mode}")?;
        if let Some(timeline) = self.timeline {
            write!(f, ", timeline {timeline}")?;
        }
        if let Some(replay) = &self.recovery {
            let state = if replay.paused {
                "replay paused"
            } else {
                "still replaying"
            };
            write!(f, ", {state}")?;
            if let Some(lsn) = &replay.replayed_lsn {
                write!(f, " at {lsn}")?;
            }
            if let Some(bytes) = replay.not_replayed_bytes {
                write!(f, ", {bytes} bytes of WAL received and not replayed")?;
            }
            if let Some(time) = &replay.last_commit {
                write!(f, ", last commit {time}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for SnapshotPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("snapshot")?;
        if let Some(time) = &self.taken_at {
            write!(f, " taken {time}")?;
        }
        if let Some(source) = &self.taken_from {
            write!(f, " from {source}")?;
        }
        if let Some(there) = &self.there {
            write!(f, " ({there})")?;
        }
        Ok(())
    }
}

const DOING: &str = "asking the server where we are";

/// Where the session of an open transaction is.
pub(crate) async fn server_place(conn: &mut Conn) -> Result<ServerPlace, LogError> {
    let found = conn
        .query_one(DOING, postgres!("place"), &[], |row| {
            let mut c = Columns::new(row);
            let place = ServerPlace {
                server_version: c.text("server_version")?.to_owned(),
                database: c.text("database")?.to_owned(),
                role: c.text("role")?.to_owned(),
                schema: c.optional_text("schema")?.map(str::to_owned),
                level: None,
                system_identifier: None,
                timeline: None,
                mode: ServerMode::Primary,
                recovery: None,
            };
            Ok((place, c.int("in_recovery")? == 1, c.int("may_see_control")? == 1))
        })
        .await?;
    let found: Result<_, String> = found.unwrap_or_else(|| Err("no answer".into()));
    let (mut place, in_recovery, may_see_control) = found.map_err(not_understood)?;
    if may_see_control {
        let control = conn
            .query_one(DOING, postgres!("place_control"), &[], |row| {
                let mut c = Columns::new(row);
                Ok::<_, String>((c.text("system_identifier")?.to_owned(), c.number("timeline")?))
            })
            .await?;
        if let Some((identifier, timeline)) = control.transpose().map_err(not_understood)? {
            place.system_identifier = Some(identifier);
            place.timeline = Some(timeline);
        }
    }
    if in_recovery {
        let replay = conn
            .query_one(DOING, postgres!("place_replay"), &[], |row| {
                let mut c = Columns::new(row);
                Ok::<_, String>(Replay {
                    paused: c.int("paused")? == 1,
                    received_lsn: c.optional_text("received")?.map(str::to_owned),
                    replayed_lsn: c.optional_text("replayed")?.map(str::to_owned),
                    not_replayed_bytes: c.optional_number("behind")?,
                    last_commit: c.optional_time("last_commit")?,
                })
            })
            .await?;
        let replay = replay
            .unwrap_or_else(|| Err("no answer".into()))
            .map_err(not_understood)?;
        place.mode = match replay.received_lsn {
            Some(_) => ServerMode::Standby,
            None => ServerMode::Recovery,
        };
        place.recovery = Some(replay);
    }
    Ok(place)
}

fn not_understood(what: String) -> LogError {
    LogError::Refused { doing: DOING, what }
}
