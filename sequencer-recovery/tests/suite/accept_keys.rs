//! Keys that the log lost come back with the events that need them: only if it is asked for, only on a word that is
//! good enough, and never against another.

use crate::common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use common::writer::Writer;
use common::{
    Compared, Data, Db, Dump, GOLF_STORE, Section, Server, apply, args, assert_same, get, plan, read_plan,
    run, text,
};
use fixtures::{World, WorldSpec};
use rusqlite::Connection;
use sequencer_recovery::plan::planned::KeyBasis;
use serde_json::{Value, json};

/// A dump without the times at which rows were written.
fn contents(db: &Db) -> Dump {
    let mut dump = db.dump();
    for rows in dump.0.values_mut() {
        rows.iter_mut().for_each(|row| drop(row.remove("updated_at")));
        rows.sort();
    }
    dump
}

fn with(witnesses: &[String], more: &[&str]) -> Vec<String> {
    witnesses
        .iter()
        .cloned()
        .chain(more.iter().map(|arg| (*arg).to_owned()))
        .collect()
}

/// Hotel's second key, which was registered after the moment of the recovery: agent, and public key in hex.
fn hotels_second(data: &Data) -> Value {
    let keys: Value = serde_json::from_slice(&fs::read(data.dir.join("keys.json")).unwrap()).unwrap();
    let agents = keys["agents"].as_array().unwrap();
    let hotel = agents.iter().find(|agent| agent["name"] == "hotel").unwrap();
    let mut second = hotel["signing_keys"].as_array().unwrap().iter();
    let second = second.find(|key| key["keyId"] == 2).unwrap();
    json!({
        "tenantId": hotel["tenant_id"], "agentId": hotel["agent_id"], "keyId": 2, "publicKey": second["public_hex"],
    })
}

fn write_keys(path: &Path, keys: &[&Value]) {
    let file = json!({"schema": "agent-keys/1", "keys": keys});
    fs::write(path, file.to_string()).unwrap();
}

fn findings<'a>(audit: &'a Value, code: &str) -> Vec<&'a Value> {
    let all = audit["findings"].as_array().unwrap().iter();
    all.filter(|finding| finding["code"] == code).collect()
}

