//! Whether text is JSON, told fast: the common case of what `serde_json` tells for every case.

/// Deeper nesting is left to the slower way.
const DEPTH: u32 = 100;

/// Whether `text` is one JSON value on one line, without white space around it. "No" means "not sure": `serde_json` decides
/// then.
pub fn is_json_line(text: &[u8]) -> bool {
    document(text) == Some(text.len())
}

// Each function takes the place where something begins and gives the one behind it; `None` if it is not there.

/// One value, without recursion: bit n of `objects` says whether the n-th level from within is an object.
fn document(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    let mut objects: u128 = 0;
    let mut depth = 0;
    loop {
        // A value begins.
        at = match *text.get(at)? {
            open @ (b'{' | b'[') => {
                let in_object = open == b'{';
                let inside = spaces(text, at + 1);
                if *text.get(inside)? == if in_object { b'}' } else { b']' } {
                    inside + 1
                } else {
                    objects = objects << 1 | u128::from(in_object);
                    depth += 1;
                    if depth > DEPTH {
                        return None;
                    }
                    at = if in_object { name(text, inside)? } else { inside };
                    continue;
                }
            }
            b'"' => string(text, at + 1)?,
            b't' => word(text, at, b"true")?,
            b'f' => word(text, at, b"false")?,
            b'n' => word(text, at, b"null")?,
            _ => number(text, at)?,
        };
        // A value is over.
        loop {
            if depth == 0 {
                return Some(at);
            }
            at = spaces(text, at);
            let in_object = objects & 1 == 1;
            match *text.get(at)? {
                b',' => {
                    at = spaces(text, at + 1);
                    if in_object {
                        at = name(text, at)?;
                    }
                    break;
                }
                b'}' if in_object => {}
                b']' if !in_object => {}
                _ => return None,
            }
            at += 1;
            objects >>= 1;
            depth -= 1;
        }
    }
}

#[inline]
fn spaces(text: &[u8], mut at: usize) -> usize {
    while matches!(text.get(at), Some(b' ' | b'\t')) {
        at += 1;
    }
    at
}

/// A member's name and its colon, up to the value.
#[inline]
fn name(text: &[u8], at: usize) -> Option<usize> {
    if *text.get(at)? != b'"' {
        return None;
    }
    let at = spaces(text, string(text, at + 1)?);
    (*text.get(at)? == b':').then(|| spaces(text, at + 1))
}

/// A string, from behind its first quote.
#[inline]
fn string(text: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES << 7;
    loop {
        // Eight bytes at a time, as long as none of them is a quote, a backslash or a control character. The first that is
        // marked is one; those above it may be marked for nothing.
        while let Some(eight) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) {
            let word = u64::from_le_bytes(*eight);
            let below = |word: u64, bound: u64| word.wrapping_sub(ONES * bound) & !word;
            // With this bit turned over, the quote comes right behind the control characters, which stay what they are.
            let control_or_quote = below(word ^ (ONES * 0x02), 0x21);
            let backslash = below(word ^ (ONES * u64::from(b'\\')), 1);
            let found = (control_or_quote | backslash) & HIGHS;
            at += found.trailing_zeros() as usize / 8;
            if found != 0 {
                break;
            }
        }
        match *text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at = escape(text, at + 1)?,
            0..0x20 => return None,
            _ => at += 1,
        }
    }
}

#[cold]
fn escape(text: &[u8], at: usize) -> Option<usize> {
    match *text.get(at)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 1),
        b'u' => {
            let digits = text.get(at + 1..at + 5)?;
            digits.iter().all(u8::is_ascii_hexdigit).then_some(at + 5)
        }
        _ => None,
    }
}

fn word(text: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    text.get(at..)?.starts_with(word).then_some(at + word.len())
}

#[inline]
fn digits(text: &[u8], mut at: usize) -> Option<usize> {
    let begun = at;
    while text.get(at).is_some_and(u8::is_ascii_digit) {
        at += 1;
    }
    (at > begun).then_some(at)
}

#[inline]
fn number(text: &[u8], mut at: usize) -> Option<usize> {
    if *text.get(at)? == b'-' {
        at += 1;
    }
    at = if *text.get(at)? == b'0' {
        at + 1
    } else {
        digits(text, at)?
    };
    if text.get(at) == Some(&b'.') {
        at = digits(text, at + 1)?;
    }
    if let Some(b'e' | b'E') = text.get(at) {
        at += 1;
        if let Some(b'+' | b'-') = text.get(at) {
            at += 1;
        }
        at = digits(text, at)?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn by_serde(text: &str) -> bool {
        serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok()
    }

    #[test]
    fn what_is_json_for_us_is_json_for_serde() {
        let seeds = [
            r#"{"a": [1, -0.5e+10, true, false, null, "x\n\u00e9 \" é 12345678901234567890"], "b": {}, "c": [], "d": {"e": [[]]}}"#,
            r#"[{"a":"0123456789abcdef","b":"0123456 "}, 0, 10, 1E5, -1]"#,
            r#""just a string of some length""#,
        ];
        let mut sure = 0;
        for seed in seeds {
            assert!(is_json_line(seed.as_bytes()), "{seed}");
            for at in 0..seed.len() {
                let mut cut = seed.as_bytes()[..at].to_vec();
                let rest = &seed.as_bytes()[at..];
                let mut tried = vec![cut.clone()];
                for byte in 0..=0xff_u8 {
                    let mut changed = cut.clone();
                    changed.push(byte);
                    tried.push([&changed, rest].concat());
                    tried.push([&changed, &rest[1..]].concat());
                }
                cut.extend(&rest[1..]);
                tried.push(cut);
                for text in tried {
                    let Ok(text) = String::from_utf8(text) else {
                        continue;
                    };
                    let ours = is_json_line(text.as_bytes());
                    sure += usize::from(ours);
                    let theirs = by_serde(&text);
                    // "No" is "not sure" where there are line breaks or spaces around; else it is as surely no.
                    let alike = text.trim() == text && !text.contains(['\n', '\r']);
                    assert!(if alike { ours == theirs } else { !ours || theirs }, "{text:?}");
                }
            }
        }
        assert!(sure > 10_000, "{sure}");
    }

    #[test]
    fn depth_has_a_limit_and_white_space_is_left_to_others() {
        for (depth, sure) in [(101, true), (102, false)] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(is_json_line(text.as_bytes()), sure, "{depth}");
        }
        for text in [
            "",
            " 1",
            "1 ",
            "[\n1]",
            "01",
            "1.",
            "+1",
            "{a:1}",
            "[1,]",
            "{\"a\":1,}",
            "tru",
            "\"\u{1}\"",
        ] {
            assert!(!is_json_line(text.as_bytes()), "{text:?}");
        }
    }
}
