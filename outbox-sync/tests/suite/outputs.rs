//! What the program writes, where: nobody's file is replaced unasked, and nothing half stays behind.

use crate::common;

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, symlink};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::agents::{command_bare, events, outbox, registry};
use common::sequencer::Sequencer;
use serde_json::Value;

fn run(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    common::run(folder, arguments)
}

fn mkfifo(path: &Path) {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
}

#[test]
fn no_output_takes_the_place_of_anything_unasked_or_of_what_is_no_file_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    outbox(&at("a.db"), &events(1, 3));
    let whole = fs::read(at("a.db")).unwrap();
    mkfifo(&at("pipe"));
    fs::create_dir(at("folder")).unwrap();
    fs::write(at("file"), "mine").unwrap();
    symlink("file", at("link")).unwrap();
    symlink("nowhere", at("dangling")).unwrap();
    let before = fs::read_dir(dir.path()).unwrap().count();
    for command in ["export", "backup"] {
        let (code, _, err) = run(dir.path(), &[command, "a.db", "--out", "file"]);
        assert!(
            code == 8 && err.contains("exists already") && err.contains("--force"),
            "{err}"
        );
        for (out, kind) in [
            ("pipe", "a pipe"),
            ("folder", "a folder"),
            ("link", "a link"),
            ("dangling", "a link"),
            ("/dev/full", "a device"),
            ("/dev/null", "a device"),
        ] {
            for force in [&[][..], &["--force"]] {
                let line = [&[command, "a.db", "--out", out], force].concat();
                let (code, _, err) = run(dir.path(), &line);
                assert!(code == 8 && err.contains(kind), "{line:?}: {code} {err}");
            }
        }
        // The outbox itself is never an output.
        let (code, _, _) = run(dir.path(), &[command, "a.db", "--out", "a.db", "--force"]);
        assert!(code & 24 != 0, "{command} {code}");
    }
    assert!(at("pipe").metadata().unwrap().file_type().is_fifo());
    assert!(
        Path::new("/dev/full")
            .metadata()
            .unwrap()
            .file_type()
            .is_char_device()
    );
    assert!(at("link").is_symlink() && at("dangling").is_symlink() && !at("nowhere").exists());
    assert_eq!(fs::read(at("file")).unwrap(), b"mine");
    assert_eq!(fs::read(at("a.db")).unwrap(), whole);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), before);

    assert_eq!(
        run(dir.path(), &["export", "a.db", "--out", "file", "--force"]).0,
        0
    );
    assert!(fs::read_to_string(at("file")).unwrap().contains("event-export/1"));
    assert!(at("file.manifest.json").exists());
    // The manifest is an output too.
    fs::remove_file(at("file")).unwrap();
    let (code, _, err) = run(dir.path(), &["export", "a.db", "--out", "file"]);
    assert!(code == 8 && err.contains("file.manifest.json"), "{err}");
    assert_eq!(run(dir.path(), &["backup", "a.db", "--out", "b.bak"]).0, 0);
    assert_eq!(
        run(dir.path(), &["backup", "a.db", "--out", "b.bak", "--force"]).0,
        0
    );
}

#[test]
fn receipts_are_not_added_to_a_file_that_holds_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 2));
    let exported = run(dir.path(), &["export", "a.db", "--out", "e.ndjson"]);
    assert_eq!(exported.0, 0, "{}", exported.2);
    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    for name in ["a.db", "e.ndjson", "notes.txt"] {
        let before = fs::read(dir.path().join(name)).unwrap();
        let url = sequencer.url.as_str();
        let line = ["push", "a.db", "--url", url, "--receipts", name];
        let output = command_bare(dir.path()).args(line).output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.code() == Some(8) && err.contains("no receipts"),
            "{name}: {err}"
        );
        assert_eq!(fs::read(dir.path().join(name)).unwrap(), before);
    }
    assert_eq!(common::agents::log(&sequencer).len(), 0, "nothing was sent");
}

