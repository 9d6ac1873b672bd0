//! `anchor-verify attest` and `check-report`: reports that somebody puts their name to.

use std::path::{Path, PathBuf};

use crate::VerifyReport;
use crate::attest::{AttestError, SignedReport, attest};
use crate::files::write_text;
use clap::Args;
use cli_common::keys::{read_public_key, read_signing_key};
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{CliError, CommandLine, ExitStatus, GlobalArgs, Next, Output, Stdouted, print_report};
use serde_json::json;
use ves::Hash32;

use super::kind::of_another_kind;
use super::{ForceArg, RequireArg, not_written, print_head, print_not_checked, provenance, read_text};

/// Sign a verification report, so that it can be handed on
#[derive(Debug, Args)]
pub struct AttestArgs {
    /// The report, as `anchor-verify verify --format json` prints it
    #[arg(value_name = "REPORT")]
    report: PathBuf,

    /// Your signing key: a file with the 32-byte Ed25519 seed in hex
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The signed report to write
    #[arg(long, value_name = "SIGNED")]
    out: PathBuf,

    #[command(flatten)]
    force: ForceArg,
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

    #[command(flatten)]
    require: RequireArg,
}

/// Runs `attest`.
pub fn run(args: &AttestArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    args.force.check(&args.out)?;
    let mut inputs = Inputs::default();
    let text = read_text(&args.report)?;
    inputs.add("report", &args.report);
    let key = read_signing_key(&args.key)?;
    let name = args.report.display();
    let signed = attest(text.trim(), &key).map_err(|e| {
        of_another_kind(
            CliError::input(format!("{name}: {e}")),
            &args.report,
            "verify-report",
            "give what `anchor-verify verify` printed with `--format json`, as it was printed",
        )
    })?;
    let text = serde_json::to_string(&signed)
        .map_err(|e| CliError::io("the signed report cannot be written").with_source(e))?;
    write_text(&args.out, &format!("{text}\n"), args.force.existing())
        .map_err(|error| not_written(&args.out, error))?;
    global.recorder.file("signed-report", &args.out);
    let check = CommandLine::new("anchor-verify check-report")
        .arg(args.out.display())
        .option("--public-key", signed.public_key);
    let next = Next::run(&check);
    let made = provenance(inputs);
    let document = json!({
        "schema": "attest-report/1",
        "out": args.out.display().to_string(),
        "public_key": signed.public_key,
        "provenance": made,
        "next": next,
    });
    print_report(
        global,
        &document,
        |out| print_signed(out, &args.out, &signed.public_key, (&made, &next)),
        |out| out.ndjson([&document]),
    )?;
    Ok(ExitStatus::OK)
}

pub(super) fn print_signed(
    out: &mut Output<impl std::io::Write>,
    path: &Path,
    key: &Hash32,
    (made, next): (&Provenance, &Next),
) -> Result<(), CliError> {
    let path = path.display();
    out.line(&format!("{path}: signed with the key whose public half is {key}"))?;
    print_head(out, Some(made), None)?;
    print_not_checked(
        out,
        &["what the report says: `anchor-verify verify` did that".to_owned()],
    )?;
    next.print(out)
}

/// Runs `check-report`.
pub fn run_check(args: &CheckReportArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let key = read_public_key("--public-key", &args.public_key)?;
    let name = args.signed.display().to_string();
    let mut inputs = Inputs::default();
    inputs.add("signed-report", &args.signed);
    let signed = SignedReport::from_json(read_text(&args.signed)?.as_bytes()).map_err(|e| {
        of_another_kind(
            CliError::input(format!("{name}: {e}")),
            &args.signed,
            "signed-report",
            SIGNED,
        )
    })?;
    let report = match signed.check(&key) {
        Ok(report) => report,
        Err(error @ (AttestError::Signature | AttestError::OtherKey { .. })) => {
            CliError::input(format!("FAILED: {name}: {error}"))
                .with_hint(
                    "ask who signed it for the report as it was signed, and for the key by another way",
                )
                .report(global);
            return Ok(ExitStatus::PROBLEMS);
        }
        Err(error) => return Err(CliError::input(format!("{name}: {error}")).with_hint(SIGNED)),
    };
    let next = match report.exit_status() {
        ExitStatus::OK => Next::nothing("the signature holds"),
        _ => Next::nothing("the signature holds, and what it signs names problems: ask who signed it"),
    };
    let not_checked = "what the report says: whoever signed it did that";
    let made = provenance(inputs);
    let document = json!({
        "schema": "check-report-report/1",
        "signature": "valid",
        "public_key": signed.public_key,
        "verdict": report.verdict,
        "totals": report.totals,
        "not_checked": [not_checked],
        "report_not_checked": report.not_checked,
        "report_provenance": report.provenance,
        "provenance": made,
        "next": next,
    });
    let text = |out: &mut Stdouted| {
        let mut shown = report.clone();
        shown.not_checked.insert(0, not_checked.to_owned());
        print_checked(out, &signed.public_key, &shown, (&made, &next))
    };
    print_report(global, &document, text, |out| out.ndjson([&document]))?;
    Ok(report.exit_status_if(args.require.verdict()))
}

/// What the file of `check-report` should be.
const SIGNED: &str = "give a file that `anchor-verify attest` wrote, as it wrote it";

pub(super) fn print_checked(
    out: &mut Output<impl std::io::Write>,
    key: &Hash32,
    report: &VerifyReport,
    (made, next): (&Provenance, &Next),
) -> Result<(), CliError> {
    out.line(&format!("The signature by {key} holds."))?;
    print_head(out, Some(made), None)?;
    out.line("What was signed says:")?;
    super::verify::print_table(out, report)?;
    next.print(out)
}
