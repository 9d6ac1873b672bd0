//! What is damaged in the database under the log, as findings: indexes that lack rows, rows that are there twice, rows that
//! cannot be read. A stream that such damage concerns is audited, and neither planned nor written to.

use std::ops::RangeInclusive;

use event_log::{AllLeftOut, Damage, Duplicate, HiddenRows, IndexFault, IndexFaultKind, LeftOut};
use serde::{Deserialize, Serialize};
use ves::StreamKey;

use crate::finding::{Code, Finding};
use crate::gap;

/// A stream that is left alone until the database is put right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotPlanned {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Why, and what has to be done first.
    pub why: String,
}

/// So many findings of a kind stand for themselves; the rest are summed up in the last.
const LISTED: usize = 200;

/// Everything that is damaged, as findings.
pub fn findings(damage: &Damage) -> Vec<Finding> {
    let mut findings: Vec<Finding> = damage.indexes.iter().flat_map(of_index).collect();
    let listed = damage.duplicates.iter().take(LISTED);
    findings.extend(listed.map(of_duplicate));
    if let Some(more) = damage.duplicates.len().checked_sub(LISTED).filter(|n| *n > 0) {
        let message = format!("{more} more groups of rows are there more than once");
        findings.push(Finding::new(Code::EventDuplicate, message).count(more as u64));
    }
    let unreadable = damage.unreadable.iter();
    findings.extend(unreadable.map(|row| Finding::new(Code::EventUnreadable, row.to_string())));
    findings.extend(of_left_out(&damage.left_out));
    findings
}

/// What a snapshot does not have, for the end of a report.
pub fn not_checked(damage: &Damage) -> impl Iterator<Item = String> + '_ {
    let left_out = (damage.left_out.count > 0).then(|| {
        format!(
            "{} row(s) that the snapshot does not have, or not whole: it was taken from a damaged log",
            damage.left_out.count
        )
    });
    damage.not_checked.iter().cloned().chain(left_out)
}

fn of_index(fault: &IndexFault) -> Vec<Finding> {
    let code = match fault.kind {
        IndexFaultKind::Incomplete => Code::IndexIncomplete,
        IndexFaultKind::Missing => Code::IndexMissing,
        IndexFaultKind::Unused => Code::IndexUnused,
    };
    if fault.rows.is_empty() {
        let message = format!("index {} of {}: {}", fault.index, fault.table, fault.what);
        return vec![Finding::new(code, message).next(&fault.remedy)];
    }
    let finding = |rows: &HiddenRows| {
        let numbers = match rows.numbers.as_slice() {
            [] => String::new(),
            numbers => format!(" at {}", gap::describe(numbers)),
        };
        let message = format!(
            "index {} lacks {} row(s) that {} has{numbers}: they are there, and whoever asks the index takes them for lost \
             (first: {}; {}); the stream is not planned before the index is made again",
            fault.index, rows.count, fault.table, rows.first, fault.what
        );
        let mut finding = Finding::new(code, message).next(&fault.remedy);
        if let (Some(tenant), Some(store)) = (rows.tenant, rows.store) {
            finding = finding.stream(StreamKey::new(tenant, store));
        }
        let ends = rows.numbers.first().map(RangeInclusive::start);
        if let Some((first, last)) = ends.zip(rows.numbers.last().map(RangeInclusive::end)) {
            finding = finding.range(*first, *last);
        }
        finding.count(rows.count)
    };
    let mut findings: Vec<Finding> = fault.rows.iter().take(LISTED).map(finding).collect();
    if let Some(more) = fault.rows.len().checked_sub(LISTED).filter(|n| *n > 0) {
        let message = format!("index {} lacks rows of {more} more streams", fault.index);
        findings.push(Finding::new(code, message).next(&fault.remedy));
    }
    findings
}

fn of_duplicate(duplicate: &Duplicate) -> Finding {
    let message = format!(
        "{}; the streams concerned are not planned before one copy is left",
        duplicate.describe()
    );
    let mut finding = Finding::new(Code::EventDuplicate, message);
    if let Some(stream) = duplicate.copies.first().and_then(|copy| copy.stream()) {
        finding = finding.stream(stream);
        let of_stream = duplicate
            .copies
            .iter()
            .filter(|copy| copy.stream() == Some(stream));
        let numbers: Vec<u64> = of_stream.filter_map(|copy| copy.number).collect();
        if let (Some(first), Some(last)) = (numbers.iter().min(), numbers.iter().max()) {
            finding = finding.range(*first, *last);
        }
    }
    finding.count(duplicate.count)
}

fn of_left_out(left_out: &AllLeftOut) -> Vec<Finding> {
    let finding = |row: &LeftOut| {
        let code = if row.duplicate {
            Code::EventDuplicate
        } else {
            Code::EventUnreadable
        };
        let message = format!("the snapshot does not have a row of {}: {}", row.table, row.what);
        let mut finding = Finding::new(code, message);
        if let Some(stream) = row.stream() {
            finding = finding.stream(stream);
        }
        if let Some(number) = row.sequence_number {
            finding = finding.range(number, number);
        }
        finding
    };
    // What is there in part is told where it stands.
    let absent = left_out.rows.iter().filter(|row| !row.in_part).take(LISTED);
    let mut findings: Vec<Finding> = absent.map(finding).collect();
    for what in left_out.duplicates.iter().take(LISTED) {
        let message = format!("in the log that the snapshot was taken from: {what}");
        findings.push(Finding::new(Code::EventDuplicate, message));
    }
    findings
}
