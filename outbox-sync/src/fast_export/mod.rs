//! The fast way of an export of everything: rows straight into lines, by several threads.
//!
//! **Why.** After a recovery the outboxes of a whole fleet are exported while an operator waits. Row by row, through SQLite and
//! a value for each event, one thread is busy with what is nearly always the same: rows of the form that agents write. This
//! way is several times as fast (docs/performance.md has the figures).
//!
//! **What it promises.** The same bytes: whatever it hands over as lines is what [`ExportWriter::add`] would write for
//! those rows, and whatever is not ordinary in any way (a row, a page, a file) is left to the plain way or handed over as a
//! row. It never touches the outbox. Where it cannot vouch for what it handed over it says so ([`ReadEnd::Doubtful`]), and
//! nothing of it counts. Tests compare the two ways, byte for byte.
//!
//! **How it is switched off.** `outbox-sync export --row-by-row` does without it. Nothing else in this crate needs it:
//! taking the folder away leaves `export` slower and equal.
//!
//! The one way in is [`BulkOutbox`]; [`page_rows`] and [`is_json_line`] are parts of it that can be tried by themselves. Behind it: `bulk` (threads, and the order of their pieces), `in_place` (the file where it
//! lies, without a copy), `leaves` (rows from its pages, without SQLite), `plain_line` (a row's columns as a line), `skim`
//! (whether text is JSON).
//!
//! [`ExportWriter::add`]: crate::export::ExportWriter::add

mod bulk;
mod in_place;
mod leaves;
mod plain_line;
mod skim;

pub use bulk::{BulkOutbox, Part, ReadEnd};
pub use leaves::page_rows;
pub use skim::is_json_line;
