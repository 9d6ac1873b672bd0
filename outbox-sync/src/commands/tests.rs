//! What commands print for people, at 80 columns, of 1, 4, 50 and 10,000 outboxes or streams.

use cli_common::{CliError, Output, Style};
use outbox_sync::census::{Census, CensusGrade, MissingRange, StreamCensus, Unheard};
use outbox_sync::verify::VerdictCounts;
use unicode_width::UnicodeWidthStr;
use uuid::Uuid;
use ves::{AgentId, StreamKey};

use super::{census, verify};

const COUNTS: [usize; 4] = [1, 4, 50, 10_000];

/// What is printed at most of 50 streams in which much is wrong; of thousands it is not much longer.
const SCREEN: usize = 90;

/// An id that looks as random ones do, the same each time.
fn id(kind: u128, n: usize) -> Uuid {
    let mixed = ((kind << 64) | n as u128).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835);
    let mixed = (mixed ^ (mixed >> 61)).wrapping_mul(0xbf58_476d_1ce4_e5b9_94d0_49bb_1331_11eb);
    Uuid::from_u128(mixed ^ (mixed >> 67))
}

fn stream(n: usize) -> StreamKey {
    StreamKey::new(id(1, n / 3).into(), id(2, n).into())
}

/// Whether something is wrong with a stream: with 8 of 50.
fn is_bad(n: usize) -> bool {
    n.is_multiple_of(7)
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

/// Compares what is printed with its snapshots, and sees that thousands of streams do not flood.
fn snapshots<T>(
    name: &str,
    counts: &[usize],
    report: impl Fn(usize) -> T,
    print: impl Fn(&mut Output<&mut Vec<u8>>, &T) -> Result<(), CliError>,
) {
    for &count in counts {
        let report = report(count);
        let text = printed(false, |out| print(out, &report));
        insta::assert_snapshot!(format!("{name}_{count}"), text);
        let most = if count <= 50 { SCREEN } else { 2 * SCREEN };
        assert!(text.lines().count() <= most, "{text}");
        if count > 50 {
            continue;
        }
        let all = printed(true, |out| print(out, &report)).lines().count();
        assert!(all >= count, "{all} lines of {count}");
    }
}

fn of_stream(n: usize) -> StreamCensus {
    let range = |first, last, grade, held| MissingRange {
        first,
        last,
        grade,
        held,
        holders: vec![
            "/srv/agents/outboxes/alpha.db".into(),
            "/srv/agents/outboxes/bravo.db".into(),
        ],
    };
    let missing = if is_bad(n) { 37 } else { 0 };
    StreamCensus {
        stream: stream(n),
        head: Some(163),
        known_to: 163 + missing,
        known_by: "/srv/agents/outboxes/alpha.db (_ves_outbox)".into(),
        missing,
        by_grade: Default::default(),
        nowhere: if is_bad(n) { 5 } else { 0 },
        ranges: if is_bad(n) {
            vec![
                range(164, 190, CensusGrade::Corroborated, true),
                range(191, 195, CensusGrade::Lost, false),
                range(196, 200, CensusGrade::Claimed, true),
            ]
        } else {
            Vec::new()
        },
        unplaced: 0,
        never_sequenced: 2,
    }
}

#[test]
fn a_census_is_short_and_names_who_was_not_heard() {
    let census = |count: usize| Census {
        streams: (0..count).map(of_stream).collect(),
        unheard: (0..count / 7)
            .map(|n| Unheard {
                agent_id: AgentId(id(3, n)),
                held_by_others: 4,
            })
            .collect(),
    };
    snapshots("census", &COUNTS[..3], census, |out, census| {
        census::print_census(out, census, None)?;
        super::print_not_checked(out, &[])
    });
    let text = printed(false, |out| census::print_census(out, &census(50), None));
    let first = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        first.contains("42 stream(s) whole, 8 not, worst first"),
        "{first}"
    );
}

#[test]
fn a_verification_of_a_fleet_is_short() {
    let file = |n: usize| verify::FileVerdict {
        path: format!("/srv/agents/outboxes/region-{}/agent-{n}.db", n % 5),
        damage: None,
        counts: VerdictCounts {
            holds: 400,
            fails: if is_bad(n) { 3 } else { 0 },
            ..VerdictCounts::default()
        },
        unreadable: Vec::new(),
    };
    snapshots(
        "verify_files",
        &COUNTS,
        |count| (0..count).map(file).collect::<Vec<_>>(),
        |out, files| {
            let mut totals = VerdictCounts::default();
            files.iter().for_each(|file| totals.add_all(&file.counts));
            verify::print_files(out, files, &totals)
        },
    );
}
