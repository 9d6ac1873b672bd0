//! How a PostgreSQL database has the tables of a log: in which schema, at which level, and what stands for the columns
//! and tables that it lacks, or has of other types.
//!
//! The statements of this crate are written for a log of the newest level. Where a database differs from that, a
//! statement that reads gets a `WITH` before it, in which each table that differs is a query of the same name: what is
//! missing has the value that its absence meant to the sequencer of that level, and what is of another type is cast.
//! These queries are put together from the names in [`crate::schema`] and from files, never from data. The schema
//! is set as the only one that is searched, in each transaction.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use sqlx::{AssertSqlSafe, SqlSafeStr as _, SqlStr};

use crate::level::Level;
use crate::schema::Table;

/// How a database has the tables of a log.
#[derive(Debug, Clone, Default)]
pub(crate) struct Layout {
    pub(crate) schema: String,
    pub(crate) level: Option<Level>,
    /// What stands for a table that is missing or different.
    pub(crate) shadows: BTreeMap<&'static str, String>,
    /// The tables that can be read.
    pub(crate) readable: BTreeSet<&'static str>,
    /// What the catalogue said of them, in short; see [`crate::resting`].
    pub(crate) tables: String,
    /// When it was asked.
    pub(crate) found_at: Option<Instant>,
}

impl Layout {
    /// Whether a table can be read.
    pub(crate) fn has(&self, table: &Table) -> bool {
        self.readable.contains(table.name)
    }

    /// Whether a query stands for a table.
    pub(crate) fn is_shadowed(&self, table: &Table) -> bool {
        self.shadows.contains_key(table.name)
    }

    /// A statement as it is to be run here. It is made of statements and names of this crate.
    pub(crate) fn statement(&self, sql: &'static str) -> SqlStr {
        match self.as_here(sql) {
            Cow::Borrowed(_) => sql.into_sql_str(),
            Cow::Owned(sql) => AssertSqlSafe(sql).into_sql_str(),
        }
    }

    /// As [`Layout::statement`], for one that is put together from statements of this crate.
    pub(crate) fn composed(&self, sql: &str) -> SqlStr {
        AssertSqlSafe(self.as_here(sql).into_owned()).into_sql_str()
    }

    fn as_here<'a>(&self, sql: &'a str) -> Cow<'a, str> {
        if self.shadows.is_empty() {
            return Cow::Borrowed(sql);
        }
        let body = code(sql);
        let first = body.split_ascii_whitespace().next().unwrap_or("");
        // A query cannot be locked, and what is written is the table itself.
        if !["SELECT", "WITH"].contains(&first) || body.contains("FOR UPDATE") {
            return Cow::Borrowed(sql);
        }
        let words: BTreeSet<&str> = words(&body).collect();
        let named: Vec<&str> = self
            .shadows
            .iter()
            .filter(|(name, _)| words.contains(*name))
            .map(|(_, query)| query.as_str())
            .collect();
        if named.is_empty() {
            return Cow::Borrowed(sql);
        }
        let (join, rest) = match body.trim_start().strip_prefix("WITH ") {
            Some(rest) => (",\n", rest),
            None => ("\n", body.as_str()),
        };
        Cow::Owned(format!("WITH {}{join}{rest}", named.join(",\n")))
    }
}

/// A statement without its comments.
fn code(sql: &str) -> String {
    let lines = sql
        .lines()
        .map(|line| line.split_once("--").map_or(line, |(code, _)| code));
    lines.fold(String::with_capacity(sql.len()), |code, line| code + line + "\n")
}

fn words(sql: &str) -> impl Iterator<Item = &str> {
    sql.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_stands_before_a_statement_that_reads() {
        let mut layout = Layout::default();
        let as_is = "-- Of ves_events.\nSELECT 1 FROM ves_events";
        assert_eq!(layout.as_here(as_is), as_is);
        layout
            .shadows
            .insert("ves_events", "ves_events AS (SELECT 2)".into());
        layout.shadows.insert("events", "events AS (SELECT 3)".into());
        let text = |sql| {
            layout
                .as_here(sql)
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(
            text(as_is),
            "WITH ves_events AS (SELECT 2) SELECT 1 FROM ves_events"
        );
        let both = "SELECT 1 FROM ves_events, (SELECT 1 FROM events)";
        assert_eq!(
            text(both),
            format!("WITH events AS (SELECT 3), ves_events AS (SELECT 2) {both}")
        );
        let with = "-- Two parts.\nWITH a AS MATERIALIZED (SELECT 1 FROM ves_events)\nSELECT 1 FROM a";
        assert!(text(with).starts_with("WITH ves_events AS (SELECT 2), a AS MATERIALIZED (SELECT 1"));
        for untouched in [
            "SELECT 1 FROM ves_events_else",
            "SELECT 1 FROM ves_events FOR UPDATE",
            "DELETE FROM ves_events",
            "-- ves_events\nSELECT 1",
        ] {
            assert_eq!(layout.as_here(untouched), untouched);
        }
    }
}
