//! The record of a recovery, rehearsed or in earnest: one document for both, `dr-report/2`, documented in docs/drill.md.
//! What an incident cannot know (which events nobody is left to tell of) is absent there, and never 0.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ves::{StreamKey, Timestamp};

/// The document's name and version.
pub const SCHEMA: &str = "dr-report/2";

/// The version before, which told less and is still read: see [`DrReport::read`].
pub const SCHEMA_1: &str = "dr-report/1";

/// The folder that reports are kept in, where no other is named.
pub const FOLDER: &str = "recovery_reports";

/// The record of one drill or incident.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct DrReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// A drill or an incident.
    pub kind: ReportKind,
    /// Which one: with the day of [`DrReport::started_at`] it names the file.
    pub id: String,
    /// What happened.
    pub scenario: Scenario,
    /// What took part.
    pub versions: Versions,
    /// When it began: the drill, or the outage.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Whether every check held.
    pub result: PassFail,
    /// What the command ended with: the bits of the exit status.
    pub exit_status: u8,
    /// The parts, in order.
    pub phases: Vec<Phase>,
    /// What became of the events.
    pub events: EventCounts,
    /// Recovery time and point, against what was wanted.
    pub objectives: Objectives,
    /// How much of what should be there is there, and holds.
    pub integrity: Integrity,
    /// What had to hold, and whether it did.
    pub checks: Vec<Check>,
    /// By stream.
    pub streams: Vec<StreamOutcome>,
    /// How often somebody had to step in.
    pub manual_interventions: u64,
    /// What was done then.
    pub interventions: Vec<Intervention>,
    /// What was not checked, and why.
    pub not_checked: Vec<String>,
}

/// A drill or an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReportKind {
    /// A rehearsal in a world of its own.
    Drill,
    /// A recovery in earnest.
    Incident,
}

impl ReportKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drill => "drill",
            Self::Incident => "incident",
        }
    }
}

/// What happened.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// `embedded` (a snapshot file that was cut), `pitr` (a real server, restored to a point in time), `incident`.
    pub name: String,
    /// What took and restored the backup, with its release.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
    /// What went wrong besides, by name.
    #[serde(default)]
    pub faults: Vec<String>,
    /// Where all variation of a drill's world comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// How many streams.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub streams: Option<u64>,
    /// How many agents in all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<u64>,
    /// How many events each stream had at the disaster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub events_per_stream: Option<u64>,
    /// How much the recovery was to lose: `35%`, `60 events`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost: Option<String>,
    /// The timeline of the server before the restore and after the promotion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timelines: Option<(u32, u32)>,
}

/// What took part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Versions {
    /// The tool and its version.
    pub tool: String,
    /// The commit that the tool was built from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// The database server.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// The backup tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup: Option<String>,
}

/// `PASS` or `FAIL`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum PassFail {
    /// Every check held.
    Pass,
    /// One did not.
    Fail,
}

impl PassFail {
    /// Of these checks.
    pub fn of(checks: &[Check]) -> Self {
        if checks.iter().all(|check| check.passed) {
            Self::Pass
        } else {
            Self::Fail
        }
    }

    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Fail => "FAIL",
        }
    }
}

/// A part of the recovery.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// Its name: `restore`, `audit`, `plan`, `apply`, `verify`, …
    pub name: String,
    /// What did the work: a tool, the server, a person.
    pub component: String,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// How long it took.
    pub seconds: f64,
    /// How long it was to take at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target_seconds: Option<f64>,
    /// Whether it took no longer than that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub met: Option<bool>,
}

/// What became of the events. What nobody can know is absent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventCounts {
    /// In the log at the disaster: the truth of a drill; in an incident, as far as witnesses know.
    pub before: Option<u64>,
    /// Lost by the recovery, as far as is known.
    pub lost: Option<u64>,
    /// Brought back.
    pub restored: u64,
    /// So many would have been brought back without checkpoints. Only a drill with checkpoints knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub without_checkpoints: Option<u64>,
    /// That never had a number and got one by the repair.
    pub appended: u64,
    /// Whose positions were closed by a certificate or a tombstone: nobody is expected to have them.
    pub lost_for_good: u64,
    /// Not brought back, though somebody may have them.
    pub unresolved: Option<u64>,
    /// Of the unresolved: held by nobody who is left. Only a drill knows.
    pub held_by_nobody: Option<u64>,
    /// At a position that was never theirs. Only a drill knows.
    pub misplaced: Option<u64>,
}

