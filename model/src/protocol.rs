//! What can happen next, and what comes of it.

use stateright::Model;

use crate::apply::{ATTEMPTS, Applied, Apply};
use crate::commits::{Batch, Committed};
use crate::ingest::{Ingest, IngestStep, Served};
use crate::older::Older;
use crate::plan::{Plan, floor};
use crate::properties::{PROPERTIES, Promise};
use crate::raise::Raise;
use crate::size::{Operator, Size};
use crate::undo::{Undo, Undone};
use crate::waits::{Waits, Who};
use crate::world::{Job, Last, Tool, World};

/// Something that happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// An agent pushes what it holds no receipt of, also while an earlier push is under way. The sequencer will reserve the
    /// commands from the last to the first, or from the first on.
    Push(u8, bool),
    /// A request goes on, and if it is at its end, its answer arrives.
    Serve(usize),
    /// A request is committed, and its answer is lost.
    LoseAnswer(usize),
    /// A request's transaction disappears: its connection, the sequencer or the server is gone.
    CrashRequest(usize),
    /// PostgreSQL ends a request that is in a deadlock.
    Victim(usize),
    /// The sequencer is started.
    Start,
    /// The sequencer, which has nothing to do, is stopped.
    Stop,
    /// The sequencer begins a batch.
    BeginBatch,
    /// The batch goes on.
    Batch,
    /// The batch's transaction disappears.
    CrashBatch,
    /// The older log's writer begins an event.
    BeginOlder,
    /// It goes on.
    Older,
    /// It disappears.
    CrashOlder,
    /// An operator has the tool look at everything.
    Survey(usize),
    /// The tool writes a plan, which appends what was never sequenced, or does not.
    Plan(usize, bool),
    /// The tool begins to raise the counter.
    BeginRaise(usize),
    /// The tool begins to apply the plan.
    BeginApply(usize),
    /// The tool begins to take the apply back.
    BeginUndo(usize),
    /// The tool goes on.
    Tool(usize),
    /// The tool has waited for a moment and gives up what it waits for.
    GiveUp(usize),
    /// The tool sees that a request waits for it, and lets it pass.
    ///
    /// Code: `event-log/src/repair.rs` `let_others_pass`
    LetPass(usize),
    /// The tool's transaction disappears, and the tool with it.
    CrashTool(usize),
}

/// The protocol in a world of a size.
#[derive(Debug, Clone)]
pub struct Protocol(pub Size);

impl Model for Protocol {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        World::after_the_cut(&self.0)
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let waits = Waits::of(world, &self.0);
        self.of_agents(world, actions);
        self.of_requests(world, &waits, actions);
        self.of_the_sequencer(world, &waits, actions);
        for i in 0..usize::from(self.0.tools) {
            self.of_a_tool(world, i, &waits, actions);
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Push(agent, reversed) => self.push(&mut world, agent, reversed),
            Action::Serve(i) => self.serve(&mut world, i, true),
            Action::LoseAnswer(i) => self.serve(&mut world, i, false),
            Action::CrashRequest(i) | Action::Victim(i) => world.requests[i] = None,
            Action::Start => {
                world.runs = true;
                world.starts -= 1;
            }
            Action::Stop => world.runs = false,
            Action::BeginBatch => {
                world.batch = Some(Batch::default());
                world.batches -= 1;
            }
            Action::Batch => commit_batch(&mut world),
            Action::CrashBatch => world.batch = None,
            Action::BeginOlder => {
                world.older = Some(Older::default());
                world.older_events -= 1;
            }
            Action::Older => {
                if world
                    .older
                    .as_mut()
                    .is_some_and(|older| older.advance(&mut world.log))
                {
                    world.older = None;
                }
            }
            Action::CrashOlder => world.older = None,
            Action::Survey(i)
            | Action::Plan(i, _)
            | Action::BeginRaise(i)
            | Action::BeginApply(i)
            | Action::BeginUndo(i) => self.begin(&mut world, i, action),
            Action::Tool(i) => self.advance(&mut world, i),
            Action::GiveUp(i) => {
                let tool = &mut world.tools[i];
                if let Job::Applying(apply) = &mut tool.job {
                    let done = apply.give_up();
                    self.end_apply(tool, done);
                }
            }
            Action::LetPass(i) => self.end_apply(&mut world.tools[i], Applied::Again),
            Action::CrashTool(i) => end(&mut world.tools[i], Last::Nothing),
        }
        watch(before, &mut world);
        if self.0.symmetry {
            world.requests.sort_unstable();
            world.tools[..usize::from(self.0.tools)].sort_unstable();
        }
        Some(world)
    }

    fn properties(&self) -> Vec<stateright::Property<Self>> {
        PROPERTIES
            .iter()
            .map(|Promise { name, holds, always }| {
                if *always {
                    stateright::Property::always(name, *holds)
                } else {
                    stateright::Property::sometimes(name, *holds)
                }
            })
            .collect()
    }
}

