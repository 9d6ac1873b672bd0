//! Taking an apply back: to exactly what was before, only as long as nothing else was written, and killed in the
//! middle.

use crate::common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use common::writer::Writer;
use common::{
    Data, Db, Dump, ECHO_STORE, GOLF_STORE, Ran, Server, apply, assert_same, binary, get, plan, run, text,
};
use fixtures::{World, WorldSpec};
use serde_json::Value;
use ves::StreamKey;

/// A dump without the times at which rows were written.
fn contents(db: &Db) -> Dump {
    let mut dump = db.dump();
    for rows in dump.0.values_mut() {
        for row in rows.iter_mut() {
            row.remove("updated_at");
        }
        rows.sort();
    }
    dump
}

fn undo(db: &Db, bundle: &Path, more: &[&str]) -> Ran {
    let (bundle, db) = (text(bundle), db.arg());
    let mut all = vec!["undo", bundle.as_str(), "--format", "json", "--db", &db];
    all.extend(more);
    run(all)
}

#[track_caller]
fn apply_with_undo(db: &Db, plan: &Path, bundle: &Path) -> Ran {
    apply(db, plan, &["--undo", &text(bundle)])
}

#[track_caller]
fn all_are(ran: &Ran, status: &str) {
    let report = ran.json();
    let streams = report["streams"].as_array().unwrap();
    assert!(!streams.is_empty());
    assert!(streams.iter().all(|s| s["status"] == status), "{report}");
}

/// A small world cut and spoiled: with books to keep beside the events.
struct Small {
    folder: tempfile::TempDir,
    log: Db,
    plan: PathBuf,
}

impl Small {
    fn new(spoil: &str, more: &[&str]) -> Self {
        let world = World::generate(&WorldSpec {
            seed: 5,
            ..WorldSpec::default()
        });
        Self::of(&world, spoil, more)
    }

