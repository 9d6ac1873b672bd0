//! One stream beside everything that was promised of it.

use anchor_verify::AnchorView;
use checkpoints::History;
use cli_common::Cancel;
use event_log::{StreamHead, View};
use outbox_sync::epoch::EpochStream;
use ves::StreamKey;

use super::notes::{Compared, Note};
use super::report::StreamGuarded;
use crate::checkpoint::promises::{self, Path, Promise};
use crate::error::RecoveryError;
use crate::finding::{Code, Finding, Remedy};
use crate::roots::{Grown, leaf_at, walk};
use crate::sanction::Sanction;

/// What a stream is compared with.
pub(super) struct ComparedWith<'a> {
    pub(super) stream: StreamKey,
    pub(super) head: Option<&'a StreamHead>,
    pub(super) note: Option<&'a Note>,
    pub(super) anchored: Option<u64>,
    /// The signed epoch, if it is newer than the note.
    pub(super) sanction: Option<&'a Sanction>,
    /// The epoch explains what was noted before it.
    pub(super) explains_notes: bool,
    pub(super) promises: Vec<Promise>,
    /// The highest number in any checkpoint, those that contradict each other included.
    pub(super) highest: Option<u64>,
    pub(super) quick: bool,
}

/// What came of it.
pub(super) struct Judged {
    pub(super) guarded: StreamGuarded,
    pub(super) findings: Vec<Finding>,
    pub(super) compared: Option<Compared>,
    pub(super) rows: u64,
}

/// The highest number in any checkpoint of a stream, those that contradict each other included.
pub(super) fn highest(history: &History, stream: &StreamKey) -> Option<u64> {
    let generations = history.of(stream).flat_map(|of| &of.generations);
    let all = generations.flat_map(|g| g.checkpoints.iter().chain(&g.contested));
    all.map(|held| held.checkpoint.size).max()
}

/// The highest number of a stream that is anchored.
pub(super) fn anchored(anchors: Option<&AnchorView>, stream: &StreamKey) -> Option<u64> {
    anchors?.stream(stream)?.head()
}

