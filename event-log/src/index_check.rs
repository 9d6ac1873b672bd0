//! Whether the indexes have what their tables have. A restore under another collation, a torn page or an old file leaves an
//! index that lacks rows: everything that is asked of it is answered as if they had never been, and a log looks as if it
//! had lost events that it has.
//!
//! PostgreSQL's extension amcheck compares an index with its table, where it is installed and may be called. Where not,
//! what an index holds is counted and summed up both ways, by the table and by the index alone; if that differs, the rows
//! that only the table has are named. An index that was found wanting is not asked any more: from then on the view's
//! answers come from the tables. A snapshot's indexes are checked by SQLite itself.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::conn::Conn;
use crate::error::{LogError, RowError};
use crate::fault::{Damage, IndexFault, IndexFaultKind};
use crate::hidden::Hidden;
use crate::index_keys::{KEYS, Key, Sought};
use crate::reach::{DOING, Reach};
use crate::sql::postgres;
use crate::value::{Columns, Row, Value};
use crate::view::View;

/// So many indexes that were not compared are named.
const LISTED: usize = 4;

/// An index, by the catalogue.
#[derive(Debug, Clone)]
struct Index {
    table: &'static str,
    oid: i64,
    name: String,
    btree: bool,
    /// Of whole columns and all rows.
    plain: bool,
    unique: bool,
    valid: bool,
    ready: bool,
    columns: String,
    /// How often this transaction has read it.
    scans: i64,
}

impl Index {
    /// Whether it is on the columns of a key, or on these and more.
    fn begins_with(&self, key: &Key) -> bool {
        let rest = self.columns.strip_prefix(key.columns);
        self.table == key.table && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(','))
    }
}

/// The tables that are there, what they are, and their indexes.
#[derive(Default)]
struct Catalogue {
    tables: BTreeMap<&'static str, String>,
    indexes: Vec<Index>,
}

/// How many rows there are by some key, and the sum of the keys' hashes.
#[derive(PartialEq, Eq)]
struct Summed {
    count: u64,
    sum: String,
}

impl View {
    /// Compares the indexes that answers rest on with their tables, and looks for rows that are there more than once.
    /// Reads every row of some tables. If an index lacks rows, or may lack some, no index is asked by this view any
    /// more: its answers come from the tables, which takes longer.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn look_for_damage(&mut self) -> Result<Damage, LogError> {
        let damage = match self.conn {
            Conn::Postgres(_) => {
                let mut damage = Damage::default();
                Looking::new(&mut self.conn, &mut damage).await?.look().await?;
                if damage.hides_rows() {
                    self.conn.run(DOING, postgres!("heap_only")).await?;
                }
                damage
            }
            Conn::Snapshot { .. } => self.look_into_snapshot().await?,
        };
        self.heap_only |= damage.hides_rows();
        Ok(damage)
    }

    /// As [`View::look_for_damage`], but only whether the indexes lack rows by which what is [`Sought`] is found, and not
    /// whether rows are there more than once. Reads every row of the tables in question once, and of their indexes.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn look_for_hidden(&mut self, sought: Sought) -> Result<Damage, LogError> {
        let Conn::Postgres(_) = self.conn else {
            return self.look_for_damage().await;
        };
        let mut damage = Damage::default();
        if self.heap_only {
            return Ok(damage);
        }
        let looking = Looking::new(&mut self.conn, &mut damage).await?;
        looking.look_for_hidden(sought).await?;
        if damage.hides_rows() {
            self.conn.run(DOING, postgres!("heap_only")).await?;
            self.heap_only = true;
        }
        Ok(damage)
    }
}

/// The search for damage in PostgreSQL.
struct Looking<'a> {
    conn: &'a mut Conn,
    damage: &'a mut Damage,
    catalogue: Catalogue,
    /// Indexes that were compared with their tables, or are found wanting.
    seen: Vec<i64>,
    amcheck: bool,
}

