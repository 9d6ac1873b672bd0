//! One round: a sequencer with its database, agents that push over a bad network, a cut, a repair in one of several
//! ways, and the way back to ordinary life. Each round makes a world of its own from its seed.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::Duration;

use anchor_verify::{AnchorKind, AnchorsFile, tenant_store_key};
use fixtures::{CHAIN_ID, Rng, STATE_SET_ANCHOR};
use tempfile::TempDir;
use test_support::{ScratchPostgres, query};
use ves::{BatchId, Hash32, StreamKey};

use crate::agent::Agent;
use crate::check::{AgentsKnowledge, Violations};
use crate::figures::Figures;
use crate::log::{self, Deadlocks, Log};
use crate::proxy::Proxy;
use crate::sequencer::{self, Sequencer};
use crate::tools::{Harm, Ran, Tools};

/// What all rounds share.
#[derive(Debug)]
pub struct Stage {
    /// The database server.
    pub server: Mutex<ScratchPostgres>,
    /// The folder of the compiled tools.
    pub tools: PathBuf,
    /// The real sequencer's binary, to be used in place of the double.
    pub real: Option<PathBuf>,
}

/// A world while it is played.
pub struct Round<'a> {
    pub(crate) stage: &'a Stage,
    pub(crate) rng: Mutex<Rng>,
    pub(crate) folder: TempDir,
    pub(crate) streams: Vec<StreamKey>,
    pub(crate) agents: Vec<Mutex<Agent>>,
    pub(crate) proxy: Proxy,
    pub(crate) tools: Tools,
    pub(crate) sequencer: Mutex<Option<Sequencer>>,
    pub(crate) figures: Mutex<Figures>,
    database: String,
    anchors: Mutex<Vec<anchor_verify::Anchor>>,
    story: Mutex<String>,
    files: AtomicU64,
    /// How long the server's log was before.
    server_log: usize,
}

/// How the log is cut.
#[derive(Debug)]
enum WayBack {
    /// By restoring a dump that was taken while agents pushed.
    Dump(PathBuf),
    /// By a point-in-time recovery of the whole server to this restore point.
    RestorePoint(String),
}

/// How a round ended.
#[derive(Debug)]
pub struct Ended {
    /// What happened in it.
    pub figures: Figures,
    /// What it did, step by step.
    pub story: String,
    /// What did not hold.
    pub outcome: Result<(), String>,
}

/// Plays the round of this seed.
pub fn play(stage: &Stage, seed: u64) -> Ended {
    let round = match Round::new(stage, seed) {
        Ok(round) => round,
        Err(error) => {
            return Ended {
                figures: Figures::default(),
                story: String::new(),
                outcome: Err(error),
            };
        }
    };
    // What fails in a helper of tests panics.
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| round.all()));
    let outcome = outcome.unwrap_or_else(|_| Err("something that is not the tools' broke: see above".into()));
    round.kill_sequencer();
    round.drop_database();
    round.end(outcome)
}

impl<'a> Round<'a> {
    fn new(stage: &'a Stage, seed: u64) -> Result<Self, String> {
        let mut rng = Rng::new(seed, "round");
        let folder = tempfile::Builder::new()
            .prefix("ves-chaos-")
            .tempdir()
            .map_err(|e| e.to_string())?;
        for name in ["outboxes", "receipts", "backups", "tmp", "plans"] {
            std::fs::create_dir(folder.path().join(name)).map_err(|e| e.to_string())?;
        }
        let tenant = rng.uuid();
        let streams: Vec<_> = (0..2 + rng.below(2))
            .map(|_| StreamKey::new(tenant.into(), rng.uuid().into()))
            .collect();
        let mut agents = Vec::new();
        for number in 0..streams.len() * 2 {
            let stream = streams[number % streams.len()];
            agents.push(Mutex::new(Agent::new(seed, number, stream, folder.path())?));
        }
        let tools = Tools {
            folder: stage.tools.clone(),
            temporary: folder.path().join("tmp"),
            runs: AtomicU64::new(0),
            kills: AtomicU64::new(0),
        };
        let mut round = Self {
            stage,
            rng: Mutex::new(rng),
            streams,
            agents,
            proxy: Proxy::start(seed).map_err(|e| e.to_string())?,
            tools,
            sequencer: Mutex::new(None),
            figures: Mutex::default(),
            database: format!("chaos_{seed:x}"),
            anchors: Mutex::default(),
            story: Mutex::default(),
            files: AtomicU64::new(0),
            server_log: 0,
            folder,
        };
        round.server_log = round.with_server(|server| server.log().len());
        round.make_database()?;
        Ok(round)
    }

