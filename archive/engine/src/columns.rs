//! The types of columns that only this field has.

use datafusion::arrow::datatypes::{DataType, Field};

/// The key under which a field says what its bytes mean.
const EXTENSION: &str = "ARROW:extension:name";
/// What it says of a UUID.
const UUID: &str = "arrow.uuid";

/// A UUID: 16 bytes that are marked as one, as in the archive's files.
pub(crate) fn uuid(name: &str, nullable: bool) -> Field {
    let field = Field::new(name, DataType::FixedSizeBinary(16), nullable);
    field.with_metadata([(EXTENSION.to_owned(), UUID.to_owned())].into())
}

/// Whether a column holds UUIDs.
pub(crate) fn is_uuid(field: &Field) -> bool {
    *field.data_type() == DataType::FixedSizeBinary(16)
        && field.metadata().get(EXTENSION).is_some_and(|name| name == UUID)
}
