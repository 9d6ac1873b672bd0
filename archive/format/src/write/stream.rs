//! One stream as it is written: cut into files and row groups, and held against what is archived of it.

use std::cell::RefCell;
use std::collections::VecDeque;

use event_log::StreamOutline;
use ves::merkle::RootBuilder;
use ves::{Hash32, Spans, StreamKey};

use super::prepare::{Prepared, leaves};
use super::{Totals, WriteOptions, layout};
use crate::error::ArchiveError;
use crate::file::{EventsReader, EventsWriter};
use crate::ids::{Ids, Stands};
use crate::layout::{Layout, from_on};
use crate::manifest::{EventsFile, Head, StreamPart, Unreadable};
use crate::store::Store;

/// So many events wait until they are indexed.
const STANDING: usize = 1 << 14;

/// How a stream ended.
pub(super) enum Ended {
    /// All of it is archived, but for these rows.
    Whole(StreamPart, Vec<Unreadable>, Totals),
    /// The log has more of what was archived before: it must be read whole.
    More,
    /// The log has less, or something else.
    Rewound(String),
}

/// Writes a stream.
pub(super) struct StreamWriter<'a> {
    store: &'a Store,
    ids: &'a RefCell<Ids>,
    /// The events of the file, and from which number on they are new to the index.
    standing: Vec<Stands>,
    indexed_to: u64,
    options: &'a WriteOptions<'a>,
    part: StreamPart,
    layout: Layout,
    /// From this number on the log is read.
    from: u64,
    /// How many events the files have that stay.
    stay_rows: u64,
    /// The archived head, if its file stays: it must be the first that is read.
    head: Option<Head>,
    archived: Archived<'a>,
    file: Option<EventsWriter>,
    /// The number after the last file.
    next: u64,
    last: Option<Head>,
    rows: u64,
    unreadable: Vec<Unreadable>,
    written: Totals,
    rewound: Option<String>,
}

impl<'a> StreamWriter<'a> {
    /// Begins with what is archived of a stream.
    ///
    /// # Errors
    /// If the log ends before the archive; the text says so.
    pub fn begin(
        (store, ids): (&'a Store, &'a RefCell<Ids>),
        options: &'a WriteOptions<'a>,
        outline: &StreamOutline,
        old: Option<&StreamPart>,
    ) -> Result<Self, String> {
        let archived = old
            .and_then(|part| part.last)
            .filter(|_| !options.although_rewound);
        if let Some(archived) = archived.filter(|archived| outline.last.is_none_or(|last| last < *archived)) {
            let ends = outline
                .last
                .map_or("has no event".to_owned(), |last| format!("ends at event {last}"));
            return Err(format!("the log {ends}, the archive at event {archived}"));
        }
        let layout = layout(outline);
        let files = old.map_or(&[][..], |part| &part.files);
        let old_events = old.map_or(0, |part| part.events);
        let new = outline.events.saturating_sub(old_events);
        // Without a head it is known that the files hold not all that they should.
        let whole = old.and_then(|part| part.head);
        let mut stay = whole.map_or(0, |_| layout.stay(files, new, options.file_rows));
        // Behind its last event that could be read there were others.
        if whole.is_some_and(|head| Some(head.sequence_number) < old.and_then(|part| part.last)) {
            stay = stay.min(files.len() - 1);
        }
        let (stays, goes) = files.split_at(stay);
        let to = stays.last().map_or(0, |file| file.to);
        let head = whole.filter(|_| goes.is_empty());
        Ok(Self {
            store,
            ids,
            standing: Vec::new(),
            indexed_to: whole.map_or(0, |head| head.sequence_number),
            options,
            layout,
            from: head.map_or(to + 1, |head| head.sequence_number),
            stay_rows: stays.iter().map(|file| file.rows).sum(),
            archived: Archived::new(store, outline.stream, goes),
            file: None,
            next: to + 1,
            last: head,
            head,
            rows: 0,
            unreadable: Vec::new(),
            written: Totals::default(),
            rewound: None,
            part: StreamPart {
                tenant_id: outline.stream.tenant_id,
                store_id: outline.stream.store_id,
                events: outline.events,
                first: outline.first,
                last: outline.last,
                counter: outline.counter,
                head: None,
                files: stays.to_vec(),
            },
        })
    }

