//! What goes wrong, with a hint that fits it and the right exit status.

use std::fs;
use std::process::Command;

use ed25519_dalek::SigningKey;
use test_support::{ScratchPostgres, load_schema, postgres_available, query};

use crate::outputs::Site;

/// Runs a command that must fail, and sees that all of these are said, a hint among them.
fn fails(site: &Site, status: i32, arguments: &str, says: &[&str]) -> String {
    let said = site.expect(status, arguments);
    assert!(said.contains("\nhint: "), "no hint: {arguments}: {said}");
    for words in says {
        assert!(said.contains(words), "{words:?}: {arguments}: {said}");
    }
    said
}

#[test]
fn a_file_of_another_kind_is_told_by_what_it_is() {
    let site = Site::new();
    let event = site.world.log().events().next().unwrap().event.event_id;
    let log = "--db log.db --anchors anchors.json";
    site.expect(0, &format!("prove --event {event} {log} --out proof.json"));
    site.expect(0, &format!("bundle {log} --out b.vesbundle"));
    site.write("report.json", &site.json(0, &format!("verify {log}")).to_string());
    site.expect(0, "attest report.json --key seed --out signed.json");
    site.write("log.ndjson", &crate::common::export_of(&site.world));
    site.write("notes.txt", "see the other folder\n");
    site.write("odd name.txt", "{}");
    for (arguments, says) in [
        ("verify anchors.json", "`anchor-verify lint anchors.json`"),
        ("verify proof.json", "`anchor-verify check proof.json`"),
        (
            "verify --events b.vesbundle",
            "`anchor-verify verify b.vesbundle`",
        ),
        ("verify notes.txt", "`anchor-verify bundle`"),
        ("lint b.vesbundle", "`anchor-verify verify b.vesbundle`"),
        ("lint log.db", "`anchor-verify verify --db log.db`"),
        ("lint log.ndjson", "`anchor-verify verify --events log.ndjson`"),
        (
            "check report.json",
            "`anchor-verify attest report.json --key SEED --out SIGNED`",
        ),
        ("check anchors.json", "`anchor-verify lint anchors.json`"),
        ("check notes.txt", "`anchor-verify prove`"),
        (
            "merge signed.json",
            "`anchor-verify check-report signed.json --public-key HEX`",
        ),
        (
            "merge notes.txt",
            "`anchor-verify verify --shard K/N --format json`",
        ),
        (
            "attest proof.json --key seed --out s",
            "`anchor-verify check proof.json`",
        ),
        (
            "attest report.json --key notes.txt --out s",
            "the 32-byte seed in hex",
        ),
    ] {
        fails(&site, 8, arguments, &[says]);
    }
    let key = hex::encode(SigningKey::from_bytes(&[7; 32]).verifying_key().to_bytes());
    fails(
        &site,
        8,
        &format!("check-report report.json --public-key {key}"),
        &["`anchor-verify attest report.json"],
    );
    fails(
        &site,
        8,
        "import notes.txt --out i.json",
        &["notes.txt", "eth_getLogs"],
    );
    // Nothing is there: no kind is guessed.
    for command in ["lint", "merge", "check", "verify"] {
        fails(
            &site,
            8,
            &format!("{command} none.json"),
            &["none.json", "is the path right"],
        );
    }
}

