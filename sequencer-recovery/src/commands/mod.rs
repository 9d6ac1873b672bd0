//! One file a command: parse, call the library, print. What several of them need is here.

pub mod apply;
pub mod audit;
pub mod certify;
pub mod counters;
pub mod drill;
pub mod epoch;
pub mod export;
pub mod gaps;
pub mod plan;
pub mod snapshot;
pub mod undo;

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use cli_common::{Cancel, CliError, DbArg, DbTarget, Output, Table};
use ed25519_dalek::VerifyingKey;
use event_log::{JournalEntry, Log, StreamFilter};
use sequencer_recovery::collect::Inputs;
use sequencer_recovery::error::log_error;
use sequencer_recovery::family::Families;
use sequencer_recovery::new_file::NewFile;
use sequencer_recovery::sequencer_keys::SigningKeys;
use sequencer_recovery::survey::SurveyInput;
use serde::Serialize;
use ves::{Hash32, StoreId, TenantId};

/// The log and the witnesses.
#[derive(Debug, Args)]
pub struct SurveyArgs {
    #[command(flatten)]
    pub db: DbArg,

    /// Agents' outboxes: files, folders or patterns
    #[arg(long = "outbox", value_name = "PATH")]
    outboxes: Vec<String>,

    /// Other copies of the log: PostgreSQL URLs, snapshot files or log exports (a replica, the old primary, a restored
    /// dump)
    #[arg(long = "witness", value_name = "URL|FILE", value_parser = OsStringValueParser::new().map(Witness))]
    witnesses: Vec<Witness>,

    /// Anchors files, as `anchor-verify import` writes them
    #[arg(long = "anchors", value_name = "FILE")]
    anchors: Vec<PathBuf>,

    /// Receipts that agents saved from the sequencer's answers (NDJSON)
    #[arg(long = "receipts", value_name = "FILE")]
    receipts: Vec<PathBuf>,

    /// The sequencer's public key, as hex or as a file that holds it; without it no receipt's signature is checked
    #[arg(long, value_name = "HEX|FILE")]
    sequencer_public_key: Option<String>,

    /// Only this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,

    /// Only this store
    #[arg(long, value_name = "ID")]
    store: Option<StoreId>,
}

impl SurveyArgs {
    /// What the arguments ask to look at.
    pub fn input(&self) -> Result<SurveyInput, CliError> {
        let outboxes = outbox_sync::expand_inputs(&self.outboxes).map_err(|e| {
            CliError::input(e.to_string()).with_hint("give a file, a folder or a pattern that matches")
        })?;
        let (mut logs, mut exports) = (Vec::new(), Vec::new());
        for witness in &self.witnesses {
            match DbTarget::parse(&witness.0)? {
                DbTarget::Snapshot(path) if is_export(&path) => exports.push(path),
                target => logs.push(target),
            }
        }
        let sequencer_key = self
            .sequencer_public_key
            .as_deref()
            .map(read_public_key)
            .transpose()?;
        Ok(SurveyInput {
            witnesses: Inputs {
                outboxes,
                logs,
                exports,
                receipts: self.receipts.clone(),
                sequencer_key,
                peer_keys: false,
            },
            anchors: self.anchors.clone(),
            filter: StreamFilter {
                tenant: self.tenant,
                store: self.store,
            },
            families: Families::default(),
        })
    }
}

/// Whether a file is a log export rather than a snapshot: its first byte is that of a line of JSON.
fn is_export(path: &Path) -> bool {
    let first = || -> std::io::Result<u8> {
        let mut byte = [0];
        std::io::Read::read_exact(&mut std::fs::File::open(path)?, &mut byte)?;
        Ok(byte[0])
    };
    first().is_ok_and(|byte| byte == b'{')
}

/// The name of a log as it was given; it may hold a password, so it is not shown.
#[derive(Clone)]
pub struct Witness(OsString);

impl std::fmt::Debug for Witness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&cli_common::redact_url(&self.0.to_string_lossy()))
    }
}

/// Which sequences.
#[derive(Debug, Args)]
pub struct FamilyArg {
    /// Which sequences to look at: the VES log (ves), the older events log (events), the x402 payment intents
    /// (x402), or all. Of those beside the VES log gaps and counters are looked at, and nothing else
    #[arg(long, value_name = "FAMILY", default_value_t)]
    family: Families,
}

impl FamilyArg {
    /// Which.
    pub fn families(&self) -> Families {
        self.family
    }
}

/// How long to wait for locks.
#[derive(Debug, Args)]
pub struct LockArgs {
    /// How long to wait for the locks that the sequencer holds, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    lock_timeout: u32,
}

impl LockArgs {
    /// As a duration.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.lock_timeout.into())
    }
}

/// Reads an Ed25519 public key: 64 hex digits, or a file that holds them.
fn read_public_key(value: &str) -> Result<VerifyingKey, CliError> {
    let text = match value.parse::<Hash32>() {
        Ok(_) => value.to_owned(),
        Err(_) => std::fs::read_to_string(value).map_err(|e| {
            CliError::input(format!("--sequencer-public-key: {value}: {e}"))
                .with_hint("give 64 hex digits, or a file that holds them")
        })?,
    };
    let bytes: Hash32 = text
        .trim()
        .parse()
        .map_err(|e| CliError::input(format!("--sequencer-public-key: {e}")))?;
    VerifyingKey::from_bytes(&bytes.0)
        .map_err(|e| CliError::input(format!("--sequencer-public-key: not an Ed25519 public key: {e}")))
}

