//! The tree over a stream of a log ([`ves::log_tree`]): its roots at sizes, from any point on that is known.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use cli_common::Cancel;
use event_log::{Hole, View};
use ves::log_tree::CompactRange;
use ves::span::Span;
use ves::{Hash32, StreamKey};

use crate::error::RecoveryError;

/// No number of a log is higher.
const LAST: u64 = i64::MAX as u64;

/// A tree, and the leaf that it ends with.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Grown {
    /// The tree.
    pub tree: CompactRange,
    /// Its last leaf; nothing of a tree without leaves.
    pub last_leaf: Option<Hash32>,
}

impl Grown {
    /// Appends leaves.
    pub fn extend(&mut self, leaves: &[Hash32]) {
        self.tree.extend(leaves);
        self.last_leaf = leaves.last().copied().or(self.last_leaf);
    }
}

/// What reading a stream gave.
#[derive(Debug)]
pub struct RootWalk {
    /// The tree as far as it was read.
    pub grown: Grown,
    /// The root at each size that was asked for and reached.
    pub roots: BTreeMap<u64, Hash32>,
    /// Why it was not read further, unless it was asked for no more, or the stream ends there.
    pub hole: Option<Hole>,
    /// How many rows were read.
    pub rows: u64,
}

/// Reads a stream behind `from` up to the number `to` (without one: to its end), and gives the roots at `sizes`.
///
/// # Errors
/// If the database fails; [`RecoveryError::Cancelled`].
pub async fn walk(
    view: &mut View,
    stream: &StreamKey,
    from: Grown,
    to: Option<u64>,
    sizes: &BTreeSet<u64>,
    cancel: &Cancel,
) -> Result<RootWalk, RecoveryError> {
    let mut found = RootWalk {
        roots: BTreeMap::new(),
        hole: None,
        rows: 0,
        grown: from,
    };
    let begun = found.grown.tree.size();
    if sizes.contains(&begun) {
        found.roots.insert(begun, found.grown.tree.root());
    }
    let Some(span) = Span::new(begun + 1, to.unwrap_or(LAST)) else {
        return Ok(found);
    };
    let end = view
        .for_each_leaf(stream, span, &mut |leaves| {
            found.rows += leaves.len() as u64;
            found.grown.last_leaf = leaves.last().copied().or(found.grown.last_leaf);
            let tree = &mut found.grown.tree;
            tree.extend_through(leaves, sizes, |head| {
                found.roots.insert(head.size, head.root);
            });
            match cancel.is_cancelled() {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        })
        .await?;
    cancel.check()?;
    found.hole = end.hole;
    Ok(found)
}

/// The next leaves of a stream behind the number `after`, at most `most` of them, and what stands in the way of more.
///
/// # Errors
/// If the database fails.
pub async fn next_leaves(
    view: &mut View,
    stream: &StreamKey,
    after: u64,
    most: u64,
) -> Result<(Vec<Hash32>, Option<Hole>), RecoveryError> {
    let Some(span) = Span::new(after + 1, after.saturating_add(most).min(LAST)) else {
        return Ok((Vec::new(), None));
    };
    let mut all = Vec::new();
    let end = view
        .for_each_leaf(stream, span, &mut |leaves| {
            all.extend_from_slice(leaves);
            ControlFlow::Continue(())
        })
        .await?;
    Ok((all, end.hole))
}

/// The leaf at a number; nothing if there is no event, or none that can be read.
///
/// # Errors
/// If the database fails.
pub async fn leaf_at(
    view: &mut View,
    stream: &StreamKey,
    number: u64,
) -> Result<Option<Hash32>, RecoveryError> {
    match number {
        0 => Ok(None),
        _ => Ok(next_leaves(view, stream, number - 1, 1).await?.0.first().copied()),
    }
}
