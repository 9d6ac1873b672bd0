//! `anchor-verify check` of a proof under a checkpoint.

use crate::Verdict;
use crate::agent::AgentKey;
use crate::checkpointed::proof::{MAX_PROOF, ProvenEvent, ReadProof, TlogCheck, TlogVerdict};
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{CliError, ExitStatus, GlobalArgs, Next, Output, Tone, file_hint, files, print_report};
use serde::Serialize;

use super::super::checkpoints::no_key;
use super::super::{print_head, print_not_checked, provenance, read_text};
use super::CheckArgs;

const SCHEMA: &str = "checkpoint-check-report/1";

#[derive(Serialize)]
pub(in crate::commands) struct Document<'a> {
    pub(in crate::commands) schema: &'static str,
    pub(in crate::commands) proof: String,
    #[serde(flatten)]
    pub(in crate::commands) check: &'a TlogCheck,
    pub(in crate::commands) provenance: Provenance,
    pub(in crate::commands) next: Next,
}

/// Runs the command.
pub(super) fn run(
    args: &CheckArgs,
    agent_key: &AgentKey,
    global: &GlobalArgs,
) -> Result<ExitStatus, CliError> {
    if args.keys.is_empty() {
        return Err(no_key());
    }
    let policy = args.keys.policy()?;
    let name = args.proof.display().to_string();
    let text = files::read_text(&args.proof, MAX_PROOF).map_err(|error| {
        CliError::input(format!("{name}: {error}")).with_hint(file_hint(&args.proof, &error))
    })?;
    let proof = ReadProof::read(&text).map_err(|what| {
        CliError::input(format!("{name}: {what}"))
            .with_hint("give a file that `anchor-verify prove --checkpoints` wrote. Is there a sound copy?")
    })?;
    let mut inputs = Inputs::default();
    inputs.add("proof", &args.proof);
    let event = args.event_from_elsewhere(&mut inputs)?;
    let check = proof.check(event.as_ref(), &policy, agent_key);
    let document = Document {
        schema: SCHEMA,
        proof: name,
        check: &check,
        provenance: provenance(inputs),
        next: Next::nothing(match check.verdict {
            TlogVerdict::Checkpointed => "the event is at its place, on the word that is named",
            TlogVerdict::Failed => "the proof does not hold: ask for a sound one",
        }),
    };
    print_report(
        global,
        &document,
        |out| print_table(out, &document),
        |out| out.ndjson([&document]),
    )?;
    // A signed checkpoint is less than an anchor, and more than what the database says of itself.
    let enough = args
        .require
        .verdict()
        .is_none_or(|required| required >= Verdict::MatchesDatabase);
    Ok(match check.verdict {
        TlogVerdict::Checkpointed if enough => ExitStatus::OK,
        _ => ExitStatus::PROBLEMS,
    })
}

impl CheckArgs {
    fn event_from_elsewhere(&self, inputs: &mut Inputs) -> Result<Option<ProvenEvent>, CliError> {
        let Some(path) = &self.event else { return Ok(None) };
        let text = read_text(path)?;
        let event = ProvenEvent::from_line(&text).map_err(|what| {
            CliError::input(format!("{}: {what}", path.display()))
                .with_hint("give one line of type event of a log export (docs/log-export.md)")
        })?;
        inputs.add("event", path);
        Ok(Some(event))
    }
}

pub(in crate::commands) fn print_table(
    out: &mut Output<impl std::io::Write>,
    document: &Document<'_>,
) -> Result<(), CliError> {
    let check = document.check;
    let hash = check
        .event_signing_hash
        .map(|hash| format!(", signing hash {hash}"));
    let id = check.event_id.map(|id| format!(", event id {id}"));
    let sentence = format!(
        "{}: event {} of stream {}{}{}, under a checkpoint of {} events",
        check.verdict.as_str(),
        check.sequence_number,
        check.stream,
        hash.unwrap_or_default(),
        id.unwrap_or_default(),
        check.size
    );
    let tone = match check.verdict {
        TlogVerdict::Checkpointed => Tone::Doubt,
        TlogVerdict::Failed => Tone::Bad,
    };
    out.verdict(tone, &sentence)?;
    print_head(out, Some(&document.provenance), None)?;
    if let Some(word) = &check.word {
        let time = check.time.map_or(String::new(), |time| format!(" at {time}"));
        out.line(&format!("  the checkpoint is {word}{time}"))?;
    }
    for failure in &check.failures {
        out.line(&format!("  {:<20} {}", failure.code, failure.what))?;
    }
    print_not_checked(out, &check.not_checked)?;
    document.next.print(out)
}