/// Recovery time and point.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Objectives {
    /// Recovery time.
    pub rto: RecoveryTime,
    /// Recovery point.
    pub rpo: RecoveryPoint,
}

/// Recovery time: of a drill, from the restore (embedded: from the first audit) to the verified repair; of an incident, from
/// the beginning of the outage to the running sequencer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RecoveryTime {
    /// How long it took; absent if the timeline does not tell.
    pub seconds_reached: Option<f64>,
    /// How long it was to take at most.
    pub seconds_wanted: Option<f64>,
    /// Whether it took no longer; absent if nothing was wanted or it is not known.
    pub met: Option<bool>,
}

impl RecoveryTime {
    /// Against what was wanted.
    pub fn new(reached: Option<f64>, wanted: Option<f64>) -> Self {
        Self {
            seconds_reached: reached,
            seconds_wanted: wanted,
            met: met(reached, wanted),
        }
    }
}

/// Recovery point: from the last event before the first one that is missing to the disaster, in the worst stream, and how many
/// events are missing.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RecoveryPoint {
    /// As the recovery gave the log back.
    pub seconds_before_repair: Option<f64>,
    /// As the recovery gave the log back.
    pub events_before_repair: Option<u64>,
    /// After the repair; 0 if nothing is missing.
    pub seconds_reached: Option<f64>,
    /// After the repair.
    pub events_reached: Option<u64>,
    /// How far it was to reach back at most.
    pub seconds_wanted: Option<f64>,
    /// Whether it reaches back no further; absent if nothing was wanted or it is not known.
    pub met: Option<bool>,
    /// The recovery point of proof: from the last event that an anchor or a checkpoint covers to the disaster, in the worst
    /// stream. Of an incident: to the last event of the log as it was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof_seconds: Option<f64>,
    /// How many numbers behind that were given out, as far as is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proof_events: Option<u64>,
}

/// Whether what was reached is within what was wanted; `None` if either is not known.
pub fn met(reached: Option<f64>, wanted: Option<f64>) -> Option<bool> {
    Some(reached? <= wanted?)
}

/// How much of what should be there is there, and holds. Nothing that is missing counts as passed.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Integrity {
    /// Positions that were given out: all that an event should stand at.
    pub positions_expected: Option<u64>,
    /// Of those, the ones at which one stands after the repair.
    pub positions_present: Option<u64>,
    /// Batches whose roots are the anchored ones.
    pub batches_matching_anchors: u64,
    /// Batches whose roots are the log's own, not anchored.
    pub batches_matching_database: u64,
    /// Batches whose roots differ.
    pub batches_failed: u64,
    /// Batches that still lack events, or could not be looked at.
    pub batches_not_checked: u64,
    /// The worse of two shares, from 0 to 1: of the positions expected, those present; of all batches, those that match.
    /// Absent if there is nothing to count.
    pub pass_rate: Option<f64>,
}

impl Integrity {
    /// The counts with their pass rate.
    #[must_use]
    pub fn rated(mut self) -> Self {
        let share = |part: u64, of: u64| (of > 0).then(|| part as f64 / of as f64);
        let positions = self
            .positions_expected
            .zip(self.positions_present)
            .and_then(|(expected, present)| share(present.min(expected), expected));
        let matching = self
            .batches_matching_anchors
            .saturating_add(self.batches_matching_database);
        let others = self.batches_failed.saturating_add(self.batches_not_checked);
        let batches = share(matching, matching.saturating_add(others));
        self.pass_rate = [positions, batches].into_iter().flatten().reduce(f64::min);
        self
    }
}

/// Something that had to hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What.
    pub name: String,
    /// Whether it did.
    pub passed: bool,
    /// What was seen.
    pub detail: String,
}

/// One stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamOutcome {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Its head at the disaster, as far as is known.
    pub head_before: Option<u64>,
    /// Its head as recovered.
    pub head_recovered: u64,
    /// Its head after the repair.
    pub head_repaired: u64,
    /// Its counter after the repair.
    pub counter: Option<u64>,
    /// Events brought back.
    pub restored: u64,
    /// Events not brought back.
    pub unresolved: u64,
    /// The number that the sequencer gave its next event, where it went on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub went_on_at: Option<u64>,
    /// Why no commitment can go on, where none can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_commitment: Option<String>,
}

