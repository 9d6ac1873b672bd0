//! Running another program: its output bounded, its time too, and the user heard meanwhile. It never outlives the value
//! that it was started for.

use std::io::Read;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{Cancel, Cancelled};

/// How often the user is heard.
const TICK: Duration = Duration::from_millis(50);

/// What a program left.
#[derive(Debug)]
pub struct Ran {
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to stdout, up to the limit.
    pub stdout: Vec<u8>,
    /// What it wrote to stderr, up to the limit.
    pub stderr: Vec<u8>,
}

/// Why a program did not run to its end.
#[derive(Debug, thiserror::Error)]
pub enum NotRun {
    /// The user stopped it.
    #[error(transparent)]
    Cancelled(#[from] Cancelled),
    /// It cannot be started.
    #[error("{program} cannot be started: {source}")]
    Start {
        /// Its name.
        program: String,
        /// Why.
        source: std::io::Error,
    },
    /// It was given no more time.
    #[error("{program} did not end within {} s", limit.as_secs())]
    TimedOut {
        /// Its name.
        program: String,
        /// How long it had.
        limit: Duration,
    },
}

/// What bounds a program.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// So many bytes of each output are kept; what is beyond is read and dropped.
    pub bytes: u64,
    /// So long it may run; without it, as long as it takes.
    pub time: Option<Duration>,
}

/// A child that is ended and waited for when the value goes.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// Runs a program to its end.
///
/// # Errors
/// See [`NotRun`]. That it failed is none.
pub fn run(mut command: Command, bounds: Bounds, cancel: &Cancel) -> Result<Ran, NotRun> {
    let program = command.get_program().to_string_lossy().into_owned();
    let begun = Instant::now();
    let child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => Running(child),
        Err(source) => return Err(NotRun::Start { program, source }),
    };
    let stdout = reader(child.0.stdout.take(), bounds.bytes);
    let stderr = reader(child.0.stderr.take(), bounds.bytes);
    let status = loop {
        cancel.check()?;
        match child.0.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) => {}
            Err(source) => return Err(NotRun::Start { program, source }),
        }
        if let Some(limit) = bounds.time.filter(|limit| begun.elapsed() > *limit) {
            return Err(NotRun::TimedOut { program, limit });
        }
        thread::sleep(TICK);
    };
    Ok(Ran {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    })
}

/// Reads to the end, so that the program does not wait for us, and keeps the beginning.
fn reader(from: Option<impl Read + Send + 'static>, limit: u64) -> JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut from) = from {
            let _ = from.by_ref().take(limit).read_to_end(&mut kept);
            let _ = std::io::copy(&mut from, &mut std::io::sink());
        }
        kept
    })
}

impl Ran {
    /// What it said of why it failed: the last lines of stderr, or of stdout where it said nothing there.
    pub fn complaint(&self) -> String {
        let said = if self.stderr.is_empty() {
            &self.stdout
        } else {
            &self.stderr
        };
        let text = String::from_utf8_lossy(said);
        let lines: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .collect();
        let last = lines.len().saturating_sub(COMPLAINT);
        let mut told: String = lines[last..].join("; ").chars().take(COMPLAINT_CHARS).collect();
        if told.is_empty() {
            told = format!("{}, and nothing was said", self.status);
        }
        told
    }
}

/// So many lines of a complaint are told.
const COMPLAINT: usize = 6;
const COMPLAINT_CHARS: usize = 800;

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        bytes: 100,
        time: Some(Duration::from_secs(20)),
    };

    fn shell(script: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn output_is_bounded_and_a_failure_is_told() {
        let cancel = Cancel::new();
        let ran = run(
            shell("yes | head -c 3000000; echo wrong >&2; exit 3"),
            BOUNDS,
            &cancel,
        )
        .unwrap();
        assert_eq!((ran.status.code(), ran.stdout.len()), (Some(3), 100));
        assert_eq!(ran.complaint(), "wrong");
        let quiet = run(shell("exit 2"), BOUNDS, &cancel).unwrap();
        assert!(quiet.complaint().contains("nothing was said"));
    }

    #[test]
    fn what_does_not_end_or_begin_is_told_and_a_stop_is_heard() {
        let cancel = Cancel::new();
        let short = Bounds {
            time: Some(Duration::from_millis(100)),
            ..BOUNDS
        };
        let late = run(shell("exec sleep 60"), short, &cancel).unwrap_err();
        assert!(matches!(late, NotRun::TimedOut { .. }), "{late}");
        let none = run(Command::new("/no/such/program"), BOUNDS, &cancel).unwrap_err();
        assert!(none.to_string().contains("/no/such/program"), "{none}");
        cancel.cancel();
        let stopped = run(shell("exec sleep 60"), BOUNDS, &cancel).unwrap_err();
        assert!(matches!(stopped, NotRun::Cancelled(_)), "{stopped}");
    }
}
