//! `event-archive sql`: an archive asked with SQL.

use std::cell::RefCell;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use anchor_verify::commands::cancel_on_signals;
use archive_engine::cluster::query_on_cluster;
use archive_engine::{Engine, EngineError, Options, Rows, cell};
use clap::Args;
use cli_common::{CliError, ExitStatus, Format, GlobalArgs, Output, Table};
use serde::Serialize;
use serde::ser::{Error as _, SerializeMap, SerializeSeq, Serializer};
use serde_json::{Map, Value};

use super::cli_error;

/// Ask an archive with SQL: events, commitments, keys, anchors, files
///
/// Only reads, and only what the newest manifest names. Its own functions: ves_leaf, ves_payload_hash, ves_signing_hash,
/// ves_verify, ves_merkle_root and ves_gaps (docs/archive.md). What is read is not held against the hashes of the manifest;
/// `event-archive verify` does that.
#[derive(Debug, Args)]
pub struct SqlArgs {
    /// The archive: a folder, or s3://, gs://, az:// with bucket and prefix
    #[arg(value_name = "ARCHIVE")]
    address: String,

    /// One SELECT, EXPLAIN, DESCRIBE or SHOW TABLES
    #[arg(value_name = "SQL")]
    sql: String,

    /// Memory for joins, sorts and groups, in MiB; what is more is spilled to disk
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(16..))]
    memory: u32,

    /// The folder to spill to [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    spill: Option<PathBuf>,

    /// Run it on the executors of this scheduler: df://HOST:PORT
    #[arg(long, value_name = "URL")]
    cluster: Option<String>,

    /// How long to wait for the cluster
    #[arg(long, value_name = "DURATION", requires = "cluster", default_value = "1h", value_parser = cli_common::duration)]
    patience: Duration,
}

/// The form of the JSON.
const SCHEMA: &str = "event-archive-query/1";

/// So many rows are aligned at once where all are shown.
const BLOCK: usize = 1000;

/// Runs the command.
pub fn run(args: &SqlArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let mut rows = ask(args, global)?;
    let names = cell::names(rows.schema());
    let mut out = Output::stdout(global);
    match global.format {
        Format::Table => print_table(&mut out, &names, &mut rows)?,
        Format::Json => print_json(&mut out, &names, rows)?,
        Format::Ndjson => print_ndjson(&mut out, &names, &mut rows)?,
    }
    out.finish()?;
    Ok(ExitStatus::OK)
}

/// What an error of the engine means for the user.
pub fn engine_error(error: EngineError) -> CliError {
    let message = error.to_string();
    match error {
        EngineError::Archive(error) => cli_error(error),
        EngineError::Refused(_) => CliError::usage(message).with_hint(
            "`show tables` and `describe events` say what there is; nothing can be made, altered, set or written",
        ),
        EngineError::Query(_) => CliError::input(message).with_hint(
            "--memory gives joins, sorts and groups more room; `event-archive verify` says whether the archive is damaged",
        ),
        EngineError::Cluster(_) => CliError::io(message)
            .with_hint("are the scheduler and its executors running, and do they reach the archive?"),
        EngineError::Cancelled => CliError::cancelled(message),
        _ => CliError::io(message),
    }
}

fn ask(args: &SqlArgs, global: &GlobalArgs) -> Result<Rows, CliError> {
    let mut options = Options {
        memory: usize::try_from(args.memory)
            .unwrap_or(usize::MAX)
            .saturating_mul(1 << 20),
        spill: args.spill.clone(),
        ..Options::default()
    };
    if let Some(threads) = global.threads {
        options.threads = threads.into();
    }
    match &args.cluster {
        None => Engine::open(&args.address, &options).and_then(|engine| engine.query(&args.sql)),
        Some(cluster) => {
            let cancel = cancel_on_signals()?;
            query_on_cluster(
                cluster,
                &args.address,
                &args.sql,
                &options,
                args.patience,
                &cancel,
            )
        }
    }
    .map_err(engine_error)
}

/// The rows that fit, and how many more there are; or all, in blocks.
fn print_table<W: Write>(out: &mut Output<W>, names: &[String], rows: &mut Rows) -> Result<(), CliError> {
    let headers: Vec<&str> = names.iter().map(String::as_str).collect();
    let shown = out.shown(usize::MAX);
    let mut table = Table::new(&headers);
    let (mut count, mut in_table) = (0_usize, 0_usize);
    for batch in rows {
        let batch = batch.map_err(engine_error)?;
        for row in 0..batch.num_rows() {
            count += 1;
            if count > shown {
                continue;
            }
            table.row(cell::cells(&batch, row));
            in_table += 1;
            if in_table == BLOCK {
                out.table(&table)?;
                table = Table::new(&headers);
                in_table = 0;
            }
        }
    }
    if in_table > 0 || count == 0 {
        out.table(&table)?;
    }
    out.more(0, count.saturating_sub(shown), "rows")?;
    out.line(&super::count(count as u64, "row"))
}

fn print_ndjson<W: Write>(out: &mut Output<W>, names: &[String], rows: &mut Rows) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Line {
        schema: &'static str,
        #[serde(rename = "type")]
        kind: &'static str,
        #[serde(skip_serializing_if = "Option::is_none")]
        row: Option<Map<String, Value>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        rows: Option<usize>,
    }
    let mut count = 0;
    for batch in rows {
        let batch = batch.map_err(engine_error)?;
        count += batch.num_rows();
        out.ndjson((0..batch.num_rows()).map(|row| Line {
            schema: SCHEMA,
            kind: "row",
            row: Some(cell::object(names, &batch, row)),
            rows: None,
        }))?;
    }
    // Without this line the answer is cut off.
    out.ndjson([Line {
        schema: SCHEMA,
        kind: "totals",
        row: None,
        rows: Some(count),
    }])
}

fn print_json<W: Write>(out: &mut Output<W>, names: &[String], rows: Rows) -> Result<(), CliError> {
    let document = Document {
        names,
        rows: Streamed {
            names,
            rows: RefCell::new(rows),
            failed: RefCell::new(None),
        },
    };
    let written = out.json(&document);
    match document.rows.failed.into_inner() {
        Some(error) => Err(engine_error(error)),
        None => written,
    }
}

/// The document: its rows are made while it is written.
struct Document<'a> {
    names: &'a [String],
    rows: Streamed<'a>,
}

impl Serialize for Document<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("schema", SCHEMA)?;
        map.serialize_entry("columns", self.names)?;
        map.serialize_entry("rows", &self.rows)?;
        map.end()
    }
}

struct Streamed<'a> {
    names: &'a [String],
    rows: RefCell<Rows>,
    /// Why it broke off.
    failed: RefCell<Option<EngineError>>,
}

impl Serialize for Streamed<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(None)?;
        for batch in self.rows.borrow_mut().by_ref() {
            match batch {
                Ok(batch) => {
                    for row in 0..batch.num_rows() {
                        list.serialize_element(&cell::object(self.names, &batch, row))?;
                    }
                }
                Err(error) => {
                    *self.failed.borrow_mut() = Some(error);
                    return Err(S::Error::custom("the query failed"));
                }
            }
        }
        list.end()
    }
}
