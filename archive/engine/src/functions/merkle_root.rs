//! `ves_merkle_root(leaf ORDER BY sequence_number)`: the root over leaves in the order of their numbers, as commitments and
//! anchors have it ([`ves::merkle::root`]).
//!
//! ```sql
//! SELECT c.batch_id, ves_merkle_root(ves_leaf(e.tenant_id, e.store_id, e.sequence_number, e.event_signing_hash,
//!     e.agent_signature) ORDER BY e.sequence_number) = c.merkle_root AS holds
//! FROM commitments c JOIN events e ON e.tenant_id = c.tenant_id AND e.store_id = c.store_id
//!     AND e.sequence_number BETWEEN c.sequence_start AND c.sequence_end
//! GROUP BY c.batch_id, c.merkle_root
//! ```
//!
//! The order is not optional, and only ascending. The rows may come in any order and over any number of threads or machines:
//! leaves are kept with their numbers until all are there, 40 bytes a row, and then put in order. A number that is there twice
//! makes the query fail: a group that mixes streams has no root. Numbers that are missing between others do not; whether a
//! batch is whole, [`ves_gaps`](super::gaps) and the commitment's leaf count say. NULL, if a leaf or its number is NULL or
//! below 0, or there is no row: no leaf is left out in silence.

use std::sync::Arc;

use datafusion::arrow::array::{Array, ArrayRef, AsArray};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Int64Type};
use datafusion::common::{ScalarValue, exec_err, plan_err};
use datafusion::error::Result;
use datafusion::logical_expr::function::{AccumulatorArgs, StateFieldsArgs};
use datafusion::logical_expr::utils::AggregateOrderSensitivity;
use datafusion::logical_expr::{Accumulator, AggregateUDF, AggregateUDFImpl, Signature, Volatility};
use ves::Hash32;
use ves::merkle::RootBuilder;

/// A leaf and its number, as they stand in the state: 8 bytes big-endian, 32 bytes.
const ENTRY: usize = 40;

