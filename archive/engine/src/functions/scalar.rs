//! What the functions of rows have in common: columns of fixed types in, a column out, NULL where an argument is NULL.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use datafusion::arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeBinaryArray, FixedSizeBinaryBuilder, Int64Array, StringArray,
};
use datafusion::arrow::datatypes::{DataType, Int64Type};
use datafusion::common::{exec_datafusion_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
};

/// What an argument is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// So many bytes.
    Bytes(i32),
    /// A number.
    Number,
    /// Text.
    Text,
}

impl Kind {
    fn data_type(self) -> DataType {
        match self {
            Self::Bytes(width) => DataType::FixedSizeBinary(width),
            Self::Number => DataType::Int64,
            Self::Text => DataType::Utf8,
        }
    }

    /// Whether values of that type can become such an argument. Bytes of any width can: a width that is not the right one
    /// fails when the values are there.
    fn takes(self, given: &DataType) -> bool {
        use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary, LargeUtf8, Null, Utf8, Utf8View};
        match (self, given) {
            (_, Null) | (Self::Bytes(_), Binary | BinaryView | LargeBinary) => true,
            (Self::Bytes(width), FixedSizeBinary(given)) => width == *given,
            (Self::Number, given) => given.is_integer(),
            (Self::Text, Utf8 | LargeUtf8 | Utf8View) => true,
            _ => false,
        }
    }
}

/// An argument: its name, and what it is.
pub(super) type Parameter = (&'static str, Kind);

/// A function of rows.
pub(super) struct Scalar {
    name: &'static str,
    parameters: &'static [Parameter],
    returns: DataType,
    compute: fn(&Columns<'_>) -> Result<ArrayRef>,
    signature: Signature,
}

/// Makes a function. It has no say in what is NULL or of another type: it sees no such rows' values but by asking.
pub(super) fn function(
    name: &'static str,
    parameters: &'static [Parameter],
    returns: DataType,
    compute: fn(&Columns<'_>) -> Result<ArrayRef>,
) -> ScalarUDF {
    ScalarUDF::new_from_impl(Scalar {
        name,
        parameters,
        returns,
        compute,
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

impl std::fmt::Debug for Scalar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

// A name has one meaning.
impl PartialEq for Scalar {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Scalar {}

impl Hash for Scalar {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for Scalar {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(self.returns.clone())
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        let takes = self
            .parameters
            .iter()
            .zip(given)
            .all(|((_, kind), given)| kind.takes(given));
        if !takes || given.len() != self.parameters.len() {
            let wanted = self.parameters.iter().map(|(name, kind)| match kind {
                Kind::Bytes(width) => format!("{name}: {width} bytes"),
                Kind::Number => format!("{name}: a number"),
                Kind::Text => format!("{name}: text"),
            });
            return plan_err!("{} takes ({})", self.name, wanted.collect::<Vec<_>>().join(", "));
        }
        Ok(self.parameters.iter().map(|(_, kind)| kind.data_type()).collect())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        // One row is computed once, though it stands for many.
        let constant = args
            .args
            .iter()
            .all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let arrays = args
            .args
            .into_iter()
            .map(|arg| arg.into_array(rows))
            .collect::<Result<Vec<_>>>()?;
        let computed = (self.compute)(&Columns {
            arrays: &arrays,
            rows,
        })?;
        match constant {
            true => Ok(ColumnarValue::Scalar(
                datafusion::common::ScalarValue::try_from_array(&computed, 0)?,
            )),
            false => Ok(ColumnarValue::Array(computed)),
        }
    }
}

/// The arguments of a function, in the types that it has named.
pub(super) struct Columns<'a> {
    arrays: &'a [ArrayRef],
    rows: usize,
}

impl<'a> Columns<'a> {
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// Whether no argument of a row is NULL.
    pub(super) fn complete(&self, row: usize) -> bool {
        self.arrays.iter().all(|array| array.is_valid(row))
    }

    fn of_another_type(at: usize) -> datafusion::error::DataFusionError {
        exec_datafusion_err!("argument {} is of another type", at + 1)
    }

    pub(super) fn bytes<const N: usize>(&self, at: usize) -> Result<Bytes<'a, N>> {
        let array = self
            .arrays
            .get(at)
            .and_then(|array| array.as_fixed_size_binary_opt());
        let array = array.filter(|array| usize::try_from(array.value_length()) == Ok(N));
        array.map(Bytes).ok_or_else(|| Self::of_another_type(at))
    }

    pub(super) fn numbers(&self, at: usize) -> Result<&'a Int64Array> {
        let array = self
            .arrays
            .get(at)
            .and_then(|array| array.as_primitive_opt::<Int64Type>());
        array.ok_or_else(|| Self::of_another_type(at))
    }

    pub(super) fn text(&self, at: usize) -> Result<&'a StringArray> {
        let array = self.arrays.get(at).and_then(|array| array.as_string_opt::<i32>());
        array.ok_or_else(|| Self::of_another_type(at))
    }
}

/// Values of `N` bytes.
pub(super) struct Bytes<'a, const N: usize>(&'a FixedSizeBinaryArray);

impl<const N: usize> Bytes<'_, N> {
    pub(super) fn at(&self, row: usize) -> [u8; N] {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.0.value(row));
        bytes
    }
}

/// A column of hashes.
pub(super) fn hashes(values: impl ExactSizeIterator<Item = Option<ves::Hash32>>) -> Result<ArrayRef> {
    let mut built = FixedSizeBinaryBuilder::with_capacity(values.len(), 32);
    for value in values {
        match value {
            Some(hash) => built.append_value(hash.0)?,
            None => built.append_null(),
        }
    }
    Ok(Arc::new(built.finish()))
}

/// The type of hashes.
pub(super) const HASH: DataType = DataType::FixedSizeBinary(32);
