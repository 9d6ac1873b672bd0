//! A node over TLS, as nodes are reached.

use std::process::Command;

use test_support::{Anvil, TestAuthority, TlsFront, evm_available};

#[test]
fn fetch_over_tls_only_from_a_node_whose_certificate_holds() {
    if !evm_available() {
        return;
    }
    let node = Anvil::start();
    node.mine(3);
    let port = node.url().rsplit_once(':').unwrap().1.parse().unwrap();
    let authority = TestAuthority::with_certificate_for("127.0.0.1");
    let stranger = TestAuthority::with_certificate_for("127.0.0.1");
    let front = TlsFront::before(port, &authority);
    let dir = tempfile::tempdir().unwrap();
    let fetch = |trusted: &TestAuthority| {
        let output = Command::new(env!("CARGO_BIN_EXE_anchor-verify"))
            .current_dir(dir.path())
            .env("SSL_CERT_FILE", trusted.file())
            .args(["fetch", "--rpc", &format!("https://127.0.0.1:{}", front.port())])
            .args([
                "--contract",
                "0x5FbDB2315678afecb367f032d93F642f64180aa3",
                "--to",
                "latest",
                "--out",
                "anchors.json",
            ])
            .output()
            .unwrap();
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    };
    let (code, err) = fetch(&stranger);
    assert_eq!(code, 8, "{err}");
    assert!(err.contains("certificate"), "{err}");
    assert!(!dir.path().join("anchors.json").exists());

    // The contracts of this node have no anchors: a problem, and the file is written.
    let (code, err) = fetch(&authority);
    assert_eq!(code, 4, "{err}");
    assert!(dir.path().join("anchors.json").exists());
}
