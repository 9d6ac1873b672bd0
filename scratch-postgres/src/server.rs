//! One cluster in a place, and its server.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::control::newest_timeline;
use crate::place::{Running, last_lines, tail};
use crate::recovery::{Recovery, quoted, shell_word};
use crate::{Binaries, Patience, ScratchError, ScratchPlace, cluster_version};

/// How long a server may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(30);
/// The most that an error repeats of a server's log.
const MOST_LOG: u64 = 8 << 10;
/// The port that names the socket of a server that nobody reaches by TCP. Each server's socket is in a folder of its own.
const SOCKET_PORT: u16 = 5432;
/// The files of a restored cluster that say how it was run where it comes from. They are set aside, since they would have
/// this server archive, listen and load as that one did.
const SETTINGS_FILES: [&str; 4] = [
    "postgresql.conf",
    "postgresql.auto.conf",
    "pg_hba.conf",
    "pg_ident.conf",
];
/// Whoever reaches the socket or port is let in.
const LET_IN: &str = "local all all trust\nlocal replication all trust\nhost all all 127.0.0.1/32 trust\n\
                      host replication all 127.0.0.1/32 trust\n";

/// Where a server listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// On a unix socket in the private folder alone: nobody but root and the server's own user reaches it.
    Socket,
    /// There, and on a free port of 127.0.0.1, where it lets in everybody on this machine. For data that is made up.
    Loopback,
}

/// A cluster and, while it is started, its server. Dropped, the server ends at once; the files go with the [`ScratchPlace`].
#[derive(Debug)]
pub struct Server {
    place: ScratchPlace,
    binaries: Binaries,
    data: PathBuf,
    sockets: PathBuf,
    log: PathBuf,
    listen: Listen,
    port: u16,
    options: Vec<String>,
    /// How long the log was when the server was started last.
    log_before: u64,
    running: Option<Running>,
}

impl Server {
    /// Makes an empty cluster in the place, under a short name of its own, with the superuser `postgres`.
    ///
    /// # Errors
    /// What `initdb` says.
    pub fn create(
        place: &ScratchPlace,
        binaries: &Binaries,
        name: &str,
        listen: Listen,
        patience: &Patience<'_>,
    ) -> Result<Self, ScratchError> {
        let server = Self::of(place, binaries, name, listen)?;
        server.initialize(1, patience)?;
        Ok(server)
    }

    /// Makes an empty cluster in [`Server::data_dir`], with segments of the WAL of so many MiB.
    ///
    /// # Errors
    /// What `initdb` says.
    pub fn initialize(&self, segment: u16, patience: &Patience<'_>) -> Result<(), ScratchError> {
        let mut command = self.place.command(&self.binaries.program("initdb"));
        command.args([
            "--username=postgres",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--no-sync",
        ]);
        command.arg(format!("--wal-segsize={segment}"));
        command.arg("--pgdata").arg(&self.data);
        self.place.run("initdb", &mut command, patience).map(drop)
    }

    /// A cluster whose folder, [`Server::data_dir`], somebody else fills before it is started.
    ///
    /// # Errors
    /// A name that is taken.
    pub fn of(
        place: &ScratchPlace,
        binaries: &Binaries,
        name: &str,
        listen: Listen,
    ) -> Result<Self, ScratchError> {
        let sockets = place.make_dir(&format!("{name}.s"))?;
        if sockets.as_os_str().len() + ".s.PGSQL.65535".len() >= 107 {
            return Err(ScratchError::PathTooLong { path: sockets });
        }
        Ok(Self {
            place: place.clone(),
            binaries: binaries.clone(),
            data: place.home().join(name),
            sockets,
            log: place.file(&format!("{name}.log")),
            listen,
            port: SOCKET_PORT,
            options: Vec::new(),
            log_before: 0,
            running: None,
        })
    }

    /// Makes the cluster that was restored to [`Server::data_dir`] fit to run here: the settings that it was run with where
    /// it comes from are set aside (as `*.restored`), so that it neither archives, listens, replicates nor loads libraries as
    /// that one did; whoever reaches its socket is let in.
    ///
    /// # Errors
    /// A folder that is no cluster, or of another major release than the programs.
    pub fn adopt(&self) -> Result<(), ScratchError> {
        let wanted = cluster_version(&self.data)?;
        if wanted != self.binaries.major() {
            return Err(ScratchError::WrongVersion {
                wanted,
                found: self.binaries.version().to_owned(),
            });
        }
        for name in SETTINGS_FILES {
            let path = self.data.join(name);
            if path.symlink_metadata().is_ok() {
                let aside = self.data.join(format!("{name}.restored"));
                fs::rename(&path, aside).map_err(ScratchError::io(&path))?;
            }
            let content = if name == "pg_hba.conf" { LET_IN } else { "" };
            self.place.write_file(&path, content.as_bytes())?;
        }
        // What would make it follow the one that it comes from.
        for name in ["standby.signal", "postmaster.pid", "postmaster.opts"] {
            let path = self.data.join(name);
            if path.symlink_metadata().is_ok() {
                fs::remove_file(&path).map_err(ScratchError::io(&path))?;
            }
        }
        self.set("max_wal_senders", "4")?;
        self.set("timezone", "UTC")
    }

