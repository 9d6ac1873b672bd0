//! The proofs tables: rows that refer to a batch or an event that the log has lost, and rows that another copy of the
//! log has and this one does not. They are named, not repaired: what a proof proves is its prover's business.

use std::collections::BTreeMap;

use event_log::{LogError, ProofKind, ProofRow, StreamFilter, View};
use ves::StreamKey;

use crate::finding::{Code, Finding};

/// So many rows of a stream are named; the rest are counted.
const NAMED: usize = 3;

/// So many proofs of another copy are looked up at once.
const GROUP: u32 = 10_000;

/// Rows of one stream.
#[derive(Default)]
struct Group {
    count: u64,
    named: Vec<String>,
}

impl Group {
    fn add(&mut self, kind: ProofKind, proof: &ProofRow) {
        self.count += 1;
        if self.named.len() < NAMED {
            self.named.push(format!(
                "{} about {} {}",
                proof.proof_id,
                kind.about(),
                proof.about
            ));
        }
    }

    fn names(&self) -> String {
        let more = self.count - self.named.len() as u64;
        let names = self.named.join(", ");
        if more > 0 {
            format!("{names} and {more} more")
        } else {
            names
        }
    }
}

/// What the proofs tables say about batches and events that the log does not have.
///
/// # Errors
/// If the log's database fails.
pub async fn orphans(
    view: &mut View,
    filter: &StreamFilter,
    findings: &mut Vec<Finding>,
    not_checked: &mut Vec<String>,
) -> Result<(), LogError> {
    for kind in ProofKind::ALL {
        if !view.has_proofs(kind).await? {
            not_checked.push(format!("{}: the log has no such table", kind.table_name()));
            continue;
        }
        let mut groups = BTreeMap::<StreamKey, Group>::new();
        let mut unreadable = Vec::new();
        view.orphan_proofs(kind, filter, &mut |proof| match proof {
            Ok(proof) => groups.entry(proof.stream).or_default().add(kind, &proof),
            Err(error) => {
                if unreadable.len() < NAMED {
                    unreadable.push(error.to_string());
                }
            }
        })
        .await?;
        not_checked.extend(unreadable);
        for (stream, group) in groups {
            let message = format!(
                "{} row(s) of {} are about {} that the log does not have: {}",
                group.count,
                kind.table_name(),
                plural(kind),
                group.names()
            );
            findings.push(
                Finding::new(Code::ProofOrphan, message)
                    .stream(stream)
                    .count(group.count),
            );
        }
    }
    Ok(())
}

/// Proofs that another copy of the log has and this one does not.
///
/// # Errors
/// If a database fails.
pub async fn missing(
    view: &mut View,
    other: &mut View,
    filter: &StreamFilter,
    name: &str,
) -> Result<Vec<Finding>, LogError> {
    let mut findings = Vec::new();
    for kind in ProofKind::ALL {
        if !view.has_proofs(kind).await? || !other.has_proofs(kind).await? {
            continue;
        }
        let mut groups = BTreeMap::<StreamKey, Group>::new();
        let mut after = None;
        loop {
            let proofs = other.proofs_after(kind, filter, after, GROUP).await?.rows;
            let Some(last) = proofs.last() else { break };
            after = Some(last.proof_id);
            let ids: Vec<_> = proofs.iter().map(|proof| proof.proof_id).collect();
            let here = view.find_proofs(kind, &ids).await?;
            for proof in proofs.iter().filter(|proof| !here.contains(&proof.proof_id)) {
                groups.entry(proof.stream).or_default().add(kind, proof);
            }
        }
        for (stream, group) in groups {
            let message = format!(
                "{name} has {} row(s) of {} that the log does not have: {}",
                group.count,
                kind.table_name(),
                group.names()
            );
            findings.push(
                Finding::new(Code::ProofMissing, message)
                    .stream(stream)
                    .count(group.count),
            );
        }
    }
    Ok(findings)
}

fn plural(kind: ProofKind) -> &'static str {
    match kind {
        ProofKind::Validity => "batches",
        ProofKind::Compliance => "events",
    }
}
