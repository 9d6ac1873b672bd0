//! The audit: is the log whole, and if not, what exactly is missing or wrong. Reads only.

use std::collections::BTreeMap;

use cli_common::{Cancel, Progress};
use event_log::{JournalEntry, JournalTable, Place, View};
use serde::{Deserialize, Serialize};
use ves::span::Span;
use ves::{StreamKey, Timestamp};

use crate::error::RecoveryError;
use crate::finding::{Finding, Severity};
use crate::floor::{self, FloorChoice, Witness};
use crate::gap::Gap;
use crate::place::placement::Budget;
use crate::plan::committing::{CommitReadiness, Committing};
use crate::plan::planned::PlannedReissue;
use crate::plan::reissue;
use crate::proofs;
use crate::skipped::Skipped;
use crate::stream::batches::{Batch, BatchVerdict, ChainPlaces};
use crate::stream::examine::Examined;
use crate::stream::family::{self, FamilyReport};
use crate::stream::preflight;
use crate::stream::proof_reach::{ProofReach, ProofTotals};
use crate::stream::raised::Raised;
use crate::stream::survey::{Survey, SurveyInput};
use crate::stream::unheard::{Seen, Unheard};
use crate::witness::evidence::{HolderId, Holders, StreamEvidence};
use crate::witness::{Heard, Incomplete};
use outbox_sync::NotUsed;

/// The report's name and version; documented in docs/audit.md.
pub const SCHEMA: &str = "recovery-audit/1";

/// So many entries of the journal are told.
const JOURNAL_ENTRIES: u32 = 1000;

/// What an audit has to say.
#[derive(Debug, Serialize)]
pub struct AuditReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The log, without secrets.
    pub db: String,
    /// Where it was looked at.
    pub place: Place,
    /// True if there is no problem among the findings. What was not checked is no problem found.
    pub no_problem_found: bool,
    /// Sums over all streams.
    pub totals: Totals,
    /// The streams, by tenant and store.
    pub streams: Vec<StreamReport>,
    /// The sequences beside the VES log, as far as they were asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub families: Vec<FamilyReport>,
    /// Everything found, by stream; findings about inputs first.
    pub findings: Vec<Finding>,
    /// The witnesses heard.
    pub heard: Vec<Heard>,
    /// Agents with events or keys in the log that no outbox speaks for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_heard: Vec<Unheard>,
    /// What lay among the outboxes and is none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub not_used: Vec<NotUsed>,
    /// What the log's journal of repairs says: its newest entries, newest first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub journal: Vec<JournalEntry>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
    /// Whether the VES log was looked at.
    #[serde(skip)]
    pub ves: bool,
}

impl AuditReport {
    /// The witnesses that could not be read, or not to their end.
    pub fn incomplete(&self) -> Vec<Incomplete> {
        crate::witness::incomplete(&self.heard)
    }
}

/// Sums over all streams.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Totals {
    /// Streams.
    pub streams: u64,
    /// Events that the log has.
    pub events: u64,
    /// Positions that are missing.
    pub missing: u64,
    /// Batches by verdict.
    pub batches: BatchCounts,
    /// How far proof reaches.
    pub proof: ProofTotals,
    /// Findings that are problems.
    pub problems: u64,
    /// Findings that are notices.
    pub notices: u64,
}

/// Batches by verdict.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchCounts {
    /// See [`BatchVerdict::MatchesAnchors`].
    pub matches_anchors: u64,
    /// See [`BatchVerdict::MatchesDatabase`].
    pub matches_database: u64,
    /// See [`BatchVerdict::Failed`].
    pub failed: u64,
    /// See [`BatchVerdict::NotChecked`].
    pub not_checked: u64,
}

impl BatchCounts {
    fn add(&mut self, verdict: BatchVerdict) {
        *match verdict {
            BatchVerdict::MatchesAnchors => &mut self.matches_anchors,
            BatchVerdict::MatchesDatabase => &mut self.matches_database,
            BatchVerdict::Failed => &mut self.failed,
            BatchVerdict::NotChecked => &mut self.not_checked,
        } += 1;
    }
}

