//! What the tests of this crate share.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cli_common::{DbTarget, NoProgress};
use event_log::{Log, LogEntry, LogError, Rows, StreamFilter, View, write_snapshot};
use tempfile::TempDir;
use test_support::ScratchPostgres;
use ves::StreamKey;

pub const SOON: Duration = Duration::from_millis(300);

pub fn target(text: &str) -> DbTarget {
    DbTarget::parse(text.as_ref()).unwrap()
}

pub fn file(path: &Path) -> DbTarget {
    DbTarget::Snapshot(path.to_owned())
}

/// A server, and a database on it with real data.
pub struct Server {
    pub server: ScratchPostgres,
    data: PathBuf,
}

impl Server {
    /// `None`, after saying so, where there is no server.
    pub fn start() -> Option<Self> {
        let data = test_support::shared_data().join("data");
        test_support::postgres_available().then(|| Self {
            server: ScratchPostgres::start(),
            data,
        })
    }

    /// The URL of a new database with nothing in it.
    pub fn create(&self, name: &str) -> String {
        self.server.create_database(name)
    }

    /// A file of real data.
    pub fn data(&self, file: &str) -> PathBuf {
        self.data.join(file)
    }

    /// The URL of a new database with our schema and nothing in it.
    pub fn empty(&self, name: &str) -> String {
        let url = self.server.create_database(name);
        test_support::load_schema(&url);
        url
    }

    /// The URL of a new database with a file of real data.
    pub fn load(&self, name: &str, file: &str) -> String {
        let url = self.empty(name);
        test_support::load_copy_file(&url, &self.data.join(file));
        url
    }
}

pub const GOLDEN: &str = "golden/log.copy.sql";
pub const RECOVERED: &str = "scenario-1/recovered.copy.sql";
pub const TRUTH: &str = "scenario-1/truth.copy.sql";

pub async fn open(target: &DbTarget) -> Log {
    Log::open(target).await.unwrap()
}

/// A snapshot of a log, in a folder of its own.
pub async fn snapshot_of(log: &Log) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log.db");
    let mut view = log.view().await.unwrap();
    write_snapshot(&mut view, log.target(), &path, &NoProgress)
        .await
        .unwrap();
    (folder, path)
}

/// Everything that a view can say, for comparing two logs.
#[derive(Debug, PartialEq)]
pub struct Everything {
    pub streams: String,
    pub entries: BTreeMap<StreamKey, Vec<LogEntry>>,
    pub rest: Vec<String>,
}

pub async fn everything(view: &mut View) -> Everything {
    let streams = view
        .streams(&StreamFilter::default())
        .await
        .unwrap()
        .all()
        .unwrap();
    let mut entries = BTreeMap::new();
    let mut rest = vec![format!("{:?}", view.keys(None).await.unwrap().all().unwrap())];
    rest.push(format!("{:?}", view.receipts_of_no_event().await.unwrap()));
    for state in &streams {
        let stream = &state.stream;
        entries.insert(
            *stream,
            view.entries(stream, 0..=u64::MAX).await.unwrap().all().unwrap(),
        );
        rest.push(format!("{:?}", view.present_ranges(stream).await.unwrap()));
        rest.push(format!(
            "{:?}",
            view.commitments(stream).await.unwrap().all().unwrap()
        ));
        rest.push(format!(
            "{:?}",
            view.version_drift(stream).await.unwrap().all().unwrap()
        ));
        rest.push(format!(
            "{:?}",
            view.dedupe_orphans(stream).await.unwrap().all().unwrap()
        ));
        rest.push(format!(
            "{:?}",
            view.dedupe_missing(stream).await.unwrap().all().unwrap()
        ));
        rest.push(format!("{:?}", view.receipt_defaults(stream).await.unwrap()));
        rest.push(format!("{:?}", view.projection_checkpoint(stream).await.unwrap()));
        rest.push(format!("{:?}", view.counter(stream).await.unwrap()));
        rest.push(format!(
            "{:?}",
            view.last_sequenced_before(stream, 100).await.unwrap()
        ));
        let mut versions = view.entity_versions(stream).await.unwrap().all().unwrap();
        versions.sort();
        rest.push(format!("{versions:?}"));
    }
    Everything {
        streams: format!("{streams:#?}"),
        entries,
        rest,
    }
}

pub async fn everything_at(target: &DbTarget) -> Everything {
    everything(&mut open(target).await.view().await.unwrap()).await
}

pub fn unreadable<T>(rows: &Rows<T>) -> Vec<String> {
    rows.unreadable.iter().map(ToString::to_string).collect()
}

pub fn message<T>(result: Result<T, LogError>) -> String {
    match result {
        Ok(_) => panic!("should have failed"),
        Err(error) => error.to_string(),
    }
}

/// Runs SQL on a snapshot file as a hostile or clumsy hand would.
pub fn tamper(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection
        .execute_batch("PRAGMA foreign_keys = OFF; PRAGMA ignore_check_constraints = ON;")
        .unwrap();
    connection.execute_batch(sql).unwrap();
}
