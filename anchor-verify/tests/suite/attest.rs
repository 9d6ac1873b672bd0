//! Signed reports: who signed, what was signed, and nothing else.

use crate::common;

use anchor_verify::VerifyReport;
use anchor_verify::attest::{AttestError, SignedReport, attest};
use common::{Check, export_of, untied};
use ed25519_dalek::SigningKey;
use fixtures::{World, WorldSpec};
use serde_json::Value;
use serde_json::value::RawValue;

fn report() -> VerifyReport {
    let world = World::generate(&WorldSpec {
        events_per_stream: 20,
        batch_size: 6,
        ..WorldSpec::honest(2)
    });
    let anchors = world.anchors_file();
    Check {
        anchors: Some((&anchors, &untied(&anchors))),
        sequencer_keys: Default::default(),
        shard: None,
    }
    .text(&export_of(&world))
}

#[test]
fn a_signature_holds_for_the_content_and_for_nothing_else() {
    let report = report();
    let key = SigningKey::from_bytes(&[9; 32]);
    let text = serde_json::to_string_pretty(&report).unwrap();
    let signed = attest(&text, &key).unwrap();
    assert_eq!(signed.check(&key.verifying_key()).unwrap(), report);
    let written = serde_json::to_vec(&signed).unwrap();
    let signed = SignedReport::from_json(&written).unwrap();
    assert_eq!(signed.check(&key.verifying_key()).unwrap(), report);

    // Another rendering of the same is the same.
    let with = |text: String| SignedReport {
        report: RawValue::from_string(text).unwrap(),
        ..signed.clone()
    };
    let sorted: Value = serde_json::from_str(&text).unwrap();
    assert!(with(sorted.to_string()).check(&key.verifying_key()).is_ok());
    // Another content is not.
    let change = |change: &dyn Fn(&mut Value)| {
        let mut value = sorted.clone();
        change(&mut value);
        with(value.to_string()).check(&key.verifying_key()).unwrap_err()
    };
    assert_eq!(
        change(&|v| v["input"]["name"] = "other".into()),
        AttestError::Signature
    );
    assert_eq!(
        change(&|v| v["verdict"] = "PROVEN".into()),
        AttestError::Signature
    );
    assert_eq!(change(&|v| v["more"] = 1.into()), AttestError::Signature);
    let twice = text.replacen("\"schema\"", "\"verdict\": \"PROVEN\", \"schema\"", 1);
    assert!(matches!(
        with(twice).check(&key.verifying_key()),
        Err(AttestError::NotAReport(_))
    ));
    // Nor another key, whoever is said to have signed.
    let other = SigningKey::from_bytes(&[8; 32]).verifying_key();
    assert!(matches!(signed.check(&other), Err(AttestError::OtherKey { .. })));
    let claimed = SignedReport {
        public_key: ves::Hash32(other.to_bytes()),
        ..signed.clone()
    };
    assert_eq!(claimed.check(&other), Err(AttestError::Signature));
    let mut bent = signed.clone();
    bent.signature.0[3] ^= 1;
    assert_eq!(bent.check(&key.verifying_key()), Err(AttestError::Signature));
}

#[test]
fn what_cannot_be_signed_unambiguously_is_not_signed() {
    let key = SigningKey::from_bytes(&[9; 32]);
    for text in ["", "{}", "null", r#"{"schema":"verify-report/2"}"#] {
        assert!(
            matches!(attest(text, &key), Err(AttestError::NotAReport(_))),
            "{text}"
        );
    }
    // A number that the canonical form cannot tell from its neighbour.
    let mut report = report();
    report.input.chain_id = Some((1 << 53) + 1);
    let text = serde_json::to_string(&report).unwrap();
    assert_eq!(
        attest(&text, &key).unwrap_err(),
        AttestError::Number("9007199254740993".into())
    );
    assert!(SignedReport::from_json(b"{}").is_err());
    let other = r#"{"schema":"signed-report/2","public_key":"","signature":"","report":{}}"#;
    assert!(SignedReport::from_json(other.as_bytes()).is_err());
}
