//! A table over Parquet objects that are named one by one.

use std::sync::Arc;

use archive_format::Store;
use archive_format::manifest::ObjectRef;
use async_trait::async_trait;
use datafusion::arrow::datatypes::{DataType, Field, SchemaRef};
use datafusion::catalog::{Session, TableProvider};
use datafusion::common::stats::Precision;
use datafusion::common::{DFSchema, ScalarValue, Statistics};
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::{FileGroup, FileScanConfigBuilder, ParquetSource};
use datafusion::datasource::source::DataSourceExec;
use datafusion::datasource::table_schema::TableSchema;
use datafusion::error::Result;
use datafusion::execution::object_store::ObjectStoreUrl;
use datafusion::logical_expr::utils::conjunction;
use datafusion::logical_expr::{Expr, TableProviderFilterPushDown, TableType};
use datafusion::physical_plan::ExecutionPlan;
use datafusion::physical_plan::empty::EmptyExec;
use datafusion::prelude::SessionContext;

use super::ranges::Ranges;
use crate::stores;

/// A Parquet object.
#[derive(Debug, Clone)]
pub(super) struct Object {
    /// Where it lies in its store.
    path: String,
    bytes: u64,
    rows: u64,
}

impl Object {
    pub(super) fn new(store: &Store, path: &str, bytes: u64, rows: u64) -> Self {
        Self {
            path: store.path(path).to_string(),
            bytes,
            rows,
        }
    }

    pub(super) fn of(store: &Store, object: &ObjectRef) -> Self {
        Self::new(store, &object.path, object.bytes, object.rows)
    }
}

/// Makes an archive's store known to a session, and gives the name by which plans name it.
pub(super) fn register_store(context: &SessionContext, store: &Store) -> Result<ObjectStoreUrl> {
    context.register_object_store(store.url(), store.objects());
    ObjectStoreUrl::parse(stores::base(store.url()))
}

/// A table over objects of one schema.
#[derive(Debug)]
pub(super) struct ObjectsTable {
    url: ObjectStoreUrl,
    schema: TableSchema,
    objects: Vec<Object>,
    /// What each object may hold, where that is known.
    ranges: Option<Ranges>,
    numbered: bool,
}

impl ObjectsTable {
    pub(super) fn new(url: ObjectStoreUrl, schema: SchemaRef, objects: Vec<Object>) -> Self {
        Self {
            url,
            schema: TableSchema::from(schema),
            objects,
            ranges: None,
            numbered: false,
        }
    }

    /// Passes over the objects that cannot hold what is asked for.
    pub(super) fn with_ranges(self, ranges: Ranges) -> Self {
        Self {
            ranges: Some(ranges),
            ..self
        }
    }

    /// Adds a column of this name: which object a row is from, counted from 0.
    pub(super) fn with_number(self, name: &str) -> Self {
        let number = Arc::new(Field::new(name, DataType::Int64, false));
        let schema = TableSchema::builder(Arc::clone(self.schema.file_schema()));
        Self {
            schema: schema.with_table_partition_cols(vec![number]).build(),
            numbered: true,
            ..self
        }
    }

    pub(super) fn object_count(&self) -> usize {
        self.objects.len()
    }

    fn files(&self, wanted: &[bool]) -> Vec<PartitionedFile> {
        let objects = self
            .objects
            .iter()
            .enumerate()
            .zip(wanted)
            .filter(|(_, wanted)| **wanted);
        let file = |number: usize, object: &Object| {
            let file = PartitionedFile::new(object.path.clone(), object.bytes);
            match self.numbered {
                true => file.with_partition_values(vec![ScalarValue::Int64(i64::try_from(number).ok())]),
                false => file,
            }
        };
        objects
            .map(|((number, object), _)| file(number, object))
            .collect()
    }

    /// What the manifest says of the rows, as an estimate: what an object really holds is known when it was read.
    fn estimated(&self, wanted: &[bool]) -> Statistics {
        let chosen = || self.objects.iter().zip(wanted).filter(|(_, wanted)| **wanted);
        let sum = |of: fn(&Object) -> u64| {
            let sum = chosen()
                .map(|(object, _)| of(object))
                .fold(0, u64::saturating_add);
            Precision::Inexact(usize::try_from(sum).unwrap_or(usize::MAX))
        };
        let mut statistics = Statistics::new_unknown(self.schema.table_schema());
        statistics.num_rows = sum(|object| object.rows);
        statistics.total_byte_size = sum(|object| object.bytes);
        statistics
    }
}

#[async_trait]
impl TableProvider for ObjectsTable {
    fn schema(&self) -> SchemaRef {
        Arc::clone(self.schema.table_schema())
    }

    fn table_type(&self) -> TableType {
        TableType::Base
    }

    fn supports_filters_pushdown(&self, filters: &[&Expr]) -> Result<Vec<TableProviderFilterPushDown>> {
        // Objects, row groups and pages are passed over by a filter; rows that do not match may be left.
        Ok(vec![TableProviderFilterPushDown::Inexact; filters.len()])
    }

    async fn scan(
        &self,
        state: &dyn Session,
        projection: Option<&Vec<usize>>,
        filters: &[Expr],
        limit: Option<usize>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        let schema = self.schema.table_schema();
        let predicate = match conjunction(filters.to_vec()) {
            Some(filter) => {
                Some(state.create_physical_expr(filter, &DFSchema::try_from(Arc::clone(schema))?)?)
            }
            None => None,
        };
        let wanted = match (&self.ranges, &predicate) {
            (Some(ranges), Some(predicate)) => ranges.possible(Arc::clone(predicate), schema),
            _ => vec![true; self.objects.len()],
        };
        let files = self.files(&wanted);
        if files.is_empty() {
            let schema = match projection {
                Some(columns) => Arc::new(schema.project(columns)?),
                None => Arc::clone(schema),
            };
            return Ok(Arc::new(EmptyExec::new(schema)));
        }
        let mut source = ParquetSource::new(self.schema.clone())
            .with_table_parquet_options(state.default_table_options().parquet);
        if let Some(predicate) = predicate {
            source = source.with_predicate(predicate);
        }
        let groups = FileGroup::new(files).split_files(state.config().target_partitions());
        let config = FileScanConfigBuilder::new(self.url.clone(), Arc::new(source))
            .with_file_groups(groups)
            .with_statistics(self.estimated(&wanted))
            .with_projection_indices(projection.cloned())?
            // A filter may take rows away after the scan.
            .with_limit(limit.filter(|_| filters.is_empty()))
            .build();
        Ok(DataSourceExec::from_data_source(config))
    }
}
