//! Measuring beside a rival: both run in turn, A B A B, in one process, and what counts is the
//! median of the ratios of neighbouring runs. A machine that is busy or changes its clock slows
//! down both; where one of them uses more threads than the machine has free, the ratio of the fastest
//! runs says more.

#![forbid(unsafe_code)]

pub mod scaling;
pub mod signed;
pub mod worlds;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use ves::kernel::LeafInput;
use ves::{Hash32, SignatureBytes, StreamKey};

/// How long a comparison takes and which ones run, from the command line: words select comparisons
/// whose name contains one of them, `--rounds N` sets how many pairs are measured, and `--large` asks
/// for the sizes that take minutes.
#[derive(Debug, Clone)]
pub struct Options {
    words: Vec<String>,
    rounds: usize,
    /// Whether to run the sizes that take minutes.
    pub large: bool,
}

impl Options {
    /// Reads the command line. What cargo itself passes is skipped.
    pub fn from_args() -> Self {
        let mut options = Self {
            words: Vec::new(),
            rounds: 31,
            large: false,
        };
        let mut args = std::env::args().skip(1);
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--large" => options.large = true,
                "--rounds" => {
                    options.rounds = args
                        .next()
                        .and_then(|n| n.parse().ok())
                        .unwrap_or(options.rounds)
                        .max(1);
                }
                other if other.starts_with('-') => {}
                word => options.words.push(word.to_owned()),
            }
        }
        options
    }

    /// The first word that is a number: a size.
    pub fn number(&self) -> Option<usize> {
        self.words.iter().find_map(|word| word.parse().ok())
    }

    fn selects(&self, name: &str) -> bool {
        self.words.is_empty() || self.words.iter().any(|word| name.contains(word.as_str()))
    }
}

/// One comparison's outcome.
#[derive(Debug, Clone)]
struct Row {
    name: String,
    rival: f64,
    ours: f64,
    ratios: Vec<f64>,
    of_fastest: f64,
    at_least: Option<f64>,
}

/// A table of comparisons, printed as Markdown when it is dropped.
#[derive(Debug)]
pub struct Table {
    options: Options,
    clock: Clock,
    rival: String,
    unit: String,
    rows: Vec<Row>,
}

/// The value that a share `at` of the values lies below.
fn quantile(values: &[f64], at: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted[((sorted.len() - 1) as f64 * at).round() as usize]
}

/// What a comparison counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// The time that the measuring thread was on a processor: what others do on the machine adds
    /// nothing. For work on one thread.
    Thread,
    /// The time on the wall.
    Wall,
}

impl Clock {
    fn seconds<T>(self, run: impl FnOnce() -> T) -> f64 {
        let now = || {
            let time = clock_gettime(match self {
                Self::Thread => ClockId::ThreadCPUTime,
                Self::Wall => ClockId::Monotonic,
            });
            Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
        };
        let start = now();
        black_box(run());
        (now() - start).as_secs_f64()
    }
}

impl Table {
    /// A table whose times are given for one `unit` of work.
    pub fn new(options: &Options, clock: Clock, rival: &str, unit: &str) -> Self {
        Self {
            options: options.clone(),
            clock,
            rival: rival.into(),
            unit: unit.into(),
            rows: Vec::new(),
        }
    }

    /// Whether a comparison of that name runs: to be asked before what takes long to make.
    pub fn selects(&self, name: &str) -> bool {
        self.options.selects(name)
    }

    /// Measures `ours` beside `rival`; both do `units` units of work in one call.
    ///
    /// # Panics
    /// If the two come to different results.
    pub fn compare<T: PartialEq>(
        &mut self,
        name: &str,
        units: usize,
        at_least: Option<f64>,
        mut rival: impl FnMut() -> T,
        mut ours: impl FnMut() -> T,
    ) {
        if !self.options.selects(name) {
            return;
        }
        assert!(rival() == ours(), "{name}: the results differ");
        // Long enough for the clock, short enough for many pairs.
        let once = self.clock.seconds(&mut ours).max(1e-9);
        let calls = (0.02 / once).clamp(1.0, 1e6) as usize;
        let many = |f: &mut dyn FnMut() -> T| {
            self.clock.seconds(|| {
                for _ in 0..calls {
                    black_box(f());
                }
            }) / (calls * units) as f64
        };
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        for round in 0..self.options.rounds {
            a.push(many(&mut rival));
            b.push(many(&mut ours));
            if round >= 4 && begun.elapsed() > Duration::from_secs(120) {
                break;
            }
        }
        self.add(name, &a, &b, at_least);
    }

