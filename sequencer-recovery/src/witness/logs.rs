//! What other copies of the log have, as databases or as exports.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::Path;

use cli_common::DbTarget;
use cli_common::files::{self, InputFile};
use event_log::{ExportError, ExportReader, ExportedEntry, LeafInput, LogEntry, RowError as RowFault, View};
use ves::span::Spans;
use ves::{EventId, StreamKey};

use crate::damage;
use crate::error::RecoveryError;
use crate::finding::{Code, Finding};
use crate::floor::Witness;
use crate::grade::Grade;
use crate::proofs;
use crate::witness::evidence::{Candidate, Claim, HeldReceipt, HolderId, Saying};

use super::{Asked, Collected, Heard, HeardKind, InLog, WINDOW};

/// A longer payload than this is not planned; the sequencer takes 1 MiB.
const MAX_PAYLOAD: usize = 32 << 20;

/// Reads what another copy of the log has at the positions that this one lacks.
pub(super) async fn read_log(
    view: &mut View,
    asked: Asked<'_>,
    target: &DbTarget,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let name = target.to_string();
    let mut heard = Heard::new(Path::new(&name), HeardKind::Log);
    let opened = match view.open_beside(target).await {
        Ok(log) => log.view().await,
        Err(error) => Err(error),
    };
    match opened {
        Ok(mut other) => {
            let reserved = other.place().reservation().into_iter();
            collected
                .not_checked
                .extend(reserved.map(|what| format!("{name}: {what}")));
            heard.place = Some(other.place().clone());
            hear_log(view, asked, &mut other, heard, collected).await
        }
        Err(error) => {
            collected.unreadable(heard, error.to_string());
            Ok(())
        }
    }
}

/// As [`hear_log`], of a snapshot that was made of a witness, and is not named itself.
pub(super) async fn hear_copy(
    view: &mut View,
    asked: Asked<'_>,
    snapshot: &Path,
    heard: Heard,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let target = DbTarget::Snapshot(snapshot.to_owned());
    let opened = match view.open_beside(&target).await {
        Ok(log) => log.view().await,
        Err(error) => Err(error),
    };
    match opened {
        Ok(mut other) => hear_log(view, asked, &mut other, heard, collected).await,
        Err(error) => {
            let message = format!("{}: its copy cannot be read: {error}", heard.path);
            collected.unreadable(heard, message);
            Ok(())
        }
    }
}

/// Takes what another copy of the log has at the positions that this one lacks; what was heard of it begins with `heard`.
pub(super) async fn hear_log(
    view: &mut View,
    asked: Asked<'_>,
    other: &mut View,
    mut heard: Heard,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let name = heard.path.clone();
    // A witness may be damaged, too: an index of it that lacks rows is not asked.
    let damage = other.look_for_damage().await?;
    for finding in damage::findings(&damage) {
        let message = format!("{name}: {}: {}", finding.code, finding.message);
        collected
            .findings
            .push(Finding::new(Code::WitnessRefused, message));
    }
    let holder = collected.holders.add(name.clone(), Some(name.clone()));
    let states = other.streams(asked.filter).await?.rows;
    if states.iter().all(|state| state.last.is_none()) {
        collected.holds_nothing(&name);
    }
    for state in states {
        let (stream, Some(last)) = (state.stream, state.last) else {
            continue;
        };
        let witness = Witness {
            sequence: last.max(state.counter.unwrap_or(0)),
            grade: Grade::Claimed,
            who: name.clone(),
            identity: name.clone(),
        };
        collected.streams.entry(stream).or_default().add_witness(witness);
        for theirs in other.ranges_of(&state).await? {
            // In windows, so that one group is in memory at a time.
            let mut from = *theirs.start();
            while from <= (*theirs.end()).min(last) {
                let to = (*theirs.end()).min(from.saturating_add(WINDOW - 1));
                for range in differing(view, other, &stream, from..=to).await? {
                    let entries = other.entries(&stream, range).await?;
                    for error in entries.unreadable {
                        heard.rows += 1;
                        heard.refuse(None, name.clone(), error.to_string(), None);
                    }
                    take_entries(view, asked, entries.rows, holder, &mut heard, collected).await?;
                }
                let Some(next) = to.checked_add(1) else { break };
                from = next;
            }
        }
    }
    let proofs = proofs::missing(view, other, asked.filter, &name).await?;
    collected.findings.extend(proofs);
    collected.take(heard, "row(s) do not verify; they are not used");
    Ok(())
}

