//! Where events come from: a database, an export, a bundle, an archive.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::ops::ControlFlow;
use std::path::Path;

use cli_common::DbTarget;
use event_log::{
    ExportReader, ExportedEntry, Log, LogEntry, OpenOptions, Outline, Place, RawEntries, RowError, Scope,
    Sought, View,
};
use tokio::runtime::{Builder, Runtime};
use ves::{Spans, StreamKey};

use crate::partial::PartialBatch;
use crate::verify::VerifyError;

/// Some events, in order, with the rows that could not be read in their places.
pub enum Chunk {
    /// As they were read.
    Read(Vec<Result<ExportedEntry, RowError>>),
    /// As a database gave them: whoever checks them makes values of them first.
    Raw(RawEntries),
    /// As something else keeps them, to be made values of likewise.
    Kept(Box<dyn KeptRows>),
}

/// Rows that are not values yet; any thread can make them so.
pub trait KeptRows: Send {
    /// How many rows there are.
    fn count(&self) -> usize;

    /// Makes values of them.
    fn read(self: Box<Self>) -> Vec<Result<LogEntry, RowError>>;
}

impl Chunk {
    /// How many rows there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Read(rows) => rows.len(),
            Self::Raw(rows) => rows.len(),
            Self::Kept(rows) => rows.count(),
        }
    }

    /// The rows as values.
    pub fn read(self) -> Vec<Result<ExportedEntry, RowError>> {
        fn whole(entry: LogEntry) -> ExportedEntry {
            ExportedEntry {
                entry,
                redacted: false,
            }
        }
        match self {
            Self::Read(rows) => rows,
            Self::Raw(rows) => rows.read().into_iter().map(|row| row.map(whole)).collect(),
            Self::Kept(rows) => rows.read().into_iter().map(|row| row.map(whole)).collect(),
        }
    }

    /// True if there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The numbers of a stream that are wanted.
pub type Wanted = (StreamKey, Spans);

/// What a verification reads, once and in order.
pub trait LogSource {
    /// The batches that are there in part, with the hashes that stand for the rest of them.
    fn partial(&self) -> &[PartialBatch] {
        &[]
    }

    /// Where the log was looked at, if it was a log.
    fn place(&self) -> Option<&Place> {
        None
    }

    /// Keys, streams and commitments.
    ///
    /// # Errors
    /// If they cannot be read.
    fn outline(&mut self) -> Result<Outline, VerifyError>;

    /// Gives the wanted events to `each`, in order and in chunks, until there are no more or `each` breaks off.
    ///
    /// # Errors
    /// If the source fails.
    fn entries(
        &mut self,
        wanted: &[Wanted],
        each: &mut dyn FnMut(Chunk) -> ControlFlow<()>,
    ) -> Result<(), VerifyError>;
}

/// A database or a snapshot, in one consistent view. Not to be used inside of an async runtime: it has its own.
pub struct DbSource {
    runtime: Runtime,
    view: View,
    scope: Scope,
}

impl DbSource {
    /// Opens a log.
    ///
    /// # Errors
    /// What the log says.
    pub fn open(target: &DbTarget, scope: Scope) -> Result<Self, VerifyError> {
        Self::open_with(target, scope, &OpenOptions::default())
    }

    /// As [`DbSource::open`], with options.
    ///
    /// # Errors
    /// What the log says.
    pub fn open_with(target: &DbTarget, scope: Scope, options: &OpenOptions) -> Result<Self, VerifyError> {
        let runtime = runtime(target).map_err(VerifyError::io("the runtime"))?;
        let view = runtime.block_on(async { Log::open_with(target, options).await?.view().await })?;
        let mut source = Self { runtime, view, scope };
        source.look_for_hidden(Sought::Events)?;
        Ok(source)
    }

    /// Compares the indexes of a server that something is found by with their tables. What an index lacks would be called
    /// missing; after this, no damaged index is asked.
    ///
    /// # Errors
    /// If the database fails.
    pub fn look_for_hidden(&mut self, sought: Sought) -> Result<(), VerifyError> {
        if self.view.place().server().is_some() {
            let damage = self.runtime.block_on(self.view.look_for_hidden(sought))?;
            for fault in &damage.indexes {
                tracing::warn!("index {}: {}; {}", fault.index, fault.what, fault.remedy);
            }
        }
        Ok(())
    }

