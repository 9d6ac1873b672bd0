//! A verification of an archive as something that can be handed to another process: one shard of it, or all.

use anchor_verify::pins::KeyPins;
use anchor_verify::verify::{InputKind, VerifyInput, not_verified, verify};
use anchor_verify::{AnchorsFile, ChainReport, Shard, VerifyReport};
use cli_common::{Cancel, NoProgress, Progress};
use event_log::Scope;
use serde::{Deserialize, Serialize};
use ves::{Hash32, SequencerKeys, StreamKey};

use crate::archive::Archive;
use crate::error::ArchiveError;
use crate::store::Store;

/// What to verify, and what to hold it against. All who work on one verification have the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Where the archive lies, as [`Store::open`] takes it; each process has its own credentials.
    pub address: String,
    /// The manifest that it is verified by.
    pub manifest: u64,
    /// SHA-256 of that manifest.
    pub manifest_sha256: Hash32,
    /// The streams; all, if none is named.
    pub streams: Vec<StreamKey>,
    /// An anchors file, as JSON.
    pub anchors: Option<String>,
    /// How sure each of its anchors is.
    pub standings: Option<ChainReport>,
    /// Agents' keys that the auditor knows: the text of the file.
    pub keys: Option<String>,
    /// The sequencer's public keys, by version: hex.
    pub sequencer_keys: Vec<(Option<i32>, String)>,
}

impl Task {
    /// Verifies one shard of the archive, or all of it, on the threads of rayon's current pool.
    ///
    /// # Errors
    /// If the archive cannot be read, or the task is none.
    pub fn verify(
        &self,
        shard: Option<Shard>,
        progress: &dyn Progress,
        cancel: &Cancel,
    ) -> Result<VerifyReport, ArchiveError> {
        self.with(shard, |source, input| {
            Ok(verify(source, input, progress, cancel)?)
        })
    }

    /// As [`Task::verify`] of one shard, without anybody who looks on; the report as JSON.
    ///
    /// # Errors
    /// As there.
    pub fn run(&self, shard: Shard) -> Result<String, ArchiveError> {
        let report = self.verify(Some(shard), &NoProgress, &Cancel::default())?;
        serde_json::to_string(&report).map_err(ArchiveError::columns("writing a report"))
    }

    /// The report of a shard that nobody has verified.
    ///
    /// # Errors
    /// If the archive's tables cannot be read.
    pub fn lost(&self, shard: Shard, why: &str) -> Result<VerifyReport, ArchiveError> {
        self.with(Some(shard), |source, input| Ok(not_verified(source, input, why)?))
    }

    fn with(
        &self,
        shard: Option<Shard>,
        run: impl FnOnce(
            &mut crate::archive::ArchiveSource,
            &VerifyInput<'_>,
        ) -> Result<VerifyReport, ArchiveError>,
    ) -> Result<VerifyReport, ArchiveError> {
        let store = Store::open(&self.address)?;
        let name = store.name();
        let archive = Archive::open_at(store, self.manifest, &self.manifest_sha256)?;
        let scope = Scope {
            streams: self.streams.clone(),
            range: None,
        };
        let mut source = archive.source(scope);
        let given =
            |what: &str, error: &dyn std::fmt::Display| ArchiveError::damaged(what, error.to_string());
        let anchors = self
            .anchors
            .as_ref()
            .map(|json| AnchorsFile::from_json(json.as_bytes()));
        let anchors = anchors
            .transpose()
            .map_err(|error| given("the task's anchors", &error))?;
        let keys = self.keys.as_ref().map(|json| KeyPins::from_json(json.as_bytes()));
        let keys = keys
            .transpose()
            .map_err(|error| given("the task's keys", &error))?;
        let of_sequencer: Result<Vec<_>, _> = (self.sequencer_keys.iter())
            .map(|(version, key)| hex::decode(key).map(|key| (*version, key)))
            .collect();
        let of_sequencer = of_sequencer.map_err(|error| given("the task's sequencer keys", &error))?;
        let sequencer_keys =
            SequencerKeys::read(of_sequencer).map_err(|error| given("the task's sequencer keys", &error))?;
        run(
            &mut source,
            &VerifyInput {
                kind: InputKind::Archive,
                name: &name,
                anchors: anchors.as_ref().zip(self.standings.as_ref()),
                sequencer_keys,
                keys: keys.as_ref(),
                shard,
            },
        )
    }

    /// The reports of all shards as one.
    ///
    /// # Errors
    /// If they are not of one verification, or one is missing.
    pub fn merge(reports: Vec<(String, VerifyReport)>) -> Result<VerifyReport, ArchiveError> {
        Ok(VerifyReport::merge(reports)?)
    }
}
