//! From JSON text to its canonical form in one pass, without a tree between.
//!
//! What is written in canonical form already is copied: strings without escapes, and numbers of up to
//! 15 digits, which a double gives back as they are. The members of an object are written as they come
//! and put in order at its end.
//!
//! Whatever is wrong, rare or doubtful is [`NotFast`] and left to the plain path (`ves::jcs::canonicalize`),
//! which decides and says why. So all that has to be right here is what is *not* refused.
#![forbid(unsafe_code)]

use std::cmp::Ordering;

/// Levels of arrays and objects that are read here: as many as the plain path reads.
const MAX_DEPTH: usize = 127;

/// Canonicalises many texts with the same working memory.
///
/// ```
/// let (mut out, mut memory) = (Vec::new(), ves_kernels::json::Canonicalizer::default());
/// memory.append(r#"{"b": 1.50, "a": "\u0041"}"#, &mut out).unwrap();
/// assert_eq!(out, br#"{"a":"A","b":1.5}"#);
/// assert!(memory.append("{", &mut out).is_err());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Canonicalizer {
    members: Vec<Member>,
    sorted: Vec<u8>,
}

impl Canonicalizer {
    /// Appends the canonical form of a JSON text to `out`.
    ///
    /// # Errors
    /// The text is left to the plain path; then `out` is as it was.
    pub fn append(&mut self, json: &str, out: &mut Vec<u8>) -> Result<(), NotFast> {
        let before = out.len();
        self.members.clear();
        let mut text = Text {
            json: json.as_bytes(),
            at: 0,
            out,
            memory: self,
        };
        text.document().inspect_err(|_| out.truncate(before))
    }
}

/// A member of an object that is being written: where it is in the output.
#[derive(Debug, Clone, Copy)]
struct Member {
    /// Its name's opening quote.
    start: usize,
    /// Behind its name's closing quote.
    name_end: usize,
    /// Behind its value.
    end: usize,
}

impl Member {
    /// The name. It holds no escapes, so that what is written is what is compared.
    fn name<'a>(&self, out: &'a [u8]) -> &'a [u8] {
        &out[self.start + 1..self.name_end - 1]
    }
}

/// The text is left to the plain path: it is wrong, or written in a way that is not read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("left to the plain path")]
pub struct NotFast;

type Read = Result<(), NotFast>;

struct Text<'a> {
    json: &'a [u8],
    at: usize,
    out: &'a mut Vec<u8>,
    memory: &'a mut Canonicalizer,
}

