//! The session with the server: what it may see, whatever the role's defaults say, through poolers, on standbys, and how it
//! waits and is interrupted.

use crate::common;

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use common::{Data, Db, Ran, Server, apply, args, binary, plan, run, text};
use test_support::{PgBouncer, pgbouncer_available, query};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// A run of the binary whose stderr is read while it runs.
struct Running {
    child: Child,
    lines: Receiver<String>,
    heard: String,
}

impl Running {
    fn start(args: &[String]) -> Self {
        let mut child = binary()
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (send, lines) = channel();
        std::thread::spawn(move || {
            for line in stderr.lines() {
                let _ = send.send(line.unwrap());
            }
        });
        Self {
            child,
            lines,
            heard: String::new(),
        }
    }

    /// Waits for a line with these words.
    fn wait_for(&mut self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.heard.push_str(&line);
                    self.heard.push('\n');
                    if line.contains(words) {
                        return line;
                    }
                }
                Err(_) => panic!("{words:?} was not said: {}", self.heard),
            }
        }
    }

    /// What was said until now.
    fn hear(&mut self) -> &str {
        for line in self.lines.try_iter() {
            self.heard.push_str(&line);
            self.heard.push('\n');
        }
        &self.heard
    }

    fn signal(&self, name: &str) {
        signal(name, i64::from(self.child.id()));
    }

    fn end(mut self) -> (i32, String) {
        let deadline = Instant::now() + PATIENCE;
        let code = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status.code().unwrap_or(-1);
            }
            if Instant::now() > deadline {
                self.child.kill().unwrap();
                panic!("it does not end: {}", self.heard);
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(5)) {
            self.heard.push_str(&line);
            self.heard.push('\n');
        }
        (code, self.heard)
    }
}

fn signal(name: &str, pid: i64) {
    let status = Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

/// A session of somebody else, which holds what its statement locks until it is dropped.
struct Holder(Child);

impl Holder {
    fn of(url: &str, sql: &str) -> Self {
        let mut child = Command::new("psql")
            .args(["--no-psqlrc", "--quiet", "--no-align", "--tuples-only", url])
            .env("PGAPPNAME", "somebody-else")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        writeln!(child.stdin.as_mut().unwrap(), "BEGIN; {sql}; SELECT 'held';").unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "held"));
        Self(child)
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The recovered log of scenario 1 and a plan for it.
fn planned(server: &Server, data: &Data, name: &str) -> (Db, std::path::PathBuf) {
    let db = server.load(name, &data.dir.join("recovered.copy.sql"));
    let path = data.path(&format!("{name}.plan"));
    plan(&db, &path, &data.witnesses()).expect(4);
    (db, path)
}

fn audit(db: &str, data: &Data) -> Ran {
    run(args(["audit", "--db", db, "--format", "json"], &data.witnesses()))
}

/// What an audit says that does not depend on where.
fn content(ran: &Ran) -> serde_json::Value {
    let mut json = ran.json();
    for field in ["db", "place", "provenance", "next"] {
        json.as_object_mut().unwrap().remove(field);
    }
    for finding in json["findings"].as_array_mut().unwrap() {
        finding.as_object_mut().unwrap().remove("next");
    }
    json
}

#[test]
fn rows_that_a_policy_hides_are_an_error_and_never_missing() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("policies", &data.dir.join("recovered.copy.sql"));
    db.execute(
        "CREATE ROLE operator LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO operator;
         ALTER TABLE ves_events ENABLE ROW LEVEL SECURITY;
         CREATE POLICY one ON ves_events USING (store_id = '5126e8c5-c2d2-4f92-8b21-0080eeab9c5e')",
    );
    let url = db.arg().replace("postgres@", "operator@");
    let words = ["ves_events", "operator", "BYPASSRLS", "owner"];
    audit(&url, &data).expect(8).says(&words);
    run(["gaps", "--db", &url]).expect(8).says(&words);
    let out = data.path("hidden");
    for command in ["snapshot", "plan", "export"] {
        run([command, "--db", &url, "--out", &text(&out)])
            .expect(8)
            .says(&words);
        assert!(!out.exists(), "{command}");
    }
    db.execute("ALTER ROLE operator BYPASSRLS");
    audit(&url, &data).expect(4);
    // A missing right is told by the statement that gives it.
    db.execute("REVOKE SELECT ON ves_commitments FROM operator");
    audit(&url, &data)
        .expect(8)
        .says(&["GRANT SELECT ON public.ves_commitments TO operator"]);
}

