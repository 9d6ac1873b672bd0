//! Findings, checks and choices.

use cli_common::Tone;
use maud::{Markup, html};

use super::{KEPT, SHOWN, badge, beyond, outcome_badge, severity_badge};
use crate::{Check, CheckOutcome, Choice, ChoiceOption, FindingRow, Text};

/// A command to copy: one click marks it whole.
pub(super) fn command(command: &Text) -> Markup {
    html! { pre.cmd tabindex="0" aria-label="Command" { code { (command) } } }
}

/// What was found, by code.
pub(super) fn findings(all: &[FindingRow]) -> Markup {
    let mut groups: Vec<(&FindingRow, Vec<&FindingRow>)> = Vec::new();
    for finding in all {
        let known = groups
            .iter_mut()
            .find(|(first, _)| first.code == finding.code && first.severity == finding.severity);
        match known {
            Some((_, group)) => group.push(finding),
            None => groups.push((finding, vec![finding])),
        }
    }
    html! {
        @for (first, group) in &groups {
            div.finding {
                h3 {
                    (severity_badge(first.severity)) " " code { (first.code) }
                    @if group.len() > 1 { span.count { " × " (group.len()) } }
                }
                @if !first.meaning.is_empty() { p.meaning { (first.meaning) } }
                (finding_rows(&group[..group.len().min(SHOWN)]))
                @if group.len() > SHOWN {
                    details {
                        summary { (group.len() - SHOWN) " more of " code { (first.code) } }
                        (finding_rows(&group[SHOWN..group.len().min(KEPT)]))
                        (beyond(group.len(), KEPT))
                    }
                }
                @for text in commands(group) { (command(text)) }
            }
        }
    }
}

/// The commands that findings name: each once, and a few at most.
fn commands<'a>(group: &[&'a FindingRow]) -> Vec<&'a Text> {
    let mut found: Vec<&Text> = Vec::new();
    for text in group.iter().filter_map(|finding| finding.command.as_ref()) {
        if !found.contains(&text) {
            found.push(text);
        }
        if found.len() == 4 {
            break;
        }
    }
    found
}

fn finding_rows(rows: &[&FindingRow]) -> Markup {
    html! {
        ul.where {
            @for row in rows {
                li {
                    @if !row.place.is_empty() { span.place { (row.place) } " " }
                    span.said { (row.sentence) }
                }
            }
        }
    }
}

/// What was checked: what failed, then what was not checked, then what passed.
pub(super) fn checks(all: &[Check]) -> Markup {
    let mut in_order: Vec<&Check> = all.iter().collect();
    in_order.sort_by_key(|check| check.outcome);
    let count = |outcome| all.iter().filter(|check| check.outcome == outcome).count();
    html! {
        p.intro {
            (count(CheckOutcome::Pass)) " passed, " (count(CheckOutcome::Fail)) " failed, "
            (count(CheckOutcome::NotChecked)) " not checked."
        }
        ul.checks {
            @for check in in_order.iter().take(KEPT) {
                li {
                    div { (outcome_badge(check.outcome)) }
                    div {
                        p.what { (check.name) }
                        @if !check.evidence.is_empty() { p.evidence { (check.evidence) } }
                        @if let Some(text) = &check.command { (command(text)) }
                    }
                }
            }
        }
        (beyond(all.len(), KEPT))
    }
}

/// What can be chosen, and what it costs.
pub(super) fn choices(all: &[Choice]) -> Markup {
    html! {
        @for choice in all.iter().take(SHOWN) { (one_choice(choice)) }
        @if all.len() > SHOWN {
            details {
                summary { (all.len() - SHOWN) " more" }
                @for choice in &all[SHOWN..all.len().min(KEPT / 4)] { (one_choice(choice)) }
                (beyond(all.len(), KEPT / 4))
            }
        }
    }
}

fn one_choice(choice: &Choice) -> Markup {
    html! {
        div.choice {
            h3 { (choice.name) }
            @if !choice.sentence.is_empty() { p { (choice.sentence) } }
            div.box role="group" tabindex="0" aria-label=(format!("Choices for {}", choice.name)) {
                table {
                    thead { tr {
                        th scope="col" { "Choice" }
                        th.n scope="col" { "Gives" }
                        th scope="col" { "What it costs" }
                    } }
                    tbody { @for option in &choice.options { (option_row(option)) } }
                }
            }
        }
    }
}

fn option_row(option: &ChoiceOption) -> Markup {
    html! {
        tr.chosen[option.chosen] {
            th scope="row" {
                code { (option.choice) }
                @if option.chosen { " " (badge(Tone::Good, "chosen")) }
            }
            td.n { (option.gives) }
            td { (option.cost) }
        }
    }
}
