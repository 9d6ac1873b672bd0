//! A PostgreSQL cluster of its own for one test.

use std::env;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use scratch_postgres::{
    Account, Binaries, Listen, Patience, Recovery, RecoveryTarget, ScratchError, ScratchPlace, Search, Server,
};
use sha2::{Digest as _, Sha256};

use crate::psql::query;
use crate::tls::TestAuthority;
use crate::workspace_root;

/// How long a server may take to start before the test fails.
const PATIENCE: Patience<'static> = Patience::new(Duration::from_secs(60), &|| false);

/// A running PostgreSQL server with a cluster of its own in a temporary folder. It listens on a unix socket in that
/// folder and on a free port of 127.0.0.1, and lets everybody in as the superuser `postgres`.
///
/// It is stopped and its folder is removed when the value is dropped, also by a panic, and within moments when the
/// test process is killed. A test that runs as root runs the server as the system user `postgres`.
#[derive(Debug)]
pub struct ScratchPostgres {
    server: Server,
    /// Fetches the archived WAL, where it is archived.
    restore_command: Option<String>,
}

impl ScratchPostgres {
    /// Makes a cluster and starts its server, without the waiting for disks that makes a database durable.
    ///
    /// # Panics
    /// If the binaries are missing (ask [`crate::postgres_available`] first) or the server does not start.
    #[must_use]
    pub fn start() -> Self {
        // Small segments where a cluster is made for one test; as usual where it is made to be measured.
        Self::start_with(
            &["fsync=off", "synchronous_commit=off", "full_page_writes=off"],
            1,
        )
    }

