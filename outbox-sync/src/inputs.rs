//! Which files do paths, folders and patterns name?
//!
//! A witness that is passed over without a word lowers counters. So a folder is looked through whole, every file in it
//! by its content, and what is not used is handed back with the reason.

mod manifest;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::{self, BufRead, Read as _};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use self::manifest::{Listed, OutboxManifest};
use crate::lost_wal::{self, LostWal};
use crate::private_copy;
use crate::sniff::{self, FileKind};

/// What SQLite puts beside a database: read with it, never by itself.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];
/// Folders are looked into so many levels deep.
const MAX_DEPTH: usize = 24;
/// So many entries of folders are looked at for one input.
const MAX_ENTRIES: usize = 200_000;
/// Of two files of one length so much is compared before all of it is.
const SAMPLE: u64 = 64 << 10;
/// So many files are named for one reason; the others are counted.
const NAMED: usize = 5;

/// An input that names nothing.
#[derive(Debug, thiserror::Error)]
#[error("{input}: {what}")]
pub struct InputError {
    /// As it was given.
    pub input: String,
    /// What is wrong with it.
    pub what: String,
}

/// What is done with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// They are witnesses: every outbox counts, copies and backups too.
    Read,
    /// They are set right, or their events are sent: of a folder, those that are named as databases. Copies are left
    /// alone unless they are named themselves.
    Change,
}

/// A file that is there and not used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct NotUsed {
    /// The file.
    pub path: String,
    /// What it is, or why it cannot be read, and what to do.
    pub why: String,
    /// Whether it may be an outbox: then a witness is missing.
    pub may_be_outbox: bool,
}

/// What inputs name.
#[derive(Debug, Default)]
pub struct Inputs {
    /// The files to read, sorted, each once.
    pub files: Vec<PathBuf>,
    /// What was found beside them and is not used, sorted.
    pub not_used: Vec<NotUsed>,
    /// What the files may lack.
    pub not_checked: Vec<String>,
    /// What manifests call files, by the names of `files`.
    pub names: BTreeMap<PathBuf, String>,
}

/// The files that the inputs and manifests name.
///
/// An input is a file, a folder or a pattern with `*`, `?`, `[…]` or `**`. A path that exists is taken as it is,
/// whatever its characters. A file that is named itself is read whatever it seems to be; of a folder, and of all folders
/// below it, those that are outboxes by their content. Devices, pipes and sockets are never opened there, and links that
/// lead out of the folder are not followed. A file is taken once: not again by another link to it, nor as a copy with
/// the same content. `-wal`, `-shm` and `-journal` files belong to their databases, so a shell may expand `outboxes/*`.
///
/// A manifest is a text file that lists outboxes, one a line (docs/outboxes.md). A file that it lists and that is not there,
/// or is not what its hash says, is a witness that is missing: it is handed back with the line and the reason.
///
/// # Errors
/// The first input that names nothing: a missing file, a folder without an outbox, a pattern without a match, a manifest
/// that lists nothing that is there.
pub fn expand_inputs<S: AsRef<str>>(
    inputs: &[S],
    manifests: &[PathBuf],
    purpose: Purpose,
) -> Result<Inputs, InputError> {
    let (found, mut errors) = expand_each(inputs, manifests, purpose);
    if errors.is_empty() {
        Ok(found)
    } else {
        Err(errors.swap_remove(0))
    }
}

/// The paths that a manifest lists, as they stand there; a line that cannot be used in words. Nothing is looked for.
///
/// # Errors
/// The text cannot be read.
pub fn read_manifest(text: impl BufRead) -> io::Result<Vec<Result<PathBuf, String>>> {
    let OutboxManifest { listed, bad, .. } = OutboxManifest::of(text, Path::new(""))?;
    let bad = bad
        .into_iter()
        .map(|(line, what)| Err(format!("line {line} {what}")));
    Ok(listed
        .into_iter()
        .map(|listed| Ok(listed.path))
        .chain(bad)
        .collect())
}

