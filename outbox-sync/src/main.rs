//! `outbox-sync`: what agents and those who run them do with outboxes.

#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli_common::GlobalArgs;
use ves::kernel;

/// Read agents' outboxes, say what is in them, hand it over, and set them right.
///
/// Reading is the default: only `reconcile --apply` changes an outbox.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true)]
struct Args {
    #[command(flatten)]
    global: GlobalArgs,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Status(commands::status::StatusArgs),
    Verify(commands::verify::VerifyArgs),
    Export(Box<commands::export::ExportArgs>),
    Census(commands::census::CensusArgs),
    Push(Box<commands::push::PushArgs>),
    Backup(commands::backup::BackupArgs),
    Reconcile(commands::reconcile::ReconcileArgs),
}

fn main() -> ExitCode {
    let args: Args = cli_common::parse_or_exit();
    cli_common::init_logging(&args.global);
    cli_common::init_threads(&args.global);
    if let Err(error) = cli_common::apply_environment("VES_KERNEL", |name| kernel::force(name.parse()?)) {
        return cli_common::finish(Err(error), &args.global);
    }
    tracing::info!("hash kernel {}", kernel::Kernel::current());
    let result = match &args.command {
        Command::Status(command) => commands::status::run(command, &args.global),
        Command::Verify(command) => commands::verify::run(command, &args.global),
        Command::Export(command) => commands::export::run(command, &args.global),
        Command::Census(command) => commands::census::run(command, &args.global),
        Command::Push(command) => commands::push::run(command, &args.global),
        Command::Backup(command) => commands::backup::run(command, &args.global),
        Command::Reconcile(command) => commands::reconcile::run(command, &args.global),
    };
    cli_common::finish(result, &args.global)
}
