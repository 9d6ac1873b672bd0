//! All checkpoints of a stream together: which of them hold, which contradict each other, and which leaves they prove.
//!
//! Leaves are not signed. Those of a file are put one behind the other, and count as far as the tree over them has the root
//! of a checkpoint that counts. What they are then worth goes both ways: every other checkpoint of the same tree, wherever
//! it was found, is compared with the root that they give at its size. A checkpoint that contradicts another makes itself and
//! every larger one of its tree worthless: nobody can say which of the two histories those continue.

mod explanation;
mod standing;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::BufRead;
use std::sync::Arc;

use cli_common::finding::Code;
use serde::Serialize;
use ves::log_tree::{CompactRange, TreeHead};
use ves::{Hash32, StreamKey, Timestamp};

use crate::checkpoint::{Checkpoint, Continues, Origin};
use crate::file::{Entry, EntryReader, LeavesOfFile, Located};
use crate::policy::{Distrust, Policy, Trust};

pub use explanation::{Explanation, GivenEpoch};
pub use standing::ProvenLeaves;

/// A checkpoint that counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CountedCheckpoint {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// On whose word it rests.
    pub trust: Trust,
    /// Where it was found first.
    pub place: CheckpointPlace,
    /// Whether leaves confirm that it continues the one before it, which the first has not.
    pub linked: bool,
    /// The signed note.
    pub note: crate::note::Note,
}

/// Where a checkpoint stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct CheckpointPlace {
    /// The file.
    #[serde(serialize_with = "text")]
    pub file: Arc<str>,
    /// The first line of the entry.
    pub line: u64,
}

fn text<S: serde::Serializer>(text: &Arc<str>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(text)
}

impl fmt::Display for CheckpointPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, line {}", self.file, self.line)
    }
}

/// Consecutive leaves that a signed root confirms.
#[derive(Debug, Clone)]
pub struct Run {
    /// The tree before the first of them.
    pub base: CompactRange,
    /// The leaves, of the numbers from the base's size + 1 on.
    pub leaves: Vec<Hash32>,
    /// The file that they are from.
    pub file: Arc<str>,
}

impl Run {
    /// The size of the tree behind the last of them.
    pub fn end(&self) -> u64 {
        self.base.size() + self.leaves.len() as u64
    }

    /// The leaf at a number.
    fn leaf(&self, position: u64) -> Option<Hash32> {
        let index = position.checked_sub(self.base.size() + 1)?;
        self.leaves.get(usize::try_from(index).ok()?).copied()
    }
}

/// One tree of a stream, with what is known of it.
#[derive(Debug, Clone)]
pub struct Generation {
    /// Whose.
    pub origin: Origin,
    /// The checkpoints that hold, by size, each size once.
    pub checkpoints: Vec<CountedCheckpoint>,
    /// Those that contradict each other or continue one that does; by size.
    pub contested: Vec<CountedCheckpoint>,
    /// Leaves that are proven, up to the last checkpoint that holds.
    pub runs: Vec<Run>,
}

impl Generation {
    /// The largest checkpoint that holds.
    pub fn latest(&self) -> Option<&CountedCheckpoint> {
        self.checkpoints.last()
    }

    /// The leaf that is proven for a number.
    pub fn leaf(&self, position: u64) -> Option<Hash32> {
        self.runs.iter().find_map(|run| run.leaf(position))
    }

    /// What the generation continues, if it is not the first.
    pub fn continues(&self) -> Option<Continues> {
        self.checkpoints.first()?.checkpoint.continues
    }
}

/// The trees of one stream in one deployment, first generation first.
#[derive(Debug, Clone)]
pub struct StreamCheckpoints {
    /// The deployment's name.
    pub deployment: String,
    /// The stream.
    pub stream: StreamKey,
    /// Its trees.
    pub generations: Vec<Arc<Generation>>,
}

impl StreamCheckpoints {
    /// The newest tree of which a checkpoint holds.
    pub fn current(&self) -> Option<&Generation> {
        let newest = self.generations.iter().rfind(|g| !g.checkpoints.is_empty());
        newest.map(AsRef::as_ref)
    }

    /// The highest number that any checkpoint that holds says was given out, in whatever generation.
    pub fn highest(&self) -> Option<&CountedCheckpoint> {
        let all = self.generations.iter().flat_map(|g| &g.checkpoints);
        all.max_by_key(|held| held.checkpoint.size)
    }

