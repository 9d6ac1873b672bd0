//! Drills on snapshot files and on real servers: each fault ends as docs/drill.md says, and nothing is left behind.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sequencer_recovery::drill::{DrillFault, EMBEDDED_PHASES, PITR_PHASES};
use serde_json::Value;

use crate::docs::tools;

/// A folder of a drill: the report's, and the temporary one, which everybody may pass through.
struct Room {
    dir: tempfile::TempDir,
    tmp: PathBuf,
}

impl Room {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tmp = dir.path().join("t");
        fs::create_dir(&tmp).unwrap();
        for passable in [dir.path(), &tmp] {
            fs::set_permissions(passable, Permissions::from_mode(0o755)).unwrap();
        }
        Self { dir, tmp }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_sequencer-recovery"));
        command
            .current_dir(self.dir.path())
            .env("TMPDIR", &self.tmp)
            .arg("drill")
            .args(args);
        command
    }

    /// The exit status, the report, and what was said.
    #[track_caller]
    fn drill(&self, args: &[&str]) -> (i32, Value, String) {
        let output = self.command(args).args(["--format", "json"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
        assert_eq!(
            self.left_behind(),
            Vec::<PathBuf>::new(),
            "something is left behind: {said}"
        );
        (output.status.code().unwrap(), report, said)
    }

    fn left_behind(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.tmp).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }

    fn reports(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path().join("recovery_reports")).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    }
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn array<'a>(report: &'a Value, name: &str) -> &'a [Value] {
    report[name].as_array().map_or(&[], Vec::as_slice)
}

fn failed(report: &Value) -> Vec<String> {
    let checks = array(report, "checks")
        .iter()
        .filter(|check| check["passed"] != true);
    checks
        .map(|check| format!("{}: {}", text(check, "name"), text(check, "detail")))
        .collect()
}

/// The drill passed, and each of its faults was seen and judged.
#[track_caller]
fn ends_as_documented(done: &(i32, Value, String), faults: &[DrillFault]) {
    let (code, report, said) = done;
    assert_eq!((*code, failed(report)), (0, Vec::new()), "{said}");
    for fault in faults {
        let beginning = format!("{fault}: ");
        let mut checks = array(report, "checks").iter();
        assert!(
            checks.any(|check| text(check, "name").starts_with(&beginning)),
            "{fault} was not judged: {:?}",
            report["not_checked"]
        );
    }
    assert_eq!(report["schema"], "dr-report/2");
    assert_eq!(report["exit_status"], 0);
    assert_eq!(report["events"]["misplaced"], 0);
    assert!(report["integrity"]["pass_rate"].as_f64().unwrap() < 1.0);
}

#[test]
fn each_fault_ends_as_documented_on_a_snapshot_file() {
    let room = Room::new();
    for fault in DrillFault::ALL
        .into_iter()
        .filter(|fault| *fault != DrillFault::BeforeMigration)
    {
        let done = room.drill(&["--events", "60", "--seed", "3", "--fault", fault.as_str()]);
        ends_as_documented(&done, &[fault]);
    }
    // Kept by the day and the id, each under a name of its own.
    let kept = room.reports();
    assert_eq!(kept.len(), DrillFault::ALL.len() - 1, "{kept:?}");
}