#[test]
fn a_signature_that_does_not_hold_and_an_event_that_is_not_anchored_are_told_with_what_to_do() {
    let site = Site::new();
    let log = "--db log.db --anchors anchors.json";
    site.write("report.json", &site.json(0, &format!("verify {log}")).to_string());
    site.expect(0, "attest report.json --key seed --out signed.json");
    let other = SigningKey::from_bytes(&[7; 32]).verifying_key();
    let other = hex::encode(other.to_bytes());
    fails(
        &site,
        4,
        &format!("check-report signed.json --public-key {other}"),
        &["FAILED", "ask who signed it"],
    );
    // The last events are in no batch.
    let last = site.world.log().events().last().unwrap();
    let (stream, sequence) = (last.event.stream, last.receipt.sequence_number);
    fails(
        &site,
        4,
        &format!("prove --stream {stream} --sequence {sequence} {log} --out p"),
        &["commitment.unanchored", "--anchors"],
    );
    assert!(!site.path("p").exists());
    // A block that is one digit off is none of the file's, and the near one is named; 63 digits are no hash.
    let anchors = test_support::shared_data().join("data/golden/anchors");
    let saved = [
        "block_headers.json",
        "logs_SetRegistry_BatchCommitted.json",
        "contracts.json",
        "trusted_head.json",
    ]
    .map(|name| anchors.join(name).to_str().unwrap().to_owned());
    site.expect(0, &format!("import {} --out golden.json", saved.join(" ")));
    let head = fs::read_to_string(anchors.join("trusted_head.json")).unwrap();
    let head: serde_json::Value = serde_json::from_str(&head).unwrap();
    let hash = head["hash"].as_str().unwrap();
    let flipped = if hash.ends_with('0') { "1" } else { "0" };
    let wrong = format!("{}{flipped}", &hash[..hash.len() - 1]);
    let said = site.expect(
        0,
        &format!("lint golden.json --trusted-block {wrong} --wide --all"),
    );
    assert!(said.contains(hash.trim_start_matches("0x")), "{said}");
    fails(
        &site,
        16,
        &format!("lint golden.json --trusted-block {}", &hash[..hash.len() - 1]),
        &["63 hex digits", hash.trim_start_matches("0x")],
    );
}

#[test]
fn a_disk_that_is_full_is_named_with_the_file() {
    let site = Site::new();
    // Files of this process may have so many blocks of 512 bytes: the disk is full for it alone.
    let limited = |arguments: &str| {
        let output = Command::new("sh")
            .args([
                "-c",
                "trap '' XFSZ; ulimit -f 1; exec \"$0\" \"$@\"",
                env!("CARGO_BIN_EXE_anchor-verify"),
            ])
            .args(arguments.split(' '))
            .current_dir(site.path("."))
            .env_remove("DATABASE_URL")
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for arguments in [
        "bundle --db log.db --anchors anchors.json --out full.out",
        "import logs.json --out full.out",
    ] {
        let (code, said) = limited(arguments);
        assert_eq!(code, Some(8), "{said}");
        for words in [
            "full.out was not written",
            "free space on the file system of .",
            "mounted at /",
        ] {
            assert!(said.contains(words), "{words:?}: {said}");
        }
        assert!(!site.path("full.out").exists());
    }
}

#[test]
fn a_server_that_refuses_is_told_with_what_it_takes() {
    let site = Site::new();
    // Nobody listens on port 1.
    let refused = fails(
        &site,
        8,
        "verify --db postgres://auditor@127.0.0.1:1/log --anchors anchors.json",
        &["127.0.0.1", "refused"],
    );
    assert!(!refused.contains("panicked"), "{refused}");
    let contract = "0x5FbDB2315678afecb367f032d93F642f64180aa3";
    fails(
        &site,
        8,
        &format!("fetch --rpc http://127.0.0.1:1 --contract {contract} --out f.json"),
        &["127.0.0.1:1", "does the node run"],
    );
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let url = server.create_database("log");
    load_schema(&url);
    let _ = query(&url, "CREATE ROLE auditor LOGIN PASSWORD 'right'");
    let at = |who: &str| format!("postgres://{who}@127.0.0.1:{}/log", server.port());
    for command in [
        "verify",
        "bundle --anchors anchors.json --out b",
        "lint anchors.json",
    ] {
        fails(
            &site,
            8,
            &format!("{command} --db {}", at("auditor")),
            &["GRANT SELECT ON", "auditor"],
        );
    }
    let rules =
        "host all auditor 127.0.0.1/32 scram-sha-256\nhost all all 127.0.0.1/32 trust\nlocal all all trust\n";
    fs::write(server.data_dir().join("pg_hba.conf"), rules).unwrap();
    let _ = query(&url, "SELECT pg_reload_conf()");
    let said = fails(
        &site,
        8,
        &format!("verify --db {}", at("auditor:wr0ng")),
        &["password authentication failed", "auditor", "127.0.0.1"],
    );
    // Nor the password, nor where in PostgreSQL's code it was found out.
    assert!(!said.contains("wr0ng") && !said.contains(".c"), "{said}");
}
