//! What the tests of this crate share: the compiled binary, the real data, dumps of whole databases, and the
//! comparison of a repaired log with the truth.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anchor_verify::Importer;
use rusqlite::Connection;
use rusqlite::types::Value as Sqlite;
use sequencer_recovery::plan::plan_file::PlanFile;
use sequencer_recovery::plan::planned::PlannedKey;
use sequencer_recovery::plan::planned::PlannedTombstone;
use sequencer_recovery::plan::planned::{LeftOut, PlannedAppend};
use sequencer_recovery::plan::planned::{
    PlanLine, PlannedCommitment, PlannedEvent, PlannedOpen, PlannedStream,
};
use sequencer_recovery::stream::bookkeeping::Bookkeeping;
use serde_json::Value;
use tempfile::TempDir;
use test_support::ScratchPostgres;

pub mod service;
pub mod writer;

/// The streams of scenario 1, by store.
pub const ALPHA_STORE: &str = "5126e8c5-c2d2-4f92-8b21-0080eeab9c5e";
pub const CHARLIE_STORE: &str = "8031ef5c-6c58-4d36-8afc-8aaaa77f604b";
pub const ECHO_STORE: &str = "145a2de2-c9a5-4169-8d6a-e7d30b2bcdaf";
pub const GOLF_STORE: &str = "b5335c7f-5f12-494a-8d73-8d1b72f3f25c";

// The binary ---------------------------------------------------------------------------------------------------------

/// What a run of the binary left behind.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(
            self.code, code,
            "stdout: {}\nstderr: {}",
            self.stdout, self.stderr
        );
        self
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout)
            .unwrap_or_else(|e| panic!("stdout is no JSON: {e}\n{}\n{}", self.stdout, self.stderr))
    }

    /// The report on stdout names all of this, wherever its lines are broken.
    #[track_caller]
    pub fn shows(self, words: &[&str]) -> Self {
        let shown = unwrapped(&self.stdout);
        for word in words {
            assert!(
                shown.contains(&unwrapped(word)),
                "{word:?} is not in: {}",
                self.stdout
            );
        }
        self
    }

    /// The error on stderr names all of this.
    #[track_caller]
    pub fn says(self, words: &[&str]) -> Self {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in: {}", self.stderr);
        }
        self
    }
}

/// Text for people as if its lines were not broken.
pub fn unwrapped(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The binary, with nothing of the caller's environment that it looks at.
pub fn binary() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sequencer-recovery"));
    for name in [
        "DATABASE_URL",
        "SEQUENCER_INCIDENT",
        "RUST_LOG",
        "CLICOLOR_FORCE",
        "PGPASSWORD",
        "PGPASSFILE",
        "PGHOST",
        "PGPORT",
        "PGUSER",
    ] {
        command.env_remove(name);
    }
    command.env("NO_COLOR", "1");
    command
}

