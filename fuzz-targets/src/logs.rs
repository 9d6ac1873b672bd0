//! The log in files: dumps of PostgreSQL, snapshots, exports, what a watch remembers; and what such files are packed in.

use std::io::Read as _;
use std::ops::ControlFlow;
use std::path::Path;

use cli_common::{Cancel, DbTarget, NoProgress};
use event_log::{ExportReader, Log, Scope, looks_like_dump, read_dump, write_export};
use sequencer_recovery::watch_memory;
use sequencer_recovery::witness::unpacked;
use tokio::runtime::Builder;

use crate::scratch;

/// A dump in plain text. What is read of it makes a log that can be read.
pub(crate) fn dump(bytes: &[u8]) {
    let _ = looks_like_dump(bytes);
    let path = scratch::folder().join("dump.db");
    scratch::remove(&path);
    let Ok(info) = read_dump(bytes, &path, &Cancel::default()) else {
        assert!(!path.exists(), "without a log there is no snapshot");
        return;
    };
    let lines = bytes.split(|byte| *byte == b'\n').count() as u64;
    let rows: u64 = info.rows.values().sum();
    assert!(rows + info.unreadable_count <= lines, "each row is a line");
    let read = read_log(&path).expect("a snapshot that was just made");
    let events = info.rows.get("ves_events").copied().unwrap_or_default();
    assert!(read.events <= events, "no event that the dump has not");
    assert_eq!(
        read.contradicts_itself, None,
        "what was written has what it announces"
    );
    assert_eq!(read.events, read.written, "all that was written is read");
}

/// A file that is given as a snapshot. What can be read of it can be exported, and the export read.
pub(crate) fn snapshot(bytes: &[u8]) {
    let _ = read_log(&scratch::file("snapshot.db", bytes));
}

/// A log as its export says.
struct Exported {
    events: u64,
    /// How many events were written. Of a damaged file some may be refused when they are read: twice there, say.
    written: u64,
    /// The line by which it says so, if it does not have what it announces: as a damaged file may.
    contradicts_itself: Option<String>,
}

/// Exports a log and reads the export.
fn read_log(path: &Path) -> Option<Exported> {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut text = Vec::new();
    let written = runtime.block_on(async {
        let log = Log::open(&DbTarget::Snapshot(path.to_owned())).await?;
        let mut view = log.view().await?;
        write_export(&mut view, &Scope::default(), false, &mut text, &NoProgress).await
    });
    let counts = written.ok()?;
    let mut reader = ExportReader::new(text.as_slice()).expect("what was written is an export");
    let mut found = Exported {
        events: 0,
        written: counts.events,
        contradicts_itself: None,
    };
    let mut unreadable = reader.outline().unreadable.len() + reader.outline().unreadable_keys.len();
    let read = reader.for_each_entry(&mut |entries| {
        for entry in entries {
            match entry {
                Ok(_) => found.events += 1,
                Err(row) if row.what.contains("were announced") => {
                    found.contradicts_itself = Some(row.what);
                }
                Err(_) => unreadable += 1,
            }
        }
        ControlFlow::Continue(())
    });
    read.expect("what was written has an end");
    assert_eq!(
        found.events + unreadable as u64,
        counts.events + counts.unreadable,
        "each line is read, or told"
    );
    Some(found)
}

/// A log as lines of JSON.
pub(crate) fn export(bytes: &[u8]) {
    let Ok(mut reader) = ExportReader::new(bytes) else {
        return;
    };
    let _ = reader.outline().registry();
    let mut last = None;
    let read = reader.for_each_entry(&mut |entries| {
        for entry in entries.into_iter().flatten() {
            let place = (entry.entry.event.stream, entry.entry.sequence_number);
            assert!(
                last.is_none_or(|last| last < place),
                "events come in their order, each once"
            );
            last = Some(place);
            let _ = entry.entry.event.signing_hash();
        }
        ControlFlow::Continue(())
    });
    if read.is_ok() {
        assert!(
            bytes.windows(5).any(|word| word == b"\"end\""),
            "without an end it is cut off"
        );
    }
}

/// A packed file is unpacked as far as anybody asks, in bounded memory.
pub(crate) fn packed(bytes: &[u8]) {
    if let Some(unpacked) = unpacked(bytes) {
        let mut out = Vec::new();
        let _ = unpacked.take(1 << 22).read_to_end(&mut out);
    }
}

/// What a watch remembers of a log.
pub(crate) fn watch_memory(bytes: &[u8]) {
    let path = scratch::file("memory.db", bytes);
    if watch_memory::is_memory(&path) {
        let _ = watch_memory::read_witness(&path);
    }
    scratch::remove(&path);
}
