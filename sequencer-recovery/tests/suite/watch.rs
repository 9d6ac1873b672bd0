//! Watching a log: what begins to be wrong is told at the next look, what is well never is, and a rewind is told at once.
#![cfg(unix)]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use cli_common::{Cancel, DbTarget};
use event_log::StreamFilter;
use fixtures::WorldSpec;
use sequencer_recovery::watch::alarms::{Alarm, Changes};
use sequencer_recovery::watch::anchored::AnchoredStreams;
use sequencer_recovery::watch::kept_log::KeptLog;
use sequencer_recovery::watch::memory::Memory;
use sequencer_recovery::watch::{Options, Watch};
use serde_json::Value;
use ves::StreamKey;

use crate::checkpoint::Signed;
use crate::common::writer::Writer;
use crate::common::{Db, Server, binary, run, text};

const DAY: u64 = 86_400;

/// A watch with a clock of its own.
pub struct Simulated {
    pub world: Signed,
    pub watch: Watch,
    pub now: Duration,
}

impl Simulated {
    pub fn new() -> Self {
        let world = Signed::new(&WorldSpec {
            seed: 11,
            ..WorldSpec::default()
        });
        let watch = open(&world.path("watch.db"), false);
        Self {
            world,
            watch,
            now: Duration::ZERO,
        }
    }

    pub fn look(&mut self) -> Changes {
        self.now += Duration::from_secs(600);
        let clock = format!("2026-01-01T00:00:00.{:06}Z", self.now.as_secs() / 600);
        let changes = self.look_at(&clock);
        self.watch.save().unwrap();
        changes
    }

    /// A look while the host's clock says this.
    pub fn look_at(&mut self, clock: &str) -> Changes {
        let db = DbTarget::Snapshot(self.world.path("log.db"));
        let mut log = KeptLog::new(db, &Cancel::new());
        let looked = runtime().block_on(self.watch.look(&mut log, self.now, clock, &Cancel::new()));
        looked.unwrap().changes
    }

    pub fn codes(&self) -> Vec<&'static str> {
        let mut codes: Vec<_> = self
            .watch
            .alarms
            .open()
            .map(|a| a.finding.code.as_str())
            .collect();
        codes.sort_unstable();
        codes.dedup();
        codes
    }
}

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
}

pub fn open(path: &Path, adopt: bool) -> Watch {
    let (memory, alarms) = Memory::open(path).unwrap();
    let options = Options {
        filter: StreamFilter::default(),
        sequencer_keys: std::iter::empty().collect(),
        holes_every: Duration::from_secs(3600),
        scrub: Some(Duration::from_secs(2 * DAY)),
        scrub_rate: None,
        adopt,
    };
    Watch::new(options, memory, alarms, AnchoredStreams::default())
}

fn highest(world: &Signed) -> u64 {
    let heads = world.world.log().streams.values();
    heads.map(|log| *log.events.keys().last().unwrap()).max().unwrap()
}

pub fn codes(alarms: &[Alarm]) -> Vec<&'static str> {
    let mut codes: Vec<_> = alarms.iter().map(|alarm| alarm.finding.code.as_str()).collect();
    codes.sort_unstable();
    codes
}

