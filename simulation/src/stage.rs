//! A world as files: the recovered log with what its tables lack, outboxes of restored agents, other copies of the log.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use checkpoints::{CheckpointFiles, Policy};
use cli_common::DbTarget;
use fixtures::{CheckpointSpec, Rng, World};
use rusqlite::{Connection, Row, params};
use sequencer_recovery::stream::survey::SurveyInput;
use sequencer_recovery::witness::Inputs;
use tempfile::TempDir;
use ves::{EventId, StreamKey};

use crate::scene::Scene;

const LOSE_RECEIPTS: &str = include_str!("../sql/lose_receipts.sql");
const LOSE_COMMANDS: &str = include_str!("../sql/lose_commands.sql");
const LOSE_COMMITMENTS: &str = include_str!("../sql/lose_commitments.sql");
const LOWER_VERSIONS: &str = include_str!("../sql/lower_versions.sql");
const LOSE_COUNTERS: &str = include_str!("../sql/lose_counters.sql");
const LOSE_NEWEST: &str = include_str!("../sql/lose_newest.sql");
const RESTORE_OUTBOX: &str = include_str!("../sql/restore_outbox.sql");
const FORGET_ANSWERS: &str = include_str!("../sql/forget_answers.sql");
const SWAP: [&str; 3] = [
    include_str!("../sql/swap_aside.sql"),
    include_str!("../sql/swap_over.sql"),
    include_str!("../sql/swap_receipts.sql"),
];

/// The files of a scene. They go with this value.
pub struct Stage {
    folder: TempDir,
    /// The recovered log.
    pub recovered: PathBuf,
    /// Who is asked.
    pub input: SurveyInput,
}