#[test]
fn a_key_that_the_log_lost_comes_back_from_the_operators_file_and_its_events_with_it() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let truth = server.load("truth", &data.dir.join("truth.copy.sql")).dump();
    let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    let second = hotels_second(&data);
    let file = data.path("keys.json");
    write_keys(&file, &[&second]);
    let claimed = with(&data.witnesses(), &["--accept", "claimed"]);

    // Not asked for, nothing of it happens.
    let path = data.path("without.plan");
    plan(&recovered, &path, &claimed).expect(4);
    let without = read_plan(&path);
    assert!(without.values().all(|section| section.keys.is_empty()));

    let path = data.path("with.plan");
    let more = with(
        &claimed,
        &["--accept-keys", &text(&file), "--append", "never-sequenced"],
    );
    let summary = plan(&recovered, &path, &more).expect(4).json();
    assert_eq!(summary["totals"]["keys"], 1);
    let sections = read_plan(&path);
    let section = &sections[GOLF_STORE];
    let [key] = &section.keys[..] else {
        panic!("{:?}", section.keys)
    };
    assert_eq!((key.key.key_id, key.basis), (2, KeyBasis::Given));
    assert_eq!(key.sources, [text(&file)]);
    // Nine positions that stayed open since nobody could check a signature, and four of the five that wait: the fifth
    // was made for another version.
    assert_eq!(section.events.len(), without[GOLF_STORE].events.len() + 9);
    assert!(section.open.is_empty(), "{:?}", section.open);
    let rests = "its signature was checked with key 2, which the log lacks (";
    let resting = section
        .events
        .iter()
        .map(|e| &e.basis)
        .chain(section.appended.iter().map(|a| &a.basis));
    assert_eq!(
        resting.filter(|basis| basis.contains(rests)).count() as u64,
        key.events_planned
    );
    let hotels = section
        .appended
        .iter()
        .filter(|a| a.event.agent_key_id == 2)
        .count();
    assert_eq!(
        hotels + section.left_out.iter().filter(|l| l.outbox == "hotel.db").count(),
        5
    );
    assert!(hotels >= 4, "{:?}", section.left_out);

    // On both sides: as the truth has it, nothing left to find, once, and back again.
    let snapshot = recovered.snapshot(data.path("recovered.db"));
    for (name, db) in [
        ("postgres", server.copy("keys", &recovered)),
        ("snapshot", snapshot.file_copy(data.path("applied.db"))),
    ] {
        let before = contents(&db);
        let bundle = data.path(&format!("{name}.undo"));
        let applied = apply(&db, &path, &["--undo", &text(&bundle)]).expect(5).json();
        let golf = applied["streams"]
            .as_array()
            .unwrap()
            .iter()
            .find(|s| s["store_id"] == GOLF_STORE)
            .unwrap();
        assert_eq!((&golf["status"], &golf["keys"]), (&"applied".into(), &1.into()));
        let after = db.dump();
        let row = |dump: &Dump| {
            let rows = dump.table("agent_signing_keys").iter();
            rows.filter(|row| get(row, "agent_id") == second["agentId"] && get(row, "key_id") == "2")
                .cloned()
                .collect::<Vec<_>>()
        };
        let [restored] = &row(&after)[..] else {
            panic!("{:?}", row(&after))
        };
        let [true_row] = &row(&truth)[..] else { panic!() };
        for column in [
            "tenant_id",
            "public_key",
            "status",
            "valid_from",
            "valid_to",
            "revoked_at",
            "key_algorithm",
        ] {
            assert_eq!(restored[column], true_row[column], "{column}");
        }
        let more = args(
            ["audit", "--format", "json", "--db", &db.arg()],
            &data.witnesses(),
        );
        assert!(findings(&run(more).json(), "event.key").is_empty());
        if name == "postgres" {
            let mut sections = sections.clone();
            let appended: Vec<String> = sections
                .values()
                .flat_map(|s| &s.appended)
                .map(|a| a.event.event_id.to_string())
                .collect();
            sections.values_mut().for_each(|section| section.appended.clear());
            let (recovered, truth) = (&recovered.dump(), &truth);
            let compared = Compared {
                recovered,
                repaired: &after,
                truth,
                plan: &sections,
            };
            let wrong: Vec<String> = compared.wrong_positions();
            assert!(
                wrong
                    .iter()
                    .all(|w| appended.iter().any(|id| w.contains(id.as_str()))),
                "{wrong:?}"
            );
        }
        apply(&db, &path, &[]).expect(4);
        assert_same(&after, &db.dump());
        let db = match &db {
            Db::Postgres(_) => server.copy("keys_undone", &db),
            Db::Snapshot(_) => db.clone(),
        };
        let undone = run(["undo", &text(&bundle), "--db", &db.arg(), "--format", "json"])
            .expect(1)
            .json();
        let keys: u64 = undone["streams"]
            .as_array()
            .unwrap()
            .iter()
            .map(|s| s["keys"].as_u64().unwrap())
            .sum();
        assert_eq!(keys, 1);
        assert_same(&before, &contents(&db));
    }

    // Somebody registered the key meanwhile: the same one is as good, another one stops the stream.
    for (name, public, fits) in [
        ("same", second["publicKey"].as_str().unwrap(), true),
        ("other", &*"ab".repeat(32), false),
    ] {
        let db = snapshot.file_copy(data.path(&format!("{name}.db")));
        db.execute(&format!(
            "INSERT INTO agent_signing_keys (tenant_id, agent_id, key_id, public_key, status, created_at, key_algorithm) \
             VALUES ('{}', '{}', 2, x'{public}', 'active', '2026-11-20T09:00:00.000000Z', 1)",
            second["tenantId"].as_str().unwrap(),
            second["agentId"].as_str().unwrap(),
        ));
        let ran = apply(&db, &path, &[]);
        assert_eq!(ran.code & 8 == 0, fits, "{name}: {}", ran.stderr);
        if !fits {
            ran.says(&["key 2 of agent", "by now, and the plan has"]);
        }
    }

    // A key that was changed after the apply is not taken back.
    let db = snapshot.file_copy(data.path("changed.db"));
    let bundle = text(&data.path("changed.undo"));
    apply(&db, &path, &["--undo", &bundle]).expect(5);
    db.execute("UPDATE agent_signing_keys SET status = 'revoked' WHERE key_id = 2");
    let undone = run(["undo", &bundle, "--db", &db.arg()]);
    assert_eq!(undone.code & 8, 8);
    undone.says(&["changed since"]);
}