/// Runs the binary to its end.
pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let mut command = assert_cmd::Command::from_std(binary());
    let output = command
        .args(args)
        .timeout(Duration::from_secs(120))
        .output()
        .unwrap();
    Ran {
        code: output.status.code().unwrap_or(-1),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// Arguments out of pieces: `args(["audit", "--db", url], &more)`.
pub fn args<const N: usize>(first: [&str; N], more: &[String]) -> Vec<String> {
    first
        .into_iter()
        .map(str::to_owned)
        .chain(more.iter().cloned())
        .collect()
}

pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

// The data -----------------------------------------------------------------------------------------------------------

/// Scenario 1 or the golden log: where its files are, and its anchors imported.
pub struct Data {
    pub dir: PathBuf,
    /// A folder for what a test writes.
    pub out: TempDir,
    pub anchors: PathBuf,
}

impl Data {
    pub fn golden() -> Self {
        Self::of("golden")
    }

    pub fn scenario() -> Self {
        Self::of("scenario-1")
    }

    fn of(name: &str) -> Self {
        let dir = test_support::shared_data().join("data").join(name);
        let out = tempfile::tempdir().unwrap();
        let anchors = out.path().join("anchors.json");
        import_anchors(&dir.join("anchors"), &anchors);
        Self { dir, out, anchors }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.out.path().join(name)
    }

    pub fn outboxes(&self) -> String {
        text(&self.dir.join("outboxes"))
    }

    /// `--outbox … --anchors …`
    pub fn witnesses(&self) -> Vec<String> {
        vec![
            "--outbox".into(),
            self.outboxes(),
            "--anchors".into(),
            text(&self.anchors),
        ]
    }

    pub fn truth(&self) -> TruthFile {
        TruthFile(serde_json::from_slice(&fs::read(self.dir.join("truth.json")).unwrap()).unwrap())
    }
}

/// `anchor-verify`, which a run of the whole workspace has built.
pub fn anchor_verify() -> PathBuf {
    tool("anchor-verify")
}

/// Another tool, which a run of the whole workspace has built.
pub fn tool(name: &str) -> PathBuf {
    let tool = Path::new(env!("CARGO_BIN_EXE_sequencer-recovery"))
        .parent()
        .unwrap()
        .join(name);
    if !tool.exists() {
        let build = ["build", "--quiet", "-p", name, "--bins"];
        let status = Command::new(env!("CARGO"))
            .args(build)
            .current_dir(test_support::workspace_root())
            .status();
        assert!(status.unwrap().success());
    }
    tool
}

/// As `anchor-verify import` does.
pub fn import_anchors(logs: &Path, out: &Path) {
    let mut importer = Importer::new(Some(84_532_001), Vec::new());
    for file in [
        "logs_SetRegistry_BatchCommitted.json",
        "logs_StateSetAnchor_CommitmentAnchored.json",
    ] {
        importer.add_file(&logs.join(file)).unwrap();
    }
    let import = importer.finish(&[]);
    assert!(import.refused.is_empty());
    import.file.write(out).unwrap();
}

/// truth.json
pub struct TruthFile(pub Value);

/// A lost event as truth.json has it.
#[derive(Debug, Clone)]
pub struct Lost {
    pub class: String,
}

impl TruthFile {
    /// Store → number → event.
    pub fn missing(&self) -> BTreeMap<String, BTreeMap<u64, Lost>> {
        let streams = self.0["streams"].as_array().unwrap();
        streams
            .iter()
            .map(|stream| {
                let missing = stream["missing"].as_object().unwrap();
                let missing = missing.iter().map(|(number, lost)| {
                    let class = lost["class"].as_str().unwrap().to_owned();
                    (number.parse().unwrap(), Lost { class })
                });
                (stream["store_id"].as_str().unwrap().to_owned(), missing.collect())
            })
            .collect()
    }

    pub fn stream(&self, store: &str) -> &Value {
        let streams = self.0["streams"].as_array().unwrap();
        streams.iter().find(|s| s["store_id"] == store).unwrap()
    }
}

// Databases ----------------------------------------------------------------------------------------------------------

/// A scratch server with databases of real data.
pub struct Server(pub ScratchPostgres);

impl Server {
    /// `None`, after saying so, where there are no binaries.
    pub fn start() -> Option<Self> {
        test_support::postgres_available().then(|| Self(ScratchPostgres::start()))
    }

    /// A new database with our schema and a file of COPY text.
    pub fn load(&self, name: &str, file: &Path) -> Db {
        let url = self.0.create_database(name);
        test_support::load_schema(&url);
        test_support::load_copy_file(&url, file);
        Db::Postgres(url)
    }

    /// A copy of a database that nobody is connected to.
    pub fn copy(&self, name: &str, of: &Db) -> Db {
        let template = of.arg().rsplit('/').next().unwrap().to_owned();
        let _ = test_support::query(
            &self.0.url(),
            &format!("CREATE DATABASE {name} TEMPLATE {template}"),
        );
        Db::Postgres(self.0.database_url(name))
    }

    /// Gives a database another name; whoever is connected is sent away.
    pub fn rename(&self, from: &str, to: &str) {
        // Who looks every moment is kept out meanwhile.
        for sql in [
            format!("ALTER DATABASE {from} ALLOW_CONNECTIONS false"),
            format!("SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = '{from}'"),
            format!("ALTER DATABASE {from} RENAME TO {to}"),
            format!("ALTER DATABASE {to} ALLOW_CONNECTIONS true"),
        ] {
            let _ = test_support::query(&self.0.url(), &sql);
        }
    }
}

/// A log, on either side.
#[derive(Debug, Clone)]
pub enum Db {
    Postgres(String),
    Snapshot(PathBuf),
}

impl Db {
    pub fn arg(&self) -> String {
        match self {
            Db::Postgres(url) => url.clone(),
            Db::Snapshot(path) => text(path),
        }
    }

    /// With `snapshot`, as an operator does.
    #[track_caller]
    pub fn snapshot(&self, path: PathBuf) -> Db {
        run(["snapshot", "--db", &self.arg(), "--out", path.to_str().unwrap()]).expect(0);
        Db::Snapshot(path)
    }

    /// Another copy of a snapshot file.
    pub fn file_copy(&self, path: PathBuf) -> Db {
        let Db::Snapshot(from) = self else {
            panic!("not a file")
        };
        fs::copy(from, &path).unwrap();
        Db::Snapshot(path)
    }

    /// Changes it behind the tool's back.
    pub fn execute(&self, sql: &str) {
        match self {
            Db::Postgres(url) => {
                let _ = test_support::query(url, sql);
            }
            Db::Snapshot(path) => {
                let db = Connection::open(path).unwrap();
                db.execute_batch("PRAGMA foreign_keys = off").unwrap();
                db.execute_batch(sql).unwrap();
                db.close().unwrap();
            }
        }
    }

    pub fn dump(&self) -> Dump {
        match self {
            Db::Postgres(url) => Dump::of_postgres(url),
            Db::Snapshot(path) => Dump::of_snapshot(path),
        }
    }
}

pub type Row = BTreeMap<String, Option<String>>;

/// Every row of every table, each value as text, rows sorted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dump(pub BTreeMap<String, Vec<Row>>);

impl Dump {
    fn of_postgres(url: &str) -> Self {
        // One statement for all tables, so that it is one view of them.
        let select = test_support::query(
            url,
            "SELECT string_agg(format('SELECT %L, json_build_object(%s) FROM %I', t, c, t), ' UNION ALL ') FROM \
             (SELECT c.table_name t, string_agg(format('%L, %I::text', c.column_name, c.column_name), ', ') c \
             FROM information_schema.columns c WHERE table_schema = 'public' GROUP BY 1) tables",
        )
        .replace("json_build_object", "jsonb_build_object");
        let rows = test_support::query(url, &select);
        let mut dump = BTreeMap::<String, Vec<Row>>::new();
        for line in rows.lines() {
            let (table, row) = line.split_once('|').unwrap();
            dump.entry(table.to_owned())
                .or_default()
                .push(serde_json::from_str(row).unwrap());
        }
        dump.values_mut().for_each(|rows| rows.sort());
        Self(dump)
    }

    fn of_snapshot(path: &Path) -> Self {
        // For writing: a journal that a killed process left is rolled back.
        let db = Connection::open_with_flags(path, rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
        let mut names = db
            .prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name <> 'sequencer_recovery_journal'")
            .unwrap();
        let names: Vec<String> = names
            .query_map([], |row| row.get(0))
            .unwrap()
            .map(Result::unwrap)
            .collect();
        let mut dump = BTreeMap::new();
        for table in names {
            let mut select = db.prepare(&format!("SELECT * FROM \"{table}\"")).unwrap();
            let columns: Vec<String> = select.column_names().into_iter().map(str::to_owned).collect();
            let mut found = select.query([]).unwrap();
            let mut rows: Vec<Row> = Vec::new();
            while let Some(row) = found.next().unwrap() {
                let value = |i: usize| match row.get(i).unwrap() {
                    Sqlite::Null => None,
                    Sqlite::Integer(n) => Some(n.to_string()),
                    Sqlite::Real(x) => Some(x.to_string()),
                    Sqlite::Text(t) => Some(t),
                    Sqlite::Blob(b) => Some(format!("\\x{}", hex(&b))),
                };
                rows.push(
                    columns
                        .iter()
                        .enumerate()
                        .map(|(i, c)| (c.clone(), value(i)))
                        .collect(),
                );
            }
            rows.sort();
            if !rows.is_empty() {
                dump.insert(table, rows);
            }
        }
        Self(dump)
    }

    pub fn table(&self, name: &str) -> &[Row] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// The rows of one stream.
    pub fn of_store(&self, table: &str, store: &str) -> Vec<&Row> {
        self.table(table)
            .iter()
            .filter(|row| get(row, "store_id") == store)
            .collect()
    }

    pub fn counter(&self, store: &str) -> Option<u64> {
        let rows = self.of_store("ves_sequence_counters", store);
        rows.first()
            .map(|row| get(row, "current_sequence").parse().unwrap())
    }

    /// Numbers that the stream has.
    pub fn numbers(&self, store: &str) -> BTreeSet<u64> {
        let events = self.of_store("ves_events", store);
        events
            .iter()
            .map(|row| get(row, "sequence_number").parse().unwrap())
            .collect()
    }

    /// The store of every stream with events.
    pub fn stores(&self) -> BTreeSet<String> {
        self.table("ves_events")
            .iter()
            .map(|row| get(row, "store_id").to_owned())
            .collect()
    }
}

/// Says where two dumps differ, without printing all of both.
#[track_caller]
pub fn assert_same(before: &Dump, after: &Dump) {
    let names: BTreeSet<&String> = before.0.keys().chain(after.0.keys()).collect();
    for name in names {
        let (b, a) = (before.table(name), after.table(name));
        let gone: Vec<_> = b.iter().filter(|row| !a.contains(row)).take(3).collect();
        let new: Vec<_> = a.iter().filter(|row| !b.contains(row)).take(3).collect();
        assert!(b == a, "{name} has changed: gone {gone:?}, new {new:?}");
    }
}

/// Says where two documents differ.
#[track_caller]
pub fn assert_json(a: &Value, b: &Value, at: &str) {
    match (a, b) {
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            a.iter()
                .zip(b)
                .enumerate()
                .for_each(|(n, (a, b))| assert_json(a, b, &format!("{at}[{n}]")));
        }
        (Value::Object(a), Value::Object(b)) if a.keys().eq(b.keys()) => {
            // Which log was asked, when and how, is another matter.
            let of_the_run = |key: &str| matches!(key, "provenance" | "next");
            let lasting = a.iter().filter(|(key, _)| !of_the_run(key));
            lasting.for_each(|(key, a)| assert_json(a, &b[key], &format!("{at}.{key}")));
        }
        _ => assert_eq!(a, b, "{at}"),
    }
}

#[track_caller]
pub fn get<'a>(row: &'a Row, column: &str) -> &'a str {
    row.get(column)
        .and_then(Option::as_deref)
        .unwrap_or_else(|| panic!("no {column} in {row:?}"))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

