//! The lines of a dump, each within a bound.

use std::io::{self, BufRead, Read as _};

/// The longest line that is read: a value as long as a snapshot holds, each of its bytes escaped.
pub(super) const MAX_LINE: u64 = 144 << 20;

/// A line, without its line break.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    Whole(&'a [u8]),
    /// Longer than [`MAX_LINE`]; it was passed over.
    TooLong,
    /// The last one, without a line break. It may be half of a row.
    CutOff,
}

pub(super) struct Lines<R> {
    input: R,
    buffer: Vec<u8>,
    number: u64,
    /// The dump went through Windows: its lines end with a carriage return too, which PostgreSQL escapes in data.
    carriage_returns: bool,
}

impl<R: BufRead> Lines<R> {
    /// Begins to read. A mark of the encoding is passed over.
    pub(super) fn new(mut input: R) -> io::Result<Self> {
        if input.fill_buf()?.starts_with(b"\xef\xbb\xbf") {
            input.consume(3);
        }
        Ok(Self {
            input,
            buffer: Vec::new(),
            number: 0,
            carriage_returns: false,
        })
    }

    /// How many lines were read.
    pub(super) fn number(&self) -> u64 {
        self.number
    }

    pub(super) fn next(&mut self) -> io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        if self.buffer.capacity() > 16 << 20 {
            self.buffer = Vec::new();
        }
        let read = (&mut self.input)
            .take(MAX_LINE)
            .read_until(b'\n', &mut self.buffer)?;
        if read == 0 {
            return Ok(None);
        }
        self.number += 1;
        if self.buffer.pop_if(|last| *last == b'\n').is_none() {
            if read as u64 == MAX_LINE {
                self.skip()?;
                return Ok(Some(Line::TooLong));
            }
            return Ok(Some(Line::CutOff));
        }
        if self.number == 1 {
            self.carriage_returns = self.buffer.ends_with(b"\r");
        }
        if self.carriage_returns {
            self.buffer.pop_if(|last| *last == b'\r');
        }
        Ok(Some(Line::Whole(&self.buffer)))
    }

    fn skip(&mut self) -> io::Result<()> {
        loop {
            let buffer = self.input.fill_buf()?;
            let end = buffer.iter().position(|byte| *byte == b'\n');
            let used = end.map_or(buffer.len(), |at| at + 1);
            self.input.consume(used);
            if end.is_some() || used == 0 {
                return Ok(());
            }
        }
    }
}
