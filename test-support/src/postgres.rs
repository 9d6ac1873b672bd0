//! A PostgreSQL cluster of its own for one test.

use std::env;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::psql::query;
use crate::tls::TestAuthority;
use crate::workspace_root;

/// How long a server may take to start or stop before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

/// Ends the server and removes its folder ($1) as soon as stdin closes, that is when the process that started it is
/// gone, however it went. It removes nothing but that folder.
const WATCHDOG: &str = r#"
cat >/dev/null
pid=$(head -n 1 "$1/data/postmaster.pid" 2>/dev/null) && kill -QUIT "$pid" 2>/dev/null
n=0
while [ -n "$pid" ] && kill -0 "$pid" 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done
rm -rf -- "$1"
"#;

/// A running PostgreSQL server with a cluster of its own in a temporary folder. It listens on a unix socket in that
/// folder and on a free port of 127.0.0.1, and lets everybody in as the superuser `postgres`.
///
/// It is stopped and its folder is removed when the value is dropped, also by a panic, and within moments when the
/// test process is killed. A test that runs as root runs the server as the system user `postgres`.
#[derive(Debug)]
pub struct ScratchPostgres {
    folder: TempDir,
    options: Vec<&'static str>,
    owner: Option<Owner>,
    port: u16,
    server: Option<Child>,
    watchdog: Child,
}

/// The user to run the server as, where that is not the user of the test.
#[derive(Debug, Clone, Copy)]
struct Owner {
    uid: u32,
    gid: u32,
}

