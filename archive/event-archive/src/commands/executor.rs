//! `event-archive executor`: does the work of a cluster.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use anchor_verify::commands::cancel_on_signals;
use archive_engine::cluster::{ExecutorOptions, run_executor};
use clap::Args;
use cli_common::{CliError, ExitStatus, GlobalArgs};

use super::sql::engine_error;

/// Run an executor of a cluster, until Ctrl-C or SIGTERM
///
/// It reads archives with its own credentials, takes its work from the scheduler, and gives out what it made at its port.
/// Told to end, it takes no more tasks, and ends when those that it has are done; a second signal ends it at once.
#[derive(Debug, Args)]
pub struct ExecutorArgs {
    /// The scheduler: df://HOST:PORT
    #[arg(long, value_name = "URL")]
    scheduler: String,

    /// The address to listen at
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    listen: IpAddr,

    /// The port to listen at; 0 for any that is free
    #[arg(long, value_name = "N", default_value_t = 0)]
    port: u16,

    /// The name by which scheduler and executors reach it [default: the address that the scheduler sees]
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// How many tasks to take at once; the work of each is spread over --threads
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=1024))]
    tasks: u16,

    /// Memory for queries, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..))]
    memory: u32,

    /// A folder of its own for results [default: a temporary one]
    #[arg(long, value_name = "DIR")]
    work_dir: Option<PathBuf>,

    /// How long to wait for the scheduler to be there
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = cli_common::duration)]
    patience: Duration,
}

/// Runs the command.
pub fn run(args: &ExecutorArgs, _: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let cancel = cancel_on_signals()?;
    let options = ExecutorOptions {
        scheduler: args.scheduler.clone(),
        listen: SocketAddr::new(args.listen, args.port),
        host: args.host.clone(),
        tasks: args.tasks.into(),
        memory: u64::from(args.memory) << 20,
        work_dir: args.work_dir.clone(),
        patience: args.patience,
    };
    run_executor(&options, &cancel).map_err(engine_error)?;
    Ok(ExitStatus::OK)
}
