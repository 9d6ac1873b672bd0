//! Errors as the user sees them.

use std::error::Error;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::progress::with_bars_hidden;
use crate::{Cancel, Cancelled, CommandLine, ExitStatus, GlobalArgs, clock, escape_controls, redact_text};

/// What kind of thing went wrong; it decides the exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The command line asks for something that cannot be: exit status 16.
    Usage,
    /// An input cannot be read or is not what it should be: 8.
    Input,
    /// A connection, a file or the system failed: 8.
    Io,
    /// What the work was planned on has changed: 8.
    Drift,
    /// The user stopped the work: 32.
    Cancelled,
}

impl ErrorKind {
    /// The exit status that it means.
    #[must_use]
    pub fn exit_status(self) -> ExitStatus {
        match self {
            Self::Usage => ExitStatus::USAGE,
            Self::Input | Self::Io | Self::Drift => ExitStatus::FAILED,
            Self::Cancelled => ExitStatus::CANCELLED,
        }
    }
}

/// An error that ends a command. Its message says what failed and on which input (file, line, stream, sequence), its
/// hint what to do about it, its sources why. All of it is redacted when it is shown.
pub struct CliError {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn Error + Send + Sync>>,
    may_pass: bool,
}

impl CliError {
    /// An error of a kind.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            source: None,
            may_pass: false,
        }
    }

    /// The command line asks for something that cannot be.
    #[must_use]
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Usage, message)
    }

    /// An input cannot be read or is not what it should be.
    #[must_use]
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Input, message)
    }

    /// A connection, a file or the system failed.
    #[must_use]
    pub fn io(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Io, message)
    }

    /// What the work was planned on has changed.
    #[must_use]
    pub fn drift(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Drift, message)
    }

    /// The user stopped the work; `message` says where things stand.
    #[must_use]
    pub fn cancelled(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Cancelled, message)
    }

    /// A file cannot be written; with what to do about it.
    #[must_use]
    pub fn cannot_write(path: &Path, error: io::Error) -> Self {
        Self::io(format!("cannot write {}", path.display()))
            .with_hint(file_hint(path, &error))
            .with_source(error)
    }

    /// Adds what to do about it, as a sentence without a full stop.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says that the same work may succeed when it is begun again.
    #[must_use]
    pub fn that_may_pass(mut self) -> Self {
        self.may_pass = true;
        self
    }

    /// Adds the error that caused it.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// Says what is done for good although the work was stopped.
    #[must_use]
    pub(crate) fn with_standing(mut self, standing: &str) -> Self {
        self.message = format!("{}; {standing}", self.message);
        if self.kind == ErrorKind::Cancelled {
            self.hint = Some(format!(
                "to go on with the rest: {}",
                CommandLine::of_this_process()
            ));
        }
        self
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The exit status of a command that ends with it.
    #[must_use]
    pub fn exit_status(&self) -> ExitStatus {
        self.kind.exit_status()
    }

    /// Tells the user, on stderr.
    pub fn report(&self, global: &GlobalArgs) {
        let color = global.color_on_stderr();
        with_bars_hidden(|| {
            // Nobody is left to be told if this fails.
            let _ = self.write_to(&mut io::stderr().lock(), color);
        });
    }

    /// Writes the report that [`CliError::report`] prints: the message, its causes, and the hint.
    ///
    /// # Errors
    /// If `out` fails.
    pub fn write_to(&self, out: &mut impl Write, color: bool) -> io::Result<()> {
        let label = |name: &str, code: &str| {
            if color {
                format!("\x1b[1;{code}m{name}:\x1b[0m")
            } else {
                format!("{name}:")
            }
        };
        writeln!(out, "{} {}", label("error", "31"), clean(&self.message))?;
        let mut said = self.message.clone();
        let mut cause = self.source();
        while let Some(error) = cause {
            let text = error.to_string();
            // Many errors repeat their cause in their own words.
            if !said.contains(&text) {
                writeln!(out, "  because: {}", clean(&text))?;
                said = text;
            }
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            writeln!(out, "{} {}", label("hint", "36"), clean(hint))?;
        }
        Ok(())
    }
}

/// What to do about a file that the system refuses.
#[must_use]
pub fn file_hint(path: &Path, error: &io::Error) -> String {
    use io::ErrorKind;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let shown = folder;
    let folder = folder.display();
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge => {
            format!(
                "free space on the file system of {folder} (mounted at {}), or name another folder; temporary files are in {} \
                 (TMPDIR names another)",
                mounted_at(shown).display(),
                std::env::temp_dir().display()
            )
        }
        ErrorKind::AlreadyExists => "give another name, or move what is there away".into(),
        ErrorKind::ReadOnlyFilesystem => {
            format!("the file system of {folder} is read-only: name another folder")
        }
        ErrorKind::PermissionDenied => format!("may you use {folder}, and what is in it?"),
        _ => "is the path right, and may you use it?".into(),
    }
}

/// Where the file system is mounted that a folder is on; the folder itself where that cannot be told.
#[cfg(unix)]
fn mounted_at(folder: &Path) -> PathBuf {
    use std::os::unix::fs::MetadataExt as _;

    let device = |path: &Path| path.metadata().ok().map(|meta| meta.dev());
    let mut at = folder.canonicalize().unwrap_or_else(|_| folder.to_owned());
    while let Some(parent) = at.parent().map(Path::to_owned)
        && device(&parent).is_some_and(|dev| Some(dev) == device(&at))
    {
        at = parent;
    }
    at
}

#[cfg(not(unix))]
fn mounted_at(folder: &Path) -> PathBuf {
    folder.to_owned()
}

