//! Big worlds for measuring whole verifications: made once, kept in a folder, verified as `anchor-verify verify` does.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};

use anchor_verify::chain::examine;
use anchor_verify::verify::{DbSource, InputKind, VerifyInput, verify};
use anchor_verify::{AnchorsFile, ChainReport, VerifyReport};
use cli_common::{Cancel, DbTarget, ExitStatus, NoProgress};
use ed25519_dalek::VerifyingKey;
use event_log::Scope;
use fixtures::{BigSpec, BigWorld};
use ves::Hash32;

/// Where worlds are kept: the folder that `BIG_WORLDS` names, or `target/worlds` (below `CARGO_TARGET_DIR`, if set).
pub fn folder() -> PathBuf {
    // Benches run in their package's folder, which has no target folder of its own.
    let own = concat!(env!("CARGO_MANIFEST_DIR"), "/../target");
    let target = || std::env::var_os("CARGO_TARGET_DIR").map_or(own.into(), PathBuf::from);
    std::env::var_os("BIG_WORLDS").map_or_else(|| target().join("worlds"), PathBuf::from)
}

/// A big world in its folder.
#[derive(Debug)]
pub struct KeptWorld {
    /// The log.
    pub db: PathBuf,
    /// The anchors of all its commitments.
    pub anchors: AnchorsFile,
    /// What is known of them: nothing but what they say.
    pub chain: ChainReport,
    /// The key that receipts are signed with.
    pub sequencer_key: VerifyingKey,
}

impl KeptWorld {
    /// Where a world is kept.
    pub fn place(spec: &BigSpec) -> PathBuf {
        let BigSpec {
            seed,
            events,
            streams,
            agents,
            batch_size,
        } = spec;
        folder().join(format!(
            "{events}-events-{streams}-streams-{agents}-agents-{batch_size}-a-batch-{seed}"
        ))
    }

    /// Opens a world, after making it if it is not there.
    ///
    /// # Errors
    /// What cannot be read or written.
    pub fn open(spec: &BigSpec) -> Result<Self, Box<dyn Error>> {
        let place = Self::place(spec);
        if !place.exists() {
            eprintln!("making {}", place.display());
            // Under its name it is whole.
            let making = place.with_extension("being-made");
            if making.exists() {
                fs::remove_dir_all(&making)?;
            }
            BigWorld::new(spec).write_folder(&making)?;
            fs::rename(&making, &place)?;
        }
        Self::at(&place)
    }

    /// Opens a world in a folder.
    ///
    /// # Errors
    /// What cannot be read.
    pub fn at(place: &Path) -> Result<Self, Box<dyn Error>> {
        let anchors = AnchorsFile::read(&place.join("anchors.json"))?;
        let key: Hash32 = fs::read_to_string(place.join("sequencer.pub"))?.trim().parse()?;
        Ok(Self {
            db: place.join("log.db"),
            chain: examine(&anchors, None),
            anchors,
            sequencer_key: VerifyingKey::from_bytes(&key.0)?,
        })
    }

    /// Verifies it on the threads of rayon's current pool, with or without the signatures of receipts.
    ///
    /// # Errors
    /// What cannot be read, and any verdict but that all batches match their anchors.
    pub fn verify(&self, receipts: bool) -> Result<VerifyReport, Box<dyn Error>> {
        let target = DbTarget::Snapshot(self.db.clone());
        let mut source = DbSource::open(&target, Scope::default())?;
        let input = VerifyInput {
            kind: InputKind::Db,
            name: "big world",
            anchors: Some((&self.anchors, &self.chain)),
            sequencer_keys: if receipts {
                self.sequencer_key.into()
            } else {
                ves::SequencerKeys::default()
            },
            keys: None,
            shard: None,
        };
        let report = verify(&mut source, &input, &NoProgress, &Cancel::new())?;
        let found = &report.totals.batches;
        if report.exit_status() != ExitStatus::OK
            || found.matches_anchors != self.anchors.anchors.len() as u64
        {
            return Err(format!("a big world verifies, and this one does not: {:?}", report.totals).into());
        }
        Ok(report)
    }
}
