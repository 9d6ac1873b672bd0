//! The course of an incident: its timeline and evidence read as one, and the times that follow from them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use cli_common::CliError;
use cli_common::incident::timeline::{Entry, Evidence, Happening, Moment};
use cli_common::incident::{Incident, IncidentFolder};
use serde::Serialize;
use sha2::{Digest as _, Sha256};
use ves::{Hash32, Timestamp};

use super::facts::{self, Audit, Brought, Report};
use crate::dr_report::Intervention;

/// The course of an incident.
#[derive(Debug)]
pub struct Course {
    /// What the incident is.
    pub incident: Incident,
    /// When its folder was made.
    pub started_at: Option<Timestamp>,
    /// When it was closed.
    pub closed_at: Option<Timestamp>,
    /// The moments that were noted; of one that was noted twice the later note counts.
    pub moments: BTreeMap<Moment, Timestamp>,
    /// What was noted, in order.
    pub notes: Vec<Note>,
    /// The commands that were run, in the order in which they began.
    pub runs: Vec<Run>,
    /// What is wrong with the folder: entries or evidence that were changed, cut off or lost.
    pub faults: Vec<String>,
}

/// Something that was told.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Note {
    /// When it happened.
    pub happened_at: Timestamp,
    /// The moment that it tells of, if it tells of one.
    pub moment: Option<Moment>,
    /// What.
    pub text: String,
    /// Whether somebody stepped in by hand.
    pub intervention: bool,
}

/// A command that was run.
#[derive(Debug, Clone)]
pub struct Run {
    /// The entry of its beginning.
    pub n: u64,
    /// `sequencer-recovery`.
    pub tool: String,
    /// The tool's version, and its commit.
    pub version: String,
    /// `audit`.
    pub command: String,
    /// The command line, without secrets.
    pub line: String,
    /// When it began.
    pub began_at: Timestamp,
    /// How it ended; `None` where nobody noted that it did.
    pub end: Option<End>,
    /// What its reports say.
    pub reports: Vec<Report>,
}

/// How a command ended.
#[derive(Debug, Clone)]
pub struct End {
    /// When.
    pub at: Timestamp,
    /// Its exit status.
    pub status: u8,
    /// What it failed with.
    pub error: Option<String>,
    /// What came of it.
    pub evidence: Vec<Evidence>,
}

/// Bits of an exit status with which the work was not done: it failed, was asked for wrongly, or was stopped.
const NOT_DONE: u8 = 8 | 16 | 32;

impl Run {
    /// Whether its work was done, whatever it found.
    pub fn is_done(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.status & NOT_DONE == 0)
    }

    /// How long it ran.
    pub fn seconds(&self) -> Option<f64> {
        self.end.as_ref().map(|end| end.at.seconds_since(self.began_at))
    }

    /// What it changed in the log, in the agents' outboxes or at the sequencer; `None` if nothing, as far as is known.
    pub fn intervention(&self) -> Option<String> {
        let status = self.end.as_ref().map(|end| end.status);
        let corrected = status.is_some_and(|status| status & 1 != 0);
        let dry = self
            .reports
            .iter()
            .any(|r| matches!(r, Report::Apply(apply) if apply.dry_run));
        let changes = match self.command.as_str() {
            "apply" => !dry && corrected,
            "undo" | "counters" | "reconcile" => corrected,
            // What it sent is in its report; it changes the log as soon as it sends anything.
            "push" => !self.line.contains("--dry-run") && status.is_some(),
            _ => false,
        };
        changes.then(|| format!("{} {}", self.tool, self.command))
    }
}

/// A report among the evidence is not read beyond this.
const MAX_REPORT: u64 = 512 << 20;

