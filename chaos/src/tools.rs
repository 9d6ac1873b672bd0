//! Runs the compiled tools, kills them at random moments, and looks at how they end.

use std::ffi::OsStr;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// A tool that runs longer hangs.
const PATIENCE: Duration = Duration::from_secs(180);
/// All bits of the exit status.
const STATUS_BITS: i32 = 1 | 4 | 8 | 16 | 32;

/// The tools.
#[derive(Debug)]
pub struct Tools {
    /// Their folder.
    pub folder: PathBuf,
    /// For what they make beside their outputs.
    pub temporary: PathBuf,
    /// Runs that came to their end.
    pub runs: AtomicU64,
    /// Runs that were killed.
    pub kills: AtomicU64,
}

/// What may happen to a run.
#[derive(Debug, Clone, Copy, Default)]
pub struct Harm {
    /// It is killed after so long, if it still runs.
    pub kill_after: Option<Duration>,
    /// It cannot write files larger than so many KiB: a full disk.
    pub disk_kib: Option<u64>,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ran {
    /// The exit status; `None` if it was killed.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
    /// How it was called, to be shown.
    pub call: String,
}

impl Ran {
    /// Whether it came to its end with none of these bits.
    pub fn without(&self, bits: i32) -> bool {
        self.code.is_some_and(|code| code & bits == 0)
    }

    /// All of it, for a failure's report.
    pub fn told(&self) -> String {
        let end = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            lines[lines.len().saturating_sub(40)..].join("\n")
        };
        format!(
            "{}\nended with {:?}\n--- stdout (end)\n{}\n--- stderr (end)\n{}",
            self.call,
            self.code,
            end(&self.stdout),
            end(&self.stderr)
        )
    }
}

impl Tools {
    /// Runs a tool.
    ///
    /// # Errors
    /// It panics, hangs, ends by a signal that nobody sent, or with a status that means nothing.
    pub fn run<S: AsRef<OsStr>>(&self, tool: &str, arguments: &[S], harm: Harm) -> Result<Ran, String> {
        let mut command = self.command(tool, harm);
        command.args(arguments);
        let shown: Vec<_> = arguments.iter().map(|a| a.as_ref().to_string_lossy()).collect();
        let call = format!("{tool} {}", shown.join(" "));
        let mut child = command.spawn().map_err(|e| format!("{call}: {e}"))?;
        // Read while it runs: a full pipe would stop it.
        let stdout = drain(child.stdout.take());
        let stderr = drain(child.stderr.take());
        let (status, killed) = wait(&mut child, harm.kill_after).map_err(|e| format!("{call}: {e}"))?;
        let text = |reader: std::thread::JoinHandle<String>| reader.join().unwrap_or_default();
        let ran = Ran {
            code: status.code(),
            stdout: text(stdout),
            stderr: text(stderr),
            call,
        };
        if killed && ran.code.is_none() {
            self.kills.fetch_add(1, Ordering::SeqCst);
            return Ok(ran);
        }
        self.runs.fetch_add(1, Ordering::SeqCst);
        let known = ran.code.is_some_and(|code| code & !STATUS_BITS == 0);
        if !known || ran.stderr.contains("panicked at") {
            return Err(format!("a tool broke: {}", ran.told()));
        }
        if ran.code.is_some_and(|code| code & 16 != 0) {
            return Err(format!("a tool does not know its arguments: {}", ran.told()));
        }
        Ok(ran)
    }

    fn command(&self, tool: &str, harm: Harm) -> Command {
        let path = self.folder.join(tool);
        let mut command = match harm.disk_kib {
            None => Command::new(path),
            Some(kib) => {
                // A write beyond the limit fails as on a full disk, if the signal is ignored.
                let mut shell = Command::new("sh");
                shell.args(["-c", "trap '' XFSZ; ulimit -f \"$1\"; shift; exec \"$@\"", "sh"]);
                // In blocks of 512 bytes.
                shell.arg((kib * 2).to_string()).arg(path);
                shell
            }
        };
        for name in ["DATABASE_URL", "RUST_LOG", "CLICOLOR_FORCE", "PGPASSWORD"] {
            command.env_remove(name);
        }
        command
            .env("NO_COLOR", "1")
            .env("TMPDIR", &self.temporary)
            .env("SEQUENCER_API_KEY", crate::sequencer::API_KEY)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }
}

fn drain(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            // What a killed tool had said is not looked at.
            let _ = pipe.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

fn wait(child: &mut Child, kill_after: Option<Duration>) -> Result<(std::process::ExitStatus, bool), String> {
    let started = Instant::now();
    let mut killed = false;
    loop {
        if let Some(status) = child.try_wait().map_err(|e| e.to_string())? {
            return Ok((status, killed));
        }
        let spent = started.elapsed();
        if spent > PATIENCE {
            let _ = child.kill();
            let _ = child.wait();
            return Err(format!("hangs: killed after {} s", PATIENCE.as_secs()));
        }
        if !killed && kill_after.is_some_and(|after| spent >= after) {
            child.kill().map_err(|e| e.to_string())?;
            killed = true;
        }
        sleep(Duration::from_millis(2));
    }
}
