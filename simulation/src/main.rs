//! Plays scenes, seed by seed, on all processors.

#![forbid(unsafe_code)]

use std::ops::Range;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use simulation::{Figures, Scene, play, shrink};

/// After so many scenes it is said how far the work is.
const TOLD_EVERY: u64 = 1000;

/// Plays whole worlds, disasters and repairs in memory, and says which rule a seed broke.
#[derive(Debug, Parser)]
#[command(version)]
struct Options {
    /// Which seeds, the last one not included
    #[arg(long, value_name = "FIRST..END", value_parser = seeds, default_value = "1..101")]
    seeds: Range<u64>,
    /// Sets one choice, in place of what the seed chooses
    #[arg(long, value_name = "NAME=NUMBER")]
    set: Vec<String>,
    /// How many at once
    #[arg(long, value_name = "NUMBER")]
    threads: Option<usize>,
    /// Goes on after a seed that failed
    #[arg(long)]
    keep_going: bool,
    /// Shows a failing seed as it is, without looking for a simpler scene
    #[arg(long)]
    no_shrink: bool,
}

fn seeds(text: &str) -> Result<Range<u64>, String> {
    let (first, end) = text.split_once("..").ok_or("not FIRST..END")?;
    let number = |text: &str| text.parse::<u64>().map_err(|e| e.to_string());
    let range = number(first)?..number(end)?;
    if range.is_empty() {
        return Err("there is no seed in it".into());
    }
    Ok(range)
}

fn main() -> ExitCode {
    let options = Options::parse();
    let threads = options
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    let next = AtomicU64::new(options.seeds.start);
    let (all, failed) = (Mutex::new(Figures::default()), AtomicU64::new(0));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    let stop = failed.load(Ordering::SeqCst) > 0 && !options.keep_going;
                    if seed >= options.seeds.end || stop {
                        return;
                    }
                    match one(seed, &options) {
                        Ok(figures) => {
                            if let Ok(mut all) = all.lock() {
                                all.add(&figures);
                                if all.scenes % TOLD_EVERY == 0 {
                                    eprintln!("{} scenes in {} s", all.scenes, started.elapsed().as_secs());
                                }
                            }
                        }
                        Err(broken) => {
                            failed.fetch_add(1, Ordering::SeqCst);
                            println!("{broken}");
                        }
                    }
                }
            });
        }
    });
    let failed = failed.load(Ordering::SeqCst);
    if let Ok(all) = all.lock() {
        println!("{all}");
    }
    println!("{failed} seeds failed; {:.1} s", started.elapsed().as_secs_f64());
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(1)
    }
}

/// Plays one seed; what it broke comes with the arguments that play it again.
fn one(seed: u64, options: &Options) -> Result<Figures, String> {
    let mut scene = Scene::of(seed);
    for choice in &options.set {
        scene.set(choice)?;
    }
    let played = std::panic::catch_unwind(|| play(&scene));
    let broken = match played {
        Ok(Ok(figures)) => return Ok(figures),
        Ok(Err(broken)) => broken,
        Err(_) => return Err(format!("seed {seed} PANICKED; again: {}", scene.arguments())),
    };
    let again = scene.arguments();
    if options.no_shrink {
        return Err(format!("seed {seed} FAILED: {broken}\n  again: {again}"));
    }
    let (simple, why) = shrink(scene, broken.clone());
    Err(format!(
        "seed {seed} FAILED: {broken}\n  again: {again}\n  simpler: {}\n  {why}",
        simple.arguments()
    ))
}