/// As [`expand_inputs`], but an input that names nothing does not hide the others.
pub fn expand_each<S: AsRef<str>>(
    inputs: &[S],
    manifests: &[PathBuf],
    purpose: Purpose,
) -> (Inputs, Vec<InputError>) {
    let mut search = Search {
        purpose,
        ..Search::default()
    };
    let mut errors = Vec::new();
    for input in inputs.iter().map(AsRef::as_ref) {
        if let Err(what) = search.take(input) {
            errors.push(InputError {
                input: input.to_owned(),
                what,
            });
        }
    }
    for path in manifests {
        if let Err(what) = search.manifest(path) {
            let input = path.display().to_string();
            errors.push(InputError { input, what });
        }
    }
    let found = search.finish();
    if found.files.is_empty() && !inputs.is_empty() && manifests.is_empty() && errors.is_empty() {
        errors.push(InputError {
            input: inputs.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" "),
            what: match found.not_used.iter().max_by_key(|file| file.may_be_outbox) {
                Some(first) => format!("no outbox; {}: {}", first.path, first.why),
                None => "only -wal, -shm and -journal files; name the databases beside them".into(),
            },
        });
    }
    (found, errors)
}

/// What is not used, in words: a line for each reason, with the first files and the number of the others.
pub fn describe(not_used: &[NotUsed]) -> Vec<String> {
    let mut by_reason: BTreeMap<(bool, &str), Vec<&str>> = BTreeMap::new();
    for file in not_used {
        by_reason
            .entry((!file.may_be_outbox, &file.why))
            .or_default()
            .push(&file.path);
    }
    let line = |((_, why), files): ((bool, &str), Vec<&str>)| match &files[..] {
        [one] => format!("{one}: not used: {why}"),
        [first @ .., _] if files.len() <= NAMED => {
            let last = files[first.len()];
            format!(
                "{} files not used: {}, {last}: {why}",
                files.len(),
                first.join(", ")
            )
        }
        _ => {
            let more = files.len() - NAMED;
            let named = files[..NAMED].join(", ");
            format!("{} files not used: {named} and {more} more: {why}", files.len())
        }
    };
    by_reason.into_iter().map(line).collect()
}

/// A file that was found, by what makes it that file.
#[derive(Debug)]
struct Candidate {
    path: PathBuf,
    meta: Metadata,
    /// Named itself, not found in a folder.
    named: bool,
    /// What a manifest calls it.
    name: Option<String>,
}

#[derive(Debug)]
struct Search {
    purpose: Purpose,
    /// By real path, so that one file under two names is one.
    found: BTreeMap<PathBuf, Candidate>,
    not_used: BTreeMap<PathBuf, NotUsed>,
    /// Folders that were looked through.
    seen: BTreeSet<PathBuf>,
    not_checked: Vec<String>,
}

impl Default for Search {
    fn default() -> Self {
        Self {
            purpose: Purpose::Read,
            found: BTreeMap::new(),
            not_used: BTreeMap::new(),
            seen: BTreeSet::new(),
            not_checked: Vec::new(),
        }
    }
}

impl Search {
    fn take(&mut self, input: &str) -> Result<(), String> {
        let path = Path::new(input);
        if path.symlink_metadata().is_ok() {
            return self.named(path);
        }
        if !input.contains(['*', '?', '[']) {
            return Err("no such file or folder".into());
        }
        let mut matched = false;
        for entry in glob::glob(input).map_err(|error| format!("not a pattern: {error}"))? {
            match entry {
                Ok(path) if path.is_dir() => {
                    matched |= self.folder(&path).map_err(|error| error.to_string())? > 0;
                }
                Ok(path) => {
                    matched |= !is_companion_of_present(&path);
                    self.member(&path, None);
                }
                Err(error) => {
                    matched = true;
                    let why = format!("cannot be read: {}", error.error());
                    self.leave(error.path(), why, true);
                }
            }
        }
        if matched {
            Ok(())
        } else {
            Err("no file matches this pattern".into())
        }
    }

    /// A path that was given as it is.
    fn named(&mut self, path: &Path) -> Result<(), String> {
        let meta = match path.metadata() {
            Ok(meta) => meta,
            Err(_) if path.is_symlink() => return Err("a link that leads nowhere".into()),
            Err(error) => return Err(error.to_string()),
        };
        if meta.is_dir() {
            return self.named_folder(path);
        }
        if is_companion_of_present(path) {
            return Ok(());
        }
        if let Some((why, may_be)) = lone_companion(path, meta.len()) {
            self.leave(path, why, may_be);
            return Ok(());
        }
        self.add(path.to_owned(), meta, true);
        Ok(())
    }

