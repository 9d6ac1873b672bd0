//! What a watch tells Prometheus. Names and meanings are listed in docs/watch.md, and a test holds them together.

use std::collections::BTreeMap;
use std::time::Duration;

use cli_common::metrics::{MetricKind, Metrics};
use ves::StreamKey;

use super::look::Watch;
use crate::finding::Code;

/// Values for each stream are told of so many streams, those with open problems first: more would cost the server that keeps
/// them more than they are worth.
const MOST_STREAMS: usize = 1000;

/// What the watch itself does not know.
#[derive(Debug, Clone, Copy, Default)]
pub struct Beside {
    /// Whether the last look succeeded.
    pub up: bool,
    /// When the last look that succeeded ended, in seconds since 1970.
    pub looked_at: f64,
    /// How long it took.
    pub took: Duration,
    /// When anchors were read last, in seconds since 1970.
    pub anchors_at: Option<f64>,
    /// When outboxes were read last, in seconds since 1970.
    pub outboxes_at: Option<f64>,
    /// When checkpoints were signed last, in seconds since 1970.
    pub checkpoints_at: Option<f64>,
    /// Turns of work on other threads that failed.
    pub failed_jobs: u64,
    /// When the last pass over old rows ended, in seconds since 1970.
    pub scrubbed_at: Option<f64>,
}

/// The page.
pub fn metrics(watch: &Watch, beside: &Beside) -> Metrics {
    let mut page = Metrics::default();
    of_looks(&mut page, watch, beside);
    of_problems(&mut page, watch);
    of_scrub(&mut page, watch, beside);
    of_others(&mut page, beside);
    of_streams(&mut page, watch);
    page
}

fn of_looks(page: &mut Metrics, watch: &Watch, beside: &Beside) {
    let counted = &watch.counted;
    let up = f64::from(u8::from(beside.up));
    page.one(
        "sequencer_watch_up",
        MetricKind::Gauge,
        "Whether the last look at the log succeeded.",
        up,
    );
    page.one(
        "sequencer_watch_last_look_timestamp_seconds",
        MetricKind::Gauge,
        "When the last look that succeeded ended.",
        beside.looked_at,
    );
    page.one(
        "sequencer_watch_last_look_duration_seconds",
        MetricKind::Gauge,
        "How long it took.",
        beside.took.as_secs_f64(),
    );
    page.one(
        "sequencer_watch_memory_written",
        MetricKind::Gauge,
        "Whether what is remembered is written down.",
        f64::from(u8::from(watch.written)),
    );
    let counters = [
        (
            "sequencer_watch_looks_total",
            "Looks that succeeded.",
            counted.looks as f64,
        ),
        (
            "sequencer_watch_looks_failed_total",
            "Looks that failed.",
            counted.failed as f64,
        ),
        (
            "sequencer_watch_look_seconds_total",
            "How long looks took together.",
            counted.seconds,
        ),
        (
            "sequencer_watch_rows_read_total",
            "Rows of events that were read.",
            counted.rows as f64,
        ),
        (
            "sequencer_watch_new_events_total",
            "New events that were judged.",
            counted.new_rows as f64,
        ),
        (
            "sequencer_watch_memory_failures_total",
            "Times that the memory could not be written down.",
            counted.unsaved as f64,
        ),
    ];
    for (name, help, value) in counters {
        page.one(name, MetricKind::Counter, help, value);
    }
}

fn of_problems(page: &mut Metrics, watch: &Watch) {
    let mut open: BTreeMap<Code, u64> = BTreeMap::new();
    for alarm in watch.alarms.open() {
        *open.entry(alarm.finding.code).or_default() += 1;
    }
    let total: u64 = open.values().sum();
    page.one(
        "sequencer_watch_problems",
        MetricKind::Gauge,
        "Problems that are open.",
        total as f64,
    );
    let labels: Vec<([(&str, &str); 1], f64)> = open
        .iter()
        .map(|(code, count)| ([("code", code.as_str())], *count as f64))
        .collect();
    page.family(
        "sequencer_watch_problems_by_code",
        MetricKind::Gauge,
        "Problems that are open, by the code of the finding.",
        labels.iter().map(|(labels, value)| (&labels[..], *value)),
    );
    let rewound = open.contains_key(&Code::HistoryRewound);
    page.one(
        "sequencer_watch_history_rewound",
        MetricKind::Gauge,
        "Whether a stream is less than it was, or another: stop the sequencer.",
        f64::from(u8::from(rewound)),
    );
    let missing: u64 = watch.missing.values().sum();
    page.one(
        "sequencer_watch_missing_events",
        MetricKind::Gauge,
        "Numbers without an event.",
        missing as f64,
    );
}

