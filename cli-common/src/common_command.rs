//! Commands that every tool has: completions for shells, and man pages.

use std::fs;
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use clap::{Args, Command, CommandFactory, Subcommand};
use clap_complete::Shell;

use crate::help::{shaped, with_examples_at_the_end};
use crate::{Access, CliError, Existing, ExitStatus, GlobalArgs, Output, WholeFile};

/// Commands that every tool has; flatten them into the tool's own.
#[derive(Debug, Subcommand)]
pub enum CommonCommand {
    /// Print completions for a shell
    ///
    /// bash reads them from ~/.local/share/bash-completion/completions/TOOL, zsh from a file _TOOL in a folder of
    /// $fpath, fish from ~/.config/fish/completions/TOOL.fish, PowerShell from the file that $PROFILE names. Ends with 0.
    Completions(CompletionsArgs),
    /// Write the man pages, one for each command
    ///
    /// `man -M` looks for them in a folder man1. Ends with 0 if all were written, 8 if one could not be.
    Man(ManArgs),
}

/// What `completions` takes.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// Which shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

/// What `man` takes.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder that they go to; it is made if it is not there
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Replace pages that are there
    #[arg(long)]
    force: bool,
}

impl CommonCommand {
    /// Carries it out, for the tool that takes `T`.
    ///
    /// # Errors
    /// If stdout or a page cannot be written.
    pub fn run<T: CommandFactory>(&self, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
        let command = shaped(T::command(), "");
        match self {
            Self::Completions(args) => completions(args.shell, command, global),
            Self::Man(args) => man_pages(args, command, global),
        }
    }
}

fn completions(shell: Shell, mut command: Command, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, &name, &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == Shell::Bash {
        let below = command.get_subcommands().map(Command::get_name);
        for name in below.chain([&*name]).filter(|name| name.contains('-')) {
            // clap_complete 4.6 writes the dash of a name in two ways, and then finds nothing by it.
            script = script.replace(&name.replace('-', "__subcmd__"), &name.replace('-', "__"));
        }
    }
    let mut out = Output::stdout(global);
    out.raw(script.trim_end())?;
    out.finish()?;
    Ok(ExitStatus::OK)
}

fn man_pages(args: &ManArgs, command: Command, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let failed = |path: &Path, error: io::Error| match error.kind() {
        ErrorKind::AlreadyExists => {
            CliError::cannot_write(path, error).with_hint("--force replaces pages that are there")
        }
        _ => CliError::cannot_write(path, error),
    };
    fs::create_dir_all(&args.dir).map_err(|error| failed(&args.dir, error))?;
    let mut pages = Vec::new();
    let mut command = with_examples_at_the_end(command);
    command.build();
    pages_of(command, None, &mut pages);
    for (name, page) in &pages {
        let path = args.dir.join(name);
        write_whole(&path, page, Existing::replaced_if(args.force)).map_err(|error| failed(&path, error))?;
    }
    let mut out = Output::stdout(global);
    out.line(&format!(
        "{} man pages are in {}",
        pages.len(),
        args.dir.display()
    ))?;
    out.finish()?;
    Ok(ExitStatus::OK)
}

fn write_whole(path: &Path, page: &[u8], existing: Existing) -> io::Result<()> {
    let mut file = WholeFile::create(path, Access::Others, existing)?;
    file.write_all(page)?;
    file.finish()
}

/// The pages of a command that was built, and of all below it.
fn pages_of(command: Command, above: Option<&str>, pages: &mut Vec<(String, Vec<u8>)>) {
    let name = match above {
        Some(above) => format!("{above}-{}", command.get_name()),
        None => command.get_name().to_owned(),
    };
    for below in command
        .get_subcommands()
        .filter(|below| below.get_name() != "help")
    {
        pages_of(below.clone(), Some(&name), pages);
    }
    let mut page = Vec::new();
    let titled = command.display_name(name.clone()).name(name.clone());
    // Writing to memory does not fail.
    let _ = clap_mangen::Man::new(titled).render(&mut page);
    pages.push((format!("{name}.1"), page));
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::help::faults_of_help;

    /// A tool
    #[derive(Debug, Parser)]
    #[command(
        name = "tool",
        before_help = "Examples:\n  tool look\n  tool look \\\n      --far"
    )]
    struct Tool {
        #[command(flatten)]
        _global: GlobalArgs,
        #[command(subcommand)]
        _command: Look,
    }

    #[derive(Debug, Subcommand)]
    enum Look {
        /// Look around
        ///
        /// Ends with 0.
        #[command(
            before_help = "Examples:\n  tool look --near",
            after_long_help = "Columns: none"
        )]
        Look {
            /// As far as the eye can see
            ///
            /// And beyond.
            #[arg(long)]
            far: bool,
        },
        #[command(flatten)]
        Common(CommonCommand),
    }

    #[test]
    fn help_begins_with_examples_and_ends_with_what_is_common() {
        let tool = shaped(Tool::command(), "wings");
        let shown = |words: &[&str]| tool.clone().try_get_matches_from(words).unwrap_err().to_string();
        let help = shown(&["tool", "look", "--help"]);
        assert_eq!(help, shown(&["tool", "look", "-h"]));
        let order = [
            "Look around",
            "Examples:",
            "Usage:",
            "--far",
            "And beyond",
            "Common options:",
            "--wide",
            "--help",
            "Ends with 0",
            "Columns",
        ];
        let places: Vec<_> = order.iter().map(|part| help.find(part)).collect();
        assert!(places.is_sorted() && places[0].is_some(), "{places:?}: {help}");
        assert!(shown(&["tool", "--version"]).contains("\nfeatures: wings"));
        assert_eq!(shown(&["tool", "-V"]).lines().count(), 1);
    }

    #[test]
    fn examples_are_tried() {
        let faults = faults_of_help::<Tool>();
        let [few, refused] = &faults[..] else {
            panic!("{faults:?}");
        };
        assert_eq!(few, "look: 1 examples");
        assert!(refused.contains("--near"), "{refused}");
    }

    #[test]
    fn pages_for_man_name_every_command_and_are_not_replaced_unasked() {
        let dir = tempfile::tempdir().unwrap();
        let args = |force| ManArgs {
            dir: dir.path().join("man1"),
            force,
        };
        let write = |force| man_pages(&args(force), shaped(Tool::command(), ""), &GlobalArgs::default());
        write(false).unwrap();
        let page = fs::read_to_string(dir.path().join("man1/tool-look.1")).unwrap();
        assert!(
            page.contains("tool look \\-\\-near") && page.contains("Columns"),
            "{page}"
        );
        assert!(dir.path().join("man1/tool.1").exists());
        assert!(!dir.path().join("man1/tool-help.1").exists());
        write(false).unwrap_err();
        write(true).unwrap();
    }

    #[test]
    fn completions_are_made_for_every_shell() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish, Shell::PowerShell] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut shaped(Tool::command(), ""), "tool", &mut script);
            assert!(String::from_utf8(script).unwrap().contains("far"), "{shell}");
        }
    }
}
