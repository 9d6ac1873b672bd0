//! Whole worlds in memory: agents, a sequencer, a disaster, a repair by the real code with faults in the middle of it, and the
//! sequencer going on; after each step it is looked whether what must hold does.
//!
//! A world is decided by its seed, and so is what goes wrong in it, down to the step of SQLite's machine at which a statement
//! fails or the process is killed. See docs/assurance.md.

#![forbid(unsafe_code)]

#[cfg(test)]
mod bites;
mod check;
mod faults;
mod figures;
mod ledger;
mod operator;
mod play;
mod scene;
mod sequencer;
mod stage;
mod tables;

pub use figures::Figures;
pub use play::play;
pub use scene::Scene;

/// The first words of a broken rule: what it is called.
pub fn rule(broken: &str) -> &str {
    broken.split(':').next().unwrap_or(broken)
}

/// Makes a failing scene as simple as it can be and still break the same rule. Returns it with what it breaks.
pub fn shrink(mut scene: Scene, mut broken: String) -> (Scene, String) {
    let name = rule(&broken).to_owned();
    loop {
        let simpler = scene
            .simpler()
            .into_iter()
            .find_map(|simpler| match play(&simpler) {
                Err(error) if rule(&error) == name => Some((simpler, error)),
                _ => None,
            });
        match simpler {
            Some(found) => (scene, broken) = found,
            None => return (scene, broken),
        }
    }
}
