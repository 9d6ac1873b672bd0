//! An archive as the witness of a recovery: what comes back by it is what comes back by a snapshot of the same log.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::{Scenario, Tools, event_archive, newest_manifest, number, text};

/// The sequencer's key, as scenario 1 has it.
fn sequencer_key(scenario: &Scenario) -> String {
    let keys: Value = serde_json::from_slice(&fs::read(scenario.dir.join("keys.json")).unwrap()).unwrap();
    keys["sequencer_public_key_hex"].as_str().unwrap().to_owned()
}

/// A file with the key that was registered after the moment of the recovery: the log lost it, and the operator knows it.
fn lost_key(scenario: &Scenario) -> String {
    let keys: Value = serde_json::from_slice(&fs::read(scenario.dir.join("keys.json")).unwrap()).unwrap();
    let mut agents = keys["agents"].as_array().unwrap().iter();
    let hotel = agents.find(|agent| agent["name"] == "hotel").unwrap();
    let second = hotel["signing_keys"].as_array().unwrap().last().unwrap();
    let key = json!({
        "tenant_id": hotel["tenant_id"],
        "agent_id": hotel["agent_id"],
        "key_id": second["keyId"],
        "public_key": second["public_hex"],
        "status": "active",
    });
    let file = scenario.path("lost-key.json");
    fs::write(
        &file,
        json!({"schema": "agent-keys/1", "keys": [key]}).to_string(),
    )
    .unwrap();
    file
}

/// A log before the disaster as an archive and as a snapshot, and what the recovery left of it.
struct Stage {
    tools: Tools,
    scenario: Scenario,
    archive: String,
    snapshot: String,
    recovered: String,
}

impl Stage {
    fn set() -> Option<Self> {
        let tools = Tools::found()?;
        let scenario = Scenario::set()?;
        let truth = scenario.load("truth");
        let stage = Self {
            archive: scenario.path("archive"),
            snapshot: scenario.path("truth.db"),
            recovered: scenario.path("recovered.db"),
            tools,
            scenario,
        };
        let anchors = stage.scenario.path("anchors.json");
        event_archive(["write", &stage.archive, "--db", &truth, "--anchors", &anchors]).expect(0);
        for (url, file) in [
            (&truth, &stage.snapshot),
            (&stage.scenario.load("recovered"), &stage.recovered),
        ] {
            stage.recovery(&["snapshot", "--db", url, "--out", file], 0);
        }
        Some(stage)
    }

    fn recovery(&self, args: &[&str], code: i32) -> super::Ran {
        self.tools.run("sequencer-recovery", args).expect(code)
    }

    /// A command about the recovered log with this witness, the anchors and the sequencer's key.
    fn ask(&self, command: &str, log: &str, witness: &str, more: &[&str]) -> super::Ran {
        let (anchors, key) = (self.scenario.path("anchors.json"), sequencer_key(&self.scenario));
        let args = [
            command,
            "--format=json",
            "--db",
            log,
            "--witness",
            witness,
            "--anchors",
            &anchors,
        ];
        let mut args = args.to_vec();
        args.extend(["--sequencer-public-key", &key]);
        args.extend(more);
        self.tools.run("sequencer-recovery", args)
    }
}

/// A document without what says which witness it was, and when: the witness is called `WITNESS` in it.
fn nameless(document: &str, witness: &str) -> Value {
    let mut value: Value = serde_json::from_str(&document.replace(witness, "WITNESS")).unwrap();
    strip(&mut value);
    value
}

fn strip(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if members.get("path").is_some_and(|path| path == "WITNESS") {
                members.remove("kind");
                members.remove("place");
            }
            for name in [
                "provenance",
                "made",
                "made_at",
                "witness_options",
                "plan_id",
                "sha256",
            ] {
                members.remove(name);
            }
            members.values_mut().for_each(strip);
        }
        Value::Array(values) => {
            // What each kind of copy leaves open by itself.
            values.retain(|value| !value.as_str().is_some_and(|text| text.starts_with("WITNESS")));
            values.iter_mut().for_each(strip);
        }
        _ => {}
    }
}

