//! A connection that writes once for everything its tasks have to say now.
//!
//! HTTP/2 hands over the head of a request before its body is ready, and flushes in between: two segments, and a server
//! that wakes for each. Here a flush first lets every task that is ready run, so that head, body and the requests beside
//! them leave together.
//!
//! Invariant: a flush is put off once, by a task that is awake, so nothing waits for a timer or for the peer.

use std::pin::Pin;
use std::task::{ready, Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// More than this is not gathered: it fills segments by itself.
const GATHERED_BYTES_MAX: usize = 64 << 10;

pub struct Corked<IO> {
    io: IO,
    gathered: Vec<u8>,
    is_put_off: bool,
}

impl<IO: AsyncWrite + Unpin> Corked<IO> {
    pub fn new(io: IO) -> Corked<IO> {
        Corked { io, gathered: Vec::new(), is_put_off: false }
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        let mut written = 0;
        let result = loop {
            if written == self.gathered.len() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.io).poll_write(cx, &self.gathered[written..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(std::io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(count)) => written += count,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.gathered.drain(..written);
        result
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Corked<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Corked<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        if self.gathered.len() + bytes.len() > GATHERED_BYTES_MAX {
            ready!(self.poll_drain(cx))?;
            if bytes.len() > GATHERED_BYTES_MAX {
                return Pin::new(&mut self.io).poll_write(cx, bytes);
            }
        }
        self.gathered.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        if !self.gathered.is_empty() {
            if !self.is_put_off {
                self.is_put_off = true;
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            ready!(self.poll_drain(cx))?;
        }
        self.is_put_off = false;
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        ready!(self.poll_drain(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[test]
    fn what_is_written_before_the_second_look_leaves_in_one_write() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (io, mut peer) = tokio::io::duplex(1 << 20);
            let mut corked = Corked::new(io);
            corked.write_all(b"head ").await.unwrap();
            let is_put_off = poll_fn(|cx| Poll::Ready(Pin::new(&mut corked).poll_flush(cx).is_pending())).await;
            assert!(is_put_off);
            corked.write_all(b"body").await.unwrap();
            corked.flush().await.unwrap();
            let mut seen = [0; 64];
            assert_eq!(peer.read(&mut seen).await.unwrap(), 9);
            assert_eq!(&seen[..9], b"head body");
        });
    }

    #[test]
    fn large_writes_keep_their_place() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (io, mut peer) = tokio::io::duplex(1 << 20);
            let mut corked = Corked::new(io);
            let large = vec![7; GATHERED_BYTES_MAX + 1];
            corked.write_all(b"small").await.unwrap();
            corked.write_all(&large).await.unwrap();
            corked.write_all(b"small").await.unwrap();
            corked.shutdown().await.unwrap();
            drop(corked);
            let mut seen = Vec::new();
            peer.read_to_end(&mut seen).await.unwrap();
            assert_eq!(seen, [b"small", &large[..], b"small"].concat());
        });
    }
}
