//! Every parser of bytes that others wrote, as a function of those bytes.
//!
//! A [`Target`] panics only if what it tries panics, or says something else than its oracle. It is used in two ways: the tests of
//! this crate run each on its corpus (`fixtures/corpus/NAME`) and on seeded mutations of it ([`mutation`]), in every build;
//! `scripts/fuzz` runs them for hours, guided by what code an input reaches (`fuzz/`, a workspace of its own).
//!
//! What a digest or a signature protects is sealed anew by the target, so that a mutation gets past it: hostile files come with
//! right digests, too.
//!
//! docs/assurance.md has the table of what is tried, against what, how often, and what was found.

#![forbid(unsafe_code)]

pub mod corpus;
pub mod mutation;

mod anchors;
mod chain;
mod checkpoint_files;
mod documents;
mod exports;
mod json;
mod logs;
mod outboxes;
mod repair;
mod scratch;
mod sealed;
mod services;
mod words;

/// One parser, or several of one kind.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, and that of its corpus.
    pub name: &'static str,
    /// Longer inputs reach nothing new, in bytes.
    pub longest: usize,
    /// How many mutations a test tries: such that all tests together take about a minute.
    pub in_tests: u32,
    /// Tries one input.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: &[Target] = &[
    of("anchors", 1 << 14, 4000, anchors::file),
    of("apply", 1 << 14, 100, repair::plan),
    of("bundle", 1 << 14, 800, anchors::bundle),
    of("chain-header", 2048, 20_000, chain::header),
    of("chain-proofs", 1 << 13, 4000, chain::proofs),
    of("chain-receipts", 1 << 13, 4000, chain::receipts),
    of("checkpoint-file", 1 << 13, 3000, checkpoint_files::file),
    of("checkpoint-note", 4096, 10_000, checkpoint_files::note),
    of("documents", 1 << 14, 8000, documents::documents),
    of("dump", 1 << 14, 300, logs::dump),
    of("epoch", 1 << 13, 3000, documents::epoch),
    of("event", 1 << 14, 6000, exports::event),
    of("event-proof", 1 << 14, 3000, anchors::proof),
    of("export", 1 << 14, 2000, exports::export),
    of("export-manifest", 4096, 3000, exports::manifest),
    of("grpc-pages", 1 << 13, 2000, services::pages),
    of("import", 1 << 14, 3000, anchors::import),
    of("jcs", 4096, 20_000, json::jcs),
    of("json-line", 4096, 20_000, json::line),
    of("jsonb", 4096, 10_000, json::jsonb),
    of("keys", 1 << 14, 3000, documents::keys),
    of("log-export", 1 << 14, 1500, logs::export),
    of("outbox-file", 1 << 16, 150, outboxes::file),
    of("outbox-manifest", 4096, 10_000, outboxes::manifest),
    of("outbox-pages", 1 << 16, 1000, outboxes::pages),
    of("outbox-row", 4096, 400, outboxes::row),
    of("packed", 1 << 13, 3000, logs::packed),
    of("plan", 1 << 14, 2000, sealed::plan),
    of("post-quantum", 1 << 15, 3000, json::post_quantum),
    of("push-answer", 1 << 13, 6000, services::push_answer),
    of("receipts", 1 << 13, 6000, exports::receipts),
    of("signatures", 4096, 1000, json::signatures),
    of("snapshot", 1 << 17, 100, logs::snapshot),
    of("undo", 1 << 14, 2000, sealed::undo),
    of("urls", 1024, 10_000, words::urls),
    of("watch-memory", 1 << 15, 500, logs::watch_memory),
    of("words", 1024, 10_000, words::words),
];

const fn of(name: &'static str, longest: usize, in_tests: u32, run: fn(&[u8])) -> Target {
    Target {
        name,
        longest,
        in_tests,
        run,
    }
}

/// The target of this name.
#[must_use]
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