impl<'a> Looking<'a> {
    async fn new(conn: &'a mut Conn, damage: &'a mut Damage) -> Result<Self, LogError> {
        let catalogue = catalogue(conn).await?;
        let there = |row: Row<'_>| Columns::new(row).int("count") == Ok(1);
        let amcheck = conn
            .query_one(DOING, postgres!("amcheck_there"), &[], there)
            .await?;
        Ok(Self {
            conn,
            damage,
            catalogue,
            seen: Vec::new(),
            amcheck: amcheck == Some(true),
        })
    }

    /// Compares those indexes alone that what is sought is found by.
    async fn look_for_hidden(mut self, sought: Sought) -> Result<(), LogError> {
        let keys = || KEYS.iter().filter(|key| key.finds.contains(&sought));
        for key in keys() {
            let plain = self
                .catalogue
                .tables
                .get(key.table)
                .is_some_and(|kind| kind == "r");
            if plain && !self.sound(key).is_empty() {
                self.both_ways(key).await?;
            }
        }
        // The server may choose a twin next time.
        self.by_amcheck(|index| keys().any(|key| index.begins_with(key)))
            .await
    }

    async fn look(mut self) -> Result<(), LogError> {
        self.by_the_catalogue();
        let mut keys = Vec::new();
        for key in KEYS {
            let Some(kind) = self.catalogue.tables.get(key.table) else {
                continue;
            };
            if kind != "r" {
                let what = format!("the indexes of {}: it is no plain table", key.table);
                if !self.damage.not_checked.contains(&what) {
                    self.damage.not_checked.push(what);
                }
                continue;
            }
            keys.push(key);
            if !self.sound(key).is_empty() {
                self.both_ways(key).await?;
            }
        }
        self.by_amcheck(|_| true).await?;
        for key in keys {
            self.by_uniqueness(key).await?;
        }
        self.not_compared();
        Ok(())
    }

    /// The indexes that serve a key, as far as the catalogue tells.
    fn sound(&self, key: &Key) -> Vec<Index> {
        let sound = self.catalogue.indexes.iter().filter(|index| {
            index.table == key.table
                && index.columns == key.columns
                && index.btree
                && index.plain
                && index.valid
                && index.ready
        });
        sound.cloned().collect()
    }

    fn fault(&mut self, index: &Index, what: String, reach: Reach) -> &mut IndexFault {
        self.seen.push(index.oid);
        self.damage.indexes.push(IndexFault {
            index: index.name.clone(),
            table: index.table,
            kind: match reach {
                Reach::Nothing => IndexFaultKind::Unused,
                _ => IndexFaultKind::Incomplete,
            },
            what,
            rows: Vec::new(),
            reach,
            remedy: format!("REINDEX INDEX CONCURRENTLY {};", index.name),
        });
        self.damage.indexes.last_mut().expect("just pushed")
    }

    /// What the catalogue says of the indexes.
    fn by_the_catalogue(&mut self) {
        for index in self.catalogue.indexes.clone() {
            if index.valid && index.ready {
                continue;
            }
            let twin = self.catalogue.indexes.iter().any(|other| {
                other.oid != index.oid
                    && other.valid
                    && other.ready
                    && other.plain == index.plain
                    && (other.unique || !index.unique)
                    && other.columns == index.columns
                    && other.table == index.table
            });
            let word = if index.ready { "invalid" } else { "not ready" };
            if twin {
                let what = format!("it is marked {word}, left over beside one that is sound");
                let name = index.name.clone();
                self.fault(&index, what, Reach::Nothing).remedy = format!("DROP INDEX CONCURRENTLY {name};");
            } else if index.unique {
                let what = format!(
                    "it is marked {word}: it is not read, and whether its rows are unique is not certain"
                );
                self.fault(&index, what, Reach::Everything);
            } else {
                let what = format!("it is marked {word}, so nobody reads it");
                self.fault(&index, what, Reach::Nothing);
            }
        }
    }

