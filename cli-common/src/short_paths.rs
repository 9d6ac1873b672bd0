//! Names of files in a report, short: from the folder on that all of them are in.

use std::fmt;

/// A shorter folder is not worth a line of its own.
const WORTH: usize = 8;

/// The files of a report, and the folder that all of them are in.
#[derive(Clone, Debug, Default)]
pub struct ShortPaths {
    folder: String,
}

impl ShortPaths {
    /// Of these files; of one alone, and where `full` is asked for, names stay as they are.
    pub(crate) fn new<'p>(full: bool, paths: impl IntoIterator<Item = &'p str>) -> Self {
        let mut paths = paths.into_iter();
        let (Some(first), false) = (paths.next(), full) else {
            return Self::default();
        };
        let mut folder = &first[..first.rfind('/').map_or(0, |at| at + 1)];
        let mut several = false;
        for path in paths {
            several |= path != first;
            while !path.starts_with(folder) {
                let outer = folder.trim_end_matches('/').rfind('/');
                folder = &folder[..outer.map_or(0, |at| at + 1)];
            }
        }
        if !several || folder.len() < WORTH {
            return Self::default();
        }
        Self {
            folder: folder.to_owned(),
        }
    }

    /// A file by its short name; also text that begins with the file.
    #[must_use]
    pub fn of<'p>(&self, path: &'p str) -> &'p str {
        path.strip_prefix(&self.folder).unwrap_or(path)
    }

    /// The folder, if there is one: what a report has to say once.
    #[must_use]
    pub fn folder(&self) -> Option<&str> {
        (!self.folder.is_empty()).then_some(&self.folder)
    }
}

impl fmt::Display for ShortPaths {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.folder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_begin_where_they_differ() {
        let of = |paths: &[&str]| {
            let short = ShortPaths::new(false, paths.iter().copied());
            let names: Vec<String> = paths.iter().map(|path| short.of(path).to_owned()).collect();
            (short.to_string(), names.join(" "))
        };
        let same = |folder: &str, names: &str| (folder.to_owned(), names.to_owned());
        assert_eq!(
            of(&["/srv/agents/a/x.db", "/srv/agents/b/x.db", "/srv/agents/c.db"]),
            same("/srv/agents/", "a/x.db b/x.db c.db")
        );
        // No part of a name is cut, one file keeps its name, and a short folder too.
        assert_eq!(
            of(&["/srv/agents/alpha.db", "/srv/agents/alpha.db.bak"]),
            same("/srv/agents/", "alpha.db alpha.db.bak")
        );
        assert_eq!(of(&["/srv/agents/a.db"]), same("", "/srv/agents/a.db"));
        assert_eq!(of(&["/srv/a.db", "/srv/b.db"]), same("", "/srv/a.db /srv/b.db"));
        assert_eq!(of(&["one/a.db", "two/a.db"]), same("", "one/a.db two/a.db"));
        assert_eq!(of(&[]), same("", ""));
        let short = ShortPaths::new(false, ["/srv/agents/a.db", "/srv/agents/b.db"]);
        assert_eq!(short.of("/srv/agents/a.db row 3"), "a.db row 3");
        assert_eq!(short.of("/srv/other.db"), "/srv/other.db");
        assert_eq!(
            ShortPaths::new(true, ["/srv/agents/a", "/srv/agents/b"]).folder(),
            None
        );
    }
}
