//! The work, before it is done: which ranges there are, what each is compared with, and who does which.

mod sorted;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

use event_log::{Outline, StreamOutline};
use ves::digest::Preimage;
use ves::range_proof::RangeRoot;
use ves::{BatchId, Hash32, Span, StreamKey};

use crate::anchor::Anchor;
use crate::anchors_file::AnchorsFile;
use crate::partial::PartialBatch;
use crate::rules::{Anchoring, Elsewhere};
use crate::standing::{AnchorStanding, ChainReport};
use crate::verify::bounds::GivenInputs;
use crate::verify::report::{AnchorRef, Failure, InputKind, Shard, UnitKind};
use crate::verify::source::Wanted;
use crate::verify::{VerifyError, VerifyInput, code};
pub(super) use sorted::RangeAnchor;
use sorted::{KnownAnchors, MAX_ANCHORS, OfRange, Ranges, Sorted, anchor_ref};

/// So many batches may share one position. More are only in a log that was made to be expensive.
const MAX_OVERLAP: usize = 16;

/// A range to be verified.
#[derive(Debug, Clone)]
pub(super) struct Unit {
    pub index: u64,
    pub kind: UnitKind,
    /// Which stream of the plan.
    pub stream: usize,
    pub start: u64,
    pub end: u64,
    /// The numbers that the input should have: all, but of a batch that is there in part.
    pub held: (u64, u64),
    /// What makes the root of a batch that is there in part.
    pub partial: Option<RangeRoot>,
    /// Which commitments of the stream have this range.
    pub commitments: Vec<usize>,
    pub anchored: Vec<RangeAnchor>,
    /// Anchors that their own proofs contradict.
    pub failed_anchors: Vec<AnchorRef>,
    /// When and where its anchors are, those that failed among them.
    pub anchoring: Anchoring,
    /// What else the anchors file knows of its batches.
    pub notes: Vec<String>,
    /// Why it cannot be judged, whatever its events are.
    pub refused: Option<String>,
    /// Its events are not even looked at.
    pub passed_over: bool,
}

impl Unit {
    fn blank(kind: UnitKind, stream: usize, start: u64, end: u64) -> Self {
        Self {
            index: 0,
            kind,
            stream,
            start,
            end,
            held: (start, end),
            partial: None,
            commitments: Vec::new(),
            anchored: Vec::new(),
            failed_anchors: Vec::new(),
            anchoring: Anchoring::default(),
            notes: Vec::new(),
            refused: None,
            passed_over: false,
        }
    }

    /// Cuts a batch to the numbers that the input holds of it.
    fn cut(&mut self, stream: &StreamOutline, partial: &[PartialBatch]) {
        let (start, end) = (self.start, self.end);
        let range = match &stream.range {
            Some(range) if !(range.contains(&start) && range.contains(&end)) => range,
            _ => return,
        };
        let of_unit = |part: &&PartialBatch| part.is(&stream.stream, start, end, range);
        match partial.iter().find(of_unit).map(|part| (part, part.root())) {
            Some((part, Ok(root))) => {
                self.held = (part.from, part.to);
                self.partial = Some(root);
            }
            Some((_, Err(error))) => {
                self.refused = Some(format!("the batch: the hashes for the rest of it: {error}"));
            }
            None => {
                self.refused = Some(format!(
                    "the batch: it reaches beyond the numbers {} to {} that the input holds",
                    range.start(),
                    range.end()
                ));
            }
        }
    }

    /// How many numbers it has.
    pub fn width(&self) -> u64 {
        (self.end - self.start).saturating_add(1)
    }

    /// How many events the input should have of it.
    pub fn held_width(&self) -> u64 {
        (self.held.1 - self.held.0).saturating_add(1)
    }
}

/// The whole work.
pub(super) struct Plan {
    pub outline: Outline,
    pub units: Vec<Unit>,
    pub digest: Hash32,
    /// Which ranges the chain names for a batch id.
    pub by_batch: BTreeMap<BatchId, BTreeSet<(Option<StreamKey>, u64, u64)>>,
    /// The state roots after a number of a stream, as commitments and anchors name them; `None` if they disagree.
    state_roots: BTreeMap<(usize, u64), Option<Hash32>>,
    pub problems: Vec<Failure>,
    pub not_checked: Vec<String>,
    /// The chain that the anchors are of, if it is known.
    pub chain_id: Option<u64>,
    /// The commitments name places on the chain, and none of the anchors is at any of them.
    pub anchored_elsewhere: bool,
}