impl Protocol {
    fn of_agents(&self, world: &World, actions: &mut Vec<Action>) {
        let slots = &world.requests[..];
        let served = slots.iter().flatten().count();
        if !world.runs || served >= usize::from(self.0.requests) {
            return;
        }
        for agent in 0..self.0.agents {
            let unheard = world.unheard(agent, &self.0);
            if world.pushes[usize::from(agent)] == 0 || unheard.is_empty() {
                continue;
            }
            actions.push(Action::Push(agent, false));
            if unheard.iter().filter(|event| self.0.has_command(**event)).count() > 1 {
                actions.push(Action::Push(agent, true));
            }
        }
    }

    fn of_requests(&self, world: &World, waits: &Waits, actions: &mut Vec<Action>) {
        for (i, request) in world.requests.iter().enumerate() {
            let Some(request) = request else { continue };
            let who = Who::Request(i);
            if !waits.is_blocked(who) {
                actions.push(Action::Serve(i));
                if request.step == IngestStep::Commit && request.receipts().next().is_some() {
                    actions.push(Action::LoseAnswer(i));
                }
            } else if waits.is_deadlocked(who) {
                actions.push(Action::Victim(i));
            }
            if self.0.crashes {
                actions.push(Action::CrashRequest(i));
            }
        }
    }

    fn of_the_sequencer(&self, world: &World, waits: &Waits, actions: &mut Vec<Action>) {
        if !world.runs {
            let careless = self.0.operator == Operator::StartsDuringUndo;
            let floor = floor(&world.log.seen(), &world.written, &Size::default());
            let may = world.log.counter.unwrap_or(0) >= floor && (careless || !world.is_undoing());
            if world.starts > 0 && may {
                actions.push(Action::Start);
            }
            return;
        }
        if !world.is_busy() {
            actions.push(Action::Stop);
        }
        if world.batch.is_some() {
            if !waits.is_blocked(Who::Batch) {
                actions.push(Action::Batch);
            }
            if self.0.crashes {
                actions.push(Action::CrashBatch);
            }
        } else if world.batches > 0 {
            actions.push(Action::BeginBatch);
        }
        if world.older.is_some() {
            if !waits.is_blocked(Who::Older) {
                actions.push(Action::Older);
            }
            if self.0.crashes {
                actions.push(Action::CrashOlder);
            }
        } else if world.older_events > 0 {
            actions.push(Action::BeginOlder);
        }
    }

    fn of_a_tool(&self, world: &World, i: usize, waits: &Waits, actions: &mut Vec<Action>) {
        let tool = &world.tools[i];
        match &tool.job {
            Job::Idle => {
                if tool.runs > 0 {
                    actions.push(Action::Survey(i));
                }
                if tool.plan.is_some_and(|plan| !plan.used || tool.runs > 0) {
                    actions.push(Action::BeginApply(i));
                }
                let may = self.0.operator == Operator::UndoesAnyTime || !world.runs;
                if tool.bundle.is_some() && tool.runs > 0 && may {
                    actions.push(Action::BeginUndo(i));
                }
                return;
            }
            Job::Surveying(_) => {
                actions.push(Action::Plan(i, false));
                if self.0.append {
                    actions.push(Action::Plan(i, true));
                }
                actions.push(Action::BeginRaise(i));
                return;
            }
            Job::Raising(_) | Job::Applying(_) | Job::Undoing(_) => {}
        }
        let who = Who::Tool(i);
        let blocked = waits.is_blocked(who);
        if !blocked {
            actions.push(Action::Tool(i));
        }
        if let Job::Applying(apply) = &tool.job {
            if blocked && apply.is_short(&self.0) {
                actions.push(Action::GiveUp(i));
            }
            if apply.has_written_ahead(&self.0) && waits.stands_in_the_way(who) {
                actions.push(Action::LetPass(i));
            }
        }
        if self.0.crashes {
            actions.push(Action::CrashTool(i));
        }
    }

    fn push(&self, world: &mut World, agent: u8, reversed: bool) {
        let events = world.unheard(agent, &self.0);
        let slot = world.requests.iter_mut().find(|slot| slot.is_none());
        if let Some(slot) = slot {
            *slot = Some(Ingest::new(agent, &events, reversed));
            world.pushes[usize::from(agent)] -= 1;
        }
    }

