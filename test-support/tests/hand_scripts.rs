//! `sql/hand/*.sql` as an operator runs them: on a database as recovery left it, and with damage made on purpose.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::PathBuf;
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use test_support::{
    ScratchPostgres, load_copy_file, load_schema, postgres_available, query, run_script, shared_data,
    try_script, workspace_root,
};

/// Four streams of scenario-1, by their heads in the recovered log.
const AT_124: &str = "store_id = '145a2de2-c9a5-4169-8d6a-e7d30b2bcdaf'";
const AT_114: &str = "store_id = 'b5335c7f-5f12-494a-8d73-8d1b72f3f25c'";
const AT_130: &str = "store_id = '5126e8c5-c2d2-4f92-8b21-0080eeab9c5e'";
const AT_136: &str = "store_id = '8031ef5c-6c58-4d36-8afc-8aaaa77f604b'";

struct Log {
    _server: ScratchPostgres,
    url: String,
}

impl Log {
    fn recovered() -> Option<Self> {
        let shared = shared_data();
        if !postgres_available() {
            return None;
        }
        let server = ScratchPostgres::start();
        let url = server.create_database("recovered");
        load_schema(&url);
        load_copy_file(&url, &shared.join("data/scenario-1/recovered.copy.sql"));
        Some(Self { _server: server, url })
    }

    fn run(&self, sql: &str) {
        let _ = query(&self.url, sql);
    }

    /// Loses events of a stream with all that hangs on them.
    fn lose(&self, stream: &str, range: &str) {
        let events = format!("FROM ves_events WHERE {stream} AND sequence_number {range}");
        self.run(&format!(
            "DELETE FROM ves_sequencer_receipts WHERE event_id IN (SELECT event_id {events})"
        ));
        self.run(&format!("DELETE {events}"));
    }

    fn counter(&self, stream: &str) -> String {
        query(
            &self.url,
            &format!("SELECT current_sequence FROM ves_sequence_counters WHERE {stream}"),
        )
    }

    /// Everything in the database that a script could have changed.
    fn state(&self) -> String {
        let tables = [
            "ves_events",
            "ves_sequencer_receipts",
            "ves_commitments",
            "ves_sequence_counters",
        ];
        let others = [
            "sequence_counters",
            "x402_sequence_counters",
            "entity_versions",
            "ves_command_dedupe",
        ];
        let digest = |table: &str| {
            query(
                &self.url,
                &format!("SELECT md5(string_agg(t::text, ';' ORDER BY t::text)) FROM {table} t"),
            )
        };
        tables
            .into_iter()
            .chain(others)
            .map(digest)
            .collect::<Vec<_>>()
            .join("\n")
    }

    /// The rows that gaps.sql prints under one of its headings, without tenant and header.
    fn gaps(&self, heading: &str) -> Vec<String> {
        rows_under(&run_script(&self.url, &script("gaps.sql"), &[]), heading)
    }

    fn floors(&self) -> Vec<String> {
        rows_under(
            &run_script(&self.url, &script("counter_floor.sql"), &[]),
            "floors",
        )
    }
}

fn script(name: &str) -> PathBuf {
    workspace_root().join("sql/hand").join(name)
}

/// Rows of the CSV table below `heading`, each without its tenant (36 characters and a comma).
fn rows_under(output: &str, heading: &str) -> Vec<String> {
    let lines = output.lines().skip_while(|line| *line != heading).skip(2);
    lines
        .take_while(|line| line.contains('-'))
        .map(|line| line[37..].to_owned())
        .collect()
}

#[test]
fn gaps_finds_nothing_in_a_log_that_only_lost_its_tail_and_says_what_it_cannot_know() {
    let Some(log) = Log::recovered() else { return };
    // 335 events are missing from this log. The database has forgotten them altogether, counters and all.
    assert_eq!(log.gaps("gaps"), [""; 0]);
    assert!(log.gaps("streams").iter().all(|row| row.ends_with(",ok")));
    let text = std::fs::read_to_string(script("gaps.sql")).unwrap();
    assert!(text.contains("What it cannot know") && text.contains("outboxes") && text.contains("chain"));
}

#[test]
fn gaps_are_leading_interior_and_tail() {
    let Some(log) = Log::recovered() else { return };
    log.lose(AT_124, "BETWEEN 1 AND 3");
    log.lose(AT_124, "IN (10, 12, 13)");
    log.lose(AT_130, ">= 121");
    log.run(&format!("DELETE FROM ves_sequence_counters WHERE {AT_130}"));
    log.run(&format!(
        "UPDATE ves_sequence_counters SET current_sequence = 100 WHERE {AT_114}"
    ));
    log.run(&format!(
        "UPDATE ves_sequence_counters SET current_sequence = 140 WHERE {AT_136}"
    ));
    let before = log.state();

    let store = |stream: &str| stream.split('\'').nth(1).unwrap().to_owned();
    let gaps = [
        format!("{},leading,1,3,3,", store(AT_124)),
        format!("{},interior,10,10,1,", store(AT_124)),
        format!("{},interior,12,13,2,", store(AT_124)),
        // The counter row is gone and the receipts with their events: the commitments alone know of the tail.
        format!("{},tail,121,128,8,commitments 128", store(AT_130)),
        format!("{},tail,137,140,4,counter 140", store(AT_136)),
    ];
    assert_eq!(log.gaps("gaps"), gaps);
    let streams = [
        format!("{},118,4,124,124,124,ok", store(AT_124)),
        format!("{},114,1,114,100,114,behind", store(AT_114)),
        format!("{},120,1,120,,128,missing", store(AT_130)),
        format!("{},136,1,136,140,140,ahead", store(AT_136)),
    ];
    assert_eq!(log.gaps("streams"), streams);
    assert_eq!(log.state(), before);
}

