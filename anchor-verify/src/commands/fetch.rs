//! `anchor-verify fetch`: anchors and their proofs from a node into an anchors file.

use std::path::PathBuf;

use crate::chain::Completeness;
use crate::chain::parts::Checkpoint;
use crate::fetch::rpc::{Rpc, RpcFailure};
use crate::fetch::{FetchError, FetchOptions, FetchTarget, Fetched, Proofs, Proved, Reorg, fetch};
use crate::files::may_write;
use crate::import::{ContractSummary, summarize};
use crate::{AnchorsFile, ContractAddress, Existing, RefusedLog, Verdict};
use clap::{Args, ValueEnum};
use cli_common::finding::Code;
use cli_common::provenance::{Input, Inputs, Provenance};
use cli_common::{
    CliError, CommandLine, ExitStatus, GlobalArgs, Next, Output, Table, Tone, print_report, stderr_progress,
};
use serde::Serialize;
use ves::StreamKey;

use super::{cancel_on_signals, not_written, print_completeness, print_head, print_not_checked, write_lines};

/// Read anchors, and what proves them, from a node into an anchors file
///
/// Logs, all receipts of their blocks, storage proofs, and the headers that tie them to the checkpoint. A file that
/// is there is extended; a reorganisation of the chain since then is noticed and told. Ends with 0 if all was
/// read, with bit 1 if a reorganisation was corrected, 4 if logs were refused or left out by the node, proofs contradict
/// anchors, or a contract has written no anchor, 8 if nothing could be read.
#[derive(Debug, Args)]
pub struct FetchArgs {
    /// The node: http:// or https://. It may hold a key, which is shown nowhere. Given several times, the others are asked
    /// for logs too, and what they say is compared
    // Any text is taken here and judged later: clap would repeat a wrong value, with the key in it.
    #[arg(
        long = "rpc",
        value_name = "URL",
        env = "ANCHOR_RPC_URL",
        hide_env_values = true,
        required = true
    )]
    rpcs: Vec<String>,

    /// A contract whose anchors to read, of either kind; may be given several times
    #[arg(long = "contract", value_name = "ADDRESS", required = true)]
    contracts: Vec<ContractAddress>,

    /// The first block to search; without it what the file lacks, from where it was begun, or from the first block
    #[arg(long, value_name = "NUMBER")]
    from: Option<u64>,

    /// The last block to search, and the checkpoint of the proofs: latest, safe, finalized or a number
    #[arg(long, value_name = "BLOCK", default_value_t = FetchTarget::Finalized)]
    to: FetchTarget,

    /// The most blocks to search in one call; as many as the node answers without it
    #[arg(long, value_name = "BLOCKS", value_parser = clap::value_parser!(u64).range(1..))]
    chunk: Option<u64>,

    /// Search blocks again that were searched before
    #[arg(long)]
    rescan: bool,

    /// The anchors file to write, and to extend if it is there
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    /// Which proofs to ask for
    #[arg(long, value_enum, default_value_t, value_name = "WHICH")]
    proofs: WhichProofs,

    /// The most headers to keep, from the first block that is searched to the checkpoint. With more, only those from the
    /// first anchor on are kept, or those of the anchors: then storage proofs alone prove, and anchors may be hidden
    #[arg(long, value_name = "COUNT", default_value_t = 100_000)]
    max_headers: u64,

    /// The most blocks without known anchors whose receipts are read because their bloom filters let them have some; more
    /// are left to the next run
    #[arg(long, value_name = "COUNT", default_value_t = 1_000)]
    max_receipts: u64,

    /// A stream that is known, to resolve what SetRegistry names by a hash only; may be given several times
    #[arg(long = "stream", value_name = "TENANT/STORE")]
    streams: Vec<StreamKey>,
}

#[derive(Debug, Clone, Copy, Default, ValueEnum)]
enum WhichProofs {
    /// Receipts and storage proofs
    #[default]
    Both,
    /// Receipts only
    Receipts,
    /// Storage proofs only
    Storage,
}

const SCHEMA: &str = "anchors-fetch/1";

#[derive(Serialize)]
pub(super) struct Document {
    pub(super) schema: &'static str,
    pub(super) out: String,
    pub(super) rpc: String,
    pub(super) chain_id: Option<u64>,
    pub(super) checkpoint: Checkpoint,
    pub(super) anchors: usize,
    pub(super) new: usize,
    pub(super) contracts: Vec<ContractSummary>,
    pub(super) proved: Proved,
    pub(super) reorg: Option<Reorg>,
    pub(super) refused: Vec<RefusedLog>,
    pub(super) completeness: Completeness,
    /// Contracts without anchors.
    pub(super) silent: Vec<ContractAddress>,
    pub(super) notes: Vec<String>,
    pub(super) not_checked: Vec<String>,
    pub(super) provenance: Provenance,
    pub(super) next: Next,
}

#[derive(Serialize)]
struct Totals<'a> {
    chain_id: Option<u64>,
    checkpoint: Checkpoint,
    anchors: usize,
    new: usize,
    proved: Proved,
    completeness: &'a Completeness,
    notes: &'a [String],
    not_checked: &'a [String],
    provenance: &'a Provenance,
    next: &'a Next,
}