    fn serve(&self, world: &mut World, i: usize, arrives: bool) {
        let Some(mut request) = world.requests[i] else {
            return;
        };
        let served = request.advance(&mut world.log, &self.0);
        world.requests[i] = (served == Served::On).then_some(request);
        if served != Served::Done || !arrives {
            return;
        }
        for (event, number) in request.receipts() {
            let written = &mut world.written[usize::from(event)];
            world.broken.two_answers |= written.is_some_and(|there| there != number);
            *written = Some(number);
        }
    }

    fn begin(&self, world: &mut World, i: usize, action: Action) {
        let tool = &mut world.tools[i];
        tool.last = Last::Nothing;
        match (action, tool.job) {
            (Action::Survey(_), _) => {
                tool.runs -= 1;
                tool.job = Job::Surveying(world.log.seen());
            }
            (Action::Plan(_, append), Job::Surveying(seen)) => {
                tool.plan = Some(Plan::of(&seen, &world.written, append, &self.0));
                tool.job = Job::Idle;
            }
            (Action::BeginRaise(_), Job::Surveying(seen)) => {
                let floor = floor(&seen, &world.written, &self.0);
                tool.job = Job::Raising(Raise::new(floor, &self.0));
            }
            (Action::BeginApply(_), _) => {
                if let Some(plan) = &mut tool.plan {
                    tool.runs -= u8::from(plan.used);
                    plan.used = true;
                    tool.job = Job::Applying(Apply::new(*plan, 1));
                }
            }
            (Action::BeginUndo(_), _) => {
                if let Some(bundle) = tool.bundle {
                    tool.runs -= 1;
                    tool.job = Job::Undoing(Undo::new(bundle));
                }
            }
            _ => {}
        }
    }

    fn advance(&self, world: &mut World, i: usize) {
        let size = &self.0;
        let World {
            tools,
            log,
            runs,
            broken,
            ..
        } = world;
        let tool = &mut tools[i];
        match &mut tool.job {
            Job::Idle | Job::Surveying(_) => {}
            Job::Raising(raise) => {
                if raise.advance(log, size) {
                    end(tool, Last::Raised);
                }
            }
            Job::Applying(apply) => {
                let done = apply.advance(log, size);
                self.end_apply(tool, done);
            }
            Job::Undoing(undo) => match undo.advance(log, *runs, size) {
                Undone::On => {}
                Undone::Already => end(tool, Last::UndoneBefore),
                Undone::Refused => end(tool, Last::UndoRefused),
                Undone::Done { as_before } => {
                    broken.not_as_before |= !as_before;
                    end(tool, Last::Undone);
                }
            },
        }
    }

    fn end_apply(&self, tool: &mut Tool, done: Applied) {
        let Job::Applying(apply) = &tool.job else {
            return;
        };
        let last = match done {
            Applied::On => return,
            Applied::Again if apply.attempt < ATTEMPTS => {
                tool.job = Job::Applying(Apply::new(apply.plan, apply.attempt + 1));
                return;
            }
            Applied::Again | Applied::Refused => Last::Failed,
            Applied::Drift => Last::Drift,
            Applied::Already => Last::Already,
            Applied::Done(bundle) => {
                tool.bundle = Some(bundle);
                Last::Applied
            }
        };
        end(tool, last);
    }
}

fn end(tool: &mut Tool, last: Last) {
    tool.job = Job::Idle;
    tool.last = last;
}

fn commit_batch(world: &mut World) {
    let Some(batch) = &mut world.batch else {
        return;
    };
    match batch.advance(&mut world.log) {
        Committed::On => {}
        Committed::Nothing => world.batch = None,
        Committed::Batch { true_to_log } => {
            world.broken.untrue_batch |= !true_to_log;
            world.batch = None;
        }
    }
}

/// Notes what only a comparison with the moment before shows.
fn watch(before: &World, after: &mut World) {
    if before.log == after.log {
        return;
    }
    let ended = |tool: &Tool| tool.last == Last::Undone;
    let undone = before
        .tools
        .iter()
        .zip(&after.tools)
        .any(|(b, a)| !ended(b) && ended(a));
    if undone {
        return;
    }
    after.broken.lowered |= after.log.counter < before.log.counter;
    let stays = |(number, event)| after.log.rows.at(number) == Some(event);
    after.broken.overwritten |= !before.log.rows.iter().all(stays);
}
