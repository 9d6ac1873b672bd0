//! A thousand scenes, and each that failed once.

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

/// Parts of the thousand, to be played beside each other.
macro_rules! parts {
    ($($name:ident: $seeds:expr;)*) => {
        $(#[test]
        fn $name() {
            play_all($seeds);
        })*
    };
}

parts! {
    seeds_1_to_125: 1..126;
    seeds_126_to_250: 126..251;
    seeds_251_to_375: 251..376;
    seeds_376_to_500: 376..501;
    seeds_501_to_625: 501..626;
    seeds_626_to_750: 626..751;
    seeds_751_to_875: 751..876;
    seeds_876_to_1000: 876..1001;
}
