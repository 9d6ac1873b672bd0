//! `--checkpoints` and the keys that they are checked with, the same in all tools.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::BufRead as _;
use std::path::PathBuf;

use clap::Args;
use cli_common::{CliError, files};

use crate::file::files_of;
use crate::history::{Collector, History};
use crate::note::VerifierKey;
use crate::policy::Policy;

/// A file of keys is small, in bytes.
const MAX_KEY_FILE: u64 = 1 << 16;

/// Checkpoints, and whose signatures make them count.
#[derive(Debug, Clone, Default, Args)]
pub struct CheckpointArgs {
    /// Checkpoints that `sequencer-recovery checkpoint` wrote: files, or folders of them
    #[arg(
        long = "checkpoints",
        value_name = "PATH",
        requires = "checkpoint_keys",
        id = "checkpoint_paths"
    )]
    paths: Vec<PathBuf>,

    #[command(flatten)]
    keys: CheckpointKeyArgs,
}

/// Whose signatures make checkpoints count.
#[derive(Debug, Clone, Default, Args)]
pub struct CheckpointKeyArgs {
    /// The deployment's key that signed the checkpoints (NAME+ID+KEY), or a file that holds it
    #[arg(long = "checkpoint-key", value_name = "VKEY|FILE", id = "checkpoint_keys")]
    keys: Vec<String>,

    /// A witness's key, or a file of them: only checkpoints that witnesses cosigned count
    #[arg(long = "witness-key", value_name = "VKEY|FILE", id = "witness_keys")]
    witness_keys: Vec<String>,

    /// How many of the witnesses must have cosigned; without it, all that are given
    #[arg(long = "witnesses", value_name = "K", requires = "witness_keys")]
    least: Option<usize>,
}

/// Checkpoints that were given, not read yet.
#[derive(Debug, Clone)]
pub struct CheckpointFiles {
    /// The files.
    pub files: Vec<PathBuf>,
    /// Whose signatures count.
    pub policy: Policy,
}

impl CheckpointKeyArgs {
    /// As they were given, for a command line.
    pub fn words(&self) -> Vec<OsString> {
        let text = |values: &[String]| values.iter().map(OsString::from).collect::<Vec<_>>();
        let given = [
            ("--checkpoint-key", text(&self.keys)),
            ("--witness-key", text(&self.witness_keys)),
            (
                "--witnesses",
                self.least.iter().map(|least| least.to_string().into()).collect(),
            ),
        ];
        let words = given.into_iter().flat_map(|(option, values)| {
            let word = move |value| [OsString::from(option), value];
            values.into_iter().flat_map(word)
        });
        words.collect()
    }

    /// Whether no key of a deployment was given.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whose signatures count.
    ///
    /// # Errors
    /// What is no key, or keys that do not go together.
    pub fn policy(&self) -> Result<Policy, CliError> {
        let logs = keys("--checkpoint-key", &self.keys)?;
        let witnesses = keys("--witness-key", &self.witness_keys)?;
        let least = self.least.unwrap_or(witnesses.len());
        Policy::new(logs, witnesses, least).map_err(|error| {
            CliError::usage(error.to_string()).with_hint(
                "give each key once: the deployment's with --checkpoint-key, witnesses' with --witness-key",
            )
        })
    }

    /// The files of checkpoints that paths name.
    ///
    /// # Errors
    /// As [`CheckpointKeyArgs::policy`]; a path that is not there, a folder without checkpoints.
    pub fn files_of(&self, paths: &[PathBuf]) -> Result<CheckpointFiles, CliError> {
        let policy = self.policy()?;
        let mut all = Vec::new();
        for path in paths {
            let found = files_of(path).map_err(|e| CliError::input(format!("{}: {e}", path.display())))?;
            if found.is_empty() {
                let message = format!("{}: the folder holds no file of checkpoints", path.display());
                return Err(CliError::input(message).with_hint(
                    "their names end in .checkpoints; give the folder that `checkpoint --out` wrote to",
                ));
            }
            all.extend(found);
        }
        let mut seen = BTreeSet::new();
        all.retain(|path| seen.insert(path.clone()));
        Ok(CheckpointFiles { files: all, policy })
    }
}

impl CheckpointArgs {
    /// As they were given, for a command line.
    pub fn words(&self) -> Vec<OsString> {
        let path = |path: &PathBuf| ["--checkpoints".into(), path.clone().into_os_string()];
        let paths = self.paths.iter().flat_map(path);
        paths.chain(self.keys.words()).collect()
    }

    /// Whether any were given.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }

    /// The paths, as they were given.
    pub fn paths(&self) -> &[PathBuf] {
        &self.paths
    }

    /// The keys as they were given, for a command line of a tool that takes no paths.
    pub fn key_words(&self) -> Vec<OsString> {
        self.keys.words()
    }

    /// Whose signatures count.
    ///
    /// # Errors
    /// What is no key, or keys that do not go together.
    pub fn policy(&self) -> Result<Policy, CliError> {
        self.keys.policy()
    }

    /// The files, and whose signatures count; `None` if none were given.
    ///
    /// # Errors
    /// As [`CheckpointKeyArgs::files_of`].
    pub fn files(&self) -> Result<Option<CheckpointFiles>, CliError> {
        if self.is_empty() {
            return Ok(None);
        }
        self.keys.files_of(&self.paths).map(Some)
    }
}

impl CheckpointFiles {
    /// Reads them and compares them with each other.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn read(&self) -> Result<History, (PathBuf, std::io::Error)> {
        let mut collector = Collector::new(&self.policy);
        for path in &self.files {
            let failed = |error| (path.clone(), error);
            let mut input = files::open_text(path).map_err(failed)?;
            // An empty file is no reason to stop: a checkpointer may just have made it.
            if !input.fill_buf().map_err(failed)?.is_empty() {
                collector
                    .read(&path.display().to_string(), input)
                    .map_err(failed)?;
            }
        }
        Ok(collector.finish())
    }
}

/// Keys as they are given: themselves, or files with one in each line.
///
/// # Errors
/// What is no key, and holds none.
pub fn keys(option: &str, values: &[String]) -> Result<Vec<VerifierKey>, CliError> {
    let mut all = Vec::new();
    for value in values {
        let refused = |what: &dyn std::fmt::Display| {
            CliError::input(format!("{option}: {what}")).with_hint(
                "a verifier key reads NAME+ID+KEY; ask whose it is for it once more, by a way that you trust",
            )
        };
        if value.matches('+').count() >= 2 {
            all.push(value.parse().map_err(|error| refused(&error))?);
            continue;
        }
        let text = files::read_text(std::path::Path::new(value), MAX_KEY_FILE)
            .map_err(|error| refused(&format!("{value}: {error}")))?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let before = all.len();
        for line in lines {
            all.push(
                line.parse()
                    .map_err(|error| refused(&format!("{value}: {error}")))?,
            );
        }
        if all.len() == before {
            return Err(refused(&format!("{value}: the file holds no key")));
        }
    }
    Ok(all)
}
