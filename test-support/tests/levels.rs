//! The databases of each level are what the facts of the real ones say, and so is the schema for tests.

use std::collections::BTreeMap;
use std::fs;

use serde_json::Value;
use test_support::level::{NEWEST_LEVEL, catalogue, catalogue_of, load_level, load_level_into, migrate};
use test_support::{ScratchPostgres, load_schema, postgres_available, query, shared_data};

/// The facts of the repository are those of the real data.
#[test]
fn the_facts_are_those_of_the_real_data() {
    let shared = shared_data();
    for level in 1..=NEWEST_LEVEL {
        let path = shared.join(format!("data/real-schema/level-{level:03}.json"));
        let real: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
        let real = real["tables"].as_object().unwrap().clone();
        assert_eq!(
            catalogue(level),
            real.into_iter().collect::<BTreeMap<_, _>>(),
            "level {level}"
        );
    }
}

/// A definition without what PostgreSQL writes in another way once it has read what it wrote: casts and brackets.
fn plain(part: &Value) -> String {
    let text = part.to_string();
    let casts = ["::character varying", "::text[]", "::text"];
    let text = casts.iter().fold(text, |text, cast| text.replace(cast, ""));
    text.replace(['(', ')'], "")
}

#[track_caller]
fn assert_same(found: &BTreeMap<String, Value>, facts: &BTreeMap<String, Value>, what: &str) {
    let names = |tables: &BTreeMap<String, Value>| tables.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(found), names(facts), "{what}");
    for (name, table) in facts {
        for part in ["kind", "columns", "constraints", "indexes", "triggers"] {
            assert_eq!(
                plain(&found[name][part]),
                plain(&table[part]),
                "{what}: {part} of {name}"
            );
        }
    }
}

#[test]
fn a_database_made_of_a_level_or_migrated_to_it_is_as_the_facts_say() {
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let migrated = server.create_database("migrated");
    load_level(&migrated, 1);
    for level in 1..=NEWEST_LEVEL {
        if level > 1 {
            migrate(&migrated, level - 1, level);
        }
        let facts = catalogue(level);

        assert_same(
            &catalogue_of(&migrated, "public"),
            &facts,
            &format!("migrated to {level}"),
        );
        let made = server.create_database(&format!("level_{level}"));
        load_level(&made, level);
        assert_same(&catalogue_of(&made, "public"), &facts, &format!("level {level}"));
        assert_eq!(
            query(&made, "SELECT max(version) FROM _sqlx_migrations"),
            level.to_string()
        );
    }
    assert_eq!(
        query(&migrated, "SELECT count(*) FROM _sqlx_migrations"),
        NEWEST_LEVEL.to_string()
    );
}

#[test]
fn a_level_can_be_made_in_a_schema_of_another_name() {
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let url = server.create_database("schemas");
    load_level_into(&url, 16, "tenant_a");
    load_level_into(&url, 9, "tenant_b");
    let tables = |schema: &str| {
        query(
            &url,
            &format!("SELECT count(*) FROM pg_tables WHERE schemaname = '{schema}'"),
        )
    };
    assert_eq!(tables("public"), "0");
    assert!(tables("tenant_a").parse::<u32>().unwrap() > tables("tenant_b").parse().unwrap());
}

/// `sql/schema/postgres.sql` has not all tables, but what it has is as in a real database.
#[test]
fn the_schema_for_tests_is_as_the_facts_of_the_newest_level() {
    if !postgres_available() {
        return;
    }
    let server = ScratchPostgres::start();
    let url = server.create_database("schema");
    load_schema(&url);
    let mut found = catalogue_of(&url, "public");
    let facts = catalogue(NEWEST_LEVEL);
    // Payment intents are there only as far as they make a stream.
    let intents = found.remove("x402_payment_intents").unwrap();
    for column in intents["columns"].as_array().unwrap() {
        assert!(
            facts["x402_payment_intents"]["columns"]
                .as_array()
                .unwrap()
                .contains(column),
            "{column}"
        );
    }
    let facts = facts
        .into_iter()
        .filter(|(name, _)| found.contains_key(name))
        .collect();
    assert!(found.len() > 14, "{:?}", found.keys());
    assert_same(&found, &facts, "sql/schema/postgres.sql");
}
