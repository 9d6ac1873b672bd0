//! Backups that are restored in earnest: pgBackRest's, pg_basebackup's, dumps, a copy; good ones, ones that lack events, and
//! broken ones. What was restored is gone afterwards, and the live log is as it was.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::common;

use common::{Db, Ran, Server as Live, args, binary, run, text};
use fixtures::{World, WorldSpec};
use scratch_postgres::{
    BackupType, Binaries, Listen, Patience, PgBackRest, ScratchError, ScratchPlace, Search, Server,
};
use tempfile::TempDir;

const PATIENT: Patience<'static> = Patience::new(Duration::from_secs(120), &|| false);

/// A small world with its witnesses in a folder.
struct Setting {
    world: World,
    folder: TempDir,
}

impl Setting {
    fn new() -> Self {
        let world = World::generate(&WorldSpec {
            seed: 5,
            // Each run of the check reads and plans the whole of it.
            events_per_stream: 32,
            lost_outboxes: 0,
            batch_size: 8,
            anchored_fraction: 1.0,
            ..WorldSpec::default()
        });
        let folder = tempfile::tempdir().unwrap();
        // Servers run as another user, who passes through to the scratch folder.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let setting = Self { world, folder };
        fs::create_dir(setting.path("scratch")).unwrap();
        setting.world.write_outboxes(&setting.path("outboxes")).unwrap();
        setting
            .world
            .write_anchors(&setting.path("anchors.json"))
            .unwrap();
        setting.world.write_copy(&setting.path("whole.copy.sql")).unwrap();
        setting
            .world
            .write_recovered_copy(&setting.path("older.copy.sql"))
            .unwrap();
        setting
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// How many events the older log lacks.
    fn lost(&self) -> u64 {
        let count = |log: &fixtures::Log| log.streams.values().map(|s| s.events.len() as u64).sum::<u64>();
        count(self.world.log()) - count(self.world.recovered())
    }

    fn check(&self, from: &[String], more: &[&str]) -> Ran {
        let mut all = vec!["--scratch".to_owned(), text(&self.path("scratch"))];
        all.extend(from.iter().cloned());
        all.extend(more.iter().map(|word| (*word).to_owned()));
        let ran = run(args(["backup-check", "--format", "json"], &all));
        assert_eq!(
            fs::read_dir(self.path("scratch")).unwrap().count(),
            0,
            "something was left behind"
        );
        ran
    }

    fn witnesses(&self) -> Vec<String> {
        let paths = [self.path("outboxes"), self.path("anchors.json")].map(|path| text(&path));
        let [outboxes, anchors] = paths;
        vec!["--outbox".into(), outboxes, "--anchors".into(), anchors]
    }
}

fn words(of: &[&str]) -> Vec<String> {
    of.iter().map(|word| (*word).to_owned()).collect()
}

fn binaries() -> Option<Binaries> {
    let search = Search {
        folder: std::env::var_os("VES_PG_BIN")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from),
        path: std::env::var_os("PATH").unwrap(),
    };
    test_support::postgres_available().then(|| Binaries::find(&search).unwrap())
}

/// A cluster of its own with the older log, which archives into pgBackRest's repository.
struct Primary {
    server: Server,
    place: ScratchPlace,
    tool: Option<PgBackRest>,
}

impl Primary {
    fn start(setting: &Setting) -> Option<Self> {
        let binaries = binaries()?;
        let place = ScratchPlace::new(None, &std::env::var_os("PATH").unwrap()).unwrap();
        let mut server = Server::create(&place, &binaries, "primary", Listen::Loopback, &PATIENT).unwrap();
        let tool = match PgBackRest::beside(&server, "main") {
            Err(error @ ScratchError::NotInstalled { .. }) => {
                assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
                None
            }
            tool => Some(tool.unwrap()),
        };
        if let Some(tool) = &tool {
            server.set("archive_mode", "on").unwrap();
            let command = tool.archive_command(server.data_dir());
            server.set("archive_command", &command).unwrap();
        }
        server.start(&PATIENT).unwrap();
        let _ = test_support::query(&server.url("postgres"), "CREATE DATABASE sequencer");
        let url = server.url("sequencer");
        test_support::load_schema(&url);
        test_support::load_copy_file(&url, &setting.path("older.copy.sql"));
        Some(Self { server, place, tool })
    }
}

/// The largest file below a folder, damaged in its middle.
fn damage(folder: &Path) -> PathBuf {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push((path.metadata().unwrap().len(), path));
            }
        }
    }
    let (size, path) = files.into_iter().max().unwrap();
    let mut bytes = fs::read(&path).unwrap();
    let at = usize::try_from(size / 2).unwrap();
    bytes[at..at + 16].iter_mut().for_each(|byte| *byte ^= 0x5a);
    fs::write(&path, bytes).unwrap();
    path
}

