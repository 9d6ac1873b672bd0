//! `anchor-verify attest` and `check-report`: reports that somebody puts their name to.

use std::path::PathBuf;

use anchor_verify::attest::{AttestError, SignedReport, attest};
use clap::Args;
use cli_common::keys::{read_public_key, read_signing_key};
use cli_common::{CliError, ExitStatus, Format, GlobalArgs, Output};
use serde_json::json;

use super::{read_text, write_text};

/// Sign a verification report, so that it can be handed on
#[derive(Debug, Args)]
pub struct AttestArgs {
    /// The report, as `anchor-verify verify --format json` prints it
    #[arg(value_name = "REPORT")]
    report: PathBuf,

    /// Your signing key: a file with the 32-byte Ed25519 seed in hex
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The signed report to write; one that is there is replaced
    #[arg(long, value_name = "SIGNED")]
    out: PathBuf,
}

/// Check the signature of a signed report, and say what it says
///
/// Ends with 4 if the signature does not hold, and otherwise as the verification itself did.
#[derive(Debug, Args)]
pub struct CheckReportArgs {
    /// The signed report, as `anchor-verify attest` writes it
    #[arg(value_name = "SIGNED")]
    signed: PathBuf,

    /// The public key of who is said to have signed, as hex or as a file that holds it
    #[arg(long, value_name = "HEX|FILE")]
    public_key: String,
}

/// Runs `attest`.
pub fn run(args: &AttestArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let text = read_text(&args.report)?;
    let key = read_signing_key(&args.key)?;
    let name = args.report.display();
    let signed = attest(text.trim(), &key).map_err(|e| {
        CliError::input(format!("{name}: {e}"))
            .with_hint("give a report of `anchor-verify verify --format json`, as it was printed")
    })?;
    let text = serde_json::to_string(&signed)
        .map_err(|e| CliError::io("the signed report cannot be written").with_source(e))?;
    write_text(&args.out, &format!("{text}\n"))?;
    let mut out = Output::stdout();
    if global.format == Format::Table {
        let path = args.out.display().to_string();
        out.line(&format!(
            "{}: signed with the key whose public half is {}",
            path, signed.public_key
        ))?;
    } else {
        let document = json!({
            "schema": "attest-report/1",
            "out": args.out.display().to_string(),
            "public_key": signed.public_key,
        });
        if global.format == Format::Json {
            out.json(&document)?;
        } else {
            out.ndjson([document])?;
        }
    }
    out.finish()?;
    Ok(ExitStatus::OK)
}

/// Runs `check-report`.
pub fn run_check(args: &CheckReportArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let key = read_public_key("--public-key", &args.public_key)?;
    let name = args.signed.display().to_string();
    let signed = SignedReport::from_json(read_text(&args.signed)?.as_bytes())
        .map_err(|e| CliError::input(format!("{name}: {e}")))?;
    let report = match signed.check(&key) {
        Ok(report) => report,
        Err(error @ (AttestError::Signature | AttestError::OtherKey { .. })) => {
            CliError::input(format!("FAILED: {name}: {error}")).report(global);
            return Ok(ExitStatus::PROBLEMS);
        }
        Err(error) => return Err(CliError::input(format!("{name}: {error}"))),
    };
    let mut out = Output::stdout();
    let not_checked = "NOT CHECKED: what the report says; whoever signed it did that";
    match global.format {
        Format::Table => {
            out.line(&format!(
                "The signature by {} holds. What was signed says:",
                signed.public_key
            ))?;
            out.line("")?;
            super::verify::print_table(&mut out, &report)?;
            out.line(not_checked)?;
        }
        format => {
            let document = json!({
                "schema": "check-report-report/1",
                "signature": "valid",
                "public_key": signed.public_key,
                "verdict": report.verdict,
                "totals": report.totals,
                "not_checked": ["what the report says: whoever signed it did that"],
                "report_not_checked": report.not_checked,
            });
            if format == Format::Json {
                out.json(&document)?;
            } else {
                out.ndjson([document])?;
            }
        }
    }
    out.finish()?;
    Ok(report.exit_status())
}
