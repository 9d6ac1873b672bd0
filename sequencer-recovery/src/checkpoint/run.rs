//! One run: what is new in each stream is read, signed, written down, and put where it belongs.

use std::collections::{BTreeMap, BTreeSet};

use checkpoints::file::{Entry, EntryReader, LeavesOfFile, MAX_LEAVES};
use checkpoints::{Checkpoint, Continues, Origin, Policy};
use cli_common::Cancel;
use event_log::{Hole, Place, SnapshotPlace, View};
use ves::{Hash32, StreamKey, Timestamp};

use super::Options;
use super::out::Out;
use super::promises::{self, Promise};
use super::publish::publish;
use super::published::{Looking, Published};
use super::report::{self, CheckpointReport, Cost, StreamSigned};
use super::state::{CheckpointState, Pending, SignedTree};
use crate::error::RecoveryError;
use crate::finding::{Code, Finding};
use crate::locked_file::LockedFile;
use crate::roots::{Grown, leaf_at, next_leaves, walk};

pub(super) struct Run<'a> {
    pub(super) report: CheckpointReport,
    options: &'a Options<'a>,
    notes: &'a LockedFile,
    cancel: &'a Cancel,
    out: Out,
    policy: Policy,
    state: CheckpointState,
    trees: BTreeMap<StreamKey, SignedTree>,
    published: Published,
    /// Texts of notes that the last run may not have put into their file.
    pending: BTreeSet<String>,
    /// Entries that are signed and written down nowhere yet.
    batch: Vec<NewEntry>,
    /// The trees as this run found them, which proofs for witnesses begin from.
    bases: BTreeMap<StreamKey, Grown>,
    /// Who cosigned the last entry of a stream.
    cosigned: BTreeMap<StreamKey, Vec<String>>,
    batch_leaves: u64,
    /// Every stream is read from its first event on.
    full: bool,
    /// All entries of all files were read.
    all_read: bool,
    /// The streams that go through all that was signed of them.
    settled: BTreeSet<StreamKey>,
    /// The state's file is not as it should be.
    dirty: bool,
    time: Option<Timestamp>,
}

/// An entry with the file that it goes to.
struct NewEntry {
    file: String,
    entry: Entry,
    /// Its tree was signed before, without all its witnesses: without a new cosignature it is worth nothing.
    again: bool,
}

/// From where a stream's tree is continued.
struct Base {
    grown: Grown,
    generation: u32,
    continues: Option<Continues>,
    /// What must hold before anything is signed.
    promises: Vec<Promise>,
    /// The generation is opened by this run.
    opened: bool,
}

impl<'a> Run<'a> {
    /// Reads what was signed before.
    pub(super) fn begin(
        options: &'a Options<'a>,
        notes: &'a LockedFile,
        out: Out,
        mut state: CheckpointState,
        full: bool,
        cancel: &'a Cancel,
    ) -> Result<Self, RecoveryError> {
        let unusable = |what: String| RecoveryError::Notes {
            path: notes.path().to_owned(),
            what,
        };
        let vkey = options.vkey()?;
        let key = vkey.to_string();
        let policy = Policy::new(vec![vkey], Vec::new(), 0).map_err(|e| unusable(e.to_string()))?;
        let mut trees = BTreeMap::new();
        for tree in std::mem::take(&mut state.trees) {
            if tree.grown().is_none() {
                return Err(unusable(format!("the tree of stream {} is none", tree.stream)));
            }
            trees.insert(tree.stream, tree);
        }
        let mut pending = BTreeSet::new();
        for one in &state.pending {
            let entry =
                entry_of(&one.entry).ok_or_else(|| unusable("an entry of it cannot be read".into()))?;
            pending.insert(entry.note.text);
        }
        let read = state.read.clone();
        let looking = Looking {
            deployment: options.deployment,
            policy: &policy,
            pending: &pending,
        };
        let published = Published::read(&out, &looking, &mut state.read, full)?;
        let report = empty_report(options, key, notes);
        Ok(Self {
            report,
            options,
            notes,
            cancel,
            out,
            policy,
            trees,
            published,
            pending,
            batch: Vec::new(),
            bases: BTreeMap::new(),
            cosigned: BTreeMap::new(),
            batch_leaves: 0,
            full,
            all_read: full,
            settled: BTreeSet::new(),
            dirty: full || read != state.read,
            state,
            time: None,
        })
    }