    fn of(world: &World, spoil: &str, more: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        world.write_recovered(&path("log.db")).unwrap();
        world.write_anchors(&path("anchors.json")).unwrap();
        world.write_outboxes(&path("outboxes")).unwrap();
        let log = Db::Snapshot(path("log.db"));
        log.execute(spoil);
        let mut witnesses = vec![
            "--outbox".to_owned(),
            text(&path("outboxes")),
            "--anchors".into(),
            text(&path("anchors.json")),
        ];
        witnesses.extend(more.iter().map(|s| (*s).to_owned()));
        let out = path("plan");
        plan(&log, &out, &witnesses);
        assert!(out.exists());
        Self {
            log,
            plan: out,
            folder,
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn applied(&self, name: &str) -> (Db, PathBuf) {
        let db = self.log.file_copy(self.path(&format!("{name}.db")));
        let bundle = self.path(&format!("{name}.undo"));
        let ran = apply_with_undo(&db, &self.plan, &bundle);
        assert_eq!(ran.code & 1, 1, "{}", ran.stderr);
        (db, bundle)
    }
}

/// Books to keep: receipts and commands lost, orphans left, versions off, a counter gone, a projection that ran ahead.
const SPOIL: &str = "
    DELETE FROM ves_sequencer_receipts WHERE event_id IN (SELECT event_id FROM ves_events WHERE sequence_number IN (2, 3));
    DELETE FROM ves_command_dedupe WHERE command_id IN
        (SELECT command_id FROM ves_events WHERE command_id IS NOT NULL ORDER BY event_id LIMIT 3);
    INSERT INTO ves_command_dedupe
        SELECT tenant_id, store_id, '00000000-0000-4000-8000-00000000dead', '2026-01-02T03:04:05.678901Z'
        FROM ves_sequence_counters;
    UPDATE entity_versions SET version = 0 WHERE entity_id IN (SELECT MIN(entity_id) FROM entity_versions);
    DELETE FROM entity_versions WHERE entity_id IN (SELECT MAX(entity_id) FROM entity_versions);
    DELETE FROM projection_checkpoints;
    INSERT INTO projection_checkpoints
        SELECT tenant_id, store_id, current_sequence + 1000, '2026-01-02T03:04:05.678901Z' FROM ves_sequence_counters;
    DELETE FROM ves_sequence_counters WHERE store_id IN (SELECT MIN(store_id) FROM ves_sequence_counters);
    UPDATE ves_sequence_counters SET current_sequence = 1;";

#[test]
fn apply_and_undo_leave_the_real_log_as_it_was() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    let file = recovered.snapshot(data.path("recovered.db"));
    let path = data.path("plan");
    let mut more = data.witnesses();
    more.extend(["--accept".to_owned(), "claimed".to_owned()]);
    plan(&recovered, &path, &more).expect(4);
    for (name, db) in [("postgres", recovered), ("snapshot", file)] {
        let before = contents(&db);
        let bundle = data.path(&format!("{name}.undo"));
        let applied = apply_with_undo(&db, &path, &bundle).expect(5).json();
        let after = contents(&db);
        assert_ne!(before, after);
        let ran = undo(&db, &bundle, &[]).expect(1);
        all_are(&ran, "undone");
        let report = ran.json();
        for what in ["events", "receipts", "commands", "entity_versions", "commitments"] {
            let sum = |report: &Value| -> u64 {
                let streams = report["streams"].as_array().unwrap();
                streams.iter().map(|s| s[what].as_u64().unwrap()).sum()
            };
            assert_eq!(sum(&report), sum(&applied), "{what}");
        }
        assert!(report["warnings"].to_string().contains("LOWERED"));
        assert_same(&before, &contents(&db));
        // Twice changes nothing, not even a time.
        let once = db.dump();
        all_are(&undo(&db, &bundle, &[]).expect(0), "already_undone");
        assert_same(&once, &db.dump());
        // The same plan fits again; what is not a bundle of this plan is never written over.
        let other = data.path(&format!("{name}.other"));
        fs::write(&other, "mine").unwrap();
        apply_with_undo(&db, &path, &other)
            .expect(8)
            .says(&["exists", "other"]);
        assert_eq!(fs::read_to_string(&other).unwrap(), "mine");
        assert_same(&once, &db.dump());
        apply(&db, &path, &[]).expect(5);
        assert_same(&after, &contents(&db));
        // The old bundle fits what was done again: the rows are the same.
        all_are(&undo(&db, &bundle, &[]).expect(1), "undone");
        assert_same(&before, &contents(&db));
    }
}

#[test]
fn the_books_go_back_too_and_nothing_to_do_is_nothing_to_undo() {
    let small = Small::new(SPOIL, &["--accept", "claimed"]);
    let before = contents(&small.log);
    let (db, bundle) = small.applied("books");
    let written = fs::read_to_string(&bundle).unwrap();
    for kind in [
        "event",
        "receipt",
        "command",
        "entity_version",
        "commitment",
        "projection",
        "sealed",
        "end",
    ] {
        assert!(
            written.contains(&format!("\"{kind}\"")),
            "no {kind} in\n{written}"
        );
    }
    assert!(written.contains("\"counter_before\":null") && written.contains("\"before\":null"));
    let after = contents(&db);
    all_are(&undo(&db, &bundle, &[]).expect(1), "undone");
    assert_same(&before, &contents(&db));
    apply(&db, &small.plan, &[]);
    assert_same(&after, &contents(&db));
    // Nothing to do: the bundle says so.
    let empty = small.path("empty.undo");
    let ran = apply_with_undo(&db, &small.plan, &empty);
    assert_eq!(ran.code & 1, 0);
    let lines = fs::read_to_string(&empty).unwrap().lines().count();
    assert_eq!(lines, 2, "header and end");
    let ran = undo(&db, &empty, &[]).expect(0);
    assert_eq!(ran.json()["streams"].as_array().unwrap().len(), 0);
}

/// Command ids are forgotten only in a stream without open positions.
#[test]
fn forgotten_commands_are_remembered_again_since_the_same_moment() {
    let world = World::generate(&WorldSpec {
        cut: fixtures::Cut::None,
        interior_holes: 3,
        ..WorldSpec::honest(11)
    });
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    world.write_recovered(&path("log.db")).unwrap();
    world.write_anchors(&path("anchors.json")).unwrap();
    world.write_outboxes(&path("outboxes")).unwrap();
    let db = Db::Snapshot(path("log.db"));
    db.execute(SPOIL.split("UPDATE entity_versions").next().unwrap());
    let before = contents(&db);
    let witnesses = [
        "--outbox".to_owned(),
        text(&path("outboxes")),
        "--anchors".into(),
        text(&path("anchors.json")),
        "--accept".into(),
        "claimed".into(),
    ];
    plan(&db, &path("plan"), &witnesses);
    apply_with_undo(&db, &path("plan"), &path("undo")).expect(1);
    let written = fs::read_to_string(path("undo")).unwrap();
    let forgotten = written
        .lines()
        .find(|l| l.contains("\"row\":\"command\"") && l.contains("\"after\":null"));
    assert!(forgotten.is_some(), "{written}");
    let report = undo(&db, &path("undo"), &[]).expect(1).json();
    assert!(report["streams"].to_string().contains("\"commands_back\":1"));
    assert_same(&before, &contents(&db));
}

/// Worlds that together have every kind of row changed but keys; the same spec gives the same world, byte for byte.
fn older_worlds() -> [(&'static str, WorldSpec, &'static str, &'static [&'static str]); 3] {
    let small = |spec: WorldSpec| WorldSpec {
        tenants: 1,
        stores_per_tenant: 1,
        events_per_stream: 48,
        ..spec
    };
    let books = small(WorldSpec {
        seed: 5,
        ..WorldSpec::default()
    });
    let commands = small(WorldSpec {
        cut: fixtures::Cut::None,
        interior_holes: 3,
        ..WorldSpec::honest(11)
    });
    let reissued = small(WorldSpec {
        cut: fixtures::Cut::Fraction(0.3),
        reissued_per_stream: 12,
        repushed_per_stream: 4,
        reissue_commits: true,
        ..WorldSpec::honest(2)
    });
    let claimed: &[&str] = &["--accept", "claimed"];
    [
        ("books", books, SPOIL, claimed),
        (
            "commands",
            commands,
            SPOIL.split("UPDATE entity_versions").next().unwrap(),
            claimed,
        ),
        (
            "reissued",
            reissued,
            "SELECT 1",
            &["--on-reissue", "keep-anchored"],
        ),
    ]
}

