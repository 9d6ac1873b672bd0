//! What is written about an incident for people: the report for the ticket, status updates for those who wait, and a
//! post-mortem with the facts filled in. Markdown, all of it to be edited.

use std::fmt::Write as _;
use std::time::Duration;

use cli_common::incident::timeline::Moment;
use cli_common::{escape_controls, time_in_words};
use ves::Timestamp;

use super::Course;
use super::course::Run;
use super::summary::Summary;

/// Text of others within Markdown: no control characters, no table cells or markup of its own.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for c in escape_controls(text).chars() {
        match c {
            '<' => plain.push_str("&lt;"),
            '&' => plain.push_str("&amp;"),
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' => plain.extend(['\\', c]),
            c => plain.push(c),
        }
    }
    plain
}

/// Text of others as code, on one line.
fn code(text: &str) -> String {
    let text = escape_controls(text);
    let longest = text.split(|c| c != '`').map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest + 1);
    match longest {
        0 => format!("`{text}`"),
        _ => format!("{fence} {text} {fence}"),
    }
}

/// A point in time to the second, in UTC.
fn at(time: Timestamp) -> String {
    let text = time.to_string();
    match (text.get(..10), text.get(11..19)) {
        (Some(day), Some(time)) => format!("{day} {time} UTC"),
        _ => text,
    }
}

/// A length of time for people; what clocks that disagree make negative is none.
#[must_use]
pub fn time(seconds: f64) -> String {
    time_in_words(Duration::try_from_secs_f64(seconds).unwrap_or_default())
}

fn known(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "not known".to_owned(), time)
}

fn wanted(seconds: Option<f64>) -> String {
    seconds.map_or_else(|| "none set".to_owned(), time)
}

fn number(count: Option<u64>) -> String {
    count.map_or_else(|| "not known".to_owned(), |count| count.to_string())
}

fn verdict(summary: &Summary) -> &'static str {
    if summary.passed() { "PASS" } else { "FAIL" }
}

/// The report for the ticket.
#[must_use]
pub fn report(course: &Course, summary: &Summary) -> String {
    let mut text = String::new();
    let incident = &course.incident;
    // Writing to a String cannot fail.
    let _ = writeln!(text, "# {}: {}\n", plain(&incident.id), plain(&incident.title));
    let _ = writeln!(text, "**{}.** {}\n", verdict(summary), in_a_sentence(summary));
    figures(&mut text, course, summary);
    let _ = writeln!(text, "\n## What had to hold\n\n| | check | seen |\n|---|---|---|");
    for check in &summary.checks {
        let passed = match check.passed {
            Some(true) => "pass",
            Some(false) => "**FAIL**",
            None => "**NOT KNOWN**",
        };
        let _ = writeln!(text, "| {passed} | {} | {} |", check.name, plain(&check.detail));
    }
    let _ = writeln!(
        text,
        "\n## Phases\n\n| phase | by | began | took |\n|---|---|---|---:|"
    );
    for phase in &summary.phases {
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} |",
            plain(&phase.name),
            plain(&phase.component),
            at(phase.started_at),
            time(phase.seconds)
        );
    }
    let _ = writeln!(text, "\n## Timeline\n");
    timeline(&mut text, course);
    list(&mut text, "Done by hand", "nothing", &by_hand(summary));
    list(&mut text, "Not known", "nothing is left open", &summary.not_known);
    list(&mut text, "Faults of this folder", "none", &course.faults);
    text
}

fn in_a_sentence(summary: &Summary) -> String {
    format!(
        "The recovery lost {} event(s); {} were brought back, {} are lost for good, {} position(s) are missing at the end.",
        number(summary.lost),
        summary.restored,
        summary.lost_for_good,
        number(summary.unresolved)
    )
}

fn by_hand(summary: &Summary) -> Vec<String> {
    let all = summary.interventions.iter();
    let told = all.map(|one| {
        format!(
            "{}: {}",
            one.at.map_or_else(|| "(when?)".to_owned(), at),
            one.what
        )
    });
    told.collect()
}

fn figures(text: &mut String, course: &Course, summary: &Summary) {
    let incident = &course.incident;
    let _ = writeln!(text, "| | reached | wanted |\n|---|---|---|");
    let _ = writeln!(
        text,
        "| RTO: outage to the start of the sequencer | {} | {} |",
        known(summary.rto_seconds),
        wanted(incident.rto_seconds)
    );
    let _ = writeln!(
        text,
        "| RPO as recovered | {} | |\n| RPO of proof, as recovered | {} | |\n| RPO after the repair | {} | {} |",
        known(summary.rpo_seconds_before),
        known(summary.rpo_of_proof()),
        known(summary.rpo_seconds_after),
        wanted(incident.rpo_seconds)
    );
}

fn list(text: &mut String, title: &str, none: &str, lines: &[String]) {
    let _ = writeln!(text, "\n## {title}\n");
    for line in lines {
        let _ = writeln!(text, "- {}", plain(line));
    }
    if lines.is_empty() {
        let _ = writeln!(text, "{none}");
    }
}

