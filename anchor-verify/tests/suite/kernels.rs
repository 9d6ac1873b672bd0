//! `VES_KERNEL` makes the tool hash another way; what it finds stays the same.

use assert_cmd::Command;
use fixtures::{World, WorldSpec};
use ves::kernel::Kernel;

#[test]
fn every_kernel_gives_the_same_report() {
    let world = World::generate(&WorldSpec {
        events_per_stream: 150,
        batch_size: 40,
        ..WorldSpec::honest(3)
    });
    let folder = tempfile::tempdir().unwrap();
    world.write_log(&folder.path().join("log.db")).unwrap();
    world.write_anchors(&folder.path().join("anchors.json")).unwrap();
    let run = |kernel: Option<&str>| {
        let mut command = Command::cargo_bin("anchor-verify").unwrap();
        command.current_dir(folder.path()).env_remove("RUST_LOG").args([
            "verify",
            "--db",
            "log.db",
            "--anchors",
            "anchors.json",
            "-v",
            "--format",
            "json",
        ]);
        match kernel {
            Some(kernel) => command.env("VES_KERNEL", kernel),
            None => command.env_remove("VES_KERNEL"),
        };
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        // The time at which it was made is another each time.
        let report = text(output.stdout);
        let lines = report.lines().filter(|line| !line.contains("\"made_at\""));
        let report: String = lines.map(|line| format!("{line}\n")).collect();
        (output.status.code(), report, text(output.stderr))
    };
    let (code, expected, _) = run(None);
    assert_eq!(code, Some(0), "{expected}");
    assert!(
        expected.contains("MATCHES ANCHORS") || expected.contains("matches_anchors"),
        "{expected}"
    );
    assert_eq!(run(Some("")).1, expected);
    for kernel in Kernel::ALL {
        let name = kernel.to_string();
        let (code, found, talk) = run(Some(&name));
        if kernel.is_available() {
            assert_eq!((code, &found), (Some(0), &expected), "{name}");
            assert!(talk.contains(&format!("hash kernel {name}")), "{talk}");
        } else {
            assert_eq!((code, found.as_str()), (Some(16), ""), "{name}");
            assert!(talk.contains("this machine cannot run"), "{talk}");
        }
    }
    let (code, found, talk) = run(Some("sse2"));
    assert_eq!((code, found.as_str()), (Some(16), ""));
    assert!(talk.contains("VES_KERNEL") && talk.contains("sse2"), "{talk}");
}
