//! Reaching a PostgreSQL server.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use cli_common::{Cancel, ConnectionSettings, HostSettings, PostgresUrl, TargetServer, Wait};
use sqlx::postgres::{PgConnectOptions, PgRow};
use sqlx::{ConnectOptions as _, Executor as _, PgConnection, Row as _};

use crate::bind::postgres_arguments;
use crate::error::LogError;
use crate::sql::postgres;
use crate::value::Value;

/// How long connecting to one server may take, if the URL does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a pending connection is looked after.
const TICK: Duration = Duration::from_millis(50);

/// How the sessions of this tool are named on the server. A name that the user gives comes after it: undo knows its own
/// sessions, and those that a pooler keeps of them, by it.
const APPLICATION: &str = "ves-toolkit";

fn application(given: Option<&str>) -> String {
    match given {
        None | Some("") => APPLICATION.to_owned(),
        Some(given) => format!("{APPLICATION} {given}"),
    }
}

/// A server, or several of which one is to be found.
#[derive(Debug, Clone)]
pub(crate) struct Server {
    target: String,
    settings: Arc<ConnectionSettings>,
    /// Those to try. Once one is reached, that alone: a second connection must lead to the same.
    hosts: Vec<Host>,
}

/// One server.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    settings: HostSettings,
    options: Box<PgConnectOptions>,
}

impl Host {
    fn new(settings: &HostSettings, all: &ConnectionSettings) -> Self {
        let mut options = PgConnectOptions::new_without_pgpass()
            .application_name(&application(all.application_name.as_deref()))
            // A pooler may refuse it at the start; the transactions set it.
            .extra_float_digits(None)
            .statement_cache_capacity(0)
            .disable_statement_logging();
        options = match settings.host.strip_prefix('/') {
            Some(_) => options.socket(&settings.host),
            None => options.host(&settings.host),
        };
        options = options
            .port(settings.port)
            .password(settings.password.as_deref().unwrap_or(""));
        if let Some(user) = &all.user {
            options = options.username(user);
        }
        if let Some(database) = &all.database {
            options = options.database(database);
        }
        if let Some(mode) = all.ssl_mode.as_deref().and_then(|mode| mode.parse().ok()) {
            options = options.ssl_mode(mode);
        }
        if let Some(path) = &all.ssl_root_cert {
            options = options.ssl_root_cert(path);
        }
        if let Some(path) = &all.ssl_cert {
            options = options.ssl_client_cert(path);
        }
        if let Some(path) = &all.ssl_key {
            options = options.ssl_client_key(path);
        }
        Self {
            settings: settings.clone(),
            options: Box::new(options),
        }
    }

    /// Where it is, for messages.
    pub(crate) fn name(&self) -> String {
        let HostSettings { host, port, .. } = &self.settings;
        if self.is_socket() {
            format!("{host}/.s.PGSQL.{port}")
        } else if host.contains(':') {
            format!("[{host}]:{port}")
        } else {
            format!("{host}:{port}")
        }
    }

    pub(crate) fn is_socket(&self) -> bool {
        self.settings.host.starts_with('/')
    }

    pub(crate) fn user(&self) -> &str {
        self.options.get_username()
    }

    pub(crate) fn database(&self) -> &str {
        self.options.get_database().unwrap_or_else(|| self.user())
    }

    pub(crate) fn password_from(&self) -> Option<&str> {
        self.settings.password_from.as_deref()
    }
}

/// A server that was not taken, and why.
struct Passed {
    what: String,
    hint: String,
}

impl Server {
    pub(crate) fn new(url: &PostgresUrl) -> Self {
        let settings = Arc::new(url.settings().clone());
        Self {
            target: url.to_string(),
            hosts: settings
                .hosts
                .iter()
                .map(|host| Host::new(host, &settings))
                .collect(),
            settings,
        }
    }

    pub(crate) fn settings(&self) -> &ConnectionSettings {
        &self.settings
    }

    /// Where the server is, for messages.
    pub(crate) fn name(&self) -> String {
        let names: Vec<String> = self.hosts.iter().map(Host::name).collect();
        names.join(", ")
    }

    /// The user.
    pub(crate) fn user(&self) -> &str {
        self.hosts.first().map_or("", Host::user)
    }

    /// Connects to the first server that lets us in and is of the wanted kind; says which that is.
    pub(crate) async fn connect(&self, cancel: &Cancel) -> Result<(PgConnection, Self), LogError> {
        let mut passed = Vec::new();
        let wanted = self.settings.target;
        let rounds: &[TargetServer] = match wanted {
            TargetServer::PreferStandby => &[TargetServer::Standby, TargetServer::Any],
            _ => &[wanted],
        };
        for &wanted in rounds {
            passed.clear();
            for host in &self.hosts {
                match self.try_host(host, wanted, cancel).await? {
                    Ok(connection) => {
                        let server = Self {
                            hosts: vec![host.clone()],
                            ..self.clone()
                        };
                        return Ok((connection, server));
                    }
                    Err(reason) => passed.push((host, reason)),
                }
            }
        }
        Err(self.none_of(passed))
    }

