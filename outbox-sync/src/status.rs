//! An outbox in figures.

use std::ops::ControlFlow;

use serde::Serialize;

use crate::error::OutboxError;
use crate::outbox::{Outbox, OutboxMeta, StatusCounts};
use crate::row::Content;

/// How many faults of single rows are kept word for word; the others are counted.
pub const MAX_FAULTS: usize = 20;

/// An outbox in figures. Signatures are not checked here.
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
    /// What is wrong with malformed and flawed rows; at most [`MAX_FAULTS`].
    pub faults: Vec<String>,
}

impl OutboxFigures {
    /// Counts the rows of an outbox.
    ///
    /// # Errors
    /// The file turns out damaged.
    pub fn of(outbox: &Outbox) -> Result<Self, OutboxError> {
        let mut figures = Self {
            meta: outbox.meta().clone(),
            signed: 0,
            unsigned: 0,
            malformed: 0,
            flawed: 0,
            highest_claim: None,
            faults: Vec::new(),
        };
        outbox.for_each_row(&mut |row| {
            let mut faults = Vec::new();
            match row {
                Ok(row) => {
                    figures.highest_claim = figures.highest_claim.max(row.claimed_sequence);
                    match row.content {
                        Content::Signed(_) | Content::Rerendered(_) => figures.signed += 1,
                        Content::Unsigned { .. } => figures.unsigned += 1,
                        Content::Malformed { why } => {
                            figures.malformed += 1;
                            faults.push(format!("{}: {why}", row.place));
                        }
                    }
                    if let Some(flaw) = row.flaw {
                        figures.flawed += 1;
                        faults.push(format!("{}: {flaw}", row.place));
                    }
                }
                Err(error) => {
                    figures.malformed += 1;
                    faults.push(error.to_string());
                }
            }
            faults.truncate(MAX_FAULTS - figures.faults.len());
            figures.faults.append(&mut faults);
            ControlFlow::Continue(())
        })?;
        Ok(figures)
    }
}

impl OutboxFigures {
    /// Whether there are rows or values that could not be read. (Rows that nobody signed are no fault of
    /// the file.)
    pub fn has_problems(&self) -> bool {
        self.malformed > 0 || self.flawed > 0 || !self.meta.flaws.is_empty()
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
    }
}
