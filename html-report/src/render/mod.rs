//! A page as HTML. Everything that is written goes through the template library's escaping; text of others is
//! [`crate::Text`] besides.

mod lists;
mod strips;
mod tables;
mod times;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cli_common::finding::Severity;
use cli_common::provenance::Provenance;
use cli_common::{Next, Tone, not_checked_by_kind};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

use crate::{Body, CheckOutcome, Fact, Page, Section, Signature, Text};

/// All that a page looks like.
const STYLE: &str = include_str!("style.css");

/// So many lines of a kind are shown before the rest is folded away.
const SHOWN: usize = 12;

/// So many are there at all, folded or not; the rest is counted. JSON has everything.
const KEPT: usize = 2000;

/// A page as HTML: one file that needs nothing else.
#[must_use]
pub fn render(page: &Page) -> String {
    let style_hash = STANDARD.encode(Sha256::digest(STYLE));
    // No script, no frame, no form, no connection; this one style sheet and nothing else.
    let policy =
        format!("default-src 'none'; style-src 'sha256-{style_hash}'; base-uri 'none'; form-action 'none'");
    let title = format!("{} - {}", page.title, page.subtitle);
    let markup = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(policy);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta name="referrer" content="no-referrer";
                meta name="robots" content="noindex";
                title { (Text::from(title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                a.skip href="#content" { "Skip to the content" }
                (strips::patterns())
                (head(page))
                main id="content" tabindex="-1" {
                    @for (index, section) in page.sections.iter().enumerate() {
                        (one_section(index, section))
                    }
                    @if let Some(not_checked) = &page.not_checked {
                        (not_checked_section(not_checked))
                    }
                    @if let Some(provenance) = &page.provenance {
                        (inputs(provenance))
                    }
                    @if let Some(signature) = &page.signature {
                        (sign_here(signature))
                    }
                }
                (foot(page))
            }
        }
    };
    markup.into_string()
}

fn head(page: &Page) -> Markup {
    html! {
        header {
            p.kicker {
                @if let Some(made) = &page.provenance { (Text::from(&made.tool)) " · " }
                (page.title)
            }
            h1 { (page.subtitle) }
            div.verdict.(tone_class(page.verdict.tone)) {
                (badge(page.verdict.tone, verdict_word(page.verdict.tone)))
                p.sentence { (page.verdict.sentence) }
            }
            @if let Some(next) = &page.next { (next_step(next)) }
            @if !page.facts.is_empty() {
                dl.facts {
                    @for fact in &page.facts {
                        div class=(fact_class(fact)) {
                            dt { (fact.name) }
                            dd { (fact.value) }
                        }
                    }
                }
            }
            (contents(page))
        }
    }
}

/// A longer value has a line for itself.
const LONG_FACT: usize = 24;

fn fact_class(fact: &Fact) -> &'static str {
    match fact.tone {
        _ if fact.value.as_str().chars().count() > LONG_FACT => "long",
        None => "plain",
        Some(tone) => tone_class(tone),
    }
}

/// Links to the sections.
fn contents(page: &Page) -> Markup {
    html! {
        nav aria-label="Contents" {
            ul {
                @for (index, section) in page.sections.iter().enumerate() {
                    li { a href=(format!("#s{index}")) { (section.title) } }
                }
                @if page.not_checked.is_some() { li { a href="#not-checked" { "Not checked" } } }
                @if page.provenance.is_some() { li { a href="#inputs" { "Inputs" } } }
                @if page.signature.is_some() { li { a href="#sign" { "Signatures" } } }
            }
        }
    }
}

fn next_step(next: &Next) -> Markup {
    let why = next.why.as_ref().map(Text::from);
    html! {
        div.next {
            @match &next.command {
                Some(command) => {
                    p { strong { "Next" } @if let Some(why) = &why { ": " (why) } }
                    (lists::command(&Text::from(command)))
                }
                None => {
                    p { strong { "Next" } ": no further command" @if let Some(why) = &why { ": " (why) } }
                }
            }
        }
    }
}

fn one_section(index: usize, section: &Section) -> Markup {
    let id = format!("s{index}");
    let heading = format!("{id}-h");
    html! {
        section id=(id) aria-labelledby=(heading) {
            h2 id=(heading) { (section.title) }
            @if !section.intro.is_empty() { p.intro { (section.intro) } }
            (body(&id, section))
        }
    }
}

fn body(id: &str, section: &Section) -> Markup {
    match &section.body {
        Body::Strips(strips) => strips::strips(id, strips),
        Body::Matrix(matrix) => tables::matrix(matrix, &section.title),
        Body::Timeline(timeline) => times::timeline(timeline),
        Body::Objectives(all) => times::objectives(all),
        Body::Findings(all) => lists::findings(all),
        Body::Checks(all) => lists::checks(all),
        Body::Table(table) => tables::table(table, &section.title),
        Body::History(history) => times::history(id, history),
        Body::Choices(all) => lists::choices(all),
        Body::Prose(all) => html! { @for text in all { p { (text) } } },
        Body::Commands(all) => html! {
            @for (what, command) in all {
                p { (what) }
                (lists::command(command))
            }
        },
    }
}

/// So many kinds of what was not checked are shown at once.
const KINDS: usize = 40;