    fn end(self, mut outcome: Result<(), String>) -> Ended {
        let log = self.with_server(|server| server.log());
        let deadlocks = Deadlocks::read(log.get(self.server_log..).unwrap_or_default());
        if let (Ok(()), Some(told)) = (&outcome, deadlocks.with_tools.first()) {
            outcome = Err(format!("a tool and the sequencer waited for each other: {told}"));
        }
        let mut figures = self.figures.into_inner().unwrap_or_default();
        figures.deadlocks_with_tools = deadlocks.with_tools.len() as u64;
        figures.deadlocks_of_others = deadlocks.of_others;
        figures.rounds = u64::from(outcome.is_ok());
        figures.runs = self.tools.runs.load(Ordering::SeqCst);
        figures.tool_kills = self.tools.kills.load(Ordering::SeqCst);
        let traffic = &self.proxy.traffic;
        figures.requests = traffic.requests.load(Ordering::SeqCst);
        figures.network_faults = traffic.faults.load(Ordering::SeqCst);
        figures.failures = traffic.failures.load(Ordering::SeqCst);
        for agent in &self.agents {
            if let Ok(agent) = agent.lock() {
                figures.events += agent.made.len() as u64;
                figures.locked_out += agent.locked_out;
            }
        }
        Ended {
            figures,
            story: self.story.into_inner().unwrap_or_default(),
            outcome,
        }
    }

    fn all(&self) -> Result<(), String> {
        let cuts = 1 + self.draw(|rng| rng.below(2));
        for _ in 0..cuts {
            let (before_cut, way) = self.grow()?;
            self.cut(&before_cut, &way)?;
            match self.draw(|rng| rng.below(10)) {
                0..=4 => self.repair_at_rest(&before_cut)?,
                5..=7 => self.repair_under_traffic()?,
                _ => self.repair_a_reissue()?,
            }
            self.back_to_life()?;
        }
        Ok(())
    }

    // Small things -------------------------------------------------------------------------------------------------

    /// Draws from the round's numbers.
    pub(crate) fn draw<T>(&self, draw: impl FnOnce(&mut Rng) -> T) -> T {
        let mut rng = self.rng.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        draw(&mut rng)
    }

    /// Notes what is done, to be shown if it fails.
    pub(crate) fn note(&self, what: impl AsRef<str>) {
        if let Ok(mut story) = self.story.lock() {
            let _ = writeln!(story, "  {}", what.as_ref());
        }
    }

    /// Counts.
    pub(crate) fn count(&self, count: impl FnOnce(&mut Figures)) {
        if let Ok(mut figures) = self.figures.lock() {
            count(&mut figures);
        }
    }

    /// The database, where the server is now.
    pub(crate) fn url(&self) -> String {
        self.with_server(|server| server.database_url(&self.database))
    }

    fn with_server<T>(&self, work: impl FnOnce(&mut ScratchPostgres) -> T) -> T {
        let mut server = self
            .stage
            .server
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        work(&mut server)
    }

    /// A name in the folder that nobody has used.
    pub(crate) fn fresh_file(&self, name: &str) -> PathBuf {
        let number = self.files.fetch_add(1, Ordering::SeqCst);
        self.folder.path().join("plans").join(format!("{number}-{name}"))
    }

