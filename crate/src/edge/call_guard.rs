//! A call from the side of its connection: what is to be sent next, and its end.
//!
//! Invariant: a call is in the table as long as its guard lives, at most until its status was handed out.

use std::rc::Rc;
use std::sync::Arc;
use std::task::Waker;
use std::time::Instant;

use bytes::Bytes;
use slab::Slab;
use tokio::task::AbortHandle;

use super::inbox::Load;
use super::network::Network;
use super::open_call::OpenCall;
use super::status::{Status, CANCELLED};

/// What a call has for its reader.
pub enum Next {
    Data(Bytes),
    End(Status),
    Wait,
}

/// Keeps a call in the table. Dropped before the status was sent, the caller has gone.
pub struct CallGuard {
    pub network: Rc<Network>,
    pub place: usize,
    pub id: u64,
}

impl CallGuard {
    /// Opens a call that `Network::deliver` will announce.
    pub fn open(
        network: &Rc<Network>,
        connection: &Arc<Load>,
        peer: &Arc<str>,
        method: usize,
        arrived: Instant,
    ) -> CallGuard {
        let is_stream = network.shared.methods[method].is_stream;
        let mut calls = network.calls.borrow_mut();
        let entry = calls.vacant_entry();
        let place = entry.key();
        let id = network.next_id(place);
        entry.insert(OpenCall::new(id, method, is_stream, connection.clone(), peer.clone(), arrived));
        network.shared.count_opened(is_stream);
        CallGuard { network: network.clone(), place, id }
    }

    /// The next thing to send, or a promise to wake `waker`. The call is closed once `End` was returned.
    pub fn next(&self, waker: &Waker) -> Next {
        let mut calls = self.network.calls.borrow_mut();
        let Some(call) = calls.get_mut(self.place).filter(|call| call.id == self.id) else {
            return Next::End(Status::ok());
        };
        if let Some(chunk) = call.take_chunk() {
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
        if !call.is_given_up {
            shared.count_closed(call.is_stream);
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
