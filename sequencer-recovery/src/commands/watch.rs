//! `sequencer-recovery watch`: looks at a living log, for months.

mod jobs;
mod print;
mod sign;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anchor_verify::ContractAddress;
use clap::Args;
use cli_common::metrics::MetricsArg;
use cli_common::{Cancel, CliError, DbArg, ExitStatus, GlobalArgs, SequencerPublicKeyArgs};
use event_log::{Place, StreamFilter};
use sequencer_recovery::watch::alarms::{Alarm, AlarmSource, Changes};
use sequencer_recovery::watch::anchored::AnchoredStreams;
use sequencer_recovery::watch::jobs::{JobOutcome, Jobs, once};
use sequencer_recovery::watch::kept_log::KeptLog;
use sequencer_recovery::watch::memory::Memory;
use sequencer_recovery::watch::metrics::{Beside, metrics};
use sequencer_recovery::watch::report::WatchReport;
use sequencer_recovery::watch::serve::{Page, serve};
use sequencer_recovery::watch::{Look, Options, Watch};
use tokio::runtime::Runtime;
use ves::{StoreId, TenantId};

use sign::SignArgs;

use super::{cancel_on_signals, log_inputs, made, runtime};

/// Watch a living log: say at once that it lacks something, or was rewound
///
/// Runs beside the sequencer and only reads: what is new is judged as `audit` judges it, what it remembers must still stand, and
/// old events are read again little by little. What it remembers (--state) is a witness after a recovery: `--witness FILE`.
///
/// Runs until it is stopped (SIGTERM, Ctrl-C), or looks once with --once. Ends with 0 if no problem is open, 4 if one is, 8 if
/// the last look failed (that at outboxes, anchors or checkpoints, too), or what is remembered could not be written down.
#[derive(Debug, Args)]
#[command(after_long_help = print::COLUMNS, override_usage = "\
sequencer-recovery watch --state <FILE> [OPTIONS]")]
pub struct WatchArgs {
    #[command(flatten)]
    pub(super) db: DbArg,

    /// What is remembered: a small file that must not share the database's fate; made by the first run
    #[arg(long, value_name = "FILE")]
    pub(super) state: PathBuf,

    /// How often to look at what is new
    #[arg(long, value_name = "TIME", default_value = "5s", value_parser = cli_common::duration)]
    every: Duration,

    /// Look once, at everything that is asked for and at all old events, and end
    #[arg(long)]
    once: bool,

    /// How often to look for missing numbers in whole streams
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = cli_common::duration)]
    holes_every: Duration,

    /// In which time every old event is read and verified again
    #[arg(long, value_name = "TIME", default_value = "30d", value_parser = cli_common::duration)]
    scrub: Duration,

    /// Read old events no faster than so many a second
    #[arg(long, value_name = "ROWS")]
    scrub_rate: Option<u32>,

    /// Agents' outboxes: files, folders or patterns, looked through anew each time
    #[arg(long = "outbox", value_name = "PATH")]
    pub(super) outboxes: Vec<String>,

    /// A text file that lists agents' outboxes, one a line, read anew each time (docs/outboxes.md); may be given more than once
    #[arg(long = "outbox-manifest", value_name = "FILE")]
    pub(super) manifests: Vec<PathBuf>,

    /// How often
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = cli_common::duration)]
    pub(super) outboxes_every: Duration,

    /// Receipts that agents saved from the sequencer's answers (NDJSON), read with the outboxes
    #[arg(long = "receipts", value_name = "FILE")]
    pub(super) receipts: Vec<PathBuf>,

    /// Anchors files, read again when they change. With --rpc the one that is extended
    #[arg(long = "anchors", value_name = "FILE")]
    pub(super) anchors: Vec<PathBuf>,

    /// Read new anchors from this node as they are finalized, into the file of --anchors
    // Any text is taken here and judged later: clap would repeat a wrong value, with the key in it.
    #[arg(
        long,
        value_name = "URL",
        env = "ANCHOR_RPC_URL",
        hide_env_values = true,
        requires = "contracts"
    )]
    pub(super) rpc: Option<String>,

    /// A contract whose anchors to read
    #[arg(long = "contract", value_name = "ADDRESS")]
    pub(super) contracts: Vec<ContractAddress>,

    /// How often to ask the node
    #[arg(long, value_name = "TIME", default_value = "5m", value_parser = cli_common::duration)]
    pub(super) anchors_every: Duration,

    #[command(flatten)]
    pub(super) checkpoints: SignArgs,

    #[command(flatten)]
    sequencer: SequencerPublicKeyArgs,

    /// Answer /metrics and /health here, as 127.0.0.1:9187
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,

    #[command(flatten)]
    metrics: MetricsArg,

    /// Run this by the shell for each problem that begins or ends, with it as JSON on stdin
    #[arg(long, value_name = "COMMAND")]
    alarm_command: Option<String>,

    /// Take the log as it is now for what it should be, although it is less than what is remembered, or another: its losses
    /// were decided
    #[arg(long)]
    adopt: bool,

    /// Only this tenant
    #[arg(long, value_name = "ID")]
    tenant: Option<TenantId>,

    /// Only this store
    #[arg(long, value_name = "ID")]
    store: Option<StoreId>,
}

