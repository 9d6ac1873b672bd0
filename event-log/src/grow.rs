//! What a repair writes beside events when it lets a stream grow: versions that go up by what was appended, and keys
//! that come back.

use std::ops::ControlFlow;

use ves::{AgentId, SigningKey, Timestamp};

use crate::conn::Conn;
use crate::entry::Entity;
use crate::error::LogError;
use crate::repair::Repair;
use crate::sql::{both, postgres, snapshot};
use crate::value::{Columns, Value};

/// Entities are raised in groups of this many.
const GROUP: usize = 1000;

const DOING: &str = "raising entity versions";

impl Repair {
    /// The versions of entities go up by the numbers of events that were appended to them, as they do when the sequencer
    /// accepts them; an entity without a version starts at that number. Says what they are since.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn add_to_entity_versions(
        &mut self,
        grown: &[(Entity, i64)],
    ) -> Result<Vec<(Entity, i64)>, LogError> {
        let mut versions = Vec::with_capacity(grown.len());
        for group in grown.chunks(GROUP) {
            if matches!(self.view.conn, Conn::Postgres(_)) {
                self.add_group(group, &mut versions).await?;
                continue;
            }
            for (entity, events) in group {
                self.add_to_one(entity, *events, &mut versions).await?;
            }
        }
        Ok(versions)
    }

    async fn add_group(
        &mut self,
        group: &[(Entity, i64)],
        versions: &mut Vec<(Entity, i64)>,
    ) -> Result<(), LogError> {
        let stream = *self.stream();
        let texts = |text: fn(&(Entity, i64)) -> String| Value::Texts(group.iter().map(text).collect());
        let parameters = [
            stream.tenant_id.into(),
            stream.store_id.into(),
            texts(|(entity, _)| entity.entity_type.clone()),
            texts(|(entity, _)| entity.entity_id.clone()),
            texts(|(_, events)| events.to_string()),
        ];
        let mut bad = None;
        self.view
            .conn
            .query(
                DOING,
                postgres!("add_to_entity_versions"),
                &parameters,
                &mut |row| {
                    let mut c = Columns::new(row);
                    let mut read = || -> Result<(Entity, i64), String> {
                        let entity = Entity {
                            entity_type: c.text("entity_type")?.to_owned(),
                            entity_id: c.text("entity_id")?.to_owned(),
                        };
                        Ok((entity, c.int("version")?))
                    };
                    match read() {
                        Ok(one) => versions.push(one),
                        Err(what) => bad = Some(what),
                    }
                    ControlFlow::Continue(())
                },
            )
            .await?;
        match bad {
            None => Ok(()),
            Some(what) => Err(LogError::Refused { doing: DOING, what }),
        }
    }

    async fn add_to_one(
        &mut self,
        entity: &Entity,
        events: i64,
        versions: &mut Vec<(Entity, i64)>,
    ) -> Result<(), LogError> {
        let stream = *self.stream();
        let parameters = [
            stream.tenant_id.into(),
            stream.store_id.into(),
            entity.entity_type.as_str().into(),
            entity.entity_id.as_str().into(),
            events.into(),
        ];
        let sql = snapshot!("add_to_entity_version");
        self.view.conn.execute(DOING, sql, &parameters).await?;
        let version = self.view.entity_version(&stream, entity).await?;
        versions.push((entity.clone(), version.unwrap_or(0)));
        Ok(())
    }

    /// Registers an Ed25519 key of an agent of the stream's tenant, as created at `created_at`. Says whether it is
    /// new: a key that is registered under this number already stays as it is.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the key is of another tenant, or nothing can be checked with it.
    pub async fn insert_key(&mut self, key: &SigningKey, created_at: Timestamp) -> Result<bool, LogError> {
        let doing = "registering a key";
        if key.tenant_id != self.stream().tenant_id || key.flaw().is_some() {
            let what = format!(
                "key {} of agent {} is of tenant {} and algorithm {}",
                key.key_id, key.agent_id, key.tenant_id, key.key_algorithm
            );
            return Err(LogError::Refused { doing, what });
        }
        let sql = match self.view.conn {
            Conn::Postgres(_) => postgres!("insert_agent_key"),
            Conn::Snapshot { .. } => snapshot!("insert_agent_key"),
        };
        let parameters: [Value; 11] = [
            key.tenant_id.into(),
            key.agent_id.into(),
            key.key_id.into(),
            key.public_key.into(),
            key.status.as_str().into(),
            key.valid_from.into(),
            key.valid_to.into(),
            key.revoked_at.into(),
            created_at.into(),
            key.key_algorithm.into(),
            // Never null: a parameter has one type.
            Value::Bytes(key.public_key_bundle.clone().unwrap_or_default()),
        ];
        Ok(self.view.conn.execute(doing, sql, &parameters).await? == 1)
    }

    /// Removes a key of an agent of the stream's tenant, if its public key is this one; says whether it was there.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn remove_key(
        &mut self,
        agent_id: AgentId,
        key_id: u32,
        public_key: ves::Hash32,
    ) -> Result<bool, LogError> {
        let parameters = [
            self.stream().tenant_id.into(),
            agent_id.into(),
            key_id.into(),
            public_key.into(),
        ];
        let removed = self
            .view
            .conn
            .execute("taking back a key", both!("remove_agent_key"), &parameters)
            .await?;
        Ok(removed == 1)
    }
}
