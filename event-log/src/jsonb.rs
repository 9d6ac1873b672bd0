//! JSON as PostgreSQL's jsonb keeps it, so that a snapshot holds the text that a database would hand out.
//!
//! Members are sorted by the length of their names, then by bytes; of members with one name the last stays. Numbers
//! keep every digit that was written, without an exponent. <https://www.postgresql.org/docs/15/datatype-json.html>

use std::fmt::Write as _;

/// How deep JSON may nest: more than the sequencer's parser takes (127), less than this thread's stack.
const MAX_DEPTH: usize = 200;

/// The limits of PostgreSQL's `numeric`: digits before the point, and behind it.
const MAX_INTEGER_DIGITS: i64 = 131_072;
const MAX_SCALE: i64 = 16_383;

/// How much text all numbers of one value may become: nothing that is longer can be kept. A few characters with an exponent
/// are 128 KiB of zeros.
const MAX_NUMBERS: usize = crate::conn::MAX_VALUE as usize;

/// The text that PostgreSQL prints for this JSON as jsonb.
///
/// # Errors
/// Text that jsonb does not take: not JSON, `\u0000`, lone surrogates, numbers out of the range of `numeric`; and JSON
/// nested deeper than any payload can be, or with numbers that are too long in all.
pub fn render(json: &str) -> Result<String, String> {
    let mut parser = Parser {
        json,
        at: 0,
        numbers: 0,
    };
    let value = parser.value(0)?;
    parser.space();
    if parser.at < json.len() {
        return Err(parser.error("more after the end"));
    }
    let mut out = String::with_capacity(json.len());
    write(&value, &mut out);
    Ok(out)
}

enum Json {
    /// `null`, `true`, `false` or a number, as printed.
    Plain(String),
    String(String),
    Array(Vec<Json>),
    /// Sorted, each name once.
    Object(Vec<(String, Json)>),
}

fn write(value: &Json, out: &mut String) {
    match value {
        Json::Plain(text) => out.push_str(text),
        Json::String(text) => write_string(text, out),
        Json::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write(item, out);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (i, (name, value)) in members.iter().enumerate() {
                out.push_str(if i > 0 { ", " } else { "" });
                write_string(name, out);
                out.push_str(": ");
                write(value, out);
            }
            out.push('}');
        }
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

struct Parser<'a> {
    json: &'a str,
    at: usize,
    /// How long the numbers are so far, as they are printed.
    numbers: usize,
}

