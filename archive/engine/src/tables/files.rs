//! The table `files`: what the manifest says of the objects with events.

use std::sync::Arc;

use archive_format::Manifest;
use datafusion::arrow::array::{ArrayRef, FixedSizeBinaryBuilder, RecordBatch, StringArray, UInt64Array};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use datafusion::error::Result;

use crate::columns;

/// The table.
pub(super) fn table(manifest: &Manifest) -> Result<Arc<dyn TableProvider>> {
    let files = || {
        manifest
            .streams
            .iter()
            .flat_map(|stream| stream.files.iter().map(move |file| (stream, file)))
    };
    let ids = |ids: Vec<&[u8]>, width: i32| -> Result<ArrayRef> {
        let mut built = FixedSizeBinaryBuilder::with_capacity(ids.len(), width);
        for id in ids {
            built.append_value(id)?;
        }
        Ok(Arc::new(built.finish()))
    };
    let number = |of: fn(&archive_format::manifest::EventsFile) -> u64| -> ArrayRef {
        Arc::new(files().map(|(_, file)| of(file)).collect::<UInt64Array>())
    };
    let paths: StringArray = files().map(|(_, file)| Some(file.path.as_str())).collect();
    let number_field = |name: &str| Field::new(name, DataType::UInt64, false);
    let schema = Arc::new(Schema::new(vec![
        columns::uuid("tenant_id", false),
        columns::uuid("store_id", false),
        Field::new("path", DataType::Utf8, false),
        number_field("sequence_start"),
        number_field("sequence_end"),
        number_field("rows"),
        number_field("batches"),
        number_field("bytes"),
        Field::new("sha256", DataType::FixedSizeBinary(32), false),
        Field::new("leaves_root", DataType::FixedSizeBinary(32), false),
    ]));
    let arrays: Vec<ArrayRef> = vec![
        ids(
            files()
                .map(|(stream, _)| &stream.tenant_id.as_bytes()[..])
                .collect(),
            16,
        )?,
        ids(
            files()
                .map(|(stream, _)| &stream.store_id.as_bytes()[..])
                .collect(),
            16,
        )?,
        Arc::new(paths),
        number(|file| file.from),
        number(|file| file.to),
        number(|file| file.rows),
        number(|file| file.batches),
        number(|file| file.bytes),
        ids(files().map(|(_, file)| &file.sha256.0[..]).collect(), 32)?,
        ids(files().map(|(_, file)| &file.leaves_root.0[..]).collect(), 32)?,
    ];
    let rows = RecordBatch::try_new(Arc::clone(&schema), arrays)?;
    Ok(Arc::new(MemTable::try_new(schema, vec![vec![rows]])?))
}
