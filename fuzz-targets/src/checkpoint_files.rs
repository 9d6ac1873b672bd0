//! Signed checkpoints: notes, keys, files with leaves between them, proofs, and what witnesses answer.

use checkpoints::checkpoint::Origin;
use checkpoints::file::{Entry, EntryReader};
use checkpoints::history::Collector;
use checkpoints::note::{KeyKind, Note, VerifierKey};
use checkpoints::proof::TlogProof;
use checkpoints::{Checkpoint, Policy, witness};
use ed25519_dalek::SigningKey;
use ves::log_tree::CompactRange;

/// A note, a key, a proof, an answer of a witness: each says the same when it is written and read again.
pub(crate) fn note(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    if let Ok(note) = text.parse::<Note>() {
        assert_eq!(note.to_string().parse().as_ref(), Ok(&note), "a note reads back");
        if let Ok(checkpoint) = Checkpoint::read(&note.text) {
            let again = Checkpoint::read(&checkpoint.text()).expect("a checkpoint reads back");
            assert_eq!(again, checkpoint, "it says the same");
            let key = VerifierKey::new("log", KeyKind::Log, key().verifying_key()).expect("a key");
            let _ = key.check(&note);
        }
    }
    if let Ok(key) = text.parse::<VerifierKey>() {
        assert_eq!(key.to_string(), text, "one key has one text");
    }
    if let Ok(origin) = text.parse::<Origin>() {
        assert_eq!(origin.to_string(), text, "one origin has one text");
    }
    if let Ok(proof) = text.parse::<TlogProof>() {
        assert_eq!(
            proof.to_string().parse().as_ref(),
            Ok(&proof),
            "a proof reads back"
        );
    }
    let _ = witness::cosignatures(text);
    let _ = witness::size(text);
}

fn key() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// The entry with the root that its peaks give, signed by a key that is trusted.
fn trusted(entry: Entry) -> Entry {
    let mut checkpoint = entry.checkpoint;
    if let Some(tree) = CompactRange::from_parts(checkpoint.size, entry.peaks.clone()) {
        checkpoint.root = tree.root();
    }
    Entry {
        note: checkpoint.sign(&key()),
        checkpoint,
        ..entry
    }
}

/// A file of checkpoints: its entries read back, and signed by a key that is trusted they make a history.
pub(crate) fn file(bytes: &[u8]) {
    let mut reader = EntryReader::new(bytes, 0);
    let mut signed = String::new();
    while let Some(located) = reader.next_entry().expect("bytes in memory can be read") {
        let Ok(entry) = located.entry else { continue };
        let text = entry.to_text();
        let again = EntryReader::new(text.as_bytes(), 0).next_entry();
        let again = again.expect("bytes in memory can be read").expect("an entry");
        assert_eq!(again.entry.as_ref().ok(), Some(&entry), "an entry reads back");
        signed.push_str(&trusted(entry).to_text());
    }
    assert!(
        reader.offset() <= bytes.len() as u64,
        "it ends where the file does"
    );
    let key = VerifierKey::new("fuzz.example", KeyKind::Log, key().verifying_key()).expect("a key");
    let policy = Policy::new(vec![key], Vec::new(), 0).expect("a policy");
    let mut collector = Collector::new(&policy);
    for text in [bytes, signed.as_bytes()] {
        collector
            .read("checkpoints", text)
            .expect("bytes in memory can be read");
    }
    let _ = collector.finish();
}
