//! `incident check`: whether the folder of a closed incident is as it was closed. It needs nothing but the folder.

use std::io::Write;
use std::path::Path;

use clap::Args;
use cli_common::keys::read_public_key;
use cli_common::{CliError, ExitStatus, Frame, GlobalArgs, Next, Output, Tone, files};
use sequencer_recovery::incident::Course;
use sequencer_recovery::incident::manifest::{self, NAME, SignedManifest};
use serde::Serialize;
use ves::Hash32;

use super::super::report::print_not_checked;
use super::close::is_draft;
use super::{folder, made};

/// Check the folder of a closed incident: every file, the timeline, the figures, the signature
///
/// Needs nothing but the folder, so that others can check it alone.
///
/// Ends with 0 if all of it holds, 4 otherwise.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The key that the manifest is signed with: hex, base64, or a file
    #[arg(long, value_name = "KEY")]
    public_key: Option<String>,
}

#[derive(Serialize)]
struct Report {
    schema: &'static str,
    folder: String,
    incident: String,
    files: usize,
    /// Who signed the manifest, by its own word.
    signed_by: Option<Hash32>,
    /// `valid`, `not checked`, `none`.
    signature: &'static str,
    faults: Vec<String>,
    not_checked: Vec<String>,
}

/// A manifest is not longer than this.
const MAX_MANIFEST: u64 = 512 << 20;

pub fn run(args: &CheckArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let folder = folder(global)?;
    let key = args
        .public_key
        .as_deref()
        .map(|key| read_public_key("--public-key", key))
        .transpose()?;
    let course = Course::read(&folder)?;
    let signed = read_manifest(folder.path())?;
    let mut found = manifest::files(folder.path())?;
    found.retain(|file| !is_draft(&file.path));
    let mut faults = manifest::differences(&signed.manifest, &found);
    faults.extend(course.faults.iter().cloned());
    faults.extend(super::close::contradictions(folder.path(), &course));
    if signed.manifest.incident != course.incident.id {
        faults.push(format!(
            "the manifest is of another incident: {}",
            signed.manifest.incident
        ));
    }
    let mut not_checked = Vec::new();
    let signature = match (&signed.signature, &key) {
        (Some(_), Some(key)) if signed.verifies(key) => "valid",
        (Some(_), Some(_)) => {
            faults
                .push("the signature of the manifest is not by this key, or the manifest was changed".into());
            "FAILED"
        }
        (None, Some(_)) => {
            faults.push("the manifest is not signed".into());
            "none"
        }
        (Some(_), None) => {
            not_checked.push("the signature of the manifest: give --public-key, from whom you trust".into());
            "not checked"
        }
        (None, None) => {
            not_checked.push(
                "who closed the incident: the manifest is not signed, so whoever can write the folder could write all of it \
                 anew"
                    .into(),
            );
            "none"
        }
    };
    not_checked.push("what the reports say of the log: audit it, or verify it against its anchors".into());
    let report = Report {
        schema: "incident-check/1",
        folder: folder.path().display().to_string(),
        incident: course.incident.id.clone(),
        files: signed.manifest.files.len(),
        signed_by: signed.public_key,
        signature,
        faults,
        not_checked,
    };
    print(&report, global)?;
    Ok(match report.faults.is_empty() {
        true => ExitStatus::OK,
        false => ExitStatus::PROBLEMS,
    })
}

fn read_manifest(folder: &Path) -> Result<SignedManifest, CliError> {
    let path = folder.join(NAME);
    let unusable = |what: String| {
        CliError::input(format!("{}: {what}", path.display()))
            .with_hint("an incident has a manifest once it is closed: `sequencer-recovery incident close`")
    };
    let text = files::read_text(&path, MAX_MANIFEST).map_err(|e| unusable(e.to_string()))?;
    let signed: SignedManifest = serde_json::from_str(&text).map_err(|e| unusable(e.to_string()))?;
    match signed.manifest.schema.as_str() {
        manifest::SCHEMA => Ok(signed),
        other => Err(unusable(format!("it is of another version: {other}"))),
    }
}

fn print(report: &Report, global: &GlobalArgs) -> Result<(), CliError> {
    let next = match report.faults.is_empty() {
        true => Next::nothing("the folder is as it was closed"),
        false => Next::nothing("ask who keeps the folder for a copy of it that was not changed"),
    };
    let frame = Frame {
        schema: report.schema,
        provenance: &made(),
        next: &next,
    };
    frame.print(
        global,
        report,
        |out| print_table(out, report),
        |lines| {
            lines.all(
                "fault",
                report
                    .faults
                    .iter()
                    .map(|fault| serde_json::json!({ "what": fault })),
            )?;
            lines.not_checked(&report.not_checked)?;
            lines.one("check", report)
        },
    )
}

fn print_table<W: Write>(out: &mut Output<W>, report: &Report) -> Result<(), CliError> {
    let (tone, verdict) = match report.faults.len() {
        0 => (Tone::Good, "is as it was closed".to_owned()),
        faults => (Tone::Bad, format!("has {faults} fault(s)")),
    };
    out.verdict(
        tone,
        &format!(
            "Incident {}: its folder of {} files {verdict}.",
            report.incident, report.files
        ),
    )?;
    if let Some(key) = &report.signed_by {
        out.line(&format!("Signed by {key}: {}", report.signature))?;
    }
    let shown = out.shown(report.faults.len());
    for fault in &report.faults[..shown] {
        out.verdict(Tone::Bad, &format!("FAULT  {fault}"))?;
    }
    out.more(0, report.faults.len() - shown, "fault(s)")?;
    print_not_checked(out, &report.not_checked)
}
