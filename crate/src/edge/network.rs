//! The network thread's own books: every open call, and the news for Python that pile up while tasks run.
//!
//! Invariant: only the network thread touches `Network`, so nothing in it is locked. A call is in the table from the
//! moment it is opened until its status is sent or its caller has gone, and its id is never reused.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use slab::Slab;
use tokio::sync::{mpsc, watch, Notify};
use tokio::task::AbortHandle;

use super::ended::{unix_ms, Ended, EndedCalls};
use super::framing::CHUNK_BYTES;
use super::inbox::{Arrived, Charge, HttpArrived, Load, News, Taker};
use super::outbox::{Batch, HttpReply, Outbox};
use super::peers::Hub;
use super::stats::Stats;
use super::status::{Status, CANCELLED, RESOURCE_EXHAUSTED};
use super::unread::{hold_short, Unread, UNREAD_TEXT};
use crate::bell::Bell;

/// The low bits of a call id are its place in the table, the rest counts up.
const PLACE_BITS: u32 = 24;

/// The place of an HTTP request, which has none in the table: its ids are told apart from those of calls.
const HTTP_PLACE: u64 = (1 << PLACE_BITS) - 1;

/// Parts of a streamed HTTP reply that its reader has not taken; one more and its connection is dropped.
const HTTP_PARTS_MAX: usize = 16;

/// How long to watch for the answer of a lone call. A write's takes longer: the disk is waited for asleep.
const WATCH_MAX: Duration = Duration::from_micros(100);

/// Messages of one conversation that Python has not answered; its reader waits before it takes more.
const UNANSWERED_MAX: usize = 16;

/// A reply stream that already holds so many times `stream_buffer_bytes` and is sent more is ended.
const UNREAD_BUFFERS_MAX: usize = 8;

/// Chunks smaller than this are joined with what follows.
const CHUNK_BYTES_MIN: usize = 16 << 10;

pub struct Settings {
    pub request_bytes_max: usize,
    pub reply_bytes_max: usize,
    pub inbox_bytes_max: usize,
    pub inbox_bytes_max_per_connection: usize,
    pub inbox_calls_max: usize,
    pub streams_max_per_connection: u32,
    pub stream_buffer_bytes: usize,
    pub unread_bytes_max: usize,
    pub unread_bytes_max_per_connection: usize,
    pub unread_timeout_ms: u64,
    pub header_bytes_max: u32,
    pub connections_max: usize,
    pub keepalive_interval_ms: u64,
    pub keepalive_timeout_ms: u64,
    pub overload_retry_delay_ms: i64,
    pub request_timeout_ms: u64,
}

pub struct Method {
    pub path: String,
    /// The reply is a stream.
    pub is_stream: bool,
    /// The request is a stream too.
    pub is_conversation: bool,
}

/// What both sides see. Locks are held for a swap or a few counters, never across work.
pub struct Shared {
    pub bell: Bell,
    pub settings: Settings,
    pub methods: Vec<Method>,
    pub numbers: HashMap<String, usize>,
    pub load: Arc<Load>,
    pub inbox: Mutex<News>,
    pub taker: Mutex<Taker>,
    pub outbox: Outbox,
    pub stats: Mutex<Stats>,
    pub connections: AtomicUsize,
    pub open_calls: AtomicUsize,
    pub open_streams: AtomicUsize,
    pub ended: EndedCalls,
    /// The links to other nodes, once there is a cluster.
    pub hub: OnceLock<Arc<Hub>>,
}

impl Shared {
    /// The status of what a bound does not let in or out.
    pub fn overloaded(&self, why: &str) -> Status {
        self.stats.lock().overloaded += 1;
        Status { retry_delay_ms: self.settings.overload_retry_delay_ms, ..Status::new(RESOURCE_EXHAUSTED, why) }
    }
}

struct OpenCall {
    id: u64,
    method: usize,
    connection: Arc<Load>,
    is_stream: bool,
    peer: Arc<str>,
    arrived: Instant,
    /// Its first message was whole.
    received: Option<Instant>,
    answered: Option<Instant>,
    request_bytes: usize,
    reply_bytes: usize,
    waker: Option<Waker>,
    chunks: VecDeque<Bytes>,
    buffered: usize,
    /// Python has sent since its last progress report.
    owes_progress: bool,
    /// A message was put into the inbox: Python will know of the call.
    announced: bool,
    /// Messages put into the inbox that no message answers yet. Means something for a conversation only.
    unanswered: usize,
    /// A conversation's reader that waits for room.
    reader: Option<Waker>,
    /// How a conversation ends once everything is answered: nothing more will be asked.
    last: Option<Status>,
    finish: Option<Status>,
    /// Answered by a long reply, which goes out in chunks.
    is_long: bool,
    /// When the caller of a stream or of a long reply last took some of it, or the last of it was there to be taken.
    progress: Instant,
    /// End with the call.
    tasks: Vec<AbortHandle>,
}

