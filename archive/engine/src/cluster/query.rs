//! A query over the tables of an archive, on a cluster. It is planned here, by what the manifest says; the executors read the
//! objects, each with its own credentials.

use std::time::{Duration, Instant};

use archive_format::{ArchiveError, Manifest, Store};
use cli_common::Cancel;
use datafusion::execution::{SendableRecordBatchStream, SessionStateBuilder};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::prelude::SessionContext;
use futures_util::{StreamExt, TryStreamExt, stream};

use super::client::{Client, JobState, fetch};
use super::setup;
use crate::error::EngineError;
use crate::query::{Rows, planned, runtime};
use crate::session::{self, Options};
use crate::tables;

/// How often the scheduler is asked how far the job is.
const TICK: Duration = Duration::from_millis(200);

/// Asks an archive by a cluster, with the same statements as [`Engine::query`](crate::Engine::query).
///
/// # Errors
/// As there; and if the cluster cannot be reached, fails, or has not done the work within the patience.
pub fn query_on_cluster(
    scheduler: &str,
    address: &str,
    sql: &str,
    options: &Options,
    patience: Duration,
    cancel: &Cancel,
) -> Result<Rows, EngineError> {
    let store = Store::open(address)?;
    let manifest = Manifest::newest(&store)?.ok_or_else(|| ArchiveError::NoArchive(store.name()))?;
    let runtime = runtime(2)?;
    let rows = runtime.block_on(async {
        let config = options.config(setup::config());
        let state = SessionStateBuilder::new_from_existing(
            setup::state(config.clone()).map_err(|error| EngineError::refused(&error))?,
        )
        .with_runtime_env(options.runtime()?)
        .build();
        let mut context = SessionContext::new_with_state(state);
        session::equip(&mut context).map_err(|error| EngineError::refused(&error))?;
        tables::register(&context, &store, &manifest.manifest)
            .await
            .map_err(|error| EngineError::query(&error))?;
        let plan = planned(&context, sql).await?.create_physical_plan().await;
        let plan = plan.map_err(|error| EngineError::refused(&error))?;
        let schema = plan.schema();
        let mut client = Client::connect(scheduler, &config).await?;
        let job = client.submit(plan).await?;
        let done = wait(&mut client, &job, patience, cancel).await;
        if done.is_err() {
            client.cancel(&job).await;
        }
        client.end().await;
        let place = client.place().clone();
        let rows = stream::iter(done?).then(move |location| {
            let place = place.clone();
            async move {
                let rows = fetch(&place, location)
                    .await
                    .map_err(|error| datafusion::error::DataFusionError::External(Box::new(error)));
                rows.map(|rows| stream::iter(rows.into_iter().map(Ok)))
            }
        });
        let rows: SendableRecordBatchStream =
            Box::pin(RecordBatchStreamAdapter::new(schema, rows.try_flatten()));
        Ok::<_, EngineError>(rows)
    })?;
    Ok(Rows::new(rows, runtime.into()))
}

async fn wait(
    client: &mut Client,
    job: &str,
    patience: Duration,
    cancel: &Cancel,
) -> Result<Vec<ballista_core::serde::protobuf::PartitionLocation>, EngineError> {
    let begun = Instant::now();
    loop {
        if cancel.is_cancelled() {
            return Err(EngineError::Cancelled);
        }
        match client.state(job).await {
            Ok(JobState::Done(locations)) => return Ok(locations),
            Ok(JobState::Failed(why)) => return Err(EngineError::Query(why)),
            Ok(JobState::Going) => {}
            Err(error) if begun.elapsed() >= patience => return Err(error),
            Err(_) => {}
        }
        if begun.elapsed() >= patience {
            let waited = cli_common::time_in_words(patience);
            return Err(EngineError::Cluster(format!(
                "the query is not done within {waited}"
            )));
        }
        tokio::time::sleep(TICK).await;
    }
}