impl WatchArgs {
    pub(super) fn filter(&self) -> StreamFilter {
        StreamFilter {
            tenant: self.tenant,
            store: self.store,
        }
    }

    fn options(&self) -> Result<Options, CliError> {
        Ok(Options {
            filter: self.filter(),
            sequencer_keys: ves::SequencerKeys::read(self.sequencer.read()?).map_err(CliError::input)?,
            holes_every: self.holes_every,
            scrub: (!self.once).then_some(self.scrub),
            scrub_rate: self.scrub_rate.map(f64::from),
            adopt: self.adopt,
        })
    }
}

/// Longer than this it does not wait for a log that cannot be read.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// So long a look may be missing before /health says so: what restarts the process should not do it at the first hiccup.
const UNHEALTHY_AFTER: u32 = 12;

/// Runs the command.
pub fn run(args: &WatchArgs, global: &GlobalArgs) -> Result<ExitStatus, CliError> {
    args.metrics.check()?;
    let options = args.options()?;
    let hashed = log_inputs(&args.db)?;
    let cancel = cancel_on_signals()?;
    let (memory, alarms) = Memory::open(&args.state)?;
    let jobs = jobs::jobs(args, &options)?;
    let watch = Watch::new(options, memory, alarms, AnchoredStreams::default());
    let page = Page::default();
    if let Some(address) = args.listen {
        let answered = serve(address, page.clone(), cancel.clone()).map_err(|e| {
            CliError::io(format!("--listen {address}: {e}"))
                .with_hint("does another program use it, and is it an address of this host?")
        })?;
        tracing::warn!("answering http://{answered}/metrics and /health");
    }
    let mut run = Run {
        args,
        watch,
        log: KeptLog::new(args.db.target()?, &cancel),
        runtime: runtime()?,
        page,
        beside: Beside::default(),
        cancel,
        begun: Instant::now(),
        place: None,
        raised: 0,
        ended: 0,
        failures: 0,
        last_error: None,
        unsaved: None,
        undone: BTreeMap::new(),
    };
    if args.once {
        // Anchors first: the look compares with them.
        for outcome in once(jobs, &run.cancel) {
            run.take(outcome);
        }
        run.turn();
        run.publish();
    } else {
        let jobs = Jobs::start(jobs, &run.cancel);
        run.until_stopped(&jobs);
        run.cancel.cancel();
        jobs.join();
    }
    run.end(global, hashed)
}

