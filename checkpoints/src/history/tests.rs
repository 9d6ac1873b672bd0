use ed25519_dalek::SigningKey;
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::epoch::{EpochGeneration, EpochStream, RecoveryEpoch};
use crate::note::{KeyKind, VerifierKey};

fn key() -> SigningKey {
    SigningKey::from_bytes(&[1; 32])
}

fn policy() -> Policy {
    let log = VerifierKey::new("a.example", KeyKind::Log, key().verifying_key()).unwrap();
    Policy::new(vec![log], Vec::new(), 0).unwrap()
}

fn stream() -> StreamKey {
    StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into())
}

/// The leaves of one history; two histories have the first `common` in common.
fn leaves(count: u64, other_from: u64) -> Vec<Hash32> {
    (1..=count)
        .map(|n| {
            let mut bytes = [n as u8; 32];
            bytes[0] = u8::from(n > other_from);
            Hash32(bytes)
        })
        .collect()
}

fn root(leaves: &[Hash32]) -> CompactRange {
    let mut range = CompactRange::default();
    range.extend(leaves);
    range
}

/// An entry at a size of a history, with its leaves from `first` on.
fn entry(generation: u32, all: &[Hash32], size: u64, first: Option<u64>) -> Entry {
    let range = root(&all[..size as usize]);
    let checkpoint = Checkpoint {
        origin: Origin {
            deployment: "a.example".into(),
            stream: stream(),
            generation,
        },
        size,
        root: range.root(),
        time: Some(Timestamp(size as i64)),
        continues: (generation > 1).then(|| Continues {
            size: 20,
            root: root(&all[..20]).root(),
            epoch: Hash32::ZERO,
            loss: None,
        }),
    };
    Entry {
        leaves: first.map(|first| LeavesOfFile {
            first,
            hashes: all[first as usize - 1..size as usize].to_vec(),
        }),
        peaks: Vec::new(),
        note: checkpoint.sign(&key()),
        checkpoint,
    }
}

fn history(files: &[&[Entry]]) -> History {
    let policy = policy();
    let mut collector = Collector::new(&policy);
    for (n, entries) in files.iter().enumerate() {
        let text: String = entries.iter().map(Entry::to_text).collect();
        collector
            .read(&format!("{n}.checkpoints"), text.as_bytes())
            .unwrap();
    }
    collector.finish()
}

fn sizes(held: &[CountedCheckpoint]) -> Vec<u64> {
    held.iter().map(|held| held.checkpoint.size).collect()
}

#[test]
fn leaves_are_proven_up_to_the_last_checkpoint_and_link_what_is_between() {
    let all = leaves(60, 99);
    let file = [
        entry(1, &all, 20, Some(1)),
        entry(1, &all, 40, Some(21)),
        entry(1, &all, 50, None),
    ];
    let other = [entry(1, &all, 31, None)];
    let history = history(&[&file, &other]);
    assert!(
        history.conflicts.is_empty() && history.refused.is_empty(),
        "{history:?}"
    );
    let tree = history.of(&stream()).next().unwrap().current().unwrap();
    assert_eq!(sizes(&tree.checkpoints), [20, 31, 40, 50]);
    let linked: Vec<bool> = tree.checkpoints.iter().map(|held| held.linked).collect();
    assert_eq!(linked, [true, true, true, false]);
    for n in 1..=40 {
        assert_eq!(tree.leaf(n), Some(all[n as usize - 1]));
    }
    assert_eq!((tree.leaf(0), tree.leaf(41)), (None, None));
}

#[test]
fn leaves_that_do_not_give_the_root_are_not_used_and_peaks_begin_anew() {
    let all = leaves(60, 99);
    let mut broken = entry(1, &all, 40, Some(21));
    broken.leaves.as_mut().unwrap().hashes[3] = Hash32::ZERO;
    let mut again = entry(1, &all, 44, None);
    again.peaks = root(&all[..44]).peaks().to_vec();
    let file = [
        entry(1, &all, 20, Some(1)),
        broken,
        again,
        entry(1, &all, 60, Some(45)),
    ];
    let history = history(&[&file]);
    assert!(history.conflicts.is_empty());
    assert_eq!(history.refused.len(), 1, "{:?}", history.refused);
    let tree = history.of(&stream()).next().unwrap().current().unwrap();
    assert_eq!(sizes(&tree.checkpoints), [20, 40, 44, 60]);
    let known = |n: u64| tree.leaf(n).is_some();
    assert!(known(20) && !known(21) && !known(44) && known(45) && known(60));
}

