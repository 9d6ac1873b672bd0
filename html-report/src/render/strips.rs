//! Streams as pictures of their positions.
//!
//! Widths are parts of a hundred, so that a picture is as wide as the page and its letters stay as large as the text. What
//! a position is, is told by a colour, a pattern and a letter; and in words below.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;

use cli_common::Tone;
use maud::{Markup, PreEscaped, html};

use super::{badge, beyond, percent, tone_class};
use crate::time::grouped;
use crate::{Mark, MarkKind, Run, State, Strip, Text};

/// So many streams are drawn large.
const LARGE: usize = 16;

/// Of so few streams it is said at once who knows to where.
const FEW: usize = 4;

/// So many more are drawn small.
const SMALL: usize = 240;

/// So many more have a row each; more are counted.
const ROWS: usize = 12_000;

/// So many runs of one picture are drawn as they are.
const RUNS: usize = 300;

/// So many witnesses of a stream are named.
const WITNESSES: usize = 60;

/// The patterns that pictures use, by name.
pub(super) fn patterns() -> Markup {
    html! { (PreEscaped(include_str!("patterns.svg"))) }
}

/// Streams: the worst large, more of them small, the rest as rows.
pub(super) fn strips(id: &str, strips: &[Strip]) -> Markup {
    let bad = strips.iter().take_while(|strip| strip.tone != Tone::Good).count();
    // A few streams are all shown, whole ones too.
    let large = if strips.len() <= LARGE / 2 {
        strips.len()
    } else {
        bad.min(LARGE)
    };
    let (large, rest) = strips.split_at(large);
    let (small, rows) = rest.split_at((bad - large.len().min(bad)).min(SMALL).min(rest.len()));
    let used: BTreeSet<State> = large
        .iter()
        .chain(small)
        .flat_map(|strip| strip.runs().iter().map(|run| run.state))
        .collect();
    html! {
        @if !large.is_empty() { (legend(&used)) }
        @for (index, strip) in large.iter().enumerate() {
            (large_strip(&format!("{id}-{index}"), strip, strips.len() <= FEW))
        }
        @if !small.is_empty() {
            h3 { (small.len()) " more streams, small" }
            ul.multiples {
                @for (index, strip) in small.iter().enumerate() { (small_strip(&format!("{id}-m{index}"), strip)) }
            }
        }
        @if !rows.is_empty() { (row_table(rows)) }
    }
}

/// What the colours, patterns and letters mean.
fn legend(used: &BTreeSet<State>) -> Markup {
    let states = State::ALL
        .iter()
        .filter(|state| **state == State::Present || used.contains(state));
    html! {
        ul.legend aria-label="What the strips show" {
            @for state in states {
                li {
                    svg.key aria-hidden="true" focusable="false" width="26" height="14" {
                        rect class=(state_class(*state)) x="0" y="0" width="26" height="14" {}
                        @if let Some(letter) = state.letter() {
                            text.letter.(letter_class(*state)) x="13" y="11" text-anchor="middle" { (letter) }
                        }
                    }
                    (state.word())
                }
            }
            li {
                svg.key aria-hidden="true" focusable="false" width="26" height="14" {
                    rect.anchored x="0" y="6" width="26" height="3" {}
                }
                "anchored"
            }
            li { b { "C" } " counter" }
            li { b { "H" } " last event of the log" }
            li { b { "1, 2 …" } " witnesses, as listed" }
        }
    }
}

fn large_strip(id: &str, strip: &Strip, open: bool) -> Markup {
    let window = strip.window();
    let whole = *window.start() == 1 && *window.end() == strip.last().max(1);
    let (title, description) = (format!("{id}-t"), format!("{id}-d"));
    let witnesses = in_order(&strip.marks);
    html! {
        article.strip.(tone_class(strip.tone)) {
            h3 {
                (strip.name)
                @if strip.name != strip.full_name { " " code.full { (strip.full_name) } }
            }
            p.said { (strip.sentence) }
            @if !whole { (overview(strip, &window)) }
            svg.map role="img" aria-labelledby=(format!("{title} {description}")) height="62" width="100%" {
                title id=(title) { "Positions " (number(*window.start())) " to " (number(*window.end())) " of " (strip.name) }
                desc id=(description) { (in_words(strip)) }
                (marks(&witnesses, &window))
                (bar(strip, &window))
                (axis(strip, &window))
            }
            @for note in &strip.notes { p.note { (note) } }
            @if !witnesses.is_empty() { (witness_list(&witnesses, strip, open)) }
        }
    }
}

