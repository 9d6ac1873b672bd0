//! What is to be set right, or was: the document, the table, and what to do next.

use std::path::Path;

use cli_common::provenance::Provenance;
use cli_common::{CliError, CommandLine, GlobalArgs, Next, Output, ShortPaths, Table, Tone, print_report};
use event_log::Place;
use outbox_sync::holdings::NotRead;
use outbox_sync::reconcile::{Action, Reconciliation, RowState, StillOpen};
use serde::Serialize;

use super::super::provenance::{print_head, write_head};
use super::super::{
    again_with_whole_files, or_dash, print_end, print_some, shown, those_there_are, write_end, write_lines,
};

const SCHEMA: &str = "outbox-reconcile/1";

/// So many changes of an outbox are shown for people.
const CHANGES: usize = 3;

/// The changes of so many outboxes are shown.
const DETAILED: usize = 2;

#[derive(Serialize)]
pub(super) struct Done {
    #[serde(flatten)]
    pub(super) plan: Reconciliation,
    pub(super) applied: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) backup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) error: Option<String>,
}

#[derive(Serialize)]
pub(super) struct Document {
    pub(super) schema: &'static str,
    pub(super) provenance: Option<Provenance>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<Place>,
    pub(super) outboxes: Vec<Done>,
    pub(super) not_read: Vec<NotRead>,
    pub(super) not_checked: Vec<String>,
    pub(super) next: Next,
}

impl Default for Document {
    fn default() -> Self {
        Self {
            schema: SCHEMA,
            provenance: None,
            place: None,
            outboxes: Vec::new(),
            not_read: Vec::new(),
            not_checked: Vec::new(),
            next: Next::nothing("nothing was looked at"),
        }
    }
}

/// The next step. An outbox whose repair may not be over waits for the operator.
pub(super) fn next(document: &Document) -> Next {
    let failed = document
        .outboxes
        .iter()
        .filter(|done| done.error.is_some())
        .count();
    let not_read = document.not_read.len();
    if not_read > 0 {
        return again_with_whole_files(not_read);
    }
    let command = CommandLine::of_this_process();
    if failed > 0 {
        let why = format!("{failed} outbox(es) are as they were (why: above); then");
        return Next::run_for(why, &command);
    }
    let open: u64 = document
        .outboxes
        .iter()
        .flat_map(|done| &done.plan.still_open)
        .map(|open| open.events)
        .sum();
    let to_do = |done: &&Done| !done.applied && !done.plan.is_empty();
    let waiting = document.outboxes.iter().filter(to_do).count();
    if waiting > 0 {
        let apply = command.with(["--apply"]);
        let why = match open {
            0 => format!("nothing was changed; to set {waiting} outbox(es) right"),
            _ => format!(
                "nothing was changed; WAIT until the operator says that the repair is over, or {open} events get new \
                 numbers; then"
            ),
        };
        return Next::run_for(why, &apply);
    }
    let applied = document.outboxes.iter().filter(|done| done.applied);
    let pending: u64 = applied
        .map(|done| done.plan.counts().get(&Action::MarkPending).copied().unwrap_or(0))
        .sum();
    let conflicts: usize = document
        .outboxes
        .iter()
        .map(|done| done.plan.conflicts.len())
        .sum();
    Next::nothing(match (pending, open, conflicts) {
        (0, _, 0) => "the outboxes are right by the log".to_owned(),
        (0, ..) => format!("no command settles {conflicts} conflicts: show them to the operator"),
        (_, 0, _) => format!("the agents send the {pending} events that are pending again, once they run"),
        _ => format!(
            "{pending} events are pending again, and positions of their streams are open: keep the agents stopped until \
             the operator says that the repair is over; they send them once they run"
        ),
    })
}

pub(super) fn print(document: &Document, global: &GlobalArgs) -> Result<(), CliError> {
    print_report(
        global,
        document,
        |out| print_table(out, document),
        |out| print_ndjson(out, document),
    )
}

fn print_ndjson(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    write_head(out, SCHEMA, document.provenance.as_ref(), document.place.as_ref())?;
    write_lines(out, SCHEMA, "outbox", &document.outboxes)?;
    write_lines(out, SCHEMA, "not_read", &document.not_read)?;
    write_end(out, SCHEMA, &document.not_checked, &document.next)
}

/// That events become pending while the log has open positions that they may belong to.
pub(super) fn wait_for_operator(outbox: &Path, open: &StillOpen, verb: &str) -> String {
    format!(
        "{}: stream {} has {} open positions, and {} events {verb} pending: sent now they get new numbers. \
         Ask the operator whether the repair is over",
        shown(outbox),
        open.stream,
        open.positions,
        open.events
    )
}

pub(super) fn print_table(
    out: &mut Output<impl std::io::Write>,
    document: &Document,
) -> Result<(), CliError> {
    print_verdict(out, document)?;
    print_head(out, document.provenance.as_ref(), document.place.as_ref())?;
    let all = out.all();
    let order = |done: &Done| {
        let to_do = !done.plan.is_empty() && !done.applied;
        (
            done.error.is_some(),
            done.plan.conflicts.len(),
            to_do,
            !done.plan.is_empty(),
        )
    };
    let told = document.outboxes.iter();
    let mut told: Vec<&Done> = told
        .filter(|done| all || !done.plan.is_empty() || !done.plan.conflicts.is_empty())
        .collect();
    told.sort_by_key(|done| std::cmp::Reverse(order(done)));
    let open = told.iter().flat_map(|done| &done.plan.still_open);
    let _ = out.label_streams(open.map(|open| open.stream));
    let waits = told.iter().flat_map(|done| {
        let verb = if done.applied { "are" } else { "would be" };
        let open = done.plan.still_open.iter();
        open.map(move |open| wait_for_operator(&done.plan.path, open, verb))
    });
    print_some(out, "WAIT", waits)?;
    out.line("")?;
    let paths: Vec<String> = told.iter().map(|done| shown(&done.plan.path)).collect();
    let short = out.shorten_paths("Outboxes are", paths.iter().map(String::as_str))?;
    print_outboxes(out, &told, &short)?;
    let many = if all { told.len() } else { told.len().min(DETAILED) };
    for done in &told[..many] {
        print_details(out, done, &short)?;
    }
    out.more(0, told.len() - many, "outbox(es) with changes")?;
    print_end(out, &document.not_checked, &document.next)
}

