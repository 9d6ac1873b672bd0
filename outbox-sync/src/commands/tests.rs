//! What commands print for people, at 80 columns, of 1, 4, 50 and 10,000 outboxes or streams. The reports are in the tests
//! of each command; here is what they share.

#![allow(
    clippy::redundant_closure,
    reason = "a function alone is not general enough over the lifetime of what it writes to"
)]

use cli_common::provenance::{Input, Provenance};
use cli_common::{CliError, Output, Style};
use event_log::{Place, ServerMode, ServerPlace};
use unicode_width::UnicodeWidthStr;
use uuid::Uuid;
use ves::{AgentId, EventId, StreamKey};

pub(super) const COUNTS: [usize; 4] = [1, 4, 50, 10_000];

/// What is printed at most, however many there are: about a screen.
const SCREEN: usize = 66;

/// An id that looks as random ones do, the same each time.
fn id(kind: u128, n: usize) -> Uuid {
    let mixed = ((kind << 64) | n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let mixed = (mixed ^ (mixed >> 61)).wrapping_mul(0xbf58_476d_1ce4_e5b9_94d0_49bb_1331_11eb);
    Uuid::from_u128(mixed ^ (mixed >> 67))
}

pub(super) fn stream(n: usize) -> StreamKey {
    StreamKey::new(id(1, n / 3).into(), id(2, n).into())
}

pub(super) fn agent(n: usize) -> AgentId {
    AgentId(id(3, n))
}

pub(super) fn event(n: usize) -> EventId {
    EventId(id(4, n))
}

/// The outbox of an agent.
pub(super) fn path(n: usize) -> String {
    format!("/srv/agents/outboxes/region-{}/agent-{n}.db", n % 5)
}

/// Whether something is wrong: with 8 of 50.
pub(super) fn is_bad(n: usize) -> bool {
    n.is_multiple_of(7)
}

/// Of a report on so many outboxes and a log.
pub(super) fn provenance(files: usize) -> Provenance {
    let input = |n: usize| Input {
        role: "outbox".into(),
        path: path(n),
        bytes: Some(4096),
        sha256: Some(format!("{n:064x}")),
        not_hashed: None,
    };
    Provenance {
        tool: "outbox-sync".into(),
        version: "1.2.3".into(),
        commit: Some("0123456789abcdef0123456789abcdef01234567".into()),
        made_at: "2026-03-01T10:00:00.123456Z".into(),
        inputs: (0..files).map(input).collect(),
        inputs_sha256: (files > 0).then(|| "ab".repeat(32)),
    }
}

pub(super) fn place() -> Place {
    Place::Postgres(ServerPlace {
        server_version: "15.6".into(),
        system_identifier: Some("7341234567890123456".into()),
        timeline: Some(2),
        database: "sequencer".into(),
        role: "operator".into(),
        schema: Some("public".into()),
        level: None,
        mode: ServerMode::Primary,
        recovery: None,
    })
}

fn printed(all: bool, print: impl FnOnce(&mut Output<&mut Vec<u8>>) -> Result<(), CliError>) -> String {
    let style = Style {
        all,
        ..Style::default()
    };
    let mut written = Vec::new();
    let mut out = Output::new(&mut written, style);
    print(&mut out).unwrap();
    out.finish().unwrap();
    let text = String::from_utf8(written).unwrap();
    for line in text.lines() {
        assert!(line.width() <= 80, "{} columns: {line:?}", line.width());
        assert_eq!(line, line.trim_end(), "space at the end");
    }
    text
}

/// What is printed of a report for people.
pub(super) fn text(print: impl FnOnce(&mut Output<&mut Vec<u8>>) -> Result<(), CliError>) -> String {
    printed(false, print)
}

/// What is printed of reports on so many outboxes or streams; sees that thousands do not flood, and that all are there for
/// those who ask for all.
pub(super) fn texts<T>(
    counts: &[usize],
    report: impl Fn(usize) -> T,
    print: impl Fn(&mut Output<&mut Vec<u8>>, &T) -> Result<(), CliError>,
) -> Vec<(usize, String)> {
    let of_count = |&count: &usize| {
        let report = report(count);
        let text = printed(false, |out| print(out, &report));
        let lines = text.lines().count();
        assert!(lines <= SCREEN, "{lines} lines of {count}:\n{text}");
        if count <= 50 {
            let all = printed(true, |out| print(out, &report)).lines().count();
            assert!(all >= count.max(lines), "{all} lines of {count}");
        }
        (count, text)
    };
    counts.iter().map(of_count).collect()
}