/// Runs the command.
pub fn run(args: &FetchArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    // A file that is there is the command's own, to be gone on with.
    let existing = match args.out.exists() {
        true => Existing::Replace,
        false => Existing::Keep,
    };
    may_write(&args.out, existing).map_err(|error| not_written(&args.out, error))?;
    let cancel = cancel_on_signals()?;
    let mut nodes = Vec::with_capacity(args.rpcs.len());
    for url in &args.rpcs {
        let node = Rpc::new(url, cancel.clone());
        nodes.push(node.map_err(|why| CliError::usage(format!("--rpc: {why}")))?);
    }
    let Some((rpc, others)) = nodes.split_first() else {
        return Err(CliError::usage("no node is named (--rpc)"));
    };
    let mut inputs = Inputs::default();
    let file = match existing {
        Existing::Keep => None,
        Existing::Replace => {
            let read = AnchorsFile::read(&args.out);
            inputs.add("anchors", &args.out);
            Some(read.map_err(|e| {
                CliError::input(e.to_string()).with_hint(
                    "give --out another name: what is there is no anchors file, and stays as it is",
                )
            })?)
        }
    };
    let options = args.options();
    // Its hash is that of before the fetch.
    let inputs = inputs.finish();
    let progress = stderr_progress(global);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("no runtime").with_source(e))?;
    let fetched = runtime
        .block_on(fetch(rpc, others, &options, file, &*progress))
        .map_err(|error| cli_error(&error, rpc, args))?;
    drop(progress);
    fetched
        .file
        .write_as(&args.out, existing)
        .map_err(|error| not_written(&args.out, error))?;
    global.recorder.file("anchors", &args.out);
    report(args, global, rpc, (fetched, inputs))
}

impl FetchArgs {
    fn options(&self) -> FetchOptions {
        FetchOptions {
            contracts: self.contracts.clone(),
            from: self.from,
            to: self.to,
            proofs: match self.proofs {
                WhichProofs::Both => Proofs::Both,
                WhichProofs::Receipts => Proofs::Receipts,
                WhichProofs::Storage => Proofs::Storage,
            },
            max_headers: self.max_headers,
            max_receipts: self.max_receipts,
            streams: self.streams.clone(),
            chunk: self.chunk,
            rescan: self.rescan,
        }
    }
}

fn cli_error(error: &FetchError, rpc: &Rpc, args: &FetchArgs) -> CliError {
    let message = format!("{}: {error}; {} is as it was", rpc.shown(), args.out.display());
    let made = match error {
        FetchError::Rpc {
            failure: RpcFailure::Cancelled,
            ..
        } => return CliError::cancelled(message),
        FetchError::OtherChain { .. } => CliError::input(message),
        _ => CliError::io(message),
    };
    made.with_hint(hint(error))
}

/// What to do about a node that could not be read.
pub(super) fn hint(error: &FetchError) -> String {
    let failure = match error {
        FetchError::Rpc { failure, .. } => failure,
        FetchError::Answer { .. } => return "ask another node (--rpc): this one is broken, or lies".into(),
        FetchError::Target {
            to: FetchTarget::Finalized | FetchTarget::Safe,
            ..
        } => return "a node that does not know finalized blocks needs --to latest or a number".into(),
        FetchError::Target { .. } => {
            return "name a block that the node has: --to latest, or a lower number".into();
        }
        FetchError::Disagree(_) => {
            return "ask a third node (--rpc), or name the one that you trust alone".into();
        }
        FetchError::OtherChain { file, .. } => {
            return format!("name a node of chain {file} (--rpc), or give --out the name of a new file");
        }
        // The chain moved meanwhile.
        _ => return "run the command again".into(),
    };
    match failure {
        RpcFailure::Busy(_) => "try again later, or name another node (--rpc)",
        RpcFailure::Unreachable(_) => {
            "does the node run, and is its URL right (--rpc)? Another node may be named"
        }
        RpcFailure::Hanging(_) => {
            "is the node overloaded? Try again, with a smaller --chunk, or name another (--rpc)"
        }
        RpcFailure::Refused { .. } => "those are the node's own words; another node (--rpc) may answer",
        _ => "run the command again",
    }
    .into()
}

