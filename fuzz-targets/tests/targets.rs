//! Each target on its corpus and on seeded mutations of it: a test for each, so that they run side by side.

#![allow(clippy::unwrap_used)]

use fixtures::Rng;
use fuzz_targets::{TARGETS, corpus, mutation, target};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No input of some kilobytes may take more memory than this. It is all that the process may map: threads' stacks, and
/// what several tests of one process take together.
const MEMORY: u64 = 6 << 30;

fn limit_memory() {
    let hard = getrlimit(Resource::As).maximum;
    let limit = Rlimit {
        current: Some(hard.map_or(MEMORY, |hard| hard.min(MEMORY))),
        maximum: hard,
    };
    setrlimit(Resource::As, limit).unwrap();
}

/// Runs a target; what an input comes from is told if it fails.
fn run(name: &str) {
    limit_memory();
    let target = target(name).unwrap();
    let inputs = corpus::inputs(name).unwrap();
    assert!(!inputs.is_empty(), "{name} has no corpus");
    for (file, bytes) in &inputs {
        println!("{file}");
        (target.run)(bytes);
    }
    let seeds: Vec<Vec<u8>> = inputs.into_iter().map(|(_, bytes)| bytes).collect();
    for n in 0..u64::from(target.in_tests) {
        // Each has a generator of its own, so that one can be tried again alone.
        let mut rng = Rng::new(n, name);
        let input = mutation::mutated(&seeds, &mut rng, target.longest);
        let result = std::panic::catch_unwind(|| (target.run)(&input));
        if let Err(panic) = result {
            println!("mutation {n} of {name}: {}", input.escape_ascii());
            std::panic::resume_unwind(panic);
        }
    }
}

macro_rules! tests {
    ($($test:ident $name:literal,)*) => {
        $(
            #[test]
            fn $test() {
                run($name);
            }
        )*

        #[test]
        fn every_target_has_a_test_and_a_corpus_of_its_own() {
            let tested: Vec<&str> = vec![$($name),*];
            let listed: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(tested, listed);
            let mut folders: Vec<String> = std::fs::read_dir(corpus::folder(""))
                .unwrap()
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect();
            folders.sort();
            assert_eq!(folders, listed);
        }
    };
}

tests! {
    anchors "anchors",
    apply "apply",
    bundle "bundle",
    chain_header "chain-header",
    chain_proofs "chain-proofs",
    chain_receipts "chain-receipts",
    checkpoint_file "checkpoint-file",
    checkpoint_note "checkpoint-note",
    documents "documents",
    dump "dump",
    epoch "epoch",
    event "event",
    event_proof "event-proof",
    export "export",
    export_manifest "export-manifest",
    grpc_pages "grpc-pages",
    import "import",
    jcs "jcs",
    json_line "json-line",
    jsonb "jsonb",
    keys "keys",
    log_export "log-export",
    outbox_file "outbox-file",
    outbox_manifest "outbox-manifest",
    outbox_pages "outbox-pages",
    outbox_row "outbox-row",
    packed "packed",
    plan "plan",
    post_quantum "post-quantum",
    push_answer "push-answer",
    receipts "receipts",
    signatures "signatures",
    snapshot "snapshot",
    undo "undo",
    urls "urls",
    watch_memory "watch-memory",
    words "words",
}

#[test]
fn a_corpus_stays_small() {
    for target in TARGETS {
        let inputs = corpus::inputs(target.name).unwrap();
        let bytes: usize = inputs.iter().map(|(_, bytes)| bytes.len()).sum();
        assert!(bytes <= 100 << 10, "{} has {bytes} bytes", target.name);
        for (file, bytes) in inputs {
            assert!(
                bytes.len() <= target.longest,
                "{}/{file} has {} bytes",
                target.name,
                bytes.len()
            );
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_mutations() {
    let seeds = [b"{\"a\": [1, 2]}\nx\n".to_vec(), b"0123456789".to_vec()];
    let of = |seed| mutation::mutated(&seeds, &mut Rng::new(seed, "x"), 64);
    let many: Vec<Vec<u8>> = (0..200).map(of).collect();
    assert_eq!(many, (0..200).map(of).collect::<Vec<_>>());
    let mut different = many.clone();
    different.sort();
    different.dedup();
    assert!(different.len() > 150, "{}", different.len());
    assert!(many.iter().all(|input| input.len() <= 64));
}
