//! One file a command: parse, call the library, print. What several of them need is here.

pub mod apply;
pub mod audit;
pub mod backup_check;
pub mod certify;
pub mod checklist;
pub mod checkpoint;
pub mod counters;
pub mod drill;
pub mod epoch;
pub mod export;
pub mod gaps;
pub mod guard;
pub mod incident;
mod metrics;
mod page;
pub mod plan;
mod plan_report;
mod report;
mod service_args;
pub mod snapshot;
mod strips;
pub mod undo;
pub mod watch;

use std::ffi::OsString;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::time::Duration;

use checkpoints::CheckpointArgs;
use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use cli_common::archive::ArchiveAddress;
use cli_common::files::{self, InputFile};
use cli_common::keys::{read_signing_parts, split_version, twice};
use cli_common::provenance::{Inputs as HashedInputs, Provenance};
use cli_common::report::Lines;
use cli_common::{
    Cancel, CliError, CommandLine, DbArg, DbTarget, ExitStatus, GlobalArgs, SequencerPublicKeyArgs,
};
use event_log::{Log, OpenOptions, Place, StreamFilter};
use outbox_sync::Purpose;
use sequencer_recovery::new_file::NewFile;
use sequencer_recovery::stream::family::Families;
use sequencer_recovery::stream::sequencer_keys::SigningKeys;
use sequencer_recovery::stream::survey::SurveyInput;
use sequencer_recovery::watch_memory;
use sequencer_recovery::witness::Incomplete;
use sequencer_recovery::witness::{Dump, Inputs};
use serde::Serialize;
use service_args::ServiceArgs;
use ves::{StoreId, TenantId};

/// The log and the witnesses.
#[derive(Debug, Args)]
pub struct SurveyArgs {
    #[command(flatten)]
    pub db: DbArg,

    #[command(flatten)]
    witness: WitnessArgs,
}

/// The witnesses.
#[derive(Debug, Args)]
pub struct WitnessArgs {
    /// Agents' outboxes: files, folders (all outboxes below them, whatever their names) or patterns
    #[arg(long = "outbox", value_name = "PATH")]
    outboxes: Vec<String>,

    /// A text file that lists agents' outboxes, one a line (docs/outboxes.md); may be given more than once
    #[arg(long = "outbox-manifest", value_name = "FILE")]
    manifests: Vec<PathBuf>,

    /// Other copies of the log: PostgreSQL URLs, snapshot files, log exports, dumps by pg_dump in any of its formats (a
    /// replica, the old primary, last night's dump), archives of events (s3://, gs://, az://, file:// or a folder; read by
    /// event-archive), other sequencers' gRPC services (grpc://HOST:PORT, or grpcs:// for TLS), and what `watch` remembers
    /// (its --state)
    #[arg(long = "witness", value_name = "URL|FILE", value_parser = OsStringValueParser::new().map(Witness))]
    witnesses: Vec<Witness>,

    /// Anchors files, as `anchor-verify import` writes them
    #[arg(long = "anchors", value_name = "FILE")]
    anchors: Vec<PathBuf>,

    #[command(flatten)]
    services: ServiceArgs,

    #[command(flatten)]
    checkpoints: CheckpointArgs,

    /// Receipts that agents saved from the sequencer's answers (NDJSON)
    #[arg(long = "receipts", value_name = "FILE")]
    receipts: Vec<PathBuf>,

    #[command(flatten)]
    sequencer: SequencerPublicKeyArgs,

    /// Only this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,

    /// Only this store
    #[arg(long, value_name = "ID")]
    store: Option<StoreId>,
}

