//! Signs that a sequencer lives: sessions of the database that look like one, and streams that moved. While it may live, no
//! counter is lowered.

use std::collections::BTreeSet;

use event_log::{Log, Session, StreamFilter};
use ves::{StreamKey, Timestamp};

use crate::error::RecoveryError;

/// What a sequencer's session says last, unless it is between two transactions.
const STATEMENTS: [&str; 7] = [
    "ves_sequence_counters",
    "ves_command_dedupe",
    "ves_sequencer_receipts",
    "pg_advisory_xact_lock",
    "pg_try_advisory_lock",
    "insert into ves_",
    "update ves_",
];

/// Programs that people use by hand, by the beginnings of their names.
const BY_HAND: [&str; 6] = ["psql", "pg_dump", "pg_basebackup", "pgadmin", "pgcli", "dbeaver"];

/// What speaks for a sequencer that runs.
#[derive(Debug, Default)]
pub(crate) struct Signs {
    /// Each sign, in words.
    pub(crate) signs: Vec<String>,
    /// What could not be looked at, and why.
    pub(crate) not_checked: Vec<String>,
}

impl Signs {
    /// Looks at the database's other sessions.
    pub(crate) async fn sessions(log: &Log) -> Result<Self, RecoveryError> {
        let sessions = log.view().await?.other_sessions().await?;
        let mut found = Self::default();
        let (mut hidden, mut others) = (Vec::new(), Vec::new());
        for session in sessions {
            match (sign(&session), &session.statement) {
                (Some(why), _) => found.signs.push(format!("{}: {why}", describe(&session))),
                (None, None) => hidden.push(describe(&session)),
                (None, Some(_)) => others.push(describe(&session)),
            }
        }
        if !hidden.is_empty() {
            found.not_checked.push(format!(
                "whether {} other session(s) of this database are a sequencer's: this role may not see what they do \
                 (pg_read_all_stats lets it): {}",
                hidden.len(),
                shortened(&hidden)
            ));
        }
        if !others.is_empty() {
            found.not_checked.push(format!(
                "whether {} other session(s) of this database, which show no sign of it, are a sequencer's: {}",
                others.len(),
                shortened(&others)
            ));
        }
        Ok(found)
    }

    /// Looks for streams beside those of a bundle whose counters were changed since, and not by this toolkit.
    pub(crate) async fn other_streams(
        &mut self,
        log: &Log,
        since: Timestamp,
        of_bundle: &BTreeSet<StreamKey>,
    ) -> Result<(), RecoveryError> {
        let mut view = log.view().await?;
        for changed in view.counters_changed_since(since).await?.rows {
            if of_bundle.contains(&changed.stream) {
                continue;
            }
            let of = StreamFilter {
                tenant: Some(changed.stream.tenant_id),
                store: Some(changed.stream.store_id),
            };
            let newest = view.journal_newest(&of, 1).await?.rows;
            if newest
                .first()
                .is_some_and(|entry| entry.written_at >= changed.updated_at)
            {
                continue;
            }
            self.signs.push(format!(
                "stream {}, which is not in the bundle, was written to at {}: its counter is {}",
                changed.stream, changed.updated_at, changed.counter
            ));
        }
        Ok(())
    }
}

fn shortened(sessions: &[String]) -> String {
    let shown = sessions.iter().take(3).cloned().collect::<Vec<_>>().join("; ");
    match sessions.len() {
        0..=3 => shown,
        more => format!("{shown}; and {} more", more - 3),
    }
}

fn describe(session: &Session) -> String {
    let mut text = format!("session {} of role {}", session.pid, session.role);
    for (what, value) in [
        ("application", &session.application),
        ("address", &session.address),
        ("state", &session.state),
    ] {
        if !value.is_empty() {
            text.push_str(&format!(", {what} {value}"));
        }
    }
    text
}

/// Why a session looks like a sequencer's; `None` if it does not.
fn sign(session: &Session) -> Option<String> {
    let application = session.application.to_lowercase();
    if application.starts_with("stateset-sequencer") {
        return Some("the sequencer calls itself so".into());
    }
    if session.advisory || session.writes {
        return Some("it holds or waits for locks that a sequencer takes".into());
    }
    if BY_HAND.iter().any(|name| application.starts_with(name)) {
        return None;
    }
    let statement = session.statement.as_ref()?.to_lowercase();
    if let Some(word) = STATEMENTS.iter().find(|word| statement.contains(*word)) {
        return Some(format!("its last statement is a sequencer's ({word})"));
    }
    let ends = ["commit", "rollback", "begin"];
    let word = statement.split(|c: char| !c.is_alphabetic()).next().unwrap_or("");
    ends.contains(&word)
        .then(|| "it is a program's, between two transactions".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(application: &str, statement: Option<&str>) -> Session {
        Session {
            application: application.into(),
            statement: statement.map(str::to_owned),
            ..Session::default()
        }
    }

    #[test]
    fn a_sequencer_is_known_by_its_name_its_locks_or_its_statements() {
        for living in [
            session("stateset-sequencer-read", Some("SELECT 1")),
            session("stateset-sequencer", None),
            session(
                "pgbouncer",
                Some("SELECT current_sequence FROM ves_sequence_counters"),
            ),
            session("", Some("COMMIT")),
            session("", Some("SELECT pg_try_advisory_lock($1)")),
            Session {
                advisory: true,
                ..session("", None)
            },
            Session {
                writes: true,
                ..session("psql", Some("select 1"))
            },
        ] {
            assert!(sign(&living).is_some(), "{living:?}");
        }
        for other in [
            session("psql", Some("SELECT * FROM ves_sequence_counters")),
            session("psql", Some("COMMIT")),
            session("metrics", Some("SELECT count(*) FROM ves_events")),
            session("", None),
            session("", Some("")),
        ] {
            assert_eq!(sign(&other), None, "{other:?}");
        }
    }
}