/// The whole stream, thin, with the part of it that is drawn large.
fn overview(strip: &Strip, window: &RangeInclusive<u64>) -> Markup {
    let whole = 1..=strip.last().max(1);
    let (from, to) = (part(*window.start(), &whole), part_end(*window.end(), &whole));
    html! {
        svg.overview aria-hidden="true" focusable="false" height="20" width="100%" {
            rect.w-there x="0" y="0" width="100%" height="6" {}
            @for run in strip.drawn(&whole, 200) {
                rect class=(state_class(run.state)) x=(percent(part(run.from, &whole))) y="0" height="6"
                    width=(percent((part_end(run.to, &whole) - part(run.from, &whole)).max(0.002))) {}
            }
            line.lens x1=(percent(from)) y1="7" x2="0" y2="20" {}
            line.lens x1=(percent(to)) y1="7" x2="100%" y2="20" {}
        }
    }
}

/// The bar of positions, and below it what anchors cover.
fn bar(strip: &Strip, window: &RangeInclusive<u64>) -> Markup {
    let drawn = strip.drawn(window, RUNS);
    html! {
        @if strip.last() > 0 { rect.w-there x="0" y="18" width="100%" height="18" {} }
        @for run in &drawn {
            rect class=(state_class(run.state)) x=(percent(part(run.from, window))) y="18" height="18"
                width=(percent(part_end(run.to, window) - part(run.from, window))) {}
        }
        @for run in drawn.iter().filter(|run| part_end(run.to, window) - part(run.from, window) > 0.028) {
            @if let Some(letter) = run.state.letter() {
                text.letter.(letter_class(run.state)) y="31" text-anchor="middle"
                    x=(percent((part(run.from, window) + part_end(run.to, window)) / 2.0)) { (letter) }
            }
        }
        @for range in anchored_in(strip, window) {
            rect.anchored x=(percent(part(*range.start(), window))) y="39" height="3"
                width=(percent(part_end(*range.end(), window) - part(*range.start(), window))) {}
        }
    }
}

/// What anchors cover of a window; where that is many pieces, the first ones.
fn anchored_in(strip: &Strip, window: &RangeInclusive<u64>) -> Vec<RangeInclusive<u64>> {
    let (lo, hi) = (*window.start(), *window.end());
    let inside = strip
        .anchored_ranges()
        .iter()
        .filter(|range| *range.end() >= lo && *range.start() <= hi);
    let clipped = inside.map(|range| (*range.start()).max(lo)..=(*range.end()).min(hi));
    clipped.take(RUNS).collect()
}

/// Numbers below the bar: both ends, and where the first and last of what is not simply there stand.
fn axis(strip: &Strip, window: &RangeInclusive<u64>) -> Markup {
    let (lo, hi) = (*window.start(), *window.end());
    let runs = strip.runs();
    let edges = [runs.first().map(|run| run.from), runs.last().map(|run| run.to)];
    let mut shown: Vec<(u64, f64)> = Vec::new();
    for at in edges.into_iter().flatten() {
        let place = part(at, window);
        let free = shown.iter().all(|(_, other)| (place - other).abs() > 0.16);
        // What is near an end would stand on its number.
        if place > 0.15 && place < 0.85 && free {
            shown.push((at, place));
        }
    }
    html! {
        text.axis x="0" y="56" { (number(lo)) }
        @for (at, place) in shown {
            line.tick x1=(percent(place)) x2=(percent(place)) y1="42" y2="46" {}
            text.axis x=(percent(place)) y="56" text-anchor="middle" { (number(at)) }
        }
        @if hi > lo { text.axis x="100%" y="56" text-anchor="end" { (number(hi)) } }
    }
}

