//! Finding a log in PostgreSQL's catalogue: its schema, its level, and which of its tables differ from the newest level's.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use crate::conn::Conn;
use crate::error::LogError;
use crate::layout::Layout;
use crate::level::{Level, LevelSource, MARKERS, Marker, NONCES, OLDEST};
use crate::schema::{Need, TABLES, Table, VES_EVENTS};
use crate::sql::{postgres, quoted};
use crate::value::{Columns, ReadAs, Value};

/// The table in which the sequencer's migrator keeps what it ran.
const MIGRATIONS: &str = "_sqlx_migrations";

/// Migrations of others are numbered by their dates.
const HIGHEST_LEVEL: i64 = 9_999;

const DOING: &str = "looking at the schema";

/// What the catalogue says of the relations of a schema.
#[derive(Default)]
struct Catalogue {
    /// For each relation its columns, with their types and the longest text that they hold.
    columns: BTreeMap<String, BTreeMap<String, (String, Option<i64>)>>,
    /// Every relation that was asked for: indexes have no columns of interest.
    relations: BTreeSet<String>,
    /// Those of them that this role may not read.
    forbidden: BTreeSet<String>,
    role: String,
    may_use: bool,
}

/// Finds the log in a database: its schema, its level, and how its tables are. To be called in a transaction.
///
/// # Errors
/// [`LogError::Schema`] if there is no log, or what is there cannot be read as one; [`LogError::Ambiguous`] if there are
/// several and none is named.
pub(crate) async fn find_log(
    conn: &mut Conn,
    target: &str,
    schema: Option<&str>,
) -> Result<Layout, LogError> {
    let refused = |problems| LogError::Schema {
        target: target.to_owned(),
        problems,
    };
    let schema = match schema {
        Some(schema) => schema.to_owned(),
        None => only_schema(conn, target).await?,
    };
    let catalogue = Catalogue::read(conn, &schema).await?;
    catalogue
        .check_access(&schema)
        .map_err(|problem| refused(vec![problem]))?;
    conn.query_one(DOING, postgres!("set_schema"), &[schema.as_str().into()], |_| ())
        .await?;
    let level = match catalogue.migrations(conn).await? {
        Some(level) => level,
        None => catalogue.level_by_tables(),
    };
    let mut layout = Layout {
        schema,
        level: Some(level),
        ..Layout::default()
    };
    let mut problems = Vec::new();
    for table in TABLES {
        catalogue.lay(table, &mut layout, level, &mut problems);
    }
    if problems.is_empty() {
        Ok(layout)
    } else {
        problems.push(format!("it is in schema {}, of {level}", quoted(&layout.schema)));
        Err(refused(problems))
    }
}

/// The one schema of the search path that holds a log.
async fn only_schema(conn: &mut Conn, target: &str) -> Result<String, LogError> {
    let (mut on_path, mut elsewhere) = (Vec::new(), Vec::new());
    let table: Value = VES_EVENTS.name.into();
    conn.query(DOING, postgres!("schemas"), &[table], &mut |row| {
        let mut c = Columns::new(row);
        if let (Ok(schema), Ok(searched)) = (c.text("schema"), c.int("searched")) {
            let found = if searched == 1 {
                &mut on_path
            } else {
                &mut elsewhere
            };
            found.push(schema.to_owned());
        }
        ControlFlow::Continue(())
    })
    .await?;
    match on_path.as_slice() {
        [one] => Ok(one.clone()),
        [] => Err(LogError::Schema {
            target: target.to_owned(),
            problems: vec![no_log(conn, &elsewhere).await?],
        }),
        several => Err(LogError::Ambiguous {
            target: target.to_owned(),
            schemas: several.to_vec(),
        }),
    }
}

/// Says what is there instead of a log.
async fn no_log(conn: &mut Conn, elsewhere: &[String]) -> Result<String, LogError> {
    if !elsewhere.is_empty() {
        return Ok(format!(
            "table ves_events is missing in every schema that is searched, and is in {}: name it with --schema",
            list(elsewhere)
        ));
    }
    let mut older = false;
    conn.query(
        DOING,
        postgres!("schemas"),
        &["sequence_counters".into()],
        &mut |_| {
            older = true;
            ControlFlow::Break(())
        },
    )
    .await?;
    Ok(if older {
        format!(
            "it is of level 1, before the sequencer's migration 002_ves_v1_tables: there was no VES log yet, and the \
             first level that can be read is {OLDEST}"
        )
    } else {
        "table ves_events is missing".to_owned()
    })
}