#[test]
fn defaults_of_role_and_database_change_nothing() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let (db, path) = planned(&server, &data, "defaults");
    let before = content(&audit(&db.arg(), &data).expect(4));
    let settings = [
        "default_transaction_isolation = 'serializable'",
        "default_transaction_read_only = on",
        "default_transaction_deferrable = on",
        "statement_timeout = '300ms'",
        "lock_timeout = '1ms'",
        "idle_in_transaction_session_timeout = '300ms'",
        "DateStyle = 'German, DMY'",
        "IntervalStyle = 'sql_standard'",
        "bytea_output = 'escape'",
        "client_encoding = 'LATIN1'",
        "TimeZone = 'Asia/Kolkata'",
        "extra_float_digits = -15",
        "standard_conforming_strings = off",
        "transform_null_equals = on",
        "synchronous_commit = off",
    ];
    // At once: the next session could not write any more.
    let all = settings.map(|setting| format!("ALTER ROLE postgres SET {setting}"));
    db.execute(&all.join("; "));
    assert_eq!(content(&audit(&db.arg(), &data).expect(4)), before);
    apply(&db, &path, &[]).expect(5);
    let repaired = audit(&db.arg(), &data).json();
    assert_eq!(repaired["totals"]["events"], 704);
}

#[test]
fn every_report_says_where_it_was() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("places", &data.dir.join("recovered.copy.sql"));
    let place = audit(&db.arg(), &data).json()["place"].clone();
    assert_eq!(place["kind"], "postgres");
    assert_eq!(
        (&place["database"], &place["role"]),
        (&"places".into(), &"postgres".into())
    );
    assert_eq!(
        (&place["mode"], &place["schema"]),
        (&"primary".into(), &"public".into())
    );
    let identifier = query(&db.arg(), "SELECT system_identifier FROM pg_control_system()");
    assert_eq!(place["system_identifier"], identifier);
    assert_eq!(place["timeline"], 1);
    let version = query(&db.arg(), "SHOW server_version");
    assert_eq!(place["server_version"], version);

    let file = db.snapshot(data.path("places.db"));
    let of_file = audit(&file.arg(), &data).json()["place"].clone();
    assert_eq!(of_file["kind"], "snapshot");
    assert_eq!(of_file["there"], place);
    assert!(of_file["taken_at"].is_string() && of_file["taken_from"].as_str().unwrap().contains("places"));
    for command in ["gaps", "counters", "audit"] {
        let table = run([command, "--db", &db.arg(), "--wide"]).stdout;
        // At the head, right below the verdict.
        let mut head = table.lines().take(4);
        let first = head
            .find(|line| line.starts_with("Log: "))
            .unwrap_or_else(|| panic!("{table}"));
        assert!(
            first.starts_with("Log: PostgreSQL ")
                && first.contains(&identifier)
                && first.contains("primary, timeline 1"),
            "{first}"
        );
        let lines = run([command, "--db", &file.arg(), "--format", "ndjson"]).stdout;
        let first: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
        assert_eq!(first["type"], "place");
        assert_eq!(first["place"], of_file);
    }
}

