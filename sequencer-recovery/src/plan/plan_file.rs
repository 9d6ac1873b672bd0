//! The plan as a file: one JSON object a line, so that a plan for millions of events is written, read
//! and applied in constant memory, and can be read by people and `grep`.
//!
//! The first line is the [`PlanHeader`], then for each stream its [`PlannedStream`] followed by its
//! events, commitments and open positions, and at the end a line with the SHA-256 of everything before
//! it. That digest is the plan's id: a plan that was edited by hand is refused. It protects from
//! accidents, not from attackers, so `apply` verifies every event again. Documented in docs/plan.md.

use std::io::Write;
use std::path::Path;

use cli_common::files::InputFile;
use sha2::{Digest, Sha256};
use ves::Hash32;

use super::planned::{PlanHeader, PlanLine, PlannedStream};
use crate::sealed_file::{Lines, MAX_LINE, Mark, SealedFileError, input_file};

/// The format's name and version.
pub const SCHEMA: &str = "recovery-plan/1";

/// Writes a plan line by line.
pub struct PlanWriter<W: Write> {
    out: W,
    digest: Sha256,
    lines: u64,
}

impl<W: Write> PlanWriter<W> {
    /// Starts a plan with its header.
    ///
    /// # Errors
    /// What the writer says.
    pub fn new(out: W, header: &PlanHeader) -> std::io::Result<Self> {
        let mut writer = Self {
            out,
            digest: Sha256::new(),
            lines: 0,
        };
        writer.line(&PlanLine::Plan(header.clone()))?;
        Ok(writer)
    }

    /// Appends a line.
    ///
    /// # Errors
    /// What the writer says.
    pub fn line(&mut self, line: &PlanLine) -> std::io::Result<()> {
        let mut text = serde_json::to_vec(line)?;
        text.push(b'\n');
        if text.len() as u64 >= MAX_LINE {
            return Err(std::io::Error::other(format!(
                "{} takes {} bytes; a plan has no lines of more than {} MiB",
                line.named(),
                text.len(),
                MAX_LINE >> 20
            )));
        }
        self.digest.update(&text);
        self.lines += 1;
        self.out.write_all(&text)
    }

    /// Writes the last line and gives the writer back together with the plan's id.
    ///
    /// # Errors
    /// What the writer says.
    pub fn finish(mut self) -> std::io::Result<(W, Hash32)> {
        let sha256 = Hash32(self.digest.finalize().into());
        let end = PlanLine::End {
            lines: self.lines,
            sha256,
        };
        let mut text = serde_json::to_vec(&end)?;
        text.push(b'\n');
        self.out.write_all(&text)?;
        self.out.flush()?;
        Ok((self.out, sha256))
    }
}

/// A plan file whose digest holds.
#[derive(Debug, Clone)]
pub struct PlanFile {
    file: InputFile,
    header: PlanHeader,
    id: Hash32,
    lines: u64,
}

impl PlanFile {
    /// Opens a plan and checks the whole file: version, structure and digest.
    ///
    /// # Errors
    /// See [`SealedFileError`].
    pub fn open(path: &Path) -> Result<Self, SealedFileError> {
        let file = input_file(path)?;
        let mut lines = Lines::open(&file, &[SCHEMA])?;
        let Some(PlanLine::Plan(header)) = lines.next_by(PlanLine::read)? else {
            return Err(SealedFileError::Schema {
                path: path.into(),
                wanted: SCHEMA,
                found: "its first line is no header".into(),
            });
        };
        let mut section = Section::default();
        let id = loop {
            let number = lines.number + 1;
            let bad = |what: &str| SealedFileError::Line {
                path: path.into(),
                line: number,
                what: what.into(),
            };
            match lines.next_by(PlanLine::read)? {
                None => {
                    return Err(SealedFileError::Truncated {
                        path: path.into(),
                        line: lines.number,
                    });
                }
                Some(PlanLine::End { lines: count, sha256 }) => {
                    let found = lines.digest_before_last;
                    if found != sha256 || Some(count) != lines.number.checked_sub(1) {
                        return Err(SealedFileError::Altered {
                            path: path.into(),
                            found,
                            written: sha256,
                        });
                    }
                    section
                        .end()
                        .map_err(|what| bad(&format!("the last stream {what}")))?;
                    break sha256;
                }
                Some(line) => section.line(line).map_err(|what| bad(&what))?,
            }
        };
        if lines.next_raw()?.is_some() {
            let what = "text after the end of the plan".into();
            return Err(SealedFileError::Line {
                path: path.into(),
                line: lines.number,
                what,
            });
        }
        Ok(Self {
            file,
            header,
            id,
            lines: lines.number,
        })
    }