fn report(
    args: &FetchArgs,
    global: &GlobalArgs,
    rpc: &Rpc,
    (fetched, inputs): (Fetched, Vec<Input>),
) -> Result<ExitStatus, CliError> {
    let mut status = ExitStatus::OK;
    if fetched.reorg.is_some() {
        status |= ExitStatus::CORRECTED;
    }
    let left_out = fetched.completeness.verdict == Verdict::Failed;
    let silent = !fetched.silent.is_empty();
    if !fetched.refused.is_empty() || fetched.proved.failed > 0 || left_out || silent {
        status |= ExitStatus::PROBLEMS;
    }
    let mut not_checked = vec![format!(
        "that block {} is on the chain that you trust: compare its hash {} with one from elsewhere",
        fetched.checkpoint.number, fetched.checkpoint.hash
    )];
    if fetched.proved.untied > 0 {
        not_checked.push(format!(
            "{} anchors, which have no proof up to that block",
            fetched.proved.untied
        ));
    }
    not_checked.extend(fetched.completeness.not_checked());
    let document = Document {
        schema: SCHEMA,
        out: args.out.display().to_string(),
        rpc: rpc.shown().to_owned(),
        chain_id: fetched.file.chain_id,
        checkpoint: fetched.checkpoint,
        anchors: fetched.file.anchors.len(),
        new: fetched.new,
        contracts: summarize(&fetched.file.anchors),
        proved: fetched.proved,
        reorg: fetched.reorg,
        refused: fetched.refused,
        completeness: fetched.completeness,
        silent: fetched.silent,
        notes: fetched.notes,
        not_checked,
        provenance: Provenance::now("anchor-verify", inputs),
        next: Next::run(&CommandLine::new("anchor-verify lint").arg(args.out.display())),
    };
    print_report(
        global,
        &document,
        |out| print_table(out, &document),
        |out| print_ndjson(out, &document),
    )?;
    Ok(status)
}

fn print_ndjson(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    write_lines(out, SCHEMA, "contract", &document.contracts)?;
    write_lines(out, SCHEMA, "reorg", &document.reorg)?;
    write_lines(out, SCHEMA, "refused", &document.refused)?;
    let value = Totals {
        chain_id: document.chain_id,
        checkpoint: document.checkpoint,
        anchors: document.anchors,
        new: document.new,
        proved: document.proved,
        completeness: &document.completeness,
        notes: &document.notes,
        not_checked: &document.not_checked,
        provenance: &document.provenance,
        next: &document.next,
    };
    write_lines(out, SCHEMA, "totals", [value])
}

pub(super) fn print_table(
    out: &mut Output<impl std::io::Write>,
    document: &Document,
) -> Result<(), CliError> {
    let Proved {
        both,
        receipt,
        storage,
        untied,
        failed,
    } = document.proved;
    let left_out = document.completeness.verdict == Verdict::Failed;
    let tone = if failed > 0 || left_out || !document.refused.is_empty() {
        Tone::Bad
    } else if untied > 0 || document.reorg.is_some() {
        Tone::Doubt
    } else {
        Tone::Good
    };
    out.verdict(
        tone,
        &format!(
            "{} anchors in {}, {} of them new, up to block {} {}",
            document.anchors,
            document.out,
            document.new,
            document.checkpoint.number,
            document.checkpoint.hash
        ),
    )?;
    out.line(&format!(
        "against that block: {both} proved by receipt and storage, {receipt} by receipt, {storage} by storage, \
         {untied} not, {failed} contradicted"
    ))?;
    print_head(out, Some(&document.provenance), None)?;
    print_completeness(out, Some(&document.completeness))?;
    print_reorg(out, document.reorg.as_ref())?;
    let shown = out.shown(document.refused.len());
    for refused in &document.refused[..shown] {
        out.line(&format!("{}: {refused}", Code::AnchorRefused))?;
    }
    out.more(0, document.refused.len() - shown, "that were refused")?;
    let mut table = Table::new(&["CONTRACT", "KIND", "STREAMS", "ANCHORS"]);
    let shown = out.shown(document.contracts.len());
    for contract in &document.contracts[..shown] {
        table.row([
            contract.contract.to_string(),
            contract.kind.to_string(),
            contract.streams.len().to_string(),
            contract.anchors.to_string(),
        ]);
    }
    if !table.is_empty() {
        out.line("")?;
        out.table(&table)?;
        out.more(0, document.contracts.len() - shown, "contract(s)")?;
    }
    let shown = out.shown(document.notes.len());
    for note in &document.notes[..shown] {
        out.line(&format!("note: {note}"))?;
    }
    out.more(0, document.notes.len() - shown, "note(s)")?;
    print_not_checked(out, &document.not_checked)?;
    document.next.print(out)
}

fn print_reorg(out: &mut Output<impl std::io::Write>, reorg: Option<&Reorg>) -> Result<(), CliError> {
    let Some(reorg) = reorg else { return Ok(()) };
    let is = reorg
        .is
        .map_or_else(|| "is not there any more".to_owned(), |hash| format!("is {hash}"));
    out.verdict(
        Tone::Doubt,
        &format!(
            "{}: the chain was reorganised: block {} was {} and {is}; {} anchors went with it, {} of them are there again",
            Code::AnchorReorged,
            reorg.from,
            reorg.was,
            reorg.dropped.len(),
            reorg.again
        ),
    )?;
    let shown = out.shown(reorg.dropped.len());
    for anchor in &reorg.dropped[..shown] {
        out.line(&format!(
            "{}: batch {} ({} to {}) of {}, block {}",
            Code::AnchorReorged,
            anchor.batch_id,
            anchor.sequence_start,
            anchor.sequence_end,
            anchor.contract,
            anchor.block_number
        ))?;
    }
    out.more(0, reorg.dropped.len() - shown, "anchor(s) that went")
}
