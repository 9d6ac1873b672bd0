//! Timelines, objectives and histories.

use cli_common::Tone;
use maud::{Markup, html};

use super::{KEPT, badge, beyond, percent, tone_class};
use crate::time::{duration, moment};
use crate::{Entry, History, Objective, Point, Series, Timeline};

/// What happened when: each entry in words, and as a bar beside the others.
pub(super) fn timeline(timeline: &Timeline) -> Markup {
    let end = |entry: &Entry| entry.at + entry.lasts.unwrap_or(0.0);
    let first = timeline
        .entries
        .iter()
        .map(|e| e.at)
        .fold(f64::INFINITY, f64::min);
    let last = timeline.entries.iter().map(end).fold(f64::NEG_INFINITY, f64::max);
    let whole = (last - first).max(1e-9);
    html! {
        p.intro {
            "From beginning to end " (duration((last - first).max(0.0))) "."
            @if timeline.begins_at.is_some() { " Times are UTC." }
        }
        ol.timeline {
            @for entry in timeline.entries.iter().take(KEPT) {
                li.(entry.tone.map_or("", tone_class)) {
                    p.what { (entry.name) @if entry.tone == Some(Tone::Bad) { " " (badge(Tone::Bad, "failed")) } }
                    p.when { (when(timeline, entry)) }
                    svg.bar aria-hidden="true" focusable="false" height="14" width="100%" {
                        line.track x1="0" x2="100%" y1="7" y2="7" {}
                        @match entry.lasts {
                            Some(lasts) => {
                                rect.span x=(percent((entry.at - first) / whole)) y="2" height="10" rx="2"
                                    width=(percent((lasts / whole).max(0.004))) {}
                            }
                            None => {
                                // Within the picture at both ends.
                                circle.moment cx=(percent(0.006 + (entry.at - first) / whole * 0.988)) cy="7" r="4.5" {}
                            }
                        }
                    }
                    @if !entry.note.is_empty() { p.note { (entry.note) } }
                }
            }
        }
        (beyond(timeline.entries.len(), KEPT))
    }
}

fn when(timeline: &Timeline, entry: &Entry) -> String {
    let at = match timeline.begins_at {
        Some(begins) => moment(begins.saturating_add((entry.at * 1e6) as i64)),
        None => format!("at {}", duration(entry.at)),
    };
    match entry.lasts {
        Some(lasts) => format!("{at}, took {}", duration(lasts)),
        None => at,
    }
}

/// What was reached, against what was wanted.
pub(super) fn objectives(all: &[Objective]) -> Markup {
    html! {
        ul.objectives {
            @for objective in all.iter().take(KEPT) { (one_objective(objective)) }
        }
    }
}

fn one_objective(objective: &Objective) -> Markup {
    let in_words = |number: Option<f64>, none: &str| {
        number.map_or_else(|| none.to_owned(), |number| objective.unit.of(number))
    };
    let most = objective
        .reached
        .unwrap_or(0.0)
        .max(objective.wanted.unwrap_or(0.0))
        .max(1e-9)
        * 1.1;
    let tone = match objective.met() {
        Some(true) => Tone::Good,
        Some(false) => Tone::Bad,
        None => Tone::Doubt,
    };
    let word = match (objective.met(), objective.wanted) {
        (Some(true), _) => "Met",
        (Some(false), _) => "Missed",
        (None, Some(_)) => "Not known",
        (None, None) => "no target",
    };
    html! {
        li.(tone_class(tone)) {
            p.what {
                (objective.name) " "
                @if objective.wanted.is_some() { (badge(tone, word)) } @else { span.count { (word) } }
            }
            p.reached {
                strong { (in_words(objective.reached, "not known")) }
                @if objective.wanted.is_some() { " of at most " (in_words(objective.wanted, "")) }
            }
            svg.bar aria-hidden="true" focusable="false" height="18" width="100%" {
                line.track x1="0" x2="100%" y1="9" y2="9" {}
                @if let Some(reached) = objective.reached {
                    rect.span x="0" y="4" height="10" rx="2" width=(percent((reached / most).max(0.003))) {}
                }
                @if let Some(wanted) = objective.wanted {
                    line.wanted x1=(percent(wanted / most)) x2=(percent(wanted / most)) y1="0" y2="18" {}
                }
            }
            @if !objective.note.is_empty() { p.note { (objective.note) } }
        }
    }
}