struct Run<'a> {
    args: &'a WatchArgs,
    watch: Watch,
    log: KeptLog,
    /// Of the session that the log is looked at by.
    runtime: Runtime,
    page: Page,
    beside: Beside,
    cancel: Cancel,
    begun: Instant,
    place: Option<Place>,
    raised: u64,
    ended: u64,
    /// Looks that failed since the last one that did not.
    failures: u32,
    last_error: Option<CliError>,
    /// Why what is remembered is not written down.
    unsaved: Option<CliError>,
    /// What is looked at on other threads and could not be the last time, and why.
    undone: BTreeMap<AlarmSource, String>,
}

impl Run<'_> {
    fn until_stopped(&mut self, jobs: &Jobs) {
        while !self.cancel.is_cancelled() {
            let outcomes: Vec<JobOutcome> = jobs.outcomes().collect();
            for outcome in outcomes {
                self.take(outcome);
            }
            let more = self.turn();
            self.publish();
            let pause = match (more, self.failures) {
                (true, _) => continue,
                (false, 0) => self.args.every,
                (false, failed) => {
                    let longest = LONGEST_PAUSE.max(self.args.every);
                    self.args.every.saturating_mul(1 << failed.min(6)).min(longest)
                }
            };
            if self.cancel.sleep(pause).is_err() {
                return;
            }
        }
    }

    /// One look, and what it changed. Says whether there is more to look at, at once.
    fn turn(&mut self) -> bool {
        let clock = now();
        let since = self.begun.elapsed();
        let work = self.watch.look(&mut self.log, since, &clock, &self.cancel);
        let looked = self.runtime.block_on(work).map_err(CliError::from);
        match looked {
            Ok(look) => self.looked(look),
            Err(_) if self.cancel.is_cancelled() => false,
            Err(error) => {
                if self.failures == 0
                    || self.last_error.as_ref().map(ToString::to_string) != Some(error.to_string())
                {
                    tracing::error!("the log could not be looked at: {error}");
                }
                self.failures += 1;
                self.watch.counted.failed += 1;
                self.beside.up = false;
                self.last_error = Some(error);
                false
            }
        }
    }

    fn looked(&mut self, look: Look) -> bool {
        if self.failures > 0 {
            tracing::warn!(
                "the log is looked at again, after {} looks that failed",
                self.failures
            );
        }
        self.failures = 0;
        self.last_error = None;
        self.beside.up = true;
        self.beside.looked_at = seconds();
        self.beside.took = look.took;
        self.place = look.place.or(self.place.take());
        self.tell(&look.changes);
        self.remember();
        look.more
    }

    /// Writes down what is remembered. That it cannot is told when it begins, and when it ends.
    fn remember(&mut self) {
        match (self.watch.save(), self.unsaved.is_some()) {
            (Ok(()), true) => {
                tracing::warn!("what is remembered is written down again");
                self.unsaved = None;
            }
            (Ok(()), false) => {}
            (Err(error), told) => {
                if !told {
                    tracing::error!(
                        "what is remembered could not be written down, and is kept in memory: {error}"
                    );
                }
                self.unsaved = Some(error.into());
            }
        }
    }

    /// Takes what another thread found.
    fn take(&mut self, outcome: JobOutcome) {
        let at = match outcome.source {
            AlarmSource::Anchors => &mut self.beside.anchors_at,
            AlarmSource::Checkpoints => &mut self.beside.checkpoints_at,
            _ => &mut self.beside.outboxes_at,
        };
        if outcome.found.is_some() {
            *at = Some(seconds());
        }
        match outcome.errors.first() {
            Some(error) => {
                self.beside.failed_jobs += 1;
                self.undone.insert(outcome.source, error.clone());
            }
            None => drop(self.undone.remove(&outcome.source)),
        }
        for error in &outcome.errors {
            tracing::error!("{}: {error}", outcome.source.as_str());
        }
        let changes = self.watch.take(outcome, &now());
        self.tell(&changes);
    }

    fn tell(&mut self, changes: &Changes) {
        self.raised += changes.raised.len() as u64;
        self.ended += changes.ended.len() as u64;
        for alarm in &changes.raised {
            let stream = alarm.finding.stream.map(|s| s.to_string()).unwrap_or_default();
            tracing::error!(code = %alarm.finding.code, %stream, from = alarm.finding.from, to = alarm.finding.to, "{}", alarm.finding.message);
            self.hook("raised", alarm);
        }
        for alarm in &changes.ended {
            let stream = alarm.finding.stream.map(|s| s.to_string()).unwrap_or_default();
            tracing::warn!(code = %alarm.finding.code, %stream, "ended: {}", alarm.finding.message);
            self.hook("ended", alarm);
        }
    }

    fn hook(&self, what: &str, alarm: &Alarm) {
        let Some(command) = &self.args.alarm_command else {
            return;
        };
        if let Err(error) = jobs::hook(command, what, alarm, &self.cancel) {
            tracing::error!("--alarm-command failed, and nobody may have been told: {error}");
        }
    }

    /// Puts up what Prometheus reads.
    fn publish(&mut self) {
        self.beside.scrubbed_at = self
            .watch
            .memory
            .scrub
            .completed_at
            .as_deref()
            .and_then(seconds_of);
        let told = metrics(&self.watch, &self.beside);
        if let Some(path) = &self.args.metrics.metrics
            && let Err(error) = told.write(path)
        {
            tracing::error!("--metrics {}: {error}", path.display());
        }
        let healthy = self.failures < UNHEALTHY_AFTER && (self.beside.up || self.failures > 0);
        let words = match (&self.last_error, &self.unsaved) {
            (Some(_), _) => format!("{} looks failed; the log says why on stderr", self.failures),
            (None, Some(_)) => "looking; what is remembered is not written down".to_owned(),
            (None, None) => "looking".to_owned(),
        };
        self.page.set(told.into_text(), healthy, words);
    }

    fn end(
        self,
        global: &GlobalArgs,
        hashed: cli_common::provenance::Inputs,
    ) -> Result<ExitStatus, CliError> {
        let db = self.args.db.target()?.to_string();
        let mut report = WatchReport::of(&self.watch, db, self.place, not_checked(self.args));
        (report.raised, report.ended) = (self.raised, self.ended);
        let undone = self.undone.iter();
        let undone = undone.map(|(source, error)| format!("{}, the last time: {error}", source.as_str()));
        report.not_checked.extend(undone);
        print::print(&report, &made(hashed), self.args, global)?;
        let mut status = ExitStatus::OK;
        if !report.problems.is_empty() {
            status |= ExitStatus::PROBLEMS;
        }
        if !self.undone.is_empty() {
            status |= ExitStatus::FAILED;
        }
        for error in self.last_error.into_iter().chain(self.unsaved) {
            status |= error.exit_status();
            error.report(global);
        }
        Ok(status)
    }
}

fn not_checked(args: &WatchArgs) -> Vec<String> {
    let mut all = vec![
        "what follows from events and stands beside them (versions, command ids, projections), and the database's indexes: \
         `audit` says"
            .to_owned(),
    ];
    if args.anchors.is_empty() {
        all.push("the chain: no anchors file was given (--anchors)".to_owned());
    }
    if args.outboxes.is_empty() && args.manifests.is_empty() {
        all.push("agents' outboxes: none was given (--outbox)".to_owned());
    }
    if args.checkpoints.state.is_none() {
        all.push("checkpoints: none are signed (--checkpoint-state)".to_owned());
    }
    all
}

fn now() -> String {
    cli_common::incident::timeline::now()
}

fn seconds() -> f64 {
    jiff::Timestamp::now().as_microsecond() as f64 / 1e6
}

fn seconds_of(text: &str) -> Option<f64> {
    let at: jiff::Timestamp = text.parse().ok()?;
    Some(at.as_microsecond() as f64 / 1e6)
}
