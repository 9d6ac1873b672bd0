//! Looks through the model at a size of one's choice.
//!
//! ```sh
//! cargo run --release -p protocol-model -- --agents 3 --requests 1 --runs 1
//! cargo run --release -p protocol-model -- --fault undo-blind
//! ```
//!
//! Prints how many states there are and how deep they lie, what became of each property, and for one that does not hold
//! the steps that lead there (it stops at the first that it meets). Ends with 0 if all hold.

#![forbid(unsafe_code)]

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Instant;

use clap::{Parser, ValueEnum};
use protocol_model::fault::Fault;
use protocol_model::properties::PROPERTIES;
use protocol_model::protocol::Protocol;
use protocol_model::size::{Commands, Operator, Size};
use protocol_model::story::story;
use stateright::{Checker, HasDiscoveries, Model};

/// Look through the model of the protocol
#[derive(Debug, Parser)]
#[command(name = "protocol-model")]
struct Cli {
    /// Agents, each with an event from before the cut and a new one
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=3))]
    agents: u8,

    /// How often each agent pushes at most
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=9))]
    pushes: u8,

    /// Requests that are served at once
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=3))]
    requests: u8,

    /// Operators with the tool
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    tools: u8,

    /// Runs of each operator: a look at everything, the same plan again, an undo
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(0..=9))]
    runs: u8,

    /// How often the sequencer is started
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=9))]
    starts: u8,

    /// Batches that the sequencer commits
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=3))]
    batches: u8,

    /// Events of the older log's writer
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=3))]
    older: u8,

    /// Which events have a command
    #[arg(long, value_enum, default_value = "all")]
    commands: CommandsArg,

    /// Events expect a version of their entity
    #[arg(long)]
    base_versions: bool,

    /// Plans append nothing
    #[arg(long)]
    no_append: bool,

    /// Nobody vanishes
    #[arg(long)]
    no_crashes: bool,

    /// Whether operators keep to the documentation
    #[arg(long, value_enum, default_value = "by-the-book")]
    operator: OperatorArg,

    /// A fault of the code; several may be given
    #[arg(long = "fault", value_enum)]
    faults: Vec<Fault>,

    /// Threads
    #[arg(long, default_value_t = 1)]
    threads: usize,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum CommandsArg {
    All,
    Old,
    None,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum OperatorArg {
    ByTheBook,
    UndoesAnyTime,
    StartsDuringUndo,
}

impl Cli {
    fn size(&self, symmetry: bool) -> Size {
        Size {
            agents: self.agents,
            pushes: self.pushes,
            requests: self.requests,
            tools: self.tools,
            runs: self.runs,
            starts: self.starts,
            batches: self.batches,
            older: self.older,
            commands: match self.commands {
                CommandsArg::All => Commands::All,
                CommandsArg::Old => Commands::Old,
                CommandsArg::None => Commands::None,
            },
            base_versions: self.base_versions,
            append: !self.no_append,
            crashes: !self.no_crashes,
            operator: match self.operator {
                OperatorArg::ByTheBook => Operator::ByTheBook,
                OperatorArg::UndoesAnyTime => Operator::UndoesAnyTime,
                OperatorArg::StartsDuringUndo => Operator::StartsDuringUndo,
            },
            faults: self.faults.iter().copied().collect(),
            symmetry,
        }
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let (lines, holds) = look_through(&cli);
    let mut out = std::io::stdout().lock();
    // Who closes the pipe has read enough.
    let _ = lines.iter().try_for_each(|line| writeln!(out, "{line}"));
    if holds {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// What is to be told, and whether everything holds.
fn look_through(cli: &Cli) -> (Vec<String>, bool) {
    let began = Instant::now();
    let checker = Protocol(cli.size(true)).checker().threads(cli.threads);
    let checker = checker
        .finish_when(HasDiscoveries::AnyFailures)
        .spawn_bfs()
        .join();
    let mut lines = vec![format!(
        "{} states, {} steps, {} deep, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64()
    )];
    let found = checker.discoveries();
    let mut broken = Vec::new();
    for promise in PROPERTIES {
        let what = match (promise.always, found.contains_key(promise.name)) {
            (true, false) => "always",
            (true, true) => {
                broken.push(promise.name);
                "BROKEN"
            }
            (false, true) => "happens",
            (false, false) => "never",
        };
        lines.push(format!("{what:8} {}", promise.name));
    }
    for name in &broken {
        lines.push(format!("\n{name}: broken so"));
        // Without symmetry each keeps its name from step to step.
        let size = cli.size(false);
        let checker = Protocol(size).checker();
        let only = HasDiscoveries::AnyOf([*name].into());
        let path = checker.finish_when(only).spawn_bfs().join().discovery(name);
        let steps = path.map(|path| story(&size, path.into_vec()));
        lines.extend(steps.unwrap_or_default().iter().map(|step| format!("  {step}")));
    }
    (lines, broken.is_empty())
}
