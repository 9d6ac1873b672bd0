//! `sequencer-recovery checkpoint`: signs the trees of the streams, as far as they have grown.

use std::path::PathBuf;

use clap::Args;
use cli_common::keys::{read_public_key, read_signing_key};
use cli_common::{
    CliError, CommandLine, DbArg, ExitStatus, Frame, GlobalArgs, Next, Output, Tone, stderr_progress,
};
use event_log::StreamFilter;
use sequencer_recovery::checklist::check_url;
use sequencer_recovery::checkpoint::report::{CheckpointReport, SCHEMA, StreamSigned};
use sequencer_recovery::checkpoint::witness::Witnesses;
use sequencer_recovery::checkpoint::{Options, checkpoint};
use sequencer_recovery::error::RecoveryError;
use sequencer_recovery::finding::Finding;
use sequencer_recovery::locked_file::LockedFile;
use sequencer_recovery::sanction::Sanction;
use serde::Serialize;
use ves::{StoreId, TenantId};

use super::report::{print_findings, print_not_checked, print_place, print_streams};
use super::{block_on, cancel_on_signals, log_inputs, made, open, write_place};

/// Sign how far every stream has come, for the day on which the log is lost
///
/// Reads what is new since the last run, and adds a signed checkpoint for each stream that has grown to a file or folder
/// that must not share the database's fate. For cron, every minute. The log is only read.
///
/// Ends with 0 if there is nothing to complain about, also if nothing had grown; 4 if a stream does not go through what
/// was signed before (then nothing more is signed of it) or has a hole; 8 if something could not be done.
#[derive(Debug, Args)]
#[command(after_long_help = COLUMNS, override_usage = "\
sequencer-recovery checkpoint --state <FILE> --key <FILE>
       --name <DEPLOYMENT> --out <PATH> [OPTIONS]")]
pub struct CheckpointArgs {
    #[command(flatten)]
    db: DbArg,

    /// What is remembered from run to run; made by the first
    #[arg(long, value_name = "FILE")]
    state: PathBuf,

    /// Sign with this key: a file with an Ed25519 seed in hex
    #[arg(long, value_name = "FILE")]
    key: PathBuf,

    /// The deployment's name, best a host name of yours: it is signed, and the key is known by it
    #[arg(long, value_name = "DEPLOYMENT", value_parser = deployment)]
    name: String,

    /// Where checkpoints are added: a file, or a folder (it is there, or the name ends with /) with a file for each stream
    #[arg(long, value_name = "PATH")]
    out: PathBuf,

    /// Keep no leaves with the checkpoints: smaller, and events of a lost tail find their places by search alone
    #[arg(long)]
    no_leaves: bool,

    /// Hand new checkpoints to this command too, on its stdin: for object stores
    #[arg(long, value_name = "COMMAND")]
    publish_command: Option<String>,

    /// Read every stream from its first event on, and compare it with all that was ever signed
    #[arg(long)]
    full: bool,

    /// Take this log for the one that was signed, although its timeline or database is another: it is the production now
    #[arg(long)]
    adopt: bool,

    /// The signed recovery epoch of a repair: it opens the next generation of streams that lost something
    #[arg(long, value_name = "FILE", requires = "epoch_public_key")]
    epoch: Option<PathBuf>,

    /// The operator's public key that the epoch is signed by, as hex or as a file that holds it
    #[arg(long, value_name = "HEX|FILE", requires = "epoch")]
    epoch_public_key: Option<String>,

    /// Ask this C2SP witness for its cosignature
    #[arg(long, value_name = "URL", requires = "witness_key", value_parser = check_url)]
    witness_url: Vec<String>,

    /// The witnesses' keys, or files of them: a cosignature that holds by none of them is not kept
    #[arg(long, value_name = "VKEY|FILE", requires = "witness_url")]
    witness_key: Vec<String>,

    /// How many of the witnesses must cosign; without it, all that are asked
    #[arg(long, value_name = "K", requires = "witness_url")]
    witnesses: Option<usize>,

    /// Show the verifier key of every stream, for the operators of witnesses
    #[arg(long)]
    vkeys: bool,

    /// Only this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,

    /// Only this store
    #[arg(long, value_name = "ID")]
    store: Option<StoreId>,
}

pub(super) fn deployment(text: &str) -> Result<String, String> {
    match checkpoints::checkpoint::is_deployment(text) {
        true => Ok(text.to_owned()),
        false => Err("it is empty, has a space or a plus sign, or a slash at an end".into()),
    }
}

/// Reads a recovery epoch and checks its signature.
pub(super) fn sanction(epoch: Option<&PathBuf>, key: Option<&String>) -> Result<Option<Sanction>, CliError> {
    let (Some(epoch), Some(key)) = (epoch, key) else {
        return Ok(None);
    };
    let key = read_public_key("--epoch-public-key", key)?;
    Ok(Some(Sanction::read(epoch, &key)?))
}