#[test]
fn two_histories_are_told_and_nothing_behind_their_parting_is_used() {
    let (one, two) = (leaves(60, 99), leaves(60, 25));
    // One size, two roots.
    let a = [
        entry(1, &one, 20, None),
        entry(1, &one, 40, None),
        entry(1, &one, 50, None),
    ];
    let both = history(&[&a, &[entry(1, &two, 40, None)]]);
    let kinds: Vec<_> = both.conflicts.iter().map(|c| (c.kind, c.size)).collect();
    assert_eq!(kinds, [(ConflictKind::TwoRoots, 40)]);
    let tree = &both.of(&stream()).next().unwrap().generations[0];
    assert_eq!(
        (sizes(&tree.checkpoints), sizes(&tree.contested)),
        (vec![20], vec![40, 40, 50])
    );
    // No size in common: the leaves of the one tell.
    let b = [entry(1, &one, 20, Some(1)), entry(1, &one, 50, Some(21))];
    let both = history(&[&b, &[entry(1, &two, 22, None), entry(1, &two, 45, None)]]);
    let kinds: Vec<_> = both.conflicts.iter().map(|c| (c.kind, c.size)).collect();
    assert_eq!(kinds, [(ConflictKind::Fork, 45)]);
    let tree = &both.of(&stream()).next().unwrap().generations[0];
    assert_eq!(sizes(&tree.checkpoints), [20, 22]);
    assert!(tree.leaf(22).is_some() && tree.leaf(23).is_none());
    assert_eq!(
        both.of(&stream())
            .next()
            .unwrap()
            .highest_contested()
            .unwrap()
            .checkpoint
            .size,
        50
    );
}

#[test]
fn time_that_goes_backwards_is_told_and_takes_nothing_away() {
    let all = leaves(60, 99);
    let mut late = entry(1, &all, 30, None);
    late.checkpoint.time = Some(Timestamp(100));
    late.note = late.checkpoint.sign(&key());
    let history = history(&[&[late, entry(1, &all, 40, None)]]);
    assert_eq!(history.conflicts[0].kind, ConflictKind::Time);
    assert_eq!(sizes(&history.streams[0].generations[0].checkpoints), [30, 40]);
}

#[test]
fn a_generation_is_explained_by_what_it_continues_or_not_used() {
    let (one, two) = (leaves(60, 99), leaves(60, 25));
    let first = [entry(1, &one, 20, Some(1)), entry(1, &one, 50, Some(21))];
    let fits = history(&[&first, &[entry(2, &two, 40, Some(1))]]);
    assert!(fits.conflicts.is_empty(), "{:?}", fits.conflicts);
    let of = fits.of(&stream()).next().unwrap();
    assert_eq!(of.current().unwrap().origin.generation, 2);
    assert_eq!(of.highest().unwrap().checkpoint.size, 50);
    // It says that it continues another history than the first generation's.
    let other = leaves(60, 10);
    let alien = history(&[&first, &[entry(2, &other, 40, None)]]);
    assert_eq!(alien.conflicts[0].kind, ConflictKind::Generation);
    assert_eq!(alien.streams[0].current().unwrap().origin.generation, 1);
    // Its own tree is not what it says.
    let mut own = entry(2, &two, 40, Some(1));
    let wrong = entry(2, &other, 40, Some(1));
    own.leaves = wrong.leaves;
    own.checkpoint.root = wrong.checkpoint.root;
    own.note = own.checkpoint.sign(&key());
    let own = history(&[&first, &[own]]);
    assert_eq!(own.conflicts[0].kind, ConflictKind::Generation);
}

#[test]
fn what_nobody_trusted_signed_does_not_count_and_its_leaves_wait_for_who_is() {
    let all = leaves(60, 99);
    let mut foreign = entry(1, &all, 30, Some(21));
    foreign.note = foreign.checkpoint.sign(&SigningKey::from_bytes(&[2; 32]));
    let file = [entry(1, &all, 20, Some(1)), foreign, entry(1, &all, 40, Some(31))];
    let history = history(&[&file]);
    assert_eq!(history.refused.len(), 1);
    let tree = history.streams[0].current().unwrap();
    assert_eq!(sizes(&tree.checkpoints), [20, 40]);
    assert!(tree.leaf(25).is_some() && tree.leaf(40).is_some());
}