impl WitnessArgs {
    /// What the arguments ask to look at.
    pub fn input(&self) -> Result<SurveyInput, CliError> {
        let found = outbox_sync::expand_inputs(&self.outboxes, &self.manifests, Purpose::Read);
        let found = found.map_err(|e| {
            CliError::input(e.to_string()).with_hint(
                "give a file, a folder or a pattern that matches, or a manifest of files that are there",
            )
        })?;
        let (mut logs, mut exports, mut dumps) = (Vec::new(), Vec::new(), Vec::new());
        let mut memories = Vec::new();
        let mut not_checked = found.not_checked;
        let (mut targets, mut addresses) = (Vec::new(), Vec::new());
        let mut archives = Vec::new();
        for Witness(name) in &self.witnesses {
            if let Some(archive) = ArchiveAddress::recognise(name) {
                if !archives.contains(&archive) {
                    archives.push(archive);
                }
                continue;
            }
            match service_args::address(name)? {
                Some(address) if addresses.contains(&address) => {}
                Some(address) => addresses.push(address),
                None => targets.push(DbTarget::parse(name)?),
            }
        }
        let copies = copies_of_another(&targets, &mut not_checked);
        for target in targets {
            match target {
                DbTarget::Snapshot(path) if copies.contains(&path) => {}
                DbTarget::Snapshot(path) => match kind_of_copy(&path)? {
                    CopyKind::Snapshot => logs.push(DbTarget::Snapshot(path)),
                    CopyKind::Export(file) => exports.push(file),
                    CopyKind::Dump(dump) => dumps.push(dump),
                    CopyKind::Memory => memories.push(path),
                },
                target @ DbTarget::Postgres(_) => logs.push(target),
            }
        }
        let sequencer_keys = ves::SequencerKeys::read(self.sequencer.read()?).map_err(CliError::input)?;
        Ok(SurveyInput {
            witnesses: Inputs {
                outboxes: found.files,
                not_used: found.not_used,
                not_checked,
                names: found.names,
                logs,
                exports,
                dumps,
                archives: self.services.archives(archives),
                memories,
                services: self.services.services(addresses)?,
                receipts: self.receipts.clone(),
                sequencer_keys,
                peer_keys: false,
            },
            anchors: self.anchors.clone(),
            checkpoints: self.checkpoints.files()?,
            filter: StreamFilter {
                tenant: self.tenant,
                store: self.store,
            },
            families: Families::default(),
        })
    }
}

/// Hashes the log, if it is a file. It goes before the log is opened.
fn log_inputs(db: &DbArg) -> Result<HashedInputs, CliError> {
    let mut hashed = HashedInputs::default();
    if let DbTarget::Snapshot(path) = db.target()? {
        hashed.add_at_once("log", &[path]);
    }
    Ok(hashed)
}

impl WitnessArgs {
    /// Begins to hash the files that are asked. It goes before the log and the outboxes are opened.
    fn hashed(&self, input: &SurveyInput) -> HashedInputs {
        let mut hashed = HashedInputs::default();
        self.add_to(&mut hashed, input);
        hashed
    }

    fn add_to(&self, hashed: &mut HashedInputs, input: &SurveyInput) {
        let witnesses = &input.witnesses;
        let snapshot = |target: &DbTarget| match target {
            DbTarget::Snapshot(path) => Some(path.clone()),
            DbTarget::Postgres(_) => None,
        };
        let with_wals = witnesses.outboxes.iter().flat_map(|outbox| {
            let mut wal = outbox.clone().into_os_string();
            wal.push("-wal");
            let wal = PathBuf::from(wal);
            [Some(outbox.clone()), wal.exists().then_some(wal)]
        });
        hashed.add_at_once("outbox", &with_wals.flatten().collect::<Vec<_>>());
        let logs: Vec<PathBuf> = witnesses.logs.iter().filter_map(snapshot).collect();
        hashed.add_at_once("witness", &logs);
        hashed.add_at_once("witness", &witnesses.memories);
        let exports = witnesses.exports.iter().map(InputFile::shown);
        for other in exports.chain(witnesses.dumps.iter().map(Dump::shown)) {
            hashed.add("witness", other);
        }
        let none = Vec::new();
        let checkpoints = input.checkpoints.as_ref().map_or(&none, |given| &given.files);
        let given = [
            ("outbox-manifest", &self.manifests),
            ("anchors", &self.anchors),
            ("checkpoints", checkpoints),
            ("receipts", &self.receipts),
        ];
        for (role, files) in given {
            files.iter().for_each(|file| hashed.add(role, file));
        }
    }

    /// The witnesses, as words of a command line.
    fn words(&self) -> Vec<OsString> {
        let path = |path: &PathBuf| path.clone().into_os_string();
        let given = [
            (
                "--outbox",
                self.outboxes.iter().map(OsString::from).collect::<Vec<_>>(),
            ),
            ("--outbox-manifest", self.manifests.iter().map(path).collect()),
            (
                "--witness",
                self.witnesses.iter().map(|witness| witness.0.clone()).collect(),
            ),
            ("--anchors", self.anchors.iter().map(path).collect()),
            ("--receipts", self.receipts.iter().map(path).collect()),
            ("--sequencer-public-key", self.sequencer.words()),
            (
                "--tenant",
                self.tenant.iter().map(|id| id.to_string().into()).collect(),
            ),
            (
                "--store",
                self.store.iter().map(|id| id.to_string().into()).collect(),
            ),
        ];
        let words = given.into_iter().flat_map(|(option, values)| {
            let word = move |value| [OsString::from(option), value];
            values.into_iter().flat_map(word)
        });
        let words = words.chain(self.services.words());
        words.chain(self.checkpoints.words()).collect()
    }

