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
        let mut cluster = Self::prepare(
            ["fsync=off", "hot_standby=on"]
                .iter()
                .chain(settings)
                .copied()
                .collect(),
        );
        let output = cluster
            .program("pg_basebackup")
            .args([
                "--host=127.0.0.1",
                "--username=postgres",
                "--write-recovery-conf",
                "--wal-method=stream",
            ])
            .args(["--checkpoint=fast", "--no-sync", "--port"])
            .arg(self.port().to_string())
            .arg("--pgdata")
            .arg(cluster.data_dir())
            .output()
            .expect("pg_basebackup can be started");
        assert!(
            output.status.success(),
            "pg_basebackup failed: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        cluster.restart();
        cluster
    }
}
