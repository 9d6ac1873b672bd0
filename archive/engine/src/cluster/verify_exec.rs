//! The step of a plan that verifies: a partition for each shard, and a row for each partition.

use std::fmt;
use std::sync::{Arc, LazyLock};

use anchor_verify::Shard;
use archive_format::task::Task;
use cli_common::{Cancel, NoProgress};
use datafusion::arrow::array::{ArrayRef, Int64Array, RecordBatch, StringArray};
use datafusion::arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use datafusion::common::internal_err;
use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::error::Result;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_expr::EquivalenceProperties;
use datafusion::physical_plan::execution_plan::{Boundedness, EmissionType};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::{
    DisplayAs, DisplayFormatType, ExecutionPlan, Partitioning, PhysicalExpr, PlanProperties,
    ReplaceChildrenOptions,
};
use futures_util::stream;
use tokio::sync::oneshot;

/// The columns: which shard, and its report or why there is none.
pub(crate) static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
    Arc::new(Schema::new(vec![
        Field::new("shard", DataType::Int64, false),
        Field::new("report", DataType::Utf8, true),
        Field::new("error", DataType::Utf8, true),
    ]))
});

/// Verifies shards, each where its partition is run.
#[derive(Debug, Clone)]
pub(crate) struct VerifyExec {
    task: Arc<Task>,
    shards: Vec<Shard>,
    properties: Arc<PlanProperties>,
}

impl VerifyExec {
    pub(crate) fn new(task: Arc<Task>, shards: Vec<Shard>) -> Self {
        let properties = PlanProperties::new(
            EquivalenceProperties::new(Arc::clone(&SCHEMA)),
            Partitioning::UnknownPartitioning(shards.len()),
            EmissionType::Final,
            Boundedness::Bounded,
        );
        Self {
            task,
            shards,
            properties: Arc::new(properties),
        }
    }

    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    pub(crate) fn shards(&self) -> &[Shard] {
        &self.shards
    }
}

// The task holds anchors and keys: plans are written to logs.
impl DisplayAs for VerifyExec {
    fn fmt_as(&self, _: DisplayFormatType, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "VerifyExec: manifest {}, shards ", self.task.manifest)?;
        let shards = self
            .shards
            .iter()
            .map(|shard| format!("{}/{}", shard.index, shard.of));
        f.write_str(&shards.collect::<Vec<_>>().join(", "))
    }
}

impl ExecutionPlan for VerifyExec {
    fn name(&self) -> &str {
        "VerifyExec"
    }

    fn properties(&self) -> &Arc<PlanProperties> {
        &self.properties
    }

    fn children(&self) -> Vec<&Arc<dyn ExecutionPlan>> {
        Vec::new()
    }

    fn apply_expressions(
        &self,
        _: &mut dyn FnMut(&Arc<dyn PhysicalExpr>) -> Result<TreeNodeRecursion>,
    ) -> Result<TreeNodeRecursion> {
        Ok(TreeNodeRecursion::Continue)
    }

    fn with_new_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.is_empty() {
            true => Ok(self),
            false => internal_err!("VerifyExec has no children"),
        }
    }

    fn replace_children(
        self: Arc<Self>,
        children: Vec<Arc<dyn ExecutionPlan>>,
        _: ReplaceChildrenOptions,
    ) -> Result<Arc<dyn ExecutionPlan>> {
        match children.is_empty() {
            true => Ok(self),
            false => internal_err!("VerifyExec has no children"),
        }
    }

    fn execute(&self, partition: usize, _: Arc<TaskContext>) -> Result<SendableRecordBatchStream> {
        let Some(shard) = self.shards.get(partition).copied() else {
            return internal_err!("VerifyExec has no partition {partition}");
        };
        let task = Arc::clone(&self.task);
        let rows = stream::once(async move { row(shard, verified(task, shard).await) });
        Ok(Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&SCHEMA), rows)))
    }
}

/// Stops the work when nobody waits for it any more.
struct Stop(Cancel);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Verifies a shard on a thread of its own: it takes minutes, and waits for the object store.
async fn verified(task: Arc<Task>, shard: Shard) -> Result<String, String> {
    let stop = Stop(Cancel::new());
    let cancel = stop.0.clone();
    let (send, receive) = oneshot::channel();
    let work = move || {
        let report = task
            .verify(Some(shard), &NoProgress, &cancel)
            .map_err(|error| error.to_string());
        let report =
            report.and_then(|report| serde_json::to_string(&report).map_err(|error| error.to_string()));
        // Nobody may be left to hear it.
        let _ = send.send(report);
    };
    let thread = std::thread::Builder::new()
        .name(format!("shard {}", shard.index))
        .spawn(work);
    if let Err(error) = thread {
        return Err(format!("no thread: {error}"));
    }
    let report = receive.await;
    drop(stop);
    report.unwrap_or_else(|_| Err("the verification broke off".to_owned()))
}

fn row(shard: Shard, report: Result<String, String>) -> Result<RecordBatch> {
    let (report, error) = match report {
        Ok(report) => (Some(report), None),
        Err(error) => (None, Some(error)),
    };
    let columns: [ArrayRef; 3] = [
        Arc::new(Int64Array::from(vec![
            i64::try_from(shard.index).unwrap_or(i64::MAX),
        ])),
        Arc::new(StringArray::from(vec![report])),
        Arc::new(StringArray::from(vec![error])),
    ];
    Ok(RecordBatch::try_new(Arc::clone(&SCHEMA), columns.into())?)
}
