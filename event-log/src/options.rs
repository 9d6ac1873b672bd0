//! How a log is opened.

use cli_common::Cancel;

/// What may be chosen when a log is opened.
#[derive(Debug, Clone, Default)]
pub struct OpenOptions {
    /// Stops what is awaited of the server, and hears what is committed.
    pub cancel: Cancel,
}

impl OpenOptions {
    /// The usual options, stopped by this token.
    pub fn stopped_by(cancel: &Cancel) -> Self {
        Self {
            cancel: cancel.clone(),
        }
    }
}
