//! The filter engine of this host: atomic transactions, and a dynamic session during a trial.

use std::collections::BTreeSet;
use std::time::Duration;

use super::calls::{Access, Session};
use super::trial_limit::end_process;
use crate::wfp::filter_engine::{
    EngineAction, EngineError, EngineFault, FilterEngine, ObjectChange, ObjectKind, SessionKind,
    Transaction,
};
use crate::wfp::guid::Guid;
use crate::wfp::model::{EngineState, Filter, ObjectKey};
use crate::wfp::names::Layer;
use crate::wfp::ours::PROVIDER;
use crate::wfp::threat_list::LIST_PROVIDER;
use crate::wfp::watchdog::Watchdog;

/// How long a transaction waits for those of other programs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockLimits {
    /// Milliseconds until the filter engine gives up.
    pub wait_ms: u32,
    /// The number of attempts.
    pub attempts: u32,
}

impl LockLimits {
    /// Half a minute in total. Windows' own limit is 15 s, and a program that holds the lock longer hangs.
    pub const USUAL: Self = Self { wait_ms: 10_000, attempts: 3 };
}

/// The filter engine of this Windows host.
#[derive(Debug)]
pub struct HostEngine {
    limits: LockLimits,
    /// Of the dynamic session that is opened next.
    limit: Option<Watchdog>,
    dynamic: Option<DynamicSession>,
}

#[derive(Debug)]
struct DynamicSession {
    session: Session,
    /// The filters that it added and has not deleted.
    added: BTreeSet<ObjectKey>,
    limit: Option<Watchdog>,
}

impl DynamicSession {
    /// Ends the session. If that fails, its limit stays: with the process, the engine ends the session.
    fn end(self) -> Result<(), EngineFault> {
        match self.session.close() {
            Ok(()) | Err(EngineFault::SessionEnded) => {
                self.limit.into_iter().for_each(Watchdog::disarm);
                Ok(())
            }
            Err(fault) => Err(fault),
        }
    }
}

impl HostEngine {
    /// The engine; it is opened at the first call.
    #[must_use]
    pub fn new(limits: LockLimits) -> Self {
        Self { limits, limit: None, dynamic: None }
    }

    fn open(&self, kind: SessionKind) -> Result<Session, EngineError> {
        Session::open(kind, self.limits.wait_ms)
    }

    fn commit_in(&self, session: &Session, changes: &[ObjectChange]) -> Result<(), EngineError> {
        begin(session, Access::Write, self.limits)?;
        let made = changes.iter().try_for_each(|change| {
            session.change(change).map_err(|fault| fault.of(change.action()))
        });
        made.and_then(|()| session.commit().map_err(|fault| fault.of(EngineAction::Commit)))
    }

    fn commit_lasting(&self, changes: &[ObjectChange]) -> Result<(), EngineError> {
        let session = self.open(SessionKind::Lasting)?;
        let result = self.commit_in(&session, changes);
        if result.is_err() {
            // A failed call does not abort the transaction. If this call fails as well, the end of the
            // session aborts it.
            let _ = session.abort();
        }
        result
    }

    fn commit_dynamic(&mut self, changes: &[ObjectChange]) -> Result<(), EngineError> {
        let mut dynamic = match self.dynamic.take() {
            Some(dynamic) => dynamic,
            None => {
                let session = self.open(SessionKind::Dynamic)?;
                DynamicSession { session, added: BTreeSet::new(), limit: self.limit.take() }
            }
        };
        let result = self.commit_in(&dynamic.session, changes);
        match &result {
            Ok(()) => {
                for change in changes {
                    match change {
                        ObjectChange::AddFilter(filter) => {
                            dynamic.added.insert(filter.key.clone());
                        }
                        ObjectChange::DeleteFilter(key) => {
                            dynamic.added.remove(key);
                        }
                        _ => {}
                    }
                }
                self.dynamic = Some(dynamic);
            }
            // Nothing was changed, so the session continues, unless it has ended, or ending it is the only
            // way to abort a partial transaction.
            Err(error) => {
                let is_over = error.fault == EngineFault::SessionEnded;
                if dynamic.session.abort().is_ok() && !is_over && !dynamic.added.is_empty() {
                    self.dynamic = Some(dynamic);
                } else {
                    // Where this fails, too, the limit stays.
                    let _ = dynamic.end();
                }
            }
        }
        result
    }
}

