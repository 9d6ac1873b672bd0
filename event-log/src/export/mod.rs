//! A log, or a part of one, as lines of JSON. The form is described in `docs/log-export.md`.

mod lines;
mod read;
mod write;

use std::io;

pub use lines::{ExportCounts, ExportedEntry};
pub use read::ExportReader;
pub use write::write_export;

/// The form that this version writes, and the only one that it reads.
pub const EXPORT_SCHEMA: &str = "log-export/1";

/// Why a log export cannot be read on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The input failed.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The first line is not that of a log export.
    #[error("is not a log export: {0}")]
    NotAnExport(String),
    /// A log export of another version.
    #[error("has the schema {0:?}; this version reads {EXPORT_SCHEMA:?}")]
    OtherSchema(String),
    /// A line that nothing after it can be trusted without.
    #[error("line {line}: {what}")]
    Line {
        /// Its number, counted from 1.
        line: u64,
        /// What is wrong with it.
        what: String,
    },
    /// The end is missing.
    #[error("is cut off after line {0}: its last line is not of type \"end\"")]
    Truncated(u64),
}