    /// Has the cluster, which is stopped, recover from its backup when it is started next. It is ready when it was promoted.
    ///
    /// # Errors
    /// [`ScratchError::Io`].
    pub fn recover(&self, recovery: &Recovery) -> Result<(), ScratchError> {
        self.configure(&recovery.settings())?;
        self.place.write_file(&self.data.join("recovery.signal"), b"")
    }

    /// Adds a setting to `postgresql.conf`; the last one of a name counts, from the next start on.
    ///
    /// # Errors
    /// [`ScratchError::Io`].
    pub fn set(&self, name: &str, value: &str) -> Result<(), ScratchError> {
        self.configure(&format!("{name} = {}\n", quoted(value)))
    }

    /// Adds lines to `postgresql.conf`.
    ///
    /// # Errors
    /// [`ScratchError::Io`].
    pub fn configure(&self, settings: &str) -> Result<(), ScratchError> {
        let path = self.data.join("postgresql.conf");
        let mut file = File::options()
            .append(true)
            .open(&path)
            .map_err(ScratchError::io(&path))?;
        file.write_all(settings.as_bytes())
            .map_err(ScratchError::io(&path))
    }

    /// Settings (`name=value`) that stand above those of the cluster's files, from the next start on.
    pub fn override_with(&mut self, settings: &[&str]) {
        self.options
            .extend(settings.iter().map(|setting| (*setting).to_owned()));
    }

    /// Has every segment of the WAL copied into a folder, from the next start on, and says how to fetch them from there
    /// ([`Recovery::restore_command`]).
    ///
    /// # Errors
    /// [`ScratchError::Io`].
    pub fn archive_to(&self, archive: &Path) -> Result<String, ScratchError> {
        let archive = archive.to_string_lossy();
        let segment = shell_word(&format!("{archive}/"));
        self.set("archive_mode", "on")?;
        // Never over one that is there.
        self.set(
            "archive_command",
            &format!("test ! -f {segment}%f && cp %p {segment}%f"),
        )?;
        Ok(format!("cp {segment}%f %p"))
    }

    /// Starts the server and waits until it lets in: one that recovers, until it was promoted.
    ///
    /// # Errors
    /// [`ScratchError::NoServer`] with the end of its log; [`ScratchError::Stopped`]; [`ScratchError::TooLong`].
    pub fn start(&mut self, patience: &Patience<'_>) -> Result<(), ScratchError> {
        if self.is_running() {
            return Ok(());
        }
        // More than one try: another process may take the free port before the server does, and after a crash the old
        // server's processes hold its shared memory for a moment.
        let mut tries = 0;
        loop {
            self.spawn()?;
            let started = patience.until("the start of the server", || self.came_up());
            match started {
                Ok(()) => return Ok(()),
                Err(ScratchError::NoServer { .. }) if tries < 4 && self.may_start_later() => {
                    tries += 1;
                    let pause = patience.with_limit(Duration::from_millis(300));
                    let _ = pause.until::<()>("a pause", || Ok(None));
                    if patience.is_stopped() {
                        return Err(ScratchError::Stopped);
                    }
                }
                Err(error) => {
                    self.running = None;
                    return Err(error);
                }
            }
        }
    }

    /// The end of what the server said since it was started last.
    fn said_since_start(&self) -> String {
        let size = fs::metadata(&self.log).map_or(0, |meta| meta.len());
        let since = size.saturating_sub(self.log_before).min(MOST_LOG);
        let end = File::open(&self.log).and_then(|mut file| tail(&mut file, since));
        end.unwrap_or_default()
    }

    /// Whether what the server said may be over in a moment.
    fn may_start_later(&self) -> bool {
        let recent = self.said_since_start();
        [
            "Address already in use",
            "could not create any",
            "pre-existing shared memory block",
            "lock file",
        ]
        .iter()
        .any(|said| recent.contains(said))
    }

    fn spawn(&mut self) -> Result<(), ScratchError> {
        if self.listen == Listen::Loopback {
            let free = TcpListener::bind(("127.0.0.1", 0)).and_then(|listener| listener.local_addr());
            self.port = free.map_err(ScratchError::io(Path::new("127.0.0.1")))?.port();
        }
        let open = File::options().create(true).append(true).open(&self.log);
        let log = open.map_err(ScratchError::io(&self.log))?;
        let copy = log.try_clone().map_err(ScratchError::io(&self.log))?;
        self.log_before = fs::metadata(&self.log).map_or(0, |meta| meta.len());
        let addresses = match self.listen {
            Listen::Socket => "",
            Listen::Loopback => "127.0.0.1",
        };
        let mut command = self.place.command(&self.binaries.program("postgres"));
        command.arg("-D").arg(&self.data).arg("-k").arg(&self.sockets);
        command.args(["-h", addresses, "-p", &self.port.to_string()]);
        for option in &self.options {
            command.args(["-c", option]);
        }
        command.stdin(Stdio::null()).stdout(copy).stderr(log);
        self.running = Some(self.place.spawn("postgres", &mut command)?);
        Ok(())
    }

