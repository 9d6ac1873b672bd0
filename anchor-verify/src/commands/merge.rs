//! `anchor-verify merge`: the reports of all shards as one.

use std::path::PathBuf;

use anchor_verify::VerifyReport;
use clap::Args;
use cli_common::{CliError, ExitStatus, GlobalArgs};

use super::{RequireArg, cli_error, read_text};

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

/// Runs the command.
pub fn run(args: &MergeArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut reports = Vec::new();
    for path in &args.reports {
        let name = path.display().to_string();
        let report = VerifyReport::from_json(read_text(path)?.as_bytes())
            .map_err(|e| CliError::input(format!("{name}: {e}")))?;
        reports.push((name, report));
    }
    let report = VerifyReport::merge(reports).map_err(cli_error)?;
    super::verify::print(&report, global)?;
    Ok(report.exit_status_if(args.require.verdict()))
}
