//! The loss certificate: which positions a plan leaves open, what is known of each, and where was searched. A
//! document to be kept and handed on; signed if a key is given.

use std::fmt::Write as _;

use cli_common::escape_controls;
use cli_common::provenance::Provenance;
use ed25519_dalek::Signer;
use event_log::Place;
use serde::{Deserialize, Serialize};
use ves::{AgentId, Hash32, SignatureBytes, StreamKey, Timestamp, jcs};

use crate::damage::NotPlanned;
use crate::grade::Grade;
use crate::plan::plan_file::PlanFile;
use crate::plan::planned::loss_hash;
use crate::plan::planned::{PlanLine, PlannedOpen};
use crate::sealed_file::SealedFileError;
use crate::witness::Incomplete;

/// The document's name and version; described in docs/loss-certificate.md.
pub const SCHEMA: &str = "loss-certificate/1";

/// What could not be brought back.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LossCertificate {
    /// [`SCHEMA`].
    pub schema: String,
    /// The plan that it speaks of.
    pub plan_id: Hash32,
    /// When that plan was made.
    pub made_at: Timestamp,
    /// What made it.
    pub tool: String,
    /// Where the certificate itself comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Provenance>,
    /// The log, without secrets.
    pub db: String,
    /// Where it was looked at; plans of older releases do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The weakest grade that the plan uses.
    pub accept: String,
    /// Where was searched.
    pub evidence_searched: Vec<String>,
    /// Of these, what could not be read, or not to its end.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub incomplete: Vec<Incomplete>,
    /// Positions that nobody who was heard can fill.
    pub lost: u64,
    /// Positions that somebody names an event for, without enough evidence.
    pub undecided: u64,
    /// How many of both the plan fills with tombstones; they are lost all the same.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub filled: u64,
    /// The streams concerned.
    pub streams: Vec<StreamLoss>,
    /// Streams of which nothing is certified: the plan left them alone, since the database under them is damaged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub not_planned: Vec<NotPlanned>,
}

/// One stream's open positions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StreamLoss {
    /// The stream.
    #[serde(flatten)]
    pub stream: StreamKey,
    /// Where the recovered log ended.
    pub head_before: u64,
    /// Where its counter stands with the plan.
    pub counter_after: Option<u64>,
    /// Agents of this stream that were not heard: they may hold what is missing.
    pub agents_not_heard: Vec<AgentId>,
    /// The positions, with what is known of each.
    pub positions: Vec<PlannedOpen>,
    /// See [`loss_hash`]. Tombstones of the same plan carry it too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss_hash: Option<Hash32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for this signature")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// A certificate and who vouches for it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SignedLossCertificate {
    /// The certificate.
    pub certificate: LossCertificate,
    /// The signer's Ed25519 public key; absent if it is not signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub public_key: Option<Hash32>,
    /// Ed25519 over `SEQUENCER_RECOVERY_LOSS_V1` ‖ the canonical JSON (RFC 8785) of `certificate`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature: Option<SignatureBytes>,
}

/// Domain prefix of the signature.
const DOMAIN: &[u8] = b"SEQUENCER_RECOVERY_LOSS_V1";

/// Draws the certificate up from a plan.
///
/// # Errors
/// See [`SealedFileError`].
pub fn certificate(plan: &PlanFile) -> Result<LossCertificate, SealedFileError> {
    let header = plan.header();
    let mut certificate = LossCertificate {
        schema: SCHEMA.into(),
        plan_id: plan.id(),
        made_at: header.made_at,
        tool: header.tool.clone(),
        provenance: None,
        db: header.db.clone(),
        place: header.place.as_deref().cloned(),
        accept: header.accept.clone(),
        evidence_searched: header.witnesses.clone(),
        incomplete: header.incomplete.clone(),
        lost: 0,
        undecided: 0,
        filled: 0,
        streams: Vec::new(),
        not_planned: header.not_planned.clone(),
    };
    plan.read(|line| {
        match line {
            PlanLine::Stream(stream) => certificate.streams.push(StreamLoss {
                stream: stream.stream,
                head_before: stream.head_before,
                counter_after: stream.counter_after,
                agents_not_heard: stream.not_heard,
                positions: Vec::new(),
                loss_hash: None,
            }),
            PlanLine::Open(open) => {
                let sum = if open.grade == Grade::Lost {
                    &mut certificate.lost
                } else {
                    &mut certificate.undecided
                };
                *sum = sum.saturating_add(open.count());
                if open.filled {
                    certificate.filled = certificate.filled.saturating_add(open.count());
                }
                // The structure was checked when the plan was opened: a stream stands before.
                if let Some(stream) = certificate.streams.last_mut() {
                    stream.positions.push(open);
                }
            }
            _ => {}
        }
        Ok(())
    })?;
    certificate.streams.retain(|s| !s.positions.is_empty());
    for stream in &mut certificate.streams {
        // Text without a canonical form was never planned.
        stream.loss_hash = loss_hash(&stream.stream, &stream.positions).ok();
    }
    Ok(certificate)
}

