#![allow(
    clippy::redundant_closure,
    reason = "a function alone is not general enough over the lifetime of what it writes to"
)]

use cli_common::Next;
use outbox_sync::export::{Class, ExportManifest, MadeFrom, StreamCount};

use super::super::tests::{COUNTS, is_bad, path, place, provenance, stream, texts};
use super::report::print_table;
use super::*;

fn document(count: usize) -> Document {
    let streams = (0..count).map(|n| StreamCount {
        stream: stream(n),
        events: 1 + n as u64 % 9,
    });
    let streams: Vec<_> = streams.collect();
    let events = streams.iter().map(|stream| stream.events).sum();
    let left_out: Vec<String> = (0..count)
        .filter(|n| is_bad(*n))
        .map(|n| {
            format!(
                "{} _ves_outbox row {n}: the payload is not JSON: a comma at column 12",
                path(n)
            )
        })
        .take(outbox_sync::holdings::MAX_NAMED)
        .collect();
    Document {
        schema: SCHEMA,
        provenance: Some(provenance(count)),
        place: Some(place()),
        out: "/srv/recovery/lost.ndjson".into(),
        manifest: ExportManifest {
            schema: "export-manifest/1".into(),
            file: "lost.ndjson".into(),
            format: ExportFormat::Ndjson,
            events,
            bytes: 700 * events,
            sha256: "0123456789abcdef".repeat(4),
            streams,
            states: Default::default(),
            classes: [(Class::Missing, events), (Class::NeverSequenced, 2)].into(),
            made_from: MadeFrom::default(),
        },
        left_out: left_out.len() as u64,
        left_out_first: left_out,
        two_contents: 1,
        heard: (0..count.min(2))
            .map(|n| Heard::of_outbox(Path::new(&path(7 * n)), None))
            .collect(),
        not_read: Vec::new(),
        not_checked: Vec::new(),
        next: Next::nothing("this is a test"),
    }
}

#[test]
fn what_is_said_of_an_export_is_short() {
    for (count, text) in texts(&COUNTS, document, |out, document| print_table(out, document)) {
        insta::assert_snapshot!(format!("export_{count}"), text);
    }
}
