//! What the tests of verification share.

pub mod checkpointer;

use std::path::{Path, PathBuf};

use anchor_verify::verify::{ExportSource, InputKind, LogSource, VerifyError, VerifyInput, verify};
use anchor_verify::{
    AnchorStanding, AnchorsFile, ChainReport, Importer, ProvedBy, Shard, Verdict, VerifyReport,
};
use cli_common::{Cancel, DbTarget, NoProgress};
use ed25519_dalek::VerifyingKey;
use event_log::{Log, Scope, write_export, write_snapshot};
use fixtures::World;
use serde_json::Value;
use tempfile::TempDir;
use test_support::ScratchPostgres;
use ves::{Hash32, SequencerKeys};

/// What a test does to a line.
pub type Change<'a> = &'a dyn Fn(&mut Value);

pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(work)
}

/// The whole log of a snapshot or database as an export.
pub fn export(target: &DbTarget, scope: &Scope, redact: bool) -> String {
    block_on(async {
        let mut view = Log::open(target).await.unwrap().view().await.unwrap();
        let mut out = Vec::new();
        write_export(&mut view, scope, redact, &mut out, &NoProgress)
            .await
            .unwrap();
        String::from_utf8(out).unwrap()
    })
}

/// The log of a world as it was before the disaster.
pub fn export_of(world: &World) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    world.write_log(&path).unwrap();
    export(&DbTarget::Snapshot(path), &Scope::default(), false)
}

pub fn untied(file: &AnchorsFile) -> ChainReport {
    anchor_verify::chain::examine(file, None)
}

pub fn standing(file: &AnchorsFile, of: impl Fn(&anchor_verify::Anchor) -> AnchorStanding) -> ChainReport {
    ChainReport {
        trusted_block: Some(Hash32([0xbb; 32])),
        standings: file.anchors.iter().map(of).collect(),
        not_checked: Vec::new(),
    }
}

pub fn trust() -> AnchorStanding {
    AnchorStanding::Trusted {
        trusted_block: Hash32([0xbb; 32]),
        by: vec![ProvedBy::Receipt],
    }
}

pub fn trusted(file: &AnchorsFile) -> ChainReport {
    standing(file, |_| trust())
}

pub struct Check<'a> {
    pub anchors: Option<(&'a AnchorsFile, &'a ChainReport)>,
    pub sequencer_keys: SequencerKeys,
    pub shard: Option<Shard>,
}

impl Check<'_> {
    pub fn source(&self, source: &mut dyn LogSource) -> Result<VerifyReport, VerifyError> {
        let input = VerifyInput {
            kind: InputKind::Export,
            name: "test",
            anchors: self.anchors,
            sequencer_keys: self.sequencer_keys.clone(),
            keys: None,
            shard: self.shard,
        };
        verify(source, &input, &NoProgress, &Cancel::new())
    }

    pub fn text(&self, text: &str) -> VerifyReport {
        let mut source = ExportSource::new("test", text.as_bytes()).unwrap();
        let report = self.source(&mut source).unwrap();
        // Whatever it says, it reads back as the same.
        let json = serde_json::to_vec(&report).unwrap();
        assert_eq!(VerifyReport::from_json(&json).unwrap(), report);
        report
    }
}

/// The lines of an export, to be altered.
#[derive(Clone)]
pub struct Lines(pub Vec<Value>);

impl Lines {
    pub fn of(text: &str) -> Self {
        Self(text.lines().map(|l| serde_json::from_str(l).unwrap()).collect())
    }

    pub fn text(&self) -> String {
        self.0.iter().map(|l| format!("{l}\n")).collect()
    }

    /// The places of all lines of a type.
    pub fn places(&self, kind: &str) -> Vec<usize> {
        (0..self.0.len()).filter(|i| self.0[*i]["type"] == kind).collect()
    }

    /// Makes the counts at the end fit what is there.
    pub fn recount(&mut self) {
        for (name, kind) in [
            ("keys", "key"),
            ("commitments", "commitment"),
            ("events", "event"),
        ] {
            let count = self.places(kind).len();
            self.0.last_mut().unwrap()["counts"][name] = count.into();
        }
    }
}

/// Turns one hex digit into another.
pub fn flip(value: &mut Value) {
    let text = value.as_str().unwrap();
    let first = if text.starts_with('0') { "1" } else { "0" };
    *value = format!("{first}{}", &text[1..]).into();
}

pub fn counts(report: &VerifyReport, verdict: Verdict) -> u64 {
    let batches = &report.totals.batches;
    match verdict {
        Verdict::Proven => batches.proven,
        Verdict::MatchesAnchors => batches.matches_anchors,
        Verdict::MatchesDatabase => batches.matches_database,
        Verdict::NotChecked => batches.not_checked,
        Verdict::Failed => batches.failed,
    }
}

/// A real log as a snapshot, with its anchors and the sequencer's public key.
pub struct Real {
    pub server: ScratchPostgres,
    pub url: String,
    pub folder: TempDir,
    pub snapshot: PathBuf,
    pub anchors: AnchorsFile,
    pub sequencer_key: VerifyingKey,
}

impl Real {
    /// `None`, after saying so, where there is no server.
    pub fn load(name: &str, copy: &str) -> Option<Self> {
        let data = test_support::shared_data().join("data").join(name);
        if !test_support::postgres_available() {
            return None;
        }
        let server = ScratchPostgres::start();
        let url = server.create_database("log");
        test_support::load_schema(&url);
        test_support::load_copy_file(&url, &data.join(copy));
        let folder = tempfile::tempdir().unwrap();
        let snapshot = folder.path().join("log.db");
        block_on(async {
            let log = Log::open(&DbTarget::parse(url.as_ref()).unwrap()).await.unwrap();
            let mut view = log.view().await.unwrap();
            write_snapshot(&mut view, log.target(), &snapshot, &NoProgress)
                .await
                .unwrap();
        });
        let mut importer = Importer::new(Some(84_532_001), Vec::new());
        for file in [
            "logs_SetRegistry_BatchCommitted.json",
            "logs_StateSetAnchor_CommitmentAnchored.json",
        ] {
            importer.add_file(&data.join("anchors").join(file)).unwrap();
        }
        let keys: Value = serde_json::from_slice(&std::fs::read(data.join("keys.json")).unwrap()).unwrap();
        let key: Hash32 = keys["sequencer_public_key_hex"]
            .as_str()
            .unwrap()
            .parse()
            .unwrap();
        Some(Self {
            server,
            url,
            folder,
            snapshot,
            anchors: importer.finish(&[]).file,
            sequencer_key: VerifyingKey::from_bytes(&key.0).unwrap(),
        })
    }

    pub fn target(&self) -> DbTarget {
        DbTarget::Snapshot(self.snapshot.clone())
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}