fn list(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| quoted(name)).collect();
    names.join(" and ")
}

impl Catalogue {
    async fn read(conn: &mut Conn, schema: &str) -> Result<Self, LogError> {
        let tables = TABLES.iter().map(|table| table.name);
        let markers = MARKERS.iter().map(|marker| marker.relation);
        let names: BTreeSet<&str> = tables.chain(markers).chain([MIGRATIONS, NONCES]).collect();
        let names = Value::Texts(names.into_iter().map(str::to_owned).collect());
        let mut catalogue = Self::default();
        let mut bad = None;
        conn.query(DOING, postgres!("schema"), &[names, schema.into()], &mut |row| {
            if let Err(what) = catalogue.add(Columns::new(row)) {
                bad = Some(format!("the catalogue cannot be read: {what}"));
            }
            ControlFlow::Continue(())
        })
        .await?;
        let parameters = [schema.into()];
        let access = conn
            .query_one(DOING, postgres!("schema_access"), &parameters, |row| {
                let mut c = Columns::new(row);
                Ok::<_, String>((c.text("role")?.to_owned(), c.int("usage")? == 1))
            })
            .await?;
        match (bad, access) {
            (None, Some(Ok((role, may_use)))) => {
                catalogue.role = role;
                catalogue.may_use = may_use;
                Ok(catalogue)
            }
            (Some(what), _) | (None, Some(Err(what))) => Err(LogError::Refused { doing: DOING, what }),
            (None, None) => Err(LogError::Refused {
                doing: DOING,
                what: format!("there is no schema {}", quoted(schema)),
            }),
        }
    }

    fn add(&mut self, mut c: Columns<'_>) -> Result<(), String> {
        let relation = c.text("relation")?.to_owned();
        let readable = c.int("readable")?;
        let column = c.optional_text("column")?.map(str::to_owned);
        let kind = c.optional_text("type")?.map(str::to_owned);
        let length = c.optional_int("length")?;
        if readable == 0 {
            self.forbidden.insert(relation.clone());
        }
        if let (Some(column), Some(kind)) = (column, kind) {
            let columns = self.columns.entry(relation.clone()).or_default();
            columns.insert(column, (kind, length));
        }
        self.relations.insert(relation);
        Ok(())
    }

    /// Whether this role may read what is there, and what to grant if not.
    fn check_access(&self, schema: &str) -> Result<(), String> {
        let forbidden = &self.forbidden;
        let (role, schema) = (quoted(&self.role), quoted(schema));
        if !self.may_use {
            return Err(format!(
                "role {role} may not use schema {schema}: GRANT USAGE ON SCHEMA {schema} TO {role}"
            ));
        }
        let wanted = |table: &&&Table| table.need != Need::IfReadable && forbidden.contains(table.name);
        let tables = TABLES.iter().filter(wanted);
        let tables: Vec<String> = tables.map(|table| format!("{schema}.{}", table.name)).collect();
        if tables.is_empty() {
            return Ok(());
        }
        let tables = tables.join(", ");
        Err(format!(
            "role {role} may not read {tables}: GRANT SELECT ON {tables} TO {role}"
        ))
    }

    fn has(&self, relation: &str, column: Option<&str>) -> bool {
        match column {
            None => self.relations.contains(relation),
            Some(column) => {
                let columns = self.columns.get(relation);
                columns.is_some_and(|columns| columns.contains_key(column))
            }
        }
    }

    /// The level of what only logs of some level and newer ones have, and the first that this is not of.
    fn sure_level(&self) -> (u32, u32) {
        let mut sure = MARKERS.iter().filter(|marker| !marker.optional);
        let there = |marker: &&Marker| self.has(marker.relation, marker.column);
        let level = sure
            .clone()
            .filter(there)
            .map(|marker| marker.since)
            .max()
            .unwrap_or(0);
        let next = sure.find(|marker| marker.since > level);
        (level, next.map_or(u32::MAX, |marker| marker.since))
    }

    /// The level that what is there is of. What can be of others, by its name alone, only decides between levels that
    /// the rest leaves open.
    fn level(&self) -> u32 {
        let (level, next) = self.sure_level();
        let there = |marker: &&Marker| self.has(marker.relation, marker.column);
        let optional = MARKERS.iter().filter(|marker| marker.optional).filter(there);
        let wide = self.is_wide().then_some(Level::WIDE_SINCE);
        let open = optional
            .map(|marker| marker.since)
            .chain(wide)
            .filter(|since| *since < next);
        open.max().unwrap_or(level).max(level)
    }