impl ComparedWith<'_> {
    fn last(&self) -> u64 {
        self.head.and_then(|head| head.last).unwrap_or(0)
    }

    fn counter(&self) -> Option<u64> {
        self.head.and_then(|head| head.counter)
    }

    fn epoch(&self) -> Option<&EpochStream> {
        self.sanction?.stream(&self.stream)
    }

    fn problem(&self, code: Code, message: String) -> Finding {
        Finding::new(code, message).stream(self.stream)
    }

    /// Compares.
    pub(super) async fn judge(mut self, view: &mut View, cancel: &Cancel) -> Result<Judged, RecoveryError> {
        let newest = self.promises.iter().map(|p| p.generation).max().unwrap_or(1);
        let of_newest = self.promises.iter().filter(|p| p.generation == newest);
        let continues = of_newest.filter_map(|p| p.continues).next();
        let mut judged = Judged {
            guarded: StreamGuarded {
                stream: self.stream,
                head: self.head.and_then(|head| head.last),
                counter: self.counter(),
                generation: newest,
                checkpoint: self.highest,
                anchored: self.anchored,
                noted: self.note.map(|note| note.head.max(note.counter)),
                compared: 0,
                passes: false,
                explained: None,
            },
            findings: self.counters(),
            compared: None,
            rows: 0,
        };
        match promises::opening(&self.stream, newest, continues, self.sanction) {
            Err(finding) => judged.findings.push(*finding),
            Ok(None) => {}
            Ok(Some(promise)) => {
                judged.guarded.generation = promise.generation;
                self.promises.push(promise);
            }
        }
        let generation = judged.guarded.generation;
        match promises::path(&self.stream, generation, &self.promises) {
            Err(finding) => judged.findings.push(*finding),
            Ok(path) => self.tree(view, path, &mut judged, cancel).await?,
        }
        // What a generation explains, it explains only if the log is that generation's.
        let holds = judged.findings.is_empty();
        self.heads(view, generation, holds, &mut judged).await?;
        judged.guarded.passes = judged.findings.is_empty();
        Ok(judged)
    }

    /// The counter beside every number that was given out.
    fn counters(&self) -> Vec<Finding> {
        let mut known: Vec<(u64, &str)> = vec![(self.last(), "the log's own events")];
        let checkpoints = self.highest.map(|n| (n, "a checkpoint"));
        let anchored = self.anchored.map(|n| (n, "an anchor"));
        let noted = self
            .note
            .map(|note| (note.head.max(note.counter), "an earlier look"));
        let epoch = self.epoch().map(|epoch| (epoch.counter, "the recovery epoch"));
        known.extend([checkpoints, anchored, noted, epoch].into_iter().flatten());
        let Some((floor, who)) = known.into_iter().max_by_key(|(n, _)| *n).filter(|(n, _)| *n > 0) else {
            return Vec::new();
        };
        let (code, is) = match self.counter() {
            None => (Code::CounterMissing, "there is no counter".to_owned()),
            Some(counter) if counter < floor => (Code::CounterBehind, format!("the counter is {counter}")),
            Some(_) => return Vec::new(),
        };
        let message =
            format!("{is}, and {who} knows of number {floor}: the sequencer would give numbers out again");
        let finding = self.problem(code, message).remedy(Remedy::Counters);
        let from = self.counter().unwrap_or(0) + 1;
        vec![finding.range(from, floor)]
    }

    /// The tree beside the roots that were signed.
    async fn tree(
        &self,
        view: &mut View,
        path: Path,
        judged: &mut Judged,
        cancel: &Cancel,
    ) -> Result<(), RecoveryError> {
        let Some((largest, (_, place))) = path.iter().next_back() else {
            return Ok(());
        };
        if self.last() < *largest {
            let last = self.head.and_then(|head| head.last);
            judged
                .findings
                .push(promises::rewound(&self.stream, last, *largest, place));
            return Ok(());
        }
        if self.quick {
            return Ok(());
        }
        let from = self.compared_before(view, &path, judged).await?;
        let ahead: Path = path
            .range(from.tree.size()..)
            .map(|(n, root)| (*n, root.clone()))
            .collect();
        let sizes = promises::sizes(&ahead);
        let walk = walk(view, &self.stream, from, Some(*largest), &sizes, cancel).await?;
        judged.rows += walk.rows;
        if let Err(finding) = promises::goes_through(&self.stream, &ahead, &walk, Some(self.last())) {
            judged.findings.push(*finding);
            return Ok(());
        }
        judged.guarded.compared = path.len() as u64;
        judged.compared = Some(Compared::new(&walk.grown, &path));
        Ok(())
    }

    /// The tree as far as an earlier look compared it with the same roots, if its last event still stands.
    async fn compared_before(
        &self,
        view: &mut View,
        path: &Path,
        judged: &mut Judged,
    ) -> Result<Grown, RecoveryError> {
        let before = self.note.and_then(|note| note.compared.as_ref());
        let Some(grown) = before.and_then(|compared| compared.grown(path)) else {
            return Ok(Grown::default());
        };
        judged.rows += 1;
        let stands = leaf_at(view, &self.stream, grown.tree.size()).await? == grown.last_leaf;
        Ok(if stands { grown } else { Grown::default() })
    }

    /// The log's end beside anchors, the epoch and the note.
    async fn heads(
        &self,
        view: &mut View,
        generation: u32,
        holds: bool,
        judged: &mut Judged,
    ) -> Result<(), RecoveryError> {
        let (last, counter) = (self.last(), self.counter().unwrap_or(0));
        let epoch = self.epoch();
        if let Some(epoch) = epoch.filter(|epoch| last < epoch.head) {
            let message = format!(
                "the log ends at {last}, and the recovery epoch left it at {}",
                epoch.head
            );
            judged.findings.push(
                self.problem(Code::GuardBehind, message)
                    .range(last + 1, epoch.head),
            );
        }
        let holds = holds && judged.findings.is_empty();
        let sanctioned = epoch.filter(|_| holds).map_or(0, |epoch| epoch.counter);
        // A generation that is signed speaks for itself, as far as the counter is above what it lost.
        let by_generation = if holds && generation > 1 { counter } else { 0 };
        let explained = sanctioned.max(by_generation);
        let mut why = None;
        if let Some(anchored) = self.anchored.filter(|anchored| *anchored > last) {
            if anchored > explained {
                let message = format!(
                    "the log ends at {last}, and the numbers to {anchored} are anchored: it was rewound"
                );
                let finding = self.problem(Code::GapTail, message).range(last + 1, anchored);
                judged.findings.push(finding.remedy(Remedy::Plan));
            } else {
                why = Some("what is anchored beyond its end");
            }
        }
        if let Some(note) = self.note {
            let newer = generation > note.generation;
            let explained = (self.explains_notes && note.head.max(note.counter) <= sanctioned)
                || (newer && note.head <= by_generation);
            match self.noted(view, note, judged).await? {
                Some(_) if explained => why = Some("what an earlier look saw"),
                Some(finding) => judged.findings.push(finding),
                None => {}
            }
        }
        judged.guarded.explained = why.map(|what| match (epoch.is_some(), generation) {
            (true, _) => format!("the recovery epoch explains {what}"),
            (false, generation) => format!("generation {generation}, which is signed, explains {what}"),
        });
        Ok(())
    }

    /// What differs from the note.
    async fn noted(
        &self,
        view: &mut View,
        note: &Note,
        judged: &mut Judged,
    ) -> Result<Option<Finding>, RecoveryError> {
        let last = self.last();
        if last < note.head {
            let message = format!(
                "the log ends at {last}, and ended at {} before: it was rewound",
                note.head
            );
            let finding = self.problem(Code::GuardBehind, message);
            return Ok(Some(finding.range(last + 1, note.head)));
        }
        if note.head == 0 {
            return Ok(None);
        }
        judged.rows += 1;
        if leaf_at(view, &self.stream, note.head).await? == note.last_leaf {
            return Ok(None);
        }
        let message = format!(
            "another event stands at number {}, or none, than at an earlier look",
            note.head
        );
        let finding = self.problem(Code::GuardChanged, message);
        Ok(Some(finding.range(note.head, note.head)))
    }
}
