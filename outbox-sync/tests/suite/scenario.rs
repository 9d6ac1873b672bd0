//! The real disaster: what the commands say, against what is known of it.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use common::Scenario;
use serde_json::Value;

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

#[test]
fn verify_agrees_with_the_truth_on_every_row() {
    let Some(scenario) = Scenario::load() else { return };
    let before = common::fingerprint(&scenario.path().join("outboxes"));
    let older = common::fingerprint(&scenario.path().join("older"));
    let (code, document, err) = scenario.json(&["verify", "--all", "--db", "truth.log", "outboxes", "older"]);
    // The two encrypted events whose ciphertext's hash does not hold.
    assert_eq!(code, 4, "{err}");
    let mut rows = BTreeMap::new();
    for row in document["rows"].as_array().unwrap() {
        let place = text(&row["place"]);
        let (file, rest) = place.split_once(".db _ves_").unwrap_or((&place, "older row 0"));
        let file = file.rsplit('/').next().unwrap().to_owned();
        let table = if rest.starts_with("outbox") {
            "outbox"
        } else {
            "pulled"
        };
        rows.insert((file, table.to_owned(), text(&row["event_id"])), row.clone());
    }
    let mut compared = 0;
    for (event_id, event) in scenario.truth["events"].as_object().unwrap() {
        for held in event["held_by"].as_array().unwrap() {
            let key = (text(&held["outbox"]), text(&held["table"]), event_id.clone());
            let row = rows.remove(&key).unwrap_or_else(|| panic!("{key:?}"));
            compared += 1;
            let sig_ok = held["sig_ok"].as_bool().unwrap();
            assert_eq!(row["signature_holds"].as_bool().unwrap_or(false), sig_ok, "{row}");
            if sig_ok {
                let payload_ok = held["payload_ok"].as_bool().unwrap_or(false);
                assert_eq!(row["payload_hash_holds"], payload_ok, "{row}");
                assert_eq!(
                    row["verdict"],
                    if payload_ok { "holds" } else { "fails" },
                    "{row}"
                );
                assert_eq!(row["signing_hash"], held["signing_hash"], "{row}");
                assert_eq!(row["key_from"], "log");
            } else {
                assert_eq!(row["verdict"], "unsigned", "{row}");
            }
        }
    }
    assert_eq!(compared, 788 + 564 - 34);
    // What is left: rows of the older log among pulled ones, and the older outboxes.
    for (key, row) in &rows {
        let older = key.0.contains("foxtrot-ves");
        assert_eq!(
            row["verdict"],
            if older { "holds" } else { "unsigned" },
            "{key:?} {row}"
        );
        assert_eq!(row["rendering_found"].as_bool().unwrap_or(false), older);
    }
    assert_eq!(rows.len(), 34 + 24 + 40);
    assert_eq!(document["totals"]["renderings_found"], 24);
    assert_eq!(common::fingerprint(&scenario.path().join("outboxes")), before);
    assert_eq!(common::fingerprint(&scenario.path().join("older")), older);
}

/// What the truth says is missing from the recovered log, and held whole by an outbox.
fn missing_and_held(scenario: &Scenario) -> BTreeSet<String> {
    let mut held = BTreeSet::new();
    for stream in scenario.truth["streams"].as_array().unwrap() {
        for missing in stream["missing"].as_object().unwrap().values() {
            let class = text(&missing["class"]);
            if [
                "restorable_exact",
                "restorable_by_join",
                "held_position_unknown_or_wrong",
            ]
            .contains(&&*class)
            {
                held.insert(text(&missing["event_id"]));
            } else {
                assert!(
                    ["held_but_damaged_or_unverifiable", "unrestorable"].contains(&&*class),
                    "{class}"
                );
            }
        }
    }
    held
}

