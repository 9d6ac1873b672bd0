//! `event-archive scheduler`: hands out the work of a cluster.

use std::net::SocketAddr;
use std::time::Duration;

use anchor_verify::commands::cancel_on_signals;
use archive_engine::cluster::{SchedulerOptions, run_scheduler};
use clap::Args;
use cli_common::{CliError, ExitStatus, GlobalArgs};

use super::sql::engine_error;

/// Run the scheduler of a cluster, until Ctrl-C or SIGTERM
///
/// It keeps nothing on disk, and does not ask who is calling: whoever reaches the port can have the executors read what
/// they may read. Let it listen where only the cluster and its users are.
#[derive(Debug, Args)]
pub struct SchedulerArgs {
    /// Where to listen; port 0 for any that is free
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:50050")]
    listen: SocketAddr,

    /// After how long a silence an executor counts as dead: 7 s at least
    #[arg(long, value_name = "DURATION", default_value = "20s", value_parser = cli_common::duration)]
    executor_timeout: Duration,
}

/// Runs the command.
pub fn run(args: &SchedulerArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let cancel = cancel_on_signals()?;
    let options = SchedulerOptions {
        listen: args.listen,
        executor_timeout: args.executor_timeout,
    };
    let ready = |address: SocketAddr| {
        if !global.quiet {
            eprintln!("listening at df://{address}");
        }
    };
    run_scheduler(&options, &cancel, ready).map_err(engine_error)?;
    Ok(ExitStatus::OK)
}
