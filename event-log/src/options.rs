//! How a log is opened.

use std::fmt;
use std::sync::Arc;

use cli_common::Cancel;

/// What may be chosen when a log is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Stops what is awaited of the server, and hears what is committed.
    pub cancel: Cancel,
    /// Sees each connection to a snapshot file before it is used.
    pub on_snapshot: Option<OnSnapshot>,
    /// Over how many connections a view of PostgreSQL may read at once; one for two processors of this machine, four at
    /// most, if it is not said.
    pub connections: Option<usize>,
}

impl OpenOptions {
    /// The usual options, stopped by this token.
    pub fn stopped_by(cancel: &Cancel) -> Self {
        Self {
            cancel: cancel.clone(),
            ..Self::default()
        }
    }
}

/// What sees each connection to a snapshot file. With it, a program that simulates faults makes SQLite fail at a chosen
/// place of the work; the tools have no use for it.
#[derive(Clone)]
pub struct OnSnapshot(Arc<See>);

type See = dyn Fn(&rusqlite::Connection, bool) -> rusqlite::Result<()> + Send + Sync;

impl OnSnapshot {
    /// Calls this with each connection, and with whether it is one that writes. An error is one of opening the file.
    pub fn new(
        see: impl Fn(&rusqlite::Connection, bool) -> rusqlite::Result<()> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(see))
    }

    pub(crate) fn see(&self, connection: &rusqlite::Connection, writes: bool) -> rusqlite::Result<()> {
        (self.0)(connection, writes)
    }
}

impl fmt::Debug for OnSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnSnapshot")
    }
}
