//! What was signed before: every root that the log's tree must go through, before anything more of it is signed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use checkpoints::Continues;
use event_log::Hole;
use ves::{Hash32, StreamKey};

use crate::finding::{Code, Finding};
use crate::roots::RootWalk;
use crate::sanction::Sanction;

/// One root that was signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promise {
    /// Of which tree of the stream.
    pub generation: u32,
    /// For how many events.
    pub size: u64,
    /// The root over them.
    pub root: Hash32,
    /// What the tree continues.
    pub continues: Option<Continues>,
    /// Where that stands, for people.
    pub place: String,
}

/// Roots that a tree must go through, by size, with the place where each stands.
pub type Path = BTreeMap<u64, (Hash32, String)>;

/// The roots that the tree of `generation` must go through: its own, and of those before it what was still common when it
/// was opened.
///
/// # Errors
/// Two roots for one size.
pub fn path(stream: &StreamKey, generation: u32, promises: &[Promise]) -> Result<Path, Box<Finding>> {
    let mut opened: BTreeMap<u32, (Continues, String)> = BTreeMap::new();
    for promise in promises {
        if let Some(continues) = promise.continues {
            let opening = (continues, promise.place.clone());
            opened.entry(promise.generation).or_insert(opening);
        }
    }
    // Of an older tree what every later one still had in common with it.
    let common = |of: u32| {
        let later = opened
            .iter()
            .filter(|(number, _)| (of + 1..=generation).contains(*number));
        later.map(|(_, (continues, _))| continues.size).min()
    };
    let mut all = Path::new();
    let own = promises
        .iter()
        .map(|p| (p.generation, p.size, p.root, p.place.clone()));
    let common_roots = opened.iter().map(|(generation, (continues, place))| {
        let place = format!("what generation {generation} continues, {place}");
        (*generation, continues.size, continues.root, place)
    });
    for (of, size, root, place) in own.chain(common_roots) {
        if of > generation || common(of).is_some_and(|common| size > common) {
            continue;
        }
        match all.get(&size) {
            None => {
                all.insert(size, (root, place));
            }
            Some((other, at)) if *other != root => {
                let message =
                    format!("two roots were signed for {size} events: {other} ({at}) and {root} ({place})");
                return Err(Box::new(
                    Finding::new(Code::CheckpointTwoRoots, message).stream(*stream),
                ));
            }
            Some(_) => {}
        }
    }
    Ok(all)
}

/// What begins a generation that a signed recovery epoch opens, if it is the one after `generation`, the last that was signed.
///
/// # Errors
/// The epoch does not fit what was signed.
pub fn opening(
    stream: &StreamKey,
    generation: u32,
    continues: Option<Continues>,
    sanction: Option<&Sanction>,
) -> Result<Option<Promise>, Box<Finding>> {
    let Some((sanction, opened)) = sanction.and_then(|s| Some((s, s.generation(stream)?))) else {
        return Ok(None);
    };
    let wrong = |what: String| {
        let finding = Finding::new(Code::CheckpointGeneration, what).stream(*stream);
        Err(Box::new(finding))
    };
    if opened.number < generation {
        // A later repair has opened another since.
        return Ok(None);
    }
    if opened.number == generation {
        let by = continues.map(|continues| continues.epoch);
        return match by == Some(sanction.hash()) {
            true => Ok(None),
            false => wrong(format!(
                "generation {generation} was opened already, by another recovery epoch"
            )),
        };
    }
    if opened.number != generation + 1 {
        return wrong(format!(
            "the recovery epoch opens generation {}, and the last one that was signed is {generation}",
            opened.number
        ));
    }
    Ok(Some(Promise {
        generation: opened.number,
        size: opened.common_size,
        root: opened.common_root,
        continues: Some(Continues {
            size: opened.common_size,
            root: opened.common_root,
            epoch: sanction.hash(),
            loss: opened.loss,
        }),
        place: "the recovery epoch".into(),
    }))
}

/// The sizes of a path.
pub fn sizes(path: &Path) -> BTreeSet<u64> {
    path.keys().copied().collect()
}

