//! The system user that servers run as.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::ScratchError;

/// The system user that servers and their programs run as: the user of this process, or where that is root, which
/// PostgreSQL refuses, the system user `postgres`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Account(Option<(u32, u32)>);

impl Account {
    /// Whom to run servers as.
    ///
    /// # Errors
    /// [`ScratchError::NoAccount`].
    pub fn for_servers() -> Result<Self, ScratchError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(Self(None));
        }
        match (id("-u"), id("-g")) {
            (Some(user), Some(group)) if user != 0 => Ok(Self(Some((user, group)))),
            _ => Err(ScratchError::NoAccount),
        }
    }

    /// The user's and the group's number, where they are not those of this process.
    #[must_use]
    pub fn other(&self) -> Option<(u32, u32)> {
        self.0
    }

    /// Gives a file or folder to the account.
    ///
    /// # Errors
    /// [`ScratchError::Io`].
    pub fn own(&self, path: &Path) -> Result<(), ScratchError> {
        match self.0 {
            Some((user, group)) => chown(path, Some(user), Some(group)).map_err(ScratchError::io(path)),
            None => Ok(()),
        }
    }

    /// Has the command run as the account.
    pub(crate) fn become_in(&self, command: &mut Command) {
        if let Some((user, group)) = self.0 {
            command.uid(user).gid(group);
        }
    }
}

fn id(option: &str) -> Option<u32> {
    let output = Command::new("id").args([option, "postgres"]).output().ok()?;
    String::from_utf8_lossy(&output.stdout).trim().parse().ok()
}
