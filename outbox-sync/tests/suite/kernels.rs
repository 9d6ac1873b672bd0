//! `VES_KERNEL` makes the tool hash another way; what it finds stays the same.

use crate::common;

use assert_cmd::Command;
use ves::kernel::Kernel;

#[test]
fn every_kernel_gives_the_same_verdicts() {
    let shared = test_support::shared_data();
    let folder = tempfile::tempdir().unwrap();
    common::copy_folder(&shared.join("data/scenario-1/outboxes"), folder.path());
    let run = |kernel: &str| {
        let output = Command::cargo_bin("outbox-sync")
            .unwrap()
            .current_dir(folder.path())
            .env_remove("RUST_LOG")
            .env("VES_KERNEL", kernel)
            .args(["verify", "-v", "--all", "--format", "ndjson", "."])
            .output()
            .unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        // When it was made is of no kernel.
        let lines = text(output.stdout);
        let lines = lines.lines().filter(|line| !line.contains("\"made_at\""));
        let lines = lines.collect::<Vec<_>>().join("\n");
        (output.status.code(), lines, text(output.stderr))
    };
    let (expected_code, expected, _) = run("");
    assert!(expected.lines().count() > 100, "{expected}");
    for kernel in Kernel::ALL {
        let name = kernel.to_string();
        let (code, found, talk) = run(&name);
        if kernel.is_available() {
            assert_eq!(code, expected_code, "{name}");
            assert!(found == expected, "{name}");
            assert!(talk.contains(&format!("hash kernel {name}")), "{talk}");
        } else {
            assert_eq!((code, found.as_str()), (Some(16), ""), "{name}");
        }
    }
    let (code, found, talk) = run("AVX512");
    assert_eq!((code, found.as_str()), (Some(16), ""));
    assert!(talk.contains("VES_KERNEL") && talk.contains("AVX512"), "{talk}");
}
