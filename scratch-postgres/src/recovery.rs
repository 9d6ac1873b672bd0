//! Where a restored cluster stops replaying its WAL.

use std::fmt::Write as _;

/// Where to stop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RecoveryTarget {
    /// Before the first transaction that was committed after this time (`2026-03-01 08:00:00.123456+00`).
    Time(String),
    /// At a restore point that was made by `pg_create_restore_point`.
    Name(String),
    /// As soon as the backup is consistent.
    Immediate,
    /// At the end of the archived WAL.
    End,
}

/// How a restored cluster becomes a running one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Where to stop.
    pub target: RecoveryTarget,
    /// The command that fetches a segment (`%f`) of the WAL to a path (`%p`); where the backup has its WAL with it, none.
    pub restore_command: Option<String>,
    /// The timeline to follow: `latest`, `current`, or its number.
    pub timeline: String,
}

impl Recovery {
    /// To a target, along the latest timeline that the archive knows.
    #[must_use]
    pub fn to(target: RecoveryTarget, restore_command: Option<String>) -> Self {
        Self {
            target,
            restore_command,
            timeline: "latest".to_owned(),
        }
    }

    /// The settings of `postgresql.conf`; the cluster is promoted when it is there.
    #[must_use]
    pub fn settings(&self) -> String {
        let mut text = String::new();
        let mut set = |name: &str, value: &str| {
            let _ = writeln!(text, "{name} = {}", quoted(value));
        };
        for name in ["recovery_target_time", "recovery_target_name", "recovery_target"] {
            // At most one of them may be set.
            set(name, "");
        }
        match &self.target {
            RecoveryTarget::Time(time) => set("recovery_target_time", time),
            RecoveryTarget::Name(name) => set("recovery_target_name", name),
            RecoveryTarget::Immediate => set("recovery_target", "immediate"),
            RecoveryTarget::End => (),
        }
        set("recovery_target_action", "promote");
        set("recovery_target_timeline", &self.timeline);
        set(
            "restore_command",
            self.restore_command.as_deref().unwrap_or("false"),
        );
        // A server that is ready is then one that was promoted.
        set("hot_standby", "off");
        text
    }
}

/// A value of a setting as `postgresql.conf` wants it.
pub(crate) fn quoted(value: &str) -> String {
    let plain: String = value.chars().filter(|c| *c != '\n' && *c != '\0').collect();
    format!("'{}'", plain.replace('\\', "\\\\").replace('\'', "''"))
}

/// A word of a command that a server runs by the shell, in which `%` stands for something.
pub(crate) fn shell_word(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''").replace('%', "%%"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_quoted() {
        assert_eq!(quoted("it's a \\"), "'it''s a \\\\'");
        assert_eq!(shell_word("50% 'x'"), r"'50%% '\''x'\'''");
    }

    #[test]
    fn one_target_is_set() {
        let recovery = Recovery::to(RecoveryTarget::Name("before".into()), None);
        let settings = recovery.settings();
        assert!(settings.contains("recovery_target_time = ''\n"), "{settings}");
        assert!(
            settings.contains("recovery_target_name = 'before'\n"),
            "{settings}"
        );
        assert!(
            settings.contains("recovery_target_action = 'promote'\n"),
            "{settings}"
        );
    }
}
