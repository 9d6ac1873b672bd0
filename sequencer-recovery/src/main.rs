//! `sequencer-recovery`: what operators do after a point-in-time recovery.

#![forbid(unsafe_code)]

mod commands;
mod examples;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use cli_common::{CommonCommand, GlobalArgs};
use ves::kernel;

/// Find what a recovered sequencer log lacks, plan the repair, apply it and prove it.
///
/// Reading is the default. Repair goes audit -> plan (a file) -> apply (that file).
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
    #[command(before_help = examples::AUDIT)]
    Audit(commands::audit::AuditArgs),
    #[command(before_help = examples::GAPS)]
    Gaps(commands::gaps::GapsArgs),
    #[command(before_help = examples::PLAN)]
    Plan(commands::plan::PlanArgs),
    #[command(before_help = examples::APPLY)]
    Apply(commands::apply::ApplyArgs),
    #[command(before_help = examples::UNDO)]
    Undo(commands::undo::UndoArgs),
    #[command(before_help = examples::EPOCH)]
    Epoch(commands::epoch::EpochArgs),
    #[command(before_help = examples::CERTIFY)]
    Certify(commands::certify::CertifyArgs),
    #[command(before_help = examples::BACKUP_CHECK)]
    BackupCheck(commands::backup_check::BackupCheckArgs),
    #[command(before_help = examples::CHECKLIST)]
    Checklist(commands::checklist::ChecklistArgs),
    #[command(before_help = examples::CHECKPOINT)]
    Checkpoint(commands::checkpoint::CheckpointArgs),
    #[command(before_help = examples::GUARD)]
    Guard(commands::guard::GuardArgs),
    #[command(before_help = examples::WATCH)]
    Watch(commands::watch::WatchArgs),
    #[command(before_help = examples::COUNTERS)]
    Counters(commands::counters::CountersArgs),
    #[command(before_help = examples::SNAPSHOT)]
    Snapshot(commands::snapshot::SnapshotArgs),
    #[command(before_help = examples::DRILL)]
    Drill(commands::drill::DrillArgs),
    #[command(before_help = examples::INCIDENT)]
    Incident(commands::incident::IncidentArgs),
    #[command(before_help = examples::EXPORT)]
    Export(commands::export::ExportArgs),
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
    let global = &args.global;
    let run = || match &args.command {
        Command::Audit(command) => commands::audit::run(command, global),
        Command::Gaps(command) => commands::gaps::run(command, global),
        Command::Plan(command) => commands::plan::run(command, global),
        Command::Apply(command) => commands::apply::run(command, global),
        Command::Undo(command) => commands::undo::run(command, global),
        Command::Epoch(command) => commands::epoch::run(command, global),
        Command::Certify(command) => commands::certify::run(command, global),
        Command::BackupCheck(command) => commands::backup_check::run(command, global),
        Command::Checklist(command) => commands::checklist::run(command, global),
        Command::Checkpoint(command) => commands::checkpoint::run(command, global),
        Command::Guard(command) => commands::guard::run(command, global),
        Command::Watch(command) => commands::watch::run(command, global),
        Command::Counters(command) => commands::counters::run(command, global),
        Command::Snapshot(command) => commands::snapshot::run(command, global),
        Command::Export(command) => commands::export::run(command, global),
        Command::Drill(command) => commands::drill::run(command, global),
        Command::Incident(command) => commands::incident::run(command, global),
        Command::Common(command) => command.run::<Args>(global),
    };
    cli_common::incident::run_command(env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"), global, run)
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

    /// The command lines of timers and jobs, as systemd and Kubernetes would give them.
    #[test]
    fn what_the_cadence_runs_is_taken() {
        let deploy = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
        let read = |name: &str| std::fs::read_to_string(deploy.join(name)).unwrap();
        let mut lines = Vec::new();
        for file in std::fs::read_dir(deploy.join("systemd")).unwrap() {
            let file = file.unwrap();
            let name = file.file_name().into_string().unwrap();
            let text = match file.path().is_dir() {
                true => read(&format!("systemd/{name}/guard.conf")),
                false => read(&format!("systemd/{name}")),
            };
            let commands = text.lines().filter_map(|line| {
                let start = line.strip_prefix("ExecStart=");
                start.or_else(|| line.strip_prefix("ExecStartPre="))
            });
            lines.extend(commands.map(|line| cli_common::help::words(line)[1..].to_vec()));
        }
        let jobs = ["cronjobs", "guard", "watch"]
            .map(|name| read(&format!("kubernetes/{name}.yaml")))
            .concat();
        let args = jobs.lines().filter_map(|line| line.trim().strip_prefix("args: "));
        lines.extend(args.map(|list| serde_json::from_str::<Vec<String>>(list).unwrap()));
        assert_eq!(lines.len(), 11, "{lines:?}");
        for line in &lines {
            assert_eq!(cli_common::help::refusal::<super::Args>(line), None, "{line:?}");
        }
    }
}
