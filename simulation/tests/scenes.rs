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
    seeds_1_to_50: 1..51;
    seeds_51_to_100: 51..101;
    seeds_101_to_150: 101..151;
    seeds_151_to_200: 151..201;
    seeds_201_to_250: 201..251;
    seeds_251_to_300: 251..301;
    seeds_301_to_350: 301..351;
    seeds_351_to_400: 351..401;
    seeds_401_to_450: 401..451;
    seeds_451_to_500: 451..501;
    seeds_501_to_550: 501..551;
    seeds_551_to_600: 551..601;
    seeds_601_to_650: 601..651;
    seeds_651_to_700: 651..701;
    seeds_701_to_750: 701..751;
    seeds_751_to_800: 751..801;
    seeds_801_to_850: 801..851;
    seeds_851_to_900: 851..901;
    seeds_901_to_950: 901..951;
    seeds_951_to_1000: 951..1001;
}
