//! What `outbox-sync` reads: exports and their manifests, events as JSON, receipts.

use std::ops::ControlFlow;
use std::path::Path;

use outbox_sync::export::{Export, event_line, manifest_path};
use outbox_sync::receipts::for_each_receipt;
use outbox_sync::row::Item;
use outbox_sync::source::looks_like_export;
use outbox_sync::wire::WireEvent;
use sequencer_recovery::witness::flaw::flaw;
use sha2::{Digest as _, Sha256};
use ves::post_quantum::SignatureBundle;

use crate::scratch;
use crate::words::hex;

/// An export without events.
const EMPTY_EXPORT: &[u8] = b"{\"type\":\"header\",\"schema\":\"event-export/1\"}\n";

/// An export, in either form. Each event that is read says the same when it is written and read once more.
pub(crate) fn export(bytes: &[u8]) {
    let path = scratch::file("export", bytes);
    let _ = looks_like_export(&path);
    let mut lines = EMPTY_EXPORT.to_vec();
    let mut events = Vec::new();
    for item in items(&path) {
        let event = item.row.content.event().expect("exports hold signed events");
        lines.extend(event_line(&item.row, event).expect("what was read as JSON can be written so"));
        lines.push(b'\n');
        events.push(item.row);
    }
    let again: Vec<_> = items(&scratch::file("export-again", &lines))
        .into_iter()
        .map(|item| item.row)
        .collect();
    assert_eq!(again, events, "it says the same");
}

fn items(path: &Path) -> Vec<Item> {
    let mut items = Vec::new();
    if let Ok(export) = Export::open(path) {
        let _ = export.for_each(&mut |item| {
            items.extend(item.ok());
            ControlFlow::Continue(())
        });
    }
    items
}

/// The manifest beside an export.
pub(crate) fn manifest(bytes: &[u8]) {
    let path = scratch::file("exported", EMPTY_EXPORT);
    let beside = manifest_path(&path);
    std::fs::write(&beside, bytes).expect("a scratch file");
    let export = Export::open(&path).expect("the export itself is sound");
    if let (Some(manifest), None) = (export.manifest(), export.manifest_flaw()) {
        let sum = hex(&Sha256::digest(EMPTY_EXPORT));
        assert_eq!(manifest.sha256.to_ascii_lowercase(), sum, "it is of this export");
        assert_eq!(manifest.bytes, EMPTY_EXPORT.len() as u64, "and knows its length");
    }
    scratch::remove(&path);
}

/// An event in the form of the sequencer's ingest: its hashes, and what the sequencer would find wrong with it.
pub(crate) fn event(bytes: &[u8]) {
    let Ok(wire) = serde_json::from_slice::<WireEvent>(bytes) else {
        return;
    };
    let Ok(event) = wire.into_event() else { return };
    let _ = event.signing_hash();
    let _ = event.check_payload();
    let _ = flaw(&event);
    if let Some(bundle) = &event.agent_signature_bundle {
        let _ = SignatureBundle::read(bundle);
    }
    let wire = WireEvent::new(&event).expect("what was read as JSON can be written so");
    let text = serde_json::to_string(&wire).expect("it is JSON");
    let again: WireEvent = serde_json::from_str(&text).expect("it reads back");
    let again = again.into_event().expect("it is an event");
    assert_eq!(again.signing_hash(), event.signing_hash(), "it is the same event");
}

/// Receipts that were saved from answers.
pub(crate) fn receipts(bytes: &[u8]) {
    let mut numbers = 0;
    let read = for_each_receipt(bytes, &mut |receipt| {
        if let Ok(receipt) = receipt {
            numbers += 1;
            assert!(receipt.sequence_number >= 1, "no event has the number 0");
            assert!(
                i64::try_from(receipt.sequence_number).is_ok(),
                "a log can hold its number"
            );
        }
        ControlFlow::Continue(())
    });
    read.expect("bytes in memory can be read");
    assert!(numbers <= bytes.len(), "each takes some bytes");
}
