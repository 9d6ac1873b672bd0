//! Opening an outbox, whatever its shape, and reading it row by row.

use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, ErrorCode, OpenFlags, Statement};
use serde::Serialize;
use ves::{AgentId, SigningKey, StoreId, TenantId};

use crate::error::{OutboxError, OutboxErrorKind};
use crate::private_copy;
use crate::row::{HeldRow, Origin, OutboxStatus, RowError, RowReader, Table};
use cli_common::PrivateDir;

mod sql {
    /// A statement by the name of its file.
    macro_rules! named {
        ($name:literal) => {
            include_str!(concat!("../../sql/outbox-sync/", $name, ".sql"))
        };
    }
    pub(super) use named;
}

/// The statements that read one table.
pub(crate) struct TableSql {
    pub(crate) rows: &'static str,
    back: &'static str,
    pub(crate) next: &'static str,
    pub(crate) last: &'static str,
    pub(crate) entries: &'static str,
}

pub(crate) fn table_sql(table: Table) -> TableSql {
    macro_rules! of {
        ($rows:literal, $back:literal, $next:literal, $last:literal, $entries:literal) => {
            TableSql {
                rows: sql::named!($rows),
                back: sql::named!($back),
                next: sql::named!($next),
                last: sql::named!($last),
                entries: sql::named!($entries),
            }
        };
    }
    match table {
        Table::Outbox => of!(
            "rows_outbox",
            "back_outbox",
            "next_outbox",
            "last_outbox",
            "entries_outbox"
        ),
        Table::Pulled => of!(
            "rows_pulled",
            "back_pulled",
            "next_pulled",
            "last_pulled",
            "entries_pulled"
        ),
        Table::Quarantined => of!(
            "rows_quarantined",
            "back_quarantined",
            "next_quarantined",
            "last_quarantined",
            "entries_quarantined"
        ),
        Table::OlderOutbox => of!(
            "rows_older_outbox",
            "back_older_outbox",
            "next_older_outbox",
            "last_older_outbox",
            "entries_older_outbox"
        ),
        Table::OlderPulled => of!(
            "rows_older_pulled",
            "back_older_pulled",
            "next_older_pulled",
            "last_older_pulled",
            "entries_older_pulled"
        ),
    }
}

/// A row longer than this is reported, not read: it bounds what reading a row takes.
const MAX_ROW_BYTES: i32 = 40 << 20;

/// The version of an outbox's schema, told by what it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shape {
    /// Without columns for the signature scheme.
    V1,
    /// With them, without a table of quarantined events.
    V2,
    /// With both. (A file that was upgraded from version 1 has its columns in another order.)
    V3,
    /// The shape from before VES outboxes: tables `outbox` and `pulled_events`.
    Older,
}

/// Rows of the outbox by state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct StatusCounts {
    /// Not yet acknowledged.
    pub pending: u64,
    /// Acknowledged, as the agent believes.
    pub synced: u64,
    /// Could not be sent.
    pub failed: u64,
    /// Refused by the sequencer.
    pub rejected: u64,
    /// In a state that no agent writes.
    pub unknown: u64,
}

impl StatusCounts {
    /// Counts a row.
    pub fn add(&mut self, status: OutboxStatus) {
        *match status {
            OutboxStatus::Pending => &mut self.pending,
            OutboxStatus::Synced => &mut self.synced,
            OutboxStatus::Failed => &mut self.failed,
            OutboxStatus::Rejected => &mut self.rejected,
            OutboxStatus::Unknown => &mut self.unknown,
        } += 1;
    }

    /// All rows.
    pub fn total(&self) -> u64 {
        self.pending + self.synced + self.failed + self.rejected + self.unknown
    }
}