/// What a release before `recovery-undo/2` wrote when it applied such plans to these worlds: it takes the same rows back, and
/// tells the same of it as a bundle of this release.
#[test]
fn bundles_of_older_releases_are_taken_back() {
    for (name, spec, spoil, options) in older_worlds() {
        let small = Small::of(&World::generate(&spec), spoil, options);
        let before = contents(&small.log);
        let (db, bundle) = small.applied(name);
        let after = contents(&db);
        let older = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/suite/older/{name}.undo"));
        assert_ne!(before, after);
        let mut reports = Vec::new();
        for bundle in [bundle, older] {
            let db = db.file_copy(small.path("again.db"));
            let ran = undo(&db, &bundle, &[]).expect(1);
            all_are(&ran, "undone");
            assert_same(&before, &contents(&db));
            all_are(&undo(&db, &bundle, &[]).expect(0), "already_undone");
            let mut streams = ran.json()["streams"].clone();
            for stream in streams.as_array_mut().unwrap() {
                // It knows today's plan by another id.
                stream.as_object_mut().unwrap().remove("journal");
            }
            reports.push(streams);
            fs::remove_file(small.path("again.db")).unwrap();
        }
        assert_eq!(reports[0], reports[1], "{name}");
    }
}

#[test]
fn whatever_was_written_since_is_not_undone() {
    let small = Small::new("SELECT 1", &["--accept", "claimed"]);
    let (db, bundle) = small.applied("base");
    let written = fs::read_to_string(&bundle).unwrap();
    let line = |kind: &str| -> Value {
        let line = written
            .lines()
            .find(|l| l.starts_with(&format!("{{\"type\":\"row\",\"row\":\"{kind}\"")));
        serde_json::from_str(line.unwrap()).unwrap()
    };
    let event = line("event")["event_id"].as_str().unwrap().to_owned();
    let batch = line("commitment")["batch_id"].as_str().unwrap().to_owned();
    let command = line("command")["command_id"].as_str().unwrap().to_owned();
    let version = line("entity_version");
    let (kind, id) = (
        version["entity_type"].as_str().unwrap(),
        version["entity_id"].as_str().unwrap(),
    );
    let of = format!("(SELECT store_id FROM ves_events WHERE event_id = '{event}')");
    let proof = "'00000000-0000-4000-8000-000000000001'";
    let hash = "zeroblob(32)";
    let now = "'2026-01-02T03:04:05.678901Z'";
    let changes = [
        (
            format!(
                "UPDATE ves_sequence_counters SET current_sequence = current_sequence + 1 WHERE store_id = {of}"
            ),
            "the counter is",
        ),
        (
            format!("DELETE FROM ves_sequencer_receipts WHERE event_id = '{event}'"),
            "receipt",
        ),
        (
            format!("UPDATE ves_events SET agent_signature = zeroblob(64) WHERE event_id = '{event}'"),
            "another event",
        ),
        (
            format!("UPDATE ves_events SET sequence_number = 1000000 WHERE event_id = '{event}'"),
            "event 1000000 was added",
        ),
        (
            format!("DELETE FROM ves_commitments WHERE batch_id = '{batch}'"),
            "commitments",
        ),
        (
            format!("DELETE FROM ves_command_dedupe WHERE command_id = '{command}'"),
            "commands remembered",
        ),
        (
            format!("UPDATE ves_command_dedupe SET created_at = {now} WHERE command_id = '{command}'"),
            "remembered since another moment",
        ),
        (
            format!("UPDATE ves_commitments SET committed_at = {now} WHERE batch_id = '{batch}'"),
            "was changed",
        ),
        (
            format!(
                "UPDATE entity_versions SET version = version + 1 WHERE entity_type = '{kind}' AND entity_id = '{id}'"
            ),
            "the version of",
        ),
        (
            format!(
                "INSERT INTO ves_compliance_proofs SELECT {proof}, event_id, tenant_id, store_id, 't', 1, 'p', '{{}}', {hash}, \
                 {hash}, {hash}, NULL, {now}, NULL FROM ves_events WHERE event_id = '{event}'"
            ),
            "ves_compliance_proofs",
        ),
        (
            format!(
                "INSERT INTO ves_validity_proofs SELECT {proof}, batch_id, tenant_id, store_id, 't', 1, {hash}, {hash}, NULL, \
                 {now} FROM ves_commitments WHERE batch_id = '{batch}'"
            ),
            "ves_validity_proofs",
        ),
    ];
    for (n, (change, says)) in changes.iter().enumerate() {
        let db = db.file_copy(small.path(&format!("change-{n}.db")));
        db.execute(change);
        let before = db.dump();
        let ran = undo(&db, &bundle, &[]);
        assert_eq!(ran.code & 8, 8, "{change}: {}", ran.stdout);
        let ran = ran.says(&["not as it was left", says, "hint"]);
        let report = ran.json();
        let failed: Vec<&Value> = report["streams"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|s| s["status"] == "failed")
            .collect();
        assert!(!failed.is_empty());
        let now = db.dump();
        for stream in failed {
            let store = stream["store_id"].as_str().unwrap();
            for table in [
                "ves_events",
                "ves_commitments",
                "ves_command_dedupe",
                "entity_versions",
                "ves_sequence_counters",
            ] {
                assert_eq!(
                    before.of_store(table, store),
                    now.of_store(table, store),
                    "{change}: {table}"
                );
            }
        }
    }
}