impl Course {
    /// Reads the folder of an incident.
    ///
    /// # Errors
    /// It is none, or its timeline cannot be read. What was changed in it is no error: [`Course::faults`].
    pub fn read(folder: &IncidentFolder) -> Result<Self, CliError> {
        let incident = folder.incident()?;
        let timeline = folder.timeline()?;
        let mut course = Self {
            started_at: incident.started_at.parse().ok(),
            incident,
            closed_at: timeline.closed().and_then(|at| at.parse().ok()),
            moments: BTreeMap::new(),
            notes: Vec::new(),
            runs: Vec::new(),
            faults: timeline.faults.iter().map(ToString::to_string).collect(),
        };
        for entry in timeline.entries {
            course.take(entry);
        }
        for run in &mut course.runs {
            let Some(end) = &run.end else { continue };
            for evidence in &end.evidence {
                match look_at(folder.path(), evidence) {
                    Ok(report) => run.reports.extend(report),
                    Err(fault) => course.faults.push(fault),
                }
            }
        }
        Ok(course)
    }

    fn take(&mut self, entry: Entry) {
        let Ok(at) = entry.at.parse::<Timestamp>() else {
            self.faults.push(format!("entry {}: it has no time", entry.n));
            return;
        };
        match entry.what {
            Happening::Opened { .. } | Happening::Closed { .. } => {}
            Happening::Note {
                happened_at,
                text,
                intervention,
            } => self.notes.push(Note {
                happened_at: happened_at.parse().unwrap_or(at),
                moment: None,
                text,
                intervention,
            }),
            Happening::Moment {
                moment,
                happened_at,
                text,
            } => {
                let happened_at = happened_at.parse().unwrap_or(at);
                self.moments.insert(moment, happened_at);
                self.notes.push(Note {
                    happened_at,
                    moment: Some(moment),
                    text,
                    intervention: false,
                });
            }
            Happening::Began {
                tool,
                version,
                commit,
                command,
                line,
            } => self.runs.push(Run {
                n: entry.n,
                tool,
                version: commit.map_or(version.clone(), |commit| {
                    format!("{version} ({})", commit.chars().take(8).collect::<String>())
                }),
                command,
                line,
                began_at: at,
                end: None,
                reports: Vec::new(),
            }),
            Happening::Ended {
                began,
                status,
                error,
                evidence,
                ..
            } => match self
                .runs
                .iter_mut()
                .find(|run| run.n == began && run.end.is_none())
            {
                Some(run) => {
                    run.end = Some(End {
                        at,
                        status,
                        error,
                        evidence,
                    });
                }
                None => self.faults.push(format!(
                    "entry {}: it ends a command that nothing says the beginning of",
                    entry.n
                )),
            },
        }
    }

    /// When a moment was; the outage began at the latest when the folder was made.
    pub fn moment(&self, moment: Moment) -> Option<Timestamp> {
        let noted = self.moments.get(&moment).copied();
        match moment {
            Moment::OutageBegan => noted.or(self.started_at),
            _ => noted,
        }
    }

    /// Audits whose work was done, in order.
    pub fn audits(&self) -> impl DoubleEndedIterator<Item = (&Run, &Audit)> {
        self.runs.iter().filter(|run| run.is_done()).flat_map(|run| {
            run.reports.iter().filter_map(move |report| match report {
                Report::Audit(audit) => Some((run, &**audit)),
                _ => None,
            })
        })
    }

    /// The last command that changed the log, in earnest.
    pub fn last_repair(&self) -> Option<&Run> {
        let repairs = self.runs.iter().rev();
        repairs
            .filter(|run| ["apply", "undo", "counters"].contains(&run.command.as_str()))
            .find(|run| run.intervention().is_some())
    }

    /// The last audit, if nothing was changed since.
    pub fn audit_after(&self) -> Option<&Audit> {
        let repaired = self.last_repair()?.n;
        self.audits()
            .rev()
            .find(|(run, _)| run.n > repaired)
            .map(|(_, audit)| audit)
    }

