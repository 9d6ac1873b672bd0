//! What an archive of events has: copied into a snapshot by the program that knows archives, and heard as any other log.

use std::path::Path;

use cli_common::archive::{ArchiveAddress, ArchiveError, ArchiveReader};
use event_log::View;

use crate::error::RecoveryError;
use crate::finding::{Code, Finding};

use super::logs::hear_copy;
use super::{Asked, Collected, Heard, HeardKind};

/// Archives of events, and how they are read.
#[derive(Debug, Clone, Default)]
pub struct Archives {
    /// Where they are.
    pub addresses: Vec<ArchiveAddress>,
    /// What copies them.
    pub reader: ArchiveReader,
}

/// Hears an archive.
pub(super) async fn read_archive(
    view: &mut View,
    asked: Asked<'_>,
    address: &ArchiveAddress,
    collected: &mut Collected,
) -> Result<(), RecoveryError> {
    let name = address.shown();
    let mut heard = Heard::new(Path::new(name), HeardKind::Archive);
    // One stream is copied alone; of several the whole archive is, and the others are passed over.
    let one = asked.filter.tenant.zip(asked.filter.store);
    let streams: Vec<String> = one
        .map(|(tenant, store)| format!("{tenant}/{store}"))
        .into_iter()
        .collect();
    let copied = {
        let (reader, address) = (asked.inputs.archives.reader.clone(), address.clone());
        let cancel = asked.cancel.clone();
        tokio::task::spawn_blocking(move || reader.copy(&address, &streams, &cancel)).await
    };
    let copied = match copied {
        Ok(copied) => copied,
        Err(panic) => std::panic::resume_unwind(panic.into_panic()),
    };
    let copy = match copied {
        Ok(copy) => copy,
        Err(ArchiveError::Cancelled(cancelled)) => return Err(cancelled.into()),
        Err(error) => {
            collected.unreadable(heard, format!("{name}: {error}; {}", error.remedy()));
            return Ok(());
        }
    };
    heard.made = Some(format!("event-archive, {}", copy.manifest));
    for what in &copy.not_checked {
        collected.not_checked.push(format!("{name}: {what}"));
    }
    if let Some(damage) = &copy.damage {
        let message = format!("{name}: {damage}; the rest is used");
        collected
            .findings
            .push(Finding::new(Code::WitnessUnreadable, message));
        heard.error = Some(damage.clone());
    }
    hear_copy(view, asked, copy.snapshot(), heard, collected).await
}
