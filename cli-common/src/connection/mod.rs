//! How to reach a PostgreSQL server: what libpq makes of the same URL, environment and files.

mod files;
mod text;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::CliError;

/// How to reach a PostgreSQL server. It may hold a password, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectionSettings {
    /// The servers to try, in this order.
    pub hosts: Vec<HostSettings>,
    /// The user; the system's name of whoever runs the tool if none is given.
    pub user: Option<String>,
    /// The database; named as the user if none is given.
    pub database: Option<String>,
    /// Which kind of server is wanted.
    pub target: TargetServer,
    /// How long connecting to one server may take.
    pub connect_timeout: Option<Duration>,
    /// `sslmode`.
    pub ssl_mode: Option<String>,
    /// `sslrootcert`.
    pub ssl_root_cert: Option<String>,
    /// `sslcert`.
    pub ssl_cert: Option<String>,
    /// `sslkey`.
    pub ssl_key: Option<String>,
    /// `application_name`.
    pub application_name: Option<String>,
    /// Settings of the session, from `options` (`-c name=value`).
    pub session: Vec<(String, String)>,
    /// A character of the password that other programs read as something else.
    pub raw_character: Option<char>,
}

/// One server.
#[derive(Clone, PartialEq, Eq)]
pub struct HostSettings {
    /// Its name or address, or the folder of its socket, which begins with a slash.
    pub host: String,
    /// Its port; it names the socket too.
    pub port: u16,
    /// The password.
    pub password: Option<String>,
    /// Where the password is from, for messages.
    pub password_from: Option<String>,
}

/// Which kind of server is wanted (`target_session_attrs`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TargetServer {
    /// Any that lets us in.
    #[default]
    Any,
    /// One that takes writes.
    ReadWrite,
    /// One that takes none.
    ReadOnly,
    /// One that is not in recovery.
    Primary,
    /// One that is in recovery.
    Standby,
    /// One that is in recovery, or else any.
    PreferStandby,
}

impl TargetServer {
    /// As it is written in a URL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::ReadWrite => "read-write",
            Self::ReadOnly => "read-only",
            Self::Primary => "primary",
            Self::Standby => "standby",
            Self::PreferStandby => "prefer-standby",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        [
            Self::Any,
            Self::ReadWrite,
            Self::ReadOnly,
            Self::Primary,
            Self::Standby,
            Self::PreferStandby,
        ]
        .into_iter()
        .find(|target| target.as_str() == text)
    }
}

impl fmt::Debug for ConnectionSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionSettings")
            .field("hosts", &self.hosts)
            .field("user", &self.user)
            .field("database", &self.database)
            .field("target", &self.target)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for HostSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Parameters by their names, as libpq knows them.
type Parameters = BTreeMap<String, String>;

/// The environment: a variable by its name.
type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Parameters that are read here.
const USED: [&str; 18] = [
    "host",
    "hostaddr",
    "port",
    "dbname",
    "user",
    "password",
    "passfile",
    "service",
    "servicefile",
    "connect_timeout",
    "target_session_attrs",
    "sslmode",
    "sslrootcert",
    "sslcert",
    "sslkey",
    "application_name",
    "fallback_application_name",
    "options",
];

/// Parameters of libpq that change nothing here: how the connection is kept alive, and what this tool decides itself.
const WITHOUT_EFFECT: [&str; 14] = [
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
    "client_encoding",
    "gssencmode",
    "gssdelegation",
    "krbsrvname",
    "gsslib",
    "sslcompression",
    "sslsni",
    "statement-cache-capacity",
    "min_protocol_version",
];

/// Parameters of libpq that somebody may count on, and that are not heeded: they are told.
const NOT_HEEDED: [&str; 12] = [
    "load_balance_hosts",
    "channel_binding",
    "require_auth",
    "requirepeer",
    "replication",
    "sslcrl",
    "sslcrldir",
    "sslpassword",
    "sslnegotiation",
    "sslcertmode",
    "ssl_min_protocol_version",
    "ssl_max_protocol_version",
];

/// Other names that the parameters have elsewhere.
const ALIASES: [(&str, &str); 7] = [
    ("ssl-mode", "sslmode"),
    ("ssl-root-cert", "sslrootcert"),
    ("ssl-ca", "sslrootcert"),
    ("ssl-cert", "sslcert"),
    ("ssl-key", "sslkey"),
    ("database", "dbname"),
    ("username", "user"),
];

