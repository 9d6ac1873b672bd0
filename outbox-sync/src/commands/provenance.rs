//! Which files a report was made from: each with its hash, taken before anything else opens it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use cli_common::provenance::{FileHash, Input, Provenance};
use cli_common::{Cancel, Cancelled, DbTarget, GlobalArgs, Output, stderr_progress};
use event_log::Place;
use outbox_sync::export::manifest_path;
use outbox_sync::source::looks_like_export;
use rayon::prelude::*;
use serde::Serialize;

use super::{CliError, write_lines};

/// What a file is read as.
pub const KEYS: &str = "keys";
pub const MANIFEST: &str = "outbox-manifest";
pub const DB: &str = "db";
pub const RECEIPTS: &str = "receipts";
pub const EPOCH: &str = "epoch";

/// The files that a command reads, with their hashes.
#[derive(Default)]
pub struct InputFiles {
    /// Of each outbox or export its file, and those that are read with it.
    outboxes: BTreeMap<PathBuf, Vec<FileHash>>,
    others: Vec<FileHash>,
}

impl InputFiles {
    /// Hashes outboxes and exports, several at once, and shows how far it is.
    pub fn of_outboxes(paths: &[PathBuf], global: &GlobalArgs, cancel: &Cancel) -> Result<Self, Cancelled> {
        let progress = stderr_progress(global);
        progress.start("hashing files", Some(paths.len() as u64));
        let hashed = paths.par_iter().map(|path| {
            let mut files = looked_at(path);
            files
                .iter_mut()
                .for_each(|file| file.read(&|| cancel.is_cancelled()));
            progress.advance(1);
            (path.clone(), files)
        });
        let outboxes = hashed.collect();
        progress.finish();
        cancel.check()?;
        Ok(Self {
            outboxes,
            others: Vec::new(),
        })
    }

    /// Hashes files that are read beside the outboxes.
    pub fn add<'p>(&mut self, role: &str, paths: impl IntoIterator<Item = &'p Path>) {
        for path in paths {
            let mut hash = FileHash::begin(role, path);
            hash.read(&|| false);
            self.others.push(hash);
        }
    }

    /// Hashes a file that is read first, and then written to.
    pub fn add_as_it_is(&mut self, role: &str, path: &Path) {
        self.add(role, [path]);
        self.others.iter_mut().for_each(FileHash::settle);
    }

    /// Hashes a log, if it is a file.
    pub fn add_log(&mut self, target: Option<&DbTarget>) {
        if let Some(DbTarget::Snapshot(path)) = target {
            self.add(DB, [path.as_path()]);
        }
    }

    /// Takes the files of an outbox in, hashed or not.
    pub fn insert(&mut self, outbox: &Path, files: Vec<FileHash>) {
        self.outboxes.insert(outbox.to_owned(), files);
    }

    /// Sees whether an outbox is as it was when it was hashed. What changes it from here on is ours.
    pub fn settle(&mut self, outbox: &Path) {
        for hash in self.outboxes.get_mut(outbox).into_iter().flatten() {
            hash.settle();
        }
    }

    /// Where a document comes from that was made of these files. Of one that changed since it was hashed, the hash says
    /// nothing, and the document says that.
    pub fn provenance(self) -> Provenance {
        let of_outboxes = self.outboxes.into_values().flatten();
        let mut inputs: Vec<Input> = Vec::new();
        for mut hash in of_outboxes.chain(self.others) {
            hash.settle();
            inputs.push(hash.into_input());
        }
        Provenance::now("outbox-sync", inputs)
    }
}

/// The files that are read for an outbox or an export, looked at and not read yet.
pub fn looked_at(path: &Path) -> Vec<FileHash> {
    if looks_like_export(path) {
        let manifest = manifest_path(path);
        let beside = manifest.exists().then(|| FileHash::begin("manifest", &manifest));
        return [FileHash::begin("export", path)]
            .into_iter()
            .chain(beside)
            .collect();
    }
    // SQLite puts them beside the file that a link points to.
    let real = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let beside = ["wal", "journal"].into_iter().filter_map(|role| {
        let mut name = real.clone().into_os_string();
        name.push(format!("-{role}"));
        let file = PathBuf::from(name);
        let is_there = file.metadata().is_ok_and(|meta| meta.len() > 0);
        is_there.then(|| FileHash::begin(role, &file))
    });
    [FileHash::begin("outbox", path)]
        .into_iter()
        .chain(beside)
        .collect()
}

/// What made a report, when and from what, and where the log is: two or three lines for people.
pub fn print_head<W: std::io::Write>(
    out: &mut Output<W>,
    provenance: Option<&Provenance>,
    place: Option<&Place>,
) -> Result<(), CliError> {
    if let Some(provenance) = provenance {
        out.full_line(&provenance.to_string())?;
    }
    match place {
        Some(place) => out.line(&format!("Log: {place}")),
        None => Ok(()),
    }
}

/// The same as lines of NDJSON.
pub fn write_head<W: std::io::Write>(
    out: &mut Output<W>,
    schema: &str,
    provenance: Option<&Provenance>,
    place: Option<&Place>,
) -> Result<(), CliError> {
    #[derive(Serialize)]
    struct Where<'a> {
        place: &'a Place,
    }
    write_lines(out, schema, "provenance", provenance)?;
    write_lines(out, schema, "place", place.map(|place| Where { place }))
}