    /// Has the server compare the indexes that were not compared yet: it takes longer than to count.
    async fn by_amcheck(&mut self, meant: impl Fn(&Index) -> bool) -> Result<(), LogError> {
        if !self.amcheck {
            return Ok(());
        }
        for index in self.catalogue.indexes.clone() {
            if !index.btree || self.seen.contains(&index.oid) || !meant(&index) {
                continue;
            }
            let parameters = [Value::Int(index.oid)];
            let each = &mut |_: Row<'_>| ControlFlow::Continue(());
            match (self
                .conn
                .aside(DOING, None, postgres!("amcheck"), &parameters, each))
            .await
            {
                Ok(()) => self.seen.push(index.oid),
                Err(LogError::Damaged { what, .. }) => {
                    self.fault(&index, what, Reach::Everything);
                }
                Err(error) => self.not_checked(&index.name, error)?,
            }
        }
        Ok(())
    }

    /// Something that this role may not do, or that this server does not know, is told; what else fails is an error.
    fn not_checked(&mut self, what: &str, error: LogError) -> Result<(), LogError> {
        // undefined_column, undefined_table, undefined_function, insufficient_privilege, feature_not_supported.
        let known = |code: &str| ["42703", "42P01", "42883", "42501", "0A000"].contains(&code);
        match &error {
            LogError::Postgres { error: said, .. }
                if said
                    .as_database_error()
                    .is_some_and(|e| e.code().as_deref().is_some_and(known)) =>
            {
                self.damage.not_checked.push(format!("{what}: {error}"));
                Ok(())
            }
            _ => Err(error),
        }
    }

    /// Looks for rows that share a key, unless an index that is sound rules them out.
    async fn by_uniqueness(&mut self, key: &Key) -> Result<(), LogError> {
        let sound = self.sound(key);
        let unique = (sound.iter())
            .any(|index| index.unique && self.seen.contains(&index.oid) && !self.is_faulty(index));
        if !unique {
            self.there_twice(key).await?;
        }
        let of_key = |index: &Index| index.table == key.table && index.columns == key.columns && index.unique;
        if key.needed && !self.catalogue.indexes.iter().any(of_key) {
            self.damage.indexes.push(IndexFault {
                index: format!("{} ({})", key.table, key.words()),
                table: key.table,
                kind: IndexFaultKind::Missing,
                what: "there is no unique index on these columns: nothing keeps rows from being there twice"
                    .into(),
                rows: Vec::new(),
                reach: Reach::Nothing,
                remedy: "make the constraint again, as the sequencer's migrations have it".into(),
            });
        }
        Ok(())
    }

    /// Counts what an index holds by the table, and by the index alone.
    async fn both_ways(&mut self, key: &Key) -> Result<(), LogError> {
        let what = format!("the index of {} on {}", key.table, key.words());
        let heap = match summed(self.conn, postgres!("heap_only"), key.heap_sum).await {
            Ok(heap) => heap,
            Err(LogError::Damaged { what, .. }) => {
                self.damage.unreadable.push(RowError {
                    table: key.table,
                    stream: None,
                    sequence: None,
                    what: format!("the table cannot be read through: {what}"),
                });
                return Ok(());
            }
            Err(error) => return self.not_checked(&what, error),
        };
        let by_index = summed(self.conn, postgres!("index_only"), key.index_sum).await;
        let Some(index) = self.read_meanwhile(key).await? else {
            self.damage
                .not_checked
                .push(format!("{what}: the server does not read it"));
            return Ok(());
        };
        let by_index = match by_index {
            Ok(by_index) => by_index,
            Err(LogError::Damaged { what, .. }) => {
                self.fault(&index, what, Reach::Everything);
                return Ok(());
            }
            Err(error) => return self.not_checked(&what, error),
        };
        if by_index != heap {
            return self.name_rows(key, &index, &heap, &by_index).await;
        }
        let disordered = match key.disordered {
            Some(sql) => count(self.conn, postgres!("index_only"), sql).await,
            None => Ok(0),
        };
        match disordered {
            Ok(0) => self.seen.push(index.oid),
            Ok(count) => {
                let what = format!(
                    "{count} of its entries stand in another order than this server's collation has, so that they are not found"
                );
                self.fault(&index, what, Reach::Everything);
            }
            Err(LogError::Damaged { what, .. }) => {
                self.fault(&index, what, Reach::Everything);
            }
            Err(error) => self.not_checked(&what, error)?,
        }
        Ok(())
    }