    pub(super) fn time(&mut self, time: Timestamp) {
        self.time = Some(time);
    }

    /// The streams that something is remembered or published of.
    pub(super) fn streams(&self) -> impl Iterator<Item = StreamKey> + '_ {
        self.trees.keys().copied().chain(self.published.streams())
    }

    pub(super) fn into_report(mut self) -> CheckpointReport {
        self.report.not_checked.extend(self.published.refused());
        for stream in &mut self.report.streams {
            stream.witnesses = self.cosigned.remove(&stream.stream).unwrap_or_default();
        }
        self.report
    }

    /// Puts what the last run signed where it belongs, byte for byte.
    pub(super) fn publish_pending(&mut self) -> Result<(), RecoveryError> {
        let pending = self.state.pending.clone();
        let entries = pending.iter().filter_map(|one| {
            Some(NewEntry {
                file: one.file.clone(),
                entry: entry_of(&one.entry)?,
                again: false,
            })
        });
        self.put(entries.collect())?;
        self.pending.clear();
        Ok(())
    }

    /// One stream: what is new of it is signed, if it goes through all that was promised.
    pub(super) async fn stream(
        &mut self,
        view: &mut View,
        stream: &StreamKey,
        last: Option<u64>,
    ) -> Result<(), RecoveryError> {
        let before = self.trees.get(stream).map_or(0, |tree| tree.size);
        if let Some(finding) = self.is_rewound(stream, last) {
            self.report.findings.push(finding);
            return Ok(());
        }
        let base = self.base(view, stream).await?;
        let base = match self.confirm(view, stream, last, base).await? {
            Ok(base) => base,
            Err(finding) => {
                self.report.findings.push(*finding);
                return Ok(());
            }
        };
        let (checkpoints, grown, hole) = self.sign(view, stream, last, &base).await?;
        if let Some(hole) = hole {
            let next = grown.tree.size() + 1;
            self.report.findings.push(promises::hole(stream, next, &hole));
        }
        self.settled.insert(*stream);
        if checkpoints == 0 && grown.tree.size() == 0 {
            return Ok(());
        }
        let origin = self.origin(stream, base.generation);
        let tree = self.tree(stream, &base);
        tree.set(&grown);
        if checkpoints == 0 && self.lacks_witnesses(stream) {
            self.push(stream, &base, &grown, None, true);
        }
        let signed = StreamSigned {
            stream: *stream,
            vkey: self.vkey(&origin)?,
            origin: origin.to_string(),
            before,
            size: grown.tree.size(),
            root: grown.tree.root(),
            checkpoints,
            opened: base.opened,
            witnesses: Vec::new(),
        };
        self.report.streams.push(signed);
        if self.batch_leaves >= MAX_LEAVES {
            self.flush(view).await?;
        }
        Ok(())
    }

    /// Whether a witness is asked that did not cosign the tree as it is.
    fn lacks_witnesses(&self, stream: &StreamKey) -> bool {
        let (Some(witnesses), Some(tree)) = (self.options.witnesses, self.trees.get(stream)) else {
            return false;
        };
        let has = |url: &String| tree.witnessed.get(url) == Some(&tree.size);
        !witnesses.urls.iter().all(has)
    }

    /// What is known without reading a row: the log ends before what is signed, and no epoch says that this is right.
    fn is_rewound(&self, stream: &StreamKey, last: Option<u64>) -> Option<Finding> {
        let tree = self.trees.get(stream)?;
        let opens = self.options.sanction.and_then(|s| s.generation(stream));
        if last.unwrap_or(0) >= tree.size || opens.is_some_and(|opened| opened.number > tree.generation) {
            return None;
        }
        let place = format!(
            "{}, as this state remembers",
            self.origin(stream, tree.generation)
        );
        Some(promises::rewound(stream, last, tree.size, &place))
    }

    /// From where the stream's tree is continued: from what is remembered, if its last event still stands and nobody signed
    /// anything else since; or from its first event on, with all that was ever signed.
    async fn base(&mut self, view: &mut View, stream: &StreamKey) -> Result<Base, RecoveryError> {
        let known = self.trees.get(stream).cloned();
        let opens = self.options.sanction.and_then(|s| s.generation(stream));
        let new = self.published.of(stream);
        let generation = known.as_ref().map_or(1, |tree| tree.generation);
        let newest = new
            .iter()
            .map(|p| p.generation)
            .max()
            .unwrap_or(1)
            .max(generation);
        let opens = opens.filter(|opened| opened.number > newest);
        let grown = known.as_ref().and_then(SignedTree::grown).unwrap_or_default();
        let size = grown.tree.size();
        let mut base = Base {
            grown,
            generation: newest,
            continues: known.as_ref().and_then(|tree| tree.continues),
            promises: new,
            opened: false,
        };
        let fits = |p: &Promise| p.generation == generation && p.size >= size;
        let unresolved = self.state.unresolved.contains(&stream.to_string());
        let mut from_first = self.full || unresolved || opens.is_some() || !base.promises.iter().all(fits);
        if !from_first && size > 0 {
            self.report.cost.rows += 1;
            from_first = leaf_at(view, stream, size).await? != base.grown.last_leaf;
        }
        if from_first {
            self.read_all()?;
            base.promises = self.published.of(stream);
            base.grown = Grown::default();
        }
        if let Some(tree) = known.filter(|tree| tree.size > 0)
            && let Some(grown) = tree.grown()
        {
            base.promises.push(Promise {
                generation: tree.generation,
                size: tree.size,
                root: grown.tree.root(),
                continues: tree.continues,
                place: format!(
                    "{}, as this state remembers",
                    self.origin(stream, tree.generation)
                ),
            });
        }
        let of_newest = base.promises.iter().filter(|p| p.generation == newest);
        base.continues = of_newest.filter_map(|p| p.continues).next().or(base.continues);
        Ok(base)
    }

    /// Reads all that the files hold, if that was not done yet.
    fn read_all(&mut self) -> Result<(), RecoveryError> {
        if self.all_read {
            return Ok(());
        }
        let looking = Looking {
            deployment: self.options.deployment,
            policy: &self.policy,
            pending: &self.pending,
        };
        self.published = Published::read(&self.out, &looking, &mut self.state.read, true)?;
        self.all_read = true;
        Ok(())
    }

    /// Whether the log goes through all that was promised. A generation that the epoch opens begins here.
    async fn confirm(
        &mut self,
        view: &mut View,
        stream: &StreamKey,
        last: Option<u64>,
        mut base: Base,
    ) -> Result<Result<Base, Box<Finding>>, RecoveryError> {
        match promises::opening(stream, base.generation, base.continues, self.options.sanction) {
            Err(finding) => return Ok(Err(finding)),
            Ok(None) => {}
            Ok(Some(promise)) => {
                (base.generation, base.continues) = (promise.generation, promise.continues);
                base.promises.push(promise);
                base.opened = true;
            }
        }
        let path = match promises::path(stream, base.generation, &base.promises) {
            // What is below the base it went through before.
            Ok(mut path) => path.split_off(&base.grown.tree.size()),
            Err(finding) => return Ok(Err(finding)),
        };
        let sizes = promises::sizes(&path);
        let to = sizes.last().copied().unwrap_or(0);
        let grown = std::mem::take(&mut base.grown);
        let walk = walk(view, stream, grown, Some(to), &sizes, self.cancel).await?;
        self.report.cost.rows += walk.rows;
        if let Err(finding) = promises::goes_through(stream, &path, &walk, last) {
            return Ok(Err(finding));
        }
        base.grown = walk.grown;
        Ok(Ok(base))
    }

    /// Signs what is behind the base, piece by piece; says how many checkpoints that were, and what stands in the way of more.
    async fn sign(
        &mut self,
        view: &mut View,
        stream: &StreamKey,
        last: Option<u64>,
        base: &Base,
    ) -> Result<(u64, Grown, Option<Hole>), RecoveryError> {
        let mut grown = base.grown.clone();
        self.bases.insert(*stream, grown.clone());
        let mut signed = 0;
        // A file that does not have what the tree grew from so far must have its peaks, or nobody can go on from there.
        let file = self.out.file_of(stream);
        let there = |p: &Promise| p.generation == base.generation && p.size == grown.tree.size();
        let lacks = self.lacks(&file) && !self.published.of(stream).iter().any(there);
        if grown.tree.size() > 0 && (base.opened || lacks) {
            self.push(stream, base, &grown, None, false);
            signed += 1;
        }
        loop {
            let size = grown.tree.size();
            if last.unwrap_or(0) <= size {
                return Ok((signed, grown, None));
            }
            self.cancel.check()?;
            let (leaves, hole) = next_leaves(view, stream, size, MAX_LEAVES).await?;
            self.report.cost.rows += leaves.len() as u64;
            if leaves.is_empty() {
                return Ok((signed, grown, hole));
            }
            grown.extend(&leaves);
            self.batch_leaves += leaves.len() as u64;
            let whole = leaves.len() as u64 == MAX_LEAVES;
            self.push(stream, base, &grown, Some((size + 1, leaves)), false);
            signed += 1;
            if !whole || hole.is_some() {
                return Ok((signed, grown, hole));
            }
            if self.batch_leaves >= MAX_LEAVES {
                self.flush(view).await?;
            }
        }
    }

    /// Whether the file was not there before, or not as it was left.
    fn lacks(&self, file: &str) -> bool {
        self.published.is_whole(file) || !self.state.read.contains_key(file)
    }

    fn origin(&self, stream: &StreamKey, generation: u32) -> Origin {
        Origin {
            deployment: self.options.deployment.to_owned(),
            stream: *stream,
            generation,
        }
    }

    fn vkey(&self, origin: &Origin) -> Result<String, RecoveryError> {
        let name = origin.to_string();
        let options = Options {
            deployment: &name,
            ..*self.options
        };
        Ok(options.vkey()?.to_string())
    }

    /// Signs a tree; the entry waits for the next [`Run::flush`].
    fn push(
        &mut self,
        stream: &StreamKey,
        base: &Base,
        grown: &Grown,
        new: Option<(u64, Vec<Hash32>)>,
        again: bool,
    ) {
        let checkpoint = Checkpoint {
            origin: self.origin(stream, base.generation),
            size: grown.tree.size(),
            root: grown.tree.root(),
            time: self.time,
            continues: base.continues,
        };
        let peaks = grown.tree.peaks();
        let leaves = new.filter(|_| self.options.leaves);
        let few = leaves
            .as_ref()
            .is_some_and(|(_, leaves)| leaves.len() < peaks.len());
        let entry = Entry {
            leaves: leaves.map(|(first, hashes)| LeavesOfFile { first, hashes }),
            peaks: if few { Vec::new() } else { peaks.to_vec() },
            note: checkpoint.sign(self.options.key),
            checkpoint,
        };
        let file = self.out.file_of(stream);
        self.batch.push(NewEntry { file, entry, again });
        self.tree(stream, base).set(grown);
    }

    /// The stream's place in the state, in the base's generation.
    fn tree(&mut self, stream: &StreamKey, base: &Base) -> &mut SignedTree {
        let new = SignedTree {
            stream: *stream,
            generation: base.generation,
            size: 0,
            peaks: Vec::new(),
            last_leaf: None,
            continues: base.continues,
            witnessed: BTreeMap::new(),
        };
        let tree = self.trees.entry(*stream).or_insert_with(|| new.clone());
        if tree.generation != base.generation {
            *tree = new;
        }
        tree
    }

    /// Writes down what was signed, then puts it where it belongs.
    pub(super) async fn flush(&mut self, view: &mut View) -> Result<(), RecoveryError> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let mut batch = std::mem::take(&mut self.batch);
        self.batch_leaves = 0;
        let pending = batch.iter().filter(|new| !new.again).map(|new| Pending {
            file: new.file.clone(),
            entry: new.entry.to_text(),
        });
        self.state.pending = pending.collect();
        if !self.state.pending.is_empty() {
            self.save()?;
        }
        self.cosign(view, &mut batch).await?;
        batch.retain(|new| !new.again || new.entry.note.signatures.len() > 1);
        self.put(batch)
    }

    /// Asks witnesses for the last entry of each stream.
    async fn cosign(&mut self, view: &mut View, batch: &mut [NewEntry]) -> Result<(), RecoveryError> {
        let Some(witnesses) = self.options.witnesses else {
            return Ok(());
        };
        let mut last: BTreeMap<StreamKey, &mut NewEntry> = BTreeMap::new();
        for new in batch {
            last.insert(new.entry.checkpoint.origin.stream, new);
        }
        for (stream, new) in last {
            let base = self.bases.get(&stream).cloned().unwrap_or_default();
            let Some(tree) = self.trees.get_mut(&stream) else {
                continue;
            };
            let asked = witnesses.cosign(view, &base, &mut new.entry, &mut tree.witnessed, self.cancel);
            let cosigned = asked.await?;
            self.dirty = true;
            self.report.cost.rows += cosigned.rows;
            let enough = cosigned.by.len() >= witnesses.least;
            for refused in cosigned.refused {
                let message = format!(
                    "{} did not cosign {} events: {}",
                    refused.url, new.entry.checkpoint.size, refused.what
                );
                match (refused.split, enough) {
                    (true, _) => self
                        .report
                        .findings
                        .push(Finding::new(Code::CheckpointFork, message).stream(stream)),
                    (_, true) => self.report.not_checked.push(format!("{stream}: {message}")),
                    _ => self
                        .report
                        .findings
                        .push(Finding::new(Code::CheckpointWitness, message).stream(stream)),
                }
            }
            self.cosigned.insert(stream, cosigned.by);
        }
        Ok(())
    }

    fn put(&mut self, batch: Vec<NewEntry>) -> Result<(), RecoveryError> {
        if batch.is_empty() {
            return Ok(());
        }
        let text: String = match self.options.publish {
            Some(_) => batch.iter().map(|new| new.entry.to_text()).collect(),
            None => String::new(),
        };
        let mut files: BTreeMap<String, Vec<Entry>> = BTreeMap::new();
        for NewEntry { file, entry, .. } in batch {
            if !self.published.has(&entry.note.text) {
                files.entry(file).or_default().push(entry);
            }
        }
        for (file, entries) in files {
            let mark = self.out.append(&file, &entries)?;
            self.state.read.insert(file, mark);
        }
        if let Some(command) = self.options.publish {
            publish(command, &text, self.cancel)?;
        }
        self.state.pending.clear();
        self.dirty = true;
        Ok(())
    }

    /// Leaves the state as it is.
    pub(super) fn end(&mut self) -> Result<(), RecoveryError> {
        match self.dirty || self.unresolved() != self.state.unresolved {
            true => self.save(),
            false => Ok(()),
        }
    }

    /// The streams that were not compared with all that was signed of them.
    fn unresolved(&self) -> BTreeSet<String> {
        let settled: BTreeSet<String> = self.settled.iter().map(ToString::to_string).collect();
        let read = self.published.streams().map(|stream| stream.to_string());
        let all = read.chain(self.state.unresolved.iter().cloned());
        all.filter(|stream| !settled.contains(stream)).collect()
    }

    fn save(&mut self) -> Result<(), RecoveryError> {
        self.state.unresolved = self.unresolved();
        self.state.trees = self.trees.values().cloned().collect();
        self.notes.write(&self.state)?;
        self.dirty = false;
        Ok(())
    }
}

/// A report of which the rest is filled in by the run.
fn empty_report(options: &Options<'_>, key: String, notes: &LockedFile) -> CheckpointReport {
    CheckpointReport {
        schema: report::SCHEMA,
        db: String::new(),
        place: Place::Snapshot(SnapshotPlace {
            taken_at: None,
            taken_from: None,
            there: None,
        }),
        deployment: options.deployment.to_owned(),
        key,
        state: notes.path().display().to_string(),
        out: String::new(),
        streams: Vec::new(),
        findings: Vec::new(),
        not_checked: Vec::new(),
        cost: Cost::default(),
    }
}

/// The one entry that a text holds.
fn entry_of(text: &str) -> Option<Entry> {
    EntryReader::new(text.as_bytes(), 0)
        .next_entry()
        .ok()??
        .entry
        .ok()
}
