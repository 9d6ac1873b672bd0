//! The private folder of scratch clusters, and who sees to it that nothing of them stays.

use std::collections::VecDeque;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, Permissions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tempfile::TempDir;

use crate::{Account, Patience, ScratchError};

/// Ends what runs in the folder ($1) and removes it as soon as stdin closes, that is when the process that started it is
/// gone, however it went. Each thing that runs has a process group of its own, whose number is a file's name below `pids`.
/// It removes nothing but that folder.
const WATCHDOG: &str = r#"
cat >/dev/null
each() {
    left=
    for file in "$1"/pids/*; do
        pid=${file##*/}
        [ "$pid" != '*' ] && kill -s "$2" -- "-$pid" 2>/dev/null && left=1
    done
    [ -n "$left" ]
}
each "$1" QUIT
n=0
while each "$1" 0 && [ $n -lt 100 ]; do
    [ $n -ne 30 ] || each "$1" KILL
    sleep 0.1
    n=$((n + 1))
done
rm -rf -- "$1"
"#;

/// The most that is read of what a program says on stdout.
const MOST_SAID: u64 = 64 << 20;
/// The most that is read of what a program says on stderr, from its end.
const MOST_COMPLAINED: u64 = 16 << 10;
/// The most lines of a complaint that an error repeats.
const LINES_TOLD: usize = 12;
/// How long a program that is asked to end may take before it is made to.
const GRACE: Duration = Duration::from_secs(10);
/// The longest path of a folder that a socket's name (`.s.PGSQL.65535`) still fits behind; the system allows 107 bytes.
const LONGEST_HOME: usize = 107 - ".s.PGSQL.65535".len() - 1;

/// A private folder for clusters and what belongs to them; nobody else but root may look into it. It lives as long as the
/// last copy of this value: then, and also when this process is killed, everything that was started in it is ended and the
/// folder is removed.
#[derive(Debug, Clone)]
pub struct ScratchPlace(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Removed by the watchdog; this is for where it cannot.
    folder: TempDir,
    home: PathBuf,
    account: Account,
    path: OsString,
    watchdog: Mutex<Child>,
    runs: AtomicU64,
}

/// What a program that ended well said.
#[derive(Debug, Clone)]
pub struct Said {
    /// All of it, up to 64 MiB.
    pub stdout: Vec<u8>,
    /// The end of it: warnings, for most programs.
    pub stderr: String,
}

impl ScratchPlace {
    /// Makes the folder within `parent`, or in the system's temporary folder. `path` is the `PATH` for what is run in it.
    ///
    /// # Errors
    /// No user to run servers as; a folder that cannot be made, or that this user cannot enter; a path that is too long.
    pub fn new(parent: Option<&Path>, path: &OsStr) -> Result<Self, ScratchError> {
        let account = Account::for_servers()?;
        let mut builder = tempfile::Builder::new();
        // A short name: the path of a unix socket is limited.
        builder.prefix("ves-pg-");
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        let parent = parent.canonicalize().map_err(ScratchError::io(&parent))?;
        let folder = builder.tempdir_in(&parent).map_err(ScratchError::io(&parent))?;
        let (pids, home) = (folder.path().join("pids"), folder.path().join("home"));
        if home.as_os_str().len() > LONGEST_HOME {
            return Err(ScratchError::PathTooLong { path: home });
        }
        for dir in [&pids, &home] {
            fs::create_dir(dir).map_err(ScratchError::io(dir))?;
            fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(ScratchError::io(dir))?;
        }
        if account.other().is_some() {
            // To pass through, not to look at.
            let passable = Permissions::from_mode(0o711);
            fs::set_permissions(folder.path(), passable).map_err(ScratchError::io(folder.path()))?;
            account.own(&home)?;
        }
        let watchdog = start_watchdog(folder.path())?;
        let place = Self(Arc::new(Inner {
            folder,
            home,
            account,
            path: path.to_owned(),
            watchdog: Mutex::new(watchdog),
            runs: AtomicU64::new(0),
        }));
        place.try_to_enter()?;
        Ok(place)
    }

