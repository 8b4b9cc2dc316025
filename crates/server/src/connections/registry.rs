//! All connections, and whose they are. A connection is unauthenticated until a request on it proves
//! who sends it; from then on it counts as that party's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Extensions;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::time::sleep;

use super::admission::{AdmissionQueue, Decision, GRACE, Limits, Ticket};
use super::party::{PER_PROXY, PER_SOURCE, Party, TooManyConnections};
use crate::source::Source;

/// A client that has not authenticated for so long is slow, even if it sends something now and then.
const SLOW: Duration = Duration::from_secs(5);
/// Between two evictions, while connections wait.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Notes on a request, and on its connection, who sends it.
///
/// # Errors
/// When that party has as many connections as it may have.
pub(crate) fn identify(
    extensions: &mut Extensions,
    party: Party,
) -> Result<(), TooManyConnections> {
    if let Some(connection) = extensions.get::<Connection>() {
        connection.identify(&party)?;
    }
    extensions.insert(party);
    Ok(())
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Capacity {
    /// That have not authenticated.
    pub(super) unauthenticated: Limits,
    /// That have.
    pub(super) authenticated: usize,
}

impl Capacity {
    /// What fits into so many open files; an eighth is for files and the database.
    pub(super) fn for_open_files(files: usize) -> Self {
        let unauthenticated = Limits {
            active: (files / 16).clamp(16, 2048),
            waiting: (files / 16 * 3).clamp(64, 6144),
        };
        Self { unauthenticated, authenticated: (files / 8 * 5).clamp(64, 20_480) }
    }
}

/// All connections.
#[derive(Debug)]
pub(super) struct Registry {
    proxies: Vec<IpNet>,
    capacity: Capacity,
    state: Mutex<State>,
    waiting_added: Notify,
}

/// Whether connections wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    None,
    Some,
}

#[derive(Debug)]
struct State {
    queue: AdmissionQueue,
    signals: HashMap<Ticket, Arc<Signals>>,
    authenticated: HashMap<Party, usize>,
    authenticated_total: usize,
}

/// What a connection is told, and what it does.
#[derive(Debug)]
struct Signals {
    admitted: Notify,
    evicted: Notify,
    activity: Mutex<Activity>,
}

/// Shows whether the client or the platform is the one to do something.
#[derive(Debug, Clone, Copy)]
struct Activity {
    admitted_at: Instant,
    /// When something was received last.
    received_at: Instant,
    /// Whether a request is being processed, and whether more of its body is awaited.
    request: RequestState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestState {
    None,
    Processed,
    BodyAwaited,
}

impl Signals {
    fn new(now: Instant) -> Self {
        let activity = Activity { admitted_at: now, received_at: now, request: RequestState::None };
        Self { admitted: Notify::new(), evicted: Notify::new(), activity: Mutex::new(activity) }
    }

    /// Whether its client has had time to do something, and is not waiting for an answer.
    fn is_evictable(&self, now: Instant) -> bool {
        let Activity { admitted_at, received_at, request } = *self.activity();
        let is_silent = now.saturating_duration_since(received_at) >= GRACE;
        let is_slow = now.saturating_duration_since(admitted_at) >= SLOW;
        request != RequestState::Processed && (is_silent || is_slow)
    }

    fn activity(&self) -> MutexGuard<'_, Activity> {
        self.activity.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry {
    pub(super) fn new(capacity: Capacity, proxies: Vec<IpNet>) -> Self {
        let state = State {
            queue: AdmissionQueue::new(capacity.unauthenticated),
            signals: HashMap::new(),
            authenticated: HashMap::new(),
            authenticated_total: 0,
        };
        Self { proxies, capacity, state: Mutex::new(state), waiting_added: Notify::new() }
    }

    /// A new connection; `None` if too many wait already.
    pub(super) fn register(self: &Arc<Self>, from: IpAddr) -> Option<Connection> {
        let from = from.to_canonical();
        let is_proxy = self.proxies.iter().any(|network| network.contains(&from));
        let limits = if is_proxy { PER_PROXY } else { PER_SOURCE };
        let source = Source::from(from);
        let signals = Arc::new(Signals::new(Instant::now()));
        let mut state = self.lock();
        let ticket = state.queue.enqueue(source, limits)?;
        state.signals.insert(ticket, signals.clone());
        let decisions = state.queue.admit(Instant::now());
        state.apply(decisions);
        drop(state);
        self.waiting_added.notify_one();
        Some(Connection(Arc::new(Inner {
            registry: self.clone(),
            since: Instant::now(),
            standing: Mutex::new(AuthenticationState::Unauthenticated(ticket)),
            signals,
        })))
    }

    /// Evicts connections in favour of those that wait, until the platform ends.
    pub(super) async fn evict_for_waiting(&self) {
        loop {
            self.waiting_added.notified().await;
            while self.evict() == Waiting::Some {
                sleep(LOOK_AGAIN).await;
            }
        }
    }

    fn evict(&self) -> Waiting {
        let mut state = self.lock();
        let now = Instant::now();
        let State { queue, signals, .. } = &mut *state;
        let is_evictable = |ticket| {
            signals.get(&ticket).is_none_or(|signals: &Arc<Signals>| signals.is_evictable(now))
        };
        let decisions = queue.evict(now, is_evictable);
        state.apply(decisions);
        if state.queue.is_nobody_waiting() { Waiting::None } else { Waiting::Some }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            match decision {
                Decision::Admit(ticket) => {
                    if let Some(signals) = self.signals.get(&ticket) {
                        signals.admitted.notify_one();
                    }
                }
                Decision::Evict(ticket) => {
                    if let Some(signals) = self.signals.remove(&ticket) {
                        signals.evicted.notify_one();
                    }
                }
            }
        }
    }

