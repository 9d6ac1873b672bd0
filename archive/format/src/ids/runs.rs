//! Sorting more rows of the index than memory holds: sorted runs in a temporary file, joined as they are read.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;

use uuid::Uuid;
use ves::{EventId, StoreId, StreamKey, TenantId};

use super::Stands;
use crate::error::ArchiveError;

/// So many rows are sorted in memory.
const RUN: usize = 1 << 18;

/// So many bytes a row takes: the ids of event, tenant and store, and the number.
const ROW: usize = 56;

/// So many rows of each run are read at once.
const READ: u64 = 256;

/// Rows that come in any order.
#[derive(Default)]
pub(super) struct Runs {
    current: Vec<Stands>,
    file: Option<File>,
    /// How many rows each run has, in the order in which they lie in the file.
    rows: Vec<u64>,
}

impl Runs {
    /// Adds rows.
    pub fn extend(&mut self, rows: impl IntoIterator<Item = Stands>) -> Result<(), ArchiveError> {
        self.current.extend(rows);
        match self.current.len() >= RUN {
            true => self.spill().map_err(ArchiveError::io("a temporary file")),
            false => Ok(()),
        }
    }

    fn spill(&mut self) -> io::Result<()> {
        self.current.sort_unstable();
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(tempfile::tempfile()?),
        };
        let mut bytes = Vec::with_capacity(self.current.len() * ROW);
        for row in &self.current {
            bytes.extend_from_slice(row.event.as_bytes());
            bytes.extend_from_slice(row.stream.tenant_id.as_bytes());
            bytes.extend_from_slice(row.stream.store_id.as_bytes());
            bytes.extend_from_slice(&row.number.to_be_bytes());
        }
        file.write_all(&bytes)?;
        self.rows.push(self.current.len() as u64);
        self.current.clear();
        Ok(())
    }

    /// How many rows there are.
    pub fn len(&self) -> u64 {
        self.rows.iter().sum::<u64>() + self.current.len() as u64
    }

    /// The runs, the oldest first, each in order.
    pub fn sorted(&mut self) -> Vec<Sorted<'_>> {
        self.current.sort_unstable();
        let mut runs: Vec<Sorted<'_>> = Vec::new();
        if let Some(file) = &self.file {
            let mut from = 0;
            for rows in &self.rows {
                runs.push(Box::new(read(file, from, from + rows)));
                from += rows;
            }
        }
        runs.push(Box::new(self.current.iter().copied().map(Ok)));
        runs
    }
}

/// Rows in the order of their events.
pub(super) type Sorted<'a> = Box<dyn Iterator<Item = Result<Stands, ArchiveError>> + 'a>;

/// The rows of a file from one to another.
fn read(file: &File, from: u64, to: u64) -> impl Iterator<Item = Result<Stands, ArchiveError>> {
    let starts = (from..to).step_by(usize::try_from(READ).unwrap_or(1));
    starts.flat_map(move |start| {
        let rows = usize::try_from(READ.min(to - start)).unwrap_or(0);
        let mut bytes = vec![0; rows * ROW];
        let rows = match file.read_exact_at(&mut bytes, start * ROW as u64) {
            Ok(()) => bytes
                .as_chunks::<ROW>()
                .0
                .iter()
                .map(|row| Ok(stands(row)))
                .collect(),
            Err(error) => vec![Err(ArchiveError::io("a temporary file")(error))],
        };
        rows.into_iter()
    })
}

fn stands(row: &[u8; ROW]) -> Stands {
    let uuid = |at: usize| Uuid::from_slice(&row[at..at + 16]).unwrap_or_default();
    let mut number = [0; 8];
    number.copy_from_slice(&row[48..]);
    Stands {
        event: EventId(uuid(0)),
        stream: StreamKey::new(TenantId(uuid(16)), StoreId(uuid(32))),
        number: u64::from_be_bytes(number),
    }
}

/// Gives the rows of all to `each`, in the order of their events. Of rows for one event the last one's counts: of the newest,
/// which stand last.
pub(super) fn joined(
    mut all: Vec<Sorted<'_>>,
    mut each: impl FnMut(Stands) -> Result<(), ArchiveError>,
) -> Result<(), ArchiveError> {
    let mut heads = BinaryHeap::new();
    for (age, rows) in all.iter_mut().enumerate() {
        if let Some(row) = rows.next().transpose()? {
            heads.push(Reverse((row.event, age, row)));
        }
    }
    let mut held: Option<Stands> = None;
    while let Some(Reverse((_, age, row))) = heads.pop() {
        if let Some(next) = all[age].next().transpose()? {
            heads.push(Reverse((next.event, age, next)));
        }
        if let Some(before) = held.replace(row).filter(|before| before.event != row.event) {
            each(before)?;
        }
    }
    held.map_or(Ok(()), each)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(event: u128, number: u64) -> Stands {
        Stands {
            event: EventId(Uuid::from_u128(event)),
            stream: StreamKey::new(TenantId(Uuid::from_u128(7)), StoreId(Uuid::from_u128(event % 3))),
            number,
        }
    }

    fn all(runs: &mut Runs) -> Vec<Stands> {
        let mut found = Vec::new();
        let take = |row| {
            found.push(row);
            Ok(())
        };
        joined(runs.sorted(), take).unwrap();
        found
    }

    #[test]
    fn more_than_memory_holds_comes_back_in_order() {
        let count = 2 * RUN as u128 + 1000;
        // Each id once, in no order: the factor is odd.
        let id = |i: u128| i.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
        let mut runs = Runs::default();
        for i in 0..count {
            runs.extend([row(id(i), i as u64)]).unwrap();
        }
        assert_eq!((runs.rows.len(), runs.len()), (2, count as u64));
        let mut expected: Vec<Stands> = (0..count).map(|i| row(id(i), i as u64)).collect();
        expected.sort_unstable();
        assert!(all(&mut runs) == expected);
    }

    #[test]
    fn of_an_event_that_comes_again_the_last_row_counts() {
        let mut runs = Runs::default();
        runs.extend((0..RUN as u128).map(|i| row(i, 1))).unwrap();
        runs.extend((0..RUN as u128).step_by(1000).map(|i| row(i, 2)))
            .unwrap();
        let found = all(&mut runs);
        assert_eq!(found.len(), RUN);
        let again = found
            .iter()
            .enumerate()
            .all(|(i, row)| row.number == if i % 1000 == 0 { 2 } else { 1 });
        assert!(again);
    }

    #[test]
    fn nothing_is_nothing() {
        assert_eq!(all(&mut Runs::default()), []);
    }
}
