//! `outbox-sync push`: hand events over to the sequencer, once.

mod report;

use std::ffi::OsString;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::{Args, ValueEnum};
use cli_common::{
    Cancel, CliError, ExitStatus, GlobalArgs, NoProgress, Progress, SequencerPublicKeyArgs, again,
    redact_url, stderr_progress,
};
use outbox_sync::holdings::NotRead;
use outbox_sync::inputs::Purpose;
use outbox_sync::known::KnownLog;
use outbox_sync::push::{ApiKey, Evidence, HttpTransport, Options, Push, PushError, advice, ingest_url};
use outbox_sync::row::Item;
use outbox_sync::source::Source;
use outbox_sync::{Content, HeldRow, Origin, OutboxStatus, RenderingSearch};
use ves::SequencerKeys;

use super::errors::{file_error, source_error};
use super::provenance::{InputFiles, KEYS, RECEIPTS};
use super::{
    KeyArgs, OptionalDb, cancel_on_signals, expand, report_empty_export, report_empty_log, reservations,
    shown,
};
use report::{Advice, Document, SCHEMA, how_it_ended, next, print};

/// Hand events over to the sequencer's HTTP ingest, each once
///
/// Of an outbox its own events that are pending or failed go out (after `reconcile` the lost ones are pending again),
/// of an export all. Every answer is matched by event id; receipts are checked and saved to --receipts before the next
/// request. Run it again after any interruption: what has a saved receipt is skipped, and what the sequencer has
/// already it answers with its receipt. The API key comes from SEQUENCER_API_KEY or --api-key-file. Outboxes are not
/// changed: `reconcile` sets them right. Ends with 0 if all is handed over, 4 if events were rejected or set aside, 8 if
/// the sequencer or a file failed, 32 if it was stopped.
#[derive(Debug, Args)]
pub struct PushArgs {
    /// Outboxes and exports: files, folders (all outboxes below them that are named as databases; copies are left alone)
    /// or patterns
    #[arg(required = true, value_name = "OUTBOX|EXPORT")]
    inputs: Vec<String>,

    /// The sequencer
    #[arg(long, value_name = "URL")]
    url: String,

    /// Where receipts are saved (NDJSON); it may exist: it is added to
    #[arg(long, value_name = "FILE", required_unless_present = "dry_run")]
    receipts: Option<PathBuf>,

    /// A file with the API key
    #[arg(long, value_name = "FILE")]
    api_key_file: Option<PathBuf>,

    /// Send the API key over plain http:// to another machine
    #[arg(long)]
    allow_http: bool,

    #[command(flatten)]
    sequencer: SequencerPublicKeyArgs,

    /// Which of an outbox's own events to send
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [State::Pending, State::Failed])]
    state: Vec<State>,

    /// Say what would be sent, and send nothing
    #[arg(long)]
    dry_run: bool,

    /// Events in a second at most
    #[arg(long, value_name = "EVENTS", value_parser = rate)]
    rate: Option<f64>,

    /// Events in a request at most
    #[arg(long, value_name = "EVENTS", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,

    /// Send also events that an earlier run went past (rejected, set aside) and that later events of their agent have
    /// overtaken: they are numbered behind those
    #[arg(long)]
    send_overtaken: bool,

    /// How often a request is tried that is not answered
    #[arg(long, value_name = "TIMES", default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..=100))]
    attempts: u32,

    // For what was signed in older outboxes.
    #[command(flatten)]
    db: OptionalDb,

    #[command(flatten)]
    keys: KeyArgs,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum State {
    /// Not yet acknowledged
    Pending,
    /// Could not be sent
    Failed,
    /// Acknowledged, as the agent believes
    Synced,
    /// Refused before
    Rejected,
}

impl State {
    fn is(self, status: OutboxStatus) -> bool {
        let own = match self {
            State::Pending => OutboxStatus::Pending,
            State::Failed => OutboxStatus::Failed,
            State::Synced => OutboxStatus::Synced,
            State::Rejected => OutboxStatus::Rejected,
        };
        own == status
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(rate) if rate > 0.0 && rate.is_finite() => Ok(rate),
        _ => Err("not a number above 0".into()),
    }
}