/// What an outbox says about itself. All of it is the agent's belief.
#[derive(Debug, Clone, Serialize)]
pub struct OutboxMeta {
    /// The file, as it was named.
    #[serde(serialize_with = "crate::row::path_as_text")]
    pub path: Arc<Path>,
    /// The version of its schema.
    pub shape: Shape,
    /// The agent that it belongs to.
    pub agent_id: Option<AgentId>,
    /// The agent's tenant.
    pub tenant_id: Option<TenantId>,
    /// The agent's store.
    pub store_id: Option<StoreId>,
    /// The highest number that the agent believes its own events got.
    pub last_pushed_sequence: Option<u64>,
    /// Its cursor: some agents keep the last number that they pulled, some the one to ask for next.
    pub last_pulled_sequence: Option<u64>,
    /// The sequencer's head when it last heard of it.
    pub head_sequence: Option<u64>,
    /// When it last spoke with the sequencer, as it wrote it.
    pub last_sync_at: Option<String>,
    /// The id of the recovery epoch that it was last set right by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recovery_epoch: Option<String>,
    /// Rows of the outbox by state.
    pub outbox: StatusCounts,
    /// Rows of the pulled events.
    pub pulled: u64,
    /// Rows of the quarantined events.
    pub quarantined: u64,
    /// What is wrong with the file, if its rows are salvage (see [`Outbox::salvage`]).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
    /// The agent that made all of its own events, where it does not say whose it is.
    #[serde(skip)]
    pub made_by: Option<AgentId>,
    /// Its first own event, where neither of both is known.
    #[serde(skip)]
    pub first_event: Option<String>,
    /// Values of the sync state that could not be read.
    pub flaws: Vec<String>,
    /// Tables with rows that this version does not read: their content is not checked.
    pub not_checked: Vec<String>,
}

impl OutboxMeta {
    /// The agent that the outbox speaks for: it says so, or all of its own events are of that agent.
    pub fn speaks_for(&self) -> Option<AgentId> {
        self.agent_id.or(self.made_by)
    }

    /// What makes the holder itself: two files of one agent, a backup or an older copy say, are one voice.
    pub fn voice(&self) -> String {
        match (self.speaks_for(), &self.first_event) {
            (Some(agent), _) => agent.to_string(),
            (None, Some(event)) => format!("the outbox that begins with event {event}"),
            (None, None) => self.path.display().to_string(),
        }
    }
}

/// An opened outbox: a private copy, which is removed with this value. (Bulk reading does without one where it can.)
///
/// The copy lies in the system's folder for temporary files (`TMPDIR`) and needs as much room there as the
/// outbox and its WAL.
#[derive(Debug)]
pub struct Outbox {
    // Before the folder: the connection is closed before its file is removed.
    connection: Connection,
    meta: OutboxMeta,
    tables: Vec<Table>,
    has_peer_keys: bool,
    _dir: Option<PrivateDir>,
}

/// So many keys of other agents are read at most.
const MAX_PEER_KEYS: i64 = 100_000;
/// So many stretches of lost rows are looked behind; a file with more holds nothing but damage.
const MAX_LOST: usize = 10_000;

impl Outbox {
    /// Opens the outbox at `path`. Neither the file nor its `-wal`, `-shm` or `-journal` is changed, and none is
    /// created. A process must not have the file open through SQLite itself while it calls this: its locks
    /// would be lost.
    ///
    /// # Errors
    /// See [`OutboxErrorKind`].
    pub fn open(path: &Path) -> Result<Self, OutboxError> {
        Self::try_open(path).map_err(|kind| kind.of(path))
    }

    /// Opens an outbox that is truncated or damaged, as far as SQLite can still read it. What cannot be read is
    /// named, table by table and row by row (see [`Outbox::for_each_row`]), and the whole in
    /// [`OutboxMeta::damage`]. A journal beside the file is not rolled back.
    ///
    /// # Errors
    /// Not even its schema can be read; otherwise as [`Outbox::open`].
    pub fn salvage(path: &Path) -> Result<Self, OutboxError> {
        let damage = match Self::open(path) {
            Ok(outbox) => return Ok(outbox),
            Err(error) if error.kind.is_damage() => error.kind.to_string(),
            Err(error) => return Err(error),
        };
        let opened = private_dir().and_then(|dir| {
            let copy = private_copy::make_damaged(path, dir.path())?;
            Self::of_copy(path, &copy, dir, Some(damage))
        });
        let mut outbox = opened.map_err(|kind| kind.of(path))?;
        outbox.count_salvage()?;
        Ok(outbox)
    }

    fn try_open(path: &Path) -> Result<Self, OutboxErrorKind> {
        let dir = private_dir()?;
        let copy = private_copy::make(path, dir.path())?;
        Self::of_copy(path, &copy, dir, None)
    }

    fn of_copy(
        path: &Path,
        copy: &Path,
        dir: PrivateDir,
        damage: Option<String>,
    ) -> Result<Self, OutboxErrorKind> {
        let connection = open_private(copy)?;
        if damage.is_none() {
            check_sound(&connection)?;
        }
        limit_rows(&connection)?;
        Self::of_connection(path, connection, Some(dir), damage, true)
    }

