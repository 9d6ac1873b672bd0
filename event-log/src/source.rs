//! Where a log is.

use std::fmt;
use std::path::PathBuf;

use sqlx::postgres::PgConnectOptions;

/// Where a log is. Printed without its password, also by `{:?}`.
#[derive(Clone, PartialEq, Eq)]
pub enum Source {
    /// A `postgres://` or `postgresql://` URL.
    Postgres(String),
    /// A snapshot file.
    Snapshot(PathBuf),
}

impl Source {
    /// A URL of PostgreSQL if the text begins like one, a path otherwise.
    pub fn parse(text: &str) -> Self {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            Source::Postgres(text.to_owned())
        } else {
            Source::Snapshot(text.into())
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Snapshot(path) => path.display().fmt(f),
            // Put together from what was understood, so that nothing else of the URL can be printed.
            Source::Postgres(url) => match url.parse::<PgConnectOptions>() {
                Ok(options) => {
                    let host = match options.get_socket() {
                        Some(socket) => socket.display().to_string(),
                        None => options.get_host().to_owned(),
                    };
                    let database = options.get_database().unwrap_or(options.get_username());
                    write!(
                        f,
                        "postgres://{}@{host}:{}/{database}",
                        options.get_username(),
                        options.get_port()
                    )
                }
                Err(_) => f.write_str("postgres://…"),
            },
        }
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_never_printed() {
        for url in [
            "postgres://bob:secret@db.example:5433/log?sslmode=require&password=secret",
            "postgres://bob:secret@db.example:notaport/log",
            "postgresql://bob:secret@/log?host=/run/pg",
        ] {
            let source = Source::parse(url);
            assert!(matches!(source, Source::Postgres(_)));
            assert!(!format!("{source} {source:?}").contains("secret"), "{source}");
        }
        let source = Source::parse("postgres://bob:secret@db.example:5433/log");
        assert_eq!(source.to_string(), "postgres://bob@db.example:5433/log");
        assert_eq!(Source::parse("a/log.db"), Source::Snapshot("a/log.db".into()));
    }
}
