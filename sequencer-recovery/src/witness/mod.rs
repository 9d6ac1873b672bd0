//! The witnesses: outboxes, other logs, receipts. The first room. Each is read once, and of what it has those rows are
//! kept that the log lacks: [`evidence`].

mod archives;
mod damaged;
mod dump;
pub mod evidence;
pub mod flaw;
mod logs;
mod memory;
mod names;
mod outboxes;
mod pulled;
mod receipts;
pub mod rejection;
mod services;
mod unpack;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use cli_common::files::InputFile;
use cli_common::{Cancel, DbTarget, Progress};
use event_log::{FoundEvent, Place, StreamFilter, UnreadableEvent, View};
use outbox_sync::NotUsed;
use serde::{Deserialize, Serialize};
use ves::{CommandId, EventId, KeyRegistry, SequencerKeys, SigningKey, StreamKey};

use crate::error::RecoveryError;
use crate::finding::{Code, Finding};
use crate::witness::evidence::{HolderId, Holders, RefusedRow, StreamEvidence};

pub use archives::Archives;
pub use dump::Dump;
pub use pulled::pulled_entry;
pub use services::Services;
pub use unpack::unpacked;

use archives::read_archive;
use damaged::DamagedRows;
use dump::read_dump;
use logs::{read_export, read_log};
use memory::read_memory;
use outboxes::read_outboxes;
use receipts::read_receipts;
use services::read_service;

/// Where to look for witnesses.
#[derive(Debug, Clone, Default)]
pub struct Inputs {
    /// Agents' databases.
    pub outboxes: Vec<PathBuf>,
    /// What lay beside them and is not used; of that, what may be an outbox is a witness that could not be read.
    pub not_used: Vec<NotUsed>,
    /// What the agents' databases may lack.
    pub not_checked: Vec<String>,
    /// What manifests call agents' databases.
    pub names: BTreeMap<PathBuf, String>,
    /// Other copies of the log: a replica, the old primary's volume, a dump restored beside, a snapshot.
    pub logs: Vec<DbTarget>,
    /// Log exports (`docs/log-export.md`).
    pub exports: Vec<InputFile>,
    /// Dumps by `pg_dump`.
    pub dumps: Vec<Dump>,
    /// Archives of events.
    pub archives: Archives,
    /// What `watch` remembers.
    pub memories: Vec<PathBuf>,
    /// Other sequencers' gRPC services.
    pub services: Services,
    /// Receipts saved from pushes (NDJSON).
    pub receipts: Vec<PathBuf>,
    /// The sequencer's public keys; without them no receipt's signature is checked.
    pub sequencer_keys: SequencerKeys,
    /// Whether outboxes are asked for their peers' keys.
    pub peer_keys: bool,
}

/// What became of one input.
#[derive(Debug, Clone, Serialize)]
pub struct Heard {
    /// The file.
    pub path: String,
    /// What a manifest calls it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it is.
    pub kind: HeardKind,
    /// As which holder it stands in the evidence.
    #[serde(skip)]
    pub holder: Option<HolderId>,
    /// What a dump says of itself: its format, the server's version, when it was made. Of an archive: its manifest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub made: Option<String>,
    /// Where a log on a server was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The agent whose outbox it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// The outbox's schema.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shape: Option<String>,
    /// Rows read.
    pub rows: u64,
    /// Events among them that the log lacks and that verify (or whose key is not known).
    pub missing_held: u64,
    /// Events that the log lacks and nobody else who was heard holds.
    #[serde(skip_serializing_if = "is_zero")]
    pub held_alone: u64,
    /// Rows without a usable signature: pointers only.
    pub unsigned: u64,
    /// Events of the older outbox shape whose signed rendering was found again.
    #[serde(skip_serializing_if = "is_zero")]
    pub renderings_found: u64,
    /// Rows that are not used, since they do not verify or cannot be read.
    pub refused: u64,
    /// The first of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refusals: Vec<RefusedRow>,
    /// Why it could not be read, or not to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What a witness is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum HeardKind {
    /// An agent's outbox.
    Outbox,
    /// Another log: a server or a snapshot.
    Log,
    /// A log export.
    Export,
    /// What pg_dump wrote.
    Dump,
    /// An archive of events.
    Archive,
    /// Another sequencer's gRPC service.
    Service,
    /// Receipts that an agent saved.
    Receipts,
    /// What `watch` remembered of the log.
    Watch,
}

