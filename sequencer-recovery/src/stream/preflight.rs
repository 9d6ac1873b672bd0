//! What a repair will meet in the database, told by `audit` and `plan`, and by `apply` before its first stream.

use event_log::{Hindrance, HindranceKind, View};

use crate::error::RecoveryError;
use crate::finding::{Code, Finding};

/// What a repair of this log will meet: its level, and what the database holds in store. Rights come together in one
/// finding.
///
/// # Errors
/// What the database says.
pub async fn look(view: &mut View) -> Result<Vec<Finding>, RecoveryError> {
    let mut findings = Vec::new();
    let refusal = view.place().level().and_then(|level| level.refusal());
    if let Some(refusal) = refusal {
        // What stands in the way of a repair at another level is seen when it is there.
        return Ok(vec![Finding::new(Code::HindranceLevel, refusal)]);
    }
    let mut rights = Vec::new();
    for hindrance in view.hindrances().await? {
        let code = match hindrance.kind {
            HindranceKind::Column => Code::HindranceColumn,
            HindranceKind::Trigger => Code::HindranceTrigger,
            HindranceKind::RowSecurity => Code::HindranceRowSecurity,
            HindranceKind::Right | HindranceKind::RightForSome => {
                rights.push(hindrance);
                continue;
            }
            _ => Code::HindranceTable,
        };
        let Hindrance { what, remedy, .. } = hindrance;
        findings.push(Finding::new(code, what).next(remedy));
    }
    if !rights.is_empty() {
        let what: Vec<String> = rights.iter().map(|right| right.what.clone()).collect();
        let grants: Vec<String> = rights.into_iter().map(|right| right.remedy).collect();
        findings.push(Finding::new(Code::HindranceRight, what.join("; ")).next(grants.join("; ")));
    }
    Ok(findings)
}

/// Refuses what cannot end well, before anything is begun. Triggers are let act if that is asked for, and rights that only
/// some repairs need are left to those.
///
/// # Errors
/// [`RecoveryError::Hindered`]; what the database says.
pub(crate) async fn check(view: &mut View, with_triggers: bool) -> Result<(), RecoveryError> {
    refuse(view.hindrances().await?, with_triggers)
}

/// The same for taking a repair back.
///
/// # Errors
/// [`RecoveryError::Hindered`]; what the database says.
pub(crate) async fn check_undo(view: &mut View, with_triggers: bool) -> Result<(), RecoveryError> {
    refuse(view.undo_hindrances().await?, with_triggers)
}

fn refuse(mut found: Vec<Hindrance>, with_triggers: bool) -> Result<(), RecoveryError> {
    found.retain(|hindrance| match hindrance.kind {
        HindranceKind::Trigger => !with_triggers,
        HindranceKind::RightForSome => false,
        _ => true,
    });
    if found.is_empty() {
        return Ok(());
    }
    let (what, remedies) = found.into_iter().map(|h| (h.what, h.remedy)).unzip();
    Err(RecoveryError::Hindered { what, remedies })
}

/// What one should know of a log of an older or newer level, for NOT CHECKED.
pub(crate) fn reservations(view: &View) -> Vec<String> {
    let Some(level) = view.place().level() else {
        return Vec::new();
    };
    let mut all = Vec::new();
    if level.is_newer() {
        all.push(format!(
            "what the sequencer's migrations after {} mean: the log is of {level}, which this release does not know",
            event_log::Level::NEWEST
        ));
    }
    if let Some(advice) = level.advice() {
        all.push(
            "whether numbers that are missing were given to the older log's events: below level 10 one counter gave out \
             the numbers of both"
                .into(),
        );
        all.push(format!("what migrating will change: {advice}"));
    }
    all
}