    /// An unauthenticated connection ends, or authenticates. `false`: it was evicted before.
    fn leave_queue(&mut self, ticket: Ticket) -> bool {
        let was_there = self.signals.remove(&ticket).is_some();
        self.queue.remove(ticket);
        let decisions = self.queue.admit(Instant::now());
        self.apply(decisions);
        was_there
    }

    fn forget(&mut self, party: &Party) {
        if let Some(count) = self.authenticated.get_mut(party) {
            *count -= 1;
            self.authenticated_total -= 1;
            if *count == 0 {
                self.authenticated.remove(party);
            }
        }
    }
}

/// A connection, as requests on it see it.
#[derive(Debug, Clone)]
pub(crate) struct Connection(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Arc<Registry>,
    since: Instant,
    standing: Mutex<AuthenticationState>,
    signals: Arc<Signals>,
}

#[derive(Debug)]
enum AuthenticationState {
    Unauthenticated(Ticket),
    Authenticated(Party),
}

impl Connection {
    /// When it was opened.
    pub(super) fn since(&self) -> Instant {
        self.0.since
    }

    /// Whether nobody knows whose it is.
    pub(super) fn is_unauthenticated(&self) -> bool {
        matches!(*self.0.lock(), AuthenticationState::Unauthenticated(_))
    }

    /// Something was received.
    pub(super) fn received(&self) {
        self.0.signals.activity().received_at = Instant::now();
    }

    /// A request of it is being processed, or not any more.
    pub(super) fn set_processed(&self, processed: bool) {
        let request = if processed { RequestState::Processed } else { RequestState::None };
        self.0.signals.activity().request = request;
    }

    /// More of a request's body is awaited, or has arrived.
    pub(super) fn set_body_awaited(&self, awaited: bool) {
        let request = if awaited { RequestState::BodyAwaited } else { RequestState::Processed };
        self.0.signals.activity().request = request;
    }

    /// Done when it may be served.
    pub(super) async fn admitted(&self) {
        self.0.signals.admitted.notified().await;
        let now = Instant::now();
        let mut activity = self.0.signals.activity();
        (activity.admitted_at, activity.received_at) = (now, now);
    }

    /// Done when it has to be closed because others wait, or because it has not authenticated for so long.
    pub(super) async fn evicted(&self, within: Duration) {
        tokio::select! {
            () = self.0.signals.evicted.notified() => return,
            () = sleep(within) => {}
        }
        if !self.is_unauthenticated() {
            std::future::pending::<()>().await;
        }
    }

