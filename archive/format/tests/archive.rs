//! Archives of generated worlds: what is written is what the log says, and no damage passes for it.

#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::fs;
use std::path::{Path, PathBuf};

use anchor_verify::proof::{Detail, Proved, Wanted, prove};
use anchor_verify::verify::{DbSource, InputKind, LogSource, VerifyInput, verify};
use anchor_verify::{AnchorsFile, ChainReport, Shard, UnitKind, Verdict, VerifyReport};
use archive_format::find::Finder;
use archive_format::manifest::{EventsFile, StreamPart};
use archive_format::snapshot::write_snapshot;
use archive_format::write::{WriteOptions, WriteReport, write};
use archive_format::{Archive, ArchiveError, Manifest, Store, Task};
use cli_common::{Cancel, DbTarget, NoProgress};
use ed25519_dalek::SigningKey;
use event_log::Scope;
use fixtures::{World, WorldSpec};
use serde_json::Value;
use tempfile::TempDir;
use ves::SequencerKeys;

/// A world in files, and a folder for its archive.
struct Place {
    world: World,
    folder: TempDir,
    anchors: AnchorsFile,
    standings: ChainReport,
    /// The sequencer's public key, if it is given.
    sequencer: Option<[u8; 32]>,
}

impl Place {
    fn new(seed: u64) -> Self {
        let world = World::generate(&WorldSpec::honest(seed));
        let folder = tempfile::tempdir().unwrap();
        world.write_log(&folder.path().join("log.db")).unwrap();
        world
            .write_recovered(&folder.path().join("recovered.db"))
            .unwrap();
        let anchors = world.anchors_file();
        let standings = anchor_verify::chain::examine(&anchors, None);
        Self {
            sequencer: Some(world.sequencer_public_key().to_bytes()),
            world,
            folder,
            anchors,
            standings,
        }
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("archive")
    }

    fn store(&self) -> Store {
        Store::open(self.root().to_str().unwrap()).unwrap()
    }

    fn archive(&self) -> Archive {
        Archive::open(self.store()).unwrap()
    }

    fn source(&self, log: &str) -> DbSource {
        let target = DbTarget::Snapshot(self.folder.path().join(log));
        DbSource::open(&target, Scope::default()).unwrap()
    }

    fn write_with(&self, log: &str, options: &WriteOptions<'_>) -> Result<WriteReport, ArchiveError> {
        write(
            &self.store(),
            &mut self.source(log),
            options,
            &NoProgress,
            &Cancel::new(),
        )
    }

    /// Small files and row groups, so that there are many.
    fn write(&self, log: &str) -> WriteReport {
        self.write_with(log, &small(log)).unwrap()
    }

    fn task(&self) -> Task {
        let archive = self.archive();
        let mut anchors = Vec::new();
        self.anchors.write_json(&mut anchors).unwrap();
        Task {
            address: self.root().to_str().unwrap().to_owned(),
            manifest: archive.manifest().number,
            manifest_sha256: archive.read_manifest().sha256,
            streams: Vec::new(),
            anchors: Some(String::from_utf8(anchors).unwrap()),
            standings: Some(self.standings.clone()),
            keys: None,
            sequencer_keys: self
                .sequencer
                .iter()
                .map(|key| (None, hex::encode(key)))
                .collect(),
        }
    }

    fn verify_archive(&self) -> VerifyReport {
        self.task().verify(None, &NoProgress, &Cancel::new()).unwrap()
    }

    fn verify_log(&self, log: &str) -> VerifyReport {
        let keys = self
            .sequencer
            .iter()
            .map(|key| (None, key.to_vec()))
            .collect::<Vec<_>>();
        let input = VerifyInput {
            kind: InputKind::Db,
            name: log,
            anchors: Some((&self.anchors, &self.standings)),
            sequencer_keys: SequencerKeys::read(keys).unwrap(),
            keys: None,
            shard: None,
        };
        verify(&mut self.source(log), &input, &NoProgress, &Cancel::new()).unwrap()
    }

    fn events_files(&self) -> Vec<EventsFile> {
        let archive = self.archive();
        archive
            .manifest()
            .streams
            .iter()
            .flat_map(|stream| stream.files.clone())
            .collect()
    }
}

