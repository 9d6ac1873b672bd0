//! What is played for a seed: the world, the disaster, the repair, and what goes wrong in it. Each choice has a name and is
//! a number, so that a failing scene can be made smaller one choice at a time and written on one line.

use fixtures::{Cut, Rng, WorldSpec};

/// The choices, with what each may be and the simplest, which is the first.
const CHOICES: &[(&str, &[u64])] = &[
    // The world.
    ("tenants", &[1, 2]),
    ("agents", &[1, 2, 3]),
    ("events", &[12, 24, 40, 60]),
    ("batch", &[4, 8, 12]),
    ("lost-percent", &[0, 20, 50, 90, 100]),
    ("anchored-percent", &[0, 50, 100]),
    ("wrong-claims-percent", &[0, 20, 60]),
    ("rejected-percent", &[0, 10]),
    ("lost-answers-percent", &[0, 10, 30]),
    ("lost-outboxes", &[0, 0, 1]),
    ("pruned-outboxes", &[0, 0, 1]),
    ("wal-outboxes", &[0, 1]),
    ("pulling-percent", &[0, 50, 100]),
    ("unsigned-pulls-percent", &[0, 50, 100]),
    ("older-rows", &[0, 0, 2]),
    ("tampered", &[0, 0, 1, 3]),
    ("lost-key", &[0, 0, 1]),
    ("revoked-key", &[0, 0, 0, 1]),
    ("signed-receipts", &[1, 1, 0]),
    ("holes", &[0, 0, 1, 3]),
    ("leading-hole", &[0, 0, 0, 2]),
    ("counters-behind", &[0, 0, 2]),
    // The rewound sequencer ran on: new events, old ones again, and commitments over them.
    ("reissued", &[0, 0, 0, 3]),
    ("repushed", &[0, 2]),
    ("reissue-commits", &[0, 1]),
    // Tables of the recovered log that are older than its events: so many of the newest rows are gone.
    ("receipts-behind", &[0, 0, 0, 4]),
    ("commands-behind", &[0, 0, 0, 2]),
    ("commitments-behind", &[0, 0, 1]),
    ("versions-behind", &[0, 0, 0, 2]),
    ("no-counters", &[0, 0, 0, 1]),
    // Agents that were restored from copies so many rows older.
    ("old-outboxes", &[0, 0, 1, 2]),
    ("outbox-rows-behind", &[1, 3, 8]),
    // The witnesses.
    ("outboxes-heard", &[1, 1, 1, 0]),
    ("anchors-heard", &[1, 1, 0]),
    ("checkpoints-heard", &[0, 0, 1]),
    ("replica", &[0, 0, 1]),
    ("replica-behind", &[0, 5, 12]),
    // A copy of the log in which so many pairs of events have changed places.
    ("forged-replica", &[0, 0, 0, 2]),
    // The repair: 0 by default, 1 committed, 2 corroborated, 3 claimed.
    ("accept", &[0, 0, 1, 2, 3]),
    // 0 leaves what was given out twice, 1 keeps the anchored, 2 keeps the current.
    ("on-reissue", &[0, 1, 2]),
    ("append", &[0, 0, 1]),
    ("fill", &[0, 0, 0, 1]),
    // So many places of the work at which something fails, each tried on a log of its own.
    ("faults", &[0, 2, 4]),
    // What follows.
    ("undo", &[0, 1]),
    ("runs-on", &[0, 3, 8]),
    // 0 none, 1 to the log before the repair, 2 to that after it, 3 into the middle of the repair.
    ("second-disaster", &[0, 1, 2, 3]),
];

/// The choices of one seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scene {
    /// Where all variation within the choices comes from.
    pub seed: u64,
    values: Vec<u64>,
    /// Those that were set, in place of what the seed chose.
    set: Vec<bool>,
}

impl Scene {
    /// What this seed chooses.
    pub fn of(seed: u64) -> Self {
        let values = CHOICES
            .iter()
            .map(|(name, choices)| Rng::new(seed, name).pick(choices))
            .collect();
        Self {
            seed,
            values,
            set: vec![false; CHOICES.len()],
        }
    }

    /// The number that was chosen.
    ///
    /// # Panics
    /// There is no such choice.
    pub fn get(&self, name: &str) -> u64 {
        self.values[index(name).unwrap_or_else(|| panic!("no choice is called {name}"))]
    }

    /// The number as a count.
    pub fn count(&self, name: &str) -> usize {
        self.get(name) as usize
    }

    /// Whether it was chosen.
    pub fn has(&self, name: &str) -> bool {
        self.get(name) > 0
    }