    /// The same, to be written down: a URL without its password.
    fn shown_words(&self) -> Vec<String> {
        let words = self.words();
        words
            .iter()
            .map(|word| cli_common::redact_text(&word.to_string_lossy()))
            .collect()
    }
}

impl SurveyArgs {
    /// What the arguments ask to look at.
    pub fn input(&self) -> Result<SurveyInput, CliError> {
        self.witness.input()
    }

    /// Begins to hash the files that are asked. It goes before the log and the outboxes are opened.
    fn hashed(&self, input: &SurveyInput) -> Result<HashedInputs, CliError> {
        let mut hashed = log_inputs(&self.db)?;
        self.witness.add_to(&mut hashed, input);
        Ok(hashed)
    }

    /// The witnesses, as words of a command line.
    pub fn witness_words(&self) -> Vec<OsString> {
        self.witness.words()
    }

    /// The same, to be written down: a URL without its password.
    fn shown_witness_words(&self) -> Vec<String> {
        self.witness.shown_words()
    }

    /// A command of this tool about the same log and witnesses.
    fn command(&self, command: &str) -> CommandLine {
        CommandLine::of_this_tool(command)
            .with(self.db.words())
            .with(self.witness_words())
    }
}

/// Where a report of this tool comes from.
fn made(inputs: HashedInputs) -> Provenance {
    Provenance::now("sequencer-recovery", inputs.finish())
}

/// Of one file that is read.
fn made_from(role: &str, path: &Path) -> Provenance {
    let mut inputs = HashedInputs::default();
    inputs.add(role, path);
    made(inputs)
}

/// Files with the same content as another are one voice: they are read once, and that is said.
fn copies_of_another(targets: &[DbTarget], not_checked: &mut Vec<String>) -> Vec<PathBuf> {
    let file = |target: &DbTarget| match target {
        DbTarget::Snapshot(path) => Some(path.clone()),
        DbTarget::Postgres(_) => None,
    };
    let files: Vec<PathBuf> = targets.iter().filter_map(file).collect();
    let mut all = Vec::new();
    for (kept, copies) in outbox_sync::inputs::same_content(&files) {
        for copy in copies.into_iter().filter(|copy| *copy != kept) {
            not_checked.push(format!(
                "{}: not used: the same content as {}, read once",
                copy.display(),
                kept.display()
            ));
            all.push(copy);
        }
    }
    all
}

/// What kind of copy of a log a path names.
enum CopyKind {
    Snapshot,
    Export(InputFile),
    Dump(Dump),
    /// What `watch` remembers.
    Memory,
}

/// Looks at a copy of a log that is no database. What comes from a pipe is kept first. A file that is nothing of all
/// this is taken for a snapshot, and opening it says what is wrong.
fn kind_of_copy(path: &Path) -> Result<CopyKind, CliError> {
    let unreadable = |e: std::io::Error| CliError::input(format!("{}: {e}", path.display()));
    if let Some(dump) = Dump::in_folder(path) {
        return Ok(CopyKind::Dump(dump));
    }
    if watch_memory::is_memory(path) {
        return Ok(CopyKind::Memory);
    }
    // That a file is missing or a folder is said by who reads it.
    let Ok(file) = InputFile::new(path) else {
        return Ok(CopyKind::Snapshot);
    };
    if let Some(dump) = Dump::recognise(&file).map_err(unreadable)? {
        return Ok(CopyKind::Dump(dump));
    }
    if files::begins_with(file.path(), b"{") {
        return Ok(CopyKind::Export(file));
    }
    if file.path() != path {
        return Err(CliError::input(format!(
            "{}: what comes from this pipe is neither a log export nor a dump",
            path.display()
        )));
    }
    Ok(CopyKind::Snapshot)
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
    /// How long to wait for the locks that the sequencer holds: 90 (seconds), 90s, 15m, 1h
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = cli_common::duration)]
    lock_timeout: Duration,
}

impl LockArgs {
    /// As a duration.
    pub fn timeout(&self) -> Duration {
        self.lock_timeout
    }
}

/// Reads a signing key of one algorithm or of both.
fn read_signer(path: &Path) -> Result<ves::Signer, CliError> {
    let (ed25519, ml_dsa_65) = read_signing_parts(path)?;
    ves::Signer::of(ed25519, ml_dsa_65.as_ref())
        .ok_or_else(|| CliError::input(format!("{}: holds no seed", path.display())))
}

/// Reads signing keys, each a file or a version with its file (`0=FILE`).
fn read_signing_keys(values: &[OsString]) -> Result<SigningKeys, CliError> {
    let mut keys = SigningKeys::default();
    for value in values {
        let (version, path) = match value.to_str().map(split_version) {
            Some((Some(version), rest)) => (Some(version), PathBuf::from(rest)),
            _ => (None, PathBuf::from(value)),
        };
        if !keys.add(version, read_signer(&path)?) {
            return Err(twice("--sequencer-key", version, "VERSION=FILE"));
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
    runtime()?.block_on(work)
}

/// A runtime of this thread.
fn runtime() -> Result<tokio::runtime::Runtime, CliError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::io("the runtime cannot be started").with_source(e))
}

