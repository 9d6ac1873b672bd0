//! Short names of streams, agents and batches, for tables that people read. Machines never see them.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Display;
use std::path::Path;
use std::sync::Arc;

use crate::GlobalArgs;
use crate::files::read_text;

/// What the user calls things: `--names FILE`.
///
/// A line is an id (a UUID: of a tenant's store as `tenant/store`, of an agent, of a batch), spaces, and its name. Empty
/// lines, and lines that begin with `#`, say nothing.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<HashMap<String, String>>);

/// The largest file of names that is read: some hundred thousand of them.
const MAX_FILE: u64 = 32 << 20;

impl Names {
    /// Reads a file of names.
    ///
    /// # Errors
    /// What is wrong with the file, and in which line.
    pub fn read(path: &str) -> Result<Self, String> {
        let text = read_text(Path::new(path), MAX_FILE).map_err(|error| error.to_string())?;
        Self::parse(&text)
    }

    /// Reads names from text.
    ///
    /// # Errors
    /// What is wrong, and in which line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut names = HashMap::new();
        let mut taken: HashMap<&str, usize> = HashMap::new();
        for (index, line) in text.lines().enumerate() {
            let number = index + 1;
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let Some((id, name)) = line.split_once(char::is_whitespace) else {
                return Err(format!("line {number} has an id and no name"));
            };
            let (id, name) = (id.to_ascii_lowercase(), name.trim());
            if !id.split('/').all(is_uuid) || id.matches('/').count() > 1 {
                return Err(format!(
                    "line {number} does not begin with tenant/store or another UUID"
                ));
            }
            if let Some(before) = taken.insert(name, number) {
                return Err(format!("lines {before} and {number} have the same name"));
            }
            if names.insert(id, name.to_owned()).is_some() {
                return Err(format!("line {number} names again what has a name"));
            }
        }
        Ok(Self(Arc::new(names)))
    }

    fn get(&self, id: &str) -> Option<&str> {
        self.0.get(id).map(String::as_str)
    }
}

/// A UUID in text: 36 characters of it are hex digits and four hyphens.
fn is_uuid(text: &str) -> bool {
    text.len() == UUID
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
}

/// How many characters a UUID has in text.
const UUID: usize = 36;

/// The short names of one report's streams, or agents, or batches.
///
/// A name of the user's, or else the first digits of the id, eight at least and as many as tell all of them apart. Of a
/// stream these are its tenant's, and its store's too where a tenant has several.
#[derive(Clone, Debug, Default)]
pub struct Labels {
    names: Names,
    short: Arc<HashMap<String, String>>,
}

impl Labels {
    /// Labels for these ids, by the names that the user gave: for a report that is not printed on stdout.
    #[must_use]
    pub fn of_report<I>(global: &GlobalArgs, ids: I) -> Self
    where
        I: IntoIterator,
        I::Item: Display,
    {
        Self::new(&global.names.clone().unwrap_or_default(), false, ids)
    }

    /// Labels for these ids; `full` for whoever wants ids that have no name whole.
    pub(crate) fn new<I>(names: &Names, full: bool, ids: I) -> Self
    where
        I: IntoIterator,
        I::Item: Display,
    {
        let ids: BTreeSet<String> = ids.into_iter().map(|id| id.to_string()).collect();
        let mut short = HashMap::new();
        if !full {
            let heads: BTreeSet<&str> = ids.iter().map(|id| parts(id).0).collect();
            let tails: BTreeSet<&str> = ids.iter().filter_map(|id| parts(id).1).collect();
            let one_each = heads.len() == ids.len() && ids.len() > 1;
            let (of_head, of_tail) = (Cut::of(&heads), Cut::of(&tails));
            for id in &ids {
                let label = match parts(id) {
                    (head, Some(tail)) if !one_each => {
                        format!("{}/{}", of_head.label(head), of_tail.label(tail))
                    }
                    (head, _) => of_head.label(head),
                };
                short.insert(id.clone(), label);
            }
        }
        Self {
            names: names.clone(),
            short: Arc::new(short),
        }
    }