/// Waits until the server has ended the sessions of those who went.
fn until_alone(db: &Db) {
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
    let started = Instant::now();
    while test_support::query(&db.arg(), sessions) != "1" {
        assert!(started.elapsed().as_secs() < 30, "others stay connected");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// What an undo must not overlook: a commitment anchored since, and an event in a stream that the plan did not touch.
#[test]
fn other_signs_of_a_sequencer_refuse_everything_too() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    let path = data.path("plan");
    let mut more = data.witnesses();
    more.extend(["--accept".to_owned(), "claimed".to_owned()]);
    plan(&recovered, &path, &more).expect(4);
    for (name, sql, word) in [
        (
            "anchored",
            "UPDATE ves_commitments SET chain_tx_hash = decode(repeat('ab', 32), 'hex') WHERE batch_id = \
             (SELECT min(batch_id::text)::uuid FROM ves_commitments)",
            "chain_tx_hash",
        ),
        (
            "beside",
            "INSERT INTO ves_sequence_counters VALUES (gen_random_uuid(), gen_random_uuid(), 1, now())",
            "not in the bundle",
        ),
    ] {
        let db = server.copy(name, &recovered);
        let bundle = data.path(&format!("{name}.undo"));
        apply_with_undo(&db, &path, &bundle).expect(5);
        db.execute(sql);
        let applied = db.dump();
        undo(&db, &bundle, &[]).expect(8).says(&[word]);
        assert_same(&applied, &db.dump());
        let ran = undo(&db, &bundle, &["--streams-that-are-still"]);
        assert_eq!(ran.code & 1, 1, "{}", ran.stderr);
    }
}

#[test]
fn after_the_sequencer_wrote_no_stream_is_taken_back() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    let path = data.path("plan");
    let mut more = data.witnesses();
    more.extend(["--accept".to_owned(), "claimed".to_owned()]);
    plan(&recovered, &path, &more).expect(4);
    let before = contents(&recovered);
    let stream = |store: &str| -> StreamKey {
        let tenant = data.truth().stream(store)["tenant_id"]
            .as_str()
            .unwrap()
            .to_owned();
        StreamKey::new(tenant.parse().unwrap(), store.parse().unwrap())
    };

    // An event in one stream, a commitment in another; the other two go back.
    let db = server.copy("wrote", &recovered);
    let bundle = data.path("wrote.undo");
    apply_with_undo(&db, &path, &bundle).expect(5);
    // Another stream whose next event after its last commitment is there.
    let committed: (String, u64) = {
        let dump = db.dump();
        let last = |store: &String| -> u64 {
            let ends = dump.of_store("ves_commitments", store).into_iter();
            let ends = ends.map(|row| get(row, "sequence_end").parse::<u64>().unwrap());
            ends.max().unwrap()
        };
        let stores = dump.stores().into_iter().map(|store| (last(&store), store));
        stores
            .filter(|(last, store)| store != ECHO_STORE && dump.numbers(store).contains(&(last + 1)))
            .map(|(last, store)| (store, last))
            .next()
            .unwrap()
    };
    {
        let mut writer = Writer::connect(&db.arg(), 1);
        writer.append(&stream(ECHO_STORE)).unwrap();
        writer.commit_batch(&stream(&committed.0), committed.1 + 1);
    }
    until_alone(&db);
    let applied = contents(&db);
    // One stream that moved proves that the sequencer runs: no counter is lowered, in no stream.
    let ran = undo(&db, &bundle, &[])
        .expect(8)
        .says(&[ECHO_STORE, &committed.0, "was added", "commitments"]);
    assert!(ran.stdout.contains("--streams-that-are-still"), "{}", ran.stdout);
    for status in ran.json()["streams"].as_array().unwrap() {
        let store = status["store_id"].as_str().unwrap();
        let moved = [ECHO_STORE, committed.0.as_str()].contains(&store);
        assert_eq!(status["status"], if moved { "failed" } else { "refused" });
    }
    assert_same(&applied, &contents(&db));
    // Only if the operator says so.
    let ran = undo(&db, &bundle, &["--streams-that-are-still"])
        .expect(1 | 8)
        .says(&[ECHO_STORE, &committed.0, "was added", "commitments"]);
    let now = contents(&db);
    for status in ran.json()["streams"].as_array().unwrap() {
        let store = status["store_id"].as_str().unwrap();
        let stays = [ECHO_STORE, committed.0.as_str()].contains(&store);
        assert_eq!(status["status"], if stays { "failed" } else { "undone" });
        let as_it_should = if stays { &applied } else { &before };
        for table in [
            "ves_events",
            "ves_commitments",
            "ves_sequence_counters",
            "entity_versions",
        ] {
            assert_eq!(
                as_it_should.of_store(table, store),
                now.of_store(table, store),
                "{table}"
            );
        }
    }

    let db = server.copy("locked", &recovered);
    let bundle = data.path("locked.undo");
    apply_with_undo(&db, &path, &bundle).expect(5);
    let applied = contents(&db);
    // Two streams have proofs about what was put back, and stay.
    let written = fs::read_to_string(&bundle).unwrap();
    let in_section = |store: &str, kind: &str, id: &str| -> String {
        let lines = written.lines().map(|l| serde_json::from_str::<Value>(l).unwrap());
        let section = lines.skip_while(|l| l["store_id"] != store);
        let found = section.into_iter().find(|l| l["row"] == kind).unwrap();
        found[id].as_str().unwrap().to_owned()
    };
    let event = in_section(ECHO_STORE, "event", "event_id");
    let batch = in_section(GOLF_STORE, "commitment", "batch_id");
    let hash = "decode(repeat('00', 32), 'hex')";
    db.execute(&format!(
        "INSERT INTO ves_compliance_proofs SELECT gen_random_uuid(), event_id, tenant_id, store_id, 't', 1, 'p', '{{}}', \
         {hash}, {hash}, {hash} FROM ves_events WHERE event_id = '{event}'"
    ));
    db.execute(&format!(
        "INSERT INTO ves_validity_proofs SELECT gen_random_uuid(), batch_id, tenant_id, store_id, 't', 1, {hash}, {hash} \
         FROM ves_commitments WHERE batch_id = '{batch}'"
    ));
    let proven = db.dump();
    assert_eq!(
        (
            proven.table("ves_compliance_proofs").len(),
            proven.table("ves_validity_proofs").len()
        ),
        (1, 1)
    );
    undo(&db, &bundle, &[])
        .expect(8)
        .says(&["ves_compliance_proofs", "ves_validity_proofs"]);
    assert_same(&proven, &db.dump());
    let ran = undo(&db, &bundle, &["--streams-that-are-still"])
        .expect(1 | 8)
        .says(&["ves_compliance_proofs", "ves_validity_proofs"]);
    for status in ran.json()["streams"].as_array().unwrap() {
        let stays = status["store_id"] == ECHO_STORE || status["store_id"] == GOLF_STORE;
        assert_eq!(status["status"], if stays { "failed" } else { "undone" });
    }
    let now = db.dump();
    for table in ["ves_compliance_proofs", "ves_validity_proofs"] {
        assert_eq!(proven.table(table), now.table(table));
    }
    db.execute("DELETE FROM ves_compliance_proofs; DELETE FROM ves_validity_proofs");
    // Whoever holds the sequencer's locks is taken for it. If the operator knows better, it waits and then says so.
    let mut holder = Writer::connect(&db.arg(), 2);
    for store in [ECHO_STORE, GOLF_STORE] {
        holder.hold_counter(&stream(store));
        undo(&db, &bundle, &[])
            .expect(8)
            .says(&["a sequencer may run", "locks that a sequencer takes"]);
        let waits = ["--lock-timeout", "1", "--streams-that-are-still"];
        undo(&db, &bundle, &waits)
            .expect(8)
            .says(&["locked by another", "--lock-timeout"]);
        holder.execute("ROLLBACK");
    }
    drop(holder);
    until_alone(&db);
    // Writer::connect registered a key.
    undo(&db, &bundle, &[]).expect(1);
    let mut now = contents(&db);
    now.0.insert(
        "agent_signing_keys".into(),
        before.table("agent_signing_keys").to_vec(),
    );
    assert_same(&before, &now);
    assert_ne!(applied, now);
}