fn by_class(path: &std::path::Path) -> BTreeMap<String, BTreeSet<String>> {
    let mut classes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in fs::read_to_string(path).unwrap().lines().skip(1) {
        let line: Value = serde_json::from_str(line).unwrap();
        let fresh = classes
            .entry(text(&line["class"]))
            .or_default()
            .insert(text(&line["event"]["event_id"]));
        assert!(fresh, "twice: {line}");
    }
    classes
}

#[test]
fn export_of_what_is_missing_is_what_the_truth_says() {
    let Some(scenario) = Scenario::load() else { return };
    let before = common::fingerprint(&scenario.path().join("outboxes"));
    let arguments = [
        "export",
        "outboxes",
        "--missing-from",
        "recovered.log",
        "--out",
        "missing.ndjson",
    ];
    let (code, document, err) = scenario.json(&arguments);
    assert_eq!((code, err.as_str()), (4, ""), "{document}");
    let classes = by_class(&scenario.path().join("missing.ndjson"));
    let of = |name: &str| classes.get(name).cloned().unwrap_or_default();
    let never_accepted = scenario.listed("marked_synced_but_never_sequenced");
    // One of them the sequencer would refuse: the hash of its ciphertext does not hold. It is named, not handed out.
    let unsent = scenario.listed("unsynced_to_append");
    let refused: Vec<String> = unsent.difference(&of("never_sequenced")).cloned().collect();
    assert_eq!(
        (refused.len(), unsent.len(), of("never_sequenced").len()),
        (1, 25, 24)
    );
    assert!(
        document["heard"]
            .to_string()
            .contains(&format!("event {}: payload_cipher_hash", refused[0]))
    );
    // Told apart as far as witnesses go: no lost event is called doubtful.
    let held = missing_and_held(&scenario);
    let doubtful = of("doubtful");
    assert!(doubtful.is_subset(&never_accepted), "{doubtful:?}");
    let all: BTreeSet<String> = of("missing").union(&doubtful).cloned().collect();
    assert_eq!(all, held.union(&never_accepted).cloned().collect());
    assert_eq!(never_accepted.len(), 18);
    assert!(doubtful.len() >= 16, "{} doubtful", doubtful.len());
    assert_eq!(of("rejected").len(), 0);
    assert_eq!(common::fingerprint(&scenario.path().join("outboxes")), before);

    // The export is checked as a whole and row by row, with the key that the recovered log lost.
    let (code, document, _) = scenario.json(&["verify", "missing.ndjson", "--db", "truth.log"]);
    assert_eq!(code, 0, "{document}");
    let (code, _, _) = scenario.json(&["verify", "missing.ndjson", "--db", "recovered.log"]);
    assert_eq!(code, 4);

    // Against what it holds itself, nothing is missing; one document is read as well as lines.
    let arguments = [
        "export",
        "missing.ndjson",
        "--form",
        "json",
        "--out",
        "missing.json",
    ];
    assert_eq!(scenario.json(&arguments).0, 0);
    let whole = scenario.json(&["verify", "missing.json", "--db", "truth.log"]);
    assert_eq!(whole.0, 0, "{}", whole.1);
    let arguments = [
        "export",
        "missing.ndjson",
        "--missing-from",
        "missing.json",
        "--out",
        "none.ndjson",
    ];
    let (code, document, err) = scenario.json(&arguments);
    assert_eq!(
        (code, &document["manifest"]["events"]),
        (0, &Value::from(0)),
        "{err}"
    );

    // With the older outboxes more is found: what the lost agent held.
    let arguments = [
        "export",
        "outboxes",
        "older",
        "--missing-from",
        "recovered.log",
        "--out",
        "more.ndjson",
    ];
    assert_eq!(scenario.json(&arguments).0, 4);
    let more = by_class(&scenario.path().join("more.ndjson"));
    let found: BTreeSet<String> = more["missing"].difference(&all).cloned().collect();
    let events = scenario.truth["events"].as_object().unwrap();
    assert!(!found.is_empty());
    for id in found {
        let event = &events[&id];
        assert!(
            event["sequence_truth"].is_u64() && event["agent"] == "foxtrot",
            "{event}"
        );
    }
}

