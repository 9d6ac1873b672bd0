//! A watch beside a living writer for a while, with faults: each is told once, ends once, and nothing grows.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use fixtures::WorldSpec;
use serde_json::Value;
use ves::StreamKey;

use crate::checkpoint::Signed;
use crate::common::writer::Writer;
use crate::common::{Db, Server};
use crate::watch::Process;

/// How long the watch rests between two looks.
const EVERY: Duration = Duration::from_millis(200);
/// So much more memory in the last third of the time than in the first is no growth: allocators keep some of what was used
/// once, and give it back when they like; and the log grows, so that more of it is read at once.
const SLACK_KIB: u64 = 8192;

struct Soak {
    server: Server,
    world: Signed,
    url: String,
    watch: Process,
    writer: Writer,
    appended: u64,
    /// VmRSS in KiB and open files, as they were measured.
    measured: Vec<(u64, usize)>,
}

impl Soak {
    fn start() -> Option<Self> {
        let server = Server::start()?;
        let world = Signed::new(&WorldSpec {
            seed: 21,
            ..WorldSpec::default()
        });
        let copy = world.path("whole.copy.sql");
        world.world.write_copy(&copy).unwrap();
        let live = server.load("soaked", &copy);
        // What a restore will give back. Nobody may be connected for that.
        server.copy("soaked_before", &live);
        let url = live.arg();
        let writer = Writer::connect(&url, 9);
        let hook = format!("cat >> {}", world.arg("alarms.ndjson"));
        let more = [
            "--alarm-command",
            &hook,
            "--holes-every",
            "300ms",
            "--scrub",
            "20s",
        ];
        let watch = Process::start(&url, &world.arg("watch.db"), &more);
        watch.wait_for("sequencer_watch_up", 1.0);
        Some(Self {
            server,
            world,
            url,
            watch,
            writer,
            appended: 0,
            measured: Vec::new(),
        })
    }

    /// Writes as the sequencer does for so long; every fiftieth event is followed by a commitment.
    fn live(&mut self, long: Duration, stream: &StreamKey) {
        let until = Instant::now() + long;
        while Instant::now() < until {
            let number = self.writer.append(stream).unwrap();
            self.appended += 1;
            if self.appended.is_multiple_of(50) {
                self.writer.commit_batch(stream, number);
            }
            sleep(Duration::from_millis(5));
        }
    }

    fn sql(&self, sql: &str) {
        Db::Postgres(self.url.clone()).execute(sql);
    }

    fn told(&self) -> Vec<(String, String)> {
        let told = fs::read_to_string(self.world.path("alarms.ndjson")).unwrap_or_default();
        let read = |line: &str| {
            let told: Value = serde_json::from_str(line).unwrap();
            let text = |name: &str| told[name].as_str().unwrap().to_owned();
            (text("what"), text("code"))
        };
        told.lines().map(read).collect()
    }