    /// The short name of an id; the id itself if it is none of those that the labels are for.
    #[must_use]
    pub fn of(&self, id: &impl Display) -> String {
        let id = id.to_string();
        self.get(&id).map(str::to_owned).unwrap_or(id)
    }

    fn get(&self, id: &str) -> Option<&str> {
        self.names
            .get(id)
            .or_else(|| self.short.get(id).map(String::as_str))
    }

    /// The whole id, after its label where that is not its beginning: what stands above that which is said of it.
    #[must_use]
    pub fn heading(&self, id: &impl Display) -> String {
        let id = id.to_string();
        match self.get(&id) {
            Some(label) if !is_beginning(label, &id) => format!("{label}: {id}"),
            _ => id,
        }
    }

    /// Text with the label in place of each id that has one, but for what stands between backticks: that is a command,
    /// which needs the whole id.
    #[must_use]
    pub fn shorten(&self, text: &str) -> String {
        if text.len() < UUID || (self.short.is_empty() && self.names.0.is_empty()) {
            return text.to_owned();
        }
        let between: Vec<String> = text
            .split('`')
            .enumerate()
            .map(|(index, part)| {
                if index % 2 == 0 {
                    self.shorten_prose(part)
                } else {
                    part.to_owned()
                }
            })
            .collect();
        between.join("`")
    }

