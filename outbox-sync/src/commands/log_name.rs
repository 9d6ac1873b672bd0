//! A log that is only read, as it is named: a database, a snapshot, an export, or an archive of events.

use std::ffi::OsStr;
use std::fmt;

use cli_common::archive::{ArchiveAddress, ArchiveReader};
use cli_common::{Cancel, CliError, DbTarget, SchemaArg};
use event_log::OpenOptions;
use outbox_sync::known::KnownLog;

use super::errors::log_error;
use super::open_target;

/// A log that is only read.
#[derive(Debug, Clone)]
pub enum LogName {
    /// A database or a file.
    Log(DbTarget),
    /// An archive of events.
    Archive(ArchiveAddress),
}

impl LogName {
    /// Reads its name.
    pub fn parse(name: &OsStr, schema: &SchemaArg) -> Result<Self, CliError> {
        match ArchiveAddress::recognise(name) {
            None => schema.apply(DbTarget::parse(name)?).map(Self::Log),
            Some(archive) if schema.words().is_empty() => Ok(Self::Archive(archive)),
            Some(archive) => Err(CliError::usage(format!(
                "--schema is for a PostgreSQL database, and {archive} is an archive of events"
            ))
            .with_hint("leave --schema out")),
        }
    }

    /// Opens it; an archive is copied first.
    pub fn open(&self, cancel: &Cancel) -> Result<KnownLog, CliError> {
        match self {
            Self::Log(target) => open_target(target, cancel),
            Self::Archive(address) => {
                let options = OpenOptions::stopped_by(cancel);
                let reader = ArchiveReader::of_environment();
                KnownLog::open_archive(address, &reader, cancel, &options).map_err(log_error)
            }
        }
    }

    /// The log, if it is no archive.
    pub fn target(&self) -> Option<&DbTarget> {
        match self {
            Self::Log(target) => Some(target),
            Self::Archive(_) => None,
        }
    }
}

impl fmt::Display for LogName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Log(target) => target.fmt(f),
            Self::Archive(address) => address.fmt(f),
        }
    }
}
