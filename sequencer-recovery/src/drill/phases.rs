//! The parts of a drill and how long they took.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use ves::Timestamp;

use crate::dr_report::{Phase, met};

/// The parts, in order.
#[derive(Debug)]
pub(super) struct Phases<'a> {
    list: Vec<Phase>,
    targets: &'a BTreeMap<String, f64>,
}

/// A part that is not over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    at: Timestamp,
    clock: Instant,
}

impl Begun {
    pub(super) fn now() -> Self {
        Self {
            at: now(),
            clock: Instant::now(),
        }
    }
}

impl<'a> Phases<'a> {
    pub(super) fn new(targets: &'a BTreeMap<String, f64>) -> Self {
        Self {
            list: Vec::new(),
            targets,
        }
    }

    /// Ends a part. One that goes on after another is one line: its times add up.
    pub(super) fn end(&mut self, name: &str, component: &str, begun: Begun) {
        let seconds = begun.clock.elapsed().as_secs_f64();
        let target = self.targets.get(name).copied();
        if let Some(phase) = self.list.iter_mut().find(|phase| phase.name == name) {
            phase.seconds += seconds;
            phase.ended_at = now();
            phase.met = met(Some(phase.seconds), target);
            return;
        }
        self.list.push(Phase {
            name: name.to_owned(),
            component: component.to_owned(),
            started_at: begun.at,
            ended_at: now(),
            seconds,
            target_seconds: target,
            met: met(Some(seconds), target),
        });
    }

    /// How long these took in all.
    pub(super) fn sum(&self, names: &[&str]) -> f64 {
        let counted = self
            .list
            .iter()
            .filter(|phase| names.contains(&phase.name.as_str()));
        counted.map(|phase| phase.seconds).sum()
    }

    pub(super) fn into_list(self) -> Vec<Phase> {
        self.list
    }

    pub(super) fn list(&self) -> &[Phase] {
        &self.list
    }
}

/// By this host's clock.
pub(super) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
