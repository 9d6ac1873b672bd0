//! Backups and restores by pgBackRest.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::backup_info::{BackupType, StanzaInfo};
use crate::binaries::on_path;
use crate::recovery::{RecoveryTarget, shell_word};
use crate::{Patience, ScratchError, ScratchPlace, Server};

const NAME: &str = "pgbackrest";
/// Where it keeps what it needs while it runs: by default folders of the system's that an ordinary user cannot enter.
const OWN_PATHS: [&str; 3] = [
    "PGBACKREST_LOCK_PATH",
    "PGBACKREST_LOG_PATH",
    "PGBACKREST_SPOOL_PATH",
];

/// pgBackRest for one stanza, run as the user that servers run as. It reads the one configuration file that is named here,
/// nothing else below `/etc`, and keeps its locks and logs in the [`ScratchPlace`].
#[derive(Debug, Clone)]
pub struct PgBackRest {
    program: PathBuf,
    version: String,
    place: ScratchPlace,
    config: PathBuf,
    stanza: String,
    options: Vec<OsString>,
    /// Its locks, logs and spool. By the environment, since not every command takes them as options.
    locks: PathBuf,
}

/// What to restore.
#[derive(Debug, Clone)]
pub struct Restore<'a> {
    /// The cluster's folder.
    pub data_dir: &'a Path,
    /// The backup; without it, the newest that has the target ahead.
    pub set: Option<&'a str>,
    /// Where replaying stops; the server is promoted there.
    pub target: RecoveryTarget,
    /// The timeline to follow.
    pub timeline: Option<&'a str>,
    /// Whether the folder has an older or a damaged cluster: only files that differ are fetched.
    pub delta: bool,
}

impl PgBackRest {
    /// pgBackRest with a repository of its own in the server's place, for backups of that server.
    ///
    /// # Errors
    /// [`ScratchError::NotInstalled`]; a stanza's name that is taken.
    pub fn beside(server: &Server, stanza: &str) -> Result<Self, ScratchError> {
        let place = server.place();
        let (program, version) = installed(place)?;
        let repository = place.make_dir(&format!("{stanza}.repo"))?;
        let config = place.home().join(format!("{stanza}.conf"));
        let mut text = String::from("[global]\n");
        let mut line = |name: &str, value: &str| {
            let _ = writeln!(text, "{name}={value}");
        };
        line("repo1-path", &repository.to_string_lossy());
        line("repo1-retention-full", "2");
        line("compress-type", "none");
        line("start-fast", "y");
        line("archive-async", "n");
        let _ = write!(text, "\n[{stanza}]\npg1-path={}\n", server.data_dir().display());
        let _ = writeln!(text, "pg1-socket-path={}", server.socket_dir().display());
        text.push_str("pg1-user=postgres\n");
        place.write_file(&config, text.as_bytes())?;
        Self::new(place, (program, version), config, stanza)
    }

    /// pgBackRest with somebody's configuration file, for a stanza that is there: to read its backups and restore them.
    ///
    /// # Errors
    /// [`ScratchError::NotInstalled`].
    pub fn with_config(place: &ScratchPlace, config: &Path, stanza: &str) -> Result<Self, ScratchError> {
        Self::new(place, installed(place)?, config.to_owned(), stanza)
    }

    /// pgBackRest for a repository in a folder that is there, which is not encrypted: to read its backups and restore them.
    ///
    /// # Errors
    /// [`ScratchError::NotInstalled`].
    pub fn with_repository(
        place: &ScratchPlace,
        repository: &Path,
        stanza: &str,
    ) -> Result<Self, ScratchError> {
        let found = installed(place)?;
        let config = place.home().join(format!("{stanza}.conf"));
        let text = format!("[global]\nrepo1-path={}\n", repository.display());
        place.write_file(&config, text.as_bytes())?;
        Self::new(place, found, config, stanza)
    }

    fn new(
        place: &ScratchPlace,
        (program, version): (PathBuf, String),
        config: PathBuf,
        stanza: &str,
    ) -> Result<Self, ScratchError> {
        let locks = place.home().join("pgbackrest");
        if !locks.is_dir() {
            place.make_dir("pgbackrest")?;
        }
        let option = |name: &str, path: &Path| {
            let mut option = OsString::from(format!("--{name}="));
            option.push(path);
            option
        };
        let options = vec![
            option("config", &config),
            OsString::from("--log-level-file=off"),
            OsString::from("--log-level-console=off"),
            OsString::from("--log-level-stderr=warn"),
            OsString::from(format!("--stanza={stanza}")),
        ];
        Ok(Self {
            program,
            version,
            place: place.clone(),
            config,
            stanza: stanza.to_owned(),
            options,
            locks,
        })
    }

    /// Adds an option (`--repo1-cipher-type=…`) to every call.
    #[must_use]
    pub fn option(mut self, option: impl Into<OsString>) -> Self {
        self.options.push(option.into());
        self
    }

    /// The release: `2.45`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// The command that archives a segment, for the setting `archive_command` of the server at `data_dir`.
    #[must_use]
    pub fn archive_command(&self, data_dir: &Path) -> String {
        format!("{} archive-push %p", self.in_shell(data_dir))
    }

    /// The command that fetches a segment, for [`crate::Recovery::restore_command`].
    #[must_use]
    pub fn restore_command(&self, data_dir: &Path) -> String {
        format!("{} archive-get %f %p", self.in_shell(data_dir))
    }