/// One stream.
#[derive(Debug, Serialize)]
pub struct StreamReport {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// How many events the log has.
    pub events: u64,
    /// The first number that the log has.
    pub first: Option<u64>,
    /// The last number that the log has.
    pub head: Option<u64>,
    /// When that event was numbered: what the recovery got back to.
    pub head_sequenced_at: Option<Timestamp>,
    /// When the last event before the first missing one was numbered: up to there nothing is lost. Absent where nothing is
    /// missing, and where the first one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub whole_until: Option<Timestamp>,
    /// The counter; `None` if its row is missing.
    pub counter: Option<u64>,
    /// Whether it stands where this toolkit put it, and what that rested on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub counter_raised: Option<Raised>,
    /// The highest number that any witness knows, and who.
    pub head_known: Option<Witness>,
    /// How far proof reaches.
    pub proof: ProofReach,
    /// How many positions are missing.
    pub missing: u64,
    /// Which.
    pub gaps: Vec<Gap>,
    /// Receipts whose hash fits their event.
    pub receipts_matching: u64,
    /// Signatures of receipts that hold.
    pub receipt_signatures_valid: u64,
    /// Signatures of receipts that were not checked, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub receipt_signatures_not_checked: BTreeMap<String, u64>,
    /// Agent signatures that hold.
    pub signatures_valid: u64,
    /// Agent signatures that were not checked, by reason.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub signatures_not_checked: BTreeMap<String, u64>,
    /// Positions that are filled with tombstones.
    pub tombstones: u64,
    /// Every batch known.
    pub batches: Vec<Batch>,
    /// Everybody who knows of a number.
    pub witnesses: Vec<Witness>,
    /// Numbers that were given out twice, with both histories.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reissue: Vec<PlannedReissue>,
    /// Whether it can be committed further as it stands.
    pub committing: Committing,
    /// Who holds events of it that the log lacks; who holds most comes first.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_by: Vec<HeldBy>,
}

/// Somebody who holds events that the log lacks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HeldBy {
    /// Who: the witness, as findings name it.
    pub who: String,
    /// How many; those that were never numbered too.
    pub events: u64,
}

/// Who holds what of a stream.
fn held_by(evidence: &StreamEvidence, holders: &Holders) -> Vec<HeldBy> {
    let mut counts: BTreeMap<HolderId, u64> = BTreeMap::new();
    for holder in evidence
        .candidates
        .iter()
        .flat_map(|candidate| &candidate.holders)
    {
        *counts.entry(*holder).or_default() += 1;
    }
    let mut held: Vec<HeldBy> = counts
        .into_iter()
        .map(|(holder, events)| HeldBy {
            who: holders.name(holder).to_owned(),
            events,
        })
        .collect();
    held.sort_by(|a, b| b.events.cmp(&a.events).then_with(|| a.who.cmp(&b.who)));
    held
}

impl StreamReport {
    fn of(examined: &Examined, head_sequenced_at: Option<Timestamp>) -> Self {
        let highest = floor::floor(&examined.witnesses, FloorChoice::default())
            .ok()
            .flatten();
        let tally = &examined.scan.tally;
        Self {
            stream: examined.state.stream,
            events: examined.state.event_count,
            first: examined.state.first,
            head: examined.state.last,
            head_sequenced_at,
            whole_until: None,
            counter: examined.state.counter,
            counter_raised: examined.raised.clone(),
            head_known: highest.map(|f| f.witness),
            proof: examined.proof_reach(),
            missing: examined.missing(),
            gaps: examined.gaps.clone(),
            receipts_matching: tally.receipts_matching,
            receipt_signatures_valid: tally.receipt_signatures_valid,
            receipt_signatures_not_checked: tally.receipt_signatures_not_checked.clone(),
            signatures_valid: tally.signatures_valid,
            signatures_not_checked: tally.signatures_not_checked.clone(),
            tombstones: tally.tombstones.count,
            batches: examined.batches.clone(),
            witnesses: examined.witnesses.clone(),
            reissue: Vec::new(),
            committing: Committing::default(),
            held_by: Vec::new(),
        }
    }

    /// With the times that the log has to be asked for.
    async fn timed(view: &mut View, examined: &Examined) -> Result<Self, RecoveryError> {
        let state = &examined.state;
        let head_sequenced_at = match state.last {
            Some(last) => {
                view.last_sequenced_before(&state.stream, last.saturating_add(1))
                    .await?
            }
            None => None,
        };
        let mut report = Self::of(examined, head_sequenced_at);
        report.proof = report.proof.timed(view, state).await?;
        if let Some(gap) = examined.gaps.first() {
            report.whole_until = view
                .last_sequenced_before(&state.stream, *gap.range().start())
                .await?;
        }
        Ok(report)
    }

    /// Batches by verdict.
    pub fn batch_counts(&self) -> BatchCounts {
        let mut counts = BatchCounts::default();
        self.batches.iter().for_each(|b| counts.add(b.verdict));
        counts
    }
}

