//! The recovery epoch that `apply` writes for agents.

use std::fs;

use assert_cmd::Command;
use ed25519_dalek::SigningKey;
use fixtures::{World, WorldSpec};
use outbox_sync::epoch::RecoveryEpoch;
use ves::SignatureCheck;

fn run(args: &[&str]) -> i32 {
    let output = Command::cargo_bin("sequencer-recovery")
        .unwrap()
        .args(args)
        .output()
        .unwrap();
    output.status.code().unwrap()
}

#[test]
fn an_epoch_tells_where_the_recovery_ended_and_what_came_back() {
    let world = World::generate(&WorldSpec {
        interior_holes: 0,
        leading_hole: 0,
        ..WorldSpec::default()
    });
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    world.write_recovered(path("log.db").as_ref()).unwrap();
    world.write_anchors(path("anchors.json").as_ref()).unwrap();
    fs::create_dir(path("outboxes")).unwrap();
    world.write_outboxes(path("outboxes").as_ref()).unwrap();
    fs::write(path("seed"), "05".repeat(32)).unwrap();
    let (log, plan, epoch) = (path("log.db"), path("plan"), path("epoch.json"));
    run(&[
        "plan",
        "--db",
        &log,
        "--outbox",
        &path("outboxes"),
        "--anchors",
        &path("anchors.json"),
        "--out",
        &plan,
    ]);
    let apply = [
        "apply",
        &plan,
        "--db",
        &log,
        "--epoch",
        &epoch,
        "--epoch-key",
        &path("seed"),
    ];
    assert_eq!(run(&apply) & !4, 1);

    let read = RecoveryEpoch::read(epoch.as_ref()).unwrap();
    let key = SigningKey::from_bytes(&[5; 32]).verifying_key();
    let other = SigningKey::from_bytes(&[6; 32]).verifying_key();
    assert_eq!(read.check_signature(Some(&key)), SignatureCheck::Valid);
    assert!(!read.check_signature(Some(&other)).is_valid());
    let mut restored = 0;
    for truth in world.truth().streams {
        let stream = read.stream(&truth.stream).unwrap();
        assert_eq!(stream.recovered_head, truth.recovered_head);
        assert!(stream.counter >= truth.highest_claim);
        for number in &stream.restored {
            let event = &truth.events[usize::try_from(number.sequence_number).unwrap() - 1];
            assert_eq!((event.event_id, event.in_recovered), (number.event_id, false));
            restored += 1;
        }
    }
    assert!(restored > 0);

    // Applied again, the log is as it was, and so is the epoch but for its time.
    assert_eq!(run(&apply), 8, "an epoch is not overwritten");
    let second = path("second.json");
    assert_eq!(run(&["apply", &plan, "--db", &log, "--epoch", &second]) & !4, 0);
    let again = RecoveryEpoch::read(second.as_ref()).unwrap();
    assert_eq!((again.id, &again.streams), (read.id, &read.streams));
}