/// The variables that stand in for parameters that are not given.
const VARIABLES: [(&str, &str); 16] = [
    ("PGHOST", "host"),
    ("PGHOSTADDR", "hostaddr"),
    ("PGPORT", "port"),
    ("PGDATABASE", "dbname"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGOPTIONS", "options"),
    ("PGAPPNAME", "application_name"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLKEY", "sslkey"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGLOADBALANCEHOSTS", "load_balance_hosts"),
];

impl ConnectionSettings {
    /// What to try if the password is refused: it may not be the one that was meant.
    #[must_use]
    pub fn password_hint(&self) -> Option<String> {
        self.raw_character.map(text::encode)
    }

    /// Reads a URL, `postgres://…` or `postgresql://…`.
    ///
    /// # Errors
    /// A usage error that says what cannot be read, without repeating it.
    pub(crate) fn of_url(url: &str, environment: Environment<'_>) -> Result<Self, CliError> {
        let raw_character = text::raw_character(url);
        let given = text::read_url(url).map_err(|what| text::unreadable(&what))?;
        Self::of_parameters(given, raw_character, environment)
    }

    /// Reads a connection string, `host=… dbname=…`.
    ///
    /// # Errors
    /// As [`ConnectionSettings::of_url`].
    pub(crate) fn of_keywords(line: &str, environment: Environment<'_>) -> Result<Self, CliError> {
        let given = text::read_keywords(line).map_err(|what| {
            CliError::usage(format!("the connection string of the log cannot be read: {what}"))
                .with_hint("write name=value, and a value with spaces in single quotes; or give a URL")
        })?;
        Self::of_parameters(given, None, environment)
    }

    fn of_parameters(
        given: Parameters,
        raw_character: Option<char>,
        environment: Environment<'_>,
    ) -> Result<Self, CliError> {
        let mut all = Parameters::new();
        let mut password_from = None;
        for (name, value) in given {
            take(&mut all, name, value);
        }
        note_password(&all, &mut password_from, "the URL");
        let text_of = |name: &str| environment(name).and_then(|value| value.into_string().ok());
        let service = all.get("service").cloned().or_else(|| text_of("PGSERVICE"));
        if let Some(service) = service.filter(|service| !service.is_empty()) {
            let file = all.get("servicefile").map(PathBuf::from);
            for (name, value) in files::service(&service, file, environment)? {
                if !all.contains_key(&name) {
                    take(&mut all, name, value);
                }
            }
            note_password(&all, &mut password_from, "the service file");
        }
        for (variable, name) in VARIABLES {
            if let Some(value) = text_of(variable).filter(|value| !value.is_empty()) {
                all.entry(name.to_owned()).or_insert(value);
            }
        }
        note_password(&all, &mut password_from, "PGPASSWORD");
        Self::resolve(&all, password_from.as_deref(), raw_character, environment)
    }

    fn resolve(
        all: &Parameters,
        password_from: Option<&str>,
        raw_character: Option<char>,
        environment: Environment<'_>,
    ) -> Result<Self, CliError> {
        let of = |name: &str| all.get(name).filter(|value| !value.is_empty()).cloned();
        let user = of("user").or_else(|| {
            ["USER", "LOGNAME"]
                .into_iter()
                .find_map(|name| environment(name)?.into_string().ok())
                .filter(|name| !name.is_empty())
        });
        let database = of("dbname").or_else(|| user.clone());
        let mut hosts = hosts(all)?;
        let passfile = of("passfile")
            .map(PathBuf::from)
            .or_else(|| files::home(environment, ".pgpass"));
        for host in &mut hosts {
            host.password = of("password");
            host.password_from = password_from.map(str::to_owned);
            if host.password.is_none()
                && let (Some(path), Some(user)) = (&passfile, &user)
                && let Some(password) = files::password(path, host, database.as_deref(), user)
            {
                host.password = Some(password);
                host.password_from = Some(path.display().to_string());
            }
        }
        let target = target_server(of("target_session_attrs"))?;
        let connect_timeout = connect_timeout(of("connect_timeout"))?;
        let ssl_mode = ssl_mode(of("sslmode"))?;
        let ssl_root_cert = of("sslrootcert").filter(|path| path != "system").or_else(|| {
            let default = files::home(environment, ".postgresql/root.crt").filter(|path| path.exists())?;
            let verified = ssl_mode.as_deref().is_some_and(|mode| mode.starts_with("verify"));
            (verified && !all.contains_key("sslrootcert")).then(|| default.display().to_string())
        });
        Ok(Self {
            hosts,
            user,
            database,
            target,
            connect_timeout,
            ssl_mode,
            ssl_root_cert,
            ssl_cert: of("sslcert"),
            ssl_key: of("sslkey"),
            application_name: of("application_name").or_else(|| of("fallback_application_name")),
            session: text::read_options(&of("options").unwrap_or_default())
                .map_err(|what| usage(&what, "write options as `-c name=value`"))?,
            raw_character,
        })
    }
}

fn target_server(text: Option<String>) -> Result<TargetServer, CliError> {
    let Some(text) = text else {
        return Ok(TargetServer::Any);
    };
    TargetServer::parse(&text).ok_or_else(|| {
        usage(
            "target_session_attrs is none of the kinds of servers",
            "give any, read-write, read-only, primary, standby or prefer-standby",
        )
    })
}

fn connect_timeout(text: Option<String>) -> Result<Option<Duration>, CliError> {
    let Some(text) = text else {
        return Ok(None);
    };
    let seconds: i64 = text
        .trim()
        .parse()
        .map_err(|_| usage("connect_timeout is not a number of seconds", "give whole seconds"))?;
    // Libpq never waits less than two seconds.
    let seconds = u64::try_from(seconds).ok().filter(|seconds| *seconds > 0);
    Ok(seconds.map(|seconds| Duration::from_secs(seconds.max(2))))
}

fn ssl_mode(text: Option<String>) -> Result<Option<String>, CliError> {
    const MODES: [&str; 6] = [
        "disable",
        "allow",
        "prefer",
        "require",
        "verify-ca",
        "verify-full",
    ];
    match text {
        Some(mode) if !MODES.contains(&mode.as_str()) => Err(usage(
            "sslmode is none of the modes",
            "give disable, allow, prefer, require, verify-ca or verify-full",
        )),
        mode => Ok(mode),
    }
}

fn usage(what: &str, hint: &str) -> CliError {
    CliError::usage(format!("the URL of the log: {what}")).with_hint(hint)
}

fn note_password(all: &Parameters, from: &mut Option<String>, source: &str) {
    if from.is_none() && all.get("password").is_some_and(|password| !password.is_empty()) {
        *from = Some(source.to_owned());
    }
}

/// Takes a parameter that is known. One that is not is told, though not by its name: that may be the end of a password
/// with a `?` in it.
fn take(all: &mut Parameters, name: String, value: String) {
    let name = match ALIASES.iter().find(|(alias, _)| *alias == name) {
        Some((_, name)) => (*name).to_owned(),
        None => name,
    };
    if let Some(setting) = name
        .strip_prefix("options[")
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let options = all.entry("options".into()).or_default();
        options.push_str(&format!(
            " -c {setting}={}",
            value.replace('\\', "\\\\").replace(' ', "\\ ")
        ));
    } else if name == "ssl" {
        if value == "true" {
            all.insert("sslmode".into(), "require".into());
        }
    } else if USED.contains(&name.as_str()) {
        all.insert(name, value);
    } else if let Some(name) = NOT_HEEDED.iter().find(|known| **known == name) {
        if !["disable", "prefer", "any", "allow", ""].contains(&value.as_str()) {
            tracing::warn!("{name} in the URL of the log is not heeded: this tool does not know it");
        }
    } else if !WITHOUT_EFFECT.contains(&name.as_str()) && !name.is_empty() {
        tracing::warn!("ignoring a parameter of the database URL that is not known");
    }
}