#[test]
fn a_bundle_that_is_not_as_it_was_written_is_refused() {
    let small = Small::new(SPOIL, &[]);
    let (db, bundle) = small.applied("base");
    let before = contents(&small.log);
    let applied = db.dump();
    let content = fs::read_to_string(&bundle).unwrap();
    let write = |name: &str, content: &str| {
        let path = small.path(name);
        fs::write(&path, content).unwrap();
        path
    };
    let lines: Vec<&str> = content.split_inclusive('\n').collect();
    let event = lines
        .iter()
        .position(|l| l.contains("\"row\":\"event\""))
        .unwrap();
    let without = |n: usize| -> String {
        let kept = lines.iter().enumerate().filter(|(at, _)| *at != n);
        kept.map(|(_, line)| *line).collect()
    };
    let edited = content
        .replacen("\"counter_before\":1,", "\"counter_before\":2,", 1)
        .replacen("\"counter_before\":1}", "\"counter_before\":2}", 1);
    assert_ne!(edited, content);
    let refused: Vec<(PathBuf, &[&str])> = vec![
        (write("edited", &edited), &["changed after it was made", "hint"]),
        (write("removed", &without(event)), &["changed after it was made"]),
        (
            write("cut", &content[..content.len() / 2]),
            &["cut off", "--interrupted"],
        ),
        (
            write("no-end", &without(lines.len() - 1)),
            &["cut off", "--interrupted"],
        ),
        (write("longer", &format!("{content}{{}}\n")), &["after the end"]),
        (
            write("version", &content.replacen("undo/2", "undo/3", 1)),
            &["recovery-undo/3", "hint"],
        ),
        (write("empty", ""), &["empty"]),
        (small.plan.clone(), &["recovery-plan/1", "hint"]),
        (small.path("nowhere"), &["nowhere", "hint"]),
    ];
    for (path, words) in &refused {
        let ran = undo(&db, path, &[]).expect(8).says(words);
        assert_eq!(ran.stdout, "");
        assert_same(&applied, &db.dump());
    }
    for name in ["edited", "removed"] {
        undo(&db, &small.path(name), &["--interrupted"]).expect(8);
        assert_same(&applied, &db.dump());
    }
    // A bundle is no plan, and a log that it was not written for is refused.
    apply(&db, &bundle, &[]).expect(8).says(&["recovery-undo/2"]);
    let other = World::generate(&WorldSpec {
        seed: 6,
        ..WorldSpec::default()
    });
    other.write_recovered(&small.path("other.db")).unwrap();
    let other = Db::Snapshot(small.path("other.db"));
    let untouched = other.dump();
    undo(&other, &bundle, &[]).expect(8).says(&["not as it was left"]);
    assert_same(&untouched, &other.dump());
    // Without its last line, and told that it was interrupted.
    let ran = undo(&db, &small.path("no-end"), &["--interrupted"]).expect(1);
    all_are(&ran, "undone");
    assert!(
        ran.json()["not_checked"]
            .to_string()
            .contains("the end of the bundle")
    );
    assert_same(&before, &contents(&db));
}

