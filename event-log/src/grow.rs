//! What a repair writes beside events when it lets a stream grow: versions that go up by what was appended, and keys
//! that come back.

use ves::{AgentId, SigningKey, Timestamp};

use crate::conn::Conn;
use crate::entry::Entity;
use crate::error::LogError;
use crate::repair::Repair;
use crate::sql::{both, postgres, snapshot};
use crate::value::Value;

impl Repair {
    /// The version of an entity goes up by the number of events that were appended to it, as it does when the
    /// sequencer accepts them; an entity without a version starts at that number.
    ///
    /// # Errors
    /// If the database fails.
    pub async fn add_to_entity_version(&mut self, entity: &Entity, events: i64) -> Result<(), LogError> {
        let doing = "raising an entity's version";
        let sql = match self.view.conn {
            Conn::Postgres(_) => postgres!("add_to_entity_version"),
            Conn::Snapshot { .. } => snapshot!("add_to_entity_version"),
        };
        let stream = *self.stream();
        let parameters = [
            stream.tenant_id.into(),
            stream.store_id.into(),
            entity.entity_type.as_str().into(),
            entity.entity_id.as_str().into(),
            events.into(),
        ];
        match self.view.conn.execute(doing, sql, &parameters).await? {
            1 => Ok(()),
            changed => Err(LogError::Refused {
                doing,
                what: format!("{changed} rows would change instead of 1"),
            }),
        }
    }

    /// Registers an Ed25519 key of an agent of the stream's tenant, as created at `created_at`. Says whether it is
    /// new: a key that is registered under this number already stays as it is.
    ///
    /// # Errors
    /// [`LogError::Refused`] if the key is of another tenant or algorithm.
    pub async fn insert_key(&mut self, key: &SigningKey, created_at: Timestamp) -> Result<bool, LogError> {
        let doing = "registering a key";
        if key.tenant_id != self.stream().tenant_id || key.key_algorithm != 1 {
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
        let parameters: [Value; 10] = [
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