    /// What lies behind a connection. Without `counted`, rows are not counted: that reads the whole file.
    pub(crate) fn of_connection(
        path: &Path,
        connection: Connection,
        dir: Option<PrivateDir>,
        damage: Option<String>,
        counted: bool,
    ) -> Result<Self, OutboxErrorKind> {
        let names = table_names(&connection)?;
        let has = |name: &str| names.iter().any(|n| n == name);
        let mut tables: Vec<Table> = Table::ALL.into_iter().filter(|table| has(table.name())).collect();
        if tables
            .iter()
            .all(|table| !matches!(table, Table::Outbox | Table::OlderOutbox | Table::OlderPulled))
        {
            return Err(OutboxErrorKind::NoOutboxTables);
        }
        let of_ves = tables.contains(&Table::Outbox);
        let mut not_checked = Vec::new();
        let mut has_scheme = false;
        let mut misfit = None;
        tables.retain(|table| match missing_columns(&connection, *table) {
            Ok((missing, scheme)) if missing.is_empty() => {
                has_scheme |= *table == Table::Outbox && scheme;
                true
            }
            // Beside the tables of VES, a table of such a name may be anybody's.
            Ok((missing, _)) if of_ves && table.is_older() => {
                let columns = missing.join(", ");
                not_checked.push(format!(
                    "{}: a table without the column(s) {columns}",
                    table.name()
                ));
                false
            }
            Ok((missing, _)) => {
                misfit.get_or_insert(OutboxErrorKind::MissingColumns {
                    table: table.name(),
                    columns: missing.join(", "),
                });
                false
            }
            Err(error) => {
                misfit.get_or_insert(error.into());
                false
            }
        });
        if let Some(misfit) = misfit {
            return Err(misfit);
        }
        for table in &tables {
            if lacks_rowid(&connection, *table)? {
                return Err(OutboxErrorKind::WithoutRowid { table: table.name() });
            }
        }
        let shape = match (has_scheme, tables.contains(&Table::Quarantined)) {
            _ if !of_ves => Shape::Older,
            (_, true) => Shape::V3,
            (true, false) => Shape::V2,
            (false, false) => Shape::V1,
        };

        let salvage = damage.is_some();
        let mut meta = OutboxMeta {
            path: path.into(),
            shape,
            agent_id: None,
            tenant_id: None,
            store_id: None,
            last_pushed_sequence: None,
            last_pulled_sequence: None,
            head_sequence: None,
            last_sync_at: None,
            recovery_epoch: None,
            outbox: StatusCounts::default(),
            pulled: 0,
            quarantined: 0,
            damage,
            made_by: None,
            first_event: None,
            flaws: Vec::new(),
            not_checked,
        };
        let mut read = || -> Result<(), OutboxErrorKind> {
            if counted && !salvage {
                count_rows(&connection, &tables, &mut meta)?;
            }
            if has("_ves_receive_failures") {
                let rows = count(&connection, sql::named!("count_receive_failures"))?;
                if rows > 0 {
                    meta.not_checked
                        .push(format!("_ves_receive_failures: {rows} rows"));
                }
            }
            if has("_ves_sync_state") {
                read_sync_state(&connection, sql::named!("sync_state"), &mut meta)?;
            } else if !of_ves && has("sync_state") {
                read_sync_state(&connection, sql::named!("older_sync_state"), &mut meta)?;
            }
            if meta.agent_id.is_none() && counted {
                find_owner(&connection, of_ves, &tables, &mut meta)?;
            }
            Ok(())
        };
        match read() {
            Err(error) if salvage => meta.not_checked.push(format!("the sync state: {error}")),
            result => result?,
        }
        Ok(Self {
            connection,
            meta,
            tables,
            has_peer_keys: has("_ves_peer_keys"),
            _dir: dir,
        })
    }

