//! What came of a push: the document, the table, and what to do next.

use std::ffi::{OsStr, OsString};

use cli_common::provenance::Provenance;
use cli_common::{CliError, CommandLine, ExitStatus, GlobalArgs, Next, Output, Table, Tone, print_report};
use outbox_sync::holdings::NotRead;
use outbox_sync::push::{PushError, PushStanding, Pushed};
use serde::Serialize;

use super::super::errors::{file_error, stop_hint};
use super::super::provenance::{print_head, write_head};
use super::super::{free_name, print_end, print_some, those_there_are, write_end, write_lines};
use super::PushArgs;

pub(super) const SCHEMA: &str = "outbox-push/1";

#[derive(Serialize)]
pub(super) struct Advice {
    pub(super) reason: String,
    pub(super) events: u64,
    pub(super) advice: &'static str,
}

#[derive(Serialize)]
pub(super) struct Document {
    pub(super) schema: &'static str,
    pub(super) provenance: Option<Provenance>,
    /// Where the keys of the log were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) place: Option<event_log::Place>,
    pub(super) url: String,
    pub(super) dry_run: bool,
    #[serde(flatten)]
    pub(super) pushed: Pushed,
    pub(super) advice: Vec<Advice>,
    pub(super) left_out: u64,
    pub(super) left_out_first: Vec<String>,
    pub(super) not_read: Vec<NotRead>,
    pub(super) not_checked: Vec<String>,
    pub(super) next: Next,
}

/// Says on stderr why a push ended early, or left an agent's events back, and puts it into the report.
pub(super) fn how_it_ended(
    ended: Result<(), PushError>,
    standing: &PushStanding,
    pushed: &mut Pushed,
    global: &GlobalArgs,
) -> ExitStatus {
    let mut status = ExitStatus::OK;
    for held in &pushed.held {
        status |= ExitStatus::FAILED;
        CliError::io(held.to_string())
            .with_hint(format!("to begin with them: {}", CommandLine::of_this_process()))
            .report(global);
    }
    if let Some(first) = pushed.held.first() {
        let more = match pushed.held.len() {
            1 => String::new(),
            n => format!(" (and {} more)", n - 1),
        };
        pushed.stopped = Some(format!("held back, {first}{more}"));
    }
    for what in &pushed.rewound {
        CliError::input(what.clone())
            .with_hint("set the outboxes right by the log (outbox-sync reconcile), and push with a new file of receipts")
            .report(global);
    }
    match ended {
        Ok(()) => {}
        Err(PushError::Cancelled) => {
            status |= ExitStatus::CANCELLED;
            let what = format!("stopped by the user: {standing}");
            CliError::cancelled(what.clone())
                .with_hint(format!("to go on: {}", CommandLine::of_this_process()))
                .report(global);
            pushed.stopped = Some(what);
        }
        Err(error) => {
            status |= ExitStatus::FAILED;
            stop_error(&error, pushed).report(global);
            pushed.stopped = Some(error.to_string());
        }
    }
    status
}

/// Why a push stopped, with what to do about that and what a later run goes on from.
fn stop_error(error: &PushError, pushed: &Pushed) -> CliError {
    let saved = "what was handed over has a saved receipt";
    match error {
        PushError::Evidence(error) => {
            let failed = file_error(error, "is the file what `outbox-sync push` wrote?");
            let hint = failed.hint().unwrap_or_default().to_owned();
            let then = match pushed.unsaved_receipts {
                0 => saved,
                _ => {
                    "which events were sent is noted beside it, and the next run asks for their receipts again"
                }
            };
            failed.with_hint(format!("{hint}; {then}"))
        }
        PushError::Stopped { cause, .. } => {
            CliError::io(error.to_string()).with_hint(format!("{}; {saved}", stop_hint(*cause)))
        }
        PushError::Cancelled => CliError::cancelled(error.to_string()),
    }
}

