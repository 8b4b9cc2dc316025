//! Connections: TLS, so many at a time, each with its limits.

pub(crate) mod guest;
mod hall;
mod patient;
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
use crate::problem::Problem;
use crate::settings::Settings;
use guest::{Guest, Guests, Places};
use patient::Patient;
use tracked::{Rest, Sender};

/// How long a connection waits for its turn.
const WAIT: Duration = Duration::from_secs(15);
const HANDSHAKE: Duration = Duration::from_secs(10);
const READ_HEADERS: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(120);
/// A stranger's connection is not kept for another request from then on.
const STRANGER_STAYS: Duration = Duration::from_secs(20);
/// Nor after so many requests: who sends thousands and reads no answer would have them all answered,
/// as far as the kernel's buffers go.
const STRANGER_ASKS: u32 = 64;
/// A stranger's connection ends then, whatever goes on.
const STRANGER_GOES: Duration = Duration::from_secs(60);
/// What has to be taken of an answer, in bytes per second, by somebody who is slow.
const READING: u32 = 4096;
/// Bytes read ahead, and headers, at most.
const MAX_BUFFER: usize = 16 << 10;

/// Lets connections in, so many at a time.
pub(crate) struct Door {
    router: Router,
    acceptor: TlsAcceptor,
    graceful: GracefulShutdown,
    guests: Arc<Guests>,
    usher: JoinHandle<()>,
    not_reading: Duration,
}

impl Door {
    /// Serves `router` under TLS, where so many files may be open.
    pub(crate) fn new(
        router: Router,
        config: Arc<rustls::ServerConfig>,
        settings: &Settings,
        files: usize,
    ) -> Self {
        let proxies = settings.proxy_networks.clone();
        let guests = Arc::new(Guests::new(Places::within(files), proxies));
        let makes_room = guests.clone();
        Self {
            router,
            acceptor: TlsAcceptor::from(config),
            graceful: GracefulShutdown::new(),
            usher: tokio::spawn(async move { makes_room.make_room().await }),
            guests,
            not_reading: Duration::from_millis(settings.not_reading_ms),
        }
    }

    /// Done when every connection is.
    pub(crate) async fn close(self) {
        self.graceful.shutdown().await;
        self.usher.abort();
    }

    /// Serves a connection when it is its turn, unless too many wait.
    pub(crate) fn open(&self, stream: TcpStream, from: SocketAddr) {
        let Some(guest) = self.guests.arrive(from.ip()) else { return refused("connections") };
        let acceptor = self.acceptor.clone();
        let router = self.router.clone();
        let watcher = self.graceful.watcher();
        let listening = guest.clone();
        let stream = Patient::new(stream, move || listening.heard(), self.not_reading, READING);
        tokio::spawn(async move {
            if timeout(WAIT, guest.entered()).await.is_err() {
                return refused("connections");
            }
            tokio::select! {
                () = served(stream, from, &guest, acceptor, router, watcher) => {}
                () = guest.shown_out(STRANGER_GOES) => refused("stranger"),
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
    guest: &Guest,
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
        answered(router.clone(), request, from, guest.clone(), before)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(READ_HEADERS)
        .max_buf_size(MAX_BUFFER)
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%from, %error, "a connection broke off");
    }
}

/// Answers a request. A client that was answered before all of its body was taken hears that the
/// connection ends, since the rest of the body is in the way of another request; so does a stranger
/// who has been here for a while, or has asked often. `before`: requests over this connection until now.
async fn answered(
    router: Router,
    request: hyper::Request<Incoming>,
    from: SocketAddr,
    guest: Guest,
    before: u32,
) -> Result<Response, Infallible> {
    let rest = Rest::default();
    let sender = match request.headers().get(header::EXPECT) {
        Some(_) => Sender::WaitsToBeAsked,
        None => Sender::Sends,
    };
    let mut request = request.map(|body| rest.track(body, sender, guest.clone()));
    request.extensions_mut().insert(Client(SocketAddr::new(from.ip().to_canonical(), from.port())));
    request.extensions_mut().insert(guest.clone());
    guest.is_answered(true);
    let mut response = match timeout(ANSWER, router.oneshot(request)).await {
        Ok(Ok(response)) => response,
        Ok(Err(never)) => match never {},
        Err(_) => too_slow(),
    };
    guest.is_answered(false);
    rest.drain(guest.is_stranger()).await;
    let is_new = || guest.since().elapsed() < STRANGER_STAYS && before + 1 < STRANGER_ASKS;
    let stays = !guest.is_stranger() || is_new();
    if !(rest.is_whole() && stays) {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

fn too_slow() -> Response {
    Problem::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "The request took too long")
        .into_response()
}