#[test]
fn on_a_server_that_still_replays_nothing_is_called_lost_for_good() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let (db, path) = planned(&server, &data, "followed");
    // Serializable transactions cannot be had on a standby.
    db.execute("ALTER DATABASE followed SET default_transaction_isolation = 'serializable'");
    let standby = server.0.standby(&[]);
    let url = standby.database_url("followed");
    let report = audit(&url, &data).expect(4).json();
    assert_eq!(report["place"]["mode"], "standby");
    assert_eq!(report["place"]["recovery"]["paused"], false);
    let reserved = |report: &serde_json::Value, words: &str| {
        let all = report["not_checked"].as_array().unwrap();
        assert!(
            all.iter().any(|what| what.as_str().unwrap().contains(words)),
            "{all:?}"
        );
    };
    reserved(&report, "still replaying");
    let followed = Db::Postgres(url.clone());
    let early = data.path("early.plan");
    plan(&followed, &early, &data.witnesses()).expect(8).says(&[
        "still replays WAL",
        "pg_promote",
        "--while-replaying",
    ]);
    assert!(!early.exists());
    let mut more = data.witnesses();
    more.push("--while-replaying".into());
    plan(&followed, &early, &more).expect(4);
    // Such a plan is applied only when told, wherever that is; and a server in recovery takes no writes.
    apply(&db, &early, &[])
        .expect(8)
        .says(&["still", "--while-replaying"]);
    apply(&followed, &path, &[])
        .expect(8)
        .says(&["still replays WAL"]);

    // A snapshot of it says the same.
    let file = followed.snapshot(data.path("replaying.db"));
    let report = audit(&file.arg(), &data).expect(4).json();
    reserved(&report, "still replaying");
    plan(&file, &data.path("file.plan"), &data.witnesses()).expect(8);

    let _ = query(&standby.url(), "SELECT pg_wal_replay_pause()");
    let deadline = Instant::now() + PATIENCE;
    while audit(&url, &data).json()["place"]["recovery"]["paused"] == false {
        assert!(Instant::now() < deadline);
    }
    reserved(&audit(&url, &data).json(), "paused");
    plan(&followed, &data.path("paused.plan"), &data.witnesses()).expect(4);
    apply(&followed, &path, &[])
        .expect(8)
        .says(&["in recovery", "promote"]);
    // Once it is promoted the plan is applied there.
    let _ = query(&standby.url(), "SELECT pg_wal_replay_resume()");
    let _ = query(&standby.url(), "SELECT pg_promote()");
    apply(&followed, &path, &[]).expect(5);
    assert_eq!(audit(&url, &data).json()["place"]["mode"], "primary");
}

#[test]
fn a_conflict_with_recovery_is_tried_again() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("conflicts", &data.dir.join("recovered.copy.sql"));
    let standby = server
        .0
        .standby(&["max_standby_streaming_delay=0", "max_standby_archive_delay=0"]);
    let url = standby.database_url("conflicts");
    // What the primary does to a table that a reading transaction has looked at must be replayed at once: the standby
    // cancels the reading.
    for _ in 0..50 {
        let mut running = Running::start(&args(["audit", "--db", &url], &data.witnesses()));
        let mut again = false;
        while !again && running.child.try_wait().unwrap().is_none() {
            db.execute(
                "ALTER TABLE ves_events SET (fillfactor = 90); ALTER TABLE ves_events RESET (fillfactor)",
            );
            again = running.hear().contains("beginning again");
        }
        let (code, heard) = running.end();
        if heard.contains("beginning again") {
            assert!(heard.contains("recovery"), "{heard}");
            assert_eq!(code, 4, "{heard}");
            return;
        }
    }
    panic!("no conflict in fifty attempts");
}