fn small<'a>(log: &'a str) -> WriteOptions<'a> {
    WriteOptions {
        file_rows: 40,
        group_rows: 8,
        ..WriteOptions::new(log)
    }
}

/// A report without what names its input.
fn told(report: &VerifyReport) -> Value {
    let mut told = serde_json::to_value(report).unwrap();
    for field in ["kind", "name"] {
        told["input"][field] = Value::Null;
    }
    told["place"] = Value::Null;
    told
}

#[test]
fn an_archive_says_what_its_log_says() {
    for seed in 1..6 {
        let place = Place::new(seed);
        let written = place.write("log.db");
        assert!(written.added && written.rewound.is_empty() && written.unreadable.is_empty());
        assert_eq!(written.events, place.world.log().event_count() as u64);
        assert_eq!(
            told(&place.verify_archive()),
            told(&place.verify_log("log.db")),
            "seed {seed}"
        );
    }
}

#[test]
fn shards_are_joined_into_the_same_report() {
    let place = Place::new(7);
    place.write("log.db");
    let (task, whole) = (place.task(), place.verify_archive());
    for of in [1, 2, 5] {
        let parts = (1..=of).map(|index| {
            let text = task.run(Shard { index, of }).unwrap();
            (
                format!("part {index}"),
                VerifyReport::from_json(text.as_bytes()).unwrap(),
            )
        });
        assert_eq!(told(&Task::merge(parts.collect()).unwrap()), told(&whole));
    }
    // A part that is lost is not checked, and is not missing either.
    let mut parts: Vec<_> = (2..=3)
        .map(|index| {
            let text = task.run(Shard { index, of: 3 }).unwrap();
            (
                format!("part {index}"),
                VerifyReport::from_json(text.as_bytes()).unwrap(),
            )
        })
        .collect();
    assert!(Task::merge(parts.clone()).is_err());
    let lost = task
        .lost(Shard { index: 1, of: 3 }, "the executor was lost")
        .unwrap();
    let batches = lost.units.len();
    assert!(batches > 0 && lost.units.iter().all(|unit| unit.verdict == Verdict::NotChecked));
    parts.push(("part 1".into(), lost));
    let merged = Task::merge(parts).unwrap();
    assert_eq!(merged.units.len(), whole.units.len());
    assert_eq!(merged.verdict, Verdict::NotChecked);
}

#[test]
fn batches_end_where_files_and_row_groups_do() {
    let place = Place::new(11);
    place.write("log.db");
    let files = place.events_files();
    assert!(
        files.len() > place.archive().manifest().streams.len(),
        "some streams have several files"
    );
    for unit in place
        .verify_archive()
        .units
        .iter()
        .filter(|unit| unit.kind == UnitKind::Batch)
    {
        let archive = place.archive();
        let part = archive
            .manifest()
            .streams
            .iter()
            .find(|part| part.stream() == unit.stream)
            .unwrap();
        let holds = |file: &&EventsFile| file.from <= unit.sequence_start && unit.sequence_end <= file.to;
        assert!(part.files.iter().any(|file| holds(&file)), "{unit:?}");
    }
}

/// The files below a folder, but for the manifests.
fn objects(root: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            match path.is_dir() {
                true if name == "manifest" => {}
                true => folders.push(path),
                false => found.push(name),
            }
        }
    }
    found.sort();
    found
}

/// The objects that a manifest names.
fn named(manifest: &Manifest) -> Vec<String> {
    let files = manifest.streams.iter().flat_map(|part| &part.files);
    let tables = manifest
        .commitments
        .iter()
        .chain(&manifest.anchors)
        .chain([&manifest.keys]);
    let mut paths: Vec<String> = files
        .map(|file| file.path.clone())
        .chain(tables.map(|table| table.path.clone()))
        .chain(manifest.ids.iter().map(|file| file.path.clone()))
        .collect();
    paths.sort();
    paths
}

