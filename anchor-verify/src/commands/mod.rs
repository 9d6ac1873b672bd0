//! One file a command: parse, call the library, print. What several of them need is here.

pub mod attest;
pub mod bundle;
pub mod check;
pub mod checkpoints;
pub mod fetch;
pub mod import;
mod kind;
pub mod l1;
pub mod lint;
pub mod merge;
pub mod prove;
pub mod verify;
mod verify_page;
mod verify_tail;

use std::io;
use std::path::{Path, PathBuf};

use crate::anchors_file::AnchorsErrorKind;
use crate::chain::Completeness;
use crate::chain::parts::Checkpoint;
use crate::files::may_write;
use crate::pins::ChainPins;
use crate::verify::{DbSource, VerifyError};
use crate::{Anchor, AnchorsError, AnchorsFile, ChainReport, ContractAddress, Existing, Verdict};
use clap::{Args, ValueEnum};
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{Cancel, CliError, CommandLine, DbTarget, Next, Output, Tone, file_hint};
use event_log::{LogError, OpenOptions, Place, Scope};
use kind::of_another_kind;
use serde::Serialize;
use ves::Hash32;

/// What an error of the library means for the user.
pub fn cli_error(error: VerifyError) -> CliError {
    let message = error.to_string();
    match error {
        VerifyError::Log(error @ LogError::Refused { .. }) => {
            CliError::input(error.to_string()).with_hint("is the stream's name right (tenant/store)?")
        }
        VerifyError::Log(error) => error.into(),
        VerifyError::Io { name, source } => {
            let hint = file_hint(Path::new(&name), &source);
            CliError::io(name).with_hint(hint).with_source(source)
        }
        VerifyError::Write { path, source } => not_written(&path, source),
        VerifyError::Export { name, .. } => of_another_kind(
            CliError::input(message),
            Path::new(&name),
            "log-export",
            "nothing was verified; docs/log-export.md describes the form. Is there a sound copy?",
        ),
        VerifyError::Bundle { name, .. } => of_another_kind(
            CliError::input(message),
            Path::new(&name),
            "vesbundle",
            "nothing was verified; give a file that `anchor-verify bundle` wrote. Is there a sound copy?",
        ),
        VerifyError::Merge(_) => CliError::input(message)
            .with_hint("give the JSON reports of all shards of one verification, each once"),
        VerifyError::Cancelled(cancelled) => cancelled.into(),
        _ => CliError::input(message),
    }
}

/// A token that Ctrl-C and SIGTERM set.
pub fn cancel_on_signals() -> Result<Cancel, CliError> {
    Cancel::on_signals().map_err(|e| CliError::io("signals cannot be watched").with_source(e))
}

/// Opens a log.
fn open_db(target: &DbTarget, scope: &Scope, cancel: &Cancel) -> Result<DbSource, CliError> {
    let options = OpenOptions::stopped_by(cancel);
    DbSource::open_with(target, scope.clone(), &options).map_err(cli_error)
}

/// Which log a report is of and where it comes from, for people: at the head of every table.
fn print_head<W: io::Write>(
    out: &mut Output<W>,
    made: Option<&Provenance>,
    place: Option<&Place>,
) -> Result<(), CliError> {
    if let Some(place) = place {
        out.line(&format!("Log: {place}"))?;
    }
    match made {
        Some(made) => print_provenance(out, made),
        None => Ok(()),
    }
}

/// Who made a report, when, and of what. The hashes of the files are in JSON, and here if all is asked for.
fn print_provenance<W: io::Write>(out: &mut Output<W>, made: &Provenance) -> Result<(), CliError> {
    out.line(&made.to_string())?;
    if !out.all() {
        return Ok(());
    }
    for input in &made.inputs {
        let hash = match (&input.sha256, &input.not_hashed) {
            (Some(hash), _) => format!("SHA-256 {hash}"),
            (None, why) => format!("not hashed: {}", why.as_deref().unwrap_or("no reason is given")),
        };
        out.full_line(&format!("  {} {}: {hash}", input.role, input.path))?;
    }
    Ok(())
}

/// Reads anchors files as one; `None` if none are named.
pub fn read_anchors(paths: &[PathBuf], inputs: &mut Inputs) -> Result<Option<AnchorsFile>, CliError> {
    let mut files = Vec::new();
    for path in paths {
        let file = AnchorsFile::read(path).map_err(|error| no_anchors_file(path, &error))?;
        // Receipts may hold anchors that were left out of the list.
        if file.anchors.is_empty() && file.chain.receipts.is_empty() {
            return Err(CliError::input(format!("{} holds no anchors", path.display())).with_hint(
                "import the contracts' logs, or fetch them; without any anchors leave the file away, and nothing is compared \
                 with the chain",
            ));
        }
        inputs.add("anchors", path);
        files.push((path.clone(), file));
    }
    if files.is_empty() {
        return Ok(None);
    }
    merge_anchors(files).map(Some)
}

