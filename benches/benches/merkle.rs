//! Roots from leaf inputs beside `rs_merkle`, which knows one thread: ours on two, by the wall's clock,
//! and on one, by the thread's own, which is the surer measure where others use the machine too.
//! `-- --large` adds ten million leaves, which takes minutes and 6 GiB. The tree over a stream, which checkpoints sign, stands
//! beside `tlog_tiles`.

mod rival;
#[path = "rival/log_tree.rs"]
mod rival_log;

use benches::{Clock, Options, Table, inputs, stream};
use rayon::ThreadPool;
use ves::log_tree::CompactRange;
use ves::{Hash32, merkle};

fn compare(table: &mut Table, pool: &ThreadPool, count: usize, threads: &str, at_least: Option<f64>) {
    let (stream, inputs) = (stream(), inputs(count));
    table.compare(
        &format!("root of {count} leaf inputs, {threads}"),
        count,
        at_least,
        || rival::root(&stream, &inputs),
        || pool.install(|| merkle::root_of_leaf_inputs(&stream, &inputs)),
    );
}

/// The tree over a stream beside another's, which keeps what it hashed.
fn compare_log(table: &mut Table, pool: &ThreadPool, count: usize) {
    let leaves: Vec<Hash32> = inputs(count)
        .iter()
        .map(|input| input.event_signing_hash)
        .collect();
    table.compare(
        &format!("log tree of {count} leaves, one thread"),
        count,
        None,
        || rival_log::root(&leaves),
        || {
            pool.install(|| {
                let mut range = CompactRange::default();
                range.extend(&leaves);
                range.root()
            })
        },
    );
}

/// A pool that the calling thread is part of.
fn pool(threads: usize) -> ThreadPool {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .use_current_thread()
        .build()
        .expect("threads")
}

fn main() {
    let options = Options::from_args();
    let mut sizes = vec![
        (1_000, None),
        (10_000, None),
        (100_000, Some(12.0)),
        (1_000_000, None),
    ];
    if options.large {
        sizes.push((10_000_000, Some(18.0)));
    }
    // This thread is one of the two: handing everything to two others and waiting costs a wake-up more, and leaves the
    // scheduler with three threads to place on two processors.
    let two = pool(2);
    let mut table = Table::new(&options, Clock::Wall, "`rs_merkle`", "leaf");
    for (count, at_least) in &sizes {
        compare(&mut table, &two, *count, "two threads", *at_least);
    }
    drop(table);
    let on_one = || {
        let one = pool(1);
        let mut table = Table::new(&options, Clock::Thread, "`rs_merkle`", "leaf");
        for (count, _) in &sizes {
            compare(&mut table, &one, *count, "one thread", None);
        }
        drop(table);
        let mut table = Table::new(&options, Clock::Thread, "`tlog_tiles`", "leaf");
        for count in [1_000, 100_000] {
            compare_log(&mut table, &one, count);
        }
    };
    // A thread belongs to one pool for good.
    std::thread::scope(|scope| scope.spawn(on_one).join().expect("the comparisons"));
}
