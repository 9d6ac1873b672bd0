//! The survey: the log in one consistent view, all witnesses heard, anchors grouped by stream. Everything
//! that `audit`, `plan` and `counters` look at.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use anchor_verify::{AnchorView, AnchoredBatch, AnchorsFile, ConflictKind};
use checkpoints::{CheckpointFiles, History};
use cli_common::{Cancel, Progress};
use event_log::{Damage, StreamFilter, StreamState, View};
use ves::{AgentId, KeyRegistry, StreamKey, TenantId};

use crate::damage;
use crate::error::RecoveryError;
use crate::finding::{Code, Finding};
use crate::stream::checkpointed::{self, Checkpointed};
use crate::stream::examine::{ExamineInput, Examined, examine};
use crate::stream::family::Families;
use crate::stream::unheard::{self, Seen, Unheard};
use crate::witness::Incomplete;
use crate::witness::evidence::{Holders, StreamEvidence};
use crate::witness::{Asked, Collected, HeardKind, Inputs, collect};

/// What to look at.
#[derive(Debug, Clone, Default)]
pub struct SurveyInput {
    /// Agents' databases, receipts and the sequencer's public key.
    pub witnesses: Inputs,
    /// Anchors files.
    pub anchors: Vec<PathBuf>,
    /// Files of checkpoints, and whose signatures count.
    pub checkpoints: Option<CheckpointFiles>,
    /// Which streams.
    pub filter: StreamFilter,
    /// Which sequences `audit` and `counters` look at. All witnesses speak of the VES log.
    pub families: Families,
}

/// See the module.
pub struct Survey {
    /// The log's streams, and those that only witnesses know, by key.
    pub streams: Vec<StreamState>,
    /// The agents' keys that the log has.
    pub keys: KeyRegistry,
    /// The evidence.
    pub collected: Collected,
    /// The anchors, if a file was given.
    pub anchors: Option<AnchorView>,
    /// The chain that they are on, if the file says so.
    pub chain_id: Option<u64>,
    /// The checkpoints, if any were given.
    pub checkpoints: Option<History>,
    /// What is wrong with the inputs as such.
    pub findings: Vec<Finding>,
    /// What is damaged in the database under the log.
    pub damage: Damage,
    /// Anchors files were given, and there is no anchor in them.
    no_anchors: bool,
    empty: StreamEvidence,
}