/// A file is not read as anchors; with what to do about it.
fn no_anchors_file(path: &Path, error: &AnchorsError) -> CliError {
    let made = CliError::input(error.to_string());
    match &error.kind {
        AnchorsErrorKind::Io(source) => made.with_hint(file_hint(path, source)),
        _ => of_another_kind(
            made,
            path,
            "anchors",
            "import what the node answered once more with this release: `anchor-verify import --help` has examples",
        ),
    }
}

fn merge_anchors(files: Vec<(PathBuf, AnchorsFile)>) -> Result<AnchorsFile, CliError> {
    AnchorsFile::merge(files)
        .map_err(|e| CliError::input(e.to_string()).with_hint("give the anchors files of one chain"))
}

/// Whether a selection of anchors left some, after [`PinArgs::complete`].
fn some_anchors(file: &AnchorsFile, pins: &PinArgs) -> Result<(), CliError> {
    if !file.anchors.is_empty() {
        return Ok(());
    }
    let contracts: Vec<String> = pins.contracts.iter().map(ToString::to_string).collect();
    Err(match &contracts[..] {
        [] => CliError::input("the anchors files hold no anchors")
            .with_hint("import the contracts' logs, or fetch them"),
        contracts => CliError::input(format!(
            "--contract: no anchor was given of {}",
            contracts.join(", ")
        ))
        .with_hint("is the address right? `anchor-verify lint FILE` names the contracts of an anchors file"),
    })
}

/// Adds a log to the inputs if it is a file, which can be hashed.
fn add_log(inputs: &mut Inputs, target: &DbTarget) {
    if let DbTarget::Snapshot(path) = target {
        inputs.add("db", path);
    }
}

/// A verification to be run again with the block that the anchors end at, once somebody else has confirmed it.
fn if_confirmed(at: Checkpoint, again: CommandLine) -> Next {
    let condition = format!("if your own source has block {} as {}", at.number, at.hash);
    Next::run_for(condition, &again.option("--trusted-block", at.hash))
}

/// Where a document of this tool comes from.
fn provenance(inputs: Inputs) -> Provenance {
    Provenance::now("anchor-verify", inputs.finish())
}

/// Whether a file that is there may be replaced.
#[derive(Debug, Clone, Copy, Args)]
pub struct ForceArg {
    /// Replace the file that --out names, if it is there
    #[arg(long)]
    force: bool,
}

impl ForceArg {
    fn existing(self) -> Existing {
        match self.force {
            true => Existing::Replace,
            false => Existing::Keep,
        }
    }

    /// Refuses an output before the work that makes it.
    fn check(self, out: &Path) -> Result<(), CliError> {
        may_write(out, self.existing()).map_err(|error| not_written(out, error))
    }
}

/// A file was not written; with what to do about it.
fn not_written(path: &Path, error: io::Error) -> CliError {
    let hint = match error.kind() {
        io::ErrorKind::AlreadyExists => {
            return CliError::io(format!("{} is there already, and stays as it is", path.display()))
                .with_hint("--force replaces it; or give --out another name");
        }
        io::ErrorKind::InvalidInput => "give --out the name of a file".into(),
        _ => file_hint(path, &error),
    };
    CliError::io(format!("{} was not written", path.display()))
        .with_hint(hint)
        .with_source(error)
}

/// What is known of the chain from elsewhere.
#[derive(Debug, Args)]
pub struct PinArgs {
    /// The sequencer's contract; may be given several times. What is not of these contracts is no evidence
    #[arg(long = "contract", value_name = "ADDRESS")]
    contracts: Vec<ContractAddress>,

    /// The chain that the contracts are on; anchors of another are refused
    #[arg(long, value_name = "N")]
    chain_id: Option<u64>,
}

impl PinArgs {
    /// These options for a command that is to be run next.
    fn again(&self, line: CommandLine) -> CommandLine {
        line.options("--contract", &self.contracts)
            .options("--chain-id", self.chain_id)
    }

    fn pins(&self) -> ChainPins {
        ChainPins {
            contracts: self.contracts.clone(),
            chain_id: self.chain_id,
        }
    }