#[test]
fn the_world_is_as_large_as_it_is_asked_for_and_targets_are_held() {
    let room = Room::new();
    let world = [
        "--streams",
        "3",
        "--agents",
        "3",
        "--events",
        "40",
        "--lost",
        "30",
    ];
    let (code, report, said) = room.drill(&[&world[..], &["--target", "apply=1h", "--rto", "1h"]].concat());
    assert_eq!((code, failed(&report)), (0, Vec::new()), "{said}");
    assert_eq!(report["events"]["before"], 120);
    assert_eq!(report["events"]["lost"], 30);
    assert_eq!(array(&report, "streams").len(), 3);
    assert_eq!(report["scenario"]["agents"], 9);
    assert_eq!(report["scenario"]["lost"], "30 events");
    assert_eq!(report["objectives"]["rto"]["met"], true);
    assert_eq!(report["objectives"]["rpo"]["met"], Value::Null);
    let names: Vec<&str> = array(&report, "phases").iter().map(|p| text(p, "name")).collect();
    assert!(
        names.iter().all(|name| EMBEDDED_PHASES.contains(name)),
        "{names:?}"
    );
    let apply = array(&report, "phases")
        .iter()
        .find(|p| p["name"] == "apply")
        .unwrap();
    assert_eq!(
        (&apply["met"], &apply["target_seconds"]),
        (&true.into(), &3600.0.into())
    );

    let missed = room.drill(&[&world[..], &["--target", "plan=0", "--rpo", "0"]].concat());
    assert_eq!(missed.0, 4, "{}", missed.2);
    assert_eq!(missed.1["exit_status"], 4);
    assert!(failed(&missed.1).iter().any(|what| what.contains("phase plan")));
    for wrong in [
        &["--target", "restore=5m"][..],
        &["--fault", "before-migration"],
        &["--fault", "ran-on", "--fault", "missing-anchors"],
        &["--fault", "ran-on", "--fault", "rewound-counter"],
        &["--fault", "fire"],
        &["--lost", "200%"],
        &["--streams", "10000", "--events", "100000"],
        &["--backup-tool", "pgbackrest"],
    ] {
        let (code, _, said) = room.drill(wrong);
        assert_eq!(code, 16, "{wrong:?}: {said}");
    }
}

/// What must be so of every drill on a server.
#[track_caller]
fn is_of_a_real_server(report: &Value, tool: &str) {
    let names: Vec<&str> = array(report, "phases").iter().map(|p| text(p, "name")).collect();
    assert!(names.iter().all(|name| PITR_PHASES.contains(name)), "{names:?}");
    for phase in [
        "load", "backup", "disaster", "restore", "promote", "audit", "plan", "apply", "verify", "go-on",
    ] {
        assert!(names.contains(&phase), "{names:?}");
    }
    assert!(
        text(&report["scenario"], "backup").starts_with(tool),
        "{report:#}"
    );
    assert!(text(&report["versions"], "server").starts_with("PostgreSQL "));
    assert_eq!(report["scenario"]["timelines"][0], 1);
    assert!(report["scenario"]["timelines"][1].as_u64().unwrap() > 1);
    for stream in array(report, "streams") {
        assert_eq!(
            stream["went_on_at"].as_u64().unwrap(),
            stream["counter"].as_u64().unwrap() + 1
        );
    }
}

#[test]
fn a_server_is_restored_by_pg_basebackup_and_repaired() {
    if !test_support::postgres_available() {
        return;
    }
    let room = Room::new();
    let kept = room.dir.path().join("kept");
    let pitr = [
        "--pitr",
        "--backup-tool",
        "pg_basebackup",
        "--seed",
        "3",
        "--events",
        "60",
    ];
    let done = room.drill(&[&pitr[..], &["--keep", kept.to_str().unwrap()]].concat());
    ends_as_documented(&done, &[]);
    is_of_a_real_server(&done.1, "pg_basebackup");
    for file in [
        "server.log",
        "backup.json",
        "plan.ndjson",
        "truth.json",
        "outboxes",
    ] {
        assert!(kept.join(file).exists(), "{file}");
    }
    let log = fs::read_to_string(kept.join("server.log")).unwrap();
    assert!(log.contains("selected new timeline ID: 2"), "{log}");
    // The same world as on a snapshot file, and the same outcome.
    let (_, embedded, _) = room.drill(&["--seed", "3", "--events", "60"]);
    assert_eq!(done.1["events"], embedded["events"]);

    // Half of what is drilled at once, the other half below.
    let faults = [
        DrillFault::BeforeMigration,
        DrillFault::TamperedOutbox,
        DrillFault::WrongClaims,
        DrillFault::SecondRecovery,
    ];
    let named = faults.iter().flat_map(|fault| ["--fault", fault.as_str()]);
    let done = room.drill(&pitr.iter().copied().chain(named).collect::<Vec<_>>());
    ends_as_documented(&done, &faults);
    is_of_a_real_server(&done.1, "pg_basebackup");
    assert_eq!(done.1["scenario"]["timelines"][1], 3);
}