impl Survey {
    /// Looks at everything once.
    ///
    /// # Errors
    /// What the log's database says, an anchors file that cannot be used, [`RecoveryError::Cancelled`].
    pub async fn take(
        view: &mut View,
        input: &SurveyInput,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Self, RecoveryError> {
        // Before the long work: a wrong anchors file should not cost an hour.
        let file = read_anchors(&input.anchors)?;
        let checkpoints = input.checkpoints.as_ref().map(read_checkpoints).transpose()?;
        // Before anything is asked: an index that lacks rows is not asked any more after this.
        progress.start("comparing indexes with their tables", None);
        let damage = view.look_for_damage().await?;
        progress.finish();
        cancel.check()?;
        let streams = view.streams(&input.filter).await?;
        let keys = view.log_keys(input.filter.tenant).await?;
        let mut findings = damage::findings(&damage);
        let of_keys = keys.unreadable.iter().map(|key| &key.error);
        findings.extend(
            (streams.unreadable.iter().chain(of_keys))
                .map(|e| Finding::new(Code::EventUnreadable, e.to_string())),
        );
        let mut streams = streams.rows;
        let keys = keys.registry();
        let mut known: BTreeSet<StreamKey> = streams.iter().map(|s| s.stream).collect();
        let named = named(&known, file.as_ref(), checkpoints.as_ref());
        let asked = Asked {
            keys: &keys,
            filter: &input.filter,
            inputs: &input.witnesses,
            streams: &named,
            cancel,
        };
        let collected = collect(view, asked, progress).await?;
        let heard: Vec<StreamKey> = collected.streams.keys().copied().collect();
        let all: Vec<StreamKey> = known.iter().chain(&heard).copied().collect();
        let anchors = file.as_ref().map(|file| AnchorView::of(file, &all));
        let anchored: Vec<StreamKey> = anchors
            .iter()
            .flat_map(|a| a.streams.iter().filter_map(|s| s.stream))
            .collect();
        let signed: Vec<StreamKey> = checkpoints
            .iter()
            .flat_map(|history| history.streams.iter().map(|of| of.stream))
            .collect();
        // A stream that was lost whole has keys, sisters, anchors or checkpoints. One that has nothing of it may belong to
        // another sequencer, and must not get a counter here.
        let tenants: BTreeSet<TenantId> = keys
            .iter()
            .map(|key| key.tenant_id)
            .chain(known.iter().chain(&anchored).chain(&signed).map(|s| s.tenant_id))
            .collect();
        for stream in heard.into_iter().chain(anchored).chain(signed) {
            if !input.filter.admits(&stream) || !known.insert(stream) {
                continue;
            }
            if tenants.contains(&stream.tenant_id) {
                streams.push(absent(stream));
            } else {
                let message = format!("a witness speaks of stream {stream}, whose tenant is not known here");
                findings.push(Finding::new(Code::WitnessForeign, message).stream(stream));
            }
        }
        streams.sort_by_key(|s| s.stream);
        if let Some(anchors) = &anchors {
            findings.extend(judge_anchors(anchors, &input.filter));
        }
        if let Some(history) = &checkpoints {
            findings.extend(checkpointed::judge(history, &input.filter));
        }
        let no_anchors = file.as_ref().is_some_and(|file| file.anchors.is_empty());
        if no_anchors {
            let files: Vec<String> = input
                .anchors
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            let message = format!("{} holds no anchor", files.join(", "));
            findings.push(Finding::new(Code::AnchorNone, message));
        }
        let chain_id = file.and_then(|f| f.chain_id);
        Ok(Self {
            streams,
            keys,
            collected,
            anchors,
            chain_id,
            checkpoints,
            findings,
            damage,
            no_anchors,
            empty: StreamEvidence::default(),
        })
    }

    /// Says so if there is no stream at all, or none that was asked for.
    pub fn nothing(&self, view: &View, filter: &StreamFilter) -> Option<Finding> {
        self.streams
            .is_empty()
            .then(|| Finding::new(Code::LogEmpty, nothing(view, filter)))
    }

    /// The evidence of a stream.
    pub fn evidence(&self, stream: &StreamKey) -> &StreamEvidence {
        self.collected.streams.get(stream).unwrap_or(&self.empty)
    }

    /// The evidence of a stream, to be judged again with keys that were accepted.
    pub(crate) fn evidence_and_holders(&mut self, stream: &StreamKey) -> (&mut StreamEvidence, &Holders) {
        let Collected { streams, holders, .. } = &mut self.collected;
        (streams.entry(*stream).or_default(), holders)
    }

    /// The anchored batches of a stream, by position.
    pub fn anchored(&self, stream: &StreamKey) -> Vec<AnchoredBatch> {
        let anchors = self.anchors.as_ref().and_then(|a| a.stream(stream));
        anchors.map(|a| a.batches.clone()).unwrap_or_default()
    }

    /// What checkpoints say of a stream.
    pub fn checkpointed(&self, stream: &StreamKey, anchored: &[AnchoredBatch]) -> Checkpointed {
        let given = self.checkpoints.iter().flat_map(|history| history.of(stream));
        Checkpointed::new(&given.collect::<Vec<_>>(), anchored)
    }

    /// Examines one of the streams.
    ///
    /// # Errors
    /// See [`examine`].
    pub async fn examine(
        &self,
        view: &mut View,
        state: &StreamState,
        input: &SurveyInput,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<Examined, RecoveryError> {
        let examine_input = ExamineInput {
            keys: &self.keys,
            sequencer_keys: &input.witnesses.sequencer_keys,
            anchors_given: self.anchors.is_some(),
            chain_id: self.chain_id,
            progress,
            cancel,
        };
        let evidence = self.evidence(&state.stream);
        let anchored = self.anchored(&state.stream);
        let checkpointed = self.checkpointed(&state.stream, &anchored);
        examine(
            view,
            state.clone(),
            evidence,
            anchored,
            checkpointed,
            &examine_input,
        )
        .await
    }

    /// The agents whose outboxes were heard.
    fn heard(&self) -> BTreeSet<AgentId> {
        let agents = self.collected.heard.iter();
        agents.filter_map(|h| h.agent_id.as_ref()?.parse().ok()).collect()
    }

    /// Which of these agents' outboxes were not heard.
    pub fn not_heard(&self, agents: &BTreeMap<AgentId, u64>) -> Vec<AgentId> {
        let heard = self.heard();
        agents
            .keys()
            .filter(|agent| !heard.contains(agent))
            .copied()
            .collect()
    }

    /// Which agents with events or keys in the log no outbox speaks for.
    pub fn unheard(&self, seen: &Seen, filter: &StreamFilter) -> Vec<Unheard> {
        unheard::unheard(seen, &self.keys, &self.heard(), filter)
    }

    /// The witnesses that could not be read, or not to their end.
    pub fn incomplete(&self) -> Vec<Incomplete> {
        crate::witness::incomplete(&self.collected.heard)
    }

    /// What was not looked at at all.
    pub fn not_checked(&self) -> Vec<String> {
        let mut all = self.collected.not_checked.clone();
        all.extend(damage::not_checked(&self.damage));
        if self.anchors.is_none() {
            all.push("the chain: no anchors file was given (--anchors)".into());
        } else if self.no_anchors {
            all.push("the chain: no anchor is in what was given with --anchors".into());
        } else {
            all.push(
                "whether the anchors' blocks are of the chain that you trust: the anchors file was taken at its word"
                    .into(),
            );
        }
        if !self.collected.heard.iter().any(|h| h.kind == HeardKind::Outbox) {
            all.push("agents' outboxes: none was given (--outbox)".into());
        }
        all
    }
}

/// The streams that the log, anchors and checkpoints name.
fn named(
    known: &BTreeSet<StreamKey>,
    anchors: Option<&AnchorsFile>,
    checkpoints: Option<&History>,
) -> Vec<StreamKey> {
    let known: Vec<StreamKey> = known.iter().copied().collect();
    let anchors = anchors.map(|file| anchor_verify::group(&file.anchors, &known));
    let anchored = anchors
        .iter()
        .flat_map(|a| a.streams.iter().filter_map(|s| s.stream));
    let signed = checkpoints
        .iter()
        .flat_map(|history| history.streams.iter().map(|of| of.stream));
    known.iter().copied().chain(anchored).chain(signed).collect()
}

/// A stream that only witnesses know.
fn absent(stream: StreamKey) -> StreamState {
    StreamState {
        stream,
        event_count: 0,
        first: None,
        last: None,
        misnumbered: 0,
        counter: None,
        commitment_count: 0,
        first_committed: None,
        last_committed: None,
    }
}

/// What is to be said where nothing was found: no pass.
pub(crate) fn nothing(view: &View, filter: &StreamFilter) -> String {
    let asked_for = [
        filter.tenant.map(|tenant| format!("tenant {tenant}")),
        filter.store.map(|store| format!("store {store}")),
    ];
    let asked_for: Vec<String> = asked_for.into_iter().flatten().collect();
    let what = if asked_for.is_empty() {
        "the log is empty: it has no stream, and no witness that was given knows of one".to_owned()
    } else {
        format!(
            "the log has no stream of {}, and no witness that was given knows of one",
            asked_for.join(" and ")
        )
    };
    format!("{what}. Is this the right log ({})?", view.place())
}

fn read_checkpoints(files: &CheckpointFiles) -> Result<History, RecoveryError> {
    files
        .read()
        .map_err(|(path, source)| RecoveryError::Io { path, source })
}

/// Reads anchors files together; nothing if none is given.
///
/// # Errors
/// One that cannot be used, or that contradicts another.
pub fn read_anchors(paths: &[PathBuf]) -> Result<Option<AnchorsFile>, RecoveryError> {
    if paths.is_empty() {
        return Ok(None);
    }
    let mut files = Vec::new();
    for path in paths {
        let file = AnchorsFile::read(path).map_err(|e| RecoveryError::Anchors {
            path: path.clone(),
            what: e.kind.to_string(),
        })?;
        files.push((path.clone(), file));
    }
    let merged = AnchorsFile::merge(files).map_err(|e| RecoveryError::Anchors {
        path: e.path.clone(),
        what: e.kind.to_string(),
    })?;
    Ok(Some(merged))
}

/// What the anchors say against each other, and which of them name no known stream.
pub(crate) fn judge_anchors(anchors: &AnchorView, filter: &StreamFilter) -> Vec<Finding> {
    let mut findings = Vec::new();
    for conflict in &anchors.conflicts {
        let (a, b) = (&conflict.first, &conflict.second);
        if a.stream.or(b.stream).is_some_and(|s| !filter.admits(&s)) {
            continue;
        }
        let (code, what) = match conflict.kind {
            ConflictKind::BatchId => (
                Code::AnchorConflict,
                "are anchored under one id with different contents",
            ),
            ConflictKind::Range => (Code::AnchorConflict, "anchor one range with two roots"),
            ConflictKind::Overlap => (Code::AnchorOverlap, "overlap"),
        };
        let message = format!(
            "batches {} ({}-{}) and {} ({}-{}) {what}; neither is used as a proof",
            a.batch_id, a.sequence_start, a.sequence_end, b.batch_id, b.sequence_start, b.sequence_end
        );
        let mut finding = Finding::new(code, message);
        if let Some(stream) = a.stream.or(b.stream) {
            let from = a.sequence_start.min(b.sequence_start);
            finding = finding
                .stream(stream)
                .range(from, a.sequence_end.max(b.sequence_end));
        }
        findings.push(finding);
    }
    for unresolved in anchors.unresolved() {
        let message = format!(
            "{} anchored batch(es) of the stream that SetRegistry calls {} are of no stream known here",
            unresolved.batches.len(),
            unresolved.tenant_store_key
        );
        findings.push(Finding::new(Code::AnchorUnresolved, message).count(unresolved.batches.len() as u64));
    }
    findings
}