/// Runs the command.
pub fn run(args: &PushArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    let cancel = cancel_on_signals()?;
    let key = checked_key(args)?;
    let sequencer_keys: SequencerKeys =
        SequencerKeys::read(args.sequencer.read()?).map_err(CliError::input)?;
    let mut not_read = Vec::new();
    let mut not_checked = Vec::new();
    let paths = expand(
        (&args.inputs, None),
        Purpose::Change,
        &mut not_read,
        &mut not_checked,
        global,
    );
    let mut inputs = InputFiles::of_outboxes(&paths, global, &cancel)?;
    inputs.add(KEYS, args.keys.files());
    inputs.add_log(args.db.target()?.as_ref());
    if let Some(path) = args.receipts.as_deref().filter(|path| path.exists()) {
        inputs.add_as_it_is(RECEIPTS, path);
    }
    let evidence = match &args.receipts {
        // A dry run creates nothing.
        Some(path) if !args.dry_run || path.exists() => {
            Some(open_evidence(path, &sequencer_keys, &mut not_checked)?)
        }
        _ => None,
    };
    let mut status = ExitStatus::OK;
    let (keys, place) = again(&cancel, || {
        let mut log = args.db.open(&cancel)?;
        let keys = args.keys.book(log.as_mut())?;
        status = report_empty_log(log.as_mut(), &mut not_checked, global)?;
        not_checked.extend(reservations(log.as_ref()));
        Ok((keys, log.as_ref().and_then(KnownLog::place).cloned()))
    })?;

    let transport = Arc::new(HttpTransport::new(&args.url, key));
    let progress = stderr_progress(global);
    let several = paths.len() > 1;
    let of_events: &dyn Progress = if several { &NoProgress } else { &*progress };
    let push = Push::new(
        transport,
        args.options(),
        evidence,
        sequencer_keys,
        of_events,
        &cancel,
    );
    let mut work = Work {
        args,
        global,
        cancel: &cancel,
        progress: &*progress,
        several,
        push,
        keys,
        left_out: 0,
        left_out_first: Vec::new(),
        selected: 0,
        outboxes: Vec::new(),
        not_read,
        not_checked,
        status,
    };
    // A second signal ends the process at once, and says the same as the first.
    cancel.tell_with({
        let standing = work.push.standing();
        move || standing.now().to_string()
    });
    let ended = work.all(&paths);
    progress.finish();
    let (mut document, status) = work.conclude(ended, place);
    document.not_checked.extend(
        document
            .not_read
            .iter()
            .map(|file| format!("{}: not read", file.path)),
    );
    document.provenance = Some(inputs.provenance());
    global.recorder.files("receipts", &args.receipts);
    print(&document, global)?;
    Ok(status)
}

/// The API key, if the URL is one that it may be sent to.
fn checked_key(args: &PushArgs) -> Result<Option<ApiKey>, CliError> {
    if !args.url.starts_with("http://") && !args.url.starts_with("https://") {
        return Err(CliError::usage("--url is not an http:// or https:// URL")
            .with_hint("give the sequencer's address as https://HOST or https://HOST:PORT"));
    }
    let key = ApiKey::read(args.api_key_file.as_deref())?;
    if key.is_some() && !args.allow_http && sends_in_the_open(&args.url) {
        return Err(
            CliError::usage("the API key would go over the network in the open")
                .with_hint("use https://, or --allow-http in a network that you trust"),
        );
    }
    Ok(key)
}

fn open_evidence(
    path: &Path,
    sequencer_keys: &SequencerKeys,
    not_checked: &mut Vec<String>,
) -> Result<Evidence, CliError> {
    let evidence = Evidence::open(path, sequencer_keys).map_err(|e| {
        file_error(
            &e,
            "give --receipts another name, or wait for the other push to end",
        )
    })?;
    let broken = evidence.broken.iter();
    not_checked.extend(broken.map(|line| format!("{} {line}", path.display())));
    not_checked.extend(evidence.broken_notes());
    if !evidence.notes_what_is_sent() {
        let path = path.display();
        not_checked.push(format!(
            "{path} is no regular file: what is sent is not noted beforehand"
        ));
    }
    Ok(evidence)
}

