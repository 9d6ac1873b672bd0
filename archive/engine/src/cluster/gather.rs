//! The shards of a verification, handed out and gathered.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anchor_verify::Shard;
use archive_format::task::Task;
use ballista_core::serde::protobuf::PartitionLocation;
use cli_common::Cancel;
use datafusion::arrow::array::{Array, AsArray, RecordBatch};
use datafusion::arrow::datatypes::Int64Type;
use tokio::time::timeout;

use super::client::{Client, JobState, Place, fetch};
use super::setup;
use super::verify_exec::VerifyExec;
use crate::error::EngineError;
use crate::query::runtime;

/// How often the scheduler is asked how far the jobs are.
const TICK: Duration = Duration::from_millis(250);
/// How often it is asked whether an executor is alive.
const PULSE: Duration = Duration::from_secs(1);
/// How long calling off what is left may take.
const FAREWELL: Duration = Duration::from_secs(10);
/// What the scheduler says of jobs that it gives up because nobody is left to run them.
const NOBODY: &str = "no executors remain";

/// How shards are gathered.
#[derive(Debug, Clone)]
pub struct GatherOptions {
    /// In how many shards the archive is cut. A few for each task that the executors take at once: what a dead executor
    /// costs is at most the shards that it had.
    pub shards: u32,
    /// How long to wait for a cluster without a living executor, or without a scheduler that answers.
    pub patience: Duration,
    /// How long to wait for a living cluster from which no shard comes back. A shard must not take as long.
    pub longest: Duration,
    /// How often a shard that failed is handed out. Attempts that end because no executor was left do not count.
    pub attempts: u32,
    /// How many shards are handed out at once: at least as many as the executors take.
    pub at_once: usize,
}

impl GatherOptions {
    /// So many shards, and so much patience; six hours for a shard, three attempts, 256 shards at once.
    pub fn new(shards: u32, patience: Duration) -> Self {
        Self {
            shards,
            patience,
            longest: Duration::from_secs(6 * 60 * 60),
            attempts: 3,
            at_once: 256,
        }
    }
}

/// What came back.
#[derive(Debug, Default)]
pub struct Gathered {
    /// The shards that came back, by number (from 1), each with its report as JSON.
    pub reports: Vec<(u64, String)>,
    /// The shards that did not, by number, each with why: nothing is known of them.
    pub lost: Vec<(u64, String)>,
    /// Why the work was given up before all shards had their attempts: the scheduler is gone, no executor is left, or nothing
    /// came back for too long. The command has then failed, whatever the reports say.
    pub given_up: Option<String>,
}

/// Verifies an archive on a cluster, in so many shards. Waits; not on a thread of an async runtime.
///
/// # Errors
/// As [`gather`]; and if the work was given up.
pub fn verify_on_cluster(
    scheduler: &str,
    task: &Task,
    shards: u32,
    patience: Duration,
    cancel: &Cancel,
) -> Result<Gathered, EngineError> {
    let gathered = gather(
        scheduler,
        task,
        &GatherOptions::new(shards, patience),
        cancel,
        |_| {},
    )?;
    match &gathered.given_up {
        None => Ok(gathered),
        Some(why) => {
            let came = gathered.reports.len();
            Err(EngineError::Cluster(format!(
                "{why}; {came} of {shards} parts came back"
            )))
        }
    }
}

