//! Databases as a real sequencer's migrations left them, at any level: the number of migrations that were run.
//!
//! The facts are in `fixtures/data/real-schema/levels.json`: each table's catalogue, from each level on that changed
//! it. What is made from them has the same tables, columns, defaults, constraints, indexes and triggers; the bodies of
//! the triggers and of the views are not part of the facts, and are made to do the same or to hold nothing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::psql::{query, run_script};
use crate::workspace_root;

/// The newest level that the facts are of.
pub const NEWEST_LEVEL: u32 = 16;

/// The schema that data is loaded into before it goes to tables of an older level.
const LOADING: &str = "test_support_loading";

/// The tables that others refer to: they are filled first.
const REFERRED_TO: [&str; 2] = ["ves_events", "ves_commitments"];

/// What the migrations that move data do beside changing tables, by level.
const BACKFILL: [(u32, &str); 2] = [
    (
        8,
        "INSERT INTO event_command_dedupe (tenant_id, store_id, command_id)
         SELECT DISTINCT tenant_id, store_id, command_id FROM events WHERE command_id IS NOT NULL;
         INSERT INTO ves_command_dedupe (tenant_id, store_id, command_id)
         SELECT DISTINCT tenant_id, store_id, command_id FROM ves_events WHERE command_id IS NOT NULL;",
    ),
    // Not from the counter that numbered these events until then: what only that one knew is left behind.
    (
        10,
        "INSERT INTO ves_sequence_counters (tenant_id, store_id, current_sequence)
         SELECT tenant_id, store_id, MAX(sequence_number) FROM ves_events GROUP BY tenant_id, store_id;",
    ),
];

/// The triggers that the facts name, and the table of what their rows must be of.
const TRIGGERS: [(&str, &str, &str); 2] = [
    (
        "tg_ves_validity_proofs_stream_match",
        "ves_commitments",
        "batch_id",
    ),
    ("tg_ves_compliance_proofs_stream_match", "ves_events", "event_id"),
];

/// The tables and views after the first `level` migrations, by name: what `data/real-schema/level-NNN.json` of the real
/// data calls `tables`.
///
/// # Panics
/// If there is no such level.
#[must_use]
pub fn catalogue(level: u32) -> BTreeMap<String, Value> {
    assert!((1..=NEWEST_LEVEL).contains(&level), "there is no level {level}");
    let path = workspace_root().join("fixtures/data/real-schema/levels.json");
    let text = fs::read_to_string(&path).expect("the facts are in the repository");
    let facts: Value = serde_json::from_str(&text).expect("the facts are JSON");
    let tables = facts["tables"].as_object().expect("tables by name");
    let as_of = |versions: &Value| {
        let mut versions = versions.as_array().expect("versions").iter();
        versions
            .rfind(|version| version["since"].as_u64().expect("a level") <= u64::from(level))
            .map(|version| version["table"].clone())
    };
    let found = tables
        .iter()
        .filter_map(|(name, versions)| Some((name.clone(), as_of(versions)?)));
    found.collect()
}

/// Makes the tables of a level in the schema `public` of a database that has none of them, with the table of migrations
/// that were run.
///
/// # Panics
/// If the database refuses.
pub fn load_level(url: &str, level: u32) {
    load_level_into(url, level, "public");
}

/// As [`load_level`], in the schema of this name, which is made if it is not there.
///
/// # Panics
/// If the database refuses.
pub fn load_level_into(url: &str, level: u32, schema: &str) {
    let script = format!(
        "CREATE SCHEMA IF NOT EXISTS \"{schema}\";\nSET search_path = \"{schema}\";\n{}{}",
        create(&catalogue(level)),
        record(1..=level, true)
    );
    run(url, &script);
}

/// Loads a file of `COPY table (columns) FROM stdin;` blocks, as a database of the newest level has them, into the tables
/// of a level in the schema `public`. What that level has no column or table for is left out; below level 10 the
/// counters of VES streams go to `sequence_counters`, which counted them then.
///
/// # Panics
/// If the file cannot be read or a row is refused.
pub fn load_copy_file_at(url: &str, level: u32, path: &Path) {
    load_copy_file_into(url, level, "public", path);
}