impl Stage {
    /// Writes all files.
    ///
    /// # Errors
    /// What could not be written.
    pub fn set(scene: &Scene, world: &World) -> Result<Self, String> {
        let folder = folder().map_err(|e| e.to_string())?;
        let at = |name: &str| folder.path().join(name);
        let said = |e: fixtures::WriteError| e.to_string();
        let recovered = at("recovered.db");
        world.write_recovered(&recovered).map_err(said)?;
        damage(scene, &recovered)?;
        let outboxes = world.write_outboxes(&at("outboxes")).map_err(said)?;
        for path in outboxes
            .iter()
            .filter(|path| !wal(path).exists())
            .take(scene.count("old-outboxes"))
        {
            restore_older(path, scene.get("outbox-rows-behind"))?;
        }
        let mut input = SurveyInput {
            witnesses: Inputs {
                sequencer_keys: (&world.sequencer_public_key()).into(),
                peer_keys: true,
                ..Inputs::default()
            },
            ..SurveyInput::default()
        };
        if scene.has("outboxes-heard") {
            input.witnesses.outboxes = outboxes;
        }
        if scene.has("anchors-heard") {
            world.write_anchors(&at("anchors.json")).map_err(said)?;
            input.anchors.push(at("anchors.json"));
        }
        if scene.has("checkpoints-heard") {
            input.checkpoints = Some(checkpointed(world, &at("checkpoints"))?);
        }
        for (name, pairs) in [("replica", 0), ("forged-replica", scene.count("forged-replica"))] {
            if scene.has(name) {
                let path = at(&format!("{name}.db"));
                world.write_log(&path).map_err(said)?;
                replica(scene, &path, pairs)?;
                input.witnesses.logs.push(DbTarget::Snapshot(path));
            }
        }
        Ok(Self {
            recovered,
            input,
            folder,
        })
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A folder in memory, where the system has one.
fn folder() -> std::io::Result<TempDir> {
    let builder = tempfile::Builder::new().prefix("simulation-").to_owned();
    match builder.tempdir_in("/dev/shm") {
        Ok(folder) => Ok(folder),
        Err(_) => builder.tempdir(),
    }
}

/// How checkpoints are made in a world.
pub fn checkpoint_spec(world: &World) -> CheckpointSpec {
    CheckpointSpec {
        every: 5,
        leaves: world.spec().seed.is_multiple_of(2),
    }
}

fn checkpointed(world: &World, folder: &Path) -> Result<CheckpointFiles, String> {
    let file = world
        .write_checkpoints(folder, checkpoint_spec(world))
        .map_err(|e| e.to_string())?;
    let policy = Policy::new(vec![world.checkpoint_vkey()], Vec::new(), 0).map_err(|e| e.to_string())?;
    Ok(CheckpointFiles {
        files: vec![file],
        policy,
    })
}

fn change(path: &Path, work: impl FnOnce(&Connection) -> rusqlite::Result<()>) -> Result<(), String> {
    let work = || {
        let db = Connection::open(path)?;
        work(&db)?;
        db.close().map_err(|(_, error)| error)
    };
    work().map_err(|e| format!("{}: {e}", path.display()))
}

/// Tables of a log that are older than its events.
fn damage(scene: &Scene, log: &Path) -> Result<(), String> {
    change(log, |db| {
        for (name, sql) in [
            ("receipts-behind", LOSE_RECEIPTS),
            ("commands-behind", LOSE_COMMANDS),
            ("commitments-behind", LOSE_COMMITMENTS),
            ("versions-behind", LOWER_VERSIONS),
            ("no-counters", LOSE_COUNTERS),
        ] {
            if scene.has(name) {
                db.execute(sql, params![scene.get(name) as i64])?;
            }
        }
        Ok(())
    })
}

/// An outbox as it was so many rows ago, when the agent had not heard of the newest of what it had pushed.
fn restore_older(outbox: &Path, rows: u64) -> Result<(), String> {
    change(outbox, |db| {
        db.execute(RESTORE_OUTBOX, params![rows as i64])?;
        db.execute(FORGET_ANSWERS, params![rows as i64 / 2])?;
        Ok(())
    })
}

/// Another copy of the whole log: some events behind, and with pairs of events in each other's place.
fn replica(scene: &Scene, log: &Path, forged_pairs: usize) -> Result<(), String> {
    let mut rng = Rng::new(scene.seed, "replica");
    change(log, |db| {
        for sql in LOSE_NEWEST.split(';').filter(|sql| !sql.trim().is_empty()) {
            db.execute(sql, params![scene.get("replica-behind") as i64])?;
        }
        let heads: Vec<(String, String, i64)> = db
            .prepare(include_str!("../sql/heads.sql"))?
            .query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
            .collect::<Result<_, _>>()?;
        for _ in 0..forged_pairs {
            for (tenant, store, head) in &heads {
                let (one, other) = (rng.between(1, (*head).max(1)), rng.between(1, (*head).max(1)));
                if one == other {
                    continue;
                }
                for sql in SWAP {
                    db.execute(sql, params![tenant, store, one, other])?;
                }
            }
        }
        Ok(())
    })
}

/// The write-ahead log beside a database.
fn wal(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// The highest number of each stream that a row of an outbox rightly claims.
///
/// # Errors
/// An outbox cannot be read.
pub fn claimed(
    stage: &Stage,
    is_right: impl Fn(EventId, StreamKey, u64) -> bool,
) -> Result<BTreeMap<StreamKey, u64>, String> {
    let mut highest = BTreeMap::new();
    of_outboxes(stage, include_str!("../sql/claims.sql"), |row| {
        let (event, stream) = (
            EventId(id(row, 0)?),
            StreamKey::new(id(row, 1)?.into(), id(row, 2)?.into()),
        );
        let number = row.get::<_, i64>(3)?.unsigned_abs();
        if is_right(event, stream, number) {
            let top: &mut u64 = highest.entry(stream).or_default();
            *top = (*top).max(number);
        }
        Ok(())
    })?;
    Ok(highest)
}

/// The events that their own agents' outboxes hold.
///
/// # Errors
/// An outbox cannot be read.
pub fn held(stage: &Stage) -> Result<BTreeSet<EventId>, String> {
    let mut held = BTreeSet::new();
    of_outboxes(stage, include_str!("../sql/held.sql"), |row| {
        held.insert(EventId(id(row, 0)?));
        Ok(())
    })?;
    Ok(held)
}

fn id(row: &Row<'_>, at: usize) -> rusqlite::Result<uuid::Uuid> {
    Ok(row.get::<_, String>(at)?.parse().unwrap_or_default())
}

/// Asks every outbox that is heard.
fn of_outboxes(
    stage: &Stage,
    sql: &str,
    mut each: impl FnMut(&Row<'_>) -> rusqlite::Result<()>,
) -> Result<(), String> {
    for outbox in &stage.input.witnesses.outboxes {
        // Opening one with a write-ahead log changes it.
        let copy = stage.path("asked.db");
        std::fs::copy(outbox, &copy).map_err(|e| e.to_string())?;
        let beside = wal(&copy);
        if wal(outbox).exists() {
            std::fs::copy(wal(outbox), &beside).map_err(|e| e.to_string())?;
        }
        change(&copy, |db| {
            let mut statement = db.prepare(sql)?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                each(row)?;
            }
            Ok(())
        })?;
        for left in [&copy, &beside] {
            let _ = std::fs::remove_file(left);
        }
    }
    Ok(())
}
