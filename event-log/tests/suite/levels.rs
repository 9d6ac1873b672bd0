//! A log is read at every level of its database, and as one reads it at the newest.

use crate::common;

use common::{GOLDEN, Server, TRUTH, everything, message, open, snapshot_of, target};
use event_log::{Level, LevelSource, Log, LogError, StreamFilter};
use test_support::level::{NEWEST_LEVEL, load_copy_file_at, load_level, load_level_into};
use test_support::query;

/// The real log reads the same in a database of the newest level as in our own schema, and what an older level cannot
/// hold is what it meant then.
#[tokio::test]
async fn every_level_is_read() {
    let Some(server) = Server::start() else { return };
    let golden = server.data(GOLDEN);
    let mut newest = everything(
        &mut open(&target(&server.load("ours", GOLDEN)))
            .await
            .view()
            .await
            .unwrap(),
    )
    .await;
    for level in (2..=NEWEST_LEVEL).rev() {
        let url = server.create(&format!("level_{level}"));
        load_level(&url, level);
        load_copy_file_at(&url, level, &golden);
        let log = open(&target(&url)).await;
        let by_migrations = Level {
            number: level,
            from: LevelSource::Migrations,
            up_to: None,
            failed: None,
        };
        assert_eq!((log.level(), log.schema()), (Some(by_migrations), Some("public")));
        assert_eq!(log.check_writable().is_ok(), level >= 15, "{level}");
        let mut view = log.view().await.unwrap();
        let found = everything(&mut view).await;
        if level == 14 {
            // From here down nobody knew of other signatures than Ed25519.
            for entry in newest.entries.values_mut().flatten() {
                entry.event.agent_signature_scheme = ves::SignatureScheme(0);
                entry.event.agent_signature_bundle = None;
                let receipt = entry.receipt.as_mut().unwrap();
                receipt.receipt_signature_scheme = 0;
                receipt.receipt_signature_bundle = None;
            }
            assert!(
                newest.rest[0].contains("key_algorithm: 5") && !found.rest[0].contains("key_algorithm: 5")
            );
            newest.rest.clone_from(&found.rest);
        }
        if level == 12 {
            for entry in newest.entries.values_mut().flatten() {
                entry.receipt.as_mut().unwrap().sequencer_key_version = 0;
            }
            newest.rest.clone_from(&found.rest);
        }
        assert_eq!(found, newest, "level {level}");
        drop(view);

        // The same without the migrator's word.
        let _ = query(&url, "DROP TABLE _sqlx_migrations");
        let log = open(&target(&url)).await;
        let by_tables = Level {
            from: LevelSource::Tables,
            up_to: None,
            ..by_migrations
        };
        assert_eq!(log.level(), Some(by_tables));
        if [2, 9, 14].contains(&level) {
            let (_folder, path) = snapshot_of(&log).await;
            let snapshot = open(&common::file(&path)).await;
            assert_eq!(
                (snapshot.level(), snapshot.schema()),
                (Some(by_tables), Some("public"))
            );
            assert!(matches!(snapshot.check_writable(), Err(LogError::Level { .. })));
            assert_eq!(
                everything(&mut snapshot.view().await.unwrap()).await,
                newest,
                "level {level}"
            );
        }
    }
}

#[tokio::test]
async fn the_first_level_and_what_is_no_log_are_refused_with_what_they_are() {
    let Some(server) = Server::start() else { return };
    let first = server.create("first");
    load_level(&first, 1);
    let refused = message(Log::open(&target(&first)).await);
    assert!(
        refused.contains("level 1") && refused.contains("002_ves_v1_tables"),
        "{refused}"
    );
    let nothing = message(Log::open(&target(&server.create("nothing"))).await);
    assert!(nothing.contains("table ves_events is missing"), "{nothing}");
    let elsewhere = server.create("elsewhere");
    load_level_into(&elsewhere, 16, "tenant_a");
    let hidden = message(Log::open(&target(&elsewhere)).await);
    assert!(
        hidden.contains("tenant_a") && hidden.contains("--schema"),
        "{hidden}"
    );
}

/// A missing table of a level that has it is no older level.
#[tokio::test]
async fn what_was_lost_is_not_taken_for_what_was_not_yet_there() {
    let Some(server) = Server::start() else { return };
    for (level, lose, said) in [
        (
            16,
            "DROP TABLE ves_sequence_counters",
            "table ves_sequence_counters is missing",
        ),
        (
            16,
            "DROP TABLE ves_command_dedupe",
            "table ves_command_dedupe is missing",
        ),
        (
            13,
            "ALTER TABLE ves_sequencer_receipts DROP sequencer_key_version",
            "sequencer_key_version is missing",
        ),
        (
            16,
            "ALTER TABLE ves_events ALTER event_signing_hash TYPE text",
            "is of type text",
        ),
        (
            16,
            "ALTER TABLE ves_events DROP created_at_str",
            "created_at_str is missing",
        ),
    ] {
        for by_tables in [false, true] {
            // Without the migrator's word a lost table of the newest marker level cannot be told from an older level.
            if by_tables && level == 13 {
                continue;
            }
            let url = server.create(&format!("lost_{level}_{by_tables}_{}", said.len()));
            load_level(&url, level);
            let _ = query(&url, lose);
            if by_tables {
                let _ = query(&url, "DROP TABLE _sqlx_migrations");
            }
            let refused = message(Log::open(&target(&url)).await);
            assert!(refused.contains(said), "{refused}");
        }
    }
}

