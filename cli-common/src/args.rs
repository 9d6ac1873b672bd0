//! Arguments that every tool has, and how a command line is read.

use std::env;
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{IsTerminal, Write as _, stderr, stdout};
use std::path::PathBuf;
use std::process::exit;
use std::sync::OnceLock;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::error::ErrorKind;
use clap::{ArgMatches, Args, ColorChoice, Parser, ValueEnum};

use crate::help::shaped;
use crate::incident::Recorder;
use crate::{ExitStatus, Names, clock, escape_controls_in_lines};

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
    /// How to print results: table, json or ndjson (a document a line)
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub format: Format,

    /// Print nothing on stderr but errors
    #[arg(long, short, global = true, conflicts_with = "verbose")]
    pub quiet: bool,

    /// Say more on stderr; -vv and -vvv for still more
    #[arg(long, short, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,

    /// Colours: auto, always or never; NO_COLOR is heeded
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "WHEN",
        hide_possible_values = true
    )]
    pub color: ColorChoice,

    /// Show all that tables leave out and count
    #[arg(long, global = true)]
    pub all: bool,

    /// Whole ids, and lines as wide as they are
    #[arg(long, global = true)]
    pub wide: bool,

    /// How to write log lines on stderr: text or json (a document a line)
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        value_name = "FORMAT",
        hide_possible_values = true
    )]
    pub log_format: LogFormat,

    /// Names for streams and agents: lines of ID NAME
    #[arg(long, global = true, value_name = "FILE", value_parser = Names::read)]
    pub names: Option<Names>,

    /// Work on so many threads [default: all processors]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub threads: Option<u16>,

    /// Keep what this command does and makes in the folder of an incident
    // An empty variable is none.
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "SEQUENCER_INCIDENT",
        hide_env_values = true,
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub incident: Option<PathBuf>,

    /// Run this by the shell at the end, with the report as JSON on its stdin
    #[arg(long, global = true, value_name = "COMMAND")]
    pub notify_command: Option<String>,

    /// Where the command notes what came of it.
    #[arg(skip)]
    pub recorder: Recorder,
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// For programs: a JSON document a line.
    Json,
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

/// How many seconds each unit of time has.
const UNITS: [(&str, f64); 5] = [
    ("ms", 0.001),
    ("s", 1.0),
    ("m", 60.0),
    ("h", 3_600.0),
    ("d", 86_400.0),
];

/// The longest time that an option takes: a hundred years.
const LONGEST: Duration = Duration::from_secs(100 * 366 * 86_400);

/// Reads a length of time as every option takes it: `90` (seconds), `90s`, `15m`, `1h`, `1h30m`, `250ms`, `2d`, `0.5`.
///
/// # Errors
/// What it is not, as a sentence.
pub fn duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("{text:?} is no length of time: give 90 (seconds), 90s, 15m, 1h or 1h30m");
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    let mut last = f64::INFINITY;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, behind) = rest.split_at(digits);
        let letters = behind
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        // A number alone is seconds; behind another part it would be anybody's guess.
        let seconds = match unit {
            "" if last.is_infinite() => 1.0,
            unit => UNITS
                .iter()
                .find_map(|(name, seconds)| (*name == unit).then_some(*seconds))
                .ok_or_else(refused)?,
        };
        if seconds >= last {
            return Err(refused());
        }
        let number: f64 = number.parse().map_err(|_| refused())?;
        let part = Duration::try_from_secs_f64(number * seconds).map_err(|_| refused())?;
        total = total.checked_add(part).ok_or_else(refused)?;
        (last, rest) = (seconds, behind);
    }
    match last.is_infinite() {
        true => Err(refused()),
        false if total > LONGEST => Err(format!("{text:?} is longer than a hundred years")),
        false => Ok(total),
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
/// 16 after saying what is wrong with the arguments. `kernels` are the hash kernels that `--version` names.
#[must_use]
pub fn parse_or_exit<T: Parser>(kernels: impl IntoIterator<Item: Display>) -> T {
    clock::start();
    let kernels: Vec<String> = kernels.into_iter().map(|kernel| kernel.to_string()).collect();
    parse(env::args_os(), &format!("hash kernels {}", kernels.join(" "))).unwrap_or_else(|(error, status)| {
        // Nobody is left to be told if this fails. What is wrong with the arguments names them, and they may be names
        // of files that a shell filled in: text of others.
        let _ = match status {
            ExitStatus::OK => error.print(),
            _ => stderr().write_all(escape_controls_in_lines(&error.render().to_string()).as_bytes()),
        };
        exit(i32::from(status.code()))
    })
}

/// The command that this process runs.
static COMMAND: OnceLock<String> = OnceLock::new();

/// The command that this process runs: `audit`, `incident note`; empty where no command line was read.
pub(crate) fn command_name() -> &'static str {
    COMMAND.get().map_or("", String::as_str)
}

fn command_of(matches: &ArgMatches) -> String {
    match matches.subcommand() {
        Some((name, inner)) => {
            let inner = command_of(inner);
            format!("{name} {inner}").trim_end().to_owned()
        }
        None => String::new(),
    }
}

fn parse<T: Parser>(
    arguments: impl Iterator<Item = OsString>,
    features: &str,
) -> Result<T, (clap::Error, ExitStatus)> {
    let mut command = shaped(T::command(), features);
    let read = command
        .try_get_matches_from_mut(arguments)
        .and_then(|mut matches| {
            // Only the first command line of a process is its own.
            let _ = COMMAND.set(command_of(&matches));
            T::from_arg_matches_mut(&mut matches)
        });
    read.map_err(|error| {
        let error = error.format(&mut command);
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
        parse(line.split(' ').map(OsString::from), "")
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
            ("tool look --names /nowhere", ExitStatus::USAGE),
            ("tool look --threads 1025", ExitStatus::USAGE),
        ] {
            assert_eq!(parse_line(line).unwrap_err().1, status, "{line}");
        }
    }

    #[test]
    fn a_length_of_time_has_a_unit_or_is_in_seconds() {
        for (text, milliseconds) in [
            ("90", 90_000),
            ("0", 0),
            ("0.5", 500),
            (" 90s ", 90_000),
            ("15m", 900_000),
            ("1h", 3_600_000),
            ("1h30m", 5_400_000),
            ("1.5h", 5_400_000),
            ("2d1h", 176_400_000),
            ("250ms", 250),
            ("1m0s500ms", 60_500),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            " ",
            "s",
            "1x",
            "1 h",
            "-1",
            "1h30",
            "30s1h",
            "1h1h",
            "1e3",
            "1.2.3",
            "NaN",
            "inf",
            "1H",
            "1µs",
            "99999999999999999999d",
            "40000d",
        ] {
            assert!(duration(text).is_err(), "{text}");
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
