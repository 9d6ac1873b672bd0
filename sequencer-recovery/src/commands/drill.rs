//! `sequencer-recovery drill`.

use clap::Args;
use cli_common::{CliError, ExitStatus, GlobalArgs};

/// Drill
#[derive(Debug, Args)]
pub struct DrillArgs {}

/// Runs the command.
pub fn run(_args: &DrillArgs, _global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    Err(CliError::usage("not yet"))
}
