//! What an error of PostgreSQL means, and what to do about exactly that. Lines of its C source are not repeated.

use sqlx::postgres::PgDatabaseError;

use crate::conn::COMMITTING;
use crate::error::LogError;
use crate::server::{Host, Server};

/// What to do about a connection that a pooler stands in.
pub(crate) const POOLER: &str = "something between us and PostgreSQL said that, a pooler such as pgbouncer: let it pool by session or by \
                      transaction (pool_mode), or connect to the server itself";

impl Server {
    /// What an error of a statement means. `sql` is the statement, as far as there is one.
    pub(crate) fn blame(&self, doing: &'static str, sql: &str, error: sqlx::Error) -> LogError {
        let Some(said) = database_error(&error) else {
            return self.not_of_the_database(doing, error);
        };
        let what = || told(said);
        match said.code() {
            "40001" | "40P01" if said.message().contains("recovery") => {
                LogError::RecoveryConflict { doing, what: what() }
            }
            // lock_not_available
            "55P03" => LogError::Locked {
                doing,
                what: said.message().to_owned(),
            },
            // deadlock_detected, serialization_failure
            "40P01" | "40001" => LogError::Conflict {
                doing,
                what: said.message().to_owned(),
            },
            // data_corrupted, index_corrupted and what older servers say instead; a file that is gone or cannot be read.
            code if code.starts_with("XX") || code.starts_with("58") => {
                LogError::Damaged { doing, what: what() }
            }
            // Classes 22 (data exception: \u0000 in jsonb, say) and 23 (integrity constraint violation).
            code if code.starts_with("22") || code.starts_with("23") => {
                LogError::Refused { doing, what: what() }
            }
            _ => LogError::Postgres {
                doing,
                what: what(),
                hint: self.hint(sql, said),
                error: Box::new(error),
            },
        }
    }

    /// What an error of a statement means that the user stopped.
    pub(crate) fn blame_cancelled(&self, doing: &'static str, sql: &str, error: sqlx::Error) -> LogError {
        let (what, is_known) = match database_error(&error).map(PgDatabaseError::code) {
            // query_canceled
            Some("57014") => ("the server stopped it and rolled it back".into(), true),
            Some(_) => return self.blame(doing, sql, error),
            None => (format!("the connection broke: {error}"), false),
        };
        LogError::Cancelled {
            doing,
            what,
            is_known,
        }
    }

    fn not_of_the_database(&self, doing: &'static str, error: sqlx::Error) -> LogError {
        let (what, hint) = match &error {
            sqlx::Error::Io(io) => (
                format!(
                    "the connection to {} broke: {io}{}",
                    self.name(),
                    if doing == COMMITTING {
                        "; whether it is committed is not known, and running the command again finds out"
                    } else {
                        ""
                    }
                ),
                "look at the server's log (did it crash, or was the session ended?), then run the command again",
            ),
            sqlx::Error::Protocol(what) => (
                format!("{} answered what PostgreSQL does not: {what}", self.name()),
                "is a PostgreSQL server there, or something between that changes what it says?",
            ),
            other => (
                other.to_string(),
                "run the command again; if it fails again, this is a fault of the tool",
            ),
        };
        LogError::Postgres {
            doing,
            what,
            hint: Some(hint.into()),
            error: Box::new(error),
        }
    }

    /// What to do about an error of a statement.
    fn hint(&self, sql: &str, said: &PgDatabaseError) -> Option<String> {
        let role = self.user();
        let hint = match said.code() {
            "42501" => return Some(rights(role, sql, said)),
            "25006" | "0A000" if is_about_recovery(said) => recovery(),
            "55000" if said.message().contains("recovery") => recovery(),
            "53100" => format!(
                "a disk of the server {} is full: free space on the file system of the file that it names (below its \
                 data_directory, or in a tablespace)",
                self.name()
            ),
            "53400" => format!("the server's temp_file_limit is too low: SET it higher for {role} (ALTER ROLE {role} SET temp_file_limit = -1)"),
            "53200" => "the server has no memory left for this: lower what else runs there, or its work_mem".into(),
            "57014" => "somebody, or a time limit, cancelled the statement on the server: run the command again".into(),
            "57P01" | "57P02" | "57P03" => {
                "the server is stopped, restarted or broken: look at its log, then run the command again".into()
            }
            "25P03" | "25P04" | "57P05" => {
                "a pooler or the server ends sessions that take long: connect to the server itself, or lift that limit".into()
            }
            // A statement or a transaction that was begun on another connection of a pooler.
            "26000" | "42P05" | "08P01" | "25P01" => POOLER.into(),
            "42P01" | "42703" | "3F000" => {
                "the log's tables are not as they were when the log was opened: is a migration running?".into()
            }
            "58030" | "58P01" | "XX001" | "XX002" => {
                "the server cannot read its own files: look at its log, and at pg_amcheck, before anything is repaired".into()
            }
            _ if !is_of_the_server(said) => POOLER.into(),
            _ => return None,
        };
        Some(hint)
    }

