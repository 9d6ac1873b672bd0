//! The binary as people and scripts use it.

use std::fs;
use std::path::Path;

use anchor_verify::AnchorsFile;
use assert_cmd::Command;
use serde_json::Value;

fn import(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::cargo_bin("anchor-verify")
        .unwrap()
        .current_dir(folder)
        .arg("import")
        .args(arguments)
        .args(["--wide", "--all"])
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        test_support::without_time(text(output.stderr)),
    )
}

#[test]
fn real_logs_become_an_anchors_file() {
    let shared = test_support::shared_data();
    let logs = shared.join("data/scenario-1/anchors");
    let log = |name: &str| logs.join(name).to_str().unwrap().to_owned();
    let registry = log("logs_SetRegistry_BatchCommitted.json");
    let anchor = log("logs_StateSetAnchor_CommitmentAnchored.json");
    let dir = tempfile::tempdir().unwrap();
    let out_path = dir.path().join("anchors.json");

    let arguments = [
        &registry,
        &anchor,
        "--out",
        "anchors.json",
        "--chain-id",
        "84532001",
    ];
    let (code, out, err) = import(dir.path(), &arguments);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    assert!(out.contains("34 logs read, 34 anchors in anchors.json"), "{out}");
    assert!(
        out.contains("NOT CHECKED\n  that the logs are on the chain"),
        "{out}"
    );
    let file = AnchorsFile::read(&out_path).unwrap();
    assert_eq!((file.chain_id, file.anchors.len()), (Some(84_532_001), 34));
    let first = fs::read(&out_path).unwrap();

    // The other way round, as JSON: the same bytes.
    let arguments = [
        &anchor,
        &registry,
        "--out",
        "anchors.json",
        "--force",
        "--chain-id",
        "84532001",
        "--format",
        "json",
    ];
    let (code, out, _) = import(dir.path(), &arguments);
    assert_eq!((code, fs::read(&out_path).unwrap() == first), (0, true));
    let document: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&document["schema"], &document["totals"]["anchors"]),
        (&"anchors-import/1".into(), &34.into())
    );
    assert_eq!(document["contracts"][0]["streams"].as_array().unwrap().len(), 4);

    // One contract only, checksummed as people write it.
    let address = "0x663F3ad617193148711d28f5334eE4Ed07016602";
    let arguments = [
        &anchor,
        &registry,
        "--out",
        "one.json",
        "--contract",
        address,
        "--format",
        "ndjson",
    ];
    let (code, out, _) = import(dir.path(), &arguments);
    assert_eq!((code, out.lines().count()), (0, 2));
    assert_eq!(
        AnchorsFile::read(&dir.path().join("one.json"))
            .unwrap()
            .anchors
            .len(),
        17
    );

    // Bad logs: 4. A bad file: 8. Both: 12. The good is taken all the same.
    let mut logs: Value = serde_json::from_slice(&fs::read(&anchor).unwrap()).unwrap();
    let data = format!("{}{}", logs[3]["data"].as_str().unwrap(), "00".repeat(32));
    logs[3]["data"] = data.into();
    fs::write(dir.path().join("bad.json"), logs.to_string()).unwrap();
    let (code, out, err) = import(dir.path(), &["bad.json", "--out", "bad-out.json"]);
    assert_eq!(code, 4, "{out}");
    assert!(
        err.contains("bad.json: log 3: its data has 256 bytes, not 224"),
        "{err}"
    );
    assert_eq!(
        AnchorsFile::read(&dir.path().join("bad-out.json"))
            .unwrap()
            .anchors
            .len(),
        16
    );
    let (code, out, err) = import(
        dir.path(),
        &["bad.json", "none.json", "--out", "bad-out.json", "--force"],
    );
    assert_eq!(code, 12, "{out}");
    assert!(
        err.contains("none.json") && out.contains("\n  none.json: not read"),
        "{out}{err}"
    );

    // A contradiction: 4, and it is in the file.
    let mut logs: Value = serde_json::from_slice(&fs::read(&registry).unwrap()).unwrap();
    let root = "12".repeat(32);
    let data = logs[0]["data"].as_str().unwrap().to_owned();
    logs[0]["data"] = format!("0x{root}{}", &data[66..]).into();
    fs::write(dir.path().join("other.json"), logs.to_string()).unwrap();
    let (code, out, _) = import(dir.path(), &["other.json", &anchor, "--out", "both.json"]);
    assert_eq!(code, 4, "{out}");
    assert!(out.contains("anchor.conflict"), "{out}");
    assert_eq!(
        AnchorsFile::read(&dir.path().join("both.json"))
            .unwrap()
            .anchors
            .len(),
        34
    );
}

#[test]
fn nothing_is_written_when_nothing_was_read() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("old.json"), "old").unwrap();
    fs::write(dir.path().join("bad.json"), "{\"error\":{\"code\":-32005}}").unwrap();
    let (code, out, err) = import(dir.path(), &["bad.json", "--out", "old.json", "--force"]);
    assert_eq!((code, out.as_str()), (8, ""), "{err}");
    assert!(err.contains("-32005"), "{err}");
    assert_eq!(fs::read_to_string(dir.path().join("old.json")).unwrap(), "old");
    // An input is never replaced by the output.
    let (code, _, err) = import(dir.path(), &["bad.json", "--out", "./bad.json"]);
    assert_eq!(code, 16, "{err}");
    assert_eq!(import(dir.path(), &["bad.json"]).0, 16);
    assert_eq!(
        import(dir.path(), &["bad.json", "--out", "x", "--contract", "0x12"]).0,
        16
    );
}
