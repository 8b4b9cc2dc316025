//! Request bodies, and limits on how many bytes of them may be in memory.
//!
//! A body takes its memory piece by piece, as it arrives, from the share of its sender and from the total,
//! and releases it when its handler is done. Unauthenticated senders get a small share from a separate
//! budget; small bodies don't wait behind large ones; and bodies that arrive too slowly are aborted.

use std::collections::HashMap;
use std::ops::Deref;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::connections::party::Party;
use crate::transfer_timeout::TransferTimeout;

/// The largest body of any sender, in bytes.
pub(crate) const MAX_BODY: usize = 8 << 20;
/// The largest body of an unauthenticated sender (a sign-in, or a host that sets up a session), in bytes.
pub(crate) const MAX_UNAUTHENTICATED: usize = 16 << 10;
/// Memory for all unauthenticated bodies, in KiB.
const UNAUTHENTICATED: u32 = 8 << 10;
/// Of which for one source.
const ONE_UNAUTHENTICATED: u32 = 1 << 10;
/// Memory for the first part of all other bodies: many are not larger.
const BEGINNINGS: u32 = 16 << 10;
/// The size of that first part.
const BEGINNING: u32 = 64;
/// Memory for the rest of them.
const LARGE: u32 = 48 << 10;
/// Memory for one host or one account: one of the largest bodies, and a small one beside it.
const OF_ONE: u32 = 9 << 10;
/// The number of idle senders to remember.
const MOST_SHARES: usize = 4096;
/// The first allocation of a body.
const FIRST: u32 = 4;
/// The timeouts.
const TIMES: Times = Times { for_room: Duration::from_secs(5), for_bytes: Duration::from_secs(10) };
/// The minimum average rate, in bytes per second.
const ARRIVING: u32 = 4096;

/// Why a body was not read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BodyError {
    /// It is larger than its sender may send.
    #[error("at most {most} bytes are accepted here; send less at once")]
    TooLarge {
        /// What would be accepted.
        most: usize,
    },
    /// It arrives too slowly.
    #[error("at least {ARRIVING} bytes a second are expected")]
    TooSlow,
    /// Too many bodies are in memory.
    #[error("too many requests with bodies arrive at the same time; try again later")]
    NoRoom,
    /// The connection broke, or its HTTP is malformed.
    #[error(transparent)]
    Broken(axum::Error),
}

/// Timeouts.
#[derive(Debug, Clone, Copy)]
struct Times {
    /// For memory to become available.
    for_room: Duration,
    /// For a sender that sends nothing.
    for_bytes: Duration,
}

/// The memory for bodies.
#[derive(Debug)]
pub(crate) struct Bodies {
    unauthenticated: Arc<Semaphore>,
    beginnings: Arc<Semaphore>,
    large: Arc<Semaphore>,
    times: Times,
    shares: Mutex<HashMap<Party, Weak<Semaphore>>>,
}

impl Default for Bodies {
    fn default() -> Self {
        let room = |kib: u32| Arc::new(Semaphore::new(kib as usize));
        Self {
            unauthenticated: room(UNAUTHENTICATED),
            beginnings: room(BEGINNINGS),
            large: room(LARGE),
            times: TIMES,
            shares: Mutex::default(),
        }
    }
}

/// A complete body, with the memory that it occupies.
#[derive(Debug)]
pub(crate) struct Held {
    bytes: Bytes,
    _room: Vec<OwnedSemaphorePermit>,
}

impl Deref for Held {
    type Target = Bytes;

    fn deref(&self) -> &Bytes {
        &self.bytes
    }
}

impl Bodies {
    /// Reads a body of at most the given size.
    ///
    /// # Errors
    /// When it is too large, too slow, is aborted, or there is no memory for it.
    pub(crate) async fn read(
        &self,
        party: &Party,
        mut body: Body,
        most: usize,
    ) -> Result<Held, BodyError> {
        if body.size_hint().lower() > most as u64 {
            return Err(too_large(most));
        }
        let share = self.share(party);
        let mut transfer_timeout = TransferTimeout::new(self.times.for_bytes, ARRIVING);
        let (mut bytes, mut room, mut held) = (Vec::new(), 0_u32, Vec::new());
        loop {
            let asked = Instant::now();
            let next = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
            let frame = timeout(transfer_timeout.left(), next).await.map_err(|_| too_slow())?;
            transfer_timeout.waited(asked.elapsed());
            let Some(frame) = frame else { break };
            let frame = frame.map_err(BodyError::Broken)?;
            let Some(data) = frame.data_ref() else { continue };
            transfer_timeout.moved(data.len());
            let needed = bytes.len() + data.len();
            if needed > most {
                return Err(too_large(most));
            }
            if needed > kib_to_bytes(room) {
                let wanted = bytes_to_kib(needed).max(room.saturating_mul(2)).max(FIRST);
                let wanted = wanted.min(bytes_to_kib(most));
                held.extend(self.hold(party, &share, room, wanted).await?);
                room = wanted;
                bytes.reserve_exact(kib_to_bytes(room) - bytes.len());
            }
            bytes.extend_from_slice(data);
        }
        Ok(Held { bytes: bytes.into(), _room: held })
    }

