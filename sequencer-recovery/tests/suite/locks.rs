//! Beside a living sequencer: applies and undos take its locks in its order, so that neither ever ends the other's
//! transaction, and streams that are not repaired never wait.

use crate::common;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::writer::Writer;
use common::{Db, Server, apply, plan, read_plan, run, text};
use fixtures::{Cut, World, WorldSpec};
use ves::{Event, StreamKey};

/// A world whose log lies on a server, with a plan for all of it.
struct Stage {
    _folder: tempfile::TempDir,
    server: Server,
    recovered: Db,
    plan: PathBuf,
}

impl Stage {
    fn set(spec: &WorldSpec) -> Option<Self> {
        let server = Server::start()?;
        let world = World::generate(spec);
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        world.write_recovered_copy(&path("recovered.sql")).unwrap();
        world.write_outboxes(&path("outboxes")).unwrap();
        world.write_anchors(&path("anchors.json")).unwrap();
        let recovered = server.load("recovered", &path("recovered.sql"));
        let witnesses = [
            "--outbox".to_owned(),
            text(&path("outboxes")),
            "--anchors".into(),
            text(&path("anchors.json")),
            "--accept".into(),
            "claimed".into(),
        ];
        let out = path("plan");
        plan(&recovered, &out, &witnesses);
        Some(Self {
            plan: out,
            _folder: folder,
            server,
            recovered,
        })
    }

    /// The lost events of each stream that an agent would push again, and the writer can.
    fn lost(&self) -> Vec<Vec<Event>> {
        let sections = read_plan(&self.plan);
        let events = sections.values().map(|section| {
            let events = section.events.iter().map(|planned| planned.event.clone());
            events
                .filter(|e| matches!(e.payload, ves::Payload::Plain(_)) && e.agent_key_id == 1)
                .collect::<Vec<_>>()
        });
        events.filter(|events| events.len() > 1).collect()
    }
}

/// A stream that no plan speaks of.
fn other_stream(of: &StreamKey) -> StreamKey {
    StreamKey::new(of.tenant_id, uuid::Uuid::from_u128(0x0712_e500).into())
}

fn deadlocks(url: &str) -> String {
    test_support::query(
        url,
        "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()",
    )
}

#[test]
fn beside_living_agents_nobodys_transaction_is_ended() {
    let spec = WorldSpec {
        seed: 3,
        command_id_rate: 1.0,
        encrypted_rate: 0.0,
        cut: Cut::Fraction(0.5),
        ..WorldSpec::default()
    };
    let Some(stage) = Stage::set(&spec) else { return };
    let lost = stage.lost();
    assert!(lost.len() > 1 && lost.iter().any(|events| events.len() > 20));
    let (mut applied, mut pushed) = (0, 0);
    for round in 0..6 {
        let db = stage.server.copy(&format!("traffic_{round}"), &stage.recovered);
        let url = db.arg();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let mut writers = Vec::new();
            for (n, events) in lost.iter().enumerate() {
                let mut events = events.clone();
                let (url, done) = (&url, &done);
                writers.push(scope.spawn(move || {
                    let mut writer = Writer::connect(url, 10 + n as u8);
                    let other = other_stream(&events[0].stream);
                    // Commands in the opposite order of the repair's, and in none.
                    match round % 3 {
                        0 => events.sort_by_key(|e| std::cmp::Reverse(e.command_id)),
                        1 => events.reverse(),
                        _ => {}
                    }
                    let mut accepted = 0;
                    // Some begin at once, some when the apply is under way.
                    std::thread::sleep(Duration::from_millis(15 * round * n as u64));
                    loop {
                        for request in events.chunks(12) {
                            let answer = writer.push(request).expect("no error for an agent");
                            assert_eq!(answer.duplicates, 0, "its own events are replays: {answer:?}");
                            accepted += answer.accepted.len();
                        }
                        writer.append(&other).expect("no error in another stream");
                        if done.load(Ordering::Relaxed) {
                            return accepted;
                        }
                    }
                }));
            }
            for _ in 0..2 {
                let ran = apply(&db, &stage.plan, &["--lock-timeout", "30"]);
                assert!(!ran.stderr.contains("deadlock"), "{}", ran.stderr);
                assert!(!ran.stderr.contains("locked by"), "{}", ran.stderr);
                for stream in ran.json()["streams"].as_array().unwrap() {
                    let error = stream["error"].as_str().unwrap_or("");
                    assert!(error.is_empty() || error.contains("has changed since"), "{error}");
                    applied += usize::from(stream["status"] == "applied");
                }
            }
            done.store(true, Ordering::Relaxed);
            for writer in writers {
                pushed += writer.join().unwrap();
            }
        });
        assert_eq!(deadlocks(&url), "0");
        // Nothing twice, nothing lost, no number above the counter.
        let wrong = test_support::query(
            &url,
            "SELECT count(*) FROM ves_events e FULL JOIN ves_sequencer_receipts r USING (event_id) \
             WHERE e.sequence_number IS DISTINCT FROM r.sequence_number",
        );
        assert_eq!(wrong, "0");
        for event in lost.iter().flatten() {
            let sql = format!(
                "SELECT count(*) FROM ves_events JOIN ves_command_dedupe USING (tenant_id, store_id, command_id) \
                 WHERE event_id = '{}'",
                event.event_id
            );
            assert_eq!(test_support::query(&url, &sql), "1", "{}", event.event_id);
        }
    }
    eprintln!("streams applied: {applied}, events accepted by the writers: {pushed}");
}

