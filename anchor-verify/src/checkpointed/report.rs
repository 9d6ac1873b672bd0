//! What `anchor-verify checkpoints` reports. The JSON form is described in `docs/checkpoints.md`.

use checkpoints::history::{CountedCheckpoint, Explanation, Generation};
use checkpoints::{Policy, StreamCheckpoints, Trust};
use cli_common::finding::{Code, Severity};
use event_log::Place;
use serde::Serialize;
use ves::{Hash32, StreamKey, Timestamp};

use super::against_anchors::Compared;
use super::against_log::ComparedLog;
use super::finding::{CheckpointFinding, log_findings};
use super::walk::Lane;

/// The form that this version writes.
pub const SCHEMA: &str = "checkpoints-report/1";

/// What checkpoints say.
#[derive(Debug, Clone, Serialize)]
pub struct CheckpointsReport {
    /// The files that were read.
    pub files: Vec<String>,
    /// How many entries they have.
    pub entries: u64,
    /// Whose signatures count.
    pub keys: Keys,
    /// The log that was held against them, without secrets.
    pub log: Option<String>,
    /// Where that log was looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// By stream, then deployment.
    pub streams: Vec<StreamReport>,
    /// What does not hold, or does not count.
    pub findings: Vec<CheckpointFinding>,
    /// How many findings are problems.
    pub problems: usize,
    /// How many are not.
    pub notices: usize,
    /// What was not checked.
    pub not_checked: Vec<String>,
}

/// Whose signatures count.
#[derive(Debug, Clone, Serialize)]
pub struct Keys {
    /// The deployments' keys, as `name+id`.
    pub logs: Vec<String>,
    /// The witnesses' keys.
    pub witnesses: Vec<String>,
    /// How many of them must have cosigned.
    pub least_witnesses: usize,
}

impl Keys {
    pub(super) fn of(policy: &Policy) -> Self {
        let short =
            |keys: &[checkpoints::VerifierKey]| keys.iter().map(checkpoints::VerifierKey::short).collect();
        Self {
            logs: short(policy.logs()),
            witnesses: short(policy.witnesses()),
            least_witnesses: policy.least_witnesses(),
        }
    }
}

/// The last checkpoint of a tree that holds.
#[derive(Debug, Clone, Serialize)]
pub struct Latest {
    /// How many events it covers.
    pub size: u64,
    /// The root over them.
    pub root: Hash32,
    /// When it was signed.
    pub time: Option<Timestamp>,
    /// The deployment's key that signed it.
    pub signed_by: String,
    /// The witnesses that cosigned it, and when by their clocks, in seconds since 1970.
    pub witnesses: Vec<Witnessed>,
}

/// A witness that cosigned.
#[derive(Debug, Clone, Serialize)]
pub struct Witnessed {
    /// Its key.
    pub key: String,
    /// When, in seconds since 1970.
    pub time: u64,
}

impl Latest {
    fn of(held: &CountedCheckpoint) -> Self {
        let Trust { log, witnesses } = &held.trust;
        let witnessed = witnesses.iter().map(|(key, time)| Witnessed {
            key: key.clone(),
            time: *time,
        });
        Self {
            size: held.checkpoint.size,
            root: held.checkpoint.root,
            time: held.checkpoint.time,
            signed_by: log.clone(),
            witnesses: witnessed.collect(),
        }
    }

    /// Whose word it is, in words.
    pub fn whose(&self) -> String {
        let witnesses = self.witnesses.iter().map(|w| (w.key.clone(), w.time));
        let trust = Trust {
            log: self.signed_by.clone(),
            witnesses: witnesses.collect(),
        };
        trust.describe()
    }
}

/// One tree of a stream.
#[derive(Debug, Clone, Serialize)]
pub struct GenerationReport {
    /// Which.
    pub generation: u32,
    /// How many checkpoints of it hold.
    pub checkpoints: u64,
    /// How many do not, since they contradict each other or continue one that does.
    pub contested: u64,
    /// The last that holds.
    pub latest: Option<Latest>,
    /// How many leaves are proven.
    pub leaves: u64,
    /// From each checkpoint to the next one: so many steps.
    pub steps: u64,
    /// Of so many it is proven that the tree only grew.
    pub steps_proven: u64,
    /// The first of the others: the sizes before and behind it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_unproven: Option<(u64, u64)>,
    /// What explains it.
    pub explained: Explanation,
    /// Up to where it is one with the generation before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub common_size: Option<u64>,
}

