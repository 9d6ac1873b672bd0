//! Waiting for PostgreSQL: telling for what, and interrupting it.

use std::future::{Future, pending};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use cli_common::{Cancel, Wait};
use futures_util::future::LocalBoxFuture;
use futures_util::poll;

use crate::error::LogError;
use crate::server::Server;
use crate::sql::postgres;
use crate::value::{Columns, Row, Value};

/// How often a pending answer is looked after.
const TICK: Duration = Duration::from_millis(50);

/// How long a second connection may take to say what the first one waits for.
const ASKING: Duration = Duration::from_secs(5);

/// How long a statement may go on after the server was asked to cancel it.
const CANCELLING: Duration = Duration::from_secs(5);

/// Waits of a server that only works are told from this time on; those for somebody else earlier.
const LONG_WORK: Duration = Duration::from_secs(15);

/// How many that hold a lock are named.
const BLOCKERS: usize = 5;

/// Looks after what is awaited on one connection.
#[derive(Debug, Clone)]
pub(crate) struct Watcher {
    pub(crate) server: Arc<Server>,
    pub(crate) cancel: Cancel,
    /// The process of the server that does the work, once that is known.
    pub(crate) backend: Option<i64>,
    unconfirmed: Arc<AtomicBool>,
}

/// What a connection waits for, as a second one sees it.
enum Waiting {
    /// Who holds what is waited for.
    Lock(Vec<String>),
    /// A commit that is done here waits to be confirmed by standbys.
    SyncRep(String),
    /// The server works on it.
    Working(String),
    /// The session is not to be seen.
    Unknown,
}

impl Watcher {
    pub(crate) fn new(server: Arc<Server>, cancel: Cancel) -> Self {
        Self {
            server,
            cancel,
            backend: None,
            unconfirmed: Arc::default(),
        }
    }

