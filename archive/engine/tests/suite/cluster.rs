//! A cluster of real processes: this test's own program, run again as a scheduler or an executor.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anchor_verify::VerifyReport;
use archive_engine::cluster::{
    ExecutorOptions, GatherOptions, Gathered, SchedulerOptions, gather, query_on_cluster, run_executor,
    run_scheduler, verify_on_cluster,
};
use archive_engine::{EngineError, Options, cell};
use archive_format::Task;
use cli_common::{Cancel, NoProgress};
use fixtures::{Cut, WorldSpec};

use crate::place::Place;

/// What this program is to be, when it is run again.
const ROLE: &str = "ARCHIVE_ENGINE_TEST_ROLE";
/// What a scheduler says when it listens.
const READY: &str = "scheduler at ";

#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    match role.strip_prefix("executor of ") {
        Some(scheduler) => {
            let mut options = ExecutorOptions::new(scheduler);
            options.tasks = 1;
            run_executor(&options, &Cancel::new()).unwrap();
        }
        None => {
            let options = SchedulerOptions {
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                executor_timeout: SchedulerOptions::LEAST_TIMEOUT,
            };
            run_scheduler(&options, &Cancel::new(), |address| println!("{READY}{address}")).unwrap();
        }
    }
}

/// A process that ends with the test.
pub(crate) struct Process(Child);

