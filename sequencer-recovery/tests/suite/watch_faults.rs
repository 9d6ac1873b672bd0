//! A watch whose own world fails: the log goes away in a look, the disk is full, the clock jumps; and what it does not read
//! twice.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use cli_common::{Cancel, DbTarget};
use event_log::StreamFilter;
use fixtures::WorldSpec;
use sequencer_recovery::watch::anchored::AnchoredStreams;
use sequencer_recovery::watch::kept_log::KeptLog;
use sequencer_recovery::watch::memory::Memory;
use sequencer_recovery::watch::{Look, Watch};
use serde_json::Value;
use ves::StreamKey;

use crate::checkpoint::Signed;
use crate::common::writer::Writer;
use crate::common::{Db, Server, run, text};
use crate::watch::{Process, Simulated, codes, open, runtime};

/// A log on a server, and what a look at it needs.
struct Living {
    server: Server,
    world: Signed,
    url: String,
    streams: Vec<StreamKey>,
}

impl Living {
    fn start(seed: u64) -> Option<Self> {
        let server = Server::start()?;
        let world = Signed::new(&WorldSpec {
            seed,
            ..WorldSpec::default()
        });
        let copy = world.path("whole.copy.sql");
        world.world.write_copy(&copy).unwrap();
        let url = server.load("watched", &copy).arg();
        let streams = world.streams();
        Some(Self {
            server,
            world,
            url,
            streams,
        })
    }

    fn sql(&self, sql: &str) {
        Db::Postgres(self.url.clone()).execute(sql);
    }

    fn told(&self) -> Vec<Value> {
        let told = fs::read_to_string(self.world.path("alarms.ndjson")).unwrap_or_default();
        told.lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect()
    }
}

