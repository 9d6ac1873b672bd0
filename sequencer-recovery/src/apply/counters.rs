//! The counters alone: what each should be at least, by whom, and on request raised to it.

use std::collections::BTreeMap;
use std::time::Duration;

use cli_common::{Cancel, Progress};
use event_log::{
    JournalCounts, JournalEntry, JournalState, JournalTable, Log, LogError, Place, Repair, View,
};
use serde::Serialize;
use ves::StreamKey;
use ves::digest::Preimage;

use crate::apply::TOOL;
use crate::error::RecoveryError;
use crate::floor::{self, FloorChoice, FloorOption, Witness};
use crate::stream::examine::NumberSources;
use crate::stream::family::{self, Family};
use crate::stream::preflight;
use crate::stream::raised::Raised;
use crate::stream::survey::{Survey, SurveyInput};
use crate::witness::Incomplete;

/// What a counter is and should be.
#[derive(Debug, Serialize)]
pub struct CounterReport {
    /// `ves`, `events` or `x402`.
    pub family: &'static str,
    /// The sequence beside the VES log, if it is of one.
    #[serde(skip)]
    pub beside: Option<Family>,
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// The counter as it is; `None` if its row is missing.
    pub counter: Option<u64>,
    /// The highest number that was given out, by the choice made.
    pub floor: Option<u64>,
    /// Who knows of it.
    pub witness: Option<Witness>,
    /// The other choices, and what each costs.
    pub options: Vec<FloorOption>,
    /// Why the counter is not raised: the database under the stream is damaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_raised: Option<String>,
    /// `holds` (it is the floor or above), `behind`, `raised`.
    pub state: CounterState,
}

/// See [`CounterReport::state`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CounterState {
    /// The counter is at its floor or above.
    Holds,
    /// The counter is below its floor, or missing.
    Behind,
    /// It was, and has been raised.
    Raised,
}