    /// What an error of connecting means.
    pub(crate) fn blame_connect(&self, host: &Host, error: &sqlx::Error) -> (String, String) {
        let Some(said) = database_error(error) else {
            return self.cannot_reach(host, error);
        };
        let (user, database) = (host.user(), host.database());
        let at = host.name();
        let hint = match said.code() {
            "28P01" => match host.password_from() {
                Some(from) => format!("is the password of {user} at {at} right? It was taken from {from}"),
                None => no_password(user),
            },
            "28000" if said.message().contains("pg_hba.conf") => hba(said.message(), user, database),
            "28000" if said.message().contains("not permitted to log in") => {
                format!("ALTER ROLE {user} LOGIN, or give a user that may")
            }
            "28000" => format!("is {user} the right user for {at}? The server's pg_hba.conf and its roles decide"),
            "42501" => format!("GRANT CONNECT ON DATABASE {database} TO {user}"),
            "3D000" => format!(
                "the server {at} has no database {database}: is its name right, and this the right server? `psql -l` lists them"
            ),
            "53300" => {
                "close other sessions or raise max_connections (or the limit of the role or database); each command needs \
                 one connection, and one more while it waits"
                    .into()
            }
            "57P03" if said.detail().is_some_and(|d| d.contains("Hot standby")) => {
                "a server in recovery takes connections only with hot_standby = on: set that, or wait and promote it".into()
            }
            "57P03" => "the server starts, stops or recovers: wait until it is ready (pg_isready says when)".into(),
            "08P01" if said.message().contains("unsupported startup parameter") => {
                "a pooler refuses a setting of the URL or of PGOPTIONS: leave it out, or let pgbouncer ignore it (ignore_startup_parameters)".into()
            }
            "08P01" if said.message().contains("password") || said.message().contains("auth") => format!(
                "a pooler refused {user}: is the password right, and is the user in its userlist (auth_file)?"
            ),
            _ if !is_of_the_server(said) => format!(
                "a pooler at {at} said that, not PostgreSQL: does it know the database {database} and the user {user}, and can \
                 it reach the server?"
            ),
            _ => format!("is the server at {at} right, and may {user} use the database {database}?"),
        };
        (told(said), hint)
    }

    fn cannot_reach(&self, host: &Host, error: &sqlx::Error) -> (String, String) {
        use std::io::ErrorKind;
        let at = host.name();
        match error {
            sqlx::Error::Io(io) => {
                let hint = match io.kind() {
                    ErrorKind::ConnectionRefused if host.is_socket() => {
                        format!("the socket at {at} has no server behind it: is the server up?")
                    }
                    ErrorKind::ConnectionRefused => {
                        format!("is the server up, and does it listen at {at} (listen_addresses, port)?")
                    }
                    ErrorKind::NotFound if host.is_socket() => {
                        format!(
                            "no server listens on a socket at {at}: is the folder right (unix_socket_directories), and the port?"
                        )
                    }
                    ErrorKind::PermissionDenied => format!("you may not use the socket at {at}"),
                    ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset => {
                        format!(
                            "{at} hung up without a word: is a PostgreSQL server there, and does it take TLS (sslmode)?"
                        )
                    }
                    _ if io.to_string().contains("lookup") => format!("is the name of the host right: {at}?"),
                    _ => format!("is the server up, and {at} the right place?"),
                };
                (io.to_string(), hint)
            }
            sqlx::Error::Tls(tls) => (
                format!("TLS: {tls}"),
                format!(
                    "does the server at {at} speak TLS, and is its certificate one that you trust (sslmode, sslrootcert)?"
                ),
            ),
            sqlx::Error::Protocol(what) => (
                what.clone(),
                format!("what answers at {at} is no PostgreSQL server: are host and port right?"),
            ),
            other => (
                other.to_string(),
                format!("is the server up, and {at} the right place?"),
            ),
        }
    }
}