#[test]
fn through_a_pooler_that_gives_each_transaction_another_connection_everything_works() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    if !pgbouncer_available() {
        return;
    }
    for mode in ["transaction", "session"] {
        let name = format!("pooled_{mode}");
        let db = server.load(&name, &data.dir.join("recovered.copy.sql"));
        let direct = content(&audit(&db.arg(), &data).expect(4));
        let pooler = PgBouncer::start(&server.0, mode);
        pooler.open_both(&name);
        let pooled = Db::Postgres(pooler.database_url(&name));
        assert_eq!(content(&audit(&pooled.arg(), &data).expect(4)), direct);
        run(["gaps", "--db", &pooled.arg()]).expect(0);
        run(["counters", "--db", &pooled.arg()]).expect(0);
        let export = data.path(&format!("{name}.ndjson"));
        run(["export", "--db", &pooled.arg(), "--out", &text(&export)]).expect(0);
        pooled.snapshot(data.path(&format!("{name}.db")));
        let path = data.path(&format!("{name}.plan"));
        plan(&pooled, &path, &data.witnesses()).expect(4);
        let bundle = data.path(&format!("{name}.undo"));
        let options = "?options=-c%20search_path%3Dpublic";
        let with_options = Db::Postgres(format!("{}{options}", pooled.arg()));
        apply(&with_options, &path, &["--undo", &text(&bundle)]).expect(5);
        run(["undo", &text(&bundle), "--db", &pooled.arg()]).expect(1);
        assert_eq!(
            content(&audit(&pooled.arg(), &data)).get("streams"),
            direct.get("streams")
        );
        assert_eq!(pooler.left_over(&name), "", "{mode}");
    }
}

#[test]
fn a_pooler_that_pools_by_statement_is_named() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    if !pgbouncer_available() {
        return;
    }
    let _ = server.load("statements", &data.dir.join("recovered.copy.sql"));
    let pooler = PgBouncer::start(&server.0, "statement");
    run(["gaps", "--db", &pooler.database_url("statements")])
        .expect(8)
        .says(&["pooler", "pool_mode", "connect to the server itself"]);
    // One that has no such user says so itself.
    let stranger = pooler
        .database_url("statements")
        .replace("postgres@", "stranger@");
    run(["gaps", "--db", &stranger])
        .expect(8)
        .says(&["pooler", "stranger"]);
}

#[test]
fn a_lock_is_told_and_the_first_interrupt_ends_the_wait() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let (db, path) = planned(&server, &data, "locked");
    let last = query(
        &db.arg(),
        "SELECT store_id FROM ves_sequence_counters ORDER BY tenant_id DESC, store_id DESC LIMIT 1",
    );
    let holder = Holder::of(
        &db.arg(),
        &format!("SELECT 1 FROM ves_sequence_counters WHERE store_id = '{last}' FOR UPDATE"),
    );
    let arguments = args(
        ["apply", &text(&path), "--db", &db.arg(), "--lock-timeout", "600"],
        &[],
    );
    let mut running = Running::start(&arguments);
    let line = running.wait_for("for a lock");
    let pid = query(
        &db.arg(),
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'somebody-else'",
    );
    for words in [
        &format!("pid {pid}"),
        "somebody-else",
        "user postgres",
        "in a transaction since 20",
    ] {
        assert!(line.contains(words), "{line}");
    }
    // And again, later.
    running.wait_for("for a lock");
    running.signal("INT");
    let (code, heard) = running.end();
    // Streams were repaired before, and open positions are left in them.
    assert_eq!(code & !4, 33, "{heard}");
    assert!(heard.contains("committed and staying so: stream"), "{heard}");
    let told = heard
        .lines()
        .find_map(|line| line.split_once("committed and staying so"))
        .unwrap()
        .1;
    assert_eq!(told.matches("stream ").count(), 3, "{told}");
    assert!(!told.contains(&last), "{told}");
    // Nobody works on for us on the server, and nothing of the last stream is there.
    let still =
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'ves-toolkit' AND state = 'active'";
    assert_eq!(query(&db.arg(), still), "0");
    drop(holder);
    apply(&db, &path, &[]).expect(5);
}

