//! What to do with a file that is of another kind than the one that was asked for.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::import::own_document;
use cli_common::{CliError, ErrorKind, quoted};

/// As much of a file is looked at.
const MOST: u64 = 16 << 20;

/// An error of reading a file as one whose schema has the name `wanted`: where it is another file of the toolkit's, the
/// hint says which command reads it, or else what to give instead.
pub fn of_another_kind(error: CliError, path: &Path, wanted: &str, otherwise: &str) -> CliError {
    if error.kind() != ErrorKind::Input {
        return error;
    }
    let found = schema_of(path).filter(|found| found != wanted);
    error.with_hint(match found {
        Some(found) => read_by(&found, path),
        None => otherwise.to_owned(),
    })
}

/// The name of the schema that a file of the toolkit's has.
fn schema_of(path: &Path) -> Option<String> {
    // A pipe is gone once it was read.
    if !path.metadata().ok()?.is_file() {
        return None;
    }
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MOST).read_to_end(&mut bytes).ok()?;
    let found = own_document(&bytes)?;
    Some(found.split('/').next().unwrap_or(&found).to_owned())
}

/// Which command reads a file with such a schema.
fn read_by(schema: &str, path: &Path) -> String {
    let file = quoted(path.as_os_str());
    match schema {
        "anchors" => {
            format!("it is an anchors file: `anchor-verify lint {file}` judges it, and --anchors takes it")
        }
        "inclusion-proof" => format!("it is an inclusion proof: `anchor-verify check {file}` checks it"),
        "vesbundle" => format!("it is a bundle: `anchor-verify verify {file}` verifies it"),
        "log-export" => {
            format!("it is an export of a log: `anchor-verify verify --events {file}` verifies it")
        }
        "verify-report" => {
            format!(
                "it is a report: `anchor-verify attest {file} --key SEED --out SIGNED` signs it with your key"
            )
        }
        "signed-report" => {
            format!("it is a signed report: `anchor-verify check-report {file} --public-key HEX` checks it")
        }
        "a snapshot, or another SQLite file" => {
            format!(
                "it is an SQLite file: a snapshot of a log is verified by `anchor-verify verify --db {file}`"
            )
        }
        other => {
            format!("it is a file of the toolkit's of another kind ({other}), which no command here reads")
        }
    }
}