fn print_verdict(out: &mut Output<impl std::io::Write>, document: &Document) -> Result<(), CliError> {
    let count = |what: fn(&Done) -> bool| document.outboxes.iter().filter(|done| what(done)).count();
    let failed = count(|done| done.error.is_some());
    let to_do = count(|done| !done.applied && done.error.is_none() && !done.plan.is_empty());
    let conflicts: usize = document
        .outboxes
        .iter()
        .map(|done| done.plan.conflicts.len())
        .sum();
    let conflicted = count(|done| done.plan.is_empty() && !done.plan.conflicts.is_empty());
    let tone = if failed + conflicts + document.not_read.len() > 0 {
        Tone::Bad
    } else if to_do > 0 {
        Tone::Doubt
    } else {
        Tone::Good
    };
    out.verdict(
        tone,
        &format!(
            "{} outboxes: {} right, {} set right, {to_do} to be set right{}.",
            document.outboxes.len() + document.not_read.len(),
            count(|done| done.plan.is_empty() && done.plan.conflicts.is_empty()),
            count(|done| done.applied),
            those_there_are(&[
                (failed as u64, "FAILED"),
                (document.not_read.len() as u64, "NOT READ"),
                (conflicted as u64, "with conflicts alone"),
                (conflicts as u64, "conflict(s) in all"),
            ])
        ),
    )
}

fn print_outboxes(
    out: &mut Output<impl std::io::Write>,
    told: &[&Done],
    short: &ShortPaths,
) -> Result<(), CliError> {
    if told.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&[
        "OUTBOX",
        "RIGHT",
        "TO SYNCED",
        "NUMBER",
        "TO PENDING",
        "SET ASIDE",
        "CURSORS",
        "CONFLICTS",
        "DONE",
    ]);
    let many = out.shown(told.len());
    for done in &told[..many] {
        let counts = done.plan.counts();
        let count = |action| counts.get(&action).copied().unwrap_or(0).to_string();
        let (word, tone) = match (done.applied, done.plan.is_empty()) {
            (_, true) if !done.plan.conflicts.is_empty() => ("left alone", Tone::Bad),
            (_, true) => ("nothing to do", Tone::Good),
            (true, _) => ("applied", Tone::Good),
            (false, _) if done.error.is_some() => ("FAILED", Tone::Bad),
            (false, _) => ("dry run", Tone::Doubt),
        };
        table.row([
            short.of(&shown(&done.plan.path)).to_owned(),
            done.plan.right.to_string(),
            count(Action::MarkSynced),
            count(Action::CorrectNumber),
            count(Action::MarkPending),
            count(Action::SetAside),
            done.plan.cursors.len().to_string(),
            done.plan.conflicts.len().to_string(),
            word.into(),
        ]);
        table.verdict(8, tone);
    }
    out.table(&table)?;
    out.more(0, told.len() - many, "outbox(es)")
}

/// `synced 12`, or `pending`.
fn state(of: &RowState) -> String {
    match of.sequence {
        Some(number) => format!("{} {number}", of.status),
        None => of.status.clone(),
    }
}

fn print_details(
    out: &mut Output<impl std::io::Write>,
    done: &Done,
    short: &ShortPaths,
) -> Result<(), CliError> {
    let path = shown(&done.plan.path);
    out.line("")?;
    out.full_line(short.of(&path))?;
    if let Some(error) = &done.error {
        out.line(&format!("  FAILED: {error}"))?;
    }
    if let Some(backup) = &done.backup {
        out.line(&format!("  backup {}", short.of(backup)))?;
    }
    let all = out.all();
    let some = |of: usize| if all { of } else { of.min(CHANGES) };
    let conflicts = some(done.plan.conflicts.len());
    for conflict in &done.plan.conflicts[..conflicts] {
        out.line(&format!("  conflict: {}", short.of(conflict)))?;
    }
    out.more(2, done.plan.conflicts.len() - conflicts, "conflict(s)")?;
    let cursors = some(done.plan.cursors.len());
    for c in &done.plan.cursors[..cursors] {
        out.line(&format!(
            "  {} {} -> {} ({})",
            c.key,
            or_dash(c.from.as_ref()),
            c.to,
            c.why
        ))?;
    }
    out.more(2, done.plan.cursors.len() - cursors, "cursor(s)")?;
    let changes = some(done.plan.changes.len());
    let events = out.labels_of(done.plan.changes[..changes].iter().map(|change| change.event_id));
    for change in &done.plan.changes[..changes] {
        let to = match &change.to {
            Some(to) => state(to),
            None => "set aside".into(),
        };
        out.line(&format!(
            "  {} row {}, event {}: {} -> {to}: {}",
            change.place.table.name(),
            change.place.row,
            events.of(&change.event_id),
            state(&change.from),
            change.why
        ))?;
    }
    out.more(2, done.plan.changes.len() - changes, "change(s)")
}
