//! `anchor-verify import`: saved JSON-RPC answers into an anchors file.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::anchors_file::{AnchorsErrorKind, MAX_FILE_BYTES};
use crate::chain::examine;
use crate::import::{ContractSummary, ImportedStream, own_document, summarize};
use crate::{AnchorStanding, AnchorsFile, Conflict, ContractAddress, Import, Importer, RefusedLog, group};
use clap::Args;
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{
    Cancel, CliError, CommandLine, ExitStatus, GlobalArgs, Labels, Next, Output, Table, Tone, file_hint,
    print_report,
};
use serde::Serialize;
use ves::StreamKey;

use super::{
    ForceArg, cancel_on_signals, not_written, print_head, print_not_checked, provenance, write_lines,
};

/// Turn what any JSON-RPC client has saved into an anchors file: logs, and what proves them
///
/// Logs (eth_getLogs), headers (eth_getBlockByNumber), receipts (eth_getBlockReceipts) and storage proofs
/// (eth_getProof) are told by what they are, not by their files' names. Both contracts are understood,
/// StateSetAnchor and SetRegistry. The toolkit's own files are passed over. Opens no connection. Ends with 0 if all was taken, 4 if some was refused,
/// anchors contradict each other or there is none, 8 if a file could not be read.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Saved answers: one thing, an answer {"result": ...}, or an array or object of such
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The anchors file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

    #[command(flatten)]
    force: ForceArg,

    /// Take the logs of this contract only; may be given several times. Without it those of the contracts that
    /// a file names (contracts.json), or else of all contracts, also of one that imitates the events
    #[arg(long = "contract", value_name = "ADDRESS")]
    contracts: Vec<ContractAddress>,

    /// The chain that the logs are of, to be noted in the file; logs do not name it
    #[arg(long, value_name = "NUMBER")]
    chain_id: Option<u64>,

    /// A stream that is known, to resolve what SetRegistry names by a hash only; may be given several times
    #[arg(long = "stream", value_name = "TENANT/STORE")]
    streams: Vec<StreamKey>,
}

const SCHEMA: &str = "anchors-import/1";

/// How many refused logs are named one by one on stderr.
const NAMED: usize = 20;

#[derive(Serialize)]
pub(super) struct Document {
    pub(super) schema: &'static str,
    pub(super) out: String,
    pub(super) chain_id: Option<u64>,
    pub(super) contracts: Vec<ContractSummary>,
    pub(super) conflicts: Vec<Conflict>,
    pub(super) refused: Vec<RefusedLog>,
    pub(super) not_read: Vec<NotRead>,
    pub(super) passed_over: Vec<NotRead>,
    pub(super) totals: Totals,
    pub(super) problems: Vec<String>,
    pub(super) not_checked: Vec<String>,
    pub(super) provenance: Provenance,
    pub(super) next: Next,
}

#[derive(Default, Serialize)]
pub(super) struct Totals {
    pub(super) logs: usize,
    pub(super) anchors: usize,
    pub(super) refused: usize,
    pub(super) removed: usize,
    pub(super) repeated: usize,
    pub(super) summaries: usize,
    pub(super) other_contracts: usize,
    pub(super) unknown_topics: BTreeMap<String, usize>,
    pub(super) unresolved: usize,
    pub(super) headers: usize,
    pub(super) receipts: usize,
    pub(super) proofs: usize,
    pub(super) other_slots: usize,
    pub(super) from_receipts: usize,
    pub(super) imitators: BTreeMap<ContractAddress, usize>,
}

#[derive(Serialize)]
pub(super) struct NotRead {
    pub(super) path: String,
    pub(super) why: String,
}

