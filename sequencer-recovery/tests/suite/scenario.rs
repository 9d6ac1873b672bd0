//! A real disaster, from end to end, compared row by row with the log as it was before.

use crate::common;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use common::{
    Compared, Data, Db, Dump, Figures, GOLF_STORE, Server, apply, args, assert_same, plan, read_plan, run,
    text,
};
use serde_json::Value;

/// The batches whose lost events are all held intact with their right number.
const MUST_COME_BACK: [&str; 4] = [
    "51947cd0-3cda-470a-bb1d-9d9a8067eba8",
    "c660c214-8ca5-4020-9481-20504dff43d3",
    "02f9694b-5b25-4013-8a2b-91c39358cef3",
    "bbb832ee-f24a-4069-92f4-c784149ebb7c",
];

/// One way to repair.
struct Way<'a> {
    name: &'a str,
    accept: Option<&'a str>,
    /// A file with the sequencer's seed.
    key: Option<&'a str>,
}

impl<'a> Way<'a> {
    fn new(name: &'a str) -> Self {
        Self {
            name,
            accept: None,
            key: None,
        }
    }
}

/// A log before and as it was before the disaster.
struct Side {
    recovered: Dump,
    truth: Dump,
}

/// Plans, applies and audits; compares with the truth. Says what came back, and what stands where it never was.
#[track_caller]
fn repair(data: &Data, db: &Db, side: &Side, way: &Way<'_>) -> (Figures, Vec<String>) {
    let path = data.path(&format!("{}.plan", way.name));
    let mut witnesses = data.witnesses();
    if let Some(accept) = way.accept {
        witnesses.extend(["--accept".into(), accept.into()]);
    }
    let planned = plan(db, &path, &witnesses).expect(4).json();
    let key: Vec<&str> = way
        .key
        .map(|file| ["--sequencer-key", file])
        .into_iter()
        .flatten()
        .collect();
    let applied = apply(db, &path, &key).expect(5).json();
    let repaired = db.dump();
    let plan = read_plan(&path);
    let compared = Compared {
        recovered: &side.recovered,
        repaired: &repaired,
        truth: &side.truth,
        plan: &plan,
    };
    let figures = compared.figures(&data.truth().missing());
    eprintln!("{}: {figures}", way.name);
    let wrong = compared.wrong_positions();
    if wrong.is_empty() {
        compared.check_rows();
    }

    let total = |what: &str| -> u64 {
        let streams = applied["streams"].as_array().unwrap();
        streams.iter().map(|s| s[what].as_u64().unwrap()).sum()
    };
    assert!(
        applied["streams"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["status"] == "applied")
    );
    assert_eq!(total("events"), planned["totals"]["events"].as_u64().unwrap());
    assert_eq!(total("events"), figures.restored());
    assert_eq!(total("receipts"), total("events"));
    assert_eq!(
        total("receipts_signed"),
        if key.is_empty() { 0 } else { total("events") }
    );
    assert_eq!(
        total("open_positions"),
        planned["totals"]["open"].as_u64().unwrap()
    );
    // In …/145a2de2… the last number, 191, is open too, but no witness knows that it was given out.
    assert_eq!(total("open_positions") + 1, figures.open());
    let back = compared.commitments_back();
    assert_eq!(total("commitments"), back.len() as u64);
    assert!(MUST_COME_BACK.iter().all(|id| back.contains(*id)), "{back:?}");

    let audit = run(args(
        ["audit", "--format", "json", "--db", &db.arg()],
        &data.witnesses(),
    ));
    let audit = audit.expect(4).json();
    assert_eq!(audit["totals"]["missing"], planned["totals"]["open"]);
    if wrong.is_empty() {
        assert_eq!(audit["totals"]["batches"]["failed"], 0);
    }
    let batches = audit["streams"].as_array().unwrap().iter();
    let batches = batches.flat_map(|stream| stream["batches"].as_array().unwrap());
    let verdicts: BTreeMap<&str, &str> = batches
        .map(|batch| {
            (
                batch["batch_id"].as_str().unwrap(),
                batch["verdict"].as_str().unwrap(),
            )
        })
        .collect();
    for id in &back {
        assert_eq!(verdicts[id.as_str()], "MATCHES ANCHORS", "{id}");
    }
    // What a repaired log may still lack is what nobody has, and nothing else.
    for finding in audit["findings"].as_array().unwrap() {
        let code = finding["code"].as_str().unwrap();
        let known = match code {
            "gap.tail" | "gap.interior" | "commitment.missing" => true,
            // Hotel's second key was registered after the moment of the recovery. The roots prove its events all the
            // same; that nobody could check their signatures stays a problem until the key is registered again.
            "event.key" => finding["store_id"] == GOLF_STORE && finding["count"] == 36,
            _ => finding["severity"] == "notice",
        };
        assert!(known, "{finding}");
    }
    (figures, wrong)
}

