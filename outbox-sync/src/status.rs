//! An outbox in figures, and a fleet.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;

use serde::Serialize;
use ves::{EventId, StreamKey, Timestamp};

use crate::error::OutboxError;
use crate::keys::KeyBook;
use crate::outbox::{Outbox, OutboxMeta, StatusCounts};
use crate::rendering::RenderingSearch;
use crate::row::{Content, HeldRow, Item, Origin, OutboxStatus};
use crate::verify::{VerdictCounts, check_rows};

/// How many faults of single rows are kept word for word; the others are counted.
pub const MAX_FAULTS: usize = 20;

/// Rows are checked in groups of this many.
const GROUP: usize = 1024;

/// Claims that contradict each other: numbers claimed for two events, and events with two numbers.
#[derive(Debug, Clone, Default)]
pub struct Claims {
    by_number: HashMap<(StreamKey, u64), EventId>,
    by_event: HashMap<EventId, u64>,
    /// Numbers that are claimed for more than one event.
    pub doubled: BTreeSet<(StreamKey, u64)>,
    /// Events for which more than one number is claimed.
    pub two_numbers: BTreeSet<EventId>,
}

impl Claims {
    fn add(&mut self, stream: StreamKey, number: u64, event: EventId) {
        if *self.by_number.entry((stream, number)).or_insert(event) != event {
            self.doubled.insert((stream, number));
        }
        if *self.by_event.entry(event).or_insert(number) != number {
            self.two_numbers.insert(event);
        }
    }
}

/// What a fleet is looked at with, and what is found over all of it. Its memory grows with the claims.
#[derive(Debug, Default)]
pub struct Survey<'k> {
    /// Keys to check signatures with; without them none is checked.
    pub keys: Option<&'k KeyBook>,
    /// The heads of the log's streams, if a log is known.
    pub heads: BTreeMap<StreamKey, u64>,
    /// The claims of the whole fleet.
    pub claims: Claims,
}

/// An outbox in figures.
#[derive(Debug, Clone, Serialize)]
pub struct OutboxFigures {
    /// What it says about itself.
    #[serde(flatten)]
    pub meta: OutboxMeta,
    /// Rows of the three tables with a signature (not checked).
    pub signed: u64,
    /// Rows without one: hints only.
    pub unsigned: u64,
    /// Rows that cannot be read, or not as events.
    pub malformed: u64,
    /// Rows whose bookkeeping could be read only in part.
    pub flawed: u64,
    /// The highest number that any row claims.
    pub highest_claim: Option<u64>,
    /// Numbers that its rows claim for more than one event.
    pub doubled_claims: u64,
    /// Events for which its rows claim more than one number.
    pub two_numbers: u64,
    /// Claims beyond the head: that of the log, if it is known, else the highest that it heard of itself.
    pub beyond_head: u64,
    /// When the oldest event was made that is pending or failed, as far as that is a time.
    pub oldest_unsent: Option<Timestamp>,
    /// What verifies, if keys were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<VerdictCounts>,
    /// What is wrong with malformed and flawed rows, and with those that do not verify; at most [`MAX_FAULTS`].
    pub faults: Vec<String>,
}

impl OutboxFigures {
    /// Counts the rows of an outbox. Signatures are not checked.
    ///
    /// # Errors
    /// The file turns out damaged.
    pub fn of(outbox: &Outbox) -> Result<Self, OutboxError> {
        Self::in_fleet(outbox, &mut Survey::default())
    }

    /// Counts the rows of an outbox of a fleet.
    ///
    /// # Errors
    /// The file turns out damaged.
    pub fn in_fleet(outbox: &Outbox, survey: &mut Survey<'_>) -> Result<Self, OutboxError> {
        let meta = outbox.meta().clone();
        let own_head = meta.head_sequence.max(meta.last_pushed_sequence);
        let mut counting = Counting {
            figures: Self {
                meta,
                signed: 0,
                unsigned: 0,
                malformed: 0,
                flawed: 0,
                highest_claim: None,
                doubled_claims: 0,
                two_numbers: 0,
                beyond_head: 0,
                oldest_unsent: None,
                verdicts: survey.keys.map(|_| VerdictCounts::default()),
                faults: Vec::new(),
            },
            own: Claims::default(),
            own_head,
            group: Vec::new(),
        };
        let empty = KeyBook::default();
        let mut search = RenderingSearch::new(survey.keys.unwrap_or(&empty).registry());
        outbox.for_each_row(&mut |row| {
            match row {
                Ok(row) => counting.count(row, survey, &mut search),
                Err(error) => {
                    counting.figures.malformed += 1;
                    counting.fault(error.to_string());
                }
            }
            ControlFlow::Continue(())
        })?;
        counting.check(survey, &mut search);
        let mut figures = counting.figures;
        figures.doubled_claims = counting.own.doubled.len() as u64;
        figures.two_numbers = counting.own.two_numbers.len() as u64;
        Ok(figures)
    }
}

/// An outbox while its rows are counted.
struct Counting {
    figures: OutboxFigures,
    own: Claims,
    own_head: Option<u64>,
    group: Vec<Item>,
}