    fn share(&self, name: &str) -> f64 {
        self.get(name) as f64 / 100.0
    }

    /// Sets one choice, written `NAME=NUMBER`.
    ///
    /// # Errors
    /// It is not written so, or there is no such choice.
    pub fn set(&mut self, choice: &str) -> Result<(), String> {
        let (name, number) = choice
            .split_once('=')
            .ok_or_else(|| format!("{choice:?} is not NAME=NUMBER"))?;
        let number = number.parse().map_err(|e| format!("{choice:?}: {e}"))?;
        self.put(name, number)
    }

    fn put(&mut self, name: &str, number: u64) -> Result<(), String> {
        let at = index(name).ok_or_else(|| {
            let all: Vec<_> = CHOICES.iter().map(|(name, _)| *name).collect();
            format!("no choice is called {name:?}; there are {}", all.join(", "))
        })?;
        self.values[at] = number;
        self.set[at] = true;
        Ok(())
    }

    /// The scenes that differ from this one in one choice, which is simpler; the simplest of each choice first.
    pub fn simpler(&self) -> Vec<Self> {
        let mut scenes = Vec::new();
        for ((name, choices), now) in CHOICES.iter().zip(&self.values) {
            let place = choices.iter().position(|choice| choice == now);
            for choice in choices.iter().take(place.unwrap_or(0)) {
                let mut scene = self.clone();
                if choice != now && scene.put(name, *choice).is_ok() && !scenes.contains(&scene) {
                    scenes.push(scene);
                }
            }
        }
        scenes
    }

    /// The arguments that play it again.
    pub fn arguments(&self) -> String {
        let mut arguments = format!("--seeds {}..{}", self.seed, self.seed + 1);
        for ((name, _), (value, set)) in CHOICES.iter().zip(self.values.iter().zip(&self.set)) {
            if *set {
                arguments.push_str(&format!(" --set {name}={value}"));
            }
        }
        arguments
    }

    /// The world that it is played in.
    pub fn world(&self) -> WorldSpec {
        WorldSpec {
            seed: self.seed,
            tenants: self.count("tenants"),
            stores_per_tenant: 1,
            agents_per_stream: self.count("agents"),
            events_per_stream: self.count("events"),
            batch_size: self.count("batch"),
            cut: Cut::Fraction(self.share("lost-percent")),
            anchored_fraction: self.share("anchored-percent"),
            wrong_claim_rate: self.share("wrong-claims-percent"),
            rejected_rate: self.share("rejected-percent"),
            lost_answer_rate: self.share("lost-answers-percent"),
            lost_outboxes: self.count("lost-outboxes"),
            pruned_outboxes: self.count("pruned-outboxes"),
            wal_outboxes: self.count("wal-outboxes"),
            pulling_rate: self.share("pulling-percent"),
            unsigned_pulled_rate: self.share("unsigned-pulls-percent"),
            legacy_pulled_rows: self.count("older-rows"),
            tampered_rows: self.count("tampered"),
            lost_key: self.has("lost-key"),
            revoked_key: self.has("revoked-key"),
            sign_receipts: self.has("signed-receipts"),
            interior_holes: self.count("holes"),
            leading_hole: self.count("leading-hole"),
            counters_behind: self.get("counters-behind"),
            reissued_per_stream: self.count("reissued"),
            repushed_per_stream: if self.has("reissued") {
                self.count("repushed")
            } else {
                0
            },
            reissue_commits: self.has("reissue-commits"),
            ..WorldSpec::default()
        }
    }
}

fn index(name: &str) -> Option<usize> {
    CHOICES.iter().position(|(known, _)| *known == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scene_is_played_again_by_its_arguments() {
        let mut scene = Scene::of(17);
        assert_eq!(scene, Scene::of(17));
        assert_eq!(scene.arguments(), "--seeds 17..18");
        scene.set("events=24").expect("a choice");
        assert_eq!(scene.arguments(), "--seeds 17..18 --set events=24");
        assert!(scene.set("events").is_err() && scene.set("nothing=1").is_err());
    }

    #[test]
    fn each_step_of_shrinking_is_simpler_and_comes_to_an_end() {
        let mut scene = Scene::of(5);
        let mut steps = 0;
        while let Some(next) = scene.simpler().into_iter().next() {
            scene = next;
            steps += 1;
        }
        assert!(steps <= CHOICES.len(), "{steps}");
        for (name, choices) in CHOICES {
            assert_eq!(scene.get(name), choices[0], "{name}");
        }
    }
}
