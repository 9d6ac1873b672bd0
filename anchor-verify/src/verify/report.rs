//! What a verification says. The JSON form is described in `docs/verify.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use cli_common::provenance::Provenance;
use cli_common::{ExitStatus, Next};
use event_log::Place;
use serde::{Deserialize, Serialize};
use ves::{BatchId, EventId, Hash32, StreamKey, Timestamp};

use crate::anchor::{AnchorKind, ContractAddress};
use crate::chain::Completeness;
use crate::verify::VerifyError;

/// The form that this version writes and reads.
pub const SCHEMA: &str = "verify-report/1";

/// A verdict. From the strongest to the weakest; there is no bare "OK".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Verdict {
    /// The root of the events is anchored in a block that is tied to the one that the auditor trusts.
    #[serde(rename = "PROVEN")]
    Proven,
    /// The root of the events is that of the given anchors, whose block is not tied to a trusted one.
    #[serde(rename = "MATCHES ANCHORS")]
    MatchesAnchors,
    /// The root of the events is that of the log's own commitment, and of no anchor.
    #[serde(rename = "MATCHES DATABASE")]
    MatchesDatabase,
    /// It could not be judged.
    #[serde(rename = "NOT CHECKED")]
    NotChecked,
    /// Something that was checked does not hold.
    #[serde(rename = "FAILED")]
    Failed,
}

impl Verdict {
    /// The words that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::Proven => "PROVEN",
            Verdict::MatchesAnchors => "MATCHES ANCHORS",
            Verdict::MatchesDatabase => "MATCHES DATABASE",
            Verdict::NotChecked => "NOT CHECKED",
            Verdict::Failed => "FAILED",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Something that does not hold, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// A stable dotted code, as `docs/findings.md` lists them.
    pub code: String,
    /// The number of the event, if it is one event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence: Option<u64>,
    /// The event, if it is one event and it could be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event_id: Option<EventId>,
    /// What does not hold, as a sentence.
    pub what: String,
}

impl Failure {
    pub(crate) fn new(code: &str, what: impl Into<String>) -> Self {
        Self {
            code: code.to_owned(),
            sequence: None,
            event_id: None,
            what: what.into(),
        }
    }

    pub(crate) fn at(mut self, sequence: u64, event_id: Option<EventId>) -> Self {
        (self.sequence, self.event_id) = (Some(sequence), event_id);
        self
    }
}

/// What was not checked, how often, and where first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Skipped {
    /// What, and why.
    pub what: String,
    /// How often.
    pub count: u64,
    /// The first events that it concerns.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sequences: Vec<u64>,
}

/// Whether a unit of work is a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UnitKind {
    /// A range that a commitment or an anchor names.
    Batch,
    /// A range that is in no batch: before the first, between two, or after the last.
    Unbatched,
}

/// An anchor of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorRef {
    /// The batch id that it names.
    pub batch_id: BatchId,
    /// Which contract's event it was.
    pub kind: AnchorKind,
    /// The contract that wrote the log.
    pub contract: ContractAddress,
    /// The block's number.
    pub block_number: u64,
    /// The log's number in the block.
    pub log_index: u64,
    /// The transaction that wrote the log; nothing proves it.
    pub transaction_hash: Hash32,
    /// The Merkle root that it names.
    pub events_root: Hash32,
    /// The state root that it names.
    pub state_root: Hash32,
    /// `trusted`, `untied` or `failed`.
    pub standing: StandingName,
    /// What the standing rests on, or what it lacks.
    pub why: String,
}

/// The name of a [`crate::AnchorStanding`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StandingName {
    /// Tied to the trusted block.
    Trusted,
    /// Not tied to it.
    Untied,
    /// Contradicted by its own proof.
    Failed,
}

/// One batch, or one range that is in no batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UnitReport {
    /// Its place in the plan, counted from 0.
    pub unit: u64,
    /// Whether it is a batch.
    pub kind: UnitKind,
    /// Which stream it is of.
    pub stream: StreamKey,
    /// The first number.
    pub sequence_start: u64,
    /// The last number (inclusive).
    pub sequence_end: u64,
    /// The numbers that the input has of it, if it has a part of the batch only: the verdict is on these.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub part: Option<(u64, u64)>,
    /// What came out of it.
    pub verdict: Verdict,
    /// The ids under which it was committed or anchored.
    pub batch_ids: Vec<BatchId>,
    /// Whether the log has a commitment for it.
    pub committed: bool,
    /// How many events of it are there and readable.
    pub events: u64,
    /// How many are missing.
    pub missing: u64,
    /// The root of the events, if all are there.
    pub root: Option<Hash32>,
    /// The anchors, the first of them.
    pub anchors: Vec<AnchorRef>,
    /// How many failures there are.
    pub failure_count: u64,
    /// The first of them.
    pub failures: Vec<Failure>,
    /// What was not checked in it.
    pub not_checked: Vec<Skipped>,
}