/// The counters of all streams. Documented in docs/audit.md.
#[derive(Debug, Serialize)]
pub struct CountersReport {
    /// `recovery-counters/1`.
    pub schema: &'static str,
    /// The log, without secrets.
    pub db: String,
    /// Where it was looked at.
    pub place: Place,
    /// The floor that was chosen.
    pub choice: String,
    /// The streams, by tenant and store.
    pub streams: Vec<CounterReport>,
    /// Witnesses that could not be read, or not to their end: they may know of higher numbers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Incomplete>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

impl CountersReport {
    /// How many counters are in a state.
    pub fn count(&self, state: CounterState) -> usize {
        self.streams.iter().filter(|s| s.state == state).count()
    }
}

/// Compares every counter with its floor.
///
/// # Errors
/// What the log's database says, an anchors file that cannot be used, a floor below a proof.
pub async fn counters(
    view: &mut View,
    db: String,
    input: &SurveyInput,
    choice: Option<FloorChoice>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<CountersReport, RecoveryError> {
    let mut streams = Vec::new();
    let mut not_checked = Vec::new();
    let mut incomplete = Vec::new();
    if input.families.ves() {
        let survey = Survey::take(view, input, progress, cancel).await?;
        let receipts = view.highest_receipts(&input.filter).await?;
        not_checked.extend(receipts.unreadable.iter().map(ToString::to_string));
        let receipts: BTreeMap<StreamKey, u64> = receipts.rows.into_iter().collect();
        for state in &survey.streams {
            let stream = state.stream;
            let commitments = view.commitments(&stream).await?.rows;
            let raised = Raised::of(view, &stream, state.counter).await?;
            let anchored = survey.anchored(&stream);
            let known = NumberSources {
                state,
                raised: raised.as_ref(),
                last_receipt: receipts.get(&stream).copied(),
                commitments: &commitments,
                anchored: &anchored,
                checkpointed: &survey.checkpointed(&stream, &anchored),
                evidence: survey.evidence(&stream),
            };
            let all = known.witnesses();
            let mut compared = compare(stream, None, state.counter, &all, choice)?;
            compared.not_raised = survey.damage.refusal(&stream);
            streams.push(compared);
        }
        not_checked.extend(survey.not_checked());
        incomplete = survey.incomplete();
        not_checked.extend(preflight::reservations(view));
        if let Some(nothing) = survey.nothing(view, &input.filter) {
            not_checked.push(nothing.message);
        }
    }
    for &family in input.families.others() {
        cancel.check()?;
        let looked = family::look(view, family, &input.filter).await?;
        not_checked.extend(
            looked
                .findings
                .into_iter()
                .map(|f| format!("{family}: {}", f.message)),
        );
        not_checked.extend(looked.not_checked);
        for state in &looked.streams {
            let all = family::witnesses(family, state);
            streams.push(compare(state.stream, Some(family), state.counter, &all, choice)?);
        }
    }
    not_checked.extend(input.families.not_asked_for());
    not_checked.extend(view.place().reservation());
    Ok(CountersReport {
        schema: "recovery-counters/1",
        db,
        place: view.place().clone(),
        choice: choice.unwrap_or_default().to_string(),
        streams,
        incomplete,
        not_checked,
    })
}

fn compare(
    stream: StreamKey,
    beside: Option<Family>,
    counter: Option<u64>,
    witnesses: &[Witness],
    choice: Option<FloorChoice>,
) -> Result<CounterReport, RecoveryError> {
    let floor = floor::choose(witnesses, choice).map_err(|source| RecoveryError::Floor { stream, source })?;
    let wanted = floor.as_ref().map(|f| f.counter);
    let behind = counter.is_none() || counter < wanted;
    Ok(CounterReport {
        family: beside.map_or("ves", Family::as_str),
        beside,
        stream,
        counter,
        floor: wanted,
        witness: floor.as_ref().map(|f| f.witness.clone()),
        not_raised: None,
        options: floor.map(|f| f.options).unwrap_or_default(),
        state: if behind {
            CounterState::Behind
        } else {
            CounterState::Holds
        },
    })
}

/// Raises every counter of the report that is behind, each in a transaction of its own under the sequencer's
/// locks, but for those of streams whose database is damaged. A counter that has moved above its floor meanwhile is left
/// alone. One that cannot be raised stays behind and does not stop the others. Says what went wrong.
pub async fn raise(
    log: &Log,
    report: &mut CountersReport,
    lock_timeout: Duration,
    cancel: &Cancel,
) -> Vec<RecoveryError> {
    let mut errors = Vec::new();
    if let Err(error) = log.check_writable() {
        return vec![error.into()];
    }
    match no_journal(log).await {
        Ok(None) => {}
        Ok(Some(why)) => report.not_checked.push(format!(
            "the journal has no entry of the counters that were raised ({why}): later runs take them for numbers that the \
             sequencer gave out itself"
        )),
        Err(error) => return vec![error.into()],
    }
    for stream in report
        .streams
        .iter_mut()
        .filter(|s| s.state == CounterState::Behind && s.not_raised.is_none())
    {
        if let Err(cancelled) = cancel.check() {
            errors.push(cancelled.into());
            break;
        }
        // Begun again if another's transaction ended it.
        let mut raised = raise_one(log, stream, lock_timeout).await;
        for _ in 1..ATTEMPTS {
            if raised.as_ref().is_err_and(LogError::is_conflict) {
                raised = raise_one(log, stream, lock_timeout).await;
            }
        }
        match raised {
            Ok(()) => stream.state = CounterState::Raised,
            Err(error) => errors.push(RecoveryError::from(error).of_stream(&stream.stream)),
        }
    }
    errors
}

/// Why the journal cannot be written, if it cannot.
async fn no_journal(log: &Log) -> Result<Option<String>, LogError> {
    Ok(match log.view().await?.journal_table().await? {
        JournalTable::Ready | JournalTable::Absent => None,
        JournalTable::ReadOnly(why) | JournalTable::MayNotMake(why) | JournalTable::Unusable(why) => {
            Some(why)
        }
    })
}

/// How often a counter is tried at most, if others' transactions end ours.
const ATTEMPTS: u32 = 5;

async fn raise_one(log: &Log, stream: &CounterReport, lock_timeout: Duration) -> Result<(), LogError> {
    // An empty stream without a counter row starts at 0.
    let floor = stream.floor.unwrap_or(0);
    if let Some(family) = stream.beside {
        let raised = log.raise_family_counter(family, &stream.stream, floor, lock_timeout);
        return raised.await.map(drop);
    }
    let mut repair = log.repair(&stream.stream, lock_timeout).await?;
    let before = repair.counter_before();
    if before.is_none_or(|counter| counter < floor) {
        repair.set_counter(floor).await?;
        note(&mut repair, stream, before, floor).await?;
        repair.commit().await?;
    }
    Ok(())
}

/// Says in the journal that the counter is our own writing, and what it rested on. A role that may keep no journal raises
/// counters all the same: it is told so.
async fn note(
    repair: &mut Repair,
    stream: &CounterReport,
    before: Option<u64>,
    after: u64,
) -> Result<(), LogError> {
    if !repair.view().journal_table().await?.may_be_written() {
        return Ok(());
    }
    let written_at = repair.view().database_time().await?;
    let entry = JournalEntry {
        written_at,
        state: JournalState::Applied,
        plan_id: Preimage::new("SEQUENCER_RECOVERY_COUNTERS_V1")
            .bytes(stream.stream.tenant_id.as_bytes())
            .bytes(stream.stream.store_id.as_bytes())
            .u64(after)
            .bytes(&written_at.0.to_be_bytes())
            .finish(),
        stream: stream.stream,
        tool: TOOL.into(),
        counter_before: before,
        counter_after: Some(after),
        counts: JournalCounts {
            counter_grade: stream.witness.as_ref().map(|w| w.grade.as_str().to_owned()),
            counters_only: true,
            ..JournalCounts::default()
        },
    };
    repair.write_journal(&entry).await
}