    /// Extends the reservation from one size in KiB to another.
    async fn hold(
        &self,
        party: &Party,
        share: &Arc<Semaphore>,
        from: u32,
        to: u32,
    ) -> Result<Vec<OwnedSemaphorePermit>, BodyError> {
        let begins = from.min(BEGINNING)..to.min(BEGINNING);
        let goes_on = from.max(BEGINNING)..to.max(BEGINNING);
        let (first, rest) = match party {
            Party::Unauthenticated(_) => (&self.unauthenticated, &self.unauthenticated),
            _ => (&self.beginnings, &self.large),
        };
        let parts = [
            (share, to - from),
            (first, begins.end - begins.start),
            (rest, goes_on.end - goes_on.start),
        ];
        let until = Instant::now() + self.times.for_room;
        let mut held = Vec::new();
        for (room, kib) in parts.into_iter().filter(|(_, kib)| *kib > 0) {
            let permit = timeout_at(until, room.clone().acquire_many_owned(kib)).await;
            // The semaphores are never closed.
            held.push(permit.ok().and_then(Result::ok).ok_or_else(no_room)?);
        }
        Ok(held)
    }

    fn share(&self, party: &Party) -> Arc<Semaphore> {
        let kib =
            if matches!(party, Party::Unauthenticated(_)) { ONE_UNAUTHENTICATED } else { OF_ONE };
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = shares.get(party).and_then(Weak::upgrade) {
            return known;
        }
        if shares.len() >= MOST_SHARES {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Semaphore::new(kib as usize));
        shares.insert(party.clone(), Arc::downgrade(&share));
        share
    }

    /// Forgets idle senders.
    pub(crate) fn forget(&self) {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        shares.retain(|_, share| share.strong_count() > 0);
    }
}

fn bytes_to_kib(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX)
}

fn kib_to_bytes(kib: u32) -> usize {
    kib as usize * 1024
}

fn counted(reason: &'static str, error: BodyError) -> BodyError {
    metrics::counter!("xshield_refused_total", "reason" => reason).increment(1);
    error
}

fn too_large(most: usize) -> BodyError {
    counted("body-too-large", BodyError::TooLarge { most })
}

fn too_slow() -> BodyError {
    counted("body-too-slow", BodyError::TooSlow)
}

