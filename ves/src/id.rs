//! Identifiers. Each is a UUID in a type of its own, so that a store cannot be passed for a tenant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// The 16 bytes that enter hash preimages.
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({})", stringify!($name), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(s: &str) -> Result<Self, Self::Err> {
                s.parse().map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(value: Uuid) -> Self {
                Self(value)
            }
        }
    };
}

id! {
    /// A tenant: the owner of stores, agents and keys.
    TenantId
}
id! {
    /// A store of a tenant. Tenant and store together name a stream.
    StoreId
}
id! {
    /// An event. Unique over all streams of a sequencer.
    EventId
}
id! {
    /// The agent that signed an event (`source_agent_id`).
    AgentId
}
id! {
    /// A client's idempotency key: the sequencer accepts each command once per stream.
    CommandId
}
id! {
    /// A commitment: one batch of consecutive events and its Merkle root.
    BatchId
}
id! {
    /// The sequencer that gave a receipt.
    SequencerId
}

/// A stream: the pair that has one gap-free sequence of events, starting at 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct StreamKey {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The tenant's store.
    pub store_id: StoreId,
}

impl StreamKey {
    /// The stream of a tenant's store.
    pub fn new(tenant_id: TenantId, store_id: StoreId) -> Self {
        Self { tenant_id, store_id }
    }
}

impl fmt::Display for StreamKey {
    /// `tenant/store`, both as hyphenated UUIDs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.tenant_id, self.store_id)
    }
}

impl fmt::Debug for StreamKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamKey({self})")
    }
}

impl FromStr for StreamKey {
    type Err = String;

    /// Reads `tenant/store`.
    fn from_str(s: &str) -> Result<Self, Self::Err> {
        let (tenant, store) = s
            .split_once('/')
            .ok_or_else(|| format!("not tenant/store: {s:?}"))?;
        Ok(Self {
            tenant_id: tenant.parse().map_err(|e| format!("tenant {tenant:?}: {e}"))?,
            store_id: store.parse().map_err(|e| format!("store {store:?}: {e}"))?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_keys_read_back_what_they_print() {
        let text = "0f0fadcc-f9d1-5602-8113-29cdc04a12ee/b250b404-eea4-5918-b6a6-5bef1bb6e7db";
        let key: StreamKey = text.parse().unwrap();
        assert_eq!(key.to_string(), text);
        assert!(
            "b250b404-eea4-5918-b6a6-5bef1bb6e7db"
                .parse::<StreamKey>()
                .is_err()
        );
        assert!(
            "x/b250b404-eea4-5918-b6a6-5bef1bb6e7db"
                .parse::<StreamKey>()
                .is_err()
        );
    }
}
