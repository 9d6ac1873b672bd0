//! `event-archive verify`: whether an archive's events are what was anchored.

use std::path::PathBuf;

use anchor_verify::commands::l1::{BlockArg, L1Args};
use anchor_verify::commands::verify::{Evidence, KnownChain, print};
use anchor_verify::commands::{PinArgs, RequireArg, cancel_on_signals, read_anchors};
use anchor_verify::pins::KeyPins;
use anchor_verify::{AnchorsFile, Shard, Verdict, VerifyReport};
use archive_format::Task;
use clap::Args;
use cli_common::provenance::Inputs;
use cli_common::{Cancel, CliError, ExitStatus, GlobalArgs, Next, SequencerPublicKeyArgs, stderr_progress};
use ves::StreamKey;

use super::{ArchiveArgs, cli_error, provenance};

/// Say whether the events of an archive are what was anchored: every batch recomputed, every event checked
///
/// The report is that of `anchor-verify verify` for the log, and every object is held against its hash in the manifest.
///
/// Ends with 0 if every batch matches something, 4 if one failed, could not be checked or is weaker than --require, 8 if
/// the archive could not be read or the cluster did not answer.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    #[command(flatten)]
    archive: ArchiveArgs,

    /// Anchors files; may be given several times. Without any, at most MATCHES DATABASE is said
    #[arg(long = "anchors", value_name = "FILE")]
    anchors: Vec<PathBuf>,

    /// The hash of a block that you trust; without it, at most MATCHES ANCHORS is said
    #[arg(long, value_name = "HASH")]
    trusted_block: Option<BlockArg>,

    #[command(flatten)]
    l1: L1Args,

    #[command(flatten)]
    pins: PinArgs,

    /// Agents' keys that you know, as JSON; without it, the keys of the archive are taken at its word
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,

    #[command(flatten)]
    sequencer: SequencerPublicKeyArgs,

    /// Only this stream; may be given several times
    #[arg(long = "stream", value_name = "TENANT/STORE")]
    streams: Vec<StreamKey>,

    /// Only part K of N; `anchor-verify merge` joins the JSON reports of all parts
    #[arg(long, value_name = "K/N")]
    shard: Option<Shard>,

    #[cfg(feature = "engine")]
    #[command(flatten)]
    cluster: super::spread::ClusterArgs,

    #[command(flatten)]
    require: RequireArg,
}

/// Runs the command.
pub fn run(args: &VerifyArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut inputs = Inputs::default();
    let anchors = read_anchors(&args.anchors, &mut inputs)?;
    let known = KnownChain {
        trusted_block: args.trusted_block.as_ref(),
        l1: &args.l1,
        pins: &args.pins,
        named: !args.anchors.is_empty(),
    };
    let evidence = known.judge(anchors, &|_| true, &mut inputs)?;
    let cancel = cancel_on_signals()?;
    let archive = args.archive.open()?;
    let task = args.task(&archive, &evidence, &mut inputs)?;
    let mut report = match args.spread(&task, &cancel)? {
        Some(report) => report,
        None => {
            let progress = stderr_progress(global);
            task.verify(args.shard, progress.as_ref(), &cancel)
                .map_err(cli_error)?
        }
    };
    report = report.with_completeness(evidence.completeness);
    report.not_checked.extend(args.archive.not_checked());
    report.next = Some(next(&report));
    report.provenance = Some(provenance(inputs));
    print(&report, global)?;
    Ok(report.exit_status_if(args.require.verdict()))
}

impl VerifyArgs {
    /// Verifies on a cluster, if one is named.
    #[cfg(feature = "engine")]
    fn spread(&self, task: &Task, cancel: &Cancel) -> Result<Option<VerifyReport>, CliError> {
        self.cluster.verify(task, cancel)
    }

    #[cfg(not(feature = "engine"))]
    fn spread(&self, _: &Task, _: &Cancel) -> Result<Option<VerifyReport>, CliError> {
        Ok(None)
    }

    fn task(
        &self,
        archive: &archive_format::Archive,
        evidence: &Evidence,
        inputs: &mut Inputs,
    ) -> Result<Task, CliError> {
        let read = archive.read_manifest();
        Ok(Task {
            address: self.archive.address().to_owned(),
            manifest: read.manifest.number,
            manifest_sha256: read.sha256,
            streams: self.streams.clone(),
            anchors: evidence.anchors.as_ref().map(to_json).transpose()?,
            standings: evidence.standings.clone(),
            keys: self.keys(inputs)?,
            sequencer_keys: (self.sequencer.read()?.into_iter())
                .map(|(version, key)| (version, hex::encode(key)))
                .collect(),
        })
    }

    /// The text of the file of agents' keys, which is of the right form.
    fn keys(&self, inputs: &mut Inputs) -> Result<Option<String>, CliError> {
        const MAX_KEYS: u64 = 1 << 30;
        let Some(path) = &self.keys else { return Ok(None) };
        let failed = |what: String| {
            CliError::input(format!("--keys: {} {what}", path.display()))
                .with_hint("docs/verify.md describes the form; the key lines of a log export are of it")
        };
        let text = cli_common::files::read_text(path, MAX_KEYS).map_err(|error| failed(error.to_string()))?;
        KeyPins::from_json(text.as_bytes()).map_err(failed)?;
        inputs.add("keys", path);
        Ok(Some(text))
    }
}

fn to_json(anchors: &AnchorsFile) -> Result<String, CliError> {
    let mut text = Vec::new();
    let written = anchors.write_json(&mut text);
    written.map_err(|error| CliError::io("the anchors").with_source(error))?;
    String::from_utf8(text).map_err(|error| CliError::input(error.to_string()))
}

/// What is left to do.
fn next(report: &VerifyReport) -> Next {
    match report.verdict {
        Verdict::Proven if report.exit_status() == ExitStatus::OK => {
            Next::nothing("every batch is what was anchored, in a block that you trust")
        }
        Verdict::MatchesAnchors => Next::nothing(
            "these anchors tie nothing to a block that you trust (--trusted-block); with one they may prove more",
        ),
        Verdict::MatchesDatabase => {
            Next::nothing("of some batches no anchor was given, and without one (--anchors) no more is known")
        }
        _ => Next::nothing(
            "the failures say whether an object was altered (put a sound copy of it back) or was archived so (`sequencer-recovery \
             audit` of the log says more)",
        ),
    }
}
