//! What agents' outboxes have that the log lacks.

use std::path::PathBuf;

use cli_common::{Cancel, DbTarget, NoProgress};
use event_log::{Log, OpenOptions, StreamFilter, StreamHead};
use outbox_sync::Purpose;
use ves::{SequencerKeys, StreamKey};

use super::alarms::AlarmSource;
use super::jobs::JobOutcome;
use crate::error::RecoveryError;
use crate::finding::{Code, Finding, Remedy};
use crate::floor;
use crate::grade::Grade;
use crate::witness::{Asked, Collected, Inputs, collect};

/// What to compare.
#[derive(Debug, Clone)]
pub struct OutboxesInput {
    /// The log.
    pub db: DbTarget,
    /// Files, folders or patterns, looked through anew each time.
    pub outboxes: Vec<String>,
    /// Files that list more of them, read anew each time.
    pub manifests: Vec<PathBuf>,
    /// Receipts that agents saved (NDJSON).
    pub receipts: Vec<PathBuf>,
    /// The sequencer's public keys.
    pub sequencer_keys: SequencerKeys,
    /// Which streams.
    pub filter: StreamFilter,
}

/// Looks through all outboxes once.
pub async fn look(input: &OutboxesInput, cancel: &Cancel) -> JobOutcome {
    match heard(input, cancel).await {
        Ok(outcome) => outcome,
        Err(error) => JobOutcome::failed(AlarmSource::Outboxes, &error),
    }
}

async fn heard(input: &OutboxesInput, cancel: &Cancel) -> Result<JobOutcome, RecoveryError> {
    let found = match outbox_sync::expand_inputs(&input.outboxes, &input.manifests, Purpose::Read) {
        Ok(found) => found,
        Err(error) => return Ok(JobOutcome::failed(AlarmSource::Outboxes, &error)),
    };
    let log = Log::open_with(&input.db, &OpenOptions::stopped_by(cancel)).await?;
    let mut view = log.view().await?;
    let keys = view.log_keys(input.filter.tenant).await?.registry();
    let inputs = Inputs {
        outboxes: found.files,
        not_used: found.not_used,
        not_checked: found.not_checked,
        names: found.names,
        receipts: input.receipts.clone(),
        sequencer_keys: input.sequencer_keys.clone(),
        ..Inputs::default()
    };
    let asked = Asked {
        keys: &keys,
        filter: &input.filter,
        inputs: &inputs,
        streams: &[],
        cancel,
    };
    let collected = collect(&mut view, asked, &NoProgress).await?;
    drop(view);
    // Agents push while their outboxes are read: what counts is what the log has after that.
    let heads = log.view().await?.heads(&input.filter).await?.rows;
    let (mut findings, numbers) = beyond(&collected, &heads);
    let unreadable = |f: &Finding| f.code == Code::WitnessUnreadable;
    findings.extend(collected.findings.into_iter().filter(unreadable));
    Ok(JobOutcome {
        heard: numbers,
        ..JobOutcome::found(AlarmSource::Outboxes, findings)
    })
}

/// A number that somebody knows of, and who.
type Number = (StreamKey, u64, String);

/// What was given out and the log does not have, as more than one agent's claim says; and every number that was named.
fn beyond(collected: &Collected, heads: &[StreamHead]) -> (Vec<Finding>, Vec<Number>) {
    let head = |stream: &StreamKey| {
        heads
            .iter()
            .find(|head| head.stream == *stream)
            .and_then(|head| head.last)
    };
    let (mut findings, mut numbers) = (Vec::new(), Vec::new());
    for (stream, evidence) in &collected.streams {
        let last = head(stream).unwrap_or(0);
        let all = evidence
            .witnesses
            .iter()
            .cloned()
            .chain(floor::corroborated(&evidence.witnesses));
        // One agent's claim alone is often wrong: it is remembered, and no alarm.
        let strong = all
            .filter(|w| w.grade >= Grade::Corroborated)
            .max_by_key(|w| (w.sequence, w.grade));
        numbers.extend(
            evidence
                .witnesses
                .iter()
                .map(|w| (*stream, w.sequence, w.who.clone())),
        );
        let Some(witness) = strong.filter(|w| w.sequence > last) else {
            continue;
        };
        let message = format!(
            "{} number(s) after the last event were given out: {} is known to {} ({})",
            witness.sequence - last,
            witness.sequence,
            witness.who,
            witness.grade
        );
        let finding = Finding::new(Code::GapTail, message).stream(*stream);
        findings.push(finding.range(last + 1, witness.sequence).remedy(Remedy::Plan));
    }
    (findings, numbers)
}