impl GenerationReport {
    /// `by_log` is the size up to which a log gives the roots of this tree: that proves the steps too.
    pub(super) fn of(generation: &Generation, explained: Explanation, by_log: Option<u64>) -> Self {
        let held = &generation.checkpoints;
        let is_proven =
            |held: &CountedCheckpoint| held.linked || by_log.is_some_and(|size| held.checkpoint.size <= size);
        let steps = held.iter().zip(held.iter().skip(1));
        let unproven = steps.filter(|(_, after)| !is_proven(after));
        let mut unproven = unproven.map(|(before, after)| (before.checkpoint.size, after.checkpoint.size));
        let first_unproven = unproven.next();
        let count = unproven.count() as u64 + u64::from(first_unproven.is_some());
        let steps = held.len().saturating_sub(1) as u64;
        Self {
            generation: generation.origin.generation,
            checkpoints: held.len() as u64,
            contested: generation.contested.len() as u64,
            latest: generation.latest().map(Latest::of),
            leaves: generation.proven_count(),
            steps,
            steps_proven: steps - count,
            first_unproven,
            explained,
            common_size: generation.continues().map(|continues| continues.size),
        }
    }

    /// What witnesses say of steps that no leaves prove.
    pub(super) fn witness_note(&self) -> &'static str {
        match &self.latest {
            Some(latest) if !latest.witnesses.is_empty() => {
                "; the witnesses that cosigned them asked for a proof"
            }
            _ => "",
        }
    }
}

/// What a log says to the checkpoints of a stream.
#[derive(Debug, Clone, Serialize)]
pub struct LogReport {
    /// The last number up to which the log has events without a hole.
    pub reached: u64,
    /// The largest checkpoint whose root the log gives.
    pub matches: Option<u64>,
    /// How many checkpoints have the root that it gives.
    pub matching: u64,
    /// How many have another.
    pub mismatching: u64,
    /// How many it does not reach.
    pub beyond: u64,
    /// How many events were compared with proven leaves.
    pub leaves_compared: u64,
    /// The first number at which the log has another event than the one that is proven.
    pub first_difference: Option<u64>,
}

impl LogReport {
    pub(super) fn of(of: &StreamCheckpoints, lane: &Lane<'_>, report: &mut CheckpointsReport) -> Self {
        let told = Self {
            reached: lane.reached,
            matches: lane.matched.map(|held| held.checkpoint.size),
            matching: lane.matches,
            mismatching: lane.mismatch.as_ref().map_or(0, |mismatch| mismatch.count),
            beyond: lane.unreached(),
            leaves_compared: lane.compared,
            first_difference: lane.first_difference,
        };
        for finding in log_findings(lane) {
            report.find(finding);
        }
        if lane.of_part && told.beyond > 0 {
            let what = format!(
                "stream {}: {} checkpoint(s) reach beyond the part of the log that was given, or it does not begin with \
                 number 1",
                of.stream, told.beyond
            );
            report.not_checked.push(what);
        }
        told
    }
}

/// What anchors say to the leaves that checkpoints prove.
#[derive(Debug, Clone, Serialize)]
pub struct AnchorsReport {
    /// Batches whose anchored root is that of the proven leaves.
    pub matching: u64,
    /// Batches with another.
    pub contradicting: u64,
    /// Batches of which not every leaf is proven, or whose anchors contradict each other.
    pub not_compared: u64,
}