    /// Something that may happen to a run: mostly nothing, or it is killed.
    pub(crate) fn harm(&self, kill: f64) -> Harm {
        let kill_after = self.draw(|rng| {
            rng.chance(kill)
                .then(|| Duration::from_millis(rng.between(2, 400).unsigned_abs()))
        });
        Harm {
            kill_after,
            disk_kib: None,
        }
    }

    fn make_database(&self) -> Result<(), String> {
        let url = self.with_server(|server| server.create_database(&self.database));
        if self.stage.real.is_none() {
            test_support::load_schema(&url);
        }
        // The real one makes its tables itself.
        self.start_sequencer()?;
        for agent in &self.agents {
            let agent = agent.lock().map_err(|e| e.to_string())?;
            let sql = format!(
                "INSERT INTO agent_signing_keys (tenant_id, agent_id, key_id, public_key) VALUES ('{}', '{}', 1, '\\x{}')",
                agent.stream.tenant_id,
                agent.id,
                hex::encode(agent.public_key())
            );
            let _ = query(&url, &sql);
        }
        Ok(())
    }

    fn drop_database(&self) {
        let url = self.with_server(|server| server.url());
        let _ = query(&url, &format!("DROP DATABASE {} WITH (FORCE)", self.database));
    }

    // The sequencer and its database -------------------------------------------------------------------------------

    /// Starts it, if it does not run.
    pub(crate) fn start_sequencer(&self) -> Result<(), String> {
        let url = self.url();
        let mut sequencer = self.sequencer.lock().map_err(|e| e.to_string())?;
        if sequencer.is_none() {
            let started = Sequencer::start(self.stage.real.as_ref(), &url)?;
            self.proxy.lead_to(started.port);
            *sequencer = Some(started);
        }
        Ok(())
    }

    /// Ends it at once, if it runs.
    pub(crate) fn kill_sequencer(&self) {
        if let Ok(mut sequencer) = self.sequencer.lock()
            && let Some(sequencer) = sequencer.take()
        {
            sequencer.kill();
        }
    }

    fn crash_server(&self) -> Result<(), String> {
        self.note("the database server is killed, and the sequencer with it");
        self.with_server(|server| {
            server.kill9();
            server.restart();
        });
        self.count(|f| f.server_kills += 1);
        self.kill_sequencer();
        self.start_sequencer()
    }

    /// Commits what is whole in some streams, and anchors some of that.
    fn commit_and_anchor(&self) -> Result<(), String> {
        let now = Log::read(&self.url());
        for stream in &self.streams {
            let last = now
                .commitments
                .iter()
                .filter(|c| c.stream == *stream)
                .map(|c| c.end);
            let start = last.max().unwrap_or(0) + 1;
            let head = now.head(stream);
            if head < start + 3 || self.draw(|rng| rng.chance(0.3)) {
                continue;
            }
            let end =
                start + self.draw(|rng| rng.below(usize::try_from(head - start).unwrap_or(0) + 1)) as u64;
            if let Some(sequencer) = self.sequencer.lock().map_err(|e| e.to_string())?.as_ref() {
                let _ = sequencer.commit(stream, start, end);
            }
        }
        let mut anchors = self.anchors.lock().map_err(|e| e.to_string())?;
        for commitment in Log::read(&self.url()).commitments {
            let known = anchors.iter().any(|a| a.batch_id.0 == commitment.batch_id);
            if !known && self.draw(|rng| rng.chance(0.7)) {
                let number = anchors.len() as u64;
                anchors.push(anchor(&commitment, number)?);
            }
        }
        AnchorsFile::new(Some(CHAIN_ID), anchors.clone())
            .write(&self.folder.path().join("anchors.json"))
            .map_err(|e| e.to_string())
    }

    // Agents -------------------------------------------------------------------------------------------------------