#[test]
fn filters_and_broken_exports() {
    let Some(scenario) = Scenario::load() else { return };
    let count = |name: &str, arguments: &[&str]| {
        let base = ["export", "outboxes/charlie.db", "--out", name];
        let (code, document, err) = scenario.json(&[&base, arguments].concat());
        assert_eq!(code, 0, "{err}");
        document["manifest"]["events"].as_u64().unwrap()
    };
    let all = count("all.ndjson", &[]);
    assert_eq!(count("pending.ndjson", &["--state", "pending,failed"]), 5);
    let early = count("early.ndjson", &["--until", "2026-11-20T05:57:11Z"]);
    let late = count("late.ndjson", &["--since", "2026-11-20T05:57:11Z"]);
    assert!(
        early > 0 && late > 0 && early + late == all,
        "{early} + {late}, {all}"
    );
    let stream = "8031ef5c-6c58-4d36-8afc-8aaaa77f604b";
    assert_eq!(count("stream.ndjson", &["--store", stream]), all);
    let none = [
        "export",
        "outboxes/charlie.db",
        "--out",
        "none.ndjson",
        "--tenant",
        stream,
    ];
    let (code, document, err) = scenario.json(&none);
    assert!(code == 4 && err.contains("no event in these files"), "{err}");
    assert_eq!(document["manifest"]["events"], 0);
    let orders = count("orders.ndjson", &["--entity-type", "order"]);
    assert!(orders > 0 && orders < all);

    // The same rows give the same bytes; a name that is taken is not overwritten.
    let (code, _, err) = common::run(
        scenario.path(),
        &["export", "outboxes/charlie.db", "--out", "all.ndjson"],
    );
    assert!(code == 8 && err.contains("exists already"), "{err}");
    count("again.ndjson", &[]);
    let read = |name: &str| fs::read(scenario.path().join(name)).unwrap();
    assert_eq!(read("all.ndjson"), read("again.ndjson"));

    // Broken lines are named; the rest is read.
    let mut lines: Vec<String> = String::from_utf8(read("all.ndjson"))
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    lines[4] = "{\"type\":\"event\"".into();
    lines[9] = lines[9].replace("\"payload_kind\":0", "\"payload_kind\":7");
    fs::write(scenario.path().join("broken.ndjson"), lines.join("\n")).unwrap();
    let (code, document, _) = scenario.json(&["verify", "broken.ndjson", "--db", "truth.log"]);
    let unreadable = document["files"][0]["unreadable"].as_array().unwrap();
    assert_eq!((code, unreadable.len()), (4, 2), "{document}");
    assert!(
        text(&unreadable[0]).starts_with("broken.ndjson line 5: "),
        "{unreadable:?}"
    );
    assert!(
        text(&unreadable[1]).starts_with("broken.ndjson line 10: payload_kind is 7"),
        "{unreadable:?}"
    );
    assert_eq!(document["totals"]["holds"].as_u64().unwrap(), all - 3);

    // Cut off, with its manifest beside it.
    let cut = read("all.ndjson");
    fs::write(scenario.path().join("again.ndjson"), &cut[..cut.len() / 2]).unwrap();
    let (code, _, err) = common::run(scenario.path(), &["verify", "again.ndjson", "--db", "truth.log"]);
    assert!(code == 12 && err.contains("cut off or changed"), "{code} {err}");
    // Taken for a log it would make events look missing that are not.
    let arguments = [
        "export",
        "outboxes",
        "--missing-from",
        "broken.ndjson",
        "--out",
        "x.ndjson",
    ];
    let (code, _, err) = common::run(scenario.path(), &arguments);
    assert!(code == 8 && err.contains("must be whole"), "{err}");
    assert!(!scenario.path().join("x.ndjson").exists());
}

