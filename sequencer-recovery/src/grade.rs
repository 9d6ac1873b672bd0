//! Grades of evidence for "this event is at this position" (and for "this number was given out").

use std::fmt;
use std::str::FromStr;

use outbox_sync::words::WordGrade;
use serde::{Deserialize, Serialize};

/// How sure it is that an event is at a position, weakest first, so that grades compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Grade {
    /// Nobody has it.
    Lost,
    /// Holders disagree.
    Contested,
    /// One holder says so.
    Claimed,
    /// Independent holders agree.
    Corroborated,
    /// The batch's root comes out equal to a commitment that only a database copy holds.
    Committed,
    /// A receipt with a valid signature by a known sequencer key names event, number and signing hash.
    Receipted,
    /// The root of the tree over the stream, which a checkpoint signs, comes out equal. Whose signatures that rests on is said
    /// beside it.
    Checkpointed,
    /// The batch's root comes out equal to an anchored one.
    Proven,
}

impl From<WordGrade> for Grade {
    fn from(grade: WordGrade) -> Self {
        match grade {
            WordGrade::Corroborated => Self::Corroborated,
            WordGrade::Claimed => Self::Claimed,
            WordGrade::Contested => Self::Contested,
            WordGrade::Lost => Self::Lost,
        }
    }
}

impl Grade {
    /// The word that reports use.
    pub fn as_str(self) -> &'static str {
        match self {
            Grade::Lost => "lost",
            Grade::Contested => "contested",
            Grade::Claimed => "claimed",
            Grade::Corroborated => "corroborated",
            Grade::Committed => "committed",
            Grade::Receipted => "receipted",
            Grade::Checkpointed => "checkpointed",
            Grade::Proven => "proven",
        }
    }
}

impl fmt::Display for Grade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// The weakest grade that a plan uses.
///
/// `contested` and `lost` are not choices: neither names one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accept(Grade);

impl Accept {
    /// Whether evidence of this grade is used.
    pub fn admits(self, grade: Grade) -> bool {
        grade >= self.0
    }

    /// The weakest grade used.
    pub fn grade(self) -> Grade {
        self.0
    }
}

impl Default for Accept {
    /// `proven`, `checkpointed` and `receipted` only.
    fn default() -> Self {
        Self(Grade::Receipted)
    }
}

impl fmt::Display for Accept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for Accept {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
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
        .map(Self)
        .ok_or_else(|| {
            format!("{s:?} is not one of proven, checkpointed, receipted, committed, corroborated, claimed")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stronger_grades_compare_greater_and_are_admitted() {
        assert!(Grade::Proven > Grade::Checkpointed && Grade::Checkpointed > Grade::Receipted);
        assert!(Grade::Receipted > Grade::Committed);
        assert!(Grade::Committed > Grade::Corroborated && Grade::Corroborated > Grade::Claimed);
        let default = Accept::default();
        assert!(default.admits(Grade::Proven) && default.admits(Grade::Receipted));
        assert!(!default.admits(Grade::Committed) && !default.admits(Grade::Claimed));
        let claimed: Accept = "claimed".parse().unwrap();
        assert!(claimed.admits(Grade::Corroborated) && !claimed.admits(Grade::Contested));
        assert!("contested".parse::<Accept>().is_err() && "".parse::<Accept>().is_err());
    }

    #[test]
    fn a_choice_reads_as_it_is_written_and_admits_what_is_as_strong() {
        let grades = [
            Grade::Claimed,
            Grade::Corroborated,
            Grade::Committed,
            Grade::Receipted,
            Grade::Checkpointed,
            Grade::Proven,
        ];
        for (place, grade) in grades.into_iter().enumerate() {
            let accept: Accept = grade.as_str().parse().unwrap();
            assert_eq!((accept.grade(), accept.to_string()), (grade, grade.to_string()));
            for (other, than) in grades.into_iter().enumerate() {
                assert_eq!(accept.admits(than), other >= place, "{accept} and {than}");
            }
        }
        assert_eq!(Accept::default().grade(), Grade::Receipted);
        assert_eq!(
            (Grade::Lost.as_str(), Grade::Contested.as_str()),
            ("lost", "contested")
        );
        // In a column of a table.
        assert_eq!(format!("{:<8}|", Grade::Proven), "proven  |");
    }
}
