//! What a transaction can hold and others can wait for. All of it is held until the transaction ends.

use crate::log::{Event, Number};

/// A set of locks.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Locks(u32);

impl Locks {
    /// None.
    pub const NONE: Self = Self(0);
    /// The counter's row, FOR UPDATE, or as it is being made.
    pub const COUNTER: Self = Self(1 << 28);
    /// The advisory lock under which batches are committed.
    pub const ADVISORY: Self = Self(1 << 29);
    /// The row of the older log's counter.
    pub const OLDER: Self = Self(1 << 30);
    /// The row of the entity's version.
    pub const VERSION: Self = Self(1 << 31);

    /// The command of an event: its row in the table of commands is being inserted or deleted.
    pub fn command(event: Event) -> Self {
        Self(1 << event)
    }

    /// An event: its row is being inserted or deleted.
    pub fn event(event: Event) -> Self {
        Self(1 << (6 + event))
    }

    /// A number: a row that has it is being inserted or deleted.
    pub fn number(number: Number) -> Self {
        Self(1 << (12 + number))
    }

    /// Those of both.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self(self.0 | more.0)
    }

    /// Whether there is one that is in both.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl std::fmt::Debug for Locks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let one = |bit: u32| match bit {
            28 => "counter".to_owned(),
            29 => "advisory".to_owned(),
            30 => "older counter".to_owned(),
            31 => "version".to_owned(),
            0..6 => format!("command {bit}"),
            6..12 => format!("event {}", bit - 6),
            number => format!("number {}", number - 12),
        };
        f.debug_set()
            .entries((0..32).filter(|bit| self.0 & (1 << bit) != 0).map(one))
            .finish()
    }
}
