//! What the commands write and where: nothing is overwritten unasked, selections that select nothing are no success, every
//! document says where it comes from and what comes next.

use crate::common;

use std::fs;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt as _;
use common::{Lines, export_of};
use ed25519_dalek::SigningKey;
use fixtures::{World, WorldSpec};
use serde_json::{Value, json};
use tempfile::TempDir;

pub struct Site {
    folder: TempDir,
    pub world: World,
}

impl Site {
    pub fn new() -> Self {
        let world = World::generate(&WorldSpec {
            events_per_stream: 20,
            batch_size: 6,
            ..WorldSpec::honest(2)
        });
        let folder = tempfile::tempdir().unwrap();
        world.write_log(&folder.path().join("log.db")).unwrap();
        world.write_anchors(&folder.path().join("anchors.json")).unwrap();
        let saved = folder.path().join("saved");
        world.write_anchor_logs(&saved).unwrap();
        fs::rename(
            saved.join("logs_StateSetAnchor_CommitmentAnchored.json"),
            folder.path().join("logs.json"),
        )
        .unwrap();
        fs::write(folder.path().join("seed"), hex::encode([9_u8; 32])).unwrap();
        Self { folder, world }
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    /// Runs the tool, and gives stdout and stderr.
    pub fn run(&self, arguments: &str) -> (i32, String, String) {
        let mut command = Command::cargo_bin("anchor-verify").unwrap();
        let output = command
            .current_dir(self.folder.path())
            .env_remove("DATABASE_URL")
            .args(arguments.split(' '))
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    pub fn expect(&self, status: i32, arguments: &str) -> String {
        let (code, out, err) = self.run(arguments);
        assert_eq!(code, status, "{arguments}\n{out}{err}");
        format!("{out}{err}")
    }

    pub fn json(&self, status: i32, arguments: &str) -> Value {
        let (code, out, err) = self.run(&format!("{arguments} --format json"));
        assert_eq!(code, status, "{arguments}\n{out}{err}");
        serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments}: {e}: {out}"))
    }
}

#[test]
fn nothing_is_overwritten_unasked_and_no_link_or_device_ever() {
    let site = Site::new();
    let event = site.world.log().events().next().unwrap().event.event_id;
    site.write(
        "report.json",
        &site
            .json(0, "verify --db log.db --anchors anchors.json")
            .to_string(),
    );
    let commands = [
        "import logs.json --chain-id 1".to_owned(),
        "bundle --db log.db --anchors anchors.json".to_owned(),
        format!("prove --event {event} --db log.db --anchors anchors.json"),
        "attest report.json --key seed".to_owned(),
    ];
    for command in &commands {
        site.write("out", "evidence");
        let said = site.expect(8, &format!("{command} --out out"));
        assert!(
            said.contains("out is there already") && said.contains("--force"),
            "{said}"
        );
        assert_eq!(site.read("out"), b"evidence");
        site.expect(0, &format!("{command} --out out --force"));
        assert_ne!(site.read("out"), b"evidence");
        site.expect(0, &format!("{command} --out new"));
        assert_eq!(site.read("out"), site.read("new"), "{command}");
        fs::remove_file(site.path("new")).unwrap();
        #[cfg(unix)]
        for special in ["link", "dangling", "pipe", "/dev/full", "folder"] {
            let _ = fs::create_dir(site.path("folder"));
            let _ = std::os::unix::fs::symlink(site.path("out"), site.path("link"));
            let _ = std::os::unix::fs::symlink(site.path("nowhere"), site.path("dangling"));
            let _ = Command::new("mkfifo").arg(site.path("pipe")).output();
            let kind = |at: &Path| at.symlink_metadata().unwrap().file_type();
            let before = kind(&site.path(special));
            let said = site.expect(8, &format!("{command} --out {special} --force"));
            assert!(said.contains("only plain files"), "{said}");
            assert_eq!(kind(&site.path(special)), before, "{special}");
        }
    }
    let partial = |name: &str| name.contains("ves-partial");
    let left = fs::read_dir(site.folder.path()).unwrap().flatten();
    assert!(
        !left
            .into_iter()
            .any(|entry| partial(&entry.file_name().to_string_lossy()))
    );
    // A full disk is named, with the file.
    if Path::new("/dev/full").exists() && Path::new("/proc/self").exists() {
        let said = site.expect(8, "import logs.json --out /proc/anchors.json");
        assert!(
            said.contains("/proc/anchors.json was not written") && said.contains("hint:"),
            "{said}"
        );
    }
}

#[test]
fn a_selection_of_nothing_is_no_success() {
    let site = Site::new();
    site.write("empty.json", r#"{"schema":"anchors/2","anchors":[]}"#);
    site.write("none.json", "[]");
    let nobody = format!("0x{}", "ab".repeat(20));
    let log = "--db log.db";
    for (status, arguments) in [
        (8, format!("verify {log} --anchors empty.json")),
        (
            8,
            format!("verify {log} --anchors anchors.json --anchors empty.json"),
        ),
        (
            8,
            format!("verify {log} --anchors anchors.json --contract {nobody}"),
        ),
        (8, "lint empty.json".to_owned()),
        (8, format!("lint anchors.json --contract {nobody}")),
        (8, format!("bundle {log} --anchors empty.json --out b")),
        (
            8,
            format!("bundle {log} --anchors anchors.json --contract {nobody} --out b"),
        ),
        (
            8,
            format!("prove --event 00000000-0000-4000-8000-000000000001 {log} --anchors empty.json --out p"),
        ),
        (4, "import none.json --out imported.json".to_owned()),
        (8, "verify --db log.db --anchors imported.json".to_owned()),
    ] {
        let said = site.expect(status, &arguments);
        assert!(
            said.contains("error:") && said.contains("anchor"),
            "{arguments}: {said}"
        );
    }
    assert!(!site.path("b").exists() && !site.path("p").exists());
    // An export without events: nothing is verified.
    let mut lines = Lines::of(&export_of(&site.world));
    let gone = ["key", "stream", "commitment", "event"];
    lines
        .0
        .retain(|line| !gone.contains(&line["type"].as_str().unwrap()));
    lines.recount();
    lines.0.last_mut().unwrap()["counts"]["streams"] = 0.into();
    site.write("empty.ndjson", &lines.text());
    let said = site.expect(4, "verify --events empty.ndjson");
    assert!(said.contains("the input holds no events"), "{said}");
}

#[test]
fn import_passes_over_our_own_files_and_says_so() {
    let site = Site::new();
    let event = site.world.log().events().next().unwrap().event.event_id;
    site.expect(
        0,
        &format!("prove --event {event} --db log.db --anchors anchors.json --out proof.json"),
    );
    site.expect(0, "bundle --db log.db --anchors anchors.json --out b.vesbundle");
    let report = site.json(0, "verify --db log.db --anchors anchors.json");
    site.write("report.json", &report.to_string());
    let files = "logs.json anchors.json proof.json report.json b.vesbundle log.db";
    let said = site.expect(0, &format!("import {files} --out anchors.json --force"));
    assert_eq!(said.matches("passed over: ").count(), 5, "{said}");
    assert!(
        said.contains("anchors.json: is the toolkit's own (anchors/2)"),
        "{said}"
    );
    let again = site.json(0, &format!("import {files} --out anchors.json --force"));
    assert_eq!(again["passed_over"].as_array().unwrap().len(), 5);
    assert_eq!(again["not_read"], json!([]));
    // Nothing else is left of them.
    let said = site.expect(8, "import anchors.json proof.json --out none.json");
    assert!(
        said.contains("no file could be read") && said.contains("anchors/2"),
        "{said}"
    );
    assert!(!site.path("none.json").exists());
}

#[test]
fn every_document_says_where_it_comes_from_and_what_comes_next() {
    let site = Site::new();
    let event = site.world.log().events().next().unwrap().event.event_id;
    let verify = "verify --db log.db --anchors anchors.json";
    let report = site.json(0, verify);
    site.write("report.json", &report.to_string());
    let of_shards: Vec<Value> = (1..=2)
        .map(|index| {
            let report = site.json(0, &format!("{verify} --shard {index}/2"));
            site.write(&format!("{index}.json"), &report.to_string());
            report
        })
        .collect();
    let next = of_shards[0]["next"]["command"].as_str().unwrap();
    assert!(next.ends_with("--shard 2/2 --format json"), "{next}");
    let public = hex::encode(SigningKey::from_bytes(&[9; 32]).verifying_key().to_bytes());
    let documents = [
        (report, 2),
        (site.json(0, "lint anchors.json"), 1),
        (site.json(0, "lint anchors.json --db log.db"), 2),
        (site.json(0, "import logs.json --out i.json"), 1),
        (
            site.json(0, "bundle --db log.db --anchors anchors.json --out b"),
            2,
        ),
        (site.json(0, "verify b"), 1),
        (
            site.json(
                0,
                &format!("prove --event {event} --db log.db --anchors anchors.json --out p"),
            ),
            2,
        ),
        (site.json(0, "check p"), 1),
        (site.json(0, "merge 1.json 2.json"), 2),
        (site.json(0, "attest report.json --key seed --out s"), 1),
        (site.json(0, &format!("check-report s --public-key {public}")), 1),
    ];
    for (document, inputs) in documents {
        let made = &document["provenance"];
        assert_eq!(
            (&made["tool"], &made["version"]),
            (&json!("anchor-verify"), &json!(env!("CARGO_PKG_VERSION")))
        );
        assert!(made["made_at"].as_str().unwrap().ends_with('Z'), "{made}");
        let hashed = |input: &Value| input["sha256"].as_str().is_some_and(|hash| hash.len() == 64);
        let read = made["inputs"].as_array().unwrap();
        assert!(read.len() == inputs && read.iter().all(hashed), "{document}");
        let next = &document["next"];
        assert!(
            next["command"].is_string() || next["why"].is_string(),
            "{document}"
        );
    }
    // What comes next can be run as it stands, until nothing is left.
    let next = |document: &Value| document["next"]["command"].as_str().map(str::to_owned);
    let tool = |command: String| command.strip_prefix("anchor-verify ").unwrap().to_owned();
    let checked = site.json(
        0,
        &tool(
            next(&site.json(
                0,
                &format!("prove --event {event} --db log.db --anchors anchors.json --out q"),
            ))
            .unwrap(),
        ),
    );
    assert_eq!(checked["schema"], "check-report/1");
    let linted = site.json(
        0,
        &tool(next(&site.json(0, "import logs.json --out j.json")).unwrap()),
    );
    assert_eq!(
        (&linted["schema"], next(&linted)),
        (&json!("anchors-lint/1"), None)
    );
    let verified = site.json(
        0,
        &tool(next(&site.json(0, "lint anchors.json --db log.db")).unwrap()),
    );
    assert_eq!(
        (&verified["schema"], next(&verified)),
        (&json!("verify-report/1"), None)
    );
    let said = site.expect(0, verify);
    // What comes next ends it, in a line of its own or in two.
    let from = said.rfind("\nNEXT: ").unwrap_or_else(|| panic!("{said}"));
    let next = said[from + 1..].trim_end();
    let (why, command) = next.split_once(":\n  ").unwrap_or(("", next));
    assert!(
        !command.contains("NOT CHECKED") && !why.contains("NOT CHECKED"),
        "{said}"
    );
}

#[test]
fn a_block_that_is_none_is_told_from_one_that_is_near() {
    let site = Site::new();
    let verify = "verify --db log.db --anchors anchors.json --trusted-block";
    let said = site.expect(16, &format!("{verify} {}", "a".repeat(63)));
    assert!(said.contains("63 hex digits"), "{said}");
    let said = site.expect(16, &format!("{verify} 17"));
    assert!(said.contains("give the hash of a block"), "{said}");
}
