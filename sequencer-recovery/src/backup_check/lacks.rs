//! What a backup lacks, and what of it would come back.

use std::collections::BTreeMap;

use event_log::{Log, View};
use serde::Serialize;
use ves::span::{Span, Spans};
use ves::{StreamKey, Timestamp};

use super::failure::CheckFailure;
use crate::error::RecoveryError;
use crate::grade::Grade;
use crate::plan::plan_file::PlanFile;
use crate::plan::planned::PlanLine;
use crate::report::audit::{AuditReport, StreamReport};

/// What one stream lacks.
#[derive(Debug, Clone, Serialize)]
pub struct StreamLacks {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// The last number of the backup.
    pub head: Option<u64>,
    /// When that was numbered: where this stream is recovered to.
    pub head_sequenced_at: Option<Timestamp>,
    /// The highest number that anybody knows.
    pub known_head: Option<u64>,
    /// How many positions are missing.
    pub events: u64,
    /// The first of them.
    pub from: u64,
    /// The last of them.
    pub to: u64,
    /// When the first of them was numbered, as the live log says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from_sequenced_at: Option<Timestamp>,
    /// How many would come back with today's witnesses, the live log not among them.
    pub come_back: u64,
    /// How many would stay open.
    pub stay_open: u64,
}

/// What would come back of what a backup lacks.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Repair {
    /// How many events.
    pub come_back: u64,
    /// By the grade of their evidence.
    pub by_grade: BTreeMap<Grade, u64>,
    /// How many positions would stay open.
    pub stay_open: u64,
}

/// Who holds events that the backup lacks.
#[derive(Debug, Clone, Serialize)]
pub struct Holder {
    /// The outbox, log, export or dump.
    pub witness: String,
    /// What it is.
    pub kind: &'static str,
    /// The agent whose outbox it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<String>,
    /// How many.
    pub events: u64,
    /// It is the live log, which a disaster would take away.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub live: bool,
}

/// The positions that a plan brings back, with their grades.
pub(super) type Planned = BTreeMap<StreamKey, BTreeMap<u64, Grade>>;

/// Reads which events a plan brings back.
pub(super) fn planned(plan: &PlanFile) -> Result<Planned, RecoveryError> {
    let mut planned = Planned::new();
    let mut current = None;
    plan.read(|line| {
        match line {
            PlanLine::Stream(stream) => current = Some(stream.stream),
            PlanLine::Event(event) => {
                if let Some(stream) = current {
                    planned
                        .entry(stream)
                        .or_default()
                        .insert(event.sequence, event.grade);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    Ok(planned)
}

/// What each stream lacks, by the audit of the backup with all witnesses, and what of it a plan brings back.
pub(super) fn lacks(audit: &AuditReport, planned: &Planned) -> (Vec<StreamLacks>, Repair) {
    let mut repair = Repair::default();
    let mut streams = Vec::new();
    for stream in audit.streams.iter().filter(|s| s.missing > 0) {
        let missing: Spans = stream
            .gaps
            .iter()
            .filter_map(|gap| Span::new(gap.from, gap.to))
            .collect();
        let back = planned.get(&stream.stream);
        let back = back
            .into_iter()
            .flatten()
            .filter(|(position, _)| missing.contains(**position));
        let mut come_back = 0;
        for (_, grade) in back {
            come_back += 1;
            *repair.by_grade.entry(*grade).or_default() += 1;
        }
        let stay_open = stream.missing.saturating_sub(come_back);
        repair.come_back += come_back;
        repair.stay_open = repair.stay_open.saturating_add(stay_open);
        streams.push(of_stream(stream, come_back, stay_open));
    }
    (streams, repair)
}

fn of_stream(stream: &StreamReport, come_back: u64, stay_open: u64) -> StreamLacks {
    StreamLacks {
        stream: stream.stream,
        head: stream.head,
        head_sequenced_at: stream.head_sequenced_at,
        known_head: stream.head_known.as_ref().map(|witness| witness.sequence),
        events: stream.missing,
        from: stream.gaps.first().map_or(0, |gap| gap.from),
        to: stream.gaps.last().map_or(0, |gap| gap.to),
        from_sequenced_at: None,
        come_back,
        stay_open,
    }
}

/// Who holds what the backup lacks, those that hold most first.
pub(super) fn holders(audit: &AuditReport, live: Option<&str>) -> Vec<Holder> {
    let mut holders: Vec<Holder> = audit
        .heard
        .iter()
        .filter(|heard| heard.missing_held > 0)
        .map(|heard| Holder {
            witness: heard.path.clone(),
            kind: heard.kind.as_str(),
            agent_id: heard.agent_id.clone(),
            events: heard.missing_held,
            live: live == Some(heard.path.as_str()),
        })
        .collect();
    holders.sort_by(|a, b| (b.events, &a.witness).cmp(&(a.events, &b.witness)));
    holders
}

/// Asks the live log when the first event that a stream lacks was numbered.
pub(super) async fn ask_times(live: &Log, streams: &mut [StreamLacks]) -> Result<(), CheckFailure> {
    let mut view: View = live.view().await?;
    for stream in streams {
        let first = view
            .entries(&stream.stream, stream.from..=stream.from)
            .await?
            .rows;
        stream.from_sequenced_at = first.first().map(|entry| entry.sequenced_at);
    }
    Ok(())
}
