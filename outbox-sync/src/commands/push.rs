//! `outbox-sync push`: hand events over to the sequencer, once.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use cli_common::{
    Cancel, CliError, ExitStatus, Format, GlobalArgs, Output, Progress, Table, redact_url, stderr_progress,
};
use outbox_sync::holdings::NotRead;
use outbox_sync::push::{
    ApiKey, Evidence, HttpTransport, Options, Push, PushError, Pushed, advice, ingest_url,
};
use outbox_sync::source::Source;
use outbox_sync::{Content, Origin, OutboxStatus, RenderingSearch};
use serde::Serialize;

use super::{
    KeyArgs, OptionalDb, cancel_on_signals, expand, print_not_checked, read_public_key, shown, write_lines,
    write_not_checked,
};

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
    /// Outboxes and exports: files, folders (their *.db, *.sqlite, *.sqlite3) or patterns
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

    /// The sequencer's public key, as hex or as a file that holds it; without it no receipt's signature is checked
    #[arg(long, value_name = "HEX|FILE")]
    sequencer_public_key: Option<String>,

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

const SCHEMA: &str = "outbox-push/1";
/// So many are shown for people.
const MAX_SHOWN: usize = 20;
const KEY_VARIABLE: &str = "SEQUENCER_API_KEY";

#[derive(Serialize)]
struct Advice {
    reason: String,
    events: u64,
    advice: &'static str,
}

#[derive(Serialize)]
struct Document {
    schema: &'static str,
    url: String,
    dry_run: bool,
    #[serde(flatten)]
    pushed: Pushed,
    advice: Vec<Advice>,
    left_out: u64,
    left_out_first: Vec<String>,
    not_read: Vec<NotRead>,
    not_checked: Vec<String>,
}

/// Runs the command.
pub fn run(args: &PushArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    if !args.url.starts_with("http://") && !args.url.starts_with("https://") {
        return Err(CliError::usage("--url is not an http:// or https:// URL"));
    }
    let cancel = cancel_on_signals()?;
    let key = api_key(args.api_key_file.as_deref())?;
    if key.is_some() && !args.allow_http && sends_in_the_open(&args.url) {
        return Err(
            CliError::usage("the API key would go over the network in the open")
                .with_hint("use https://, or --allow-http in a network that you trust"),
        );
    }
    let sequencer_key = args.sequencer_public_key.as_deref();
    let sequencer_key = sequencer_key
        .map(|value| read_public_key("--sequencer-public-key", value))
        .transpose()?;
    let mut not_read = Vec::new();
    let paths = expand(&args.inputs, &mut not_read, global)?;
    let mut not_checked = Vec::new();
    let evidence = match &args.receipts {
        // A dry run creates nothing.
        Some(path) if !args.dry_run || path.exists() => {
            let evidence =
                Evidence::open(path, sequencer_key.as_ref()).map_err(|e| CliError::io(e.to_string()))?;
            for line in &evidence.broken {
                not_checked.push(format!("{} {line}", path.display()));
            }
            Some(evidence)
        }
        _ => None,
    };
    let mut log = args.db.open()?;
    let keys = args.keys.book(log.as_mut())?;
    drop(log);

    let options = Options {
        max_events: args.batch.into(),
        attempts: args.attempts,
        rate: args.rate,
        dry_run: args.dry_run,
        ..Options::default()
    };
    let transport = HttpTransport::new(&args.url, key);
    let progress = stderr_progress(global);
    let mut work = Work {
        args,
        global,
        cancel: &cancel,
        progress: &*progress,
        push: Push::new(&transport, options, evidence, sequencer_key, &*progress, &cancel),
        keys,
        left_out: 0,
        left_out_first: Vec::new(),
        not_read,
        not_checked,
        status: ExitStatus::OK,
    };
    let ended = work.all(&paths);
    progress.finish();
    let Work {
        push,
        left_out,
        left_out_first,
        not_read,
        mut not_checked,
        mut status,
        ..
    } = work;
    let mut pushed = push.into_report();
    match ended {
        Ok(()) => {}
        Err(PushError::Cancelled) => {
            status |= ExitStatus::CANCELLED;
            pushed.stopped = Some("stopped by the user; run it again to go on".into());
        }
        Err(error) => {
            status |= ExitStatus::FAILED;
            CliError::io(error.to_string())
                .with_hint("what was handed over has a saved receipt; run it again to go on")
                .report(global);
            pushed.stopped = Some(error.to_string());
        }
    }
    if pushed.stopped.is_some() {
        not_checked.push("the events that were not sent: run it again".into());
    }
    if pushed.rejected_count() + pushed.set_aside_count + pushed.unanswered_count + pushed.bad_receipts_count
        > 0
        || left_out > 0
    {
        status |= ExitStatus::PROBLEMS;
    }
    if !not_read.is_empty() {
        status |= ExitStatus::FAILED;
    }
    if pushed.unchecked_receipts > 0 {
        let n = pushed.unchecked_receipts;
        not_checked.push(format!("the signatures of {n} receipts (--sequencer-public-key)"));
    }
    not_checked.extend(not_read.iter().map(|file| format!("{}: not read", file.path)));
    let advice = pushed.rejected.iter().map(|(reason, events)| Advice {
        reason: reason.clone(),
        events: *events,
        advice: advice(reason),
    });
    let document = Document {
        schema: SCHEMA,
        url: redact_url(&ingest_url(&args.url)),
        dry_run: args.dry_run,
        advice: advice.collect(),
        pushed,
        left_out,
        left_out_first,
        not_read,
        not_checked,
    };
    print(&document, global)?;
    Ok(status)
}

