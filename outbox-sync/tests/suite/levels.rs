//! Outboxes beside a log as the sequencer's own migrations made it, at every age, and beside one that is damaged.

use crate::common;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::sequencer::Sequencer;
use common::{copy_folder, run};
use outbox_sync::known::KnownLog;
use serde_json::Value;
use test_support::level::{load_copy_file_at, load_level};
use test_support::{ScratchPostgres, postgres_available, query, shared_data};
use ves::KeyRegistry;

/// A server, and the folder of the disaster.
struct Stage {
    server: ScratchPostgres,
    data: PathBuf,
    dir: tempfile::TempDir,
}

impl Stage {
    fn set() -> Option<Self> {
        let data = shared_data().join("data/scenario-1");
        if !postgres_available() {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        copy_folder(&data.join("outboxes"), &dir.path().join("outboxes"));
        Some(Self {
            server: ScratchPostgres::start(),
            data,
            dir,
        })
    }

    fn at_level(&self, name: &str, level: u32, log: &str) -> String {
        let url = self.server.create_database(name);
        load_level(&url, level);
        load_copy_file_at(&url, level, &self.data.join(log));
        url
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn json(&self, arguments: &[&str]) -> (i32, Value) {
        let (code, out, err) = run(self.path(), &[&["--format", "json"], arguments].concat());
        let document =
            serde_json::from_str(&out).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {out}{err}"));
        (code, document)
    }

    /// What the commands say that only read, without where the log was: of the census, the export, the status, and
    /// the dry run of reconcile.
    fn read(&self, url: &str) -> BTreeMap<String, (i32, Value)> {
        self.read_by(url, &["census", "status", "reconcile", "export"])
    }

    fn read_by(&self, url: &str, names: &[&str]) -> BTreeMap<String, (i32, Value)> {
        let out = self.path().join("missing.ndjson");
        let _ = std::fs::remove_file(&out);
        let _ = std::fs::remove_file(outbox_sync::export::manifest_path(&out));
        let commands: [&[&str]; 4] = [
            &["census", "outboxes", "--db", url],
            &["status", "outboxes", "--db", url],
            &["reconcile", "outboxes", "--db", url],
            &[
                "export",
                "outboxes",
                "--out",
                "missing.ndjson",
                "--missing-from",
                url,
            ],
        ];
        let wanted = commands.iter().filter(|command| names.contains(&command[0]));
        let said = wanted.map(|command| {
            let (code, document) = self.json(command);
            let of = match command[0] {
                "census" => serde_json::json!([document["streams"], document["unheard"]]),
                "status" => document["totals"].clone(),
                "reconcile" => document["outboxes"].clone(),
                _ => serde_json::json!([document["manifest"]["events"], document["left_out"]]),
            };
            (command[0].to_owned(), (code, of))
        });
        said.collect()
    }
}

#[test]
fn a_log_of_an_older_level_is_read_as_the_newest_is() {
    let Some(stage) = Stage::set() else { return };
    let newest = stage.read(&stage.at_level("newest", 16, "recovered.copy.sql"));
    assert!(newest["census"].0 == 4 && newest["reconcile"].0 == 4);
    // What each level is like is tested where it is read; here are those that lack most, and the counters' change.
    for level in [2, 9, 14] {
        let url = stage.at_level(&format!("level_{level}"), level, "recovered.copy.sql");
        assert_eq!(stage.read(&url), newest, "{level}");
    }
    let url = stage.server.create_database("level_1");
    load_level(&url, 1);
    let (code, _, stderr) = run(stage.path(), &["census", "outboxes", "--db", &url]);
    assert_eq!(code, 8);
    assert!(
        stderr.contains("level 1") && stderr.contains("002_ves_v1_tables"),
        "{stderr}"
    );
}

#[test]
fn in_the_real_schema_outboxes_are_set_right_and_handed_over() {
    let Some(stage) = Stage::set() else { return };
    let url = stage.at_level("real", 16, "recovered.copy.sql");
    let (code, document) = stage.json(&["reconcile", "outboxes", "--apply", "--db", &url]);
    assert_eq!(code & !4, 1, "{document}");
    let outboxes = document["outboxes"].as_array().unwrap();
    assert!(outboxes.iter().any(|outbox| outbox["applied"] == true));
    assert_eq!(document["place"]["level"]["number"], 16);

    // The sequencer that goes on with this log.
    let mut log = KnownLog::open(&cli_common::DbTarget::parse(url.as_ref()).unwrap()).unwrap();
    let sequencer = Sequencer::start(KeyRegistry::new(log.keys().unwrap()));
    for state in log.streams().unwrap() {
        let counters = &mut sequencer.state.lock().unwrap().counters;
        // What it ever gave out is known by then: a repair came before.
        counters.insert(state.stream, state.counter.unwrap() + 1000);
    }
    let push = || common::agents::push(stage.path(), &sequencer, &["outboxes", "--db", &url]);
    let (_, pushed, _) = push();
    let accepted = pushed["accepted"].as_u64().unwrap();
    assert!(accepted > 100, "{pushed}");
    assert_eq!(sequencer.state.lock().unwrap().log.len() as u64, accepted);
    assert_eq!(pushed["place"]["level"]["number"], 16);
    let (_, again, _) = push();
    assert_eq!(again["accepted"], 0, "{again}");
    assert_eq!(sequencer.state.lock().unwrap().log.len() as u64, accepted);
}

/// Leaves the rows of the last events of every stream out of an index.
fn hide_from(url: &str, index: &str) {
    let psql = |sql: &str| query(url, sql);
    let of = "SELECT e.event_id FROM ves_events e JOIN ves_sequence_counters c USING (tenant_id, store_id) \
              WHERE e.sequence_number > c.current_sequence - 3";
    psql(&format!(
        "CREATE SCHEMA kept;
         CREATE TABLE kept.receipts AS SELECT * FROM ves_sequencer_receipts WHERE event_id IN ({of});
         CREATE TABLE kept.events AS SELECT * FROM ves_events WHERE event_id IN ({of});
         DELETE FROM ves_sequencer_receipts WHERE event_id IN (SELECT event_id FROM kept.events);
         DELETE FROM ves_events WHERE event_id IN (SELECT event_id FROM kept.events)"
    ));
    psql("VACUUM ves_events");
    let ready = |ready: bool| {
        psql(&format!(
            "UPDATE pg_index SET indisready = {ready}, indisvalid = {ready} WHERE indexrelid = '{index}'::regclass"
        ))
    };
    ready(false);
    psql(
        "INSERT INTO ves_events SELECT * FROM kept.events;
         INSERT INTO ves_sequencer_receipts SELECT * FROM kept.receipts",
    );
    ready(true);
    psql("DROP SCHEMA kept CASCADE");
}

#[test]
fn what_an_index_lacks_is_not_missing_from_the_log() {
    let Some(stage) = Stage::set() else { return };
    let url = stage.at_level("sound", 16, "recovered.copy.sql");
    let commands = ["census", "reconcile"];
    let sound = stage.read_by(&url, &commands);
    for (n, index) in ["idx_ves_events_tenant_store_seq", "ves_events_pkey"]
        .iter()
        .enumerate()
    {
        let url = stage.at_level(&format!("damaged_{n}"), 16, "recovered.copy.sql");
        hide_from(&url, index);
        assert_eq!(stage.read_by(&url, &commands), sound, "{index}");
        let (_, _, stderr) = run(stage.path(), &["census", "outboxes", "--db", &url]);
        assert!(stderr.contains(index) && stderr.contains("REINDEX"), "{stderr}");
    }
    // One event of which a time cannot be read is there all the same, and the report says what it could not compare.
    let url = stage.at_level("infinite", 16, "recovered.copy.sql");
    let _ = query(
        &url,
        "UPDATE ves_events SET sequenced_at = 'infinity' WHERE sequence_number = 5",
    );
    assert_eq!(stage.read_by(&url, &commands), sound);
    let (_, document) = stage.json(&["status", "outboxes", "--db", &url]);
    let not_checked = document["not_checked"].to_string();
    assert!(not_checked.contains("the log: "), "{not_checked}");
}

#[test]
fn an_event_whose_row_does_not_say_where_it_is_is_not_missing() {
    const STORE: &str = "5126e8c5-c2d2-4f92-8b21-0080eeab9c5e";
    let Some(stage) = Stage::set() else { return };
    let url = stage.at_level("sound", 16, "recovered.copy.sql");
    let event =
        format!("SELECT event_id FROM ves_events WHERE store_id = '{STORE}' AND sequence_number = 100");
    let event = query(&url, &event).trim().to_owned();
    let sound = stage.read_by(&url, &["census", "reconcile", "export"]);
    for column in ["tenant_id", "sequence_number", "event_id"] {
        let url = stage.at_level(&format!("without_{column}"), 16, "recovered.copy.sql");
        let _ = query(
            &url,
            &format!(
                "ALTER TABLE ves_events DROP CONSTRAINT ves_events_pkey CASCADE;
                 ALTER TABLE ves_events ALTER {column} DROP NOT NULL;
                 UPDATE ves_events SET {column} = NULL WHERE event_id = '{event}'"
            ),
        );
        let (code, document) = stage.json(&["reconcile", "outboxes", "--db", &url]);
        assert_eq!(code, sound["reconcile"].0, "{column}");
        let changes = |outboxes: &Value| -> Vec<Value> {
            let outboxes = outboxes.as_array().unwrap().iter();
            outboxes
                .flat_map(|outbox| outbox["changes"].as_array().unwrap().clone())
                .collect()
        };
        // Nobody is told to send it again, and all other rows are judged as before.
        let (before, mut after) = (changes(&sound["reconcile"].1), changes(&document["outboxes"]));
        assert!(
            !after.iter().any(|change| change["event_id"] == event.as_str()),
            "{column}"
        );
        let outboxes = document["outboxes"].to_string();
        assert!(outboxes.contains("that cannot be read"), "{column} {outboxes}");
        if column == "event_id" {
            // Another event that is said to be at that number may be the one that is there.
            assert!(before.iter().filter(|change| !after.contains(change)).count() <= 1);
            after.retain(|change| !before.contains(change));
            assert_eq!(after, [] as [Value; 0]);
            continue;
        }
        assert_eq!(after, before, "{column}");
        let not_checked = document["not_checked"].to_string();
        let told = not_checked.contains(&event) && not_checked.contains(&format!("{column} is NULL"));
        assert!(told, "{column} {not_checked}");
        let read = stage.read_by(&url, &["census", "export"]);
        let exported = std::fs::read_to_string(stage.path().join("missing.ndjson")).unwrap();
        assert!(!exported.contains(&event), "{column}");
        assert_eq!(read["export"].1[0], sound["export"].1[0], "{column}");
        if column != "sequence_number" {
            assert_eq!(read["census"], sound["census"], "{column}");
        }
    }
}
