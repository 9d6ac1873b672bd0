//! `VES_KERNEL` makes the tool hash another way; what it finds and plans stays the same.

use std::fs;

use assert_cmd::Command;
use fixtures::{World, WorldSpec};
use serde_json::Value;
use ves::kernel::Kernel;

#[test]
fn every_kernel_gives_the_same_plan() {
    let world = World::generate(&WorldSpec {
        seed: 7,
        events_per_stream: 40,
        ..WorldSpec::default()
    });
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    world.write_recovered(&at("log.db")).unwrap();
    world.write_anchors(&at("anchors.json")).unwrap();
    world.write_outboxes(&at("outboxes")).unwrap();
    let run = |kernel: &str| {
        let out = format!("plan-{kernel}.ndjson");
        let output = Command::cargo_bin("sequencer-recovery")
            .unwrap()
            .current_dir(folder.path())
            .env_remove("RUST_LOG")
            .env("VES_KERNEL", kernel)
            .args(["plan", "-v", "--db", "log.db", "--outbox", "outboxes"])
            .args(["--anchors", "anchors.json", "--out", &out])
            .output()
            .unwrap();
        let talk = String::from_utf8(output.stderr).unwrap();
        // The first line says when the plan was made, and the last one has a hash that covers that.
        let plan = fs::read_to_string(at(&out)).unwrap_or_default();
        let lines: Vec<Value> = plan
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .map(|mut line: Value| {
                if let Some(line) = line.as_object_mut() {
                    line.retain(|name, _| !["made_at", "sha256", "provenance"].contains(&name.as_str()));
                }
                line
            })
            .collect();
        (output.status.code(), lines, talk)
    };
    let (expected_code, expected, _) = run("portable");
    assert!(expected.len() > 10, "{expected:?}");
    for kernel in Kernel::ALL {
        let name = kernel.to_string();
        let (code, found, talk) = if kernel == Kernel::Portable {
            (expected_code, expected.clone(), "hash kernel portable".into())
        } else {
            run(&name)
        };
        if kernel.is_available() {
            assert_eq!(code, expected_code, "{name}: {talk}");
            assert!(found == expected, "{name}");
            assert!(talk.contains(&format!("hash kernel {name}")), "{talk}");
        } else {
            assert_eq!((code, found.len()), (Some(16), 0), "{name}");
        }
    }
    let (code, found, talk) = run("sse2");
    assert_eq!((code, found.len()), (Some(16), 0));
    assert!(talk.contains("VES_KERNEL") && talk.contains("sse2"), "{talk}");
}
