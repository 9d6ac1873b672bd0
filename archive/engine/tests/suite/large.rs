//! A million events of a hundred streams, while executors are killed. Takes minutes: run it with `--ignored`.

use std::path::Path;
use std::time::{Duration, Instant};

use anchor_verify::VerifyReport;
use anchor_verify::verify::DbSource;
use archive_engine::cluster::{GatherOptions, gather};
use archive_format::write::{WriteOptions, write};
use archive_format::{Archive, Store, Task};
use cli_common::{Cancel, DbTarget, NoProgress};
use event_log::Scope;
use fixtures::{BigSpec, BigWorld};

use crate::cluster::Cluster;

/// How many events there are, if not a million.
const EVENTS: &str = "ARCHIVE_ENGINE_TEST_EVENTS";

#[test]
#[ignore = "takes minutes"]
fn a_million_events_are_verified_while_executors_are_killed() {
    let events = std::env::var(EVENTS).map_or(1_000_000, |events| events.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let task = archived(folder.path(), events);
    let began = Instant::now();
    let alone = task.verify(None, &NoProgress, &Cancel::new()).unwrap();
    println!(
        "verified by one process in {:?}: {}",
        began.elapsed(),
        alone.verdict
    );
    let mut cluster = Cluster::start(3);
    for kill in [false, true] {
        let began = Instant::now();
        let mut came = 0;
        let executors = &mut cluster.executors;
        let options = GatherOptions::new(64, Duration::from_secs(120));
        let gathered = gather(&cluster.url, &task, &options, &Cancel::new(), |_| {
            came += 1;
            if kill && matches!(came, 10 | 30) {
                executors.pop().unwrap().kill();
            }
        })
        .unwrap();
        assert_eq!((gathered.given_up, gathered.lost), (None, Vec::new()));
        println!(
            "verified by a cluster in {:?}, executors killed: {kill}",
            began.elapsed()
        );
        let reports = gathered.reports.iter().map(|(shard, json)| {
            (
                shard.to_string(),
                VerifyReport::from_json(json.as_bytes()).unwrap(),
            )
        });
        let report = Task::merge(reports.collect()).unwrap();
        assert_eq!(
            serde_json::to_value(&report).unwrap(),
            serde_json::to_value(&alone).unwrap()
        );
    }
}

/// So many events in an archive, and what is to be verified of them.
fn archived(folder: &Path, events: u64) -> Task {
    let log = folder.join("log.db");
    let world = BigWorld::new(&BigSpec {
        events,
        streams: 100,
        ..BigSpec::default()
    });
    let (counts, anchors) = world.write_snapshot(&log).unwrap();
    assert_eq!(counts.events, events);
    let address = folder.join("archive").display().to_string();
    let mut source = DbSource::open(&DbTarget::Snapshot(log), Scope::default()).unwrap();
    let began = Instant::now();
    let store = Store::open(&address).unwrap();
    write(
        &store,
        &mut source,
        &WriteOptions::new("log"),
        &NoProgress,
        &Cancel::new(),
    )
    .unwrap();
    println!("written in {:?}", began.elapsed());
    let archive = Archive::open(store).unwrap();
    let mut json = Vec::new();
    anchors.write_json(&mut json).unwrap();
    Task {
        address,
        manifest: archive.manifest().number,
        manifest_sha256: archive.read_manifest().sha256,
        streams: Vec::new(),
        anchors: Some(String::from_utf8(json).unwrap()),
        standings: Some(anchor_verify::chain::examine(&anchors, None)),
        keys: None,
        sequencer_keys: Vec::new(),
    }
}