    /// The first line.
    pub fn header(&self) -> &PlanHeader {
        &self.header
    }

    /// The plan's id: the digest in its last line.
    pub fn id(&self) -> Hash32 {
        self.id
    }

    /// How many lines it has.
    pub fn lines_in_all(&self) -> u64 {
        self.lines
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.file.shown()
    }

    /// Reads the lines between header and end, in order.
    ///
    /// # Errors
    /// See [`SealedFileError`]; a file that changed since [`PlanFile::open`] is `Altered`.
    pub fn read(
        &self,
        mut each: impl FnMut(PlanLine) -> Result<(), SealedFileError>,
    ) -> Result<(), SealedFileError> {
        let mut lines = self.lines()?;
        while let Some(line) = lines.next()? {
            each(line)?;
        }
        Ok(())
    }

    /// The lines between header and end, one by one.
    ///
    /// # Errors
    /// If the file cannot be opened again.
    pub fn lines(&self) -> Result<PlanLines, SealedFileError> {
        let mut lines = Lines::open(&self.file, &[SCHEMA])?;
        lines.next_by(PlanLine::read)?;
        Ok(PlanLines {
            lines,
            id: self.id,
            ended: false,
        })
    }

    /// The lines from a mark on.
    pub(crate) fn resume(&self, mark: &Mark) -> Result<PlanLines, SealedFileError> {
        Ok(PlanLines {
            lines: Lines::resume(&self.file, &[SCHEMA], mark)?,
            id: self.id,
            ended: false,
        })
    }
}

/// The section that is being read: what its stream announced and is still to come.
#[derive(Default)]
struct Section(Option<PlannedStream>);

impl Section {
    /// A stream's section must have all lines that it announced.
    fn end(&self) -> Result<(), &'static str> {
        match &self.0 {
            Some(stream) if stream.announced() > 0 => Err("has fewer lines than it announced"),
            _ => Ok(()),
        }
    }

    /// Takes the next line, or says why it must not stand here.
    fn line(&mut self, line: PlanLine) -> Result<(), String> {
        match line {
            PlanLine::Plan(_) => return Err("a second header".into()),
            PlanLine::End { .. } => return Err("an end before the end".into()),
            PlanLine::Stream(stream) => {
                self.end().map_err(|what| format!("the stream before {what}"))?;
                self.0 = Some(*stream);
                return Ok(());
            }
            PlanLine::Open(open) if open.from > open.to => {
                return Err("a range that ends before it starts".into());
            }
            _ => {}
        }
        let Some(stream) = &mut self.0 else {
            return Err("a line of no stream".into());
        };
        let (left, what) = match line {
            PlanLine::Key(_) => (&mut stream.keys, "a key"),
            PlanLine::Move(_) => (&mut stream.moves, "a move"),
            PlanLine::Superseded(_) => (&mut stream.superseded, "a superseded commitment"),
            // What is moved makes room first.
            PlanLine::Event(_) if stream.moves > 0 || stream.superseded > 0 => {
                return Err("an event before all that is moved".into());
            }
            PlanLine::Event(_) => (&mut stream.events, "an event"),
            PlanLine::Tombstone(_) => (&mut stream.tombstones, "a tombstone"),
            PlanLine::Commitment(_) => (&mut stream.commitments, "a commitment"),
            PlanLine::Append(_) => (&mut stream.appended, "an event to append"),
            _ => return Ok(()),
        };
        let after = left.checked_sub(1);
        *left = after.ok_or_else(|| format!("{what} that no stream announced"))?;
        Ok(())
    }
}

/// See [`PlanFile::lines`].
pub struct PlanLines {
    lines: Lines,
    id: Hash32,
    ended: bool,
}

impl PlanLines {
    /// Where the next line begins.
    pub(crate) fn mark(&self) -> Mark {
        self.lines.mark()
    }

    /// The number in the file of the line that was read last, from 1.
    pub fn number(&self) -> u64 {
        self.lines.number
    }