impl Plan {
    pub fn new(
        outline: Outline,
        input: &VerifyInput<'_>,
        partial: &[PartialBatch],
    ) -> Result<Self, VerifyError> {
        let mut plan = Self {
            digest: digest(&outline, input, partial),
            problems: (outline.unreadable.iter())
                .chain(outline.unreadable_keys.iter().map(|key| &key.error))
                .map(|row| Failure::new(code::UNREADABLE, row.to_string()))
                .collect(),
            outline,
            units: Vec::new(),
            by_batch: BTreeMap::new(),
            state_roots: BTreeMap::new(),
            not_checked: Vec::new(),
            chain_id: input.anchors.and_then(|(file, _)| file.chain_id),
            anchored_elsewhere: false,
        };
        let mut ranges = match input.anchors {
            Some((file, chain)) => plan.anchors(file, chain)?,
            None => {
                plan.not_checked
                    .push("that anything is on a chain: no anchors were given".into());
                BTreeMap::new()
            }
        };
        plan.outline.streams.sort_by_key(|s| s.stream);
        for index in 0..plan.outline.streams.len() {
            let stream = plan.outline.streams[index].stream;
            plan.stream_units(index, ranges.remove(&stream).unwrap_or_default(), partial);
        }
        if !ranges.is_empty() {
            // Streams that a part of a log does not hold.
            let count: usize = ranges.values().map(BTreeMap::len).sum();
            plan.not_checked.push(format!(
                "{count} anchored batch(es) of {} stream(s) that the input does not hold",
                ranges.len()
            ));
        }
        if let Some((file, _)) = input.anchors {
            plan.tell_refused(file);
        }
        plan.look_elsewhere();
        plan.tell_unbound(input);
        for (index, unit) in plan.units.iter_mut().enumerate() {
            unit.index = index as u64;
            let commitments = &plan.outline.streams[unit.stream].commitments;
            let committed = unit.commitments.iter().map(|at| commitments[*at].new_state_root);
            for root in committed.chain(unit.anchored.iter().map(|a| a.state_root)) {
                let known = plan
                    .state_roots
                    .entry((unit.stream, unit.end))
                    .or_insert(Some(root));
                *known = known.filter(|known| *known == root);
            }
        }
        Ok(plan)
    }

    /// Sorts the anchors by stream and range.
    fn anchors(&mut self, file: &AnchorsFile, chain: &ChainReport) -> Result<Ranges, VerifyError> {
        if file.anchors.len() != chain.standings.len() {
            return Err(VerifyError::Standings {
                anchors: file.anchors.len(),
                standings: chain.standings.len(),
            });
        }
        self.not_checked.extend(chain.not_checked.iter().cloned());
        let known: Vec<StreamKey> = self.outline.streams.iter().map(|s| s.stream).collect();
        let known_of_file = KnownAnchors::new(file, chain, &known);
        let mut sorted = Sorted::default();
        for (anchor, standing) in file.anchors.iter().zip(&chain.standings) {
            self.sort_anchor(anchor, standing, &known_of_file, &mut sorted);
        }
        if let Some(first) = sorted.copies.first() {
            self.not_checked.push(format!(
                "{} altered copies of anchors whose sound copies are tied to the trusted block, which were not used: {first}",
                sorted.copies.len()
            ));
        }
        if sorted.unresolved > 0 {
            self.not_checked.push(format!(
                "{} anchor(s) of streams that only their hash names, and that the input does not hold",
                sorted.unresolved
            ));
        }
        if self.outline.whole {
            self.add_lost_streams(&known, &sorted.ranges);
        }
        Ok(sorted.ranges)
    }

    fn sort_anchor(
        &mut self,
        anchor: &Anchor,
        standing: &AnchorStanding,
        known: &KnownAnchors,
        sorted: &mut Sorted,
    ) {
        let stream = known.streams.get(&anchor.tenant_store_key).copied();
        let range = (anchor.sequence_start, anchor.sequence_end);
        let failed = match standing {
            AnchorStanding::Failed { why } => Some(why),
            _ => None,
        };
        if let Some(why) = failed {
            let what = format!(
                "the anchor of batch {} in block {} (log {}): {why}",
                anchor.batch_id, anchor.block_number, anchor.log_index
            );
            if known.proven_places.contains(&anchor.place()) {
                sorted.copies.insert(what);
                return;
            }
            self.problems.push(Failure::new(code::ANCHOR_PROOF, what));
        } else {
            let places = self.by_batch.entry(anchor.batch_id).or_default();
            places.insert((stream, range.0, range.1));
        }
        let Some(stream) = stream else {
            sorted.unresolved += 1;
            return;
        };
        let of_range = sorted.ranges.entry(stream).or_default().entry(range).or_default();
        if failed.is_some() {
            of_range.failed.push(anchor_ref(anchor, standing));
        } else {
            of_range.add(anchor, standing, known);
        }
    }