/// As [`verify_on_cluster`], with what came back also where the work was given up; `came` is told of each shard when it comes
/// back.
///
/// # Errors
/// If the scheduler cannot be reached or does not take the first plan, or if the work is cancelled. What happens after that is
/// told by [`Gathered`].
pub fn gather(
    scheduler: &str,
    task: &Task,
    options: &GatherOptions,
    cancel: &Cancel,
    mut came: impl FnMut(u64),
) -> Result<Gathered, EngineError> {
    runtime(2)?.block_on(async {
        let client = Client::connect(scheduler, &setup::config()).await?;
        let mut gathering = Gathering::new(client, task, options);
        let outcome = gathering.run(cancel, &mut came).await;
        gathering.call_off().await;
        let mut gathered = gathering.gathered;
        gathered.given_up = outcome?;
        let why = gathered.given_up.as_deref().unwrap_or("it was not handed out");
        let left = gathering
            .jobs
            .into_iter()
            .map(|job| job.attempt)
            .chain(gathering.waiting);
        gathered.lost.extend(left.map(|attempt| {
            let last = attempt
                .last
                .map(|last| format!(" (before that: {last})"))
                .unwrap_or_default();
            (attempt.shard.index, format!("{why}{last}"))
        }));
        gathered.reports.sort_unstable_by_key(|(shard, _)| *shard);
        gathered.lost.sort_unstable_by_key(|(shard, _)| *shard);
        Ok(gathered)
    })
}

/// A shard that is to be verified.
#[derive(Debug, Clone)]
struct Attempt {
    shard: Shard,
    /// How often it was handed out before.
    before: u32,
    /// Why it did not come back the last time.
    last: Option<String>,
}

struct Job {
    id: String,
    attempt: Attempt,
}

struct Gathering<'a> {
    client: Client,
    task: Arc<Task>,
    options: &'a GatherOptions,
    waiting: VecDeque<Attempt>,
    jobs: Vec<Job>,
    gathered: Gathered,
    /// When a shard came back last, or was lost for good.
    moved: Instant,
    /// When an executor was known to be alive last.
    alive: Instant,
    /// When that was asked last.
    asked: Option<Instant>,
    /// The last trouble with the scheduler itself.
    trouble: Option<String>,
}

impl<'a> Gathering<'a> {
    fn new(client: Client, task: &Task, options: &'a GatherOptions) -> Self {
        let shards = (1..=u64::from(options.shards)).map(|index| Attempt {
            shard: Shard {
                index,
                of: options.shards.into(),
            },
            before: 0,
            last: None,
        });
        Self {
            client,
            task: Arc::new(task.clone()),
            options,
            waiting: shards.collect(),
            jobs: Vec::new(),
            gathered: Gathered::default(),
            moved: Instant::now(),
            alive: Instant::now(),
            asked: None,
            trouble: None,
        }
    }

    /// Until all shards are done with: `None`, or why it was given up.
    async fn run(
        &mut self,
        cancel: &Cancel,
        came: &mut impl FnMut(u64),
    ) -> Result<Option<String>, EngineError> {
        self.hand_out().await?;
        while !self.jobs.is_empty() || !self.waiting.is_empty() {
            if cancel.is_cancelled() {
                return Err(EngineError::Cancelled);
            }
            tokio::time::sleep(TICK).await;
            self.look(came).await;
            if let Err(error) = self.hand_out().await {
                self.trouble = Some(error.to_string());
            }
            self.feel_pulse().await;
            if let Some(why) = self.hopeless() {
                return Ok(Some(why));
            }
        }
        Ok(None)
    }

    async fn feel_pulse(&mut self) {
        if self.asked.is_some_and(|asked| asked.elapsed() < PULSE) {
            return;
        }
        match self.client.has_executors().await {
            Ok(true) => {
                self.alive = Instant::now();
                self.trouble = None;
            }
            Ok(false) => self.trouble = Some("no executor is left".to_owned()),
            Err(error) => self.trouble = Some(error.to_string()),
        }
        self.asked = Some(Instant::now());
    }

    fn hopeless(&mut self) -> Option<String> {
        let in_words = cli_common::time_in_words;
        if self.alive.elapsed() >= self.options.patience {
            let trouble = self
                .trouble
                .take()
                .unwrap_or_else(|| "no executor is left".to_owned());
            return Some(format!("{trouble} (waited {})", in_words(self.options.patience)));
        }
        (self.moved.elapsed() >= self.options.longest)
            .then(|| format!("no part came back within {}", in_words(self.options.longest)))
    }

