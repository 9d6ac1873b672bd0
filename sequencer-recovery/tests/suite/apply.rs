//! Applying plans: again, on a log that has moved on, under locks that others hold, and killed in the middle.

use crate::common;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use common::writer::Writer;
use common::{
    ALPHA_STORE, CHARLIE_STORE, Compared, Data, Db, Dump, ECHO_STORE, GOLF_STORE, Server, apply, args,
    assert_same, binary, get, plan, read_plan, run, text,
};
use fixtures::{Cut, World, WorldSpec};
use rusqlite::Connection;
use serde_json::{Value, json};
use test_support::ScratchPostgres;
use ves::StreamKey;

const STORES: [&str; 4] = [ALPHA_STORE, CHARLIE_STORE, ECHO_STORE, GOLF_STORE];

/// The recovered log of scenario 1 on a server, and plans for it.
struct Stage {
    data: Data,
    server: Server,
    recovered: Db,
}

impl Stage {
    fn set() -> Option<Self> {
        let data = Data::scenario();
        let server = Server::start()?;
        let recovered = server.load("recovered", &data.dir.join("recovered.copy.sql"));
        Some(Self {
            data,
            server,
            recovered,
        })
    }

    fn stream(&self, store: &str) -> StreamKey {
        let truth = self.data.truth();
        let tenant = truth.stream(store)["tenant_id"].as_str().unwrap();
        StreamKey::new(tenant.parse().unwrap(), store.parse().unwrap())
    }

    /// A plan for the whole recovered log, or for one stream of it.
    #[track_caller]
    fn plan(&self, name: &str, store: Option<&str>) -> PathBuf {
        let path = self.data.path(name);
        let mut more = self.data.witnesses();
        if let Some(store) = store {
            more.extend(["--store".to_owned(), store.to_owned()]);
        }
        plan(&self.recovered, &path, &more).expect(4);
        path
    }

    fn copy(&self, name: &str) -> (Db, String) {
        let db = self.server.copy(name, &self.recovered);
        let url = db.arg();
        (db, url)
    }
}