/// As [`load_copy_file_at`], into the tables in the schema of this name.
///
/// # Panics
/// If the file cannot be read or a row is refused.
pub fn load_copy_file_into(url: &str, level: u32, schema: &str, path: &Path) {
    let newest = catalogue(NEWEST_LEVEL);
    let tables = catalogue(level);
    let mut script = format!(
        "BEGIN;\nCREATE SCHEMA {LOADING};\nSET LOCAL search_path = {LOADING};\n{}\\i {}\n",
        create(&newest),
        path.display()
    );
    let first = REFERRED_TO.iter().map(|name| (*name).to_owned());
    let rest = tables
        .keys()
        .filter(|name| !REFERRED_TO.contains(&name.as_str()))
        .cloned();
    for name in first.chain(rest) {
        let Some(table) = tables.get(&name).filter(|table| table["kind"] == "r") else {
            continue;
        };
        let columns = columns(table).map(|column| format!("\"{}\"", text(&column["name"])));
        let columns = columns.collect::<Vec<_>>().join(", ");
        let _ = writeln!(
            script,
            "INSERT INTO \"{schema}\".{name} ({columns}) SELECT {columns} FROM {LOADING}.{name};"
        );
    }
    if !tables.contains_key("ves_sequence_counters") {
        let _ = writeln!(
            script,
            "INSERT INTO \"{schema}\".sequence_counters AS c SELECT * FROM {LOADING}.ves_sequence_counters
             ON CONFLICT (tenant_id, store_id) DO UPDATE
             SET current_sequence = GREATEST(c.current_sequence, excluded.current_sequence);"
        );
    }
    let _ = writeln!(
        script,
        "SET LOCAL client_min_messages = warning;\nDROP SCHEMA {LOADING} CASCADE;\nCOMMIT;"
    );
    run(url, &script);
}

/// Runs the migrations after `from` up to `to` on the tables in `public`, with what they do to the data.
///
/// # Panics
/// If the database refuses.
pub fn migrate(url: &str, from: u32, to: u32) {
    let mut script = "BEGIN;\nSET LOCAL search_path = public;\n".to_owned();
    for level in from + 1..=to {
        let (before, after) = (catalogue(level - 1), catalogue(level));
        let new = |(name, _): &(&String, &Value)| !before.contains_key(*name);
        let created = after
            .iter()
            .filter(new)
            .map(|(name, table)| (name.clone(), table.clone()));
        script.push_str(&create(&created.collect()));
        for (name, table) in &after {
            if let Some(older) = before.get(name) {
                alter(&mut script, name, older, table);
            }
        }
        if let Some((_, backfill)) = BACKFILL.iter().find(|(of, _)| *of == level) {
            script.push_str(backfill);
        }
    }
    script.push_str(&record(from + 1..=to, false));
    script.push_str("COMMIT;\n");
    run(url, &script);
}

/// What the schema of this name holds, in the form of [`catalogue`].
///
/// # Panics
/// If the database cannot be asked.
#[must_use]
pub fn catalogue_of(url: &str, schema: &str) -> BTreeMap<String, Value> {
    let sql = fs::read_to_string(workspace_root().join("test-support/sql/catalogue.sql"));
    let sql = sql
        .expect("the statement is beside this crate")
        .replace(":schema", schema);
    let found: Value = serde_json::from_str(&query(url, &sql)).expect("PostgreSQL writes JSON");
    let tables = found.as_object().expect("tables by name").clone();
    tables.into_iter().collect()
}

fn run(url: &str, script: &str) {
    let file = tempfile::NamedTempFile::new().expect("a temporary file can be made");
    fs::write(file.path(), script).expect("own file");
    let _ = run_script(url, file.path(), &[]);
}

/// The table that the sequencer's migrator keeps, with these migrations in it.
fn record(levels: impl Iterator<Item = u32>, new: bool) -> String {
    let mut sql = String::new();
    if new {
        sql.push_str(
            "CREATE TABLE _sqlx_migrations (version bigint PRIMARY KEY, description text NOT NULL,
                 installed_on timestamptz NOT NULL DEFAULT now(), success boolean NOT NULL, checksum bytea NOT NULL,
                 execution_time bigint NOT NULL);\n",
        );
    }
    for level in levels {
        let _ = writeln!(
            sql,
            "INSERT INTO _sqlx_migrations VALUES ({level}, 'migration {level}', now(), true, '\\x00', 1);"
        );
    }
    sql
}

