//! A whole verification of a big world from its snapshot file, on one thread and on two, beside the straightforward
//! pipeline on the same file, of few keys and of ten thousand. `--large` takes a million events instead of a hundred thousand. The world is made once and
//! kept: see `benches::worlds`.

use std::error::Error;

use benches::worlds::KeptWorld;
use benches::{Clock, Options, Table};
use fixtures::BigSpec;
use pipeline::{Anchored, Sound};
use rayon::ThreadPoolBuilder;

#[path = "rival/pipeline.rs"]
mod pipeline;
mod rival;

fn main() -> Result<(), Box<dyn Error>> {
    let options = Options::from_args();
    let events = if options.large { 1_000_000 } else { 100_000 };
    let mut table = Table::new(
        &options,
        Clock::Wall,
        "`rusqlite`, `serde_json`, `serde_json_canonicalizer`, `sha2`, `ed25519-dalek`, `rs_merkle`, `rayon`",
        "event",
    );
    // Few keys, as most logs have; and thousands, of which each signs a handful of times.
    for (agents, rows) in [
        (
            BigSpec::default().agents,
            &[
                (2, false, Some(3.0)),
                (2, true, Some(3.0)),
                (1, false, None),
                (1, true, None),
            ][..],
        ),
        (10_000, &[(2, false, None), (2, true, Some(10.0))][..]),
    ] {
        let name = |(threads, receipts, _): &(usize, bool, Option<f64>)| {
            let which = if *receipts { "with" } else { "without" };
            format!("{events} events by {agents} keys, {threads} thread(s), {which} signatures of receipts")
        };
        if !rows.iter().map(name).any(|name| table.selects(&name)) {
            continue;
        }
        let world = KeptWorld::open(&BigSpec {
            events,
            agents,
            ..BigSpec::default()
        })?;
        let anchored = anchored(&world);
        for row in rows {
            let (threads, receipts, at_least) = *row;
            let pool = ThreadPoolBuilder::new().num_threads(threads).build()?;
            let key = receipts.then_some(&world.sequencer_key);
            table.compare(
                &name(row),
                events as usize,
                at_least,
                || pool.install(|| pipeline::verify(&world.db, &anchored, key).map_err(|e| e.to_string())),
                || {
                    pool.install(|| {
                        let report = world.verify(receipts).map_err(|e| e.to_string())?;
                        Ok(Sound {
                            events: report.totals.events,
                            batches: report.totals.batches.matches_anchors,
                        })
                    })
                },
            );
        }
    }
    Ok(())
}

/// The batches of a world's anchors file, as the rival takes them.
fn anchored(world: &KeptWorld) -> Anchored {
    let anchors = world.anchors.anchors.iter();
    anchors
        .filter_map(|a| {
            Some((
                (a.stream?, a.sequence_start, a.sequence_end),
                (a.events_root, a.state_root),
            ))
        })
        .collect()
}