fn status(report: &Value) -> BTreeMap<String, String> {
    let streams = report["streams"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    streams
        .map(|s| (text(&s["store_id"]), text(&s["status"])))
        .collect()
}

/// A dump of one stream's rows, without the times at which they were written.
fn of_store(dump: &Dump, store: &str) -> Dump {
    let events: BTreeSet<&str> = dump
        .of_store("ves_events", store)
        .iter()
        .map(|row| get(row, "event_id"))
        .collect();
    let mut tables = BTreeMap::new();
    for (name, rows) in &dump.0 {
        let of = |row: &&common::Row| match name.as_str() {
            "ves_sequencer_receipts" => events.contains(get(row, "event_id")),
            _ => row.get("store_id").is_some_and(|s| s.as_deref() == Some(store)),
        };
        let mut rows: Vec<common::Row> = rows.iter().filter(of).cloned().collect();
        for row in &mut rows {
            row.remove("updated_at");
        }
        rows.sort();
        tables.insert(name.clone(), rows);
    }
    Dump(tables)
}

#[test]
fn again_changes_nothing_and_a_log_that_moved_on_is_refused() {
    let Some(stage) = Stage::set() else { return };
    let path = stage.plan("all.plan", None);
    let one = stage.plan("one.plan", Some(ECHO_STORE));
    let (db, url) = stage.copy("again");
    apply(&db, &path, &[]).expect(5);
    let once = db.dump();
    let again = apply(&db, &path, &[]).expect(4).json();
    assert!(status(&again).values().all(|s| s == "already_applied"), "{again}");
    assert!(
        again["not_checked"].to_string().contains("were not recomputed"),
        "{again}"
    );
    assert_same(&once, &db.dump());
    // A plan for what is there already has nothing to do; what nobody has stays open.
    let next = stage.data.path("next.plan");
    let summary = plan(&db, &next, &stage.data.witnesses()).expect(4).json();
    assert_eq!(
        (
            &summary["totals"]["events"],
            &summary["totals"]["commitments"],
            &summary["totals"]["counters"]
        ),
        (&json!(0), &json!(0), &json!(0))
    );
    apply(&db, &next, &[]).expect(4);
    assert_same(&once, &db.dump());
    // New events after the repair are no drift from what the plan left.
    Writer::connect(&url, 1)
        .append(&stage.stream(ECHO_STORE))
        .unwrap();
    let before = db.dump();
    let again = apply(&db, &path, &[]).expect(4).json();
    assert!(status(&again).values().all(|s| s == "already_applied"), "{again}");
    assert_same(&before, &db.dump());

    // An event appended between plan and apply: it has a number that was promised to another.
    let (db, url) = stage.copy("drift");
    let stream = stage.stream(ECHO_STORE);
    assert_eq!(Writer::connect(&url, 1).append(&stream).unwrap(), 125);
    let before = db.dump();
    let refused = apply(&db, &one, &[]).expect(4 | 8).says(&[
        "has changed since the plan was made",
        ECHO_STORE,
        "hint",
    ]);
    assert_eq!(status(&refused.json())[ECHO_STORE], "failed");
    assert_same(&before, &db.dump());
    // The other streams did not move, and are repaired.
    let report = apply(&db, &path, &[]).expect(1 | 4 | 8).json();
    let failed: Vec<String> = status(&report)
        .into_iter()
        .filter(|(_, s)| s != "applied")
        .map(|(s, _)| s)
        .collect();
    assert_eq!(failed, [ECHO_STORE]);
    assert_eq!(of_store(&before, ECHO_STORE), of_store(&db.dump(), ECHO_STORE));
    assert_eq!(of_store(&once, GOLF_STORE), of_store(&db.dump(), GOLF_STORE));
    // A new plan sees that a number was given out twice, and does not touch that event.
    let next = stage.data.path("after-drift.plan");
    let mut more = stage.data.witnesses();
    more.extend(["--store".to_owned(), ECHO_STORE.to_owned()]);
    let before = db.dump();
    plan(&db, &next, &more).expect(4);
    apply(&db, &next, &[]);
    let after = db.dump();
    let there = |dump: &Dump| -> Vec<common::Row> {
        let rows = dump.of_store("ves_events", ECHO_STORE);
        rows.into_iter()
            .filter(|row| get(row, "sequence_number") == "125")
            .cloned()
            .collect()
    };
    assert_eq!(there(&before), there(&after));
    assert!(after.counter(ECHO_STORE) >= Some(190));
}

/// Whatever of a stream has changed, the plan no longer fits, on both sides.
#[test]
fn any_other_change_is_drift_too() {
    let Some(stage) = Stage::set() else { return };
    let one = stage.plan("one.plan", Some(ECHO_STORE));
    let file = stage.recovered.snapshot(stage.data.path("recovered.db"));
    let of = format!("store_id = '{ECHO_STORE}'");
    let event = format!("event_id = (SELECT event_id FROM ves_events WHERE {of} AND sequence_number = 60)");
    let changes = [
        format!("UPDATE ves_sequence_counters SET current_sequence = 125 WHERE {of}"),
        format!("DELETE FROM ves_sequence_counters WHERE {of}"),
        format!("DELETE FROM ves_sequencer_receipts WHERE {event}"),
        format!("DELETE FROM ves_sequencer_receipts WHERE {event}; DELETE FROM ves_events WHERE {event}"),
        format!("DELETE FROM ves_commitments WHERE {of} AND sequence_start = 65"),
        format!(
            "UPDATE ves_events SET agent_signature = event_signing_hash || event_signing_hash WHERE {event}"
        ),
        format!("UPDATE ves_events SET sequence_number = 1000 WHERE {event}"),
    ];
    for (n, change) in changes.iter().enumerate() {
        let (postgres, _) = stage.copy(&format!("change_{n}"));
        let snapshot = file.file_copy(stage.data.path(&format!("change-{n}.db")));
        for db in [postgres, snapshot] {
            // SQLite concatenates text, not blobs.
            let sql = match db {
                Db::Snapshot(_) => change.replace("event_signing_hash || event_signing_hash", "zeroblob(64)"),
                Db::Postgres(_) => change.clone(),
            };
            db.execute(&sql);
            let before = db.dump();
            apply(&db, &one, &[])
                .expect(4 | 8)
                .says(&["has changed since the plan was made"]);
            assert_same(&before, &db.dump());
        }
    }
}

#[test]
fn a_plan_that_is_not_as_it_was_made_or_for_another_log_is_refused() {
    let Some(stage) = Stage::set() else { return };
    let golden = Data::golden();
    let path = stage.plan("plan", None);
    let file = stage.recovered.snapshot(stage.data.path("recovered.db"));
    let before = file.dump();
    let content = fs::read_to_string(&path).unwrap();
    let write = |name: &str, content: &str| {
        let path = stage.data.path(name);
        fs::write(&path, content).unwrap();
        path
    };
    let counter = content.find("\"counter_after\":").unwrap() + "\"counter_after\":".len();
    let mut edited = content.clone();
    edited.replace_range(counter..=counter, "9");
    let half = content.len() / 2;
    let cut = content[..half].rfind('\n').unwrap() + 1;
    let without_event: String = {
        let drop = content
            .lines()
            .position(|line| line.contains("\"type\":\"event\""))
            .unwrap();
        content
            .lines()
            .enumerate()
            .filter(|(n, _)| *n != drop)
            .map(|(_, line)| format!("{line}\n"))
            .collect()
    };
    let refused: Vec<(PathBuf, &[&str])> = vec![
        (write("edited", &edited), &["changed after it was made", "hint"]),
        (write("cut-in-a-line", &content[..half]), &["cut off", "hint"]),
        (write("cut-after-a-line", &content[..cut]), &["cut off"]),
        (write("event-removed", &without_event), &["line "]),
        (write("longer", &format!("{content}{{}}\n")), &["after the end"]),
        (
            write(
                "version",
                &content.replacen("recovery-plan/1", "recovery-plan/2", 1),
            ),
            &["recovery-plan/2", "hint"],
        ),
        (write("garbage", "\u{0}\u{1}not a plan"), &["garbage"]),
        (write("empty", ""), &["empty"]),
        (stage.data.path("nowhere"), &["nowhere", "hint"]),
        (stage.data.out.path().to_path_buf(), &["hint"]),
    ];
    for (plan, words) in &refused {
        let ran = apply(&file, plan, &[]).expect(8).says(words);
        assert_eq!(ran.stdout, "");
        assert_same(&before, &file.dump());
    }

    // Another log: its streams are not those of the plan, on both sides, and none is made.
    let other = stage.server.load("golden", &golden.dir.join("log.copy.sql"));
    for db in [other.snapshot(stage.data.path("golden.db")), other] {
        let before = db.dump();
        let ran = apply(&db, &path, &[])
            .expect(4 | 8)
            .says(&["has changed since the plan was made", ECHO_STORE]);
        assert!(status(&ran.json()).values().all(|s| s == "failed"));
        assert_same(&before, &db.dump());
    }
    // The same plan on the log that it was made for.
    apply(&file, &path, &[]).expect(5);
}

#[test]
fn a_lock_that_another_holds_is_waited_for_and_then_told() {
    let Some(stage) = Stage::set() else { return };
    let one = stage.plan("one.plan", Some(ECHO_STORE));
    let (db, url) = stage.copy("locked");
    let stream = stage.stream(ECHO_STORE);
    let mut holder = Writer::connect(&url, 1);
    let before = db.dump();
    for commitments in [false, true] {
        if commitments {
            holder.hold_commitments(&stream);
        } else {
            holder.hold_counter(&stream);
        }
        let started = Instant::now();
        let ran = apply(&db, &one, &["--lock-timeout", "1"])
            .expect(4 | 8)
            .says(&["locked by another", "--lock-timeout"]);
        assert!(started.elapsed() >= Duration::from_secs(1));
        assert_eq!(status(&ran.json())[ECHO_STORE], "failed");
        assert_same(&before, &db.dump());
        let more = [
            "--store".to_owned(),
            ECHO_STORE.to_owned(),
            "--lock-timeout".into(),
            "1".into(),
            "--apply".into(),
        ];
        let more: Vec<String> = stage.data.witnesses().into_iter().chain(more).collect();
        let ran = run(args(["counters", "--db", &url], &more));
        assert_eq!(ran.code & 8, 8);
        assert_same(&before, &db.dump());
        holder.execute("ROLLBACK");
    }
    // Reading does not wait for anybody.
    holder.hold_counter(&stream);
    run(args(["audit", "--db", &url], &stage.data.witnesses())).expect(4);
    // A lock that is let go in time is only waited for.
    let waiting = start(&db, &one, "20");
    wait_until(|| waits(&url));
    holder.execute("COMMIT");
    assert_eq!(finish(waiting), 5);

    let file = stage.recovered.snapshot(stage.data.path("locked.db"));
    let before = file.dump();
    let holder = Connection::open(file.arg()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    apply(&file, &one, &["--lock-timeout", "1"])
        .expect(4 | 8)
        .says(&["locked"]);
    holder.execute_batch("ROLLBACK").unwrap();
    assert_same(&before, &file.dump());
    apply(&file, &one, &[]).expect(5);
}

/// Starts apply and does not wait for it.
fn start(db: &Db, plan: &std::path::Path, lock_timeout: &str) -> Child {
    let mut command = binary();
    command.args([
        "apply",
        &text(plan),
        "--db",
        &db.arg(),
        "--lock-timeout",
        lock_timeout,
        "--quiet",
    ]);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

#[track_caller]
fn finish(mut child: Child) -> i32 {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code().unwrap_or(-1);
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[track_caller]
fn wait_until(mut what: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !what() {
        assert!(Instant::now() < deadline, "it does not come to that");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a session of the database waits for a lock.
fn waits(url: &str) -> bool {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    test_support::query(url, sql) != "0"
}

/// Each stream is wholly as before or wholly as after; says how many are as after.
#[track_caller]
fn whole(before: &Dump, after: &Dump, now: &Dump) -> usize {
    let mut done = 0;
    for store in STORES {
        let now = of_store(now, store);
        if now == of_store(after, store) {
            done += 1;
        } else {
            assert_same(&of_store(before, store), &now);
        }
    }
    done
}

#[test]
fn killed_in_the_middle_each_stream_is_wholly_before_or_after() {
    let Some(stage) = Stage::set() else { return };
    let path = stage.plan("plan", None);
    let before = stage.recovered.dump();
    let (db, _) = stage.copy("reference");
    apply(&db, &path, &[]).expect(5);
    let after = db.dump();
    let sections = read_plan(&path);
    let order: Vec<String> = {
        let content = fs::read_to_string(&path).unwrap();
        let lines = content
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|l| l["type"] == "stream")
            .map(|l| l["store_id"].as_str().unwrap().to_owned())
            .collect()
    };
    for (n, store) in order.iter().enumerate() {
        // Held before the stream begins, and held in the middle of its transaction, when its events are written.
        for midway in [false, true] {
            let (db, url) = stage.copy(&format!("kill_{n}_{midway}"));
            let mut holder = Writer::connect(&url, 1);
            if midway {
                let command = sections[store]
                    .events
                    .iter()
                    .rev()
                    .find_map(|e| e.event.command_id);
                let Some(command) = command else { continue };
                holder.hold_command(&stage.stream(store), command);
            } else {
                holder.hold_counter(&stage.stream(store));
            }
            let mut child = start(&db, &path, "60");
            wait_until(|| waits(&url));
            child.kill().unwrap();
            child.wait().unwrap();
            holder.execute("ROLLBACK");
            drop(holder);
            let alone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
            wait_until(|| test_support::query(&url, alone) == "1");
            assert_eq!(whole(&before, &after, &db.dump()), n, "{store}, midway: {midway}");
            apply(&db, &path, &[]).expect(5);
            assert_eq!(whole(&before, &after, &db.dump()), 4);
        }
    }
}

#[test]
fn killed_at_any_moment_a_snapshot_is_whole() {
    let Some(stage) = Stage::set() else { return };
    let path = stage.plan("plan", None);
    let file = stage.recovered.snapshot(stage.data.path("recovered.db"));
    let before = file.dump();
    let reference = file.file_copy(stage.data.path("reference.db"));
    let started = Instant::now();
    apply(&reference, &path, &[]).expect(5);
    let takes = started.elapsed();
    let after = reference.dump();
    let mut seen = BTreeSet::new();
    // Later and later: on a busy machine until one run has got somewhere, at the latest to its end.
    for n in 0.. {
        let db = file.file_copy(stage.data.path(&format!("kill-{n}.db")));
        let mut child = start(&db, &path, "60");
        std::thread::sleep(takes * n / 7);
        child.kill().unwrap();
        child.wait().unwrap();
        // A journal may be left: the log must be readable as it is, and be as before or after.
        let ran = run(args(["audit", "--db", &db.arg()], &stage.data.witnesses()));
        assert_eq!(ran.code, 4, "{}", ran.stderr);
        // Looking at the file rolls back what the journal holds; apply must manage without that.
        if n % 2 == 0 {
            seen.insert(whole(&before, &after, &db.dump()));
        }
        let ran = apply(&db, &path, &[]);
        assert_eq!(ran.code & !1, 4, "{}", ran.stderr);
        assert_eq!(whole(&before, &after, &db.dump()), 4);
        if n >= 7 && seen.len() > 1 {
            break;
        }
    }
    eprintln!("streams done when killed: {seen:?}");
    assert!(seen.contains(&0), "{seen:?}");
}

#[test]
fn a_crash_of_the_server_is_told_and_loses_nothing() {
    let data = Data::scenario();
    if !test_support::postgres_available() {
        return;
    }
    let mut stage = Stage {
        server: Server(ScratchPostgres::start_durable()),
        recovered: Db::Postgres(String::new()),
        data,
    };
    stage.recovered = stage
        .server
        .load("recovered", &stage.data.dir.join("recovered.copy.sql"));
    let path = stage.plan("plan", None);
    let before = stage.recovered.dump();
    let (db, _) = stage.copy("reference");
    apply(&db, &path, &[]).expect(5);
    let after = db.dump();
    let (_, url) = stage.copy("crash");
    let sections = read_plan(&path);
    let golf = &sections[GOLF_STORE];
    let command = golf.events.iter().rev().find_map(|e| e.event.command_id).unwrap();
    let mut holder = Writer::connect(&url, 1);
    holder.hold_command(&stage.stream(GOLF_STORE), command);
    let child = start(&Db::Postgres(url.clone()), &path, "60");
    wait_until(|| waits(&url));
    stage.server.0.kill9();
    drop(holder);
    assert_eq!(finish(child) & 8, 8);
    stage.server.0.restart();
    let db = Db::Postgres(stage.server.0.database_url("crash"));
    let done = whole(&before, &after, &db.dump());
    assert!(done < 4);
    apply(&db, &path, &[]).expect(5);
    assert_eq!(whole(&before, &after, &db.dump()), 4);
}

#[test]
fn the_floor_is_the_operators_choice_but_never_below_a_proof() {
    let Some(stage) = Stage::set() else { return };
    let file = stage.recovered.snapshot(stage.data.path("recovered.db"));
    let of_alpha = |more: &[&str]| -> Vec<String> {
        let more = more.iter().map(|s| (*s).to_owned());
        let store = ["--store".to_owned(), ALPHA_STORE.to_owned()];
        stage
            .data
            .witnesses()
            .into_iter()
            .chain(store)
            .chain(more)
            .collect()
    };
    // The anchors reach to 192, what two agents say to 227, one claim to 228.
    let choices = [
        ("claimed", 228),
        ("corroborated", 227),
        ("proven", 192),
        ("200", 200),
        ("192", 192),
        ("500", 500),
    ];
    for (n, (floor, counter)) in choices.iter().enumerate() {
        let path = stage.data.path(&format!("{n}.plan"));
        let summary = plan(&file, &path, &of_alpha(&["--floor", floor]))
            .expect(4)
            .json();
        assert_eq!(summary["streams"][0]["counter_after"], *counter);
        let options = summary["streams"][0]["floor"]["options"].as_array().unwrap();
        let costs: Vec<&str> = options.iter().map(|o| o["cost"].as_str().unwrap()).collect();
        assert!(
            costs[0].contains("36 number(s) up to 228 that alpha.db"),
            "{costs:?}"
        );
        let db = file.file_copy(stage.data.path(&format!("{n}.db")));
        apply(&db, &path, &[]).expect(5);
        assert_eq!(db.dump().counter(ALPHA_STORE), Some(*counter));
    }
    let below = stage.data.path("below.plan");
    let ran = plan(&file, &below, &of_alpha(&["--floor", "191"])).expect(16);
    ran.says(&["below 192", "anchored batch c660c214", "proven", "hint"]);
    assert!(!below.exists(), "a refused plan leaves no file");
    for nonsense in ["-1", "lost", "contested", "99999999999999999999"] {
        let floor = format!("--floor={nonsense}");
        plan(&file, &below, &of_alpha(&[&floor])).expect(16);
        assert!(!below.exists());
    }

    // The counters alone.
    let counters = |db: &Db, more: &[&str]| {
        run(args(
            ["counters", "--format", "json", "--db", &db.arg()],
            &of_alpha(more),
        ))
    };
    let db = file.file_copy(stage.data.path("counters.db"));
    let before = db.dump();
    let report = counters(&db, &[]).expect(4).json();
    assert_eq!(report["streams"][0]["state"], "behind");
    assert_same(&before, &db.dump());
    counters(&db, &["--floor", "191", "--apply"])
        .expect(16)
        .says(&["anchored batch c660c214"]);
    assert_same(&before, &db.dump());
    let report = counters(&db, &["--floor", "proven", "--apply"]).expect(1).json();
    assert_eq!(
        (&report["streams"][0]["state"], &report["streams"][0]["floor"]),
        (&json!("raised"), &json!(192))
    );
    assert_eq!(db.dump().counter(ALPHA_STORE), Some(192));
    counters(&db, &["--apply"]).expect(1);
    assert_eq!(db.dump().counter(ALPHA_STORE), Some(228));
    // Nothing but that one row has changed, and nothing lowers it.
    let mut now = db.dump();
    for row in now.0.get_mut("ves_sequence_counters").unwrap() {
        if get(row, "store_id") == ALPHA_STORE {
            let old = before.of_store("ves_sequence_counters", ALPHA_STORE)[0];
            row.clone_from(old);
        }
    }
    now.0.get_mut("ves_sequence_counters").unwrap().sort();
    assert_same(&before, &now);
    let raised = db.dump();
    let report = counters(&db, &["--floor", "proven", "--apply"]);
    assert!(report.code == 0 || report.code == 4, "{}", report.code);
    assert_same(&raised, &db.dump());
    db.execute(&format!(
        "UPDATE ves_sequence_counters SET current_sequence = 1000 WHERE store_id = '{ALPHA_STORE}'"
    ));
    let ahead = db.dump();
    counters(&db, &["--apply"]).expect(0);
    assert_same(&ahead, &db.dump());

    // A counter whose row is gone: the sequencer would begin at 1 again.
    for (name, verb) in [("missing", "counters"), ("missing-too", "plan")] {
        let db = file.file_copy(stage.data.path(&format!("{name}.db")));
        db.execute(&format!(
            "DELETE FROM ves_sequence_counters WHERE store_id = '{ALPHA_STORE}'"
        ));
        let audit = run(args(
            ["audit", "--format", "json", "--db", &db.arg()],
            &of_alpha(&[]),
        ))
        .expect(4);
        assert!(audit.stdout.contains("counter.missing"));
        if verb == "counters" {
            counters(&db, &["--apply"]).expect(1);
        } else {
            let path = stage.data.path("missing.plan");
            plan(&db, &path, &of_alpha(&[])).expect(4);
            apply(&db, &path, &[]).expect(5);
        }
        assert_eq!(db.dump().counter(ALPHA_STORE), Some(228));
    }
}

/// Holes within a log, and at its start, are filled as its end is.
#[test]
fn holes_within_and_at_the_start_are_filled() {
    for counters_behind in [0, 3] {
        let world = World::generate(&WorldSpec {
            cut: Cut::None,
            interior_holes: 9,
            leading_hole: 4,
            counters_behind,
            ..WorldSpec::honest(11)
        });
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        world.write_log(&path("truth.db")).unwrap();
        world.write_recovered(&path("log.db")).unwrap();
        world.write_anchors(&path("anchors.json")).unwrap();
        world.write_outboxes(&path("outboxes")).unwrap();
        let db = Db::Snapshot(path("log.db"));
        let (recovered, truth) = (db.dump(), Db::Snapshot(path("truth.db")).dump());
        let lost = world.truth().lost_events();
        assert!(lost >= 4 + 9);
        let witnesses = [
            "--outbox".to_owned(),
            text(&path("outboxes")),
            "--anchors".into(),
            text(&path("anchors.json")),
        ];
        let report = run(args(["audit", "--format", "json", "--db", &db.arg()], &witnesses))
            .expect(4)
            .json();
        assert_eq!(report["totals"]["missing"], lost);
        for code in ["gap.leading", "gap.interior"] {
            assert!(report["findings"].to_string().contains(code), "{code}");
        }
        let out = path("plan");
        plan(&db, &out, &witnesses);
        let applied = apply(&db, &out, &[]);
        assert!(applied.code == 1 || applied.code == 5, "{}", applied.stderr);
        let sections = read_plan(&out);
        let compared = Compared {
            recovered: &recovered,
            repaired: &db.dump(),
            truth: &truth,
            plan: &sections,
        };
        compared.check_rows();
        // What no full batch covers takes a claim; every outbox of this world is honest.
        let out = path("claimed");
        let mut claimed = witnesses.to_vec();
        claimed.extend(["--accept".to_owned(), "claimed".to_owned()]);
        plan(&db, &out, &claimed).expect(0);
        apply(&db, &out, &[]);
        let repaired = db.dump();
        for table in [
            "ves_events",
            "ves_sequencer_receipts",
            "ves_command_dedupe",
            "ves_commitments",
        ] {
            assert_eq!(repaired.table(table).len(), truth.table(table).len(), "{table}");
        }
        run(args(["audit", "--db", &db.arg()], &witnesses)).expect(0);
    }
}