    fn try_to_enter(&self) -> Result<(), ScratchError> {
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", "cd -- \"$1\" && test -w .", "sh"])
            .arg(self.home());
        command.current_dir("/").stderr(Stdio::null());
        self.account().become_in(&mut command);
        let entered = command.status().map_err(ScratchError::io(Path::new("/bin/sh")))?;
        entered
            .success()
            .then_some(())
            .ok_or_else(|| ScratchError::NotReachable {
                path: self.home().to_owned(),
            })
    }

    /// The folder for clusters, sockets and all that belongs to the account.
    #[must_use]
    pub fn home(&self) -> &Path {
        &self.0.home
    }

    /// Whom servers and their programs run as.
    #[must_use]
    pub fn account(&self) -> Account {
        self.0.account
    }

    /// The `PATH` that programs get.
    #[must_use]
    pub fn path(&self) -> &OsStr {
        &self.0.path
    }

    /// A file beside the folder for clusters, which the account cannot change: logs of servers, outputs of programs.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.0.folder.path().join(name)
    }

    /// Makes a folder for the account.
    ///
    /// # Errors
    /// One that is there already, or cannot be made.
    pub fn make_dir(&self, name: &str) -> Result<PathBuf, ScratchError> {
        let dir = self.home().join(name);
        fs::create_dir(&dir).map_err(ScratchError::io(&dir))?;
        fs::set_permissions(&dir, Permissions::from_mode(0o700)).map_err(ScratchError::io(&dir))?;
        self.account().own(&dir)?;
        Ok(dir)
    }

    /// Writes a file for the account, in place of what is there.
    ///
    /// # Errors
    /// [`ScratchError::Io`].
    pub fn write_file(&self, path: &Path, content: &[u8]) -> Result<(), ScratchError> {
        fs::write(path, content).map_err(ScratchError::io(path))?;
        fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(ScratchError::io(path))?;
        self.account().own(path)
    }

    /// A program to be run in the place, as the account, with nothing of this process's environment.
    #[must_use]
    pub fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.home())
            .env_clear()
            .env("PATH", self.path())
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .env("HOME", self.home())
            .stdin(Stdio::null());
        self.account().become_in(&mut command);
        command
    }

    /// Runs a program to its end. `name` is what errors call it.
    ///
    /// # Errors
    /// [`ScratchError::Failed`] with the last of what it said; [`ScratchError::Stopped`] and [`ScratchError::TooLong`], after
    /// the program and its children were ended.
    pub fn run(
        &self,
        name: &str,
        command: &mut Command,
        patience: &Patience<'_>,
    ) -> Result<Said, ScratchError> {
        let number = self.0.runs.fetch_add(1, Ordering::Relaxed);
        let (out, err) = (
            self.file(&format!("{number}.out")),
            self.file(&format!("{number}.err")),
        );
        let create = |path: &Path| {
            let mut options = File::options();
            options.read(true).write(true).create_new(true);
            options.open(path).map_err(ScratchError::io(path))
        };
        // Files, not pipes: nobody has to read them while the program runs.
        let (mut stdout, mut stderr) = (create(&out)?, create(&err)?);
        let copy = |file: &File, path: &Path| file.try_clone().map_err(ScratchError::io(path));
        command.stdout(copy(&stdout, &out)?).stderr(copy(&stderr, &err)?);
        let mut running = self.spawn(name, command)?;
        let status = running.wait(name, patience);
        drop(running);
        let complaint = tail(&mut stderr, MOST_COMPLAINED).map_err(ScratchError::io(&err));
        let said = head(&mut stdout).map_err(ScratchError::io(&out));
        let _ = (fs::remove_file(&out), fs::remove_file(&err));
        let (status, complaint, said) = (status?, complaint?, said?);
        if status.success() {
            return Ok(Said {
                stdout: said,
                stderr: complaint,
            });
        }
        // Some programs complain on stdout.
        let told = if complaint.trim().is_empty() {
            last_lines(&String::from_utf8_lossy(&said))
        } else {
            last_lines(&complaint)
        };
        let told = if told.is_empty() { status.to_string() } else { told };
        Err(ScratchError::Failed {
            program: name.to_owned(),
            told,
        })
    }

    /// Starts a program in a process group of its own, which the watchdog knows of.
    pub(crate) fn spawn(&self, name: &str, command: &mut Command) -> Result<Running, ScratchError> {
        let child = command
            .process_group(0)
            .spawn()
            .map_err(|source| ScratchError::Io {
                path: PathBuf::from(name),
                source,
            })?;
        let note = self.file("pids").join(child.id().to_string());
        let running = Running { child, note };
        File::create(&running.note).map_err(ScratchError::io(&running.note))?;
        Ok(running)
    }
}

fn start_watchdog(folder: &Path) -> Result<Child, ScratchError> {
    let shell = Path::new("/bin/sh");
    Command::new(shell)
        .args(["-c", WATCHDOG, "scratch-postgres-watchdog"])
        .arg(folder)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(ScratchError::io(shell))
}

impl Drop for Inner {
    fn drop(&mut self) {
        let watchdog = self.watchdog.get_mut().unwrap_or_else(PoisonError::into_inner);
        drop(watchdog.stdin.take());
        let _ = watchdog.wait();
    }
}

/// A process that runs in a place, with its children. Dropped, it is killed.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    /// How the watchdog knows of it.
    note: PathBuf,
}

impl Running {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Signals the process alone (`whole` false) or its whole group.
    pub(crate) fn signal(&mut self, signal: Signal, whole: bool) {
        // Not one that was waited for: its number may be another's by now.
        if self.ended().is_some() {
            return;
        }
        if let Some(pid) = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw) {
            let _ = if whole {
                kill_process_group(pid, signal)
            } else {
                rustix::process::kill_process(pid, signal)
            };
        }
    }

    /// Waits for its end within the grace, then makes it end.
    pub(crate) fn finish(&mut self, grace: Duration) {
        let patience = Patience::new(grace, &|| false);
        let ended = patience.until("its end", || Ok(self.ended()));
        if ended.is_err() {
            self.signal(Signal::KILL, true);
            let _ = self.child.wait();
        }
    }

    fn wait(&mut self, name: &str, patience: &Patience<'_>) -> Result<ExitStatus, ScratchError> {
        let ended = patience.until(name, || Ok(self.ended()));
        if ended.is_err() {
            self.signal(Signal::TERM, true);
            self.finish(GRACE);
        }
        ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL, true);
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.note);
    }
}

fn head(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.seek(SeekFrom::Start(0))?;
    file.take(MOST_SAID).read_to_end(&mut text)?;
    Ok(text)
}

/// The end of a file, at most so many bytes of it.
pub(crate) fn tail(file: &mut File, most: u64) -> std::io::Result<String> {
    let size = file.metadata()?.len();
    file.seek(SeekFrom::Start(size.saturating_sub(most)))?;
    let mut text = Vec::new();
    file.take(most).read_to_end(&mut text)?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// The last lines of what was said, in one.
pub(crate) fn last_lines(text: &str) -> String {
    let mut lines = VecDeque::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        if lines.len() == LINES_TOLD {
            lines.pop_front();
        }
        lines.push_back(line);
    }
    Vec::from(lines).join("; ")
}
