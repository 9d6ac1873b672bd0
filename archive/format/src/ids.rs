//! The index of event ids: where each event stands, in files sorted by id. One request finds the row group, one reads it,
//! however many events there are.

mod runs;

use std::sync::{Arc, LazyLock};

use arrow::array::RecordBatch;
use arrow::datatypes::{Int64Type, Schema, SchemaRef};
use parquet::file::properties::EnabledStatistics;
use parquet::schema::types::ColumnPath;
use ves::{EventId, StoreId, StreamKey, TenantId};

use crate::columns::{Built, Taken, number, signed, uuid};
use crate::error::ArchiveError;
use crate::manifest::IdsFile;
use crate::pieces::{PieceFile, PieceReader, PieceWriter, WrittenPieces, properties};
use crate::store::Store;
use runs::{Runs, Sorted, joined};

/// The columns of `ids`.
pub static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        uuid("event_id", false),
        uuid("tenant_id", false),
        uuid("store_id", false),
        number::<Int64Type>("sequence_number", false),
    ]))
});

/// So many rows are in a row group.
const GROUP: usize = 1 << 14;

/// Where an event stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Stands {
    pub event: EventId,
    pub stream: StreamKey,
    pub number: u64,
}

/// The index of an archive that is being written.
pub(crate) struct Ids {
    store: Store,
    files: Vec<IdsFile>,
    new: Runs,
}

impl Ids {
    /// Goes on from these files, the oldest first.
    pub fn new(store: &Store, files: &[IdsFile]) -> Self {
        Self {
            store: store.clone(),
            files: files.to_vec(),
            new: Runs::default(),
        }
    }

    /// Adds events.
    pub fn add(&mut self, new: impl IntoIterator<Item = Stands>) -> Result<(), ArchiveError> {
        self.new.extend(new)
    }

    /// Writes what was added as one file. Files that are no larger than what comes behind them are joined with it: so there
    /// are few, and each row is written few times.
    pub fn finish(&mut self) -> Result<Vec<IdsFile>, ArchiveError> {
        let mut rows = self.new.len();
        if rows == 0 {
            return Ok(self.files.clone());
        }
        let mut stay = self.files.len();
        while let Some(older) = self.files[..stay].last().filter(|older| older.rows <= rows) {
            rows += older.rows;
            stay -= 1;
        }
        let file = match self.join(stay) {
            // Whoever looks for an event reads past it, too (`crate::find`).
            Err(error @ ArchiveError::Damaged { .. }) => {
                tracing::warn!("{error}; it is left as it is, and joined with nothing");
                stay = self.files.len();
                self.join(stay)?
            }
            joined => joined?,
        };
        self.files.truncate(stay);
        self.files.push(file);
        Ok(self.files.clone())
    }

    /// Writes the files from this one on and what was added as one file.
    fn join(&mut self, from: usize) -> Result<IdsFile, ArchiveError> {
        let older: Result<Vec<IdsReader>, _> = self.files[from..]
            .iter()
            .map(|file| IdsReader::open(&self.store, file))
            .collect();
        let older = older?;
        let mut all: Vec<Sorted<'_>> = Vec::new();
        for file in &older {
            all.push(Box::new(file.rows(&self.store)));
        }
        all.extend(self.new.sorted());
        let mut writer = IdsWriter::create()?;
        joined(all, |row| writer.push(row))?;
        writer.upload(&self.store)
    }
}

/// Writes one file of the index.
struct IdsWriter {
    pieces: PieceWriter<EventId>,
    rows: Vec<Stands>,
}

impl IdsWriter {
    fn create() -> Result<Self, ArchiveError> {
        let id = ColumnPath::from("event_id");
        let properties = properties()
            .set_column_dictionary_enabled(id.clone(), false)
            .set_column_statistics_enabled(id, EnabledStatistics::Page)
            .build();
        Ok(Self {
            pieces: PieceWriter::create(&SCHEMA, properties)?,
            rows: Vec::new(),
        })
    }

    fn push(&mut self, row: Stands) -> Result<(), ArchiveError> {
        self.rows.push(row);
        match self.rows.len() >= GROUP {
            true => self.end_group(),
            false => Ok(()),
        }
    }

    fn end_group(&mut self) -> Result<(), ArchiveError> {
        let rows = std::mem::take(&mut self.rows);
        let (Some(first), Some(last)) = (rows.first(), rows.last()) else {
            return Ok(());
        };
        self.pieces.push(to_rows(&rows)?, &first.event, &last.event);
        self.pieces.end_group()
    }

    fn upload(mut self, store: &Store) -> Result<IdsFile, ArchiveError> {
        self.end_group()?;
        let WrittenPieces {
            mut file,
            rows,
            bytes,
            sha256,
            tail_bytes,
            tail_sha256,
        } = self.pieces.finish()?;
        let path = format!("ids/{}.parquet", hex::encode(&sha256.0[..16]));
        store.upload(&path, &mut file)?;
        Ok(IdsFile {
            path,
            rows,
            bytes,
            sha256,
            tail_bytes,
            tail_sha256,
        })
    }
}

