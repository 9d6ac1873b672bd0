//! Clusters that are made, archived, backed up, restored to a point in time by both tools, and gone without a trace.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use scratch_postgres::{
    BackupType, Binaries, ControlData, Listen, Patience, PgBackRest, Recovery, RecoveryTarget, Restore,
    ScratchError, ScratchPlace, Search, Server, cluster_version,
};

const PATIENT: Patience<'static> = Patience::new(Duration::from_secs(120), &|| false);

fn search() -> Search {
    Search {
        folder: std::env::var_os("VES_PG_BIN")
            .filter(|dir| !dir.is_empty())
            .map(PathBuf::from),
        path: std::env::var_os("PATH").unwrap(),
    }
}

/// The programs, if they are installed; with `CI=true` they have to be.
fn binaries() -> Option<Binaries> {
    match Binaries::find(&search()) {
        Ok(found) => Some(found),
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn psql(server: &Server, sql: &str) -> String {
    let mut command = server.place().command(&server.binaries().program("psql"));
    command.args([
        "--no-psqlrc",
        "--no-align",
        "--tuples-only",
        "--set=ON_ERROR_STOP=1",
        "--dbname",
    ]);
    command.args([&server.url("postgres"), "--command", sql]);
    let said = server.place().run("psql", &mut command, &PATIENT).unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}

/// A server with three rows before a point in time and two after it.
fn load(server: &Server) -> String {
    psql(server, "INSERT INTO t VALUES (2), (3)");
    let time = psql(server, "SELECT clock_timestamp()");
    sleep(Duration::from_millis(20));
    psql(server, "INSERT INTO t VALUES (4), (5)");
    psql(server, "SELECT pg_switch_wal()");
    time
}

fn rows(server: &Server) -> String {
    psql(server, "SELECT string_agg(i::text, ',' ORDER BY i) FROM t")
}

/// Whether a process runs (one that ended but was not yet waited for does not).
fn runs(pid: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn pid_of(data: &Path) -> String {
    let text = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    text.lines().next().unwrap().to_owned()
}

#[test]
fn a_base_backup_and_the_archive_bring_back_a_point_in_time() {
    let Some(binaries) = binaries() else { return };
    let place = ScratchPlace::new(None, &search().path).unwrap();
    let mut server = Server::create(&place, &binaries, "primary", Listen::Socket, &PATIENT).unwrap();
    let archive = place.make_dir("archive it's").unwrap();
    let restore_command = server.archive_to(&archive).unwrap();
    server.start(&PATIENT).unwrap();
    psql(&server, "CREATE TABLE t AS SELECT 1 AS i");
    let base = place.home().join("base");
    server.base_backup(&base, false, &PATIENT).unwrap();
    let time = load(&server);
    assert_eq!(server.timeline().unwrap(), 1);
    server.stop();

    let mut restored = Server::of(&place, &binaries, "restored", Listen::Socket).unwrap();
    fs::rename(&base, restored.data_dir()).unwrap();
    // What it was run with is set aside: it does not archive.
    restored.adopt().unwrap();
    restored
        .recover(&Recovery::to(RecoveryTarget::Time(time), Some(restore_command)))
        .unwrap();
    restored.start(&PATIENT).unwrap();
    assert_eq!(rows(&restored), "1,2,3");
    assert_eq!(psql(&restored, "SHOW archive_mode"), "off");
    assert_eq!(restored.timeline().unwrap(), 2);
    let control = ControlData::read(&place, &binaries, restored.data_dir(), &PATIENT).unwrap();
    let origin = ControlData::read(&place, &binaries, server.data_dir(), &PATIENT).unwrap();
    assert_eq!(control.system_identifier, origin.system_identifier);
    assert_eq!(origin.state, "shut down");
    assert_eq!(cluster_version(restored.data_dir()).unwrap(), binaries.major());

    // A crash, and again.
    restored.kill();
    assert!(!restored.is_running());
    restored.restart(&PATIENT).unwrap();
    assert_eq!(rows(&restored), "1,2,3");
    let (pid, home) = (pid_of(restored.data_dir()), place.home().to_owned());
    drop((server, restored, place));
    assert!(!runs(&pid) && !home.exists());
}

#[test]
fn pgbackrest_brings_back_a_point_in_time() {
    let Some(binaries) = binaries() else { return };
    let place = ScratchPlace::new(None, &search().path).unwrap();
    let mut server = Server::create(&place, &binaries, "primary", Listen::Socket, &PATIENT).unwrap();
    let tool = match PgBackRest::beside(&server, "drill") {
        Err(error @ ScratchError::NotInstalled { .. }) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
            eprintln!("skipped: {error}");
            return;
        }
        tool => tool.unwrap(),
    };
    server.set("archive_mode", "on").unwrap();
    server
        .set("archive_command", &tool.archive_command(server.data_dir()))
        .unwrap();
    server.start(&PATIENT).unwrap();
    tool.stanza_create(&server, &PATIENT).unwrap();
    tool.check(&server, &PATIENT).unwrap();
    psql(&server, "CREATE TABLE t AS SELECT 1 AS i");
    tool.backup(&server, BackupType::Full, &PATIENT).unwrap();
    tool.backup(&server, BackupType::Incr, &PATIENT).unwrap();
    let time = load(&server);
    let info = tool.info(&PATIENT).unwrap();
    assert_eq!(info.status.code, 0, "{info:?}");
    let kinds: Vec<BackupType> = info.backup.iter().map(|backup| backup.kind).collect();
    assert_eq!(kinds, [BackupType::Full, BackupType::Incr]);
    server.stop();

    // Over what is left of the cluster, and beside it.
    let restore = |data_dir: &Path, delta| {
        let restore = Restore {
            data_dir,
            set: None,
            target: RecoveryTarget::Time(time.clone()),
            timeline: None,
            delta,
        };
        tool.restore(&restore, &PATIENT)
    };
    fs::remove_file(server.data_dir().join("PG_VERSION")).unwrap();
    assert!(
        restore(server.data_dir(), false).is_err(),
        "a folder that is not empty"
    );
    let version = format!("{}\n", binaries.major());
    place
        .write_file(&server.data_dir().join("PG_VERSION"), version.as_bytes())
        .unwrap();
    restore(server.data_dir(), true).unwrap();
    server.start(&PATIENT).unwrap();
    assert_eq!(rows(&server), "1,2,3");
    assert_eq!(server.timeline().unwrap(), 2);
    let copy = place.make_dir("copy").unwrap();
    restore(&copy, false).unwrap();
    assert_eq!(cluster_version(&copy).unwrap(), binaries.major());

    // Somebody's repository, known by its folder alone.
    let elsewhere = ScratchPlace::new(None, &search().path).unwrap();
    let reader = PgBackRest::with_repository(&elsewhere, &place.home().join("drill.repo"), "drill").unwrap();
    assert_eq!(reader.info(&PATIENT).unwrap().backup.len(), 2);
    let mut other = Server::of(&elsewhere, &binaries, "restored", Listen::Socket).unwrap();
    elsewhere.make_dir("restored").unwrap();
    let newest = Restore {
        data_dir: other.data_dir(),
        set: None,
        target: RecoveryTarget::End,
        timeline: Some("1"),
        delta: false,
    };
    reader.restore(&newest, &PATIENT).unwrap();
    other.adopt().unwrap();
    let command = reader.restore_command(other.data_dir());
    other
        .recover(&Recovery::to(RecoveryTarget::End, Some(command)))
        .unwrap();
    other.start(&PATIENT).unwrap();
    let unknown =
        PgBackRest::with_repository(&elsewhere, &place.home().join("drill.repo"), "nobody").unwrap();
    assert_eq!(unknown.info(&PATIENT).unwrap().status.code, 1);
}

#[test]
fn what_takes_too_long_or_is_not_wanted_any_more_is_ended() {
    let Some(binaries) = binaries() else { return };
    let place = ScratchPlace::new(None, &search().path).unwrap();
    let mut sleeper = place.command(Path::new("/bin/sh"));
    sleeper.args(["-c", "echo $$ >pid; sleep 300 & sleep 300"]);
    let hurried = PATIENT.with_limit(Duration::from_millis(300));
    let ended = place.run("a sleeper", &mut sleeper, &hurried);
    assert!(matches!(ended, Err(ScratchError::TooLong { .. })), "{ended:?}");
    let pid = fs::read_to_string(place.home().join("pid")).unwrap();
    assert!(!runs(pid.trim()));
    let unwanted = Patience::new(Duration::from_secs(60), &|| true);
    let ended = place.run("a sleeper", &mut sleeper, &unwanted);
    assert!(matches!(ended, Err(ScratchError::Stopped)), "{ended:?}");
    let made = Server::create(&place, &binaries, "unwanted", Listen::Socket, &unwanted);
    assert!(matches!(made, Err(ScratchError::Stopped)), "{made:?}");
}

#[test]
fn what_is_missing_or_does_not_fit_is_told() {
    let empty = tempfile::tempdir().unwrap();
    let nowhere = Search {
        folder: Some(empty.path().to_owned()),
        path: "".into(),
    };
    let missing = Binaries::find(&nowhere).unwrap_err();
    assert!(matches!(&missing, ScratchError::NotInstalled { .. }), "{missing}");
    assert!(missing.hint().is_some());
    assert!(matches!(
        cluster_version(empty.path()),
        Err(ScratchError::NoCluster { .. })
    ));
    fs::write(empty.path().join("PG_VERSION"), "x".repeat(100_000)).unwrap();
    assert!(matches!(
        cluster_version(empty.path()),
        Err(ScratchError::NoCluster { .. })
    ));
    let Some(binaries) = binaries() else { return };
    let other = Binaries::find_major(&search(), "8").unwrap_err();
    let said = other.to_string();
    assert!(
        said.contains("of PostgreSQL 8,") && said.contains(binaries.version()),
        "{said}"
    );
    assert_eq!(
        Binaries::find_major(&search(), binaries.major()).unwrap().major(),
        binaries.major()
    );

    // A cluster of another release is not started, nor one that is none.
    let place = ScratchPlace::new(None, &search().path).unwrap();
    let mut server = Server::of(&place, &binaries, "other", Listen::Socket).unwrap();
    let data = place.make_dir("other").unwrap();
    fs::write(data.join("PG_VERSION"), "8\n").unwrap();
    assert!(matches!(server.adopt(), Err(ScratchError::WrongVersion { .. })));
    fs::write(data.join("PG_VERSION"), format!("{}\n", binaries.major())).unwrap();
    server.adopt().unwrap();
    let started = server.start(&PATIENT);
    assert!(
        matches!(&started, Err(ScratchError::NoServer { told }) if told.contains("pg_control")),
        "{started:?}"
    );
    let deep = empty.path().join("a".repeat(100));
    fs::create_dir(&deep).unwrap();
    assert!(matches!(
        ScratchPlace::new(Some(&deep), &search().path),
        Err(ScratchError::PathTooLong { .. })
    ));
}

/// Not a test of its own: the process that `a_killed_process_leaves_nothing_behind` kills.
#[test]
fn helper_that_waits_to_be_killed() {
    if std::env::var_os("SCRATCH_POSTGRES_WAIT").is_none() {
        return;
    }
    let place = ScratchPlace::new(None, &search().path).unwrap();
    let binaries = Binaries::find(&search()).unwrap();
    let mut server = Server::create(&place, &binaries, "a", Listen::Loopback, &PATIENT).unwrap();
    server.start(&PATIENT).unwrap();
    println!("\nhome={}", place.home().display());
    let mut sleeper = place.command(Path::new("/bin/sh"));
    sleeper.args(["-c", "trap '' QUIT; echo $$ >pid; sleep 300; sleep 300"]);
    place
        .run("a sleeper that will not end", &mut sleeper, &PATIENT)
        .unwrap();
}

#[test]
fn a_killed_process_leaves_nothing_behind() {
    if binaries().is_none() {
        return;
    }
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_that_waits_to_be_killed", "--nocapture"])
        .env("SCRATCH_POSTGRES_WAIT", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    let home = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.strip_prefix("home=")?.to_owned()));
    let home = PathBuf::from(home.unwrap());
    let deadline = Instant::now() + Duration::from_secs(60);
    let pause = || {
        assert!(
            Instant::now() < deadline,
            "{} or what ran in it is still there",
            home.display()
        );
        sleep(Duration::from_millis(20));
    };
    while fs::read_to_string(home.join("pid"))
        .unwrap_or_default()
        .is_empty()
    {
        pause();
    }
    let server = pid_of(&home.join("a"));
    let sleeper = fs::read_to_string(home.join("pid")).unwrap().trim().to_owned();
    assert!(runs(&server) && runs(&sleeper));
    process.kill().unwrap();
    process.wait().unwrap();
    while home.exists() || runs(&server) || runs(&sleeper) {
        pause();
    }
    assert!(!home.parent().unwrap().exists());
}