/// The function.
pub fn function() -> AggregateUDF {
    AggregateUDF::new_from_impl(MerkleRoot {
        signature: Signature::user_defined(Volatility::Immutable),
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct MerkleRoot {
    signature: Signature,
}

impl AggregateUDFImpl for MerkleRoot {
    fn name(&self) -> &str {
        "ves_merkle_root"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::FixedSizeBinary(32))
    }

    fn coerce_types(&self, given: &[DataType]) -> Result<Vec<DataType>> {
        use DataType::{Binary, BinaryView, FixedSizeBinary, LargeBinary, Null};
        match given {
            [Null | Binary | BinaryView | LargeBinary | FixedSizeBinary(32)] => Ok(vec![FixedSizeBinary(32)]),
            _ => plan_err!("ves_merkle_root takes (leaf: 32 bytes ORDER BY sequence_number)"),
        }
    }

    fn state_fields(&self, args: StateFieldsArgs<'_>) -> Result<Vec<FieldRef>> {
        let field =
            |what: &str, data_type| Arc::new(Field::new(format!("{}[{what}]", args.name), data_type, true));
        Ok(vec![
            field("leaves", DataType::LargeBinary),
            field("unknown", DataType::Boolean),
        ])
    }

    fn order_sensitivity(&self) -> AggregateOrderSensitivity {
        // The numbers come with the leaves, and the order is made of them here.
        AggregateOrderSensitivity::Beneficial
    }

    fn with_beneficial_ordering(self: Arc<Self>, _: bool) -> Result<Option<Arc<dyn AggregateUDFImpl>>> {
        Ok(Some(self))
    }

    fn accumulator(&self, args: AccumulatorArgs<'_>) -> Result<Box<dyn Accumulator>> {
        let [order] = args.order_bys else {
            return plan_err!(
                "ves_merkle_root needs an order: ves_merkle_root(leaf ORDER BY sequence_number)"
            );
        };
        let of = order.expr.data_type(args.schema)?;
        if of != DataType::Int64 || order.options.descending || args.is_reversed || args.is_distinct {
            return plan_err!(
                "ves_merkle_root takes leaves ORDER BY sequence_number, ascending and not DISTINCT"
            );
        }
        Ok(Box::new(Leaves::default()))
    }
}

/// The leaves of a group so far.
#[derive(Debug, Default)]
struct Leaves {
    leaves: Vec<(u64, Hash32)>,
    /// A row had no leaf, or no number: there is no root.
    unknown: bool,
}

impl Accumulator for Leaves {
    fn update_batch(&mut self, values: &[ArrayRef]) -> Result<()> {
        let [leaves, numbers] = values else {
            return exec_err!("ves_merkle_root is given {} columns, not 2", values.len());
        };
        let leaves = leaves
            .as_fixed_size_binary_opt()
            .filter(|leaves| leaves.value_length() == 32);
        let (Some(leaves), Some(numbers)) = (leaves, numbers.as_primitive_opt::<Int64Type>()) else {
            return exec_err!("ves_merkle_root is given columns of other types");
        };
        self.leaves.reserve(leaves.len());
        for row in 0..leaves.len() {
            let number = numbers
                .is_valid(row)
                .then(|| u64::try_from(numbers.value(row)).ok())
                .flatten();
            match number {
                Some(number) if leaves.is_valid(row) => {
                    let mut leaf = Hash32::ZERO;
                    leaf.0.copy_from_slice(leaves.value(row));
                    self.leaves.push((number, leaf));
                }
                _ => self.unknown = true,
            }
        }
        Ok(())
    }

    fn evaluate(&mut self) -> Result<ScalarValue> {
        if self.unknown {
            return Ok(ScalarValue::FixedSizeBinary(32, None));
        }
        if !self.leaves.is_sorted_by_key(|(number, _)| *number) {
            self.leaves.sort_unstable_by_key(|(number, _)| *number);
        }
        if let Some([(number, _), _]) = self.leaves.array_windows::<2>().find(|[a, b]| a.0 == b.0) {
            return exec_err!(
                "number {number} is there twice in a group of ves_merkle_root: group by stream, or by batch"
            );
        }
        let mut root = RootBuilder::default();
        for piece in self.leaves.chunks(1 << 10) {
            root.extend(&piece.iter().map(|(_, leaf)| *leaf).collect::<Vec<_>>());
        }
        Ok(ScalarValue::FixedSizeBinary(
            32,
            root.root().map(|root| root.0.to_vec()),
        ))
    }

    fn size(&self) -> usize {
        size_of_val(self) + self.leaves.capacity() * size_of::<(u64, Hash32)>()
    }

    fn state(&mut self) -> Result<Vec<ScalarValue>> {
        let mut bytes = Vec::with_capacity(self.leaves.len() * ENTRY);
        for (number, leaf) in std::mem::take(&mut self.leaves) {
            bytes.extend_from_slice(&number.to_be_bytes());
            bytes.extend_from_slice(&leaf.0);
        }
        Ok(vec![
            ScalarValue::LargeBinary(Some(bytes)),
            ScalarValue::Boolean(Some(self.unknown)),
        ])
    }

    fn merge_batch(&mut self, states: &[ArrayRef]) -> Result<()> {
        let [leaves, unknown] = states else {
            return exec_err!("a state of ves_merkle_root has {} columns, not 2", states.len());
        };
        let (Some(leaves), Some(unknown)) = (leaves.as_binary_opt::<i64>(), unknown.as_boolean_opt()) else {
            return exec_err!("a state of ves_merkle_root is of another type");
        };
        for row in 0..leaves.len() {
            self.unknown |= !unknown.is_valid(row) || unknown.value(row) || !leaves.is_valid(row);
            let (entries, rest) = leaves.value(row).as_chunks::<ENTRY>();
            if !rest.is_empty() {
                return exec_err!("a state of ves_merkle_root is cut off");
            }
            self.leaves.reserve(entries.len());
            for entry in entries {
                let (number, leaf) = entry.split_at(8);
                let number = number
                    .iter()
                    .fold(0, |number, byte| number << 8 | u64::from(*byte));
                let mut hash = Hash32::ZERO;
                hash.0.copy_from_slice(leaf);
                self.leaves.push((number, hash));
            }
        }
        Ok(())
    }
}