    fn in_shell(&self, data_dir: &Path) -> String {
        let mut line = String::new();
        for name in OWN_PATHS {
            let _ = write!(line, "{name}={} ", shell_word(&self.locks.to_string_lossy()));
        }
        line.push_str(&shell_word(&self.program.to_string_lossy()));
        for option in &self.options {
            let _ = write!(line, " {}", shell_word(&option.to_string_lossy()));
        }
        let _ = write!(
            line,
            " {}",
            shell_word(&format!("--pg1-path={}", data_dir.display()))
        );
        line
    }

    fn command(&self, verb: &str) -> Command {
        let mut command = self.place.command(&self.program);
        command.args(&self.options).arg(verb);
        command.envs(OWN_PATHS.map(|name| (name, &self.locks)));
        command
    }

    fn run(
        &self,
        verb: &str,
        command: &mut Command,
        patience: &Patience<'_>,
    ) -> Result<Vec<u8>, ScratchError> {
        let said = self.place.run(&format!("{NAME} {verb}"), command, patience)?;
        Ok(said.stdout)
    }

    /// Makes the stanza, once the server that it belongs to runs.
    ///
    /// # Errors
    /// What pgBackRest says.
    pub fn stanza_create(&self, server: &Server, patience: &Patience<'_>) -> Result<(), ScratchError> {
        let mut command = self.command("stanza-create");
        command.arg(format!("--pg1-port={}", server.port()));
        self.run("stanza-create", &mut command, patience).map(drop)
    }

    /// Tries whether the server's WAL gets to the repository.
    ///
    /// # Errors
    /// What pgBackRest says.
    pub fn check(&self, server: &Server, patience: &Patience<'_>) -> Result<(), ScratchError> {
        let mut command = self.command("check");
        command.arg(format!("--pg1-port={}", server.port()));
        self.run("check", &mut command, patience).map(drop)
    }

    /// Takes a backup of the server, which runs.
    ///
    /// # Errors
    /// What pgBackRest says.
    pub fn backup(
        &self,
        server: &Server,
        kind: BackupType,
        patience: &Patience<'_>,
    ) -> Result<(), ScratchError> {
        let mut command = self.command("backup");
        command.arg(format!("--type={}", kind.as_str()));
        command.arg(format!("--pg1-port={}", server.port()));
        self.run("backup", &mut command, patience).map(drop)
    }

    /// Restores a cluster, and writes to its settings how it recovers when it is started next. Tablespaces and links
    /// outside of the cluster's folder are restored within the place, never where they were.
    ///
    /// # Errors
    /// What pgBackRest says: no such stanza, no backup, a file whose checksum is wrong.
    pub fn restore(&self, restore: &Restore<'_>, patience: &Patience<'_>) -> Result<(), ScratchError> {
        let spaces = self.place.home().join("tablespaces");
        if !spaces.is_dir() {
            self.place.make_dir("tablespaces")?;
        }
        let mut command = self.command("restore");
        command.arg(format!("--pg1-path={}", restore.data_dir.display()));
        command.arg(format!("--tablespace-map-all={}", spaces.display()));
        if restore.delta {
            command.arg("--delta");
        }
        if let Some(set) = restore.set {
            command.arg(format!("--set={set}"));
        }
        if let Some(timeline) = restore.timeline {
            command.arg(format!("--target-timeline={timeline}"));
        }
        match &restore.target {
            RecoveryTarget::Time(time) => command.args(["--type=time", &format!("--target={time}")]),
            RecoveryTarget::Name(name) => command.args(["--type=name", &format!("--target={name}")]),
            RecoveryTarget::Immediate => command.arg("--type=immediate"),
            RecoveryTarget::End => command.arg("--type=default"),
        };
        if restore.target != RecoveryTarget::End {
            command.arg("--target-action=promote");
        }
        // What pgBackRest would write itself names neither the configuration file nor the folders of locks and logs.
        // And it writes a value between quotes as it is.
        let restore_command = self.restore_command(restore.data_dir).replace('\'', "''");
        command.arg(format!("--recovery-option=restore_command={restore_command}"));
        command.arg("--recovery-option=hot_standby=off");
        self.run("restore", &mut command, patience).map(drop)
    }

    /// The stanza with its backups.
    ///
    /// # Errors
    /// What pgBackRest says; [`ScratchError::Unreadable`].
    pub fn info(&self, patience: &Patience<'_>) -> Result<StanzaInfo, ScratchError> {
        let mut command = self.command("info");
        command.arg("--output=json");
        let said = self.run("info", &mut command, patience)?;
        let unreadable = |why: String| ScratchError::Unreadable {
            program: format!("{NAME} info"),
            why,
        };
        let stanzas: Vec<StanzaInfo> =
            serde_json::from_slice(&said).map_err(|error| unreadable(error.to_string()))?;
        let ours = stanzas.into_iter().find(|stanza| stanza.name == self.stanza);
        ours.ok_or_else(|| unreadable(format!("it does not name the stanza {}", self.stanza)))
    }
}

/// Where it is, and its release.
fn installed(place: &ScratchPlace) -> Result<(PathBuf, String), ScratchError> {
    let program = on_path(NAME, place.path()).ok_or_else(|| ScratchError::NotInstalled {
        program: NAME.to_owned(),
        looked: "the PATH".to_owned(),
    })?;
    let failed = ScratchError::io(&program);
    let output = place.command(&program).arg("version").output().map_err(&failed)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let version = said.split_whitespace().last().unwrap_or("unknown").to_owned();
    drop(failed);
    Ok((program, version))
}
