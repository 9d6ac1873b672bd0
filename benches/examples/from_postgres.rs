//! The tools on a log in PostgreSQL beside PostgreSQL's own: see `scripts/from-postgres`.
//!
//! `from_postgres --tools FOLDER [--events N] [--streams N] [--rounds N] [word …]` makes a world in a cluster of its own and runs, in turn, what
//! the server and its programs take for the same rows and what our compiled programs take. What counts is the median of the
//! ratios of neighbouring runs: how many times the rival's time is ours. Words select rows by name.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use fixtures::{BigSpec, BigWorld};
use test_support::{ScratchPostgres, load_schema, postgres_program, query, run_script, workspace_root};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

struct Options {
    tools: PathBuf,
    events: u64,
    streams: u64,
    rounds: usize,
    words: Vec<String>,
}

impl Options {
    fn from_args() -> Result<Self> {
        let mut options = Self {
            tools: "target/release".into(),
            events: 1_000_000,
            streams: BigSpec::default().streams,
            rounds: 5,
            words: Vec::new(),
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            let mut value = || args.next().ok_or_else(|| format!("{arg} wants a value"));
            match arg.as_str() {
                "--tools" => options.tools = value()?.into(),
                "--events" => options.events = value()?.parse()?,
                "--streams" => options.streams = value()?.parse()?,
                "--rounds" => options.rounds = value()?.parse()?,
                _ => options.words.push(arg),
            }
        }
        Ok(options)
    }

