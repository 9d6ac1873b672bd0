//! What the journeys share: the programs, the real data, an S3 server.

mod readers;
mod s3;
mod witness;

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anchor_verify::Importer;
use serde_json::Value;
use tempfile::TempDir;

/// What a run of a program left behind.
#[derive(Debug)]
struct Ran {
    code: i32,
    stdout: String,
    stderr: String,
}

impl Ran {
    #[track_caller]
    fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("stdout is no JSON: {e}\n{}\n{}", self.stdout, self.stderr))
    }
}

/// A program with nothing of the caller's environment that it looks at.
fn program(path: &Path) -> Command {
    let mut command = Command::new(path);
    for name in [
        "DATABASE_URL",
        "SEQUENCER_INCIDENT",
        "EVENT_ARCHIVE",
        "RUST_LOG",
        "CLICOLOR_FORCE",
    ] {
        command.env_remove(name);
    }
    for (name, _) in std::env::vars_os() {
        let lower = name.to_string_lossy().to_ascii_lowercase();
        if ["aws_", "http_proxy", "https_proxy", "all_proxy"]
            .iter()
            .any(|start| lower.starts_with(start))
        {
            command.env_remove(name);
        }
    }
    command.env("NO_COLOR", "1");
    command
}

fn run(command: Command) -> Ran {
    let mut command = assert_cmd::Command::from_std(command);
    let output = command.timeout(Duration::from_secs(600)).output().unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// `event-archive`.
fn event_archive<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let mut command = program(Path::new(env!("CARGO_BIN_EXE_event-archive")));
    command.args(args);
    run(command)
}

/// The tools of the other workspace.
struct Tools(PathBuf);

impl Tools {
    /// Those beside `event-archive`, or in the folder that `VES_TOOLS` names; `None`, after saying so, where they were not built.
    fn found() -> Option<Self> {
        let folder = std::env::var_os("VES_TOOLS").map_or_else(beside, PathBuf::from);
        let names = ["sequencer-recovery", "outbox-sync"];
        let there = names.iter().all(|name| folder.join(name).is_file());
        if !there {
            test_support::skipped(
                "the tools are not built (run cargo build --workspace in the folder above archive/)",
            );
        }
        there.then_some(Self(folder))
    }

    fn command<S: AsRef<OsStr>>(&self, tool: &str, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = program(&self.0.join(tool));
        command.args(args);
        if self.0 != beside() {
            command.env("EVENT_ARCHIVE", env!("CARGO_BIN_EXE_event-archive"));
        }
        command
    }

    fn run<S: AsRef<OsStr>>(&self, tool: &str, args: impl IntoIterator<Item = S>) -> Ran {
        run(self.command(tool, args))
    }
}

/// The folder of `event-archive`.
fn beside() -> PathBuf {
    let program = Path::new(env!("CARGO_BIN_EXE_event-archive"));
    program.parent().unwrap().to_owned()
}

/// Python with what `scripts/setup-archive` installs; `None`, after saying so, where it was not run.
fn python() -> Option<PathBuf> {
    let folder = std::env::var_os("VES_ARCHIVE_TOOLS");
    let folder = folder.map_or_else(
        || test_support::workspace_root().join("target/archive-tools"),
        PathBuf::from,
    );
    let there = folder.join("installed").is_file();
    if !there {
        test_support::skipped("DuckDB, pyarrow and moto not found (run scripts/setup-archive)");
    }
    there.then(|| folder.join("bin/python"))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/python")
        .join(name)
}

fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// The real disaster of scenario 1, on a scratch server, with its anchors imported.
struct Scenario {
    dir: PathBuf,
    out: TempDir,
    server: test_support::ScratchPostgres,
}

impl Scenario {
    fn set() -> Option<Self> {
        if !test_support::postgres_available() {
            return None;
        }
        let dir = test_support::shared_data().join("data/scenario-1");
        let out = tempfile::tempdir().unwrap();
        let mut importer = Importer::new(Some(84_532_001), Vec::new());
        for file in [
            "logs_SetRegistry_BatchCommitted.json",
            "logs_StateSetAnchor_CommitmentAnchored.json",
        ] {
            importer.add_file(&dir.join("anchors").join(file)).unwrap();
        }
        importer
            .finish(&[])
            .file
            .write(&out.path().join("anchors.json"))
            .unwrap();
        let server = test_support::ScratchPostgres::start();
        Some(Self { dir, out, server })
    }

    /// A database with the truth, or with what the recovery left.
    fn load(&self, name: &str) -> String {
        let url = self.server.create_database(name);
        test_support::load_schema(&url);
        test_support::load_copy_file(&url, &self.dir.join(format!("{name}.copy.sql")));
        url
    }

    fn path(&self, name: &str) -> String {
        text(&self.out.path().join(name))
    }
}

/// A bucket on an S3 server of a test's own.
struct S3 {
    server: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    port: u16,
}

impl S3 {
    fn start(python: &Path) -> Self {
        let mut server = program(python)
            .arg(script("s3_server.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut s3 = Self {
            stdin: server.stdin.take(),
            stdout: BufReader::new(server.stdout.take().unwrap()),
            server,
            port: 0,
        };
        s3.port = s3.line().parse().expect("the server says its port");
        s3
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert!(!line.is_empty(), "the S3 server is gone");
        line.trim_end().to_owned()
    }

    /// Has the server do something; what it answers.
    fn ask(&mut self, command: &str) -> String {
        writeln!(self.stdin.as_mut().unwrap(), "{command}").unwrap();
        self.line()
    }

    /// The keys that begin and end so.
    fn keys(&mut self, begin: &str, end: &str) -> Vec<String> {
        let keys: Vec<String> = serde_json::from_str(&self.ask("keys")).unwrap();
        keys.into_iter()
            .filter(|key| key.starts_with(begin) && key.ends_with(end))
            .collect()
    }

    /// Lets a program find the server.
    fn known_to(&self, command: &mut Command) {
        command.envs([
            (
                "AWS_ENDPOINT_URL",
                format!("http://127.0.0.1:{}", self.port).as_str(),
            ),
            ("AWS_ALLOW_HTTP", "true"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
            ("AWS_REGION", "us-east-1"),
        ]);
    }

    fn event_archive(&self, args: &[&str]) -> Ran {
        let mut command = program(Path::new(env!("CARGO_BIN_EXE_event-archive")));
        command.args(args);
        self.known_to(&mut command);
        run(command)
    }
}

impl Drop for S3 {
    fn drop(&mut self) {
        // It ends with its stdin, too, if this process ends before that.
        self.stdin = None;
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// The newest manifest of an archive in a folder.
fn newest_manifest(archive: &Path) -> Value {
    let folder = fs::read_dir(archive.join("manifest")).unwrap();
    let files = folder.map(|entry| entry.unwrap().path());
    let newest = files
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .max();
    serde_json::from_slice(&fs::read(newest.unwrap()).unwrap()).unwrap()
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("no number: {value}"))
}
