//! Open HTTP requests, and the parts of their replies on the way to their connections.
//!
//! Invariant: a reader who takes too few parts loses its connection; what waits for him is bounded.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::sync::{mpsc, Notify};

use super::outbox::HttpReply;

/// Parts of a streamed HTTP reply that its reader has not taken; one more and its connection is dropped.
const PARTS_MAX: usize = 16;

/// A reply that comes in parts, and the bell of its connection: rung when its reader is too slow.
struct HttpCall {
    parts: mpsc::Sender<HttpReply>,
    overrun: Rc<Notify>,
}

#[derive(Default)]
pub struct HttpCalls {
    open: RefCell<HashMap<u64, HttpCall>>,
}

impl HttpCalls {
    pub fn count(&self) -> usize {
        self.open.borrow().len()
    }

    /// The parts of the reply come through the receiver.
    pub fn open(&self, id: u64, overrun: Rc<Notify>) -> mpsc::Receiver<HttpReply> {
        let (parts, receiver) = mpsc::channel(PARTS_MAX);
        self.open.borrow_mut().insert(id, HttpCall { parts, overrun });
        receiver
    }

    /// One part of a reply, the last one maybe.
    pub fn answer(&self, reply: HttpReply) {
        let mut calls = self.open.borrow_mut();
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

    /// The caller has gone. Whether there was more to come.
    pub fn forget(&self, id: u64) -> bool {
        self.open.borrow_mut().remove(&id).is_some()
    }
}