    fn named_folder(&mut self, path: &Path) -> Result<(), String> {
        let looked_at = self.folder(path).map_err(|error| error.to_string())?;
        let real = path.canonicalize().map_err(|error| error.to_string())?;
        if self.found.keys().any(|file| file.starts_with(&real)) {
            return Ok(());
        }
        let mut inside = self.not_used.iter().filter(|(file, _)| file.starts_with(path));
        Err(match inside.find(|(_, file)| file.may_be_outbox) {
            Some((_, first)) => {
                format!(
                    "no outbox that can be read in this folder; {}: {}",
                    first.path, first.why
                )
            }
            None => format!("no outbox in this folder or below it ({looked_at} file(s) were looked at)"),
        })
    }

    /// What a manifest lists.
    fn manifest(&mut self, path: &Path) -> Result<(), String> {
        let manifest = OutboxManifest::read(path).map_err(|error| error.to_string())?;
        let of_line = |line: u64| format!("line {line} of {}", path.display());
        if manifest.listed.is_empty() && manifest.bad.is_empty() && manifest.cut.is_none() {
            return Err("lists no outbox: it is empty, or holds nothing but comments".into());
        }
        for (line, what) in manifest.bad {
            self.leave(Path::new(&of_line(line)), what, true);
        }
        if manifest.more_bad > 0 {
            let what = format!("has {} more lines that cannot be used", manifest.more_bad);
            self.leave(path, what, true);
        }
        if let Some(what) = manifest.cut {
            self.leave(&path.join("(the rest)"), what, true);
        }
        let mut by_file: BTreeMap<PathBuf, Vec<Listed>> = BTreeMap::new();
        for listed in manifest.listed {
            let real = listed.path.canonicalize().unwrap_or_else(|_| listed.path.clone());
            by_file.entry(real).or_default().push(listed);
        }
        // All are looked at on all threads; what comes of it is taken in order.
        let by_file: Vec<(PathBuf, Vec<Listed>)> = by_file.into_iter().collect();
        let looked: Vec<Result<Metadata, (u64, String)>> = by_file
            .par_iter()
            .map(|(_, lines)| look_at_listed(lines))
            .collect();
        let (mut again, mut taken) = (0, 0);
        let mut beside: Vec<&PathBuf> = Vec::new();
        let mut spoiled = Vec::new();
        for ((real, lines), looked) in by_file.iter().zip(looked) {
            again += lines.len() - 1;
            match looked {
                Err((line, what)) => {
                    let why = format!("{}: {what}", of_line(line));
                    if let Some(database) = companion_of_present(&lines[0].path) {
                        spoiled.push((database, why.clone()));
                    }
                    self.leave(&lines[0].path, why, true);
                }
                Ok(_) if is_companion_of_present(&lines[0].path) => {}
                Ok(meta) => {
                    taken += 1;
                    self.add(lines[0].path.clone(), meta, true);
                    if lines.iter().any(|listed| listed.sha256.is_some()) && wal_length(real).is_some() {
                        beside.push(&lines[0].path);
                    }
                    if let (Some(file), Some(name)) = (
                        self.found.get_mut(real),
                        lines.iter().find_map(|listed| listed.name.clone()),
                    ) {
                        file.name.get_or_insert(name);
                    }
                }
            }
        }
        // SQLite would read a WAL that is not the one that was listed.
        for (database, why) in spoiled {
            let real = database.canonicalize().unwrap_or(database);
            self.drop_found(
                &real,
                format!("what lies beside it is not as it was listed: {why}"),
                true,
            );
        }
        self.not_checked.extend(of_manifest(path, again, &beside));
        self.nothing_listed(path, taken)
    }

    /// A manifest of which nothing is there is hardly the right one, or lies in the wrong folder.
    fn nothing_listed(&self, path: &Path, taken: usize) -> Result<(), String> {
        if taken > 0 {
            return Ok(());
        }
        let first = self.not_used.values().find(|file| file.may_be_outbox);
        Err(match first {
            Some(first) => format!(
                "none of its lines names an outbox that is there (paths begin in the folder of {}); {}: {}",
                path.display(),
                first.path,
                first.why
            ),
            None => "lists no outbox: only -wal, -shm and -journal files".into(),
        })
    }

