//! A connection whose other end must take what it is sent.

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use crate::transfer_timeout::TransferTimeout;

/// A stream that breaks off when the other end does not read.
pub(super) struct TimedStream<S, H> {
    stream: S,
    /// Called when something arrived.
    on_read: H,
    transfer_timeout: TransferTimeout,
    /// Since when a write waits, and until when it may.
    blocked: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<S, H> TimedStream<S, H> {
    /// Waits so long for the other end, and longer for what it takes at this rate or above.
    pub(super) fn new(stream: S, on_read: H, most: Duration, bytes_per_second: u32) -> Self {
        Self {
            stream,
            on_read,
            transfer_timeout: TransferTimeout::new(most, bytes_per_second),
            blocked: None,
        }
    }

    fn noted(
        &mut self,
        written: Poll<io::Result<usize>>,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        match written {
            Poll::Ready(written) => {
                if let Some((since, _)) = self.blocked.take() {
                    self.transfer_timeout.waited(since.elapsed());
                }
                if let Ok(bytes) = &written {
                    self.transfer_timeout.moved(*bytes);
                }
                Poll::Ready(written)
            }
            Poll::Pending => {
                let left = self.transfer_timeout.left();
                let (_, end) =
                    self.blocked.get_or_insert_with(|| (Instant::now(), Box::pin(sleep(left))));
                if end.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                metrics::counter!("xshield_refused_total", "reason" => "not-reading").increment(1);
                let reason = "the other end does not read what it asked for";
                Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, reason)))
            }
        }
    }
}

impl<S: AsyncRead + Unpin, H: Fn() + Unpin> AsyncRead for TimedStream<S, H> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            (self.on_read)();
        }
        read
    }
}

impl<S: AsyncWrite + Unpin, H: Unpin> AsyncWrite for TimedStream<S, H> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.noted(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, bytes);
        self.noted(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    #[tokio::test]
    async fn a_client_that_does_not_read_is_disconnected() {
        let (near, _far) = duplex(1000);
        let mut near = TimedStream::new(near, || (), Duration::from_millis(500), 5000);
        near.write_all(&[0; 1000]).await.unwrap();
        let error = near.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn a_slow_but_steady_reader_gets_everything() {
        let (near, mut far) = duplex(1000);
        let mut near = TimedStream::new(near, || (), Duration::from_millis(500), 5000);
        let reader = tokio::spawn(async move {
            let mut all = 0;
            let mut piece = [0; 500];
            loop {
                tokio::time::sleep(Duration::from_millis(20)).await;
                match far.read(&mut piece).await.unwrap() {
                    0 => return all,
                    read => all += read,
                }
            }
        });
        near.write_all(&[0; 50_000]).await.unwrap();
        drop(near);
        assert_eq!(reader.await.unwrap(), 50_000);
    }

    #[tokio::test]
    async fn a_client_that_reads_single_bytes_is_disconnected() {
        let (near, mut far) = duplex(1000);
        let mut near = TimedStream::new(near, || (), Duration::from_millis(500), 5000);
        let reader = tokio::spawn(async move {
            let mut piece = [0; 1];
            while matches!(far.read(&mut piece).await, Ok(1)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let error = near.write_all(&[0; 50_000]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        reader.abort();
    }
}