    /// The highest number of those that contradict each other.
    pub fn highest_contested(&self) -> Option<&CountedCheckpoint> {
        let all = self.generations.iter().flat_map(|g| &g.contested);
        all.max_by_key(|held| held.checkpoint.size)
    }
}

/// Two signed words that cannot both be true, or one that nothing explains.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Conflict {
    /// Whose checkpoints.
    pub origin: String,
    /// The stream.
    pub stream: StreamKey,
    /// What is wrong.
    pub kind: ConflictKind,
    /// The size from which on nothing of the tree counts; where it says nothing against a tree, that of the checkpoint.
    pub size: u64,
    /// The two places, or the one.
    pub places: Vec<CheckpointPlace>,
    /// In words.
    pub message: String,
}

/// What kind of conflict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictKind {
    /// Two roots for one size.
    TwoRoots,
    /// A checkpoint that does not continue another.
    Fork,
    /// A larger tree was signed before a smaller one.
    Time,
    /// A generation that does not fit the one that it says it continues.
    Generation,
}

impl ConflictKind {
    /// Whether checkpoints are worthless by it. A clock that was set back makes nothing untrue.
    pub fn contests(self) -> bool {
        self != Self::Time
    }

    /// The code of the finding that tells it.
    pub fn code(self) -> Code {
        match self {
            Self::TwoRoots => Code::CheckpointTwoRoots,
            Self::Fork => Code::CheckpointFork,
            Self::Time => Code::CheckpointTime,
            Self::Generation => Code::CheckpointGeneration,
        }
    }
}

/// What kind of entry does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// It cannot be read: cut short, or no checkpoint.
    Unreadable,
    /// No key that was given signed it.
    Unknown,
    /// A signature does not hold by the key that it names.
    Signature,
    /// Too few witnesses cosigned it.
    Witnesses,
    /// It counts, and its leaves or peaks do not give its root.
    Leaves,
    /// Its leaves follow nothing that the file has.
    Unconnected,
}

impl Refusal {
    /// The code of the finding that tells it.
    pub fn code(self) -> Code {
        match self {
            Self::Signature => Code::CheckpointSignature,
            Self::Leaves => Code::CheckpointLeaves,
            Self::Unreadable | Self::Unknown | Self::Witnesses | Self::Unconnected => Code::CheckpointRefused,
        }
    }
}

impl From<&Distrust> for Refusal {
    fn from(distrust: &Distrust) -> Self {
        match distrust {
            Distrust::NoKnownKey => Self::Unknown,
            Distrust::Invalid(_) => Self::Signature,
            Distrust::TooFewWitnesses { .. } => Self::Witnesses,
        }
    }
}

/// An entry that does not count, or whose leaves do not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedEntry {
    /// What kind of reason.
    pub kind: Refusal,
    /// Where.
    pub place: CheckpointPlace,
    /// Why.
    pub why: String,
    /// The stream, if it can be told.
    pub stream: Option<StreamKey>,
}

/// What files of checkpoints say, all together.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// By stream, then deployment.
    pub streams: Vec<StreamCheckpoints>,
    /// What contradicts itself.
    pub conflicts: Vec<Conflict>,
    /// What does not count.
    pub refused: Vec<RefusedEntry>,
    /// How many entries were read.
    pub entries: u64,
}

impl History {
    /// The trees of a stream: one for each deployment that numbered it.
    pub fn of(&self, stream: &StreamKey) -> impl Iterator<Item = &StreamCheckpoints> {
        self.streams.iter().filter(move |s| s.stream == *stream)
    }
}

/// Gathers what files say.
pub struct Collector<'a> {
    policy: &'a Policy,
    trees: BTreeMap<Origin, Gathered>,
    refused: Vec<RefusedEntry>,
    entries: u64,
}

#[derive(Default)]
struct Gathered {
    /// Of each size and root the first that was seen.
    held: BTreeMap<(u64, Hash32), CountedCheckpoint>,
    runs: Vec<Run>,
}

/// The leaves of one tree in one file, as far as they were read.
struct Following {
    run: Run,
    /// The tree behind the last leaf that a root confirms.
    confirmed: CompactRange,
    /// Leaves behind that.
    pending: Vec<Hash32>,
}

impl Following {
    fn from(base: CompactRange, file: &Arc<str>) -> Self {
        Self {
            confirmed: base.clone(),
            run: Run {
                base,
                leaves: Vec::new(),
                file: file.clone(),
            },
            pending: Vec::new(),
        }
    }

    fn end(&self) -> u64 {
        self.confirmed.size() + self.pending.len() as u64
    }

