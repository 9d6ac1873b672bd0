//! Results on stdout.

use std::fmt::Display;
use std::io::{self, BufWriter, Stdout, Write};

use serde::Serialize;

use crate::escape::{write_json_line, write_json_pretty};
use crate::style::{Style, Tone};
use crate::{CliError, GlobalArgs, Labels, ShortPaths, Table, not_checked, wrap};

/// So many rows of a table, or lines of a kind, are shown to people; the rest is counted, unless they ask for all.
const SHOWN: usize = 20;

/// Where results go: stdout, or another writer in tests. Text of others may be in all that is written: control
/// characters are escaped here, in lines, tables and JSON alike.
///
/// Text for people is no wider than [`Style`] says. When the reader goes away (`... | head`), what is still to be
/// written is dropped without an error: the command goes on to its end, and its exit status is what it would have been.
#[derive(Debug)]
pub struct Output<W: Write> {
    out: W,
    gone: bool,
    style: Style,
    labels: Labels,
    /// Where the report comes from, until it is written.
    origin: Option<String>,
}

impl Output<BufWriter<Stdout>> {
    /// The results of this process. Call [`Output::finish`] at the end.
    #[must_use]
    pub fn stdout(global: &GlobalArgs) -> Self {
        Self::new(BufWriter::new(io::stdout()), Style::of_stdout(global))
    }
}

impl<W: Write> Output<W> {
    /// Results into any writer, in any style.
    pub fn new(out: W, style: Style) -> Self {
        Self {
            out,
            gone: false,
            labels: Labels::new(&style.names, true, std::iter::empty::<String>()),
            style,
            origin: None,
        }
    }

    /// Notes where the report comes from, to be written by [`Output::origin`].
    pub fn set_origin(&mut self, origin: String) {
        self.origin = Some(origin);
    }

