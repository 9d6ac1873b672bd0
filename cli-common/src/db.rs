//! Which log to work on: `--db`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::{CliError, redact_url};

/// The argument `--db`, for every command that works on a log; flatten it into the command's own.
#[derive(Args, Clone, Debug, Default)]
pub struct DbArg {
    /// The log to work on: a PostgreSQL URL (postgres://…) or a snapshot file
    // Any text is taken here and judged in `target`: clap would repeat a wrong value, with the password in it.
    #[arg(
        long = "db",
        value_name = "URL|FILE",
        env = "DATABASE_URL",
        hide_env_values = true,
        value_parser = OsStringValueParser::new().map(RawDb)
    )]
    raw: Option<RawDb>,

    #[command(flatten)]
    schema: SchemaArg,
}

/// The argument `--schema`, for commands that name a log in their own way; flatten it into the command's own.
#[derive(Args, Clone, Debug, Default)]
pub struct SchemaArg {
    /// The schema of the database that the log is in; needed if several that are searched hold one
    #[arg(long = "schema", value_name = "NAME")]
    schema: Option<String>,
}

impl SchemaArg {
    /// The log as it was named, in this schema, if one is given.
    ///
    /// # Errors
    /// A usage error if a schema is given for a snapshot, which has none.
    pub fn apply(&self, target: DbTarget) -> Result<DbTarget, CliError> {
        match &self.schema {
            None => Ok(target),
            Some(schema) => target.in_schema(schema),
        }
    }
}

/// The argument as it was given; not shown in debug output.
#[derive(Clone)]
struct RawDb(OsString);

impl fmt::Debug for RawDb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_url(&self.0.to_string_lossy()))
    }
}

/// A log to work on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DbTarget {
    /// A sequencer's PostgreSQL database.
    Postgres(PostgresUrl),
    /// A snapshot: the same tables in one SQLite file.
    Snapshot(PathBuf),
}

/// A PostgreSQL URL, and the schema in its database. The URL may hold a password, so it is shown redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    url: String,
    schema: Option<String>,
}

impl PostgresUrl {
    /// The URL with its secrets, to connect with; not to be printed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.url
    }

    /// The schema that the log is in, if one is named.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redact_url(&self.url))
    }
}

impl fmt::Debug for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for DbTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Postgres(url) => url.fmt(f),
            Self::Snapshot(path) => path.display().fmt(f),
        }
    }
}

impl DbArg {
    /// The log that the command line, or `DATABASE_URL`, names.
    ///
    /// # Errors
    /// A usage error if none is named, or as [`DbTarget::parse`].
    pub fn target(&self) -> Result<DbTarget, CliError> {
        self.optional_target()?.ok_or_else(|| {
            CliError::usage("no log to work on is named")
                .with_hint("give --db with a PostgreSQL URL or a snapshot file, or set DATABASE_URL")
        })
    }

    /// The log that the command line, or `DATABASE_URL`, names, for commands that can do without one.
    ///
    /// # Errors
    /// As [`DbTarget::parse`].
    pub fn optional_target(&self) -> Result<Option<DbTarget>, CliError> {
        match &self.raw {
            Some(raw) if !raw.0.is_empty() => {
                let target = DbTarget::parse(&raw.0)?;
                self.schema.apply(target).map(Some)
            }
            _ => Ok(None),
        }
    }
}

impl DbTarget {
    /// The log in this schema of its database.
    ///
    /// # Errors
    /// A usage error if it is a snapshot, which has none.
    pub fn in_schema(self, schema: &str) -> Result<Self, CliError> {
        match self {
            Self::Postgres(url) => Ok(Self::Postgres(PostgresUrl {
                schema: Some(schema.to_owned()),
                ..url
            })),
            Self::Snapshot(path) => Err(CliError::usage(format!(
                "--schema is for a PostgreSQL database, and {} is a file",
                path.display()
            ))),
        }
    }