impl UnitReport {
    /// Why a batch that matches something is not PROVEN.
    pub fn why_not_proven(&self) -> Option<String> {
        match self.verdict {
            Verdict::MatchesAnchors => {
                let matching = self.anchors.iter().filter(|a| Some(a.events_root) == self.root);
                let whys: BTreeSet<&str> = matching.map(|anchor| anchor.why.as_str()).collect();
                Some(whys.into_iter().collect::<Vec<_>>().join("; "))
            }
            Verdict::MatchesDatabase => Some("no anchor of it was given".to_owned()),
            _ => None,
        }
    }
}

/// How many batches have which verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// PROVEN.
    pub proven: u64,
    /// MATCHES ANCHORS.
    pub matches_anchors: u64,
    /// MATCHES DATABASE.
    pub matches_database: u64,
    /// NOT CHECKED.
    pub not_checked: u64,
    /// FAILED.
    pub failed: u64,
}

impl Counts {
    fn add(&mut self, verdict: Verdict) {
        *match verdict {
            Verdict::Proven => &mut self.proven,
            Verdict::MatchesAnchors => &mut self.matches_anchors,
            Verdict::MatchesDatabase => &mut self.matches_database,
            Verdict::NotChecked => &mut self.not_checked,
            Verdict::Failed => &mut self.failed,
        } += 1;
    }
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifiedStream {
    /// Which stream it is of.
    pub stream: StreamKey,
    /// The numbers that the input holds, where it is a part of a log.
    pub range: Option<(u64, u64)>,
    /// How many events the input has.
    pub events: u64,
    /// The lowest number.
    pub first: Option<u64>,
    /// The highest number.
    pub last: Option<u64>,
    /// The weakest verdict of its batches; FAILED too if an event in no batch failed.
    pub verdict: Verdict,
    /// Its batches by verdict.
    pub batches: Counts,
    /// The highest number in a batch.
    pub last_batched: Option<u64>,
    /// Events that are in no batch.
    pub unbatched_events: u64,
    /// Of these, those after the last batch.
    pub events_after_last_batch: u64,
    /// The largest signed checkpoint whose root the events give, if checkpoints were given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checkpointed: Option<Checkpointed>,
}

/// How far the events of a stream are those of a signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpointed {
    /// Each event from number 1 to this is where it was when the checkpoint was signed.
    pub to: u64,
    /// The root over them.
    pub root: Hash32,
    /// The tree: deployment, stream and generation.
    pub origin: String,
    /// When it was signed.
    pub time: Option<Timestamp>,
    /// On whose word it rests.
    pub word: String,
    /// How many checkpoints have the root that the events give.
    pub matching: u64,
}

impl VerifiedStream {
    /// The numbers behind the last batch that a checkpoint covers.
    pub fn checkpointed_tail(&self) -> Option<(u64, u64)> {
        let first = self.last_batched.map_or(1, |last| last.saturating_add(1));
        let to = self.checkpointed.as_ref()?.to;
        (first <= to).then_some((first, to))
    }

    /// The numbers that neither a batch nor a checkpoint covers, up to the last event.
    pub fn uncovered_tail(&self) -> Option<(u64, u64)> {
        let batched = self.last_batched.unwrap_or(0);
        let covered = self
            .checkpointed
            .as_ref()
            .map_or(batched, |held| held.to.max(batched));
        let last = self.last?;
        (covered < last).then(|| (covered + 1, last))
    }
}

/// All streams together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Totals {
    /// Streams.
    pub streams: u64,
    /// Events that were read; one in two batches counts in both.
    pub events: u64,
    /// Batches by verdict.
    pub batches: Counts,
    /// Events in no batch.
    pub unbatched_events: u64,
    /// Failures, of batches, of events in no batch, and of the input.
    pub failures: u64,
}