impl HeardKind {
    /// Its name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Outbox => "outbox",
            Self::Log => "log",
            Self::Export => "export",
            Self::Dump => "dump",
            Self::Archive => "archive",
            Self::Service => "service",
            Self::Receipts => "receipts",
            Self::Watch => "watch",
        }
    }
}

/// All evidence, by stream.
#[derive(Debug, Default)]
pub struct Collected {
    /// By stream.
    pub streams: BTreeMap<StreamKey, StreamEvidence>,
    /// Who was heard.
    pub holders: Holders,
    /// The inputs, in the order given.
    pub heard: Vec<Heard>,
    /// What is wrong with the inputs.
    pub findings: Vec<Finding>,
    /// What of the inputs was not checked.
    pub not_checked: Vec<String>,
    /// Keys that outboxes fetched of their peers, if they were asked for.
    pub peer_keys: Vec<(HolderId, SigningKey)>,
    damaged: DamagedRows,
}

/// What a log has of the events that it was asked for: where each is, or a row that does not say where.
type InLog = HashMap<EventId, Result<FoundEvent, UnreadableEvent>>;

/// Rows are looked up in the log in groups of this many.
const GROUP: usize = 1000;

/// Two copies of the log are compared in windows of this many positions.
const WINDOW: u64 = 10_000;

/// So many refused rows are listed for an input; all are counted.
const LISTED_REFUSALS: usize = 100;

/// What is asked of every witness.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The keys that the log knows.
    pub keys: &'a KeyRegistry,
    /// Which streams.
    pub filter: &'a StreamFilter,
    /// The witnesses.
    pub inputs: &'a Inputs,
    /// Streams that the log, anchors or checkpoints name: who lists none is asked for these.
    pub streams: &'a [StreamKey],
    /// Whether to go on.
    pub cancel: &'a Cancel,
}

/// Reads all inputs. One that cannot be read is a finding and does not stop the others.
///
/// # Errors
/// What the log's database says; [`RecoveryError::Cancelled`].
pub async fn collect(
    view: &mut View,
    asked: Asked<'_>,
    progress: &dyn Progress,
) -> Result<Collected, RecoveryError> {
    let Asked { inputs, cancel, .. } = asked;
    let mut collected = Collected::default();
    read_outboxes(view, asked, progress, &mut collected).await?;
    for file in inputs.not_used.iter().filter(|file| file.may_be_outbox) {
        let heard = Heard::new(Path::new(&file.path), HeardKind::Outbox);
        collected.unreadable(heard, format!("{}: {}", file.path, file.why));
    }
    let others: Vec<NotUsed> = inputs
        .not_used
        .iter()
        .filter(|file| !file.may_be_outbox)
        .cloned()
        .collect();
    collected
        .not_checked
        .extend(outbox_sync::inputs::describe(&others));
    collected.not_checked.extend(inputs.not_checked.iter().cloned());
    for target in &inputs.logs {
        cancel.check()?;
        read_log(view, asked, target, &mut collected).await?;
    }
    for file in &inputs.exports {
        cancel.check()?;
        read_export(view, asked, file, &mut collected).await?;
    }
    for dump in &inputs.dumps {
        cancel.check()?;
        progress.start("reading a dump", None);
        read_dump(view, asked, dump, &mut collected).await?;
        progress.finish();
    }
    for address in &inputs.archives.addresses {
        cancel.check()?;
        progress.start("copying an archive", None);
        read_archive(view, asked, address, &mut collected).await?;
        progress.finish();
    }
    for path in &inputs.memories {
        read_memory(path, asked.filter, &mut collected);
    }
    let asked_for = streams_to_ask(asked, &collected);
    for address in &inputs.services.addresses {
        progress.start("asking a service", None);
        read_service(view, asked, address, &asked_for, &mut collected).await?;
        progress.finish();
    }
    for path in &inputs.receipts {
        read_receipts(path, asked.filter, inputs, &mut collected);
    }
    collected.tell_damaged();
    collected.note_alone();
    for (stream, evidence) in &mut collected.streams {
        let commands: BTreeSet<CommandId> = evidence
            .candidates
            .iter()
            .filter_map(|c| c.event.command_id)
            .collect();
        let commands: Vec<CommandId> = commands.into_iter().collect();
        for commands in commands.chunks(GROUP) {
            evidence
                .remembered
                .extend(view.remembered_commands(stream, commands).await?);
        }
    }
    Ok(collected)
}