/// Something that somebody did by hand, or ran.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intervention {
    /// When.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// What.
    pub what: String,
}

/// A report of the version before, as far as trends are drawn from it.
#[derive(Debug, Deserialize)]
struct Report1 {
    tool: String,
    started_at: Timestamp,
    seed: u64,
    result: PassFail,
    phases: Vec<Phase1>,
    events: EventCounts1,
    objectives: Objectives1,
    integrity: Integrity1,
    checks: Vec<Check>,
    streams: Vec<Stream1>,
    manual_interventions: u64,
    not_checked: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Phase1 {
    name: String,
    seconds: f64,
}

#[derive(Debug, Deserialize)]
struct EventCounts1 {
    before: u64,
    lost: u64,
    restored: u64,
    unresolved: u64,
    held_by_nobody: u64,
    misplaced: u64,
}

#[derive(Debug, Deserialize)]
struct Objectives1 {
    rto_seconds_reached: f64,
    rto_seconds_wanted: Option<f64>,
    rpo_seconds_before_repair: f64,
    rpo_events_before_repair: Option<u64>,
    rpo_seconds_reached: f64,
    rpo_events_reached: Option<u64>,
    rpo_seconds_wanted: Option<f64>,
}

#[derive(Debug, Deserialize)]
struct Integrity1 {
    batches_matching_anchors: u64,
    batches_matching_database: u64,
    batches_failed: u64,
    batches_not_checked: u64,
}

#[derive(Debug, Deserialize)]
struct Stream1 {
    #[serde(flatten)]
    stream: StreamKey,
    head_before: u64,
    head_recovered: u64,
    head_repaired: u64,
    counter: Option<u64>,
    restored: u64,
    unresolved: u64,
}

impl From<Report1> for DrReport {
    fn from(old: Report1) -> Self {
        let phases = phases_of(old.phases, old.started_at);
        let ended_at = phases.last().map_or(old.started_at, |phase| phase.ended_at);
        Self {
            schema: SCHEMA_1.to_owned(),
            kind: ReportKind::Drill,
            id: format!("embedded-seed-{}", old.seed),
            scenario: Scenario {
                name: "embedded".to_owned(),
                seed: Some(old.seed),
                streams: Some(old.streams.len() as u64),
                ..Scenario::default()
            },
            versions: Versions {
                tool: old.tool,
                ..Versions::default()
            },
            started_at: old.started_at,
            ended_at,
            result: old.result,
            exit_status: if old.result == PassFail::Pass { 0 } else { 4 },
            phases,
            integrity: Integrity {
                positions_expected: Some(old.events.before),
                positions_present: Some(old.events.before.saturating_sub(old.events.unresolved)),
                batches_matching_anchors: old.integrity.batches_matching_anchors,
                batches_matching_database: old.integrity.batches_matching_database,
                batches_failed: old.integrity.batches_failed,
                batches_not_checked: old.integrity.batches_not_checked,
                pass_rate: None,
            }
            .rated(),
            events: old.events.into(),
            objectives: old.objectives.into(),
            checks: old.checks,
            streams: old.streams.into_iter().map(StreamOutcome::from).collect(),
            manual_interventions: old.manual_interventions,
            interventions: Vec::new(),
            not_checked: old.not_checked,
        }
    }
}

/// The old report has no times of its phases: each begins where the one before ended.
fn phases_of(old: Vec<Phase1>, started_at: Timestamp) -> Vec<Phase> {
    let mut at = started_at;
    let phases = old.into_iter().map(|phase| {
        let started_at = at;
        at = Timestamp(at.0.saturating_add((phase.seconds * 1e6) as i64));
        Phase {
            name: phase.name,
            component: String::new(),
            started_at,
            ended_at: at,
            seconds: phase.seconds,
            target_seconds: None,
            met: None,
        }
    });
    phases.collect()
}

impl From<EventCounts1> for EventCounts {
    fn from(old: EventCounts1) -> Self {
        Self {
            before: Some(old.before),
            lost: Some(old.lost),
            restored: old.restored,
            unresolved: Some(old.unresolved),
            held_by_nobody: Some(old.held_by_nobody),
            misplaced: Some(old.misplaced),
            ..Self::default()
        }
    }
}

impl From<Objectives1> for Objectives {
    fn from(old: Objectives1) -> Self {
        Self {
            rto: RecoveryTime::new(Some(old.rto_seconds_reached), old.rto_seconds_wanted),
            rpo: RecoveryPoint {
                seconds_before_repair: Some(old.rpo_seconds_before_repair),
                events_before_repair: old.rpo_events_before_repair,
                seconds_reached: Some(old.rpo_seconds_reached),
                events_reached: old.rpo_events_reached,
                seconds_wanted: old.rpo_seconds_wanted,
                met: met(Some(old.rpo_seconds_reached), old.rpo_seconds_wanted),
                proof_seconds: None,
                proof_events: None,
            },
        }
    }
}

impl From<Stream1> for StreamOutcome {
    fn from(old: Stream1) -> Self {
        Self {
            stream: old.stream,
            head_before: Some(old.head_before),
            head_recovered: old.head_recovered,
            head_repaired: old.head_repaired,
            counter: old.counter,
            restored: old.restored,
            unresolved: old.unresolved,
            went_on_at: None,
            no_commitment: None,
        }
    }
}

impl DrReport {
    /// Reads a report of this version or the one before from its JSON.
    ///
    /// # Errors
    /// What it is instead, in words.
    pub fn read(text: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Named {
            schema: Option<String>,
        }
        let named: Named =
            serde_json::from_slice(text).map_err(|error| format!("no JSON document: {error}"))?;
        let read = match named.schema.as_deref() {
            Some(SCHEMA) => serde_json::from_slice(text),
            Some(SCHEMA_1) => serde_json::from_slice::<Report1>(text).map(Self::from),
            Some(other) => return Err(format!("a document of another kind: {other}")),
            None => return Err("a document without a schema".to_owned()),
        };
        read.map_err(|error| format!("not as its schema says: {error}"))
    }

