//! `incident close`: the report, the texts, and the manifest by which others check the folder.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use cli_common::incident::IncidentFolder;
use cli_common::incident::timeline::Happening;
use cli_common::keys::read_signing_key;
use cli_common::{
    Access, CliError, CommandLine, Existing, ExitStatus, Frame, GlobalArgs, Next, Output, Tone, WholeFile,
    files,
};
use sequencer_recovery::dr_report::{self, DrReport, PassFail};
use sequencer_recovery::incident::manifest::{self, IncidentManifest, NAME, SUMS, SignedManifest};
use sequencer_recovery::incident::summary::Summary;
use sequencer_recovery::incident::{Course, texts};
use serde::Serialize;

use super::super::report::print_not_checked;
use super::page::page;
use super::status::print_summary;
use super::{about, folder, known, made};

/// Close an incident: write its report and texts, and a manifest of all its files
///
/// In the folder: dr_report.json, report.md and report.html are the record; drafts/ has status updates and a post-mortem to be edited;
/// manifest.json and SHA256SUMS name every file with its hash, but for the drafts. The report is kept with those of the
/// drills too. Nothing can be added to a closed incident. A close that was interrupted goes on when it is run again.
///
/// Ends with 0 if everything that had to hold held, 4 otherwise.
#[derive(Debug, Args)]
pub struct CloseArgs {
    /// Sign the manifest with this key: a file with an Ed25519 seed in hex
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,

    /// Keep the report in this folder too, beside those of the drills
    #[arg(long, value_name = "DIR", default_value = dr_report::FOLDER)]
    reports: PathBuf,
}

/// The record of the incident.
const RECORD: &str = "dr_report.json";
const REPORT: &str = "report.md";
const PAGE: &str = "report.html";

/// Texts to be edited: no manifest names them.
const DRAFTS: &str = "drafts";

/// Whether a file is there to be edited.
pub(super) fn is_draft(path: &str) -> bool {
    Path::new(path).starts_with(DRAFTS)
}

pub fn run(args: &CloseArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let folder = folder(global)?;
    if folder.path().join(NAME).exists() {
        return Err(CliError::drift("the incident is closed already").with_hint(
            "`sequencer-recovery incident check` says whether its folder is whole; nothing was changed",
        ));
    }
    let key = args.key.as_deref().map(read_signing_key).transpose()?;
    if Course::read(&folder)?.closed_at.is_none() {
        // What is no evidence would be found only after nothing can be changed any more.
        let files = manifest::files(folder.path())?.len() as u64;
        folder.append(Happening::Closed { files })?;
    }
    let course = Course::read(&folder)?;
    let summary = Summary::of(&course);
    let record = summary.record(&course);
    let json = pretty(&record)?;
    folder.write(RECORD, Existing::Replace, &json)?;
    folder.write(REPORT, Existing::Replace, &texts::report(&course, &summary))?;
    folder.write(
        PAGE,
        Existing::Replace,
        &page_of(&course, &summary, &record, global),
    )?;
    write_drafts(&folder, &course, &summary)?;
    let signed = SignedManifest::new(manifest_of(&folder, &course)?, key.as_ref())
        .map_err(|e| CliError::io("the manifest has no canonical form").with_source(e))?;
    folder.write(SUMS, Existing::Replace, &signed.sums())?;
    // Last of all: with it, the incident is closed.
    folder.write(NAME, Existing::Keep, &pretty(&signed)?)?;
    let kept = keep(&args.reports, &record, &json);
    let mut status = match record.result {
        PassFail::Pass => ExitStatus::OK,
        PassFail::Fail => ExitStatus::PROBLEMS,
    };
    let closed = Closed {
        folder: folder.path(),
        kept: kept.as_ref().ok(),
        signed: key.is_some(),
        summary: &summary,
    };
    let printed = print(&record, &closed, global);
    for error in [kept.err(), printed.err()].into_iter().flatten() {
        status |= error.exit_status();
        error.report(global);
    }
    Ok(status)
}

/// The page for people, which is part of the folder.
fn page_of(course: &Course, summary: &Summary, record: &DrReport, global: &GlobalArgs) -> String {
    let check = about(CommandLine::new("sequencer-recovery incident check"), global);
    let frame = Frame {
        schema: &record.schema,
        provenance: &made(),
        next: &Next::run_for("anybody can check the folder", &check),
    };
    html_report::render(&page(course, summary, &frame, global))
}

fn pretty(document: &impl Serialize) -> Result<String, CliError> {
    serde_json::to_string_pretty(document)
        .map(|json| json + "\n")
        .map_err(|e| CliError::io("a document cannot be written").with_source(e))
}

fn write_drafts(folder: &IncidentFolder, course: &Course, summary: &Summary) -> Result<(), CliError> {
    let drafts = folder.path().join(DRAFTS);
    fs::create_dir_all(&drafts).map_err(|error| CliError::cannot_write(&drafts, error))?;
    for (name, text) in [
        ("updates.md", texts::updates(course, summary)),
        ("post-mortem.md", texts::post_mortem(course, summary)),
    ] {
        // Of a close that was interrupted, somebody may have begun to edit them.
        if !drafts.join(name).exists() {
            folder.write(&format!("{DRAFTS}/{name}"), Existing::Keep, &text)?;
        }
    }
    Ok(())
}