/// Marks with the sign by which the picture and the list know them: the counter, the log's head, the witnesses from the
/// highest number down.
fn in_order(marks: &[Mark]) -> Vec<(String, &Mark)> {
    let mut all: Vec<&Mark> = marks.iter().collect();
    all.sort_by(|a, b| (a.kind, b.at, &a.who).cmp(&(b.kind, a.at, &b.who)));
    let mut witnesses = 0;
    let signed = all.into_iter().map(|mark| {
        let sign = match mark.kind {
            MarkKind::Witness => {
                witnesses += 1;
                witnesses.to_string()
            }
            kind => kind.letter().to_string(),
        };
        (sign, mark)
    });
    signed.collect()
}

/// Marks this near to each other share a label.
const NEAR: f64 = 0.06;

fn marks(all: &[(String, &Mark)], window: &RangeInclusive<u64>) -> Markup {
    let mut placed: Vec<(f64, &str)> = all
        .iter()
        .filter(|(_, mark)| mark.kind != MarkKind::Witness || mark.at >= *window.start())
        .take(40)
        .map(|(sign, mark)| {
            (
                part_end(mark.at.clamp(*window.start(), *window.end()), window),
                sign.as_str(),
            )
        })
        .collect();
    placed.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut groups: Vec<(f64, Vec<&str>)> = Vec::new();
    for (place, sign) in &placed {
        match groups.last_mut() {
            Some((first, signs)) if *place - *first < NEAR => signs.push(sign),
            _ => groups.push((*place, vec![sign])),
        }
    }
    html! {
        @for (place, _) in &placed {
            line.mark x1=(percent(*place)) x2=(percent(*place)) y1="13" y2="42" {}
        }
        @for (place, signs) in &groups {
            text.sign x=(percent(*place)) y="10" text-anchor=(anchor(*place)) { (joined(signs)) }
        }
    }
}

fn anchor(place: f64) -> &'static str {
    match place {
        p if p < 0.08 => "start",
        p if p > 0.92 => "end",
        _ => "middle",
    }
}

/// A few signs, and that there are more.
fn joined(signs: &[&str]) -> String {
    match signs.len() {
        0..=4 => signs.join(" "),
        more => format!("{} +{}", signs[..3].join(" "), more - 3),
    }
}

fn witness_list(all: &[(String, &Mark)], strip: &Strip, open: bool) -> Markup {
    html! {
        details open[open] {
            summary { "Who knows to where (" (all.len()) ")" }
            ul.heads aria-label=(format!("Who knows to where of {}", strip.name)) {
                @for (sign, mark) in all.iter().take(WITNESSES) {
                    li {
                        b { (sign) }
                        span.at { (number(mark.at)) }
                        span { (mark.who) @if !mark.note.is_empty() { span.note { " " (mark.note) } } }
                    }
                }
            }
            (beyond(all.len(), WITNESSES))
        }
    }
}

fn small_strip(id: &str, strip: &Strip) -> Markup {
    let whole = 1..=strip.last().max(1);
    let label = format!("{id}-t");
    html! {
        li {
            span.name { (strip.name) }
            svg.mini role="img" aria-labelledby=(label) height="10" width="100%" {
                title id=(label) { (in_words(strip)) }
                rect.w-there x="0" y="0" width="100%" height="10" {}
                @for run in strip.drawn(&whole, 80) {
                    rect class=(state_class(run.state)) x=(percent(part(run.from, &whole))) y="0" height="10"
                        width=(percent((part_end(run.to, &whole) - part(run.from, &whole)).max(0.01))) {}
                }
            }
            span.few { (few_words(strip)) }
        }
    }
}

