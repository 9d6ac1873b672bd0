//! `anchor-verify import`: saved JSON-RPC answers into an anchors file.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anchor_verify::chain::examine;
use anchor_verify::import::{ContractSummary, StreamSummary, summarize};
use anchor_verify::{AnchorsFile, Conflict, ContractAddress, Importer, RefusedLog, Standing, group};
use clap::Args;
use cli_common::{CliError, ExitStatus, Format, GlobalArgs, Output, Table};
use serde::Serialize;
use ves::StreamKey;

/// Turn what any JSON-RPC client has saved into an anchors file: logs, and what proves them
///
/// Logs (eth_getLogs), headers (eth_getBlockByNumber), receipts (eth_getBlockReceipts) and storage proofs
/// (eth_getProof) are told by what they are, not by their files' names. Both contracts are understood,
/// StateSetAnchor and SetRegistry. Opens no connection. Ends with 0 if all was taken, 4 if some was refused
/// or anchors contradict each other, 8 if a file could not be read.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// Saved answers: one thing, an answer {"result": …}, or an array or object of such
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The anchors file to write; one that is there is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,

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
struct Document {
    schema: &'static str,
    out: String,
    chain_id: Option<u64>,
    contracts: Vec<ContractSummary>,
    conflicts: Vec<Conflict>,
    refused: Vec<RefusedLog>,
    not_read: Vec<NotRead>,
    totals: Totals,
    not_checked: Vec<String>,
}

#[derive(Serialize)]
struct Totals {
    logs: usize,
    anchors: usize,
    refused: usize,
    removed: usize,
    repeated: usize,
    summaries: usize,
    other_contracts: usize,
    unknown_topics: BTreeMap<String, usize>,
    unresolved: usize,
    headers: usize,
    receipts: usize,
    proofs: usize,
    other_slots: usize,
    from_receipts: usize,
    imitators: BTreeMap<ContractAddress, usize>,
}

#[derive(Serialize)]
struct NotRead {
    path: String,
    why: String,
}

/// A line of NDJSON.
#[derive(Serialize)]
struct Line<'a, T: Serialize> {
    schema: &'static str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(flatten)]
    value: &'a T,
}

/// Runs the command.
pub fn run(args: &ImportArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut status = ExitStatus::OK;
    let out_path = args.out.canonicalize().ok();
    if out_path.is_some() && args.files.iter().any(|file| file.canonicalize().ok() == out_path) {
        return Err(CliError::usage(format!(
            "--out {} is one of the files to read: it would be replaced",
            args.out.display()
        )));
    }

    let mut importer = Importer::new(args.chain_id, args.contracts.clone());
    let mut not_read = Vec::new();
    for file in &args.files {
        if let Err(why) = importer.add_file(file) {
            CliError::input(format!("{}: {why}", file.display())).report(global);
            not_read.push(NotRead {
                path: file.display().to_string(),
                why: why.to_string(),
            });
        }
    }
    if not_read.len() == args.files.len() {
        return Err(CliError::input(format!(
            "no file could be read, so {} was not written",
            args.out.display()
        )));
    }
    let import = importer.finish(&args.streams);
    for refused in import.refused.iter().take(NAMED) {
        CliError::input(refused.to_string()).report(global);
    }
    if let Some(more @ 1..) = import.refused.len().checked_sub(NAMED) {
        CliError::input(format!("{more} more things were refused"))
            .with_hint("--format json lists all")
            .report(global);
    }
    import
        .file
        .write(&args.out)
        .map_err(|e| CliError::io(format!("{} was not written", args.out.display())).with_source(e))?;

    let conflicts = group(&import.file.anchors, &[]).conflicts;
    if !(import.refused.is_empty() && conflicts.is_empty()) {
        status |= ExitStatus::PROBLEMS;
    }
    if !not_read.is_empty() {
        status |= ExitStatus::FAILED;
    }
    let failed = failed_proofs(&import.file);
    if failed > 0 {
        status |= ExitStatus::PROBLEMS;
    }
    let mut not_checked =
        vec!["that the logs are on the chain: no block was tied to a trusted block hash".to_owned()];
    if import.unresolved > 0 {
        not_checked.push(format!(
            "the stream of {} anchors: only its hash is known",
            import.unresolved
        ));
    }
    if failed > 0 {
        CliError::input(format!(
            "{failed} anchors are contradicted by what should prove them"
        ))
        .with_hint("anchor-verify lint names them")
        .report(global);
    }
    not_checked.extend(not_read.iter().map(|file| format!("{}: not read", file.path)));
    let document = Document {
        schema: SCHEMA,
        out: args.out.display().to_string(),
        chain_id: import.file.chain_id,
        contracts: summarize(&import.file.anchors),
        conflicts,
        not_read,
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
        not_checked,
    };
    let mut out = Output::stdout();
    match global.format {
        Format::Table => print_table(&mut out, &document)?,
        Format::Json => out.json(&document)?,
        Format::Ndjson => {
            let contracts = document.contracts.iter();
            out.ndjson(contracts.map(|value| Line {
                schema: SCHEMA,
                kind: "contract",
                value,
            }))?;
            let conflicts = document.conflicts.iter();
            out.ndjson(conflicts.map(|value| Line {
                schema: SCHEMA,
                kind: "conflict",
                value,
            }))?;
            let refused = document.refused.iter();
            out.ndjson(refused.map(|value| Line {
                schema: SCHEMA,
                kind: "refused",
                value,
            }))?;
            let not_read = document.not_read.iter();
            out.ndjson(not_read.map(|value| Line {
                schema: SCHEMA,
                kind: "not_read",
                value,
            }))?;
            out.ndjson([Line {
                schema: SCHEMA,
                kind: "totals",
                value: &document.totals,
            }])?;
        }
    }
    out.finish()?;
    Ok(status)
}

fn print_table(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    let mut table = Table::new(&["contract", "kind", "stream", "anchors", "ranges"]);
    for contract in &document.contracts {
        for stream in &contract.streams {
            table.row([
                contract.contract.to_string(),
                contract.kind.to_string(),
                stream_name(stream),
                stream.anchors.to_string(),
                ranges(&stream.ranges),
            ]);
        }
    }
    out.table(&table)?;
    let totals = &document.totals;
    let path = &document.out;
    out.line(&format!(
        "{} logs read, {} anchors in {path}",
        totals.logs, totals.anchors
    ))?;
    for (count, what) in [
        (totals.headers, "headers"),
        (totals.receipts, "blocks with all their receipts"),
        (
            totals.proofs,
            "batches with a storage proof, counted once for each contract and block",
        ),
        (
            totals.from_receipts,
            "anchors that receipts have and the logs lack",
        ),
        (totals.other_slots, "proved slots that are of no anchor"),
        (totals.refused, "things refused"),
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
    for (contract, logs) in totals.imitators.iter().take(NAMED) {
        out.line(&format!(
            "receipts hold {logs} logs like anchors of {contract}, which was not asked for: not taken"
        ))?;
    }
    for conflict in &document.conflicts {
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
    for what in &document.not_checked {
        out.line(&format!("NOT CHECKED: {what}"))?;
    }
    Ok(())
}

/// How many anchors the file's own proofs contradict.
fn failed_proofs(file: &AnchorsFile) -> usize {
    let report = examine(file, None);
    let failed = report
        .standings
        .iter()
        .filter(|s| matches!(s, Standing::Failed { .. }));
    failed.count()
}

fn stream_name(stream: &StreamSummary) -> String {
    stream.stream.map_or_else(
        || format!("unknown: {}", stream.tenant_store_key),
        |s| s.to_string(),
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
