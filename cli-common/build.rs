//! Tells the crate which commit it is built from: `TOOLKIT_COMMIT` where that is set (for packages that are built outside of
//! the repository), else what git says. Without either it is not known, and the documents say so.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=TOOLKIT_COMMIT");
    let given = env::var("TOOLKIT_COMMIT").ok().filter(|commit| is_commit(commit));
    // A debug build is not made anew for every commit.
    let every_commit = env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if let Some(commit) = given.or_else(|| of_git(every_commit)) {
        println!("cargo::rustc-env=TOOLKIT_COMMIT={commit}");
    }
}

/// The commit of the work tree that the crate lies in.
fn of_git(watched: bool) -> Option<String> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR")?).join("..");
    let root = root.canonicalize().ok()?;
    // An unpacked archive may lie in another project's repository.
    let top = git(&root, &["rev-parse", "--show-toplevel"])?;
    if Path::new(&top).canonicalize().ok()? != root {
        return None;
    }
    // A file that is not there would have the crate built anew every time.
    let log = git(&root, &["rev-parse", "--git-path", "logs/HEAD"]).map(|log| root.join(log));
    if let Some(log) = log.filter(|log| watched && log.exists()) {
        println!("cargo::rerun-if-changed={}", log.display());
    }
    git(&root, &["rev-parse", "HEAD"]).filter(|commit| is_commit(commit))
}

fn git(root: &Path, arguments: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(arguments)
        .output()
        .ok()?;
    let text = output.status.success().then_some(output.stdout)?;
    Some(String::from_utf8(text).ok()?.trim().to_owned())
}

fn is_commit(text: &str) -> bool {
    text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}