/// The rest, folded away.
fn row_table(strips: &[Strip]) -> Markup {
    let whole = strips.iter().filter(|strip| strip.tone == Tone::Good).count();
    let not = strips.len() - whole;
    html! {
        details.rest {
            summary {
                @match (whole, not) {
                    (whole, 0) => { (number(whole as u64)) " streams with nothing wrong" }
                    (0, not) => { (number(not as u64)) " more streams" }
                    (whole, not) => {
                        (number(not as u64)) " more streams, and " (number(whole as u64)) " with nothing wrong"
                    }
                }
            }
            div.box role="group" tabindex="0" aria-label="The other streams" {
                table {
                    thead { tr {
                        th scope="col" { "Stream" }
                        th.n scope="col" { "Last number" }
                        th.n scope="col" { "Missing" }
                        th scope="col" { "State" }
                    } }
                    tbody {
                        @for strip in strips.iter().take(ROWS) {
                            tr {
                                th scope="row" { (strip.full_name) }
                                td.n { (strip.last()) }
                                td.n { (strip.missing()) }
                                td { (row_state(strip)) }
                            }
                        }
                    }
                }
            }
            (beyond(strips.len(), ROWS))
        }
    }
}

fn row_state(strip: &Strip) -> Markup {
    html! {
        @match strip.tone {
            Tone::Good if strip.sentence.is_empty() => { "nothing wrong" }
            Tone::Good => { (strip.sentence) }
            Tone::Doubt => { (badge(Tone::Doubt, "to decide")) " " (strip.sentence) }
            Tone::Bad => { (badge(Tone::Bad, "wrong")) " " (strip.sentence) }
        }
    }
}

/// What there is not to see at once in a small picture.
fn few_words(strip: &Strip) -> String {
    let counts = State::ALL.iter().rev().filter(|state| **state != State::Present);
    let counts = counts.map(|state| (*state, strip.count(*state)));
    let worst: Vec<String> = counts
        .filter(|(_, count)| *count > 0)
        .take(2)
        .map(|(state, count)| format!("{} {}", number(count), state.word()))
        .collect();
    worst.join(", ")
}

/// So many runs are told one by one.
const TOLD: usize = 12;

/// A picture in words.
fn in_words(strip: &Strip) -> Text {
    let one = |run: &Run| match run.from == run.to {
        true => format!("{} at {}", run.state.word(), run.from),
        false => format!("{} {}-{}", run.state.word(), run.from, run.to),
    };
    let runs = strip.runs();
    let mut told: Vec<String> = runs.iter().take(TOLD).map(one).collect();
    if runs.len() > TOLD {
        told.push(format!("and {} more ranges", runs.len() - TOLD));
    }
    if told.is_empty() {
        told.push("nothing missing".to_owned());
    }
    let anchored = strip.anchored_ranges().last();
    if let Some(last) = anchored {
        told.push(format!("anchored up to {}", last.end()));
    }
    Text::from(format!(
        "{}: positions 1-{}: {}.",
        strip.name,
        strip.last(),
        told.join("; ")
    ))
}

/// Where a position begins in a window, from 0 to 1.
fn part(at: u64, window: &RangeInclusive<u64>) -> f64 {
    let width = (window.end() - window.start()) as f64 + 1.0;
    at.saturating_sub(*window.start()) as f64 / width
}

/// Where a position ends.
fn part_end(at: u64, window: &RangeInclusive<u64>) -> f64 {
    let width = (window.end() - window.start()) as f64 + 1.0;
    (at.saturating_sub(*window.start()) as f64 + 1.0) / width
}

fn number(number: u64) -> String {
    grouped(&number.to_string())
}

fn state_class(state: State) -> &'static str {
    match state {
        State::Present => "w-there",
        State::Proven => "w-proven",
        State::MatchesAnchors | State::Checkpointed => "w-receipted",
        State::MatchesDatabase => "w-corroborated",
        State::NotChecked => "w-claimed",
        State::Failed => "w-lost",
        State::Receipted => "w-receipted",
        State::Committed => "w-committed",
        State::Corroborated => "w-corroborated",
        State::Claimed => "w-claimed",
        State::Appended => "w-appended",
        State::Tombstone => "w-tombstone",
        State::Open => "w-open",
        State::Contested => "w-contested",
        State::Lost => "w-lost",
        State::Twice => "w-twice",
    }
}

/// Letters are light on dark runs, and dark on light ones.
fn letter_class(state: State) -> &'static str {
    match state {
        State::Proven
        | State::Checkpointed
        | State::Receipted
        | State::Committed
        | State::Tombstone
        | State::Lost
        | State::Twice => "on-dark",
        _ => "on-light",
    }
}