impl Parser<'_> {
    fn error(&self, what: &str) -> String {
        format!("not JSON that jsonb takes: {what} at byte {}", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.json.as_bytes().get(self.at).copied()
    }

    fn space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    /// Takes this character if it comes next.
    fn take(&mut self, expected: u8) -> bool {
        let found = self.peek() == Some(expected);
        self.at += usize::from(found);
        found
    }

    fn value(&mut self, depth: usize) -> Result<Json, String> {
        if depth > MAX_DEPTH {
            return Err(self.error("nested too deeply"));
        }
        self.space();
        match self.peek() {
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'"') => self.string().map(Json::String),
            Some(b'-' | b'0'..=b'9') => self.number().map(Json::Plain),
            _ => self.word(),
        }
    }

    fn word(&mut self) -> Result<Json, String> {
        for word in ["null", "true", "false"] {
            if self.json[self.at..].starts_with(word) {
                self.at += word.len();
                return Ok(Json::Plain(word.to_owned()));
            }
        }
        Err(self.error("no value"))
    }

    fn array(&mut self, depth: usize) -> Result<Json, String> {
        let mut items = Vec::new();
        self.at += 1;
        self.space();
        if self.take(b']') {
            return Ok(Json::Array(items));
        }
        loop {
            items.push(self.value(depth + 1)?);
            self.space();
            if self.take(b']') {
                return Ok(Json::Array(items));
            }
            if !self.take(b',') {
                return Err(self.error("no comma"));
            }
        }
    }

    fn object(&mut self, depth: usize) -> Result<Json, String> {
        let mut members: Vec<(String, Json)> = Vec::new();
        self.at += 1;
        self.space();
        if self.take(b'}') {
            return Ok(Json::Object(members));
        }
        loop {
            self.space();
            if self.peek() != Some(b'"') {
                return Err(self.error("no member name"));
            }
            let name = self.string()?;
            self.space();
            if !self.take(b':') {
                return Err(self.error("no colon"));
            }
            members.push((name, self.value(depth + 1)?));
            self.space();
            if self.take(b'}') {
                break;
            }
            if !self.take(b',') {
                return Err(self.error("no comma"));
            }
        }
        // Stable, so that of one name the last in the text is the last of its run: the one to keep.
        members.sort_by(|(a, _), (b, _)| (a.len(), a.as_bytes()).cmp(&(b.len(), b.as_bytes())));
        let mut kept: Vec<(String, Json)> = Vec::with_capacity(members.len());
        for member in members {
            match kept.last_mut() {
                Some(last) if last.0 == member.0 => *last = member,
                _ => kept.push(member),
            }
        }
        Ok(Json::Object(kept))
    }

    fn string(&mut self) -> Result<String, String> {
        let mut out = String::new();
        self.at += 1;
        loop {
            let rest = &self.json[self.at..];
            let Some(end) = rest.find(|c: char| c == '"' || c == '\\' || c < ' ') else {
                return Err(self.error("a string without an end"));
            };
            out.push_str(&rest[..end]);
            self.at += end;
            if self.take(b'"') {
                return Ok(out);
            }
            if !self.take(b'\\') {
                return Err(self.error("a control character in a string"));
            }
            let escape = self.peek().ok_or_else(|| self.error("a string without an end"))?;
            self.at += 1;
            out.push(match escape {
                b'"' => '"',
                b'\\' => '\\',
                b'/' => '/',
                b'b' => '\u{8}',
                b'f' => '\u{c}',
                b'n' => '\n',
                b'r' => '\r',
                b't' => '\t',
                b'u' => self.unicode()?,
                _ => return Err(self.error("an unknown escape")),
            });
        }
    }

    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex()?;
        let code = match first {
            0xd800..=0xdbff => {
                let second = if self.take(b'\\') && self.take(b'u') {
                    self.hex()?
                } else {
                    0
                };
                if !(0xdc00..=0xdfff).contains(&second) {
                    return Err(self.error("a lone surrogate"));
                }
                0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00)
            }
            0 => return Err(self.error("\\u0000")),
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.error("a lone surrogate"))
    }

    fn hex(&mut self) -> Result<u32, String> {
        let digits = self.json.as_bytes().get(self.at..self.at + 4);
        let digits = digits.filter(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        let code = code.and_then(|digits| u32::from_str_radix(digits, 16).ok());
        self.at += 4;
        code.ok_or_else(|| self.error("an escape without four hex digits"))
    }

    fn digits(&mut self) -> &str {
        let start = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        &self.json[start..self.at]
    }

    fn number(&mut self) -> Result<String, String> {
        let negative = self.take(b'-');
        let integer = self.digits().to_owned();
        if integer.is_empty() || (integer.len() > 1 && integer.starts_with('0')) {
            return Err(self.error("not a number"));
        }
        let mut fraction = String::new();
        if self.take(b'.') {
            fraction.push_str(self.digits());
            if fraction.is_empty() {
                return Err(self.error("not a number"));
            }
        }
        let mut exponent = 0_i64;
        if self.take(b'e') || self.take(b'E') {
            let minus = !self.take(b'+') && self.take(b'-');
            let digits = self.digits();
            if digits.is_empty() {
                return Err(self.error("not a number"));
            }
            // PostgreSQL reads it as an i32 too, and refuses half of that.
            let magnitude: i32 = digits.parse().map_err(|_| self.error("a number out of range"))?;
            if magnitude >= i32::MAX / 2 {
                return Err(self.error("a number out of range"));
            }
            exponent = if minus {
                -i64::from(magnitude)
            } else {
                i64::from(magnitude)
            };
        }
        let number = decimal(negative, &integer, &fraction, exponent);
        let number = number.ok_or_else(|| self.error("a number out of range"))?;
        self.numbers += number.len();
        if self.numbers > MAX_NUMBERS {
            return Err(self.error("numbers of too many digits in all"));
        }
        Ok(number)
    }
}

