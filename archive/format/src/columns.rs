//! Values as columns, and back: what the tables' modules are written with.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, FixedSizeBinaryArray, FixedSizeBinaryBuilder,
    PrimitiveArray, PrimitiveBuilder, RecordBatch, StringArray, StringBuilder,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Field, Int16Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType,
    UInt32Type,
};
use uuid::Uuid;
use ves::{Hash32, Timestamp};

use crate::error::ArchiveError;

/// The time zone of all times.
const UTC: &str = "UTC";

/// A UUID, which Parquet marks as one.
pub(crate) fn uuid(name: &str, nullable: bool) -> Field {
    let mut field = Field::new(name, DataType::FixedSizeBinary(16), nullable);
    field.set_metadata([("ARROW:extension:name".to_owned(), "arrow.uuid".to_owned())].into());
    field
}

/// So many bytes.
pub(crate) fn fixed(name: &str, bytes: i32, nullable: bool) -> Field {
    Field::new(name, DataType::FixedSizeBinary(bytes), nullable)
}

/// Any number of bytes.
pub(crate) fn bytes(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Binary, nullable)
}

/// Text.
pub(crate) fn text(name: &str, nullable: bool) -> Field {
    Field::new(name, DataType::Utf8, nullable)
}

/// A number of this type.
pub(crate) fn number<T: ArrowPrimitiveType>(name: &str, nullable: bool) -> Field {
    Field::new(name, T::DATA_TYPE, nullable)
}

/// A moment, in microseconds.
pub(crate) fn time(name: &str, nullable: bool) -> Field {
    let of_time = DataType::Timestamp(TimeUnit::Microsecond, Some(UTC.into()));
    Field::new(name, of_time, nullable)
}

/// Columns in the order of a schema.
#[derive(Default)]
pub(crate) struct Built(Vec<ArrayRef>);

impl Built {
    pub(crate) fn into_arrays(self) -> Vec<ArrayRef> {
        self.0
    }

    fn push(&mut self, array: impl Array + 'static) {
        self.0.push(Arc::new(array));
    }

    pub(crate) fn fixed<'a, const N: usize>(&mut self, values: impl Iterator<Item = Option<&'a [u8; N]>>) {
        let width = i32::try_from(N).expect("hashes and signatures are short");
        let mut built = FixedSizeBinaryBuilder::with_capacity(values.size_hint().0, width);
        for value in values {
            match value {
                Some(value) => built.append_value(value).expect("it has the width of the column"),
                None => built.append_null(),
            }
        }
        self.push(built.finish());
    }

    pub(crate) fn bytes<'a>(&mut self, values: impl Iterator<Item = Option<&'a [u8]>>) {
        let mut built = BinaryBuilder::new();
        values.for_each(|value| built.append_option(value));
        self.push(built.finish());
    }

    pub(crate) fn text<'a>(&mut self, values: impl Iterator<Item = Option<&'a str>>) {
        let mut built = StringBuilder::new();
        values.for_each(|value| built.append_option(value));
        self.push(built.finish());
    }

    pub(crate) fn number<T: ArrowPrimitiveType>(&mut self, values: impl Iterator<Item = Option<T::Native>>) {
        let mut built = PrimitiveBuilder::<T>::with_capacity(values.size_hint().0);
        values.for_each(|value| built.append_option(value));
        self.push(built.finish());
    }

    pub(crate) fn time(&mut self, values: impl Iterator<Item = Option<Timestamp>>) {
        let mut built = PrimitiveBuilder::<TimestampMicrosecondType>::with_capacity(values.size_hint().0);
        values.for_each(|value| built.append_option(value.map(|time| time.0)));
        self.push(built.finish().with_timezone(UTC));
    }
}

/// A number that Parquet's signed type of 64 bits holds.
pub(crate) fn signed(what: &str, number: u64) -> Result<i64, ArchiveError> {
    i64::try_from(number).map_err(|_| ArchiveError::DoesNotFit(format!("{what} {number} is beyond 2^63")))
}

/// A column of a batch that was read, which is of the type that it should be.
pub(crate) struct Taken<'a> {
    batch: &'a RecordBatch,
    file: &'a str,
}

impl<'a> Taken<'a> {
    pub(crate) fn new(batch: &'a RecordBatch, file: &'a str) -> Self {
        Self { batch, file }
    }