/// A command that somebody is about to accept is waited for with nothing held, and the waiting ends.
#[test]
fn whoever_holds_a_command_never_waits_for_an_apply_that_waits_for_it() {
    let spec = WorldSpec {
        seed: 3,
        command_id_rate: 1.0,
        encrypted_rate: 0.0,
        ..WorldSpec::default()
    };
    let Some(stage) = Stage::set(&spec) else { return };
    let lost = stage.lost();
    let events = &lost[0];
    let stream = events[0].stream;
    let last = events.iter().max_by_key(|e| e.command_id).unwrap();
    // Long enough for PostgreSQL to look for deadlocks more than once, as it does by itself and where it looks sooner.
    for (name, deadlock_timeout, pause) in [("held", "1s", 1500), ("held_shortly", "40ms", 400)] {
        let db = stage.server.copy(name, &stage.recovered);
        let set = format!("ALTER DATABASE {name} SET deadlock_timeout = '{deadlock_timeout}'");
        let _ = test_support::query(&db.arg(), &set);
        let mut writer = Writer::connect(&db.arg(), 1);
        writer.hold_command(&stream, last.command_id.unwrap());
        std::thread::scope(|scope| {
            let applying = scope.spawn(|| apply(&db, &stage.plan, &["--lock-timeout", "60"]));
            // The writer wants the counter and another of the plan's commands, as it does in the middle of a request.
            std::thread::sleep(Duration::from_millis(pause));
            writer.continue_with(&stream, events[0].command_id.unwrap());
            std::thread::sleep(Duration::from_millis(pause));
            writer.execute("ROLLBACK");
            let ran = applying.join().unwrap();
            assert_eq!(ran.code & !4, 1, "{}", ran.stderr);
        });
        assert_eq!(deadlocks(&db.arg()), "0", "{name}");
    }
    // Held for good, it is told with the stream's name.
    let db = stage.server.copy("held_on", &stage.recovered);
    let mut writer = Writer::connect(&db.arg(), 1);
    writer.hold_command(&stream, last.command_id.unwrap());
    apply(&db, &stage.plan, &["--lock-timeout", "1"])
        .says(&[&format!("stream {stream}"), "locked by another"]);
    writer.execute("ROLLBACK");
}

