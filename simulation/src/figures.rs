//! What happened, in numbers.

use std::collections::BTreeMap;
use std::fmt;

use sequencer_recovery::grade::Grade;

/// Sums over scenes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures {
    /// Scenes played to their end.
    pub scenes: u64,
    /// Events that the recovered logs lacked.
    pub lost: u64,
    /// Placed by grade: how many, and how many of these at a number that was never theirs.
    pub placed: BTreeMap<Grade, (u64, u64)>,
    /// Lost events that had to come back, and did.
    pub owed: u64,
    /// Events that got another number.
    pub moves: u64,
    /// Events that got a number for the first time, in a plan.
    pub appended: u64,
    /// Tombstones.
    pub tombstones: u64,
    /// Numbers that stayed open and were listed so.
    pub open: u64,
    /// Repairs applied.
    pub applies: u64,
    /// Repairs taken back.
    pub undone: u64,
    /// Faults that happened, by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Numbers that a sequencer gave out after a repair.
    pub given: u64,
    /// Of these, promised before to an event of which nobody who was heard knew.
    pub unknowable: u64,
    /// Second disasters.
    pub second: u64,
    /// Plans that were refused for a reason that the operator has to decide about.
    pub refused: BTreeMap<String, u64>,
}

impl Figures {
    /// Counts an event that was placed.
    pub fn place(&mut self, grade: Grade, right: bool) {
        let (all, wrong) = self.placed.entry(grade).or_default();
        *all += 1;
        *wrong += u64::from(!right);
    }

    /// Adds those of another scene.
    pub fn add(&mut self, other: &Self) {
        self.scenes += other.scenes;
        self.lost += other.lost;
        self.owed += other.owed;
        self.moves += other.moves;
        self.appended += other.appended;
        self.tombstones += other.tombstones;
        self.open += other.open;
        self.applies += other.applies;
        self.undone += other.undone;
        self.given += other.given;
        self.unknowable += other.unknowable;
        self.second += other.second;
        for (grade, (all, wrong)) in &other.placed {
            let sum = self.placed.entry(*grade).or_default();
            *sum = (sum.0 + all, sum.1 + wrong);
        }
        for (kind, count) in &other.faults {
            *self.faults.entry(kind).or_default() += count;
        }
        for (why, count) in &other.refused {
            *self.refused.entry(why.clone()).or_default() += count;
        }
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "scenes                      {}", self.scenes)?;
        writeln!(f, "events lost                 {}", self.lost)?;
        for (grade, (all, wrong)) in self.placed.iter().rev() {
            writeln!(f, "placed, {:<19} {all}, {wrong} of them wrongly", grade.as_str())?;
        }
        writeln!(f, "owed, and back              {}", self.owed)?;
        writeln!(f, "moved                       {}", self.moves)?;
        writeln!(f, "appended                    {}", self.appended)?;
        writeln!(f, "tombstones                  {}", self.tombstones)?;
        writeln!(f, "left open and listed        {}", self.open)?;
        writeln!(f, "applied; taken back         {}; {}", self.applies, self.undone)?;
        for (kind, count) in &self.faults {
            writeln!(f, "faults: {kind:<19} {count}")?;
        }
        writeln!(f, "numbers given out after it  {}", self.given)?;
        writeln!(
            f,
            "  of them a second time     {} (nobody heard knew)",
            self.unknowable
        )?;
        write!(f, "second disasters            {}", self.second)?;
        for (why, count) in &self.refused {
            write!(f, "\nrefused {count} times: {why}")?;
        }
        Ok(())
    }
}
