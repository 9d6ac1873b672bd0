//! Everything at one moment: the log, the agents, and whoever is at work.

use crate::apply::Apply;
use crate::commits::Batch;
use crate::ingest::Ingest;
use crate::log::{Event, Log, Seen};
use crate::older::Older;
use crate::plan::{Bundle, Plan, Written};
use crate::raise::Raise;
use crate::size::Size;
use crate::undo::Undo;

/// So many agents at most.
pub const AGENTS: usize = 3;
/// So many requests at once at most.
pub const REQUESTS: usize = 3;
/// So many operators at most.
pub const TOOLS: usize = 2;

/// One moment.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct World {
    /// What is committed.
    pub log: Log,
    /// What agents have in writing: the number of each event whose receipt arrived.
    pub written: Written,
    /// How often each agent may still push.
    pub pushes: [u8; AGENTS],
    /// The requests that are served.
    pub requests: [Option<Ingest>; REQUESTS],
    /// The operators.
    pub tools: [Tool; TOOLS],
    /// The batch that is being committed.
    pub batch: Option<Batch>,
    /// How many may still be.
    pub batches: u8,
    /// The older log's writer.
    pub older: Option<Older>,
    /// How many events it may still write.
    pub older_events: u8,
    /// The sequencer runs.
    pub runs: bool,
    /// How often it may still be started.
    pub starts: u8,
    /// What has happened that may never happen, and cannot be seen in what is there.
    pub broken: Broken,
}

/// See [`World::broken`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Broken {
    /// An agent was answered with another number than the one that it has in writing.
    pub two_answers: bool,
    /// A counter was lowered, and not by an undo.
    pub lowered: bool,
    /// A row was removed or replaced, and not by an undo.
    pub overwritten: bool,
    /// An undo left another log than the one before the apply.
    pub not_as_before: bool,
    /// A batch was committed of other events than those of the log.
    pub untrue_batch: bool,
}

/// An operator with the tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Tool {
    /// How often there may be another run.
    pub runs: u8,
    /// The plan file.
    pub plan: Option<Plan>,
    /// The undo bundle of the last apply.
    pub bundle: Option<Bundle>,
    /// What the tool is doing.
    pub job: Job,
    /// How the last run ended.
    pub last: Last,
}

/// What a tool does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Job {
    /// Nothing.
    #[default]
    Idle,
    /// It has read the log, in one consistent view, and reads the outboxes next.
    ///
    /// Code: `sequencer-recovery/src/stream/survey.rs` `take`
    Surveying(Seen),
    /// It raises the counter.
    Raising(Raise),
    /// It applies a plan.
    Applying(Apply),
    /// It takes an apply back.
    Undoing(Undo),
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Last {
    /// There was none, or it was killed.
    #[default]
    Nothing,
    /// The plan is applied.
    Applied,
    /// It was applied before.
    Already,
    /// The stream had moved.
    Drift,
    /// The stream was left as it was for another reason.
    Failed,
    /// The apply is taken back.
    Undone,
    /// It was taken back before.
    UndoneBefore,
    /// The undo was refused.
    UndoRefused,
    /// The counter is at its floor.
    Raised,
}

impl World {
    /// The worlds right after a cut: of the events that were numbered, any number of the last ones is lost, and any of the
    /// answers.
    pub fn after_the_cut(size: &Size) -> Vec<Self> {
        let mut all = Vec::new();
        for kept in 0..size.agents {
            for heard in 0..1_u8 << size.agents {
                all.push(Self::cut(size, kept, heard));
            }
        }
        all
    }

    fn cut(size: &Size, kept: u8, heard: u8) -> Self {
        let mut log = Log {
            // A stream that is cut off whole has lost its counter's row, too.
            counter: (kept > 0).then_some(kept),
            version: kept,
            ..Log::default()
        };
        let mut written = Written::default();
        for event in 0..size.agents {
            if event < kept {
                log.rows.put(event + 1, event);
                log.commands |= u8::from(size.has_command(event)) << event;
            }
            if heard & (1 << event) != 0 {
                written[usize::from(event)] = Some(event + 1);
            }
        }
        let mut world = Self {
            log,
            written,
            pushes: [0; AGENTS],
            requests: [None; REQUESTS],
            tools: [Tool::default(); TOOLS],
            batch: None,
            batches: size.batches,
            older: None,
            older_events: size.older,
            runs: false,
            starts: size.starts,
            broken: Broken::default(),
        };
        for agent in 0..size.agents {
            world.pushes[usize::from(agent)] = size.pushes;
        }
        for tool in 0..size.tools {
            world.tools[usize::from(tool)].runs = size.runs;
        }
        world
    }

    /// The events that an agent has and holds no receipt of, in its own order.
    pub fn unheard(&self, agent: u8, size: &Size) -> Vec<Event> {
        let own = (0..size.events()).filter(|event| size.agent_of(*event) == agent);
        own.filter(|event| self.written[usize::from(*event)].is_none())
            .collect()
    }

    /// Whether an apply is being taken back.
    pub fn is_undoing(&self) -> bool {
        self.tools.iter().any(|tool| matches!(tool.job, Job::Undoing(_)))
    }

    /// Whether the sequencer is doing anything.
    pub fn is_busy(&self) -> bool {
        self.requests.iter().any(Option::is_some) || self.batch.is_some() || self.older.is_some()
    }
}
