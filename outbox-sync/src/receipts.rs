//! Receipts that were saved from the sequencer's answers to a push, as evidence: NDJSON, one receipt a
//! line, in the form of the answer.
//!
//! ```json
//! {"sequencerId":"…","eventId":"…","sequenceNumber":7,"sequencedAt":"2026-11-20T05:34:20.758654466+00:00","receiptHash":"…","signatureAlg":"ed25519","sequencerSignature":"…","sequencerKeyVersion":0,"receiptSignatureScheme":1}
//! ```

use std::borrow::Cow;
use std::io::{self, BufRead};
use std::ops::ControlFlow;
use std::path::Path;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;
use ves::{EventId, Hash32, Receipt, SequencerId, SignatureBytes, Timestamp};

use crate::lines::for_each_line;

/// The longest line that is read. A receipt with an Ed25519 signature has about 500 bytes, one with ML-DSA-65 some 13,000.
pub const MAX_LINE_BYTES: usize = 1 << 20;

pub use crate::lines::LineError;

/// All receipts of a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SavedReceipts {
    /// Those that could be read. Neither their hashes nor their signatures are checked.
    pub receipts: Vec<Receipt>,
    /// The lines that could not.
    pub errors: Vec<LineError>,
}

/// A receipt as the sequencer's HTTP answers render it. Fields that are not known are passed over: later
/// sequencers may add some, and what a receipt promises is in its hash.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReceiptJson {
    sequencer_id: SequencerId,
    event_id: EventId,
    sequence_number: u64,
    sequenced_at: Timestamp,
    receipt_hash: Hash32,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_alg: Option<String>,
    /// Of a receipt that it did not sign, or that was restored without its key, the sequencer says `""`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    sequencer_signature: Option<SignatureBytes>,
    #[serde(default)]
    sequencer_key_version: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    receipt_signature_scheme: Option<i16>,
    /// Of schemes 2 and 3, as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    receipt_signature_bundle: Option<Box<RawValue>>,
}

/// What there is, if it is not empty.
fn given<'de, D: Deserializer<'de>>(value: D) -> Result<Option<SignatureBytes>, D::Error> {
    let text = Option::<Cow<'de, str>>::deserialize(value)?;
    match text.as_deref() {
        None | Some("") => Ok(None),
        Some(text) => text.parse().map(Some).map_err(D::Error::custom),
    }
}

impl ReceiptJson {
    pub(crate) fn into_receipt(self) -> Result<Receipt, String> {
        if self.sequence_number == 0 || i64::try_from(self.sequence_number).is_err() {
            return Err(format!(
                "sequenceNumber is {}, which no event can have",
                self.sequence_number
            ));
        }
        let unsigned = self.sequencer_signature.is_none();
        let ed25519 = self.signature_alg.as_deref().is_none_or(|alg| {
            alg.eq_ignore_ascii_case("ed25519") || unsigned && alg.eq_ignore_ascii_case("none")
        });
        let receipt_signature_scheme = match (self.receipt_signature_scheme, ed25519) {
            (Some(scheme), _) => scheme,
            (None, true) => 1,
            (None, false) => return Err("signatureAlg is not ed25519, and no receiptSignatureScheme".into()),
        };
        Ok(Receipt {
            event_id: self.event_id,
            sequencer_id: self.sequencer_id,
            sequence_number: self.sequence_number,
            sequenced_at: self.sequenced_at,
            receipt_hash: self.receipt_hash,
            sequencer_signature: self.sequencer_signature,
            sequencer_key_version: self.sequencer_key_version,
            receipt_signature_scheme,
            receipt_signature_bundle: self
                .receipt_signature_bundle
                .map(|json| Box::<str>::from(json).into_string().into_bytes()),
        })
    }
}

