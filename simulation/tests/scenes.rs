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
    seeds_1_to_30: 1..31;
    seeds_31_to_60: 31..61;
    seeds_61_to_90: 61..91;
    seeds_91_to_120: 91..121;
    seeds_121_to_150: 121..151;
    seeds_151_to_180: 151..181;
    seeds_181_to_210: 181..211;
    seeds_211_to_240: 211..241;
}