#[test]
fn additions_are_found_and_twice_is_as_once() {
    let place = Place::new(13);
    let first = place.write("recovered.db");
    // Nothing is left in the store that nobody will read.
    let indexed: u64 = place.archive().manifest().ids.iter().map(|file| file.rows).sum();
    assert_eq!(indexed, first.events);
    assert_eq!(objects(&place.root()), named(place.archive().manifest()));
    assert_eq!(
        told(&place.verify_archive()),
        told(&place.verify_log("recovered.db"))
    );
    let again = place.write("recovered.db");
    assert!(!again.added && again.events_written == 0 && again.manifest_sha256 == first.manifest_sha256);
    let second = place.write("log.db");
    assert!(
        second.added && second.manifest == 2 && second.rewound.is_empty(),
        "{second:?}"
    );
    assert!(
        second.events_written < second.events,
        "what was archived is not written again"
    );
    // An index that is no larger than what is new of it is joined with that.
    let manifest = place.archive().manifest().clone();
    let indexed: u64 = manifest.ids.iter().map(|file| file.rows).sum();
    assert_eq!(indexed, second.events);
    assert!(manifest.ids.is_sorted_by(|older, newer| older.rows > newer.rows));
    assert_eq!(told(&place.verify_archive()), told(&place.verify_log("log.db")));
    place
        .archive()
        .read_manifest()
        .check_chain(&place.store())
        .unwrap();
}

#[test]
fn an_event_that_comes_back_into_the_middle_is_archived_too() {
    let place = Place::new(17);
    let holed = place.folder.path().join("holed.db");
    fs::copy(place.folder.path().join("log.db"), &holed).unwrap();
    let deleted = rusqlite::Connection::open(&holed).unwrap().execute_batch(
        "CREATE TEMP TABLE gone AS SELECT event_id FROM ves_events WHERE sequence_number = 2 LIMIT 1;
             DELETE FROM ves_sequencer_receipts WHERE event_id IN gone;
             DELETE FROM ves_events WHERE event_id IN gone;",
    );
    deleted.unwrap();
    let before = place.write("holed.db");
    assert_eq!(before.events, place.world.log().event_count() as u64 - 1);
    let after = place.write("log.db");
    assert!(after.added && after.rewound.is_empty(), "{after:?}");
    assert_eq!(told(&place.verify_archive()), told(&place.verify_log("log.db")));
}

#[test]
fn rows_that_cannot_be_read_are_named_and_verified_like_the_logs() {
    for which in ["min", "max"] {
        let place = Place::new(18);
        let damaged = place.folder.path().join("damaged.db");
        fs::copy(place.folder.path().join("log.db"), &damaged).unwrap();
        let connection = rusqlite::Connection::open(&damaged).unwrap();
        connection
            .execute_batch(&format!(
                "PRAGMA ignore_check_constraints = ON;
                 CREATE TEMP TABLE hit AS SELECT tenant_id AS t, store_id AS s, {which}(sequence_number) AS n
                   FROM ves_events GROUP BY 1, 2 ORDER BY 1, 2 LIMIT 1;
                 UPDATE ves_events SET payload_kind = 7
                   WHERE (tenant_id, store_id, sequence_number) IN (SELECT t, s, n FROM hit);"
            ))
            .unwrap();
        drop(connection);
        let written = place.write("damaged.db");
        assert_eq!(written.unreadable.len(), 1, "{which}: {written:?}");
        assert_eq!(
            told(&place.verify_archive()),
            told(&place.verify_log("damaged.db")),
            "{which}"
        );
        assert!(!place.write("damaged.db").added, "{which}");
        // Once it can be read, it is archived.
        let whole = place.write("log.db");
        assert!(
            whole.added && whole.rewound.is_empty() && whole.unreadable.is_empty(),
            "{which}: {whole:?}"
        );
        assert_eq!(
            told(&place.verify_archive()),
            told(&place.verify_log("log.db")),
            "{which}"
        );
    }
}

#[test]
fn a_log_that_went_back_changes_nothing_unless_it_is_said() {
    let place = Place::new(19);
    let whole = place.write("log.db");
    let back = place.write("recovered.db");
    assert!(
        !back.rewound.is_empty() && back.events == whole.events,
        "{back:?}"
    );
    assert_eq!(told(&place.verify_archive()), told(&place.verify_log("log.db")));
    let anew = WriteOptions {
        although_rewound: true,
        ..small("recovered.db")
    };
    let anew = place.write_with("recovered.db", &anew).unwrap();
    assert!(!anew.rewound.is_empty() && anew.events < whole.events, "{anew:?}");
    assert_eq!(
        told(&place.verify_archive()),
        told(&place.verify_log("recovered.db"))
    );
    // What it was is still there, by its manifest.
    let before = Archive::open_at(place.store(), whole.manifest, &whole.manifest_sha256).unwrap();
    assert_eq!(
        before
            .manifest()
            .streams
            .iter()
            .map(StreamPart::archived)
            .sum::<u64>(),
        whole.events
    );
}

