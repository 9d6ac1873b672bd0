//! Events that were never sequenced get the numbers after the floor: each once, in its agent's order, judged as the
//! sequencer judges, and never one that may have a number already.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::path::{Path, PathBuf};

use common::writer::Writer;
use common::{
    ALPHA_STORE, CHARLIE_STORE, Data, Db, Dump, ECHO_STORE, GOLF_STORE, Ran, Row, Section, Server, apply,
    args, assert_json, assert_same, get, plan, read_plan, run, text,
};
use fixtures::{StreamTruth, World, WorldSpec};
use rusqlite::Connection;
use sequencer_recovery::plan::planned::LeftOutAs;
use sequencer_recovery::witness::rejection::Reason;
use serde_json::Value;
use ves::StreamKey;

const STORES: [&str; 4] = [ALPHA_STORE, CHARLIE_STORE, ECHO_STORE, GOLF_STORE];

/// A dump without the times at which rows were written.
fn contents(db: &Db) -> Dump {
    let mut dump = db.dump();
    for rows in dump.0.values_mut() {
        rows.iter_mut().for_each(|row| drop(row.remove("updated_at")));
        rows.sort();
    }
    dump
}

fn with(more: &[&str], witnesses: &[String]) -> Vec<String> {
    let mut all = witnesses.to_vec();
    all.extend(more.iter().map(|arg| (*arg).to_owned()));
    all
}

/// What the truth says waits in outboxes and never had a number, by store: the event and its place in its outbox.
fn unsequenced(data: &Data) -> BTreeMap<String, BTreeMap<String, (String, i64)>> {
    let truth = data.truth();
    let of = |store: &&str| {
        let events = truth.stream(store)["unsynced_to_append"]
            .as_array()
            .unwrap()
            .iter();
        let place = |e: &Value| {
            (
                e["outbox"].as_str().unwrap().to_owned(),
                e["local_seq"].as_i64().unwrap(),
            )
        };
        let events = events.map(|e| (e["event_id"].as_str().unwrap().to_owned(), place(e)));
        ((*store).to_owned(), events.collect())
    };
    STORES.iter().map(of).collect()
}

fn ids(section: &Section) -> Vec<String> {
    section
        .appended
        .iter()
        .map(|a| a.event.event_id.to_string())
        .collect()
}

/// What an accepted event writes is there for each that was appended, and for no other.
#[track_caller]
fn check_rows(before: &Dump, after: &Dump, section: &Section, store: &str) {
    let by = |rows: &[Row]| -> BTreeMap<String, Row> {
        rows.iter()
            .map(|row| (get(row, "event_id").to_owned(), row.clone()))
            .collect()
    };
    let (events, receipts) = (
        by(after.table("ves_events")),
        by(after.table("ves_sequencer_receipts")),
    );
    let versions = |dump: &Dump| -> BTreeMap<(String, String), i64> {
        dump.of_store("entity_versions", store)
            .iter()
            .map(|row| {
                let entity = (
                    get(row, "entity_type").to_owned(),
                    get(row, "entity_id").to_owned(),
                );
                (entity, get(row, "version").parse().unwrap())
            })
            .collect()
    };
    let commands: BTreeSet<&str> = after
        .of_store("ves_command_dedupe", store)
        .into_iter()
        .map(|row| get(row, "command_id"))
        .collect();
    let mut grown = versions(before);
    for event in section
        .events
        .iter()
        .map(|e| &e.event)
        .chain(section.appended.iter().map(|a| &a.event))
    {
        *grown
            .entry((event.entity_type.clone(), event.entity_id.clone()))
            .or_default() += 1;
    }
    assert_eq!(versions(after), grown, "{store}: +1 for each event");
    for append in &section.appended {
        let (id, number) = (append.event.event_id.to_string(), append.sequence.to_string());
        let (event, receipt) = (&events[&id], &receipts[&id]);
        assert_eq!(
            (get(event, "sequence_number"), get(event, "store_id")),
            (number.as_str(), store)
        );
        assert_eq!(get(receipt, "sequence_number"), number);
        assert_eq!(get(receipt, "sequenced_at"), get(event, "sequenced_at"));
        assert_eq!(get(event, "created_at_str"), append.event.created_at);
        let command = append.event.command_id.map(|c| c.to_string());
        assert_eq!(event["command_id"], command);
        assert!(command.is_none_or(|command| commands.contains(command.as_str())));
    }
}