/// The streams to ask a service for: all that anybody named.
fn streams_to_ask(asked: Asked<'_>, collected: &Collected) -> Vec<StreamKey> {
    let StreamFilter { tenant, store } = *asked.filter;
    let named = tenant
        .zip(store)
        .map(|(tenant, store)| StreamKey::new(tenant, store));
    let all = asked.streams.iter().chain(collected.streams.keys()).copied();
    let all: BTreeSet<StreamKey> = all
        .chain(named)
        .filter(|stream| asked.filter.admits(stream))
        .collect();
    all.into_iter().collect()
}

/// A witness that was not heard, or not to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incomplete {
    /// The witness.
    pub witness: String,
    /// Why.
    pub reason: String,
}

/// Those that could not be read, or not to their end.
pub(crate) fn incomplete(heard: &[Heard]) -> Vec<Incomplete> {
    let flawed = |heard: &Heard| {
        Some(Incomplete {
            witness: heard.path.clone(),
            reason: heard.error.clone()?,
        })
    };
    heard.iter().filter_map(flawed).collect()
}

impl Heard {
    fn new(path: &Path, kind: HeardKind) -> Self {
        Self {
            path: path.display().to_string(),
            name: None,
            kind,
            holder: None,
            made: None,
            place: None,
            agent_id: None,
            shape: None,
            rows: 0,
            missing_held: 0,
            held_alone: 0,
            unsigned: 0,
            renderings_found: 0,
            refused: 0,
            refusals: Vec::new(),
            error: None,
        }
    }

    fn refuse(
        &mut self,
        event_id: Option<EventId>,
        place: String,
        reason: String,
        evidence: Option<&mut StreamEvidence>,
    ) {
        self.refused += 1;
        let refused = RefusedRow {
            event_id,
            place,
            reason,
        };
        if let Some(evidence) = evidence {
            evidence.refused += 1;
        }
        if self.refusals.len() < LISTED_REFUSALS {
            self.refusals.push(refused);
        }
    }
}

impl Collected {
    /// Takes what was heard of a witness to its end; what is said of its rows that were refused.
    fn take(&mut self, heard: Heard, of_refused: &str) {
        if heard.refused > 0 {
            let message = format!("{}: {} {of_refused}", heard.path, heard.refused);
            self.findings
                .push(Finding::new(Code::WitnessRefused, message).count(heard.refused));
        }
        self.heard.push(heard);
    }

    /// Notes what each outbox holds that nobody else does.
    fn note_alone(&mut self) {
        let mut alone: HashMap<HolderId, u64> = HashMap::new();
        for candidate in self.streams.values().flat_map(|evidence| &evidence.candidates) {
            if let [holder] = candidate.holders[..] {
                *alone.entry(holder).or_default() += 1;
            }
        }
        for heard in &mut self.heard {
            let held = heard.holder.and_then(|holder| alone.get(&holder));
            heard.held_alone = held.copied().unwrap_or(0);
        }
    }

    /// Says that a witness has nothing of what was asked for.
    fn holds_nothing(&mut self, path: &str) {
        let message = format!("{path} holds no event of what was asked for: is it the right one?");
        self.findings.push(Finding::new(Code::WitnessEmpty, message));
    }

    fn unreadable(&mut self, mut heard: Heard, message: String) {
        self.not_checked
            .push(format!("{}: could not be read", heard.path));
        self.findings
            .push(Finding::new(Code::WitnessUnreadable, message.clone()));
        heard.error = Some(message);
        self.heard.push(heard);
    }
}