#[track_caller]
fn until(what: &str, mut is: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is() {
        assert!(begun.elapsed() < Duration::from_secs(60), "{what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_a_look_settled_before_it_failed_is_told_once_by_the_next() {
    let Some(at) = Living::start(31) else { return };
    let (first, last) = (at.streams[0], *at.streams.last().unwrap());
    let mut writer = Writer::connect(&at.url, 9);
    writer.append(&last).unwrap();
    let hook = format!("cat >> {}", at.world.arg("alarms.ndjson"));
    let watch = Process::start(&at.url, &at.world.arg("watch.db"), &["--alarm-command", &hook]);
    watch.wait_for("sequencer_watch_up", 1.0);
    // Looks stop at the commitments, which come after the counters of the streams.
    let mut holder = Writer::connect(&at.url, 8);
    holder.execute("BEGIN; LOCK TABLE ves_commitments IN ACCESS EXCLUSIVE MODE");
    at.sql(&format!(
        "UPDATE ves_sequence_counters SET current_sequence = current_sequence - 1 \
         WHERE tenant_id = '{}' AND store_id = '{}'",
        first.tenant_id, first.store_id
    ));
    writer.append(&last).unwrap();
    let failed = || watch.metric("sequencer_watch_looks_failed_total").unwrap();
    // The first one may have begun before that; the second did not.
    until("two looks fail", || {
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE wait_event_type = 'Lock' AND application_name LIKE 'ves-toolkit%'";
        let _ = test_support::query(&at.server.0.url(), end);
        failed() >= 2.0
    });
    assert_eq!(at.told(), Vec::<Value>::new());
    holder.execute("ROLLBACK");
    watch.wait_for("sequencer_watch_up", 1.0);
    let mut told: Vec<(String, String)> = at
        .told()
        .iter()
        .map(|told| (told["what"].to_string(), told["code"].to_string()))
        .collect();
    told.sort();
    let raised = |code: &str| ("\"raised\"".to_owned(), format!("\"{code}\""));
    assert_eq!(told, [raised("counter.behind"), raised("history.rewound")]);
    let (status, report) = watch.stop();
    assert_eq!((status, &report["raised"]), (4, &2.into()));
}

/// As far as this process may write into files, in bytes.
fn limit_files(process: &Process, soft: &str) {
    let limited = Command::new("prlimit")
        .args(["--pid", &process.id().to_string(), &format!("--fsize={soft}:")])
        .status();
    assert!(limited.unwrap().success());
}

#[test]
fn on_a_full_disk_it_looks_on_says_so_and_catches_up() {
    let Some(at) = Living::start(32) else { return };
    let mut writer = Writer::connect(&at.url, 9);
    let stream = at.streams[0];
    let state = at.world.arg("watch.db");
    let watch = Process::start(&at.url, &state, &[]);
    watch.wait_for("sequencer_watch_up", 1.0);
    // Not a byte more: as on a disk that is full, on which stderr is a file, too.
    limit_files(&watch, "1");
    for _ in 0..20 {
        writer.append(&stream).unwrap();
    }
    watch.wait_for("sequencer_watch_new_events_total", 20.0);
    let unsaved = || watch.metric("sequencer_watch_memory_failures_total").unwrap();
    until("it cannot remember", || unsaved() >= 2.0);
    assert_eq!(watch.metric("sequencer_watch_up"), Some(1.0));
    assert_eq!(watch.metric("sequencer_watch_memory_written"), Some(0.0));
    let health = watch.get("/health");
    assert!(
        health.starts_with("HTTP/1.1 200") && health.contains("not written down"),
        "{health}"
    );
    let written = checked(&state, &stream);
    limit_files(&watch, "unlimited");
    watch.wait_for("sequencer_watch_memory_written", 1.0);
    assert_eq!(checked(&state, &stream), written + 20);
    let (status, _) = watch.stop();
    assert_eq!(status, 0);

    // Whoever ends so has not remembered what it saw, and does not say that all was well.
    let watch = Process::start(&at.url, &state, &[]);
    watch.wait_for("sequencer_watch_up", 1.0);
    limit_files(&watch, "1");
    writer.append(&stream).unwrap();
    watch.wait_for("sequencer_watch_memory_written", 0.0);
    let (status, report) = watch.stop();
    assert_eq!((status, report["problems"].as_array().unwrap().len()), (8, 0));
}

/// Up to which number the rows of a stream were judged, as the file says.
fn checked(state: &str, stream: &StreamKey) -> u64 {
    let read = sequencer_recovery::watch_memory::read_witness(state.as_ref()).unwrap();
    read[stream].checked
}

#[test]
fn a_clock_that_jumps_changes_nothing_of_what_is_seen() {
    let mut at = Simulated::new();
    let clocks = [
        "2026-06-01T00:00:00Z",
        "2019-01-01T00:00:00Z",
        "2041-01-01T00:00:00Z",
        "1970-01-01T00:00:00Z",
    ];
    let mut told = Vec::new();
    let mut completed = std::collections::BTreeSet::new();
    for look in 0..600_u64 {
        at.world.grow_to(20 + look / 50);
        if (200..206).contains(&look) {
            // One number less than there was, for an hour.
            let db = at.world.grow_to(22);
            db.execute("DELETE FROM ves_events WHERE sequence_number = 9");
        }
        at.now += Duration::from_secs(600);
        let changes = at.look_at(clocks[(look % 4) as usize]);
        at.watch.save().unwrap();
        completed.extend(at.watch.memory.scrub.completed_at.clone());
        let raised = codes(&changes.raised)
            .into_iter()
            .map(|code| (look, "raised", code));
        let ended = codes(&changes.ended)
            .into_iter()
            .map(|code| (look, "ended", code));
        told.extend(raised.chain(ended));
    }
    assert_eq!(at.codes(), Vec::<&str>::new());
    let mut at_once: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for (look, what, code) in &told {
        assert!((200..=212).contains(look), "{told:?}");
        *at_once.entry((what, code)).or_default() += 1;
    }
    let streams = at.world.streams().len();
    assert_eq!(at_once[&("raised", "history.rewound")], streams, "{told:?}");
    assert_eq!(at_once[&("raised", "gap.interior")], streams, "{told:?}");
    assert_eq!(at_once[&("ended", "gap.interior")], streams, "{told:?}");
    // The pass over old rows keeps its pace: two days of looks, whatever the clock says.
    assert!(completed.len() >= 2, "{completed:?}");
    // A restart while the clock is years behind what is remembered.
    drop(at.watch);
    at.watch = open(&at.world.path("watch.db"), false);
    assert!(at.look_at("1970-01-01T00:00:00Z").raised.is_empty());
}

#[test]
fn a_filter_holds_back_the_pass_over_other_streams_in_the_same_memory() {
    let world = Signed::new(&WorldSpec::default());
    let log = world.grow_to(30);
    let state = world.arg("watch.db");
    let db = text(&world.path("log.db"));
    let once = |more: &[&str]| {
        let given = [
            "watch", "--db", &db, "--state", &state, "--once", "--format", "json",
        ];
        run(given.iter().chain(more))
    };
    let all = once(&[]).expect(0).json();
    let streams = world.streams();
    let (ours, other) = (streams[0], streams[1]);
    log.execute(&format!(
        "UPDATE ves_events SET agent_signature = zeroblob(64) WHERE store_id = '{}' AND tenant_id = '{}' \
         AND sequence_number = 3",
        other.store_id, other.tenant_id
    ));
    let (tenant, store) = (ours.tenant_id.to_string(), ours.store_id.to_string());
    let one = once(&["--tenant", &tenant, "--store", &store]).expect(0).json();
    assert_eq!(one["scrubbed"], 30);
    assert_eq!(all["scrubbed"], 30 * streams.len());
    // Without the filter it is found.
    once(&[]).expect(4).shows(&["event.signature"]);
}

/// Looks once; says what it came to.
fn look(watch: &mut Watch, log: &mut KeptLog, runtime: &tokio::runtime::Runtime, second: u64) -> Look {
    let now = Duration::from_secs(second);
    let cancel = Cancel::new();
    let looked = watch.look(log, now, "2026-01-01T00:00:00Z", &cancel);
    let looked = runtime.block_on(looked).unwrap();
    watch.save().unwrap();
    looked
}

#[test]
fn one_session_looks_again_and_again_until_the_tables_are_others() {
    let Some(at) = Living::start(33) else { return };
    let mut log = KeptLog::new(DbTarget::parse(at.url.as_ref()).unwrap(), &Cancel::new());
    let mut watch = open(&at.world.path("watch.db"), false);
    let runtime = runtime();
    for second in 0..5 {
        look(&mut watch, &mut log, &runtime, second);
    }
    assert_eq!(log.opened(), 1);
    // Between two looks it holds no transaction, and so no snapshot and no lock.
    let open = "SELECT count(*) FROM pg_stat_activity \
                WHERE application_name LIKE 'ves-toolkit%' AND state <> 'idle' AND backend_xmin IS NOT NULL";
    assert_eq!(test_support::query(&at.url, open).trim(), "0");
    at.sql("VACUUM ANALYZE ves_events");
    look(&mut watch, &mut log, &runtime, 6);
    assert_eq!(log.opened(), 1);
    // A migration.
    at.sql("ALTER TABLE ves_events ADD COLUMN of_a_later_level int");
    look(&mut watch, &mut log, &runtime, 7);
    assert_eq!(log.opened(), 2);
    // Sent away: no look is lost.
    let end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name LIKE 'ves-toolkit%'";
    let _ = test_support::query(&at.server.0.url(), end);
    look(&mut watch, &mut log, &runtime, 8);
    assert_eq!(log.opened(), 3);
    assert_eq!(watch.alarms.open().count(), 0);
}

#[test]
fn a_commitment_is_judged_by_what_was_read_before_and_a_wrong_one_is_told() {
    let Some(at) = Living::start(34) else { return };
    let stream = at.streams[0];
    let mut log = KeptLog::new(DbTarget::parse(at.url.as_ref()).unwrap(), &Cancel::new());
    let mut watch = open(&at.world.path("watch.db"), false);
    let runtime = runtime();
    let mut writer = Writer::connect(&at.url, 9);
    // Everything that was there before is committed first, by rows that the watch has not seen.
    let last = writer.append(&stream).unwrap();
    writer.commit_batch(&stream, last);
    look(&mut watch, &mut log, &runtime, 1);
    let mut append = |count: usize| {
        (0..count)
            .map(|_| writer.append(&stream).unwrap())
            .last()
            .unwrap()
    };
    let (one, two) = (append(60), append(60));
    let read = look(&mut watch, &mut log, &runtime, 2);
    assert_eq!(read.new_rows, 120);
    writer.commit_batch(&stream, one);
    writer.commit_batch(&stream, two);
    let read = look(&mut watch, &mut log, &runtime, 3);
    assert_eq!(read.rows, 0, "no row is read for commitments that are right");
    assert_eq!(watch.memory.streams[&stream].committed, two);
    assert_eq!(watch.alarms.open().count(), 0);
    // One whose root is not that of its rows.
    let three = (0..10).map(|_| writer.append(&stream).unwrap()).last().unwrap();
    writer.commit_batch(&stream, three);
    at.sql(&format!(
        "UPDATE ves_commitments SET merkle_root = decode(repeat('ab', 32), 'hex') \
         WHERE tenant_id = '{}' AND store_id = '{}' AND sequence_end = {three}",
        stream.tenant_id, stream.store_id
    ));
    let told = look(&mut watch, &mut log, &runtime, 4).changes.raised;
    assert!(codes(&told).contains(&"commitment.root"), "{told:?}");
    assert!(codes(&told).contains(&"commitment.state_root"), "{told:?}");
    drop(watch);
    let (memory, alarms) = Memory::open(&at.world.path("watch.db")).unwrap();
    assert_eq!(memory.streams[&stream].committed, three);
    assert!(codes(&alarms).contains(&"commitment.root"));
}

#[test]
fn checkpoints_go_where_the_command_takes_them() {
    let world = Signed::new(&WorldSpec::default());
    world.grow_to(30);
    let (db, taken) = (world.arg("log.db"), world.arg("taken"));
    let publish = format!("cat >> '{taken}'");
    let (state, key) = (world.arg("checkpoints.json"), world.arg("key"));
    let (memory, out) = (world.arg("watch.db"), world.arg("out/"));
    let once = |publish: &str| {
        run([
            "watch",
            "--db",
            &db,
            "--state",
            &memory,
            "--once",
            "--format",
            "json",
            "--checkpoint-state",
            &state,
            "--checkpoint-key",
            &key,
            "--checkpoint-name",
            "orders.example.com",
            "--checkpoint-out",
            &out,
            "--checkpoint-publish-command",
            publish,
        ])
    };
    once("exit 7")
        .expect(8)
        .says(&["checkpoints were not published", "exit status: 7"]);
    once(&publish).expect(0);
    let published = fs::read_to_string(&taken).unwrap();
    assert!(published.contains("orders.example.com/"), "{published}");
    run([
        "watch",
        "--db",
        &db,
        "--state",
        &memory,
        "--once",
        "--checkpoint-witness-url",
        "https://w.example/",
    ])
    .expect(16);
}

#[test]
fn a_commitment_that_says_otherwise_than_its_anchors_is_told() {
    let Some(at) = Living::start(35) else { return };
    let anchors = at.world.path("anchors.json");
    at.world.world.write_anchors(&anchors).unwrap();
    let read = || {
        AnchoredStreams::read(
            std::slice::from_ref(&anchors),
            &at.streams,
            &StreamFilter::default(),
        )
    };
    let looked = |sql: &str, memory: &str| {
        at.sql(sql);
        let mut log = KeptLog::new(DbTarget::parse(at.url.as_ref()).unwrap(), &Cancel::new());
        let mut watch = open(&at.world.path(memory), false);
        (watch.anchored, _) = read().unwrap();
        let raised = look(&mut watch, &mut log, &runtime(), 1).changes.raised;
        let codes = codes(&raised).into_iter();
        let of_commitments =
            codes.filter(|code| code.starts_with("commitment.") && *code != "commitment.unanchored");
        of_commitments.map(ToOwned::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(looked("SELECT 1", "watch.db"), Vec::<String>::new());
    let anchored =
        "SELECT batch_id FROM ves_commitments WHERE chain_tx_hash IS NOT NULL ORDER BY batch_id LIMIT 1";
    let change = |what: &str| format!("UPDATE ves_commitments SET {what} WHERE batch_id = ({anchored})");
    let elsewhere = change("chain_block_number = 7777777");
    assert_eq!(looked(&elsewhere, "watch-place.db"), ["commitment.chain"]);
    let later = change("committed_at = '2031-01-01T00:00:00Z'");
    let both = ["commitment.chain", "commitment.time"];
    assert_eq!(looked(&later, "watch-time.db"), both);
}
