//! SHA-256 values, Ed25519 signature bytes, and the writer that all preimages go through.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

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

/// Writes a preimage piece by piece and hashes it (SHA-256).
///
/// All hashes of the protocol start with a domain prefix, so the constructor asks for one.
#[derive(Clone)]
pub struct Preimage(Sha256);

impl Preimage {
    /// Starts a preimage with its ASCII domain prefix (no terminator).
    pub fn new(domain: &str) -> Self {
        Self(Sha256::new_with_prefix(domain.as_bytes()))
    }

    /// Appends bytes as they are.
    pub fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update(bytes);
        self
    }

    /// Appends a big-endian u32.
    pub fn u32(self, value: u32) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends a big-endian u64.
    pub fn u64(self, value: u64) -> Self {
        self.bytes(&value.to_be_bytes())
    }

    /// Appends `ENC_STR(text)`: u32 byte length ‖ UTF-8 bytes.
    ///
    /// A text of 4 GiB or more has no encoding. Columns hold less, and readers limit what they take,
    /// so the length is saturated rather than made an error that no caller could meet.
    pub fn enc_str(self, text: &str) -> Self {
        self.len_bytes(text.as_bytes())
    }

    /// Appends u32 byte length ‖ bytes.
    pub fn len_bytes(self, bytes: &[u8]) -> Self {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX))
            .bytes(bytes)
    }

    /// The SHA-256 of all that was appended.
    pub fn finish(self) -> Hash32 {
        Hash32(self.0.finalize().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_is_read_with_and_without_prefix_and_of_the_right_length_only() {
        let hash = Preimage::new("x").finish();
        assert_eq!(hash.to_string().parse::<Hash32>().unwrap(), hash);
        assert_eq!(format!("0x{hash}").parse::<Hash32>().unwrap(), hash);
        assert!("".parse::<Hash32>().is_err());
        assert!(format!("{hash}00").parse::<Hash32>().is_err());
        assert!(format!("0x0x{hash}").parse::<Hash32>().is_err());
        assert!("zz".repeat(32).parse::<Hash32>().is_err());
    }

    #[test]
    fn preimages_are_the_plain_concatenation() {
        let expected = Hash32(Sha256::digest(b"D\0\0\0\x07\0\0\0\0\0\0\0\x08\0\0\0\x02ab").into());
        assert_eq!(Preimage::new("D").u32(7).u64(8).enc_str("ab").finish(), expected);
    }
}