fn manifest_of(folder: &IncidentFolder, course: &Course) -> Result<IncidentManifest, CliError> {
    let mut files = manifest::files(folder.path())?;
    files.retain(|file| !is_draft(&file.path));
    Ok(IncidentManifest {
        schema: manifest::SCHEMA.into(),
        incident: course.incident.id.clone(),
        closed_at: course.closed_at.map(|at| at.to_string()).unwrap_or_default(),
        provenance: made(),
        files,
    })
}

/// Keeps the record beside those of drills.
fn keep(reports: &Path, record: &DrReport, json: &str) -> Result<PathBuf, CliError> {
    use std::io::Write as _;

    let path = DrReport::default_path(&record.id, record.started_at, |path| {
        reports
            .join(path.file_name().unwrap_or_default())
            .symlink_metadata()
            .is_ok()
    });
    let path = reports.join(path.file_name().unwrap_or_default());
    let write = || {
        fs::create_dir_all(reports)?;
        let mut file = WholeFile::create(&path, Access::Owner, Existing::Keep)?;
        file.write_all(json.as_bytes())?;
        file.finish()
    };
    write().map_err(|error| CliError::cannot_write(&path, error))?;
    Ok(path)
}

/// What the record of a closed incident says otherwise than its timeline and evidence.
pub(super) fn contradictions(folder: &Path, course: &Course) -> Vec<String> {
    /// A record is not longer than this.
    const MAX_RECORD: u64 = 512 << 20;

    let wrong = |what: &str| vec![format!("{RECORD}: {what}")];
    let text = match files::read_text(&folder.join(RECORD), MAX_RECORD) {
        Ok(text) => text,
        Err(error) => return wrong(&error.to_string()),
    };
    let record = match DrReport::read(text.as_bytes()) {
        Ok(record) => record,
        Err(why) => return wrong(&why),
    };
    let again = Summary::of(course).record(course);
    let compared = [
        ("recovery times and points", record.objectives == again.objectives),
        ("counts of events", record.events == again.events),
        ("interventions", record.interventions == again.interventions),
        ("phases", record.phases == again.phases),
        (
            "checks",
            record.checks == again.checks && record.result == again.result,
        ),
    ];
    let differ = compared.into_iter().filter(|(_, same)| !same);
    differ
        .map(|(what, _)| format!("{RECORD}: its {what} are not those of the timeline and the evidence"))
        .collect()
}

/// What was written.
struct Closed<'a> {
    folder: &'a Path,
    kept: Option<&'a PathBuf>,
    signed: bool,
    summary: &'a Summary,
}

fn print(record: &DrReport, closed: &Closed<'_>, global: &GlobalArgs) -> Result<(), CliError> {
    let check = CommandLine::new("sequencer-recovery incident check");
    let frame = Frame {
        schema: &record.schema,
        provenance: &made(),
        next: &Next::run_for("anybody can check the folder", &about(check, global)),
    };
    frame.print(
        global,
        record,
        |out| print_table(out, record, closed),
        |lines| {
            lines.all("phase", &record.phases)?;
            lines.all("check", &record.checks)?;
            lines.all("stream", &record.streams)?;
            lines.not_checked(&record.not_checked)?;
            lines.one("report", record)
        },
    )
}

fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    record: &DrReport,
    closed: &Closed<'_>,
) -> Result<(), CliError> {
    let tone = match record.result {
        PassFail::Pass => Tone::Good,
        PassFail::Fail => Tone::Bad,
    };
    out.verdict(
        tone,
        &format!("Incident {}: closed, {}.", record.id, record.result.as_str()),
    )?;
    let (rto, rpo) = (&record.objectives.rto, &record.objectives.rpo);
    out.line(&format!(
        "RTO {}, RPO {} as recovered and {} after the repair; RPO of proof {}.",
        known(rto.seconds_reached),
        known(rpo.seconds_before_repair),
        known(rpo.seconds_reached),
        known(rpo.proof_seconds)
    ))?;
    print_summary(out, closed.summary)?;
    out.line("")?;
    for check in &record.checks {
        match check.passed {
            true => out.line(&format!("pass  {}: {}", check.name, check.detail))?,
            false => out.verdict(Tone::Bad, &format!("FAIL  {}: {}", check.name, check.detail))?,
        }
    }
    out.line("")?;
    let signed = if closed.signed { "signed" } else { "not signed" };
    out.line(&format!(
        "{} has {RECORD}, {REPORT}, {PAGE}, {DRAFTS}/ and {NAME} ({signed}).",
        closed.folder.display()
    ))?;
    if let Some(kept) = closed.kept {
        out.line(&format!("The record is kept in {} too.", kept.display()))?;
    }
    print_not_checked(out, &record.not_checked)
}