    /// The numbers that are to be read.
    pub fn wanted(&self) -> Spans {
        self.part
            .last
            .map_or_else(Spans::default, |last| from_on(self.from, last))
    }

    /// Takes the next rows.
    pub fn push(&mut self, piece: Prepared) -> Result<(), ArchiveError> {
        self.unreadable
            .extend(piece.unreadable.iter().map(Unreadable::from));
        let rows = piece.rows?;
        let mut at = 0;
        if let (Some(head), Some(number), Some(leaf)) =
            (self.head, piece.numbers.first(), piece.leaves.first())
        {
            self.head = None;
            let is_there = *number == head.sequence_number;
            if is_there && *leaf != head.leaf {
                self.rewound = Some(format!("event {number} is another one than the archived"));
            } else if !is_there {
                self.rewound = Some(format!(
                    "event {} is archived, and not in the log",
                    head.sequence_number
                ));
            }
            at = usize::from(is_there);
        }
        if let (Some(number), Some(leaf), Some(event_id)) =
            (piece.numbers.last(), piece.leaves.last(), piece.events.last())
        {
            self.last = Some(Head {
                sequence_number: *number,
                event_id: *event_id,
                leaf: *leaf,
            });
        }
        while at < piece.numbers.len() && self.rewound.is_none() {
            let to = self.end_of_run(&piece.numbers, at)?;
            let (numbers, leaves) = (&piece.numbers[at..to], &piece.leaves[at..to]);
            self.rewound = self.archived.compare(numbers, leaves)?;
            let next = self.next;
            let file = match &mut self.file {
                Some(file) => file,
                none => none.insert(EventsWriter::create(next, self.options.group_rows)?),
            };
            file.push(rows.slice(at, to - at), numbers, leaves);
            self.standing.extend(
                (at..to)
                    .filter(|row| piece.numbers[*row] > self.indexed_to)
                    .map(|row| Stands {
                        event: piece.events[row],
                        stream: piece.stream,
                        number: piece.numbers[row],
                    }),
            );
            if self.standing.len() >= STANDING {
                self.ids.borrow_mut().add(self.standing.drain(..))?;
            }
            self.rows += numbers.len() as u64;
            at = to;
        }
        Ok(())
    }

    /// Ends what is full before the row at `at`, and says how far the rows go on without an end.
    fn end_of_run(&mut self, numbers: &[u64], at: usize) -> Result<usize, ArchiveError> {
        let before = numbers[at] - 1;
        let (in_group, in_file) = self
            .file
            .as_ref()
            .map_or((0, 0), |f| (f.rows_in_group(), f.rows()));
        let may_end = self.layout.may_end_at(before);
        if may_end && in_file >= self.options.file_rows {
            self.end_file(before)?;
        } else if (may_end && in_group >= self.options.group_rows) || in_group >= 2 * self.options.group_rows
        {
            // A batch may be larger than any row group.
            self.end_group()?;
        }
        let (in_group, in_file) = self
            .file
            .as_ref()
            .map_or((0, 0), |f| (f.rows_in_group(), f.rows()));
        let (group_rows, file_rows) = (self.options.group_rows, self.options.file_rows);
        let ends = |row: &usize| {
            let pushed = (row - at) as u64;
            let full = in_group + pushed >= group_rows || in_file + pushed >= file_rows;
            full && (self.layout.may_end_at(numbers[*row] - 1) || in_group + pushed >= 2 * group_rows)
        };
        Ok((at + 1..numbers.len()).find(ends).unwrap_or(numbers.len()))
    }

    /// Ends the row group, if one was begun; it is encoded while others do something else.
    pub fn end_group(&mut self) -> Result<(), ArchiveError> {
        self.file.as_mut().map_or(Ok(()), EventsWriter::end_group)
    }

