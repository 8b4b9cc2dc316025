//! Connections: TLS, so many at a time, each with its limits.

mod admission;
pub(crate) mod party;
pub(crate) mod registry;
mod timed_stream;
mod tracked;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt as _;

use crate::client::Client;
use crate::problem::ErrorResponse;
use crate::settings::Settings;
use registry::{Capacity, Connection, Registry};
use timed_stream::TimedStream;
use tracked::{Rest, Sender};

/// How long a connection waits for its turn.
const WAIT: Duration = Duration::from_secs(15);
const HANDSHAKE: Duration = Duration::from_secs(10);
const READ_HEADERS: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(120);
/// An unauthenticated connection is not kept for another request from then on.
const UNAUTHENTICATED_KEPT: Duration = Duration::from_secs(20);
/// Nor after so many requests: who sends thousands and reads no answer would have them all answered,
/// as far as the kernel's buffers go.
const UNAUTHENTICATED_REQUESTS: u32 = 64;
/// An unauthenticated connection is closed then, whatever goes on.
const UNAUTHENTICATED_AT_MOST: Duration = Duration::from_secs(60);
/// What has to be taken of an answer, in bytes per second, by somebody who is slow.
const READING: u32 = 4096;
/// Bytes read ahead, and headers, at most.
const MAX_BUFFER: usize = 16 << 10;

/// Serves connections, a limited number at a time.
pub(crate) struct Connections {
    router: Router,
    acceptor: TlsAcceptor,
    graceful: GracefulShutdown,
    registry: Arc<Registry>,
    evictor: JoinHandle<()>,
    not_reading: Duration,
}

impl Connections {
    /// Serves `router` under TLS, where so many files may be open.
    pub(crate) fn new(
        router: Router,
        config: Arc<rustls::ServerConfig>,
        settings: &Settings,
        files: usize,
    ) -> Self {
        let proxies = settings.proxy_networks.clone();
        let registry = Arc::new(Registry::new(Capacity::for_open_files(files), proxies));
        let evicting = registry.clone();
        Self {
            router,
            acceptor: TlsAcceptor::from(config),
            graceful: GracefulShutdown::new(),
            evictor: tokio::spawn(async move { evicting.evict_for_waiting().await }),
            registry,
            not_reading: Duration::from_millis(settings.not_reading_ms),
        }
    }

    /// Done when every connection has ended.
    pub(crate) async fn shut_down(self) {
        self.graceful.shutdown().await;
        self.evictor.abort();
    }

    /// Serves a connection when it is its turn, unless too many wait.
    pub(crate) fn serve(&self, stream: TcpStream, from: SocketAddr) {
        let Some(connection) = self.registry.register(from.ip()) else {
            return refused("connections");
        };
        let acceptor = self.acceptor.clone();
        let router = self.router.clone();
        let watcher = self.graceful.watcher();
        let receiving = connection.clone();
        let stream =
            TimedStream::new(stream, move || receiving.received(), self.not_reading, READING);
        tokio::spawn(async move {
            if timeout(WAIT, connection.admitted()).await.is_err() {
                return refused("connections");
            }
            tokio::select! {
                () = served(stream, from, &connection, acceptor, router, watcher) => {}
                () = connection.evicted(UNAUTHENTICATED_AT_MOST) => refused("stranger"),
            }
        });
    }
}

fn refused(reason: &'static str) {
    metrics::counter!("xshield_refused_total", "reason" => reason).increment(1);
}

async fn served(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    from: SocketAddr,
    connection: &Connection,
    acceptor: TlsAcceptor,
    router: Router,
    watcher: Watcher,
) {
    let stream = match timeout(HANDSHAKE, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return tracing::debug!(%from, %error, "no TLS handshake"),
        Err(_) => return tracing::debug!(%from, "the TLS handshake took too long"),
    };
    let asked = AtomicU32::new(0);
    let service = hyper::service::service_fn(|request| {
        let before = asked.fetch_add(1, Ordering::Relaxed);
        answered(router.clone(), request, from, connection.clone(), before)
    });
    let http = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(http).await {
        tracing::debug!(%from, %error, "a connection broke off");
    }
}

/// Answers a request. A client that was answered before all of its body was taken hears that the
/// connection ends, since the rest of the body is in the way of another request; so does an
/// unauthenticated one after a while, or after many requests. `before`: requests over this connection until now.
async fn answered(
    router: Router,
    request: hyper::Request<Incoming>,
    from: SocketAddr,
    connection: Connection,
    before: u32,
) -> Result<Response, Infallible> {
    let rest = Rest::default();
    let sender = match request.headers().get(header::EXPECT) {
        Some(_) => Sender::WaitsToBeAsked,
        None => Sender::Sends,
    };
    let mut request = request.map(|body| rest.track(body, sender, connection.clone()));
    request.extensions_mut().insert(Client(SocketAddr::new(from.ip().to_canonical(), from.port())));
    request.extensions_mut().insert(connection.clone());
    connection.set_processed(true);
    let mut response = match timeout(ANSWER, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => too_slow(),
    };
    connection.set_processed(false);
    rest.drain(connection.is_unauthenticated()).await;
    let is_new = || {
        connection.since().elapsed() < UNAUTHENTICATED_KEPT && before + 1 < UNAUTHENTICATED_REQUESTS
    };
    let stays = !connection.is_unauthenticated() || is_new();
    if !(rest.is_whole() && stays) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

fn too_slow() -> Response {
    ErrorResponse::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "The request took too long")
        .into_response()
}
