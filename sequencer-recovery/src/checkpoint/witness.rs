//! Cosignatures of C2SP witnesses (`tlog-witness`): each remembers the last head of every tree that it saw, and signs a new
//! one only if that continues it. So nobody can be shown another history by the same key without one of them knowing.

use std::collections::BTreeMap;
use std::time::Duration;

use checkpoints::VerifierKey;
use checkpoints::file::Entry;
use checkpoints::note::{Note, Signed};
use checkpoints::witness::{SIZE_TYPE, cosignatures, request, size};
use cli_common::Cancel;
use event_log::View;
use http_client::{Client, Limits, Reply};
use ves::Hash32;
use ves::StreamKey;
use ves::log_tree::Tree;

use crate::error::RecoveryError;
use crate::roots::{Grown, next_leaves, walk};

/// An answer is small; one that does not come soon comes with the next run.
const LIMITS: Limits = Limits {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(10),
    bytes: 1 << 16,
};
/// A witness that is further behind gets no proof: 64 bytes of memory a leaf.
const MAX_BEHIND: u64 = 1 << 22;
/// A witness may be wrong about its own size once, or another checkpointer may have been faster.
const TRIES: usize = 3;

/// The witnesses that are asked.
#[derive(Debug)]
pub struct Witnesses {
    /// Where they are.
    pub urls: Vec<String>,
    /// Their keys.
    pub keys: Vec<VerifierKey>,
    /// How many must cosign.
    pub least: usize,
}

/// Why a witness did not cosign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotCosigned {
    /// Where it is.
    pub url: String,
    /// What it said, and what to do about it.
    pub what: String,
    /// It has seen another history.
    pub split: bool,
}

/// What came of one checkpoint.
#[derive(Debug, Default)]
pub struct Cosigned {
    /// Who cosigned.
    pub by: Vec<String>,
    /// Who did not.
    pub refused: Vec<NotCosigned>,
    /// How many rows were read for proofs.
    pub rows: u64,
}

/// One answer, understood.
enum Answer {
    Cosigned(Vec<String>),
    /// The witness has this size.
    Has(u64),
    Refused {
        what: String,
        split: bool,
    },
}

impl Witnesses {
    /// Asks every witness, and adds to the entry's note what they signed. `base` is a tree that the stream had before;
    /// `witnessed` are the sizes that they are known to have.
    ///
    /// # Errors
    /// The log cannot be read. What a witness says or does not say is none.
    pub async fn cosign(
        &self,
        view: &mut View,
        base: &Grown,
        entry: &mut Entry,
        witnessed: &mut BTreeMap<String, u64>,
        cancel: &Cancel,
    ) -> Result<Cosigned, RecoveryError> {
        let client = Client::new(LIMITS);
        let mut all = Cosigned::default();
        let (stream, to) = (entry.checkpoint.origin.stream, entry.checkpoint.size);
        let asked = Note::clone(&entry.note);
        for url in &self.urls {
            let mut old = witnessed.get(url).copied().unwrap_or(0).min(to);
            let mut last = None;
            for _ in 0..TRIES {
                cancel.check()?;
                let Some(proof) = proof(view, &stream, base, (old, to), &mut all.rows, cancel).await? else {
                    let what = format!("it has {old} events, too few for a proof that they are among {to}");
                    last = Some((what, false));
                    break;
                };
                let reply = client.post_text(
                    &format!("{}/add-checkpoint", url.trim_end_matches('/')),
                    &request(old, &proof, &asked),
                );
                match reply.map_or_else(
                    |e| refused(format!("it did not answer: {e}")),
                    |reply| self.understand(&reply, entry, old),
                ) {
                    Answer::Cosigned(by) => {
                        witnessed.insert(url.clone(), to);
                        all.by.extend(by);
                        last = None;
                        break;
                    }
                    Answer::Has(size) if size > to => {
                        let what = format!(
                            "it has seen a tree of {size} events, and this log has {to}: a split view, or the log was rewound"
                        );
                        last = Some((what, true));
                        break;
                    }
                    Answer::Has(size) => {
                        last = Some((format!("it keeps saying that it has {size} events"), false));
                        old = size;
                    }
                    Answer::Refused { what, split } => {
                        last = Some((what, split));
                        break;
                    }
                }
            }
            let url = url.clone();
            all.refused
                .extend(last.map(|(what, split)| NotCosigned { url, what, split }));
        }
        Ok(all)
    }

    fn understand(&self, reply: &Reply, entry: &mut Entry, old: u64) -> Answer {
        let body = String::from_utf8_lossy(&reply.body);
        let is_size = reply
            .content_type
            .as_deref()
            .is_some_and(|kind| kind.split(';').next() == Some(SIZE_TYPE));
        match reply.status {
            200 => self.keep(&body, entry),
            409 if is_size => match size(&body) {
                Some(size) => Answer::Has(size),
                None => refused("it names no size with its status 409".into()),
            },
            409 if old == entry.checkpoint.size => split("it has another root for the same size: a split view"),
            422 => split("the proof does not lead from the tree that it saw to this one: a split view"),
            404 => refused("it does not know this log (404): give its operator the stream's verifier key (--vkeys)".into()),
            403 => refused("it knows this log by another key (403): give its operator the stream's verifier key (--vkeys)".into()),
            400 => refused("it does not understand the request (400): is it a witness by C2SP tlog-witness?".into()),
            status => refused(format!("it answered with status {status}")),
        }
    }

    /// Takes over the cosignatures that hold by a key that is known.
    fn keep(&self, body: &str, entry: &mut Entry) -> Answer {
        let Ok(lines) = cosignatures(body) else {
            return refused("its answer is no cosignature".into());
        };
        let mut by = Vec::new();
        for line in lines {
            let mut note = entry.note.clone();
            note.signatures = vec![line.clone()];
            let holds = |key: &&VerifierKey| matches!(key.check(&note), Signed::Valid { .. });
            if let Some(key) = self.keys.iter().find(holds) {
                by.push(key.short());
                entry.note.signatures.push(line);
            }
        }
        match by.is_empty() {
            true => refused("its cosignature holds by no key that was given (--witness-key)".into()),
            false => Answer::Cosigned(by),
        }
    }
}

fn refused(what: String) -> Answer {
    Answer::Refused { what, split: false }
}

fn split(what: &str) -> Answer {
    Answer::Refused {
        what: what.into(),
        split: true,
    }
}

/// The proof that the stream's tree of `to` events continues that of `from`; nothing if that takes too much memory, or
/// the log no longer has the events.
async fn proof(
    view: &mut View,
    stream: &StreamKey,
    base: &Grown,
    (from, to): (u64, u64),
    rows: &mut u64,
    cancel: &Cancel,
) -> Result<Option<Vec<Hash32>>, RecoveryError> {
    if from == 0 || from == to {
        return Ok(Some(Vec::new()));
    }
    if to - from > MAX_BEHIND {
        return Ok(None);
    }
    let begin = if base.tree.size() <= from {
        base.clone()
    } else {
        Grown::default()
    };
    let walked = walk(view, stream, begin, Some(from), &[].into(), cancel).await?;
    let (leaves, _) = next_leaves(view, stream, from, to - from).await?;
    *rows += walked.rows + leaves.len() as u64;
    if walked.grown.tree.size() != from || leaves.len() as u64 != to - from {
        return Ok(None);
    }
    Ok(Tree::new(walked.grown.tree, &leaves).consistency_proof(from, to))
}