/// Runs the command.
pub fn run(args: &CheckpointArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let key = read_signing_key(&args.key)?;
    let sanction = sanction(args.epoch.as_ref(), args.epoch_public_key.as_ref())?;
    let hashed = log_inputs(&args.db)?;
    let progress = stderr_progress(global);
    let cancel = cancel_on_signals()?;
    let notes = LockedFile::open(&args.state)?;
    let witnesses = (!args.witness_url.is_empty()).then(|| -> Result<Witnesses, CliError> {
        Ok(Witnesses {
            urls: args.witness_url.clone(),
            keys: checkpoints::args::keys("--witness-key", &args.witness_key)?,
            least: args.witnesses.unwrap_or(args.witness_url.len()),
        })
    });
    let witnesses = witnesses.transpose()?;
    let options = Options {
        deployment: &args.name,
        key: &key,
        out: &args.out,
        filter: StreamFilter {
            tenant: args.tenant,
            store: args.store,
        },
        leaves: !args.no_leaves,
        full: args.full,
        adopt: args.adopt,
        sanction: sanction.as_ref(),
        publish: args.publish_command.as_deref(),
        witnesses: witnesses.as_ref(),
    };
    let (report, error) = block_on(async {
        let (log, db) = open(&args.db, &cancel).await?;
        Ok(checkpoint(&log, db, &notes, &options, progress.as_ref(), &cancel).await?)
    })?;
    drop(progress);
    let mut status = ExitStatus::OK;
    if report.has_problems() {
        status |= ExitStatus::PROBLEMS;
    }
    let printed = print(&report, error.as_ref(), &made(hashed), args, global).err();
    for error in error.map(CliError::from).into_iter().chain(printed) {
        status |= error.exit_status();
        error.report(global);
    }
    Ok(status)
}

fn print(
    report: &CheckpointReport,
    error: Option<&RecoveryError>,
    provenance: &cli_common::provenance::Provenance,
    args: &CheckpointArgs,
    global: &GlobalArgs,
) -> Result<(), CliError> {
    let frame = Frame {
        schema: SCHEMA,
        provenance,
        next: &next(report, error, args),
    };
    frame.print(
        global,
        report,
        |out| print_table(out, report, args.vkeys),
        |lines| {
            #[derive(Serialize)]
            struct Summary<'a> {
                deployment: &'a str,
                key: &'a str,
                signed: u64,
                #[serde(flatten)]
                cost: sequencer_recovery::checkpoint::report::Cost,
            }
            write_place(lines, &report.place)?;
            lines.all("stream", &report.streams)?;
            lines.all("finding", &report.findings)?;
            lines.not_checked(&report.not_checked)?;
            lines.one(
                "summary",
                Summary {
                    deployment: &report.deployment,
                    key: &report.key,
                    signed: report.signed(),
                    cost: report.cost,
                },
            )
        },
    )
}

fn next(report: &CheckpointReport, error: Option<&RecoveryError>, args: &CheckpointArgs) -> Next {
    if error.is_some() {
        return Next::nothing("see to the error and run this again: it goes on where it stopped");
    }
    if !report.has_problems() {
        return Next::nothing("run this again in a minute (docs/checkpoints.md has a timer)");
    }
    let audit = CommandLine::of_this_tool("audit")
        .with(args.db.words())
        .option("--checkpoints", args.out.display())
        .option("--checkpoint-key", &report.key);
    Next::run_for(
        "keep the sequencer stopped, find out what the log lacks and repair it; the guard says when it may start",
        &audit,
    )
}

const COLUMNS: &str = "\
Columns (streams that were signed; --all: all):
  TREE         which tree of the stream: g1, and one more with each recovery epoch that opened one
  BEFORE, NOW  how many events were signed before this run, and are now
  CHECKPOINTS  how many this run signed
  ROOT         the root over them";

const STREAMS: [&str; 6] = ["STREAM", "TREE", "BEFORE", "NOW", "CHECKPOINTS", "ROOT"];

pub(super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    report: &CheckpointReport,
    vkeys: bool,
) -> Result<(), CliError> {
    let labels = out.label_streams(report.streams.iter().map(|s| s.stream));
    let signed = report.streams.iter().filter(|s| s.checkpoints > 0).count();
    let tone = if report.has_problems() {
        Tone::Bad
    } else {
        Tone::Good
    };
    let wrong = match report.findings.len() {
        0 => String::new(),
        n => format!(" {n} finding(s): see below."),
    };
    out.verdict(
        tone,
        &format!(
            "{} stream(s), {signed} had grown; {} checkpoint(s) signed.{wrong}",
            report.streams.len(),
            report.signed()
        ),
    )?;
    print_place(out, &report.place)?;
    out.line(&format!("Checkpoints: {}", report.out))?;
    out.line(&format!(
        "{} row(s) read, {:.2} s. The key of {}, for --checkpoint-key:",
        report.cost.rows, report.cost.seconds, report.deployment
    ))?;
    out.command(&format!("  {}", report.key))?;
    let all = out.all();
    let told: Vec<&StreamSigned> = report
        .streams
        .iter()
        .filter(|s| all || s.checkpoints > 0)
        .collect();
    print_streams(out, &STREAMS, &told, |table, s| {
        let tree = s.origin.rsplit('/').next().unwrap_or_default();
        table.row([
            labels.of(&s.stream),
            tree.to_owned(),
            s.before.to_string(),
            s.size.to_string(),
            s.checkpoints.to_string(),
            s.root.to_string(),
        ]);
    })?;
    if vkeys {
        out.line("")?;
        out.line("Verifier keys of the streams, for witnesses:")?;
        for s in &report.streams {
            out.command(&format!("  {}", s.vkey))?;
        }
    }
    let findings: Vec<&Finding> = report.findings.iter().collect();
    print_findings(out, &labels, "FINDINGS", &findings)?;
    print_not_checked(out, &report.not_checked)
}
