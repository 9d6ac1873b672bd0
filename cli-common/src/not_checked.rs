//! What was not checked, in few lines.

use std::collections::HashMap;
use std::fmt;

/// So many kinds are shown.
pub(crate) const SHOWN: usize = 12;

/// In so many lines each.
pub(crate) const LINES: usize = 2;

/// Entries that say the same of different files, streams or numbers.
pub(crate) struct Group<'a> {
    first: &'a str,
    /// How many.
    pub count: usize,
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.count {
            1 => f.write_str(self.first),
            // In front: the end of a long one is cut off.
            count => write!(f, "{count} times: {}", self.first),
        }
    }
}

/// The entries by kind, in their order, but those with one of these words before all others, by the order of the words.
pub(crate) fn grouped<'a>(all: &'a [String], first: &[&str]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut known: HashMap<String, usize> = HashMap::new();
    for text in all {
        let at = *known.entry(kind(text)).or_insert(groups.len());
        match groups.get_mut(at) {
            Some(group) => group.count += 1,
            None => groups.push(Group {
                first: text,
                count: 1,
            }),
        }
    }
    let weight = |group: &Group<'_>| {
        let found = first.iter().position(|word| group.first.contains(word));
        found.unwrap_or(first.len())
    };
    groups.sort_by_key(weight);
    groups
}

/// What was not checked, by kind: entries that say the same of different files, streams or numbers are one, with how many
/// they are.
#[must_use]
pub fn not_checked_by_kind(all: &[String]) -> Vec<String> {
    grouped(all, &[]).iter().map(ToString::to_string).collect()
}

/// What an entry says, without which file or stream it says it of, and without numbers.
fn kind(text: &str) -> String {
    let said = match text.split_once(": ") {
        Some((of, said)) if names_one(of) => said,
        _ => text,
    };
    let mut kind = String::with_capacity(said.len());
    let mut run = String::new();
    for c in said.chars().chain(['\n']) {
        if c.is_ascii_hexdigit() || c == '-' {
            run.push(c);
            continue;
        }
        if run.contains(|c: char| c.is_ascii_digit()) {
            kind.push('#');
        } else {
            kind.push_str(&run);
        }
        run.clear();
        kind.push(c);
    }
    kind
}

/// Whether the beginning of an entry is the name of one of many: of a file, a stream, a batch.
fn names_one(of: &str) -> bool {
    of.contains(['/', '.', '\\']) || of.contains(|c: char| c.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_of_a_kind_are_one() {
        let all = [
            "a/b.db: 3 rows that nobody signed",
            "the chain: no anchors file was given",
            "a/c.db: 12 rows that nobody signed",
            "d.db: not read",
        ]
        .map(str::to_owned);
        let lines = |first: &[&str]| -> Vec<String> {
            grouped(&all, first).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            lines(&[]),
            [
                "2 times: a/b.db: 3 rows that nobody signed",
                "the chain: no anchors file was given",
                "d.db: not read"
            ]
        );
        assert_eq!(
            lines(&["not read", "chain"])[..2],
            ["d.db: not read", "the chain: no anchors file was given"]
        );
    }

    #[test]
    fn the_same_of_two_things_that_are_no_names_stays_apart() {
        let all = ["the chain: not asked", "the keys: not asked"].map(str::to_owned);
        assert_eq!(grouped(&all, &[]).len(), 2);
    }
}