/// Appends to a copy of the recovered log, and says what was appended and what was left out for which reason.
fn append(data: &Data, db: &Db, name: &str, more: &[&str]) -> BTreeMap<String, Section> {
    let path = data.path(&format!("{name}.plan"));
    let witnesses = data.witnesses();
    let more = with(more, &with(&["--append", "never-sequenced"], &witnesses));
    let before = contents(db);
    let planned = plan(db, &path, &more).json();
    let bundle = data.path(&format!("{name}.undo"));
    // With what is appended, too, a dry run says what the run says, whether an undo bundle is written or not.
    let rehearsed = apply(db, &path, &["--dry-run"]).json();
    let applied = apply(db, &path, &["--undo", &text(&bundle)]);
    assert_eq!(applied.code & !4, 1, "{}", applied.stderr);
    let report = applied.json();
    assert_json(&rehearsed["streams"], &report["streams"], "streams");
    let sections = read_plan(&path);
    let after = contents(db);
    let truth = unsequenced(data);

    let mut total = 0;
    for stream in report["streams"].as_array().unwrap() {
        let store = stream["store_id"].as_str().unwrap();
        let section = &sections[store];
        let appended = ids(section);
        assert_eq!(stream["appended"], appended.len());
        assert_eq!(stream["events"], section.events.len());
        total += appended.len();
        let never: &BTreeMap<String, (String, i64)> = &truth[store];
        // Each is one that never had a number, none twice, and every one is accounted for.
        assert!(
            appended.iter().all(|id| never.contains_key(id)),
            "{store}: {appended:?}"
        );
        let left: BTreeSet<String> = section.left_out.iter().map(|l| l.event_id.to_string()).collect();
        let all: BTreeSet<String> = appended.iter().cloned().chain(left).collect();
        assert_eq!(all.len(), appended.len() + section.left_out.len());
        assert!(all.iter().eq(never.keys()), "{store}: {all:?}");
        // Each agent's in its own order, and numbers without a hole after everything that was given out.
        let mut last: BTreeMap<&str, i64> = BTreeMap::new();
        for id in &appended {
            let (outbox, local) = &never[id];
            assert!(
                last.insert(outbox, *local).is_none_or(|before| before < *local),
                "{store}: {id}"
            );
        }
        let floor = section.header.floor.as_ref().unwrap().counter;
        let numbers: Vec<u64> = section.appended.iter().map(|a| a.sequence).collect();
        assert!(
            numbers
                .iter()
                .copied()
                .eq(floor + 1..=floor + numbers.len() as u64),
            "{store}: {numbers:?}"
        );
        assert_eq!(after.counter(store), Some(floor + numbers.len() as u64));
        check_rows(&before, &after, section, store);
    }
    assert_eq!(planned["totals"]["appended"], total);

    // Once: applied again nothing happens, and planned again nothing waits that would be appended.
    let again = apply(db, &path, &[]);
    assert_eq!(again.code & !4, 0, "{}", again.stderr);
    assert_same(&after, &contents(db));
    let second = plan(db, &data.path(&format!("{name}-second.plan")), &more).json();
    assert_eq!(
        (&second["totals"]["appended"], &second["totals"]["counters"]),
        (&0.into(), &0.into())
    );

    // The audit has nothing to say about them.
    let audit = run(args(["audit", "--format", "json", "--db", &db.arg()], &witnesses)).json();
    for finding in audit["findings"].as_array().unwrap() {
        let code = finding["code"].as_str().unwrap();
        let known = ["gap.interior", "commitment.missing", "event.key"].contains(&code);
        assert!(known || finding["severity"] == "notice", "{finding}");
        let first = finding["from"].as_u64().unwrap_or(0);
        let floor = |store: &str| sections[store].header.floor.as_ref().unwrap().counter;
        if code != "event.key" {
            assert!(
                finding["store_id"]
                    .as_str()
                    .is_none_or(|store| first <= floor(store)),
                "{finding}"
            );
        }
    }

    // And all of it can be taken back.
    let copy = match db {
        Db::Snapshot(_) => db.file_copy(data.path(&format!("{name}-undone.db"))),
        Db::Postgres(_) => return sections,
    };
    run(["undo", &text(&bundle), "--db", &copy.arg()]).expect(1);
    assert_same(&before, &contents(&copy));
    sections
}

