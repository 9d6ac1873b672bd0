//! What checkpoints say of one stream: which leaf stands at which number, and roots over the stream from its beginning on.
//!
//! Only the newest tree (generation) of which a checkpoint holds is asked. What contradicts another checkpoint or an anchor
//! is told and not used, except that its numbers were given out by somebody.

use std::collections::BTreeMap;
use std::sync::Arc;

use anchor_verify::AnchoredBatch;
use checkpoints::history::{ConflictKind, Generation, Held, History, Place, StreamCheckpoints};
use event_log::StreamFilter;
use ves::log_tree::CompactRange;
use ves::merkle;
use ves::span::{Span, Spans};
use ves::{Hash32, StreamKey};

use crate::finding::{Code, Finding, Remedy};
use crate::floor::Witness;
use crate::grade::Grade;
use crate::stream::tree::TreeScan;

/// See the module. Without checkpoints it says nothing.
#[derive(Debug, Clone, Default)]
pub struct Checkpointed {
    tree: Option<Arc<Generation>>,
    /// Nothing beyond this number counts: what is behind it contradicts an anchor.
    usable_to: u64,
    /// Who knows of which numbers.
    witnesses: Vec<Witness>,
    /// What they say against anchors.
    findings: Vec<Finding>,
}

impl Checkpointed {
    /// Chooses among what was given for a stream, and compares it with the anchors.
    pub fn new(stream: &StreamKey, given: &[&StreamCheckpoints], anchored: &[AnchoredBatch]) -> Self {
        let witnesses = given.iter().flat_map(|of| witnesses(of)).collect();
        let current = given.iter().filter_map(|of| of.current());
        let size = |tree: &&Generation| tree.latest().map_or(0, |held| held.checkpoint.size);
        let mut checkpointed = Self {
            tree: current.max_by_key(size).cloned().map(Arc::new),
            usable_to: u64::MAX,
            witnesses,
            findings: Vec::new(),
        };
        checkpointed.compare(stream, anchored);
        checkpointed
    }

    /// Leaves that do not give an anchored root are not those of this history, and none behind them is.
    fn compare(&mut self, stream: &StreamKey, anchored: &[AnchoredBatch]) {
        for anchor in anchored.iter().filter(|anchor| !anchor.contested) {
            let Some(range) = Span::new(anchor.sequence_start, anchor.sequence_end) else {
                continue;
            };
            if !self.leaves().covers(range) {
                continue;
            }
            let leaves: Vec<Hash32> = range.positions().filter_map(|p| self.leaf(p)).collect();
            let root = merkle::root(&leaves);
            if root == Some(anchor.events_root) {
                continue;
            }
            let message = format!(
                "the checkpoints have other events than anchored batch {} ({}-{}): from {} on they are not used",
                anchor.batch_id, anchor.sequence_start, anchor.sequence_end, anchor.sequence_start
            );
            let finding = Finding::new(Code::CheckpointAnchor, message).stream(*stream);
            self.findings.push(finding.range(range.start(), range.end()));
            self.usable_to = self.usable_to.min(range.start() - 1);
        }
    }

    /// The numbers whose leaf a signed root confirms.
    pub fn leaves(&self) -> Spans {
        let runs = self.tree.iter().flat_map(|tree| &tree.runs);
        let spans = runs.filter_map(|run| Span::new(run.base.size() + 1, run.end().min(self.usable_to)));
        spans.collect()
    }

    /// The leaf that a signed root confirms for a number.
    pub fn leaf(&self, position: u64) -> Option<Hash32> {
        let tree = self.tree.as_ref().filter(|_| position <= self.usable_to)?;
        tree.leaf(position)
    }

    /// The checkpoints that count, by size.
    pub fn heads(&self) -> impl Iterator<Item = &Held> {
        let all = self.tree.iter().flat_map(|tree| &tree.checkpoints);
        all.filter(|held| held.checkpoint.size <= self.usable_to)
    }

    /// The largest of them.
    pub fn latest(&self) -> Option<&Held> {
        self.heads().last()
    }

    /// Whether there is anything to compare a log with.
    pub fn is_empty(&self) -> bool {
        self.latest().is_none()
    }

    /// Trees that are known from the checkpoints alone, by size: where a search can begin behind a hole in the log.
    pub fn known_trees(&self) -> Vec<CompactRange> {
        let runs = self.tree.iter().flat_map(|tree| &tree.runs);
        let mut trees: Vec<CompactRange> = runs
            .flat_map(|run| {
                let mut tip = run.base.clone();
                tip.extend(&run.leaves);
                [run.base.clone(), tip]
            })
            .filter(|tree| tree.size() <= self.usable_to)
            .collect();
        trees.sort_by_key(CompactRange::size);
        trees.dedup();
        trees
    }