#[test]
fn bad_files_do_not_hide_the_rest_of_the_fleet() {
    let Some(scenario) = Scenario::load() else { return };
    let at = |name: &str| scenario.path().join("outboxes").join(name);
    let golf = fs::read(at("golf.db")).unwrap();
    fs::write(at("cut.db"), &golf[..golf.len() / 2]).unwrap();
    fs::write(at("empty.db"), "").unwrap();
    fs::write(
        at("foreign.db"),
        "%PDF-1.7 something else, long enough to be looked at",
    )
    .unwrap();
    drop(
        rusqlite::Connection::open(at("other.db"))
            .unwrap()
            .execute_batch("CREATE TABLE t (x)"),
    );
    let (code, document, err) = scenario.json(&["verify", "outboxes", "--db", "truth.log"]);
    assert_eq!(code, 12);
    for (name, what) in [("cut.db", "truncated"), ("empty.db", "0 bytes")] {
        assert!(
            err.lines().any(|l| l.contains(name) && l.contains(what)),
            "{name}: {err}"
        );
    }
    let files = document["files"].as_array().unwrap();
    assert_eq!(
        (files.len(), document["not_read"].as_array().unwrap().len()),
        (8, 1)
    );
    // What is surely something else is no witness that is missing.
    let not_checked = document["not_checked"].to_string();
    for (name, what) in [
        ("foreign.db", "a PDF"),
        ("other.db", "database of something else"),
    ] {
        assert!(not_checked.contains(name), "{name}: {not_checked}");
        assert!(not_checked.contains(what), "{name}: {not_checked}");
    }
    let cut = files
        .iter()
        .find(|f| text(&f["path"]).ends_with("cut.db"))
        .unwrap();
    assert!(
        cut["holds"].as_u64().unwrap() > 0 && cut["damage"].is_string(),
        "{cut}"
    );
    // Nothing is lost of what the others hold.
    let arguments = [
        "export",
        "outboxes",
        "--missing-from",
        "recovered.log",
        "--out",
        "missing.ndjson",
    ];
    assert_eq!(scenario.json(&arguments).0, 12);
    assert!(
        by_class(&scenario.path().join("missing.ndjson"))["missing"]
            .is_superset(&missing_and_held(&scenario))
    );
}