    fn selects(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}

/// One run: its time on the wall, and the most memory that it had.
#[derive(Clone, Copy)]
struct Ran {
    time: Duration,
    peak_kib: u64,
}

fn peak_kib(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// What our programs end with where problems were found in the log, or corrected: two bits, of which either may be set.
const FOUND: i32 = 4 | 1;

/// Runs a program to its end; what it prints goes nowhere. A log that lost events may end it with [`FOUND`].
fn run(mut command: Command) -> Result<Ran> {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let mut peak = 0;
    let status = loop {
        peak = peak_kib(child.id()).max(peak);
        match child.try_wait()? {
            Some(status) => break status,
            None => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    let time = begun.elapsed();
    if status.code().is_none_or(|code| code & !FOUND != 0) {
        let said = child.wait_with_output()?;
        return Err(format!(
            "{command:?} ended with {status}: {}",
            String::from_utf8_lossy(&said.stderr)
        )
        .into());
    }
    Ok(Ran { time, peak_kib: peak })
}

/// Several programs one after the other.
fn run_all(commands: Vec<Command>) -> Result<Ran> {
    let mut all = Ran {
        time: Duration::ZERO,
        peak_kib: 0,
    };
    for command in commands {
        let one = run(command)?;
        all.time += one.time;
        all.peak_kib = all.peak_kib.max(one.peak_kib);
    }
    Ok(all)
}

fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// What is compared: how the rival is run, and how ours is.
struct Comparison<'a> {
    name: &'a str,
    rival: &'a str,
    by_rival: &'a dyn Fn() -> Result<Ran>,
    by_us: &'a dyn Fn() -> Result<Ran>,
}

fn compare(options: &Options, comparison: &Comparison<'_>) -> Result<()> {
    if !options.selects(comparison.name) {
        return Ok(());
    }
    let (mut ratios, mut theirs, mut ours, mut peak) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for _ in 0..options.rounds {
        let rival = (comparison.by_rival)()?;
        let own = (comparison.by_us)()?;
        ratios.push(own.time.as_secs_f64() / rival.time.as_secs_f64());
        theirs.push(rival.time.as_secs_f64());
        ours.push(own.time.as_secs_f64());
        peak = peak.max(own.peak_kib);
    }
    let ratio = median(&mut ratios);
    println!(
        "| {} | {} | {:.1} s | {:.1} s | **{ratio:.2}** | {:.2}–{:.2} ({} runs) | {} MiB |",
        comparison.name,
        comparison.rival,
        median(&mut theirs),
        median(&mut ours),
        ratios[0],
        ratios[ratios.len() - 1],
        options.rounds,
        peak >> 10,
    );
    std::io::stdout().flush()?;
    Ok(())
}

/// A cluster with the world in it, and what lies beside.
struct World<'a> {
    options: &'a Options,
    server: ScratchPostgres,
    url: String,
    folder: tempfile::TempDir,
}

fn script(name: &str) -> PathBuf {
    workspace_root().join("sql/benches").join(name)
}

fn psql(url: &str, name: &str, variables: &[String]) -> Command {
    let mut command = postgres_program("psql");
    command.args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1"]);
    for variable in variables {
        command.arg("--set").arg(variable);
    }
    command.arg("--file").arg(script(name)).arg(url);
    command
}

impl<'a> World<'a> {
    fn make(options: &'a Options) -> Result<Self> {
        let server = ScratchPostgres::start_durable();
        let url = server.create_database("log");
        load_schema(&url);
        let folder = tempfile::tempdir()?;
        eprintln!("making {} events", options.events);
        let spec = BigSpec {
            events: options.events,
            streams: options.streams,
            ..BigSpec::default()
        };
        let copy = folder.path().join("log.copy");
        BigWorld::new(&spec).write_copy_file(&copy, Some(folder.path()))?;
        test_support::load_copy_file(&url, &copy);
        fs::remove_file(copy)?;
        let _ = query(&url, "VACUUM ANALYZE");
        Ok(Self {
            options,
            server,
            url,
            folder,
        })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn tool(&self, name: &str, arguments: &[&str], db: &str) -> Command {
        let mut command = Command::new(self.options.tools.join(name));
        command.args(arguments).args(["--db", db]);
        command
    }

    /// How many events a database has.
    fn count(&self, url: &str) -> u64 {
        let count = query(url, "SELECT COUNT(*) FROM ves_events");
        count.trim().parse().unwrap_or(0)
    }

    /// The database as it is without the last tenth of each stream, and the lost rows in files of the server.
    fn lose(&self) -> Result<(String, Vec<String>)> {
        let _ = query(&self.server.url(), "CREATE DATABASE lost TEMPLATE log");
        let url = self.server.database_url("lost");
        let _ = run_script(&url, &script("lose_tail.sql"), &[]);
        let place = |name: &str| format!("{name}={}", self.server.data_dir().join(name).display());
        let files: Vec<String> = ["events", "receipts", "commands"].map(place).to_vec();
        run(psql(&url, "copy_lost.sql", &files))?;
        Ok((url, files))
    }
}

/// Whole readings of the log.
fn readings(world: &World<'_>) -> Result<()> {
    let copy_out = || {
        run_all(vec![
            psql(&world.url, "copy_out_events.sql", &[]),
            psql(&world.url, "copy_out_receipts.sql", &[]),
        ])
    };
    let anchors = world.file("anchors.json").display().to_string();
    compare(
        world.options,
        &Comparison {
            name: "audit",
            rival: "binary COPY of events and receipts",
            by_rival: &copy_out,
            by_us: &|| run(world.tool("sequencer-recovery", &["audit"], &world.url)),
        },
    )?;
    compare(
        world.options,
        &Comparison {
            name: "verify",
            rival: "binary COPY of events and receipts",
            by_rival: &copy_out,
            by_us: &|| run(world.tool("anchor-verify", &["verify", "--anchors", &anchors], &world.url)),
        },
    )?;
    compare(
        world.options,
        &Comparison {
            name: "snapshot",
            rival: "`pg_dump -Fc -Z0`",
            by_rival: &|| {
                let file = world.file("dump");
                let mut dump = postgres_program("pg_dump");
                dump.args(["-Fc", "-Z0", "--file"]).arg(&file).arg(&world.url);
                let ran = run(dump)?;
                fs::remove_file(file)?;
                Ok(ran)
            },
            by_us: &|| {
                let file = world.file("copy.db");
                let ran = run(world.tool(
                    "sequencer-recovery",
                    &["snapshot", "--out", &file.display().to_string()],
                    &world.url,
                ))?;
                fs::remove_file(file)?;
                Ok(ran)
            },
        },
    )?;
    // It is of a workspace of its own: see `scripts/archive-speed`.
    if !world.options.tools.join("event-archive").exists() {
        eprintln!("event-archive is not built: its writing is not measured");
        return Ok(());
    }
    compare(
        world.options,
        &Comparison {
            name: "archive written",
            rival: "binary COPY of events and receipts",
            by_rival: &copy_out,
            by_us: &|| {
                let folder = world.file("archive");
                let ran = run(world.tool(
                    "event-archive",
                    &["write", &folder.display().to_string()],
                    &world.url,
                ))?;
                fs::remove_dir_all(folder)?;
                Ok(ran)
            },
        },
    )
}

/// A repair: planned by a snapshot of the whole log, and carried out.
fn repairs(world: &World<'_>) -> Result<()> {
    if !["plan", "apply"].iter().any(|name| world.options.selects(name)) {
        return Ok(());
    }
    let witness = world.file("witness.db").display().to_string();
    run(world.tool("sequencer-recovery", &["snapshot", "--out", &witness], &world.url))?;
    let (lost, files) = world.lose()?;
    let plan = world.file("plan.ndjson");
    // Without the key that signed its receipts, another copy of the log is one more claim, and nothing comes back.
    let key = world.file("sequencer.pub").display().to_string();
    let heard = [
        "--witness",
        witness.as_str(),
        "--sequencer-public-key",
        key.as_str(),
    ];
    let planned = |db: &str, out: &Path| {
        let out = out.display().to_string();
        let arguments = [&["plan"], &heard[..], &["--out", &out]].concat();
        run(world.tool("sequencer-recovery", &arguments, db))
    };
    let audited = || {
        let arguments = [&["audit"], &heard[..]].concat();
        run(world.tool("sequencer-recovery", &arguments, &lost))
    };
    compare(
        world.options,
        &Comparison {
            name: "plan, a tenth lost, by a snapshot",
            rival: "`audit` with the same",
            by_rival: &audited,
            by_us: &|| {
                let out = world.file("again.ndjson");
                let ran = planned(&lost, &out)?;
                fs::remove_file(out)?;
                Ok(ran)
            },
        },
    )?;
    planned(&lost, &plan)?;
    let whole = world.count(&world.url);
    let back = fs::read_to_string(&plan)?
        .lines()
        .filter(|line| line.starts_with(r#"{"type":"event""#))
        .count() as u64;
    if back + world.count(&lost) != whole {
        return Err(format!(
            "{back} of {whole} events come back by the plan, which are not all that were lost"
        )
        .into());
    }
    let _ = run_script(&lost, &script("copy_in_prepare.sql"), &[]);
    compare(
        world.options,
        &Comparison {
            name: "apply of that plan",
            rival: "COPY of the same rows into empty tables",
            by_rival: &|| {
                let _ = run_script(&lost, &script("copy_in_prepare.sql"), &[]);
                run(psql(&lost, "copy_in.sql", &files))
            },
            by_us: &|| {
                let server = world.server.url();
                let _ = query(&server, "DROP DATABASE IF EXISTS repaired");
                let _ = query(&server, "CREATE DATABASE repaired TEMPLATE lost");
                let url = world.server.database_url("repaired");
                let plan = plan.display().to_string();
                let ran = run(world.tool("sequencer-recovery", &["apply", &plan], &url))?;
                if world.count(&url) != whole {
                    return Err("the log is not whole after the apply".into());
                }
                Ok(ran)
            },
        },
    )
}

fn main() -> Result<()> {
    let options = Options::from_args()?;
    if !test_support::postgres_available() {
        eprintln!("PostgreSQL's server binaries are not installed: nothing is measured");
        return Ok(());
    }
    let world = World::make(&options)?;
    println!("| what | rival | its time | ours | ratio | all runs | peak memory |");
    println!("|---|---|---|---|---|---|---|");
    readings(&world)?;
    repairs(&world)
}
