//! The table `commitments`: of two rows of one batch the one in the later object counts.

use std::sync::Arc;

use datafusion::catalog::TableProvider;
use datafusion::datasource::provider_as_source;
use datafusion::error::Result;
use datafusion::functions_window::expr_fn::row_number;
use datafusion::logical_expr::LogicalPlanBuilder;
use datafusion::logical_expr::{ExprFunctionExt, lit};
use datafusion::prelude::{DataFrame, SessionContext, col};

use super::objects::ObjectsTable;

/// The column that says which object a row is from.
const NUMBER: &str = "object_number";
/// The column that counts the rows of a batch, the latest first.
const AGE: &str = "age";

/// The latest row of each batch.
pub(super) async fn latest(context: &SessionContext, rows: ObjectsTable) -> Result<Arc<dyn TableProvider>> {
    // The rows of one object are of different batches.
    if rows.object_count() <= 1 {
        return Ok(Arc::new(rows));
    }
    let rows = rows.with_number(NUMBER);
    let schema = rows.schema();
    let columns = schema
        .fields()
        .iter()
        .map(|field| field.name())
        .filter(|name| *name != NUMBER);
    let columns: Vec<_> = columns.map(|name| col(name.as_str())).collect();
    let scan =
        LogicalPlanBuilder::scan("commitment_rows", provider_as_source(Arc::new(rows)), None)?.build()?;
    let age = row_number()
        .partition_by(vec![col("batch_id")])
        .order_by(vec![col(NUMBER).sort(false, false)])
        .build()?;
    let latest = DataFrame::new(context.state(), scan)
        .window(vec![age.alias(AGE)])?
        .filter(col(AGE).eq(lit(1_u64)))?
        .select(columns)?;
    Ok(latest.into_view())
}
