//! What verifies: a verdict for each row of an outbox or an export.

use rayon::prelude::*;
use serde::Serialize;
use ves::{EventCheck, EventId, Hash32, SignatureCheck, StreamKey};

use crate::check::{CheckVerdict, RowCheck, check_held};
use crate::keys::{KeyBook, KeySource};
use crate::rendering::RenderingSearch;
use crate::row::{Content, Item, Origin, OutboxStatus};

/// The verdict on a row in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verification {
    /// The payload hash and the signature hold.
    Holds,
    /// One of them does not, or the key was not valid at the time.
    Fails,
    /// The signature was not checked: no such key, a scheme that is not known, or no rendering found. Never a pass.
    NotChecked,
    /// Nobody signed it: a pointer at best.
    Unsigned,
    /// It cannot be read as an event.
    Malformed,
}

impl From<CheckVerdict> for Verification {
    fn from(verdict: CheckVerdict) -> Self {
        match verdict {
            CheckVerdict::Holds => Self::Holds,
            CheckVerdict::Fails => Self::Fails,
            CheckVerdict::NotChecked => Self::NotChecked,
        }
    }
}

/// The verdict on a row.
#[derive(Debug, Clone, Serialize)]
pub struct RowVerdict {
    /// Where it lies.
    pub place: String,
    /// The event that it is, or says it is.
    pub event_id: EventId,
    /// Its stream.
    pub stream: StreamKey,
    /// The number that its holder claims for it.
    pub claimed_sequence: Option<u64>,
    /// The verdict.
    pub verdict: Verification,
    /// Why it is not [`Verification::Holds`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether the payload hash holds: the plain hash of a plaintext payload, the cipher hash of an encrypted one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub payload_hash_holds: Option<bool>,
    /// Whether the signature holds, whatever is to be said about its key; missing if it was not checked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signature_holds: Option<bool>,
    /// The signing hash, recomputed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signing_hash: Option<Hash32>,
    /// Which of its agent's keys signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub agent_key_id: Option<u32>,
    /// Where that key is known from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_from: Option<KeySource>,
    /// That what was signed was found again, since the outbox kept another rendering of it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub rendering_found: bool,
}

/// Verdicts in figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct VerdictCounts {
    /// See [`Verification::Holds`].
    pub holds: u64,
    /// See [`Verification::Fails`].
    pub fails: u64,
    /// See [`Verification::NotChecked`].
    pub not_checked: u64,
    /// See [`Verification::Unsigned`].
    pub unsigned: u64,
    /// See [`Verification::Malformed`], and rows that do not even name their event.
    pub malformed: u64,
    /// How many of the rows hold since what was signed was found again.
    pub renderings_found: u64,
}

impl VerdictCounts {
    /// Counts a verdict.
    pub fn add(&mut self, verdict: &RowVerdict) {
        *match verdict.verdict {
            Verification::Holds => &mut self.holds,
            Verification::Fails => &mut self.fails,
            Verification::NotChecked => &mut self.not_checked,
            Verification::Unsigned => &mut self.unsigned,
            Verification::Malformed => &mut self.malformed,
        } += 1;
        self.renderings_found += u64::from(verdict.rendering_found);
    }

    /// Adds the figures of another file.
    pub fn add_all(&mut self, other: &Self) {
        self.holds += other.holds;
        self.fails += other.fails;
        self.not_checked += other.not_checked;
        self.unsigned += other.unsigned;
        self.malformed += other.malformed;
        self.renderings_found += other.renderings_found;
    }

    /// All rows.
    pub fn total(&self) -> u64 {
        self.holds + self.fails + self.not_checked + self.unsigned + self.malformed
    }
}

/// Checks rows, in parallel; what was signed in rows of older outboxes is looked for first. Rows come back in
/// their order, resolved.
pub fn check_rows(
    items: Vec<Item>,
    keys: &KeyBook,
    search: &mut RenderingSearch<'_>,
) -> Vec<(Item, RowVerdict, Option<RowCheck>)> {
    let resolved: Vec<(Item, bool)> = items
        .into_iter()
        .map(|mut item| {
            let found = search.resolve(&mut item.row);
            (item, found)
        })
        .collect();
    resolved
        .into_par_iter()
        .map(|(item, found)| {
            let (mut verdict, check) = verdict(&item, keys);
            verdict.rendering_found = found;
            (item, verdict, check)
        })
        .collect()
}

fn verdict(item: &Item, keys: &KeyBook) -> (RowVerdict, Option<RowCheck>) {
    let row = &item.row;
    let mut verdict = RowVerdict {
        place: item.place.clone(),
        event_id: row.event_id,
        stream: row.stream,
        claimed_sequence: row.claimed_sequence,
        verdict: Verification::NotChecked,
        why: None,
        payload_hash_holds: None,
        signature_holds: None,
        signing_hash: None,
        agent_key_id: None,
        key_from: None,
        rendering_found: false,
    };
    let event = match &row.content {
        Content::Signed(event) => event,
        Content::Rerendered(_) => {
            let why =
                "created_at was rendered anew, and no rendering that was tried verifies with a known key";
            verdict.why = Some(why.into());
            return (verdict, None);
        }
        Content::Unsigned { why } => {
            verdict.verdict = Verification::Unsigned;
            verdict.why = Some(why.clone());
            return (verdict, None);
        }
        Content::Malformed { why } => {
            verdict.verdict = Verification::Malformed;
            verdict.why = Some(why.clone());
            return (verdict, None);
        }
    };
    let check = check_held(event, row.sequenced_at, keys.registry());
    verdict.verdict = check.verdict().into();
    verdict.signing_hash = Some(check.signing_hash);
    verdict.agent_key_id = Some(event.agent_key_id);
    verdict.key_from = keys.source(event);
    verdict.payload_hash_holds = Some(check.payload.is_match());
    let mut why = Vec::new();
    if let EventCheck::Mismatch(what) = &check.payload {
        why.push(what.clone());
    }
    verdict.signature_holds = match &check.signature {
        SignatureCheck::Valid => Some(true),
        SignatureCheck::KeyNotValid(reason) => {
            why.push(reason.clone());
            Some(true)
        }
        SignatureCheck::Invalid => {
            why.push("its signature does not hold".into());
            Some(false)
        }
        SignatureCheck::KeyUnknown => {
            why.push(format!(
                "key {} of agent {} is not known",
                event.agent_key_id, event.source_agent_id
            ));
            None
        }
        SignatureCheck::NotChecked(reason) => {
            why.push(reason.clone());
            None
        }
    };
    verdict.why = (!why.is_empty()).then(|| why.join("; "));
    (verdict, Some(check))
}

/// The state of a row in one word: its own status in an outbox, else how the agent came to hold it.
pub fn state_name(origin: &Origin) -> &'static str {
    match origin {
        Origin::Outbox { status, .. } => status_name(*status),
        Origin::Pulled => "pulled",
        Origin::Quarantined => "quarantined",
    }
}

/// What an agent believes about an event of its own, in one word.
pub(crate) fn status_name(status: OutboxStatus) -> &'static str {
    match status {
        OutboxStatus::Pending => "pending",
        OutboxStatus::Synced => "synced",
        OutboxStatus::Failed => "failed",
        OutboxStatus::Rejected => "rejected",
        OutboxStatus::Unknown => "unknown",
    }
}