    fn none_of(&self, passed: Vec<(&Host, Passed)>) -> LogError {
        let (mut what, mut hint) = (String::new(), String::new());
        let several = passed.len() > 1;
        for (host, reason) in passed {
            if several {
                let between = if what.is_empty() { "" } else { "; " };
                let _ = write!(what, "{between}{}: {}", host.name(), reason.what);
            } else {
                what = reason.what;
            }
            if !hint.contains(&reason.hint) {
                let between = if hint.is_empty() { "" } else { "; " };
                let _ = write!(hint, "{between}{}", reason.hint);
            }
        }
        if let Some(more) = self.settings.password_hint() {
            let _ = write!(hint, "; {more}");
        }
        LogError::Connect {
            target: self.target.clone(),
            what,
            hint,
        }
    }

    async fn try_host(
        &self,
        host: &Host,
        wanted: TargetServer,
        cancel: &Cancel,
    ) -> Result<Result<PgConnection, Passed>, LogError> {
        let doing = "connecting";
        let limit = self.settings.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        let mut attempt = std::pin::pin!(tokio::time::timeout(limit, self.open(host, wanted)));
        let mut wait = Wait::begin();
        loop {
            tokio::select! {
                biased;
                opened = &mut attempt => return Ok(opened.unwrap_or_else(|_| Err(Passed {
                    what: format!("no answer within {} s", limit.as_secs()),
                    hint: format!(
                        "does something keep packets from {}, is the server too busy, or does a pooler there wait for it? \
                         connect_timeout in the URL sets how long to wait",
                        host.name()
                    ),
                }))),
                () = tokio::time::sleep(TICK) => {}
            }
            if cancel.is_cancelled() {
                let what = "nothing was begun".into();
                return Err(LogError::Cancelled {
                    doing,
                    what,
                    is_known: true,
                });
            }
            if wait.is_due() {
                wait.say(&format!("for {} to let us in", host.name()));
            }
        }
    }

    async fn open(&self, host: &Host, wanted: TargetServer) -> Result<PgConnection, Passed> {
        let failed = |error: &sqlx::Error| {
            let (what, hint) = self.blame_connect(host, error);
            Passed { what, hint }
        };
        let mut connection = host.options.connect().await.map_err(|e| failed(&e))?;
        if wanted == TargetServer::Any {
            return Ok(connection);
        }
        let row = connection
            .fetch_one(sqlx::raw_sql(postgres!("target_server")))
            .await
            .map_err(|e| failed(&e))?;
        // Text, as all that comes without being prepared.
        let of = |column: usize| {
            row.try_get_unchecked::<String, _>(column)
                .is_ok_and(|text| text == "1")
        };
        let (in_recovery, read_only) = (of(0), of(1));
        let is_wanted = match wanted {
            TargetServer::Any | TargetServer::PreferStandby => true,
            TargetServer::ReadWrite => !read_only,
            TargetServer::ReadOnly => read_only,
            TargetServer::Primary => !in_recovery,
            TargetServer::Standby => in_recovery,
        };
        if is_wanted {
            return Ok(connection);
        }
        Err(Passed {
            what: format!(
                "the server is {}, and target_session_attrs={} was asked for",
                if in_recovery {
                    "in recovery"
                } else if read_only {
                    "read-only by default"
                } else {
                    "a primary that takes writes"
                },
                wanted.as_str()
            ),
            hint: "name the right server too, or another kind in target_session_attrs".into(),
        })
    }

    /// Asks one question through a connection of its own, which nobody looks after.
    pub(crate) async fn ask(
        &self,
        doing: &'static str,
        sql: &'static str,
        parameters: &[Value],
    ) -> Result<Vec<PgRow>, LogError> {
        let Some(host) = self.hosts.first() else {
            return Ok(Vec::new());
        };
        let mut connection = host.options.connect().await.map_err(|error| {
            let (what, hint) = self.blame_connect(host, &error);
            LogError::Connect {
                target: self.target.clone(),
                what,
                hint,
            }
        })?;
        let failed = |error| self.blame(doing, sql, error);
        // In a transaction, so that a pooler does not send its parts to different connections.
        let begin = sqlx::raw_sql(postgres!("begin_question"));
        connection.execute(begin).await.map_err(failed)?;
        let arguments = postgres_arguments(parameters).map_err(|e| LogError::made(doing, e))?;
        let question = sqlx::query_with(sql, arguments).persistent(false);
        connection.fetch_all(question).await.map_err(failed)
    }

    /// That nothing answered in time.
    pub(crate) fn no_answer(&self, limit: Duration) -> LogError {
        LogError::Connect {
            target: self.target.clone(),
            what: format!("no answer within {} s", limit.as_secs()),
            hint: "is the server still there, and the network? Has a pooler there no connection free (its pool_size)?"
                .into(),
        }
    }
}
