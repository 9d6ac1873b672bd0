//! `incident note`: tells what commands cannot know.

use clap::Args;
use cli_common::incident::timeline::{Entry, Happening, Moment};
use cli_common::{CliError, ExitStatus, Frame, GlobalArgs, Tone};
use sequencer_recovery::incident::Course;
use serde::Serialize;

use super::{WhenArgs, folder, made, next_step};

/// Note what commands cannot know: when the outage began, what was done by hand
///
/// Ends with 0.
#[derive(Debug, Args)]
pub struct NoteArgs {
    /// What there is to tell
    #[arg(value_name = "TEXT", required_unless_present = "moment")]
    text: Option<String>,

    /// A moment that RTO and RPO are measured by; noted again, the later note counts
    #[arg(long, value_name = "MOMENT", value_enum)]
    moment: Option<Moment>,

    /// Somebody stepped in by hand: it counts as an intervention
    #[arg(long, conflicts_with = "moment")]
    intervention: bool,

    #[command(flatten)]
    when: WhenArgs,
}

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    folder: String,
    entry: Entry,
}

pub fn run(args: &NoteArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let folder = folder(global)?;
    let happened_at = args.when.time()?.to_string();
    let text = args.text.clone().unwrap_or_default();
    let entry = folder.append(match args.moment {
        Some(moment) => Happening::Moment {
            moment,
            happened_at,
            text,
        },
        None => Happening::Note {
            happened_at,
            text,
            intervention: args.intervention,
        },
    })?;
    let report = Report {
        schema: "incident-note/1",
        folder: folder.path().display().to_string(),
        entry,
    };
    let frame = Frame {
        schema: report.schema,
        provenance: &made(),
        next: &next_step(&Course::read(&folder)?, global),
    };
    frame.print(
        global,
        &report,
        |out| {
            out.verdict(
                Tone::Good,
                &format!("Noted as entry {} of the timeline.", report.entry.n),
            )
        },
        |lines| lines.one("note", &report),
    )?;
    Ok(ExitStatus::OK)
}
