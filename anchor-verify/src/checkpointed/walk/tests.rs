use checkpoints::checkpoint::{Checkpoint, Origin};
use checkpoints::file::{Entry, LeavesOfFile};
use checkpoints::history::Collector;
use checkpoints::note::{KeyKind, VerifierKey};
use checkpoints::{History, Policy};
use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn stream() -> StreamKey {
    StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into())
}

fn leaves(count: u64) -> Vec<Hash32> {
    (1..=count)
        .map(|n| ves::digest::Preimage::new("walk").u64(n).finish())
        .collect()
}

/// Checkpoints of these sizes over leaves; with the leaves beside them, or without.
fn history(all: &[Hash32], sizes: &[u64], with_leaves: bool) -> History {
    let key = SigningKey::from_bytes(&[1; 32]);
    let mut text = String::new();
    let mut before = 0;
    for size in sizes {
        let mut range = CompactRange::default();
        range.extend(&all[..*size as usize]);
        let checkpoint = Checkpoint {
            origin: Origin {
                deployment: "a.example".into(),
                stream: stream(),
                generation: 1,
            },
            size: *size,
            root: range.root(),
            time: None,
            continues: None,
        };
        let entry = Entry {
            leaves: (with_leaves && *size > before).then(|| LeavesOfFile {
                first: before + 1,
                hashes: all[before as usize..*size as usize].to_vec(),
            }),
            peaks: Vec::new(),
            note: checkpoint.sign(&key),
            checkpoint,
        };
        text.push_str(&entry.to_text());
        before = *size;
    }
    let log = VerifierKey::new("a.example", KeyKind::Log, key.verifying_key()).unwrap();
    let policy = Policy::new(vec![log], Vec::new(), 0).unwrap();
    let mut collector = Collector::new(&policy);
    collector.read("a", text.as_bytes()).unwrap();
    collector.finish()
}

proptest! {
    /// However the leaves come, and wherever the log differs: the roots below that match, those behind it do not, and
    /// the first number that differs is told if its leaf is known.
    #[test]
    fn the_first_difference_is_found(
        sizes in prop::collection::btree_set(0u64..3000, 1..8),
        chunk in 1usize..1500,
        differs in 1u64..3200,
        one_by_one in any::<bool>(),
        with_leaves in any::<bool>(),
    ) {
        let mut all = leaves(3000);
        let sizes: Vec<u64> = sizes.into_iter().collect();
        let history = history(&all, &sizes, with_leaves);
        if let Some(leaf) = all.get_mut(differs as usize - 1) {
            leaf.0[3] ^= 1;
        }
        let mut walk = Walk::new(&history, &stream()).unwrap();
        if one_by_one {
            (1..).zip(&all).for_each(|(number, leaf)| walk.leaf(number, *leaf));
        } else {
            all.chunks(chunk).for_each(|leaves| walk.leaves(leaves));
        }
        let (lanes, hole) = walk.finish(None);
        prop_assert!(hole.is_none());
        let lane = &lanes[0];
        let good = sizes.iter().filter(|size| **size < differs);
        prop_assert_eq!(lane.matched.map(|held| held.checkpoint.size), good.clone().max().copied());
        prop_assert_eq!(lane.matches, good.count() as u64);
        let bad: Vec<u64> = sizes.iter().copied().filter(|size| *size >= differs).collect();
        prop_assert_eq!(lane.mismatch.as_ref().map(|m| (m.held.checkpoint.size, m.count)),
            bad.first().map(|size| (*size, bad.len() as u64)));
        let known = with_leaves && bad.last().is_some();
        prop_assert_eq!(lane.first_difference, known.then_some(differs));
        prop_assert_eq!(lane.unreached(), 0);
    }
}

#[test]
fn a_hole_ends_the_tree_and_not_the_comparison_of_leaves() {
    let mut all = leaves(60);
    let history = history(&all, &[20, 40, 60], true);
    all[49].0[0] ^= 1;
    let mut walk = Walk::new(&history, &stream()).unwrap();
    for (number, leaf) in (1..).zip(&all).filter(|(number, _)| !(30..=33).contains(number)) {
        walk.leaf(number, *leaf);
    }
    let (lanes, hole) = walk.finish(None);
    assert_eq!(hole.unwrap().to_string(), "the numbers 30-33 are missing");
    let lane = &lanes[0];
    assert_eq!((lane.reached, lane.matches, lane.unreached()), (29, 1, 2));
    assert_eq!(lane.first_difference, Some(50));
    assert!(lane.mismatch.is_none());
}
