//! Keys as they are given on a command line: hex, or small files that hold hex.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fmt;
use std::path::Path;

use clap::Args;
use ed25519_dalek::{SigningKey, VerifyingKey};

use crate::error::{CliError, file_hint};
use crate::files;

/// The length of an ML-DSA-65 public key in bytes.
const ML_DSA_65_BYTES: usize = 1952;

/// A key file is small; whatever else is named must not fill the memory. In bytes.
const MAX_KEY_FILE: u64 = 1 << 16;

/// A public key of the sequencer as it is written, with its version if it was given with one.
pub type VersionedKey = (Option<i32>, Vec<u8>);

/// `--sequencer-public-key`, the same in all tools.
#[derive(Debug, Clone, Default, Args)]
pub struct SequencerPublicKeyArgs {
    /// The sequencer's public key, as hex or as a file that holds it; without it no receipt's signature is checked. If
    /// its keys rotated, give each with its version (0=HEX), or a file with a line VERSION=HEX for each. Of a sequencer
    /// that signs by ML-DSA-65 too give both keys of a version; they are told apart by their length
    #[arg(long = "sequencer-public-key", value_name = "[VERSION=]HEX|FILE")]
    values: Vec<String>,
}

impl SequencerPublicKeyArgs {
    const NAME: &'static str = "--sequencer-public-key";

    /// As they were given.
    #[must_use]
    pub fn words(&self) -> Vec<OsString> {
        self.values.iter().map(OsString::from).collect()
    }

    /// Whether none was given.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Reads the keys, each with its version if it has one: 32 bytes of Ed25519, or 1952 of ML-DSA-65.
    ///
    /// # Errors
    /// A file that cannot be read, what is not a key, two keys of one version and kind.
    pub fn read(&self) -> Result<Vec<VersionedKey>, CliError> {
        let mut keys = Vec::new();
        for value in &self.values {
            read_versions(Self::NAME, value, &mut keys)?;
        }
        let mut versions = BTreeSet::new();
        match keys
            .iter()
            .find(|(version, key)| !versions.insert((*version, key.len())))
        {
            None => Ok(keys),
            Some((version, _)) => Err(twice(Self::NAME, *version, "VERSION=HEX or VERSION=FILE")),
        }
    }
}

/// The secret that lets an agent or an operator in at the sequencer. Never printed.
#[derive(Clone)]
pub struct ApiKey(String);

impl ApiKey {
    /// The variable of the environment that it is read from.
    pub const VARIABLE: &'static str = "SEQUENCER_API_KEY";

    /// A key, without the white space around it.
    ///
    /// # Errors
    /// It is empty, or holds what no header can.
    pub fn new(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return Err("the API key is empty or holds characters that no header can".into());
        }
        Ok(Self(text.to_owned()))
    }

    /// Reads the key from a file, or else from [`ApiKey::VARIABLE`]; `None` if neither is given.
    ///
    /// # Errors
    /// The file cannot be read, or what is given is no key.
    pub fn read(file: Option<&Path>) -> Result<Option<Self>, CliError> {
        let text = match file {
            Some(path) => Some(files::read_text(path, MAX_KEY_FILE).map_err(|e| {
                CliError::input(format!("{}: {e}", path.display())).with_hint(file_hint(path, &e))
            })?),
            None => std::env::var(Self::VARIABLE).ok().filter(|key| !key.is_empty()),
        };
        let key = text.map(|text| Self::new(&text)).transpose();
        key.map_err(|what| {
            CliError::usage(what).with_hint(
                "the key alone, on one line, in SEQUENCER_API_KEY or in the file of --api-key-file",
            )
        })
    }

    /// What the header `authorization` says. A secret.
    #[must_use]
    pub fn authorization(&self) -> String {
        format!("ApiKey {}", self.0)
    }
}

impl fmt::Debug for ApiKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiKey(***)")
    }
}

/// What to say of two keys that are given for one version.
pub fn twice(option: &str, version: Option<i32>, form: &str) -> CliError {
    let which = version.map_or("without a version".to_owned(), |v| format!("of version {v}"));
    CliError::usage(format!("{option}: two keys {which}")).with_hint(format!("give each key once, as {form}"))
}

/// Splits `VERSION=REST`; what has no number before the sign has no version.
pub fn split_version(value: &str) -> (Option<i32>, &str) {
    let versioned = value
        .split_once('=')
        .and_then(|(version, rest)| Some((version.trim().parse().ok()?, rest)));
    match versioned {
        Some((version, rest)) => (Some(version), rest),
        None => (None, value),
    }
}