#[test]
fn keys_that_contradict_each_other_or_their_events_are_refused_and_named() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    let second = hotels_second(&data);
    let (good, bad) = (data.path("good.json"), data.path("bad.json"));
    let seed = ed25519_dalek::SigningKey::from_bytes(&[9; 32]);
    let mut false_key = second.clone();
    false_key["publicKey"] = ves::Hash32(seed.verifying_key().to_bytes()).to_string().into();
    write_keys(&good, &[&second]);
    write_keys(&bad, &[&false_key]);
    let claimed = with(&data.witnesses(), &["--accept", "claimed"]);
    let refused = |name: &str, files: &[&Path]| -> Vec<Value> {
        let mut more = claimed.clone();
        for file in files {
            more.extend(["--accept-keys".to_owned(), text(file)]);
        }
        let path = data.path(name);
        let summary = plan(&recovered, &path, &more).expect(4).json();
        assert!(read_plan(&path).values().all(|s| s.keys.is_empty()));
        assert_eq!(summary["totals"]["events"], 289, "as without it");
        let streams = summary["streams"].as_array().unwrap().iter();
        streams
            .filter_map(|s| s["keys_refused"].as_array())
            .flatten()
            .cloned()
            .collect()
    };
    let [why] = &refused("false", &[&bad])[..] else {
        panic!()
    };
    assert!(
        why["why"].as_str().unwrap().starts_with("no event verifies with"),
        "{why}"
    );
    let [why] = &refused("both", &[&bad, &good])[..] else {
        panic!()
    };
    let why = why["why"].as_str().unwrap();
    assert!(
        why.starts_with("its public key is contradicted")
            && why.contains("good.json")
            && why.contains("bad.json")
    );

    // A hybrid's key without its bundle checks nothing.
    let mut hybrid = second.clone();
    hybrid["keyAlgorithm"] = 5.into();
    write_keys(&data.path("hybrid.json"), &[&hybrid]);
    let [why] = &refused("hybrid", &[&data.path("hybrid.json")])[..] else {
        panic!()
    };
    assert!(
        why["why"].as_str().unwrap().contains("public_key_bundle"),
        "{why}"
    );

    // A file that contradicts itself, or is none, is no file.
    write_keys(&data.path("torn.json"), &[&second, &false_key]);
    fs::write(data.path("none.json"), "{}").unwrap();
    for name in ["torn.json", "none.json", "nowhere.json"] {
        let out = text(&data.path(&format!("{name}.plan")));
        let file = text(&data.path(name));
        let ran = run(args(
            [
                "plan",
                "--db",
                &recovered.arg(),
                "--out",
                &out,
                "--accept-keys",
                &file,
            ],
            &claimed,
        ));
        assert_eq!(ran.code, 8, "{name}: {}", ran.stderr);
        assert!(!Path::new(&out).exists());
        ran.says(&[name]);
    }

    // Scenario 1 has no peers' keys, so nothing comes of asking for them.
    let path = data.path("peers.plan");
    let ran = plan(&recovered, &path, &with(&claimed, &["--accept-keys", "peers"])).expect(4);
    let said = ran.json()["not_checked"].to_string();
    assert!(said.contains("vouches for none that the log lacks"), "{said}");
    assert!(read_plan(&path).values().all(|s| s.keys.is_empty()));
}

/// A world in which an agent registered a key after the cut, on disk.
struct Small {
    world: World,
    folder: tempfile::TempDir,
}

