//! One open call: what it has for its reader, and what it waits for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::task::AbortHandle;

use super::ended::{unix_ms, Ended};
use super::framing::CHUNK_BYTES;
use super::inbox::Load;
use super::status::Status;

/// Chunks smaller than this are joined with what follows.
const CHUNK_BYTES_MIN: usize = 16 << 10;

pub struct OpenCall {
    pub id: u64,
    pub method: usize,
    pub connection: Arc<Load>,
    pub is_stream: bool,
    pub peer: Arc<str>,
    pub arrived: Instant,
    /// Its first message was whole.
    pub received: Option<Instant>,
    pub answered: Option<Instant>,
    pub request_bytes: usize,
    pub reply_bytes: usize,
    pub waker: Option<Waker>,
    pub chunks: VecDeque<Bytes>,
    pub buffered: usize,
    /// Python has sent since its last progress report.
    pub owes_progress: bool,
    /// A message was put into the inbox: Python will know of the call.
    pub announced: bool,
    /// Messages put into the inbox that no message answers yet. Means something for a conversation only.
    pub unanswered: usize,
    /// A conversation's reader that waits for room.
    pub reader: Option<Waker>,
    /// How a conversation ends once everything is answered: nothing more will be asked.
    pub last: Option<Status>,
    pub finish: Option<Status>,
    /// Answered by a long reply, which goes out in chunks.
    pub is_long: bool,
    /// When the caller of a stream or of a long reply last took some of it, or the last of it was there to be taken.
    pub progress: Instant,
    /// Its reader did not read while the server stops: the call is over for all but the connection.
    pub is_given_up: bool,
    /// End with the call.
    pub tasks: Vec<AbortHandle>,
}

impl OpenCall {
    /// A call that has just been opened.
    pub fn new(
        id: u64,
        method: usize,
        is_stream: bool,
        connection: Arc<Load>,
        peer: Arc<str>,
        arrived: Instant,
    ) -> Self {
        OpenCall {
            id,
            method,
            connection,
            is_stream,
            peer,
            arrived,
            received: None,
            answered: None,
            request_bytes: 0,
            reply_bytes: 0,
            waker: None,
            chunks: VecDeque::new(),
            buffered: 0,
            owes_progress: false,
            announced: false,
            unanswered: 0,
            reader: None,
            last: None,
            finish: None,
            is_long: false,
            progress: arrived,
            is_given_up: false,
            tasks: Vec::new(),
        }
    }

    pub fn ended(&self, code: u32, took: Duration) -> Ended {
        let end = self.arrived + took;
        let received = self.received.unwrap_or(end);
        let answered = self.answered.unwrap_or(end);
        Ended {
            unix_ms: unix_ms(),
            method: self.method,
            code,
            received: received - self.arrived,
            served: answered.saturating_duration_since(received),
            sent: end.saturating_duration_since(answered),
            request_bytes: self.request_bytes,
            reply_bytes: self.reply_bytes,
            peer: self.peer.clone(),
        }
    }

    pub fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Since when all that there is waits for the caller to take it. None: the caller waits for us.
    pub fn unread_since(&self) -> Option<Instant> {
        let is_unread = self.finish.is_some() || !self.chunks.is_empty();
        is_unread.then(|| self.answered.map_or(self.progress, |answered| answered.max(self.progress)))
    }

    /// The next chunk for the connection.
    pub fn take_chunk(&mut self) -> Option<Bytes> {
        let chunk = take_chunk(&mut self.chunks)?;
        if self.is_stream || self.is_long {
            self.progress = Instant::now();
        }
        self.buffered = self.buffered.saturating_sub(chunk.len());
        self.reply_bytes += chunk.len();
        Some(chunk)
    }
}

/// The first chunk, joined with the small ones behind it.
fn take_chunk(chunks: &mut VecDeque<Bytes>) -> Option<Bytes> {
    let first = chunks.pop_front()?;
    let fits = |bytes: usize, next: Option<&Bytes>| {
        bytes < CHUNK_BYTES_MIN && next.is_some_and(|next| bytes + next.len() <= CHUNK_BYTES)
    };
    if !fits(first.len(), chunks.front()) {
        return Some(first);
    }
    let mut joined = BytesMut::with_capacity(CHUNK_BYTES_MIN * 2);
    joined.extend_from_slice(&first);
    while fits(joined.len(), chunks.front()) {
        if let Some(next) = chunks.pop_front() {
            joined.extend_from_slice(&next);
        }
    }
    Some(joined.freeze())
}