fn no_room() -> BodyError {
    counted("bodies", BodyError::NoRoom)
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::task::{Context, Poll};

    use hyper::body::Frame;
    use tokio::time::sleep;

    use super::*;
    use crate::source::Source;

    /// A body of chunks with pauses in between, and of no stated length.
    struct Slow {
        pieces: Vec<usize>,
        after: Duration,
        sleep: Option<Pin<Box<tokio::time::Sleep>>>,
    }

    impl axum::body::HttpBody for Slow {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            context: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            let after = self.after;
            let sleeping = self.sleep.get_or_insert_with(|| Box::pin(sleep(after)));
            if sleeping.as_mut().poll(context).is_pending() {
                return Poll::Pending;
            }
            self.sleep = None;
            let piece = self.pieces.pop();
            Poll::Ready(piece.map(|bytes| Ok(Frame::data(Bytes::from(vec![b'x'; bytes])))))
        }
    }

    use std::future::Future as _;

    fn slow(pieces: &[usize], after: Duration) -> Body {
        Body::new(Slow { pieces: pieces.to_vec(), after, sleep: None })
    }

    fn quick() -> Bodies {
        let ten = Duration::from_millis(10);
        Bodies { times: Times { for_room: ten, for_bytes: ten * 50 }, ..Bodies::default() }
    }

    fn anonymous(number: u8) -> Party {
        Party::Unauthenticated(Source::from(IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))))
    }

    fn host(name: &str) -> Party {
        Party::Host(name.parse().unwrap())
    }

    fn free(bodies: &Bodies) -> [usize; 3] {
        [&bodies.unauthenticated, &bodies.beginnings, &bodies.large]
            .map(|room| room.available_permits())
    }

    const ALL: [usize; 3] = [UNAUTHENTICATED as usize, BEGINNINGS as usize, LARGE as usize];

    #[tokio::test]
    async fn a_body_reserves_memory_as_it_arrives_and_releases_it() {
        let bodies = quick();
        let pieces = [1000, 100_000, 1, 3_000_000];
        let held = bodies.read(&host("as-1"), slow(&pieces, Duration::ZERO), MAX_BODY).await;
        let held = held.unwrap();
        assert_eq!(held.len(), 3_101_001);
        let [unauthenticated, beginnings, large] = free(&bodies);
        assert_eq!((unauthenticated, beginnings), (ALL[0], ALL[1] - BEGINNING as usize));
        assert!(kib_to_bytes(u32::try_from(ALL[2] - large).unwrap()) >= 3_000_000);
        drop(held);
        assert_eq!(free(&bodies), ALL);
        let small =
            bodies.read(&anonymous(1), Body::from("{}"), MAX_UNAUTHENTICATED).await.unwrap();
        assert_eq!(free(&bodies), [ALL[0] - FIRST as usize, ALL[1], ALL[2]]);
        drop(small);
        bodies.forget();
        assert!(bodies.shares.lock().unwrap().is_empty());
    }

    #[tokio::test]
    async fn bodies_too_large_or_too_slow_are_refused() {
        let bodies = quick();
        let a_while = Duration::from_millis(20);
        let too_large = |error: &BodyError| matches!(error, BodyError::TooLarge { .. });
        let too_slow = |error: &BodyError| matches!(error, BodyError::TooSlow);
        for (body, is_expected) in [
            (Body::from(vec![0; MAX_UNAUTHENTICATED + 1]), too_large as fn(&BodyError) -> bool),
            (slow(&[MAX_UNAUTHENTICATED, 1], Duration::ZERO), too_large),
            (slow(&[1], a_while * 50), too_slow),
            (slow(&[1; 10_000], a_while), too_slow),
        ] {
            let refused = bodies.read(&anonymous(1), body, MAX_UNAUTHENTICATED).await.unwrap_err();
            assert!(is_expected(&refused), "{refused}");
            assert_eq!(free(&bodies), ALL);
        }
        let steady = slow(&[4096; 4], a_while);
        assert_eq!(bodies.read(&anonymous(1), steady, 16 << 10).await.unwrap().len(), 16 << 10);
    }

    #[tokio::test]
    async fn one_sender_cannot_use_the_memory_of_others_nor_large_bodies_that_of_small_ones() {
        let bodies = quick();
        let whole = || Body::from(vec![0; MAX_BODY]);
        let first = bodies.read(&host("as-1"), whole(), MAX_BODY).await.unwrap();
        let second = bodies.read(&host("as-1"), whole(), MAX_BODY).await.unwrap_err();
        assert!(matches!(second, BodyError::NoRoom), "{second}");
        let mut held = vec![first];
        for number in 2..20 {
            held.extend(bodies.read(&host(&format!("as-{number}")), whole(), MAX_BODY).await.ok());
        }
        assert!(held.len() < 19, "there is an end to it");
        let small = bodies.read(&host("as-99"), Body::from("{}"), MAX_BODY).await;
        assert_eq!(small.unwrap().len(), 2);
        let small = bodies.read(&anonymous(1), Body::from("{}"), MAX_UNAUTHENTICATED).await;
        assert_eq!(small.unwrap().len(), 2);
    }

    #[tokio::test]
    async fn many_unauthenticated_bodies_from_one_source_leave_room_for_others() {
        let bodies = Arc::new(quick());
        let mut held = Vec::new();
        loop {
            let body = Body::from(vec![0; MAX_UNAUTHENTICATED]);
            match bodies.read(&anonymous(1), body, MAX_UNAUTHENTICATED).await {
                Ok(taken) => held.push(taken),
                Err(refused) => break assert!(matches!(refused, BodyError::NoRoom), "{refused}"),
            }
        }
        assert_eq!(held.len(), 64);
        bodies.read(&anonymous(2), Body::from("{}"), MAX_UNAUTHENTICATED).await.unwrap();
    }
}