    /// Leaves what is of these contracts and this chain, and says what was left out.
    ///
    /// # Errors
    /// If the anchors are of another chain.
    pub fn apply(&self, file: &mut AnchorsFile) -> Result<Vec<String>, CliError> {
        self.pins().apply(file).map_err(|what| {
            CliError::input(format!("--chain-id: {what}")).with_hint("give the anchors of that chain")
        })
    }

    /// Says whether anchors of these contracts (of those that the file speaks of, if none are named) were left out, and
    /// takes those that its receipts prove. `scope` says which the file is meant to have, if it is a selection.
    fn complete(
        &self,
        file: &mut AnchorsFile,
        trusted_block: Option<Hash32>,
        scope: &dyn Fn(&Anchor) -> bool,
    ) -> Completeness {
        match &self.contracts[..] {
            [] => crate::chain::complete(file, trusted_block, scope),
            contracts => crate::chain::complete_of(file, trusted_block, contracts, scope),
        }
    }

    /// How sure each anchor of a file is, after [`PinArgs::apply`]; `told` is what that said.
    fn chain(&self, file: &AnchorsFile, trusted_block: Option<Hash32>, told: Vec<String>) -> ChainReport {
        let mut report = crate::chain::examine_pinned(file, trusted_block, &self.pins());
        report.not_checked.extend(told);
        report
    }
}

/// The weakest verdict that will do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Required {
    /// Every batch is what was anchored, in a block that is trusted.
    #[value(name = "PROVEN")]
    Proven,
    /// Every batch is what the anchors say.
    #[value(name = "MATCHES-ANCHORS")]
    MatchesAnchors,
    /// Every batch is what its commitment says.
    #[value(name = "MATCHES-DATABASE")]
    MatchesDatabase,
}

/// The verdict that a script asks for.
#[derive(Debug, Args)]
pub struct RequireArg {
    /// End with 4 if the verdict is a weaker one
    #[arg(long, value_name = "VERDICT", value_enum, ignore_case = true)]
    require: Option<Required>,
}

impl RequireArg {
    /// What is to be reached, if anything.
    pub fn verdict(&self) -> Option<Verdict> {
        self.require.map(|required| match required {
            Required::Proven => Verdict::Proven,
            Required::MatchesAnchors => Verdict::MatchesAnchors,
            Required::MatchesDatabase => Verdict::MatchesDatabase,
        })
    }
}

/// Whether anchors were left out, for people: a line of every report.
fn print_completeness<W: io::Write>(
    out: &mut Output<W>,
    completeness: Option<&Completeness>,
) -> Result<(), CliError> {
    let Some(completeness) = completeness else {
        return Ok(());
    };
    out.verdict(
        tone(completeness.verdict),
        &format!("COMPLETENESS: {completeness}"),
    )?;
    let shown = out.shown(completeness.bounds.len());
    for bound in &completeness.bounds[..shown] {
        out.line(&format!("  {bound}"))?;
    }
    out.more(2, completeness.bounds.len() - shown, "")
}

/// The largest report that is read: some millions of batches.
const MAX_REPORT: u64 = 4 << 30;

/// Reads a report, or anything else that is JSON.
fn read_text(path: &Path) -> Result<String, CliError> {
    cli_common::files::read_text(path, MAX_REPORT)
        .map_err(|e| CliError::input(format!("{}: {e}", path.display())).with_hint(file_hint(path, &e)))
}

/// One line of NDJSON output: what it is, and the value.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    schema: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    value: T,
}

/// Writes values as NDJSON lines of one type.
fn write_lines<W: io::Write, T: Serialize>(
    out: &mut Output<W>,
    schema: &str,
    kind: &str,
    values: impl IntoIterator<Item = T>,
) -> Result<(), CliError> {
    out.ndjson(values.into_iter().map(|value| Line { schema, kind, value }))
}

/// What of that which was not checked may turn what a report says: it comes first.
const MATTERS: [&str; 8] = [
    "in recovery",
    "not read",
    "trusted block",
    "on a chain",
    "on the chain",
    "left out",
    "refused",
    "own word",
];

/// What was not checked, for people. Every report ends with it.
fn print_not_checked<W: io::Write>(out: &mut Output<W>, all: &[String]) -> Result<(), CliError> {
    out.line("")?;
    out.not_checked(all, &MATTERS)
}

/// The colour of a verdict.
fn tone(verdict: Verdict) -> Tone {
    match verdict {
        Verdict::Proven => Tone::Good,
        Verdict::MatchesAnchors | Verdict::MatchesDatabase | Verdict::NotChecked => Tone::Doubt,
        Verdict::Failed => Tone::Bad,
    }
}

#[cfg(test)]
mod tests;