    /// What the agents know by now.
    pub(crate) fn known(&self) -> Result<AgentsKnowledge, String> {
        let mut known = AgentsKnowledge::default();
        for agent in &self.agents {
            let agent = agent.lock().map_err(|e| e.to_string())?;
            known.made.insert(agent.id, (agent.stream, agent.made.clone()));
            let heard = agent.heard();
            known
                .heard
                .extend(heard.into_iter().map(|(id, number)| (agent.stream, id, number)));
        }
        let mut anchored = BTreeMap::new();
        for anchor in self.anchors.lock().map_err(|e| e.to_string())?.iter() {
            if let Some(stream) = anchor.stream {
                let end: &mut u64 = anchored.entry(stream).or_default();
                *end = (*end).max(anchor.sequence_end);
            }
        }
        known.anchored = anchored;
        Ok(known)
    }

    /// Runs `outbox-sync push` for one agent.
    pub(crate) fn push(&self, agent: &Mutex<Agent>, harm: Harm) -> Result<Ran, String> {
        let (outbox, receipts) = paths(agent)?;
        let batch = (1 + self.draw(|rng| rng.below(20))).to_string();
        let url = self.proxy.url();
        let key = sequencer::public_key();
        let mut arguments = vec!["push", &outbox, "--url", &url, "--receipts", &receipts];
        arguments.extend([
            "--sequencer-public-key",
            &key,
            "--attempts",
            "2",
            "--batch",
            &batch,
        ]);
        self.tools.run("outbox-sync", &arguments, harm)
    }

    /// Runs `outbox-sync reconcile --apply` for one agent, by its receipts or by the log.
    pub(crate) fn reconcile(&self, agent: &Mutex<Agent>, by_log: bool, harm: Harm) -> Result<Ran, String> {
        let (outbox, receipts) = paths(agent)?;
        let backups = text(&self.folder.path().join("backups"));
        let (url, key) = (self.url(), sequencer::public_key());
        let mut arguments = vec!["reconcile", &outbox, "--apply", "--backup-dir", &backups];
        if by_log {
            arguments.extend(["--db", &url]);
        } else if !agent.lock().map_err(|e| e.to_string())?.heard().is_empty() {
            arguments.extend(["--receipts", &receipts, "--sequencer-public-key", &key]);
        } else {
            return Ok(Ran {
                code: Some(0),
                stdout: String::new(),
                stderr: String::new(),
                call: "nothing to reconcile by".into(),
            });
        }
        self.tools.run("outbox-sync", &arguments, harm)
    }

    /// One agent's ordinary life: it makes events, pushes, and looks at its receipts now and then.
    pub(crate) fn live(&self, agent: &Mutex<Agent>, kill: f64) -> Result<(), String> {
        let count = 1 + self.draw(|rng| rng.below(15));
        agent.lock().map_err(|e| e.to_string())?.make(count)?;
        let mut harm = self.harm(kill);
        if harm.kill_after.is_none() && self.draw(|rng| rng.chance(0.05)) {
            harm.disk_kib = Some(4);
            self.count(|f| f.full_disks += 1);
        }
        self.push(agent, harm)?;
        if self.draw(|rng| rng.chance(0.4)) {
            let harm = self.harm(kill);
            self.reconcile(agent, false, harm)?;
        }
        Ok(())
    }

    /// Grows the log while things break, takes a backup at some moment of it, and returns the log as it was at the end.
    fn grow(&self) -> Result<(Log, WayBack), String> {
        self.proxy.weather(150);
        let steps = 2 + self.draw(|rng| rng.below(3));
        let backup_at = self.draw(|rng| rng.below(8));
        let busy = AtomicU64::new(self.agents.len() as u64);
        let way = self.way_back();
        let mut backed_up = false;
        let outcomes = thread::scope(|scope| {
            let lives: Vec<_> = self
                .agents
                .iter()
                .map(|agent| {
                    let busy = &busy;
                    scope.spawn(move || {
                        let outcome = (0..steps).try_for_each(|_| self.live(agent, 0.15));
                        busy.fetch_sub(1, Ordering::SeqCst);
                        outcome
                    })
                })
                .collect();
            let mut outcome = Ok(());
            let mut tick = 0;
            while busy.load(Ordering::SeqCst) > 0 && outcome.is_ok() {
                sleep(Duration::from_millis(150));
                if !backed_up && tick >= backup_at {
                    backed_up = self.back_up(&way).is_ok();
                }
                outcome = self.tick();
                tick += 1;
            }
            let lived: Vec<_> = lives.into_iter().map(thread::ScopedJoinHandle::join).collect();
            (outcome, lived)
        });
        outcomes.0?;
        for lived in outcomes.1 {
            lived.map_err(|_| "an agent's thread broke".to_owned())??;
        }
        if !backed_up {
            self.back_up(&way)?;
        }
        self.commit_and_anchor()?;
        Ok((Log::read(&self.url()), way))
    }

