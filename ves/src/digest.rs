//! SHA-256 values, Ed25519 signature bytes, and the writer that all preimages go through.

use sha2::{Digest, Sha256};

pub use ves_kernels::{Hash32, HexError, SignatureBytes};

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
    fn preimages_are_the_plain_concatenation() {
        let expected = Hash32(Sha256::digest(b"D\0\0\0\x07\0\0\0\0\0\0\0\x08\0\0\0\x02ab").into());
        assert_eq!(Preimage::new("D").u32(7).u64(8).enc_str("ab").finish(), expected);
    }
}
