//! Drives the compiled tools beside a sequencer on a scratch PostgreSQL: agents push over a bad network, the log is cut
//! back, repaired at rest or under traffic, undone, taken apart after a reissue; tools, sequencers and servers are
//! killed at any moment. After each step what the database has is held against what the program itself knows.
//!
//! ```sh
//! cargo run -p chaos -- --minutes 2
//! cargo run -p chaos -- --seed 17 --rounds 1                  # again, what failed
//! cargo run -p chaos -- --minutes 30 --sequencer PATH         # beside the real sequencer's binary
//! ```
//!
//! A seed decides what is tried and in which order; moments are the machine's. So a failing seed is likely, not sure, to
//! fail again.

#![forbid(unsafe_code)]

mod agent;
mod check;
mod double;
mod figures;
mod http;
mod log;
mod proxy;
mod repair;
mod round;
mod sequencer;
mod tools;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use clap::{Args, Parser, Subcommand};
use test_support::ScratchPostgres;

use figures::Figures;
use round::Stage;

/// Chaos beside a sequencer, and what the tools make of it
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Cli {
    #[command(subcommand)]
    command: Option<Part>,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Subcommand)]
enum Part {
    /// Serve as the sequencer's double (the program starts itself so)
    #[command(hide = true)]
    Sequencer {
        #[arg(long)]
        db: String,
        #[arg(long)]
        port: u16,
    },
}

#[derive(Debug, Args)]
struct RunArgs {
    /// The first round's seed; the next ones count up
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// So many rounds at most
    #[arg(long)]
    rounds: Option<u64>,

    /// No round is begun after so many minutes
    #[arg(long)]
    minutes: Option<f64>,

    /// The folder of the compiled tools; without it they are built, and taken from beside this program
    #[arg(long, value_name = "FOLDER")]
    tools: Option<PathBuf>,

    /// Beside the real sequencer's binary, in place of the double
    #[arg(long, value_name = "PATH")]
    sequencer: Option<PathBuf>,

    /// Tell what every round did
    #[arg(long)]
    verbose: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    // One line is enough: what was done is told by the round.
    std::panic::set_hook(Box::new(|panic| eprintln!("chaos: {panic}")));
    let outcome = match &cli.command {
        Some(Part::Sequencer { db, port }) => sequencer::serve_double(db, *port),
        None => run(&cli.run),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &RunArgs) -> Result<(), String> {
    let tools = match &args.tools {
        Some(folder) => absolute(folder)?,
        None => build_tools()?,
    };
    if !test_support::postgres_available() {
        return Err("no PostgreSQL server (run scripts/setup)".into());
    }
    let stage = Stage {
        // Durable: a server that is killed may not forget what it has acknowledged.
        server: Mutex::new(ScratchPostgres::start_archiving()),
        tools,
        real: args.sequencer.as_deref().map(absolute).transpose()?,
    };
    let rounds = args
        .rounds
        .unwrap_or(if args.minutes.is_some() { u64::MAX } else { 1 });
    let time = args
        .minutes
        .map(|minutes| Duration::from_secs_f64(minutes.max(0.0) * 60.0));
    let started = Instant::now();
    let (mut figures, mut failed) = (Figures::default(), Vec::new());
    for n in 0..rounds {
        if time.is_some_and(|time| started.elapsed() >= time) {
            break;
        }
        let seed = args.seed.wrapping_add(n);
        let began = Instant::now();
        let ended = round::play(&stage, seed);
        eprintln!(
            "seed {seed}: {} in {:.1} s",
            if ended.outcome.is_ok() { "holds" } else { "FAILED" },
            began.elapsed().as_secs_f64()
        );
        if args.verbose || ended.outcome.is_err() {
            eprint!("{}", ended.story);
        }
        figures.add(&ended.figures);
        if let Err(error) = ended.outcome {
            let real = args.sequencer.as_ref();
            let real = real.map_or(String::new(), |path| format!(" --sequencer {}", path.display()));
            eprintln!("{error}\nagain: cargo run -p chaos -- --seed {seed} --rounds 1{real}");
            failed.push(seed);
            // Others may fail for the same reason: some are enough.
            if failed.len() == 3 {
                break;
            }
        }
    }
    println!("{figures}");
    // In the words of test runners, so that whoever counts tests counts these.
    println!("{} passed, {} failed", figures.rounds, failed.len());
    if failed.is_empty() && figures.rounds > 0 {
        return Ok(());
    }
    Err(format!("did not hold with the seeds {failed:?}"))
}

fn absolute(path: &Path) -> Result<PathBuf, String> {
    path.canonicalize()
        .map_err(|e| format!("{}: {e}", path.display()))
}

/// Builds the tools as this program was built, and says where they are.
fn build_tools() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| e.to_string())?;
    let folder = own
        .parent()
        .ok_or("this program lies in no folder")?
        .to_path_buf();
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(test_support::workspace_root()).args([
        "build",
        "--quiet",
        "-p",
        "sequencer-recovery",
        "-p",
        "outbox-sync",
        "--bins",
    ]);
    if folder.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().map_err(|e| format!("cargo: {e}"))?;
    if status.success() {
        return Ok(folder);
    }
    Err("the tools could not be built".into())
}
