//! Text that would take over a terminal if it got there raw, put into every text of an input.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;

/// Moves the cursor, sets colours (in both encodings of the escape sequence), turns the direction of text around,
/// forges a line and a field.
pub const HOSTILE: &str = "\u{1b}[2J\u{9b}31m\u{202e}\u{7f}\r\nforged: 0\t\u{2028}";

/// Appends [`HOSTILE`] to texts of every table, so that each text column has it in some row and most rows of a table
/// keep most of their columns. Checks and triggers of the file are passed over.
///
/// # Panics
/// If the file is no SQLite database that can be written.
pub fn poison_sqlite(path: &Path) {
    let file = Connection::open(path).expect("an SQLite file");
    file.execute_batch("PRAGMA ignore_check_constraints = ON; PRAGMA foreign_keys = OFF;")
        .expect("settings of the connection");
    for (table, columns) in text_columns(&file) {
        for (at, column) in columns.iter().enumerate() {
            // Also where a key would be there twice: then this column keeps its text.
            let poison = format!(
                "UPDATE OR IGNORE \"{table}\" SET \"{column}\" = \"{column}\" || ?1 \
                 WHERE \"{column}\" IS NOT NULL AND rowid % {} = {at}",
                columns.len()
            );
            file.execute(&poison, [HOSTILE]).expect("a table with rowids");
        }
    }
}

fn text_columns(file: &Connection) -> Vec<(String, Vec<String>)> {
    let mut columns = file
        .prepare(
            "SELECT t.name, c.name FROM pragma_table_list AS t, pragma_table_info(t.name) AS c \
             WHERE t.schema = 'main' AND t.type = 'table' AND NOT t.wr AND t.name NOT LIKE 'sqlite_%' \
             AND t.name <> 'snapshot_meta' AND c.type = 'TEXT' ORDER BY t.name, c.cid",
        )
        .expect("the catalogue");
    let rows = columns.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    let mut tables: Vec<(String, Vec<String>)> = Vec::new();
    for row in rows.expect("the catalogue") {
        let (table, column): (String, String) = row.expect("names");
        match tables.last_mut() {
            Some((last, columns)) if *last == table => columns.push(column),
            _ => tables.push((table, vec![column])),
        }
    }
    tables
}

/// Appends [`HOSTILE`] to those texts of a JSON document whose place among its texts leaves `remainder` when divided
/// by `divisor`. Names of fields stay.
pub fn poison_json(document: &mut Value, divisor: usize, remainder: usize) {
    let mut place = 0;
    poison_texts(document, &mut |text| {
        if place % divisor == remainder {
            text.push_str(HOSTILE);
        }
        place += 1;
    });
}

fn poison_texts(value: &mut Value, poison: &mut dyn FnMut(&mut String)) {
    match value {
        Value::String(text) => poison(text),
        Value::Array(items) => items.iter_mut().for_each(|item| poison_texts(item, poison)),
        Value::Object(fields) => fields.values_mut().for_each(|field| poison_texts(field, poison)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// Fails unless `text` can go to a terminal: no control characters but line breaks, nothing that turns text around, and
/// no line that [`HOSTILE`] forged.
///
/// # Panics
/// If there is any.
#[track_caller]
pub fn assert_harmless(text: &str) {
    for line in text.split('\n') {
        let harmful =
            |c: char| c.is_control() || matches!(c, '\u{200e}'..='\u{200f}' | '\u{2028}'..='\u{202e}');
        assert!(!line.contains(harmful), "{line:?}");
        assert!(!line.trim_start().starts_with("forged:"), "{line:?} in {text}");
    }
}