    /// As [`Table::compare`], for work that changes something outside: before each run `prepare` puts it back to where
    /// it was, and `outcome` says what the run left there. Neither is timed.
    ///
    /// # Panics
    /// If the two leave different outcomes.
    #[expect(
        clippy::too_many_arguments,
        reason = "four of them are what the comparison is"
    )]
    pub fn compare_changes<T: PartialEq>(
        &mut self,
        name: &str,
        units: usize,
        at_least: Option<f64>,
        mut prepare: impl FnMut(),
        mut outcome: impl FnMut() -> T,
        mut rival: impl FnMut(),
        mut ours: impl FnMut(),
    ) {
        if !self.options.selects(name) {
            return;
        }
        prepare();
        rival();
        let expected = outcome();
        prepare();
        ours();
        assert!(outcome() == expected, "{name}: the outcomes differ");
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let begun = Instant::now();
        for round in 0..self.options.rounds {
            prepare();
            a.push(self.clock.seconds(&mut rival) / units as f64);
            prepare();
            b.push(self.clock.seconds(&mut ours) / units as f64);
            if round >= 4 && begun.elapsed() > Duration::from_secs(120) {
                break;
            }
        }
        self.add(name, &a, &b, at_least);
    }

    fn add(&mut self, name: &str, a: &[f64], b: &[f64], at_least: Option<f64>) {
        let row = Row {
            name: name.into(),
            rival: quantile(a, 0.5),
            ours: quantile(b, 0.5),
            ratios: a.iter().zip(b).map(|(a, b)| a / b).collect(),
            of_fastest: quantile(a, 0.0) / quantile(b, 0.0),
            at_least,
        };
        eprintln!("{name}: {:.2}", quantile(&row.ratios, 0.5));
        self.rows.push(row);
    }

    fn markdown(&self) -> String {
        let Self { rival, unit, .. } = self;
        let mut text = format!(
            "\n| what | {rival}, ns per {unit} | ours, ns | median ratio | quartiles | of the fastest | runs | at least |\n\
             |---|---|---|---|---|---|---|---|\n"
        );
        for row in &self.rows {
            let at_least = row.at_least.map_or_else(|| "–".into(), |x| format!("{x}×"));
            let r = &row.ratios;
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "| {} | {:.1} | {:.1} | **{:.2}×** | {:.2}–{:.2} | {:.2} | {} | {at_least} |",
                row.name,
                row.rival * 1e9,
                row.ours * 1e9,
                quantile(r, 0.5),
                quantile(r, 0.25),
                quantile(r, 0.75),
                row.of_fastest,
                r.len(),
            );
        }
        text
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        if !self.rows.is_empty() {
            println!("{}", self.markdown());
        }
    }
}

/// Bytes that look random and are the same in every run.
pub fn noise(seed: u64, out: &mut [u8]) {
    let mut state = seed;
    for chunk in out.chunks_mut(8) {
        // SplitMix64.
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        chunk.copy_from_slice(&z.to_le_bytes()[..chunk.len()]);
    }
}

/// Hashes of nothing in particular.
pub fn hashes(n: usize) -> Vec<Hash32> {
    let mut hashes = vec![Hash32::ZERO; n];
    for (i, hash) in hashes.iter_mut().enumerate() {
        noise(i as u64, &mut hash.0);
    }
    hashes
}

/// What the leaves of a stream's first `n` events would bind.
pub fn inputs(n: usize) -> Vec<LeafInput> {
    (1..=n as u64)
        .map(|sequence_number| {
            let mut event_signing_hash = Hash32::ZERO;
            let mut agent_signature = SignatureBytes::ZERO;
            noise(sequence_number, &mut event_signing_hash.0);
            noise(sequence_number << 32, &mut agent_signature.0);
            LeafInput {
                sequence_number,
                event_signing_hash,
                agent_signature,
            }
        })
        .collect()
}

/// A stream.
pub fn stream() -> StreamKey {
    StreamKey::new(
        uuid::Uuid::from_u128(1 << 99).into(),
        uuid::Uuid::from_u128(2 << 99).into(),
    )
}

/// An order of about 480 bytes, as JSON.
pub fn order(i: usize) -> String {
    format!(
        "{{\"note\": \"Leave at the door\\nring twice\", \"total\": {}.{:02}, \"status\": \"confirmed\", \
         \"address\": {{\"zip\": \"{:05}\", \"city\": \"Zürich\", \"line1\": \"Bahnhofstrasse {}\", \
         \"country\": \"CH\"}}, \"currency\": \"CHF\", \"order_id\": \"ORD-{i:08}\", \"placed_at\": \
         \"2026-03-0{}T12:34:56.789Z\", \"customer_id\": \"5f0c2d9e-88aa-4c1b-9d3e-{i:012x}\", \
         \"line_items\": [{{\"qty\": {}, \"sku\": \"SKU-{}\", \"price\": 19.90}}, {{\"qty\": 1, \"sku\": \
         \"SKU-{}\", \"price\": 249.95, \"gift\": true}}], \"is_subscription\": false}}",
        100 + i,
        i % 100,
        8000 + i,
        i % 200,
        1 + i % 9,
        1 + i % 4,
        i * 7,
        i * 11,
    )
}

/// The process's peak of memory so far, in KiB. Linux only.
pub fn peak_memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .unwrap_or(0)
}