fn reasons(sections: &BTreeMap<String, Section>, store: &str) -> BTreeMap<Option<Reason>, usize> {
    let mut reasons = BTreeMap::new();
    for left in &sections[store].left_out {
        *reasons.entry(left.reason).or_default() += 1;
    }
    reasons
}

#[test]
fn what_was_never_sequenced_is_appended_once_and_what_the_sequencer_would_refuse_is_named() {
    let data = Data::scenario();
    let Some(server) = Server::start() else { return };
    let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
    let file = recovered.snapshot(data.path("recovered.db"));

    let copy = file.file_copy(data.path("default.db"));
    let by_default = append(&data, &copy, "default", &[]);
    // Golf's engine called 52 events pending that the log had had: the roots have placed them or hotel's pulled rows
    // name them, so none of them is among the 25. Of those, one has an envelope that the sequencer refuses, five a key
    // that the recovered log lacks, and five were made for entity versions of which some events are still missing.
    let count = |sections: &BTreeMap<String, Section>| -> (usize, usize) {
        let sum = |of: fn(&Section) -> usize| sections.values().map(of).sum();
        (sum(|s| s.appended.len()), sum(|s| s.left_out.len()))
    };
    assert_eq!(count(&by_default), (14, 11));
    let golf = reasons(&by_default, GOLF_STORE);
    assert_eq!(golf[&Some(Reason::SchemaValidation)], 1);
    assert_eq!(golf[&Some(Reason::AgentKeyInvalid)], 5);
    assert_eq!(golf[&Some(Reason::VersionConflict)], 1);

    // With claims believed more versions fit; what charlie made for version 17 of an entity of 11 events never will,
    // and the sequencer had refused its forerunners for the same reason.
    let copy = file.file_copy(data.path("claimed.db"));
    let claimed = append(&data, &copy, "claimed", &["--accept", "claimed"]);
    assert_eq!(count(&claimed), (16, 9));
    let charlie = &claimed[CHARLIE_STORE].left_out;
    assert_eq!(charlie.len(), 2);
    assert!(charlie.iter().all(|left| left.left_out == LeftOutAs::Rejected));
    assert_eq!(charlie[0].message, "expected 17, actual 11");

    // PostgreSQL gives the same, and the sequencer goes on after it.
    let db = server.copy("append", &recovered);
    let on_postgres = append(&data, &db, "on-postgres", &["--accept", "claimed"]);
    let undone = server.copy("undone", &db);
    let bundle = text(&data.path("on-postgres.undo"));
    run(["undo", &bundle, "--db", &undone.arg()]).expect(1);
    assert_same(&contents(&recovered), &contents(&undone));
    let mut writer = Writer::connect(&db.arg(), 3);
    for store in STORES {
        assert_eq!(ids(&on_postgres[store]), ids(&claimed[store]));
        let truth = data.truth();
        let tenant = truth.stream(store)["tenant_id"].as_str().unwrap();
        let stream = StreamKey::new(tenant.parse().unwrap(), store.parse().unwrap());
        let counter = db.dump().counter(store).unwrap();
        assert_eq!(writer.append(&stream).unwrap(), counter + 1);
    }
    // The last write was the sequencer's, so this apply cannot be taken back any more.
    assert_eq!(run(["undo", &bundle, "--db", &db.arg()]).code & 8, 8);

    // Of two copies of one outbox the appended events are the same.
    let twice = with(&["--append", "never-sequenced", "--outbox"], &data.witnesses());
    let alpha = data.path("alpha-copy.db");
    std::fs::copy(data.dir.join("outboxes/alpha.db"), &alpha).unwrap();
    let path = data.path("twice.plan");
    plan(&file, &path, &with(&[&text(&alpha)], &twice));
    let twice = read_plan(&path);
    assert_eq!(ids(&twice[ALPHA_STORE]), ids(&by_default[ALPHA_STORE]));

    // Below the claims there is no number that was not promised to somebody.
    let path = data.path("proven.plan");
    plan(
        &file,
        &path,
        &with(
            &["--append", "never-sequenced", "--floor", "proven"],
            &data.witnesses(),
        ),
    );
    assert!(read_plan(&path).values().all(|s| s.appended.is_empty()));
}

