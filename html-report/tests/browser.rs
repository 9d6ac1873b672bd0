//! Pages as a browser shows them, with 1, 50 and 10,000 streams.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

use cli_common::finding::Code;
use cli_common::provenance::{Input, Provenance};
use cli_common::{Next, Tone};
use html_report::{
    Body, Check, CheckOutcome, Choice, ChoiceOption, Entry, FindingRow, History, MarkKind, Matrix,
    MatrixCell, MatrixRow, Objective, Page, Point, Section, Series, Signature, State, Strip, Table, Text,
    Timeline, Unit, worst_first,
};

/// Names that look as random ones do.
fn name(n: u64) -> String {
    let mixed = n.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let (a, b) = (mixed >> 32, mixed & 0xffff_ffff);
    format!("{a:08x}-1111-4000-8000-000000000001/{b:08x}-2222-4000-8000-000000000002")
}

fn short(n: u64) -> String {
    let name = name(n);
    format!("{}/{}", &name[..8], &name[37..45])
}

fn strip(n: u64) -> Strip {
    let head = 900 + n % 400;
    let mut strip = Strip::new(short(n), name(n), head);
    strip.anchored(1, head - 60);
    strip.mark(MarkKind::Counter, head, "the sequencer's counter", "");
    strip.mark(MarkKind::Head, head, "the log's events", "");
    if !n.is_multiple_of(7) && n != 1 {
        return strip;
    }
    strip.tone = if n.is_multiple_of(2) {
        Tone::Bad
    } else {
        Tone::Doubt
    };
    strip.sentence = format!(
        "{} positions are missing; the counter {head} is behind {}",
        37 + n % 90,
        head + 37
    )
    .into();
    strip.lay(head + 1, head + 20, State::Proven);
    strip.lay(head + 21, head + 26, State::Receipted);
    strip.lay(head + 27, head + 30, State::Committed);
    strip.lay(head + 31, head + 32 + n % 9, State::Corroborated);
    strip.lay(head + 42, head + 50, State::Claimed);
    strip.lay(head + 51, head + 60, State::Open);
    strip.lay(head + 61, head + 66, State::Lost);
    strip.lay(head + 67, head + 70, State::Tombstone);
    strip.lay(head + 71, head + 80, State::Appended);
    if n.is_multiple_of(21) {
        strip.lay(head - 11, head, State::Twice);
        strip.lay(head - 15, head - 12, State::Contested);
    }
    strip.anchored(head - 59, head + 20);
    let witnesses = [
        (
            head + 20,
            "anchored batch 51947cd0-3db0-4b8e-9b0e-4fa2b3ca1f5e",
            "proven",
        ),
        (
            head + 66,
            "/srv/agents/outboxes/bravo.db (_ves_outbox)",
            "claimed",
        ),
        (
            head + 60,
            "/srv/agents/outboxes/alpha.db (_ves_outbox)",
            "claimed",
        ),
        (
            head - 3,
            "/srv/agents/outboxes/juliet.db (_ves_outbox)",
            "claimed",
        ),
    ];
    for (at, who, grade) in witnesses {
        strip.mark(MarkKind::Witness, at, who, grade);
    }
    strip
}

fn matrix(count: u64) -> Matrix {
    let columns = count.min(8);
    let cell = |row: u64, column: u64| {
        let held = (row * 7 + column * 5) % 41;
        (held > 8).then(|| MatrixCell {
            text: Text::of(held),
            part: held as f64 / 41.0,
        })
    };
    let row = |n: u64| MatrixRow {
        name: format!("region-{}/agent-{n}.db", n % 5).into(),
        note: format!("agent {:08x}", n * 0x9e37_79b9).into(),
        cells: (0..columns).map(|column| cell(n, column)).collect(),
    };
    Matrix {
        row: "Witness".into(),
        column: "Stream".into(),
        columns: (0..columns).map(|n| short(n * 7).into()).collect(),
        rows: (0..count.min(9)).map(row).collect(),
        left_out: Text::default(),
    }
}