/// What a reader of an export gives: events and bad rows, or why it stopped.
type Exported = Result<Vec<Result<ExportedEntry, RowFault>>, ExportError>;

/// Reads a log export: what it has where this log has nothing, or something else.
pub(super) async fn read_export(
    view: &mut View,
    asked: Asked<'_>,
    file: &InputFile,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let path = file.shown();
    let mut heard = Heard::new(path, HeardKind::Export);
    let opened = files::open_text(file.path()).map_err(ExportError::from);
    let mut reader = match opened.and_then(ExportReader::new) {
        Ok(reader) => reader,
        Err(error) => {
            collected.unreadable(heard, format!("{} {error}", path.display()));
            return Ok(());
        }
    };
    let name = path.display().to_string();
    let holder = collected.holders.add(name.clone(), Some(name.clone()));
    let mut streams = reader.outline().streams.iter();
    if !streams.any(|of| asked.filter.admits(&of.stream) && of.last.is_some()) {
        collected.holds_nothing(&name);
    }
    for stream in &reader.outline().streams {
        let sequence = stream.last.max(stream.counter).unwrap_or(0);
        if asked.filter.admits(&stream.stream) && sequence > 0 {
            let evidence = collected.streams.entry(stream.stream).or_default();
            evidence.add_witness(Witness {
                sequence,
                grade: Grade::Claimed,
                who: name.clone(),
                identity: name.clone(),
            });
        }
    }
    // Parsing is for a thread of its own, so that chunks can be compared with the log meanwhile.
    let (send, mut receive) = tokio::sync::mpsc::channel::<Exported>(2);
    let parser = tokio::task::spawn_blocking(move || {
        let read = reader.for_each_entry(&mut |chunk| match send.blocking_send(Ok(chunk)) {
            Ok(()) => ControlFlow::Continue(()),
            Err(_) => ControlFlow::Break(()),
        });
        if let Err(error) = read {
            // Nobody listens any more only if the work was given up.
            let _ = send.blocking_send(Err(error));
        }
    });
    while let Some(chunk) = receive.recv().await {
        asked.cancel.check()?;
        match chunk {
            Ok(chunk) => {
                take_exported(view, asked, chunk, holder, &mut heard, collected).await?;
            }
            Err(error) => {
                let message = format!(
                    "{} {error}; {} event(s) before that were read and are used",
                    path.display(),
                    heard.rows
                );
                collected
                    .findings
                    .push(Finding::new(Code::WitnessUnreadable, message));
                heard.error = Some(error.to_string());
            }
        }
    }
    if let Err(panic) = parser.await {
        std::panic::resume_unwind(panic.into_panic());
    }
    collected.take(heard, "row(s) do not verify; they are not used");
    Ok(())
}

/// Takes those events of an export that the log lacks, or has something else for.
async fn take_exported(
    view: &mut View,
    asked: Asked<'_>,
    chunk: Vec<Result<ExportedEntry, RowFault>>,
    holder: HolderId,
    heard: &mut Heard,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let mut by_stream: BTreeMap<StreamKey, Vec<ExportedEntry>> = BTreeMap::new();
    for row in chunk {
        match row {
            Ok(row) if asked.filter.admits(&row.entry.event.stream) => {
                by_stream.entry(row.entry.event.stream).or_default().push(row);
            }
            Ok(_) => {}
            Err(fault) => {
                heard.rows += 1;
                heard.refuse(None, heard.path.clone(), fault.to_string(), None);
            }
        }
    }
    for (stream, rows) in by_stream {
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            continue;
        };
        let window = first.entry.sequence_number..=last.entry.sequence_number;
        let ours = leaves(view, &stream, window).await?;
        let mut entries = Vec::new();
        for ExportedEntry { entry, redacted } in rows {
            let same = ours.get(&entry.sequence_number).is_some_and(|leaf| {
                leaf.event_id == entry.event.event_id
                    && leaf.event_signing_hash == entry.event_signing_hash
                    && leaf.agent_signature == entry.event.agent_signature
            });
            if same {
                heard.rows += 1;
            } else if redacted {
                // Nothing to put back, but it names event and number.
                heard.rows += 1;
                heard.unsigned += 1;
                let claim = Claim {
                    event_id: entry.event.event_id,
                    holder,
                    saying: Saying::Log,
                    sequenced_at: Some(entry.sequenced_at),
                };
                let found = view.find_events(&[claim.event_id]).await?;
                if found.is_empty() {
                    let evidence = collected.streams.entry(stream).or_default();
                    evidence.add_claim(entry.sequence_number, claim);
                }
                for damaged in &found.unreadable {
                    collected.note_damaged(damaged, stream, None);
                }
            } else {
                entries.push(entry);
            }
        }
        take_entries(view, asked, entries, holder, heard, collected).await?;
    }
    Ok(())
}