/// As [`block_on`], for work that only reads: it is begun again a few times where a server in recovery had to replay
/// what it stood in the way of.
fn read_on<T>(cancel: &Cancel, work: impl AsyncFn() -> Result<T, CliError>) -> Result<T, CliError> {
    cli_common::again(cancel, || block_on(work()))
}

/// A token that Ctrl-C and SIGTERM set.
fn cancel_on_signals() -> Result<Cancel, CliError> {
    Cancel::on_signals().map_err(|e| CliError::io("signals cannot be watched").with_source(e))
}

async fn open(db: &DbArg, cancel: &Cancel) -> Result<(Log, String), CliError> {
    let target = db.target()?;
    let options = OpenOptions::stopped_by(cancel);
    let log = Log::open_with(&target, &options).await?;
    Ok((log, target.to_string()))
}

/// `--while-replaying`.
#[derive(Debug, Args)]
pub struct ReplayingArg {
    /// Go on although the server is in recovery and still replays WAL: what is missing may still come by itself
    #[arg(long)]
    while_replaying: bool,
}

impl ReplayingArg {
    /// Refuses a log that may still change by itself.
    fn check(&self, place: Option<&Place>, whose: &str) -> Result<(), CliError> {
        if self.while_replaying || place.and_then(Place::still_replaying).is_none() {
            return Ok(());
        }
        let source = match place {
            Some(Place::Snapshot(_)) => "was taken from a server that was in recovery and still replayed WAL",
            _ => "is on a server in recovery that still replays WAL",
        };
        Err(
            CliError::drift(format!("{whose} {source}: what is missing may still come by itself")).with_hint(
                "wait until it has replayed what it should and promote it (SELECT pg_promote()) or pause it (SELECT \
                 pg_wal_replay_pause()), or give --while-replaying to go on all the same",
            ),
        )
    }
}

/// Refuses to write to a server in recovery, which would refuse each statement.
fn check_takes_writes(place: &Place) -> Result<(), CliError> {
    let Some(server) = place.server().filter(|server| server.recovery.is_some()) else {
        return Ok(());
    };
    let replays = match place.still_replaying() {
        Some(_) => "still replays WAL",
        None => "its replay is paused",
    };
    Err(CliError::drift(format!(
        "the server of database {} is in recovery ({replays}) and takes no writes",
        server.database
    ))
    .with_hint(
        "wait until it has replayed what it should, then promote it (SELECT pg_promote()), or give the primary's URL; nothing \
         was changed",
    ))
}

/// Where the log is, as a line of NDJSON.
fn write_place<W: std::io::Write>(lines: &mut Lines<'_, W>, place: &Place) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Where<'a> {
        place: &'a Place,
    }
    lines.one("place", Where { place })
}

/// So many witnesses that could not be read are named on stderr; the report has all of them.
const MAX_TOLD: usize = 12;

/// Says on stderr which witnesses could not be read, and gives the exit status that it means.
fn report_incomplete(incomplete: &[Incomplete], global: &GlobalArgs) -> ExitStatus {
    for one in incomplete.iter().take(MAX_TOLD) {
        let told = one.reason.contains(&one.witness);
        let message = if told {
            one.reason.clone()
        } else {
            format!("{}: {}", one.witness, one.reason)
        };
        CliError::input(message)
            .with_hint("the report is made without what could not be read of this witness")
            .report(global);
    }
    if let Some(more @ 1..) = incomplete.len().checked_sub(MAX_TOLD) {
        CliError::input(format!(
            "{more} more witness(es) could not be read: the report names them"
        ))
        .report(global);
    }
    if incomplete.is_empty() {
        ExitStatus::OK
    } else {
        ExitStatus::FAILED
    }
}

/// A number or a dash.
fn or_dash(value: Option<u64>) -> String {
    value.map_or_else(|| "-".to_owned(), |v| v.to_string())
}

#[cfg(test)]
mod tests;

/// A name for a file that is not there yet: `plan.ndjson`, `plan-2.ndjson` and so on.
fn free_name(stem: &str, ending: &str) -> String {
    let names = (1..1000).map(|n| match n {
        1 => format!("{stem}.{ending}"),
        n => format!("{stem}-{n}.{ending}"),
    });
    let mut free = names.filter(|name| !Path::new(name).exists());
    free.next().unwrap_or_else(|| format!("{stem}-new.{ending}"))
}