#[tokio::test]
async fn types_count_by_what_they_hold_and_what_is_more_is_nobodys_business() {
    let Some(server) = Server::start() else { return };
    let truth = server.data(TRUTH);
    let plain = server.load("plain", TRUTH);
    let expected = everything(&mut open(&target(&plain)).await.view().await.unwrap()).await;
    let url = server.create("different");
    load_level(&url, 16);
    load_copy_file_at(&url, 16, &truth);
    let _ = query(
        &url,
        "ALTER TABLE agent_signing_keys ALTER metadata TYPE jsonb USING metadata::jsonb;
         ALTER TABLE agent_signing_keys ALTER key_algorithm TYPE bigint;
         ALTER TABLE agent_signing_keys ADD owner text, DROP COLUMN rotation_reason;
         ALTER TABLE ves_sequencer_receipts ALTER sequencer_key_version TYPE smallint;
         ALTER TABLE ves_events ALTER payload TYPE json, ALTER entity_type TYPE text, ALTER event_type TYPE varchar(999);
         ALTER TABLE ves_events ALTER agent_key_id TYPE numeric;
         CREATE DOMAIN signature AS bytea CHECK (length(VALUE) = 64);
         ALTER TABLE ves_events ALTER agent_signature TYPE signature;
         ALTER TABLE ves_events ADD note text DEFAULT 'x', ADD CONSTRAINT extra CHECK (sequence_number > 0);
         CREATE INDEX by_note ON ves_events (note);
         CREATE TABLE events_of_ours (id int); CREATE VIEW commitments_of_ours AS SELECT 1 AS ves_commitments;
         -- A table that became parts, and one that became a view of another.
         ALTER TABLE ves_command_dedupe RENAME TO old_dedupe;
         CREATE TABLE ves_command_dedupe (LIKE old_dedupe INCLUDING DEFAULTS) PARTITION BY HASH (tenant_id);
         CREATE TABLE dedupe_0 PARTITION OF ves_command_dedupe FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE dedupe_1 PARTITION OF ves_command_dedupe FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         INSERT INTO ves_command_dedupe SELECT * FROM old_dedupe;
         CREATE SCHEMA elsewhere;
         ALTER TABLE entity_versions SET SCHEMA elsewhere;
         CREATE VIEW entity_versions AS SELECT * FROM elsewhere.entity_versions",
    );
    let log = open(&target(&url)).await;
    let mut view = log.view().await.unwrap();
    assert_eq!(everything(&mut view).await, expected);
    let streams = view
        .streams(&StreamFilter::default())
        .await
        .unwrap()
        .all()
        .unwrap();
    let whole = view.present_ranges(&streams[0].stream).await.unwrap();
    assert_eq!(whole, [1..=streams[0].last.unwrap()]);
}

#[tokio::test]
async fn a_log_in_two_schemas_is_a_question() {
    let Some(server) = Server::start() else { return };
    let truth = server.data(TRUTH);
    let url = server.create("two");
    load_level_into(&url, 9, "older");
    load_level_into(&url, 16, "Newer-Log");
    test_support::level::load_copy_file_into(&url, 16, "Newer-Log", &truth);
    let both = format!("{url}?options=-c%20search_path%3Dolder,%22Newer-Log%22");
    let question = message(Log::open(&target(&both)).await);
    assert!(
        question.contains("older") && question.contains("Newer-Log"),
        "{question}"
    );
    assert!(question.contains("--schema"), "{question}");

    let of = |schema: &str| target(&both).in_schema(schema).unwrap();
    let log = open(&of("Newer-Log")).await;
    assert_eq!(log.schema(), Some("Newer-Log"));
    assert_eq!(log.level().unwrap().number, 16);
    let streams = |log: Log| async move {
        let mut view = log.view().await.unwrap();
        view.streams(&StreamFilter::default())
            .await
            .unwrap()
            .all()
            .unwrap()
            .len()
    };
    assert_eq!(streams(log).await, 4);
    // Nothing of the other is taken for a part of this one.
    let log = open(&of("older")).await;
    assert_eq!(log.level().unwrap().number, 9);
    assert_eq!(streams(log).await, 0);
    let missing = message(Log::open(&of("nowhere")).await);
    assert!(missing.contains("nowhere"), "{missing}");
}

#[tokio::test]
async fn a_missing_right_is_said_with_what_to_grant() {
    let Some(server) = Server::start() else { return };
    let url = server.create("rights");
    load_level(&url, 16);
    let _ = query(
        &url,
        "CREATE ROLE reader LOGIN; REVOKE ALL ON SCHEMA public FROM PUBLIC",
    );
    let as_reader = url.replace("postgres@", "reader@");
    let refused = message(Log::open(&target(&as_reader).in_schema("public").unwrap()).await);
    assert!(
        refused.contains("GRANT USAGE ON SCHEMA public TO reader"),
        "{refused}"
    );
    let _ = query(
        &url,
        "GRANT USAGE ON SCHEMA public TO reader; GRANT SELECT ON ves_events TO reader",
    );
    let refused = message(Log::open(&target(&as_reader)).await);
    assert!(refused.contains("GRANT SELECT ON"), "{refused}");
    assert!(
        refused.contains("ves_sequencer_receipts") && !refused.contains("ves_events"),
        "{refused}"
    );
    let _ = query(
        &url,
        "GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader; REVOKE SELECT ON _sqlx_migrations FROM reader",
    );
    let log = open(&target(&as_reader)).await;
    assert_eq!(log.level().unwrap().from, LevelSource::Tables);
    assert_eq!(log.level().unwrap().up_to, None);
    // Where what the newest level brought is not there at all, nobody can tell it from the one before.
    let _ = query(&url, "DROP TABLE x402_nonce_tracking, _sqlx_migrations CASCADE");
    let level = open(&target(&url)).await.level().unwrap();
    assert_eq!((level.number, level.up_to), (15, Some(16)));
    assert!(level.to_string().starts_with("level 15 or 16 "), "{level}");
}
