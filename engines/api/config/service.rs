//! What the server shares with its engines: one of each type, which the contract does not know.

use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::sync::Arc;

/// Things that engines share, each known by its type. A clone shares them as well.
///
/// ```
/// # use std::sync::Arc;
/// # use mppd_engine::config::Services;
/// struct Clock;
/// let services = Services::default().with(Arc::new(Clock));
/// assert!(services.get::<Clock>().is_some());
/// assert!(services.get::<String>().is_none());
/// ```
#[derive(Clone, Default)]
pub struct Services {
    by_type: HashMap<TypeId, Arc<dyn Any + Send + Sync>>,
}

impl Services {
    /// With one more; it takes the place of another of its type.
    #[must_use]
    pub fn with<T: Any + Send + Sync>(mut self, service: Arc<T>) -> Self {
        self.by_type.insert(TypeId::of::<T>(), service);
        self
    }

    /// The one of this type.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let service = self.by_type.get(&TypeId::of::<T>())?;
        service.clone().downcast().ok()
    }
}

impl std::fmt::Debug for Services {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Services").field("count", &self.by_type.len()).finish_non_exhaustive()
    }
}