/// What a log is read from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InputKind {
    /// A database, or a snapshot file.
    Db,
    /// A log export.
    Export,
    /// A bundle, with anchors of its own.
    Bundle,
    /// An archive of a log (`docs/archive.md`).
    Archive,
}

impl fmt::Display for InputKind {
    /// As a sentence calls it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            // An archive holds a log, and says the same of it.
            Self::Db | Self::Archive => "log",
            Self::Export => "export",
            Self::Bundle => "bundle",
        })
    }
}

/// What was verified.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InputInfo {
    /// What it was read from.
    pub kind: InputKind,
    /// Its name, without secrets.
    pub name: String,
    /// Whether it is a whole log.
    pub whole: bool,
    /// How many agents' keys it has.
    pub keys: u64,
    /// Whether they are keys that the auditor gave, and not the input's own word.
    #[serde(default)]
    pub keys_pinned: bool,
    /// How many anchors were given.
    pub anchors: u64,
    /// How many of them are tied to the trusted block.
    pub anchors_trusted: u64,
    /// How many of them are contradicted by their own proof.
    pub anchors_failed: u64,
    /// The chain that the anchors are said to be on.
    pub chain_id: Option<u64>,
    /// The block that the auditor trusts.
    pub trusted_block: Option<Hash32>,
    /// Why that block ties none of the anchors, if it ties none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ties_nothing: Option<String>,
    /// The sequencer's public key, if one was given without a version.
    pub sequencer_public_key: Option<Hash32>,
    /// Its public keys that were given with their versions.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sequencer_public_keys: BTreeMap<i32, Hash32>,
}

/// What a report is a part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanInfo {
    /// Over streams, commitments, keys, anchors and their standings: equal plans have equal digests.
    pub digest: Hash32,
    /// How many units the whole has.
    pub units: u64,
}

/// The K of N.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// Which one, counted from 1.
    pub index: u64,
    /// Of how many.
    pub of: u64,
}

impl std::str::FromStr for Shard {
    type Err = String;

    /// Reads `K/N` with 1 ≤ K ≤ N.
    fn from_str(s: &str) -> Result<Self, String> {
        let read = || {
            let (index, of) = s.split_once('/')?;
            Some((index.parse().ok()?, of.parse().ok()?))
        };
        match read() {
            Some((index, of)) if (1..=of).contains(&index) && of <= 1_000_000 => Ok(Self { index, of }),
            _ => Err(format!("not K/N with 1 ≤ K ≤ N ≤ 1000000: {s:?}")),
        }
    }
}

/// What a verification says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VerifyReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// What was verified.
    pub input: InputInfo,
    /// Where a log was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// What this report is a part of.
    pub plan: PlanInfo,
    /// Which part, if it is not all.
    pub shard: Option<Shard>,
    /// The weakest verdict of all streams; FAILED too if the input has problems of its own.
    pub verdict: Verdict,
    /// All streams together.
    pub totals: Totals,
    /// The streams by key.
    pub streams: Vec<VerifiedStream>,
    /// The batches and the ranges in no batch, in the order of the plan.
    pub units: Vec<UnitReport>,
    /// What does not hold and belongs to no unit: rows without a place, anchors that contradict their proofs.
    pub problems: Vec<Failure>,
    /// Whether anchors were left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub completeness: Option<Completeness>,
    /// What of the input as a whole was not checked.
    pub input_not_checked: Vec<String>,
    /// All that was not checked, summed up.
    pub not_checked: Vec<String>,
    /// Which tool made the report, when, and from which files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// What to do after it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<Next>,
}

impl VerifyReport {
    /// With the word on whether anchors were left out. Those that were are a problem of the input.
    #[must_use]
    pub fn with_completeness(mut self, completeness: Completeness) -> Self {
        if completeness.verdict == Verdict::Failed {
            let what = |why: &String| Failure::new(crate::verify::code::ANCHOR_OMITTED, why.clone());
            self.problems.extend(completeness.why.iter().map(what));
            self.problems.sort();
            self.problems.dedup();
        }
        self.completeness = Some(completeness);
        self.summarize();
        self
    }

    /// The batches and ranges that failed.
    pub fn failed(&self) -> impl Iterator<Item = &UnitReport> {
        self.units.iter().filter(|unit| unit.verdict == Verdict::Failed)
    }