#[test]
fn an_archive_says_what_a_snapshot_of_the_same_log_says() {
    let Some(stage) = Stage::set() else { return };
    let audits = [&stage.archive, &stage.snapshot].map(|witness| {
        let audit = stage.ask("audit", &stage.recovered, witness, &[]).expect(4);
        (audit.json(), nameless(&audit.stdout, witness))
    });
    assert_eq!(audits[0].1, audits[1].1);
    let heard = &audits[0].0["heard"][0];
    assert_eq!(
        (&heard["kind"], &heard["path"]),
        (&json!("archive"), &json!(stage.archive))
    );
    let made = heard["made"].as_str().unwrap();
    assert!(made.starts_with("event-archive, manifest 1"), "{made}");
    assert!(
        number(&heard["missing_held"]) > 0 && heard["error"].is_null(),
        "{heard}"
    );

    // The plans are equal line by line but for the first, which names the witness, and the last, which hashes all.
    let plans = [&stage.archive, &stage.snapshot].map(|witness| {
        let file = format!("{witness}.plan");
        let planned = stage.ask(
            "plan",
            &stage.recovered,
            witness,
            &["--accept=claimed", "--out", &file],
        );
        let planned = planned.json();
        let lines = fs::read_to_string(&file).unwrap();
        let lines: Vec<Value> = lines.lines().map(|line| nameless(line, witness)).collect();
        (planned["totals"].clone(), lines)
    });
    assert_eq!(plans[0].0, plans[1].0);
    let inner = |lines: &[Value]| lines[..lines.len() - 1].to_vec();
    assert_eq!(inner(&plans[0].1), inner(&plans[1].1));
    let count = |grade: &str| {
        plans[0]
            .1
            .iter()
            .filter(|line| line["type"] == "event" && line["grade"] == grade)
            .count()
    };
    // Beyond the anchored batches it is the receipts that place an event.
    assert!(count("proven") > 0 && count("receipted") > 0, "{}", plans[0].0);
    assert_eq!(count("claimed"), 0);
}

