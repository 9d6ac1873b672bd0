//! One program for all targets, so that all is compiled once: `FUZZ_TARGET` names the one that runs.
#![no_main]

use std::sync::LazyLock;

use fuzz_targets::{TARGETS, Target, target};
use libfuzzer_sys::fuzz_target;

static TARGET: LazyLock<&'static Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| {
        let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
        eprintln!("FUZZ_TARGET={name:?} names no target; there are {}", names.join(", "));
        std::process::exit(1);
    })
});

fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