/// Runs the command.
pub fn run(args: &ImportArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    refuse_inputs_as_output(args)?;
    args.force.check(&args.out)?;
    let cancel = cancel_on_signals()?;
    let mut read = read_files(args, &cancel, global)?;
    let import = std::mem::take(&mut read.importer).finish(&args.streams);
    report_refused(&import, global);
    cancel.check()?;
    import
        .file
        .write_as(&args.out, args.force.existing())
        .map_err(|error| not_written(&args.out, error))?;
    global.recorder.file("anchors", &args.out);

    let conflicts = group(&import.file.anchors, &[]).conflicts;
    let failed = failed_proofs(&import.file);
    let missing = missing(args, &import);
    let mut problems = missing.clone();
    if failed > 0 {
        problems.push(format!(
            "{failed} anchors are contradicted by what should prove them"
        ));
    }
    for problem in &problems {
        CliError::input(problem.clone()).report(global);
    }
    let mut status = ExitStatus::OK;
    if !(import.refused.is_empty() && conflicts.is_empty() && problems.is_empty()) {
        status |= ExitStatus::PROBLEMS;
    }
    if !read.not_read.is_empty() {
        status |= ExitStatus::FAILED;
    }
    let next = match (&missing[..], status.contains(ExitStatus::PROBLEMS)) {
        ([missing, ..], _) => Next::nothing(format!("{missing}: fetch or import its logs")),
        _ => Next::run(&CommandLine::new("anchor-verify lint").arg(args.out.display())),
    };
    let document = document(args, import, conflicts, read, problems, next);
    print_report(
        global,
        &document,
        |out| print_table(out, &document),
        |out| print_ndjson(out, &document),
    )?;
    Ok(status)
}

/// Refuses an output that is one of the files to read, unless it is the toolkit's own, which is passed over.
fn refuse_inputs_as_output(args: &ImportArgs) -> Result<(), CliError> {
    let Ok(out) = args.out.canonicalize() else {
        return Ok(());
    };
    let is_input = args
        .files
        .iter()
        .any(|file| file.canonicalize().is_ok_and(|file| file == out));
    let is_own = || {
        let mut bytes = Vec::new();
        let read = File::open(&out).and_then(|file| file.take(MAX_FILE_BYTES).read_to_end(&mut bytes));
        read.is_ok() && own_document(&bytes).is_some()
    };
    if is_input && !(out.is_file() && is_own()) {
        return Err(CliError::usage(format!(
            "--out {} is one of the files to read: it would be replaced",
            args.out.display()
        )));
    }
    Ok(())
}

/// What came of reading the files.
struct Taken {
    importer: Importer,
    inputs: Inputs,
    not_read: Vec<NotRead>,
    passed_over: Vec<NotRead>,
}

fn read_files(args: &ImportArgs, cancel: &Cancel, global: &GlobalArgs) -> Result<Taken, CliError> {
    let mut read = Taken {
        importer: Importer::new(args.chain_id, args.contracts.clone()),
        inputs: Inputs::default(),
        not_read: Vec::new(),
        passed_over: Vec::new(),
    };
    for file in &args.files {
        cancel.check()?;
        let why = match read.importer.add_file(file) {
            Ok(()) => {
                read.inputs.add("saved", file);
                continue;
            }
            Err(why) => why,
        };
        let told = NotRead {
            path: file.display().to_string(),
            why: why.to_string(),
        };
        if let AnchorsErrorKind::Own(_) = why {
            read.passed_over.push(told);
        } else {
            let error = CliError::input(format!("{}: {why}", told.path));
            error.with_hint(not_read_hint(file, &why)).report(global);
            read.not_read.push(told);
        }
    }
    if read.not_read.len() + read.passed_over.len() == args.files.len() {
        let error = CliError::input(format!(
            "no file could be read, so {} was not written",
            args.out.display()
        ));
        return Err(match &read.passed_over[..] {
            [] => error,
            [passed, ..] => error.with_hint(format!("{} {}", passed.path, passed.why)),
        });
    }
    Ok(read)
}

/// What to do about a file that was not read.
fn not_read_hint(path: &Path, why: &AnchorsErrorKind) -> String {
    match why {
        AnchorsErrorKind::Io(error) => file_hint(path, error),
        _ => "save what the node answered as it stands: eth_getLogs, eth_getBlockByNumber, eth_getBlockReceipts, \
              eth_getProof"
            .to_owned(),
    }
}

/// Names what was refused, on stderr.
fn report_refused(import: &Import, global: &GlobalArgs) {
    for refused in import.refused.iter().take(NAMED) {
        CliError::input(refused.to_string()).report(global);
    }
    if let Some(more @ 1..) = import.refused.len().checked_sub(NAMED) {
        CliError::input(format!("{more} more things were refused"))
            .with_hint("--format json lists all")
            .report(global);
    }
}

