//! The exit status, the same for all tools.

use std::fmt;
use std::ops::{BitOr, BitOrAssign};
use std::process::ExitCode;

/// The exit status as in fsck(8): bits that are OR-ed, so that one run can say more than one thing. No output mode
/// changes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct ExitStatus(u8);

impl ExitStatus {
    /// 0: the work was done and nothing is wrong.
    pub const OK: Self = Self(0);
    /// 1: problems were found and corrected.
    pub const CORRECTED: Self = Self(1);
    /// 4: problems are left.
    pub const PROBLEMS: Self = Self(4);
    /// 8: the work could not be done: connection, I/O, unreadable input, drift.
    pub const FAILED: Self = Self(8);
    /// 16: the command line is wrong.
    pub const USAGE: Self = Self(16);
    /// 32: cancelled by the user.
    pub const CANCELLED: Self = Self(32);

    /// The number that the process ends with.
    #[must_use]
    pub fn code(self) -> u8 {
        self.0
    }

    /// Whether all bits of `other` are set.
    #[must_use]
    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

impl BitOr for ExitStatus {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

impl BitOrAssign for ExitStatus {
    fn bitor_assign(&mut self, other: Self) {
        *self = *self | other;
    }
}

impl From<ExitStatus> for ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(status.0)
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_are_those_of_fsck_and_are_ored() {
        let all = [
            ExitStatus::OK,
            ExitStatus::CORRECTED,
            ExitStatus::PROBLEMS,
            ExitStatus::FAILED,
            ExitStatus::USAGE,
            ExitStatus::CANCELLED,
        ];
        assert_eq!(all.map(ExitStatus::code), [0, 1, 4, 8, 16, 32]);
        let mut status = ExitStatus::CORRECTED | ExitStatus::PROBLEMS;
        status |= ExitStatus::CANCELLED;
        assert_eq!(status.code(), 37);
        assert!(status.contains(ExitStatus::PROBLEMS) && !status.contains(ExitStatus::FAILED));
        assert_eq!(ExitStatus::default(), ExitStatus::OK);
        assert_eq!(ExitCode::from(status), ExitCode::from(37));
    }
}
