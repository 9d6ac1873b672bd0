//! Work that takes longer than a look, each on a thread of its own: a look never waits for a node or a thousand outboxes.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use cli_common::Cancel;
use ves::StreamKey;

use super::alarms::AlarmSource;
use super::anchored::AnchoredStreams;
use crate::finding::Finding;

/// What came of one turn of a job.
#[derive(Debug)]
pub struct JobOutcome {
    /// Which look it was.
    pub source: AlarmSource,
    /// What it found; nothing if it could not look.
    pub found: Option<Vec<Finding>>,
    /// Numbers that somebody knows of, and who.
    pub heard: Vec<(StreamKey, u64, String)>,
    /// What anchors say now, if it was a look at anchors.
    pub anchored: Option<AnchoredStreams>,
    /// What did not go well.
    pub errors: Vec<String>,
}

impl JobOutcome {
    /// It could not look.
    pub fn failed(source: AlarmSource, error: &dyn std::fmt::Display) -> Self {
        Self {
            source,
            found: None,
            heard: Vec::new(),
            anchored: None,
            errors: vec![error.to_string()],
        }
    }

    /// It looked and found this.
    pub fn found(source: AlarmSource, found: Vec<Finding>) -> Self {
        Self {
            source,
            found: Some(found),
            heard: Vec::new(),
            anchored: None,
            errors: Vec::new(),
        }
    }
}

/// A turn of a job. Nothing comes of it if it was not due.
pub type Turn = Box<dyn FnMut(&Cancel) -> Option<JobOutcome> + Send>;

/// Work that is done again and again.
pub struct Job {
    /// Which look it is.
    pub source: AlarmSource,
    /// How long after a turn the next one begins.
    pub every: Duration,
    /// What it does.
    pub work: Turn,
}

/// Jobs at work.
pub struct Jobs {
    outcomes: Receiver<JobOutcome>,
    threads: Vec<JoinHandle<()>>,
}

impl Jobs {
    /// Starts each on its own thread; they end with `cancel`.
    pub fn start(jobs: Vec<Job>, cancel: &Cancel) -> Self {
        let (sender, outcomes) = channel();
        let start = |job: Job| {
            let (sender, cancel) = (sender.clone(), cancel.clone());
            std::thread::spawn(move || run(job, &sender, &cancel))
        };
        let threads = jobs.into_iter().map(start).collect();
        Self { outcomes, threads }
    }

    /// What came of them since this was asked last.
    pub fn outcomes(&self) -> impl Iterator<Item = JobOutcome> + '_ {
        self.outcomes.try_iter()
    }

    /// Waits until all have ended, which they do when they are cancelled.
    pub fn join(self) {
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}

fn run(mut job: Job, sender: &Sender<JobOutcome>, cancel: &Cancel) {
    loop {
        if let Some(outcome) = (job.work)(cancel)
            && (cancel.is_cancelled() || sender.send(outcome).is_err())
        {
            return;
        }
        if cancel.sleep(job.every).is_err() {
            return;
        }
    }
}

/// Runs each job once, here, in order.
pub fn once(jobs: Vec<Job>, cancel: &Cancel) -> Vec<JobOutcome> {
    jobs.into_iter()
        .filter_map(|mut job| (job.work)(cancel))
        .collect()
}