    /// Looks through a folder and all below it. Says how many files were looked at.
    fn folder(&mut self, root: &Path) -> io::Result<usize> {
        let real_root = root.canonicalize()?;
        // What is wrong with the folder itself is an error of the input.
        root.read_dir()?;
        let mut folders = vec![(root.to_owned(), 0)];
        let mut looked_at = 0;
        let mut entries_left = MAX_ENTRIES;
        while let Some((folder, depth)) = folders.pop() {
            if !self
                .seen
                .insert(folder.canonicalize().unwrap_or_else(|_| folder.clone()))
            {
                continue;
            }
            if depth > MAX_DEPTH {
                let why = format!("more than {MAX_DEPTH} folders deep: not looked into; give it by itself");
                self.leave(&folder, why, true);
                continue;
            }
            let (mut entries, error) = list(&folder, entries_left);
            if let Some(error) = error {
                self.leave(
                    &folder,
                    format!("a folder that cannot be looked into: {error}"),
                    true,
                );
            }
            entries_left -= entries.len();
            if entries_left == 0 {
                let why = format!(
                    "holds more than {MAX_ENTRIES} files: the rest was not looked at; give its folders one by one"
                );
                self.leave(root, why, true);
                folders.clear();
            }
            entries.sort();
            for path in entries {
                match path.symlink_metadata() {
                    Ok(meta) if meta.is_dir() => folders.push((path, depth + 1)),
                    Ok(_) => {
                        looked_at += 1;
                        self.member(&path, Some(&real_root));
                    }
                    Err(error) => self.unreadable(&path, &error),
                }
            }
        }
        Ok(looked_at)
    }

    /// A file of a folder or pattern: by its content.
    fn member(&mut self, path: &Path, root: Option<&Path>) {
        let name = path.file_name().unwrap_or_default();
        let meta = match path.metadata() {
            Ok(meta) => meta,
            Err(error) if path.is_symlink() => {
                let target = path.read_link().unwrap_or_default();
                let target_name = target.file_name().unwrap_or_default();
                let named = sniff::is_database_name(name) || sniff::is_database_name(target_name);
                // What is behind a door may be anything.
                let barred = error.kind() == io::ErrorKind::PermissionDenied;
                let why = format!("a link to {}, which cannot be read: {error}", target.display());
                return self.leave(path, why, named || barred);
            }
            Err(error) => return self.unreadable(path, &error),
        };
        if let (Some(root), true) = (root, path.is_symlink())
            && let Ok(real) = path.canonicalize()
        {
            if real.starts_with(root) {
                // It is looked at where it lies.
                return;
            }
            let kind = if meta.is_dir() { "a folder" } else { "a file" };
            let why = format!(
                "a link to {kind} outside, which is not followed: give {} by itself if it is to be read",
                real.display()
            );
            let named = sniff::is_database_name(name)
                || sniff::is_database_name(real.file_name().unwrap_or_default());
            return self.leave(path, why, meta.is_dir() || named);
        }
        if !meta.is_file() {
            return self.leave(path, "a pipe, socket or device: not opened".into(), false);
        }
        if is_companion_of_present(path) {
            return;
        }
        if let Some((why, may_be)) = lone_companion(path, meta.len()) {
            return self.leave(path, why, may_be);
        }
        match sniff::look(path) {
            Err(error) => self.unreadable(path, &error),
            Ok(FileKind::Other { what, may_be_outbox }) => self.leave(path, what, may_be_outbox),
            // Who gives a pattern has the names in it.
            Ok(FileKind::Outbox)
                if self.purpose == Purpose::Change && root.is_some() && !sniff::has_database_ending(name) =>
            {
                let why = "an outbox, by its name a copy: it is left alone unless it is named itself";
                self.leave(path, why.into(), false);
            }
            Ok(FileKind::Outbox) => self.add(path.to_owned(), meta, false),
        }
    }

    fn add(&mut self, path: PathBuf, meta: Metadata, named: bool) {
        let real = path.canonicalize().unwrap_or_else(|_| path.clone());
        // It may have been left out by another input.
        self.not_used.remove(&path);
        let candidate = self.found.entry(real).or_insert(Candidate {
            path,
            meta,
            named,
            name: None,
        });
        candidate.named |= named;
    }

