//! A pooler in front of a scratch server.

use std::fs::{self, File};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{ScratchPostgres, skipped};

/// How long the pooler may take to start before the test fails.
const PATIENCE: Duration = Duration::from_secs(20);

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