    /// The next line; `None` at the end of the plan.
    ///
    /// # Errors
    /// See [`SealedFileError`]; a file that changed since [`PlanFile::open`] is `Altered`.
    #[expect(
        clippy::should_implement_trait,
        reason = "a Result of an Option reads better with `?`"
    )]
    pub fn next(&mut self) -> Result<Option<PlanLine>, SealedFileError> {
        if self.ended {
            return Ok(None);
        }
        match self.lines.next_by(PlanLine::read)? {
            Some(PlanLine::End { sha256, .. }) => {
                let found = self.lines.digest_before_last;
                if found != self.id {
                    return Err(SealedFileError::Altered {
                        path: self.lines.path.clone(),
                        found,
                        written: sha256,
                    });
                }
                self.ended = true;
                Ok(None)
            }
            Some(line) => Ok(Some(line)),
            None => Err(SealedFileError::Truncated {
                path: self.lines.path.clone(),
                line: self.lines.number,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use ves::{StreamKey, Timestamp};

    use super::*;
    use crate::grade::Grade;
    use crate::plan::planned::PlannedOpen;

    fn header() -> PlanHeader {
        PlanHeader {
            schema: SCHEMA.into(),
            made_at: Timestamp(0),
            provenance: None,
            witness_options: Vec::new(),
            tool: "test".into(),
            db: "log.db".into(),
            place: None,
            accept: "receipted".into(),
            floor: "claimed".into(),
            witnesses: vec![],
            incomplete: vec![],
            append: None,
            not_planned: Vec::new(),
        }
    }

    fn stream_line(events: u64) -> PlanLine {
        PlanLine::Stream(Box::new(PlannedStream {
            stream: StreamKey::new(Uuid::from_u128(1).into(), Uuid::from_u128(2).into()),
            fingerprint: Hash32::ZERO,
            head_before: 3,
            counter_before: Some(3),
            counter_after: Some(9),
            floor: None,
            batches: vec![],
            not_heard: vec![],
            events,
            commitments: 0,
            appended: 0,
            keys: 0,
            tombstones: 0,
            open_positions: 2,
            moves: 0,
            superseded: 0,
            reissued: 0,
        }))
    }

    fn open_line() -> PlanLine {
        let reason = "nobody".into();
        PlanLine::Open(PlannedOpen {
            from: 4,
            to: 5,
            grade: Grade::Lost,
            reason,
            rivals: vec![],
            batch: None,
            filled: false,
        })
    }

    fn plan(lines: &[PlanLine]) -> Vec<u8> {
        let mut writer = PlanWriter::new(Vec::new(), &header()).unwrap();
        lines.iter().for_each(|line| writer.line(line).unwrap());
        writer.finish().unwrap().0
    }

    fn open(bytes: &[u8]) -> Result<PlanFile, SealedFileError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        PlanFile::open(file.path())
    }

    #[test]
    fn what_is_written_reads_back() {
        let bytes = plan(&[stream_line(0), open_line()]);
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &bytes).unwrap();
        let read = PlanFile::open(file.path()).unwrap();
        assert_eq!(read.header(), &header());
        let mut lines = Vec::new();
        read.read(|line| {
            lines.push(line);
            Ok(())
        })
        .unwrap();
        assert_eq!(lines, [stream_line(0), open_line()]);
        // Changed between check and use.
        std::fs::write(file.path(), plan(&[stream_line(0)])).unwrap();
        assert!(matches!(
            read.read(|_| Ok(())),
            Err(SealedFileError::Altered { .. })
        ));
    }

    #[test]
    fn every_change_cut_or_addition_is_noticed() {
        let bytes = plan(&[stream_line(0), open_line()]);
        let text = String::from_utf8(bytes.clone()).unwrap();
        let edited = text.replace("\"counter_after\":9", "\"counter_after\":8");
        assert!(matches!(
            open(edited.as_bytes()),
            Err(SealedFileError::Altered { .. })
        ));
        for cut in 0..bytes.len() {
            assert!(open(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let mut longer = bytes.clone();
        longer.push(b'\n');
        assert!(open(&longer).is_err());
        let without_open: String = text
            .lines()
            .filter(|l| !l.contains("\"open\""))
            .map(|l| format!("{l}\n"))
            .collect();
        assert!(matches!(
            open(without_open.as_bytes()),
            Err(SealedFileError::Altered { .. })
        ));
    }

    #[test]
    fn other_versions_and_other_files_are_told_apart() {
        let other = String::from_utf8(plan(&[])).unwrap().replace("plan/1", "plan/2");
        assert!(
            matches!(open(other.as_bytes()), Err(SealedFileError::Schema { found, .. }) if found.ends_with("plan/2"))
        );
        assert!(matches!(open(b"{}\n"), Err(SealedFileError::Schema { .. })));
        assert!(matches!(
            open(b"SQLite format 3\0 and so on\n"),
            Err(SealedFileError::Schema { .. })
        ));
        assert!(matches!(
            PlanFile::open(Path::new("/nowhere/plan")),
            Err(SealedFileError::Io { .. })
        ));
    }

    #[test]
    fn sections_must_hold_what_they_announce() {
        assert!(matches!(
            open(&plan(&[stream_line(1), open_line()])),
            Err(SealedFileError::Line { .. })
        ));
        assert!(matches!(
            open(&plan(&[open_line()])),
            Err(SealedFileError::Line { line: 2, .. })
        ));
    }
}