    /// Whether the leaves so far give this root; then they are confirmed.
    fn confirm(&mut self, head: TreeHead) -> bool {
        if self.end() != head.size {
            return false;
        }
        let mut range = self.confirmed.clone();
        range.extend(&self.pending);
        if range.root() != head.root {
            return false;
        }
        self.confirmed = range;
        self.run.leaves.append(&mut self.pending);
        true
    }
}

impl<'a> Collector<'a> {
    /// Nothing gathered yet.
    pub fn new(policy: &'a Policy) -> Self {
        Self {
            policy,
            trees: BTreeMap::new(),
            refused: Vec::new(),
            entries: 0,
        }
    }

    /// Takes what a file says.
    ///
    /// # Errors
    /// What cannot be read from the disk.
    pub fn read(&mut self, file: &str, input: impl BufRead) -> std::io::Result<()> {
        let file: Arc<str> = file.into();
        let mut reader = EntryReader::new(input, 0);
        let mut following: BTreeMap<Origin, Following> = BTreeMap::new();
        while let Some(Located { line, entry }) = reader.next_entry()? {
            let place = CheckpointPlace {
                file: file.clone(),
                line,
            };
            self.entries += 1;
            match entry {
                Ok(entry) => self.entry(entry, place, &mut following),
                Err(flaw) => self.refuse(place, Refusal::Unreadable, flaw.to_string(), None),
            }
        }
        for (origin, following) in following {
            self.keep(&origin, following);
        }
        Ok(())
    }

    fn refuse(&mut self, place: CheckpointPlace, kind: Refusal, why: String, stream: Option<StreamKey>) {
        self.refused.push(RefusedEntry {
            kind,
            place,
            why,
            stream,
        });
    }

    fn keep(&mut self, origin: &Origin, following: Following) {
        // A base without leaves is worth something too: it is where leaves of others can begin.
        let tree = self.trees.entry(origin.clone()).or_default();
        tree.runs.push(following.run);
    }

    fn entry(&mut self, entry: Entry, place: CheckpointPlace, following: &mut BTreeMap<Origin, Following>) {
        let Entry {
            leaves,
            peaks,
            note,
            checkpoint,
        } = entry;
        let origin = checkpoint.origin.clone();
        if let Some(leaves) = leaves {
            self.leaves(&origin, leaves, &place, following);
        }
        let trust = match self.policy.judge(&note, &checkpoint) {
            Ok(trust) => trust,
            Err(distrust) => {
                let kind = Refusal::from(&distrust);
                return self.refuse(place, kind, distrust.to_string(), Some(origin.stream));
            }
        };
        self.confirm(&checkpoint, peaks, &place, following);
        let held = CountedCheckpoint {
            trust,
            place,
            linked: false,
            note,
            checkpoint,
        };
        let key = (held.checkpoint.size, held.checkpoint.root);
        let tree = self.trees.entry(origin).or_default();
        tree.held.entry(key).or_insert(held);
    }

    /// Leaves that follow those of an earlier entry of the file.
    fn leaves(
        &mut self,
        origin: &Origin,
        leaves: LeavesOfFile,
        place: &CheckpointPlace,
        following: &mut BTreeMap<Origin, Following>,
    ) {
        match following.get_mut(origin) {
            Some(tree) if tree.end() + 1 == leaves.first => tree.pending.extend(leaves.hashes),
            // An entry may come twice, if whoever wrote it was killed before it could remember that.
            Some(tree) if leaves.first + leaves.hashes.len() as u64 - 1 <= tree.end() => {}
            None if leaves.first == 1 => {
                let mut tree = Following::from(CompactRange::default(), &place.file);
                tree.pending = leaves.hashes;
                following.insert(origin.clone(), tree);
            }
            _ => {
                let why = format!(
                    "its leaves from {} on follow nothing that the file has",
                    leaves.first
                );
                self.refuse(place.clone(), Refusal::Unconnected, why, Some(origin.stream));
            }
        }
    }