#[test]
fn a_snapshot_of_an_archive_is_the_log() {
    let place = Place::new(23);
    place.write("log.db");
    let out = place.folder.path().join("copy.db");
    let report = write_snapshot(
        &place.archive(),
        Scope::default(),
        &out,
        &NoProgress,
        &Cancel::new(),
    )
    .unwrap();
    assert!(report.left_out.is_empty() && report.events == place.world.log().event_count() as u64);
    assert_eq!(
        told(&place.verify_log("copy.db")),
        told(&place.verify_log("log.db"))
    );
    assert_eq!(
        entries(&mut place.source("copy.db")),
        entries(&mut place.source("log.db"))
    );
}

/// All that a source gives.
fn entries(source: &mut dyn LogSource) -> Vec<event_log::LogEntry> {
    let outline = source.outline().unwrap();
    let wanted: Vec<_> = outline
        .streams
        .iter()
        .filter_map(|stream| Some((stream.stream, ves::Span::up_to(stream.last?)?.into())))
        .collect();
    let mut all = Vec::new();
    source
        .entries(&wanted, &mut |chunk| {
            all.extend(chunk.read().into_iter().map(|row| row.unwrap().entry));
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    all
}

#[test]
fn an_event_is_found_and_proved_in_few_requests() {
    let place = Place::new(29);
    place.write("log.db");
    let report = place.verify_archive();
    let unit = report
        .units
        .iter()
        .find(|unit| unit.verdict == Verdict::MatchesAnchors)
        .unwrap();
    let event = place
        .world
        .log()
        .events()
        .find(|logged| logged.event.stream == unit.stream && logged.number == unit.sequence_start);
    let event = event.unwrap().event.event_id;
    let mut finder = Finder::new(place.archive(), vec![unit.stream]);
    let proved = prove(
        &mut finder,
        Wanted::Event(event),
        Detail::Event,
        &place.anchors,
        &NoProgress,
        &Cancel::new(),
    );
    let Proved::Yes(proof) = proved.unwrap() else {
        panic!("it is in an anchored batch")
    };
    assert_eq!(
        (proof.stream, proof.sequence_number),
        (unit.stream, unit.sequence_start)
    );
    // The list of manifests and the newest; the end and a row group of each file of the index; the end of the event's
    // file, and the row groups of its batch.
    let (manifests, index, events) = (2, 2 * place.archive().manifest().ids.len() as u64, 1);
    let batch = (unit.sequence_end - unit.sequence_start) / 8 + 2;
    assert!(
        finder.requests() <= manifests + index + events + batch,
        "{} requests",
        finder.requests()
    );
    let absent = ves::EventId(uuid::Uuid::from_u128(77));
    let mut finder = Finder::new(place.archive(), Vec::new());
    assert!(
        prove(
            &mut finder,
            Wanted::Event(absent),
            Detail::Leaf,
            &place.anchors,
            &NoProgress,
            &Cancel::new()
        )
        .is_err()
    );
}

#[test]
fn an_event_is_found_without_the_index_where_that_is_damaged() {
    let place = Place::new(30);
    place.write("log.db");
    let logged = place.world.log().events().next().unwrap();
    let index = place.archive().manifest().ids[0].path.clone();
    flip(&place.root().join(index), 50);
    let mut finder = Finder::new(place.archive(), Vec::new());
    let found = anchor_verify::proof::ProofSource::place_of(&mut finder, logged.event.event_id).unwrap();
    assert_eq!(found, (logged.event.stream, logged.number));
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

#[test]
fn damage_of_any_kind_fails_and_what_is_sound_is_still_verified() {
    type Damage = fn(&Path, &EventsFile);
    let damages: [(&str, Damage); 4] = [
        ("a bit in a row group", |path, _| flip(path, 200)),
        ("a bit in the end", |path, file| {
            flip(path, usize::try_from(file.bytes).unwrap() - 20);
        }),
        ("cut off", |path, file| {
            let bytes = fs::read(path).unwrap();
            fs::write(path, &bytes[..usize::try_from(file.bytes).unwrap() - 100]).unwrap();
        }),
        ("gone", |path, _| fs::remove_file(path).unwrap()),
    ];
    for (name, damage) in damages {
        let place = Place::new(31);
        place.write("log.db");
        let sound = place.verify_archive();
        let file = place.events_files().into_iter().next().unwrap();
        damage(&place.root().join(&file.path), &file);
        let report = place.verify_archive();
        assert_eq!(report.verdict, Verdict::Failed, "{name}");
        let failed = report
            .units
            .iter()
            .filter(|unit| unit.verdict == Verdict::Failed)
            .count();
        assert!(
            failed >= 1 && failed < sound.units.len(),
            "{name}: {failed} of {}",
            sound.units.len()
        );
        let what = serde_json::to_string(&report).unwrap();
        assert!(what.contains(&file.path), "{name}: {what}");
    }
}

#[test]
fn objects_cannot_be_swapped_nor_tables_altered_nor_manifests_forged() {
    let key = SigningKey::from_bytes(&[7; 32]);
    let place = Place::new(37);
    let signed = WriteOptions {
        key: Some(&key),
        ..small("log.db")
    };
    place.write_with("log.db", &signed).unwrap();
    let archive = place.archive();
    archive
        .read_manifest()
        .check_signature(&place.store(), &key.verifying_key())
        .unwrap();
    let other = SigningKey::from_bytes(&[8; 32]);
    assert!(
        archive
            .read_manifest()
            .check_signature(&place.store(), &other.verifying_key())
            .is_err()
    );

    let files = place.events_files();
    let (a, b) = (
        place.root().join(&files[0].path),
        place.root().join(&files[1].path),
    );
    let (of_a, of_b) = (fs::read(&a).unwrap(), fs::read(&b).unwrap());
    fs::write(&a, &of_b).unwrap();
    fs::write(&b, &of_a).unwrap();
    assert_eq!(place.verify_archive().verdict, Verdict::Failed);
    fs::write(&a, &of_a).unwrap();
    fs::write(&b, &of_b).unwrap();

    let table = place.root().join(&archive.manifest().commitments[0].path);
    flip(&table, 100);
    let failed = place
        .task()
        .verify(None, &NoProgress, &Cancel::new())
        .unwrap_err();
    assert!(failed.to_string().contains("hashes to"), "{failed}");
    flip(&table, 100);

    // A manifest that leaves out a file, and fits in itself.
    let manifest = place.root().join("manifest/0000000001.json");
    let mut forged: Manifest = serde_json::from_slice(&fs::read(&manifest).unwrap()).unwrap();
    forged.log = "another log".into();
    fs::write(&manifest, serde_json::to_vec(&forged).unwrap()).unwrap();
    let task = Task {
        manifest_sha256: archive.read_manifest().sha256,
        ..place.task()
    };
    assert!(task.verify(None, &NoProgress, &Cancel::new()).is_err());
    assert!(
        place
            .archive()
            .read_manifest()
            .check_signature(&place.store(), &key.verifying_key())
            .is_err()
    );
}

#[test]
fn manifests_that_cannot_be_are_refused() {
    let place = Place::new(41);
    place.write("log.db");
    let path = place.root().join("manifest/0000000001.json");
    let sound: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    type Forgery = fn(&mut Value);
    let forgeries: [(&str, Forgery); 8] = [
        ("another schema", |m| m["schema"] = "event-archive/9".into()),
        ("a member that nobody knows", |m| m["more"] = 1.into()),
        ("another number", |m| m["number"] = 2.into()),
        ("a path outside", |m| {
            m["streams"][0]["files"][0]["path"] = "../../etc/passwd".into();
        }),
        ("a hole between files", |m| {
            m["streams"][0]["files"][0]["from"] = 2.into();
        }),
        ("an end beyond the file", |m| {
            m["streams"][0]["files"][0]["tail_bytes"] = u64::MAX.into();
        }),
        ("streams twice", |m| {
            let stream = m["streams"][0].clone();
            m["streams"].as_array_mut().unwrap().insert(0, stream);
        }),
        ("a head that is not there", |m| {
            m["streams"][0]["head"]["sequence_number"] = 100_000.into();
        }),
    ];
    for (name, forge) in forgeries {
        let mut forged = sound.clone();
        forge(&mut forged);
        fs::write(&path, serde_json::to_vec(&forged).unwrap()).unwrap();
        let refused = Archive::open(place.store());
        assert!(matches!(refused, Err(ArchiveError::Damaged { .. })), "{name}");
    }
}

#[test]
fn of_two_writers_one_is_told() {
    let place = Place::new(43);
    place.write("recovered.db");
    // Another one has written the next manifest by the time that this one is done.
    let next = place.root().join("manifest/0000000002.json");
    struct Meanwhile<'a>(DbSource, &'a Path);
    impl LogSource for Meanwhile<'_> {
        fn outline(&mut self) -> Result<event_log::Outline, anchor_verify::verify::VerifyError> {
            fs::write(self.1, "{}").unwrap();
            self.0.outline()
        }
        fn entries(
            &mut self,
            wanted: &[anchor_verify::verify::source::Wanted],
            each: &mut dyn FnMut(anchor_verify::verify::source::Chunk) -> std::ops::ControlFlow<()>,
        ) -> Result<(), anchor_verify::verify::VerifyError> {
            self.0.entries(wanted, each)
        }
    }
    let mut source = Meanwhile(place.source("log.db"), &next);
    let told = write(
        &place.store(),
        &mut source,
        &small("log.db"),
        &NoProgress,
        &Cancel::new(),
    );
    assert!(matches!(told, Err(ArchiveError::Contended(2))), "{told:?}");
    assert_eq!(fs::read(&next).unwrap(), b"{}");
}

/// A real log, its anchors, and the block that they are tied to.
fn real(name: &str, log: &str) -> Place {
    let data = test_support::shared_data().join("data").join(name);
    let folder = tempfile::tempdir().unwrap();
    let dump = std::io::BufReader::new(fs::File::open(data.join(log)).unwrap());
    event_log::read_dump(dump, &folder.path().join("log.db"), &Cancel::new()).unwrap();
    let chain_id = 84_532_001;
    let mut importer = anchor_verify::Importer::new(Some(chain_id), Vec::new());
    for file in fs::read_dir(data.join("anchors")).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "json")
            && !path.ends_with("trusted_head.json")
            && !path.ends_with("contracts.json")
        {
            importer.add_file(&path).unwrap();
        }
    }
    let anchors = importer.finish(&[]).file;
    let head: Value =
        serde_json::from_slice(&fs::read(data.join("anchors/trusted_head.json")).unwrap()).unwrap();
    let trusted = head["hash"].as_str().unwrap().parse().unwrap();
    let standings = anchor_verify::chain::examine(&anchors, Some(trusted));
    Place {
        world: World::generate(&WorldSpec::honest(1)),
        folder,
        anchors,
        standings,
        sequencer: None,
    }
}

