//! What `watch` remembered of the log before it was lost: how far each stream had come. No event is in it, and nobody
//! signed it: it is the operator's own note, and weighs what another copy of the log weighs.

use std::path::Path;

use event_log::StreamFilter;

use super::{Collected, Heard, HeardKind};
use crate::floor::Witness;
use crate::grade::Grade;
use crate::watch_memory::read_witness;

/// Reads the file, without changing it.
pub(super) fn read_memory(path: &Path, filter: &StreamFilter, collected: &mut Collected) {
    let mut heard = Heard::new(path, HeardKind::Watch);
    let streams = match read_witness(path) {
        Ok(streams) => streams,
        Err(what) => return collected.unreadable(heard, format!("{}: {what}", path.display())),
    };
    let name = path.display().to_string();
    let admitted = streams
        .iter()
        .filter(|(stream, of)| filter.admits(stream) && of.highest > 0);
    for (stream, of) in admitted {
        heard.rows += 1;
        let who = match of.highest_by.as_str() {
            // It is a name of its own making; others' names are others' words.
            "the log" => format!("{name}, which saw it in the log at {}", of.seen_at),
            by => format!("{name}, which heard it from {by}"),
        };
        collected
            .streams
            .entry(*stream)
            .or_default()
            .add_witness(Witness {
                sequence: of.highest,
                grade: Grade::Claimed,
                who,
                identity: name.clone(),
            });
    }
    if heard.rows == 0 {
        collected.holds_nothing(&name);
    }
    collected.take(heard, "row(s) are not used");
}
