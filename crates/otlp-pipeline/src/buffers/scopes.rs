//! One copy of each encoded scope for all threads.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::encode::ScopeBytes;

/// The scopes that any thread keeps spans of.
#[derive(Debug, Default)]
pub(super) struct Scopes(Mutex<Vec<Arc<ScopeBytes>>>);

impl Scopes {
    /// The same copy for what is the same.
    pub(super) fn shared(&self, scope: ScopeBytes) -> Arc<ScopeBytes> {
        let mut known = self.known();
        if let Some(known) = known.iter().find(|known| ***known == scope) {
            return Arc::clone(known);
        }
        let scope = Arc::new(scope);
        known.push(Arc::clone(&scope));
        scope
    }

    pub(super) fn forget_unused(&self) {
        self.known().retain(|scope| Arc::strong_count(scope) > 1);
    }

    fn known(&self) -> MutexGuard<'_, Vec<Arc<ScopeBytes>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
