//! Connections: TLS, so many at a time, each with its limits.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::{Bytes, HttpBody};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::{Frame, Incoming, SizeHint};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::api::Client;
use crate::problem::Problem;

const HANDSHAKE: Duration = Duration::from_secs(10);
const READ_HEADERS: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(120);
/// Every agent holds a poll open, and checks in beside it.
const CONNECTIONS: usize = 24_000;
/// Hosts behind one proxy share an address.
const CONNECTIONS_PER_ADDRESS: usize = 12_000;

type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// Lets connections in, so many at a time.
pub(crate) struct Door {
    router: Router,
    acceptor: TlsAcceptor,
    graceful: GracefulShutdown,
    all: Arc<Semaphore>,
    by_address: Counts,
}

impl Door {
    /// Serves `router` under TLS.
    pub(crate) fn new(router: Router, config: Arc<rustls::ServerConfig>) -> Self {
        Self {
            router,
            acceptor: TlsAcceptor::from(config),
            graceful: GracefulShutdown::new(),
            all: Arc::new(Semaphore::new(CONNECTIONS)),
            by_address: Arc::default(),
        }
    }

    /// Done when every connection is.
    pub(crate) async fn close(self) {
        self.graceful.shutdown().await;
    }

    /// Serves a connection, unless there are too many.
    pub(crate) fn open(&self, stream: TcpStream, from: SocketAddr) {
        let Some(place) = Place::take(&self.all, &self.by_address, from.ip().to_canonical()) else {
            metrics::counter!("xshield_refused_total", "reason" => "connections").increment(1);
            return;
        };
        let acceptor = self.acceptor.clone();
        let router = self.router.clone();
        let watcher = self.graceful.watcher();
        tokio::spawn(async move {
            let _place = place;
            let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(error)) => return tracing::debug!(%from, %error, "no TLS handshake"),
                Err(_) => return tracing::debug!(%from, "the TLS handshake took too long"),
            };
            let service =
                hyper::service::service_fn(move |request| answered(router.clone(), request, from));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(READ_HEADERS)
                .max_buf_size(64 << 10)
                .serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection).await {
                tracing::debug!(%from, %error, "a connection broke off");
            }
        });
    }
}

/// Answers a request. A client that was answered before all of its body was taken hears that the
/// connection ends, since the rest of the body is in the way of another request.
async fn answered(
    router: Router,
    request: hyper::Request<Incoming>,
    from: SocketAddr,
) -> Result<Response, Infallible> {
    let whole = Arc::new(AtomicBool::new(request.body().is_end_stream()));
    let mut request = request.map(|body| Tracked { body, whole: whole.clone() });
    request.extensions_mut().insert(Client(SocketAddr::new(from.ip().to_canonical(), from.port())));
    let mut response = match timeout(ANSWER, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => too_slow(),
    };
    if !whole.load(Ordering::Relaxed) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// A body that notes when all of it was taken.
struct Tracked {
    body: Incoming,
    whole: Arc<AtomicBool>,
}

impl HttpBody for Tracked {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if matches!(frame, Poll::Ready(None)) || self.body.is_end_stream() {
            self.whole.store(true, Ordering::Relaxed);
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn too_slow() -> Response {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "The request took too long")
        .into_response()
}

/// One connection's place among all, given back when dropped.
struct Place {
    counts: Counts,
    address: IpAddr,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    fn take(all: &Arc<Semaphore>, counts: &Counts, address: IpAddr) -> Option<Self> {
        let permit = all.clone().try_acquire_owned().ok()?;
        let mut counted = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counted.entry(address).or_insert(0);
        if *count >= CONNECTIONS_PER_ADDRESS {
            return None;
        }
        *count += 1;
        Some(Self { counts: counts.clone(), address, _permit: permit })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counted = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counted.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counted.remove(&self.address);
            }
        }
    }
}
