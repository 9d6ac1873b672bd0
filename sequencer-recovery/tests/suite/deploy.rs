//! What is handed out for the cadence: units of systemd, the hook, and `--notify-command` itself.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Instant;

use crate::common::{binary, text};

/// systemd itself looks at the units, with the binary of this build in place of the installed one.
#[test]
fn systemd_takes_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        println!("skipped: no systemd-analyze, which is part of systemd");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut units = Vec::new();
    let folder = test_support::workspace_root().join("deploy/systemd");
    for file in fs::read_dir(&folder).unwrap() {
        let file = file.unwrap();
        if file.path().is_dir() {
            continue;
        }
        let unit = fs::read_to_string(file.path()).unwrap();
        let unit = unit.replace(
            "/usr/local/bin/sequencer-recovery",
            env!("CARGO_BIN_EXE_sequencer-recovery"),
        );
        let path = dir.path().join(file.file_name());
        fs::write(&path, unit).unwrap();
        if path.extension().is_some() {
            units.push(path);
        }
    }
    assert_eq!(units.len(), 9);
    // A drop-in is looked at with the unit that it is dropped into.
    let guard = fs::read_to_string(folder.join("sequencer.service.d/guard.conf")).unwrap();
    let guard = guard.replace(
        "/usr/local/bin/sequencer-recovery",
        env!("CARGO_BIN_EXE_sequencer-recovery"),
    );
    let unit = dir.path().join("sequencer-guarded.service");
    fs::write(&unit, format!("[Service]\nExecStart=/bin/true\n{guard}")).unwrap();
    units.push(unit);
    let output = Command::new("systemd-analyze")
        .arg("verify")
        .args(&units)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    // What it says of other units of this host is not about ours.
    let ours: Vec<&str> = said.lines().filter(|line| line.contains("sequencer-")).collect();
    assert!(ours.is_empty(), "{said}");
}

#[test]
fn a_hook_is_told_how_it_ended_and_given_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let out = text(&dir.path().join("told"));
    let hook = format!(
        "cat >{out}; echo \"$SEQUENCER_TOOL $SEQUENCER_COMMAND $SEQUENCER_STATUS $SEQUENCER_ERROR\" >>{out}; echo said"
    );
    let run = |args: &[&str], hook: &str| {
        let mut command = binary();
        command
            .args(args)
            .args(["--notify-command", hook])
            .current_dir(dir.path())
            .output()
            .unwrap()
    };
    let drill = run(&["drill", "--events", "20", "--quiet"], &hook);
    assert_eq!(
        drill.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&drill.stderr)
    );
    // stdout is for the report alone.
    assert!(!String::from_utf8_lossy(&drill.stdout).contains("said"));
    assert!(String::from_utf8_lossy(&drill.stderr).contains("said"));
    let told = fs::read_to_string(&out).unwrap();
    let (report, last) = told.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(last.trim_end(), "sequencer-recovery drill 0");
    let report: serde_json::Value = serde_json::from_str(report).unwrap();
    assert_eq!(report["result"], "PASS");

    let failed = run(&["gaps", "--db", "no\u{1b}where.db"], &hook);
    assert_eq!(failed.status.code(), Some(8));
    let told = fs::read_to_string(&out).unwrap();
    assert!(
        told.starts_with("sequencer-recovery gaps 8 ") && told.contains("where.db"),
        "{told}"
    );
    assert!(!told.contains('\u{1b}'));

    let unheard = run(&["gaps", "--db", "nowhere.db"], "exit 3");
    assert!(String::from_utf8_lossy(&unheard.stderr).contains("nobody may have been told"));
    assert_eq!(unheard.status.code(), Some(8));
    // A hook that reads nothing, and one that leaves something running, hold nothing up.
    let begun = Instant::now();
    assert_eq!(
        run(&["drill", "--events", "20"], "sleep 300 >/dev/null 2>&1 & exit 0")
            .status
            .code(),
        Some(0)
    );
    assert!(begun.elapsed().as_secs() < 200);
}

#[test]
fn the_hook_that_is_handed_out_speaks_of_what_failed_alone() {
    let hook = test_support::workspace_root().join("deploy/systemd/notify");
    assert!(hook.metadata().unwrap().permissions().mode() & 0o111 != 0);
    for (status, speaks) in [("0", false), ("1", false), ("4", true), ("12", true)] {
        let mut command = Command::new("/bin/sh");
        // Without a log of the system, it speaks on stderr.
        command
            .arg(&hook)
            .env("SEQUENCER_STATUS", status)
            .env("SEQUENCER_TOOL", "t")
            .env("PATH", "/nowhere");
        let output = command.output().unwrap();
        assert!(output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(said.contains("ended with"), speaks, "{status}: {said}");
    }
}
