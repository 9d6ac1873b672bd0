//! Canonical JSON (RFC 8785), the form in which payloads are hashed.
//!
//! Every number is an IEEE double, as in the sequencer: 2^53 and 2^53+1 have one canonical form, and
//! so one hash. Objects with a repeated member name have no canonical form and are refused rather
//! than merged.

use std::fmt::Write as _;

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use ves_kernels::json;

/// Text that has no canonical form.
#[derive(Debug, thiserror::Error)]
#[error("not canonicalisable JSON: {0}")]
pub struct JcsError(#[from] serde_json::Error);

/// The canonical form of a JSON text, by way of a tree: the reference for [`Canonicalizer`], which is
/// many times faster.
///
/// # Errors
/// Text that is not JSON, repeats a member name, holds a number outside the range of doubles or a
/// lone surrogate, or nests deeper than 127 levels (the limit of the sequencer's own parser).
pub fn canonicalize(json: &str) -> Result<String, JcsError> {
    let value: Json = serde_json::from_str(json)?;
    let mut out = String::with_capacity(json.len());
    value.write(&mut out);
    Ok(out)
}

/// Canonicalises many texts with the same working memory, in one pass each where their form is a common one.
///
/// ```
/// let mut out = Vec::new();
/// ves::jcs::Canonicalizer::default().append(r#"{"b": 1.50, "a": "\u0041"}"#, &mut out).unwrap();
/// assert_eq!(out, br#"{"a":"A","b":1.5}"#);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Canonicalizer(json::Canonicalizer);

impl Canonicalizer {
    /// Appends the canonical form of a JSON text to `out`: the same as [`canonicalize`] gives.
    ///
    /// # Errors
    /// The same as [`canonicalize`]'s; then `out` is as it was.
    pub fn append(&mut self, json: &str, out: &mut Vec<u8>) -> Result<(), JcsError> {
        if self.0.append(json, out).is_err() {
            out.extend_from_slice(canonicalize(json)?.as_bytes());
        }
        Ok(())
    }
}

/// A JSON value with its object members in canonical order.
enum Json {
    Null,
    Bool(bool),
    Number(f64),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(true) => out.push_str("true"),
            Json::Bool(false) => out.push_str("false"),
            // RFC 8785 §3.2.2.3: as ECMAScript prints them; parsing admits finite numbers only.
            Json::Number(number) => out.push_str(ryu_js::Buffer::new().format_finite(*number)),
            Json::String(text) => write_string(text, out),
            Json::Array(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_string(name, out);
                    out.push(':');
                    value.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// RFC 8785 §3.2.2.2: the two-character escapes where JSON has them, `\u00xx` in lower case for the
/// other control characters, everything else as it is.
fn write_string(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\t' => out.push_str("\\t"),
            '\n' => out.push_str("\\n"),
            '\u{c}' => out.push_str("\\f"),
            '\r' => out.push_str("\\r"),
            c if c < ' ' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(value as f64))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Json, E> {
        if value.is_finite() {
            Ok(Json::Number(value))
        } else {
            Err(E::custom("number out of range"))
        }
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        // RFC 8785 §3.2.3 sorts by UTF-16 code units, which differs from UTF-8 order beyond U+FFFF.
        members.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
        if let Some(pair) = members.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(de::Error::custom(format_args!(
                "member name {:?} is repeated",
                pair[0].0
            )));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Both ways, which must agree in result or error.
    fn canonicalize(json: &str) -> Result<String, JcsError> {
        let plain = super::canonicalize(json);
        let mut out = b"before".to_vec();
        let direct = Canonicalizer::default().append(json, &mut out);
        match (&plain, direct) {
            (Ok(plain), Ok(())) => assert_eq!(String::from_utf8_lossy(&out[6..]), *plain, "{json}"),
            (Err(plain), Err(direct)) => {
                assert_eq!(plain.to_string(), direct.to_string(), "{json}");
                assert_eq!(out, b"before");
            }
            (plain, direct) => panic!("{json}: {plain:?} and {direct:?}"),
        }
        // Another implementation merges repeated names, and the limits of its parser are not ours.
        let value = || serde_json::from_str::<serde_json::Value>(json);
        if let (Ok(plain), Ok(value)) = (&plain, value()) {
            assert_eq!(
                serde_json_canonicalizer::to_string(&value).unwrap(),
                *plain,
                "{json}"
            );
        }
        plain
    }

    #[test]
    fn rfc_8785_examples() {
        // Section 3.2.2 and 3.2.3 of the RFC.
        let input = r#"{"numbers":[333333333.33333329,1E30,4.50,2e-3,0.000000000000000000000000001],
            "string":"\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/","literals":[null,true,false]}"#;
        let expected = "{\"literals\":[null,true,false],\"numbers\":[333333333.3333333,1e+30,4.5,0.002,1e-27],\
             \"string\":\"€$\\u000f\\nA'B\\\"\\\\\\\\\\\"/\"}";
        assert_eq!(canonicalize(input).unwrap(), expected);
        let keys = r#"{"\u20ac":1,"\r":2,"\ufb33":3,"1":4,"\ud83d\ude00":5,"\u0080":6,"\u00f6":7}"#;
        assert_eq!(
            canonicalize(keys).unwrap(),
            "{\"\\r\":2,\"1\":4,\"\u{80}\":6,\"ö\":7,\"€\":1,\"😀\":5,\"\u{fb33}\":3}"
        );
    }

    #[test]
    fn numbers_are_doubles() {
        let cases = [
            ("9007199254740993", "9007199254740992"),
            ("18446744073709551615", "18446744073709552000"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("1e21", "1e+21"),
            ("1e20", "100000000000000000000"),
            ("5e-324", "5e-324"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("100000000000000000000000", "1e+23"),
        ];
        for (input, expected) in cases {
            assert_eq!(canonicalize(input).unwrap(), expected, "{input}");
        }
    }

    #[test]
    fn what_has_no_canonical_form_is_refused() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        let bad = [
            "",
            "{",
            "{\"a\":1,\"a\":1}",
            "{\"a\":1,\"\\u0061\":2}",
            "1e400",
            "\"\\ud800\"",
            "NaN",
            "1 2",
            &deep,
        ];
        for input in bad {
            assert!(canonicalize(input).is_err(), "{input:.40}");
        }
    }

    /// Appendix B of the RFC: doubles by their bits, and how they are printed.
    #[test]
    fn rfc_8785_numbers() {
        let cases: [(u64, &str); 28] = [
            (0x0000_0000_0000_0000, "0"),
            (0x8000_0000_0000_0000, "0"),
            (0x0000_0000_0000_0001, "5e-324"),
            (0x8000_0000_0000_0001, "-5e-324"),
            (0x7fef_ffff_ffff_ffff, "1.7976931348623157e+308"),
            (0xffef_ffff_ffff_ffff, "-1.7976931348623157e+308"),
            (0x4340_0000_0000_0000, "9007199254740992"),
            (0xc340_0000_0000_0000, "-9007199254740992"),
            (0x4430_0000_0000_0000, "295147905179352830000"),
            (0x44b5_2d02_c7e1_4af5, "9.999999999999997e+22"),
            (0x44b5_2d02_c7e1_4af6, "1e+23"),
            (0x44b5_2d02_c7e1_4af7, "1.0000000000000001e+23"),
            (0x444b_1ae4_d6e2_ef4e, "999999999999999700000"),
            (0x444b_1ae4_d6e2_ef4f, "999999999999999900000"),
            (0x444b_1ae4_d6e2_ef50, "1e+21"),
            (0x3eb0_c6f7_a0b5_ed8c, "9.999999999999997e-7"),
            (0x3eb0_c6f7_a0b5_ed8d, "0.000001"),
            (0x41b3_de43_5555_5553, "333333333.3333332"),
            (0x41b3_de43_5555_5554, "333333333.33333325"),
            (0x41b3_de43_5555_5555, "333333333.3333333"),
            (0x41b3_de43_5555_5556, "333333333.3333334"),
            (0x41b3_de43_5555_5557, "333333333.33333343"),
            (0xbecb_f647_612f_3696, "-0.0000033333333333333333"),
            (0x4314_3ff3_c1cb_0959, "1424953923781206.2"),
            (0x3ff0_0000_0000_0000, "1"),
            (0x3fb9_9999_9999_999a, "0.1"),
            (0x4024_0000_0000_0000, "10"),
            (0x3e7a_d7f2_9abc_af48, "1e-7"),
        ];
        for (bits, expected) in cases {
            let number = f64::from_bits(bits);
            for text in [
                format!("{number:e}"),
                format!("{number:?}"),
                format!("{number:.400}"),
            ] {
                assert_eq!(canonicalize(&text).unwrap(), expected, "{text}");
            }
        }
    }

    /// Everything that decides which way a number goes.
    #[test]
    fn numbers_of_every_shape() {
        let signs = ["", "-"];
        let integers = [
            "0",
            "1",
            "10",
            "123456789012345",
            "1234567890123456",
            "9007199254740993",
            "00",
            "01",
            "",
        ];
        let fractions = [
            "",
            ".",
            ".0",
            ".5",
            ".50",
            ".000",
            ".000001",
            ".0000010",
            ".0000001",
            ".00000123",
            ".12345678901234",
            ".123456789012345",
            ".1234567890123456",
        ];
        let exponents = ["", "e0", "E+2", "e-7", "e400", "e-400", "e", "e+"];
        for sign in signs {
            for integer in integers {
                for fraction in fractions {
                    for exponent in exponents {
                        // Whatever comes out, it comes out equal.
                        let _ = canonicalize(&format!("{sign}{integer}{fraction}{exponent}"));
                        let _ = canonicalize(&format!("[{sign}{integer}{fraction}{exponent} , 1]"));
                    }
                }
            }
        }
    }

    #[test]
    fn characters_of_ascii_are_escaped_alike_however_they_are_written() {
        for unit in 0..=0x7f_u32 {
            let lower = canonicalize(&format!("\"a\\u{unit:04x}b\"")).unwrap();
            assert_eq!(
                canonicalize(&format!("[\"a\\u{unit:04X}b\"]")).unwrap(),
                format!("[{lower}]")
            );
            // As a name, and raw where JSON allows it.
            let _ = canonicalize(&format!("{{\"\\u{unit:04x}\":1}}"));
            let _ = canonicalize(&format!("\"{}\"", char::from_u32(unit).unwrap()));
        }
    }

    #[test]
    fn nesting_is_bounded_alike() {
        for depth in [1, 100, 126, 127, 128, 129, 1000] {
            let arrays = "[".repeat(depth) + &"]".repeat(depth);
            let objects = "{\"a\":".repeat(depth) + "1" + &"}".repeat(depth);
            assert_eq!(canonicalize(&arrays).is_ok(), depth <= 127, "{depth}");
            assert_eq!(canonicalize(&objects).is_ok(), depth <= 127, "{depth}");
        }
    }

    /// Names around the one point where UTF-16 and UTF-8 are ordered differently.
    #[test]
    fn names_are_ordered_by_utf_16() {
        let names = [
            "",
            "a",
            "aa",
            "\u{7f}",
            "\u{80}",
            "\u{7ff}",
            "\u{d7ff}",
            "\u{e000}",
            "\u{fffd}",
            "\u{ffff}",
            "\u{10000}",
            "\u{10ffff}",
            "\u{1f600}x",
            "\u{e000}x",
            "a\"",
            "a\\",
            "a\n",
            "\u{1}",
        ];
        for a in names {
            for b in names {
                for c in ["zz", "\u{f8ff}b"] {
                    let text = |name: &str| serde_json::to_string(name).unwrap();
                    let object = format!("{{{}:1,{}:2,{}:3}}", text(a), text(b), text(c));
                    assert_eq!(canonicalize(&object).is_ok(), a != b);
                    let same = object.replace('a', "\\u0061");
                    assert_eq!(canonicalize(&same).is_ok(), a != b, "{same}");
                }
            }
        }
    }

    fn any_json() -> impl Strategy<Value = String> {
        let leaf = prop_oneof![
            Just("null".to_owned()),
            any::<bool>().prop_map(|b| b.to_string()),
            any::<f64>()
                .prop_filter("finite", |x| x.is_finite())
                .prop_map(|x| format!("{x:e}")),
            any::<i64>().prop_map(|n| n.to_string()),
            any::<String>().prop_map(|s| serde_json::to_string(&s).unwrap()),
        ];
        leaf.prop_recursive(4, 24, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(|v| format!("[{}]", v.join(" , "))),
                prop::collection::btree_map(any::<String>(), inner, 0..5).prop_map(|m| {
                    let members: Vec<String> = m
                        .iter()
                        .rev()
                        .map(|(k, v)| format!("{} : {v}", serde_json::to_string(k).unwrap()))
                        .collect();
                    format!("{{{}}}", members.join(","))
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn canonical_form_is_a_fixed_point_with_the_same_meaning(json in any_json()) {
            let once = canonicalize(&json).unwrap();
            prop_assert_eq!(&canonicalize(&once).unwrap(), &once);
            prop_assert!(!once.contains(" : "));
        }

        #[test]
        fn damaged_text_is_judged_alike(
            json in any_json(),
            at in any::<prop::sample::Index>(),
            with in prop::sample::select(b"\"\\{}[]:,0159.eE+-tfnu dD\n\x01".to_vec()),
            cut in any::<bool>(),
        ) {
            let mut bytes = json.into_bytes();
            let at = at.index(bytes.len());
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] = with;
            }
            if let Ok(text) = String::from_utf8(bytes) {
                let _ = canonicalize(&text);
            }
        }

        #[test]
        fn doubles_of_all_bits(bits in any::<u64>(), places in 0usize..20) {
            let number = f64::from_bits(bits);
            prop_assume!(number.is_finite());
            for text in [format!("{number:e}"), format!("{number:?}"), format!("{number:.places$}")] {
                prop_assert!(canonicalize(&text).is_ok());
            }
            let small = (bits % 2_000_000) as f64 / 1000.0;
            let text = format!("{small:.places$}");
            prop_assert!(canonicalize(&text).is_ok());
        }

        #[test]
        fn texts_of_json_characters_are_judged_alike(
            text in prop::collection::vec(prop::sample::select(vec!["{", "}", "[", "]", ":", ",", "\"", "a", "\\", "u00e9", "\\ud83d\\ude00", "1", "0", ".5", "e3", "-", " ", "true", "null", "\u{10000}", "\u{e000}"]), 0..14),
        ) {
            let _ = canonicalize(&text.concat());
        }
    }
}
