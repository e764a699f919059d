//! What lies under hyper: a connection whose HEADERS frames are seen whole on their way in.
//!
//! Invariant: as many bytes come out as went in, in the same order, and only names of the server in HEADERS frames differ
//! (`authority`). All other frames go through where they are, without a copy. Held back is at most one HEADERS frame of
//! the size that h2 allows, until it is whole; what breaks the framing goes on, for h2 to refuse.

use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{ready, Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::authority;

/// Length (u24), kind, flags, stream (u32).
const HEAD_BYTES: usize = 9;
const HEADERS: u8 = 1;
const PADDED: u8 = 0x08;
const PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;
/// What HTTP/2 allows a frame until a peer has said otherwise, and we never do.
const PAYLOAD_BYTES_MAX: usize = 16 << 10;
/// What a client sends before its first frame.
pub const PREFACE_BYTES: usize = 24;

fn payload_bytes(head: &[u8; HEAD_BYTES]) -> usize {
    let [high, middle, low, ..] = *head;
    u32::from_be_bytes([0, high, middle, low]) as usize
}

/// How much of the frame that begins here has to be there before it may go on.
fn bytes_wanted(frame: &[u8]) -> usize {
    match frame.first_chunk() {
        Some(head) if head[3] == HEADERS && payload_bytes(head) <= PAYLOAD_BYTES_MAX => {
            HEAD_BYTES + payload_bytes(head)
        }
        _ => HEAD_BYTES,
    }
}

/// The header block of a HEADERS frame, without priority and padding.
fn header_block(frame: &mut [u8]) -> Option<&mut [u8]> {
    let (&mut [_, _, _, kind, flags, ..], payload) = frame.split_first_chunk_mut::<HEAD_BYTES>()?;
    if kind != HEADERS {
        return None;
    }
    let (mut start, mut end) = (0, payload.len());
    if flags & PADDED != 0 {
        start += 1;
        end = end.checked_sub(usize::from(*payload.first()?))?;
    }
    if flags & PRIORITY != 0 {
        start += PRIORITY_BYTES;
    }
    payload.get_mut(start..end)
}

/// Follows the frames of one connection, wherever reads cut them.
struct Frames {
    /// How many of the next bytes need no look: the rest of a frame, at first the preface.
    passing: usize,
    /// The beginning of a frame of which too little is there.
    held: Vec<u8>,
}

impl Frames {
    /// Looks at what was read. Returns how much of it goes on; the rest is held.
    fn pass(&mut self, bytes: &mut [u8]) -> usize {
        let mut at = 0;
        loop {
            let passing = self.passing.min(bytes.len() - at);
            self.passing -= passing;
            at += passing;
            let frame = &mut bytes[at..];
            let wanted = bytes_wanted(frame);
            if frame.len() < wanted {
                self.held.extend_from_slice(frame);
                return at;
            }
            if let Some(block) = header_block(&mut frame[..wanted]) {
                authority::overwrite(block);
            }
            self.passing = HEAD_BYTES + frame.first_chunk().map_or(0, payload_bytes);
        }
    }

    /// How many bytes to add to what is held, at most.
    fn missing(&self) -> usize {
        bytes_wanted(&self.held) - self.held.len()
    }

    /// Adds to what is held. Returns it when it may go on; no more bytes means that there will be none.
    fn add(&mut self, more: &[u8]) -> Bytes {
        self.held.extend_from_slice(more);
        if self.missing() > 0 && !more.is_empty() {
            return Bytes::new();
        }
        let mut bytes = std::mem::take(&mut self.held);
        if !more.is_empty() {
            self.pass(&mut bytes);
        }
        bytes.into()
    }
}

pub struct Transport<IO> {
    io: IO,
    frames: Frames,
    /// What was held and may go on.
    ready: Bytes,
}

impl<IO> Transport<IO> {
    pub fn new(io: IO) -> Transport<IO> {
        let frames = Frames { passing: PREFACE_BYTES, held: Vec::new() };
        Transport { io, frames, ready: Bytes::new() }
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Transport<IO> {
    /// Returns without bytes only at the end of the connection, or when there is no room.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        while buffer.remaining() > 0 {
            if !self.ready.is_empty() {
                let size = self.ready.len().min(buffer.remaining());
                buffer.put_slice(&self.ready.split_to(size));
                break;
            }
            let (before, held) = (buffer.filled().len(), self.frames.held.len());
            if held < buffer.remaining() {
                // What is held comes first, and the read goes on behind it: no smaller reads for the rest of a frame.
                buffer.put_slice(&self.frames.held);
                let polled = Pin::new(&mut self.io).poll_read(cx, buffer);
                if polled.is_pending() {
                    buffer.set_filled(before);
                }
                ready!(polled)?;
                self.frames.held.clear();
                let bytes = &mut buffer.filled_mut()[before..];
                if bytes.len() == held {
                    break; // the end: what was held goes on as it is
                }
                let passed = self.frames.pass(bytes);
                buffer.set_filled(before + passed);
                if passed > 0 {
                    break;
                }
            } else {
                let mut part = buffer.take(self.frames.missing());
                ready!(Pin::new(&mut self.io).poll_read(cx, &mut part))?;
                self.ready = self.frames.add(part.filled());
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Transport<IO> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::task::Waker;

    const PREFACE: &[u8; PREFACE_BYTES] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    /// The first header block of grpcio 1.85 over unix:/tmp/dkv.sock.
    const BLOCK: &[u8] = b"@\x05:path\x09/t.T/Echo@\x0a:authority\x0etmp%2Fdkv.sock\x83\x86@\x0ccontent-type\x10\
        application/grpc@\x02te\x08trailers@\x14grpc-accept-encoding\x17identity, deflate, gzip@\x0cgrpc-timeout\x05\
        3010m@\x0auser-agent0grpc-python/1.85.1 grpc-c/58.0.0 (linux; chttp2)";
    const NAME: &[u8] = b"tmp%2Fdkv.sock";

    /// A peer whose bytes arrive in parts, with a pause before each.
    struct Parts {
        parts: VecDeque<Vec<u8>>,
        is_pausing: bool,
    }

    impl AsyncRead for Parts {
        fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
            self.is_pausing = !self.is_pausing;
            if self.is_pausing {
                return Poll::Pending;
            }
            if let Some(mut part) = self.parts.pop_front() {
                let rest = part.split_off(part.len().min(buffer.remaining()));
                buffer.put_slice(&part);
                if !rest.is_empty() {
                    self.parts.push_front(rest);
                }
            }
            Poll::Ready(Ok(()))
        }
    }

    /// What hyper would read, `buffer_bytes` at a time, one vector a read.
    fn reads(parts: impl IntoIterator<Item = Vec<u8>>, buffer_bytes: usize) -> Vec<Vec<u8>> {
        let parts: VecDeque<Vec<u8>> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        let sent = parts.iter().map(Vec::len).sum::<usize>();
        let mut transport = Transport::new(Parts { parts, is_pausing: false });
        let mut cx = Context::from_waker(Waker::noop());
        let mut all = Vec::new();
        loop {
            let mut space = vec![0; buffer_bytes];
            let mut buffer = ReadBuf::new(&mut space);
            match Pin::new(&mut transport).poll_read(&mut cx, &mut buffer) {
                Poll::Pending => assert!(buffer.filled().is_empty()),
                Poll::Ready(result) => {
                    result.unwrap();
                    if buffer.filled().is_empty() {
                        break;
                    }
                    all.push(buffer.filled().to_vec());
                }
            }
        }
        assert_eq!(all.concat().len(), sent);
        all
    }

    fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
        let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
        [&length[..], &[kind, flags, 0, 0, 0, 1], payload].concat()
    }

    /// A connection with its names as sent, and as they come out.
    fn connection() -> (Vec<u8>, Vec<u8>) {
        let spelled = |name: &[u8]| {
            let at = BLOCK.windows(NAME.len()).position(|part| part == NAME).unwrap();
            let block = [&BLOCK[..at], name, &BLOCK[at + NAME.len()..]].concat();
            let padded = [b"\x03\0\0\0\x01\x07", &block[..], b"pad"].concat();
            [
                PREFACE.to_vec(),
                frame(4, 0, b"\0\x02\0\0\0\0"),
                frame(HEADERS, 4, &block),
                frame(0, 1, BLOCK),
                frame(HEADERS, 4, b"\xc4\xc3\x83\x86\xc2\xc1\xc0\xbf\xbe"),
                frame(HEADERS, 4 | PADDED | PRIORITY, &padded),
                frame(HEADERS, 4, &[]),
                frame(8, 0, b"\0\0\0\x05"),
            ]
            .concat()
        };
        (spelled(NAME), spelled(&[b'a'; NAME.len()]))
    }

    #[test]
    fn names_are_overwritten_however_a_connection_is_cut() {
        let (sent, expected) = connection();
        for cut in 0..=sent.len() {
            for buffer_bytes in [1, 7, 300, 8192] {
                let parts = [sent[..cut].to_vec(), sent[cut..].to_vec()];
                assert_eq!(reads(parts, buffer_bytes).concat(), expected, "cut at {cut}, {buffer_bytes} at a time");
            }
        }
        for step in 1..40 {
            assert_eq!(reads(sent.chunks(step).map(<[u8]>::to_vec), 100).concat(), expected, "{step} at a time");
        }
    }

    #[test]
    fn only_headers_wait_until_they_are_whole() {
        let data = frame(0, 0, &[7; 1000]);
        let headers = frame(HEADERS, 4, BLOCK);
        let parts = [[PREFACE, &data[..500]].concat(), [&data[500..], &headers[..50]].concat(), headers[50..].to_vec()];
        let sizes: Vec<usize> = reads(parts, 8192).iter().map(Vec::len).collect();
        assert_eq!(sizes, [524, 509, headers.len()]);
    }

    #[test]
    fn headers_larger_than_http2_allows_go_on_at_once() {
        let head = b"\x00\x40\x01\x01\x04\0\0\0\x01";
        let sent = [PREFACE, &head[..], BLOCK].concat();
        assert_eq!(reads([sent.clone(), vec![1; 20_000]], 8192)[0], sent);
        let largest = frame(HEADERS, 4, &[0x83; PAYLOAD_BYTES_MAX]);
        let parts = [PREFACE.to_vec(), largest[..16_000].to_vec(), largest[16_000..].to_vec()];
        let sizes: Vec<usize> = reads(parts, 8192).iter().map(Vec::len).collect();
        assert_eq!(sizes, [24, 8192, 8192, 9]);
    }

    #[test]
    fn the_end_of_a_connection_lets_go_what_was_held() {
        let (sent, _) = connection();
        let end = PREFACE_BYTES + 15 + 100; // inside of the first HEADERS
        assert_eq!(reads([sent[..end].to_vec()], 8192).concat(), sent[..end]);
    }

    #[test]
    fn headers_whose_padding_is_too_long_stay() {
        for payload in [&b""[..], b"\x05\x41\x01/", b"\xff\x41\x01/"] {
            let sent = [PREFACE.to_vec(), frame(HEADERS, 4 | PADDED | PRIORITY, payload)].concat();
            assert_eq!(reads([sent.clone()], 8192).concat(), sent);
        }
    }

    #[test]
    fn random_bytes_come_out_the_same_however_they_are_cut() {
        let mut state = 7_u64;
        let mut random = move |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        for round in 0..3000 {
            let mut sent = PREFACE.to_vec();
            for _ in 0..random(6) {
                let mut payload: Vec<u8> = (0..random(60)).map(|_| random(256) as u8).collect();
                if round % 2 == 0 {
                    payload.splice(0..0, BLOCK[..random(BLOCK.len())].iter().copied());
                }
                sent.extend(frame([HEADERS, HEADERS, random(256) as u8][random(3)], random(256) as u8, &payload));
            }
            if round % 3 == 0 {
                let at = random(sent.len());
                sent[at] ^= 1 << random(8);
            }
            let whole = reads([sent.clone()], 8192).concat();
            assert_eq!(whole.len(), sent.len());
            let mut parts = Vec::new();
            let mut rest = &sent[..];
            while !rest.is_empty() {
                let (part, behind) = rest.split_at(rest.len().min(1 + random(90)));
                parts.push(part.to_vec());
                rest = behind;
            }
            assert_eq!(reads(parts, 1 + random(200)).concat(), whole);
        }
    }
}
