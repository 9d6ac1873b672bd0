//! `anchor-verify merge`: the reports of all shards as one.

use std::path::PathBuf;

use crate::{InputKind, Verdict, VerifyReport};
use clap::Args;
use cli_common::provenance::Inputs;
use cli_common::{CliError, CommandLine, DbTarget, ExitStatus, GlobalArgs, Next};

use super::kind::of_another_kind;
use super::verify::NO_FAULT;
use super::{RequireArg, cli_error, provenance, read_text};

/// Join the JSON reports of all shards of one verification into one
///
/// Refuses reports of other logs, anchors or keys, shards that are missing or there twice, and reports that were edited.
/// Ends as `verify` would have.
#[derive(Debug, Args)]
pub struct MergeArgs {
    /// Reports, as `anchor-verify verify --shard K/N --format json` prints them
    #[arg(required = true, value_name = "REPORT")]
    reports: Vec<PathBuf>,

    #[command(flatten)]
    require: RequireArg,
}

/// What the files should be.
const REPORTS: &str =
    "give what `anchor-verify verify --shard K/N --format json` printed for each part, as it was printed";

/// Runs the command.
pub fn run(args: &MergeArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut reports = Vec::new();
    let mut inputs = Inputs::default();
    for path in &args.reports {
        let name = path.display().to_string();
        let report = VerifyReport::from_json(read_text(path)?.as_bytes()).map_err(|e| {
            of_another_kind(
                CliError::input(format!("{name}: {e}")),
                path,
                "verify-report",
                REPORTS,
            )
        })?;
        inputs.add("report", path);
        reports.push((name, report));
    }
    let mut report = VerifyReport::merge(reports).map_err(cli_error)?;
    report.provenance = Some(provenance(inputs));
    report.next = Some(after_merge(&report));
    super::verify::print(&report, global)?;
    Ok(report.exit_status_if(args.require.verdict()))
}

/// What is left to do. The command that each part was verified with is not in its report.
pub(super) fn after_merge(report: &VerifyReport) -> Next {
    if report.exit_status() != ExitStatus::OK && report.input.kind == InputKind::Db {
        // The anchors and keys that each part was verified with are named in its own report.
        let audit = CommandLine::new("sequencer-recovery audit");
        return Next::run(&match DbTarget::parse(report.input.name.as_ref()) {
            Ok(target) => audit.db(&target),
            Err(_) => audit.option("--db", &report.input.name),
        });
    }
    Next::nothing(match report.verdict {
        Verdict::Proven if report.exit_status() == ExitStatus::OK => NO_FAULT,
        Verdict::MatchesAnchors | Verdict::MatchesDatabase => {
            "the parts prove no more; verified again with --trusted-block, or with more --anchors, they may"
        }
        _ => "the reports of the parts name what is to be looked at",
    })
}