fn read_versions(option: &str, value: &str, keys: &mut Vec<(Option<i32>, Vec<u8>)>) -> Result<(), CliError> {
    let (version, rest) = split_version(value);
    let text = hex_or_file(option, rest)?;
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let several = version.is_none() && lines.iter().any(|line| line.contains('='));
    if !several {
        keys.push((version, key_bytes(option, &text)?));
        return Ok(());
    }
    for line in lines {
        let (Some(version), hex) = split_version(line) else {
            return Err(CliError::input(format!(
                "{option}: {rest}: each line of a file with several keys is VERSION=HEX"
            )));
        };
        keys.push((Some(version), key_bytes(option, hex)?));
    }
    Ok(())
}

/// Reads a public key as it is written, 32 bytes of Ed25519 or 1952 of ML-DSA-65: in hex, or in a file that holds it.
///
/// # Errors
/// A file that cannot be read, or what is not a key.
pub fn read_key_of_either_kind(option: &str, value: &str) -> Result<Vec<u8>, CliError> {
    key_bytes(option, &hex_or_file(option, value)?)
}

/// Reads an Ed25519 public key: 64 hex digits, or a file that holds them.
///
/// # Errors
/// A file that cannot be read, or what is not a key.
pub fn read_public_key(option: &str, value: &str) -> Result<VerifyingKey, CliError> {
    public_key(option, &hex_or_file(option, value)?)
}

fn hex_or_file(option: &str, value: &str) -> Result<String, CliError> {
    if bytes(value).is_some() || ml_dsa_65(value).is_some() {
        return Ok(value.to_owned());
    }
    files::read_text(Path::new(value), MAX_KEY_FILE).map_err(|e| {
        CliError::input(format!("{option}: {value}: {e}"))
            .with_hint("give 64 hex digits, or a file that holds them")
    })
}

/// An ML-DSA-65 public key in hex. Every text of that length is one.
fn ml_dsa_65(text: &str) -> Option<Vec<u8>> {
    let text = text.strip_prefix("0x").unwrap_or(text);
    (text.len() == 2 * ML_DSA_65_BYTES).then(|| hex::decode(text).ok())?
}

/// A public key of either kind.
fn key_bytes(option: &str, text: &str) -> Result<Vec<u8>, CliError> {
    match ml_dsa_65(text.trim()) {
        Some(key) => Ok(key),
        None => public_key(option, text).map(|key| key.to_bytes().to_vec()),
    }
}

/// What to do about a public key that is none.
const WHOSE: &str = "ask whose key it is for it once more, by a way that you trust: a digit may be wrong";

fn public_key(option: &str, text: &str) -> Result<VerifyingKey, CliError> {
    let bytes = bytes(text.trim()).ok_or_else(|| {
        CliError::input(format!(
            "{option}: not the 64 hex digits of an Ed25519 public key"
        ))
        .with_hint(WHOSE)
    })?;
    VerifyingKey::from_bytes(&bytes)
        .map_err(|e| CliError::input(format!("{option}: not an Ed25519 public key: {e}")).with_hint(WHOSE))
}

/// Reads an Ed25519 signing key: a file with its 32-byte seed in hex. The file's content is never shown.
///
/// # Errors
/// A file that cannot be read, or what is not a seed.
pub fn read_signing_key(path: &Path) -> Result<SigningKey, CliError> {
    let failed = |what: &dyn fmt::Display| {
        CliError::input(format!("{}: {what}", path.display()))
            .with_hint("a key file holds the 32-byte seed in hex and nothing else")
    };
    let text = files::read_text(path, MAX_KEY_FILE).map_err(|e| failed(&e))?;
    let seed = bytes(text.trim()).ok_or_else(|| failed(&"not the 64 hex digits of an Ed25519 seed"))?;
    Ok(SigningKey::from_bytes(&seed))
}

/// A signing key of one algorithm or of both: the Ed25519 key, and the seed of the ML-DSA-65 key.
pub type SigningParts = (Option<SigningKey>, Option<[u8; 32]>);

/// Reads a signing key of one algorithm or of both: a file with a 32-byte Ed25519 seed in hex, or with lines
/// `ed25519=HEX` and `ml-dsa-65=HEX`, each a seed of 32 bytes. The file's content is never shown.
///
/// # Errors
/// A file that cannot be read, what is not a seed, two of one kind.
pub fn read_signing_parts(path: &Path) -> Result<SigningParts, CliError> {
    let failed = |what: &dyn fmt::Display| {
        CliError::input(format!("{}: {what}", path.display())).with_hint(
            "a key file holds the 32-byte Ed25519 seed in hex and nothing else, or lines ed25519=HEX and ml-dsa-65=HEX",
        )
    };
    let text = files::read_text(path, MAX_KEY_FILE).map_err(|e| failed(&e))?;
    if !text.contains('=') {
        return Ok((Some(read_signing_key(path)?), None));
    }
    let (mut ed25519, mut ml_dsa_65) = (None, None);
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (kind, seed) = line.split_once('=').unwrap_or_default();
        let seed =
            bytes(seed.trim()).ok_or_else(|| failed(&"a line is not KIND=HEX with a seed of 32 bytes"))?;
        let place = match kind.trim() {
            "ed25519" => &mut ed25519,
            "ml-dsa-65" => &mut ml_dsa_65,
            _ => return Err(failed(&"a line is neither ed25519=HEX nor ml-dsa-65=HEX")),
        };
        if place.replace(seed).is_some() {
            return Err(failed(&"two seeds of one kind"));
        }
    }
    Ok((ed25519.map(|seed| SigningKey::from_bytes(&seed)), ml_dsa_65))
}

