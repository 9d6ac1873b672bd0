//! Roots from leaf inputs on two threads, beside `rs_merkle`. `-- --large` adds ten million leaves,
//! which takes minutes and 6 GiB.

mod rival;

use benches::{Clock, Options, Table, inputs, stream};
use ves::merkle;

fn main() {
    let options = Options::from_args();
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(2)
        .build()
        .expect("two threads");
    let stream = stream();
    let mut sizes = vec![
        (1_000, None),
        (10_000, None),
        (100_000, Some(12.0)),
        (1_000_000, None),
    ];
    if options.large {
        sizes.push((10_000_000, Some(18.0)));
    }
    let mut table = Table::new(&options, Clock::Wall, "`rs_merkle`", "leaf");
    for (count, at_least) in sizes {
        let inputs = inputs(count);
        table.compare(
            &format!("root of {count} leaf inputs, two threads"),
            count,
            at_least,
            || rival::root(&stream, &inputs),
            || pool.install(|| merkle::root_of_leaf_inputs(&stream, &inputs)),
        );
    }
}
