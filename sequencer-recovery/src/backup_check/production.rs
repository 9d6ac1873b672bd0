//! Whether what was given as a restored copy looks like production. Nothing is written to it either way; but what a check of
//! production says about backups is worth nothing.

use event_log::{Log, ServerPlace};

use super::failure::CheckFailure;
use crate::stream::living::Signs;

/// A counter that was raised so short a time ago speaks for a sequencer that runs, in microseconds.
const JUST_NOW: i64 = 60 * 1_000_000;

/// Refuses what looks like production: a sequencer's sessions, counters that move, or the very database that the backup is to
/// be held against.
///
/// # Errors
/// [`CheckFailure::Production`]; what the database says.
pub(super) async fn check(copy: &Log, live: Option<&Log>) -> Result<Vec<String>, CheckFailure> {
    let Some(server) = copy.place().server() else {
        // A snapshot file is a copy.
        return Ok(Vec::new());
    };
    let found = Signs::sessions(copy).await?;
    let mut signs = found.signs;
    let mut view = copy.view().await?;
    let mut since = view.database_time().await?;
    since.0 = since.0.saturating_sub(JUST_NOW);
    for changed in view.counters_changed_since(since).await?.rows.iter().take(3) {
        signs.push(format!(
            "stream {} was written to at {}, within the last minute",
            changed.stream, changed.updated_at
        ));
    }
    if let Some(live) = live.and_then(|live| live.place().server())
        && is_the_same(server, live)
    {
        signs.push(
            "it is the database of --against: the same cluster, on the same timeline, under the same name"
                .into(),
        );
    }
    if signs.is_empty() {
        return Ok(found.not_checked);
    }
    Err(CheckFailure::Production { signs })
}

/// Whether both are one database. A recovery that ended has a timeline of its own; a copy that was started without one has
/// not, and is taken for the same.
fn is_the_same(a: &ServerPlace, b: &ServerPlace) -> bool {
    a.system_identifier.is_some()
        && a.system_identifier == b.system_identifier
        && a.timeline == b.timeline
        && a.database == b.database
        && a.schema == b.schema
}
