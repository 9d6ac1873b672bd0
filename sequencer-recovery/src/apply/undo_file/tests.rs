use event_log::Entity;
use uuid::Uuid;
use ves::CommandId;

use super::change::{Image, Left};
use super::*;

fn header() -> UndoHeader {
    UndoHeader {
        schema: SCHEMA.into(),
        provenance: None,
        made_at: Timestamp(0),
        tool: "test".into(),
        db: "log.db".into(),
        plan_id: Hash32::ZERO,
    }
}

fn opened(store: u128) -> UndoStream {
    UndoStream {
        stream: StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(store).into()),
        fingerprint_before: Hash32::ZERO,
        counter_before: None,
    }
}

fn sealed() -> UndoSealed {
    UndoSealed {
        fingerprint_after: Hash32::ZERO,
        counter_after: 3,
        head_after: 3,
        commitments_after: 0,
        anchored_after: None,
        lines: 0,
        sha256: Hash32::ZERO,
    }
}

fn command(n: u128) -> Change {
    Change::Command {
        command_id: CommandId(Uuid::from_u128(n)),
        image: Image::inserted(Left::As(Timestamp(0))),
    }
}

/// Two sealed sections, and between them one that was given up.
fn bundle(path: &Path) {
    let mut writer = UndoWriter::create(path, &header(), 10).unwrap();
    writer.begin(opened(1)).unwrap();
    writer.line(&UndoLine::Row(command(1))).unwrap();
    writer.seal(sealed()).unwrap();
    writer.keep();
    // Sealed, and then its transaction was ended by another: it is written again.
    writer.begin(opened(3)).unwrap();
    writer.seal(sealed()).unwrap();
    writer.withdraw();
    writer.begin(opened(2)).unwrap();
    writer.line(&UndoLine::Row(command(2))).unwrap();
    writer.discard();
    writer.begin(opened(3)).unwrap();
    let entity = Entity {
        entity_type: "order".into(),
        entity_id: "7".into(),
    };
    let image = Image::inserted(2);
    let version = Change::EntityVersion { entity, image };
    writer.line(&UndoLine::Row(version)).unwrap();
    writer.seal(sealed()).unwrap();
    writer.finish().unwrap();
}

#[test]
fn what_is_written_reads_back_and_is_never_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("undo");
    bundle(&path);
    let file = UndoFile::open(&path, false).unwrap();
    assert!(file.complete());
    assert_eq!(file.header(), &header());
    let streams: Vec<_> = file.sections().iter().map(|s| s.opened.clone()).collect();
    assert_eq!(streams, [opened(1), opened(3)]);
    let mut rows = file.changes(&file.sections()[0]).unwrap();
    assert_eq!(rows.next().unwrap(), Some(command(1)));
    assert_eq!(rows.next().unwrap(), None);
    let mut rows = file.changes(&file.sections()[1]).unwrap();
    assert!(matches!(rows.next().unwrap(), Some(Change::EntityVersion { .. })));
    assert_eq!(rows.next().unwrap(), None);
    assert!(UndoWriter::create(&path, &header(), 0).is_err());
    // Changed between check and use.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(
        &path,
        text.replace("000000000001\",\"before", "000000000009\",\"before"),
    )
    .unwrap();
    let mut rows = file.changes(&file.sections()[0]).unwrap();
    assert!(rows.next().is_ok());
    assert!(matches!(rows.next(), Err(SealedFileError::Altered { .. })));
}

#[test]
fn every_change_or_cut_is_noticed_and_an_interrupted_bundle_holds_what_was_sealed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("undo");
    bundle(&path);
    let bytes = std::fs::read(&path).unwrap();
    let first = bytes.iter().position(|b| *b == b'\n').unwrap();
    let seals: Vec<usize> = {
        let text = String::from_utf8(bytes.clone()).unwrap();
        let mut at = 0;
        let mut seals = Vec::new();
        for line in text.split_inclusive('\n') {
            at += line.len();
            if line.contains("\"sealed\"") {
                seals.push(at);
            }
        }
        seals
    };
    assert_eq!(seals.len(), 2);
    let cut = folder.path().join("cut");
    for end in 0..bytes.len() {
        std::fs::write(&cut, &bytes[..end]).unwrap();
        assert!(UndoFile::open(&cut, false).is_err(), "cut at {end}");
        let sealed = seals.iter().filter(|seal| **seal <= end).count();
        match UndoFile::open(&cut, true) {
            Ok(file) => assert_eq!((file.sections().len(), file.complete()), (sealed, false)),
            Err(error) => assert!(end <= first, "cut at {end}: {error}"),
        }
    }
    for at in 0..bytes.len() {
        let mut edited = bytes.clone();
        edited[at] ^= 1;
        std::fs::write(&cut, &edited).unwrap();
        assert!(UndoFile::open(&cut, false).is_err(), "edited at {at}");
    }
}

