//! How results look to people: how wide, in which characters and colours, and how much of them.

use std::borrow::Cow;
use std::env;
use std::io::{IsTerminal as _, stdout};

use anstyle::{AnsiColor, Style as Ansi};

use crate::wrap::WIDTH;
use crate::{GlobalArgs, Names, escape_controls};

/// How results are printed for people. JSON is the same in all of them.
#[derive(Clone, Debug)]
pub struct Style {
    /// How many columns a line has at most; `None` for as many as it takes.
    pub width: Option<usize>,
    /// Whether verdicts are coloured.
    pub color: bool,
    /// Whether to print ASCII alone.
    pub ascii: bool,
    /// Whether to print all that is otherwise counted.
    pub all: bool,
    /// What the user calls streams, agents and batches.
    pub names: Names,
}

impl Default for Style {
    /// As into a pipe: 80 columns, no colours, what matters.
    fn default() -> Self {
        Self {
            width: Some(WIDTH),
            color: false,
            ascii: false,
            all: false,
            names: Names::default(),
        }
    }
}

impl Style {
    /// How this process prints on stdout: by its arguments, its terminal and its locale.
    pub(crate) fn of_stdout(global: &GlobalArgs) -> Self {
        let terminal = stdout()
            .is_terminal()
            .then(terminal_size::terminal_size)
            .flatten();
        let columns = terminal.map_or(0, |(terminal_size::Width(columns), _)| usize::from(columns));
        Self {
            width: (!global.wide).then_some(columns.max(WIDTH)),
            color: global.color_on_stdout(),
            ascii: !is_utf8(|name| env::var(name).ok()),
            all: global.all,
            names: global.names.clone().unwrap_or_default(),
        }
    }

    /// Text of anybody's as it may be printed: on one line, without control characters, in the characters of the locale.
    pub(crate) fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let text = escape_controls(text);
        if self.ascii && !text.is_ascii() {
            Cow::Owned(to_ascii(&text))
        } else {
            text
        }
    }
}

/// What a verdict means, for its colour. The text says the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tone {
    /// All is well.
    Good,
    /// Something is to be decided, or was not checked.
    Doubt,
    /// Something is wrong.
    Bad,
}

impl Tone {
    pub(crate) fn paint(self, text: &str) -> String {
        let color = match self {
            Tone::Good => AnsiColor::Green,
            Tone::Doubt => AnsiColor::Yellow,
            Tone::Bad => AnsiColor::Red,
        };
        let style = Ansi::new().bold().fg_color(Some(color.into()));
        format!("{style}{text}{style:#}")
    }
}

/// Whether the locale for characters has UTF-8: the first that is set of LC_ALL, LC_CTYPE and LANG decides.
fn is_utf8(variable: impl Fn(&str) -> Option<String>) -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
        .into_iter()
        .filter_map(variable)
        .find(|value| !value.is_empty())
        .unwrap_or_default()
        .to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

/// Text in ASCII: marks by their likes, all else as `\u{e9}`.
fn to_ascii(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match c {
            '\u{2026}' => ascii.push_str("..."),
            '\u{2192}' => ascii.push_str("->"),
            '\u{2013}' | '\u{2014}' | '\u{2212}' => ascii.push('-'),
            '\u{2018}' | '\u{2019}' => ascii.push('\''),
            '\u{201c}' | '\u{201d}' => ascii.push('"'),
            '\u{d7}' => ascii.push('x'),
            '\u{2264}' => ascii.push_str("<="),
            c if c.is_ascii() => ascii.push(c),
            c => ascii.extend(c.escape_default()),
        }
    }
    ascii
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_locale_that_is_set_decides() {
        let utf8 = |set: &[(&str, &str)]| {
            is_utf8(|name| {
                let found = set.iter().find(|(of, _)| *of == name);
                found.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(utf8(&[("LANG", "de_DE.UTF-8")]));
        assert!(utf8(&[("LC_ALL", ""), ("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(!utf8(&[("LC_ALL", "C"), ("LANG", "de_DE.UTF-8")]));
        assert!(!utf8(&[("LANG", "de_DE.ISO-8859-1")]));
        assert!(!utf8(&[]));
    }

    #[test]
    fn text_in_ascii_loses_nothing() {
        let style = Style {
            ascii: true,
            ..Style::default()
        };
        assert_eq!(style.clean("a → b … “é”"), "a -> b ... \"\\u{e9}\"");
        assert_eq!(Style::default().clean("é\x1b"), "é\\u{1b}");
    }

    #[test]
    fn a_painted_verdict_ends_its_colour() {
        assert_eq!(Tone::Bad.paint("x"), "\u{1b}[1m\u{1b}[31mx\u{1b}[0m");
    }
}
