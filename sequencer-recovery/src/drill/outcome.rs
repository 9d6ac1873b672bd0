//! The repaired log, held against the truth, which a drill knows and a disaster does not.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use event_log::{Log, LogEntry};
use fixtures::{HeldClass, StreamTruth, Truth, World};
use ves::{EventCheck, EventId, StreamKey};

use crate::apply::ApplyReport;
use crate::dr_report::{EventCounts, StreamOutcome};
use crate::error::RecoveryError;
use crate::report::audit::AuditReport;

/// The repaired log, held against the truth.
#[derive(Debug, Default)]
pub(super) struct RepairOutcome {
    pub(super) counts: EventCounts,
    pub(super) streams: Vec<StreamOutcome>,
    /// Positions that are still missing, by stream.
    pub(super) missing: BTreeMap<StreamKey, BTreeSet<u64>>,
    /// Which event stands at which number.
    pub(super) stored: BTreeMap<StreamKey, BTreeMap<u64, EventId>>,
    /// Events whose payload is not what was signed.
    pub(super) altered: u64,
}

impl RepairOutcome {
    pub(super) async fn read(log: &Log, truth: &Truth, applied: &ApplyReport) -> Result<Self, RecoveryError> {
        let mut view = log.view().await?;
        let mut outcome = Self::default();
        let (mut before, mut lost, mut nobody, mut misplaced) = (0, 0, 0, 0);
        for stream in &truth.streams {
            // A drill's log is made by the drill: a row of it that cannot be read is a fault, and no figure stands.
            let entries = view.entries(&stream.stream, 1..=i64::MAX as u64).await?.all()?;
            outcome.altered += entries.iter().filter(|entry| is_altered(entry)).count() as u64;
            let stored: BTreeMap<u64, EventId> = entries
                .into_iter()
                .map(|entry| (entry.sequence_number, entry.event.event_id))
                .collect();
            let mut here = StreamOutcome {
                stream: stream.stream,
                head_before: Some(stream.head),
                head_recovered: stream.recovered_head,
                head_repaired: stored.keys().next_back().copied().unwrap_or(0),
                counter: view.counter(&stream.stream).await?,
                restored: 0,
                unresolved: 0,
                went_on_at: None,
                no_commitment: None,
            };
            for event in &stream.events {
                before += 1;
                let there = stored.get(&event.number) == Some(&event.event_id);
                if event.in_recovered {
                    // The recovery itself had it, so only a repair can have moved it.
                    misplaced += u64::from(!there);
                    continue;
                }
                lost += 1;
                if there {
                    here.restored += 1;
                    continue;
                }
                here.unresolved += 1;
                nobody += u64::from(event.class == HeldClass::Unrestorable);
                let missing = outcome.missing.entry(stream.stream).or_default();
                missing.insert(event.number);
            }
            misplaced += strangers(stream, &stored);
            outcome.counts.restored += here.restored;
            outcome.streams.push(here);
            outcome.stored.insert(stream.stream, stored);
        }
        outcome.counts.before = Some(before);
        outcome.counts.lost = Some(lost);
        outcome.counts.unresolved = Some(lost - outcome.counts.restored);
        outcome.counts.held_by_nobody = Some(nobody);
        outcome.counts.misplaced = Some(misplaced);
        outcome.counts.appended = applied.streams.iter().map(|stream| stream.appended).sum();
        outcome.counts.lost_for_good = applied.streams.iter().map(|stream| stream.tombstones).sum();
        Ok(outcome)
    }
}

fn is_altered(entry: &LogEntry) -> bool {
    matches!(entry.event.check_payload(), EventCheck::Mismatch(_))
}

/// Events that stand where they never were promised to: at another number than their own, or without ever having had one.
/// Those that the sequencer took after the recovery, new or once more, may also stand where it put them then or, moved, behind
/// every number that anybody is left to know of.
fn strangers(stream: &StreamTruth, stored: &BTreeMap<u64, EventId>) -> u64 {
    let own: HashMap<EventId, u64> = stream
        .events
        .iter()
        .map(|event| (event.event_id, event.number))
        .collect();
    let given: HashMap<EventId, u64> = stream
        .reissued
        .iter()
        .map(|reissued| (reissued.event_id, reissued.number))
        .collect();
    let anchored = stream.commitments.iter().filter(|batch| batch.anchored);
    let known = anchored
        .map(|batch| batch.sequence_end)
        .chain([stream.highest_claim, stream.recovered_head])
        .max()
        .unwrap_or(0);
    let at_home = |number: u64, id: &EventId| {
        let after_the_recovery = given
            .get(id)
            .is_some_and(|given| *given == number || number > known);
        own.get(id) == Some(&number) || after_the_recovery
    };
    let strange = stored.iter().filter(|(number, id)| !at_home(**number, id));
    strange.count() as u64
}

/// What is lost, measured from the last position before each stream's first hole: so it never grows by a repair.
#[derive(Debug)]
pub(super) struct Lost {
    /// To the disaster, in the worst stream.
    pub(super) seconds: f64,
    pub(super) events: u64,
}

impl Lost {
    pub(super) fn of(missing: &BTreeMap<StreamKey, BTreeSet<u64>>, world: &World) -> Self {
        let mut lost = Self {
            seconds: 0.0,
            events: 0,
        };
        for (stream, missing) in missing {
            let (Some(first), Some(log)) = (missing.first(), world.log().streams.get(stream)) else {
                continue;
            };
            lost.events += missing.len() as u64;
            let reached = log.events.range(..first).next_back().map(|(_, e)| e.sequenced_at);
            let reached = reached.or_else(|| log.events.values().next().map(|e| e.sequenced_at));
            if let Some(at) = reached {
                lost.seconds = lost.seconds.max(world.disaster_at().seconds_since(at));
            }
        }
        lost
    }

    /// What no anchor or checkpoint covered at the disaster, by what the first audit knew of them.
    pub(super) fn to_proof(found: &AuditReport, world: &World) -> Self {
        let mut unproven = Self {
            seconds: 0.0,
            events: 0,
        };
        for stream in &found.streams {
            let Some(log) = world.log().streams.get(&stream.stream) else {
                continue;
            };
            let to = stream.proof.to();
            let behind = log.events.range(to + 1..).count() as u64;
            unproven.events += behind;
            let reached = log.events.range(..=to).next_back().map(|(_, e)| e.sequenced_at);
            let reached = reached.or_else(|| log.events.values().next().map(|e| e.sequenced_at));
            if let (Some(at), 1..) = (reached, behind) {
                unproven.seconds = unproven.seconds.max(world.disaster_at().seconds_since(at));
            }
        }
        unproven
    }

    /// What the recovery to a point in time lost.
    pub(super) fn by_recovery(truth: &Truth, world: &World) -> Self {
        let missing = truth.streams.iter().map(|stream| {
            let lost = stream.events.iter().filter(|e| !e.in_recovered);
            (stream.stream, lost.map(|e| e.number).collect())
        });
        Self::of(&missing.collect(), world)
    }
}