    /// Counts what can be read of a damaged file, and names what cannot.
    fn count_salvage(&mut self) -> Result<(), OutboxError> {
        let mut meta = self.meta.clone();
        self.for_each_row(&mut |row| {
            match row {
                Ok(row) => match row.origin {
                    Origin::Outbox { status, .. } => meta.outbox.add(status),
                    Origin::Pulled => meta.pulled += 1,
                    Origin::Quarantined => meta.quarantined += 1,
                },
                Err(error) if meta.not_checked.len() < MAX_LOST => {
                    meta.not_checked
                        .push(format!("{} {}", error.place.table.name(), error.what));
                }
                Err(_) => {}
            }
            ControlFlow::Continue(())
        })?;
        self.meta = meta;
        Ok(())
    }

    /// The keys of other agents that this one fetched from the sequencer: what it believed, and it may be
    /// out of date. They are of the outbox's own tenant. A key that cannot be read is said in words.
    ///
    /// # Errors
    /// The file turns out damaged.
    pub fn peer_keys(&self) -> Result<Vec<Result<SigningKey, String>>, OutboxError> {
        let (true, Some(tenant)) = (self.has_peer_keys, self.meta.tenant_id) else {
            return Ok(Vec::new());
        };
        let read = || -> rusqlite::Result<Vec<Result<SigningKey, String>>> {
            let mut statement = self.connection.prepare(sql::named!("peer_keys"))?;
            let mut rows = statement.query([MAX_PEER_KEYS])?;
            let mut keys = Vec::new();
            while let Some(row) = rows.next()? {
                keys.push(peer_key(row, tenant));
            }
            Ok(keys)
        };
        read().map_err(|error| OutboxErrorKind::from(error).of(&self.meta.path))
    }

    pub(crate) fn tables(&self) -> &[Table] {
        &self.tables
    }

    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What the outbox says about itself.
    pub fn meta(&self) -> &OutboxMeta {
        &self.meta
    }

    /// Hands over every row, one at a time: of the outbox, then of the pulled and the quarantined events, each in
    /// the order of its row numbers. A row that cannot be read is handed over as an error and does not
    /// stop the others; `Break` does. In a damaged file a stretch of rows that cannot be read is one error, placed
    /// at the first of them.
    ///
    /// # Errors
    /// The file turns out damaged. Rows already handed over remain as they are.
    pub fn for_each_row(
        &self,
        each: &mut dyn FnMut(Result<HeldRow, RowError>) -> ControlFlow<()>,
    ) -> Result<(), OutboxError> {
        for table in &self.tables {
            let flow = self
                .table_rows(*table, each)
                .map_err(|kind| kind.of(&self.meta.path))?;
            if flow.is_break() {
                break;
            }
        }
        Ok(())
    }

    fn table_rows(
        &self,
        table: Table,
        each: &mut dyn FnMut(Result<HeldRow, RowError>) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, OutboxErrorKind> {
        let TableSql {
            rows: rows_sql,
            back,
            next: next_sql,
            ..
        } = table_sql(table);
        let mut statement = self.connection.prepare(rows_sql)?;
        let names = statement.column_names().into_iter().map(str::to_owned).collect();
        let reader = RowReader::new(Arc::clone(&self.meta.path), table, names);
        if self.meta.damage.is_some() {
            let mut back = self.connection.prepare(back)?;
            return Ok(salvage_rows(&mut statement, &mut back, &reader, each));
        }
        let mut from = i64::MIN;
        loop {
            let mut rows = statement.query([from])?;
            let too_big = loop {
                match rows.next() {
                    Ok(Some(row)) => {
                        let number: i64 = row.get(0)?;
                        if each(reader.read(row)).is_break() {
                            return Ok(ControlFlow::Break(()));
                        }
                        let Some(next) = number.checked_add(1) else {
                            return Ok(ControlFlow::Continue(()));
                        };
                        from = next;
                    }
                    Ok(None) => return Ok(ControlFlow::Continue(())),
                    Err(error) => break error,
                }
            };
            // Other errors concern the file; this one the row.
            if too_big.sqlite_error_code() != Some(ErrorCode::TooBig) {
                return Err(too_big.into());
            }
            drop(rows);
            let number: Option<i64> = self.connection.query_row(next_sql, [from], |row| row.get(0))?;
            let Some(number) = number else {
                return Err(too_big.into());
            };
            let what = format!("it has more than {MAX_ROW_BYTES} bytes");
            if each(Err(RowError {
                place: reader.place(number),
                what,
            }))
            .is_break()
            {
                return Ok(ControlFlow::Break(()));
            }
            let Some(next) = number.checked_add(1) else {
                return Ok(ControlFlow::Continue(()));
            };
            from = next;
        }
    }
}

pub(crate) fn private_dir() -> Result<PrivateDir, OutboxErrorKind> {
    PrivateDir::new().map_err(OutboxErrorKind::Copy)
}

/// Opens a private copy so that nothing in it can run.
pub(crate) fn open_private(copy: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(copy, flags)?;
    secure(&connection)?;
    Ok(connection)
}

/// The file comes from others: nothing in it may run.
pub(crate) fn secure(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.execute_batch(sql::named!("settings"))
}

/// Bounds what reading a row takes. `quick_check` does without, since it would stop at the first long row.
pub(crate) fn limit_rows(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, MAX_ROW_BYTES)?;
    Ok(())
}