/// The servers that the lists of names and ports name.
fn hosts(all: &Parameters) -> Result<Vec<HostSettings>, CliError> {
    let list = |name: &str| -> Vec<String> {
        let text = all.get(name).map_or("", String::as_str);
        text.split(',').map(|item| item.trim().to_owned()).collect()
    };
    let (names, addresses, ports) = (list("host"), list("hostaddr"), list("port"));
    let given = all.get("hostaddr").is_some_and(|addresses| !addresses.is_empty());
    let names = if given && (all.get("host").is_none() || addresses.len() == names.len()) {
        addresses
    } else {
        names
    };
    if ports.len() != 1 && ports.len() != names.len() {
        return Err(usage(
            "there are not as many ports as hosts",
            "give one port for all hosts, or one for each",
        ));
    }
    let mut hosts = Vec::new();
    for (at, name) in names.into_iter().enumerate() {
        let port = ports.get(at).or(ports.first()).filter(|port| !port.is_empty());
        let port = match port {
            None => 5432,
            Some(port) => port
                .parse::<u16>()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| text::unreadable("a port is not a number between 1 and 65535"))?,
        };
        let host = if name.is_empty() { default_host(port) } else { name };
        hosts.push(HostSettings {
            host,
            port,
            password: None,
            password_from: None,
        });
    }
    Ok(hosts)
}

/// Where a server of this machine listens: on a socket where packages put it, if there is one.
fn default_host(port: u16) -> String {
    ["/var/run/postgresql", "/private/tmp", "/tmp"]
        .into_iter()
        .find(|folder| Path::new(folder).join(format!(".s.PGSQL.{port}")).exists())
        .unwrap_or("localhost")
        .to_owned()
}

#[cfg(test)]
mod tests;