    /// A file that cannot be looked at. A `-wal` or `-shm` that its agent removed since the folder was listed is nothing to
    /// speak of: what it held is in the database.
    fn unreadable(&mut self, path: &Path, error: &io::Error) {
        if error.kind() == io::ErrorKind::NotFound && is_companion_of_present(path) {
            return;
        }
        self.leave(path, format!("cannot be read: {error}"), true);
    }

    fn leave(&mut self, path: &Path, why: String, may_be_outbox: bool) {
        if path
            .canonicalize()
            .is_ok_and(|real| self.found.contains_key(&real))
        {
            return;
        }
        let file = NotUsed {
            path: path.display().to_string(),
            why,
            may_be_outbox,
        };
        self.not_used.entry(path.to_owned()).or_insert(file);
    }

    fn finish(mut self) -> Inputs {
        self.join_hard_links();
        self.join_copies();
        let mut not_checked = self.note_lost_wals();
        not_checked.append(&mut self.not_checked);
        let mut files = Vec::with_capacity(self.found.len());
        let mut names = BTreeMap::new();
        for file in self.found.into_values() {
            if let Some(name) = file.name {
                names.insert(file.path.clone(), name);
            }
            files.push(file.path);
        }
        files.sort();
        Inputs {
            files,
            not_used: self.not_used.into_values().collect(),
            not_checked,
            names,
        }
    }

    /// Two names of one file are one. Its WAL lies beside one of them, and that is the name to read it by.
    fn join_hard_links(&mut self) {
        let mut by_file: BTreeMap<(u64, u64), (u64, Vec<PathBuf>)> = BTreeMap::new();
        for (real, file) in &self.found {
            if let Some((identity, names)) = several_names(&file.meta) {
                by_file
                    .entry(identity)
                    .or_insert((names, Vec::new()))
                    .1
                    .push(real.clone());
            }
        }
        for (all, mut names) in by_file.into_values() {
            let (here, first) = (names.len() as u64, names[0].clone());
            let without_wal = names.iter().all(|name| wal_length(name).is_none());
            if here < all && without_wal && lost_wal::look(&first) == LostWal::Possible {
                let why = format!(
                    "is not here: the database has {all} names (hard links), {here} of them among these files. If it is \
                     beside another, the newest events are in it: read the database by that name"
                );
                self.leave(&private_copy::beside(&first, "-wal"), why, true);
            }
            names.sort_by_key(|name| wal_length(name).is_none());
            let with_wal = names.iter().filter(|name| wal_length(name).is_some()).count();
            let kept = names.remove(0);
            for (index, name) in names.into_iter().enumerate() {
                let other_wal = index + 1 < with_wal;
                let why = if other_wal {
                    format!(
                        "another name of {}, with a -wal of its own that is not read",
                        kept.display()
                    )
                } else {
                    format!("another name of {}, read once", kept.display())
                };
                self.drop_found(&name, why, other_wal);
            }
        }
    }

    /// A copy with the same content, WAL included, says nothing more than the other.
    fn join_copies(&mut self) {
        let mut by_length: BTreeMap<(u64, Option<u64>), Vec<PathBuf>> = BTreeMap::new();
        for (real, file) in &self.found {
            by_length
                .entry((file.meta.len(), wal_length(real)))
                .or_default()
                .push(real.clone());
        }
        for files in by_length.into_values().filter(|files| files.len() > 1) {
            for (kept, copies) in alike(files) {
                for copy in copies {
                    self.drop_found(
                        &copy,
                        format!("the same content as {}, read once", kept.display()),
                        false,
                    );
                }
            }
        }
    }

    /// Databases whose WAL is not beside them, or may not be.
    fn note_lost_wals(&mut self) -> Vec<String> {
        let mut possible = Vec::new();
        let mut certain = Vec::new();
        for file in self.found.values() {
            let beside = private_copy::beside(&file.path, "-wal");
            if let (true, Some((why, true))) = (
                file.path.is_symlink() && wal_length(&file.path).is_some(),
                lone_companion(&beside, 1),
            ) {
                certain.push((beside, why));
            }
            match lost_wal::look(&file.path) {
                LostWal::No => {}
                LostWal::Possible => possible.push(file.path.display().to_string()),
                LostWal::Certain(what) => certain.push((private_copy::beside(&file.path, "-wal"), what)),
            }
        }
        for (wal, what) in certain {
            self.leave(&wal, what, true);
        }
        if possible.is_empty() {
            return Vec::new();
        }
        let more = match possible.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let named = possible
            .iter()
            .take(NAMED)
            .cloned()
            .collect::<Vec<_>>()
            .join(", ");
        vec![format!(
            "whether {} outbox(es) in WAL mode are whole, since no -wal is beside them: {named}{more}. If a file was \
             copied while its agent ran, its newest events are not in it",
            possible.len()
        )]
    }

