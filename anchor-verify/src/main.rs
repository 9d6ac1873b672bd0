//! `anchor-verify`: what auditors do with anchors.

#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli_common::GlobalArgs;
use ves::kernel;

/// Verifies what sequencers have anchored on a chain, trusting nobody.
///
/// No connection is opened but by fetch, and to the database that --db names.
#[derive(Debug, Parser)]
#[command(version, arg_required_else_help = true, max_term_width = 110)]
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
    Verify(commands::verify::VerifyArgs),
    Merge(commands::merge::MergeArgs),
    Prove(commands::prove::ProveArgs),
    Check(commands::check::CheckArgs),
    Bundle(commands::bundle::BundleArgs),
    Attest(commands::attest::AttestArgs),
    CheckReport(commands::attest::CheckReportArgs),
    Lint(commands::lint::LintArgs),
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
        Command::Fetch(command) => commands::fetch::run(command, &args.global),
        Command::Import(command) => commands::import::run(command, &args.global),
        Command::Verify(command) => commands::verify::run(command, &args.global),
        Command::Merge(command) => commands::merge::run(command, &args.global),
        Command::Prove(command) => commands::prove::run(command, &args.global),
        Command::Check(command) => commands::check::run(command, &args.global),
        Command::Bundle(command) => commands::bundle::run(command, &args.global),
        Command::Attest(command) => commands::attest::run(command, &args.global),
        Command::CheckReport(command) => commands::attest::run_check(command, &args.global),
        Command::Lint(command) => commands::lint::run(command, &args.global),
    };
    cli_common::finish(result, &args.global)
}
