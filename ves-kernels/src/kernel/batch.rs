//! Messages of any length, gathered and hashed together.

use super::*;

/// One message of a batch, with its padding in place behind it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Message {
    /// Where it begins among the bytes.
    pub(super) start: usize,
    /// Its length without padding.
    pub(super) len: usize,
    /// Its place in the order of arrival.
    pub(super) index: usize,
}

impl Message {
    /// How many blocks of 64 bytes it has, padding included.
    pub(super) fn blocks(&self) -> usize {
        (self.len + 9).div_ceil(64)
    }
}

/// Messages that are hashed together: gathered one after the other in one reused buffer.
///
/// Lanes that run side by side all take as long as the longest, so messages are taken in order of
/// their length; the hashes come out in the order of arrival.
///
/// ```
/// let mut batch = ves_kernels::kernel::Batch::default();
/// for text in ["a", "b"] {
///     batch.start().extend_from_slice(text.as_bytes());
///     batch.finish();
/// }
/// let hashes = batch.hash();
/// assert_eq!(hashes.len(), 2);
/// ```
#[derive(Debug, Clone, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    messages: Vec<Message>,
    /// Where the message that is being written begins.
    begun: usize,
    hashes: Vec<Hash32>,
}

impl Batch {
    /// Begins a message. It is what the caller appends to the buffer, whose earlier content must be
    /// left alone, until [`Batch::finish`]. A message begun and not finished is dropped.
    pub fn start(&mut self) -> &mut Vec<u8> {
        self.bytes.truncate(self.begun);
        &mut self.bytes
    }

    /// Ends the message that was begun.
    ///
    /// # Panics
    /// If the caller has cut off what was in the buffer before.
    pub fn finish(&mut self) {
        assert!(self.bytes.len() >= self.begun, "earlier messages are left alone");
        let len = self.bytes.len() - self.begun;
        let message = Message {
            start: self.begun,
            len,
            index: self.messages.len(),
        };
        let end = self.begun + message.blocks() * 64;
        self.bytes.push(0x80);
        self.bytes.resize(end - 8, 0);
        self.bytes.extend_from_slice(&(len as u64 * 8).to_be_bytes());
        self.begun = end;
        self.messages.push(message);
    }

    /// How many messages were finished since the last [`Batch::hash`].
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    /// How many bytes the messages take, padding included.
    pub fn byte_len(&self) -> usize {
        self.begun
    }

    /// The SHA-256 of each message, in the order of arrival; the batch is empty afterwards.
    pub fn hash(&mut self) -> &[Hash32] {
        self.hash_with(Kernel::current())
    }

    /// [`Batch::hash`] with a kernel of choice.
    pub fn hash_with(&mut self, kernel: Kernel) -> &[Hash32] {
        self.hashes.clear();
        self.hashes.resize(self.messages.len(), Hash32::ZERO);
        self.messages.sort_by_key(Message::blocks);
        kernel.batch(&self.bytes, &self.messages, &mut self.hashes);
        self.messages.clear();
        self.bytes.clear();
        self.begun = 0;
        &self.hashes
    }
}
