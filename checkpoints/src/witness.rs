//! What is sent to a witness, and what it answers (C2SP `tlog-witness`).
//!
//! A witness remembers the last head of each tree that it saw, and cosigns a new one only if it continues that: so that two
//! parties who ask for its signature cannot be shown two different logs.

use ves::Hash32;

use crate::checkpoint::{base64_of, decimal};
use crate::note::{Note, NoteError, SignatureLine};

/// No proof has more hashes.
pub const MAX_PROOF: usize = 63;
/// The type of an answer that names the size which the witness has.
pub const SIZE_TYPE: &str = "text/x.tlog.size";

/// The body of a request: the size that the witness has, the proof that the note's tree continues it, the note.
pub fn request(old_size: u64, proof: &[Hash32], note: &Note) -> String {
    let mut body = format!("old {old_size}\n");
    for hash in proof {
        body.push_str(&base64_of(hash));
        body.push('\n');
    }
    body.push_str(&format!("\n{note}"));
    body
}

/// The cosignatures in an answer. They are not checked: a policy does that once they are at the note.
///
/// # Errors
/// A line that is none.
pub fn cosignatures(body: &str) -> Result<Vec<SignatureLine>, NoteError> {
    body.lines().map(str::parse).collect()
}

/// The size that a witness has, of an answer of status 409.
pub fn size(body: &str) -> Option<u64> {
    decimal(body.strip_suffix('\n').unwrap_or(body))
}
