//! What tests of this workspace share: scratch PostgreSQL clusters, EVM nodes, and the way to the real data.
//!
//! ```no_run
//! if !test_support::postgres_available() {
//!     return;
//! }
//! let server = test_support::ScratchPostgres::start();
//! let url = server.create_database("log");
//! test_support::load_schema(&url);
//! test_support::load_copy_file(&url, &test_support::shared_data().join("data/scenario-1/recovered.copy.sql"));
//! ```
//!
//! A check that did not run is not a pass. With `CI=true` in the environment a missing server fails the test; otherwise
//! the test says "skipped: …" and returns, and `scripts/test` counts it at its end. Everything here panics on failure,
//! with a message that says what could not be done: it is for tests only.

#![forbid(unsafe_code)]

mod browser;
mod data;
mod evm;
mod faulty_node;
mod hostile;
pub mod level;
mod pgbouncer;
mod postgres;
mod psql;
mod standby;
mod tls;
mod witness;

use std::env;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

pub use browser::{browser_available, look_at_pages};
pub use data::{original_data, shared_data};
pub use evm::{Anvil, compile_contracts, evm_available};
pub use faulty_node::FaultyNode;
pub use hostile::{HOSTILE, assert_harmless, poison_json, poison_sqlite};
pub use pgbouncer::{PgBouncer, pgbouncer_available};
pub use postgres::ScratchPostgres;
pub use psql::{load_copy_file, load_schema, postgres_program, query, run_script, try_script};
pub use tls::{TestAuthority, TlsFront};
pub use witness::WitnessDouble;

/// The root folder of the workspace.
///
/// # Panics
/// If this crate no longer lies in a folder below it.
#[must_use]
pub fn workspace_root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    root.expect("this crate lies in a folder of the workspace")
        .to_path_buf()
}

/// Whether the binaries of a PostgreSQL server are installed: `initdb` and `postgres`, on the `PATH` or where Debian
/// puts them. When they are not, says so; `scripts/setup` installs them.
///
/// # Panics
/// If they are missing and `CI=true`.
#[must_use]
pub fn postgres_available() -> bool {
    let found = postgres::binaries().is_some();
    if !found {
        skipped("PostgreSQL server binaries not found (run scripts/setup)");
    }
    found
}

/// What a tool said on stderr, without the line of how long it took: a slow machine makes it say that.
#[must_use]
pub fn without_time(stderr: String) -> String {
    match stderr.trim_end().rfind('\n').map_or(0, |at| at + 1) {
        at if stderr[at..].starts_with("took ") => stderr[..at].to_owned(),
        _ => stderr,
    }
}

/// Says that a test is skipped for want of something that can be installed, or fails it where nothing may be skipped.
///
/// # Panics
/// If the environment has `CI=true`.
pub fn skipped(reason: &str) {
    assert!(
        env::var("CI").as_deref() != Ok("true"),
        "not to be skipped with CI=true: {reason}"
    );
    impossible_here(reason);
}

/// Says that a test is skipped for want of something that this machine or user cannot give: it is counted as a skipped
/// one, and does not fail anywhere.
///
/// # Panics
/// If it cannot be noted.
pub fn impossible_here(reason: &str) {
    eprintln!("skipped: {reason}");
    // What a test that passes says is not shown: scripts/test tells the skipped ones at its end.
    if let Some(list) = env::var_os("VES_SKIPPED_TESTS") {
        let test = std::thread::current().name().unwrap_or("a test").to_owned();
        let line = format!("{reason}\t{test}\n");
        let mut list = File::options()
            .create(true)
            .append(true)
            .open(list)
            .expect("VES_SKIPPED_TESTS names a file");
        list.write_all(line.as_bytes())
            .expect("a skipped test can be noted");
    }
}