    /// The first audit: what the recovery lost.
    pub fn audit_before(&self) -> Option<&Audit> {
        let repaired = self.runs.iter().find(|run| run.intervention().is_some());
        let first = self.audits().next()?;
        repaired
            .is_none_or(|repair| first.0.n < repair.n)
            .then_some(first.1)
    }

    /// All reports, in the order in which their commands began.
    pub fn reports(&self) -> impl Iterator<Item = &Report> {
        self.runs.iter().flat_map(|run| &run.reports)
    }

    /// What the repairs brought.
    pub fn brought(&self) -> Brought {
        facts::brought(self.reports())
    }

    /// Positions that the last loss certificate states.
    pub fn certified(&self) -> Option<u64> {
        let reports = self.runs.iter().rev().flat_map(|run| run.reports.iter().rev());
        let mut losses = reports.filter_map(|report| match report {
            Report::Loss(loss) => Some(loss.lost.saturating_add(loss.undecided)),
            _ => None,
        });
        losses.next()
    }

    /// From the outage to the start of the sequencer on the repaired log.
    pub fn rto_seconds(&self) -> Option<f64> {
        let began = self.moment(Moment::OutageBegan)?;
        let ended = self.moment(Moment::SequencerStarted)?;
        Some(ended.seconds_since(began))
    }

    /// From the last event before the first missing one, in the worst stream, to the outage; 0 where nothing is missing.
    pub fn rpo_seconds(&self, audit: &Audit) -> Option<f64> {
        let began = self.moment(Moment::OutageBegan)?;
        let mut worst = 0.0_f64;
        for stream in audit.streams.iter().filter(|stream| stream.missing > 0) {
            worst = worst.max(began.seconds_since(stream.whole_until?).max(0.0));
        }
        Some(worst)
    }

    /// What people did by hand: commands that changed something, and what was noted as such.
    pub fn interventions(&self) -> Vec<Intervention> {
        let runs = self
            .runs
            .iter()
            .filter_map(|run| Some((run.began_at, run.intervention()?)));
        let notes = self.notes.iter().filter(|note| note.intervention);
        let all = runs.chain(notes.map(|note| (note.happened_at, note.text.clone())));
        let mut all: Vec<Intervention> = all
            .map(|(at, what)| Intervention { at: Some(at), what })
            .collect();
        all.sort_by_key(|one| one.at);
        all
    }

    /// Commands that began and of which nobody knows how they ended: killed, or still at work.
    pub fn unended(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| run.end.is_none())
    }
}

/// Compares a piece of evidence with its hash, and reads it if it is a report.
fn look_at(folder: &Path, evidence: &Evidence) -> Result<Option<Report>, String> {
    if !evidence.kept {
        return Ok(None);
    }
    let path = Path::new(&evidence.path);
    // The timeline may have been written by anybody: its names lead nowhere else.
    if path.is_absolute()
        || path
            .components()
            .any(|part| part == std::path::Component::ParentDir)
    {
        return Err(format!("{}: not a name within the folder", evidence.path));
    }
    let is_report =
        matches!(evidence.role.as_str(), "report" | "loss-certificate") && evidence.bytes <= MAX_REPORT;
    let mut text = Vec::new();
    let hash = File::open(folder.join(path)).and_then(|file| match is_report {
        true => {
            file.take(MAX_REPORT).read_to_end(&mut text)?;
            Ok(Hash32(Sha256::digest(&text).into()).to_string())
        }
        false => hash_of(file),
    });
    match hash {
        Ok(hash) if hash == evidence.sha256 => Ok(is_report.then(|| Report::read(&text))),
        Ok(_) => Err(format!("{}: it was changed since it was made", evidence.path)),
        Err(error) => Err(format!("{}: {error}", evidence.path)),
    }
}

/// SHA-256 of a file, in hex.
pub(super) fn hash_of(mut file: File) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut chunk = vec![0; 1 << 18];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(Hash32(digest.finalize().into()).to_string()),
            read => digest.update(&chunk[..read]),
        }
    }
}