/// A section of one row, as it is in a bundle of this version.
fn row(text: &str) -> Result<Change, serde_json::Error> {
    let line = serde_json::from_str(text)?;
    match line {
        UndoLine::Row(change) => Ok(change),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_row_says_what_it_was_and_is_and_leaves_neither_out() {
    let id = "00000000-0000-0000-0000-000000000001";
    let zeros = "00".repeat(32);
    let event = format!(
        r#"{{"type":"row","row":"event","event_id":"{id}","before":{{"sequence":2,"sequenced_at":"1970-01-01T00:00:00.000000Z"}},"after":{{"sequence":7,"leaf":"{zeros}"}}}}"#
    );
    let command = r#"{"type":"row","row":"command","command_id":"ID","before":null,"after":"1970-01-01T00:00:00.000000Z"}"#;
    let command = command.replace("ID", id);
    let version = r#"{"type":"row","row":"entity_version","entity_type":"order","entity_id":"7","before":null,"after":2}"#;
    let projection = r#"{"type":"row","row":"projection","before":9,"after":2}"#;
    for text in [event.as_str(), &command, version, projection] {
        let read = UndoLine::Row(row(text).unwrap());
        assert_eq!(serde_json::to_string(&read).unwrap(), text);
        let without = text.replace("\"before\":null,", "").replace("\"before\":9,", "");
        assert!(without == text || row(&without).is_err(), "{without}");
        assert!(row(&text.replace("\"after\"", "\"later\"")).is_err(), "{text}");
        assert!(
            row(&text.replace("\"row\":\"", "\"row\":\"no_")).is_err(),
            "{text}"
        );
    }
    // What only an older bundle leaves open is not written.
    let open = Change::Command {
        command_id: CommandId(Uuid::from_u128(1)),
        image: Image::inserted(Left::Somehow),
    };
    assert!(serde_json::to_string(&open).is_err());
}

/// Each kind of line that older bundles have, and what it is now.
#[test]
fn lines_of_older_bundles_are_changed_rows() {
    let id = "00000000-0000-0000-0000-000000000001";
    let zeros = "00".repeat(32);
    let now = |line: &str| -> Vec<Change> {
        let line = line.replace("ID", id).replace("ZEROS", &zeros);
        let line: older::Line = serde_json::from_str(&line).unwrap();
        let (first, second) = line.now();
        let UndoLine::Row(first) = first else {
            panic!("{first:?}")
        };
        [first].into_iter().chain(second).collect()
    };
    let event_id = ves::EventId(Uuid::from_u128(1));
    let stands = |sequence| change::Stands {
        sequence,
        leaf: Hash32::ZERO,
    };
    let stood = change::Stood {
        sequence: 2,
        sequenced_at: Timestamp(0),
    };
    assert_eq!(
        now(r#"{"type":"event","sequence":6,"event_id":"ID","leaf":"ZEROS"}"#),
        Change::event(event_id, None, stands(6))
    );
    assert_eq!(
        now(
            r#"{"type":"moved","event_id":"ID","from":2,"to":7,"sequenced_at":"1970-01-01T00:00:00.000000Z","leaf":"ZEROS","receipt":null}"#
        ),
        Change::event(event_id, Some((stood, None)), stands(7))
    );
    assert_eq!(
        now(r#"{"type":"receipt","sequence":6,"event_id":"ID"}"#),
        [Change::receipt(event_id, None, 6)]
    );
    let command_id = CommandId(Uuid::from_u128(1));
    assert_eq!(
        now(r#"{"type":"command","command_id":"ID"}"#),
        [Change::Command {
            command_id,
            image: Image::inserted(Left::Somehow)
        }]
    );
    assert_eq!(
        now(r#"{"type":"forgotten","command_id":"ID","created_at":"1970-01-01T00:00:00.000000Z"}"#),
        [Change::Command {
            command_id,
            image: Image::removed(Timestamp(0))
        }]
    );
    let entity = Entity {
        entity_type: "order".into(),
        entity_id: "7".into(),
    };
    assert_eq!(
        now(r#"{"type":"version","entity_type":"order","entity_id":"7","before":null,"after":2}"#),
        [Change::EntityVersion {
            entity,
            image: Image::inserted(2)
        }]
    );
    assert_eq!(
        now(r#"{"type":"commitment","batch_id":"ID"}"#),
        [Change::Commitment {
            batch_id: ves::BatchId(Uuid::from_u128(1)),
            image: Image::inserted(Left::Somehow)
        }]
    );
    assert_eq!(
        now(r#"{"type":"projection","before":9,"after":2}"#),
        [Change::Projection(Image {
            before: Some(9),
            after: Some(2)
        })]
    );
    let key = r#"{"tenant_id":"ID","agent_id":"ID","key_id":1,"public_key":"ZEROS","status":"active","valid_from":null,"valid_to":null,"revoked_at":null,"key_algorithm":1}"#;
    let rows = now(&format!(r#"{{"type":"key","key":{key}}}"#));
    assert!(matches!(&rows[..], [Change::Key(Image { before: None, after: Some(key) })] if key.key_id == 1));
}