fn to_rows(rows: &[Stands]) -> Result<RecordBatch, ArchiveError> {
    let numbers: Result<Vec<i64>, _> = rows
        .iter()
        .map(|row| signed("sequence number", row.number))
        .collect();
    let mut built = Built::default();
    built.fixed(rows.iter().map(|row| Some(row.event.as_bytes())));
    built.fixed(rows.iter().map(|row| Some(row.stream.tenant_id.as_bytes())));
    built.fixed(rows.iter().map(|row| Some(row.stream.store_id.as_bytes())));
    built.number::<Int64Type>(numbers?.into_iter().map(Some));
    RecordBatch::try_new(Arc::clone(&SCHEMA), built.into_arrays())
        .map_err(ArchiveError::columns("making columns of event ids"))
}

/// One file of the index, of which the end has been read.
pub(crate) struct IdsReader(PieceReader<EventId>);

impl IdsReader {
    /// Reads its end, in one request.
    pub fn open(store: &Store, file: &IdsFile) -> Result<Self, ArchiveError> {
        let file = PieceFile {
            path: &file.path,
            rows: file.rows,
            bytes: file.bytes,
            tail_bytes: file.tail_bytes,
            tail_sha256: file.tail_sha256,
        };
        PieceReader::open(store, &file, &SCHEMA).map(Self)
    }

    /// Where an event stands, by one more request if it may be in the file.
    pub fn find(&self, store: &Store, event: EventId) -> Result<Option<Stands>, ArchiveError> {
        let group = self.0.groups().partition_point(|group| group.to < event);
        match self.0.groups().get(group) {
            Some(found) if found.from <= event => {
                let rows = self.group(store, group)?;
                let at = rows.binary_search_by_key(&event, |row| row.event);
                Ok(at.ok().map(|at| rows[at]))
            }
            _ => Ok(None),
        }
    }

    fn group(&self, store: &Store, group: usize) -> Result<Vec<Stands>, ArchiveError> {
        let fetched = self.0.fetch(store, group)?;
        let mut all = Vec::new();
        for rows in fetched.rows()? {
            let taken = Taken::new(&rows, fetched.path());
            let (event, tenant) = (taken.fixed::<16>("event_id")?, taken.fixed::<16>("tenant_id")?);
            let (of_store, number) = (taken.fixed::<16>("store_id")?, taken.i64("sequence_number")?);
            all.extend((0..rows.num_rows()).map(|row| Stands {
                event: EventId(event.uuid(row)),
                stream: StreamKey::new(TenantId(tenant.uuid(row)), StoreId(of_store.uuid(row))),
                number: u64::try_from(number.at(row)).unwrap_or(0),
            }));
        }
        match all.is_sorted_by(|a, b| a.event < b.event) {
            true => Ok(all),
            false => Err(ArchiveError::damaged(fetched.path(), "its ids are not in order")),
        }
    }

    /// All rows, a row group at a time.
    fn rows(&self, store: &Store) -> impl Iterator<Item = Result<Stands, ArchiveError>> {
        (0..self.0.groups().len()).flat_map(move |group| match self.group(store, group) {
            Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
            Err(error) => vec![Err(error)],
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use uuid::Uuid;

    use super::*;

    fn stands(event: u128) -> Stands {
        Stands {
            event: EventId(Uuid::from_u128(event)),
            stream: StreamKey::new(TenantId(Uuid::from_u128(1)), StoreId(Uuid::from_u128(2))),
            number: 1,
        }
    }

    fn added(store: &Store, files: &[IdsFile], events: std::ops::Range<u128>) -> Vec<IdsFile> {
        let mut ids = Ids::new(store, files);
        ids.add(events.map(stands)).unwrap();
        ids.finish().unwrap()
    }

    #[test]
    fn what_is_new_is_joined_with_what_is_no_larger_unless_that_is_damaged() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path().to_str().unwrap()).unwrap();
        let first = added(&store, &[], 0..20);
        let rows = |files: &[IdsFile]| files.iter().map(|file| file.rows).collect::<Vec<_>>();
        assert_eq!(rows(&first), [20]);
        assert_eq!(rows(&added(&store, &first, 20..30)), [20, 10]);
        // Those that were there already are not there twice.
        assert_eq!(rows(&added(&store, &first, 10..40)), [40]);

        let path = folder.path().join(&first[0].path);
        let mut bytes = fs::read(&path).unwrap();
        bytes[50] ^= 1;
        fs::write(&path, bytes).unwrap();
        let second = added(&store, &first, 20..50);
        assert_eq!((&second[0], rows(&second)), (&first[0], vec![20, 30]));
        let found = IdsReader::open(&store, &second[1]).unwrap();
        assert_eq!(found.find(&store, stands(30).event).unwrap(), Some(stands(30)));
    }
}
