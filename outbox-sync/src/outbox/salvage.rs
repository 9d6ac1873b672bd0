//! Reading what can still be read of a table of a damaged file.

use std::ops::ControlFlow;

use rusqlite::Statement;

use super::MAX_LOST;
use crate::row::{HeldRow, RowError, RowReader};

/// Reads a table of a damaged file: forward until it fails, then on from the next row that can be found, by steps
/// that double, and back from there as far as it goes.
pub(super) fn salvage_rows(
    rows: &mut Statement<'_>,
    back: &mut Statement<'_>,
    reader: &RowReader,
    each: &mut dyn FnMut(Result<HeldRow, RowError>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut from = i64::MIN;
    for _ in 0..MAX_LOST {
        let mut read_any = false;
        // Row numbers must rise: a damaged tree can lead in circles.
        let failed = loop_rows(rows, from, |row, number| {
            if number < from {
                return ControlFlow::Break(true);
            }
            read_any = true;
            let Some(next) = number.checked_add(1) else {
                return ControlFlow::Break(false);
            };
            from = next;
            match each(reader.read(row)) {
                ControlFlow::Break(()) => ControlFlow::Break(false),
                ControlFlow::Continue(()) => ControlFlow::Continue(()),
            }
        });
        match failed {
            Some(true) => {}
            Some(false) => return ControlFlow::Break(()),
            None => return ControlFlow::Continue(()),
        }
        let lost = from;
        let resume = resume_behind(rows, lost);
        let lowest = lowest_behind(back, lost, resume.unwrap_or(i64::MAX));
        let next = match (lowest, resume) {
            (Some(lowest), _) if lowest > lost || read_any => Some(lowest),
            (_, resume) => resume,
        };
        if let Some(what) = what_is_lost(lost, next) {
            let place = reader.place(lost);
            if each(Err(RowError { place, what })).is_break() {
                return ControlFlow::Break(());
            }
        }
        match next {
            Some(next) => from = next,
            None => return ControlFlow::Continue(()),
        }
    }
    let what = format!("more than {MAX_LOST} stretches of rows cannot be read; given up");
    each(Err(RowError {
        place: reader.place(from),
        what,
    }))
}

/// The next row behind a damaged place that can be read, looked for by steps that double.
fn resume_behind(rows: &mut Statement<'_>, lost: i64) -> Option<i64> {
    // Rows below 1 are rare enough to be looked for last.
    let base = lost.max(0);
    let mut step = 1_i64;
    while let Some(probe) = base.checked_add(step) {
        if let Ok(first) = first_row(rows, probe) {
            return first;
        }
        step = step.checked_mul(2)?;
    }
    None
}

/// Which rows cannot be read, in words: from `lost` up to the next one that can.
fn what_is_lost(lost: i64, next: Option<i64>) -> Option<String> {
    let what = match next {
        Some(next) if next == lost => return None,
        Some(next) if next - 1 == lost => format!("row {lost} cannot be read: the file is damaged there"),
        Some(next) if lost == i64::MIN => {
            format!("the rows before {next} cannot be read: the file is damaged there")
        }
        Some(next) => format!(
            "rows {lost} to {} cannot be read: the file is damaged there",
            next - 1
        ),
        None if lost == i64::MIN => "none of its rows can be read: the file is damaged there".into(),
        None => format!("no row from {lost} on can be read: the file is damaged there"),
    };
    Some(what)
}

/// Hands over rows until there are no more (`None`), or `each` breaks with a word, or SQLite fails (`true`).
fn loop_rows(
    statement: &mut Statement<'_>,
    from: i64,
    mut each: impl FnMut(&rusqlite::Row<'_>, i64) -> ControlFlow<bool>,
) -> Option<bool> {
    let Ok(mut rows) = statement.query([from]) else {
        return Some(true);
    };
    loop {
        match rows.next() {
            Ok(None) => return None,
            Ok(Some(row)) => {
                let Ok(number) = row.get::<_, i64>(0) else {
                    return Some(true);
                };
                if let ControlFlow::Break(failed) = each(row, number) {
                    return Some(failed);
                }
            }
            Err(_) => return Some(true),
        }
    }
}

/// The first row from one on, if it can be read.
fn first_row(statement: &mut Statement<'_>, from: i64) -> Result<Option<i64>, ()> {
    let mut first = None;
    let failed = loop_rows(statement, from, |_, number| {
        first = (number >= from).then_some(number);
        ControlFlow::Break(first.is_none())
    });
    match failed {
        Some(true) => Err(()),
        _ => Ok(first),
    }
}

/// How far down rows can be read from behind.
fn lowest_behind(statement: &mut Statement<'_>, from: i64, below: i64) -> Option<i64> {
    let mut lowest: Option<i64> = None;
    let Ok(mut rows) = statement.query([from, below]) else {
        return None;
    };
    while let Ok(Some(row)) = rows.next() {
        match row.get::<_, i64>(0) {
            Ok(number) if number >= from && lowest.is_none_or(|l| number < l) => lowest = Some(number),
            _ => break,
        }
    }
    lowest
}
