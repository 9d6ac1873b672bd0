//! Signed notes (C2SP `signed-note`): a text, an empty line, and signatures over the text.
//!
//! ```text
//! orders.example.com/<tenant>/<store>/g1
//! 334
//! CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=
//!
//! — orders.example.com/<tenant>/<store>/g1 Az3grlgtzPIC…
//! ```
//!
//! Written here and not taken from a crate since the ones there are bring a second release of the signature library; they
//! are what the tests compare with.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use ves::digest::Preimage;

/// The largest note that is read, in bytes.
pub const MAX_NOTE: usize = 1 << 16;
/// The most signatures of a note that are read.
pub const MAX_SIGNATURES: usize = 100;
/// What a line with a signature begins with: an em dash and a space.
const SIGNATURE: &str = "\u{2014} ";

/// What a key signs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum KeyKind {
    /// The text itself (0x01): a log's own key.
    Log,
    /// A time and the text (0x04, C2SP `tlog-cosignature`): a witness's key.
    Witness,
}

impl KeyKind {
    fn byte(self) -> u8 {
        match self {
            Self::Log => 1,
            Self::Witness => 4,
        }
    }
}

/// A public key with its name, as C2SP writes it: `name+id+base64`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    kind: KeyKind,
    key: VerifyingKey,
}

impl VerifierKey {
    /// A key under a name.
    ///
    /// # Errors
    /// A name that no note can carry.
    pub fn new(name: &str, kind: KeyKind, key: VerifyingKey) -> Result<Self, NoteError> {
        if !is_key_name(name) {
            return Err(NoteError::KeyName(name.to_owned()));
        }
        let name = name.to_owned();
        Ok(Self { name, kind, key })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What it signs.
    pub fn kind(&self) -> KeyKind {
        self.kind
    }

    /// The key itself.
    pub fn key(&self) -> &VerifyingKey {
        &self.key
    }

    /// The first four bytes of SHA-256(name ‖ 0x0A ‖ kind ‖ key), big-endian: what a signature names its key by.
    pub fn id(&self) -> u32 {
        key_id(&self.name, self.kind, &self.key)
    }

    /// Name and id, for people.
    pub fn short(&self) -> String {
        format!("{}+{:08x}", self.name, self.id())
    }

    /// What a note has of this key.
    pub fn check(&self, note: &Note) -> Signed {
        let id = self.id();
        let mut found = note
            .signatures
            .iter()
            .filter(|line| line.name == self.name && line.key_id == id);
        match found.next() {
            None => Signed::Absent,
            Some(line) => self.check_line(&note.text, line),
        }
    }

    fn check_line(&self, text: &str, line: &SignatureLine) -> Signed {
        let (time, bytes) = match self.kind {
            KeyKind::Log => (None, line.bytes.as_slice()),
            KeyKind::Witness => match line.bytes.split_first_chunk::<8>() {
                Some((time, rest)) => (Some(u64::from_be_bytes(*time)), rest),
                None => return Signed::Invalid,
            },
        };
        let Ok(signature) = Signature::from_slice(bytes) else {
            return Signed::Invalid;
        };
        let message = match time {
            None => text.to_owned(),
            Some(time) => cosigned(time, text),
        };
        match self.key.verify_strict(message.as_bytes(), &signature) {
            Ok(()) => Signed::Valid { time },
            Err(_) => Signed::Invalid,
        }
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![self.kind.byte()];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(f, "{}+{:08x}+{}", self.name, self.id(), BASE64.encode(bytes))
    }
}

impl FromStr for VerifierKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let refused = |what: &'static str| NoteError::Key(text.chars().take(120).collect(), what);
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(refused("is not NAME+ID+KEY"));
        };
        let bytes = BASE64
            .decode(key)
            .map_err(|_| refused("its last part is not base64"))?;
        // First of all, so that a slip of the pen is called one.
        if format!("{:08x}", id_of(name, &bytes)) != id {
            return Err(refused(
                "its id is not that of its name and key: a character may be wrong",
            ));
        }
        let (kind, bytes) = match bytes.split_first() {
            Some((1, rest)) => (KeyKind::Log, rest),
            Some((4, rest)) => (KeyKind::Witness, rest),
            _ => return Err(refused("is neither an Ed25519 key (1) nor a witness's (4)")),
        };
        let bytes: &[u8; 32] = bytes
            .try_into()
            .map_err(|_| refused("its key has not 32 bytes"))?;
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| refused("its key is no point of the curve"))?;
        Self::new(name, kind, key)
    }
}

