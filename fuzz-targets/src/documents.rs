//! Small JSON documents: reports, certificates, epochs, timelines, keys.

use std::path::Path;

use anchor_verify::VerifyReport;
use anchor_verify::attest::SignedReport;
use anchor_verify::pins::KeyPins;
use checkpoints::epoch::RecoveryEpoch;
use cli_common::incident::timeline::Timeline;
use ed25519_dalek::SigningKey;
use outbox_sync::{KeyBook, KeySource};
use sequencer_recovery::dr_report::DrReport;
use sequencer_recovery::incident::facts::{Report, brought};
use sequencer_recovery::incident::manifest::SignedManifest;
use sequencer_recovery::report::loss::{self, SignedLossCertificate};

use crate::scratch;

fn stranger() -> SigningKey {
    SigningKey::from_bytes(&[9; 32])
}

/// What an incident's folder, a drill or an auditor keeps. A signature by a stranger never holds by chance.
pub(crate) fn documents(bytes: &[u8]) {
    let key = stranger().verifying_key();
    let timeline = Timeline::read(bytes);
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    assert!(
        timeline.entries.len() + timeline.faults.len() >= lines.count(),
        "each line is an entry or a fault"
    );
    let _ = brought(&[Report::read(bytes)]);
    let _ = DrReport::read(bytes);
    if let Ok(report) = VerifyReport::from_json(bytes) {
        let _ = report.exit_status();
        let _ = VerifyReport::merge(vec![("a".into(), report.clone()), ("b".into(), report)]);
    }
    if let Ok(signed) = SignedReport::from_json(bytes) {
        assert!(signed.check(&key).is_err(), "nobody has signed it");
    }
    if let Ok(manifest) = serde_json::from_slice::<SignedManifest>(bytes) {
        assert!(!manifest.verifies(&key), "nobody has signed it");
        let _ = manifest.sums();
    }
    if let Ok(certificate) = serde_json::from_slice::<SignedLossCertificate>(bytes) {
        assert!(!certificate.verifies(&key), "nobody has signed it");
        let _ = loss::markdown(&certificate);
    }
}

/// A recovery epoch: what is taken says the same when it is written and read again.
pub(crate) fn epoch(bytes: &[u8]) {
    let read = |bytes: &[u8]| RecoveryEpoch::read(&scratch::file("epoch", bytes));
    let Ok(epoch) = read(bytes) else { return };
    let key = stranger().verifying_key();
    let _ = (epoch.check_signature(None), epoch.check_signature(Some(&key)));
    let _ = epoch.hash();
    let text = epoch.to_json().expect("what was read can be written");
    assert_eq!(read(&text).ok().as_ref(), Some(&epoch), "it says the same");
}

/// Files of keys: agents' and auditors', and keys as they are given on a command line.
pub(crate) fn keys(bytes: &[u8]) {
    let _ = KeyPins::from_json(bytes);
    let path = scratch::file("keys", bytes);
    let mut book = KeyBook::default();
    if book.add_file(&path).is_ok() {
        let _ = book.registry().len();
    }
    let _ = KeySource::File.name();
    of_command_line(&path);
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = cli_common::keys::split_version(text);
    }
}

fn of_command_line(path: &Path) {
    let name = path.display().to_string();
    let _ = cli_common::keys::read_key_of_either_kind("--key", &name);
    let _ = cli_common::keys::read_signing_key(path);
    let _ = cli_common::keys::read_signing_parts(path);
}