/// A week of a log that grows, at ten minutes a look, with faults on four of its days.
#[test]
fn a_week_goes_by_and_every_fault_is_told_once_and_nothing_else() {
    let mut at = Simulated::new();
    let last = highest(&at.world);
    let stream = at.world.streams()[0];
    let ids = (stream.tenant_id.to_string(), stream.store_id.to_string());
    let whose = format!("tenant_id = '{}' AND store_id = '{}'", ids.0, ids.1);
    let looks = 7 * DAY / 600;
    let mut completed = std::collections::BTreeSet::new();
    let mut told = Vec::new();
    for look in 0..looks {
        // It grows by a little at each tenth look.
        let number = 20 + (last - 20) * look / looks;
        let db = at.world.grow_to(number);
        let of_day = look % (DAY / 600);
        // From hour 10 to hour 12.
        let faulty = (60..72).contains(&of_day);
        match (look / (DAY / 600), faulty) {
            (1, true) => db.execute(&format!(
                "DELETE FROM ves_events WHERE {whose} AND sequence_number = 7"
            )),
            (2, true) => db.execute(&format!(
                "UPDATE ves_sequence_counters SET current_sequence = current_sequence - 3 WHERE {whose}"
            )),
            (3, true) => drop(at.world.grow_to(15)),
            _ => {}
        }
        let changes = at.look();
        completed.extend(at.watch.memory.scrub.completed_at.clone());
        for alarm in changes.raised {
            told.push((look, "raised", alarm.finding.code.as_str()));
        }
        for alarm in changes.ended {
            told.push((look, "ended", alarm.finding.code.as_str()));
        }
    }
    assert_eq!(at.codes(), Vec::<&str>::new());
    let days = DAY / 600;
    let of = |day: u64| -> Vec<(u64, &str, &str)> {
        told.iter()
            .filter(|t| t.0 / days == day)
            .map(|t| (t.0 % days, t.1, t.2))
            .collect()
    };
    // Day 1: within the hour in which whole streams are looked through, and it ends as it came.
    let hole = of(1);
    assert_eq!(hole.len(), 2, "{hole:?}");
    assert_eq!((hole[0].1, hole[0].2), ("raised", "gap.interior"));
    assert!(
        (60..=66).contains(&hole[0].0) && (72..=78).contains(&hole[1].0),
        "{hole:?}"
    );
    // Day 2: at the next look. The counter went backwards, and stands below its stream.
    let counter = of(2);
    assert!(counter.contains(&(60, "raised", "counter.behind")), "{counter:?}");
    assert!(
        counter.contains(&(60, "raised", "history.rewound")),
        "{counter:?}"
    );
    // The stream grows meanwhile: what is open begins elsewhere then.
    assert!(counter.iter().all(|t| (60..=72).contains(&t.0)), "{counter:?}");
    assert_eq!(counter.last().unwrap().0, 72, "{counter:?}");
    // Day 3: each stream at once.
    let rewound = of(3);
    assert!(rewound.iter().all(|t| t.2 == "history.rewound"), "{rewound:?}");
    assert!(
        rewound.iter().any(|t| (t.0, t.1) == (60, "raised")),
        "{rewound:?}"
    );
    assert!(rewound.iter().all(|t| t.0 == 60 || t.0 == 72), "{rewound:?}");
    // On all other days nothing, and the old rows were all read again.
    for day in [0, 4, 5, 6] {
        assert_eq!(of(day), [], "day {day}");
    }
    assert!(completed.len() >= 3, "{completed:?}");
}

#[test]
fn a_log_that_was_rewound_and_ran_on_is_another_also_after_a_restart() {
    let mut at = Simulated::new();
    at.world.grow_to(60);
    at.look();
    // Other events from 40 on, up to the same number: only the event there says so.
    let db = at.world.grow_to(70);
    let swap = "UPDATE ves_events SET agent_signature = zeroblob(64) WHERE sequence_number = 60";
    db.execute(swap);
    let changes = at.look();
    let found = codes(&changes.raised);
    assert!(found.contains(&"history.rewound"), "{found:?}");
    // It is remembered over a restart, and what was seen is not lowered.
    drop(at.watch);
    at.watch = open(&at.world.path("watch.db"), false);
    assert!(at.codes().contains(&"history.rewound"), "{:?}", at.codes());
    assert!(at.look().raised.is_empty());
    assert!(at.watch.memory.streams.values().all(|of| of.checked <= 60));
    // The operator decides that it is right.
    drop(at.watch);
    at.watch = open(&at.world.path("watch.db"), true);
    let adopted = at.look();
    assert!(codes(&adopted.ended).contains(&"history.rewound"));
    assert!(at.watch.memory.streams.values().any(|of| of.checked > 60));
}

#[test]
fn what_is_new_is_judged_as_it_comes() {
    let mut at = Simulated::new();
    at.world.grow_to(50);
    at.look();
    assert_eq!(at.codes(), Vec::<&str>::new());
    let db = at.world.grow_to(60);
    db.execute("UPDATE ves_events SET payload = '{\"altered\":true}' WHERE sequence_number = 55 AND payload IS NOT NULL");
    db.execute("DELETE FROM ves_sequencer_receipts WHERE sequence_number = 57");
    db.execute("DELETE FROM ves_events WHERE sequence_number = 58");
    at.look();
    assert_eq!(
        at.codes(),
        ["event.payload_hash", "gap.interior", "receipt.missing"]
    );
    // Put right, and told so, although the rows are old by now.
    at.world.grow_to(70);
    for _ in 0..12 {
        at.look();
    }
    assert_eq!(at.codes(), Vec::<&str>::new());
}

