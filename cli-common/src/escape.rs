//! Text of others, made harmless for a terminal. Names and payloads out of a log, an outbox, a plan or a node's answer
//! are hostile input: whatever prints goes through here, in [`crate::Output`], [`crate::CliError`] and the log lines.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter, Serializer};

/// Whether a character could move a cursor, forge a line, or turn the direction of text around: control characters
/// (C0, DEL and C1), line and paragraph separators, and bidirectional controls.
fn harmful(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{61c}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with every harmful character escaped, line breaks too: as `\n`, `\t` or `\u{1b}`.
#[must_use]
pub fn escape_controls(text: &str) -> Cow<'_, str> {
    if !text.contains(harmful) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if harmful(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

/// As [`escape_controls`], but line breaks stay. For text of ours that has several lines.
#[must_use]
pub fn escape_controls_in_lines(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for line in text.split_inclusive('\n') {
        let (line, end) = line.strip_suffix('\n').map_or((line, ""), |line| (line, "\n"));
        escaped.push_str(&escape_controls(line));
        escaped.push_str(end);
    }
    escaped
}

/// Writes a JSON document, indented. Harmful characters in its strings are escaped as JSON does it, so that the
/// document stays the same and a terminal is left in peace.
pub(crate) fn write_json_pretty(out: impl Write, document: &impl Serialize) -> serde_json::Result<()> {
    let formatter = HarmlessStrings(PrettyFormatter::new());
    document.serialize(&mut Serializer::with_formatter(out, formatter))
}

/// As [`write_json_pretty`], on one line.
pub(crate) fn write_json_line(out: impl Write, document: &impl Serialize) -> serde_json::Result<()> {
    let formatter = HarmlessStrings(CompactFormatter);
    document.serialize(&mut Serializer::with_formatter(out, formatter))
}

/// A form of JSON with harmful characters in strings escaped. JSON itself asks for that only below U+0020.
struct HarmlessStrings<F>(F);

/// Leaves these methods to the form within.
macro_rules! as_within {
    ($($method:ident($($argument:ident)?);)*) => {$(
        fn $method<W: ?Sized + Write>(&mut self, out: &mut W $(, $argument: bool)?) -> io::Result<()> {
            self.0.$method(out $(, $argument)?)
        }
    )*};
}

impl<F: Formatter> Formatter for HarmlessStrings<F> {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, out: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(harmful) {
            let (harmless, from) = rest.split_at(at);
            out.write_all(harmless.as_bytes())?;
            let mut chars = from.chars();
            if let Some(c) = chars.next() {
                // All of them have at most 16 bits.
                write!(out, "\\u{:04x}", u32::from(c))?;
            }
            rest = chars.as_str();
        }
        out.write_all(rest.as_bytes())
    }

    as_within! {
        begin_array();
        end_array();
        begin_array_value(first);
        end_array_value();
        begin_object();
        end_object();
        begin_object_key(first);
        end_object_key();
        begin_object_value();
        end_object_value();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTILE: &str = "a\u{1b}[2Jb\u{9b}31mc\u{7f}d\u{202e}e\u{2028}f\n\r\u{85}g";

    #[test]
    fn what_is_harmless_stays() {
        assert!(matches!(escape_controls("grüße \\n 倉庫"), Cow::Borrowed(_)));
        assert_eq!(escape_controls_in_lines("a\nb\n\nc"), "a\nb\n\nc");
    }

    #[test]
    fn what_is_harmful_is_escaped() {
        let escaped = escape_controls(HOSTILE);
        assert!(!escaped.contains(harmful));
        assert!(
            escaped.contains("\\u{1b}[2J") && escaped.contains("\\u{9b}31m") && escaped.contains("\\n\\r")
        );
        assert_eq!(escape_controls_in_lines("a\rb\n\tc"), "a\\rb\n\\tc");
    }

    #[test]
    fn json_means_the_same_and_has_nothing_harmful() {
        let document = serde_json::json!({ HOSTILE: [HOSTILE, 1, {"x": null}, [], {}], "y": [true, "\"\\"] });
        let (mut pretty, mut line) = (Vec::new(), Vec::new());
        write_json_pretty(&mut pretty, &document).unwrap();
        write_json_line(&mut line, &document).unwrap();
        for written in [&pretty, &line] {
            let text = std::str::from_utf8(written).unwrap();
            assert!(text.chars().all(|c| c == '\n' || !harmful(c)), "{text:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(text).unwrap(), document);
        }
        let plain = serde_json::json!({"a": ["grüße", 1.5, {"b": []}]});
        let mut written = Vec::new();
        write_json_pretty(&mut written, &plain).unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            serde_json::to_string_pretty(&plain).unwrap()
        );
        let mut written = Vec::new();
        write_json_line(&mut written, &plain).unwrap();
        assert_eq!(String::from_utf8(written).unwrap(), plain.to_string());
    }
}
