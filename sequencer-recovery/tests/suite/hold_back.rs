//! Ranges that must not be committed after a repair are named by the plan, by apply and with the epoch.

use crate::common;

use common::{Db, plan, run, text};
use fixtures::{World, WorldSpec};
use serde_json::Value;

/// First and last number of each that is listed.
fn ranges(list: &Value) -> Vec<(u64, u64)> {
    let number = |range: &Value, name: &str| range[name].as_u64().unwrap();
    let list = list.as_array().into_iter().flatten();
    list.map(|range| (number(range, "from"), number(range, "to")))
        .collect()
}

#[test]
fn anchored_ranges_with_open_positions_are_named_until_they_are_filled() {
    let world = World::generate(&WorldSpec {
        seed: 11,
        lost_outboxes: 2,
        batch_size: 8,
        anchored_fraction: 1.0,
        ..WorldSpec::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    world.write_recovered(&path("log.db")).unwrap();
    world.write_anchors(&path("anchors.json")).unwrap();
    world.write_outboxes(&path("outboxes")).unwrap();
    let log = Db::Snapshot(path("log.db"));
    let witnesses = [
        "--outbox".to_owned(),
        text(&path("outboxes")),
        "--anchors".into(),
        text(&path("anchors.json")),
    ];
    let out = path("plan");
    let summary = plan(&log, &out, &witnesses).json();
    let mut held = 0;
    for stream in summary["streams"].as_array().unwrap() {
        let held_back = ranges(&stream["must_not_commit"]);
        let open = stream["open"].as_array().unwrap();
        // Every open position of an anchored batch is in a range that is held back, and no range is held back for nothing.
        for hole in open.iter().filter(|hole| hole["batch"]["anchored"] == true) {
            let at = hole["from"].as_u64().unwrap();
            assert!(
                held_back.iter().any(|(from, to)| (*from..=*to).contains(&at)),
                "{stream}"
            );
        }
        for (from, to) in &held_back {
            let holes = ranges(&stream["open"]);
            assert!(holes.iter().any(|(a, b)| a <= to && b >= from), "{stream}");
        }
        held += held_back.len();
    }
    assert!(held > 0, "this world has anchored batches that stay open");
    let shown = path("shown");
    let shown = text(&shown);
    let mut for_people = vec!["plan".to_owned(), "--db".into(), log.arg(), "--out".into(), shown];
    for_people.extend(witnesses.clone());
    run(for_people).shows(&["must not be committed", "contradicts its anchor for good"]);
    let epoch = text(&path("epoch"));
    run(["apply", &text(&out), "--db", &log.arg(), "--epoch", &epoch])
        .expect(5)
        .shows(&["position(s) stay open: commit nothing across them"]);
    let again = text(&path("again"));
    run(["epoch", "--db", &log.arg(), "--out", &again])
        .expect(0)
        .shows(&["are open: commit nothing across them"]);
    // What is claimed is believed, and what is lost is filled: nothing is left to hold back.
    let filled = path("filled");
    let more = [
        "--fill-losses",
        "tombstone",
        "--fill-undecided",
        "--recovery-agent",
        "00000000-0000-4000-8000-00000000aaaa",
        "--register-recovery-key",
        "--root-will-not-match",
        "--recovery-key",
    ];
    let seed = path("seed");
    std::fs::write(&seed, "07".repeat(32)).unwrap();
    let mut all = witnesses.to_vec();
    all.extend(more.map(str::to_owned));
    all.push(text(&seed));
    let summary = plan(&log, &filled, &all).json();
    for stream in summary["streams"].as_array().unwrap() {
        assert!(
            !ranges(&stream["filled"]).is_empty() || ranges(&stream["open"]).is_empty(),
            "{stream}"
        );
        assert!(ranges(&stream["must_not_commit"]).is_empty(), "{stream}");
    }
}