    /// Reads the name of a log: `postgres://…` or `postgresql://…` is PostgreSQL; a path, with `sqlite:` before it
    /// or without, is a snapshot file. Whether it exists is not asked here.
    ///
    /// # Errors
    /// A usage error for the URL of anything else, and for a connection string that is not a URL
    /// (`host=… password=…`). The value is repeated only as far as it holds no secret.
    pub fn parse(value: &OsStr) -> Result<Self, CliError> {
        const HINT: &str = "give postgres://user@host/database or the path of a snapshot file";
        let Some(text) = value.to_str() else {
            return Ok(Self::Snapshot(value.into()));
        };
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("postgres://") || lower.starts_with("postgresql://") {
            return Ok(Self::Postgres(PostgresUrl {
                url: text.to_owned(),
                schema: None,
            }));
        }
        if lower.starts_with("sqlite:") {
            let path = &text["sqlite:".len()..];
            let path = path.strip_prefix("//").unwrap_or(path);
            if path.is_empty() {
                return Err(CliError::usage("sqlite: names no file").with_hint(HINT));
            }
            return Ok(Self::Snapshot(path.into()));
        }
        let scheme = lower.split_once("://").map(|(scheme, _)| scheme);
        let is_scheme =
            |s: &str| !s.is_empty() && s.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if let Some(scheme) = scheme.filter(|scheme| is_scheme(scheme)) {
            return Err(
                CliError::usage(format!("{scheme}:// is not a log that can be worked on")).with_hint(HINT),
            );
        }
        if lower.starts_with("postgres:") || lower.starts_with("postgresql:") {
            return Err(CliError::usage("a PostgreSQL URL begins with postgres://").with_hint(HINT));
        }
        let keywords = [
            "host=",
            "hostaddr=",
            "port=",
            "dbname=",
            "user=",
            "password=",
            "service=",
            "passfile=",
        ];
        if lower
            .split_whitespace()
            .any(|word| keywords.iter().any(|keyword| word.starts_with(keyword)))
        {
            return Err(
                CliError::usage("the log is named by a connection string, not by a URL").with_hint(HINT),
            );
        }
        Ok(Self::Snapshot(text.into()))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::{ErrorKind, ExitStatus};

    #[derive(Debug, Parser)]
    struct Tool {
        #[command(flatten)]
        db: DbArg,
    }

    fn target(value: &str) -> Result<DbTarget, CliError> {
        DbTarget::parse(value.as_ref())
    }

    #[test]
    fn urls_of_postgresql_and_paths_are_told_apart() {
        for url in [
            "postgres://u:p@h/d",
            "postgresql:///d?host=/tmp",
            "POSTGRES://h/d",
        ] {
            let Ok(DbTarget::Postgres(parsed)) = target(url) else {
                panic!("{url}")
            };
            assert_eq!(parsed.expose(), url);
        }
        for (value, path) in [
            ("log.db", "log.db"),
            ("/srv/log.db", "/srv/log.db"),
            ("sqlite:log.db", "log.db"),
            ("sqlite:///srv/log.db", "/srv/log.db"),
            ("sqlite://log.db", "log.db"),
            ("./host=x", "./host=x"),
            ("C:log.db", "C:log.db"),
        ] {
            assert_eq!(target(value).unwrap(), DbTarget::Snapshot(path.into()));
        }
    }

    #[test]
    fn other_things_are_refused_without_showing_their_secrets() {
        for value in [
            "mysql://u:s3cret@h/d",
            "https://h/s3cret",
            "postgres:u:s3cret@h/d",
            "host=h password=s3cret",
            "user=u password = s3cret",
            "sqlite:",
            "sqlite://",
        ] {
            let error = target(value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{value}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{value}");
            assert!(error.hint().is_some(), "{value}");
        }
    }

    #[test]
    fn no_name_is_a_usage_error() {
        for raw in [None, Some(RawDb(OsString::new()))] {
            let schema = SchemaArg::default();
            let error = DbArg { raw, schema }.target().unwrap_err();
            assert_eq!(error.exit_status(), ExitStatus::USAGE);
            assert!(error.hint().unwrap().contains("DATABASE_URL"));
        }
    }

    #[test]
    fn a_password_is_shown_nowhere() {
        let tool = Tool::parse_from(["tool", "--db", "postgres://me:s3cret@h/d?sslpassword=s3cret"]);
        let target = tool.db.target().unwrap();
        for shown in [format!("{tool:?}"), format!("{target:?}"), format!("{target}")] {
            assert!(
                shown.contains("postgres://me:***@h/d") && !shown.contains("s3cret"),
                "{shown}"
            );
        }
        let error =
            Tool::try_parse_from(["tool", "--db", "postgres://me:s3cret@h/d", "--other"]).unwrap_err();
        assert!(!error.to_string().contains("s3cret"));
    }

    #[test]
    fn a_schema_goes_with_a_database_and_not_with_a_file() {
        let tool = Tool::parse_from(["tool", "--db", "postgres://h/d", "--schema", "tenant_a"]);
        let Ok(DbTarget::Postgres(url)) = tool.db.target() else {
            panic!("a database")
        };
        assert_eq!(url.schema(), Some("tenant_a"));
        let tool = Tool::parse_from(["tool", "--db", "log.db", "--schema", "tenant_a"]);
        assert_eq!(tool.db.target().unwrap_err().exit_status(), ExitStatus::USAGE);
    }

    #[cfg(unix)]
    #[test]
    fn a_path_need_not_be_utf8() {
        use std::os::unix::ffi::OsStrExt;

        let path = OsStr::from_bytes(b"log-\xff.db");
        assert_eq!(DbTarget::parse(path).unwrap(), DbTarget::Snapshot(path.into()));
    }
}
