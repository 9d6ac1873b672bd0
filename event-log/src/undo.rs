//! Taking a repair back: the same transaction and the same locks as a repair, and the opposite statements. Whether
//! it may be taken back is for the caller to find out; here nothing is removed that is not as it was left.

use uuid::Uuid;
use ves::{BatchId, CommandId, EventId};

use crate::conn::Conn;
use crate::entry::{Entity, as_i64};
use crate::error::LogError;
use crate::repair::Repair;
use crate::schema::{Table, VES_COMPLIANCE_PROOFS, VES_VALIDITY_PROOFS};
use crate::sql::{both, postgres, snapshot};
use crate::value::{Columns, Value};

/// One statement for a list in PostgreSQL, another for each of the list in a snapshot.
struct ForIds {
    doing: &'static str,
    postgres: &'static str,
    snapshot: &'static str,
}

impl Repair {
    /// How many proofs there are about these events of the stream. From then on no other can be added to them.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn proofs_of_events(&mut self, events: &[EventId]) -> Result<u64, LogError> {
        let ids: Vec<Uuid> = events.iter().map(|id| id.0).collect();
        self.lock_ids("locking events", postgres!("lock_events"), &ids)
            .await?;
        let statements = ForIds {
            doing: "looking for proofs",
            postgres: postgres!("proofs_of_events"),
            snapshot: snapshot!("proofs_of_event"),
        };
        self.count_ids(&VES_COMPLIANCE_PROOFS, &statements, &ids).await
    }

    /// How many proofs there are about these batches of the stream. From then on no other can be added to them.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn proofs_of_batches(&mut self, batches: &[BatchId]) -> Result<u64, LogError> {
        let ids: Vec<Uuid> = batches.iter().map(|id| id.0).collect();
        self.lock_ids("locking commitments", postgres!("lock_commitments"), &ids)
            .await?;
        let statements = ForIds {
            doing: "looking for proofs",
            postgres: postgres!("proofs_of_batches"),
            snapshot: snapshot!("proofs_of_batch"),
        };
        self.count_ids(&VES_VALIDITY_PROOFS, &statements, &ids).await
    }

    /// Removes the receipts of these events of the stream; says how many there were.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_receipts(&mut self, events: &[EventId]) -> Result<u64, LogError> {
        let statements = ForIds {
            doing: "taking back receipts",
            postgres: postgres!("remove_receipts"),
            snapshot: snapshot!("remove_receipt"),
        };
        let ids: Vec<Uuid> = events.iter().map(|id| id.0).collect();
        self.execute_ids(&statements, &ids).await
    }

    /// Removes these events of the stream; says how many there were.
    ///
    /// # Errors
    /// [`LogError::Refused`] if one still has its receipt.
    pub async fn remove_events(&mut self, events: &[EventId]) -> Result<u64, LogError> {
        let statements = ForIds {
            doing: "taking back events",
            postgres: postgres!("remove_events"),
            snapshot: snapshot!("remove_event"),
        };
        let ids: Vec<Uuid> = events.iter().map(|id| id.0).collect();
        self.execute_ids(&statements, &ids).await
    }

    /// Removes these commitments of the stream; says how many there were.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_commitments(&mut self, batches: &[BatchId]) -> Result<u64, LogError> {
        let statements = ForIds {
            doing: "taking back commitments",
            postgres: postgres!("remove_commitments"),
            snapshot: snapshot!("remove_commitment"),
        };
        let ids: Vec<Uuid> = batches.iter().map(|id| id.0).collect();
        self.execute_ids(&statements, &ids).await
    }

    /// Forgets these commands of the stream, whoever carries them; says how many were remembered.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_commands(&mut self, commands: &[CommandId]) -> Result<u64, LogError> {
        let statements = ForIds {
            doing: "taking back accepted commands",
            postgres: postgres!("forget_commands"),
            snapshot: both!("forget_command"),
        };
        let ids: Vec<Uuid> = commands.iter().map(|id| id.0).collect();
        self.execute_ids(&statements, &ids).await
    }

    /// The version of an entity becomes what it was (`None`: there was no row), if it is what it was left at; says
    /// whether it was.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn take_back_entity_version(
        &mut self,
        entity: &Entity,
        left: i64,
        was: Option<i64>,
    ) -> Result<bool, LogError> {
        let [tenant, store] = self.of();
        let (kind, id) = (
            entity.entity_type.as_str().into(),
            entity.entity_id.as_str().into(),
        );
        let (sql, parameters) = match (was, &self.view.conn) {
            (None, _) => (
                both!("remove_entity_version"),
                vec![tenant, store, kind, id, left.into()],
            ),
            (Some(was), Conn::Postgres(_)) => (
                postgres!("take_back_entity_version"),
                vec![was.into(), tenant, store, kind, id, left.into()],
            ),
            (Some(was), Conn::Snapshot { .. }) => (
                snapshot!("take_back_entity_version"),
                vec![was.into(), tenant, store, kind, id, left.into()],
            ),
        };
        let changed = self
            .view
            .conn
            .execute("taking back entity versions", sql, &parameters)
            .await?;
        Ok(changed == 1)
    }

    /// The projection checkpoint becomes what it was, if it is what it was left at; says whether it was.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn take_back_projection(&mut self, left: u64, was: u64) -> Result<bool, LogError> {
        let doing = "taking back the projection";
        let sql = match self.view.conn {
            Conn::Postgres(_) => postgres!("take_back_projection"),
            Conn::Snapshot { .. } => snapshot!("take_back_projection"),
        };
        let number = |value| as_i64("checkpoint", value).map_err(|what| LogError::Refused { doing, what });
        let [tenant, store] = self.of();
        let parameters = [number(was)?.into(), tenant, store, number(left)?.into()];
        Ok(self.view.conn.execute(doing, sql, &parameters).await? == 1)
    }

    /// The counter becomes what it was before a repair (`None`: there was no row). The one way in which a counter is
    /// ever lowered: only from exactly what that repair left to exactly what it found, and only if the caller has
    /// made sure that no number was given out since.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the counter is not what the repair left.
    pub async fn take_back_counter(&mut self, left: u64, was: Option<u64>) -> Result<(), LogError> {
        let doing = "taking back the counter";
        let refused = |what| LogError::Refused { doing, what };
        if self.counter_before() != Some(left) {
            return Err(refused(format!(
                "it is not {left}, which is what the repair left"
            )));
        }
        let number = |value| as_i64("counter", value).map_err(refused);
        let [tenant, store] = self.of();
        let (sql, parameters) = match (was, &self.view.conn) {
            (None, _) => (both!("remove_counter"), vec![tenant, store, number(left)?.into()]),
            (Some(was), Conn::Postgres(_)) => (
                postgres!("take_back_counter"),
                vec![number(was)?.into(), tenant, store, number(left)?.into()],
            ),
            (Some(was), Conn::Snapshot { .. }) => (
                snapshot!("take_back_counter"),
                vec![number(was)?.into(), tenant, store, number(left)?.into()],
            ),
        };
        match self.view.conn.execute(doing, sql, &parameters).await? {
            1 => Ok(()),
            changed => Err(refused(format!("{changed} rows would change instead of 1"))),
        }
    }

    /// Removes the counter's row that taking the lock has made.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn take_back_made_counter(&mut self) -> Result<(), LogError> {
        let [tenant, store] = self.of();
        let parameters = [tenant, store, 0_i64.into()];
        let doing = "taking back the counter";
        let removed = self
            .view
            .conn
            .execute(doing, both!("remove_counter"), &parameters);
        removed.await.map(drop)
    }

    /// Keeps what was taken back and lets go of the locks. Unlike [`Repair::commit`] this takes the stream as it is:
    /// it may have been broken before it was repaired.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn commit_as_it_was(mut self) -> Result<(), LogError> {
        let what = format!("stream {}", self.stream());
        self.view.conn.commit(&what).await
    }

    fn of(&self) -> [Value; 2] {
        [self.stream().tenant_id.into(), self.stream().store_id.into()]
    }

    async fn lock_ids(
        &mut self,
        doing: &'static str,
        sql: &'static str,
        ids: &[Uuid],
    ) -> Result<(), LogError> {
        // Of a snapshot the whole file is locked.
        if ids.is_empty() || matches!(self.view.conn, Conn::Snapshot { .. }) {
            return Ok(());
        }
        let [tenant, store] = self.of();
        let parameters = [tenant, store, Value::Uuids(ids.to_vec())];
        self.view.conn.execute(doing, sql, &parameters).await.map(drop)
    }

    async fn count_ids(
        &mut self,
        table: &'static Table,
        statements: &ForIds,
        ids: &[Uuid],
    ) -> Result<u64, LogError> {
        let conn = &mut self.view.conn;
        if ids.is_empty() || !conn.has(table).await? {
            return Ok(0);
        }
        let (sql, parameters): (_, Vec<Value>) = match conn {
            Conn::Postgres(_) => (statements.postgres, vec![Value::Uuids(ids.to_vec())]),
            Conn::Snapshot { .. } => (
                statements.snapshot,
                ids.iter().map(|id| Value::Uuid(*id)).collect(),
            ),
        };
        let mut count: u64 = 0;
        for parameter in parameters {
            let found = conn
                .query_one(statements.doing, sql, &[parameter], |row| {
                    Columns::new(row).number::<u64>("count")
                })
                .await?;
            let found = found.transpose().map_err(|what| LogError::Refused {
                doing: statements.doing,
                what,
            })?;
            count = count.saturating_add(found.unwrap_or(0));
        }
        Ok(count)
    }

    async fn execute_ids(&mut self, statements: &ForIds, ids: &[Uuid]) -> Result<u64, LogError> {
        if ids.is_empty() {
            return Ok(0);
        }
        let [tenant, store] = self.of();
        let (sql, lists): (_, Vec<Value>) = match self.view.conn {
            Conn::Postgres(_) => (statements.postgres, vec![Value::Uuids(ids.to_vec())]),
            Conn::Snapshot { .. } => (
                statements.snapshot,
                ids.iter().map(|id| Value::Uuid(*id)).collect(),
            ),
        };
        let mut changed = 0;
        for list in lists {
            let parameters = [tenant.clone(), store.clone(), list];
            changed += self.view.conn.execute(statements.doing, sql, &parameters).await?;
        }
        Ok(changed)
    }
}
