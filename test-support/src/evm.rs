//! An EVM node of its own for one test, and the contracts that it runs.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::{skipped, workspace_root};

/// How long the node may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ends the node ($1) as soon as stdin closes, that is when the process that started it is gone, however it went.
const WATCHDOG: &str = r#"
cat >/dev/null
kill -KILL "$1" 2>/dev/null
"#;

/// The folder that `scripts/setup-evm` installs into: `VES_EVM`, or `target/evm` below the workspace root.
fn folder() -> PathBuf {
    env::var_os("VES_EVM").map_or_else(|| workspace_root().join("target/evm"), PathBuf::from)
}

/// The node's program: the package for this platform, past the script that would start it.
fn program() -> Option<PathBuf> {
    let packages = folder().join("node_modules/@foundry-rs");
    let entries = fs::read_dir(packages).ok()?;
    entries
        .filter_map(|entry| Some(entry.ok()?.path().join("bin/anvil")))
        .find(|path| path.is_file())
}

/// Whether the EVM node and the Solidity compiler are installed. When they are not, says so; `scripts/setup-evm`
/// installs them.
///
/// # Panics
/// If they are missing and `CI=true`.
#[must_use]
pub fn evm_available() -> bool {
    // The compiler is a script, and needed once: what it made is kept.
    let compiler = || {
        let node = Command::new("node").arg("--version").output();
        folder().join("node_modules/solc").is_dir() && node.is_ok_and(|output| output.status.success())
    };
    let found = program().is_some() && (folder().join("contracts.json").is_file() || compiler());
    if !found {
        skipped("anvil and solc not found (run scripts/setup-evm)");
    }
    found
}

/// The creation code of the contracts in a folder with a `compile.js`: an object, name to hex.
///
/// # Panics
/// If they cannot be compiled.
#[must_use]
pub fn compile_contracts(contracts: &Path) -> Value {
    let mut newest = None;
    for entry in fs::read_dir(contracts).expect("the contracts are there") {
        newest = newest.max(entry.and_then(|entry| entry.metadata()?.modified()).ok());
    }
    // Compiling takes seconds, so what came out is kept.
    let kept = folder().join("contracts.json");
    let kept_at = fs::metadata(&kept).and_then(|metadata| metadata.modified()).ok();
    if kept_at > newest
        && let Some(compiled) = fs::read(&kept)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
    {
        return compiled;
    }
    let output = Command::new("node")
        .arg(contracts.join("compile.js"))
        .arg(contracts)
        .current_dir(folder())
        .output()
        .expect("node can be started");
    assert!(
        output.status.success(),
        "solc: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let compiled = serde_json::from_slice(&output.stdout).expect("compile.js prints JSON");
    // Other tests may be reading it: it is replaced whole.
    let mut file = tempfile::NamedTempFile::new_in(folder()).expect("own folder");
    file.write_all(&output.stdout).expect("own folder");
    file.persist(kept).expect("own folder");
    compiled
}

/// A running EVM node (anvil) on a free port of 127.0.0.1, with a chain of its own and accounts that need no keys.
///
/// It ends when the value is dropped, also by a panic, and within moments when the test process is killed.
#[derive(Debug)]
pub struct Anvil {
    node: Child,
    watchdog: Child,
    port: u16,
}

impl Anvil {
    /// Starts a node that makes a block of every transaction.
    ///
    /// # Panics
    /// If it is missing (ask [`evm_available`] first) or does not start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// As [`Anvil::start`], with more arguments.
    ///
    /// # Panics
    /// As [`Anvil::start`].
    #[must_use]
    pub fn start_with(arguments: &[&str]) -> Self {
        let program = program().expect("anvil is installed (run scripts/setup-evm)");
        let mut node = Command::new(program)
            .args(["--host", "127.0.0.1", "--port", "0", "--chain-id", "84532001"])
            .args(arguments)
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("anvil can be started");
        let watchdog = Command::new("sh")
            .args(["-c", WATCHDOG, "anvil-watchdog"])
            .arg(node.id().to_string())
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("sh can be started");
        let output = node.stdout.take().expect("stdout is a pipe");
        let (sender, receiver) = mpsc::channel();
        // It goes on reading: a node whose output nobody takes would stop.
        thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if let Some((_, port)) = line.split_once("Listening on 127.0.0.1:") {
                    let _ = sender.send(port.trim().parse::<u16>());
                }
            }
        });
        let mut anvil = Self {
            node,
            watchdog,
            port: 0,
        };
        anvil.port = match receiver.recv_timeout(PATIENCE) {
            Ok(Ok(port)) => port,
            other => panic!("anvil does not start: {other:?}"),
        };
        anvil
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The result of a call, or the error that the node answers.
    ///
    /// # Errors
    /// What the node answers as error.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn try_rpc(&self, method: &str, params: &Value) -> Result<Value, Value> {
        let body = json!({"jsonrpc": "2.0", "id": 1, "method": method, "params": params});
        let answer = post(self.port, body.to_string().as_bytes());
        let mut answer: Value = serde_json::from_slice(&answer).expect("the node answers with JSON");
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].take()),
        }
    }

    /// The result of a call.
    ///
    /// # Panics
    /// If it does not answer, or answers with an error.
    pub fn rpc(&self, method: &str, params: &Value) -> Value {
        self.try_rpc(method, params)
            .unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    /// Sends a transaction from the first account and returns its receipt, whether it succeeded or not.
    ///
    /// # Panics
    /// As [`Anvil::rpc`].
    pub fn send(&self, to: Option<&str>, data: &str) -> Value {
        let from = self.rpc("eth_accounts", &json!([]))[0].clone();
        let mut transaction = json!({"from": from, "data": data, "gas": "0x7a1200"});
        if let Some(to) = to {
            transaction["to"] = to.into();
        }
        let hash = self.rpc("eth_sendTransaction", &json!([transaction]));
        // The block is made after the answer.
        let deadline = Instant::now() + PATIENCE;
        loop {
            let receipt = self.rpc("eth_getTransactionReceipt", &json!([hash]));
            if !receipt.is_null() {
                return receipt;
            }
            assert!(
                Instant::now() < deadline,
                "anvil makes no block of transaction {hash}"
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Creates a contract and returns its address.
    ///
    /// # Panics
    /// As [`Anvil::rpc`], and if the contract cannot be created.
    pub fn deploy(&self, code: &str) -> String {
        let receipt = self.send(None, code);
        assert_eq!(receipt["status"], "0x1", "{receipt}");
        receipt["contractAddress"]
            .as_str()
            .expect("a contract was created")
            .to_owned()
    }

    /// Makes empty blocks.
    ///
    /// # Panics
    /// As [`Anvil::rpc`].
    pub fn mine(&self, blocks: u64) {
        self.rpc("anvil_mine", &json!([format!("{blocks:#x}")]));
    }
}

impl Drop for Anvil {
    fn drop(&mut self) {
        let _ = self.node.kill();
        let _ = self.node.wait();
        drop(self.watchdog.stdin.take());
        let _ = self.watchdog.wait();
    }
}

/// The body that a server on 127.0.0.1 answers to a POST.
pub(crate) fn post(port: u16, body: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("the node listens");
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    let head = format!(
        "POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).expect("the node reads");
    stream.write_all(body).expect("the node reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("the node answers");
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("an HTTP answer");
    answer.split_off(end + 4)
}
