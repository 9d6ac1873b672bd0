//! What is damaged in a log, as it is told.

use ves::StreamKey;

use crate::duplicate::Duplicate;
use crate::error::RowError;
use crate::left_out::AllLeftOut;
use crate::reach::{HiddenRows, Reach, concerns};

/// What is damaged in a log, as far as that can be seen without understanding its rows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Damage {
    /// Indexes that do not have what their tables have.
    pub indexes: Vec<IndexFault>,
    /// Rows that are there more than once.
    pub duplicates: Vec<Duplicate>,
    /// Tables that cannot be read through.
    pub unreadable: Vec<RowError>,
    /// What a snapshot says it does not have of what it was taken from.
    pub left_out: AllLeftOut,
    /// What was not compared, and why.
    pub not_checked: Vec<String>,
}

/// An index that does not have what its table has, or that cannot be relied on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IndexFault {
    /// Its name with its schema's, as a command takes it.
    pub index: String,
    /// Its table.
    pub table: &'static str,
    /// What kind of fault it is.
    pub kind: IndexFaultKind,
    /// What is wrong, in words.
    pub what: String,
    /// The rows of the table that it lacks, by where they belong.
    pub rows: Vec<HiddenRows>,
    /// For whom that matters.
    pub reach: Reach,
    /// What puts it right.
    pub remedy: String,
}

/// What kind of fault an index has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IndexFaultKind {
    /// It does not have what its table has, or that is not certain.
    Incomplete,
    /// It is not there at all.
    Missing,
    /// It is unfinished and not read.
    Unused,
}

impl IndexFault {
    /// Whether answers about a stream may be wrong for it.
    pub fn concerns(&self, stream: &StreamKey) -> bool {
        match self.reach {
            Reach::Nothing => false,
            Reach::Everything => true,
            Reach::Rows => (self.rows.iter()).any(|rows| concerns(rows.tenant, rows.store, stream)),
        }
    }
}

impl Damage {
    /// Why a stream must not be planned or written to; `None` if nothing speaks against it.
    pub fn refusal(&self, stream: &StreamKey) -> Option<String> {
        let index = self.indexes.iter().find(|fault| fault.concerns(stream));
        if let Some(fault) = index {
            return Some(format!(
                "index {}: {}; first: {}",
                fault.index, fault.what, fault.remedy
            ));
        }
        if let Some(twice) = self.duplicates.iter().find(|twice| twice.concerns(stream)) {
            return Some(format!("{}; one copy has to go first", twice.describe()));
        }
        let left_out = self.left_out.rows.iter().find(|row| row.concerns(stream));
        if let Some(row) = left_out {
            return Some(format!(
                "the snapshot does not have a row of {}: {}",
                row.table, row.what
            ));
        }
        let unnamed = self.left_out.count > self.left_out.rows.len() as u64;
        unnamed.then(|| "the snapshot does not have all rows, and does not say which".to_owned())
    }

    /// Whether an index was found that lacks rows, or may lack some.
    pub(crate) fn hides_rows(&self) -> bool {
        self.indexes.iter().any(|fault| fault.reach != Reach::Nothing)
    }
}