#[test]
fn the_census_knows_who_holds_what() {
    let Some(scenario) = Scenario::load() else { return };
    let (code, document, err) = scenario.json(&["census", "outboxes", "--db", "recovered.log"]);
    assert_eq!((code, err.as_str()), (4, ""));
    let census: BTreeMap<(String, String), &Value> = document["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| ((text(&s["tenant_id"]), text(&s["store_id"])), s))
        .collect();
    for stream in scenario.truth["streams"].as_array().unwrap() {
        let said = census[&(text(&stream["tenant_id"]), text(&stream["store_id"]))];
        let head = stream["head_truth"].as_u64().unwrap();
        assert!(said["known_to"].as_u64().unwrap() >= head - 5, "{said}");
        for range in said["ranges"].as_array().unwrap() {
            let (first, last) = (range["first"].as_u64().unwrap(), range["last"].as_u64().unwrap());
            for number in first..=last {
                let Some(missing) = stream["missing"].get(number.to_string()) else {
                    assert!(number > head, "{number}");
                    continue;
                };
                // Undisputed and held means just that, wherever the holder did not count up.
                let undisputed = range["grade"] == "corroborated";
                if undisputed {
                    assert_eq!(missing["class"], "restorable_exact", "{number} {range} {missing}");
                }
            }
        }
    }
    let unheard = document["unheard"].as_array().unwrap();
    let foxtrot = unheard
        .iter()
        .find(|u| u["agent_id"] == "04ef0685-c27d-485b-897a-42386ee34384")
        .unwrap();
    assert!(foxtrot["held_by_others"].as_u64().unwrap() > 0);
    let (code, out, _) = common::run(scenario.path(), &["census", "outboxes", "--db", "recovered.log"]);
    assert!(code == 4 && out.contains("not heard: 04ef0685"), "{out}");
}

#[test]
fn a_census_of_a_manifest_is_that_of_the_folder_and_the_most_needed_come_first() {
    let Some(scenario) = Scenario::load() else { return };
    let folder = fs::read_dir(scenario.path().join("outboxes")).unwrap();
    let names = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut lines: Vec<String> = names.map(|name| format!("outboxes/{name}")).collect();
    lines.sort_by(|a, b| b.cmp(a));
    let write = |lines: &[String]| fs::write(scenario.path().join("fleet.txt"), lines.join("\n")).unwrap();
    write(&lines);
    let told = |arguments: &[&str], expected: i32| {
        let (code, mut document, err) = scenario.json(&[arguments, &["--db", "recovered.log"]].concat());
        assert_eq!(code, expected, "{err}");
        let document_of = document.as_object_mut().unwrap();
        document_of.remove("provenance");
        document_of.remove("next");
        (document, err)
    };
    let (census, _) = told(&["census", "outboxes"], 4);
    assert_eq!(told(&["census", "--outbox-manifest", "fleet.txt"], 4).0, census);

    let holders = census["holders"].as_array().unwrap();
    let rank = |holder: &Value| {
        (
            holder["held_alone"].as_u64().unwrap(),
            holder["held"].as_u64().unwrap(),
        )
    };
    assert!(holders.len() > 3 && rank(&holders[0]).0 > 0, "{holders:?}");
    assert!(
        holders.iter().map(rank).is_sorted_by(|a, b| a >= b),
        "{holders:?}"
    );
    assert!(holders.iter().all(|holder| rank(holder).0 <= rank(holder).1));
    // Without the most needed one just so many numbers or events are gone as it holds alone.
    let first = holders[0]["path"].as_str().unwrap();
    lines.retain(|line| !line.starts_with(first));
    write(&lines);
    let (without, _) = told(&["census", "--outbox-manifest", "fleet.txt"], 4);
    let held = |census: &Value| {
        let streams = census["streams"].as_array().unwrap().iter();
        let held = |s: &Value| {
            let ranges = s["ranges"].as_array().unwrap().iter();
            let numbers = ranges.filter(|range| range["held"] == true);
            numbers
                .map(|r| r["last"].as_u64().unwrap() - r["first"].as_u64().unwrap() + 1)
                .sum::<u64>()
                + s["unplaced"].as_u64().unwrap()
                + s["never_sequenced"].as_u64().unwrap()
        };
        streams.map(held).sum::<u64>()
    };
    assert!(held(&without) < held(&census));

    // A WAL that is not as it was listed spoils its database: SQLite would read it.
    let listed = [
        format!("{}  outboxes/delta.db-wal", "0".repeat(64)),
        "outboxes/delta.db".into(),
        "outboxes/alpha.db".into(),
    ];
    write(&listed);
    let (_, err) = told(&["census", "--outbox-manifest", "fleet.txt"], 12);
    assert!(
        err.contains("outboxes/delta.db: what lies beside it is not as it was listed"),
        "{err}"
    );
    write(&lines);

    lines.push("outboxes/gone.db".into());
    write(&lines);
    let (gone, err) = told(&["census", "--outbox-manifest", "fleet.txt"], 12);
    let line = format!("line {} of fleet.txt: no such file", lines.len());
    assert!(
        err.contains(&line) && gone["not_read"].to_string().contains(&line),
        "{err}"
    );
    assert_eq!(gone["streams"], without["streams"]);
    let (status, _) = told(&["status", "--outbox-manifest", "fleet.txt"], 12);
    assert_eq!(
        status["outboxes"].as_array().unwrap().len(),
        gone["heard"].as_array().unwrap().len()
    );
}
