//! What every page keeps to, whatever is in it.

use cli_common::provenance::{Input, Provenance};
use test_support::HOSTILE;

use super::*;
use crate::{
    Check, Choice, ChoiceOption, Entry, FindingRow, History, MarkKind, Matrix, MatrixCell, MatrixRow,
    Objective, Point, Series, State, Strip, Table, Timeline, Unit,
};

/// A page with everything that there is, and this text wherever a text can be.
fn everything(text: &str) -> Page {
    let t = || Text::from(text);
    let mut page = Page::new(text, text, Tone::Bad, text);
    page.next = Some(Next {
        why: Some(text.into()),
        command: Some(text.into()),
    });
    page.fact(text, text);
    page.fact_in(Tone::Bad, text, 3);
    let mut strip = Strip::new(text, text, 200);
    (strip.tone, strip.sentence, strip.notes) = (Tone::Bad, t(), vec![t()]);
    for (index, state) in State::ALL.into_iter().enumerate() {
        let at = index as u64 * 10;
        strip.lay(100 + at, 105 + at, state);
    }
    strip.anchored(1, 150);
    strip.mark(MarkKind::Counter, 163, text, text);
    (0..20).for_each(|n| strip.mark(MarkKind::Witness, 180 + n, text, text));
    page.section(Section::new(text, Body::Strips(vec![strip; 400])).intro(text));
    lists(&mut page, text);
    times(&mut page, text);
    page.not_checked = Some(vec![text.into(); 3]);
    let input = Input {
        role: text.into(),
        path: text.into(),
        bytes: Some(12_345),
        sha256: Some(text.into()),
        not_hashed: None,
    };
    page.provenance = Some(Provenance {
        tool: text.into(),
        version: text.into(),
        commit: Some(text.into()),
        made_at: text.into(),
        inputs: vec![input; 50],
        inputs_sha256: Some(text.into()),
    });
    page.signature = Some(Signature {
        statement: t(),
        roles: vec![t()],
        identifiers: vec![(t(), t())],
    });
    page
}

/// Sections that are lists and tables.
fn lists(page: &mut Page, text: &str) {
    let t = || Text::from(text);
    let cell = MatrixCell { text: t(), part: 0.7 };
    let row = MatrixRow {
        name: t(),
        note: t(),
        cells: vec![Some(cell), None],
    };
    page.section(Section::new(
        text,
        Body::Matrix(Matrix {
            row: t(),
            column: t(),
            columns: vec![t(), t()],
            rows: vec![row; 100],
            left_out: t(),
        }),
    ));
    let mut finding = FindingRow::new(cli_common::finding::Code::GapTail, text, text).command(text);
    (finding.code, finding.meaning) = (t(), t());
    page.section(Section::new(text, Body::Findings(vec![finding; 30])));
    page.section(Section::new(
        text,
        Body::Checks(vec![
            Check::new(text, CheckOutcome::Pass, text),
            Check::new(text, CheckOutcome::Fail, text).command(text),
        ]),
    ));
    let mut table = Table::new(&[text, "#Number"]);
    (0..100).for_each(|_| table.row([text, "3"]));
    page.section(Section::new(text, Body::Table(table)));
    let option = ChoiceOption {
        choice: t(),
        gives: t(),
        cost: t(),
        chosen: true,
    };
    page.section(Section::new(
        text,
        Body::Choices(vec![
            Choice {
                name: t(),
                sentence: t(),
                options: vec![option],
            };
            20
        ]),
    ));
    page.section(Section::new(text, Body::Prose(vec![t()])));
    page.section(Section::new(text, Body::Commands(vec![(t(), t())])));
}

/// Sections that are about time.
fn times(page: &mut Page, text: &str) {
    let t = || Text::from(text);
    page.section(Section::new(
        text,
        Body::Timeline(Timeline {
            begins_at: Some(1_763_618_231_194_000),
            entries: vec![
                Entry::moment(text, 0.0).note(text),
                Entry::span(text, 3.0, 60.0).tone(Tone::Bad),
            ],
        }),
    ));
    page.section(Section::new(
        text,
        Body::Objectives(vec![Objective {
            name: t(),
            reached: Some(3.0),
            wanted: Some(1.0),
            unit: Unit::Seconds,
            note: t(),
        }]),
    ));
    page.section(Section::new(
        text,
        Body::History(History {
            series: vec![Series {
                name: t(),
                unit: Unit::Events,
                wanted: Some(3.0),
                points: [Tone::Good, Tone::Bad, Tone::Doubt]
                    .map(|tone| Point {
                        at: t(),
                        value: Some(2.0),
                        tone,
                    })
                    .into(),
            }],
        }),
    ));
}

/// The page without what is between `<style>` and `</style>`, which is ours.
fn without_style(html: &str) -> String {
    let (before, rest) = html.split_once("<style>").unwrap();
    let (_, after) = rest.split_once("</style>").unwrap();
    before.to_owned() + after
}