/// The columns that a table lacks, and whether it has the one of the signature scheme.
fn missing_columns(connection: &Connection, table: Table) -> rusqlite::Result<(Vec<&'static str>, bool)> {
    let columns = columns(connection, table)?;
    let there = |name: &str| columns.iter().any(|c| c.eq_ignore_ascii_case(name));
    let missing = table.required_columns().into_iter().filter(|c| !there(c));
    Ok((missing.collect(), there("agent_signature_scheme")))
}

/// Whether a table has no row numbers. It is looked at before rows are: they are read by those.
fn lacks_rowid(connection: &Connection, table: Table) -> rusqlite::Result<bool> {
    connection.query_row(sql::named!("without_rowid"), [table.name()], |row| row.get(0))
}

/// Looks whose events an outbox holds that does not say whose it is.
fn find_owner(
    connection: &Connection,
    of_ves: bool,
    tables: &[Table],
    meta: &mut OutboxMeta,
) -> rusqlite::Result<()> {
    let sql = match of_ves {
        true => sql::named!("owner_outbox"),
        false if tables.contains(&Table::OlderOutbox) => sql::named!("owner_older_outbox"),
        false => return Ok(()),
    };
    connection.query_row(sql, [], |row| {
        // What is no text names nobody.
        let text = |index| row.get::<_, Option<String>>(index).ok().flatten();
        let (first, last) = (text(0), text(1));
        if first == last {
            meta.made_by = first.and_then(|agent| agent.parse().ok());
        }
        meta.first_event = text(2).map(|event| event.chars().take(64).collect());
        Ok(())
    })
}

fn count_rows(connection: &Connection, tables: &[Table], meta: &mut OutboxMeta) -> rusqlite::Result<()> {
    for table in tables {
        match table {
            Table::Outbox => meta.outbox = status_counts(connection)?,
            Table::Pulled => meta.pulled += count(connection, sql::named!("count_pulled"))?,
            Table::Quarantined => meta.quarantined = count(connection, sql::named!("count_quarantined"))?,
            Table::OlderOutbox => {
                let (pending, synced) =
                    connection.query_row(sql::named!("count_older_outbox"), [], |row| {
                        Ok((number(row, 0)?, number(row, 1)?))
                    })?;
                meta.outbox.pending += pending;
                meta.outbox.synced += synced;
            }
            Table::OlderPulled => meta.pulled += count(connection, sql::named!("count_older_pulled"))?,
        }
    }
    Ok(())
}

