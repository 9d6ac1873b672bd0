//! `event-archive verify --cluster`: the work spread over executors.

use std::time::Duration;

use anchor_verify::{Shard, VerifyReport};
use archive_engine::cluster::verify_on_cluster;
use archive_format::Task;
use clap::Args;
use cli_common::{Cancel, CliError};

use super::cli_error;

/// A cluster that does the work.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// Spread the work over the executors of this scheduler: df://HOST:PORT. A part that none of them brings back is NOT
    /// CHECKED
    #[arg(long, value_name = "URL", conflicts_with = "shard")]
    cluster: Option<String>,

    /// Into how many parts
    #[arg(long, value_name = "N", requires = "cluster", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    shards: u32,

    /// How long to wait for a cluster that makes no progress
    #[arg(long, value_name = "DURATION", requires = "cluster", default_value = "2m",
          value_parser = cli_common::duration)]
    patience: Duration,
}

impl ClusterArgs {
    /// Verifies on the cluster; `None` if none is named.
    pub fn verify(&self, task: &Task, cancel: &Cancel) -> Result<Option<VerifyReport>, CliError> {
        let Some(cluster) = &self.cluster else {
            return Ok(None);
        };
        let answers =
            verify_on_cluster(cluster, task, self.shards, self.patience, cancel).map_err(|error| {
                CliError::io(format!("--cluster {cluster}: {error}"))
                    .with_hint("are the scheduler and its executors running, and do they reach the archive?")
            })?;
        let mut parts = Vec::new();
        for (index, text) in answers.reports {
            let name = format!("part {index} of {}", self.shards);
            let report = VerifyReport::from_json(text.as_bytes())
                .map_err(|what| CliError::input(format!("--cluster {cluster}: {name}: {what}")))?;
            parts.push((name, report));
        }
        for (index, why) in answers.lost {
            let shard = Shard {
                index,
                of: self.shards.into(),
            };
            let why = format!("the batch: the cluster did not bring back part {index}: {why}");
            parts.push((
                format!("part {index}"),
                task.lost(shard, &why).map_err(cli_error)?,
            ));
        }
        Task::merge(parts).map(Some).map_err(cli_error)
    }
}
