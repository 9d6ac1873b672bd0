//! The ways in which a cut log is repaired.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::check::{Violations, repaired};
use crate::http;
use crate::log::{self, Log};
use crate::round::{Round, text};
use crate::sequencer::API_KEY;
use crate::tools::{Harm, Ran};

const TOOL: &str = "sequencer-recovery";
/// So often a run that is killed is run again.
const TRIES: usize = 8;

impl Round<'_> {
    // With the sequencer stopped -------------------------------------------------------------------------------------

    /// Audit, plan, apply with kills and full disks, undo and apply again; agents make events meanwhile.
    pub(crate) fn repair_at_rest(&self, before_cut: &Log) -> Result<(), String> {
        self.note("repair with the sequencer stopped");
        let cut = Log::read(&self.url());
        let quiet: Vec<AtomicBool> = self.streams.iter().map(|_| AtomicBool::new(true)).collect();
        self.beside(&quiet, || {
            let audit = self.audit()?;
            if !audit.without(8) {
                return Err(format!("the audit could not be made: {}", audit.told()));
            }
            let plan = self.plan(&[], 0.2)?;
            let before = log::dump(&self.url(), true);
            let mut bundles = self.apply_with_harm(&plan, &before)?;
            self.repaired_at_rest(before_cut, &cut)?;
            self.applied_again_changes_nothing(&plan)?;
            if self.draw(|rng| rng.chance(0.6)) {
                self.undo(&bundles, &before)?;
                let bundle = self.fresh_file("undo.ndjson");
                bundles = vec![bundle.clone()];
                self.apply_to_the_end(&plan, Some(&bundle))?;
                self.repaired_at_rest(before_cut, &cut)?;
            }
            Ok(bundles)
        })
        .and_then(|bundles| self.undo_too_late(&bundles))
    }

    /// The sequencer runs again, and one agent has a new number: from now on nothing may be taken back that it was
    /// promised, in whatever stream.
    fn undo_too_late(&self, bundles: &[PathBuf]) -> Result<(), String> {
        if self.draw(|rng| rng.chance(0.6)) {
            return Ok(());
        }
        self.start_sequencer()?;
        self.proxy.weather(0);
        // With no harm done to it: a push that met a full disk gets no number, and then undo may take all of it back.
        let counters = Log::read(&self.url()).counters;
        let agent = &self.agents[0];
        agent.lock().map_err(|e| e.to_string())?.make(1)?;
        let ran = self.push(agent, Harm::default())?;
        if Log::read(&self.url()).counters == counters {
            return Err(format!("no new number was given out: {}", ran.told()));
        }
        bundles
            .iter()
            .rev()
            .try_for_each(|bundle| self.undo_beside(bundle))
    }

    fn repaired_at_rest(&self, before_cut: &Log, cut: &Log) -> Result<(), String> {
        let now = Log::read(&self.url());
        let known = self.known()?;
        let mut verdict = Violations::default();
        let restored = repaired(before_cut, cut, &now, &mut verdict);
        known.promises_kept(&now, &mut verdict);
        known.counters_hold(&now, &mut verdict);
        known.nothing_foreign(&now, &mut verdict);
        known.order_kept(&now, &mut verdict);
        known.vacant(&now, &mut verdict);
        self.note(format!("{restored} events are back"));
        self.count(|f| f.restored += restored);
        verdict.end("after the repair")
    }

    fn audit(&self) -> Result<Ran, String> {
        let mut arguments = vec!["audit".to_owned(), "--db".into(), self.url()];
        arguments.extend(self.witnesses()?);
        self.tools.run(TOOL, &arguments, Harm::default())
    }

    /// Plans until a plan is there. The weakest grade is drawn.
    fn plan(&self, more: &[&str], kill: f64) -> Result<PathBuf, String> {
        let accept = self.draw(|rng| rng.pick(&["receipted", "corroborated", "claimed"]));
        for _ in 0..TRIES {
            let path = self.fresh_file("plan.ndjson");
            let mut arguments: Vec<String> = [
                "plan",
                "--db",
                &self.url(),
                "--accept",
                accept,
                "--out",
                &text(&path),
            ]
            .map(str::to_owned)
            .into();
            arguments.extend(more.iter().map(|s| (*s).to_owned()));
            arguments.extend(self.witnesses()?);
            let ran = self.tools.run(TOOL, &arguments, self.harm(kill))?;
            match ran.code {
                None => {}
                Some(_) if ran.without(8) => {
                    self.note(format!("planned with --accept {accept}"));
                    return Ok(path);
                }
                Some(_) => return Err(format!("no plan could be made: {}", ran.told())),
            }
        }
        self.plan(more, 0.0)
    }

    fn apply(&self, plan: &Path, bundle: Option<&Path>, harm: Harm) -> Result<Ran, String> {
        let mut arguments: Vec<String> = ["apply", &text(plan), "--db", &self.url(), "--format", "json"]
            .map(str::to_owned)
            .into();
        if let Some(bundle) = bundle {
            arguments.extend(["--undo".into(), text(bundle)]);
        }
        self.tools.run(TOOL, &arguments, harm)
    }

    /// Applies, killed and with full disks at first, until it comes to its end. Returns the bundles that it wrote, in
    /// their order. Sometimes what a killed run has done is taken back at once.
    fn apply_with_harm(&self, plan: &Path, before: &str) -> Result<Vec<PathBuf>, String> {
        let mut bundles = Vec::new();
        for n in 0..TRIES {
            let bundle = self.fresh_file("undo.ndjson");
            let mut harm = self.harm(if n < 4 { 0.5 } else { 0.0 });
            if n < 2 && self.draw(|rng| rng.chance(0.15)) {
                harm.disk_kib = Some(self.draw(|rng| rng.below(12)) as u64);
                self.count(|f| f.full_disks += 1);
            }
            let ran = self.apply(plan, Some(&bundle), harm)?;
            if bundle.exists() {
                bundles.push(bundle);
            }
            match ran.code {
                Some(_) if ran.without(8) => {
                    self.count(|f| f.applies += 1);
                    return Ok(bundles);
                }
                Some(_) if harm.disk_kib.is_some() => self.note("apply met a full disk"),
                Some(_) => return Err(format!("apply failed: {}", ran.told())),
                None => self.note("apply was killed"),
            }
            if self.draw(|rng| rng.chance(0.3)) {
                self.undo(&bundles, before)?;
                bundles.clear();
            }
        }
        Err("apply never came to its end".into())
    }

    fn apply_to_the_end(&self, plan: &Path, bundle: Option<&Path>) -> Result<(), String> {
        let ran = self.apply(plan, bundle, Harm::default())?;
        if ran.without(8) {
            return Ok(());
        }
        Err(format!("apply failed: {}", ran.told()))
    }

    fn applied_again_changes_nothing(&self, plan: &Path) -> Result<(), String> {
        let before = log::dump(&self.url(), false);
        let ran = self.apply(plan, None, Harm::default())?;
        if !ran.without(8 | 1) {
            return Err(format!("apply again was not nothing: {}", ran.told()));
        }
        match log::difference(&before, &log::dump(&self.url(), false)) {
            None => Ok(()),
            Some(difference) => Err(format!("apply again changed something: {difference}")),
        }
    }

    /// Undoes the bundles, last first, and looks whether the log is what it was.
    fn undo(&self, bundles: &[PathBuf], before: &str) -> Result<(), String> {
        for bundle in bundles.iter().rev() {
            for last in [false, true] {
                let arguments = ["undo", &text(bundle), "--db", &self.url(), "--interrupted"];
                let harm = if last { Harm::default() } else { self.harm(0.4) };
                let ran = self.tools.run(TOOL, &arguments, harm)?;
                if ran.without(8) {
                    break;
                }
                // A bundle that was cut off before anything was sealed in it cannot be read: nothing was done then.
                if last && log::difference(before, &log::dump(&self.url(), true)).is_some() {
                    return Err(format!("undo failed: {}", ran.told()));
                }
            }
        }
        match log::difference(before, &log::dump(&self.url(), true)) {
            None => {
                self.note("undone: the log is what it was");
                self.count(|f| f.undos += 1);
                Ok(())
            }
            Some(difference) => Err(format!("undo did not bring the log back: {difference}")),
        }
    }

    // Beside a running sequencer -------------------------------------------------------------------------------------

    /// Counters first; then the sequencer runs and agents push in all streams but those that are being repaired.
    pub(crate) fn repair_under_traffic(&self) -> Result<(), String> {
        self.note("repair under traffic");
        let mut arguments = vec!["counters".to_owned(), "--apply".into(), "--db".into(), self.url()];
        arguments.extend(self.witnesses()?);
        let ran = self.tools.run(TOOL, &arguments, Harm::default())?;
        if !ran.without(8 | 4) {
            return Err(format!("the counters could not be raised: {}", ran.told()));
        }
        let mut verdict = Violations::default();
        self.known()?.counters_hold(&Log::read(&self.url()), &mut verdict);
        verdict.end("after the counters were raised")?;
        self.start_sequencer()?;
        self.proxy.weather(50);
        let quiet: Vec<AtomicBool> = self.streams.iter().map(|_| AtomicBool::new(false)).collect();
        self.beside(&quiet, || {
            for attempt in 0..=self.streams.len() {
                // First none is quiet, then one after the other. Agents come to rest in a moment.
                if let Some(flag) = attempt.checked_sub(1).and_then(|n| quiet.get(n)) {
                    flag.store(true, Ordering::SeqCst);
                    sleep(Duration::from_millis(700));
                }
                self.apply_beside(attempt)?;
            }
            Ok(())
        })?;
        // What is left, with nobody at work.
        self.kill_sequencer();
        let plan = self.plan(&[], 0.0)?;
        self.apply_to_the_end(&plan, None)?;
        let now = Log::read(&self.url());
        let known = self.known()?;
        let mut verdict = Violations::default();
        known.promises_agree(&mut verdict);
        known.promises_kept(&now, &mut verdict);
        known.counters_hold(&now, &mut verdict);
        known.nothing_foreign(&now, &mut verdict);
        known.order_kept(&now, &mut verdict);
        verdict.end("after the repair under traffic")
    }

    fn apply_beside(&self, attempt: usize) -> Result<(), String> {
        let plan = self.plan(&[], 0.0)?;
        let bundle = self.fresh_file("undo.ndjson");
        let failures = self.proxy.traffic.failures.load(Ordering::SeqCst);
        let done = AtomicBool::new(false);
        let (ran, pause) = thread::scope(|scope| {
            let probe = scope.spawn(|| self.probe(&done));
            let ran = self.apply(&plan, Some(&bundle), self.harm(0.1));
            done.store(true, Ordering::SeqCst);
            (ran, probe.join())
        });
        let ran = ran?;
        let pause = pause.map_err(|_| "the probe broke".to_owned())??;
        let failures = self.proxy.traffic.failures.load(Ordering::SeqCst) - failures;
        self.count(|f| {
            f.applies_under_traffic += 1;
            f.failures_beside_apply += failures;
            f.worst_pause = f.worst_pause.max(pause);
        });
        self.judge_apply_beside(&ran, attempt);
        let mut verdict = Violations::default();
        self.known()?.counters_hold(&Log::read(&self.url()), &mut verdict);
        verdict.end("beside traffic, after apply")?;
        if bundle.exists() && self.draw(|rng| rng.chance(0.3)) {
            self.undo_beside(&bundle)?;
        }
        Ok(())
    }

    fn judge_apply_beside(&self, ran: &Ran, attempt: usize) {
        let Ok(report) = serde_json::from_str::<Value>(&ran.stdout) else {
            return self.note(format!(
                "apply {attempt} beside traffic ended with {:?}",
                ran.code
            ));
        };
        let (mut applied, mut moved_on, mut failed) = (0, 0, 0);
        for stream in report["streams"].as_array().into_iter().flatten() {
            let error = stream["error"].as_str().unwrap_or_default();
            match stream["status"].as_str() {
                Some("failed") if error.contains("changed since") => moved_on += 1,
                Some("failed") => {
                    failed += 1;
                    self.note(format!("a stream failed beside traffic: {error}"));
                }
                Some("applied") => applied += 1,
                _ => {}
            }
        }
        self.note(format!(
            "apply {attempt} beside traffic: {applied} streams applied, {moved_on} had moved on, {failed} failed"
        ));
        self.count(|f| {
            f.streams_under_traffic += applied;
            f.streams_moved_on += moved_on;
            f.streams_failed += failed;
        });
    }

    /// Undo beside a sequencer that lives must never lower a counter below what was promised.
    fn undo_beside(&self, bundle: &Path) -> Result<(), String> {
        let arguments = ["undo", &text(bundle), "--db", &self.url(), "--interrupted"];
        let ran = self.tools.run(TOOL, &arguments, Harm::default())?;
        if !ran.without(8) {
            self.count(|f| f.undos_refused += 1);
        }
        self.note(format!("undo beside the sequencer ended with {:?}", ran.code));
        let mut verdict = Violations::default();
        self.known()?.counters_hold(&Log::read(&self.url()), &mut verdict);
        verdict.end("after undo beside the sequencer")
    }

    /// One new event after the other, past the bad network, in every stream in turn. Returns the longest wait.
    fn probe(&self, done: &AtomicBool) -> Result<Duration, String> {
        let mut worst = Duration::ZERO;
        let port = match self.sequencer.lock().map_err(|e| e.to_string())?.as_ref() {
            Some(sequencer) => sequencer.port,
            None => return Ok(worst),
        };
        let mut turn = 0;
        while !done.load(Ordering::SeqCst) {
            // The locked agent waits for its turn: what it makes is answered in its own order.
            let mut agent = self.agents[turn % self.agents.len()]
                .lock()
                .map_err(|e| e.to_string())?;
            turn += 1;
            if agent.has_unanswered() {
                drop(agent);
                sleep(Duration::from_millis(5));
                continue;
            }
            let events = agent.make(1)?;
            let request = http::post("/api/v1/ves/events/ingest", API_KEY, &agent.request(&events)?);
            let started = Instant::now();
            let answer = http::send(port, &request, Duration::from_secs(60)).map_err(|e| e.to_string())?;
            worst = worst.max(started.elapsed());
            let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
            for receipt in body["receipts"].as_array().into_iter().flatten() {
                agent.save_receipt(receipt)?;
            }
        }
        Ok(worst)
    }

    // Numbers given out twice ----------------------------------------------------------------------------------------

    /// The sequencer runs on from the cut log, as it must not; then the anchored history is brought back and the
    /// newcomers go behind it.
    pub(crate) fn repair_a_reissue(&self) -> Result<(), String> {
        self.note("the sequencer runs on without a repair");
        self.start_sequencer()?;
        self.proxy.weather(0);
        for agent in &self.agents {
            if self.draw(|rng| rng.chance(0.6)) {
                self.live(agent, 0.0)?;
            }
        }
        self.kill_sequencer();
        let before = Log::read(&self.url());
        let plan = self.plan(&["--on-reissue", "keep-anchored"], 0.0)?;
        let ran = self.apply(&plan, None, Harm::default())?;
        if !ran.without(8) {
            return Err(format!("apply of a reissue failed: {}", ran.told()));
        }
        let now = Log::read(&self.url());
        let known = self.known()?;
        let mut verdict = Violations::default();
        known.counters_hold(&now, &mut verdict);
        known.nothing_foreign(&now, &mut verdict);
        let places = now.places();
        for id in before.places().keys() {
            verdict.expect(places.contains_key(id), || format!("{id} is gone"));
        }
        verdict.end("after a reissue was taken apart")?;
        self.count(|f| f.reissues += 1);
        // Agents are told: receipts that no longer hold are thrown away, and what is not in the log is sent again.
        for agent in &self.agents {
            let agent = agent.lock().map_err(|e| e.to_string())?;
            let stream = agent.stream;
            agent.forget_receipts(&|id, number| places.get(&id) == Some(&(stream, number)))?;
        }
        Ok(())
    }
}