#[test]
fn a_pgbackrest_backup_says_what_it_lacks_and_who_holds_it() {
    let setting = Setting::new();
    let Some(primary) = Primary::start(&setting) else {
        return;
    };
    let Some(tool) = &primary.tool else { return };
    tool.stanza_create(&primary.server, &PATIENT).unwrap();
    tool.backup(&primary.server, BackupType::Full, &PATIENT).unwrap();
    let live = Live::start().unwrap();
    let live = live.load_and_keep(&setting.path("whole.copy.sql"));
    let before = live.1.dump();
    let from = words(&[
        "--pgbackrest",
        "main",
        "--pgbackrest-config",
        &text(tool.config()),
    ]);

    // Nobody was asked.
    let alone = setting.check(&from, &[]).expect(0).json();
    assert_eq!(alone["result"], "RESTORED ONLY");
    assert_eq!(alone["lacks"], 0);

    // Held against the live log and with today's witnesses.
    let mut asked = from.clone();
    asked.extend(setting.witnesses());
    asked.extend(words(&["--against", &live.1.arg()]));
    let ran = setting.check(&asked, &[]);
    let report = ran.json();
    let lost = setting.lost();
    assert!(lost > 0);
    // Some outboxes claim numbers that were never given out: nobody can tell those from lost ones.
    let lacks = report["lacks"].as_u64().unwrap();
    assert!(lacks >= lost, "{report}");
    let (back, open) = (&report["repair"]["come_back"], &report["repair"]["stay_open"]);
    assert_eq!(back.as_u64().unwrap() + open.as_u64().unwrap(), lacks);
    assert!(back.as_u64().unwrap() > 0, "{report}");
    assert_eq!(ran.code, if open == 0 { 0 } else { 4 });
    let holders = report["holders"].as_array().unwrap();
    assert!(
        holders.iter().any(|h| h["live"] == true && h["events"] == lost),
        "{report}"
    );
    assert!(holders.iter().any(|h| h["kind"] == "outbox"), "{report}");
    for stream in report["streams"].as_array().unwrap() {
        assert!(stream["head"].is_u64(), "{stream}");
    }
    assert!(
        report["streams"].to_string().contains("from_sequenced_at"),
        "{report}"
    );
    let steps: Vec<&str> = report["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| s["name"].as_str().unwrap())
        .collect();
    assert_eq!(steps, ["restore", "start", "audit", "plan"]);
    assert!(
        report["objectives"]["rpo_seconds_before_repair"]
            .as_f64()
            .unwrap()
            > 0.0
    );
    assert!(report["backup"]["label"].is_string());
    // The live log was only read.
    common::assert_same(&before, &live.1.dump());

    // Targets, the page, the text.
    let page = text(&setting.path("check.html"));
    let mut for_people = words(&[
        "--scratch",
        &text(&setting.path("scratch")),
        "--rpo",
        "1s",
        "--rto",
        "1ms",
    ]);
    for_people.extend(words(&["--report", &page]));
    for_people.extend(asked.clone());
    run(args(["backup-check"], &for_people)).expect(4).shows(&[
        "NOT ENOUGH",
        &format!("it lacks {lacks} event(s)"),
        "MISSED",
        "the live log",
    ]);
    assert!(fs::read_to_string(&page).unwrap().contains("Who holds it"));

    // Killed in the middle, it leaves neither server nor folder.
    let mut killed = binary()
        .arg("backup-check")
        .args(&from)
        .args(["--scratch", &text(&setting.path("scratch"))])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(60);
    let entries = || fs::read_dir(setting.path("scratch")).unwrap().count();
    while entries() == 0 && killed.try_wait().unwrap().is_none() {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(5));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    while entries() > 0 {
        assert!(Instant::now() < deadline, "the scratch folder is still there");
        sleep(Duration::from_millis(50));
    }

    // What is not there is no broken backup; a damaged file is one.
    setting.check(&from, &["--set", "20200101-000000F"]).expect(8);
    let other = words(&[
        "--pgbackrest",
        "other",
        "--pgbackrest-config",
        &text(tool.config()),
    ]);
    setting.check(&other, &[]).expect(8);
    damage(&primary.place.home().join("main.repo/backup/main"));
    let broken = setting.check(&from, &[]).expect(4).json();
    assert_eq!(
        (&broken["result"], &broken["broken"]["step"]),
        (&"BROKEN".into(), &"restore".into())
    );
    assert!(
        broken["broken"]["what"].as_str().unwrap().contains("checksum"),
        "{broken}"
    );
}

#[test]
fn base_backups_and_dumps_are_restored_and_broken_ones_are_told() {
    let setting = Setting::new();
    let Some(primary) = Primary::start(&setting) else {
        return;
    };
    let base = primary.place.home().join("base");
    primary.server.base_backup(&base, true, &PATIENT).unwrap();
    let from = words(&["--pg-basebackup", &text(&base)]);
    let mut asked = from.clone();
    asked.extend(setting.witnesses());
    let good = setting.check(&asked, &[]).json();
    assert!(
        good["lacks"].as_u64().unwrap() > 0 && good["broken"].is_null(),
        "{good}"
    );
    let steps = good["steps"].to_string();
    assert!(steps.contains("verify") && steps.contains("start"), "{steps}");

    let dump = |name: &str, format: &str| -> PathBuf {
        let path = setting.path(name);
        let done = Command::new(primary.server.binaries().program("pg_dump"))
            .args(["--dbname", &primary.server.url("sequencer"), format, "--file"])
            .arg(&path)
            .status();
        assert!(done.unwrap().success());
        path
    };
    for (name, format) in [
        ("a.dump", "--format=custom"),
        ("a.sql", "--format=plain"),
        ("a.dir", "--format=directory"),
    ] {
        let path = dump(name, format);
        let mut asked = words(&["--dump", &text(&path)]);
        asked.extend(setting.witnesses());
        let report = setting.check(&asked, &[]).json();
        assert_eq!(report["lacks"], good["lacks"], "{name}: {report}");
        assert_eq!(report["events"], good["events"], "{name}");
        let not_run = report["not_checked"]
            .to_string()
            .contains("PostgreSQL takes this dump");
        assert_eq!(not_run, name == "a.sql");
    }
    // Cut off.
    for name in ["a.dump", "a.sql"] {
        let path = setting.path(name);
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() * 2 / 3]).unwrap();
        let report = setting
            .check(&words(&["--dump", &text(&path)]), &[])
            .expect(4)
            .json();
        assert_eq!(report["result"], "BROKEN", "{name}: {report}");
    }
    // A file of the base backup that was altered; one without its control file.
    damage(&base.join("base"));
    let report = setting.check(&from, &[]).expect(4).json();
    assert_eq!(
        (&report["result"], &report["broken"]["step"]),
        (&"BROKEN".into(), &"verify".into())
    );
    fs::remove_file(base.join("backup_manifest")).unwrap();
    fs::remove_file(base.join("global/pg_control")).unwrap();
    let report = setting.check(&from, &[]).expect(4).json();
    assert_eq!(report["broken"]["step"], "start", "{report}");
    // What is none.
    setting
        .check(&words(&["--dump", &text(&setting.path("anchors.json"))]), &[])
        .expect(8);
    setting
        .check(&words(&["--pg-basebackup", &text(&setting.path("none"))]), &[])
        .expect(8);
    setting
        .check(&words(&["--pg-basebackup", &text(&base), "--dump", "x"]), &[])
        .expect(16);
    setting.check(&[], &[]).expect(16);
}

