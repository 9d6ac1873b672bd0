//! After a repair: which streams no longer go through what was signed of them, and so begin a new generation of their tree.

use checkpoints::History;
use checkpoints::history::CountedCheckpoint;
use cli_common::Cancel;
use event_log::Log;
use outbox_sync::epoch::{EpochGeneration, RecoveryEpoch};
use ves::log_tree::empty_root;
use ves::{Hash32, StreamKey};

use super::promises::{self, Promise};
use crate::error::RecoveryError;
use crate::roots::{Grown, walk};

/// What checkpoints that count say of a stream, in all its generations.
pub fn promises_of(history: &History, stream: &StreamKey) -> Vec<Promise> {
    let generations = history.of(stream).flat_map(|of| &of.generations);
    let promise = |held: &CountedCheckpoint| Promise {
        generation: held.checkpoint.origin.generation,
        size: held.checkpoint.size,
        root: held.checkpoint.root,
        continues: held.checkpoint.continues,
        place: held.place.to_string(),
    };
    generations.flat_map(|g| &g.checkpoints).map(promise).collect()
}

/// Whether checkpoints of the newest generation of a stream contradict each other.
fn contested(history: &History, stream: &StreamKey, newest: u32) -> bool {
    let mut generations = history.of(stream).flat_map(|of| &of.generations);
    generations.any(|g| g.origin.generation >= newest && !g.contested.is_empty())
}

/// Adds to an epoch, which must not be signed yet, the generations that begin with it: of each stream that does not go
/// through all its checkpoints any more. `loss` is SHA-256 of the loss certificate.
///
/// # Errors
/// The log cannot be read; [`RecoveryError::Cancelled`].
pub async fn add_generations(
    log: &Log,
    epoch: &mut RecoveryEpoch,
    history: &History,
    loss: Option<Hash32>,
    cancel: &Cancel,
) -> Result<(), RecoveryError> {
    let mut view = log.view().await?;
    for of in &mut epoch.streams {
        let promises = promises_of(history, &of.stream);
        let newest = promises.iter().map(|p| p.generation).max().unwrap_or(1);
        let contested = contested(history, &of.stream, newest);
        if promises.is_empty() && !contested {
            continue;
        }
        let path =
            promises::path(&of.stream, newest, &promises).map_err(|finding| RecoveryError::NoEpoch {
                what: format!("stream {}: {}", of.stream, finding.message),
            })?;
        let sizes = promises::sizes(&path);
        let to = sizes.last().copied().unwrap_or(0);
        let walk = walk(&mut view, &of.stream, Grown::default(), Some(to), &sizes, cancel).await?;
        let mut stands = path
            .iter()
            .filter(|(size, (root, _))| walk.roots.get(size) == Some(root));
        let common = stands.next_back().map(|(size, (root, _))| (*size, *root));
        if !contested && common.is_some_and(|(size, _)| size == to) {
            continue;
        }
        let (common_size, common_root) = common.unwrap_or((0, empty_root()));
        of.generation = Some(EpochGeneration {
            number: newest + 1,
            common_size,
            common_root,
            loss,
        });
    }
    Ok(())
}
