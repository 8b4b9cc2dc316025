//! Whose connection it is. A connection is a stranger's until a request on it proves who sends it;
//! then it counts as that party's.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::Extensions;
use ipnet::IpNet;
use tokio::sync::Notify;
use tokio::time::sleep;
use xshield_policy::AssetId;

use super::hall::{GRACE, Hall, Room, Share, Ticket, Turn};
use crate::source::Source;

/// Connections of strangers from one source.
const SHARE: Share = Share { inside: 256, waiting: 1024 };
/// The same from the address of a proxy that operators named: many hosts speak from there.
const PROXY_SHARE: Share = Share { inside: 1024, waiting: 6144 };
/// Every agent holds a poll open, and checks in beside it.
const PER_HOST: usize = 16;
/// Several people and programs may use one account, and browsers open six at once.
const PER_ACCOUNT: usize = 128;
/// Downloads of list files, which are not signed.
const PER_READER: usize = 256;
/// Who has proven nothing for so long is slow, even if it says something now and then.
const SLOW: Duration = Duration::from_secs(5);
/// Between two looks at who gives way, while somebody waits.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// Who sends a request.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Party {
    /// Nobody knows.
    Stranger(Source),
    /// A host with a session.
    Host(AssetId),
    /// Whoever uses an account.
    Account(String),
    /// Somebody who knows the digest of a list file, which hosts alone are told.
    Reader(Source),
}

impl Party {
    fn connections(&self) -> usize {
        match self {
            Self::Stranger(_) => SHARE.inside,
            Self::Host(_) => PER_HOST,
            Self::Account(_) => PER_ACCOUNT,
            Self::Reader(_) => PER_READER,
        }
    }
}

/// A connection can't be counted as that of the party that sends a request on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TooManyConnections {
    /// The party has as many as it may have.
    #[error(
        "there are {count} connections of this sender, the most it may have; close some, or try again \
         later"
    )]
    OfParty {
        /// How many.
        count: usize,
    },
    /// All parties together have as many as fit.
    #[error("the platform has as many connections as it can serve; try again later")]
    InAll,
    /// The connection was given up for one that waited.
    #[error("the connection was closed in favour of a waiting one; try again")]
    Evicted,
}

/// Notes on a request, and on its connection, who sends it.
///
/// # Errors
/// When that party has as many connections as it may have.
pub(crate) fn vouch(extensions: &mut Extensions, party: Party) -> Result<(), TooManyConnections> {
    if let Some(guest) = extensions.get::<Guest>() {
        guest.vouch(&party)?;
    }
    extensions.insert(party);
    Ok(())
}

/// How many connections there may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) strangers: Room,
    /// Of those who have proven who they are.
    pub(super) known: usize,
}

impl Places {
    /// What fits into so many open files; an eighth is for files and the database.
    pub(super) fn within(files: usize) -> Self {
        let strangers = Room {
            inside: (files / 16).clamp(16, 2048),
            waiting: (files / 16 * 3).clamp(64, 6144),
        };
        Self { strangers, known: (files / 8 * 5).clamp(64, 20_480) }
    }
}

/// Everybody who is connected.
#[derive(Debug)]
pub(super) struct Guests {
    proxies: Vec<IpNet>,
    places: Places,
    present: Mutex<Present>,
    somebody_waits: Notify,
}

/// Whether somebody waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    Nobody,
    Some,
}

#[derive(Debug)]
struct Present {
    hall: Hall,
    signals: HashMap<Ticket, Arc<Signals>>,
    known: HashMap<Party, usize>,
    known_in_all: usize,
}

/// What a connection waits for, and who waits for it.
#[derive(Debug)]
struct Signals {
    enter: Notify,
    give_way: Notify,
    turn: Mutex<Turns>,
}

/// Whose turn it is to do something.
#[derive(Debug, Clone, Copy)]
struct Turns {
    entered: Instant,
    /// When something was heard last.
    heard: Instant,
    /// Whether a request is being answered, and whether more of its body is waited for.
    request: RequestState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum RequestState {
    None,
    Answered,
    BodyAwaited,
}

impl Signals {
    fn new(now: Instant) -> Self {
        let turn = Turns { entered: now, heard: now, request: RequestState::None };
        Self { enter: Notify::new(), give_way: Notify::new(), turn: Mutex::new(turn) }
    }

    /// Whether it has had time to do something, and is not waiting for us.
    fn is_waited_for(&self, now: Instant) -> bool {
        let Turns { entered, heard, request } = *self.turn();
        let is_silent = now.saturating_duration_since(heard) >= GRACE;
        let is_slow = now.saturating_duration_since(entered) >= SLOW;
        request != RequestState::Answered && (is_silent || is_slow)
    }

    fn turn(&self) -> MutexGuard<'_, Turns> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Guests {
    pub(super) fn new(places: Places, proxies: Vec<IpNet>) -> Self {
        let present = Present {
            hall: Hall::new(places.strangers),
            signals: HashMap::new(),
            known: HashMap::new(),
            known_in_all: 0,
        };
        Self { proxies, places, present: Mutex::new(present), somebody_waits: Notify::new() }
    }