/// Hands over every receipt, one at a time. A bad line is handed over as an error and does not stop the others;
/// `Break` does. Empty lines are passed over.
///
/// # Errors
/// The input cannot be read.
pub fn for_each_receipt(
    input: impl BufRead,
    each: &mut dyn FnMut(Result<Receipt, LineError>) -> ControlFlow<()>,
) -> io::Result<()> {
    for_each_line(input, MAX_LINE_BYTES, &mut |line, text| {
        each(text.and_then(|text| {
            serde_json::from_slice::<ReceiptJson>(text)
                .map_err(|e| format!("not a receipt: {e}"))
                .and_then(ReceiptJson::into_receipt)
                .map_err(|what| LineError { line, what })
        }))
    })
}

/// Reads a whole file of receipts.
///
/// # Errors
/// The file cannot be read.
pub fn read_receipts(path: &Path) -> io::Result<SavedReceipts> {
    let mut saved = SavedReceipts::default();
    for_each_receipt(cli_common::files::open_text(path)?, &mut |outcome| {
        match outcome {
            Ok(receipt) => saved.receipts.push(receipt),
            Err(error) => saved.errors.push(error),
        }
        ControlFlow::Continue(())
    })?;
    Ok(saved)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{"sequencerId":"5e9e0000-0000-4000-8000-000000000001","eventId":"68c04cc9-da4b-591d-a1b6-c96c3cdd4510","sequenceNumber":1,"sequencedAt":"2026-11-20T05:34:20.758654466+00:00","receiptHash":"f27387e55cadd9229cfa9c5ed275ca8cc55085d460757ae20a95bf9837b51beb","signatureAlg":"ed25519","sequencerKeyVersion":0,"later":true}"#;

    #[test]
    fn bad_lines_are_named_and_the_rest_is_read() {
        let long = format!("\"{}\"", "x".repeat(MAX_LINE_BYTES));
        let zero = GOOD.replace(":1,", ":0,");
        let negative = GOOD.replace(":1,", ":-1,");
        let other_alg = GOOD.replace("ed25519", "rot13");
        let twice = GOOD.replace("\"later\":true", "\"sequenceNumber\":2");
        let lines = [
            GOOD, "", "{}", &long, &zero, &negative, "\u{0}", &other_alg, &twice, GOOD,
        ];
        let mut bad = Vec::new();
        let mut good = 0;
        for_each_receipt(lines.join("\n").as_bytes(), &mut |outcome| {
            match outcome {
                Ok(receipt) => {
                    assert_eq!(receipt.sequenced_at.to_string(), "2026-11-20T05:34:20.758654Z");
                    assert_eq!(
                        (receipt.receipt_signature_scheme, receipt.sequencer_signature),
                        (1, None)
                    );
                    good += 1;
                }
                Err(error) => bad.push(error.line),
            }
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!((good, bad), (2, vec![3, 4, 5, 6, 7, 8, 9]));
    }

    #[test]
    fn a_receipt_without_a_signature_is_one() {
        let read = |text: &str| {
            let receipt = serde_json::from_str::<ReceiptJson>(text).map_err(|e| e.to_string())?;
            receipt.into_receipt()
        };
        let unsigned = GOOD.replace("\"ed25519\"", "\"none\",\"sequencerSignature\":\"\"");
        let null = GOOD.replace("\"ed25519\"", "\"none\",\"sequencerSignature\":null");
        let escaped = unsigned.replace("none", "n\\u006fne");
        for text in [&unsigned, &null, &escaped] {
            assert_eq!(read(text), read(GOOD), "{text}");
        }
        let signature = "ab".repeat(64);
        let signed = GOOD.replace(
            "\"ed25519\"",
            &format!("\"ed25519\",\"sequencerSignature\":\"{signature}\""),
        );
        assert_eq!(read(&signed).unwrap().sequencer_signature, signature.parse().ok());
        // What is signed says by what, and what is there is a signature.
        for bad in [
            signed.replace("ed25519", "none"),
            unsigned.replace("none", "rot13"),
            signed.replace(&signature, "ab"),
            signed.replace(&signature, " "),
        ] {
            assert!(read(&bad).is_err(), "{bad}");
        }
    }
}