/// Begins a transaction; a lock of another program is awaited within limits.
fn begin(session: &Session, access: Access, limits: LockLimits) -> Result<(), EngineError> {
    let mut tried = 1;
    loop {
        match session.begin(access) {
            Err(EngineFault::TimedOut) if tried < limits.attempts => tried += 1,
            result => return result.map_err(|fault| fault.of(EngineAction::Begin)),
        }
    }
}

/// All objects at one point in time, without the filters of the threat list, including those of our filters that an enumeration omits by default.
fn read_objects(session: &Session) -> Result<EngineState, EngineError> {
    let failed = |kind| move |fault: EngineFault| fault.of(EngineAction::Read(kind));
    let providers = session.providers().map_err(failed(ObjectKind::Provider))?;
    let sublayers = session.sublayers().map_err(failed(ObjectKind::SubLayer))?;
    let failed = failed(ObjectKind::Filter);
    let mut filters = session.filters_without(LIST_PROVIDER).map_err(failed)?;
    let mut known: BTreeSet<ObjectKey> = filters.iter().map(|filter| filter.key.clone()).collect();
    for layer in Layer::planned() {
        let mut add = |filter: Filter| {
            if known.insert(filter.key.clone()) {
                filters.push(filter);
            }
        };
        session.each_filter_at(&layer, PROVIDER, &mut add).map_err(failed)?;
    }
    Ok(EngineState { providers, sublayers, filters, dynamic: BTreeSet::new() })
}

impl HostEngine {
    /// Reads in one transaction.
    fn reading<T>(
        &self,
        read: impl FnOnce(&Session) -> Result<T, EngineError>,
    ) -> Result<T, EngineError> {
        let session = self.open(SessionKind::Lasting)?;
        begin(&session, Access::Read, self.limits)?;
        let read = read(&session);
        // It changed nothing; the end of the session ends it as well.
        let _ = session.abort();
        read
    }
}

impl FilterEngine for HostEngine {
    fn read(&mut self) -> Result<EngineState, EngineError> {
        let mut state = self.reading(read_objects)?;
        if let Some(dynamic) = &self.dynamic {
            let there = state.filters.iter().map(|filter| &filter.key);
            state.dynamic = there.filter(|key| dynamic.added.contains(key)).cloned().collect();
        }
        Ok(state)
    }

    fn objects(&mut self) -> Result<EngineState, EngineError> {
        self.reading(|session| {
            let failed = |kind| move |fault: EngineFault| fault.of(EngineAction::Read(kind));
            let providers = session.providers().map_err(failed(ObjectKind::Provider))?;
            let sublayers = session.sublayers().map_err(failed(ObjectKind::SubLayer))?;
            Ok(EngineState { providers, sublayers, ..EngineState::default() })
        })
    }

    fn each_filter_of(
        &mut self,
        provider: Guid,
        layer: &Layer,
        each: &mut dyn FnMut(&Filter),
    ) -> Result<(), EngineError> {
        self.reading(|session| {
            let read = session.each_filter_at(layer, provider, &mut |filter| each(&filter));
            read.map_err(|fault| fault.of(EngineAction::Read(ObjectKind::Filter)))
        })
    }

    fn filters_by_key(&mut self, keys: &[ObjectKey]) -> Result<Vec<Filter>, EngineError> {
        self.reading(|session| {
            let found = keys.iter().filter_map(|key| session.filter_by_key(key).transpose());
            let found: Result<_, _> = found.collect();
            found.map_err(|fault: EngineFault| fault.of(EngineAction::Read(ObjectKind::Filter)))
        })
    }

    fn limit_session(&mut self, limit: Duration) -> Result<(), EngineError> {
        let limit = Watchdog::start(limit, end_process).map_err(|error| {
            EngineFault::NoThread(error.to_string()).of(EngineAction::LimitSession)
        })?;
        self.limit.replace(limit).into_iter().for_each(Watchdog::disarm);
        Ok(())
    }

    fn commit(&mut self, transaction: &Transaction) -> Result<(), EngineError> {
        match transaction.session {
            SessionKind::Lasting => self.commit_lasting(&transaction.changes),
            SessionKind::Dynamic => self.commit_dynamic(&transaction.changes),
        }
    }

    fn end_session(&mut self) -> Result<(), EngineError> {
        self.limit.take().into_iter().for_each(Watchdog::disarm);
        let Some(dynamic) = self.dynamic.take() else { return Ok(()) };
        dynamic.end().map_err(|fault| fault.of(EngineAction::EndSession))
    }
}

impl Drop for HostEngine {
    fn drop(&mut self) {
        // Where the session can't be ended, its limit stays, and ends it together with the process.
        let _ = self.end_session();
    }
}