/// Reads an Ed25519 signing key: a file with its 32-byte seed in hex. The file's content is never shown.
fn read_signing_key(path: &Path) -> Result<ed25519_dalek::SigningKey, CliError> {
    let text =
        std::fs::read_to_string(path).map_err(|e| CliError::input(format!("{}: {e}", path.display())))?;
    let seed: Hash32 = text.trim().parse().map_err(|_| {
        CliError::input(format!(
            "{}: not the 64 hex digits of an Ed25519 seed",
            path.display()
        ))
        .with_hint("a key file holds the 32-byte seed in hex and nothing else")
    })?;
    Ok(ed25519_dalek::SigningKey::from_bytes(&seed.0))
}

/// Reads signing keys, each a file or a version with its file (`0=FILE`).
fn read_signing_keys(values: &[OsString]) -> Result<SigningKeys, CliError> {
    let mut keys = SigningKeys::default();
    for value in values {
        let text = value.to_string_lossy();
        let versioned = text.split_once('=').and_then(|(version, path)| {
            let version: i32 = version.parse().ok()?;
            Some((Some(version), PathBuf::from(path)))
        });
        let (version, path) = versioned.unwrap_or((None, PathBuf::from(value)));
        if !keys.add(version, read_signing_key(&path)?) {
            let which = version.map_or("without a version".to_owned(), |v| format!("of version {v}"));
            return Err(CliError::usage(format!("--sequencer-key: two keys {which}"))
                .with_hint("give each key once, as VERSION=FILE"));
        }
    }
    Ok(keys)
}

/// Makes an output before anything is changed.
fn new_file(path: &Path, room: u64) -> Result<NewFile, CliError> {
    NewFile::create(path, room).map_err(|error| {
        let exists = path.symlink_metadata().is_ok();
        let hint = if exists {
            "nothing was changed; it exists already, and is never written over: give another name, or move it away"
        } else {
            "nothing was changed; is its folder there, may you write to it, and has its disk room?"
        };
        CliError::io(error.to_string()).with_hint(hint)
    })
}

/// Runs the work on a runtime of this thread.
fn block_on<T>(work: impl Future<Output = Result<T, CliError>>) -> Result<T, CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("the runtime cannot be started").with_source(e))?;
    runtime.block_on(work)
}

/// A token that Ctrl-C and SIGTERM set.
fn cancel_on_signals() -> Result<Cancel, CliError> {
    Cancel::on_signals().map_err(|e| CliError::io("signals cannot be watched").with_source(e))
}

async fn open(db: &DbArg) -> Result<(Log, String), CliError> {
    let target = db.target()?;
    let log = Log::open(&target).await.map_err(|e| log_error(&e))?;
    Ok((log, target.to_string()))
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
fn write_lines<W: std::io::Write, T: Serialize>(
    out: &mut Output<W>,
    schema: &str,
    kind: &str,
    values: impl IntoIterator<Item = T>,
) -> Result<(), CliError> {
    out.ndjson(values.into_iter().map(|value| Line { schema, kind, value }))
}

/// What was not checked, as NDJSON lines.
fn write_not_checked<W: std::io::Write>(
    out: &mut Output<W>,
    schema: &str,
    all: &[String],
) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct NotChecked<'a> {
        what: &'a str,
    }
    write_lines(
        out,
        schema,
        "not_checked",
        all.iter().map(|what| NotChecked { what }),
    )
}

/// What was not checked, for people. Every report ends with it.
fn print_not_checked<W: std::io::Write>(out: &mut Output<W>, all: &[String]) -> Result<(), CliError> {
    out.line("")?;
    if all.is_empty() {
        return out.line("NOT CHECKED: nothing was left out");
    }
    out.line("NOT CHECKED")?;
    for what in all {
        out.line(&format!("  {what}"))?;
    }
    Ok(())
}

/// A number or a dash.
fn or_dash(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

/// So many entries of the journal are shown to people.
const JOURNAL_LINES: usize = 20;

/// What the journal of repairs says, for people.
fn print_journal<W: std::io::Write>(out: &mut Output<W>, entries: &[JournalEntry]) -> Result<(), CliError> {
    if entries.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.line("JOURNAL OF REPAIRS")?;
    let mut table = Table::new(&[
        "WHEN",
        "STREAM (TENANT/STORE)",
        "WHAT",
        "PLAN",
        "EVENTS",
        "COMMITMENTS",
        "COUNTER",
        "THEN",
        "BY",
    ]);
    for entry in entries.iter().take(JOURNAL_LINES) {
        table.row([
            entry.written_at.to_string(),
            entry.stream.to_string(),
            entry.state.as_str().to_owned(),
            entry.plan_id.to_string().chars().take(16).collect(),
            entry.counts.events.to_string(),
            entry.counts.commitments.to_string(),
            or_dash(entry.counter_before),
            or_dash(entry.counter_after),
            entry.tool.clone(),
        ]);
    }
    out.table(&table)?;
    match entries.len().checked_sub(JOURNAL_LINES) {
        None | Some(0) => Ok(()),
        Some(more) => out.line(&format!("and {more} more (--format json shows them)")),
    }
}
