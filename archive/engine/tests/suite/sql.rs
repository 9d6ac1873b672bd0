//! Tables of an archive: what is in the log is in them, what a query cannot need is not read, and nothing else is.

use archive_engine::{Engine, EngineError, Options, cell};
use fixtures::{Cut, WorldSpec};

use crate::place::Place;

fn spec() -> WorldSpec {
    WorldSpec {
        cut: Cut::Fraction(0.4),
        ..WorldSpec::honest(11)
    }
}

fn engine(place: &Place) -> Engine {
    Engine::open(&place.address(), &Options::default()).unwrap()
}

fn ask(engine: &Engine, sql: &str) -> Vec<Vec<String>> {
    let rows = engine.query(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    let batches: Vec<_> = rows
        .map(|rows| rows.unwrap_or_else(|error| panic!("{sql}: {error}")))
        .collect();
    batches
        .iter()
        .flat_map(|rows| (0..rows.num_rows()).map(|row| cell::cells(rows, row)))
        .collect()
}

fn one(engine: &Engine, sql: &str) -> String {
    let rows = ask(engine, sql);
    assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
    rows[0].join("|")
}

#[test]
fn tables_hold_what_the_log_holds() {
    let place = Place::new(&spec());
    let (engine, log) = (engine(&place), place.world.log());
    let count = |table: &str| one(&engine, &format!("select count(*) from {table}"));
    assert_eq!(count("events"), log.event_count().to_string());
    assert_eq!(
        one(&engine, "select count(distinct event_id) from events"),
        log.event_count().to_string()
    );
    assert_eq!(count("keys"), log.keys.len().to_string());
    assert_eq!(
        count("anchors"),
        place.world.anchors_file().anchors.len().to_string()
    );
    // The second manifest adds an object with commitments: each batch is there once, as it was written last.
    assert!(engine.manifest().commitments.len() > 1);
    assert_eq!(count("commitments"), log.commitments().count().to_string());
    assert_eq!(
        one(&engine, "select count(distinct batch_id) from commitments"),
        log.commitments().count().to_string()
    );
    let files: usize = engine
        .manifest()
        .streams
        .iter()
        .map(|stream| stream.files.len())
        .sum();
    assert!(files > log.streams.len());
    assert_eq!(
        one(&engine, "select count(*), sum(rows) from files"),
        format!("{files}|{}", log.event_count())
    );
    let logged = log.events().nth(57).unwrap();
    let sql = format!(
        "select sequence_number, entity_type, agent_signature, tenant_id from events where event_id = '{}'",
        logged.event.event_id
    );
    let expected = format!(
        "{}|{}|{}|{}",
        logged.number,
        logged.event.entity_type,
        hex::encode(logged.event.agent_signature.0),
        logged.event.stream.tenant_id
    );
    assert_eq!(one(&engine, &sql), expected);
}

#[test]
fn batches_are_verified_by_a_query() {
    let place = Place::new(&spec());
    let engine = engine(&place);
    let sql = "select count(*), count(*) filter (where root = merkle_root) from (select c.batch_id, c.merkle_root, \
               ves_merkle_root(ves_leaf(e.tenant_id, e.store_id, e.sequence_number, e.event_signing_hash, \
               e.agent_signature) order by e.sequence_number) as root from commitments c join events e on e.tenant_id = \
               c.tenant_id and e.store_id = c.store_id and e.sequence_number between c.sequence_start and \
               c.sequence_end group by c.batch_id, c.merkle_root)";
    let batches = place.world.log().commitments().count();
    assert_eq!(one(&engine, sql), format!("{batches}|{batches}"));
    let missing = "select count(*) from (select ves_gaps(sequence_number) as gaps from events group by tenant_id, store_id) \
                   where array_length(gaps) > 0";
    assert_eq!(one(&engine, missing), "0");
    let tampered = "select count(*) from events e join keys k on k.tenant_id = e.tenant_id and k.agent_id = \
                    e.source_agent_id and k.key_id = e.agent_key_id where e.agent_signature_scheme in (0, 1) and not \
                    ves_verify(k.public_key, e.event_signing_hash, e.agent_signature)";
    assert_eq!(one(&engine, tampered), "0");
}

/// The plan of a query, as text.
fn plan(engine: &Engine, sql: &str) -> String {
    ask(engine, &format!("explain {sql}"))
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn objects_are_passed_over_that_cannot_hold_what_is_asked_for() {
    let place = Place::new(&spec());
    let engine = engine(&place);
    let stream = &engine.manifest().streams[0];
    let files = |sql: &str| plan(&engine, sql).matches(".parquet").count();
    // A plan names the first few only.
    let all = files("select count(distinct event_id) from events");
    assert!(all > stream.files.len());
    let of_stream = format!(
        "tenant_id = '{}' and store_id = '{}'",
        stream.tenant_id, stream.store_id
    );
    assert_eq!(
        files(&format!("select event_id from events where {of_stream}")),
        stream.files.len()
    );
    let last = stream.files.last().unwrap();
    let of_file = format!("{of_stream} and sequence_number >= {}", last.from);
    assert_eq!(files(&format!("select event_id from events where {of_file}")), 1);
    let list = format!(
        "select event_id from events where tenant_id in (x'{}')",
        hex::encode(stream.tenant_id.as_bytes())
    );
    assert!(files(&list) < all);
    let rows = ask(
        &engine,
        &format!("select sequence_number from events where {of_file} order by 1"),
    );
    assert_eq!(rows.len() as u64, last.rows);
    assert_eq!(
        one(
            &engine,
            "select count(*) from events where sequence_number > 1000000"
        ),
        "0"
    );
}

#[test]
fn a_reader_can_neither_write_nor_read_anything_else() {
    let place = Place::new(&spec());
    let engine = engine(&place);
    let target = place.folder.path().join("stolen");
    let target = target.display();
    for sql in [
        format!("copy events to '{target}' stored as csv"),
        "create external table x stored as csv location '/etc/passwd'".to_owned(),
        "insert into files select * from files".to_owned(),
        "create table t as select 1".to_owned(),
        "create view v as select 1".to_owned(),
        "drop table events".to_owned(),
        "set datafusion.execution.target_partitions = 1".to_owned(),
        "prepare p as select 1".to_owned(),
        "select 1; drop table events".to_owned(),
        "delete from files".to_owned(),
        "select * from '/etc/passwd'".to_owned(),
        "select * from read_csv('/etc/passwd')".to_owned(),
        format!("explain copy events to '{target}' stored as csv"),
        format!("explain analyze copy events to '{target}' stored as csv"),
        "nonsense".to_owned(),
        String::new(),
    ] {
        match engine.query(&sql).map(Iterator::collect::<Result<Vec<_>, _>>) {
            Err(EngineError::Refused(_)) => {}
            Err(error) => panic!("{sql}: {error:?}"),
            Ok(rows) => panic!("{sql}: {rows:?}"),
        }
    }
    assert!(!place.folder.path().join("stolen").exists());
    assert_eq!(
        ask(&engine, "show tables")
            .iter()
            .filter(|row| row[1] == "public")
            .count(),
        5
    );
    assert!(!ask(&engine, "describe events").is_empty());
}

#[test]
fn memory_is_bounded_and_objects_that_are_not_there_are_told() {
    let place = Place::new(&spec());
    let options = Options {
        memory: 64 << 10,
        ..Options::default()
    };
    let engine = Engine::open(&place.address(), &options).unwrap();
    let sql = "select ves_merkle_root(event_signing_hash order by n) from (select event_signing_hash, row_number() over () \
               as n from events e cross join (values (1), (2), (3), (4), (5), (6), (7), (8)) as v(x))";
    let failed = engine.query(&sql.replace("order by n", "order by cast(n as bigint)"));
    let failed = failed
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .unwrap_err()
        .to_string();
    assert!(
        failed.contains("memory") || failed.contains("Resources"),
        "{failed}"
    );
    let file = &engine.manifest().streams[0].files[0];
    std::fs::remove_file(place.root().join(&file.path)).unwrap();
    let failed = engine.query("select count(distinct event_id) from events");
    let failed = failed
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .unwrap_err();
    assert!(matches!(failed, EngineError::Query(_)), "{failed:?}");
    let nothing = Engine::open(
        place.folder.path().join("no").to_str().unwrap(),
        &Options::default(),
    );
    assert!(matches!(
        nothing,
        Err(EngineError::Archive(archive_format::ArchiveError::NoArchive(_)))
    ));
}