    /// The index on a key, or on it and more columns, that was read since the catalogue was last looked at.
    async fn read_meanwhile(&mut self, key: &Key) -> Result<Option<Index>, LogError> {
        let now = catalogue(self.conn).await?;
        let read = |index: &Index| {
            let before = (self.catalogue.indexes.iter()).find(|before| before.oid == index.oid);
            before.is_some_and(|before| before.scans < index.scans)
        };
        let mut of_key = now.indexes.iter().filter(|index| index.begins_with(key));
        let found = of_key.find(|index| read(index)).cloned();
        self.catalogue = now;
        Ok(found)
    }

    /// Finds out which rows an index lacks: those whose keys' hashes it does not have.
    async fn name_rows(
        &mut self,
        key: &Key,
        index: &Index,
        heap: &Summed,
        by_index: &Summed,
    ) -> Result<(), LogError> {
        let mut entries: Vec<i64> = Vec::new();
        let each = &mut |row: Row<'_>| {
            entries.extend(Columns::new(row).int("key"));
            ControlFlow::Continue(())
        };
        (self
            .conn
            .aside(DOING, Some(postgres!("index_only")), key.index_rows, &[], each))
        .await?;
        entries.sort_unstable();
        let mut hidden = Hidden::default();
        let each = &mut |row: Row<'_>| {
            let mut c = Columns::new(row);
            if c.int("key").is_ok_and(|key| entries.binary_search(&key).is_err()) {
                hidden.add(&mut c);
            }
            ControlFlow::Continue(())
        };
        (self
            .conn
            .aside(DOING, Some(postgres!("heap_only")), key.heap_rows, &[], each))
        .await?;
        let lacks = hidden.count;
        let has = heap.count - lacks.min(heap.count);
        let phantoms = by_index.count.saturating_sub(has);
        let mut what = Vec::new();
        if lacks > 0 {
            what.push(format!("{lacks} row(s) of {} are not in it", key.table));
        }
        if phantoms > 0 {
            what.push(format!("{phantoms} of its entries have no row of their own"));
        }
        if what.is_empty() {
            what.push("it holds other keys than the table".to_owned());
        }
        let reach = if phantoms > 0 || lacks == 0 {
            Reach::Everything
        } else {
            Reach::Rows
        };
        let rows = hidden.places();
        self.fault(index, what.join(", and "), reach).rows = rows;
        Ok(())
    }

    /// Whether no two rows share a key, by an index alone that was compared with the table. Where a plain index has the
    /// same columns as a unique one, the server may have read that, and nothing was heard of the other.
    async fn keys_are_unique(&mut self, key: &Key) -> Result<bool, LogError> {
        let Some(repeated) = key.repeated else {
            return Ok(false);
        };
        match count(self.conn, postgres!("index_only"), repeated).await {
            Ok(0) => {}
            // What cannot be told so is told by the table.
            Ok(_) | Err(LogError::Damaged { .. }) => return Ok(false),
            Err(error) => {
                self.not_checked(
                    &format!("whether {} are unique in {}", key.words(), key.table),
                    error,
                )?;
                return Ok(false);
            }
        }
        let read = self.read_meanwhile(key).await?;
        Ok(read.is_some_and(|index| self.seen.contains(&index.oid) && !self.is_faulty(&index)))
    }

    fn is_faulty(&self, index: &Index) -> bool {
        (self.damage.indexes.iter()).any(|fault| fault.index == index.name)
    }

    /// Looks for rows that share a key, row by row.
    async fn there_twice(&mut self, key: &Key) -> Result<(), LogError> {
        let Some(twice) = key.twice else { return Ok(()) };
        if self.keys_are_unique(key).await? {
            return Ok(());
        }
        let what = format!("which rows of {} are there twice by {}", key.table, key.words());
        let settings = Some(postgres!("heap_only"));
        // To compare is dear, and mostly there is nothing to compare.
        let bare = match key.twice_bare {
            Some(bare) => Some(crate::duplicate::find(self.conn, settings, key, bare).await),
            None => None,
        };
        let found = match bare {
            Some(Ok(bare)) if bare.is_empty() => Ok(bare),
            Some(Ok(bare)) => match crate::duplicate::find(self.conn, settings, key, twice).await {
                Err(LogError::Damaged { .. }) => Ok(bare),
                found => found,
            },
            Some(Err(error)) => Err(error),
            None => crate::duplicate::find(self.conn, settings, key, twice).await,
        };
        match found {
            Ok(found) => self.damage.duplicates.extend(found),
            Err(LogError::Damaged { what: why, .. }) => {
                self.damage.not_checked.push(format!("{what}: {why}"));
            }
            Err(error) => self.not_checked(&what, error)?,
        }
        Ok(())
    }

    /// The indexes that only amcheck could have compared: a copy of one that was, which the server does not choose, or one
    /// on columns that nothing is found by here.
    fn not_compared(&mut self) {
        let left = self.catalogue.indexes.iter();
        let mut left: Vec<&Index> = left.filter(|index| !self.seen.contains(&index.oid)).collect();
        if left.is_empty() {
            return;
        }
        let is_key = |index: &Index| {
            let of_key = |key: &Key| key.table == index.table && key.columns == index.columns;
            KEYS.iter().any(of_key)
        };
        left.sort_by_key(|index| !(index.unique && is_key(index)));
        let names: Vec<&str> = left
            .iter()
            .take(LISTED)
            .map(|index| index.name.as_str())
            .collect();
        let more = if left.len() > LISTED { ", …" } else { "" };
        let why = if self.amcheck {
            "they are no b-trees"
        } else {
            "amcheck, which could tell, is not there for this role"
        };
        self.damage.not_checked.push(format!(
            "{} index(es) that the server does not choose here: {}{more} ({why})",
            left.len(),
            names.join(", ")
        ));
    }
}

