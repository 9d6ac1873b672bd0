//! What reports call outboxes: their file names, and as much of their folders as it takes to tell them apart. A fleet keeps
//! `outbox.db` in ten thousand folders.

use std::collections::{BTreeMap, HashMap};
use std::path::{Component, Path, PathBuf};

/// A name for each file: the one that a manifest gives it, if no other has it, or the end of its path that no other has.
pub(super) fn holder_names(files: &[PathBuf], given: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut names: Vec<Option<String>> = vec![None; files.len()];
    let mut taken: HashMap<&str, usize> = HashMap::new();
    for name in given.values() {
        *taken.entry(name).or_default() += 1;
    }
    for (file, name) in files.iter().zip(&mut names) {
        *name = given
            .get(file)
            .filter(|given| taken[given.as_str()] == 1)
            .cloned();
    }
    let mut open: Vec<usize> = (0..files.len()).filter(|&at| names[at].is_none()).collect();
    let mut parts = 1;
    while !open.is_empty() {
        let mut by_end: HashMap<String, Vec<usize>> = HashMap::new();
        for at in open {
            by_end.entry(end_of(&files[at], parts)).or_default().push(at);
        }
        open = Vec::new();
        for (end, same) in by_end {
            // No end of a path can tell two apart that are equal: then the whole path is all there is.
            let whole = same.iter().all(|&at| files[at].components().count() <= parts);
            match same[..] {
                [one] if !taken.contains_key(end.as_str()) => names[one] = Some(end),
                _ if whole => same.iter().for_each(|&at| names[at] = Some(end.clone())),
                _ => open.extend(same),
            }
        }
        parts += 1;
    }
    names.into_iter().flatten().collect()
}

/// The last parts of a path.
fn end_of(path: &Path, parts: usize) -> String {
    let all: Vec<Component<'_>> = path.components().collect();
    let end: PathBuf = all[all.len().saturating_sub(parts)..].iter().collect();
    end.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_as_short_as_they_can_be_and_each_is_of_one_file() {
        let files = [
            "/f/1/outbox.db",
            "/f/2/outbox.db",
            "/g/2/outbox.db",
            "/f/a.db",
            "b.db",
            "/till-7/c.db",
        ];
        let files = files.map(PathBuf::from);
        let given = [(&files[3], "till-7"), (&files[4], "b"), (&files[5], "b")];
        let given = given.map(|(file, name)| (file.clone(), name.to_owned())).into();
        assert_eq!(
            holder_names(&files, &given),
            [
                "1/outbox.db",
                "f/2/outbox.db",
                "g/2/outbox.db",
                "till-7",
                "b.db",
                "c.db"
            ]
        );
        let none = BTreeMap::new();
        assert_eq!(holder_names(&files[3..4], &none), ["a.db"]);
        assert_eq!(holder_names(&[], &none), [""; 0]);
        // The whole path, where nothing less tells two apart.
        let files = ["x.db", "f/x.db"].map(PathBuf::from);
        assert_eq!(holder_names(&files, &none), ["x.db", "f/x.db"]);
    }
}
