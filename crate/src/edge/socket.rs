//! A connection's socket, watched: how much its peer has said, and whether the peer still takes what is said to it.
//!
//! Invariant: a write ends. A peer that keeps its connection alive and reads nothing would otherwise hold it for ever:
//! neither a ping nor a GOAWAY gets past what it does not read.

use std::cell::Cell;
use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

pub struct Socket<IO> {
    io: IO,
    /// Bytes read so far.
    read: Rc<Cell<usize>>,
    write_timeout: Duration,
    /// Runs while the peer takes nothing.
    patience: Option<Pin<Box<Sleep>>>,
    /// Since when that is.
    stuck_since: Rc<Cell<Option<Instant>>>,
}

/// Whether a peer takes what is said to it, while hyper owns the socket.
pub struct Watch(Rc<Cell<Option<Instant>>>);

impl Watch {
    /// Returns once the peer has taken nothing for so long, from now on.
    pub async fn takes_nothing_for(&self, patience: Duration) {
        let began = Instant::now();
        while self.0.get().is_none_or(|since| since.max(began).elapsed() <= patience) {
            tokio::time::sleep(patience / 8).await;
        }
    }
}

impl<IO> Socket<IO> {
    pub fn new(io: IO, write_timeout: Duration) -> Socket<IO> {
        Socket { io, read: Rc::default(), write_timeout, patience: None, stuck_since: Rc::default() }
    }

    pub fn watch(&self) -> Watch {
        Watch(self.stuck_since.clone())
    }

    /// Tells a silent connection from a slow one, also while hyper owns the socket.
    pub fn bytes_read(&self) -> Rc<Cell<usize>> {
        self.read.clone()
    }

    fn in_time<T>(&mut self, cx: &mut Context<'_>, polled: Poll<Result<T>>) -> Poll<Result<T>> {
        if polled.is_ready() {
            self.patience = None;
            self.stuck_since.set(None);
            return polled;
        }
        if self.patience.is_none() {
            self.stuck_since.set(Some(Instant::now()));
        }
        let timeout = self.write_timeout;
        let patience = self.patience.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        patience.as_mut().poll(cx).map(|()| Err(Error::from(ErrorKind::TimedOut)))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Socket<IO> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
        self.read.set(self.read.get().saturating_add(buffer.filled().len() - before));
        polled
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Socket<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.in_time(cx, polled)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.io).poll_flush(cx);
        self.in_time(cx, polled)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        let polled = Pin::new(&mut self.io).poll_shutdown(cx);
        self.in_time(cx, polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        let polled = Pin::new(&mut self.io).poll_write_vectored(cx, parts);
        self.in_time(cx, polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}