/// So many points of a series are drawn, the newest.
const POINTS: usize = 120;

/// How tall the picture of a series is.
const HEIGHT: f64 = 44.0;

/// How things went from one time to the next.
pub(super) fn history(id: &str, history: &History) -> Markup {
    html! {
        div.history {
            @for (index, series) in history.series.iter().enumerate().take(KEPT / 10) {
                (one_series(&format!("{id}-h{index}"), series))
            }
        }
    }
}

fn one_series(id: &str, series: &Series) -> Markup {
    let points = &series.points[series.points.len().saturating_sub(POINTS)..];
    let known = || points.iter().filter_map(|point| point.value);
    let most = known().chain(series.wanted).fold(0.0, f64::max).max(1e-9);
    let value = |value: Option<f64>| value.map_or("not measured".to_owned(), |v| series.unit.of(v));
    let last = points.last();
    let label = format!(
        "{} of {} runs, from {} to {}",
        series.name,
        points.len(),
        points.first().map_or("-", |p| p.at.as_str()),
        last.map_or("-", |p| p.at.as_str())
    );
    let label_id = format!("{id}-t");
    html! {
        div.series {
            h3 { (series.name) }
            p.reached {
                strong { (value(last.and_then(|point| point.value))) } " last time"
                @if let Some(wanted) = series.wanted { ", at most " (series.unit.of(wanted)) " wanted" }
            }
            svg.spark role="img" aria-labelledby=(label_id) height=(HEIGHT + 8.0) width="100%" {
                title id=(label_id) { (label) }
                @if let Some(wanted) = series.wanted {
                    line.wanted x1="0" x2="100%" y1=(y(wanted, most)) y2=(y(wanted, most)) {}
                }
                @for (index, pair) in points.windows(2).enumerate() {
                    @if let (Some(a), Some(b)) = (pair[0].value, pair[1].value) {
                        line.curve x1=(x(index, points.len())) y1=(y(a, most)) x2=(x(index + 1, points.len()))
                            y2=(y(b, most)) {}
                    }
                }
                @for (index, point) in points.iter().enumerate() { (dot(index, points.len(), point, most)) }
            }
            details {
                summary { "The numbers" }
                div.box role="group" tabindex="0" aria-label=(format!("Numbers of {}", series.name)) {
                    table {
                        thead { tr { th scope="col" { "Run" } th.n scope="col" { (series.name) } th scope="col" { "Result" } } }
                        tbody {
                            @for point in points {
                                tr {
                                    th scope="row" { (point.at) }
                                    td.n { (value(point.value)) }
                                    td { (result_word(point.tone)) }
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn result_word(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "pass",
        Tone::Doubt => "in doubt",
        Tone::Bad => "fail",
    }
}

/// A point: a dot for what went well, a cross for what did not.
fn dot(index: usize, count: usize, point: &Point, most: f64) -> Markup {
    let Some(value) = point.value else { return html! {} };
    html! {
        @match point.tone {
            Tone::Bad => {
                text.cross x=(x(index, count)) y=(y_number(value, most) + 4.0) text-anchor="middle" { "×" }
            }
            tone => { circle.(tone_class(tone)) cx=(x(index, count)) cy=(y(value, most)) r="2.5" {} }
        }
    }
}

fn x(index: usize, count: usize) -> String {
    match count {
        0 | 1 => "50%".to_owned(),
        _ => percent(0.02 + 0.96 * index as f64 / (count - 1) as f64),
    }
}

fn y_number(value: f64, most: f64) -> f64 {
    4.0 + HEIGHT * (1.0 - (value / most).clamp(0.0, 1.0))
}

fn y(value: f64, most: f64) -> String {
    format!("{:.1}", y_number(value, most))
}
