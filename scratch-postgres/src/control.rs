//! What a cluster says of itself in its control file.

use std::fs;
use std::path::Path;

use crate::{Binaries, Patience, ScratchError, ScratchPlace};

/// What `pg_controldata` tells of a cluster, running or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlData {
    /// Which cluster it is: copies and restores have the identifier of the one they come from.
    pub system_identifier: String,
    /// How it was left: `in production`, `shut down`, `in archive recovery`.
    pub state: String,
    /// The timeline of its last checkpoint.
    pub checkpoint_timeline: u32,
    /// When the last checkpoint was, as the program prints it, in UTC.
    pub checkpoint_time: String,
}

impl ControlData {
    /// Asks `pg_controldata`.
    ///
    /// # Errors
    /// A folder that is no cluster; [`ScratchError::Unreadable`].
    pub fn read(
        place: &ScratchPlace,
        binaries: &Binaries,
        data_dir: &Path,
        patience: &Patience<'_>,
    ) -> Result<Self, ScratchError> {
        let mut command = place.command(&binaries.program("pg_controldata"));
        command.arg(data_dir);
        let said = place.run("pg_controldata", &mut command, patience)?;
        let text = String::from_utf8_lossy(&said.stdout);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            let value = line.and_then(|rest| rest.strip_prefix(':'));
            value
                .map(|value| value.trim().to_owned())
                .ok_or_else(|| ScratchError::Unreadable {
                    program: "pg_controldata".to_owned(),
                    why: format!("it has no \"{name}\""),
                })
        };
        let timeline = value("Latest checkpoint's TimeLineID")?;
        Ok(Self {
            system_identifier: value("Database system identifier")?,
            state: value("Database cluster state")?,
            checkpoint_timeline: timeline.parse().map_err(|_| ScratchError::Unreadable {
                program: "pg_controldata".to_owned(),
                why: format!("{timeline:?} is no timeline"),
            })?,
            checkpoint_time: value("Time of latest checkpoint")?,
        })
    }
}

/// The newest timeline that a cluster has begun: each promotion leaves a `.history` file; the first timeline has none.
pub(crate) fn newest_timeline(data_dir: &Path) -> Result<u32, ScratchError> {
    let wal = data_dir.join("pg_wal");
    let mut newest = 1;
    for entry in fs::read_dir(&wal).map_err(ScratchError::io(&wal))? {
        let name = entry.map_err(ScratchError::io(&wal))?.file_name();
        let number = name
            .to_str()
            .and_then(|name| name.strip_suffix(".history"))
            .and_then(|hex| u32::from_str_radix(hex, 16).ok());
        newest = newest.max(number.unwrap_or(0));
    }
    Ok(newest)
}
