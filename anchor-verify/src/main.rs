//! `anchor-verify`: what auditors do with anchors.

#![forbid(unsafe_code)]

mod examples;

use std::process::ExitCode;

use anchor_verify::commands;
use clap::{Parser, Subcommand};
use cli_common::{CommonCommand, GlobalArgs};
use ves::kernel;

/// Verifies what sequencers have anchored on a chain, trusting nobody.
///
/// No connection is opened but by fetch, and to the database that --db names.
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
    #[command(before_help = examples::FETCH, override_usage = "\
anchor-verify fetch [OPTIONS] --rpc <URL> --contract <ADDRESS>
           --out <FILE>")]
    Fetch(commands::fetch::FetchArgs),
    #[command(before_help = examples::IMPORT)]
    Import(commands::import::ImportArgs),
    #[command(before_help = examples::VERIFY)]
    // By far the largest.
    Verify(Box<commands::verify::VerifyArgs>),
    #[command(before_help = examples::MERGE)]
    Merge(commands::merge::MergeArgs),
    #[command(before_help = examples::PROVE)]
    Prove(commands::prove::ProveArgs),
    #[command(before_help = examples::CHECK)]
    Check(commands::check::CheckArgs),
    #[command(before_help = examples::BUNDLE)]
    Bundle(commands::bundle::BundleArgs),
    #[command(before_help = examples::ATTEST)]
    Attest(commands::attest::AttestArgs),
    #[command(before_help = examples::CHECK_REPORT)]
    CheckReport(commands::attest::CheckReportArgs),
    #[command(before_help = examples::CHECKPOINTS)]
    Checkpoints(commands::checkpoints::CheckpointsArgs),
    #[command(before_help = examples::LINT)]
    Lint(commands::lint::LintArgs),
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
        Command::Fetch(command) => commands::fetch::run(command, &args.global),
        Command::Import(command) => commands::import::run(command, &args.global),
        Command::Verify(command) => commands::verify::run(command, &args.global),
        Command::Merge(command) => commands::merge::run(command, &args.global),
        Command::Prove(command) => commands::prove::run(command, &args.global),
        Command::Check(command) => commands::check::run(command, &args.global),
        Command::Bundle(command) => commands::bundle::run(command, &args.global),
        Command::Attest(command) => commands::attest::run(command, &args.global),
        Command::CheckReport(command) => commands::attest::run_check(command, &args.global),
        Command::Checkpoints(command) => commands::checkpoints::run(command, &args.global),
        Command::Lint(command) => commands::lint::run(command, &args.global),
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