    fn shorten_prose(&self, text: &str) -> String {
        let mut short = String::with_capacity(text.len());
        let mut rest = text;
        let mut last = None;
        while let Some(next) = rest.chars().next() {
            // Most places are no beginning of an id, as one look tells.
            let begins = rest.as_bytes().get(8) == Some(&b'-')
                && !last.is_some_and(|c: char| c.is_ascii_hexdigit() || c == '-' || c == '/');
            let found = begins
                .then(|| {
                    [2 * UUID + 1, UUID]
                        .into_iter()
                        .filter_map(|len| rest.get(..len))
                        .find_map(|id| self.get(id).map(|label| (id.len(), label)))
                })
                .flatten();
            if let Some((len, label)) = found {
                short.push_str(label);
                last = rest[..len].chars().next_back();
                rest = &rest[len..];
            } else {
                short.push(next);
                last = Some(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        short
    }
}

fn parts(id: &str) -> (&str, Option<&str>) {
    match id.split_once('/') {
        Some((head, tail)) => (head, Some(tail)),
        None => (id, None),
    }
}

/// Whether a label is the beginning of an id, or of both its parts.
fn is_beginning(label: &str, id: &str) -> bool {
    match (parts(label), parts(id)) {
        ((head, None), _) => id.starts_with(head),
        ((head, Some(tail)), (of, Some(and))) => of.starts_with(head) && and.starts_with(tail),
        ((_, Some(_)), (_, None)) => false,
    }
}

/// How many characters of ids are shown.
enum Cut {
    /// The first.
    First(usize),
    /// The last: ids that were made by counting differ there.
    Last(usize),
}

/// The least that is shown of an id.
const LEAST: usize = 8;

/// With more than so many of the first characters, the last are tried.
const MANY: usize = 13;

impl Cut {
    fn of(ids: &BTreeSet<&str>) -> Self {
        let first = needed(ids.iter().copied());
        if first <= MANY {
            return Cut::First(first);
        }
        let backward: BTreeSet<String> = ids.iter().map(|id| id.chars().rev().collect()).collect();
        match needed(backward.iter().map(String::as_str)) {
            last if last <= MANY => Cut::Last(last),
            _ => Cut::First(first),
        }
    }

    fn label(&self, id: &str) -> String {
        let len = id.chars().count();
        match *self {
            Cut::First(n) if n >= len => id.to_owned(),
            Cut::First(n) => {
                let label: String = id.chars().take(n).collect();
                label.trim_end_matches('-').to_owned()
            }
            Cut::Last(n) if n >= len => id.to_owned(),
            Cut::Last(n) => format!("..{}", id.chars().skip(len - n).collect::<String>()),
        }
    }
}

/// How many of the first characters tell sorted ids apart.
fn needed<'a>(sorted: impl Iterator<Item = &'a str>) -> usize {
    let mut needed = LEAST;
    let mut before: Option<&str> = None;
    for id in sorted {
        if let Some(before) = before {
            let common = before.chars().zip(id.chars()).take_while(|(a, b)| a == b);
            needed = needed.max(common.count() + 1);
        }
        before = Some(id);
    }
    needed
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0192aaaa-1111-7000-8000-000000000001";
    const B: &str = "0192aaaa-2222-7000-8000-000000000002";
    const C: &str = "77777777-2222-7000-8000-000000000003";

    fn labels(ids: &[String]) -> Vec<String> {
        let labels = Labels::new(&Names::default(), false, ids);
        ids.iter().map(|id| labels.of(id)).collect()
    }

    #[test]
    fn a_label_is_the_shortest_beginning_that_tells_apart() {
        assert_eq!(labels(&[C.into()]), ["77777777"]);
        assert_eq!(labels(&[A.into(), C.into()]), ["0192aaaa", "77777777"]);
        assert_eq!(labels(&[A.into(), B.into()]), ["0192aaaa-1", "0192aaaa-2"]);
    }

    #[test]
    fn a_stream_is_named_by_its_store_too_where_a_tenant_has_several() {
        let (one, two) = (format!("{A}/{C}"), format!("{C}/{B}"));
        assert_eq!(labels(std::slice::from_ref(&one)), ["0192aaaa/77777777"]);
        assert_eq!(labels(&[one.clone(), two]), ["0192aaaa", "77777777"]);
        let same = format!("{A}/{B}");
        assert_eq!(labels(&[one, same]), ["0192aaaa/77777777", "0192aaaa/0192aaaa"]);
    }

    #[test]
    fn ids_that_count_are_named_by_their_end() {
        let id = |n: u32| format!("00000000-0000-0000-0000-{n:012}");
        assert_eq!(labels(&[id(1), id(2)]), ["..00000001", "..00000002"]);
        let many: Vec<String> = (0..10_000).map(id).collect();
        let distinct: BTreeSet<String> = labels(&many).into_iter().collect();
        assert_eq!(distinct.len(), many.len());
    }

    #[test]
    fn names_come_before_labels_and_stand_above_with_the_whole_id() {
        let names = Names::parse(&format!(
            "# ours\n\n{A}/{B}  Tokyo store\n{}  robot\n",
            C.to_uppercase()
        ))
        .unwrap();
        let stream = format!("{A}/{B}");
        let labels = Labels::new(&names, false, [&stream]);
        assert_eq!(labels.of(&stream), "Tokyo store");
        assert_eq!(labels.of(&C), "robot");
        assert_eq!(labels.heading(&stream), format!("Tokyo store: {stream}"));
        assert_eq!(
            labels.shorten(&format!("agent {C} of {stream} ({stream}), `--stream {stream}`")),
            format!("agent robot of Tokyo store (Tokyo store), `--stream {stream}`")
        );
        let wide = Labels::new(&names, true, [&stream]);
        assert_eq!((wide.of(&stream), wide.of(&A)), ("Tokyo store".into(), A.into()));
    }

    #[test]
    fn a_heading_has_the_label_only_where_one_would_not_see_it() {
        let (one, two) = (format!("{A}/{C}"), format!("{A}/{B}"));
        let labels = Labels::new(&Names::default(), false, [&one, &two]);
        assert_eq!(labels.heading(&one), one);
        assert_eq!(labels.shorten(&format!("x{one}")), "x0192aaaa/77777777");
        assert_eq!(labels.shorten(&format!("a{A}")), format!("a{A}"));
        // Part of something longer is not the id.
        assert_eq!(labels.shorten(&format!("/{one}")), format!("/{one}"));
    }

    #[test]
    fn what_is_wrong_with_names_is_said_with_the_line() {
        for (text, wrong) in [
            (A.to_string(), "line 1 has an id and no name"),
            ("tokyo x".to_owned(), "line 1 does not begin with"),
            (format!("{A}/{B}/{C} x"), "line 1 does not begin with"),
            (format!("{A} x\n# y\n{B} x"), "lines 1 and 3 have the same name"),
            (format!("{A} x\n{A} y"), "line 2 names again"),
        ] {
            let error = Names::parse(&text).unwrap_err();
            assert!(error.contains(wrong), "{error}");
        }
    }
}
