//! The binary as auditors use it, from a log to a signed report, without any network.

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fixtures::{World, WorldSpec};
use serde_json::Value;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_anchor-verify");

struct Site {
    folder: TempDir,
    world: World,
    /// What the binary is started by, if not directly.
    wrapper: Vec<&'static str>,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let world = World::generate(&WorldSpec {
            events_per_stream: 50,
            batch_size: 12,
            ..WorldSpec::honest(4)
        });
        world.write_log(&folder.path().join("log.db")).unwrap();
        world.write_anchors(&folder.path().join("anchors.json")).unwrap();
        let text = common::export_of(&world);
        fs::write(folder.path().join("log.ndjson"), text).unwrap();
        let key = ves::Hash32(world.sequencer_public_key().to_bytes());
        fs::write(folder.path().join("sequencer.pub"), format!("{key}\n")).unwrap();
        fs::write(folder.path().join("seed"), format!("{}\n", "07".repeat(32))).unwrap();
        Self {
            folder,
            world,
            wrapper: Vec::new(),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&self, arguments: &str) -> Output {
        let mut words: Vec<&str> = self.wrapper.clone();
        words.push(BINARY);
        words.extend(arguments.split_whitespace());
        Command::new(words[0])
            .args(&words[1..])
            .args(["--wide", "--all"])
            .current_dir(self.folder.path())
            .env_remove("DATABASE_URL")
            .output()
            .unwrap()
    }

    /// Runs, expects a status, and returns what was printed.
    fn expect(&self, status: i32, arguments: &str) -> String {
        let output = self.run(arguments);
        let (out, err) = (
            String::from_utf8(output.stdout).unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        );
        assert_eq!(output.status.code(), Some(status), "{arguments}\n{out}{err}");
        format!("{out}{err}")
    }

    fn json(&self, status: i32, arguments: &str) -> Value {
        let output = self.run(&format!("{arguments} --format json"));
        let err = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(status), "{arguments}\n{err}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// The whole way of an auditor.
fn journey(site: &Site) {
    let anchored = site.world.anchors().len();
    let stream = *site.world.log().streams.keys().next().unwrap();
    let event = site.world.log().streams[&stream].events[&9].event.event_id;
    let key = "--sequencer-public-key sequencer.pub";

    let said = site.expect(0, &format!("verify --db log.db --anchors anchors.json {key}"));
    assert!(said.contains(&format!("{anchored} MATCHES ANCHORS")), "{said}");
    assert!(
        said.contains("NOT CHECKED") && said.contains("event(s) after the last batch"),
        "{said}"
    );
    assert!(
        said.contains("no trusted block was given") && !said.contains(" OK"),
        "{said}"
    );
    let whole = site.json(
        0,
        &format!("verify --events log.ndjson --anchors anchors.json {key}"),
    );
    assert_eq!(whole["verdict"], "MATCHES ANCHORS");
    let lines = site.expect(
        0,
        "verify --events log.ndjson --anchors anchors.json --format ndjson --quiet",
    );
    assert!(lines.lines().all(|l| serde_json::from_str::<Value>(l).is_ok()));

    // Shards, and their whole.
    for index in 1..=3 {
        let report = site.json(
            0,
            &format!("verify --events log.ndjson --anchors anchors.json {key} --shard {index}/3"),
        );
        fs::write(site.path(&format!("{index}.json")), report.to_string()).unwrap();
    }
    // But for where each comes from, and what comes next.
    let content = |mut report: Value| {
        let fields = report.as_object_mut().unwrap();
        assert!(fields.remove("provenance").is_some() && fields.remove("next").is_some());
        report
    };
    let merged = site.json(0, "merge 3.json 1.json 2.json");
    assert_eq!(content(merged), content(whole.clone()));
    assert!(
        site.expect(8, "merge 1.json 2.json")
            .contains("shard 3/3 is missing")
    );

    // A bundle, whole and without payloads.
    site.expect(
        0,
        "bundle --db log.db --anchors anchors.json --out audit.vesbundle",
    );
    let report = site.json(0, "verify audit.vesbundle");
    assert_eq!(report["totals"]["batches"]["matches_anchors"], anchored);
    assert_eq!(report["input"]["kind"], "bundle");
    site.expect(
        0,
        "bundle --db log.db --anchors anchors.json --redact payload --out private.vesbundle",
    );
    assert!(
        site.expect(0, "verify private.vesbundle")
            .contains("the payload was left out")
    );
    let said = site.expect(
        0,
        &format!(
            "bundle --db log.db --stream {stream} --range 5-20 --anchors anchors.json --out part.vesbundle"
        ),
    );
    assert!(
        said.contains("that the range cuts, for which hashes stand: 1 to 12, 13 to 24"),
        "{said}"
    );
    let said = site.expect(0, "verify part.vesbundle");
    assert!(said.contains("the batch's other events"), "{said}");

    // One event.
    site.expect(
        0,
        &format!("prove --event {event} --db log.db --anchors anchors.json --out proof.json --with-payload"),
    );
    let said = site.expect(0, "check proof.json");
    assert!(
        said.starts_with("MATCHES ANCHORS") && said.contains(&event.to_string()),
        "{said}"
    );
    site.expect(
        0,
        &format!("prove --stream {stream} --sequence 9 --db log.db --anchors anchors.json --out small.json"),
    );
    assert!(fs::metadata(site.path("small.json")).unwrap().len() < 8000);
    assert!(
        site.expect(
            4,
            &format!(
                "prove --stream {stream} --sequence 50 --db log.db --anchors anchors.json --out none.json"
            )
        )
        .contains("in no anchored batch")
    );
    assert!(!site.path("none.json").exists());
    let text = fs::read_to_string(site.path("proof.json")).unwrap();
    fs::write(
        site.path("bent.json"),
        text.replacen("\"sequence_number\": 9", "\"sequence_number\": 8", 1),
    )
    .unwrap();
    assert!(site.expect(4, "check bent.json").starts_with("FAILED"));

    // A report with a name to it.
    fs::write(site.path("report.json"), whole.to_string()).unwrap();
    site.expect(0, "attest report.json --key seed --out signed.json");
    let signed: Value = serde_json::from_slice(&fs::read(site.path("signed.json")).unwrap()).unwrap();
    let public = signed["public_key"].as_str().unwrap().to_owned();
    let said = site.expect(0, &format!("check-report signed.json --public-key {public}"));
    assert!(
        said.contains("The signature") && said.contains("MATCHES ANCHORS"),
        "{said}"
    );
    let other = site.json(4, "verify --events altered.ndjson --anchors anchors.json");
    assert_eq!(other["verdict"], "FAILED");
    fs::write(site.path("failed.json"), other.to_string()).unwrap();
    site.expect(0, "attest failed.json --key seed --out signed-failed.json");
    let said = site.expect(
        4,
        &format!("check-report signed-failed.json --public-key {public}"),
    );
    assert!(said.contains("holds") && said.contains("FAILED"), "{said}");
    let mut forged = signed.clone();
    forged["report"]["input"]["name"] = "another.ndjson".into();
    fs::write(site.path("forged.json"), forged.to_string()).unwrap();
    assert!(
        site.expect(4, &format!("check-report forged.json --public-key {public}"))
            .contains("does not hold")
    );
    assert!(
        site.expect(4, "check-report signed.json --public-key sequencer.pub")
            .contains("not with")
    );
}

/// A log export with one payload altered.
fn alter(folder: &Path) {
    let text = fs::read_to_string(folder.join("log.ndjson")).unwrap();
    let mut lines = common::Lines::of(&text);
    let at = lines.places("event")[30];
    lines.0[at]["entity_id"] = "another".into();
    fs::write(folder.join("altered.ndjson"), lines.text()).unwrap();
}

#[test]
fn from_a_log_to_a_signed_report() {
    let site = Site::new();
    alter(site.folder.path());
    journey(&site);
    // What failed is named, with the event.
    let said = site.expect(4, "verify --events altered.ndjson --anchors anchors.json");
    assert!(
        said.contains("event.signing_hash") && said.contains("event 31: "),
        "{said}"
    );
}

#[test]
fn nothing_needs_a_network() {
    // Root makes a namespace without interfaces at once, others in a user namespace of their own, where that is allowed.
    let wrappers: [&[&'static str]; 2] = [
        &["unshare", "--net", "--"],
        &["unshare", "--map-root-user", "--net", "--"],
    ];
    let works = |wrapper: &&&[&str]| {
        let ran = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output();
        ran.is_ok_and(|output| output.status.success())
    };
    let Some(wrapper) = wrappers.iter().find(works) else {
        return test_support::impossible_here("no namespace without network can be made (unshare --net)");
    };
    // It is what it should be: a loopback that is down, and nothing else.
    let probe = Command::new(wrapper[0])
        .args(&wrapper[1..])
        .args(["cat", "/proc/net/dev"])
        .output()
        .unwrap();
    let interfaces = String::from_utf8(probe.stdout).unwrap();
    let names: Vec<&str> = interfaces
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim())
        .collect();
    assert!(names.iter().all(|name| *name == "lo"), "{interfaces}");
    let mut site = Site::new();
    alter(site.folder.path());
    site.wrapper = wrapper.to_vec();
    journey(&site);
}

#[test]
fn wrong_usage_and_unreadable_input_are_told_apart() {
    let site = Site::new();
    for wrong in [
        "verify audit.vesbundle --events log.ndjson",
        "verify --events log.ndjson --shard 0/3",
        "verify --events log.ndjson --trusted-block xyz",
        "prove --db log.db --anchors anchors.json --out p",
        "prove --stream a/b --db log.db --anchors anchors.json --out p",
        "bundle --db log.db --anchors anchors.json --out b --range 1-5",
        "bundle --db log.db --anchors anchors.json --out b --range 5-1",
        "verify",
        "merge",
        "check",
    ] {
        site.expect(16, wrong);
    }
    for unreadable in [
        "verify none.vesbundle",
        "verify anchors.json",
        "verify --events anchors.json",
        "verify --events none.ndjson",
        "verify --db none.db",
        "verify --events log.ndjson --anchors log.ndjson",
        "verify --events log.ndjson --anchors anchors.json --sequencer-public-key anchors.json",
        "check anchors.json",
        "merge anchors.json",
        "attest anchors.json --key seed --out s",
        "check-report anchors.json --public-key sequencer.pub",
        "prove --event 00000000-0000-0000-0000-000000000000 --db log.db --anchors anchors.json --out p",
    ] {
        let said = site.expect(8, unreadable);
        assert!(said.contains("error"), "{unreadable}: {said}");
    }
    let text = fs::read_to_string(site.path("log.ndjson")).unwrap();
    fs::write(site.path("cut.ndjson"), &text[..text.len() / 2]).unwrap();
    assert!(site.expect(8, "verify --events cut.ndjson").contains("cut off"));
    fs::write(
        site.path("report.json"),
        site.json(0, "verify --events log.ndjson").to_string(),
    )
    .unwrap();
    assert!(
        site.expect(8, "attest report.json --key anchors.json --out s")
            .contains("seed")
    );
    assert!(
        site.expect(8, "merge report.json")
            .contains("not the report of a shard")
    );
}