impl Counting {
    fn fault(&mut self, what: String) {
        if self.figures.faults.len() < MAX_FAULTS {
            self.figures.faults.push(what);
        }
    }

    fn count(&mut self, row: HeldRow, survey: &mut Survey<'_>, search: &mut RenderingSearch<'_>) {
        let figures = &mut self.figures;
        figures.highest_claim = figures.highest_claim.max(row.claimed_sequence);
        if let Some(number) = row.claimed_sequence {
            self.own.add(row.stream, number, row.event_id);
            survey.claims.add(row.stream, number, row.event_id);
            let head = survey.heads.get(&row.stream).copied().or(self.own_head);
            figures.beyond_head += u64::from(head.is_some_and(|head| number > head));
        }
        let created = match &row.content {
            Content::Signed(event) | Content::Rerendered(event) => {
                figures.signed += 1;
                event.created_at.parse::<Timestamp>().ok()
            }
            Content::Unsigned { .. } => {
                figures.unsigned += 1;
                None
            }
            Content::Malformed { why } => {
                figures.malformed += 1;
                let what = format!("{}: {why}", row.place);
                self.fault(what);
                None
            }
        };
        let unsent = matches!(
            row.origin,
            Origin::Outbox {
                status: OutboxStatus::Pending | OutboxStatus::Failed,
                ..
            }
        );
        if let Some(created) = created.filter(|_| unsent) {
            let oldest = &mut self.figures.oldest_unsent;
            *oldest = Some(oldest.map_or(created, |known| known.min(created)));
        }
        if let Some(flaw) = &row.flaw {
            self.figures.flawed += 1;
            let what = format!("{}: {flaw}", row.place);
            self.fault(what);
        }
        if survey.keys.is_some() {
            let place = row.place.to_string();
            self.group.push(Item { place, row });
            if self.group.len() >= GROUP {
                self.check(survey, search);
            }
        }
    }

    /// Checks the rows that wait for it.
    fn check(&mut self, survey: &Survey<'_>, search: &mut RenderingSearch<'_>) {
        let Some(keys) = survey.keys else { return };
        for (item, verdict, _) in check_rows(std::mem::take(&mut self.group), keys, search) {
            if let Some(counts) = &mut self.figures.verdicts {
                counts.add(&verdict);
            }
            if verdict.verdict == crate::verify::Verification::Fails {
                let why = verdict.why.unwrap_or_default();
                self.fault(format!("{}: {why}", item.place));
            }
        }
    }
}

impl OutboxFigures {
    /// Whether there are rows or values that could not be read, claims that contradict each other or the head, or
    /// rows that do not verify. (Rows that nobody signed are no fault of the file.)
    pub fn has_problems(&self) -> bool {
        self.malformed > 0
            || self.flawed > 0
            || !self.meta.flaws.is_empty()
            || self.doubled_claims + self.two_numbers + self.beyond_head > 0
            || self.verdicts.is_some_and(|v| v.fails + v.not_checked > 0)
    }
}

/// The figures of several outboxes together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct Totals {
    /// How many outboxes were read.
    pub outboxes: u64,
    /// How many could not be.
    pub not_read: u64,
    /// Rows of the outboxes by state.
    pub outbox: StatusCounts,
    /// Rows of the pulled events.
    pub pulled: u64,
    /// Rows of the quarantined events.
    pub quarantined: u64,
    /// See [`OutboxFigures::signed`].
    pub signed: u64,
    /// See [`OutboxFigures::unsigned`].
    pub unsigned: u64,
    /// See [`OutboxFigures::malformed`].
    pub malformed: u64,
    /// See [`OutboxFigures::flawed`].
    pub flawed: u64,
    /// Numbers that are claimed for more than one event, over the whole fleet.
    pub doubled_claims: u64,
    /// Events for which more than one number is claimed, over the whole fleet.
    pub two_numbers: u64,
    /// See [`OutboxFigures::beyond_head`].
    pub beyond_head: u64,
    /// When the oldest event of the fleet was made that is pending or failed.
    pub oldest_unsent: Option<Timestamp>,
    /// What verifies, if keys were given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verdicts: Option<VerdictCounts>,
}

impl Totals {
    /// Adds an outbox.
    pub fn add(&mut self, figures: &OutboxFigures) {
        self.outboxes += 1;
        self.outbox.pending += figures.meta.outbox.pending;
        self.outbox.synced += figures.meta.outbox.synced;
        self.outbox.failed += figures.meta.outbox.failed;
        self.outbox.rejected += figures.meta.outbox.rejected;
        self.outbox.unknown += figures.meta.outbox.unknown;
        self.pulled += figures.meta.pulled;
        self.quarantined += figures.meta.quarantined;
        self.signed += figures.signed;
        self.unsigned += figures.unsigned;
        self.malformed += figures.malformed;
        self.flawed += figures.flawed;
        self.beyond_head += figures.beyond_head;
        self.oldest_unsent = match (self.oldest_unsent, figures.oldest_unsent) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        if let Some(verdicts) = &figures.verdicts {
            self.verdicts.get_or_insert_default().add_all(verdicts);
        }
    }
}
