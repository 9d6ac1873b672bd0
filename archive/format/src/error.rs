//! What can go wrong with an archive, in kinds that a command can tell apart.

use anchor_verify::verify::VerifyError;
use cli_common::Cancelled;

/// Why an archive could not be opened, read, written or queried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// An address that leads to no object store.
    #[error("{url}: {what}")]
    Address {
        /// The address, without secrets.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// The object store does not answer, or refuses.
    #[error("{object}: {what}")]
    Store {
        /// The object, or the archive.
        object: String,
        /// What the store says.
        what: String,
    },
    /// There is no archive at the address.
    #[error("there is no archive at {0}: no manifest is there")]
    NoArchive(String),
    /// An object is not what the manifest, or the form of an archive, says.
    #[error("{object}: {what}")]
    Damaged {
        /// The object.
        object: String,
        /// In what it differs.
        what: String,
    },
    /// Another writer was faster.
    #[error("another writer has written manifest {0} meanwhile")]
    Contended(u64),
    /// The log is not the one that the archive is of, or went back behind it.
    #[error("{0}")]
    Rewound(String),
    /// A value that the archive's columns do not hold.
    #[error("{0}")]
    DoesNotFit(String),
    /// The log that is archived.
    #[error(transparent)]
    Source(#[from] VerifyError),
    /// The user stopped the work.
    #[error("stopped")]
    Cancelled(#[from] Cancelled),
    /// A file of this machine.
    #[error("{name}: {source}")]
    Io {
        /// The file.
        name: String,
        /// Why.
        source: std::io::Error,
    },
    /// Columns and files that Arrow or Parquet refuse.
    #[error("{doing}: {what}")]
    Columns {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        what: String,
    },
}

impl ArchiveError {
    pub(crate) fn damaged(object: &str, what: impl Into<String>) -> Self {
        Self::Damaged {
            object: object.to_owned(),
            what: what.into(),
        }
    }

    pub(crate) fn columns<E: std::fmt::Display>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::Columns {
            doing,
            what: error.to_string(),
        }
    }

    pub(crate) fn io(name: &str) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io {
            name: name.to_owned(),
            source,
        }
    }
}
