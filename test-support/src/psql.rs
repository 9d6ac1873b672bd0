//! Talking to a database through the `psql` binary, so that the scripts are tested as an operator runs them.

use std::path::Path;
use std::process::{Command, Output};

use crate::{postgres, workspace_root};

/// Loads `sql/schema/postgres.sql` into the empty database at `url`.
///
/// # Panics
/// If a statement fails.
pub fn load_schema(url: &str) {
    run_script(url, &workspace_root().join("sql/schema/postgres.sql"), &[]);
}

/// Loads a file of `COPY table (columns) FROM stdin;` blocks into the database at `url`, all of it or nothing.
///
/// # Panics
/// If the file cannot be read or a row is refused.
pub fn load_copy_file(url: &str, path: &Path) {
    let output = psql(url)
        .arg("--single-transaction")
        .arg("--file")
        .arg(path)
        .output();
    expect_success(&output.expect("psql can be started"), &path.display().to_string());
}

/// Runs one SQL command and returns its rows as psql prints them unaligned: fields separated by `|`, one row a line,
/// no trailing newline, NULL as nothing.
///
/// # Panics
/// If the command fails.
#[must_use]
pub fn query(url: &str, sql: &str) -> String {
    let output = psql(url)
        .args(["--no-align", "--tuples-only", "--command", sql])
        .output();
    expect_success(&output.expect("psql can be started"), sql)
        .trim_end()
        .to_owned()
}

/// Runs a script with psql variables (`name=value`) as an operator would, with rows as CSV, and returns what it
/// printed on stdout.
///
/// # Panics
/// If psql does not end with status 0.
pub fn run_script(url: &str, script: &Path, variables: &[&str]) -> String {
    expect_success(&try_script(url, script, variables), &script.display().to_string())
}

/// As [`run_script`], but returns the outcome whatever it is.
///
/// # Panics
/// If psql cannot be started.
#[must_use]
pub fn try_script(url: &str, script: &Path, variables: &[&str]) -> Output {
    let mut command = psql(url);
    for variable in variables {
        command.args(["--set", variable]);
    }
    command
        .arg("--csv")
        .arg("--file")
        .arg(script)
        .output()
        .expect("psql can be started")
}

/// One of PostgreSQL's programs: that of the server of the tests, or where that has none, the one on the `PATH`.
///
/// # Panics
/// If there is no server.
#[must_use]
pub fn postgres_program(name: &str) -> Command {
    let binaries = postgres::binaries().expect("PostgreSQL binaries are installed");
    let beside_server = binaries.program(name);
    Command::new(if beside_server.exists() {
        beside_server
    } else {
        name.into()
    })
}

fn psql(url: &str) -> Command {
    let mut command = postgres_program("psql");
    command.args([
        "--no-psqlrc",
        "--quiet",
        "--set",
        "ON_ERROR_STOP=1",
        "--dbname",
        url,
    ]);
    command
}

fn expect_success(output: &Output, what: &str) -> String {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "psql failed on {what}: {stderr}");
    String::from_utf8(output.stdout.clone()).expect("psql prints UTF-8")
}
