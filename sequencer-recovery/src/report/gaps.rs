//! The gaps alone: which numbers each stream lacks, as far as the log itself knows, without reading an event. The first
//! look after a recovery; [`crate::report::audit`] is the thorough one.

use cli_common::Cancel;
use event_log::{Place, Rows, Sought, StreamFilter, StreamPresence, View};
use serde::Serialize;
use ves::StreamKey;

use crate::error::RecoveryError;
use crate::finding::{Finding, Severity};
use crate::gap::{self, Gap};
use crate::{damage, stream::preflight, stream::survey};

/// The report's name and version; documented in docs/audit.md.
pub const SCHEMA: &str = "recovery-gaps/1";

/// What is missing.
#[derive(Debug, Serialize)]
pub struct GapsReport {
    /// [`SCHEMA`].
    pub schema: &'static str,
    /// The log, without secrets.
    pub db: String,
    /// Where it was looked at.
    pub place: Place,
    /// The streams, by tenant and store.
    pub streams: Vec<StreamGaps>,
    /// What is damaged, where numbers seemed to be missing.
    pub findings: Vec<Finding>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

/// One stream.
#[derive(Debug, Serialize)]
pub struct StreamGaps {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// How many numbers are there.
    pub present: u64,
    /// The first of them.
    pub first: Option<u64>,
    /// The last of them.
    pub head: Option<u64>,
    /// The counter; `None` if its row is missing.
    pub counter: Option<u64>,
    /// The highest number that events, counter or commitments know.
    pub known_to: u64,
    /// How many numbers up to there are missing.
    pub missing: u64,
    /// How many rows repeat a number, or have one below 1: no sequencer writes such.
    pub odd: u64,
    /// Which are missing.
    pub gaps: Vec<Gap>,
}

impl StreamGaps {
    fn of(found: &StreamPresence) -> Self {
        let head = found.ranges.last().map(|range| *range.end());
        let known = [head, found.counter, found.last_committed];
        let known_to = known.into_iter().flatten().max().unwrap_or(0);
        let gaps = gap::gaps(&found.ranges, known_to);
        let widths = found
            .ranges
            .iter()
            .map(|r| (r.end() - r.start()).saturating_add(1));
        Self {
            stream: found.stream,
            present: widths.fold(0, u64::saturating_add),
            first: found.ranges.first().map(|range| *range.start()),
            head,
            counter: found.counter,
            known_to,
            missing: gaps.iter().map(Gap::count).fold(0, u64::saturating_add),
            odd: found.repeated.saturating_add(found.misnumbered),
            gaps,
        }
    }
}

impl GapsReport {
    /// How many numbers are missing, over all streams.
    pub fn missing(&self) -> u64 {
        self.streams
            .iter()
            .map(|s| s.missing)
            .fold(0, u64::saturating_add)
    }

    /// Whether nothing is wrong: no number missing, no row that no sequencer writes, no damage, and something there to
    /// look at.
    pub fn is_whole(&self) -> bool {
        let sound = |s: &StreamGaps| s.missing == 0 && s.odd == 0;
        let harmless = |finding: &Finding| finding.severity == Severity::Notice;
        !self.streams.is_empty() && self.streams.iter().all(sound) && self.findings.iter().all(harmless)
    }
}

/// Looks for gaps.
///
/// # Errors
/// What the log's database says, [`RecoveryError::Cancelled`].
pub async fn gaps(
    view: &mut View,
    db: String,
    filter: &StreamFilter,
    cancel: &Cancel,
) -> Result<GapsReport, RecoveryError> {
    let mut found = view.presence(filter).await?;
    cancel.check()?;
    let mut not_checked = Vec::new();
    let mut findings = Vec::new();
    let is_missing = |found: &Rows<StreamPresence>| found.rows.iter().any(|s| StreamGaps::of(s).missing > 0);
    if is_missing(&found) {
        // What the index lacks may be in the table, and is not lost then.
        let damage = view.look_for_hidden(Sought::Numbers).await?;
        cancel.check()?;
        findings = damage::findings(&damage);
        not_checked.extend(damage::not_checked(&damage));
        if !findings.is_empty() {
            found = view.presence(filter).await?;
        }
        not_checked.push("the other indexes (audit does)".into());
    } else {
        not_checked.push(
            "whether the indexes, which alone were asked, have what the tables have (audit does)".into(),
        );
    }
    not_checked.splice(0..0, found.unreadable.iter().map(ToString::to_string));
    not_checked.push("the events themselves, their receipts, the commitments' roots (audit does)".into());
    not_checked
        .push("numbers that only agents, the chain or other copies of the log know (audit asks them)".into());
    not_checked.extend(view.place().reservation());
    not_checked.extend(preflight::reservations(view));
    if found.rows.is_empty() {
        not_checked.push(survey::nothing(view, filter));
    }
    Ok(GapsReport {
        schema: SCHEMA,
        db,
        place: view.place().clone(),
        streams: found.rows.iter().map(StreamGaps::of).collect(),
        findings,
        not_checked,
    })
}