    /// A log that is whole and lacks a stream has lost it.
    fn add_lost_streams(&mut self, known: &[StreamKey], ranges: &Ranges) {
        let held: BTreeSet<&StreamKey> = known.iter().collect();
        let lost = ranges.keys().filter(|stream| !held.contains(stream));
        self.outline.streams.extend(lost.map(|stream| StreamOutline {
            stream: *stream,
            range: None,
            events: 0,
            first: None,
            last: None,
            counter: None,
            commitments: Vec::new(),
        }));
    }

    /// The batches of a stream, and what lies between and behind them.
    fn stream_units(
        &mut self,
        index: usize,
        mut anchored: BTreeMap<(u64, u64), OfRange>,
        partial: &[PartialBatch],
    ) {
        self.leave_out_of_range(index, &mut anchored);
        let ranges = self.stream_ranges(index, anchored);
        let stream = &self.outline.streams[index];
        // The numbers that must be there if they are not in a batch.
        let low = stream.range.as_ref().map_or(1, |range| *range.start());
        let high = stream.last.unwrap_or(0);
        let mut next = low.max(1);
        let mut open: Vec<u64> = Vec::new();
        let mut units = Vec::new();
        for ((start, end), (commitments, of_range)) in ranges {
            if next < start && next <= high {
                units.push(Unit::blank(
                    UnitKind::Unbatched,
                    index,
                    next,
                    (start - 1).min(high),
                ));
            }
            next = next.max(end.saturating_add(1));
            let mut unit = Unit::blank(UnitKind::Batch, index, start, end);
            unit.commitments = commitments;
            unit.anchored = of_range.anchored.into_values().collect();
            unit.failed_anchors = of_range.failed;
            unit.failed_anchors.truncate(MAX_ANCHORS);
            unit.anchoring = anchoring(&unit, self.chain_id);
            open.retain(|open_end| *open_end >= start);
            if open.len() >= MAX_OVERLAP {
                unit.passed_over = true;
                unit.refused = Some(format!(
                    "the batch: {MAX_OVERLAP} other batches hold number {start} too"
                ));
            } else {
                open.push(end);
            }
            unit.cut(stream, partial);
            units.push(unit);
        }
        if next <= high {
            units.push(Unit::blank(UnitKind::Unbatched, index, next, high));
        }
        self.units.extend(units);
    }

    /// Leaves out the anchored ranges that a part of a stream does not touch, and tells how many.
    fn leave_out_of_range(&mut self, index: usize, anchored: &mut BTreeMap<(u64, u64), OfRange>) {
        let stream = &self.outline.streams[index];
        let Some(range) = &stream.range else { return };
        let before = anchored.len();
        anchored.retain(|(start, end), _| start <= range.end() && end >= range.start());
        if before > anchored.len() {
            self.not_checked.push(format!(
                "stream {}: {} anchored batch(es) outside of the numbers {} to {} that the input holds",
                stream.stream,
                before - anchored.len(),
                range.start(),
                range.end()
            ));
        }
    }

    /// The ranges that commitments and anchors of a stream name, with the commitments by their index.
    fn stream_ranges(
        &mut self,
        index: usize,
        anchored: BTreeMap<(u64, u64), OfRange>,
    ) -> BTreeMap<(u64, u64), (Vec<usize>, OfRange)> {
        let stream = &self.outline.streams[index];
        let mut ranges: BTreeMap<(u64, u64), (Vec<usize>, OfRange)> = anchored
            .into_iter()
            .map(|(range, of_range)| (range, (Vec::new(), of_range)))
            .collect();
        for (at, c) in stream.commitments.iter().enumerate() {
            if c.sequence_start == 0 || c.sequence_start > c.sequence_end {
                let what = format!(
                    "stream {}: commitment {} is over the numbers {} to {}",
                    stream.stream, c.batch_id, c.sequence_start, c.sequence_end
                );
                self.problems.push(Failure::new(code::COMMITMENT_GAP, what));
                continue;
            }
            let range = (c.sequence_start, c.sequence_end);
            ranges.entry(range).or_default().0.push(at);
        }
        ranges
    }

