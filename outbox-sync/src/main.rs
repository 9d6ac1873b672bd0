//! `outbox-sync`: what agents and those who run them do with outboxes.

#![forbid(unsafe_code)]

mod commands;
mod examples;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli_common::{CommonCommand, GlobalArgs};
use ves::kernel;

/// Read agents' outboxes, say what is in them, hand it over, and set them right.
///
/// Reading is the default: only `reconcile --apply` changes an outbox.
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
    #[command(before_help = examples::STATUS)]
    Status(commands::status::StatusArgs),
    #[command(before_help = examples::VERIFY)]
    Verify(commands::verify::VerifyArgs),
    #[command(before_help = examples::EXPORT)]
    Export(Box<commands::export::ExportArgs>),
    #[command(before_help = examples::CENSUS)]
    Census(commands::census::CensusArgs),
    #[command(before_help = examples::PUSH)]
    Push(Box<commands::push::PushArgs>),
    #[command(before_help = examples::BACKUP)]
    Backup(commands::backup::BackupArgs),
    #[command(before_help = examples::RECONCILE)]
    Reconcile(commands::reconcile::ReconcileArgs),
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
    tracing::info!("hash kernel {}", kernel::Kernel::current());
    let run = || match &args.command {
        Command::Status(command) => commands::status::run(command, &args.global),
        Command::Verify(command) => commands::verify::run(command, &args.global),
        Command::Export(command) => commands::export::run(command, &args.global),
        Command::Census(command) => commands::census::run(command, &args.global),
        Command::Push(command) => commands::push::run(command, &args.global),
        Command::Backup(command) => commands::backup::run(command, &args.global),
        Command::Reconcile(command) => commands::reconcile::run(command, &args.global),
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