/// Reads a table of a damaged file: forward until it fails, then on from the next row that can be found, by steps
/// that double, and back from there as far as it goes.
fn salvage_rows(
    rows: &mut Statement<'_>,
    back: &mut Statement<'_>,
    reader: &RowReader,
    each: &mut dyn FnMut(Result<HeldRow, RowError>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    let mut from = i64::MIN;
    for _ in 0..MAX_LOST {
        let mut read_any = false;
        // Row numbers must rise: a damaged tree can lead in circles.
        let failed = loop_rows(rows, from, |row, number| {
            if number < from {
                return ControlFlow::Break(true);
            }
            read_any = true;
            let Some(next) = number.checked_add(1) else {
                return ControlFlow::Break(false);
            };
            from = next;
            match each(reader.read(row)) {
                ControlFlow::Break(()) => ControlFlow::Break(false),
                ControlFlow::Continue(()) => ControlFlow::Continue(()),
            }
        });
        match failed {
            Some(true) => {}
            Some(false) => return ControlFlow::Break(()),
            None => return ControlFlow::Continue(()),
        }
        let lost = from;
        // Rows below 1 are rare enough to be looked for last.
        let base = lost.max(0);
        let mut resume = None;
        let mut step = 1_i64;
        while let Some(probe) = base.checked_add(step) {
            if let Ok(first) = first_row(rows, probe) {
                resume = first;
                break;
            }
            let Some(doubled) = step.checked_mul(2) else { break };
            step = doubled;
        }
        let lowest = lowest_behind(back, lost, resume.unwrap_or(i64::MAX));
        let next = match (lowest, resume) {
            (Some(lowest), _) if lowest > lost || read_any => Some(lowest),
            (_, resume) => resume,
        };
        let what = match next {
            Some(next) if next == lost => None,
            Some(next) if next - 1 == lost => {
                Some(format!("row {lost} cannot be read: the file is damaged there"))
            }
            Some(next) if lost == i64::MIN => Some(format!(
                "the rows before {next} cannot be read: the file is damaged there"
            )),
            Some(next) => Some(format!(
                "rows {lost} to {} cannot be read: the file is damaged there",
                next - 1
            )),
            None if lost == i64::MIN => {
                Some("none of its rows can be read: the file is damaged there".into())
            }
            None => Some(format!(
                "no row from {lost} on can be read: the file is damaged there"
            )),
        };
        if let Some(what) = what {
            let place = reader.place(lost);
            if each(Err(RowError { place, what })).is_break() {
                return ControlFlow::Break(());
            }
        }
        match next {
            Some(next) => from = next,
            None => return ControlFlow::Continue(()),
        }
    }
    let what = format!("more than {MAX_LOST} stretches of rows cannot be read; given up");
    each(Err(RowError {
        place: reader.place(from),
        what,
    }))
}

/// Hands over rows until there are no more (`None`), or `each` breaks with a word, or SQLite fails (`true`).
fn loop_rows(
    statement: &mut Statement<'_>,
    from: i64,
    mut each: impl FnMut(&rusqlite::Row<'_>, i64) -> ControlFlow<bool>,
) -> Option<bool> {
    let Ok(mut rows) = statement.query([from]) else {
        return Some(true);
    };
    loop {
        match rows.next() {
            Ok(None) => return None,
            Ok(Some(row)) => {
                let Ok(number) = row.get::<_, i64>(0) else {
                    return Some(true);
                };
                if let ControlFlow::Break(failed) = each(row, number) {
                    return Some(failed);
                }
            }
            Err(_) => return Some(true),
        }
    }
}

/// The first row from one on, if it can be read.
fn first_row(statement: &mut Statement<'_>, from: i64) -> Result<Option<i64>, ()> {
    let mut first = None;
    let failed = loop_rows(statement, from, |_, number| {
        first = (number >= from).then_some(number);
        ControlFlow::Break(first.is_none())
    });
    match failed {
        Some(true) => Err(()),
        _ => Ok(first),
    }
}

/// How far down rows can be read from behind.
fn lowest_behind(statement: &mut Statement<'_>, from: i64, below: i64) -> Option<i64> {
    let mut lowest: Option<i64> = None;
    let Ok(mut rows) = statement.query([from, below]) else {
        return None;
    };
    while let Ok(Some(row)) = rows.next() {
        match row.get::<_, i64>(0) {
            Ok(number) if number >= from && lowest.is_none_or(|l| number < l) => lowest = Some(number),
            _ => break,
        }
    }
    lowest
}

/// A row of `_ves_peer_keys`. Columns are found by name.
fn peer_key(row: &rusqlite::Row<'_>, tenant_id: TenantId) -> Result<SigningKey, String> {
    let text = |name: &str| -> Result<Option<String>, String> {
        row.get::<_, Option<String>>(name)
            .map_err(|error| format!("_ves_peer_keys: {name}: {error}"))
    };
    let required = |name: &str| text(name)?.ok_or_else(|| format!("_ves_peer_keys: {name} is missing"));
    let time = |name: &str| -> Result<Option<ves::Timestamp>, String> {
        let parse = |value: String| value.parse().map_err(|e| format!("_ves_peer_keys: {name}: {e}"));
        text(name)?.map(parse).transpose()
    };
    let algorithm = required("algorithm")?;
    if !algorithm.to_ascii_lowercase().contains("ed25519") && algorithm != "1" {
        let algorithm: String = algorithm.chars().take(40).collect();
        return Err(format!(
            "_ves_peer_keys: a key of algorithm {algorithm:?}, which is not checked here"
        ));
    }
    let key_id: i64 = row
        .get("key_id")
        .map_err(|error| format!("_ves_peer_keys: key_id: {error}"))?;
    let revoked_at = time("revoked_at")?;
    Ok(SigningKey {
        tenant_id,
        agent_id: required("agent_id")?
            .parse()
            .map_err(|e| format!("_ves_peer_keys: agent_id: {e}"))?,
        key_id: u32::try_from(key_id).map_err(|_| format!("_ves_peer_keys: key_id is {key_id}"))?,
        public_key: required("public_key")?
            .parse()
            .map_err(|e| format!("_ves_peer_keys: public_key: {e}"))?,
        status: if revoked_at.is_some() { "revoked" } else { "active" }.into(),
        valid_from: time("valid_from")?,
        valid_to: time("valid_to")?,
        revoked_at,
        key_algorithm: 1,
    })
}

/// Refuses a damaged file. What `quick_check` says about single values is left to the row reader.
pub(crate) fn check_sound(connection: &Connection) -> Result<(), OutboxErrorKind> {
    const ABOUT_VALUES: [&str; 3] = ["NULL value in ", "NUMERIC value in ", "TEXT value in "];
    let mut statement = connection.prepare(sql::named!("quick_check"))?;
    let mut rows = statement.query([])?;
    let mut damage = Vec::new();
    while let Some(row) = rows.next()? {
        let line: String = row.get(0)?;
        if line != "ok" && !ABOUT_VALUES.iter().any(|start| line.starts_with(start)) {
            damage.push(line);
        }
    }
    match damage.first() {
        None => Ok(()),
        // One line may list many pages.
        Some(first) => Err(OutboxErrorKind::Damaged(first.chars().take(300).collect())),
    }
}

fn table_names(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(sql::named!("tables"))?
        .query_map([], |row| row.get(0))?
        .collect()
}

fn columns(connection: &Connection, table: Table) -> rusqlite::Result<Vec<String>> {
    connection
        .prepare(sql::named!("columns"))?
        .query_map([table.name()], |row| row.get(0))?
        .collect()
}

fn count(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    connection.query_row(sql, [], |row| number(row, 0))
}

/// A count: never negative, whatever SQLite's type for it.
fn number(row: &rusqlite::Row<'_>, index: usize) -> rusqlite::Result<u64> {
    Ok(row.get::<_, i64>(index)?.unsigned_abs())
}

fn status_counts(connection: &Connection) -> rusqlite::Result<StatusCounts> {
    connection.query_row(sql::named!("count_outbox"), [], |row| {
        Ok(StatusCounts {
            pending: number(row, 0)?,
            synced: number(row, 1)?,
            failed: number(row, 2)?,
            rejected: number(row, 3)?,
            unknown: number(row, 4)?,
        })
    })
}

fn read_sync_state(connection: &Connection, sql: &str, meta: &mut OutboxMeta) -> rusqlite::Result<()> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (Ok(key), Ok(value)) = (row.get::<_, String>(0), row.get::<_, String>(1)) else {
            meta.flaws.push("_ves_sync_state: a value is not text".into());
            continue;
        };
        let flaws = &mut meta.flaws;
        match key.as_str() {
            "agent_id" => meta.agent_id = parsed(&key, &value, flaws),
            "tenant_id" => meta.tenant_id = parsed(&key, &value, flaws),
            "store_id" => meta.store_id = parsed(&key, &value, flaws),
            "last_pushed_sequence" => meta.last_pushed_sequence = parsed(&key, &value, flaws),
            "last_pulled_sequence" => meta.last_pulled_sequence = parsed(&key, &value, flaws),
            "head_sequence" => meta.head_sequence = parsed(&key, &value, flaws),
            "last_sync_at" => meta.last_sync_at = Some(value.chars().take(64).collect()),
            "recovery_epoch" => meta.recovery_epoch = Some(value.chars().take(64).collect()),
            _ => {}
        }
    }
    Ok(())
}

fn parsed<T: std::str::FromStr>(key: &str, value: &str, flaws: &mut Vec<String>) -> Option<T> {
    let parsed = value.parse().ok();
    if parsed.is_none() {
        let value: String = value.chars().take(40).collect();
        flaws.push(format!("_ves_sync_state: {key} is {value:?}"));
    }
    parsed
}
