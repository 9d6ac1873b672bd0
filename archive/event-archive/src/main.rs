//! `event-archive`: archives of events, as Parquet in object storage.

#![forbid(unsafe_code)]

mod commands;
mod examples;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli_common::{CommonCommand, GlobalArgs};
use ves::kernel;

/// Keeps the events of sequencers as Parquet in object storage, and verifies them there.
///
/// An archive is named by a folder, or by s3://, gs:// or az:// with the bucket and the prefix; credentials are taken from
/// the environment.
#[derive(Debug, Parser)]
#[command(arg_required_else_help = true, before_help = examples::TOOL)]
struct Args {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    #[command(before_help = examples::WRITE)]
    Write(commands::write::WriteArgs),
    #[command(before_help = examples::STATUS)]
    Status(commands::status::StatusArgs),
    #[command(before_help = examples::VERIFY)]
    // By far the largest.
    Verify(Box<commands::verify::VerifyArgs>),
    #[command(before_help = examples::PROVE)]
    Prove(commands::prove::ProveArgs),
    #[command(before_help = examples::SNAPSHOT)]
    Snapshot(commands::snapshot::SnapshotArgs),
    #[cfg(feature = "engine")]
    #[command(before_help = examples::SQL)]
    Sql(commands::sql::SqlArgs),
    #[cfg(feature = "engine")]
    #[command(before_help = examples::SCHEDULER)]
    Scheduler(commands::scheduler::SchedulerArgs),
    #[cfg(feature = "engine")]
    #[command(before_help = examples::EXECUTOR)]
    Executor(commands::executor::ExecutorArgs),
    #[command(flatten)]
    Common(CommonCommand),
}

fn main() -> ExitCode {
    let args: Args = cli_common::parse_or_exit(kernel::Kernel::available());
    cli_common::init_logging(&args.global);
    cli_common::init_threads(&args.global);
    if let Err(error) = cli_common::apply_environment("VES_KERNEL", |name| kernel::force(name.parse()?)) {
        return cli_common::finish(Err(error), &args.global);
    }
    let run = || match &args.command {
        Command::Write(command) => commands::write::run(command, &args.global),
        Command::Status(command) => commands::status::run(command, &args.global),
        Command::Verify(command) => commands::verify::run(command, &args.global),
        Command::Prove(command) => commands::prove::run(command, &args.global),
        Command::Snapshot(command) => commands::snapshot::run(command, &args.global),
        #[cfg(feature = "engine")]
        Command::Sql(command) => commands::sql::run(command, &args.global),
        #[cfg(feature = "engine")]
        Command::Scheduler(command) => commands::scheduler::run(command, &args.global),
        #[cfg(feature = "engine")]
        Command::Executor(command) => commands::executor::run(command, &args.global),
        Command::Common(command) => command.run::<Args>(&args.global),
    };
    cli_common::incident::run_command(
        env!("CARGO_PKG_NAME"),
        env!("CARGO_PKG_VERSION"),
        &args.global,
        run,
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn help_fits_80_columns_and_begins_with_examples_that_are_taken() {
        assert_eq!(
            cli_common::help::faults_of_help::<super::Args>(),
            Vec::<String>::new()
        );
    }
}