fn findings(count: u64) -> Vec<FindingRow> {
    let bad: Vec<u64> = (0..count).filter(|n| n.is_multiple_of(7)).collect();
    let tail = bad.iter().map(|n| {
        FindingRow::new(
            Code::GapTail,
            format!("{} 164-200", short(*n)),
            "37 position(s) after the head were given out, as alpha.db knows",
        )
        .command("sequencer-recovery plan --db \"$DATABASE_URL\" --outbox '/srv/agents/outboxes/*/*.db' --anchors anchors.json --out plan.ndjson")
    });
    let behind = bad.iter().map(|n| {
        FindingRow::new(
            Code::CounterBehind,
            short(*n),
            "the counter is 163, and anchored batch 51947cd0-3db0-4b8e-9b0e-4fa2b3ca1f5e ends at 200",
        )
    });
    let refused = FindingRow::new(
        Code::WitnessRefused,
        "",
        "/srv/agents/outboxes/juliet.db row 17: its signature does not hold",
    );
    tail.chain(behind).chain([refused]).collect()
}

fn times(page: &mut Page) {
    let timeline = Timeline {
        begins_at: Some(1_763_618_231_194_000),
        entries: vec![
            Entry::moment("The outage began", 0.0).note("disk of the primary; told by on-call"),
            Entry::span("Restore to a point in time", 240.0, 1260.0),
            Entry::span("Audit", 1620.0, 41.0).note("sequencer-recovery audit"),
            Entry::span("Plan", 1700.0, 62.0),
            Entry::span("Apply", 2100.0, 35.0)
                .tone(Tone::Bad)
                .note("a lock was held; the second run did the rest"),
            Entry::span("Apply", 2400.0, 33.0),
            Entry::moment("The sequencer was restarted", 2520.0),
        ],
    };
    page.section(Section::new("Timeline", Body::Timeline(timeline)));
    let objective = |name: &str, reached, wanted, unit, note: &str| Objective {
        name: name.into(),
        reached,
        wanted,
        unit,
        note: note.into(),
    };
    page.section(Section::new(
        "Objectives",
        Body::Objectives(vec![
            objective(
                "RTO",
                Some(2520.0),
                Some(3600.0),
                Unit::Seconds,
                "from the outage to the restart",
            ),
            objective("RPO", Some(14.0), Some(0.0), Unit::Events, "events lost for good"),
            objective("Restore", Some(1260.0), None, Unit::Seconds, ""),
            objective(
                "Detection",
                None,
                Some(300.0),
                Unit::Seconds,
                "nobody noted when it was seen",
            ),
        ]),
    ));
    let points = |of: &dyn Fn(u64) -> f64| {
        (0..14)
            .map(|n| Point {
                at: format!("2026-{:02}-01", 1 + n % 12).into(),
                value: (n != 5).then(|| of(n)),
                tone: if n == 9 { Tone::Bad } else { Tone::Good },
            })
            .collect()
    };
    let series = |name: &str, unit, wanted, points| Series {
        name: name.into(),
        unit,
        wanted,
        points,
    };
    page.section(Section::new(
        "Earlier drills",
        Body::History(History {
            series: vec![
                series(
                    "RTO",
                    Unit::Seconds,
                    Some(3600.0),
                    points(&|n| 3900.0 - 120.0 * n as f64),
                ),
                series(
                    "Events lost for good",
                    Unit::Events,
                    None,
                    points(&|n| (n * 7 % 5) as f64),
                ),
                series(
                    "Integrity checks passed",
                    Unit::Percent,
                    None,
                    points(&|n| 96.0 + (n % 4) as f64),
                ),
            ],
        }),
    ));
}