async fn summed(conn: &mut Conn, settings: &'static str, sql: &'static str) -> Result<Summed, LogError> {
    let mut found = None;
    let each = &mut |row: Row<'_>| {
        let mut c = Columns::new(row);
        found = c
            .number("count")
            .and_then(|count| Ok((count, c.text("sum")?.to_owned())))
            .ok();
        ControlFlow::Break(())
    };
    conn.aside(DOING, Some(settings), sql, &[], each).await?;
    let (count, sum) = found.unwrap_or_default();
    Ok(Summed { count, sum })
}

async fn count(conn: &mut Conn, settings: &'static str, sql: &'static str) -> Result<u64, LogError> {
    let mut found = 0;
    let each = &mut |row: Row<'_>| {
        found = Columns::new(row).number("count").unwrap_or(0);
        ControlFlow::Break(())
    };
    conn.aside(DOING, Some(settings), sql, &[], each).await?;
    Ok(found)
}

async fn catalogue(conn: &mut Conn) -> Result<Catalogue, LogError> {
    let mut names: Vec<&'static str> = KEYS.iter().map(|key| key.table).collect();
    names.dedup();
    let parameters = [Value::Texts(
        names.iter().map(|name| (*name).to_owned()).collect(),
    )];
    let mut found = Catalogue::default();
    let each = &mut |row: Row<'_>| {
        let mut c = Columns::new(row);
        let mut read = || -> Result<(), String> {
            let name = c.text("table")?;
            let Some(table) = names.iter().find(|known| **known == name) else {
                return Ok(());
            };
            found.tables.insert(table, c.text("kind")?.to_owned());
            let Some(oid) = c.optional_int("index")? else {
                return Ok(());
            };
            found.indexes.push(Index {
                table,
                oid,
                name: c.text("name")?.to_owned(),
                btree: c.int("btree")? == 1,
                plain: c.int("plain")? == 1,
                unique: c.int("unique")? == 1,
                valid: c.int("valid")? == 1,
                ready: c.int("ready")? == 1,
                columns: c.text("columns")?.to_owned(),
                scans: c.int("scans")?,
            });
            Ok(())
        };
        // What the catalogue says of an index is never out of range; a row that is gets no comparison.
        let _ = read();
        ControlFlow::Continue(())
    };
    conn.query(DOING, postgres!("index_catalogue"), &parameters, each)
        .await?;
    Ok(found)
}