impl ScratchPostgres {
    /// Makes a cluster and starts its server, without the waiting for disks that makes a database durable.
    ///
    /// # Panics
    /// If the binaries are missing (ask [`crate::postgres_available`] first) or the server does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(vec![
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
        ])
    }

    /// As [`ScratchPostgres::start`], with PostgreSQL's default durability: for tests that crash the server, and for
    /// measurements.
    ///
    /// # Panics
    /// As [`ScratchPostgres::start`].
    #[must_use]
    pub fn start_durable() -> Self {
        Self::start_with(Vec::new())
    }

    /// As [`ScratchPostgres::start_durable`], with every segment of the WAL archived: for real point-in-time recoveries by
    /// [`ScratchPostgres::base_backup`] and [`ScratchPostgres::recover_to`]. [`ScratchPostgres::log`] says who connected, and
    /// begins each line with the process.
    ///
    /// # Panics
    /// As [`ScratchPostgres::start`].
    #[must_use]
    pub fn start_archiving() -> Self {
        let mut cluster = Self::start_with(Vec::new());
        let archive = cluster.folder.path().join("archive");
        fs::create_dir(&archive).expect("own folder");
        if let Some(owner) = cluster.owner {
            chown(&archive, Some(owner.uid), Some(owner.gid)).expect("root can give its folder away");
        }
        let archive = archive.display();
        cluster.configure(&format!(
            "archive_mode = on\narchive_command = 'cp %p {archive}/%f'\nrestore_command = 'cp {archive}/%f %p'\n\
             log_connections = on\nlog_line_prefix = '%p '\n"
        ));
        cluster.restart();
        cluster
    }

    /// Takes a base backup while the server runs, in place of the one before.
    ///
    /// # Errors
    /// What `pg_basebackup` says: the server was killed meanwhile, for one.
    ///
    /// # Panics
    /// If `pg_basebackup` cannot be started.
    pub fn base_backup(&self) -> Result<(), String> {
        let base = self.folder.path().join("base");
        if base.exists() {
            fs::remove_dir_all(&base).expect("own folder");
        }
        let program = crate::psql::postgres_program("pg_basebackup");
        let output = self
            .as_owner(program)
            .args(["--checkpoint=fast", "--wal-method=none", "--no-sync", "--pgdata"])
            .arg(&base)
            .args(["--dbname", &self.url()])
            .output()
            .expect("pg_basebackup can be started");
        let told = String::from_utf8_lossy(&output.stderr);
        output
            .status
            .success()
            .then_some(())
            .ok_or_else(|| told.into_owned())
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
        fs::rename(self.folder.path().join("base"), self.data_dir()).expect("a base backup was taken");
        self.configure(&format!(
            "recovery_target_name = '{restore_point}'\nrecovery_target_action = 'promote'\n"
        ));
        let signal = self.data_dir().join("recovery.signal");
        File::create(&signal).expect("own folder");
        if let Some(owner) = self.owner {
            chown(&signal, Some(owner.uid), Some(owner.gid)).expect("root can give its file away");
        }
        self.restart();
        // It lets readers in before it has come to the end.
        let deadline = Instant::now() + PATIENCE;
        while query(&self.url(), "SELECT pg_is_in_recovery()") != "f" {
            assert!(Instant::now() < deadline, "the recovery does not end");
            sleep(Duration::from_millis(50));
        }
    }

    /// Adds settings; the last one of a name counts.
    fn configure(&self, settings: &str) {
        let path = self.data_dir().join("postgresql.conf");
        let mut file = File::options().append(true).open(path).expect("own cluster");
        file.write_all(settings.as_bytes()).expect("own file");
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
            let path = self.data_dir().join(name);
            fs::write(&path, content).expect("own folder");
            // The server refuses a key that others may read.
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("own file");
            if let Some(owner) = self.owner {
                chown(&path, Some(owner.uid), Some(owner.gid)).expect("root can give its file away");
            }
        }
        self.options.push("ssl=on");
        self.restart();
    }

    /// The system user that owns a server's files where the test runs as root.
    pub(crate) fn system_user() -> (u32, u32) {
        (id("-u"), id("-g"))
    }

    /// A folder for a cluster and its watchdog, without a cluster.
    pub(crate) fn prepare(options: Vec<&'static str>) -> Self {
        // A short name: the path of a unix socket must not be longer than 107 bytes.
        let folder = tempfile::Builder::new()
            .prefix("ves-pg-")
            .tempdir()
            .expect("a temporary folder can be made");
        let root = fs::metadata(folder.path()).expect("the folder is there").uid() == 0;
        let owner = root.then(|| Owner {
            uid: id("-u"),
            gid: id("-g"),
        });
        if let Some(owner) = owner {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
            chown(folder.path(), Some(owner.uid), Some(owner.gid)).expect("root can give its folder away");
        }
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "scratch-postgres-watchdog"])
            .arg(folder.path())
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");

        Self {
            folder,
            options,
            owner,
            port: 0,
            server: None,
            watchdog,
        }
    }

    fn start_with(options: Vec<&'static str>) -> Self {
        let mut cluster = Self::prepare(options);
        // Small where a cluster is made for one test; as usual where it is made to be measured.
        let segments = if cluster.options.is_empty() { "16" } else { "1" };
        cluster.copy_template(segments);
        cluster.restart();
        cluster
    }

    /// Makes the cluster as a copy of one that is made once and kept below `target`, for each server program, user and
    /// size of WAL segments: `initdb` takes longer than most tests. All copies have one system identifier.
    fn copy_template(&self, segments: &str) {
        let program = bin_dir()
            .expect("PostgreSQL server binaries are installed")
            .join("postgres");
        let built = fs::metadata(&program).expect("it is there");
        // Not its path: scripts/matrix copies servers to where their user reaches them, each time elsewhere.
        let key = format!("{} {} {:?} {segments}", built.len(), built.mtime(), self.owner);
        let templates = workspace_root().join("target/clusters");
        let template = templates.join(&hex::encode(Sha256::digest(key))[..16]);
        if template.is_dir() {
            return copy_tree(&template, &self.data_dir());
        }
        self.initdb(segments);
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

    fn initdb(&self, segments: &str) {
        let output = self
            .program("initdb")
            .args([
                "--username=postgres",
                "--auth=trust",
                "--encoding=UTF8",
                "--locale=C",
            ])
            .args(["--no-sync", "--wal-segsize", segments, "--pgdata"])
            .arg(self.data_dir())
            .output()
            .expect("initdb can be started");
        assert!(
            output.status.success(),
            "initdb failed: {}",
            String::from_utf8_lossy(&output.stderr)
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
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// The folder of the unix socket, for `host=` in a connection string. The port names the socket in it.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        self.folder.path()
    }

    /// The port on 127.0.0.1. It may change with [`ScratchPostgres::restart`].
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
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
    ///
    /// # Panics
    /// If it does not stop.
    pub fn stop(&mut self) {
        self.end("-INT");
    }

    /// Crashes the server: the main process is killed at once, as by a power cut of the process alone. Does nothing
    /// if it is stopped.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill9(&mut self) {
        self.end("-KILL");
    }

    /// Starts the server on its cluster, after stopping it in order if it runs.
    ///
    /// # Panics
    /// If it does not start.
    pub fn restart(&mut self) {
        self.stop();
        let deadline = Instant::now() + PATIENCE;
        // More than one try: another process may take the free port before the server does, and after a crash the
        // old server's processes hold its shared memory for a moment.
        while !self.try_start(deadline) {
            assert!(
                Instant::now() < deadline,
                "PostgreSQL does not start: {}",
                self.log()
            );
            sleep(Duration::from_millis(200));
        }
    }

    fn try_start(&mut self, deadline: Instant) -> bool {
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        self.port = free.expect("127.0.0.1 has a free port").port();
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_file())
            .expect("own folder");
        let mut command = self.program("postgres");
        command
            .arg("-D")
            .arg(self.data_dir())
            .arg("-k")
            .arg(self.folder.path());
        command.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        for option in &self.options {
            command.args(["-c", option]);
        }
        let server = command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file handle can be copied"))
            .stderr(log)
            .spawn()
            .expect("postgres can be started");
        let pid = server.id();
        self.server = Some(server);
        loop {
            let status = fs::read_to_string(self.data_dir().join("postmaster.pid")).unwrap_or_default();
            let mut lines = status.lines();
            if lines.next() == Some(pid.to_string().as_str()) && lines.any(|line| line.trim() == "ready") {
                return true;
            }
            let gone = self
                .server
                .as_mut()
                .is_none_or(|server| !matches!(server.try_wait(), Ok(None)));
            if gone {
                self.server = None;
                return false;
            }
            if Instant::now() > deadline {
                self.end("-KILL");
                return false;
            }
            sleep(Duration::from_millis(10));
        }
    }

    fn end(&mut self, signal: &str) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let _ = Command::new("kill")
            .args([signal, &server.id().to_string()])
            .status();
        let deadline = Instant::now() + PATIENCE;
        while matches!(server.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                let _ = server.kill();
            }
            sleep(Duration::from_millis(5));
        }
    }

    /// The cluster's folder: for tests that damage files while the server is stopped.
    #[must_use]
    pub fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// What the server has written to its log, since the cluster was made.
    #[must_use]
    pub fn log(&self) -> String {
        let log = fs::read(self.log_file()).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// One of the server's programs, to run as the user that owns the cluster.
    pub(crate) fn program(&self, name: &str) -> Command {
        let dir = bin_dir().expect("PostgreSQL server binaries are installed (run scripts/setup)");
        self.as_owner(Command::new(dir.join(name)))
    }

    /// The command, to be run as the user that owns the cluster.
    fn as_owner(&self, mut command: Command) -> Command {
        command.current_dir(self.folder.path()).env("LC_ALL", "C");
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("PG") {
                command.env_remove(name);
            }
        }
        if let Some(owner) = self.owner {
            command.uid(owner.uid).gid(owner.gid);
        }
        command
    }
}

