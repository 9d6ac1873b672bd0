//! The files that libpq reads: services and passwords.

use std::fs;
use std::path::{Path, PathBuf};

use super::{Environment, HostSettings};
use crate::CliError;

/// Where packages put the services of a machine.
const SYSTEM_SERVICES: [&str; 2] = ["/etc/postgresql-common/pg_service.conf", "/etc/pg_service.conf"];

/// More than any file of services or passwords has.
const MAX_FILE: u64 = 1 << 20;

/// A file below the home folder.
pub(super) fn home(environment: Environment<'_>, name: &str) -> Option<PathBuf> {
    let home = environment("HOME").filter(|home| !home.is_empty())?;
    Some(PathBuf::from(home).join(name))
}

/// The parameters of a service: of the first file that knows it.
pub(super) fn service(
    name: &str,
    given: Option<PathBuf>,
    environment: Environment<'_>,
) -> Result<Vec<(String, String)>, CliError> {
    let own = given
        .or_else(|| {
            environment("PGSERVICEFILE")
                .filter(|path| !path.is_empty())
                .map(PathBuf::from)
        })
        .or_else(|| home(environment, ".pg_service.conf"));
    let system = environment("PGSYSCONFDIR").map(|folder| PathBuf::from(folder).join("pg_service.conf"));
    let files: Vec<PathBuf> = own
        .into_iter()
        .chain(system)
        .chain(SYSTEM_SERVICES.map(PathBuf::from))
        .collect();
    for path in files.iter().filter(|path| path.exists()) {
        let text = read(path).map_err(|e| {
            CliError::input(format!("{}: {e}", path.display()))
                .with_hint("is it a file of services that you may read?")
        })?;
        if let Some(found) = section(&text, name) {
            return found.map_err(|line| {
                CliError::input(format!("{}, line {line}: not name=value", path.display()))
                    .with_hint("a service has one parameter of libpq a line, as host=db.example")
            });
        }
    }
    let looked: Vec<String> = files.iter().map(|path| path.display().to_string()).collect();
    Err(
        CliError::usage(format!("no file of services has the service {name:?}")).with_hint(format!(
            "looked for in {}; PGSERVICEFILE names another",
            looked.join(", ")
        )),
    )
}

fn read(path: &Path) -> std::io::Result<String> {
    use std::io::Read as _;
    let mut text = String::new();
    fs::File::open(path)?.take(MAX_FILE).read_to_string(&mut text)?;
    Ok(text)
}

/// The lines of a section, or the number of the first that cannot be read; `None` if there is no such section.
fn section(text: &str, name: &str) -> Option<Result<Vec<(String, String)>, usize>> {
    let mut lines = (1..).zip(text.lines().map(str::trim));
    lines.find(|(_, line)| line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) == Some(name))?;
    let mut found = Vec::new();
    for (number, line) in lines {
        if line.starts_with('[') {
            break;
        }
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        match line.split_once('=') {
            Some((name, value)) => found.push((name.trim().to_owned(), value.trim().to_owned())),
            None => return Some(Err(number)),
        }
    }
    Some(Ok(found))
}

/// The password for a server, as the first line of a password file that fits says.
pub(super) fn password(
    path: &Path,
    host: &HostSettings,
    database: Option<&str>,
    user: &str,
) -> Option<String> {
    let metadata = fs::metadata(path).ok()?;
    if !metadata.is_file() {
        return None;
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        if metadata.permissions().mode() & 0o077 != 0 {
            tracing::warn!(
                "{} is not read: others may read it too (chmod 600 makes it yours)",
                path.display()
            );
            return None;
        }
    }
    let text = read(path).ok()?;
    let port = host.port.to_string();
    let fits = |field: &str, value: &str| field == "*" || field == value;
    let is_socket = host.host.starts_with('/');
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .find_map(|line| {
            let [at, its_port, its_database, its_user, password] = fields(line)?;
            let host = fits(&at, &host.host) || (is_socket && at == "localhost");
            let fits = host
                && fits(&its_port, &port)
                && fits(&its_database, database.unwrap_or(user))
                && fits(&its_user, user);
            fits.then_some(password).filter(|password| !password.is_empty())
        })
}

/// The five fields of a line: between colons, of which one after a backslash counts as itself.
fn fields(line: &str) -> Option<[String; 5]> {
    let mut fields = vec![String::new()];
    let mut characters = line.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => {
                let next = characters.next()?;
                fields.last_mut()?.push(next);
            }
            ':' if fields.len() < 5 => fields.push(String::new()),
            c => fields.last_mut()?.push(c),
        }
    }
    fields.try_into().ok()
}