/// A world on disk, changed behind the tool's back.
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

    fn log(&self) -> Db {
        Db::Snapshot(self.path("log.db"))
    }

    fn witnesses(&self) -> Vec<String> {
        vec![
            "--outbox".into(),
            text(&self.path("outboxes")),
            "--anchors".into(),
            text(&self.path("anchors.json")),
        ]
    }

    fn plan(&self, name: &str, more: &[&str]) -> BTreeMap<String, Section> {
        let (_, sections) = self.plan_and_report(name, more);
        sections
    }

    fn plan_and_report(&self, name: &str, more: &[&str]) -> (Ran, BTreeMap<String, Section>) {
        let path = self.path(name);
        let more = with(more, &with(&["--append", "never-sequenced"], &self.witnesses()));
        let ran = plan(&self.log(), &path, &more);
        assert_eq!(ran.code & !4, 0, "{}", ran.stderr);
        (ran, read_plan(&path))
    }
}

/// One stream of one agent whose outbox holds three events that were never sequenced.
fn lone(seed: u64) -> WorldSpec {
    WorldSpec {
        tenants: 1,
        stores_per_tenant: 1,
        agents_per_stream: 1,
        events_per_stream: 40,
        unsequenced_per_agent: 3,
        command_id_rate: 1.0,
        encrypted_rate: 0.0,
        base_version_rate: 0.0,
        pulling_rate: 0.0,
        wal_outboxes: 0,
        ..WorldSpec::honest(seed)
    }
}

fn outbox(small: &Small) -> Connection {
    let mut files = std::fs::read_dir(small.path("outboxes")).unwrap();
    Connection::open(files.next().unwrap().unwrap().path()).unwrap()
}