    /// What says that the event at a number is there, in words.
    pub fn basis(&self, position: u64) -> String {
        match self.heads().find(|held| held.checkpoint.size >= position) {
            Some(held) => basis(held),
            None => "a checkpoint".to_owned(),
        }
    }

    /// Who knows of which numbers.
    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }
}

/// A checkpoint in words, with whose word it is.
pub fn basis(held: &Held) -> String {
    format!(
        "the checkpoint of {} events, {}",
        held.checkpoint.size,
        held.trust.describe()
    )
}

/// The numbers that checkpoints know of. Those of older generations were given out, too; of two that contradict each other
/// both were signed.
fn witnesses(of: &StreamCheckpoints) -> Vec<Witness> {
    let witness = |held: &Held, grade: Grade, who: String| Witness {
        sequence: held.checkpoint.size,
        grade,
        who,
        identity: String::new(),
    };
    let holds = of
        .highest()
        .map(|held| witness(held, Grade::Checkpointed, basis(held)));
    let contested = of.highest_contested().map(|held| {
        let who = format!("a contested checkpoint ({})", held.place);
        witness(held, Grade::Claimed, who)
    });
    holds.into_iter().chain(contested).collect()
}

/// What checkpoints say against each other, and which of them do not count.
pub(super) fn judge(history: &History, filter: &StreamFilter) -> Vec<Finding> {
    let admits = |stream: Option<StreamKey>| stream.is_none_or(|stream| filter.admits(&stream));
    let mut findings = Vec::new();
    for conflict in history.conflicts.iter().filter(|c| admits(Some(c.stream))) {
        let code = match conflict.kind {
            ConflictKind::TwoRoots => Code::CheckpointTwoRoots,
            ConflictKind::Fork => Code::CheckpointFork,
            ConflictKind::Time => Code::CheckpointTime,
            ConflictKind::Generation => Code::CheckpointGeneration,
        };
        let worthless = match conflict.kind.contests() {
            true => format!("; no checkpoint of {} or more events is used", conflict.size),
            false => String::new(),
        };
        let finding = Finding::new(code, format!("{}{worthless}", conflict.message));
        findings.push(finding.stream(conflict.stream));
    }
    // Many entries may be of one kind: one key that was not given, one witness that is slow.
    let mut refused: BTreeMap<&str, (u64, &Place)> = BTreeMap::new();
    for entry in history.refused.iter().filter(|r| admits(r.stream)) {
        refused.entry(&entry.why).or_insert((0, &entry.place)).0 += 1;
    }
    for (why, (count, place)) in refused {
        let message = match count {
            1 => format!("a checkpoint is not used ({place}): {why}"),
            _ => format!("{count} checkpoints are not used (the first: {place}): {why}"),
        };
        findings.push(Finding::new(Code::CheckpointRefused, message).count(count));
    }
    if history.streams.iter().all(|of| of.current().is_none()) {
        let message = match history.entries {
            0 => "the files of checkpoints hold none".to_owned(),
            count => format!("of {count} checkpoint(s) that were given, none counts"),
        };
        findings.push(Finding::new(Code::CheckpointNone, message));
    }
    findings
}

impl Checkpointed {
    /// What a log says against the checkpoints.
    pub(super) fn judge_log(&self, stream: &StreamKey, last: u64, tree: &TreeScan) -> Vec<Finding> {
        let mut findings = self.findings.clone();
        let differs = self.heads().find(|held| {
            let root = tree.roots.get(&held.checkpoint.size);
            root.is_some_and(|root| *root != held.checkpoint.root)
        });
        if let Some(held) = differs {
            let size = held.checkpoint.size;
            let mut message = format!("the log's first {size} events are not those of {}", basis(held));
            let mut from = 1;
            if let Some(first) = tree.differs.first() {
                let differing = Spans::of_positions(tree.differs.iter().copied());
                message.push_str(&format!(": {} of them differ, at {differing}", tree.differ));
                from = *first;
            }
            let finding = Finding::new(Code::CheckpointMismatch, message).stream(*stream);
            findings.push(finding.range(from, size));
        } else if let (Some(first), Some(last)) = (tree.differs.first(), tree.differs.last()) {
            // There is a hole before them, so that no root can be computed.
            let differing = Spans::of_positions(tree.differs.iter().copied());
            let message = format!(
                "{} event(s) of the log are not those that checkpoints confirm: at {differing}",
                tree.differ
            );
            let finding = Finding::new(Code::CheckpointMismatch, message).stream(*stream);
            findings.push(finding.range(*first, *last).count(tree.differ));
        }
        if let Some(latest) = self.latest().filter(|held| held.checkpoint.size > last) {
            let size = latest.checkpoint.size;
            let message = format!("the log ends at {last}, below {}", basis(latest));
            let finding = Finding::new(Code::CheckpointBehind, message).stream(*stream);
            findings.push(finding.range(last + 1, size).remedy(Remedy::Plan));
        }
        findings
    }
}