/// A watch as a process.
pub struct Process {
    child: Child,
    address: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    pub fn start(db: &str, state: &str, more: &[&str]) -> Self {
        let args = [
            "watch",
            "--db",
            db,
            "--state",
            state,
            "--every",
            "200ms",
            "--listen",
            "127.0.0.1:0",
        ];
        let stderr = tempfile::NamedTempFile::new().unwrap();
        let child = Command::new(binary().get_program())
            .args(args)
            .args(["--format", "json", "--log-format", "json"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(stderr.reopen().unwrap())
            .spawn()
            .unwrap();
        let begun = Instant::now();
        let address = loop {
            let said = std::fs::read_to_string(stderr.path()).unwrap();
            let line = said.lines().find_map(|line| {
                let line: Value = serde_json::from_str(line).expect("each line is a document");
                Some(
                    line["fields"]["message"]
                        .as_str()?
                        .split_once("http://")?
                        .1
                        .split('/')
                        .next()?
                        .to_owned(),
                )
            });
            if let Some(address) = line {
                break address;
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{said}");
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { child, address }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    pub fn metric(&self, name: &str) -> Option<f64> {
        let page = self.get("/metrics");
        let line = page
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        Some(line.trim().parse().unwrap())
    }

    #[track_caller]
    pub fn wait_for(&self, name: &str, value: f64) {
        let begun = Instant::now();
        while self.metric(name) != Some(value) {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "{name}: {}",
                self.get("/metrics")
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops it as systemd does; gives its status and report.
    pub fn stop(mut self) -> (i32, Value) {
        let id = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        let mut report = String::new();
        self.child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut report)
            .unwrap();
        let status = self.child.wait().unwrap().code().unwrap();
        (status, serde_json::from_str(&report).unwrap())
    }
}

#[test]
fn beside_a_living_sequencer_on_a_server_that_goes_away_and_comes_back_rewound() {
    let Some(server) = Server::start() else { return };
    let world = Signed::new(&WorldSpec {
        seed: 4,
        ..WorldSpec::default()
    });
    let copy = world.path("whole.copy.sql");
    world.world.write_copy(&copy).unwrap();
    let live = server.load("watched", &copy);
    server.copy("watched_before", &live);
    let url = live.arg();
    let stream: StreamKey = world.streams()[0];
    let mut writer = Writer::connect(&url, 9);
    let state = world.arg("watch.db");
    let hook = format!("cat >> {}", world.arg("alarms.ndjson"));
    let watch = Process::start(&url, &state, &["--alarm-command", &hook]);
    watch.wait_for("sequencer_watch_up", 1.0);
    for _ in 0..40 {
        writer.append(&stream).unwrap();
    }
    watch.wait_for("sequencer_watch_new_events_total", 40.0);
    assert!(watch.get("/health").starts_with("HTTP/1.1 200"));
    assert_eq!(watch.metric("sequencer_watch_problems"), Some(0.0));
    drop(writer);
    // Away: nobody is let in. What is known is kept, and nothing is cried.
    server.rename("watched", "watched_after");
    watch.wait_for("sequencer_watch_up", 0.0);
    assert_eq!(watch.metric("sequencer_watch_problems"), Some(0.0));
    // Back, as it was before the writer came.
    server.rename("watched_before", "watched");
    watch.wait_for("sequencer_watch_history_rewound", 1.0);
    let (status, report) = watch.stop();
    assert_eq!(status, 4);
    assert_eq!(report["new_events"], 40);
    let problems: Vec<&str> = report["problems"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["code"].as_str().unwrap())
        .collect();
    assert_eq!(problems, ["history.rewound"]);
    let told = std::fs::read_to_string(world.path("alarms.ndjson")).unwrap();
    let told: Value = serde_json::from_str(told.lines().next().unwrap()).unwrap();
    assert_eq!(
        (&told["what"], &told["code"]),
        (&"raised".into(), &"history.rewound".into())
    );
    // A recovery hears of it: 40 numbers that no other witness knows.
    let audit = run(["audit", "--db", &url, "--witness", &state, "--format", "json"])
        .expect(4)
        .json();
    let heard = audit["streams"]
        .as_array()
        .unwrap()
        .iter()
        .find(|s| s["store_id"] == stream.store_id.to_string());
    assert_eq!(heard.unwrap()["missing"], 40);
}

#[test]
fn a_memory_is_of_one_run_and_others_files_are_refused() {
    let world = Signed::new(&WorldSpec::default());
    let db = text(&world.path("log.db"));
    world.grow_to(30);
    let state = world.arg("watch.db");
    let once = |state: &str| {
        run([
            "watch", "--db", &db, "--state", state, "--once", "--format", "json",
        ])
    };
    assert_eq!(once(&state).expect(0).json()["schema"], "watch-report/1");
    let (_held, _) = Memory::open(&world.path("watch.db")).unwrap();
    once(&state).expect(8).says(&["another run uses it"]);
    once(&db).expect(8).says(&["is not the memory of a watch"]);
    std::fs::write(
        world.path("text"),
        "no database at all, whatever it may be called here",
    )
    .unwrap();
    once(&world.arg("text")).expect(8);
    // As a witness: whole, cut, and of a later release.
    let memory = std::fs::read(world.path("watch.db")).unwrap();
    std::fs::write(world.path("cut.db"), &memory[..memory.len() / 3]).unwrap();
    let audit = |witness: &str| run(["audit", "--db", &db, "--witness", witness]);
    audit(&world.arg("cut.db")).expect(12).shows(&["cut.db"]);
    let later = rusqlite_copy(&world, &memory);
    // The list of problems is cut in a table; what could not be read is told beside it.
    audit(&later).expect(12).says(&["is of version 2"]);
}

fn rusqlite_copy(world: &Signed, memory: &[u8]) -> String {
    let path = world.path("later.db");
    std::fs::write(&path, memory).unwrap();
    Db::Snapshot(path.clone()).execute("PRAGMA user_version = 2");
    text(&path)
}

/// A disk that is full takes nothing from what is seen.
#[test]
fn what_cannot_be_written_down_is_still_seen() {
    let mut at = Simulated::new();
    at.world.grow_to(40);
    at.look();
    // The file is taken away under it: a read-only copy in its place would be the same to it.
    let connection = rusqlite::Connection::open(at.world.path("watch.db")).unwrap();
    connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
    at.world.grow_to(20);
    at.now += Duration::from_secs(600);
    let changes = at.look_at("later");
    assert!(codes(&changes.raised).contains(&"history.rewound"));
    assert!(at.watch.save().is_err());
    assert_eq!(at.watch.counted.unsaved, 1);
    connection.execute_batch("ROLLBACK").unwrap();
    at.watch.save().unwrap();
}

/// The page, its documentation, the alert rules and the dashboard know the same metrics.
#[test]
fn metrics_rules_and_dashboard_agree() {
    let root = test_support::workspace_root();
    let read = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let names = |text: &str| -> std::collections::BTreeSet<String> {
        let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        let ours = words.filter(|word| word.starts_with("sequencer_watch_"));
        ours.map(str::to_owned).collect()
    };
    let told = names(&read("sequencer-recovery/src/watch/metrics.rs"));
    assert!(told.len() > 20, "{told:?}");
    assert_eq!(names(&read("docs/watch.md")), told);
    let dashboard = read("deploy/grafana/sequencer-watch.json");
    let parsed: Value = serde_json::from_str(&dashboard).unwrap();
    assert!(parsed["panels"].as_array().unwrap().len() > 10);
    for name in [
        "deploy/grafana/sequencer-watch.json",
        "deploy/prometheus/sequencer-watch.rules.yml",
    ] {
        let used = names(&read(name));
        assert!(
            used.is_subset(&told) && used.len() > 5,
            "{name}: {:?}",
            used.difference(&told)
        );
    }
    // And a real page tells no other.
    let world = Signed::new(&WorldSpec::default());
    world.grow_to(30);
    let page = world.path("watch.prom");
    run([
        "watch",
        "--db",
        &world.arg("log.db"),
        "--state",
        &world.arg("watch.db"),
        "--once",
        "--metrics",
        &text(&page),
    ])
    .expect(0);
    let page = names(&std::fs::read_to_string(page).unwrap());
    assert!(page.is_subset(&told) && page.len() > 15, "{page:?}");
}
