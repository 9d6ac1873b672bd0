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
mod owed;
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
pub fn shrink(scene: Scene, broken: String) -> (Scene, String) {
    shrink_by(scene, broken, |scene| play(scene).err())
}

fn shrink_by(
    mut scene: Scene,
    mut broken: String,
    breaks: impl Fn(&Scene) -> Option<String>,
) -> (Scene, String) {
    let name = rule(&broken).to_owned();
    loop {
        let simpler = scene.simpler().into_iter().find_map(|simpler| {
            let error = breaks(&simpler).filter(|error| rule(error) == name)?;
            Some((simpler, error))
        });
        match simpler {
            Some(found) => (scene, broken) = found,
            None => return (scene, broken),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_scene_becomes_the_simplest_that_breaks_the_same_rule() {
        let breaks = |scene: &Scene| {
            if scene.get("events") < 24 {
                return Some("other: too few events".to_owned());
            }
            scene
                .has("faults")
                .then(|| format!("torn: {} events", scene.get("events")))
        };
        let mut scene = Scene::of(1);
        for choice in ["events=60", "faults=4", "holes=3"] {
            scene.set(choice).expect("a choice");
        }
        let broken = breaks(&scene).expect("it is broken");
        let (simple, broken) = shrink_by(scene, broken, breaks);
        assert_eq!(
            (simple.get("events"), simple.get("faults"), simple.get("holes")),
            (24, 2, 0)
        );
        assert_eq!(broken, "torn: 24 events");
        let again = simple.arguments();
        assert!(
            again.contains("--set events=24") && again.contains("--set faults=2"),
            "{again}"
        );
    }
}
