//! What checkpoints say of one stream: which leaf stands at which number, and roots over the stream from its beginning on.
//!
//! The newest tree (generation) of which a checkpoint holds is asked, and those before it up to where it leaves them. What
//! contradicts another checkpoint or an anchor is told and not used, except that its numbers were given out by somebody.

use std::collections::BTreeMap;
use std::sync::Arc;

use anchor_verify::AnchoredBatch;
use anchor_verify::checkpointed::against_anchors;
use checkpoints::history::{
    CheckpointPlace, CountedCheckpoint, Generation, History, Refusal, StreamCheckpoints,
};
use event_log::StreamFilter;
use ves::log_tree::CompactRange;
use ves::span::{Span, Spans};
use ves::{Hash32, StreamKey};

use crate::finding::{Code, Finding, Remedy};
use crate::floor::Witness;
use crate::grade::Grade;
use crate::stream::tree::TreeScan;

/// See the module. Without checkpoints it says nothing.
#[derive(Debug, Clone, Default)]
pub struct Checkpointed {
    /// The stream's trees, the oldest first, each with the number up to which it is that of a log which continues the newest.
    trees: Vec<(Arc<Generation>, u64)>,
    /// Nothing beyond this number counts: what is behind it contradicts an anchor.
    usable_to: u64,
    /// Who knows of which numbers.
    witnesses: Vec<Witness>,
    /// What they say against anchors.
    findings: Vec<Finding>,
}

impl Checkpointed {
    /// Chooses among what was given for a stream, and compares it with the anchors.
    pub fn new(given: &[&StreamCheckpoints], anchored: &[AnchoredBatch]) -> Self {
        let witnesses = given.iter().flat_map(|of| witnesses(of)).collect();
        let size = |of: &&&StreamCheckpoints| {
            let latest = of.current().and_then(Generation::latest);
            latest.map_or(0, |held| held.checkpoint.size)
        };
        let mut checkpointed = Self {
            trees: Vec::new(),
            usable_to: u64::MAX,
            witnesses,
            findings: Vec::new(),
        };
        if let Some(of) = given.iter().max_by_key(size) {
            let limits = of.limits().into_iter().map(|limit| limit.unwrap_or(u64::MAX));
            checkpointed.trees = of.generations.iter().cloned().zip(limits).collect();
            checkpointed.compare(of, anchored);
        }
        checkpointed
    }

    /// Leaves that do not give an anchored root are not those of this history, and none behind them is.
    fn compare(&mut self, of: &StreamCheckpoints, anchored: &[AnchoredBatch]) {
        for wrong in against_anchors::compare(of, anchored).contradicted {
            let (from, to) = wrong.range;
            let message = format!(
                "the checkpoints have other events than anchored batch {} ({from}-{to}): from {from} on they are not used",
                wrong.batch_id
            );
            let finding = Finding::new(Code::CheckpointAnchor, message).stream(of.stream);
            self.findings.push(finding.range(from, to));
            self.usable_to = self.usable_to.min(from - 1);
        }
    }

    /// The numbers whose leaf a signed root confirms.
    pub fn leaves(&self) -> Spans {
        let of_tree = |(tree, to): &(Arc<Generation>, u64)| -> Spans {
            let to = self.usable_to.min(*to);
            let runs = tree.runs.iter();
            runs.filter_map(|run| Span::new(run.base.size() + 1, run.end().min(to)))
                .collect()
        };
        let trees = self.trees.iter().map(of_tree);
        trees.fold(Spans::default(), |all, spans| all.union(&spans))
    }

    /// The leaf that a signed root confirms for a number.
    pub fn leaf(&self, position: u64) -> Option<Hash32> {
        let mut trees = self.trees.iter();
        trees.find_map(|(tree, to)| {
            let counts = position <= self.usable_to.min(*to);
            counts.then(|| tree.leaf(position)).flatten()
        })
    }

    /// The checkpoints that count, by size.
    pub fn heads(&self) -> impl Iterator<Item = &CountedCheckpoint> {
        // Where a newer tree leaves an older one, its own checkpoints are larger.
        self.trees.iter().flat_map(|(tree, to)| {
            let to = self.usable_to.min(*to);
            let all = tree.checkpoints.iter();
            all.filter(move |held| held.checkpoint.size <= to)
        })
    }