    fn column(&self, name: &str) -> Result<&'a ArrayRef, ArchiveError> {
        let column = self.batch.column_by_name(name);
        column.ok_or_else(|| ArchiveError::damaged(self.file, format!("there is no column {name}")))
    }

    fn of_another_type(&self, name: &str) -> ArchiveError {
        ArchiveError::damaged(self.file, format!("column {name} is of another type"))
    }

    pub(crate) fn fixed<const N: usize>(&self, name: &str) -> Result<Fixed<'a, N>, ArchiveError> {
        let array = self.column(name)?.as_fixed_size_binary_opt();
        let array = array.filter(|array| usize::try_from(array.value_length()) == Ok(N));
        Ok(Fixed(array.ok_or_else(|| self.of_another_type(name))?))
    }

    pub(crate) fn text(&self, name: &str) -> Result<Text<'a>, ArchiveError> {
        let array = self.column(name)?.as_string_opt::<i32>();
        Ok(Text(array.ok_or_else(|| self.of_another_type(name))?))
    }

    pub(crate) fn bytes(&self, name: &str) -> Result<AnyBytes<'a>, ArchiveError> {
        let array = self.column(name)?.as_binary_opt::<i32>();
        Ok(AnyBytes(array.ok_or_else(|| self.of_another_type(name))?))
    }

    pub(crate) fn number<T: ArrowPrimitiveType>(&self, name: &str) -> Result<Number<'a, T>, ArchiveError> {
        let array = self.column(name)?.as_primitive_opt::<T>();
        Ok(Number(array.ok_or_else(|| self.of_another_type(name))?))
    }

    pub(crate) fn time(&self, name: &str) -> Result<Times<'a>, ArchiveError> {
        self.number::<TimestampMicrosecondType>(name).map(Times)
    }

    pub(crate) fn u32(&self, name: &str) -> Result<Number<'a, UInt32Type>, ArchiveError> {
        self.number(name)
    }

    pub(crate) fn i16(&self, name: &str) -> Result<Number<'a, Int16Type>, ArchiveError> {
        self.number(name)
    }

    pub(crate) fn i32(&self, name: &str) -> Result<Number<'a, Int32Type>, ArchiveError> {
        self.number(name)
    }

    pub(crate) fn i64(&self, name: &str) -> Result<Number<'a, Int64Type>, ArchiveError> {
        self.number(name)
    }
}

/// Values of so many bytes.
pub(crate) struct Fixed<'a, const N: usize>(&'a FixedSizeBinaryArray);

impl<const N: usize> Fixed<'_, N> {
    /// The value; of NULL, zeros.
    pub(crate) fn at(&self, row: usize) -> [u8; N] {
        self.0.value(row).try_into().expect("the width was looked at")
    }

    pub(crate) fn optional(&self, row: usize) -> Option<[u8; N]> {
        self.0.is_valid(row).then(|| self.at(row))
    }
}

impl Fixed<'_, 16> {
    pub(crate) fn uuid(&self, row: usize) -> Uuid {
        Uuid::from_bytes(self.at(row))
    }
}

impl Fixed<'_, 32> {
    pub(crate) fn hash(&self, row: usize) -> Hash32 {
        Hash32(self.at(row))
    }
}

/// Text values.
pub(crate) struct Text<'a>(&'a StringArray);

impl Text<'_> {
    /// The value; of NULL, nothing.
    pub(crate) fn at(&self, row: usize) -> String {
        self.0.value(row).to_owned()
    }

    pub(crate) fn optional(&self, row: usize) -> Option<String> {
        self.0.is_valid(row).then(|| self.at(row))
    }
}

/// Any number of bytes each.
pub(crate) struct AnyBytes<'a>(&'a BinaryArray);

impl AnyBytes<'_> {
    pub(crate) fn optional(&self, row: usize) -> Option<Vec<u8>> {
        self.0.is_valid(row).then(|| self.0.value(row).to_owned())
    }
}

/// Numbers.
pub(crate) struct Number<'a, T: ArrowPrimitiveType>(&'a PrimitiveArray<T>);

impl<T: ArrowPrimitiveType> Number<'_, T> {
    /// The value; of NULL, 0.
    pub(crate) fn at(&self, row: usize) -> T::Native {
        self.0.value(row)
    }

    pub(crate) fn optional(&self, row: usize) -> Option<T::Native> {
        self.0.is_valid(row).then(|| self.at(row))
    }
}

/// Moments.
pub(crate) struct Times<'a>(Number<'a, TimestampMicrosecondType>);

impl Times<'_> {
    pub(crate) fn at(&self, row: usize) -> Timestamp {
        Timestamp(self.0.at(row))
    }

    pub(crate) fn optional(&self, row: usize) -> Option<Timestamp> {
        self.0.optional(row).map(Timestamp)
    }
}
