//! How a tool presents itself: help that fits 80 columns and begins with examples, and its version. All of it is made from
//! the clap command, so that it cannot say anything else than what the tool takes.

use std::env;
use std::fmt::Write as _;

use clap::builder::{Resettable, StyledStr};
use clap::{Arg, ArgAction, Command, CommandFactory};

use crate::provenance;
use crate::wrap::WIDTH;

/// What stands above the options that every command has.
const COMMON: &str = "Common options";

/// What a command is for, examples, how it is called, its own options, the common ones, and all else that it says.
const TEMPLATE: &str = "\
{about-with-newline}
{before-help}{usage-heading} {usage}

{all-args}{after-help}";

/// Man pages have no place for what stands before the options.
pub(crate) fn with_examples_at_the_end(command: Command) -> Command {
    let examples = text_of(command.get_before_help());
    let rest = text_of(command.get_after_help());
    command
        .before_help(Resettable::Reset)
        .after_help(Resettable::from(joined([examples, rest])))
        .mut_subcommands(with_examples_at_the_end)
}

/// A tool's command in the form that all tools share. `features` is what `--version` says of what is built in.
pub(crate) fn shaped(command: Command, features: &str) -> Command {
    let version = Arg::new("version")
        .short('V')
        .long("version")
        .action(ArgAction::Version)
        .help("Print the version; in full, how it was built too")
        .help_heading(COMMON)
        .display_order(1_002);
    let command = command
        .version(env!("CARGO_PKG_VERSION"))
        .long_version(long_version(features))
        .disable_version_flag(true)
        .arg(version);
    dressed(command)
}

/// What `--version` prints behind the name.
fn long_version(features: &str) -> String {
    let commit = provenance::COMMIT.unwrap_or("not known");
    let (arch, system) = (env::consts::ARCH, env::consts::OS);
    let build = match cfg!(debug_assertions) {
        true => "debug",
        false => "release",
    };
    let mut text = format!(
        "{}\ncommit: {commit}\nbuilt for: {arch} {system}, {build}",
        env!("CARGO_PKG_VERSION")
    );
    if !features.is_empty() {
        let _ = write!(text, "\nfeatures: {features}");
    }
    text
}

fn dressed(command: Command) -> Command {
    let help = Arg::new("help")
        .short('h')
        .long("help")
        .action(ArgAction::Help)
        .help("Print this help")
        .help_heading(COMMON)
        .display_order(1_001);
    let details = details(&command);
    let rest = text_of(command.get_after_help().or(command.get_after_long_help()));
    command
        .long_about(Resettable::Reset)
        .after_long_help(Resettable::Reset)
        .after_help(Resettable::from(joined([details, rest])))
        .disable_help_flag(true)
        .arg(help)
        .help_template(TEMPLATE)
        .max_term_width(WIDTH)
        .mut_args(dressed_argument)
        .mut_subcommands(dressed)
}

/// An argument has one text, short or long, and values that need words have them there.
fn dressed_argument(argument: Arg) -> Arg {
    let mut text = text_of(argument.get_long_help().or(argument.get_help()));
    let values = argument.get_possible_values();
    let explained =
        !argument.is_hide_possible_values_set() && values.iter().any(|value| value.get_help().is_some());
    if explained {
        for value in values.iter().filter(|value| !value.is_hide_set()) {
            let _ = write!(text, "\n- {}: {}", value.get_name(), text_of(value.get_help()));
        }
    }
    let argument_hides = argument.is_hide_possible_values_set();
    let argument = argument
        .long_help(Resettable::Reset)
        .help(text)
        .hide_possible_values(explained || argument_hides);
    match argument.is_global_set() {
        true => argument.help_heading(COMMON).display_order(1_000),
        false => argument,
    }
}

/// What a command says of itself beyond its first paragraph.
fn details(command: &Command) -> String {
    let long = text_of(command.get_long_about());
    long.split_once("\n\n")
        .map(|(_, rest)| rest.to_owned())
        .unwrap_or_default()
}

fn text_of(text: Option<&StyledStr>) -> String {
    text.map(ToString::to_string).unwrap_or_default()
}

fn joined<const N: usize>(parts: [String; N]) -> Option<StyledStr> {
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    (!parts.is_empty()).then(|| parts.join("\n\n").into())
}

/// What is wrong with the help of a tool and of its commands, for the tests of each tool: lines over 80 columns, fewer
/// than two examples, examples that the tool would not take.
#[must_use]
pub fn faults_of_help<T: CommandFactory>() -> Vec<String> {
    let mut tool = shaped(T::command(), "");
    tool.build();
    let mut faults = Vec::new();
    faults_below(&mut tool.clone(), &tool, &mut faults);
    faults
}

/// Why a tool would not take these words behind its name, for tests of command lines that stand elsewhere.
#[must_use]
pub fn refusal<T: CommandFactory>(words: &[String]) -> Option<String> {
    let tool = shaped(T::command(), "");
    let line = ["tool".to_owned()].into_iter().chain(words.iter().cloned());
    tool.try_get_matches_from(line)
        .err()
        .map(|error| error.to_string())
}

/// Of a command, and of those within it.
fn faults_below(command: &mut Command, tool: &Command, faults: &mut Vec<String>) {
    let own = |command: &&mut Command| !["help", "completions", "man"].contains(&command.get_name());
    faults_of(command, tool, faults);
    for inner in command.get_subcommands_mut().filter(own) {
        faults_below(inner, tool, faults);
    }
}

fn faults_of(command: &mut Command, tool: &Command, faults: &mut Vec<String>) {
    let name = command.get_name().to_owned();
    let examples = examples(&text_of(command.get_before_help()));
    if examples.len() < 2 {
        faults.push(format!("{name}: {} examples", examples.len()));
    }
    for example in examples {
        if let Err(error) = tool.clone().try_get_matches_from(&example) {
            faults.push(format!("{name}: {example:?}: {error}"));
        }
    }
    let long = |line: &&str| line.chars().count() > WIDTH;
    let help = command.render_help().to_string();
    faults.extend(help.lines().filter(long).map(|line| format!("{name}: {line}")));
}

/// The commands of a text with examples, as the words that a shell makes of them. A line that ends in a backslash goes on.
fn examples(text: &str) -> Vec<Vec<String>> {
    let lines = text.replace("\\\n", " ");
    let shown = lines.lines().filter(|line| line.starts_with("  "));
    shown.map(words).collect()
}

/// The words of a command line: what stands between quotes is one.
#[must_use]
pub fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    let words = parts.flat_map(|(n, part)| match n % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}