impl Process {
    fn run(role: &str, stdout: Stdio) -> Self {
        let program = std::env::current_exe().unwrap();
        let child = Command::new(program)
            .args(["cluster::role", "--exact", "--nocapture"])
            .env(ROLE, role)
            .stdout(stdout)
            .stderr(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    /// SIGKILL: nothing is said to anybody.
    pub(crate) fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) struct Cluster {
    pub(crate) url: String,
    pub(crate) executors: Vec<Process>,
    scheduler: Process,
    _said: BufReader<ChildStdout>,
}

impl Cluster {
    pub(crate) fn start(executors: usize) -> Self {
        let mut scheduler = Process::run("scheduler", Stdio::piped());
        let mut said = BufReader::new(scheduler.0.stdout.take().unwrap());
        let address = loop {
            let mut line = String::new();
            assert_ne!(said.read_line(&mut line).unwrap(), 0, "the scheduler ended");
            // The harness may have begun the line.
            if let Some((_, address)) = line.trim().split_once(READY) {
                break address.to_owned();
            }
        };
        let url = format!("df://{address}");
        let executors = (0..executors)
            .map(|_| Process::run(&format!("executor of {url}"), Stdio::null()))
            .collect();
        Self {
            url,
            executors,
            scheduler,
            _said: said,
        }
    }
}

fn place() -> Place {
    Place::new(&WorldSpec {
        events_per_stream: 400,
        cut: Cut::Fraction(0.4),
        ..WorldSpec::honest(5)
    })
}

/// The reports of all shards as one, without what differs by the hour.
fn merged(gathered: &Gathered, shards: u32) -> VerifyReport {
    assert_eq!(gathered.lost, [], "{:?}", gathered.given_up);
    let numbers: BTreeSet<u64> = gathered.reports.iter().map(|(shard, _)| *shard).collect();
    assert_eq!(numbers, (1..=u64::from(shards)).collect());
    let reports = gathered.reports.iter().map(|(shard, json)| {
        (
            shard.to_string(),
            VerifyReport::from_json(json.as_bytes()).unwrap(),
        )
    });
    Task::merge(reports.collect()).unwrap()
}

#[test]
fn the_answer_is_whole_whoever_is_killed() {
    let place = place();
    let task = place.task();
    let alone = task.verify(None, &NoProgress, &Cancel::new()).unwrap();
    let mut cluster = Cluster::start(3);
    let url = cluster.url.clone();
    let mut options = GatherOptions::new(24, Duration::from_secs(60));
    options.at_once = 12;
    let mut came = 0;
    let executors = &mut cluster.executors;
    let gathered = gather(&url, &task, &options, &Cancel::new(), |_| {
        came += 1;
        // One in the middle, and another a little later.
        if matches!(came, 4 | 9) {
            executors.pop().unwrap().kill();
        }
    })
    .unwrap();
    assert_eq!((gathered.given_up.as_deref(), executors.len()), (None, 1));
    let report = merged(&gathered, 24);
    assert_eq!(
        (report.verdict, report.exit_status()),
        (alone.verdict, alone.exit_status())
    );
    assert_eq!(
        serde_json::to_value(&report).unwrap(),
        serde_json::to_value(&alone).unwrap()
    );
}

#[test]
fn losing_all_executors_ends_with_an_error_and_not_in_waiting() {
    let place = place();
    let mut cluster = Cluster::start(2);
    let url = cluster.url.clone();
    let mut options = GatherOptions::new(12, Duration::from_secs(12));
    options.at_once = 2;
    let executors = &mut cluster.executors;
    let gathered = gather(&url, &place.task(), &options, &Cancel::new(), |_| {
        executors.clear();
    })
    .unwrap();
    let why = gathered.given_up.clone().unwrap();
    assert!(why.contains("no executor"), "{why}");
    assert!(
        !gathered.reports.is_empty() && !gathered.lost.is_empty(),
        "{gathered:?}"
    );
    assert_eq!(gathered.reports.len() + gathered.lost.len(), 12);
    // Nobody is there from the beginning; and then not even the scheduler.
    let patience = Duration::from_secs(3);
    let nobody = verify_on_cluster(&url, &place.task(), 2, patience, &Cancel::new()).unwrap_err();
    assert!(
        matches!(&nobody, EngineError::Cluster(why) if why.contains("no executor")),
        "{nobody}"
    );
    cluster.scheduler.kill();
    let nobody = verify_on_cluster(&url, &place.task(), 2, patience, &Cancel::new()).unwrap_err();
    assert!(
        matches!(&nobody, EngineError::Cluster(why) if why.contains("cannot be reached")),
        "{nobody}"
    );
}

#[test]
fn a_shard_that_cannot_be_verified_is_lost_with_its_reason() {
    let place = place();
    let cluster = Cluster::start(1);
    let mut task = place.task();
    task.manifest_sha256 = ves::Hash32::ZERO;
    let gathered =
        verify_on_cluster(&cluster.url, &task, 3, Duration::from_secs(60), &Cancel::new()).unwrap();
    assert_eq!((gathered.reports.len(), gathered.lost.len()), (0, 3));
    assert!(gathered.lost[0].1.contains("manifest"), "{:?}", gathered.lost);
    let cancel = Cancel::new();
    cancel.cancel();
    let stopped = verify_on_cluster(&cluster.url, &task, 3, Duration::from_secs(60), &cancel);
    assert!(matches!(stopped, Err(EngineError::Cancelled)));
    for wrong in [
        "http://localhost:1",
        "localhost:50050",
        "df:///x",
        "df://",
        "df://me@h:1",
        "df://h:1/x",
    ] {
        let refused = verify_on_cluster(wrong, &task, 1, Duration::from_secs(1), &Cancel::new());
        assert!(
            matches!(refused, Err(EngineError::Refused(_))),
            "{wrong}: {refused:?}"
        );
    }
}

#[test]
fn a_query_is_answered_by_a_cluster_as_by_one_machine() {
    let place = place();
    let cluster = Cluster::start(2);
    let root = "select tenant_id, store_id, ves_merkle_root(ves_leaf(tenant_id, store_id, sequence_number, \
                event_signing_hash, agent_signature) order by sequence_number) as root, ves_gaps(sequence_number) as \
                gaps, count(*) as events from events group by tenant_id, store_id order by tenant_id, store_id";
    let latest = "select count(*), count(distinct batch_id) from commitments";
    for sql in [root, latest] {
        let options = Options::default();
        let patience = Duration::from_secs(120);
        let rows = query_on_cluster(
            &cluster.url,
            &place.address(),
            sql,
            &options,
            patience,
            &Cancel::new(),
        )
        .unwrap();
        let there: Vec<Vec<String>> = collect(rows);
        let engine = archive_engine::Engine::open(&place.address(), &options).unwrap();
        assert_eq!(there, collect(engine.query(sql).unwrap()), "{sql}");
        assert!(!there.is_empty());
    }
}

fn collect(rows: archive_engine::Rows) -> Vec<Vec<String>> {
    let batches: Vec<_> = rows.map(Result::unwrap).collect();
    batches
        .iter()
        .flat_map(|rows| (0..rows.num_rows()).map(|row| cell::cells(rows, row)))
        .collect()
}
