//! Where rows come from: an outbox, or an export of one.

use std::ops::ControlFlow;
use std::path::Path;

use crate::error::{FileError, OutboxError};
use crate::export::Export;
use crate::outbox::Outbox;
use crate::row::Item;

/// An opened outbox or export.
#[derive(Debug)]
pub enum Source {
    /// An agent's database.
    Outbox(Box<Outbox>),
    /// What `export` wrote.
    Export(Box<Export>),
}

/// A source that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// An outbox.
    #[error(transparent)]
    Outbox(#[from] OutboxError),
    /// An export.
    #[error(transparent)]
    Export(#[from] FileError),
}

impl Source {
    /// Opens an outbox (whatever of it can still be read, see [`Outbox::salvage`]) or an export, which begins
    /// with a brace.
    ///
    /// # Errors
    /// It is neither.
    pub fn open(path: &Path) -> Result<Self, SourceError> {
        // An outbox is no pipe; what comes from one can be an export.
        if is_pipe(path) || looks_like_export(path) {
            return Ok(Self::Export(Box::new(Export::open(path)?)));
        }
        Ok(Self::Outbox(Box::new(Outbox::salvage(path)?)))
    }

    /// Where it lies, as it was named.
    pub fn path(&self) -> &Path {
        match self {
            Self::Outbox(outbox) => &outbox.meta().path,
            Self::Export(export) => export.path(),
        }
    }

    /// The outbox, if it is one.
    pub fn outbox(&self) -> Option<&Outbox> {
        match self {
            Self::Outbox(outbox) => Some(outbox),
            Self::Export(_) => None,
        }
    }

    /// What is wrong with the file as a whole: damage, or that it is not what its manifest says.
    pub fn damage(&self) -> Option<String> {
        match self {
            Self::Outbox(outbox) => outbox.meta().damage.clone(),
            Self::Export(export) => export.manifest_flaw().map(str::to_owned),
        }
    }

    /// What of the file is not read or not checked.
    pub fn not_checked(&self) -> Vec<String> {
        match self {
            Self::Outbox(outbox) => outbox.meta().not_checked.clone(),
            Self::Export(export) => export.not_checked(),
        }
    }

    /// How many rows there are, as far as that is known without reading them.
    pub fn rows(&self) -> Option<u64> {
        match self {
            Self::Outbox(outbox) => {
                let meta = outbox.meta();
                Some(meta.outbox.total() + meta.pulled + meta.quarantined)
            }
            Self::Export(export) => export.events(),
        }
    }

    /// Hands over every row in its order; one that cannot be read as an error in words, with its place.
    ///
    /// # Errors
    /// The file turns out to be unreadable.
    pub fn for_each(
        &self,
        each: &mut dyn FnMut(Result<Item, String>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        match self {
            Self::Outbox(outbox) => Ok(outbox.for_each_row(&mut |row| {
                each(match row {
                    Ok(row) => Ok(Item {
                        place: row.place.to_string(),
                        row,
                    }),
                    Err(error) => Err(error.to_string()),
                })
            })?),
            Self::Export(export) => Ok(export.for_each(&mut |event| each(event))?),
        }
    }

    /// As [`Source::for_each`], in groups; errors go to `bad` at once.
    ///
    /// # Errors
    /// As [`Source::for_each`].
    pub fn for_each_group(
        &self,
        size: usize,
        bad: &mut dyn FnMut(String),
        group: &mut dyn FnMut(Vec<Item>) -> ControlFlow<()>,
    ) -> Result<(), SourceError> {
        let mut items = Vec::with_capacity(size);
        let mut bytes = 0;
        let mut stopped = false;
        self.for_each(&mut |item| {
            match item {
                Ok(item) => {
                    bytes += item
                        .row
                        .content
                        .event()
                        .map_or(0, |event| event.payload.json().len());
                    items.push(item);
                }
                Err(what) => bad(what),
            }
            if items.len() < size && bytes < MAX_GROUP_BYTES {
                return ControlFlow::Continue(());
            }
            bytes = 0;
            let flow = group(std::mem::replace(&mut items, Vec::with_capacity(size)));
            stopped = flow.is_break();
            flow
        })?;
        if !stopped && !items.is_empty() {
            let _ = group(items);
        }
        Ok(())
    }
}

/// A group holds no more than about this.
const MAX_GROUP_BYTES: usize = 16 << 20;

/// Whether a file begins like JSON. A pipe is not opened.
pub fn looks_like_export(path: &Path) -> bool {
    cli_common::files::begins_with(path, b"{")
}

/// Whether it is neither a file nor a folder.
pub(crate) fn is_pipe(path: &Path) -> bool {
    path.metadata()
        .is_ok_and(|meta| !meta.is_file() && !meta.is_dir())
}
