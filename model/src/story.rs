//! A path through the model as a list of steps that people can read.

use crate::apply::{Apply, ApplyStep};
use crate::commits::CommitStep;
use crate::ingest::{Fate, Ingest, IngestStep};
use crate::log::{Event, Log, Number};
use crate::older::OlderStep;
use crate::protocol::Action;
use crate::raise::RaiseStep;
use crate::size::Size;
use crate::undo::UndoStep;
use crate::world::{Job, World};

/// One line for the beginning, one for each step, and what is there in the end.
pub fn story(size: &Size, path: Vec<(World, Option<Action>)>) -> Vec<String> {
    let mut lines = Vec::new();
    for (place, (world, action)) in path.into_iter().enumerate() {
        if place == 0 {
            lines.push(format!("after the cut: {}", there(size, &world)));
        }
        match action {
            Some(action) => lines.push(format!("{:3}. {}", place + 1, told(size, &world, action))),
            None => lines.push(format!("in the end: {}", there(size, &world))),
        }
    }
    lines
}

/// An event's name: whose it is, and whether it was numbered before the cut.
fn name(size: &Size, event: Event) -> String {
    let age = if event < size.agents { "old" } else { "new" };
    format!("{age}{}", size.agent_of(event) + 1)
}

fn there(size: &Size, world: &World) -> String {
    let Log {
        rows,
        counter,
        version,
        batch_end,
        ..
    } = &world.log;
    let listed = |pairs: Vec<(Number, Event)>| {
        let pairs = pairs
            .into_iter()
            .map(|(n, event)| format!("{n} {}", name(size, event)));
        let all = pairs.collect::<Vec<_>>().join(", ");
        if all.is_empty() { "nothing".into() } else { all }
    };
    let written = (0..).zip(world.written);
    let written = written
        .filter_map(|(event, number)| Some((number?, event)))
        .collect();
    format!(
        "the log has {}; counter {}, version {version}{}; in writing: {}; the sequencer {}",
        listed(rows.iter().collect()),
        counter.map_or("missing".into(), |c| c.to_string()),
        if *batch_end > 0 {
            format!(", batches to {batch_end}")
        } else {
            String::new()
        },
        listed(written),
        if world.runs { "runs" } else { "is stopped" },
    )
}

fn told(size: &Size, world: &World, action: Action) -> String {
    match action {
        Action::Push(agent, reversed) => {
            let events = world
                .unheard(agent, size)
                .into_iter()
                .map(|event| name(size, event));
            let events = events.collect::<Vec<_>>().join(" and ");
            let order = if reversed {
                ", commands from the last on"
            } else {
                ""
            };
            format!("agent {} pushes {events}{order}", agent + 1)
        }
        Action::Serve(i) => of_request(size, world, i, "commits and is answered"),
        Action::LoseAnswer(i) => of_request(size, world, i, "commits, and its answer is lost"),
        Action::CrashRequest(i) => of_request(size, world, i, "").replace(": ", " disappears before it: "),
        Action::Victim(i) => format!("{} is ended by PostgreSQL: a deadlock", request(world, i)),
        Action::Start => "the sequencer is started".into(),
        Action::Stop => "the sequencer is stopped".into(),
        Action::BeginBatch => "the sequencer begins a batch".into(),
        Action::CrashBatch => "the batch's transaction disappears".into(),
        Action::Batch => match world.batch.map(|batch| batch.step) {
            Some(CommitStep::LockAdvisory) => "batch: takes the advisory lock".into(),
            Some(CommitStep::Read) => "batch: reads the events after the last batch".into(),
            Some(CommitStep::Commit) | None => "batch: commits".into(),
        },
        Action::BeginOlder => "the older log's writer begins".into(),
        Action::CrashOlder => "the older log's writer disappears".into(),
        Action::Older => match world.older.map(|older| older.step) {
            Some(OlderStep::LockCounter) => "older log: locks its counter".into(),
            Some(OlderStep::RaiseVersion) => "older log: raises the version".into(),
            Some(OlderStep::Commit) | None => "older log: commits".into(),
        },
        Action::Survey(i) => format!("{} reads the log", tool(size, i)),
        Action::Plan(i, _) => format!("{} reads the outboxes and writes a plan", tool(size, i)),
        Action::BeginRaise(i) => format!(
            "{} reads the outboxes and begins to raise the counter",
            tool(size, i)
        ),
        Action::BeginApply(i) => match world.tools[i].plan {
            Some(plan) => {
                let rows = plan
                    .rows
                    .iter()
                    .map(|(n, event)| format!("{} at {n}", name(size, event)));
                let rows = rows.collect::<Vec<_>>().join(", ");
                format!(
                    "{} begins to apply: {rows}; counter {}",
                    tool(size, i),
                    plan.counter_after
                )
            }
            None => String::new(),
        },
        Action::BeginUndo(i) => format!("{} begins to take the apply back", tool(size, i)),
        Action::GiveUp(i) => format!("{} has waited for a moment and lets go", tool(size, i)),
        Action::LetPass(i) => format!(
            "{} sees that a request waits, lets go and begins again",
            tool(size, i)
        ),
        Action::CrashTool(i) => format!("{} is killed", tool(size, i)),
        Action::Tool(i) => format!("{}: {}", tool(size, i), of_job(size, world, i)),
    }
}

