//! The counter's floor: the highest number that was ever given out, as far as any witness knows.
//!
//! A counter below that number lets the sequencer give a promised number to another event, which is a
//! fork of history. A counter above it leaves a hole, which can still be filled. So, where claims
//! may be false, the default takes the highest claim; the operator may decide otherwise, and is told
//! what each choice costs.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::grade::Grade;

/// Somebody who knows of a number.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Witness {
    /// The highest number that this witness knows.
    pub sequence: u64,
    /// How sure that is. The log's own rows count as `committed`: they are facts of this database copy.
    pub grade: Grade,
    /// Who, in words: `anchored batch 51947cd0…`, `alpha.db (_ves_outbox)`.
    pub who: String,
    /// What makes the witness itself (the agent behind an outbox), so that two words of one holder do not
    /// corroborate each other. Empty for the log and the chain.
    #[serde(skip)]
    pub identity: String,
}

/// What two independent holders agree on: the second highest number, counting the best of each. Whoever
/// knows of a number knows that all before it were given out.
pub fn corroborated(witnesses: &[Witness]) -> Option<Witness> {
    let mut best: BTreeMap<&str, &Witness> = BTreeMap::new();
    for witness in witnesses
        .iter()
        .filter(|w| w.grade == Grade::Claimed && !w.identity.is_empty())
    {
        let top = best.entry(&witness.identity).or_insert(witness);
        if witness.sequence > top.sequence {
            *top = witness;
        }
    }
    let mut best: Vec<&Witness> = best.into_values().collect();
    best.sort_by(|a, b| b.sequence.cmp(&a.sequence).then(a.who.cmp(&b.who)));
    let [first, second, ..] = best[..] else {
        return None;
    };
    Some(Witness {
        sequence: second.sequence,
        grade: Grade::Corroborated,
        who: format!("{} and {}", first.who, second.who),
        identity: String::new(),
    })
}

/// Which witnesses the operator trusts for the floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FloorChoice {
    /// The highest number of a witness of this grade or better.
    Grade(Grade),
    /// This number.
    At(u64),
}

impl Default for FloorChoice {
    fn default() -> Self {
        Self::Grade(Grade::Claimed)
    }
}

impl fmt::Display for FloorChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FloorChoice::Grade(grade) => grade.fmt(f),
            FloorChoice::At(number) => number.fmt(f),
        }
    }
}

impl FromStr for FloorChoice {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        if let Ok(number) = s.parse() {
            return Ok(Self::At(number));
        }
        [
            Grade::Proven,
            Grade::Checkpointed,
            Grade::Receipted,
            Grade::Committed,
            Grade::Corroborated,
            Grade::Claimed,
        ]
        .into_iter()
        .find(|grade| grade.as_str() == s)
        .map(Self::Grade)
        .ok_or_else(|| {
            format!(
                "{s:?} is neither a number nor one of proven, checkpointed, receipted, committed, corroborated, claimed"
            )
        })
    }
}

/// A floor that must not be chosen: a witness whose word is a proof knows a higher number.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a counter of {chosen} would be below {}, known by {} ({})", witness.sequence, witness.who, witness.grade)]
pub struct BelowProof {
    /// What was asked for.
    pub chosen: u64,
    /// Who knows better.
    pub witness: Witness,
}

/// A claim so far beyond everything that binds that it is not believed without being asked for: one altered row
/// could otherwise carry a counter to where no number is left to give out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{} claims number {}, more than {PLAUSIBLE_TAIL} beyond {binding}, the highest that is certain",
    witness.who,
    witness.sequence
)]
pub struct Implausible {
    /// Who claims it.
    pub witness: Witness,
    /// The highest number that is certain.
    pub binding: u64,
}

/// Why there is no floor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FloorError {
    /// The choice is below a proof.
    #[error(transparent)]
    BelowProof(#[from] BelowProof),
    /// Nothing was chosen, and the highest claim is beyond belief.
    #[error(transparent)]
    Implausible(#[from] Implausible),
}

/// How far beyond everything that binds a claim is believed by default. A longer tail may be lost; then the operator
/// says so with `--floor`.
pub const PLAUSIBLE_TAIL: u64 = 10_000_000;

/// The floor by the operator's choice, or by default: the highest claim, unless it is beyond belief.
///
/// # Errors
/// See [`FloorError`].
pub fn choose(witnesses: &[Witness], choice: Option<FloorChoice>) -> Result<Option<Floor>, FloorError> {
    let floor = floor(witnesses, choice.unwrap_or_default())?;
    if let (None, Some(floor)) = (choice, &floor) {
        let binding = witnesses
            .iter()
            .filter(|w| w.grade >= BINDING)
            .map(|w| w.sequence)
            .max()
            .unwrap_or(0);
        if floor.counter.saturating_sub(binding) > PLAUSIBLE_TAIL {
            return Err(Implausible {
                witness: floor.witness.clone(),
                binding,
            }
            .into());
        }
    }
    Ok(floor)
}

/// What one choice of the floor means.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FloorOption {
    /// The choice.
    pub choice: FloorChoice,
    /// The counter that it gives.
    pub counter: u64,
    /// The strongest witness of that number.
    pub witness: Witness,
    /// What it costs, in a sentence.
    pub cost: String,
}