/// What makes these tables and views, in the first schema of the search path.
fn create(tables: &BTreeMap<String, Value>) -> String {
    let mut sql = String::new();
    let mut references = String::new();
    for (name, table) in tables {
        if table["kind"] == "v" {
            let columns =
                columns(table).map(|c| format!("NULL::{} AS \"{}\"", text(&c["type"]), text(&c["name"])));
            let columns = columns.collect::<Vec<_>>().join(", ");
            let _ = writeln!(sql, "CREATE VIEW {name} AS SELECT {columns} WHERE false;");
            continue;
        }
        for sequence in columns(table).filter_map(|column| sequence_of(&column["default"])) {
            let _ = writeln!(sql, "CREATE SEQUENCE {sequence};");
        }
        let columns: Vec<String> = columns(table).map(column).collect();
        let _ = writeln!(sql, "CREATE TABLE {name} (\n    {}\n);", columns.join(",\n    "));
        for constraint in list(&table["constraints"]) {
            let foreign = text(&constraint["definition"]).starts_with("FOREIGN KEY");
            add_constraint(if foreign { &mut references } else { &mut sql }, name, constraint);
        }
        for index in list(&table["indexes"]) {
            add_index(&mut sql, index);
        }
        for trigger in list(&table["triggers"]) {
            add_trigger(&mut references, name, text(trigger));
        }
    }
    sql + &references
}

/// What makes of a table as it was one as it is now. Nothing was ever taken away from one.
fn alter(sql: &mut String, name: &str, older: &Value, newer: &Value) {
    for new in columns(newer) {
        match columns(older).find(|old| old["name"] == new["name"]) {
            None => {
                let _ = writeln!(sql, "ALTER TABLE {name} ADD COLUMN {};", column(new));
            }
            Some(old) if old["type"] != new["type"] => {
                let (column, to) = (text(&new["name"]), text(&new["type"]));
                let _ = writeln!(sql, "ALTER TABLE {name} ALTER COLUMN \"{column}\" TYPE {to};");
            }
            Some(_) => {}
        }
    }
    let new_in = |what: &str| {
        let had = list(&older[what]);
        list(&newer[what])
            .iter()
            .filter(|new| !had.contains(new))
            .collect::<Vec<_>>()
    };
    for constraint in new_in("constraints") {
        add_constraint(sql, name, constraint);
    }
    for index in new_in("indexes") {
        add_index(sql, index);
    }
}

fn column(column: &Value) -> String {
    let mut sql = format!("\"{}\" {}", text(&column["name"]), text(&column["type"]));
    if let Some(default) = column["default"].as_str() {
        sql.push_str(&format!(" DEFAULT {default}"));
    }
    if column["not_null"] == true {
        sql.push_str(" NOT NULL");
    }
    sql
}

fn add_constraint(sql: &mut String, table: &str, constraint: &Value) {
    let (name, definition) = (text(&constraint["name"]), text(&constraint["definition"]));
    let _ = writeln!(sql, "ALTER TABLE {table} ADD CONSTRAINT {name} {definition};");
}

fn add_index(sql: &mut String, index: &Value) {
    // The facts were read where the tables were in `public`.
    let _ = writeln!(
        sql,
        "{};",
        text(&index["definition"]).replace(" ON public.", " ON ")
    );
}

fn add_trigger(sql: &mut String, table: &str, name: &str) {
    let known = TRIGGERS.iter().find(|(trigger, ..)| *trigger == name);
    let (_, of, id) = known.expect("the facts name no other trigger");
    let _ = writeln!(
        sql,
        "CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
             IF NOT EXISTS (SELECT FROM {of} o WHERE (o.{id}, o.tenant_id, o.store_id) = (NEW.{id}, NEW.tenant_id, NEW.store_id))
             THEN RAISE EXCEPTION '% is not of this stream, or not there', NEW.{id}; END IF;
             RETURN NEW; END $$;
         CREATE TRIGGER {name} BEFORE INSERT OR UPDATE ON {table} FOR EACH ROW EXECUTE FUNCTION {name}();"
    );
}

/// The sequence that a default takes its values from.
fn sequence_of(default: &Value) -> Option<&str> {
    default
        .as_str()?
        .strip_prefix("nextval('")?
        .strip_suffix("'::regclass)")
}

fn columns(table: &Value) -> impl Iterator<Item = &Value> {
    list(&table["columns"]).iter()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> &str {
    value.as_str().expect("the facts have text here")
}