impl AnchorsReport {
    pub(super) fn of(of: &StreamCheckpoints, compared: &Compared, report: &mut CheckpointsReport) -> Self {
        for wrong in &compared.contradicted {
            let (from, to) = wrong.range;
            let what = format!(
                "batch {} ({from} to {to}) is anchored with the root {}; the leaves that checkpoints prove give {}",
                wrong.batch_id, wrong.anchored, wrong.root
            );
            let mut finding = CheckpointFinding::new(Code::CheckpointAnchor, what).range(from, Some(to));
            finding.stream = Some(of.stream);
            report.find(finding);
        }
        for (count, why) in [
            (compared.unknown, "checkpoints do not prove all of their leaves"),
            (compared.contested, "their anchors contradict each other"),
        ] {
            if count > 0 {
                let what = format!("stream {}: {count} anchored batch(es): {why}", of.stream);
                report.not_checked.push(what);
            }
        }
        Self {
            matching: compared.matches,
            contradicting: compared.contradicted.len() as u64,
            not_compared: compared.unknown + compared.contested,
        }
    }
}

/// The checkpoints of one stream in one deployment.
#[derive(Debug, Clone, Serialize)]
pub struct StreamReport {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// The deployment that signed.
    pub deployment: String,
    /// The newest generation of which a checkpoint holds.
    pub generation: Option<u32>,
    /// Its last checkpoint that holds.
    pub latest: Option<Latest>,
    /// How many checkpoints hold, in all generations.
    pub checkpoints: u64,
    /// How many do not.
    pub contested: u64,
    /// How many leaves are proven of a log that continues the newest generation.
    pub leaves: u64,
    /// First generation first.
    pub generations: Vec<GenerationReport>,
    /// What the log says, if one was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogReport>,
    /// What anchors say, if any were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anchors: Option<AnchorsReport>,
    /// It takes part in a problem.
    pub bad: bool,
}

impl StreamReport {
    pub(super) fn of(
        of: &StreamCheckpoints,
        generations: Vec<GenerationReport>,
        log: Option<LogReport>,
        anchors: Option<AnchorsReport>,
    ) -> Self {
        let current = of.current();
        Self {
            stream: of.stream,
            deployment: of.deployment.clone(),
            generation: current.map(|generation| generation.origin.generation),
            latest: current.and_then(Generation::latest).map(Latest::of),
            checkpoints: generations.iter().map(|g| g.checkpoints).sum(),
            contested: generations.iter().map(|g| g.contested).sum(),
            leaves: of.proven_count(),
            generations,
            log,
            anchors,
            bad: false,
        }
    }
}

impl CheckpointsReport {
    pub(super) fn find(&mut self, finding: CheckpointFinding) {
        self.findings.push(finding);
    }

    /// What nobody was asked.
    pub(super) fn unasked(&mut self, policy: &Policy, anchors: bool, log: &ComparedLog<'_>) {
        self.not_checked.push(match policy.witnesses() {
            [] => "that the holder of the key signed no other history: no witness is asked (--witness-key), and only the \
                   files that were given were compared"
                .to_owned(),
            _ => "that the holder of the key and the witnesses together signed no other history: only the files that were \
                  given were compared"
                .to_owned(),
        });
        if log.name.is_none() {
            let what = "that the log is what was signed: no log was given (--db, --events)";
            self.not_checked.push(what.to_owned());
        }
        self.not_checked.push(match anchors {
            true => "that the anchors are on the chain; `anchor-verify verify` says that".to_owned(),
            false => "that the leaves are what was anchored: no anchors were given (--anchors)".to_owned(),
        });
    }

    /// Sorts and counts what was found.
    pub(super) fn count(&mut self) {
        self.findings.sort_by_key(|finding| {
            (
                std::cmp::Reverse(finding.severity),
                finding.code.rank(),
                finding.stream,
            )
        });
        self.problems = (self.findings.iter())
            .filter(|finding| finding.severity == Severity::Problem)
            .count();
        self.notices = self.findings.len() - self.problems;
        let bad: std::collections::BTreeSet<StreamKey> = (self.findings.iter())
            .filter(|finding| finding.severity == Severity::Problem)
            .filter_map(|finding| finding.stream)
            .collect();
        for stream in &mut self.streams {
            stream.bad = bad.contains(&stream.stream);
        }
    }
}