    fn drop_found(&mut self, real: &Path, why: String, may_be_outbox: bool) {
        if let Some(file) = self.found.remove(real) {
            let not_used = NotUsed {
                path: file.path.display().to_string(),
                why,
                may_be_outbox,
            };
            self.not_used.insert(file.path, not_used);
        }
    }
}

/// Looks at the file that these lines of a manifest list. An error is of a line.
fn look_at_listed(lines: &[Listed]) -> Result<Metadata, (u64, String)> {
    let (line, path) = (lines[0].line, &lines[0].path);
    let meta = match path.metadata() {
        Ok(meta) => meta,
        Err(_) if path.is_symlink() => return Err((line, "a link that leads nowhere".into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err((line, "no such file".into())),
        Err(error) => return Err((line, format!("cannot be read: {error}"))),
    };
    if meta.is_dir() {
        return Err((line, "a folder: give it by itself, a manifest lists files".into()));
    }
    if !meta.is_file() {
        return Err((line, "a pipe, socket or device: not opened".into()));
    }
    if !is_companion_of_present(path)
        && let Some((what, true)) = lone_companion(path, meta.len())
    {
        return Err((line, what));
    }
    if lines.iter().all(|listed| listed.sha256.is_none()) {
        return Ok(meta);
    }
    let found = hash_of(path).map_err(|error| (line, format!("cannot be read: {error}")))?;
    let wrong = lines
        .iter()
        .find(|listed| listed.sha256.is_some_and(|hash| hash[..] != found[..]));
    match wrong {
        None => Ok(meta),
        Some(listed) => Err((
            listed.line,
            format!(
                "its SHA-256 is {}, not what the line says: it was changed since it was listed, or is another file. It is not \
                 used; list it anew if it is the right one",
                hex::encode(found)
            ),
        )),
    }
}

fn hash_of(path: &Path) -> io::Result<Vec<u8>> {
    let mut hash = Sha256::new();
    add_to(&mut hash, &mut File::open(path)?)?;
    Ok(hash.finalize().to_vec())
}

fn add_to(hash: &mut Sha256, from: &mut dyn io::Read) -> io::Result<()> {
    let mut buffer = vec![0; 1 << 16];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => hash.update(&buffer[..read]),
        }
    }
}

/// What a manifest leaves open: files that it lists more than once, and what its hashes do not cover.
fn of_manifest(path: &Path, again: usize, beside: &[&PathBuf]) -> Vec<String> {
    let manifest = path.display();
    let mut all = Vec::new();
    if again > 0 {
        all.push(format!(
            "{manifest}: {again} line(s) list a file that another lists too; each is read once"
        ));
    }
    if let Some(first) = beside.first() {
        all.push(format!(
            "{manifest}: whether the WAL of {} outbox(es) is as it was when they were listed ({}): a hash covers the database \
             alone",
            beside.len(),
            first.display()
        ));
    }
    all
}

/// The first entries of a folder, and why there are no more.
fn list(folder: &Path, limit: usize) -> (Vec<PathBuf>, Option<io::Error>) {
    let mut paths = Vec::new();
    match folder.read_dir() {
        Err(error) => (paths, Some(error)),
        Ok(entries) => {
            for entry in entries.take(limit) {
                match entry {
                    Ok(entry) => paths.push(entry.path()),
                    Err(error) => return (paths, Some(error)),
                }
            }
            (paths, None)
        }
    }
}

/// The database that a file belongs to by its name.
fn database_of(path: &Path) -> Option<(PathBuf, &'static str)> {
    let name = path.file_name()?.to_str()?;
    let suffix = COMPANIONS.into_iter().find(|suffix| name.ends_with(suffix))?;
    Some((path.with_file_name(&name[..name.len() - suffix.len()]), suffix))
}

