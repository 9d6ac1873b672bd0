//! What a snapshot does not have of the log that it was taken from, and says so.

use std::ops::ControlFlow;

use rusqlite::Connection;
use serde::{Deserialize, Serialize};
use ves::{StoreId, StreamKey, TenantId};

use crate::conn::{snapshot_execute, snapshot_query};
use crate::error::LogError;
use crate::reach::{DOING, concerns};
use crate::sql::snapshot;
use crate::value::Columns;

/// So many rows that were left out are recorded with their places; of the others, how many.
const RECORDED: usize = 1000;

/// Where a snapshot says what it left out.
const META_KEY: &str = "left_out";

/// Something of a log that a snapshot of it does not have.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftOut {
    /// Whether there is a row in its place, of which only a part is missing.
    pub in_part: bool,
    /// The row was there more than once, and one copy is in the snapshot.
    pub duplicate: bool,
    /// The table.
    pub table: String,
    /// The tenant, as far as it is known.
    pub tenant_id: Option<TenantId>,
    /// The store, as far as it is known.
    pub store_id: Option<StoreId>,
    /// The number, as far as there is one.
    pub sequence_number: Option<u64>,
    /// What is missing, and why.
    pub what: String,
}

impl LeftOut {
    /// Its stream, if that is known.
    pub fn stream(&self) -> Option<StreamKey> {
        Some(StreamKey::new(self.tenant_id?, self.store_id?))
    }

    /// Whether a stream may lack a row by it.
    pub(crate) fn concerns(&self, stream: &StreamKey) -> bool {
        !self.in_part && concerns(self.tenant_id, self.store_id, stream)
    }
}

/// All that a snapshot does not have of what it was taken from.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AllLeftOut {
    /// How many rows.
    pub count: u64,
    /// The first of them.
    pub rows: Vec<LeftOut>,
    /// What was there more than once, and how the copies compare.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub duplicates: Vec<String>,
}

impl AllLeftOut {
    pub(crate) fn add(&mut self, row: LeftOut) {
        self.count += 1;
        if self.rows.len() < RECORDED {
            self.rows.push(row);
        }
    }

    /// Writes it into the snapshot that is being made, so that nobody takes that for whole.
    pub(crate) fn record(&self, connection: &Connection) -> Result<(), LogError> {
        if self.count == 0 && self.duplicates.is_empty() {
            return Ok(());
        }
        let json = serde_json::to_string(self).map_err(|e| LogError::Refused {
            doing: DOING,
            what: e.to_string(),
        })?;
        let done = connection
            .prepare(snapshot!("set_meta"))
            .and_then(|mut s| snapshot_execute(&mut s, &[META_KEY.into(), json.into()]));
        done.map(drop).map_err(|e| LogError::sqlite(DOING, e))
    }

    /// Reads what a snapshot says of itself.
    pub(crate) fn read(connection: &Connection) -> rusqlite::Result<Result<Self, String>> {
        let mut found = Ok(Self::default());
        snapshot_query(connection, snapshot!("meta"), &[], &mut |row| {
            let mut c = Columns::new(row);
            if let (Ok(META_KEY), Ok(json)) = (c.text("key"), c.text("value")) {
                found = serde_json::from_str(json).map_err(|e| e.to_string());
            }
            ControlFlow::Continue(())
        })?;
        Ok(found)
    }
}
