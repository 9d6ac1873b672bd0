//! A scheduler in this process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use ballista_core::config::TaskSchedulingPolicy;
use ballista_scheduler::cluster::BallistaCluster;
use ballista_scheduler::config::{SchedulerConfig, TaskDistributionPolicy};
use ballista_scheduler::scheduler_process::{create_scheduler, start_grpc_service_with_listener};
use cli_common::Cancel;
use datafusion_proto::protobuf::{LogicalPlanNode, PhysicalPlanNode};
use tokio::net::TcpListener;

use super::setup::{self, MAX_MESSAGE};
use crate::error::EngineError;
use crate::query::runtime;

/// How a scheduler works.
#[derive(Debug, Clone)]
pub struct SchedulerOptions {
    /// Where it listens; port 0 for any that is free.
    pub listen: SocketAddr,
    /// After how long a silence an executor counts as dead. An executor that works says so every five seconds at least:
    /// less than [`SchedulerOptions::LEAST_TIMEOUT`] would kill the living.
    pub executor_timeout: Duration,
}

impl SchedulerOptions {
    /// The shortest silence.
    pub const LEAST_TIMEOUT: Duration = Duration::from_secs(7);
    /// The silence that is usual.
    pub const TIMEOUT: Duration = Duration::from_secs(20);

    fn config(&self, address: SocketAddr) -> SchedulerConfig {
        let timeout = self.executor_timeout.max(Self::LEAST_TIMEOUT).as_secs();
        SchedulerConfig {
            bind_host: address.ip().to_string(),
            bind_port: address.port(),
            external_host: address.ip().to_string(),
            // Executors ask for work: they need no port that the scheduler reaches.
            scheduling_policy: TaskSchedulingPolicy::PullStaged,
            task_distribution: TaskDistributionPolicy::RoundRobin,
            // Clients reach the executors through the scheduler.
            enable_embedded_flight_proxy: true,
            executor_timeout_seconds: timeout,
            expire_dead_executor_interval_seconds: 1,
            no_executors_grace_period_seconds: timeout,
            // Reports are fetched as soon as they are there; a client that comes late asks again.
            finished_job_data_clean_up_interval_seconds: 600,
            finished_job_state_clean_up_interval_seconds: 600,
            grpc_server_max_decoding_message_size: MAX_MESSAGE,
            grpc_server_max_encoding_message_size: MAX_MESSAGE,
            grpc_client_max_message_size: MAX_MESSAGE,
            override_config_producer: Some(Arc::new(setup::config)),
            override_session_builder: Some(Arc::new(setup::state)),
            override_physical_codec: Some(setup::codec()),
            ..SchedulerConfig::default()
        }
    }
}

/// Runs a scheduler until it is cancelled. `ready` is told where it listens.
///
/// # Errors
/// If it cannot listen there.
pub fn run_scheduler(
    options: &SchedulerOptions,
    cancel: &Cancel,
    ready: impl FnOnce(SocketAddr),
) -> Result<(), EngineError> {
    let doing = "running a scheduler";
    runtime(2)?.block_on(async {
        let listener = TcpListener::bind(options.listen)
            .await
            .map_err(|error| EngineError::system("listening")(format!("{}: {error}", options.listen)))?;
        let address = listener.local_addr().map_err(EngineError::system(doing))?;
        let config = Arc::new(options.config(address));
        let cluster = BallistaCluster::new_from_config(&config).await.map_err(EngineError::system(doing))?;
        let scheduler = create_scheduler::<LogicalPlanNode, PhysicalPlanNode>(cluster, config)
            .await
            .map_err(EngineError::system(doing))?;
        ready(address);
        tokio::select! {
            ended = start_grpc_service_with_listener(listener, scheduler) => ended.map_err(EngineError::system(doing)),
            () = cancelled(cancel) => Ok(()),
        }
    })
}

/// Waits until the work is to be stopped.
pub(super) async fn cancelled(cancel: &Cancel) {
    while !cancel.is_cancelled() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