    /// Draws how the log will be cut. A server whose base backup cannot be taken here gives dumps.
    fn way_back(&self) -> WayBack {
        let archive =
            self.draw(|rng| rng.chance(0.5)) && self.with_server(|server| server.base_backup()).is_ok();
        if archive {
            let number = self.files.fetch_add(1, Ordering::SeqCst);
            return WayBack::RestorePoint(format!("{}_{number}", self.database));
        }
        WayBack::Dump(self.folder.path().join("backup.dump"))
    }

    /// Marks the moment that the log will go back to, while agents push.
    fn back_up(&self, way: &WayBack) -> Result<(), String> {
        match way {
            WayBack::Dump(path) => log::take_backup(&self.url(), path)?,
            WayBack::RestorePoint(name) => {
                let url = self.url();
                let _ = query(&url, &format!("SELECT pg_create_restore_point('{name}')"));
                // The mark itself is not flushed: a server that is killed at once would have no such moment.
                let _ = query(&url, "CHECKPOINT");
            }
        }
        self.note(format!("the moment to go back to: {way:?}"));
        Ok(())
    }

    /// Something that happens while agents push.
    fn tick(&self) -> Result<(), String> {
        match self.draw(|rng| rng.below(20)) {
            0..=1 => {
                self.note("the sequencer is killed");
                self.kill_sequencer();
                self.count(|f| f.sequencer_kills += 1);
                let pause = self.draw(|rng| rng.below(300)) as u64;
                sleep(Duration::from_millis(pause));
                self.start_sequencer()
            }
            2 => self.crash_server(),
            3..=6 => self.commit_and_anchor(),
            _ => Ok(()),
        }
    }

    /// The disaster: the sequencer dies, and the log is what it was at an earlier moment.
    fn cut(&self, before: &Log, way: &WayBack) -> Result<(), String> {
        self.kill_sequencer();
        match way {
            WayBack::Dump(path) => {
                let server = self.with_server(|server| server.url());
                log::restore(&server, &self.database, &self.url(), path)?;
            }
            WayBack::RestorePoint(name) => {
                self.with_server(|server| server.recover_to(name));
                self.count(|f| f.recoveries += 1);
            }
        }
        let now = Log::read(&self.url());
        let lost = before.len() - now.len();
        self.note(format!(
            "the log is cut from {} events to {}",
            before.len(),
            now.len()
        ));
        self.count(|f| {
            f.cuts += 1;
            f.lost += lost as u64;
        });
        let mut verdict = Violations::default();
        self.known()?.promises_agree(&mut verdict);
        self.known()?.order_kept(before, &mut verdict);
        self.known()?.nothing_foreign(before, &mut verdict);
        verdict.end("before the cut")
    }

    /// After a repair: the sequencer runs, agents set their outboxes right and push what they still hold, over a good
    /// network. Then everything that was ever made is in the log, once.
    fn back_to_life(&self) -> Result<(), String> {
        self.proxy.weather(0);
        self.start_sequencer()?;
        for agent in &self.agents {
            // Twice: what a killed run has left is settled by the first.
            for last in [false, true] {
                let ran = self.reconcile(agent, true, Harm::default())?;
                if last && !ran.without(8 | 4) {
                    return Err(format!("an outbox could not be set right: {}", ran.told()));
                }
                let ran = self.push(agent, Harm::default())?;
                if last && ran.code != Some(0) {
                    return Err(format!("not everything could be pushed: {}", ran.told()));
                }
            }
        }
        let now = Log::read(&self.url());
        let known = self.known()?;
        let mut verdict = Violations::default();
        known.promises_agree(&mut verdict);
        known.promises_kept(&now, &mut verdict);
        known.counters_hold(&now, &mut verdict);
        known.nothing_foreign(&now, &mut verdict);
        known.all_arrived(&now, &mut verdict);
        let vacant = known.vacant(&now, &mut verdict);
        self.count(|f| f.vacant += vacant);
        self.note(format!(
            "back to life: {} events, {vacant} numbers vacant",
            now.len()
        ));
        verdict.end("after everything was pushed")
    }

