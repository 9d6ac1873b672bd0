//! One file a command: parse, call the library, print. What several of them need is here.

#[cfg(feature = "engine")]
pub mod executor;
pub mod prove;
#[cfg(feature = "engine")]
pub mod scheduler;
pub mod snapshot;
#[cfg(feature = "engine")]
mod spread;
#[cfg(feature = "engine")]
pub mod sql;
pub mod status;
pub mod verify;
pub mod write;

use archive_format::{Archive, ArchiveError, Store};
use clap::Args;
use cli_common::provenance::{Inputs, Provenance};
use cli_common::{CliError, Output, Tone};
use ed25519_dalek::VerifyingKey;

/// Where an archive lies, and how it is known.
#[derive(Debug, Args)]
pub struct ArchiveArgs {
    /// The archive: a folder, or s3://, gs://, az:// with bucket and prefix
    #[arg(value_name = "ARCHIVE")]
    address: String,

    /// The key that the newest manifest must be signed with: an Ed25519 public key in hex, or a file with it
    #[arg(long, value_name = "KEY|FILE")]
    public_key: Option<String>,
}

impl ArchiveArgs {
    /// Opens the archive as its newest manifest has it.
    pub fn open(&self) -> Result<Archive, CliError> {
        let archive = self.store().and_then(Archive::open).map_err(cli_error)?;
        if let Some(key) = self.key()? {
            let read = archive.read_manifest();
            read.check_signature(archive.store(), &key).map_err(cli_error)?;
        }
        Ok(archive)
    }

    /// The address as it was given.
    pub fn address(&self) -> &str {
        &self.address
    }

    fn store(&self) -> Result<Store, ArchiveError> {
        Store::open(&self.address)
    }

    fn key(&self) -> Result<Option<VerifyingKey>, CliError> {
        let key = self.public_key.as_ref();
        key.map(|key| cli_common::keys::read_public_key("--public-key", key))
            .transpose()
    }

    /// What is not checked of an archive whose manifest nobody vouches for.
    pub fn not_checked(&self) -> Option<String> {
        self.public_key.is_none().then(|| {
            "that the newest manifest is the archive's: it is the store's own word (--public-key)".to_owned()
        })
    }
}

/// What an error of the library means for the user.
pub fn cli_error(error: ArchiveError) -> CliError {
    let message = error.to_string();
    match error {
        ArchiveError::Source(error) => anchor_verify::commands::cli_error(error),
        ArchiveError::Cancelled(cancelled) => cancelled.into(),
        ArchiveError::Address { .. } => CliError::usage(message)
            .with_hint("an archive is a folder, or s3://BUCKET/PREFIX, gs://BUCKET/PREFIX, az://CONTAINER/PREFIX"),
        ArchiveError::Store { .. } => CliError::io(message).with_hint(
            "are the address, the credentials and the region right (AWS_ACCESS_KEY_ID, AWS_REGION, AWS_ENDPOINT_URL, …)?",
        ),
        ArchiveError::NoArchive(_) => {
            CliError::input(message).with_hint("`event-archive write` makes one; is the address right?")
        }
        ArchiveError::Contended(_) => CliError::input(message)
            .with_hint("nothing was lost: run it again, and let one writer write at a time"),
        ArchiveError::Io { name, source } => {
            let hint = cli_common::file_hint(std::path::Path::new(&name), &source);
            CliError::io(name).with_hint(hint).with_source(source)
        }
        _ => CliError::input(message),
    }
}

/// Where a document of this tool comes from.
pub fn provenance(inputs: Inputs) -> Provenance {
    Provenance::now("event-archive", inputs.finish())
}

/// What was not checked, for people.
pub fn print_not_checked<W: std::io::Write>(out: &mut Output<W>, all: &[String]) -> Result<(), CliError> {
    if all.is_empty() {
        return Ok(());
    }
    out.line("")?;
    out.not_checked(all, &[])
}

/// A number of things, with what they are called.
pub fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// The tone of good or bad news.
pub fn tone(good: bool) -> Tone {
    match good {
        true => Tone::Good,
        false => Tone::Bad,
    }
}
