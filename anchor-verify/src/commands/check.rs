//! `anchor-verify check`: what an inclusion proof is worth, by itself.

use std::path::PathBuf;

use anchor_verify::Verdict;
use anchor_verify::proof::{ProofCheck, ProofFile};
use clap::Args;
use cli_common::keys::read_public_key;
use cli_common::{CliError, ExitStatus, Format, GlobalArgs, Output};
use serde::Serialize;
use ves::Hash32;

use super::{chain, cli_error, print_not_checked};

/// Check an inclusion proof by itself, without any connection
///
/// Ends with 0 for PROVEN and MATCHES ANCHORS, 4 for FAILED, 8 if the file is not a proof.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The proof, as `anchor-verify prove` writes it
    #[arg(value_name = "PROOF")]
    proof: PathBuf,

    /// The hash of a block that you trust; without it, at most MATCHES ANCHORS is said
    #[arg(long, value_name = "HASH")]
    trusted_block: Option<Hash32>,

    /// The public key that the agent is known to sign with, as hex or as a file that holds it
    #[arg(long, value_name = "HEX|FILE")]
    agent_public_key: Option<String>,
}

const SCHEMA: &str = "check-report/1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    proof: String,
    #[serde(flatten)]
    check: &'a ProofCheck,
}

/// Runs the command.
pub fn run(args: &CheckArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let agent_key = args
        .agent_public_key
        .as_deref()
        .map(|value| read_public_key("--agent-public-key", value))
        .transpose()?;
    let name = args.proof.display().to_string();
    let proof = ProofFile::read(&args.proof).map_err(cli_error)?;
    let anchors = proof
        .anchors()
        .map_err(|e| CliError::input(format!("{name}: {e}")))?;
    let check = proof.check(&anchors, &chain(&anchors, args.trusted_block), agent_key.as_ref());
    let document = Document {
        schema: SCHEMA,
        proof: name,
        check: &check,
    };
    let mut out = Output::stdout();
    match global.format {
        Format::Json => out.json(&document)?,
        Format::Ndjson => out.ndjson([&document])?,
        Format::Table => {
            out.line(&format!(
                "{}: event {} of stream {} (signing hash {}{}), batch {}",
                check.verdict,
                check.sequence_number,
                check.stream,
                check.event_signing_hash,
                check
                    .event_id
                    .map_or(String::new(), |id| format!(", event id {id}")),
                check.batch_id
            ))?;
            for failure in &check.failures {
                out.line(&format!("  {:<20} {}", failure.code, failure.what))?;
            }
            print_not_checked(&mut out, &check.not_checked)?;
        }
    }
    out.finish()?;
    Ok(match check.verdict {
        Verdict::Proven | Verdict::MatchesAnchors => ExitStatus::OK,
        _ => ExitStatus::PROBLEMS,
    })
}
