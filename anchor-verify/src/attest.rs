//! Verification reports that somebody puts their name to, so that they can be handed on. The form is described in
//! `docs/verify.md`.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use ves::digest::Preimage;
use ves::{Hash32, SignatureBytes, jcs};

use crate::verify::VerifyReport;

/// The form that this version writes, and the only one that it reads.
pub const SCHEMA: &str = "signed-report/1";

/// The domain of what is signed.
const DOMAIN: &str = "ANCHOR_VERIFY_REPORT_V1";

/// Beyond this, numbers that differ have one canonical form.
const MAX_SAFE: u64 = 1 << 53;

/// The content of a signed report.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignedReport {
    /// [`SCHEMA`].
    pub schema: String,
    /// The public key of who signed. Whether to trust it is for the reader to know.
    pub public_key: Hash32,
    /// Ed25519 over SHA-256(`ANCHOR_VERIFY_REPORT_V1` ‖ JCS(report)).
    pub signature: SignatureBytes,
    /// What is signed: the text of a verification report.
    pub report: Box<RawValue>,
}

/// Why a report cannot be signed, or a signed one not be accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttestError {
    /// It is not a report, or not a signed one.
    #[error("{0}")]
    NotAReport(String),
    /// It has numbers that the canonical form cannot tell apart.
    #[error("the report holds the number {0}, which its canonical form cannot tell from others")]
    Number(String),
    /// It is signed by another key.
    #[error("it is signed with the key {found}, not with {expected}")]
    OtherKey {
        /// Whose signature was expected.
        expected: Hash32,
        /// Whose it is said to be.
        found: Hash32,
    },
    /// The signature does not hold.
    #[error("the signature does not hold: the report was altered, or the key is another")]
    Signature,
}

/// What is signed.
fn digest(report: &str) -> Result<Hash32, AttestError> {
    let value: Value = serde_json::from_str(report).map_err(|e| AttestError::NotAReport(e.to_string()))?;
    check_numbers(&value)?;
    let canonical = jcs::canonicalize(report).map_err(|e| AttestError::NotAReport(e.to_string()))?;
    Ok(Preimage::new(DOMAIN).bytes(canonical.as_bytes()).finish())
}

fn check_numbers(value: &Value) -> Result<(), AttestError> {
    match value {
        Value::Number(number) if number.as_u64().is_none_or(|n| n > MAX_SAFE) => {
            Err(AttestError::Number(number.to_string()))
        }
        Value::Array(items) => items.iter().try_for_each(check_numbers),
        Value::Object(members) => members.values().try_for_each(check_numbers),
        _ => Ok(()),
    }
}

/// Signs the text of a verification report.
///
/// # Errors
/// What is not a report, or has no canonical form that says all of it.
pub fn attest(report: &str, key: &SigningKey) -> Result<SignedReport, AttestError> {
    VerifyReport::from_json(report.as_bytes()).map_err(AttestError::NotAReport)?;
    let digest = digest(report)?;
    let report =
        RawValue::from_string(report.to_owned()).map_err(|e| AttestError::NotAReport(e.to_string()))?;
    Ok(SignedReport {
        schema: SCHEMA.to_owned(),
        public_key: Hash32(key.verifying_key().to_bytes()),
        signature: SignatureBytes(key.sign(&digest.0).to_bytes()),
        report,
    })
}

impl SignedReport {
    /// Reads the text of a signed report.
    ///
    /// # Errors
    /// What is not one of this form.
    pub fn from_json(bytes: &[u8]) -> Result<Self, AttestError> {
        let signed: Self = serde_json::from_slice(bytes)
            .map_err(|e| AttestError::NotAReport(format!("not a signed report: {e}")))?;
        if signed.schema != SCHEMA {
            let found: String = signed.schema.chars().take(60).collect();
            let what = format!("has the schema {found:?}; this version reads {SCHEMA:?}");
            return Err(AttestError::NotAReport(what));
        }
        Ok(signed)
    }

    /// The report, if the signature by this key holds.
    ///
    /// # Errors
    /// See [`AttestError`].
    pub fn check(&self, key: &VerifyingKey) -> Result<VerifyReport, AttestError> {
        let expected = Hash32(key.to_bytes());
        if self.public_key != expected {
            return Err(AttestError::OtherKey {
                expected,
                found: self.public_key,
            });
        }
        let digest = digest(self.report.get())?;
        key.verify_strict(&digest.0, &Signature::from_bytes(&self.signature.0))
            .map_err(|_| AttestError::Signature)?;
        VerifyReport::from_json(self.report.get().as_bytes()).map_err(AttestError::NotAReport)
    }
}