/// PostgreSQL with recovered log and truth, and snapshots of both.
struct Stage {
    data: Data,
    server: Server,
    recovered: Db,
    recovered_file: Db,
    postgres: Side,
    snapshot: Side,
}

impl Stage {
    fn set() -> Option<Self> {
        let data = Data::scenario();
        let server = Server::start()?;
        let truth = server.load("truth", &data.dir.join("truth.copy.sql"));
        let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
        let recovered_file = recovered.snapshot(data.path("recovered.db"));
        let truth_file = truth.snapshot(data.path("truth.db"));
        let side = |recovered: &Db, truth: &Db| Side {
            recovered: recovered.dump(),
            truth: truth.dump(),
        };
        Some(Self {
            postgres: side(&recovered, &truth),
            snapshot: side(&recovered_file, &truth_file),
            data,
            server,
            recovered,
            recovered_file,
        })
    }

    fn on_file(&self, way: &Way<'_>) -> (Figures, Vec<String>) {
        let db = self
            .recovered_file
            .file_copy(self.data.path(&format!("{}.db", way.name)));
        repair(&self.data, &db, &self.snapshot, way)
    }

    fn on_postgres(&self, way: &Way<'_>) -> (Figures, Vec<String>) {
        let db = self.server.copy(way.name, &self.recovered);
        repair(&self.data, &db, &self.postgres, way)
    }
}

#[test]
fn by_default_only_what_is_proven_comes_back_and_all_of_it_is_true() {
    let Some(stage) = Stage::set() else { return };
    let (figures, wrong) = stage.on_postgres(&Way::new("on_postgres"));
    assert_eq!(wrong, Vec::<String>::new());
    // The four batches alone hold 122 lost events.
    assert!(figures.restored() >= 122, "{figures}");
    // Nobody has these, so nothing can have come back.
    assert_eq!(figures.0["unrestorable"], (0, 18));
    assert_eq!(stage.on_file(&Way::new("on_file")), (figures, wrong));
}

#[test]
fn weaker_evidence_brings_back_more_and_what_is_corroborated_is_true() {
    let Some(stage) = Stage::set() else { return };
    let mut restored = 0;
    for accept in ["proven", "committed", "corroborated"] {
        let way = Way {
            accept: Some(accept),
            ..Way::new(accept)
        };
        let (figures, wrong) = stage.on_file(&way);
        assert_eq!(wrong, Vec::<String>::new(), "{accept}");
        assert!(figures.restored() >= restored);
        restored = figures.restored();
    }
    let way = Way {
        accept: Some("claimed"),
        ..Way::new("claimed")
    };
    let (figures, wrong) = stage.on_file(&way);
    assert!(figures.restored() > restored);
    // Bravo's engine counts on over rejected events: 37 of its numbers contradict the log itself, and 7 of those that
    // it alone names are wrong. It is not believed alone.
    assert_eq!(wrong, Vec::<String>::new());
    let plan = read_plan(&stage.data.path("claimed.plan"));
    let alone = plan
        .values()
        .flat_map(|s| &s.events)
        .filter(|e| e.basis == "claimed by bravo.db");
    assert_eq!(alone.count(), 0);
}