/// The positions of a window at which another copy of the log has what this one lacks, or something else.
async fn differing(
    view: &mut View,
    other: &mut View,
    stream: &StreamKey,
    window: RangeInclusive<u64>,
) -> Result<Vec<RangeInclusive<u64>>, RecoveryError> {
    let ours = leaves(view, stream, window.clone()).await?;
    let theirs = leaves(other, stream, window).await?;
    let differing = theirs
        .into_iter()
        .filter(|(position, leaf)| ours.get(position) != Some(leaf));
    Ok(Spans::of_positions(differing.map(|(position, _)| position)).into())
}

pub(super) async fn leaves(
    view: &mut View,
    stream: &StreamKey,
    window: RangeInclusive<u64>,
) -> Result<BTreeMap<u64, LeafInput>, RecoveryError> {
    let mut leaves = BTreeMap::new();
    view.for_each_leaf_input(stream, window, &mut |chunk| {
        let inputs = chunk.into_iter().flatten();
        leaves.extend(inputs.map(|input| (input.sequence_number, input)));
        ControlFlow::Continue(())
    })
    .await?;
    Ok(leaves)
}

/// Files entries of another copy of the log: each is a candidate, and a claim of its position.
pub(super) async fn take_entries(
    view: &mut View,
    asked: Asked<'_>,
    entries: Vec<LogEntry>,
    holder: HolderId,
    heard: &mut Heard,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let ids: Vec<EventId> = entries.iter().map(|e| e.event.event_id).collect();
    let in_log: InLog = view.find_events(&ids).await?.by_event();
    for entry in entries {
        heard.rows += 1;
        let stream = entry.event.stream;
        let (event_id, position) = (entry.event.event_id, entry.sequence_number);
        let check = || outbox_sync::check(&entry.event, asked.keys, entry.sequenced_at);
        let found = in_log.get(&event_id);
        if let Some(Err(damaged)) = found {
            collected.note_damaged(damaged, stream, Some(&check()));
            continue;
        }
        let evidence = collected.streams.entry(stream).or_default();
        if let Some(Ok(here)) = found {
            if (here.stream, here.sequence_number) == (stream, position) {
                // The same event with other bytes: the audit of this log says which of the two verifies.
                continue;
            }
            let claim = Claim {
                event_id,
                holder,
                saying: Saying::Log,
                sequenced_at: Some(entry.sequenced_at),
            };
            evidence.contradict(position, claim);
            continue;
        }
        let check = check();
        let place = format!("{} {stream} {position}", heard.path);
        if let Some(why) = check.refusal() {
            heard.refuse(Some(event_id), place, why, Some(evidence));
            continue;
        }
        if entry.event.payload.json().len() > MAX_PAYLOAD {
            let why = format!(
                "its payload is longer than {} MiB, which no plan carries",
                MAX_PAYLOAD >> 20
            );
            heard.refuse(Some(event_id), place, why, Some(evidence));
            continue;
        }
        heard.missing_held += 1;
        if let Some(receipt) = entry.receipt
            && receipt.sequence_number == position
            && receipt.hash_matches(&stream, &check.signing_hash)
            && receipt.check_signature(&asked.inputs.sequencer_keys).is_valid()
        {
            evidence.add_witness(Witness {
                sequence: position,
                grade: Grade::Receipted,
                who: format!("a signed receipt in {}", heard.path),
                identity: String::new(),
            });
            evidence.add_receipt(HeldReceipt { receipt, place });
        }
        let claim = Claim {
            event_id,
            holder,
            saying: Saying::Log,
            sequenced_at: Some(entry.sequenced_at),
        };
        evidence.add_candidate(Candidate {
            event: entry.event,
            signing_hash: check.signing_hash,
            signature: check.signature,
            holders: vec![holder],
            status: None,
            local_seq: None,
        });
        evidence.add_claim(position, claim);
    }
    Ok(())
}