#[test]
fn killed_in_the_middle_what_was_done_can_be_taken_back_and_undo_can_be_run_again() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    let file = recovered.snapshot(data.path("recovered.db"));
    let path = data.path("plan");
    plan(&file, &path, &data.witnesses()).expect(4);
    let before = contents(&file);
    let kill_after = |args: &[&str], part: u32, takes: std::time::Duration| {
        let mut child = binary()
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(takes * part / 7);
        child.kill().unwrap();
        child.wait().unwrap();
    };

    let db = file.file_copy(data.path("reference.db"));
    let whole = data.path("reference.undo");
    let started = Instant::now();
    apply_with_undo(&db, &path, &whole).expect(5);
    let apply_takes = started.elapsed();
    let applied = contents(&db);
    let started = Instant::now();
    undo(&db, &whole, &[]).expect(1);
    let undo_takes = started.elapsed();

    let mut sealed = Vec::new();
    for n in 0..8 {
        // The apply is killed; what it committed is in the bundle.
        let db = file.file_copy(data.path(&format!("apply-{n}.db")));
        let bundle = data.path(&format!("apply-{n}.undo"));
        let (db_arg, plan_arg, undo_arg) = (db.arg(), text(&path), text(&bundle));
        kill_after(
            &[
                "apply", &plan_arg, "--db", &db_arg, "--undo", &undo_arg, "--quiet",
            ],
            n,
            apply_takes,
        );
        if fs::metadata(&bundle).is_ok_and(|m| m.len() > 0) {
            let ran = undo(&db, &bundle, &["--interrupted"]);
            assert_eq!(ran.code & !1, 0, "{}", ran.stderr);
            sealed.push(ran.json()["streams"].as_array().unwrap().len());
        }
        assert_same(&before, &contents(&db));

        // The undo is killed; run again it finishes.
        let db = file.file_copy(data.path(&format!("undo-{n}.db")));
        apply(&db, &path, &[]).expect(5);
        assert_same(&applied, &contents(&db));
        let (db_arg, undo_arg) = (db.arg(), text(&whole));
        kill_after(&["undo", &undo_arg, "--db", &db_arg, "--quiet"], n, undo_takes);
        let ran = undo(&db, &whole, &[]);
        assert_eq!(ran.code & !1, 0, "{}", ran.stderr);
        assert_same(&before, &contents(&db));
    }
    eprintln!("streams in the bundle when apply was killed: {sealed:?}");
}
