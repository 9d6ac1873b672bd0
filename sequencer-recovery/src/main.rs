//! `sequencer-recovery`: what operators do after a point-in-time recovery.

#![forbid(unsafe_code)]

mod commands;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli_common::GlobalArgs;
use ves::kernel;

/// Find what a recovered sequencer log lacks, plan the repair, apply it and prove it.
///
/// Reading is the default. Repair goes audit -> plan (a file) -> apply (that file).
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
    Audit(commands::audit::AuditArgs),
    Gaps(commands::gaps::GapsArgs),
    Plan(commands::plan::PlanArgs),
    Apply(commands::apply::ApplyArgs),
    Undo(commands::undo::UndoArgs),
    Epoch(commands::epoch::EpochArgs),
    Certify(commands::certify::CertifyArgs),
    Counters(commands::counters::CountersArgs),
    Snapshot(commands::snapshot::SnapshotArgs),
    Drill(commands::drill::DrillArgs),
    Export(commands::export::ExportArgs),
}

fn main() -> ExitCode {
    let args: Args = cli_common::parse_or_exit();
    cli_common::init_logging(&args.global);
    cli_common::init_threads(&args.global);
    if let Err(error) = cli_common::apply_environment("VES_KERNEL", |name| kernel::force(name.parse()?)) {
        return cli_common::finish(Err(error), &args.global);
    }
    tracing::info!("hash kernel {}", kernel::Kernel::current());
    let global = &args.global;
    let result = match &args.command {
        Command::Audit(command) => commands::audit::run(command, global),
        Command::Gaps(command) => commands::gaps::run(command, global),
        Command::Plan(command) => commands::plan::run(command, global),
        Command::Apply(command) => commands::apply::run(command, global),
        Command::Undo(command) => commands::undo::run(command, global),
        Command::Epoch(command) => commands::epoch::run(command, global),
        Command::Certify(command) => commands::certify::run(command, global),
        Command::Counters(command) => commands::counters::run(command, global),
        Command::Snapshot(command) => commands::snapshot::run(command, global),
        Command::Export(command) => commands::export::run(command, global),
        Command::Drill(command) => commands::drill::run(command, global),
    };
    cli_common::finish(result, global)
}