    fn came_up(&mut self) -> Result<Option<()>, ScratchError> {
        let Some(running) = &mut self.running else {
            return Err(ScratchError::NoServer {
                told: "it was not started".into(),
            });
        };
        let status = fs::read_to_string(self.data.join("postmaster.pid")).unwrap_or_default();
        let mut lines = status.lines();
        let ours = lines.next() == Some(running.id().to_string().as_str());
        if ours && lines.any(|line| line.trim() == "ready") {
            return Ok(Some(()));
        }
        if running.ended().is_some() {
            self.running = None;
            return Err(ScratchError::NoServer {
                told: last_lines(&self.said_since_start()),
            });
        }
        Ok(None)
    }

    /// Whether the server runs.
    pub fn is_running(&mut self) -> bool {
        self.running
            .as_mut()
            .is_some_and(|running| running.ended().is_none())
    }

    /// Stops the server in order: what was committed is on disk, and what is archived, archived. Does nothing if it is
    /// stopped.
    pub fn stop(&mut self) {
        self.end(Signal::INT);
    }

    /// Crashes the server, as by a power cut of its main process. Does nothing if it is stopped.
    pub fn kill(&mut self) {
        self.end(Signal::KILL);
    }

    fn end(&mut self, signal: Signal) {
        if let Some(mut running) = self.running.take() {
            // The main process alone: it sees to the others, or they see that it is gone.
            running.signal(signal, false);
            running.finish(GRACE);
        }
    }

    /// Stops and starts the server.
    ///
    /// # Errors
    /// As [`Server::start`].
    pub fn restart(&mut self, patience: &Patience<'_>) -> Result<(), ScratchError> {
        self.stop();
        self.start(patience)
    }

    /// Makes a standby that runs a server that writes.
    ///
    /// # Errors
    /// What `pg_ctl` says.
    pub fn promote(&self, patience: &Patience<'_>) -> Result<(), ScratchError> {
        let mut command = self.place.command(&self.binaries.program("pg_ctl"));
        command.args(["promote", "--wait", "--pgdata"]).arg(&self.data);
        self.place.run("pg_ctl promote", &mut command, patience).map(drop)
    }

    /// Takes a base backup of the server, which runs, into a folder that is not there yet. With its WAL
    /// (`--wal-method=stream`) it can be started alone; without, it needs the archive.
    ///
    /// # Errors
    /// What `pg_basebackup` says.
    pub fn base_backup(
        &self,
        to: &Path,
        with_wal: bool,
        patience: &Patience<'_>,
    ) -> Result<(), ScratchError> {
        let mut command = self.place.command(&self.binaries.program("pg_basebackup"));
        command.args([
            "--checkpoint=fast",
            "--no-sync",
            "--username=postgres",
            "--no-password",
        ]);
        command.arg(if with_wal {
            "--wal-method=stream"
        } else {
            "--wal-method=none"
        });
        command
            .arg("--host")
            .arg(&self.sockets)
            .args(["--port", &self.port.to_string()]);
        command.arg("--pgdata").arg(to);
        self.place.run("pg_basebackup", &mut command, patience).map(drop)
    }

    /// The newest timeline of the cluster: 1, and one more after each promotion.
    ///
    /// # Errors
    /// A folder that is no cluster.
    pub fn timeline(&self) -> Result<u32, ScratchError> {
        newest_timeline(&self.data)
    }

    /// The URL of a database for the superuser `postgres`, over the socket.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        self.url_as("postgres", database)
    }

    /// The URL of a database, over the socket.
    #[must_use]
    pub fn url_as(&self, user: &str, database: &str) -> String {
        let (user, database) = (percent_encoded(user), percent_encoded(database));
        let host = percent_encoded(&self.sockets.to_string_lossy());
        format!(
            "postgres:///{database}?host={host}&port={}&user={user}",
            self.port
        )
    }

    /// The folder of the socket.
    #[must_use]
    pub fn socket_dir(&self) -> &Path {
        &self.sockets
    }

    /// The port, which names the socket too. With [`Listen::Loopback`] it may change with every start.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The cluster's folder.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.data
    }

    /// The programs that it runs by.
    #[must_use]
    pub fn binaries(&self) -> &Binaries {
        &self.binaries
    }

    /// The place that it is in.
    #[must_use]
    pub fn place(&self) -> &ScratchPlace {
        &self.place
    }

    /// The file that the server writes its log to, since the cluster was made.
    #[must_use]
    pub fn log_file(&self) -> &Path {
        &self.log
    }

    /// The end of the log.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let end = File::open(&self.log).and_then(|mut file| tail(&mut file, MOST_LOG));
        end.unwrap_or_default()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end(Signal::QUIT);
    }
}

/// As a URL wants what is not plain.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
