//! What a checkpoint says of a stream.
//!
//! ```text
//! <deployment>/<tenant>/<store>/g<generation>        origin
//! <size>                                             how many events, from number 1 on
//! <base64 root>                                      of the tree over them
//! time <timestamp>                                   when it was signed (ours; others' may lack it)
//! continues <size> <base64 root>                     from generation 2 on: where it leaves the one before,
//! epoch <64 hex>                                     the recovery epoch that sanctions it,
//! loss <64 hex>                                      and the loss certificate, if something was lost
//! ```

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ed25519_dalek::SigningKey;
use serde::{Deserialize, Serialize};
use ves::log_tree::TreeHead;
use ves::{Hash32, StreamKey, Timestamp};

use crate::note::{Note, SignatureLine, is_key_name};

/// Whose tree a checkpoint is of. It is the name of the key line too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin {
    /// The deployment's name, best a host name that is its owner's.
    pub deployment: String,
    /// The stream.
    pub stream: StreamKey,
    /// Which tree of the stream: 1, and one more with each repair that could not bring everything back.
    pub generation: u32,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/g{}", self.deployment, self.stream, self.generation)
    }
}

impl FromStr for Origin {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let refused = || CheckpointError::Origin(text.chars().take(200).collect());
        let mut parts = text.rsplitn(4, '/');
        let mut next = || parts.next().ok_or_else(refused);
        let (generation, store, tenant, deployment) = (next()?, next()?, next()?, next()?);
        let number = generation.strip_prefix('g').ok_or_else(refused)?;
        let origin = Self {
            deployment: deployment.to_owned(),
            stream: format!("{tenant}/{store}").parse().map_err(|_| refused())?,
            generation: number.parse().map_err(|_| refused())?,
        };
        // One tree has one name: no leading zeros, no other writing of an id.
        if !is_deployment(deployment) || origin.generation == 0 || origin.to_string() != text {
            return Err(refused());
        }
        Ok(origin)
    }
}

/// Whether a deployment can have this name: a key's name that neither begins nor ends with a slash.
pub fn is_deployment(name: &str) -> bool {
    is_key_name(name) && !name.starts_with('/') && !name.ends_with('/')
}

/// Where a generation leaves the one before it, and by what right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Continues {
    /// So many events both have in common.
    pub size: u64,
    /// The root over them.
    pub root: Hash32,
    /// What the operator's signature of the recovery epoch is over.
    pub epoch: Hash32,
    /// SHA-256 of the loss certificate, if something was lost for good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loss: Option<Hash32>,
}

/// A checkpoint's content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Whose tree.
    pub origin: Origin,
    /// How many events it covers: those with the numbers 1 to this.
    pub size: u64,
    /// The root over them.
    pub root: Hash32,
    /// When it was signed.
    pub time: Option<Timestamp>,
    /// Of the second and later generations.
    pub continues: Option<Continues>,
}

impl Checkpoint {
    /// Size and root.
    pub fn head(&self) -> TreeHead {
        TreeHead {
            size: self.size,
            root: self.root,
        }
    }

    /// The text that is signed.
    pub fn text(&self) -> String {
        let mut text = format!("{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root.0));
        if let Some(time) = self.time {
            text.push_str(&format!("time {time}\n"));
        }
        if let Some(continues) = &self.continues {
            let root = BASE64.encode(continues.root.0);
            text.push_str(&format!("continues {} {root}\n", continues.size));
            text.push_str(&format!("epoch {}\n", continues.epoch));
            if let Some(loss) = continues.loss {
                text.push_str(&format!("loss {loss}\n"));
            }
        }
        text
    }

    /// Signs it as the log, under its origin's name.
    pub fn sign(&self, key: &SigningKey) -> Note {
        let text = self.text();
        let line = SignatureLine::by_log(&self.origin.to_string(), key, &text);
        Note {
            text,
            signatures: vec![line],
        }
    }

    /// Reads a note's text. Lines that are not ours are passed over; no signature is checked.
    ///
    /// # Errors
    /// What is no checkpoint, or none of a stream.
    pub fn read(text: &str) -> Result<Self, CheckpointError> {
        let body = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?;
        let mut lines = body.split('\n');
        let mut next = || {
            lines
                .next()
                .filter(|line| !line.is_empty())
                .ok_or(CheckpointError::Lines)
        };
        let origin: Origin = next()?.parse()?;
        let size = decimal(next()?).ok_or(CheckpointError::Size)?;
        let root = base64_hash(next()?).ok_or(CheckpointError::Root)?;
        let mut more = Extensions::default();
        for line in lines {
            more.read(line)?;
        }
        let continues = more.continues(&origin, size)?;
        Ok(Self {
            origin,
            size,
            root,
            time: more.time,
            continues,
        })
    }
}

/// The lines behind the root.
#[derive(Default)]
struct Extensions {
    time: Option<Timestamp>,
    common: Option<(u64, Hash32)>,
    epoch: Option<Hash32>,
    loss: Option<Hash32>,
}

impl Extensions {
    fn read(&mut self, line: &str) -> Result<(), CheckpointError> {
        let refused = || CheckpointError::Extension(line.chars().take(100).collect());
        if line.is_empty() {
            return Err(CheckpointError::Lines);
        }
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let hex = || rest.parse::<Hash32>().ok();
        let fits = match word {
            "time" => set(&mut self.time, Timestamp::from_canonical(rest)),
            "continues" => set(&mut self.common, common(rest)),
            "epoch" => set(&mut self.epoch, hex()),
            "loss" => set(&mut self.loss, hex()),
            _ => true,
        };
        fits.then_some(()).ok_or_else(refused)
    }