    /// The level, by what is there alone.
    fn level_by_tables(&self) -> Level {
        let number = self.level();
        let undecided = number + 1 == Level::NEWEST && !self.has(NONCES, None);
        Level {
            number,
            from: LevelSource::Tables,
            failed: None,
            up_to: u8::try_from(Level::NEWEST).ok().filter(|_| undecided),
        }
    }

    fn is_wide(&self) -> bool {
        let columns = self.columns.get(VES_EVENTS.name);
        let length = columns.and_then(|columns| columns.get("entity_type"));
        length.is_some_and(|(_, length)| length.is_none_or(|length| length >= Level::WIDE))
    }

    /// What the migrator says, if it is the sequencer's and can be read.
    async fn migrations(&self, conn: &mut Conn) -> Result<Option<Level>, LogError> {
        let plain = |column, kind: &str| {
            let columns = self.columns.get(MIGRATIONS);
            columns
                .and_then(|c| c.get(column))
                .is_some_and(|(found, _)| found == kind)
        };
        let there = plain("version", "bigint") && plain("success", "boolean");
        if !there || self.forbidden.contains(MIGRATIONS) {
            return Ok(None);
        }
        let (mut done, mut failed) = (None, None);
        conn.query(DOING, postgres!("migrations"), &[], &mut |row| {
            let mut c = Columns::new(row);
            if let (Ok(version), Ok(success)) = (c.int("version"), c.int("success")) {
                let newest = if success == 1 { &mut done } else { &mut failed };
                *newest = (*newest).max(Some(version));
            }
            ControlFlow::Continue(())
        })
        .await?;
        let level = |version: Option<i64>| {
            let version = version.filter(|version| (1..=HIGHEST_LEVEL).contains(version));
            version.and_then(|version| u32::try_from(version).ok())
        };
        let Some(number) = level(done) else {
            return Ok(None);
        };
        let (by_tables, _) = self.sure_level();
        let failed = level(failed);
        // Who migrated by hand did not tell the migrator.
        let found = if by_tables > number {
            self.level_by_tables()
        } else {
            Level {
                number,
                from: LevelSource::Migrations,
                failed: None,
                up_to: None,
            }
        };
        let failed = failed.filter(|failed| *failed > found.number);
        Ok(Some(Level { failed, ..found }))
    }

    /// Finds out how a table can be read.
    fn lay(&self, table: &'static Table, layout: &mut Layout, level: Level, problems: &mut Vec<String>) {
        let name = table.name;
        let Some(columns) = self.columns.get(name) else {
            match table.before {
                Some((since, query)) if level.number < since => {
                    layout.shadows.insert(name, query.to_owned());
                    layout.readable.insert(name);
                }
                _ if table.need == Need::Always => problems.push(format!("table {name} is missing")),
                _ => {}
            }
            return;
        };
        if self.forbidden.contains(name) {
            return;
        }
        let mut different = false;
        let mut bad = Vec::new();
        let mut list = Vec::with_capacity(table.columns.len());
        for (column, kind) in table.columns {
            let absent = table.absent.iter().find(|absent| absent.column == *column);
            match columns.get(*column) {
                Some((found, _)) => match kind.read_as(found) {
                    Some(ReadAs::Itself) => list.push((*column).to_owned()),
                    Some(ReadAs::Cast(to)) => {
                        different = true;
                        list.push(format!("{column}::{to} AS {column}"));
                    }
                    None => bad.push(format!(
                        "column {name}.{column} is of type {found}, and is read as {} (or what holds the same): ALTER \
                         it, or give a copy in which it is",
                        kind.postgres_type()
                    )),
                },
                None => match absent {
                    Some(absent) if level.number < absent.since => {
                        different = true;
                        list.push(format!("{} AS {column}", absent.means));
                    }
                    _ => bad.push(format!("column {name}.{column} is missing")),
                },
            }
        }
        if !bad.is_empty() {
            // A table that need not be readable is as good as none.
            if table.need != Need::IfReadable {
                problems.append(&mut bad);
            }
            return;
        }
        layout.readable.insert(name);
        if different {
            let columns = list.join(", ");
            let query = format!("{name} AS NOT MATERIALIZED (SELECT {columns} FROM {name})");
            layout.shadows.insert(name, query);
        }
    }
}