/// The names of elements and attributes of a page.
fn tags(html: &str) -> std::collections::BTreeSet<String> {
    let mut found = std::collections::BTreeSet::new();
    for tag in html.split('<').skip(1) {
        let mut rest = tag.split_once('>').unwrap().0;
        let name = rest.split([' ', '\n', '/']).next().unwrap();
        found.insert(format!("<{name}"));
        while let Some((before, after)) = rest.split_once("=\"") {
            found.insert(before.rsplit([' ', '\n']).next().unwrap().to_owned());
            rest = after.split_once('"').unwrap().1;
        }
    }
    found
}

#[test]
fn text_of_others_stays_text() {
    let harmless = tags(&without_style(&render(&everything("a"))));
    let attacks = [
        HOSTILE,
        "</style><style>*{display:none}</style>",
        "</title><script src=https://x.example/a.js></script>",
        "\"><img src=x onerror=alert(1)>",
        "' onmouseover='alert(1)' x='",
        "javascript:alert(1)",
        "<!-- --><svg onload=alert(1)>",
        "]]><iframe srcdoc=\"x\">&lt;script&gt;",
        "&#x3c;script&#x3e;alert(1)",
    ];
    for attack in attacks {
        let html = render(&everything(attack));
        let body = without_style(&html);
        assert_eq!(tags(&body), harmless, "{attack:?}");
        assert!(
            !body.contains(|c: char| c.is_control() && c != '\n' || matches!(c, '\u{202e}' | '\u{2028}')),
            "{attack:?}"
        );
        assert!(!body.contains("href=\"javascript"), "{attack:?}");
    }
    let never = [
        "<script", "<iframe", "<img", "<link", "<form", "<object", "<base", "style", "src", "srcdoc",
    ];
    assert!(never.iter().all(|tag| !harmless.contains(*tag)), "{harmless:?}");
    assert!(
        !harmless.iter().any(|name| name.starts_with("on")),
        "{harmless:?}"
    );
}

#[test]
fn nothing_is_loaded_from_outside_and_the_policy_says_so() {
    let html = render(&everything("a"));
    for outside in ["http:", "https:", "@import", "@font-face", "data:"] {
        assert!(!html.contains(outside), "{outside}");
    }
    let style = html
        .split_once("<style>")
        .unwrap()
        .1
        .split_once("</style>")
        .unwrap()
        .0;
    let hash = STANDARD.encode(Sha256::digest(style));
    assert!(html.contains(&format!("default-src 'none'; style-src 'sha256-{hash}'")));
    assert!(
        style
            .match_indices("url(")
            .all(|(at, _)| style[at..].starts_with("url(#p-"))
    );
    // Every pattern that is named is there.
    for state in State::ALL {
        let name = format!(
            "p-{}",
            if state == State::Open {
                "open"
            } else {
                state.word()
            }
        );
        let named = style.contains(&format!("url(#{name})"));
        assert_eq!(named, html.contains(&format!("id=\"{name}\"")), "{name}");
    }
}

#[test]
fn ids_are_there_once_and_what_refers_to_them_finds_them() {
    let html = render(&everything("a"));
    let mut ids = std::collections::BTreeSet::new();
    for part in html.split(" id=\"").skip(1) {
        let id = part.split_once('"').unwrap().0;
        assert!(ids.insert(id), "{id} twice");
    }
    for (name, start) in [("aria-labelledby=\"", ""), ("href=\"#", "")] {
        for part in html.split(name).skip(1) {
            for id in part.split_once('"').unwrap().0.split(' ') {
                assert!(ids.contains(id.trim_start_matches(start)), "{name}{id}");
            }
        }
    }
}

#[test]
fn a_page_of_thousands_of_streams_stays_small() {
    let mut page = Page::new("Audit", "log", Tone::Bad, "Many.");
    let strips = (0..10_000).map(|n: u64| {
        let name = format!("{n:08x}-1111-4000-8000-000000000001/{n:08x}-2222-4000-8000-000000000002");
        let mut strip = Strip::new(&name[..17], name.as_str(), 2000 + n);
        if n.is_multiple_of(7) {
            strip.tone = Tone::Bad;
            strip.sentence = "37 positions are missing".into();
            strip.lay(1900, 1936, State::Open);
            strip.mark(MarkKind::Counter, 1899, "the counter", "committed");
        }
        strip
    });
    let mut strips: Vec<Strip> = strips.collect();
    crate::worst_first(&mut strips);
    page.section(Section::new("Streams", Body::Strips(strips)));
    let finding = |n| {
        FindingRow::new(
            cli_common::finding::Code::GapTail,
            format!("stream {n}"),
            "37 are missing",
        )
    };
    page.section(Section::new(
        "Findings",
        Body::Findings((0..20_000).map(finding).collect()),
    ));
    page.not_checked = Some(
        (0..30_000)
            .map(|n| format!("agent-{n}.db: {n} rows that nobody signed"))
            .collect(),
    );
    let html = render(&page);
    assert!(html.len() < 5_000_000, "{} bytes", html.len());
    println!("{} bytes", html.len());
    assert!(html.contains("which the same report in JSON has"));
    assert_eq!(html.matches("<article").count(), 16);
}
