use uuid::Uuid;

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

fn command(n: u128) -> UndoLine {
    UndoLine::Command {
        command_id: CommandId(Uuid::from_u128(n)),
    }
}

/// Two sealed sections, and between them one that was given up.
fn bundle(path: &Path) {
    let mut writer = UndoWriter::create(path, &header(), 10).unwrap();
    writer.begin(opened(1)).unwrap();
    writer.line(&command(1)).unwrap();
    writer.seal(sealed()).unwrap();
    writer.keep();
    // Sealed, and then its transaction was ended by another: it is written again.
    writer.begin(opened(3)).unwrap();
    writer.seal(sealed()).unwrap();
    writer.withdraw();
    writer.begin(opened(2)).unwrap();
    writer.line(&command(2)).unwrap();
    writer.discard();
    writer.begin(opened(3)).unwrap();
    let entity = Entity {
        entity_type: "order".into(),
        entity_id: "7".into(),
    };
    let version = UndoLine::Version {
        entity,
        before: None,
        after: 2,
    };
    writer.line(&version).unwrap();
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
    let mut lines = file.lines(&file.sections()[0]).unwrap();
    assert_eq!(lines.next().unwrap(), Some(command(1)));
    assert_eq!(lines.next().unwrap(), None);
    let mut lines = file.lines(&file.sections()[1]).unwrap();
    assert!(matches!(lines.next().unwrap(), Some(UndoLine::Version { .. })));
    assert_eq!(lines.next().unwrap(), None);
    assert!(UndoWriter::create(&path, &header(), 0).is_err());
    // Changed between check and use.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("000000000001\"}", "000000000009\"}")).unwrap();
    let mut lines = file.lines(&file.sections()[0]).unwrap();
    assert!(lines.next().is_ok());
    assert!(matches!(lines.next(), Err(SealedFileError::Altered { .. })));
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
