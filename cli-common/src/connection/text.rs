//! Reading URLs and connection strings, by the rules of libpq.

use super::Parameters;
use crate::CliError;

/// What to do about a URL that cannot be read: mostly it is the password.
const ENCODE: &str = "percent-encode what is special in user and password: @ is %40, / is %2F, : is %3A, # is %23, ? is %3F, % is %25; or \
                      leave the password out and put it into ~/.pgpass or PGPASSWORD";

/// The error for a URL that cannot be read. `what` repeats nothing of it.
pub(super) fn unreadable(what: &str) -> CliError {
    CliError::usage(format!("the URL of the log cannot be read: {what}")).with_hint(ENCODE)
}

/// What to do about a password with a character that others read otherwise.
pub(super) fn encode(character: char) -> String {
    format!(
        "the password has an unescaped `{character}`, read as part of it: if it is wrong, percent-encode it as %{:02X}",
        u32::from(character)
    )
}

/// The parts of a URL before they are decoded.
struct Parts<'a> {
    user: &'a str,
    password: Option<&'a str>,
    hosts: &'a str,
    path: &'a str,
    query: &'a str,
}

fn parts(url: &str) -> Result<Parts<'_>, String> {
    let (_, rest) = url.split_once("://").ok_or("it has no ://")?;
    // Libpq looks for the end of user and password at the first @ before any slash.
    let credentials = rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@'));
    let (user, password, rest) = match credentials {
        None => ("", None, rest),
        Some(at) => {
            let (user, password) = match rest[..at].split_once(':') {
                Some((user, password)) => (user, Some(password)),
                None => (&rest[..at], None),
            };
            (user, password, &rest[at + 1..])
        }
    };
    let (before, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (hosts, path) = before.split_once('/').unwrap_or((before, ""));
    if hosts.contains('@') {
        return Err("there is more than one @ before the host, so one belongs to the password".into());
    }
    if path.contains('@') {
        return Err("there is a / before the @ that ends the password".into());
    }
    if credentials.is_none()
        && query
            .split('&')
            .next()
            .is_some_and(|first| first.contains('@') && !first.contains('='))
    {
        return Err("there is a ? before the @ that ends the password".into());
    }
    Ok(Parts {
        user,
        password,
        hosts,
        path,
        query,
    })
}

/// A character of the password that other programs take for the end of it.
pub(super) fn raw_character(url: &str) -> Option<char> {
    let password = parts(url).ok()?.password?;
    password.chars().find(|c| "#:?[]".contains(*c))
}

/// Reads a URL.
pub(super) fn read_url(url: &str) -> Result<Parameters, String> {
    let parts = parts(url)?;
    let mut all = Parameters::new();
    let mut set = |name: &str, value: &str, what: &str| -> Result<(), String> {
        let value = decode(value).ok_or_else(|| {
            format!("{what} has a % that is not followed by two hex digits, or is no UTF-8")
        })?;
        if !value.is_empty() {
            all.insert(name.to_owned(), value);
        }
        Ok(())
    };
    set("user", parts.user, "the user")?;
    set("password", parts.password.unwrap_or(""), "the password")?;
    set("dbname", parts.path, "the database")?;
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for host in parts.hosts.split(',') {
        let (host, port) = host_and_port(host)?;
        hosts.push(host);
        ports.push(port);
    }
    set("host", &hosts.join(","), "the host")?;
    if ports.iter().any(|port| !port.is_empty()) {
        set("port", &ports.join(","), "the port")?;
    }
    for parameter in parts.query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter
            .split_once('=')
            .ok_or("a parameter after the ? has no =")?;
        let name = decode(name).ok_or("the name of a parameter after the ? cannot be decoded")?;
        let value = decode(value).ok_or("the value of a parameter after the ? cannot be decoded")?;
        // Several hosts may be named there too.
        all.insert(name, value);
    }
    Ok(all)
}

fn host_and_port(text: &str) -> Result<(&str, &str), String> {
    let (host, rest) = match text.strip_prefix('[') {
        Some(inner) => inner
            .split_once(']')
            .ok_or("a [ without ] where the host should be")?,
        None => match text.split_once(':') {
            Some((host, _)) => (host, &text[host.len()..]),
            None => (text, ""),
        },
    };
    let port = match rest.strip_prefix(':') {
        Some(port) => port,
        None if rest.is_empty() => "",
        None => return Err("something stands between the host and its port".into()),
    };
    if port.chars().all(|c| c.is_ascii_digit()) {
        Ok((host, port))
    } else {
        Err("the port is not a number; if that is a part of a password, the @ that ends it is missing".into())
    }
}

/// Decodes `%2F` and the like.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(rest.next()?).to_digit(16);
        let (high, low) = (digit()?, digit()?);
        let byte = u8::try_from(high * 16 + low).ok()?;
        if byte == 0 {
            return None;
        }
        bytes.push(byte);
    }
    String::from_utf8(bytes).ok()
}

/// Reads `name=value` pairs; a value in single quotes may have spaces, and a backslash takes the next character as it
/// is.
pub(super) fn read_keywords(line: &str) -> Result<Parameters, String> {
    let mut all = Parameters::new();
    let mut rest = line.trim_start();
    while !rest.is_empty() {
        let (name, after) = rest.split_once('=').ok_or("a name without =")?;
        let name = name.trim();
        if name.is_empty() || name.contains(char::is_whitespace) {
            return Err("a name without =".into());
        }
        let (value, after) = keyword_value(after.trim_start())?;
        all.insert(name.to_ascii_lowercase(), value);
        rest = after.trim_start();
    }
    Ok(all)
}

fn keyword_value(text: &str) -> Result<(String, &str), String> {
    let quoted = text.starts_with('\'');
    let body = if quoted { &text[1..] } else { text };
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => value.extend(characters.next().map(|(_, c)| c)),
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            c if !quoted && c.is_whitespace() => return Ok((value, &body[at..])),
            c => value.push(c),
        }
    }
    if quoted {
        return Err("a quote that is not closed".into());
    }
    Ok((value, ""))
}

/// Reads the settings out of `options`: `-c name=value`, `-cname=value` or `--name=value`, with `\ ` for a space.
pub(super) fn read_options(options: &str) -> Result<Vec<(String, String)>, String> {
    let mut words = vec![String::new()];
    let mut characters = options.chars();
    while let Some(c) = characters.next() {
        match c {
            '\\' => {
                let next = characters.next();
                if let Some(word) = words.last_mut() {
                    word.extend(next);
                }
            }
            c if c.is_whitespace() => words.push(String::new()),
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    let mut words = words.into_iter().filter(|word| !word.is_empty());
    let mut settings = Vec::new();
    while let Some(word) = words.next() {
        let setting = match word.strip_prefix("--").or_else(|| word.strip_prefix("-c")) {
            Some("") => words.next().ok_or("options end with -c")?,
            Some(setting) => setting.to_owned(),
            None => return Err("options hold more than settings".into()),
        };
        let (name, value) = setting
            .split_once('=')
            .ok_or("a setting in options has no value")?;
        settings.push((name.trim().replace('-', "_"), value.to_owned()));
    }
    Ok(settings)
}
