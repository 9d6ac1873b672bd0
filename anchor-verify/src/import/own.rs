//! The toolkit's own files, which `import *.json` meets beside those that a node answered.

use std::io::Read as _;

use flate2::read::GzDecoder;
use serde::Deserialize;

/// How much of a packed file is unpacked to find its first line.
const FIRST_LINE: u64 = 1 << 20;

/// The first bytes of a packed file, and of a snapshot.
const GZIP: &[u8] = &[0x1f, 0x8b];
const SQLITE: &[u8] = b"SQLite format 3\0";

/// What an own file is, if it is one: the `schema` of its first JSON value, or that it is a snapshot.
pub fn own_document(bytes: &[u8]) -> Option<String> {
    if bytes.starts_with(SQLITE) {
        return Some("a snapshot, or another SQLite file".into());
    }
    if bytes.starts_with(GZIP) {
        let mut unpacked = Vec::new();
        // What is damaged further behind has its first line all the same.
        let _ = GzDecoder::new(bytes).take(FIRST_LINE).read_to_end(&mut unpacked);
        return schema(&unpacked);
    }
    schema(bytes)
}

/// The schema that the first value of a text names in the toolkit's form: `name/version`.
fn schema(text: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Named {
        schema: String,
    }
    let mut values = serde_json::Deserializer::from_slice(text).into_iter::<Named>();
    let schema = values.next()?.ok()?.schema;
    let (name, version) = schema.split_once('/')?;
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let ours = !name.is_empty() && name.chars().all(word) && version.parse::<u16>().is_ok();
    ours.then_some(schema)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn own_files_are_told_from_what_a_node_answered() {
        for (text, is) in [
            (r#"{"schema":"anchors/2","anchors":[]}"#, Some("anchors/2")),
            (
                "{\"out\":\"x\",\n\"schema\":\"prove-report/1\"}",
                Some("prove-report/1"),
            ),
            (
                "{\"type\":\"log\",\"schema\":\"log-export/1\"}\n{\"type\":\"key\"}\n",
                Some("log-export/1"),
            ),
            (r#"{"schema":"https://json-schema.org/draft-07"}"#, None),
            (r#"{"jsonrpc":"2.0","result":[{"schema":"anchors/2"}]}"#, None),
            (r#"{"schema":7}"#, None),
            ("[]", None),
            ("", None),
        ] {
            assert_eq!(own_document(text.as_bytes()).as_deref(), is, "{text}");
        }
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed
            .write_all(b"{\"type\":\"bundle\",\"schema\":\"vesbundle/1\",\"anchors_bytes\":2}\n{}")
            .unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(own_document(&packed).as_deref(), Some("vesbundle/1"));
        assert!(own_document(b"SQLite format 3\0rest").is_some());
    }
}
