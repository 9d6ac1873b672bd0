//! The EVM node that tests use: it runs, and it is gone when the test is.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::json;
use test_support::{Anvil, FaultyNode, evm_available};

fn listens(url: &str) -> bool {
    TcpStream::connect(url.strip_prefix("http://").unwrap()).is_ok()
}

#[test]
fn a_node_makes_blocks_and_ends_with_its_value() {
    if !evm_available() {
        return;
    }
    let node = Anvil::start();
    assert_eq!(node.rpc("eth_chainId", &json!([])), "0x509db21");
    node.mine(3);
    assert_eq!(node.rpc("eth_blockNumber", &json!([])), "0x3");
    // Creation code that returns one byte of code, 0x01.
    let contract = node.deploy("0x600160005360016000f3");
    assert_eq!(
        node.send(Some(&contract), "0x")["status"],
        "0x0",
        "code 0x01 (ADD) fails on an empty stack"
    );
    assert!(node.try_rpc("eth_nonsense", &json!([])).is_err());

    let url = node.url();
    let other = FaultyNode::before(&url, |method, _| {
        (method == "eth_chainId").then(|| json!({"result": "0x1"}))
    });
    assert!(listens(&other.url()[..other.url().find("/v3").unwrap()]));
    drop(other);
    assert!(listens(&url));
    drop(node);
    assert!(!listens(&url));
}

/// Not a test of its own: the process that the next one kills.
#[test]
fn helper_that_waits_to_be_killed() {
    if std::env::var_os("EVM_NODE_WAIT").is_none() {
        return;
    }
    let node = Anvil::start();
    println!("\nurl={}", node.url());
    sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_test_leaves_no_node_behind() {
    if !evm_available() {
        return;
    }
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_that_waits_to_be_killed", "--nocapture"])
        .env("EVM_NODE_WAIT", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let url = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.strip_prefix("url=")?.to_owned()));
    let url = url.unwrap();
    assert!(listens(&url));
    test.kill().unwrap();
    test.wait().unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while listens(&url) {
        assert!(Instant::now() < deadline, "the node at {url} is still there");
        sleep(Duration::from_millis(20));
    }
}

/// What is missing skips a test aloud, notes it where scripts/test looks, and fails the test where nothing may be missing.
#[test]
fn a_skipped_test_is_told_and_counted_and_fails_in_ci() {
    let dir = tempfile::tempdir().unwrap();
    let list = dir.path().join("skipped");
    let run = |ci: &str| {
        let output = Command::new(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_node_makes_blocks_and_ends_with_its_value",
                "--nocapture",
            ])
            .env("VES_EVM", "/nonexistent")
            .env("VES_SKIPPED_TESTS", &list)
            .env("CI", ci)
            .output()
            .unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    let why = "anvil and solc not found (run scripts/setup-evm)";
    let (passed, said) = run("");
    assert!(passed && said.contains(&format!("skipped: {why}")), "{said}");
    let noted = format!("{why}\ta_node_makes_blocks_and_ends_with_its_value\n");
    assert_eq!(std::fs::read_to_string(&list).unwrap(), noted);
    let (passed, said) = run("true");
    assert!(
        !passed && said.contains("not to be skipped with CI=true"),
        "{said}"
    );
    assert_eq!(std::fs::read_to_string(&list).unwrap(), noted);
}
