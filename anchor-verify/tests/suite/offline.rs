//! Whatever is not told to read from a node works without any network: in a namespace without interfaces.

use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::cargo_bin;

/// Runs the binary where there is no network, not even a loopback. `None` if the system does not let us.
fn run(folder: &Path, arguments: &[&str]) -> Option<(i32, String)> {
    let unshare = || {
        let mut command = Command::new("unshare");
        command.args(["--net", "--map-root-user", "--"]);
        command
    };
    if !unshare()
        .arg("true")
        .output()
        .is_ok_and(|output| output.status.success())
    {
        test_support::impossible_here("no namespace without network can be made (unshare --net)");
        return None;
    }
    let output = unshare()
        .arg(cargo_bin("anchor-verify"))
        .args(arguments)
        .args(["--wide", "--all"])
        .current_dir(folder)
        .env_remove("DATABASE_URL")
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].concat();
    Some((output.status.code().unwrap(), String::from_utf8(text).unwrap()))
}

#[test]
fn import_and_lint_need_no_network() {
    let shared = test_support::shared_data();
    let dir = tempfile::tempdir().unwrap();
    let anchors = shared.join("data/golden/anchors");
    let path = |name: &str| anchors.join(name).to_str().unwrap().to_owned();
    let files = [
        "logs_SetRegistry_BatchCommitted.json",
        "logs_StateSetAnchor_CommitmentAnchored.json",
        "block_headers.json",
        "block_receipts.json",
        "proofs_latest.json",
        "trusted_head.json",
        "contracts.json",
    ]
    .map(path);
    let mut arguments = vec!["import", "--out", "anchors.json"];
    arguments.extend(files.iter().map(String::as_str));
    let Some((code, out)) = run(dir.path(), &arguments) else {
        return;
    };
    assert_eq!(code, 0, "{out}");
    assert!(
        out.contains("headers: 151") && out.contains("blocks with all their receipts: 33"),
        "{out}"
    );
    assert!(out.contains("like anchors of 0x"), "the decoy is told: {out}");
    let (code, out) = run(dir.path(), &["lint", "anchors.json"]).unwrap();
    assert_eq!(code, 0, "{out}");
    // And fetch, which does, says so.
    let contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
    let fetch = [
        "fetch",
        "--rpc",
        "http://127.0.0.1:1",
        "--contract",
        contract,
        "--out",
        "x.json",
    ];
    assert_eq!(run(dir.path(), &fetch).unwrap().0, 8);
}
