//! Rows that are there more than once, where a constraint that forbids it was lost or its index is damaged.

use std::ops::ControlFlow;

use ves::{StoreId, StreamKey, TenantId};

use crate::conn::Conn;
use crate::error::LogError;
use crate::index_keys::Key;
use crate::reach::{DOING, concerns};
use crate::value::{Columns, Row};

/// So many groups of rows the statements give at most.
const LISTED: usize = 1000;

/// Rows that share what only one row may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Duplicate {
    /// The table.
    pub table: &'static str,
    /// What they share, in words: the columns.
    pub shared: String,
    /// Each copy: its stream and number as far as it has them, and what it is in words.
    pub copies: Vec<DuplicateRow>,
    /// How many there are.
    pub count: u64,
    /// The columns in which they differ; `None` if they could not be compared.
    pub differing: Option<Vec<String>>,
    /// There are more such groups than are listed.
    pub and_more: bool,
}

/// One of the rows of a [`Duplicate`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateRow {
    /// Its tenant, as far as it is known.
    pub tenant: Option<TenantId>,
    /// Its store, as far as it has one.
    pub store: Option<StoreId>,
    /// Its number, if it has one that an event can have.
    pub number: Option<u64>,
    /// What it is, in words.
    pub label: String,
}

impl DuplicateRow {
    /// Its stream.
    pub fn stream(&self) -> Option<StreamKey> {
        Some(StreamKey::new(self.tenant?, self.store?))
    }
}

impl Duplicate {
    /// Whether it concerns a stream.
    pub fn concerns(&self, stream: &StreamKey) -> bool {
        self.and_more || (self.copies.iter()).any(|row| concerns(row.tenant, row.store, stream))
    }

    /// What is there more than once, and how the copies compare.
    pub fn describe(&self) -> String {
        let mut copies: Vec<String> = Vec::new();
        for row in &self.copies {
            let place = match (row.stream(), row.number) {
                (Some(stream), Some(number)) => format!("{} at {number} of {stream}", row.label),
                (Some(stream), None) => format!("{} of {stream}", row.label),
                _ => row.label.clone(),
            };
            if !copies.contains(&place) {
                copies.push(place);
            }
        }
        let compared = match self.differing.as_deref() {
            None => "whether they are equal could not be compared".to_owned(),
            Some([]) => "the copies are equal".to_owned(),
            Some(columns) => format!("the copies differ in {}", columns.join(", ")),
        };
        let more = if self.and_more {
            "; there are more such rows than are listed"
        } else {
            ""
        };
        format!(
            "{} rows of {} share their {}: {}; {compared}{more}",
            self.count,
            self.table,
            self.shared,
            copies.join(", ")
        )
    }
}

/// Runs one of the statements that look for such rows.
pub(crate) async fn find(
    conn: &mut Conn,
    settings: Option<&'static str>,
    key: &Key,
    sql: &'static str,
) -> Result<Vec<Duplicate>, LogError> {
    let mut found: Vec<(String, Duplicate)> = Vec::new();
    let compared = key.twice_bare != Some(sql);
    let mut each = |row: Row<'_>| {
        let mut c = Columns::new(row);
        let mut read = || -> Result<(), String> {
            let shared = c.optional_text("key")?.unwrap_or_default().to_owned();
            let copy = DuplicateRow {
                tenant: c.optional_uuid("tenant_id")?.map(TenantId),
                store: c.optional_uuid("store_id")?.map(StoreId),
                number: c.optional_int("number")?.and_then(|n| u64::try_from(n).ok()),
                label: c.optional_text("label")?.unwrap_or("a row").to_owned(),
            };
            let count = c.number("copies")?;
            let differing = c
                .text("differing")?
                .split_whitespace()
                .map(str::to_owned)
                .collect();
            match found.last_mut() {
                Some((last, duplicate)) if *last == shared => duplicate.copies.push(copy),
                _ => found.push((
                    shared,
                    Duplicate {
                        table: key.table,
                        shared: key.words(),
                        copies: vec![copy],
                        count,
                        differing: compared.then_some(differing),
                        and_more: false,
                    },
                )),
            }
            Ok(())
        };
        // A key that cannot be read is told with its row.
        let _ = read();
        ControlFlow::Continue(())
    };
    match settings {
        Some(_) => conn.aside(DOING, settings, sql, &[], &mut each).await?,
        None => conn.query(DOING, sql, &[], &mut each).await?,
    }
    let mut found: Vec<Duplicate> = found.into_iter().map(|(_, duplicate)| duplicate).collect();
    if found.len() >= LISTED
        && let Some(last) = found.last_mut()
    {
        last.and_more = true;
    }
    Ok(found)
}