    /// A connection from there; `None` when there is no room even to wait.
    pub(super) fn arrive(self: &Arc<Self>, from: IpAddr) -> Option<Guest> {
        let from = from.to_canonical();
        let is_proxy = self.proxies.iter().any(|network| network.contains(&from));
        let share = if is_proxy { PROXY_SHARE } else { SHARE };
        let source = Source::from(from);
        let signals = Arc::new(Signals::new(Instant::now()));
        let mut present = self.lock();
        let ticket = present.hall.arrive(source, share)?;
        present.signals.insert(ticket, signals.clone());
        let turns = present.hall.turns(Instant::now());
        present.tell(turns);
        drop(present);
        self.somebody_waits.notify_one();
        Some(Guest(Arc::new(Connection {
            guests: self.clone(),
            since: Instant::now(),
            standing: Mutex::new(Standing::Stranger(ticket)),
            signals,
        })))
    }

    /// Makes room for those who wait, for ever.
    pub(super) async fn make_room(&self) {
        loop {
            self.somebody_waits.notified().await;
            while self.look() == Waiting::Some {
                sleep(LOOK_AGAIN).await;
            }
        }
    }

    fn look(&self) -> Waiting {
        let mut present = self.lock();
        let now = Instant::now();
        let Present { hall, signals, .. } = &mut *present;
        let is_waited_for = |ticket| {
            signals.get(&ticket).is_none_or(|signals: &Arc<Signals>| signals.is_waited_for(now))
        };
        let turns = hall.look(now, is_waited_for);
        present.tell(turns);
        if present.hall.is_nobody_waiting() { Waiting::Nobody } else { Waiting::Some }
    }

    fn lock(&self) -> MutexGuard<'_, Present> {
        self.present.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Present {
    fn tell(&mut self, turns: Vec<Turn>) {
        for turn in turns {
            match turn {
                Turn::Enter(ticket) => {
                    if let Some(signals) = self.signals.get(&ticket) {
                        signals.enter.notify_one();
                    }
                }
                Turn::GiveWay(ticket) => {
                    if let Some(signals) = self.signals.remove(&ticket) {
                        signals.give_way.notify_one();
                    }
                }
            }
        }
    }

    /// A stranger goes, or is none any more. `false`: it was told to give way before.
    fn leave_hall(&mut self, ticket: Ticket) -> bool {
        let was_there = self.signals.remove(&ticket).is_some();
        self.hall.leave(ticket);
        let turns = self.hall.turns(Instant::now());
        self.tell(turns);
        was_there
    }

    fn forget(&mut self, party: &Party) {
        if let Some(count) = self.known.get_mut(party) {
            *count -= 1;
            self.known_in_all -= 1;
            if *count == 0 {
                self.known.remove(party);
            }
        }
    }
}

/// A connection, as requests on it see it.
#[derive(Debug, Clone)]
pub(crate) struct Guest(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    guests: Arc<Guests>,
    since: Instant,
    standing: Mutex<Standing>,
    signals: Arc<Signals>,
}

#[derive(Debug)]
enum Standing {
    Stranger(Ticket),
    Known(Party),
}

impl Guest {
    /// When it arrived.
    pub(super) fn since(&self) -> Instant {
        self.0.since
    }

    /// Whether nobody knows whose it is.
    pub(super) fn is_stranger(&self) -> bool {
        matches!(*self.0.lock(), Standing::Stranger(_))
    }

    /// It has said something.
    pub(super) fn heard(&self) {
        self.0.signals.turn().heard = Instant::now();
    }

    /// A request of it is being answered, or not any more.
    pub(super) fn is_answered(&self, answered: bool) {
        let request = if answered { RequestState::Answered } else { RequestState::None };
        self.0.signals.turn().request = request;
    }

    /// More of a request's body is waited for, or has come.
    pub(super) fn body_is_awaited(&self, awaited: bool) {
        let request = if awaited { RequestState::BodyAwaited } else { RequestState::Answered };
        self.0.signals.turn().request = request;
    }

    /// Done when it may be served.
    pub(super) async fn entered(&self) {
        self.0.signals.enter.notified().await;
        let now = Instant::now();
        let mut turn = self.0.signals.turn();
        (turn.entered, turn.heard) = (now, now);
    }

    /// Done when it has to end because others wait, or because it has proven nothing for so long.
    pub(super) async fn shown_out(&self, within: Duration) {
        tokio::select! {
            () = self.0.signals.give_way.notified() => return,
            () = sleep(within) => {}
        }
        if !self.is_stranger() {
            std::future::pending::<()>().await;
        }
    }