    /// The exit status that the report means: 4 unless every batch matches something and there is at least one.
    pub fn exit_status(&self) -> ExitStatus {
        let counts = &self.totals.batches;
        let empty = self.shard.is_none() && self.verdict == Verdict::NotChecked;
        if self.totals.failures > 0 || counts.failed > 0 || counts.not_checked > 0 || empty {
            ExitStatus::PROBLEMS
        } else {
            ExitStatus::OK
        }
    }

    /// The exit status where a verdict is required: 4 too if the weakest verdict of all batches is a weaker one, or if
    /// there is no batch. What is in no batch is not asked.
    pub fn exit_status_if(&self, required: Option<Verdict>) -> ExitStatus {
        let status = self.exit_status();
        let empty_shard = self.shard.is_some() && self.totals.batches == Counts::default();
        match required {
            Some(required) if self.verdict > required && !empty_shard => status | ExitStatus::PROBLEMS,
            _ => status,
        }
    }

    /// Reads a report and makes sure that its summary is that of its units.
    ///
    /// # Errors
    /// What is not a report of this form, or one that was edited into contradicting itself.
    pub fn from_json(bytes: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct SchemaOnly {
            schema: String,
        }
        let schema: SchemaOnly =
            serde_json::from_slice(bytes).map_err(|e| format!("not a verification report: {e}"))?;
        if schema.schema != SCHEMA {
            let found: String = schema.schema.chars().take(60).collect();
            return Err(format!("has the schema {found:?}; this version reads {SCHEMA:?}"));
        }
        let report: Self =
            serde_json::from_slice(bytes).map_err(|e| format!("not a verification report: {e}"))?;
        if !report.units.is_sorted_by(|a, b| a.unit < b.unit) {
            return Err("its batches are not in order: it was edited".into());
        }
        let known: BTreeSet<StreamKey> = report.streams.iter().map(|s| s.stream).collect();
        if report.units.iter().any(|unit| !known.contains(&unit.stream)) {
            return Err("it has batches of streams that it does not name: it was edited".into());
        }
        let mut again = report.clone();
        again.summarize();
        if again == report {
            Ok(report)
        } else {
            Err("its summary is not that of its batches: it was edited".into())
        }
    }

    /// Computes everything that follows from the units.
    pub(crate) fn summarize(&mut self) {
        let mut totals = Totals {
            streams: self.streams.len() as u64,
            failures: self.problems.len() as u64,
            ..Totals::default()
        };
        let mut skipped: BTreeMap<&str, u64> = BTreeMap::new();
        let mut worst: Option<Verdict> = None;
        let mut units = self.units.iter().peekable();
        for stream in &mut self.streams {
            let mut counts = Counts::default();
            let mut verdict: Option<Verdict> = None;
            let (mut unbatched, mut after) = (0, 0);
            let mut last_batched = None;
            while let Some(unit) = units.next_if(|unit| unit.stream == stream.stream) {
                totals.events += unit.events;
                totals.failures += unit.failure_count;
                for what in &unit.not_checked {
                    *skipped.entry(&what.what).or_default() += what.count;
                }
                match unit.kind {
                    UnitKind::Batch => {
                        counts.add(unit.verdict);
                        totals.batches.add(unit.verdict);
                        verdict = verdict.max(Some(unit.verdict));
                        last_batched = last_batched.max(Some(unit.sequence_end));
                        after = 0;
                    }
                    UnitKind::Unbatched => {
                        unbatched += unit.events;
                        after += unit.events;
                        if unit.verdict == Verdict::Failed {
                            verdict = Some(Verdict::Failed);
                        }
                    }
                }
            }
            stream.batches = counts;
            stream.verdict = verdict.unwrap_or(Verdict::NotChecked);
            stream.last_batched = last_batched;
            stream.unbatched_events = unbatched;
            // Of a shard nobody knows what lies behind its batches.
            stream.events_after_last_batch = if self.shard.is_some() { 0 } else { after };
            totals.unbatched_events += unbatched;
            worst = worst.max(verdict);
        }
        self.verdict = match worst {
            _ if !self.problems.is_empty() => Verdict::Failed,
            worst => worst.unwrap_or(Verdict::NotChecked),
        };
        self.not_checked = self.input_not_checked.clone();
        self.not_checked.extend(
            skipped
                .into_iter()
                .map(|(what, count)| format!("{count} × {what}")),
        );
        for stream in self.streams.iter().filter(|s| s.events_after_last_batch > 0) {
            let uncovered = match (stream.checkpointed_tail(), stream.uncovered_tail()) {
                (None, _) => "no root covers them yet".to_owned(),
                (Some((from, to)), None) => {
                    format!("no anchor covers them yet; {from} to {to} are CHECKPOINTED")
                }
                (Some((from, to)), Some((first, last))) => {
                    format!(
                        "no anchor covers them yet; {from} to {to} are CHECKPOINTED, no root covers {first} to {last}"
                    )
                }
            };
            self.not_checked.push(format!(
                "stream {}: {} event(s) after the last batch{}: {uncovered}",
                stream.stream,
                stream.events_after_last_batch,
                stream.last_batched.map_or(String::new(), |last| format!(
                    " ({} to {})",
                    last + 1,
                    stream.last.unwrap_or(last + 1)
                ))
            ));
        }
        if let Some(shard) = self.shard {
            self.not_checked.push(format!(
                "what is not in shard {}/{}: {} of {} units",
                shard.index,
                shard.of,
                self.plan.units - (self.units.len() as u64).min(self.plan.units),
                self.plan.units
            ));
        }
        self.totals = totals;
    }