/// 32 bytes in hex, with `0x` before them or without.
fn bytes(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let text = text.strip_prefix("0x").unwrap_or(text);
    hex::decode_to_slice(text, &mut bytes).ok().map(|()| bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex_of(n: u8) -> String {
        hex::encode(SigningKey::from_bytes(&[n; 32]).verifying_key().as_bytes())
    }

    fn read(values: &[&str]) -> Result<Vec<(Option<i32>, String)>, String> {
        let args = SequencerPublicKeyArgs {
            values: values.iter().map(|&value| value.to_owned()).collect(),
        };
        let keys = args.read().map_err(|e| e.to_string())?;
        Ok(keys.into_iter().map(|(v, key)| (v, hex::encode(key))).collect())
    }

    #[test]
    fn keys_come_with_versions_or_without_and_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let (one, all) = (folder.path().join("one.pub"), folder.path().join("a=b.pub"));
        std::fs::write(&one, format!("{}\n", hex_of(1))).unwrap();
        std::fs::write(
            &all,
            format!("0={}\n\n 1 = {}\n", hex_of(1), hex_of(2)).replace(" = ", "="),
        )
        .unwrap();
        let (one, all) = (one.to_string_lossy(), all.to_string_lossy());
        assert_eq!(read(&[&one]).unwrap(), [(None, hex_of(1))]);
        assert_eq!(
            read(&[&format!("2={one}"), &format!("3={}", hex_of(3))]).unwrap(),
            [(Some(2), hex_of(1)), (Some(3), hex_of(3))]
        );
        assert_eq!(
            read(&[&all]).unwrap(),
            [(Some(0), hex_of(1)), (Some(1), hex_of(2))]
        );
        let twice = read(&[&all, &format!("1={}", hex_of(3))]).unwrap_err();
        assert!(twice.contains("two keys of version 1"), "{twice}");
        assert!(
            read(&[&hex_of(1), &hex_of(2)])
                .unwrap_err()
                .contains("without a version")
        );
        for bad in ["nonsense", "1=nonsense", &hex_of(1)[1..]] {
            assert!(read(&[bad]).is_err(), "{bad}");
        }
        // The two keys of one version are told apart by their length.
        let long = "ab".repeat(ML_DSA_65_BYTES);
        let both = [format!("1={}", hex_of(1)), format!("1={long}")];
        let both: Vec<&str> = both.iter().map(String::as_str).collect();
        assert_eq!(
            read(&both).unwrap(),
            [(Some(1), hex_of(1)), (Some(1), long.clone())]
        );
        let twice = read(&[&long, &long]).unwrap_err();
        assert!(twice.contains("two keys without a version"), "{twice}");
        assert!(read(&[&long[2..]]).is_err());
    }

    #[test]
    fn a_signing_key_has_one_part_or_two() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        let read = |text: &str| {
            std::fs::write(&file, text).unwrap();
            let (ed25519, ml_dsa_65) = read_signing_parts(&file).map_err(|e| e.to_string())?;
            Ok::<_, String>((ed25519.map(|key| key.to_bytes()), ml_dsa_65))
        };
        let (one, two) = ("01".repeat(32), "02".repeat(32));
        assert_eq!(read(&format!("{one}\n")), Ok((Some([1; 32]), None)));
        assert_eq!(read(&format!("ml-dsa-65={two}")), Ok((None, Some([2; 32]))));
        let both = format!("ml-dsa-65 = {two}\n\ned25519={one}\n");
        assert_eq!(read(&both), Ok((Some([1; 32]), Some([2; 32]))));
        for bad in [
            format!("ed25519={one}\ned25519={two}"),
            format!("ed25519={one}\n{two}"),
            format!("rsa={one}"),
            format!("ml-dsa-65={}", &one[2..]),
            "=".into(),
        ] {
            let error = read(&bad).unwrap_err();
            assert!(!error.contains(&one[2..]) && !error.contains(&two), "{error}");
        }
    }
}