/// The id of a key under a name.
fn key_id(name: &str, kind: KeyKind, key: &VerifyingKey) -> u32 {
    let mut bytes = vec![kind.byte()];
    bytes.extend_from_slice(key.as_bytes());
    id_of(name, &bytes)
}

/// The id of a key in its encoding, kind first, under a name.
fn id_of(name: &str, encoded: &[u8]) -> u32 {
    let hash = Preimage::new(name).bytes(b"\n").bytes(encoded).finish();
    u32::from_be_bytes([hash.0[0], hash.0[1], hash.0[2], hash.0[3]])
}

/// What a witness signs: two lines before the text.
fn cosigned(time: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {time}\n{text}")
}

/// Whether a key can have this name: not empty, no space, no plus.
pub fn is_key_name(name: &str) -> bool {
    let fits = |c: char| !c.is_whitespace() && !c.is_control() && c != '+';
    !name.is_empty() && name.chars().all(fits)
}

/// What a note has of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signed {
    /// No signature.
    Absent,
    /// A signature that does not hold.
    Invalid,
    /// A signature that holds.
    Valid {
        /// When a witness says that it signed, in seconds since 1970.
        time: Option<u64>,
    },
}

/// One line with a signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLine {
    /// The key's name.
    pub name: String,
    /// The key's id.
    pub key_id: u32,
    /// The signature, after the id.
    pub bytes: Vec<u8>,
}

impl SignatureLine {
    /// Signs a text as a log.
    pub fn by_log(name: &str, key: &SigningKey, text: &str) -> Self {
        Self {
            name: name.to_owned(),
            key_id: key_id(name, KeyKind::Log, &key.verifying_key()),
            bytes: key.sign(text.as_bytes()).to_bytes().to_vec(),
        }
    }

    /// Cosigns a text as a witness, at a time in seconds since 1970.
    pub fn by_witness(name: &str, key: &SigningKey, text: &str, time: u64) -> Self {
        let mut bytes = time.to_be_bytes().to_vec();
        bytes.extend_from_slice(&key.sign(cosigned(time, text).as_bytes()).to_bytes());
        Self {
            name: name.to_owned(),
            key_id: key_id(name, KeyKind::Witness, &key.verifying_key()),
            bytes,
        }
    }
}

impl fmt::Display for SignatureLine {
    /// Without a line's end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = self.key_id.to_be_bytes().to_vec();
        bytes.extend_from_slice(&self.bytes);
        write!(f, "{SIGNATURE}{} {}", self.name, BASE64.encode(bytes))
    }
}

impl FromStr for SignatureLine {
    type Err = NoteError;

    fn from_str(line: &str) -> Result<Self, NoteError> {
        let rest = line.strip_prefix(SIGNATURE).ok_or(NoteError::SignatureLine)?;
        let (name, base64) = rest.split_once(' ').ok_or(NoteError::SignatureLine)?;
        let bytes = BASE64.decode(base64).map_err(|_| NoteError::SignatureLine)?;
        let (id, bytes) = bytes.split_first_chunk::<4>().ok_or(NoteError::SignatureLine)?;
        if !is_key_name(name) || bytes.is_empty() {
            return Err(NoteError::SignatureLine);
        }
        Ok(Self {
            name: name.to_owned(),
            key_id: u32::from_be_bytes(*id),
            bytes: bytes.to_vec(),
        })
    }
}