    /// Joins the reports of all shards.
    ///
    /// # Errors
    /// [`VerifyError::Merge`] if they are not all of one plan, if one is there twice, or if one is missing.
    pub fn merge(reports: Vec<(String, VerifyReport)>) -> Result<Self, VerifyError> {
        let refuse = |what: String| Err(VerifyError::Merge(what));
        let mut reports = reports.into_iter();
        let Some((first_name, mut merged)) = reports.next() else {
            return refuse("no report was given".into());
        };
        let Some(Shard { of, .. }) = merged.shard else {
            return refuse(format!("{first_name} is not the report of a shard"));
        };
        let mut names: BTreeMap<u64, String> = BTreeMap::new();
        let own = merged.shard.map_or(0, |shard| shard.index);
        names.insert(own, first_name.clone());
        for (name, report) in reports {
            let Some(shard) = report.shard else {
                return refuse(format!("{name} is not the report of a shard"));
            };
            if shard.of != of {
                return refuse(format!(
                    "{name} is shard {}/{}, {first_name} is one of {of}",
                    shard.index, shard.of
                ));
            }
            if report.plan != merged.plan || !same_input(&report, &merged) {
                return refuse(format!(
                    "{name} and {first_name} are not of the same log, anchors, trusted block and keys"
                ));
            }
            if let Some(other) = names.insert(shard.index, name.clone()) {
                return refuse(format!("{other} and {name} are both shard {}/{of}", shard.index));
            }
            merged.units.extend(report.units);
            merged.problems.extend(report.problems);
        }
        if let Some(missing) = (1..=of).find(|index| !names.contains_key(index)) {
            return refuse(format!(
                "shard {missing}/{of} is missing ({} of {of} are there)",
                names.len()
            ));
        }
        merged.units.sort_by_key(|unit| unit.unit);
        // Shard numbers can be forged; that every unit is there once cannot.
        for (expected, unit) in (0_u64..).zip(&merged.units) {
            if unit.unit != expected {
                let what = if unit.unit > expected {
                    "missing"
                } else {
                    "there twice"
                };
                return refuse(format!("unit {} is {what}", unit.unit.min(expected)));
            }
        }
        if merged.units.len() as u64 != merged.plan.units {
            return refuse(format!(
                "{} of {} units are there",
                merged.units.len(),
                merged.plan.units
            ));
        }
        // What belongs to no unit, every shard has seen.
        merged.problems.sort();
        merged.problems.dedup();
        merged.shard = None;
        // Those of one shard.
        (merged.provenance, merged.next) = (None, None);
        merged.summarize();
        Ok(merged)
    }
}

/// Whether two reports are of one input; shards may have read it from different paths.
fn same_input(a: &VerifyReport, b: &VerifyReport) -> bool {
    let unnamed = |report: &VerifyReport| InputInfo {
        name: String::new(),
        ..report.input.clone()
    };
    let base = |report: &VerifyReport| -> Vec<_> {
        let base = |s: &VerifiedStream| (s.stream, s.range, s.events, s.first, s.last);
        report.streams.iter().map(base).collect()
    };
    unnamed(a) == unnamed(b)
        && base(a) == base(b)
        && a.input_not_checked == b.input_not_checked
        && a.completeness == b.completeness
}