fn tool(size: &Size, i: usize) -> String {
    if size.tools > 1 {
        format!("tool {}", i + 1)
    } else {
        "the tool".into()
    }
}

fn request(world: &World, i: usize) -> String {
    let agent = world.requests[i].map_or(0, |request| request.agent);
    format!("request {} (agent {})", i + 1, agent + 1)
}

fn of_request(size: &Size, world: &World, i: usize, at_its_end: &str) -> String {
    let step = world.requests[i].map_or(String::new(), |request| step_of(size, &request, at_its_end));
    format!("{}: {step}", request(world, i))
}

fn step_of(size: &Size, request: &Ingest, at_its_end: &str) -> String {
    let event = |i: u8| {
        let event = request.events().nth(usize::from(i));
        event.map_or(String::new(), |(event, _)| name(size, event))
    };
    match request.step {
        IngestStep::LookUp(i) => format!("looks for {}", event(i)),
        IngestStep::ReserveCommand(i) => format!("reserves the command of {}", event(i)),
        IngestStep::LockCounter => "locks the counter and reads it".into(),
        IngestStep::LockVersion(i) => format!("locks the version that {} expects", event(i)),
        IngestStep::StoreEvent(i) => format!("inserts {} under the next number", event(i)),
        IngestStep::RaiseVersion(_) => "raises the version".into(),
        IngestStep::Commit => {
            let fates = request.events().map(|(event, fate)| {
                let name = name(size, event);
                match fate {
                    Fate::Numbered(n) => format!("{name} gets {n}"),
                    Fate::Replayed(n) => format!("{name} has {n}"),
                    _ => format!("{name} is refused"),
                }
            });
            format!("{at_its_end} ({})", fates.collect::<Vec<_>>().join(", "))
        }
    }
}

fn of_job(size: &Size, world: &World, i: usize) -> String {
    let plain = match &world.tools[i].job {
        Job::Idle | Job::Surveying(_) => "",
        Job::Applying(apply) => return of_apply(size, apply),
        Job::Raising(raise) => match raise.step {
            RaiseStep::LockAdvisory => "takes the advisory lock",
            RaiseStep::LockCounter => "locks the counter and reads it",
            RaiseStep::LockOlderCounter => "locks the older log's counter",
            RaiseStep::Commit => return format!("commits the counter, whose floor is {}", raise.floor),
        },
        Job::Undoing(undo) => match undo.step {
            UndoStep::LookForSigns => "looks for sessions of a sequencer",
            UndoStep::LockAdvisory => "takes the advisory lock",
            UndoStep::LockCounter => "locks the counter and reads it",
            UndoStep::LockOlderCounter => "locks the older log's counter",
            UndoStep::Compare => "compares the stream with the bundle",
            UndoStep::TakeBack => "removes what was written",
            UndoStep::LookAgain => "looks for sessions of a sequencer again",
            UndoStep::Commit => "commits the undo",
        },
    };
    plain.into()
}

fn of_apply(size: &Size, apply: &Apply) -> String {
    let step = match apply.step {
        ApplyStep::ReadCounter => "reads the counter".into(),
        ApplyStep::ReadStream => "reads the stream and compares it with the plan".into(),
        ApplyStep::ReserveCommand(i) => {
            let event = apply.plan.command(i, size).unwrap_or(0);
            format!("reserves the command of {}", name(size, event))
        }
        ApplyStep::CheckUnchanged => "reads the stream again".into(),
        ApplyStep::WriteRow(i) => match apply.plan.row(i) {
            Some((number, event)) => format!("inserts {} at {number}", name(size, event)),
            None => String::new(),
        },
        ApplyStep::RaiseVersion => "raises the version".into(),
        ApplyStep::ReadAfterwards => "reads back what it wrote".into(),
        ApplyStep::LockAdvisory => "takes the advisory lock".into(),
        ApplyStep::LockCounter => "locks the counter and compares it".into(),
        ApplyStep::LockOlderCounter => "locks the older log's counter".into(),
        ApplyStep::Commit => format!("sets the counter to {} and commits", apply.plan.counter_after),
    };
    if apply.attempt > 1 {
        format!("alone, {step}")
    } else {
        step
    }
}