    /// It is this party's from now on.
    ///
    /// # Errors
    /// When the party has as many connections as it may have.
    pub(crate) fn identify(&self, party: &Party) -> Result<(), TooManyConnections> {
        let mut standing = self.0.lock();
        if matches!(&*standing, AuthenticationState::Authenticated(known) if known == party) {
            return Ok(());
        }
        let mut state = self.0.registry.lock();
        let count = state.authenticated.get(party).copied().unwrap_or_default();
        if count >= party.connections() {
            return Err(refused(TooManyConnections::OfParty { count }));
        }
        if state.authenticated_total >= self.0.registry.capacity.authenticated {
            return Err(refused(TooManyConnections::InAll));
        }
        match &*standing {
            AuthenticationState::Unauthenticated(ticket) => {
                if !state.leave_queue(*ticket) {
                    return Err(refused(TooManyConnections::Evicted));
                }
            }
            AuthenticationState::Authenticated(before) => state.forget(before),
        }
        *state.authenticated.entry(party.clone()).or_insert(0) += 1;
        state.authenticated_total += 1;
        *standing = AuthenticationState::Authenticated(party.clone());
        Ok(())
    }
}

fn refused(error: TooManyConnections) -> TooManyConnections {
    metrics::counter!("xshield_refused_total", "reason" => "connections").increment(1);
    error
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, AuthenticationState> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let standing = self.standing.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.registry.lock();
        match standing {
            AuthenticationState::Unauthenticated(ticket) => {
                state.leave_queue(*ticket);
            }
            AuthenticationState::Authenticated(party) => state.forget(party),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::party::PER_HOST;
    use super::*;

    fn registry(files: usize) -> Arc<Registry> {
        Arc::new(Registry::new(
            Capacity::for_open_files(files),
            vec!["10.9.0.0/16".parse().unwrap()],
        ))
    }

    fn open(registry: &Arc<Registry>, from: &str) -> Option<Connection> {
        registry.register(from.parse().unwrap())
    }

    fn host(name: &str) -> Party {
        Party::Host(name.parse().unwrap())
    }

    #[tokio::test]
    async fn authenticated_connections_do_not_use_unauthenticated_capacity() {
        let registry = registry(32_768);
        let mut kept = Vec::new();
        for number in 0..2000 {
            let connection = open(&registry, "10.0.0.1").unwrap();
            connection.admitted().await;
            connection.identify(&host(&format!("as-{number}"))).unwrap();
            kept.push(connection);
        }
        // Beyond the source's limit they wait, and beyond that they are refused; others are not.
        let unauthenticated: Vec<_> =
            (0..2000).map_while(|_| open(&registry, "10.0.0.1")).collect();
        assert_eq!(unauthenticated.len(), PER_SOURCE.active + PER_SOURCE.waiting);
        open(&registry, "10.0.0.2").unwrap().admitted().await;
        let behind_a_proxy: Vec<_> = (0..9000).map_while(|_| open(&registry, "10.9.0.1")).collect();
        assert!(behind_a_proxy.len() > PER_SOURCE.active + PER_SOURCE.waiting);
    }

    #[tokio::test]
    async fn connections_of_one_host_are_limited_and_released() {
        let registry = registry(32_768);
        let mut kept = Vec::new();
        for _ in 0..PER_HOST {
            let connection = open(&registry, "10.0.0.1").unwrap();
            connection.identify(&host("as-1")).unwrap();
            connection.identify(&host("as-1")).unwrap();
            kept.push(connection);
        }
        let more = open(&registry, "10.0.0.1").unwrap();
        assert_eq!(
            more.identify(&host("as-1")).unwrap_err(),
            TooManyConnections::OfParty { count: PER_HOST }
        );
        more.identify(&host("as-2")).unwrap();
        kept.pop();
        more.identify(&host("as-1")).unwrap();
        drop((kept, more));
        let state = registry.lock();
        assert!(state.authenticated.is_empty() && state.signals.is_empty());
        assert_eq!(state.authenticated_total, 0);
    }

    #[tokio::test]
    async fn unauthenticated_connections_are_evicted_and_authenticated_ones_are_not() {
        let registry = registry(32_768);
        let anonymous = open(&registry, "10.0.0.1").unwrap();
        let known = open(&registry, "10.0.0.1").unwrap();
        known.identify(&host("as-1")).unwrap();
        let within = Duration::from_millis(20);
        anonymous.evicted(within).await;
        tokio::select! {
            () = known.evicted(within) => panic!("evicted"),
            () = sleep(within * 10) => {}
        }
    }

    #[test]
    fn when_a_connection_can_be_evicted() {
        let now = Instant::now();
        let signals = Signals::new(now);
        assert!(!signals.is_evictable(now), "it has only come");
        assert!(signals.is_evictable(now + GRACE), "it says nothing");
        signals.activity().received_at = now + GRACE;
        assert!(!signals.is_evictable(now + GRACE), "it has said something");
        assert!(signals.is_evictable(now + GRACE * 2));
        signals.activity().received_at = now + SLOW;
        assert!(signals.is_evictable(now + SLOW), "a word now and then is not enough");
        signals.activity().request = RequestState::Processed;
        assert!(!signals.is_evictable(now + SLOW * 9), "it waits for us");
        signals.activity().request = RequestState::BodyAwaited;
        assert!(signals.is_evictable(now + SLOW * 9), "and now for nobody");
    }

    #[test]
    fn capacity_follows_the_limit_of_open_files() {
        for files in [1024, 4096, 32_768, 1 << 20] {
            let Capacity { unauthenticated, authenticated } = Capacity::for_open_files(files);
            let Limits { active, waiting } = unauthenticated;
            assert!(active + waiting + authenticated <= files * 7 / 8, "{files}");
        }
    }
}