fn of_scrub(page: &mut Metrics, watch: &Watch, beside: &Beside) {
    let (before, total) = watch.scrubbed();
    let ratio = if total == 0 {
        0.0
    } else {
        before as f64 / total as f64
    };
    page.one(
        "sequencer_watch_scrub_progress_ratio",
        MetricKind::Gauge,
        "How much of the pass over old events is done, from 0 to 1.",
        ratio,
    );
    page.one(
        "sequencer_watch_scrubbed_events_total",
        MetricKind::Counter,
        "Old events that were read and verified again.",
        watch.counted.scrubbed as f64,
    );
    at(
        page,
        "sequencer_watch_scrub_completed_timestamp_seconds",
        "When the last whole pass over old events ended.",
        beside.scrubbed_at,
    );
}

fn of_others(page: &mut Metrics, beside: &Beside) {
    let times = [
        (
            "sequencer_watch_anchors_timestamp_seconds",
            "When anchors were read last.",
            beside.anchors_at,
        ),
        (
            "sequencer_watch_outboxes_timestamp_seconds",
            "When outboxes were read last.",
            beside.outboxes_at,
        ),
        (
            "sequencer_watch_checkpoints_timestamp_seconds",
            "When checkpoints were signed last.",
            beside.checkpoints_at,
        ),
    ];
    for (name, help, value) in times {
        at(page, name, help, value);
    }
    page.one(
        "sequencer_watch_jobs_failed_total",
        MetricKind::Counter,
        "Looks at anchors, outboxes and checkpoints that failed.",
        beside.failed_jobs as f64,
    );
}

fn at(page: &mut Metrics, name: &str, help: &str, value: Option<f64>) {
    if let Some(value) = value {
        page.one(name, MetricKind::Gauge, help, value);
    }
}

fn of_streams(page: &mut Metrics, watch: &Watch) {
    page.one(
        "sequencer_watch_streams",
        MetricKind::Gauge,
        "Streams.",
        watch.heads.len() as f64,
    );
    let names: Vec<(StreamKey, String, String)> = told(watch)
        .into_iter()
        .map(|key| (key, key.tenant_id.to_string(), key.store_id.to_string()))
        .collect();
    let mut family = |name: &str, help: &str, value: &dyn Fn(&StreamKey) -> Option<u64>| {
        let values: Vec<([(&str, &str); 2], f64)> = names
            .iter()
            .filter_map(|(key, tenant, store)| {
                let labels = [("tenant", tenant.as_str()), ("store", store.as_str())];
                Some((labels, value(key)? as f64))
            })
            .collect();
        page.family(
            name,
            MetricKind::Gauge,
            help,
            values.iter().map(|(labels, value)| (&labels[..], *value)),
        );
    };
    let head = |key: &StreamKey| watch.heads.get(key);
    family(
        "sequencer_watch_stream_head",
        "The highest number of an event.",
        &|key| head(key)?.last,
    );
    family(
        "sequencer_watch_stream_counter",
        "The last number that was given out.",
        &|key| head(key)?.counter,
    );
    family(
        "sequencer_watch_stream_committed",
        "The highest number in a commitment.",
        &|key| Some(watch.memory.streams.get(key)?.committed),
    );
    family(
        "sequencer_watch_stream_anchored",
        "The highest number that is anchored.",
        &|key| watch.anchored.last(key),
    );
    family(
        "sequencer_watch_stream_highest_known",
        "The highest number that anybody knew of.",
        &|key| Some(watch.memory.streams.get(key)?.highest),
    );
    family(
        "sequencer_watch_stream_missing",
        "Numbers without an event.",
        &|key| watch.missing.get(key).copied(),
    );
}

/// The streams that are told one by one.
fn told(watch: &Watch) -> Vec<StreamKey> {
    let with_problems = watch.alarms.open().filter_map(|alarm| alarm.finding.stream);
    let mut told: Vec<StreamKey> = with_problems.collect();
    told.sort_unstable();
    told.dedup();
    let rest: Vec<StreamKey> = watch
        .heads
        .keys()
        .filter(|key| told.binary_search(key).is_err())
        .copied()
        .collect();
    told.extend(rest);
    told.truncate(MOST_STREAMS);
    told.sort_unstable();
    told
}