    /// Writes where the report comes from, once: at its head, beside the name of what was read.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn origin(&mut self) -> Result<(), CliError> {
        match self.origin.take() {
            Some(origin) => self.line(&origin),
            None => Ok(()),
        }
    }

    /// Whether the reader has gone away, so that nothing written is seen any more.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        self.gone
    }

    /// Whether the user asked for all that is otherwise counted.
    #[must_use]
    pub fn all(&self) -> bool {
        self.style.all
    }

    /// Whether lines may be as wide as they are.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.style.width.is_none()
    }

    /// How many columns a line has at most; `None` for as many as it takes.
    #[must_use]
    pub fn columns(&self) -> Option<usize> {
        self.style.width
    }

    /// Whether only ASCII can be shown.
    #[must_use]
    pub fn is_ascii(&self) -> bool {
        self.style.ascii
    }

    /// How many of so many rows, or lines of a kind, are shown.
    #[must_use]
    pub fn shown(&self, of: usize) -> usize {
        if self.style.all { of } else { of.min(SHOWN) }
    }

    /// Says how many more there are of what was shown, if there are any; `indent` spaces in.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn more(&mut self, indent: usize, more: usize, what: &str) -> Result<(), CliError> {
        if more == 0 {
            return Ok(());
        }
        let space = if what.is_empty() { "" } else { " " };
        self.line(&format!(
            "{:indent$}and {more} more{space}{what} (--all shows them)",
            ""
        ))
    }

    /// Short names for the streams of a report: for its tables, and in all lines from here on.
    pub fn label_streams<I>(&mut self, streams: I) -> Labels
    where
        I: IntoIterator,
        I::Item: Display,
    {
        self.labels = self.labels_of(streams);
        self.labels.clone()
    }

    /// Short names for agents, batches or events of one table.
    pub fn labels_of<I>(&self, ids: I) -> Labels
    where
        I: IntoIterator,
        I::Item: Display,
    {
        Labels::new(&self.style.names, self.style.width.is_none(), ids)
    }

    /// Short names for the files of a report. Says which folder they are in, `what` they are.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn shorten_paths<'p>(
        &mut self,
        what: &str,
        paths: impl IntoIterator<Item = &'p str>,
    ) -> Result<ShortPaths, CliError> {
        let short = ShortPaths::new(self.is_wide(), paths);
        if let Some(folder) = short.folder() {
            self.full_line(&format!("{what} in {folder}"))?;
        }
        Ok(short)
    }

    /// Writes prose: one line, or as many as it takes in this width, broken at spaces. Control characters (line breaks
    /// too) are escaped, and streams have their short names but for what stands between backticks.
    ///
    /// # Errors
    /// An [`crate::ErrorKind::Io`] error if it cannot be written, for another reason than that the reader has gone
    /// away.
    pub fn line(&mut self, text: &str) -> Result<(), CliError> {
        let text = self.labels.shorten(text);
        self.full_line(&text)
    }

    /// As [`Output::line`], with ids as they are.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn full_line(&mut self, text: &str) -> Result<(), CliError> {
        for line in self.wrapped(text) {
            self.raw(&line)?;
        }
        Ok(())
    }

    /// Writes a line whose columns mean something: neither broken nor shortened, and escaped as any other.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn picture(&mut self, line: &str) -> Result<(), CliError> {
        let line = self.style.clean(line).trim_end().to_owned();
        self.raw(&line)
    }

    /// Writes a verdict: prose, in the colour of what it means.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn verdict(&mut self, tone: Tone, text: &str) -> Result<(), CliError> {
        let text = self.labels.shorten(text);
        for line in self.wrapped(&text) {
            let line = if self.style.color { tone.paint(&line) } else { line };
            self.raw(&line)?;
        }
        Ok(())
    }

    /// Writes a command that is to be copied: whole, or broken as a shell takes it. Ids stay whole.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn command(&mut self, command: &str) -> Result<(), CliError> {
        let clean = self.style.clean(command);
        let lines = match self.style.width {
            Some(width) => wrap::command(&clean, width),
            None => vec![clean.trim_end().to_owned()],
        };
        for line in lines {
            self.raw(&line)?;
        }
        Ok(())
    }

    /// Writes a table.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn table(&mut self, table: &Table) -> Result<(), CliError> {
        for line in table.lines(&self.style) {
            self.raw(&line)?;
        }
        Ok(())
    }

    /// Writes what was not checked, with which every report ends: what has a word of `first` in it before all else,
    /// entries of one kind as one, at most a dozen, each in two lines; or all of it, if the user asks for that.
    ///
    /// # Errors
    /// As [`Output::line`].
    pub fn not_checked(&mut self, all: &[String], first: &[&str]) -> Result<(), CliError> {
        if all.is_empty() {
            return self.line("NOT CHECKED: nothing; everything was checked");
        }
        self.line("NOT CHECKED")?;
        if self.style.all {
            return all.iter().try_for_each(|what| self.line(&format!("  {what}")));
        }
        let groups = not_checked::grouped(all, first);
        for group in groups.iter().take(not_checked::SHOWN) {
            let text = format!("  {}", self.labels.shorten(&group.to_string()));
            let mut lines = self.wrapped(&text);
            if lines.len() > not_checked::LINES {
                lines.truncate(not_checked::LINES);
                if let Some(last) = lines.last_mut() {
                    let room = self.style.width.unwrap_or(usize::MAX).saturating_sub(4);
                    *last = wrap::prose(last, room).swap_remove(0) + " ...";
                }
            }
            for line in lines {
                self.raw(&line)?;
            }
        }
        let more: usize = groups
            .iter()
            .skip(not_checked::SHOWN)
            .map(|group| group.count)
            .sum();
        self.more(2, more, "")
    }

    fn wrapped(&self, text: &str) -> Vec<String> {
        let clean = self.style.clean(text);
        match self.style.width {
            Some(width) => wrap::prose(&clean, width),
            None => vec![clean.trim_end().to_owned()],
        }
    }

    /// Writes a line that is clean already.
    pub(crate) fn raw(&mut self, line: &str) -> Result<(), CliError> {
        writeln!(Pipe(self), "{line}").map_err(cannot_write)
    }

    /// Writes one JSON document, indented, with a newline at its end.
    ///
    /// # Errors
    /// As [`Output::line`], and if the value cannot be written as JSON.
    pub fn json(&mut self, document: &impl Serialize) -> Result<(), CliError> {
        write_json_pretty(Pipe(self), document).map_err(cannot_write)?;
        self.raw("")
    }

    /// Writes one JSON document a line.
    ///
    /// # Errors
    /// As [`Output::json`].
    pub fn ndjson<T: Serialize>(&mut self, documents: impl IntoIterator<Item = T>) -> Result<(), CliError> {
        for document in documents {
            write_json_line(Pipe(self), &document).map_err(cannot_write)?;
            self.raw("")?;
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
        let mut out = Output::new(&mut written, Style::default());
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
        let mut out = Output::new(Failing(3, io::ErrorKind::BrokenPipe), Style::default());
        assert!(!out.is_gone());
        out.json(&"a long document").unwrap();
        assert!(out.is_gone());
        out.ndjson(0..1000).unwrap();
        out.line("more").unwrap();
        out.finish().unwrap();
    }

    #[test]
    fn any_other_failure_is_an_error() {
        let mut out = Output::new(Failing(3, io::ErrorKind::StorageFull), Style::default());
        let error = out.json(&"a long document").unwrap_err();
        assert_eq!(
            (error.kind(), error.exit_status()),
            (ErrorKind::Io, ExitStatus::FAILED)
        );
        assert!(out.line("more").is_err());
    }

    fn printed(style: Style, print: impl FnOnce(&mut Output<&mut Vec<u8>>)) -> String {
        let mut written = Vec::new();
        let mut out = Output::new(&mut written, style);
        print(&mut out);
        out.finish().unwrap();
        String::from_utf8(written).unwrap()
    }

    #[test]
    fn streams_are_short_in_prose_and_whole_in_commands_and_json() {
        let stream = "0192aaaa-1111-7000-8000-000000000001/77777777-2222-7000-8000-000000000003";
        let text = printed(Style::default(), |out| {
            let labels = out.label_streams([stream]);
            assert_eq!(labels.of(&stream), "0192aaaa/77777777");
            out.line(&format!("of {stream}: look")).unwrap();
            out.full_line(stream).unwrap();
            out.command(&format!("  tool --stream {stream} --db log.db"))
                .unwrap();
            out.json(&stream).unwrap();
            out.not_checked(&[format!("{stream}: x")], &[]).unwrap();
        });
        assert_eq!(
            text,
            format!(
                "of 0192aaaa/77777777: look\n{stream}\n  tool --stream \\\n      {stream} \\\n      --db log.db\n\
                 \"{stream}\"\nNOT CHECKED\n  0192aaaa/77777777: x\n"
            )
        );
    }

    #[test]
    fn what_was_not_checked_is_short_unless_all_is_asked_for() {
        let all: Vec<String> = (0..40)
            .rev()
            .map(|n| format!("{}: matter {}", n % 7, "x ".repeat(n * 5)))
            .collect();
        let text = printed(Style::default(), |out| out.not_checked(&all, &[]).unwrap());
        assert!(text.lines().count() <= 2 + 2 * not_checked::SHOWN, "{text}");
        assert!(
            text.ends_with("more (--all shows them)\n") && text.contains(" ...\n"),
            "{text}"
        );
        let style = Style {
            all: true,
            width: None,
            ..Style::default()
        };
        let text = printed(style, |out| out.not_checked(&all, &[]).unwrap());
        assert_eq!(text.lines().count(), 1 + all.len());
        let text = printed(Style::default(), |out| out.not_checked(&[], &[]).unwrap());
        assert_eq!(text, "NOT CHECKED: nothing; everything was checked\n");
    }

    #[test]
    fn a_verdict_is_coloured_only_where_it_is_asked_for() {
        let verdict = |color| {
            let style = Style {
                color,
                ..Style::default()
            };
            printed(style, |out| out.verdict(Tone::Good, "WHOLE").unwrap())
        };
        assert_eq!(verdict(false), "WHOLE\n");
        assert!(verdict(true).contains("\x1b["));
    }
}
