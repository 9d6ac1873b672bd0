//! What auditors read: anchors files, what clients saved of a chain, bundles, proofs of one event.

use std::io::{Read as _, Write as _};
use std::ops::ControlFlow;

use anchor_verify::agent::AgentKey;
use anchor_verify::bundle::Bundle;
use anchor_verify::chain::{complete, examine, l1_output};
use anchor_verify::checkpointed::proof::{ProvenEvent, ReadProof};
use anchor_verify::import::{Importer, own_document};
use anchor_verify::lint::lint;
use anchor_verify::proof::ProofFile;
use anchor_verify::verify::source::LogSource as _;
use anchor_verify::verify::{VerifyInput, verify};
use anchor_verify::{AnchorStanding, AnchorsFile, ChainReport, InputKind};
use checkpoints::Policy;
use cli_common::{Cancel, NoProgress};
use flate2::Compression;
use flate2::write::GzEncoder;
use ves::{Hash32, SequencerKeys};

use crate::scratch;

/// An anchors file: what is read says the same when it is written and read again, and is judged under a block that is in it.
pub(crate) fn file(bytes: &[u8]) {
    let Ok(file) = AnchorsFile::from_json(bytes) else {
        return;
    };
    judge(&file);
    let mut text = Vec::new();
    file.write_json(&mut text).expect("memory takes all");
    let again = AnchorsFile::from_json(&text).expect("what was written is an anchors file");
    let mut twice = Vec::new();
    again.write_json(&mut twice).expect("memory takes all");
    assert_eq!(
        String::from_utf8_lossy(&twice),
        String::from_utf8_lossy(&text),
        "it says the same"
    );
}

/// Asks of a file all that can be asked without a chain, and gives the report under the newest block in it.
pub(crate) fn judge(file: &AnchorsFile) -> ChainReport {
    let trusted = file.chain.headers.iter().map(|header| header.hash).next_back();
    let report = examine(file, trusted);
    assert_eq!(
        report.standings.len(),
        file.anchors.len(),
        "each anchor is judged"
    );
    if trusted.is_none() {
        let proven = |standing: &AnchorStanding| matches!(standing, AnchorStanding::Trusted { .. });
        assert!(
            !report.standings.iter().any(proven),
            "nothing is trusted without a trusted block"
        );
    }
    let _ = complete(&mut file.clone(), trusted, &|_| true);
    let _ = lint(file, None);
    let _ = file.only(|anchor| anchor.log_index == 0);
    let merged = AnchorsFile::merge(vec![("a".into(), file.clone()), ("b".into(), file.clone())]);
    if let Ok(merged) = merged {
        assert_eq!(
            merged.anchors.len(),
            file.anchors.len(),
            "a file merged with itself is itself"
        );
    }
    report
}

/// What a client saved: logs, headers, receipts, proofs, in any form. What comes of it is an anchors file that reads back.
pub(crate) fn import(bytes: &[u8]) {
    let _ = own_document(bytes);
    let _ = l1_output::tie_output(bytes, Hash32::ZERO, None);
    let mut importer = Importer::new(None, Vec::new());
    if importer.add_json("saved", bytes).is_err() {
        return;
    }
    let import = importer.finish(&[]);
    judge(&import.file);
    let mut text = Vec::new();
    import.file.write_json(&mut text).expect("memory takes all");
    let again = AnchorsFile::from_json(&text).expect("what was imported is an anchors file");
    assert_eq!(again.anchors, import.file.anchors, "it says the same");
}

/// A proof that one event is in an anchored batch, or under a checkpoint.
pub(crate) fn proof(bytes: &[u8]) {
    let nobody = AgentKey::default();
    if let Ok(proof) = ProofFile::from_json(bytes)
        && let Ok(anchors) = proof.anchors()
    {
        let chain = judge(&anchors);
        let _ = proof.check(&anchors, &chain, &nobody);
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let event = ProvenEvent::from_line(text).ok();
    if let Ok(proof) = ReadProof::read(text) {
        let policy = Policy::new(Vec::new(), Vec::new(), 0);
        if let Ok(policy) = policy {
            let _ = proof.check(event.as_ref(), &policy, &nobody);
            let _ = proof.check(proof.event(), &policy, &nobody);
        }
    }
}

/// A bundle: as it is, and its unpacked text, packed. All that is in it is verified.
pub(crate) fn bundle(bytes: &[u8]) {
    bundle_of(bytes);
    let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).expect("memory takes all");
    let packed = packed.finish().expect("memory takes all");
    bundle_of(&packed);
    let path = scratch::file("bundle", &packed);
    let _ = anchor_verify::bundle::looks_like_bundle(&path);
}

fn bundle_of(packed: &[u8]) {
    const LIMIT: u64 = 1 << 20;
    let Ok(mut bundle) = Bundle::read("bundle", packed, LIMIT) else {
        return;
    };
    let chain = judge(&bundle.anchors);
    let input = VerifyInput {
        kind: InputKind::Bundle,
        name: "bundle",
        anchors: Some((&bundle.anchors, &chain)),
        sequencer_keys: SequencerKeys::default(),
        keys: None,
        shard: None,
    };
    let report = verify(&mut bundle.log, &input, &NoProgress, &Cancel::default());
    if let Ok(report) = report {
        let json = serde_json::to_vec(&report).expect("a report is JSON");
        anchor_verify::VerifyReport::from_json(&json).expect("a report reads back");
    }
    let mut rest = Vec::new();
    let _ = flate2::read::GzDecoder::new(packed)
        .take(LIMIT)
        .read_to_end(&mut rest);
    let _ = bundle.log.entries(&[], &mut |_| ControlFlow::Continue(()));
}
