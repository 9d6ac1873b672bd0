//! The one way by which a report leaves a tool: as text for people, as one JSON document, or as lines of JSON; always
//! with where it comes from and what to do next.

use std::io::{BufWriter, Stdout, Write};

use serde::Serialize;

use crate::provenance::Provenance;
use crate::{CliError, Format, GlobalArgs, Next, Output};

/// What all reports have in common.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The name of the report's schema: each line of NDJSON bears it.
    pub schema: &'a str,
    /// Where the report comes from.
    pub provenance: &'a Provenance,
    /// What to do after it.
    pub next: &'a Next,
}

/// Results on stdout.
pub type Stdouted = Output<BufWriter<Stdout>>;

impl<'a> Frame<'a> {
    /// A document with `provenance` and `next` beside its own fields, for files.
    #[must_use]
    pub fn around<D: Serialize>(&self, document: &'a D) -> Framed<'a, D> {
        Framed {
            document,
            provenance: self.provenance,
            next: self.next,
        }
    }

    /// Prints a report in the form that was asked for: `document` as JSON with `provenance` and `next` beside its own
    /// fields, or what `text` or `lines` write, with both at the end.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn print(
        &self,
        global: &GlobalArgs,
        document: &'a impl Serialize,
        text: impl FnOnce(&mut Stdouted) -> Result<(), CliError>,
        lines: impl FnOnce(&mut Lines<'_, BufWriter<Stdout>>) -> Result<(), CliError>,
    ) -> Result<(), CliError> {
        print_report(
            global,
            &self.around(document),
            |out| {
                out.set_origin(self.provenance.to_string());
                text(out)?;
                out.origin()?;
                out.line("")?;
                self.next.print(out)
            },
            |out| {
                let mut written = Lines {
                    out,
                    schema: self.schema,
                };
                lines(&mut written)?;
                written.one("provenance", self.provenance)?;
                written.one("next", self.next)
            },
        )
    }
}

/// Prints a report in the form that was asked for: `document` as JSON, or what `text` or `lines` write. It is kept for the
/// incident too, if the command runs for one, also where nobody could read it.
///
/// # Errors
/// As [`Output::line`].
pub fn print_report(
    global: &GlobalArgs,
    document: &impl Serialize,
    text: impl FnOnce(&mut Stdouted) -> Result<(), CliError>,
    lines: impl FnOnce(&mut Stdouted) -> Result<(), CliError>,
) -> Result<(), CliError> {
    print_report_to(Output::stdout(global), global, document, text, lines)
}

/// As [`print_report`], behind what was printed before.
///
/// # Errors
/// As [`Output::line`].
pub fn print_report_to<W: Write>(
    mut out: Output<W>,
    global: &GlobalArgs,
    document: &impl Serialize,
    text: impl FnOnce(&mut Output<W>) -> Result<(), CliError>,
    lines: impl FnOnce(&mut Output<W>) -> Result<(), CliError>,
) -> Result<(), CliError> {
    let printed = match global.format {
        Format::Json => out.json(document),
        Format::Ndjson => lines(&mut out),
        Format::Table => text(&mut out),
    };
    let printed = printed.and_then(|()| out.finish());
    global.recorder.report(document);
    printed
}

/// A document with where it comes from and what is next.
#[derive(Debug, Serialize)]
pub struct Framed<'a, D> {
    #[serde(flatten)]
    document: &'a D,
    provenance: &'a Provenance,
    next: &'a Next,
}

/// Lines of a report in NDJSON: each bears the report's `schema` and says by its `type` what it is.
#[derive(Debug)]
pub struct Lines<'a, W: Write> {
    out: &'a mut Output<W>,
    schema: &'a str,
}

#[derive(Serialize)]
struct Line<'a, T> {
    schema: &'a str,
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    value: T,
}

impl<W: Write> Lines<'_, W> {
    /// Writes a line for each value.
    ///
    /// # Errors
    /// As [`Output::json`].
    pub fn all<T: Serialize>(
        &mut self,
        kind: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Result<(), CliError> {
        let schema = self.schema;
        let lines = values.into_iter().map(|value| Line { schema, kind, value });
        self.out.ndjson(lines)
    }

    /// Writes one line.
    ///
    /// # Errors
    /// As [`Output::json`].
    pub fn one(&mut self, kind: &str, value: impl Serialize) -> Result<(), CliError> {
        self.all(kind, [value])
    }

    /// Writes what was not checked, a line for each.
    ///
    /// # Errors
    /// As [`Output::json`].
    pub fn not_checked(&mut self, all: &[String]) -> Result<(), CliError> {
        #[derive(Serialize)]
        struct NotChecked<'a> {
            what: &'a str,
        }
        self.all("not_checked", all.iter().map(|what| NotChecked { what }))
    }
}
