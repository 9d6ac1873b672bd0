//! Arguments that every tool has, and how a command line is read.

use std::env;
use std::ffi::OsString;
use std::io::{IsTerminal, Write as _, stderr, stdout};
use std::process::exit;

use clap::error::ErrorKind;
use clap::{Args, ColorChoice, Parser, ValueEnum};

use crate::{ExitStatus, escape_controls_in_lines};

/// How results are printed on stdout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people: aligned columns.
    #[default]
    Table,
    /// One JSON document.
    Json,
    /// One JSON document a line.
    Ndjson,
}

/// The arguments that every command of every tool takes; flatten them into the tool's own.
#[derive(Args, Clone, Debug, Default)]
pub struct GlobalArgs {
    /// How to print results on stdout
    #[arg(long, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,

    /// Print nothing on stderr but errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more on stderr; twice and three times for still more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// When to use colours; NO_COLOR in the environment means never, unless this says otherwise
    #[arg(long, global = true, value_enum, default_value_t, value_name = "WHEN")]
    pub color: ColorChoice,

    /// How many threads to work on at most: one for each processor that this process may use, unless this says otherwise
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,
}

/// Sees to it that work is spread over as many threads as was asked for: that many are in rayon's global pool, by which
/// the libraries go. Only the first call counts, and only if nothing was spread before.
pub fn init_threads(global: &GlobalArgs) {
    if let Some(threads) = global.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.into());
        if let Err(error) = pool.build_global() {
            tracing::warn!("--threads {threads}: {error}");
        }
    }
}

impl GlobalArgs {
    /// Whether to use colours on stdout.
    #[must_use]
    pub fn color_on_stdout(&self) -> bool {
        use_color(self.color, no_color(), stdout().is_terminal())
    }

    /// Whether to use colours on stderr.
    #[must_use]
    pub fn color_on_stderr(&self) -> bool {
        use_color(self.color, no_color(), stderr().is_terminal())
    }
}

/// Whether the environment asks for no colours: `NO_COLOR` is there and not empty, or the terminal is a dumb one.
fn no_color() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
        || env::var_os("TERM").is_some_and(|term| term == "dumb")
}

fn use_color(choice: ColorChoice, no_color: bool, terminal: bool) -> bool {
    match choice {
        ColorChoice::Always => true,
        ColorChoice::Never => false,
        ColorChoice::Auto => terminal && !no_color,
    }
}

/// Reads the command line of this process. Ends the process with status 0 after `--help` and `--version`, and with
/// 16 after saying what is wrong with the arguments.
#[must_use]
pub fn parse_or_exit<T: Parser>() -> T {
    parse(env::args_os()).unwrap_or_else(|(error, status)| {
        // Nobody is left to be told if this fails. What is wrong with the arguments names them, and they may be names
        // of files that a shell filled in: text of others.
        let _ = match status {
            ExitStatus::OK => error.print(),
            _ => stderr().write_all(escape_controls_in_lines(&error.render().to_string()).as_bytes()),
        };
        exit(i32::from(status.code()))
    })
}

fn parse<T: Parser>(arguments: impl Iterator<Item = OsString>) -> Result<T, (clap::Error, ExitStatus)> {
    T::try_parse_from(arguments).map_err(|error| {
        let status = match error.kind() {
            ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitStatus::OK,
            _ => ExitStatus::USAGE,
        };
        (error, status)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A tool.
    #[derive(Debug, Parser)]
    #[command(version = "1.0", name = "tool")]
    struct Tool {
        #[command(flatten)]
        global: GlobalArgs,
        #[command(subcommand)]
        command: Command,
    }

    #[derive(Debug, clap::Subcommand)]
    enum Command {
        /// Look.
        Look,
    }

    fn parse_line(line: &str) -> Result<Tool, (clap::Error, ExitStatus)> {
        parse(line.split(' ').map(OsString::from))
    }

    #[test]
    fn global_arguments_stand_before_and_after_the_command() {
        let tool = parse_line("tool --format ndjson look -vv --color never").unwrap();
        assert!(matches!(tool.command, Command::Look));
        assert_eq!(tool.global.format, Format::Ndjson);
        assert_eq!((tool.global.verbose, tool.global.quiet), (2, false));
        assert_eq!(tool.global.color, ColorChoice::Never);
        assert_eq!(parse_line("tool look").unwrap().global.format, Format::Table);
        assert!(parse_line("tool look -q").unwrap().global.quiet);
        assert_eq!(
            parse_line("tool look --threads 3").unwrap().global.threads,
            Some(3)
        );
        assert_eq!(parse_line("tool look").unwrap().global.threads, None);
    }

    #[test]
    fn help_and_version_end_with_0_and_wrong_usage_with_16() {
        for (line, status) in [
            ("tool --help", ExitStatus::OK),
            ("tool look --help", ExitStatus::OK),
            ("tool --version", ExitStatus::OK),
            ("tool", ExitStatus::USAGE),
            ("tool look --nonsense", ExitStatus::USAGE),
            ("tool look --format xml", ExitStatus::USAGE),
            ("tool look -q -v", ExitStatus::USAGE),
            ("tool look --threads 0", ExitStatus::USAGE),
            ("tool look --threads 1025", ExitStatus::USAGE),
        ] {
            assert_eq!(parse_line(line).unwrap_err().1, status, "{line}");
        }
    }

    #[test]
    fn colours_need_a_terminal_and_nobody_against_them() {
        assert!(use_color(ColorChoice::Auto, false, true));
        assert!(!use_color(ColorChoice::Auto, true, true));
        assert!(!use_color(ColorChoice::Auto, false, false));
        assert!(use_color(ColorChoice::Always, true, false));
        assert!(!use_color(ColorChoice::Never, false, true));
    }
}
