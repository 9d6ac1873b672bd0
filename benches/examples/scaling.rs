//! Measures how a whole verification scales, and draws what was measured: see `scripts/scaling`.
//!
//! `scaling` measures and draws; `scaling --most N` leaves larger worlds out; `scaling --draw` draws what was measured
//! before. Every verification runs in a process of its own (`scaling run FOLDER THREADS`), so that its memory is its own.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use benches::scaling::{Run, from_csv, plot, table, to_csv, with_table};
use benches::worlds::KeptWorld;
use fixtures::BigSpec;
use rayon::ThreadPoolBuilder;
use rustix::time::{ClockId, clock_gettime};

/// Events and streams of the worlds, smallest first.
const WORLDS: [(u64, u64); 7] = [
    (10_000, 10),
    (100_000, 10),
    (1_000_000, 1),
    (1_000_000, 10),
    (1_000_000, 100),
    (1_000_000, 10_000),
    (10_000_000, 10),
];

/// The process's peak of memory so far, in KiB. Linux only.
fn peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0.0)
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32).as_secs_f64()
}

/// Verifies one world in this process, and prints its line.
fn run(folder: &str, threads: &str) -> Result<(), Box<dyn Error>> {
    let threads: usize = threads.parse()?;
    let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
    let world = KeptWorld::at(Path::new(folder))?;
    let (begun, cpu) = (Instant::now(), cpu_seconds());
    let report = pool.install(|| world.verify(true).map_err(|e| e.to_string()))?;
    let run = Run {
        events: report.totals.events,
        streams: report.totals.streams,
        threads: threads as u64,
        seconds: begun.elapsed().as_secs_f64(),
        cpu_seconds: cpu_seconds() - cpu,
        peak_mib: peak() / 1024.0,
    };
    println!("{}", run.line());
    Ok(())
}

fn measure(most: u64) -> Result<Vec<Run>, Box<dyn Error>> {
    let mut lines = String::new();
    for (events, streams) in WORLDS.into_iter().filter(|(events, _)| *events <= most) {
        let spec = BigSpec {
            events,
            streams,
            ..BigSpec::default()
        };
        // Made by this process, if it is not there; and its pages are in memory afterwards, as far as they fit.
        drop(KeptWorld::open(&spec)?);
        for threads in ["1", "2"] {
            let output = Command::new(std::env::current_exe()?)
                .arg("run")
                .arg(KeptWorld::place(&spec))
                .arg(threads)
                .stderr(Stdio::inherit())
                .output()?;
            if !output.status.success() {
                return Err(format!("{events} events in {streams} streams were not verified").into());
            }
            let line = String::from_utf8(output.stdout)?;
            eprint!("{line}");
            lines.push_str(&line);
        }
    }
    let header = to_csv(&[]);
    Ok(from_csv(&(header + &lines))?)
}

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let csv = docs.join("scaling.csv");
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let runs = match args[..] {
        ["run", folder, threads] => return run(folder, threads),
        ["--draw"] => from_csv(&fs::read_to_string(&csv)?)?,
        [] => measure(u64::MAX)?,
        ["--most", most] => measure(most.parse()?)?,
        _ => return Err("scaling [--most EVENTS | --draw]".into()),
    };
    fs::write(&csv, to_csv(&runs))?;
    fs::write(docs.join("scaling.svg"), plot(&runs))?;
    let document = docs.join("performance.md");
    let text = fs::read_to_string(&document)?;
    let text = with_table(&text, &runs)
        .ok_or("docs/performance.md lacks the marks that the table stands between")?;
    fs::write(&document, text)?;
    println!("{}", table(&runs));
    Ok(())
}
