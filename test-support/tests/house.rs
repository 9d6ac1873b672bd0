//! The shape of the house: which files of a crate use each other in a circle. Read from the `use` lines and the paths in
//! the code; tests, and what a folder's `mod.rs` and its files have to do with each other, do not count.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The largest circle that each crate may have. Two files that know each other are still one idea.
const ALLOWED: &[(&str, usize)] = &[
    ("anchor-verify", 2),
    ("benches", 2),
    ("chaos", 2),
    ("checkpoints", 2),
    ("cli-common", 2),
    ("event-log", 2),
    ("fixtures", 2),
    ("fuzz-targets", 2),
    ("grpc-client", 2),
    ("html-report", 2),
    ("http-client", 2),
    ("model", 2),
    ("outbox-sync", 2),
    ("scratch-postgres", 2),
    ("sequencer-recovery", 2),
    ("simulation", 2),
    ("test-support", 2),
    ("ves", 2),
    ("ves-kernels", 2),
];

/// The rooms of sequencer-recovery, in the order in which a repair walks through them. A room uses those before it, never
/// one behind it; the files beside the rooms, which all of them use, know of none.
const ROOMS: [&str; 6] = ["witness", "stream", "place", "plan", "apply", "report"];

/// What stands above the rooms and may use all of them.
const ABOVE_ROOMS: [&str; 8] = [
    "commands",
    "drill",
    "checklist",
    "backup_check",
    "incident",
    "checkpoint",
    "guard",
    "watch",
];

/// Lines of a function, its signature included: none has more than `LONGEST`, and no more than `FEW` functions have more
/// than `LONG`.
const LONGEST: usize = 100;
const LONG: usize = 70;
const FEW: usize = 50;

/// A module's name as it stands behind `crate::`; the root's is empty.
type Name = String;

/// The modules of a crate, with what each of them has to say.
fn modules(folder: &Path, name: &[String], found: &mut BTreeMap<Name, String>) {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    entries.sort();
    for path in entries {
        let stem = path.file_stem().unwrap().to_str().unwrap().to_owned();
        let mut inner = name.to_vec();
        if path.is_dir() {
            inner.push(stem);
            modules(&path, &inner, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") && stem != "main" {
            if stem != "lib" && stem != "mod" {
                inner.push(stem);
            }
            found.insert(inner.join("::"), code(&fs::read_to_string(&path).unwrap()));
        }
    }
}

/// The text without its comments and unit tests.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap();
    let lines = text
        .lines()
        .map(|line| line.split_once("//").map_or(line, |(code, _)| code));
    lines.collect::<Vec<_>>().join("\n")
}

/// The paths that a text names from `start` (`crate::` or `super::`) on, those in braces one by one.
fn paths(text: &str, start: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices(start) {
        let before = text[..at].chars().next_back();
        if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
            continue;
        }
        tree(&text[at..], "", &mut found);
    }
    found
}

/// Reads one path, or a tree of them; says how long it is.
fn tree(text: &str, prefix: &str, found: &mut Vec<String>) -> usize {
    let simple = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    let end = text.find(|c| !simple(c)).unwrap_or(text.len());
    let path = format!("{prefix}{}", &text[..end]);
    if !(path.ends_with("::") && text[end..].starts_with('{')) {
        found.push(path);
        return end;
    }
    let mut at = end + 1;
    loop {
        at += text[at..]
            .find(|c: char| !c.is_whitespace() && c != ',')
            .unwrap_or(text.len() - at);
        if at >= text.len() || text[at..].starts_with('}') {
            return (at + 1).min(text.len());
        }
        let read = tree(&text[at..], &path, found);
        // `as name` ends at the comma too.
        at += read.max(1);
        if let Some(rest) = text[at..].strip_prefix(" as ") {
            at += 4 + rest.find(|c: char| !simple(c)).unwrap_or(rest.len());
        }
    }
}