#[test]
fn a_server_that_ran_on_and_one_that_was_rewound_are_repaired() {
    if !test_support::postgres_available() {
        return;
    }
    let room = Room::new();
    let pitr = [
        "--pitr",
        "--backup-tool",
        "pg_basebackup",
        "--seed",
        "3",
        "--events",
        "60",
    ];
    for faults in [
        [DrillFault::RanOn, DrillFault::RevokedKey],
        [DrillFault::RewoundCounter, DrillFault::LostAgent],
    ] {
        let named = faults.iter().flat_map(|fault| ["--fault", fault.as_str()]);
        let done = room.drill(&pitr.iter().copied().chain(named).collect::<Vec<_>>());
        ends_as_documented(&done, &faults);
        is_of_a_real_server(&done.1, "pg_basebackup");
    }
}

fn pgbackrest_is_here() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let here = std::env::split_paths(&path).any(|dir| dir.join("pgbackrest").is_file());
    if !here {
        test_support::skipped("pgbackrest not found (run scripts/setup)");
    }
    here
}

#[test]
fn a_server_is_restored_by_pgbackrest_and_repaired() {
    if !test_support::postgres_available() || !pgbackrest_is_here() {
        return;
    }
    let room = Room::new();
    let kept = room.dir.path().join("kept");
    let done = room.drill(&[
        "--pitr",
        "--seed",
        "3",
        "--events",
        "60",
        "--fault",
        "missing-anchors",
        "--keep",
        kept.to_str().unwrap(),
    ]);
    ends_as_documented(&done, &[DrillFault::MissingAnchors]);
    is_of_a_real_server(&done.1, "pgbackrest");
    let backups: Value = serde_json::from_slice(&fs::read(kept.join("backup.json")).unwrap()).unwrap();
    let kinds: Vec<&str> = array(&backups, "backups")
        .iter()
        .map(|b| text(b, "type"))
        .collect();
    assert_eq!(kinds, ["full", "incr"]);
}

#[test]
fn a_drill_that_is_stopped_or_cannot_be_run_leaves_nothing_behind() {
    if !test_support::postgres_available() {
        return;
    }
    let room = Room::new();
    let nowhere = room.tmp.to_str().unwrap().to_owned();
    let (code, _, said) = room.drill(&["--pitr", "--pg-bin", &nowhere]);
    assert_eq!(code, 8, "{said}");
    assert!(said.contains("apt-get install postgresql"), "{said}");

    let drill = room.command(&["--pitr", "--events", "2000"]);
    let mut drill = { drill }
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let server = |tmp: &Path| {
        let places = fs::read_dir(tmp).unwrap().map(|entry| entry.unwrap().path());
        places
            .map(|place| place.join("home/data/postmaster.pid"))
            .find(|pid| pid.exists())
    };
    let pid = loop {
        // There is a moment in which the file is there and says nothing yet.
        let said = server(&room.tmp).map(|pid| fs::read_to_string(pid).unwrap());
        if let Some(pid) = said.filter(|said| said.contains('\n')) {
            break pid;
        }
        assert!(Instant::now() < deadline, "no server was started");
        std::thread::sleep(Duration::from_millis(20));
    };
    let stopped = Command::new("kill")
        .args(["-INT", &drill.id().to_string()])
        .status()
        .unwrap();
    assert!(stopped.success());
    assert_eq!(drill.wait().unwrap().code(), Some(32));
    assert_eq!(room.left_behind(), Vec::<PathBuf>::new());
    let pid = pid.lines().next().unwrap().to_owned();
    assert!(!Path::new("/proc").join(pid).exists());
}

