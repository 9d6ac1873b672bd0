//! A browser that looks at pages: headless Chromium, at the width of a desk and of a phone, in light and dark, and on paper.

use std::env;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{skipped, workspace_root};

/// The folder that `scripts/setup-browser` installs into: `VES_BROWSER`, or `target/browser` below the workspace root.
fn folder() -> PathBuf {
    env::var_os("VES_BROWSER").map_or_else(|| workspace_root().join("target/browser"), PathBuf::from)
}

/// Where the system's Chromium is.
fn chromium() -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let names = ["chromium", "chromium-browser", "google-chrome"];
    env::split_paths(&path)
        .flat_map(|folder| names.map(|name| folder.join(name)))
        .find(|program| program.is_file())
}

/// Whether a browser and its driver are installed. When they are not, says so; `scripts/setup` installs them.
///
/// # Panics
/// If they are missing and `CI=true`.
#[must_use]
pub fn browser_available() -> bool {
    let modules = folder().join("node_modules");
    let driver = modules.join("puppeteer-core").is_dir() && modules.join("axe-core").is_dir();
    let found = driver && chromium().is_some();
    if !found {
        skipped("Chromium, puppeteer-core and axe-core not found (run scripts/setup)");
    }
    found
}

/// Looks at pages, and fails if one of them has a fault that a browser can see: a violation of accessibility rules, a word
/// on the console, a request to anywhere, more width than a phone has, nothing on paper. Pictures of them are kept in
/// `target/browser/pictures`, for people to look at.
///
/// # Panics
/// If the browser cannot be run, or a page has a fault.
pub fn look_at_pages(pages: &[(&str, &Path)]) {
    let pages: Vec<Value> = pages
        .iter()
        .map(|(name, path)| {
            let length = path.metadata().expect("the page is there").len();
            assert!(length < 5_000_000, "{name}: {length} bytes");
            json!({"name": name, "path": path, "bytes": length})
        })
        .collect();
    let job = json!({
        "chromium": chromium().expect("Chromium is installed"),
        "modules": folder().join("node_modules"),
        "pictures": folder().join("pictures"),
        "pages": pages,
    });
    let mut node = Command::new("node")
        .arg(workspace_root().join("test-support/browser/look.js"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("node can be started");
    let mut stdin = node.stdin.take().expect("a pipe");
    stdin
        .write_all(job.to_string().as_bytes())
        .expect("node reads what it is to do");
    drop(stdin);
    let output = node.wait_with_output().expect("node ends");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the browser: {stderr}");
    let seen: Vec<Value> = serde_json::from_slice(&output.stdout).expect("JSON of what was seen");
    assert_eq!(seen.len(), pages.len());
    for page in &seen {
        for fault in ["requests", "console", "too_wide", "axe"] {
            assert_eq!(page[fault], json!([]), "{}: {fault}: {page:#}", page["name"]);
        }
        assert_eq!(page["painted"], json!(true), "{page:#}");
        assert_eq!(page["first_tab"], json!("skip"), "{page:#}");
        assert!(
            page["pdf_bytes"].as_u64().is_some_and(|bytes| bytes > 10_000),
            "{page:#}"
        );
    }
}
