//! The object stores of a session: the archive's own, and on an executor those that a plan names, opened by their address and
//! the environment as everywhere.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use archive_format::Store;
use datafusion::error::{DataFusionError, Result};
use datafusion::execution::object_store::ObjectStoreRegistry;
use object_store::ObjectStore;
use url::{Position, Url};

/// Object stores by scheme and host.
#[derive(Debug, Default)]
pub(crate) struct Stores {
    known: Mutex<HashMap<String, Arc<dyn ObjectStore>>>,
}

/// The part of an address that names a store: `s3://BUCKET`.
pub(crate) fn base(url: &Url) -> &str {
    &url[..Position::BeforePath]
}

impl ObjectStoreRegistry for Stores {
    fn register_store(&self, url: &Url, store: Arc<dyn ObjectStore>) -> Option<Arc<dyn ObjectStore>> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(base(url).to_owned(), store)
    }

    fn get_store(&self, url: &Url) -> Result<Arc<dyn ObjectStore>> {
        let base = base(url);
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = known.get(base) {
            return Ok(Arc::clone(store));
        }
        let store = Store::open(base).map_err(|error| DataFusionError::External(Box::new(error)))?;
        let store = store.objects();
        known.insert(base.to_owned(), Arc::clone(&store));
        Ok(store)
    }
}
