//! `sequencer-recovery drill plan`: the briefing of a tabletop exercise.

use std::io::Write as _;
use std::path::PathBuf;

use clap::Args;
use cli_common::{Access, CliError, Existing, ExitStatus, Frame, GlobalArgs, Next, WholeFile, file_hint};
use sequencer_recovery::drill::tabletop::{Quarter, briefing, commands, title};
use serde::Serialize;

use super::super::{HashedInputs, made};

/// The document's name and version; documented in docs/drill.md.
const SCHEMA: &str = "drill-plan/1";

/// Write the briefing of a tabletop exercise
///
/// In Markdown: a scenario (each quarter the next of eight), roles to fill, targets, questions, the commands that would be run,
/// what should come out, what to keep, and a table for the record.
#[derive(Debug, Args)]
pub struct TabletopArgs {
    /// Which quarter: 2026Q4
    #[arg(long, value_name = "QUARTER")]
    quarter: Quarter,

    /// Write it to this file, which must not exist, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    quarter: String,
    title: &'static str,
    commands: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    out: Option<String>,
    markdown: String,
}

pub(super) fn run(args: &TabletopArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let document = Document {
        schema: SCHEMA,
        quarter: args.quarter.to_string(),
        title: title(args.quarter),
        commands: commands(args.quarter),
        out: args.out.as_ref().map(|path| path.display().to_string()),
        markdown: briefing(args.quarter),
    };
    if let Some(path) = &args.out {
        let cannot = |error: std::io::Error| {
            let hint = file_hint(path, &error);
            CliError::cannot_write(path, error).with_hint(hint)
        };
        let mut file =
            WholeFile::create(path, Access::Owner, Existing::replaced_if(false)).map_err(cannot)?;
        file.write_all(document.markdown.as_bytes()).map_err(cannot)?;
        file.finish().map_err(cannot)?;
    }
    let frame = Frame {
        schema: SCHEMA,
        provenance: &made(HashedInputs::default()),
        next: &Next::nothing("fill in the roles and set a date"),
    };
    frame.print(
        global,
        &document,
        |out| match &args.out {
            Some(path) => out.line(&format!(
                "The briefing of {} ({}) is in {}.",
                document.quarter,
                document.title,
                path.display()
            )),
            None => document.markdown.lines().try_for_each(|line| out.line(line)),
        },
        |lines| lines.one("plan", &document),
    )?;
    Ok(ExitStatus::OK)
}