    /// Whether leaves and peaks of a file give a root that counts.
    fn confirm(
        &mut self,
        checkpoint: &Checkpoint,
        peaks: Vec<Hash32>,
        place: &CheckpointPlace,
        following: &mut BTreeMap<Origin, Following>,
    ) {
        let origin = &checkpoint.origin;
        let tree = following.get_mut(origin);
        let holds = tree.map(|tree| (tree.end() == checkpoint.size, tree.confirm(checkpoint.head())));
        if let Some((_, true)) = holds {
            return;
        }
        if let Some((true, false)) = holds {
            let why = "its leaves do not give its root: they are not used".to_owned();
            self.refuse(place.clone(), Refusal::Leaves, why, Some(origin.stream));
        }
        if peaks.is_empty() {
            if let Some((true, false)) = holds
                && let Some(broken) = following.remove(origin)
            {
                self.keep(origin, broken);
            }
            return;
        }
        let base = CompactRange::from_parts(checkpoint.size, peaks);
        match base.filter(|base| base.root() == checkpoint.root) {
            Some(base) => {
                let new = Following::from(base, &place.file);
                if let Some(broken) = following.insert(origin.clone(), new) {
                    self.keep(origin, broken);
                }
            }
            None => {
                let why = "its peaks do not give its root: they are not used".to_owned();
                self.refuse(place.clone(), Refusal::Leaves, why, Some(origin.stream));
            }
        }
    }

    /// Compares everything with everything.
    pub fn finish(self) -> History {
        let mut history = History {
            refused: self.refused,
            entries: self.entries,
            ..History::default()
        };
        let mut streams: BTreeMap<(StreamKey, String), Vec<Generation>> = BTreeMap::new();
        for (origin, gathered) in self.trees {
            let generation = judge(origin, gathered, &mut history.conflicts);
            let key = (generation.origin.stream, generation.origin.deployment.clone());
            streams.entry(key).or_default().push(generation);
        }
        for ((stream, deployment), mut generations) in streams {
            link(&mut generations, &mut history.conflicts);
            history.streams.push(StreamCheckpoints {
                deployment,
                stream,
                generations: generations.into_iter().map(Arc::new).collect(),
            });
        }
        history
    }
}

/// Compares the checkpoints of one tree.
fn judge(origin: Origin, gathered: Gathered, conflicts: &mut Vec<Conflict>) -> Generation {
    let Gathered { mut held, mut runs } = gathered;
    let mut found = two_roots(&origin, &held);
    found.extend(forks(&origin, &mut held, &runs));
    found.extend(times(&origin, &held));
    let from = found.iter().filter(|c| c.kind.contests()).map(|c| c.size).min();
    conflicts.extend(found);
    let (checkpoints, contested): (Vec<CountedCheckpoint>, Vec<CountedCheckpoint>) = held
        .into_values()
        .partition(|held| from.is_none_or(|from| held.checkpoint.size < from));
    // A run's leaves are proven together, by the root behind the last: cut it back to a root that holds.
    let sizes: BTreeSet<u64> = checkpoints.iter().map(|held| held.checkpoint.size).collect();
    for run in &mut runs {
        let end = sizes.range(..=run.end()).next_back().copied().unwrap_or(0);
        let keep = end.saturating_sub(run.base.size());
        run.leaves.truncate(usize::try_from(keep).unwrap_or(usize::MAX));
    }
    runs.retain(|run| run.base.size() <= sizes.last().copied().unwrap_or(0));
    Generation {
        origin,
        checkpoints,
        contested,
        runs,
    }
}

fn conflict(
    origin: &Origin,
    kind: ConflictKind,
    size: u64,
    places: Vec<CheckpointPlace>,
    message: String,
) -> Conflict {
    Conflict {
        origin: origin.to_string(),
        stream: origin.stream,
        kind,
        size,
        places,
        message,
    }
}

fn two_roots(origin: &Origin, held: &BTreeMap<(u64, Hash32), CountedCheckpoint>) -> Vec<Conflict> {
    let pairs = held.values().zip(held.values().skip(1));
    let of_one_size = pairs.filter(|(a, b)| a.checkpoint.size == b.checkpoint.size);
    let said = |(a, b): (&CountedCheckpoint, &CountedCheckpoint)| {
        let message = format!(
            "two roots were signed for {} events: {} ({}) and {} ({})",
            a.checkpoint.size, a.checkpoint.root, a.place, b.checkpoint.root, b.place
        );
        let places = vec![a.place.clone(), b.place.clone()];
        conflict(origin, ConflictKind::TwoRoots, a.checkpoint.size, places, message)
    };
    of_one_size.map(said).collect()
}