impl OpenCall {
    fn ended(&self, code: u32, took: Duration) -> Ended {
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

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// A reply that comes in parts, and the bell of its connection: rung when its reader is too slow.
struct HttpCall {
    parts: mpsc::Sender<HttpReply>,
    overrun: Rc<Notify>,
}

/// What a call has for its reader.
pub enum Next {
    Data(Bytes),
    End(Status),
    Wait,
}

pub struct Network {
    pub shared: Arc<Shared>,
    pub stopping: watch::Sender<bool>,
    calls: RefCell<Slab<OpenCall>>,
    http_calls: RefCell<HashMap<u64, HttpCall>>,
    calls_seen: Cell<u64>,
    news: RefCell<News>,
    has_news: Notify,
}

impl Network {
    pub fn new(shared: Arc<Shared>) -> Network {
        Network {
            shared,
            stopping: watch::Sender::new(false),
            calls: RefCell::default(),
            http_calls: RefCell::default(),
            calls_seen: Cell::new(0),
            news: RefCell::default(),
            has_news: Notify::new(),
        }
    }

    fn next_number(&self) -> u64 {
        self.calls_seen.set(self.calls_seen.get() + 1);
        self.calls_seen.get()
    }

    /// Adds news. The task that hands them over runs after all tasks that are ready now, so that calls which arrived
    /// in one read of a socket reach Python together.
    pub fn tell(&self, add: impl FnOnce(&mut News)) {
        let mut news = self.news.borrow_mut();
        if news.is_empty() {
            self.has_news.notify_one();
        }
        add(&mut news);
    }

    pub async fn hand_over_news(self: Rc<Self>) {
        loop {
            self.has_news.notified().await;
            let was_empty = self.shared.inbox.lock().absorb(&mut self.news.borrow_mut());
            if was_empty {
                self.shared.bell.ring();
            }
            self.watch_for_the_answer().await;
        }
    }

    /// Where a caller is alone its answer is near, and waking this thread would take as long as the answer itself.
    async fn watch_for_the_answer(&self) {
        let start = Instant::now();
        let is_alone = self.shared.open_calls.load(Relaxed) == 1;
        while is_alone && self.shared.outbox.is_empty() && start.elapsed() < WATCH_MAX {
            tokio::task::yield_now().await;
        }
    }

    /// Opens a call that `deliver` will announce. The guard closes it.
    pub fn open_call(
        self: &Rc<Self>,
        connection: &Arc<Load>,
        peer: &Arc<str>,
        method: usize,
        arrived: Instant,
    ) -> CallGuard {
        let is_stream = self.shared.methods[method].is_stream;
        let mut calls = self.calls.borrow_mut();
        let entry = calls.vacant_entry();
        let place = entry.key();
        let id = (self.next_number() << PLACE_BITS) | place as u64;
        entry.insert(OpenCall {
            id,
            method,
            connection: connection.clone(),
            is_stream,
            peer: peer.clone(),
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
            tasks: Vec::new(),
        });
        self.shared.open_calls.fetch_add(1, Relaxed);
        if is_stream {
            self.shared.open_streams.fetch_add(1, Relaxed);
        }
        CallGuard { network: self.clone(), place, id }
    }

    fn with_call(&self, id: u64, act: impl FnOnce(&mut OpenCall)) {
        let place = (id & ((1 << PLACE_BITS) - 1)) as usize;
        if let Some(call) = self.calls.borrow_mut().get_mut(place).filter(|call| call.id == id && call.finish.is_none())
        {
            act(call);
            if let Some(waker) = call.waker.take() {
                waker.wake();
            }
        }
    }

    /// Puts a message of an open call into the inbox.
    pub fn deliver(&self, id: u64, message: Bytes, deadline: Option<Instant>, charge: Charge) {
        self.with_call(id, |call| {
            let is_first = !std::mem::replace(&mut call.announced, true);
            call.unanswered += 1;
            call.received.get_or_insert_with(Instant::now);
            call.request_bytes += message.len();
            let arrived = Arrived { id, method: call.method, message, deadline, is_first, charge };
            self.tell(|news| news.calls.push(arrived));
        });
    }

    /// Waits until a conversation may ask more. False: it has ended. What bounds it is what Python has not answered,
    /// and what the caller has not read.
    pub fn poll_room(&self, id: u64, waker: &Waker) -> Poll<bool> {
        let mut room = Poll::Ready(false);
        self.with_call(id, |call| {
            let is_full =
                call.unanswered >= UNANSWERED_MAX || call.buffered >= self.shared.settings.stream_buffer_bytes;
            if is_full {
                call.reader = Some(waker.clone());
                room = Poll::Pending;
            } else {
                room = Poll::Ready(true);
            }
        });
        room
    }

    /// Ends a conversation as soon as every message of it is answered.
    pub fn end_when_answered(&self, id: u64, status: Status) {
        self.with_call(id, |call| {
            call.last = Some(status);
            self.end_if_answered(call);
        });
    }

    fn end_if_answered(&self, call: &mut OpenCall) {
        if call.unanswered > 0 {
            return;
        }
        if let Some(status) = call.last.take() {
            call.progress = Instant::now();
            call.finish = Some(status);
            if call.announced {
                self.tell(|news| news.gone.push(call.id));
            }
        }
    }

    pub fn carry_out(&self, batch: Batch) {
        let now = Instant::now();
        for (id, message) in batch.replies {
            self.with_call(id, |call| {
                call.answered = Some(now);
                self.reply_at_once(call, message);
            });
        }
        for (id, chunks, unread) in batch.long_replies {
            self.with_call(id, |call| {
                call.answered = Some(now);
                self.reply_at_length(call, chunks, unread);
            });
        }
        let buffered_bytes_max = self.shared.settings.stream_buffer_bytes.saturating_mul(UNREAD_BUFFERS_MAX);
        for items in batch.items {
            let mut is_unread = false;
            self.with_call(items.id, |call| {
                is_unread = call.buffered >= buffered_bytes_max;
                call.chunks.extend(items.chunks);
                call.buffered += items.bytes;
                call.owes_progress = true;
                call.unanswered = call.unanswered.saturating_sub(items.messages);
                call.wake_reader();
                self.end_if_answered(call);
            });
            if is_unread {
                self.fail(items.id, Status::new(RESOURCE_EXHAUSTED, "the replies of this stream are not read"));
            }
        }
        for (id, status) in batch.failed {
            self.fail(id, status);
        }
        for (id, status) in batch.finished {
            self.with_call(id, |call| {
                call.answered = Some(now);
                call.progress = now;
                call.finish = Some(status);
            });
        }
        for reply in batch.http {
            self.answer_http(reply);
        }
    }

    /// One part of an HTTP reply, the last one maybe. A reader who takes too few of them loses its connection.
    fn answer_http(&self, reply: HttpReply) {
        let mut calls = self.http_calls.borrow_mut();
        let Some(call) = calls.get(&reply.id) else {
            return; // the caller has gone
        };
        let (id, more) = (reply.id, reply.more);
        let is_taken = call.parts.try_send(reply).is_ok();
        if !is_taken {
            call.overrun.notify_one();
        }
        if !more {
            calls.remove(&id);
        }
    }

    fn reply_at_once(&self, call: &mut OpenCall, message: Bytes) {
        let Settings { unread_bytes_max, unread_bytes_max_per_connection, .. } = self.shared.settings;
        let connection = (&call.connection, unread_bytes_max_per_connection);
        call.finish = match hold_short(message, (&self.shared.load, unread_bytes_max), connection) {
            Some(message) => {
                call.chunks.push_back(message);
                Some(Status::ok())
            }
            None => Some(self.shared.overloaded(UNREAD_TEXT)),
        };
    }

    fn reply_at_length(&self, call: &mut OpenCall, chunks: Vec<Bytes>, mut unread: Unread) {
        if !unread.charge(&call.connection, self.shared.settings.unread_bytes_max_per_connection) {
            call.finish = Some(self.shared.overloaded(UNREAD_TEXT));
            return;
        }
        call.chunks.extend(chunks.into_iter().map(|chunk| unread.hold(chunk)));
        call.finish = Some(Status::ok());
        call.is_long = true;
        call.progress = Instant::now();
    }

    /// Lets go of complete replies whose callers have stopped reading: nobody else would.
    pub async fn drop_unread_replies(self: Rc<Self>) {
        let patience = Duration::from_millis(self.shared.settings.unread_timeout_ms);
        loop {
            tokio::time::sleep(patience / 4).await;
            for (_, call) in self.calls.borrow_mut().iter_mut() {
                let waits_for_its_reader = call.is_stream || call.is_long;
                let is_whole = call.finish.is_some() && !call.chunks.is_empty();
                if waits_for_its_reader && is_whole && call.progress.elapsed() > patience {
                    call.chunks.clear();
                    call.finish = Some(Status::new(RESOURCE_EXHAUSTED, "the reply was not read"));
                }
            }
        }
    }

    /// Ends a call from this side: what is buffered is dropped, and Python learns that it is closed.
    pub fn fail(&self, id: u64, status: Status) {
        self.with_call(id, |call| {
            call.chunks.clear();
            call.buffered = 0;
            call.finish = Some(status);
            if call.announced {
                self.tell(|news| news.gone.push(id));
            }
        });
    }

    /// Announces an HTTP request; the parts of its reply come through the receiver. None when too many wait.
    pub fn open_http(
        &self,
        method: String,
        path: String,
        body: Bytes,
        overrun: Rc<Notify>,
        calls_max: usize,
    ) -> Option<(u64, mpsc::Receiver<HttpReply>)> {
        let mut calls = self.http_calls.borrow_mut();
        if calls.len() >= calls_max {
            return None;
        }
        let id = (self.next_number() << PLACE_BITS) | HTTP_PLACE;
        let (parts, receiver) = mpsc::channel(HTTP_PARTS_MAX);
        calls.insert(id, HttpCall { parts, overrun });
        self.tell(|news| news.http.push(HttpArrived { id, method, path, body }));
        Some((id, receiver))
    }

    /// The caller has gone; Python is told unless it has sent its last part.
    pub fn forget_http(&self, id: u64) {
        if self.http_calls.borrow_mut().remove(&id).is_some() {
            self.tell(|news| news.gone.push(id));
        }
    }

    /// Writes a call down that ended without Python.
    pub fn note_refused(&self, method: usize, code: u32, peer: &Arc<str>, took: Duration) {
        let shared = &self.shared;
        shared.stats.lock().count(method, code, took);
        if shared.ended.wants(took) {
            shared.ended.add(Ended {
                unix_ms: unix_ms(),
                method,
                code,
                received: took,
                served: Duration::ZERO,
                sent: Duration::ZERO,
                request_bytes: 0,
                reply_bytes: 0,
                peer: peer.clone(),
            });
        }
    }
}

/// Keeps a call in the table. Dropped before the status was sent, the caller has gone.
pub struct CallGuard {
    network: Rc<Network>,
    place: usize,
    pub id: u64,
}

impl CallGuard {
    /// The next thing to send, or a promise to wake `waker`. The call is closed once `End` was returned.
    pub fn next(&self, waker: &Waker) -> Next {
        let mut calls = self.network.calls.borrow_mut();
        let Some(call) = calls.get_mut(self.place).filter(|call| call.id == self.id) else {
            return Next::End(Status::ok());
        };
        if let Some(chunk) = take_chunk(&mut call.chunks) {
            if call.is_stream || call.is_long {
                call.progress = Instant::now();
            }
            call.buffered = call.buffered.saturating_sub(chunk.len());
            call.reply_bytes += chunk.len();
            let drained = call.buffered < self.network.shared.settings.stream_buffer_bytes / 2;
            if call.owes_progress && drained && call.finish.is_none() {
                call.owes_progress = false;
                let buffered = call.buffered;
                self.network.tell(|news| news.progress.push((self.id, buffered)));
            }
            call.wake_reader();
            return Next::Data(chunk);
        }
        if let Some(status) = call.finish.take() {
            self.close(&mut calls, status.code);
            return Next::End(status);
        }
        if !call.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            call.waker = Some(waker.clone());
        }
        Next::Wait
    }

    /// Is there anything to send yet? A unary call has nothing before its end.
    pub fn is_ready(&self, waker: &Waker) -> bool {
        let mut calls = self.network.calls.borrow_mut();
        let Some(call) = calls.get_mut(self.place) else {
            return true;
        };
        let ready = call.finish.is_some() || (call.is_stream && !call.chunks.is_empty());
        if !ready {
            call.waker = Some(waker.clone());
        }
        ready
    }

    /// Whether the reply comes in chunks, and the first is there.
    pub fn has_chunks(&self) -> bool {
        let calls = self.network.calls.borrow();
        let call = calls.get(self.place);
        call.is_some_and(|call| (call.is_stream || call.is_long) && !call.chunks.is_empty())
    }

    /// The task ends with the call.
    pub fn own(&self, task: AbortHandle) {
        if let Some(call) = self.network.calls.borrow_mut().get_mut(self.place) {
            call.tasks.push(task);
        }
    }

    fn close(&self, calls: &mut Slab<OpenCall>, code: u32) {
        let Some(call) = calls.try_remove(self.place) else {
            return;
        };
        let shared = &self.network.shared;
        let took = call.arrived.elapsed();
        shared.stats.lock().count(call.method, code, took);
        if shared.ended.wants(took) {
            shared.ended.add(call.ended(code, took));
        }
        shared.open_calls.fetch_sub(1, Relaxed);
        if call.is_stream {
            shared.open_streams.fetch_sub(1, Relaxed);
        }
        call.tasks.iter().for_each(AbortHandle::abort);
    }
}

impl Drop for CallGuard {
    fn drop(&mut self) {
        let mut calls = self.network.calls.borrow_mut();
        let Some(call) = calls.get(self.place).filter(|call| call.id == self.id) else {
            return;
        };
        let code = call.finish.as_ref().map_or(CANCELLED, |status| status.code);
        if call.finish.is_none() && call.announced {
            self.network.tell(|news| news.gone.push(self.id));
        }
        self.close(&mut calls, code);
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
