//! What the fast paths read and write: SHA-256 values and Ed25519 signatures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Text that is not the hex form of the expected number of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("expected {expected} bytes as {} hex digits (0x allowed), found {found:?}", expected * 2)]
pub struct HexError {
    /// How many bytes the value has.
    pub expected: usize,
    /// The beginning of what was found instead.
    pub found: String,
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let digits = text.strip_prefix("0x").unwrap_or(text);
    let mut out = [0; N];
    hex::decode_to_slice(digits, &mut out).map_err(|_| HexError {
        expected: N,
        found: text.chars().take(80).collect(),
    })?;
    Ok(out)
}

macro_rules! bytes {
    ($(#[$doc:meta])* $name:ident, $len:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name(pub [u8; $len]);

        impl $name {
            /// All bytes zero.
            pub const ZERO: Self = Self([0; $len]);

            /// True if every byte is zero.
            pub fn is_zero(&self) -> bool {
                self.0.iter().all(|b| *b == 0)
            }
        }

        impl fmt::Display for $name {
            /// Lower-case hex without a prefix.
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&hex::encode(self.0))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = HexError;
            /// Reads hex, with or without a `0x` prefix.
            fn from_str(s: &str) -> Result<Self, HexError> {
                parse_hex(s).map(Self)
            }
        }

        impl TryFrom<&[u8]> for $name {
            type Error = HexError;
            fn try_from(value: &[u8]) -> Result<Self, HexError> {
                value.try_into().map(Self).map_err(|_| HexError {
                    expected: $len,
                    found: format!("{} bytes", value.len()),
                })
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

bytes! {
    /// A SHA-256 value: 32 bytes. Written as hex without a prefix; read with or without `0x`.
    Hash32, 32
}
bytes! {
    /// An Ed25519 signature as stored: 64 bytes, R ‖ S, not checked for validity.
    SignatureBytes, 64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_with_and_without_prefix_and_of_the_right_length_only() {
        let hash = Hash32(std::array::from_fn(|i| i as u8 * 7));
        assert_eq!(hash.to_string().parse::<Hash32>().unwrap(), hash);
        assert_eq!(format!("0x{hash}").parse::<Hash32>().unwrap(), hash);
        assert!("".parse::<Hash32>().is_err());
        assert!(format!("{hash}00").parse::<Hash32>().is_err());
        assert!(format!("0x0x{hash}").parse::<Hash32>().is_err());
        assert!("zz".repeat(32).parse::<Hash32>().is_err());
    }
}