#[test]
fn with_the_sequencers_key_receipts_are_the_lost_ones_byte_for_byte() {
    let Some(stage) = Stage::set() else { return };
    let read = |path: PathBuf| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let scenario = read(stage.data.dir.join("keys.json"));
    let golden = read(stage.data.dir.join("../golden/keys.json"));
    assert_eq!(
        scenario["sequencer_public_key_hex"],
        golden["sequencer_public_key_hex"]
    );
    let seed = golden["sequencer_signing_seed_hex"].as_str().unwrap();
    let key = stage.data.path("seed");
    fs::write(&key, format!("{seed}\n")).unwrap();
    let way = Way {
        key: key.to_str(),
        ..Way::new("signed")
    };
    // Comparing rows compares signatures where there are any; that there are is counted.
    let (_, wrong) = stage.on_file(&way);
    assert_eq!(wrong, Vec::<String>::new());
    let public = scenario["sequencer_public_key_hex"].as_str().unwrap();
    let db = text(&stage.data.path("signed.db"));
    let audit = run([
        "audit",
        "--db",
        &db,
        "--sequencer-public-key",
        public,
        "--format",
        "json",
    ]);
    let report = audit.json();
    let codes: Vec<&Value> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| &f["code"])
        .collect();
    assert!(
        !codes.iter().any(|c| c.as_str().unwrap().starts_with("receipt.")),
        "{codes:?}"
    );
    assert!(!report["not_checked"].to_string().contains("receipt signature"));

    // Another key did not sign this log's receipts: it must not sign some of them.
    let other = stage.data.path("other");
    fs::write(&other, "11".repeat(32)).unwrap();
    let db = stage.recovered_file.file_copy(stage.data.path("other.db"));
    let before = db.dump();
    let refused = apply(
        &db,
        &stage.data.path("signed.plan"),
        &["--sequencer-key", other.to_str().unwrap()],
    );
    assert_eq!(refused.code & 8, 8);
    let refused = refused.says(&["did not sign"]);
    assert!(!refused.stderr.contains(&"11".repeat(32)) && !refused.stdout.contains(seed));
    assert_same(&before, &db.dump());
}

/// What a census says of each missing number, by store: its grade, and whether somebody holds its event.
fn census(data: &Data, db: &Db) -> BTreeMap<(String, u64), (String, bool)> {
    let outboxes = data.outboxes();
    let arguments = ["census", &outboxes, "--db", &db.arg(), "--format", "json"];
    let out = Command::new(common::tool("outbox-sync"))
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(
        out.status.code(),
        Some(4),
        "{}",
        String::from_utf8_lossy(&out.stderr)
    );
    let census: Value = serde_json::from_slice(&out.stdout).unwrap();
    let mut numbers = BTreeMap::new();
    for stream in census["streams"].as_array().unwrap() {
        for range in stream["ranges"].as_array().unwrap() {
            for number in range["first"].as_u64().unwrap()..=range["last"].as_u64().unwrap() {
                let grade = range["grade"].as_str().unwrap().to_owned();
                let store = stream["store_id"].as_str().unwrap().to_owned();
                numbers.insert((store, number), (grade, range["held"] == true));
            }
        }
    }
    numbers
}

#[test]
fn where_words_decide_alone_a_census_and_a_plan_say_the_same() {
    let Some(stage) = Stage::set() else { return };
    let data = &stage.data;
    let db = stage.recovered_file.file_copy(data.path("words.db"));
    // No root decides anything.
    db.execute("DELETE FROM ves_commitments");
    let path = data.path("words.plan");
    let outboxes = data.outboxes();
    let witnesses = ["--outbox", &outboxes, "--accept", "claimed"].map(String::from);
    plan(&db, &path, &witnesses).expect(4);
    let census = census(data, &db);
    let mut told: BTreeMap<String, u64> = BTreeMap::new();
    for (store, section) in read_plan(&path) {
        for event in &section.events {
            let said = &census[&(store.clone(), event.sequence)];
            assert_eq!(
                said,
                &(event.grade.to_string(), true),
                "{store} {}",
                event.sequence
            );
            *told.entry(event.grade.to_string()).or_default() += 1;
        }
        for open in &section.open {
            for number in open.from..=open.to {
                // A cursor may know of a number that no row names.
                let Some((grade, _)) = census.get(&(store.clone(), number)) else {
                    assert!(open.rivals.is_empty(), "{store} {number}");
                    continue;
                };
                let (said, doubted) = (open.grade.to_string(), open.reason.starts_with("only "));
                assert!(
                    *grade == said || doubted && ["claimed", "corroborated"].contains(&grade.as_str()),
                    "{store} {number}: {grade}, and {said} since {}",
                    open.reason
                );
                *told.entry(said).or_default() += 1;
            }
        }
    }
    for grade in ["corroborated", "claimed", "contested", "lost"] {
        assert!(told.get(grade).is_some_and(|numbers| *numbers > 0), "{told:?}");
    }
}