/// The next step.
pub(super) fn next(pushed: &Pushed, still_open: u64, outboxes: &[OsString], args: &PushArgs) -> Next {
    let again = CommandLine::of_this_process();
    let reconcile = CommandLine::of_this_tool("reconcile").with(outboxes);
    let count = pushed.groups.iter().map(|group| group.events).sum::<u64>();
    if args.dry_run {
        if count == 0 {
            return Next::nothing("no event waits to be sent");
        }
        let mut send = again.without("--dry-run");
        if args.receipts.is_none() {
            send = send.with(["--receipts", free_name("receipts", "ndjson").as_str()]);
        }
        return Next::run_for(format!("nothing was sent; to send {count} events"), &send);
    }
    if !pushed.rewound.is_empty() && !outboxes.is_empty() {
        let why = "the log was rewound since earlier receipts: set the outboxes right by it, and push with a new file of \
                   receipts; with the log's URL in DATABASE_URL";
        return Next::run_for(why, &reconcile.with(args.db.words()));
    }
    if pushed.stopped.is_some() || still_open > 0 || !pushed.held.is_empty() || pushed.not_sent > 0 {
        return Next::run_for("not all is handed over; to go on", &again);
    }
    let handed_over = pushed.accepted + pushed.replayed + pushed.receipted_before;
    let refused = pushed.rejected_count() + pushed.set_aside_count + pushed.overtaken_count;
    if handed_over > 0 && !outboxes.is_empty() {
        let why = "set the outboxes right by what was handed over (nothing is changed yet)";
        if args.db.is_given() {
            return Next::run_for(why, &reconcile.with(args.db.words()));
        }
        if let Some(receipts) = &args.receipts {
            return Next::run_for(
                why,
                &reconcile.with([OsStr::new("--receipts"), receipts.as_os_str()]),
            );
        }
    }
    match (refused, handed_over) {
        (0, 0) => Next::nothing("no event waits to be sent"),
        (0, _) => Next::nothing("all events are handed over"),
        _ => Next::nothing(format!(
            "pushing again does not help the {refused} events that were not taken: see what is said of each"
        )),
    }
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
    let p = &document.pushed;
    write_head(out, SCHEMA, document.provenance.as_ref(), document.place.as_ref())?;
    write_lines(out, SCHEMA, "group", &p.groups)?;
    write_lines(out, SCHEMA, "rejected", &p.rejections)?;
    write_lines(out, SCHEMA, "set_aside", &p.set_aside)?;
    write_lines(out, SCHEMA, "overtaken", &p.overtaken)?;
    write_lines(out, SCHEMA, "unanswered", &p.unanswered)?;
    write_lines(out, SCHEMA, "held", &p.held)?;
    write_lines(out, SCHEMA, "bad_receipt", &p.bad_receipts)?;
    write_lines(out, SCHEMA, "out_of_order", &p.out_of_order)?;
    write_lines(out, SCHEMA, "totals", [&Totals::of(p)])?;
    write_end(out, SCHEMA, &document.not_checked, &document.next)
}

pub(super) fn print_table<W: std::io::Write>(
    out: &mut Output<W>,
    document: &Document,
) -> Result<(), CliError> {
    let p = &document.pushed;
    print_verdict(out, document)?;
    print_head(out, document.provenance.as_ref(), document.place.as_ref())?;
    for a in &document.advice {
        out.line(&format!("{} rejected, {}: {}", a.events, a.reason, a.advice))?;
    }
    let lists = [
        ("rejected", &p.rejections),
        ("set aside", &p.set_aside),
        ("overtaken", &p.overtaken),
        ("unanswered", &p.unanswered),
        ("bad receipt", &p.bad_receipts),
        ("out of order", &p.out_of_order),
    ];
    for (word, list) in lists {
        let lines = list.iter();
        let lines = lines.map(|noted| format!("{} event {}: {}", noted.place, noted.event_id, noted.what));
        print_some(out, word, lines)?;
    }
    if p.overtaken_count > 0 {
        out.line("overtaken events were not sent; --send-overtaken sends them, behind what came after them")?;
    }
    print_some(out, "held back", p.held.iter().map(ToString::to_string))?;
    print_some(out, "rewound", p.rewound.iter().map(ToString::to_string))?;
    print_some(
        out,
        "refused answer",
        p.refused_answers.iter().map(ToString::to_string),
    )?;
    print_some(out, "left out", document.left_out_first.iter().cloned())?;
    print_groups(out, p)?;
    print_end(out, &document.not_checked, &document.next)
}

