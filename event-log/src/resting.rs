//! A session that rests between two views: who looks every few seconds does not connect, and does not read the catalogue,
//! each time.

use std::time::Duration;

use crate::conn::Conn;
use crate::error::LogError;
use crate::options::OpenOptions;
use crate::place::{Place, server_place};
use crate::readers::Readers;
use crate::sql::{both, postgres};
use crate::value::Columns;
use crate::view::View;

const DOING: &str = "looking again";

/// After so long a log is opened anew, whatever its tables say.
const LONGEST: Duration = Duration::from_secs(600);

/// The session of a view that has ended. It holds no transaction, no lock and no snapshot of the database.
pub struct Resting {
    conn: Conn,
    options: OpenOptions,
}

/// What the catalogue says of the tables of a schema, in a few characters: it changes whenever one of them does.
pub(crate) async fn tables_now(conn: &mut Conn, schema: &str) -> Result<String, LogError> {
    let found = conn
        .query_one(DOING, postgres!("tables_now"), &[schema.into()], |row| {
            Columns::new(row).text("tables").map(str::to_owned)
        })
        .await?;
    let what = "no answer about the tables".to_owned();
    match found {
        Some(Ok(tables)) => Ok(tables),
        Some(Err(what)) => Err(LogError::Refused { doing: DOING, what }),
        None => Err(LogError::Refused { doing: DOING, what }),
    }
}

impl View {
    /// Ends this view and keeps its session for a later one. Nothing of a snapshot: its file is not held between two views.
    ///
    /// # Errors
    /// The connection is lost.
    pub async fn rest(mut self) -> Result<Option<Resting>, LogError> {
        if matches!(self.conn, Conn::Snapshot { .. }) {
            return Ok(None);
        }
        self.conn.run(DOING, both!("rollback")).await?;
        Ok(Some(Resting {
            conn: self.conn,
            options: self.options,
        }))
    }
}

impl Resting {
    /// Another view by the same session, of now. Nothing if the tables are not as they were when the log was opened, or that is
    /// long ago: then it is to be opened anew. Where the server stands is asked again.
    ///
    /// # Errors
    /// The connection is lost, or the server does not let us read any more: then, too.
    pub async fn view(mut self) -> Result<Option<View>, LogError> {
        let Conn::Postgres(session) = &self.conn else {
            return Ok(None);
        };
        let layout = session.layout.clone();
        if layout.found_at.is_none_or(|at| at.elapsed() >= LONGEST) {
            return Ok(None);
        }
        self.conn.begin_reading(DOING).await?;
        if tables_now(&mut self.conn, &layout.schema).await? != layout.tables {
            return Ok(None);
        }
        let mut place = server_place(&mut self.conn).await?;
        place.schema = Some(layout.schema.clone());
        place.level = layout.level;
        Ok(Some(View {
            conn: self.conn,
            place: Place::Postgres(place),
            options: self.options,
            heap_only: false,
            readers: Readers::None,
        }))
    }
}
