//! Scenes that are played each time. More are played by hand, see docs/assurance.md.

#![allow(clippy::unwrap_used)]

use std::ops::Range;

use simulation::{Figures, Scene, play};

fn play_all(seeds: Range<u64>) {
    let mut figures = Figures::default();
    for seed in seeds {
        let scene = Scene::of(seed);
        match play(&scene) {
            Ok(played) => figures.add(&played),
            Err(broken) => panic!(
                "seed {seed}: {broken}\n  cargo run --release -p simulation -- {}",
                scene.arguments()
            ),
        }
    }
    println!("{figures}");
    // Scenes in which nothing happens prove nothing.
    assert!(figures.applies > 0 && !figures.placed.is_empty() && !figures.faults.is_empty());
}

/// Parts, to be played beside each other.
macro_rules! parts {
    ($($name:ident: $seeds:expr;)*) => {
        $(#[test]
        fn $name() {
            play_all($seeds);
        })*
    };
}

parts! {
    seeds_1_to_20: 1..21;
    seeds_21_to_40: 21..41;
    seeds_41_to_60: 41..61;
    seeds_61_to_80: 61..81;
    seeds_81_to_100: 81..101;
    seeds_101_to_120: 101..121;
    seeds_121_to_140: 121..141;
    seeds_141_to_160: 141..161;
    seeds_161_to_180: 161..181;
}
