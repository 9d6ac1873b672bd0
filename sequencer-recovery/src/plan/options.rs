//! What the operator decides about a plan.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::accept_keys::KeySources;
use super::append::AppendOptions;
use super::tombstone::TombstoneOptions;
use crate::floor::FloorChoice;
use crate::grade::Accept;
use crate::place::placement::Budget;

/// What the operator decides.
#[derive(Debug, Clone, Default)]
pub struct PlanOptions {
    /// The weakest grade to use.
    pub accept: Accept,
    /// Which witnesses to trust for the counters; `None` for the default, see [`crate::floor::choose`].
    pub floor: Option<FloorChoice>,
    /// How much work the search for placements may do.
    pub budget: Budget,
    /// How long it may search in all, reading not counted.
    pub solve_for: Option<Duration>,
    /// What to do about numbers that were given out twice; `None`: show them and leave them.
    pub on_reissue: Option<OnReissue>,
    /// Whether events that were never sequenced get the numbers after the floor.
    pub append: Option<AppendOptions>,
    /// Where keys that the log lost are taken from.
    pub accept_keys: KeySources,
    /// Whether lost positions are filled with tombstones, and by whom.
    pub fill: Option<TombstoneOptions>,
}

/// What to do about numbers that were given out twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnReissue {
    /// The anchored events go to their places, the newcomers get new numbers after the floor.
    KeepAnchored,
    /// The newcomers keep the numbers; the conflict is recorded, and stays.
    KeepCurrent,
}

impl fmt::Display for OnReissue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            OnReissue::KeepAnchored => "keep-anchored",
            OnReissue::KeepCurrent => "keep-current",
        })
    }
}

impl FromStr for OnReissue {
    type Err = String;

    fn from_str(s: &str) -> Result<Self, String> {
        [OnReissue::KeepAnchored, OnReissue::KeepCurrent]
            .into_iter()
            .find(|choice| choice.to_string() == s)
            .ok_or_else(|| format!("{s:?} is not one of keep-anchored, keep-current"))
    }
}

#[cfg(test)]
mod tests {
    use super::OnReissue;

    #[test]
    fn choices_are_read_as_they_are_written() {
        assert!("keep".parse::<OnReissue>().is_err());
        for choice in [OnReissue::KeepAnchored, OnReissue::KeepCurrent] {
            assert_eq!(choice.to_string().parse(), Ok(choice));
        }
    }
}
