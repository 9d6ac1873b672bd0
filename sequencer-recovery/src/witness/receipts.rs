//! Receipts that were saved when events were pushed.

use std::collections::HashMap;
use std::path::Path;

use event_log::StreamFilter;
use ves::{EventId, SignatureCheck, StreamKey};

use crate::finding::{Code, Finding};
use crate::floor::Witness;
use crate::grade::Grade;
use crate::witness::evidence::HeldReceipt;

use super::{Collected, Heard, HeardKind, Inputs};

pub(super) fn read_receipts(path: &Path, filter: &StreamFilter, inputs: &Inputs, collected: &mut Collected) {
    let mut heard = Heard::new(path, HeardKind::Receipts);
    let saved = match outbox_sync::receipts::read_receipts(path) {
        Ok(saved) => saved,
        Err(error) => {
            let message = format!("{}: {error}", path.display());
            collected.unreadable(heard, message);
            return;
        }
    };
    heard.rows = (saved.receipts.len() + saved.errors.len()) as u64;
    if heard.rows == 0 {
        let message = format!("{} holds no receipt: is it the right one?", path.display());
        collected.findings.push(Finding::new(Code::WitnessEmpty, message));
    }
    for error in saved.errors {
        heard.refuse(
            None,
            format!("{}, line {}", path.display(), error.line),
            error.what,
            None,
        );
    }
    let mut unchecked = 0;
    // A receipt does not name its stream: it belongs to whoever holds its event, if the hash agrees.
    let mut streams: HashMap<EventId, Vec<StreamKey>> = HashMap::new();
    for (stream, evidence) in &collected.streams {
        for candidate in &evidence.candidates {
            streams.entry(candidate.event.event_id).or_default().push(*stream);
        }
    }
    let file = path
        .file_name()
        .map_or_else(|| heard.path.clone(), |n| n.to_string_lossy().into_owned());
    for (index, receipt) in saved.receipts.into_iter().enumerate() {
        let place = format!("{file}, receipt {}", index + 1);
        match receipt.check_signature(&inputs.sequencer_keys) {
            SignatureCheck::Valid => {}
            SignatureCheck::Invalid => {
                let why = "its signature does not hold".to_owned();
                heard.refuse(Some(receipt.event_id), place, why, None);
                continue;
            }
            _ => {
                unchecked += 1;
                continue;
            }
        }
        for stream in streams
            .get(&receipt.event_id)
            .into_iter()
            .flatten()
            .filter(|s| filter.admits(s))
        {
            let evidence = collected.streams.entry(*stream).or_default();
            let matches = evidence
                .candidates_of(receipt.event_id)
                .iter()
                .any(|&c| receipt.hash_matches(stream, &evidence.candidates[c].signing_hash));
            if matches {
                heard.missing_held += 1;
                evidence.add_witness(Witness {
                    sequence: receipt.sequence_number,
                    grade: Grade::Receipted,
                    who: format!("a signed receipt in {file}"),
                    identity: String::new(),
                });
                evidence.add_receipt(HeldReceipt {
                    receipt: receipt.clone(),
                    place: place.clone(),
                });
            }
        }
    }
    if unchecked > 0 {
        let why = if inputs.sequencer_keys.is_empty() {
            "give the sequencer's public key with --sequencer-public-key"
        } else {
            "they are unsigned, of a scheme that is not known, or by a key of the sequencer (its version, or one of a hybrid's two) that was not given"
        };
        collected.not_checked.push(format!(
            "{}: signatures of {unchecked} receipt(s): {why}",
            path.display()
        ));
    }
    collected.take(heard, "receipt(s) are not used");
}