    /// As [`ScratchPostgres::start`], with PostgreSQL's default durability: for tests that crash the server, and for
    /// measurements.
    ///
    /// # Panics
    /// As [`ScratchPostgres::start`].
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(&[], 16)
    }

    /// As [`ScratchPostgres::start_durable`], with every segment of the WAL archived: for real point-in-time recoveries by
    /// [`ScratchPostgres::base_backup`] and [`ScratchPostgres::recover_to`]. [`ScratchPostgres::log`] says who connected, and
    /// begins each line with the process.
    ///
    /// # Panics
    /// As [`ScratchPostgres::start`].
    #[must_use]
    pub fn start_archiving() -> Self {
        let mut cluster = Self::start_with(&[], 16);
        let archive = cluster.server.place().make_dir("archive").expect("own folder");
        let restore_command = cluster.server.archive_to(&archive).expect("own cluster");
        cluster.restore_command = Some(restore_command);
        let talkative = cluster
            .server
            .configure("log_connections = on\nlog_line_prefix = '%p '\n");
        talkative.expect("own cluster");
        cluster.restart();
        cluster
    }

    /// Takes a base backup while the server runs, in place of the one before.
    ///
    /// # Errors
    /// What `pg_basebackup` says: the server was killed meanwhile, for one.
    ///
    /// # Panics
    /// If the one before cannot be removed.
    pub fn base_backup(&self) -> Result<(), String> {
        let base = self.base();
        if base.exists() {
            fs::remove_dir_all(&base).expect("own folder");
        }
        let taken = self.server.base_backup(&base, false, &PATIENCE);
        taken.map_err(|error| error.to_string())
    }

    fn base(&self) -> PathBuf {
        self.server.place().home().join("base")
    }

    /// A point-in-time recovery: the whole cluster becomes what it was at a restore point that was made (by
    /// `pg_create_restore_point`) after the last base backup. The server runs on from there, on a timeline of its own.
    ///
    /// # Panics
    /// If the server does not get there.
    pub fn recover_to(&mut self, restore_point: &str) {
        // In order, so that what is left of the WAL is archived.
        self.stop();
        fs::remove_dir_all(self.data_dir()).expect("own folder");
        fs::rename(self.base(), self.data_dir()).expect("a base backup was taken");
        let recovery = Recovery::to(
            RecoveryTarget::Name(restore_point.to_owned()),
            self.restore_command.clone(),
        );
        self.server.recover(&recovery).expect("own cluster");
        self.restart();
    }

    /// Makes the server speak TLS too, with the authority's certificate, and starts it again.
    ///
    /// # Panics
    /// If it does not start.
    pub fn speak_tls(&mut self, authority: &TestAuthority) {
        for (name, content) in [
            ("server.crt", &authority.certificate),
            ("server.key", &authority.key),
        ] {
            // For its owner alone: the server refuses a key that others may read.
            let written = (self.server.place()).write_file(&self.data_dir().join(name), content.as_bytes());
            written.expect("own folder");
        }
        self.server.override_with(&["ssl=on"]);
        self.restart();
    }

    /// The system user that owns a server's files where the test runs as root.
    pub(crate) fn system_user() -> (u32, u32) {
        let account = Account::for_servers().expect("servers can be run");
        account.other().expect("this test runs as root")
    }

    /// A folder for a cluster and its watchdog, without a cluster. Settings are `name=value`.
    pub(crate) fn prepare(settings: &[&str]) -> Self {
        let place = ScratchPlace::new(None, &search().path).expect("a place for a server can be made");
        let binaries = binaries().expect("PostgreSQL server binaries are installed (run scripts/setup)");
        let server = Server::of(&place, &binaries, "data", Listen::Loopback);
        let mut server = server.expect("own folder");
        server.override_with(settings);
        Self {
            server,
            restore_command: None,
        }
    }

    fn start_with(settings: &[&str], segment: u16) -> Self {
        let mut cluster = Self::prepare(settings);
        cluster.copy_template(segment);
        cluster.restart();
        cluster
    }

    /// Makes the cluster as a copy of one that is made once and kept below `target`, for each server program, user and
    /// size of WAL segments: `initdb` takes longer than most tests. All copies have one system identifier.
    fn copy_template(&self, segment: u16) {
        let program = self.server.binaries().program("postgres");
        let built = fs::metadata(&program).expect("it is there");
        let account = self.server.place().account();
        // Not its path: scripts/matrix copies servers to where their user reaches them, each time elsewhere.
        let key = format!("{} {} {account:?} {segment}", built.len(), built.mtime());
        let templates = workspace_root().join("target/clusters");
        let template = templates.join(&hex::encode(Sha256::digest(key))[..16]);
        if template.is_dir() {
            return copy_tree(&template, &self.data_dir());
        }
        self.server
            .initialize(segment, &PATIENCE)
            .expect("a cluster can be made");
        fs::create_dir_all(&templates).expect("a folder can be made below target");
        let fresh = tempfile::Builder::new()
            .prefix(".copying-")
            .tempdir_in(&templates)
            .expect("a folder can be made below target");
        let copy = fresh.path().join("data");
        copy_tree(&self.data_dir(), &copy);
        // Whole or not at all. It is not replaced where another process was faster.
        let kept = fs::rename(&copy, &template);
        assert!(
            kept.is_ok() || template.is_dir(),
            "{}: {kept:?}",
            template.display()
        );
    }

    /// The URL of the database `postgres`, over TCP.
    #[must_use]
    pub fn url(&self) -> String {
        self.database_url("postgres")
    }

    /// The URL of the database `name`, over TCP, whether it exists or not.
    #[must_use]
    pub fn database_url(&self, name: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port())
    }

    /// The folder of the unix socket, for `host=` in a connection string. The port names the socket in it.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.server.socket_dir()
    }

    /// The port on 127.0.0.1. It may change with [`ScratchPostgres::restart`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.server.port()
    }

    /// Makes an empty database and returns its URL. `name` has only the characters `a-z`, `0-9` and `_`.
    ///
    /// # Panics
    /// If the name has others, or is taken.
    #[must_use]
    pub fn create_database(&self, name: &str) -> String {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        assert!(
            !name.is_empty() && name.chars().all(plain),
            "not a plain database name: {name:?}"
        );
        let _ = query(&self.url(), &format!("CREATE DATABASE {name}"));
        self.database_url(name)
    }

    /// Stops the server in order; what was committed is on disk. Does nothing if it is stopped.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Crashes the server: the main process is killed at once, as by a power cut of the process alone. Does nothing
    /// if it is stopped.
    pub fn kill9(&mut self) {
        self.server.kill();
    }

    /// Starts the server on its cluster, after stopping it in order if it runs.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.server.restart(&PATIENCE).expect("PostgreSQL starts");
    }

    /// The cluster's folder: for tests that damage files while the server is stopped.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.server.data_dir().to_path_buf()
    }

    /// What the server has written to its log, since the cluster was made.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read(self.server.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Makes the cluster a standby that streams from `primary`.
    ///
    /// # Panics
    /// If it cannot be copied.
    pub(crate) fn copy_of(&self, primary: &Self) {
        let place = self.server.place();
        let mut command = place.command(&self.server.binaries().program("pg_basebackup"));
        command
            .args(["--host=127.0.0.1", "--username=postgres", "--write-recovery-conf"])
            .args(["--wal-method=stream", "--checkpoint=fast", "--no-sync"])
            .arg(format!("--port={}", primary.port()))
            .arg("--pgdata")
            .arg(self.server.data_dir());
        let copied = place.run("pg_basebackup", &mut command, &PATIENCE);
        copied.expect("a standby can be made");
    }
}

/// A copy of a folder with all that is in it, by the same owner.
fn copy_tree(from: &Path, to: &Path) {
    let output = Command::new("cp").arg("-a").args([from, to]).output();
    let output = output.expect("cp can be started");
    assert!(
        output.status.success(),
        "cp: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// Where to look for the server: in the environment variable `VES_PG_BIN`, or on the `PATH` and where Debian puts it.
fn search() -> Search {
    let folder = env::var_os("VES_PG_BIN").filter(|dir| !dir.is_empty());
    Search {
        folder: folder.map(PathBuf::from),
        path: env::var_os("PATH").unwrap_or_default(),
    }
}

/// The server's programs; `None` if they are not installed.
///
/// # Panics
/// If `VES_PG_BIN` names a folder without a server: another server would be tested than the one that was asked for. If
/// there is one that does not run.
pub(crate) fn binaries() -> Option<Binaries> {
    let search = search();
    match Binaries::find(&search) {
        Ok(found) => Some(found),
        Err(ScratchError::NotInstalled { .. }) if search.folder.is_none() => None,
        Err(error) => panic!("{error}"),
    }
}