fn print_verdict<W: std::io::Write>(out: &mut Output<W>, document: &Document) -> Result<(), CliError> {
    let p = &document.pushed;
    if let Some(why) = &p.stopped {
        out.verdict(Tone::Bad, &format!("STOPPED: {why}"))?;
    }
    let not_sent = p.not_sent + p.held.iter().map(|held| held.held_back).sum::<u64>();
    let left = p.rejected_count()
        + p.set_aside_count
        + p.overtaken_count
        + p.unanswered_count
        + p.refused_answers_count
        + not_sent;
    let left = left + document.left_out;
    let tone = if left > 0 { Tone::Bad } else { Tone::Good };
    if document.dry_run {
        let text = format!(
            "Dry run, nothing was sent: {} event(s) would be, of {} agent(s) and stream(s){}.",
            p.groups.iter().map(|group| group.events).sum::<u64>(),
            p.groups.len(),
            those_there_are(&[
                (p.receipted_before, "receipted before"),
                (p.set_aside_count, "set aside"),
                (p.overtaken_count, "overtaken"),
                (document.left_out, "left out"),
            ])
        );
        return out.verdict(tone, &text);
    }
    out.verdict(
        tone,
        &format!(
            "{} accepted, {} replayed, {} receipted before{}; {} requests{}.",
            p.accepted,
            p.replayed,
            p.receipted_before,
            those_there_are(&[
                (p.rejected_count(), "rejected"),
                (p.set_aside_count, "set aside"),
                (p.overtaken_count, "overtaken"),
                (p.unanswered_count, "unanswered"),
                (not_sent, "not sent"),
                (document.left_out, "left out"),
            ]),
            p.requests,
            those_there_are(&[
                (p.retries, "tries in vain"),
                (p.refused_answers_count, "answers refused"),
            ]),
        ),
    )
}

fn print_groups<W: std::io::Write>(out: &mut Output<W>, p: &Pushed) -> Result<(), CliError> {
    if p.groups.is_empty() {
        return Ok(());
    }
    let labels = out.label_streams(p.groups.iter().map(|g| g.stream));
    let agents = out.labels_of(p.groups.iter().map(|g| g.agent_id));
    let mut in_order: Vec<_> = p.groups.iter().collect();
    in_order.sort_by_key(|g| std::cmp::Reverse(g.events));
    let mut table = Table::new(&["AGENT", "STREAM", "EVENTS", "BYTES", "REQUESTS"]);
    let many = out.shown(in_order.len());
    for g in &in_order[..many] {
        table.row([
            agents.of(&g.agent_id),
            labels.of(&g.stream),
            g.events.to_string(),
            g.bytes.to_string(),
            g.requests.to_string(),
        ]);
    }
    out.line("")?;
    out.table(&table)?;
    out.more(0, in_order.len() - many, "agent(s) and stream(s)")
}

#[derive(Serialize)]
struct Totals<'a> {
    accepted: u64,
    replayed: u64,
    receipted_before: u64,
    rejected: u64,
    set_aside: u64,
    overtaken: u64,
    unanswered: u64,
    held_back: u64,
    not_sent: u64,
    bad_receipts: u64,
    refused_answers: u64,
    out_of_order: u64,
    requests: u64,
    retries: u64,
    stopped: Option<&'a str>,
}

impl<'a> Totals<'a> {
    fn of(p: &'a Pushed) -> Self {
        Self {
            accepted: p.accepted,
            replayed: p.replayed,
            receipted_before: p.receipted_before,
            rejected: p.rejected_count(),
            set_aside: p.set_aside_count,
            overtaken: p.overtaken_count,
            unanswered: p.unanswered_count,
            held_back: p.held.iter().map(|held| held.held_back).sum(),
            not_sent: p.not_sent,
            bad_receipts: p.bad_receipts_count,
            refused_answers: p.refused_answers_count,
            out_of_order: p.out_of_order_count,
            requests: p.requests,
            retries: p.retries,
            stopped: p.stopped.as_deref(),
        }
    }
}