#[test]
fn a_copy_is_looked_at_and_what_looks_like_production_is_refused() {
    let setting = Setting::new();
    let Some(server) = Live::start() else { return };
    let copy = server.load("copy", &setting.path("older.copy.sql"));
    let live = server.load("live", &setting.path("whole.copy.sql"));
    let from = words(&["--db", &copy.arg()]);
    let mut asked = from.clone();
    asked.extend(words(&["--against", &live.arg()]));
    let report = setting.check(&asked, &[]).expect(4).json();
    assert_eq!(report["lacks"], setting.lost());
    // Without witnesses nothing of it would come back.
    assert_eq!(report["repair"]["stay_open"], report["lacks"]);

    let mut same = words(&["--db", &live.arg(), "--against", &live.arg()]);
    setting
        .check(&same, &[])
        .expect(8)
        .says(&["looks like production"]);
    same.push("--this-is-a-copy".into());
    assert_eq!(setting.check(&same, &[]).json()["lacks"], 0);

    let Db::Postgres(url) = &copy else { unreachable!() };
    let mut sequencer = Command::new("psql")
        .env("PGAPPNAME", "stateset-sequencer")
        .args(["--no-psqlrc", "--dbname", url, "--command", "SELECT pg_sleep(60)"])
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'stateset-sequencer'";
    while test_support::query(url, connected) != "1" {
        assert!(Instant::now() < deadline);
        sleep(Duration::from_millis(20));
    }
    let refused = setting.check(&from, &[]).expect(8);
    refused.says(&[
        "looks like production",
        "the sequencer calls itself so",
        "--this-is-a-copy",
    ]);
    assert_eq!(
        setting.check(&from, &["--this-is-a-copy"]).expect(0).json()["result"],
        "RESTORED ONLY"
    );
    sequencer.kill().unwrap();
    sequencer.wait().unwrap();
    // A database that somebody wrote to just now.
    copy.execute("UPDATE ves_sequence_counters SET updated_at = now()");
    setting
        .check(&from, &[])
        .expect(8)
        .says(&["within the last minute"]);
}

impl Live {
    /// The server with a database of it, which lives as long as both.
    fn load_and_keep(self, file: &Path) -> (Self, Db) {
        let db = self.load("live", file);
        (self, db)
    }
}