    /// Awaits an answer of the server. Says after two seconds, and again, what it waits for; when the user stops the
    /// work, has the server cancel the statement.
    pub(crate) async fn watch<T>(
        &self,
        doing: &'static str,
        sql: &str,
        answer: impl Future<Output = Result<T, sqlx::Error>>,
    ) -> Result<T, LogError> {
        let mut answer = pin!(answer);
        if !self.cancel.is_cancelled()
            && let Poll::Ready(answer) = poll!(answer.as_mut())
        {
            return answer.map_err(|e| self.server.blame(doing, sql, e));
        }
        let mut wait = Wait::begin();
        let mut asking: Option<LocalBoxFuture<'_, Result<Waiting, LogError>>> = None;
        loop {
            if self.cancel.is_cancelled() {
                return self.interrupt(doing, sql, answer).await;
            }
            if asking.is_none() && wait.is_due() {
                asking = Some(Box::pin(self.ask()));
            }
            let asked = async {
                match &mut asking {
                    Some(asking) => asking.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                biased;
                answer = &mut answer => return answer.map_err(|e| self.server.blame(doing, sql, e)),
                waiting = asked => {
                    asking = None;
                    self.tell(&wait, doing, waiting);
                }
                () = tokio::time::sleep(TICK) => {}
            }
        }
    }

    fn tell(&self, wait: &Wait, doing: &str, waiting: Result<Waiting, LogError>) {
        let what = match waiting {
            Ok(Waiting::Lock(holders)) => format!("for a lock ({doing}), held by {}", holders.join("; ")),
            Ok(Waiting::SyncRep(standbys)) => format!(
                "for a synchronous standby to confirm the commit ({doing}); synchronous_standby_names = {standbys}. It is \
                 committed on this server already; Ctrl-C ends the waiting, not the commit"
            ),
            Ok(Waiting::Working(event)) if wait.elapsed() >= LONG_WORK => {
                format!("for the server, which works on it ({doing}{event})")
            }
            Ok(Waiting::Working(_)) => return,
            Ok(Waiting::Unknown) => format!("for the server ({doing})"),
            Err(error) => format!(
                "for an answer of {} ({doing}); a second connection says: {error}",
                self.server.name()
            ),
        };
        wait.say(&what);
    }

    /// What the session waits for, asked through a connection of its own.
    async fn ask(&self) -> Result<Waiting, LogError> {
        let Some(backend) = self.backend else {
            return Ok(Waiting::Unknown);
        };
        match tokio::time::timeout(ASKING, self.ask_about(backend)).await {
            Ok(answer) => answer,
            Err(_) => Err(self.server.no_answer(ASKING)),
        }
    }

    async fn ask_about(&self, backend: i64) -> Result<Waiting, LogError> {
        let rows = self
            .server
            .ask(
                "asking what is waited for",
                postgres!("waiting"),
                &[Value::Int(backend)],
            )
            .await?;
        let (mut waiting, mut holders) = (Waiting::Unknown, Vec::new());
        for row in &rows {
            // What cannot be read is not told.
            if let Ok((found, holder)) = read_waiting(Row::Postgres(row)) {
                waiting = found;
                holders.extend(holder);
            }
        }
        if let Waiting::Lock(named) = &mut waiting {
            let more = holders.len().saturating_sub(BLOCKERS);
            holders.truncate(BLOCKERS);
            if more > 0 {
                holders.push(format!("{more} more"));
            }
            if holders.is_empty() {
                holders.push("somebody who let go of it just now".into());
            }
            *named = holders;
        }
        Ok(waiting)
    }

    /// Has the server cancel the statement, and waits for its end. What was done before the server heard of it is
    /// done.
    async fn interrupt<T>(
        &self,
        doing: &'static str,
        sql: &str,
        answer: Pin<&mut impl Future<Output = Result<T, sqlx::Error>>>,
    ) -> Result<T, LogError> {
        let mut answer = answer;
        // It may be there already: then there is nothing to cancel.
        if let Poll::Ready(answer) = poll!(answer.as_mut()) {
            return answer.map_err(|e| self.server.blame_cancelled(doing, sql, e));
        }
        let asked = async {
            match self.backend {
                Some(backend) => tokio::time::timeout(CANCELLING, self.cancel_backend(backend))
                    .await
                    .unwrap_or_else(|_| Err(self.server.no_answer(CANCELLING))),
                None => Ok(()),
            }
        };
        // The answer is awaited all the while: it may come first.
        let mut asked = pin!(asked);
        let asked = tokio::select! {
            biased;
            answer = &mut answer => {
                // What it was waiting for is still to be heard.
                let _ = tokio::time::timeout(TICK * 20, asked).await;
                return answer.map_err(|e| self.server.blame_cancelled(doing, sql, e));
            }
            asked = &mut asked => asked,
        };
        let what = match asked {
            Ok(()) => match tokio::time::timeout(CANCELLING, answer).await {
                Ok(answer) => return answer.map_err(|e| self.server.blame_cancelled(doing, sql, e)),
                Err(_) => format!(
                    "{} did not stop it within {} s",
                    self.server.name(),
                    CANCELLING.as_secs()
                ),
            },
            Err(error) => format!("{} could not be asked to stop it: {error}", self.server.name()),
        };
        let what = format!("{what}; it may go on with the statement until it notices that nobody waits");
        tracing::warn!("{doing}: {what}");
        Err(LogError::Cancelled {
            doing,
            what,
            is_known: false,
        })
    }

    async fn cancel_backend(&self, backend: i64) -> Result<(), LogError> {
        let rows = self
            .server
            .ask(
                "cancelling the statement",
                postgres!("cancel_backend"),
                &[Value::Int(backend)],
            )
            .await?;
        for row in &rows {
            if let Ok(Some("SyncRep")) = Columns::new(Row::Postgres(row)).optional_text("wait_event") {
                self.unconfirmed.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    }

    /// Whether the user gave up waiting for the standbys that should have confirmed a commit.
    pub(crate) fn gave_up_standbys(&self) -> bool {
        self.unconfirmed.load(Ordering::Relaxed)
    }
}

fn read_waiting(row: Row<'_>) -> Result<(Waiting, Option<String>), String> {
    let mut c = Columns::new(row);
    let event = (
        c.optional_text("wait_event_type")?,
        c.optional_text("wait_event")?,
    );
    let standbys = c.text("standbys")?;
    let waiting = match event {
        (_, Some("SyncRep")) => Waiting::SyncRep(format!("'{standbys}'")),
        (Some("Lock"), _) => Waiting::Lock(Vec::new()),
        (Some(kind), Some(event)) => Waiting::Working(format!(", it waits for {kind} {event}")),
        _ => Waiting::Working(String::new()),
    };
    Ok((waiting, c.optional_text("holder")?.map(str::to_owned)))
}