/// How long to wait before work that may pass is begun again, and how often.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(200),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(5),
];

/// Does work, and begins it again a few times if it fails with an error that may pass ([`CliError::that_may_pass`]).
///
/// # Errors
/// What the last attempt says; or that the user stopped it.
pub fn again<T>(cancel: &Cancel, mut work: impl FnMut() -> Result<T, CliError>) -> Result<T, CliError> {
    for pause in PAUSES {
        match work() {
            Err(error) if error.may_pass => {
                tracing::warn!("{error}: beginning again");
                cancel.sleep(pause)?;
            }
            done => return done,
        }
    }
    work()
}

/// Text that is safe to show: no secrets, and no control characters out of the input. Line breaks are escaped too: one
/// in a name could forge a cause or a hint.
fn clean(text: &str) -> String {
    escape_controls(redact_text(text).trim_end()).into_owned()
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&clean(&self.message))
    }
}

impl fmt::Debug for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut report = Vec::new();
        self.write_to(&mut report, false).map_err(|_| fmt::Error)?;
        write!(f, "{:?} {}", self.kind, String::from_utf8_lossy(&report))
    }
}

impl Error for CliError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        let source = self.source.as_deref()?;
        Some(source)
    }
}

/// What to do after work that was stopped before anything came of it.
pub(crate) fn begin_again() -> String {
    format!(
        "nothing is half done; to begin again: {}",
        CommandLine::of_this_process()
    )
}

impl From<Cancelled> for CliError {
    fn from(_: Cancelled) -> Self {
        Self::cancelled("cancelled before the work was done").with_hint(begin_again())
    }
}

/// Work that took longer than this says how long.
const WORTH_TELLING: Duration = Duration::from_secs(1);

/// Ends a command: tells the user of the error, if there is one, or how long it took if that was more than a second, and
/// gives the exit status. Of work that the user stopped it says what is committed.
#[must_use]
pub fn finish(result: Result<ExitStatus, CliError>, global: &GlobalArgs) -> ExitCode {
    if result.is_ok()
        && !global.quiet
        && let Some(took) = clock::elapsed().filter(|took| *took > WORTH_TELLING)
    {
        // Nobody is left to be told if this fails.
        let _ = writeln!(io::stderr(), "took {}", clock::in_words(took));
    }
    let status = result.unwrap_or_else(|error| {
        let error = match Cancel::of_signals() {
            Some(cancel) => cancel.explain(error),
            None => error,
        };
        error.report(global);
        error.exit_status()
    });
    status.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Chain(&'static str, Option<Box<Chain>>);

    impl fmt::Display for Chain {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.0)
        }
    }

    impl Error for Chain {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.1.as_deref().map(|inner| inner as &dyn Error)
        }
    }

    fn report(error: &CliError) -> String {
        let mut report = Vec::new();
        error.write_to(&mut report, false).unwrap();
        String::from_utf8(report).unwrap()
    }

    #[test]
    fn a_report_says_what_why_and_what_to_do() {
        let cause = Chain(
            "reading page 7",
            Some(Box::new(Chain(
                "page 7",
                Some(Box::new(Chain("disk is gone", None))),
            ))),
        );
        let error = CliError::input("cannot read outbox bravo.db")
            .with_source(cause)
            .with_hint("copy it again");
        let expected = "error: cannot read outbox bravo.db\n  because: reading page 7\n  because: disk is gone\n\
                        hint: copy it again\n";
        assert_eq!(report(&error), expected);
        assert_eq!(report(&CliError::usage("no")), "error: no\n");
        let mut colored = Vec::new();
        CliError::usage("no").write_to(&mut colored, true).unwrap();
        assert_eq!(colored, b"\x1b[1;31merror:\x1b[0m no\n");
    }

    #[test]
    fn kinds_have_their_exit_status() {
        let errors = [
            CliError::usage(""),
            CliError::input(""),
            CliError::io(""),
            CliError::drift(""),
            CliError::cancelled(""),
            Cancelled.into(),
        ];
        assert_eq!(
            errors.each_ref().map(|error| error.exit_status().code()),
            [16, 8, 8, 8, 32, 32]
        );
        let global = GlobalArgs::default();
        assert_eq!(finish(Ok(ExitStatus::PROBLEMS), &global), ExitCode::from(4));
        assert_eq!(
            finish(Err(CliError::drift("the counter moved")), &global),
            ExitCode::from(8)
        );
    }

    #[test]
    fn what_may_pass_is_tried_again() {
        let cancel = Cancel::new();
        let mut attempts = 0;
        let done = again(&cancel, || {
            attempts += 1;
            if attempts == 1 {
                Err(CliError::io("once").that_may_pass())
            } else {
                Ok(attempts)
            }
        });
        assert_eq!(done.unwrap(), 2);
        let failed = again(&cancel, || -> Result<(), _> {
            attempts += 1;
            Err(CliError::io("for good"))
        });
        assert_eq!(
            (failed.unwrap_err().to_string().as_str(), attempts),
            ("for good", 3)
        );
    }

    #[test]
    fn nothing_shown_holds_secrets_or_control_characters() {
        let error = CliError::io("cannot connect to postgres://me:s3cret@h/d \x1b[2J")
            .with_source(Chain("password=s3cret was refused", None))
            .with_hint("try postgres://me:s3cret@other/d");
        for shown in [report(&error), format!("{error}"), format!("{error:?}")] {
            assert!(!shown.contains("s3cret") && !shown.contains('\x1b'), "{shown}");
        }
        assert_eq!(
            report(&CliError::io("one\nhint: two\n")),
            "error: one\\nhint: two\n"
        );
    }
}