/// Whether SQLite reads this file with the database beside it. Beside a link it does not.
fn is_companion_of_present(path: &Path) -> bool {
    companion_of_present(path).is_some()
}

/// The database that SQLite reads this file with.
fn companion_of_present(path: &Path) -> Option<PathBuf> {
    let (database, suffix) = database_of(path)?;
    let meta = database.symlink_metadata().ok()?;
    let is_read =
        meta.is_file() || suffix == "-shm" || path.metadata().is_ok_and(|companion| companion.len() == 0);
    is_read.then_some(database)
}

/// What is to be said of a `-wal`, `-shm` or `-journal` without its database.
fn lone_companion(path: &Path, length: u64) -> Option<(String, bool)> {
    let (database, suffix) = database_of(path)?;
    let name = database
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    if database.is_symlink() {
        let what = format!(
            "lies beside a link, where SQLite does not look: put it beside the file that {name} leads to"
        );
        return Some((what, suffix == "-wal"));
    }
    Some(match (suffix, length) {
        (_, 0) => (format!("empty, and {name} is not there"), false),
        ("-wal", _) => {
            let what = format!(
                "the WAL of {name}, which is not there: the newest events are in it. Find the database, or give its copy this name"
            );
            (what, true)
        }
        ("-journal", _) => (format!("the journal of {name}, which is not there"), true),
        _ => (format!("the wal-index of {name}, which is not there"), false),
    })
}

/// How long the WAL of a database is, if there is something in it.
fn wal_length(path: &Path) -> Option<u64> {
    private_copy::beside(path, "-wal")
        .metadata()
        .ok()
        .map(|wal| wal.len())
        .filter(|length| *length > 0)
}

/// Groups of files whose content is the same: the first, and its copies.
pub fn same_content(files: &[PathBuf]) -> Vec<(PathBuf, Vec<PathBuf>)> {
    let mut by_length: BTreeMap<u64, Vec<PathBuf>> = BTreeMap::new();
    for file in files {
        if let Ok(meta) = file.metadata()
            && meta.is_file()
        {
            by_length.entry(meta.len()).or_default().push(file.clone());
        }
    }
    by_length
        .into_values()
        .filter(|files| files.len() > 1)
        .flat_map(alike)
        .collect()
}

/// Groups of files of one length whose content is the same: the first, and its copies.
fn alike(mut files: Vec<PathBuf>) -> Vec<(PathBuf, Vec<PathBuf>)> {
    files.sort();
    let by_start = by_digest(files, SAMPLE);
    let same_start = by_start.into_values().filter(|files| files.len() > 1).flatten();
    by_digest(same_start.collect(), u64::MAX)
        .into_values()
        .filter(|files| files.len() > 1)
        .map(|mut files| (files.remove(0), files))
        .collect()
}

/// Files by the hash of their first bytes. What cannot be read is no copy of anything; reading it says why.
fn by_digest(files: Vec<PathBuf>, length: u64) -> BTreeMap<Vec<u8>, Vec<PathBuf>> {
    let digests: Vec<io::Result<Vec<u8>>> = files.par_iter().map(|file| digest(file, length)).collect();
    let mut groups: BTreeMap<Vec<u8>, Vec<PathBuf>> = BTreeMap::new();
    for (file, digest) in files.into_iter().zip(digests) {
        if let Ok(digest) = digest {
            groups.entry(digest).or_default().push(file);
        }
    }
    groups
}

/// SHA-256 of the first bytes of a database and of its WAL and journal.
fn digest(path: &Path, length: u64) -> io::Result<Vec<u8>> {
    let mut hash = Sha256::new();
    for file in ["", "-wal", "-journal"].map(|suffix| private_copy::beside(path, suffix)) {
        match File::open(&file) {
            Ok(file) => add_to(&mut hash, &mut file.take(length))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(hash.finalize().to_vec())
}

/// What makes a file itself, and how many names it has, if it has more than one.
#[cfg(unix)]
fn several_names(meta: &Metadata) -> Option<((u64, u64), u64)> {
    use std::os::unix::fs::MetadataExt as _;

    (meta.nlink() > 1).then(|| ((meta.dev(), meta.ino()), meta.nlink()))
}

#[cfg(not(unix))]
fn several_names(_: &Metadata) -> Option<((u64, u64), u64)> {
    None
}

#[cfg(test)]
mod tests;
