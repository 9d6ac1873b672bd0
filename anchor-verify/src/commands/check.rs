//! `anchor-verify check`: what an inclusion proof is worth, by itself.

pub(super) mod under_checkpoint;

use std::path::PathBuf;

use crate::agent::AgentKey;
use crate::chain::Completeness;
use crate::chain::parts::Checkpoint;
use crate::checkpointed::proof::BEGINS_WITH;
use crate::proof::{ProofCheck, ProofFile};
use crate::{Anchor, Verdict};
use checkpoints::CheckpointKeyArgs;
use clap::Args;
use cli_common::keys::read_key_of_either_kind;
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{CliError, CommandLine, ExitStatus, GlobalArgs, Next, Output, files, print_report};
use serde::Serialize;

use super::kind::of_another_kind;
use super::l1::{BlockArg, L1Args};
use super::{
    PinArgs, RequireArg, cli_error, if_confirmed, print_completeness, print_head, print_not_checked,
    provenance, tone,
};

/// Check an inclusion proof by itself, without any connection
///
/// A proof under a checkpoint (C2SP tlog-proof) takes the deployment's key (--checkpoint-key). Ends with 0 for PROVEN,
/// MATCHES ANCHORS and CHECKPOINTED (with --require PROVEN for PROVEN alone), 4 for FAILED, 8 if the file is not a proof.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The proof, as `anchor-verify prove` writes it
    #[arg(value_name = "PROOF")]
    proof: PathBuf,

    /// The hash of a block that you trust; without it, at most MATCHES ANCHORS is said
    #[arg(long, value_name = "HASH")]
    trusted_block: Option<BlockArg>,

    #[command(flatten)]
    l1: L1Args,

    /// The public key that the agent is known to sign with, as hex or as a file that holds it: of Ed25519 or ML-DSA-65. Of
    /// an agent that signs by both give both
    #[arg(long, value_name = "HEX|FILE")]
    agent_public_key: Vec<String>,

    #[command(flatten)]
    keys: CheckpointKeyArgs,

    /// The event of a proof under a checkpoint, if you know it from elsewhere: the line of a log export
    #[arg(long, value_name = "FILE", requires = "checkpoint_keys")]
    event: Option<PathBuf>,

    #[command(flatten)]
    pins: PinArgs,

    #[command(flatten)]
    require: RequireArg,
}

const SCHEMA: &str = "check-report/1";

#[derive(Serialize)]
pub(super) struct Document<'a> {
    pub(super) schema: &'static str,
    pub(super) proof: String,
    #[serde(flatten)]
    pub(super) check: &'a ProofCheck,
    pub(super) completeness: &'a Completeness,
    pub(super) provenance: Provenance,
    pub(super) next: &'a Next,
}

/// Runs the command.
pub fn run(args: &CheckArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let agent_key = args.agent_key()?;
    if files::begins_with(&args.proof, BEGINS_WITH) {
        return under_checkpoint::run(args, &agent_key, global);
    }
    let name = args.proof.display().to_string();
    let mut inputs = Inputs::default();
    let proof = ProofFile::read(&args.proof).map_err(|error| {
        let otherwise = "give a file that `anchor-verify prove` wrote. Is there a sound copy?";
        let error = cli_error(error);
        of_another_kind(error, &args.proof, "inclusion-proof", otherwise)
    })?;
    inputs.add("proof", &args.proof);
    let mut anchors = proof
        .anchors()
        .map_err(|e| CliError::input(format!("{name}: {e}")).with_hint("ask for a sound proof"))?;
    let told = args.pins.apply(&mut anchors)?;
    let trusted = (args.l1).trusted_block(args.trusted_block.as_ref(), Some(&anchors), &mut inputs)?;
    let concerns = |anchor: &Anchor| proof.concerns(anchor);
    let completeness = args.pins.complete(&mut anchors, trusted.hash, &concerns);
    let chain = args.pins.chain(&anchors, trusted.hash, told);
    let mut check = proof.check(&anchors, &chain, &agent_key);
    check.not_checked.extend(completeness.not_checked());
    check.not_checked.extend(trusted.not_checked);
    let next = next(args, &check, anchors.chain.checkpoint);
    let document = Document {
        schema: SCHEMA,
        proof: name,
        check: &check,
        completeness: &completeness,
        provenance: provenance(inputs),
        next: &next,
    };
    print_report(
        global,
        &document,
        |out| print_table(out, &document),
        |out| out.ndjson([&document]),
    )?;
    let enough = args.require.verdict().unwrap_or(Verdict::MatchesAnchors);
    let is_enough = check.verdict <= enough.min(Verdict::MatchesAnchors);
    Ok(if is_enough && completeness.verdict != Verdict::Failed {
        ExitStatus::OK
    } else {
        ExitStatus::PROBLEMS
    })
}

pub(super) fn print_table(
    out: &mut Output<impl std::io::Write>,
    document: &Document<'_>,
) -> Result<(), CliError> {
    let check = document.check;
    if let Some(what) = &check.ties_nothing {
        out.line(&format!("NOT TIED: {what}"))?;
    }
    let id = check.event_id.map(|id| format!(", event id {id}"));
    let sentence = format!(
        "{}: event {} of stream {} (signing hash {}{}), batch {}",
        check.verdict,
        check.sequence_number,
        check.stream,
        check.event_signing_hash,
        id.unwrap_or_default(),
        check.batch_id
    );
    out.verdict(tone(check.verdict), &sentence)?;
    print_head(out, Some(&document.provenance), None)?;
    if let Some(why) = &check.why {
        out.line(&format!("  not PROVEN: {why}"))?;
    }
    for failure in &check.failures {
        out.line(&format!("  {:<20} {}", failure.code, failure.what))?;
    }
    print_completeness(out, Some(document.completeness))?;
    print_not_checked(out, &check.not_checked)?;
    document.next.print(out)
}

impl CheckArgs {
    fn agent_key(&self) -> Result<AgentKey, CliError> {
        const OPTION: &str = "--agent-public-key";
        let parts = self.agent_public_key.iter();
        let parts: Vec<Vec<u8>> = parts
            .map(|value| read_key_of_either_kind(OPTION, value))
            .collect::<Result<_, _>>()?;
        AgentKey::of(&parts).map_err(|what| {
            CliError::usage(format!("{OPTION}: {what}"))
                .with_hint("give 64 hex digits of Ed25519, 3904 of ML-DSA-65, or one of each")
        })
    }
}

/// What is left to do: to have the proof tied to a block, if it is not.
fn next(args: &CheckArgs, check: &ProofCheck, checkpoint: Option<Checkpoint>) -> Next {
    let again = CommandLine::new("anchor-verify check").arg(args.proof.display());
    let again = args
        .pins
        .again(again)
        .options("--agent-public-key", &args.agent_public_key);
    match (check.verdict, &args.trusted_block, checkpoint) {
        (Verdict::Proven, ..) => Next::nothing("the event is proven to be at its place"),
        (Verdict::MatchesAnchors, None, Some(at)) => if_confirmed(at, again),
        (Verdict::MatchesAnchors, ..) => {
            Next::nothing("the proof ties its anchor to no block that you trust: ask for one that does")
        }
        _ => Next::nothing("the proof does not hold: ask for a sound one"),
    }
}
