//! Bytes of a column in JSON: hex. Plans and undo files of earlier releases have them as arrays of numbers, which are five
//! times as long; these are read too.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Hex(String),
    Numbers(Vec<u8>),
}

pub(crate) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, serializer: S) -> Result<S::Ok, S::Error> {
    bytes.as_ref().map(hex::encode).serialize(serializer)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Vec<u8>>, D::Error> {
    match Option::<Written>::deserialize(deserializer)? {
        None => Ok(None),
        Some(Written::Numbers(bytes)) => Ok(Some(bytes)),
        Some(Written::Hex(text)) => hex::decode(text).map(Some).map_err(serde::de::Error::custom),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Row {
        #[serde(default, with = "super", skip_serializing_if = "Option::is_none")]
        bytes: Option<Vec<u8>>,
    }

    #[test]
    fn hex_is_written_and_numbers_are_read_too() {
        let row = |bytes: Option<&[u8]>| Row {
            bytes: bytes.map(<[u8]>::to_vec),
        };
        for (text, bytes) in [
            (r#"{"bytes":"00ff7b"}"#, Some([0, 255, 123].as_slice())),
            (r#"{"bytes":""}"#, Some([].as_slice())),
            ("{}", None),
        ] {
            assert_eq!(serde_json::to_string(&row(bytes)).unwrap(), text);
            assert_eq!(serde_json::from_str::<Row>(text).unwrap(), row(bytes));
        }
        let earlier: Row = serde_json::from_str(r#"{"bytes":[0,255,123]}"#).unwrap();
        assert_eq!(earlier, row(Some(&[0, 255, 123])));
        assert_eq!(
            serde_json::from_str::<Row>(r#"{"bytes":null}"#).unwrap(),
            row(None)
        );
        for wrong in [
            r#"{"bytes":"0"}"#,
            r#"{"bytes":"zz"}"#,
            r#"{"bytes":[256]}"#,
            r#"{"bytes":7}"#,
        ] {
            assert!(serde_json::from_str::<Row>(wrong).is_err(), "{wrong}");
        }
    }
}