fn not_checked_section(all: &[String]) -> Markup {
    let kinds = not_checked_by_kind(all);
    html! {
        section id="not-checked" aria-labelledby="not-checked-h" {
            h2 id="not-checked-h" { "Not checked" }
            @if all.is_empty() {
                p { "Nothing: everything was checked." }
            } @else {
                p.intro { "A check that did not run is no pass." }
                ul.plain {
                    @for kind in kinds.iter().take(KINDS) { li { (Text::from(kind)) } }
                }
                @if all.len() > kinds.len().min(KINDS) {
                    details {
                        summary { "All " (all.len()) " of them, one by one" }
                        ul.plain { @for what in all.iter().take(KEPT) { li { (Text::from(what)) } } }
                        (beyond(all.len(), KEPT))
                    }
                }
            }
        }
    }
}

/// Says how many are not in the page at all.
fn beyond(count: usize, kept: usize) -> Markup {
    html! {
        @if let Some(more @ 1..) = count.checked_sub(kept) {
            p.more { "And " (more) " more, which the same report in JSON has." }
        }
    }
}

fn inputs(made: &Provenance) -> Markup {
    let commit = made.commit.as_ref().map(Text::from);
    html! {
        section id="inputs" aria-labelledby="inputs-h" {
            h2 id="inputs-h" { "Inputs" }
            p.intro {
                "Made " (Text::from(made_at(&made.made_at))) " by the clock of the host, by "
                (Text::from(&made.tool)) " " (Text::from(&made.version))
                @if let Some(commit) = &commit { " of commit " code { (commit) } }
                "."
            }
            @if made.inputs.is_empty() {
                p { "No file was read." }
            } @else {
                (tables::inputs(made))
                @if let Some(all) = &made.inputs_sha256 {
                    p { "All of them by one name (SHA-256 over a line " code { "SHA256 ROLE PATH" } " for each): "
                        code.hash { (Text::from(all)) } }
                }
            }
        }
    }
}

/// `2026-03-01 12:00:00 UTC` of `2026-03-01T12:00:00.000000Z`.
fn made_at(rfc3339: &str) -> String {
    match (rfc3339.get(..10), rfc3339.get(11..19), rfc3339.ends_with('Z')) {
        (Some(day), Some(time), true) => format!("{day} {time} UTC"),
        _ => rfc3339.to_owned(),
    }
}

fn sign_here(signature: &Signature) -> Markup {
    html! {
        section.sign id="sign" aria-labelledby="sign-h" {
            h2 id="sign-h" { "Signatures" }
            p.intro { (signature.statement) }
            @if !signature.identifiers.is_empty() {
                dl.ids {
                    @for (name, value) in &signature.identifiers {
                        div { dt { (name) } dd { code.hash { (value) } } }
                    }
                }
            }
            div.lines {
                @for role in &signature.roles {
                    dl {
                        div { dt { (role) } dd {} }
                        div { dt { "Date (UTC)" } dd {} }
                        div { dt { "Signature" } dd {} }
                    }
                }
            }
        }
    }
}

fn foot(page: &Page) -> Markup {
    html! {
        footer {
            p {
                "All times are UTC. This page is one file: it runs no script and loads nothing. "
                "What people read here may change with a release; scripts read the report in JSON."
                @if let Some(made) = &page.provenance {
                    " " (Text::from(&made.tool)) " " (Text::from(&made.version)) ", "
                    (Text::from(made_at(&made.made_at))) "."
                }
            }
        }
    }
}

fn tone_class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "good",
        Tone::Doubt => "doubt",
        Tone::Bad => "bad",
    }
}

fn verdict_word(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "Good",
        Tone::Doubt => "To decide",
        Tone::Bad => "Problems",
    }
}

/// A word with a shape and a colour, all of which say the same.
fn badge(tone: Tone, word: &str) -> Markup {
    html! {
        span.badge.(tone_class(tone)) {
            svg.shape viewBox="0 0 16 16" aria-hidden="true" focusable="false" {
                @match tone {
                    Tone::Good => { circle cx="8" cy="8" r="7" {} path d="M4.5 8.5l2.5 2.5 4.5-5.5" {} }
                    Tone::Doubt => { path.fill d="M8 1l7.2 13.5H.8z" {} path d="M8 6v4M8 12v.6" {} }
                    Tone::Bad => { rect x="1" y="1" width="14" height="14" rx="2" {} path d="M5 5l6 6M11 5l-6 6" {} }
                }
            }
            (word)
        }
    }
}

fn outcome_badge(outcome: CheckOutcome) -> Markup {
    match outcome {
        CheckOutcome::Pass => badge(Tone::Good, "Pass"),
        CheckOutcome::NotChecked => badge(Tone::Doubt, "Not checked"),
        CheckOutcome::Fail => badge(Tone::Bad, "Fail"),
    }
}

fn severity_badge(severity: Severity) -> Markup {
    match severity {
        Severity::Problem => badge(Tone::Bad, "Problem"),
        Severity::Notice => badge(Tone::Doubt, "Notice"),
    }
}

/// A part of a whole, for the attributes of a picture.
fn percent(part: f64) -> String {
    let part = if part.is_finite() {
        part.clamp(0.0, 1.0)
    } else {
        0.0
    };
    let text = format!("{:.3}", part * 100.0);
    format!("{}%", text.trim_end_matches('0').trim_end_matches('.'))
}

#[cfg(test)]
mod tests;
