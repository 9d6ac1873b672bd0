//! Log lines on stderr.

use std::io::{self, Write};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::args::LogFormat;
use crate::progress::with_bars_hidden;
use crate::{GlobalArgs, escape_controls_in_lines, redact_text};

/// Sends log lines to stderr, with secrets redacted. `RUST_LOG` decides what is logged; without it warnings and
/// errors are, more with `-v`, and errors alone with `--quiet`. A second call changes nothing.
pub fn init_logging(global: &GlobalArgs) {
    let filter = EnvFilter::builder()
        .with_default_directive(level(global).into())
        .from_env_lossy();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // Colours are control characters, and so is much that hides in what others wrote: neither comes through.
        .with_ansi(false)
        .with_writer(|| LogLine);
    let _ = match global.log_format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
}

fn level(global: &GlobalArgs) -> LevelFilter {
    match (global.quiet, global.verbose) {
        (true, _) => LevelFilter::ERROR,
        (false, 0) => LevelFilter::WARN,
        (false, 1) => LevelFilter::INFO,
        (false, 2) => LevelFilter::DEBUG,
        (false, _) => LevelFilter::TRACE,
    }
}

/// Writes a formatted line to stderr, past a progress bar. The subscriber gives whole lines.
struct LogLine;

impl Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = escape_controls_in_lines(&redact_text(&String::from_utf8_lossy(line)));
        // Where stderr is a file on a full disk, nobody can be told. The subscriber would say so on stderr, and panic.
        let _ = with_bars_hidden(|| io::stderr().write_all(text.as_bytes()));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let _ = io::stderr().flush();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbosity_sets_the_level() {
        let global = |quiet, verbose| GlobalArgs {
            quiet,
            verbose,
            ..GlobalArgs::default()
        };
        assert_eq!(level(&global(true, 0)), LevelFilter::ERROR);
        assert_eq!(level(&global(false, 0)), LevelFilter::WARN);
        assert_eq!(level(&global(false, 1)), LevelFilter::INFO);
        assert_eq!(level(&global(false, 2)), LevelFilter::DEBUG);
        assert_eq!(level(&global(false, 9)), LevelFilter::TRACE);
    }

    #[test]
    fn a_second_start_changes_nothing() {
        init_logging(&GlobalArgs::default());
        init_logging(&GlobalArgs::default());
    }
}
