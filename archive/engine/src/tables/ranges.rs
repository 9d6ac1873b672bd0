//! What objects with events may hold, as the manifest says: one stream each, and a range of numbers. By it objects are passed
//! over that a query cannot need, without a request.

use std::collections::HashSet;
use std::sync::Arc;

use archive_format::Manifest;
use datafusion::arrow::array::{ArrayRef, BooleanArray, FixedSizeBinaryBuilder, Int64Array, UInt64Array};
use datafusion::arrow::datatypes::SchemaRef;
use datafusion::common::pruning::PruningStatistics;
use datafusion::common::{Column, ScalarValue};
use datafusion::physical_optimizer::pruning::PruningPredicateBuilder;
use datafusion::physical_plan::PhysicalExpr;

/// The ranges of objects, in the order of the manifest.
#[derive(Debug)]
pub(super) struct Ranges {
    tenants: Vec<[u8; 16]>,
    stores: Vec<[u8; 16]>,
    from: Vec<i64>,
    to: Vec<i64>,
    rows: Vec<u64>,
}

impl Ranges {
    /// The ranges of the objects with events.
    pub(super) fn of(manifest: &Manifest) -> Self {
        let files = || {
            manifest
                .streams
                .iter()
                .flat_map(|stream| stream.files.iter().map(move |file| (stream, file)))
        };
        let number = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        Self {
            tenants: files().map(|(stream, _)| *stream.tenant_id.as_bytes()).collect(),
            stores: files().map(|(stream, _)| *stream.store_id.as_bytes()).collect(),
            from: files().map(|(_, file)| number(file.from)).collect(),
            to: files().map(|(_, file)| number(file.to)).collect(),
            rows: files().map(|(_, file)| file.rows).collect(),
        }
    }

    /// Which objects may hold rows for which this is true.
    pub(super) fn possible(&self, predicate: Arc<dyn PhysicalExpr>, schema: &SchemaRef) -> Vec<bool> {
        let all = || vec![true; self.rows.len()];
        let predicate = PruningPredicateBuilder::new()
            .with_file_schema(Arc::clone(schema))
            .build(predicate);
        // What cannot be judged by ranges costs reading, not truth.
        let Some(predicate) = predicate else { return all() };
        predicate.prune(self).unwrap_or_else(|error| {
            tracing::debug!("objects are not passed over: {error}");
            all()
        })
    }

    fn ids(&self, column: &str) -> Option<&[[u8; 16]]> {
        match column {
            "tenant_id" => Some(&self.tenants),
            "store_id" => Some(&self.stores),
            _ => None,
        }
    }

    fn ends(&self, column: &Column, numbers: &[i64]) -> Option<ArrayRef> {
        if column.name == "sequence_number" {
            return Some(Arc::new(Int64Array::from(numbers.to_vec())));
        }
        let ids = self.ids(&column.name)?;
        let mut built = FixedSizeBinaryBuilder::with_capacity(ids.len(), 16);
        for id in ids {
            built.append_value(id).ok()?;
        }
        Some(Arc::new(built.finish()))
    }
}

impl PruningStatistics for Ranges {
    fn min_values(&self, column: &Column) -> Option<ArrayRef> {
        self.ends(column, &self.from)
    }

    fn max_values(&self, column: &Column) -> Option<ArrayRef> {
        self.ends(column, &self.to)
    }

    fn num_containers(&self) -> usize {
        self.rows.len()
    }

    fn null_counts(&self, column: &Column) -> Option<ArrayRef> {
        // None of these columns is ever NULL.
        self.min_values(column)?;
        Some(Arc::new(UInt64Array::from(vec![0; self.rows.len()])))
    }

    fn row_counts(&self) -> Option<ArrayRef> {
        Some(Arc::new(UInt64Array::from(self.rows.clone())))
    }

    #[allow(clippy::mutable_key_type)] // The trait asks for it.
    fn contained(&self, column: &Column, values: &HashSet<ScalarValue>) -> Option<BooleanArray> {
        let ids = self.ids(&column.name)?;
        let is = |id: &[u8; 16], value: &ScalarValue| match value {
            ScalarValue::FixedSizeBinary(_, Some(bytes)) | ScalarValue::Binary(Some(bytes)) => bytes == id,
            // Of other types it is not known.
            _ => true,
        };
        Some(
            ids.iter()
                .map(|id| Some(values.iter().any(|value| is(id, value))))
                .collect(),
        )
    }
}
