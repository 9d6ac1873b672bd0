//! Servers that follow another one, or stop replaying at some point.

use crate::ScratchPostgres;

impl ScratchPostgres {
    /// A hot standby that follows this server: a copy made by `pg_basebackup`, which then streams. Settings are
    /// `name=value`.
    ///
    /// # Panics
    /// If it cannot be made or does not start.
    #[must_use]
    pub fn standby(&self, settings: &[&'static str]) -> Self {
        let settings: Vec<&str> = ["fsync=off", "hot_standby=on"]
            .iter()
            .chain(settings)
            .copied()
            .collect();
        let mut cluster = Self::prepare(&settings);
        cluster.copy_of(self);
        cluster.restart();
        cluster
    }
}