/// Which module uses which.
fn uses(modules: &BTreeMap<Name, String>) -> BTreeMap<Name, BTreeSet<Name>> {
    let longest = |path: &[&str]| {
        let known = (1..=path.len()).rev().map(|length| path[..length].join("::"));
        known.into_iter().find(|name| modules.contains_key(name))
    };
    // What the root gives out under its own name.
    let mut given_out: BTreeMap<String, Name> = BTreeMap::new();
    for line in modules
        .get("")
        .map_or("", String::as_str)
        .split("pub use ")
        .skip(1)
    {
        let mut found = Vec::new();
        tree(line, "", &mut found);
        for path in found {
            let parts: Vec<&str> = path.split("::").collect();
            if let (Some(last), Some(module)) = (parts.last(), longest(&parts)) {
                given_out.insert((*last).to_owned(), module);
            }
        }
    }
    let mut uses = BTreeMap::new();
    for (name, text) in modules.iter().filter(|(name, _)| !name.is_empty()) {
        let mut of_it = BTreeSet::new();
        let own: Vec<&str> = name.split("::").collect();
        let from_root = paths(text, "crate::")
            .into_iter()
            .map(|path| path["crate::".len()..].to_owned());
        let from_parent = paths(text, "super::").into_iter().map(|path| {
            let ups = path.matches("super::").count();
            let above = &own[..own.len().saturating_sub(ups)];
            let rest = path.trim_start_matches("super::");
            above.iter().copied().chain([rest]).collect::<Vec<_>>().join("::")
        });
        for path in from_root.chain(from_parent) {
            let parts: Vec<&str> = path.split("::").filter(|part| !part.is_empty()).collect();
            let module = longest(&parts).or_else(|| given_out.get(*parts.first()?).cloned());
            let Some(module) = module else { continue };
            let family = |a: &str, b: &str| format!("{a}::").starts_with(&format!("{b}::"));
            if !family(name, &module) && !family(&module, name) {
                of_it.insert(module);
            }
        }
        uses.insert(name.clone(), of_it);
    }
    uses
}

/// All that can be reached.
fn reach(uses: &BTreeMap<Name, BTreeSet<Name>>, from: &str) -> BTreeSet<Name> {
    let (mut seen, mut next) = (BTreeSet::new(), vec![from.to_owned()]);
    while let Some(name) = next.pop() {
        for used in uses.get(&name).into_iter().flatten() {
            if seen.insert(used.clone()) {
                next.push(used.clone());
            }
        }
    }
    seen
}

/// The circles of a crate, the largest first.
fn circles(uses: &BTreeMap<Name, BTreeSet<Name>>) -> Vec<BTreeSet<Name>> {
    let reached: BTreeMap<&Name, BTreeSet<Name>> =
        uses.keys().map(|name| (name, reach(uses, name))).collect();
    let circle_of = |name: &Name| -> BTreeSet<Name> {
        let there = reached[name]
            .iter()
            .filter(|other| reached.get(other).is_some_and(|back| back.contains(name)));
        there.cloned().collect()
    };
    let circles: BTreeSet<BTreeSet<Name>> = uses
        .keys()
        .map(circle_of)
        .filter(|circle| circle.len() > 1)
        .collect();
    let mut circles: Vec<_> = circles.into_iter().collect();
    circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
    circles
}

#[test]
fn no_circle_of_files_grows() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    for (name, allowed) in ALLOWED {
        let mut found = BTreeMap::new();
        modules(&root.join(name).join("src"), &[], &mut found);
        assert!(!found.is_empty(), "{name} has no files");
        let circles = circles(&uses(&found));
        let largest = circles.first().map_or(1, BTreeSet::len);
        println!("{name}: {} files, circles {circles:?}", found.len());
        assert!(
            largest <= *allowed,
            "{name}: these files use each other in a circle: {:?}. What two of them share belongs into a file of its own",
            circles.first()
        );
    }
    // A crate that is not named here would not be looked at.
    let text = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let members = text
        .split("members = [")
        .nth(1)
        .and_then(|rest| rest.split(']').next())
        .unwrap();
    for member in members.split('"').skip(1).step_by(2) {
        assert!(
            ALLOWED.iter().any(|(name, _)| *name == member),
            "{member} is not looked at"
        );
    }
}

/// The arrows that run against the order of the rooms.
fn against_the_order(uses: &BTreeMap<Name, BTreeSet<Name>>) -> Vec<String> {
    let floor = |name: &str| {
        let room = name.split("::").next().unwrap_or_default();
        match ROOMS.iter().position(|r| *r == room) {
            Some(at) => at + 1,
            None if ABOVE_ROOMS.contains(&room) => ROOMS.len() + 1,
            None => 0,
        }
    };
    let arrows = uses
        .iter()
        .flat_map(|(name, of_it)| of_it.iter().map(move |used| (name, used)));
    arrows
        .filter(|(name, used)| floor(used) > floor(name))
        .map(|(name, used)| format!("{name} -> {used}"))
        .collect()
}

#[test]
fn the_arrows_between_rooms_run_one_way() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = BTreeMap::new();
    modules(&root.join("sequencer-recovery/src"), &[], &mut found);
    for room in ROOMS {
        assert!(found.contains_key(room), "there is no room {room}");
    }
    assert_eq!(against_the_order(&uses(&found)), Vec::<String>::new());
    let back = [
        ("witness", ""),
        ("witness::a", "use crate::plan::b;"),
        ("plan", ""),
        ("plan::b", "use crate::witness::a; use crate::gap;"),
        ("gap", "use crate::witness;"),
        ("drill", "use crate::plan;"),
    ];
    let back = back.map(|(name, text)| (name.to_owned(), code(text)));
    assert_eq!(
        against_the_order(&uses(&back.into())),
        ["gap -> witness", "witness::a -> plan::b"]
    );
}