/// The floor of one stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The counter to set.
    pub counter: u64,
    /// The grade of the strongest witness of that number.
    pub grade: Grade,
    /// That witness.
    pub witness: Witness,
    /// Every choice there is, strongest evidence first.
    pub options: Vec<FloorOption>,
}

/// The grade from which on a witness's word is a proof: below it, the operator may decide otherwise.
pub const BINDING: Grade = Grade::Committed;

/// The floor of a stream under `choice`; `None` if no witness knows of any number.
///
/// # Errors
/// A number below what a binding witness ([`BINDING`] or better) knows.
pub fn floor(witnesses: &[Witness], choice: FloorChoice) -> Result<Option<Floor>, BelowProof> {
    let highest = |from: Grade| {
        witnesses
            .iter()
            .filter(|w| w.grade >= from && w.sequence > 0)
            .max_by(|a, b| {
                (a.sequence, a.grade)
                    .cmp(&(b.sequence, b.grade))
                    .then(b.who.cmp(&a.who))
            })
    };
    let Some(highest_claim) = highest(Grade::Claimed) else {
        return match choice {
            FloorChoice::At(number) if number > 0 => {
                let witness = Witness {
                    sequence: number,
                    grade: Grade::Claimed,
                    who: "the operator".into(),
                    identity: String::new(),
                };
                Ok(Some(Floor {
                    counter: number,
                    grade: Grade::Claimed,
                    witness,
                    options: Vec::new(),
                }))
            }
            _ => Ok(None),
        };
    };
    let binding = highest(BINDING);
    let mut options: Vec<FloorOption> = Vec::new();
    // Proven, checkpointed, receipted and committed numbers bind alike: a choice among them would change nothing.
    for grade in [Grade::Proven, Grade::Corroborated, Grade::Claimed] {
        let Some(witness) = highest(grade.min(BINDING)) else {
            continue;
        };
        if options.last().is_some_and(|o| o.counter == witness.sequence) {
            continue;
        }
        let cost = cost(witness, highest_claim, binding);
        options.push(FloorOption {
            choice: FloorChoice::Grade(grade),
            counter: witness.sequence,
            witness: witness.clone(),
            cost,
        });
    }
    let chosen = match choice {
        FloorChoice::Grade(grade) => {
            // Nobody of that grade: what binds still does; with nothing binding, the choice has no floor.
            let witness = highest(grade.min(BINDING)).cloned();
            let Some(witness) = witness else { return Ok(None) };
            witness
        }
        FloorChoice::At(number) => {
            if let Some(witness) = binding.filter(|w| w.sequence > number) {
                return Err(BelowProof {
                    chosen: number,
                    witness: witness.clone(),
                });
            }
            Witness {
                sequence: number,
                grade: Grade::Claimed,
                who: "the operator".into(),
                identity: String::new(),
            }
        }
    };
    Ok(Some(Floor {
        counter: chosen.sequence,
        grade: chosen.grade,
        witness: chosen,
        options,
    }))
}