/// Compares every checkpoint with the roots that the leaves give.
fn forks(
    origin: &Origin,
    held: &mut BTreeMap<(u64, Hash32), CountedCheckpoint>,
    runs: &[Run],
) -> Vec<Conflict> {
    let mut found = Vec::new();
    if let Some(mut first) = held.first_entry() {
        first.get_mut().linked = true;
    }
    for run in runs {
        let mut range = run.base.clone();
        let mut last: Option<CheckpointPlace> = None;
        let covered = (run.base.size(), Hash32::ZERO)..=(run.end(), Hash32([0xff; 32]));
        for (_, held) in held.range_mut(covered) {
            let size = held.checkpoint.size;
            let from = (range.size() - run.base.size()) as usize;
            let to = (size - run.base.size()) as usize;
            range.extend(&run.leaves[from..to]);
            if range.root() == held.checkpoint.root {
                // That peaks give its root says nothing of what came before.
                held.linked |= run.base.size() == 0 || size > run.base.size();
                last = Some(held.place.clone());
                continue;
            }
            let message = format!(
                "the checkpoint of {size} events ({}) does not continue {}",
                held.place,
                match &last {
                    Some(place) => format!("the one before it ({place})"),
                    None => format!("what {} proves", run.file),
                }
            );
            let places = [Some(held.place.clone()), last.clone()];
            let places = places.into_iter().flatten().collect();
            found.push(conflict(origin, ConflictKind::Fork, size, places, message));
        }
    }
    found
}

/// Larger trees that were signed before smaller ones.
fn times(origin: &Origin, held: &BTreeMap<(u64, Hash32), CountedCheckpoint>) -> Vec<Conflict> {
    let mut latest: Option<(&CountedCheckpoint, Timestamp)> = None;
    let mut found = Vec::new();
    for held in held.values() {
        let Some(time) = held.checkpoint.time else {
            continue;
        };
        match latest {
            Some((before, at)) if at > time => {
                let message = format!(
                    "{} events were signed at {time} ({}), fewer, {}, later, at {at} ({})",
                    held.checkpoint.size, held.place, before.checkpoint.size, before.place
                );
                let places = vec![held.place.clone(), before.place.clone()];
                found.push(conflict(
                    origin,
                    ConflictKind::Time,
                    held.checkpoint.size,
                    places,
                    message,
                ));
            }
            _ => latest = Some((held, time)),
        }
    }
    found
}

/// Compares each generation with the one before it. What does not fit is contested as a whole.
fn link(generations: &mut [Generation], conflicts: &mut Vec<Conflict>) {
    for index in 0..generations.len() {
        let (before, rest) = generations.split_at_mut(index);
        let generation = &mut rest[0];
        if let Some((held, what)) = does_not_fit(before.last(), generation) {
            let message = format!(
                "generation {}: {what} ({})",
                generation.origin.generation, held.place
            );
            conflicts.push(conflict(
                &generation.origin,
                ConflictKind::Generation,
                held.checkpoint.size,
                vec![held.place.clone()],
                message,
            ));
            generation.contested.append(&mut generation.checkpoints);
            generation.contested.sort_by_key(|held| held.checkpoint.size);
            generation.runs.clear();
        }
    }
}

/// The checkpoint of a generation that does not fit what is known of the one before it, and why.
fn does_not_fit(before: Option<&Generation>, generation: &Generation) -> Option<(CountedCheckpoint, String)> {
    let first = generation.checkpoints.first()?;
    let continues = first.checkpoint.continues?;
    let other = generation.checkpoints.iter();
    if let Some(other) = other
        .clone()
        .find(|held| held.checkpoint.continues != Some(continues))
    {
        return Some((
            other.clone(),
            "its checkpoints do not agree on what it continues".into(),
        ));
    }
    let root = |of: &Generation| {
        let run = of
            .runs
            .iter()
            .find(|run| run.base.size() <= continues.size && continues.size <= run.end())?;
        let mut range = run.base.clone();
        range.extend(&run.leaves[..(continues.size - run.base.size()) as usize]);
        Some(range.root())
    };
    let before = before.filter(|before| before.origin.generation + 1 == generation.origin.generation);
    let signed = before.and_then(|before| {
        let of_size = before
            .checkpoints
            .iter()
            .find(|held| held.checkpoint.size == continues.size);
        of_size.map(|held| held.checkpoint.root).or_else(|| root(before))
    });
    if signed.is_some_and(|root| root != continues.root) {
        let what = format!("the one before it has another root at {} events", continues.size);
        return Some((first.clone(), what));
    }
    if root(generation).is_some_and(|root| root != continues.root) {
        let what = format!(
            "its own tree has another root at {} events than the one that it continues",
            continues.size
        );
        return Some((first.clone(), what));
    }
    None
}

#[cfg(test)]
mod tests;