/// Signs a certificate, or leaves it unsigned.
pub fn sign(
    certificate: LossCertificate,
    key: Option<&ed25519_dalek::SigningKey>,
) -> Result<SignedLossCertificate, jcs::JcsError> {
    let Some(key) = key else {
        return Ok(SignedLossCertificate {
            certificate,
            public_key: None,
            signature: None,
        });
    };
    let message = message(&certificate)?;
    Ok(SignedLossCertificate {
        certificate,
        public_key: Some(Hash32(key.verifying_key().to_bytes())),
        signature: Some(SignatureBytes(key.sign(&message).to_bytes())),
    })
}

impl SignedLossCertificate {
    /// Whether it is signed by `key`.
    pub fn verifies(&self, key: &ed25519_dalek::VerifyingKey) -> bool {
        use ed25519_dalek::Verifier;
        let (Some(signature), Ok(message)) = (&self.signature, message(&self.certificate)) else {
            return false;
        };
        self.public_key == Some(Hash32(key.to_bytes()))
            && key
                .verify(&message, &ed25519_dalek::Signature::from_bytes(&signature.0))
                .is_ok()
    }
}

fn message(certificate: &LossCertificate) -> Result<Vec<u8>, jcs::JcsError> {
    let json = serde_json::to_string(certificate)?;
    Ok([DOMAIN, jcs::canonicalize(&json)?.as_bytes()].concat())
}

/// Neighbours of which the same is known, as one.
fn joined(positions: &[PlannedOpen]) -> Vec<PlannedOpen> {
    let mut joined: Vec<PlannedOpen> = Vec::new();
    for open in positions {
        match joined.last_mut() {
            Some(last)
                if last.to.checked_add(1) == Some(open.from)
                    && (last.grade, last.filled, &last.batch, &last.reason)
                        == (open.grade, open.filled, &open.batch, &open.reason) =>
            {
                last.to = open.to;
            }
            _ => joined.push(open.clone()),
        }
    }
    joined
}

