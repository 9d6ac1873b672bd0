//! Trying guesses against a root: hashing the paths that changed, on all cores, beside what was done before: for each
//! guess the leaves of all open positions are hashed, and the whole tree over them.
#![allow(missing_docs, clippy::unwrap_used)]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sequencer_recovery::place::solve::{Paths, Slot, first_match};
use uuid::Uuid;
use ves::merkle::leaf_hash;
use ves::{Hash32, SignatureBytes, StreamKey, merkle};

/// The leaf of some event at a position.
fn leaf(slot: usize, choice: u32) -> Hash32 {
    let stream = StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into());
    let hash = Hash32([choice as u8; 32]);
    leaf_hash(&stream, slot as u64, &hash, &SignatureBytes([choice as u8; 64]))
}

/// Guesses as a search draws them: most positions keep their likeliest event, a few take another one.
fn guesses(open: usize, count: usize) -> Vec<Vec<u32>> {
    (0..count)
        .map(|n| {
            let mut guess = vec![0; open];
            let mut rest = n;
            while rest > 0 {
                guess[rest % open] = 1 + (rest / open % 2) as u32;
                rest /= open;
            }
            guess
        })
        .collect()
}

fn solver(c: &mut Criterion) {
    let mut group = c.benchmark_group("guesses");
    for (width, open) in [(32, 20), (64, 48), (256, 40), (1024, 100)] {
        let guesses = guesses(open, 2048);
        let leaves: Vec<Hash32> = (0..width).map(|i| leaf(i, 0)).collect();
        let at: Vec<usize> = (0..open).map(|slot| slot * width / open).collect();
        let slots: Vec<Slot> = at
            .iter()
            .map(|i| Slot {
                leaves: (0..3).map(|choice| leaf(*i, choice + 1)).collect(),
            })
            .collect();
        let paths = Paths::of_batch(&leaves, &at).unwrap();
        let nothing = Hash32::ZERO;
        group.throughput(Throughput::Elements(guesses.len() as u64));
        let name = format!("{open} open of {width}");
        group.bench_function(BenchmarkId::new("changed paths, all cores", &name), |b| {
            b.iter(|| first_match(&paths, &slots, black_box(&nothing), &guesses));
        });
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        group.bench_function(BenchmarkId::new("changed paths, one core", &name), |b| {
            b.iter(|| one.install(|| first_match(&paths, &slots, black_box(&nothing), &guesses)));
        });
        group.bench_function(BenchmarkId::new("all leaves and the whole tree", &name), |b| {
            b.iter(|| {
                let mut leaves = leaves.clone();
                guesses.iter().position(|guess| {
                    for (slot, choice) in guess.iter().enumerate() {
                        leaves[at[slot]] = leaf(at[slot], choice + 1);
                    }
                    merkle::root(&leaves) == Some(*black_box(&nothing))
                })
            });
        });
    }
    group.finish();
}

criterion_group!(benches, solver);
criterion_main!(benches);
