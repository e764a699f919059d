//! The network thread's own books: every open call, and the news for Python that pile up while tasks run.
//!
//! Invariant: only the network thread touches `Network`, so nothing in it is locked. A call is in the table from the
//! moment it is opened until its status is sent or its caller has gone, and its id is never reused.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use slab::Slab;
use tokio::sync::{mpsc, watch, Notify};

use super::ended::{unix_ms, Ended};
use super::http_calls::HttpCalls;
use super::inbox::{Arrived, Charge, HttpArrived, News};
use super::open_call::OpenCall;
use super::outbox::{Batch, HttpReply};
use super::shared::{Settings, Shared};
use super::status::{Status, RESOURCE_EXHAUSTED, UNAVAILABLE};
use super::unread::{hold_short, Unread, UNREAD_TEXT};

/// The low bits of a call id are its place in the table, the rest counts up.
const PLACE_BITS: u32 = 24;

/// The place of an HTTP request, which has none in the table: its ids are told apart from those of calls.
const HTTP_PLACE: u64 = (1 << PLACE_BITS) - 1;

/// How long to watch for the answer of a lone call: that of a write on a quick disk comes within it.
const WATCH_MAX: Duration = Duration::from_micros(400);

/// Messages of one conversation that Python has not answered; its reader waits before it takes more.
const UNANSWERED_MAX: usize = 16;

/// What a stopping server waits for a caller who takes nothing of its reply. Long beside a round trip around the world,
/// short beside the patience of those who stop a server.
pub const STOP_GRACE: Duration = Duration::from_secs(2);

/// A reply stream that already holds so many times `stream_buffer_bytes` and is sent more is ended.
const UNREAD_BUFFERS_MAX: usize = 8;

pub struct Network {
    pub shared: Arc<Shared>,
    pub stopping: watch::Sender<bool>,
    pub calls: RefCell<Slab<OpenCall>>,
    http_calls: HttpCalls,
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
            http_calls: HttpCalls::default(),
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

    /// Where a caller is alone its answer is near, and waking this thread would take as long as the answer itself. Not so
    /// where other nodes have a say in it: they may need the processor.
    async fn watch_for_the_answer(&self) {
        let start = Instant::now();
        let is_alone = self.shared.hub.get().is_none();
        while is_alone && self.awaits_one_answer() && start.elapsed() < WATCH_MAX {
            tokio::task::yield_now().await;
        }
    }

    /// One call is open, and Python has it. Its answer may have come and gone between two looks: then the next call, which
    /// has yet to be handed over, tells.
    fn awaits_one_answer(&self) -> bool {
        let shared = &self.shared;
        shared.open_calls.load(Relaxed) == 1 && shared.outbox.is_empty() && self.news.borrow().is_empty()
    }

    /// The id of a call at this place of the table.
    pub fn next_id(&self, place: usize) -> u64 {
        (self.next_number() << PLACE_BITS) | place as u64
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
            self.http_calls.answer(reply);
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

    /// While the server stops: a caller that takes nothing of what is there for so long is not waited for. Whoever
    /// reads, and whoever waits for an answer, has the whole drain time.
    pub async fn give_up_unread(self: Rc<Self>) {
        let began = Instant::now();
        loop {
            tokio::time::sleep(STOP_GRACE / 8).await;
            for (_, call) in self.calls.borrow_mut().iter_mut() {
                let is_unread = call.unread_since().is_some_and(|since| since.max(began).elapsed() > STOP_GRACE);
                if is_unread && !call.is_given_up {
                    self.give_up(call);
                }
            }
        }
    }

    /// The connection may never look at the call again, so it is not counted any more.
    fn give_up(&self, call: &mut OpenCall) {
        call.is_given_up = true;
        call.chunks.clear();
        call.buffered = 0;
        let was_open =
            call.finish.replace(Status::new(UNAVAILABLE, "the server stops, and this was not read")).is_none();
        if was_open && call.announced {
            self.tell(|news| news.gone.push(call.id));
        }
        self.shared.count_closed(call.is_stream);
        if let Some(waker) = call.waker.take() {
            waker.wake();
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
        if self.http_calls.count() >= calls_max {
            return None;
        }
        let id = (self.next_number() << PLACE_BITS) | HTTP_PLACE;
        let receiver = self.http_calls.open(id, overrun);
        self.tell(|news| news.http.push(HttpArrived { id, method, path, body }));
        Some((id, receiver))
    }

    /// The caller has gone; Python is told unless it has sent its last part.
    pub fn forget_http(&self, id: u64) {
        if self.http_calls.forget(id) {
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