/// The certificate for people.
pub fn markdown(signed: &SignedLossCertificate) -> String {
    let c = &signed.certificate;
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# Loss certificate\n");
    let _ = writeln!(
        text,
        "Plan {}, made {} by {} for {}.\n",
        c.plan_id,
        c.made_at,
        escape_controls(&c.tool),
        escape_controls(&c.db)
    );
    let _ = writeln!(
        text,
        "**{} position(s) are lost** as far as anybody who was heard knows. For {} more an event is named, without \
         the evidence that was asked for (`{}` or better).\n",
        c.lost, c.undecided, c.accept
    );
    if c.filled > 0 {
        let _ = writeln!(
            text,
            "{} of these positions are filled with tombstones: the log can be read across them, and what stood there is \
             lost all the same.\n",
            c.filled
        );
    }
    let _ = writeln!(text, "## Where was searched\n");
    for witness in &c.evidence_searched {
        let _ = writeln!(text, "- `{}`", escape_controls(witness));
    }
    if c.evidence_searched.is_empty() {
        let _ = writeln!(text, "- nowhere but in the log itself");
    }
    for missing in &c.incomplete {
        let _ = writeln!(
            text,
            "- NOT READ, or not to its end: `{}`: {}",
            escape_controls(&missing.witness),
            escape_controls(&missing.reason)
        );
    }
    for left in &c.not_planned {
        let _ = writeln!(text, "\n## Stream {}\n", left.stream);
        let _ = writeln!(
            text,
            "Nothing is certified of it: {}.",
            escape_controls(&left.why)
        );
    }
    for stream in &c.streams {
        let _ = writeln!(text, "\n## Stream {}\n", stream.stream);
        let counter = stream
            .counter_after
            .map_or_else(|| "missing".into(), |n| n.to_string());
        let _ = writeln!(
            text,
            "The recovered log ended at {}; the counter is {counter}.\n",
            stream.head_before
        );
        for agent in &stream.agents_not_heard {
            let _ = writeln!(text, "Agent {agent} was not heard.\n");
        }
        let _ = writeln!(
            text,
            "| positions | grade | batch | what is known |\n|---|---|---|---|"
        );
        for open in joined(&stream.positions) {
            let at = if open.from == open.to {
                open.from.to_string()
            } else {
                format!("{}-{}", open.from, open.to)
            };
            let batch = match &open.batch {
                Some(batch) if batch.anchored => format!("{} (anchored)", batch.batch_id),
                Some(batch) => format!("{} (committed only)", batch.batch_id),
                None => "none".into(),
            };
            let filled = if open.filled { ", tombstone" } else { "" };
            let _ = writeln!(
                text,
                "| {at} | {}{filled} | {batch} | {} |",
                open.grade,
                escape_controls(&open.reason).replace('|', "\\|")
            );
        }
    }
    match (&signed.public_key, &signed.signature) {
        (Some(key), Some(signature)) => {
            let _ = writeln!(text, "\nThe JSON form is signed by {key}:\n`{signature}`");
        }
        _ => {
            let _ = writeln!(text, "\nNot signed.");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn certificate() -> LossCertificate {
        let open = |from, to, grade, reason: &str| PlannedOpen {
            from,
            to,
            grade,
            reason: reason.into(),
            rivals: vec![],
            batch: None,
            filled: false,
        };
        LossCertificate {
            schema: SCHEMA.into(),
            plan_id: Hash32([1; 32]),
            provenance: None,
            made_at: Timestamp(0),
            tool: "test".into(),
            db: "log.db".into(),
            place: None,
            accept: "receipted".into(),
            evidence_searched: vec!["alpha.db".into()],
            incomplete: vec![],
            lost: 2,
            undecided: 2,
            filled: 0,
            streams: vec![StreamLoss {
                stream: StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into()),
                head_before: 3,
                counter_after: Some(7),
                agents_not_heard: vec![AgentId(Uuid::from_u128(9))],
                positions: vec![
                    open(4, 4, Grade::Claimed, "claimed by alpha.db"),
                    open(5, 5, Grade::Claimed, "claimed by alpha.db"),
                    open(6, 7, Grade::Lost, "a | b\n# \u{1b}[2J"),
                ],
                loss_hash: None,
            }],
            not_planned: Vec::new(),
        }
    }

    #[test]
    fn a_signature_holds_for_its_certificate_and_key_only() {
        let key = ed25519_dalek::SigningKey::from_bytes(&[5; 32]);
        let other = ed25519_dalek::SigningKey::from_bytes(&[6; 32]);
        let signed = sign(certificate(), Some(&key)).unwrap();
        let json = serde_json::to_string(&signed).unwrap();
        let read: SignedLossCertificate = serde_json::from_str(&json).unwrap();
        assert_eq!(read, signed);
        assert!(read.verifies(&key.verifying_key()));
        assert!(!read.verifies(&other.verifying_key()));
        let mut altered = read;
        altered.certificate.lost = 1;
        assert!(!altered.verifies(&key.verifying_key()));
        assert!(!sign(certificate(), None).unwrap().verifies(&key.verifying_key()));
    }

    #[test]
    fn people_read_ranges_and_who_was_not_heard() {
        let text = markdown(&sign(certificate(), None).unwrap());
        assert!(
            text.contains("| 4-5 | claimed | none | claimed by alpha.db |"),
            "{text}"
        );
        assert!(
            text.contains("| 6-7 | lost | none | a \\| b\\n# \\u{1b}[2J |"),
            "{text}"
        );
        assert!(text.contains("Agent 00000000-0000-0000-0000-000000000009 was not heard."));
        assert!(text.contains("**2 position(s) are lost**") && text.contains("Not signed."));
    }
}