impl Drop for ScratchPostgres {
    fn drop(&mut self) {
        self.end("-QUIT");
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
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

/// The id that `id` gives for the system user that PostgreSQL's packages make.
fn id(option: &str) -> u32 {
    let output = Command::new("id").args([option, "postgres"]).output();
    let output = output.expect("id can be started");
    let number = String::from_utf8_lossy(&output.stdout).trim().parse();
    number.expect("there is a system user `postgres`: the server refuses to run as root")
}

/// The folder of the server's binaries: the environment variable `VES_PG_BIN`, or where `initdb` on the `PATH` really
/// lies, or the newest under `/usr/lib/postgresql`.
///
/// # Panics
/// If `VES_PG_BIN` names a folder without a server: another server would be tested than the one that was asked for.
pub(crate) fn bin_dir() -> Option<PathBuf> {
    let whole = |dir: &PathBuf| dir.join("initdb").exists() && dir.join("postgres").exists();
    if let Some(dir) = env::var_os("VES_PG_BIN").filter(|dir| !dir.is_empty()) {
        let dir = PathBuf::from(dir);
        assert!(
            whole(&dir),
            "VES_PG_BIN: no initdb and postgres in {}",
            dir.display()
        );
        return Some(dir);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path = env::split_paths(&path).filter_map(|dir| {
        let program = dir.join("initdb").canonicalize().ok()?;
        program.parent().map(Path::to_path_buf)
    });
    let version = |dir: &PathBuf| dir.file_name()?.to_str()?.parse::<u32>().ok();
    let mut packaged: Vec<PathBuf> = match fs::read_dir("/usr/lib/postgresql") {
        Ok(entries) => entries.filter_map(|entry| Some(entry.ok()?.path())).collect(),
        Err(_) => Vec::new(),
    };
    packaged.sort_by_key(version);
    let packaged = packaged.into_iter().rev().map(|dir| dir.join("bin"));
    on_path.chain(packaged).find(whole)
}
