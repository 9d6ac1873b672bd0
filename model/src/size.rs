//! How large the world is that is looked through, and who keeps to which rules.

use crate::fault::{Fault, Faults};

/// A world's size.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Agents, 1 to 3. Each has an event that was numbered before the cut and one that it made since.
    pub agents: u8,
    /// How often each agent pushes at most.
    pub pushes: u8,
    /// Requests that the sequencer serves at once, 1 to 3.
    pub requests: u8,
    /// Operators with the tool, 0 to 2.
    pub tools: u8,
    /// How often each operator looks at everything anew (for a plan, or for counters), applies the same plan again, or
    /// takes an apply back.
    pub runs: u8,
    /// How often the sequencer is started.
    pub starts: u8,
    /// Batches that the sequencer commits.
    pub batches: u8,
    /// Events that the older log's writer writes.
    pub older: u8,
    /// Which events have a command.
    pub commands: Commands,
    /// Events expect a version of their entity, so that its row is locked before they are written.
    pub base_versions: bool,
    /// Plans may give numbers to events that were never sequenced (`--append never-sequenced`).
    pub append: bool,
    /// Whoever works may vanish at any step.
    pub crashes: bool,
    /// What operators do that the documentation forbids.
    pub operator: Operator,
    /// Faults of the code.
    pub faults: Faults,
    /// Two requests, or two tools, that only differ in which is called the first are one state.
    pub symmetry: bool,
}

/// Which events have a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commands {
    /// All.
    All,
    /// Those that were numbered before the cut.
    Old,
    /// None.
    None,
}

/// Whether operators keep to the documentation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operator {
    /// They do: the sequencer is started when no counter is below what anybody has in writing, and no apply is taken back
    /// while it runs.
    ByTheBook,
    /// They take an apply back at any time.
    UndoesAnyTime,
    /// They start the sequencer while an apply is being taken back.
    StartsDuringUndo,
}

impl Default for Size {
    fn default() -> Self {
        Self {
            agents: 2,
            pushes: 1,
            requests: 2,
            tools: 1,
            runs: 2,
            starts: 1,
            batches: 0,
            older: 0,
            commands: Commands::All,
            base_versions: false,
            append: true,
            crashes: true,
            operator: Operator::ByTheBook,
            faults: Faults::default(),
            symmetry: true,
        }
    }
}

impl Size {
    /// Whether the code has this fault.
    pub fn has(&self, fault: Fault) -> bool {
        self.faults.has(fault)
    }

    /// How many events there are: those from before the cut, and as many new ones.
    pub fn events(&self) -> u8 {
        self.agents * 2
    }

    /// Whether the event has a command.
    pub fn has_command(&self, event: u8) -> bool {
        match self.commands {
            Commands::All => true,
            Commands::Old => event < self.agents,
            Commands::None => false,
        }
    }

    /// Whose event it is.
    pub fn agent_of(&self, event: u8) -> u8 {
        event % self.agents
    }
}
