//! What the filter engine does with changes: whole transactions, sessions that end, objects that others
//! refer to. The documented contract, as far as our changes need it.

use super::model::{EngineState, Filter, Flags, Lifetime, ObjectKey, Provider, SubLayer};

/// Who changes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// A dynamic session: what it adds goes when it ends, also when its program is killed.
    Dynamic,
    /// Any other: what it adds stays as long as the object says.
    Lasting,
}

/// One change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ObjectChange {
    /// Adds a provider.
    AddProvider(Provider),
    /// Adds a sublayer.
    AddSubLayer(SubLayer),
    /// Adds a filter.
    AddFilter(Box<Filter>),
    /// Deletes a filter.
    DeleteFilter(ObjectKey),
    /// Deletes a sublayer in which no filter is left.
    DeleteSubLayer(ObjectKey),
    /// Deletes a provider to which nothing refers.
    DeleteProvider(ObjectKey),
}

/// Changes that happen together or not at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// In which session.
    pub session: SessionKind,
    /// In this order.
    pub changes: Vec<ObjectChange>,
}

/// Why a change was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// `FWP_E_ALREADY_EXISTS`.
    #[error("could not add {0}: an object with this key is there already")]
    AlreadyExists(ObjectKey),
    /// `FWP_E_…_NOT_FOUND`.
    #[error("could not find {0}: nothing with this key is there")]
    NotFound(ObjectKey),
    /// `FWP_E_IN_USE`.
    #[error("could not delete {0}: others refer to it; delete those first")]
    InUse(ObjectKey),
    /// `FWP_E_LIFETIME_MISMATCH`.
    #[error("could not add {0}: it would outlive its session or what it refers to")]
    LifetimeMismatch(ObjectKey),
}

impl EngineState {
    /// Carries out all changes, or none.
    ///
    /// # Errors
    /// See [`EngineError`]; nothing is changed then.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<(), EngineError> {
        let mut next = self.clone();
        for change in &transaction.changes {
            next.change(change, transaction.session)?;
        }
        *self = next;
        Ok(())
    }

    /// The dynamic session ends, and what it added with it.
    pub fn end_session(&mut self) {
        let dynamic = std::mem::take(&mut self.dynamic);
        self.filters.retain(|filter| !dynamic.contains(&filter.key));
    }

    fn change(&mut self, change: &ObjectChange, session: SessionKind) -> Result<(), EngineError> {
        match change {
            ObjectChange::AddProvider(provider) => {
                if self.providers.iter().any(|known| known.key == provider.key) {
                    return Err(EngineError::AlreadyExists(provider.key.clone()));
                }
                self.providers.push(provider.clone());
            }
            ObjectChange::AddSubLayer(sublayer) => {
                if self.sublayer(&sublayer.key).is_some() {
                    return Err(EngineError::AlreadyExists(sublayer.key.clone()));
                }
                let provider = sublayer.provider.iter().map(|key| self.provider_lifetime(key));
                self.refers(&sublayer.key, sublayer.lifetime, provider)?;
                self.sublayers.push(sublayer.clone());
            }
            ObjectChange::AddFilter(filter) => self.add_filter(filter, session)?,
            ObjectChange::DeleteFilter(key) => {
                let at = self.filters.iter().position(|filter| filter.key == *key);
                let at = at.ok_or_else(|| EngineError::NotFound(key.clone()))?;
                self.filters.remove(at);
                self.dynamic.remove(key);
            }
            ObjectChange::DeleteSubLayer(key) => {
                let at = self.sublayers.iter().position(|sublayer| sublayer.key == *key);
                let at = at.ok_or_else(|| EngineError::NotFound(key.clone()))?;
                if self.filters.iter().any(|filter| filter.sublayer == *key) {
                    return Err(EngineError::InUse(key.clone()));
                }
                self.sublayers.remove(at);
            }
            ObjectChange::DeleteProvider(key) => {
                let at = self.providers.iter().position(|provider| provider.key == *key);
                let at = at.ok_or_else(|| EngineError::NotFound(key.clone()))?;
                let mut users = self.filters.iter().map(|filter| &filter.provider);
                let mut sublayers = self.sublayers.iter().map(|sublayer| &sublayer.provider);
                let wanted = Some(key.clone());
                if users.any(|user| *user == wanted) || sublayers.any(|user| *user == wanted) {
                    return Err(EngineError::InUse(key.clone()));
                }
                self.providers.remove(at);
            }
        }
        Ok(())
    }

    fn add_filter(&mut self, filter: &Filter, session: SessionKind) -> Result<(), EngineError> {
        if self.filters.iter().any(|known| known.key == filter.key) {
            return Err(EngineError::AlreadyExists(filter.key.clone()));
        }
        let lasts = [Flags::PERSISTENT, Flags::BOOT_TIME];
        let lasts = lasts.into_iter().any(|flag| filter.flags.contains(flag));
        let lifetime = match (lasts, session) {
            (true, SessionKind::Dynamic) => {
                return Err(EngineError::LifetimeMismatch(filter.key.clone()));
            }
            (true, SessionKind::Lasting) => Lifetime::Persistent,
            (false, SessionKind::Dynamic) => Lifetime::Dynamic,
            (false, SessionKind::Lasting) => Lifetime::Static,
        };
        let sublayer = self.sublayer(&filter.sublayer).map(|sublayer| sublayer.lifetime);
        let sublayer = sublayer.ok_or_else(|| EngineError::NotFound(filter.sublayer.clone()));
        let provider = filter.provider.iter().map(|key| self.provider_lifetime(key));
        self.refers(&filter.key, lifetime, provider.chain([sublayer]))?;
        if lifetime == Lifetime::Dynamic {
            self.dynamic.insert(filter.key.clone());
        }
        self.filters.push(filter.clone());
        Ok(())
    }

    fn provider_lifetime(&self, key: &ObjectKey) -> Result<Lifetime, EngineError> {
        let provider = self.providers.iter().find(|provider| provider.key == *key);
        provider.map(|provider| provider.lifetime).ok_or_else(|| EngineError::NotFound(key.clone()))
    }

    /// An object refers to nothing that may go before it.
    fn refers(
        &self,
        key: &ObjectKey,
        lifetime: Lifetime,
        others: impl Iterator<Item = Result<Lifetime, EngineError>>,
    ) -> Result<(), EngineError> {
        for other in others {
            if other? < lifetime {
                return Err(EngineError::LifetimeMismatch(key.clone()));
            }
        }
        Ok(())
    }
}