impl Small {
    fn new(spec: &WorldSpec) -> Self {
        let world = World::generate(spec);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        world.write_recovered(&path("log.db")).unwrap();
        world.write_anchors(&path("anchors.json")).unwrap();
        world.write_outboxes(&path("outboxes")).unwrap();
        Self { world, folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn plan(&self, name: &str, anchors: bool, more: &[&str]) -> (Value, BTreeMap<String, Section>) {
        let mut all = vec!["--outbox".to_owned(), text(&self.path("outboxes"))];
        if anchors {
            all.extend(["--anchors".to_owned(), text(&self.path("anchors.json"))]);
        }
        let path = self.path(name);
        let ran = plan(&Db::Snapshot(self.path("log.db")), &path, &with(&all, more));
        assert_eq!(ran.code & !4, 0, "{}", ran.stderr);
        (ran.json(), read_plan(&path))
    }
}

fn planned(sections: &BTreeMap<String, Section>) -> Vec<&sequencer_recovery::plan::planned::PlannedKey> {
    sections.values().flat_map(|section| &section.keys).collect()
}

#[test]
fn peers_vouch_for_a_key_as_far_as_their_word_goes() {
    let spec = WorldSpec {
        tenants: 1,
        stores_per_tenant: 1,
        agents_per_stream: 6,
        events_per_stream: 120,
        lost_key: true,
        ..WorldSpec::honest(7)
    };
    let small = Small::new(&spec);
    let truth = small.world.truth();
    let [lost] = &truth.lost_keys[..] else {
        panic!("{:?}", truth.lost_keys)
    };
    let agent = small
        .world
        .agents()
        .iter()
        .find(|agent| agent.agent_id == lost.agent_id)
        .unwrap();
    let public = ves::Hash32(agent.keys[lost.key_id as usize - 1].verifying_key().to_bytes());
    let log = Db::Snapshot(small.path("log.db"));

    // The roots place its events, and their signatures hold with the key that peers have: that is a proof of the key.
    let (summary, sections) = small.plan("proven", true, &["--accept-keys", "peers"]);
    let [key] = &planned(&sections)[..] else {
        panic!("{summary}")
    };
    assert_eq!(
        (key.key.agent_id, key.key.key_id, key.key.public_key),
        (lost.agent_id, lost.key_id, public)
    );
    assert_eq!(key.basis, KeyBasis::Proven);
    assert!(key.events_planned > 0 && key.sources.iter().all(|s| s.ends_with("'s peer keys")));
    let db = log.file_copy(small.path("applied.db"));
    assert_eq!(apply(&db, &small.path("proven"), &[]).code & 8, 0);
    let audit = run(["audit", "--db", &db.arg(), "--format", "json"]).json();
    assert!(findings(&audit, "event.key").is_empty());
    // Without the flag they come back as well, and the key stays unknown.
    small.plan("without", true, &[]);
    let db = log.file_copy(small.path("without.db"));
    apply(&db, &small.path("without"), &[]);
    let audit = run(["audit", "--db", &db.arg(), "--format", "json"]).json();
    assert_eq!(findings(&audit, "event.key").len(), 1);

    // A log that lost nothing but the row of the key gets that back alone.
    let mut more = vec![
        "--outbox".to_owned(),
        text(&small.path("outboxes")),
        "--anchors".into(),
    ];
    more.push(text(&small.path("anchors.json")));
    let path = small.path("row");
    plan(&db, &path, &with(&more, &["--accept-keys", "peers"]));
    let sections = read_plan(&path);
    let [key] = &planned(&sections)[..] else { panic!() };
    assert!(key.events_in_log > 0 && key.basis == KeyBasis::Proven);
    assert!(
        sections
            .values()
            .all(|s| s.events.iter().all(|e| e.event.agent_key_id != lost.key_id))
    );
    apply(&db, &path, &[]);
    let audit = run(["audit", "--db", &db.arg(), "--format", "json"]).json();
    assert!(findings(&audit, "event.key").is_empty());

    // Without anchors nothing proves the key. Peers agree on it, and that is used if it is asked for.
    let refused = |summary: &Value| -> Vec<String> {
        let streams = summary["streams"].as_array().unwrap().iter();
        let refused = streams.filter_map(|s| s["keys_refused"].as_array()).flatten();
        refused
            .map(|key| key["why"].as_str().unwrap().to_owned())
            .collect()
    };
    let (summary, sections) = small.plan("weak", false, &["--accept-keys", "peers"]);
    assert!(planned(&sections).is_empty());
    assert!(
        refused(&summary)[0].starts_with("only corroborated by"),
        "{summary}"
    );
    let (_, sections) = small.plan(
        "agreed",
        false,
        &["--accept-keys", "peers", "--accept", "corroborated"],
    );
    assert_eq!(planned(&sections)[0].basis, KeyBasis::Corroborated);

    // One outbox says otherwise: then nobody is believed, and both are named. That it invents keys of which no event
    // knows changes nothing.
    let other = fs::read_dir(small.path("outboxes"))
        .unwrap()
        .map(|e| e.unwrap().path())
        .find(|path| {
            let db = Connection::open(path).unwrap();
            db.query_row("SELECT COUNT(*) FROM _ves_peer_keys", [], |row| {
                row.get::<_, i64>(0)
            })
            .is_ok_and(|n| n > 0)
        });
    let db = Connection::open(other.unwrap()).unwrap();
    let false_key = ves::Hash32(
        ed25519_dalek::SigningKey::from_bytes(&[9; 32])
            .verifying_key()
            .to_bytes(),
    );
    let sql = format!(
        "INSERT INTO _ves_peer_keys (agent_id, key_id, algorithm, public_key, fetched_at) \
         SELECT agent_id, 77, algorithm, '0x{false_key}', fetched_at FROM _ves_peer_keys LIMIT 1"
    );
    assert_eq!(db.execute(&sql, []).unwrap(), 1);
    let (summary, sections) = small.plan(
        "invented",
        true,
        &["--accept-keys", "peers", "--accept", "claimed"],
    );
    assert_eq!(planned(&sections).len(), 1);
    assert!(
        summary["not_checked"]
            .to_string()
            .contains("1 key(s) that somebody vouches for"),
        "{summary}"
    );
    let sql = format!(
        "UPDATE _ves_peer_keys SET public_key = '0x{false_key}' WHERE agent_id = '{}' AND key_id = {}",
        lost.agent_id, lost.key_id
    );
    assert_eq!(db.execute(&sql, []).unwrap(), 1);
    drop(db);
    let (summary, sections) = small.plan("torn", true, &["--accept-keys", "peers", "--accept", "claimed"]);
    assert!(planned(&sections).is_empty());
    let why = &refused(&summary)[0];
    assert!(
        why.contains(&public.to_string()) && why.contains(&false_key.to_string()),
        "{why}"
    );
}

/// A stream's events and receipts, and which keys are registered.
fn of_golf(db: &Db) -> (Vec<common::Row>, usize, Vec<(String, String)>) {
    let dump = db.dump();
    let events: Vec<_> = dump
        .of_store("ves_events", GOLF_STORE)
        .into_iter()
        .cloned()
        .collect();
    let is_golfs = |row: &&common::Row| events.iter().any(|event| event["event_id"] == row["event_id"]);
    let receipts = dump
        .table("ves_sequencer_receipts")
        .iter()
        .filter(is_golfs)
        .count();
    let keys = dump.table("agent_signing_keys").iter();
    let keys = keys.filter(|row| get(row, "agent_id") != WRITER);
    let keys = keys
        .map(|row| (get(row, "agent_id").to_owned(), get(row, "key_id").to_owned()))
        .collect();
    (events, receipts, keys)
}

/// The agent of the writer that holds locks.
const WRITER: &str = "00000000-0000-0000-0000-0000a9e00001";

#[test]
fn killed_in_the_middle_of_keys_tombstones_and_appends_a_stream_is_as_before_and_running_again_finishes() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    let (file, seed, path) = (data.path("keys.json"), data.path("seed"), data.path("plan"));
    write_keys(&file, &[&hotels_second(&data)]);
    fs::write(&seed, "07".repeat(32)).unwrap();
    let more = [
        "--accept",
        "claimed",
        "--accept-keys",
        &text(&file),
        "--append",
        "never-sequenced",
        "--fill-losses",
        "tombstone",
        "--fill-undecided",
        "--recovery-key",
        &text(&seed),
        "--recovery-agent",
        "00000000-0000-4000-8000-0000000000aa",
        "--register-recovery-key",
    ];
    plan(&recovered, &path, &with(&data.witnesses(), &more)).expect(4);
    let sections = read_plan(&path);
    let golf = &sections[GOLF_STORE];
    assert!(!golf.keys.is_empty() && !golf.appended.is_empty());
    let command = golf
        .appended
        .iter()
        .rev()
        .find_map(|append| append.event.command_id)
        .unwrap();
    let before = of_golf(&recovered);

    let db = server.copy("killed", &recovered);
    let mut holder = Writer::connect(&db.arg(), 1);
    holder.hold_command(&golf.header.stream, command);
    let child = common::binary()
        .args([
            "apply",
            &text(&path),
            "--db",
            &db.arg(),
            "--lock-timeout",
            "60",
            "--quiet",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    let mut child = child.unwrap();
    let count = |what: &str| {
        let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
        test_support::query(&db.arg(), &format!("{sql}{what}"))
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while count(" AND wait_event_type = 'Lock'") == "0" {
        assert!(Instant::now() < deadline, "it does not come to that");
        std::thread::sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    holder.execute("ROLLBACK");
    drop(holder);
    while count("") != "1" {
        assert!(Instant::now() < deadline, "the killed session does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
    let (events, receipts, keys) = of_golf(&db);
    assert_eq!(
        (&events, receipts),
        (&before.0, before.1),
        "its events were written and are gone again"
    );
    let hotel = hotels_second(&data)["agentId"].as_str().unwrap().to_owned();
    assert!(!keys.contains(&(hotel.clone(), "2".to_owned())), "{keys:?}");

    apply(&db, &path, &[]).expect(5);
    let reference = server.copy("reference", &recovered);
    apply(&reference, &path, &[]).expect(5);
    let bare = |db: &Db| {
        let (mut events, receipts, keys) = of_golf(db);
        // What is appended was sequenced now.
        events.iter_mut().for_each(|row| drop(row.remove("sequenced_at")));
        events.sort();
        (events, receipts, keys)
    };
    assert_eq!(bare(&db), bare(&reference));
    assert!(of_golf(&db).2.contains(&(hotel, "2".to_owned())));
}