// Plans --------------------------------------------------------------------------------------------------------------

/// A stream's section of a plan.
#[derive(Debug, Clone)]
pub struct Section {
    pub header: PlannedStream,
    pub events: Vec<PlannedEvent>,
    pub commitments: Vec<PlannedCommitment>,
    pub open: Vec<PlannedOpen>,
    pub bookkeeping: Bookkeeping,
    pub appended: Vec<PlannedAppend>,
    pub left_out: Vec<LeftOut>,
    pub keys: Vec<PlannedKey>,
    pub tombstones: Vec<PlannedTombstone>,
}

/// The plan by store.
pub fn read_plan(path: &Path) -> BTreeMap<String, Section> {
    let mut sections: Vec<Section> = Vec::new();
    let plan = PlanFile::open(path).unwrap();
    plan.read(|line| {
        match line {
            PlanLine::Stream(header) => sections.push(Section {
                header: *header,
                events: Vec::new(),
                commitments: Vec::new(),
                open: Vec::new(),
                bookkeeping: Bookkeeping::default(),
                appended: Vec::new(),
                left_out: Vec::new(),
                keys: Vec::new(),
                tombstones: Vec::new(),
            }),
            PlanLine::Event(event) => sections.last_mut().unwrap().events.push(*event),
            PlanLine::Commitment(commitment) => sections.last_mut().unwrap().commitments.push(*commitment),
            PlanLine::Bookkeeping(books) => sections.last_mut().unwrap().bookkeeping = *books,
            PlanLine::Key(key) => sections.last_mut().unwrap().keys.push(*key),
            PlanLine::Tombstone(tombstone) => sections.last_mut().unwrap().tombstones.push(*tombstone),
            PlanLine::Append(append) => sections.last_mut().unwrap().appended.push(*append),
            PlanLine::LeftOut(left) => sections.last_mut().unwrap().left_out.push(*left),
            PlanLine::Open(open) => sections.last_mut().unwrap().open.push(open),
            _ => {}
        }
        Ok(())
    })
    .unwrap();
    sections
        .into_iter()
        .map(|s| (s.header.stream.store_id.to_string(), s))
        .collect()
}