proptest! {
    /// Whatever single leaf or root of a file is altered: no leaf but the true one is ever proven.
    #[test]
    fn no_altered_leaf_is_ever_proven(
        cuts in prop::collection::btree_set(1u64..60, 1..8),
        at in any::<prop::sample::Index>(),
        which in any::<prop::sample::Index>(),
        peaks in any::<bool>(),
    ) {
        let all = leaves(60, 99);
        let mut before = 0;
        let mut file: Vec<Entry> = cuts
            .iter()
            .map(|&size| {
                let mut entry = entry(1, &all, size, Some(before + 1));
                if peaks {
                    entry.peaks = root(&all[..size as usize]).peaks().to_vec();
                }
                before = size;
                entry
            })
            .collect();
        let n = at.index(file.len());
        let hashes = &mut file[n].leaves.as_mut().unwrap().hashes;
        let leaf = which.index(hashes.len());
        hashes[leaf].0[5] ^= 1;
        let history = history(&[&file]);
        let tree = &history.streams[0].generations[0];
        prop_assert!(history.conflicts.is_empty());
        prop_assert_eq!(tree.checkpoints.len(), file.len());
        for position in 1..=60 {
            if let Some(leaf) = tree.leaf(position) {
                prop_assert_eq!(leaf, all[position as usize - 1]);
            }
        }
        // With peaks, only the altered entry's leaves are lost.
        if peaks {
            let lost = (1..=before).filter(|p| tree.leaf(*p).is_none()).count();
            prop_assert_eq!(lost, file[n].leaves.as_ref().unwrap().hashes.len());
        }
    }
}

#[test]
fn what_binds_a_log_is_the_newest_generation_and_what_others_have_in_common_with_it() {
    let (one, two) = (leaves(60, 99), leaves(60, 25));
    let first = [
        entry(1, &one, 10, Some(1)),
        entry(1, &one, 20, Some(11)),
        entry(1, &one, 50, Some(21)),
    ];
    let alone = history(&[&first]);
    let of = &alone.streams[0];
    assert_eq!(of.limits(), [None]);
    assert_eq!(of.binding().len(), 3);
    let both = history(&[&first, &[entry(2, &two, 40, Some(1))]]);
    let of = &both.streams[0];
    assert_eq!(of.limits(), [Some(20), None]);
    let sizes: Vec<u64> = of.binding().iter().map(|held| held.checkpoint.size).collect();
    assert_eq!(sizes, [10, 20, 40]);
    let mut proven = of.proven_leaves();
    for n in 1..=60u64 {
        let expected = (n <= 40).then(|| two[n as usize - 1]);
        assert_eq!(proven.at(n), expected, "{n}");
    }
    // Where the second generation is not there, nobody knows where it left the first.
    let gap = history(&[&first, &[entry(3, &two, 40, Some(1))]]);
    assert_eq!(gap.streams[0].limits(), [Some(0), None]);
    assert_eq!(gap.streams[0].binding().len(), 1);
}

#[test]
fn a_checkpoint_is_linked_if_leaves_lead_to_it_from_the_one_before() {
    let all = leaves(60, 99);
    let with_peaks = |size: u64, first: Option<u64>| Entry {
        peaks: root(&all[..size as usize]).peaks().to_vec(),
        ..entry(1, &all, size, first)
    };
    let linked = |files: &[&[Entry]]| -> Vec<bool> {
        let history = history(files);
        let tree = history.streams[0].current().unwrap();
        tree.checkpoints.iter().map(|held| held.linked).collect()
    };
    let none = [with_peaks(20, None), with_peaks(40, None), with_peaks(50, None)];
    assert_eq!(linked(&[&none]), [true, false, false]);
    let some = [
        with_peaks(20, None),
        with_peaks(40, Some(21)),
        with_peaks(50, None),
    ];
    assert_eq!(linked(&[&some]), [true, true, false]);
    // The other party's copy has what leads from one to the other.
    let other = [with_peaks(40, None), with_peaks(50, Some(41))];
    assert_eq!(linked(&[&some, &other]), [true, true, true]);
}