/// The Rust files below a folder.
fn rust_files(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn unsafe_code_stands_in_the_kernels_alone() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let forbidden = "#![forbid(unsafe_code)]";
    for (name, _) in ALLOWED.iter().filter(|(name, _)| *name != "ves-kernels") {
        for program in ["src/lib.rs", "src/main.rs"].map(|file| root.join(name).join(file)) {
            let text = fs::read_to_string(&program).unwrap_or_else(|_| forbidden.to_owned());
            assert!(
                text.contains(forbidden),
                "{} does not forbid it",
                program.display()
            );
        }
    }
    // Tests, benches and examples are programs of their own, which the workspace's lint denies it until they allow it.
    let mut files = Vec::new();
    for (name, _) in ALLOWED {
        for folder in ["src", "tests", "benches", "examples"] {
            rust_files(&root.join(name).join(folder), &mut files);
        }
    }
    let allowing: Vec<PathBuf> = files
        .into_iter()
        .filter(|path| code(&fs::read_to_string(path).unwrap()).contains("allow(unsafe_code"))
        .map(|path| path.strip_prefix(root).unwrap().to_owned())
        // This file names it.
        .filter(|path| !path.ends_with("test-support/tests/house.rs"))
        .collect();
    assert_eq!(allowing, [Path::new("ves-kernels/src/kernel/mod.rs")]);
    // And no crate goes by other lints than the workspace's.
    for (name, _) in ALLOWED {
        let manifest = fs::read_to_string(root.join(name).join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[lints]\nworkspace = true\n"), "{name}");
    }
}

#[test]
fn a_circle_is_seen_however_it_is_written() {
    let of = |files: &[(&str, &str)]| {
        let files = files.iter().map(|(name, text)| ((*name).to_owned(), code(text)));
        circles(&uses(&files.collect()))
    };
    let two = of(&[
        ("a", "use crate::b::X;"),
        ("b", "fn f() { crate::a::g() }"),
        ("c", "use crate::a;"),
    ]);
    assert_eq!(two, [BTreeSet::from(["a".to_owned(), "b".to_owned()])]);
    let braces = of(&[
        ("", "pub use b::Y;"),
        ("a", "use crate::{c::{self as d, Z}, Y};"),
        ("b", "use super::c;"),
        ("c", "use super::{a};"),
    ]);
    assert_eq!(braces[0].len(), 3, "{braces:?}");
    // Neither comments, tests, nor a folder and its files.
    let none = of(&[
        ("a", "// use crate::b;\n#[cfg(test)]\nmod tests { use crate::b; }"),
        ("b", "use crate::a;"),
        ("d", "use crate::d::e::X;"),
        ("d::e", "use super::Y;"),
    ]);
    assert!(none.is_empty(), "{none:?}");
}

/// The functions of a file with their lines, read from the indentation that the formatter gives.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let inner = line.trim_start();
        let words = ["pub", "pub(crate)", "pub(super)", "const", "async", "unsafe"];
        let mut rest = inner.split(' ').skip_while(|word| words.contains(word));
        let (Some("fn"), Some(name)) = (rest.next(), rest.next()) else {
            continue;
        };
        if line.ends_with('}') {
            // All in one line.
            continue;
        }
        let end = format!("{}}}", &line[..line.len() - inner.len()]);
        if let Some(length) = lines[start..].iter().position(|line| **line == end) {
            let name: String = name
                .chars()
                .take_while(|c| c.is_alphanumeric() || *c == '_')
                .collect();
            found.push((name, length + 1));
        }
    }
    found
}

#[test]
fn functions_stay_short() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut files = Vec::new();
    for (name, _) in ALLOWED {
        rust_files(&root.join(name).join("src"), &mut files);
    }
    let mut long = Vec::new();
    for file in &files {
        for (name, lines) in functions(&fs::read_to_string(file).unwrap()) {
            let path = file.strip_prefix(root).unwrap().display();
            if lines > LONG {
                long.push((lines, format!("{path}: {name} has {lines} lines")));
            }
        }
    }
    long.sort();
    let longest: Vec<&String> = (long.iter().filter(|(lines, _)| *lines > LONGEST))
        .map(|(_, what)| what)
        .collect();
    assert_eq!(
        longest,
        Vec::<&String>::new(),
        "no function has more than {LONGEST} lines"
    );
    assert!(
        long.len() <= FEW,
        "{} functions have more than {LONG} lines, and {FEW} are allowed: {long:#?}",
        long.len()
    );
    let of = "impl X {\n    pub async fn a(\n        b: C,\n    ) {\n        d()\n    }\n}\nfn e() {}\nfn f() {\n}\n";
    assert_eq!(functions(of), [("a".to_owned(), 5), ("f".to_owned(), 2)]);
}