/// A number without its exponent, with as many digits behind the point as it was written with.
fn decimal(negative: bool, integer: &str, fraction: &str, exponent: i64) -> Option<String> {
    let digits = format!("{integer}{fraction}");
    let scale = (fraction.len() as i64 - exponent).max(0);
    let significant = digits.trim_start_matches('0');
    // Where the point stands among `significant`.
    let point = significant.len() as i64 - fraction.len() as i64 + exponent;
    if scale > MAX_SCALE || (!significant.is_empty() && point > MAX_INTEGER_DIGITS) {
        return None;
    }
    let mut out = String::new();
    if negative && !significant.is_empty() {
        out.push('-');
    }
    if significant.is_empty() || point <= 0 {
        out.push('0');
    }
    let zeros = |count: i64| std::iter::repeat_n('0', usize::try_from(count).unwrap_or(0));
    let split = usize::try_from(point).unwrap_or(0).min(significant.len());
    let (before, behind) = significant.split_at(split);
    if !significant.is_empty() {
        out.push_str(before);
        out.extend(zeros(point - before.len() as i64));
    }
    if scale > 0 {
        out.push('.');
        if significant.is_empty() {
            out.extend(zeros(scale));
        } else {
            out.extend(zeros(-point));
            out.push_str(behind);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_numbers_that_are_long_when_printed_are_bounded_in_all() {
        let one = "1e131071";
        assert_eq!(render(one).unwrap().len(), 131_072);
        let text = format!("[{}]", [one; 600].join(","));
        let error = render(&text).unwrap_err();
        assert!(error.contains("numbers of too many digits"), "{error}");
    }

    #[test]
    fn as_postgresql_prints_it() {
        // Each as printed by PostgreSQL 15.
        let cases = [
            ("-0", "0"),
            ("-0.0", "0.0"),
            ("1e16", "10000000000000000"),
            ("1.50e1", "15.0"),
            ("0e5", "0"),
            ("0.0e-3", "0.0000"),
            ("1e-3", "0.001"),
            ("1.10e-3", "0.00110"),
            ("-12.340E+1", "-123.40"),
            ("100.5e2", "10050"),
            ("0.00", "0.00"),
            ("0.050e1", "0.50"),
            ("12e-1", "1.2"),
            (" [ ] ", "[]"),
            ("{}", "{}"),
            (r#"{"b":1,"a":2,"aa":3,"b":4}"#, r#"{"a": 2, "b": 4, "aa": 3}"#),
            (
                r#""\u007f\u0001\/\u00e9\ud83d\ude00\b""#,
                "\"\u{7f}\\u0001/é😀\\b\"",
            ),
            (
                r#"[null, true ,false,{"é":[1]}]"#,
                r#"[null, true, false, {"é": [1]}]"#,
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(render(json).as_deref(), Ok(expected), "{json}");
        }
    }

    #[test]
    fn what_jsonb_refuses_is_refused() {
        let deep = "[".repeat(5000);
        let long = format!("0.{}", "0".repeat(16_384));
        for json in [
            "",
            " ",
            "{",
            "[1",
            "[1,]",
            "[1 2]",
            "{\"a\"}",
            "{\"a\":1,}",
            "{a:1}",
            "nul",
            "01",
            "-",
            "1.",
            ".5",
            "1e",
            "+1",
            "\"",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u00g0\"",
            "\"\\u0000\"",
            "\"\\ud800\"",
            "\"\\ud800\\u0041\"",
            "\"\\udc00\"",
            "\"\n\"",
            "1 2",
            "1e131072",
            "1e-16384",
            "1e2147483647",
            "NaN",
            "\"\\u+123\"",
            "\"\\ué\"",
            &deep,
            &long,
        ] {
            assert!(render(json).is_err(), "{json:.40}");
        }
        assert!(render("0e131072").is_ok());
        assert!(render("1e131071").is_ok());
        assert!(render("1e-16383").is_ok());
    }
}
