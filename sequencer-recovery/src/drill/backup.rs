//! How the drill's server is backed up and restored: by pgBackRest, or by pg_basebackup and an archive of the WAL.

use std::fs;
use std::path::PathBuf;

use scratch_postgres::{
    BackupType, Patience, PgBackRest, Recovery, RecoveryTarget, Restore, ScratchError, Server,
};
use serde_json::json;

use super::options::{BackupTool, PitrOptions};

/// The stanza, as pgBackRest names a cluster.
const STANZA: &str = "sequencer";

/// The backups of one server.
#[derive(Debug)]
pub(super) enum Backup {
    PgBackRest(Box<PgBackRest>),
    Base {
        /// The folder of the base backup, once it is taken.
        base: PathBuf,
        /// Fetches a segment of the WAL from the archive.
        restore_command: String,
        version: String,
    },
}

impl Backup {
    /// Chooses the tool and has the server, which is not started yet, archive its WAL.
    pub(super) fn prepare(server: &Server, options: &PitrOptions) -> Result<Self, ScratchError> {
        server.set("archive_mode", "on")?;
        let pgbackrest = || PgBackRest::beside(server, STANZA);
        let found = match options.backup {
            Some(BackupTool::PgBackRest) => Some(pgbackrest()?),
            Some(BackupTool::PgBaseBackup) => None,
            None => match pgbackrest() {
                Err(ScratchError::NotInstalled { .. }) => None,
                found => Some(found?),
            },
        };
        if let Some(tool) = found {
            server.set("archive_command", &tool.archive_command(server.data_dir()))?;
            return Ok(Self::PgBackRest(Box::new(tool)));
        }
        let archive = server.place().make_dir("archive")?;
        Ok(Self::Base {
            base: server.place().home().join("base"),
            restore_command: server.archive_to(&archive)?,
            version: server.binaries().version().to_owned(),
        })
    }

    /// The tool with its release.
    pub(super) fn version(&self) -> String {
        match self {
            Self::PgBackRest(tool) => format!("{} {}", BackupTool::PgBackRest, tool.version()),
            Self::Base { version, .. } => format!("{} {version}", BackupTool::PgBaseBackup),
        }
    }

    /// Its name, as the component of phases.
    pub(super) fn component(&self) -> &'static str {
        match self {
            Self::PgBackRest(_) => BackupTool::PgBackRest.as_str(),
            Self::Base { .. } => BackupTool::PgBaseBackup.as_str(),
        }
    }

    /// Takes the first backup of the server, which runs.
    pub(super) fn take_full(&self, server: &Server, patience: &Patience<'_>) -> Result<(), ScratchError> {
        match self {
            Self::PgBackRest(tool) => {
                tool.stanza_create(server, patience)?;
                tool.backup(server, BackupType::Full, patience)
            }
            Self::Base { base, .. } => server.base_backup(base, false, patience),
        }
    }

    /// Takes what changed since, where the tool can.
    pub(super) fn take_more(&self, server: &Server, patience: &Patience<'_>) -> Result<(), ScratchError> {
        match self {
            Self::PgBackRest(tool) => tool.backup(server, BackupType::Incr, patience),
            Self::Base { .. } => Ok(()),
        }
    }

    /// What the disaster leaves: the server is gone, and its data too. pgBackRest restores over what is left of the folder.
    pub(super) fn destroy(&self, server: &mut Server) -> Result<(), ScratchError> {
        server.kill();
        let data = server.data_dir();
        let gone = match self {
            Self::PgBackRest(_) => data.join("base"),
            Self::Base { .. } => data.to_owned(),
        };
        let io = |path: &PathBuf| {
            let path = path.clone();
            move |source| ScratchError::Io { path, source }
        };
        fs::remove_dir_all(&gone).map_err(io(&gone))?;
        let pid = data.join("postmaster.pid");
        if pid.exists() {
            fs::remove_file(&pid).map_err(io(&pid))?;
        }
        Ok(())
    }

    /// Restores the cluster so that it recovers to this time when it is started next.
    pub(super) fn restore(
        &self,
        server: &Server,
        time: &str,
        patience: &Patience<'_>,
    ) -> Result<(), ScratchError> {
        let target = RecoveryTarget::Time(time.to_owned());
        match self {
            Self::PgBackRest(tool) => {
                let restore = Restore {
                    data_dir: server.data_dir(),
                    set: None,
                    target,
                    timeline: None,
                    delta: true,
                };
                tool.restore(&restore, patience)
            }
            Self::Base {
                base,
                restore_command,
                ..
            } => {
                let place = server.place();
                let mut copy = place.command("/bin/cp".as_ref());
                copy.arg("-a").arg(base).arg(server.data_dir());
                place.run("cp", &mut copy, patience)?;
                server.recover(&Recovery::to(target, Some(restore_command.clone())))
            }
        }
    }

    /// What there is to restore from, as JSON.
    pub(super) fn described(&self, patience: &Patience<'_>) -> Result<String, ScratchError> {
        let described = match self {
            Self::PgBackRest(tool) => {
                let info = tool.info(patience)?;
                let backups: Vec<_> = (info.backup.iter())
                    .map(|backup| {
                        json!({"label": backup.label, "type": backup.kind.as_str(), "stop": backup.timestamp.stop,
                            "size": backup.info.as_ref().map(|info| info.size)})
                    })
                    .collect();
                let archive: Vec<_> = (info.archive.iter())
                    .map(|archive| json!({"id": archive.id, "min": archive.min, "max": archive.max}))
                    .collect();
                json!({"tool": self.version(), "stanza": info.name, "status": info.status.message,
                    "backups": backups, "archive": archive})
            }
            Self::Base { .. } => json!({"tool": self.version(), "backups": [{"type": "full"}]}),
        };
        Ok(format!("{described:#}\n"))
    }
}