// The truth ----------------------------------------------------------------------------------------------------------

/// What came back and what stays open, by the class that the truth gives the lost event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Figures(pub BTreeMap<String, (u64, u64)>);

impl Figures {
    pub fn restored(&self) -> u64 {
        self.0.values().map(|(restored, _)| restored).sum()
    }

    pub fn open(&self) -> u64 {
        self.0.values().map(|(_, open)| open).sum()
    }
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (class, (restored, open)) in &self.0 {
            write!(f, "{class}: {restored} restored, {open} open; ")?;
        }
        write!(f, "together {} and {}", self.restored(), self.open())
    }
}

/// A repaired log beside what it was made from and what it should be.
pub struct Compared<'a> {
    pub recovered: &'a Dump,
    pub repaired: &'a Dump,
    pub truth: &'a Dump,
    pub plan: &'a BTreeMap<String, Section>,
}

fn by<'a>(rows: &'a [Row], column: &str) -> BTreeMap<&'a str, &'a Row> {
    rows.iter().map(|row| (get(row, column), row)).collect()
}

impl Compared<'_> {
    /// Events whose place the truth contradicts: what stands there, and what should.
    pub fn wrong_positions(&self) -> Vec<String> {
        let truth = by(self.truth.table("ves_events"), "event_id");
        let mut wrong = Vec::new();
        for row in self.repaired.table("ves_events") {
            let id = get(row, "event_id");
            let (store, number) = (get(row, "store_id"), get(row, "sequence_number"));
            match truth.get(id) {
                Some(true_row) if get(true_row, "store_id") == store => {
                    if get(true_row, "sequence_number") != number {
                        let right = get(true_row, "sequence_number");
                        wrong.push(format!("{store}: {id} stands at {number}, was at {right}"));
                    }
                }
                _ => wrong.push(format!("{store}: {id} stands at {number}, was never sequenced")),
            }
        }
        wrong
    }

    /// Everything that an accepted event writes is as the truth has it.
    #[track_caller]
    pub fn check_rows(&self) {
        assert_eq!(self.wrong_positions(), Vec::<String>::new());
        self.check_events();
        self.check_receipts();
        self.check_dedupe();
        self.check_versions();
        self.check_commitments();
        self.check_counters();
        self.check_projections();
        let touched = [
            "ves_events",
            "ves_sequencer_receipts",
            "ves_command_dedupe",
            "entity_versions",
            "ves_commitments",
            "ves_sequence_counters",
            "projection_checkpoints",
        ];
        for table in self.recovered.0.keys().filter(|t| !touched.contains(&t.as_str())) {
            assert_eq!(self.recovered.table(table), self.repaired.table(table), "{table}");
        }
    }

    fn planned(&self) -> BTreeMap<String, &PlannedEvent> {
        let events = self.plan.values().flat_map(|section| &section.events);
        events
            .map(|event| (event.event.event_id.to_string(), event))
            .collect()
    }

    fn check_events(&self) {
        let before = by(self.recovered.table("ves_events"), "event_id");
        let truth = by(self.truth.table("ves_events"), "event_id");
        let planned = self.planned();
        let repaired = self.repaired.table("ves_events");
        assert_eq!(repaired.len(), before.len() + planned.len());
        let mut times: BTreeMap<(&str, u64), &str> = BTreeMap::new();
        for row in repaired {
            let id = get(row, "event_id");
            times.insert(
                (get(row, "store_id"), get(row, "sequence_number").parse().unwrap()),
                get(row, "sequenced_at"),
            );
            if let Some(before) = before.get(id) {
                assert_eq!(row, *before, "a row that was there has changed");
                continue;
            }
            let planned = planned[id];
            for (column, value) in row {
                // The one column that nobody signed and that not every witness knows, or only to the millisecond.
                if column == "sequenced_at" {
                    let bare = |value: &Option<String>| {
                        value
                            .clone()
                            .unwrap()
                            .trim_end_matches(['Z', '0', '+'])
                            .to_owned()
                    };
                    let same = bare(&truth[id][column]).starts_with(&bare(value));
                    assert!(
                        same || !planned.sequenced_at_known,
                        "{column} of {id} at {}",
                        planned.sequence
                    );
                    continue;
                }
                assert_eq!(
                    value, &truth[id][column],
                    "{column} of {id} at {}",
                    planned.sequence
                );
            }
        }
    }

    fn check_receipts(&self) {
        let before = by(self.recovered.table("ves_sequencer_receipts"), "event_id");
        let truth = by(self.truth.table("ves_sequencer_receipts"), "event_id");
        let events = by(self.repaired.table("ves_events"), "event_id");
        let receipts = by(self.repaired.table("ves_sequencer_receipts"), "event_id");
        assert!(
            events.keys().eq(receipts.keys()),
            "every event has its receipt and no other"
        );
        for (id, receipt) in receipts {
            if let Some(before) = before.get(id) {
                assert_eq!(receipt, *before);
                continue;
            }
            assert_eq!(
                get(receipt, "sequenced_at"),
                get(events[id], "sequenced_at"),
                "{id}"
            );
            for (column, value) in receipt {
                let unsigned = column == "sequencer_signature" && value.is_none();
                if column != "sequenced_at" && !unsigned {
                    assert_eq!(value, &truth[id][column], "{column} of the receipt of {id}");
                }
            }
        }
    }

    fn check_dedupe(&self) {
        let key = |row: &Row| {
            let of = |column: &str| row.get(column).cloned().flatten();
            (of("tenant_id"), of("store_id"), of("command_id"))
        };
        let set = |dump: &Dump| {
            dump.table("ves_command_dedupe")
                .iter()
                .map(key)
                .collect::<BTreeSet<_>>()
        };
        let of_events = self.repaired.table("ves_events").iter().map(key);
        let mut expected: BTreeSet<_> = of_events.filter(|(_, _, command)| command.is_some()).collect();
        // Those that outlived their event are forgotten if the plan says so, so that the event can be pushed again.
        let books = self.plan.values().map(|section| &section.bookkeeping);
        let forgotten: BTreeSet<String> = books.flat_map(|b| &b.forget).map(ToString::to_string).collect();
        let outlived = set(self.recovered).into_iter();
        expected.extend(outlived.filter(|(_, _, id)| !id.as_ref().is_some_and(|id| forgotten.contains(id))));
        assert_eq!(
            set(self.repaired),
            expected,
            "each command that an event carries, and no other"
        );
        let truth = by(self.truth.table("ves_command_dedupe"), "command_id");
        let before = by(self.recovered.table("ves_command_dedupe"), "command_id");
        for (id, row) in by(self.repaired.table("ves_command_dedupe"), "command_id") {
            assert!(truth.contains_key(id));
            assert!(
                before.get(id).is_none_or(|before| *before == row),
                "a row that was there has changed"
            );
        }
    }

    fn check_versions(&self) {
        let entity = |row: &Row| {
            ["tenant_id", "store_id", "entity_type", "entity_id"].map(|column| get(row, column).to_owned())
        };
        let mut counted: BTreeMap<[String; 4], u64> = BTreeMap::new();
        for row in self
            .repaired
            .table("ves_events")
            .iter()
            .chain(self.repaired.table("events"))
        {
            *counted.entry(entity(row)).or_default() += 1;
        }
        let stored = |dump: &Dump| -> BTreeMap<[String; 4], u64> {
            let rows = dump.table("entity_versions").iter();
            rows.map(|row| (entity(row), get(row, "version").parse().unwrap()))
                .collect()
        };
        // One that was higher stays: agents may have seen it.
        for (entity, version) in stored(self.recovered) {
            let counted = counted.entry(entity).or_default();
            *counted = version.max(*counted);
        }
        let repaired = stored(self.repaired);
        for (entity, version) in &counted {
            assert_eq!(repaired.get(entity), Some(version), "{entity:?}");
        }
        assert_eq!(repaired.len(), counted.len());
    }

    fn check_commitments(&self) {
        let before = by(self.recovered.table("ves_commitments"), "batch_id");
        let truth = by(self.truth.table("ves_commitments"), "batch_id");
        for (id, row) in by(self.repaired.table("ves_commitments"), "batch_id") {
            if let Some(before) = before.get(id) {
                assert_eq!(row, *before);
                continue;
            }
            for (column, value) in row {
                // When it was made is not on the chain; where it is on the chain the sequencer may have noted or not.
                let free = ["committed_at", "anchored_at"].contains(&column.as_str());
                let unnoted = column.starts_with("chain_") && truth[id][column].is_none();
                if !free && !unnoted {
                    assert_eq!(value, &truth[id][column], "{column} of commitment {id}");
                }
            }
        }
    }

    /// A projection goes back where the plan says so, and never ahead.
    fn check_projections(&self) {
        let before = by(self.recovered.table("projection_checkpoints"), "store_id");
        let after = by(self.repaired.table("projection_checkpoints"), "store_id");
        assert!(before.keys().eq(after.keys()));
        for (store, row) in after {
            let number = |row: &Row| get(row, "last_projected_sequence").parse::<u64>().unwrap();
            match self
                .plan
                .get(store)
                .and_then(|section| section.bookkeeping.projection)
            {
                Some(planned) => {
                    assert_eq!(number(row), planned, "{store}");
                    assert!(planned <= number(before[store]), "{store}");
                }
                None => assert_eq!(row, before[store]),
            }
        }
    }

    fn check_counters(&self) {
        for store in self.repaired.stores() {
            let counter = self.repaired.counter(&store);
            let head = self.repaired.numbers(&store).last().copied();
            assert!(
                counter >= head && counter >= self.recovered.counter(&store),
                "{store}: {counter:?}"
            );
            if let Some(section) = self.plan.get(&store) {
                assert_eq!(counter, section.header.counter_after, "{store}");
                let floor = section.header.floor.as_ref().unwrap();
                assert!(counter >= Some(floor.counter), "{store}");
            }
        }
    }

    /// Every event that the truth misses is back or is listed open with a reason, one of both.
    #[track_caller]
    pub fn figures(&self, missing: &BTreeMap<String, BTreeMap<u64, Lost>>) -> Figures {
        let mut figures = Figures::default();
        for (store, lost) in missing {
            let section = &self.plan[store];
            let numbers = self.repaired.numbers(store);
            for (number, lost) in lost {
                let (restored, stays_open) = figures.0.entry(lost.class.clone()).or_default();
                let open: Vec<_> = section
                    .open
                    .iter()
                    .filter(|o| o.range().contains(number))
                    .collect();
                if numbers.contains(number) {
                    *restored += 1;
                    assert!(open.is_empty(), "{store} {number} is back and open");
                } else {
                    *stays_open += 1;
                    // What no witness has ever heard of cannot be listed.
                    let unheard = Some(*number) > section.header.counter_after;
                    assert!(
                        unheard || open.len() == 1,
                        "{store} {number} is neither back nor open: {open:?}"
                    );
                    assert!(open.iter().all(|o| !o.reason.is_empty()), "{store} {number}");
                }
            }
        }
        figures
    }

    /// The roots of commitments that came back are recomputed from the stored rows.
    pub fn commitments_back(&self) -> BTreeSet<String> {
        let before = by(self.recovered.table("ves_commitments"), "batch_id");
        let after = by(self.repaired.table("ves_commitments"), "batch_id");
        after
            .keys()
            .filter(|id| !before.contains_key(*id))
            .map(|id| (*id).to_owned())
            .collect()
    }
}

// Runs ---------------------------------------------------------------------------------------------------------------

/// Plans, and says what the plan's exit status was.
#[track_caller]
pub fn plan(db: &Db, out: &Path, more: &[String]) -> Ran {
    let out = text(out);
    run(args(
        ["plan", "--db", &db.arg(), "--out", &out, "--format", "json"],
        more,
    ))
}

#[track_caller]
pub fn apply(db: &Db, plan: &Path, more: &[&str]) -> Ran {
    let plan = text(plan);
    let mut all = vec!["apply", plan.as_str(), "--format", "json", "--db"];
    let db = db.arg();
    all.push(&db);
    all.extend(more);
    run(all)
}
