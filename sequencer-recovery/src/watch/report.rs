//! What a watch says at its end.

use event_log::Place;
use serde::Serialize;
use ves::StreamKey;

use super::alarms::Alarm;
use super::look::Watch;

/// The report's schema.
pub const SCHEMA: &str = "watch-report/1";

/// See the module. Documented in docs/watch.md.
#[derive(Debug, Serialize)]
pub struct WatchReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The log, without secrets.
    pub db: String,
    /// Where the last look was at; nothing if none succeeded.
    pub place: Option<Place>,
    /// The file of what is remembered.
    pub memory: String,
    /// The streams, by tenant and store.
    pub streams: Vec<StreamWatched>,
    /// The problems that are open, by source.
    pub problems: Vec<Alarm>,
    /// Problems that were seen first in this run.
    pub raised: u64,
    /// Problems that ended in this run.
    pub ended: u64,
    /// Looks that succeeded.
    pub looks: u64,
    /// Looks that failed.
    pub failed: u64,
    /// Rows of events that were read.
    pub rows: u64,
    /// New events that were judged.
    pub new_events: u64,
    /// Old events that were read again.
    pub scrubbed: u64,
    /// When the last whole pass over old events ended: RFC 3339, UTC.
    pub scrub_completed_at: Option<String>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

/// A stream.
#[derive(Debug, Clone, Serialize)]
pub struct StreamWatched {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Its highest number.
    pub head: Option<u64>,
    /// Its counter.
    pub counter: Option<u64>,
    /// Numbers without an event.
    pub missing: u64,
    /// The highest number in a commitment that was judged.
    pub committed: u64,
    /// The highest number that is anchored.
    pub anchored: Option<u64>,
    /// The highest number that anybody knew of, and who.
    pub highest: u64,
    /// Who.
    pub highest_by: String,
    /// Problems of it that are open.
    pub problems: u64,
}

impl WatchReport {
    /// Of a watch as it stands.
    pub fn of(watch: &Watch, db: String, place: Option<Place>, not_checked: Vec<String>) -> Self {
        let problems: Vec<Alarm> = watch.alarms.open().cloned().collect();
        let stream = |(key, of): (&StreamKey, &crate::watch_memory::Remembered)| {
            let head = watch.heads.get(key);
            let open = problems.iter().filter(|alarm| alarm.finding.stream == Some(*key));
            StreamWatched {
                stream: *key,
                head: head.and_then(|head| head.last),
                counter: head.and_then(|head| head.counter),
                missing: watch.missing.get(key).copied().unwrap_or(0),
                committed: of.committed,
                anchored: watch.anchored.last(key),
                highest: of.highest,
                highest_by: of.highest_by.clone(),
                problems: open.count() as u64,
            }
        };
        let counted = &watch.counted;
        Self {
            schema: SCHEMA,
            db,
            place,
            memory: watch.memory.path().display().to_string(),
            streams: watch.memory.streams.iter().map(stream).collect(),
            raised: 0,
            ended: 0,
            looks: counted.looks,
            failed: counted.failed,
            rows: counted.rows,
            new_events: counted.new_rows,
            scrubbed: counted.scrubbed,
            scrub_completed_at: watch.memory.scrub.completed_at.clone(),
            problems,
            not_checked,
        }
    }
}
