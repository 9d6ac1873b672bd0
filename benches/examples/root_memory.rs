//! How much memory a root takes beside its leaf inputs: `root_memory ours|rival COUNT`. Linux only.

#[path = "../benches/rival/mod.rs"]
mod rival;

use benches::{inputs, peak_memory, stream};
use ves::merkle;

fn main() {
    let mut args = std::env::args().skip(1);
    let who = args.next().unwrap_or_else(|| "ours".into());
    let count = args.next().and_then(|n| n.parse().ok()).unwrap_or(10_000_000);
    let (stream, inputs) = (stream(), inputs(count));
    let before = peak_memory();
    let root = match who.as_str() {
        "rival" => rival::root(&stream, &inputs),
        _ => merkle::root_of_leaf_inputs(&stream, &inputs),
    };
    let root = root.map(|root| root.to_string()).unwrap_or_default();
    println!(
        "{who}, {count} leaf inputs: {} KiB more, root {root}",
        peak_memory() - before
    );
}