    /// The view, and the runtime that its methods need.
    pub fn parts(&mut self) -> (&Runtime, &mut View) {
        (&self.runtime, &mut self.view)
    }
}

/// A runtime of this thread; with I/O for PostgreSQL alone, since a snapshot needs no descriptors but its file's.
fn runtime(target: &DbTarget) -> std::io::Result<Runtime> {
    let mut builder = Builder::new_current_thread();
    match target {
        DbTarget::Postgres(_) => builder.enable_all(),
        DbTarget::Snapshot(_) => builder.enable_time(),
    };
    builder.build()
}

impl LogSource for DbSource {
    fn place(&self) -> Option<&Place> {
        Some(self.view.place())
    }

    fn outline(&mut self) -> Result<Outline, VerifyError> {
        let Self { runtime, view, scope } = self;
        Ok(runtime.block_on(Outline::of_view(view, scope))?)
    }

    fn entries(
        &mut self,
        wanted: &[Wanted],
        each: &mut dyn FnMut(Chunk) -> ControlFlow<()>,
    ) -> Result<(), VerifyError> {
        let Self { runtime, view, .. } = self;
        for (stream, spans) in wanted {
            for span in spans.iter() {
                let mut flow = ControlFlow::Continue(());
                runtime.block_on(view.for_each_raw_chunk(stream, span.positions(), &mut |rows| {
                    flow = each(Chunk::Raw(rows));
                    flow
                }))?;
                if flow.is_break() {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

/// A log export (`docs/log-export.md`).
pub struct ExportSource<R> {
    name: String,
    reader: ExportReader<R>,
    partial: Vec<PartialBatch>,
}

impl ExportSource<BufReader<File>> {
    /// Opens a file.
    ///
    /// # Errors
    /// If it cannot be read, or is not an export.
    pub fn open(path: &Path) -> Result<Self, VerifyError> {
        let name = path.display().to_string();
        let file = cli_common::files::open_text(path).map_err(VerifyError::io(&name))?;
        Self::new(&name, file)
    }
}

impl<R: BufRead> ExportSource<R> {
    /// Reads an export from anywhere; `name` is for messages.
    ///
    /// # Errors
    /// If it is not an export.
    pub fn new(name: &str, input: R) -> Result<Self, VerifyError> {
        let reader = ExportReader::new(input).map_err(VerifyError::export(name))?;
        Ok(Self {
            name: name.to_owned(),
            reader,
            partial: Vec::new(),
        })
    }

    /// Tells of batches that are there in part.
    pub(crate) fn with_partial(self, partial: Vec<PartialBatch>) -> Self {
        Self { partial, ..self }
    }
}

impl<R: BufRead> LogSource for ExportSource<R> {
    fn partial(&self) -> &[PartialBatch] {
        &self.partial
    }

    fn outline(&mut self) -> Result<Outline, VerifyError> {
        Ok(self.reader.outline().clone())
    }

    fn entries(
        &mut self,
        wanted: &[Wanted],
        each: &mut dyn FnMut(Chunk) -> ControlFlow<()>,
    ) -> Result<(), VerifyError> {
        let is_wanted = |row: &Result<ExportedEntry, RowError>| {
            let place = match row {
                Ok(entry) => Some((entry.entry.event.stream, entry.entry.sequence_number)),
                // Of what cannot be read, everybody must hear: the place that it names may be wrong.
                Err(_) => None,
            };
            place.is_none_or(|(stream, sequence)| {
                wanted
                    .binary_search_by_key(&stream, |(stream, _)| *stream)
                    .is_ok_and(|at| wanted[at].1.contains(sequence))
            })
        };
        self.reader
            .for_each_entry(&mut |mut chunk| {
                chunk.retain(is_wanted);
                each(Chunk::Read(chunk))
            })
            .map_err(VerifyError::export(&self.name))
    }
}
