//! Models how the filter engine processes changes: transactions, ending sessions, references between objects.
//! The documented contract, as far as our changes need it.

use std::time::Duration;

use super::filter_engine::{
    EngineError, EngineFault, FilterEngine, ObjectChange, ObjectKind, SessionKind, Transaction,
};
use super::guid::Guid;
use super::model::{EngineState, Filter, Flags, Lifetime, ObjectKey};
use super::names::Layer;
use super::threat_list::LIST_PROVIDER;

impl EngineState {
    /// Carries out all changes, or none.
    ///
    /// # Errors
    /// See [`EngineError`]; nothing is changed then.
    pub fn commit(&mut self, transaction: &Transaction) -> Result<(), EngineError> {
        let mut next = self.clone();
        for change in &transaction.changes {
            next.change(change, transaction.session).map_err(|fault| fault.of(change.action()))?;
        }
        *self = next;
        Ok(())
    }

    /// The dynamic session ends, and what it added with it.
    pub fn end_session(&mut self) {
        let dynamic = std::mem::take(&mut self.dynamic);
        self.filters.retain(|filter| !dynamic.contains(&filter.key));
    }

    fn change(&mut self, change: &ObjectChange, session: SessionKind) -> Result<(), EngineFault> {
        match change {
            ObjectChange::AddProvider(provider) => {
                if self.providers.iter().any(|known| known.key == provider.key) {
                    return Err(EngineFault::AlreadyExists);
                }
                self.providers.push(provider.clone());
            }
            ObjectChange::AddSubLayer(sublayer) => {
                if self.sublayer(&sublayer.key).is_some() {
                    return Err(EngineFault::AlreadyExists);
                }
                let provider = sublayer.provider.iter().map(|key| self.provider_lifetime(key));
                refers(sublayer.lifetime, provider)?;
                self.sublayers.push(sublayer.clone());
            }
            ObjectChange::AddFilter(filter) => self.add_filter(filter, session)?,
            ObjectChange::DeleteFilter(key) => {
                let at = self.filters.iter().position(|filter| filter.key == *key);
                let at = at.ok_or(EngineFault::NotFound(ObjectKind::Filter))?;
                self.filters.remove(at);
                self.dynamic.remove(key);
            }
            ObjectChange::DeleteSubLayer(key) => {
                let at = self.sublayers.iter().position(|sublayer| sublayer.key == *key);
                let at = at.ok_or(EngineFault::NotFound(ObjectKind::SubLayer))?;
                if self.filters.iter().any(|filter| filter.sublayer == *key) {
                    return Err(EngineFault::InUse);
                }
                self.sublayers.remove(at);
            }
            ObjectChange::DeleteProvider(key) => {
                let at = self.providers.iter().position(|provider| provider.key == *key);
                let at = at.ok_or(EngineFault::NotFound(ObjectKind::Provider))?;
                let mut users = self.filters.iter().map(|filter| &filter.provider);
                let mut sublayers = self.sublayers.iter().map(|sublayer| &sublayer.provider);
                let wanted = Some(key.clone());
                if users.any(|user| *user == wanted) || sublayers.any(|user| *user == wanted) {
                    return Err(EngineFault::InUse);
                }
                self.providers.remove(at);
            }
        }
        Ok(())
    }

    fn add_filter(&mut self, filter: &Filter, session: SessionKind) -> Result<(), EngineFault> {
        if self.filters.iter().any(|known| known.key == filter.key) {
            return Err(EngineFault::AlreadyExists);
        }
        let lasts = [Flags::PERSISTENT, Flags::BOOT_TIME];
        let lasts = lasts.into_iter().any(|flag| filter.flags.contains(flag));
        let lifetime = match (lasts, session) {
            (true, SessionKind::Dynamic) => {
                return Err(EngineFault::LifetimeMismatch);
            }
            (true, SessionKind::Lasting) => Lifetime::Persistent,
            (false, SessionKind::Dynamic) => Lifetime::Dynamic,
            (false, SessionKind::Lasting) => Lifetime::Static,
        };
        let sublayer = self.sublayer(&filter.sublayer).map(|sublayer| sublayer.lifetime);
        let sublayer = sublayer.ok_or(EngineFault::NotFound(ObjectKind::SubLayer));
        let provider = filter.provider.iter().map(|key| self.provider_lifetime(key));
        refers(lifetime, provider.chain([sublayer]))?;
        if lifetime == Lifetime::Dynamic {
            self.dynamic.insert(filter.key.clone());
        }
        self.filters.push(filter.clone());
        Ok(())
    }

    fn provider_lifetime(&self, key: &ObjectKey) -> Result<Lifetime, EngineFault> {
        let provider = self.providers.iter().find(|provider| provider.key == *key);
        provider
            .map(|provider| provider.lifetime)
            .ok_or(EngineFault::NotFound(ObjectKind::Provider))
    }
}

/// An object refers to nothing that may go before it.
fn refers(
    lifetime: Lifetime,
    others: impl Iterator<Item = Result<Lifetime, EngineFault>>,
) -> Result<(), EngineFault> {
    for other in others {
        if other? < lifetime {
            return Err(EngineFault::LifetimeMismatch);
        }
    }
    Ok(())
}

/// In memory: the value is the engine, and no call fails but for what it is asked to do. There is no clock
/// either: whoever wants a limit to pass ends the session.
impl FilterEngine for EngineState {
    fn read(&mut self) -> Result<EngineState, EngineError> {
        let mut state = self.clone();
        state.filters.retain(|filter| filter.provider != Some(LIST_PROVIDER.into()));
        Ok(state)
    }

    fn objects(&mut self) -> Result<EngineState, EngineError> {
        let (providers, sublayers) = (self.providers.clone(), self.sublayers.clone());
        Ok(EngineState { providers, sublayers, ..EngineState::default() })
    }

    fn each_filter_of(
        &mut self,
        provider: Guid,
        layer: &Layer,
        each: &mut dyn FnMut(&Filter),
    ) -> Result<(), EngineError> {
        let is_of =
            |filter: &&Filter| filter.provider == Some(provider.into()) && filter.layer == *layer;
        self.filters.iter().filter(is_of).for_each(each);
        Ok(())
    }

    fn filters_by_key(&mut self, keys: &[ObjectKey]) -> Result<Vec<Filter>, EngineError> {
        let found = keys.iter().filter_map(|key| self.filters.iter().find(|it| it.key == *key));
        Ok(found.cloned().collect())
    }

    fn limit_session(&mut self, _: Duration) -> Result<(), EngineError> {
        Ok(())
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), EngineError> {
        Self::commit(self, transaction)
    }

    fn end_session(&mut self) -> Result<(), EngineError> {
        Self::end_session(self);
        Ok(())
    }
}
