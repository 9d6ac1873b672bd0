//! The log of a watch: looked at by one session, look after look, and opened anew when it is not as it was.

use cli_common::{Cancel, DbTarget};
use event_log::{Log, OpenOptions, Resting, View};

use crate::error::RecoveryError;

/// A log that is looked at again and again.
pub struct KeptLog {
    target: DbTarget,
    options: OpenOptions,
    resting: Option<Resting>,
    opened: u64,
}

impl KeptLog {
    /// The log there; it is opened with the first view.
    pub fn new(target: DbTarget, cancel: &Cancel) -> Self {
        Self {
            target,
            options: OpenOptions::stopped_by(cancel),
            resting: None,
            opened: 0,
        }
    }

    /// What it is.
    pub fn target(&self) -> &DbTarget {
        &self.target
    }

    /// How often it was opened.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// A view of it as it is now. To be given back with [`KeptLog::rest`] after the look: between two looks no transaction is
    /// open.
    ///
    /// # Errors
    /// It cannot be opened, or read.
    pub async fn view(&mut self) -> Result<View, RecoveryError> {
        // Whatever is wrong with a session that was kept: a new one says what is wrong with the log.
        if let Some(resting) = self.resting.take()
            && let Ok(Some(view)) = resting.view().await
        {
            return Ok(view);
        }
        let log = Log::open_with(&self.target, &self.options).await?;
        self.opened += 1;
        Ok(log.view().await?)
    }

    /// Ends a view and keeps its session, if it is whole.
    pub async fn rest(&mut self, view: View) {
        self.resting = view.rest().await.ok().flatten();
    }
}
