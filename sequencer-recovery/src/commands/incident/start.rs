//! `incident start`: makes the folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use cli_common::incident::timeline::{Happening, Moment};
use cli_common::incident::{Incident, IncidentFolder, SCHEMA};
use cli_common::{CliError, CommandLine, ExitStatus, Frame, GlobalArgs, Next, Tone};
use serde::Serialize;

use super::{WhenArgs, made, now};

/// Make the folder of an incident
///
/// Do it first of all: what is run before is not in it. The folder is named by the date and the title, and is yours alone
/// to read.
///
/// Ends with 0.
#[derive(Debug, Args)]
pub struct StartArgs {
    /// What it is about, in a line
    #[arg(value_name = "TITLE")]
    title: String,

    /// Make the folder in this one
    #[arg(long = "in", value_name = "DIR", default_value = "incidents")]
    within: PathBuf,

    #[command(flatten)]
    began: WhenArgs,

    /// Recovery time objective: from the outage to the start of the sequencer
    #[arg(long, value_name = "TIME", value_parser = cli_common::duration)]
    rto: Option<Duration>,

    /// Recovery point objective: how far back from the outage may be lost
    #[arg(long, value_name = "TIME", value_parser = cli_common::duration)]
    rpo: Option<Duration>,
}

#[derive(Serialize)]
struct Report<'a> {
    schema: &'static str,
    folder: String,
    incident: &'a Incident,
}

pub fn run(args: &StartArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let started_at = now();
    let began = args.began.time()?;
    if args.title.trim().is_empty() {
        return Err(CliError::usage("the incident has no title").with_hint("say in a line what it is about"));
    }
    let day: String = started_at.to_string().chars().take(10).collect();
    let id = slug(&args.title);
    let (path, id) = match &global.incident {
        Some(path) if !path.as_os_str().is_empty() => (path.clone(), id),
        _ => free(&args.within, &day, &id),
    };
    let incident = Incident {
        schema: SCHEMA.into(),
        id,
        title: args.title.trim().to_owned(),
        started_at: started_at.to_string(),
        rto_seconds: args.rto.map(|time| time.as_secs_f64()),
        rpo_seconds: args.rpo.map(|time| time.as_secs_f64()),
    };
    let folder = IncidentFolder::create(&path, &incident)?;
    if args.began.is_given() {
        folder.append(Happening::Moment {
            moment: Moment::OutageBegan,
            happened_at: began.to_string(),
            text: "as told at the start of the incident".into(),
        })?;
    }
    let shown = path.canonicalize().unwrap_or(path);
    let report = Report {
        schema: "incident-start/1",
        folder: shown.display().to_string(),
        incident: &incident,
    };
    let export = CommandLine::new("export").arg(format!("SEQUENCER_INCIDENT={}", shown.display()));
    let frame = Frame {
        schema: report.schema,
        provenance: &made(),
        next: &Next::run_for("let every command know of it", &export),
    };
    frame.print(
        global,
        &report,
        |out| {
            out.verdict(Tone::Good, &format!("Incident {} is open.", incident.id))?;
            out.line(&format!("Its folder is {}.", report.folder))
        },
        |lines| lines.one("incident", &report),
    )?;
    Ok(ExitStatus::OK)
}

/// A title as part of a file's name: lower-case letters, digits and dashes, 40 at most.
fn slug(title: &str) -> String {
    let mut slug = String::new();
    for c in title.chars().flat_map(char::to_lowercase) {
        match c {
            c if c.is_ascii_alphanumeric() => slug.push(c),
            _ if slug.is_empty() || slug.ends_with('-') => {}
            _ => slug.push('-'),
        }
    }
    let end: String = slug.chars().take(40).collect();
    match end.trim_matches('-') {
        "" => "incident".to_owned(),
        slug => slug.to_owned(),
    }
}

/// A folder of this day and name that is not there yet, and its name without the day.
fn free(within: &Path, day: &str, name: &str) -> (PathBuf, String) {
    let names = (1..1000).map(|n| match n {
        1 => name.to_owned(),
        n => format!("{name}-{n}"),
    });
    let path = |name: &str| within.join(format!("{day}-{name}"));
    let mut free = names.filter(|name| path(name).symlink_metadata().is_err());
    let name = free.next().unwrap_or_else(|| name.to_owned());
    (path(&name), name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_folders_are_plain() {
        for (title, name) in [
            ("Log loss in eu-1: disk full!", "log-loss-in-eu-1-disk-full"),
            ("../../etc", "etc"),
            ("Ärger", "rger"),
            ("日本", "incident"),
            ("a".repeat(99).as_str(), "a".repeat(40).as_str()),
        ] {
            assert_eq!(slug(title), name);
        }
    }
}