    fn end_file(&mut self, to: u64) -> Result<(), ArchiveError> {
        let Some(file) = self.file.take() else {
            return Ok(());
        };
        let batches = self.layout.batches_in(self.next, to);
        let mut written = file.finish(&self.part.stream(), to, batches)?;
        self.store.upload(&written.entry.path, &mut written.file)?;
        self.written.files += 1;
        self.written.events += written.entry.rows;
        self.written.bytes += written.entry.bytes;
        self.part.files.push(written.entry);
        self.ids.borrow_mut().add(self.standing.drain(..))?;
        self.next = to + 1;
        Ok(())
    }

    /// Ends the stream.
    pub fn finish(mut self) -> Result<Ended, ArchiveError> {
        if self.rewound.is_none() && self.head.is_some() {
            self.rewound = Some("its last archived event is not in the log".to_owned());
        }
        if self.rewound.is_none() {
            self.rewound = self.archived.end()?;
        }
        if let Some(what) = self.rewound {
            return Ok(Ended::Rewound(what));
        }
        if let Some(last) = self.part.last.filter(|_| self.file.is_some()) {
            self.end_file(last)?;
        }
        let there = self.stay_rows + self.rows + self.unreadable.len() as u64;
        if there < self.part.events && self.stay_rows > 0 {
            return Ok(Ended::More);
        }
        if there > self.part.events {
            return Ok(Ended::Rewound(format!(
                "the log has {} event(s), the archive with what is new {there}",
                self.part.events
            )));
        }
        self.part.head = self.last;
        Ok(Ended::Whole(self.part, self.unreadable, self.written))
    }
}

/// What is archived of the numbers that are written anew: all of it must still be in the log.
struct Archived<'a> {
    store: &'a Store,
    stream: StreamKey,
    files: VecDeque<EventsFile>,
    /// What the log has for the numbers of the first file.
    seen: Vec<(u64, Hash32)>,
}

impl<'a> Archived<'a> {
    fn new(store: &'a Store, stream: StreamKey, files: &[EventsFile]) -> Self {
        Self {
            store,
            stream,
            files: files.to_vec().into(),
            seen: Vec::new(),
        }
    }

    /// Compares rows of the log; says what is archived otherwise.
    fn compare(&mut self, numbers: &[u64], leaves: &[Hash32]) -> Result<Option<String>, ArchiveError> {
        for (number, leaf) in numbers.iter().zip(leaves) {
            while self.files.front().is_some_and(|file| *number > file.to) {
                if let Some(what) = self.end_file()? {
                    return Ok(Some(what));
                }
            }
            if !self.files.is_empty() {
                self.seen.push((*number, *leaf));
            }
        }
        Ok(None)
    }

    /// Compares what is left, when there are no more rows.
    fn end(&mut self) -> Result<Option<String>, ArchiveError> {
        while !self.files.is_empty() {
            if let Some(what) = self.end_file()? {
                return Ok(Some(what));
            }
        }
        Ok(None)
    }

    fn end_file(&mut self) -> Result<Option<String>, ArchiveError> {
        let Some(file) = self.files.pop_front() else {
            return Ok(None);
        };
        let seen = std::mem::take(&mut self.seen);
        let mut root = RootBuilder::default();
        root.extend(&seen.iter().map(|(_, leaf)| *leaf).collect::<Vec<_>>());
        if root.root() == Some(file.leaves_root) {
            return Ok(None);
        }
        // The log may have more than was archived; it must not have less.
        let reader = EventsReader::open(self.store, self.stream, &file)?;
        for group in 0..reader.groups().len() {
            let entries = reader.fetch(self.store, group)?.entries()?;
            for (entry, leaf) in entries.iter().zip(leaves(&self.stream, &entries)) {
                let number = entry.sequence_number;
                match seen.binary_search_by_key(&number, |(number, _)| *number) {
                    Ok(at) if seen[at].1 == leaf => {}
                    Ok(_) => return Ok(Some(format!("event {number} is another one than the archived"))),
                    Err(_) => return Ok(Some(format!("event {number} is archived, and not in the log"))),
                }
            }
        }
        Ok(None)
    }
}