#[test]
fn the_real_logs_are_proven_out_of_archives() {
    for (name, log, proven) in [
        ("golden", "log.copy.sql", 39),
        ("scenario-1", "truth.copy.sql", 17),
    ] {
        let place = real(name, log);
        let written = place.write("log.db");
        assert!(
            written.unreadable.is_empty() && written.rewound.is_empty(),
            "{name}"
        );
        let report = place.verify_archive();
        assert_eq!(report.totals.batches.proven, proven, "{name}");
        assert_eq!(told(&report), told(&place.verify_log("log.db")), "{name}");
    }
}

#[test]
fn every_altered_byte_of_a_real_archive_is_found() {
    let place = real("golden", "log.copy.sql");
    place.write("log.db");
    let sound = told(&place.verify_archive());
    // A byte of each part of each file in turn: magic, row groups, filters, footer.
    for (n, file) in place.events_files().into_iter().enumerate() {
        let path = place.root().join(&file.path);
        let length = usize::try_from(file.bytes).unwrap();
        let at = [0, length / 3, 2 * length / 3, length - 1][n % 4];
        flip(&path, at);
        let report = place.verify_archive();
        assert_eq!(report.verdict, Verdict::Failed, "byte {at} of {}", file.path);
        flip(&path, at);
    }
    assert_eq!(told(&place.verify_archive()), sound);
}
