//! Keeping secrets out of what is printed.

use std::borrow::Cow;

use url::Url;

const MASK: &str = "***";

/// What the name of a query parameter contains if its value is a secret.
const SECRET_NAMES: [&str; 7] = [
    "pass",
    "secret",
    "token",
    "key",
    "auth",
    "credential",
    "signature",
];

/// Path segments of this many characters or more are taken for access keys in the URLs of web services.
const KEY_LENGTH: usize = 20;

/// The URL with its secrets masked by `***`: the password, the values of query parameters that are named like
/// secrets, a fragment, and, for `http` and `ws` URLs, path segments that look like access keys. A URL that cannot be
/// read for certain (an unescaped `@` or `/` in a password, say) loses more than that: all up to its last `@`, and
/// its query. What stands behind `password=` is masked wherever it is: with an `&` where a `?` was meant it is part of the
/// path. What holds no secret comes back as it was.
#[must_use]
pub fn redact_url(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => redact_keywords(&redact_parts(url, scheme, rest)).into_owned(),
        None => redact_keywords(url).into_owned(),
    }
}

fn redact_parts(url: &str, scheme: &str, rest: &str) -> String {
    let authority_end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    // An `@` behind the authority may end a password that holds `/`, `?` or `#`. Within the authority the last one
    // ends the password, for us as for all parsers.
    let certain = !rest[authority_end..].contains('@');
    let Some(mut parsed) = Url::parse(url).ok().filter(|_| certain) else {
        return redact_unreadable(scheme, rest);
    };

    let before = parsed.clone();
    if parsed.password().is_some() && parsed.set_password(Some(MASK)).is_err() {
        return redact_unreadable(scheme, rest);
    }
    let is_secret = |name: &str| {
        let name = name.to_ascii_lowercase();
        SECRET_NAMES.iter().any(|secret| name.contains(secret))
    };
    if parsed.query_pairs().any(|(name, _)| is_secret(&name)) {
        let pairs: Vec<(String, String)> = parsed
            .query_pairs()
            .map(|(name, value)| {
                let value = if is_secret(&name) {
                    MASK.into()
                } else {
                    value.into_owned()
                };
                (name.into_owned(), value)
            })
            .collect();
        parsed.query_pairs_mut().clear().extend_pairs(pairs);
    }
    if parsed.fragment().is_some() {
        parsed.set_fragment(Some(MASK));
    }
    if matches!(
        scheme.to_ascii_lowercase().as_str(),
        "http" | "https" | "ws" | "wss"
    ) {
        let masked: Vec<&str> = parsed.path().split('/').map(mask_key).collect();
        let masked = masked.join("/");
        parsed.set_path(&masked);
    }
    if parsed == before {
        url.to_owned()
    } else {
        parsed.into()
    }
}

/// `text`, such as a message of a library, with every URL in it redacted and the values of `password=` masked.
#[must_use]
pub fn redact_text(text: &str) -> String {
    let text = redact_keywords(text);
    let mut redacted = String::with_capacity(text.len());
    let mut rest: &str = &text;
    while let Some(colon) = rest.find("://") {
        let in_scheme = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
        let start = rest[..colon]
            .rfind(|c| !in_scheme(c))
            .map_or(0, |at| at + rest[at..].chars().next().map_or(1, char::len_utf8));
        let ends_url = |c: char| c.is_whitespace() || "\"<>`".contains(c);
        let end = rest[colon..].find(ends_url).map_or(rest.len(), |at| colon + at);
        redacted.push_str(&rest[..start]);
        redacted.push_str(&redact_url(&rest[start..end]));
        rest = &rest[end..];
    }
    redacted.push_str(rest);
    redacted
}

/// A URL whose parts cannot be told for certain: nothing up to the last `@` is shown, and no query.
fn redact_unreadable(scheme: &str, rest: &str) -> String {
    let shown = rest.rsplit_once('@').map_or(rest, |(_, shown)| shown);
    let shown_end = shown.find(['?', '#']).unwrap_or(shown.len());
    let (shown, hidden) = shown.split_at(shown_end);
    let user = if rest.contains('@') { "***@" } else { "" };
    let query = if hidden.is_empty() { "" } else { "?***" };
    format!("{scheme}://{user}{shown}{query}")
}

fn mask_key(segment: &str) -> &str {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if segment.len() >= KEY_LENGTH && segment.chars().all(plain) {
        MASK
    } else {
        segment
    }
}

/// Masks the values of `password=`, as connection strings of libpq write them: with white space around the sign, in quotes, with
/// a backslash before what would end them.
fn redact_keywords(text: &str) -> Cow<'_, str> {
    const NAME: &str = "password";
    // ASCII lower case keeps every byte where it was.
    let lower = text.to_ascii_lowercase();
    let mut redacted = String::new();
    let (mut at, mut shown) = (0, 0);
    while let Some(found) = lower[at..].find(NAME) {
        at += found + NAME.len();
        let Some(value) = text[at..].trim_start().strip_prefix('=') else {
            continue;
        };
        let value = value.trim_start();
        let start = text.len() - value.len();
        redacted.push_str(&text[shown..start]);
        redacted.push_str(MASK);
        at = start + value_length(value);
        shown = at;
    }
    if shown == 0 {
        return Cow::Borrowed(text);
    }
    redacted.push_str(&text[shown..]);
    Cow::Owned(redacted)
}