#[test]
fn gaps_sees_a_stream_without_events_and_receipts_without_event() {
    let Some(log) = Log::recovered() else { return };
    log.run("ALTER TABLE ves_sequencer_receipts DROP CONSTRAINT ves_sequencer_receipts_event_id_fkey");
    log.run(&format!("DELETE FROM ves_events WHERE {AT_130}"));
    let gaps = log.gaps("gaps");
    assert_eq!(gaps.len(), 1);
    assert!(
        gaps[0].ends_with(",tail,1,130,130,\"counter 130, commitments 128\""),
        "{}",
        gaps[0]
    );
    let output = run_script(&log.url, &script("gaps.sql"), &[]);
    assert!(
        output.ends_with("receipts_of_no_event,highest\n130,130\n"),
        "{output}"
    );
}

#[test]
fn a_receipt_or_commitment_beyond_the_log_makes_a_tail_and_a_floor() {
    let Some(log) = Log::recovered() else { return };
    log.run(&format!(
        "UPDATE ves_sequencer_receipts SET sequence_number = 150 WHERE event_id =
           (SELECT event_id FROM ves_events WHERE {AT_114} AND sequence_number = 114)"
    ));
    let gaps = log.gaps("gaps");
    assert_eq!(gaps.len(), 1);
    assert!(gaps[0].ends_with(",tail,115,150,36,receipts 150"), "{}", gaps[0]);
    assert!(
        log.floors()[1].ends_with(",114,150,64,114,150,raise to 150"),
        "{}",
        log.floors()[1]
    );
}

#[test]
fn counter_floor_reads_by_default_and_raises_when_told() {
    let Some(log) = Log::recovered() else { return };
    log.lose(AT_130, ">= 121");
    log.run(&format!("DELETE FROM ves_sequence_counters WHERE {AT_130}"));
    log.run(&format!(
        "UPDATE ves_sequence_counters SET current_sequence = 100 WHERE {AT_114}"
    ));
    log.run(&format!(
        "UPDATE ves_sequence_counters SET current_sequence = 140 WHERE {AT_136}"
    ));
    log.run(&format!(
        "INSERT INTO sequence_counters SELECT tenant_id, store_id, 7 FROM ves_sequence_counters WHERE {AT_114}"
    ));
    let before = log.state();
    let actions = |floors: &[String]| -> Vec<String> {
        floors
            .iter()
            .map(|row| row.rsplit(',').next().unwrap().to_owned())
            .collect()
    };
    assert_eq!(
        actions(&log.floors()),
        ["leave", "raise to 114", "create at 128", "leave"]
    );
    let _ = run_script(&log.url, &script("counter_floor.sql"), &["apply=0"]);
    assert_eq!(log.state(), before);

    let output = try_script(&log.url, &script("counter_floor.sql"), &["apply=1"]);
    assert!(output.status.success());
    let notices = String::from_utf8(output.stderr).unwrap();
    assert!(notices.contains("counter was 100, is 114") && notices.contains("counter was missing, is 128"));
    assert_eq!(notices.matches("counter was").count(), 2);
    let counters = [AT_124, AT_114, AT_130, AT_136].map(|stream| log.counter(stream));
    assert_eq!(counters, ["124", "114", "128", "140"]);
    // The counter of the older log is another one.
    assert_eq!(
        query(&log.url, "SELECT current_sequence FROM sequence_counters"),
        "7"
    );

    let after = log.state();
    let again = try_script(&log.url, &script("counter_floor.sql"), &["apply=1"]);
    assert!(again.status.success() && again.stderr.is_empty());
    assert_eq!(log.state(), after);
    assert_eq!(actions(&log.floors()), ["leave"; 4]);
}

#[test]
fn counter_floor_waits_for_the_sequencers_lock_and_does_not_lower_what_it_then_finds() {
    let Some(log) = Log::recovered() else { return };
    log.run(&format!(
        "UPDATE ves_sequence_counters SET current_sequence = 100 WHERE {AT_114}"
    ));
    let lock = format!(
        "BEGIN; SELECT 1 FROM ves_sequence_counters WHERE {AT_114} FOR UPDATE; SELECT pg_sleep(2);
         UPDATE ves_sequence_counters SET current_sequence = 200 WHERE {AT_114}; COMMIT;"
    );
    let mut sequencer = Command::new("psql")
        .args(["-X", "-q", "-d", &log.url, "-c", &lock])
        .spawn()
        .unwrap();
    while query(
        &log.url,
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'",
    ) != "1"
    {
        sleep(Duration::from_millis(20));
    }
    let output = try_script(&log.url, &script("counter_floor.sql"), &["apply=1"]);
    assert!(sequencer.wait().unwrap().success());
    assert!(output.status.success());
    assert_eq!(log.counter(AT_114), "200");
}

#[test]
fn the_scripts_fail_on_a_database_that_is_no_sequencers() {
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    for name in ["gaps.sql", "counter_floor.sql"] {
        let output = try_script(&server.url(), &script(name), &["apply=1"]);
        assert_eq!(output.status.code(), Some(3), "{name}");
    }
}
