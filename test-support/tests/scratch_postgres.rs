//! The scratch cluster itself: it starts, takes the real data, crashes and comes back, and leaves nothing behind.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use test_support::{
    ScratchPostgres, load_copy_file, load_schema, postgres_available, query, shared_data, try_script,
    workspace_root,
};

fn count(url: &str, table: &str) -> u64 {
    query(url, &format!("SELECT count(*) FROM {table}"))
        .parse()
        .unwrap()
}

/// Whether a process runs (one that ended but was not yet waited for does not).
fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

fn server_pid(data: &Path) -> u32 {
    let file = fs::read_to_string(data.join("postmaster.pid")).unwrap();
    file.lines().next().unwrap().parse().unwrap()
}

#[test]
fn the_schema_takes_every_file_of_real_data() {
    let shared = shared_data();
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let expected = [
        ("golden_log", "golden/log.copy.sql", [2061, 2061, 39, 6, 0]),
        ("truth", "scenario-1/truth.copy.sql", [839, 839, 18, 4, 34]),
        ("recovered", "scenario-1/recovered.copy.sql", [504, 504, 10, 4, 0]),
    ];
    for (name, file, counts) in expected {
        let url = server.create_database(name);
        load_schema(&url);
        load_copy_file(&url, &shared.join("data").join(file));
        let tables = [
            "ves_events",
            "ves_sequencer_receipts",
            "ves_commitments",
            "ves_sequence_counters",
            "events",
        ];
        assert_eq!(tables.map(|table| count(&url, table)), counts, "{file}");
    }
}

#[test]
fn the_schema_refuses_what_the_real_database_refuses() {
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let url = server.create_database("checks");
    load_schema(&url);
    let insert = |event: u32, sequence: u32, kind: u32, hash_bytes: u32| {
        let sql = format!(
            "INSERT INTO ves_events (event_id, tenant_id, store_id, source_agent_id, agent_key_id, entity_type,
               entity_id, event_type, created_at, created_at_str, payload_kind, payload, payload_plain_hash,
               payload_cipher_hash, event_signing_hash, agent_signature, sequence_number)
             VALUES (lpad('{event}', 32, '0')::uuid, lpad('7', 32, '0')::uuid, lpad('8', 32, '0')::uuid,
               lpad('9', 32, '0')::uuid, 1, 'order', '1', 'Made', now(), '2026-01-01T00:00:00Z', {kind}, '{{}}',
               decode(repeat('00', {hash_bytes}), 'hex'), decode(repeat('00', 32), 'hex'),
               decode(repeat('00', 32), 'hex'), decode(repeat('00', 64), 'hex'), {sequence});"
        );
        let script = tempfile::NamedTempFile::new().unwrap();
        fs::write(script.path(), sql).unwrap();
        let output = try_script(&url, script.path(), &[]);
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    assert!(insert(1, 1, 0, 32).0);
    let refused = [
        (insert(1, 2, 0, 32), "ves_events_pkey"),
        (insert(2, 1, 0, 32), "uq_ves_events_sequence"),
        (insert(2, 2, 1, 32), "chk_payload_kind_encrypted"),
        (insert(2, 2, 0, 31), "payload_plain_hash"),
    ];
    for ((accepted, message), constraint) in refused {
        assert!(
            !accepted && message.contains(constraint),
            "{constraint}: {message}"
        );
    }
    assert_eq!(count(&url, "ves_events"), 1);
}

#[test]
fn two_clusters_stand_side_by_side_and_leave_nothing_behind() {
    if !postgres_available() {
        return;
    }
    let first = ScratchPostgres::start();
    let second = ScratchPostgres::start();
    assert_ne!(first.port(), second.port());
    let url = first.create_database("only_here");
    let _ = query(&url, "CREATE TABLE t AS SELECT generate_series(1, 3)");
    assert_eq!(count(&url, "t"), 3);
    let databases = "SELECT count(*) FROM pg_database WHERE datname = 'only_here'";
    assert_eq!(query(&second.url(), databases), "0");

    let folders = [first.data_dir(), second.data_dir()];
    let pids = folders.each_ref().map(|folder| server_pid(folder));
    assert!(pids.into_iter().all(runs));
    drop(first);
    drop(second);
    assert!(!pids.into_iter().any(runs));
    assert!(!folders.iter().any(|folder| folder.exists()));
}

#[test]
fn a_socket_connection_works() {
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let host = server.socket_dir().to_str().unwrap();
    let url = format!(
        "postgres:///postgres?host={host}&port={}&user=postgres",
        server.port()
    );
    assert_eq!(query(&url, "SELECT inet_client_addr() IS NULL"), "t");
}

#[test]
fn a_durable_cluster_keeps_what_was_committed_through_a_crash() {
    if !postgres_available() {
        return;
    }
    let mut server = ScratchPostgres::start_durable();
    assert_eq!(query(&server.url(), "SHOW fsync"), "on");
    let _ = query(
        &server.create_database("crash"),
        "CREATE TABLE t AS SELECT generate_series(1, 1000)",
    );
    let pid = server_pid(&server.data_dir());
    server.kill9();
    assert!(!runs(pid));
    server.restart();
    assert_eq!(count(&server.database_url("crash"), "t"), 1000);
    server.stop();
    server.stop();
    server.restart();
    assert_eq!(count(&server.database_url("crash"), "t"), 1000);
}

#[test]
fn a_panic_cleans_up() {
    if !postgres_available() {
        return;
    }
    let (sender, receiver) = std::sync::mpsc::channel();
    let test = std::thread::spawn(move || {
        let server = ScratchPostgres::start();
        sender.send(server.data_dir()).unwrap();
        panic!("on purpose");
    });
    let folder = receiver.recv().unwrap();
    assert!(test.join().is_err());
    assert!(!folder.exists());
}

/// Not a test of its own: the process that `a_killed_test_leaves_nothing_behind` kills.
#[test]
fn helper_that_waits_to_be_killed() {
    if std::env::var_os("SCRATCH_POSTGRES_WAIT").is_none() {
        return;
    }
    let server = ScratchPostgres::start();
    println!("\nfolder={}", server.data_dir().display());
    sleep(Duration::from_secs(60));
}

#[test]
fn a_killed_test_leaves_nothing_behind() {
    if !postgres_available() {
        return;
    }
    let mut test = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "helper_that_waits_to_be_killed", "--nocapture"])
        .env("SCRATCH_POSTGRES_WAIT", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(test.stdout.take().unwrap()).lines();
    let folder = lines
        .map_while(Result::ok)
        .find_map(|line| Some(line.strip_prefix("folder=")?.to_owned()));
    let folder = Path::new(folder.as_ref().unwrap());
    let pid = server_pid(folder);
    assert!(runs(pid));
    test.kill().unwrap();
    test.wait().unwrap();

    let deadline = Instant::now() + Duration::from_secs(20);
    while folder.exists() || runs(pid) {
        assert!(
            Instant::now() < deadline,
            "{} or its server is still there",
            folder.display()
        );
        sleep(Duration::from_millis(20));
    }
}

#[test]
fn the_workspace_root_is_where_the_schema_is() {
    assert!(workspace_root().join("sql/schema/postgres.sql").is_file());
}