#[test]
fn by_an_archive_alone_the_recovered_log_is_whole_again() {
    let Some(stage) = Stage::set() else { return };
    let plan = stage.scenario.path("plan.ndjson");
    let planned = stage.ask(
        "plan",
        &stage.recovered,
        &stage.archive,
        &[
            "--accept=receipted",
            "--accept-keys",
            &lost_key(&stage.scenario),
            "--out",
            &plan,
        ],
    );
    let planned = planned.json();
    let events = number(&planned["totals"]["events"]);
    let first: Value =
        serde_json::from_str(fs::read_to_string(&plan).unwrap().lines().next().unwrap()).unwrap();
    let options = first["witness_options"].as_array().unwrap();
    assert!(options.contains(&json!(stage.archive)), "{first}");
    let named = first["witnesses"][0].as_str().unwrap();
    let expected = format!("{} (event-archive, manifest 1", stage.archive);
    assert!(named.starts_with(&expected), "{named}");
    stage.recovery(&["apply", &plan, "--db", &stage.recovered], 1);

    // Whole: the log has every event that the archive has, and the archive nothing that it lacks.
    let audit = stage.ask("audit", &stage.recovered, &stage.archive, &[]).json();
    assert_eq!(audit["totals"]["missing"], 0, "{}", audit["totals"]);
    assert_eq!(audit["totals"]["batches"]["failed"], 0);
    assert_eq!(audit["heard"][0]["missing_held"], 0);
    let manifest = newest_manifest(Path::new(&stage.archive));
    let archived: u64 = manifest["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| number(&s["events"]))
        .sum();
    assert_eq!(number(&audit["totals"]["events"]), archived);
    assert!(events > 100 && events < archived);
    // And counters, which the archive knows, too.
    let counters = stage.ask("counters", &stage.recovered, &stage.archive, &[]);
    assert_eq!(counters.code, 0, "{} {}", counters.stdout, counters.stderr);

    // The archive takes the repaired log for the one that it knows: no event is new or gone. What was committed and not
    // anchored no plan brings back, and the archive remembers it.
    let args = ["write", &stage.archive, "--db", &stage.recovered, "--format=json"];
    let again = event_archive(args).expect(4).json();
    assert_eq!(again["events_written"], 0, "{again}");
    for rewound in again["rewound"].as_array().unwrap() {
        let what = rewound["what"].as_str().unwrap();
        assert!(what.starts_with("the commitment of batch "), "{what}");
    }
}

#[test]
fn what_an_archive_lacks_of_outboxes_is_what_its_log_lacks() {
    let Some(stage) = Stage::set() else { return };
    // Of the recovered log, too, so that something is missing.
    let poor = stage.scenario.path("poor");
    event_archive(["write", &poor, "--db", &stage.recovered]).expect(0);
    let outboxes = text(&stage.scenario.dir.join("outboxes"));
    for (archive, log) in [(&stage.archive, &stage.snapshot), (&poor, &stage.recovered)] {
        let export = |from: &str, name: &str| {
            let out = stage.scenario.path(name);
            let args = [
                "export",
                &outboxes,
                "--missing-from",
                from,
                "--force",
                "--format=json",
                "--out",
                &out,
            ];
            let ran = stage.tools.run("outbox-sync", args);
            let report = ran.json();
            assert_eq!(report["manifest"]["missing_from"], from);
            (
                ran.code,
                report["manifest"]["classes"].clone(),
                fs::read(&out).unwrap(),
            )
        };
        assert_eq!(export(archive, "by-archive.ndjson"), export(log, "by-log.ndjson"));
    }
    // And keys to verify with.
    let exported = stage.scenario.path("by-archive.ndjson");
    let verify = |from: &str| {
        let ran = stage.tools.run(
            "outbox-sync",
            ["verify", &exported, "--db", from, "--format=json"],
        );
        (ran.code, ran.json()["totals"].clone())
    };
    assert_eq!(verify(&poor), verify(&stage.recovered));
}

#[test]
fn a_damaged_archive_is_used_for_the_rest_and_is_no_whole_witness() {
    let Some(stage) = Stage::set() else { return };
    let manifest = newest_manifest(Path::new(&stage.archive));
    let streams = manifest["streams"].as_array().unwrap();
    let file = |of: usize| Path::new(&stage.archive).join(streams[of]["files"][0]["path"].as_str().unwrap());
    let length = fs::metadata(file(0)).unwrap().len();
    fs::OpenOptions::new()
        .write(true)
        .open(file(0))
        .unwrap()
        .set_len(length / 2)
        .unwrap();

    let audit = stage.ask("audit", &stage.recovered, &stage.archive, &[]);
    assert_eq!(audit.code, 4 | 8, "{}", audit.stderr);
    let report = audit.json();
    let heard = &report["heard"][0];
    assert!(heard["error"].as_str().unwrap().contains("damaged"), "{heard}");
    assert!(number(&heard["rows"]) > 0, "the rest is used: {heard}");
    assert!(
        report["not_checked"].to_string().contains("left out"),
        "{}",
        report["not_checked"]
    );
    assert!(audit.stderr.contains(&stage.archive), "{}", audit.stderr);
    // A plan by it says so, and is not applied unasked.
    let plan = stage.scenario.path("plan.ndjson");
    let planned = stage.ask("plan", &stage.recovered, &stage.archive, &["--out", &plan]);
    assert_eq!(planned.code & 8, 8);
    let before = fs::read(&stage.recovered).unwrap();
    let applied = stage
        .tools
        .run("sequencer-recovery", ["apply", &plan, "--db", &stage.recovered]);
    assert!(
        applied.code != 1 && applied.stderr.contains("--although-incomplete"),
        "{}",
        applied.stderr
    );
    assert!(before == fs::read(&stage.recovered).unwrap());
    // What it lacks must not be taken for missing from it.
    let (outboxes, out) = (
        text(&stage.scenario.dir.join("outboxes")),
        stage.scenario.path("none.ndjson"),
    );
    let args = [
        "export",
        &outboxes,
        "--missing-from",
        &stage.archive,
        "--out",
        &out,
    ];
    let exported = stage.tools.run("outbox-sync", args).expect(8);
    assert!(exported.stderr.contains("must be whole"), "{}", exported.stderr);
    assert!(!Path::new(&out).exists());
}

#[test]
fn an_archive_that_cannot_be_had_is_a_witness_that_could_not_be_read() {
    let Some(stage) = Stage::set() else { return };
    // Nothing at that address; no program.
    let nowhere = format!("file://{}", stage.scenario.path("nowhere"));
    let missing = stage.scenario.path("no-such-program");
    for (witness, program, says) in [
        (&nowhere, None, "event-archive could not copy it"),
        (&stage.archive, Some(&missing), "EVENT_ARCHIVE"),
    ] {
        let args = [
            "audit",
            "--format=json",
            "--db",
            &stage.recovered,
            "--witness",
            witness,
        ];
        let mut command = stage.tools.command("sequencer-recovery", args);
        command.envs(program.map(|program| ("EVENT_ARCHIVE", program)));
        let audit = super::run(command).expect(4 | 8);
        let report = audit.json();
        let heard = &report["heard"][0];
        assert!(heard["error"].as_str().unwrap().contains(says), "{heard}");
        let not_checked = report["not_checked"].as_array().unwrap();
        let told = json!(format!("{witness}: could not be read"));
        assert!(not_checked.contains(&told), "{}", report["not_checked"]);
    }
}
