//! Checkpoints that a watch signs.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use cli_common::CliError;
use cli_common::keys::read_signing_key;
use event_log::{Log, OpenOptions, StreamFilter};
use sequencer_recovery::checklist::check_url;
use sequencer_recovery::checkpoint;
use sequencer_recovery::checkpoint::witness::Witnesses;
use sequencer_recovery::locked_file::LockedFile;
use sequencer_recovery::watch::alarms::AlarmSource;
use sequencer_recovery::watch::jobs::{Job, JobOutcome};

use super::super::block_on;
use super::super::checkpoint::deployment;

/// As `checkpoint` signs them, with its options.
#[derive(Debug, Args)]
pub struct SignArgs {
    /// Sign checkpoints, too, as `checkpoint` does: its --state
    #[arg(
        id = "checkpoint_state",
        long = "checkpoint-state",
        value_name = "FILE",
        requires_all = ["checkpoint_key", "checkpoint_name", "checkpoint_out"]
    )]
    pub(super) state: Option<PathBuf>,

    /// Its --key
    #[arg(
        id = "checkpoint_key",
        long = "checkpoint-key",
        value_name = "FILE",
        requires = "checkpoint_state"
    )]
    key: Option<PathBuf>,

    /// Its --name
    #[arg(
        id = "checkpoint_name",
        long = "checkpoint-name",
        value_name = "DEPLOYMENT",
        requires = "checkpoint_state",
        value_parser = deployment
    )]
    name: Option<String>,

    /// Its --out
    #[arg(
        id = "checkpoint_out",
        long = "checkpoint-out",
        value_name = "PATH",
        requires = "checkpoint_state"
    )]
    out: Option<PathBuf>,

    /// Its --publish-command
    #[arg(
        id = "checkpoint_publish_command",
        long = "checkpoint-publish-command",
        value_name = "COMMAND",
        requires = "checkpoint_state"
    )]
    publish_command: Option<String>,

    /// Its --witness-url
    #[arg(
        id = "checkpoint_witness_url",
        long = "checkpoint-witness-url",
        value_name = "URL",
        requires_all = ["checkpoint_state", "checkpoint_witness_key"],
        value_parser = check_url
    )]
    witness_urls: Vec<String>,

    /// Its --witness-key
    #[arg(
        id = "checkpoint_witness_key",
        long = "checkpoint-witness-key",
        value_name = "VKEY|FILE",
        requires = "checkpoint_witness_url"
    )]
    witness_keys: Vec<String>,

    /// Its --witnesses
    #[arg(
        id = "checkpoint_witnesses",
        long = "checkpoint-witnesses",
        value_name = "K",
        requires = "checkpoint_witness_url"
    )]
    witnesses: Option<usize>,

    /// How often to sign
    #[arg(
        id = "checkpoint_every",
        long = "checkpoint-every",
        value_name = "TIME",
        default_value = "1m",
        value_parser = cli_common::duration
    )]
    every: Duration,
}

impl SignArgs {
    fn witnesses(&self) -> Result<Option<Witnesses>, CliError> {
        if self.witness_urls.is_empty() {
            return Ok(None);
        }
        Ok(Some(Witnesses {
            urls: self.witness_urls.clone(),
            keys: checkpoints::args::keys("--checkpoint-witness-key", &self.witness_keys)?,
            least: self.witnesses.unwrap_or(self.witness_urls.len()),
        }))
    }

    /// The work, if it was asked for.
    pub(super) fn job(
        &self,
        db: &cli_common::DbTarget,
        filter: StreamFilter,
    ) -> Result<Option<Job>, CliError> {
        let (Some(state), Some(key), Some(name), Some(out)) = (&self.state, &self.key, &self.name, &self.out)
        else {
            return Ok(None);
        };
        let key = read_signing_key(key)?;
        let witnesses = self.witnesses()?;
        let publish = self.publish_command.clone();
        let (state, name, out, db) = (state.clone(), name.clone(), out.clone(), db.clone());
        Ok(Some(Job {
            source: AlarmSource::Checkpoints,
            every: self.every,
            work: Box::new(move |cancel| {
                let options = checkpoint::Options {
                    deployment: &name,
                    key: &key,
                    out: &out,
                    filter,
                    leaves: true,
                    full: false,
                    adopt: false,
                    sanction: None,
                    publish: publish.as_deref(),
                    witnesses: witnesses.as_ref(),
                };
                let signed = block_on(async {
                    let work = async {
                        // For the time of one turn, so that the command can be run beside it.
                        let notes = LockedFile::open(&state)?;
                        let log = Log::open_with(&db, &OpenOptions::stopped_by(cancel)).await?;
                        let progress = &cli_common::NoProgress;
                        checkpoint::checkpoint(&log, db.to_string(), &notes, &options, progress, cancel).await
                    };
                    Ok(work.await?)
                });
                Some(match signed {
                    Ok((report, error)) => JobOutcome {
                        errors: error.iter().map(ToString::to_string).collect(),
                        ..JobOutcome::found(AlarmSource::Checkpoints, report.findings)
                    },
                    Err(error) => JobOutcome::failed(AlarmSource::Checkpoints, &error),
                })
            }),
        }))
    }
}