    /// Tells of each batch what `lint` knows of it: logs with its id that were refused, contracts that may imitate the
    /// sequencer's.
    fn tell_refused(&mut self, file: &AnchorsFile) {
        for finding in crate::lint::contracts(&file.anchors) {
            self.not_checked
                .push(format!("which contract is the sequencer's: {}", finding.message));
        }
        let mut of_batch: BTreeMap<BatchId, BTreeSet<String>> = BTreeMap::new();
        let mut nameless = 0_usize;
        for refused in &file.chain.refused {
            match refused.batch_id {
                Some(id) => {
                    of_batch.entry(id).or_default().insert(refused.to_string());
                }
                None => nameless += 1,
            }
        }
        let mut told: BTreeSet<BatchId> = BTreeSet::new();
        for unit in &mut self.units {
            let commitments = &self.outline.streams[unit.stream].commitments;
            let committed = unit.commitments.iter().map(|at| commitments[*at].batch_id);
            let ids: BTreeSet<BatchId> = committed
                .chain(unit.anchored.iter().map(|a| a.batch_id))
                .collect();
            for id in ids {
                for what in of_batch.get(&id).into_iter().flatten().take(MAX_ANCHORS) {
                    unit.notes
                        .push(format!("a log of batch {id} that was refused: {what}"));
                }
                told.insert(id);
            }
        }
        let others = of_batch.keys().filter(|id| !told.contains(id)).count();
        if others + nameless > 0 {
            self.not_checked.push(format!(
                "{} log(s) that were refused, of batches that the input does not name: `anchor-verify lint` lists them",
                others + nameless
            ));
        }
    }

    /// Whether the log was anchored in another contract than the given one.
    fn look_elsewhere(&mut self) {
        let mut elsewhere = Elsewhere::default();
        for unit in self.units.iter().filter(|unit| !unit.anchored.is_empty()) {
            let commitments = &self.outline.streams[unit.stream].commitments;
            for at in &unit.commitments {
                elsewhere.add(&commitments[*at], &unit.anchoring);
            }
        }
        let not_checked = elsewhere.not_checked();
        self.anchored_elsewhere = not_checked.is_some();
        self.not_checked.extend(not_checked);
    }

    /// Names what nothing binds, once.
    fn tell_unbound(&mut self, input: &VerifyInput<'_>) {
        if input.keys.is_none() && !self.outline.keys.is_empty() {
            self.not_checked.push(format!(
                "that the agents' keys are theirs: they are the {}'s own word (--keys FILE pins them)",
                input.kind
            ));
        }
        let given = GivenInputs {
            log: true,
            export: matches!(input.kind, InputKind::Export | InputKind::Bundle),
            own_keys: input.keys.is_none(),
            anchors: input.anchors.is_some(),
        };
        self.not_checked.extend(given.unbound());
    }

    /// The units of a shard: whole groups of overlapping batches, about the same number of events for each shard.
    pub fn units_of(&self, shard: Option<Shard>) -> Vec<Unit> {
        let Some(shard) = shard else {
            return self.units.clone();
        };
        let mut groups: Vec<(RangeInclusive<usize>, u128)> = Vec::new();
        let mut reach: Option<(usize, u64)> = None;
        for (at, unit) in self.units.iter().enumerate() {
            let joins = reach.is_some_and(|(stream, end)| stream == unit.stream && unit.start <= end);
            let held = &self.outline.streams[unit.stream];
            // What is not there costs nothing.
            let end = held.last.map_or(0, |last| last.min(unit.end));
            let start = held.first.map_or(u64::MAX, |first| first.max(unit.start));
            let weight = 1 + u128::from(end.saturating_sub(start));
            match groups.last_mut().filter(|_| joins) {
                Some((range, sum)) => {
                    *range = *range.start()..=at;
                    *sum += weight;
                }
                None => groups.push((at..=at, weight)),
            }
            let end = reach
                .filter(|_| joins)
                .map_or(unit.end, |(_, end)| end.max(unit.end));
            reach = Some((unit.stream, end));
        }
        let total: u128 = groups.iter().map(|(_, weight)| weight).sum();
        let mut before = 0;
        let mut units = Vec::new();
        for (range, weight) in groups {
            // The shard that the middle of the group falls into.
            let owner = (2 * before + weight) * u128::from(shard.of) / (2 * total);
            before += weight;
            if owner == u128::from(shard.index - 1) {
                units.extend(self.units[range].iter().cloned());
            }
        }
        units
    }

