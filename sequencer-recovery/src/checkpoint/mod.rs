//! Checkpoints of the streams of a log: signed heads of their trees, made while all is well, by which a later recovery can
//! prove what was lost, and a guard can tell that a log was rewound.
//!
//! | file | what it answers |
//! |---|---|
//! | [`state`] | what is remembered from run to run |
//! | [`out`] | where checkpoints go |
//! | [`published`] | what is there already |
//! | [`promises`] | which roots the log must go through before more is signed |
//! | `run` | reads what is new, signs it, writes it down, then puts it where it belongs |
//! | [`publish`] | a command of the user's own that takes new entries elsewhere |
//! | [`generation`] | which streams begin a new tree after a repair |
//! | [`witness`] | cosignatures of C2SP witnesses |
//! | [`report`] | what a run says |

pub mod generation;
pub mod out;
pub mod promises;
pub mod publish;
pub mod published;
pub mod report;
mod run;
pub mod state;
pub mod witness;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Instant;

use checkpoints::VerifierKey;
use checkpoints::note::KeyKind;
use cli_common::{Cancel, Progress};
use ed25519_dalek::SigningKey;
use event_log::{Log, StreamFilter};
use ves::StreamKey;

use crate::error::RecoveryError;
use crate::locked_file::LockedFile;
use crate::log_identity::{Kinship, LogIdentity};
use crate::sanction::Sanction;
use out::Out;
use report::CheckpointReport;
use run::Run;
use state::{CheckpointState, SCHEMA};
use witness::Witnesses;

/// What to sign, and how.
pub struct Options<'a> {
    /// The deployment's name.
    pub deployment: &'a str,
    /// Its key.
    pub key: &'a SigningKey,
    /// Where checkpoints go.
    pub out: &'a Path,
    /// Which streams.
    pub filter: StreamFilter,
    /// Whether leaves are kept with the checkpoints.
    pub leaves: bool,
    /// Whether every stream is read from its first event on.
    pub full: bool,
    /// Whether another timeline or database is taken for the one that was signed.
    pub adopt: bool,
    /// The recovery epoch that opens generations.
    pub sanction: Option<&'a Sanction>,
    /// What takes new entries elsewhere.
    pub publish: Option<&'a str>,
    /// Who is asked for cosignatures.
    pub witnesses: Option<&'a Witnesses>,
}

impl Options<'_> {
    /// The deployment's key, as readers want it.
    ///
    /// # Errors
    /// A name that no key can have.
    pub fn vkey(&self) -> Result<VerifierKey, RecoveryError> {
        let key = self.key.verifying_key();
        VerifierKey::new(self.deployment, KeyKind::Log, key).map_err(|e| RecoveryError::Notes {
            path: self.deployment.into(),
            what: e.to_string(),
        })
    }
}

/// Signs what is new in a log. What was done is told even where the run could not go on.
///
/// # Errors
/// Nothing was signed: the log cannot be read, a file cannot be used or is in use, the log is not the one that was signed.
pub async fn checkpoint(
    log: &Log,
    db: String,
    notes: &LockedFile,
    options: &Options<'_>,
    progress: &dyn Progress,
    cancel: &Cancel,
) -> Result<(CheckpointReport, Option<RecoveryError>), RecoveryError> {
    let begun = Instant::now();
    let identity = LogIdentity::of(log)?;
    let state = notes.read::<CheckpointState>(SCHEMA)?;
    let is_new = state.is_none();
    let mut state = state.unwrap_or_else(|| CheckpointState::new(identity.clone(), options.deployment));
    let moved = bind(&mut state, identity, options, notes)?;
    let opened = Out::open(options.out)?;
    let mut run = Run::begin(
        options,
        notes,
        opened,
        state,
        moved || is_new || options.full,
        cancel,
    )?;
    // Behind the lock: what another run signed is in this view.
    let mut view = log.view().await?;
    run.report.db = db;
    run.report.out = options.out.display().to_string();
    run.report.place = view.place().clone();
    run.time(view.database_time().await?);
    let heads = view.heads(&options.filter).await?;
    let unreadable = heads.unreadable.iter().map(ToString::to_string);
    run.report.not_checked.extend(unreadable);
    let last: BTreeMap<StreamKey, Option<u64>> =
        heads.rows.iter().map(|head| (head.stream, head.last)).collect();
    let mut streams: BTreeSet<StreamKey> = run.streams().collect();
    streams.extend(last.keys());
    streams.retain(|stream| options.filter.admits(stream));
    progress.start("signing what is new", Some(streams.len() as u64));
    let worked = async {
        run.publish_pending()?;
        for stream in &streams {
            cancel.check()?;
            let last = last.get(stream).copied().flatten();
            run.stream(&mut view, stream, last).await?;
            progress.advance(1);
        }
        run.flush(&mut view).await?;
        run.end()
    };
    let error = worked.await.err();
    progress.finish();
    let mut report = run.into_report();
    report.cost.seconds = begun.elapsed().as_secs_f64();
    report.not_checked.extend(report.place.reservation());
    Ok((report, error))
}

/// Makes sure that the log is the one that was signed; says whether it was taken for it by the operator's word.
fn bind(
    state: &mut CheckpointState,
    identity: LogIdentity,
    options: &Options<'_>,
    notes: &LockedFile,
) -> Result<bool, RecoveryError> {
    if state.deployment != options.deployment {
        return Err(RecoveryError::Notes {
            path: notes.path().to_owned(),
            what: format!(
                "is the state of deployment {}, and {} is to be signed",
                state.deployment, options.deployment
            ),
        });
    }
    let kinship = state.log.kinship(&identity);
    if kinship == Kinship::Same {
        return Ok(false);
    }
    let epoch = options.sanction.map(Sanction::hash);
    if options.adopt || (epoch.is_some() && epoch != state.epoch) {
        state.epoch = epoch.or(state.epoch);
        state.log = identity;
        return Ok(true);
    }
    let shown = notes.path().display();
    let before = &state.log;
    Err(RecoveryError::Elsewhere {
        what: match (kinship, before.timeline, identity.timeline) {
            (Kinship::OtherTimeline, Some(was), Some(is)) => format!(
                "{shown} was written on timeline {was} of this database, and this is timeline {is}: a standby that was \
                 promoted, a recovery, or a copy of either"
            ),
            _ => format!("{shown} is of another log ({before}), and this is {identity}"),
        },
    })
}