struct Work<'a> {
    args: &'a PushArgs,
    global: &'a GlobalArgs,
    cancel: &'a Cancel,
    progress: &'a dyn Progress,
    push: Push<'a>,
    keys: outbox_sync::KeyBook,
    left_out: u64,
    left_out_first: Vec<String>,
    not_read: Vec<NotRead>,
    not_checked: Vec<String>,
    status: ExitStatus,
}

impl Work<'_> {
    fn all(&mut self, paths: &[PathBuf]) -> Result<(), PushError> {
        for path in paths {
            let source = match Source::open(path) {
                Ok(source) => source,
                Err(error) => {
                    CliError::input(error.to_string()).report(self.global);
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
            self.progress
                .start(&format!("pushing {}", path.display()), self.total(&source));
            self.one(&source)?;
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
        let result = source.for_each(&mut |item| {
            let mut item = match item {
                Ok(item) => item,
                Err(what) => {
                    self.leave_out(what);
                    return ControlFlow::Continue(());
                }
            };
            if of_outbox {
                let Origin::Outbox { status, .. } = item.row.origin else {
                    return ControlFlow::Continue(());
                };
                if !self.args.state.iter().any(|state| state.is(status)) {
                    return ControlFlow::Continue(());
                }
            }
            search.resolve(&mut item.row);
            let added = match &item.row.content {
                Content::Signed(event) => self.push.add(event, item.place),
                Content::Rerendered(_) => {
                    let why =
                        "what was signed was not found again (are the agent's keys known? --db, --keys)";
                    self.leave_out(format!("{}: {why}", item.place));
                    Ok(())
                }
                Content::Unsigned { why } | Content::Malformed { why } => {
                    self.leave_out(format!("{}: {why}", item.place));
                    Ok(())
                }
            };
            match added {
                Err(error) => {
                    failed = Some(error);
                    ControlFlow::Break(())
                }
                Ok(()) if self.cancel.is_cancelled() => {
                    failed = Some(PushError::Cancelled);
                    ControlFlow::Break(())
                }
                Ok(()) => ControlFlow::Continue(()),
            }
        });
        drop(search);
        self.keys = keys;
        if let Some(error) = failed {
            return Err(error);
        }
        if let Err(error) = result {
            CliError::input(error.to_string()).report(self.global);
            self.status |= ExitStatus::FAILED;
        }
        Ok(())
    }

    fn leave_out(&mut self, what: String) {
        self.left_out += 1;
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

fn api_key(file: Option<&Path>) -> Result<Option<ApiKey>, CliError> {
    let text = match file {
        Some(path) => Some(
            std::fs::read_to_string(path).map_err(|e| CliError::input(format!("{}: {e}", path.display())))?,
        ),
        None => std::env::var(KEY_VARIABLE).ok().filter(|key| !key.is_empty()),
    };
    let key = text.map(|text| ApiKey::new(&text)).transpose();
    key.map_err(CliError::usage)
}

fn print(document: &Document, global: &GlobalArgs) -> Result<(), CliError> {
    let mut out = Output::stdout();
    let p = &document.pushed;
    match global.format {
        Format::Json => out.json(document)?,
        Format::Ndjson => {
            write_lines(&mut out, SCHEMA, "group", &p.groups)?;
            write_lines(&mut out, SCHEMA, "rejected", &p.rejections)?;
            write_lines(&mut out, SCHEMA, "set_aside", &p.set_aside)?;
            write_lines(&mut out, SCHEMA, "unanswered", &p.unanswered)?;
            write_lines(&mut out, SCHEMA, "bad_receipt", &p.bad_receipts)?;
            write_lines(&mut out, SCHEMA, "totals", [&Totals::of(p)])?;
            write_not_checked(&mut out, SCHEMA, &document.not_checked)?;
        }
        Format::Table => {
            let mut table = Table::new(&["agent", "stream", "events", "bytes", "requests"]);
            for g in &p.groups {
                table.row([
                    g.agent_id.to_string(),
                    g.stream.to_string(),
                    g.events.to_string(),
                    g.bytes.to_string(),
                    g.requests.to_string(),
                ]);
            }
            out.table(&table)?;
            if document.dry_run {
                out.line("dry run: nothing was sent")?;
            }
            out.line(&format!(
                "{} accepted, {} replayed, {} receipted before, {} rejected, {} set aside, {} unanswered; {} requests, \
                 {} tries in vain",
                p.accepted,
                p.replayed,
                p.receipted_before,
                p.rejected_count(),
                p.set_aside_count,
                p.unanswered_count,
                p.requests,
                p.retries
            ))?;
            for a in &document.advice {
                out.line(&format!("{} rejected, {}: {}", a.events, a.reason, a.advice))?;
            }
            let lists = [
                ("rejected", &p.rejections),
                ("set aside", &p.set_aside),
                ("unanswered", &p.unanswered),
                ("bad receipt", &p.bad_receipts),
            ];
            for (word, list) in lists {
                for noted in list.iter().take(MAX_SHOWN) {
                    let line = format!("{word}: {} event {}: {}", noted.place, noted.event_id, noted.what);
                    out.line(&line)?;
                }
                if list.len() > MAX_SHOWN {
                    out.line(&format!(
                        "{word}: {} more (--format json)",
                        list.len() - MAX_SHOWN
                    ))?;
                }
            }
            for what in &document.left_out_first {
                out.line(&format!("left out: {what}"))?;
            }
            if let Some(why) = &p.stopped {
                out.line(&format!("STOPPED: {why}"))?;
            }
            print_not_checked(&mut out, &document.not_checked)?;
        }
    }
    out.finish()
}

#[derive(Serialize)]
struct Totals<'a> {
    accepted: u64,
    replayed: u64,
    receipted_before: u64,
    rejected: u64,
    set_aside: u64,
    unanswered: u64,
    bad_receipts: u64,
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
            unanswered: p.unanswered_count,
            bad_receipts: p.bad_receipts_count,
            requests: p.requests,
            retries: p.retries,
            stopped: p.stopped.as_deref(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::sends_in_the_open;

    #[test]
    fn keys_go_in_the_open_to_this_machine_alone() {
        for url in [
            "https://h/",
            "http://localhost:8080",
            "http://127.0.0.1",
            "http://[::1]:80/x",
        ] {
            assert!(!sends_in_the_open(url), "{url}");
        }
        for url in [
            "http://h/",
            "http://10.0.0.1:80",
            "http://localhost@evil/",
            "http://127.0.0.1.evil",
            "http://",
        ] {
            assert!(sends_in_the_open(url), "{url}");
        }
    }
}