    /// The state root that the batch before a unit ended with, if it is known and undisputed.
    pub fn state_root_before(&self, unit: &Unit) -> Option<Hash32> {
        match unit.start.checked_sub(1)? {
            0 => Some(ves::stream::GENESIS_STATE_ROOT),
            before => self.state_roots.get(&(unit.stream, before)).copied().flatten(),
        }
    }

    /// What has to be read for these units.
    pub fn wanted(&self, units: &[Unit]) -> Vec<Wanted> {
        let mut wanted: Vec<Wanted> = Vec::new();
        for unit in units {
            let held = &self.outline.streams[unit.stream];
            let (Some(first), Some(last)) = (held.first, held.last) else {
                continue;
            };
            let Some(span) = Span::new(unit.start.max(first), unit.end.min(last)) else {
                continue;
            };
            match wanted.last_mut() {
                Some((stream, spans)) if *stream == held.stream => spans.insert(span),
                _ => wanted.push((held.stream, span.into())),
            }
        }
        wanted
    }
}

/// When and where the anchors of a unit are.
fn anchoring(unit: &Unit, chain_id: Option<u64>) -> Anchoring {
    let failed = unit.failed_anchors.iter();
    let failed = failed.map(|a| (a.transaction_hash, a.block_number));
    let sound = unit.anchored.iter().flat_map(|a| a.places.iter().copied());
    Anchoring {
        at: RangeAnchor::first(&unit.anchored),
        places: sound.chain(failed).collect(),
        chain_id,
    }
}

/// Over everything that shards of one verification must agree on.
fn digest(outline: &Outline, input: &VerifyInput<'_>, partial: &[PartialBatch]) -> Hash32 {
    let optional = |preimage: Preimage, value: Option<u64>| match value {
        None => preimage.u32(0),
        Some(value) => preimage.u32(1).u64(value),
    };
    let json = |value: serde_json::Result<Vec<u8>>| value.unwrap_or_default();
    let mut preimage = Preimage::new("ANCHOR_VERIFY_PLAN_V1").u32(u32::from(outline.whole));
    preimage = preimage.u64(outline.keys.len() as u64);
    for key in &outline.keys {
        preimage = preimage.len_bytes(&json(serde_json::to_vec(key)));
    }
    for stream in &outline.streams {
        preimage = preimage
            .bytes(stream.stream.tenant_id.as_bytes())
            .bytes(stream.stream.store_id.as_bytes())
            .u64(stream.events);
        let range = stream.range.as_ref();
        for value in [
            stream.first,
            stream.last,
            range.map(|r| *r.start()),
            range.map(|r| *r.end()),
        ] {
            preimage = optional(preimage, value);
        }
        preimage = preimage.u64(stream.commitments.len() as u64);
        for commitment in &stream.commitments {
            preimage = preimage.len_bytes(&json(serde_json::to_vec(commitment)));
        }
    }
    match input.anchors {
        None => preimage = preimage.u32(0),
        Some((file, chain)) => {
            preimage = optional(preimage.u32(1), file.chain_id);
            for anchor in &file.anchors {
                preimage = preimage.len_bytes(&json(serde_json::to_vec(anchor)));
            }
            preimage = preimage.len_bytes(&json(serde_json::to_vec(chain)));
        }
    }
    if let Some(key) = input.sequencer_keys.plain() {
        preimage = preimage.bytes(key.as_bytes());
    }
    for (version, key) in input.sequencer_keys.versions() {
        preimage = preimage.u32(version.cast_unsigned()).bytes(key.as_bytes());
    }
    if let Some(key) = input.sequencer_keys.plain_ml_dsa_65() {
        preimage = preimage.bytes(key.encoded());
    }
    for (version, key) in input.sequencer_keys.ml_dsa_65_versions() {
        preimage = preimage.u32(version.cast_unsigned()).bytes(key.encoded());
    }
    for part in partial {
        preimage = preimage.len_bytes(&json(serde_json::to_vec(part)));
    }
    preimage.finish()
}
