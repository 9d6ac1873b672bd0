//! What a line of a dump says outside of rows.

/// A line that matters.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum StatementHead {
    /// `-- …`
    Comment(String),
    /// `SET search_path = …`: the first schema of it.
    SearchPath(String),
    /// `SET client_encoding = …`
    Encoding(String),
    /// `\connect …`, between the databases of a cluster.
    Database(String),
    /// `INSERT INTO …`
    Insert(String),
    /// `COPY … FROM stdin`: rows follow.
    Copy {
        schema: Option<String>,
        table: String,
        columns: Vec<String>,
    },
    /// Any other.
    Other,
}

/// Lines that matter are not longer.
const MAX_HEAD: usize = 64 << 10;

/// Reads a line.
pub(super) fn head(line: &[u8]) -> StatementHead {
    if line.len() > MAX_HEAD && !line.starts_with(b"INSERT INTO ") {
        return StatementHead::Other;
    }
    let line = String::from_utf8_lossy(&line[..line.len().min(MAX_HEAD)]);
    let line = line.trim_end();
    let read = if let Some(comment) = line.strip_prefix("--") {
        Some(StatementHead::Comment(comment.trim().to_owned()))
    } else if let Some(rest) = line.strip_prefix("COPY ") {
        copy(rest)
    } else if let Some(rest) = line.strip_prefix("INSERT INTO ") {
        qualified(rest).map(|(_, table, _)| StatementHead::Insert(table))
    } else if let Some(rest) = line.strip_prefix("SET search_path = ") {
        // Newer dumps empty it by set_config, and name every schema.
        name(rest).map(|(schema, _)| StatementHead::SearchPath(schema))
    } else if let Some(rest) = line.strip_prefix("SET client_encoding = '") {
        rest.split('\'')
            .next()
            .map(|encoding| StatementHead::Encoding(encoding.to_owned()))
    } else if let Some(rest) = line.strip_prefix("\\connect ") {
        let rest = rest.split_once("dbname=").map_or(rest, |(_, name)| name);
        Some(StatementHead::Database(
            rest.trim_matches(['"', '\'', ' ']).to_owned(),
        ))
    } else {
        None
    };
    read.unwrap_or(StatementHead::Other)
}

/// `schema.table (column, …) FROM stdin;`
fn copy(rest: &str) -> Option<StatementHead> {
    let (schema, table, rest) = qualified(rest)?;
    let mut rest = rest.trim_start().strip_prefix('(')?;
    let mut columns = Vec::new();
    loop {
        let (column, after) = name(rest.trim_start())?;
        columns.push(column);
        let after = after.trim_start();
        if let Some(end) = after.strip_prefix(')') {
            let from = end.trim().eq_ignore_ascii_case("FROM stdin;");
            return from.then_some(StatementHead::Copy {
                schema,
                table,
                columns,
            });
        }
        rest = after.strip_prefix(',')?;
    }
}

/// A name, and the one of its schema if there is one.
fn qualified(text: &str) -> Option<(Option<String>, String, &str)> {
    let (first, rest) = name(text)?;
    match rest.strip_prefix('.') {
        Some(rest) => name(rest).map(|(second, rest)| (Some(first), second, rest)),
        None => Some((None, first, rest)),
    }
}

/// An identifier, quoted or not.
fn name(text: &str) -> Option<(String, &str)> {
    let Some(quoted) = text.strip_prefix('"') else {
        let plain = |c: char| !(c.is_alphanumeric() || c == '_' || c == '$');
        let end = text.find(plain).unwrap_or(text.len());
        return (end > 0).then(|| (text[..end].to_lowercase(), &text[end..]));
    };
    let mut value = String::new();
    let mut chars = quoted.char_indices();
    while let Some((at, c)) = chars.next() {
        if c != '"' {
            value.push(c);
        } else if quoted[at + 1..].starts_with('"') {
            value.push('"');
            chars.next();
        } else {
            return Some((value, &quoted[at + 1..]));
        }
    }
    None
}