#[test]
fn an_event_that_may_have_a_number_already_is_left_out_unless_it_is_asked_for() {
    let small = Small::new(&lone(4));
    let truth: StreamTruth = small.world.truth().streams.remove(0);
    let store = truth.stream.store_id.to_string();
    assert_eq!(truth.unsequenced.len(), 3);
    assert_eq!(ids(&small.plan("whole", &[])[&store]).len(), 3);

    // The outbox forgets its last row but one that was answered: nobody knows whose its number was. What came later
    // was answered, so what waits was sent later still.
    let db = outbox(&small);
    let rows = |sql: &str| db.execute(sql, []).unwrap();
    rows(
        "DELETE FROM _ves_outbox WHERE remote_sequence = (SELECT MAX(remote_sequence) - 1 FROM _ves_outbox)",
    );
    let section = &small.plan("hole", &[])[&store];
    assert!(section.open.iter().any(|open| open.from == truth.head - 1));
    assert_eq!(section.appended.len(), 3);

    // Now the agent has not heard of the last number itself, as when the answer to its last push was lost: an event
    // that waits may be the one that had it.
    rows(
        "DELETE FROM _ves_outbox WHERE remote_sequence >= (SELECT MAX(remote_sequence) - 3 FROM _ves_outbox)",
    );
    let last = format!(
        "UPDATE _ves_sync_state SET value = '{}' WHERE key = 'last_pushed_sequence'",
        truth.head - 5
    );
    assert_eq!(rows(&last), 1);
    let (ran, sections) = small.plan_and_report("doubtful", &[]);
    let section = &sections[&store];
    assert!(section.open.iter().any(|open| open.range().contains(&truth.head)));
    assert_eq!((section.appended.len(), section.left_out.len()), (0, 3));
    let report = ran.json();
    assert_eq!(report["totals"]["left_out"], 3);
    for left in &section.left_out {
        assert_eq!((left.left_out, left.reason), (LeftOutAs::Doubtful, None));
        assert!(
            left.message.contains("nobody knows whose it was"),
            "{}",
            left.message
        );
    }
    // The operator knows better.
    let forced = &small.plan("forced", &["--append-doubtful"])[&store];
    assert_eq!((forced.appended.len(), forced.left_out.len()), (3, 0));
    assert!(forced.appended[0].basis.starts_with("appended although doubtful"));

    // An event whose command the log remembers was accepted once, whatever its outbox says. It is not asked for twice.
    let sql = format!(
        "INSERT INTO ves_command_dedupe VALUES ('{}', '{store}', '{}', '2026-01-02T03:04:05.678901Z')",
        truth.stream.tenant_id,
        forced.appended[1].event.command_id.unwrap()
    );
    small.log().execute(&sql);
    let orphan = &small.plan("orphan", &["--append-doubtful"])[&store];
    assert_eq!((orphan.appended.len(), orphan.left_out.len()), (2, 1));
    assert!(
        orphan.left_out[0].message.contains("remembered as accepted"),
        "{:?}",
        orphan.left_out
    );

    // A newer copy of the outbox says that the sequencer refused one of them.
    std::fs::copy(
        std::fs::read_dir(small.path("outboxes"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path(),
        small.path("newer.db"),
    )
    .unwrap();
    let newer = Connection::open(small.path("newer.db")).unwrap();
    let refused = format!(
        "UPDATE _ves_outbox SET sync_status = 'rejected' WHERE event_id = '{}'",
        forced.appended[0].event.event_id
    );
    assert_eq!(newer.execute(&refused, []).unwrap(), 1);
    drop(newer);
    let newer = text(&small.path("newer.db"));
    let known = &small.plan("newer", &["--append-doubtful", "--outbox", &newer])[&store];
    assert_eq!(known.appended.len(), 1);
    let doubtful: Vec<_> = known.left_out.iter().map(|left| left.message.as_str()).collect();
    assert!(
        doubtful
            .iter()
            .any(|why| why.contains("its state there is rejected")),
        "{doubtful:?}"
    );
}

#[test]
fn the_sequencers_checks_are_made_with_its_own_words() {
    let small = Small::new(&lone(6));
    let truth: StreamTruth = small.world.truth().streams.remove(0);
    let store = truth.stream.store_id.to_string();
    let ids: Vec<String> = truth
        .unsequenced
        .iter()
        .map(|row| row.event_id.to_string())
        .collect();
    let db = outbox(&small);
    let change = |what: &str, id: &str| {
        let sql = format!("UPDATE _ves_outbox SET {what} WHERE event_id = '{id}'");
        assert_eq!(db.execute(&sql, []).unwrap(), 1);
    };
    let say = |name: &str, more: &[&str]| -> BTreeMap<String, (Option<Reason>, String)> {
        let sections = small.plan(name, more);
        let left = sections[&store].left_out.iter();
        left.map(|l| (l.event_id.to_string(), (l.reason, l.message.clone())))
            .collect()
    };
    // Commands: one that an event of the log has used, and one twice among those that wait.
    let used = "(SELECT command_id FROM _ves_outbox WHERE remote_sequence = 1)";
    change(&format!("command_id = {used}"), &ids[0]);
    change(
        &format!(
            "command_id = (SELECT command_id FROM _ves_outbox WHERE event_id = '{}')",
            ids[1]
        ),
        &ids[2],
    );
    let said = say("commands", &[]);
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(
        said.values()
            .all(|(reason, _)| *reason == Some(Reason::DuplicateCommandId))
    );
    assert!(said.contains_key(&ids[0]) && said.contains_key(&ids[2]));

    // Versions: as they will be when the event's turn comes.
    db.execute(
        "UPDATE _ves_outbox SET command_id = NULL WHERE sync_status <> 'synced'",
        [],
    )
    .unwrap();
    change("base_version = 999", &ids[0]);
    let said = say("versions", &[]);
    assert_eq!(said.len(), 1);
    assert_eq!(said[&ids[0]].0, Some(Reason::VersionConflict));
    assert!(said[&ids[0]].1.starts_with("expected 999, actual "), "{said:?}");
    change("base_version = -1", &ids[0]);

    // Content: a payload that was not signed, a signature that does not hold, a version that nobody knows.
    let read = |sql: &str| db.query_row(sql, [], |row| row.get::<_, String>(0)).unwrap();
    let payload = read(&format!(
        "SELECT payload FROM _ves_outbox WHERE event_id = '{}'",
        ids[1]
    ));
    change("payload = '{\"other\": 1}'", &ids[1]);
    change("ves_version = 2", &ids[2]);
    let said = say("content", &[]);
    assert_eq!(said[&ids[1]].0, Some(Reason::InvalidPayloadHash));
    assert_eq!(said[&ids[2]].0, Some(Reason::UnsupportedVersion));
    change(&format!("payload = '{payload}'"), &ids[1]);
    change("ves_version = 1", &ids[2]);
    let signature = read(&format!(
        "SELECT agent_signature FROM _ves_outbox WHERE event_id = '{}'",
        ids[1]
    ));
    let other = read(&format!(
        "SELECT agent_signature FROM _ves_outbox WHERE event_id = '{}'",
        ids[2]
    ));
    change(&format!("agent_signature = '{other}'"), &ids[1]);
    assert_eq!(say("signature", &[])[&ids[1]].0, Some(Reason::InvalidSignature));
    change(&format!("agent_signature = '{signature}'"), &ids[1]);

    // Keys are judged now, as the sequencer does, or at the event's own time.
    db.execute("UPDATE _ves_outbox SET base_version = NULL", [])
        .unwrap();
    assert!(say("nothing", &[]).is_empty());
    small.log().execute(
        "UPDATE agent_signing_keys SET status = 'revoked', revoked_at = '2026-11-20T00:00:00.000000Z'",
    );
    let made: String = read(&format!(
        "SELECT created_at FROM _ves_outbox WHERE event_id = '{}'",
        ids[0]
    ));
    assert!(made.as_str() < "2026-11-20", "{made}");
    let said = say("revoked", &[]);
    assert_eq!(said.len(), 3);
    for (reason, message) in said.values() {
        assert_eq!(*reason, Some(Reason::AgentKeyInvalid));
        assert!(message.contains("revoked at 2026-11-20"), "{message}");
    }
    assert!(say("own-time", &["--judge-keys", "created-at"]).is_empty());
    let db = small.log().file_copy(small.path("own-time.db"));
    let applied = apply(&db, &small.path("own-time"), &[]);
    assert_eq!(applied.json()["streams"][0]["appended"], 3);
    // The log says when they were accepted, and the audit what that means.
    let audit = run(["audit", "--format", "json", "--db", &db.arg()]).json();
    let keys: Vec<&Value> = audit["findings"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|f| f["code"] == "event.key")
        .collect();
    assert_eq!(keys.len(), 1);

    // What is true when the plan is made may no longer be when it is applied: the whole stream is left alone then.
    small
        .log()
        .execute("UPDATE agent_signing_keys SET status = 'active', revoked_at = NULL");
    small.plan("race", &[]);
    let db = small.log().file_copy(small.path("race.db"));
    db.execute("UPDATE entity_versions SET version = version + 1");
    db.execute(
        "UPDATE agent_signing_keys SET status = 'revoked', revoked_at = '2026-01-01T00:00:00.000000Z'",
    );
    let before = contents(&db);
    let refused = apply(&db, &small.path("race"), &[]);
    assert_eq!(refused.code & 9, 8, "{}", refused.stdout);
    refused.says(&["cannot be appended", "agent_key_invalid"]);
    assert_same(&before, &contents(&db));
}

#[test]
fn options_that_make_no_sense_are_refused() {
    for more in [
        vec!["--append-doubtful"],
        vec!["--judge-keys", "now"],
        vec!["--append", "everything"],
        vec!["--append", "never-sequenced", "--judge-keys", "later"],
    ] {
        let mut all = vec!["plan", "--db", "log.db", "--out", "plan"];
        all.extend(more);
        assert_eq!(run(all).code, 16);
    }
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

/// In every world, whatever went wrong in it and whatever is believed: nothing is appended that had a number.
/// `APPEND_WORLDS=100` makes more of them.
#[test]
fn nothing_is_appended_that_was_sequenced_in_any_world() {
    let (mut waited, mut appended, mut unheard, mut doubtful, mut rejected) = (0, 0, 0, 0, 0);
    for seed in 1..=number("APPEND_WORLDS", 6) {
        let pick = |choices: u64, salt: u32| {
            (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(salt) >> 7) % choices
        };
        let small = Small::new(&WorldSpec {
            seed,
            tenants: 1,
            stores_per_tenant: 2,
            agents_per_stream: 1 + pick(3, 3) as usize,
            events_per_stream: 40 + 10 * pick(4, 5) as usize,
            batch_size: 4 + 4 * pick(3, 7) as usize,
            anchored_fraction: [0.0, 0.5, 1.0][pick(3, 11) as usize],
            wrong_claim_rate: [0.0, 0.2, 0.5][pick(3, 13) as usize],
            lost_answer_rate: [0.1, 0.4][pick(2, 33) as usize],
            rejected_rate: 0.1,
            lost_outboxes: pick(2, 15) as usize,
            pruned_outboxes: pick(2, 17) as usize,
            pulling_rate: [0.0, 0.5, 1.0][pick(3, 19) as usize],
            unsigned_pulled_rate: [0.0, 0.5, 1.0][pick(3, 21) as usize],
            lost_key: pick(2, 27) == 1,
            ..WorldSpec::default()
        });
        let truth = small.world.truth();
        for accept in ["receipted", "claimed"] {
            let sections = small.plan(&format!("{accept}.plan"), &["--accept", accept]);
            for stream in &truth.streams {
                let never: BTreeSet<String> = stream
                    .unsequenced
                    .iter()
                    .map(|r| r.event_id.to_string())
                    .collect();
                waited += never.len();
                let Some(section) = sections.get(&stream.stream.store_id.to_string()) else {
                    assert!(never.is_empty());
                    continue;
                };
                let got = ids(section);
                // A number above all that anybody knows of left no trace: the agent never heard of it either.
                let floor = section.header.floor.as_ref().map_or(0, |floor| floor.counter);
                for append in &section.appended {
                    let id = append.event.event_id;
                    let had = stream.events.iter().find(|e| e.event_id == id);
                    unheard += usize::from(had.is_some_and(|had| had.number > floor));
                    let had = had.filter(|had| had.number <= floor);
                    assert!(
                        had.is_none(),
                        "seed {seed}, {accept}, {floor}: {} for {had:?}",
                        append.basis
                    );
                }
                let left: BTreeSet<String> =
                    section.left_out.iter().map(|l| l.event_id.to_string()).collect();
                for id in &never {
                    assert!(
                        got.contains(id) || left.contains(id),
                        "seed {seed}, {accept}: {id} is not accounted for"
                    );
                }
                appended += got.len();
                let is = |as_what| {
                    section
                        .left_out
                        .iter()
                        .filter(move |l| l.left_out == as_what)
                        .count()
                };
                doubtful += is(LeftOutAs::Doubtful);
                rejected += is(LeftOutAs::Rejected);
            }
            let db = small.log().file_copy(small.path(&format!("{accept}.db")));
            let applied = apply(
                &db,
                &small.path(&format!("{accept}.plan")),
                &["--sequencer-id", SEQUENCER],
            );
            assert_eq!(applied.code & 8, 0, "seed {seed}: {}", applied.stderr);
        }
    }
    eprintln!(
        "{waited} waited, {appended} appended ({unheard} had numbers that nobody knows of); {doubtful} doubtful, {rejected} rejected"
    );
    assert!(
        appended > 0 && doubtful > 0,
        "worlds in which nothing happens prove nothing"
    );
}

const SEQUENCER: &str = "5e9e0000-0000-4000-8000-000000000001";

#[test]
fn an_epoch_tells_agents_of_their_appended_events() {
    let small = Small::new(&lone(8));
    let store = small.world.truth().streams[0].stream.store_id.to_string();
    let section = &small.plan("plan", &[])[&store];
    let epoch = small.path("epoch.json");
    apply(&small.log(), &small.path("plan"), &["--epoch", &text(&epoch)]);
    let read = outbox_sync::epoch::RecoveryEpoch::read(Path::new(&epoch)).unwrap();
    let stream = read.stream(&section.header.stream).unwrap();
    assert_eq!(Some(stream.head), section.header.counter_after);
    for append in &section.appended {
        let told = stream
            .restored
            .iter()
            .find(|n| n.event_id == append.event.event_id)
            .unwrap();
        assert_eq!(told.sequence_number, append.sequence);
    }
}
