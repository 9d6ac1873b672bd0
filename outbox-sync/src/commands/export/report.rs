//! What came of an export: the document, the table, and what to do next.

use std::path::Path;

use cli_common::provenance::Provenance;
use cli_common::{CliError, CommandLine, DbTarget, GlobalArgs, Next, Output, Table, Tone, print_report};
use event_log::Place;
use outbox_sync::export::{Class, ExportManifest, manifest_path};
use outbox_sync::holdings::{Heard, NotRead};
use outbox_sync::source::looks_like_export;
use serde::Serialize;
use serde::ser::SerializeStruct;

use super::super::provenance::{print_head, write_head};
use super::super::{print_end, print_some, shown, write_end, write_lines};
use super::ExportArgs;

pub(super) const SCHEMA: &str = "outbox-export/1";

#[derive(Serialize)]
pub(super) struct Document {
    pub(super) schema: &'static str,
    pub(super) provenance: Option<Provenance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<Place>,
    pub(super) out: String,
    pub(super) manifest: ExportManifest,
    /// Rows that were left out since they cannot go out: unsigned, unreadable, not to be found again.
    pub(super) left_out: u64,
    pub(super) left_out_first: Vec<String>,
    /// Events of which two contents verify; the best copy went out.
    pub(super) two_contents: u64,
    pub(super) heard: Vec<Heard>,
    pub(super) not_read: Vec<NotRead>,
    pub(super) not_checked: Vec<String>,
    pub(super) next: Next,
}

pub(super) fn next(manifest: &ExportManifest, args: &ExportArgs) -> Next {
    let verify = CommandLine::of_this_tool("verify").with([&args.out]);
    let Some(log) = &args.missing_from else {
        return Next::run_for(
            "see whether what was exported verifies",
            &verify.with(args.keys.words()),
        );
    };
    if manifest.events == 0 {
        return Next::nothing(
            "the log has all that these outboxes hold of what was asked for; the export is empty",
        );
    }
    let of_classes = |classes: &[Class]| {
        classes
            .iter()
            .filter_map(|class| manifest.classes.get(class))
            .sum::<u64>()
    };
    let lost = of_classes(&[Class::Missing, Class::Doubtful]);
    // An export of a log has no keys to verify with.
    let verify = match DbTarget::parse(&log.0) {
        Ok(DbTarget::Snapshot(path)) if looks_like_export(&path) => verify,
        _ => verify
            .with(["--db".into(), log.0.clone()])
            .with(args.schema.words()),
    };
    let verify = verify.with(args.keys.words());
    let why = match lost {
        0 => "none of these events ever had a number: their agents send them; see whether they verify"
            .to_owned(),
        _ => format!(
            "give the export and its manifest to the operator, who may bring {lost} lost events back; see whether it verifies"
        ),
    };
    Next::run_for(why, &verify)
}

/// A manifest has a schema of its own, so it is not spread out beside the line's.
struct ManifestLine<'a>(&'a ExportManifest);

impl Serialize for ManifestLine<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut line = serializer.serialize_struct("ManifestLine", 1)?;
        line.serialize_field("manifest", self.0)?;
        line.end()
    }
}

pub(super) fn print(document: &Document, global: &GlobalArgs) -> Result<(), CliError> {
    print_report(
        global,
        document,
        |out| print_table(out, document),
        |out| print_ndjson(out, document),
    )
}

fn print_ndjson(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    write_head(out, SCHEMA, document.provenance.as_ref(), document.place.as_ref())?;
    write_lines(out, SCHEMA, "manifest", [ManifestLine(&document.manifest)])?;
    write_lines(out, SCHEMA, "heard", &document.heard)?;
    write_lines(out, SCHEMA, "not_read", &document.not_read)?;
    write_end(out, SCHEMA, &document.not_checked, &document.next)
}

pub(super) fn print_table(
    out: &mut Output<impl std::io::Write>,
    document: &Document,
) -> Result<(), CliError> {
    let m = &document.manifest;
    let labels = out.label_streams(m.streams.iter().map(|s| s.stream));
    let whole = document.left_out == 0 && document.not_read.is_empty();
    let left_out = match document.left_out {
        0 => String::new(),
        rows => format!("; {rows} row(s) were left out"),
    };
    out.verdict(
        if whole { Tone::Good } else { Tone::Doubt },
        &format!(
            "{} event(s) of {} stream(s){left_out}.",
            m.events,
            m.streams.len()
        ),
    )?;
    print_head(out, document.provenance.as_ref(), document.place.as_ref())?;
    for (class, events) in &m.classes {
        let name = serde_json::to_value(class).unwrap_or_default();
        let name = name.as_str().unwrap_or_default().replace('_', " ");
        out.line(&format!("{events} {name}"))?;
    }
    out.line(&format!(
        "{}: {} bytes, SHA-256 {}",
        document.out, m.bytes, m.sha256
    ))?;
    out.line(&format!(
        "manifest: {}",
        shown(&manifest_path(Path::new(&document.out)))
    ))?;
    let refusals: Vec<&String> = document.heard.iter().flat_map(|heard| &heard.refusals).collect();
    if !(document.left_out_first.is_empty() && refusals.is_empty()) {
        out.line("")?;
        let short = out.shorten_paths("Files are", document.heard.iter().map(|heard| &*heard.path))?;
        let shortened = |what: &String| short.of(what).to_owned();
        print_some(out, "left out", document.left_out_first.iter().map(shortened))?;
        print_some(out, "not used", refusals.into_iter().map(shortened))?;
    }
    if document.two_contents > 0 {
        let n = document.two_contents;
        out.line(&format!(
            "{n} events have two contents that both verify; the best copy went out"
        ))?;
    }
    let mut in_order: Vec<_> = m.streams.iter().collect();
    in_order.sort_by_key(|s| (std::cmp::Reverse(s.events), s.stream));
    let mut table = Table::new(&["STREAM", "EVENTS"]);
    let many = out.shown(in_order.len());
    for stream in &in_order[..many] {
        table.row([labels.of(&stream.stream), stream.events.to_string()]);
    }
    if !table.is_empty() {
        out.line("")?;
        out.table(&table)?;
        out.more(0, in_order.len() - many, "stream(s)")?;
    }
    print_end(out, &document.not_checked, &document.next)
}