fn milliseconds(times: &mut [Duration]) -> String {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_secs_f64() * 1000.0;
    format!(
        "p50 {:.1} ms, p99 {:.1} ms, worst {:.1} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    )
}

/// What live streams see of an apply: docs/performance.md has the figures of a release build.
/// `PAUSE_RUNS` and `PAUSE_EVENTS` say how often, and how many events come back.
#[test]
#[ignore = "figures, not a check: takes minutes"]
fn the_pause_that_live_streams_see() {
    let number = |name: &str, or: usize| std::env::var(name).map_or(or, |n| n.parse().unwrap());
    let (runs, events) = (number("PAUSE_RUNS", 10), number("PAUSE_EVENTS", 10_000));
    let spec = WorldSpec {
        seed: 3,
        tenants: 1,
        stores_per_tenant: 1,
        events_per_stream: 2 * events,
        cut: Cut::Events(events),
        command_id_rate: 0.5,
        lost_outboxes: 0,
        pruned_outboxes: 0,
        wrong_claim_rate: 0.0,
        max_push: 100,
        batch_size: 100,
        anchored_fraction: 1.0,
        ..WorldSpec::default()
    };
    let Some(stage) = Stage::set(&spec) else { return };
    let header = read_plan(&stage.plan).into_values().next().unwrap().header;
    let stream = header.stream;
    eprintln!("{} events come back", header.events);
    let (mut same, mut others, mut longest, mut moving) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut ended = 0;
    for round in 0..runs {
        let db = stage.server.copy(&format!("pause_{round}"), &stage.recovered);
        let url = db.arg();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let other = scope.spawn(|| requests(&url, 2, &other_stream(&stream), &done, Request::Append));
            // Waits for the lock as a request does, and writes nothing, so that the plan still fits.
            let paused = scope.spawn(|| requests(&url, 3, &stream, &done, Request::Lock));
            let undo = stage.plan.with_extension(format!("undo-{round}"));
            let ran = apply(&db, &stage.plan, &["--undo", &text(&undo)]);
            done.store(true, Ordering::Relaxed);
            assert_eq!(ran.code & !4, 1, "{}", ran.stderr);
            others.extend(other.join().unwrap());
            let times = paused.join().unwrap();
            longest.push(times.iter().max().copied().unwrap());
            same.extend(times);
        });
        ended += deadlocks(&url).parse::<u64>().unwrap();
        // Events are accepted in the stream from some moment on: it is left alone.
        let db = stage.server.copy(&format!("moving_{round}"), &stage.recovered);
        let url = db.arg();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(100 * round as u64));
                requests(&url, 4, &stream, &done, Request::Append)
            });
            let undo = stage.plan.with_extension(format!("moving-{round}"));
            apply(&db, &stage.plan, &["--undo", &text(&undo)]);
            done.store(true, Ordering::Relaxed);
            moving.extend(writer.join().unwrap().iter().max().copied());
        });
        ended += deadlocks(&url).parse::<u64>().unwrap();
    }
    eprintln!("deadlocks in {} runs: {ended}", 2 * runs);
    eprintln!("another stream, a request: {}", milliseconds(&mut others));
    eprintln!("the same stream, the counter's lock: {}", milliseconds(&mut same));
    let each = milliseconds(&mut longest);
    eprintln!("the same stream, the longest of each run: {each}");
    let each = milliseconds(&mut moving);
    eprintln!("a stream that goes on meanwhile, the longest request of each run: {each}");
}

/// What a request does.
#[derive(Clone, Copy)]
enum Request {
    Append,
    Lock,
}

/// How long requests take, one after the other until `done`.
fn requests(url: &str, writer: u8, stream: &StreamKey, done: &AtomicBool, request: Request) -> Vec<Duration> {
    let mut writer = Writer::connect(url, writer);
    let mut times = Vec::new();
    while !done.load(Ordering::Relaxed) {
        let started = Instant::now();
        match request {
            Request::Append => drop(writer.append(stream).unwrap()),
            Request::Lock => writer.hold_counter(stream),
        }
        times.push(started.elapsed());
        if matches!(request, Request::Lock) {
            writer.execute("ROLLBACK");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    times
}

/// An undo waits for nobody either, and nobody for it for long.
#[test]
fn an_undo_holds_all_its_streams_and_refuses_when_it_sees_a_writer() {
    let Some(stage) = Stage::set(&WorldSpec::default()) else {
        return;
    };
    let db = stage.server.copy("undo", &stage.recovered);
    let bundle = stage.plan.with_extension("undo");
    let ran = apply(&db, &stage.plan, &["--undo", &text(&bundle)]);
    assert_eq!(ran.code & 1, 1, "{}", ran.stderr);
    let undo = |bundle: &Path, more: &[&str]| {
        let (bundle, db) = (text(bundle), db.arg());
        let mut all = vec!["undo", bundle.as_str(), "--format", "json", "--db", &db];
        all.extend(more);
        run(all)
    };
    // A session that did nothing but end a transaction, as every pooled one of the sequencer.
    let mut writer = Writer::connect(&db.arg(), 1);
    writer.execute("BEGIN");
    writer.execute("COMMIT");
    let before = db.dump();
    let ran = undo(&bundle, &[])
        .expect(8)
        .says(&["a sequencer may run", "between two transactions"]);
    let report = ran.json();
    assert!(report["signs"][0].as_str().unwrap().contains("session"));
    assert!(
        report["streams"]
            .as_array()
            .unwrap()
            .iter()
            .all(|s| s["status"] == "refused")
    );
    common::assert_same(&before, &db.dump());
    // Gone again, it is taken back.
    drop(writer);
    let alone = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()";
    let started = Instant::now();
    while test_support::query(&db.arg(), alone) != "1" && started.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(20));
    }
    undo(&bundle, &[]).expect(1);
}