    /// The largest of them.
    pub fn latest(&self) -> Option<&CountedCheckpoint> {
        self.heads().last()
    }

    /// Whether there is anything to compare a log with.
    pub fn is_empty(&self) -> bool {
        self.latest().is_none()
    }

    /// Trees that are known from the checkpoints alone, by size: where a search can begin behind a hole in the log.
    pub fn known_trees(&self) -> Vec<CompactRange> {
        let of_tree = |(tree, to): &(Arc<Generation>, u64)| -> Vec<CompactRange> {
            let to = self.usable_to.min(*to);
            let both = tree.runs.iter().flat_map(|run| {
                let mut tip = run.base.clone();
                tip.extend(&run.leaves);
                [run.base.clone(), tip]
            });
            both.filter(|tree| tree.size() <= to).collect()
        };
        let mut trees: Vec<CompactRange> = self.trees.iter().flat_map(of_tree).collect();
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
pub fn basis(held: &CountedCheckpoint) -> String {
    format!(
        "the checkpoint of {} events, {}",
        held.checkpoint.size,
        held.trust.describe()
    )
}

/// The numbers that checkpoints know of. Those of older generations were given out, too; of two that contradict each other
/// both were signed.
fn witnesses(of: &StreamCheckpoints) -> Vec<Witness> {
    let witness = |held: &CountedCheckpoint, grade: Grade, who: String| Witness {
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
        let worthless = match conflict.kind.contests() {
            true => format!("; no checkpoint of {} or more events is used", conflict.size),
            false => String::new(),
        };
        let finding = Finding::new(conflict.kind.code(), format!("{}{worthless}", conflict.message));
        findings.push(finding.stream(conflict.stream));
    }
    // Many entries may be of one kind: one key that was not given, one witness that is slow.
    let mut refused: BTreeMap<(Refusal, &str), (u64, &CheckpointPlace)> = BTreeMap::new();
    for entry in history.refused.iter().filter(|r| admits(r.stream)) {
        refused
            .entry((entry.kind, &entry.why))
            .or_insert((0, &entry.place))
            .0 += 1;
    }
    for ((kind, why), (count, place)) in refused {
        let message = match count {
            1 => format!("an entry of checkpoints does not count, or not wholly ({place}): {why}"),
            _ => format!(
                "{count} entries of checkpoints do not count, or not wholly (the first: {place}): {why}"
            ),
        };
        findings.push(Finding::new(kind.code(), message).count(count));
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

#[cfg(test)]
mod tests {
    use checkpoints::file::{Entry, LeavesOfFile};
    use checkpoints::history::Collector;
    use checkpoints::note::KeyKind;
    use checkpoints::{Checkpoint, Continues, Origin, Policy, VerifierKey};
    use ed25519_dalek::SigningKey;
    use uuid::Uuid;
    use ves::{BatchId, merkle};

    use super::*;

    fn stream() -> StreamKey {
        StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into())
    }

    /// The leaves of a history; two histories have the first 20 in common.
    fn leaves(history: u8) -> Vec<Hash32> {
        (1..=60_u8)
            .map(|n| Hash32([if n > 20 { n ^ (history << 7) } else { n }; 32]))
            .collect()
    }

    fn root(leaves: &[Hash32]) -> Hash32 {
        let mut range = CompactRange::default();
        range.extend(leaves);
        range.root()
    }

    fn entry(generation: u32, size: usize, first: usize) -> Entry {
        let all = leaves(generation as u8 - 1);
        let checkpoint = Checkpoint {
            origin: Origin {
                deployment: "a.example".into(),
                stream: stream(),
                generation,
            },
            size: size as u64,
            root: root(&all[..size]),
            time: None,
            continues: (generation > 1).then(|| Continues {
                size: 20,
                root: root(&all[..20]),
                epoch: Hash32::ZERO,
                loss: None,
            }),
        };
        let mut tree = CompactRange::default();
        tree.extend(&all[..size]);
        Entry {
            leaves: Some(LeavesOfFile {
                first: first as u64,
                hashes: all[first - 1..size].to_vec(),
            }),
            peaks: tree.peaks().to_vec(),
            note: checkpoint.sign(&SigningKey::from_bytes(&[1; 32])),
            checkpoint,
        }
    }

    fn history(entries: &[Entry]) -> History {
        let key = SigningKey::from_bytes(&[1; 32]).verifying_key();
        let key = VerifierKey::new("a.example", KeyKind::Log, key).unwrap();
        let policy = Policy::new(vec![key], Vec::new(), 0).unwrap();
        let mut collector = Collector::new(&policy);
        let text: String = entries.iter().map(Entry::to_text).collect();
        collector.read("all.checkpoints", text.as_bytes()).unwrap();
        collector.finish()
    }

    fn of(history: &History, anchored: &[AnchoredBatch]) -> Checkpointed {
        Checkpointed::new(&history.of(&stream()).collect::<Vec<_>>(), anchored)
    }

    fn sizes(checkpointed: &Checkpointed) -> Vec<u64> {
        checkpointed.heads().map(|held| held.checkpoint.size).collect()
    }

    fn anchor(from: usize, to: usize, of: u8) -> AnchoredBatch {
        AnchoredBatch {
            batch_id: BatchId(Uuid::from_u128(from as u128)),
            stream: Some(stream()),
            tenant_store_key: Hash32::ZERO,
            sequence_start: from as u64,
            sequence_end: to as u64,
            events_root: merkle::root(&leaves(of)[from - 1..to]).unwrap(),
            state_root: Hash32::ZERO,
            event_count: (to + 1 - from) as u32,
            contested: false,
            places: Vec::new(),
        }
    }

    #[test]
    fn an_older_generation_counts_up_to_where_it_was_left_and_its_numbers_were_given_out() {
        let history = history(&[
            entry(1, 10, 1),
            entry(1, 30, 11),
            entry(2, 40, 1),
            entry(2, 50, 41),
        ]);
        assert!(history.conflicts.is_empty(), "{:?}", history.conflicts);
        let checkpointed = of(&history, &[]);
        assert_eq!(sizes(&checkpointed), [10, 40, 50]);
        assert_eq!(checkpointed.leaves().as_slice(), [Span::new(1, 50).unwrap()]);
        for position in [1, 20, 21, 30, 50] {
            let expected = leaves(1)[position as usize - 1];
            assert_eq!(checkpointed.leaf(position), Some(expected), "{position}");
        }
        assert_eq!(checkpointed.leaf(51), None);
        // Of the first generation alone, nothing of the second is known.
        let first = of(&self::history(&[entry(1, 30, 1)]), &[]);
        assert_eq!(first.leaf(25), Some(leaves(0)[24]));
        let numbers = of(&self::history(&[entry(1, 60, 1), entry(2, 40, 1)]), &[]);
        let highest = numbers.witnesses().iter().map(|w| (w.sequence, w.grade)).max();
        assert_eq!(highest, Some((60, Grade::Checkpointed)));
        assert_eq!(numbers.latest().unwrap().checkpoint.size, 40);
    }

    #[test]
    fn what_contradicts_an_anchor_is_told_and_nothing_behind_it_counts() {
        let history = history(&[entry(1, 10, 1), entry(1, 30, 11), entry(1, 50, 31)]);
        let agrees = of(&history, &[anchor(1, 8, 0), anchor(25, 32, 0), anchor(49, 60, 1)]);
        assert_eq!(sizes(&agrees), [10, 30, 50]);
        let differs = of(&history, &[anchor(1, 8, 0), anchor(25, 32, 1)]);
        assert_eq!(sizes(&differs), [10]);
        assert!(differs.leaf(24).is_some() && differs.leaf(25).is_none());
        let found = differs.judge_log(&stream(), 60, &TreeScan::default());
        assert_eq!(found[0].code, Code::CheckpointAnchor);
        // What was anchored before a repair that the operator signed for belongs to the generation before.
        let before = anchor(22, 30, 0);
        let repaired = self::history(&[entry(1, 30, 1), entry(2, 40, 1)]);
        let repaired = of(&repaired, std::slice::from_ref(&before));
        assert_eq!(
            (sizes(&repaired), repaired.leaf(25)),
            (vec![40], Some(leaves(1)[24]))
        );
        let alone = of(&self::history(&[entry(2, 40, 1)]), &[before]);
        assert!(alone.leaf(25).is_none());
        let contested = AnchoredBatch {
            contested: true,
            ..anchor(25, 32, 1)
        };
        assert_eq!(sizes(&of(&history, &[contested])), [10, 30, 50]);
    }
}
