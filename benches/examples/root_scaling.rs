//! How long a root takes by the wall and how much processor time, on one thread and on two: `root_scaling [COUNT]`. If two
//! threads take the same processor time and not half of the wall's, they were kept from running, not from working.

use std::hint::black_box;
use std::time::{Duration, Instant};

use benches::{inputs, stream};
use rustix::time::{ClockId, clock_gettime};
use ves::merkle;

const ROUNDS: usize = 400;

/// The processor time of all threads so far.
fn processor() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

fn main() {
    let count = std::env::args().nth(1).and_then(|n| n.parse().ok());
    let count = count.unwrap_or(100_000);
    let (stream, inputs) = (stream(), inputs(count));
    for threads in [1, 2] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .expect("threads");
        let (mut wall, mut worked) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let (begun, before) = (Instant::now(), processor());
            black_box(pool.install(|| merkle::root_of_leaf_inputs(&stream, &inputs)));
            wall.push(begun.elapsed());
            worked.push(processor() - before);
        }
        wall.sort();
        worked.sort();
        let ns = |time: Duration| time.as_secs_f64() * 1e9 / count as f64;
        println!(
            "{threads} threads: {:.1} ns a leaf by the wall at best, {:.1} in the median; {:.1} and {:.1} of processor time",
            ns(wall[0]),
            ns(wall[ROUNDS / 2]),
            ns(worked[0]),
            ns(worked[ROUNDS / 2]),
        );
    }
}