    /// Where a report is kept that no other place was named for: by the day that it began and its id, within [`FOLDER`].
    /// `taken` says which names are not free.
    pub fn default_path(id: &str, started_at: Timestamp, taken: impl Fn(&Path) -> bool) -> PathBuf {
        let day: String = started_at.to_string().chars().take(10).collect();
        let named = |end: String| Path::new(FOLDER).join(format!("{day}-{id}{end}.json"));
        let mut names = (1..10_000).map(|n| match n {
            1 => named(String::new()),
            n => named(format!("-{n}")),
        });
        names
            .find(|path| !taken(path))
            .unwrap_or_else(|| named("-new".to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_no_pass() {
        let integrity = Integrity {
            positions_expected: Some(100),
            positions_present: Some(90),
            batches_matching_anchors: 8,
            batches_not_checked: 2,
            ..Integrity::default()
        };
        assert_eq!(integrity.rated().pass_rate, Some(0.8));
        let whole = Integrity {
            positions_expected: Some(100),
            positions_present: Some(100),
            batches_matching_anchors: 8,
            ..Integrity::default()
        };
        assert_eq!(whole.clone().rated().pass_rate, Some(1.0));
        let hole = Integrity {
            positions_present: Some(50),
            ..whole
        };
        assert_eq!(hole.rated().pass_rate, Some(0.5));
        assert_eq!(Integrity::default().rated().pass_rate, None);
    }

    #[test]
    fn what_is_not_known_is_neither_met_nor_missed() {
        assert_eq!(met(None, Some(1.0)), None);
        assert_eq!(met(Some(1.0), None), None);
        assert_eq!(RecoveryTime::new(Some(2.0), Some(1.0)).met, Some(false));
    }

    #[test]
    fn a_free_name_is_found() {
        let at: Timestamp = "2026-11-28T22:00:00Z".parse().unwrap();
        let path = DrReport::default_path("pitr", at, |path| {
            path == Path::new("recovery_reports/2026-11-28-pitr.json")
        });
        assert_eq!(path, Path::new("recovery_reports/2026-11-28-pitr-2.json"));
    }

    #[test]
    fn others_documents_are_told_apart() {
        assert!(DrReport::read(b"[1]").unwrap_err().contains("no JSON document"));
        assert!(DrReport::read(b"{}").unwrap_err().contains("without a schema"));
        let other = DrReport::read(br#"{"schema":"recovery-audit/1"}"#).unwrap_err();
        assert!(other.contains("recovery-audit/1"), "{other}");
        let broken = DrReport::read(br#"{"schema":"dr-report/2","kind":"drill"}"#).unwrap_err();
        assert!(broken.contains("missing field"), "{broken}");
    }
}
