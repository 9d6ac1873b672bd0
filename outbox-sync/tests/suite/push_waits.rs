//! Waiting is told, and can be interrupted.

use crate::common;

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use common::agents::{command, command_to, events, log, outbox, push, registry};
use common::sequencer::{Fault, Sequencer};
use serde_json::Value;

/// A server that takes connections and never says a word; what it was sent is kept open.
fn silent_server() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let kept: Vec<_> = listener.incoming().collect();
        drop(kept);
    });
    url
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Reads stderr until a line holds a text; gives all that was read.
fn until(lines: &mut impl Iterator<Item = std::io::Result<String>>, text: &str) -> String {
    let mut all = String::new();
    for line in lines {
        all.push_str(&line.unwrap());
        all.push('\n');
        if all.contains(text) {
            return all;
        }
    }
    panic!("{text} did not come: {all}");
}

fn spawn(mut command: Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_server_that_never_answers_is_told_and_left_at_the_first_signal() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 10));
    let mut child = spawn(command_to(
        &silent_server(),
        dir.path(),
        &sequencer,
        &["a.db", "--batch", "6"],
    ));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let first = until(&mut lines, "for the answer");
    let id = events(1, 1)[0].event_id.to_string();
    assert!(
        first.contains(&id) && first.contains("6 events of agent"),
        "which request: {first}"
    );
    until(&mut lines, "for the answer");
    signal(&child, "INT");
    let mut rest = String::new();
    lines.for_each(|line| rest.push_str(&(line.unwrap() + "\n")));
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(32), "{rest}");
    assert!(
        rest.contains("0 events handed over") && rest.contains("sent and not answered: 6 events"),
        "{rest}"
    );
    let report: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&report["unanswered_count"], &report["not_sent"]),
        (&6.into(), &1.into()),
        "{report}"
    );
    // The next run begins with them.
    let (code, report, _) = push(dir.path(), &sequencer, &["a.db"]);
    assert_eq!((code, &report["accepted"]), (0, &10.into()));
}

#[test]
fn a_pause_that_is_asked_for_is_told_and_can_be_interrupted() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 20));
    sequencer
        .state
        .lock()
        .unwrap()
        .faults
        .extend([Fault::None, Fault::Status(429, Some(300))]);
    let mut child = spawn(command(dir.path(), &sequencer, &["a.db", "--batch", "10"]));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let told = until(&mut lines, "a pause that the sequencer asks for");
    assert!(told.contains("HTTP 429"), "{told}");
    signal(&child, "TERM");
    let mut rest = String::new();
    lines.for_each(|line| rest.push_str(&(line.unwrap() + "\n")));
    assert_eq!(child.wait().unwrap().code(), Some(32));
    assert!(rest.contains("10 events handed over"), "{rest}");
    assert_eq!(log(&sequencer).len(), 10);
}

#[test]
fn a_second_signal_ends_at_once_and_says_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let sequencer = Sequencer::start(registry());
    outbox(&dir.path().join("a.db"), &events(1, 10));
    let mut child = spawn(command_to(&silent_server(), dir.path(), &sequencer, &["a.db"]));
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    until(&mut lines, "for the answer");
    signal(&child, "INT");
    std::thread::sleep(std::time::Duration::from_millis(100));
    signal(&child, "INT");
    let mut rest = String::new();
    lines.for_each(|line| rest.push_str(&(line.unwrap() + "\n")));
    assert_eq!(child.wait().unwrap().code(), Some(32), "{rest}");
    assert!(
        rest.contains("0 events handed over") && rest.contains("sent and not answered: 10 events"),
        "{rest}"
    );
}
