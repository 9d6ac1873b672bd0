//! Which log to work on: `--db`.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::PathBuf;

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};

use crate::archive::ArchiveAddress;
use crate::connection::ConnectionSettings;
use crate::{CliError, CommandLine, redact_text, redact_url};

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
    /// The argument as words of a command line; none if it was not given.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let words = self
            .schema
            .iter()
            .flat_map(|name| ["--schema".into(), name.into()]);
        words.collect()
    }

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

/// A PostgreSQL URL, or a connection string of libpq. It may hold a password, so it is shown redacted.
#[derive(Clone, PartialEq, Eq)]
pub struct PostgresUrl {
    text: String,
    settings: Box<ConnectionSettings>,
    schema: Option<String>,
}

impl PostgresUrl {
    /// The URL with its secrets; not to be printed.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The schema that the log is in, if one is named.
    #[must_use]
    pub fn schema(&self) -> Option<&str> {
        self.schema.as_deref()
    }

    /// What the URL, the environment and libpq's files say of how to connect.
    #[must_use]
    pub fn settings(&self) -> &ConnectionSettings {
        &self.settings
    }
}

impl fmt::Display for PostgresUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.text.contains("://") {
            return f.write_str(&redact_url(&self.text));
        }
        // A connection string: what it says, without its password.
        let hosts: Vec<&str> = self
            .settings
            .hosts
            .iter()
            .map(|host| host.host.as_str())
            .collect();
        let ports: Vec<String> = self
            .settings
            .hosts
            .iter()
            .map(|host| host.port.to_string())
            .collect();
        let mut shown = format!("host={} port={}", hosts.join(","), ports.join(","));
        if let Some(database) = &self.settings.database {
            shown += &format!(" dbname={database}");
        }
        if let Some(user) = &self.settings.user {
            shown += &format!(" user={user}");
        }
        // What stands behind `host=` and a space is the host, even if it reads password=….
        f.write_str(&redact_text(&shown))
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

/// The name of a log as words of a command line (`--db`): none if `DATABASE_URL` says it already.
#[must_use]
pub fn db_words(name: &OsStr) -> Vec<OsString> {
    if std::env::var_os("DATABASE_URL").is_some_and(|url| url == name) {
        return Vec::new();
    }
    vec!["--db".into(), name.into()]
}

impl CommandLine {
    /// With `--db` and `--schema`, if `DATABASE_URL` does not say it already. A URL that holds a secret is named by the
    /// variable that it comes from.
    #[must_use]
    pub fn db(self, target: &DbTarget) -> Self {
        match target {
            DbTarget::Snapshot(_) => self.option("--db", target),
            DbTarget::Postgres(url) => self
                .with(db_words(OsStr::new(url.expose())))
                .options("--schema", url.schema()),
        }
    }
}

impl DbArg {
    /// The log as words of a command line; none if it was not named, or `DATABASE_URL` says it already.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        let mut words = self.raw.as_ref().map_or_else(Vec::new, |raw| db_words(&raw.0));
        words.extend(self.schema.words());
        words
    }

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

    /// Reads the name of a log: `postgres://…`, `postgresql://…` or a connection string of libpq (`host=… dbname=…`) is
    /// PostgreSQL; a path, with `sqlite:` before it or without, is a snapshot file. Whether it exists is not asked here.
    ///
    /// What a URL does not say comes from where libpq has it: the environment (`PGHOST` and the like), a file of
    /// services, a file of passwords.
    ///
    /// # Errors
    /// A usage error for the URL of anything else, and for one that cannot be read. The value is repeated only as far as
    /// it holds no secret.
    pub fn parse(value: &OsStr) -> Result<Self, CliError> {
        Self::parse_in(value, &|name| std::env::var_os(name))
    }

    fn parse_in(value: &OsStr, environment: &dyn Fn(&str) -> Option<OsString>) -> Result<Self, CliError> {
        const HINT: &str = "give postgres://user@host/database or the path of a snapshot file";
        const ARCHIVE_HINT: &str = "an archive of events is a witness (--witness, --missing-from); `event-archive snapshot` \
                                    makes a snapshot of it, which is a log";
        let Some(text) = value.to_str() else {
            return Ok(Self::Snapshot(value.into()));
        };
        let postgres = |settings: ConnectionSettings| {
            Self::Postgres(PostgresUrl {
                text: text.to_owned(),
                settings: Box::new(settings),
                schema: None,
            })
        };
        let lower = text.to_ascii_lowercase();
        if lower.starts_with("postgres://") || lower.starts_with("postgresql://") {
            return ConnectionSettings::of_url(text, environment).map(postgres);
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
            let hint = match ArchiveAddress::recognise(value) {
                Some(_) => ARCHIVE_HINT,
                None => HINT,
            };
            return Err(
                CliError::usage(format!("{scheme}:// is not a log that can be worked on")).with_hint(hint),
            );
        }
        if lower.starts_with("postgres:") || lower.starts_with("postgresql:") {
            return Err(CliError::usage("a PostgreSQL URL begins with postgres://").with_hint(HINT));
        }
        if is_connection_string(&lower) {
            return ConnectionSettings::of_keywords(text, environment).map(postgres);
        }
        Ok(Self::Snapshot(text.into()))
    }
}

/// Whether a text is a connection string rather than a path.
fn is_connection_string(lower: &str) -> bool {
    const KEYWORDS: [&str; 9] = [
        "host", "hostaddr", "port", "user", "dbname", "password", "sslmode", "service", "passfile",
    ];
    lower
        .split_once('=')
        .is_some_and(|(name, _)| KEYWORDS.contains(&name.trim()))
        || lower.split_whitespace().skip(1).any(|word| {
            KEYWORDS.iter().any(|keyword| {
                word.strip_prefix(keyword)
                    .is_some_and(|rest| rest.starts_with('='))
            })
        })
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
            "host=h user password=s3cret",
            "user=u password = 's3cret",
            "postgres://u:p/s3cret@h/d",
            "postgres://u:s3cret@t@h/d",
            "sqlite:",
            "sqlite://",
            "s3://me:s3cret@bucket/archive",
        ] {
            let error = target(value).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Usage, "{value}");
            assert!(!format!("{error} {error:?}").contains("s3cret"), "{value}");
            assert!(error.hint().is_some(), "{value}");
        }
    }

    #[test]
    fn connection_strings_are_shown_without_their_password() {
        let target =
            DbTarget::parse_in("host=h password = s3cret user=me dbname=log".as_ref(), &|_| None).unwrap();
        for shown in [format!("{target}"), format!("{target:?}")] {
            assert!(shown.contains("host=h port=5432 dbname=log user=me"), "{shown}");
            assert!(!shown.contains("s3cret"), "{shown}");
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