/// How long a value is, up to its quote, white space, or what ends it in a URL and in other text.
fn value_length(value: &str) -> usize {
    let quoted = value.starts_with('\'');
    let mut characters = value.char_indices().skip(usize::from(quoted));
    while let Some((at, c)) = characters.next() {
        match c {
            '\\' => drop(characters.next()),
            '\'' if quoted => return at + 1,
            // A colon before white space is the sentence's: "…password=***: Connection refused".
            c if !quoted && c.is_whitespace() => return at - usize::from(value[..at].ends_with(':')),
            '&' | '"' if !quoted => return at,
            _ => {}
        }
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_masked_and_the_rest_is_kept() {
        for (url, shown) in [
            (
                "postgres://me:s3cret@db.example:5432/log",
                "postgres://me:***@db.example:5432/log",
            ),
            (
                "postgresql://me@db/log?sslmode=require",
                "postgresql://me@db/log?sslmode=require",
            ),
            (
                "postgres://db/log?user=me&password=s3cret",
                "postgres://db/log?user=me&password=***",
            ),
            (
                "postgres://db/log?sslpassword=s3cret&a=b",
                "postgres://db/log?sslpassword=***&a=b",
            ),
            ("postgres://:s3cret@db/log", "postgres://:***@db/log"),
            (
                "https://rpc.example/v3/0123456789abcdef0123456789abcdef",
                "https://rpc.example/v3/***",
            ),
            (
                "https://rpc.example/?apiKey=s3cret",
                "https://rpc.example/?apiKey=***",
            ),
            (
                "wss://rpc.example/s3cret_0123456789abcdef/",
                "wss://rpc.example/***/",
            ),
            ("https://rpc.example#s3cret", "https://rpc.example/#***"),
            ("https://rpc.example", "https://rpc.example"),
            ("http://127.0.0.1:8545/rpc", "http://127.0.0.1:8545/rpc"),
            ("log.db", "log.db"),
            ("host=db password=s3cret user=me", "host=db password=*** user=me"),
            (
                "host=db password='s3 cret' user=me",
                "host=db password=*** user=me",
            ),
            ("host=db PASSWORD=s3cret", "host=db PASSWORD=***"),
            (
                "host=db password = 's3\\' cret' user=me",
                "host=db password = *** user=me",
            ),
            (
                "host=db password\t=\ts3\\ cret user=me",
                "host=db password\t=\t*** user=me",
            ),
            ("host=db password='s3 cret", "host=db password=***"),
            (
                "host=db user=password sslmode=prefer",
                "host=db user=password sslmode=prefer",
            ),
            (
                "host=db password=s3cret: Connection refused",
                "host=db password=***: Connection refused",
            ),
            // An ampersand where a question mark was meant.
            (
                "postgres://db/log&password=s3cret",
                "postgres://db/log&password=***",
            ),
        ] {
            assert_eq!(redact_url(url), shown);
        }
    }

    #[test]
    fn a_url_that_cannot_be_read_for_certain_hides_more() {
        for (url, shown) in [
            ("postgres://me:s3/cret@db/log", "postgres://***@db/log"),
            ("postgres://me:12/s3cret@db/log", "postgres://***@db/log"),
            ("postgres://me:12#s3cret@db/log", "postgres://***@db/log"),
            ("postgres://me:12?s3cret@db/log", "postgres://***@db/log"),
            (
                "postgres://me:s3cret@a:1,b:2/log?password=s3cret",
                "postgres://***@a:1,b:2/log?***",
            ),
            ("postgres://me:s3@cret@[bad/log", "postgres://***@[bad/log"),
            ("postgres://me:s3@cret@db/log", "postgres://me:***@db/log"),
        ] {
            assert_eq!(redact_url(url), shown);
        }
    }

    #[test]
    fn urls_are_found_in_text() {
        assert_eq!(
            redact_text("cannot reach “postgres://me:s3cret@db/log”: refused (see https://docs.example/x)"),
            "cannot reach “postgres://me:***@db/log%E2%80%9D: refused (see https://docs.example/x)"
        );
        assert_eq!(
            redact_text("a://b:s3cret@c and \"d://e:s3cret@f\""),
            "a://b:***@c and \"d://e:***@f\""
        );
        assert_eq!(redact_text("password=s3cret"), "password=***");
        assert_eq!(redact_text("nothing :// here"), "nothing :// here");
        assert_eq!(redact_text("grüße"), "grüße");
    }
}