/// Waits until something of this name is in a folder.
fn wait_for(child: &mut Child, folder: &Path, name: &str) {
    let begun = Instant::now();
    while !fs::read_dir(folder)
        .unwrap()
        .any(|entry| entry.unwrap().file_name().to_string_lossy().contains(name))
    {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended before there was {name}"
        );
        assert!(begun.elapsed() < Duration::from_secs(60), "{name} never came");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn signal(child: &Child, name: &str) {
    let id = child.id().to_string();
    let sent = Command::new("kill").args([&format!("-{name}"), &id]).status();
    assert!(sent.unwrap().success());
}

fn spawn(folder: &Path, temporary: &Path, arguments: &[&str]) -> Child {
    command_bare(folder)
        .env("TMPDIR", temporary)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// An export that waits for a pipe has its output half written and a copy of the pipe in the temporary folder.
#[test]
fn signals_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let (work, temporary) = (dir.path().join("work"), dir.path().join("tmp"));
    fs::create_dir(&work).unwrap();
    fs::create_dir(&temporary).unwrap();
    outbox(&work.join("a.db"), &events(1, 20));
    mkfifo(&work.join("pipe"));
    let count = |folder: &Path| fs::read_dir(folder).unwrap().count();
    for name in ["INT", "TERM"] {
        let mut child = spawn(
            &work,
            &temporary,
            &["export", "a.db", "pipe", "--out", "out.ndjson"],
        );
        let writer = fs::File::options().write(true).open(work.join("pipe")).unwrap();
        wait_for(&mut child, &work, ".ves-partial-");
        wait_for(&mut child, &temporary, "");
        signal(&child, name);
        // The pipe is still being read: the first signal waits for that, the second does not.
        signal(&child, name);
        let begun = Instant::now();
        let status = loop {
            match child.try_wait().unwrap() {
                Some(status) => break status,
                None if begun.elapsed() > Duration::from_secs(5) => signal(&child, name),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        assert_eq!(status.code(), Some(32));
        assert_eq!((count(&work), count(&temporary)), (2, 0), "{name}");
        drop(writer);
    }

    // One signal is enough when the pipe ends.
    let mut child = spawn(
        &work,
        &temporary,
        &["export", "a.db", "pipe", "--out", "out.ndjson"],
    );
    let writer = fs::File::options().write(true).open(work.join("pipe")).unwrap();
    wait_for(&mut child, &work, ".ves-partial-");
    signal(&child, "INT");
    drop(writer);
    assert_eq!(child.wait().unwrap().code(), Some(32));
    assert_eq!((count(&work), count(&temporary)), (2, 0));
}

/// A private copy, while it waits for a writer that excludes readers.
#[test]
fn signals_remove_private_copies() {
    let dir = tempfile::tempdir().unwrap();
    let (work, temporary) = (dir.path().join("work"), dir.path().join("tmp"));
    fs::create_dir(&work).unwrap();
    fs::create_dir(&temporary).unwrap();
    outbox(&work.join("a.db"), &events(1, 20));
    let writer = rusqlite::Connection::open(work.join("a.db")).unwrap();
    writer
        .execute_batch("PRAGMA journal_mode = delete; BEGIN EXCLUSIVE")
        .unwrap();
    let mut child = spawn(&work, &temporary, &["backup", "a.db", "--out", "a.bak"]);
    wait_for(&mut child, &temporary, "ves-private-");
    signal(&child, "INT");
    signal(&child, "INT");
    let code = child.wait().unwrap().code();
    assert_eq!(code, Some(32));
    assert_eq!(fs::read_dir(&temporary).unwrap().count(), 0);
    assert!(!fs::read_dir(&work).unwrap().any(|entry| {
        let name = entry.unwrap().file_name();
        name.to_string_lossy().contains("partial") || name == "a.bak"
    }));
}

#[test]
fn a_selection_that_selects_nothing_is_a_problem() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    outbox(&at("a.db"), &events(1, 3));
    let nobody = "00000000-0000-4000-8000-000000000001";
    for (number, selection) in [
        ["--tenant", nobody],
        ["--store", nobody],
        ["--state", "rejected"],
        ["--since", "2200-01-01T00:00:00Z"],
        ["--entity-id", "nobody's"],
    ]
    .into_iter()
    .enumerate()
    {
        let out = format!("{number}.ndjson");
        let line = [&["export", "a.db", "--out", &out][..], &selection].concat();
        let (code, text, err) = run(dir.path(), &line);
        assert!(code == 4 && err.contains(selection[0]), "{line:?}: {code} {err}");
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("no event in these files is as asked for"), "{text}");
    }
    // An export of nothing is no log, and no input.
    let (code, _, err) = run(dir.path(), &["verify", "0.ndjson"]);
    assert!(code == 4 && err.contains("holds no event"), "{err}");
    for line in [
        &[
            "export",
            "a.db",
            "--missing-from",
            "0.ndjson",
            "--out",
            "m.ndjson",
        ][..],
        &["census", "a.db", "--db", "0.ndjson"],
    ] {
        let (code, out, err) = run(dir.path(), line);
        assert!(
            code & 4 == 4 && err.contains("no stream and no event"),
            "{line:?}: {code} {out}{err}"
        );
    }
    // Nor is a file without keys or receipts.
    fs::write(at("keys.json"), "[]").unwrap();
    fs::write(at("none"), "").unwrap();
    let (code, _, err) = run(dir.path(), &["verify", "a.db", "--keys", "keys.json"]);
    assert!(code == 8 && err.contains("holds no key"), "{err}");
    let (code, _, err) = run(dir.path(), &["reconcile", "a.db", "--receipts", "none"]);
    assert!(code != 0 && err.contains("holds no receipt"), "{err}");
    let sent = ["push", "a.db", "--url", "http://127.0.0.1:9", "--dry-run"];
    let (code, _, err) = run(dir.path(), &[&sent[..], &["--state", "rejected"]].concat());
    assert!(code == 4 && err.contains("--state"), "{err}");
    let (code, _, err) = run(
        dir.path(),
        &["push", "0.ndjson", "--url", "http://127.0.0.1:9", "--dry-run"],
    );
    assert!(code == 4 && err.contains("holds no event"), "{err}");
}

/// The command that a report ends with, and what it says of it.
fn next(out: &str) -> (String, Option<String>) {
    // A command that takes more than a line is broken as a shell takes it.
    let out = &out.replace(" \\\n      ", " ");
    let lines: Vec<&str> = out.lines().collect();
    let at = lines
        .iter()
        .rposition(|line| line.starts_with("NEXT: "))
        .unwrap_or_else(|| panic!("{out}"));
    let command = lines
        .get(at + 1)
        .map(|line| line.strip_prefix("  ").unwrap().to_owned());
    assert!(lines.len() <= at + 2, "the report goes on after it: {out}");
    (lines[at].to_owned(), command)
}

/// Does what each report says until no command is left.
#[test]
fn each_report_ends_with_a_command_that_runs_and_they_end() {
    let dir = tempfile::tempdir().unwrap();
    let odd = dir.path().join("an agent's outbox.db");
    let sequencer = Sequencer::start(registry());
    outbox(&odd, &events(1, 5));
    let shell = |line: &str| {
        let output = Command::new("sh")
            .args(["-c", line])
            .current_dir(dir.path())
            .env_remove("DATABASE_URL")
            .env("SEQUENCER_API_KEY", common::sequencer::API_KEY)
            .output()
            .unwrap();
        let out = String::from_utf8(output.stdout).unwrap();
        let err = String::from_utf8(output.stderr).unwrap();
        (output.status.code().unwrap(), out, err)
    };
    let first = [
        "push",
        "an agent's outbox.db",
        "--url",
        &sequencer.url,
        "--dry-run",
    ];
    let (code, out, err) = run(dir.path(), &first);
    assert_eq!(code, 0, "{err}");
    let mut walked = Vec::new();
    let mut command = next(&out).1;
    while let Some(line) = command {
        assert!(
            walked.len() < 5 && !walked.contains(&line),
            "a loop: {walked:?} {line}"
        );
        let (code, out, err) = shell(&line);
        assert!(code & !5 == 0, "{line}: {code} {out}{err}");
        command = next(&out).1;
        walked.push(line);
    }
    let ran = |word: &str| walked.iter().any(|line| line.contains(word));
    assert!(
        walked.len() == 3 && ran(" push ") && ran(" reconcile ") && ran(" --apply"),
        "{walked:?}"
    );
    let (code, out, _) = run(
        dir.path(),
        &[
            "reconcile",
            "an agent's outbox.db",
            "--receipts",
            "receipts.ndjson",
        ],
    );
    assert!(code == 0 && next(&out).0.contains("no further command"), "{out}");

    // In JSON and NDJSON too.
    let (_, out, _) = run(
        dir.path(),
        &["--format", "json", "verify", "an agent's outbox.db"],
    );
    let document: Value = serde_json::from_str(&out).unwrap();
    assert!(
        document["next"]["why"].is_string() && document["next"]["command"].is_string(),
        "{document}"
    );
    let (_, out, _) = run(
        dir.path(),
        &["--format", "ndjson", "status", "an agent's outbox.db"],
    );
    let last: Value = serde_json::from_str(out.lines().next_back().unwrap()).unwrap();
    assert_eq!(last["type"], "next");
}

#[test]
fn what_does_not_verify_stands_before_the_figures() {
    let dir = tempfile::tempdir().unwrap();
    drop(common::create(&dir.path().join("a.db"), common::OUTBOX_V1, 3));
    let (code, out, _) = run(dir.path(), &["verify", "a.db"]);
    assert_eq!(code, 4, "{out}");
    // The verdict, then what fails, then the files.
    let at = |text: &str| out.find(text).unwrap_or_else(|| panic!("{text}: {out}"));
    assert!(at("3 FAIL") < at("row 1") && at("row 1") < at("FILE "), "{out}");
}