    /// It is this party's from now on.
    ///
    /// # Errors
    /// When the party has as many connections as it may have.
    pub(crate) fn vouch(&self, party: &Party) -> Result<(), TooManyConnections> {
        let mut standing = self.0.lock();
        if matches!(&*standing, Standing::Known(known) if known == party) {
            return Ok(());
        }
        let mut present = self.0.guests.lock();
        let count = present.known.get(party).copied().unwrap_or_default();
        if count >= party.connections() {
            return Err(refused(TooManyConnections::OfParty { count }));
        }
        if present.known_in_all >= self.0.guests.places.known {
            return Err(refused(TooManyConnections::InAll));
        }
        match &*standing {
            Standing::Stranger(ticket) => {
                if !present.leave_hall(*ticket) {
                    return Err(refused(TooManyConnections::Evicted));
                }
            }
            Standing::Known(before) => present.forget(before),
        }
        *present.known.entry(party.clone()).or_insert(0) += 1;
        present.known_in_all += 1;
        *standing = Standing::Known(party.clone());
        Ok(())
    }
}

fn refused(error: TooManyConnections) -> TooManyConnections {
    metrics::counter!("xshield_refused_total", "reason" => "connections").increment(1);
    error
}

impl Connection {
    fn lock(&self) -> MutexGuard<'_, Standing> {
        self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let standing = self.standing.get_mut().unwrap_or_else(PoisonError::into_inner);
        let mut present = self.guests.lock();
        match standing {
            Standing::Stranger(ticket) => {
                present.leave_hall(*ticket);
            }
            Standing::Known(party) => present.forget(party),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guests(files: usize) -> Arc<Guests> {
        Arc::new(Guests::new(Places::within(files), vec!["10.9.0.0/16".parse().unwrap()]))
    }

    fn arrive(guests: &Arc<Guests>, from: &str) -> Option<Guest> {
        guests.arrive(from.parse().unwrap())
    }

    fn host(name: &str) -> Party {
        Party::Host(name.parse().unwrap())
    }

    #[tokio::test]
    async fn those_who_have_proven_who_they_are_take_no_strangers_place() {
        let guests = guests(32_768);
        let mut kept = Vec::new();
        for number in 0..2000 {
            let guest = arrive(&guests, "10.0.0.1").unwrap();
            guest.entered().await;
            guest.vouch(&host(&format!("as-{number}"))).unwrap();
            kept.push(guest);
        }
        // Strangers beyond the share wait, and beyond that are not let in; others are.
        let strangers: Vec<_> = (0..2000).map_while(|_| arrive(&guests, "10.0.0.1")).collect();
        assert_eq!(strangers.len(), SHARE.inside + SHARE.waiting);
        arrive(&guests, "10.0.0.2").unwrap().entered().await;
        let behind_a_proxy: Vec<_> = (0..9000).map_while(|_| arrive(&guests, "10.9.0.1")).collect();
        assert!(behind_a_proxy.len() > SHARE.inside + SHARE.waiting);
    }

    #[tokio::test]
    async fn one_host_has_few_connections_and_gets_them_back() {
        let guests = guests(32_768);
        let mut kept = Vec::new();
        for _ in 0..PER_HOST {
            let guest = arrive(&guests, "10.0.0.1").unwrap();
            guest.vouch(&host("as-1")).unwrap();
            guest.vouch(&host("as-1")).unwrap();
            kept.push(guest);
        }
        let more = arrive(&guests, "10.0.0.1").unwrap();
        assert_eq!(
            more.vouch(&host("as-1")).unwrap_err(),
            TooManyConnections::OfParty { count: PER_HOST }
        );
        more.vouch(&host("as-2")).unwrap();
        kept.pop();
        more.vouch(&host("as-1")).unwrap();
        drop((kept, more));
        let present = guests.lock();
        assert!(present.known.is_empty() && present.signals.is_empty());
        assert_eq!(present.known_in_all, 0);
    }

    #[tokio::test]
    async fn strangers_are_shown_out_in_time_and_known_parties_are_not() {
        let guests = guests(32_768);
        let stranger = arrive(&guests, "10.0.0.1").unwrap();
        let known = arrive(&guests, "10.0.0.1").unwrap();
        known.vouch(&host("as-1")).unwrap();
        let within = Duration::from_millis(20);
        stranger.shown_out(within).await;
        tokio::select! {
            () = known.shown_out(within) => panic!("shown out"),
            () = sleep(within * 10) => {}
        }
    }

    #[test]
    fn whose_turn_it_is() {
        let now = Instant::now();
        let signals = Signals::new(now);
        assert!(!signals.is_waited_for(now), "it has only come");
        assert!(signals.is_waited_for(now + GRACE), "it says nothing");
        signals.turn().heard = now + GRACE;
        assert!(!signals.is_waited_for(now + GRACE), "it has said something");
        assert!(signals.is_waited_for(now + GRACE * 2));
        signals.turn().heard = now + SLOW;
        assert!(signals.is_waited_for(now + SLOW), "a word now and then is not enough");
        signals.turn().request = RequestState::Answered;
        assert!(!signals.is_waited_for(now + SLOW * 9), "it waits for us");
        signals.turn().request = RequestState::BodyAwaited;
        assert!(signals.is_waited_for(now + SLOW * 9), "and now for nobody");
    }

    #[test]
    fn places_follow_the_open_files_that_are_allowed() {
        for files in [1024, 4096, 32_768, 1 << 20] {
            let Places { strangers, known } = Places::within(files);
            assert!(strangers.inside + strangers.waiting + known <= files * 7 / 8, "{files}");
        }
    }
}
