//! A pooler in front of a scratch server.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::psql::query;
use crate::{ScratchPostgres, skipped};

/// How long the pooler may take to start before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a session still has of those who used it. Not counted is what the pooler itself sets for each client.
const LEFT_OVER: &str = "SELECT concat_ws(', ',
    (SELECT string_agg('prepared statement ' || name, ', ') FROM pg_prepared_statements),
    (SELECT string_agg('setting ' || name, ', ') FROM pg_settings WHERE source = 'session' AND name NOT IN
        ('application_name', 'client_encoding', 'DateStyle', 'IntervalStyle', 'TimeZone', 'standard_conforming_strings')),
    (SELECT string_agg(locktype || ' lock', ', ') FROM pg_locks
        WHERE pid = pg_backend_pid() AND locktype = 'advisory'),
    (SELECT string_agg('temporary table ' || relname, ', ') FROM pg_class
        WHERE relnamespace = pg_my_temp_schema() AND relkind = 'r'))";

/// A running pgbouncer with two connections to a [`ScratchPostgres`], of which each transaction gets another one. It
/// knows the users `postgres` and `operator`, and lets them in without a password. It is stopped when the value is
/// dropped.
#[derive(Debug)]
pub struct PgBouncer {
    /// Removed after the process is gone.
    folder: TempDir,
    process: Child,
    port: u16,
}

/// Whether pgbouncer is installed. When it is not, says so; `scripts/setup` installs it.
///
/// # Panics
/// If it is missing and `CI=true`.
#[must_use]
pub fn pgbouncer_available() -> bool {
    let found = binary().is_some();
    if !found {
        skipped("pgbouncer not found (run scripts/setup)");
    }
    found
}

impl PgBouncer {
    /// Starts it in front of a server, with a `pool_mode` (`session`, `transaction` or `statement`).
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(server: &ScratchPostgres, pool_mode: &str) -> Self {
        let folder = tempfile::Builder::new()
            .prefix("ves-pool-")
            .tempdir()
            .expect("a temporary folder can be made");
        let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
        let port = free.expect("127.0.0.1 has a free port").port();
        let users = folder.path().join("users");
        fs::write(&users, "\"postgres\" \"\"\n\"operator\" \"\"\n").expect("own folder");
        let settings = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = {pool_mode}\ndefault_pool_size = 2\n\
             server_round_robin = 1\nmax_client_conn = 50\n",
            server.port(),
            users.display()
        );
        fs::write(&settings, text).expect("own folder");
        let mut command = Command::new(binary().expect("pgbouncer is installed (run scripts/setup)"));
        // It refuses to run as root.
        if fs::metadata(folder.path()).expect("own folder").uid() == 0 {
            let (uid, gid) = ScratchPostgres::system_user();
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("own folder");
            for path in [&users, &settings] {
                chown(path, Some(uid), Some(gid)).expect("root can give its file away");
            }
            command.uid(uid).gid(gid);
        }
        let log = File::create(folder.path().join("log")).expect("own folder");
        let process = command
            .arg(&settings)
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("pgbouncer can be started");
        let mut pooler = Self {
            folder,
            process,
            port,
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let gone = !matches!(pooler.process.try_wait(), Ok(None));
            assert!(
                !gone && Instant::now() < deadline,
                "pgbouncer does not start: {}",
                pooler.log()
            );
            sleep(Duration::from_millis(20));
        }
        pooler
    }

    /// The URL of a database by way of the pooler, as the user `postgres`.
    #[must_use]
    pub fn database_url(&self, name: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{name}", self.port)
    }

    /// Has it open both of its connections to a database, so that each transaction from then on gets another one.
    ///
    /// # Panics
    /// If it does not.
    pub fn open_both(&self, database: &str) {
        let url = self.database_url(database);
        let deadline = Instant::now() + PATIENCE;
        loop {
            // Two that ask at once; how soon the other one comes is not known.
            let ask = || query(&url, "SELECT pg_backend_pid() FROM pg_sleep(0.3)");
            let (first, second) = thread::scope(|scope| {
                let other = scope.spawn(ask);
                (ask(), other.join().expect("psql ends"))
            });
            if first != second {
                return;
            }
            assert!(Instant::now() < deadline, "one connection alone: {}", self.log());
        }
    }

    /// What its connections to a database still have of those who used them: statements, settings, locks, tables. Empty if
    /// nothing.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn left_over(&self, database: &str) -> String {
        let url = self.database_url(database);
        let found: Vec<String> = (0..4).map(|_| query(&url, LEFT_OVER)).collect();
        found.concat()
    }

    /// What it wrote to its log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Where packages put it.
fn binary() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join("pgbouncer"))
        .find(|path| path.is_file())
}