    /// Waits until so much was told of one kind.
    #[track_caller]
    fn wait_told(&self, what: &str, code: &str, times: usize) {
        let begun = Instant::now();
        let is = |told: &(String, String)| told.0 == what && told.1 == code;
        while self.told().iter().filter(|told| is(told)).count() < times {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{what} {code}: {:?}",
                self.told()
            );
            sleep(Duration::from_millis(20));
        }
    }

    /// One number of a stream goes away and comes back.
    fn hole(&mut self, stream: &StreamKey, number: u64, times: usize) {
        let whose = format!(
            "tenant_id = '{}' AND store_id = '{}' AND sequence_number = {number}",
            stream.tenant_id, stream.store_id
        );
        self.sql(&format!(
            "BEGIN; CREATE TABLE kept_receipt AS SELECT r.* FROM ves_sequencer_receipts r JOIN ves_events e USING (event_id)
                WHERE e.tenant_id = '{}' AND e.store_id = '{}' AND e.sequence_number = {number};
             CREATE TABLE kept_event AS SELECT * FROM ves_events WHERE {whose};
             DELETE FROM ves_sequencer_receipts WHERE event_id IN (SELECT event_id FROM kept_event);
             DELETE FROM ves_events WHERE {whose}; COMMIT",
            stream.tenant_id, stream.store_id
        ));
        let looks = || self.watch.metric("sequencer_watch_looks_total").unwrap();
        let before = looks();
        self.wait_told("raised", "gap.interior", times);
        eprintln!("a hole is told after {} look(s)", looks() - before);
        self.sql(
            "BEGIN; INSERT INTO ves_events SELECT * FROM kept_event;
             INSERT INTO ves_sequencer_receipts SELECT * FROM kept_receipt;
             DROP TABLE kept_event; DROP TABLE kept_receipt; COMMIT",
        );
        self.wait_told("ended", "gap.interior", times);
    }

    /// The server crashes, sends everybody away, and recovers.
    fn crash(&mut self) {
        let backend = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'ves-toolkit%' LIMIT 1";
        let backend = test_support::query(&self.server.0.url(), backend);
        let killed = Command::new("kill").args(["-9", backend.trim()]).status();
        assert!(killed.unwrap().success());
        self.watch.wait_for("sequencer_watch_up", 1.0);
        let looks = self.watch.metric("sequencer_watch_looks_total").unwrap();
        let begun = Instant::now();
        while self.watch.metric("sequencer_watch_looks_total").unwrap() <= looks {
            assert!(begun.elapsed() < Duration::from_secs(60));
            sleep(EVERY);
        }
        self.writer.reconnect(&self.url);
    }

    /// Neither memory nor open files grow. A request for the metrics, or a hook, may be open in any one moment.
    fn assert_flat(&self) {
        let third = self.measured.len() / 3;
        let (first, last) = (
            &self.measured[..third],
            &self.measured[self.measured.len() - third..],
        );
        let middle = |of: &[(u64, usize)]| {
            let mut memory: Vec<u64> = of.iter().map(|measured| measured.0).collect();
            memory.sort_unstable();
            memory[memory.len() / 2]
        };
        assert!(middle(last) <= middle(first) + SLACK_KIB, "{:?}", self.measured);
        let files = |of: &[(u64, usize)]| of.iter().map(|measured| measured.1).min();
        assert!(files(last) <= files(first), "{:?}", self.measured);
    }

    fn measure(&mut self) {
        let process = format!("/proc/{}", self.watch.id());
        let status = fs::read_to_string(format!("{process}/status")).unwrap();
        let rss = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        let rss = rss.trim().trim_end_matches(" kB").parse().unwrap();
        let open = fs::read_dir(format!("{process}/fd")).unwrap().count();
        eprintln!("{} events, VmRSS {rss} KiB, {open} open files", self.appended);
        self.measured.push((rss, open));
    }
}

/// Rounds of faults for so long, and a rewind at the end.
fn soak(long: Duration, rest: Duration) {
    let Some(mut at) = Soak::start() else { return };
    let streams = at.world.streams();
    let (busy, quiet) = (streams[0], streams[1]);
    let begun = Instant::now();
    let mut rounds = 0;
    while rounds < 3 || begun.elapsed() < long {
        rounds += 1;
        at.live(rest, &busy);
        at.hole(&quiet, 5, rounds);
        if rounds % 2 == 0 {
            at.crash();
        }
        at.measure();
    }
    at.live(rest, &busy);
    // Each fault was told once and ended once, and nothing else was said.
    let mut counted: BTreeMap<(String, String), usize> = BTreeMap::new();
    for told in at.told() {
        *counted.entry(told).or_default() += 1;
    }
    let gap = |what: &str| ((what.to_owned(), "gap.interior".to_owned()), rounds);
    assert_eq!(counted, BTreeMap::from([gap("raised"), gap("ended")]));
    at.watch
        .wait_for("sequencer_watch_new_events_total", at.appended as f64);
    at.assert_flat();
    // Back to what it was before the writer came.
    at.server.rename("soaked", "soaked_after");
    at.server.rename("soaked_before", "soaked");
    at.wait_told("raised", "history.rewound", 1);
    let (status, report) = at.watch.stop();
    assert_eq!(status, 4);
    assert_eq!(report["problems"].as_array().unwrap().len(), 1, "{report}");
}

#[test]
fn a_short_one() {
    soak(Duration::from_secs(5), Duration::from_millis(500));
}

#[test]
#[ignore = "takes ten minutes: cargo nextest run -p sequencer-recovery --run-ignored only ten_minutes --no-capture"]
fn ten_minutes() {
    soak(Duration::from_secs(600), Duration::from_secs(15));
}
