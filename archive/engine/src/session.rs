//! A session of the query engine: bounded memory, the field's functions, and no way to anything but the archive.

use std::path::PathBuf;
use std::sync::Arc;

use datafusion::execution::memory_pool::FairSpillPool;
use datafusion::execution::runtime_env::{RuntimeEnv, RuntimeEnvBuilder};
use datafusion::execution::{FunctionRegistry, SessionStateBuilder};
use datafusion::prelude::{SessionConfig, SessionContext};

use crate::error::EngineError;
use crate::functions;
use crate::literals::Literals;

/// What a query may take.
#[derive(Debug, Clone)]
pub struct Options {
    /// How many bytes joins, sorts and aggregations may hold together; what is more is spilled to disk, or the query fails
    /// where that cannot be done. What is read at the moment comes on top: a few batches of 8,192 rows for each thread.
    pub memory: usize,
    /// How many threads work.
    pub threads: usize,
    /// Where is spilled to; the system's temporary folder if nothing is named.
    pub spill: Option<PathBuf>,
}

impl Default for Options {
    /// A GiB, and all processors.
    fn default() -> Self {
        Self {
            memory: 1 << 30,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            spill: None,
        }
    }
}

impl Options {
    /// The engine's own surroundings within these bounds.
    pub(crate) fn runtime(&self) -> Result<Arc<RuntimeEnv>, EngineError> {
        let mut builder = RuntimeEnvBuilder::new()
            .with_memory_pool(Arc::new(FairSpillPool::new(self.memory)))
            .with_object_store_registry(Arc::new(crate::stores::Stores::default()));
        if let Some(folder) = &self.spill {
            builder = builder.with_temp_file_path(folder);
        }
        builder
            .build_arc()
            .map_err(EngineError::system("the query engine"))
    }

    /// How the engine is set for archives.
    pub(crate) fn config(&self, config: SessionConfig) -> SessionConfig {
        config
            .with_target_partitions(self.threads.max(1))
            .with_information_schema(true)
            // Rows are looked at before the columns that the filter does not need are read.
            .set_bool("datafusion.execution.parquet.pushdown_filters", true)
            .set_bool("datafusion.execution.parquet.enable_page_index", true)
            .set_bool("datafusion.execution.parquet.bloom_filter_on_read", true)
            .set_bool("datafusion.sql_parser.enable_ident_normalization", true)
    }

    /// A session with the functions, and no tables.
    pub(crate) fn session(&self) -> Result<SessionContext, EngineError> {
        let state = SessionStateBuilder::new()
            .with_config(self.config(SessionConfig::new()))
            .with_runtime_env(self.runtime()?)
            .with_default_features()
            .build();
        let mut context = SessionContext::new_with_state(state);
        equip(&mut context).map_err(|error| EngineError::refused(&error))?;
        Ok(context)
    }
}

/// Gives a session the field's functions, and the comparison of ids with text.
pub(crate) fn equip(context: &mut SessionContext) -> datafusion::error::Result<()> {
    functions::register(context)?;
    FunctionRegistry::register_expr_planner(context, Arc::new(Literals))
}

#[cfg(test)]
pub(crate) fn for_tests() -> SessionContext {
    Options::default().session().unwrap()
}
