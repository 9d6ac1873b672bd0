//! Queries over an archive, for readers: nothing is written, and nothing but the archive is read.

use std::sync::Arc;

use archive_format::{ArchiveError, Manifest, Store};
use datafusion::arrow::array::RecordBatch;
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::SQLOptions;
use datafusion::prelude::{DataFrame, SessionContext};
use futures_util::StreamExt;
use tokio::runtime::Runtime;

use crate::error::EngineError;
use crate::session::Options;
use crate::tables;

/// An archive that can be asked.
pub struct Engine {
    runtime: Arc<Runtime>,
    context: SessionContext,
    store: Store,
    manifest: Manifest,
}

impl Engine {
    /// Opens the archive at an address as [`Store::open`] takes it: its newest manifest, and nothing that it does not name.
    ///
    /// # Errors
    /// If there is no archive, or it cannot be read.
    pub fn open(address: &str, options: &Options) -> Result<Self, EngineError> {
        let store = Store::open(address)?;
        let manifest = Manifest::newest(&store)?.ok_or_else(|| ArchiveError::NoArchive(store.name()))?;
        let runtime = runtime(options.threads)?;
        let context = options.session()?;
        runtime
            .block_on(tables::register(&context, &store, &manifest.manifest))
            .map_err(|error| EngineError::query(&error))?;
        Ok(Self {
            runtime: Arc::new(runtime),
            context,
            store,
            manifest: manifest.manifest,
        })
    }

    /// What the archive holds.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where it lies.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Asks: one `SELECT`, `EXPLAIN` or `SHOW TABLES`. The answer comes in pieces as they are made; not on a thread of an async
    /// runtime.
    ///
    /// # Errors
    /// If the statement cannot be understood, or is of another kind: nothing is made, altered, set or written.
    pub fn query(&self, sql: &str) -> Result<Rows, EngineError> {
        self.runtime.block_on(async {
            let planned = planned(&self.context, sql).await?;
            let stream = planned
                .execute_stream()
                .await
                .map_err(|error| EngineError::query(&error))?;
            Ok(Rows::new(stream, Arc::clone(&self.runtime)))
        })
    }
}

/// A statement, planned, if it only reads.
pub(crate) async fn planned(context: &SessionContext, sql: &str) -> Result<DataFrame, EngineError> {
    let reading = SQLOptions::new()
        .with_allow_ddl(false)
        .with_allow_dml(false)
        .with_allow_statements(false);
    let planned = context.sql_with_options(sql, reading).await;
    planned.map_err(|error| EngineError::refused(&error))
}

pub(crate) fn runtime(threads: usize) -> Result<Runtime, EngineError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads.max(1))
        .thread_name("query")
        .enable_all()
        .build()
        .map_err(EngineError::system("starting threads"))
}

/// The rows of an answer, piece by piece.
pub struct Rows {
    schema: SchemaRef,
    stream: Option<SendableRecordBatchStream>,
    runtime: Arc<Runtime>,
}

impl Rows {
    pub(crate) fn new(stream: SendableRecordBatchStream, runtime: Arc<Runtime>) -> Self {
        Self {
            schema: stream.schema(),
            stream: Some(stream),
            runtime,
        }
    }

    /// Its columns.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch, EngineError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.runtime.block_on(self.stream.as_mut()?.next());
        if !matches!(next, Some(Ok(_))) {
            self.stream = None;
        }
        next.map(|rows| rows.map_err(|error| EngineError::query(&error)))
    }
}