    fn continues(&self, origin: &Origin, size: u64) -> Result<Option<Continues>, CheckpointError> {
        match (origin.generation, self.common, self.epoch) {
            (1, None, None) if self.loss.is_none() => Ok(None),
            (2.., Some((common, root)), Some(epoch)) if common <= size => Ok(Some(Continues {
                size: common,
                root,
                epoch,
                loss: self.loss,
            })),
            _ => Err(CheckpointError::Generation),
        }
    }
}

/// Takes a value that is there and was not there before.
fn set<T>(place: &mut Option<T>, value: Option<T>) -> bool {
    value.is_some() && std::mem::replace(place, value).is_none()
}

fn common(text: &str) -> Option<(u64, Hash32)> {
    let (size, root) = text.split_once(' ')?;
    Some((decimal(size)?, base64_hash(root)?))
}

/// A number of events in the one way in which it can be written. No log holds more than an i64 can count, so that whoever
/// reckons with it need not fear an overflow.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let number: u64 = text.parse().ok()?;
    (number.to_string() == text && i64::try_from(number).is_ok()).then_some(number)
}

/// A hash in base64.
pub(crate) fn base64_hash(text: &str) -> Option<Hash32> {
    let bytes = BASE64.decode(text).ok()?;
    Some(Hash32(bytes.try_into().ok()?))
}

/// A hash in base64, for a line of its own.
pub(crate) fn base64_of(hash: &Hash32) -> String {
    BASE64.encode(hash.0)
}

/// Why a note is no checkpoint of a stream.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// Too few lines, or an empty one.
    #[error("it has not the lines of a checkpoint")]
    Lines,
    /// Not the tree of a stream.
    #[error("its origin {0:?} is not DEPLOYMENT/TENANT/STORE/gN")]
    Origin(String),
    /// Its second line.
    #[error("its size is no number")]
    Size,
    /// Its third line.
    #[error("its root is not 32 bytes in base64")]
    Root,
    /// A line of ours that does not read.
    #[error("its line {0:?} cannot be read, or stands twice")]
    Extension(String),
    /// What continues nothing, or does not say what it continues.
    #[error("from generation 2 on it says what it continues (continues, epoch), before not")]
    Generation,
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    pub(crate) fn origin(generation: u32) -> Origin {
        Origin {
            deployment: "orders.example.com".into(),
            stream: StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into()),
            generation,
        }
    }

    fn checkpoint(generation: u32) -> Checkpoint {
        Checkpoint {
            origin: origin(generation),
            size: 334,
            root: Hash32([7; 32]),
            time: Some(Timestamp(1_000_000)),
            continues: (generation > 1).then_some(Continues {
                size: 320,
                root: Hash32([8; 32]),
                epoch: Hash32([9; 32]),
                loss: Some(Hash32([10; 32])),
            }),
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        for generation in [1, 2, 77] {
            let written = checkpoint(generation);
            assert_eq!(Checkpoint::read(&written.text()), Ok(written.clone()));
            let more = format!("{}something else\n", written.text());
            assert_eq!(Checkpoint::read(&more), Ok(written));
        }
        let plain = Checkpoint {
            time: None,
            ..checkpoint(1)
        };
        assert_eq!(Checkpoint::read(&plain.text()), Ok(plain));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        let one = checkpoint(1).text();
        let two = checkpoint(2).text();
        let bad = [
            one.replace("/g1", "/g0"),
            one.replace("/g1", "/g01"),
            one.replace("/g1", "/g2"),
            one.replace("orders", "orders+x"),
            one.replace("334", "0334"),
            one.replace("334", "+334"),
            one.replace("time 1970", "time 197x"),
            format!("{one}time 1970-01-01T00:00:01.000000Z\n"),
            format!("{one}\n"),
            one.trim_end().to_owned(),
            two.replace("/g2", "/g1"),
            two.replace("continues 320", "continues 335"),
            two.replace("epoch 09", "epoch 9"),
            "a\n1\n".to_owned(),
            String::new(),
        ];
        for text in bad {
            assert!(Checkpoint::read(&text).is_err(), "{text}");
        }
    }
}
