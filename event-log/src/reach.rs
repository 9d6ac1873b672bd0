//! Which rows and streams damage concerns, as far as damaged rows say.

use std::ops::RangeInclusive;

use ves::{StoreId, StreamKey, TenantId};

/// What is being done while damage is looked for.
pub(crate) const DOING: &str = "comparing indexes with their tables";

/// Which streams a fault concerns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// None: nobody reads the index.
    Nothing,
    /// Those of its [`HiddenRows`].
    Rows,
    /// All of them, since nobody knows which.
    Everything,
}

/// Rows of one stream that an index lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HiddenRows {
    /// The tenant, as far as it is known.
    pub tenant: Option<TenantId>,
    /// The store, as far as there is one and it is known.
    pub store: Option<StoreId>,
    /// Their numbers, where they have one.
    pub numbers: Vec<RangeInclusive<u64>>,
    /// How many they are.
    pub count: u64,
    /// The first of them, in words.
    pub first: String,
}

/// Whether rows of that tenant and store are of a stream; what is not known may be of any.
pub(crate) fn concerns(tenant: Option<TenantId>, store: Option<StoreId>, stream: &StreamKey) -> bool {
    tenant.is_none_or(|tenant| tenant == stream.tenant_id)
        && store.is_none_or(|store| store == stream.store_id)
}