/// What was asked for and is not there: anchors at all, or those of a contract.
fn missing(args: &ImportArgs, import: &Import) -> Vec<String> {
    let anchors = &import.file.anchors;
    if anchors.is_empty() {
        return vec!["there is no anchor in these files".to_owned()];
    }
    let none = |contract: &&ContractAddress| !anchors.iter().any(|a| a.contract == **contract);
    let silent = args.contracts.iter().filter(none);
    silent
        .map(|contract| format!("there is no anchor of contract {contract} in these files"))
        .collect()
}

fn document(
    args: &ImportArgs,
    import: Import,
    conflicts: Vec<Conflict>,
    read: Taken,
    problems: Vec<String>,
    next: Next,
) -> Document {
    let mut not_checked =
        vec!["that the logs are on the chain: no block was tied to a trusted block hash".to_owned()];
    if import.unresolved > 0 {
        not_checked.push(format!(
            "the stream of {} anchors: only its hash is known",
            import.unresolved
        ));
    }
    not_checked.extend(
        read.not_read
            .iter()
            .map(|file| format!("{}: not read", file.path)),
    );
    Document {
        schema: SCHEMA,
        out: args.out.display().to_string(),
        chain_id: import.file.chain_id,
        contracts: summarize(&import.file.anchors),
        conflicts,
        not_read: read.not_read,
        passed_over: read.passed_over,
        totals: Totals {
            logs: import.logs,
            anchors: import.file.anchors.len(),
            refused: import.refused.len(),
            removed: import.removed,
            repeated: import.repeated,
            summaries: import.summaries,
            other_contracts: import.other_contracts,
            unknown_topics: import.unknown_topics,
            unresolved: import.unresolved,
            headers: import.headers,
            receipts: import.receipts,
            proofs: import.proofs,
            other_slots: import.other_slots,
            from_receipts: import.from_receipts,
            imitators: import.imitators,
        },
        refused: import.refused,
        problems,
        not_checked,
        provenance: provenance(read.inputs),
        next,
    }
}

fn print_ndjson(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Last<'a> {
        #[serde(flatten)]
        totals: &'a Totals,
        problems: &'a [String],
        provenance: &'a Provenance,
        next: &'a Next,
    }
    write_lines(out, SCHEMA, "contract", &document.contracts)?;
    write_lines(out, SCHEMA, "conflict", &document.conflicts)?;
    write_lines(out, SCHEMA, "refused", &document.refused)?;
    write_lines(out, SCHEMA, "not_read", &document.not_read)?;
    write_lines(out, SCHEMA, "passed_over", &document.passed_over)?;
    let last = Last {
        totals: &document.totals,
        problems: &document.problems,
        provenance: &document.provenance,
        next: &document.next,
    };
    write_lines(out, SCHEMA, "totals", [last])
}

pub(super) fn print_table(
    out: &mut Output<impl std::io::Write>,
    document: &Document,
) -> Result<(), CliError> {
    let of_contracts = document.contracts.iter().flat_map(|c| &c.streams);
    let labels = out.label_streams(of_contracts.filter_map(|s| s.stream));
    let totals = &document.totals;
    let bad = totals.refused > 0 || !document.conflicts.is_empty() || !document.not_read.is_empty();
    out.verdict(
        if bad { Tone::Bad } else { Tone::Good },
        &format!(
            "{} logs read, {} anchors in {}",
            totals.logs, totals.anchors, document.out
        ),
    )?;
    print_head(out, Some(&document.provenance), None)?;
    for passed in &document.passed_over {
        out.line(&format!("passed over: {}: {}", passed.path, passed.why))?;
    }
    print_conflicts(out, &document.conflicts)?;
    for (count, what) in [
        (totals.refused, "things refused"),
        (
            totals.from_receipts,
            "anchors that receipts have and the logs lack",
        ),
        (totals.headers, "headers"),
        (totals.receipts, "blocks with all their receipts"),
        (
            totals.proofs,
            "batches with a storage proof, counted once for each contract and block",
        ),
        (totals.other_slots, "proved slots that are of no anchor"),
        (
            totals.removed,
            "logs removed by a reorganisation of the chain, so not taken",
        ),
        (totals.repeated, "logs that were there before, taken once"),
        (
            totals.summaries,
            "logs of BatchAnchored, which only sum up others",
        ),
        (
            totals.other_contracts,
            "logs of contracts that were not asked for",
        ),
        (totals.unknown_topics.values().sum(), "logs of other events"),
    ] {
        if count > 0 {
            out.line(&format!("{what}: {count}"))?;
        }
    }
    let shown = out.shown(totals.imitators.len());
    for (contract, logs) in totals.imitators.iter().take(shown) {
        out.line(&format!(
            "receipts hold {logs} logs like anchors of {contract}, which was not asked for: not taken"
        ))?;
    }
    out.more(0, totals.imitators.len() - shown, "like it")?;
    print_contracts(out, &document.contracts, &labels)?;
    print_not_checked(out, &document.not_checked)?;
    document.next.print(out)
}

