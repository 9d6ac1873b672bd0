//! A writer beside what is tested, in a process of its own.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rusqlite::Connection;

/// A writer in a process of its own: this test binary, told by its environment what to do.
pub struct Writer(pub Child);

impl Writer {
    pub fn start(path: &Path, what: &str) -> Self {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "common::writer::run", "--ignored", "--nocapture"])
            .env("OUTBOX_TEST_PATH", path)
            .env("OUTBOX_TEST_WRITER", what)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(
            lines.any(|line| line.unwrap().contains("ready")),
            "the writer did not come up"
        );
        child.stdout = None;
        std::thread::spawn(move || lines.for_each(drop));
        Self(child)
    }

    /// Lets it end by itself.
    pub fn stop(mut self) {
        drop(self.0.stdin.take());
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What the other process does.
#[test]
#[ignore = "run by other tests as the writer"]
fn run() {
    let Ok(path) = std::env::var("OUTBOX_TEST_PATH") else {
        return;
    };
    let what = std::env::var("OUTBOX_TEST_WRITER").unwrap();
    let connection = Connection::open(path).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    let say_ready = || {
        println!("ready");
        std::io::stdout().flush().unwrap();
    };
    let wait_for_end = || {
        let _ = std::io::stdin().read(&mut [0]);
    };
    match what.as_str() {
        // Two rows in each transaction, so that a consistent view has an even number.
        "wal" | "delete" => {
            connection.pragma_update(None, "journal_mode", &what).unwrap();
            connection.pragma_update(None, "synchronous", "off").unwrap();
            connection.pragma_update(None, "wal_autocheckpoint", 100).unwrap();
            let ended = std::thread::spawn(|| {
                let _ = std::io::stdin().read(&mut [0]);
            });
            super::add_rows(&connection, 2);
            say_ready();
            while !ended.is_finished() {
                connection.execute_batch("BEGIN IMMEDIATE").unwrap();
                super::add_rows(&connection, 2);
                connection.execute_batch("COMMIT").unwrap();
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        "exclusive" => {
            connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
            super::add_rows(&connection, 2);
            say_ready();
            wait_for_end();
        }
        // Killed in the middle of a transaction that has already written to the file: a hot journal is left.
        "killed" => {
            connection.pragma_update(None, "cache_size", 1).unwrap();
            connection
                .execute_batch("BEGIN; UPDATE _ves_outbox SET entity_id = printf('%2000d', local_seq)")
                .unwrap();
            connection.cache_flush().unwrap();
            say_ready();
            std::process::abort();
        }
        other => panic!("{other}"),
    }
}