#[test]
fn entries_that_do_not_count_say_of_which_kind_they_are() {
    let all = leaves(60, 99);
    let mut foreign = entry(1, &all, 10, None);
    foreign.note = foreign.checkpoint.sign(&SigningKey::from_bytes(&[2; 32]));
    let mut forged = entry(1, &all, 11, None);
    forged.note.signatures[0].bytes[3] ^= 1;
    let mut wrong = entry(1, &all, 20, Some(1));
    wrong.leaves.as_mut().unwrap().hashes[0] = Hash32::ZERO;
    let loose = entry(1, &all, 30, Some(25));
    let file = [foreign, forged, wrong, loose];
    let kinds: Vec<Refusal> = history(&[&file]).refused.iter().map(|r| r.kind).collect();
    assert_eq!(
        kinds,
        [
            Refusal::Unknown,
            Refusal::Signature,
            Refusal::Leaves,
            Refusal::Unconnected
        ]
    );
}

/// What opens the second generation of a history at 20 events.
fn opened() -> EpochGeneration {
    EpochGeneration {
        number: 2,
        common_size: 20,
        common_root: root(&leaves(60, 99)[..20]).root(),
        loss: None,
    }
}

/// An epoch of a stream, signed by the operator.
fn epoch(stream: StreamKey, generation: Option<EpochGeneration>) -> RecoveryEpoch {
    let stream = EpochStream {
        stream,
        recovered_head: 20,
        head: 40,
        counter: 40,
        restored: Vec::new(),
        generation,
    };
    let mut epoch = RecoveryEpoch::new(Uuid::nil(), Timestamp(7), vec![stream]).unwrap();
    epoch.sign(&key()).unwrap();
    epoch
}

/// The epoch as it is read from a file, its signature checked with a key.
fn given(epoch: &RecoveryEpoch, key: Option<&SigningKey>) -> GivenEpoch {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("epoch.json");
    epoch.write(&path).unwrap();
    GivenEpoch::read(&path, key.map(SigningKey::verifying_key).as_ref()).unwrap()
}

/// A second generation that names an epoch.
fn naming(hash: Hash32) -> Generation {
    let mut second = entry(2, &leaves(60, 99), 40, Some(1));
    second.checkpoint.continues.as_mut().unwrap().epoch = hash;
    second.note = second.checkpoint.sign(&key());
    let history = history(&[&[second]]);
    Generation::clone(&history.streams[0].generations[0])
}

#[test]
fn a_generation_is_explained_by_the_epoch_that_it_names_alone() {
    let good = epoch(stream(), Some(opened()));
    let generation = naming(good.hash().unwrap());
    let with = |epochs: &[GivenEpoch]| generation.explained_by(epochs);
    assert!(matches!(with(&[]), Explanation::NotChecked(_)));
    let valid = given(&good, Some(&key()));
    assert!(matches!(
        with(std::slice::from_ref(&valid)),
        Explanation::Epoch(_)
    ));
    assert!(matches!(with(&[given(&good, None)]), Explanation::NotChecked(_)));
    let other_key = SigningKey::from_bytes(&[2; 32]);
    let by_another = given(&good, Some(&other_key));
    assert!(matches!(with(&[by_another]), Explanation::Nothing(_)));
    let unnamed = naming(Hash32::ZERO).explained_by(&[valid]);
    assert!(matches!(unnamed, Explanation::Nothing(_)));
}

#[test]
fn an_epoch_explains_no_generation_that_it_did_not_open() {
    let nil = StreamKey::new(Uuid::nil().into(), Uuid::nil().into());
    let altered = |change: fn(&mut EpochGeneration)| {
        let mut generation = opened();
        change(&mut generation);
        epoch(stream(), Some(generation))
    };
    let others = [
        epoch(nil, Some(opened())),
        epoch(stream(), None),
        altered(|g| g.number = 3),
        altered(|g| g.common_size = 19),
        altered(|g| g.common_root = Hash32::ZERO),
        altered(|g| g.loss = Some(Hash32::ZERO)),
    ];
    for other in others {
        let explained = naming(other.hash().unwrap()).explained_by(&[given(&other, Some(&key()))]);
        assert!(matches!(explained, Explanation::Nothing(_)), "{explained:?}");
    }
}
