//! What can go wrong with a query or a cluster.

use archive_format::ArchiveError;
use datafusion::error::DataFusionError;

/// Why a query, or work on a cluster, did not come to an end.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EngineError {
    /// The archive.
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    /// The statement cannot be understood, or does what a reader may not.
    #[error("{0}")]
    Refused(String),
    /// The query was begun and failed.
    #[error("the query failed: {0}")]
    Query(String),
    /// The cluster cannot be reached, or does not do the work.
    #[error("{0}")]
    Cluster(String),
    /// The user stopped the work.
    #[error("cancelled before the work was done")]
    Cancelled,
    /// This machine: threads, temporary files, ports.
    #[error("{doing}: {what}")]
    System {
        /// What was being done.
        doing: &'static str,
        /// Why not.
        what: String,
    },
}

impl EngineError {
    /// A statement that is not run.
    pub(crate) fn refused(error: &DataFusionError) -> Self {
        Self::Refused(in_words(error))
    }

    /// A query that failed.
    pub(crate) fn query(error: &DataFusionError) -> Self {
        Self::Query(in_words(error))
    }

    pub(crate) fn system<E: std::fmt::Display>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |error| Self::System {
            doing,
            what: error.to_string(),
        }
    }
}

/// What an error says, without the engine's names for its kinds and without a backtrace.
fn in_words(error: &DataFusionError) -> String {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => in_words(inner),
        DataFusionError::Shared(inner) => in_words(inner),
        error => cli_common::redact_text(&error.strip_backtrace()),
    }
}
