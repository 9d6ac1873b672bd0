//! Micro-benchmarks, to see what a change does. Comparisons with rivals are in the other benches.

use benches::{hashes, inputs, stream};
use criterion::{Criterion, Throughput};
use ves::kernel::Kernel;
use ves::{Hash32, merkle};

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let (level, inputs, stream) = (hashes(2048), inputs(1024), stream());
    let mut out = vec![Hash32::ZERO; 1024];

    let mut group = criterion.benchmark_group("nodes");
    group.throughput(Throughput::Elements(1024));
    for kernel in Kernel::available() {
        group.bench_function(kernel.to_string(), |b| {
            b.iter(|| kernel.node_hashes(&level, &mut out));
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("leaves");
    group.throughput(Throughput::Elements(1024));
    for kernel in Kernel::available() {
        group.bench_function(kernel.to_string(), |b| {
            b.iter(|| kernel.leaf_hashes(&stream, &inputs, &mut out));
        });
    }
    group.finish();

    criterion.bench_function("root of 1024 leaf inputs", |b| {
        b.iter(|| merkle::root_of_leaf_inputs(&stream, &inputs));
    });
    criterion.final_summary();
}
