//! A command line, shown as a shell reads it, so that it can be copied.

use std::borrow::Cow;
use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;

use crate::redact_text;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Word {
    Plain(OsString),
    /// A URL with a secret; `option` is what stands before it in the same word (`--db=`).
    Url {
        option: String,
    },
}

/// A command line, shown as a shell reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    words: Vec<Word>,
}

/// Options whose value names a log.
const LOGS: [&str; 2] = ["--db", "--missing-from"];

impl CommandLine {
    /// The command line that this process was started with.
    #[must_use]
    pub fn of_this_process() -> Self {
        env::args_os().collect::<Vec<_>>().into()
    }

    /// A command of this tool, called as this process was: `outbox-sync push`.
    #[must_use]
    pub fn of_this_tool(command: &str) -> Self {
        let tool = env::args_os().next().unwrap_or_default();
        vec![tool, command.into()].into()
    }

    /// A command that is taken as it is: `anchor-verify verify`.
    #[must_use]
    pub fn new(command: &str) -> Self {
        command.split(' ').map(OsString::from).collect::<Vec<_>>().into()
    }

    /// With one more word.
    #[must_use]
    pub fn arg(self, word: impl fmt::Display) -> Self {
        self.with([word.to_string()])
    }

    /// With an option and its value.
    #[must_use]
    pub fn option(self, name: &str, value: impl fmt::Display) -> Self {
        self.with([name.to_owned(), value.to_string()])
    }

    /// With an option for each value.
    #[must_use]
    pub fn options<T: fmt::Display>(self, name: &str, values: impl IntoIterator<Item = T>) -> Self {
        values
            .into_iter()
            .fold(self, |line, value| line.option(name, value))
    }

    /// Whether a secret in it is shown as `***`: it cannot be run as it stands.
    pub(crate) fn hides_a_part(&self) -> bool {
        let hides = |word: &Word| match word {
            Word::Plain(text) => {
                let text = text.to_string_lossy();
                let shown = redact_text(&text);
                shown != text || shown.contains(":***@")
            }
            Word::Url { .. } => false,
        };
        self.words.iter().any(hides)
    }

    /// Whether a URL in it is named by the variable that it comes from.
    pub(crate) fn hides_url(&self) -> bool {
        self.words.iter().any(|word| matches!(word, Word::Url { .. }))
    }

    /// Adds words, before a `--` if there is one.
    #[must_use]
    pub fn with<S: Into<OsString>>(mut self, words: impl IntoIterator<Item = S>) -> Self {
        let dashes = |word: &Word| matches!(word, Word::Plain(text) if text == "--");
        let at = self.words.iter().position(dashes).unwrap_or(self.words.len());
        let added: CommandLine = words
            .into_iter()
            .map(Into::into)
            .collect::<Vec<OsString>>()
            .into();
        self.words.splice(at..at, added.words);
        self
    }

    /// The same line with one word for another: another command with the same options.
    #[must_use]
    pub fn instead(mut self, word: &str, by: &str) -> Self {
        let is = |have: &&mut Word| matches!(have, Word::Plain(text) if text == word);
        if let Some(found) = self.words.iter_mut().find(is) {
            *found = Word::Plain(by.into());
        }
        self
    }

    /// Leaves out each word that is equal to this one.
    #[must_use]
    pub fn without(mut self, word: &str) -> Self {
        self.words
            .retain(|have| !matches!(have, Word::Plain(text) if text == word));
        self
    }
}

impl From<Vec<OsString>> for CommandLine {
    fn from(words: Vec<OsString>) -> Self {
        let mut read: Vec<Word> = Vec::with_capacity(words.len());
        let mut names_log = false;
        for word in words {
            let text = word.to_string_lossy();
            let (option, value) = match text.split_once('=') {
                Some((option, value)) if LOGS.contains(&option) => (format!("{option}="), value),
                _ => (String::new(), &*text),
            };
            let of_log = names_log || !option.is_empty();
            names_log = LOGS.contains(&&*text);
            if of_log && redact_text(value) != value {
                read.push(Word::Url { option });
            } else {
                read.push(Word::Plain(word));
            }
        }
        Self { words: read }
    }
}

impl fmt::Display for CommandLine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            match word {
                Word::Plain(text) => f.write_str(&quoted(text))?,
                Word::Url { option } => write!(f, "{option}\"$DATABASE_URL\"")?,
            }
        }
        Ok(())
    }
}

/// A word as a POSIX shell reads it, without the secrets of URLs. One with control characters, or that is no UTF-8, is
/// quoted as bash, zsh and ksh read it.
#[must_use]
pub fn quoted(word: &OsStr) -> String {
    let Some(text) = word.to_str() else {
        return quoted_bytes(word.as_encoded_bytes());
    };
    let text: Cow<'_, str> = match redact_text(text) {
        same if same == text => text.into(),
        redacted => redacted.into(),
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || "_@%+=:,./-".contains(c);
    if text.chars().any(char::is_control) {
        quoted_bytes(text.as_bytes())
    } else if !text.is_empty() && text.chars().all(plain) {
        text.into_owned()
    } else {
        format!("'{}'", text.replace('\'', "'\\''"))
    }
}

fn quoted_bytes(bytes: &[u8]) -> String {
    let mut quoted = String::from("$'");
    for &byte in bytes {
        match byte {
            b'\'' | b'\\' => {
                quoted.push('\\');
                quoted.push(char::from(byte));
            }
            b' '..=b'~' => quoted.push(char::from(byte)),
            // Three digits: a longer number would take the next character in.
            _ => quoted.push_str(&format!("\\{byte:03o}")),
        }
    }
    quoted.push('\'');
    quoted
}