fn database_error(error: &sqlx::Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref::<PgDatabaseError>()
}

/// PostgreSQL says in which routine of its own an error arose; what stands before it does not.
fn is_of_the_server(said: &PgDatabaseError) -> bool {
    said.routine().is_some()
}

/// What was said, with its detail.
fn told(said: &PgDatabaseError) -> String {
    match said.detail() {
        Some(detail) => format!("{} ({detail})", said.message()),
        None => said.message().to_owned(),
    }
}

fn is_about_recovery(said: &PgDatabaseError) -> bool {
    said.message().contains("recovery")
        || said.message().contains("read-only transaction")
        || said.message().contains("standby")
}

fn recovery() -> String {
    "the server is in recovery and takes no writes: wait until it has replayed what it should, then promote it (SELECT \
     pg_promote()), or give the primary's URL"
        .into()
}

fn no_password(user: &str) -> String {
    format!(
        "no password was given for {user}: put it into ~/.pgpass, PGPASSFILE or PGPASSWORD, or into the URL"
    )
}

fn hba(message: &str, user: &str, database: &str) -> String {
    let plain = message.contains("no encryption") || message.contains("SSL off");
    let tls = if plain {
        "; or the server wants TLS: add sslmode=require to the URL"
    } else {
        ""
    };
    format!(
        "let the server's pg_hba.conf have a line for user {user}, database {database} and the address that it names, and \
         reload it{tls}"
    )
}

/// What a role lacks, as the GRANT that gives it.
fn rights(role: &str, sql: &str, said: &PgDatabaseError) -> String {
    let message = said.message();
    if message.contains("row-level security") {
        let table = quoted(message).or(said.table()).unwrap_or("the table");
        return format!(
            "a row security policy hides rows of {table} from role {role}, and what is hidden would be called lost: connect \
             as the owner of {table}, or let a superuser say ALTER ROLE {role} BYPASSRLS"
        );
    }
    let object = |kind: &str| message.strip_prefix(&format!("permission denied for {kind} "));
    if let Some(table) = object("table")
        .or_else(|| object("relation"))
        .or_else(|| object("view"))
    {
        return format!("GRANT {} ON {table} TO {role}", privileges(sql));
    }
    if let Some(schema) = object("schema") {
        let right = if sql.contains("CREATE ") {
            "USAGE, CREATE"
        } else {
            "USAGE"
        };
        return format!("GRANT {right} ON SCHEMA {schema} TO {role}");
    }
    if let Some(database) = object("database") {
        return format!("GRANT CREATE, TEMPORARY ON DATABASE {database} TO {role}");
    }
    if message.contains("temporary tables") {
        return format!(
            "GRANT TEMPORARY ON DATABASE {} TO {role}",
            quoted(message).unwrap_or("of the log")
        );
    }
    if let Some(function) = object("function") {
        return format!("GRANT EXECUTE ON FUNCTION {function} TO {role}");
    }
    format!("give role {role} the right that it lacks, or connect as the owner of the log's tables")
}

/// What stands in double quotes.
fn quoted(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once('"')?;
    rest.split_once('"').map(|(name, _)| name)
}

/// The privileges that a statement needs on its table.
fn privileges(sql: &str) -> &'static str {
    let verb = sql
        .lines()
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with("--"))
        .and_then(|line| line.split_whitespace().next())
        .unwrap_or("");
    match verb.to_ascii_uppercase().as_str() {
        "INSERT" | "COPY" => "SELECT, INSERT",
        "UPDATE" => "SELECT, UPDATE",
        "DELETE" => "SELECT, DELETE",
        "SELECT" if sql.contains("FOR UPDATE") => "SELECT, UPDATE",
        _ => "SELECT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn privileges_are_those_of_the_statement() {
        for (sql, right) in [
            ("-- All of it.\nSELECT 1 FROM t", "SELECT"),
            ("-- x\n\nSELECT 1 FROM t FOR UPDATE", "SELECT, UPDATE"),
            ("insert into t values (1)", "SELECT, INSERT"),
            ("UPDATE t SET a = 1", "SELECT, UPDATE"),
            ("DELETE FROM t", "SELECT, DELETE"),
            ("", "SELECT"),
        ] {
            assert_eq!(privileges(sql), right, "{sql}");
        }
        assert_eq!(quoted("for table \"ves_events\" x"), Some("ves_events"));
        assert_eq!(quoted("none"), None);
    }
}