    async fn hand_out(&mut self) -> Result<(), EngineError> {
        while self.jobs.len() < self.options.at_once.max(1)
            && let Some(attempt) = self.waiting.front()
        {
            let plan = VerifyExec::new(Arc::clone(&self.task), vec![attempt.shard]);
            let id = self.client.submit(Arc::new(plan)).await?;
            let attempt = self.waiting.pop_front();
            self.jobs.extend(attempt.map(|attempt| Job { id, attempt }));
        }
        Ok(())
    }

    /// Looks after all jobs.
    async fn look(&mut self, came: &mut impl FnMut(u64)) {
        let mut jobs = std::mem::take(&mut self.jobs).into_iter();
        for job in jobs.by_ref() {
            match self.client.state(&job.id).await {
                Ok(JobState::Going) => self.jobs.push(job),
                Ok(JobState::Failed(why)) => self.failed(job.attempt, why),
                Ok(JobState::Done(locations)) => {
                    match report(self.client.place(), &job.attempt.shard, locations).await {
                        Ok(report) => {
                            let shard = job.attempt.shard.index;
                            self.moved = Instant::now();
                            self.gathered.reports.push((shard, report));
                            came(shard);
                        }
                        Err(why) => self.failed(job.attempt, why),
                    }
                }
                Err(error) => {
                    self.trouble = Some(error.to_string());
                    self.jobs.push(job);
                    break;
                }
            }
        }
        // A scheduler that does not answer for one job is not asked for all the others.
        self.jobs.extend(jobs);
    }

    fn failed(&mut self, mut attempt: Attempt, why: String) {
        tracing::warn!(
            "part {} of {} did not come back: {why}",
            attempt.shard.index,
            attempt.shard.of
        );
        if !why.contains(NOBODY) {
            attempt.before += 1;
        }
        if attempt.before >= self.options.attempts.max(1) {
            self.moved = Instant::now();
            self.gathered.lost.push((attempt.shard.index, why));
        } else {
            attempt.last = Some(why);
            self.waiting.push_back(attempt);
        }
    }

    async fn call_off(&mut self) {
        let all = async {
            for job in &self.jobs {
                self.client.cancel(&job.id).await;
            }
            self.client.end().await;
        };
        // A scheduler that is gone needs to be told nothing.
        let _ = timeout(FAREWELL, all).await;
    }
}

/// The report of a shard, out of the rows of its job.
async fn report(
    scheduler: &Place,
    shard: &Shard,
    locations: Vec<PartitionLocation>,
) -> Result<String, String> {
    let mut rows = Vec::new();
    for location in locations {
        rows.extend(
            fetch(scheduler, location)
                .await
                .map_err(|error| error.to_string())?,
        );
    }
    let mut reports = rows
        .iter()
        .flat_map(|rows| (0..rows.num_rows()).map(move |row| (rows, row)));
    match (reports.next(), reports.next()) {
        (Some((rows, row)), None) => read(shard, rows, row),
        _ => Err("its job did not give one row".to_owned()),
    }
}

fn read(shard: &Shard, rows: &RecordBatch, row: usize) -> Result<String, String> {
    let column = |name: &str| rows.column_by_name(name);
    let number = column("shard").and_then(|shards| shards.as_primitive_opt::<Int64Type>());
    let text = |name: &str| column(name).and_then(|texts| texts.as_string_opt::<i32>());
    let (Some(number), Some(reports), Some(errors)) = (number, text("report"), text("error")) else {
        return Err("its job gave other columns".to_owned());
    };
    if u64::try_from(number.value(row)) != Ok(shard.index) {
        return Err("its job gave another shard".to_owned());
    }
    match (reports.is_valid(row), errors.is_valid(row)) {
        (true, false) => Ok(reports.value(row).to_owned()),
        (false, true) => Err(errors.value(row).to_owned()),
        _ => Err("its job gave neither a report nor an error".to_owned()),
    }
}