impl PushArgs {
    fn options(&self) -> Options {
        Options {
            max_events: self.batch.into(),
            attempts: self.attempts,
            rate: self.rate,
            dry_run: self.dry_run,
            send_overtaken: self.send_overtaken,
            ..Options::default()
        }
    }

    /// Whether other states are asked for than those that wait to be sent.
    fn asks_for_states(&self) -> bool {
        let waiting = [State::Pending, State::Failed];
        !(self.state.len() == waiting.len() && waiting.iter().all(|state| self.state.contains(state)))
    }
}

struct Work<'a> {
    args: &'a PushArgs,
    global: &'a GlobalArgs,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
    /// Several files: then files are counted, not events.
    several: bool,
    push: Push<'a>,
    keys: outbox_sync::KeyBook,
    left_out: u64,
    left_out_first: Vec<String>,
    /// How many rows were to be sent.
    selected: u64,
    /// Those of the files that are outboxes.
    outboxes: Vec<OsString>,
    not_read: Vec<NotRead>,
    not_checked: Vec<String>,
    status: ExitStatus,
}

impl Work<'_> {
    /// What came of it: the report and the exit status.
    fn conclude(
        self,
        ended: Result<(), PushError>,
        place: Option<event_log::Place>,
    ) -> (Document, ExitStatus) {
        let Self {
            args,
            global,
            push,
            mut not_checked,
            mut status,
            ..
        } = self;
        let (still_open, first_open) = push.still_open();
        let standing = push.standing();
        let mut pushed = push.into_report();
        let stopped_by_user = matches!(ended, Err(PushError::Cancelled));
        status |= how_it_ended(ended, &standing.now(), &mut pushed, global);
        if pushed.stopped.is_some() {
            not_checked.push("the events that were not sent".into());
        }
        let still_open = if args.dry_run { 0 } else { still_open };
        if let (1.., Some(first)) = (still_open, first_open) {
            if !stopped_by_user {
                status |= ExitStatus::PROBLEMS;
            }
            not_checked.push(format!(
                "{still_open} events that were sent and never answered, by this run or an earlier one (the first is \
                 {first}): whether the log has them, which a push of their outbox asks"
            ));
        }
        // What the user did not wait for is no problem of its own.
        let not_waited_for = if stopped_by_user {
            pushed.unanswered_count
        } else {
            0
        };
        if pushed.problems() > not_waited_for || self.left_out > 0 {
            status |= ExitStatus::PROBLEMS;
        }
        if !self.not_read.is_empty() {
            status |= ExitStatus::FAILED;
        }
        if pushed.unchecked_receipts > 0 {
            let n = pushed.unchecked_receipts;
            not_checked.push(format!(
                "the signatures of {n} receipts: not signed, or their key was not given (--sequencer-public-key)"
            ));
        }
        let advice = pushed.rejected.iter().map(|(reason, events)| Advice {
            reason: reason.clone(),
            events: *events,
            advice: advice(reason),
        });
        let document = Document {
            schema: SCHEMA,
            provenance: None,
            place,
            url: redact_url(&ingest_url(&args.url)),
            dry_run: args.dry_run,
            advice: advice.collect(),
            next: next(&pushed, still_open, &self.outboxes, args),
            pushed,
            left_out: self.left_out,
            left_out_first: self.left_out_first,
            not_read: self.not_read,
            not_checked,
        };
        (document, status)
    }

    fn all(&mut self, paths: &[PathBuf]) -> Result<(), PushError> {
        // Events of a file can wait until those of another are read: only of one file they can be counted alone.
        if self.several {
            let phase = format!("pushing {} files", paths.len());
            self.progress.start(&phase, Some(paths.len() as u64));
        }
        for (number, path) in paths.iter().enumerate() {
            if self.several && number > 0 {
                self.progress.advance(1);
            }
            let source = match Source::open(path) {
                Ok(source) => source,
                Err(error) => {
                    source_error(&error).report(self.global);
                    self.not_read.push(NotRead {
                        path: shown(path),
                        why: error.to_string(),
                    });
                    continue;
                }
            };
            if let Some(damage) = source.damage() {
                CliError::input(format!("{}: {damage}", path.display()))
                    .with_hint("what can still be read of it is sent")
                    .report(self.global);
                self.status |= ExitStatus::FAILED;
            }
            let of_file = source.not_checked();
            self.not_checked
                .extend(of_file.iter().map(|what| format!("{}: {what}", path.display())));
            if !self.several {
                let phase = format!("pushing {}", path.display());
                self.progress.start(&phase, self.total(&source));
            }
            if source.outbox().is_some() {
                self.outboxes.push(path.into());
            }
            self.one(&source)?;
        }
        if self.selected == 0 && self.args.asks_for_states() {
            let what = "no event of these files is in a state that --state asks for";
            CliError::input(what)
                .with_hint("without --state those go out that wait: pending and failed ones")
                .report(self.global);
            self.not_checked.push(what.into());
            self.status |= ExitStatus::PROBLEMS;
        }
        self.push.finish()
    }

    fn total(&self, source: &Source) -> Option<u64> {
        let Some(outbox) = source.outbox() else {
            return source.rows();
        };
        let counts = outbox.meta().outbox;
        let of = |state: &State| match state {
            State::Pending => counts.pending,
            State::Failed => counts.failed,
            State::Synced => counts.synced,
            State::Rejected => counts.rejected,
        };
        Some(self.args.state.iter().map(of).sum())
    }

    fn one(&mut self, source: &Source) -> Result<(), PushError> {
        if let Some(outbox) = source.outbox()
            && let Err(error) = self.keys.add_peers(outbox)
        {
            self.not_checked.push(error.to_string());
        }
        let keys = std::mem::take(&mut self.keys);
        let mut search = RenderingSearch::new(keys.registry());
        let of_outbox = source.outbox().is_some();
        let mut failed = None;
        let mut rows = 0_u64;
        let mut selected = 0_u64;
        let result = source.for_each(&mut |item| {
            rows += 1;
            let added = match item {
                Ok(item) if of_outbox && !self.wants(&item.row) => Ok(()),
                Ok(item) => {
                    selected += 1;
                    self.add(item, &mut search)
                }
                Err(what) => {
                    self.leave_out(what);
                    Ok(())
                }
            };
            failed = match added {
                Err(error) => Some(error),
                Ok(()) if self.cancel.is_cancelled() => Some(PushError::Cancelled),
                Ok(()) => None,
            };
            match failed {
                Some(_) => ControlFlow::Break(()),
                None => ControlFlow::Continue(()),
            }
        });
        drop(search);
        self.keys = keys;
        self.selected += selected;
        if let Some(error) = failed {
            return Err(error);
        }
        if let Err(error) = result {
            source_error(&error).report(self.global);
            self.status |= ExitStatus::FAILED;
        }
        if !of_outbox && rows == 0 {
            self.status |= report_empty_export(&source.path().display().to_string(), self.global);
        }
        Ok(())
    }

    /// Whether a row of an outbox is to be sent: an own one in a state that is asked for, or one that was sent and not
    /// answered.
    fn wants(&self, row: &HeldRow) -> bool {
        let Origin::Outbox { status, .. } = row.origin else {
            return false;
        };
        self.push.asks_again(&row.event_id) || self.args.state.iter().any(|state| state.is(status))
    }

    fn add(&mut self, mut item: Item, search: &mut RenderingSearch<'_>) -> Result<(), PushError> {
        search.resolve(&mut item.row);
        let why = match &item.row.content {
            Content::Signed(event) => return self.push.add(event, item.place),
            Content::Rerendered(_) => {
                "what was signed was not found again (are the agent's keys known? --db, --keys)"
            }
            Content::Unsigned { why } | Content::Malformed { why } => &**why,
        };
        self.leave_out(format!("{}: {why}", item.place));
        Ok(())
    }

    fn leave_out(&mut self, what: String) {
        self.left_out += 1;
        if !self.several {
            self.progress.advance(1);
        }
        if self.left_out_first.len() < outbox_sync::holdings::MAX_NAMED {
            self.left_out_first.push(what);
        }
    }
}

/// Whether the URL is neither encrypted nor of this machine.
fn sends_in_the_open(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("http://") else {
        return false;
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let local = host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback());
    !local
}

#[cfg(test)]
mod tests;
