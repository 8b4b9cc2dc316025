//! What becomes of a body that its handler did not read to the end. Simple clients read no answer
//! before they have sent everything, so a little more is taken, and let fall.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, Incoming, SizeHint};
use tokio::time::timeout;

use super::registry::Connection;

/// Bytes that are discarded of what an unauthenticated client sends.
const OF_UNAUTHENTICATED: usize = 256 << 10;
/// And of what others send, who may send a little too much by mistake.
const OF_OTHERS: usize = 2 * crate::bodies::MAX_BODY;
/// How long that may take.
const DRAIN_WITHIN: Duration = Duration::from_secs(5);

/// The part of a request's body that nobody has read.
#[derive(Clone, Default)]
pub(super) struct Rest(Arc<Mutex<Fate>>);

#[derive(Default)]
enum Fate {
    /// Its handler has it.
    #[default]
    InHand,
    /// All of it was read.
    Whole,
    /// Its handler let it go before the end.
    Left(Incoming),
    /// Nobody can read the rest any more.
    Lost,
}

impl Rest {
    /// Follows a body.
    pub(super) fn track(&self, body: Incoming, sender: Sender, connection: Connection) -> Tracked {
        if body.is_end_stream() {
            *self.fate() = Fate::Whole;
        }
        Tracked { body: Some(body), sender, connection, rest: self.clone() }
    }

    /// Whether nothing is left.
    pub(super) fn is_whole(&self) -> bool {
        matches!(*self.fate(), Fate::Whole)
    }

    /// Takes the rest and lets it fall, if it is not too much.
    pub(super) async fn drain(&self, is_unauthenticated: bool) {
        let Some(mut body) = self.left() else { return };
        let most = if is_unauthenticated { OF_UNAUTHENTICATED } else { OF_OTHERS };
        if body.size_hint().lower() > most as u64 {
            return;
        }
        let drained = timeout(DRAIN_WITHIN, async {
            let mut taken = 0_usize;
            while taken <= most {
                let frame = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
                match frame.await {
                    Some(Ok(frame)) => taken += frame.data_ref().map_or(0, Bytes::len),
                    Some(Err(_)) => return false,
                    None => return true,
                }
            }
            false
        });
        if drained.await.unwrap_or(false) {
            *self.fate() = Fate::Whole;
        }
    }

    fn left(&self) -> Option<Incoming> {
        let mut fate = self.fate();
        match std::mem::replace(&mut *fate, Fate::Lost) {
            Fate::Left(body) => Some(body),
            other => {
                *fate = other;
                None
            }
        }
    }

    fn fate(&self) -> MutexGuard<'_, Fate> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the sender of a body does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sender {
    /// It sends.
    Sends,
    /// It waits to be asked (`Expect: 100-continue`), and reads the answer meanwhile.
    WaitsToBeAsked,
}

/// A body that says when it was read to its end, and is left to [`Rest`] otherwise.
pub(super) struct Tracked {
    body: Option<Incoming>,
    sender: Sender,
    connection: Connection,
    rest: Rest,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        self.sender = Sender::Sends;
        let Self { body, connection, rest, .. } = &mut *self;
        let Some(body) = body else { return Poll::Ready(None) };
        let frame = Pin::new(&mut *body).poll_frame(context);
        connection.set_body_awaited(frame.is_pending());
        if matches!(frame, Poll::Ready(None)) || body.is_end_stream() {
            *rest.fate() = Fate::Whole;
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(SizeHint::default, HttpBody::size_hint)
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        let Some(body) = self.body.take() else { return };
        let mut fate = self.rest.fate();
        if matches!(*fate, Fate::InHand) {
            *fate = match self.sender {
                Sender::Sends => Fate::Left(body),
                Sender::WaitsToBeAsked => Fate::Lost,
            };
        }
    }
}