/// Whether a log that was read goes through a path; `last` is the log's highest number.
///
/// # Errors
/// Where it does not.
pub fn goes_through(
    stream: &StreamKey,
    path: &Path,
    walk: &RootWalk,
    last: Option<u64>,
) -> Result<(), Box<Finding>> {
    for (size, (root, place)) in path {
        let Some(found) = walk.roots.get(size) else {
            let highest = path.keys().next_back().copied().unwrap_or(*size);
            return Err(Box::new(behind(stream, walk, last, *size, highest, place)));
        };
        if found != root {
            let message = format!(
                "the log's first {size} events have root {found}, and {root} was signed ({place}): its history is not the one \
                 that was promised"
            );
            let finding = Finding::new(Code::CheckpointMismatch, message).stream(*stream);
            return Err(Box::new(finding.range(1, *size)));
        }
    }
    Ok(())
}

fn behind(
    stream: &StreamKey,
    walk: &RootWalk,
    last: Option<u64>,
    size: u64,
    highest: u64,
    place: &dyn Display,
) -> Finding {
    let reached = walk.grown.tree.size();
    let what = match &walk.hole {
        Some(hole) => format!("{hole}, and {size} events were signed ({place})"),
        None => return rewound(stream, last, highest, place),
    };
    let more = match highest > size {
        true => format!("; the largest checkpoint has {highest}"),
        false => String::new(),
    };
    Finding::new(Code::CheckpointBehind, format!("{what}{more}"))
        .stream(*stream)
        .range(reached + 1, highest)
}

/// What is to be said of a log that ends before what was signed.
pub fn rewound(stream: &StreamKey, last: Option<u64>, size: u64, place: &dyn Display) -> Finding {
    let last = last.unwrap_or(0);
    let message = format!("the log ends at {last}, and {size} events were signed ({place}): it was rewound");
    Finding::new(Code::CheckpointBehind, message)
        .stream(*stream)
        .range(last + 1, size)
}

/// What is to be said of a hole behind which nothing can be signed.
pub fn hole(stream: &StreamKey, next: u64, hole: &Hole) -> Finding {
    let code = match hole {
        Hole::Missing(span) if span.start() == 1 => Code::GapLeading,
        Hole::Missing(_) => Code::GapInterior,
        Hole::Unreadable(_) => Code::EventUnreadable,
        Hole::Duplicate(_) => Code::EventDuplicate,
    };
    let message = format!("{hole}: nothing behind number {} is signed", next - 1);
    let finding = Finding::new(code, message).stream(*stream);
    match hole {
        Hole::Missing(span) => finding.range(span.start(), span.end()),
        _ => finding.range(next, next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn promise(generation: u32, size: u64, root: u8, continues: Option<u64>) -> Promise {
        Promise {
            generation,
            size,
            root: Hash32([root; 32]),
            continues: continues.map(|size| Continues {
                size,
                root: Hash32([size as u8; 32]),
                epoch: Hash32::ZERO,
                loss: None,
            }),
            place: format!("g{generation}"),
        }
    }

    #[test]
    fn of_older_trees_only_what_all_later_ones_had_in_common_is_asked_for() {
        let stream = StreamKey::new(uuid::Uuid::from_u128(1).into(), uuid::Uuid::from_u128(2).into());
        let all = [
            promise(1, 10, 10, None),
            promise(1, 20, 20, None),
            promise(1, 30, 30, None),
            promise(2, 25, 125, Some(20)),
            promise(3, 12, 112, Some(10)),
        ];
        let sizes = |generation| {
            path(&stream, generation, &all)
                .unwrap()
                .into_keys()
                .collect::<Vec<_>>()
        };
        assert_eq!(sizes(1), [10, 20, 30]);
        assert_eq!(sizes(2), [10, 20, 25]);
        assert_eq!(sizes(3), [10, 12]);
        // What belongs to a later one than asked for is no matter.
        assert_eq!(path(&stream, 2, &all[3..]).unwrap().len(), 2);
        let two = [promise(1, 10, 10, None), promise(1, 10, 11, None)];
        assert_eq!(path(&stream, 1, &two).unwrap_err().code, Code::CheckpointTwoRoots);
    }
}