/// Everything that happened, by the time at which it happened.
fn timeline(text: &mut String, course: &Course) {
    let mut lines: Vec<(Timestamp, String)> = Vec::new();
    if let Some(started) = course.started_at {
        lines.push((started, "the incident's folder was made".into()));
    }
    for note in &course.notes {
        let moment = note
            .moment
            .map_or(String::new(), |moment| format!("**{}** ", moment.as_str()));
        let hand = if note.intervention { "(by hand) " } else { "" };
        lines.push((note.happened_at, format!("{moment}{hand}{}", plain(&note.text))));
    }
    lines.extend(course.runs.iter().map(|run| (run.began_at, ran(run))));
    if let Some(closed) = course.closed_at {
        lines.push((closed, "closed".into()));
    }
    lines.sort_by_key(|line| line.0);
    let _ = writeln!(text, "| when | what |\n|---|---|");
    for (when, what) in lines {
        let _ = writeln!(text, "| {} | {what} |", at(when));
    }
}

fn ran(run: &Run) -> String {
    let ended = match &run.end {
        None => "began, and nobody noted how it ended".to_owned(),
        Some(end) => {
            let error = end
                .error
                .as_deref()
                .map_or(String::new(), |error| format!(": {}", plain(error)));
            format!("ended with {} after {}{error}", end.status, known(run.seconds()))
        }
    };
    format!("{} {ended}", code(&run.line).replace('|', "\\|"))
}

/// Status updates for those who wait.
#[must_use]
pub fn updates(course: &Course, summary: &Summary) -> String {
    let title = plain(&course.incident.title);
    let began = course
        .moment(Moment::OutageBegan)
        .map_or_else(|| "(when?)".into(), at);
    let mut text = format!(
        "# Status updates: {}\n\nEdit before you send.\n",
        plain(&course.incident.id)
    );
    let _ = write!(
        text,
        "\n## First\n\nInvestigating: {title}. Since {began} the sequencer takes no events. Agents keep theirs and send \
         them later; please do not reset or reinstall them. Next update: (when?).\n"
    );
    let _ = write!(
        text,
        "\n## Under way\n\nRepairing: the database was restored to an earlier point in time. {} event(s) that were accepted \
         after it were missing; we bring them back from the agents' outboxes and prove their places by what was anchored. \
         Please keep the sequencer's clients as they are. Next update: (when?).\n",
        number(summary.lost)
    );
    let ended = course
        .moment(Moment::ServiceRestored)
        .or_else(|| course.moment(Moment::SequencerStarted))
        .map_or_else(|| "(when?)".into(), at);
    let missing = match summary.unresolved {
        Some(0) => "No event that was accepted is missing.".to_owned(),
        open => format!(
            "{} position(s) could not be brought back; whoever holds events of them will be told.",
            number(open)
        ),
    };
    let _ = write!(
        text,
        "\n## Resolved\n\nResolved: {title}. The sequencer takes events again since {ended}. {} event(s) were brought back. \
         {missing} Agents set their outboxes right by `outbox-sync reconcile` with the recovery epoch.\n",
        summary.restored
    );
    text
}

/// A post-mortem to be filled in.
#[must_use]
pub fn post_mortem(course: &Course, summary: &Summary) -> String {
    let incident = &course.incident;
    let mut text = format!("# Post-mortem: {}\n\n", plain(&incident.title));
    let _ = writeln!(
        text,
        "Incident {}. Written by: (who?). Blameless: what let it happen, not who.\n",
        plain(&incident.id)
    );
    let _ = writeln!(
        text,
        "## Summary\n\n{} (In two sentences: what broke, whom it hit.)\n",
        in_a_sentence(summary)
    );
    let _ = writeln!(text, "## Impact\n");
    figures(&mut text, course, summary);
    let _ = writeln!(
        text,
        "\n- Events lost for good: {}. Streams and agents concerned: (from the loss certificate)\n- Promises broken: receipts \
         whose events are not in the log any more: (which?)\n",
        summary.lost_for_good
    );
    let _ = writeln!(text, "## Timeline\n");
    timeline(&mut text, course);
    list(&mut text, "Done by hand", "nothing", &by_hand(summary));
    for (title, ask) in [
        (
            "Root cause",
            "Why was a recovery to an earlier point needed? Ask why five times.",
        ),
        (
            "Detection",
            "What told us, how long after it began, and what should have?",
        ),
        ("What went well", "(fill in)"),
        (
            "What went wrong",
            "(fill in; look at failed commands in the timeline, and at what is not known)",
        ),
        ("Where we were lucky", "(which witness was there by chance?)"),
    ] {
        let _ = writeln!(text, "\n## {title}\n\n{ask}");
    }
    list(&mut text, "Not known", "nothing is left open", &summary.not_known);
    let _ = writeln!(
        text,
        "\n## What we change\n\n| what | why | who | by when |\n|---|---|---|---|\n| | | | |\n\n(Think of: backups checked \
         weekly by `backup-check`, drills by `drill`, outboxes collected, anchors saved, targets of time and loss.)"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_others_is_text() {
        let shown = plain("a|b\n<script>`x`");
        assert!(
            shown.starts_with("a\\|b") && shown.ends_with("&lt;script>\\`x\\`"),
            "{shown}"
        );
        assert!(!shown.contains('\n'), "{shown}");
        assert_eq!(code("a`b"), "`` a`b ``");
        assert_eq!(code("a"), "`a`");
        assert!(!code("a\u{1b}[2Jb").contains('\u{1b}'));
    }
}