#[test]
fn history_shows_trends_and_names_what_is_no_report() {
    let room = Room::new();
    for events in ["20", "20", "30"] {
        room.drill(&["--events", events]);
    }
    let folder = room.dir.path().join("recovery_reports");
    // A report of the version before.
    let old = r#"{"schema":"dr-report/1","tool":"sequencer-recovery 0.1.0","started_at":"2026-01-05T09:00:00Z","seed":1,
        "result":"PASS","phases":[{"name":"audit","seconds":0.5}],"events":{"before":400,"lost":140,"restored":128,
        "unresolved":12,"held_by_nobody":8,"misplaced":0},"objectives":{"rto_seconds_reached":0.5,"rto_seconds_wanted":null,
        "rpo_seconds_before_repair":900.0,"rpo_seconds_reached":60.0,"rpo_seconds_wanted":null},
        "integrity":{"batches_matching_anchors":40,"batches_matching_database":0,"batches_failed":0,"batches_not_checked":8,
        "pass_rate":1.0},"checks":[],"streams":[],"manual_interventions":0,"not_checked":[]}"#;
    fs::write(folder.join("2026-01-05-old.json"), old).unwrap();
    fs::write(folder.join("audit.json"), r#"{"schema":"recovery-audit/1"}"#).unwrap();
    fs::write(folder.join("broken.json"), "{").unwrap();
    fs::write(folder.join("notes.txt"), "not asked for").unwrap();
    fs::create_dir(folder.join("folder.json")).unwrap();
    let (code, history, said) = room.drill(&["history"]);
    assert_eq!(code, 0, "{said}");
    let reports = array(&history, "reports");
    assert_eq!(reports.len(), 4);
    assert_eq!(reports[0]["file"], "2026-01-05-old.json");
    // What is missing counts, though the old report itself did not count it.
    assert_eq!(reports[0]["pass_rate"], 40.0 / 48.0);
    // Compared with its like alone: neither the old world nor the larger one.
    let compared: Vec<bool> = reports.iter().map(|r| r["change"].is_object()).collect();
    assert_eq!(compared, [false, false, true, false]);
    let not_read: Vec<&str> = array(&history, "not_read")
        .iter()
        .map(|n| text(n, "file"))
        .collect();
    assert_eq!(not_read, ["audit.json", "broken.json", "folder.json"]);
    let table = room.command(&["history"]).output().unwrap();
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.contains("broken.json") && table.contains("83.3 %"),
        "{table}"
    );
    let (code, _, _) = room.drill(&["history", "nowhere"]);
    assert_eq!(code, 8);
}

#[test]
fn a_briefing_names_commands_that_there_are() {
    let room = Room::new();
    let tools = tools();
    for quarter in ["2026Q4", "2027Q1"] {
        let (code, plan, said) = room.drill(&["plan", "--quarter", quarter]);
        assert_eq!(code, 0, "{said}");
        assert!(text(&plan, "markdown").contains("## Roles"));
        for command in array(&plan, "commands").iter().map(|c| c.as_str().unwrap()) {
            let (tool, arguments) = command.split_once(' ').unwrap();
            let mut words: Vec<&str> = arguments.split(' ').collect();
            if words.contains(&"--pitr") {
                // Parsed to its end, and refused there.
                words.extend(["--target", "nothing=1"]);
            }
            let output = Command::new(tools.join(tool))
                .args(&words)
                .current_dir(&room.tmp)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            if words.contains(&"--pitr") {
                assert!(said.contains("no phase \"nothing\""), "{command}: {said}");
            } else {
                assert_ne!(output.status.code(), Some(16), "{command}: {said}");
            }
        }
    }
    assert_eq!(room.drill(&["plan", "--quarter", "2026"]).0, 16);
    let file = room.dir.path().join("exercise.md");
    let to_file = ["plan", "--quarter", "2026Q4", "--out", file.to_str().unwrap()];
    assert_eq!(room.drill(&to_file).0, 0);
    assert!(
        fs::read_to_string(&file)
            .unwrap()
            .starts_with("# Recovery exercise 2026Q4")
    );
    assert_eq!(room.drill(&to_file).0, 8);
}
