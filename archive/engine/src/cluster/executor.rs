//! An executor in this process.

use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ballista_core::config::TaskSchedulingPolicy;
use ballista_core::registry::BallistaFunctionRegistry;
use ballista_executor::executor_process::{ExecutorProcessConfig, start_executor_process};
use cli_common::Cancel;
use datafusion::prelude::SessionConfig;
use tokio::net::TcpStream;

use super::client::Place;
use super::scheduler::cancelled;
use super::setup::{self, MAX_MESSAGE};
use crate::error::EngineError;
use crate::query::runtime;
use crate::session::Options;

/// How an executor works.
#[derive(Debug, Clone)]
pub struct ExecutorOptions {
    /// The scheduler: `df://HOST:PORT`.
    pub scheduler: String,
    /// The address by which the scheduler and other executors fetch what this one has made; port 0 for any that is free.
    pub listen: SocketAddr,
    /// The host by which they call it; the address that the scheduler sees it at, if it is not named.
    pub host: Option<String>,
    /// How many tasks it takes at once. The work of each is spread over the threads of rayon's pool: two or three keep all
    /// of them busy while one waits for the object store.
    pub tasks: usize,
    /// Memory for queries, in bytes.
    pub memory: u64,
    /// A folder for results and what is spilled, of this executor alone; a temporary one, if none is named.
    pub work_dir: Option<PathBuf>,
    /// How long to wait for the scheduler to be there.
    pub patience: Duration,
}

impl ExecutorOptions {
    /// An executor of this scheduler, on this machine alone.
    pub fn new(scheduler: &str) -> Self {
        Self {
            scheduler: scheduler.to_owned(),
            listen: SocketAddr::new(IpAddr::from([127, 0, 0, 1]), 0),
            host: None,
            tasks: 2,
            memory: 1 << 30,
            work_dir: None,
            patience: Duration::from_secs(60),
        }
    }
}

/// Runs an executor until the process is told to end (Ctrl-C, SIGTERM): it takes no more tasks then, and ends when those that
/// it has are done.
///
/// # Errors
/// If there is no scheduler, or the port is taken.
pub fn run_executor(options: &ExecutorOptions, cancel: &Cancel) -> Result<(), EngineError> {
    let doing = "running an executor";
    let place = Place::parse(&options.scheduler)?;
    let temporary = match &options.work_dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().map_err(EngineError::system("a temporary folder"))?),
    };
    let folder = temporary
        .as_ref()
        .map(|folder| folder.path().to_owned())
        .or_else(|| options.work_dir.clone());
    let listen = free(options.listen)?;
    let registry =
        BallistaFunctionRegistry::from(&setup::state(setup::config()).map_err(EngineError::system(doing))?);
    let surroundings = Options {
        // Each task's share is set by Ballista.
        memory: usize::MAX,
        spill: folder.clone(),
        ..Options::default()
    };
    let config = ExecutorProcessConfig {
        bind_host: listen.ip().to_string(),
        external_host: options.host.clone(),
        port: listen.port(),
        scheduler_host: place.host.clone(),
        scheduler_port: place.port,
        vcores: options.tasks.max(1),
        task_scheduling_policy: TaskSchedulingPolicy::PullStaged,
        work_dir: folder.map(|folder| folder.display().to_string()),
        job_data_ttl_seconds: 3600,
        job_data_clean_up_interval_seconds: 300,
        grpc_max_decoding_message_size: MAX_MESSAGE,
        grpc_max_encoding_message_size: MAX_MESSAGE,
        memory_pool_size: Some(options.memory.max(1 << 20)),
        override_function_registry: Some(Arc::new(registry)),
        override_runtime_producer: Some(Arc::new(move |_: &SessionConfig| {
            surroundings
                .runtime()
                .map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)))
        })),
        override_config_producer: Some(Arc::new(setup::config)),
        override_physical_codec: Some(setup::codec()),
        ..ExecutorProcessConfig::default()
    };
    runtime(2)?.block_on(async {
        reachable(&place, options.patience, cancel).await?;
        start_executor_process(Arc::new(config))
            .await
            .map_err(EngineError::system(doing))
    })
}

/// The address, with a port that is free if none is named.
fn free(address: SocketAddr) -> Result<SocketAddr, EngineError> {
    let taken = |error| EngineError::system("listening")(format!("{address}: {error}"));
    let listener = TcpListener::bind(address).map_err(taken)?;
    listener.local_addr().map_err(taken)
}

/// Waits until somebody listens there. Ballista itself waits without an end.
async fn reachable(place: &Place, patience: Duration, cancel: &Cancel) -> Result<(), EngineError> {
    let begun = Instant::now();
    loop {
        let connected = tokio::select! {
            connected = TcpStream::connect((place.host.as_str(), place.port)) => connected,
            () = cancelled(cancel) => return Err(EngineError::Cancelled),
        };
        match connected {
            Ok(_) => return Ok(()),
            Err(error) if begun.elapsed() >= patience => {
                let (host, port) = (&place.host, place.port);
                return Err(EngineError::Cluster(format!(
                    "there is no scheduler at {host}:{port}: {error}"
                )));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}
