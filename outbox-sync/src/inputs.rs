//! Which files do paths, folders and patterns name?

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What in a folder is taken for a database.
const EXTENSIONS: [&str; 3] = ["db", "sqlite", "sqlite3"];
/// What SQLite puts beside a database: read with it, never by itself.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// An input that names nothing.
#[derive(Debug, thiserror::Error)]
#[error("{input}: {what}")]
pub struct InputError {
    /// As it was given.
    pub input: String,
    /// What is wrong with it.
    pub what: String,
}

/// The files that the inputs name, sorted, each once.
///
/// An input is a file, a folder (its own `*.db`, `*.sqlite` and `*.sqlite3`, not those of its folders) or a
/// pattern with `*`, `?`, `[…]` or `**`. A path that exists is taken as it is, whatever its characters.
/// `-wal`, `-shm` and `-journal` files are passed over, so that a shell may expand `outboxes/*`.
///
/// # Errors
/// The first input that names nothing: a missing file, a folder without a database, a pattern without a match.
pub fn expand_inputs<S: AsRef<str>>(inputs: &[S]) -> Result<Vec<PathBuf>, InputError> {
    // By real path, so that one file under two names is one.
    let mut found: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
    for input in inputs {
        let input = input.as_ref();
        let error = |what: String| InputError {
            input: input.to_owned(),
            what,
        };
        for path in expand(input).map_err(error)? {
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            found.entry(real).or_insert(path);
        }
    }
    let mut paths: Vec<PathBuf> = found.into_values().collect();
    paths.sort();
    if paths.is_empty() && !inputs.is_empty() {
        return Err(InputError {
            input: inputs.iter().map(AsRef::as_ref).collect::<Vec<_>>().join(" "),
            what: "only -wal, -shm and -journal files; name the databases beside them".into(),
        });
    }
    Ok(paths)
}

fn expand(input: &str) -> Result<Vec<PathBuf>, String> {
    let path = Path::new(input);
    if path.is_dir() {
        return folder(path);
    }
    if path.exists() {
        let companion = is_companion(path);
        return Ok(if companion {
            Vec::new()
        } else {
            vec![path.to_owned()]
        });
    }
    if !input.contains(['*', '?', '[']) {
        return Err("no such file or folder".into());
    }
    let mut paths = Vec::new();
    for entry in glob::glob(input).map_err(|error| format!("not a pattern: {error}"))? {
        let path = entry.map_err(|error| error.to_string())?;
        if path.is_file() && !is_companion(&path) {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        Err("no file matches this pattern".into())
    } else {
        Ok(paths)
    }
}

fn folder(path: &Path) -> Result<Vec<PathBuf>, String> {
    let mut paths = Vec::new();
    for entry in path.read_dir().map_err(|error| error.to_string())? {
        let path = entry.map_err(|error| error.to_string())?.path();
        let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
        if EXTENSIONS.contains(&extension) && path.is_file() {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        return Err(format!(
            "no database in this folder (*.{})",
            EXTENSIONS.join(", *.")
        ));
    }
    Ok(paths)
}

fn is_companion(path: &Path) -> bool {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    COMPANIONS.iter().any(|suffix| name.ends_with(suffix))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_folders_and_patterns() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
        for name in [
            "b.db",
            "b.db-wal",
            "b.db-shm",
            "a.sqlite3",
            "c.txt",
            "odd[1].db",
            "sub/d.db",
        ] {
            fs::create_dir_all(Path::new(&at(name)).parent().unwrap()).unwrap();
            fs::write(at(name), "x").unwrap();
        }
        fs::create_dir(at("empty")).unwrap();
        let names = |inputs: &[String]| -> Vec<String> {
            let paths = expand_inputs(inputs).unwrap();
            paths
                .iter()
                .map(|p| p.strip_prefix(dir.path()).unwrap().display().to_string())
                .collect()
        };
        assert_eq!(names(&[at("")]), ["a.sqlite3", "b.db", "odd[1].db"]);
        assert_eq!(
            names(&[at("*b.*"), at("b.db"), at("b.db-wal"), at("sub/../b.db")]),
            ["b.db"]
        );
        assert_eq!(names(&[at("**/*.db")]), ["b.db", "odd[1].db", "sub/d.db"]);
        assert_eq!(names(&[at("odd[1].db")]), ["odd[1].db"]);
        for bad in [at("none.db"), at("x*.db"), at("empty"), at("b.db-wal"), at("***")] {
            let error = expand_inputs(std::slice::from_ref(&bad)).unwrap_err();
            assert!(error.to_string().starts_with(&bad), "{error}");
        }
    }
}