impl Text<'_> {
    fn document(&mut self) -> Read {
        self.space();
        self.value(MAX_DEPTH)?;
        self.space();
        if self.at == self.json.len() {
            Ok(())
        } else {
            Err(NotFast)
        }
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.json.get(self.at).copied()
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// Takes a byte that must come next.
    #[inline]
    fn expect(&mut self, byte: u8) -> Read {
        if self.peek() != Some(byte) {
            return Err(NotFast);
        }
        self.at += 1;
        Ok(())
    }

    fn value(&mut self, depth: usize) -> Read {
        match self.peek().ok_or(NotFast)? {
            b'"' => self.string().map(|_| ()),
            b'{' => self.object(depth.checked_sub(1).ok_or(NotFast)?),
            b'[' => self.array(depth.checked_sub(1).ok_or(NotFast)?),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.number(),
        }
    }

    fn literal(&mut self, literal: &[u8]) -> Read {
        if !self.json[self.at..].starts_with(literal) {
            return Err(NotFast);
        }
        self.at += literal.len();
        self.out.extend_from_slice(literal);
        Ok(())
    }

    fn array(&mut self, depth: usize) -> Read {
        self.at += 1;
        self.out.push(b'[');
        self.space();
        if self.peek() != Some(b']') {
            loop {
                self.value(depth)?;
                self.space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                self.out.push(b',');
                self.space();
            }
        }
        self.out.push(b']');
        self.expect(b']')
    }

    fn object(&mut self, depth: usize) -> Read {
        self.at += 1;
        let open = self.out.len();
        self.out.push(b'{');
        self.space();
        let first = self.memory.members.len();
        if self.peek() != Some(b'}') {
            loop {
                let start = self.out.len();
                if self.peek() != Some(b'"') || self.string()? {
                    return Err(NotFast);
                }
                let name_end = self.out.len();
                self.space();
                self.expect(b':')?;
                self.out.push(b':');
                self.space();
                self.value(depth)?;
                self.memory.members.push(Member {
                    start,
                    name_end,
                    end: self.out.len(),
                });
                self.space();
                if self.peek() != Some(b',') {
                    break;
                }
                self.at += 1;
                self.out.push(b',');
                self.space();
            }
            self.expect(b'}')?;
            self.sort(open, first)?;
        } else {
            self.at += 1;
        }
        self.out.push(b'}');
        Ok(())
    }

    /// Puts the members from `first` on in order, and forgets them.
    fn sort(&mut self, open: usize, first: usize) -> Read {
        let Canonicalizer { members: all, sorted } = &mut *self.memory;
        let members = &mut all[first..];
        let out = &mut *self.out;
        let order = |a: &Member, b: &Member| compare(a.name(out), b.name(out));
        if !members.is_sorted_by(|a, b| order(a, b).is_lt()) {
            members.sort_unstable_by(order);
            if !members.is_sorted_by(|a, b| order(a, b).is_lt()) {
                // A name twice.
                return Err(NotFast);
            }
            sorted.clear();
            for member in &*members {
                sorted.push(b',');
                sorted.extend_from_slice(&out[member.start..member.end]);
            }
            out[open..].copy_from_slice(sorted);
            out[open] = b'{';
        }
        all.truncate(first);
        Ok(())
    }

    /// Copies a string; tells whether its canonical form holds escapes.
    fn string(&mut self) -> Result<bool, NotFast> {
        self.at += 1;
        self.out.push(b'"');
        let mut escapes = false;
        loop {
            self.plain_run();
            match self.peek().ok_or(NotFast)? {
                b'"' => {
                    self.at += 1;
                    self.out.push(b'"');
                    return Ok(escapes);
                }
                b'\\' => {
                    self.at += 1;
                    escapes |= self.escape()?;
                }
                // A control character.
                _ => return Err(NotFast),
            }
        }
    }

    /// Copies up to the next quote, backslash or control character.
    #[inline]
    fn plain_run(&mut self) {
        const ONES: u64 = 0x0101_0101_0101_0101;
        const HIGH: u64 = 0x80 * ONES;
        while let Some((eight, _)) = self.json[self.at..].split_first_chunk::<8>() {
            let x = u64::from_le_bytes(*eight);
            // The highest bit of a byte is set where the byte is zero, or below 0x20. A borrow can set
            // it falsely, but only above one that is right, and the lowest alone counts.
            let (quote, backslash) = (x ^ (0x22 * ONES), x ^ (0x5c * ONES));
            let stop = (quote.wrapping_sub(ONES) & !quote
                | backslash.wrapping_sub(ONES) & !backslash
                | x.wrapping_sub(0x20 * ONES) & !x)
                & HIGH;
            self.out.extend_from_slice(eight);
            if stop != 0 {
                let count = stop.trailing_zeros() as usize / 8;
                self.out.truncate(self.out.len() - 8 + count);
                self.at += count;
                return;
            }
            self.at += 8;
        }
        while let Some(byte) = self.peek().filter(|byte| !matches!(byte, b'"' | b'\\' | ..b' ')) {
            self.out.push(byte);
            self.at += 1;
        }
    }

    /// Takes what follows a backslash; tells whether an escape was written.
    fn escape(&mut self) -> Result<bool, NotFast> {
        let byte = self.peek().ok_or(NotFast)?;
        self.at += 1;
        match byte {
            b'"' | b'\\' | b'b' | b'f' | b'n' | b'r' | b't' => {
                self.out.extend_from_slice(&[b'\\', byte]);
                Ok(true)
            }
            b'/' => {
                self.out.push(b'/');
                Ok(false)
            }
            b'u' => {
                let unit = self.hex()?;
                let code = match unit {
                    0xd800..0xdc00 => {
                        self.expect(b'\\')?;
                        self.expect(b'u')?;
                        let low = self.hex()?.checked_sub(0xdc00).filter(|low| *low < 0x400);
                        0x10000 + ((unit - 0xd800) << 10) + low.ok_or(NotFast)?
                    }
                    unit => unit,
                };
                // A lone low surrogate is no character.
                let c = char::from_u32(code).ok_or(NotFast)?;
                let mut utf8 = [0; 4];
                let text = c.encode_utf8(&mut utf8);
                match c {
                    '"' | '\\' => self.out.extend_from_slice(&[b'\\', text.as_bytes()[0]]),
                    ..' ' => self.control_character(text.as_bytes()[0]),
                    _ => {
                        self.out.extend_from_slice(text.as_bytes());
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            _ => Err(NotFast),
        }
    }

    /// Writes a control character: in two characters where JSON has them, or else as `\u00xx` in lower case.
    fn control_character(&mut self, byte: u8) {
        let short = match byte {
            0x08 => b'b',
            b'\t' => b't',
            b'\n' => b'n',
            0x0c => b'f',
            b'\r' => b'r',
            _ => {
                let digit = b"0123456789abcdef"[usize::from(byte & 15)];
                self.out
                    .extend_from_slice(&[b'\\', b'u', b'0', b'0', b'0' + (byte >> 4), digit]);
                return;
            }
        };
        self.out.extend_from_slice(&[b'\\', short]);
    }

    fn hex(&mut self) -> Result<u32, NotFast> {
        let (digits, _) = self.json[self.at..].split_first_chunk::<4>().ok_or(NotFast)?;
        self.at += 4;
        digits.iter().try_fold(0, |value, digit| {
            char::from(*digit)
                .to_digit(16)
                .map(|digit| value << 4 | digit)
                .ok_or(NotFast)
        })
    }

    fn digits(&mut self) -> usize {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        self.at - start
    }

    fn number(&mut self) -> Read {
        let start = self.at;
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        let integer_start = self.at;
        let integer = match self.peek() {
            // No digit may follow a leading zero; if one does, nothing fits behind this number.
            Some(b'0') => {
                self.at += 1;
                0
            }
            _ => self.digits(),
        };
        if self.at == integer_start {
            return Err(NotFast);
        }
        let mut end = self.at;
        let mut fraction = 0;
        if self.peek() == Some(b'.') {
            self.at += 1;
            fraction = self.digits();
            if fraction == 0 {
                return Err(NotFast);
            }
            // Zeros at the end say nothing, and without digits the point goes too.
            let dot = end;
            end = self.at;
            while self.json[end - 1] == b'0' {
                end -= 1;
            }
            if end == dot + 1 {
                end = dot;
            }
        }
        let exponent = matches!(self.peek(), Some(b'e' | b'E'));
        if exponent {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            if self.digits() == 0 {
                return Err(NotFast);
            }
        }
        // No two decimals of up to 15 digits share a double, so such a number is its double's shortest
        // form. From 0.000001 on it is written without an exponent.
        let written = &self.json[start..end];
        if exponent || integer + fraction > 15 {
            self.double(start)
        } else if integer == 0 && end == integer_start + 1 {
            // Minus zero too.
            self.out.push(b'0');
            Ok(())
        } else if integer == 0 && self.json[integer_start..end].starts_with(b"0.000000") {
            self.double(start)
        } else {
            self.out.extend_from_slice(written);
            Ok(())
        }
    }

    /// Writes the number from `start` on as ECMAScript prints its double.
    fn double(&mut self, start: usize) -> Read {
        let text = str::from_utf8(&self.json[start..self.at]).map_err(|_| NotFast)?;
        let number: f64 = text.parse().map_err(|_| NotFast)?;
        if !number.is_finite() {
            return Err(NotFast);
        }
        self.out
            .extend_from_slice(ryu_js::Buffer::new().format_finite(number).as_bytes());
        Ok(())
    }
}

/// The order of two names by UTF-16 code units. That of UTF-8 differs in one point only: characters
/// beyond U+FFFF (first byte 0xf0 and up) come before those from U+E000 on (0xee and 0xef).
fn compare(a: &[u8], b: &[u8]) -> Ordering {
    match a.iter().zip(b).find(|(a, b)| a != b) {
        None => a.len().cmp(&b.len()),
        Some((a, b)) if *a >= 0xee && *b >= 0xee => (*a < 0xf0, a).cmp(&(*b < 0xf0, b)),
        Some((a, b)) => a.cmp(b),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tests of `ves::jcs` see that results are equal to the plain path's; this one that they come this way.
    #[test]
    fn what_is_common_is_not_left_to_the_plain_path() {
        let common = [
            r#"{"b": [1, -2.50, 0.0, 1e3, 12345678901234567890, true, null], "a": {"é": "x\n\"\/\u00e9"}}"#,
            r#"{"z": {}, "longer": [], "a b": "\ud83d\ude00", "12": 0.0000001}"#,
            " [ ] ",
            "\"\"",
        ];
        for json in common {
            let (mut out, mut memory) = (Vec::new(), Canonicalizer::default());
            let mut text = Text {
                json: json.as_bytes(),
                at: 0,
                out: &mut out,
                memory: &mut memory,
            };
            assert!(text.document().is_ok(), "{json}");
            assert!(memory.members.is_empty());
        }
    }
}