fn print_conflicts(out: &mut Output<impl std::io::Write>, conflicts: &[Conflict]) -> Result<(), CliError> {
    let shown = out.shown(conflicts.len());
    for conflict in &conflicts[..shown] {
        out.line(&format!(
            "anchor.conflict: stream {}: batch {} ({} to {}) and batch {} ({} to {}) contradict each other",
            conflict
                .first
                .stream
                .map_or_else(|| conflict.first.tenant_store_key.to_string(), |s| s.to_string()),
            conflict.first.batch_id,
            conflict.first.sequence_start,
            conflict.first.sequence_end,
            conflict.second.batch_id,
            conflict.second.sequence_start,
            conflict.second.sequence_end,
        ))?;
    }
    out.more(0, conflicts.len() - shown, "conflict(s)")
}

/// So many streams are shown, of all contracts together.
const STREAMS: usize = 20;

/// Each contract with its streams, those with most holes first.
fn print_contracts(
    out: &mut Output<impl std::io::Write>,
    contracts: &[ContractSummary],
    labels: &Labels,
) -> Result<(), CliError> {
    let many = out.shown(contracts.len());
    for contract in &contracts[..many] {
        out.line("")?;
        out.line(&format!(
            "{} {}: {} anchors of {} stream(s)",
            contract.kind,
            contract.contract,
            contract.anchors,
            contract.streams.len()
        ))?;
        let mut in_order: Vec<&ImportedStream> = contract.streams.iter().collect();
        in_order.sort_by_key(|s| std::cmp::Reverse((s.ranges.len(), s.anchors)));
        let mut table = Table::new(&["STREAM", "ANCHORS", "RANGES"]);
        // All contracts together fit a screen.
        let shown = match out.all() {
            true => in_order.len(),
            false => in_order.len().min((STREAMS / contracts.len()).max(3)),
        };
        for stream in &in_order[..shown] {
            table.row([
                stream_name(stream, labels),
                stream.anchors.to_string(),
                ranges(&stream.ranges),
            ]);
        }
        out.table(&table)?;
        out.more(0, in_order.len() - shown, "stream(s)")?;
    }
    out.more(0, contracts.len() - many, "contract(s)")
}

/// How many anchors the file's own proofs contradict.
fn failed_proofs(file: &AnchorsFile) -> usize {
    let report = examine(file, None);
    let failed = report
        .standings
        .iter()
        .filter(|s| matches!(s, AnchorStanding::Failed { .. }));
    failed.count()
}

fn stream_name(stream: &ImportedStream, labels: &Labels) -> String {
    stream.stream.map_or_else(
        || format!("unknown: {}", stream.tenant_store_key),
        |s| labels.of(&s),
    )
}

/// At most three ranges: a stream with many holes would fill the screen.
fn ranges(ranges: &[(u64, u64)]) -> String {
    let shown: Vec<String> = ranges
        .iter()
        .take(3)
        .map(|(start, end)| format!("{start}..{end}"))
        .collect();
    let more = if ranges.len() > 3 {
        format!(" and {} more", ranges.len() - 3)
    } else {
        String::new()
    };
    format!("{}{more}", shown.join(", "))
}