    /// The witnesses, as arguments.
    pub(crate) fn witnesses(&self) -> Result<Vec<String>, String> {
        let mut arguments = vec!["--outbox".to_owned(), text(&self.folder.path().join("outboxes"))];
        for agent in &self.agents {
            let (_, receipts) = paths(agent)?;
            if Path::new(&receipts).exists() {
                arguments.extend(["--receipts".into(), receipts]);
            }
        }
        let anchors = self.folder.path().join("anchors.json");
        if anchors.exists() {
            arguments.extend(["--anchors".into(), text(&anchors)]);
        }
        arguments.extend(["--sequencer-public-key".into(), sequencer::public_key()]);
        Ok(arguments)
    }

    /// Runs agents' lives beside some work, until it is done. An agent whose stream is quiet only makes events.
    pub(crate) fn beside<T: Send>(
        &self,
        quiet: &[AtomicBool],
        work: impl FnOnce() -> Result<T, String> + Send,
    ) -> Result<T, String> {
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let lives: Vec<_> = self
                .agents
                .iter()
                .map(|agent| {
                    let done = &done;
                    scope.spawn(move || -> Result<(), String> {
                        while !done.load(Ordering::SeqCst) {
                            let stream = agent.lock().map_err(|e| e.to_string())?.stream;
                            let place = self.streams.iter().position(|s| *s == stream).unwrap_or(0);
                            if quiet[place].load(Ordering::SeqCst) {
                                agent.lock().map_err(|e| e.to_string())?.make(1)?;
                                sleep(Duration::from_millis(40));
                            } else {
                                self.live(agent, 0.0)?;
                            }
                        }
                        Ok(())
                    })
                })
                .collect();
            let outcome = work();
            done.store(true, Ordering::SeqCst);
            for life in lives {
                life.join().map_err(|_| "an agent's thread broke".to_owned())??;
            }
            outcome
        })
    }
}

fn paths(agent: &Mutex<Agent>) -> Result<(String, String), String> {
    let agent = agent.lock().map_err(|e| e.to_string())?;
    Ok((text(&agent.outbox), text(&agent.receipts)))
}

/// A path as an argument. All of them are made here, of plain characters.
pub(crate) fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn anchor(commitment: &log::CommittedBatch, number: u64) -> Result<anchor_verify::Anchor, String> {
    let hash = |hex: &str| hex.parse::<Hash32>().map_err(|e| e.to_string());
    let mut block = [0xb1; 32];
    block[..8].copy_from_slice(&number.to_be_bytes());
    Ok(anchor_verify::Anchor {
        block_number: 100 + number,
        log_index: 0,
        block_hash: Hash32(block),
        transaction_hash: Hash32(block),
        block_timestamp: Some(jiff::Timestamp::now().as_second().unsigned_abs()),
        contract: STATE_SET_ANCHOR,
        kind: AnchorKind::StateSetAnchor,
        batch_id: BatchId(commitment.batch_id),
        stream: Some(commitment.stream),
        tenant_store_key: tenant_store_key(&commitment.stream),
        events_root: hash(&commitment.merkle_root)?,
        state_root: hash(&commitment.state_root)?,
        sequence_start: commitment.start,
        sequence_end: commitment.end,
        event_count: u32::try_from(commitment.end - commitment.start + 1).map_err(|e| e.to_string())?,
    })
}
