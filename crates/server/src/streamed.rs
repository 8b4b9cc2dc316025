//! A file as a response body, in chunks.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::fs::File;
use tokio::io::{AsyncRead as _, ReadBuf};

const PIECE: usize = 64 << 10;

/// The first bytes of a file; a shorter file aborts the response.
#[derive(Debug)]
pub(crate) struct Streamed {
    file: File,
    left: u64,
    buffer: Vec<u8>,
}

impl Streamed {
    /// The first `length` bytes.
    pub(crate) fn of(file: File, length: u64) -> Self {
        Self { file, left: length, buffer: vec![0; PIECE] }
    }
}

impl HttpBody for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if this.left == 0 {
            return Poll::Ready(None);
        }
        let most = usize::try_from(this.left).unwrap_or(PIECE).min(PIECE);
        let mut piece = ReadBuf::new(this.buffer.get_mut(..most).unwrap_or_default());
        ready!(Pin::new(&mut this.file).poll_read(context, &mut piece))?;
        let read = Bytes::copy_from_slice(piece.filled());
        if read.is_empty() {
            return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
        }
        this.left = this.left.saturating_sub(read.len() as u64);
        Poll::Ready(Some(Ok(Frame::data(read))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
