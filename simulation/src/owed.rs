//! What a repair owes: lost events that somebody who is heard holds whole, with proof of their numbers.

use std::collections::{BTreeMap, BTreeSet};

use cli_common::DbTarget;
use fixtures::{CheckpointSpec, LoggedEvent, World};
use ves::{EventId, StreamKey};

use crate::scene::Scene;
use crate::stage::{Stage, checkpoint_spec, held};
use crate::tables::Tables;

/// Choices with which evidence contradicts itself, so that what comes back is a question of weight; and with which a key is
/// gone, which comes back only if somebody says so.
const UNDECIDED: [&str; 3] = ["reissued", "forged-replica", "lost-key"];

/// Choices with which outboxes' rows lack what they are judged by.
const DAMAGED: [&str; 3] = ["revoked-key", "tampered", "older-rows"];

/// Numbers with their events, and who proves each.
pub type Owed = BTreeMap<(StreamKey, u64), (EventId, &'static str)>;

/// What the first repair of a scene owes.
///
/// # Errors
/// A file of the scene cannot be read.
pub fn owed(scene: &Scene, world: &World, stage: &Stage) -> Result<Owed, String> {
    let has = |choices: &[&str]| choices.iter().any(|choice| scene.has(choice));
    if has(&UNDECIDED) {
        return Ok(Owed::new());
    }
    let there = Tables::read(&stage.recovered)?.events();
    let all = world.log().events();
    let mut debt = Debt {
        lost: all
            .filter(|logged| !there.contains_key(&(logged.event.stream, logged.number)))
            .collect(),
        held: held(stage)?,
        owed: Owed::new(),
    };
    if scene.has("signed-receipts") {
        debt.of_copies(stage)?;
    }
    if !has(&DAMAGED) && scene.has("checkpoints-heard") {
        debt.of_checkpoints(world);
    }
    if !has(&DAMAGED) && scene.has("anchors-heard") {
        debt.of_anchors(world);
    }
    Ok(debt.owed)
}

struct Debt<'a> {
    lost: Vec<&'a LoggedEvent>,
    /// What agents' outboxes hold.
    held: BTreeSet<EventId>,
    owed: Owed,
}

impl<'a> Debt<'a> {
    fn owe(&mut self, events: Vec<&'a LoggedEvent>, by: &'static str) {
        let places = events.into_iter().map(|logged| {
            let place = (logged.event.stream, logged.number);
            (place, (logged.event.event_id, by))
        });
        self.owed.extend(places);
    }

    fn lost(&self, is_owed: impl Fn(&LoggedEvent) -> bool) -> Vec<&'a LoggedEvent> {
        let lost = self.lost.iter().copied();
        lost.filter(|logged| is_owed(logged)).collect()
    }

    /// What another copy of the log has, with receipts that the sequencer signed.
    fn of_copies(&mut self, stage: &Stage) -> Result<(), String> {
        for copy in &stage.input.witnesses.logs {
            let DbTarget::Snapshot(path) = copy else { continue };
            let rows = Tables::read(path)?.events().into_values();
            let has: BTreeSet<EventId> = rows.map(|placed| placed.event_id).collect();
            let events = self.lost(|logged| has.contains(&logged.event.event_id));
            self.owe(events, "another copy of the log");
        }
        Ok(())
    }

    /// Whose leaf a checkpoint has.
    fn of_checkpoints(&mut self, world: &World) {
        let CheckpointSpec { every, leaves } = checkpoint_spec(world);
        let mut heads: BTreeMap<StreamKey, u64> = BTreeMap::new();
        for logged in world.log().events() {
            let head = heads.entry(logged.event.stream).or_default();
            *head = logged.number.max(*head);
        }
        let events = self.lost(|logged| {
            let signed = heads
                .get(&logged.event.stream)
                .map_or(0, |head| head / every * every);
            leaves && logged.number <= signed && self.held.contains(&logged.event.event_id)
        });
        self.owe(events, "a checkpoint's leaf");
    }

    /// What lies in an anchored batch whose missing events are all held.
    fn of_anchors(&mut self, world: &World) {
        for anchor in world.anchors() {
            let batch = &anchor.commitment;
            let numbers = batch.sequence_start..=batch.sequence_end;
            let missing =
                self.lost(|logged| logged.event.stream == batch.stream && numbers.contains(&logged.number));
            let is_held = |logged: &&LoggedEvent| self.held.contains(&logged.event.event_id);
            if missing.iter().all(is_held) {
                self.owe(missing, "its batch's anchored root");
            }
        }
    }
}