/// Audits the log.
///
/// # Errors
/// What the log's database says, an anchors file that cannot be used, [`RecoveryError::Cancelled`].
pub async fn audit(
    view: &mut View,
    db: String,
    input: &SurveyInput,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<AuditReport, RecoveryError> {
    let mut report = AuditReport {
        schema: SCHEMA,
        db,
        place: view.place().clone(),
        no_problem_found: true,
        totals: Totals::default(),
        streams: Vec::new(),
        families: Vec::new(),
        findings: Vec::new(),
        heard: Vec::new(),
        not_heard: Vec::new(),
        not_used: Vec::new(),
        journal: Vec::new(),
        not_checked: Vec::new(),
        ves: input.families.ves(),
    };
    if input.families.ves() {
        audit_ves(view, input, &mut report, progress, cancel).await?;
    }
    for &family in input.families.others() {
        cancel.check()?;
        let (not_checked, findings) = (&mut report.not_checked, &mut report.findings);
        let audited = family::audit(view, family, &input.filter, not_checked, findings).await?;
        report.families.push(audited);
    }
    report.not_checked.extend(input.families.not_asked_for());
    report.not_checked.extend(view.place().reservation());
    for finding in &report.findings {
        match finding.severity {
            Severity::Problem => report.totals.problems += 1,
            Severity::Notice => report.totals.notices += 1,
        }
    }
    report.no_problem_found = report.totals.problems == 0;
    Ok(report)
}

async fn audit_ves(
    view: &mut View,
    input: &SurveyInput,
    report: &mut AuditReport,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(), RecoveryError> {
    let survey = Survey::take(view, input, progress, cancel).await?;
    let events: u64 = survey.streams.iter().map(|s| s.event_count).sum();
    report.totals.streams = survey.streams.len() as u64;
    report.totals.events = events;
    report.not_checked = survey.not_checked();
    report.findings.extend(survey.findings.iter().cloned());
    report.findings.extend(survey.nothing(view, &input.filter));
    report.findings.extend(preflight::look(view).await?);
    report.not_checked.extend(preflight::reservations(view));
    report.findings.extend(survey.collected.findings.iter().cloned());
    progress.start("verifying events", Some(events));
    let mut seen = Seen::new();
    let mut skipped = Skipped::default();
    let mut places = ChainPlaces::default();
    for state in &survey.streams {
        let examined = survey.examine(view, state, input, progress, cancel).await?;
        seen.insert(state.stream, examined.scan.tally.agents.clone());
        let mut stream = StreamReport::timed(view, &examined).await?;
        report.totals.proof.add(examined.head_known, &stream.proof);
        let evidence = survey.evidence(&state.stream);
        let holders = &survey.collected.holders;
        stream.held_by = held_by(evidence, holders);
        let given = reissue::ReissueInput {
            examined: &examined,
            evidence,
            holders,
            keys: &survey.keys,
            budget: Budget::default(),
        };
        let found = reissue::find(view, &given, &mut report.not_checked, cancel).await?;
        if let Some(found) = &found {
            stream.reissue = found.histories(&examined, holders);
            report.findings.push(found.finding());
        } else if let Some(finding) = reissue::contradicting_copies(&examined, evidence) {
            report.findings.push(finding);
        }
        stream.committing = committing(&examined, stream.reissue.len() as u64);
        report.totals.missing = report.totals.missing.saturating_add(stream.missing);
        stream
            .batches
            .iter()
            .for_each(|b| report.totals.batches.add(b.verdict));
        report.streams.push(stream);
        report.findings.extend(examined.findings);
        places.elsewhere.extend(examined.places.elsewhere);
        places.findings.extend(examined.places.findings);
        report.not_checked.extend(examined.not_checked);
        skipped.extend(examined.skipped);
    }
    match places.elsewhere.not_checked() {
        Some(what) => report.not_checked.push(what),
        None => report.findings.extend(places.findings),
    }
    report.not_checked.extend(skipped.lines());
    progress.finish();
    report.not_heard = survey.unheard(&seen, &input.filter);
    report.not_used = input
        .witnesses
        .not_used
        .iter()
        .filter(|file| !file.may_be_outbox)
        .cloned()
        .collect();
    report.heard = survey.collected.heard;
    proofs::orphans(view, &input.filter, &mut report.findings, &mut report.not_checked).await?;
    read_journal(view, input, report).await
}

/// Whether a stream can be committed further as it stands.
fn committing(examined: &Examined, given_out_twice: u64) -> Committing {
    let anchored = examined.anchored.iter();
    let anchored: Vec<Span> = anchored
        .filter_map(|a| Span::new(a.sequence_start, a.sequence_end))
        .collect();
    let open: Vec<Span> = examined.gaps.iter().filter_map(Gap::span).collect();
    // One whose root does not come out, and never will, no commitment of the log can contradict any more than it does.
    let missed = |b: &&Batch| b.anchored && !b.committed && b.verdict != BatchVerdict::Failed;
    Committing::of(&CommitReadiness {
        committed: examined.commitments.iter().map(|c| c.sequence_end).max(),
        first: examined.state.first,
        head: examined.state.last,
        open: &open,
        anchored: &anchored,
        not_committed: examined.batches.iter().filter(missed).count() as u64,
        given_out_twice,
    })
}

async fn read_journal(
    view: &mut View,
    input: &SurveyInput,
    report: &mut AuditReport,
) -> Result<(), RecoveryError> {
    if let JournalTable::Unusable(what) = view.journal_table().await? {
        report.not_checked.push(format!("the journal of repairs: {what}"));
        return Ok(());
    }
    let entries = view.journal_newest(&input.filter, JOURNAL_ENTRIES).await?;
    for error in &entries.unreadable {
        report
            .not_checked
            .push(format!("the journal of repairs: {error}"));
    }
    report.journal = entries.rows;
    Ok(())
}
