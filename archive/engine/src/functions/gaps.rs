//! `ves_gaps(sequence_number)`: which numbers are missing, from 1 to the highest that is there, as a list of
//! `{"from": …, "to": …}`, both inclusive. Empty, if none is; NULL, if no number is there.
//!
//! ```sql
//! SELECT tenant_id, store_id, max(sequence_number) AS head, ves_gaps(sequence_number) AS missing
//! FROM events GROUP BY tenant_id, store_id
//! ```
//!
//! A missing start counts as a gap; a lost tail cannot be seen in the rows that are left. NULL and numbers below 1, which are
//! no positions, are passed over. The rows may come in any order, over any number of threads or machines. The memory goes by
//! runs of numbers (16 bytes each), not by rows.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray, Int64Array, StructArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Fields, Int64Type};
use datafusion::common::utils::SingleRowListArrayBuilder;
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use ves::{Span, Spans};

/// A run of numbers, as it stands in the state: first and last, 8 bytes big-endian each.
const ENTRY: usize = 16;

/// The function.
pub fn function() -> AggregateUDF {
    AggregateUDF::new_from_impl(Gaps {
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Gaps {
    signature: Signature,
}

fn ends() -> Fields {
    let number = |name: &str| Field::new(name, DataType::Int64, false);
    Fields::from(vec![number("from"), number("to")])
}

impl AggregateUDFImpl for Gaps {
    fn name(&self) -> &str {
        "ves_gaps"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::List(Arc::new(Field::new_list_field(
            DataType::Struct(ends()),
            true,
        ))))
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        match given {
            [given] if given.is_integer() || *given == DataType::Null => Ok(vec![DataType::Int64]),
            _ => plan_err!("ves_gaps takes (sequence_number: a number)"),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let name = format!("{}[numbers]", args.name);
        Ok(vec![Arc::new(Field::new(name, DataType::LargeBinary, true))])
    }

    fn accumulator(&self, _: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        Ok(Box::new(Numbers::default()))
    }
}

/// The numbers of a group so far.
#[derive(Debug, Default)]
struct Numbers(Spans);

impl Numbers {
    fn add(&mut self, more: &Spans) {
        if self.0.last().unwrap_or(0) < more.first().unwrap_or(0) {
            more.iter().for_each(|span| self.0.insert(span));
        } else {
            self.0 = self.0.union(more);
        }
    }
}

impl Accumulator for Numbers {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [numbers] = values else {
            return exec_err!("ves_gaps is given {} columns, not 1", values.len());
        };
        let Some(numbers) = numbers.as_primitive_opt::<Int64Type>() else {
            return exec_err!("ves_gaps is given a column of another type");
        };
        self.add(&Spans::of_positions(
            numbers
                .iter()
                .flatten()
                .filter_map(|number| u64::try_from(number).ok()),
        ));
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        let data_type = DataType::Struct(ends());
        let Some(all) = self.0.last().and_then(Span::up_to) else {
            return ScalarValue::try_from(DataType::List(Arc::new(Field::new_list_field(data_type, true))));
        };
        let missing = self.0.complement(all);
        // All numbers came out of 63 bits.
        let column = |of: fn(Span) -> u64| -> ArrayRef {
            Arc::new(
                missing
                    .iter()
                    .map(|span| i64::try_from(of(span)).unwrap_or(i64::MAX))
                    .collect::<Int64Array>(),
            )
        };
        let list = StructArray::try_new(ends(), vec![column(Span::start), column(Span::end)], None)?;
        Ok(SingleRowListArrayBuilder::new(Arc::new(list)).build_list_scalar())
    }

    fn size(&self) -> usize {
        size_of_val(self) + size_of_val(self.0.as_slice())
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::with_capacity(self.0.as_slice().len() * ENTRY);
        for span in self.0.iter() {
            bytes.extend_from_slice(&span.start().to_be_bytes());
            bytes.extend_from_slice(&span.end().to_be_bytes());
        }
        Ok(vec![ScalarValue::LargeBinary(Some(bytes))])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let Some(states) = states.first().and_then(|states| states.as_binary_opt::<i64>()) else {
            return exec_err!("a state of ves_gaps is of another type");
        };
        for state in states.iter().flatten() {
            let (entries, rest) = state.as_chunks::<ENTRY>();
            let number = |bytes: &[u8]| {
                bytes
                    .iter()
                    .fold(0, |number, byte| number << 8 | u64::from(*byte))
            };
            let spans = entries
                .iter()
                .map(|entry| Span::new(number(&entry[..8]), number(&entry[8..])));
            let (Some(spans), true) = (spans.collect::<Option<Spans>>(), rest.is_empty()) else {
                return exec_err!("a state of ves_gaps is cut off");
            };
            self.add(&spans);
        }
        Ok(())
    }
}
