//! News on its way to Python.
//!
//! Invariant: every message that entered the inbox leaves it exactly once: handed out by `take`, or dropped there because
//! its caller has gone or its deadline has passed. Only the end of a call that was handed out is told as `closed`; the
//! messages of one call are handed out in order, and none after its end was told.
//! What waits here is bounded by `Load`, per node and per connection, before it enters.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

/// What one call costs beside its message: its slot, its stream, the read buffer a small message keeps alive.
const CALL_BYTES: usize = 256;

/// What waits, of one node or of one connection: bytes and calls on their way in, bytes of replies on their way out.
#[derive(Default)]
pub struct Load {
    pub bytes: AtomicUsize,
    pub calls: AtomicUsize,
    pub unread: AtomicUsize,
    /// Bytes of replies let go of so far: stands still while the readers do.
    pub released: AtomicUsize,
}

/// A share of both loads, given back when dropped.
pub struct Charge {
    node: Arc<Load>,
    connection: Arc<Load>,
    bytes: usize,
    calls: usize,
}

impl Charge {
    pub fn new(node: &Arc<Load>, connection: &Arc<Load>) -> Charge {
        Charge { node: node.clone(), connection: connection.clone(), bytes: 0, calls: 0 }
    }

    /// Takes a larger share. Returns whether both loads stay within the bounds.
    pub fn grow(&mut self, bytes: usize, node_bytes_max: usize, connection_bytes_max: usize) -> bool {
        self.bytes += bytes;
        let node = self.node.bytes.fetch_add(bytes, Relaxed) + bytes;
        let connection = self.connection.bytes.fetch_add(bytes, Relaxed) + bytes;
        node <= node_bytes_max && connection <= connection_bytes_max
    }

    /// Counts as a waiting call from now on. Returns whether the node may have so many.
    pub fn enter(&mut self, calls_max: usize) -> bool {
        self.calls = 1;
        self.node.calls.fetch_add(1, Relaxed) < calls_max
    }

    /// The share for `bytes` of what this one stands for.
    pub fn split(&mut self, bytes: usize) -> Charge {
        self.bytes -= bytes;
        Charge { node: self.node.clone(), connection: self.connection.clone(), bytes, calls: 0 }
    }

    pub const fn overhead() -> usize {
        CALL_BYTES
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.node.bytes.fetch_sub(self.bytes, Relaxed);
        self.connection.bytes.fetch_sub(self.bytes, Relaxed);
        self.node.calls.fetch_sub(self.calls, Relaxed);
    }
}

pub struct Arrived {
    pub id: u64,
    pub method: usize,
    pub message: Bytes,
    pub deadline: Option<Instant>,
    /// Of its call; only a conversation has more than one.
    pub is_first: bool,
    /// Held until the call leaves the inbox, and then given back.
    pub charge: Charge,
}

pub struct HttpArrived {
    pub id: u64,
    pub method: String,
    pub path: String,
    pub body: Bytes,
}

/// What the network thread collected while it ran, handed over in one piece.
#[derive(Default)]
pub struct News {
    pub calls: Vec<Arrived>,
    pub gone: Vec<u64>,
    pub progress: Vec<(u64, usize)>,
    pub http: Vec<HttpArrived>,
}

fn append<T>(target: &mut Vec<T>, source: &mut Vec<T>) {
    if target.is_empty() {
        std::mem::swap(target, source);
    } else {
        target.append(source);
    }
}

impl News {
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.gone.is_empty() && self.progress.is_empty() && self.http.is_empty()
    }

    /// Moves everything behind what is here. Returns whether there was nothing here, so that somebody may sleep.
    pub fn absorb(&mut self, source: &mut News) -> bool {
        let was_empty = self.is_empty();
        append(&mut self.calls, &mut source.calls);
        append(&mut self.gone, &mut source.gone);
        append(&mut self.progress, &mut source.progress);
        append(&mut self.http, &mut source.http);
        was_empty
    }
}

/// Python's end of the inbox.
#[derive(Default)]
pub struct Taker {
    waiting: VecDeque<Arrived>,
    /// Expired calls dropped here whose end the network thread will still report.
    expired: HashSet<u64>,
}

impl Taker {
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes what arrived: the calls to hand out (at most `calls_max`) and the ids that are closed.
    pub fn take(&mut self, news: &mut News, calls_max: usize, now: Instant) -> (Vec<Arrived>, Vec<u64>) {
        self.waiting.extend(news.calls.drain(..));
        let closed = self.forget(&news.gone);
        let mut calls = Vec::with_capacity(self.waiting.len().min(calls_max));
        while calls.len() < calls_max {
            let Some(call) = self.waiting.pop_front() else {
                break;
            };
            if call.deadline.is_some_and(|deadline| deadline <= now) {
                if call.is_first {
                    self.expired.insert(call.id);
                }
            } else {
                calls.push(call);
            }
        }
        (calls, closed)
    }

    fn forget(&mut self, gone: &[u64]) -> Vec<u64> {
        if gone.is_empty() {
            return Vec::new();
        }
        let over: HashSet<u64> = gone.iter().copied().collect();
        let mut unseen = HashSet::new();
        self.waiting.retain(|call| {
            let is_over = over.contains(&call.id);
            if is_over && call.is_first {
                unseen.insert(call.id);
            }
            !is_over
        });
        gone.iter().copied().filter(|id| !unseen.contains(id) && !self.expired.remove(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn call(id: u64, deadline: Option<Instant>, load: &Arc<Load>) -> Arrived {
        let mut charge = Charge::new(load, &Arc::default());
        assert!(charge.grow(10, 1000, 1000) && charge.enter(100));
        Arrived { id, method: 0, message: Bytes::new(), deadline, is_first: true, charge }
    }

    fn ids(calls: &[Arrived]) -> Vec<u64> {
        calls.iter().map(|call| call.id).collect()
    }

    #[test]
    fn only_calls_that_were_handed_out_are_told_as_closed() {
        let (load, now, mut taker) = (Arc::<Load>::default(), Instant::now(), Taker::default());
        let late = Some(now - Duration::from_millis(1));
        let mut news =
            News { calls: vec![call(1, None, &load), call(2, late, &load), call(3, None, &load)], ..News::default() };
        let (first, closed) = taker.take(&mut news, 1, now);
        assert_eq!((ids(&first), closed), (vec![1], vec![]));
        news.gone = vec![3, 1];
        let (second, closed) = taker.take(&mut news, 10, now);
        assert_eq!((ids(&second), closed), (vec![], vec![1]));
        news.gone = vec![2];
        assert_eq!(taker.take(&mut news, 10, now).1, Vec::<u64>::new());
        drop(first);
        assert_eq!((load.bytes.load(Relaxed), load.calls.load(Relaxed)), (0, 0));
    }

    #[test]
    fn the_end_of_a_conversation_drops_all_its_messages_and_is_told_once_one_was_seen() {
        let (load, now, mut taker) = (Arc::<Load>::default(), Instant::now(), Taker::default());
        let later = |id| Arrived { is_first: false, ..call(id, None, &load) };
        let calls = vec![call(1, None, &load), call(2, None, &load), later(1), later(2), later(1)];
        let (first, _) = taker.take(&mut News { calls, ..News::default() }, 1, now);
        let (second, closed) = taker.take(&mut News { gone: vec![1, 2], ..News::default() }, 10, now);
        assert_eq!((ids(&first), ids(&second), closed), (vec![1], vec![], vec![1]));
        drop(first);
        assert_eq!((load.bytes.load(Relaxed), load.calls.load(Relaxed)), (0, 0));
    }
}
