//! The code that the model is of: every function that a step names is where the step says, and the code calls them in
//! the order in which the model takes its steps.

use std::fs;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The files of the model.
fn model() -> Vec<(PathBuf, String)> {
    let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src")).unwrap();
    let files = files.map(|file| file.unwrap().path());
    files
        .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
        .collect()
}

/// Where a function begins in a text.
fn function(text: &str, name: &str) -> Option<usize> {
    [format!("fn {name}("), format!("fn {name}<")]
        .iter()
        .filter_map(|start| text.find(start))
        .min()
}

/// The text of a function, up to the brace that closes it where it began.
fn body<'a>(text: &'a str, name: &str) -> &'a str {
    let at = function(text, name).unwrap_or_else(|| panic!("no function {name}"));
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let indent: String = text[line..at].chars().take_while(|c| *c == ' ').collect();
    let rest = &text[at..];
    let end = rest.find(&format!("\n{indent}}}\n")).unwrap_or(rest.len());
    &rest[..end]
}

#[test]
fn every_function_that_a_step_names_is_there() {
    let mut named = 0;
    for (file, text) in model() {
        for line in text.lines() {
            let Some(code) = line.trim().strip_prefix("/// Code: ") else {
                continue;
            };
            let mut words = code.split('`').skip(1).step_by(2);
            let path = words.next().unwrap();
            let source = read(path);
            let mut functions = words.peekable();
            assert!(functions.peek().is_some(), "{}: {line}", file.display());
            for name in functions {
                let there = function(&source, name).is_some();
                assert!(
                    there,
                    "{} names {name} of {path}, which is not there",
                    file.display()
                );
                named += 1;
            }
        }
    }
    assert!(named > 60, "{named}");
}

#[test]
fn every_step_names_its_code() {
    let mut steps = 0;
    for (file, text) in model() {
        for part in text.split("pub enum ").skip(1) {
            let (name, rest) = part.split_once(' ').unwrap();
            // The older log's writer has no double.
            if !name.ends_with("Step") || name == "OlderStep" {
                continue;
            }
            let mut has_code = false;
            for line in rest.lines().skip(1).take_while(|line| *line != "}") {
                let line = line.trim();
                has_code |= line.starts_with("/// Code: ");
                if !line.starts_with("///") && !line.is_empty() {
                    assert!(has_code, "{}: {name}::{line} names no code", file.display());
                    has_code = false;
                    steps += 1;
                }
            }
        }
    }
    assert_eq!(steps, 7 + 3 + 4 + 11 + 8);
}

/// What is called in a function, in this order.
struct Order {
    path: &'static str,
    function: &'static str,
    calls: &'static [&'static str],
}

const ORDERS: &[Order] = &[
    Order {
        path: "sequencer-recovery/src/apply/mod.rs",
        function: "attempt",
        calls: &["self.prepare(", "self.write("],
    },
    Order {
        path: "sequencer-recovery/src/apply/prepare.rs",
        function: "prepare",
        calls: &[
            "counter(&mut repair)",
            "self.read(",
            "found.fingerprint != header.fingerprint",
            "not_yet_applied(",
        ],
    },
    Order {
        path: "sequencer-recovery/src/apply/write.rs",
        function: "write",
        calls: &[
            ".write_ahead(",
            "self.lock(",
            "self.keep_commands(",
            "self.check_unchanged(",
            "self.write_rows(",
            "self.raise_versions(",
            "let_others_pass()",
            ".afterwards(",
            "let_others_pass()",
            "self.lock(",
            "self.finish(",
        ],
    },
    Order {
        path: "sequencer-recovery/src/apply/write.rs",
        function: "lock",
        calls: &[".lock(&[]", "counter != found.counter", ".commitments(&stream)"],
    },
    Order {
        path: "sequencer-recovery/src/apply/write.rs",
        function: "finish",
        calls: &["self.check_count(", ".set_counter(", "self.commit("],
    },
    Order {
        path: "event-log/src/repair.rs",
        function: "write_ahead",
        calls: &[
            "self.reserve(",
            "lock_timeout.min(self.slice)",
            "self.ahead = true",
        ],
    },
    Order {
        path: "event-log/src/repair.rs",
        function: "lock",
        calls: &[
            "if self.ahead { self.slice }",
            "self.reserve(",
            "self.lock_stream(",
        ],
    },
    Order {
        path: "event-log/src/repair.rs",
        function: "reserve",
        calls: &[
            "lock_timeout.min(self.slice)",
            "\"reserve_savepoint\"",
            "reserve_lines(",
            "\"reserve_rollback\"",
        ],
    },
    Order {
        path: "event-log/src/repair.rs",
        function: "lock_stream",
        calls: &[
            "\"advisory_lock\"",
            "\"create_counter\"",
            "\"lock_counter\"",
            "\"older_lock_counter\"",
        ],
    },
    Order {
        path: "event-log/src/repair.rs",
        function: "commit",
        calls: &["self.check_counter()", ".commit("],
    },
    Order {
        path: "sequencer-recovery/src/apply/counters.rs",
        function: "raise_one",
        calls: &[
            "log.repair(",
            "counter < floor",
            ".set_counter(floor)",
            ".commit()",
        ],
    },
    Order {
        path: "sequencer-recovery/src/apply/undo/mod.rs",
        function: "undo_all",
        calls: &[
            "Signs::sessions(",
            ".lock(",
            "undoing.look(",
            "undoing.take_back(",
            "undoing.commit(",
        ],
    },
    Order {
        path: "sequencer-recovery/src/apply/undo/mod.rs",
        function: "commit",
        calls: &["Signs::sessions(", "commit_as_it_was()"],
    },
    Order {
        path: "chaos/src/double/ingest.rs",
        function: "ingest",
        calls: &[
            "without_replays(",
            "reserve_commands(",
            "lock_counter()",
            "number(",
            ".commit()",
        ],
    },
    Order {
        path: "chaos/src/double/ingest.rs",
        function: "number",
        calls: &["version_conflict(", "insert(", "receipt(", "bump_version("],
    },
    Order {
        path: "chaos/src/double/commit.rs",
        function: "commit",
        calls: &[
            "pg_advisory_xact_lock",
            "FROM ves_commitments",
            "FROM ves_events",
            "INSERT INTO ves_commitments",
            ".commit()",
        ],
    },
];

#[test]
fn the_code_calls_them_in_the_order_of_the_model() {
    for Order {
        path,
        function,
        calls,
    } in ORDERS
    {
        let text = read(path);
        let mut rest = body(&text, function);
        for call in *calls {
            let at = rest.find(call);
            let at = at.unwrap_or_else(|| panic!("{path}, {function}: no {call} after the calls before it"));
            rest = &rest[at + call.len()..];
        }
    }
}