fn sample(count: u64) -> Page {
    let mut page = Page::new(
        "Audit",
        "postgres://operator@log.example/sequencer",
        Tone::Bad,
        format!(
            "{} problem(s), 1 notice(s). {} stream(s) whole, {} not, worst first.",
            2 * count.div_ceil(7),
            count - count.div_ceil(7),
            count.div_ceil(7)
        ),
    );
    page.next = Some(Next {
        why: Some("plan the repair; it changes nothing".into()),
        command: Some("sequencer-recovery plan --db \"$DATABASE_URL\" --outbox '/srv/agents/outboxes/*/*.db' --anchors anchors.json --out plan.ndjson".into()),
    });
    page.fact("Streams", count);
    page.fact("Events", 163 * count);
    page.fact_in(Tone::Bad, "Missing", 37 * count.div_ceil(7));
    page.fact("Batches that match anchors", 12 * count);
    page.fact_in(Tone::Good, "Batches that failed", 0);
    page.fact("Witnesses heard", count.min(40));
    page.fact("Log", "PostgreSQL 15.18, system 7634590128834412211, database sequencer, role operator; primary, timeline 2");
    let mut strips: Vec<Strip> = (0..count).map(strip).collect();
    worst_first(&mut strips);
    page.section(
        Section::new("Streams", Body::Strips(strips))
            .intro("Each stream as a map of its positions, the worst first; where little of a long stream is concerned, that part is drawn large."),
    );
    page.section(Section::new("Findings", Body::Findings(findings(count))));
    page.section(
        Section::new("Who holds what is missing", Body::Matrix(matrix(count)))
            .intro("How many of the missing events of each stream a witness holds."),
    );
    let option = |choice: &str, gives: &str, chosen| ChoiceOption {
        choice: choice.into(),
        gives: gives.into(),
        cost: "numbers above it that a single outbox claims may be given out again".into(),
        chosen,
    };
    page.section(Section::new(
        "Floors, and what each choice costs",
        Body::Choices(vec![Choice {
            name: short(0).into(),
            sentence: "The counter 163 becomes 214, known to bravo.db (claimed).".into(),
            options: vec![
                option("--floor proven", "200", false),
                option("--floor claimed", "214", true),
            ],
        }]),
    ));
    times(&mut page);
    let checks = [
        (
            "Service answers and is ready",
            CheckOutcome::Pass,
            "http://127.0.0.1:8080/health: 200 in 3 ms",
        ),
        (
            "Counters are at their floor",
            CheckOutcome::Pass,
            "4 of 4 streams",
        ),
        (
            "A commitment can go on in each stream",
            CheckOutcome::Fail,
            "4 of 4 streams have open positions before the next batch",
        ),
        (
            "Alerts are quiet",
            CheckOutcome::NotChecked,
            "no --prometheus was given",
        ),
    ];
    let checks = checks.map(|(name, outcome, evidence)| Check::new(name, outcome, evidence));
    page.section(Section::new("Checklist", Body::Checks(checks.into())));
    let mut table = Table::new(&[
        "Witness",
        "Agent",
        "Shape",
        "#Rows",
        "#Lacking here",
        "#Unsigned",
        "#Refused",
        "Read",
    ]);
    for n in 0..count.min(300) {
        table.row([
            format!("/srv/agents/outboxes/region-{}/agent-{n}.db", n % 5),
            format!("{n:08x}-9999-4000-8000-00000000000a"),
            "ves".to_owned(),
            (400 + n).to_string(),
            "37".to_owned(),
            "0".to_owned(),
            "0".to_owned(),
            "yes".to_owned(),
        ]);
    }
    page.section(Section::new("Witnesses", Body::Table(table)));
    page.not_checked = Some(
        (0..count)
            .map(|n| {
                format!(
                    "/srv/agents/outboxes/agent-{n}.db: {n} rows that nobody signed, used as pointers alone"
                )
            })
            .chain(["the chain: no anchors file was given (--anchors)".to_owned()])
            .collect(),
    );
    let inputs = (0..count.min(60)).map(|n| Input {
        role: "outbox".into(),
        path: format!("/srv/agents/outboxes/region-{}/agent-{n}.db", n % 5),
        bytes: Some(1_234_567 + n),
        sha256: Some(format!("{:064x}", u128::from(n) * 0x9e37_79b9_7f4a_7c15_f39c)),
        not_hashed: None,
    });
    page.provenance = Some(Provenance {
        tool: "sequencer-recovery".into(),
        version: "0.1.0".into(),
        commit: Some("0b9b4ce90b9b4ce90b9b4ce90b9b4ce90b9b4ce9".into()),
        made_at: "2026-03-01T12:00:00.123456Z".into(),
        inputs: inputs.collect(),
        inputs_sha256: Some("5f".repeat(32)),
    });
    page.signature = Some(Signature {
        statement: "I have read this report, and what was not checked.".into(),
        roles: vec!["Operator".into(), "Reviewer".into()],
        identifiers: vec![("Inputs (SHA-256)".into(), "5f".repeat(32).into())],
    });
    page
}

#[test]
fn pages_are_sound_on_a_desk_on_a_phone_and_on_paper() {
    if !test_support::browser_available() {
        return;
    }
    let dir = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let pages: Vec<(String, PathBuf)> = [1, 50, 10_000]
        .map(|count| {
            let path = dir.join(format!("sample-{count}.html"));
            fs::write(&path, html_report::render(&sample(count))).unwrap();
            (format!("sample-{count}"), path)
        })
        .into();
    let pages: Vec<(&str, &Path)> = pages
        .iter()
        .map(|(name, path)| (name.as_str(), path.as_path()))
        .collect();
    test_support::look_at_pages(&pages);
}