fn cost(witness: &Witness, highest: &Witness, binding: Option<&Witness>) -> String {
    if witness.sequence < highest.sequence {
        format!(
            "{} number(s) up to {} that {} claims would be given out again: if the claim is true, that forks history for good",
            highest.sequence - witness.sequence,
            highest.sequence,
            highest.who
        )
    } else {
        let proven = binding.map_or(0, |w| w.sequence);
        if witness.sequence > proven {
            format!(
                "if the claim is false, {} number(s) after {proven} stay empty until they are filled; nothing is given out twice",
                witness.sequence - proven
            )
        } else {
            "nothing is given out twice, and nothing that is not proven is counted".into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn witness(sequence: u64, grade: Grade, who: &str) -> Witness {
        Witness {
            sequence,
            grade,
            who: who.into(),
            identity: who.into(),
        }
    }

    #[test]
    fn the_default_is_the_highest_claim_and_each_choice_says_what_it_costs() {
        let witnesses = [
            witness(130, Grade::Committed, "log"),
            witness(224, Grade::Proven, "anchor"),
            witness(228, Grade::Claimed, "alpha"),
        ];
        let floor_of = |choice: &str| floor(&witnesses, choice.parse().unwrap()).map(|f| f.unwrap().counter);
        assert_eq!(
            floor(&witnesses, FloorChoice::default())
                .unwrap()
                .unwrap()
                .counter,
            228
        );
        assert_eq!(floor_of("proven"), Ok(224));
        assert_eq!(floor_of("corroborated"), Ok(224));
        assert_eq!(floor_of("226"), Ok(226));
        assert_eq!(floor_of("224"), Ok(224));
        assert_eq!(floor_of("223").unwrap_err().witness.who, "anchor");
        let options = floor(&witnesses, FloorChoice::default())
            .unwrap()
            .unwrap()
            .options;
        assert_eq!(options.iter().map(|o| o.counter).collect::<Vec<_>>(), [224, 228]);
        assert!(
            options[0]
                .cost
                .contains("4 number(s) up to 228 that alpha claims would be given out again")
        );
        assert!(options[1].cost.contains("4 number(s) after 224 stay empty"));
    }

    #[test]
    fn the_log_itself_binds_whatever_is_chosen() {
        let witnesses = [
            witness(150, Grade::Committed, "log"),
            witness(128, Grade::Proven, "anchor"),
        ];
        let chosen = floor(&witnesses, "proven".parse().unwrap()).unwrap().unwrap();
        assert_eq!((chosen.counter, chosen.witness.who.as_str()), (150, "log"));
        assert!(floor(&witnesses, FloorChoice::At(140)).is_err());
    }

    #[test]
    fn two_holders_corroborate_the_lower_of_their_numbers_and_one_holder_nothing() {
        let alpha = witness(228, Grade::Claimed, "alpha");
        let bravo = witness(227, Grade::Claimed, "bravo");
        let again = Witness {
            sequence: 230,
            who: "alpha's copy".into(),
            ..alpha.clone()
        };
        assert_eq!(corroborated(&[alpha.clone(), again.clone()]), None);
        let both = corroborated(&[alpha, bravo, again]).unwrap();
        assert_eq!((both.sequence, both.grade), (227, Grade::Corroborated));
    }

    #[test]
    fn a_claim_beyond_belief_is_taken_only_if_asked_for() {
        let witnesses = [
            witness(130, Grade::Committed, "log"),
            witness(u64::MAX / 2, Grade::Claimed, "alpha"),
        ];
        let refused = choose(&witnesses, None).unwrap_err();
        assert!(
            matches!(&refused, FloorError::Implausible(i) if i.binding == 130),
            "{refused}"
        );
        assert!(
            refused
                .to_string()
                .starts_with("alpha claims number 9223372036854775807")
        );
        assert_eq!(
            choose(&witnesses, Some("claimed".parse().unwrap()))
                .unwrap()
                .unwrap()
                .counter,
            u64::MAX / 2
        );
        assert_eq!(
            choose(&witnesses, Some("proven".parse().unwrap()))
                .unwrap()
                .unwrap()
                .counter,
            130
        );
        assert_eq!(choose(&witnesses[..1], None).unwrap().unwrap().counter, 130);
    }

    #[test]
    fn nobody_knows_of_nothing() {
        assert_eq!(floor(&[], FloorChoice::default()), Ok(None));
        assert_eq!(
            floor(
                &[witness(0, Grade::Committed, "empty log")],
                FloorChoice::default()
            ),
            Ok(None)
        );
        let claimed_only = [witness(5, Grade::Claimed, "alpha")];
        assert_eq!(floor(&claimed_only, "proven".parse().unwrap()), Ok(None));
        assert!("best".parse::<FloorChoice>().is_err());
    }

    #[test]
    fn without_a_witness_the_operator_alone_says_the_number() {
        let floor = floor(&[], FloorChoice::At(7)).unwrap().unwrap();
        let by = (floor.counter, floor.grade, floor.witness.who.as_str());
        assert_eq!(by, (7, Grade::Claimed, "the operator"));
        assert_eq!(floor.options, []);
        // 0 is no number: there is nothing to set.
        assert_eq!(super::floor(&[], FloorChoice::At(0)), Ok(None));
        assert_eq!(super::floor(&[], FloorChoice::At(1)).unwrap().unwrap().counter, 1);
    }

    #[test]
    fn a_choice_reads_as_it_is_written() {
        for word in [
            "proven",
            "checkpointed",
            "receipted",
            "committed",
            "corroborated",
            "claimed",
            "0",
            "41",
        ] {
            assert_eq!(word.parse::<FloorChoice>().unwrap().to_string(), word);
        }
        assert_eq!("41".parse(), Ok(FloorChoice::At(41)));
        assert_eq!("claimed".parse(), Ok(FloorChoice::default()));
        for word in ["contested", "lost", "-1", ""] {
            assert!(word.parse::<FloorChoice>().is_err(), "{word}");
        }
    }

    #[test]
    fn of_equal_numbers_the_strongest_witness_is_named_and_of_equal_witnesses_the_first() {
        let witnesses = [
            witness(9, Grade::Claimed, "alpha"),
            witness(9, Grade::Committed, "zulu"),
            witness(9, Grade::Committed, "yankee"),
            witness(8, Grade::Proven, "anchor"),
        ];
        for choice in ["claimed", "proven"] {
            let floor = floor(&witnesses, choice.parse().unwrap()).unwrap().unwrap();
            assert_eq!(
                (floor.counter, floor.witness.who.as_str()),
                (9, "yankee"),
                "{choice}"
            );
            // All choices come to the same counter, so there is one.
            assert_eq!(floor.options.len(), 1, "{choice}");
        }
    }

    #[test]
    fn each_choice_says_what_it_costs_to_the_number() {
        let witnesses = [
            witness(20, Grade::Committed, "log"),
            witness(25, Grade::Corroborated, "alpha and bravo"),
            witness(28, Grade::Claimed, "alpha"),
        ];
        let floor = floor(&witnesses, FloorChoice::default()).unwrap().unwrap();
        let costs: Vec<(u64, &str)> = floor
            .options
            .iter()
            .map(|o| (o.counter, o.cost.as_str()))
            .collect();
        let again = |n| {
            format!(
                "{n} number(s) up to 28 that alpha claims would be given out again: if the claim is true, that forks \
                 history for good"
            )
        };
        let empty = "if the claim is false, 8 number(s) after 20 stay empty until they are filled; nothing is given out \
                     twice";
        assert_eq!(
            costs,
            [(20, again(8).as_str()), (25, again(3).as_str()), (28, empty)]
        );
        let certain = super::floor(&witnesses[..1], FloorChoice::default())
            .unwrap()
            .unwrap();
        let nothing = "nothing is given out twice, and nothing that is not proven is counted";
        assert_eq!(certain.options[0].cost, nothing);
    }

    #[test]
    fn a_claim_is_believed_ten_million_beyond_what_is_certain_and_no_further() {
        let claimed = |sequence| {
            choose(
                &[
                    witness(5, Grade::Committed, "log"),
                    // What holders agree on is no proof.
                    witness(1_000, Grade::Corroborated, "alpha and bravo"),
                    witness(sequence, Grade::Claimed, "alpha"),
                ],
                None,
            )
        };
        let last = 5 + PLAUSIBLE_TAIL;
        assert_eq!(claimed(last).unwrap().unwrap().counter, last);
        assert!(matches!(claimed(last + 1), Err(FloorError::Implausible(i)) if i.binding == 5));
        // Where nothing is certain, the same holds from 0 on.
        let alone = |sequence| choose(&[witness(sequence, Grade::Claimed, "alpha")], None);
        assert!(alone(PLAUSIBLE_TAIL).is_ok());
        assert!(alone(PLAUSIBLE_TAIL + 1).is_err());
    }

    #[test]
    fn only_claims_of_holders_corroborate_each_other() {
        let alpha = witness(228, Grade::Claimed, "alpha");
        let log = witness(227, Grade::Committed, "log");
        let nobody = Witness {
            identity: String::new(),
            ..witness(226, Grade::Claimed, "a file")
        };
        assert_eq!(corroborated(&[alpha.clone(), log]), None);
        assert_eq!(corroborated(&[alpha.clone(), nobody]), None);
        // Of each holder the best, whichever comes first; of equal ones the first by name.
        let (lower, bravo) = (
            witness(3, Grade::Claimed, "bravo"),
            witness(227, Grade::Claimed, "bravo"),
        );
        for bravos in [[lower.clone(), bravo.clone()], [bravo.clone(), lower]] {
            let both = corroborated(&[&bravos[..], std::slice::from_ref(&alpha)].concat()).unwrap();
            assert_eq!((both.sequence, both.who.as_str()), (227, "alpha and bravo"));
        }
        // Of two words of one holder that say the same, the first is named.
        let again = Witness {
            who: "alpha's copy".into(),
            ..alpha.clone()
        };
        let both = corroborated(&[alpha, again, bravo.clone()]).unwrap();
        assert_eq!(both.who, "alpha and bravo");
        let equal = [
            bravo,
            witness(227, Grade::Claimed, "anna"),
            witness(9, Grade::Claimed, "zoe"),
        ];
        assert_eq!(corroborated(&equal).unwrap().who, "anna and bravo");
    }
}