#[test]
fn an_absent_synchronous_standby_is_told_and_a_commit_is_called_committed() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let (db, path) = planned(&server, &data, "synchronous");
    db.execute("ALTER ROLE postgres SET synchronous_commit = on");
    let _ = query(
        &server.0.url(),
        "ALTER SYSTEM SET synchronous_standby_names = 'nobody'",
    );
    let _ = query(&server.0.url(), "SELECT pg_reload_conf()");
    let mut running = Running::start(&args(["apply", &text(&path), "--db", &db.arg()], &[]));
    let line = running.wait_for("synchronous standby");
    assert!(
        line.contains("'nobody'") && line.contains("committed on this server already"),
        "{line}"
    );
    running.signal("INT");
    let (code, heard) = running.end();
    assert_eq!(code & !4, 33, "{heard}");
    assert!(
        heard.contains("committed and staying so: stream")
            && heard.contains("standbys have not confirmed it"),
        "{heard}"
    );
    // It is there, as was said.
    let journal = query(&db.arg(), "SELECT count(*) FROM sequencer_recovery.journal");
    assert_eq!(journal, "1");
}

#[test]
fn a_second_interrupt_ends_at_once_and_says_where_things_stand() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let (db, path) = planned(&server, &data, "frozen");
    let last = query(
        &db.arg(),
        "SELECT store_id FROM ves_sequence_counters ORDER BY tenant_id DESC, store_id DESC LIMIT 1",
    );
    let _holder = Holder::of(
        &db.arg(),
        &format!("SELECT 1 FROM ves_sequence_counters WHERE store_id = '{last}' FOR UPDATE"),
    );
    let arguments = args(
        ["apply", &text(&path), "--db", &db.arg(), "--lock-timeout", "600"],
        &[],
    );
    let mut running = Running::start(&arguments);
    running.wait_for("for a lock");
    // A server that does nothing any more, not even cancel.
    let backend = query(
        &db.arg(),
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'ves-toolkit' AND wait_event_type = 'Lock'",
    );
    let backend: i64 = backend.parse().unwrap();
    signal("STOP", backend);
    running.signal("INT");
    std::thread::sleep(Duration::from_millis(500));
    running.signal("INT");
    let (code, heard) = running.end();
    signal("CONT", backend);
    assert_eq!(code, 32, "{heard}");
    assert!(
        heard.contains("ended at once") && heard.contains("committed and staying so: stream"),
        "{heard}"
    );
}

#[test]
fn a_snapshot_file_that_another_program_holds_is_told_and_can_be_left() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let (db, path) = planned(&server, &data, "held");
    let file = db.snapshot(data.path("held.db"));
    let holder = rusqlite::Connection::open(file.arg()).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let arguments = args(
        [
            "apply",
            &text(&path),
            "--db",
            &file.arg(),
            "--lock-timeout",
            "600",
        ],
        &[],
    );
    let mut running = Running::start(&arguments);
    running.wait_for("let go of the snapshot file");
    running.signal("INT");
    let (code, heard) = running.end();
    assert_eq!(code, 32, "{heard}");
    holder.execute_batch("ROLLBACK; BEGIN EXCLUSIVE").unwrap();
    run(["gaps", "--db", &file.arg()])
        .expect(8)
        .says(&["waiting", "let go of the snapshot file", "locked"]);
    drop(holder);
    apply(&file, &path, &[]).expect(5);
}

#[test]
fn functions_that_stand_in_for_the_servers_own_are_not_called() {
    let Some(server) = Server::start() else { return };
    let data = Data::scenario();
    let db = server.load("shadowed", &data.dir.join("recovered.copy.sql"));
    let before = content(&audit(&db.arg(), &data).expect(4));
    db.execute(
        "CREATE FUNCTION public.clock_timestamp() RETURNS timestamptz LANGUAGE plpgsql AS 'BEGIN RAISE EXCEPTION ''not the clock''; END';
         ALTER ROLE postgres SET search_path = public, pg_catalog",
    );
    assert_eq!(content(&audit(&db.arg(), &data).expect(4)), before);
    plan(&db, &data.path("shadowed.plan"), &data.witnesses()).expect(4);
}