/// A text with its signatures, none of them checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The text, with the end of its last line.
    pub text: String,
    /// The signatures, in their order.
    pub signatures: Vec<SignatureLine>,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl FromStr for Note {
    type Err = NoteError;

    fn from_str(note: &str) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE {
            return Err(NoteError::TooLong);
        }
        if note.chars().any(|c| c < ' ' && c != '\n') {
            return Err(NoteError::Control);
        }
        let (text, signatures) = note.rsplit_once("\n\n").ok_or(NoteError::NoSignature)?;
        let signatures = signatures.strip_suffix('\n').ok_or(NoteError::NoSignature)?;
        let signatures: Vec<SignatureLine> = signatures
            .split('\n')
            .take(MAX_SIGNATURES + 1)
            .map(str::parse)
            .collect::<Result<_, _>>()?;
        if signatures.len() > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        let text = format!("{text}\n");
        Ok(Self { text, signatures })
    }
}

/// Why something is no signed note, or no key for one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Longer than any checkpoint.
    #[error("it has more than {MAX_NOTE} bytes")]
    TooLong,
    /// A character that no note may have.
    #[error("it has control characters")]
    Control,
    /// No empty line with signatures behind it.
    #[error("no signature follows its text")]
    NoSignature,
    /// A line behind the text that is no signature.
    #[error("a line behind its text is no signature")]
    SignatureLine,
    /// More than anybody needs.
    #[error("it has more than {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    /// A name that no key can have.
    #[error("{0:?} cannot name a key: it is empty, or has a space or a plus sign")]
    KeyName(String),
    /// What is no public key.
    #[error("{0:?} is no verifier key: {1}")]
    Key(String, &'static str),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> SigningKey {
        SigningKey::from_bytes(&[n; 32])
    }

    fn note() -> Note {
        let text = "example.com/log\n7\nAAAA\n".to_owned();
        let signatures = vec![
            SignatureLine::by_log("example.com/log", &key(1), &text),
            SignatureLine::by_witness("w.example/1", &key(2), &text, 1_700_000_000),
        ];
        Note { text, signatures }
    }

    #[test]
    fn what_is_written_is_read_and_holds_for_its_keys_alone() {
        let note = note();
        let read: Note = note.to_string().parse().unwrap();
        assert_eq!(read, note);
        let log = VerifierKey::new("example.com/log", KeyKind::Log, key(1).verifying_key()).unwrap();
        let witness = VerifierKey::new("w.example/1", KeyKind::Witness, key(2).verifying_key()).unwrap();
        assert_eq!(log.check(&read), Signed::Valid { time: None });
        let time = Some(1_700_000_000);
        assert_eq!(witness.check(&read), Signed::Valid { time });
        let other = VerifierKey::new("example.com/log", KeyKind::Log, key(3).verifying_key()).unwrap();
        assert_eq!(other.check(&read), Signed::Absent);
        let mut altered = read;
        altered.text = altered.text.replace('7', "8");
        assert_eq!(log.check(&altered), Signed::Invalid);
        assert_eq!(witness.check(&altered), Signed::Invalid);
        for vkey in [log, witness] {
            assert_eq!(vkey.to_string().parse(), Ok(vkey.clone()));
            let wrong = vkey.to_string().replacen("ex", "ey", 1);
            assert!(wrong.parse::<VerifierKey>().is_err(), "{wrong}");
        }
    }

    /// The note and the key of the specification.
    #[test]
    fn the_example_of_the_specification_holds() {
        let vkey: VerifierKey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
            .parse()
            .unwrap();
        let note: Note = "If you think cryptography is the answer to your problem,\nthen you don't know what your problem \
                          is.\n\n\u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
            .parse()
            .unwrap();
        assert_eq!(vkey.check(&note), Signed::Valid { time: None });
    }

    #[test]
    fn what_is_no_note_is_refused() {
        let good = note().to_string();
        let bad = [
            String::new(),
            "text\n".into(),
            "text\n\n".into(),
            good.replace('\u{2014}', "-"),
            good.trim_end().to_owned(),
            good.replace("example.com/log ", "example.com/log+x "),
            format!("{good}\u{2014} a AAAA\n"),
            good.replace('7', "\t"),
            format!("{}{good}", "x".repeat(MAX_NOTE)),
            format!("text\n\n{}", "\u{2014} a AAAAAAAA\n".repeat(MAX_SIGNATURES + 1)),
        ];
        for text in bad {
            assert!(text.parse::<Note>().is_err(), "{text:.80}");
        }
    }
}
