//! `anchor-verify`: what auditors do with anchors.

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli_common::GlobalArgs;

/// Reads what sequencers have anchored on a chain, and judges it. Only fetch opens a connection.
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
    Fetch(commands::fetch::FetchArgs),
    Import(commands::import::ImportArgs),
    Lint(commands::lint::LintArgs),
}

fn main() -> ExitCode {
    let args: Args = cli_common::parse_or_exit();
    cli_common::init_logging(&args.global);
    let result = match &args.command {
        Command::Fetch(command) => commands::fetch::run(command, &args.global),
        Command::Import(command) => commands::import::run(command, &args.global),
        Command::Lint(command) => commands::lint::run(command, &args.global),
    };
    cli_common::finish(result, &args.global)
}
