//! Reports that people look at: one HTML file that needs nothing else, neither scripts nor a network.
//!
//! A tool makes a [`Page`] out of values, and never writes HTML. Whatever comes from others goes in as [`Text`], which has
//! no control characters, and is escaped where it is written.
//!
//! ```
//! use cli_common::Tone;
//! use html_report::{Body, Check, CheckOutcome, Page, Section};
//!
//! let mut page = Page::new("Checklist", "postgres://sequencer", Tone::Good, "All checks passed.");
//! page.fact("Streams", 4);
//! let check = Check::new("counters are at their floor", CheckOutcome::Pass, "4 of 4");
//! page.section(Section::new("Checks", Body::Checks(vec![check])));
//! let html = html_report::render(&page);
//! assert!(html.starts_with("<!DOCTYPE html>"));
//! ```
//!
//! A stream is drawn as a strip ([`Strip`]): in the page as a picture, in the terminal as a line ([`strip_lines`]).

#![forbid(unsafe_code)]

mod page;
mod render;
mod report_file;
mod strip;
mod strip_text;
mod table;
mod text;
mod time;

pub use page::{
    Body, Check, CheckOutcome, Choice, ChoiceOption, Fact, FindingRow, Headline, Matrix, MatrixCell,
    MatrixRow, Page, Section, Signature,
};
pub use render::render;
pub use report_file::{ReportArg, ReportFile};
pub use strip::{Mark, MarkKind, Run, State, Strip, worst_first};
pub use strip_text::strip_lines;
pub use table::{Cell, Column, Table};
pub use text::Text;
pub use time::{Entry, History, Objective, Point, Series, Timeline, Unit};
