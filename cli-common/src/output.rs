//! Results on stdout.

use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use crate::escape::{escape_controls, write_json_line, write_json_pretty};
use crate::{CliError, Table};

/// Where results go: stdout, or another writer in tests. Text of others may be in all that is written: control
/// characters are escaped here, in lines, tables and JSON alike.
///
/// When the reader goes away (`… | head`), what is still to be written is dropped without an error: the command
/// goes on to its end, and its exit status is what it would have been.
#[derive(Debug)]
pub struct Output<W: Write> {
    out: W,
    gone: bool,
}

impl Output<BufWriter<Stdout>> {
    /// The results of this process. Call [`Output::finish`] at the end.
    #[must_use]
    pub fn stdout() -> Self {
        Self::new(BufWriter::new(io::stdout()))
    }
}

impl<W: Write> Output<W> {
    /// Results into any writer.
    pub fn new(out: W) -> Self {
        Self { out, gone: false }
    }

    /// Whether the reader has gone away, so that nothing written is seen any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Writes one line, with control characters (line breaks too) escaped.
    ///
    /// # Errors
    /// An [`crate::ErrorKind::Io`] error if it cannot be written, for another reason than that the reader has gone
    /// away.
    pub fn line(&mut self, line: &str) -> Result<(), CliError> {
        writeln!(Pipe(self), "{}", escape_controls(line)).map_err(cannot_write)
    }

    /// Writes a table.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn table(&mut self, table: &Table) -> Result<(), CliError> {
        write!(Pipe(self), "{table}").map_err(cannot_write)
    }

    /// Writes one JSON document, indented, with a newline at its end.
    ///
    /// # Errors
    /// As [`Output::line`], and if the value cannot be written as JSON.
    pub fn json(&mut self, document: &impl Serialize) -> Result<(), CliError> {
        write_json_pretty(Pipe(self), document).map_err(cannot_write)?;
        self.line("")
    }

    /// Writes one JSON document a line.
    ///
    /// # Errors
    /// As [`Output::json`].
    pub fn ndjson<T: Serialize>(&mut self, documents: impl IntoIterator<Item = T>) -> Result<(), CliError> {
        for document in documents {
            write_json_line(Pipe(self), &document).map_err(cannot_write)?;
            self.line("")?;
        }
        Ok(())
    }

    /// Writes out what is still held back.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn finish(mut self) -> Result<(), CliError> {
        Pipe(&mut self).flush().map_err(cannot_write)
    }

    /// Does `write`, unless the reader has gone away; notes when it does.
    fn unless_gone<T>(&mut self, instead: T, write: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.gone {
            return Ok(instead);
        }
        match write(&mut self.out) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(instead)
            }
            result => result,
        }
    }
}

fn cannot_write(error: impl Into<io::Error>) -> CliError {
    CliError::io("the results cannot be written to stdout").with_source(error.into())
}

/// The bytes of an output. Not public: what is written past [`Output`]'s methods would not be escaped.
struct Pipe<'a, W: Write>(&'a mut Output<W>);

impl<W: Write> Write for Pipe<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.unless_gone(bytes.len(), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.unless_gone((), Write::flush)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{ErrorKind, ExitStatus};

    /// Fails with an error of this kind after some bytes.
    struct Failing(usize, io::ErrorKind);

    impl Write for Failing {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if self.0 == 0 {
                return Err(self.1.into());
            }
            let taken = bytes.len().min(self.0);
            self.0 -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn json_and_ndjson_end_their_lines() {
        let mut written = Vec::new();
        let mut out = Output::new(&mut written);
        out.json(&[1]).unwrap();
        out.ndjson(["a\n", "b"]).unwrap();
        let mut table = Table::new(&["n"]);
        table.row([7]);
        out.table(&table).unwrap();
        out.line("x\ny\x1b[2J").unwrap();
        out.finish().unwrap();
        assert_eq!(
            String::from_utf8(written).unwrap(),
            "[\n  1\n]\n\"a\\n\"\n\"b\"\nn\n7\nx\\ny\\u{1b}[2J\n"
        );
    }

    #[test]
    fn a_reader_that_goes_away_is_no_error() {
        let mut out = Output::new(Failing(3, io::ErrorKind::BrokenPipe));
        assert!(!out.is_gone());
        out.json(&"a long document").unwrap();
        assert!(out.is_gone());
        out.ndjson(0..1000).unwrap();
        out.line("more").unwrap();
        out.finish().unwrap();
    }

    #[test]
    fn any_other_failure_is_an_error() {
        let mut out = Output::new(Failing(3, io::ErrorKind::StorageFull));
        let error = out.json(&"a long document").unwrap_err();
        assert_eq!(
            (error.kind(), error.exit_status()),
            (ErrorKind::Io, ExitStatus::FAILED)
        );
        assert!(out.line("more").is_err());
    }
}
